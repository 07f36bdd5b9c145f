//! From a configuration and the state of a cluster to what has to be done: [`plan`] is a pure function.
//!
//! The rules are Pacemaker's for what is supported so far: primitives and groups, location scores, stickiness, fail
//! counts, standby, maintenance, quorum policies, fencing. One rule is stricter: a resource is started only when every
//! node that may still run it is known to be dead ([`Presence`]).
//!
//! A plan that was carried out without failures leads to an empty plan.
//!
//! Beside it stands the whole of Pacemaker's scheduler ([`WorkingSet`], decisions 29 and 34): it reads configuration and status,
//! places resources, finds what has to be done, and carries that out on paper. `rgmd` does not use it yet.

#![forbid(unsafe_code)]

mod actions;
mod assign;
mod constraints;
mod decide;
mod model;
mod orderings;
mod plan;
mod report;
pub mod simulate;
pub mod transition;
mod unpack;

pub use decide::{Alone, Ban, Decision, Fencing, Seen, decide, parameters_digest};
pub use model::{
    Bundle, Flags, Instances, NoQuorumPolicy, Node, NodeId, NodeKind, Options, Replica, Resource, ResourceId,
    Role, UnderWay, Variant, WorkingSet,
};
pub use plan::{
    Action, ActionId, ActionKind, Activity, Blocked, ClusterState, FAIL_COUNT_INFINITY, Failure, NodeState,
    OpResult, OpStatus, Pending, Presence, ResourceState, TransitionGraph, bans, fence_targets,
    params_digest, plan,
};
pub use report::{
    Clock, Concern, Details, Explanation, FenceEvent, FenceState, FencingHistory, Markup, Monitor, Sections,
    Step, concerns, current_status, execution_text, exit_status_text, legacy_document, old_monitor, page,
    result_document, revised_status, simple_monitor, status_text, transition_summary,
};
pub use report::{ColocationView, HistoryEntry, LocationView};
pub use unpack::{Failed, NotACib};

pub use model::compare_names;
