//! Both sides of the quorum lease.
//!
//! *Held*: this node counts the votes of a member while `now < send time of the newest own heartbeat that the member
//! echoed + lease`. The send time is this node's own, so no delay of heartbeat or echo can stretch a lease.
//!
//! *Promised*: what this node's echoes may still be worth to others. The heartbeat that an echo names was sent before it
//! arrived here at `t`, however often it is echoed since, so no echo of it counts after `t + lease`; a margin covers
//! clocks that drift and a scheduler that is late. With a lease below the detector's limit, a member that went silent
//! has nothing left when it is suspected. A configuration that this node is in waits that long for everyone it does not contain.
//! What an earlier life of this node promised is not known: it is taken to have echoed everyone until this life began.

use std::collections::BTreeMap;

use arrayvec::ArrayVec;
use holdfast_types::{Boottime, Incarnation, NodeId, Span, Votes};

use super::votes::Voter;
use crate::limits::NODES_MAX;

/// Echoes received, by member.
#[derive(Clone, Debug, Default)]
pub struct Held {
    echoes: BTreeMap<NodeId, Boottime>,
}

impl Held {
    /// `from` echoed the heartbeat that this node sent at `send_time`.
    pub fn echo(&mut self, from: NodeId, send_time: Boottime) {
        let newest = self.echoes.entry(from).or_insert(send_time);
        *newest = send_time.max(*newest);
    }

    /// Forgets echoes of all but these nodes.
    pub fn retain(&mut self, keep: impl Fn(NodeId) -> bool) {
        self.echoes.retain(|node, _| keep(*node));
    }

    /// Until when the votes that count make `quorum` if no more echoes come: those of every voter whose lease has not ended,
    /// and this node's own, always. [`Boottime::ZERO`]: they never did; [`Boottime::MAX`]: its own are enough.
    #[must_use]
    pub fn until(&self, me: NodeId, voters: &[Voter], quorum: Votes, lease: Span) -> Boottime {
        let mut votes =
            voters.iter().filter(|v| v.node == me).fold(0, |sum, v| v.votes.get().saturating_add(sum));
        if votes >= quorum.get() {
            return Boottime::MAX;
        }
        let mut ends: ArrayVec<(Boottime, u32), NODES_MAX> = ArrayVec::new();
        for voter in voters.iter().filter(|v| v.node != me) {
            if let Some(end) = self.end(voter.node, lease) {
                ends.push((end, voter.votes.get()));
            }
        }
        // Longest first: the vote that completes the quorum is the one that ends it.
        ends.sort_unstable_by(|a, b| b.cmp(a));
        for (end, more) in ends {
            votes = votes.saturating_add(more);
            if votes >= quorum.get() {
                return end;
            }
        }
        Boottime::ZERO
    }

    fn end(&self, node: NodeId, lease: Span) -> Option<Boottime> {
        Some(*self.echoes.get(&node)? + lease)
    }
}

/// Echoes sent, by receiver: the life and the arrival of the newest heartbeat echoed.
#[derive(Debug)]
pub struct Promised {
    span: Span,
    started: Boottime,
    last: BTreeMap<NodeId, (Incarnation, Boottime)>,
    ended: BTreeMap<NodeId, Incarnation>,
}

impl Promised {
    /// At this node's start. `lease` and `margin` as configured.
    #[must_use]
    pub fn new(lease: Span, margin: Span, started: Boottime) -> Self {
        Self { span: lease + margin, started, last: BTreeMap::new(), ended: BTreeMap::new() }
    }

    /// A heartbeat of this life of `node`, which arrived here at `arrived`, is echoed.
    pub fn echoed(&mut self, node: NodeId, life: Incarnation, arrived: Boottime) {
        self.last.insert(node, (life, arrived));
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

    /// All firm news.
    #[must_use]
    pub fn ended(&self) -> Vec<(NodeId, Incarnation)> {
        self.ended.iter().map(|(node, life)| (*node, *life)).collect()
    }

    /// Echoes to nodes outside `members` that can still count, and for how long.
    #[must_use]
    pub fn outstanding(&self, members: &[NodeId], now: Boottime) -> Vec<(NodeId, Incarnation, Span)> {
        self.last
            .iter()
            .filter(|(node, _)| !members.contains(node))
            .map(|(node, (life, at))| (*node, *life, (*at + self.span).since(now)))
            .filter(|(node, life, rest)| *rest > Span::ZERO && !self.is_ended(*node, *life))
            .collect()
    }

    /// How long an echo of an earlier life of this node can still count.
    #[must_use]
    pub fn start_wait(&self, now: Boottime) -> Span {
        (self.started + self.span).since(now)
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
    fn one_vote(nodes: u32) -> Vec<Voter> {
        (1..=nodes).map(|n| voter(n, 1)).collect()
    }

    #[test]
    fn a_lease_counts_from_the_send_time_so_delay_cannot_stretch_it() {
        let votes = one_vote(3);
        let mut held = Held::default();
        // Sent at 0, echoed and received whenever: the echo is worth nothing from 400 on.
        held.echo(node(2), at(0));
        assert_eq!(held.until(node(1), &votes, Votes::new(2), LEASE), at(400));
        // An older echo that comes late takes nothing away and adds nothing.
        held.echo(node(2), at(100));
        held.echo(node(2), at(50));
        assert_eq!(held.until(node(1), &votes, Votes::new(2), LEASE), at(500));
    }

    #[test]
    fn echoes_of_strangers_count_for_nothing() {
        let votes = one_vote(3);
        let mut held = Held::default();
        held.echo(node(7), at(0));
        assert_eq!(held.until(node(1), &votes, Votes::new(2), LEASE), Boottime::ZERO);
    }

    #[test]
    fn a_lease_runs_out_with_the_vote_that_completes_the_quorum() {
        let votes = one_vote(5);
        let mut held = Held::default();
        for (n, sent) in [(2, 100), (3, 50), (4, 10)] {
            held.echo(node(n), at(sent));
        }
        let quorum = Votes::new(3);
        let end = held.until(node(1), &votes, quorum, LEASE);
        assert_eq!(end, at(450), "2 holds until 500, 3 until 450: with 1 that is three until 450");
        assert_eq!(
            held.until(node(1), &votes, Votes::new(1), LEASE),
            Boottime::MAX,
            "its own vote is enough"
        );
        assert_eq!(
            held.until(node(1), &votes, Votes::new(5), LEASE),
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
                held.echo(node(n), at(u64::from(n) * 10));
            }
            let valid = |v: &Voter, ms: u64| v.node == node(1) || ms < u64::from(v.node.get()) * 10 + 400;
            let count = |ms| votes.iter().filter(|v| valid(v, ms)).map(|v| v.votes.get()).sum::<u32>();
            for quorum in 1..=8 {
                let end = held.until(node(1), &votes, Votes::new(quorum), LEASE);
                for ms in [0, 50, 419, 420, 421, 429, 430, 431, 439, 440, 441, 10_000] {
                    assert_eq!(at(ms) < end, count(ms) >= quorum, "{votes:?}, {quorum} at {ms}");
                }
            }
        }
    }

    #[test]
    fn a_promise_outlasts_every_lease_it_can_feed() {
        let mut promised = Promised::new(LEASE, MARGIN, at(0));
        promised.echoed(node(3), life(1), at(1_000));
        // Node 3 sent that heartbeat at 1000 at the latest: its lease ends by 1400, the promise at 1450.
        assert_eq!(promised.outstanding(&[node(1)], at(1_100)), [(node(3), life(1), Span::from_millis(350))]);
        assert_eq!(promised.outstanding(&[node(1)], at(1_450)), []);
        assert_eq!(promised.outstanding(&[node(1), node(3)], at(1_100)), [], "members are not waited for");
    }

    #[test]
    fn firm_news_ends_the_promise_to_that_life_and_to_no_later_one() {
        let mut promised = Promised::new(LEASE, MARGIN, at(0));
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
        let promised = Promised::new(LEASE, MARGIN, at(0));
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
