//! The quorum disk without I/O: what is on it ([`format`](mod@format)), and which node owns its vote ([`claim`]). The daemon moves the
//! bytes with `io_uring`, the simulator with a virtual disk. Decision 17 has the reasons.

#![forbid(unsafe_code)]

pub mod claim;
pub mod format;

pub use claim::{Claim, Config, Event, Failure, Output};
pub use format::block::{Block, Decided, Owner};
pub use format::header::Header;
pub use format::mail::{Mail, Order, Tombstone};
pub use format::{Area, Damaged, DiskId, Layout, Slot};

/// Nodes that a disk has room for: slots are node ids 1 to this.
pub const SLOTS_MAX: u8 = 64;
/// Disks of one device: a majority of them counts.
pub const DISKS_MAX: usize = 7;
