//! `holdfast failfast` on real daemons: units are armed for others, are under maintenance for a while, and what would take the node
//! down is what does.

use harness::{Cib, Cluster, Signal, skip};
use serde_json::Value;

use crate::nodes;

/// What the command prints on each stream on a node, and its exit status.
fn run(cluster: &Cluster, node: u32, args: &[&str]) -> (String, String, Option<i32>) {
    let out = cluster.exec(node, "holdfast", &[&["failfast"], args].concat()).unwrap();
    let [text, errors] = [out.stdout, out.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    (text, errors, out.status.code())
}

fn done(cluster: &Cluster, node: u32, args: &[&str]) -> String {
    let (text, errors, status) = run(cluster, node, args);
    assert_eq!((status, errors.as_str()), (Some(0), ""), "{args:?}: {text}\n{}", cluster.report());
    text
}

fn json(cluster: &Cluster, node: u32, args: &[&str]) -> Value {
    let text = done(cluster, node, &[args, &["--json"]].concat());
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{args:?}: {e}: {text}"))
}

/// A unit as the command shows it.
fn unit(cluster: &Cluster, node: u32, name: &str) -> Value {
    let status = json(cluster, node, &["status"]);
    let units = status["units"].as_array().unwrap();
    units.iter().find(|u| u["name"] == name).unwrap_or_else(|| panic!("no {name} in {status}")).clone()
}

/// Starts a process that does nothing on a node; its pid as the node sees it.
fn start_process(cluster: &Cluster, node: u32) -> String {
    let out = cluster.exec(node, "sh", &["-c", "sleep 100000 >/dev/null 2>&1 & echo $!"]).unwrap();
    String::from_utf8(out.stdout).unwrap().trim().to_owned()
}

fn kill_process(cluster: &Cluster, node: u32, pid: &str) {
    let out = cluster.exec(node, "sh", &["-c", &format!("kill -9 {pid}")]).unwrap();
    assert!(out.status.success(), "{out:?}");
}

fn wait_until_dead(cluster: &Cluster, node: u32, name: &str) -> Value {
    cluster.wait_for(&format!("{name} is seen dead"), || {
        Some(unit(cluster, node, name)).filter(|u| u["trouble"] == "died")
    })
}

#[test]
fn units_of_others_are_armed_maintained_and_take_the_node_down_as_the_rehearsal_says() {
    if skip() {
        return;
    }
    let cluster = Cluster::new("failfast-command", nodes(2), &Cib::new()).unwrap();
    let without = run(cluster_on(&cluster), 1, &["status"]);
    assert_eq!(without.2, Some(69), "{without:?}");
    assert!(without.1.contains("systemctl start cmmd"), "{without:?}");
    for node in cluster.all() {
        cluster.start_ring(node).unwrap();
    }
    cluster.wait_for_members(&[1, 2], &[1, 2]);

    // Nothing is there yet, and the rehearsal says how it would be.
    let status = json(&cluster, 1, &["status"]);
    assert_eq!(
        (&status["mode"], &status["units"]),
        (&Value::from("exit"), &Value::from(Vec::<Value>::new()))
    );
    assert!(status["guardian"]["pid"].as_u64() > Some(1), "{status}");
    // Live for programs; for people it needs a terminal.
    let holdfast = harness::bin_dir().unwrap().join("holdfast");
    let twice = format!("{} failfast status --json --watch 0.1 | head -n 2", holdfast.display());
    let out = cluster.exec(1, "sh", &["-c", &twice]).unwrap();
    let lines: Vec<Value> = String::from_utf8(out.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")))
        .collect();
    assert!(lines.len() == 2 && lines.iter().all(|l| l["mode"] == "exit"), "{lines:?}");
    let (_, errors, refused) = run(&cluster, 1, &["status", "--watch"]);
    assert!(refused == Some(64) && errors.contains("status --json --watch"), "{errors}");
    let rehearsal = done(&cluster, 1, &["test"]);
    for part in [
        "Mode exit: every process of this node is killed",
        "\"cmmd\" died 0 seconds ago.",
        "ok    the black box ",
        "ok    node 2 n2 at ",
        "processes would be killed",
        "no watchdog",
        "This node would go down",
    ] {
        assert!(rehearsal.contains(part), "{part:?} is missing in\n{rehearsal}");
    }
    assert_eq!(json(&cluster, 1, &["test"])["goes_down"], true);

    // Armed for another process, and not for one that does not exist.
    let first = start_process(&cluster, 1);
    done(&cluster, 1, &["arm", "pg", "--pid", &first, "--delay", "1s", "--restarts", "2", "--window", "1h"]);
    let (_, errors, refused) = run(&cluster, 1, &["arm", "gone", "--pid", "4000000", "--delay", "1s"]);
    assert!(refused == Some(1) && errors.contains("cannot watch pid 4000000"), "{errors}");
    let (_, _, usage) = run(&cluster, 1, &["maintenance", "on", "--for", "5h", "pg"]);
    assert_eq!(usage, Some(64));

    // Under maintenance its death is told, here and in the status of all, and nothing more.
    done(&cluster, 1, &["maintenance", "on", "--for", "1h", "pg"]);
    kill_process(&cluster, 1, &first);
    let dead = wait_until_dead(&cluster, 1, "pg");
    assert!(
        dead["deadline_ms"].as_u64() > Some(3_000_000) && dead["maintenance_ms"].as_u64() > Some(3_000_000),
        "{dead}"
    );
    let log = cluster.log(1, "cmmd");
    assert!(log.contains("unit \"pg\" is under maintenance for 3600000 ms"), "{log}");
    assert!(log.contains("from the end of its maintenance"), "{log}");
    let shown = cluster.exec(1, "holdfast", &["status"]).unwrap();
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains("UNDER MAINTENANCE for"), "{shown}");

    // Another process takes its place; that counts as a restart. Then nobody watches it.
    let second = start_process(&cluster, 1);
    done(&cluster, 1, &["arm", "pg", "--pid", &second, "--delay", "1s", "--restarts", "2", "--window", "1h"]);
    assert_eq!(unit(&cluster, 1, "pg")["restarted"], 1);
    done(&cluster, 1, &["disarm", "pg"]);
    assert_eq!(unit(&cluster, 1, "pg")["state"], "disarmed");
    let (_, errors, refused) = run(&cluster, 1, &["disarm", "pg"]);
    assert!(refused == Some(1) && errors.contains("no unit pg is watched"), "{errors}");

    // All are under maintenance, and its end is the beginning of the delay.
    done(&cluster, 1, &["arm", "pg", "--pid", &second, "--delay", "1s"]);
    done(&cluster, 1, &["maintenance", "on", "--for", "1h", "--all"]);
    kill_process(&cluster, 1, &second);
    wait_until_dead(&cluster, 1, "pg");
    cluster.wait_for_members(&[1, 2], &[1, 2]);
    done(&cluster, 1, &["maintenance", "off", "--all"]);
    cluster.wait_for("n1 is taken down", || cluster.processes(1).is_empty().then_some(()));
    cluster.wait_for("n2 is told why", || {
        cluster
            .log(2, "cmmd")
            .contains("Node 1 goes down: Failfast: Aborting because \"pg\" died")
            .then_some(())
    });
    cluster.wait_for_members(&[2], &[2]);
}

/// What the node's safety rests on is never under maintenance.
#[test]
fn a_maintenance_of_all_units_does_not_cover_the_death_of_the_daemon() {
    if skip() {
        return;
    }
    let cluster = Cluster::new("failfast-daemon", nodes(2), &Cib::new()).unwrap();
    cluster_on(&cluster);
    for node in cluster.all() {
        cluster.start_ring(node).unwrap();
    }
    cluster.wait_for_members(&[1, 2], &[1, 2]);
    done(&cluster, 1, &["maintenance", "on", "--for", "4h", "--all"]);
    assert!(json(&cluster, 1, &["status"])["maintenance_ms"].as_u64() > Some(14_000_000));
    cluster.signal(1, "cmmd", Signal::SIGKILL);
    cluster.wait_for("n1 is taken down", || cluster.processes(1).is_empty().then_some(()));
    cluster.wait_for("n2 is told", || {
        cluster.log(2, "cmmd").contains("Node 1 goes down: cmmd died or made no progress").then_some(())
    });
}

/// Its nodes switched on, with no daemon running.
fn cluster_on(cluster: &Cluster) -> &Cluster {
    for node in cluster.all() {
        cluster.power_on(node).unwrap();
    }
    cluster
}
