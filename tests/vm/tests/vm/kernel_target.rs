//! The same reservations on the kernel's own target (LIO), which knows PREEMPT AND ABORT and APTPL.

use std::time::Instant;

use vm::{Cluster, Options, ScsiTarget};

use crate::boot;
use crate::failfast::rejoin;
use crate::reservations::{DEVICE, GAINED, keys, may_write, nodes, owner, wait_for_keys};

fn options() -> Options {
    Options {
        scsi_disk_mib: 8,
        scsi_target: ScsiTarget::Kernel,
        quorum: DEVICE,
        failfast: " mode: exit\n watchdog_device: off\n",
        programs: vec!["/usr/bin/sg_persist".into()],
        ..Options::default()
    }
}

/// Whether a node sees that another one holds the reservation.
fn held_by(cluster: &Cluster, on: u32, holder: u32) -> bool {
    let read = "sg_persist --no-inquiry --in --read-reservation /dev/sda";
    let out = cluster.run(on, &format!("{read} || {read}")).map(|a| a.stdout).unwrap_or_default();
    let key = out.lines().find_map(|line| line.trim().strip_prefix("Key="));
    key.is_some_and(|key| nodes(&[key.trim().to_owned()]) == [holder])
}

/// Cuts in one test.
const CUTS: usize = 5;

#[test]
fn the_kernels_target_decides_each_of_several_splits_once_and_the_loser_has_no_key_then() {
    if vm::skip() {
        return;
    }
    let cluster = boot("lio", options());
    cluster.start_all();
    owner(&cluster);
    wait_for_keys(&cluster, 1, &[1, 2]);
    for cut in 0..CUTS {
        // Either side is cut off, the owner or the other one.
        cluster.cut(1 + u32::try_from(cut % 2).unwrap());
        let winner = cluster.wait_for("one half is quorate and the other one is not", || {
            let quorate = |node| cluster.status(node).is_ok_and(|s| s.quorum.quorate);
            let alone = |node| cluster.status(node).is_ok_and(|s| s.ring.members == [node]);
            let both = alone(1) && alone(2);
            match (quorate(1), quorate(2)) {
                (true, false) if both => Some(1),
                (false, true) if both => Some(2),
                _ => None,
            }
        });
        let loser = 3 - winner;
        wait_for_keys(&cluster, winner, &[winner]);
        assert!(may_write(&cluster, winner) && !may_write(&cluster, loser), "cut {cut}");
        cluster.heal(1 + u32::try_from(cut % 2).unwrap());
        cluster.wait_for_quorum(&[1, 2], true);
        wait_for_keys(&cluster, winner, &[1, 2]);
        assert!(may_write(&cluster, loser), "cut {cut}");
    }
    // The holder dies, and the other one takes the reservation: with PREEMPT AND ABORT.
    let target = cluster.target();
    let watch = "mount -t debugfs debugfs /sys/kernel/debug; \
                 echo 'module target_core_mod +p' >/sys/kernel/debug/dynamic_debug/control";
    cluster.sh(target, watch);
    let holder = if held_by(&cluster, 1, 1) { 1 } else { 2 };
    cluster.power_off(holder);
    wait_for_keys(&cluster, 3 - holder, &[3 - holder]);
    let said = cluster.sh(target, "dmesg");
    assert!(said.contains("PREEMPT_AND_ABORT"), "{said}");
    // This target knows everything: nothing was done without.
    for node in cluster.all() {
        assert!(!cluster.log(node, "cmmd").contains("forgets registrations"), "APTPL was refused");
    }
    assert!(cluster.all().iter().any(|n| cluster.log(*n, "cmmd").contains(GAINED)));
}

#[test]
fn registrations_and_the_reservation_outlive_the_target() {
    if vm::skip() {
        return;
    }
    let fencing = " scsi {\n device: /dev/sda\n interval: 1000\n }\n";
    let cluster = boot("aptpl", Options { quorum: " auto_tie_breaker: 1\n", fencing, ..options() });
    cluster.start_all();
    wait_for_keys(&cluster, 1, &[1, 2]);
    cluster.cut(2);
    cluster.wait_for_log(1, "cmmd", "Preempted node 2 from data disk /dev/sda");
    cluster.wait_for_log(2, "cmmd", "Reservation Conflict. Disk: /dev/sda");
    wait_for_keys(&cluster, 1, &[1]);

    // The kernel writes its metadata into a file and does not wait for the disk.
    cluster.sh(cluster.target(), "sync");
    cluster.power_off(cluster.target());
    cluster.start_target().unwrap();
    cluster.wait_for("the disk is back", || {
        let read = "dd if=/dev/sda of=/dev/null bs=4096 count=1 iflag=direct";
        cluster.run(2, read).ok().filter(|a| a.status == 0)
    });
    // This target puts the reservation into force when its holder is back. Who was removed before cannot write then.
    cluster.wait_for("node 1 holds the reservation", || held_by(&cluster, 2, 1).then_some(()));
    assert_eq!(nodes(&keys(&cluster, 2)), [1]);
    assert!(!may_write(&cluster, 2));
    assert!(!cluster.log(1, "cmmd").contains("has forgotten all registrations"));
}

#[test]
fn the_real_fence_scsi_sees_and_removes_our_keys_when_it_is_told_them_and_its_own_are_strangers() {
    if vm::skip() {
        return;
    }
    let options = Options {
        memory_mib: 384,
        quorum: " auto_tie_breaker: 1\n",
        fencing: " scsi {\n device: /dev/sda\n interval: 1000\n }\n",
        failfast: " mode: panic\n watchdog_device: off\n",
        programs: ["/usr/bin/sg_persist", "/usr/bin/sg_turs", "/usr/sbin/corosync-cmapctl"]
            .map(Into::into)
            .into(),
        python: vec!["/usr/sbin/fence_scsi".into()],
        ..options()
    };
    let cluster = boot("fence-scsi", options);
    cluster.start_all();
    wait_for_keys(&cluster, 1, &[1, 2]);
    let keys = keys(&cluster, 1);
    let agent = |action: &str, key: &str| {
        let key = key.trim_start_matches("0x");
        let answer = cluster.run(1, &format!("fence_scsi -o {action} --key={key} -d /dev/sda")).unwrap();
        (answer.status, answer.stderr)
    };
    // Told what stands there, it registers nothing anew.
    let (status, said) = agent("on", &keys[0]);
    assert_eq!(status, 0, "{said}");
    for key in &keys {
        let (status, said) = agent("status", key);
        assert_eq!(status, 0, "{key}: {said}");
    }
    let since = Instant::now();
    let (status, said) = agent("off", &keys[1]);
    assert_eq!(status, 0, "{said}");
    assert_eq!(agent("status", &keys[1]).0, 2, "off");
    cluster.wait_for_event(2, "GUEST_PANICKED", since);
    let why = "Failfast: Aborting because of a Reservation Conflict. Disk: /dev/sda";
    cluster.wait_for("n2 says why", || cluster.console(2).contains(why).then_some(()));
    let downs = cluster.events(1, since).into_iter().filter(|e| e.name == "GUEST_PANICKED").count();
    assert_eq!(downs, 0, "n1 has lost its own key");
    cluster.wait_for("n2 boots", || cluster.run(2, "true").ok());
    rejoin(&cluster, 2);
    wait_for_keys(&cluster, 1, &[1, 2]);

    // A key of its own making takes the place of ours: the node goes down, and the others see a stranger.
    let since = Instant::now();
    cluster.order(2, "fence_scsi -o on -n n2 -d /dev/sda >/vm/agent.log 2>&1");
    cluster.wait_for_event(2, "GUEST_PANICKED", since);
    cluster.wait_for_log(1, "cmmd", "Data disk /dev/sda is used by another cluster or tool");
}
