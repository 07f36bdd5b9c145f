//! Fencing without I/O: which devices can fence which node, and how a request runs to its one end.
//!
//! [`Device`] reads a fence device's parameters as Pacemaker writes them; [`Fencer`] is the automaton that one member,
//! the designated controller, runs: topology levels, tries, delays, deadlines, history. It says what to run where
//! ([`Output::Run`]), is told how it ended, and ends every request exactly once ([`Output::Done`]), by its deadline at
//! the latest.

#![forbid(unsafe_code)]

mod agent;
mod device;
mod fencer;
mod topology;

pub use agent::{Abilities, hosts_of_list};
pub use device::{Call, Check, Device, DeviceError};
pub use fencer::{Ask, CallId, Candidate, Fencer, Limits, Output, Record, Request, Verdict};
pub use topology::{Level, Target};
