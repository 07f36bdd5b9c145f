//! Bundles: replicas of a container, each with an address of its own, a connection to the guest that it is, and what runs
//! inside.

use std::rc::Rc;

use cib::{Element, Score};

use crate::model::node::Node;
use crate::model::resource::Xml;
use crate::model::{Bundle, Flags, NodeKind, Replica, ResourceId, Variant, WorkingSet};

use super::RESOURCES_MAX;
use super::resources::{block, connection};

/// What technology a container is of.
const KINDS: [&str; 3] = ["docker", "podman", "rkt"];
/// Where connections are listened for inside of a container.
const CONTROL_PORT: &str = "3121";

/// What the configuration of a bundle says.
struct Plan {
    name: String,
    kind: &'static str,
    replicas: u32,
    control_port: Option<String>,
    first_address: Option<String>,
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
        let replicas = number(&["replicas"], 1).unwrap_or(promoted_max.max(1));
        let mut per_host = number(&["replicas-per-host"], 1).unwrap_or(1);
        let network = xml.child("network");
        let network_says = |name: &str| network.and_then(|n| n.get(name)).map(str::to_owned);
        let first_address = network_says("ip-range-start");
        let inside = xml.child("primitive");
        let control_port = network_says("control-port");
        if first_address.is_none() && control_port.is_some() {
            // They share the host's address, so only one can listen.
            per_host = 1;
        }
        let reachable = first_address.is_some() || control_port.is_some();
        let plan = Plan {
            name: self.resource(id).id.clone(),
            kind,
            replicas,
            control_port: reachable.then(|| control_port.unwrap_or_else(|| CONTROL_PORT.into())),
            first_address,
        };
        let image = container.get("image").unwrap_or_default().to_owned();
        self.resource_mut(id).set(Flags::UNIQUE, per_host > 1);
        let clone = inside.map(|primitive| clone_inside(&plan, primitive, per_host, promoted_max));
        let clone = clone.and_then(|xml| self.read_resource(Xml::Made(Rc::new(xml)), Some(id), false));
        let children = clone.map(|c| self.resource(c).children.clone()).unwrap_or_default();
        let mut bundle = Bundle { image, per_host, promoted_max, inside: clone, replicas: Vec::new() };
        let mut address = plan.first_address.clone();
        for offset in 0..plan.replicas {
            if self.resources.len() >= RESOURCES_MAX {
                break;
            }
            let child = children.get(offset as usize).copied();
            let replica = self.add_replica(id, &plan, offset, address.clone(), child);
            bundle.replicas.push(replica);
            address = address.as_deref().and_then(next_address);
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
        let part = |set: &mut Self, id: String, kind: &str, parameters: &[(&str, &str)]| {
            let mut xml = Element::new("primitive")
                .with("id", &id.replace(':', "."))
                .with("class", "ocf")
                .with("provider", "heartbeat")
                .with("type", kind);
            xml.children.push(block(&id, "instance_attributes", parameters.iter().copied()));
            let made = set.add_resource(Xml::Made(Rc::new(xml)), Variant::Primitive, Some(bundle));
            set.resource_mut(bundle).children.push(made);
            made
        };
        let container = part(self, format!("{}-{}-{offset}", plan.name, plan.kind), plan.kind, &[]);
        let ip = address
            .as_deref()
            .map(|address| part(self, format!("{}-ip-{address}", plan.name), "IPaddr2", &[("ip", address)]));
        let mut replica = Replica { address, ip, container, connection: None, guest: None, child };
        if let (Some(child), Some(port)) = (child, &plan.control_port) {
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
            name = format!("{}-remote-{offset}", plan.name);
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
        self.resource_mut(child).set(Flags::EXCLUSIVE_DISCOVERY, true);
        if let Some(clone) = self.resource(child).parent {
            let allowed = &mut self.resource_mut(clone).allowed;
            allowed.resize(allowed.len().max(at + 1), None);
            allowed[at] = Some(Score::MINUS_INFINITY);
        }
        let container = replica.container;
        let container_id = self.resource(container).id.clone();
        let address = replica.address.as_deref().unwrap_or("#uname");
        let meta = [("internal_rsc", "true"), ("container", &container_id)];
        let xml = connection(&name, "60s", meta.into_iter(), [("addr", address), ("port", port)].into_iter());
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
    clone.children.push(primitive.clone());
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
