//! What a node asks of the order, and what it does with what comes out of it.
//!
//! Messages of services that come before the exchange of their ring is complete are held back: until then members of
//! different histories do not agree on who is in which group. They take effect, in order, when it is complete; or, if
//! the ring ends before, at its end, among those that were synchronised with each other before. Both points are the
//! same for all members that go on together.
//!
//! What changes votes is void in any other ring than the one it was asked in (`wish.rs` asks again), and takes two
//! phases: see [`crate::quorum::change`].

use std::collections::BTreeMap;

use holdfast_types::{Boottime, Incarnation, NodeId};

use super::Node;
use crate::Bytes;
use crate::api::{Event, GroupReason, Guarantee, NodeListNotice, Output, Refusal, Request};
use crate::quorum::change::Change;
use crate::ring;
use crate::service::cpg::Events;
use crate::service::messages::{Message, State, Testimony};

impl Node {
    pub(super) fn take(&mut self, now: Boottime, request: Request<'_>) -> Result<(), Refusal> {
        match request {
            Request::CpgConnect { conn } => self.cpg.connect(conn),
            Request::CpgJoin { conn, pid, group } => {
                let (open, message) = (self.ready(), self.cpg.join(conn, pid, group)?);
                open?;
                self.ring.enqueue(Guarantee::Agreed, |out| message.encode_into(out))?;
                self.cpg.started(conn, pid, group);
            }
            Request::CpgLeave { conn } => {
                let (open, message) = (self.ready(), self.cpg.leave(conn)?);
                open?;
                self.ring.enqueue(Guarantee::Agreed, |out| message.encode_into(out))?;
                self.cpg.leaves(conn);
            }
            Request::CpgMcast { conn, guarantee, fragment, past_gate, payload } => {
                let open = if past_gate { self.in_order() } else { self.ready() };
                let message = self.cpg.mcast(conn, fragment, payload)?;
                open?;
                self.ring.enqueue(guarantee, |out| message.encode_into(out))?;
            }
            Request::CpgDisconnect { conn } => {
                if let Some((group, pid)) = self.cpg.disconnect(conn) {
                    let leave = Message::Leave { pid, group: &group, reason: GroupReason::ProcDown };
                    self.pending.push_back(leave.encode());
                }
            }
            Request::SetExpectedVotes(votes) => self.wish(now, Change::Expected(votes))?,
            Request::SetVotes { node, votes } => self.wish(now, Change::Votes { node, votes })?,
            Request::CancelWaitForAll => {
                let message = Message::CancelWaitForAll { ring: self.ring_id };
                self.order(&message)?;
            }
            Request::Maintain { whose, on } => self.ask_to_maintain(whose, on)?,
            Request::ConfirmDeath { node, incarnation, why } => {
                if self.config.nodes.binary_search_by_key(&node, |n| n.id).is_err() {
                    return Err(Refusal::NameNotFound);
                }
                let known = self.lives.get(&node).copied().unwrap_or_default();
                if node == self.config.me || incarnation.is_some_and(|life| life > known) {
                    return Err(Refusal::InvalidParam);
                }
                if incarnation.is_none() && self.members.contains(&node) {
                    // Which life is meant: the one that is a member, or the one before it?
                    return Err(Refusal::Busy);
                }
                let incarnation = incarnation.unwrap_or(known);
                self.pending.push_back(Message::ConfirmDeath { node, incarnation, why }.encode());
            }
            Request::StepDone { epoch, step } => self.reconfig.userland_done(epoch, step)?,
            Request::DataDisks(disks) => self.reconfig.set_disks(disks),
            Request::StepParticipant(takes_part) => self.reconfig.participant(takes_part),
            Request::SetLinks { links, moved } => {
                links.check().map_err(|_| Refusal::InvalidParam)?;
                self.links.change(now, links, moved)?;
            }
            Request::KillNode { node, why } => {
                if !self.members.contains(&node) {
                    return Err(Refusal::NotExist);
                }
                self.pending.push_back(Message::KillNode { node, why }.encode());
            }
            Request::Testify(testimony) => {
                if !self.members.contains(&testimony.node) {
                    return Err(Refusal::NotExist);
                }
                if self.lives.get(&testimony.node).is_none_or(|life| testimony.life >= *life) {
                    return Err(Refusal::InvalidParam);
                }
                self.order(&Message::Testimony(testimony))?;
            }
            Request::FormAnew => self.ring.form_anew(now),
            Request::Reload => self.order(&Message::Reload)?,
            Request::Reread(settings) => self.reread(now, settings)?,
            Request::SetTable(table) => self.set_table(table)?,
            Request::SetDevice(device) => self.set_device(now, device)?,
            Request::ChangeKey => self.ask_for_key(),
            Request::Leave => self.leave(now),
        }
        Ok(())
    }

    fn leave(&mut self, now: Boottime) {
        self.quorum.resign("this node leaves");
        self.quorum.update(now, &mut self.outputs);
        self.ring.leave(now);
        while let Some(output) = self.ring.poll_output() {
            self.handle_ring(now, output);
        }
        self.left = true;
        self.outputs.push_back(Output::Left);
    }

    /// Whether clients' messages are taken now.
    pub(super) fn ready(&self) -> Result<(), Refusal> {
        if self.gate_open { Ok(()) } else { Err(Refusal::TryAgain) }
    }

    /// Whether messages of clients get a place in the order, if the queue has room.
    fn in_order(&self) -> Result<(), Refusal> {
        let operational = self.ring.state() == ring::State::Operational;
        if operational && self.reconfig.is_synchronised() && !self.left {
            Ok(())
        } else {
            Err(Refusal::TryAgain)
        }
    }

    /// Queues a client's message.
    pub(super) fn order(&mut self, message: &Message<'_>) -> Result<(), Refusal> {
        self.ready()?;
        self.ring.enqueue(Guarantee::Agreed, |out| message.encode_into(out))
    }

    /// Hands to the ring what waits for it: first what drives the reconfiguration, and when that is synchronised what
    /// must go out some time.
    pub(super) fn flush_queues(&mut self, now: Boottime) {
        self.ring.set_in_round(self.reconfig.step() != Some(crate::reconfig::END));
        while let Some((ring, guarantee, message)) = self.control.front() {
            if *ring == self.ring_id && self.ring.submit(now, *guarantee, message).is_err() {
                return;
            }
            self.control.pop_front();
        }
        while let Some(message) = self.pending.front().filter(|_| self.reconfig.is_synchronised()) {
            if self.ring.submit(now, Guarantee::Agreed, message).is_err() {
                return;
            }
            self.pending.pop_front();
        }
    }

    /// The gate is shut during a membership change, while something of our own waits, and from three quarters of the
    /// queue down to half of it.
    pub(super) fn move_gate(&mut self) {
        let level_max = if self.gate_open { GATE_SHUTS_AT } else { GATE_OPENS_BELOW };
        let open = self.in_order().is_ok() && self.pending.is_empty() && self.ring.queue_level() < level_max;
        if open != self.gate_open {
            self.gate_open = open;
            self.outputs.push_back(Output::Gate { open });
        }
    }

    /// A message in its place of the order.
    pub(super) fn deliver(&mut self, now: Boottime, sender: NodeId, payload: Bytes) {
        let Ok(message) = Message::decode(&payload) else {
            return self.event(Event::MessageSkipped { sender });
        };
        self.counts.note(&message, sender == self.config.me);
        match message {
            Message::State(state) => self.reconfig.deliver_state(sender, state),
            Message::StepDone { ring, epoch, step } => {
                self.reconfig.deliver_done(now, sender, ring, epoch, step);
            }
            Message::StepAgain { ring, round } => self.reconfig.deliver_again(now, ring, round),
            Message::ConfirmDeath { node, incarnation, why } => self.confirm(now, node, incarnation, why),
            Message::KillNode { node, why } => {
                if node == self.config.me {
                    self.take_down(format!("killed by node {sender}: {why}"));
                }
            }
            _ if self.reconfig.is_synchronised() => return self.apply(now, sender, &message, &payload, true),
            _ => return self.held_back.push_back((sender, payload)),
        }
        self.carry_out(now);
    }

    /// Lets what was held back take effect.
    pub(super) fn drain_held_back(&mut self, now: Boottime, synchronised: bool) {
        for (sender, payload) in std::mem::take(&mut self.held_back) {
            if let Ok(message) = Message::decode(&payload) {
                self.apply(now, sender, &message, &payload, synchronised);
            }
        }
    }

    /// A message of a service takes effect. One that changes votes does so only in the configuration that it was asked
    /// and checked in: what was right for a majority can make two of it when it comes late.
    fn apply(
        &mut self,
        now: Boottime,
        sender: NodeId,
        message: &Message<'_>,
        bytes: &Bytes,
        synchronised: bool,
    ) {
        let mut events = std::mem::take(&mut self.events);
        match *message {
            Message::Join { pid, group } => self.cpg.deliver_join(sender, pid, group, &mut events),
            Message::Leave { pid, group, reason } => {
                self.cpg.deliver_leave(sender, pid, group, reason, &mut events);
            }
            Message::Mcast { pid, group, fragment, payload } => {
                let payload = bytes.part(payload);
                self.cpg.deliver_mcast(sender, pid, group, fragment, &payload, &mut events);
            }
            Message::Reload => {
                self.reload_delivered();
                self.outputs.push_back(Output::Reload { by: sender });
            }
            Message::Reread { ring, number, digest } if synchronised && ring == self.ring_id => {
                self.reread_delivered(now, sender, number, digest);
            }
            Message::Table { ring, digest } if synchronised && ring == self.ring_id => {
                self.table_delivered(sender, digest);
            }
            Message::SetExpected { ring, votes } if synchronised && ring == self.ring_id => {
                self.prepare(sender, Change::Expected(votes));
            }
            Message::SetVotes { ring, node, votes } if synchronised && ring == self.ring_id => {
                self.prepare(sender, Change::Votes { node, votes });
            }
            Message::VotesReady { ring, number } if synchronised && ring == self.ring_id => {
                if let Some(change) = self.changes.ready(number, sender, &self.members) {
                    self.quorum.commit(now, change, &mut self.outputs);
                    self.wish_made(change);
                    self.table_changed();
                    self.consider_table();
                }
            }
            Message::Absent { ring, least, ref who } if synchronised && ring == self.ring_id => {
                self.absent_delivered(least, who);
            }
            Message::Maintain { ring, whose, on } if synchronised && ring == self.ring_id => {
                self.maintain_delivered(whose, on);
            }
            Message::Testimony(Testimony { node, life, news, at, text }) => {
                if node == self.config.me && life < self.config.incarnation {
                    self.event(Event::Testimony { by: sender, life, news, at, text: text.to_owned() });
                }
            }
            Message::CancelWaitForAll { ring } if synchronised && ring == self.ring_id => {
                self.quorum.cancel_wait_for_all(now, &mut self.outputs);
                self.consider_table();
            }
            _ => self.event(Event::MessageSkipped { sender }),
        }
        self.tell_clients(&mut events);
        self.events = events;
    }

    /// A change of votes, delivered. What is not sane by now, or comes while another one is under way, is dropped by all
    /// members alike.
    fn prepare(&mut self, sender: NodeId, change: Change) {
        let prepared = !self.changes.is_running() && self.quorum.prepare(change);
        self.changes.delivered(change, prepared);
        if !prepared {
            self.wish_dropped(sender);
            self.event(Event::MessageSkipped { sender });
        }
    }

    /// Says of changes of votes that they are prepared here, once no older configuration counts any more.
    pub(super) fn say_ready(&mut self, now: Boottime) {
        if !self.quorum.is_ready(now) {
            return;
        }
        if let Some(number) = self.changes.take_unsaid() {
            let ready = Message::VotesReady { ring: self.ring_id, number }.encode();
            self.control.push_back((self.ring_id, Guarantee::Agreed, ready));
        }
    }

    fn tell_clients(&mut self, events: &mut Events) {
        self.outputs.extend(events.drain(..).map(|(conn, event)| Output::Cpg { conn, event }));
    }

    /// The states of all members are here: the same place of the order on each of them.
    pub(super) fn synchronise(&mut self, now: Boottime, states: &BTreeMap<NodeId, State>) {
        self.learn(now, states);
        let mut events = Events::new();
        let lists = states.iter().map(|(node, state)| (*node, &state.joined[..]));
        let (joined, left) = self.cpg.synchronise(self.ring_id, lists, &mut events);
        self.tell_clients(&mut events);
        self.quorum.synchronised(now, self.ring_id, states);
        self.synced_ring = Some(self.ring_id);
        self.tables_stated(states);
        self.outputs.push_back(Output::NodeList(NodeListNotice {
            ring: self.ring_id,
            members: self.members.clone(),
            joined,
            left,
        }));
        self.drain_held_back(now, true);
    }

    /// What the members know of lives and deaths, everyone takes over.
    fn learn(&mut self, now: Boottime, states: &BTreeMap<NodeId, State>) {
        for (node, state) in states {
            self.note_life(*node, state.incarnation);
            // A member on another boot than an earlier life of it that any member has met.
            let met = states.values().flat_map(|s| &s.lives);
            let before = met
                .filter(|(n, life, boot)| n == node && *life < state.incarnation && *boot != state.boot_id);
            if let Some(life) = before.map(|(_, life, _)| *life).max() {
                self.confirm(now, *node, life, "its machine has booted again");
            }
            self.note_boot(*node, state.incarnation, state.boot_id);
        }
        for state in states.values() {
            let listed = |(node, ..): &&(NodeId, Incarnation)| self.is_listed(*node);
            let confirmed: Vec<_> = state.confirmed.iter().filter(listed).collect();
            for (node, life) in confirmed {
                self.confirm(now, *node, *life, "known to other members");
            }
            for (node, life, boot) in &state.lives {
                if self.is_listed(*node) && self.lives.get(node) < Some(life) {
                    self.note_life(*node, *life);
                    self.note_boot(*node, *life, *boot);
                }
            }
        }
    }
}

/// Percent of the ring's queue at which clients have to wait.
const GATE_SHUTS_AT: u8 = 75;
/// Percent of the ring's queue below which they may go on.
const GATE_OPENS_BELOW: u8 = 50;
