//! Probes before what depends on what they find.

use crate::actions::{ActionId, Is, Task};
use crate::model::{ResourceId, Variant, WorkingSet};

use super::{Kind, Side};

/// Most edges from probes to what may be stopped, or not started, for what they find: they grow with the square of the number of
/// instances.
const PROBE_EDGES_MAX: u32 = 2_000_000;

impl WorkingSet<'_> {
    pub(super) fn order_probes(&mut self) {
        let leading = self.leading_to_restarts();
        for id in self.top.clone() {
            self.order_probes_of(id, &leading);
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

    /// Which actions lead, by what they imply, to a start (or promotion) of something that may have to be stopped (or demoted)
    /// before: only there it has to be looked. Collectives with thousands of parts lead from each to all of them.
    fn leading_to_restarts(&self) -> Vec<bool> {
        let ids = || self.actions.ids();
        let mut leading = vec![false; self.actions.table.len()];
        let mut open: Vec<ActionId> = Vec::new();
        for id in ids() {
            let action = &self.actions[id];
            let undone = match action.task {
                Task::START => Task::STOP,
                Task::PROMOTE => Task::DEMOTE,
                _ => continue,
            };
            let Some(resource) = action.resource.filter(|r| self.resource(*r).is_primitive()) else {
                continue;
            };
            let real = |a: &ActionId| self.actions[*a].task == undone && !self.is(*a, Is::PSEUDO);
            if self.actions.of(resource).iter().any(real) {
                leading[id.0 as usize] = true;
                open.push(id);
            }
        }
        if open.is_empty() {
            return leading;
        }
        let mut implied_by: Vec<Vec<ActionId>> = vec![Vec::new(); leading.len()];
        for id in ids() {
            let action = &self.actions[id];
            let primitive = action.resource.is_none_or(|r| self.resource(r).is_primitive());
            for (next, kind) in &action.after {
                if kind.has(Kind::IMPLIES_THEN) || !primitive && self.actions[*next].resource.is_some() {
                    implied_by[next.0 as usize].push(id);
                }
            }
        }
        while let Some(id) = open.pop() {
            for before in std::mem::take(&mut implied_by[id.0 as usize]) {
                if !std::mem::replace(&mut leading[before.0 as usize], true) {
                    open.push(before);
                }
            }
        }
        leading
    }

    fn order_probes_of(&mut self, id: ResourceId, leading: &[bool]) {
        if !self.resource(id).is_primitive() {
            for child in self.resource(id).children.clone() {
                self.order_probes_of(child, leading);
            }
            return;
        }
        for probe in self.find_actions(id, (Task::MONITOR, 0), None) {
            for at in (0..self.actions[probe].after.len()).rev() {
                let (after, kind) = self.actions[probe].after[at];
                self.hold_back_inactive(probe, after, kind);
                self.actions.visit += 1;
                self.order_before_restarts(probe, after, leading);
            }
        }
    }

    /// As long as a probe cannot be made, no further instance of its clone starts.
    fn hold_back_inactive(&mut self, probe: ActionId, after: ActionId, kind: Kind) {
        if self.actions.probe_edges > PROBE_EDGES_MAX {
            return;
        }
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
                && self.has_room_for_edge()
            {
                self.order(probe, then, Kind::RUNNABLE_FIRST);
            }
        }
    }

    /// What a start behind a probe will make others restart is stopped only after the probe. Goes along everything that
    /// the start implies.
    fn order_before_restarts(&mut self, probe: ActionId, after: ActionId, leading: &[bool]) {
        let Some(probed) = self.actions[probe].resource else { return };
        if self.actions.probe_edges > PROBE_EDGES_MAX {
            return;
        }
        let mut open = vec![after];
        while let Some(after) = open.pop() {
            let leads = leading.get(after.0 as usize).copied().unwrap_or_default();
            if !leads || self.actions[after].visited == self.actions.visit {
                continue;
            }
            self.actions[after].visited = self.actions.visit;
            let Some(resource) = self.actions[after].resource else {
                open.extend(&self.actions[after].implied);
                continue;
            };
            let task = self.actions[after].task;
            let primitive = self.resource(resource).is_primitive();
            let own_parent = self.resource(probed).parent == Some(resource);
            if self.resource(resource).is_primitive() && probed != resource {
                let undone = match task {
                    Task::START => Some(Task::STOP),
                    Task::PROMOTE => Some(Task::DEMOTE),
                    _ => None,
                };
                if let Some(undone) = undone {
                    for then in self.find_actions(resource, (undone, 0), None) {
                        if !self.is(then, Is::PSEUDO) && self.has_room_for_edge() {
                            self.order(probe, then, Kind::OPTIONAL);
                        }
                    }
                }
            }
            if primitive || own_parent {
                open.extend(&self.actions[after].implied);
                continue;
            }
            let collective =
                matches!(self.resource(resource).variant, Variant::Clone(_) | Variant::Bundle(_));
            let interleave = collective && self.is_interleaved(resource);
            let partner = if interleave { self.compatible_instance(probed, resource, false) } else { None };
            self.push_implied(after, &mut open, |set, next| {
                // From a collective to its own parts it goes on, too.
                let Some(part) = set.actions[next].resource else { return false };
                let plain = matches!(set.resource(part).variant, Variant::Primitive | Variant::Group);
                let meant = !interleave || partner == Some(part);
                plain && set.resource(part).parent == Some(resource) && meant
            });
        }
    }

    /// Whether one more of the edges may be made whose number grows with a product: probes by what is stopped.
    fn has_room_for_edge(&mut self) -> bool {
        let made = &mut self.actions.probe_edges;
        *made = made.saturating_add(1);
        let room = *made <= PROBE_EDGES_MAX;
        if *made == PROBE_EDGES_MAX + 1 {
            self.warnings.push(format!(
                "there are more than {PROBE_EDGES_MAX} pairs of probes and what may be stopped behind them: the others are in no order"
            ));
        }
        room
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
