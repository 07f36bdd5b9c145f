//! Alert agents: programs that are told what happens in the cluster, by variables in their environment (`CRM_alert_*`, each
//! also under the older name `CRM_notify_*`).
//!
//! They have an executor of their own, so that they hold no agent up, and each recipient of each of them has a queue, so
//! that one that hangs delays only itself. What does not fit a queue is dropped and counted: an alert that comes an hour
//! late is worth less than the next one in time.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use crossbeam_channel::Receiver;
use holdfast_types::{Span, WallTime};
use jiff::tz::TimeZone;

use crate::job::{Job, JobId, OpStatus, Outcome, Work};
use crate::{Executor, ExecutorConfig};

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AlertEvent {
    /// A node came or went.
    Node {
        /// Its name.
        node: String,
        /// Its id.
        id: u32,
        /// It is a member now; else it is lost.
        member: bool,
    },
    /// A fencing operation ended.
    Fencing {
        /// The victim.
        target: String,
        /// The operation in words, as `Operation off of n2 by n1 for rgmd.1@n1: OK (ref=…)`.
        description: String,
        /// 0, or why it failed, as an exit status of the commands.
        rc: i32,
    },
    /// An operation on a resource ended.
    Resource {
        /// Where.
        node: String,
        /// The resource.
        resource: String,
        /// The operation, e.g. `start`.
        task: String,
        /// Its interval, milliseconds; 0: once.
        interval_ms: u64,
        /// What it returned.
        rc: i32,
        /// What was expected.
        target_rc: i32,
        /// Its status, as `op-status` in the history.
        status: i32,
        /// How long it ran, milliseconds.
        exec_ms: u64,
        /// Its result in words, as `ok`.
        description: String,
    },
    /// A transient node attribute changed.
    Attribute {
        /// Whose.
        node: String,
        /// Its id.
        id: u32,
        /// The attribute.
        name: String,
        /// Its value; empty: none.
        value: String,
    },
}

/// Which events an agent is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    /// `select_nodes`.
    pub nodes: bool,
    /// `select_fencing`.
    pub fencing: bool,
    /// `select_resources`.
    pub resources: bool,
    /// `select_attributes`: these; an empty list: all.
    pub attributes: Option<Vec<String>>,
}

impl Default for Selection {
    /// All but attributes.
    fn default() -> Self {
        Self { nodes: true, fencing: true, resources: true, attributes: None }
    }
}

/// An alert agent with one of its recipients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    /// Its id, and that of the recipient: tells queues apart.
    pub id: String,
    /// The program, absolute.
    pub path: PathBuf,
    /// `CRM_alert_recipient`; empty: none is configured.
    pub recipient: String,
    /// Ended after this long (meta attribute `timeout`).
    pub timeout: Span,
    /// How `CRM_alert_timestamp` is written (meta attribute `timestamp-format`).
    pub timestamp_format: String,
    /// Instance attributes: variables with these names.
    pub params: Vec<(String, String)>,
    /// What it is told.
    pub selection: Selection,
}

impl Alert {
    /// With Pacemaker's defaults.
    pub fn new(id: &str, path: PathBuf, recipient: &str) -> Self {
        Self {
            id: id.to_owned(),
            path,
            recipient: recipient.to_owned(),
            timeout: Span::from_secs(30),
            timestamp_format: "%H:%M:%S.%06N".to_owned(),
            params: Vec::new(),
            selection: Selection::default(),
        }
    }
}

/// How the call of an alert agent ended, for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlertResult {
    /// [`Alert::id`].
    pub id: String,
    /// What went wrong; `None`: nothing.
    pub error: Option<String>,
    /// What it wrote to standard error.
    pub stderr: String,
}

/// Calls alert agents.
#[derive(Debug)]
pub struct Alerts {
    executor: Executor,
    outcomes: Receiver<Outcome>,
    /// Calls that are queued or run, by agent and recipient.
    waiting: BTreeMap<String, usize>,
    dropped: u64,
    sequence: u64,
}

impl Alerts {
    /// Starts the thread that calls them, as the user `hacluster` where there is one. `notify` is called when there are
    /// results.
    ///
    /// # Errors
    /// When the thread cannot be made.
    pub fn new(config: &ExecutorConfig, notify: impl Fn() + Send + 'static) -> io::Result<Self> {
        let user = nix::unistd::User::from_name("hacluster").ok().flatten();
        let root = nix::unistd::geteuid().is_root();
        let alert_user = user.filter(|_| root).map(|u| (u.uid.as_raw(), u.gid.as_raw()));
        let config =
            ExecutorConfig { watch: false, alert_user, parallel_max: PARALLEL_MAX, ..config.clone() };
        let (executor, outcomes) = Executor::new(config, notify)?;
        Ok(Self { executor, outcomes, waiting: BTreeMap::new(), dropped: 0, sequence: 0 })
    }

    /// Tells all agents that want to know. `at`: when it happened.
    pub fn tell(&mut self, agents: &[Alert], event: &AlertEvent, at: WallTime) {
        self.take_results();
        self.sequence += 1;
        for alert in agents.iter().filter(|a| a.selection.wants(event)) {
            let waiting = self.waiting.entry(alert.id.clone()).or_default();
            if *waiting >= QUEUE_MAX {
                self.dropped += 1;
                continue;
            }
            *waiting += 1;
            let mut params = variables(alert, event, at, self.sequence);
            params.extend(alert.params.iter().cloned());
            self.executor.submit(Job {
                id: JobId(self.sequence),
                resource: alert.id.clone(),
                work: Work::Alert { path: alert.path.clone() },
                params,
                meta: Vec::new(),
                timeout: alert.timeout,
                interval: Span::ZERO,
            });
        }
    }

    /// Calls that have ended since the last time.
    pub fn take_results(&mut self) -> Vec<AlertResult> {
        let mut results = Vec::new();
        while let Ok(out) = self.outcomes.try_recv() {
            if let Some(waiting) = self.waiting.get_mut(&out.resource) {
                *waiting = waiting.saturating_sub(1);
                if *waiting == 0 {
                    self.waiting.remove(&out.resource);
                }
            }
            let error = match out.status {
                OpStatus::Done if out.rc == 0 => None,
                OpStatus::Done => Some(format!("it returned {}", out.rc)),
                _ => Some(out.reason),
            };
            results.push(AlertResult { id: out.resource, error, stderr: out.stderr });
        }
        results
    }

    /// Alerts that were dropped since the start, because the agent had too many waiting.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }
}

impl Selection {
    fn wants(&self, event: &AlertEvent) -> bool {
        match event {
            AlertEvent::Node { .. } => self.nodes,
            AlertEvent::Fencing { .. } => self.fencing,
            AlertEvent::Resource { .. } => self.resources,
            AlertEvent::Attribute { name, .. } => {
                self.attributes.as_ref().is_some_and(|names| names.is_empty() || names.contains(name))
            }
        }
    }
}

/// The environment of one call.
fn variables(alert: &Alert, event: &AlertEvent, at: WallTime, sequence: u64) -> Vec<(String, String)> {
    let mut all: Vec<(&str, String)> = vec![
        ("version", VERSION.to_owned()),
        ("recipient", alert.recipient.clone()),
        ("timestamp", timestamp(&alert.timestamp_format, at)),
        ("timestamp_epoch", at.0.div_euclid(1_000_000).to_string()),
        ("timestamp_usec", format!("{:06}", at.0.rem_euclid(1_000_000))),
    ];
    let text = |value: &str| value.to_owned();
    match event {
        AlertEvent::Node { node, id, member } => all.extend([
            ("kind", text("node")),
            ("node", text(node)),
            ("nodeid", id.to_string()),
            ("desc", text(if *member { "member" } else { "lost" })),
        ]),
        AlertEvent::Fencing { target, description, rc } => all.extend([
            ("kind", text("fencing")),
            ("node", text(target)),
            ("desc", text(description)),
            ("task", text("st_notify_fence")),
            ("rc", rc.to_string()),
        ]),
        AlertEvent::Resource {
            node,
            resource,
            task,
            interval_ms,
            rc,
            target_rc,
            status,
            exec_ms,
            description,
        } => all.extend([
            ("kind", text("resource")),
            ("node", text(node)),
            ("desc", text(description)),
            ("task", text(task)),
            ("rsc", text(resource)),
            ("interval", interval_ms.to_string()),
            ("target_rc", target_rc.to_string()),
            ("status", status.to_string()),
            ("exec_time", exec_ms.to_string()),
            ("rc", rc.to_string()),
        ]),
        AlertEvent::Attribute { node, id, name, value } => all.extend([
            ("kind", text("attribute")),
            ("node", text(node)),
            ("nodeid", id.to_string()),
            ("attribute_name", text(name)),
            ("attribute_value", text(value)),
        ]),
    }
    let twice = |(name, value): (&str, String)| {
        [(format!("CRM_alert_{name}"), value.clone()), (format!("CRM_notify_{name}"), value)]
    };
    let mut named: Vec<(String, String)> = all.into_iter().flat_map(twice).collect();
    // This one has no older name.
    named.push(("CRM_alert_node_sequence".to_owned(), sequence.to_string()));
    named
}

/// A time in the format of `date`, with `%N` and `%06N` for nanoseconds and their first digits. A format that cannot be
/// meant gives the default one.
fn timestamp(format: &str, at: WallTime) -> String {
    let nanos = format!("{:06}000", at.0.rem_euclid(1_000_000));
    let mut plain = String::new();
    let mut rest = format;
    while let Some(at) = rest.find('%') {
        plain.push_str(&rest[..at]);
        let spec = &rest[at + 1..];
        let digits = spec.len() - spec.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        if spec[digits..].starts_with('N') {
            let width = spec[..digits].parse::<usize>().unwrap_or(9).clamp(1, 9);
            plain.push_str(&nanos[..width]);
            rest = &spec[digits + 1..];
        } else {
            // Two signs: what the calendar reads.
            let next = spec.chars().next().map_or(0, char::len_utf8);
            plain.push('%');
            plain.push_str(&spec[..next]);
            rest = &spec[next..];
        }
    }
    plain.push_str(rest);
    let Ok(moment) = jiff::Timestamp::from_microsecond(at.0) else { return String::new() };
    let moment = moment.to_zoned(TimeZone::system());
    jiff::fmt::strtime::format(&plain, &moment)
        .unwrap_or_else(|_| format!("{}.{}", moment.strftime("%H:%M:%S"), &nanos[..6]))
}

/// What agents may ask for as Pacemaker's.
const VERSION: &str = "2.1.5";
/// Calls of one agent and recipient that may wait.
const QUEUE_MAX: usize = 100;
/// Calls at the same time, of all agents.
const PARALLEL_MAX: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fractions_of_a_second_are_written_as_date_writes_them() {
        let at = WallTime(1_700_000_000_012_345);
        assert!(timestamp("%H:%M:%S.%06N", at).ends_with(".012345"));
        assert_eq!(timestamp("%3N %N %%N", at), "012 012345000 %N");
        assert_eq!(timestamp("%s", at), "1700000000");
        assert!(timestamp("%!?", at).ends_with(".012345"), "what cannot be meant gives the default");
        assert_eq!(timestamp("100%", at).len(), 15);
    }
}
