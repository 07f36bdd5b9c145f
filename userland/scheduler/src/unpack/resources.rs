//! Resources of the configuration: templates are filled in, clones get their instances, connections their nodes.

use std::rc::Rc;

use cib::{Element, Score};

use crate::model::resource::Xml;
use crate::model::{
    Flags, Instances, Node, NodeId, NodeKind, Resource, ResourceId, Role, Variant, WorkingSet,
};

use super::settings::agent_of;
use super::{INSTANCES_MAX, TOLD_MAX};

impl<'c> WorkingSet<'c> {
    pub(super) fn read_resources(&mut self, section: &'c Element) {
        self.unfencing = asks_for_unfencing(self.root);
        let made = self.add_implicit_nodes(section);
        for element in &section.children {
            if element.name != "template" {
                self.read_resource(Xml::Document(element), None, true);
            }
        }
        for connection in made {
            self.read_resource(Xml::Made(Rc::new(connection)), None, true);
        }
        for id in 0..self.resources.len() as u32 {
            self.put_into_container(ResourceId(id));
            self.link_connection(ResourceId(id));
        }
        let mut top = std::mem::take(&mut self.top);
        top.sort_by_key(|id| std::cmp::Reverse(self.resource(*id).priority));
        self.top = top;
    }

    /// Nodes that resources bring along, before any resource is read: a clone has as many instances as there are nodes.
    /// Gives the connections to guests.
    fn add_implicit_nodes(&mut self, section: &Element) -> Vec<Element> {
        let mut made = Vec::new();
        let add = |set: &mut Self, name: &str| {
            if set.node_named(name).is_none() {
                set.add_node(Node::new(name, name, NodeKind::Remote, Score::ZERO));
            }
        };
        for element in &section.children {
            let members = match element.name.as_str() {
                "primitive" => std::slice::from_ref(element),
                "group" => &element.children[..],
                _ => continue,
            };
            for primitive in members.iter().filter(|m| m.name == "primitive") {
                if is_remote_agent(primitive) {
                    add(self, primitive.id().unwrap_or_default());
                } else if let Some(connection) = self.connection_to_guest(section, primitive) {
                    add(self, connection.id().unwrap_or_default());
                    made.push(connection);
                }
            }
        }
        made
    }

    /// The connection to the guest that a primitive with `remote-node` is.
    fn connection_to_guest(&self, section: &Element, primitive: &Element) -> Option<Element> {
        let mut found = std::collections::BTreeMap::new();
        for block in primitive.children_named("meta_attributes") {
            let block = self.ids.resolve(block)?;
            for pair in block.child("attributes").unwrap_or(block).children_named("nvpair") {
                if let (Some(name), Some(value)) = (pair.get("name"), pair.get("value")) {
                    found.insert(name, value);
                }
            }
        }
        let name = *found.get("remote-node")?;
        if section.find_id(name).is_some_and(|e| e.name != "nvpair") {
            return None;
        }
        let parameter = |key: &'static str, meta: &str| found.get(meta).map(|value| (key, *value));
        let address = parameter("addr", "remote-addr");
        let meta = |key: &'static str, meta: &str| found.get(meta).map(|value| (key, *value));
        let timeout = found.get("remote-connect-timeout").copied().unwrap_or("60s");
        let metas = [
            Some(("internal_rsc", "true")),
            primitive.id().map(|id| ("container", id)),
            meta("allow-migrate", "remote-allow-migrate"),
            meta("is-managed", "is-managed"),
        ];
        Some(connection(
            name,
            Some(timeout),
            metas.into_iter().flatten(),
            [address, parameter("port", "remote-port")].into_iter().flatten(),
        ))
    }

    /// Reads one resource and what is inside of it.
    pub(super) fn read_resource(
        &mut self,
        xml: Xml<'c>,
        parent: Option<ResourceId>,
        top: bool,
    ) -> Option<ResourceId> {
        xml.id()?;
        let xml = self.fill_in_template(xml);
        let variant = match xml.name.as_str() {
            "primitive" => Variant::Primitive,
            "group" => Variant::Group,
            "clone" | "master" => Variant::Clone(Instances::default()),
            "bundle" => Variant::Bundle(crate::model::Bundle::default()),
            _ => return None,
        };
        let id = self.add_resource(xml, variant, parent);
        if top {
            self.top.push(id);
        }
        match self.resource(id).variant {
            Variant::Primitive => self.read_primitive(id),
            Variant::Group => self.read_members(id),
            Variant::Clone(_) => self.read_instances(id),
            Variant::Bundle(_) => self.read_replicas(id),
        }
        Some(id)
    }

    pub(super) fn add_resource(
        &mut self,
        xml: Xml<'c>,
        variant: Variant,
        parent: Option<ResourceId>,
    ) -> ResourceId {
        let id = ResourceId(self.resources.len() as u32);
        let meta = self.meta_of(&xml, parent);
        let (class, provider, kind) = agent_of(&xml)
            .map(|(c, p, k)| (c.to_owned(), p.map(str::to_owned), k.to_owned()))
            .unwrap_or_default();
        let allowed = if self.options.symmetric {
            self.nodes.iter().map(|n| (!n.reserved).then_some(n.score)).collect()
        } else {
            Vec::new()
        };
        let mut resource = Resource {
            id: xml.id().unwrap_or_default().to_owned(),
            history_name: None,
            xml,
            variant,
            parent,
            children: Vec::new(),
            flags: Flags::UNIQUE,
            class,
            provider,
            kind,
            meta,
            priority: Score::ZERO,
            stickiness: Score::ZERO,
            migration_threshold: Score::INFINITY,
            failure_timeout: 0,
            multiple_active: crate::model::resource::MultipleActive::default(),
            role: Role::Stopped,
            next_role: Role::Unknown,
            running_on: Vec::new(),
            known_on: indexmap::IndexSet::new(),
            pending: None,
            partial_migration: None,
            dangling: Vec::new(),
            locked_to: None,
            lock_time: 0,
            container: None,
            fillers: Vec::new(),
            is_connection: false,
            reconnect_ms: 0,
            allowed,
            discovery: Vec::new(),
            instances_on: Vec::new(),
            locations: Vec::new(),
            this_with: Vec::new(),
            with_this: Vec::new(),
            tickets: Vec::new(),
            assigned: None,
            assigned_score: Score::ZERO,
            provisional: true,
            assigning: false,
            merging: std::cell::Cell::new(false),
            promotion_scores_added: false,
            promotion_index: Score::ZERO,
        };
        self.apply_meta(&mut resource);
        if !self.options.symmetric && resource.is_connection && resource.meta.contains_key("container") {
            // What a guest runs where is its container's affair.
            resource.allowed = self.nodes.iter().map(|n| Some(n.score)).collect();
        }
        self.by_id.entry(resource.id.clone()).or_insert(id);
        self.resources.push(resource);
        if let Some(target) = self.target_role_of_history(id) {
            self.resource_mut(id).next_role = target;
        }
        id
    }

    fn read_primitive(&mut self, id: ResourceId) {
        let parameters = self.resource(id).is_connection.then(|| self.parameters(id, None));
        let resource = self.resource_mut(id);
        let device = resource.is(Flags::FENCE_DEVICE);
        if let Some(interval) = parameters.as_ref().and_then(|p| p.get("reconnect_interval")) {
            resource.reconnect_ms = cib::parse_duration_ms(interval).unwrap_or(0);
            // It is tried again that often: until then its failure stands.
            resource.failure_timeout = (resource.reconnect_ms / 1_000).cast_signed();
        }
        self.has_fence_device |= device;
    }

    fn read_members(&mut self, id: ResourceId) {
        let members: Vec<Xml<'c>> = parts(&self.resource(id).xml, &["primitive"]);
        let number = instance_number(&self.resource(id).id).map(str::to_owned);
        let unique = self.resource(id).is(Flags::UNIQUE);
        for member in members {
            if let Some(child) = self.read_resource(member, Some(id), false) {
                if let Some(number) = &number {
                    let name = format!("{}:{number}", self.resource(child).id);
                    self.rename(child, name);
                }
                self.resource_mut(child).set(Flags::UNIQUE, unique);
                self.resource_mut(id).children.push(child);
            }
        }
    }

    fn read_instances(&mut self, id: ResourceId) {
        let nodes = self.nodes.len().max(1) as u32;
        let resource = self.resource(id);
        let count = |names: &[&str], default: u32| {
            let found = names.iter().find_map(|n| resource.meta.get(*n));
            found.and_then(|v| v.trim().parse().ok()).unwrap_or(default)
        };
        let flag = |name: &str| resource.meta.get(name).and_then(|v| cib::parse_bool(v)).unwrap_or(false);
        let Some(inside) = parts(&resource.xml, &["primitive", "group"]).into_iter().next() else { return };
        let (promotable, mut unique) =
            (resource.xml.name == "master" || flag("promotable"), flag("globally-unique"));
        let mut instances = Instances {
            max: count(&["clone-max"], nodes),
            node_max: count(&["clone-node-max"], 1),
            promoted_max: if promotable { count(&["promoted-max", "master-max"], 1) } else { 0 },
            promoted_node_max: if promotable {
                count(&["promoted-node-max", "master-node-max"], 1)
            } else {
                0
            },
            interleave: flag("interleave"),
            ordered: flag("ordered"),
        };
        // Agents that know nothing of instances cannot tell them apart.
        let mut agents = vec![&*inside];
        agents.extend(inside.children_named("primitive"));
        let knows_no_instances = agents.iter().any(|a| {
            a.get("class").is_some_and(|class| !matches!(class, "ocf" | "stonith"))
                && a.get("template").is_none()
        });
        let forced = unique && knows_no_instances;
        if forced {
            unique = false;
            instances.max = instances.max.min(nodes);
        }
        if !unique {
            instances.node_max = 1;
        }
        let max = instances.max;
        let most = if flag("notify") { TOLD_MAX } else { INSTANCES_MAX };
        if max > most {
            let text = format!(
                "clone {} has room for {max} instances; only {most} are looked at: lower its clone-max",
                resource.id
            );
            self.warnings.push(text);
        }
        {
            let resource = self.resource_mut(id);
            resource.variant = Variant::Clone(instances);
            resource.set(Flags::UNIQUE, unique);
            resource.set(Flags::PROMOTABLE, promotable);
            // What holds for the clone holds for its instances, unless they say otherwise.
            let own = [("globally-unique", unique), ("promotable", promotable)];
            for (name, value) in own {
                resource.meta.insert(name.into(), value.to_string());
            }
            resource.meta.entry("resource-stickiness".into()).or_insert_with(|| "1".into());
        }
        // Without instances there is one all the same, for what the history may tell.
        for _ in 0..max.clamp(1, most) {
            if !self.has_room() {
                break;
            }
            self.add_instance(id, max == 0);
        }
        if forced {
            self.leave_last_members_unique(id);
        }
    }

    /// Where a clone is made anonymous because of one member's agent, what is known by then is, and the last instance of the
    /// others is not: a quirk of the peer's, which reads members one after another.
    fn leave_last_members_unique(&mut self, clone: ResourceId) {
        let Some(last) = self.resource(clone).children.last().copied() else { return };
        for member in self.resource(last).children.clone() {
            let knows_instances = matches!(self.resource(member).class.as_str(), "ocf" | "stonith");
            self.resource_mut(member).set(Flags::UNIQUE, knows_instances);
        }
    }

    /// One more instance; one that the configuration does not ask for is an orphan.
    pub(super) fn add_instance(&mut self, clone: ResourceId, orphan: bool) -> Option<ResourceId> {
        let inside = parts(&self.resource(clone).xml, &["primitive", "group"]).into_iter().next()?;
        let number = self.resource(clone).children.len();
        let mut element = (*self.template_filled(&inside)).clone();
        let configured = element.id().unwrap_or_default().to_owned();
        let name = format!("{configured}:{number}");
        // Members of a group take the number of the group's id.
        element.attributes.insert("id", &configured);
        let unique = self.resource(clone).is(Flags::UNIQUE);
        let is_group = element.name == "group";
        let xml = Xml::Made(Rc::new(element));
        let variant = if is_group { Variant::Group } else { Variant::Primitive };
        let child = self.add_resource(xml, variant, Some(clone));
        self.rename(child, name);
        self.resource_mut(child).set(Flags::UNIQUE, unique);
        if is_group {
            self.read_members(child);
        } else {
            self.read_primitive(child);
        }
        if orphan {
            self.set_below(child, Flags::ORPHAN);
        }
        self.resource_mut(clone).children.push(child);
        Some(child)
    }

    /// Gives an instance the id that it has besides others of its clone.
    fn rename(&mut self, id: ResourceId, name: String) {
        let former = std::mem::replace(&mut self.resource_mut(id).id, name.clone());
        if self.by_id.get(&former) == Some(&id) {
            self.by_id.swap_remove(&former);
        }
        self.by_id.entry(name).or_insert(id);
    }

    pub(super) fn set_below(&mut self, id: ResourceId, flags: Flags) {
        self.resource_mut(id).set(flags, true);
        for child in self.resource(id).children.clone() {
            self.set_below(child, flags);
        }
    }

    /// A resource from a template has its own content, and the template's behind it.
    fn fill_in_template(&self, xml: Xml<'c>) -> Xml<'c> {
        if xml.get("template").is_none() || xml.name != "primitive" {
            return xml;
        }
        Xml::Made(self.template_filled(&xml))
    }

    pub(super) fn template_filled(&self, xml: &Element) -> Rc<Element> {
        let template = xml.get("template").and_then(|t| self.ids.get(t)).filter(|t| t.name == "template");
        let Some(template) = template else { return Rc::new(xml.clone()) };
        let mut made = Element { name: xml.name.clone(), ..template.clone() };
        made.position = xml.position;
        for (name, value) in xml.attributes.iter() {
            if name != "template" {
                made.attributes.insert(name, value);
            }
        }
        let own = xml.children_named("operations").flat_map(|o| &o.children).map(op_key).collect::<Vec<_>>();
        for operations in made.children.iter_mut().filter(|c| c.name == "operations") {
            operations.children.retain(|op| !own.contains(&op_key(op)));
        }
        // Its own blocks come last: of two the last one counts. Of operations the first one does.
        for child in &xml.children {
            match made.children.iter_mut().find(|c| c.name == "operations" && child.name == "operations") {
                Some(operations) => {
                    operations.children.splice(..0, child.children.iter().cloned());
                }
                None => made.children.push(child.clone()),
            }
        }
        Rc::new(made)
    }

    fn put_into_container(&mut self, id: ResourceId) {
        let resource = self.resource(id);
        if !resource.is_primitive() || resource.container.is_some() {
            return;
        }
        let Some(container) = resource.meta.get("container").and_then(|c| self.find_resource(c)) else {
            return;
        };
        if container == id {
            return;
        }
        self.resource_mut(id).container = Some(container);
        let container = self.resource_mut(container);
        container.set(Flags::CONTAINER, true);
        container.fillers.push(id);
    }

    /// Lets a connection and its node know of each other.
    pub(super) fn link_connection(&mut self, id: ResourceId) {
        let resource = self.resource(id);
        if !resource.is_connection {
            return;
        }
        let guest = resource.container.is_some();
        let name = resource.id.clone();
        let Some(node) = self.find_node(&name, &name) else { return };
        self.node_mut(node).connection = Some(id);
        if guest {
            self.node_mut(node).attributes.insert("#kind".into(), "container".into());
        } else {
            // Nothing is known of it before its connection runs.
            self.await_first_sign(node);
        }
    }

    pub(super) fn add_remote_node(&mut self, name: &str) -> NodeId {
        self.find_node(name, name)
            .unwrap_or_else(|| self.add_node(Node::new(name, name, NodeKind::Remote, Score::ZERO)))
    }
}

/// A connection to a remote node.
pub(super) fn connection<'a>(
    name: &str,
    start_timeout: Option<&str>,
    meta: impl Iterator<Item = (&'a str, &'a str)>,
    parameters: impl Iterator<Item = (&'a str, &'a str)>,
) -> Element {
    let mut element = Element::new("primitive")
        .with("id", name)
        .with("class", "ocf")
        .with("provider", "pacemaker")
        .with("type", "remote");
    element.children.push(block(name, "meta_attributes", meta));
    let mut operations = Element::new("operations");
    operations.children.push(operation(name, "monitor", "30s", Some("30s")));
    operations.children.extend(start_timeout.map(|timeout| operation(name, "start", "0", Some(timeout))));
    element.children.push(operations);
    element.children.push(block(name, "instance_attributes", parameters));
    element
}

/// An operation of something that is not in the configuration itself.
pub(super) fn operation(owner: &str, task: &str, interval: &str, timeout: Option<&str>) -> Element {
    let op = Element::new("op")
        .with("id", &format!("{owner}-{task}-{interval}"))
        .with("interval", interval)
        .with("name", task);
    match timeout {
        Some(timeout) => op.with("timeout", timeout),
        None => op,
    }
}

/// A block of pairs.
pub(super) fn block<'a>(owner: &str, kind: &str, pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Element {
    let id = format!("{owner}-{kind}");
    let mut block = Element::new(kind).with("id", &id);
    for (name, value) in pairs {
        let pair = Element::new("nvpair").with("id", &format!("{id}-{name}"));
        block.children.push(pair.with("name", name).with("value", value));
    }
    block
}

/// The parts of these kinds, in order.
fn parts<'c>(xml: &Xml<'c>, kinds: &[&str]) -> Vec<Xml<'c>> {
    match xml {
        Xml::Document(element) => {
            let element: &'c Element = element;
            element.children.iter().filter(|c| kinds.contains(&c.name.as_str())).map(Xml::Document).collect()
        }
        Xml::Made(element) => element
            .children
            .iter()
            .filter(|c| kinds.contains(&c.name.as_str()))
            .map(|c| Xml::Made(Rc::new(c.clone())))
            .collect(),
    }
}

fn is_remote_agent(xml: &Element) -> bool {
    agent_of(xml) == Some(("ocf", Some("pacemaker"), "remote"))
}

/// What makes two operations the same one.
fn op_key(op: &Element) -> (Option<String>, String) {
    let role = op.get("role").filter(|r| !matches!(*r, "Started" | "Slave" | "Unpromoted")).unwrap_or("");
    (op.get("name").map(str::to_owned), role.to_owned())
}

/// The number behind the id of an instance.
pub(super) fn instance_number(id: &str) -> Option<&str> {
    let (_, number) = id.rsplit_once(':')?;
    (!number.is_empty() && number.bytes().all(|b| b.is_ascii_digit())).then_some(number)
}

/// Templates and rules are not looked at: whether one place in the configuration says so decides.
fn asks_for_unfencing(root: &Element) -> bool {
    let mut found = false;
    root.walk(&mut |element| {
        if element.name == "meta_attributes" {
            let pairs = element.child("attributes").unwrap_or(element);
            found |= pairs.children_named("nvpair").any(|p| {
                matches!(p.get("name"), Some("provides" | "requires")) && p.get("value") == Some("unfencing")
            });
        }
    });
    found
}
