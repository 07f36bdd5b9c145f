//! State behind the cluster services, driven by ordered messages.

pub mod cpg;
pub mod messages;
