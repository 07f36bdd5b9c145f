//! A document with its status, and what is known besides.

use std::collections::BTreeMap;

use cib::{Element, Moment};
use scheduler::{Flags, Node, NodeId, NotACib, Resource, ResourceId, Variant, WorkingSet};
use serde::{Deserialize, Serialize};

use crate::history::{self, Entry};

/// A node was fenced, or was to be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Fencing {
    /// Whom.
    pub target: String,
    /// `off`, `reboot`, `on`.
    pub action: String,
    /// `success`, `failed`, or how far it is.
    pub state: String,
    /// The node that did it.
    pub delegate: String,
    /// The node that asked.
    pub origin: String,
    /// The program that asked.
    pub client: String,
    /// When it ended, in microseconds since 1970; 0: not yet.
    pub completed_us: i64,
    /// Why it failed, or why it had to be.
    pub exit_reason: String,
}

impl Fencing {
    /// Whether the node was fenced by it.
    #[must_use]
    pub fn succeeded(&self) -> bool {
        matches!(self.state.as_str(), "success" | "succeeded" | "done")
    }

    /// Whether it was given up.
    #[must_use]
    pub fn failed(&self) -> bool {
        self.state == "failed"
    }

    /// When it ended, in seconds since 1970.
    #[must_use]
    pub const fn at(&self) -> i64 {
        self.completed_us / 1_000_000
    }
}

/// See the module.
pub struct View<'c> {
    pub(crate) root: &'c Element,
    pub(crate) set: WorkingSet<'c>,
    pub(crate) entries: Vec<Entry<'c>>,
    pub(crate) fencing: &'c [Fencing],
    pub(crate) now: i64,
    /// Seconds east of Greenwich, at a moment: `cib-last-written` has none.
    pub(crate) zone: fn(i64) -> i32,
}

/// When a document's configuration was changed last, in seconds since 1970. `zone`: seconds east of Greenwich at a moment.
#[must_use]
pub fn last_change(root: &Element, zone: fn(i64) -> i32) -> Option<i64> {
    let text = root.get("cib-last-written")?;
    // `Wed May 25 16:20:11 2016`, by the clock on the wall.
    let words: Vec<&str> = text.split_whitespace().collect();
    let [_, month, day, time, year] = words[..] else { return Moment::parse(text).map(|m| m.0) };
    let month = MONTHS.iter().position(|m| *m == month)? + 1;
    let day: u8 = day.parse().ok()?;
    let local = Moment::parse(&format!("{year}-{month:02}-{day:02} {time}Z"))?.0;
    Some(local.saturating_sub(zone(local).into()))
}

impl<'c> View<'c> {
    /// See [`crate::planned`].
    #[must_use]
    pub fn planned(&self) -> Vec<(String, logconv::Planned)> {
        crate::planned(&self.set)
    }

    /// Looks at a document, of the newest schema, as of `now`. `fencing`: what is known of it, in any order.
    ///
    /// # Errors
    /// When it is no CIB.
    pub fn new(root: &'c Element, fencing: &'c [Fencing], now: Moment) -> Result<Self, NotACib> {
        let mut set = WorkingSet::new_explained(root, now)?;
        set.without_secrets = true;
        set.place();
        Ok(Self { root, set, entries: history::entries(root), fencing, now: now.0, zone: |_| 0 })
    }

    /// With the zone that the document's cluster is in: seconds east of Greenwich, at a moment.
    #[must_use]
    pub fn in_zone(mut self, zone: fn(i64) -> i32) -> Self {
        self.zone = zone;
        self
    }

    /// When the configuration was changed last, in seconds since 1970.
    pub(crate) fn written(&self) -> Option<i64> {
        last_change(self.root, self.zone)
    }

    /// Names by which a log may speak of something: its own, and those of its parts.
    #[must_use]
    pub fn names_of(&self, name: &str) -> Vec<String> {
        let mut names = vec![name.to_owned()];
        if let Some(id) = self.find(name) {
            names.extend(self.leaves(id).into_iter().map(|leaf| base(&leaf.id).to_owned()));
        }
        names
    }

    pub(crate) fn resource(&self, id: ResourceId) -> Option<&Resource<'c>> {
        self.resources().find(|(at, _)| *at == id).map(|(_, resource)| resource)
    }

    fn resources(&self) -> impl Iterator<Item = (ResourceId, &Resource<'c>)> {
        self.set.ids().zip(&self.set.resources)
    }

    /// A resource by its id or that in the configuration; of instances the first.
    pub(crate) fn find(&self, name: &str) -> Option<ResourceId> {
        let found =
            |same: &dyn Fn(&Resource<'c>) -> bool| self.resources().find(|(_, r)| same(r)).map(|(id, _)| id);
        found(&|r| r.id == name)
            .or_else(|| found(&|r| base(&r.id) == name || r.history_name.as_deref() == Some(name)))
    }

    pub(crate) fn node(&self, id: NodeId) -> Option<&Node> {
        self.set.node_ids().zip(&self.set.nodes).find(|(at, _)| *at == id).map(|(_, node)| node)
    }

    pub(crate) fn node_named(&self, name: &str) -> Option<&Node> {
        self.set.nodes.iter().find(|n| n.name.eq_ignore_ascii_case(name) || n.id == name)
    }

    pub(crate) fn name_of(&self, id: NodeId) -> &str {
        self.node(id).map_or("?", |n| n.name.as_str())
    }

    /// The resource's parts that have agents, itself if it is one.
    pub(crate) fn leaves(&self, id: ResourceId) -> Vec<&Resource<'c>> {
        let (mut open, mut found) = (vec![id], Vec::new());
        while let Some(id) = open.pop() {
            let Some(resource) = self.resource(id) else { continue };
            if matches!(resource.variant, Variant::Primitive) {
                found.push(resource);
            }
            open.extend(resource.children.iter().rev());
        }
        found
    }

    /// The outermost group around a resource, or itself.
    pub(crate) fn whole(&self, id: ResourceId) -> ResourceId {
        let mut at = id;
        while let Some(parent) = self.resource(at).and_then(|r| r.parent) {
            let group = self.resource(parent).is_some_and(|p| matches!(p.variant, Variant::Group));
            if !group {
                break;
            }
            at = parent;
        }
        at
    }

    /// Names of the nodes where something of a resource runs.
    pub(crate) fn runs_on(&self, id: ResourceId) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for leaf in self.leaves(id) {
            for node in &leaf.running_on {
                let name = self.name_of(*node).to_owned();
                if !names.contains(&name) {
                    names.push(name);
                }
            }
        }
        names
    }

    /// Entries of these resources.
    pub(crate) fn of<'a>(&'a self, leaves: &'a [&Resource<'c>]) -> impl Iterator<Item = &'a Entry<'c>> {
        self.entries.iter().filter(|e| leaves.iter().any(|leaf| is_of(leaf, e.resource)))
    }

    /// Fail counts that are left, with the time of the last failure: resource, node, count, seconds.
    pub(crate) fn fail_counts(&self) -> Vec<(String, String, String, i64)> {
        let mut all: BTreeMap<(String, String), (String, i64)> = BTreeMap::new();
        for node in &self.set.nodes {
            for (name, value) in &node.attributes {
                let Some(rest) = name.strip_prefix("fail-count-") else { continue };
                let (owner, operation) = rest.split_once('#').unwrap_or((rest, ""));
                if value.trim() == "0" {
                    continue;
                }
                let suffix = if operation.is_empty() { String::new() } else { format!("#{operation}") };
                let last = node.attributes.get(&format!("last-failure-{owner}{suffix}"));
                let last = last.and_then(|v| v.trim().parse().ok()).unwrap_or(0);
                all.insert((base(owner).to_owned(), node.name.clone()), (value.clone(), last));
            }
        }
        all.into_iter().map(|((owner, node), (count, last))| (owner, node, count, last)).collect()
    }

    /// A location constraint, or a rule of one, by its id.
    pub(crate) fn constraint(&self, id: &str) -> Option<&'c Element> {
        let constraints = self.root.child("configuration")?.child("constraints")?;
        constraints.find_id(id)
    }

    /// Location constraints that an operator's move left behind: the constraint, its resource, its node if it names one, and whether it
    /// is over.
    pub(crate) fn moves(&self) -> Vec<(&'c Element, &'c str, Option<&'c str>, bool)> {
        let constraints = self.root.child("configuration").and_then(|c| c.child("constraints"));
        let locations = constraints.into_iter().flat_map(|c| c.children_named("rsc_location"));
        let mut found = Vec::new();
        for location in locations {
            let id = location.id().unwrap_or_default();
            if !(id.starts_with("cli-ban-")
                || id.starts_with("cli-prefer-")
                || id.starts_with("cli-standby-"))
            {
                continue;
            }
            let Some(resource) = location.get("rsc") else { continue };
            let mut node = location.get("node");
            let mut over = false;
            location.walk(&mut |e| {
                if e.name == "expression" && e.get("attribute") == Some("#uname") {
                    node = node.or(e.get("value"));
                }
                if e.name == "date_expression"
                    && let Some(end) = e.get("end").and_then(Moment::parse)
                {
                    over |= end.0 <= self.now;
                }
            });
            found.push((location, resource, node, over));
        }
        found
    }

    /// The last fencing of a node.
    pub(crate) fn fenced(&self, node: &str) -> Option<&'c Fencing> {
        let of = self.fencing.iter().filter(|f| f.target.eq_ignore_ascii_case(node));
        of.max_by_key(|f| (f.completed_us == 0, f.completed_us))
    }

    /// Whether a resource is one that serves, and no fence device.
    pub(crate) fn serves(&self, id: ResourceId) -> bool {
        let leaves = self.leaves(id);
        !leaves.is_empty() && !leaves.iter().any(|l| l.is(Flags::FENCE_DEVICE))
    }

    /// Top-level resources that are in one place each, and serve: groups and what stands alone.
    pub(crate) fn services(&self) -> Vec<ResourceId> {
        let one = |id: &ResourceId| {
            self.resource(*id).is_some_and(|r| {
                matches!(r.variant, Variant::Group | Variant::Primitive)
                    && !r.is(Flags::ORPHAN)
                    && !r.is_connection
            })
        };
        self.set.top.iter().copied().filter(|id| one(id) && self.serves(*id)).collect()
    }

    /// The node where a resource would be by the configuration alone: the one with the highest score of location constraints.
    pub(crate) fn home(&self, id: ResourceId) -> Option<String> {
        let resource = self.resource(id)?;
        let constraints = self.root.child("configuration").and_then(|c| c.child("constraints"))?;
        let mut scores: BTreeMap<&str, i64> = BTreeMap::new();
        let mut add = |node: &'c str, score: Option<&str>| {
            let score = match score {
                Some("INFINITY" | "+INFINITY") => 1_000_000,
                Some(text) => text.parse().unwrap_or(0),
                None => 0,
            };
            let all = scores.entry(node).or_default();
            *all = all.saturating_add(score);
        };
        for location in constraints.children_named("rsc_location") {
            let of_move = location.id().is_some_and(|id| id.starts_with("cli-"));
            if of_move || location.get("rsc") != Some(resource.id.as_str()) {
                continue;
            }
            if let Some(node) = location.get("node") {
                add(node, location.get("score"));
            }
            for rule in location.children_named("rule") {
                let score = rule.get("score").filter(|s| !s.starts_with('-'));
                // The one form that says of a node that it is liked.
                if let (Some(_), [only]) = (score, &rule.children[..])
                    && only.get("attribute") == Some("#uname")
                    && only.get("operation") == Some("eq")
                    && let Some(name) = only.get("value")
                {
                    add(name, score);
                }
            }
        }
        let best = scores.values().copied().max().filter(|best| *best > 0)?;
        let mut of_best = scores.iter().filter(|(_, score)| **score == best);
        match (of_best.next(), of_best.next()) {
            (Some((node, _)), None) => Some((*node).to_owned()),
            _ => None,
        }
    }

    /// A moment as people read it, and how long ago that was.
    pub(crate) fn when(&self, at: i64) -> String {
        if at <= 0 {
            return "at an unknown time".to_owned();
        }
        format!("at {}", Moment(at).display())
    }
}

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// An id without the number of an instance.
pub(crate) fn base(id: &str) -> &str {
    match id.rsplit_once(':') {
        Some((base, number)) if number.bytes().all(|b| b.is_ascii_digit()) => base,
        _ => id,
    }
}

/// Whether an entry of the history is of this resource.
pub(crate) fn is_of(resource: &Resource<'_>, name: &str) -> bool {
    resource.history_name.as_deref() == Some(name) || base(&resource.id) == base(name)
}

/// The resources whose places are said at the end of a fail-over: first and last member of each group, and what stands alone.
#[must_use]
pub fn watched(root: &Element) -> Vec<String> {
    let resources = root.child("configuration").and_then(|c| c.child("resources"));
    let mut all: Vec<String> = Vec::new();
    let serves = |e: &Element| e.get("class") != Some("stonith");
    for element in resources.into_iter().flat_map(|r| &r.children) {
        let mut of_one = Vec::new();
        match element.name.as_str() {
            "primitive" if serves(element) => of_one.push(element),
            "group" => {
                let members: Vec<&Element> = element.children_named("primitive").collect();
                if members.iter().all(|m| serves(m)) {
                    of_one.extend(members.first());
                    of_one.extend(members.last().filter(|_| members.len() > 1));
                }
            }
            _ => {}
        }
        all.extend(of_one.into_iter().filter_map(|e| e.id()).map(str::to_owned));
    }
    all
}
