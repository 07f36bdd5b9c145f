//! corosync.conf: syntax, schema, timing model.
//!
//! [`parse`] turns the text of a configuration into a typed [`Config`] and a list of [`Diagnostics`], each
//! `FILE:LINE: what is wrong; what to write instead`. Nothing here reads a file, resolves a name or asks the machine
//! anything: what depends on the machine is asked through [`Host`].
//!
//! Three severities ([`Severity`]): a *fatal* finding means that the configuration cannot be run at all; an *error*
//! is refused by `cmmd -t` and only warned about by `cmmd -f`, so that an unchanged corosync.conf always starts; a
//! *warning* is worth reading.

#![forbid(unsafe_code)]

mod diagnostics;
mod failfast;
mod fencing;
mod heuristics;
mod keys;
mod lexer;
mod logging;
mod nodelist;
mod qdisk;
mod quorum;
mod reservation;
mod schema;
mod server;
mod system;
mod timing;
mod totem;

pub use diagnostics::{Diagnostic, Diagnostics, Severity};
pub use failfast::{ExitScope, Failfast, FoundBy, Mode, Unit, WatchdogName};
pub use fencing::{DataDisks, OnConflict};
pub use heuristics::{Heuristic, Heuristics};
pub use keys::{ConfigKey, KeyValue};
pub use lexer::{Item, Section, parse_sections};
pub use logging::{Debug, Facility, Logging, Priority, Sinks, Subsystem, Timestamp};
pub use nodelist::Node;
pub use qdisk::{DiskName, QuorumDisk};
pub use quorum::{DeviceModel, Quorum, QuorumDevice, TieBreak};
pub use reservation::QuorumScsi;
pub use server::{QuorumServer, ServerTieBreaker, ServerTls};
pub use system::{Scheduling, System};
pub use timing::{Timing, TimingRow};
pub use totem::{IpVersion, KeySource, LinkMode, Totem};

use std::net::IpAddr;

/// What the configuration needs to know about the machine. The daemon asks the machine, a test answers from a table.
pub struct Host<'a> {
    /// `uname -n`.
    pub hostname: &'a str,
    /// Addresses of a host name, in the resolver's order. Numeric addresses never get here.
    pub resolve: &'a dyn Fn(&str) -> Vec<IpAddr>,
    /// Whether this machine has the address.
    pub is_local: &'a dyn Fn(IpAddr) -> bool,
}

/// A whole configuration, ready to run.
#[derive(Clone, Debug)]
pub struct Config {
    /// Protocol, keys, ports.
    pub totem: Totem,
    /// All nodes in the order of the file: the index is `N` of `nodelist.node.N`.
    pub nodes: Vec<Node>,
    /// Index of the local node in `nodes`.
    pub local: usize,
    /// Votes and options.
    pub quorum: Quorum,
    /// Where log lines go.
    pub logging: Logging,
    /// Scheduling of the daemon.
    pub system: System,
    /// Failfast, watchdog, guardian.
    pub failfast: Failfast,
    /// Disks that only members can write to, if there are any.
    pub data_disks: Option<DataDisks>,
    /// Every interval and limit, derived and checked.
    pub timing: Timing,
    /// User ids and names allowed to use IPC (`uidgid { uid }`).
    pub ipc_users: Vec<String>,
    /// Group ids and names allowed to use IPC (`uidgid { gid }`).
    pub ipc_groups: Vec<String>,
    /// The configuration as CMAP keys.
    pub keys: Vec<ConfigKey>,
}

impl Config {
    /// The local node.
    #[must_use]
    pub fn me(&self) -> &Node {
        &self.nodes[self.local]
    }

    /// Links that every node has an address on, ascending.
    #[must_use]
    pub fn links(&self) -> Vec<usize> {
        nodelist::links(&self.nodes)
    }
}

/// Reads the text of a configuration. `file` is only named in messages. The configuration is `None` exactly when a
/// diagnostic is fatal.
#[must_use]
pub fn parse(file: &str, text: &[u8], host: &Host<'_>) -> (Option<Config>, Diagnostics) {
    let mut found = Diagnostics::new(file);
    let root = lexer::parse_sections(text, &mut found);
    let config = if found.has_fatal() { None } else { build(&root, host, &mut found) };
    let config = if found.has_fatal() { None } else { config };
    found.sort();
    (config, found)
}

fn build(root: &Section, host: &Host<'_>, found: &mut Diagnostics) -> Option<Config> {
    schema::check(root, found);
    let totem = totem::read(root, found);
    let nodes = nodelist::read(root, &totem, host, found);
    let quorum = quorum::read(root, &nodes, found);
    let logging = logging::read(root, found);
    let system = system::read(root, found);
    let mut timing = timing::derive(root, nodes.len());
    let failfast = failfast::read(root, &timing, found);
    timing.complete(&failfast);
    timing::check(root, &timing, &failfast, found);
    let data_disks = fencing::read(root, &nodes, &quorum, found);
    quorum::check_timing(&quorum, &timing, found);
    let local = nodelist::find_local(root, &totem, &nodes, host, found)?;
    let keys = keys::collect(root, &nodes, local, &timing, &totem);
    let ids = |key: &str| {
        root.all("uidgid").flat_map(|s| s.all_items(key)).map(|i| i.value.clone()).collect::<Vec<_>>()
    };
    let (ipc_users, ipc_groups) = (ids("uid"), ids("gid"));
    Some(Config {
        totem,
        nodes,
        local,
        quorum,
        logging,
        system,
        failfast,
        data_disks,
        timing,
        ipc_users,
        ipc_groups,
        keys,
    })
}
