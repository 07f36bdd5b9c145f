//! Both sides of the quorum lease.
//!
//! *Held*: this node counts the votes of a member while `now < send time of the newest own heartbeat that the member
//! echoed + lease`. The send time is this node's own, so no delay of heartbeat or echo can stretch a lease. The lease is the
//! one that came with the echo.
//!
//! *Promised*: what this node's echoes may still be worth to others. The heartbeat that an echo names was sent before it
//! arrived here at `t`, however often it is echoed since, so no echo of it counts after `t + lease`; a margin covers
//! clocks that drift and a scheduler that is late. Each echo says how long it counts, and what it promises is noted when it is
//! sent: leases can be changed at any time, and members with different ones are no danger to each other (decision 13). With a lease below the detector's limit, a member that went silent
//! has nothing left when it is suspected. A configuration that this node is in waits that long for everyone it does not contain.
//! What an earlier life of this node promised is not known: it is taken to have echoed everyone until this life began, with
//! the longest promise that its disk holds. A longer one is on the disk before it is made.

use std::collections::BTreeMap;

use arrayvec::ArrayVec;
use holdfast_types::{Boottime, Incarnation, NodeId, Span, Votes};

use super::votes::{Need, Voter};
use crate::limits::NODES_MAX;

/// Echoes received: until when each member's vote counts, and the quorum device's where a member hands it on.
#[derive(Clone, Debug, Default)]
pub struct Held {
    ends: BTreeMap<NodeId, Boottime>,
    device: BTreeMap<NodeId, Boottime>,
}

impl Held {
    /// `from` echoed the heartbeat that this node sent at `send_time`, for a lease; for how long with the vote of the quorum
    /// device that it owns.
    pub fn echo(&mut self, from: NodeId, send_time: Boottime, lease: Span, device: Span) {
        let end = self.ends.entry(from).or_insert(Boottime::ZERO);
        *end = (*end).max(send_time + lease);
        if device > Span::ZERO {
            let end = self.device.entry(from).or_insert(Boottime::ZERO);
            *end = (*end).max(send_time + device);
        }
    }

    /// Until when the vote of the quorum device counts that one of `voters` hands on.
    #[must_use]
    pub fn device(&self, voters: &[Voter]) -> Boottime {
        let ends = voters.iter().filter_map(|v| self.device.get(&v.node));
        ends.copied().max().unwrap_or(Boottime::ZERO)
    }

    /// Forgets echoes of all but these nodes.
    pub fn retain(&mut self, keep: impl Fn(NodeId) -> bool) {
        self.ends.retain(|node, _| keep(*node));
        self.device.retain(|node, _| keep(*node));
    }

    /// Until when the votes that count make `quorum` if no more echoes come: those of every voter whose lease has not ended,
    /// this node's own, always, and those of the quorum device, until when and how many. [`Boottime::ZERO`]: they never did;
    /// [`Boottime::MAX`]: its own are enough.
    #[must_use]
    pub fn until(
        &self,
        me: NodeId,
        voters: &[Voter],
        quorum: impl Into<Need>,
        device: (Boottime, Votes),
    ) -> Boottime {
        let need: Need = quorum.into();
        let own = voters.iter().filter(|v| v.node == me);
        let mut weight = own.fold(0, |sum, v| need.weight_of(v).saturating_add(sum));
        if weight >= need.weight {
            return Boottime::MAX;
        }
        let mut ends: ArrayVec<(Boottime, u32), { NODES_MAX + 1 }> = ArrayVec::new();
        if device.0 > Boottime::ZERO {
            ends.push((device.0, device.1.get().saturating_mul(2)));
        }
        for voter in voters.iter().filter(|v| v.node != me) {
            if let Some(end) = self.ends.get(&voter.node) {
                ends.push((*end, need.weight_of(voter)));
            }
        }
        // Longest first: the vote that completes the quorum is the one that ends it.
        ends.sort_unstable_by(|a, b| b.cmp(a));
        for (end, more) in ends {
            weight = weight.saturating_add(more);
            if weight >= need.weight {
                return end;
            }
        }
        Boottime::ZERO
    }

    /// Voters other than `me` whose votes count until `at` at the latest, if they echo nothing more.
    pub fn lapsing(&self, me: NodeId, voters: &[Voter], at: Boottime) -> impl Iterator<Item = NodeId> {
        let lapses = move |v: &&Voter| v.node != me && self.ends.get(&v.node).is_none_or(|end| *end <= at);
        voters.iter().filter(lapses).map(|v| v.node)
    }
}

/// Echoes sent, by receiver: the life, and until when an echo sent to it can count.
#[derive(Debug)]
pub struct Promised {
    /// What echoes are given.
    lease: Span,
    margin: Span,
    /// What is wanted: given as soon as the disk holds a promise that long, which at the start it may not yet.
    wanted: (Span, Span),
    started: Boottime,
    /// The longest promise of earlier lives.
    before: Span,
    /// The longest one of this life.
    peak: Span,
    /// What the disk has been asked to hold, and what it holds at least.
    asked: Span,
    durable: Span,
    last: BTreeMap<NodeId, (Incarnation, Boottime)>,
    ended: BTreeMap<NodeId, Incarnation>,
}

impl Promised {
    /// At this node's start. `lease` and `margin` as configured, `before` as the disk has it.
    #[must_use]
    pub fn new(lease: Span, margin: Span, before: Span, started: Boottime) -> Self {
        let mut new = Self {
            lease: before.saturating_sub(margin).min(lease),
            margin,
            wanted: (lease, margin),
            started,
            before: before.max(lease + margin),
            peak: lease + margin,
            asked: before,
            durable: before,
            last: BTreeMap::new(),
            ended: BTreeMap::new(),
        };
        new.take_wanted();
        new
    }

    /// What is added to the lease of an echo.
    #[must_use]
    pub fn margin(&self) -> Span {
        self.margin
    }

    /// The longest promise of this life: of an echo sent now, at most.
    #[must_use]
    pub fn longest(&self) -> Span {
        self.peak.max(self.before)
    }

    /// The disk is to hold a promise this long. Whether it does.
    pub fn prepare(&mut self, promise: Span) -> bool {
        self.peak = self.peak.max(promise);
        promise <= self.durable
    }

    /// Echoes are given this lease from now on. Those sent before count as they were given.
    pub fn change(&mut self, lease: Span, margin: Span) {
        self.wanted = (lease, margin);
        let held = self.prepare(lease + margin);
        assert!(held, "a promise of {lease} and {margin} is not on the disk");
        self.take_wanted();
    }

    /// The lease of an echo sent now.
    #[must_use]
    pub fn lease(&self) -> Span {
        self.lease
    }

    /// A promise that the disk is to hold instead of the one asked for last, if there is one: a longer one before it is made,
    /// and once, when those of earlier lives must have ended, the longest of this life.
    pub fn to_persist(&mut self, now: Boottime) -> Option<Span> {
        let over = now >= self.started + self.before;
        let wanted = if over { self.peak } else { self.peak.max(self.before) };
        let ask = self.asked != wanted;
        self.asked = wanted;
        // Whatever the disk ends up with, it is no less.
        self.durable = self.durable.min(wanted);
        ask.then_some(wanted)
    }

    /// The disk holds what it was asked to hold last.
    pub fn persisted(&mut self) {
        self.durable = self.asked;
        self.take_wanted();
    }

    fn take_wanted(&mut self) {
        let (lease, margin) = self.wanted;
        if lease + margin <= self.durable {
            (self.lease, self.margin) = (lease, margin);
        }
    }

    /// A heartbeat of this life of `node`, which arrived here at `arrived`, is echoed.
    pub fn echoed(&mut self, node: NodeId, life: Incarnation, arrived: Boottime) {
        let end = arrived + self.lease + self.margin;
        let last = self.last.entry(node).or_insert((life, end));
        *last = if last.0 == life { (life, last.1.max(end)) } else { (life, end) };
    }

    /// Firm news: no life of `node` up to this one can hold a lease. `true` if that is new.
    pub fn end(&mut self, node: NodeId, life: Incarnation) -> bool {
        let known = self.ended.get(&node).is_some_and(|known| *known >= life);
        if !known {
            self.ended.insert(node, life);
        }
        !known
    }

    /// Whether no lease of this life can be valid.
    #[must_use]
    pub fn is_ended(&self, node: NodeId, life: Incarnation) -> bool {
        self.ended.get(&node).is_some_and(|known| *known >= life)
    }

    /// Forgets nodes that are none any more.
    pub fn retain(&mut self, now: Boottime, keep: impl Fn(&NodeId) -> bool) {
        self.last.retain(|node, (_, end)| keep(node) || *end > now);
        self.ended.retain(|node, _| keep(node));
    }

    /// All firm news.
    pub fn ends(&self) -> impl Iterator<Item = (NodeId, Incarnation)> + '_ {
        self.ended.iter().map(|(node, life)| (*node, *life))
    }

    /// All firm news.
    #[must_use]
    pub fn ended(&self) -> Vec<(NodeId, Incarnation)> {
        self.ends().collect()
    }

    /// Echoes to nodes outside `members` that can still count, and for how long.
    #[must_use]
    pub fn outstanding(&self, members: &[NodeId], now: Boottime) -> Vec<(NodeId, Incarnation, Span)> {
        self.last
            .iter()
            .filter(|(node, _)| !members.contains(node))
            .map(|(node, (life, end))| (*node, *life, end.since(now)))
            .filter(|(node, life, rest)| *rest > Span::ZERO && !self.is_ended(*node, *life))
            .collect()
    }

    /// How long an echo of an earlier life of this node can still count.
    #[must_use]
    pub fn start_wait(&self, now: Boottime) -> Span {
        (self.started + self.before).since(now)
    }
}

/// How long a configuration must wait for the leases of those it does not contain, from what its members stated.
///
/// `promised` and `start_wait` as in each member's state; `ended` is everybody's firm news together; `all` tells
/// whether every configured node is a member, in which case there is nobody to wait for.
#[must_use]
pub fn wait_for<'a>(
    all: bool,
    members: &[NodeId],
    stated: impl IntoIterator<Item = (&'a [(NodeId, Incarnation, Span)], Span)>,
    ended: &BTreeMap<NodeId, Incarnation>,
) -> Span {
    if all {
        return Span::ZERO;
    }
    let over = |node: NodeId, life: Incarnation| ended.get(&node).is_some_and(|known| *known >= life);
    let mut wait = Span::ZERO;
    for (promised, start_wait) in stated {
        wait = wait.max(start_wait);
        for (node, life, rest) in promised {
            if !members.contains(node) && !over(*node, *life) {
                wait = wait.max(*rest);
            }
        }
    }
    wait
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Span = Span::from_millis(400);
    const MARGIN: Span = Span::from_millis(50);
    const NO_DEVICE: (Boottime, Votes) = (Boottime::ZERO, Votes::new(0));

    fn node(id: u32) -> NodeId {
        NodeId::new(id)
    }
    fn at(ms: u64) -> Boottime {
        Boottime::from_nanos(1_000_000 * (10_000 + ms))
    }
    fn life(n: u64) -> Incarnation {
        Incarnation::new(n)
    }
    fn voter(id: u32, votes: u32) -> Voter {
        let (votes, expected) = (Votes::new(votes), Votes::new(0));
        Voter { node: node(id), votes, expected, quorate: false, waits_for_all: false }
    }
    fn promised() -> Promised {
        Promised::new(LEASE, MARGIN, LEASE + MARGIN, at(0))
    }
    fn one_vote(nodes: u32) -> Vec<Voter> {
        (1..=nodes).map(|n| voter(n, 1)).collect()
    }

    #[test]
    fn a_lease_counts_from_the_send_time_so_delay_cannot_stretch_it() {
        let votes = one_vote(3);
        let mut held = Held::default();
        // Sent at 0, echoed and received whenever: the echo is worth nothing from 400 on.
        held.echo(node(2), at(0), LEASE, Span::ZERO);
        assert_eq!(held.until(node(1), &votes, Votes::new(2), NO_DEVICE), at(400));
        // An older echo that comes late takes nothing away and adds nothing.
        held.echo(node(2), at(100), LEASE, Span::ZERO);
        held.echo(node(2), at(50), LEASE, Span::ZERO);
        assert_eq!(held.until(node(1), &votes, Votes::new(2), NO_DEVICE), at(500));
    }

    #[test]
    fn echoes_of_strangers_count_for_nothing() {
        let votes = one_vote(3);
        let mut held = Held::default();
        held.echo(node(7), at(0), LEASE, Span::ZERO);
        assert_eq!(held.until(node(1), &votes, Votes::new(2), NO_DEVICE), Boottime::ZERO);
    }

    #[test]
    fn a_devices_vote_counts_as_long_as_the_echo_that_hands_it_on() {
        let votes = one_vote(2);
        let mut held = Held::default();
        held.echo(node(2), at(0), LEASE, Span::from_millis(300));
        held.echo(node(2), at(100), LEASE, Span::ZERO);
        assert_eq!(held.device(&votes), at(300), "handed on once");
        assert_eq!(held.device(&votes[..1]), Boottime::ZERO, "by no voter");
        let until =
            |held: &Held, quorum, end| held.until(node(1), &votes, Votes::new(quorum), (end, Votes::new(2)));
        assert_eq!(until(&held, 4, at(400)), at(400), "1, 2 and the device");
        assert_eq!(until(&held, 3, at(900)), at(900), "1 and the device");
        assert_eq!(until(&held, 4, at(900)), at(500), "2 is the vote that it takes");
        held.retain(|_| false);
        assert_eq!(held.device(&votes), Boottime::ZERO);
    }

    #[test]
    fn a_lease_runs_out_with_the_vote_that_completes_the_quorum() {
        let votes = one_vote(5);
        let mut held = Held::default();
        for (n, sent) in [(2, 100), (3, 50), (4, 10)] {
            held.echo(node(n), at(sent), LEASE, Span::ZERO);
        }
        let quorum = Votes::new(3);
        let end = held.until(node(1), &votes, quorum, NO_DEVICE);
        assert_eq!(end, at(450), "2 holds until 500, 3 until 450: with 1 that is three until 450");
        assert_eq!(
            held.until(node(1), &votes, Votes::new(1), NO_DEVICE),
            Boottime::MAX,
            "its own vote is enough"
        );
        assert_eq!(
            held.until(node(1), &votes, Votes::new(5), NO_DEVICE),
            Boottime::ZERO,
            "nothing is heard of 5"
        );
    }

    #[test]
    fn the_end_of_a_lease_is_when_the_votes_that_count_fall_below_the_quorum() {
        // All vote weights 0..=2 of four nodes with echoes at distinct times, all quora.
        let votes_of =
            |code: u32| -> Vec<Voter> { (1..=4).map(|n| voter(n, code / 3_u32.pow(n - 1) % 3)).collect() };
        for code in 0..81 {
            let votes = votes_of(code);
            let mut held = Held::default();
            for n in 2..=4 {
                held.echo(node(n), at(u64::from(n) * 10), LEASE, Span::ZERO);
            }
            let valid = |v: &Voter, ms: u64| v.node == node(1) || ms < u64::from(v.node.get()) * 10 + 400;
            let count = |ms| votes.iter().filter(|v| valid(v, ms)).map(|v| v.votes.get()).sum::<u32>();
            for quorum in 1..=8 {
                let end = held.until(node(1), &votes, Votes::new(quorum), NO_DEVICE);
                for ms in [0, 50, 419, 420, 421, 429, 430, 431, 439, 440, 441, 10_000] {
                    assert_eq!(at(ms) < end, count(ms) >= quorum, "{votes:?}, {quorum} at {ms}");
                }
            }
        }
    }

    #[test]
    fn a_promise_outlasts_every_lease_it_can_feed() {
        let mut promised = promised();
        promised.echoed(node(3), life(1), at(1_000));
        // Node 3 sent that heartbeat at 1000 at the latest: its lease ends by 1400, the promise at 1450.
        assert_eq!(promised.outstanding(&[node(1)], at(1_100)), [(node(3), life(1), Span::from_millis(350))]);
        assert_eq!(promised.outstanding(&[node(1)], at(1_450)), []);
        assert_eq!(promised.outstanding(&[node(1), node(3)], at(1_100)), [], "members are not waited for");
    }

    #[test]
    fn what_was_promised_stays_promised_when_leases_change() {
        let mut promised = promised();
        let rest =
            |p: &Promised, ms: u64| p.outstanding(&[], at(ms)).first().map(|(_, _, rest)| rest.as_millis());
        promised.echoed(node(3), life(1), at(1_000));
        promised.change(Span::from_millis(40), Span::from_millis(10));
        assert_eq!(promised.lease(), Span::from_millis(40));
        promised.echoed(node(3), life(1), at(1_100));
        assert_eq!(rest(&promised, 1_100), Some(350), "the longer one, sent before, still counts");
        promised.echoed(node(3), life(1), at(1_430));
        assert_eq!(rest(&promised, 1_430), Some(50), "and when it is over, the shorter one");
        promised.echoed(node(3), life(2), at(1_440));
        assert_eq!(rest(&promised, 1_440), Some(50), "another life has nothing of it");
    }

    #[test]
    fn a_longer_promise_is_on_the_disk_before_it_is_made() {
        let (long, margin) = (Span::from_millis(4_000), Span::from_millis(500));
        let mut promised = promised();
        assert_eq!(promised.to_persist(at(10)), None);
        assert!(!promised.prepare(long + margin));
        assert_eq!(promised.to_persist(at(10)), Some(long + margin));
        assert_eq!(promised.to_persist(at(20)), None, "once");
        promised.persisted();
        assert!(promised.prepare(long + margin));
        promised.change(long, margin);
        assert_eq!(promised.lease(), long);
        promised.change(LEASE, MARGIN);
        assert_eq!((promised.lease(), promised.to_persist(at(99_999))), (LEASE, None), "until the next life");
        // That one waits for what it finds, and then has less on the disk.
        let mut next = Promised::new(LEASE, MARGIN, long + margin, at(100_000));
        assert_eq!(next.start_wait(at(100_000)), long + margin);
        assert_eq!((next.lease(), next.to_persist(at(104_499))), (LEASE, None));
        assert_eq!(next.to_persist(at(104_500)), Some(LEASE + MARGIN));
        // It may have happened or not: a longer promise is asked for again.
        assert!(!next.prepare(long + margin));
        assert_eq!(next.to_persist(at(104_501)), Some(long + margin));
        // Whoever finds nothing promises nothing before there is something.
        let mut first = Promised::new(LEASE, MARGIN, Span::ZERO, at(0));
        assert_eq!((first.lease(), first.start_wait(at(0))), (Span::ZERO, LEASE + MARGIN));
        assert_eq!(first.to_persist(at(0)), Some(LEASE + MARGIN));
        first.persisted();
        assert_eq!(first.lease(), LEASE);
    }

    #[test]
    fn firm_news_ends_the_promise_to_that_life_and_to_no_later_one() {
        let mut promised = promised();
        promised.echoed(node(3), life(5), at(1_000));
        assert!(promised.end(node(3), life(4)), "an older life is news, but not of this one");
        assert_eq!(promised.outstanding(&[], at(1_000)).len(), 1);
        assert!(promised.end(node(3), life(5)));
        assert!(!promised.end(node(3), life(5)) && !promised.end(node(3), life(4)));
        assert_eq!(promised.outstanding(&[], at(1_000)), []);
        promised.echoed(node(3), life(6), at(1_001));
        assert_eq!(promised.outstanding(&[], at(1_001)).len(), 1, "the next life holds a lease of its own");
    }

    #[test]
    fn a_restarted_voter_makes_everyone_wait_unless_all_are_here() {
        let promised = promised();
        assert_eq!(promised.start_wait(at(100)), Span::from_millis(350));
        assert_eq!(promised.start_wait(at(450)), Span::ZERO);
        let stated = || [(&[][..], Span::from_millis(350)), (&[][..], Span::ZERO)];
        let none = BTreeMap::new();
        assert_eq!(wait_for(false, &[node(1), node(2)], stated(), &none), Span::from_millis(350));
        assert_eq!(wait_for(true, &[node(1), node(2)], stated(), &none), Span::ZERO);
    }

    #[test]
    fn the_longest_wait_of_any_member_counts_unless_somebody_knows_better() {
        let members = [node(1), node(2)];
        let (one, two) =
            ([(node(3), life(7), Span::from_millis(200))], [(node(4), life(1), Span::from_millis(90))]);
        let stated = || [(&one[..], Span::ZERO), (&two[..], Span::ZERO)];
        let mut ended = BTreeMap::from([(node(3), life(6))]);
        assert_eq!(wait_for(false, &members, stated(), &ended), Span::from_millis(200));
        ended.insert(node(3), life(7));
        assert_eq!(wait_for(false, &members, stated(), &ended), Span::from_millis(90));
    }
}
