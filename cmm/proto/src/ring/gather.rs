//! Gather: who is there, and who is held failed, until all that are left say the same.
//!
//! Within one *episode* (from leaving Operational to being Operational again) what is known only grows: who is considered,
//! who is gone, who does not hear whom. Who is held failed follows from it ([`super::reach`]), so every episode ends: at
//! the latest with this node alone. A new episode starts with nothing held against anybody, so what has healed merges.

use std::collections::BTreeMap;

use holdfast_types::{Boottime, Incarnation, NodeId, Span};

use super::clique::Graph;
use super::contact::{Admission, Better, Contact};
use super::timer::Timer;
use super::{Ring, State};
use crate::limits::CONTINUOUS_GATHER_MAX;
use crate::wire::{Join, NodeSet, Row};
use crate::{Destination, Event};

/// What this node says in its joins.
#[derive(Debug)]
pub(super) struct Gather {
    /// Nodes considered, the failed included.
    pub(super) proc: NodeSet,
    /// Nodes held failed: those this node goes on without, by the choice made last.
    pub(super) failed: NodeSet,
    /// Nodes there is firm news of.
    pub(super) gone: NodeSet,
    /// Nodes that this one does not hear: silent for too long, or they speak and do not come to agree.
    pub(super) deaf: NodeSet,
    /// What others have said of whom they do not hear. Who has no row has not spoken, to anybody whose word is known.
    pub(super) rows: BTreeMap<NodeId, Row>,
    /// What the choice was made from.
    pub(super) graph: Option<Graph>,
    /// This node's place in it.
    pub(super) place: usize,
    /// By place, those with whom this node goes on.
    pub(super) share: u64,
    /// It says the same since then.
    pub(super) graph_since: Boottime,
    /// The choice leaves out a node that some of those who stay hear.
    pub(super) split: bool,
    /// Whom this node has said that it hears.
    heard: NodeSet,
    /// Number of the last join sent.
    counter: u64,
    last_join: Option<Boottime>,
    /// This episode goes on knowing that all who could not form a ring before now hear each other.
    pub(super) vouch: bool,
    /// A node that has just started and heard nobody waits one join interval before it goes on alone.
    alone_is_enough: bool,
}

/// What is known of another node's membership doings.
#[derive(Debug, Default)]
pub(super) struct Peer {
    pub(super) incarnation: Incarnation,
    pub(super) counter: u64,
    /// The last thing it said is that it leaves.
    pub(super) leaving: bool,
    /// What it said last in this episode.
    pub(super) word: Option<Word>,
    /// When any packet of it came last.
    pub(super) heard: Boottime,
    /// Since when it has been among those considered.
    pub(super) considered: Boottime,
    /// Silence is counted from here: since it is considered, or since it spoke last.
    silent_since: Boottime,
    /// Who hears whom, as far as this one is concerned.
    pub(super) contact: Contact,
}

#[derive(Debug)]
pub(super) struct Word {
    proc: NodeSet,
    failed: NodeSet,
    /// Whom it hears.
    pub(super) heard: NodeSet,
}

/// Why Gather is entered: corosync's numbers and texts, and three of our own at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    Start,
    Consensus,
    ConsensusExpired,
    TokenLostOperational,
    TokenLostCommit,
    TokenLostRecovery,
    FailedToReceive,
    Foreign,
    ForeignInGather,
    MergeOperational,
    MergeGather,
    MergeJoin,
    JoinOperational,
    JoinCommit,
    JoinRecovery,
    Suspect,
    Leave,
    Forced,
}

impl Cause {
    const fn numbered(self) -> (u8, &'static str) {
        match self {
            Self::Consensus => (0, "consensus timeout"),
            Self::TokenLostOperational => (2, "The token was lost in the OPERATIONAL state."),
            Self::ConsensusExpired => (3, "The consensus timeout expired."),
            Self::TokenLostCommit => (4, "The token was lost in the COMMIT state."),
            Self::TokenLostRecovery => (5, "The token was lost in the RECOVERY state."),
            Self::FailedToReceive => (6, "failed to receive"),
            Self::Foreign => (7, "foreign message in operational state"),
            Self::ForeignInGather => (8, "foreign message in gather state"),
            Self::MergeOperational => (9, "merge during operational state"),
            Self::MergeGather => (10, "merge during gather state"),
            Self::MergeJoin => (11, "merge during join"),
            Self::JoinOperational => (12, "join during operational state"),
            Self::JoinCommit => (13, "join during commit state"),
            Self::JoinRecovery => (14, "join during recovery"),
            Self::Start => (15, "interface change"),
            Self::Suspect => (16, "member suspected"),
            Self::Leave => (17, "member left"),
            Self::Forced => (18, "an administrator wants it"),
        }
    }
}

impl Gather {
    pub(super) fn new(proc: NodeSet) -> Self {
        Self {
            proc,
            failed: NodeSet::new(),
            gone: NodeSet::new(),
            deaf: NodeSet::new(),
            rows: BTreeMap::new(),
            graph: None,
            place: 0,
            share: 0,
            graph_since: Boottime::default(),
            split: false,
            heard: NodeSet::new(),
            counter: 0,
            last_join: None,
            vouch: false,
            alone_is_enough: false,
        }
    }

    /// Nodes considered and not held failed.
    pub(super) fn live(&self) -> NodeSet {
        self.proc.minus(&self.failed)
    }
}

impl Ring {
    /// A new episode: the installed ring's members are considered, nobody is held failed.
    pub(super) fn begin_episode(&mut self, now: Boottime) {
        self.gather.proc = self.installed.members.clone();
        for set in [&mut self.gather.failed, &mut self.gather.gone, &mut self.gather.deaf] {
            *set = NodeSet::new();
        }
        self.gather.graph = None;
        self.better = Better::default();
        self.gather.vouch = false;
        self.forget_words(now);
    }

    /// Everybody has to speak again. What they said before they committed to a ring proves nothing after it.
    fn forget_words(&mut self, now: Boottime) {
        self.gather.rows.clear();
        for peer in self.peers.values_mut() {
            peer.word = None;
            peer.silent_since = now;
        }
        for id in self.gather.proc.clone().iter() {
            self.peers.entry(id).or_default().silent_since = now;
        }
    }

    /// To the state Gather from any other one. Says nothing yet: [`Ring::enter_gather`] does when the sets are right.
    pub(super) fn open_gather(&mut self, now: Boottime) {
        match self.state {
            State::Gather | State::Left => return,
            State::Operational => self.begin_episode(now),
            State::Commit | State::Recovery => self.forget_words(now),
        }
        self.state = State::Gather;
        self.forming = None;
        self.held = None;
        for timer in [Timer::TokenLoss, Timer::TokenLate, Timer::TokenRetransmit, Timer::Hold, Timer::Merge] {
            self.timers.stop(timer);
        }
    }

    /// Says what this node thinks now, and waits for the others to say the same.
    pub(super) fn enter_gather(&mut self, now: Boottime, cause: Cause) {
        assert_eq!(self.state, State::Gather);
        self.choose(now);
        if cause == Cause::ConsensusExpired {
            self.stats.gather_token_lost += 1;
            self.stats.continuous_gather += 1;
            if self.stats.continuous_gather == CONTINUOUS_GATHER_MAX + 1 {
                self.event(Event::CannotForm);
            }
        }
        let (cause, text) = cause.numbered();
        self.stats.gather_entered += 1;
        self.history.gather(now, (cause, text), self.installed.id);
        self.event(Event::EnterGather { cause, text });
        self.timers.set(Timer::Consensus, now + self.config.settings.timers.consensus);
        match self.gather.last_join.map(|last| last + self.join_spacing()).filter(|next| *next > now) {
            Some(next) => self.timers.set(Timer::Join, next),
            None => self.say_join(now),
        }
        self.commit_if_agreed(now);
    }

    /// Says what this node thinks before it is due, without beginning anew.
    fn say_soon(&mut self, now: Boottime) {
        let next = self.gather.last_join.map_or(now, |last| last + self.join_spacing());
        self.timers.set_earlier(Timer::Join, next);
    }

    fn say_join(&mut self, now: Boottime) {
        self.send_join(now, false);
        self.timers.set(Timer::Join, now + self.config.settings.timers.join);
    }

    /// A storm of changes becomes one join each this often.
    fn join_spacing(&self) -> Span {
        Span::from_millis(1).min(self.config.settings.timers.join.scale(1, 10))
    }

    pub(super) fn send_join(&mut self, now: Boottime, leave: bool) {
        self.gather.counter += 1;
        self.gather.last_join = Some(now);
        if self.nodes.len() == 1 {
            return;
        }
        self.gather.heard = self.hears(now);
        let failed = if leave { NodeSet::of(self.me) } else { self.gather.failed.clone() };
        let join = Join {
            incarnation: self.config.incarnation,
            counter: self.gather.counter,
            leave,
            vouch: self.gather.vouch,
            newborn: self.newborn,
            ring_seq: self.reservation.used(),
            old_ring: self.installed.id,
            proc: self.gather.proc.clone(),
            failed,
            gone: self.gather.gone.clone(),
            heard: self.gather.heard.clone(),
            deaf: self.gather.deaf.clone(),
            rows: self.rows_to_tell(now, self.gather.counter),
        };
        self.send(Destination::AllPeers, true, join.encode());
    }

    pub(super) fn handle_join(&mut self, now: Boottime, from: NodeId, join: Join) {
        let peer = self.peers.entry(from).or_default();
        if (join.incarnation, join.counter) <= (peer.incarnation, peer.counter) {
            return; // Late or doubled: its sender has said something else since.
        }
        if join.incarnation > peer.incarnation {
            peer.contact = Contact::default();
            self.gather.rows.remove(&from);
        }
        (peer.incarnation, peer.counter, peer.leaving) = (join.incarnation, join.counter, join.leave);
        peer.contact.heard(now);
        self.reservation.hear(join.ring_seq);
        if join.leave {
            self.hold_failed(now, &[from], true, Cause::Leave);
            return;
        }
        match self.state {
            State::Left => {}
            State::Gather => self.weigh_join(now, from, join),
            State::Operational => {
                if self.installed.members.contains(from) {
                    // Below the ring's number it was sent before its sender came to this ring.
                    if join.ring_seq < self.installed.id.seq {
                        return;
                    }
                } else if !join.vouch && self.admission(now, from) == Admission::HeldOut
                    || join.failed.contains(self.me)
                    || join.failed.intersects(&self.installed.members)
                {
                    return; // It cannot be one ring with all of us.
                }
                self.open_gather(now);
                self.weigh_join_after(now, from, join, Cause::JoinOperational);
            }
            State::Commit | State::Recovery => {
                let Some(forming) = &self.forming else { return };
                if !forming.turn.members.contains(from) {
                    return; // It is heard again when this ring is installed.
                }
                let abandoned = join.ring_seq >= forming.turn.id.seq;
                let declined =
                    self.state == State::Commit && join.proc.minus(&join.failed) != forming.turn.members;
                if abandoned || declined {
                    let cause =
                        if self.state == State::Commit { Cause::JoinCommit } else { Cause::JoinRecovery };
                    self.open_gather(now);
                    self.weigh_join_after(now, from, join, cause);
                }
            }
        }
    }

    /// Gather was opened because of this join: something is to be said whether or not it changes the sets.
    fn weigh_join_after(&mut self, now: Boottime, from: NodeId, join: Join, cause: Cause) {
        self.merge_join(now, from, join);
        self.enter_gather(now, cause);
    }

    /// A join in Gather.
    fn weigh_join(&mut self, now: Boottime, from: NodeId, join: Join) {
        let stranger = !self.gather.proc.contains(from);
        if stranger && !join.vouch && self.admission(now, from) == Admission::HeldOut {
            return;
        }
        let news = self.merge_join(now, from, join);
        self.go_on(now, news, Cause::MergeJoin);
    }

    /// Something may have changed: `news` says that it has.
    fn go_on(&mut self, now: Boottime, news: bool, cause: Cause) {
        if self.choose(now) || news {
            self.enter_gather(now, cause);
            return;
        }
        if !self.gather.live().minus(&self.gather.heard).is_empty() && self.hears(now) != self.gather.heard {
            self.say_soon(now);
        }
        self.commit_if_agreed(now);
    }

    /// Takes the sender's word into what is known; whether that gives all something new to say.
    fn merge_join(&mut self, now: Boottime, from: NodeId, join: Join) -> bool {
        let mut changed = self.consider(now, from);
        self.peers.entry(from).or_default().silent_since = now;
        if self.take_rows(from, &join) && self.is_troubled() {
            self.say_soon(now);
        }
        if self.gather.gone.contains(from) || self.gather.deaf.contains(from) {
            return changed;
        }
        for id in join.proc.iter() {
            changed |= self.consider(now, id);
        }
        if join.gone.contains(self.me) {
            // It goes on without us, whatever we say.
            changed |= self.gather.deaf.insert(from);
        } else {
            for id in join.gone.iter().filter(|id| self.gather.proc.contains(*id)).collect::<NodeSet>().iter()
            {
                if self.believes(from, id) {
                    changed |= self.gather.gone.insert(id);
                }
            }
        }
        let Join { proc, failed, heard, .. } = join;
        self.peers.entry(from).or_default().word = Some(Word { proc, failed, heard });
        changed
    }

    /// Whether `accuser`'s firm news that `accused` is gone is taken over. A member of the ring we come from is
    /// believed, since all of us gather because of what happens in it. Between strangers the lower id wins, so that
    /// two which cannot hear each other do not take everybody apart; but nobody vouches for one that says nothing.
    fn believes(&self, accuser: NodeId, accused: NodeId) -> bool {
        let ours = &self.installed.members;
        let heard = self.peers.get(&accused).is_some_and(|p| p.word.is_some());
        ours.contains(accuser) || (!ours.contains(accused) && (accuser < accused || !heard))
    }

    /// Adds a node to those considered; `true` if it is new among them.
    pub(super) fn consider(&mut self, now: Boottime, id: NodeId) -> bool {
        let new = self.gather.proc.insert(id);
        if new {
            let peer = self.peers.entry(id).or_default();
            (peer.word, peer.silent_since, peer.considered) = (None, now, now);
            // In somebody's node table and not in ours: it is there, and we do not hear it.
            if !self.nodes.contains(id) {
                self.gather.deaf.insert(id);
            }
        }
        new
    }

    /// If all that are not held failed say the same as this node: its representative makes the commit token, the
    /// others wait for it.
    fn commit_if_agreed(&mut self, now: Boottime) {
        let live = self.gather.live();
        if self.state != State::Gather || live.first() != Some(self.me) || !self.unagreed().is_empty() {
            return;
        }
        if self.newborn && self.gather.proc.len() == 1 && !self.gather.alone_is_enough {
            return;
        }
        if !self.all_hear_all(&live) {
            return;
        }
        if let Some(later) = self.too_soon(now) {
            self.timers.set_earlier(Timer::Join, later);
            return;
        }
        self.start_commit(now, live);
    }

    /// Nodes outside the installed ring that this one waits for: those that have spoken in this episode, and the members
    /// of a ring that is being formed. The detector watches them, and says [`Ring::suspect`].
    #[must_use]
    pub fn awaited(&self) -> NodeSet {
        let spoke = |id: &NodeId| self.peers.get(id).is_some_and(|p| p.word.is_some());
        let mut awaited = match (&self.forming, self.state) {
            (Some(forming), State::Commit | State::Recovery) => forming.turn.members.clone(),
            (_, State::Gather) => self.gather.live().iter().filter(spoke).collect(),
            _ => return NodeSet::new(),
        };
        awaited.remove(self.me);
        awaited.minus(&self.installed.members)
    }

    /// Live nodes that have not said in this episode what this node says.
    fn unagreed(&self) -> NodeSet {
        let Gather { proc, failed, .. } = &self.gather;
        let agrees = |id: NodeId| {
            let word = self.peers.get(&id).and_then(|p| p.word.as_ref());
            id == self.me || word.is_some_and(|w| w.proc == *proc && w.failed == *failed)
        };
        self.gather.live().iter().filter(|id| !agrees(*id)).collect()
    }

    pub(super) fn join_tick(&mut self, now: Boottime) {
        if self.state != State::Gather {
            return;
        }
        self.gather.alone_is_enough = true;
        let limit = self.config.settings.timers.consensus;
        let silent = |id: &NodeId| self.peers.get(id).is_none_or(|p| now.since(p.silent_since) >= limit);
        let gone: NodeSet = self.gather.live().iter().filter(|id| *id != self.me).filter(silent).collect();
        if self.gather.deaf.merge(&gone) {
            self.stats.consensus_timeouts += 1;
            self.gather.last_join = None;
            self.enter_gather(now, Cause::Consensus);
        } else if self.choose(now) {
            self.enter_gather(now, Cause::Suspect);
        } else {
            self.say_join(now);
            self.commit_if_agreed(now);
        }
    }

    /// Those that speak but do not come to agree are held failed. Where all agree and yet no commit token comes,
    /// everybody has to speak again: whoever is silent then is gone.
    pub(super) fn consensus_timed_out(&mut self, now: Boottime) {
        if self.state != State::Gather {
            return;
        }
        self.stats.consensus_timeouts += 1;
        let missing = self.unagreed();
        if missing.is_empty() {
            for peer in self.peers.values_mut() {
                peer.word = None;
            }
            self.enter_gather(now, Cause::ConsensusExpired);
        } else {
            self.gather.deaf.merge(&missing);
            self.enter_gather(now, Cause::Consensus);
        }
    }

    /// Goes on without `ids` in this episode; begins one if they are members. If the news is not `firm` it is this node
    /// only that does not hear them.
    pub(super) fn hold_failed(&mut self, now: Boottime, ids: &[NodeId], firm: bool, cause: Cause) {
        let known = |ring: &Self, id| ring.gather.gone.contains(id) || !firm && ring.gather.deaf.contains(id);
        let concerned = |id: &NodeId| match self.state {
            _ if *id == self.me => false,
            State::Left => false,
            State::Operational => self.installed.members.contains(*id),
            State::Gather => self.gather.proc.contains(*id) && !known(self, *id),
            State::Commit | State::Recovery => {
                self.forming.as_ref().is_some_and(|f| f.turn.members.contains(*id))
            }
        };
        let concerned: NodeSet = ids.iter().copied().filter(concerned).collect();
        if concerned.is_empty() {
            return;
        }
        if cause == Cause::Leave {
            for node in concerned.iter() {
                self.event(Event::Suspect { node, why: "leave", silent: Span::ZERO });
            }
        }
        self.open_gather(now);
        if firm { &mut self.gather.gone } else { &mut self.gather.deaf }.merge(&concerned);
        self.enter_gather(now, cause);
    }
}
