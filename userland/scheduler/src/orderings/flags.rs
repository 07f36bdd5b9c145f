//! What is true of a collective's action, by what is true of its parts'.

use crate::actions::{ActionId, Is, Task};
use crate::model::{NodeId, ResourceId, Variant, WorkingSet};

const ASSUMED: Is = Is::OPTIONAL.with(Is::RUNNABLE).with(Is::PSEUDO);

impl WorkingSet<'_> {
    /// What is true of an action (as far as a node goes). For a collective its parts are asked, and what they lack is taken
    /// from the action itself, too.
    pub(crate) fn flags_of(&mut self, id: ActionId, node: Option<NodeId>) -> Is {
        let action = &self.actions[id];
        let Some(resource) = action.resource else { return action.is };
        match &self.resource(resource).variant {
            Variant::Primitive => self.actions[id].is,
            Variant::Group => self.group_flags(id, resource, node),
            Variant::Clone(_) => {
                let children = self.resource(resource).children.clone();
                self.collective_flags(id, &children, node)
            }
            Variant::Bundle(bundle) => {
                let roles =
                    matches!(action.task, Task::PROMOTE | Task::PROMOTED | Task::DEMOTE | Task::DEMOTED);
                let parts = match bundle.inside.filter(|_| roles) {
                    Some(inside) => self.resource(inside).children.clone(),
                    None => bundle.replicas.iter().map(|r| r.container).collect(),
                };
                self.collective_flags(id, &parts, node)
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

    fn collective_flags(&mut self, id: ActionId, parts: &[ResourceId], node: Option<NodeId>) -> Is {
        let task = self.part_task(id, parts.first().copied());
        let mut flags = ASSUMED;
        let mut any_runnable = false;
        for part in parts {
            // A group's parts are where they are.
            let there = node.filter(|_| self.resource(*part).is_primitive());
            let Some(action) = task.and_then(|task| self.latest(*part, task, there)) else { continue };
            let of_part = self.flags_of(action, node);
            if flags.has(Is::OPTIONAL) && !of_part.has(Is::OPTIONAL) {
                flags = flags.without(Is::OPTIONAL);
                self.clear_is(id, Is::OPTIONAL);
            }
            any_runnable |= of_part.has(Is::RUNNABLE);
        }
        if !any_runnable {
            flags = flags.without(Is::RUNNABLE);
            if node.is_none() {
                self.clear_is(id, Is::RUNNABLE);
            }
        }
        flags
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
