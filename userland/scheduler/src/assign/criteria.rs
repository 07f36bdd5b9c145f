//! What decides about nodes before any resource is placed: location constraints, stickiness, failures, discovery, locks.

use cib::Score;

use crate::constraints::Location;
use crate::model::{Discovery, Flags, NodeId, Order, ResourceId, Role, Variant, WorkingSet};

impl WorkingSet<'_> {
    /// Bans that reading the history has led to.
    pub(super) fn apply_early_orders(&mut self) {
        for order in self.orders.clone() {
            if let Order::Location { resource, node, score } = order {
                self.place_on(resource, node, score);
            }
        }
    }

    pub(super) fn apply_node_criteria(&mut self) {
        self.apply_shutdown_locks();
        for location in self.locations_by_constraint.clone().iter().rev() {
            self.apply_location(location.resource, location, false);
        }
        for id in self.top.clone() {
            self.apply_stickiness(id);
        }
        for at in 0..self.by_name.len() {
            let node = self.by_name[at];
            for id in self.top.clone() {
                self.apply_failures(id, node);
                self.apply_exclusive_discovery(id, node);
            }
        }
    }

    /// `plain`: only that it is allowed there, without the score.
    fn apply_location(&mut self, id: ResourceId, location: &Location, plain: bool) {
        match self.resource(id).variant.clone() {
            Variant::Primitive => self.apply_own_location(id, location, plain),
            Variant::Group => {
                self.apply_own_location(id, location, plain);
                let together = self.is_together(id);
                for (at, member) in self.resource(id).children.clone().into_iter().enumerate() {
                    // The first one's scores carry over to the others.
                    self.apply_location(member, location, plain || at > 0 && together);
                }
            }
            Variant::Clone(_) => {
                self.apply_own_location(id, location, plain);
                for child in self.resource(id).children.clone() {
                    self.apply_location(child, location, plain);
                }
            }
            Variant::Bundle(bundle) => {
                self.apply_own_location(id, location, plain);
                for replica in &bundle.replicas {
                    self.apply_location(replica.container, location, plain);
                    if let Some(ip) = replica.ip {
                        self.apply_location(ip, location, plain);
                    }
                }
                if let Some(inside) = bundle.inside.filter(|_| location.role == Role::Promoted) {
                    self.apply_location(inside, location, plain);
                    let at = self.locations_by_constraint.iter().position(|l| std::ptr::eq(l, location));
                    self.resource_mut(inside).locations.extend(at);
                }
            }
        }
    }

    fn apply_own_location(&mut self, id: ResourceId, location: &Location, plain: bool) {
        if location.role != Role::Unknown && location.role != self.resource(id).next_role {
            return;
        }
        for (node, score) in &location.scores {
            let score = if plain { Score::ZERO } else { *score };
            let at = node.0 as usize;
            let resource = self.resource_mut(id);
            if resource.allowed.len() <= at {
                resource.allowed.resize(at + 1, None);
            }
            resource.allowed[at] = Some(resource.allowed[at].map_or(score, |s| s + score));
            if resource.discovery.len() <= at {
                resource.discovery.resize(at + 1, Discovery::Always);
            }
            if resource.discovery[at] < location.discovery {
                resource.discovery[at] = location.discovery;
                if location.discovery == Discovery::Exclusive {
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
        self.add_score(id, node, stickiness);
    }

    fn apply_failures(&mut self, id: ResourceId, node: NodeId) {
        let resource = self.resource(id);
        if !resource.children.is_empty() {
            for child in resource.children.clone() {
                self.apply_failures(child, node);
            }
            return;
        }
        let cleared = |o: &Order| matches!(o, Order::ClearFailures { resource, node: there, .. } if (*resource, *there) == (id, node));
        if !resource.is_primitive() || self.orders.iter().any(cleared) {
            return;
        }
        if self.has_failed_too_often(id, node) {
            let banned = if resource.is(Flags::UNIQUE) { id } else { self.top_of(id) };
            self.place_on(banned, Some(node), Score::MINUS_INFINITY);
        }
    }

    pub(super) fn has_failed_too_often(&self, id: ResourceId, node: NodeId) -> bool {
        let resource = self.resource(id);
        if resource.migration_threshold == Score::ZERO || resource.is(Flags::FAILURE_IGNORED) {
            return false;
        }
        let (count, _) = self.fail_count(id, node, true);
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
        let resource = self.resource_mut(id);
        let here = resource.discovery.get(at).copied().unwrap_or(Discovery::Always);
        if here != Discovery::Exclusive
            && let Some(Some(score)) = resource.allowed.get_mut(at)
        {
            *score = Score::MINUS_INFINITY;
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
        if resource.locked_to.is_some() {
            if !resource.running_on.is_empty() {
                self.resource_mut(id).locked_to = None;
            }
        } else if let &[node] = &resource.running_on[..] {
            let known = self.node(node);
            if known.shutdown && !known.unclean {
                let now = self.now.0;
                let resource = self.resource_mut(id);
                (resource.locked_to, resource.lock_time) = (Some(node), now);
            }
        }
        let Some(locked) = self.resource(id).locked_to else { return };
        for at in 0..self.nodes.len() {
            if at != locked.0 as usize {
                self.place_on(id, Some(NodeId(at as u32)), Score::MINUS_INFINITY);
            }
        }
    }
}
