//! What decides about nodes before any resource is placed: location constraints, stickiness, failures, discovery, locks.

use std::collections::BTreeSet;

use cib::Score;

use crate::model::{Discovery, Flags, NodeId, Order, ResourceId, Role, Variant, WorkingSet};

use super::trace::Why;

impl WorkingSet<'_> {
    pub(super) fn apply_node_criteria(&mut self) {
        self.apply_shutdown_locks();
        for at in (0..self.locations_by_constraint.len()).rev() {
            self.apply_location(self.locations_by_constraint[at].resource, at, false);
        }
        for id in self.top.clone() {
            self.apply_stickiness(id);
        }
        let cleared: BTreeSet<(ResourceId, NodeId)> = (self.orders.iter())
            .filter_map(|order| match order {
                Order::ClearFailures { resource, node, .. } => Some((*resource, *node)),
                _ => None,
            })
            .collect();
        for at in 0..self.by_name.len() {
            let node = self.by_name[at];
            for id in self.top.clone() {
                self.apply_failures(id, node, &cleared);
                self.apply_exclusive_discovery(id, node);
            }
        }
    }

    /// `plain`: only that it is allowed there, without the score.
    fn apply_location(&mut self, id: ResourceId, at: usize, plain: bool) {
        self.apply_own_location(id, at, plain);
        match self.resource(id).variant.clone() {
            Variant::Primitive => {}
            Variant::Group => {
                let together = self.is_together(id);
                for (place, member) in self.resource(id).children.clone().into_iter().enumerate() {
                    // The first one's scores carry over to the others.
                    self.apply_location(member, at, plain || place > 0 && together);
                }
            }
            Variant::Clone(_) => {
                for child in self.resource(id).children.clone() {
                    self.apply_location(child, at, plain);
                }
            }
            Variant::Bundle(bundle) => {
                for replica in &bundle.replicas {
                    self.apply_location(replica.container, at, plain);
                    if let Some(ip) = replica.ip {
                        self.apply_location(ip, at, plain);
                    }
                }
                let promoted = self.locations_by_constraint[at].role == Role::Promoted;
                if let Some(inside) = bundle.inside.filter(|_| promoted) {
                    self.apply_location(inside, at, plain);
                    self.resource_mut(inside).locations.push(at);
                }
            }
        }
    }

    fn apply_own_location(&mut self, id: ResourceId, at: usize, plain: bool) {
        let location = &self.locations_by_constraint[at];
        let discovery = location.discovery;
        if location.role != Role::Unknown && location.role != self.resource(id).next_role {
            return;
        }
        for place in 0..location.scores.len() {
            let (node, score) = self.locations_by_constraint[at].scores[place];
            let (score, why) =
                if plain { (Score::ZERO, Why::AllowedBy(at)) } else { (score, Why::Location(at)) };
            // Where it was not allowed so far only this counts.
            let sum = self.score_on(id, node).map_or(score, |s| s + score);
            self.set_score(id, node.0 as usize, sum, why);
            let (node, resource) = (node.0 as usize, self.resource_mut(id));
            if resource.discovery.len() <= node {
                resource.discovery.resize(node + 1, Discovery::Always);
            }
            if resource.discovery[node] < discovery {
                resource.discovery[node] = discovery;
                if discovery == Discovery::Exclusive {
                    resource.set(Flags::EXCLUSIVE_DISCOVERY, true);
                }
            }
        }
    }

    fn apply_stickiness(&mut self, id: ResourceId) {
        let resource = self.resource(id);
        if let Variant::Bundle(bundle) = resource.variant.clone() {
            let parts = |r: &crate::model::Replica| [r.ip, Some(r.container), r.connection];
            for part in bundle.replicas.iter().flat_map(parts).flatten().chain(bundle.inside) {
                self.apply_stickiness(part);
            }
            return;
        }
        if !resource.children.is_empty() {
            for child in resource.children.clone() {
                self.apply_stickiness(child);
            }
            return;
        }
        let (stickiness, &[node]) = (resource.stickiness, &resource.running_on[..]) else { return };
        if !resource.is(Flags::MANAGED) || stickiness < Score::new(1) {
            return;
        }
        if !self.options.symmetric && self.score_on(id, node).is_none() {
            return;
        }
        self.add_score(id, node, stickiness, Why::Stickiness);
    }

    /// `cleared`: whose failures are about to be forgotten.
    fn apply_failures(&mut self, id: ResourceId, node: NodeId, cleared: &BTreeSet<(ResourceId, NodeId)>) {
        let resource = self.resource(id);
        if !resource.children.is_empty() {
            for child in resource.children.clone() {
                self.apply_failures(child, node, cleared);
            }
            return;
        }
        if !resource.is_primitive() || cleared.contains(&(id, node)) {
            return;
        }
        if self.has_failed_too_often(id, node) {
            let banned = if resource.is(Flags::UNIQUE) { id } else { self.top_of(id) };
            self.place_on(banned, Some(node), Score::MINUS_INFINITY, Why::Failures);
        }
    }

    pub(super) fn has_failed_too_often(&self, id: ResourceId, node: NodeId) -> bool {
        let resource = self.resource(id);
        if resource.migration_threshold == Score::ZERO || resource.is(Flags::FAILURE_IGNORED) {
            return false;
        }
        let count = self.fail_count_with_fillers(id, node);
        count > Score::ZERO && count >= resource.migration_threshold
    }

    fn apply_exclusive_discovery(&mut self, id: ResourceId, node: NodeId) {
        let exclusive = Flags::EXCLUSIVE_DISCOVERY;
        if !self.resource(id).is(exclusive) && !self.resource(self.top_of(id)).is(exclusive) {
            return;
        }
        for child in self.resource(id).children.clone() {
            self.apply_exclusive_discovery(child, node);
        }
        let at = node.0 as usize;
        let resource = self.resource(id);
        let here = resource.discovery.get(at).copied().unwrap_or(Discovery::Always);
        if here != Discovery::Exclusive && resource.allowed.get(at).is_some_and(Option::is_some) {
            self.set_score(id, at, Score::MINUS_INFINITY, Why::Discovery);
        }
    }

    /// What ran on a node that was shut down in order waits for that node.
    fn apply_shutdown_locks(&mut self) {
        if !self.options.shutdown_lock {
            return;
        }
        for id in self.top.clone() {
            self.apply_shutdown_lock(id);
        }
    }

    fn apply_shutdown_lock(&mut self, id: ResourceId) {
        let resource = self.resource(id);
        match resource.variant {
            Variant::Group => {
                for member in resource.children.clone() {
                    self.apply_shutdown_lock(member);
                }
                return;
            }
            Variant::Primitive => {}
            Variant::Clone(_) | Variant::Bundle(_) => return,
        }
        if resource.is(Flags::FENCE_DEVICE) || resource.is_connection {
            return;
        }
        if let Some(locked) = resource.locked_to {
            if !resource.running_on.is_empty() {
                self.clear_history(id, locked);
                let resource = self.resource_mut(id);
                (resource.locked_to, resource.lock_time) = (None, 0);
            }
        } else if let &[node] = &resource.running_on[..] {
            let known = self.node(node);
            if known.shutdown && !known.unclean {
                let asked = known.attributes.get("shutdown").and_then(|v| v.trim().parse::<i64>().ok());
                let since = asked.filter(|at| *at != 0).unwrap_or(self.now.0);
                let resource = self.resource_mut(id);
                (resource.locked_to, resource.lock_time) = (Some(node), since);
            }
        }
        let Some(locked) = self.resource(id).locked_to else { return };
        let limit = (self.options.shutdown_lock_limit_ms / 1_000).cast_signed();
        if limit > 0 {
            let end = self.resource(id).lock_time.saturating_add(limit).saturating_add(1);
            self.changes_at(cib::Moment(end));
        }
        for at in 0..self.nodes.len() {
            if at != locked.0 as usize {
                self.place_on(id, Some(NodeId(at as u32)), Score::MINUS_INFINITY, Why::Lock);
            }
        }
    }
}
