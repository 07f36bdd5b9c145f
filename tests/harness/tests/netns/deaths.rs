//! kill -9 of each daemon, and of whole nodes.

use std::path::Path;

use harness::{Cib, Cluster, FencePolicy, Signal, skip};

use crate::{bring_back, nodes, others, shop, shop_with, up, wait_for_takeover};

/// Whether a node has gone down as mode `exit` does: nothing of it is left but its init.
fn wait_for_the_end_of(cluster: &Cluster, node: u32) {
    cluster.wait_for(&format!("n{node} is taken down"), || cluster.processes(node).is_empty().then_some(()));
}

/// What the node's black box says of its last death. Asked from outside: the node may be off, or be switched off by a
/// fence agent at any moment.
fn reason(cluster: &Cluster, node: u32) -> String {
    let dir = cluster.node_dir(node);
    let mut holdfast = std::process::Command::new(harness::bin_dir().unwrap().join("holdfast"));
    holdfast.env("HOLDFAST_RUN_DIR", dir.join("nobody")).env("HOLDFAST_STATE_DIR", dir.join("state"));
    let out = holdfast.arg("status").output().unwrap();
    assert_eq!(out.status.code(), Some(69), "{out:?}");
    String::from_utf8_lossy(&out.stdout).into_owned()
}

#[test]
fn cmmd_dies_and_its_guardian_takes_the_node_down() {
    if skip() {
        return;
    }
    let (cluster, victim) = shop("cmmd", nodes(3));
    let asked = others(&cluster, &[victim]);
    // A device that strikes as soon as the guardian's gasp is heard may be sooner than its word on the disk, which is written
    // beside it: then only the others can tell the node why it went down.
    cluster.set_fence_policy(FencePolicy::Fails);
    cluster.signal(victim, "cmmd", Signal::SIGKILL);
    wait_for_takeover(&cluster, asked[0], victim);
    wait_for_the_end_of(&cluster, victim);
    let text = reason(&cluster, victim);
    assert!(text.contains("Failfast: Aborting because \"cmmd\" died"), "{text}");
    cluster.set_fence_policy(FencePolicy::Works);
    cluster.wait_for_members(&asked, &asked);
    cluster.assert_nothing_ran_twice();
    bring_back(&cluster, victim);
    cluster.assert_nothing_ran_twice();
}

/// Without any fence device: the guardian's last word is all that confirms the death.
#[test]
fn rgmd_dies_and_failfast_takes_the_node_down() {
    if skip() {
        return;
    }
    let (cluster, victim) = shop_with("rgmd", nodes(3), Cib::new());
    cluster.wait_for("rgmd is armed", || {
        cluster
            .status(victim)
            .ok()?
            .units
            .iter()
            .any(|u| u.name == "rgmd" && u.state == "armed")
            .then_some(())
    });
    let asked = others(&cluster, &[victim]);
    cluster.signal(victim, "rgmd", Signal::SIGKILL);
    wait_for_takeover(&cluster, asked[0], victim);
    wait_for_the_end_of(&cluster, victim);
    let text = reason(&cluster, victim);
    assert!(text.contains("Failfast: Aborting because \"rgmd\" died"), "{text}");
    let seen = crate::why_down::assert_others(&cluster, victim, "failfast");
    let said = |end: &serde_json::Value| end["reason"].as_str().is_some_and(|r| r.contains("\"rgmd\" died"));
    assert!(seen.iter().all(said), "{seen:#?}");
    cluster.assert_nothing_ran_twice();
    bring_back(&cluster, victim);
    let end = crate::why_down::assert_own(&cluster, victim, "failfast");
    assert!(said(&end) && end["summary"].to_string().contains("unit \\\"rgmd\\\" was dead"), "{end:#}");
    cluster.assert_nothing_ran_twice();
}

/// With one, the others do not wait for failfast's delay: whoever is first, the node goes down and the group moves.
#[test]
fn rgmd_dies_where_there_is_a_fence_device() {
    if skip() {
        return;
    }
    let (cluster, victim) = shop("rgmdfence", nodes(3));
    let asked = others(&cluster, &[victim]);
    cluster.signal(victim, "rgmd", Signal::SIGKILL);
    wait_for_takeover(&cluster, asked[0], victim);
    wait_for_the_end_of(&cluster, victim);
    cluster.assert_nothing_ran_twice();
}

#[test]
fn a_dead_guardian_is_replaced() {
    if skip() {
        return;
    }
    let cluster = up("guardian", nodes(2), &Cib::new());
    let old = cluster.wait_for("there is a guardian", || cluster.find(1, "holdfast-guardian").pop());
    cluster.signal(1, "holdfast-guardian", Signal::SIGKILL);
    cluster.wait_for("there is another guardian", || {
        cluster.find(1, "holdfast-guardian").into_iter().find(|p| p.pid != old.pid)
    });
    let all = cluster.all();
    cluster.wait_for_members(&all, &all);
    // And it does its duty.
    cluster.signal(1, "cmmd", Signal::SIGKILL);
    wait_for_the_end_of(&cluster, 1);
    assert!(reason(&cluster, 1).contains("\"cmmd\" died"));
}

#[test]
fn a_node_loses_its_power_and_the_fence_device_confirms_it() {
    if skip() {
        return;
    }
    let (cluster, victim) = shop("power", nodes(3));
    let asked = others(&cluster, &[victim]);
    cluster.power_off(victim).unwrap();
    wait_for_takeover(&cluster, asked[0], victim);
    cluster.wait_for_members(&asked, &asked);
    let name = harness::node_name(victim);
    assert!(
        cluster.fence_calls().iter().any(|c| c.target == name && c.answer == "ok"),
        "{:?}",
        cluster.fence_calls()
    );
    let node = cluster.status(asked[0]).unwrap().nodes.into_iter().find(|n| n.id == victim).unwrap();
    assert!(!node.unclean && node.confirmed_dead == node.incarnation && node.incarnation > 0, "{node:?}");
    cluster.assert_nothing_ran_twice();
    bring_back(&cluster, victim);
    let strikes =
        cluster.fence_calls().iter().filter(|c| c.action != "status" && c.action != "monitor").count();
    assert_eq!(strikes, 1, "one death, one fence: {:?}", cluster.fence_calls());
    cluster.assert_nothing_ran_twice();
}

#[test]
fn a_stuck_cmmd_is_taken_down_by_its_guardian() {
    if skip() {
        return;
    }
    let options = harness::Options { guardian_limit_ms: Some(3000), ..nodes(3) };
    let (cluster, victim) = shop("stuck", options);
    let asked = others(&cluster, &[victim]);
    cluster.signal(victim, "cmmd", Signal::SIGSTOP);
    wait_for_takeover(&cluster, asked[0], victim);
    wait_for_the_end_of(&cluster, victim);
    assert!(Path::new(&cluster.node_dir(victim)).join("state/blackbox").exists());
    cluster.assert_nothing_ran_twice();
}

/// Without PID namespaces the guardian finds the node's processes by their run directory. (Not those that `su -` starts
/// with an environment of its own, as the agent `anything` does: it gives no last word while such a stray lives.)
#[test]
fn cmmd_dies_where_processes_are_found_by_their_run_directory() {
    if skip() {
        return;
    }
    let options = harness::Options { exit_scope: "run-dir", ..nodes(3) };
    let cluster = up("rundir", options, &Cib::new().primitive("state", "ocf:heartbeat:Dummy", &[]));
    let victim = cluster.wait_for_started(1, &["state"]);
    let asked = others(&cluster, &[victim]);
    cluster.signal(victim, "cmmd", Signal::SIGKILL);
    wait_for_the_end_of(&cluster, victim);
    cluster.wait_for("the resource moves on the guardian's last word", || {
        let status = cluster.status(asked[0]).ok()?;
        let state = status.resources.iter().find(|r| r.id == "state")?;
        let moved = state.role == status::Role::Started && state.nodes != [harness::node_name(victim)];
        moved.then_some(())
    });
}

/// The agent `anything` starts its service with `su -`, which drops the variable that marks the node's processes. The
/// guardian must not vouch for what it cannot kill: no last word, and without a fence device nothing starts elsewhere.
#[test]
fn a_service_without_the_nodes_variable_holds_the_last_word_back() {
    if skip() {
        return;
    }
    let options = harness::Options { exit_scope: "run-dir", ..nodes(3) };
    let (cluster, victim) = shop_with("stray", options, Cib::new());
    let asked = others(&cluster, &[victim]);
    cluster.signal(victim, "cmmd", Signal::SIGKILL);
    cluster.wait_for_members(&asked, &asked);
    cluster.wait_for("the guardian says what is left", || {
        cluster.log(victim, "cmmd").contains("Failfast: death not confirmed").then_some(())
    });
    crate::stays("nothing starts elsewhere", std::time::Duration::from_secs(3), || {
        let lost = |s: status::ClusterStatus| s.nodes.iter().any(|n| n.id == victim && n.confirmed_dead == 0);
        cluster.service_starts().len() == 1 && cluster.status(asked[0]).is_ok_and(lost)
    });
    cluster.assert_nothing_ran_twice();
}

/// One after the other, each survivor's turn: the cluster never runs anything twice and always runs it again.
#[test]
fn deaths_go_around() {
    if skip() {
        return;
    }
    let (cluster, mut place) = shop("around", nodes(3));
    for round in 0..4 {
        let old = place;
        match round % 2 {
            0 => cluster.signal(old, "cmmd", Signal::SIGKILL),
            _ => cluster.power_off(old).unwrap(),
        }
        place = wait_for_takeover(&cluster, others(&cluster, &[old])[0], old);
        bring_back(&cluster, old);
        cluster.assert_nothing_ran_twice();
    }
    assert_eq!(cluster.service_starts().len(), 5, "{:?}", cluster.service_starts());
}

#[test]
fn every_daemon_of_every_node_dies_at_once_and_the_cluster_starts_again() {
    if skip() {
        return;
    }
    let (cluster, _) = shop("blackout", nodes(3));
    for node in cluster.all() {
        cluster.power_off(node).unwrap();
    }
    assert!(cluster.service_runs_on("shop").is_empty());
    cluster.boot_all().unwrap();
    let all = cluster.all();
    cluster.wait_for_members(&all, &all);
    let place = cluster.wait_for_started(1, &crate::SHOP);
    assert_eq!(cluster.service_runs_on("shop"), [place]);
    cluster.assert_nothing_ran_twice();
}
