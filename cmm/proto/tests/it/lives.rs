//! Lives and deaths: last words, fences, boots, gasps that come too late.

use cmm_proto::{Event, Output, Refusal, RejectReason, Request, Testimony};
use holdfast_types::{Incarnation, Span, WallTime};

use crate::cluster::{Cluster, node};

#[test]
fn a_last_word_confirms_the_death_on_all_and_also_where_it_did_not_arrive() {
    let mut c = Cluster::formed(4);
    c.cut(&[4], &[2]);
    c.kill_with_gasp(4, true);
    c.until("three go on", |c| c.settled(&[1, 2, 3]));
    c.until("confirmed", |c| (1..=3).all(|id| c.node(id).confirmed().contains_key(&node(4))));
    for id in 1..=3 {
        assert_eq!(c.confirmed(id), [(4, 1)], "told once on node {id}");
    }
    let gasps = c.events(1).iter().filter(|e| matches!(e, Event::Gasp { .. })).count();
    assert_eq!(gasps, 2, "the gasp and the last word");
}

#[test]
fn a_fence_is_told_to_all_and_to_those_who_come_later() {
    let mut c = Cluster::formed(3);
    c.kill(3);
    c.until("two go on", |c| c.settled(&[1, 2]));
    c.kill(2);
    c.until("one goes on", |c| c.settled(&[1]));
    let confirm = |incarnation| Request::ConfirmDeath { node: node(3), incarnation, why: "fenced by ipmi" };
    c.submit(1, confirm(None)).unwrap();
    c.until("confirmed", |c| !c.confirmed(1).is_empty());
    assert_eq!(c.confirmed(1), [(3, 1)], "without an incarnation: the last one known");
    c.submit(1, confirm(Some(Incarnation::new(1)))).unwrap();
    c.run(Span::from_secs(1));
    assert_eq!(c.confirmed(1).len(), 1, "once");
    c.forget();
    c.start(2);
    c.until("two", |c| c.settled(&[1, 2]));
    assert_eq!(c.confirmed(2), [(3, 1)]);
    let mut refused = |id, life: Option<u64>| {
        let incarnation = life.map(Incarnation::new);
        c.submit(1, Request::ConfirmDeath { node: node(id), incarnation, why: "" }).err()
    };
    assert_eq!(refused(9, None), Some(Refusal::NameNotFound));
    assert_eq!(refused(2, None), Some(Refusal::Busy), "a member lives: which life is meant must be said");
    assert_eq!(refused(2, Some(9)), Some(Refusal::InvalidParam), "a life that is still to come");
    assert_eq!(refused(1, Some(1)), Some(Refusal::InvalidParam), "this node speaks");
}

#[test]
fn a_fenced_life_cannot_come_back_but_the_next_one_can() {
    let mut c = Cluster::formed(3);
    c.cut(&[3], &[1, 2]);
    c.until("two go on", |c| c.settled(&[1, 2]) && c.settled(&[3]));
    let request = Request::ConfirmDeath { node: node(3), incarnation: None, why: "fenced" };
    c.submit(1, request).unwrap();
    c.until("confirmed", |c| (1..=2).all(|id| c.node(id).confirmed().contains_key(&node(3))));
    c.heal();
    c.forget();
    c.run(Span::from_secs(10));
    assert!(c.settled(&[1, 2]) && c.regular(1).is_empty(), "its packets are not heard: {}", c.describe());
    assert!(
        c.events(1).iter().any(|e| matches!(e, Event::PacketRejected { why: RejectReason::Replay, .. })),
        "they are counted"
    );
    c.kill(3);
    c.start(3);
    c.until("three", |c| c.settled(&[1, 2, 3]) && c.quorate(3));
}

#[test]
fn another_boot_confirms_the_death_of_the_life_before_and_the_same_boot_does_not() {
    let mut c = Cluster::formed(3);
    c.kill(3);
    c.start(3);
    c.until("three", |c| c.settled(&[1, 2, 3]));
    assert!((1..=3).all(|id| c.confirmed(id).is_empty()));
    c.kill(3);
    c.boot(3);
    c.until("three", |c| c.settled(&[1, 2, 3]) && c.node(3).members().len() == 3);
    for id in 1..=3 {
        assert_eq!(c.confirmed(id), [(3, 2)], "on node {id}");
    }
}

#[test]
fn a_gasp_of_an_earlier_life_removes_nobody() {
    let mut c = Cluster::formed(3);
    let gasp = c.gasp_of(3);
    c.kill(3);
    c.start(3);
    c.until("three", |c| c.settled(&[1, 2, 3]) && c.quorate(3));
    c.forget();
    for id in [1, 2] {
        c.inject(id, gasp.clone());
    }
    c.run(Span::from_secs(5));
    assert!(c.settled(&[1, 2, 3]) && c.regular(1).is_empty());
    assert!(matches!(c.events(1)[0], Event::PacketRejected { why: RejectReason::Replay, .. }));
}

#[test]
fn one_that_not_all_hear_becomes_no_member_and_is_no_new_life_when_it_does() {
    let mut c = Cluster::formed(4);
    c.kill(4);
    c.until("three go on", |c| c.settled(&[1, 2, 3]));
    // Node 4 comes to the ring through its neighbours and does not hear node 2; then the other way round, where node 2
    // knows an earlier life of node 4.
    for (from, to) in [(2, 4), (4, 2)] {
        c.forget();
        c.cut_one_way(from, to);
        c.start(4);
        c.run(Span::from_secs(5));
        assert!(c.settled(&[1, 2, 3]) && c.quorate(1), "{from} to {to}: the others stay together");
        c.heal();
        c.until("four", |c| c.settled(&[1, 2, 3, 4]) && (1..=4).all(|id| c.quorate(id)));
        c.run(Span::from_secs(3));
        let suspects = c.events(to).into_iter().filter(|e| matches!(e, Event::Suspect { .. })).count();
        assert_eq!(suspects, 0, "a suspected member would not be echoed as long as this ring lasts");
        c.kill(4);
        c.until("three go on", |c| c.settled(&[1, 2, 3]));
    }
}

#[test]
fn a_gasp_counts_once() {
    let mut c = Cluster::formed(3);
    let gasp = c.gasp_of(3);
    c.kill(3);
    for _ in 0..3 {
        c.inject(1, gasp.clone());
    }
    assert_eq!(c.events(1).iter().filter(|e| matches!(e, Event::Gasp { .. })).count(), 1);
    let suspects = c.events(1).iter().filter(|e| matches!(e, Event::Suspect { why: "gasp", .. })).count();
    assert_eq!(suspects, 1);
}

#[test]
fn a_killed_node_goes_down_with_the_reason_and_nobody_else_does() {
    let mut c = Cluster::formed(3);
    c.submit(1, Request::KillNode { node: node(3), why: "operator's wish" }).unwrap();
    assert_eq!(c.submit(1, Request::KillNode { node: node(9), why: "" }), Err(Refusal::NotExist));
    let down = |c: &Cluster, id: u32| {
        c.told(id).iter().find_map(|t| match &t.output {
            Output::TakeDown(why) => Some(why.clone()),
            _ => None,
        })
    };
    c.until("told", |c| down(c, 3).is_some());
    c.run(Span::from_secs(1));
    assert_eq!(down(&c, 3).as_deref(), Some("killed by node 1: operator's wish"));
    assert!(down(&c, 1).is_none() && down(&c, 2).is_none());
    assert!(!c.quorate(3), "it gives up quorum first");
}

#[test]
fn a_node_that_is_back_is_told_of_its_earlier_life_and_nothing_else_comes_of_it() {
    let mut c = Cluster::formed(3);
    c.kill(3);
    c.until("two go on", |c| c.settled(&[1, 2]));
    let said = |node: u32, life: u64| Testimony {
        node: crate::cluster::node(node),
        life: Incarnation::new(life),
        news: 8,
        at: WallTime(77),
        text: "n2 fenced it",
    };
    assert_eq!(c.submit(1, Request::Testify(said(3, 1))), Err(Refusal::NotExist), "it is not there");
    c.start(3);
    c.until("three", |c| c.settled(&[1, 2, 3]) && (1..=3).all(|id| c.quorate(id)));
    c.run(Span::from_secs(1));
    let life = c.node(3).incarnations()[&node(3)];
    c.forget();
    assert_eq!(c.submit(1, Request::Testify(said(3, life.get()))), Err(Refusal::InvalidParam), "it lives");
    assert_eq!(c.submit(1, Request::Testify(said(9, 1))), Err(Refusal::NotExist));
    c.submit(1, Request::Testify(said(3, 1))).unwrap();
    c.submit(2, Request::Testify(said(3, 1))).unwrap();
    let heard = |c: &Cluster, id: u32| {
        let of = |event: &&Event| matches!(event, Event::Testimony { .. });
        c.events(id).into_iter().filter(of).cloned().collect::<Vec<_>>()
    };
    c.until("told", |c| heard(c, 3).len() == 2);
    c.run(Span::from_secs(1));
    let word = |by| Event::Testimony {
        by: node(by),
        life: Incarnation::new(1),
        news: 8,
        at: WallTime(77),
        text: "n2 fenced it".into(),
    };
    let mut told = heard(&c, 3);
    told.sort_by_key(|event| matches!(event, Event::Testimony { by, .. } if *by == node(2)));
    assert_eq!(told, [word(1), word(2)]);
    for id in 1..=3 {
        let other = c.told(id).iter().filter(|t| {
            matches!(
                t.output,
                Output::Configuration(_)
                    | Output::Quorum(_)
                    | Output::Confirmed { .. }
                    | Output::Step(_)
                    | Output::TakeDown(_)
            )
        });
        assert_eq!(other.count(), 0, "on node {id}: {:?}", c.told(id));
        assert!(id == 3 || heard(&c, id).is_empty(), "it is for node 3 alone");
    }
}

#[test]
fn who_resigns_is_not_quorate_from_that_turn_on() {
    let mut c = Cluster::formed(3);
    let now = c.now;
    c.act(3, |n| n.resign(now, "rgmd died"));
    assert_eq!(c.quorum_told(3), [false]);
    assert_eq!(c.node(3).quorum_view().reason, "rgmd died");
    c.run(Span::from_secs(2));
    assert!(!c.quorate(3) && c.quorate(1) && c.quorate(2));
}
