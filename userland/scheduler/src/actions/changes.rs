//! What runs by a configuration that is no more: cleaned up, restarted, reloaded, cancelled.

use std::collections::BTreeMap;

use cib::Element;

use crate::model::{DeferredCheck, Flags, NodeId, ResourceId, WorkingSet};
use crate::orderings::Kind;
use crate::unpack::{Operation, Parameters};

use super::{Is, Task};

impl<'c> WorkingSet<'c> {
    /// Compares what the nodes' histories say was done with what the configuration says now.
    pub(crate) fn check_changes(&mut self) {
        let Some(status) = self.root.child("status") else { return };
        let names = self.by_known_names();
        for node in self.by_name.clone() {
            let known = self.node(node);
            if !known.maintenance && !self.is_available(node) {
                continue;
            }
            let name = known.name.clone();
            let states = status.children_named("node_state");
            let lists = states
                .filter(|s| s.get("uname") == Some(&name))
                .filter_map(|s| s.child("lrm")?.child("lrm_resources"));
            for element in lists.flat_map(|l| l.children_named("lrm_resource")) {
                if element.children.is_empty() {
                    continue;
                }
                for id in names.get(element.id().unwrap_or_default()).into_iter().flatten() {
                    self.check_history(*id, node, element);
                }
            }
        }
    }

    /// Primitives by their ids, and by those that the history knows them by.
    fn by_known_names(&self) -> BTreeMap<String, Vec<ResourceId>> {
        let mut names: BTreeMap<String, Vec<ResourceId>> = BTreeMap::new();
        for at in 0..self.resources.len() {
            let id = ResourceId(at as u32);
            let resource = self.resource(id);
            if resource.is_primitive() {
                let other = resource.history_name.as_ref().filter(|n| **n != resource.id);
                for name in std::iter::once(&resource.id).chain(other) {
                    names.entry(name.clone()).or_default().push(id);
                }
            }
        }
        names
    }

    fn check_history(&mut self, id: ResourceId, node: NodeId, element: &'c Element) {
        if self.resource(id).is(Flags::ORPHAN) {
            if !self.is_anonymous_clone(self.top_of(id)) {
                self.clean_up(id, node, false);
            }
            return;
        }
        let runs = self.resource(id).running_on.contains(&node);
        if self.agent_changed(id, node, element, runs) {
            self.clean_up(id, node, false);
        }
        if !runs {
            return;
        }
        let operations = self.since_last_start(element);
        let maintenance = self.resource(id).is(Flags::MAINTENANCE) || self.node(node).maintenance;
        let mut compared: Vec<(&str, u64)> = Vec::new();
        for op in operations {
            // What is to begin anew restarts the resource, unless an entry of the same operation came before: what the
            // operation would be now is worked out once, as that entry asks.
            if compared.contains(&(op.task, op.interval_ms)) {
                let entry = op.xml.id().unwrap_or_default();
                self.begun_anew.retain(|(r, n, e)| !(*r == id && *n == node && e == entry));
            } else if op.xml.get("op-restart-digest").is_none() && !self.begins_anew(id, node, &op) {
                compared.push((op.task, op.interval_ms));
            }
            let call = op.xml.get("call-id").unwrap_or_default();
            if op.interval_ms > 0 && maintenance {
                self.cancel_recurring(id, node, op.task, op.interval_ms, call);
            } else if op.interval_ms > 0
                || matches!(op.task, "monitor" | "start" | "promote" | "migrate_from")
            {
                if self.needs_host_name(id) {
                    // Nothing is placed yet.
                    self.deferred_changes.push(DeferredCheck { id, node, operation: op, failure: false });
                } else {
                    self.check_and_forget(id, node, &op);
                }
            }
        }
    }

    /// What was put off until it is known where bundles' containers are.
    pub(super) fn check_deferred_changes(&mut self) {
        for DeferredCheck { id, node, operation, failure } in std::mem::take(&mut self.deferred_changes) {
            if !failure {
                self.check_and_forget(id, node, &operation);
            } else if matches!(
                self.compare_parameters(id, node, &operation),
                Parameters::Changed | Parameters::Restart
            ) {
                self.clear_failures(id, node, "resource parameters have changed");
            }
        }
    }

    /// What failed by a definition that is no more is tried afresh.
    fn check_and_forget(&mut self, id: ResourceId, node: NodeId, op: &Operation<'c>) {
        if self.check_operation(id, node, op) && self.fail_count(id, node, true).0 != cib::Score::ZERO {
            self.clear_failures(id, node, "action definition changed");
        }
    }

    fn begins_anew(&self, id: ResourceId, node: NodeId, op: &Operation<'_>) -> bool {
        let entry = op.xml.id();
        self.begun_anew.iter().any(|(r, n, e)| (*r, *n) == (id, node) && Some(e.as_str()) == entry)
    }

    fn cancel_recurring(&mut self, id: ResourceId, node: NodeId, task: &str, interval_ms: u64, call: &str) {
        let task = self.actions.tasks.task(task);
        let cancel = self.cancel(id, (task, interval_ms), node);
        self.actions[cancel].set_meta("call-id", call);
        self.add_ordering((id, Task::STOP), cancel, Kind::OPTIONAL);
    }

    /// An agent of another class, provider or type than the one that was used: what runs is restarted.
    fn agent_changed(&mut self, id: ResourceId, node: NodeId, element: &Element, runs: bool) -> bool {
        let xml = &self.resource(id).xml;
        let differing = ["type", "class", "provider"].iter().filter(|a| xml.get(a) != element.get(a)).count();
        for _ in 0..differing {
            self.unfence(Some(id), Some(node), "Device definition changed");
        }
        if differing > 0 && runs {
            self.stop(id, node, false);
            self.resource_mut(id).set(Flags::START_PENDING, true);
        }
        differing > 0
    }

    /// Whether an operation of the history would be another one now. Does what that asks for.
    fn check_operation(&mut self, id: ResourceId, node: NodeId, op: &Operation<'c>) -> bool {
        let Operation { task, interval_ms, .. } = *op;
        let known = || self.configured_operation(id, task, interval_ms).is_some_and(|o| self.is_enabled(o));
        if interval_ms > 0 && !known() {
            if self.options.stop_orphan_actions {
                let call = op.xml.get("call-id").unwrap_or_default();
                self.cancel_recurring(id, node, task, interval_ms, call);
            }
            return true;
        }
        let parameters = if self.begins_anew(id, node, op) {
            Parameters::Restart
        } else {
            self.compare_parameters(id, node, op)
        };
        if parameters == Parameters::Unchanged {
            return false;
        }
        if self.without_secrets && self.only_secrets_changed(id, node, op) {
            let name = &self.node(node).name;
            let change = op.xml.get("transition-magic").unwrap_or_default();
            self.messages.push(format!(
                "Only 'private' parameters to {}-interval {task} for {} on {name} changed: {change}",
                readable_interval(interval_ms),
                self.resource(id).id
            ));
            return false;
        }
        // What was done with the parameters of a start is done by a start.
        let task = if interval_ms == 0 && matches!(task, "monitor" | "migrate_from" | "promote") {
            "start"
        } else {
            task
        };
        let reloadable = op.xml.get("op-restart-digest").is_some();
        match parameters {
            Parameters::Restart => self.force_restart(id, node, task, interval_ms),
            _ if interval_ms > 0 => self.reschedule(id, node, task, interval_ms),
            _ if reloadable => {
                self.unfence(Some(id), Some(node), "Device parameters changed (reload)");
                self.reload(id, node);
            }
            _ => self.force_restart(id, node, task, interval_ms),
        }
        true
    }

    /// Restarts a resource because its definition is another one.
    fn force_restart(&mut self, id: ResourceId, node: NodeId, task: &str, interval_ms: u64) {
        let task = self.actions.tasks.task(task);
        let required = self.action(id, (task, interval_ms), None, false);
        self.give_reason(required, "resource definition change", true);
        self.unfence(Some(id), Some(node), "Device parameters changed");
    }

    fn reload(&mut self, id: ResourceId, node: NodeId) {
        let resource = self.resource(id);
        if !resource.is(Flags::MANAGED) || resource.is(Flags::FAILED) {
            return;
        }
        if resource.is(Flags::START_PENDING) {
            self.stop(id, node, false);
            return;
        }
        self.resource_mut(id).set(Flags::RELOAD, true);
        let reload = self.action(id, (Task::RELOAD_AGENT, 0), Some(node), false);
        self.give_reason(reload, "resource definition change", false);
        let kind = Kind::OPTIONAL.with(Kind::THEN_CANCELS_FIRST);
        self.add_ordering(reload, (id, Task::STOP), kind);
        self.add_ordering(reload, (id, Task::DEMOTE), kind);
    }

    fn reschedule(&mut self, id: ResourceId, node: NodeId, task: &str, interval_ms: u64) {
        self.unfence(Some(id), Some(node), "Device parameters changed (reschedule)");
        let task = self.actions.tasks.task(task);
        let action = self.action(id, (task, interval_ms), Some(node), true);
        self.set_is(action, Is::RESCHEDULE);
    }
}

/// An interval in the largest unit that divides it.
fn readable_interval(interval_ms: u64) -> String {
    let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")];
    match units.iter().find(|(unit, _)| interval_ms > 0 && interval_ms.is_multiple_of(*unit)) {
        Some((unit, name)) => format!("{}{name}", interval_ms / unit),
        None if interval_ms == 0 => "0s".to_owned(),
        None => format!("{interval_ms}ms"),
    }
}
