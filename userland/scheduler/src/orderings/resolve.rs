//! From orderings to edges between actions.

use crate::actions::{ActionId, Is, Task};
use crate::model::{ResourceId, Role, WorkingSet};

use super::{Kind, Ordering, Side};

impl WorkingSet<'_> {
    /// Makes edges of all orderings, and lets actions know of one another until nothing changes any more.
    pub(crate) fn apply_orderings(&mut self) {
        // What is missing of a first action is made, which later orderings see: they are taken in the order of their making.
        for at in 0..self.actions.orderings.len() {
            let ordering = self.actions.orderings[at].clone();
            self.resolve(&ordering);
        }
        self.watch_parts();
        for id in self.actions.ids().rev() {
            self.block_dependents(id);
        }
        self.order_probes();
        for id in self.actions.ids().rev() {
            self.update(id);
        }
        self.disable_invalid();
    }

    fn resolve(&mut self, ordering: &Ordering) {
        let then_resource = self.side_resource(ordering.then);
        let firsts = match ordering.first {
            Side::Action(action) => vec![action],
            Side::Task(resource, task, interval) => {
                let found = self.find_actions(resource, (task, interval), None);
                if found.is_empty() && then_resource != Some(resource) {
                    self.placeholder(resource, task, interval).into_iter().collect()
                } else {
                    found
                }
            }
        };
        for first in firsts {
            self.order_after(first, ordering, then_resource);
        }
    }

    /// An action that nobody wants so far, for others to be ordered by.
    fn placeholder(&mut self, resource: ResourceId, task: Task, interval: u64) -> Option<ActionId> {
        let role = self.role_of(resource);
        let done =
            role == Role::Stopped && task == Task::STOP || role == Role::Unpromoted && task == Task::DEMOTE;
        (!done).then(|| self.action(resource, (task, interval), None, true))
    }

    fn order_after(&mut self, first: ActionId, ordering: &Ordering, then_resource: Option<ResourceId>) {
        let thens = match ordering.then {
            Side::Action(action) => vec![action],
            Side::Task(resource, task, interval) => self.find_actions(resource, (task, interval), None),
        };
        let mut kind = ordering.kind;
        if self.is(first, Is::DANGLING)
            && then_resource.is_some()
            && self.actions[first].resource == then_resource
        {
            kind = kind.without(Kind::IMPLIES_THEN);
        }
        for then in thens {
            self.order(first, then, kind);
        }
    }

    /// What cannot start (or be promoted) keeps back what may only be where it is.
    pub(super) fn block_dependents(&mut self, id: ActionId) {
        let action = &self.actions[id];
        let start = action.task == Task::START;
        let Some(resource) = action.resource else { return };
        if action.is.has(Is::RUNNABLE) || !start && action.task != Task::PROMOTE {
            return;
        }
        let task = action.task;
        let mut whole = self.top_of(resource);
        whole = self.resource(whole).parent.unwrap_or(whole);
        let children = self.resource(whole).children.len();
        if children > 0 {
            // What can do nothing at all was looked at once for all: instances may be many.
            if self.actions.blocked.contains(&(whole, task)) {
                return;
            }
            for at in 0..children {
                let one = self.latest(self.resource(whole).children[at], task, None);
                if one.is_none_or(|a| self.is(a, Is::RUNNABLE)) {
                    return;
                }
            }
            self.actions.blocked.insert((whole, task));
        }
        for at in self.resource(whole).with_this.clone() {
            let colocation = &self.colocations[at];
            if colocation.score < cib::Score::INFINITY || !start && colocation.primary_role != Role::Promoted
            {
                continue;
            }
            let dependent = colocation.dependent;
            let task = if colocation.dependent_role == Role::Promoted { Task::PROMOTE } else { Task::START };
            self.block(dependent, task, resource);
        }
    }

    fn block(&mut self, id: ResourceId, task: Task, because: ResourceId) {
        for at in (0..self.actions.of(id).len()).rev() {
            let action = self.actions.of(id)[at];
            if self.actions[action].task == task && self.is(action, Is::RUNNABLE) {
                self.clear_is(action, Is::RUNNABLE);
                let reason = format!("colocation with {}", self.resource(because).id);
                self.give_reason(action, &reason, false);
                self.block_dependents(action);
                self.update(action);
            }
        }
        for child in self.resource(id).children.clone() {
            self.block(child, task, because);
        }
    }

    /// Drops what a user cannot have meant, or what would never end.
    fn disable_invalid(&mut self) {
        for id in self.actions.ids() {
            for at in 0..self.actions[id].before.len() {
                if self.is_invalid(id, at) {
                    self.actions[id].before[at].kind = Kind::NONE;
                }
            }
        }
    }

    fn is_invalid(&self, id: ActionId, at: usize) -> bool {
        let action = &self.actions[id];
        let edge = &action.before[at];
        let first = &self.actions[edge.other];
        // What runs inside of a guest cannot be ordered against the resource that the guest is.
        if !edge.kind.has(Kind::PRESERVE)
            && first.resource.is_some()
            && let Some(node) = first.node.filter(|n| self.is_guest(*n))
            && let Some(connection) = self.node(node).connection
            && self.resource(connection).container == action.resource
        {
            return true;
        }
        edge.kind == Kind::LOAD
            && action.task == Task::MIGRATE_TO
            && action.resource.is_some()
            && self.leads_back(id, edge.other)
    }

    /// Whether `from` comes, through inputs that count, after `target`.
    fn leads_back(&self, target: ActionId, from: ActionId) -> bool {
        let mut seen = std::collections::BTreeSet::new();
        let mut open = vec![from];
        while let Some(at) = open.pop() {
            if at == target {
                return true;
            }
            if seen.insert(at) {
                let edges = &self.actions[at].before;
                open.extend(
                    edges
                        .iter()
                        .filter(|e| e.kind != Kind::NONE && self.counts_as_input(at, e))
                        .map(|e| e.other),
                );
            }
        }
        false
    }
}
