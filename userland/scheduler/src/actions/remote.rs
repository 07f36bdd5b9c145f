//! What is done on remote nodes and guests goes over a connection, which has to be up for it.

use crate::model::{Flags, NodeId, NodeKind, ResourceId, Role, WorkingSet};
use crate::orderings::Kind;

use super::{ActionId, Is, Task};

/// What can be said of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// It has failed, and will not be made again.
    Failed,
    /// It is down, and will be.
    Stopped,
    /// Whether it can be made has to be tried.
    Unknown,
    /// It will be made again from somewhere else.
    Resting,
    Alive,
}

impl WorkingSet<'_> {
    pub(crate) fn connection_state(&self, node: NodeId) -> State {
        let Some(connection) = self.node(node).connection else { return State::Unknown };
        let resource = self.resource(connection);
        let host = self.current_node(connection).map(|n| self.node(n));
        if resource.next_role == Role::Stopped || resource.assigned.is_none() {
            if host.is_some_and(|h| h.unclean) {
                return State::Failed;
            }
            if !resource.is(Flags::FAILED) {
                return State::Stopped;
            }
            let known = self.node(node);
            let wants_down = known.attributes.get("shutdown").is_some_and(|v| v != "0");
            if resource.next_role == Role::Stopped
                && resource.reconnect_ms > 0
                && known.was_fenced
                && !wants_down
            {
                return State::Unknown;
            }
            return State::Failed;
        }
        match host {
            None => State::Unknown,
            Some(host) if host.unclean || !host.online => State::Resting,
            Some(_) if resource.running_on.len() > 1 && resource.partial_migration.is_some() => {
                State::Resting
            }
            Some(_) => State::Alive,
        }
    }

    pub(super) fn order_remote_actions(&mut self) {
        if !self.nodes.iter().any(|n| n.kind == NodeKind::Remote) {
            return;
        }
        for action in self.actions.ids().rev() {
            let known = &self.actions[action];
            let Some(resource) = known.resource else { continue };
            let task = known.task;
            if self.resource(resource).is_connection && task == Task::CLEAR_FAILCOUNT {
                self.add_ordering(action, (resource, Task::START), Kind::OPTIONAL);
                continue;
            }
            let known = &self.actions[action];
            let Some(node) = known.node.filter(|n| self.node(*n).kind == NodeKind::Remote) else { continue };
            if known.is.has(Is::PSEUDO) {
                continue;
            }
            let Some(connection) = self.node(node).connection else { continue };
            if task == Task::START {
                // Should the connection not come up, what moves there stays where it is.
                for stop in self.actions.of(resource).to_vec().into_iter().rev() {
                    let known = &self.actions[stop];
                    if known.task == Task::STOP && known.node != Some(node) {
                        self.add_ordering((connection, Task::START), stop, Kind::OPTIONAL);
                    }
                }
            }
            match self.resource(connection).container {
                Some(container) => self.order_on_guest(action, node, connection, container),
                None => self.order_on_remote(action, node, connection),
            }
        }
    }

    fn after_start(&mut self, connection: ResourceId, action: ActionId, more: Kind) {
        let kind = Kind::PRESERVE.with(Kind::RUNNABLE_FIRST).with(more);
        self.add_ordering((connection, Task::START), action, kind);
    }

    fn before_stop(&mut self, action: ActionId, connection: ResourceId, more: Kind) {
        self.add_ordering(action, (connection, Task::STOP), Kind::PRESERVE.with(more));
    }

    fn order_on_remote(&mut self, action: ActionId, node: NodeId, connection: ResourceId) {
        let state = self.connection_state(node);
        let known = &self.actions[action];
        let recurring = known.interval_ms() > 0;
        match known.task {
            Task::START | Task::PROMOTE => {
                let more = if state == State::Failed { Kind::IMPLIES_THEN } else { Kind::NONE };
                self.after_start(connection, action, more);
            }
            Task::STOP | Task::MIGRATE_TO | Task::MIGRATE_FROM => match state {
                State::Alive => self.before_stop(action, connection, Kind::IMPLIES_FIRST),
                State::Failed => {
                    self.fence_now(node, "resources are active but connection is unrecoverable");
                }
                _ if self.resource(connection).next_role == Role::Stopped => {
                    self.before_stop(action, connection, Kind::IMPLIES_FIRST);
                }
                _ => self.after_start(connection, action, Kind::NONE),
            },
            Task::DEMOTE => {
                if matches!(state, State::Resting | State::Unknown) {
                    self.after_start(connection, action, Kind::NONE);
                }
            }
            _ if recurring => self.after_start(connection, action, Kind::IMPLIES_THEN),
            task => {
                if task == Task::MONITOR && state == State::Failed {
                    let reason = "resources are in unknown state and connection is unrecoverable";
                    self.fence_now(node, reason);
                }
                if self.current_node(connection).is_some() && state == State::Stopped {
                    self.before_stop(action, connection, Kind::RUNNABLE_FIRST);
                } else {
                    self.after_start(connection, action, Kind::NONE);
                }
            }
        }
    }

    fn order_on_guest(
        &mut self,
        action: ActionId,
        node: NodeId,
        connection: ResourceId,
        container: ResourceId,
    ) {
        let failed = self.resource(container).is(Flags::FAILED);
        if failed {
            self.fence_now(node, "container failed");
        }
        let known = &self.actions[action];
        let recurring = known.interval_ms() > 0;
        match known.task {
            Task::START | Task::PROMOTE => {
                self.after_start(container, action, Kind::IMPLIES_THEN);
                self.after_start(connection, action, Kind::NONE);
            }
            Task::STOP | Task::DEMOTE | Task::MIGRATE_TO | Task::MIGRATE_FROM => {
                if !failed {
                    self.before_stop(action, connection, Kind::NONE);
                }
            }
            Task::MONITOR if recurring => self.after_start(connection, action, Kind::IMPLIES_THEN),
            _ if recurring => {}
            _ => self.after_start(connection, action, Kind::NONE),
        }
    }
}
