//! The simulator on the protocol core: many seeds, named scenarios, and proof that the harness finds bugs.

mod planted_bugs;
mod reach;
mod scenarios;
mod seeds;
mod shrinks;
mod soak;
