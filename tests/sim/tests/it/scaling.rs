//! Which votes are expected, and who breaks ties, in scenarios that chance finds too rarely; each with a lie that the oracle has to notice.

use cmm_proto::TieBreak;
use holdfast_sim::clock::{MS, SEC};
use holdfast_sim::machine::Death;
use holdfast_sim::options::Scaling;
use holdfast_sim::oracle::Violation;
use holdfast_sim::sabotage::Bug;
use holdfast_sim::trace::Mode;
use holdfast_sim::{Cluster, Options};
use holdfast_types::{Span, Votes};

/// A cluster of `count` nodes that are quorate together.
fn formed(count: u32, scaling: Scaling, bug: Option<Bug>) -> Result<Cluster, Violation> {
    let mut cluster = Cluster::new(Options { scaling, ..Options::quiet(21, count) }, Mode::Tail, bug);
    cluster.start_all(50 * MS);
    let all: Vec<usize> = (0..cluster.len()).collect();
    wait(&mut cluster, "all are quorate", |c| c.tables_agree() && quorate(c, &all))?;
    Ok(cluster)
}

fn quorate(c: &Cluster, nodes: &[usize]) -> bool {
    c.together(nodes) && nodes.iter().all(|n| c.quorate(*n))
}

fn expected(c: &Cluster, n: usize) -> u32 {
    c.node(n).map_or(0, |node| node.quorum_view().highest_expected.get())
}

fn wait(c: &mut Cluster, what: &str, done: impl FnMut(&Cluster) -> bool) -> Result<(), Violation> {
    let deadline = c.now + 20 * SEC;
    let done = c.run_while_not(deadline, done)?;
    let views: Vec<_> =
        (0..c.len()).filter_map(|n| c.node(n)).map(|n| (n.quorum_view(), n.tables())).collect();
    assert!(done, "not in time: {what}: {views:#?}");
    Ok(())
}

/// Three of five have taken the others out of the count. One of the three dies and starts again beside those two: it knows that
/// they do not count, so the two that it has left stay the only majority.
fn three_of_five_and_a_traitor(
    scaling: Scaling,
    leave: bool,
    bug: Option<Bug>,
) -> Result<Cluster, Violation> {
    let mut c = formed(5, scaling, bug)?;
    if leave {
        c.leave(3)?;
        c.leave(4)?;
    } else {
        c.part(&[0, 1, 2], &[3, 4], true);
    }
    wait(&mut c, "three votes are expected", |c| quorate(c, &[0, 1, 2]) && expected(c, 0) == 3)?;
    c.crash(2, Death::Silent)?;
    wait(&mut c, "two of three are quorate", |c| quorate(c, &[0, 1]))?;
    c.part(&[0, 1], &[2, 3, 4], true);
    if !leave {
        c.part(&[0, 1, 2], &[3, 4], false);
    }
    for n in [2, 3, 4] {
        c.start(n)?;
    }
    wait(&mut c, "the three others meet", |c| c.together(&[2, 3, 4]))?;
    let later = c.now + 5 * SEC;
    c.run_until(later)?;
    assert!(quorate(&c, &[0, 1]) && (2..5).all(|n| !c.quorate(n)), "one vote of three");
    c.part(&[0, 1], &[2, 3, 4], false);
    wait(&mut c, "all count again", |c| {
        c.tables_agree() && quorate(c, &[0, 1, 2, 3, 4]) && expected(c, 4) == 5
    })?;
    Ok(c)
}

fn ends_well(run: Result<Cluster, Violation>) {
    match run.and_then(|mut c| c.converge().map(drop)) {
        Ok(()) => {}
        Err(v) => panic!("{}: {}\n{}", v.name, v.claim, v.seen),
    }
}

fn is_found(run: Result<Cluster, Violation>) {
    let found = run.err();
    assert!(matches!(found.as_ref().map(|v| v.name), Some("Q1" | "Q3")), "{found:?}");
}

fn last_man_standing() -> Scaling {
    Scaling { last_man_standing: Some(Span::from_secs(2)), ..Scaling::default() }
}

fn downscale(least: u32) -> Scaling {
    Scaling { allow_downscale: Some(Votes::new(least)), ..Scaling::default() }
}

#[test]
fn after_the_window_nobody_expects_the_lost_and_the_oracle_would_notice_who_forgets_that() {
    ends_well(three_of_five_and_a_traitor(last_man_standing(), false, None));
    is_found(three_of_five_and_a_traitor(last_man_standing(), false, Some(Bug::ForgetTables)));
}

#[test]
fn who_leaves_in_order_is_not_expected_and_the_oracle_would_notice_who_forgets_that() {
    // A node that left has a disk as well: it forgets, and the one of the three does.
    ends_well(three_of_five_and_a_traitor(downscale(1), true, None));
    is_found(three_of_five_and_a_traitor(downscale(1), true, Some(Bug::ForgetTables)));
}

#[test]
fn expected_votes_do_not_fall_below_those_configured_nor_for_a_crash() -> Result<(), String> {
    let run = || {
        let mut c = formed(5, downscale(4), None)?;
        c.leave(4)?;
        c.leave(3)?;
        wait(&mut c, "three are quorate", |c| quorate(c, &[0, 1, 2]) && expected(c, 0) == 4)?;
        let mut c = formed(5, downscale(1), None)?;
        c.crash(4, Death::Silent)?;
        wait(&mut c, "four are quorate", |c| quorate(c, &[0, 1, 2, 3]))?;
        let later = c.now + 5 * SEC;
        c.run_until(later)?;
        assert_eq!(expected(&c, 0), 5, "who dies is expected back");
        Ok(())
    };
    run().map_err(|v: Violation| v.seen)
}

/// In a cascade, each time after the window, down to one node if it breaks ties.
#[test]
fn the_last_man_stands_if_he_breaks_ties() -> Result<(), String> {
    let run = || {
        let tie_break = TieBreak::Highest;
        let mut c = formed(4, Scaling { tie_break, ..last_man_standing() }, None)?;
        for n in 0..3 {
            c.crash(n, Death::Silent)?;
            let rest: Vec<usize> = (n + 1..4).collect();
            let left = rest.len() as u32;
            wait(&mut c, "the rest is what is expected", |c| quorate(c, &rest) && expected(c, 3) == left)?;
        }
        c.start(0)?;
        wait(&mut c, "two count", |c| quorate(c, &[0, 3]) && expected(c, 3) == 2)?;
        Ok(c)
    };
    run().map(|c| ends_well(Ok(c))).map_err(|v: Violation| v.seen)
}

/// Half of four: the half with the tie-breaker is quorate, the other one is not, also when a node of it has died and is back.
fn half_of_four(bug: Option<Bug>) -> Result<Cluster, Violation> {
    let mut c = formed(4, Scaling { tie_break: TieBreak::Lowest, ..Scaling::default() }, bug)?;
    c.part(&[0, 1], &[2, 3], true);
    c.crash(3, Death::Silent)?;
    wait(&mut c, "half with node 1 is quorate", |c| quorate(c, &[0, 1]))?;
    c.start(3)?;
    wait(&mut c, "the other half meets", |c| c.together(&[2, 3]))?;
    let later = c.now + 5 * SEC;
    c.run_until(later)?;
    assert!(quorate(&c, &[0, 1]) && !c.quorate(2) && !c.quorate(3));
    c.part(&[0, 1], &[2, 3], false);
    wait(&mut c, "all are quorate", |c| c.tables_agree() && quorate(c, &[0, 1, 2, 3]))?;
    // Without node 1 another one breaks ties: of those that are left.
    c.crash(0, Death::Silent)?;
    wait(&mut c, "three are quorate", |c| {
        quorate(c, &[1, 2, 3]) && c.node(1).is_some_and(|n| n.quorum_view().tie == Some(n.me()))
    })?;
    c.part(&[1, 2], &[3], true);
    wait(&mut c, "half with node 2", |c| c.together(&[1, 2]) && !c.quorate(3))?;
    wait(&mut c, "is quorate", |c| quorate(c, &[1, 2]))?;
    // Node 1 comes back to the other part: together half of the votes, and one that knows the old tie-breaker only.
    c.part(&[0], &[1, 2], true);
    c.start(0)?;
    wait(&mut c, "the other half meets", |c| c.together(&[0, 3]))?;
    let later = c.now + 5 * SEC;
    c.run_until(later)?;
    assert!(!c.quorate(0) && !c.quorate(3) && quorate(&c, &[1, 2]));
    c.part(&[1, 2], &[3], false);
    c.part(&[0], &[1, 2], false);
    Ok(c)
}

#[test]
fn half_is_enough_with_the_tie_breaker_and_the_oracle_would_notice_a_second_one() {
    ends_well(half_of_four(None));
    is_found(half_of_four(Some(Bug::OwnTie)));
}
