//! The quorum lease on whole nodes: cuts, pauses, restarts, firm news.

use cmm_proto::{Event, Output};
use holdfast_types::Span;

use crate::cluster::{Cluster, PLAIN};

/// When each node was told, and what.
fn changes(c: &Cluster, id: u32) -> Vec<(u64, bool)> {
    let of = |t: &crate::cluster::Told| match &t.output {
        Output::Quorum(view) => Some((t.at.as_nanos(), view.quorate)),
        _ => None,
    };
    c.told(id).iter().filter_map(of).collect()
}

#[test]
fn a_node_cut_off_is_not_quorate_before_the_others_announce_quorum_without_it() {
    for moment in 0..40 {
        let mut c = Cluster::formed(3);
        c.run(Span::from_millis(3 * moment));
        let cut = c.now;
        c.cut(&[3], &[1, 2]);
        c.until("two go on", |c| c.settled(&[1, 2]) && c.settled(&[3]));
        let lost = changes(&c, 3).iter().find(|(_, q)| !q).expect("3 loses its lease").0;
        assert!(lost <= cut.as_nanos() + c.timers().lease.as_nanos(), "in time");
        for id in [1, 2] {
            let gained = changes(&c, id).iter().find(|(_, q)| *q).expect("announced").0;
            assert!(lost < gained, "node {id} announces at {gained}, node 3 gives up at {lost}");
        }
    }
}

/// Those whose echoes are missing are asked in time: who hears nobody has its own ring when its lease ends.
#[test]
fn a_node_that_hears_nobody_tells_the_loss_of_quorum_once_and_with_its_new_ring() {
    for moment in 0..40 {
        let mut c = Cluster::formed(3);
        c.run(Span::from_millis(3 * moment));
        c.forget();
        c.cut(&[3], &[1, 2]);
        c.until("apart", |c| c.settled(&[1, 2]) && c.settled(&[3]));
        let views = c.told(3).iter().filter_map(|t| match &t.output {
            Output::Quorum(view) => Some((view.quorate, view.members.len())),
            _ => None,
        });
        assert_eq!(views.collect::<Vec<_>>(), [(false, 1)], "{moment}");
    }
}

#[test]
fn a_paused_node_drops_quorum_before_it_reads_a_packet() {
    let mut c = Cluster::formed(3);
    c.pause(3);
    c.run(c.timers().lease + Span::from_millis(200));
    c.forget();
    c.resume(3);
    let first: Vec<&Output> = c.told(3).iter().map(|t| &t.output).take(3).collect();
    assert!(matches!(first[0], Output::Quorum(v) if !v.quorate), "{first:?}");
    assert!(first.iter().any(|o| matches!(o, Output::Event(Event::Paused { .. }))), "{first:?}");
    c.until("three again", |c| c.settled(&[1, 2, 3]) && c.quorate(3));
}

#[test]
fn a_short_pause_is_forgiven_and_accuses_nobody() {
    let mut c = Cluster::formed(3);
    c.pause(3);
    c.run(c.timers().heartbeat_limit.scale(3, 5));
    c.resume(3);
    c.run(Span::from_secs(5));
    for id in 1..=3 {
        assert_eq!(c.regular(id).len(), 0, "no membership change on node {id}");
        assert!(!c.events(id).iter().any(|e| matches!(e, Event::Suspect { .. })));
        assert!(c.quorate(id));
    }
}

#[test]
fn when_echoes_come_back_in_the_same_configuration_quorum_does() {
    let mut c = Cluster::formed(3);
    // Everyone stands still for longer than the lease and shorter than any membership timer of the others.
    for id in 1..=3 {
        c.pause(id);
    }
    let end = c.now + c.timers().lease + Span::from_millis(20);
    c.now = end;
    for id in 1..=3 {
        c.resume(id);
    }
    assert!((1..=3).all(|id| !c.quorate(id)), "all know that they slept");
    c.until("quorate again", |c| (1..=3).all(|id| c.quorate(id)));
    assert!((1..=3).all(|id| c.regular(id).is_empty()), "without a membership change");
}

#[test]
fn a_gasp_ends_the_lease_and_the_membership_at_once() {
    let mut c = Cluster::formed(3);
    let death = c.now;
    c.kill_with_gasp(3, false);
    c.until("two go on", |c| c.settled(&[1, 2]));
    assert!(c.now.since(death) < Span::from_millis(20), "took {}", c.now.since(death));
    for id in [1, 2] {
        assert_eq!(c.quorum_told(id), [true]);
        assert_eq!(c.confirmed(id), [], "a gasp confirms no death");
    }
}

#[test]
fn a_restarted_voter_waits_a_lease_before_it_makes_a_quorum_without_a_member_it_may_have_echoed() {
    // 1 and 2 held quorum with 3 absent for long. 2 restarts, meets 3 only: 1's lease may still run.
    let mut c = Cluster::formed(3);
    c.cut(&[3], &[1, 2]);
    c.until("two go on", |c| c.settled(&[1, 2]) && c.settled(&[3]));
    c.run(Span::from_secs(1));
    c.kill(2);
    c.heal();
    c.cut(&[1], &[2, 3]);
    let killed = c.now;
    c.forget();
    c.start(2);
    c.until("2 and 3", |c| c.settled(&[2, 3]) && c.quorate(2) && c.quorate(3));
    let lost = changes(&c, 1).iter().find(|(_, q)| !q).expect("1 loses its lease").0;
    for id in [2, 3] {
        let gained = changes(&c, id).iter().find(|(_, q)| *q).expect("announced").0;
        assert!(lost < gained);
        let wait = c.timers().lease + c.timers().lease_margin;
        assert!(gained >= (killed + wait).as_nanos(), "a full lease and the margin after its start");
    }
}

#[test]
fn two_node_stays_quorate_on_both_sides_and_waits_for_all_first() {
    let options = cmm_proto::QuorumConfig { two_node: true, wait_for_all: true, ..PLAIN };
    let mut c = Cluster::new(2, options);
    c.cut(&[1], &[2]);
    c.until("alone", |c| c.settled(&[1]) && c.settled(&[2]));
    assert!(!c.quorate(1) && !c.quorate(2));
    assert!(c.node(1).quorum_view().wait_for_all_status);
    c.heal();
    c.until("together", |c| c.settled(&[1, 2]) && c.quorate(1) && c.quorate(2));
    c.forget();
    c.cut(&[1], &[2]);
    c.until("apart", |c| c.settled(&[1]) && c.settled(&[2]));
    assert!(c.quorate(1) && c.quorate(2));
    assert!(!c.quorum_told(1).contains(&false) && !c.quorum_told(2).contains(&false));
}
