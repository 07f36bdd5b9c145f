//! One model of cluster state; its text, crm_mon and JSON forms.
//!
//! [`ClusterStatus`] is the model and, through serde, the JSON form.

#![forbid(unsafe_code)]

mod model;

pub use model::{
    Ban, CibStatus, ClusterStatus, FailCount, FailedAction, FenceRecord, FenceState, INFINITY, LastChange,
    NodeRef, NodeStatus, OperationStatus, PendingAction, QuorumStatus, ResourceStatus, RingStatus, Role,
    Timings, UnitStatus,
};
