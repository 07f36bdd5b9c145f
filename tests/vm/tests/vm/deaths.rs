//! Whatever ends a node, the survivors have their configuration, and the node comes back by itself: its daemons start when it boots.

use std::time::{Duration, Instant};

use harness::Cib;
use vm::{Cluster, Options};

use crate::failfast::{assert_reason_is_kept, assert_seen, assert_why};
use crate::{boot, stays};

/// What a service manager would do.
pub(crate) const AT_BOOT: &str = "#!/bin/sh
setsid cmmd -f >>/vm/cmmd.log 2>&1 </dev/null &
setsid rgmd -f --cib /etc/holdfast/cib.xml --failfast-delay 5000 >>/vm/rgmd.log 2>&1 </dev/null &
";
pub(crate) const RGMD_DIED: &str = "Failfast: Aborting because \"rgmd\" died 5 seconds ago.";
pub(crate) const CMMD_DIED: &str = "Failfast: Aborting because \"cmmd\" died 0 seconds ago.";

/// How often the resource manager of a node has armed itself.
fn armed(cluster: &Cluster, node: u32) -> usize {
    cluster.log(node, "rgmd").matches("Failfast armed").count()
}

/// Runs `test` on a node that is a member with its resource manager armed, and waits until the node is that again, in another
/// boot and with no help but, where it is off then, the power button.
pub(crate) fn comes_back(cluster: &Cluster, node: u32, test: impl FnOnce()) {
    let (before, earlier) = (armed(cluster, node), cluster.boot(node));
    test();
    if !cluster.is_on(node) {
        cluster.power_on(node).unwrap();
        cluster.wait_for_boot(node, None);
    } else {
        cluster.wait_for_boot(node, earlier.as_deref());
    }
    let all = cluster.all();
    cluster.wait_for_members(&all, &all);
    cluster.wait_for("it is protected again", || (armed(cluster, node) > before).then_some(()));
}

#[test]
fn whatever_ends_a_node_the_survivors_go_on_and_it_rejoins_by_itself() {
    if vm::skip() {
        return;
    }
    let files = vec![("etc/holdfast/cib.xml", Cib::new().xml(3))];
    let cluster = boot("deaths", Options { nodes: 3, at_boot: AT_BOOT, files, ..Options::default() });
    let all = cluster.all();
    cluster.wait_for_members(&all, &all);
    cluster.wait_for_quorum(&all, true);
    for node in &all {
        cluster.wait_for_log(*node, "rgmd", "Failfast armed");
    }

    comes_back(&cluster, 3, || {
        let fault = cluster.strike("kill -9 rgmd, delay 5 s", 3, |c| c.order(3, "kill -9 $(pidof rgmd)"));
        let panic = cluster.wait_for_event(3, "GUEST_PANICKED", fault.began);
        assert!(panic.at.duration_since(fault.began) >= Duration::from_secs(5), "sooner than its delay");
        assert!(cluster.console(3).contains(RGMD_DIED), "{}", cluster.console(3));
        let reset = cluster.wait_for_event(3, "RESET", fault.began);
        assert!(fault.told && fault.configured < reset.at, "the survivors knew only after its reboot");
        cluster.wait_for_log(1, "cmmd", &format!("Node 3 goes down: {RGMD_DIED}"));
    });
    assert_reason_is_kept(&cluster, 3, RGMD_DIED);
    assert_why(&cluster, 3, "failfast", &["unit \"rgmd\" was dead", RGMD_DIED, "kernel (pstore)"]);
    assert_seen(&cluster, 1, 3, "failfast", &["unit \"rgmd\"", RGMD_DIED]);

    comes_back(&cluster, 3, || {
        let fault = cluster.strike("kill -9 cmmd", 3, |c| c.order(3, "kill -9 $(pidof cmmd)"));
        let reset = cluster.wait_for_event(3, "RESET", fault.began);
        assert!(fault.told && fault.configured < reset.at, "the survivors knew only after its reboot");
    });
    assert_reason_is_kept(&cluster, 3, CMMD_DIED);
    assert_why(&cluster, 3, "guardian", &["cmmd was dead", CMMD_DIED]);
    assert_seen(&cluster, 1, 3, "guardian", &["cmmd was dead"]);

    // What gives nobody a chance to say a word is found out.
    comes_back(&cluster, 3, || {
        let crash = "echo c >/proc/sysrq-trigger";
        let fault = cluster.strike("echo c >/proc/sysrq-trigger", 3, |c| c.order(3, crash));
        cluster.wait_for_event(3, "GUEST_PANICKED", fault.began);
        assert!(!fault.told);
    });
    assert_why(&cluster, 3, "crash-by-hand", &["somebody told the kernel to", "sysrq"]);
    assert_seen(&cluster, 1, 3, "silent", &["fell silent"]);
    comes_back(&cluster, 3, || {
        let fault = cluster.strike("poweroff -nf", 3, |c| c.order(3, "poweroff -nf"));
        cluster.wait_for_event(3, "SHUTDOWN", fault.began);
        cluster.wait_for("it is off", || (!cluster.is_on(3)).then_some(()));
    });
    comes_back(&cluster, 3, || {
        cluster.strike("reboot -nf", 3, |c| c.order(3, "reboot -nf"));
    });
    assert_why(&cluster, 3, "power", &["without a word"]);
    comes_back(&cluster, 3, || {
        cluster.strike("the power is taken (QEMU killed)", 3, |c| c.power_off(3));
    });
    assert_why(&cluster, 3, "power", &["lost its power, or was reset", "the time is"]);
    assert_seen(&cluster, 2, 3, "silent", &["fell silent"]);
    comes_back(&cluster, 3, || {
        cluster.strike("the reset button", 3, |c| c.reset(3));
    });

    // In order: resources first, then the daemon leaves, and nobody has to find anything out.
    comes_back(&cluster, 3, || {
        cluster.sh(3, "kill $(pidof rgmd); while pidof rgmd >/dev/null; do sleep 0.1; done");
        let fault = cluster.strike("cmmd is stopped in order", 3, |c| c.order(3, "kill $(pidof cmmd)"));
        assert!(fault.told, "a leave is news");
        cluster.wait_for_log(3, "cmmd", "Holdfast cmmd exiting normally");
        cluster.reset(3);
    });
    assert_seen(&cluster, 1, 3, "in-order", &[]);

    // Where the kernel stays as it is after a panic, so does the node, and the survivors say so.
    cluster.sh(3, "echo 0 >/proc/sys/kernel/panic");
    let told = cluster.log(1, "cmmd").matches(RGMD_DIED).count();
    let fault =
        cluster.strike("kill -9 rgmd, delay 5 s, panic=0", 3, |c| c.order(3, "kill -9 $(pidof rgmd)"));
    cluster.wait_for_event(3, "GUEST_PANICKED", fault.began);
    cluster.wait_for("n1 says why", || {
        (cluster.log(1, "cmmd").matches(RGMD_DIED).count() == told + 1).then_some(())
    });
    stays("n3 stays down", Duration::from_secs(5), || {
        cluster.events(3, fault.began).iter().all(|e| e.name != "RESET" && e.name != "SHUTDOWN")
    });
    cluster.wait_for_members(&[1, 2], &[1, 2]);
    for node in [1, 2] {
        let status = cluster.sh(node, "holdfast status");
        let line = status.lines().find(|l| l.contains("n3"));
        assert!(line.is_some_and(|l| l.contains("offline") || l.contains("OFFLINE")), "{status}");
    }
    let since = Instant::now();
    comes_back(&cluster, 3, || cluster.reset(3));
    cluster.wait_for_event(3, "RESET", since);
    assert_reason_is_kept(&cluster, 3, RGMD_DIED);
}
