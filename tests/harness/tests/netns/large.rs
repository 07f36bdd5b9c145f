//! Hundreds of resources.

use harness::{Large, skip};

/// What takes how long is for benches (`bench resources`); here it is that it all happens, that the ring does not notice, and
/// that nothing is lost.
#[test]
fn five_hundred_resources_start_move_and_stop_while_the_configuration_changes() {
    if skip() {
        return;
    }
    let large = Large::start("large", 3, 500).unwrap();
    let cluster = &large.cluster;
    let ring = cluster.ring(1).unwrap().ring.id;
    let even = large.places();
    assert!(even.iter().all(|n| (160..=172).contains(n)), "spread: {even:?}");

    // All of them are acknowledged, and every node has the same then.
    large.change(2, 8, 60).unwrap();
    let [a, b, c] = [1, 2, 3].map(|node| large.configuration(node).unwrap());
    assert!(a == b && b == c, "they differ");
    assert!(a.contains("value=\"7.59\""), "the last change is there");

    large.empty(1).unwrap();
    large.stop().unwrap();
    assert_eq!(cluster.ring(1).unwrap().ring.id, ring, "the same ring all the time");
    assert_eq!(harness::overlaps(&cluster.records()), [""; 0]);
    cluster.assert_nothing_ran_twice();
}
