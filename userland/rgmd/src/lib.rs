//! The resource-group manager.
//!
//! [`Manager`] is everything that `rgmd` decides, without I/O: it is fed what the process group, quorum, CMAP and the
//! executor report, and says what to multicast, run, save and confirm. The binary is its driver; the tests drive several
//! of them over an order bus of their own.
//!
//! | module | concern |
//! |---|---|
//! | `message` | the ordered messages of group [`GROUP`] |
//! | `replica` | the state that every member keeps, changed only by what is ordered |
//! | `sync` | agreeing on one state when members come together |
//! | `history`, `attributes` | what resources have been through on a node; what is said of a node |
//! | `document` | configuration and status as one CIB, in Pacemaker's form |
//! | `local`, `operations` | this node's resources: operations, recurring monitors, the truth about them |
//! | `transitions`, `engine` | the designated controller's transitions: deciding, sending; the graph under way |
//! | `power` | the designated controller's fencing |
//! | `manager`, `duties` | all of it put together: inputs; what a turn decides |
//! | `door`, `administer` | inputs and outputs; what administrators ask |
//! | `alerts` | who is told what happens |
//! | `said` | what the operator's log is told |
//! | [`operator`] | the operator's log, for whoever drives it |
//! | `report`, `metrics` | the model of cluster state for `status`; what monitoring is told |

#![forbid(unsafe_code)]

mod administer;
mod alerts;
mod attributes;
mod document;
mod door;
mod duties;
mod engine;
mod history;
mod local;
mod manager;
mod message;
mod metrics;
mod operations;
pub mod operator;
mod power;
mod refusal;
mod removal;
mod replica;
mod report;
mod said;
mod sync;
mod transitions;
mod unfencing;

pub use alerts::as_json;
pub use door::{Admin, Config, Input, Now, Output, StepAt, Whose};
pub use manager::{Manager, NODE_LOST};
pub use message::MESSAGE_BYTES_MAX;
pub use said::Said;

/// Name of the process group.
pub const GROUP: &[u8] = b"holdfast:rgmd";
