//! Probes before what depends on what they find.

use crate::actions::{ActionId, Is, Task};
use crate::model::{ResourceId, Variant, WorkingSet};

use super::{Kind, Side};

impl WorkingSet<'_> {
    pub(super) fn order_probes(&mut self) {
        for id in self.top.clone() {
            self.order_probes_of(id);
        }
        self.order_probes_before_what_follows_stops();
    }

    /// What waits for a stop waits for the news whether there is anything to be stopped.
    fn order_probes_before_what_follows_stops(&mut self) {
        for at in (0..self.actions.orderings.len()).rev() {
            let ordering = self.actions.orderings[at].clone();
            let (first, then) = (self.side_resource(ordering.first), self.side_resource(ordering.then));
            let Some(first) = first.filter(|f| Some(*f) != then) else { continue };
            let is_stop = |side| match side {
                Side::Action(action) => self.actions[action].task == Task::STOP,
                Side::Task(_, task, interval) => task == Task::STOP && interval == 0,
            };
            // Inside of a container that stops a probe might come when the container is up again.
            let own_container = then.is_some() && self.resource(first).container == then;
            if ordering.kind == Kind::NONE
                || !is_stop(ordering.first)
                || own_container && is_stop(ordering.then)
            {
                continue;
            }
            let kept = [Kind::FIRST_NOT_MIGRATABLE, Kind::SAME_NODE];
            let mut kind = Kind::OPTIONAL;
            for one in kept.into_iter().filter(|k| ordering.kind.has(*k)) {
                kind = kind.with(one);
            }
            if ordering.kind == Kind::ANTI_COLOCATION || ordering.kind == Kind::LOAD {
                kind = ordering.kind;
            }
            let probes = self.find_actions(first, (Task::MONITOR, 0), None);
            if probes.is_empty() {
                continue;
            }
            let thens = match ordering.then {
                Side::Action(action) => vec![action],
                Side::Task(resource, task, interval) => self.find_actions(resource, (task, interval), None),
            };
            for probe in probes {
                for then in &thens {
                    if self.probe_is_needed_before(probe, *then) {
                        self.order(probe, *then, kind);
                    }
                }
            }
        }
    }

    fn probe_is_needed_before(&self, probe: ActionId, then: ActionId) -> bool {
        let (probe, then) = (&self.actions[probe], &self.actions[then]);
        let both = probe.node.is_some() && then.node.is_some();
        match then.task {
            // A node is probed once it may reach its devices again.
            Task::STONITH => !(both && probe.node == then.node && then.meta("stonith_action") == Some("on")),
            Task::SHUTDOWN => !(both && probe.node != then.node),
            _ => true,
        }
    }

    fn order_probes_of(&mut self, id: ResourceId) {
        if !self.resource(id).is_primitive() {
            for child in self.resource(id).children.clone() {
                self.order_probes_of(child);
            }
            return;
        }
        for probe in self.find_actions(id, (Task::MONITOR, 0), None) {
            for at in (0..self.actions[probe].after.len()).rev() {
                let (after, kind) = self.actions[probe].after[at];
                self.hold_back_inactive(probe, after, kind);
                self.actions.visit += 1;
                self.order_before_restarts(probe, after);
            }
        }
    }

    /// As long as a probe cannot be made, no further instance of its clone starts.
    fn hold_back_inactive(&mut self, probe: ActionId, after: ActionId, kind: Kind) {
        let then = &self.actions[after];
        let (Some(resource), Some(own)) = (then.resource, self.actions[probe].resource) else { return };
        if matches!(self.resource(resource).variant, Variant::Primitive | Variant::Group)
            || self.is(probe, Is::RUNNABLE)
            || kind.has(Kind::RUNNABLE_FIRST)
            || self.top_of(own) != resource
            || then.task != Task::START
        {
            return;
        }
        for (then, _) in self.actions[after].after.clone().into_iter().rev() {
            let action = &self.actions[then];
            let Some(instance) = action.resource else { continue };
            if action.task == Task::START
                && self.resource(instance).running_on.is_empty()
                && self.top_of(instance) == resource
            {
                self.order(probe, then, Kind::RUNNABLE_FIRST);
            }
        }
    }

    /// What a start behind a probe will make others restart is stopped only after the probe. Goes along everything that
    /// the start implies.
    fn order_before_restarts(&mut self, probe: ActionId, after: ActionId) {
        let Some(probed) = self.actions[probe].resource else { return };
        let mut open = vec![after];
        while let Some(after) = open.pop() {
            if self.actions[after].visited == self.actions.visit {
                continue;
            }
            self.actions[after].visited = self.actions.visit;
            let Some(resource) = self.actions[after].resource else {
                self.push_implied(after, &mut open, |_, _| false);
                continue;
            };
            let task = self.actions[after].task;
            if self.resource(resource).is_primitive() && probed != resource {
                let undone = match task {
                    Task::START => Some(Task::STOP),
                    Task::PROMOTE => Some(Task::DEMOTE),
                    _ => None,
                };
                if let Some(undone) = undone {
                    for then in self.find_actions(resource, (undone, 0), None) {
                        if !self.is(then, Is::PSEUDO) {
                            self.order(probe, then, Kind::OPTIONAL);
                        }
                    }
                }
            }
            let collective =
                matches!(self.resource(resource).variant, Variant::Clone(_) | Variant::Bundle(_));
            let interleave = collective && self.is_interleaved(resource);
            let partner = if interleave { self.compatible_instance(probed, resource, false) } else { None };
            let primitive = self.resource(resource).is_primitive();
            let own_parent = self.resource(probed).parent == Some(resource);
            self.push_implied(after, &mut open, |set, next| {
                // From a collective to its own parts it goes on, too.
                let Some(part) = set.actions[next].resource else { return false };
                let plain = matches!(set.resource(part).variant, Variant::Primitive | Variant::Group);
                let meant = !interleave || partner == Some(part);
                !primitive && !own_parent && plain && set.resource(part).parent == Some(resource) && meant
            });
        }
    }

    fn push_implied(&self, after: ActionId, open: &mut Vec<ActionId>, or: impl Fn(&Self, ActionId) -> bool) {
        let action = &self.actions[after];
        // The last one in is looked at first: newest first, as lists are read.
        for (next, kind) in &action.after {
            if kind.has(Kind::IMPLIES_THEN) || or(self, *next) {
                open.push(*next);
            }
        }
    }
}
