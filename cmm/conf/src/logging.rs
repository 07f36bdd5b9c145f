//! `logging { }`: where lines go, and which.

use crate::schema::yes_no;
use crate::{Diagnostics, Section};

/// Where lines go, and which.
#[derive(Clone, Debug)]
pub struct Logging {
    /// For every subsystem without an entry of its own.
    pub sinks: Sinks,
    /// `logfile`, if lines go to one.
    pub logfile: Option<String>,
    /// `syslog_facility`.
    pub facility: Facility,
    /// `timestamp`.
    pub timestamp: Timestamp,
    /// `logger_subsys`.
    pub subsystems: Vec<Subsystem>,
}

/// Destinations and thresholds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sinks {
    /// `to_stderr`.
    pub stderr: bool,
    /// `to_syslog`.
    pub syslog: bool,
    /// `to_logfile`.
    pub file: bool,
    /// `logfile_priority`.
    pub file_priority: Priority,
    /// `syslog_priority`.
    pub syslog_priority: Priority,
    /// `debug`.
    pub debug: Debug,
}

/// One `logger_subsys`.
#[derive(Clone, Debug)]
pub struct Subsystem {
    /// `subsys`, e.g. `TOTEM`.
    pub name: String,
    /// What holds for it.
    pub sinks: Sinks,
}

/// `debug`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Debug {
    /// Priorities count.
    Off,
    /// Debug lines too.
    On,
    /// And trace lines.
    Trace,
}

/// Severities of syslog(3), the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Priority {
    Emerg,
    Alert,
    Crit,
    Err,
    Warning,
    Notice,
    Info,
    Debug,
}

impl Priority {
    /// As in a log line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Emerg => "emerg",
            Self::Alert => "alert",
            Self::Crit => "crit",
            Self::Err => "error",
            Self::Warning => "warning",
            Self::Notice => "notice",
            Self::Info => "info",
            Self::Debug => "debug",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let all = [
            Self::Emerg,
            Self::Alert,
            Self::Crit,
            Self::Err,
            Self::Warning,
            Self::Notice,
            Self::Info,
            Self::Debug,
        ];
        if text == "err" { Some(Self::Err) } else { all.into_iter().find(|p| p.name() == text) }
    }
}

/// `syslog_facility`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Facility {
    /// `daemon`.
    Daemon,
    /// `local0` … `local7`.
    Local(u8),
}

impl Facility {
    /// The number that syslog(3) adds to a severity.
    #[must_use]
    pub const fn code(self) -> u32 {
        match self {
            Self::Daemon => 3 << 3,
            Self::Local(n) => (16 + n as u32) << 3,
        }
    }
}

/// `timestamp`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timestamp {
    /// None.
    Off,
    /// Seconds.
    On,
    /// Milliseconds.
    Hires,
}

pub(crate) fn read(root: &Section, found: &mut Diagnostics) -> Logging {
    let value = |key: &str| root.get(&["logging"], key).map(|i| i.value.as_str());
    let defaults = Sinks {
        stderr: true,
        syslog: true,
        file: false,
        file_priority: Priority::Info,
        syslog_priority: Priority::Info,
        debug: Debug::Off,
    };
    let empty = Section::default();
    let top = root.all("logging").last().unwrap_or(&empty);
    let mut sinks = read_sinks(top, defaults);
    let logfile = value("logfile").filter(|f| !f.is_empty()).map(str::to_owned);
    if sinks.file && logfile.is_none() {
        found.error(top.at(), "to_logfile without a logfile; write \"logfile: PATH\", or \"to_logfile: no\"");
        sinks.file = false;
    }
    let mut subsystems = Vec::new();
    for section in top.all("logger_subsys") {
        match section.get(&[], "subsys") {
            None => found.error(section.at(), "logger_subsys names no subsystem; write \"subsys: NAME\""),
            Some(name) => {
                let mut own = read_sinks(section, sinks);
                own.file &= logfile.is_some();
                subsystems.push(Subsystem { name: name.value.to_uppercase(), sinks: own });
            }
        }
    }
    Logging {
        sinks,
        logfile,
        facility: match value("syslog_facility").and_then(|f| f.strip_prefix("local")) {
            Some(n) => Facility::Local(n.parse().unwrap_or(0)),
            None => Facility::Daemon,
        },
        timestamp: match value("timestamp") {
            Some("off" | "no") => Timestamp::Off,
            Some("on" | "yes") => Timestamp::On,
            _ => Timestamp::Hires,
        },
        subsystems,
    }
}

fn read_sinks(section: &Section, base: Sinks) -> Sinks {
    let value = |key: &str| section.get(&[], key).map(|i| i.value.as_str());
    let flag = |key: &str, base| value(key).and_then(yes_no).unwrap_or(base);
    let priority = |key: &str, base| value(key).and_then(Priority::parse).unwrap_or(base);
    Sinks {
        stderr: flag("to_stderr", base.stderr),
        syslog: flag("to_syslog", base.syslog),
        file: flag("to_logfile", base.file),
        file_priority: priority("logfile_priority", base.file_priority),
        syslog_priority: priority("syslog_priority", base.syslog_priority),
        debug: match value("debug") {
            Some("trace") => Debug::Trace,
            Some(text) if yes_no(text) == Some(true) => Debug::On,
            Some(_) => Debug::Off,
            None => base.debug,
        },
    }
}
