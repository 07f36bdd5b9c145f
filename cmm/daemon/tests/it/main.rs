//! Real `cmmd` processes on loopback addresses, watched through their logs.

mod check;
mod logging;
mod nodes;
mod ring;
