//! Which membership daemon is measured, and how it is run in a node of the harness.

use std::fmt;
use std::path::Path;

use anyhow::{Context, Result};
use harness::Cluster;

/// A daemon that serves corosync's clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Daemon {
    Cmmd,
    Corosync,
}

impl Daemon {
    /// Ours, and the peer where it is installed.
    pub(crate) fn present() -> Vec<Self> {
        let mut all = vec![Self::Cmmd];
        if Path::new("/usr/sbin/corosync").exists() {
            all.push(Self::Corosync);
        } else {
            eprintln!("skipped: corosync is not installed, so there is nothing to compare with");
        }
        all
    }

    /// The name of its process.
    pub(crate) fn process(self) -> &'static str {
        match self {
            Self::Cmmd => "cmmd",
            Self::Corosync => "corosync",
        }
    }

    /// Starts it in a node that is on.
    pub(crate) fn start(self, cluster: &Cluster, node: u32, token: u32) -> Result<()> {
        match self {
            Self::Cmmd => cluster.start(node, "cmmd", &["-f"]),
            Self::Corosync => {
                let dir = cluster.node_dir(node);
                let conf = dir.join("corosync.conf");
                std::fs::write(&conf, corosync_conf(token, cluster.all().len() as u32, &dir))?;
                let conf = conf.to_str().context("path of the configuration")?;
                cluster.start_as(node, "corosync", "/usr/sbin/corosync", &["-f", "-c", conf])
            }
        }
    }
}

impl fmt::Display for Daemon {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.process())
    }
}

/// The peer at its fastest for this token: no coefficient, udpu (knet adds its own link detection), no cryptography.
fn corosync_conf(token: u32, nodes: u32, dir: &Path) -> String {
    let mut text = format!(
        "totem {{\n version: 2\n cluster_name: bench\n transport: udpu\n crypto_cipher: none\n crypto_hash: none\n token: {token}\n \
         token_coefficient: 0\n}}\nquorum {{\n provider: corosync_votequorum\n}}\nlogging {{\n to_stderr: yes\n to_syslog: no\n}}\n\
         system {{\n state_dir: {}/state\n}}\nnodelist {{\n",
        dir.display()
    );
    for id in 1..=nodes {
        text.push_str(&format!(
            " node {{\n  nodeid: {id}\n  name: {}\n  ring0_addr: {}\n }}\n",
            harness::node_name(id),
            harness::address(id, 0)
        ));
    }
    text.push_str("}\n");
    text
}
