//! Bundles: replicas of a container, each with an address of its own, a connection to the guest that it is, and what runs
//! inside.

use std::rc::Rc;

use cib::{Element, Score, parse_bool};

use crate::model::node::Node;
use crate::model::resource::Xml;
use crate::model::{Bundle, Flags, NodeKind, Replica, ResourceId, Variant, WorkingSet};

use super::REPLICAS_MAX;
use super::resources::{block, connection, operation};

/// What technology a container is of.
const KINDS: [&str; 3] = ["docker", "podman", "rkt"];
/// Where connections are listened for inside of a container.
const CONTROL_PORT: &str = "3121";

/// The key that guests and hosts know each other by; the same place everywhere, so that parameters are.
const KEY: &str = "/etc/pacemaker/authkey";
/// Where containers log to on their hosts.
const LOGS: &str = "/var/log/pacemaker/bundles";
/// What runs in a container that is a guest.
const REMOTE_DAEMON: &str = "/usr/sbin/pacemaker-remoted";

/// What the configuration of a bundle says.
struct Plan {
    name: String,
    kind: &'static str,
    image: String,
    replicas: u32,
    control_port: Option<String>,
    first_address: Option<String>,
    netmask: Option<String>,
    interface: Option<String>,
    /// `network` of the container.
    network: Option<String>,
    command: Option<String>,
    /// Options for whoever starts the container.
    options: Option<String>,
    /// Options by which containers know each other's addresses.
    hosts: String,
    mounts: Vec<Mount>,
    /// Outside, inside.
    ports: Vec<(String, String)>,
    /// Capacity that is needed: that of what runs inside is needed where the container runs.
    utilization: Vec<Element>,
}

/// A folder of the host that a container sees.
struct Mount {
    source: String,
    target: String,
    options: Option<String>,
    /// Each replica has a folder of its own below the source.
    own_folder: bool,
}

impl<'c> WorkingSet<'c> {
    pub(super) fn read_replicas(&mut self, id: ResourceId) {
        let xml = self.resource(id).xml.clone();
        let Some((kind, container)) = KINDS.into_iter().find_map(|k| Some((k, xml.child(k)?))) else {
            return;
        };
        let number = |names: &[&str], least: u32| {
            let found = names.iter().find_map(|n| container.get(n)).and_then(|v| v.trim().parse().ok());
            found.filter(|n| *n >= least)
        };
        let promoted_max = number(&["promoted-max", "masters"], 0).unwrap_or(0);
        let replicas = number(&["replicas"], 1).unwrap_or(promoted_max.max(1)).min(REPLICAS_MAX);
        let mut per_host = number(&["replicas-per-host"], 1).unwrap_or(1);
        // Two on one host have to be told apart.
        self.resource_mut(id).set(Flags::UNIQUE, per_host > 1);
        let mut plan = Plan::read(&self.resource(id).id, &xml, kind, container, replicas);
        let inside = xml.child("primitive");
        if inside.is_some() && plan.first_address.is_none() {
            if plan.control_port.is_none() {
                // Nobody could talk to what is inside.
                return;
            }
            // They share the host's address, so only one can listen.
            per_host = 1;
        }
        let mut addresses = Vec::new();
        for offset in 0..replicas {
            let last: Option<&str> = addresses.last().and_then(|a: &Option<String>| a.as_deref());
            let address = last.map_or_else(|| plan.first_address.clone(), next_address);
            if plan.first_address.is_some() {
                plan.add_host(offset, address.as_deref().unwrap_or("(null)"), xml.child("network"));
            }
            addresses.push(address);
        }
        let mut clone = None;
        if let Some(primitive) = inside {
            plan.make_reachable();
            let filled = self.template_filled(primitive);
            plan.utilization = filled.children_named("utilization").cloned().collect();
            let made = clone_inside(&plan, primitive, per_host, promoted_max);
            clone = self.read_resource(Xml::Made(Rc::new(made)), Some(id), false);
        }
        let children = clone.map(|c| self.resource(c).children.clone()).unwrap_or_default();
        for child in &children {
            self.resource_mut(*child).set(Flags::EXCLUSIVE_DISCOVERY, true);
            if let Some(clone) = clone.filter(|_| self.resource(*child).is(Flags::NOTIFY)) {
                self.resource_mut(clone).set(Flags::NOTIFY, true);
            }
        }
        if let Some(target) =
            children.last().and_then(|c| self.resource(*c).meta.get("container-attribute-target").cloned())
        {
            for whole in [Some(id), clone].into_iter().flatten() {
                self.resource_mut(whole).meta.insert("container-attribute-target".into(), target.clone());
            }
        }
        let image = plan.image.clone();
        let mut bundle = Bundle { image, per_host, promoted_max, inside: clone, replicas: Vec::new() };
        for offset in 0..plan.replicas {
            if !self.has_room() {
                break;
            }
            let child = children.get(offset as usize).copied();
            let replica = self.add_replica(id, &plan, offset, addresses[offset as usize].clone(), child);
            bundle.replicas.push(replica);
        }
        let resource = self.resource_mut(id);
        resource.children.extend(clone);
        resource.variant = Variant::Bundle(bundle);
    }

    fn add_replica(
        &mut self,
        bundle: ResourceId,
        plan: &Plan,
        offset: u32,
        address: Option<String>,
        child: Option<ResourceId>,
    ) -> Replica {
        let part = |set: &mut Self, id: String, kind: &str, parameters: &[(&str, &str)], more: &[Element]| {
            let id = id.replace([':', '#'], ".");
            let mut xml = Element::new("primitive")
                .with("id", &id)
                .with("class", "ocf")
                .with("provider", "heartbeat")
                .with("type", kind);
            let owner = format!("{}-attributes-{offset}", plan.name);
            xml.children.push(block(&owner, "instance_attributes", parameters.iter().copied()));
            let mut operations = Element::new("operations");
            operations.children.push(operation(&id, "monitor", "60s", None));
            xml.children.push(operations);
            xml.children.extend(more.iter().cloned());
            let made = set.add_resource(Xml::Made(Rc::new(xml)), Variant::Primitive, Some(bundle));
            set.resource_mut(bundle).children.push(made);
            made
        };
        let options = plan.run_options(offset, address.as_deref());
        let folders = plan.own_folders(offset);
        let mut parameters = vec![
            ("image", plan.image.as_str()),
            ("allow_pull", "true"),
            ("force_kill", "false"),
            ("reuse", "false"),
            ("run_opts", &options),
            ("mount_points", &folders),
        ];
        let command = plan.command.as_deref().or(child.map(|_| REMOTE_DAEMON));
        parameters.extend(command.map(|command| ("run_cmd", command)));
        parameters.push(("monitor_cmd", "/bin/true"));
        let name = format!("{}-{}-{offset}", plan.name, plan.kind);
        let container = part(self, name, plan.kind, &parameters, &plan.utilization);
        let ip = plan.first_address.as_ref().and(address.as_deref()).map(|address| {
            let mut parameters = vec![("ip", address)];
            parameters.extend(plan.interface.as_deref().map(|nic| ("nic", nic)));
            parameters.push(("cidr_netmask", plan.netmask.as_deref().unwrap_or("32")));
            part(self, format!("{}-ip-{address}", plan.name), "IPaddr2", &parameters, &[])
        });
        let mut replica = Replica { address, ip, container, connection: None, guest: None, child };
        if let Some(child) = child {
            let port = plan.control_port.as_deref().unwrap_or(CONTROL_PORT);
            self.add_guest(bundle, plan, offset, &mut replica, child, port);
        }
        if let (Some(child), Some(address)) = (child, &replica.address) {
            self.resource_mut(child).meta.insert("external-ip".into(), address.clone());
        }
        replica
    }

    fn add_guest(
        &mut self,
        bundle: ResourceId,
        plan: &Plan,
        offset: u32,
        replica: &mut Replica,
        child: ResourceId,
        port: &str,
    ) {
        let mut name = format!("{}-{offset}", plan.name);
        if self.find_resource(&name).is_some() {
            name = format!("pcmk-internal-{}-remote-{offset}", self.resource(child).id);
        }
        let node = self.find_node(&name, &name).unwrap_or_else(|| {
            self.add_node(Node::new(&name, &name, NodeKind::Remote, Score::MINUS_INFINITY))
        });
        {
            let node = self.node_mut(node);
            (node.score, node.reserved) = (Score::MINUS_INFINITY, true);
            node.attributes.insert("#kind".into(), "container".into());
        }
        let at = node.0 as usize;
        for one in 0..self.resources.len() {
            let one = ResourceId(one as u32);
            let part = self.resource(one).parent == Some(bundle);
            if let Some(entry) = self.resource_mut(one).allowed.get_mut(at) {
                if one == bundle {
                    *entry = None;
                } else if !part {
                    *entry = entry.map(|_| Score::MINUS_INFINITY);
                }
            }
        }
        let mut only_there = vec![None; at + 1];
        only_there[at] = Some(Score::new(500));
        self.resource_mut(child).allowed = only_there;
        if let Some(clone) = self.resource(child).parent {
            let allowed = &mut self.resource_mut(clone).allowed;
            allowed.resize(allowed.len().max(at + 1), None);
            allowed[at] = Some(Score::MINUS_INFINITY);
        }
        let container = replica.container;
        let container_id = self.resource(container).id.clone();
        let address = replica.address.as_deref().unwrap_or("#uname");
        let meta = [("internal_rsc", "true"), ("container", &container_id)];
        let xml = connection(&name, None, meta.into_iter(), [("addr", address), ("port", port)].into_iter());
        let Some(made) = self.read_resource(Xml::Made(Rc::new(xml)), Some(bundle), false) else { return };
        for at in 0..self.nodes.len() {
            if self.nodes[at].kind == NodeKind::Remote
                && let Some(Some(score)) = self.resource_mut(made).allowed.get_mut(at)
            {
                *score = Score::MINUS_INFINITY;
            }
        }
        self.node_mut(node).connection = Some(made);
        self.resource_mut(bundle).children.push(made);
        (replica.connection, replica.guest) = (Some(made), Some(node));
    }
}

impl Plan {
    fn read(name: &str, bundle: &Element, kind: &'static str, container: &Element, replicas: u32) -> Self {
        let network = bundle.child("network");
        let network_says = |name: &str| network.and_then(|n| n.get(name)).map(str::to_owned);
        let container_says = |name: &str| container.get(name).map(str::to_owned);
        let port = |xml: &Element| {
            let (source, inside) = match xml.get("port") {
                Some(port) => (port, xml.get("internal-port")),
                None => (xml.get("range")?, None),
            };
            (!source.is_empty()).then(|| (source.to_owned(), inside.unwrap_or(source).to_owned()))
        };
        let mount = |xml: &Element| {
            let (source, own_folder) = match xml.get("source-dir") {
                Some(source) => (source, false),
                None => (xml.get("source-dir-root")?, true),
            };
            let options = xml.get("options").map(str::to_owned);
            let target = xml.get("target-dir")?.to_owned();
            Some(Mount { source: source.to_owned(), target, options, own_folder })
        };
        Self {
            name: name.to_owned(),
            kind,
            image: container.get("image").unwrap_or_default().to_owned(),
            replicas,
            control_port: network_says("control-port"),
            first_address: network_says("ip-range-start"),
            netmask: network_says("host-netmask"),
            interface: network_says("host-interface"),
            network: container_says("network"),
            command: container_says("run-command"),
            options: container_says("options"),
            hosts: String::new(),
            mounts: bundle.child("storage").into_iter().flat_map(|s| &s.children).filter_map(mount).collect(),
            ports: network.into_iter().flat_map(|n| &n.children).filter_map(port).collect(),
            utilization: Vec::new(),
        }
    }

    fn is_rkt(&self) -> bool {
        self.kind == "rkt"
    }

    /// Lets all replicas know one's address.
    fn add_host(&mut self, offset: u32, address: &str, network: Option<&Element>) {
        let name = &self.name;
        let add = network.and_then(|n| n.get("add-host")).and_then(parse_bool).unwrap_or(true);
        self.hosts += &if add && self.kind != "rkt" {
            format!(" --add-host={name}-{offset}:{address}")
        } else {
            format!(" --hosts-entry={address}={name}-{offset}")
        };
    }

    /// What a container needs so that the daemon inside of it can be talked to.
    fn make_reachable(&mut self) {
        let plain = |path: &str| Mount {
            source: path.to_owned(),
            target: path.to_owned(),
            options: None,
            own_folder: false,
        };
        let has_log = self.mounts.iter().any(|m| m.target == "/var/log");
        self.mounts.push(plain(KEY));
        if !has_log {
            self.mounts.push(Mount { target: "/var/log".into(), own_folder: true, ..plain(LOGS) });
        }
        let port = self.control_port.clone().unwrap_or_else(|| CONTROL_PORT.to_owned());
        self.ports.push((port.clone(), port));
    }

    fn source(&self, mount: &Mount, offset: u32) -> String {
        if mount.own_folder {
            format!("{}/{}-{offset}", mount.source, self.name)
        } else {
            mount.source.clone()
        }
    }

    fn own_folders(&self, offset: u32) -> String {
        let own = self.mounts.iter().filter(|m| m.own_folder);
        own.map(|m| self.source(m, offset)).collect::<Vec<_>>().join(",")
    }

    /// Part of the digest by which a container is restarted: every blank counts, also one behind nothing.
    fn run_options(&self, offset: u32, address: Option<&str>) -> String {
        let rkt = self.is_rkt();
        let (host_name, environment) = if rkt { ("--hostname=", "--environment=") } else { ("-h ", "-e ") };
        let mut text = String::new();
        if self.kind == "docker" {
            text += " --restart=no";
        }
        if self.first_address.is_some() {
            text += &format!(" {host_name}{}-{offset}", self.name);
        }
        text += &format!(" {environment}PCMK_stderr=1");
        if let Some(network) = &self.network {
            text += &format!(" --net={network}");
        }
        let port = self.control_port.as_deref().unwrap_or(CONTROL_PORT);
        text += &format!(" {environment}PCMK_remote_port={port}");
        for (number, mount) in self.mounts.iter().enumerate() {
            let (source, target) = (self.source(mount, offset), &mount.target);
            let options = mount.options.as_deref();
            text += &if rkt {
                let options = options.map_or(String::new(), |o| format!(",{o}"));
                format!(
                    " --volume vol{number},kind=host,source={source}{options} --mount volume=vol{number},target={target}"
                )
            } else {
                let options = options.map_or(String::new(), |o| format!(":{o}"));
                format!(" -v {source}:{target}{options}")
            };
        }
        for (outside, inside) in &self.ports {
            text += &match (rkt, address) {
                (false, Some(address)) => format!(" -p {address}:{outside}:{inside}"),
                // The host's ports are its own then.
                (false, None) if self.network.as_deref() == Some("host") => String::new(),
                (false, None) => format!(" -p {outside}:{inside}"),
                (true, Some(address)) => format!(" --port={inside}:{address}:{outside}"),
                (true, None) => format!(" --port={inside}:{outside}"),
            };
        }
        if let Some(options) = &self.options {
            text += &format!(" {options}");
        }
        text + " " + &self.hosts
    }
}

/// The clone that the primitive inside of a bundle is.
fn clone_inside(plan: &Plan, primitive: &Element, per_host: u32, promoted_max: u32) -> Element {
    let suffix = if promoted_max > 0 { "master" } else { "clone" };
    let id = format!("{}-{suffix}", plan.name);
    let mut clone = Element::new("clone").with("id", &id);
    let (max, node_max, promoted) =
        (plan.replicas.to_string(), per_host.to_string(), promoted_max.to_string());
    let unique = (per_host > 1).to_string();
    let mut meta = vec![
        ("ordered", "true"),
        ("clone-max", max.as_str()),
        ("clone-node-max", node_max.as_str()),
        ("globally-unique", unique.as_str()),
    ];
    if promoted_max > 0 {
        meta.extend([("promotable", "true"), ("promoted-max", promoted.as_str())]);
    }
    clone.children.push(block(&id, "meta_attributes", meta.into_iter()));
    let mut primitive = primitive.clone();
    primitive.children.retain(|c| c.name != "utilization");
    clone.children.push(primitive);
    clone
}

/// The address after one; a network's last ones are left out.
fn next_address(address: &str) -> Option<String> {
    let parts: Vec<u32> = address.split('.').map(|p| p.parse().ok()).collect::<Option<_>>()?;
    let [a, b, c, d] = parts[..] else { return None };
    match (c, d) {
        (_, ..=253) => Some(format!("{a}.{b}.{c}.{}", d + 1)),
        (..=253, _) => Some(format!("{a}.{b}.{}.1", c + 1)),
        _ => None,
    }
}
