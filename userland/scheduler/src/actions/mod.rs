//! What has to be done so that the cluster becomes what was decided, in the order in which it is thought of, which is the
//! order of the numbers in the graph.

mod changes;
mod collective;
mod dot;
mod fencing;
mod graph;
mod migration;
mod notify;
mod primitive;
mod probes;
mod recurring;
mod remote;
mod table;
mod task;

pub(crate) use notify::Notice;
pub(crate) use table::{ActionId, Actions, Edge, Is, Key, Needs};
pub(crate) use task::Task;

use crate::model::{Flags, Order, ResourceId, Variant, WorkingSet};
use crate::orderings::Kind;

/// Exit statuses of agents: it does not run, it runs and is promoted.
const NOT_RUNNING: u8 = 7;
const PROMOTED: u8 = 8;

impl WorkingSet<'_> {
    /// Everything that has to be done, with what comes before what. After [`Self::place`].
    pub fn schedule(&mut self) {
        self.check_deferred_changes();
        self.create_probes();
        if self.options.stop_orphans {
            for id in self.top.clone() {
                self.clear_failures_of_orphan(id);
            }
        }
        for id in self.top.clone() {
            self.create_actions(id);
        }
        self.order_remote_actions();
        self.create_fencing_and_shutdowns();
        self.apply_orderings();
    }

    pub(crate) fn create_actions(&mut self, id: ResourceId) {
        match self.resource(id).variant {
            Variant::Primitive => self.create_primitive_actions(id),
            Variant::Group => self.create_group_actions(id),
            Variant::Clone(_) => self.create_clone_actions(id),
            Variant::Bundle(_) => self.create_bundle_actions(id),
        }
    }

    /// Makes actions of what reading the history has asked for.
    pub(crate) fn carry_out_orders(&mut self) {
        while let Some(order) = self.orders.get(self.actions.orders_done).cloned() {
            self.actions.orders_done += 1;
            match order {
                // Places are looked at before anything is placed.
                Order::Stop { resource, node, required } => {
                    self.stop(resource, node, !required);
                }
                Order::Demote { resource, node } => {
                    self.action(resource, (Task::DEMOTE, 0), Some(node), false);
                }
                Order::Fence { node, reason } => {
                    // Whether it has to be done is decided once it is known whether it can be.
                    self.fence_action(node, None, true, Some(&reason));
                }
                Order::ClearHistory { resource, node } => self.clear_history(resource, node),
                Order::ClearFailures { resource, node, reason } => {
                    let clear = self.clear_failures(resource, node, reason);
                    let remote = self.node_named(&self.resource(resource).id);
                    if let Some(remote) = remote.filter(|_| self.options.fencing)
                        && self.resource(resource).reconnect_ms > 0
                    {
                        // Of a connection that is tried again only so often, once its node was fenced.
                        let fencing = self.fence_action(remote, None, true, None);
                        self.order(fencing, clear, Kind::IMPLIES_THEN);
                    }
                }
                Order::Recurring { resource, node, task, interval_ms } => {
                    let task = self.actions.tasks.task(&task);
                    self.action(resource, (task, interval_ms), Some(node), true);
                }
            }
        }
    }

    /// What is there of a resource's actions when it turns out that it has no node.
    pub(crate) fn keep_down(&mut self, id: ResourceId) {
        for at in (0..self.actions.of(id).len()).rev() {
            let action = self.actions.of(id)[at];
            let known = &self.actions[action];
            match known.task {
                Task::STOP => self.clear_is(action, Is::OPTIONAL),
                Task::START => self.clear_is(action, Is::RUNNABLE),
                // Recurring operations, but for those of what is stopped.
                _ if known.interval_ms() > 0 && known.expected != Some(NOT_RUNNING) => {
                    self.clear_is(action, Is::RUNNABLE);
                }
                _ => {}
            }
        }
    }

    pub(crate) fn stop(&mut self, id: ResourceId, node: crate::model::NodeId, optional: bool) -> ActionId {
        self.action(id, (Task::STOP, 0), Some(node), optional)
    }

    pub(crate) fn start(&mut self, id: ResourceId, optional: bool) -> ActionId {
        let node = self.resource(id).assigned;
        self.action(id, (Task::START, 0), node, optional)
    }

    /// Lets the cluster forget what a resource did on a node.
    pub(crate) fn clear_history(&mut self, id: ResourceId, node: crate::model::NodeId) {
        self.action(id, (Task::LRM_DELETE, 0), Some(node), false);
    }

    /// Lets the controller forget the failures of a resource.
    pub(crate) fn clear_failures(
        &mut self,
        id: ResourceId,
        node: crate::model::NodeId,
        reason: &str,
    ) -> ActionId {
        let clear = self.action(id, (Task::CLEAR_FAILCOUNT, 0), Some(node), false);
        self.actions[clear].set_meta("op_no_wait", "true");
        self.give_reason(clear, reason, true);
        clear
    }

    fn clear_failures_of_orphan(&mut self, id: ResourceId) {
        if !self.resource(id).is(Flags::ORPHAN) {
            return;
        }
        for node in self.by_name.clone() {
            if self.node(node).online && self.fail_count(id, node, true).0 != cib::Score::ZERO {
                let clear = self.clear_failures(id, node, "it is orphaned");
                self.add_ordering(clear, (id, Task::STOP), Kind::OPTIONAL);
            }
        }
    }
}
