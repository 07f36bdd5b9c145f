//! A node whose critical process is dead or hangs takes its kernel down, and says why: on its console, in the kernel's last
//! words (pstore), in the black box, and to the survivors.

use std::time::{Duration, Instant};

use failfast::black_box::{self, Class};
use serde_json::Value;
use vm::{Cluster, Options, Watchdog};

use crate::{boot, stays};

/// Both halves of two are quorate: a survivor goes on alone.
pub(crate) const TWO: &str = " two_node: 1\n wait_for_all: 0\n";

/// Starts a process that `failfast` watches as `pmfd` on a node.
pub(crate) fn start_unit(cluster: &Cluster, node: u32) {
    let armed = || cluster.log(node, "cmmd").matches("unit \"pmfd\" armed").count();
    let before = armed();
    cluster.sh(node, "setsid sleep 100000 >/dev/null 2>&1 & echo $! >/run/pmfd.pid");
    cluster.wait_for("the unit is armed", || (armed() > before).then_some(()));
}

/// The last reason for its death in a node's black box.
pub(crate) fn last_death(cluster: &Cluster, node: u32) -> String {
    cluster.sh(node, "cp /var/lib/holdfast/blackbox /vm/");
    let records = black_box::read(&cluster.share(node).join("blackbox")).unwrap();
    let death = records.iter().rev().find(|r| r.class == Class::Death);
    death.unwrap_or_else(|| panic!("no death in {records:?}")).text.as_str().to_owned()
}

/// What is left of a machine that has gone down and come up again: the reason in the black box and in pstore.
pub(crate) fn assert_reason_is_kept(cluster: &Cluster, node: u32, reason: &str) {
    assert!(last_death(cluster, node).contains(reason), "{}", last_death(cluster, node));
    let last_words = last_words(cluster, node);
    assert!(last_words.contains(reason), "{reason:?} is missing in\n{last_words}");
}

/// What `holdfast why-down` says of the last end of this node, asked on itself: it is up again, `cmmd` may not be.
#[track_caller]
pub(crate) fn assert_why(cluster: &Cluster, node: u32, cause: &str, words: &[&str]) -> Value {
    let ends = why_down(cluster, node, "");
    let last = ends.iter().find(|end| end["cause"] != "running");
    assert_end(last.unwrap_or_else(|| panic!("no end in {ends:#?}")), cause, words)
}

/// The same, of an end for which the node needs the word of the others, who say it when it is back.
#[track_caller]
pub(crate) fn assert_told(cluster: &Cluster, node: u32, cause: &str, words: &[&str]) -> Value {
    cluster.wait_for(&format!("n{node} is told of {cause}"), || {
        let ends = why_down(cluster, node, "");
        ends.iter().find(|end| end["cause"] != "running").filter(|end| end["cause"] == cause).map(|_| ())
    });
    assert_why(cluster, node, cause, words)
}

/// The same, asked on another node.
#[track_caller]
pub(crate) fn assert_seen(cluster: &Cluster, asked: u32, node: u32, cause: &str, words: &[&str]) -> Value {
    let ends = why_down(cluster, asked, &format!("n{node} --all"));
    let last = ends.iter().find(|end| end["cause"] != "running");
    assert_end(last.unwrap_or_else(|| panic!("no end in {ends:#?}")), cause, words)
}

#[track_caller]
fn assert_end(end: &Value, cause: &str, words: &[&str]) -> Value {
    assert_eq!(end["cause"], cause, "{end:#}");
    let text = format!("{} {} {}", end["summary"], end["reason"], end["witnesses"]).replace("\\\"", "\"");
    for word in words {
        assert!(text.contains(word), "{word:?} is missing in {end:#}");
    }
    end.clone()
}

fn why_down(cluster: &Cluster, node: u32, args: &str) -> Vec<Value> {
    let answer = cluster.run(node, &format!("holdfast why-down --json {args}")).unwrap();
    let json: Value = serde_json::from_str(&answer.stdout).unwrap_or_else(|e| panic!("{e}: {answer:?}"));
    json["ends"].as_array().unwrap_or_else(|| panic!("{json:#}")).clone()
}

/// What the kernel left in pstore.
pub(crate) fn last_words(cluster: &Cluster, node: u32) -> String {
    cluster.sh(node, "cat /sys/fs/pstore/dmesg-erst-*")
}

/// Starts the ring's daemon of a node that has just come up, and waits until all are together.
pub(crate) fn rejoin(cluster: &Cluster, node: u32) {
    cluster.start_ring(node);
    let all = cluster.all();
    cluster.wait_for_members(&all, &all);
}

#[test]
fn a_dead_unit_panics_the_kernel_after_its_delay_and_the_reason_is_everywhere() {
    if vm::skip() {
        return;
    }
    let failfast = " mode: panic\n watchdog_device: off\n unit {\n name: pmfd\n delay: 5000\n pidfile: /run/pmfd.pid\n }\n";
    let cluster = boot("unit", Options { failfast, quorum: TWO, panic: 0, ..Options::default() });
    cluster.start_all();
    start_unit(&cluster, 2);
    let boot_id = cluster.boot(2).unwrap();

    let start = Instant::now();
    cluster.sh(2, "kill -9 $(cat /run/pmfd.pid)");
    let panic = cluster.wait_for_event(2, "GUEST_PANICKED", start);
    assert!(panic.at.duration_since(start) >= Duration::from_secs(5), "sooner than its delay");
    let reason = "Failfast: Aborting because \"pmfd\" died 5 seconds ago.";
    assert!(cluster.console(2).contains(reason), "{}", cluster.console(2));
    cluster.wait_for_log(1, "cmmd", &format!("Node 2 goes down: {reason}"));
    cluster.wait_for_members(&[1], &[1]);
    // kernel.panic is 0: it stays as it is, for the operator to see.
    stays("n2 stays down", Duration::from_secs(3), || {
        cluster.events(2, start).iter().all(|e| e.name != "RESET" && e.name != "SHUTDOWN")
    });

    cluster.reset(2);
    cluster.wait_for_boot(2, Some(&boot_id));
    assert_reason_is_kept(&cluster, 2, reason);
    assert_why(&cluster, 2, "failfast", &["unit \"pmfd\" was dead", reason, "kernel (pstore)"]);
    assert_seen(&cluster, 1, 2, "failfast", &["unit \"pmfd\"", reason]);
    rejoin(&cluster, 2);
}

#[test]
fn a_killed_daemon_panics_the_kernel_and_the_machine_comes_back_by_itself() {
    if vm::skip() {
        return;
    }
    let failfast = " mode: panic\n watchdog_device: off\n";
    let cluster = boot("killed", Options { failfast, quorum: TWO, ..Options::default() });
    cluster.start_all();
    let boot_id = cluster.boot(2).unwrap();
    let start = Instant::now();
    // No answer may come: the machine may be gone before.
    let _ = cluster.run(2, "kill -9 $(pidof cmmd)");
    cluster.wait_for_event(2, "GUEST_PANICKED", start);
    let reason = "Failfast: Aborting because \"cmmd\" died 0 seconds ago.";
    cluster.wait_for_log(1, "cmmd", "Node 2 goes down: cmmd died or made no progress");
    cluster.wait_for_event(2, "RESET", start);
    cluster.wait_for_boot(2, Some(&boot_id));
    assert!(cluster.console(2).contains(reason), "{}", cluster.console(2));
    assert_reason_is_kept(&cluster, 2, reason);
    assert_why(&cluster, 2, "guardian", &["cmmd was dead", reason, "kernel (pstore)"]);
    assert_seen(&cluster, 1, 2, "guardian", &["cmmd was dead", "said so itself"]);
    rejoin(&cluster, 2);
}

#[test]
fn a_daemon_that_hangs_is_noticed_by_its_guardian() {
    if vm::skip() {
        return;
    }
    // The limit is that of the defaults: it has to be less than the time in which the watchdog would give notice.
    let failfast = " mode: panic\n watchdog_device: /dev/watchdog0\n";
    let (watchdog, modules) = (Watchdog::I6300esb, &["pretimeout_panic"]);
    let options = Options { failfast, quorum: TWO, watchdog, modules, ..Options::default() };
    let cluster = boot("stopped", options);
    cluster.start_all();
    cluster.wait_for_log(2, "cmmd", "The watchdog is fed: armed with the first quorum");
    let boot_id = cluster.boot(2).unwrap();
    let start = Instant::now();
    cluster.strike("kill -STOP cmmd", 2, |c| c.order(2, "kill -STOP $(pidof cmmd)"));
    let panic = cluster.wait_for_event(2, "GUEST_PANICKED", start);
    assert!(panic.at.duration_since(start) >= Duration::from_secs(5), "sooner than its limit");
    let reason = "Failfast: Aborting because \"cmmd\" made no progress for ";
    cluster.wait_for_boot(2, Some(&boot_id));
    assert!(cluster.console(2).contains(reason), "{}", cluster.console(2));
    assert_reason_is_kept(&cluster, 2, reason);
    assert_why(&cluster, 2, "guardian", &["made no progress", reason]);
    assert_seen(&cluster, 1, 2, "guardian", &[]);

    // A guardian that is killed or stands still is replaced, and nothing else happens; the new one does its work.
    rejoin(&cluster, 2);
    let guardians = || cluster.log(2, "cmmd").matches("The guardian watches this node").count();
    let memberships = || cluster.log(1, "cmmd").matches("A new membership").count();
    let before = memberships();
    for signal in ["KILL", "STOP"] {
        let replaced = guardians();
        cluster.sh(2, &format!("kill -{signal} $(pidof holdfast-guardian)"));
        cluster.wait_for("there is another guardian", || (guardians() > replaced).then_some(()));
    }
    cluster.wait_for_members(&[1, 2], &[1, 2]);
    assert_eq!(memberships(), before, "the ring has changed");
    let boot_id = cluster.boot(2).unwrap();
    let fault = cluster.strike("kill -9 guardian, then cmmd", 2, |c| c.order(2, "kill -9 $(pidof cmmd)"));
    assert!(fault.told, "by the guardian that came after");
    cluster.wait_for_boot(2, Some(&boot_id));
    assert_reason_is_kept(&cluster, 2, "Failfast: Aborting because \"cmmd\" died 0 seconds ago.");

    // Both at once: nobody says a word, and the watchdog ends it.
    cluster.sh(2, "rm /sys/fs/pstore/*");
    let fed = || cluster.log(2, "cmmd").matches("The watchdog is fed: armed with the first quorum").count();
    let armed = fed();
    rejoin(&cluster, 2);
    cluster.wait_for("the watchdog is armed", || (fed() > armed).then_some(()));
    let boot_id = cluster.boot(2).unwrap();
    let both = "kill -STOP $(pidof holdfast-guardian) && kill -9 $(pidof cmmd) $(pidof holdfast-guardian)";
    let fault = cluster.strike("kill -9 guardian and cmmd at once", 2, |c| c.order(2, both));
    assert!(!fault.told);
    cluster.wait_for_event(2, "GUEST_PANICKED", fault.began);
    cluster.wait_for_boot(2, Some(&boot_id));
    assert!(last_words(&cluster, 2).contains("watchdog pretimeout event"));
    rejoin(&cluster, 2);
}

#[test]
fn mode_reset_resets_at_once_mode_off_touches_nothing_and_the_reason_is_kept() {
    if vm::skip() {
        return;
    }
    let failfast = " mode: reset\n watchdog_device: off\n unit {\n name: pmfd\n pidfile: /run/pmfd.pid\n }\n";
    let cluster = boot("reset", Options { failfast, quorum: TWO, ..Options::default() });
    cluster.start_all();
    start_unit(&cluster, 2);
    let boot_id = cluster.boot(2).unwrap();
    let start = Instant::now();
    let _ = cluster.run(2, "kill -9 $(cat /run/pmfd.pid)");
    cluster.wait_for_event(2, "RESET", start);
    cluster.wait_for_boot(2, Some(&boot_id));
    let reason = "Failfast: Aborting because \"pmfd\" died 0 seconds ago.";
    assert!(cluster.events(2, start).iter().all(|e| e.name != "GUEST_PANICKED"), "a reset is no panic");
    assert!(cluster.console(2).contains(reason), "{}", cluster.console(2));
    cluster.wait_for_log(1, "cmmd", &format!("Node 2 goes down: {reason}"));
    assert_eq!(last_death(&cluster, 2), reason);
    assert_why(&cluster, 2, "failfast", &["unit \"pmfd\" was dead", reason]);
    assert_seen(&cluster, 1, 2, "failfast", &[reason]);

    // Mode off writes the reason down and touches nothing.
    cluster.sh(2, "sed -i 's/mode: reset/mode: off/' /etc/holdfast/holdfast.conf");
    rejoin(&cluster, 2);
    start_unit(&cluster, 2);
    let start = Instant::now();
    cluster.sh(2, "kill -9 $(cat /run/pmfd.pid)");
    cluster.wait_for_log(2, "cmmd", "Failfast timeout - unit \"pmfd\"");
    cluster.sh(2, "kill -9 $(pidof cmmd)");
    let reason = "Failfast: Aborting because \"cmmd\" died 0 seconds ago.";
    cluster.wait_for("the reason is in the black box", || (last_death(&cluster, 2) == reason).then_some(()));
    stays("n2 is left alone", Duration::from_secs(8), || {
        cluster.events(2, start).iter().all(|e| e.name != "RESET" && e.name != "GUEST_PANICKED")
    });
    rejoin(&cluster, 2);
}

/// The last stamp of `vm-writer` in an area of the shared disk.
fn last_stamp(cluster: &Cluster, area: usize) -> u64 {
    let disk = std::fs::read(cluster.shared_disk()).unwrap();
    let blocks = disk[area << 20..(area + 1) << 20].chunks(4_096);
    blocks.map(|b| u64::from_le_bytes(b[..8].try_into().unwrap())).max().unwrap()
}

#[test]
fn a_machine_that_was_frozen_for_longer_than_its_lease_wakes_up_expelled_and_what_asks_for_quorum_writes_nothing()
 {
    if vm::skip() {
        return;
    }
    let programs = vec![env!("CARGO_BIN_EXE_vm-writer").into()];
    let options = Options { nodes: 3, shared_disk_mib: 4, programs, ..Options::default() };
    let cluster = boot("frozen", options);
    cluster.start_all();
    cluster.start(3, "vm-writer", "/dev/vdb 3");
    cluster.wait_for("n3 writes", || (last_stamp(&cluster, 3) > 100).then_some(()));
    let before = cluster.log(3, "cmmd").len();
    cluster.strike("the whole machine stands still (SIGSTOP)", 3, |c| c.freeze(3));
    cluster.wait_for_members(&[1, 2], &[1, 2]);
    cluster.wait_for_quorum(&[1, 2], true);
    let last = last_stamp(&cluster, 3);
    cluster.thaw(3);
    cluster.wait_for_log(3, "vm-writer", "not quorate after");
    // The one write for which it had been allowed before may have been under way. Only a reservation or a fence device stops that
    // one: see data_disks.rs and bmc.rs.
    assert!(last_stamp(&cluster, 3) <= last + 1, "{last} before, {} after", last_stamp(&cluster, 3));
    let all = cluster.all();
    cluster.wait_for_members(&all, &all);
    cluster.wait_for_quorum(&all, true);
    assert!(last_stamp(&cluster, 3) <= last + 1);
    let log = cluster.log(3, "cmmd");
    let at = |what: &str| {
        log[before..].find(what).unwrap_or_else(|| panic!("{what:?} is missing in\n{}", &log[before..]))
    };
    let joined = at("A new membership");
    for first in ["Process pause detected", "will NOT provide any services"] {
        assert!(at(first) < joined, "{}", &log[before..]);
    }
}
