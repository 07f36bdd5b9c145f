//! Clusters of real daemons in namespaces, for tests and benches
