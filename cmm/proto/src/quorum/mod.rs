//! Votes and lease together: whether this node's partition may act, at every instant.
//!
//! A *ballot* is what one configuration decided from its members' states. The node is quorate under the ballot it has
//! announced, while the votes of members whose echoes are valid make that ballot's quorum. A new configuration brings
//! a *candidate*; it takes the ballot's place when the leases of everyone it does not contain must have ended. Until
//! then the node stays what it was: its old ballot keeps counting members that have come along from there without a
//! break (transitional sets), and of everybody else only echoes that came before they parted.
//!
//! | state | input | what happens |
//! |---|---|---|
//! | any | echo in the current ring | counts for the current ring, and for the ballot if its sender came along |
//! | any | time | lease of the ballot out: not quorate, said in that turn |
//! | any | transitional configuration | the ballot stops to take echoes from those that do not come along |
//! | any | regular configuration | the candidate is void |
//! | synchronised | step `quorum` begins | not enough votes: told at once. Else waits, then told |
//! | waiting | lease of the old ballot out | not quorate, and not by the old ballot any more |
//!
//! Why two partitions are never quorate at once: let `p` act by ballot `c`, `q` by ballot `d`. Two quora share a voter
//! `z`, in both. If `z` installed `c` first: what `p` counts of `z` was echoed before `z` parted from `p`'s line, so
//! before `z` stated itself in `d` unless `d` contains `p`. Then `d` waited for that echo to end, and `p` counts it no
//! more. So the later configuration always contains whoever still acts by an earlier one. A new life of `z` waits for
//! everything its earlier life may have promised. (Not so with `two_node`, where one vote is enough on both sides.)

pub mod change;
pub mod lease;
pub mod votes;

use std::collections::{BTreeMap, BTreeSet};

use holdfast_types::{Boottime, Incarnation, NodeId, RingId, Span, Votes};

use self::change::Change;
use self::lease::{Held, Promised};
use self::votes::{Tally, Voter};
use crate::api::{Event, NodeConfig, NodeVotes, Output, QuorumView, Refusal};
use crate::service::messages::State;
use crate::wire::NodeSet;

/// One node's votes, lease and view.
pub struct Quorum {
    me: NodeId,
    two_node: bool,
    wait_for_all: bool,
    lease: Span,
    votes: Votes,
    expected: Votes,
    /// `wait_for_all` holds: at start, and after each configuration with too few votes.
    armed: bool,
    /// The ring installed last.
    ring: RingId,
    records: BTreeMap<NodeId, Record>,
    held: Held,
    promised: Promised,
    ballot: Option<Ballot>,
    candidate: Option<Ballot>,
    resigned: Option<String>,
    view: QuorumView,
}

/// What is known of one node's votes.
#[derive(Clone, Copy, Debug)]
struct Record {
    state: NodeState,
    votes: Votes,
    expected: Votes,
    life: Option<Incarnation>,
}

/// Numbers as in votequorum.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NodeState {
    Member = 1,
    Dead = 2,
    Leaving = 3,
}

/// What one configuration decided.
struct Ballot {
    ring: RingId,
    voters: Vec<Voter>,
    tally: Tally,
    /// Leases of nodes outside this configuration end here at the latest.
    wait_until: Boottime,
    /// Set when step `quorum` begins: without enough echoes by then it is told as not quorate.
    give_up: Option<Boottime>,
    /// Members that came along from this configuration to the current one without a break.
    together: BTreeSet<NodeId>,
    held: Held,
    /// Until when `held` makes the quorum: looked up when echoes or votes change, since every turn begins with it.
    leased_until: Boottime,
    /// Its lease ran out after its ring was gone: it does not come back.
    void: bool,
}

impl Ballot {
    fn members(&self) -> Vec<NodeId> {
        self.voters.iter().map(|v| v.node).collect()
    }

    /// Whether a candidate can be told: too few votes at once, enough of them when leases allow it.
    fn is_ripe(&self, me: NodeId, held: &Held, resigned: bool, now: Boottime) -> bool {
        let Some(give_up) = self.give_up else { return false };
        let free = now >= self.wait_until && (now >= give_up || now < self.until(me, held));
        free || resigned || !self.tally.suffices()
    }

    fn until(&self, me: NodeId, held: &Held) -> Boottime {
        held.until(me, &self.voters, self.tally.quorum)
    }

    fn reckon(&mut self, me: NodeId) {
        self.leased_until = self.until(me, &self.held);
    }
}

impl Quorum {
    /// At this node's start: not quorate.
    #[must_use]
    pub fn new(config: &NodeConfig, now: Boottime) -> Self {
        let sum = config.nodes.iter().fold(0_u32, |sum, n| sum.saturating_add(n.votes.get()));
        let expected = config.quorum.expected_votes.unwrap_or(Votes::new(sum));
        let record = |votes| Record { state: NodeState::Dead, votes, expected, life: None };
        let records: BTreeMap<_, _> = config.nodes.iter().map(|n| (n.id, record(n.votes))).collect();
        let timers = &config.settings.timers;
        let mut quorum = Self {
            me: config.me,
            two_node: config.quorum.two_node && config.nodes.len() <= 2,
            wait_for_all: config.quorum.wait_for_all,
            lease: timers.lease,
            votes: records.get(&config.me).map_or(Votes::new(0), |r| r.votes),
            expected,
            armed: config.quorum.wait_for_all,
            ring: RingId::default(),
            records,
            held: Held::default(),
            promised: Promised::new(timers.lease, timers.lease_margin, config.promised, now),
            ballot: None,
            candidate: None,
            resigned: None,
            view: QuorumView::default(),
        };
        quorum.note_life(config.me, config.incarnation);
        quorum.rebuild_view(false, "no configuration yet".to_owned());
        quorum
    }

    /// The view as last told; `waits_for_lease` is kept current without telling.
    #[must_use]
    pub fn view(&self) -> &QuorumView {
        &self.view
    }

    /// What this node's echoes promise to others.
    #[must_use]
    pub fn promised(&self) -> &Promised {
        &self.promised
    }

    /// What this node's echoes promise to others.
    pub fn promised_mut(&mut self) -> &mut Promised {
        &mut self.promised
    }

    /// Fills in this node's part of the exchange.
    pub fn state(&self, members: &[NodeId], now: Boottime, state: &mut State) {
        state.votes = self.votes;
        state.expected = self.expected;
        state.quorate = self.view.quorate;
        state.wait_for_all = self.wait_for_all;
        state.waits_for_all = self.armed;
        state.start_wait = self.promised.start_wait(now);
        state.promised = self.promised.outstanding(members, now);
        state.ended = self.promised.ended();
    }

    /// A life of a node was seen.
    pub fn note_life(&mut self, node: NodeId, life: Incarnation) {
        if let Some(record) = self.records.get_mut(&node) {
            record.life = record.life.max(Some(life));
        }
    }

    /// A node has said that it leaves.
    pub fn note_leaving(&mut self, node: NodeId) {
        if let Some(record) = self.records.get_mut(&node) {
            record.state = NodeState::Leaving;
        }
    }

    /// Leases are of this length from now on. What was promised, and what others have promised, stays as it is.
    pub fn set_lease(&mut self, lease: Span, margin: Span) {
        self.lease = lease;
        self.promised.change(lease, margin);
    }

    /// A member of the current ring echoed the heartbeat that this life sent at `send_time`, for a lease of this length.
    pub fn echo(&mut self, from: NodeId, send_time: Boottime, lease: Span) {
        self.held.echo(from, send_time, lease);
        if let Some(ballot) = self.ballot.as_mut().filter(|b| b.together.contains(&from)) {
            ballot.held.echo(from, send_time, lease);
            ballot.reckon(self.me);
        }
    }

    /// Only these go on together.
    pub fn transitional(&mut self, members: &[NodeId]) {
        self.held.retain(|node| members.contains(&node));
        if let Some(ballot) = &mut self.ballot {
            ballot.together.retain(|node| members.contains(node));
        }
    }

    /// A new ring: what an unfinished configuration wanted to decide is void.
    pub fn installed(&mut self, ring: RingId, members: &[NodeId]) {
        self.ring = ring;
        self.candidate = None;
        for (node, record) in &mut self.records {
            if members.contains(node) {
                record.state = NodeState::Member;
            } else if record.state == NodeState::Member {
                record.state = NodeState::Dead;
            }
        }
    }

    /// The exchange of `ring` is complete. The same on every member but for this node's own options.
    pub fn synchronised(&mut self, now: Boottime, ring: RingId, states: &BTreeMap<NodeId, State>) {
        let members: Vec<NodeId> = states.keys().copied().collect();
        let voter = |(node, s): (&NodeId, &State)| Voter {
            node: *node,
            votes: s.votes,
            expected: s.expected,
            quorate: s.quorate,
            waits_for_all: s.waits_for_all,
        };
        let mut voters: Vec<Voter> = states.iter().map(voter).collect();
        let tally = Tally::of(&voters, self.two_node);
        let adopt = voters.iter().any(|v| v.quorate);
        for voter in &mut voters {
            // A partition's expected votes are taken over with its quorum; otherwise everyone keeps its own, but never
            // below what is here.
            voter.expected = if adopt { tally.expected } else { voter.expected.max(tally.total) };
            voter.quorate = false;
            voter.waits_for_all = !tally.suffices() && states[&voter.node].wait_for_all;
            if let Some(record) = self.records.get_mut(&voter.node) {
                (record.votes, record.expected) = (voter.votes, voter.expected);
            }
        }
        let mut ended: BTreeMap<NodeId, Incarnation> = BTreeMap::new();
        for (node, life) in states.values().flat_map(|s| s.ended.iter().chain(&s.confirmed)) {
            let known = ended.entry(*node).or_insert(*life);
            *known = (*life).max(*known);
        }
        for (node, life) in &ended {
            self.promised.end(*node, *life);
        }
        let all = self.records.keys().all(|node| members.contains(node));
        let stated = states.values().map(|s| (&s.promised[..], s.start_wait));
        let wait = lease::wait_for(all, &members, stated, &ended);
        self.expected = voters.iter().find(|v| v.node == self.me).map_or(self.expected, |v| v.expected);
        self.candidate = Some(Ballot {
            ring,
            tally,
            wait_until: now + wait,
            give_up: None,
            together: members.into_iter().collect(),
            held: Held::default(),
            leased_until: Boottime::ZERO,
            voters,
            void: false,
        });
        self.arm();
    }

    /// Step `quorum` begins. [`Quorum::is_decided`] tells when it is over here.
    pub fn decide(&mut self, now: Boottime) {
        if let Some(candidate) = &mut self.candidate {
            candidate.give_up = Some(candidate.wait_until.max(now) + self.lease);
        }
    }

    /// Whether the current configuration has been told, one way or the other.
    #[must_use]
    pub fn is_decided(&self) -> bool {
        self.candidate.is_none()
    }

    /// Brings the view up to date. Call it first in every turn, and after every input.
    pub fn update(&mut self, now: Boottime, outputs: &mut impl Extend<Output>) {
        let told =
            match self.candidate.take_if(|c| c.is_ripe(self.me, &self.held, self.resigned.is_some(), now)) {
                Some(candidate) => {
                    let ballot = self.ballot.insert(Ballot { held: self.held.clone(), ..candidate });
                    ballot.reckon(self.me);
                    true
                }
                None => false,
            };
        let quorate = self.quorate(now);
        if let Some(ballot) = self.ballot.as_mut().filter(|b| !quorate && b.ring != self.ring) {
            ballot.void = true;
        }
        if told || quorate != self.view.quorate {
            self.tell(now, quorate, outputs);
        }
        self.view.waits_for_lease = self.waits(now);
    }

    /// Whether votes with valid echoes make the quorum of the configuration last told.
    #[must_use]
    pub fn is_leased(&self, now: Boottime) -> bool {
        self.ballot.as_ref().is_some_and(|b| !b.void && now < b.leased_until)
    }

    /// The lease and when quorum is lost if nobody echoes anything more; none where it is not there, or does not hang on
    /// echoes.
    #[must_use]
    pub fn lease_end(&self) -> Option<(Span, Boottime)> {
        let ballot = self.ballot.as_ref().filter(|b| self.view.quorate && b.ring == self.ring)?;
        (ballot.leased_until < Boottime::MAX).then_some((self.lease, ballot.leased_until))
    }

    /// Members whose missing echoes make the lease end then.
    #[must_use]
    pub fn lapsing(&self) -> NodeSet {
        let Some(ballot) = &self.ballot else { return NodeSet::new() };
        ballot.held.lapsing(self.me, &ballot.voters, ballot.leased_until).collect()
    }

    /// When time alone changes something.
    #[must_use]
    pub fn next_timeout(&self, now: Boottime) -> Option<Boottime> {
        let candidate = self.candidate.as_ref().and_then(|c| {
            let give_up = c.give_up?;
            Some(if now < c.wait_until { c.wait_until } else { give_up })
        });
        let ballot = self.ballot.as_ref().and_then(|b| {
            let change = if self.view.quorate { b.leased_until } else { b.wait_until };
            (now < change && change < Boottime::MAX).then_some(change)
        });
        [candidate, ballot].into_iter().flatten().min()
    }

    /// Gives up quorum for good: this life leaves or goes down.
    pub fn resign(&mut self, why: &str) {
        self.resigned.get_or_insert_with(|| why.to_owned());
    }

    /// Whether the votes of the configuration synchronised last are enough. The lease has its own say.
    #[must_use]
    pub fn suffices(&self) -> bool {
        self.current().is_some_and(|b| b.tally.suffices())
    }

    /// Checks a change of votes against the configuration synchronised last.
    ///
    /// # Errors
    /// `NameNotFound`: no such node. `InvalidParam`: expected votes of zero or below those present; or the partition
    /// would lose its quorum, on the way or in the end; or a node's votes where there is no quorum: the rest of the
    /// cluster would not know of it.
    pub fn check(&self, change: Change) -> Result<(), Refusal> {
        let ballot = self.current().ok_or(Refusal::TryAgain)?;
        let sound = |voters: &[Voter]| {
            let tally = Tally::of(voters, self.two_node);
            tally.total >= tally.quorum
        };
        let stays = sound(&prepared(ballot, change)) && sound(&committed(ballot, change));
        let sane = match change {
            Change::Expected(expected) => {
                expected.get() > 0 && expected >= ballot.tally.total && (stays || !ballot.tally.suffices())
            }
            Change::Votes { node, .. } if !self.records.contains_key(&node) => {
                return Err(Refusal::NameNotFound);
            }
            Change::Votes { votes, .. } => stays && ballot.tally.suffices() && votes.get() <= VOTES_MAX,
        };
        if sane { Ok(()) } else { Err(Refusal::InvalidParam) }
    }

    /// First phase of a change, in its place of the order. `false`: it is not sane by now, for all alike.
    pub fn prepare(&mut self, change: Change) -> bool {
        let sane = self.check(change).is_ok();
        if let Some(ballot) = self.current().filter(|_| sane) {
            let voters = prepared(ballot, change);
            if let Change::Votes { node, votes } = change {
                self.set_votes(node, |before| before.min(votes));
            }
            self.replace(voters);
        }
        sane
    }

    /// Second phase, in its place of the order.
    pub fn commit(&mut self, now: Boottime, change: Change, outputs: &mut impl Extend<Output>) {
        let Some(voters) = self.current().map(|ballot| committed(ballot, change)) else { return };
        match change {
            Change::Expected(expected) => self.expected = expected,
            Change::Votes { node, votes } => self.set_votes(node, |_| votes),
        }
        self.replace(voters);
        self.tell_numbers(now, outputs);
    }

    /// The administrator ends waiting for all, in its place of the order. Where votes are too few even so, the wait is
    /// armed again at once, as in votequorum: nothing changes.
    pub fn cancel_wait_for_all(&mut self, now: Boottime, outputs: &mut impl Extend<Output>) {
        let cancel = |voters: &[Voter]| -> Vec<Voter> {
            voters.iter().map(|v| Voter { waits_for_all: false, ..*v }).collect()
        };
        let Some(voters) = self.current().map(|b| cancel(&b.voters)) else { return };
        if Tally::of(&voters, self.two_node).suffices() {
            self.replace(voters);
            self.tell_numbers(now, outputs);
        }
    }

    /// The ballot of the configuration synchronised last.
    fn current(&self) -> Option<&Ballot> {
        self.candidate.as_ref().or(self.ballot.as_ref())
    }

    fn set_votes(&mut self, node: NodeId, votes: impl FnOnce(Votes) -> Votes) {
        if let Some(record) = self.records.get_mut(&node) {
            record.votes = votes(record.votes);
            if node == self.me {
                self.votes = record.votes;
            }
        }
    }

    /// The configuration synchronised last counts by these from now on.
    fn replace(&mut self, voters: Vec<Voter>) {
        let two_node = self.two_node;
        let Some(ballot) = self.candidate.as_mut().or(self.ballot.as_mut()) else { return };
        ballot.tally = Tally::of(&voters, two_node);
        ballot.voters = voters;
        ballot.reckon(self.me);
        for voter in &ballot.voters {
            if let Some(record) = self.records.get_mut(&voter.node) {
                record.expected = voter.expected;
            }
            if voter.node == self.me {
                self.expected = voter.expected;
            }
        }
        self.arm();
    }

    /// Trackers want to know of new numbers even if the result is the same.
    fn tell_numbers(&mut self, now: Boottime, outputs: &mut impl Extend<Output>) {
        if self.candidate.is_none() {
            self.tell(now, self.quorate(now), outputs);
        }
    }

    /// With enough votes the wait for all is over, with too few it is armed.
    fn arm(&mut self) {
        self.armed = self.wait_for_all && !self.suffices();
    }

    fn quorate(&self, now: Boottime) -> bool {
        let Some(ballot) = &self.ballot else { return false };
        self.resigned.is_none()
            && !ballot.void
            && ballot.tally.suffices()
            && now >= ballot.wait_until
            && now < ballot.leased_until
    }

    fn waits(&self, now: Boottime) -> bool {
        self.resigned.is_none() && self.current().is_some_and(|b| b.tally.suffices() && now < b.wait_until)
    }

    fn tell(&mut self, now: Boottime, quorate: bool, outputs: &mut impl Extend<Output>) {
        let reason = match (&self.resigned, &self.ballot) {
            _ if quorate => String::new(),
            (Some(why), _) => why.clone(),
            (None, Some(ballot)) if !ballot.tally.suffices() => ballot.tally.reason(),
            (None, Some(_)) if self.waits(now) => "waits for the leases of absent nodes".to_owned(),
            (None, Some(_)) => "lease ran out".to_owned(),
            (None, None) => "no configuration yet".to_owned(),
        };
        let changed = quorate != self.view.quorate;
        self.rebuild_view(quorate, reason);
        outputs.extend([Output::Quorum(self.view.clone())]);
        if changed {
            outputs.extend([Output::Event(Event::Quorate(quorate))]);
        }
    }

    fn rebuild_view(&mut self, quorate: bool, reason: String) {
        let node = |(node, r): (&NodeId, &Record)| NodeVotes {
            node: *node,
            state: r.state as u32,
            votes: r.votes,
            expected: r.expected,
            incarnation: r.life,
        };
        let nodes = self.records.iter().map(node).collect();
        let ballot = self.ballot.as_ref();
        let tally = ballot.map(|b| b.tally);
        self.view = QuorumView {
            quorate,
            ring: ballot.map(|b| b.ring).unwrap_or_default(),
            members: ballot.map(Ballot::members).unwrap_or_default(),
            nodes,
            expected: self.expected,
            highest_expected: tally.map_or(self.expected, |t| t.expected),
            total: tally.map_or(Votes::new(0), |t| t.total),
            quorum: tally.map_or(Votes::new(self.expected.get() / 2 + 1), |t| t.quorum),
            two_node: self.two_node && ballot.is_none_or(|b| b.voters.len() <= 2),
            wait_for_all: self.wait_for_all,
            wait_for_all_status: self.armed,
            waits_for_lease: false,
            reason,
        };
    }
}

/// The voters of a ballot while a change is under way: as hard as it gets, see [`change`].
fn prepared(ballot: &Ballot, change: Change) -> Vec<Voter> {
    let after = Tally::of(&committed(ballot, change), false).expected;
    let expected = ballot.tally.expected.max(after);
    let before = ballot.voters.iter().map(|v| match change {
        Change::Votes { node, votes } if node == v.node => Voter { votes: v.votes.min(votes), ..*v },
        _ => *v,
    });
    before.map(|v| Voter { expected, ..v }).collect()
}

/// The voters of a ballot when a change is over. Expected votes are never below those present.
fn committed(ballot: &Ballot, change: Change) -> Vec<Voter> {
    let after = |v: &Voter| match change {
        Change::Expected(expected) => Voter { expected, ..*v },
        Change::Votes { node, votes } if node == v.node => Voter { votes, ..*v },
        Change::Votes { .. } => *v,
    };
    let mut voters: Vec<Voter> = ballot.voters.iter().map(after).collect();
    let total = Tally::of(&voters, false).total;
    voters.iter_mut().for_each(|v| v.expected = v.expected.max(total));
    voters
}

/// Most votes of one node.
const VOTES_MAX: u32 = 65_535;

#[cfg(test)]
mod tests;
