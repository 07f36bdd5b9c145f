//! Closed process groups: one table of (group, node, pid) on every node, changed only by ordered messages and by the
//! exchange of local lists after a membership change; and the state of each local connection.
//!
//! | state | join | leave | mcast | events of its group |
//! |---|---|---|---|---|
//! | unjoined | → joining | `NotExist` | `NotExist` | no |
//! | joining | `Exist` | `Busy` | taken | no |
//! | joined | `Exist` | → leaving | taken | yes |
//! | leaving | `Busy` | `NotExist` | `NotExist` | yes, its own leave is the last |
//!
//! The daemon answers nothing to a plain multicast, so there `NotExist` means that it is dropped. Corosync never
//! returns a connection that has left to *unjoined*; here it does, as libcpg's callers expect.

use holdfast_types::{ConnId, NodeId, RingId};
use std::collections::{BTreeMap, BTreeSet};

use super::messages::Message;
use crate::Bytes;
use crate::api::{CpgEvent, CpgFragment, GroupMember, GroupName, GroupReason, Refusal};
use crate::limits::{GROUP_MEMBERS_MAX, GROUP_NAME_MAX, LOCAL_PROCESSES_MAX, PAYLOAD_MAX};

/// Events for local connections, in order.
pub type Events = Vec<(ConnId, CpgEvent)>;

/// The service on one node.
pub struct Cpg {
    me: NodeId,
    conns: BTreeMap<ConnId, Conn>,
    groups: BTreeMap<GroupName, BTreeSet<GroupMember>>,
    /// Nodes whose processes the table holds: those of the last synchronised membership, less those lost since.
    known: BTreeSet<NodeId>,
    /// Nodes lost since the last synchronisation, also when they are back.
    gone: BTreeSet<NodeId>,
    /// The first synchronisation is over.
    synced: bool,
    /// Local processes whose connection is gone while their leave is on its way.
    leaving: BTreeSet<(GroupName, u32)>,
}

#[derive(Default)]
struct Conn {
    at: Option<Place>,
    /// A confchg was sent since the first fragment of the message being sent.
    interrupted: bool,
}

struct Place {
    group: GroupName,
    pid: u32,
    state: ConnState,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum ConnState {
    Joining,
    Joined,
    Leaving,
}

impl Cpg {
    /// Empty.
    #[must_use]
    pub fn new(me: NodeId) -> Self {
        Self {
            me,
            conns: BTreeMap::new(),
            groups: BTreeMap::new(),
            known: BTreeSet::from([me]),
            gone: BTreeSet::new(),
            synced: false,
            leaving: BTreeSet::new(),
        }
    }

    /// A connection that gets totem confchgs from now on. Optional: a join does the same.
    pub fn connect(&mut self, conn: ConnId) {
        self.conns.entry(conn).or_default();
    }

    /// Checks a join. On success the message must go out; then [`Cpg::started`].
    ///
    /// # Errors
    /// By the table above; `Exist` and `TryAgain` also for another connection of the same process and group.
    pub fn join<'a>(&self, conn: ConnId, pid: u32, group: &'a [u8]) -> Result<Message<'a>, Refusal> {
        if group.len() > GROUP_NAME_MAX {
            return Err(Refusal::NameTooLong);
        }
        match self.place(conn).map(|p| p.state) {
            Some(ConnState::Joining | ConnState::Joined) => return Err(Refusal::Exist),
            Some(ConnState::Leaving) => return Err(Refusal::Busy),
            None => {}
        }
        let places = || self.conns.values().filter_map(|c| c.at.as_ref());
        if let Some(other) = places().find(|p| p.pid == pid && *p.group == *group) {
            return Err(if other.state == ConnState::Leaving { Refusal::TryAgain } else { Refusal::Exist });
        }
        let member = GroupMember { node: self.me, pid };
        let members = self.groups.get(group);
        if members.is_some_and(|m| m.contains(&member))
            || self.leaving.iter().any(|(g, p)| *p == pid && **g == *group)
        {
            return Err(Refusal::TryAgain);
        }
        let joining = places().filter(|p| p.state == ConnState::Joining && *p.group == *group).count();
        if members.map_or(0, BTreeSet::len) + joining >= GROUP_MEMBERS_MAX
            || places().count() + self.leaving.len() >= LOCAL_PROCESSES_MAX
        {
            return Err(Refusal::TooBig);
        }
        Ok(Message::Join { pid, group })
    }

    /// The join of `conn` is on its way.
    pub fn started(&mut self, conn: ConnId, pid: u32, group: &[u8]) {
        let group = self.name(group);
        let place = Place { group, pid, state: ConnState::Joining };
        *self.conns.entry(conn).or_default() = Conn { at: Some(place), interrupted: false };
    }

    /// Checks a leave. On success the message must go out; then [`Cpg::leaves`].
    ///
    /// # Errors
    /// By the table above.
    pub fn leave(&self, conn: ConnId) -> Result<Message<'_>, Refusal> {
        let place = self.place(conn).ok_or(Refusal::NotExist)?;
        match place.state {
            ConnState::Joining => Err(Refusal::Busy),
            ConnState::Leaving => Err(Refusal::NotExist),
            ConnState::Joined => {
                Ok(Message::Leave { pid: place.pid, group: &place.group, reason: GroupReason::Leave })
            }
        }
    }

    /// The leave of `conn` is on its way.
    pub fn leaves(&mut self, conn: ConnId) {
        if let Some(place) = self.conns.get_mut(&conn).and_then(|c| c.at.as_mut()) {
            place.state = ConnState::Leaving;
        }
    }

    /// Checks a multicast, or one fragment of it.
    ///
    /// # Errors
    /// By the table above; `Interrupt` for a fragment after a confchg, `TooBig`, `InvalidParam`.
    pub fn mcast<'a>(
        &'a mut self,
        conn: ConnId,
        fragment: Option<CpgFragment>,
        payload: &'a [u8],
    ) -> Result<Message<'a>, Refusal> {
        if payload.len() > PAYLOAD_MAX {
            return Err(Refusal::TooBig);
        }
        let conn = self.conns.get_mut(&conn).ok_or(Refusal::NotExist)?;
        let place = conn.at.as_ref().filter(|p| p.state != ConnState::Leaving).ok_or(Refusal::NotExist)?;
        match fragment.map(|f| f.position) {
            None => {}
            Some(1) => conn.interrupted = false,
            Some(2 | 3) if conn.interrupted => return Err(Refusal::Interrupt),
            Some(2 | 3) => {}
            Some(_) => return Err(Refusal::InvalidParam),
        }
        Ok(Message::Mcast { pid: place.pid, group: &place.group, fragment, payload })
    }

    /// Forgets a connection. What is returned must reach the others, now or as soon as the ring takes it.
    pub fn disconnect(&mut self, conn: ConnId) -> Option<(GroupName, u32)> {
        let place = self.conns.remove(&conn)?.at?;
        let process = (place.group, place.pid);
        self.leaving.insert(process.clone());
        (place.state != ConnState::Leaving).then_some(process)
    }

    /// A join in its place of the order.
    pub fn deliver_join(&mut self, sender: NodeId, pid: u32, group: &[u8], events: &mut Events) {
        let member = GroupMember { node: sender, pid };
        let name = self.name(group);
        if !self.known.contains(&sender) || !self.groups.entry(name.clone()).or_default().insert(member) {
            self.drop_if_empty(&name);
            return;
        }
        if sender == self.me {
            let joining = |p: &&mut Place| p.pid == pid && p.group == name && p.state == ConnState::Joining;
            if let Some(place) = self.conns.values_mut().filter_map(|c| c.at.as_mut()).find(joining) {
                place.state = ConnState::Joined;
            }
        }
        self.confchg(&name, vec![], vec![(member, GroupReason::Join)], events);
    }

    /// A leave in its place of the order.
    pub fn deliver_leave(
        &mut self,
        sender: NodeId,
        pid: u32,
        group: &[u8],
        reason: GroupReason,
        events: &mut Events,
    ) {
        let member = GroupMember { node: sender, pid };
        let name = self.name(group);
        if self.groups.get_mut(&name).is_some_and(|members| members.remove(&member)) {
            self.confchg(&name, vec![(member, reason)], vec![], events);
        }
        if sender == self.me {
            // The connection itself has had its own leave as its last event.
            for conn in self.conns.values_mut() {
                let own = |p: &Place| p.pid == pid && p.group == name && p.state == ConnState::Leaving;
                if conn.at.as_ref().is_some_and(own) {
                    conn.at = None;
                }
            }
            self.leaving.remove(&(name.clone(), pid));
        }
        self.drop_if_empty(&name);
    }

    /// A multicast in its place of the order. What comes from a process that is not in the table is dropped: its
    /// node was never synchronised with this one, or is known no more.
    pub fn deliver_mcast(
        &mut self,
        sender: NodeId,
        pid: u32,
        group: &[u8],
        fragment: Option<CpgFragment>,
        payload: &Bytes,
        events: &mut Events,
    ) {
        let sender = GroupMember { node: sender, pid };
        let Some((name, _)) = self.groups.get_key_value(group).filter(|(_, m)| m.contains(&sender)) else {
            return;
        };
        let event = |conn| {
            (conn, CpgEvent::Deliver { group: name.clone(), sender, fragment, payload: payload.clone() })
        };
        events.extend(self.listeners(name).map(event));
    }

    /// A regular configuration lost these nodes, or they come with another history.
    pub fn lost(&mut self, left: &[NodeId]) {
        for node in left {
            self.known.remove(node);
            self.gone.insert(*node);
        }
    }

    /// The local processes whose joins were delivered, for the exchange.
    #[must_use]
    pub fn local(&self) -> Vec<(Vec<u8>, u32)> {
        let of_group = |(name, members): (&GroupName, &BTreeSet<GroupMember>)| {
            let mine = members.iter().filter(|m| m.node == self.me);
            mine.map(|m| (name.to_vec(), m.pid)).collect::<Vec<_>>()
        };
        self.groups.iter().flat_map(of_group).collect()
    }

    /// All lists are here: makes the table what they say, and tells local connections the difference in the order
    /// NODEDOWN, NODEUP, PROCDOWN, then the ring. Returns who joined and who was lost since the last time.
    pub fn synchronise<'a>(
        &mut self,
        ring: RingId,
        lists: impl IntoIterator<Item = (NodeId, &'a [(Vec<u8>, u32)])>,
        events: &mut Events,
    ) -> (Vec<NodeId>, Vec<NodeId>) {
        let mut wanted: BTreeMap<GroupName, BTreeSet<GroupMember>> = BTreeMap::new();
        let mut members = BTreeSet::new();
        for (node, list) in lists {
            members.insert(node);
            for (group, pid) in list {
                wanted.entry(self.name(group)).or_default().insert(GroupMember { node, pid: *pid });
            }
        }
        // A node missing from the membership without having been announced as lost cannot be; be safe all the same.
        let left: BTreeSet<NodeId> =
            self.gone.iter().chain(self.known.iter().filter(|n| !members.contains(n))).copied().collect();
        // This node knows itself from its start, but the first synchronisation is where it joins.
        let new = |n: &NodeId| !self.known.contains(n) || left.contains(n) || (*n == self.me && !self.synced);
        let joined: Vec<NodeId> = members.iter().copied().filter(new).collect();

        self.remove(|m| left.contains(&m.node), GroupReason::NodeDown, events);
        for (name, processes) in &wanted {
            let table = self.groups.entry(name.clone()).or_default();
            let up: Vec<_> = processes.difference(table).map(|m| (*m, GroupReason::NodeUp)).collect();
            table.extend(up.iter().map(|(m, _)| *m));
            if !up.is_empty() {
                self.confchg(name, vec![], up, events);
            }
        }
        let me = self.me;
        let listed = |m: &GroupMember, name: &GroupName| wanted.get(name).is_some_and(|w| w.contains(m));
        let vanished: Vec<(GroupName, GroupMember)> = self
            .groups
            .iter()
            .flat_map(|(name, table)| table.iter().map(move |m| (name.clone(), *m)))
            .filter(|(name, m)| m.node != me && !listed(m, name))
            .collect();
        for (name, member) in vanished {
            if let Some(table) = self.groups.get_mut(&name) {
                table.remove(&member);
            }
            self.confchg(&name, vec![(member, GroupReason::ProcDown)], vec![], events);
        }
        self.groups.retain(|_, table| !table.is_empty());

        let nodes: Vec<NodeId> = members.iter().copied().collect();
        for conn in self.conns.keys() {
            events.push((*conn, CpgEvent::Totem { ring, members: nodes.clone() }));
        }
        self.synced = true;
        self.known = members;
        self.gone.clear();
        (joined, left.into_iter().collect())
    }

    /// All groups by name, members by node, then pid.
    #[must_use]
    pub fn snapshot(&self) -> Vec<(GroupName, Vec<GroupMember>)> {
        self.groups.iter().map(|(name, members)| (name.clone(), members.iter().copied().collect())).collect()
    }

    /// Members of one group.
    #[must_use]
    pub fn members(&self, group: &[u8]) -> Vec<GroupMember> {
        self.groups.get(group).map(|m| m.iter().copied().collect()).unwrap_or_default()
    }

    fn remove(&mut self, gone: impl Fn(&GroupMember) -> bool, reason: GroupReason, events: &mut Events) {
        let names: Vec<GroupName> = self.groups.keys().cloned().collect();
        for name in names {
            let Some(table) = self.groups.get_mut(&name) else { continue };
            let left: Vec<_> = table.iter().filter(|m| gone(m)).map(|m| (*m, reason)).collect();
            if left.is_empty() {
                continue;
            }
            table.retain(|m| !gone(m));
            self.confchg(&name, left, vec![], events);
            self.drop_if_empty(&name);
        }
    }

    /// Tells the local members of `group`. libcpg copies each list into an array of [`GROUP_MEMBERS_MAX`] without
    /// looking: a longer change is told in parts, and of more members than that the first ones.
    fn confchg(
        &mut self,
        group: &GroupName,
        left: Vec<(GroupMember, GroupReason)>,
        joined: Vec<(GroupMember, GroupReason)>,
        events: &mut Events,
    ) {
        let listeners: Vec<ConnId> = self.listeners(group).collect();
        if listeners.is_empty() {
            return;
        }
        let members: Vec<GroupMember> =
            self.groups.get(group).into_iter().flatten().take(GROUP_MEMBERS_MAX).copied().collect();
        let parts = left.len().max(joined.len()).div_ceil(GROUP_MEMBERS_MAX).max(1);
        let part = |list: &[(GroupMember, GroupReason)], i: usize| {
            list.chunks(GROUP_MEMBERS_MAX).nth(i).unwrap_or_default().to_vec()
        };
        for id in listeners {
            if let Some(conn) = self.conns.get_mut(&id) {
                conn.interrupted = true;
            }
            for i in 0..parts {
                let event = CpgEvent::Confchg {
                    group: group.clone(),
                    members: members.clone(),
                    left: part(&left, i),
                    joined: part(&joined, i),
                };
                events.push((id, event));
            }
        }
    }

    fn listeners(&self, group: &[u8]) -> impl Iterator<Item = ConnId> {
        let listens = |p: &Place| *p.group == *group && p.state != ConnState::Joining;
        self.conns.iter().filter(move |(_, c)| c.at.as_ref().is_some_and(listens)).map(|(id, _)| *id)
    }

    fn place(&self, conn: ConnId) -> Option<&Place> {
        self.conns.get(&conn)?.at.as_ref()
    }

    fn drop_if_empty(&mut self, group: &[u8]) {
        if self.groups.get(group).is_some_and(BTreeSet::is_empty) {
            self.groups.remove(group);
        }
    }

    /// The shared copy of a group's name.
    fn name(&self, group: &[u8]) -> GroupName {
        self.groups.get_key_value(group).map_or_else(|| group.into(), |(name, _)| name.clone())
    }
}

#[cfg(test)]
mod tests;
