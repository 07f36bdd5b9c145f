//! Claims about membership: who is in, how fast, and what late, doubled or hostile frames cannot do.

use super::check::{check, check_settled};
use super::*;
use crate::wire::{HoldCancel, MergeDetect, NodeSet};

fn joins_and_lefts(net: &Net, n: u32) -> (Vec<NodeId>, Vec<NodeId>) {
    let last = *net.configurations(n).last().unwrap();
    (last.joined.clone(), last.left.clone())
}

#[test]
fn a_node_alone_becomes_a_ring_of_one_and_orders_its_messages() {
    let mut net = Net::new(1, 1);
    net.start(1);
    net.until_formed(&[1]);
    let config = net.configurations(1)[0].clone();
    assert_eq!((config.members, config.joined, config.left), (ids(&[1]), ids(&[1]), vec![]));
    let a = net.submit(1, Guarantee::Agreed, 20).unwrap();
    let b = net.submit(1, Guarantee::Safe, 500).unwrap();
    net.run(Span::from_millis(1));
    assert_eq!(net.delivered(1), [a, b]);
    assert_eq!(net.sent.len(), 0, "there is nobody to send to");
    let idle = net.ring(1).next_timeout().map(|at| at.since(net.now));
    assert!(idle.is_none_or(|t| t >= Span::from_millis(1)), "a lone node at rest does not spin");
}

#[test]
fn nodes_that_start_together_form_one_ring_at_once() {
    for nodes in [2, 3, 5, 8] {
        let mut net = Net::new(nodes, u64::from(nodes));
        let start = net.now;
        for n in 1..=nodes {
            net.start(n);
        }
        net.until_formed(&(1..=nodes).collect::<Vec<_>>());
        assert!(net.now.since(start) < net.timers.token, "{nodes} nodes took {}", net.now.since(start));
        assert_eq!(net.configurations(1).len(), 1, "without a ring of less in between");
        check(&net);
    }
}

#[test]
fn a_ring_of_the_largest_size_forms() {
    let mut net = Net::formed(64, 1);
    net.submit(64, Guarantee::Safe, 20).unwrap();
    net.until("delivered", |net| (1..=64).all(|n| net.delivered(n).len() == 1));
    check(&net);
}

#[test]
fn a_node_that_starts_later_joins() {
    let mut net = Net::new(3, 1);
    net.start(2);
    net.start(3);
    net.until_formed(&[2, 3]);
    let start = net.now;
    net.start(1);
    net.until_formed(&[1, 2, 3]);
    assert!(net.now.since(start) < net.timers.token);
    assert_eq!(joins_and_lefts(&net, 2), (ids(&[1]), vec![]));
    check(&net);
}

#[test]
fn a_killed_member_is_removed_without_consensus_wait_when_suspected() {
    let mut net = Net::formed(5, 1);
    let start = net.now;
    net.crash(1);
    // One detector is first, the others take its word.
    net.suspect(4, 1);
    net.until_formed(&[2, 3, 4, 5]);
    assert!(net.now.since(start) < Span::from_millis(5), "took {}", net.now.since(start));
    assert_eq!(joins_and_lefts(&net, 3), (vec![], ids(&[1])));
    check(&net);
}

#[test]
fn a_member_nobody_has_news_of_is_removed_after_token_loss_and_consensus() {
    let mut net = Net::formed(3, 1);
    let start = net.now;
    net.crash(2);
    net.until_formed(&[1, 3]);
    let took = net.now.since(start);
    assert!(took < Span::from_millis(100 + 120 + 60), "took {took}");
    assert!(net.ring(1).stats().operational_token_lost + net.ring(3).stats().operational_token_lost >= 1);
    check(&net);
}

#[test]
fn a_leave_needs_neither_timeout_nor_detector() {
    let mut net = Net::formed(3, 1);
    let start = net.now;
    net.leave(1);
    net.until_formed(&[2, 3]);
    assert!(net.now.since(start) < Span::from_millis(5));
    check(&net);
}

#[test]
fn who_has_left_says_and_hears_nothing_more() {
    let mut net = Net::formed(3, 1);
    let now = net.now;
    let ring = net.nodes[0].ring.as_mut().unwrap();
    ring.leave(now);
    while ring.poll_output().is_some() {}
    let cancel = HoldCancel { ring: ring.ring_id() }.encode();
    ring.handle_frame(now, id(2), &cancel);
    ring.suspect(now, &[id(2)], Suspicion::Gone);
    ring.handle_timeout(now + Span::from_secs(10));
    ring.leave(now);
    assert!(ring.submit(now, Guarantee::Agreed, b"x").is_err());
    assert_eq!((ring.state(), ring.poll_output(), ring.next_timeout()), (State::Left, None, None));
}

#[test]
fn the_last_one_left_is_a_ring_at_once() {
    let mut net = Net::formed(2, 1);
    let start = net.now;
    net.crash(1);
    net.suspect(2, 1);
    net.until_formed(&[2]);
    assert!(net.now.since(start) < Span::from_millis(1));
}

#[test]
fn halves_merge() {
    let mut net = Net::formed(6, 1);
    net.cut_both(&[1, 2, 3], &[4, 5, 6]);
    net.until_formed(&[1, 2, 3]);
    net.until_formed(&[4, 5, 6]);
    let start = net.now;
    net.cuts.clear();
    net.until_formed(&[1, 2, 3, 4, 5, 6]);
    assert!(net.now.since(start) < net.timers.merge + Span::from_millis(20), "took {}", net.now.since(start));
    assert_eq!(joins_and_lefts(&net, 1), (ids(&[4, 5, 6]), vec![]));
    assert_eq!(joins_and_lefts(&net, 5), (ids(&[1, 2, 3]), vec![]));
    check(&net);
}

#[test]
fn one_that_restarted_between_two_turns_is_both_left_and_joined() {
    let mut net = Net::formed(3, 1);
    net.crash(2);
    net.start(2);
    net.until_formed(&[1, 2, 3]);
    assert_eq!(joins_and_lefts(&net, 1), (ids(&[2]), ids(&[2])));
    let told = &net.node(1).told;
    let together = told.iter().rev().find_map(|t| match t {
        Told::Config(c) if c.kind == ConfigurationKind::Transitional => Some(c.members.clone()),
        _ => None,
    });
    assert_eq!(together, Some(ids(&[1, 3])), "a new life does not go on from the old one's configuration");
    check(&net);
}

#[test]
fn a_member_accused_wrongly_goes_its_own_way_and_comes_back() {
    let mut net = Net::formed(3, 1);
    net.suspect(1, 3);
    net.until("a ring without 3", |net| net.ring(1).members() == ids(&[1, 2]));
    net.until_formed(&[1, 2, 3]);
    check(&net);
}

#[test]
fn a_paused_member_is_back_soon_after_it_wakes() {
    let mut net = Net::formed(3, 1);
    net.pause(2, Span::from_secs(1));
    net.until_formed(&[1, 3]);
    net.run(Span::from_millis(700));
    net.until_formed(&[1, 2, 3]);
    check(&net);
}

#[test]
fn a_ring_number_is_used_only_when_it_is_durable() {
    let mut net = Net::new(2, 1);
    net.persist_delay = Span::from_millis(700);
    let start = net.now;
    net.start(1);
    net.start(2);
    net.until_formed(&[1, 2]);
    assert!(net.now.since(start) >= net.persist_delay);
    assert!(net.nodes.iter().all(|n| n.disk >= net.ring(1).ring_id().seq));
    check(&net);
}

#[test]
fn a_restarted_representative_uses_no_id_again() {
    let mut net = Net::formed(2, 1);
    let mut last = net.ring(1).ring_id();
    for _ in 0..5 {
        net.crash(1);
        net.crash(2);
        net.start(1);
        net.until_formed(&[1]);
        assert!(net.ring(1).ring_id() > last);
        net.start(2);
        net.until_formed(&[1, 2]);
        last = net.ring(1).ring_id();
    }
    check(&net);
}

#[test]
fn a_lost_commit_token_is_passed_again() {
    let mut net = Net::new(3, 1);
    // The first copy of each commit token is lost.
    let mut seen = BTreeSet::new();
    net.veto = Some(Box::new(move |_, _, frame| {
        FrameKind::of(frame) == Ok(FrameKind::Commit) && seen.insert(frame.to_vec())
    }));
    for n in 1..=3 {
        net.start(n);
    }
    net.until_formed(&[1, 2, 3]);
    assert_eq!(net.configurations(1).len(), 1);
    check(&net);
}

#[test]
fn a_member_that_dies_with_the_commit_token_or_in_recovery_is_left_out() {
    for (kind, nth) in
        [(FrameKind::Commit, 1), (FrameKind::Commit, 4), (FrameKind::Token, 1), (FrameKind::Token, 2)]
    {
        let mut net = Net::formed(4, 1);
        net.crash(1);
        net.sent.clear();
        net.suspect(2, 1);
        net.until("the frame is sent", |net| net.sent.get(&kind).is_some_and(|sent| *sent >= nth));
        net.crash(3);
        net.until_formed(&[2, 4]);
        check(&net);
    }
}

#[test]
fn what_was_said_before_a_ring_failed_to_form_proves_no_life_after_it() {
    let mut net = Net::formed(3, 1);
    net.crash(3);
    net.sent.clear();
    net.suspect(1, 3);
    net.until("the commit token is sent", |net| net.sent.contains_key(&FrameKind::Commit));
    net.crash(2);
    net.until_formed(&[1]);
    check(&net);
}

#[test]
fn a_late_join_of_an_earlier_episode_accuses_nobody() {
    let mut net = Net::formed(4, 1);
    net.tape = Some(Vec::new());
    net.suspect(2, 3);
    net.until("a ring without 3", |net| net.ring(1).members() == ids(&[1, 2, 4]));
    let tape = net.tape.take().unwrap();
    let accuses = |frame: &[u8]| crate::wire::Join::decode(frame).is_ok_and(|j| j.failed.contains(id(3)));
    let join = tape.iter().find(|(from, to, f)| (*from, *to) == (id(2), id(1)) && accuses(f)).unwrap();
    net.until_formed(&[1, 2, 3, 4]);
    let before = net.configurations(1).len();
    net.crash(4);
    net.suspect(1, 4);
    net.inject(2, 1, &join.2);
    net.until_formed(&[1, 2, 3]);
    assert_eq!(net.configurations(1).len(), before + 1);
}

#[test]
fn with_two_that_cannot_hear_each_other_the_rest_stays_together() {
    for (a, b) in [(1, 3), (1, 2), (2, 3)] {
        let mut net = Net::formed(3, 1);
        net.cut_both(&[a], &[b]);
        let count = |net: &Net| (1..=3).map(|n| net.configurations(n).len()).sum::<usize>();
        let before = count(&net);
        net.run(Span::from_secs(2));
        let settled = count(&net);
        assert!(settled - before <= 9, "{a} and {b} apart: {} installations", settled - before);
        net.run(Span::from_secs(10));
        assert_eq!(count(&net), settled, "{a} and {b} apart: it goes on re-forming");
        let start = net.now;
        net.cuts.clear();
        net.until_formed(&[1, 2, 3]);
        // Held out or not: when all show that they hear all, nobody waits.
        let took = net.now.since(start);
        assert!(took < net.timers.merge.scale(4, 1), "{a} and {b} together after {took}");
        check(&net);
    }
}

#[test]
fn a_deaf_node_disturbs_a_ring_ever_more_seldom() {
    let mut net = Net::formed(4, 1);
    for n in 1..=3 {
        net.cuts.insert((id(n), id(4)));
    }
    net.until_formed(&[1, 2, 3]);
    let before = net.configurations(1).len();
    net.run(Span::from_secs(10));
    let during = net.configurations(1).len() - before;
    assert!(during <= 3, "{during} configurations in ten seconds, a hundred tokens");
    let start = net.now;
    net.cuts.clear();
    net.until_formed(&[1, 2, 3, 4]);
    assert!(net.now.since(start) < net.timers.merge.scale(4, 1) + net.timers.consensus.scale(2, 1));
    check(&net);
}

#[test]
fn frames_of_the_past_change_nothing() {
    let mut net = Net::new(3, 1);
    net.tape = Some(Vec::new());
    for n in 1..=3 {
        net.start(n);
    }
    net.until_formed(&[1, 2, 3]);
    for n in 1..=3 {
        net.submit(n, Guarantee::Safe, 300).unwrap();
    }
    net.run(Span::from_millis(30));
    net.crash(3);
    net.start(3);
    net.until_formed(&[1, 2, 3]);
    let tape = net.tape.take().unwrap();
    assert!(tape.len() > 60, "{}", tape.len());
    let rings: Vec<RingId> = (1..=3).map(|n| net.ring(n).ring_id()).collect();
    for _ in 0..2 {
        for (n, (from, to, frame)) in tape.iter().enumerate() {
            net.inject(from.get(), to.get(), frame);
            if n % 10 == 0 {
                net.run(Span::from_micros(300));
            }
        }
    }
    net.run(Span::from_millis(300));
    assert_eq!(rings, (1..=3).map(|n| net.ring(n).ring_id()).collect::<Vec<_>>());
    net.submit(1, Guarantee::Safe, 20).unwrap();
    net.run(Span::from_millis(50));
    check(&net);
    check_settled(&net);
}

#[test]
fn no_frame_however_malformed_panics_a_ring() {
    let mut rng = Rng::new(7);
    for seed in 0..30 {
        let mut net = Net::new(4, seed);
        net.tape = Some(Vec::new());
        net.faults = Faults { loss: 100, ..Faults::default() };
        for n in 1..=4 {
            net.start(n);
        }
        for round in 0..400_u64 {
            net.run(Span::from_nanos(rng.below(3_000_000)));
            net.submit(1 + rng.below(4) as u32, Guarantee::Safe, rng.below(300) as usize);
            if round % 97 == 96 {
                let n = 1 + rng.below(4) as u32;
                net.crash(n);
                net.start(n);
            }
            // Authenticated nonsense: a real frame with some bytes changed, cut or lengthened, from anybody.
            let tape = net.tape.as_ref().unwrap();
            let (_, _, mut frame) = tape[rng.below(tape.len() as u64) as usize].clone();
            for _ in 0..1 + rng.below(3) {
                let at = rng.below(frame.len() as u64) as usize;
                frame[at] = [0, 1, 0x7f, 0xff, rng.next() as u8][rng.below(5) as usize];
            }
            if rng.chance(100) {
                frame.truncate(rng.below(frame.len() as u64) as usize);
            }
            // What would give a message another content is not what this is about.
            if FrameKind::of(&frame) != Ok(FrameKind::Mcast) {
                net.inject(1 + rng.below(4) as u32, 1 + rng.below(4) as u32, &frame);
            }
        }
    }
}

#[test]
fn what_does_not_parse_is_counted() {
    let mut net = Net::formed(2, 1);
    net.inject(2, 1, &[]);
    net.inject(2, 1, &[9, 9]);
    net.inject(2, 1, &[1; 30]);
    assert_eq!(net.ring(1).stats().packets_rejected, 3);
    let good = MergeDetect {
        ring: net.ring(1).ring_id(),
        members: NodeSet::of(id(2)),
        heard: NodeSet::new(),
        held_out: NodeSet::new(),
    }
    .encode();
    net.inject(2, 1, &good);
    assert_eq!(net.ring(1).stats().packets_rejected, 3);
}

/// Kills each node at each event of a short run with a membership change and traffic in it.
#[test]
fn a_crash_at_any_event_breaks_nothing() {
    let run = |crash_at: u32, victim: u32| {
        let mut net = Net::formed(4, 9);
        for n in 1..=4 {
            net.submit(n, Guarantee::Safe, 250).unwrap();
            net.submit(n, Guarantee::Agreed, 50).unwrap();
        }
        net.veto = loses_some();
        net.run(Span::from_micros(900));
        net.suspect(2, 4);
        let end = net.now + Span::from_secs(5);
        let mut events = 0;
        while events < crash_at && net.step(end) {
            events += 1;
        }
        net.crash(victim);
        net.run(Span::from_millis(300));
        check(&net);
        net.veto = None;
        net.start(victim);
        net.until_formed(&[1, 2, 3, 4]);
        net.run(Span::from_millis(50));
        check(&net);
        check_settled(&net);
    };
    for crash_at in 0..150 {
        for victim in 1..=3 {
            run(crash_at, victim);
        }
    }
}

/// Loses every fourth data frame.
fn loses_some() -> Option<Veto> {
    let mut n = 0;
    Some(Box::new(move |_, _, frame| {
        n += u32::from(FrameKind::of(frame) == Ok(FrameKind::Mcast));
        FrameKind::of(frame) == Ok(FrameKind::Mcast) && n % 4 == 0
    }))
}
