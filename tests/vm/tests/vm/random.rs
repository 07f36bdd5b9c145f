//! Faults drawn at random, one after the other: at no time two quorate partitions, nor a resource on two nodes; whoever was taken down
//! says why; and in the end all is as before. `cargo xtask soak` runs it for longer (`HOLDFAST_VM_SECONDS`); `HOLDFAST_VM_SEED` repeats the
//! choices.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use harness::{Cib, Dice};
use vm::{Cluster, Options};

use crate::boot;
use crate::deaths::{AT_BOOT, CMMD_DIED, RGMD_DIED, comes_back};
use crate::failfast::last_death;
use crate::resources::{AGENT, runs_on};

/// So many, however short the time.
const FAULTS_MIN: u64 = 3;
const FAULTS: &[&str] = &["rgmd", "cmmd", "crash", "power", "reset", "freeze", "cut", "one way"];

/// What a node says of itself: quorate, its ring's members, whether the resource runs there.
type Word = (bool, Vec<u32>, bool);
/// `None`: it says nothing.
type Said = Option<Word>;

fn ask(cluster: &Cluster, node: u32) -> Said {
    let status = cluster.status(node).ok().filter(|s| s.answered.cmmd)?;
    Some((status.quorum.quorate, status.ring.members, runs_on(cluster, node)))
}

/// Asks all of `nodes` twice: what one says both times was so from the end of its first answer to the begin of its second one, and these
/// times have the moment between the two rounds in common.
fn check(cluster: &Cluster, nodes: &[u32]) {
    let [first, second] = [0, 1].map(|_| nodes.iter().map(|n| ask(cluster, *n)).collect::<Vec<Said>>());
    let both = |index: usize| first[index].as_ref().zip(second[index].as_ref());
    for (i, a) in nodes.iter().enumerate() {
        for (j, b) in nodes.iter().enumerate().skip(i + 1) {
            let (Some(of_a), Some(of_b)) = (both(i), both(j)) else { continue };
            let quorate = |(x, y): (&Word, &Word)| x.0 && y.0 && x.1 == y.1;
            let apart = !of_a.0.1.contains(b) && !of_b.0.1.contains(a);
            assert!(
                !(quorate(of_a) && quorate(of_b) && apart),
                "two quorate partitions: {first:?} {second:?}"
            );
            let runs = |(x, y): (&Word, &Word)| x.2 && y.2;
            assert!(!(runs(of_a) && runs(of_b)), "the resource runs on n{a} and n{b}");
        }
    }
}

/// Checks for a while.
fn check_for(cluster: &Cluster, nodes: &[u32], length: Duration) {
    let start = Instant::now();
    while start.elapsed() < length {
        check(cluster, nodes);
    }
}

fn strike(cluster: &Cluster, dice: &mut Dice, what: &str, node: u32) {
    let others: Vec<u32> = cluster.all().into_iter().filter(|n| *n != node).collect();
    let name = format!("random: {what}");
    let a_while = Duration::from_millis(2_000 + dice.below(8_000));
    let kill = |daemon: &str, reason: &str| {
        comes_back(cluster, node, || {
            cluster.strike(&name, node, |c| c.order(node, &format!("kill -9 $(pidof {daemon})")));
            check_for(cluster, &others, a_while);
        });
        let said = last_death(cluster, node);
        assert!(said.contains(reason), "n{node} does not say why it died: {said}");
    };
    match what {
        "rgmd" => kill("rgmd", RGMD_DIED),
        "cmmd" => kill("cmmd", CMMD_DIED),
        "crash" | "power" | "reset" => comes_back(cluster, node, || {
            cluster.strike(&name, node, |c| match what {
                "crash" => c.order(node, "echo c >/proc/sysrq-trigger"),
                "power" => c.power_off(node),
                _ => c.reset(node),
            });
            check_for(cluster, &others, a_while);
        }),
        "freeze" => {
            cluster.strike(&name, node, |c| c.freeze(node));
            check_for(cluster, &others, a_while);
            cluster.thaw(node);
        }
        "cut" => {
            cluster.strike(&name, node, |c| c.cut(node));
            check_for(cluster, &cluster.all(), a_while);
            cluster.heal(node);
        }
        _ => {
            // What the ring makes of it is its own business.
            cluster.cut_way(node, dice.one(&others));
            check_for(cluster, &cluster.all(), a_while);
            cluster.heal(node);
        }
    }
}

#[test]
fn random_faults_leave_one_quorum_one_owner_and_a_reason_for_every_death() {
    if vm::skip() {
        return;
    }
    let number = |name: &str| std::env::var(name).ok().and_then(|v| v.parse::<u64>().ok());
    let drawn = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |d| d.as_secs());
    let seed = number("HOLDFAST_VM_SEED").unwrap_or_else(drawn);
    let length = Duration::from_secs(number("HOLDFAST_VM_SECONDS").unwrap_or(0));
    println!("seed {seed}");
    let mut dice = Dice::new(seed);
    let cib = Cib::new().primitive("precious", "ocf:test:precious", &[]);
    let files = vec![
        ("usr/lib/ocf/resource.d/test/precious", AGENT.to_owned()),
        ("etc/holdfast/cib.xml", cib.xml(3)),
    ];
    let cluster = boot("random", Options { nodes: 3, at_boot: AT_BOOT, files, ..Options::default() });
    let all = cluster.all();
    let well = || {
        cluster.wait_for_members(&all, &all);
        cluster.wait_for_quorum(&all, true);
        cluster.wait_for("the resource runs on one node", || {
            let places = all.iter().filter(|n| runs_on(&cluster, **n)).count();
            (places == 1).then_some(())
        });
    };
    well();
    let start = Instant::now();
    let mut faults = 0;
    while faults < FAULTS_MIN || start.elapsed() < length {
        let (what, node) = (dice.one(FAULTS), dice.one(&all));
        println!("{:6.1} s: {what} of n{node}", start.elapsed().as_secs_f64());
        strike(&cluster, &mut dice, what, node);
        well();
        check(&cluster, &all);
        faults += 1;
    }
    println!("{faults} faults");
}
