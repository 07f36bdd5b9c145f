//! Two nodes with a quorum disk.

use std::time::Duration;

use harness::{Cib, Cluster, Options, ROUTER_ADDRESS, Signal, skip};

use crate::{bring_back, nodes, stays, up};

fn with_disks(disks: u32) -> Options {
    Options { disks, ..nodes(2) }
}

/// What corosync's own command says on a node.
pub(crate) fn quorumtool(cluster: &Cluster, node: u32) -> String {
    let out = cluster.exec(node, "corosync-quorumtool", &["-s"]).unwrap();
    String::from_utf8_lossy(&out.stdout).into_owned()
}

/// The value behind a name in its output.
pub(crate) fn number(text: &str, name: &str) -> Option<u32> {
    text.lines().find_map(|l| l.strip_prefix(name)?.trim_start_matches(':').trim().parse().ok())
}

/// Waits until the disk's vote counts on these nodes, which have so many votes with it.
pub(crate) fn wait_for_vote(cluster: &Cluster, on: &[u32], total: u32) {
    cluster.wait_for(&format!("{total} votes on {on:?}, the disk's among them"), || {
        on.iter().all(|n| number(&quorumtool(cluster, *n), "Total votes") == Some(total)).then_some(())
    });
}

pub(crate) fn is_quorate(cluster: &Cluster, node: u32) -> bool {
    cluster.status(node).is_ok_and(|s| s.quorum.quorate)
}

#[test]
fn with_a_quorum_disk_one_of_two_nodes_is_quorate_whatever_happens_to_the_other() {
    if skip() {
        return;
    }
    let cluster = up("qdisk", with_disks(1), &Cib::new());
    wait_for_vote(&cluster, &[1, 2], 3);
    let text = quorumtool(&cluster, 1);
    assert!(text.contains("Qdevice"), "{text}");
    assert_eq!((number(&text, "Expected votes"), number(&text, "Quorum")), (Some(3), Some(2)), "{text}");

    // What is on the disk can be seen, and it is not made anew while the cluster runs.
    let disk = cluster.quorum_disk(0).display().to_string();
    cluster.wait_for("both write to the disk, and one is the master", || {
        let shown = cluster.exec(1, "holdfast", &["qdisk", "show", &disk]).ok()?;
        let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
        let states: Vec<&str> = shown.lines().filter(|l| l.contains("State:")).collect();
        (states.len() == 2 && states.contains(&"\tState: Master")).then_some(())
    });
    let made = cluster.exec(1, "holdfast", &["qdisk", "create", &disk, "--yes"]).unwrap();
    let why = String::from_utf8_lossy(&made.stderr).into_owned();
    assert!(!made.status.success() && why.contains("of a running cluster"), "{why}");

    // Cut apart: the owner's side stays quorate, the other one is not.
    cluster.cut(&[1], &[2]);
    let loser = cluster
        .wait_for("one of them is without quorum", || [1, 2].into_iter().find(|n| !is_quorate(&cluster, *n)));
    let owner = 3 - loser;
    stays("exactly the owner is quorate", Duration::from_secs(5), || {
        is_quorate(&cluster, owner) && !is_quorate(&cluster, loser)
    });
    cluster.heal();
    cluster.wait_for_quorum(&[1, 2], true);
    wait_for_vote(&cluster, &[1, 2], 3);

    // The owner loses its power: the other one gets the vote when its lease is over.
    cluster.power_off(owner).unwrap();
    cluster.wait_for_members(&[loser], &[loser]);
    cluster.wait_for_quorum(&[loser], true);
    wait_for_vote(&cluster, &[loser], 2);

    // It comes back, and now the other one is lost.
    bring_back(&cluster, owner);
    cluster.wait_for_quorum(&[1, 2], true);
    wait_for_vote(&cluster, &[1, 2], 3);
    cluster.power_off(loser).unwrap();
    cluster.wait_for_members(&[owner], &[owner]);
    cluster.wait_for_quorum(&[owner], true);
    wait_for_vote(&cluster, &[owner], 2);
}

#[test]
fn who_was_not_in_the_last_cluster_waits_for_who_was() {
    if skip() {
        return;
    }
    let cluster = up("qdiskamnesia", with_disks(3), &Cib::new());
    wait_for_vote(&cluster, &[1, 2], 3);
    cluster.power_off(2).unwrap();
    cluster.wait_for_members(&[1], &[1]);
    wait_for_vote(&cluster, &[1], 2);
    cluster.power_off(1).unwrap();
    cluster.boot(2).unwrap();
    cluster.wait_for("it says for whom it waits", || {
        cluster.log(2, "cmmd").contains("This quorum device is held by node 1").then_some(())
    });
    let waits = "missing: node 1 (n1), and the quorum device (disk, 1 vote): node 1 (n1) was in the last cluster and this node was not: \
                 start node 1 (n1) as well";
    cluster.wait_for("it says so with names", || {
        let log = cluster.log(2, "cmmd");
        let line = log.lines().find(|l| {
            l.contains("doesn't have operational quorum yet; waiting for quorum.") && l.contains(waits)
        });
        line.map(str::to_owned)
    });
    let quorum = cluster.status(2).unwrap().quorum;
    assert!(quorum.waits_for.contains(waits), "{quorum:?}");
    let device = quorum.device.expect("there is one");
    assert_eq!((device.model.as_str(), device.votes, device.counts), ("disk", 1, false), "{device:?}");
    assert_eq!((device.parts.len(), device.owner.as_deref()), (3, Some("n1")), "{device:?}");
    stays("it is not quorate", Duration::from_secs(3), || !is_quorate(&cluster, 2));
    cluster.boot(1).unwrap();
    cluster.wait_for_quorum(&[1, 2], true);
    wait_for_vote(&cluster, &[1, 2], 3);
    cluster.wait_for("both show the device", || {
        [1, 2]
            .iter()
            .all(|n| cluster.status(*n).is_ok_and(|s| s.quorum.device.is_some_and(|d| d.counts)))
            .then_some(())
    });
    let text = cluster.exec(2, "holdfast", &["status"]).unwrap();
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    let row = text.lines().find(|l| l.starts_with("Device")).unwrap_or_else(|| panic!("{text}"));
    let owned = row.ends_with(": 1 vote counts here, n1 owns it")
        || row.ends_with(": 1 vote counts here, n2 owns it");
    assert!(owned && row.contains(&cluster.disk_path(2).display().to_string()), "{row}");
}

/// A heuristic that pings the router.
const PING: &str = "            upgrade_wait: 2
            heuristic {
                program: ping -c1 -w1 10.77.0.254
                interval: 300
                tko: 3
            }
";

/// (R16)
#[test]
fn the_half_that_can_ping_the_router_lives_though_it_has_the_higher_ids() {
    if skip() {
        return;
    }
    assert!(PING.contains(ROUTER_ADDRESS));
    let options = Options { disks: 1, disk: PING, ..nodes(4) };
    let cluster = Cluster::new("router", options, &Cib::new()).unwrap();
    cluster.add_router();
    cluster.boot_all().unwrap();
    let all = cluster.all();
    cluster.wait_for_members(&all, &all);
    // Four nodes and three votes of the disk: a half needs the disk.
    wait_for_vote(&cluster, &all, 7);
    for node in [1, 2] {
        cluster.cut_router(node);
    }
    cluster.cut(&[1, 2], &[3, 4]);
    cluster.wait_for_quorum(&[1, 2], false);
    cluster.wait_for_quorum(&[3, 4], true);
    wait_for_vote(&cluster, &[3, 4], 5);
    stays("the half with the router is quorate, the other one is not", Duration::from_secs(4), || {
        [3, 4].iter().all(|n| is_quorate(&cluster, *n)) && ![1, 2].iter().any(|n| is_quorate(&cluster, *n))
    });
    let log = cluster.log(1, "cmmd");
    assert!(log.contains("Heuristic: 'ping -c1 -w1 10.77.0.254' DOWN"), "{log}");
    assert!(log.contains("Score insufficient for master operation (0/1; required=1); downgrading"), "{log}");
    cluster.heal();
    cluster.wait_for_quorum(&all, true);
    wait_for_vote(&cluster, &all, 7);
}

/// A heuristic that fails while a file is there, and one that hangs.
const SICK: &str = "            heuristic {
                program: test ! -e /var/lib/holdfast/sick
                interval: 200
                tko: 2
            }
            heuristic {
                program: test ! -e /var/lib/holdfast/hangs || sleep 4321
                score: 2
                interval: 200
                tko: 3
            }
            min_score: 2
            upgrade_wait: 1
";

/// What the disk says of a node.
fn shown(cluster: &Cluster, asked: u32, node: u32) -> serde_json::Value {
    let disk = cluster.quorum_disk(0).display().to_string();
    let out = cluster.exec(asked, "holdfast", &["qdisk", "show", &disk, "--json"]).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap_or_default();
    let nodes = json["nodes"].as_array().cloned().unwrap_or_default();
    nodes.into_iter().find(|n| n["node"] == node).unwrap_or_default()
}

/// (R17, without a reboot: what is lost is the vote)
#[test]
fn a_node_whose_score_falls_gives_the_vote_back_and_nothing_else() {
    if skip() {
        return;
    }
    let cluster = up("score", Options { disk: SICK, ..with_disks(1) }, &Cib::new());
    wait_for_vote(&cluster, &[1, 2], 3);
    let owner = cluster.wait_for("one of them is the master", || {
        [1, 2].into_iter().find(|n| shown(&cluster, 1, *n)["state"] == "Master")
    });
    let other = 3 - owner;
    let file = |node: u32, name: &str| cluster.node_dir(node).join("state").join(name);

    // One of two tests fails, and what is left suffices; then the program hangs, and is ended.
    std::fs::write(file(owner, "sick"), "").unwrap();
    cluster.wait_for("the score is on the disk", || (shown(&cluster, 1, owner)["score"] == 2).then_some(()));
    assert_eq!(shown(&cluster, 1, owner)["score_max"], 3);
    std::fs::write(file(owner, "hangs"), "").unwrap();
    cluster.wait_for("the other one is the master", || {
        (shown(&cluster, 1, other)["state"] == "Master").then_some(())
    });
    wait_for_vote(&cluster, &[1, 2], 3);
    let log = cluster.log(owner, "cmmd");
    assert!(log.contains("DOWN - Exceeded timeout of 800 ms"), "{log}");
    let hanging = || cluster.find(owner, "sleep").len();
    stays("no program is left behind", Duration::from_secs(3), || hanging() <= 1);

    // Nobody is fit: the vote is nobody's, and two of two go on.
    std::fs::write(file(other, "hangs"), "").unwrap();
    wait_for_vote(&cluster, &[1, 2], 2);
    stays("both are quorate", Duration::from_secs(2), || [1, 2].iter().all(|n| is_quorate(&cluster, *n)));

    std::fs::remove_file(file(owner, "hangs")).unwrap();
    wait_for_vote(&cluster, &[1, 2], 3);
    assert!(cluster.fence_calls().is_empty(), "nobody was taken down");

    // The helper goes with its daemon, and what it runs with it.
    std::fs::write(file(owner, "hangs"), "").unwrap();
    cluster.wait_for("it hangs", || (hanging() == 1).then_some(()));
    cluster.stop(owner);
    cluster.wait_for("nothing is left", || {
        (hanging() == 0 && cluster.find(owner, "cmmd-heuristics").is_empty()).then_some(())
    });
}

/// What `holdfast qdisk` says on a node, and whether it succeeded.
fn holdfast_qdisk(cluster: &Cluster, node: u32, args: &[&str]) -> (bool, String) {
    let out = cluster.exec(node, "holdfast", &[&["qdisk"], args].concat()).unwrap();
    let text = [out.stdout, out.stderr].concat();
    (out.status.success(), String::from_utf8_lossy(&text).into_owned())
}

/// (R13, as our rules define it: nobody is evicted but by an order)
#[test]
fn a_node_that_stands_still_obeys_its_eviction_when_it_moves_again_and_its_next_life_does_not() {
    if skip() {
        return;
    }
    let cluster = up("evict", Options { guardian_limit_ms: Some(120_000), ..with_disks(1) }, &Cib::new());
    wait_for_vote(&cluster, &[1, 2], 3);

    cluster.wait_for("both have written", || (shown(&cluster, 1, 2)["state"] == "Running").then_some(()));

    // A test order is only told of.
    let (done, text) = holdfast_qdisk(&cluster, 1, &["evict", "2", "--test", "--why", "hello"]);
    assert!(done, "{text}");
    cluster.wait_for("it has arrived", || {
        cluster.log(2, "cmmd").contains("a test order from an operator has arrived: hello").then_some(())
    });

    // It is asked first, and the answer is not "y".
    let (done, text) = holdfast_qdisk(&cluster, 1, &["evict", "2"]);
    assert!(!done && text.contains("Good thinking."), "{text}");

    // To look for a stopped daemon wakes it up, and then it is gone before it is found.
    let daemon = cluster.find(2, "cmmd");
    cluster.signal(2, "cmmd", Signal::SIGSTOP);
    cluster.wait_for_members(&[1], &[1]);
    cluster.wait_for_quorum(&[1], true);
    wait_for_vote(&cluster, &[1], 2);
    let (done, text) =
        holdfast_qdisk(&cluster, 1, &["evict", "2", "--yes", "--wait", "1", "--why", "it hangs"]);
    assert!(!done && text.contains("It has not obeyed within 1 seconds"), "{text}");
    assert!(!cluster.log(2, "cmmd").contains("was evicted"), "it stands still");
    daemon.iter().for_each(|process| process.signal(Signal::SIGCONT).unwrap());
    cluster.wait_for("it obeys", || cluster.find(2, "cmmd").is_empty().then_some(()));
    let why =
        "Failfast: Aborting because this node was evicted through the quorum disk by an operator: it hangs";
    // The guardian says it, a moment after the daemon that it killed is gone.
    cluster.wait_for("it says why", || cluster.log(2, "cmmd").contains(why).then_some(()));
    cluster.wait_for("the survivor says why it went down", || {
        cluster
            .log(1, "cmmd")
            .contains(&format!("Node 2 says on the quorum disk why it went down: {why}"))
            .then_some(())
    });
    let (done, text) = holdfast_qdisk(&cluster, 1, &["tombstones"]);
    assert!(done && text.lines().any(|l| l.starts_with("2 ") && l.contains(why)), "{text}");

    // Its next life does not care.
    cluster.power_off(2).unwrap();
    bring_back(&cluster, 2);
    cluster.wait_for_quorum(&[1, 2], true);
    wait_for_vote(&cluster, &[1, 2], 3);
    stays("it is a member", Duration::from_secs(2), || !cluster.find(2, "cmmd").is_empty());

    // What the commands say of a running cluster.
    let (done, text) = holdfast_qdisk(&cluster, 1, &["status"]);
    assert!(done && text.contains("Visible Set: { 1 2 }") && text.contains(": works\n"), "{text}");
    let (done, text) = holdfast_qdisk(&cluster, 1, &["status", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    assert!(
        done && json["daemon"]["score_max"] == 1 && json["nodes"].as_array().map(Vec::len) == Some(2),
        "{text}"
    );
    let (done, text) = holdfast_qdisk(
        &cluster,
        1,
        &["test", "test", "--count", "20", "--write-as", "1", "--interval", "60000"],
    );
    assert!(done && text.contains("write "), "found by its label: {text}");
    let (done, text) = holdfast_qdisk(&cluster, 1, &["dump"]);
    assert!(
        done && text.contains("mailbox of node 2, copy 2") && text.contains("tombstone of node 2"),
        "{text}"
    );

    // Who leaves in order says so.
    cluster.stop(2);
    cluster.wait_for("it says that it left", || {
        let said = "Node 2 says on the quorum disk why it went down: cmmd left the cluster in order";
        cluster.log(1, "cmmd").contains(said).then_some(())
    });
}
