//! Clusters with quorum disks to whose nodes, network and disks anything may happen at any time: at no instant are two partitions quorate, and
//! when nothing is wrong any more, all are one again. (R12, S15)
//!
//! `HOLDFAST_QDISK_RUNS=N` makes so many runs of each shape, `HOLDFAST_QDISK_SHAPES=2x1,3x3` names shapes (nodes x disks),
//! `HOLDFAST_QDISK_SEED` repeats the choices that a run printed. All shapes, 100 times:
//! `HOLDFAST_QDISK_RUNS=100 HOLDFAST_QDISK_SHAPES=2x1,2x3,3x1,3x3,4x1,4x3 cargo test -p harness --test netns -- qdisk_random --nocapture`

use std::time::{Duration, Instant};

use harness::{
    Cib, Cluster, Dice, DiskFault, Options, missing_for_disks, patience, random_bytes, skip_where,
};
use holdfast_sys::clock::boottime_nanos;

use crate::arena::{Arena, CUT, LEASE, STALL};

/// Something that is done to the cluster.
#[derive(Clone, Debug)]
enum Blow {
    /// These lose the others, both ways.
    Split(Vec<u32>),
    /// What the first one sends to the second one is lost.
    Deafen(u32, u32),
    HealNetwork,
    KillDaemon(u32),
    KillNode(u32),
    Stop(u32),
    Resume(u32),
    /// On the ways of these nodes to these disks.
    Disks(Vec<u32>, Vec<u32>, DiskFault),
}

/// A run's blows, with their times from its beginning.
fn draw(dice: &mut Dice, nodes: u32, disks: u32) -> Vec<(Duration, Blow)> {
    let lease = u64::try_from(LEASE.as_millis()).unwrap();
    let mut blows: Vec<(u64, Blow)> = Vec::new();
    let mut at = 0;
    for _ in 0..1 + dice.below(4) {
        let node = 1 + dice.below(nodes.into()) as u32;
        match dice.below(12) {
            0..=3 => {
                // Neither nobody nor all of them.
                let mask = 1 + dice.below((1 << nodes) - 2);
                blows.push((at, Blow::Split((1..=nodes).filter(|n| mask >> (n - 1) & 1 == 1).collect())));
                if dice.chance(300) {
                    blows.push((at + dice.below(3 * lease), Blow::HealNetwork));
                }
            }
            4 => {
                let to = 1 + (node + dice.below(u64::from(nodes) - 1) as u32) % nodes;
                blows.push((at, Blow::Deafen(node, to)));
            }
            5 => blows.push((at, Blow::KillDaemon(node))),
            6 => blows.push((at, Blow::KillNode(node))),
            7 => {
                blows.push((at, Blow::Stop(node)));
                blows.push((at + lease / 4 + dice.below(4 * lease), Blow::Resume(node)));
            }
            _ => {
                let some = |dice: &mut Dice, from: u32, count: u32| -> Vec<u32> {
                    let all: Vec<u32> = (from..from + count).collect();
                    if dice.chance(400) { all } else { vec![dice.one(&all)] }
                };
                let (nodes, disks) = (some(dice, 1, nodes), some(dice, 0, disks));
                let delay = Duration::from_millis(1 + dice.below(dice.clone().one(&[50, lease, 5 * lease])));
                let slow = DiskFault { delay, ..DiskFault::default() };
                let bad = DiskFault { lost: 300, torn: 300, ..slow };
                let fault = dice.one(&[CUT, CUT, STALL, STALL, slow, bad]);
                blows.push((at, Blow::Disks(nodes.clone(), disks.clone(), fault)));
                if dice.chance(400) {
                    blows.push((at + dice.below(3 * lease), Blow::Disks(nodes, disks, DiskFault::default())));
                }
            }
        }
        // Often at once.
        at += if dice.chance(500) { dice.below(20) } else { dice.below(2 * lease) };
    }
    blows.sort_by_key(|(at, _)| *at);
    blows.into_iter().map(|(at, blow)| (Duration::from_millis(at), blow)).collect()
}

fn strike(arena: &mut Arena, blow: &Blow) {
    match blow {
        Blow::Split(part) => {
            let others: Vec<u32> = arena.cluster.all().into_iter().filter(|n| !part.contains(n)).collect();
            arena.cluster.cut(part, &others);
        }
        Blow::Deafen(from, to) => arena.cluster.cut_one_way(*from, *to),
        Blow::HealNetwork => arena.cluster.heal(),
        Blow::KillDaemon(node) => arena.kill_daemon(*node),
        Blow::KillNode(node) => arena.kill_node(*node),
        Blow::Stop(node) => arena.stop(*node),
        Blow::Resume(node) => arena.resume(*node),
        Blow::Disks(nodes, disks, fault) => {
            for node in nodes {
                disks.iter().for_each(|disk| arena.cluster.set_disk(*node, *disk, *fault));
            }
        }
    }
}

/// One run: gives how long nobody was quorate before everything was mended, and how long it then took, in milliseconds.
fn run(arena: &mut Arena, seed: u64, nodes: u32, disks: u32) -> (u64, u64) {
    let mut dice = Dice::new(seed);
    let blows = draw(&mut dice, nodes, disks);
    let what: Vec<String> = blows.iter().map(|(at, b)| format!("{} ms {b:?}", at.as_millis())).collect();
    println!("seed {seed}, {nodes} nodes, {disks} disks: {}", what.join("; "));
    // Not in step with what the nodes do on their own.
    std::thread::sleep(Duration::from_millis(dice.below(200)));
    arena.look();
    let (began, start) = (boottime_nanos(), Instant::now());
    arena.believers.forget(began);
    for (at, blow) in &blows {
        std::thread::sleep(at.saturating_sub(start.elapsed()));
        strike(arena, blow);
    }
    std::thread::sleep(LEASE + Duration::from_millis(dice.below(1_200)));
    arena.look();
    let ended = boottime_nanos();
    let (without, _) = arena.believers.longest_without(began, ended);
    arena.mend();
    let back = boottime_nanos() - ended;
    arena.assert_one_quorum(&format!("seed {seed}, {nodes} nodes, {disks} disks"));
    (without / 1_000_000, back / 1_000_000)
}

#[test]
fn whatever_happens_one_partition_at_most_is_quorate() {
    if skip_where(missing_for_disks()) {
        return;
    }
    let named = |name: &str| std::env::var(name).ok();
    let runs: u64 = named("HOLDFAST_QDISK_RUNS").and_then(|n| n.parse().ok()).unwrap_or(3);
    let shapes = named("HOLDFAST_QDISK_SHAPES").unwrap_or_else(|| "2x1,3x3,4x1".into());
    let first: u64 = named("HOLDFAST_QDISK_SEED").and_then(|n| n.parse().ok()).unwrap_or_else(|| {
        let bytes = random_bytes(4).unwrap();
        bytes.iter().fold(0, |all, b| all << 8 | u64::from(*b))
    });
    for shape in shapes.split(',') {
        let (nodes, disks) = shape.split_once('x').expect("NODESxDISKS");
        let (nodes, disks): (u32, u32) = (nodes.parse().unwrap(), disks.parse().unwrap());
        let mut arena = Arena::new(&format!("qdisk{shape}"), nodes, disks);
        let (mut without, mut back) = (Vec::new(), Vec::new());
        for seed in first..first + runs {
            let (w, b) = run(&mut arena, seed, nodes, disks);
            without.push(w);
            back.push(b);
        }
        let middle = |mut all: Vec<u64>| {
            all.sort_unstable();
            (all[all.len() / 2], all[all.len() - 1])
        };
        let ([gap, gap99, gap999], questions) = arena.believers.gaps();
        println!(
            "{nodes} nodes, {disks} disks, seeds {first} to {}: {runs} runs, no overlap; nobody quorate for (median, longest) {:?} ms, \
             all together again after {:?} ms; {questions} answers \"yes\", {gap} us apart (median; p99 {gap99}, p99.9 {gap999})",
            first + runs - 1,
            middle(without),
            middle(back),
        );
    }
}

/// What the runs above look for is found where it is: with `two_node` both halves are quorate, and mean to.
#[test]
fn two_quorate_halves_are_noticed() {
    if skip_where(missing_for_disks()) {
        return;
    }
    let options =
        Options { nodes: 2, quorum: "    two_node: 1\n    wait_for_all: 0\n", ..Options::default() };
    let mut arena = Arena::of(Cluster::new("twohalves", options, &Cib::new()).unwrap());
    arena.cluster.cut(&[1], &[2]);
    arena.cluster.wait_for("both are alone", || {
        let alone = |n: u32| arena.cluster.status(n).is_ok_and(|s| s.ring.members == [n] && s.quorum.quorate);
        (alone(1) && alone(2)).then_some(())
    });
    let start = Instant::now();
    loop {
        arena.look();
        if !arena.believers.overlaps().is_empty() {
            return;
        }
        assert!(start.elapsed() < patience(), "nobody noticed:\n{}", arena.cluster.report());
        std::thread::sleep(Duration::from_millis(100));
    }
}
