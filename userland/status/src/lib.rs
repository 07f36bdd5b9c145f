//! One model of cluster state; its text, crm_mon and JSON forms.
//!
//! [`ClusterStatus`] is the model and, through serde, the JSON form. [`crm_mon`] prints the screen that Pacemaker's
//! users know, [`text`] our own. Renderers are pure: the time of the model, a zone, no environment.

#![forbid(unsafe_code)]

mod crm_mon;
mod metrics;
mod model;
mod ocf;
mod ring;
mod ring_text;
pub mod table;
mod text;
mod time;
mod timing;

pub use crm_mon::{CrmMonOptions, crm_mon, crm_mon_simple};
pub use metrics::{Configured, Kind, Metrics, Transitions, manager_metrics, ring_metrics};
pub use ring::{
    Bucket, Change, Lengths, LinkReport, LoopReport, Missed, PeerReport, RingReport, TokenReport, Traffic,
    Trouble,
};
pub use ring_text::ring_text;
pub use text::text;
pub use time::{Zone, age, ctime, interval, iso, utc};
pub use timing::{Lateness, TimingReport, TimingRow, timing_text};

pub use model::{
    Answered, Ban, CibStatus, ClusterStatus, DeathStatus, DevicePart, DeviceStatus, FailCount, FailedAction,
    FenceRecord, FenceState, INFINITY, LastChange, NodeRef, NodeStatus, Note, OperationStatus, PendingAction,
    QuorumStatus, ResourceStatus, RingStatus, Role, Timings, UnitStatus,
};
