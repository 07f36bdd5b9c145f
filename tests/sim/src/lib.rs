//! Deterministic simulator of the protocol core: 2 to 64 nodes on a virtual network and virtual clocks, from one seed.
//!
//! A run has a safety phase, in which anything may go wrong (loss, duplicates, reordering, delay, damage, replay, cuts
//! of every shape, pauses, crashes, leaves, load), and a liveness phase, in which nothing does any more and the cluster
//! must converge. After every event an oracle that sees all nodes at once checks the invariants, a file each in
//! [`invariants`]. Which faults a run has, and how strong, is drawn from its seed.
//!
//! # Sources of entropy that are closed
//! Two runs of a seed have the same trace hash, on any machine; a test holds that.
//! - time: nodes get theirs from a [`clock::Clock`] over virtual time; nothing here or in the core reads a real clock
//!   (the command line measures its own speed with one, outside of any run);
//! - randomness: ChaCha streams of the seed only ([`random`]); cluster keys and boot ids are drawn from it, nonces are
//!   counters;
//! - iteration order: ordered maps only, here and in the core (`clippy.toml` bans the others);
//! - events at the same instant: taken in the order in which they were made ([`agenda`]);
//! - threads: a run has one; many runs share nothing but the sums of their counters;
//! - floating point: used for printing only;
//! - addresses, hashers, environment, locale, process ids: not used.

#![forbid(unsafe_code)]

pub mod agenda;
mod clients;
pub mod clock;
pub mod cluster;
pub mod coverage;
mod disks;
mod draw;
pub mod faults;
pub mod invariants;
mod keys;
mod liveness;
pub mod machine;
pub mod network;
mod operators;
pub mod options;
pub mod oracle;
mod outputs;
mod qnetd;
pub mod random;
pub mod run;
pub mod sabotage;
pub mod scale;
pub mod shrink;
mod sniffer;
mod target;
pub mod trace;

pub use clients::OBSERVER;
pub use cluster::Cluster;
pub use options::Options;
