//! Fencing without I/O: which devices can fence which node, and how a request runs to its one end.
//!
//! [`Device`] reads a fence device's parameters as Pacemaker writes them; [`Fencer`] is the automaton that one member,
//! the designated controller, runs: topology levels, tries, delays, deadlines, history. It says what to run where
//! ([`Output::Run`]), is told how it ended, and ends every request exactly once ([`Output::Done`]), by its deadline at
//! the latest.

#![forbid(unsafe_code)]

mod device;
mod fencer;

pub use device::{Call, Device, DeviceError};
pub use fencer::{CallId, Candidate, Fencer, Level, Limits, Output, Record, Request, Verdict};
