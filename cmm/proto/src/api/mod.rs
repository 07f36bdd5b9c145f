//! What goes into a [`Node`](crate::Node) and what comes out of it.

mod config;
mod event;
mod output;
mod request;
mod stats;
mod table;

pub use config::*;
pub use event::*;
pub use output::*;
pub use request::*;
pub use stats::*;
pub use table::{DeviceEntry, DeviceKind, NodeTable, Scale, TableId, TableView, Tables, TieBreak};
