//! `failfast { }`: how a sick node goes down, and the watchdog (also corosync's `resources { watchdog_device }`).

use std::fmt;

use holdfast_types::Span;

use crate::schema::parse_number;
use crate::{Diagnostics, Section, Timing};

/// How a sick node goes down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failfast {
    /// `mode`.
    pub mode: Mode,
    /// `exit_scope`.
    pub exit_scope: ExitScope,
    /// `watchdog_device` and `watchdog_identity`, all of them; none: off.
    pub watchdogs: Vec<WatchdogName>,
    /// `watchdog_timeout`.
    pub watchdog_timeout: Span,
    /// `watchdog_pretimeout`: so long before the watchdog fires the kernel panics, if it can; zero: it does not.
    pub watchdog_pretimeout: Span,
    /// `guardian_limit`: how long the event loop may stand still before the guardian takes the node down.
    pub guardian_limit: Span,
    /// `unit { }`.
    pub units: Vec<Unit>,
}

/// Which watchdog device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WatchdogName {
    /// By its path, e.g. `/dev/watchdog0`: the number is the order in which the drivers were loaded.
    Path(String),
    /// By what its driver calls it, e.g. `i6300ESB timer`.
    Identity(String),
}

impl fmt::Display for WatchdogName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => f.write_str(path),
            Self::Identity(name) => write!(f, "\"{name}\""),
        }
    }
}

/// What taking a node down means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Kill every process of the node: for tests and demos, and the default.
    Exit,
    /// Kernel panic.
    Panic,
    /// Immediate reset.
    Reset,
    /// Only say so.
    Off,
}

impl Mode {
    /// As in the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Exit => "exit",
            Self::Panic => "panic",
            Self::Reset => "reset",
            Self::Off => "off",
        }
    }
}

/// Which processes belong to the node in mode `exit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitScope {
    /// Those with this node's `HOLDFAST_RUN_DIR` in their environment.
    RunDir,
    /// All of the PID namespace but its init.
    PidNamespace,
}

/// A process the node cannot do without, armed by the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    /// Its name in logs.
    pub name: String,
    /// From its death to the end of the node.
    pub delay: Span,
    /// Longest time between heartbeats; `None`: only its death counts.
    pub heartbeat: Option<Span>,
    /// Its own mode, where it has one.
    pub mode: Option<Mode>,
    /// How its process is found.
    pub found_by: FoundBy,
    /// `on_failure: restart`: so many restarts in so long are none of the node's business; `None`: any number is.
    pub restarts: Option<(u8, Span)>,
}

/// How the process of a unit is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FoundBy {
    /// Its pid stands in this file.
    PidFile(String),
    /// It is the main process of this service of systemd.
    Systemd(String),
    /// It runs this program, by absolute path, with these first arguments.
    Command(Vec<String>),
}

pub(crate) fn read(root: &Section, timing: &Timing, found: &mut Diagnostics) -> Failfast {
    let get = |key: &str| root.get(&["failfast"], key);
    let value = |key: &str| get(key).map(|i| i.value.as_str());
    let millis = |key: &str| get(key).and_then(|i| parse_number(&i.value)).map(Span::from_millis);
    let mode = value("mode").and_then(parse_mode).unwrap_or(Mode::Exit);
    let watchdogs = read_watchdogs(root, found);
    let corosync_timeout = root.get(&["resources"], "watchdog_timeout").and_then(|i| parse_number(&i.value));
    // The guardian of a test node must outlast a SIGSTOP of the test; that of a real node the longest honest stall.
    // Both must be longer than the silence after which the others suspect this node.
    let at_least = |seconds: u64| Span::from_secs(seconds).max(timing.heartbeat_limit_max.scale(3, 2));
    let watchdog_timeout =
        millis("watchdog_timeout").or(corosync_timeout.map(Span::from_millis)).unwrap_or(at_least(10));
    let limit = timing.heartbeat_limit_max;
    // A fifth, in the whole seconds that devices know, where that leaves the others the time to suspect this node.
    let fifth = Span::from_secs(watchdog_timeout.as_millis() / 5_000);
    let fifth = Some(fifth).filter(|f| watchdog_timeout.saturating_sub(*f) > limit);
    let watchdog_pretimeout = millis("watchdog_pretimeout").unwrap_or(fifth.unwrap_or(Span::ZERO));
    // The guardian comes before the watchdog, which knows no reason.
    let soonest = watchdog_timeout.saturating_sub(watchdog_pretimeout);
    let before_watchdog = soonest.saturating_sub(soonest.saturating_sub(limit).scale(1, 4));
    let guardian_limit = at_least(if mode == Mode::Exit { 30 } else { 10 });
    let guardian_limit =
        if watchdogs.is_empty() { guardian_limit } else { guardian_limit.min(before_watchdog) };
    Failfast {
        mode,
        exit_scope: match value("exit_scope") {
            Some("pid-namespace") => ExitScope::PidNamespace,
            _ => ExitScope::RunDir,
        },
        watchdogs,
        watchdog_timeout,
        watchdog_pretimeout,
        guardian_limit: millis("guardian_limit").unwrap_or(guardian_limit),
        units: root.all("failfast").flat_map(|s| s.all("unit")).filter_map(|s| read_unit(s, found)).collect(),
    }
}

fn read_unit(section: &Section, found: &mut Diagnostics) -> Option<Unit> {
    let value = |key: &str| section.get(&[], key).map(|i| i.value.as_str());
    let millis = |key: &str| value(key).and_then(parse_number);
    let Some(name) = value("name").filter(|n| !n.is_empty()) else {
        found.fatal(section.at(), "unit has no name; write \"name: NAME\"");
        return None;
    };
    if name.len() > UNIT_NAME_MAX || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)) {
        let text = format!(
            "\"{name}\" is no name for a unit; write up to {UNIT_NAME_MAX} letters, digits, dots, dashes"
        );
        found.fatal(section.at(), text);
        return None;
    }
    let found_by = read_found_by(section, name, found)?;
    let delay = Span::from_millis(millis("delay").unwrap_or(0));
    Some(Unit {
        name: name.to_owned(),
        delay,
        heartbeat: millis("heartbeat").filter(|n| *n > 0).map(Span::from_millis),
        mode: value("mode").and_then(parse_mode),
        found_by,
        restarts: read_restarts(section, name, delay, found),
    })
}

fn read_found_by(section: &Section, name: &str, found: &mut Diagnostics) -> Option<FoundBy> {
    let mut ways = ["pidfile", "systemd", "command"].into_iter().filter_map(|key| section.get(&[], key));
    let Some(item) = ways.next() else {
        let text = format!(
            "unit \"{name}\" does not say how its process is found; write \"systemd: NAME.service\", \"pidfile: PATH\" or \
             \"command: PATH ARGUMENTS\" (a daemon that arms itself needs no section)"
        );
        found.fatal(section.at(), text);
        return None;
    };
    if let Some(second) = ways.next() {
        let text =
            format!("unit \"{name}\" is found by its {} already; remove one of the two lines", item.key);
        found.fatal(second.at(), text);
        return None;
    }
    let value = item.value.as_str();
    let good = |b: u8| b.is_ascii_alphanumeric() || b"_.:@\\-".contains(&b);
    let (way, remedy) = match item.key.as_str() {
        "systemd" => {
            let service = value.len() > ".service".len() && value.ends_with(".service");
            let known = service && value.len() < 256 && !value.starts_with('-') && value.bytes().all(good);
            (known.then(|| FoundBy::Systemd(value.into())), "systemd: NAME.service")
        }
        "command" => {
            let words: Vec<String> = value.split_ascii_whitespace().map(str::to_owned).collect();
            (value.starts_with('/').then_some(FoundBy::Command(words)), "command: PATH ARGUMENTS")
        }
        _ => (value.starts_with('/').then(|| FoundBy::PidFile(value.into())), "pidfile: PATH"),
    };
    if way.is_none() {
        let text = format!("\"{value}\" does not tell how unit \"{name}\" is found; write \"{remedy}\"");
        found.fatal(item.at(), text);
    }
    way
}

fn read_restarts(section: &Section, name: &str, delay: Span, found: &mut Diagnostics) -> Option<(u8, Span)> {
    let get = |key: &str| section.get(&[], key);
    let number = |key: &str| get(key).and_then(|i| parse_number(&i.value));
    if get("on_failure").is_none_or(|i| i.value != "restart") {
        if let Some(item) = get("restarts").or(get("window")) {
            let text = format!(
                "{} of unit \"{name}\" has no effect by itself; write \"on_failure: restart\" as well",
                item.key
            );
            found.error(item.at(), text);
        }
        return None;
    }
    if delay == Span::ZERO {
        let text = format!(
            "unit \"{name}\" is to be restarted first, and has no time for it; write \"delay: MILLISECONDS\", as long as a \
             restart may take"
        );
        found.error(section.at(), text);
    }
    let count = number("restarts").and_then(|n| u8::try_from(n).ok()).unwrap_or(RESTARTS_DEFAULT);
    Some((count, number("window").map_or(WINDOW_DEFAULT, Span::from_millis)))
}

/// Of failfast, else of corosync's section; "off" is none.
fn read_watchdogs(root: &Section, found: &mut Diagnostics) -> Vec<WatchdogName> {
    let items = |section: &'static str| {
        let keys = ["watchdog_device", "watchdog_identity"];
        root.all(section)
            .flat_map(|s| s.items.iter())
            .filter(move |i| keys.contains(&i.key.as_str()) && !i.value.is_empty())
    };
    let section = if items("failfast").next().is_some() { "failfast" } else { "resources" };
    if items(section).any(|i| i.key == "watchdog_device" && i.value == "off") {
        if let Some(item) = items(section).find(|i| i.value != "off") {
            let text = format!("{} \"{}\" and \"watchdog_device: off\"; remove one", item.key, item.value);
            found.error(item.at(), text);
        }
        return Vec::new();
    }
    let mut names: Vec<WatchdogName> = Vec::new();
    for item in items(section) {
        let value = &item.value;
        let name = if item.key == "watchdog_identity" {
            WatchdogName::Identity(value.clone())
        } else {
            WatchdogName::Path(value.clone())
        };
        if matches!(name, WatchdogName::Path(_)) && !value.starts_with('/') {
            let text = format!(
                "watchdog_device \"{value}\" is no absolute path; write \"/dev/watchdog\", or \"off\""
            );
            found.fatal(item.at(), text);
        } else if names.contains(&name) {
            found.error(item.at(), format!("watchdog {name} is named twice; remove one line"));
        } else {
            names.push(name);
        }
    }
    if names.len() > WATCHDOGS_MAX {
        let text = format!(
            "{} watchdogs, and there is room for {WATCHDOGS_MAX}; name those that reset the machine",
            names.len()
        );
        found.error(items(section).nth(WATCHDOGS_MAX).map_or((1, 0), crate::Item::at), text);
        names.truncate(WATCHDOGS_MAX);
    }
    names
}

fn parse_mode(text: &str) -> Option<Mode> {
    [Mode::Exit, Mode::Panic, Mode::Reset, Mode::Off].into_iter().find(|m| m.name() == text)
}

/// As the failfast socket takes them.
const UNIT_NAME_MAX: usize = 48;
/// Where `on_failure: restart` says no more: more than that is no accident.
const RESTARTS_DEFAULT: u8 = 3;
const WINDOW_DEFAULT: Span = Span::from_secs(600);
/// Each is opened and fed by itself.
const WATCHDOGS_MAX: usize = 4;
