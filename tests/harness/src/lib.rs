//! Clusters of real daemons in namespaces, for tests and benches.
//!
//! A node has network, mount, UTS, IPC and PID namespaces of its own, a private `/run`, `/dev/shm`, `/etc` and
//! `/var/lib/holdfast`, a boot id of its own, and no way to reboot, reset or log to the machine below. A switch in
//! yet another namespace connects the nodes; links are cut there, lose packets, or
//! are narrow; a relay delays and reorders. A fence device takes the power from a node from
//! outside. Quorum disks are files, or ways to a file that fail, stall and lose what each node writes. An independent witness notices when a service runs twice.
//!
//! Needs root, iproute2, util-linux and nftables; [`skip`] deals with their absence. Everything ends with the test,
//! whatever ends the test. `HOLDFAST_KEEP=1` keeps the folder with all logs, `HOLDFAST_TEST_PATIENCE=N` multiplies
//! every deadline, `HOLDFAST_BIN_DIR` names the folder of the programs under test.

#![forbid(unsafe_code)]

mod believers;
mod binaries;
mod cluster;
mod config;
mod dice;
mod faulty_disk;
mod fence;
mod fuse;
mod large;
mod namespace;
mod network;
mod node;
mod processes;
mod recorder;
pub mod reference;
mod relay;
mod requirements;
mod shared_disk;
mod witness;
mod work;

pub use believers::{Belief, Believers};
pub use binaries::bin_dir;
pub use cluster::Cluster;
pub use config::{Cib, DiskKind, Member, Options, SERVICE, node_name};
pub use dice::Dice;
pub use faulty_disk::{DiskFault, DiskRequests};
pub use fence::{FENCE_AGENT, FenceCall, FencePolicy};
pub use large::Large;
pub use network::{ROUTER_ADDRESS, address};
pub use nix::sys::signal::Signal;
pub use processes::Process;
pub use recorder::{AgentFault, RECORD_AGENT, Record, overlaps};
pub use relay::Weather;
pub use requirements::{lacks, missing, missing_for_disks, skip, skip_where};
pub use shared_disk::SharedDisk;
pub use work::{Turn, WorkDir, patience, random_bytes};
