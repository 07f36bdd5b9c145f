//! From a CIB, configuration and status, to what has to be done: [`decide`] is a pure function, and the rules are Pacemaker's
//! (decisions 29 and 34).
//!
//! [`WorkingSet`] reads the document, places resources, finds what has to be done, and carries that out on paper for
//! `crm_simulate`; `rgmd` carries the same graph out on nodes. A decision that was carried out without failures leads to one
//! that asks for nothing.

#![forbid(unsafe_code)]

mod actions;
mod assign;
mod constraints;
mod decide;
mod model;
mod orderings;
mod report;
pub mod simulate;
pub mod transition;
mod unpack;

pub use decide::{Alone, Ban, Decision, Fencing, Seen, decide, parameters_digest};
pub use model::{
    Bundle, Flags, Instances, NoQuorumPolicy, Node, NodeId, NodeKind, Options, Replica, Resource, ResourceId,
    Role, UnderWay, Variant, WorkingSet,
};
pub use report::{
    Clock, Concern, Details, Explanation, FenceEvent, FenceState, FencingHistory, Markup, Monitor, Sections,
    SimulationView, Step, concerns, current_status, current_status_with, execution_text, exit_status_text,
    legacy_document, old_monitor, page, result_document, revised_status, revised_status_with, simple_monitor,
    status_markup, status_text, transition_markup, transition_summary,
};
pub use report::{ColocationView, HistoryEntry, LocationView};
pub use unpack::{Failed, NotACib};

pub use model::compare_names;
