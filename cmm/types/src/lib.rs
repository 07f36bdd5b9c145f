//! Ids, times, votes and ring ids that every part of Holdfast shares. No dependencies, no I/O.
//!
//! Newtypes keep a node id from being added to a vote, and a wall-clock time from being compared with a
//! [`Boottime`]. All safety arithmetic uses [`Boottime`] and [`Span`]; [`WallTime`] is for people.

#![forbid(unsafe_code)]

mod device;
mod histogram;
mod ids;
mod time;

pub use device::{Ended, Hold, Wish};
pub use histogram::Histogram;
pub use ids::{
    BootId, ConnId, Epoch, Incarnation, LinkId, LinkSet, MsgSeq, NodeId, RingId, StepNumber, TokenSeq, Votes,
};
pub use time::{Boottime, Span, WallTime};
