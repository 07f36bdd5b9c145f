//! A node that runs out of something stays a member, or goes down with its reason; it never hangs on.

use std::time::{Duration, Instant};

use harness::Cib;
use vm::{Cluster, Options, Watchdog};

use crate::failfast::{TWO, assert_why, last_death, last_words, rejoin, start_unit};
use crate::watchdog::WITH_NOTICE;
use crate::{boot, stays};

const FAILFAST: &str =
    " mode: panic\n watchdog_device: off\n unit {\n name: pmfd\n pidfile: /run/pmfd.pid\n }\n";
const REASON: &str = "Failfast: Aborting because \"pmfd\" died 0 seconds ago.";

/// Fills the disk to the last block.
const FILL: &str = "cd /var/lib/holdfast; for size in 64k 4k 512; do dd if=/dev/zero of=filler.$size bs=$size; done 2>/dev/null; sync";

/// Kills the unit by a shell that can still do it where nothing new can be started, after what `before` does.
fn kill_unit(cluster: &Cluster, before: &str) -> Instant {
    let start = Instant::now();
    let _ = cluster.run(2, &format!("read pid </run/pmfd.pid; {before}; kill -9 $pid; sleep 100"));
    start
}

/// A resource that takes all processes that there are, when it starts, and keeps them for a while.
const BOMB: &str = "#!/bin/sh
case $1 in
    start)
        : >/run/bomb
        (while :; do sleep 15 >/dev/null 2>&1 & done) 2>/vm/bomb.log </dev/null >/dev/null & ;;
    stop) rm -f /run/bomb ;;
    monitor) if [ -e /run/bomb ]; then exit 0; else exit 7; fi ;;
    meta-data) echo '<resource-agent name=\"bomb\"/>'; exit 0 ;;
    *) exit 3 ;;
esac
";
/// All that it logs goes to what stands on one disk, that of its state.
const LOGGING: &str =
    " to_stderr: yes\n to_syslog: yes\n to_logfile: yes\n logfile: /var/lib/holdfast/cmmd.log\n";
const SYSLOG: &str = "syslogd -O /var/lib/holdfast/messages";

/// How often the survivor has seen a new membership.
fn changes(cluster: &Cluster) -> usize {
    cluster.log(1, "cmmd").matches("A new membership").count()
}

#[test]
fn neither_full_nor_hanging_disks_nor_used_up_memory_or_processes_keep_a_sick_node_alive() {
    if vm::skip() {
        return;
    }
    let cib = Cib::new().primitive("bomb", "ocf:test:bomb", &[]).prefers("bomb", "n1", "-INFINITY");
    let files =
        vec![("usr/lib/ocf/resource.d/test/bomb", BOMB.to_owned()), ("etc/holdfast/cib.xml", cib.xml(2))];
    let programs = vec!["/usr/bin/chrt".into()];
    let options =
        Options { failfast: FAILFAST, quorum: TWO, logging: LOGGING, files, programs, ..Options::default() };
    let cluster = boot("exhaustion", options);
    cluster.sh(2, SYSLOG);
    cluster.start_all();
    start_unit(&cluster, 2);
    let before = changes(&cluster);
    // Memory first: what asks for it is killed, the ring stays, and so does the guardian, which is no candidate.
    let guardian = cluster.sh(2, "pidof holdfast-guardian");
    assert_eq!(cluster.sh(2, "cat /proc/$(pidof holdfast-guardian)/oom_score_adj").trim(), "-1000");
    for _ in 0..3 {
        let killed = cluster.run(2, "tail /dev/zero").unwrap();
        assert_ne!(killed.status, 0, "{killed:?}");
    }
    assert_eq!(cluster.sh(2, "pidof holdfast-guardian"), guardian);
    cluster.sh(2, FILL);
    assert_ne!(cluster.run(2, "cp /etc/rc /var/lib/holdfast/one").unwrap().status, 0, "there is room");
    cluster.wait_for_members(&[1, 2], &[1, 2]);
    assert_eq!(changes(&cluster), before, "the ring has changed");

    // A resource that takes all processes: the ring stays, and so does who manages it.
    cluster.sh(2, "rm /var/lib/holdfast/filler.*; echo 400 >/proc/sys/kernel/pid_max");
    for node in cluster.all() {
        cluster.start(node, "rgmd", "-f --cib /etc/holdfast/cib.xml");
        cluster.wait_for_log(node, "rgmd", "Failfast armed");
    }
    let manager = cluster.sh(2, "pidof rgmd");
    cluster.wait_for_log(2, "bomb", "can't fork");
    stays("the ring of both", Duration::from_secs(10), || {
        cluster.status(1).is_ok_and(|s| s.ring.members == [1, 2]) && changes(&cluster) == before
    });
    cluster.wait_for("processes can be started again", || {
        cluster.run(2, "true; pidof rgmd").ok().filter(|a| a.stdout == manager)
    });
    cluster.wait_for_members(&[1, 2], &[1, 2]);
    assert_eq!(changes(&cluster), before, "the ring has changed");
    // Nobody but the hog runs: a member that is silent is none, and afterwards it is one again, or has gone down with its reason.
    let boot_id = cluster.boot(2).unwrap();
    let hog = "timeout -s KILL 20 chrt -f 99 sh -c 'while :; do :; done'";
    let fault = cluster.strike("SCHED_FIFO 99 hog on every CPU for 20 s", 2, |c| c.order(2, hog));
    let down = cluster.wait_for("the hog has ended or the node goes down", || {
        let down = cluster.events(2, fault.began).iter().any(|e| e.name == "GUEST_PANICKED");
        (down || fault.began.elapsed() > Duration::from_secs(22)).then_some(down)
    });
    let again = cluster.wait_for("it runs again", || {
        let booted = cluster.boot(2).filter(|b| *b != boot_id);
        match booted {
            Some(_) => Some(true),
            None if down => None,
            None => cluster.log(2, "cmmd").contains("Process pause detected").then_some(false),
        }
    });
    if again {
        assert!(
            last_words(&cluster, 2).contains("Failfast: Aborting because"),
            "{}",
            last_words(&cluster, 2)
        );
        cluster.sh(2, "rm -f /sys/fs/pstore/*");
        cluster.sh(2, SYSLOG);
        rejoin(&cluster, 2);
        start_unit(&cluster, 2);
    }
    cluster.wait_for_members(&[1, 2], &[1, 2]);
    cluster.sh(2, FILL);

    let boot_id = cluster.boot(2).unwrap();
    let start = kill_unit(
        &cluster,
        "echo 400 >/proc/sys/kernel/pid_max; (while :; do sleep 100000 >/dev/null 2>&1 & done) 2>/vm/fork.log",
    );
    cluster.wait_for_event(2, "GUEST_PANICKED", start);
    assert!(cluster.log(2, "fork").contains("can't fork"), "processes were left: {}", cluster.log(2, "fork"));
    cluster.wait_for_log(1, "cmmd", &format!("Node 2 goes down: {REASON}"));
    cluster.wait_for_boot(2, Some(&boot_id));
    assert_eq!(last_death(&cluster, 2), REASON);
    assert!(last_words(&cluster, 2).contains(REASON));

    // A disk that takes a write and never ends it: the black box hangs, the node goes down all the same.
    // So do the log file and the daemon behind /dev/log, which takes no more lines then.
    cluster.sh(2, "rm /var/lib/holdfast/filler.* /sys/fs/pstore/*");
    cluster.sh(2, SYSLOG);
    rejoin(&cluster, 2);
    start_unit(&cluster, 2);
    let boot_id = cluster.boot(2).unwrap();
    let before = changes(&cluster);
    cluster.sh(2, "fsfreeze --freeze /var/lib/holdfast");
    cluster.order(2, "while :; do echo a line; done | logger");
    stays("the ring of both", Duration::from_secs(5), || {
        cluster.status(2).is_ok_and(|s| s.ring.members == [1, 2] && s.quorum.quorate)
    });
    assert_eq!(changes(&cluster), before, "the ring has changed");
    // Each of these changes is a line that the log cannot take.
    for _ in 0..3 {
        cluster.cut_way(1, 2);
        cluster.wait_for("node 2 notices", || cluster.status(2).ok().filter(|s| s.ring.members == [2]));
        cluster.heal(2);
        cluster.wait_for_members(&[1, 2], &[1, 2]);
    }
    let start = kill_unit(&cluster, ":");
    cluster.wait_for_event(2, "GUEST_PANICKED", start);
    cluster.wait_for_boot(2, Some(&boot_id));
    assert!(last_words(&cluster, 2).contains(REASON));
    assert_why(&cluster, 2, "failfast", &["the kernel kept the reason", REASON]);
    rejoin(&cluster, 2);
}

#[test]
fn a_realtime_hog_on_every_cpu_ends_with_the_watchdog() {
    if vm::skip() {
        return;
    }
    let options = Options {
        nodes: 1,
        failfast: WITH_NOTICE,
        watchdog: Watchdog::I6300esb,
        modules: &["pretimeout_panic"],
        programs: vec!["/usr/bin/chrt".into()],
        ..Options::default()
    };
    let cluster = boot("hog", options);
    cluster.start_all();
    cluster.wait_for_log(1, "cmmd", "The watchdog is fed: armed with the first quorum");
    let boot_id = cluster.boot(1).unwrap();
    let start = Instant::now();
    let _ = cluster.run(1, "setsid chrt -f 99 sh -c 'while :; do :; done' >/dev/null 2>&1 &");
    cluster.wait_for_event(1, "GUEST_PANICKED", start);
    cluster.wait_for_boot(1, Some(&boot_id));
    assert!(last_words(&cluster, 1).contains("watchdog pretimeout event"));
    rejoin(&cluster, 1);
}
