//! `failfast { }`: how a sick node goes down, and the watchdog (also corosync's `resources { watchdog_device }`).

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
    /// `watchdog_device`; `None`: off.
    pub watchdog_device: Option<String>,
    /// `watchdog_timeout`.
    pub watchdog_timeout: Span,
    /// `watchdog_pretimeout`: so long before the watchdog fires the kernel panics, if it can; zero: it does not.
    pub watchdog_pretimeout: Span,
    /// `guardian_limit`: how long the event loop may stand still before the guardian takes the node down.
    pub guardian_limit: Span,
    /// `unit { }`.
    pub units: Vec<Unit>,
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
    /// File with its pid.
    pub pidfile: String,
}

pub(crate) fn read(root: &Section, timing: &Timing, found: &mut Diagnostics) -> Failfast {
    let get = |key: &str| root.get(&["failfast"], key);
    let value = |key: &str| get(key).map(|i| i.value.as_str());
    let millis = |key: &str| get(key).and_then(|i| parse_number(&i.value)).map(Span::from_millis);
    let mode = value("mode").and_then(parse_mode).unwrap_or(Mode::Exit);
    let corosync = root.get(&["resources"], "watchdog_device").map(|i| i.value.as_str());
    let device = value("watchdog_device").or(corosync).filter(|d| !d.is_empty() && *d != "off");
    if let Some(path) = device.filter(|d| !d.starts_with('/')) {
        let item = get("watchdog_device").or(root.get(&["resources"], "watchdog_device"));
        let text =
            format!("watchdog_device \"{path}\" is no absolute path; write \"/dev/watchdog\", or \"off\"");
        found.fatal(item.map_or((1, 0), crate::Item::at), text);
    }
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
    let guardian_limit = if device.is_some() { guardian_limit.min(before_watchdog) } else { guardian_limit };
    Failfast {
        mode,
        exit_scope: match value("exit_scope") {
            Some("pid-namespace") => ExitScope::PidNamespace,
            _ => ExitScope::RunDir,
        },
        watchdog_device: device.map(str::to_owned),
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
    let Some(pidfile) = value("pidfile").filter(|f| f.starts_with('/')) else {
        let text = format!(
            "unit \"{name}\" names no pid file; write \"pidfile: PATH\" (a daemon that arms itself needs no section)"
        );
        found.fatal(section.at(), text);
        return None;
    };
    Some(Unit {
        name: name.to_owned(),
        delay: Span::from_millis(millis("delay").unwrap_or(0)),
        heartbeat: millis("heartbeat").filter(|n| *n > 0).map(Span::from_millis),
        mode: value("mode").and_then(parse_mode),
        pidfile: pidfile.to_owned(),
    })
}

fn parse_mode(text: &str) -> Option<Mode> {
    [Mode::Exit, Mode::Panic, Mode::Reset, Mode::Off].into_iter().find(|m| m.name() == text)
}

/// As the failfast socket takes them.
const UNIT_NAME_MAX: usize = 48;
