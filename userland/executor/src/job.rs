//! What is to be run and how it ended.

use std::path::PathBuf;

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
    /// Running promoted.
    pub const RUNNING_PROMOTED: i32 = 8;
    /// Working, but about to fail.
    pub const DEGRADED: i32 = 190;
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
    /// A fence device. `fence_X`: called without arguments, with `action=…` and the parameters on standard input.
    /// Otherwise a plugin of cluster-glue: a script of `external/X`, called with parameters in its environment, or one
    /// that only the program `stonith` can call.
    Fence {
        /// Agent, e.g. `fence_ipmilan`, `external/ipmi`, `apcmaster`.
        agent: String,
        /// Action, e.g. `off`.
        action: String,
    },
    /// `/etc/init.d/AGENT ACTION`, without parameters; `monitor` is `status`.
    Lsb {
        /// Script, e.g. `rsync`.
        agent: String,
        /// Action.
        action: String,
    },
    /// A unit of systemd: `start`, `stop`, `restart`, `monitor`.
    Systemd {
        /// Unit, e.g. `cron`; `.service` is implied.
        unit: String,
        /// Action.
        action: String,
    },
    /// An init script of this name if there is one, else a unit of systemd.
    Service {
        /// Name.
        agent: String,
        /// Action.
        action: String,
    },
    /// A Nagios plugin, with parameters as `--NAME VALUE`; its `start` is a check, its `stop` does nothing.
    Nagios {
        /// Plugin, e.g. `check_tcp`.
        agent: String,
        /// Action.
        action: String,
    },
    /// An alert agent, without arguments: parameters are variables of its environment.
    Alert {
        /// The program, absolute.
        path: PathBuf,
    },
}

impl Work {
    /// What a resource's `class`, `provider` and `type` stand for; `None`: a class that does not exist here.
    pub fn of(class: &str, provider: &str, kind: &str, action: &str) -> Option<Self> {
        let (agent, action) = (kind.to_owned(), action.to_owned());
        Some(match class {
            "ocf" => Self::Ocf { provider: provider.to_owned(), agent, action },
            "stonith" => Self::Fence { agent, action },
            "lsb" => Self::Lsb { agent, action },
            "systemd" => Self::Systemd { unit: agent, action },
            "service" => Self::Service { agent, action },
            "nagios" => Self::Nagios { agent, action },
            _ => return None,
        })
    }

    /// The action's name.
    pub fn action(&self) -> &str {
        match self {
            Self::Ocf { action, .. }
            | Self::Fence { action, .. }
            | Self::Lsb { action, .. }
            | Self::Systemd { action, .. }
            | Self::Service { action, .. }
            | Self::Nagios { action, .. } => action,
            Self::Alert { .. } => "alert",
        }
    }

    /// A fence device's.
    pub fn is_fence(&self) -> bool {
        matches!(self, Self::Fence { .. })
    }

    /// An action that only looks.
    pub(crate) fn is_look(&self) -> bool {
        matches!(
            self.action(),
            "monitor" | "status" | "meta-data" | "metadata" | "validate-all" | "notify" | "alert"
        )
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
    /// It ended as the time before, and is told only because the agent wrote something to standard error, or has ceased to.
    pub repeated: bool,
}

impl Outcome {
    /// The agent ran to its end and said that all is well.
    pub fn is_ok(&self) -> bool {
        self.status == OpStatus::Done && self.rc == rc::SUCCESS
    }
}
