//! A quorum device that is a disk with SCSI-3 persistent reservations: the target decides, and who has lost cannot write any more.

use vm::{Cluster, Options};

use crate::boot;
use crate::failfast::rejoin;

pub(crate) const DEVICE: &str =
    " device {\n model: scsi\n votes: 1\n scsi {\n device: /dev/sda\n interval: 1000\n tko: 5\n }\n }\n";
pub(crate) const GAINED: &str = "Assuming master role";

/// Keys on the disk, as `sg_persist` shows them on a node.
pub(crate) fn keys(cluster: &Cluster, on: u32) -> Vec<String> {
    // A unit attention is told once, instead of the answer.
    let read = "sg_persist --no-inquiry --in --read-keys /dev/sda";
    let out = cluster.sh(on, &format!("{read} || {read} || {read}"));
    let keys = out.lines().map(str::trim).filter(|l| l.starts_with("0x"));
    let mut keys: Vec<String> = keys.map(str::to_owned).collect();
    keys.sort();
    // A machine that was switched off comes back by another path; its key by the old one stays.
    keys.dedup();
    keys
}

/// The node's part of a key: the lower half.
pub(crate) fn nodes(keys: &[String]) -> Vec<u32> {
    keys.iter().map(|key| u32::from_str_radix(&key[key.len() - 8..], 16).unwrap()).collect()
}

pub(crate) fn may_write(cluster: &Cluster, node: u32) -> bool {
    let write = "dd if=/dev/zero of=/dev/sda bs=4096 seek=16 count=1 oflag=direct";
    cluster.run(node, write).unwrap().status == 0
}

pub(crate) fn wait_for_keys(cluster: &Cluster, on: u32, of: &[u32]) {
    cluster.wait_for(&format!("n{on} sees the keys of {of:?}"), || {
        (nodes(&keys(cluster, on)) == of).then_some(())
    });
}

/// Who counts the vote: the last one that said so.
pub(crate) fn owner(cluster: &Cluster) -> u32 {
    cluster.wait_for("somebody counts the device's vote", || {
        cluster.all().into_iter().find(|n| cluster.log(*n, "cmmd").contains(GAINED))
    })
}

#[test]
fn the_target_decides_a_split_and_who_has_lost_cannot_write_any_more() {
    if vm::skip() {
        return;
    }
    let options = Options {
        scsi_disk_mib: 16,
        quorum: DEVICE,
        failfast: " mode: exit\n watchdog_device: off\n",
        programs: vec!["/usr/bin/sg_persist".into()],
        ..Options::default()
    };
    let cluster = boot("scsi", options);
    cluster.start_all();
    let winner = owner(&cluster);
    let loser = 3 - winner;
    wait_for_keys(&cluster, 1, &[1, 2]);
    let reservation = cluster.sh(loser, "sg_persist --no-inquiry --in --read-reservation /dev/sda");
    assert!(reservation.contains("Write Exclusive, registrants only"), "{reservation}");
    assert!(may_write(&cluster, winner) && may_write(&cluster, loser));

    // A split: the owner keeps the vote.
    cluster.cut(loser);
    cluster.wait_for_quorum(&[loser], false);
    wait_for_keys(&cluster, winner, &[winner]);
    cluster.wait_for_log(loser, "cmmd", "Our partition has been preempted");
    cluster.wait_for_quorum(&[winner], true);
    assert!(may_write(&cluster, winner) && !may_write(&cluster, loser));
    assert!(!cluster.log(winner, "cmmd").contains("lost contact with quorum device"));

    // Together again, and registered again.
    cluster.heal(loser);
    cluster.wait_for_quorum(&[1, 2], true);
    wait_for_keys(&cluster, winner, &[1, 2]);
    assert!(may_write(&cluster, loser));

    // The owner loses its power: the other one takes the reservation, and is quorate when the owner's lease is over.
    cluster.power_off(winner);
    cluster.wait_for_log(loser, "cmmd", GAINED);
    cluster.wait_for_quorum(&[loser], true);
    assert_eq!(nodes(&keys(&cluster, loser)), [loser]);

    // Then that one does, too: who was not in the last cluster does not go on without it.
    cluster.power_off(loser);
    cluster.power_on(winner).unwrap();
    cluster.wait_for_boot(winner, None);
    cluster.start_ring(winner);
    let held = format!("This quorum device is held by node {loser}");
    cluster.wait_for_log(winner, "cmmd", &held);
    cluster.wait_for_quorum(&[winner], false);
    assert!(!may_write(&cluster, winner));
    cluster.power_on(loser).unwrap();
    cluster.wait_for_boot(loser, None);
    rejoin(&cluster, loser);
    cluster.wait_for_quorum(&[1, 2], true);
    wait_for_keys(&cluster, loser, &[1, 2]);
    assert!(may_write(&cluster, winner) && may_write(&cluster, loser));

    // Once more, and those with a key are gone for good: what the log tells the operator to do.
    cluster.power_off(winner);
    wait_for_keys(&cluster, loser, &[loser]);
    let refused = cluster.run(loser, "holdfast scsi clear /dev/sda --force scsi").unwrap();
    assert!(refused.status == 73 && refused.stderr.contains("running"), "{refused:?}");
    cluster.power_off(loser);
    cluster.power_on(winner).unwrap();
    cluster.wait_for_boot(winner, None);
    cluster.start_ring(winner);
    cluster.wait_for_quorum(&[winner], false);
    cluster.sh(winner, "holdfast scsi clear /dev/sda --force scsi");
    cluster.wait_for_quorum(&[winner], true);
    wait_for_keys(&cluster, winner, &[winner]);
}
