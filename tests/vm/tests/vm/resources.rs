//! Resources on nodes that go down for real: they start elsewhere when the node is known to be dead, and not before.

use std::time::{Duration, Instant};

use harness::Cib;
use vm::{Cluster, Options};

use crate::failfast::{TWO, assert_reason_is_kept};
use crate::{boot, stays};

/// A resource that is a file, and a log on the host of what was done to it.
pub(crate) const AGENT: &str = "#!/bin/sh
case $1 in
    start) : >/run/precious ;;
    stop) rm -f /run/precious ;;
    monitor) if [ -e /run/precious ]; then exit 0; else exit 7; fi ;;
    meta-data) echo '<resource-agent name=\"precious\"/>'; exit 0 ;;
    *) exit 3 ;;
esac
echo $1 >>/vm/agent.log
";

pub(crate) fn runs_on(cluster: &Cluster, node: u32) -> bool {
    cluster.run(node, "[ -e /run/precious ]").is_ok_and(|a| a.status == 0)
}

#[test]
fn a_killed_resource_manager_panics_its_node_and_what_ran_there_starts_elsewhere_when_it_has_booted_anew() {
    if vm::skip() {
        return;
    }
    // No fence device: a new boot is all that confirms the death.
    let cib = Cib::new().primitive("precious", "ocf:test:precious", &[]).prefers("precious", "n2", "100");
    let files = vec![
        ("usr/lib/ocf/resource.d/test/precious", AGENT.to_owned()),
        ("etc/holdfast/cib.xml", cib.xml(2)),
    ];
    let failfast = " mode: panic\n watchdog_device: off\n";
    let cluster = boot("rgmd", Options { failfast, quorum: TWO, panic: 0, files, ..Options::default() });
    cluster.start_all();
    for node in cluster.all() {
        cluster.start(node, "rgmd", "-f --cib /etc/holdfast/cib.xml");
    }
    cluster.wait_for("the resource runs where it is preferred", || runs_on(&cluster, 2).then_some(()));
    cluster.wait_for_log(2, "rgmd", "Failfast armed");
    let boot_id = cluster.boot(2).unwrap();

    let start = Instant::now();
    cluster.sh(2, "kill -9 $(pidof rgmd)");
    cluster.wait_for_event(2, "GUEST_PANICKED", start);
    let reason = "Failfast: Aborting because \"rgmd\" died 1 seconds ago.";
    assert!(cluster.console(2).contains(reason), "{}", cluster.console(2));
    cluster.wait_for_log(1, "cmmd", &format!("Node 2 goes down: {reason}"));
    cluster.wait_for_members(&[1], &[1]);
    stays("nobody knows that n2 is dead", Duration::from_secs(4), || !runs_on(&cluster, 1));

    cluster.reset(2);
    cluster.wait_for_boot(2, Some(&boot_id));
    assert_reason_is_kept(&cluster, 2, reason);
    let status = cluster.run(2, "holdfast status").unwrap();
    assert!(status.stdout.contains(reason), "{status:?}");
    cluster.start_ring(2);
    cluster.wait_for("the resource runs on the survivor", || runs_on(&cluster, 1).then_some(()));
    assert_eq!(cluster.log(1, "agent").matches("start").count(), 1, "{}", cluster.log(1, "agent"));
    assert!(!runs_on(&cluster, 2));
}
