//! The local IPC from outside: messages, the two halves against each other, the client half against a real corosync.

mod abi;
mod corosync;
mod halves;
