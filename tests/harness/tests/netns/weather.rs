//! Bad networks: packets lost at random, late, out of order, doubled, or too many for a narrow link. Messages flow
//! meanwhile, and come in one order everywhere; nobody is lost.

use std::time::Duration;

use harness::{Cib, Cluster, Options, Weather, skip};

use crate::{nodes, one_order, start_talkers, up};

/// Each node sends so many messages of so many bytes under `bad`, until all have arrived everywhere. All nodes must
/// print the same, and have the ring that they had before.
fn talk_through(cluster: &Cluster, count: usize, size: usize, bad: impl FnOnce()) {
    let all = cluster.all();
    let rings = || -> Vec<(String, usize)> {
        let report = |n: &u32| cluster.ring(*n).map(|r| (r.ring.id, r.changes.len())).unwrap();
        all.iter().map(report).collect()
    };
    let before = rings();
    bad();
    start_talkers(cluster, count, size);
    let first = one_order(cluster, count);
    for node in &all {
        let of_node = first.lines().filter_map(|l| l.strip_prefix(&format!("{node} ")));
        assert!(of_node.eq((0..count).map(|n| n.to_string())), "n{node}'s messages in its order");
    }
    assert_eq!(rings(), before, "no new ring for that:\n{}", cluster.report());
}

/// How often any node has said that it is not quorate any more.
fn losses_of_quorum(cluster: &Cluster) -> usize {
    let of_node = |n: &u32| cluster.log(*n, "cmmd").matches("will NOT provide any services").count();
    cluster.all().iter().map(of_node).sum()
}

#[test]
fn one_packet_of_ten_is_lost() {
    if skip() {
        return;
    }
    let cluster = up("loss", nodes(3), &Cib::new());
    let before = losses_of_quorum(&cluster);
    talk_through(&cluster, 600, 1_000, || cluster.lose(10));
    assert_eq!(losses_of_quorum(&cluster), before, "{}", cluster.report());
    let again: u64 = cluster.all().iter().map(|n| cluster.ring(*n).unwrap().traffic.retransmits).sum();
    assert!(again > 0, "packets were lost, and sent again");
}

#[test]
fn packets_are_late_and_overtake_each_other_and_come_twice() {
    if skip() {
        return;
    }
    let cluster = up("weather", Options { relay: true, ..nodes(3) }, &Cib::new());
    let weather =
        Weather { delay: Duration::from_millis(3), jitter: Duration::from_millis(12), doubled_percent: 5 };
    let before = losses_of_quorum(&cluster);
    talk_through(&cluster, 300, 1_000, || cluster.set_weather(weather));
    assert_eq!(losses_of_quorum(&cluster), before, "{}", cluster.report());
    let ring = cluster.ring(2).unwrap();
    assert!(ring.trouble.rejected["replay"] > 0, "packets came twice: {:?}", ring.trouble);
}

#[test]
fn a_flood_through_two_megabits() {
    if skip() {
        return;
    }
    let cluster = up("narrow", nodes(3), &Cib::new());
    let (all, before) = (cluster.all(), losses_of_quorum(&cluster));
    // 150 messages of 32 KiB are 5 MB: twenty seconds on this link, for clients that send as fast as they are let.
    talk_through(&cluster, 50, 32_768, || cluster.narrow(&all, 2_000));
    assert!(all.iter().all(|n| cluster.held_back(*n) > 0), "the link was too narrow for them");
    // Nobody sends more than the link carries while heartbeats wait a small part of the lease.
    assert_eq!(losses_of_quorum(&cluster), before, "{}", cluster.report());
}
