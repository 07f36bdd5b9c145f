//! Fencing, unfencing and shutdown of nodes, and what they mean for what runs there.

use crate::model::{Flags, NodeId, NodeKind, ResourceId, Role, WorkingSet};
use crate::orderings::Kind;

use super::{ActionId, Is, Needs, Task};

impl WorkingSet<'_> {
    /// The action that fences a node, by `operation` or as the cluster is set to.
    pub(crate) fn fence_action(
        &mut self,
        node: NodeId,
        operation: Option<&str>,
        optional: bool,
        reason: Option<&str>,
    ) -> ActionId {
        let operation = operation.map_or_else(|| self.options.stonith_action.clone(), str::to_owned);
        let name = format!("stonith-{}-{operation}", self.node(node).name);
        let mut optional = optional;
        let id = match self.actions.named(&name) {
            Some(known) => known,
            None => {
                let id = self.named_action(&name, Task::STONITH, Some(node), true);
                self.actions[id].set_meta("stonith_action", operation);
                if self.unfencing {
                    optional &= !self.add_device_digests(id, node);
                }
                id
            }
        };
        if !optional && self.can_fence(node) {
            self.clear_is(id, Is::OPTIONAL);
            if let Some(reason) = reason {
                self.give_reason(id, reason, false);
            }
        } else if let Some(reason) = reason {
            self.give_reason(id, reason, false);
        }
        id
    }

    /// What a node was unfenced with: with other parameters it has to be again. Whether that is so.
    fn add_device_digests(&mut self, id: ActionId, node: NodeId) -> bool {
        let mut devices = Vec::new();
        for top in self.top.clone() {
            self.find_unfencing_devices(top, &mut devices);
        }
        let attribute = |set: &Self, name: &str| set.node(node).attributes.get(name).cloned();
        let (known, known_secure) = (attribute(self, "#digests-all"), attribute(self, "#digests-secure"));
        let (mut all, mut secure, mut changed) = (String::new(), String::new(), false);
        for device in devices.into_iter().rev() {
            let digests = self.unfencing_digests(device, node);
            let resource = self.resource(device);
            let entry = |digest: &str| format!("{}:{}:{digest},", resource.id, resource.kind);
            let (own, own_secure) = (entry(&digests.all), entry(&digests.secure));
            let name = &self.node(node).name;
            let mut message = None;
            if known.as_ref().is_some_and(|k| !k.contains(&own)) {
                if known_secure.as_ref().is_some_and(|k| k.contains(&own_secure)) {
                    message = Some(format!(
                        "Only 'private' parameters to {} for unfencing {name} changed",
                        resource.id
                    ));
                } else {
                    changed = true;
                    message = Some(format!(
                        "notice: Unfencing node {name} because the definition of {} changed",
                        resource.id
                    ));
                }
            }
            self.messages.extend(message);
            all.push_str(&own);
            secure.push_str(&own_secure);
        }
        self.actions[id].set_meta("digests-all", all);
        self.actions[id].set_meta("digests-secure", secure);
        changed
    }

    fn find_unfencing_devices(&self, id: ResourceId, into: &mut Vec<ResourceId>) {
        let resource = self.resource(id);
        for child in &resource.children {
            self.find_unfencing_devices(*child, into);
        }
        let device = resource.children.is_empty() && resource.is(Flags::FENCE_DEVICE);
        if device && (resource.is(Flags::NEEDS_UNFENCING) || self.provides_unfencing(id)) {
            into.push(id);
        }
    }

    pub(super) fn create_fencing_and_shutdowns(&mut self) {
        let managed = self.top.iter().any(|id| self.any(*id, &|r| r.is(Flags::MANAGED)));
        let concurrent = self.options.concurrent_fencing;
        let mut of_dc = None;
        let (mut fencings, mut shutdowns): (Vec<ActionId>, Vec<ActionId>) = (Vec::new(), Vec::new());
        for node in self.by_name.clone() {
            if self.is_guest(node) {
                if self.node(node).requires_reset && managed && self.can_fence(node) {
                    self.fence_guest(node);
                }
                continue;
            }
            let known = self.node(node);
            if managed && known.unclean && self.can_fence(node) {
                let delays = known.lost && self.options.priority_fencing_delay > 0;
                let fencing = self.fence_action(node, None, false, Some("node is unclean"));
                if delays {
                    let seconds = self.priority_fencing_delay(node);
                    self.actions[fencing].set_meta("priority-fencing-delay", seconds.to_string());
                }
                self.order_all_after_fencing(fencing, node);
                if self.dc == Some(node) {
                    of_dc = Some(fencing);
                } else {
                    // One after another, unless they may be done at once.
                    if let Some(last) = fencings.last().filter(|_| !concurrent) {
                        self.order(*last, fencing, Kind::OPTIONAL);
                    }
                    fencings.push(fencing);
                }
            } else if known.online && known.shutdown && known.kind != NodeKind::Remote {
                let shutdown = self.create_shutdown(node);
                if self.dc == Some(node) {
                    of_dc = Some(shutdown);
                } else {
                    shutdowns.push(shutdown);
                }
            }
        }
        let Some(of_dc) = of_dc else { return };
        // The leader goes last, so that no other has to be elected meanwhile.
        if self.actions[of_dc].task == Task::SHUTDOWN {
            for shutdown in shutdowns.into_iter().rev() {
                self.order(shutdown, of_dc, Kind::OPTIONAL);
            }
        }
        let first = if concurrent { 0 } else { fencings.len().saturating_sub(1) };
        for fencing in fencings.drain(first..).rev() {
            self.order(fencing, of_dc, Kind::OPTIONAL);
        }
    }

    /// Seconds that the fencing of a lost node waits: of two halves the one that runs less of importance is to lose, so who
    /// fences a node of the highest priority waits, unless it has the majority.
    fn priority_fencing_delay(&self, node: NodeId) -> u64 {
        let members: Vec<NodeId> =
            self.by_name.iter().copied().filter(|n| self.is_cluster_node(*n)).collect();
        let online = members.iter().filter(|n| self.node(**n).online).count();
        let priorities: Vec<i64> = members.iter().map(|n| self.node_priority(*n)).collect();
        let (low, high) = (priorities.iter().min(), priorities.iter().max());
        let asks = self.is_cluster_node(node)
            && !self.node(node).online
            && online <= members.len() / 2
            && low != high
            && Some(&self.node_priority(node)) == high;
        if asks { self.options.priority_fencing_delay } else { 0 }
    }

    fn is_cluster_node(&self, node: NodeId) -> bool {
        !self.is_guest(node) && !matches!(self.node(node).kind, NodeKind::Remote | NodeKind::Ping)
    }

    /// What runs on a node, by its `priority`; promoted counts one more. That of its guests counts, too.
    fn node_priority(&self, node: NodeId) -> i64 {
        let mut sum = 0;
        for id in &self.node(node).running {
            let resource = self.resource(*id);
            let own = i64::from(resource.priority.get());
            if own != 0 && !resource.is(Flags::FAILED) {
                sum += own + i64::from(resource.role == Role::Promoted);
            }
        }
        let guests = self.by_name.iter().filter(|guest| {
            let connection = self.node(**guest).connection.filter(|_| self.is_guest(**guest));
            let container = connection.and_then(|c| self.resource(c).container);
            container.is_some_and(|c| self.node(node).running.contains(&c))
        });
        sum + guests.map(|guest| self.node_priority(*guest)).sum::<i64>()
    }

    /// A guest is fenced by its container's recovery; an action stands for that, for others to be ordered by.
    fn fence_guest(&mut self, node: NodeId) {
        let Some(connection) = self.node(node).connection else { return };
        let container = self.resource(connection).container;
        let stop = container.and_then(|c| self.latest(c, Task::STOP, None));
        let starts = container.is_some_and(|c| self.latest(c, Task::START, None).is_some());
        let operation = if starts { "reboot" } else { "off" };
        let fencing = self.fence_action(node, Some(operation), false, Some("guest is unclean"));
        self.set_is(fencing, Is::PSEUDO.with(Is::RUNNABLE));
        let implied = Kind::RUNNABLE_FIRST.with(Kind::IMPLIES_THEN);
        match stop {
            Some(stop) if self.is(stop, Is::PSEUDO) => {
                if let Some(host) = self.actions[stop].node {
                    let of_host = self.fence_action(host, None, false, None);
                    self.order(of_host, fencing, implied);
                }
            }
            Some(stop) => {
                self.order(stop, fencing, implied);
            }
            None => {
                if let Some(stop) = self.latest(connection, Task::STOP, None) {
                    self.order(stop, fencing, Kind::OPTIONAL);
                }
            }
        }
        self.order_all_after_fencing(fencing, node);
    }

    fn order_all_after_fencing(&mut self, fencing: ActionId, target: NodeId) {
        for id in self.top.clone() {
            self.order_after_fencing(id, fencing, target);
        }
    }

    fn order_after_fencing(&mut self, id: ResourceId, fencing: ActionId, target: NodeId) {
        let children = self.resource(id).children.clone();
        if !children.is_empty() {
            for child in children {
                self.order_after_fencing(child, fencing, target);
            }
            return;
        }
        if !self.resource(id).is(Flags::MANAGED) {
            return;
        }
        for at in (0..self.actions.of(id).len()).rev() {
            let action = self.actions.of(id)[at];
            match self.actions[action].needs {
                Needs::Nothing => {}
                Needs::Fencing => {
                    self.order(fencing, action, Kind::OPTIONAL);
                }
                Needs::Quorum => {
                    let unknown = self.score_on(id, target).is_some() && !self.is_known_on(id, target);
                    if self.actions[action].task == Task::START && unknown {
                        self.order(fencing, action, Kind::OPTIONAL.with(Kind::RUNNABLE_FIRST));
                    }
                }
            }
        }
        self.imply_stops(id, fencing, target);
    }

    /// Whether it is known if a resource runs on a node; of an anonymous clone's instances one is enough.
    fn is_known_on(&self, id: ResourceId, node: NodeId) -> bool {
        let clone = self.resource(id).parent.filter(|p| self.is_anonymous_clone(*p));
        self.resource(id).known_on.contains(&node)
            || clone.is_some_and(|c| self.resource(c).known_on.contains(&node))
    }

    /// What runs on a node that is fenced stops by that.
    fn imply_stops(&mut self, id: ResourceId, fencing: ActionId, target: NodeId) {
        let top = self.top_of(id);
        let bundled = self.is_bundled(id);
        let after = self.resource(id).is(Flags::NEEDS_FENCING) || self.is_guest(target);
        let parent_stop = self.latest(top, Task::STOP, None);
        for stop in self.find_actions(id, (Task::STOP, 0), Some(target)) {
            self.set_is(stop, Is::PSEUDO.with(Is::RUNNABLE));
            if after {
                if !bundled {
                    self.order(fencing, stop, Kind::PRESERVE);
                }
                if let Some(parent_stop) = parent_stop {
                    self.order(fencing, parent_stop, Kind::PRESERVE);
                }
            }
            if self.resource(id).is(Flags::NOTIFY) {
                self.notify_after_fencing(stop, id, fencing);
            }
        }
        for demote in self.find_actions(id, (Task::DEMOTE, 0), Some(target)) {
            let gone =
                self.actions[demote].node.is_some_and(|n| !self.node(n).online || self.node(n).unclean);
            if !gone && !self.resource(id).is(Flags::FAILED) {
                continue;
            }
            self.set_is(demote, Is::PSEUDO.with(Is::RUNNABLE));
            if !bundled && after {
                self.order(fencing, demote, Kind::PRESERVE.with(Kind::OPTIONAL));
            }
        }
    }

    fn create_shutdown(&mut self, node: NodeId) -> ActionId {
        let name = format!("do_shutdown-{}", self.node(node).name);
        let shutdown = self.named_action(&name, Task::SHUTDOWN, Some(node), false);
        for stop in self.actions.ids().rev() {
            let action = &self.actions[stop];
            let Some(resource) =
                action.resource.filter(|_| action.node == Some(node) && action.task == Task::STOP)
            else {
                continue;
            };
            let resource = self.resource(resource);
            let untouched = resource.is(Flags::MAINTENANCE) || self.node(node).maintenance;
            if untouched || !resource.is(Flags::MANAGED) && !resource.is(Flags::BLOCKED) {
                continue;
            }
            self.clear_is(stop, Is::OPTIONAL);
            self.add_ordering(stop, shutdown, Kind::OPTIONAL.with(Kind::RUNNABLE_FIRST));
        }
        self.actions[shutdown].set_meta("op_no_wait", "true");
        shutdown
    }

    fn was_unfenced(&self, node: NodeId) -> bool {
        let since = self.node(node).attributes.get("#node-unfenced");
        since.is_some_and(|v| v != "0")
    }

    /// A node's devices have to be within its reach before this is done on it, also for fence devices, which may know
    /// nothing of a node before.
    pub(super) fn order_after_unfencing(
        &mut self,
        id: ResourceId,
        node: NodeId,
        action: ActionId,
        kind: Kind,
    ) {
        let resource = self.resource(id);
        let device = resource.is(Flags::FENCE_DEVICE) && self.unfencing;
        if !device && !resource.is(Flags::NEEDS_UNFENCING) {
            return;
        }
        let unfence = self.fence_action(node, Some("on"), true, None);
        self.order(unfence, action, kind);
        if !self.was_unfenced(node) {
            let task = self.actions.tasks.name(self.actions[action].task);
            let reason = format!("required by {} {task}", self.resource(id).id);
            self.unfence(None, Some(node), &reason);
        }
    }

    /// Unfences a node, or, for a device that has changed, all that it is allowed on.
    pub(super) fn unfence(&mut self, device: Option<ResourceId>, node: Option<NodeId>, reason: &str) {
        if !self.unfencing || device.is_some_and(|d| !self.resource(d).is(Flags::FENCE_DEVICE)) {
            return;
        }
        let well = |set: &Self, node: NodeId| {
            let known = set.node(node);
            known.online && !known.unclean && !known.shutdown
        };
        if let Some(node) = node.filter(|n| well(self, *n)) {
            self.fence_action(node, Some("on"), false, Some(reason));
        } else if let Some(device) = device {
            for node in self.by_name.clone() {
                if self.score_on(device, node).is_some() && well(self, node) {
                    self.fence_action(node, Some("on"), false, Some(reason));
                }
            }
        }
    }

    fn provides_unfencing(&self, id: ResourceId) -> bool {
        self.resource(id).meta.get("provides").is_some_and(|p| p.eq_ignore_ascii_case("unfencing"))
    }
}
