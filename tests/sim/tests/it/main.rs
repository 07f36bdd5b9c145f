//! The simulator on the protocol core: many seeds, named scenarios, and proof that the harness finds bugs.

mod devices;
mod planted_bugs;
mod reach;
mod scaling;
mod scenarios;
mod seeds;
mod servers;
mod shrinks;
mod soak;
mod story;
