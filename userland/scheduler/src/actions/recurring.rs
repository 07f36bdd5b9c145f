//! Recurring operations: begun with what they look after, cancelled with it.

use cib::Element;

use crate::model::{Flags, NodeId, ResourceId, Role, WorkingSet};
use crate::orderings::Kind;
use crate::unpack::interval_of;

use super::{ActionId, Is, NOT_RUNNING, PROMOTED, Task};

/// A recurring operation of the configuration.
struct Recurring {
    task: Task,
    interval_ms: u64,
    role: Role,
}

impl WorkingSet<'_> {
    pub(super) fn create_recurring(&mut self, id: ResourceId) {
        let resource = self.resource(id);
        if resource.is(Flags::BLOCKED) || resource.is(Flags::MAINTENANCE) {
            return;
        }
        let active = resource.next_role != Role::Stopped || !resource.is(Flags::MANAGED);
        let node = resource.assigned.filter(|n| active && !self.node(*n).maintenance);
        let start = node.map(|_| self.start(id, true));
        for operation in self.recurring_operations(id) {
            if let (Some(start), Some(node)) = (start, node) {
                self.recur_while_active(id, start, node, &operation);
            }
            self.recur_while_inactive(id, &operation);
        }
    }

    fn recurring_operations(&mut self, id: ResourceId) -> Vec<Recurring> {
        let all: Vec<Element> = self.configured_operations(id).cloned().collect();
        let mut found = Vec::new();
        for op in &all {
            let (Some(name), interval_ms) = (op.get("name").filter(|n| !n.is_empty()), interval_of(op))
            else {
                continue;
            };
            let same =
                |other: &&Element| other.get("name") == Some(name) && interval_of(other) == interval_ms;
            let role = match op.get("role") {
                None => Some(Role::Unknown),
                Some(text) => Role::parse(text),
            };
            let fixed = matches!(name, "start" | "stop" | "promote" | "demote" | "notify");
            // Two with one name and interval cannot be told apart.
            if interval_ms == 0 || fixed || all.iter().filter(same).count() > 1 || !self.is_enabled(op) {
                continue;
            }
            if let Some(role) = role {
                let task = self.actions.tasks.task(name);
                found.push(Recurring { task, interval_ms, role });
            }
        }
        found
    }

    fn recur_while_active(&mut self, id: ResourceId, start: ActionId, node: NodeId, operation: &Recurring) {
        let Recurring { task, interval_ms, role } = *operation;
        if role == Role::Stopped {
            return;
        }
        let known = self.find_actions_on(id, (task, interval_ms), node);
        let optional = self.is(start, Is::OPTIONAL)
            && !known.is_empty()
            && !known.iter().any(|a| self.is(*a, Is::RESCHEDULE));
        let (now, next) = (self.resource(id).role, self.resource(id).next_role);
        let fits = if role == Role::Unknown { next != Role::Promoted } else { next == role };
        if !fits {
            if optional {
                let cancel = self.cancel(id, (task, interval_ms), node);
                let before = match (now, next) {
                    (Role::Unpromoted | Role::Started, Role::Promoted) => Some(Task::PROMOTE),
                    (Role::Unpromoted | Role::Started, Role::Stopped) => Some(Task::STOP),
                    (Role::Promoted, _) => Some(Task::DEMOTE),
                    _ => None,
                };
                if let Some(before) = before {
                    self.add_ordering(cancel, (id, before), Kind::RUNNABLE_FIRST);
                }
            }
            return;
        }
        let monitor = self.action(id, (task, interval_ms), Some(node), optional);
        let there = self.node(node);
        if !self.is(start, Is::RUNNABLE) || !there.online || there.unclean {
            self.clear_is(monitor, Is::RUNNABLE);
        }
        if next == Role::Promoted {
            self.actions[monitor].expected = Some(PROMOTED);
        }
        if !self.resource(id).is(Flags::MANAGED) {
            return;
        }
        let kind = Kind::IMPLIES_THEN.with(Kind::RUNNABLE_FIRST);
        self.add_ordering((id, Task::START), monitor, kind);
        self.add_ordering((id, Task::RELOAD_AGENT), monitor, kind);
        let after = if next == Role::Promoted {
            Some(Task::PROMOTE)
        } else {
            (now == Role::Promoted).then_some(Task::DEMOTE)
        };
        if let Some(after) = after {
            self.add_ordering((id, after), monitor, Kind::OPTIONAL.with(Kind::RUNNABLE_FIRST));
        }
    }

    /// Where it is not to run somebody looks that it does not.
    fn recur_while_inactive(&mut self, id: ResourceId, operation: &Recurring) {
        let Recurring { task, interval_ms, role } = *operation;
        if role != Role::Stopped || !self.resource(id).is(Flags::UNIQUE) {
            return;
        }
        let active_on = self.resource(id).assigned;
        for node in self.by_name.clone() {
            if active_on == Some(node) {
                if !self.find_actions_on(id, (task, interval_ms), node).is_empty() {
                    let cancel = self.cancel(id, (task, interval_ms), node);
                    if matches!(self.resource(id).next_role, Role::Started | Role::Unpromoted) {
                        self.add_ordering(cancel, (id, Task::START), Kind::RUNNABLE_FIRST);
                    }
                }
                continue;
            }
            let optional = !self.find_actions_on(id, (task, interval_ms), node).is_empty();
            let monitor = self.action(id, (task, interval_ms), Some(node), optional);
            self.actions[monitor].expected = Some(NOT_RUNNING);
            let managed = self.resource(id).is(Flags::MANAGED);
            if managed {
                for probe in self.find_actions(id, (Task::MONITOR, 0), Some(node)) {
                    self.order(probe, monitor, Kind::RUNNABLE_FIRST);
                }
            }
            for stop in self.find_actions_on(id, (Task::STOP, 0), node) {
                if !managed && !self.is(stop, Is::OPTIONAL) && !self.is(monitor, Is::OPTIONAL) {
                    self.set_is(monitor, Is::OPTIONAL);
                }
                if !self.is(stop, Is::RUNNABLE) {
                    self.clear_is(monitor, Is::RUNNABLE);
                }
                if managed {
                    self.add_ordering(stop, monitor, Kind::IMPLIES_THEN.with(Kind::RUNNABLE_FIRST));
                }
            }
            let there = self.node(node);
            if !there.online || there.unclean {
                self.clear_is(monitor, Is::RUNNABLE);
            }
        }
    }

    /// Turns a recurring operation into its own cancellation.
    pub(super) fn cancel(&mut self, id: ResourceId, key: (Task, u64), node: NodeId) -> ActionId {
        let cancel = self.action(id, key, Some(node), false);
        let name = self.actions.tasks.name(key.0).to_owned();
        let action = &mut self.actions[cancel];
        action.task = Task::CANCEL;
        action.set_meta("operation", name);
        action.set_meta("interval", key.1.to_string());
        cancel
    }
}
