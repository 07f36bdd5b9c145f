//! Two nodes with a quorum disk, and what may happen to them and to each one's way to the disk: at each instant at most one side is quorate,
//! and one is in the end. Every node says two thousand times a second what it believes. (S15)

use std::time::Duration;

use harness::{missing_for_disks, skip_where};

use crate::arena::{Arena, CUT, LEASE, STALL};
use crate::stays;

fn arena(name: &str) -> Option<Arena> {
    (!skip_where(missing_for_disks())).then(|| Arena::new(name, 2, 1))
}

/// A few leases: for what must not happen.
const WHILE: Duration = LEASE.saturating_mul(3);

fn is_quorate(arena: &Arena, node: u32) -> bool {
    arena.cluster.status(node).is_ok_and(|s| s.quorum.quorate)
}

#[test]
fn whichever_of_two_dies_with_or_without_a_word_the_other_one_is_quorate() {
    let Some(mut arena) = arena("qdiskdeath") else { return };
    for whole_node in [false, true] {
        for owner_dies in [false, true] {
            let owner = arena.owner();
            let victim = if owner_dies { owner } else { 3 - owner };
            if whole_node {
                arena.kill_node(victim)
            } else {
                arena.kill_daemon(victim)
            };
            let survivor = 3 - victim;
            arena.cluster.wait_for_members(&[survivor], &[survivor]);
            arena.wait_for_quorate(&[survivor]);
            assert_eq!(arena.owner(), survivor);
            arena.mend();
            arena.assert_one_quorum(&format!("owner dies: {owner_dies}, whole node: {whole_node}"));
        }
    }
}

#[test]
fn of_two_cut_apart_the_owner_goes_on_without_a_break() {
    let Some(mut arena) = arena("qdisksplit") else { return };
    for _ in 0..3 {
        let owner = arena.owner();
        let noes = arena.noes(&[owner]);
        arena.cluster.cut(&[1], &[2]);
        arena.wait_for_quorate(&[owner]);
        stays("the owner only", WHILE, || is_quorate(&arena, owner) && !is_quorate(&arena, 3 - owner));
        assert_eq!(arena.noes(&[owner]), noes, "it was quorate all the time");
        arena.mend();
        arena.assert_one_quorum("cut both ways");
    }
}

#[test]
fn a_node_without_the_disk_is_quorate_with_the_other_and_not_without_it() {
    let Some(mut arena) = arena("qdiskpath") else { return };
    // Not the owner: nothing happens. The owner: the other one has the vote a lease later.
    for owner_is_cut in [false, true] {
        let (owner, noes) = (arena.owner(), arena.noes(&[1, 2]));
        let without = if owner_is_cut { owner } else { 3 - owner };
        arena.disks_of(without, CUT);
        arena.cluster.wait_for("who has the disk has the vote", || {
            (arena.cluster.disk_owner(0) == Some(3 - without)).then_some(())
        });
        stays("both are quorate", WHILE, || is_quorate(&arena, 1) && is_quorate(&arena, 2));
        assert_eq!(arena.noes(&[1, 2]), noes, "neither lost it on the way");
        arena.cluster.cut(&[1], &[2]);
        arena.wait_for_quorate(&[3 - without]);
        stays("who has the disk", WHILE, || is_quorate(&arena, 3 - without) && !is_quorate(&arena, without));
        arena.mend();
        arena.assert_one_quorum(&format!("owner without the disk: {owner_is_cut}"));
    }
    // Both at the same time: nobody hands it on any more.
    let owner = arena.owner();
    arena.cluster.cut(&[1], &[2]);
    arena.disks_of(owner, CUT);
    arena.wait_for_quorate(&[3 - owner]);
    arena.mend();
    arena.assert_one_quorum("cut, and the owner without the disk");
}

#[test]
fn without_the_disk_two_stay_quorate_and_neither_is_alone_until_it_is_back() {
    let Some(mut arena) = arena("qdiskgone") else { return };
    for fault in [CUT, STALL] {
        let noes = arena.noes(&[1, 2]);
        [1, 2].into_iter().for_each(|n| arena.disks_of(n, fault));
        stays("both are quorate", 2 * WHILE, || is_quorate(&arena, 1) && is_quorate(&arena, 2));
        assert_eq!(arena.noes(&[1, 2]), noes, "the disk's going moves nothing");
        arena.cluster.cut(&[1], &[2]);
        arena.wait_for_quorate(&[]);
        stays("one of three votes", WHILE, || !is_quorate(&arena, 1) && !is_quorate(&arena, 2));
        [1, 2].into_iter().for_each(|n| arena.disks_of(n, Default::default()));
        arena.cluster.wait_for("one of them has it", || {
            (is_quorate(&arena, 1) != is_quorate(&arena, 2)).then_some(())
        });
        stays("one of them", WHILE, || is_quorate(&arena, 1) != is_quorate(&arena, 2));
        arena.mend();
        arena.assert_one_quorum(&format!("{fault:?}"));
    }
    // A split and a stall at once: the owner counts it for a lease more, then nobody does.
    arena.cluster.cut(&[1], &[2]);
    [1, 2].into_iter().for_each(|n| arena.disks_of(n, STALL));
    arena.wait_for_quorate(&[]);
    [1, 2].into_iter().for_each(|n| arena.disks_of(n, Default::default()));
    arena
        .cluster
        .wait_for("one of them has it", || (is_quorate(&arena, 1) != is_quorate(&arena, 2)).then_some(()));
    arena.mend();
    arena.assert_one_quorum("cut and stalled");
}

/// qdiskd evicted such a node, which rebooted when it went on (R13). Here it loses its vote, knows that when it goes on, and is a member
/// again.
#[test]
fn a_node_that_stood_still_for_longer_than_its_lease_is_not_quorate_when_it_goes_on() {
    let Some(mut arena) = arena("qdiskstop") else { return };
    for owner_stops in [true, false] {
        let owner = arena.owner();
        let victim = if owner_stops { owner } else { 3 - owner };
        arena.stop(victim);
        arena.wait_for_quorate(&[3 - victim]);
        std::thread::sleep(WHILE);
        arena.resume(victim);
        arena.mend();
        arena.assert_one_quorum(&format!("owner stopped: {owner_stops}"));
    }
}

/// A hung disk with a healthy network evicts nobody (R14), and costs nobody anything.
#[test]
fn a_disk_that_stalls_for_one_node_evicts_nobody() {
    let Some(mut arena) = arena("qdiskstall") else { return };
    for stalls_for_owner in [true, false] {
        let (owner, noes) = (arena.owner(), arena.noes(&[1, 2]));
        arena.disks_of(if stalls_for_owner { owner } else { 3 - owner }, STALL);
        stays("both are quorate members", 4 * WHILE, || {
            [1, 2]
                .into_iter()
                .all(|n| arena.cluster.status(n).is_ok_and(|s| s.quorum.quorate && s.ring.members == [1, 2]))
        });
        assert_eq!(arena.noes(&[1, 2]), noes);
        arena.mend();
        arena.assert_one_quorum(&format!("stalls for the owner: {stalls_for_owner}"));
    }
}
