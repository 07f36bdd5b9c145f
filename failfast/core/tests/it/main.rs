//! Tests of the registry through its public interface.

mod model;
mod registry;
