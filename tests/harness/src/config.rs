//! Configuration files of a test cluster.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use crate::network::node_address;
use crate::relay::seen_from;

/// What a cluster is made of. `..Default::default()` for the rest.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many nodes: `n1`, `n2`, … with ids 1, 2, …
    pub nodes: u32,
    /// How many links between them.
    pub links: u8,
    /// How many networks more, that the ring does not use: interfaces behind those of the links.
    pub networks: u8,
    /// IPv6 addresses instead of IPv4.
    pub ipv6: bool,
    /// A relay between the nodes, for [`crate::Cluster::set_weather`]; up to 9 nodes on one link.
    pub relay: bool,
    /// `totem.token` in milliseconds; 0 leaves all timers at their defaults.
    pub token_ms: u32,
    /// The ring's daemon: `cmmd`, or the distribution's `corosync`, which has no failfast.
    pub daemon: &'static str,
    /// `failfast.exit_scope`: `pid-namespace` or `run-dir`.
    pub exit_scope: &'static str,
    /// `failfast.guardian_limit`: how long `cmmd` may make no progress before its guardian takes the node down.
    pub guardian_limit_ms: Option<u32>,
    /// Quorum disks: files that all nodes see. 0: none.
    pub disks: u32,
    /// What they are.
    pub disk_kind: DiskKind,
    /// How often each node writes to them, in milliseconds, and after how many times it is given up. A short lease, so that a test
    /// does not wait long.
    pub disk_interval_ms: u32,
    /// See there.
    pub disk_tko: u32,
    /// More lines for the `disk` section of the quorum device.
    pub disk: &'static str,
    /// A machine more, in no node list and with the id behind the last one's: for a server that the nodes ask.
    pub spare: bool,
    /// Each node keeps its state on a file system of its own, of so many mebibytes, for
    /// [`crate::Cluster::fill_disk`] and [`crate::Cluster::freeze_disk`]; 0: in a folder.
    pub state_mib: u32,
    /// More lines for the `totem` section.
    pub totem: &'static str,
    /// More lines for the `quorum` section.
    pub quorum: &'static str,
    /// More text for the configuration file.
    pub more: &'static str,
}

/// What quorum disks are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DiskKind {
    /// Files.
    #[default]
    File,
    /// Loop devices with direct I/O to files.
    Loop,
    /// Files to each of which every node has a way of its own, for [`crate::Cluster::set_disk`]. Needs FUSE.
    Faulty,
}

impl std::fmt::Display for DiskKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::File => "file",
            Self::Loop => "loop device",
            Self::Faulty => "FUSE",
        })
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            nodes: 3,
            links: 1,
            networks: 0,
            ipv6: false,
            relay: false,
            token_ms: 2000,
            daemon: "cmmd",
            exit_scope: "pid-namespace",
            guardian_limit_ms: None,
            disks: 0,
            disk_kind: DiskKind::File,
            disk_interval_ms: 200,
            disk_tko: 5,
            disk: "",
            spare: false,
            state_mib: 0,
            totem: "",
            quorum: "",
            more: "",
        }
    }
}

/// The name of a node.
#[must_use]
pub fn node_name(node: u32) -> String {
    format!("n{node}")
}

/// The configuration file of a node: the same for every one, unless a relay stands between them.
pub(crate) fn corosync_conf(name: &str, o: &Options, viewer: u32, dir: &Path) -> String {
    let mut text = format!("totem {{\n    version: 2\n    cluster_name: {name}\n    transport: knet\n");
    if o.daemon == "corosync" {
        text.push_str("    crypto_cipher: aes256\n    crypto_hash: sha256\n");
    }
    if o.token_ms > 0 {
        let _ = writeln!(text, "    token: {}", o.token_ms);
    }
    text.push_str(o.totem);
    text.push_str("}\nnodelist {\n");
    for node in 1..=o.nodes {
        let _ = writeln!(text, "    node {{\n        nodeid: {node}\n        name: {}", node_name(node));
        for link in 0..o.links {
            let address =
                if o.relay { seen_from(viewer, node).into() } else { node_address(node, link, o.ipv6) };
            let _ = writeln!(text, "        ring{link}_addr: {address}");
        }
        text.push_str("    }\n");
    }
    let _ = write!(
        text,
        "}}\nquorum {{\n    provider: corosync_votequorum\n{}}}\nlogging {{\n    to_stderr: yes\n    to_syslog: no\n}}\n",
        quorum_device(o, dir) + o.quorum
    );
    if o.daemon == "cmmd" {
        let scope = o.exit_scope;
        let _ =
            write!(text, "failfast {{\n    mode: exit\n    exit_scope: {scope}\n    watchdog_device: off\n");
        if let Some(limit) = o.guardian_limit_ms {
            let _ = writeln!(text, "    guardian_limit: {limit}");
        }
        text.push_str("}\n");
    }
    text.push_str(o.more);
    text
}

fn quorum_device(o: &Options, dir: &Path) -> String {
    if o.disks == 0 {
        return String::new();
    }
    let mut text = format!(
        "    device {{\n        model: disk\n        disk {{\n            interval: {}\n            tko: {}\n",
        o.disk_interval_ms, o.disk_tko
    );
    for disk in 0..o.disks {
        let _ = writeln!(text, "            device: {}", disk_path(dir, disk).display());
    }
    text + o.disk + "        }\n    }\n"
}

/// The quorum disk, as nodes see it.
pub(crate) fn disk_path(dir: &Path, disk: u32) -> PathBuf {
    dir.join(format!("qdisk{disk}"))
}

/// The file behind it, where it is not that itself.
pub(crate) fn image_path(dir: &Path, disk: u32) -> PathBuf {
    dir.join(format!("qdisk{disk}.image"))
}

/// Stands in a CIB for the program of [`crate::Cluster::service`], whose place is known only when the cluster is made.
pub const SERVICE: &str = "@SERVICE@";

/// A member of a group: id, agent, parameters.
pub type Member<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)]);

/// A CIB in the making: properties first, then resources in the order they are added.
#[derive(Clone, Debug, Default)]
pub struct Cib {
    resources: String,
    constraints: String,
    properties: Vec<(String, String)>,
}

impl Cib {
    /// An empty configuration, fencing switched off.
    #[must_use]
    pub fn new() -> Self {
        Self::default().property("stonith-enabled", "false")
    }

    /// Sets a cluster property.
    #[must_use]
    pub fn property(mut self, name: &str, value: &str) -> Self {
        self.properties.retain(|(n, _)| n != name);
        self.properties.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Adds a fence device that can reach every node, and switches fencing on.
    #[must_use]
    pub fn fencing(self, agent: &str) -> Self {
        self.primitive("fence", &format!("stonith:{agent}"), &[("pcmk_host_check", "none")])
            .property("stonith-enabled", "true")
    }

    /// Adds a resource: `ocf:PROVIDER:TYPE` or `stonith:TYPE`, with parameters.
    #[must_use]
    pub fn primitive(mut self, id: &str, agent: &str, params: &[(&str, &str)]) -> Self {
        self.resources.push_str(&primitive(id, agent, params));
        self
    }

    /// Adds a group of resources.
    #[must_use]
    pub fn group(mut self, id: &str, members: &[Member<'_>]) -> Self {
        let _ = writeln!(self.resources, "<group id=\"{id}\">");
        for (id, agent, params) in members {
            self.resources.push_str(&primitive(id, agent, params));
        }
        self.resources.push_str("</group>\n");
        self
    }

    /// The interval of the recurring monitors of everything that has been added, e.g. `1h` (else 5 s).
    #[must_use]
    pub fn monitored_every(mut self, interval: &str) -> Self {
        let every = |interval: &str| format!("name=\"monitor\" interval=\"{interval}\"");
        self.resources = self.resources.replace(&every("5s"), &every(interval));
        self
    }

    /// Adds resources as they are written.
    #[must_use]
    pub fn resource(mut self, xml: &str) -> Self {
        self.resources.push_str(xml);
        self
    }

    /// Adds a constraint as it is written.
    #[must_use]
    pub fn constraint(mut self, xml: &str) -> Self {
        self.constraints.push_str(xml);
        self
    }

    /// Prefers a node by a score.
    #[must_use]
    pub fn prefers(mut self, resource: &str, node: &str, score: &str) -> Self {
        let _ = writeln!(
            self.constraints,
            "<rsc_location id=\"{resource}-{node}\" rsc=\"{resource}\" node=\"{node}\" score=\"{score}\"/>"
        );
        self
    }

    /// The whole of it, for so many nodes.
    #[must_use]
    pub fn xml(&self, nodes: u32) -> String {
        let mut properties = String::new();
        for (name, value) in &self.properties {
            let _ = writeln!(properties, "<nvpair id=\"option-{name}\" name=\"{name}\" value=\"{value}\"/>");
        }
        let node = |n| format!("<node id=\"{n}\" uname=\"{}\"/>", node_name(n));
        let nodes: String = (1..=nodes).map(node).collect();
        format!(
            "<cib validate-with=\"pacemaker-3.9\" admin_epoch=\"0\" epoch=\"1\" num_updates=\"0\">\n<configuration>\n\
             <crm_config>\n<cluster_property_set id=\"options\">\n{properties}</cluster_property_set>\n</crm_config>\n\
             <nodes>{nodes}</nodes>\n<resources>\n{}</resources>\n<constraints>\n{}</constraints>\n\
             </configuration>\n<status/>\n</cib>\n",
            self.resources, self.constraints
        )
    }
}

fn primitive(id: &str, agent: &str, params: &[(&str, &str)]) -> String {
    let mut parts = agent.split(':');
    let class = parts.next().unwrap_or_default();
    let kind = match (parts.next(), parts.next()) {
        (Some(provider), Some(kind)) => format!("class=\"{class}\" provider=\"{provider}\" type=\"{kind}\""),
        (kind, _) => format!("class=\"{class}\" type=\"{}\"", kind.unwrap_or_default()),
    };
    let mut text = format!("<primitive id=\"{id}\" {kind}>\n<instance_attributes id=\"{id}-params\">\n");
    for (name, value) in params {
        let _ = writeln!(text, "<nvpair id=\"{id}-{name}\" name=\"{name}\" value=\"{value}\"/>");
    }
    text.push_str("</instance_attributes>\n");
    if class != "stonith" {
        let _ = writeln!(
            text,
            "<operations><op id=\"{id}-start\" name=\"start\" interval=\"0s\" timeout=\"60s\"/>\
             <op id=\"{id}-stop\" name=\"stop\" interval=\"0s\" timeout=\"60s\"/>\
             <op id=\"{id}-monitor\" name=\"monitor\" interval=\"5s\" timeout=\"60s\"/></operations>"
        );
    }
    text.push_str("</primitive>\n");
    text
}
