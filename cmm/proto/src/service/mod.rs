//! State behind the cluster services, driven by ordered messages.

pub(crate) mod counts;
pub mod cpg;
pub mod messages;

pub use counts::HandlerCount;
