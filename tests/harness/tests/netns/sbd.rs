//! `sbd` with its watchers of the cluster and of Pacemaker, without a disk.
//!
//! It is there to reset machines. Here it has no watchdog (`-w /dev/null` switches it off), debug mode 2 (`-Z -Z`) makes it
//! say what it would have done, and its node could not reach the machine if it tried: the harness looks at that whenever
//! it switches a node on.

use harness::{Cib, Cluster, Options, Signal, skip};

use crate::{nodes, pacemaker};

/// Starts syslog and `sbd` on a node; `watchers` are its options for what it watches.
fn start_sbd(cluster: &Cluster, node: u32, watchers: &[&str]) {
    cluster.start_as(node, "syslog", env!("CARGO_BIN_EXE_syslog"), &[]).unwrap();
    cluster.wait_for("there is a syslog", || {
        cluster.exec(node, "test", &["-S", "/dev/log"]).unwrap().status.success().then_some(())
    });
    // Only Pacemaker's start could wait for sbd, and it is not watched by all of these.
    let fixed = "SBD_SYNC_RESOURCE_STARTUP=no sbd -w /dev/null -Z -Z -R -v -p /run/sbd.pid";
    let args: Vec<&str> = fixed.split(' ').chain(watchers.iter().copied()).chain(["watch"]).collect();
    cluster.start_as(node, "sbd", "env", &args).unwrap();
}

/// Waits until `sbd` of a node says this, after what it has said up to `from`; gives where it says it.
fn says(cluster: &Cluster, node: u32, from: usize, words: &str) -> usize {
    cluster.wait_for(&format!("sbd of n{node} says {words:?}"), || {
        let log = cluster.log(node, "syslog");
        log.get(from..)?.find(words).map(|at| from + at + words.len())
    })
}

const NOT_HEALTHY: &str = "Would have fenced due to timeout!";

#[test]
fn sbd_sees_quorum_come_and_go_through_pacemaker() {
    if skip() {
        return;
    }
    let cluster = pacemaker::up("sbd");
    let (text, done) = pacemaker::ask(&cluster, 1, "crm configure property stonith-enabled=false");
    assert!(done, "{text}");
    start_sbd(&cluster, 3, &["-c", "-P"]);
    let mut at = says(&cluster, 3, 0, "Servant pcmk is healthy");
    at = at.max(says(&cluster, 3, 0, "Servant cluster is healthy"));
    for _ in 0..2 {
        cluster.isolate(3);
        at = says(&cluster, 3, at, "Quorum lost");
        at = says(&cluster, 3, at, NOT_HEALTHY);
        cluster.heal();
        at = says(&cluster, 3, at, "Servant pcmk is healthy");
    }
    // The ring's daemon dies: that is seen by the watcher of the cluster.
    cluster.signal(3, "cmmd", Signal::SIGKILL);
    at = says(&cluster, 3, at, "Lost connection to corosync");
    cluster.start(3, "cmmd", &["-f"]).unwrap();
    at = says(&cluster, 3, at, "Connected to corosync (1 members)");
    says(&cluster, 3, at, "Servant cluster is healthy");
}

/// In a cluster of two that are both quorate alone, `sbd` counts the members of its process group.
#[test]
fn sbd_of_two_nodes_misses_the_other_one() {
    if skip() {
        return;
    }
    let options = Options { quorum: "    two_node: 1\n    wait_for_all: 0\n", ..nodes(2) };
    let cluster = Cluster::new("sbdtwo", options, &Cib::new()).unwrap();
    let start = |node: u32| {
        cluster.power_on(node).unwrap();
        cluster.start(node, "cmmd", &["-f"]).unwrap();
        start_sbd(&cluster, node, &["-c", "-PP"]);
    };
    cluster.all().into_iter().for_each(start);
    let mut at = says(&cluster, 1, 0, "Corosync is in 2Node-mode");
    // Whichever of the two joins the process group last finds two members there; the other one says nothing new.
    cluster.wait_for("one sbd sees two members", || {
        [1, 2].iter().any(|n| cluster.log(*n, "syslog").contains("(2 members)")).then_some(())
    });
    for _ in 0..2 {
        cluster.power_off(2).unwrap();
        at = says(&cluster, 1, at, "requires both nodes present");
        at = says(&cluster, 1, at, NOT_HEALTHY);
        start(2);
        at = says(&cluster, 1, at, "(2 members)");
        at = says(&cluster, 1, at, "Servant cluster is healthy");
    }
}
