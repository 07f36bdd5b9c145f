//! What goes into a [`Manager`](crate::Manager) and what comes out of it.

use std::collections::BTreeMap;

use cib::Cib;
use executor::{Job, JobId, Outcome};
use holdfast_types::{Boottime, WallTime};
use serde::Deserialize;
use tracing::Level;

/// What a manager is told at start.
#[derive(Clone, Debug)]
pub struct Config {
    /// This node.
    pub me: u32,
    /// Every configured node's name.
    pub nodes: BTreeMap<u32, String>,
    /// `totem.cluster_name`.
    pub cluster_name: String,
    /// Life of this node's ring daemon; 0: it does not say.
    pub incarnation: u64,
    /// The configuration that this node has.
    pub cib: Cib,
}

/// Both clocks: one to decide by, one for people.
#[derive(Clone, Copy, Debug, Default)]
pub struct Now {
    /// The clock that counts suspend.
    pub boot: Boottime,
    /// The wall clock.
    pub wall: WallTime,
}

/// Something happened.
#[derive(Clone, Debug)]
pub enum Input {
    /// The process group changed. Members are node and pid.
    View {
        /// All members now.
        members: Vec<(u32, u32)>,
        /// Who left, and why in words.
        left: Vec<(u32, u32, &'static str)>,
        /// Who joined.
        joined: Vec<(u32, u32)>,
    },
    /// An ordered message.
    Message {
        /// Its sender.
        node: u32,
        /// Its bytes.
        bytes: Vec<u8>,
    },
    /// Quorum as the ring daemon tells it.
    Quorum {
        /// This partition may act.
        quorate: bool,
        /// Members of the ring.
        members: Vec<u32>,
    },
    /// The ring daemon knows of a confirmed death.
    Confirmed {
        /// The node.
        node: u32,
        /// Its life.
        incarnation: u64,
    },
    /// The ring daemon has seen this life of a node.
    Life {
        /// The node.
        node: u32,
        /// Its life.
        incarnation: u64,
    },
    /// A reconfiguration step begins.
    Step(StepAt),
    /// The executor's word on a job.
    Outcome(Box<Outcome>),
    /// An administrator asks.
    Admin {
        /// Where the answer goes.
        conn: u64,
        /// What.
        request: Admin,
    },
    /// This process shall leave in order.
    Shutdown,
    /// The ring daemon is gone.
    Disconnected,
}

/// A reconfiguration step, `EPOCH/STEP/NAME`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StepAt {
    /// Which reconfiguration.
    pub epoch: u64,
    /// Number of the step.
    pub step: u32,
    /// Its name: `sync`, `quorum`, `fence`, `resources`, `end`.
    pub name: String,
}

/// What an administrator asks: one JSON object, told apart by `cmd`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "cmd", rename_all = "kebab-case")]
pub enum Admin {
    /// The model of cluster state.
    Status,
    /// What this manager knows in Prometheus's text form: `{"text": …}`.
    Metrics,
    /// The configuration as XML.
    Cib,
    /// Does something to the document.
    CibDo {
        /// What.
        operation: Box<cib::operation::Operation>,
    },
    /// Replaces the configuration; the version is raised.
    CibReplace {
        /// The document.
        xml: String,
    },
    /// Forgets failures: what failed is looked at anew.
    Cleanup(Whose),
    /// Looks at resources anew, whether or not they failed.
    Refresh(Whose),
    /// Acts as if a resource had failed.
    Fail {
        /// Its id.
        resource: String,
        /// The node's name.
        node: String,
    },
    /// Sets a transient node attribute.
    AttributeUpdate {
        /// Its name.
        name: String,
        /// `null`: it is deleted; `value++` and `value+=N` count on.
        value: Option<String>,
        /// The node's name; `null`: this node.
        #[serde(default)]
        node: Option<String>,
        /// Later changes are held back so long; `null`: as before.
        #[serde(default)]
        dampen_ms: Option<u64>,
        /// Nothing but that is set.
        #[serde(default)]
        set_dampen_only: bool,
        /// It stands in no status.
        #[serde(default)]
        private: bool,
    },
    /// Values of a transient node attribute.
    AttributeQuery {
        /// Its name.
        name: String,
        /// The node's name; `null`: all.
        #[serde(default)]
        node: Option<String>,
    },
    /// Nodes, quorum, the controller, and what this member does.
    Nodes,
    /// The same, with what the designated controller does: it is asked, after all that was changed here before.
    Controller,
    /// From now on every event, one JSON object a line, until the connection ends.
    Events,
    /// Has a node fenced.
    Fence {
        /// Its name.
        node: String,
        /// `off`, `reboot`.
        action: String,
        /// Who asks.
        #[serde(default)]
        client: Option<String>,
    },
    /// What was fenced.
    FenceHistory {
        /// Only this node.
        #[serde(default)]
        node: Option<String>,
    },
    /// Fence devices.
    FenceDevices {
        /// Only those that can fence this node.
        #[serde(default)]
        node: Option<String>,
    },
    /// Forgets a node that will not come back.
    RemoveNode {
        /// Its name.
        node: String,
    },
    /// Takes a node out of service, or back in.
    Standby {
        /// Its name.
        node: String,
        /// Out.
        #[serde(default = "yes")]
        on: bool,
    },
    /// Sets a meta attribute of a resource or group (`null`: removes it).
    Meta {
        /// Its id.
        resource: String,
        /// `target-role`, `is-managed`, …
        name: String,
        /// Its value.
        value: Option<String>,
    },
    /// The operator's word that a lost node is dead.
    Confirm {
        /// Its name.
        node: String,
        /// Who says so, and from where; `null`: nobody knows.
        #[serde(default)]
        by: Option<String>,
    },
}

/// Which resources on which nodes; what is missing means all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Whose {
    /// The resource's id.
    #[serde(default)]
    pub resource: Option<String>,
    /// The node's name.
    #[serde(default)]
    pub node: Option<String>,
    /// Only where this operation failed.
    #[serde(default)]
    pub operation: Option<String>,
    /// With this interval in milliseconds; none: once.
    #[serde(default)]
    pub interval_ms: Option<u64>,
}

fn yes() -> bool {
    true
}

/// What the manager wants done.
#[derive(Clone, Debug)]
pub enum Output {
    /// Multicast to the group, in the order of outputs.
    Multicast(Vec<u8>),
    /// Run a job.
    Run(Box<Job>),
    /// End a job.
    Cancel(JobId),
    /// Save the configuration durably.
    Save(String),
    /// Tell the ring daemon that a life is over; 0: the last one known.
    Confirm {
        /// The node.
        node: u32,
        /// Its life.
        incarnation: u64,
        /// Who saw to it and why, in words.
        why: String,
    },
    /// This node's part of a reconfiguration step is over.
    StepDone {
        /// Which reconfiguration.
        epoch: u64,
        /// Number of the step.
        step: u32,
    },
    /// A log line.
    Log(Level, String),
    /// Alert agents are to be told.
    Alert(Box<executor::AlertEvent>),
    /// The alert agents from now on.
    Alerts(Vec<executor::Alert>),
    /// Something for the operator's log.
    Said(Box<crate::said::Said>),
    /// An answer to an administrator: a JSON value, or what is wrong.
    Reply {
        /// As it came.
        conn: u64,
        /// The answer.
        answer: Result<serde_json::Value, String>,
    },
    /// Everything is stopped and said: the process may leave. `false`: something may still run here.
    Finished(bool),
}
