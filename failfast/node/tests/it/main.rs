//! The failfast socket with real processes on its other side.

mod bad_clients;
mod common;
mod units;
