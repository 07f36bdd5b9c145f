//! Operation history: which resource an entry is about, and what state the entries add up to.

use std::rc::Rc;

use cib::{Element, Score};

use crate::assign::trace::Why;
use crate::model::resource::{MultipleActive, Xml};
use crate::model::{Flags, NodeId, Order, ResourceId, Role, Variant, WorkingSet};

use super::failures::OnFail;
use super::operation::{Operation, Status, rc, sort_by_age};
use super::resources::instance_number;

/// What the entries of one resource on one node have come to so far.
pub(super) struct State {
    pub(super) resource: ResourceId,
    pub(super) node: NodeId,
    /// The id under which the history knows it.
    pub(super) name: String,
    pub(super) on_fail: OnFail,
    /// Key of the operation that failed last.
    pub(super) last_failure: Option<String>,
}

impl<'c> WorkingSet<'c> {
    pub(super) fn read_history(&mut self, node: NodeId, state: &'c Element) {
        let Some(list) = state.child("lrm").and_then(|l| l.child("lrm_resources")) else { return };
        let mut orphaned_fillers = false;
        for element in list.children_named("lrm_resource") {
            if let Some(resource) = self.read_resource_history(node, element) {
                orphaned_fillers |= self.resource(resource).is(Flags::ORPHAN_FILLER);
            }
        }
        if orphaned_fillers {
            self.find_containers_of_orphans(list);
        }
    }

    fn read_resource_history(&mut self, node: NodeId, element: &'c Element) -> Option<ResourceId> {
        let name = element.id()?;
        // In the order of the document reversed, then sorted stably.
        let mut operations: Vec<Operation<'c>> =
            element.children_named("lrm_rsc_op").filter_map(Operation::read).collect();
        operations.reverse();
        if operations.is_empty() && !self.options.shutdown_lock {
            return None;
        }
        let resource = match self.find_for_history(node, name) {
            Found::Resource(resource) => resource,
            Found::NotAPrimitive => return None,
            Found::Nothing if operations.is_empty() => return None,
            Found::Nothing => self.add_orphan(element),
        };
        if self.options.shutdown_lock {
            self.read_lock(resource, node, element);
        }
        operations = sort_by_age(operations, &|o| *o);
        let saved = std::mem::replace(&mut self.resource_mut(resource).role, Role::Unknown);
        let mut state =
            State { resource, node, name: name.to_owned(), on_fail: OnFail::Ignore, last_failure: None };
        for operation in &operations {
            self.take_operation(&mut state, operation);
        }
        self.find_recurring(&state, &operations);
        self.conclude(&state);
        if let Some(target) = self.target_role_of_history(resource) {
            let known = self.resource_mut(resource);
            if known.next_role == Role::Unknown || target < known.next_role {
                known.next_role = target;
            }
        }
        let known = self.resource_mut(resource);
        known.role = known.role.max(saved);
        Some(resource)
    }

    /// `target-role`, where it is a role that this resource can have.
    pub(super) fn target_role_of_history(&self, id: ResourceId) -> Option<Role> {
        let text = self.resource(id).meta.get("target-role")?;
        if matches!(text.to_ascii_lowercase().as_str(), "started" | "default") {
            return None;
        }
        let role = Role::parse(text)?;
        if role > Role::Started {
            let promotable = self.resource(self.top_of(id)).is(Flags::PROMOTABLE);
            // That it is promoted is left to scores.
            return (promotable && role == Role::Unpromoted).then_some(role);
        }
        Some(role)
    }

    fn find_for_history(&mut self, node: NodeId, name: &str) -> Found {
        let mut found = self.known_as(name);
        let top = match found {
            None => {
                // Perhaps an instance: even a clone without any has one, with this number.
                let instance = self.known_as(&format!("{}:0", base_name(name)));
                found = instance.filter(|i| !self.resource(*i).is(Flags::UNIQUE));
                found.map(|f| self.top_of(f))
            }
            Some(id) if !self.resource(id).is_primitive() => return Found::NotAPrimitive,
            Some(id) => Some(self.top_of(id)),
        };
        let Some(top) = top else { return found.map_or(Found::Nothing, Found::Resource) };
        if self.is_anonymous_clone(top) {
            if self.is_bundled(top) {
                found = self.replica_on(top, node);
            } else {
                found = self.find_instance(node, top, base_name(name));
            }
        }
        let Some(found) = found else { return Found::Nothing };
        let resource = self.resource_mut(found);
        let known = |known: &str| known.eq_ignore_ascii_case(name);
        if !known(&resource.id) && !resource.history_name.as_deref().is_some_and(known) {
            resource.history_name = Some(name.to_owned());
            self.by_history_name.entry(name.to_owned()).or_insert(found);
        }
        Found::Resource(found)
    }

    /// The resource with this id, or the one that the history knows by this name.
    fn known_as(&self, name: &str) -> Option<ResourceId> {
        self.find_resource(name).or_else(|| self.by_history_name.get(name).copied())
    }

    /// What of a bundle runs on the guest of one of its replicas.
    fn replica_on(&self, clone: ResourceId, node: NodeId) -> Option<ResourceId> {
        let bundle = self.resource(clone).parent?;
        let Variant::Bundle(bundle) = &self.resource(bundle).variant else { return None };
        bundle.replicas.iter().find(|r| r.guest == Some(node))?.child
    }

    /// The instance that an entry of an anonymous clone is about.
    fn find_instance(&mut self, node: NodeId, clone: ResourceId, base: &str) -> Option<ResourceId> {
        let mut found = None;
        let mut inactive = None;
        let mut none_free = false;
        for at in 0..self.resource(clone).children.len() {
            let child = self.resource(clone).children[at];
            let mut locations = Vec::new();
            self.locations(child, true, &mut locations);
            if let Some(first) = locations.first() {
                if *first == node {
                    found = self.member(child, base);
                    // A second history on one node: numbers were given out once, and are no more.
                    if found.is_some_and(|f| !self.resource(f).running_on.is_empty()) {
                        (found, none_free) = (None, true);
                    }
                }
            } else if !none_free && inactive.is_none() && !self.resource(child).is(Flags::BLOCKED) {
                inactive = self
                    .member(child, base)
                    .filter(|m| self.resource(*m).pending.as_ref().is_none_or(|p| p.node == node));
            }
            if found.is_some() {
                break;
            }
        }
        let mut found = found.or(inactive.filter(|_| !none_free));
        if let Some(resource) = found {
            let known = self.node(node);
            let Variant::Clone(instances) = &self.resource(clone).variant else { return None };
            let everywhere = instances.max as usize == self.nodes.len();
            // What may still run on a lost node takes no number away from nodes that can run it.
            if !self.resource(resource).is(Flags::NEEDS_FENCING)
                && (!known.online || known.unclean)
                && !self.is_guest(node)
                && !everywhere
            {
                found = None;
            }
        }
        found.or_else(|| {
            let orphan = self.add_instance(clone, true)?;
            self.member(orphan, base)
        })
    }

    /// The part of an instance that has this id in the configuration.
    fn member(&self, instance: ResourceId, base: &str) -> Option<ResourceId> {
        let resource = self.resource(instance);
        if resource.configured_id() == base || resource.id == base {
            return Some(instance);
        }
        resource.children.iter().find_map(|child| self.member(*child, base))
    }

    /// Where a resource or what is inside of it runs, or (`pending`) will in a moment.
    pub(crate) fn locations(&self, id: ResourceId, pending: bool, into: &mut Vec<NodeId>) {
        let resource = self.resource(id);
        if !resource.children.is_empty() {
            for child in &resource.children {
                self.locations(*child, pending, into);
            }
            return;
        }
        let under_way = resource.pending.as_ref().filter(|_| pending).map(|p| p.node);
        for node in resource.running_on.iter().copied().chain(under_way) {
            if !into.contains(&node) {
                into.push(node);
            }
        }
    }

    fn add_orphan(&mut self, element: &Element) -> ResourceId {
        let mut made = Element::new("primitive");
        made.attributes = element.attributes.clone();
        let filler = element.get("container").is_some();
        let id = self.add_resource(Xml::Made(Rc::new(made)), Variant::Primitive, None);
        self.top.push(id);
        if self.resource(id).is_connection {
            let name = self.resource(id).id.clone();
            let remote = self.add_remote_node(&name);
            self.link_connection(id);
            self.node_mut(remote).shutdown = true;
        }
        let stop = self.options.stop_orphans;
        let resource = self.resource_mut(id);
        resource.set(Flags::ORPHAN, true);
        resource.set(Flags::ORPHAN_FILLER, filler);
        if stop {
            self.place_everywhere(id, Score::MINUS_INFINITY, Why::History);
        } else {
            self.resource_mut(id).set(Flags::MANAGED, false);
        }
        id
    }

    fn find_containers_of_orphans(&mut self, list: &Element) {
        for element in list.children_named("lrm_resource") {
            let (Some(id), Some(container)) = (element.id(), element.get("container")) else { continue };
            let (Some(filler), Some(container)) = (self.find_resource(id), self.find_resource(container))
            else {
                continue;
            };
            if !self.resource(filler).is(Flags::ORPHAN_FILLER) || self.resource(filler).container.is_some() {
                continue;
            }
            self.resource_mut(filler).container = Some(container);
            self.resource_mut(container).fillers.push(filler);
        }
    }

    fn read_lock(&mut self, id: ResourceId, node: NodeId, element: &Element) {
        let Some(since) = element.get("shutdown-lock").and_then(|v| v.trim().parse::<i64>().ok()) else {
            return;
        };
        if since <= 0 {
            return;
        }
        let limit = (self.options.shutdown_lock_limit_ms / 1_000).cast_signed();
        if limit > 0 && self.now.0 > since.saturating_add(limit) {
            self.orders.push(Order::ClearHistory { resource: id, node });
            return;
        }
        let resource = self.resource_mut(id);
        (resource.locked_to, resource.lock_time) = (Some(node), since);
    }

    /// Recurring operations that run since the last start.
    fn find_recurring(&mut self, state: &State, operations: &[Operation<'_>]) {
        if !self.node(state.node).online
            || (self.resource(state.resource).role < Role::Started
                && self.resource(state.resource).is(Flags::UNIQUE))
                && operations.is_empty()
        {
            return;
        }
        let (start, stop) = active_range(operations);
        // Not if it was stopped since.
        if stop.is_some_and(|stop| start.is_none_or(|start| start < stop)) {
            return;
        }
        let from = start.unwrap_or(0);
        for (at, operation) in operations.iter().enumerate() {
            if at < from || operation.interval_ms == 0 || operation.status == Status::Pending {
                continue;
            }
            self.orders.push(Order::Recurring {
                resource: state.resource,
                node: state.node,
                task: operation.task.to_owned(),
                interval_ms: operation.interval_ms,
            });
        }
    }

    /// The operations of a history, the oldest first.
    pub(crate) fn in_order(&self, element: &'c Element) -> Vec<Operation<'c>> {
        let mut operations: Vec<Operation<'c>> =
            element.children_named("lrm_rsc_op").filter_map(Operation::read).collect();
        operations.reverse();
        operations = sort_by_age(operations, &|o| *o);
        operations
    }

    /// The operations of a history from the last start on; none if it was stopped since.
    pub(crate) fn since_last_start(&self, element: &'c Element) -> Vec<Operation<'c>> {
        let mut operations = self.in_order(element);
        let (start, stop) = active_range(&operations);
        if stop.is_some_and(|stop| start.is_none_or(|start| start < stop)) {
            return Vec::new();
        }
        operations.drain(..start.unwrap_or(0));
        operations
    }

    /// What the state is, and what has to be done because of it.
    fn conclude(&mut self, state: &State) {
        let (id, node) = (state.resource, state.node);
        let role = self.resource(id).role;
        if role != Role::Unknown {
            let mut at = Some(id);
            while let Some(one) = at {
                let resource = self.resource_mut(one);
                resource.known_on.insert(node);
                at = resource.parent.filter(|_| !resource.is(Flags::UNIQUE));
            }
        }
        self.fence_for_active(id, node);
        // A node that is to be fenced takes its failures along.
        let on_fail = if self.node(node).unclean { OnFail::Ignore } else { state.on_fail };
        self.react(id, node, on_fail);
        let role = self.resource(id).role;
        if role > Role::Stopped {
            self.add_running(id, node);
            match on_fail {
                OnFail::Ignore => {}
                OnFail::Demote | OnFail::Block => self.resource_mut(id).set(Flags::FAILED, true),
                _ => self.resource_mut(id).set(Flags::FAILED | Flags::MUST_STOP, true),
            }
        } else if self.resource(id).history_name.as_deref().is_some_and(|n| n.contains(':')) {
            self.resource_mut(id).history_name = None;
        } else {
            self.spare_stops(id, node);
        }
        let resource = self.resource_mut(id);
        if resource.role == Role::Stopped
            && resource.partial_migration.is_some_and(|(source, _)| source == node)
            && !resource.running_on.is_empty()
        {
            resource.role = Role::Started;
        }
    }

    /// Stops that were asked for there are only needed if something else asks for them.
    fn spare_stops(&mut self, id: ResourceId, node: NodeId) {
        // Most entries are about something that does not run: none of them may look at all orders.
        let (seen, by_place) = &mut self.stops;
        for (at, order) in self.orders.iter().enumerate().skip(*seen) {
            if let Order::Stop { resource, node, .. } = order {
                by_place.entry((*resource, *node)).or_default().push(at);
            }
        }
        *seen = self.orders.len();
        for at in self.stops.1.get(&(id, node)).into_iter().flatten() {
            if let Some(Order::Stop { required, .. }) = self.orders.get_mut(*at) {
                *required = false;
            }
        }
    }

    /// A node that is not there and may run it has to be fenced before it can run elsewhere.
    fn fence_for_active(&mut self, id: ResourceId, node: NodeId) {
        let (resource, known) = (self.resource(id), self.node(node));
        let lost = !known.online && !known.maintenance;
        if resource.role <= Role::Stopped || !lost || !resource.is(Flags::MANAGED) {
            return;
        }
        let name = resource.id.clone();
        let plain = format!("{name} is thought to be active there");
        if self.is_guest(node) {
            self.resource_mut(id).set(Flags::FAILED | Flags::MUST_STOP, true);
            self.fence(node, &plain);
        } else if self.options.fencing {
            let connection_is_fine =
                self.is_remote(node) && known.connection.is_some_and(|c| !self.resource(c).is(Flags::FAILED));
            if connection_is_fine {
                // Should the connection find another way, there is no need for it.
                self.node_mut(node).unseen = true;
                let revocable =
                    "(fencing will be revoked if remote connection can be re-established elsewhere)";
                self.fence(node, &format!("{name} is active there {revocable}"));
            } else {
                self.fence(node, &plain);
            }
        }
    }

    /// It runs there.
    pub(super) fn add_running(&mut self, id: ResourceId, node: NodeId) {
        if self.resource(id).running_on.contains(&node) {
            return;
        }
        let maintenance = self.node(node).maintenance;
        self.resource_mut(id).running_on.push(node);
        if self.resource(id).is_primitive() {
            self.node_mut(node).running.push(id);
        }
        let resource = self.resource(id);
        if resource.is_primitive() && maintenance {
            self.resource_mut(id).set(Flags::MANAGED, false);
            self.resource_mut(id).set(Flags::MAINTENANCE, true);
        }
        if !self.resource(id).is(Flags::MANAGED) {
            self.place_on(id, Some(node), Score::INFINITY, Why::History);
            if self.node(node).online {
                let mut at = self.resource(id).parent;
                while let Some(parent) = at {
                    let parent = self.resource_mut(parent);
                    // As often as there are parts: a quirk that shows where running places are counted.
                    parent.running_on.push(node);
                    at = parent.parent;
                }
            }
            return;
        }
        if self.is_multiply_active(id) {
            self.handle_multiply_active(id);
        }
        if let Some(parent) = self.resource(id).parent {
            self.add_running(parent, node);
        }
    }

    pub(crate) fn is_multiply_active(&self, id: ResourceId) -> bool {
        let resource = self.resource(id);
        if !resource.is_primitive() {
            return false;
        }
        let clean = |n: &&NodeId| {
            let node = self.node(**n);
            node.online && !node.unclean
        };
        let count = if resource.is(Flags::NEEDS_FENCING) {
            resource.running_on.len()
        } else {
            resource.running_on.iter().filter(clean).count()
        };
        count > 1
    }

    fn handle_multiply_active(&mut self, id: ResourceId) {
        match self.resource(id).multiple_active {
            MultipleActive::StopOnly => {
                for at in 0..self.nodes.len() {
                    self.set_score(id, at, Score::MINUS_INFINITY, Why::History);
                }
            }
            MultipleActive::Block => {
                let block = |set: &mut Self, one: ResourceId| {
                    let resource = set.resource_mut(one);
                    resource.set(Flags::MANAGED, false);
                    resource.set(Flags::BLOCKED, true);
                };
                block(self, id);
                // All of a group or bundle that says so itself.
                if let Some(parent) = self.resource(id).parent
                    && !matches!(self.resource(parent).variant, Variant::Clone(_))
                    && self.resource(parent).multiple_active == MultipleActive::Block
                {
                    for sibling in self.resource(parent).children.clone() {
                        block(self, sibling);
                    }
                }
            }
            MultipleActive::StopStart | MultipleActive::StopUnexpected => {}
        }
    }
}

enum Found {
    Resource(ResourceId),
    /// Something that has no history of its own.
    NotAPrimitive,
    Nothing,
}

/// An id without the number of an instance.
pub(crate) fn base_name(id: &str) -> &str {
    instance_number(id).map_or(id, |number| &id[..id.len() - number.len() - 1])
}

/// The last start, or what shows that there was one, and the last stop.
fn active_range(operations: &[Operation<'_>]) -> (Option<usize>, Option<usize>) {
    let (mut start, mut stop, mut implied_monitor, mut implied_clone) = (None, None, None, None);
    for (at, operation) in operations.iter().enumerate() {
        match operation.task {
            "stop" if operation.status == Status::Done => stop = Some(at),
            "start" | "migrate_from" => start = Some(at),
            _ if implied_monitor.is_none() && operation.task == "monitor" => {
                if matches!(operation.rc, rc::OK | rc::PROMOTED) {
                    implied_monitor = Some(at);
                }
            }
            "promote" | "demote" => implied_clone = Some(at),
            _ => {}
        }
    }
    (start.or(implied_clone).or(implied_monitor), stop)
}
