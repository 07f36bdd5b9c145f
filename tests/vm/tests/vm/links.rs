//! What is cut of the network: one link of two changes nothing, both end in one half that lives on. What is left of two nodes that lost
//! their power forms no cluster that the last one does not know of.

use std::time::Duration;

use vm::{Cluster, Options};

use crate::{boot, stays};

const DISK: &str =
    " device {\n model: disk\n votes: 1\n disk {\n device: /dev/vdb\n interval: 1000\n tko: 5\n }\n }\n";

fn quorate(cluster: &Cluster, node: u32) -> bool {
    cluster.status(node).is_ok_and(|s| s.answered.cmmd && s.quorum.quorate)
}

/// How many memberships both nodes have seen.
fn memberships(cluster: &Cluster) -> usize {
    cluster.all().iter().map(|n| cluster.log(*n, "cmmd").matches("A new membership").count()).sum()
}

/// Waits until both are alone and one is quorate; it is the same one for a while. Gives it.
fn one_lives_on(cluster: &Cluster) -> u32 {
    let alone = |node: u32| cluster.status(node).is_ok_and(|s| s.ring.members == [node]);
    let winner = cluster.wait_for("each is alone and one is quorate", || match [1, 2].map(alone) {
        [true, true] => match [1, 2].map(|n| quorate(cluster, n)) {
            [true, false] => Some(1),
            [false, true] => Some(2),
            _ => None,
        },
        _ => None,
    });
    stays("one is quorate and the other one is not", Duration::from_secs(6), || {
        !quorate(cluster, 3 - winner) && quorate(cluster, winner)
    });
    winner
}

fn together_again(cluster: &Cluster) {
    cluster.heal(2);
    cluster.wait_for_members(&[1, 2], &[1, 2]);
    cluster.wait_for_quorum(&[1, 2], true);
}

/// Switches a machine on that was off, and starts its ring.
fn starts(cluster: &Cluster, node: u32) {
    cluster.power_on(node).unwrap();
    cluster.wait_for_boot(node, None);
    cluster.start_ring(node);
}

#[test]
fn one_link_of_two_changes_nothing_both_leave_one_half_and_the_other_one_forms_no_cluster_alone() {
    if vm::skip() {
        return;
    }
    let cluster = boot("links", Options { links: 2, shared_disk_mib: 8, quorum: DISK, ..Options::default() });
    cluster.sh(1, "holdfast qdisk create /dev/vdb --label links --yes");
    cluster.start_all();
    cluster.wait_for("somebody has the disk's vote", || {
        cluster.all().into_iter().find(|n| cluster.log(*n, "cmmd").contains("Assuming master role"))
    });

    let before = memberships(&cluster);
    cluster.cut_link(2, 1);
    cluster.wait_for_log(1, "cmmd", "link: host: 2 link: 1 is down");
    cluster.wait_for_log(2, "cmmd", "link: host: 1 link: 1 is down");
    stays("both are quorate", Duration::from_secs(5), || quorate(&cluster, 1) && quorate(&cluster, 2));
    assert_eq!(memberships(&cluster), before, "a membership has changed");
    cluster.strike("the ring's network is cut, second of two links", 2, |c| c.cut_link(2, 0));
    one_lives_on(&cluster);
    together_again(&cluster);

    for (from, to) in [(1, 2), (2, 1)] {
        let name = format!("one way of the network is cut, {from} to {to}");
        cluster.strike(&name, 2, |c| c.cut_way(from, to));
        one_lives_on(&cluster);
        together_again(&cluster);
    }

    // Node 1 goes on alone; then it loses its power, too. Who was not there to the last does not go on without who was.
    cluster.strike("the power is taken from one of two", 2, |c| c.power_off(2));
    cluster.wait_for_quorum(&[1], true);
    cluster.power_off(1);
    starts(&cluster, 2);
    stays("node 2 is not quorate", Duration::from_secs(15), || !quorate(&cluster, 2));
    starts(&cluster, 1);
    cluster.wait_for_members(&[1, 2], &[1, 2]);
    cluster.wait_for_quorum(&[1, 2], true);
}

#[test]
fn of_two_nodes_without_a_quorum_device_that_were_power_cycled_neither_goes_on_alone_and_both_together_do() {
    if vm::skip() {
        return;
    }
    let cluster = boot("both-off", Options { quorum: " two_node: 1\n", ..Options::default() });
    cluster.start_all();
    for first in [1, 2] {
        // The one that is started first was the last one, or not.
        cluster.power_off(2);
        cluster.wait_for_quorum(&[1], true);
        cluster.power_off(1);
        starts(&cluster, first);
        stays("one alone is not quorate", Duration::from_secs(10), || !quorate(&cluster, first));
        starts(&cluster, 3 - first);
        cluster.wait_for_members(&[1, 2], &[1, 2]);
        cluster.wait_for_quorum(&[1, 2], true);
    }
}
