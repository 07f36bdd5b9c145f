//! Who reaches whom is not all or nothing: some pairs are apart, or hear each other one way only. Whatever the graph, the
//! members choose once who goes on together, nobody disturbs anybody until it heals, and then one change brings all
//! together.

use cmm_proto::Node;
use holdfast_sim::clock::{MS, SEC};
use holdfast_sim::oracle::Violation;
use holdfast_sim::trace::Mode;
use holdfast_sim::{Cluster, Options};
use holdfast_types::Votes;

/// What one cut cost: the most rings that any node installed.
#[derive(Clone, Copy, Debug, Default)]
struct Cost {
    /// Until nothing moved any more.
    settling: u64,
    /// Afterwards, in half a minute.
    steady: u64,
    /// From the end of the cut until all were together.
    healing: u64,
}

fn rings(cluster: &Cluster) -> Vec<u64> {
    (0..cluster.len()).map(|n| cluster.node(n).map_or(0, |node| node.stats().operational_entered)).collect()
}

fn most(before: &[u64], after: &[u64]) -> u64 {
    before.iter().zip(after).map(|(b, a)| a - b).max().unwrap_or(0)
}

fn broken(cluster: &Cluster, why: &str) -> ! {
    panic!("{}\n{why}", cluster.trace.tail().join("\n"))
}

fn held(cluster: &mut Cluster, span: u64) {
    let until = cluster.now + span;
    if let Err(Violation { name, seen, .. }) = cluster.run_until(until) {
        broken(cluster, &format!("{name}: {seen}"));
    }
}

fn together(cluster: &mut Cluster) {
    let all: Vec<usize> = (0..cluster.len()).collect();
    let deadline = cluster.now + 30 * SEC;
    match cluster.run_while_not(deadline, |c| c.together(&all)) {
        Ok(true) => {}
        Ok(false) => broken(cluster, "never together"),
        Err(Violation { name, seen, .. }) => broken(cluster, &format!("{name}: {seen}")),
    }
}

/// Cuts these ways, sees what happens, and heals them.
fn cost(seed: u64, nodes: u32, cuts: &[(usize, usize)]) -> (Cost, Vec<Vec<u32>>) {
    cost_with(Options::quiet(seed, nodes), cuts)
}

fn cost_with(options: Options, cuts: &[(usize, usize)]) -> (Cost, Vec<Vec<u32>>) {
    let mut cluster = Cluster::new(options, Mode::Tail, None);
    cluster.start_all(50 * MS);
    together(&mut cluster);
    held(&mut cluster, 500 * MS);
    let formed = rings(&cluster);
    for (a, b) in cuts {
        cluster.network.cut(*a, *b);
    }
    held(&mut cluster, 10 * SEC);
    let settled = rings(&cluster);
    let members: Vec<Vec<u32>> = (0..cluster.len())
        .map(|n| cluster.node(n).map(Node::members).unwrap_or_default().iter().map(|id| id.get()).collect())
        .collect();
    held(&mut cluster, 30 * SEC);
    let steady = rings(&cluster);
    for (a, b) in cuts {
        cluster.network.mend(*a, *b);
    }
    together(&mut cluster);
    held(&mut cluster, 2 * SEC);
    let healed = rings(&cluster);
    if let Err(violation) = cluster.converge() {
        broken(&cluster, &format!("{}: {}", violation.name, violation.seen));
    }
    let cost = Cost {
        settling: most(&formed, &settled),
        steady: most(&settled, &steady),
        healing: most(&steady, &healed),
    };
    (cost, members)
}

fn both(pairs: &[(usize, usize)]) -> Vec<(usize, usize)> {
    pairs.iter().flat_map(|(a, b)| [(*a, *b), (*b, *a)]).collect()
}

/// Pairs of `nodes` nodes that a linear congruence picks, one of `share` of them.
fn some(seed: u64, nodes: usize, share: u64) -> Vec<(usize, usize)> {
    let mut state = seed;
    let mut chance = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33).is_multiple_of(share)
    };
    let pairs = (0..nodes).flat_map(|a| (0..nodes).map(move |b| (a, b)));
    pairs.filter(|(a, b)| a != b).filter(|_| chance()).collect()
}

/// One change each when the cut comes and when it goes, none between.
fn chosen_once(what: &str, seed: u64, nodes: u32, cuts: &[(usize, usize)]) -> Vec<Vec<u32>> {
    let (cost, members) = cost(seed, nodes, cuts);
    assert_eq!(
        (cost.settling, cost.steady, cost.healing),
        (1, 0, 1),
        "{what}, seed {seed}: {cuts:?} led to {members:?}"
    );
    members
}

/// corosync #750, #760: A–B and B–C are fine, A–C is cut.
#[test]
fn of_three_with_one_pair_apart_two_stay_together() {
    for seed in 0..10 {
        let members = chosen_once("three", seed, 3, &both(&[(0, 2)]));
        assert_eq!(members, [vec![1, 2], vec![1, 2], vec![3]], "the lower id of the two that are apart");
    }
}

/// All but the first have lost contact with each other.
#[test]
fn of_a_star_the_middle_and_one_other_stay_together() {
    let rays: Vec<_> = (1..5).flat_map(|a| (1..a).map(move |b| (a, b))).collect();
    for seed in 0..10 {
        let members = chosen_once("star", seed, 5, &both(&rays));
        assert_eq!(members, [vec![1, 2], vec![1, 2], vec![3], vec![4], vec![5]]);
    }
}

#[test]
fn of_eight_with_random_pairs_apart_the_choice_is_made_once() {
    for seed in 0..20 {
        let mut pairs = some(seed, 8, 6);
        pairs.retain(|(a, b)| a < b);
        if !pairs.is_empty() {
            chosen_once("eight", seed, 8, &both(&pairs));
        }
    }
}

#[test]
fn one_way_cuts_are_cuts() {
    for seed in 0..30 {
        let cuts = some(seed, 5, 6);
        if !cuts.is_empty() {
            chosen_once("one way", seed, 5, &cuts);
        }
    }
}

/// The one with three votes is worth more than the two that it cannot reach.
#[test]
fn votes_decide_before_numbers() {
    let mut options = Options::quiet(4, 4);
    options.nodes[3].votes = Votes::new(5);
    let (cost, members) = cost_with(options, &both(&[(3, 0), (3, 1)]));
    assert_eq!(members, [vec![1, 2], vec![1, 2], vec![3, 4], vec![3, 4]]);
    assert_eq!((cost.settling, cost.steady, cost.healing), (1, 0, 1));
}

/// One that comes later and reaches only some of a ring disturbs it once, and is kept out until it reaches all.
#[test]
fn a_newcomer_that_does_not_reach_all_is_kept_out() {
    for seed in 0..10 {
        let mut cluster = Cluster::new(Options::quiet(seed, 4), Mode::Tail, None);
        for n in 1..4 {
            cluster.start(n).unwrap_or_else(|v| broken(&cluster, &v.seen));
        }
        held(&mut cluster, 2 * SEC);
        assert!(cluster.together(&[1, 2, 3]));
        for (a, b) in both(&[(0, 2)]) {
            cluster.network.cut(a, b);
        }
        let before = rings(&cluster);
        cluster.start(0).unwrap_or_else(|v| broken(&cluster, &v.seen));
        held(&mut cluster, 30 * SEC);
        assert!(cluster.together(&[1, 2, 3]), "seed {seed}: equal is not better, so they stay together");
        assert!(most(&before[1..], &rings(&cluster)[1..]) <= 1, "seed {seed}: one attempt");
        let kept: Vec<u32> =
            cluster.node(1).map(Node::held_out).unwrap_or_default().iter().map(|o| o.node.get()).collect();
        assert_eq!(kept, [1], "seed {seed}");
        cluster.network.mend(0, 2);
        cluster.network.mend(2, 0);
        together(&mut cluster);
        assert!(cluster.node(1).is_some_and(|n| n.held_out().is_empty()));
    }
}
