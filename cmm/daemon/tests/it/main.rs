//! Real `cmmd` processes on loopback addresses, watched through their logs.

mod check;
mod clients;
mod failfast;
mod hostile;
mod keys;
mod logging;
mod nodes;
mod ring;
mod units;
