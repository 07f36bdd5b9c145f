//! libqb IPC and the corosync client ABI: server half and client half.
//!
//! A client connects to a service's stream socket, shows who it is, and is handed three rings in shared memory:
//! requests, responses, events. [`abi`] has the messages, [`server`] the daemon's side of a connection as a state
//! machine that an event loop drives and that never blocks, [`client`] typed handles with deadlines. The client half
//! also talks to a real corosync, and corosync's own libraries to the server half.

#![forbid(unsafe_code)]

pub mod abi;
pub mod client;
mod place;
mod ring;
pub mod server;

pub use abi::{CsError, Service};
pub use place::Place;
