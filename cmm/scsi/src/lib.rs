//! SCSI-3 persistent reservations without I/O: keys and commands ([`command`]), who owns the vote of a quorum device that is such
//! a disk ([`claim`]), the fencing of data disks ([`fence`]), and a model of a target for tests ([`target`]). The daemon sends the commands with `SG_IO`. Decision 23 has the
//! reasons.

#![forbid(unsafe_code)]

pub mod claim;
pub mod command;
pub mod fence;
mod key;
pub mod target;

pub use claim::{Claim, Config, Event, Output};
pub use command::{Command, Failure, Keys, Reply, Reservation};
pub use key::{Cluster, Key};

/// Nodes that a device has room for: as on a quorum disk, members are named by a bit each.
pub const SLOTS_MAX: u8 = 64;
