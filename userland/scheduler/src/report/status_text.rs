//! Nodes and resources as lists, in the layout of `crm_mon` and `crm_simulate`.

use std::fmt::Write;

use indexmap::IndexMap;

use crate::model::node::compare_names;
use crate::model::{
    Bundle, Flags, Node, NodeId, NodeKind, Replica, Resource, ResourceId, Role, Variant, WorkingSet,
};

/// What is shown.
#[derive(Clone, Copy, Debug, Default)]
pub struct StatusOptions {
    /// Operations that are under way.
    pub pending: bool,
}

/// Nodes, then resources; what is inside of something stands under it.
#[must_use]
pub fn status_text(set: &WorkingSet<'_>, options: StatusOptions) -> String {
    let mut list = List { set, options, out: String::new() };
    list.item(0, "Node List:");
    list.nodes();
    list.out.push('\n');
    list.item(0, "Full List of Resources:");
    let mut any = false;
    for id in &set.top {
        let resource = set.resource(*id);
        if resource.is(Flags::ORPHAN) && !set.is_active(*id, true) || set.is_out_of_sight(*id) {
            continue;
        }
        // What is active only in instances that nothing is done with on nodes that are gone counts as running nowhere, and is
        // left out by the peer as if it had been shown elsewhere.
        if resource.running_on.is_empty() && set.is_active(*id, false) {
            continue;
        }
        any |= list.resource(1, *id);
    }
    if !any {
        list.item(1, "No resources");
    }
    list.out
}

struct List<'a, 'c> {
    set: &'a WorkingSet<'c>,
    options: StatusOptions,
    out: String,
}

impl WorkingSet<'_> {
    /// Whether a resource runs, but on no node that could be named: of what is not managed and runs on a lost node the whole does
    /// not know.
    fn is_out_of_sight(&self, id: ResourceId) -> bool {
        self.resource(id).running_on.is_empty() && self.is_active(id, false)
    }

    /// Whether a resource runs: all of it, or some.
    pub(crate) fn is_active(&self, id: ResourceId, all: bool) -> bool {
        let resource = self.resource(id);
        match &resource.variant {
            Variant::Primitive => resource.running_on.iter().any(|node| {
                let node = self.node(*node);
                // On a node that is lost it counts until that was fenced.
                node.unclean || node.online || !resource.is(Flags::MANAGED)
            }),
            Variant::Bundle(bundle) => {
                let mut parts = bundle
                    .replicas
                    .iter()
                    .flat_map(|r| [r.child, r.ip, Some(r.container), r.connection].into_iter().flatten());
                if all {
                    parts.all(|p| self.is_active(p, all))
                } else {
                    parts.any(|p| self.is_active(p, all))
                }
            }
            Variant::Group | Variant::Clone(_) => {
                let mut parts = resource.children.iter();
                if all {
                    parts.all(|p| self.is_active(*p, all))
                } else {
                    parts.any(|p| self.is_active(*p, all))
                }
            }
        }
    }

    /// Numbers of all resource instances, of those that are disabled, and of those that are blocked.
    #[must_use]
    pub fn counts(&self) -> (usize, usize, usize) {
        let mut counts = (0, 0, 0);
        let mut open = self.top.clone();
        while let Some(id) = open.pop() {
            let resource = self.resource(id);
            // What is gone from the configuration counts as long as it runs.
            if resource.is_primitive() && (!resource.is(Flags::ORPHAN) || resource.role > Role::Stopped) {
                counts.0 += 1;
                counts.1 += usize::from(self.is_disabled(id));
                counts.2 += usize::from(resource.is(Flags::BLOCKED));
            }
            match &resource.variant {
                Variant::Bundle(bundle) => open.extend(
                    bundle
                        .replicas
                        .iter()
                        .flat_map(|r| [r.child, r.ip, Some(r.container), r.connection].into_iter().flatten()),
                ),
                _ => open.extend(&resource.children),
            }
        }
        counts
    }
}

impl List<'_, '_> {
    fn item(&mut self, level: usize, text: &str) {
        let _ = writeln!(self.out, "{:1$}* {text}", "", 2 * (level + 1)); // a String takes everything
    }

    fn nodes(&mut self) {
        let mut lists: IndexMap<&str, Vec<&str>> =
            ["Online", "OFFLINE", "RemoteOnline", "RemoteOFFLINE", "GuestOnline"]
                .into_iter()
                .map(|title| (title, Vec::new()))
                .collect();
        for id in &self.set.by_name {
            let node = self.set.node(*id);
            let (mode, plain) = self.mode(*id);
            let guest = self.set.is_guest(*id);
            if plain {
                let title = match (node.kind == NodeKind::Remote, guest, node.online) {
                    (_, true, true) => "GuestOnline",
                    (_, true, false) => continue,
                    (true, _, true) => "RemoteOnline",
                    (true, _, false) => "RemoteOFFLINE",
                    (false, _, true) => "Online",
                    (false, _, false) => "OFFLINE",
                };
                lists.entry(title).or_default().push(&node.name);
                continue;
            }
            let kind = match (node.kind, guest) {
                (_, true) => "GuestNode",
                (NodeKind::Remote, _) => "RemoteNode",
                _ => "Node",
            };
            self.item(1, &format!("{kind} {}: {mode}", node.name));
        }
        for (title, names) in lists {
            if !names.is_empty() {
                self.item(1, &format!("{title}: [ {} ]", names.join(" ")));
            }
        }
    }

    /// How a node is, and whether that is nothing special.
    fn mode(&self, id: NodeId) -> (String, bool) {
        let node = self.set.node(id);
        let mut plain = false;
        let mode = if node.unclean {
            match (node.online, node.pending) {
                (true, _) => "UNCLEAN (online)",
                (false, true) => "UNCLEAN (pending)",
                (false, false) => "UNCLEAN (offline)",
            }
        } else if node.pending {
            "pending"
        } else if node.standby_on_fail && node.online {
            "standby (on-fail)"
        } else if node.standby {
            match (node.online, node.running.is_empty()) {
                (true, true) => "standby",
                (true, false) => "standby (with active resources)",
                (false, _) => "OFFLINE (standby)",
            }
        } else if node.maintenance {
            if node.online { "maintenance" } else { "OFFLINE (maintenance)" }
        } else {
            plain = true;
            if node.online { "online" } else { "OFFLINE" }
        };
        match self.health(node) {
            Some(colour) => (format!("{mode} (health is {colour})"), false),
            None => (mode.to_owned(), plain),
        }
    }

    /// The worst colour that a node's health has, green left out.
    fn health(&self, node: &Node) -> Option<&'static str> {
        let strategy = self.set.options.all.get("node-health-strategy").map_or("none", String::as_str);
        if strategy == "none" {
            return None;
        }
        let mut worst = 0;
        for (name, value) in &node.attributes {
            if name.starts_with("#health") {
                let score = self.set.options.health_score(value);
                let colour = match value.to_ascii_lowercase().as_str() {
                    "red" => 2,
                    "yellow" => 1,
                    "green" => 0,
                    _ if score < cib::Score::ZERO => 2,
                    _ => 0,
                };
                worst = worst.max(colour);
            }
        }
        [None, Some("YELLOW"), Some("RED")][worst]
    }

    /// One resource with what is inside of it; whether anything was shown.
    fn resource(&mut self, level: usize, id: ResourceId) -> bool {
        match &self.set.resource(id).variant {
            Variant::Primitive => self.primitive(level, id),
            Variant::Group => {
                let header = self.header("Resource Group: ", self.set.resource(id), None);
                self.item(level, &header);
                for member in &self.set.resource(id).children {
                    self.primitive(level + 1, *member);
                }
                true
            }
            Variant::Clone(_) => {
                self.clone(level, id);
                true
            }
            Variant::Bundle(bundle) => {
                self.bundle(level, id, bundle);
                true
            }
        }
    }

    fn header(&self, title: &str, resource: &Resource<'_>, inside: Option<&str>) -> String {
        let id = self.set.find_resource(&resource.id);
        let mut words = Vec::new();
        if matches!(resource.variant, Variant::Clone(_)) {
            if resource.is(Flags::PROMOTABLE) {
                words.push("promotable");
            }
            if resource.is(Flags::UNIQUE) {
                words.push("unique");
            }
        }
        if !resource.is(Flags::MANAGED) {
            words.push("unmanaged");
        }
        if id.is_some_and(|id| self.set.is_disabled(id)) {
            words.push("disabled");
        }
        let mut text = format!("{title}{}", resource.id);
        if let Some(inside) = inside {
            let _ = write!(text, " [{inside}]");
        }
        if !words.is_empty() {
            let _ = write!(text, " ({})", words.join(", "));
        }
        text + ":"
    }

    fn primitive(&mut self, level: usize, id: ResourceId) -> bool {
        let resource = self.set.resource(id);
        let name = if resource.is(Flags::UNIQUE) { &resource.id } else { resource.configured_id() };
        let node = self.set.current_node(id);
        match self.line(id, name, node) {
            Some(line) => {
                self.item(level, &line);
                true
            }
            None => false,
        }
    }

    /// What a primitive is and does. `None`: it is no affair of the reader's.
    fn line(&self, id: ResourceId, name: &str, node: Option<NodeId>) -> Option<String> {
        let resource = self.set.resource(id);
        if resource.meta.get("internal_rsc").and_then(|v| cib::parse_bool(v)) == Some(true) {
            return None;
        }
        let several = resource.running_on.len() > 1;
        let begun_on = resource.pending.as_ref().filter(|_| self.options.pending).map(|p| p.node);
        let node = node.or(resource.locked_to).or(begun_on);
        let node = node.filter(|_| !several).map(|n| (n, self.set.node(n)));
        let provider = resource.provider.as_ref().map_or(String::new(), |p| format!("{p}:"));
        let mut line = format!("{name}\t({}:{provider}{}):\t", resource.class, resource.kind);
        if resource.is(Flags::ORPHAN) {
            line.push_str(" ORPHANED");
        }
        let role = self.shown_role(id);
        let pending = resource.pending.as_ref().filter(|_| self.options.pending);
        if resource.is(Flags::FAILED) {
            line.push_str(" FAILED");
            if role > Role::Unpromoted {
                let _ = write!(line, " {}", role.as_str());
            }
        } else {
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
            let _ = write!(line, " {}", begun.unwrap_or(role.as_str()));
        }
        if let Some((_, node)) = node {
            let _ = write!(line, " {}", node.name);
        }
        if role == Role::Stopped
            && let Some(code) = self.masked_probe(id, node.map(|(_, n)| n.name.as_str()))
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
            && self.set.resource(self.set.top_of(id)).is(Flags::PROMOTABLE)
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
        if several {
            let names: Vec<&str> =
                resource.running_on.iter().map(|n| self.set.node(*n).name.as_str()).collect();
            let _ = write!(line, " [ {} ]", names.join(" "));
        }
        Some(line)
    }

    fn shown_role(&self, id: ResourceId) -> Role {
        let role = self.set.resource(id).role;
        let promotable = self.set.resource(self.set.top_of(id)).is(Flags::PROMOTABLE);
        if role == Role::Started && promotable { Role::Unpromoted } else { role }
    }

    fn masked_probe(&self, id: ResourceId, node: Option<&str>) -> Option<i32> {
        let top = self.set.resource(self.set.top_of(id));
        let inside = top.children.first().filter(|_| matches!(top.variant, Variant::Clone(_)));
        let name =
            inside.map_or(self.set.resource(id).id.as_str(), |c| self.set.resource(*c).configured_id());
        let of_node = |failed: &str| node.is_none_or(|n| n.eq_ignore_ascii_case(failed));
        let found = self.set.failed.iter().find(|f| f.probe && of_node(&f.node) && f.resource == name);
        found.map(|f| f.rc)
    }

    fn clone(&mut self, level: usize, id: ResourceId) {
        let set = self.set;
        let resource = set.resource(id);
        let Variant::Clone(instances) = &resource.variant else { return };
        let inside = resource.children.first().map_or("", |c| set.resource(*c).configured_id());
        let unique = resource.is(Flags::UNIQUE);
        let promotable = resource.is(Flags::PROMOTABLE);
        let (mut alone, mut promoted, mut started) = (Vec::new(), Vec::new(), Vec::new());
        for child in &resource.children {
            let instance = set.resource(*child);
            if set.is_out_of_sight(*child) {
                continue;
            }
            let partly = set.is_active(*child, false);
            let pending = instance.pending.as_ref().filter(|_| self.options.pending);
            if unique || pending.is_some() {
                alone.push(*child);
            } else if !partly {
                // Named by its node below.
            } else if set.any(*child, &|r| r.is(Flags::ORPHAN))
                || set.any(*child, &|r| !r.is(Flags::MANAGED))
                || set.any(*child, &|r| r.is(Flags::FAILED))
                || !set.is_active(*child, true)
            {
                alone.push(*child);
            } else {
                let mut locations = Vec::new();
                set.locations(*child, false, &mut locations);
                let role = set.role_of(*child);
                match locations[..] {
                    [node] if !set.node(node).online && set.node(node).unclean => alone.push(*child),
                    [node] if role > Role::Unpromoted => promoted.push(node),
                    [node] => started.push(node),
                    _ => alone.push(*child),
                }
            }
        }
        let header = self.header("Clone Set: ", resource, Some(inside));
        self.item(level, &header);
        for child in alone {
            self.resource(level + 1, child);
        }
        let active = promoted.len() + started.len();
        let first = resource.children.first().map(|c| set.resource(*c));
        let target = resource.meta.get("target-role").or(first.and_then(|c| c.meta.get("target-role")));
        let target = target.and_then(|r| Role::parse(r));
        let title = match (promotable, target) {
            (true, Some(Role::Unpromoted)) => "Unpromoted (target-role)",
            (true, _) => "Unpromoted",
            (false, _) => "Started",
        };
        self.node_list(level + 1, "Promoted", promoted);
        self.node_list(level + 1, title, started);
        if unique || instances.max as usize <= active {
            return;
        }
        let mut candidates: Vec<NodeId> = (0..resource.allowed.len())
            .filter(|n| resource.allowed[*n].is_some())
            .map(|n| NodeId(n as u32))
            .collect();
        if candidates.is_empty() {
            candidates.extend(&resource.known_on);
        }
        candidates.sort_by(|a, b| compare_names(&set.node(*a).name, &set.node(*b).name));
        let mut stopped: IndexMap<String, Vec<NodeId>> = IndexMap::new();
        for node in candidates {
            if resource.running_on.contains(&node) {
                continue;
            }
            let title = match self.masked_probe(id, Some(&set.node(node).name)) {
                Some(code) => format!("Stopped ({})", exit_status_text(code)),
                None if target == Some(Role::Stopped) => "Stopped (disabled)".to_owned(),
                None => "Stopped".to_owned(),
            };
            stopped.entry(title).or_default().push(node);
        }
        stopped.sort_keys();
        for (title, nodes) in stopped {
            self.node_list(level + 1, &title, nodes);
        }
    }

    fn node_list(&mut self, level: usize, title: &str, mut nodes: Vec<NodeId>) {
        if nodes.is_empty() {
            return;
        }
        let set = self.set;
        nodes.sort_by(|a, b| compare_names(&set.node(*a).name, &set.node(*b).name));
        let names: Vec<&str> = nodes.iter().map(|n| set.node(*n).name.as_str()).collect();
        self.item(level, &format!("{title}: [ {} ]", names.join(" ")));
    }

    fn bundle(&mut self, level: usize, id: ResourceId, bundle: &Bundle) {
        let resource = self.set.resource(id);
        let set = if bundle.replicas.len() > 1 { " set" } else { "" };
        let unique = if resource.is(Flags::UNIQUE) { " (unique)" } else { "" };
        let unmanaged = if resource.is(Flags::MANAGED) { "" } else { " (unmanaged)" };
        let title = format!("Container bundle{set}: {} [{}]{unique}{unmanaged}:", resource.id, bundle.image);
        self.item(level, &title);
        for replica in &bundle.replicas {
            if !self.set.is_out_of_sight(replica.container) {
                self.replica(level + 1, replica);
            }
        }
    }

    fn replica(&mut self, level: usize, replica: &Replica) {
        let named = self.set.resource(replica.connection.unwrap_or(replica.container));
        let name = match &replica.address {
            Some(address) => format!("{} ({address})", named.id),
            None => named.id.clone(),
        };
        let shown = replica.child.unwrap_or(replica.container);
        let host = self.set.current_node(replica.container);
        if let Some(line) = self.line(shown, &name, host) {
            self.item(level, &line);
        }
    }
}

impl<'c> WorkingSet<'c> {
    /// Whether this is true of a resource or something inside of it.
    pub(crate) fn any(&self, id: ResourceId, wanted: &dyn Fn(&Resource<'c>) -> bool) -> bool {
        let resource = self.resource(id);
        wanted(resource) || resource.children.iter().any(|c| self.any(*c, wanted))
    }

    /// The strongest role of what is inside.
    pub(crate) fn role_of(&self, id: ResourceId) -> Role {
        let resource = self.resource(id);
        let inside = resource.children.iter().map(|c| self.role_of(*c)).max();
        inside.unwrap_or(resource.role)
    }
}

/// What agents mean by their exit status.
fn exit_status_text(code: i32) -> &'static str {
    match code {
        0 => "ok",
        1 => "error",
        2 => "invalid parameter",
        3 => "unimplemented feature",
        4 => "insufficient privileges",
        5 => "not installed",
        6 => "not configured",
        7 => "not running",
        8 => "promoted",
        9 => "promoted (failed)",
        190 => "degraded",
        191 => "degraded promoted",
        _ => "unknown",
    }
}
