//! A primitive: from the role that it has to the one that it is to have, step by step.

use crate::model::resource::MultipleActive;
use crate::model::{Flags, NodeId, ResourceId, Role, WorkingSet};
use crate::orderings::Kind;

use super::{Is, Task};

/// What is done to come from one role to another.
#[derive(Clone, Copy)]
enum Step {
    Stop,
    Start,
    Promote,
    Demote,
}

/// The role after the next step from one role on the way to another.
fn towards(from: Role, to: Role) -> Role {
    use Role::{Promoted, Started, Stopped, Unknown, Unpromoted};
    match (from, to) {
        (Unknown, Unknown) => Unknown,
        (Unknown, _) | (_, Unknown) => Stopped,
        (Stopped, Promoted) => Unpromoted,
        (Unpromoted, Stopped | Started) => Stopped,
        (Promoted, Stopped | Started | Unpromoted) => Unpromoted,
        (_, to) => to,
    }
}

/// What is done for one step.
fn step(from: Role, to: Role) -> Option<Step> {
    use Role::{Promoted, Started, Stopped, Unknown, Unpromoted};
    match (from, to) {
        (Unknown | Started | Unpromoted, Stopped) | (Unpromoted, Started) => Some(Step::Stop),
        (Stopped, Started | Unpromoted) => Some(Step::Start),
        (Started | Unpromoted, Promoted) => Some(Step::Promote),
        (Promoted, Stopped | Started | Unpromoted) => Some(Step::Demote),
        _ => None,
    }
}

impl WorkingSet<'_> {
    pub(super) fn create_primitive_actions(&mut self, id: ResourceId) {
        let resource = self.resource_mut(id);
        if resource.next_role == Role::Unknown {
            resource.next_role = if resource.assigned.is_some() { Role::Started } else { Role::Stopped };
        }
        let current = self.current_node(id);
        let all_active = self.resource(id).running_on.len();
        for node in self.resource(id).dangling.clone() {
            self.stop_dangling(id, node);
        }
        let resource = self.resource(id);
        let assigned = resource.assigned;
        let moving = current.is_some()
            && assigned.is_some()
            && current != assigned
            && resource.next_role >= Role::Started;
        let mut may_migrate = moving && current.is_some_and(|c| self.can_migrate(id, c));
        let mut need_stop = moving;
        let mut need_promote = false;
        let mut multiply_active = false;
        if let Some((source, target)) = self.resource(id).partial_migration {
            let goes_on =
                may_migrate && all_active == 2 && current == Some(source) && assigned == Some(target);
            if !goes_on {
                need_stop = true;
                self.resource_mut(id).partial_migration = None;
                may_migrate = false;
            }
        } else {
            multiply_active = self.is_multiply_active(id);
        }
        let unexpected =
            multiply_active && self.resource(id).multiple_active == MultipleActive::StopUnexpected;
        if multiply_active && self.resource(id).multiple_active == MultipleActive::StopStart {
            need_stop = true;
        }
        need_stop |= unexpected;
        self.resource_mut(id).set(Flags::STOP_UNEXPECTED, unexpected);
        if self.resource(id).is(Flags::START_PENDING) {
            let start = self.start(id, true);
            self.set_is(start, Is::PRINT_ALWAYS);
        }
        let resource = self.resource(id);
        if moving {
            // It stops here in any case.
        } else if resource.is(Flags::FAILED) {
            if resource.is(Flags::MUST_STOP) {
                need_stop = true;
            } else {
                need_promote = resource.next_role == Role::Promoted;
            }
        } else if resource.is(Flags::BLOCKED) {
            need_stop = true;
        } else if resource.role > Role::Started && current.is_some() && assigned.is_some() {
            let start = self.start(id, true);
            need_stop |= !self.is(start, Is::OPTIONAL);
        }
        self.create_restart(id, current, need_stop, need_promote);
        let mut role = self.resource(id).role;
        while role != self.resource(id).next_role {
            let next = towards(role, self.resource(id).next_role);
            let Some(step) = step(role, next) else { break };
            self.take_step(id, step, assigned, false);
            role = next;
        }
        self.create_recurring(id);
        if let Some(current) = current.filter(|_| may_migrate) {
            self.create_migration(id, current);
        }
    }

    /// Down to a stop where it is, and up again where it will be; only if something else asks for it, unless `need_stop`.
    fn create_restart(
        &mut self,
        id: ResourceId,
        current: Option<NodeId>,
        need_stop: bool,
        need_promote: bool,
    ) {
        self.resource_mut(id).set(Flags::RESTARTING, true);
        let own = self.resource(id).role;
        let assigned = self.resource(id).assigned;
        let mut role = own;
        while role != Role::Stopped {
            let next = towards(role, Role::Stopped);
            let Some(step) = step(role, next) else { break };
            self.take_step(id, step, current, !need_stop);
            role = next;
        }
        while own <= self.resource(id).next_role && role != own && !self.resource(id).is(Flags::BLOCKED) {
            let next = towards(role, own);
            let Some(step) = step(role, next) else { break };
            let required = need_stop || next == Role::Promoted && need_promote;
            self.take_step(id, step, assigned, !required);
            role = next;
        }
        self.resource_mut(id).set(Flags::RESTARTING, false);
    }

    fn take_step(&mut self, id: ResourceId, step: Step, node: Option<NodeId>, optional: bool) {
        match step {
            Step::Stop => self.stop_everywhere(id, optional),
            Step::Start => self.start_on(id, node, optional),
            Step::Promote => self.promote_on(id, node, optional),
            Step::Demote => {
                for node in self.resource(id).running_on.clone() {
                    if !self.is_expected(id, Some(node)) {
                        self.action(id, (Task::DEMOTE, 0), Some(node), optional);
                    }
                }
            }
        }
    }

    /// A resource that runs twice and of which only the unexpected one stops: whether this is the expected one.
    fn is_expected(&self, id: ResourceId, node: Option<NodeId>) -> bool {
        let resource = self.resource(id);
        resource.is(Flags::STOP_UNEXPECTED | Flags::RESTARTING)
            && resource.next_role > Role::Stopped
            && node.is_some()
            && resource.assigned == node
    }

    fn stop_everywhere(&mut self, id: ResourceId, optional: bool) {
        for node in self.resource(id).running_on.clone() {
            if self.is_expected(id, Some(node)) {
                continue;
            }
            let mut optional = optional;
            let assigned = self.resource(id).assigned;
            if let Some((_, target)) = self.resource(id).partial_migration {
                if target == node && assigned == Some(target) {
                    // The migration goes on there.
                    continue;
                }
                optional = false;
            }
            let stop = self.stop(id, node, optional);
            let resource = self.resource(id);
            if resource.assigned.is_none() {
                self.give_reason(stop, "node availability", true);
            } else if resource.is(Flags::RESTARTING | Flags::STOP_UNEXPECTED) {
                self.give_reason(stop, "being multiply active", true);
            }
            if !self.resource(id).is(Flags::MANAGED) {
                self.clear_is(stop, Is::RUNNABLE);
            }
            if self.options.remove_after_stop {
                self.clean_up(id, node, optional);
            }
            if self.resource(id).is(Flags::NEEDS_UNFENCING) {
                let unfence = self.fence_action(node, Some("on"), true, None);
                self.order(stop, unfence, Kind::IMPLIES_FIRST);
            }
        }
    }

    fn start_on(&mut self, id: ResourceId, node: Option<NodeId>, optional: bool) {
        let start = self.action(id, (Task::START, 0), node, true);
        if let Some(node) = node {
            self.order_after_unfencing(id, node, start, Kind::IMPLIES_THEN);
        }
        if self.is(start, Is::RUNNABLE) && !optional {
            self.clear_is(start, Is::OPTIONAL);
        }
        if self.is_expected(id, node) {
            self.set_is(start, Is::PSEUDO);
        }
    }

    fn promote_on(&mut self, id: ResourceId, node: Option<NodeId>, optional: bool) {
        let there =
            |set: &Self, task| node.map(|n| set.find_actions_on(id, (task, 0), n)).unwrap_or_default();
        if there(self, Task::START).iter().all(|start| self.is(*start, Is::RUNNABLE)) {
            let promote = self.action(id, (Task::PROMOTE, 0), node, optional);
            if self.is_expected(id, node) {
                self.set_is(promote, Is::PSEUDO);
            }
        } else {
            for promote in there(self, Task::PROMOTE) {
                self.clear_is(promote, Is::RUNNABLE);
            }
        }
    }

    fn stop_dangling(&mut self, id: ResourceId, node: NodeId) {
        let stop = self.stop(id, node, false);
        self.set_is(stop, Is::DANGLING);
        if self.options.remove_after_stop {
            self.clean_up(id, node, false);
        }
    }

    /// Makes the history of a resource on a node go, once it is stopped and before it starts again.
    pub(crate) fn clean_up(&mut self, id: ResourceId, node: NodeId, optional: bool) {
        let known = self.node(node);
        if self.resource(id).is(Flags::FAILED) || known.unclean || !known.online {
            return;
        }
        self.action(id, (Task::DELETE, 0), Some(node), optional);
        let kind = if optional { Kind::IMPLIES_THEN } else { Kind::OPTIONAL };
        self.add_ordering((id, Task::STOP), (id, Task::DELETE), kind);
        self.add_ordering((id, Task::DELETE), (id, Task::START), kind);
    }
}
