//! Groups, clones and bundles.

use std::collections::BTreeMap;

use super::facts::exit_status_text;
use super::out::{Heading, Kind, Markup};
use super::summary::word;
use super::{Only, Show, plural};
use crate::model::node::compare_names;
use crate::model::{Bundle, Flags, NodeId, Replica, ResourceId, Role, Variant, WorkingSet};

impl<'a> Show<'a, '_> {
    /// Whether a member of a group is not shown.
    fn skips_member(&self, group: ResourceId, member: ResourceId) -> bool {
        let resource = self.set.resource(group);
        let whole = self.resources.has(self.set.shown_id(group))
            || resource.id.contains(':') && self.resources.has(&resource.id);
        let asked = !self.is_filtered(member, false);
        let shows = self.set.is_active(member, false) || self.details.inactive;
        let by_name = !matches!(self.resources, Only::All) && asked;
        !(by_name || (asked || whole) && shows)
    }

    pub(super) fn group(&mut self, id: ResourceId) -> bool {
        let set = self.set;
        let resource = set.resource(id);
        let mut begun = Heading::default();
        let (all, partly) = (set.is_active(id, true), set.is_active(id, false));
        let mut words = Vec::new();
        let idle = resource.children.iter().filter(|c| !set.is_active(**c, true)).count();
        if !all && partly && idle > 0 && !self.details.inactive {
            words.push(format!("{idle} member{} inactive", plural(idle)));
        }
        if !resource.is(Flags::MANAGED) {
            words.push("unmanaged".to_owned());
        }
        if set.is_disabled(id) {
            words.push("disabled".to_owned());
        }
        let words = if words.is_empty() { String::new() } else { format!(" ({})", words.join(", ")) };
        let title = format!("Resource Group: {}{words}", resource.id);
        if self.details.brief {
            let members = self.filtered(&resource.children);
            if !members.is_empty() {
                self.out.heading(&mut begun, false, &title);
                let before = std::mem::replace(&mut self.details.inactive, true);
                self.brief(&members);
                self.details.inactive = before;
            }
        } else {
            for member in &resource.children {
                if !self.skips_member(id, *member) {
                    self.out.heading(&mut begun, false, &title);
                    self.resource(*member);
                }
            }
        }
        self.out.footer(begun);
        begun.0
    }

    pub(super) fn group_xml(&mut self, id: ResourceId) -> bool {
        let set = self.set;
        let resource = set.resource(id);
        let mut any = false;
        for member in &resource.children {
            if self.skips_member(id, *member) {
                continue;
            }
            if !std::mem::replace(&mut any, true) {
                let element = Markup::new("group")
                    .with("id", &resource.id)
                    .with("number_resources", &resource.children.len().to_string())
                    .with("managed", word(resource.is(Flags::MANAGED)))
                    .with("disabled", word(set.is_disabled(id)));
                self.out.open(element);
            }
            self.resource(*member);
        }
        if any {
            self.out.close();
        }
        any
    }

    /// Whether a clone or bundle is asked for as a whole.
    fn is_whole(&self, id: ResourceId) -> bool {
        let resource = self.set.resource(id);
        self.resources.has(self.set.shown_id(id))
            || resource.id.contains(':') && self.resources.has(&resource.id)
    }

    pub(super) fn clone_xml(&mut self, id: ResourceId) -> bool {
        let set = self.set;
        let resource = set.resource(id);
        let whole = self.is_whole(id);
        let mut any = false;
        for child in &resource.children {
            if self.is_elsewhere(*child) || self.is_filtered(*child, whole) {
                continue;
            }
            if !std::mem::replace(&mut any, true) {
                let flag = |flags| word(resource.is(flags));
                let element = Markup::new("clone")
                    .with("id", &resource.id)
                    .with("multi_state", flag(Flags::PROMOTABLE))
                    .with("unique", flag(Flags::UNIQUE))
                    .with("managed", flag(Flags::MANAGED))
                    .with("disabled", word(set.is_disabled(id)))
                    .with("failed", flag(Flags::FAILED))
                    .with("failure_ignored", flag(Flags::FAILURE_IGNORED))
                    .with_all(&[("target_role", set.target_of_clone(id))]);
                self.out.open(element);
            }
            self.resource_of(*child, Only::All);
        }
        if any {
            self.out.close();
        }
        any
    }

    /// An instance that has to be shown by itself, or where it is listed.
    fn instance(&self, clone: ResourceId, child: ResourceId) -> Instance {
        let set = self.set;
        let instance = set.resource(child);
        let partly = set.is_active(child, false);
        let pending = instance.pending.is_some() && self.details.pending;
        if set.resource(clone).is(Flags::UNIQUE) {
            let alone = partly || !set.resource(clone).is(Flags::ORPHAN);
            return if alone { Instance::Alone } else { Instance::Nowhere };
        }
        if pending {
            return Instance::Alone;
        }
        if !partly {
            return Instance::Nowhere;
        }
        if set.any(child, &|r| r.is(Flags::ORPHAN))
            || set.any(child, &|r| !r.is(Flags::MANAGED))
            || set.any(child, &|r| r.is(Flags::FAILED))
            || !set.is_active(child, true)
        {
            return Instance::Alone;
        }
        let mut locations = Vec::new();
        set.locations(child, false, &mut locations);
        match locations[..] {
            [node] if !set.node(node).online && set.node(node).unclean => Instance::Alone,
            [node] if set.role_of(child) > Role::Unpromoted => Instance::Promoted(node),
            [node] => Instance::Started(node),
            _ => Instance::Alone,
        }
    }

    pub(super) fn clone(&mut self, id: ResourceId) -> bool {
        let set = self.set;
        let resource = set.resource(id);
        let Variant::Clone(instances) = &resource.variant else { return false };
        let unique = resource.is(Flags::UNIQUE);
        let title = clone_title(set, id);
        let mut begun = Heading::default();
        let whole = self.is_whole(id);
        let (mut promoted, mut started) = (Vec::new(), Vec::new());
        for child in &resource.children {
            if self.is_elsewhere(*child) || self.is_filtered(*child, whole) {
                continue;
            }
            let mut alone = self.details.detail;
            match self.instance(id, *child) {
                Instance::Alone => alone = true,
                Instance::Promoted(node) => promoted.push(node),
                Instance::Started(node) => started.push(node),
                Instance::Nowhere => {}
            }
            if alone {
                self.out.heading(&mut begun, false, &title);
                self.resource_of(*child, Only::All);
            }
        }
        if self.details.detail {
            self.out.footer(begun);
            return true;
        }
        let target = set.target_of_clone(id).and_then(Role::parse);
        let list = match (resource.is(Flags::PROMOTABLE), target) {
            (true, Some(Role::Unpromoted)) => "Unpromoted (target-role)",
            (true, _) => "Unpromoted",
            (false, _) => "Started",
        };
        let mut active = 0;
        for (list, nodes) in [("Promoted", promoted), (list, started)] {
            let names = self.sorted_names(nodes);
            active += names.len();
            if !names.is_empty() {
                self.out.heading(&mut begun, false, &title);
                self.out.item(&format!("{list}: [ {} ]", names.join(" ")));
            }
        }
        if self.details.inactive {
            let stopped = if !unique && instances.max as usize > active {
                self.stopped(id, target)
            } else {
                Vec::new()
            };
            if !stopped.is_empty() {
                self.out.heading(&mut begun, false, &title);
                for (list, names) in stopped {
                    self.out.item(&format!("{list}: [ {} ]", names.join(" ")));
                }
            } else if active == 0 {
                self.out.heading(&mut begun, false, &title);
            }
        }
        self.out.footer(begun);
        begun.0
    }

    /// Names of nodes that are asked for, as people sort them.
    fn sorted_names(&self, mut nodes: Vec<NodeId>) -> Vec<&'a str> {
        let set = self.set;
        nodes.sort_by(|a, b| compare_names(&set.node(*a).name, &set.node(*b).name));
        let names = nodes.iter().map(|n| set.node(*n).name.as_str());
        names.filter(|n| self.nodes.has_node(n)).collect()
    }

    /// Where an anonymous clone does not run, by why.
    fn stopped(&self, id: ResourceId, target: Option<Role>) -> Vec<(String, Vec<&'a str>)> {
        let set = self.set;
        let resource = set.resource(id);
        let allowed = resource.allowed.iter().enumerate().filter(|(_, score)| score.is_some());
        let mut candidates: Vec<NodeId> = allowed.map(|(at, _)| NodeId(at as u32)).collect();
        if candidates.is_empty() {
            candidates.extend(&resource.known_on);
        }
        candidates.retain(|node| !resource.running_on.contains(node));
        let mut stopped: BTreeMap<String, Vec<&'a str>> = BTreeMap::new();
        for name in self.sorted_names(candidates) {
            let title = match set.masked_probe(id, Some(name)) {
                Some(code) => format!("Stopped ({})", exit_status_text(code)),
                None if target == Some(Role::Stopped) => "Stopped (disabled)".to_owned(),
                None => "Stopped".to_owned(),
            };
            stopped.entry(title).or_default().push(name);
        }
        stopped.into_iter().collect()
    }

    pub(super) fn bundle(&mut self, id: ResourceId, bundle: &Bundle) -> bool {
        let set = self.set;
        let resource = set.resource(id);
        let several = bundle.replicas.len() > 1;
        let title = format!(
            "Container bundle{}: {} [{}]{}{}",
            if several { " set" } else { "" },
            resource.id,
            bundle.image,
            if resource.is(Flags::UNIQUE) { " (unique)" } else { "" },
            if resource.is(Flags::MANAGED) { "" } else { " (unmanaged)" }
        );
        let whole = self.resources.has(&resource.id);
        let mut begun = Heading::default();
        for (offset, replica) in bundle.replicas.iter().enumerate() {
            if self.is_elsewhere(replica.container) {
                continue;
            }
            let parts = self.shown_parts(replica, whole);
            if self.implicit || !whole && !parts.is_empty() {
                self.out.heading(&mut begun, false, &title);
                let name = format!("Replica[{offset}]");
                if self.kind() == Kind::Text {
                    if several {
                        self.out.item(&name);
                    }
                    self.out.begin(None);
                } else if several {
                    self.out.begin(Some(&name));
                }
                let before = std::mem::replace(&mut self.implicit, true);
                for part in parts {
                    self.resource(part);
                }
                self.implicit = before;
                if several || self.kind() == Kind::Text {
                    self.out.end();
                }
            } else if whole {
                self.out.heading(&mut begun, false, &title);
                self.replica(replica);
            }
        }
        self.out.footer(begun);
        begun.0
    }

    fn shown_parts(&self, replica: &Replica, whole: bool) -> Vec<ResourceId> {
        let parts = [replica.ip, replica.child, Some(replica.container), replica.connection];
        parts.into_iter().flatten().filter(|p| !self.is_filtered(*p, whole)).collect()
    }

    fn replica(&mut self, replica: &Replica) {
        let set = self.set;
        let mut name = set.shown_id(replica.connection.unwrap_or(replica.container)).to_owned();
        if let Some(address) = &replica.address {
            name += &format!(" ({address})");
        }
        let host = set.current_node(replica.container);
        self.primitive_as(replica.child.unwrap_or(replica.container), &name, host);
    }

    pub(super) fn bundle_xml(&mut self, id: ResourceId, bundle: &Bundle) -> bool {
        let resource = self.set.resource(id);
        let whole = self.resources.has(&resource.id);
        let mut any = false;
        for (offset, replica) in bundle.replicas.iter().enumerate() {
            if self.is_elsewhere(replica.container) {
                continue;
            }
            let parts = self.shown_parts(replica, whole);
            if !whole && parts.is_empty() {
                continue;
            }
            if !std::mem::replace(&mut any, true) {
                let kind = ["docker", "rkt", "podman"].into_iter().find(|k| resource.xml.child(k).is_some());
                let element = Markup::new("bundle")
                    .with("id", &resource.id)
                    .with("type", kind.unwrap_or("unknown"))
                    .with("image", &bundle.image)
                    .with("unique", word(resource.is(Flags::UNIQUE)))
                    .with("managed", word(resource.is(Flags::MANAGED)))
                    .with("failed", word(resource.is(Flags::FAILED)));
                self.out.open(element);
            }
            self.out.open(Markup::new("replica").with("id", &offset.to_string()));
            for part in parts {
                self.resource(part);
            }
            self.out.close();
        }
        if any {
            self.out.close();
        }
        any
    }
}

/// Where an instance of a clone is shown.
enum Instance {
    Alone,
    Promoted(NodeId),
    Started(NodeId),
    Nowhere,
}

fn clone_title(set: &WorkingSet<'_>, id: ResourceId) -> String {
    let resource = set.resource(id);
    let mut words = Vec::new();
    for (flag, word) in [(Flags::PROMOTABLE, "promotable"), (Flags::UNIQUE, "unique")] {
        if resource.is(flag) {
            words.push(word);
        }
    }
    if !resource.is(Flags::MANAGED) {
        words.push("unmanaged");
    }
    if set.is_disabled(id) {
        words.push("disabled");
    }
    let inside = resource.children.first().map_or("", |c| set.resource(*c).configured_id());
    let words = if words.is_empty() { String::new() } else { format!(" ({})", words.join(", ")) };
    format!("Clone Set: {} [{inside}]{words}", resource.id)
}
