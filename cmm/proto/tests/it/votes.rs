//! Votes and expected votes set by the administrator, on all nodes alike.

use cmm_proto::quorum::votes::{Tally, Voter};
use cmm_proto::{Event, Refusal, Request};
use holdfast_types::{Span, Votes};

use crate::cluster::{Cluster, PLAIN, node};

fn expected(c: &Cluster) -> Vec<u32> {
    c.nodes.keys().filter(|id| c.runs(**id)).map(|id| c.node(*id).quorum_view().expected.get()).collect()
}

/// So many members, of one vote each.
fn voters(count: u32, expected: u32) -> Vec<Voter> {
    let expected = Votes::new(expected);
    let one =
        |id| Voter { node: node(id), votes: Votes::new(1), expected, quorate: false, waits_for_all: false };
    (1..=count).map(one).collect()
}

/// Nodes, votes of the device, expected votes, quorum: with a vote less than there are nodes the device and one node are a quorum,
/// and nobody is without it.
#[test]
fn r7_a_device_with_a_vote_less_than_nodes_and_one_of_them_are_a_quorum() {
    for (nodes, device, expected, quorum) in
        [(2, 1, 3, 2), (3, 2, 5, 3), (4, 3, 7, 4), (6, 5, 11, 6), (16, 15, 31, 16)]
    {
        for present in 1..=nodes {
            let tally = Tally::of(&voters(present, expected), false, Votes::new(device));
            assert_eq!(
                (tally.expected.get(), tally.quorum.get()),
                (expected, quorum),
                "{present} of {nodes}"
            );
            assert!(tally.has_enough(true), "{present} of {nodes} with the device");
            assert_eq!(tally.has_enough(false), present == nodes, "{present} of {nodes} without it");
        }
    }
}

/// Whoever is lost is expected back: fewer members need as many votes as before. More than were expected need more.
#[test]
fn r7_quorum_does_not_fall_with_the_votes_present_and_rises_with_them() {
    for expected in 1..=20 {
        for present in 1..=20 {
            let tally = Tally::of(&voters(present, expected), false, Votes::new(0));
            assert_eq!(tally.expected.get(), expected.max(present));
            assert_eq!(
                tally.quorum.get(),
                expected.midpoint(2).max(present.midpoint(2)),
                "{present} of {expected}"
            );
        }
    }
}

#[test]
fn expected_votes_reach_all_and_a_joiner_takes_them_over() {
    let mut c = Cluster::formed(5);
    c.kill(5);
    c.until("four", |c| c.settled(&[1, 2, 3, 4]));
    c.forget();
    c.submit(2, Request::SetExpectedVotes(Votes::new(4))).unwrap();
    c.until("told", |c| expected(c) == [4, 4, 4, 4]);
    c.run(Span::from_millis(100));
    assert!((1..=4).all(|id| c.quorum_told(id) == [true]), "told once on each");
    assert_eq!(c.submit(2, Request::SetExpectedVotes(Votes::new(3))), Err(Refusal::InvalidParam));
    assert_eq!(c.submit(2, Request::SetExpectedVotes(Votes::new(9))), Err(Refusal::InvalidParam));
    c.start(5);
    c.until("five", |c| c.settled(&[1, 2, 3, 4, 5]) && c.quorate(5));
    assert_eq!(expected(&c), [5; 5], "more votes raise it by themselves");
}

#[test]
fn a_nodes_votes_change_on_all() {
    let mut c = Cluster::formed(3);
    let set = |node, votes| Request::SetVotes { node, votes: Votes::new(votes) };
    c.submit(1, set(node(2), 3)).unwrap();
    c.until("told", |c| (1..=3).all(|id| c.node(id).quorum_view().total == Votes::new(5)));
    assert!((1..=3).all(|id| c.node(id).quorum_view().quorum == Votes::new(3)));
    assert_eq!(c.submit(1, set(node(8), 1)), Err(Refusal::NameNotFound));
    // Node 2 alone is now a majority, and brings its votes along.
    c.cut(&[2], &[1, 3]);
    c.until("apart", |c| c.settled(&[2]) && c.settled(&[1, 3]));
    assert!(c.quorate(2) && !c.quorate(1) && !c.quorate(3));
    c.heal();
    c.until("one", |c| c.settled(&[1, 2, 3]) && c.quorate(3));
    assert_eq!(c.node(3).quorum_view().total, Votes::new(5));
}

#[test]
fn a_cut_in_the_moment_of_a_change_of_votes_never_leaves_two_quorate_sides() {
    // With three votes node 2 is a majority alone; as long as it has one, nodes 1 and 3 are one without it.
    let mut outcomes = std::collections::BTreeSet::new();
    for moment in 0..60 {
        let mut c = Cluster::formed(3);
        c.submit(2, Request::SetVotes { node: node(2), votes: Votes::new(3) }).unwrap();
        c.run(Span::from_micros(100 * moment));
        c.cut(&[2], &[1, 3]);
        c.until("apart", |c| {
            let one_side =
                |side: &[u32], other: u32| side.iter().any(|id| c.quorate(*id)) && c.quorate(other);
            let apart = c.node(2).members().len() == 1 && c.node(1).members().len() == 2;
            assert!(!apart || !one_side(&[1, 3], 2), "moment {moment}: {}", c.describe());
            c.settled(&[2]) && c.settled(&[1, 3])
        });
        outcomes.insert((c.quorate(1), c.quorate(2)));
    }
    // Early cuts make the change void, late ones come after it; in between there may be no majority by either table.
    assert!(outcomes.contains(&(true, false)) && outcomes.contains(&(false, true)), "{outcomes:?}");
    assert!(!outcomes.contains(&(true, true)));
}

#[test]
fn cancelling_wait_for_all_lets_those_present_go_on() {
    let mut c = Cluster::new(3, cmm_proto::QuorumConfig { wait_for_all: true, ..PLAIN });
    c.kill(3);
    c.until("two", |c| c.settled(&[1, 2]));
    assert!(!c.quorate(1));
    assert_eq!(c.node(1).quorum_view().reason, "waits for all: 2 of 3 votes");
    c.submit(2, Request::CancelWaitForAll).unwrap();
    c.until("quorate", |c| c.quorate(1) && c.quorate(2));
    // A newcomer learns from those who are quorate that the wait is over.
    c.start(3);
    c.until("three", |c| c.settled(&[1, 2, 3]) && c.quorate(3));
    assert!(!c.node(3).quorum_view().wait_for_all_status);
}

#[test]
fn a_change_that_was_taken_is_made_although_the_ring_breaks_up_in_between() {
    for moment in 0..60 {
        let mut c = Cluster::formed(3);
        c.submit(2, Request::SetExpectedVotes(Votes::new(5))).unwrap();
        c.run(Span::from_micros(100 * moment));
        c.cut(&[3], &[1, 2]);
        c.until("apart", |c| c.settled(&[3]) && c.settled(&[1, 2]));
        c.heal();
        c.until("one", |c| c.settled(&[1, 2, 3]));
        c.until("made", |c| expected(c) == [5; 3] && !c.node(2).votes_change_pending());
    }
}

#[test]
fn of_two_changes_at_once_both_are_made_one_after_the_other() {
    let mut c = Cluster::formed(5);
    c.forget();
    for (by, votes) in [(1, 6), (2, 7), (3, 8)] {
        c.submit(by, Request::SetExpectedVotes(Votes::new(votes))).unwrap();
    }
    assert_eq!(
        c.submit(2, Request::SetExpectedVotes(Votes::new(5))),
        Err(Refusal::TryAgain),
        "one of each node"
    );
    let seen = std::cell::RefCell::new(std::collections::BTreeSet::new());
    c.until("all made", |c| {
        let now: std::collections::BTreeSet<u32> = expected(c).into_iter().collect();
        seen.borrow_mut().extend(now.iter().copied());
        now.len() == 1 && (1..=5).all(|id| !c.node(id).votes_change_pending())
    });
    assert!([6, 7, 8].iter().all(|votes| seen.borrow().contains(votes)), "{seen:?}");
}

#[test]
fn a_change_that_cannot_be_made_any_more_is_given_up_and_the_log_says_so() {
    let mut c = Cluster::formed(3);
    c.submit(2, Request::SetExpectedVotes(Votes::new(5))).unwrap();
    c.cut(&[3], &[1, 2]);
    c.until("apart", |c| c.settled(&[1, 2]));
    // It was for three: these two wait for the third one.
    c.run(Span::from_secs(50));
    assert!(c.node(2).votes_change_pending());
    c.run(Span::from_secs(20));
    assert!(!c.node(2).votes_change_pending());
    let said = c.events(2).iter().filter(|e| matches!(e, Event::VotesNotChanged { .. })).count();
    assert_eq!(said, 1);
}
