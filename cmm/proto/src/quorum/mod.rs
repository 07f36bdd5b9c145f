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
//! | any | the device's vote is gained, lost, renewed | counts for every ballot up to the configuration that the disk knows |
//! | synchronised | step `quorum` begins | not enough votes: told at once. Else waits, then told |
//! | waiting | lease of the old ballot out | not quorate, and not by the old ballot any more |
//!
//! Why two partitions are never quorate at once: let `p` act by ballot `c`, `q` by ballot `d`. Two quora share a voter
//! `z`, in both. If `z` installed `c` first: what `p` counts of `z` was echoed before `z` parted from `p`'s line, so
//! before `z` stated itself in `d` unless `d` contains `p`. Then `d` waited for that echo to end, and `p` counts it no
//! more. So the later configuration always contains whoever still acts by an earlier one. A new life of `z` waits for
//! everything its earlier life may have promised. If the voter that they share is the quorum device: one life of one node owns its
//! vote at a time, and only that life counts it or hands it on with its echoes. So both count it through the same node, which is
//! then a voter that they share. Who breaks ties has half a vote more ([`votes::Need`]); whose votes are expected is part of the node table,
//! which is changed so that quora of the old and of the new one share a voter as well (decisions 16, 20 and 24). (Not so with `two_node`, where one vote is enough on both sides. A
//! reload may switch it: [`Quorum::set_options`].)

pub mod change;
pub mod lease;
pub mod votes;

use std::collections::{BTreeMap, BTreeSet};

use holdfast_types::{Boottime, Hold, Incarnation, NodeId, RingId, Span, Votes, Wish};

use self::lease::{Held, Promised};
use self::votes::{Tally, Voter};
use crate::api::{
    DeviceEntry, DeviceView, Event, NodeConfig, NodeTable, NodeVotes, Output, QuorumConfig, QuorumOptions,
    QuorumView, TableId, Tables,
};
use crate::service::messages::State;
use crate::wire::NodeSet;

/// One node's votes, lease and view.
pub struct Quorum {
    me: NodeId,
    /// In force.
    options: QuorumOptions,
    /// Other options, to be taken when the current configuration has been told.
    new_options: Option<QuorumOptions>,
    /// `expected_votes_tracking`: the most that were ever expected.
    expected_seen: Option<Votes>,
    lease: Span,
    votes: Votes,
    expected: Votes,
    /// Who counts how much, and whether the disk holds that.
    tables: Tables,
    on_disk: bool,
    /// `wait_for_all` holds: at start, and after each configuration with too few votes.
    armed: bool,
    /// The ring installed last.
    ring: RingId,
    records: BTreeMap<NodeId, Record>,
    held: Held,
    /// The quorum device's vote, while this node owns it.
    hold: Option<Hold>,
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

/// What this node counts without any echo: its own votes, and the device's while it owns them.
#[derive(Clone, Copy)]
struct Own {
    me: NodeId,
    hold: Option<Hold>,
}

/// What one configuration decided.
struct Ballot {
    ring: RingId,
    count: Count,
    /// By the table that is under way: it has to do as well.
    next: Option<Count>,
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

/// The members with their votes by one table, and what they have together.
struct Count {
    voters: Vec<Voter>,
    device: Option<DeviceEntry>,
    tally: Tally,
}

impl Count {
    fn of(voters: Vec<Voter>, two_node: bool, device: Option<DeviceEntry>, tie: Option<NodeId>) -> Self {
        let tally = Tally::of(&voters, two_node, votes_of(device)).with_tie(&voters, tie);
        Self { voters, device, tally }
    }

    /// Of these members by the votes of this table.
    fn by(table: &NodeTable, members: &[Voter], two_node: bool) -> Self {
        let votes = |v: &Voter| table.votes(v.node).unwrap_or(Votes::new(0));
        let expected = table.expected_now();
        let voter = |v: &Voter| Voter { votes: votes(v), expected, quorate: false, ..*v };
        let mut count =
            Self::of(members.iter().map(voter).collect(), two_node, table.device_now(), table.scale.tie);
        let expected = count.tally.expected;
        count.voters.iter_mut().for_each(|v| v.expected = expected);
        count
    }

    /// Whether this is a majority that the next one, by this table or by another, shares a voter with: `two_node` makes none, nor
    /// does a device that does not remember whom it served.
    fn is_majority(&self) -> bool {
        let tally =
            Tally::of(&self.voters, false, votes_of(self.device)).with_tie(&self.voters, self.tally.tie);
        tally.has_enough(self.device.is_some_and(|device| device.kind.remembers()))
    }

    /// Whether members that count by `self` can count like that instead: they are enough, and need the device's vote only if they
    /// need the same device's now.
    fn can_become(&self, next: &Self) -> bool {
        let kind = |count: &Self| count.device.map(|device| device.kind);
        let device = kind(self) == kind(next) && !self.tally.has_enough(false);
        next.tally.has_enough(device)
    }
}

fn votes_of(device: Option<DeviceEntry>) -> Votes {
    device.map_or(Votes::new(0), |device| device.votes)
}

impl Ballot {
    fn members(&self) -> Vec<NodeId> {
        self.count.voters.iter().map(|v| v.node).collect()
    }

    /// By the table in force, and by the one under way.
    fn counts(&self) -> impl Iterator<Item = &Count> {
        std::iter::once(&self.count).chain(&self.next)
    }

    fn suffices(&self) -> bool {
        self.counts().all(|count| count.tally.suffices())
    }

    /// Why the votes are not enough, in words.
    fn reason(&self) -> Option<String> {
        self.counts().find(|count| !count.tally.suffices()).map(|count| count.tally.reason())
    }

    /// Whether a candidate can be told: too few votes at once, enough of them when leases allow it.
    fn is_ripe(&self, own: Own, held: &Held, resigned: bool, now: Boottime) -> bool {
        let Some(give_up) = self.give_up else { return false };
        let free = now >= self.wait_until && (now >= give_up || now < self.until(own, held));
        free || resigned || !self.suffices()
    }

    fn until(&self, own: Own, held: &Held) -> Boottime {
        let device = self.device_until(own, held);
        let of = |count: &Count| {
            held.until(own.me, &count.voters, count.tally.need(), (device, count.tally.device))
        };
        self.counts().map(of).min().unwrap_or(Boottime::ZERO)
    }

    /// Until when the device's vote counts here: the disk knows this configuration or a later one of the owner.
    fn device_until(&self, own: Own, held: &Held) -> Boottime {
        let hold = own.hold.filter(|h| h.ring >= self.ring).map_or(Boottime::ZERO, |h| h.until);
        hold.max(held.device(&self.count.voters))
    }

    /// Whether the device's vote is one of those that it takes, by any table.
    fn has_device(&self) -> bool {
        self.counts().any(|count| count.tally.device.get() > 0)
    }

    fn reckon(&mut self, own: Own) {
        self.leased_until = self.until(own, &self.held);
    }
}

impl Quorum {
    /// At this node's start: not quorate.
    #[must_use]
    pub fn new(config: &NodeConfig, now: Boottime) -> Self {
        let tables = config.tables.clone().unwrap_or_else(|| Tables::of_file(config.table()));
        let timers = &config.settings.timers;
        let QuorumConfig { two_node, wait_for_all, .. } = config.quorum;
        let options = config.settings.quorum.unwrap_or(QuorumOptions {
            two_node,
            wait_for_all,
            ..QuorumOptions::default()
        });
        // Who was more once is not a majority of fewer, as long as no quorate partition says otherwise: as one does where nodes
        // do not count.
        let seen = config.expected_seen.filter(|_| !tables.table.is_scaled()).unwrap_or_default();
        let expected = tables.table.expected_now().max(seen);
        let mut quorum = Self {
            me: config.me,
            options,
            new_options: None,
            expected_seen: config.expected_seen,
            lease: timers.lease,
            votes: tables.table.votes(config.me).unwrap_or(Votes::new(0)),
            expected,
            on_disk: true,
            tables,
            armed: options.wait_for_all,
            ring: RingId::default(),
            records: BTreeMap::new(),
            held: Held::default(),
            hold: None,
            promised: Promised::new(timers.lease, timers.lease_margin, config.promised, now),
            ballot: None,
            candidate: None,
            resigned: None,
            view: QuorumView::default(),
        };
        quorum.align_records(&[]);
        quorum.note_life(config.me, config.incarnation);
        quorum.rebuild_view(now, false, "no configuration yet".to_owned());
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

    /// The node table in force, and the one under way.
    #[must_use]
    pub fn tables(&self) -> &Tables {
        &self.tables
    }

    /// Whether the disk holds the tables.
    #[must_use]
    pub fn tables_on_disk(&self) -> bool {
        self.on_disk
    }

    /// Options in force.
    #[must_use]
    pub fn options(&self) -> &QuorumOptions {
        &self.options
    }

    /// The most votes that were ever expected here, if that is tracked.
    #[must_use]
    pub fn expected_seen(&self) -> Option<Votes> {
        self.expected_seen
    }

    /// Nodes that have left in order, and are no members.
    pub fn left(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.records.iter().filter(|(_, r)| r.state == NodeState::Leaving).map(|(node, _)| *node)
    }

    /// The disk holds the tables.
    pub fn tables_persisted(&mut self) {
        self.on_disk = true;
    }

    /// Fills in this node's part of the exchange.
    pub fn state(&self, members: &[NodeId], now: Boottime, state: &mut State) {
        state.votes = self.votes;
        state.expected = self.expected;
        *state.tables = self.tables.clone();
        state.quorate = self.view.quorate;
        state.wait_for_all = self.options.wait_for_all;
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

    /// Other options. No order is needed among members: while some have `two_node` and others have not, those that have it are the
    /// named exception to "one quorum", and the others count as ever. Nor are they mixed with a configuration that is not told
    /// yet: they come behind it.
    pub fn set_options(&mut self, options: QuorumOptions) {
        self.new_options = Some(options);
    }

    /// Takes other options, if there are any. Whether something has changed.
    fn take_options(&mut self) -> bool {
        let Some(new) = self.new_options.take() else { return false };
        let wait_for_all = new.wait_for_all;
        let two_nodes = self.is_two_node_table(&self.tables.table);
        let effective = |o: &QuorumOptions| QuorumOptions { two_node: o.two_node && two_nodes, ..*o };
        let changed = effective(&new) != effective(&self.options);
        self.options = new;
        if !changed {
            return false;
        }
        match self.ballot.as_ref().map(|b| b.count.voters.clone()) {
            Some(mut voters) => {
                let own = voters.iter_mut().filter(|v| v.node == self.me);
                own.for_each(|v| v.waits_for_all &= wait_for_all);
                self.replace(voters, self.tie());
            }
            None => self.armed = wait_for_all,
        }
        true
    }

    /// A member of the current ring echoed the heartbeat that this life sent at `send_time`, for a lease of this length.
    /// `device`: for so long with the vote of the quorum device that it owns.
    pub fn echo(&mut self, from: NodeId, send_time: Boottime, lease: Span, device: Span) {
        let own = self.own();
        self.held.echo(from, send_time, lease, device);
        if let Some(ballot) = self.ballot.as_mut().filter(|b| b.together.contains(&from)) {
            ballot.held.echo(from, send_time, lease, device);
            ballot.reckon(own);
        }
    }

    /// The device's vote, as far as this node may count it.
    pub fn set_hold(&mut self, hold: Option<Hold>) {
        if self.hold != hold {
            self.hold = hold;
            let own = self.own();
            if let Some(ballot) = &mut self.ballot {
                ballot.reckon(own);
            }
        }
    }

    /// How long an echo sent now hands the device's vote on, from the send time of what it echoes: it counts for the receiver no longer
    /// than here.
    #[must_use]
    pub fn hands_on(&self, now: Boottime) -> Span {
        let hold = self.hold.filter(|h| h.ring == self.ring && self.resigned.is_none());
        let rest = hold.map_or(Span::ZERO, |h| h.until.since(now));
        rest.saturating_sub(self.promised.margin()).min(self.promised.lease())
    }

    /// Whether the configuration synchronised last is quorate if it has the device's vote; and its ring and members.
    #[must_use]
    pub fn device_wish(&self) -> Wish {
        let Some(ballot) = self.current() else { return Wish::default() };
        let bit = |v: &Voter| v.node.get().checked_sub(1).and_then(|n| 1_u64.checked_shl(n)).unwrap_or(0);
        Wish {
            wanted: ballot.has_device() && ballot.suffices() && self.resigned.is_none(),
            ring: ballot.ring,
            members: ballot.count.voters.iter().fold(0, |all, v| all | bit(v)),
        }
    }

    /// Whether a member of the configuration synchronised last hands the device's vote on to this node.
    #[must_use]
    pub fn is_handed_device(&self, now: Boottime) -> bool {
        self.current().is_some_and(|ballot| now < self.held.device(&ballot.count.voters))
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
        self.align_records(members);
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
        // The latest tables of all count. A member that had others has said its votes by those.
        let latest = states.values().map(|s| &*s.tables).max_by_key(|t| t.rank());
        let latest = latest.cloned().unwrap_or_default();
        if latest.is_bound() && latest != self.tables {
            self.set_tables(latest.clone(), &members);
        }
        let voter = |(node, s): (&NodeId, &State)| {
            let same = s.tables.id == latest.id;
            let votes = match latest.table.votes(*node) {
                Some(votes) if !same => votes,
                None if latest.is_bound() => Votes::new(0),
                _ => s.votes,
            };
            Voter {
                node: *node,
                votes,
                expected: if same { s.expected } else { latest.table.expected_now() },
                quorate: same && s.quorate,
                waits_for_all: s.waits_for_all,
            }
        };
        let mut voters: Vec<Voter> = states.iter().map(voter).collect();
        let file = &self.tables.table;
        let alike = states.values().all(|s| s.tables.table == *file);
        // Files that differ could name two of them.
        let tie = file.scale.tie.filter(|_| latest.is_bound() || alike);
        let device = file.device_now();
        let tally = Tally::of(&voters, self.is_two_node(file), votes_of(device)).with_tie(&voters, tie);
        // All are here, also those whose votes are out of the count and can come back into it only with a quorum.
        let all = || self.tables.ids().iter().all(|id| states.contains_key(id));
        let tally = Tally { waits_for_all: tally.waits_for_all && !(latest.is_bound() && all()), ..tally };
        let adopt = voters.iter().any(|v| v.quorate);
        for voter in &mut voters {
            // A partition's expected votes are taken over with its quorum; otherwise everyone keeps its own, but never
            // below what is here.
            voter.expected = if adopt { tally.expected } else { voter.expected.max(tally.with_device()) };
            voter.quorate = false;
            voter.waits_for_all = !tally.suffices() && states[&voter.node].wait_for_all;
            if let Some(record) = self.records.get_mut(&voter.node) {
                (record.votes, record.expected) = (voter.votes, voter.expected);
            }
        }
        let next = latest.next.as_ref().map(|(_, t)| Count::by(t, &voters, self.is_two_node(t)));
        if let Some(me) = voters.iter().find(|v| v.node == self.me) {
            (self.votes, self.expected) = (me.votes, me.expected);
        }
        // By a file that all have, a majority of it: from now on it counts, whatever files say. The device's vote is not here for sure.
        if !latest.is_bound() && tally.has_enough(false) && tally.suffices() && alike {
            let id = TableId { ring: ring.seq, number: 0 };
            self.set_tables(Tables { id, ..self.tables.clone() }, &members);
        }
        let mut ended: BTreeMap<NodeId, Incarnation> = BTreeMap::new();
        for (node, life) in states.values().flat_map(|s| s.ended.iter().chain(&s.confirmed)) {
            let known = ended.entry(*node).or_insert(*life);
            *known = (*life).max(*known);
        }
        for (node, life) in ended.iter().filter(|(node, _)| self.records.contains_key(node)) {
            self.promised.end(*node, *life);
        }
        // Of an earlier life nobody knows whom it echoed: those of its table, if that was never another one.
        let all = self.records.keys().all(|node| members.contains(node)) && self.tables.is_first();
        let stated = states.values().map(|s| (&s.promised[..], s.start_wait));
        let wait = lease::wait_for(all, &members, stated, &ended);
        self.candidate = Some(Ballot {
            ring,
            count: Count { voters, device, tally },
            next,
            wait_until: now + wait,
            give_up: None,
            together: members.into_iter().collect(),
            held: Held::default(),
            leased_until: Boottime::ZERO,
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
        let own = self.own();
        let (held, resigned, on_disk) = (&self.held, self.resigned.is_some(), self.on_disk);
        let ripe =
            |c: &mut Ballot| (on_disk || resigned || !c.suffices()) && c.is_ripe(own, held, resigned, now);
        let told = match self.candidate.take_if(ripe) {
            Some(candidate) => {
                let ballot = self.ballot.insert(Ballot { held: self.held.clone(), ..candidate });
                ballot.reckon(own);
                true
            }
            None => false,
        };
        let told = self.candidate.is_none() && self.take_options() || told;
        let quorate = self.quorate(now);
        if let Some(ballot) = self.ballot.as_mut().filter(|b| !quorate && b.ring != self.ring) {
            ballot.void = true;
        }
        let device = self.candidate.is_none() && self.device_counts(now) != self.view.has_device();
        if told || device || quorate != self.view.quorate {
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
        ballot.held.lapsing(self.me, &ballot.count.voters, ballot.leased_until).collect()
    }

    /// When time alone changes something.
    #[must_use]
    pub fn next_timeout(&self, now: Boottime) -> Option<Boottime> {
        let candidate = self.candidate.as_ref().filter(|_| self.on_disk).and_then(|c| {
            let give_up = c.give_up?;
            Some(if now < c.wait_until { c.wait_until } else { give_up })
        });
        let ballot = self.ballot.as_ref().and_then(|b| {
            let change = if self.view.quorate { b.leased_until } else { b.wait_until };
            (now < change && change < Boottime::MAX).then_some(change)
        });
        // Trackers are told when the device's vote goes, even if quorum stays.
        let device = self.ballot.as_ref().filter(|_| self.view.has_device());
        let device = device.map(|b| b.device_until(self.own(), &b.held)).filter(|at| now < *at);
        [candidate, ballot, device].into_iter().flatten().min()
    }

    /// Gives up quorum for good: this life leaves or goes down.
    pub fn resign(&mut self, why: &str) {
        self.resigned.get_or_insert_with(|| why.to_owned());
    }

    /// Whether the votes of the configuration synchronised last are enough. The lease has its own say.
    #[must_use]
    pub fn suffices(&self) -> bool {
        self.current().is_some_and(Ballot::suffices)
    }

    /// The administrator ends waiting for all, in its place of the order. Where votes are too few even so, the wait is
    /// armed again at once, as in votequorum: nothing changes.
    pub fn cancel_wait_for_all(&mut self, now: Boottime, outputs: &mut impl Extend<Output>) {
        let cancel = |voters: &[Voter]| -> Vec<Voter> {
            voters.iter().map(|v| Voter { waits_for_all: false, ..*v }).collect()
        };
        let Some(voters) = self.current().map(|b| cancel(&b.count.voters)) else { return };
        let tie = self.tie();
        if Count::of(voters.clone(), self.is_two_node(&self.tables.table), self.device(), tie)
            .tally
            .suffices()
        {
            self.replace(voters, tie);
            self.tell_numbers(now, outputs);
        }
    }

    /// The ballot of the configuration synchronised last.
    fn current(&self) -> Option<&Ballot> {
        self.candidate.as_ref().or(self.ballot.as_ref())
    }

    /// Who breaks a tie in it.
    fn tie(&self) -> Option<NodeId> {
        self.current().and_then(|ballot| ballot.count.tally.tie)
    }

    /// The quorum device of it.
    fn device(&self) -> Option<DeviceEntry> {
        self.current().and_then(|ballot| ballot.count.device)
    }

    fn own(&self) -> Own {
        Own { me: self.me, hold: self.hold }
    }

    /// The device of the table in force, or the one that is being put in.
    fn known_device(&self) -> Option<DeviceEntry> {
        self.tables.table.device.or(self.tables.next.as_ref().and_then(|(_, table)| table.device))
    }

    /// Whether the device's vote counts in the ballot announced.
    fn device_counts(&self, now: Boottime) -> bool {
        let until = |b: &Ballot| b.device_until(self.own(), &b.held);
        self.known_device().is_some()
            && self.ballot.as_ref().is_some_and(|b| b.has_device() && now < until(b))
    }

    /// `two_node` can hold where the table has no more; and not with a device: both halves must not be quorate.
    fn is_two_node_table(&self, table: &NodeTable) -> bool {
        table.nodes.len() <= 2 && table.device.is_none()
    }

    /// `two_node` holds.
    fn is_two_node(&self, table: &NodeTable) -> bool {
        self.options.two_node && self.is_two_node_table(table)
    }

    fn set_tables(&mut self, tables: Tables, members: &[NodeId]) {
        self.tables = tables;
        self.on_disk = false;
        self.align_records(members);
    }

    /// Keeps records of the nodes of the tables, and of members that are in none.
    fn align_records(&mut self, members: &[NodeId]) {
        let table = &self.tables.table;
        let mut ids = self.tables.ids();
        ids.extend(members);
        self.records.retain(|node, _| ids.contains(node));
        for id in ids {
            let state = if members.contains(&id) { NodeState::Member } else { NodeState::Dead };
            let votes = table.votes(id).unwrap_or(Votes::new(0));
            self.records.entry(id).or_insert(Record {
                state,
                votes,
                expected: table.expected_now(),
                life: None,
            });
        }
    }

    fn set_votes(&mut self, node: NodeId, votes: impl FnOnce(Votes) -> Votes) {
        let record = self.records.get_mut(&node);
        let new = votes(record.as_ref().map_or(self.votes, |r| r.votes));
        if let Some(record) = record {
            record.votes = new;
        }
        if node == self.me {
            self.votes = new;
        }
    }

    /// The configuration synchronised last counts by these from now on.
    fn replace(&mut self, voters: Vec<Voter>, tie: Option<NodeId>) {
        let (two_node, own) = (self.is_two_node(&self.tables.table), self.own());
        let device = self.tables.table.device_now();
        let Some(ballot) = self.candidate.as_mut().or(self.ballot.as_mut()) else { return };
        ballot.count = Count::of(voters, two_node, device, tie);
        if ballot.count.tally.suffices() {
            // They were all here: whose votes an administrator takes away later is not waited for.
            ballot.count.voters.iter_mut().for_each(|v| v.waits_for_all = false);
        }
        ballot.reckon(own);
        for voter in &ballot.count.voters {
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
        self.armed = self.options.wait_for_all && !self.suffices();
    }

    fn quorate(&self, now: Boottime) -> bool {
        let Some(ballot) = &self.ballot else { return false };
        self.resigned.is_none()
            && self.is_in_table()
            && !ballot.void
            && ballot.suffices()
            && now >= ballot.wait_until
            && now < ballot.leased_until
    }

    /// Who is not in the table in force is no part of the cluster yet, or any more.
    fn is_in_table(&self) -> bool {
        self.tables.table.votes(self.me).is_some()
    }

    fn waits(&self, now: Boottime) -> bool {
        self.resigned.is_none() && self.current().is_some_and(|b| b.suffices() && now < b.wait_until)
    }

    fn tell(&mut self, now: Boottime, quorate: bool, outputs: &mut impl Extend<Output>) {
        let short = self.ballot.as_ref().and_then(Ballot::reason);
        let tally = self.ballot.as_ref().map(|b| b.count.tally).filter(|t| !t.has_enough(false));
        let reason = match (&self.resigned, &self.ballot) {
            _ if quorate => String::new(),
            (Some(why), _) => why.clone(),
            (None, None) => "no configuration yet".to_owned(),
            (None, Some(_)) if !self.is_in_table() => "this node is not in the node table".to_owned(),
            (None, Some(_)) => match (short, tally) {
                (Some(short), _) => short,
                (None, _) if self.waits(now) => "waits for the leases of absent nodes".to_owned(),
                (None, Some(Tally { total, expected, quorum, .. })) => {
                    format!("{total} of {expected} votes, {quorum} needed, without the quorum device's")
                }
                (None, None) => "lease ran out".to_owned(),
            },
        };
        let changed = quorate != self.view.quorate;
        self.rebuild_view(now, quorate, reason);
        outputs.extend([Output::Quorum(self.view.clone())]);
        if changed {
            outputs.extend([Output::Event(Event::Quorate(quorate))]);
        }
    }

    fn rebuild_view(&mut self, now: Boottime, quorate: bool, reason: String) {
        let counts = self.device_counts(now);
        let node = |(node, r): (&NodeId, &Record)| NodeVotes {
            node: *node,
            state: r.state as u32,
            votes: r.votes,
            expected: r.expected,
            incarnation: r.life,
        };
        let nodes = self.records.iter().map(node).collect();
        let ballot = self.ballot.as_ref();
        let tally = ballot.map(|b| b.count.tally);
        let expected = tally.map_or(self.expected, |t| t.expected);
        self.expected_seen = self.expected_seen.map(|seen| seen.max(expected));
        self.view = QuorumView {
            quorate,
            ring: ballot.map(|b| b.ring).unwrap_or_default(),
            members: ballot.map(Ballot::members).unwrap_or_default(),
            nodes,
            expected: self.expected,
            highest_expected: expected,
            total: tally.map_or(Votes::new(0), |t| if counts { t.with_device() } else { t.total }),
            device: self.known_device().map(|device| DeviceView {
                name: device.kind.title(),
                model: device.kind.name(),
                votes: device.votes,
                counts,
                out: self.tables.table.scale.device_out,
            }),
            quorum: tally.map_or(Votes::new(self.expected.get() / 2 + 1), |t| t.quorum),
            two_node: self.is_two_node(&self.tables.table)
                && ballot.is_none_or(|b| b.count.voters.len() <= 2),
            tie: tally.and_then(|t| t.need().tie),
            last_man_standing: self.options.last_man_standing.is_some(),
            allow_downscale: self.options.allow_downscale.is_some(),
            ev_barrier: self.options.allow_downscale.unwrap_or(self.tables.table.expected),
            wait_for_all: self.options.wait_for_all,
            wait_for_all_status: self.armed,
            waits_for_lease: false,
            reason,
        };
    }
}

#[cfg(test)]
mod tests;
