//! The transition graph: what has to be done, and what has to be done before it.
//!
//! It is a value of plain tables, made by code and read back from files:
//!
//! * [`Graph::actions`] holds every action that the graph mentions, once, in any order;
//! * [`Graph::synapses`] lists those that are to be carried out, in the order in which they are tried. A synapse names its
//!   action, and the actions that must be done before, by their places in that table, the latter by ascending
//!   [`Action::id`].
//!
//! An action that is only waited for has a place in the table and no synapse: it is never done, and neither is what waits
//! for it.
//!
//! ```
//! use scheduler::transition::{Action, Graph, Kind, Synapse};
//!
//! let mut graph = Graph::default();
//! graph.actions.push(Action::new(1, Kind::PseudoEvent, "stop", "group_stop_0"));
//! graph.actions.push(Action::new(2, Kind::PseudoEvent, "stopped", "group_stopped_0"));
//! graph.synapses.push(Synapse { priority: 0, action: 1, inputs: vec![0] });
//! graph.synapses.push(Synapse { priority: 0, action: 0, inputs: vec![] });
//! let text = graph.to_xml();
//! assert_eq!(Graph::parse(&text, "example").unwrap().to_xml(), text);
//! ```

mod execute;
mod read;
mod write;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use execute::{Done, Outcome};
pub use read::NotAGraph;

/// What has to be done. See the module for how it is put together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Graph {
    /// What is true of all of it.
    pub head: Head,
    /// Every action that is mentioned.
    pub actions: Vec<Action>,
    /// What is to be carried out, in the order in which it is tried.
    pub synapses: Vec<Synapse>,
}

/// What is true of a whole graph. Times and scores stand as the configuration writes them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// `cluster-delay`.
    pub cluster_delay: String,
    /// `stonith-timeout`.
    pub stonith_timeout: String,
    /// What a failed stop costs: always infinity.
    pub failed_stop_offset: String,
    /// What a failed start costs: infinity, or 1 where it is not fatal.
    pub failed_start_offset: String,
    /// Most actions at a time; 0: no limit.
    pub batch_limit: String,
    /// Which transition of a series this is.
    pub transition_id: String,
    /// Most migrations at a time, where that is limited.
    pub migration_limit: Option<String>,
    /// Seconds since 1970 after which another graph may be right.
    pub recheck_by: Option<String>,
}

impl Default for Head {
    fn default() -> Self {
        Self {
            cluster_delay: "60s".into(),
            stonith_timeout: "60s".into(),
            failed_stop_offset: "INFINITY".into(),
            failed_start_offset: "INFINITY".into(),
            batch_limit: "0".into(),
            transition_id: "0".into(),
            migration_limit: None,
            recheck_by: None,
        }
    }
}

/// One action that is to be carried out, and what must be done before it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Synapse {
    /// Higher ones go first where not everything can be done at once.
    pub priority: i32,
    /// Its place in [`Graph::actions`].
    pub action: usize,
    /// The places of those that must be done before, by ascending number of the action.
    pub inputs: Vec<usize>,
}

/// One action.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Action {
    /// Who carries it out.
    pub kind: Kind,
    /// Its number, of which there is one in a graph. Actions are counted from 1.
    pub id: u32,
    /// `start`, `monitor`, `stonith`, ...
    pub operation: String,
    /// `db_start_0`.
    pub key: String,
    /// The key with the name of the instance, where the history knows the resource by another name.
    pub internal_key: Option<String>,
    /// Where.
    pub node: Option<Place>,
    /// The cluster node through which a remote node is reached.
    pub router: Option<String>,
    /// Seconds since 1970 of the lock that keeps the resource on a node that is shut down.
    pub shutdown_lock: Option<String>,
    /// It is a change of the CIB, and nobody is asked to do it.
    pub in_cib: bool,
    /// Of what.
    pub resource: Option<Descriptor>,
    /// Parameters and meta-attributes (`CRM_meta_timeout`, ...).
    pub attributes: BTreeMap<String, String>,
    /// Ids of the nodes that are down afterwards.
    pub downed: Vec<String>,
    /// Ids of remote nodes, and whether they are in maintenance from then on.
    pub maintenance: Vec<(String, bool)>,
}

impl Action {
    /// An action without place, resource or attributes.
    #[must_use]
    pub fn new(id: u32, kind: Kind, operation: impl Into<String>, key: impl Into<String>) -> Self {
        Self {
            kind,
            id,
            operation: operation.into(),
            key: key.into(),
            internal_key: None,
            node: None,
            router: None,
            shutdown_lock: None,
            in_cib: false,
            resource: None,
            attributes: BTreeMap::new(),
            downed: Vec::new(),
            maintenance: Vec::new(),
        }
    }
}

/// Who carries an action out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// An agent.
    RscOp,
    /// Nobody: it only stands for that others are done.
    PseudoEvent,
    /// The cluster: fencing, shutdown, forgetting of failures.
    CrmEvent,
}

impl Kind {
    const ALL: [Self; 3] = [Self::RscOp, Self::PseudoEvent, Self::CrmEvent];

    /// The name of its element.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RscOp => "rsc_op",
            Self::PseudoEvent => "pseudo_event",
            Self::CrmEvent => "crm_event",
        }
    }
}

/// A node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Its name.
    pub name: String,
    /// Its id.
    pub uuid: String,
}

/// Which agent, for which resource.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Descriptor {
    /// The id under which the history knows it.
    pub id: String,
    /// The id with the number of the instance, where that is another.
    pub long_id: Option<String>,
    /// `ocf`, `systemd`, ...
    pub class: String,
    /// Of classes that have one.
    pub provider: Option<String>,
    /// `IPaddr2`, ...
    pub kind: String,
}
