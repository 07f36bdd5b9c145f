//! Resources: by themselves, in groups, clones and bundles, or only counted.

use std::collections::BTreeMap;
use std::fmt::Write;

use indexmap::IndexMap;

use super::facts::exit_status_text;
use super::out::{Heading, Kind, Markup};
use super::summary::word;
use super::{Only, Show};
use crate::model::node::compare_names;
use crate::model::{Flags, NodeId, Replica, Resource, ResourceId, Role, Variant};

impl Show<'_, '_> {
    /// Whether anything was shown.
    pub(super) fn resource_list(&mut self, spacer: bool) -> bool {
        let set = self.set;
        let details = self.details;
        // What runs stands below its node.
        if details.by_node && !details.inactive {
            return false;
        }
        let title = match (details.by_node, details.inactive) {
            (true, _) => "Inactive Resources",
            (false, true) => "Full List of Resources",
            (false, false) => "Active Resources",
        };
        let mut begun = Heading::default();
        let mut any = false;
        let counted = details.brief && !details.by_node;
        if counted {
            let top = self.filtered(&set.top);
            self.out.heading(&mut begun, spacer, title);
            any = self.brief(&top);
        }
        for id in &set.top {
            let resource = set.resource(*id);
            let (all, partly) = (set.is_active(*id, true), set.is_active(*id, false));
            let left_out = if resource.is(Flags::ORPHAN) && !all {
                true
            } else if details.by_node {
                all
            } else if details.brief && resource.is_primitive() || !partly && !details.inactive {
                true
            } else {
                partly && !set.runs_on_any(*id, &self.nodes)
            };
            if left_out {
                continue;
            }
            self.out.heading(&mut begun, spacer, title);
            any |= self.resource(*id);
        }
        if !any && self.kind() != Kind::Xml {
            self.out.heading(&mut begun, spacer, title);
            self.out.item(match (details.by_node, details.inactive) {
                (true, _) => "No inactive resources",
                (false, true) => "No resources",
                (false, false) => "No active resources",
            });
        }
        self.out.footer(begun);
        any
    }

    /// One resource with what is inside of it; whether anything was shown.
    pub(super) fn resource(&mut self, id: ResourceId) -> bool {
        let set = self.set;
        if self.is_filtered(id, true) {
            return false;
        }
        match (&set.resource(id).variant, self.kind()) {
            (Variant::Primitive, Kind::Xml) => self.primitive_xml(id),
            (Variant::Primitive, _) => return self.primitive(id),
            (Variant::Group, Kind::Xml) => return self.group_xml(id),
            (Variant::Group, _) => return self.group(id),
            (Variant::Clone(_), Kind::Xml) => return self.clone_xml(id),
            (Variant::Clone(_), _) => return self.clone(id),
            (Variant::Bundle(bundle), Kind::Xml) => return self.bundle_xml(id, bundle),
            (Variant::Bundle(bundle), _) => return self.bundle(id, bundle),
        }
        true
    }

    /// The same for whoever is asked for, whatever else is.
    pub(super) fn resource_of(&mut self, id: ResourceId, wanted: Only) -> bool {
        let before = std::mem::replace(&mut self.resources, wanted);
        let any = self.resource(id);
        self.resources = before;
        any
    }

    /// Whether a resource is not asked for. `with_parent`: it is, if what it is part of is.
    pub(super) fn is_filtered(&self, id: ResourceId, with_parent: bool) -> bool {
        if matches!(self.resources, Only::All) {
            return false;
        }
        let set = self.set;
        let resource = set.resource(id);
        let asked = |id: ResourceId| self.resources.has(set.shown_id(id));
        let number = || resource.id.contains(':') && self.resources.has(&resource.id);
        match &resource.variant {
            Variant::Primitive => {
                if asked(id) || self.resources.has(&resource.id) {
                    return false;
                }
                if !with_parent || resource.parent.is_none() {
                    return true;
                }
                let top = set.top_of(id);
                match set.resource(top).parent.filter(|_| set.is_bundled(id)) {
                    Some(bundle) => self.is_filtered(bundle, false),
                    None => self.is_filtered(top, false),
                }
            }
            Variant::Group => {
                let whole = with_parent && asked(set.top_of(id)) || asked(id) || number();
                !whole && resource.children.iter().all(|c| self.is_filtered(*c, false))
            }
            Variant::Clone(_) => {
                let inside = resource.children.first().map_or("", |c| set.resource(*c).configured_id());
                let whole = asked(id) || self.resources.has(inside);
                !whole && resource.children.iter().all(|c| self.is_filtered(*c, false))
            }
            Variant::Bundle(bundle) => {
                let parts = |r: &Replica| [r.ip, r.child, Some(r.container), r.connection];
                !asked(id)
                    && bundle.replicas.iter().flat_map(parts).flatten().all(|p| self.is_filtered(p, false))
            }
        }
    }

    /// Whether it runs, but nowhere that is asked for.
    pub(super) fn is_elsewhere(&self, id: ResourceId) -> bool {
        self.set.is_active(id, false) && !self.set.runs_on_any(id, &self.nodes)
    }

    /// Those that are asked for by themselves or by what they are part of.
    pub(super) fn filtered(&self, all: &[ResourceId]) -> Vec<ResourceId> {
        let set = self.set;
        let asked = |id: ResourceId| self.resources.has(set.shown_id(id));
        all.iter().copied().filter(|id| asked(*id) || set.resource(*id).parent.is_some_and(asked)).collect()
    }

    /// How many of each agent run where; whether there were any.
    pub(super) fn brief(&mut self, resources: &[ResourceId]) -> bool {
        let set = self.set;
        let mut all: BTreeMap<String, usize> = BTreeMap::new();
        let mut active: BTreeMap<String, IndexMap<NodeId, usize>> = BTreeMap::new();
        for id in resources {
            let resource = set.resource(*id);
            if !resource.is_primitive() {
                continue;
            }
            let agent = agent(resource);
            *all.entry(agent.clone()).or_default() += 1;
            for node in &resource.running_on {
                let known = set.node(*node);
                if known.unclean || known.online || !resource.is(Flags::MANAGED) {
                    *active.entry(agent.clone()).or_default().entry(*node).or_default() += 1;
                }
            }
        }
        let mut any = false;
        for (agent, count) in all {
            let of = |n: String| if self.details.inactive { format!("{n}/{count}") } else { n };
            let mut nodes: Vec<(NodeId, usize)> =
                active.get(&agent).into_iter().flatten().map(|(n, c)| (*n, *c)).collect();
            nodes.sort_by(|(a, _), (b, _)| compare_names(&set.node(*a).name, &set.node(*b).name));
            for (node, running) in &nodes {
                let name = if self.resource_only { "" } else { set.node(*node).name.as_str() };
                let line = format!("{}\t({agent}):\tActive {name}", of(running.to_string()));
                self.out.item(&line);
                any = true;
            }
            if nodes.is_empty() && self.details.inactive {
                self.out.item(&format!("{}\t({agent}):\tActive", of("0".to_owned())));
                any = true;
            }
        }
        any
    }

    fn primitive(&mut self, id: ResourceId) -> bool {
        let set = self.set;
        let resource = set.resource(id);
        let node = set.current_node(id).or(resource.pending.as_ref().map(|p| p.node));
        self.primitive_as(id, set.shown_id(id), node)
    }

    /// A primitive under a name of its own; whether it is anybody's business.
    pub(super) fn primitive_as(&mut self, id: ResourceId, name: &str, node: Option<NodeId>) -> bool {
        let resource = self.set.resource(id);
        let internal = resource.meta.get("internal_rsc").and_then(|v| cib::parse_bool(v)) == Some(true);
        if internal && !self.implicit {
            return false;
        }
        let line = self.line(id, name, node);
        let class = if !resource.is(Flags::MANAGED) {
            "rsc-managed"
        } else if resource.is(Flags::FAILED) || resource.running_on.is_empty() {
            "rsc-failed"
        } else if resource.running_on.len() > 1 {
            "rsc-multiple"
        } else if resource.is(Flags::FAILURE_IGNORED) {
            "rsc-failure-ignored"
        } else {
            "rsc-ok"
        };
        self.out.pieces(&[(Some(class), &line)]);
        true
    }

    /// What a primitive is and does.
    fn line(&self, id: ResourceId, name: &str, node: Option<NodeId>) -> String {
        let set = self.set;
        let resource = set.resource(id);
        let several = resource.running_on.len() > 1;
        let hidden = self.resource_only || several;
        let node = node.or(resource.locked_to).filter(|_| !hidden).map(|n| (n, set.node(n)));
        let mut line = format!("{name}\t({}):\t", agent(resource));
        if resource.is(Flags::ORPHAN) {
            line.push_str(" ORPHANED");
        }
        let role = set.shown_role(id);
        let pending = resource.pending.as_ref().filter(|_| self.details.pending);
        if resource.is(Flags::FAILED) {
            line.push_str(" FAILED");
            if role > Role::Unpromoted {
                let _ = write!(line, " {}", role.as_str()); // a String takes everything
            }
        } else {
            let _ = write!(line, " {}", self.state(id));
        }
        if let Some((_, node)) = node {
            let _ = write!(line, " {}", node.name);
        }
        if role == Role::Stopped
            && let Some(code) = set.masked_probe(id, node.map(|(_, n)| n.name.as_str()))
        {
            let _ = write!(line, " ({}) ", exit_status_text(code));
        }
        let mut words: Vec<&str> = Vec::new();
        if node.is_some_and(|(_, n)| !n.online && n.unclean) {
            words.push("UNCLEAN");
        }
        if node.is_some_and(|(n, _)| resource.locked_to == Some(n)) {
            words.push("LOCKED");
        }
        if pending.is_some_and(|p| p.task == "monitor") {
            words.push("Monitoring");
        }
        let target = resource.meta.get("target-role");
        let target_role = target.and_then(|t| Role::parse(t));
        let limited;
        if target_role == Some(Role::Stopped) {
            words.push("disabled");
        } else if let Some(target) = target
            && target_role == Some(Role::Unpromoted)
            && set.resource(set.top_of(id)).is(Flags::PROMOTABLE)
        {
            limited = format!("target-role:{target}");
            words.push(&limited);
        }
        if resource.is(Flags::BLOCKED) {
            words.push("blocked");
        } else if !resource.is(Flags::MANAGED) {
            words.push("unmanaged");
        }
        if resource.is(Flags::FAILURE_IGNORED) {
            words.push("failure ignored");
        }
        if !words.is_empty() {
            let _ = write!(line, " ({})", words.join(", "));
        }
        if let Some(description) = resource.xml.get("description").filter(|_| hidden) {
            let _ = write!(line, " {description}");
        }
        if several && !self.resource_only {
            let names: Vec<&str> = resource.running_on.iter().map(|n| set.node(*n).name.as_str()).collect();
            let _ = write!(line, " [ {} ]", names.join(" "));
        }
        line
    }

    /// What a primitive does, or is about to do.
    fn state(&self, id: ResourceId) -> &'static str {
        let pending = self.set.resource(id).pending.as_ref().filter(|_| self.details.pending);
        let begun = pending.and_then(|p| {
            Some(match p.task.as_str() {
                "start" => "Starting",
                "stop" => "Stopping",
                "migrate_to" | "migrate_from" => "Migrating",
                "promote" => "Promoting",
                "demote" => "Demoting",
                _ => return None,
            })
        });
        begun.unwrap_or(self.set.shown_role(id).as_str())
    }

    fn primitive_xml(&mut self, id: ResourceId) {
        let set = self.set;
        let resource = set.resource(id);
        let flag = |flags| word(resource.is(flags));
        let provider = resource.xml.get("provider").map_or(String::new(), |p| format!(":{p}"));
        let agent = format!("{}{provider}:{}", resource.class, resource.kind);
        let running = resource.running_on.len().to_string();
        let pending = resource.pending.as_ref().filter(|p| self.details.pending && p.task == "monitor");
        let locked = resource.locked_to.map(|n| set.node(n).name.as_str());
        let element = Markup::new("resource")
            .with("id", set.shown_id(id))
            .with("resource_agent", &agent)
            .with("role", self.state(id))
            .with_all(&[("target_role", resource.meta.get("target-role").map(String::as_str))])
            .with("active", word(set.is_active(id, true)))
            .with("orphaned", flag(Flags::ORPHAN))
            .with("blocked", flag(Flags::BLOCKED))
            .with("managed", flag(Flags::MANAGED))
            .with("failed", flag(Flags::FAILED))
            .with("failure_ignored", flag(Flags::FAILURE_IGNORED))
            .with("nodes_running_on", &running)
            .with_all(&[("pending", pending.map(|_| "Monitoring")), ("locked_to", locked)]);
        self.out.open(element);
        for node in &resource.running_on {
            let node = set.node(*node);
            let element = Markup::new("node")
                .with("name", &node.name)
                .with("id", &node.id)
                .with("cached", word(node.online));
            self.out.leaf(element);
        }
        self.out.close();
    }
}

/// An agent as lists name it.
pub(super) fn agent(resource: &Resource<'_>) -> String {
    let provider = resource.provider.as_ref().map_or(String::new(), |p| format!(":{p}"));
    format!("{}{provider}:{}", resource.class, resource.kind)
}
