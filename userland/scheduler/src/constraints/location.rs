//! Where a resource would rather run, or must not: constraints by node and by rule, node health.

use cib::{Element, Facts, Score};
use indexmap::IndexMap;

use crate::model::{Discovery, Flags, NodeId, ResourceId, Role, WorkingSet};
use crate::unpack::lenient_score;

use super::{Named, role_of};

/// A location constraint, rules already evaluated.
#[derive(Clone, Debug)]
pub(crate) struct Location {
    /// Id of the constraint, or of its rule.
    pub(crate) id: String,
    pub(crate) resource: ResourceId,
    /// Counts for this role only; unknown: for all.
    pub(crate) role: Role,
    pub(crate) scores: Vec<(NodeId, Score)>,
    pub(crate) discovery: Discovery,
}

impl<'c> WorkingSet<'c> {
    /// Bad health of a node counts against it for every resource.
    pub(crate) fn apply_node_health(&mut self) {
        let strategy = self.options.all.get("node-health-strategy").map_or("none", String::as_str);
        if !matches!(strategy, "migrate-on-red" | "only-green" | "progressive" | "custom") {
            return;
        }
        let base = self.options.all.get("node-health-base").filter(|_| strategy == "progressive");
        let base = base.and_then(|b| lenient_score(b)).unwrap_or_default();
        for at in 0..self.by_name.len() {
            let node = self.by_name[at];
            let health = self.node(node).attributes.iter().filter(|(name, _)| name.starts_with("#health"));
            let score = health.fold(base, |sum, (_, value)| sum + self.options.health_score(value));
            if score == Score::ZERO {
                continue;
            }
            for resource in self.top.clone() {
                let may_be_unhealthy = self.resource(resource).meta.get("allow-unhealthy-nodes");
                let exempt = may_be_unhealthy.and_then(|v| cib::parse_bool(v)) == Some(true);
                if score > Score::ZERO || !exempt {
                    self.add_location(Location {
                        id: "node-health-strategy".into(),
                        resource,
                        role: Role::Unknown,
                        scores: vec![(node, score)],
                        discovery: Discovery::Always,
                    });
                }
            }
        }
    }

    fn add_location(&mut self, location: Location) {
        let at = self.locations_by_constraint.len();
        if location.discovery == Discovery::Exclusive {
            // Also where no node is meant.
            self.resource_mut(location.resource).set(Flags::EXCLUSIVE_DISCOVERY, true);
        }
        self.resource_mut(location.resource).locations.push(at);
        self.locations_by_constraint.push(location);
    }

    pub(super) fn read_location(&mut self, xml: &'c Element) {
        if let Some(pattern) = xml.get("rsc-pattern") {
            let (pattern, invert) = match pattern.strip_prefix('!') {
                Some(pattern) => (pattern, true),
                None => (pattern, false),
            };
            let Ok(pattern) = regex::Regex::new(pattern) else { return };
            for resource in self.top.clone() {
                let id = self.resource(resource).id.clone();
                if let Some(found) = pattern.captures(&id).filter(|_| !invert) {
                    let groups: Vec<String> =
                        found.iter().map(|g| g.map_or(String::new(), |g| g.as_str().to_owned())).collect();
                    self.locate(xml, resource, None, None, &groups);
                } else if invert && !pattern.is_match(&id) {
                    self.locate(xml, resource, None, None, &[]);
                }
            }
            return;
        }
        if let Some(id) = xml.get("rsc") {
            match self.named(id) {
                Some(Named::Resource(resource)) => self.locate(xml, resource, None, None, &[]),
                Some(Named::All(all)) => {
                    for resource in all {
                        self.locate(xml, resource, None, None, &[]);
                    }
                }
                None => {}
            }
            return;
        }
        for set in self.written_sets(xml) {
            for member in set.members {
                // One that is not there ends it; those before have been told.
                let Some(resource) = member else { return };
                self.locate(xml, resource, set.xml.get("role"), set.xml.get("score"), &[]);
            }
        }
    }

    fn locate(
        &mut self,
        xml: &'c Element,
        resource: ResourceId,
        role: Option<&str>,
        score: Option<&str>,
        groups: &[String],
    ) {
        let discovery = match xml.get("resource-discovery") {
            Some("never") => Discovery::Never,
            Some("exclusive") => Discovery::Exclusive,
            _ => Discovery::Always,
        };
        if let (Some(node), Some(score)) = (xml.get("node"), score.or(xml.get("score"))) {
            let (Some(node), Some(score)) = (self.node_named(node), lenient_score(score)) else { return };
            let role = promotion_only(role_of(role.or(xml.get("role"))));
            let id = xml.id().unwrap_or_default().to_owned();
            self.add_location(Location { id, resource, role, scores: vec![(node, score)], discovery });
            return;
        }
        // A rule has a role of its own, or none; one that every running resource has is one that none is going to have yet: a
        // quirk of the peer's.
        for rule in xml.children_named("rule").filter_map(|r| self.ids.resolve(r)).collect::<Vec<_>>() {
            let role = match rule.get("role").map(Role::parse) {
                None => Role::Unknown,
                Some(Some(role)) => promotion_only(role),
                Some(None) => continue,
            };
            let scores = self.scores_of(rule, resource, groups);
            let id = rule.id().or(xml.id()).unwrap_or_default().to_owned();
            self.add_location(Location { id, resource, role, scores, discovery });
        }
    }

    /// The nodes that a rule is for, with their scores.
    fn scores_of(&self, rule: &Element, resource: ResourceId, groups: &[String]) -> Vec<(NodeId, Score)> {
        let any = rule.get("boolean-op") == Some("or");
        let parameters = self.parameters(resource, None);
        let expanded = expand_groups(rule, groups);
        let mut scores: IndexMap<NodeId, Score> = IndexMap::new();
        for id in &self.by_name {
            let node = self.node(*id);
            let facts = Facts {
                node: Some(&node.attributes),
                parameters: Some(&parameters),
                meta: Some(&self.resource(resource).meta),
                ..self.facts()
            };
            if !facts.accept(&expanded) {
                continue;
            }
            let score = match (expanded.get("score"), expanded.get("score-attribute")) {
                (Some(score), _) => lenient_score(score).unwrap_or_default(),
                (None, Some(attribute)) => self
                    .attribute_for(resource, *id, attribute)
                    .map_or(Score::MINUS_INFINITY, |v| lenient_score(v).unwrap_or_default()),
                (None, None) => Score::ZERO,
            };
            scores.insert(*id, if any { node.score + score } else { score });
        }
        // The peer has them from the last node to the first where all expressions have to hold: that is how they are listed.
        if any { scores.into_iter().collect() } else { scores.into_iter().rev().collect() }
    }
}

/// A role below the highest one is one that every instance goes through.
fn promotion_only(role: Role) -> Role {
    if role == Role::Unpromoted { Role::Unknown } else { role }
}

/// `%1` and so on in attributes of a rule are what the pattern found.
fn expand_groups(rule: &Element, groups: &[String]) -> Element {
    let mut expanded = rule.clone();
    if !groups.is_empty() {
        replace(&mut expanded, groups);
    }
    expanded
}

fn replace(element: &mut Element, groups: &[String]) {
    for name in ["attribute", "score-attribute"] {
        let Some(mut value) = element.get(name).map(str::to_owned) else { continue };
        for (at, group) in groups.iter().enumerate().take(10) {
            value = value.replace(&format!("%{at}"), group);
        }
        element.attributes.insert(name, value);
    }
    for child in &mut element.children {
        replace(child, groups);
    }
}
