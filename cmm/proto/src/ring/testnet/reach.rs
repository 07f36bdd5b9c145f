//! Claims about reach: with any graph of who hears whom the choice is made once, and what meets again becomes one ring at
//! once.

use super::check::{check, check_settled};
use super::seeds::{all_hold, range};
use super::*;
use crate::wire::Join;

impl Net {
    fn formed_with_beats(nodes: u32, seed: u64) -> Self {
        let mut net = Self::new(nodes, seed);
        net.beats = true;
        for n in 1..=nodes {
            net.start(n);
        }
        net.until_formed(&(1..=nodes).collect::<Vec<_>>());
        net
    }

    fn rings(&self) -> Vec<usize> {
        (1..=self.nodes.len()).map(|n| self.configurations(n as u32).len()).collect()
    }

    fn is_clique(&self, members: &[NodeId]) -> bool {
        members.iter().all(|a| members.iter().all(|b| !self.cuts.contains(&(*a, *b))))
    }

    /// Runs until every node is in the ring of those it names as members, and no ring has pairs apart.
    fn until_settled(&mut self) {
        self.until("settled", |net| {
            net.nodes.iter().filter_map(|n| n.ring.as_ref()).all(|ring| {
                let same = |m: &NodeId| net.ring(m.get()).ring_id() == ring.ring_id();
                ring.state() == State::Operational
                    && net.is_clique(ring.members())
                    && ring.members().iter().all(same)
            })
        });
    }
}

fn most(before: &[usize], after: &[usize]) -> usize {
    before.iter().zip(after).map(|(b, a)| a - b).max().unwrap_or(0)
}

/// Random cuts, both ways or one way, in a ring of three to nine: one ring each, then peace, then one ring for all.
fn random_reach(seed: u64) {
    let mut rng = Rng::new(seed);
    let nodes = 3 + rng.below(7) as u32;
    let mut net = Net::formed_with_beats(nodes, seed);
    net.run(Span::from_millis(50));
    let (share, one_way) = ([60, 200, 500][rng.below(3) as usize], rng.chance(300));
    for a in 1..=nodes {
        for b in 1..a {
            if rng.chance(share) {
                let (from, to) = if rng.chance(500) { (a, b) } else { (b, a) };
                net.cuts.insert((id(from), id(to)));
                if !one_way {
                    net.cuts.insert((id(to), id(from)));
                }
            }
        }
    }
    let cut = !net.cuts.is_empty();
    let formed = net.rings();
    net.run(Span::from_secs(1));
    net.until_settled();
    let settled = net.rings();
    let picture = net.picture();
    assert_eq!(most(&formed, &settled), usize::from(cut), "rings until it settled\n{picture}");
    net.run(Span::from_secs(10));
    assert_eq!(most(&settled, &net.rings()), 0, "rings in peace\n{picture}");
    net.cuts.clear();
    let all: Vec<u32> = (1..=nodes).collect();
    net.until_formed(&all);
    net.run(Span::from_secs(1));
    assert_eq!(most(&settled, &net.rings()), usize::from(cut), "rings until all were together\n{picture}");
    check(&net);
    check_settled(&net);
}

#[test]
fn whatever_the_graph_the_choice_is_made_once() {
    all_hold(range(150), random_reach);
}

/// Two to four parts of a ring that meet again all at once.
fn parts_merge(seed: u64) {
    let mut rng = Rng::new(seed);
    let nodes = 4 + rng.below(9) as u32;
    let parts = 2 + rng.below(3) as u32;
    let mut net = Net::formed_with_beats(nodes, seed);
    let part = |n: u32| n % parts;
    for a in 1..=nodes {
        for b in (1..=nodes).filter(|b| part(*b) != part(a)) {
            net.cuts.insert((id(a), id(b)));
        }
    }
    net.until_settled();
    net.run(Span::from_millis(200 + rng.below(300)));
    let before = net.rings();
    net.cuts.clear();
    let all: Vec<u32> = (1..=nodes).collect();
    net.until_formed(&all);
    net.run(Span::from_millis(500));
    assert_eq!(most(&before, &net.rings()), 1, "{parts} parts of {nodes} pass through a ring of less");
    check(&net);
}

#[test]
fn parts_that_meet_become_one_ring_at_once() {
    all_hold(range(150), parts_merge);
}

#[test]
fn two_halves_of_64_become_one_ring_at_once() {
    let mut net = Net::formed_with_beats(64, 1);
    net.cut_both(&(1..=32).collect::<Vec<_>>(), &(33..=64).collect::<Vec<_>>());
    net.until_settled();
    net.run(Span::from_millis(300));
    let before = net.rings();
    net.cuts.clear();
    net.until_formed(&(1..=64).collect::<Vec<_>>());
    assert_eq!(most(&before, &net.rings()), 1);
    check(&net);
}

/// The joiner has said all it should and dies without a word when the commit token is out: the first member that misses
/// it leads to a ring of the others, without waiting for the token or for consensus.
#[test]
fn a_joiner_that_dies_in_commit_costs_no_more_than_a_suspicion() {
    let mut net = Net::new(4, 1);
    net.beats = true;
    for n in 1..=3 {
        net.start(n);
    }
    net.until_formed(&[1, 2, 3]);
    net.sent.clear();
    net.start(4);
    net.until("the commit token is out", |net| net.sent.contains_key(&FrameKind::Commit));
    net.crash(4);
    // As long as three joins, after which nobody takes it for one that is only unheard by the others.
    net.run(net.timers.join.scale(3, 1) + Span::from_millis(1));
    assert!((1..=3).any(|n| net.ring(n).state() == State::Commit), "it hangs\n{}", net.picture());
    let start = net.now;
    for n in 1..=3 {
        let now = net.now;
        net.nodes[n as usize - 1].ring.as_mut().unwrap().suspect(now, &[id(4)], Suspicion::Silent);
        net.drain(id(n));
        if n == 1 {
            net.run(Span::from_micros(200));
        }
    }
    net.until_formed(&[1, 2, 3]);
    assert!(net.now.since(start) < Span::from_millis(10), "took {}", net.now.since(start));
    check(&net);
}

/// What one says of another that only it cannot hear takes nobody else apart.
#[test]
fn one_that_hears_nobody_accuses_for_itself_alone() {
    let mut net = Net::formed_with_beats(5, 1);
    net.run(Span::from_millis(50));
    let before = net.rings();
    for n in [1, 2, 3, 5] {
        net.cuts.insert((id(n), id(4)));
    }
    net.until_settled();
    net.run(Span::from_secs(2));
    assert_eq!(net.ring(1).members(), ids(&[1, 2, 3, 5]));
    assert_eq!(most(&before, &net.rings()), 1);
    let held_out: Vec<_> = net.ring(1).held_out().iter().map(|out| (out.node, out.cannot_reach)).collect();
    assert_eq!(held_out, [(id(4), Some(id(1)))]);
    let told = net.node(1).events.iter().filter(|e| matches!(e, Event::HeldOut { .. })).count();
    assert_eq!(told, 1, "said once");
    net.cuts.clear();
    net.until_formed(&[1, 2, 3, 4, 5]);
    assert!(net.ring(1).held_out().is_empty());
}

/// Rows of an earlier life or an earlier episode, and of nodes that nobody knows, change nothing.
#[test]
fn rows_of_the_past_are_not_taken() {
    let mut net = Net::formed_with_beats(4, 1);
    net.tape = Some(Vec::new());
    net.cut_both(&[1], &[3]);
    net.until_settled();
    net.cuts.clear();
    net.until_formed(&[1, 2, 3, 4]);
    let tape = net.tape.take().unwrap();
    let accuses = |frame: &[u8]| Join::decode(frame).is_ok_and(|j| !j.deaf.is_empty() || !j.rows.is_empty());
    let old: Vec<_> = tape.iter().filter(|(_, _, frame)| accuses(frame)).cloned().collect();
    assert!(old.len() > 4);
    let before = net.rings();
    net.crash(4);
    net.suspect(1, 4);
    for (from, to, frame) in old.iter().filter(|(from, to, _)| *from != id(4) && *to != id(4)) {
        net.inject(from.get(), to.get(), frame);
    }
    net.until_formed(&[1, 2, 3]);
    net.run(Span::from_secs(1));
    assert_eq!(most(&before[..3], &net.rings()[..3]), 1);
    check(&net);
}
