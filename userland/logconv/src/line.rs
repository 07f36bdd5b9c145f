//! Lines: raw ones taken apart, whatever wrote them, and those of the operator's log.

use std::fmt;

use crate::event::Level;

/// A day of the calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Date {
    /// Year.
    pub year: i32,
    /// 1 to 12.
    pub month: u8,
    /// 1 to 31.
    pub day: u8,
}

/// When a line was written, as far as it says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stamp {
    /// Without a year: `May 25 16:30:05`.
    Syslog {
        /// 1 to 12.
        month: u8,
        /// 1 to 31.
        day: u8,
        /// `16:30:05`
        time: String,
    },
    /// With one: `2016-05-25T16:30:05+00:00`, `2016/05/25_16:30:05`.
    Full {
        /// The day.
        date: Date,
        /// `16:30:05`
        time: String,
    },
}

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

impl Stamp {
    /// As syslog writes it, or else as `2016/05/25_16:30:05`. A line without a year is of the last such day up to `today`.
    #[must_use]
    pub fn format(&self, syslog: bool, today: Date) -> String {
        let (date, time) = match self {
            Self::Full { date, time } => (*date, time),
            Self::Syslog { month, day, time } => {
                let this_year = Date { year: today.year, month: *month, day: *day };
                let year = if this_year > today { today.year.saturating_sub(1) } else { today.year };
                (Date { year, ..this_year }, time)
            }
        };
        let Date { year, month, day } = date;
        if syslog {
            let month = MONTHS.get(usize::from(month).wrapping_sub(1)).copied().unwrap_or("???");
            format!("{month} {day} {time}")
        } else {
            format!("{year:04}/{month:02}/{day:02}_{time}")
        }
    }

    /// `2016-05-25T16:30:05.123+00:00`, `2016/05/25_16:30:05`.
    fn full(text: &str) -> Option<Self> {
        let (day, time) = text.split_at_checked(10)?;
        let mut parts = day.split(['-', '/']);
        let mut number = |width: usize| {
            let part = parts.next()?;
            (part.len() == width && part.bytes().all(|b| b.is_ascii_digit())).then(|| part.parse().ok())?
        };
        let (year, month, day): (u32, u32, u32) = (number(4)?, number(2)?, number(2)?);
        let date = Date {
            year: i32::try_from(year).ok()?,
            month: u8::try_from(month).ok()?,
            day: u8::try_from(day).ok()?,
        };
        let time = clock(time.strip_prefix(['T', '_', ' '])?)?;
        ((1..=12).contains(&date.month) && (1..=31).contains(&date.day)).then_some(Self::Full { date, time })
    }
}

/// `16:30:05` of a text that begins with it.
fn clock(text: &str) -> Option<String> {
    let time = text.get(..8)?;
    let fits = time.bytes().enumerate().all(|(at, b)| match at {
        2 | 5 => b == b':',
        _ => b.is_ascii_digit(),
    });
    fits.then(|| time.to_owned())
}

/// A line of a raw log, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Raw {
    /// When it was written.
    pub stamp: Stamp,
    /// Where; not every log says so.
    pub host: Option<String>,
    /// By which program; of an agent with its resource: `ping(prmPing)`.
    pub process: String,
    /// Its process; 0: the line does not say.
    pub pid: u32,
    /// How urgent it was, in the words of the log; empty: the line does not say.
    pub level: String,
    /// What was said, without the function that said it.
    pub text: String,
    /// The whole line in one layout, whatever the log's: `May 25 16:30:05 srv01 crmd[2041]: notice: text`. Rules look at this.
    pub normal: String,
}

impl Raw {
    /// Takes a line apart. `None`: it is of no log that is known, as the second line of a message.
    ///
    /// Layouts: syslog with dates of either kind, Pacemaker's and Corosync's own log files, ha-log, our daemons in the foreground.
    /// An escaped tab (`#011`) counts as a blank.
    #[must_use]
    pub fn parse(line: &str) -> Option<Self> {
        let line = line.replace("#011", " ").replace('\t', " ");
        let mut rest = line.trim();
        let first = word(&mut rest);
        let stamp = if let Some(month) = MONTHS.iter().position(|m| *m == first) {
            let day = word(&mut rest).parse().ok().filter(|d| (1..=31).contains(d))?;
            let time = clock(word(&mut rest))?;
            Stamp::Syslog { month: u8::try_from(month).ok()? + 1, day, time }
        } else if let Some(stamp) = Stamp::full(first) {
            stamp
        } else {
            return Self::ha_log(first, rest);
        };
        let own = |text: &str| matches!(text, "ERROR" | "WARN" | "INFO" | "DEBUG" | "TRACE");
        let mut parts = Parts { pid: 0, ..Parts::default() };
        if own(rest.split(' ').next().unwrap_or_default()) {
            // Our daemons in the foreground name neither host nor program.
            parts.process = "rgmd".to_owned();
        } else {
            if let Some(pid) = pid(rest) {
                parts.pid = pid;
                word(&mut rest);
            }
            parts.host = Some(word(&mut rest).to_owned());
            parts.program(&mut rest);
        }
        Some(parts.finish(stamp, rest))
    }

    /// `crmd[777]: 2009/01/01_00:00:00 info: text`
    fn ha_log(first: &str, mut rest: &str) -> Option<Self> {
        let mut parts = Parts::default();
        parts.program(&mut format!("{first} ").as_str());
        if let Some(pid) = pid(rest) {
            parts.pid = pid;
            word(&mut rest);
        }
        let stamp = Stamp::full(word(&mut rest))?;
        Some(parts.finish(stamp, rest))
    }
}

/// What of a line is known so far.
#[derive(Default)]
struct Parts {
    host: Option<String>,
    process: String,
    pid: u32,
}

impl Parts {
    /// `crmd[15529]:`, `crmd:`, `pacemaker-controld  [15529] (function)`, `corosync`
    fn program(&mut self, rest: &mut &str) {
        let first = word(rest);
        let name = first.trim_end_matches(':');
        match name.rsplit_once('[').map(|(name, pid)| (name, pid.trim_end_matches(']').parse())) {
            Some((name, Ok(pid))) => (self.process, self.pid) = (name.to_owned(), pid),
            _ => self.process = name.to_owned(),
        }
        if let Some(pid) = pid(rest) {
            self.pid = pid;
            word(rest);
        }
        // Pacemaker 2 names the function in its own log file.
        if !first.ends_with(':') && rest.starts_with('(') {
            let name = rest.split(' ').next().unwrap_or_default();
            if name.ends_with(')') {
                word(rest);
            }
        }
    }

    fn finish(self, stamp: Stamp, mut rest: &str) -> Raw {
        let Self { host, process, pid } = self;
        let mut level = String::new();
        let first = rest.split(' ').next().unwrap_or_default();
        let bare = matches!(first, "ERROR" | "WARN" | "INFO" | "DEBUG" | "TRACE")
            || (process == "corosync" && after(rest, first).starts_with('['));
        if (bare || first.ends_with(':')) && Level::parse(first.trim_end_matches(':')).is_some() {
            first.trim_end_matches(':').to_ascii_lowercase().clone_into(&mut level);
            if level == "warn" {
                "warning".clone_into(&mut level);
            }
            word(&mut rest);
        }
        // Corosync names a part of it: `[TOTEM ]`.
        if rest.starts_with('[')
            && let Some((tag, text)) = rest.split_once(']')
            && tag.len() < 16
        {
            rest = text.trim_start();
            if level.is_empty() {
                "info".clone_into(&mut level);
            }
        }
        let normal = format!(
            "{} {} {process}[{pid}]: {level}: {rest}",
            stamp.format(true, Date { year: 0, month: 1, day: 1 }),
            host.as_deref().unwrap_or("-"),
        );
        // Up to 1.1.13 the function stands before the text.
        let text = match rest.split_once(": ") {
            Some((function, text)) if is_function(function) => text.trim_start(),
            _ => rest,
        };
        Raw { stamp, host, process, pid, level, text: text.trim_end().to_owned(), normal }
    }
}

fn is_function(text: &str) -> bool {
    text == "main"
        || text.contains('_')
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

/// `[15529]` or `[15529]:` at the beginning.
fn pid(rest: &str) -> Option<u32> {
    let first = rest.split(' ').next()?.trim_end_matches(':');
    first.strip_prefix('[')?.strip_suffix(']')?.parse().ok()
}

/// Takes the next word.
fn word<'a>(rest: &mut &'a str) -> &'a str {
    let (word, tail) = rest.split_once(' ').unwrap_or((rest, ""));
    *rest = tail.trim_start();
    word
}

/// What follows the first word.
fn after<'a>(rest: &'a str, first: &str) -> &'a str {
    rest.get(first.len()..).unwrap_or_default().trim_start()
}

/// A line of the operator's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// When, as the log is to have it.
    pub date: String,
    /// The node.
    pub host: String,
    /// The message's number; empty for what has none.
    pub number: &'static str,
    /// How urgent it is.
    pub level: Level,
    /// Its words.
    pub text: String,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {:>7}: {}", self.date, self.host, self.level.as_str(), self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TODAY: Date = Date { year: 2016, month: 6, day: 1 };

    #[test]
    fn a_line_reads_the_same_in_the_layout_of_every_log() {
        for line in [
            "May 25 16:30:05 srv01 crmd[2041]:   notice: process_lrm_event: Operation db_stop_0: ok",
            "May 25 16:30:05 srv01 crmd[2041]:   notice: Operation db_stop_0: ok",
            "May 25 16:30:05 [2041] srv01       crmd:   notice: process_lrm_event: Operation db_stop_0: ok",
            "May 25 16:30:05.123 srv01 crmd  [2041] (log_executor_event) #011notice: Operation db_stop_0: ok",
            "2016-05-25T16:30:05.123456+09:00 srv01 crmd[2041]:  notice: Operation db_stop_0: ok",
        ] {
            let raw = Raw::parse(line).unwrap_or_else(|| panic!("{line}"));
            assert_eq!(
                (raw.process.as_str(), raw.pid, raw.level.as_str()),
                ("crmd", 2041, "notice"),
                "{line}"
            );
            assert_eq!((raw.text.as_str(), raw.host.as_deref()), ("Operation db_stop_0: ok", Some("srv01")));
            assert_eq!(raw.stamp.format(true, TODAY), "May 25 16:30:05", "{line}");
            assert_eq!(raw.stamp.format(false, TODAY), "2016/05/25_16:30:05", "{line}");
        }
        let raw = Raw::parse("crmd[2041]: 2016/05/25_16:30:05 notice: Operation db_stop_0: ok").unwrap();
        assert_eq!((raw.pid, raw.host, raw.text.as_str()), (2041, None, "Operation db_stop_0: ok"));
    }

    #[test]
    fn corosync_and_our_daemons_are_read_too() {
        let raw = Raw::parse(
            "May  5 16:30:05 srv01 corosync[9]:   [MAIN  ] Corosync Cluster Engine exiting normally",
        );
        let raw = raw.unwrap();
        assert_eq!((raw.process.as_str(), raw.level.as_str()), ("corosync", "info"));
        assert_eq!(raw.text, "Corosync Cluster Engine exiting normally");
        let raw =
            Raw::parse("May 25 16:30:05 [9] srv01 corosync notice  [TOTEM ] A processor failed").unwrap();
        assert_eq!((raw.level.as_str(), raw.text.as_str()), ("notice", "A processor failed"));
        let raw = Raw::parse("May 25 16:30:05 srv01 rgmd[7]:  WARN Quorum lost").unwrap();
        assert_eq!((raw.level.as_str(), raw.text.as_str()), ("warning", "Quorum lost"));
        let raw = Raw::parse("2016-05-25T16:30:05.123456Z  INFO Set DC to srv01").unwrap();
        assert_eq!((raw.process.as_str(), raw.text.as_str()), ("rgmd", "Set DC to srv01"));
        let raw =
            Raw::parse("May 25 16:30:05 srv01 ping(prmPing)[12]: WARNING: 192.168.101.1 is inactive: PING")
                .unwrap();
        assert_eq!((raw.process.as_str(), raw.level.as_str()), ("ping(prmPing)", "warning"));
    }

    #[test]
    fn what_is_no_line_of_a_log_is_none_and_a_year_is_found() {
        for line in [
            "",
            "   ",
            "    last-rc-change='…'",
            "May",
            "May 25",
            "May 99 16:30:05 x y: z",
            "2016-13-01T00:00:00 x",
        ] {
            assert_eq!(Raw::parse(line), None, "{line:?}");
        }
        let december = Raw::parse("Dec 31 23:59:59 srv01 crmd[1]: info: x").unwrap().stamp;
        assert_eq!(december.format(false, Date { year: 2016, month: 1, day: 1 }), "2015/12/31_23:59:59");
    }
}
