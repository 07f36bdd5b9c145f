//! What can be said in the operator's log, and its words.

use serde::{Deserialize, Serialize};

use crate::words;

/// How urgent a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Something is broken.
    Error,
    /// Something is not as it should be.
    Warning,
    /// For information.
    Info,
}

impl Level {
    /// As the log writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Info => "info",
        }
    }

    /// As syslog counts.
    #[must_use]
    pub const fn severity(self) -> u8 {
        match self {
            Self::Error => 3,
            Self::Warning => 4,
            Self::Info => 6,
        }
    }

    /// From a word of a rule or of a log.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text.to_ascii_lowercase().as_str() {
            "emerg" | "alert" | "crit" | "critical" | "err" | "error" => Self::Error,
            "warn" | "warning" => Self::Warning,
            "notice" | "info" | "debug" | "trace" => Self::Info,
            _ => return None,
        })
    }
}

/// What is done to a resource, as far as the log speaks of it: probes and notifications are never spoken of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Operation {
    /// `start`
    Start,
    /// `stop`
    Stop,
    /// A recurring `monitor`: only its failures are spoken of.
    Monitor,
    /// `promote`
    Promote,
    /// `demote`
    Demote,
    /// `migrate_to`
    MigrateTo,
    /// `migrate_from`
    MigrateFrom,
}

impl Operation {
    /// From its name in a configuration; `None`: the log does not speak of it.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "start" => Self::Start,
            "stop" => Self::Stop,
            "monitor" => Self::Monitor,
            "promote" => Self::Promote,
            "demote" => Self::Demote,
            "migrate_to" => Self::MigrateTo,
            "migrate_from" => Self::MigrateFrom,
            _ => return None,
        })
    }

    /// As a configuration has it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Monitor => "monitor",
            Self::Promote => "promote",
            Self::Demote => "demote",
            Self::MigrateTo => "migrate_to",
            Self::MigrateFrom => "migrate_from",
        }
    }

    const fn done(self) -> &'static str {
        match self {
            Self::Start => "started",
            Self::Stop => "stopped",
            Self::Monitor => "monitored",
            Self::Promote => "promoted",
            Self::Demote => "demoted",
            Self::MigrateTo => "migrated_to",
            Self::MigrateFrom => "migrated_from",
        }
    }

    /// Numbers of its four messages: it begins, it ended well, it failed, it took too long.
    const fn numbers(self, device: bool) -> [&'static str; 4] {
        match (self, device) {
            (Self::Start, false) => ["1-1", "1-2", "1-3", "1-4"],
            (Self::Stop, false) => ["2-1", "2-2", "2-3", "2-4"],
            (Self::Monitor, false) => ["", "", "3-1", "3-3"],
            (Self::Promote, _) => ["4-1", "4-2", "4-3", "4-4"],
            (Self::Demote, _) => ["5-1", "5-2", "5-3", "5-4"],
            (Self::MigrateTo, _) => ["11-1", "11-2", "11-3", "11-4"],
            (Self::MigrateFrom, _) => ["12-1", "12-2", "12-3", "12-4"],
            (Self::Start, true) => ["17-1", "17-2", "17-3", "17-4"],
            (Self::Stop, true) => ["18-1", "18-2", "18-3", "18-4"],
            (Self::Monitor, true) => ["", "", "19-1", "19-3"],
        }
    }
}

/// How an operation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// The agent returned this.
    Agent(i32),
    /// It took too long.
    TimedOut,
    /// The executor could not do it: its status, as Pacemaker numbers them (4 is an error without a closer word).
    Executor(i32),
}

/// How results are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Suffix {
    /// `(rc=1) unknown error`, `Error`: pm_logconv since 2.3.
    #[default]
    Words,
    /// `(rc=1)`, `(status=4)`: pm_logconv up to 2.2.
    Numbers,
}

/// Where a resource is in the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Placement {
    /// It runs there.
    StartedOn(String),
    /// It was moved.
    Moved {
        /// From this node,
        from: String,
        /// to this one.
        to: String,
    },
    /// It runs nowhere.
    Stopped,
}

/// What can be said. Fields are names as the configuration has them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)] // the fields are what the variant's message names
pub enum Event {
    /// An operation begins on this node; `device`: the resource is a fence device.
    Begins { resource: String, operation: Operation, device: bool },
    /// An operation ended on this node.
    Ended { resource: String, operation: Operation, outcome: Outcome, device: bool },
    /// A node left the membership.
    NodeLost { node: String },
    /// A node joined it.
    NodeMember { node: String },
    /// One of several rings or links failed, and another still works.
    RingFaulty { ring: String, interface: String },
    /// It works again.
    RingRecovered { ring: String },
    /// A host that is pinged does not answer.
    NetworkLost { host: String },
    /// A disk check failed.
    DiskError { device: String, attribute: String },
    /// A daemon of the stack was started.
    ProcessStarted { process: String, pid: u32 },
    /// It ended with an error.
    ProcessExited { process: String, pid: u32, rc: i32 },
    /// It was killed.
    ProcessKilled { process: String, pid: u32, signal: u32 },
    /// It ended so that the stack is stopped on this node.
    ProcessNotRestarted { process: String, pid: u32 },
    /// It ended so that the machine is reset.
    ProcessResets { process: String, pid: u32 },
    /// It ended in order.
    ProcessStopped { process: String, pid: u32 },
    /// It ended too often.
    RespawnExceeded { process: String },
    /// There is a designated controller.
    ControllerSet { node: String },
    /// It is none any more.
    ControllerUnset { node: String },
    /// The membership layer is stopping.
    RingStops,
    /// It has stopped.
    RingStopped,
    /// The resource manager is stopping.
    ManagerStops,
    /// It has stopped.
    ManagerStopped,
    /// A node asked to leave. Said by the controller only.
    NodeLeaves { node: String },
    /// A node is to be fenced.
    FenceBegins { action: String, node: String },
    /// It was fenced, or not.
    FenceEnded { action: String, node: String, by: String, ok: bool },
    /// It could not be fenced too often.
    FenceGivenUp { node: String },
    /// A fence device is called.
    DeviceBegins { device: String, executor: String, action: String, node: String },
    /// The call ended.
    DeviceEnded { device: String, node: String, ok: bool },
    /// A human said that a node is down.
    FenceConfirmed { action: String, node: String },
    /// A node attribute has a new value.
    AttributeSet { name: String, value: String, node: String },
    /// A node attribute is gone.
    AttributeDeleted { name: String, node: String },
    /// The membership layer starts.
    RingStarts { version: String },
    /// The resource manager starts.
    ManagerStarts { version: String },
    /// A fail-over begins. Said by the controller only, as all about fail-overs.
    FailOverBegins,
    /// Where a resource is in the end.
    Placed { resource: String, placement: Placement },
    /// Something is not managed: where things are means nothing.
    Unmanaged,
    /// All that is watched runs.
    FailOverSucceeded,
    /// It does not.
    FailOverFailed,
    /// Ours: why a fail-over began, in words.
    Because { why: String },
    /// Ours: why a resource is placed on a node.
    Chosen { resource: String, node: String, why: String },
    /// Ours: why it is not placed on a node; `constraint`: the id of what forbids it, where it is one.
    Refused { resource: String, node: String, constraint: Option<String>, why: String },
    /// A text that a site's rule has for itself.
    Text { level: Level, text: String },
}

/// A message of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its number in the table; empty for what has none.
    pub number: &'static str,
    /// How urgent it is.
    pub level: Level,
    /// Its words.
    pub text: String,
}

impl Event {
    /// Whether an attribute is spoken of: not those that count failures, nor the manager's own.
    #[must_use]
    pub fn speaks_of(attribute: &str) -> bool {
        !(attribute.starts_with("fail-count-")
            || attribute.starts_with("last-failure-")
            || attribute == "probe_complete"
            || attribute == "shutdown")
    }

    /// The words for it. `None`: the log does not speak of it, as of a monitor that found all well.
    #[must_use]
    pub fn message(&self, suffix: Suffix) -> Option<Message> {
        use Level::{Error, Info, Warning};
        let (number, level, text) = match self {
            Self::Begins { operation: Operation::Monitor, .. } => return None,
            Self::Begins { resource, operation, device } => {
                let text = format!("Resource {resource} tries to {}.", operation.as_str());
                (operation.numbers(*device)[0], Info, text)
            }
            Self::Ended { resource, operation, outcome, device } => {
                return ended(resource, *operation, *outcome, *device, suffix);
            }
            Self::NodeLost { node } => ("6-1", Warning, format!("Node {node} is lost")),
            Self::NodeMember { node } => ("6-2", Info, format!("Node {node} is member")),
            Self::RingFaulty { ring, interface } => {
                ("7-1", Warning, format!("Ring number {ring} is FAULTY (interface {interface})."))
            }
            Self::RingRecovered { ring } => ("7-2", Info, format!("Ring number {ring} is recovered.")),
            Self::NetworkLost { host } => ("8-1", Error, format!("Network to {host} is unreachable.")),
            Self::DiskError { device, attribute } => {
                ("9-1", Error, format!("Disk connection to {device} is ERROR. (attr_name={attribute})"))
            }
            Self::ProcessStarted { process, pid } => {
                ("10-1", Info, format!("Start \"{process}\" process. (pid={pid})"))
            }
            Self::ProcessExited { process, pid, rc } => ("10-2", Warning, exited(process, *pid, *rc)),
            Self::ProcessKilled { process, pid, signal } => (
                "10-3",
                Warning,
                format!("Managed \"{process}\" process terminated with signal {signal}. (pid={pid})"),
            ),
            // The numbers by which a daemon says so.
            Self::ProcessNotRestarted { process, pid } => ("10-4", Warning, exited(process, *pid, 100)),
            Self::ProcessResets { process, pid } => ("10-5", Warning, exited(process, *pid, 255)),
            Self::ProcessStopped { process, pid } => {
                ("10-6", Info, format!("Stop \"{process}\" process normally. (pid={pid})"))
            }
            Self::RespawnExceeded { process } => {
                ("10-7", Error, format!("Respawn count exceeded by \"{process}\"."))
            }
            Self::ControllerSet { node } => ("13-2", Info, format!("Set DC node to {node}.")),
            Self::ControllerUnset { node } => ("13-5", Info, format!("Unset DC node {node}.")),
            Self::RingStops => ("14-1", Info, "Corosync is shutting down.".to_owned()),
            Self::RingStopped => ("14-2", Info, "Corosync shutdown complete.".to_owned()),
            Self::ManagerStops => ("14-3", Info, "Pacemaker is shutting down.".to_owned()),
            Self::ManagerStopped => ("14-4", Info, "Pacemaker shutdown complete.".to_owned()),
            Self::NodeLeaves { node } => ("14-5", Info, format!("Pacemaker on {node} is shutting down.")),
            Self::FenceBegins { action, node } => {
                ("21-1", Info, format!("Try to STONITH ({action}) {node}."))
            }
            Self::FenceEnded { action, node, by, ok: true } => {
                ("21-2", Info, format!("Succeeded to STONITH ({action}) {node} by {by}."))
            }
            Self::FenceEnded { action, node, by, ok: false } => {
                ("21-3", Error, format!("Failed to STONITH ({action}) {node} by {by}."))
            }
            Self::FenceGivenUp { node } => ("21-4", Error, format!("Too many failures to STONITH {node}.")),
            Self::DeviceBegins { device, executor, action, node } => (
                "21-5",
                Info,
                format!("Try to execute STONITH device {device} on {executor} for {action} {node}."),
            ),
            Self::DeviceEnded { device, node, ok: true } => {
                ("21-6", Info, format!("Succeeded to execute STONITH device {device} for {node}."))
            }
            Self::DeviceEnded { device, node, ok: false } => {
                ("21-7", Warning, format!("Failed to execute STONITH device {device} for {node}."))
            }
            Self::FenceConfirmed { action, node } => {
                ("21-8", Info, format!("Succeeded to STONITH ({action}) {node} by a human."))
            }
            Self::AttributeSet { name, .. } | Self::AttributeDeleted { name, .. }
                if !Self::speaks_of(name) =>
            {
                return None;
            }
            Self::AttributeSet { name, value, node } => {
                ("22-1", Info, format!("Attribute \"{name}\" is updated to \"{value}\" at \"{node}\"."))
            }
            Self::AttributeDeleted { name, node } => {
                ("22-2", Info, format!("Attribute \"{name}\" is deleted at \"{node}\"."))
            }
            Self::RingStarts { version } => ("23-1", Info, format!("Starting Corosync {version}.")),
            Self::ManagerStarts { version } => ("23-4", Info, format!("Starting Pacemaker {version}.")),
            Self::FailOverBegins => ("F0", Error, "Start to fail-over.".to_owned()),
            Self::Placed { resource, placement } => match placement {
                Placement::StartedOn(node) => {
                    ("F11-1", Info, format!("Resource {resource} : Started on {node}"))
                }
                Placement::Moved { from, to } => {
                    ("F11-6", Info, format!("Resource {resource} : Move {from} -> {to}"))
                }
                Placement::Stopped => ("F11-2", Error, format!("Resource {resource} : Stopped")),
            },
            Self::Unmanaged => ("F11-5", Error, "Unmanaged resource exists.".to_owned()),
            Self::FailOverSucceeded => ("F12-1", Info, "fail-over succeeded.".to_owned()),
            Self::FailOverFailed => ("F12-2", Error, "fail-over failed.".to_owned()),
            Self::Because { why } => ("H1", Info, format!("Reason: {why}")),
            Self::Chosen { resource, node, why } => {
                ("H2", Info, format!("Resource {resource} is placed on {node}: {why}"))
            }
            Self::Refused { resource, node, constraint, why } => {
                let by = constraint.as_ref().map(|id| format!(" by constraint {id}")).unwrap_or_default();
                ("H3", Info, format!("Resource {resource} is kept from {node}{by}: {why}"))
            }
            Self::Text { level, text } => ("", *level, text.clone()),
        };
        Some(Message { number, level, text })
    }
}

fn exited(process: &str, pid: u32, rc: i32) -> String {
    format!("Managed \"{process}\" process exited. (pid={pid}, rc={rc})")
}

/// Results of monitors that are no failures: it runs, it runs promoted, and both of them with worries.
const MONITOR_WELL: [i32; 4] = [0, 8, 190, 191];

fn ended(
    resource: &str,
    operation: Operation,
    outcome: Outcome,
    device: bool,
    suffix: Suffix,
) -> Option<Message> {
    let numbers = operation.numbers(device);
    let monitor = operation == Operation::Monitor;
    let result = |rc: i32| match suffix {
        Suffix::Words => format!("(rc={rc}) {}", words::of_result(rc)),
        Suffix::Numbers => format!("(rc={rc})"),
    };
    let name = operation.as_str();
    let (number, level, text) = match outcome {
        Outcome::Agent(rc) if monitor && MONITOR_WELL.contains(&rc) => return None,
        Outcome::Agent(0) => {
            (numbers[1], Level::Info, format!("Resource {resource} {}. {}", operation.done(), result(0)))
        }
        Outcome::Agent(7) if monitor => {
            ("3-2", Level::Error, format!("Resource {resource} does not work. {}", result(7)))
        }
        Outcome::Agent(rc) => {
            (numbers[2], Level::Error, format!("Resource {resource} failed to {name}. {}", result(rc)))
        }
        Outcome::TimedOut => {
            (numbers[3], Level::Error, format!("Resource {resource} failed to {name}. (Timed Out)"))
        }
        Outcome::Executor(status) => {
            let how = match suffix {
                Suffix::Words => words::of_status(status).to_owned(),
                Suffix::Numbers => format!("(status={status})"),
            };
            (numbers[2], Level::Error, format!("Resource {resource} failed to {name}. {how}"))
        }
    };
    Some(Message { number, level, text })
}
