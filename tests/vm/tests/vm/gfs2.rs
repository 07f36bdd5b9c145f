//! A cluster file system on the kernel's dlm: the survivor goes on once the dead node is fenced, and nothing is lost.

use std::process::Command;
use std::time::Instant;

use vm::{Cluster, Options};

use crate::failfast::{TWO, rejoin, start_unit};
use crate::{boot, dlm, script};

/// Writes one file after the other, and says the number of each that is on the disk.
const WRITER: &str = "#!/bin/sh
n=0
while n=$((n + 1)); do
    seq $n $((n + 1000)) | dd of=/mnt/$(hostname).$n conv=fsync 2>/dev/null || exit
    echo $n
    usleep 200000
done
";

/// Runs a tool for GFS2 on the shared disk, from outside.
fn gfs2(cluster: &Cluster, program: &str, args: &[&str]) {
    let out = Command::new(program).args(args).arg(cluster.shared_disk()).output().expect("gfs2-utils");
    assert!(out.status.success(), "{program}: {out:?}");
}

fn mount(cluster: &Cluster, node: u32) {
    cluster.sh(node, "mkdir -p /mnt && mount -t gfs2 /dev/vdb /mnt");
}

/// How many files a node's writer has on the disk.
fn written(cluster: &Cluster, node: u32) -> usize {
    cluster.log(node, "writer").lines().count()
}

fn wait_for_writer(cluster: &Cluster, node: u32) {
    let before = written(cluster, node);
    cluster.wait_for(&format!("n{node} writes"), || (written(cluster, node) > before + 2).then_some(()));
}

/// Reads on one node what another had on the disk.
fn check(cluster: &Cluster, on: u32, of: u32) {
    let count = written(cluster, of);
    let script =
        format!("for n in $(seq {count}); do seq $n $((n + 1000)) | cmp - /mnt/n{of}.$n || exit 1; done");
    cluster.sh(on, &script);
}

#[test]
fn a_cluster_file_system_goes_on_after_a_node_has_panicked_and_was_fenced() {
    if vm::skip() {
        return;
    }
    let mut programs = dlm::programs();
    programs.push(script("writer", WRITER));
    let options = Options {
        failfast: " mode: panic\n watchdog_device: off\n unit {\n name: pmfd\n pidfile: /run/pmfd.pid\n }\n",
        quorum: TWO,
        panic: 0,
        shared_disk_mib: 96,
        modules: &["dlm", "gfs2"],
        programs,
        ..Options::default()
    };
    let cluster = boot("gfs2", options);
    gfs2(&cluster, "mkfs.gfs2", &["-O", "-q", "-p", "lock_dlm", "-t", "gfs2:test", "-j", "2", "-J", "8"]);
    cluster.start_all();
    dlm::start(&cluster, &[1, 2]);
    for node in [1, 2] {
        mount(&cluster, node);
        cluster.start(node, "writer", "");
    }
    wait_for_writer(&cluster, 1);
    wait_for_writer(&cluster, 2);

    start_unit(&cluster, 2);
    let boot_id = cluster.boot(2).unwrap();
    let died = Instant::now();
    let _ = cluster.run(2, "kill -9 $(cat /run/pmfd.pid)");
    cluster.wait_for_event(2, "GUEST_PANICKED", died);
    cluster.wait_for_members(&[1], &[1]);
    cluster.wait_for("the file system waits for fencing", || {
        cluster.sh(1, "dlm_tool ls").contains("wait fencing").then_some(())
    });
    cluster.reset(2);
    cluster.sh(1, "dlm_tool fence_ack 2");
    dlm::wait_for_lockspace(&cluster, &[1]);
    cluster.wait_for("the dead node's journal is replayed", || {
        cluster.sh(1, "dmesg").contains("jid=1: Done").then_some(())
    });
    wait_for_writer(&cluster, 1);
    check(&cluster, 1, 2);

    cluster.wait_for_boot(2, Some(&boot_id));
    rejoin(&cluster, 2);
    dlm::start(&cluster, &[2]);
    mount(&cluster, 2);
    dlm::wait_for_lockspace(&cluster, &[1, 2]);
    check(&cluster, 2, 1);
    check(&cluster, 2, 2);
    wait_for_writer(&cluster, 1);
    // The script is gone before what it runs is.
    cluster.sh(1, "kill $(pidof writer); while ! umount /mnt; do sleep 1; done");
    cluster.sh(2, "umount /mnt");
    gfs2(&cluster, "fsck.gfs2", &["-n"]);
}
