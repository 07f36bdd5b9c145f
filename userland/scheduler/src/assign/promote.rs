//! Which instances of a promotable clone are promoted.

use std::fmt::Write;

use cib::Score;

use crate::constraints::Colocation;
use crate::model::{Flags, NoQuorumPolicy, NodeId, ResourceId, Role, Variant, WorkingSet};
use crate::unpack::lenient_score;

use super::colocate::How;

impl WorkingSet<'_> {
    /// Adds what agents would like to be promoted where, once.
    pub(super) fn add_promotion_scores(&mut self, id: ResourceId) {
        if self.resource(id).promotion_scores_added {
            return;
        }
        self.resource_mut(id).promotion_scores_added = true;
        for child in self.resource(id).children.clone() {
            let mut best = Score::ZERO;
            for at in 0..self.nodes.len() {
                let node = NodeId(at as u32);
                let Some(here) = self.score_on(child, node) else { continue };
                if here < Score::ZERO || !self.is_available(node) {
                    continue;
                }
                let Some(score) = self.promotion_score(child, node) else { continue };
                if score > Score::ZERO {
                    self.add_score(child, node, score);
                }
                best = best.max(score);
            }
            let resource = self.resource_mut(child);
            resource.priority = resource.priority.max(best);
        }
    }

    /// What an instance's agent has said of a node. `None`: nothing that counts there.
    fn promotion_score(&self, id: ResourceId, node: NodeId) -> Option<Score> {
        let resource = self.resource(id);
        if !resource.children.is_empty() {
            let scores = resource.children.iter().filter_map(|c| self.promotion_score(*c, node));
            return scores.reduce(|a, b| a + b);
        }
        let base = crate::unpack::base_name(&resource.id);
        let own = resource.history_name.as_deref();
        // Where a container's data is its host's, so are its attributes.
        let of_host = resource.meta.get("container-attribute-target").is_some_and(|t| t == "host");
        let container = self.node(node).connection.and_then(|c| self.resource(c).container);
        let host = container.filter(|_| of_host).and_then(|c| self.resource(c).running_on.first().copied());
        let attributes = &self.node(host.unwrap_or(node)).attributes;
        let unique = resource.is(Flags::UNIQUE);
        if !self.counts_for_promotion(id, node) || self.score_on(id, node).is_none_or(|s| s < Score::ZERO) {
            return None;
        }
        let names = [own, Some(resource.id.as_str()), (!unique).then_some(base)];
        let found = names.into_iter().flatten().find_map(|name| attributes.get(&format!("master-{name}")));
        found.and_then(|v| lenient_score(v))
    }

    /// Only where it is, where none is and it was looked for, or nothing is known of it at all.
    fn counts_for_promotion(&self, id: ResourceId, node: NodeId) -> bool {
        let resource = self.resource(id);
        if !resource.is(Flags::UNIQUE) {
            let base = resource.configured_id();
            let (mut active, mut looked_for) = (None, false);
            let mut open = vec![self.top_of(id)];
            while let Some(one) = open.pop() {
                let other = self.resource(one);
                if other.is_primitive() && other.configured_id() == base {
                    if other.running_on.contains(&node) {
                        active = Some(one);
                    }
                    looked_for |= other.known_on.contains(&node);
                }
                open.extend(&other.children);
            }
            if active == Some(id) || active.is_none() && looked_for {
                return true;
            }
        }
        if resource.known_on.is_empty() && resource.running_on.is_empty() {
            return true;
        }
        resource.known_on.contains(&node) || resource.running_on.contains(&node)
    }

    pub(super) fn choose_roles(&mut self, id: ResourceId) {
        let children = self.resource(id).children.clone();
        // Their own index of promotion.
        for child in &children {
            self.prepare_role(id, *child);
        }
        let sorted = self.sort_for_promotion(id, &children);
        self.resource_mut(id).children.clone_from(&sorted);
        let Variant::Clone(instances) = self.resource(id).variant.clone() else { return };
        let managed = self.resource(id).is(Flags::MANAGED);
        let freeze = !self.have_quorum && self.options.no_quorum_policy == NoQuorumPolicy::Freeze;
        let mut promoted = 0;
        let mut per_node = vec![0u32; self.nodes.len()];
        for child in sorted {
            let node = self.assigned_node(child);
            let index = self.resource(child).promotion_index;
            let name = node.map_or("none", |n| self.node(n).name.as_str());
            let line = format!("{} promotion score on {name}: {index}", self.resource(child).id);
            let _ = writeln!(self.scores, "{line}"); // a String takes everything
            let can = node.filter(|n| {
                let resource = self.resource(child);
                let runs_promoted = self.role_of(child) == Role::Promoted;
                resource.priority >= Score::ZERO
                    && index >= Score::ZERO
                    && (promoted < instances.promoted_max || !managed)
                    && (self.is_available(*n) || self.is_guest(*n))
                    && per_node[n.0 as usize] < instances.promoted_node_max.max(1)
                    && (resource.is(Flags::MANAGED) || runs_promoted)
                    && (!freeze || runs_promoted)
            });
            match can {
                Some(node) => {
                    promoted += 1;
                    per_node[node.0 as usize] += 1;
                    self.set_role_below(child, Role::Promoted);
                }
                None if node.is_some() => self.set_role_below(child, Role::Unpromoted),
                None => {}
            }
        }
    }

    fn set_role_below(&mut self, id: ResourceId, role: Role) {
        for child in self.resource(id).children.clone() {
            self.set_role_below(child, role);
        }
        let resource = self.resource_mut(id);
        if resource.next_role != Role::Stopped {
            resource.next_role = role;
        }
    }

    fn prepare_role(&mut self, clone: ResourceId, child: ResourceId) {
        let node = self.assigned_node(child);
        let next = self.next_role_of(child);
        if next == Role::Started {
            self.raise_to_unpromoted(child);
        }
        let priority = match (node, next) {
            (None, _) | (_, Role::Unpromoted | Role::Stopped) => Score::MINUS_INFINITY,
            (Some(node), Role::Started | Role::Unknown) => {
                self.promotion_score(child, node).unwrap_or(Score::new(-1))
            }
            (Some(_), Role::Promoted) => self.resource(child).priority,
        };
        self.resource_mut(child).priority = priority;
        let Some(node) = node else {
            self.resource_mut(child).promotion_index = Score::ZERO;
            return;
        };
        // What is said of the promoted role for this node.
        for owner in [Some(clone), Some(child)].into_iter().flatten() {
            for at in self.resource(owner).locations.clone() {
                let location = &self.locations_by_constraint[at];
                if location.role != Role::Promoted {
                    continue;
                }
                let score = location.scores.iter().find(|(n, _)| *n == node).map(|(_, s)| *s);
                if let Some(score) = score {
                    let resource = self.resource_mut(child);
                    resource.priority = score + resource.priority;
                }
            }
        }
        let mut all = self.resource(clone).this_with.clone();
        all.extend(&self.resource(child).this_with);
        all.dedup();
        for at in all {
            let colocation = self.colocations[at].clone();
            if colocation.dependent_role >= Role::Unpromoted {
                self.assign(colocation.primary, None);
                self.apply_colocation(child, colocation.primary, &colocation);
            }
        }
        let resource = self.resource_mut(child);
        resource.promotion_index = resource.priority;
        if next == Role::Promoted {
            resource.promotion_index = Score::INFINITY;
        }
    }

    fn next_role_of(&self, id: ResourceId) -> Role {
        let resource = self.resource(id);
        resource.children.iter().map(|c| self.next_role_of(*c)).max().unwrap_or(resource.next_role)
    }

    fn raise_to_unpromoted(&mut self, id: ResourceId) {
        for child in self.resource(id).children.clone() {
            self.raise_to_unpromoted(child);
        }
        let resource = self.resource_mut(id);
        if resource.next_role == Role::Started {
            resource.next_role = Role::Unpromoted;
        }
    }

    fn sort_for_promotion(&mut self, id: ResourceId, children: &[ResourceId]) -> Vec<ResourceId> {
        let mut table = self.resource(id).allowed.clone();
        for child in children {
            let (node, index) = (self.assigned_node(*child), self.resource(*child).promotion_index);
            if let Some(node) = node.filter(|_| index >= Score::ZERO) {
                let entry = table.get_mut(node.0 as usize).and_then(Option::as_mut);
                if let Some(entry) = entry {
                    *entry = index + *entry;
                }
            }
        }
        let lists =
            [(self.resource(id).this_with.clone(), true), (self.resource(id).with_this.clone(), false)];
        for (list, as_dependent) in lists {
            for at in list {
                let colocation = self.colocations[at].clone();
                let role = if as_dependent { colocation.dependent_role } else { colocation.primary_role };
                if role != Role::Promoted || !as_dependent && !self.has_influence(&colocation) {
                    continue;
                }
                let factor = colocation.score.get() as f32 / Score::INFINITY.get() as f32;
                if as_dependent {
                    if colocation.score == Score::INFINITY {
                        self.restrict_table(&mut table, colocation.primary, &colocation);
                        continue;
                    }
                    let how = How { active: true, ..How::default() };
                    let added = self.add_colocated_scores(
                        colocation.primary,
                        Some(&table),
                        &colocation.attribute,
                        factor,
                        how,
                    );
                    table = added.unwrap_or(table);
                } else {
                    let how = How { active: true, nonnegative: true, ..How::default() };
                    let added = self.add_colocated_scores(
                        colocation.dependent,
                        Some(&table),
                        &colocation.attribute,
                        factor,
                        how,
                    );
                    table = added.unwrap_or(table);
                }
            }
        }
        if !self.has_tickets_for_promotion(id) {
            table.iter_mut().flatten().for_each(|s| *s = Score::MINUS_INFINITY);
        }
        for child in children {
            let resource = self.resource(*child);
            let index = match self.assigned_node(*child) {
                None => Score::ZERO,
                Some(_) if resource.promotion_index < Score::ZERO => resource.promotion_index,
                Some(_) if !resource.is(Flags::MANAGED) && self.role_of(*child) == Role::Promoted => {
                    Score::INFINITY
                }
                Some(node) => table.get(node.0 as usize).copied().flatten().unwrap_or(Score::ZERO),
            };
            self.resource_mut(*child).promotion_index = index;
        }
        let mut sorted = children.to_vec();
        sorted.sort_by(|a, b| {
            let (x, y) = (self.resource(*a), self.resource(*b));
            y.promotion_index.cmp(&x.promotion_index).then_with(|| self.role_of(*b).cmp(&self.role_of(*a)))
        });
        sorted
    }

    fn restrict_table(&mut self, table: &mut [Option<Score>], primary: ResourceId, colocation: &Colocation) {
        self.assign(primary, None);
        let Some(node) = self.assigned_node(primary) else { return };
        let value = self.node_value(node, &colocation.attribute);
        for (at, entry) in table.iter_mut().enumerate() {
            if self.node_value(NodeId(at as u32), &colocation.attribute) != value
                && let Some(score) = entry
            {
                *score = Score::MINUS_INFINITY;
            }
        }
    }

    /// With those instances of a clone that have a role.
    pub(super) fn colocate_with_roles(
        &mut self,
        dependent: ResourceId,
        primary: ResourceId,
        colocation: &Colocation,
    ) {
        let mut nodes = Vec::new();
        for child in self.resource(primary).children.clone() {
            if self.next_role_of(child) == colocation.primary_role {
                nodes.extend(self.assigned_with_score(child));
            }
        }
        if !self.resource(dependent).provisional {
            // It has its place, and chooses its role.
            let here = self.assigned_node(dependent);
            let found = here.is_some_and(|n| nodes.iter().any(|(there, _)| *there == n));
            let resource = self.resource_mut(dependent);
            if found {
                resource.priority = colocation.score + resource.priority;
            } else if colocation.score == Score::INFINITY {
                resource.priority = Score::MINUS_INFINITY;
            }
            return;
        }
        if colocation.score == Score::INFINITY && colocation.dependent_role != Role::Promoted {
            self.restrict_to(dependent, &nodes, true);
        } else if colocation.score != Score::INFINITY {
            let values: Vec<_> =
                nodes.iter().map(|(n, _)| self.node_value(*n, &colocation.attribute)).collect();
            for at in 0..self.resource(dependent).allowed.len() {
                let value = self.node_value(NodeId(at as u32), &colocation.attribute);
                if values.contains(&value)
                    && let Some(score) = &mut self.resource_mut(dependent).allowed[at]
                {
                    *score = colocation.score + *score;
                }
            }
        }
    }
}
