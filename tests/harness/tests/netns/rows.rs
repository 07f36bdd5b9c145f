//! Rows of the predecessors' acceptance tables that no other test shows, by their names: S of Sun Cluster, R of Red Hat's suite. The table in
//! docs/SPECIFICATION.md says which test shows which row.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use harness::{Cib, Cluster, FENCE_AGENT, Options, Signal, skip};
use holdfast_sys::clock::{boottime_nanos, wall_nanos};

use crate::qdisk::{is_quorate, number, quorumtool, wait_for_vote};
use crate::{SHOP, bring_back, cib_of_shop, nodes, others, shop, shop_with, stays, wait_for_takeover};

/// A cluster of rings' daemons alone, with one quorum disk or none, all together.
fn rings(name: &str, count: u32, disks: u32) -> Cluster {
    let cluster = Cluster::new(name, Options { disks, ..nodes(count) }, &Cib::new()).unwrap();
    let all = cluster.all();
    for node in &all {
        cluster.power_on(*node).unwrap();
        cluster.start_ring(*node).unwrap();
    }
    cluster.wait_for_members(&all, &all);
    cluster.wait_for_quorum(&all, true);
    cluster
}

const PRIMARY: &str = "This node is within the primary component and will provide service.";
const NOT_PRIMARY: &str = "This node is within the non-primary component and will NOT provide any services.";

#[test]
fn s4_one_of_three_waits_for_a_second_one_as_long_as_it_takes() {
    if skip() {
        return;
    }
    let cib = cib_of_shop(Cib::new().fencing(FENCE_AGENT));
    let cluster = Cluster::new("waits", nodes(3), &cib).unwrap();
    cluster.boot(1).unwrap();
    cluster.wait_for("it says what it waits for", || {
        cluster.log(1, "cmmd").contains("Not quorate: 1 of 3 votes, 2 needed").then_some(())
    });
    let daemons = || {
        let mut all: Vec<(String, u32)> = cluster
            .processes(1)
            .into_iter()
            .map(|p| (p.name, p.pid))
            .filter(|(n, _)| n.ends_with("md"))
            .collect();
        all.sort();
        all
    };
    let began = cluster.wait_for("both daemons run", || Some(daemons()).filter(|all| all.len() == 2));
    stays("it waits, and starts nothing", Duration::from_secs(4), || {
        let waits = quorumtool(&cluster, 1).contains("Activity blocked");
        waits && cluster.service_starts().is_empty() && daemons() == began
    });
    cluster.boot(2).unwrap();
    cluster.wait_for_members(&[1, 2], &[1, 2]);
    cluster.wait_for_quorum(&[1, 2], true);
    cluster.wait_for_started(1, &SHOP);
    assert_eq!(daemons(), began, "the same ones");
}

/// Every node of a minority knows that it is none before anything of it starts in the majority, and says so. (It stops what it runs, and is
/// fenced; where a watchdog is, that one ends it: `a_node_without_quorum_and_with_something_to_protect_goes_down_and_says_why`, in virtual
/// machines.)
#[test]
fn s5_no_node_of_a_minority_is_quorate_when_the_majority_starts_what_it_ran() {
    if skip() {
        return;
    }
    let (cluster, place) = shop("order", nodes(5));
    let minority = [place, others(&cluster, &[place])[0]];
    let majority = others(&cluster, &minority);
    for node in minority {
        cluster.start_as(node, "sampler", env!("CARGO_BIN_EXE_sampler"), &[]).unwrap();
        cluster
            .wait_for("its client is told", || cluster.log(node, "sampler").contains("\nyes ").then_some(()));
    }
    // All on one machine: the clocks of services and clients differ by this.
    let offset = wall_nanos() - boottime_nanos();
    cluster.cut(&minority, &majority);
    wait_for_takeover(&cluster, majority[0], place);
    let names: Vec<String> = majority.iter().map(|n| harness::node_name(*n)).collect();
    let starts: Vec<u64> = cluster
        .service_starts()
        .iter()
        .filter(|line| names.iter().any(|n| line.ends_with(&format!(" {n}"))))
        .map(|line| {
            let (seconds, nanos) = line.split(' ').next().and_then(|t| t.split_once('.')).expect("a time");
            seconds.parse::<u64>().unwrap() * 1_000_000_000 + nanos.parse::<u64>().unwrap()
        })
        .collect();
    let first = *starts.iter().min().expect("a start in the majority") - offset;
    for node in minority {
        // An answer is of some moment after its question.
        let log = cluster.log(node, "sampler");
        let asked = |line: &str| line.strip_prefix("yes ")?.split(' ').next()?.parse::<u64>().ok();
        let last = log.lines().filter_map(asked).max().expect("it was quorate");
        assert!(last < first, "n{node} was quorate {} ms after the start", (last - first) / 1_000_000);
        let said = cluster.log(node, "cmmd");
        assert!(said.contains(NOT_PRIMARY), "n{node} has not said so:\n{}", cluster.report());
    }
    cluster.assert_nothing_ran_twice();
}

/// Possible, needed and present votes.
fn votes(cluster: &Cluster, node: u32) -> [Option<u32>; 3] {
    let text = quorumtool(cluster, node);
    ["Expected votes", "Quorum", "Total votes"].map(|name| {
        let line = text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':'))?;
        line.split_whitespace().next()?.parse().ok()
    })
}

/// Waits until these nodes are quorate and count so.
fn wait_for_votes(cluster: &Cluster, on: &[u32], wanted: [u32; 3]) {
    cluster.wait_for(&format!("{on:?} are quorate with {wanted:?} votes"), || {
        let so = |n: &u32| votes(cluster, *n) == wanted.map(Some) && is_quorate(cluster, *n);
        on.iter().all(so).then_some(())
    });
}

/// The table of a device on all nodes: possible, needed, present; one after the other is lost. (Two devices with two nodes each, and a
/// device that only some nodes reach, are not served as such.)
#[test]
fn s9_votes_are_those_of_the_table_whoever_is_lost() {
    if skip() {
        return;
    }
    for (count, possible, needed) in [(2, 3, 2), (3, 5, 3)] {
        let cluster = rings(&format!("votes{count}"), count, 1);
        wait_for_votes(&cluster, &cluster.all(), [possible, needed, possible]);
        for gone in 1..count {
            cluster.power_off(gone).unwrap();
            let left: Vec<u32> = (gone + 1..=count).collect();
            wait_for_votes(&cluster, &left, [possible, needed, possible - gone]);
        }
    }
}

#[test]
fn r15_of_four_nodes_three_die_at_once_and_the_last_one_is_quorate() {
    if skip() {
        return;
    }
    let cluster = rings("fourtoone", 4, 1);
    wait_for_votes(&cluster, &cluster.all(), [7, 4, 7]);
    let owner = cluster.wait_for("the vote has an owner", || cluster.disk_owner(0));
    // Whoever has the vote is among them.
    let last = if owner == 4 { 3 } else { 4 };
    others(&cluster, &[last]).iter().for_each(|n| cluster.power_off(*n).unwrap());
    wait_for_votes(&cluster, &[last], [7, 4, 4]);
    assert_eq!(cluster.disk_owner(0), Some(last));
}

#[test]
fn s10_of_six_nodes_the_last_one_stands() {
    if skip() {
        return;
    }
    let cluster = rings("sixtoone", 6, 1);
    wait_for_votes(&cluster, &cluster.all(), [11, 6, 11]);
    for gone in 1..6 {
        // With and without a last word.
        if gone % 2 == 0 {
            cluster.power_off(gone).unwrap();
        } else {
            cluster.signal(gone, "cmmd", Signal::SIGKILL);
        }
        let left: Vec<u32> = (gone + 1..=6).collect();
        wait_for_votes(&cluster, &left, [11, 6, 11 - gone]);
    }
    stays("the last one is quorate", Duration::from_secs(3), || is_quorate(&cluster, 6));
}

#[test]
fn r6_only_who_is_quorate_says_that_it_is_the_primary_component() {
    if skip() {
        return;
    }
    let cluster = rings("primary", 4, 0);
    let said = |node: u32| {
        let log = cluster.log(node, "cmmd");
        let lines =
            log.lines().filter_map(|l| [PRIMARY, NOT_PRIMARY].into_iter().find(|line| l.ends_with(line)));
        lines.collect::<Vec<_>>()
    };
    assert!((1..=4).all(|n| said(n) == [PRIMARY]), "{:?}", (1..=4).map(said).collect::<Vec<_>>());
    cluster.cut(&[1], &[2, 3, 4]);
    cluster.wait_for_members(&[1], &[1]);
    cluster.wait_for_members(&[2, 3, 4], &[2, 3, 4]);
    cluster.wait_for("the minority says so", || (said(1) == [PRIMARY, NOT_PRIMARY]).then_some(()));
    cluster.wait_for_quorum(&[2, 3, 4], true);
    assert!((2..=4).all(|n| said(n) == [PRIMARY]), "{:?}", (2..=4).map(said).collect::<Vec<_>>());
    cluster.heal();
    cluster.wait_for("it is again", || (said(1) == [PRIMARY, NOT_PRIMARY, PRIMARY]).then_some(()));
}

/// Both halves are quorate and mean to be: who is fenced last, and by whom, is what the delays of the fence device say.
#[test]
fn r8_of_two_nodes_cut_apart_exactly_one_survives_fencing() {
    if skip() {
        return;
    }
    let delays = [("pcmk_host_check", "none"), ("pcmk_delay_base", "n1:3s;n2:0s")];
    let cib = Cib::new().primitive("fence", &format!("stonith:{FENCE_AGENT}"), &delays);
    let options = Options { quorum: "    two_node: 1\n", ..nodes(2) };
    let (cluster, _) = shop_with("twocut", options, cib.property("stonith-enabled", "true"));
    for _ in 0..2 {
        let before = cluster.fence_calls().len();
        cluster.cut(&[1], &[2]);
        cluster.wait_for("one half has the other one fenced", || {
            let on: Vec<u32> = (1..=2).filter(|n| cluster.is_on(*n)).collect();
            let place = cluster.service_runs_on("shop");
            (on == [1] && place == [1]).then_some(())
        });
        stays("the other half lives", Duration::from_secs(4), || cluster.is_on(1) && is_quorate(&cluster, 1));
        let calls = cluster.fence_calls();
        let struck: Vec<&str> = calls[before..]
            .iter()
            .filter(|c| c.answer == "ok" && ["off", "reboot"].contains(&c.action.as_str()))
            .map(|c| c.target.as_str())
            .collect();
        assert_eq!(struck, ["n2"], "{calls:?}");
        cluster.assert_nothing_ran_twice();
        cluster.heal();
        bring_back(&cluster, 2);
    }
}

/// The library that puts a daemon's time of day off: `clock.c`.
fn clock_library(cluster: &Cluster) -> PathBuf {
    let source = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/netns/clock.c");
    let library = cluster.node_dir(1).join("clock.so");
    let out = Command::new("cc")
        .args(["-O2", "-Wall", "-shared", "-fPIC", "-o"])
        .arg(&library)
        .arg(source)
        .output();
    let out = out.expect("a C compiler");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    library
}

/// Two nodes with a quorum disk whose times of day jump by hours while all of it goes on. Only what the daemons *read* jumps: the time of day is one for all
/// processes of a kernel. What the kernel does by itself when it is set is no matter, since they have no timer of that clock, which is looked at.
#[test]
fn r21_steps_of_the_time_of_day_change_nothing() {
    if skip() {
        return;
    }
    let cluster = Cluster::new("clocks", Options { disks: 1, ..nodes(2) }, &Cib::new()).unwrap();
    let library = clock_library(&cluster);
    let bin = harness::bin_dir().unwrap().join("cmmd").display().to_string();
    let file = |node: u32| cluster.node_dir(node).join("clock");
    let set = |node: u32, hours: i64| std::fs::write(file(node), format!("{}\n", hours * 3_600)).unwrap();
    let start = |node: u32| {
        if !cluster.is_on(node) {
            cluster.power_on(node).unwrap();
        }
        let preload = format!("LD_PRELOAD={}", library.display());
        let off = format!("CLOCK_OFF={}", file(node).display());
        cluster.start_as(node, "cmmd", "env", &[&preload, &off, &bin, "-f"]).unwrap();
    };
    [1, 2].iter().for_each(|n| set(*n, 0));
    [1, 2].iter().for_each(|n| start(*n));
    cluster.wait_for_members(&[1, 2], &[1, 2]);
    wait_for_vote(&cluster, &[1, 2], 3);
    let owner = cluster.wait_for("the vote has an owner", || cluster.disk_owner(0));
    let life = |node: u32| {
        let blocks = cluster.disk_blocks(0);
        blocks.iter().find(|(n, _)| *n == node).map(|(_, block)| block.life).expect("its block")
    };
    // The wall clock that a node writes to the disk for people, in hours against that of this machine.
    let hours = |node: u32| {
        let blocks = cluster.disk_blocks(0);
        let written =
            blocks.iter().find(|(n, _)| *n == node).map(|(_, block)| block.written).expect("its block");
        let seconds = i64::try_from(written).unwrap() - i64::try_from(wall_nanos() / 1_000_000_000).unwrap();
        (seconds as f64 / 3_600.0).round() as i64
    };
    cluster.wait_for("both have written", || [1, 2].into_iter().all(|n| life(n).get() > 0).then_some(()));
    let rings = || [1, 2].map(|n| cluster.log(n, "cmmd").matches("A new membership (").count());
    let (lives, before) = ([1, 2].map(life), rings());
    for steps in [[1, 0], [-1, 1], [0, 0]] {
        [1, 2].into_iter().zip(steps).for_each(|(n, by)| set(n, by));
        cluster.wait_for("the daemons read the other time", || {
            [1, 2].into_iter().zip(steps).all(|(n, by)| hours(n) == by).then_some(())
        });
        // A few leases of the disk, many of the ring.
        stays("nothing changes", Duration::from_secs(2), || {
            let well = |n: u32| {
                is_quorate(&cluster, n) && number(&quorumtool(&cluster, n), "Total votes") == Some(3)
            };
            [1, 2].into_iter().all(well) && cluster.disk_owner(0) == Some(owner)
        });
    }
    assert_eq!((rings(), [1, 2].map(life)), (before, lives), "no ring was formed, and nobody died");
    for daemon in [1, 2].into_iter().flat_map(|n| cluster.find(n, "cmmd")) {
        let descriptors = std::fs::read_dir(format!("/proc/{}/fdinfo", daemon.pid)).unwrap();
        for info in descriptors.flatten() {
            let info = std::fs::read_to_string(info.path()).unwrap_or_default();
            assert!(!info.contains("clockid: 0\n"), "a timer of the time of day: {info}");
        }
    }
    // The owner of the vote dies while the clocks are apart, and is back with a clock that is behind that of its last life.
    set(owner, -1);
    set(3 - owner, 1);
    cluster.power_off(owner).unwrap();
    cluster.wait_for_members(&[3 - owner], &[3 - owner]);
    cluster.wait_for_quorum(&[3 - owner], true);
    wait_for_vote(&cluster, &[3 - owner], 2);
    start(owner);
    cluster.wait_for_members(&[1, 2], &[1, 2]);
    cluster.wait_for_quorum(&[1, 2], true);
    wait_for_vote(&cluster, &[1, 2], 3);
    cluster
        .wait_for("its next life is a later one", || (life(owner) > lives[owner as usize - 1]).then_some(()));
}
