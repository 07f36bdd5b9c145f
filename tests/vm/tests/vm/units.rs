//! A unit that is a service of systemd: its restarts are systemd's, what they are worth is failfast's.

use std::fs;
use std::path::Path;
use std::time::Instant;

use harness::bin_dir;
use vm::{Cluster, Options, Root};

use crate::boot;

/// A service that never ends by itself.
const WEB: &str =
    "[Service]\nExecStartPre=/bin/sleep 1\nExecStart=/bin/sleep infinity\nRestart=always\nRestartSec=1\n";

/// The main process of the service.
fn main_pid(cluster: &Cluster) -> String {
    cluster.sh(1, "systemctl show --value -p MainPID web").trim().to_owned()
}

fn wait_for_journal(cluster: &Cluster, text: &str) {
    cluster.wait_for(&format!("cmmd says: {text}"), || {
        cluster.sh(1, "journalctl --boot --no-pager --quiet -o cat -u cmmd").contains(text).then_some(())
    });
}

#[test]
fn a_service_that_systemd_restarts_is_followed_until_that_was_too_often() {
    if vm::skip() {
        return;
    }
    let failfast = " mode: panic\n watchdog_device: off\n unit {\n name: web\n systemd: web.service\n delay: 20000\n on_failure: restart\n restarts: 1\n window: 3600000\n }\n";
    let options = Options { nodes: 1, root: Root::Systemd, memory_mib: 512, failfast, ..Options::default() };
    let cluster = boot("units", options);
    for program in ["cmmd", "holdfast-guardian", "holdfast"] {
        fs::copy(bin_dir().unwrap().join(program), cluster.share(1).join(program)).unwrap();
    }
    // Under the very restrictions that it is installed with.
    let service = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../userland/packaging/systemd/cmmd.service");
    fs::copy(service, cluster.share(1).join("cmmd.service")).unwrap();
    fs::write(cluster.share(1).join("web.service"), WEB).unwrap();
    cluster.sh(
        1,
        "systemctl --quiet disable --now corosync dlm 2>&1
        cp /vm/cmmd /vm/holdfast-guardian /vm/holdfast /usr/sbin/ && chmod 755 /usr/sbin/cmmd /usr/sbin/holdfast*
        mkdir -p /etc/holdfast && cp /root/holdfast.conf /root/authkey /etc/holdfast/
        cp /vm/cmmd.service /vm/web.service /etc/systemd/system/
        systemctl daemon-reload && systemctl start cmmd web",
    );
    let first = main_pid(&cluster);
    wait_for_journal(&cluster, &format!("unit \"web\" armed by pid {first}"));
    cluster.sh(1, &format!("kill -9 {first}"));
    wait_for_journal(&cluster, "unit \"web\" armed again by pid ");
    let second = main_pid(&cluster);
    assert_ne!(first, second);
    wait_for_journal(&cluster, &format!("unit \"web\" armed again by pid {second}"));
    let status = cluster.sh(1, "holdfast failfast status --json");
    assert!(
        status.contains("\"restarted\": 1") && status.contains(&format!("\"pid\": {second}")),
        "{status}"
    );

    let start = Instant::now();
    cluster.sh(1, &format!("kill -9 {second}"));
    wait_for_journal(&cluster, "unit \"web\" was restarted 1 times in 3600000 ms");
    cluster.wait_for("systemd has restarted it again", || {
        let pid = main_pid(&cluster);
        (pid != "0" && pid != second).then_some(())
    });
    cluster.wait_for_event(1, "GUEST_PANICKED", start);
    let reason = "Failfast: Aborting because \"web\" died 20 seconds ago.";
    assert!(cluster.console(1).contains(reason), "{}", cluster.console(1));
}
