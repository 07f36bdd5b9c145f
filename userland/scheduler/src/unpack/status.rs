//! The status section: tickets, the states of nodes, then their histories, in passes: what is known of a remote node depends
//! on what the history of others says of its connection.

use cib::{Element, Score, parse_bool};

use crate::model::{Flags, NoQuorumPolicy, NodeId, NodeKind, Order, ResourceId, Role, Ticket, WorkingSet};

/// A failed operation, for reports.
#[derive(Clone, Debug)]
pub struct Failed<'c> {
    /// Name of the operation's resource, as the history has it.
    pub resource: String,
    /// The node's name.
    pub node: String,
    /// Key of the operation, as `db_monitor_10000`.
    pub key: String,
    /// Its exit status.
    pub rc: i32,
    /// It was a probe.
    pub probe: bool,
    /// It only says that the resource cannot be there: no failure that anybody has to know of.
    pub(crate) masked: bool,
    /// The entry.
    pub(crate) xml: &'c Element,
}

impl<'c> WorkingSet<'c> {
    pub(super) fn read_status(&mut self, status: &'c Element) {
        for element in &status.children {
            match element.name.as_str() {
                "tickets" => self.read_tickets(element),
                "node_state" => self.read_node_state(element),
                _ => {}
            }
        }
        while self.read_histories(status, false) {}
        if self.options.fencing {
            self.read_histories(status, true);
        } else {
            self.read_histories(status, false);
        }
        for container in std::mem::take(&mut self.containers_to_stop).into_iter().rev() {
            if let Some(node) = self.current_node(container) {
                self.order_stop(container, node);
            }
        }
        self.conclude_remote_nodes();
    }

    fn read_tickets(&mut self, tickets: &Element) {
        for state in tickets.children_named("ticket_state") {
            let Some(id) = state.id() else { continue };
            let flag = |name: &str| state.get(name).and_then(parse_bool).unwrap_or(false);
            let last_granted = state.get("last-granted").map(|v| v.trim().parse().unwrap_or(0));
            let ticket = Ticket { granted: flag("granted"), standby: flag("standby"), last_granted };
            self.tickets.insert(id.to_owned(), ticket);
        }
    }

    fn read_node_state(&mut self, state: &'c Element) {
        let Some(node) = self.node_of(state) else { return };
        if self.node(node).kind == NodeKind::Remote {
            // Since when, in seconds.
            let fenced =
                state.get("node_fenced").and_then(|v| v.parse::<i64>().ok()).is_some_and(|at| at != 0);
            let told = state.get("node_in_maintenance").and_then(parse_bool).unwrap_or(false);
            let known = self.node_mut(node);
            (known.was_fenced, known.told_maintenance) = (fenced, told);
            return;
        }
        self.read_transient_attributes(node, state);
        let known = self.node_mut(node);
        (known.unclean, known.unseen) = (false, false);
        self.judge_node(node, state);
        let policy = self.options.no_quorum_policy;
        if !self.have_quorum && self.node(node).online && policy == NoQuorumPolicy::Suicide {
            self.fence(node, "cluster does not have quorum");
        }
    }

    fn node_of(&self, state: &Element) -> Option<NodeId> {
        self.find_node(state.id().unwrap_or_default(), state.get("uname").unwrap_or_default())
    }

    fn read_transient_attributes(&mut self, node: NodeId, state: &Element) {
        self.add_attributes(node, state.child("transient_attributes"), true);
        let flag = |name: &str| self.node(node).attributes.get(name).and_then(|v| parse_bool(v));
        let (standby, maintenance) = (flag("standby") == Some(true), flag("maintenance") == Some(true));
        let known = self.node_mut(node);
        known.standby |= standby;
        known.maintenance |= maintenance;
    }

    /// Whether a member is there, and whether it is as it should be.
    fn judge_node(&mut self, node: NodeId, state: &Element) {
        let get = |name: &str| state.get(name).map(str::to_owned);
        let member = get("in_ccm").map(|v| is_up(&v, "member"));
        let peer_up = get("crmd").is_some_and(|v| is_up(&v, "online"));
        let join = get("join");
        let expected_down = get("expected").is_none_or(|e| e == "down");
        let attribute = |name: &str| self.node(node).attributes.get(name).map(String::as_str);
        let shutdown = attribute("shutdown").is_some_and(|v| v != "0");
        let expected_up = !shutdown && get("expected").as_deref() == Some("member");
        let terminate = attribute("terminate").is_some_and(|v| {
            parse_bool(v).unwrap_or_else(|| v.starts_with(|c: char| ('1'..='9').contains(&c)))
        });
        {
            let known = self.node_mut(node);
            known.shutdown = shutdown;
            known.expected_up = expected_up;
        }
        if self.node(node).kind == NodeKind::Ping {
            self.node_mut(node).score = Score::MINUS_INFINITY;
            return;
        }
        if !self.options.fencing {
            let in_membership = member.unwrap_or(false);
            if !in_membership {
                // It is not there.
            } else if peer_up {
                let online = join.as_deref() == Some("member");
                self.node_mut(node).online = online;
            } else if expected_up {
                self.fence(node, "peer is unexpectedly down");
            }
            self.take_out_of_contention(node);
            return;
        }
        let mut online = member.unwrap_or(false);
        let mut pending = false;
        let lost = "peer is no longer part of the cluster";
        let reason = if shutdown {
            online = peer_up;
            None
        } else if member.is_none() {
            Some("peer has not been seen by the cluster")
        } else if join.as_deref() == Some("banned") {
            Some("peer failed Pacemaker membership criteria")
        } else if !terminate && expected_down {
            pending = online || peer_up;
            None
        } else if terminate && join.as_deref() == Some("down") && !online && !peer_up {
            None
        } else if !online {
            Some(lost)
        } else if !peer_up {
            Some("peer process is no longer available")
        } else if terminate {
            Some("termination was requested")
        } else {
            match join.as_deref() {
                Some("member") => None,
                Some("pending" | "down") => {
                    pending = true;
                    None
                }
                _ => Some("peer was in an unknown state"),
            }
        };
        {
            let known = self.node_mut(node);
            known.online = online;
            known.pending |= pending;
            known.standby |= pending;
        }
        if let Some(reason) = reason {
            self.node_mut(node).lost = reason == lost && !self.node(node).unclean;
            self.fence(node, reason);
        }
        self.take_out_of_contention(node);
    }

    /// Nothing is placed on a node that is not there, or about to leave.
    fn take_out_of_contention(&mut self, node: NodeId) {
        let known = self.node_mut(node);
        if !known.online || known.shutdown {
            known.score = Score::MINUS_INFINITY;
        }
    }

    /// Reads the histories that can be read by now. Whether there were any.
    fn read_histories(&mut self, status: &'c Element, all: bool) -> bool {
        let mut found = false;
        for state in status.children_named("node_state") {
            let Some(node) = self.node_of(state) else { continue };
            if self.node(node).unpacked || !(all || self.can_be_read(node)) {
                continue;
            }
            if self.node(node).kind == NodeKind::Remote {
                self.judge_remote_node(node);
                self.read_remote_attributes(node, state);
            }
            self.read_history(node, state);
            self.node_mut(node).unpacked = true;
            found = true;
        }
        found
    }

    fn can_be_read(&self, node: NodeId) -> bool {
        let runs = |id: ResourceId| self.resource(id).role == Role::Started;
        let known = self.node(node);
        if known.kind == NodeKind::Remote {
            let Some(connection) = known.connection else { return false };
            return match self.resource(connection).container {
                Some(container) => runs(connection) && runs(container),
                None => runs(connection) || self.options.shutdown_lock,
            };
        }
        known.online || self.options.fencing || self.options.shutdown_lock
    }

    fn read_remote_attributes(&mut self, node: NodeId, state: &Element) {
        let known = self.node_mut(node);
        if !known.requires_reset {
            (known.unclean, known.unseen) = (false, false);
        }
        self.read_transient_attributes(node, state);
        let attribute = |name: &str| self.node(node).attributes.get(name).map(String::as_str);
        let shutdown = attribute("shutdown").is_some_and(|v| v != "0");
        let unmanaged = self.node(node).connection.is_some_and(|c| !self.resource(c).is(Flags::MANAGED));
        let no_discovery = attribute("resource-discovery-enabled").and_then(parse_bool) == Some(false);
        let discovery = !(no_discovery && (self.is_guest(node) || self.options.fencing));
        let known = self.node_mut(node);
        known.shutdown |= shutdown;
        known.maintenance |= unmanaged;
        known.discovery = discovery;
    }

    /// Whether a remote node or guest is there, by what is known of its connection and container.
    pub(super) fn judge_remote_node(&mut self, node: NodeId) {
        let Some(connection) = self.node(node).connection else {
            self.node_mut(node).online = false;
            return;
        };
        let resource = self.resource(connection);
        let container = resource.container.map(|c| self.resource(c));
        let host = match (&container, &resource.running_on[..]) {
            (Some(_), [host]) => Some(self.node(*host)),
            _ => None,
        };
        let started = resource.role == Role::Started;
        let stopping = started && resource.next_role == Role::Stopped;
        let (online, reset) = if container.is_some_and(|c| c.is(Flags::FAILED)) {
            (Some(false), Some(true))
        } else if resource.is(Flags::FAILED) {
            (Some(false), None)
        } else if resource.role == Role::Stopped || container.is_some_and(|c| c.role == Role::Stopped) {
            (Some(false), Some(false))
        } else if host.is_some_and(|h| !h.online && h.unclean) {
            (Some(false), Some(true))
        } else {
            (started.then_some(true), None)
        };
        let known = self.node_mut(node);
        known.online = online.unwrap_or(known.online);
        known.requires_reset = reset.unwrap_or(known.requires_reset);
        known.shutdown |= stopping;
    }

    fn conclude_remote_nodes(&mut self) {
        for at in 0..self.by_name.len() {
            let node = self.by_name[at];
            if self.node(node).kind != NodeKind::Remote {
                continue;
            }
            if let (true, Some(connection)) = (self.node(node).shutdown, self.node(node).connection) {
                self.resource_mut(connection).next_role = Role::Stopped;
            }
            if !self.node(node).unpacked {
                self.judge_remote_node(node);
            }
        }
    }

    /// A node has to be fenced: its guest's container recovered, or the node itself taken down.
    pub(crate) fn fence(&mut self, node: NodeId, reason: &str) {
        let connection = self.node(node).connection;
        if self.is_guest(node) {
            let container = connection.and_then(|c| self.resource(c).container);
            let Some(container) = container else { return };
            if !self.resource(container).is(Flags::FAILED) && self.resource(container).is(Flags::MANAGED) {
                self.node_mut(node).requires_reset = true;
                self.resource_mut(container).set(Flags::FAILED | Flags::MUST_STOP, true);
            }
        } else if self.is_remote(node) {
            let managed = connection.is_none_or(|c| self.resource(c).is(Flags::MANAGED));
            let known = self.node_mut(node);
            known.requires_reset |= managed;
            known.unclean = true;
            self.orders.push(Order::Fence { node, reason: reason.to_owned() });
        } else if !self.node(node).unclean {
            self.node_mut(node).unclean = true;
            self.orders.push(Order::Fence { node, reason: reason.to_owned() });
        }
    }
}

/// As a word, a boolean, or since when (0: not).
fn is_up(value: &str, word: &str) -> bool {
    value == word || parse_bool(value).unwrap_or_else(|| value.parse::<i64>().is_ok_and(|since| since > 0))
}
