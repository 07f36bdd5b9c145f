//! Which instances of a promotable clone are promoted.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use cib::Score;

use crate::model::{Flags, NoQuorumPolicy, NodeId, ResourceId, Role, Variant, WorkingSet};
use crate::unpack::lenient_score;

use super::clone::Wishes;
use super::colocate::How;
use super::order::merge_sort;
use super::trace::{Merit, Of, Why};

/// What is known of a primitive's instances, by its id in the configuration and by node.
pub(crate) type LookedFor = BTreeMap<String, BTreeMap<NodeId, Known>>;

/// What is known of them on one node.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Known {
    /// The first one that is there.
    active: Option<ResourceId>,
    /// One was looked for there.
    looked_for: bool,
}

impl WorkingSet<'_> {
    /// Adds what agents would like to be promoted where, once.
    pub(super) fn add_promotion_scores(&mut self, id: ResourceId) {
        if self.resource(id).promotion_scores_added {
            return;
        }
        self.resource_mut(id).promotion_scores_added = true;
        self.look_for_instances(id);
        for child in self.resource(id).children.clone() {
            for at in 0..self.nodes.len() {
                let node = NodeId(at as u32);
                if self.score_on(child, node).is_none() || !self.is_available(node) {
                    continue;
                }
                let score = self.promotion_score(child, node).unwrap_or_default();
                if score > Score::ZERO {
                    self.add_score(child, node, score, Why::Promotion);
                }
                let resource = self.resource_mut(child);
                resource.priority = resource.priority.max(score);
            }
        }
        self.looked_for = None;
    }

    /// What an instance's agent has said of a node. `None`: nothing that counts there.
    fn promotion_score(&self, id: ResourceId, node: NodeId) -> Option<Score> {
        let resource = self.resource(id);
        if !resource.children.is_empty() {
            // As numbers: what one member must not do another one can outweigh.
            let scores = resource.children.iter().filter_map(|c| self.promotion_score(*c, node));
            return scores.map(Score::get).reduce(i32::saturating_add).map(Score::new);
        }
        if !self.counts_for_promotion(id, node) || self.score_on(id, node).is_none_or(|s| s < Score::ZERO) {
            return None;
        }
        let of = |name: &str| self.attribute_for(id, node, &format!("master-{name}"));
        let found = of(resource.history_name.as_deref().unwrap_or(&resource.id)).or_else(|| {
            let base = crate::unpack::base_name(&resource.id);
            if resource.is(Flags::UNIQUE) || base == resource.id { None } else { of(base) }
        });
        found.and_then(lenient_score)
    }

    /// A node's attribute as a resource is concerned: where a container's data is its host's, so are its attributes.
    pub(crate) fn attribute_for(&self, id: ResourceId, node: NodeId, name: &str) -> Option<&str> {
        let target = self.resource(id).meta.get("container-attribute-target");
        let container = self.node(node).connection.and_then(|c| self.resource(c).container);
        match container.filter(|_| target.is_some_and(|t| t.eq_ignore_ascii_case("host"))) {
            Some(container) => self.node_value(*self.resource(container).running_on.first()?, name),
            None => self.node_value(node, name),
        }
    }

    /// Only where it is, where none is and it was looked for, or nothing is known of it at all.
    fn counts_for_promotion(&self, id: ResourceId, node: NodeId) -> bool {
        let resource = self.resource(id);
        if !resource.is(Flags::UNIQUE) {
            let there = self.looked_for.as_ref().and_then(|l| l.get(resource.configured_id())?.get(&node));
            let Known { active, looked_for } = there.copied().unwrap_or_default();
            if active == Some(id) || active.is_none() && looked_for {
                return true;
            }
        }
        if resource.known_on.is_empty() && resource.running_on.is_empty() {
            return true;
        }
        resource.known_on.contains(&node) || resource.running_on.contains(&node)
    }

    /// Finds out for all instances of a clone at once where they are and where they were looked for.
    fn look_for_instances(&mut self, id: ResourceId) {
        let mut found: LookedFor = BTreeMap::new();
        for instance in &self.resource(self.top_of(id)).children {
            let mut open = vec![*instance];
            while let Some(one) = open.pop() {
                let other = self.resource(one);
                if other.is_primitive() {
                    let by_node = found.entry(other.configured_id().to_owned()).or_default();
                    for node in &other.running_on {
                        by_node.entry(*node).or_default().active.get_or_insert(one);
                    }
                    for node in &other.known_on {
                        by_node.entry(*node).or_default().looked_for = true;
                    }
                }
                open.extend(&other.children);
            }
        }
        self.looked_for = Some(found);
    }

    pub(super) fn choose_roles(&mut self, id: ResourceId) {
        let Variant::Clone(instances) = self.resource(id).variant.clone() else { return };
        // From now on they are counted that are promoted.
        self.resource_mut(id).instances_on.fill(0);
        self.look_for_instances(id);
        for child in self.resource(id).children.clone() {
            self.prepare_role(id, child);
        }
        self.looked_for = None;
        let with_whole = self.sort_for_promotion(id);
        let managed = self.resource(id).is(Flags::MANAGED);
        let freeze = !self.have_quorum && self.options.no_quorum_policy == NoQuorumPolicy::Freeze;
        let mut promoted = 0;
        for child in self.resource(id).children.clone() {
            let node = self.placed_node(child);
            let index = self.resource(child).promotion_index;
            let name = node.map_or("none", |n| self.node(n).name.as_str());
            let line = format!("{} promotion score on {name}: {index}", self.resource(child).id);
            let _ = writeln!(self.scores, "{line}"); // a String takes everything
            let of = if with_whole.contains(&child) { Of::Score(id) } else { Of::Merit };
            self.note_promotion(child, node, of);
            let may = index >= Score::ZERO && (promoted < instances.promoted_max || !managed);
            let chosen =
                if may { self.can_be_promoted(id, child, instances.promoted_node_max) } else { None };
            let frozen = freeze && self.resource(child).role < Role::Promoted;
            match chosen.filter(|_| !frozen) {
                Some(node) => {
                    promoted += 1;
                    self.resource_mut(id).instances_on[node.0 as usize] += 1;
                    self.promote_below(child);
                }
                None => self.keep_unpromoted_below(child),
            }
        }
    }

    /// Where an instance, all members of it, can be promoted.
    fn can_be_promoted(&self, clone: ResourceId, id: ResourceId, per_node: u32) -> Option<NodeId> {
        for child in &self.resource(id).children {
            self.can_be_promoted(clone, *child, per_node)?;
        }
        let node = self.placed_node(id)?;
        let resource = self.resource(id);
        if !resource.is(Flags::MANAGED) {
            if self.role_of(id) != Role::Promoted {
                return None;
            }
        } else if resource.priority < Score::ZERO || !self.is_available_with_guest(node) {
            return None;
        }
        self.score_on(clone, node)?;
        let full = self.instances_on(clone, node) >= per_node;
        (!full || !resource.is(Flags::MANAGED)).then_some(node)
    }

    /// Whether a node can be used, and a guest will be somewhere.
    fn is_available_with_guest(&self, node: NodeId) -> bool {
        let container = self.node(node).connection.and_then(|c| self.resource(c).container);
        self.is_available(node) && container.is_none_or(|c| self.placed_node(c).is_some())
    }

    fn promote_below(&mut self, id: ResourceId) {
        let resource = self.resource_mut(id);
        if resource.next_role == Role::Unknown {
            resource.next_role = Role::Promoted;
        }
        for child in self.resource(id).children.clone() {
            self.promote_below(child);
        }
    }

    fn keep_unpromoted_below(&mut self, id: ResourceId) {
        let mut nodes = Vec::new();
        self.placed_nodes(id, &mut nodes);
        self.resource_mut(id).next_role = if nodes.is_empty() { Role::Stopped } else { Role::Unpromoted };
        for child in self.resource(id).children.clone() {
            self.keep_unpromoted_below(child);
        }
    }

    fn prepare_role(&mut self, clone: ResourceId, child: ResourceId) {
        if self.role_of(child) == Role::Started {
            self.raise_to_unpromoted(child);
        }
        // Only one that will run in one place can be promoted.
        let Some(node) = self.placed_node(child) else { return };
        let next = self.next_role_of(child);
        match next {
            Role::Started | Role::Unknown => match self.promotion_score(child, node) {
                Some(score) => self.set_merit(child, score, Why::Promotion),
                None => self.set_merit(child, Score::new(-1), Why::NoPromotion),
            },
            Role::Unpromoted | Role::Stopped => {
                self.set_merit(child, Score::MINUS_INFINITY, Why::NotPromoted);
            }
            Role::Promoted => {}
        }
        // What is said of the promoted role for this node.
        for owner in [child, clone] {
            for at in 0..self.resource(owner).locations.len() {
                let constraint = self.resource(owner).locations[at];
                let location = &self.locations_by_constraint[constraint];
                if location.role == Role::Promoted
                    && let Some((_, score)) = location.scores.iter().find(|(n, _)| *n == node)
                {
                    let score = *score;
                    self.add_merit(child, score, Why::Location(constraint));
                }
            }
        }
        for at in self.resource(child).this_with.clone() {
            self.apply_colocation(child, self.colocations[at].primary, at);
        }
        self.resource_mut(child).promotion_index = self.resource(child).priority;
        if next == Role::Promoted {
            self.set_promotion_index(child, Score::INFINITY, Why::ToBePromoted);
        }
    }

    /// A promotion score that does not come from what was said of it.
    fn set_promotion_index(&mut self, id: ResourceId, index: Score, why: Why) {
        let before = std::mem::replace(&mut self.resource_mut(id).promotion_index, index);
        self.note_merit(id, Merit { before, after: index, added: None, why });
    }

    pub(super) fn next_role_of(&self, id: ResourceId) -> Role {
        let resource = self.resource(id);
        resource.children.iter().map(|c| self.next_role_of(*c)).max().unwrap_or(resource.next_role)
    }

    fn raise_to_unpromoted(&mut self, id: ResourceId) {
        let resource = self.resource_mut(id);
        if resource.role == Role::Started {
            resource.role = Role::Unpromoted;
        }
        for child in self.resource(id).children.clone() {
            self.raise_to_unpromoted(child);
        }
    }

    /// By their own index, and what it is worth where they are: that goes into the clone's own scores, and stays there. Those
    /// whose index is the clone's score in the end.
    fn sort_for_promotion(&mut self, id: ResourceId) -> BTreeSet<ResourceId> {
        let mut with_whole = BTreeSet::new();
        if self.resource(id).merging.replace(true) {
            return with_whole;
        }
        let children = self.resource(id).children.clone();
        for child in &children {
            let index = self.resource(*child).promotion_index;
            if index >= Score::ZERO
                && let Some(node) = self.placed_node(*child)
                && self.score_on(id, node).is_some()
            {
                self.add_score(id, node, index, Why::PromotionOf(*child));
            }
        }
        for at in self.resource(id).this_with.clone() {
            let colocation = &self.colocations[at];
            if colocation.dependent_role == Role::Promoted {
                let active = colocation.score < Score::INFINITY;
                self.add_wish(id, colocation.primary, at, How { active, ..How::default() });
            }
        }
        for at in self.resource(id).with_this.clone() {
            let colocation = &self.colocations[at];
            if colocation.primary_role == Role::Promoted && self.has_influence(colocation, None) {
                let how = How { active: true, nonnegative: true, ..How::default() };
                self.add_wish(id, colocation.dependent, at, how);
            }
        }
        if !self.has_tickets_for_promotion(id) {
            self.place_everywhere(id, Score::MINUS_INFINITY, Why::Ticket);
        }
        for child in &children {
            let resource = self.resource(*child);
            if !resource.is(Flags::MANAGED) && resource.next_role == Role::Promoted {
                self.set_promotion_index(*child, Score::INFINITY, Why::ToBePromoted);
            } else if resource.promotion_index >= Score::ZERO
                && let Some(node) = self.placed_node(*child)
                && let Some(score) = self.score_on(id, node)
            {
                self.resource_mut(*child).promotion_index = score;
                with_whole.insert(*child);
            }
        }
        let mut sorted = children;
        let mut wishes = Wishes::default();
        merge_sort(&mut sorted, &mut |a, b| {
            let (x, y) = (self.resource(*a), self.resource(*b));
            y.promotion_index
                .cmp(&x.promotion_index)
                .then_with(|| self.role_of(*b).cmp(&self.role_of(*a)))
                .then_with(|| self.compare_instances(id, *a, *b, &mut wishes))
        });
        self.resource_mut(id).children = sorted;
        self.resource(id).merging.set(false);
        with_whole
    }

    /// Places a dependent with those instances of a clone that have a role.
    pub(super) fn colocate_with_roles(&mut self, dependent: ResourceId, primary: ResourceId, at: usize) {
        let colocation = &self.colocations[at];
        let (score, roles) = (colocation.score, (colocation.dependent_role, colocation.primary_role));
        let mut nodes = Vec::new();
        for child in &self.resource(primary).children {
            if self.next_role_of(*child) == roles.1 {
                nodes.extend(self.placed_with_score(*child));
            }
        }
        if score < Score::INFINITY {
            let mut table = self.resource(dependent).allowed.clone();
            let attribute = colocation.attribute.as_deref();
            for (there, _) in &nodes {
                for (node, entry) in table.iter_mut().enumerate() {
                    if let Some(entry) = entry.as_mut()
                        && self.same_place(NodeId(node as u32), *there, attribute)
                    {
                        *entry = *entry + score;
                    }
                }
            }
            self.replace_table(dependent, table, Why::Colocation(at));
        } else if roles != (Role::Promoted, Role::Promoted) {
            // Both promoted: what is not promoted can be anywhere.
            self.restrict_to(dependent, &nodes, true, at);
        }
    }

    /// A dependent has its place, and chooses its role by that of an instance that is there.
    pub(super) fn promote_with_roles(&mut self, dependent: ResourceId, primary: ResourceId, at: usize) {
        let colocation = &self.colocations[at];
        let (score, role) = (colocation.score, colocation.primary_role);
        let found = self.partner(dependent, &self.resource(primary).children, role).is_some();
        if found {
            self.add_merit(dependent, score, Why::Colocation(at));
        } else if score == Score::INFINITY {
            self.set_merit(dependent, Score::MINUS_INFINITY, Why::Colocation(at));
        }
    }
}
