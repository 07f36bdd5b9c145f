//! Clusters of virtual machines: the distribution's kernel, our daemons, faults that no machine of flesh should have.
//!
//! QEMU runs by software emulation, so that every machine will do that has two cores and half a gigabyte for each node.
//! The kernel package and busybox are downloaded, never installed. A node is an initramfs (or boots on into a distribution with systemd) with the programs of the test, a disk
//! that outlives it, a folder of the host for its logs, a serial console, a watchdog, a store for the kernel's last words
//! (ERST), and a bridge to the others in a network namespace that has no way out. A small agent in the node runs
//! commands for the test.
//!
//! Each machine may have a management controller (IPMI) that takes its power, see `bmc`. What a failed test leaves is kept in `failed/CLUSTER`
//! beside the kernel (`target/tmp`).
//!
//! **The clock is the host's**: what happened to a machine, and when, is taken from QEMU's events (panic, watchdog, reset,
//! shutdown), never from what the machine says.
//!
//! Nothing here touches a watchdog, a reset trigger or a device of the host; all of it ends with the test.

#![forbid(unsafe_code)]

pub mod agent;
mod bmc;
mod cluster;
mod initramfs;
mod kernel;
mod machine;
mod network;
mod qmp;
mod system;
mod target;
mod times;

pub use agent::Answer;
pub use cluster::{Build, Cluster, Disk, Options, Root, Watchdog, skip};
pub use qmp::Event;
pub use target::ScsiTarget;
pub use times::Fault;
