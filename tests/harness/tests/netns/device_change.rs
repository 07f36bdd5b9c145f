//! The quorum device comes, goes, and is taken out of the count while the cluster runs: the files are edited, and `corosync-cfgtool -R` has
//! them read.

use harness::{Cib, Cluster, Options, skip};

use crate::clients::ask;
use crate::nodes::{counts, line, start, stop};

/// Writes the files of some nodes: those of `list`, with a quorum disk or without.
fn write_list(cluster: &Cluster, name: &str, on: &[u32], list: &[u32], device: &str) {
    for node in on {
        let text = crate::clients::configuration(cluster, *node, list);
        let provider = "  provider: corosync_votequorum\n";
        let text = text.replace(provider, &format!("{provider}{device}"));
        // The disk is this cluster's.
        let text = text.replace("cluster_name: tools", &format!("cluster_name: {name}"));
        std::fs::write(cluster.node_dir(*node).join("list.conf"), text).unwrap();
    }
}

fn disk(cluster: &Cluster, votes: u32) -> String {
    let path = cluster.quorum_disk(0);
    format!(
        "  device {{\n    model: disk\n    votes: {votes}\n    disk {{\n      device: {}\n      interval: 200\n      tko: 6\n    }}\n  }}\n",
        path.display()
    )
}

fn reload(cluster: &Cluster, node: u32) {
    assert_eq!(ask(cluster, node, "corosync-cfgtool", &["-R"]).1, Some(0));
}

/// What becomes of a key that an operator sets: the exit status.
fn set(cluster: &Cluster, node: u32, key: &str, value: &str) -> Option<i32> {
    ask(cluster, node, "corosync-cmapctl", &["-s", key, "u8", value]).1
}

fn key(cluster: &Cluster, node: u32, key: &str) -> String {
    ask(cluster, node, "corosync-cmapctl", &["-g", key]).0
}

/// (S12, S13)
#[test]
fn a_quorum_disk_comes_and_goes_while_the_cluster_runs() {
    if skip() {
        return;
    }
    let options = Options { nodes: 2, disks: 1, ..Options::default() };
    let cluster = Cluster::new("devicechange", options, &Cib::new()).unwrap();
    let write = |cluster: &Cluster, on: &[u32], device: &str| {
        write_list(cluster, "devicechange", on, &[1, 2], device);
    };
    write(&cluster, &[1, 2], "");
    [1, 2].iter().for_each(|n| start(&cluster, *n, "cmmd"));
    counts(&cluster, &[1, 2], [2, 2, 2]);

    // It counts when all files have it, and not before.
    write(&cluster, &[1], &disk(&cluster, 1));
    reload(&cluster, 1);
    line(&cluster, 1, "not in force yet: the file of node 2 has another one, or was not read again");
    counts(&cluster, &[1, 2], [2, 2, 2]);
    write(&cluster, &[2], &disk(&cluster, 1));
    reload(&cluster, 1);
    counts(&cluster, &[1, 2], [3, 3, 2]);
    line(&cluster, 2, "Node list in force: 1 2; quorum device disk, votes 1; 3 expected votes");

    // With more votes the nodes would be no majority without it any more.
    write(&cluster, &[1, 2], &disk(&cluster, 2));
    reload(&cluster, 2);
    let why = "2 of 4 votes would be present without the quorum device's and 3 needed; give it fewer votes";
    line(&cluster, 1, why);
    counts(&cluster, &[1, 2], [3, 3, 2]);
    write(&cluster, &[1, 2], &disk(&cluster, 1));
    reload(&cluster, 2);

    // In maintenance it is neither counted nor expected, on all nodes, and nobody touches it.
    assert_eq!(set(&cluster, 2, "holdfast.quorum.maintenance.device", "1"), Some(0));
    counts(&cluster, &[1, 2], [2, 2, 2]);
    assert!(key(&cluster, 1, "holdfast.quorum.maintained").contains("= device"));
    assert_eq!(set(&cluster, 1, "holdfast.quorum.maintenance.device", "0"), Some(0));
    counts(&cluster, &[1, 2], [3, 3, 2]);

    // One node and the device are a majority, and not one without the other: taking it out is refused, and nothing dies.
    stop(&cluster, 2, "cmmd");
    counts(&cluster, &[1], [3, 2, 2]);
    write(&cluster, &[1], "");
    reload(&cluster, 1);
    line(&cluster, 1, "not in force yet: 1 of 2 votes would be present and 2 needed; start node 2 first");
    assert_ne!(set(&cluster, 1, "holdfast.quorum.maintenance.device", "1"), Some(0), "nor that way");
    counts(&cluster, &[1], [3, 2, 2]);

    // The lost node's vote can be taken out of the count; then it takes both that are left.
    assert_eq!(set(&cluster, 1, "holdfast.quorum.maintenance.2", "1"), Some(0));
    counts(&cluster, &[1], [2, 2, 2]);
    assert!(key(&cluster, 1, "holdfast.quorum.maintained").contains("= 2"));
    write(&cluster, &[1], &disk(&cluster, 1));
    reload(&cluster, 1);

    // It comes back with a vote when an operator says so.
    start(&cluster, 2, "cmmd");
    counts(&cluster, &[1, 2], [2, 2, 2]);
    assert_eq!(set(&cluster, 2, "holdfast.quorum.reset", "1"), Some(0));
    counts(&cluster, &[1, 2], [3, 3, 2]);

    // Together they can do without, and put it back in the same life.
    write(&cluster, &[1, 2], "");
    reload(&cluster, 2);
    counts(&cluster, &[1, 2], [2, 2, 2]);
    line(&cluster, 1, "Node list in force: 1 2; 2 expected votes");
    write(&cluster, &[1, 2], &disk(&cluster, 1));
    reload(&cluster, 2);
    counts(&cluster, &[1, 2], [3, 3, 2]);

    // The last of them stands.
    stop(&cluster, 1, "cmmd");
    counts(&cluster, &[2], [3, 2, 2]);
}

/// Nodes change with a quorum disk as they do without; whoever is new uses it as the others do.
#[test]
fn a_node_is_added_and_removed_beside_a_quorum_disk() {
    if skip() {
        return;
    }
    let options = Options { nodes: 3, disks: 1, ..Options::default() };
    let cluster = Cluster::new("devicenodes", options, &Cib::new()).unwrap();
    let write = |on: &[u32], list: &[u32]| {
        write_list(&cluster, "devicenodes", on, list, &disk(&cluster, 1));
    };
    write(&[1, 2], &[1, 2]);
    [1, 2].iter().for_each(|n| start(&cluster, *n, "cmmd"));
    counts(&cluster, &[1, 2], [3, 3, 2]);
    write(&[1, 2, 3], &[1, 2, 3]);
    reload(&cluster, 1);
    // Two of four would need the disk's vote, which they do not need now.
    line(
        &cluster,
        1,
        "2 of 4 votes would be present without the quorum device's and 3 needed; start node 3 first",
    );
    counts(&cluster, &[1, 2], [3, 3, 2]);
    start(&cluster, 3, "cmmd");
    counts(&cluster, &[1, 2, 3], [4, 4, 3]);
    // One of the first two goes; the third writes to the disk and can be its owner.
    stop(&cluster, 1, "cmmd");
    counts(&cluster, &[2, 3], [4, 3, 3]);
    write(&[2, 3], &[2, 3]);
    reload(&cluster, 3);
    counts(&cluster, &[2, 3], [3, 3, 2]);
    stop(&cluster, 2, "cmmd");
    counts(&cluster, &[3], [3, 2, 2]);
}

/// A node that was down when the device came has a file without it, and knows nothing of it: it is not a majority with anybody who does not either.
#[test]
fn who_was_down_when_the_device_came_takes_it_over() {
    if skip() {
        return;
    }
    let options = Options { nodes: 3, disks: 1, ..Options::default() };
    let cluster = Cluster::new("devicelate", options, &Cib::new()).unwrap();
    let three = |on: &[u32], device: &str| write_list(&cluster, "devicelate", on, &[1, 2, 3], device);
    three(&[1, 2, 3], "");
    [1, 2, 3].iter().for_each(|n| start(&cluster, *n, "cmmd"));
    counts(&cluster, &[1, 2, 3], [3, 3, 2]);
    stop(&cluster, 3, "cmmd");
    // With two votes of the device three of five are needed: those of the nodes do not do, so it is refused.
    three(&[1, 2], &disk(&cluster, 2));
    reload(&cluster, 1);
    line(
        &cluster,
        1,
        "not in force yet: 2 of 5 votes would be present without the quorum device's and 3 needed; start node 3 first",
    );
    counts(&cluster, &[1, 2], [3, 2, 2]);
    // With one vote they are not enough either: the device's vote is not here before it counts.
    three(&[1, 2], &disk(&cluster, 1));
    reload(&cluster, 1);
    line(
        &cluster,
        1,
        "not in force yet: 2 of 4 votes would be present without the quorum device's and 3 needed; start node 3 first",
    );
    // The third is started with the file of old: it is a member, and its file is waited for.
    start(&cluster, 3, "cmmd");
    counts(&cluster, &[1, 2, 3], [3, 3, 2]);
    line(&cluster, 1, "not in force yet: the file of node 3 has another one, or was not read again");
    three(&[3], &disk(&cluster, 1));
    reload(&cluster, 3);
    counts(&cluster, &[1, 2, 3], [4, 4, 3]);
    // Other votes go the same way.
    three(&[1, 2, 3], &disk(&cluster, 2));
    reload(&cluster, 2);
    counts(&cluster, &[1, 2, 3], [5, 5, 3]);
    // From now on a file without it is one that waits: what counts is on each node's disk.
    stop(&cluster, 3, "cmmd");
    three(&[3], "");
    start(&cluster, 3, "cmmd");
    counts(&cluster, &[1, 2, 3], [5, 5, 3]);
    line(&cluster, 3, "have another one, or were not read again");
}
