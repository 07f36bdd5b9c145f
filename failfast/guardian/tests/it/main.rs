//! The real guardian of a real process, in mode `exit` on a run directory of the test's own.

mod common;
mod death;
mod namespace;
mod told;
