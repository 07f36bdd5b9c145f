//! The harness itself: namespaces, links, cuts, power, the witness, and that nothing is left behind.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use harness::{Cluster, FENCE_AGENT, FencePolicy, Options, Signal, address, skip};

fn bare(name: &str, nodes: u32) -> Cluster {
    let cluster = Cluster::bare(name, Options { nodes, links: 2, ..Options::default() }).unwrap();
    for node in cluster.all() {
        cluster.power_on(node).unwrap();
    }
    cluster
}

fn output(cluster: &Cluster, node: u32, script: &str) -> String {
    let out = cluster.exec(node, "sh", &["-c", script]).unwrap();
    assert!(out.status.success(), "{script}: {out:?}");
    String::from_utf8(out.stdout).unwrap()
}

/// Whether one node can talk to the other on a link: the other's kernel refuses the connection if it hears of it.
fn reaches(cluster: &Cluster, from: u32, to: u32, link: u8) -> bool {
    let script = format!("exec 3<>/dev/tcp/{}/9", address(to, link));
    let out = cluster.exec(from, "timeout", &["1", "bash", "-c", &script]).unwrap();
    String::from_utf8_lossy(&out.stderr).contains("Connection refused")
}

#[test]
fn nodes_are_machines_of_their_own() {
    if skip() {
        return;
    }
    let cluster = bare("machines", 2);
    let mut boots = Vec::new();
    for node in cluster.all() {
        assert_eq!(
            output(&cluster, node, "ls /dev"),
            "fd\nfull\nkmsg\nnull\nrandom\nshm\ntty\nurandom\nzero\n"
        );
        assert_eq!(output(&cluster, node, "hostname"), format!("n{node}\n"));
        output(&cluster, node, "touch /run/mine /dev/shm/mine /etc/corosync/mine /var/lib/holdfast/mine");
        output(&cluster, node, "test -s /etc/holdfast/authkey");
        // Harmless text: the reset trigger would obey only where the bind mount is missing, so look at that first.
        for file in ["/proc/sysrq-trigger", "/dev/kmsg"] {
            if !std::path::Path::new(file).exists() {
                continue;
            }
            output(
                &cluster,
                node,
                &format!("grep -q ' {file} ' /proc/self/mounts && echo harmless > {file}"),
            );
            let name = file.rsplit('/').next().unwrap();
            assert_eq!(fs::read(cluster.node_dir(node).join(name)).unwrap(), b"harmless\n", "{file}");
        }
        boots.push(output(&cluster, node, "cat /proc/sys/kernel/random/boot_id"));
    }
    let files = [
        "/run/mine",
        "/dev/shm/mine",
        "/etc/corosync/mine",
        "/var/lib/holdfast/mine",
        "/etc/holdfast/authkey",
    ];
    assert!(files.iter().all(|f| !std::path::Path::new(f).exists()));
    cluster.power_off(1).unwrap();
    assert!(cluster.exec(1, "true", &[]).is_err() && cluster.processes(1).is_empty());
    cluster.power_on(1).unwrap();
    boots.push(output(&cluster, 1, "cat /proc/sys/kernel/random/boot_id"));
    boots.sort();
    boots.dedup();
    assert_eq!(boots.len(), 3, "each boot has an id of its own");
    output(&cluster, 1, "test ! -e /run/mine && test ! -e /dev/shm/mine && test -e /var/lib/holdfast/mine");
}

#[test]
fn cuts_and_heals_work_in_each_direction_and_on_every_link() {
    if skip() {
        return;
    }
    let cluster = bare("cuts", 3);
    let reached = |pairs: &[(u32, u32)]| -> Vec<bool> {
        pairs.iter().flat_map(|(a, b)| [0, 1].map(|link| reaches(&cluster, *a, *b, link))).collect()
    };
    let all = [(1, 2), (1, 3), (2, 3)];
    assert_eq!(reached(&all), [true; 6]);
    cluster.isolate(1);
    assert_eq!(reached(&all), [false, false, false, false, true, true]);
    cluster.heal();
    assert_eq!(reached(&all), [true; 6]);

    // One way: n2 still hears n1 but cannot answer.
    cluster.cut_one_way(2, 1);
    let heard =
        output(&cluster, 2, "cat /sys/class/net/eth0/statistics/rx_packets; ip neigh flush all; true");
    assert!(!reaches(&cluster, 1, 2, 0));
    let now = output(&cluster, 2, "cat /sys/class/net/eth0/statistics/rx_packets");
    assert!(now.trim().parse::<u64>().unwrap() > heard.trim().parse().unwrap(), "n2 hears nothing");
    cluster.heal_one_way(2, 1);
    assert!(reaches(&cluster, 1, 2, 0));

    // A cut outlives the power of a node.
    cluster.cut(&[3], &[1, 2]);
    cluster.power_off(3).unwrap();
    cluster.power_on(3).unwrap();
    assert_eq!(reached(&all), [true, true, false, false, false, false]);
    cluster.heal();
    assert_eq!(reached(&all), [true; 6]);
}

#[test]
fn signals_reach_only_the_processes_meant() {
    if skip() {
        return;
    }
    let cluster = bare("signals", 2);
    for node in [1, 2] {
        cluster.start(node, "sleep", &["1003"]).unwrap();
        cluster.wait_for("sleep runs", || (cluster.find(node, "sleep").len() == 1).then_some(()));
    }
    let sleeper = cluster.find(1, "sleep").remove(0);
    cluster.signal(1, "sleep", Signal::SIGSTOP);
    cluster.wait_for("it stops", || sleeper.is_stopped().then_some(()));
    cluster.signal(1, "sleep", Signal::SIGCONT);
    cluster.wait_for("it goes on", || (!sleeper.is_stopped()).then_some(()));
    cluster.signal(1, "sleep", Signal::SIGKILL);
    cluster.wait_for("it dies", || (!sleeper.is_alive()).then_some(()));
    assert!(sleeper.signal(Signal::SIGKILL).is_err());
    assert!(cluster.find(1, "sleep").is_empty() && cluster.find(2, "sleep").len() == 1);
}

#[test]
fn the_fence_device_takes_the_power_from_a_node() {
    if skip() {
        return;
    }
    let cluster = bare("fence", 2);
    cluster.start(2, "sleep", &["1004"]).unwrap();
    let victim = cluster.wait_for("sleep runs", || cluster.find(2, "sleep").pop());
    let agent = |input: &str| {
        let agent = cluster.node_dir(1).with_file_name("agents").join(FENCE_AGENT);
        let script = format!("printf '{input}' | timeout 20 {}", agent.display());
        let out = cluster.exec(1, "sh", &["-c", &script]).unwrap();
        (out.status.code(), String::from_utf8(out.stderr).unwrap())
    };
    assert_eq!(agent("action=metadata\\n").0, Some(0));
    assert_eq!(agent("action=monitor\\n"), (Some(0), String::new()));
    assert_eq!(agent("plug=n2\\naction=status\\n"), (Some(0), String::new()));
    cluster.set_fence_policy(FencePolicy::Fails);
    assert_eq!(
        agent("port=n2\\naction=off\\n"),
        (Some(1), "error: no route to the power switch\n".to_owned())
    );
    assert!(victim.is_alive());
    cluster.set_fence_policy(FencePolicy::Hangs);
    assert_eq!(agent("plug=n2\\naction=off\\n").0, Some(124), "the agent is killed by its caller");
    cluster.set_fence_policy(FencePolicy::Works);
    assert_eq!(agent("plug=n2\\naction=off\\n"), (Some(0), String::new()));
    assert!(!victim.is_alive());
    assert_eq!(agent("plug=n2\\naction=status\\n").0, Some(2));
    assert_eq!(agent("plug=n9\\naction=off\\n"), (Some(1), "error: no such plug: n9\n".to_owned()));
    let offs: Vec<_> = cluster.fence_calls().into_iter().filter(|c| c.action == "off").collect();
    assert_eq!(offs.len(), 4, "{offs:?}");
}

#[test]
fn the_witness_notices_a_service_that_runs_twice() {
    if skip() {
        return;
    }
    let cluster = bare("witness", 2);
    let service = cluster.service();
    let run = |node: u32| cluster.start_as(node, "service", &service, &["db"]).unwrap();
    run(1);
    cluster.wait_for("the service runs on n1", || (cluster.service_runs_on("db") == [1]).then_some(()));
    cluster.signal(1, "sleep", Signal::SIGKILL);
    cluster.wait_for("it is gone", || cluster.service_runs_on("db").is_empty().then_some(()));
    run(2);
    cluster.wait_for("the service runs on n2", || (cluster.service_runs_on("db") == [2]).then_some(()));
    cluster.assert_nothing_ran_twice();
    run(1);
    cluster.wait_for("both run", || (cluster.service_runs_on("db") == [1, 2]).then_some(()));
    let caught =
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| cluster.assert_nothing_ran_twice()));
    assert!(caught.is_err());
    assert_eq!(cluster.service_starts().len(), 3);
}

#[test]
fn nothing_is_left_behind() {
    if skip() {
        return;
    }
    let cluster = bare("leftovers", 2);
    let dir = cluster.node_dir(1).parent().unwrap().to_owned();
    let script = "exec >/dev/null 2>&1; (setsid sleep 1005 &) ; (trap '' TERM HUP; setsid sleep 1005 &)";
    for node in [1, 2] {
        output(&cluster, node, script);
    }
    let seen = cluster.wait_for("four processes run", || {
        let all: Vec<_> = [1, 2].iter().flat_map(|n| cluster.find(*n, "sleep")).collect();
        (all.len() == 4).then_some(all)
    });
    // The test fails inside: the cluster goes all the same.
    let failed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
        let _cluster = cluster;
        panic!("as a failing test does");
    }));
    assert!(failed.is_err());
    assert!(seen.iter().all(|p| !p.is_alive()));
    assert!(!dir.exists());
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(dir.to_str().unwrap()));
    let links = Command::new("ip").args(["-o", "link"]).output().unwrap();
    assert!(!String::from_utf8_lossy(&links.stdout).contains("n1l0"));
}

#[test]
fn a_killed_harness_takes_its_nodes_along() {
    if skip() {
        return;
    }
    // This test runs itself again as the harness that is to be killed.
    let role = "HOLDFAST_HARNESS_VICTIM";
    if let Ok(report) = std::env::var(role) {
        let cluster = bare("victim", 1);
        cluster.start(1, "sleep", &["1006"]).unwrap();
        let sleeper = cluster.wait_for("sleep runs", || cluster.find(1, "sleep").pop());
        let mut file = fs::File::create(format!("{report}.part")).unwrap();
        write!(file, "{}", sleeper.pid).unwrap();
        fs::rename(format!("{report}.part"), &report).unwrap();
        std::thread::sleep(harness::patience());
        return;
    }
    let report = std::env::temp_dir().join(format!("holdfast-victim-{}", std::process::id()));
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_killed_harness_takes_its_nodes_along", "--nocapture"])
        .env(role, &report)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let deadline = std::time::Instant::now() + harness::patience() * 4;
    let wait = |what: &str, done: &dyn Fn() -> bool| {
        while !done() {
            assert!(std::time::Instant::now() < deadline, "{what}");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    };
    let ended = std::cell::RefCell::new(&mut child);
    wait("the victim has a node", &|| {
        assert!(matches!(ended.borrow_mut().try_wait(), Ok(None)), "the victim ended by itself");
        report.exists()
    });
    let sleeper = fs::read_to_string(&report).unwrap();
    fs::remove_file(&report).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    wait("its node dies with it", &|| !std::path::Path::new(&format!("/proc/{sleeper}")).exists());
}
