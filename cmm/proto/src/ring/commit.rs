//! Commit: the representative's token goes round the ring to be, and tells everybody what each one brings.

use std::collections::VecDeque;

use holdfast_types::{Boottime, NodeId, RingId, TokenSeq};

use super::recovery::Recovery;
use super::timer::Timer;
use super::turn::Turn;
use super::{Ring, State};
use crate::wire::{Commit, CommitEntry, NodeSet};
use crate::{Destination, Event};

/// A ring that is being formed: its member list is fixed for ever, in the commit token.
#[derive(Debug)]
pub(super) struct Forming {
    pub(super) turn: Turn,
    /// The commit token as it left here last, or as it will when the reservation is durable.
    token: Commit,
    /// It leaves when the ring's number is durably reserved.
    waiting: bool,
    /// Its last encoding, for retransmission.
    sent: Vec<Vec<u8>>,
    /// What is to be exchanged; known in Recovery.
    pub(super) recovery: Option<Recovery>,
}

/// Parts of a commit token that does not fit one packet.
#[derive(Debug, Default)]
pub(super) struct Parts(VecDeque<Commit>);

impl Parts {
    /// The whole token, when `part` is the last one missing.
    fn add(&mut self, part: Commit) -> Option<Commit> {
        if part.entries.len() == part.members.len() {
            return Some(part);
        }
        let id = |p: &Commit| (p.ring, p.token_seq);
        if self.0.front().is_some_and(|p| id(p) != id(&part) || p.members != part.members) {
            self.0.clear();
        }
        match self.0.binary_search_by_key(&part.first, |p| p.first) {
            Ok(_) => return None,
            Err(at) => self.0.insert(at, part),
        }
        if self.0.iter().map(|p| p.entries.len()).sum::<usize>() < self.0.front()?.members.len() {
            return None;
        }
        let mut whole = self.0.pop_front()?;
        for part in self.0.drain(..) {
            whole.entries.extend(part.entries);
        }
        Some(whole)
    }
}

impl Ring {
    /// As representative: all of `members` agree, they become a ring.
    pub(super) fn start_commit(&mut self, now: Boottime, members: NodeSet) {
        let id = RingId { representative: self.me, seq: self.reservation.next() };
        self.enter_commit(now, Commit::new(id, members));
    }

    /// To Commit with a token that lacks this node's entry.
    fn enter_commit(&mut self, now: Boottime, mut token: Commit) {
        self.reservation.take(token.ring.seq);
        self.reserve();
        self.state = State::Commit;
        for timer in [Timer::Join, Timer::Consensus] {
            self.timers.stop(timer);
        }
        self.timers.set(Timer::TokenLoss, now + self.config.settings.timers.token);
        self.stats.commit_entered += 1;
        self.event(Event::EnterCommit);
        let at = token.members.position(self.me).expect("a ring to be has this node in it");
        token.entries[at] = Some(self.entry());
        let turn = Turn::new(token.ring, token.members.clone(), self.flow());
        self.forming = Some(Forming { turn, token, waiting: true, sent: Vec::new(), recovery: None });
        self.resume_commit(now);
    }

    /// What this node brings. From now on it takes no frame of the old ring but those sent again on the new one, or
    /// this entry would be wrong.
    fn entry(&self) -> CommitEntry {
        let window = &self.installed.window;
        CommitEntry {
            old_ring: self.installed.id,
            aru: window.aru(),
            high: window.high(),
            safe: self.installed.safe,
            obligations: self.obligations,
        }
    }

    /// Passes the commit token on, if it waited for the ring's number to be durable and that is so.
    pub(super) fn resume_commit(&mut self, now: Boottime) {
        let Some(forming) = &mut self.forming else { return };
        if !forming.waiting || !self.reservation.is_durable(forming.turn.id.seq) {
            return;
        }
        forming.waiting = false;
        if forming.turn.is_alone() {
            self.enter_recovery(now);
            self.start_token(now);
        } else {
            self.pass_commit(now);
        }
    }

    fn pass_commit(&mut self, now: Boottime) {
        let Some(forming) = &mut self.forming else { return };
        forming.token.token_seq = TokenSeq::new(forming.token.token_seq.get() + 1);
        forming.sent = forming.token.encode();
        self.send_commit(now);
    }

    /// The commit token, for the first time or again.
    pub(super) fn send_commit(&mut self, now: Boottime) {
        let Some(forming) = &self.forming else { return };
        let to = forming.turn.members.after(self.me).expect("a ring has members");
        for frame in forming.sent.clone() {
            self.send(Destination::Node(to), true, frame);
        }
        // It is rare and everybody waits for it: sent again as often as a join would be.
        let again = self.config.settings.timers.token_retransmit.min(self.config.settings.timers.join);
        self.timers.set(Timer::TokenRetransmit, now + again);
    }

    pub(super) fn handle_commit(&mut self, now: Boottime, from: NodeId, part: Commit) {
        self.reservation.hear(part.ring.seq);
        let Some(place) = part.members.position(self.me) else { return };
        if part.members.before(self.me) != Some(from) {
            return;
        }
        let pass = part.token_seq.get();
        let (first, second) = (place as u64, (part.members.len() + place) as u64);
        let expected = match self.state {
            State::Gather => {
                place > 0
                    && pass == first
                    && part.ring.seq > self.reservation.used()
                    && part.members == self.gather.live()
            }
            State::Commit => pass == second && self.is_forming(&part),
            // Back at the representative for the second time: everybody is in Recovery.
            State::Recovery => place == 0 && pass == 2 * second && self.is_forming(&part),
            State::Operational | State::Left => false,
        };
        if !expected {
            return;
        }
        let Some(whole) = self.parts.add(part) else { return };
        match self.state {
            State::Gather => {
                let (before, rest) = whole.entries.split_at(place);
                if before.iter().all(Option::is_some) && rest.iter().all(Option::is_none) {
                    self.enter_commit(now, whole);
                }
            }
            State::Commit => {
                let Some(forming) = &mut self.forming else { return };
                if whole.is_full() && whole.entry(self.me) == forming.token.entry(self.me) && !forming.waiting
                {
                    forming.token = whole;
                    self.enter_recovery(now);
                    self.pass_commit(now);
                }
            }
            State::Recovery => {
                if self.forming.as_ref().is_some_and(|f| !f.turn.has_sent()) {
                    self.start_token(now);
                }
            }
            State::Operational | State::Left => {}
        }
    }

    fn is_forming(&self, part: &Commit) -> bool {
        self.forming.as_ref().is_some_and(|f| f.turn.id == part.ring && f.turn.members == part.members)
    }

    fn enter_recovery(&mut self, now: Boottime) {
        self.state = State::Recovery;
        self.timers.set(Timer::TokenLoss, now + self.config.settings.timers.token);
        self.stats.recovery_entered += 1;
        self.event(Event::EnterRecovery);
        let Some(forming) = &mut self.forming else { return };
        forming.recovery = Some(Recovery::plan(&forming.token, self.me, &self.installed));
    }

    /// As representative: everybody is in Recovery, the ring's first token starts.
    fn start_token(&mut self, now: Boottime) {
        let Some(Forming { turn, token: commit, .. }) = &self.forming else { return };
        let token = super::recovery::first_token(turn.id, commit);
        self.visit(now, token, true);
    }

    /// Sends the last token again: nothing was heard that proves its arrival.
    pub(super) fn retransmit_token(&mut self, now: Boottime) {
        let turn = match &mut self.forming {
            Some(forming) => &mut forming.turn,
            None => &mut self.installed,
        };
        let Some(frame) = turn.resend() else { return self.send_commit(now) };
        let to = turn.members.after(self.me).expect("a ring has members");
        let again = now + turn.resend_after(self.config.settings.timers.token_retransmit);
        self.send(Destination::Node(to), true, frame);
        self.timers.set(Timer::TokenRetransmit, again);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(members: u32, pass: u64) -> Commit {
        let members: NodeSet = (1..=members).map(NodeId::new).collect();
        let mut token = Commit::new(RingId { representative: NodeId::new(1), seq: 3 }, members);
        token.token_seq = TokenSeq::new(pass);
        token
    }

    fn parts(token: &Commit) -> Vec<Commit> {
        token.encode().iter().map(|frame| Commit::decode(frame).unwrap()).collect()
    }

    #[test]
    fn parts_make_a_whole_in_any_order_and_doubled() {
        let token = token(50, 1);
        let split = parts(&token);
        assert_eq!(split.len(), 4);
        let mut buffer = Parts::default();
        for n in [2, 0, 2, 3] {
            assert_eq!(buffer.add(split[n].clone()), None);
        }
        assert_eq!(buffer.add(split[1].clone()), Some(token));
    }

    #[test]
    fn parts_of_two_passes_do_not_mix() {
        let (first, second) = (token(20, 1), token(20, 2));
        let mut buffer = Parts::default();
        assert_eq!(buffer.add(parts(&first)[0].clone()), None);
        assert_eq!(buffer.add(parts(&second)[1].clone()), None);
        assert_eq!(buffer.add(parts(&first)[1].clone()), None);
        assert_eq!(buffer.add(parts(&second)[0].clone()), None);
        assert_eq!(buffer.add(parts(&second)[1].clone()), Some(second));
    }

    #[test]
    fn a_small_token_is_whole_at_once() {
        assert!(Parts::default().add(token(16, 1)).is_some());
    }
}
