//! The protocol core of `cmmd`: Totem ring, detector, reconfiguration steps, votes and lease, and the state behind
//! the cluster services. No socket, no file, no thread, no clock: bytes, timer expiries and the current time go in;
//! packets, deliveries, notices and decisions come out of [`Node::poll_output`]. `cmmd` drives it with mio, the
//! simulator with a virtual network.

#![forbid(unsafe_code)]

mod api;
mod bytes;
pub mod detector;
pub mod limits;
pub mod links;
mod node;
pub mod quorum;
pub mod reconfig;
pub mod ring;
pub mod service;
pub mod wire;

pub use api::*;
pub use bytes::Bytes;
pub use detector::Hint;
pub use links::LinkLoss;
pub use node::{ConfigError, Fitness, Node};
