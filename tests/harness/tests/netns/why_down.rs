//! Why a node went down can be read afterwards: on the node when it is back, and on those who stayed.

use harness::{Cib, Cluster, FENCE_AGENT, FencePolicy, Options, Signal, node_name, skip};
use serde_json::Value;

use crate::{bring_back, nodes, others, up};

/// What `holdfast why-down` says on a node: ends, the last one first.
pub(crate) fn why_down(cluster: &Cluster, on: u32, args: &[&str]) -> Vec<Value> {
    let args: Vec<&str> = ["why-down", "--json"].into_iter().chain(args.iter().copied()).collect();
    let out = cluster.exec(on, "holdfast", &args).unwrap();
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let json: Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {out:?}"));
    assert_eq!(json["warnings"], serde_json::json!([]), "{text}");
    json["ends"].as_array().unwrap_or_else(|| panic!("{text}")).clone()
}

/// The node runs, and before that it ended like this; gives that end.
#[track_caller]
pub(crate) fn assert_own(cluster: &Cluster, node: u32, cause: &str) -> Value {
    let ends = why_down(cluster, node, &[]);
    assert_eq!(ends[0]["cause"], "running", "{ends:#?}");
    assert_eq!(ends[1]["cause"], cause, "{ends:#?}");
    assert_eq!(ends[1]["node"]["id"], node);
    assert!(ends[1]["at_unix_ms"].as_i64() <= ends[1]["back_unix_ms"].as_i64(), "{ends:#?}");
    ends[1].clone()
}

/// As [`assert_own`], where the node has it from the others, who say it when it is back.
#[track_caller]
pub(crate) fn told(cluster: &Cluster, node: u32, cause: &str) -> Value {
    cluster.wait_for(&format!("n{node} is told of {cause}"), || {
        (why_down(cluster, node, &[])[1]["cause"] == cause).then_some(())
    });
    assert_own(cluster, node, cause)
}

/// All others say so, whether it is back or not.
#[track_caller]
pub(crate) fn assert_others(cluster: &Cluster, victim: u32, cause: &str) -> Vec<Value> {
    let told = |asked: u32| {
        let name = node_name(victim);
        cluster.wait_for(&format!("n{asked} knows of {cause}"), || {
            let ends = why_down(cluster, asked, &[&name, "--all"]);
            ends.into_iter().find(|e| e["cause"] != "running").filter(|e| e["cause"] == cause)
        })
    };
    others(cluster, &[victim]).into_iter().map(told).collect()
}

fn says(end: &Value, words: &str) -> bool {
    end.to_string().contains(words)
}

#[test]
fn after_each_end_the_node_and_the_others_say_why() {
    if skip() {
        return;
    }
    let cluster = up("why", nodes(3), &Cib::new().fencing(FENCE_AGENT));
    let victim = 3;
    assert_eq!(why_down(&cluster, victim, &[])[0]["cause"], "running");
    assert_eq!(why_down(&cluster, 1, &["n3"])[0]["cause"], "running");

    // The fence agent would be as fast as the guardian.
    cluster.set_fence_policy(FencePolicy::Fails);
    cluster.signal(victim, "cmmd", Signal::SIGKILL);
    cluster.wait_for("n3 is taken down", || cluster.processes(victim).is_empty().then_some(()));
    let seen = assert_others(&cluster, victim, "guardian");
    assert!(seen.iter().all(|end| end["reason"] == "cmmd died or made no progress"), "{seen:#?}");
    let text = cluster.exec(1, "holdfast", &["status"]).unwrap();
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    assert!(text.contains("n3 went down") && text.contains("holdfast why-down n3"), "{text}");
    bring_back(&cluster, victim);
    cluster.set_fence_policy(FencePolicy::Works);
    let end = assert_own(&cluster, victim, "guardian");
    assert_eq!(end["reason"], "Failfast: Aborting because \"cmmd\" died 0 seconds ago.");
    assert!(says(&end, "armed by pid"), "what it did before is told: {end:#}");
    let status = cluster.status(victim).unwrap();
    assert!(status.deaths.iter().any(|d| d.id == victim && d.cause == "guardian"), "{:?}", status.deaths);

    cluster.stop(victim);
    let seen = assert_others(&cluster, victim, "in-order");
    assert!(seen.iter().all(|end| end["unclean"] == false), "{seen:#?}");
    let ends = why_down(&cluster, victim, &[]);
    assert!(
        ends[0]["cause"] == "in-order" && says(&ends[0], "shut down by a signal"),
        "while it is down: {ends:#?}"
    );
    bring_back(&cluster, victim);
    assert_own(&cluster, victim, "in-order");

    // As at a power cut nobody says a word; a node that is switched on again has another boot id.
    cluster.power_off(victim).unwrap();
    let seen = assert_others(&cluster, victim, "fenced");
    assert!(seen.iter().all(|end| says(end, "fenced it (reboot) with fence on behalf of rgmd")), "{seen:#?}");
    bring_back(&cluster, victim);
    // It has no word of its own, and none of the others has to be there to ask.
    let end = told(&cluster, victim, "fenced");
    assert!(says(&end, "fenced it (reboot) with fence on behalf of rgmd"), "{end:#}");
    let witnesses = end["witnesses"].as_array().unwrap();
    assert!(["n1", "n2"].iter().all(|by| witnesses.iter().any(|w| w["source"] == *by)), "{end:#}");
    cluster.stop(1);
    cluster.stop(2);
    let all = why_down(&cluster, victim, &["--all"]);
    let causes: Vec<&str> = all.iter().filter_map(|e| e["cause"].as_str()).collect();
    assert_eq!(causes, ["running", "fenced", "in-order", "guardian"]);
}

#[test]
fn an_eviction_is_told_by_the_node_the_survivor_and_the_tombstone() {
    if skip() {
        return;
    }
    let cluster = up("evicted", Options { disks: 1, ..nodes(2) }, &Cib::new());
    crate::qdisk::wait_for_vote(&cluster, &[1, 2], 3);
    let evict = ["qdisk", "evict", "2", "--yes", "--why", "its cables are being moved"];
    let out = cluster.exec(1, "holdfast", &evict).unwrap();
    assert!(out.status.success(), "{out:?}");
    cluster.wait_for("n2 is taken down", || cluster.processes(2).is_empty().then_some(()));
    let seen = assert_others(&cluster, 2, "ordered").remove(0);
    assert!(
        says(&seen, "its cables are being moved") && says(&seen, "\"source\":\"quorum disk\""),
        "{seen:#}"
    );
    bring_back(&cluster, 2);
    let end = assert_own(&cluster, 2, "ordered");
    assert!(says(&end, "its cables are being moved") && says(&end, "\"source\":\"quorum disk\""), "{end:#}");
}
