//! Nodes are added to a cluster that runs and taken out of it, the way administrators do it: the files are edited, and
//! `corosync-cfgtool -R` has them read.

use harness::{Cib, Cluster, Options, Signal, skip};

use crate::clients::{ask, configuration, masked};

fn machines(nodes: u32) -> Options {
    Options { nodes, ..Options::default() }
}

/// Writes a node list into the files of some nodes.
fn write(cluster: &Cluster, on: &[u32], list: &[u32]) {
    for node in on {
        let path = cluster.node_dir(*node).join("list.conf");
        std::fs::write(path, configuration(cluster, *node, list)).unwrap();
    }
}

pub(crate) fn start(cluster: &Cluster, node: u32, daemon: &str) {
    if !cluster.is_on(node) {
        cluster.power_on(node).unwrap();
    }
    let path = cluster.node_dir(node).join("list.conf");
    cluster.start(node, daemon, &["-f", "-c", path.to_str().unwrap()]).unwrap();
}

pub(crate) fn stop(cluster: &Cluster, node: u32, daemon: &str) {
    cluster.signal(node, daemon, Signal::SIGTERM);
    cluster.wait_for(&format!("{daemon} of n{node} ends"), || {
        cluster.find(node, daemon).is_empty().then_some(())
    });
}

/// Waits until these nodes count so: expected votes, those present, quorum.
pub(crate) fn counts(cluster: &Cluster, nodes: &[u32], numbers: [u32; 3]) {
    let [expected, total, quorum] = numbers;
    let lines = [
        format!("Expected votes:   {expected}\n"),
        format!("Total votes:      {total}\n"),
        format!("Quorum:           {quorum} "),
    ];
    cluster.wait_for(&format!("nodes {nodes:?} count {numbers:?}"), || {
        let says = |n: &u32| {
            let text = ask(cluster, *n, "corosync-quorumtool", &["-s"]).0;
            lines.iter().all(|line| text.contains(line))
        };
        nodes.iter().all(says).then_some(())
    });
}

pub(crate) fn line(cluster: &Cluster, node: u32, words: &str) {
    cluster.wait_for(&format!("n{node} says \"{words}\""), || {
        cluster.log(node, "cmmd").contains(words).then_some(())
    });
}

/// A cluster of `nodes` machines; the first `list` of them know of each other and run.
fn running(name: &str, daemon: &str, nodes: u32, list: &[u32]) -> Cluster {
    let cluster = Cluster::new(name, machines(nodes), &Cib::new()).unwrap();
    write(&cluster, list, list);
    list.iter().for_each(|n| start(&cluster, *n, daemon));
    let count = list.len() as u32;
    counts(&cluster, list, [count, count, count / 2 + 1]);
    cluster
}

/// What an operator sees while a fourth node is added to three, runs, is stopped, and is taken out again.
fn transcript(daemon: &str) -> Vec<(String, String, Option<i32>)> {
    let cluster = running(&format!("nodes-{daemon}"), daemon, 4, &[1, 2, 3]);
    let mut told = Vec::new();
    let mut look = |when: &str| {
        for (program, args) in [
            ("corosync-quorumtool", &["-s"][..]),
            ("corosync-quorumtool", &["-l"]),
            ("corosync-cfgtool", &["-n"]),
            ("corosync-cmapctl", &["nodelist."]),
        ] {
            let (text, status) = ask(&cluster, 1, program, args);
            told.push((format!("{when}: {program} {}", args.join(" ")), text, status));
        }
    };
    look("three");
    write(&cluster, &[1, 2, 3, 4], &[1, 2, 3, 4]);
    assert_eq!(ask(&cluster, 2, "corosync-cfgtool", &["-R"]).1, Some(0));
    counts(&cluster, &[1, 2, 3], [4, 3, 3]);
    look("a fourth in the list");
    start(&cluster, 4, daemon);
    counts(&cluster, &[1, 2, 3, 4], [4, 4, 3]);
    cluster.wait_for("node 4 is connected", || {
        ask(&cluster, 1, "corosync-cfgtool", &["-n"]).0.contains("nodeid: 4 reachable").then_some(())
    });
    look("four");
    stop(&cluster, 4, daemon);
    counts(&cluster, &[1, 2, 3], [4, 3, 3]);
    write(&cluster, &[1, 2, 3], &[1, 2, 3]);
    assert_eq!(ask(&cluster, 3, "corosync-cfgtool", &["-R"]).1, Some(0));
    counts(&cluster, &[1, 2, 3], [3, 3, 2]);
    look("three again");
    told
}

#[test]
fn a_node_is_added_and_removed_as_on_corosync() {
    if skip() {
        return;
    }
    let (ours, theirs) = (transcript("cmmd"), transcript("corosync"));
    for ((question, ours, our_status), (_, theirs, their_status)) in ours.iter().zip(&theirs) {
        assert_eq!(our_status, their_status, "{question}\n{ours}\n{theirs}");
        assert_eq!(masked(question, ours), masked(question, theirs), "{question}");
    }
}

#[test]
fn what_cannot_be_done_yet_waits_says_why_and_is_done_when_it_can() {
    if skip() {
        return;
    }
    let cluster = running("nodes-wait", "cmmd", 3, &[1, 2, 3]);
    // One node has not got the new file: nothing is changed, and the others say for whom they wait.
    write(&cluster, &[1, 2], &[1, 2]);
    assert_eq!(ask(&cluster, 1, "corosync-cfgtool", &["-R"]).1, Some(0));
    line(&cluster, 1, "not in force yet: the file of node 3 has another one, or was not read again");
    counts(&cluster, &[1, 2, 3], [3, 3, 2]);
    let waits = ask(&cluster, 2, "corosync-cmapctl", &["-g", "holdfast.nodelist.waits"]).0;
    assert!(waits.contains("the file of node 3 has another one"), "{waits}");
    // It is the one that goes. When it is gone, all that are left have read the same.
    stop(&cluster, 3, "cmmd");
    line(&cluster, 1, "Node list in force: 1 2; 2 expected votes; removed: 3");
    counts(&cluster, &[1, 2], [2, 2, 2]);
    // With the list of old it is nobody's member, and not quorate.
    start(&cluster, 3, "cmmd");
    counts(&cluster, &[3], [3, 1, 2]);
    counts(&cluster, &[1, 2], [2, 2, 2]);
    assert!(ask(&cluster, 3, "corosync-quorumtool", &["-s"]).0.contains("Activity blocked"));
    // Until it is added again.
    write(&cluster, &[1, 2, 3], &[1, 2, 3]);
    assert_eq!(ask(&cluster, 1, "corosync-cfgtool", &["-R"]).1, Some(0));
    counts(&cluster, &[1, 2, 3], [3, 3, 2]);
    line(&cluster, 3, "Node list in force: 1 2 3; 3 expected votes");
}

#[test]
fn an_edited_file_counts_only_when_a_majority_of_those_before_has_taken_it() {
    if skip() {
        return;
    }
    let cluster = running("nodes-apart", "cmmd", 5, &[1, 2, 3]);
    // Node 3 goes, comes back with a list of five, and finds two that have it, too: three of five. But node 1 and 2 are two of three.
    cluster.cut(&[1, 2], &[3, 4, 5]);
    counts(&cluster, &[1, 2], [3, 2, 2]);
    stop(&cluster, 3, "cmmd");
    write(&cluster, &[3, 4, 5], &[1, 2, 3, 4, 5]);
    [3, 4, 5].iter().for_each(|n| start(&cluster, *n, "cmmd"));
    line(&cluster, 3, "Members[3]: 3 4 5");
    line(&cluster, 4, "this node is not in the node table");
    line(&cluster, 3, "1 of 3 votes, 2 needed");
    counts(&cluster, &[1, 2], [3, 2, 2]);
    for (node, blocked) in [(1, false), (2, false), (3, true), (4, true), (5, true)] {
        let text = ask(&cluster, node, "corosync-quorumtool", &["-s"]).0;
        assert_eq!(text.contains("Activity blocked"), blocked, "n{node}: {text}\n{}", cluster.report());
    }
    // Together they are three of three, and when all have read the same, five.
    cluster.heal();
    write(&cluster, &[1, 2], &[1, 2, 3, 4, 5]);
    assert_eq!(ask(&cluster, 1, "corosync-cfgtool", &["-R"]).1, Some(0));
    counts(&cluster, &[1, 2, 3, 4, 5], [5, 5, 3]);
    // What counts outlives all of them.
    (1..=5).for_each(|n| cluster.signal(n, "cmmd", Signal::SIGKILL));
    (1..=5).for_each(|n| {
        cluster.wait_for("it is gone", || cluster.find(n, "cmmd").is_empty().then_some(()));
    });
    let file = cluster.node_dir(2).join("state/nodes_2");
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains("node 5 1\n") && !text.contains("next"), "{text}");
    (1..=3).for_each(|n| start(&cluster, n, "cmmd"));
    counts(&cluster, &[1, 2, 3], [5, 3, 3]);
}

#[test]
fn a_cluster_grows_from_one_node_to_two() {
    if skip() {
        return;
    }
    let cluster = running("nodes-grow", "cmmd", 2, &[1]);
    write(&cluster, &[1, 2], &[1, 2]);
    assert_eq!(ask(&cluster, 1, "corosync-cfgtool", &["-R"]).1, Some(0));
    // Alone it would lose its quorum: it waits for the other one.
    line(&cluster, 1, "1 of 2 votes would be present and 2 needed; start node 2 first");
    counts(&cluster, &[1], [1, 1, 1]);
    start(&cluster, 2, "cmmd");
    counts(&cluster, &[1, 2], [2, 2, 2]);
}
