//! What is true of a collective's action, by what is true of its parts'.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use crate::actions::{ActionId, Edge, Is, Task};
use crate::model::{NodeId, ResourceId, Variant, WorkingSet};

use super::Kind;

const ASSUMED: Is = Is::OPTIONAL.with(Is::RUNNABLE).with(Is::PSEUDO);

/// What is known of the parts of collectives: a look at thousands of them costs what has changed since the last one.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    /// By collective: parts of it that something was done to, in order. `None`: nobody asks yet.
    changed: Option<BTreeMap<ResourceId, Vec<ResourceId>>>,
    looks: BTreeMap<(ResourceId, Task, Option<NodeId>), Look>,
    /// By collective: what parts of it do.
    tasks: BTreeMap<ResourceId, BTreeSet<Task>>,
    /// By collective: its first part on each node, as it is (`true`) or as it will be.
    pub(super) places: RefCell<BTreeMap<(ResourceId, bool), BTreeMap<NodeId, ResourceId>>>,
    /// By action of a clone: which of the edges before it have to be looked at.
    open: BTreeMap<ActionId, Open>,
}

/// The edges before an action of a clone that may matter. Most come from its parts, thousands of them, and say no more than the
/// order (and that what is done is shown): one of those need not be looked at again until something is otherwise with its part.
#[derive(Debug, Default)]
struct Open {
    /// How many of the changes of parts have been seen.
    seen: usize,
    /// How many of the edges have been.
    edges: usize,
    by_part: BTreeMap<ResourceId, Vec<usize>>,
    open: BTreeSet<usize>,
}

/// The parts of a collective that do something (on a node), as they were when they were looked at.
#[derive(Debug, Default)]
struct Look {
    /// How many of the changes have been seen. `None`: nothing was.
    seen: Option<usize>,
    /// All of them, which number each has, and what is true of what it does, if it does this.
    parts: BTreeMap<ResourceId, (usize, Option<Is>)>,
    required: usize,
    /// Those that can, by number.
    runnable: BTreeMap<usize, ResourceId>,
}

impl Look {
    fn put(&mut self, part: ResourceId, is: Option<Is>) {
        let next = self.parts.len();
        let (number, known) = self.parts.entry(part).or_insert((next, None));
        let required = |is: Option<Is>| usize::from(is.is_some_and(|is| !is.has(Is::OPTIONAL)));
        self.required = self.required + required(is) - required(*known);
        *known = is;
        if is.is_some_and(|is| is.has(Is::RUNNABLE)) {
            self.runnable.insert(*number, part);
        } else {
            self.runnable.remove(number);
        }
    }
}

impl WorkingSet<'_> {
    /// From now on changes of actions are told to the collectives whose parts they are of.
    pub(super) fn watch_parts(&mut self) {
        self.actions.parts.changed = Some(BTreeMap::new());
    }

    /// Something is otherwise with an action of a resource.
    pub(crate) fn touch(&mut self, resource: Option<ResourceId>) {
        if self.actions.parts.changed.is_none() {
            return;
        }
        let mut at = resource;
        while let Some(part) = at {
            at = self.resource(part).parent;
            let Some(whole) = at else { return };
            let is_part = match &self.resource(whole).variant {
                Variant::Clone(_) => true,
                // Addresses, connections and what is inside are not asked.
                Variant::Bundle(bundle) => bundle.replicas.iter().any(|r| r.container == part),
                _ => false,
            };
            if is_part && let Some(changed) = &mut self.actions.parts.changed {
                changed.entry(whole).or_default().push(part);
            }
        }
    }

    /// The last edge before an action, and before another of those, that has to be looked at.
    pub(super) fn edge_below(&mut self, then: ActionId, below: usize) -> Option<usize> {
        let Some(whole) = self.watched_clone(then) else { return below.checked_sub(1) };
        let mut open = self.actions.parts.open.remove(&then).unwrap_or_default();
        let edges = &self.actions[then].before;
        for (at, edge) in edges.iter().enumerate().skip(open.edges) {
            open.open.insert(at);
            if let Some(part) = self.actions[edge.other].resource {
                open.by_part.entry(part).or_default().push(at);
            }
        }
        open.edges = edges.len();
        let changed = self.actions.parts.changed.as_ref().and_then(|c| c.get(&whole));
        for part in changed.map_or(&[][..], Vec::as_slice).iter().skip(open.seen) {
            open.seen += 1;
            open.open.extend(open.by_part.get(part).into_iter().flatten());
        }
        let found = open.open.range(..below).next_back().copied();
        self.actions.parts.open.insert(then, open);
        found
    }

    /// An edge is about to be looked at, and need not be again as long as it says only what comes first and nothing changes.
    pub(super) fn settle(&mut self, then: ActionId, at: usize) {
        let Some(whole) = self.watched_clone(then) else { return };
        let Edge { other, kind, .. } = self.actions[then].before[at].clone();
        let mere = kind.without(Kind::PRINTS_THEN).without(Kind::OPTIONAL) == Kind::NONE;
        let from_part = self.actions[other].resource.and_then(|r| self.resource(r).parent) == Some(whole);
        if mere
            && from_part
            && let Some(open) = self.actions.parts.open.get_mut(&then)
        {
            open.open.remove(&at);
        }
    }

    fn watched_clone(&self, id: ActionId) -> Option<ResourceId> {
        let whole = self.actions[id].resource.filter(|_| self.actions.parts.changed.is_some())?;
        matches!(self.resource(whole).variant, Variant::Clone(_)).then_some(whole)
    }

    /// The next part of a collective, by number, that can do this. `None` where it is not known without asking them all.
    pub(super) fn next_that_can(
        &mut self,
        whole: ResourceId,
        task: Task,
        node: Option<NodeId>,
        from: usize,
    ) -> Option<Option<(usize, ResourceId)>> {
        self.ask_parts(whole, task, node);
        let look = self.actions.parts.looks.get(&(whole, task, node))?;
        let primitives = || look.parts.keys().next().is_none_or(|part| self.resource(*part).is_primitive());
        if node.is_some() && !primitives() {
            return None;
        }
        Some(look.runnable.range(from..).next().map(|(at, part)| (*at, *part)))
    }

    /// An action was made.
    pub(crate) fn touch_new(&mut self, resource: Option<ResourceId>, task: Task) {
        self.touch(resource);
        if let Some(whole) = resource.and_then(|r| self.resource(r).parent)
            && let Some(tasks) = self.actions.parts.tasks.get_mut(&whole)
        {
            tasks.insert(task);
        }
    }

    /// Whether any part of a collective does this at all.
    pub(super) fn any_part_does(&mut self, whole: ResourceId, task: Task) -> bool {
        if let Some(tasks) = self.actions.parts.tasks.get(&whole) {
            return tasks.contains(&task);
        }
        let of = |part: &ResourceId| self.actions.of(*part).iter().map(|a| self.actions[*a].task);
        let tasks: BTreeSet<Task> = self.instances_of(whole).iter().flat_map(of).collect();
        let does = tasks.contains(&task);
        self.actions.parts.tasks.insert(whole, tasks);
        does
    }

    /// What is true of an action (as far as a node goes). For a collective its parts are asked, and what they lack is taken
    /// from the action itself, too.
    pub(crate) fn flags_of(&mut self, id: ActionId, node: Option<NodeId>) -> Is {
        let action = &self.actions[id];
        let Some(resource) = action.resource else { return action.is };
        match &self.resource(resource).variant {
            Variant::Primitive => self.actions[id].is,
            Variant::Group => self.group_flags(id, resource, node),
            Variant::Clone(_) => self.collective_flags(id, resource, node),
            Variant::Bundle(bundle) => {
                let roles =
                    matches!(action.task, Task::PROMOTE | Task::PROMOTED | Task::DEMOTE | Task::DEMOTED);
                let whole = bundle.inside.filter(|_| roles).unwrap_or(resource);
                self.collective_flags(id, whole, node)
            }
        }
    }

    /// The same for an edge: whether a clone's action can be done anywhere counts, not whether on this node.
    pub(super) fn flags_for_edge(&mut self, id: ActionId, node: Option<NodeId>) -> Is {
        let flags = self.flags_of(id, None);
        let clone =
            self.actions[id].resource.is_some_and(|r| matches!(self.resource(r).variant, Variant::Clone(_)));
        if node.is_none() || !clone {
            return flags;
        }
        let there = self.flags_of(id, node);
        there.with(flags.of(Is::RUNNABLE))
    }

    fn group_flags(&mut self, id: ActionId, group: ResourceId, node: Option<NodeId>) -> Is {
        let own = self.actions[id].task;
        let task = own.of_parts();
        let mut flags = ASSUMED;
        for at in 0..self.resource(group).children.len() {
            let member = self.resource(group).children[at];
            let Some(action) = self.latest(member, task, node) else {
                if !matches!(task, Task::STOP | Task::DEMOTE) {
                    flags = flags.without(Is::RUNNABLE);
                }
                continue;
            };
            let of_member = self.flags_of(action, node);
            if flags.has(Is::OPTIONAL) && !of_member.has(Is::OPTIONAL) {
                flags = flags.without(Is::OPTIONAL);
                self.clear_is(id, Is::OPTIONAL);
            }
            if task != own && flags.has(Is::RUNNABLE) && !of_member.has(Is::RUNNABLE) {
                flags = flags.without(Is::RUNNABLE);
                self.clear_is(id, Is::RUNNABLE);
            }
        }
        flags
    }

    fn collective_flags(&mut self, id: ActionId, whole: ResourceId, node: Option<NodeId>) -> Is {
        let first = match &self.resource(whole).variant {
            Variant::Bundle(bundle) => bundle.replicas.first().map(|r| r.container),
            _ => self.resource(whole).children.first().copied(),
        };
        let task = self.part_task(id, first);
        let (required, runnable) = task.map_or((false, false), |task| self.ask_parts(whole, task, node));
        let mut flags = ASSUMED;
        if required {
            flags = flags.without(Is::OPTIONAL);
            self.clear_is(id, Is::OPTIONAL);
        }
        if !runnable {
            flags = flags.without(Is::RUNNABLE);
            if node.is_none() {
                self.clear_is(id, Is::RUNNABLE);
            }
        }
        flags
    }

    /// Whether any part has to do this, and whether any can.
    fn ask_parts(&mut self, whole: ResourceId, task: Task, node: Option<NodeId>) -> (bool, bool) {
        let mut look = self.actions.parts.looks.remove(&(whole, task, node)).unwrap_or_default();
        let changed = |set: &Self, at: usize| {
            set.actions.parts.changed.as_ref().and_then(|c| c.get(&whole)?.get(at).copied())
        };
        let mut seen = match look.seen {
            Some(seen) => seen,
            None => {
                let changes =
                    self.actions.parts.changed.as_ref().and_then(|c| c.get(&whole)).map_or(0, Vec::len);
                for part in self.instances_of(whole) {
                    let is = self.part_flags(part, task, node);
                    look.put(part, is);
                }
                changes
            }
        };
        // Asking a group may change what is true of it itself, which is a change as any other.
        while let Some(part) = changed(self, seen) {
            seen += 1;
            let is = self.part_flags(part, task, node);
            look.put(part, is);
        }
        let answer = (look.required > 0, !look.runnable.is_empty());
        if self.actions.parts.changed.is_some() {
            look.seen = Some(seen);
            self.actions.parts.looks.insert((whole, task, node), look);
        }
        answer
    }

    fn part_flags(&mut self, part: ResourceId, task: Task, node: Option<NodeId>) -> Option<Is> {
        // A group's parts are where they are.
        let there = node.filter(|_| self.resource(part).is_primitive());
        let action = self.latest(part, task, there)?;
        Some(self.flags_of(action, node))
    }

    /// What the instances of a collective do for an action of it: of a group in a clone its own `running`, of a primitive
    /// its `start`.
    pub(super) fn part_task(&self, id: ActionId, instance: Option<ResourceId>) -> Option<Task> {
        let action = &self.actions[id];
        let mut task = action.task;
        if matches!(task, Task::NOTIFY | Task::NOTIFIED) {
            // `RSC_confirmed-post_notify_TASK_0`
            let name = self.actions.tasks.name(action.key_task()?);
            task = self.actions.tasks.known(name.split_once("_notify_")?.1)?;
        }
        let primitive = instance.is_some_and(|i| self.resource(i).is_primitive());
        Some(if primitive { task.of_parts() } else { task })
    }
}
