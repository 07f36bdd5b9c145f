//! Simulated clients of each daemon: an observer that stays in the main group, and others that come, join, leave and
//! crash; what they send, and what they check of what they are told.

use cmm_proto::{GroupMember, GroupName, GroupReason, Guarantee, Request};
use holdfast_types::ConnId;

use crate::clock::MS;
use crate::cluster::{Accepted, Cluster, Event};
use crate::oracle::{Delivery, GroupChange, MessageFacts, MessageId, Violation, What};
use crate::sabotage::Bug;
use crate::trace::hash_bytes;

/// The groups: the main one first. Names are bytes, and may contain NUL or what is not UTF-8.
const GROUPS: [&[u8]; 3] = [b"sim", b"other\0", b"\xff\x00\x80"];
/// The connection of each node's observer.
pub const OBSERVER: ConnId = ConnId::new(1);
/// A client that is told to try again does so after this long.
const RETRY: u64 = 40 * MS;
/// Clients of one daemon, the observer included.
const SLOTS: u32 = 4;
/// Pid of the client in slot 0. The same in every life, as in a container.
const PID: u32 = 1_000;
/// Bytes in front of each message that is long enough to say which one it is.
const ID_LEN: usize = 24;
const MAGIC: [u8; 4] = *b"HFsm";

/// Clients of one daemon.
#[derive(Debug, Default)]
pub(crate) struct Clients {
    list: Vec<Client>,
    connections: u64,
}

/// One client.
#[derive(Clone, Debug)]
struct Client {
    conn: ConnId,
    slot: u32,
    group: usize,
    state: State,
    /// The daemon knows of the connection.
    known: bool,
    sent: u32,
}

/// State of a connection, as in the client ABI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Unjoined,
    Joining,
    Joined,
    Leaving,
}

impl Clients {
    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    fn of(&mut self, conn: ConnId) -> Option<&mut Client> {
        self.list.iter_mut().find(|c| c.conn == conn)
    }

    fn connect(&mut self, slot: u32, group: usize) -> ConnId {
        self.connections += 1;
        let conn = ConnId::new(self.connections);
        self.list.push(Client { conn, slot, group, state: State::Unjoined, known: false, sent: 0 });
        conn
    }

    /// Members of each group that this daemon's clients make up, as they see it themselves.
    pub(crate) fn joined(&self) -> impl Iterator<Item = (&'static [u8], u32)> {
        self.list.iter().filter(|c| c.state == State::Joined).map(|c| (GROUPS[c.group], PID + c.slot))
    }

    fn observes(&self) -> bool {
        self.list.iter().any(|c| c.conn == OBSERVER && c.state == State::Joined)
    }
}

impl Cluster {
    /// The daemon serves clients from now on: the observer and one more come, and load begins.
    pub(crate) fn first_clients(&mut self, n: usize) {
        let Some(running) = self.machines[n].running.as_mut() else { return };
        let life = running.life;
        // A group has at most 128 members: of many nodes only the observers are in the main one.
        let many = self.options.nodes.len() > 32;
        running.clients.connect(0, 0);
        running.clients.connect(1, if many { 1 } else { 0 });
        self.agenda.at(self.now, Event::Connect { node: n, life });
        let load = self.options.load;
        if !self.healed && load.mcast_every > 0 {
            let at = self.now + self.load.exponential(load.mcast_every);
            self.agenda.at(at, Event::Multicast { node: n, life });
        }
        if !self.healed && load.churn_every > 0 {
            let at = self.now + self.load.exponential(load.churn_every);
            self.agenda.at(at, Event::Churn { node: n, life });
        }
    }

    /// Every client that should be in its group and is not asks to join.
    pub(crate) fn connect(&mut self, n: usize) -> Result<(), Violation> {
        let Some(running) = self.machines[n].running.as_ref() else { return Ok(()) };
        let life = running.life;
        let idle: Vec<ConnId> =
            running.clients.list.iter().filter(|c| c.state == State::Unjoined).map(|c| c.conn).collect();
        let mut again = self.machines[n].paused.is_some();
        for conn in idle {
            again = again || !self.join(n, conn)?;
        }
        if again {
            self.agenda.at(self.now + RETRY, Event::Connect { node: n, life });
        }
        Ok(())
    }

    fn join(&mut self, n: usize, conn: ConnId) -> Result<bool, Violation> {
        let Some(client) = self.client(n, conn) else { return Ok(true) };
        let (group, slot) = (client.group, client.slot);
        let known = std::mem::replace(&mut client.known, true);
        client.state = State::Joining;
        if !known && let Some(life) = self.machines[n].running.as_ref().map(|r| r.life) {
            self.observe(life, What::ClientCame(conn))?;
            if self.submit(n, Request::CpgConnect { conn })? == Accepted(false) && self.lives(n, life) {
                let seen = format!("node {} refuses connection {conn}", self.machines[n].id);
                return Err(self.liveness("L3", "each acknowledged request finishes", seen));
            }
        }
        let request = Request::CpgJoin { conn, pid: PID + slot, group: GROUPS[group] };
        let accepted = self.submit(n, request)? == Accepted(true);
        if !accepted && let Some(client) = self.client(n, conn) {
            client.state = State::Unjoined;
        }
        Ok(accepted)
    }

    fn client(&mut self, n: usize, conn: ConnId) -> Option<&mut Client> {
        self.machines[n].running.as_mut()?.clients.of(conn)
    }

    /// One or more multicasts of a client of machine `n`; then some time later again.
    pub(crate) fn multicast_some(&mut self, n: usize) -> Result<(), Violation> {
        let load = self.options.load;
        let Some(life) = self.machines[n].running.as_ref().map(|r| r.life) else { return Ok(()) };
        if self.healed {
            return Ok(());
        }
        let at = self.now + self.load.exponential(load.mcast_every).max(1);
        self.agenda.at(at, Event::Multicast { node: n, life });
        let count = if self.load.chance(load.burst) { self.load.between(2, 64) } else { 1 };
        for _ in 0..count {
            let Some(running) = self.machines[n].running.as_ref().filter(|r| r.life == life) else {
                return Ok(());
            };
            if self.machines[n].paused.is_some() || running.clients.is_empty() {
                return Ok(());
            }
            let which = self.load.index(running.clients.list.len());
            let conn = running.clients.list[which].conn;
            let len = match self.load.below(100) {
                _ if self.load.chance(load.large) => self.load.between(8_192, 65_536),
                0..5 => self.load.below(ID_LEN as u64),
                5..85 => self.load.between(ID_LEN as u64, 300),
                _ => self.load.between(ID_LEN as u64, 8_192),
            };
            let guarantee = if self.load.chance(load.safe) { Guarantee::Safe } else { Guarantee::Agreed };
            self.multicast(n, conn, guarantee, usize::try_from(len).unwrap_or(0))?;
        }
        Ok(())
    }

    /// A client multicasts a message of `len` bytes; says which one if it was accepted and is long enough to tell.
    ///
    /// # Errors
    /// The first invariant that does not hold.
    pub fn multicast(
        &mut self,
        n: usize,
        conn: ConnId,
        guarantee: Guarantee,
        len: usize,
    ) -> Result<Option<MessageId>, Violation> {
        let Some(running) = self.machines[n].running.as_mut() else { return Ok(None) };
        let (life, observed) = (running.life, running.clients.observes());
        let Some(client) = running.clients.of(conn) else { return Ok(None) };
        if !matches!(client.state, State::Joining | State::Joined) {
            return Ok(None);
        }
        let number = client.sent + 1;
        let (slot, group, state) = (client.slot, client.group, client.state);
        let id = MessageId { life, conn, number };
        let payload = compose(id, len);
        let sender = GroupMember { node: self.machines[n].id, pid: PID + slot };
        let facts = MessageFacts {
            sender,
            node: n,
            main: group == 0 && observed && state == State::Joined,
            guarantee,
            hash: hash_bytes(0, &payload),
            after: self.oracle.history.lives[life]
                .last_message
                .filter(|(ring, _)| group == 0 && self.oracle.history.lives[life].ring == Some(*ring)),
        };
        // Known before it is handed in: its delivery may come out of the same call.
        let hash = facts.hash;
        if len >= ID_LEN {
            self.oracle.history.messages.insert(id, facts);
        } else {
            self.oracle.history.anonymous.insert((sender, hash));
        }
        let forget = !self.healed && self.saboteur.strikes(Bug::ForgetMessages, 50_000);
        let request =
            Request::CpgMcast { conn, guarantee, fragment: None, past_gate: false, payload: &payload };
        let accepted = forget || self.submit(n, request)? == Accepted(true);
        if !accepted {
            self.oracle.history.messages.remove(&id);
            return Ok(None);
        }
        self.counters.submitted += 1;
        if let Some(client) = self.client(n, conn) {
            client.sent = number;
        }
        Ok((len >= ID_LEN).then_some(id))
    }

    /// A client of machine `n` other than the observer comes, leaves or crashes; then some time later again.
    pub(crate) fn churn(&mut self, n: usize) -> Result<(), Violation> {
        let Some(life) = self.machines[n].running.as_ref().map(|r| r.life) else { return Ok(()) };
        if self.healed {
            return Ok(());
        }
        let at = self.now + self.load.exponential(self.options.load.churn_every).max(1);
        self.agenda.at(at, Event::Churn { node: n, life });
        if self.machines[n].paused.is_some() {
            return Ok(());
        }
        if self.load.chance(50_000) {
            let on = self.machines[n].running.as_ref().is_some_and(|r| !r.participant);
            return self.participate(n, on);
        }
        let slot = u32::try_from(self.load.between(1, u64::from(SLOTS) - 1)).unwrap_or(1);
        let Some(running) = self.machines[n].running.as_mut().filter(|r| !r.leaving) else { return Ok(()) };
        let Some(client) = running.clients.list.iter().find(|c| c.slot == slot).cloned() else {
            let group = match self.load.index(GROUPS.len()) {
                _ if self.options.nodes.len() > 32 => {
                    if slot == 1 {
                        1
                    } else {
                        2
                    }
                }
                any => any,
            };
            let conn = running.clients.connect(slot, group);
            return self.join_or_again(n, conn);
        };
        match (client.state, self.load.below(3)) {
            (State::Unjoined, _) => self.join_or_again(n, client.conn),
            (State::Joined, 0) => self.leave_group(n, client.conn),
            (_, 1) => self.disconnect(n, client.conn),
            _ => Ok(()),
        }
    }

    fn join_or_again(&mut self, n: usize, conn: ConnId) -> Result<(), Violation> {
        if !self.join(n, conn)?
            && let Some(life) = self.machines[n].running.as_ref().map(|r| r.life)
        {
            self.agenda.at(self.now + RETRY, Event::Connect { node: n, life });
        }
        Ok(())
    }

    fn leave_group(&mut self, n: usize, conn: ConnId) -> Result<(), Violation> {
        if let Some(client) = self.client(n, conn) {
            client.state = State::Leaving;
        }
        if self.submit(n, Request::CpgLeave { conn })? == Accepted(false)
            && let Some(client) = self.client(n, conn)
        {
            client.state = State::Joined;
        }
        Ok(())
    }

    /// A client dies, or closes its connection without leaving.
    pub(crate) fn disconnect(&mut self, n: usize, conn: ConnId) -> Result<(), Violation> {
        let Some(running) = self.machines[n].running.as_mut() else { return Ok(()) };
        let life = running.life;
        running.clients.list.retain(|c| c.conn != conn);
        self.observe(life, What::ClientGone(conn))?;
        if self.saboteur.strikes(Bug::GhostClient, 500_000) {
            return Ok(());
        }
        // The daemon sees the end of a connection whatever it is busy with: it may not refuse.
        if self.submit(n, Request::CpgDisconnect { conn })? == Accepted(false) && self.lives(n, life) {
            let seen = format!("node {} refuses to see that connection {conn} is gone", self.machines[n].id);
            return Err(self.liveness("L3", "each acknowledged request finishes", seen));
        }
        Ok(())
    }

    pub(crate) fn client_delivery(
        &mut self,
        n: usize,
        conn: ConnId,
        group: &GroupName,
        sender: GroupMember,
        payload: &[u8],
    ) -> Result<(), Violation> {
        let hash = hash_bytes(0, payload);
        self.trace.mix(&[hash, sender.node.get().into(), sender.pid.into()]);
        let message = parse(payload);
        let id = self.machines[n].id.get();
        self.trace.line(self.now, Some(id), || {
            format!("delivers to {conn} of {sender:?} {message:?}, {} bytes", payload.len())
        });
        let Some(running) = self.machines[n].running.as_mut() else { return Ok(()) };
        let life = running.life;
        let Some(client) = running.clients.of(conn) else {
            return self.stranger(n, conn, "a delivery");
        };
        if GROUPS[client.group] != &group[..] || !matches!(client.state, State::Joined | State::Leaving) {
            return self.stranger(n, conn, "a delivery of a group it is not in");
        }
        let group = u8::try_from(client.group).unwrap_or(u8::MAX);
        let delivery = Delivery { conn, observer: conn == OBSERVER, group, sender, message, hash };
        self.observe(life, What::Delivered(&delivery))
    }

    pub(crate) fn client_change(
        &mut self,
        n: usize,
        conn: ConnId,
        group: &GroupName,
        members: &[GroupMember],
        left: &[(GroupMember, GroupReason)],
        joined: &[(GroupMember, GroupReason)],
    ) -> Result<(), Violation> {
        self.trace.mix(&[members.len() as u64, left.len() as u64, joined.len() as u64]);
        let node = self.machines[n].id;
        let Some(running) = self.machines[n].running.as_mut() else { return Ok(()) };
        let life = running.life;
        let Some(client) = running.clients.of(conn) else {
            return self.stranger(n, conn, "a change");
        };
        let me = GroupMember { node, pid: PID + client.slot };
        if GROUPS[client.group] != &group[..] || client.state == State::Unjoined {
            return self.stranger(n, conn, "a change of a group it is not in");
        }
        if joined.iter().any(|(m, _)| *m == me) && client.state == State::Joining {
            client.state = State::Joined;
        } else if left.iter().any(|(m, _)| *m == me) {
            client.state = State::Unjoined;
        }
        let group = u8::try_from(client.group).unwrap_or(u8::MAX);
        let observer = conn == OBSERVER;
        let change = GroupChange { conn, me, observer, group, members, left, joined };
        self.observe(life, What::Group(&change))
    }

    fn stranger(&self, n: usize, conn: ConnId, what: &str) -> Result<(), Violation> {
        Err(Violation {
            kind: crate::oracle::ViolationKind::Safety,
            name: "M12",
            claim: "a connection is told of its own group only, and nothing once it is gone",
            seen: format!("node {}: {what} for connection {conn}", self.machines[n].id),
            at: self.now,
        })
    }
}

/// A message's bytes: which one it is, then what follows from that; a short one is only a run of one byte.
fn compose(id: MessageId, len: usize) -> Vec<u8> {
    if len < ID_LEN {
        return vec![id.number.to_le_bytes()[0]; len];
    }
    let mut bytes = Vec::with_capacity(len + 8);
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&u32::try_from(id.life).unwrap_or(u32::MAX).to_le_bytes());
    bytes.extend_from_slice(&id.conn.get().to_le_bytes());
    bytes.extend_from_slice(&id.number.to_le_bytes());
    bytes.extend_from_slice(&u32::try_from(len).unwrap_or(u32::MAX).to_le_bytes());
    let mut word = hash_bytes(7, &bytes);
    while bytes.len() < len {
        bytes.extend_from_slice(&word.to_le_bytes());
        word = word.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31);
    }
    bytes.truncate(len);
    bytes
}

/// Which message the bytes claim to be.
fn parse(bytes: &[u8]) -> Option<MessageId> {
    let (head, _) = bytes.split_first_chunk::<ID_LEN>()?;
    let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let conn = u64::from(word(8)) | u64::from(word(12)) << 32;
    let life = usize::try_from(word(4)).ok()?;
    Some(MessageId { life, conn: ConnId::new(conn), number: word(16) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_says_which_one_it_is() {
        let id = MessageId { life: 70_000, conn: ConnId::new(1 << 40), number: 9 };
        for len in [24, 25, 4_000] {
            assert_eq!(parse(&compose(id, len)), Some(id));
            assert_eq!(compose(id, len).len(), len);
        }
        assert_eq!(parse(&compose(id, 23)), None);
    }
}
