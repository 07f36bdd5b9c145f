//! Claims about messages: order, guarantees, recovery, fragments, flow.

use std::cell::Cell;
use std::rc::Rc;

use super::check::{check, check_settled};
use super::*;
use crate::Refusal;
use crate::limits::MESSAGE_MAX;
use crate::wire::{Mcast, Token};

fn is(frame: &[u8], kind: FrameKind) -> bool {
    FrameKind::of(frame) == Ok(kind)
}

/// Everything a veto must know to lose one member's data frames.
fn loses_data(receivers: &'static [u32]) -> Option<Veto> {
    Some(Box::new(move |_, to, frame| is(frame, FrameKind::Mcast) && receivers.contains(&to)))
}

/// Loses the first frame of a ring for everybody.
fn loses_first() -> Option<Veto> {
    Some(Box::new(|_, _, frame| Mcast::decode(frame).is_ok_and(|m| m.seq.get() == 1 && !m.wrapped)))
}

#[test]
fn all_deliver_all_in_one_order() {
    let mut net = Net::formed(4, 1);
    for n in 0..40 {
        net.submit(1 + n % 4, Guarantee::Agreed, 20).unwrap();
    }
    net.run(Span::from_millis(20));
    let first = net.delivered(1);
    assert_eq!(first.len(), 40);
    for n in 2..=4 {
        assert_eq!(net.delivered(n), first);
    }
    check(&net);
}

#[test]
fn agreed_delivery_does_not_wait_for_laggards() {
    let mut net = Net::formed(3, 1);
    net.veto = loses_data(&[3]);
    let msg = net.submit(1, Guarantee::Agreed, 20).unwrap();
    net.run(Span::from_millis(20));
    assert_eq!(net.delivered(1), [msg]);
    assert_eq!(net.delivered(2), [msg]);
    assert_eq!(net.delivered(3), []);
    net.veto = None;
    net.run(Span::from_millis(20));
    assert_eq!(net.delivered(3), [msg]);
}

#[test]
fn safe_delivery_waits_until_all_have_it() {
    let mut net = Net::formed(3, 1);
    net.veto = loses_data(&[3]);
    let first = net.submit(1, Guarantee::Safe, 20).unwrap();
    let second = net.submit(2, Guarantee::Agreed, 20).unwrap();
    net.run(Span::from_millis(40));
    for n in 1..=3 {
        assert_eq!(net.delivered(n), [], "node 3 has not got it, nor anyone what comes after");
    }
    net.veto = None;
    net.run(Span::from_millis(40));
    for n in 1..=3 {
        assert_eq!(net.delivered(n), [first, second]);
    }
    check(&net);
}

#[test]
fn an_agreed_message_is_delivered_at_once_and_a_safe_one_within_a_few_rotations() {
    let mut net = Net::formed(3, 1);
    net.run(Span::from_millis(200));
    for (guarantee, within) in [(Guarantee::Agreed, 1_500), (Guarantee::Safe, 4_000)] {
        let start = net.now;
        let msg = net.submit(2, guarantee, 20).unwrap();
        net.until("delivered by all", |net| (1..=3).all(|n| net.delivered(n).contains(&msg)));
        let took = net.now.since(start);
        assert!(took < Span::from_micros(within), "{guarantee:?} took {took} of virtual time");
        net.run(Span::from_millis(200));
    }
}

#[test]
fn a_lost_frame_is_sent_again_by_whoever_has_it() {
    let mut net = Net::formed(3, 1);
    let mut lost = false;
    net.veto = Some(Box::new(move |from, to, frame| {
        let hit = is(frame, FrameKind::Mcast) && (from, to) == (1, 3) && !lost;
        lost |= hit;
        hit
    }));
    net.cuts.clear();
    let msg = net.submit(1, Guarantee::Agreed, 20).unwrap();
    net.until("delivered at 3", |net| net.delivered(3) == [msg]);
    let retransmitted: u64 = (1..=3).map(|n| net.ring(n).stats().mcast_retx).sum();
    assert_eq!(retransmitted, 1, "once, not by everybody");
    assert_eq!(net.configurations(1).len(), 1);
}

#[test]
fn retransmissions_of_a_frame_are_bounded() {
    let mut net = Net::formed(4, 5);
    net.faults = Faults { loss: 50, only: Some(FrameKind::Mcast), ..Faults::default() };
    for n in 0..400 {
        net.submit(1 + n % 4, Guarantee::Agreed, 60).unwrap();
    }
    net.until("all delivered", |net| (1..=4).all(|n| net.delivered(n).len() == 400));
    let (tx, retx) = (1..=4).fold((0, 0), |(tx, retx), n| {
        let stats = net.ring(n).stats();
        (tx + stats.mcast_tx, retx + stats.mcast_retx)
    });
    assert!(retx < tx, "{retx} retransmissions of {tx} frames at 5 % loss");
}

#[test]
fn the_token_waits_for_the_next_message_of_an_only_sender_and_not_for_long() {
    let mut net = Net::formed(3, 7);
    net.submit(2, Guarantee::Agreed, 20).unwrap();
    net.until("delivered", |net| net.delivered(2).len() == 1);
    // It is here: whatever comes next is delivered in the same instant, again and again.
    for n in 2..=8 {
        let start = net.now;
        net.submit(2, Guarantee::Agreed, 20).unwrap();
        assert_eq!((net.delivered(2).len(), net.now), (n, start));
    }
    // Somebody else who has something to send asks for it where it is.
    net.run(Span::from_micros(200));
    let start = net.now;
    let msg = net.submit(1, Guarantee::Agreed, 20).unwrap();
    net.until("delivered by all", |net| (1..=3).all(|n| net.delivered(n).contains(&msg)));
    assert!(net.now.since(start) < Span::from_millis(1), "{}", net.now.since(start));
    // A safe one cannot wait for its confirmation where it is.
    let start = net.now;
    let msg = net.submit(2, Guarantee::Safe, 20).unwrap();
    net.until("delivered by all", |net| (1..=3).all(|n| net.delivered(n).contains(&msg)));
    assert!(net.now.since(start) < Span::from_millis(4), "{}", net.now.since(start));
    check(&net);
}

#[test]
fn senders_hold_back_while_clients_of_any_member_lag() {
    let mut net = Net::formed(3, 7);
    net.set_lagging(3, true);
    net.run(Span::from_millis(20));
    let before = net.delivered(2).len();
    for n in 0..900 {
        net.submit(1 + n % 2, Guarantee::Agreed, 600).unwrap();
    }
    net.run(Span::from_millis(50));
    let trickle = net.delivered(2).len() - before;
    assert!(
        (5..250).contains(&trickle),
        "{trickle} in 50 ms, at two frames each time the token rests for 1 ms"
    );
    // What comes up meanwhile does not shorten the rest.
    assert!(net.submit(3, Guarantee::Agreed, 600).is_some());
    net.set_lagging(3, false);
    net.until("all delivered, once they keep up", |net| (1..=3).all(|n| net.delivered(n).len() == 901));
    for n in 1..=3 {
        assert_eq!(net.configurations(n).len(), 1);
    }
    assert!(net.ring(1).stats().lagging_visits > 0);
}

#[test]
fn a_lone_node_holds_back_too_and_goes_on() {
    let mut net = Net::formed(1, 7);
    net.set_lagging(1, true);
    for _ in 0..400 {
        net.submit(1, Guarantee::Agreed, 600).unwrap();
    }
    net.run(Span::from_millis(20));
    assert!((2..100).contains(&net.delivered(1).len()), "{} of 400", net.delivered(1).len());
    net.set_lagging(1, false);
    net.until("all delivered", |net| net.delivered(1).len() == 400);
}

#[test]
fn a_lost_token_is_passed_again_without_a_new_membership() {
    let mut net = Net::formed(3, 1);
    for _ in 0..5 {
        let mut lost = 0;
        net.veto = Some(Box::new(move |_, _, frame| {
            let hit = is(frame, FrameKind::Token) && lost < 3;
            lost += u32::from(hit);
            hit
        }));
        net.submit(2, Guarantee::Agreed, 20).unwrap();
        net.run(Span::from_millis(150));
    }
    for n in 1..=3 {
        assert_eq!(net.delivered(n).len(), 5);
        assert_eq!(net.configurations(n).len(), 1);
    }
}

#[test]
fn a_late_token_is_passed_again_at_once_and_accuses_nobody() {
    let mut net = Net::formed(3, 1);
    net.run(Span::from_secs(2));
    // Lost when it was passed on first, and each time that it was passed on again until it is late.
    let (lost, times) = (Rc::new(Cell::new(0)), 4);
    let count = Rc::clone(&lost);
    net.veto = Some(Box::new(move |from, _, frame| {
        let hit = is(frame, FrameKind::Token) && from == 1 && count.get() < times;
        count.set(count.get() + u32::from(hit));
        hit
    }));
    let visits = |net: &Net| net.ring(2).stats().token_rx;
    net.until("it is lost", |_| lost.get() > 0);
    let (began, before) = (net.now, visits(&net));
    net.until("it turns again", |net| visits(net) > before);
    let took = net.now.since(began);
    assert!(took < net.timers.token.scale(4, 5), "not with the next repetition: {took}");
    assert!(
        [1, 2, 3].iter().any(|n| net.node(*n).events.iter().any(|e| matches!(e, Event::TokenLate { .. })))
    );
    net.run(Span::from_secs(1));
    for n in 1..=3 {
        assert_eq!(net.configurations(n).len(), 1);
        assert!(net.node(n).suspected.is_empty());
    }
}

#[test]
fn big_messages_are_fragmented_and_reassembled() {
    let mut net = Net::formed(3, 1);
    net.frame_payload_max = 100;
    let sizes = [16, 99, 100, 101, 5_000, 17, 70_000];
    let sent: Vec<MsgId> = sizes.iter().map(|len| net.submit(2, Guarantee::Agreed, *len).unwrap()).collect();
    net.until("all delivered", |net| (1..=3).all(|n| net.delivered(n) == sent));
    check(&net);
}

#[test]
fn the_largest_message_passes_and_a_larger_one_is_refused() {
    let mut net = Net::new(2, 1);
    net.frame_payload_max = 1304;
    net.start(1);
    net.start(2);
    net.until_formed(&[1, 2]);
    let now = net.now;
    let ring = net.nodes[0].ring.as_mut().unwrap();
    assert_eq!(ring.submit(now, Guarantee::Agreed, &vec![0; MESSAGE_MAX + 1]), Err(Refusal::TooBig));
    let msg = net.submit(1, Guarantee::Agreed, MESSAGE_MAX).unwrap();
    net.until("delivered", |net| net.delivered(2) == [msg]);
}

#[test]
fn recovery_redelivers_what_one_survivor_has() {
    let mut net = Net::formed(4, 1);
    net.veto = loses_data(&[2, 3]);
    // Only node 1 gets what node 4 sends before it dies.
    let msgs: Vec<_> = (0..3).map(|_| net.submit(4, Guarantee::Agreed, 90).unwrap()).collect();
    net.until("delivered at 1", |net| net.delivered(1) == msgs);
    net.crash(4);
    for n in 1..=3 {
        net.suspect(n, 4);
    }
    net.veto = Some(Box::new(|_, _, frame| Mcast::decode(frame).is_ok_and(|m| !m.wrapped)));
    net.until_formed(&[1, 2, 3]);
    assert_eq!(net.delivered(2), msgs);
    assert_eq!(net.delivered(3), msgs);
    check(&net);
}

#[test]
fn where_nobody_lacks_anything_nothing_is_exchanged() {
    let mut net = Net::formed(3, 1);
    for _ in 0..20 {
        net.submit(1, Guarantee::Agreed, 50).unwrap();
    }
    net.run(Span::from_millis(50));
    net.sent.clear();
    net.crash(3);
    net.suspect(1, 3);
    net.suspect(2, 3);
    net.until_formed(&[1, 2]);
    assert_eq!(net.sent.get(&FrameKind::Mcast), None);
    // The commit token twice round two nodes, then the first token installs the ring wherever it comes.
    assert_eq!(net.sent[&FrameKind::Commit], 4);
    assert_eq!(net.sent[&FrameKind::Token], 1);
}

#[test]
fn behind_a_hole_only_frames_of_those_that_go_together_are_delivered() {
    let mut net = Net::formed(4, 1);
    // Node 4's first frame reaches nobody; what 4 and 3 send after it reaches all.
    net.veto = loses_first();
    let lost = net.submit(4, Guarantee::Agreed, 90).unwrap();
    net.until("4 has sent", |net| net.delivered(4) == [lost]);
    let of_3 = net.submit(3, Guarantee::Agreed, 90).unwrap();
    let of_4 = net.submit(4, Guarantee::Agreed, 90).unwrap();
    net.run(Span::from_millis(3));
    assert_eq!(net.delivered(1), []);
    net.crash(4);
    for n in 1..=3 {
        net.suspect(n, 4);
    }
    net.until_formed(&[1, 2, 3]);
    for n in 1..=3 {
        assert_eq!(net.delivered(n), [of_3], "{of_4:?} may depend on {lost:?}");
    }
    check(&net);
}

/// Three of four go together, with a hole in what they have and a safe frame of node 3 behind it. Node 3 installs the
/// ring and delivers, then its token is lost: the others never install that ring. They delivered nothing yet, and 3 is
/// not among those they go on with; but it could count on them.
#[test]
fn the_duty_to_deliver_outlives_a_ring_that_was_never_installed() {
    let mut net = Net::formed(4, 1);
    net.veto = loses_first();
    let lost = net.submit(4, Guarantee::Agreed, 90).unwrap();
    net.until("4 has sent", |net| net.delivered(4) == [lost]);
    let safe = net.submit(3, Guarantee::Safe, 90).unwrap();
    // Node 4 keeps the token for a while, and nobody knows.
    net.run(Span::from_millis(20));
    net.crash(4);
    let old = net.ring(1).ring_id();
    // Whoever installs the ring first passes a token on that says so: it gets lost.
    net.veto = Some(Box::new(move |_, _, frame| {
        Token::decode(frame).is_ok_and(|t| t.ring != old && t.recovery.is_none())
    }));
    for n in 1..=3 {
        net.suspect(n, 4);
    }
    net.until("somebody installs the ring", |net| (1..=3).any(|n| net.ring(n).ring_id() != old));
    let first: Vec<u32> = (1..=3).filter(|n| net.ring(*n).ring_id() != old).collect();
    assert_eq!(first, [3], "the sender itself: its frame is one of a stranger to the others from now on");
    assert_eq!(net.delivered(3), [safe], "in the transitional configuration of three");
    // It is gone before anybody else learns of it.
    let rest: Vec<u32> = (1..=3).filter(|n| *n != first[0]).collect();
    net.cut_both(&first, &rest);
    net.veto = None;
    net.until_formed(&rest);
    for n in &rest {
        assert_eq!(net.delivered(*n), [safe]);
    }
    check(&net);
}

#[test]
fn a_message_begun_on_the_old_ring_comes_whole_on_the_new_one() {
    let mut net = Net::formed(3, 1);
    net.window_frames = 50;
    let msg = net.submit(1, Guarantee::Agreed, 60_000).unwrap();
    net.run(Span::from_millis(2));
    assert_eq!(net.delivered(2), [], "it takes many rotations");
    net.crash(3);
    net.suspect(1, 3);
    net.until_formed(&[1, 2]);
    net.until("delivered", |net| net.delivered(1) == [msg] && net.delivered(2) == [msg]);
    check(&net);
    check_settled(&net);
}

#[test]
fn queued_messages_survive_configuration_changes() {
    let mut net = Net::formed(3, 1);
    net.cut_both(&[1], &[2, 3]);
    net.run(Span::from_millis(5));
    net.suspect(1, 2);
    net.suspect(1, 3);
    let msg = net.submit(1, Guarantee::Safe, 50).unwrap();
    net.until("alone", |net| net.ring(1).members() == ids(&[1]));
    net.until("delivered alone", |net| net.delivered(1) == [msg]);
    net.cuts.clear();
    net.until_formed(&[1, 2, 3]);
    assert_eq!(net.delivered(2), [], "it belongs to the configuration it was delivered in");
    check(&net);
}

#[test]
fn everybody_sending_flat_out_changes_no_membership_and_starves_nobody() {
    let mut net = Net::formed(5, 1);
    let end = net.now + Span::from_secs(3);
    while net.now < end {
        for n in 1..=5 {
            while net.ring(n).queue_level() < 2 {
                net.submit(n, Guarantee::Agreed, 90).unwrap();
            }
        }
        net.run(Span::from_millis(1));
    }
    for n in 1..=5 {
        assert_eq!(net.configurations(n).len(), 1);
    }
    let delivered = net.delivered(1);
    let counts: Vec<usize> = (1..=5).map(|n| delivered.iter().filter(|m| m.node == n).count()).collect();
    let (min, max) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
    assert!(*min > 1_000 && max - min < max / 5, "{counts:?}");
    check(&net);
}

#[test]
fn a_queue_that_is_full_refuses_until_the_token_has_been() {
    let mut net = Net::formed(2, 1);
    net.pause(1, Span::from_millis(20));
    let now = net.now;
    let ring = net.nodes[1].ring.as_mut().unwrap();
    let mut taken = 0;
    while ring
        .submit(now, Guarantee::Agreed, &super::payload(MsgId { node: 2, life: 1, number: taken + 1 }, 16))
        .is_ok()
    {
        taken += 1;
    }
    assert_eq!(ring.queue_level(), 100);
    net.until("room again", |net| net.ring(2).queue_level() < 50);
    net.until("all delivered", |net| net.delivered(1).len() == taken as usize);
}

#[test]
fn the_token_is_held_on_a_quiet_ring_and_let_go_when_somebody_has_something() {
    let mut net = Net::formed(3, 1);
    net.run(Span::from_millis(100));
    net.sent.clear();
    net.run(Span::from_secs(1));
    let held = net.sent[&FrameKind::Token];
    let rotations = 1_000 / net.timers.hold.as_millis();
    assert!(held <= 3 * (rotations + 2), "{held} token passes in a quiet second");
    for n in [2, 3, 1] {
        let start = net.now;
        let msg = net.submit(n, Guarantee::Agreed, 20).unwrap();
        net.until("delivered", |net| (1..=3).all(|n| net.delivered(n).contains(&msg)));
        assert!(net.now.since(start) < Span::from_millis(2), "nobody waits for the hold timer");
        net.run(Span::from_millis(300));
    }
}

/// A ring that drops who receives nothing after fifty rotations.
fn impatient(nodes: u32) -> Net {
    let mut net = Net::formed(nodes, 1);
    net.timers.fail_recv_rotations = 50;
    let all: Vec<u32> = (1..=nodes).collect();
    for n in &all {
        net.crash(*n);
        net.start(*n);
    }
    net.until_formed(&all);
    net
}

#[test]
fn a_member_that_never_receives_is_dropped() {
    let mut net = impatient(3);
    net.veto = loses_data(&[3]);
    net.submit(1, Guarantee::Agreed, 20).unwrap();
    net.until("3 is dropped", |net| net.ring(1).members() == ids(&[1, 2]));
    assert!(
        net.node(1).events.contains(&Event::FailedToReceive)
            || net.node(2).events.contains(&Event::FailedToReceive)
    );
    check(&net);
}

/// A fast ring turns fifty times in a few milliseconds; the link that is deaf is found out in a heartbeat limit.
#[test]
fn a_member_whose_link_is_deaf_for_a_moment_stays() {
    let mut net = impatient(3);
    let before = net.ring(1).ring_id();
    net.veto = loses_data(&[3]);
    let msg = net.submit(1, Guarantee::Agreed, 20).unwrap();
    net.run(net.timers.heartbeat_limit_max);
    net.veto = None;
    net.until("delivered", |net| (1..=3).all(|n| net.delivered(n).contains(&msg)));
    assert_eq!(net.ring(1).ring_id(), before);
    check(&net);
}

/// The episode that drops the only other member is over when the visit in which it began goes on: its token is void.
#[test]
fn who_drops_the_only_other_member_goes_on_with_a_token_of_its_own() {
    let mut net = impatient(2);
    net.veto = loses_data(&[2]);
    let before = net.submit(1, Guarantee::Agreed, 90).unwrap();
    net.until("2 is dropped", |net| net.node(1).events.contains(&Event::FailedToReceive));
    net.cut_both(&[1], &[2]);
    net.until_formed(&[1]);
    let after = net.submit(1, Guarantee::Agreed, 90).unwrap();
    net.until("delivered alone", |net| net.delivered(1) == [before, after]);
}
