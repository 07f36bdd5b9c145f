//! From a configuration and the state of a cluster to what has to be done: [`plan`] is a pure function.
//!
//! The rules are Pacemaker's for what is supported so far: primitives and groups, location scores, stickiness, fail
//! counts, standby, maintenance, quorum policies, fencing. One rule is stricter: a resource is started only when every
//! node that may still run it is known to be dead ([`Presence`]).
//!
//! A plan that was carried out without failures leads to an empty plan.
//!
//! Beside it the whole of Pacemaker's scheduler is being built ([`WorkingSet`], decision 29): so far it reads configuration and
//! status, and shows them.

#![forbid(unsafe_code)]

mod assign;
mod graph;
mod model;
mod plan;
mod report;
mod state;
mod unpack;
mod view;

pub use graph::{Action, ActionId, ActionKind, Blocked, TransitionGraph};
pub use model::{
    Bundle, Flags, Instances, NoQuorumPolicy, Node, NodeId, NodeKind, Options, Replica, Resource, ResourceId,
    Role, UnderWay, Variant, WorkingSet,
};
pub use plan::{bans, fence_targets, plan};
pub use report::{StatusOptions, current_status, status_text};
pub use state::{
    Activity, ClusterState, FAIL_COUNT_INFINITY, Failure, NodeState, OpResult, OpStatus, Pending, Presence,
    ResourceState, params_digest,
};
pub use unpack::{Failed, NotACib};
