//! Forming, losing, leaving, merging.

use cmm_proto::links::Traffic;
use cmm_proto::{ConfigError, Event, Hint, LinkLoss, LinkMode, LinksConfig, Node, Output, Request, Timers};
use holdfast_types::{LinkId, Span, Votes};

use crate::cluster::{Cluster, PLAIN, ids, node};

#[test]
fn three_nodes_form_one_quorate_cluster_and_tell_each_thing_once() {
    let mut c = Cluster::new(3, PLAIN);
    c.until("forms", |c| c.settled(&[1, 2, 3]) && (1..=3).all(|id| c.quorate(id)));
    for id in 1..=3 {
        assert!(c.node(id).is_synced());
        assert_eq!(c.node(id).ring_state(), "OPERATIONAL");
        let last = c.regular(id).last().map(|r| r.members.clone());
        assert_eq!(last, Some(ids(&[1, 2, 3])));
        // The membership is told before what it means for quorum, and quorum before its step ends.
        let ring = c.node(id).ring_id();
        let place =
            |of: &dyn Fn(&Output) -> bool| c.told(id).iter().position(|t| of(&t.output)).expect("told");
        let list = place(&|o| matches!(o, Output::NodeList(n) if n.ring == ring));
        let quorum = place(&|o| matches!(o, Output::Quorum(v) if v.quorate && v.ring == ring));
        let end = place(&|o| matches!(o, Output::Step(s) if s.name == "end" && s.ring == ring));
        assert!(list < quorum && quorum < end);
    }
    c.forget();
    c.run(Span::from_secs(60));
    for id in 1..=3 {
        let noise = c.told(id).iter().find(|t| !matches!(t.output, Output::Event(Event::TokenLate { .. })));
        assert!(noise.is_none(), "a quiet minute is quiet: {noise:?}");
    }
}

#[test]
fn an_administrator_has_the_ring_formed_anew_and_nobody_is_missed() {
    let mut c = Cluster::formed(3);
    let before = c.node(1).ring_id();
    c.submit(2, Request::FormAnew).expect("never refused");
    c.submit(2, Request::FormAnew).expect("never refused, also while it is done");
    c.until("another ring", |c| c.settled(&[1, 2, 3]) && c.node(1).ring_id() > before);
    for id in 1..=3 {
        let rings: Vec<_> = c.regular(id).iter().map(|r| (r.members.clone(), r.left.clone())).collect();
        assert_eq!(rings, [(ids(&[1, 2, 3]), Vec::new())], "one ring, and nobody left");
        assert_eq!(c.quorum_told(id), [true], "quorate before and after");
    }
    assert!(c.events(2).contains(&&Event::Forced) && !c.events(1).contains(&&Event::Forced));
    let cause = |id: u32| c.node(id).ring_changes().last().map(|change| change.cause);
    assert_eq!((cause(2), cause(1)), (Some(18), Some(12)));
}

#[test]
fn a_single_node_is_a_cluster() {
    let mut c = Cluster::new(1, PLAIN);
    c.until("forms", |c| c.settled(&[1]) && c.quorate(1));
    c.join(1, 1, 100, b"g");
    c.until("joins", |c| c.node(1).cpg_members(b"g").len() == 1);
}

#[test]
fn a_silent_death_costs_the_detector_limit_and_no_wait_for_leases() {
    let mut c = Cluster::formed(3);
    c.run(Span::from_millis(333));
    let death = c.now;
    c.kill(3);
    c.until("two go on", |c| c.settled(&[1, 2]));
    for id in [1, 2] {
        assert_eq!(c.quorum_told(id), [true], "quorate before, told once, quorate after");
        assert!(c.events(id).iter().any(
            |e| matches!(e, Event::Suspect { node: n, silent, .. } if *n == node(3) && *silent > Span::ZERO)
        ));
        let told = c.told(id).iter().find(|t| matches!(t.output, Output::Quorum(_))).expect("told");
        let took = told.at.since(death);
        assert!(took < c.timers().heartbeat_limit + Span::from_millis(30), "took {took}");
    }
}

#[test]
fn a_hint_of_a_dead_node_shortens_detection_and_not_the_wait_for_its_lease() {
    let hinted = |of: &[u32], less_than: u64| {
        let mut c = Cluster::formed(3);
        c.kill(3);
        let death = c.now;
        for id in of {
            c.act(*id, |n| n.hint(death, node(3), Hint::Refused));
        }
        c.until("two go on", |c| [1, 2].iter().all(|id| c.node(*id).members() == ids(&[1, 2])));
        let (timers, took) = (*c.timers(), c.now.since(death));
        assert!(took < timers.heartbeat_limit.scale(less_than, 12), "took {took}");
        c.until("all steps", |c| c.settled(&[1, 2]));
        for id in [1, 2] {
            let told = c.told(id).iter().find(|t| matches!(t.output, Output::Quorum(_))).expect("told");
            let lease_end = death + (timers.lease + timers.lease_margin).saturating_sub(timers.heartbeat);
            assert!(told.at >= lease_end, "no sooner than the lease of 3 can have ended");
            assert_eq!(c.quorum_told(id), [true], "without a loss of quorum");
        }
    };
    hinted(&[1, 2], 3);
    // Whom another member does not hear, one asks as well.
    hinted(&[2], 5);
}

#[test]
fn hints_of_a_living_node_remove_nobody_and_cost_little() {
    let mut c = Cluster::formed_with(3, LinksConfig::equal(2, LinkMode::Passive));
    c.forget();
    let beats =
        |c: &Cluster| c.node(3).links().stats(node(1), LinkId::new(1)).tx[Traffic::Beat as usize].packets;
    let (before, began) = (beats(&c), c.now);
    while c.now < began + Span::from_secs(10) {
        let now = c.now;
        for (at, of) in [(1, 3), (2, 3), (3, 1), (1, 2)] {
            c.act(at, |n| n.hint(now, node(of), Hint::Refused));
        }
        c.run(Span::from_millis(1));
    }
    let heartbeats = c.now.since(began).as_nanos() / c.timers().heartbeat.as_nanos();
    let more = beats(&c) - before - heartbeats;
    assert!((8..40).contains(&more), "{more} probes and answers in ten seconds of hints all the time");
    for id in 1..=3 {
        assert_eq!(c.regular(id).len(), 0, "no membership change on node {id}");
        assert!(!c.events(id).iter().any(|e| matches!(e, Event::Suspect { .. })));
        assert!(c.quorate(id));
    }
}

#[test]
fn a_machine_without_carrier_gives_its_peers_up_within_a_probe() {
    let mut c = Cluster::formed(3);
    c.cut(&[3], &[1, 2]);
    let cut = c.now;
    c.act(3, |n| n.link_lost(cut, LinkId::new(0), LinkLoss::Carrier));
    let down = |e: &&Event| matches!(e, Event::Link { up: false, why: "its interface lost the carrier", .. });
    assert_eq!(c.events(3).into_iter().filter(down).count(), 2, "at once, to both");
    c.until("it is alone", |c| c.node(3).members() == ids(&[3]));
    let took = c.now.since(cut);
    assert!(took < c.timers().heartbeat_limit.scale(1, 3), "took {took}");
    c.until("not quorate", |c| !c.quorate(3) && c.settled(&[1, 2]));
    c.heal();
    c.until("one ring", |c| c.settled(&[1, 2, 3]));
}

#[test]
fn a_late_token_has_its_holder_asked() {
    // A detector that would wait for longer than the token.
    let timers = Timers::from_token(Span::from_secs(1)).with_limit(Span::from_secs(6));
    let links = LinksConfig::equal(1, LinkMode::Passive);
    let mut c = Cluster::with_timers(3, PLAIN, links, timers);
    c.until("forms", |c| c.settled(&[1, 2, 3]));
    c.forget();
    c.kill(3);
    let asked = |e: &Event| matches!(e, Event::Probe { node: n, why: "the token is late" } if *n == node(3));
    c.until("asked", |c| [1, 2].iter().any(|id| c.events(*id).into_iter().any(asked)));
    assert!([1, 2].iter().all(|id| !c.events(*id).iter().any(|e| matches!(e, Event::TokenLost { .. }))));
    c.until("two go on", |c| [1, 2].iter().all(|id| c.node(*id).members() == ids(&[1, 2])));
    for id in [1, 2] {
        let others = |e: &&&Event| matches!(e, Event::Suspect { node: n, .. } if *n != node(3));
        assert_eq!(c.events(id).iter().filter(others).count(), 0, "whoever lives answers");
    }
}

/// Node 3 joins 1 and 2 and dies when node `of` is in `state`.
fn death_of_a_joiner(of: u32, state: &str) {
    let mut c = Cluster::formed(3);
    c.kill(3);
    c.until("two go on", |c| c.settled(&[1, 2]));
    c.forget();
    c.start(3);
    c.until("the moment", |c| c.node(of).ring_state() == state);
    c.kill(3);
    let death = c.now;
    c.until("the two are one again", |c| c.settled(&[1, 2]) && [1, 2].iter().all(|id| c.quorate(*id)));
    let took = c.now.since(death);
    assert!(took < c.timers().heartbeat_limit + Span::from_millis(50), "{state} of {of}: took {took}");
    assert!([1, 2].iter().all(|id| !c.quorum_told(*id).contains(&false)), "without a loss of quorum");
}

#[test]
fn a_joiner_that_dies_silently_costs_the_detector_limit_in_every_state() {
    for state in ["GATHER", "COMMIT", "RECOVERY"] {
        for of in [1, 2, 3] {
            death_of_a_joiner(of, state);
        }
    }
}

#[test]
fn a_minority_is_told_so_and_the_halves_merge() {
    let mut c = Cluster::formed(5);
    c.cut(&[1, 2], &[3, 4, 5]);
    c.until("two halves", |c| c.settled(&[1, 2]) && c.settled(&[3, 4, 5]));
    for id in 1..=5 {
        assert_eq!(c.quorate(id), id > 2, "node {id}");
        assert_eq!(c.quorum_told(id).contains(&false), id <= 2, "no passing loss on the side that goes on");
    }
    let reason = c.node(1).quorum_view().reason.clone();
    assert_eq!(reason, "2 of 5 votes, 3 needed");
    c.heal();
    c.forget();
    c.until("one again", |c| c.settled(&[1, 2, 3, 4, 5]) && (1..=5).all(|id| c.quorate(id)));
    assert!((3..=5).all(|id| !c.quorum_told(id).contains(&false)));
    let Some(Output::NodeList(list)) =
        c.told(1).iter().map(|t| &t.output).find(|o| matches!(o, Output::NodeList(_)))
    else {
        panic!("told")
    };
    assert_eq!((list.joined.clone(), list.left.clone()), (ids(&[3, 4, 5]), vec![]));
}

#[test]
fn an_orderly_leave_gives_up_quorum_first_and_is_over_at_once() {
    let mut c = Cluster::formed(3);
    let began = c.now;
    c.submit(3, Request::Leave).unwrap();
    assert!(!c.runs(3), "left");
    let told: Vec<&Output> = c.told(3).iter().map(|t| &t.output).collect();
    assert!(matches!(told[0], Output::Quorum(v) if !v.quorate && v.reason == "this node leaves"), "{told:?}");
    assert!(matches!(told.last(), Some(Output::Left)));
    c.until("two go on", |c| c.settled(&[1, 2]));
    assert!(c.now.since(began) < Span::from_millis(30), "nothing is waited for");
    for id in [1, 2] {
        assert_eq!(c.quorum_told(id), [true]);
        assert!(c.events(id).iter().any(|e| matches!(e, Event::Suspect { why: "leave", .. })));
        assert_eq!(c.node(id).quorum_view().nodes[2].state, 3, "leaving, not dead");
    }
}

#[test]
fn a_node_that_restarts_faster_than_it_is_missed_is_left_and_joined() {
    let mut c = Cluster::formed(3);
    c.kill(3);
    c.start(3);
    c.until("three again", |c| c.settled(&[1, 2, 3]) && c.quorate(3));
    for id in [1, 2] {
        let list = c.told(id).iter().rev().find_map(|t| match &t.output {
            Output::NodeList(list) => Some(list.clone()),
            _ => None,
        });
        let list = list.expect("told");
        assert!(list.joined.contains(&node(3)), "{list:?}");
        let left: Vec<_> = c.regular(id).iter().flat_map(|r| r.left.clone()).collect();
        assert_eq!(left, ids(&[3]));
        assert!(!c.quorum_told(id).contains(&false));
    }
}

#[test]
fn configurations_that_cannot_be_run_are_refused_with_a_reason() {
    let good = Cluster::new(3, PLAIN).node(1).config().clone();
    let now = holdfast_types::Boottime::from_nanos(1);
    let refused = |change: &dyn Fn(&mut cmm_proto::NodeConfig)| {
        let mut config = good.clone();
        change(&mut config);
        Node::new(config, now).err()
    };
    assert_eq!(refused(&|_| {}), None);
    assert!(matches!(refused(&|c| c.nodes.clear()), Some(ConfigError::Nodes(_))));
    assert!(matches!(refused(&|c| c.nodes.swap(0, 1)), Some(ConfigError::Nodes(_))));
    assert!(matches!(refused(&|c| c.nodes[0].id = node(0)), Some(ConfigError::Nodes(_))));
    assert_eq!(refused(&|c| c.me = node(9)), Some(ConfigError::NotInList(node(9))));
    assert!(matches!(refused(&|c| c.settings.timers.heartbeat = Span::ZERO), Some(ConfigError::Timers(_))));
    assert!(matches!(
        refused(&|c| c.settings.timers.lease = c.settings.timers.heartbeat),
        Some(ConfigError::Timers(_))
    ));
    let none = Some(Votes::new(0));
    assert!(matches!(refused(&|c| c.quorum.expected_votes = none), Some(ConfigError::Quorum(_))));
}
