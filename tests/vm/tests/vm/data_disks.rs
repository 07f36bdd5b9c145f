//! Data disks that only members can write to: who was lost cannot write before anything starts elsewhere, and goes down when it is back.

use std::time::{Duration, Instant};

use vm::{Cluster, Options};

use crate::boot;
use crate::failfast::rejoin;

const FENCING: &str = " scsi {\n device: /dev/sda\n interval: 1000\n }\n";
/// Writes numbers to one sector of the data disk until it is ended, and says in a file which one was written last.
const WRITER: &str = "i=0; while :; do i=$((i + 1)); \
    printf '%08d' $i | dd of=/dev/sda bs=512 seek=32 count=1 conv=sync oflag=direct 2>/dev/null && echo $i >/tmp/written; done";

fn options() -> Options {
    Options {
        scsi_disk_mib: 16,
        // Node 1 is quorate without node 2.
        quorum: " auto_tie_breaker: 1\n",
        fencing: FENCING,
        failfast: " mode: panic\n watchdog_device: off\n",
        programs: vec!["/usr/bin/sg_persist".into(), "/usr/sbin/corosync-cmapctl".into()],
        ..Options::default()
    }
}

/// Node ids whose keys are on the disk, as `holdfast` shows them.
fn registered(cluster: &Cluster, on: u32) -> Vec<u64> {
    let shown = cluster.run(on, "holdfast scsi show /dev/sda --json").unwrap();
    let json: serde_json::Value = serde_json::from_str(&shown.stdout).unwrap_or_default();
    let mut nodes: Vec<u64> = json["keys"]
        .as_array()
        .map_or(vec![], |keys| keys.iter().filter_map(|key| key["node"].as_u64()).collect());
    nodes.sort_unstable();
    // One that was switched off has another path when it comes back.
    nodes.dedup();
    nodes
}

fn wait_for_registered(cluster: &Cluster, on: u32, nodes: &[u64]) {
    cluster.wait_for(&format!("n{on} sees the keys of {nodes:?}"), || {
        (registered(cluster, on) == nodes).then_some(())
    });
}

fn may_write(cluster: &Cluster, node: u32) -> bool {
    let write = "dd if=/dev/zero of=/dev/sda bs=4096 seek=64 count=1 oflag=direct";
    cluster.run(node, write).unwrap().status == 0
}

/// The step in which a node is, with itself as the only member: `EPOCH/STEP/NAME`, empty after the last one.
fn step(cluster: &Cluster, node: u32) -> Option<String> {
    let status = cluster.status(node).ok()?;
    (status.ring.members == [node] && status.quorum.quorate).then_some(status.ring.step)
}

fn wait_for_last_step(cluster: &Cluster, node: u32) {
    cluster.wait_for("all steps are over", || step(cluster, node).filter(String::is_empty));
}

/// The step waits, for as long as nobody does anything.
fn waits_in_fence_step(cluster: &Cluster, node: u32) {
    let waits = || step(cluster, node).filter(|step| step.ends_with("/fence"));
    cluster.wait_for("the fence step begins", waits);
    crate::stays("the step waits", Duration::from_secs(5), || waits().is_some());
}

fn digest(cluster: &Cluster, on: u32) -> String {
    cluster.sh(on, "dd if=/dev/sda bs=64k count=64 iflag=direct 2>/dev/null | md5sum")
}

/// All nodes lose their power and come back, by other paths than before: their keys and the reservation are still there.
fn down_and_up(cluster: &Cluster) {
    let all = cluster.all();
    for node in &all {
        cluster.power_off(*node);
    }
    for node in &all {
        cluster.power_on(*node).unwrap();
    }
    for node in &all {
        cluster.wait_for_boot(*node, None);
    }
    cluster.start_all();
    cluster.wait_for("all steps are over", || {
        all.iter().all(|n| cluster.status(*n).is_ok_and(|s| s.ring.step.is_empty())).then_some(())
    });
    wait_for_registered(cluster, 1, &[1, 2]);
    assert!(may_write(cluster, 1) && may_write(cluster, 2));
}

#[test]
fn who_stood_still_while_others_took_over_writes_not_a_byte_more_and_goes_down() {
    if vm::skip() {
        return;
    }
    let cluster = boot("data", options());
    cluster.start_all();
    wait_for_registered(&cluster, 1, &[1, 2]);
    assert!(may_write(&cluster, 1) && may_write(&cluster, 2));
    cluster.sh(2, &format!("({WRITER}) >/dev/null 2>&1 </dev/null &"));
    cluster.wait_for("n2 writes", || cluster.run(2, "cat /tmp/written").ok().filter(|a| a.status == 0));

    // It stands still. Before anything can start elsewhere, it cannot write any more (S17).
    let before = digest(&cluster, 1);
    cluster.wait_for("n2 goes on writing", || (digest(&cluster, 1) != before).then_some(()));
    cluster.freeze(2);
    cluster.wait_for_log(1, "cmmd", "Preempted node 2 from data disk /dev/sda");
    wait_for_last_step(&cluster, 1);
    assert_eq!(registered(&cluster, 1), [1]);
    cluster.sh(1, "printf taken | dd of=/dev/sda bs=512 seek=32 count=1 conv=sync oflag=direct");
    let after = digest(&cluster, 1);
    let since = Instant::now();
    cluster.thaw(2);
    cluster.wait_for_event(2, "GUEST_PANICKED", since);
    assert_eq!(digest(&cluster, 1), after);
    cluster.wait_for("n2 says why", || {
        let console = cluster.console(2);
        let why = "Failfast: Aborting because of a Reservation Conflict. Disk: /dev/sda";
        console.contains(why).then_some(())
    });

    // Together again, it registers again.
    cluster.wait_for("n2 boots", || cluster.run(2, "true").ok());
    rejoin(&cluster, 2);
    cluster.wait_for_quorum(&[1, 2], true);
    wait_for_registered(&cluster, 1, &[1, 2]);
    assert!(may_write(&cluster, 1) && may_write(&cluster, 2));

    // Its key is removed by hand: it has nothing to write, and goes down all the same (S18).
    let key = |node: u32| {
        let shown = cluster.sh(1, "holdfast scsi show /dev/sda --json");
        let json: serde_json::Value = serde_json::from_str(&shown).unwrap();
        let keys = json["keys"].as_array().unwrap().clone();
        keys.iter().find(|k| k["node"] == node).unwrap()["key"].as_str().unwrap().to_owned()
    };
    let preempt = format!(
        "sg_persist --no-inquiry --out --preempt --param-rk={} --param-sark={} --prout-type=5 /dev/sda",
        key(1),
        key(2)
    );
    let since = Instant::now();
    cluster.sh(1, &format!("{preempt} || {preempt}"));
    cluster.wait_for_event(2, "GUEST_PANICKED", since);
    cluster.wait_for("n2 says why once more", || {
        (cluster.console(2).matches("Reservation Conflict. Disk: /dev/sda").count() >= 2).then_some(())
    });
    cluster.wait_for("n2 boots", || cluster.run(2, "true").ok());
    down_and_up(&cluster);
}

#[test]
fn a_disk_that_is_out_of_reach_holds_everything_up_until_it_is_back_or_the_lost_node_is_dead() {
    if vm::skip() {
        return;
    }
    let cluster = boot("far", options());
    cluster.start_all();
    wait_for_registered(&cluster, 1, &[1, 2]);
    // Nobody takes the keys of members away, whoever asks.
    let refused = cluster.run(1, "holdfast scsi clear /dev/sda --force far").unwrap();
    assert!(refused.status != 0 && refused.stderr.contains("running"), "{refused:?}");

    let state = |word: &str| format!("echo {word} >/sys/block/sda/device/state");
    cluster.sh(1, &state("offline"));
    cluster.wait_for_log(1, "cmmd", "Data disk /dev/sda is inaccessible now");
    cluster.power_off(2);
    waits_in_fence_step(&cluster, 1);
    cluster.sh(1, &state("running"));
    cluster.wait_for_log(1, "cmmd", "Preempted node 2 from data disk /dev/sda");
    wait_for_last_step(&cluster, 1);

    // The same again, and this time an operator says that it is dead.
    cluster.power_on(2).unwrap();
    cluster.wait_for_boot(2, None);
    rejoin(&cluster, 2);
    cluster.wait_for_quorum(&[1, 2], true);
    wait_for_registered(&cluster, 1, &[1, 2]);
    cluster.sh(1, &state("offline"));
    cluster.power_off(2);
    waits_in_fence_step(&cluster, 1);
    cluster.sh(1, "corosync-cmapctl -s holdfast.confirmed.2 u64 0");
    wait_for_last_step(&cluster, 1);

    // It is back, and the key of the dead one goes.
    cluster.sh(1, &state("running"));
    wait_for_registered(&cluster, 1, &[1]);

    // When nobody runs any more, the disk can be cleared.
    cluster.sh(1, "kill $(pidof cmmd)");
    cluster.wait_for("cmmd ends", || cluster.run(1, "pidof cmmd").ok().filter(|a| a.status != 0));
    cluster.sh(1, "holdfast scsi clear /dev/sda --force far");
    let shown = cluster.sh(1, "holdfast scsi show /dev/sda --cluster far");
    assert!(shown.contains("0 keys") && shown.contains("every machine can write"), "{shown}");
}
