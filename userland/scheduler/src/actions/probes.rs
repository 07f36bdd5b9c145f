//! Probes: looking whether a resource runs where nothing is known of it.

use crate::model::{Discovery, Flags, NodeId, NodeKind, ResourceId, Role, Variant, WorkingSet};
use crate::orderings::Kind;

use super::{ActionId, NOT_RUNNING, PROMOTED, Task};

impl WorkingSet<'_> {
    pub(super) fn create_probes(&mut self) {
        if !self.options.startup_probes {
            return;
        }
        for node in self.by_name.clone() {
            let known = self.node(node);
            if !known.online {
                if self.is_failed_remote(node) {
                    self.fence_now(node, "the connection is unrecoverable");
                }
                continue;
            }
            if known.unclean || !known.discovery {
                continue;
            }
            // Of old clusters, which asked for all probes anew by an attribute.
            if known.attributes.get("probe_complete").is_some_and(|v| cib::parse_bool(v) != Some(true)) {
                let name = format!("probe_again-{}", known.name);
                let again = self.named_action(&name, Task::PROBE_AGAIN, Some(node), false);
                self.actions[again].set_meta("op_no_wait", "true");
                continue;
            }
            for id in self.top.clone() {
                self.probe(id, node);
            }
        }
    }

    /// A remote node whose connection has failed and will not be made again.
    fn is_failed_remote(&self, node: NodeId) -> bool {
        self.is_remote(node)
            && self.node(node).connection.is_some()
            && self.connection_state(node) == super::remote::State::Failed
    }

    /// Whether there was anything to probe.
    fn probe(&mut self, id: ResourceId, node: NodeId) -> bool {
        match &self.resource(id).variant {
            Variant::Primitive => self.probe_primitive(id, node),
            Variant::Group => self.probe_all(&self.resource(id).children.clone(), node),
            Variant::Clone(_) => self.probe_clone(id, node),
            Variant::Bundle(_) => self.probe_bundle(id, node),
        }
    }

    fn probe_all(&mut self, all: &[ResourceId], node: NodeId) -> bool {
        let mut any = false;
        for id in all {
            any |= self.probe(*id, node);
        }
        any
    }

    fn discovery_on(&self, id: ResourceId, node: NodeId) -> Discovery {
        self.resource(id).discovery.get(node.0 as usize).copied().unwrap_or_default()
    }

    fn probe_clone(&mut self, id: ResourceId, node: NodeId) -> bool {
        self.sort_by_number(id);
        let children = self.resource(id).children.clone();
        let Some(first) = children.first().copied() else { return false };
        if self.resource(id).is(Flags::EXCLUSIVE_DISCOVERY)
            && self.score_on(id, node).is_some()
            && self.discovery_on(id, node) != Discovery::Exclusive
        {
            // Agents are not told of nodes that never come into question.
            self.resource_mut(id).allowed[node.0 as usize] = None;
            return false;
        }
        if self.resource(id).is(Flags::UNIQUE) {
            return self.probe_all(&children, node);
        }
        let known = |c: &ResourceId| self.resource(*c).known_on.contains(&node);
        let placed = |c: &ResourceId| self.location(*c, false) == Some(node);
        let one = children.iter().copied().find(known).or_else(|| children.iter().copied().find(placed));
        self.probe(one.unwrap_or(first), node)
    }

    fn probe_bundle(&mut self, id: ResourceId, node: NodeId) -> bool {
        let Variant::Bundle(bundle) = self.resource(id).variant.clone() else { return false };
        let mut any = false;
        for replica in &bundle.replicas {
            if let Some(ip) = replica.ip {
                any |= self.probe(ip, node);
            }
            if let Some(child) = replica.child.filter(|_| replica.guest == Some(node)) {
                any |= self.probe(child, node);
            }
            if self.probe(replica.container, node) {
                any = true;
                // One on each host: none starts before it is known that no other one is there. Said once, it holds for the
                // probes of all nodes.
                let first = self.actions.probed_containers.insert(replica.container);
                let others = bundle.replicas.iter().map(|o| o.container).filter(|o| *o != replica.container);
                for other in others.filter(|_| first && bundle.per_host == 1) {
                    let kind = Kind::OPTIONAL.with(Kind::SAME_NODE);
                    self.add_ordering((replica.container, Task::MONITOR), (other, Task::START), kind);
                }
            }
            if let Some(connection) = replica.connection
                && self.probe(connection, node)
            {
                any = true;
                // Where the connection is to be looked for shows once the container is up.
                if let Some(probe) =
                    self.find_actions_on(connection, (Task::MONITOR, 0), node).last().copied()
                {
                    self.add_ordering((replica.container, Task::START), probe, Kind::PROBE);
                }
            }
        }
        any
    }

    fn probe_primitive(&mut self, id: ResourceId, node: NodeId) -> bool {
        let mut top = self.top_of(id);
        let resource = self.resource(id);
        if self.node(node).kind == NodeKind::Remote {
            let holds_guests = self.is_guest(node) && self.contains_guest(id).is_some();
            if resource.is(Flags::FENCE_DEVICE) || holds_guests || resource.is_connection {
                return false;
            }
        }
        if resource.container.is_some() && !resource.is_connection
            || resource.is(Flags::ORPHAN)
            || resource.known_on.contains(&node)
        {
            return false;
        }
        // Nothing but its own is looked for on the guest of a bundle, unless somebody asks for that place alone.
        let inside = self.node(node).reserved && self.is_inside_of_guest(id, node);
        if self.node(node).reserved && !inside && self.discovery_on(id, node) != Discovery::Exclusive {
            return false;
        }
        let exclusive =
            resource.is(Flags::EXCLUSIVE_DISCOVERY) || self.resource(top).is(Flags::EXCLUSIVE_DISCOVERY);
        let discovery = self.discovery_on(id, node);
        let allowed = self.score_on(id, node).is_some();
        let excluded = exclusive && (!allowed || discovery != Discovery::Exclusive);
        if !inside && (excluded || allowed && discovery == Discovery::Never) {
            return false;
        }
        if self.is_guest(node)
            && let Some(container) = self.node(node).connection.and_then(|c| self.resource(c).container)
        {
            let guest = self.resource(container);
            if guest.role == Role::Stopped {
                let unknown = guest.assigned.is_some_and(|n| !guest.known_on.contains(&n));
                if unknown {
                    self.add_ordering((container, Task::MONITOR), (top, Task::START), Kind::OPTIONAL);
                }
                return false;
            }
            if self.guest_will_stop(node, container) {
                self.add_ordering((container, Task::STOP), (top, Task::START), Kind::OPTIONAL);
                return false;
            }
        }
        let probe = self.probe_action(id, node);
        if !matches!(self.resource(top).variant, Variant::Clone(_)) {
            top = id;
        }
        let mut kind = Kind::OPTIONAL;
        // What runs already does not stop because a probe elsewhere cannot be made.
        if !self.is(probe, super::Is::RUNNABLE) && self.resource(top).running_on.is_empty() {
            kind = kind.with(Kind::RUNNABLE_FIRST);
        }
        self.add_ordering(probe, (top, Task::START), kind);
        self.add_ordering(probe, crate::orderings::Side::Task(top, Task::RELOAD_AGENT, 0), Kind::OPTIONAL);
        true
    }

    fn is_inside_of_guest(&self, id: ResourceId, node: NodeId) -> bool {
        let parents = std::iter::successors(self.resource(id).parent, |p| self.resource(*p).parent);
        let mut bundles = parents.filter_map(|p| match &self.resource(p).variant {
            Variant::Bundle(bundle) => Some(bundle),
            _ => None,
        });
        bundles.any(|b| b.replicas.iter().any(|r| r.guest == Some(node) && r.child == Some(id)))
    }

    /// As far as that is known before actions are there.
    fn guest_will_stop(&self, node: NodeId, container: ResourceId) -> bool {
        let (known, guest) = (self.node(node), self.resource(container));
        let moves =
            guest.role > Role::Stopped && guest.assigned.is_some_and(|n| !guest.running_on.contains(&n));
        known.requires_reset
            || known.unclean
            || guest.is(Flags::FAILED)
            || guest.next_role == Role::Stopped
            || moves
    }

    fn probe_action(&mut self, id: ResourceId, node: NodeId) -> ActionId {
        let probe = self.action(id, (Task::MONITOR, 0), Some(node), false);
        self.clear_is(probe, super::Is::OPTIONAL);
        self.order_after_unfencing(id, node, probe, Kind::OPTIONAL);
        let resource = self.resource(id);
        let expected = if !resource.running_on.contains(&node) {
            Some(NOT_RUNNING)
        } else {
            (resource.role == Role::Promoted).then_some(PROMOTED)
        };
        self.actions[probe].expected = self.actions[probe].expected.or(expected);
        probe
    }

    /// The connection to a guest that a resource holds.
    pub(crate) fn contains_guest(&self, id: ResourceId) -> Option<ResourceId> {
        self.resource(id).fillers.iter().copied().find(|f| self.resource(*f).is_connection)
    }
}
