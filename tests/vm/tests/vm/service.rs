//! Holdfast as a service of a distribution with systemd: from the package to members that come and go with their machines.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use harness::{Cib, bin_dir};
use vm::{Cluster, Options, Root, Watchdog};

use crate::boot;
use crate::failfast::assert_why;

/// A resource that is a file.
const AGENT: &str = "#!/bin/sh
case $1 in
    start) : >/run/precious ;;
    stop) rm -f /run/precious ;;
    monitor) [ -e /run/precious ] || exit 7 ;;
    meta-data) echo '<resource-agent name=\"precious\"/>' ;;
    *) exit 3 ;;
esac
";

/// The package that `cargo xtask deb` has made of the programs under test.
fn package() -> PathBuf {
    let remedy = "run cargo xtask deb";
    let bin = bin_dir().unwrap();
    let dir = bin.join("../debian");
    let entries = fs::read_dir(&dir).unwrap_or_else(|e| panic!("{}: {e}; {remedy}", dir.display()));
    let found = entries.flatten().map(|e| e.path()).find(|p| p.extension().is_some_and(|e| e == "deb"));
    let package = found.unwrap_or_else(|| panic!("no package in {}; {remedy}", dir.display()));
    let made = |path: &Path| fs::metadata(path).and_then(|m| m.modified()).unwrap();
    for program in ["cmmd", "rgmd", "holdfast-guardian", "holdfast"] {
        assert!(made(&package) >= made(&bin.join(program)), "{program} is newer than its package; {remedy}");
    }
    package
}

/// The same package with an earlier version's number.
fn earlier(package: &Path, dir: &Path) -> PathBuf {
    let (tree, out) = (dir.join("tree"), dir.join("earlier.deb"));
    let run = |command: &mut Command| assert!(command.status().unwrap().success(), "{command:?}");
    run(Command::new("dpkg-deb").arg("-R").arg(package).arg(&tree));
    let control = fs::read_to_string(tree.join("DEBIAN/control")).unwrap();
    let line = |l: &str| if l.starts_with("Version:") { "Version: 0.0.1-1".to_owned() } else { l.to_owned() };
    let control: Vec<_> = control.lines().map(line).collect();
    fs::write(tree.join("DEBIAN/control"), control.join("\n") + "\n").unwrap();
    run(Command::new("dpkg-deb")
        .args(["--root-owner-group", "-Zgzip", "-z1", "-b"])
        .arg(&tree)
        .arg(&out)
        .stdout(fs::File::create("/dev/null").unwrap()));
    fs::remove_dir_all(tree).unwrap();
    out
}

/// What the journal of this boot has on some units, oldest first.
fn journal(cluster: &Cluster, node: u32, rest: &str) -> String {
    cluster.sh(node, &format!("journalctl --boot --no-pager --quiet -o cat {rest}"))
}

fn wait_for_journal(cluster: &Cluster, node: u32, unit: &str, text: &str, count: usize) {
    cluster.wait_for(&format!("n{node} says {count} times: {text}"), || {
        (journal(cluster, node, &format!("-u {unit}")).matches(text).count() >= count).then_some(())
    });
}

fn is_active(cluster: &Cluster, node: u32, unit: &str) -> bool {
    cluster.run(node, &format!("systemctl --quiet is-active {unit}")).is_ok_and(|a| a.status == 0)
}

fn show(cluster: &Cluster, node: u32, unit: &str, property: &str) -> String {
    cluster.sh(node, &format!("systemctl show --value -p {property} {unit}")).trim().to_owned()
}

/// Waits until a machine has come up as far as it goes.
fn wait_until_up(cluster: &Cluster, node: u32, earlier: &str) {
    cluster.wait_for_boot(node, Some(earlier));
    cluster.wait_for(&format!("n{node} is up"), || {
        let state = cluster.run(node, "systemctl is-system-running").ok()?.stdout;
        (!state.contains("starting") && !state.contains("initializing")).then_some(())
    });
    assert_eq!(cluster.sh(node, "systemctl --failed --no-legend --plain"), "", "n{node}");
}

/// Nothing in the journal of this boot asks an operator to look; but the first of two machines that boot together may have said that
/// it waits for the other, and that it hears nothing of it: an emulated machine stands still for a second now and then while it boots.
/// The operator's log calls a node lost that left in order, too, as it always did.
fn assert_clean(cluster: &Cluster, node: u32) {
    let said = journal(cluster, node, "-p warning -u cmmd -u rgmd -u holdfast.target");
    let expected = [
        "waiting for quorum. This node waits for all nodes",
        "has no active links",
        "Node n1 is lost",
        "Node n2 is lost",
    ];
    let strange: Vec<_> = said.lines().filter(|l| !expected.iter().any(|e| l.contains(e))).collect();
    assert!(strange.is_empty(), "n{node}: {strange:?}");
}

/// The texts stand in the journal in this order. All of them are from one process: only then the journal keeps it.
fn assert_order(cluster: &Cluster, node: u32, which: &str, texts: &[&str]) {
    let journal = cluster.sh(node, &format!("journalctl --no-pager --quiet -o cat {which}"));
    let mut rest = journal.as_str();
    for text in texts {
        let at = rest.find(text);
        rest = &rest[at.unwrap_or_else(|| panic!("{text:?} is missing, or too early, in\n{journal}"))..];
    }
}

/// In that boot of n2 resources stopped before `rgmd`, and `rgmd` before `cmmd` left.
fn assert_left_in_order(cluster: &Cluster, boot: &str) {
    let stopped = ["Shutting down", "Result of stop operation for precious on n2: ok", "Shutdown complete"];
    assert_order(cluster, 2, &format!("--boot={boot} -u rgmd"), &stopped);
    let left = ["unit \"rgmd\" disarmed", "Node was shut down by a signal", "exiting normally"];
    assert_order(cluster, 2, &format!("--boot={boot} -u cmmd"), &left);
}

/// The unit gives an orderly stop 30 s. A `cmmd` that hangs does not get that far: its guardian sees that it makes no progress. Where that
/// was told to be patient, systemd kills `cmmd` when the time is over, and the guardian answers to that. Either way a stop ends, and the
/// node with it: what hangs may be what protects the node's resources.
#[test]
fn a_stop_of_a_daemon_that_hangs_ends_with_the_node_down_and_the_reason_known() {
    if vm::skip() {
        return;
    }
    let options = Options {
        nodes: 1,
        root: Root::Systemd,
        memory_mib: 512,
        modules: &["autofs4"],
        failfast: " mode: panic\n watchdog_device: off\n",
        ..Options::default()
    };
    let cluster = boot("hung-stop", options);
    for program in ["cmmd", "holdfast-guardian", "holdfast"] {
        fs::copy(bin_dir().unwrap().join(program), cluster.share(1).join(program)).unwrap();
    }
    let service = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../userland/packaging/systemd/cmmd.service");
    fs::copy(service, cluster.share(1).join("cmmd.service")).unwrap();
    cluster.sh(
        1,
        "systemctl --quiet disable --now corosync dlm 2>&1
        cp /vm/cmmd /vm/holdfast-guardian /vm/holdfast /usr/sbin/ && chmod 755 /usr/sbin/cmmd /usr/sbin/holdfast*
        mkdir -p /etc/holdfast && cp /root/holdfast.conf /root/authkey /etc/holdfast/
        cp /vm/cmmd.service /etc/systemd/system/
        systemctl daemon-reload && cmmd -t && systemctl --quiet enable --now cmmd 2>&1",
    );
    assert_eq!(show(&cluster, 1, "cmmd", "TimeoutStopUSec"), "30s");
    for (settings, reason, soonest) in [
        ("", "Failfast: Aborting because \"cmmd\" made no progress", Duration::ZERO),
        ("guardian_limit: 300000", "Failfast: Aborting because \"cmmd\" died", Duration::from_secs(30)),
    ] {
        let change = format!("sed -i 's/mode: panic/mode: panic\\n{settings}/' /etc/holdfast/holdfast.conf");
        // A panic takes what is not on the disk yet.
        cluster.sh(1, &format!("{change} && cmmd -t && systemctl restart cmmd && sync"));
        wait_for_journal(&cluster, 1, "cmmd", "will provide service", 1);
        let boot_id = cluster.boot(1).unwrap();
        // Not one turn more of any of its threads; a signal that ends it still does. In a cgroup below that of the unit, which systemd
        // lets go on when it stops the unit, as it does with processes that SIGSTOP has stopped.
        cluster.sh(
            1,
            "cd /sys/fs/cgroup/system.slice/cmmd.service && mkdir hung && pidof cmmd >hung/cgroup.procs && echo 1 >hung/cgroup.freeze",
        );
        let start = Instant::now();
        let _ = cluster.run(1, "systemctl stop --no-block cmmd"); // it may be gone before it answers
        let panicked = cluster.wait_for_event(1, "GUEST_PANICKED", start);
        assert!(panicked.at.duration_since(start) >= soonest, "systemd did not wait");
        wait_until_up(&cluster, 1, &boot_id);
        assert!(cluster.console(1).contains(reason), "{}", cluster.console(1));
        cluster.wait_for("cmmd runs again", || is_active(&cluster, 1, "cmmd").then_some(()));
        assert_why(&cluster, 1, "guardian", &[reason]);
    }
}

#[test]
fn from_the_package_to_members_that_come_and_go_with_their_machines() {
    if vm::skip() {
        return;
    }
    let package = package();
    let cib = Cib::new().primitive("precious", "ocf:test:precious", &[]).prefers("precious", "n2", "100");
    let options = Options {
        root: Root::Systemd,
        memory_mib: 512,
        watchdog: Watchdog::I6300esb,
        modules: &["pretimeout_panic", "configfs", "dlm", "autofs4"],
        failfast: " mode: panic\n watchdog_device: /dev/watchdog0\n",
        quorum: " two_node: 1\n",
        ..Options::default()
    };
    let cluster = boot("service", options);
    let began = Instant::now();
    let all = cluster.all();
    for node in &all {
        fs::copy(&package, cluster.share(*node).join("holdfast.deb")).unwrap();
        fs::write(cluster.share(*node).join("cib.xml"), cib.xml(2)).unwrap();
        fs::write(cluster.share(*node).join("precious"), AGENT).unwrap();
    }
    fs::rename(earlier(&package, &cluster.share(2)), cluster.share(2).join("earlier.deb")).unwrap();

    // The distribution's corosync runs, with the configuration that comes with it. Installing changes nothing about that.
    cluster.wait_for("corosync runs on n1", || is_active(&cluster, 1, "corosync").then_some(()));
    for (node, file) in [(1, "holdfast.deb"), (2, "earlier.deb")] {
        let said = cluster.sh(node, &format!("dpkg -i /vm/{file} 2>&1"));
        assert!(said.contains("nothing was started"), "{said}");
        let state = cluster.run(node, "systemctl is-enabled cmmd rgmd holdfast.target").unwrap().stdout;
        assert_eq!(state, "disabled\ndisabled\ndisabled\n", "n{node}");
        assert!(!is_active(&cluster, node, "cmmd") && !is_active(&cluster, node, "rgmd"));
    }
    assert!(is_active(&cluster, 1, "corosync"));
    assert_eq!(show(&cluster, 1, "corosync", "Id"), "corosync.service");
    cluster.sh(1, "cmmd -t -c /usr/share/doc/holdfast/examples/holdfast.conf && holdfast man | grep -q qdisk && [ -e /usr/share/man/man8/holdfast.8.gz ]");

    // As the package says: write the configuration, check it, enable it. From the next boot on the machines are members.
    let boots: Vec<_> = all.iter().map(|n| cluster.boot(*n).unwrap()).collect();
    for node in &all {
        cluster.sh(
            *node,
            "systemctl --quiet disable --now corosync dlm 2>&1
            cp /root/holdfast.conf /root/authkey /vm/cib.xml /etc/holdfast/
            mkdir -p /usr/lib/ocf/resource.d/test
            cp /vm/precious /usr/lib/ocf/resource.d/test/ && chmod 755 /usr/lib/ocf/resource.d/test/precious
            sed -i 's|^RGMD_OPTIONS=.*|RGMD_OPTIONS=\"--cib /etc/holdfast/cib.xml --failfast-delay 60000\"|' /etc/default/holdfast
            cmmd -t && systemctl --quiet enable holdfast.target dlm 2>&1",
        );
        assert_eq!(
            show(&cluster, *node, "corosync", "Id"),
            "cmmd.service",
            "what asks for corosync gets cmmd"
        );
        cluster.sh(*node, "systemctl reboot");
    }
    for (node, earlier) in all.iter().zip(&boots) {
        wait_until_up(&cluster, *node, earlier);
    }
    cluster.wait_for_members(&all, &all);
    cluster.wait_for_quorum(&all, true);
    for node in &all {
        for unit in ["cmmd", "rgmd", "holdfast.target", "dlm"] {
            assert!(is_active(&cluster, *node, unit), "{unit} of n{node}");
        }
        assert_clean(&cluster, *node);
        let modprobe = show(&cluster, *node, "cmmd", "ExecStartPre");
        assert!(modprobe.contains("pretimeout_panic") && modprobe.contains("status=0"), "{modprobe}");
        // The guardian is where systemd does not kill; both are spared when memory runs out; the loop is a realtime thread.
        let of =
            |program: &str, file: &str| cluster.sh(*node, &format!("cat /proc/$(pidof {program})/{file}"));
        assert_eq!(of("cmmd", "cgroup"), "0::/system.slice/cmmd.service\n");
        assert!(of("holdfast-guardian", "cgroup").starts_with("0::/system.slice/holdfast-guardian-"));
        for program in ["cmmd", "holdfast-guardian"] {
            assert_eq!(of(program, "oom_score_adj"), "-1000\n", "{program}");
        }
        let policy = |stat: String| stat.rsplit(") ").next().unwrap().split(' ').nth(38).unwrap().to_owned();
        assert_eq!(policy(of("cmmd", "stat")), "2", "SCHED_RR");
        // Members of the group may ask, others may not.
        let ask = |group: &str| {
            cluster.run(
                *node,
                &format!("setpriv --reuid=nobody --regid={group} --clear-groups corosync-quorumtool -s"),
            )
        };
        assert!(ask("holdfast").unwrap().stdout.contains("Quorate:          Yes"), "{:?}", ask("holdfast"));
        assert!(!ask("nogroup").unwrap().stdout.contains("Quorate:"), "{:?}", ask("nogroup"));
    }
    let runs = |node| cluster.run(node, "[ -e /run/precious ]").is_ok_and(|a| a.status == 0);
    cluster.wait_for("the resource runs where it is preferred", || runs(2).then_some(()));

    // An upgrade touches nothing that runs, and says what is left to do.
    let pids = cluster.sh(2, "pidof cmmd rgmd holdfast-guardian");
    let said = cluster.sh(2, "dpkg -i /vm/holdfast.deb 2>&1");
    assert!(said.contains("systemctl restart holdfast.target"), "{said}");
    assert_eq!(cluster.sh(2, "pidof cmmd rgmd holdfast-guardian"), pids);
    assert_eq!(
        cluster.sh(2, "systemctl is-enabled cmmd rgmd holdfast.target"),
        "enabled\nenabled\nenabled\n"
    );

    // A restart of the resource manager is none of the node.
    let (daemon, before) = (cluster.sh(2, "pidof cmmd"), journal(&cluster, 1, "-u cmmd").len());
    cluster.sh(2, "systemctl restart rgmd");
    assert!(is_active(&cluster, 2, "rgmd"));
    wait_for_journal(&cluster, 2, "cmmd", "unit \"rgmd\" armed", 2);
    cluster.wait_for("the resource runs there again", || runs(2).then_some(()));
    assert_eq!(cluster.sh(2, "pidof cmmd"), daemon);
    assert!(!journal(&cluster, 1, "-u cmmd")[before..].contains("is gone (leave)"));

    // One that is killed is started again by systemd; within the delay of its unit that is no reason to go down, and what it managed runs on.
    cluster.sh(2, "kill -9 $(pidof rgmd)");
    wait_for_journal(&cluster, 2, "cmmd", "unit \"rgmd\" armed", 3);
    cluster.wait_for("rgmd has joined again", || is_active(&cluster, 2, "rgmd").then_some(()));
    assert!(runs(2), "it was not stopped");
    assert_eq!(cluster.sh(2, "pidof cmmd"), daemon);

    // An orderly stop goes from the top down, and the survivor needs no detection.
    let start = Instant::now();
    cluster.sh(2, "systemctl stop cmmd");
    println!("n2: systemctl stop cmmd took {:.2} s", start.elapsed().as_secs_f64());
    for unit in ["cmmd", "rgmd", "dlm", "corosync"] {
        assert!(!is_active(&cluster, 2, unit), "{unit}");
    }
    assert_left_in_order(&cluster, "0");
    assert_eq!(
        cluster.sh(2, "cat /sys/class/watchdog/watchdog0/state; pidof holdfast-guardian || echo none"),
        "inactive\nnone\n"
    );
    assert_eq!(cluster.sh(2, "ls /sys/fs/cgroup/system.slice | grep -c holdfast-guardian || true"), "0\n");
    cluster.wait_for_members(&[1], &[1]);
    wait_for_journal(&cluster, 1, "cmmd", "Node 2 is gone (leave), forming new configuration.", 1);
    cluster.wait_for("the resource runs on n1", || runs(1).then_some(()));
    cluster.sh(2, "systemctl start holdfast.target dlm");
    cluster.wait_for_members(&all, &all);
    cluster.wait_for("the resource is back", || runs(2).then_some(()));

    // So does a reboot.
    let before = journal(&cluster, 1, "-u cmmd").len();
    let (start, boot_id) = (Instant::now(), cluster.boot(2).unwrap());
    cluster.sh(2, "systemctl reboot");
    cluster.wait_for_event(2, "RESET", start);
    println!("n2: systemctl reboot took {:.2} s to the reset", start.elapsed().as_secs_f64());
    wait_until_up(&cluster, 2, &boot_id);
    let taken_down = |e: &vm::Event| e.name == "GUEST_PANICKED" || e.name == "WATCHDOG";
    assert!(!cluster.events(2, start).iter().any(taken_down), "{:?}", cluster.events(2, start));
    assert_left_in_order(&cluster, "-1");
    assert_order(
        &cluster,
        2,
        "--boot=-1 _PID=1",
        &["Stopped rgmd.service", "Stopped cmmd.service", "Stopped target network.target"],
    );
    cluster.wait_for_members(&all, &all);
    wait_for_journal(&cluster, 1, "cmmd", "Node 2 is gone (leave), forming new configuration.", 2);
    let survivor = &journal(&cluster, 1, "-u cmmd")[before..];
    let gone = survivor.lines().find(|l| l.contains("is gone (leave)") || l.contains("A processor failed"));
    assert!(gone.is_some_and(|l| l.contains("(leave)")), "{survivor}");
    assert_clean(&cluster, 2);

    // What systemd kills is cmmd, and the guardian answers. The machine comes back by itself.
    cluster.wait_for("the resource is back", || runs(2).then_some(()));
    let (start, boot_id) = (Instant::now(), cluster.boot(2).unwrap());
    let _ = cluster.run(2, "systemctl kill --kill-whom=all --signal=KILL cmmd"); // it may be gone before it answers
    cluster.wait_for_event(2, "GUEST_PANICKED", start);
    wait_for_journal(&cluster, 1, "cmmd", "Node 2 goes down: cmmd died or made no progress", 1);
    wait_until_up(&cluster, 2, &boot_id);
    let reason = "Failfast: Aborting because \"cmmd\" died 0 seconds ago.";
    assert!(cluster.console(2).contains(reason), "{}", cluster.console(2));
    // systemd keeps the kernel's last words where there is room.
    cluster.sh(2, "grep -rqF 'Failfast: Aborting because \"cmmd\" died' /var/lib/systemd/pstore");
    cluster.wait_for_members(&all, &all);
    cluster.wait_for_quorum(&all, true);
    cluster.wait_for("the resource is back", || runs(2).then_some(()));

    // Removed, the node leaves in order, and corosync is corosync again; configuration and state go when it is purged.
    let said = cluster.sh(1, "dpkg -r holdfast 2>&1");
    assert!(said.contains("Removing holdfast"), "{said}");
    cluster.wait_for_members(&[2], &[2]);
    wait_for_journal(&cluster, 2, "cmmd", "Node 1 is gone (leave), forming new configuration.", 1);
    assert_eq!(show(&cluster, 1, "corosync", "FragmentPath"), "/lib/systemd/system/corosync.service");
    assert_eq!(
        cluster.sh(
            1,
            "cat /sys/class/watchdog/watchdog0/state; ls /etc/holdfast/authkey /var/lib/holdfast/cib.xml"
        ),
        "inactive\n/etc/holdfast/authkey\n/var/lib/holdfast/cib.xml\n"
    );
    cluster.sh(1, "systemctl start corosync && corosync-quorumtool -s >/dev/null");
    cluster.sh(1, "dpkg -P holdfast 2>&1");
    assert_eq!(
        cluster.sh(
            1,
            "ls -d /etc/holdfast /var/lib/holdfast /etc/systemd/system/*/*md.service 2>/dev/null || true"
        ),
        ""
    );
    assert!(is_active(&cluster, 1, "corosync"));
    println!("from two booted machines to the end: {:.0} s", began.elapsed().as_secs_f64());
}
