//! The daemon's side: listeners, the handshake, connections. Nothing here blocks; an event loop drives it.
//!
//! [`Listener::accept`] gives a [`Handshake`]; when that has read who the client is, the daemon refuses it or turns it
//! into a [`Connection`]. A connection hands out one request at a time, and takes responses and events.

mod connection;
mod datagrams;
mod files;
pub(crate) mod handshake;
mod listener;
mod rings;
mod transport;

pub use crate::ring::Broken;
pub use connection::{Connection, Counters, Gone, Next};
pub use handshake::{Credentials, Handshake};
pub use listener::Listener;
pub use transport::Mode;

/// Events that may wait for a slow client, in bytes, beyond what its ring holds. Past this it is disconnected: a
/// client that misses an event would be wrong about its group, one that is gone is merely gone.
pub const QUEUE_BYTES_MAX: usize = 32 * 1_048_576;
