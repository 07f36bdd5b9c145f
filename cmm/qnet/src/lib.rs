//! The network quorum device without I/O: the messages of the existing `corosync-qnetd` server ([`wire`]), and a client that holds the
//! vote which the server gives to one partition ([`client`]). The daemon moves the bytes in a thread of their own, the simulator over
//! a virtual network to a virtual server. Decision 21 has the reasons.

#![forbid(unsafe_code)]

pub mod client;
pub mod wire;

pub use client::{Channel, Client, Config, Event, Input, Output, Settings, Tls};
pub use wire::{Algorithm, Heuristics, Kind, Message, TieBreaker};

/// Nodes of one cluster at most: those that [`holdfast_types::Wish`] has a bit for.
pub const NODES_MAX: usize = 64;
