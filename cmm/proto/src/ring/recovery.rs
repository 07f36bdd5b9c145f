//! Recovery: members that come from the same old ring give each other its frames, then all install the new one.
//!
//! The members of one old ring among the new ring's are a *group*; the group of this node is its transitional set.
//! What a group holds together is known by the end of Recovery to each of its members, and each of them derives the
//! same deliveries from it:
//!
//! 1. in the old regular configuration, in order, up to the first frame that nobody in the group has, or the first safe
//!    one that is not known to have reached all of the old ring;
//! 2. the transitional configuration;
//! 3. the rest in order; behind a hole only frames of those in the group, and of those that a member of the group has
//!    the duty to deliver: what they sent cannot depend on what is missing, for they did not have it either;
//! 4. the new regular configuration.
//!
//! A member that has everything takes on the duty to deliver as its group does, before it lets anyone know. From then
//! on another one may install the ring and deliver; if this node loses the ring it keeps the duty, into the next one.
//! Where nobody lacks anything from the start there is no hole either, and so no duty to keep.

use std::collections::{BTreeSet, VecDeque};

use arrayvec::ArrayVec;
use holdfast_types::{Boottime, MsgSeq, NodeId, RingId, TokenSeq};

use super::timer::Timer;
use super::turn::Turn;
use super::window::Frame;
use super::{Ring, RingOutput, State};
use crate::limits::NODES_MAX;
use crate::wire::{Commit, CommitEntry, Mcast, NodeSet, RecoveryProgress, Token};
use crate::{Bytes, Configuration, ConfigurationKind, Event, Guarantee};

/// What this node's group exchanges.
#[derive(Debug)]
pub(super) struct Recovery {
    /// The group.
    transitional: NodeSet,
    /// Whose frames are delivered behind a hole.
    deliver: NodeSet,
    /// All in the group have all up to here.
    low: MsgSeq,
    /// Highest frame that anybody in the group has.
    end: MsgSeq,
    /// Known to have reached all of the old ring.
    safe: MsgSeq,
    /// Old frames that this node may have to send again.
    queue: VecDeque<MsgSeq>,
    /// Old frames that came over the new ring: no need to send them once more.
    seen: BTreeSet<MsgSeq>,
}

impl Recovery {
    pub(super) fn plan(commit: &Commit, me: NodeId, old: &Turn) -> Self {
        let group: ArrayVec<(NodeId, CommitEntry), NODES_MAX> =
            group(commit, old.id).map(|(id, entry)| (id, *entry)).collect();
        let transitional: NodeSet = group.iter().map(|(id, _)| *id).collect();
        let low = group.iter().map(|(_, e)| e.aru).min().unwrap_or_default();
        let end = group.iter().map(|(_, e)| e.high).max().unwrap_or_default();
        let top = group.iter().map(|(_, e)| e.aru).max().unwrap_or_default();
        let duties = group.iter().fold(0, |mask, (_, e)| mask | e.obligations);
        let mut deliver = old.members.of_mask(duties);
        deliver.merge(&transitional);
        // Up to `top` one member has everything: the first such one sends it. Beyond, anyone may hold anything.
        let sends_known = group.iter().find(|(_, e)| e.aru == top).is_some_and(|(id, _)| *id == me);
        let from = if sends_known { low } else { top };
        let mut plan = Self {
            transitional,
            deliver,
            low,
            end,
            safe: group.iter().map(|(_, e)| e.safe).max().unwrap_or_default(),
            queue: VecDeque::new(),
            seen: BTreeSet::new(),
        };
        if !plan.is_complete() {
            let held = (from.get() + 1..=old.window.high().get()).map(MsgSeq::new);
            plan.queue.extend(held.filter(|seq| old.window.get(*seq).is_some()));
        }
        plan
    }

    /// Nobody in the group lacks anything that another one has: there is nothing to exchange.
    fn is_complete(&self) -> bool {
        self.transitional.len() == 1 || self.low == self.end
    }

    fn next(&mut self) -> Option<MsgSeq> {
        while let Some(seq) = self.queue.pop_front() {
            if !self.seen.contains(&seq) {
                return Some(seq);
            }
        }
        None
    }

    fn backlog(&self) -> u32 {
        u32::try_from(self.queue.len()).unwrap_or(u32::MAX)
    }
}

/// Members that come from `old`, and what they bring.
fn group(commit: &Commit, old: RingId) -> impl Iterator<Item = (NodeId, &CommitEntry)> {
    let entries = commit.members.iter().zip(&commit.entries);
    entries.filter_map(|(id, entry)| Some((id, entry.as_ref()?))).filter(move |(_, e)| e.old_ring == old)
}

/// The first token of a ring. It needs no progress if every group is complete: then nobody waits for anything.
pub(super) fn first_token(ring: RingId, commit: &Commit) -> Token {
    let complete = |id| {
        let Some(mine) = commit.entry(id) else { return false };
        let low = group(commit, mine.old_ring).map(|(_, e)| e.aru).min();
        let end = group(commit, mine.old_ring).map(|(_, e)| e.high).max();
        low == end || group(commit, mine.old_ring).count() == 1
    };
    let ready = commit.members.mask(complete);
    let all = commit.members.mask(|_| true);
    Token {
        ring,
        token_seq: TokenSeq::new(1),
        seq: MsgSeq::new(0),
        aru: MsgSeq::new(0),
        aru_id: None,
        backlog: 0,
        fcc: 0,
        lagging: 0,
        recovery: (ready != all).then_some(RecoveryProgress { pending: all & !ready, ready }),
        requests: ArrayVec::new(),
    }
}

impl Ring {
    /// Part of a token visit in Recovery: sends old frames, up to `allowance` of them, notes how far this node is, and
    /// installs the ring when everybody is ready. How many frames were put into `frames`.
    pub(super) fn recover(
        &mut self,
        now: Boottime,
        token: &mut Token,
        frames: &mut Vec<Bytes>,
        served: u32,
    ) -> u32 {
        let Some(forming) = &mut self.forming else { return 0 };
        let (turn, Some(recovery)) = (&mut forming.turn, &mut forming.recovery) else { return 0 };
        let allowance =
            turn.flow.allowance(token, recovery.backlog()).min(turn.room(token)).saturating_sub(served);
        let mut sent = 0;
        while sent < allowance {
            let Some(seq) = recovery.next() else { break };
            let Some(old) = self.installed.window.get(seq) else { continue };
            let (id, kind) = (self.installed.id, (self.me, Guarantee::Agreed, true));
            frames.push(turn.append(token, &mut self.pool, kind, |out| wrap(id, seq, old, out)));
            sent += 1;
        }
        let waiting = recovery.backlog();
        turn.flow.account(token, served + sent, waiting);
        if let Some(progress) = &mut token.recovery {
            let me = 1 << turn.members.position(self.me).expect("a member of the ring it forms");
            if waiting == 0 {
                progress.pending &= !me;
            }
            if progress.pending == 0 && progress.ready & me == 0 && turn.window.aru() == token.seq {
                // The duty first, then the word that it was taken on.
                self.obligations |= self.installed.members.mask(|id| recovery.deliver.contains(id));
                progress.ready |= me;
            }
            if progress.ready == turn.members.mask(|_| true) {
                token.recovery = None;
            }
        }
        if token.recovery.is_none() {
            self.install(now);
        }
        sent
    }

    /// Everybody has all of its old ring and has taken on the duty to deliver it.
    fn install(&mut self, now: Boottime) {
        let Some(forming) = self.forming.take() else { return };
        let Some(recovery) = forming.recovery else { return };
        let before = if self.newborn { NodeSet::new() } else { self.installed.members.clone() };
        let old = self.installed.id;
        let cut = self.deliver_regular(&recovery);
        if !self.newborn {
            self.outputs.push_back(RingOutput::Configuration(Configuration {
                kind: ConfigurationKind::Transitional,
                ring: old,
                members: recovery.transitional.as_slice().to_vec(),
                joined: Vec::new(),
                left: Vec::new(),
            }));
        }
        self.deliver_transitional(&recovery, cut);
        self.assembler.clear();
        self.queue.restart();

        self.installed = forming.turn;
        self.delivered = self.installed.window.base();
        self.obligations = 0;
        let together = if self.newborn { NodeSet::new() } else { recovery.transitional };
        self.newborn = false;
        let configuration = Configuration {
            kind: ConfigurationKind::Regular,
            ring: self.installed.id,
            members: self.installed.members.as_slice().to_vec(),
            joined: self.installed.members.minus(&together).as_slice().to_vec(),
            left: before.minus(&together).as_slice().to_vec(),
        };
        self.state = State::Operational;
        self.stats.operational_entered += 1;
        self.stats.continuous_gather = 0;
        self.history.installed(now, &configuration);
        self.event(Event::EnterOperational);
        self.event(Event::NewMembership(configuration.clone()));
        self.note_silent_leaves(&configuration.left);
        self.outputs.push_back(RingOutput::Configuration(configuration));
        self.settle_held_out(now, &before);
        self.timers.set(Timer::Merge, now);
    }

    /// What can still be delivered in the old regular configuration. The last place that was.
    fn deliver_regular(&mut self, recovery: &Recovery) -> MsgSeq {
        loop {
            let next = self.delivered.next();
            let deliverable = next <= recovery.end
                && self
                    .installed
                    .window
                    .get(next)
                    .is_some_and(|frame| frame.guarantee == Guarantee::Agreed || next <= recovery.safe);
            if !deliverable {
                return self.delivered;
            }
            self.deliver_frame(next);
            self.delivered = next;
        }
    }

    /// What is delivered in the transitional configuration.
    fn deliver_transitional(&mut self, recovery: &Recovery, cut: MsgSeq) {
        let mut hole = false;
        for seq in (cut.get() + 1..=recovery.end.get()).map(MsgSeq::new) {
            match self.installed.window.get(seq) {
                None => hole = true,
                Some(frame) if hole && !recovery.deliver.contains(frame.sender) => {}
                Some(_) => self.deliver_frame(seq),
            }
        }
    }

    /// A frame of the new ring that carries one of an old ring: into the old ring's window, if it is ours.
    pub(super) fn unwrap_frame(&mut self, payload: &[u8]) {
        let Ok(old) = Mcast::decode(payload) else {
            self.stats.packets_rejected += 1;
            return;
        };
        if old.ring != self.installed.id || !self.installed.members.contains(old.sender) {
            return;
        }
        if let Some(recovery) = self.forming.as_mut().and_then(|f| f.recovery.as_mut()) {
            recovery.seen.insert(old.seq);
        }
        let pool = &mut self.pool;
        self.installed.window.insert(old.seq, || Frame::of(&old, payload, pool));
    }
}

/// Adds an old frame as the payload of a new one. One that was itself such a wrapping keeps its place but not its content:
/// whoever installed the old ring is done with what came before it.
fn wrap(ring: RingId, seq: MsgSeq, frame: &Frame, out: &mut Vec<u8>) {
    let Frame { sender, guarantee, wrapped, bytes } = frame;
    if !wrapped {
        return out.extend_from_slice(bytes);
    }
    Mcast { ring, seq, sender: *sender, guarantee: *guarantee, wrapped: true, lingers: false, payload: &[0] }
        .encode_into(out);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ring::flow::Flow;
    use holdfast_types::Span;

    fn id(n: u32) -> NodeId {
        NodeId::new(n)
    }

    fn ring(seq: u64) -> RingId {
        RingId { representative: id(1), seq }
    }

    /// An old ring of nodes 1 to 5, of which this node holds these frames, sent by node 5.
    fn old(held: &[u64]) -> Turn {
        let mut turn =
            Turn::new(ring(7), (1..=5).map(id).collect(), Flow::new(50, 17, Span::from_millis(25)));
        for seq in held {
            turn.window.insert(MsgSeq::new(*seq), || Frame {
                sender: id(5),
                guarantee: Guarantee::Agreed,
                wrapped: false,
                bytes: vec![0].into(),
            });
        }
        turn
    }

    fn entry(old: u64, aru: u64, high: u64) -> Option<CommitEntry> {
        let (aru, high) = (MsgSeq::new(aru), MsgSeq::new(high));
        Some(CommitEntry { old_ring: ring(old), aru, high, safe: MsgSeq::new(1), obligations: 0 })
    }

    /// Nodes 1, 2 and 3 come from the old ring, node 9 from another one.
    fn commit(mut entries: [Option<CommitEntry>; 3]) -> Commit {
        let mut commit = Commit::new(ring(8), [1, 2, 3, 9].map(id).into_iter().collect());
        for (n, entry) in entries.iter_mut().enumerate() {
            commit.entries[n] = entry.take();
        }
        commit.entries[3] = entry(6, 50, 50);
        commit
    }

    fn queue(plan: &Recovery) -> Vec<u64> {
        plan.queue.iter().map(|seq| seq.get()).collect()
    }

    #[test]
    fn the_first_that_has_all_of_a_range_sends_it() {
        let commit = commit([entry(7, 2, 2), entry(7, 5, 5), entry(7, 5, 5)]);
        let of = |me, held: &[u64]| queue(&Recovery::plan(&commit, id(me), &old(held)));
        assert_eq!(of(1, &[1, 2]), []);
        assert_eq!(of(2, &[1, 2, 3, 4, 5]), [3, 4, 5]);
        assert_eq!(of(3, &[1, 2, 3, 4, 5]), []);
    }

    #[test]
    fn beyond_the_highest_aru_each_offers_what_it_holds() {
        let commit = commit([entry(7, 2, 6), entry(7, 2, 8), entry(7, 1, 1)]);
        let of = |me, held: &[u64]| queue(&Recovery::plan(&commit, id(me), &old(held)));
        assert_eq!(of(1, &[1, 2, 4, 6]), [2, 4, 6]);
        assert_eq!(of(2, &[1, 2, 6, 8]), [6, 8]);
        assert_eq!(of(3, &[1]), []);
    }

    #[test]
    fn what_was_seen_on_the_new_ring_is_not_sent_again() {
        let commit = commit([entry(7, 2, 6), entry(7, 2, 8), entry(7, 1, 1)]);
        let mut plan = Recovery::plan(&commit, id(2), &old(&[1, 2, 6, 8]));
        plan.seen.insert(MsgSeq::new(6));
        assert_eq!(plan.next(), Some(MsgSeq::new(8)));
        assert_eq!(plan.next(), None);
    }

    #[test]
    fn a_group_is_who_comes_from_the_same_ring_and_inherits_its_duties() {
        let mut commit = commit([entry(7, 2, 6), entry(7, 2, 6), entry(6, 0, 0)]);
        commit.entries[1].as_mut().unwrap().obligations = 0b10000;
        let plan = Recovery::plan(&commit, id(1), &old(&[1, 2, 6]));
        assert_eq!(plan.transitional.as_slice(), [id(1), id(2)]);
        assert_eq!(plan.deliver.as_slice(), [id(1), id(2), id(5)]);
        assert_eq!((plan.low.get(), plan.end.get()), (2, 6));
    }

    #[test]
    fn the_first_token_waits_for_nobody_where_nobody_lacks_anything() {
        let complete = commit([entry(7, 5, 5), entry(7, 5, 5), entry(5, 1, 4)]);
        assert_eq!(first_token(ring(8), &complete).recovery, None, "one alone has nobody to ask");
        let lacking = commit([entry(7, 5, 5), entry(7, 4, 5), entry(5, 1, 4)]);
        let progress = first_token(ring(8), &lacking).recovery;
        assert_eq!(progress, Some(RecoveryProgress { pending: 0b0011, ready: 0b1100 }));
    }
}
