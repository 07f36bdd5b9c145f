//! What a quorum device and the cluster tell each other, whatever the device is made of.

use crate::{Boottime, Incarnation, RingId};

/// What the cluster wants of the device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// This node's configuration is, or would be, quorate with the vote, and this node is fit to have it.
    pub wanted: bool,
    /// The configuration.
    pub ring: RingId,
    /// Its members: bit `slot - 1` for each.
    pub members: u64,
}

/// The device's vote, while this node owns it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hold {
    /// It counts before this instant.
    pub until: Boottime,
    /// The configuration that the device knows it is counted for: for no later one.
    pub ring: RingId,
}

/// No life of a node up to this one runs any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Whose.
    pub slot: u8,
    /// Up to which.
    pub life: Incarnation,
    /// Nobody can count any more what it has handed on. Otherwise that is waited for.
    pub alone: bool,
}
