//! What is known of the cluster, and how an operation's result changes it. This is the replicated state of the
//! resource manager: every member applies the same results in the same order and so knows the same.

use std::collections::BTreeMap;

use cib::{Primitive, md5_hex};
use holdfast_types::NodeId;
use serde::{Deserialize, Serialize};

/// A fail count that only a cleanup or `failure-timeout` takes away.
pub const FAIL_COUNT_INFINITY: u32 = 1_000_000;

/// Everything that [`crate::plan`] looks at besides the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterState {
    /// This partition may act.
    pub quorate: bool,
    /// The designated controller.
    pub dc: Option<NodeId>,
    /// Every configured node.
    pub nodes: BTreeMap<NodeId, NodeState>,
}

/// One node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeState {
    /// Its name.
    pub name: String,
    /// Whether it takes part, and if not, whether it may still run something.
    pub presence: Presence,
    /// It has asked to leave: everything on it is stopped.
    pub shutting_down: bool,
    /// A fence device can reach it, and fencing it has not been given up.
    pub fenceable: bool,
    /// What its resources do. A resource that is missing here has not been probed.
    pub resources: BTreeMap<String, ResourceState>,
}

/// Whether a node takes part.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Presence {
    /// It takes part and has reported what it runs.
    Online,
    /// It does not take part and runs nothing: it stopped cleanly, or its death is confirmed.
    #[default]
    Offline,
    /// It may still run what it ran, or was told to run: nothing is started that it may run.
    Unclean {
        /// Why, in words.
        why: String,
        /// Fencing it is wanted. `false`: only waited for, as for a node that has not been seen yet.
        fence: bool,
    },
}

/// One resource on one node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceState {
    /// What it does there.
    pub activity: Activity,
    /// An operation that was ordered and has not been reported.
    pub pending: Option<Pending>,
    /// Failures since the last cleanup or expiry.
    pub fail_count: u32,
    /// The last failure, kept until cleanup or expiry.
    pub failure: Option<Failure>,
    /// It cannot run here: a hard error such as a missing program.
    pub banned: bool,
    /// It can run nowhere: the agent said that the configuration is wrong.
    pub banned_everywhere: bool,
    /// [`params_digest`] of the parameters it was started with; empty: not known.
    pub digest: String,
    /// The last operation that was not a repeated monitor.
    pub last: Option<OpResult>,
}

/// What a resource does on a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Activity {
    /// Not known: to be probed.
    #[default]
    Unknown,
    /// Seen stopped.
    Stopped,
    /// Seen running.
    Started,
    /// An operation failed; it may be running and has to be stopped before it is started anywhere.
    Failed,
    /// Its stop failed: it may be running and cannot be stopped.
    StopFailed,
}

/// An operation under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// `start`, `stop`, `monitor`.
    pub action: String,
    /// Microseconds since the Unix epoch when it was ordered, for people.
    pub since_us: i64,
    /// The order that it carries out, as its giver numbered it; `None`: the node's own decision.
    pub order: Option<[u64; 3]>,
}

/// A failed operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Its result.
    pub result: OpResult,
    /// Microseconds since the Unix epoch, on the clock of the node that reported it.
    pub at_us: i64,
}

/// How an operation ended, apart from its exit code.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OpStatus {
    /// The agent ended by itself.
    #[default]
    Done,
    /// Killed at its time limit.
    Timeout,
    /// Could not be run, or ended by a signal.
    Error,
    /// There is no such agent on the node.
    NotInstalled,
}

/// Result of an operation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpResult {
    /// `start`, `stop`, `monitor`.
    pub action: String,
    /// 0: ran once.
    pub interval_ms: u64,
    /// How it ended.
    pub status: OpStatus,
    /// Exit code.
    pub rc: i32,
    /// The agent's words.
    pub reason: String,
    /// Number of the call on that node.
    pub call: u64,
    /// Microseconds since the Unix epoch, on the node's clock.
    pub at_us: i64,
    /// How long it ran.
    pub exec_ms: u64,
    /// How long it waited to run.
    pub queued_ms: u64,
    /// [`params_digest`] of the parameters it ran with.
    pub digest: String,
}

impl OpResult {
    /// A monitor that ran once.
    #[must_use]
    pub fn is_probe(&self) -> bool {
        self.action == "monitor" && self.interval_ms == 0
    }

    /// What it says about the resource.
    fn verdict(&self) -> Verdict {
        let probe = self.is_probe();
        match (self.status, self.rc, self.action.as_str()) {
            (OpStatus::NotInstalled, ..) if probe => Verdict::NotInstalled,
            // Stopping what is not installed is no failure.
            (OpStatus::NotInstalled, _, "stop") => Verdict::Ok(Activity::Stopped),
            (OpStatus::NotInstalled, ..) => Verdict::HardError,
            (OpStatus::Timeout | OpStatus::Error, ..) => Verdict::Error,
            (_, RC_OK | RC_DEGRADED, "monitor") => Verdict::Ok(Activity::Started),
            (_, RC_OK, "start") => Verdict::Ok(Activity::Started),
            (_, RC_OK | RC_NOT_RUNNING, "stop") => Verdict::Ok(Activity::Stopped),
            (_, RC_NOT_RUNNING, _) if probe => Verdict::Ok(Activity::Stopped),
            (_, RC_ARGS | RC_NOT_INSTALLED, _) if probe => Verdict::NotInstalled,
            (_, RC_ARGS..=RC_NOT_INSTALLED, _) => Verdict::HardError,
            (_, RC_NOT_CONFIGURED, _) => Verdict::FatalError,
            _ => Verdict::Error,
        }
    }

    /// Whether it counts as a failure.
    #[must_use]
    pub fn failed(&self) -> bool {
        !matches!(self.verdict(), Verdict::Ok(_))
    }
}

/// What a result says.
enum Verdict {
    Ok(Activity),
    /// A probe found that it cannot run here, and so does not.
    NotInstalled,
    Error,
    /// It cannot run on this node.
    HardError,
    /// It cannot run anywhere.
    FatalError,
}

const RC_OK: i32 = 0;
const RC_ARGS: i32 = 2;
const RC_NOT_INSTALLED: i32 = 5;
const RC_NOT_CONFIGURED: i32 = 6;
const RC_NOT_RUNNING: i32 = 7;
const RC_DEGRADED: i32 = 190;

impl ResourceState {
    /// Enters a result.
    pub fn record(&mut self, result: OpResult, start_failure_is_fatal: bool) {
        let recurring = result.interval_ms > 0;
        if !recurring {
            self.pending = None;
        }
        match result.verdict() {
            Verdict::Ok(activity) => self.succeeded(activity, &result),
            Verdict::NotInstalled => {
                self.activity = Activity::Stopped;
                self.banned = true;
                self.failure = Some(Failure { at_us: result.at_us, result: result.clone() });
            }
            verdict => {
                self.banned |= matches!(verdict, Verdict::HardError);
                self.banned_everywhere |= matches!(verdict, Verdict::FatalError);
                self.failed(&result, start_failure_is_fatal);
            }
        }
        if !recurring {
            self.last = Some(result);
        }
    }

    fn succeeded(&mut self, activity: Activity, result: &OpResult) {
        match result.action.as_str() {
            // A repeated monitor that is well again takes back what it said itself, nothing else.
            "monitor" if result.interval_ms > 0 => {
                let own =
                    |f: &Failure| f.result.action == "monitor" && f.result.interval_ms == result.interval_ms;
                if self.activity == Activity::Failed && self.failure.as_ref().is_some_and(own) {
                    self.activity = Activity::Started;
                }
                return;
            }
            "start" => self.digest.clone_from(&result.digest),
            // Found running: with which parameters is not known, unless it was started here.
            "monitor" if self.activity != Activity::Started => self.digest.clear(),
            _ => {}
        }
        self.activity = activity;
    }

    fn failed(&mut self, result: &OpResult, start_failure_is_fatal: bool) {
        let fatal = result.action == "stop" || (result.action == "start" && start_failure_is_fatal);
        self.fail_count = if fatal {
            FAIL_COUNT_INFINITY
        } else {
            self.fail_count.saturating_add(1).min(FAIL_COUNT_INFINITY)
        };
        self.failure = Some(Failure { result: result.clone(), at_us: result.at_us });
        // A recurring monitor of something that was stopped meanwhile is old news.
        let stale = result.interval_ms > 0 && matches!(self.activity, Activity::Stopped | Activity::Unknown);
        if !stale && self.activity != Activity::StopFailed {
            self.activity = if result.action == "stop" { Activity::StopFailed } else { Activity::Failed };
        }
    }

    /// Forgets failures; what was not cleanly known is probed again.
    pub fn cleanup(&mut self) {
        (self.fail_count, self.failure, self.banned, self.banned_everywhere) = (0, None, false, false);
        if matches!(self.activity, Activity::Failed | Activity::StopFailed) {
            self.activity = Activity::Unknown;
        }
    }

    /// Forgets failures that have expired; what it does is not touched.
    pub fn expire(&mut self) {
        (self.fail_count, self.failure) = (0, None);
        if !matches!(self.activity, Activity::Failed | Activity::StopFailed) {
            (self.banned, self.banned_everywhere) = (false, false);
        }
    }

    /// It may be running there.
    #[must_use]
    pub fn may_run(&self) -> bool {
        self.pending.as_ref().is_some_and(|p| p.action == "start")
            || !matches!(self.activity, Activity::Stopped)
    }
}

/// Digest of a resource's parameters and agent: another one means that a running resource must be restarted.
#[must_use]
pub fn params_digest(primitive: &Primitive) -> String {
    let mut params = primitive.params.clone();
    params.sort();
    let mut element = cib::Element::new("parameters").with("agent", &primitive.agent());
    for (name, value) in params {
        element.attributes.insert(&format!("p-{name}"), value);
    }
    md5_hex(element.to_xml().as_bytes())
}
