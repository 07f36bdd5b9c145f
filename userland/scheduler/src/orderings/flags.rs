//! What is true of a collective's action, by what is true of its parts'.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use crate::actions::{ActionId, Is, Task};
use crate::model::{NodeId, ResourceId, Variant, WorkingSet};

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
}

/// The parts of a collective that do something (on a node), as they were when they were looked at.
#[derive(Debug, Default)]
struct Look {
    /// How many of the changes have been seen. `None`: nothing was.
    seen: Option<usize>,
    parts: BTreeMap<ResourceId, Is>,
    required: usize,
    runnable: usize,
}

impl Look {
    fn put(&mut self, part: ResourceId, is: Option<Is>) {
        let before = match is {
            Some(is) => self.parts.insert(part, is),
            None => self.parts.remove(&part),
        };
        for (is, more) in [(before, false), (is, true)] {
            let Some(is) = is else { continue };
            for (counts, count) in
                [(!is.has(Is::OPTIONAL), &mut self.required), (is.has(Is::RUNNABLE), &mut self.runnable)]
            {
                match (counts, more) {
                    (true, true) => *count += 1,
                    (true, false) => *count -= 1,
                    (false, _) => {}
                }
            }
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
        let answer = (look.required > 0, look.runnable > 0);
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
