//! What one action's state means for those after it: required, not runnable, not migratable. Followed to a fixed point, in
//! the peer's order, since the first reason found is the one that is shown.

use std::collections::BTreeMap;

use crate::actions::{ActionId, Edge, Is, Key, Task};
use crate::model::{Flags, NodeId, ResourceId, Role, Variant, WorkingSet};

use super::Kind;

/// Room on the stack below which a new piece of it is taken: chains of actions are as long as a configuration makes them.
const RED_ZONE: usize = 64 * 1024;
const STACK: usize = 4 * 1024 * 1024;

/// Which side has changed.
#[derive(Clone, Copy, Debug, Default)]
struct Changed {
    first: bool,
    then: bool,
}

impl std::ops::BitOrAssign for Changed {
    fn bitor_assign(&mut self, other: Self) {
        self.first |= other.first;
        self.then |= other.then;
    }
}

/// An edge while it is looked at.
#[derive(Clone, Copy)]
struct Pair {
    first: ActionId,
    then: ActionId,
    /// What counts of a clone: its instances here, or all.
    node: Option<NodeId>,
}

impl WorkingSet<'_> {
    /// Brings an action in line with those before it, and those after it with it.
    pub(super) fn update(&mut self, then: ActionId) {
        stacker::maybe_grow(RED_ZONE, STACK, || self.update_here(then));
    }

    fn update_here(&mut self, then: ActionId) {
        let last = self.actions[then].is;
        let requires_any = last.has(Is::REQUIRES_ANY);
        if requires_any {
            let action = &mut self.actions[then];
            action.runnable_before = 0;
            action.required_before = action.required_before.max(1);
            self.clear_is(then, Is::RUNNABLE);
        }
        let mut changed = Changed::default();
        // New edges are looked at when this action is looked at again.
        let mut below = self.actions[then].before.len();
        while let Some(at) = self.edge_below(then, below) {
            below = at;
            self.settle(then, at);
            let Edge { other, kind, .. } = self.actions[then].before[at].clone();
            let (first_node, then_node) = (self.node_of_start(other), self.node_of_start(then));
            if kind.has(Kind::SAME_NODE)
                && first_node.is_some()
                && then_node.is_some()
                && first_node != then_node
            {
                self.actions[then].before[at].kind = Kind::NONE;
                continue;
            }
            changed.first = false;
            let first_resource = self.actions[other].resource;
            if kind.has(Kind::THEN_CANCELS_FIRST) && first_resource.is_some() && !self.is(then, Is::OPTIONAL)
            {
                self.set_is(other, Is::OPTIONAL);
                if self.actions[other].task == Task::RELOAD_AGENT
                    && let Some(resource) = first_resource
                {
                    self.resource_mut(resource).set(Flags::RELOAD, false);
                }
            }
            let first = self.action_for_edge(other, then);
            if first == other {
                let first_flags = self.flags_for_edge(first, then_node);
                let then_flags = self.flags_for_edge(then, first_node);
                let pair = Pair { first, then, node: self.actions[then].node };
                changed |= self.update_pair(pair, first_flags, then_flags, at);
            } else if self.order(first, then, kind) {
                // From now on what counts is that all of the collective have done it.
                self.actions[then].before[at].kind = Kind::NONE;
                changed.then = true;
            }
            if changed.first {
                for at in (0..self.actions[first].after.len()).rev() {
                    self.update(self.actions[first].after[at].0);
                }
                self.update(first);
            }
        }
        if requires_any {
            changed.then = last != self.actions[then].is;
        }
        if changed.then {
            if last.has(Is::RUNNABLE) && !self.is(then, Is::RUNNABLE) {
                self.block_dependents(then);
            }
            self.update(then);
            for at in (0..self.actions[then].after.len()).rev() {
                self.update(self.actions[then].after[at].0);
            }
        }
    }

    /// Where an action is; of a group's start where the group will be.
    fn node_of_start(&self, id: ActionId) -> Option<NodeId> {
        let action = &self.actions[id];
        match action.resource {
            Some(resource)
                if action.task == Task::START
                    && matches!(self.resource(resource).variant, Variant::Group) =>
            {
                self.location(resource, false)
            }
            _ => action.node,
        }
    }

    /// The one node where a resource and all of its parts will be, or are (`current`).
    pub(crate) fn location(&self, id: ResourceId, current: bool) -> Option<NodeId> {
        fn collect(set: &WorkingSet<'_>, id: ResourceId, current: bool, into: &mut Vec<NodeId>) {
            let resource = set.resource(id);
            for child in &resource.children {
                collect(set, *child, current, into);
            }
            if resource.children.is_empty() {
                let assigned = resource.assigned.as_slice();
                for node in if current { &resource.running_on[..] } else { assigned } {
                    if !into.contains(node) {
                        into.push(*node);
                    }
                }
            }
        }
        let mut nodes = Vec::new();
        collect(self, id, current, &mut nodes);
        if let [one] = nodes[..] { Some(one) } else { None }
    }

    /// Between two resources what counts of a collective is that all of it is done: `running` for `start`, or with
    /// notifications that all have been told.
    fn action_for_edge(&self, first: ActionId, then: ActionId) -> ActionId {
        let (Some(resource), Some(of_then)) = (self.actions[first].resource, self.actions[then].resource)
        else {
            return first;
        };
        if resource == of_then || self.is_inside(of_then, resource) || self.resource(resource).is_primitive()
        {
            return first;
        }
        let Key::Of(task, interval) = &self.actions[first].key else { return first };
        if self.actions.tasks.name(*task).contains("notify") || *interval > 0 {
            return first;
        }
        let Some(task) = task.completion() else { return first };
        let known = self.resource(resource);
        let told = known.is(Flags::NOTIFY)
            && known.parent.is_none_or(|p| matches!(self.resource(p).variant, Variant::Bundle(_)));
        let task = if told {
            let name = format!("confirmed-post_notify_{}", self.actions.tasks.name(task));
            match self.actions.tasks.known(&name) {
                Some(task) => task,
                None => return first,
            }
        } else {
            task
        };
        self.latest_by_key(resource, task).unwrap_or(first)
    }

    /// `at`: which of the edges before `then` this is.
    fn update_pair(&mut self, mut pair: Pair, first_flags: Is, then_flags: Is, at: usize) -> Changed {
        let Pair { first, then, .. } = pair;
        let mut changed = Changed::default();
        let edge = &mut self.actions[then].before[at];
        if edge.kind.has(Kind::IMPLIES_THEN_ON_NODE) {
            edge.kind = edge.kind.without(Kind::IMPLIES_THEN_ON_NODE).with(Kind::IMPLIES_THEN);
            pair.node = self.actions[first].node;
        }
        let kind = self.actions[then].before[at].kind;
        let of_then = self.actions[then].resource;
        let of_first = self.actions[first].resource;
        let optional = first_flags.of(Is::OPTIONAL);
        let both = Is::OPTIONAL.with(Is::RUNNABLE);

        if kind.has(Kind::IMPLIES_THEN) {
            if let Some(resource) = of_then {
                changed |= self.propagate(resource, pair, optional, Is::OPTIONAL, Kind::IMPLIES_THEN);
            } else if !first_flags.has(Is::OPTIONAL) && self.is(then, Is::OPTIONAL) {
                self.clear_is(then, Is::OPTIONAL);
                changed.then = true;
            }
        }
        if kind.has(Kind::RESTART)
            && let Some(resource) = of_then
        {
            changed |= self.propagate(resource, pair, first_flags, both, Kind::RESTART);
        }
        if kind.has(Kind::IMPLIES_FIRST) {
            if let Some(resource) = of_first {
                changed |= self.propagate(resource, pair, first_flags, Is::OPTIONAL, Kind::IMPLIES_FIRST);
            } else if !first_flags.has(Is::OPTIONAL) && self.is(first, Is::RUNNABLE) {
                self.clear_is(first, Is::RUNNABLE);
                changed.first = true;
            }
        }
        if kind.has(Kind::PROMOTED_IMPLIES_FIRST)
            && let Some(resource) = of_then
        {
            changed |= self.propagate(resource, pair, optional, Is::OPTIONAL, Kind::PROMOTED_IMPLIES_FIRST);
        }
        if kind.has(Kind::ONE_OR_MORE) {
            if let Some(resource) = of_then {
                changed |= self.propagate(resource, pair, first_flags, Is::RUNNABLE, Kind::ONE_OR_MORE);
            } else if first_flags.has(Is::RUNNABLE) {
                let action = &mut self.actions[then];
                action.runnable_before += 1;
                if action.runnable_before >= action.required_before && !action.is.has(Is::RUNNABLE) {
                    self.set_is(then, Is::RUNNABLE);
                    changed.then = true;
                }
            }
        }
        if kind.has(Kind::PROBE)
            && let Some(resource) = of_then
        {
            let active = of_first.is_some_and(|r| !self.resource(r).running_on.is_empty());
            if !first_flags.has(Is::RUNNABLE) && active {
                self.actions[then].before[at].kind = Kind::NONE;
            } else {
                changed |= self.propagate(resource, pair, first_flags, Is::RUNNABLE, Kind::RUNNABLE_FIRST);
            }
        }
        if kind.has(Kind::RUNNABLE_FIRST) {
            if let Some(resource) = of_then {
                changed |= self.propagate(resource, pair, first_flags, Is::RUNNABLE, Kind::RUNNABLE_FIRST);
            } else if !first_flags.has(Is::RUNNABLE) && self.is(then, Is::RUNNABLE) {
                self.clear_is(then, Is::RUNNABLE);
                changed.then = true;
            }
        }
        if let Some(resource) = of_then {
            for (one, filter) in [
                (Kind::FIRST_MIGRATABLE, Is::OPTIONAL),
                (Kind::PSEUDO_FIRST, Is::OPTIONAL),
                (Kind::OPTIONAL, Is::RUNNABLE),
                (Kind::ASYMMETRIC, Is::RUNNABLE),
            ] {
                if kind.has(one) {
                    changed |= self.propagate(resource, pair, first_flags, filter, one);
                }
            }
        }
        let first_runnable = self.is(first, Is::RUNNABLE);
        if first_runnable && kind.has(Kind::PRINTS_THEN) && !first_flags.has(Is::OPTIONAL) {
            self.set_is(then, Is::PRINT_ALWAYS);
        }
        if kind.has(Kind::PRINTS_FIRST) && !then_flags.has(Is::OPTIONAL) {
            self.set_is(first, Is::PRINT_ALWAYS);
        }
        let strict = Kind::IMPLIES_THEN.with(Kind::IMPLIES_FIRST).with(Kind::RESTART);
        if kind.any(strict)
            && let Some(resource) = of_first.map(|r| self.resource(r))
            && !resource.is(Flags::MANAGED)
            && resource.is(Flags::BLOCKED)
            && !first_runnable
            && self.actions[first].task == Task::STOP
            && self.is(then, Is::RUNNABLE)
        {
            self.clear_is(then, Is::RUNNABLE);
            changed.then = true;
        }
        changed
    }

    /// Carries one kind of an edge out for whatever `resource`, which is one of the two sides', is made of.
    fn propagate(&mut self, resource: ResourceId, pair: Pair, flags: Is, filter: Is, kind: Kind) -> Changed {
        match &self.resource(resource).variant {
            Variant::Primitive => self.update_two(pair, flags, filter, kind),
            Variant::Group => {
                let mut changed = self.update_two(pair, flags, filter, kind);
                let Some(group) = self.actions[pair.then].resource else { return changed };
                let task = self.actions[pair.then].task;
                for at in 0..self.resource(group).children.len() {
                    let member = self.resource(group).children[at];
                    if let Some(then) = self.latest(member, task, pair.node) {
                        changed |= self.propagate(member, Pair { then, ..pair }, flags, filter, kind);
                    }
                }
                changed
            }
            Variant::Clone(_) | Variant::Bundle(_) => {
                if self.can_interleave(pair.first, pair.then) {
                    return self.update_interleaved(pair, filter, kind);
                }
                if self.cannot_matter(pair.first, flags, filter, kind) {
                    return Changed::default();
                }
                let mut changed = self.update_two(pair, flags, filter, kind);
                let Some(collective) = self.actions[pair.then].resource else { return changed };
                let task = self.actions[pair.then].task;
                if !self.any_part_does(collective, task) {
                    return changed;
                }
                let mut from = 0;
                while let Some(next) = self.next_that_can(collective, task, pair.node, from) {
                    let Some((at, instance)) = next else { return changed };
                    from = at + 1;
                    changed |= self.update_instance(instance, pair, flags, filter, kind);
                }
                for instance in self.instances_of(collective) {
                    changed |= self.update_instance(instance, pair, flags, filter, kind);
                }
                changed
            }
        }
    }

    /// Whether what is true of `first` is such that [`Self::update_two`] changes nothing, whatever comes then: parts, which may
    /// be many, need not be asked.
    fn cannot_matter(&self, first: ActionId, flags: Is, filter: Is, kind: Kind) -> bool {
        match kind {
            Kind::OPTIONAL | Kind::ONE_OR_MORE => true,
            Kind::RUNNABLE_FIRST => flags.has(Is::RUNNABLE) || !filter.has(Is::RUNNABLE),
            Kind::IMPLIES_THEN => flags.has(Is::OPTIONAL) || !filter.has(Is::OPTIONAL),
            Kind::ASYMMETRIC | Kind::PSEUDO_FIRST => self.is(first, Is::RUNNABLE),
            _ => false,
        }
    }

    /// Instances of a clone, containers of a bundle.
    pub(crate) fn instances_of(&self, collective: ResourceId) -> Vec<ResourceId> {
        match &self.resource(collective).variant {
            Variant::Bundle(bundle) => bundle.replicas.iter().map(|r| r.container).collect(),
            _ => self.resource(collective).children.clone(),
        }
    }

    fn update_instance(
        &mut self,
        instance: ResourceId,
        pair: Pair,
        flags: Is,
        filter: Is,
        kind: Kind,
    ) -> Changed {
        let mut changed = Changed::default();
        let task = self.actions[pair.then].task;
        let Some(then) = self.latest(instance, task, pair.node) else { return changed };
        if !self.flags_of(then, pair.node).has(Is::RUNNABLE) {
            return changed;
        }
        changed = self.propagate(instance, Pair { then, ..pair }, flags, filter, kind);
        if changed.then {
            for at in (0..self.actions[then].after.len()).rev() {
                self.update(self.actions[then].after[at].0);
            }
        }
        changed
    }

    fn can_interleave(&self, first: ActionId, then: ActionId) -> bool {
        let (Some(of_first), Some(of_then)) = (self.actions[first].resource, self.actions[then].resource)
        else {
            return false;
        };
        let several =
            |id: ResourceId| matches!(self.resource(id).variant, Variant::Clone(_) | Variant::Bundle(_));
        if of_first == of_then || !several(of_first) || !several(of_then) {
            return false;
        }
        let down = self.key_ends_with(then, Task::STOP) || self.key_ends_with(then, Task::DEMOTE);
        self.is_interleaved(if down { of_first } else { of_then })
    }

    fn update_interleaved(&mut self, pair: Pair, filter: Is, kind: Kind) -> Changed {
        let Pair { first, then, node } = pair;
        let mut changed = Changed::default();
        let (Some(of_first), Some(of_then)) = (self.actions[first].resource, self.actions[then].resource)
        else {
            return changed;
        };
        let any = self.instances_of(of_first).first().copied();
        let Some(first_task) = self.part_task(first, any) else { return changed };
        // What goes down pairs by where it is now.
        let current = self.key_ends_with(first, Task::STOPPED) || self.key_ends_with(first, Task::DEMOTED);
        for instance in self.instances_of(of_then) {
            let Some(partner) = self.compatible_instance(instance, of_first, current) else {
                let needed = Kind::RUNNABLE_FIRST.with(Kind::IMPLIES_THEN);
                if !current && kind.any(needed) && self.unassign_instance(instance) {
                    changed.then = true;
                }
                continue;
            };
            let then_task = self.actions[then].task;
            let first_action = self.instance_action(first, partner, first_task, node, true);
            let then_action = self.instance_action(then, instance, then_task, node, false);
            let (Some(first_action), Some(then_action)) = (first_action, then_action) else { continue };
            if self.order(first_action, then_action, kind) {
                (changed.first, changed.then) = (true, true);
            }
            let flags = self.flags_of(first_action, node);
            let one = Pair { first: first_action, then: then_action, node };
            changed |= self.propagate(instance, one, flags, filter, kind);
        }
        changed
    }

    /// Of a bundle's container what is inside counts where others wait for it, and for roles.
    fn instance_action(
        &self,
        action: ActionId,
        instance: ResourceId,
        task: Task,
        node: Option<NodeId>,
        for_first: bool,
    ) -> Option<ActionId> {
        let roles = matches!(
            self.actions[action].task,
            Task::PROMOTE | Task::PROMOTED | Task::DEMOTE | Task::DEMOTED
        );
        let inside = if for_first || roles { self.inside_of_container(instance) } else { None };
        match inside {
            Some(inside) => self.latest(inside, task, None),
            None => self.latest(instance, task, node),
        }
    }

    fn inside_of_container(&self, container: ResourceId) -> Option<ResourceId> {
        let parent = self.resource(container).parent?;
        let Variant::Bundle(bundle) = &self.resource(parent).variant else { return None };
        bundle.replicas.iter().find(|r| r.container == container)?.child
    }

    /// The instance of a collective that is where a resource is, or else on the best of its nodes that has one.
    pub(super) fn compatible_instance(
        &self,
        resource: ResourceId,
        collective: ResourceId,
        current: bool,
    ) -> Option<ResourceId> {
        let mut places = self.actions.parts.places.borrow_mut();
        let there = places.entry((collective, current)).or_insert_with(|| {
            let mut there = BTreeMap::new();
            for instance in self.instances_of(collective) {
                if let Some(node) = self.location(instance, current)
                    && !self.any(instance, &|r| r.is(Flags::BLOCKED))
                {
                    there.entry(node).or_insert(instance);
                }
            }
            there
        });
        let on = |node: NodeId| there.get(&node).copied();
        match self.location(resource, current) {
            Some(node) => on(node),
            None => {
                let nodes = self.sorted_nodes(&self.resource(resource).allowed, None);
                nodes.into_iter().find_map(on)
            }
        }
    }

    /// An instance without a partner stays down. Whether it was to be up.
    fn unassign_instance(&mut self, id: ResourceId) -> bool {
        let children = self.resource(id).children.clone();
        if !children.is_empty() {
            let mut any = false;
            for child in children {
                any |= self.unassign_instance(child);
            }
            return any;
        }
        let was = self.resource(id).assigned.is_some();
        self.withdraw(id);
        self.actions.parts.places.borrow_mut().clear();
        self.keep_down(id);
        was
    }

    /// One kind of an edge between two actions as they are.
    fn update_two(&mut self, pair: Pair, flags: Is, filter: Is, kind: Kind) -> Changed {
        let Pair { first, then, .. } = pair;
        let (was_first, was_then) = (self.actions[first].is, self.actions[then].is);
        let first_is = |set: &Self, what| set.is(first, what);
        let then_is = |set: &Self, what| set.is(then, what);
        if kind == Kind::ASYMMETRIC {
            self.update_asymmetric(first, then);
        }
        if kind == Kind::IMPLIES_FIRST && !was_then.has(Is::OPTIONAL) {
            // Only of collectives it can be that their parts say otherwise than they themselves: a quirk of the peer's, in
            // which the restart of what depends on it does the rest.
            if filter.has(Is::OPTIONAL) && !flags.has(Is::OPTIONAL) && was_first.has(Is::OPTIONAL) {
                self.clear_because(first, Is::OPTIONAL, then);
            }
            if flags.has(Is::MIGRATABLE) && !then_is(self, Is::MIGRATABLE) {
                self.clear_because(first, Is::MIGRATABLE, then);
            }
        }
        if kind == Kind::PROMOTED_IMPLIES_FIRST
            && self.actions[then].resource.is_some_and(|r| self.resource(r).role == Role::Promoted)
            && filter.has(Is::OPTIONAL)
            && !then_is(self, Is::OPTIONAL)
        {
            self.clear_because(first, Is::OPTIONAL, then);
            if first_is(self, Is::MIGRATABLE) && !then_is(self, Is::MIGRATABLE) {
                self.clear_because(first, Is::MIGRATABLE, then);
            }
        }
        if kind == Kind::FIRST_MIGRATABLE && filter.has(Is::OPTIONAL) {
            if !then_is(self, Is::MIGRATABLE.with(Is::RUNNABLE)) {
                self.clear_because(first, Is::RUNNABLE, then);
            }
            if !then_is(self, Is::OPTIONAL) {
                self.clear_because(first, Is::OPTIONAL, then);
            }
        }
        if kind == Kind::PSEUDO_FIRST && filter.has(Is::OPTIONAL) && !first_is(self, Is::RUNNABLE) {
            self.clear_because(then, Is::MIGRATABLE, first);
            self.clear_is(then, Is::PSEUDO);
        }
        if kind == Kind::RUNNABLE_FIRST
            && filter.has(Is::RUNNABLE)
            && then_is(self, Is::RUNNABLE)
            && !flags.has(Is::RUNNABLE)
        {
            self.clear_because(then, Is::RUNNABLE, first);
            self.clear_because(then, Is::MIGRATABLE, first);
        }
        if kind == Kind::IMPLIES_THEN
            && filter.has(Is::OPTIONAL)
            && then_is(self, Is::OPTIONAL)
            && !flags.has(Is::OPTIONAL)
            && !first_is(self, Is::MIGRATABLE)
        {
            self.clear_because(then, Is::OPTIONAL, first);
        }
        if kind == Kind::RESTART {
            self.update_restart(first, then, filter);
        }
        let changed =
            Changed { first: was_first != self.actions[first].is, then: was_then != self.actions[then].is };
        let inner = self.actions[then].resource.is_some_and(|r| self.resource(r).parent.is_some());
        if changed.then && inner {
            // Stops before starts in groups that are cloned need it at once.
            self.update(then);
        }
        changed
    }

    fn update_asymmetric(&mut self, first: ActionId, then: ActionId) {
        let action = &self.actions[then];
        let Some(resource) = action.resource.filter(|_| !self.is(first, Is::RUNNABLE)) else { return };
        if action.is.has(Is::OPTIONAL) {
            let role = self.role_of(resource);
            let stopped = role == Role::Stopped && action.task == Task::STOP;
            let started = role >= Role::Started
                && action.task == Task::START
                && action.node.is_some_and(|n| self.resource(resource).running_on == [n]);
            if stopped || started {
                return;
            }
        }
        self.clear_because(then, Is::OPTIONAL, first);
        self.clear_because(then, Is::RUNNABLE, first);
    }

    fn update_restart(&mut self, first: ActionId, then: ActionId, filter: Is) {
        let of_then = self.actions[then].resource;
        let required = filter.has(Is::OPTIONAL) && !self.is(then, Is::OPTIONAL);
        // What should restart and cannot start is stopped still.
        let stuck = filter.has(Is::RUNNABLE)
            && !self.is(then, Is::RUNNABLE)
            && of_then.is_some_and(|r| self.resource(r).is(Flags::MANAGED))
            && self.actions[first].resource == of_then;
        if !required && !stuck {
            return;
        }
        if self.is(first, Is::RUNNABLE) || !self.is(then, Is::OPTIONAL) {
            self.clear_because(first, Is::OPTIONAL, then);
        }
        if !self.is(then, Is::MIGRATABLE) {
            self.clear_because(first, Is::MIGRATABLE, then);
        }
        if !self.is(first, Is::OPTIONAL) && !self.is(first, Is::RUNNABLE) {
            self.clear_because(then, Is::RUNNABLE, first);
        }
    }

    /// Takes something away from an action because of another, which is its reason if it has none.
    fn clear_because(&mut self, id: ActionId, what: Is, because: ActionId) {
        if !self.is(id, what) {
            return;
        }
        self.clear_is(id, what);
        let other = &self.actions[because];
        if self.actions[id].resource == other.resource {
            return;
        }
        let change = if what == Is::OPTIONAL { "required" } else { "unrunnable" };
        let task = self.actions.tasks.name(other.task);
        let reason = match other.resource {
            Some(resource) => format!("{change} {} {task}", self.resource(resource).id),
            None => format!("{change} {task}"),
        };
        self.give_reason(id, &reason, what == Is::MIGRATABLE);
    }
}
