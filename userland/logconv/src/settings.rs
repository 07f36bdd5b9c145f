//! `/etc/pm_logconv.conf`: where the logs are, what is watched, which attributes count as a reason for a fail-over.

use crate::event::Suffix;

/// The settings, with their defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `ha_log_path`: the raw log.
    pub ha_log_path: String,
    /// `output_path`: the operator's log; `None` (`none`): no file.
    pub output_path: Option<String>,
    /// `output_logfacility`: where the operator's lines go in syslog besides; `None`: not.
    pub output_logfacility: Option<String>,
    /// `output_async_write`: lines may wait for each other before they are written.
    pub output_async_write: bool,
    /// `syslogformat`: dates as syslog writes them, or else as `2016/05/25_16:30:05`.
    pub syslogformat: bool,
    /// `attribute_NAME`: each a condition that counts as a reason for a fail-over.
    pub attributes: Vec<(String, Condition)>,
    /// `logconv_logfacility`: where the converter's own messages go.
    pub logconv_logfacility: String,
    /// `logconv_logpriority`: which of them.
    pub logconv_logpriority: String,
    /// `act_rsc`: the resources whose places are said at the end of a fail-over.
    pub act_rsc: Vec<String>,
    /// `result_format`, ours: `2.2` for `(rc=1)`, `(status=4)`; `2.3` for `(rc=1) unknown error`, `Error`.
    pub suffix: Suffix,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            ha_log_path: "/var/log/ha-log".to_owned(),
            output_path: Some("/var/log/pm_logconv.out".to_owned()),
            output_logfacility: None,
            output_async_write: false,
            syslogformat: true,
            attributes: Vec::new(),
            logconv_logfacility: "daemon".to_owned(),
            logconv_logpriority: "info".to_owned(),
            act_rsc: Vec::new(),
            suffix: Suffix::Words,
        }
    }
}

/// What is wrong with the file of settings.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct SettingsError {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong, and what to write instead.
    pub what: String,
}

/// Names of syslog's facilities, as the file has them.
const FACILITIES: [&str; 20] = [
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp",
    "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
];
const PRIORITIES: [&str; 10] =
    ["emerg", "alert", "crit", "critical", "err", "error", "warning", "notice", "info", "debug"];

impl Settings {
    /// Reads the file. Sections other than `[Settings]` are rules of the oldest releases, which kept them in the same file: see
    /// [`crate::Rules::parse`].
    ///
    /// # Errors
    /// Each line that is wrong.
    pub fn parse(text: &str) -> Result<Self, Vec<SettingsError>> {
        let mut settings = Self::default();
        let mut errors = Vec::new();
        let mut inside = false;
        for (at, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with(['#', ';']) {
                continue;
            }
            if let Some(section) = line.strip_prefix('[') {
                inside = section.trim_end_matches(']').trim() == "Settings";
            } else if inside && let Err(what) = settings.set(line) {
                errors.push(SettingsError { line: at + 1, what });
            }
        }
        if errors.is_empty() { Ok(settings) } else { Err(errors) }
    }

    fn set(&mut self, line: &str) -> Result<(), String> {
        let (name, value) = line
            .split_once(['=', ':'])
            .map(|(name, value)| (name.trim(), value.trim()))
            .ok_or_else(|| format!("{line:?} is no setting; write NAME = VALUE"))?;
        let text = |value: &str| {
            if value.is_empty() { Err(format!("{name} needs a value")) } else { Ok(value.to_owned()) }
        };
        let truth = || match value.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "1" => Ok(true),
            "false" | "no" | "off" | "0" => Ok(false),
            _ => Err(format!("{name} is True or False, not {value:?}")),
        };
        let one_of = |known: &[&str]| {
            let found = known.iter().find(|k| k.eq_ignore_ascii_case(value));
            found.map(|k| (*k).to_owned()).ok_or_else(|| format!("{name} is one of {}", known.join(", ")))
        };
        match name {
            "ha_log_path" => self.ha_log_path = text(value)?,
            "output_path" => {
                self.output_path = Some(text(value)?).filter(|path| !path.eq_ignore_ascii_case("none"));
            }
            "output_logfacility" => self.output_logfacility = Some(one_of(&FACILITIES)?),
            "output_async_write" => self.output_async_write = truth()?,
            "syslogformat" => self.syslogformat = truth()?,
            "logconv_logfacility" => self.logconv_logfacility = one_of(&FACILITIES)?,
            "logconv_logpriority" => self.logconv_logpriority = one_of(&PRIORITIES)?,
            "act_rsc" => {
                let all = value.split(',').map(str::trim).filter(|id| !id.is_empty());
                self.act_rsc = all.map(str::to_owned).collect();
            }
            "result_format" => {
                self.suffix = match value {
                    "2.2" => Suffix::Numbers,
                    "2.3" => Suffix::Words,
                    _ => return Err("result_format is 2.2 or 2.3".to_owned()),
                }
            }
            // Of releases that asked the cluster every so often.
            "reset_interval" => {}
            _ => {
                let condition = name.strip_prefix("attribute_").filter(|n| !n.is_empty());
                let condition = condition.ok_or_else(|| format!("there is no setting {name}; {KNOWN}"))?;
                self.attributes.push((condition.to_owned(), Condition::parse(value)?));
            }
        }
        Ok(())
    }
}

const KNOWN: &str = "there are ha_log_path, output_path, output_logfacility, output_async_write, syslogformat, attribute_NAME, \
                     logconv_logfacility, logconv_logpriority, act_rsc and result_format";

/// A condition on attributes of a node: `not_defined default_ping_set or default_ping_set lt 100`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// Any of these, in each of which all have to hold.
    any: Vec<Vec<Term>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Term {
    /// `defined NAME`, `not_defined NAME`
    Defined { name: String, wanted: bool },
    /// `NAME lt VALUE`
    Compared { name: String, by: Comparison, with: String },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Less,
    Greater,
    LessOrEqual,
    GreaterOrEqual,
    Equal,
    NotEqual,
}

impl Comparison {
    fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "lt" => Self::Less,
            "gt" => Self::Greater,
            "le" | "lte" => Self::LessOrEqual,
            "ge" | "gte" => Self::GreaterOrEqual,
            "eq" => Self::Equal,
            "ne" => Self::NotEqual,
            _ => return None,
        })
    }

    fn holds(self, order: std::cmp::Ordering) -> bool {
        match self {
            Self::Less => order.is_lt(),
            Self::Greater => order.is_gt(),
            Self::LessOrEqual => order.is_le(),
            Self::GreaterOrEqual => order.is_ge(),
            Self::Equal => order.is_eq(),
            Self::NotEqual => order.is_ne(),
        }
    }
}

impl Condition {
    /// Reads one. `and` binds closer than `or`. The oldest form, `NAME,OP,VALUE`, is read too.
    ///
    /// # Errors
    /// What is wrong with it, and what to write.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = |what: &str| {
            format!(
                "{what}; write a condition as in `not_defined default_ping_set or default_ping_set lt 100`"
            )
        };
        if let [name, by, with] = text.split(',').map(str::trim).collect::<Vec<_>>()[..] {
            let by = Comparison::parse(by).ok_or_else(|| wrong(&format!("{by:?} compares nothing")))?;
            let term = Term::Compared { name: name.to_owned(), by, with: with.to_owned() };
            return Ok(Self { any: vec![vec![term]] });
        }
        let mut words = text.split_whitespace().peekable();
        let mut any = vec![Vec::new()];
        loop {
            let first = words.next().ok_or_else(|| wrong("something is missing at its end"))?;
            let second = words.next().ok_or_else(|| wrong(&format!("{first:?} stands alone")))?;
            let term = match first {
                "defined" | "not_defined" => {
                    Term::Defined { name: second.to_owned(), wanted: first == "defined" }
                }
                name => {
                    let by = Comparison::parse(second)
                        .ok_or_else(|| wrong(&format!("{second:?} compares nothing")))?;
                    let with =
                        words.next().ok_or_else(|| wrong(&format!("{name} is compared with nothing")))?;
                    Term::Compared { name: name.to_owned(), by, with: with.to_owned() }
                }
            };
            if let Some(all) = any.last_mut() {
                all.push(term);
            }
            match words.next() {
                None => return Ok(Self { any }),
                Some("and") => {}
                Some("or") => any.push(Vec::new()),
                Some(other) => return Err(wrong(&format!("{other:?} is neither `and` nor `or`"))),
            }
        }
    }

    /// Whether it holds for a node of which `value` tells what is known of an attribute: nothing, that it is gone, or its value.
    pub fn holds<'a>(&self, value: impl Fn(&str) -> Option<Option<&'a str>>) -> bool {
        // Of what is not known nothing follows: that an attribute was not seen does not mean that it is not there.
        let holds = |term: &Term| match term {
            Term::Defined { name, wanted } => value(name).is_some_and(|v| v.is_some() == *wanted),
            Term::Compared { name, by, with } => {
                value(name).flatten().is_some_and(|v| match (v.parse::<i64>(), with.parse::<i64>()) {
                    (Ok(v), Ok(with)) => by.holds(v.cmp(&with)),
                    _ => by.holds(v.cmp(with.as_str())),
                })
            }
        };
        self.any.iter().any(|all| all.iter().all(holds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_is_read() {
        let settings = Settings::parse(
            "# a comment\n[Settings]\nha_log_path = /tmp/ha-log\noutput_path = none\noutput_logfacility=local2\n\
             output_async_write = True\nsyslogformat = False\n\
             attribute_ping = not_defined default_ping_set or default_ping_set lt 100\n\
             attribute_old = diskcheck_status,eq,ERROR\nlogconv_logfacility = local3\nlogconv_logpriority = debug\n\
             act_rsc = prmEx, prmAp\nresult_format = 2.2\nreset_interval = 60\n",
        )
        .unwrap();
        assert_eq!(settings.ha_log_path, "/tmp/ha-log");
        assert_eq!((settings.output_path, settings.output_async_write), (None, true));
        assert_eq!(settings.output_logfacility.as_deref(), Some("local2"));
        assert!(!settings.syslogformat && settings.suffix == Suffix::Numbers);
        assert_eq!(settings.act_rsc, ["prmEx", "prmAp"]);
        assert_eq!(
            (settings.logconv_logfacility.as_str(), settings.logconv_logpriority.as_str()),
            ("local3", "debug")
        );
        assert_eq!(settings.attributes.len(), 2);
        assert_eq!(Settings::parse(""), Ok(Settings::default()));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line_and_what_to_write() {
        let errors = Settings::parse(
            "[Settings]\nha_log=/x\nsyslogformat = maybe\nattribute_a = x like y\noutput_logfacility = disk\nnothing\n",
        )
        .unwrap_err();
        let said: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(said.len(), 5, "{said:?}");
        assert!(
            said[0].starts_with("line 2: there is no setting ha_log;") && said[0].contains("ha_log_path")
        );
        assert!(said[1].contains("True or False") && said[2].contains("lt 100"), "{said:?}");
        assert!(said[3].contains("local1") && said[4].contains("NAME = VALUE"), "{said:?}");
    }

    #[test]
    fn and_binds_closer_than_or_and_of_the_unknown_nothing_follows() {
        let condition = Condition::parse("not_defined p or p lt 100 and d eq ERROR").unwrap();
        let holds = |p: Option<Option<&'static str>>, d: Option<Option<&'static str>>| {
            condition.holds(|name| if name == "p" { p } else { d })
        };
        assert!(holds(Some(None), None) && holds(Some(Some("9")), Some(Some("ERROR"))));
        assert!(!holds(None, Some(Some("ERROR"))) && !holds(Some(Some("9")), None));
        assert!(!holds(Some(Some("100")), Some(Some("ERROR"))));
    }
}
