//! Which membership daemon is measured, and how it is run in a node of the harness.

use std::fmt;
use std::path::Path;

use anyhow::{Context, Result};
use clap::ValueEnum;
use harness::{Cib, Cluster, Options};

/// A unit that nodes of ours have where a bench starts it.
pub(crate) const UNIT: &str = "sleep";
pub(crate) const UNIT_PIDFILE: &str = "/run/sleep.pid";
/// The process beside our daemon.
pub(crate) const GUARDIAN: &str = "holdfast-guardi";

macro_rules! totem {
    () => {
        "totem {\n    token_coefficient: 0\n}\n"
    };
}

macro_rules! unit {
    () => {
        "failfast {\n    unit {\n        name: sleep\n        pidfile: /run/sleep.pid\n    }\n}\n"
    };
}

/// A daemon that serves corosync's clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Daemon {
    /// Ours: sealed, always.
    Cmmd,
    /// The peer at its fastest in most figures: plain UDP, in clear.
    CorosyncUdpu,
    /// The peer as it is usually run, in clear.
    CorosyncKnet,
    /// The peer as it is usually run, sealed: aes256 and sha256.
    CorosyncSealed,
}

/// How many nodes, and their timers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ring {
    pub(crate) nodes: u32,
    /// `totem.token` in milliseconds, the same for both daemons; `None`: no timer is set at all.
    pub(crate) token: Option<u32>,
}

impl Ring {
    /// Nodes without daemons, switched off.
    pub(crate) fn cluster(self, cib: &Cib) -> Result<Cluster> {
        let more = if self.token.is_some() { concat!(totem!(), unit!()) } else { unit!() };
        let options =
            Options { nodes: self.nodes, token_ms: self.token.unwrap_or(0), more, ..Options::default() };
        Cluster::new("bench", options, cib)
    }
}

impl fmt::Display for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.token {
            Some(token) => write!(f, "{} nodes, token {token}", self.nodes),
            None => write!(f, "{} nodes, default timers", self.nodes),
        }
    }
}

impl Daemon {
    /// Those asked for, or ours and the peer; without what is not installed.
    pub(crate) fn present(asked: &[Self]) -> Vec<Self> {
        let mut all = if asked.is_empty() { vec![Self::Cmmd, Self::CorosyncUdpu] } else { asked.to_vec() };
        if !Path::new(COROSYNC).exists() {
            eprintln!("skipped: corosync is not installed, so there is nothing to compare with");
            all.retain(|d| *d == Self::Cmmd);
        }
        all
    }

    /// The name of its process.
    pub(crate) fn process(self) -> &'static str {
        if self == Self::Cmmd { "cmmd" } else { "corosync" }
    }

    /// Starts it in a node that is on.
    pub(crate) fn start(self, cluster: &Cluster, node: u32, ring: Ring) -> Result<()> {
        if self == Self::Cmmd {
            return cluster.start(node, "cmmd", &["-f"]);
        }
        let dir = cluster.node_dir(node);
        let conf = dir.join("corosync.conf");
        std::fs::write(&conf, self.corosync_conf(ring, &dir))?;
        let conf = conf.to_str().context("path of the configuration")?;
        cluster.start_as(node, "corosync", COROSYNC, &["-f", "-c", conf])
    }

    fn corosync_conf(self, ring: Ring, dir: &Path) -> String {
        let (transport, cipher, hash) = match self {
            Self::CorosyncSealed => ("knet", "aes256", "sha256"),
            Self::CorosyncKnet => ("knet", "none", "none"),
            Self::CorosyncUdpu | Self::Cmmd => ("udpu", "none", "none"),
        };
        let timers = ring.token.map_or(String::new(), |t| format!(" token: {t}\n token_coefficient: 0\n"));
        let mut text = format!(
            "totem {{\n version: 2\n cluster_name: bench\n transport: {transport}\n crypto_cipher: {cipher}\n \
             crypto_hash: {hash}\n keyfile: {dir}/etc/authkey\n{timers}}}\nquorum {{\n provider: corosync_votequorum\n}}\n\
             logging {{\n to_stderr: yes\n to_syslog: no\n}}\nsystem {{\n state_dir: {dir}/state\n}}\nnodelist {{\n",
            dir = dir.display()
        );
        for id in 1..=ring.nodes {
            text.push_str(&format!(
                " node {{\n  nodeid: {id}\n  name: {}\n  ring0_addr: {}\n }}\n",
                harness::node_name(id),
                harness::address(id, 0)
            ));
        }
        text.push_str("}\n");
        text
    }
}

impl fmt::Display for Daemon {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cmmd => "cmmd",
            Self::CorosyncUdpu => "corosync udpu",
            Self::CorosyncKnet => "corosync knet",
            Self::CorosyncSealed => "corosync sealed",
        })
    }
}

const COROSYNC: &str = "/usr/sbin/corosync";
