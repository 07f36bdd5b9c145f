//! Clusters of real daemons in namespaces, for tests and benches.
//!
//! A node has network, mount, UTS, IPC and PID namespaces of its own, a private `/run`, `/dev/shm`, `/etc` and
//! `/var/lib/holdfast`, a boot id of its own, and no way to reboot, reset or log to the machine below. A switch in
//! yet another namespace connects the nodes; links are cut there, lose packets, or
//! are narrow; a relay delays and reorders. A fence device takes the power from a node from
//! outside. An independent witness notices when a service runs twice.
//!
//! Needs root, iproute2, util-linux and nftables; [`skip`] deals with their absence. Everything ends with the test,
//! whatever ends the test. `HOLDFAST_KEEP=1` keeps the folder with all logs, `HOLDFAST_TEST_PATIENCE=N` multiplies
//! every deadline, `HOLDFAST_BIN_DIR` names the folder of the programs under test.

#![forbid(unsafe_code)]

mod binaries;
mod cluster;
mod config;
mod fence;
mod namespace;
mod network;
mod node;
mod processes;
mod relay;
mod requirements;
mod witness;

pub use binaries::bin_dir;
pub use cluster::{Cluster, patience};
pub use config::{Cib, Member, Options, SERVICE, node_name};
pub use fence::{FENCE_AGENT, FenceCall, FencePolicy};
pub use network::address;
pub use nix::sys::signal::Signal;
pub use processes::Process;
pub use relay::Weather;
pub use requirements::{missing, skip};
