//! What is to be run and how it ended.

use holdfast_types::Span;

/// Chosen by the caller; comes back with the outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(pub u64);

/// Exit codes of OCF agents (resource agent API 1.1).
pub mod rc {
    /// Success; for a monitor: running.
    pub const SUCCESS: i32 = 0;
    /// Error without a more exact code.
    pub const ERR_GENERIC: i32 = 1;
    /// Parameter invalid on this node.
    pub const ERR_ARGS: i32 = 2;
    /// Action not implemented.
    pub const ERR_UNIMPLEMENTED: i32 = 3;
    /// Insufficient privileges.
    pub const ERR_PERM: i32 = 4;
    /// Software missing on this node.
    pub const ERR_INSTALLED: i32 = 5;
    /// Configuration wrong everywhere.
    pub const ERR_CONFIGURED: i32 = 6;
    /// Cleanly stopped.
    pub const NOT_RUNNING: i32 = 7;
    /// Timed out (internal: agents never return it).
    pub const TIMED_OUT: i32 = 198;
}

/// One operation.
#[derive(Clone, Debug)]
pub struct Job {
    /// The caller's number for it.
    pub id: JobId,
    /// Resource id (or fence device id): operations of one resource never overlap.
    pub resource: String,
    /// What to run.
    pub work: Work,
    /// Instance attributes: `OCF_RESKEY_*`, or `key=value` lines on a fence agent's standard input.
    pub params: Vec<(String, String)>,
    /// Meta attributes and operation properties (`OCF_RESKEY_CRM_meta_*`, dashes become underscores).
    pub meta: Vec<(String, String)>,
    /// Killed after this long.
    pub timeout: Span,
    /// Repeated at this interval until cancelled; zero: once. A recurring job reports its first result and every
    /// result that differs from the one before.
    pub interval: Span,
}

/// Which program, called how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work {
    /// `resource.d/PROVIDER/AGENT ACTION`.
    Ocf {
        /// Provider, e.g. `heartbeat`.
        provider: String,
        /// Agent, e.g. `Dummy`.
        agent: String,
        /// Action, e.g. `start`.
        action: String,
    },
    /// A fence agent, called without arguments, with `action=…` and the parameters on standard input.
    Fence {
        /// Agent, e.g. `fence_ipmilan`.
        agent: String,
        /// Action, e.g. `off`.
        action: String,
    },
}

impl Work {
    /// The action's name.
    pub fn action(&self) -> &str {
        match self {
            Self::Ocf { action, .. } | Self::Fence { action, .. } => action,
        }
    }
}

/// How an operation ended, apart from the agent's exit code (`op-status` of Pacemaker's history).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpStatus {
    /// The agent ran to its end; its exit code is the result.
    Done,
    /// Cancelled before or while it ran.
    Cancelled,
    /// Killed at its timeout.
    Timeout,
    /// Could not be executed (fork or exec failed, or ended by a signal).
    Error,
    /// There is no such agent here.
    NotInstalled,
}

/// Result of one run of a job.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The job.
    pub id: JobId,
    /// Its resource.
    pub resource: String,
    /// Its action.
    pub action: String,
    /// How it ended.
    pub status: OpStatus,
    /// The agent's exit code; [`rc::TIMED_OUT`] and [`rc::ERR_INSTALLED`] where the status says so.
    pub rc: i32,
    /// The last `ocf-exit-reason:` line, or our own words where the agent could not speak.
    pub reason: String,
    /// Standard output, at most 64 KiB.
    pub stdout: String,
    /// Standard error, at most 64 KiB.
    pub stderr: String,
    /// From start to end.
    pub exec: Span,
    /// Time spent waiting for its turn.
    pub queued: Span,
    /// More results of this job may follow.
    pub recurring: bool,
}

impl Outcome {
    /// The agent ran to its end and said that all is well.
    pub fn is_ok(&self) -> bool {
        self.status == OpStatus::Done && self.rc == rc::SUCCESS
    }
}
