//! The protocol core through its public door: a few nodes in memory, joined by a network that does what it is told.

mod cluster;
mod groups;
mod keys;
mod lease;
mod links;
mod lives;
mod membership;
mod packets;
mod paths;
mod reload;
mod steps;
mod votes;
