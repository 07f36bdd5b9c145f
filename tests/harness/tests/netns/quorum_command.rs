//! `holdfast quorum` on real daemons: what it shows is what they count, and what it lets an administrator do.

use harness::{Cib, Cluster, Options, Signal, skip};
use serde_json::Value;

use crate::nodes;

/// What the command prints on each stream on a node, and its exit status.
fn run(cluster: &Cluster, node: u32, args: &[&str]) -> (String, String, Option<i32>) {
    let out = cluster.exec(node, "holdfast", &[&["quorum"], args].concat()).unwrap();
    let [text, errors] = [out.stdout, out.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    (text, errors, out.status.code())
}

/// The same, which has to be JSON on standard output, and end so.
fn json(cluster: &Cluster, node: u32, args: &[&str], status: i32) -> Value {
    let (text, errors, ended) = run(cluster, node, &[args, &["--json"]].concat());
    let value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{args:?}: {e}: {text}{errors}"));
    assert_eq!(ended, Some(status), "{args:?}: {text}{errors}\n{}", cluster.report());
    value
}

/// Done, and in force.
fn done(cluster: &Cluster, node: u32, args: &[&str]) {
    let (text, errors, status) = run(cluster, node, args);
    assert_eq!((status, errors.as_str()), (Some(0), ""), "{args:?}: {text}\n{}", cluster.report());
    assert!(text.contains("In force: "), "{text}");
}

/// Refused with these words and this remedy; nothing has changed.
fn refused(cluster: &Cluster, node: u32, args: &[&str], why: &str, remedy: &str) {
    let before = numbers(cluster, node);
    let (text, errors, status) = run(cluster, node, args);
    assert_eq!(status, Some(1), "{args:?}: {text}{errors}\n{}", cluster.report());
    assert!(
        errors.contains(why) && errors.contains(remedy) && errors.contains("nothing was changed"),
        "{errors}"
    );
    assert!(text.contains("NOW") && text.contains("THEN"), "{text}");
    assert_eq!(numbers(cluster, node), before);
}

/// Possible, expected, needed, present, and whether that is quorate.
fn numbers(cluster: &Cluster, node: u32) -> ([u64; 4], bool) {
    let status = json(cluster, node, &["status"], 0);
    let number = |name: &str| status[name].as_u64().unwrap();
    (["possible", "expected", "needed", "present"].map(number), status["quorate"] == true)
}

/// Waits until these nodes count so.
fn counts(cluster: &Cluster, on: &[u32], want: [u64; 4], quorate: bool) {
    cluster.wait_for(&format!("nodes {on:?} count {want:?}"), || {
        on.iter().all(|n| numbers(cluster, *n) == (want, quorate)).then_some(())
    });
}

/// Daemons without `rgmd`, so that nobody but the command changes anything.
fn running(name: &str, options: Options) -> Cluster {
    let cluster = Cluster::new(name, options, &Cib::new()).unwrap();
    for node in cluster.all() {
        cluster.power_on(node).unwrap();
        cluster.start_ring(node).unwrap();
    }
    let all = cluster.all();
    cluster.wait_for_members(&all, &all);
    cluster.wait_for_quorum(&all, true);
    cluster
}

fn stop(cluster: &Cluster, node: u32) {
    cluster.signal(node, "cmmd", Signal::SIGTERM);
    cluster.wait_for("it ends", || cluster.find(node, "cmmd").is_empty().then_some(()));
    let others: Vec<u32> =
        cluster.all().into_iter().filter(|n| !cluster.find(*n, "cmmd").is_empty()).collect();
    cluster.wait_for_members(&others, &others);
}

fn start(cluster: &Cluster, node: u32) {
    // Its process has another name for a moment: it is not looked for.
    let runs = |n: &u32| *n == node || !cluster.find(*n, "cmmd").is_empty();
    let all: Vec<u32> = cluster.all().into_iter().filter(runs).collect();
    cluster.start_ring(node).unwrap();
    cluster.wait_for_members(&all, &all);
}

#[test]
fn votes_and_expected_votes_are_shown_changed_and_refused_by_what_the_daemons_count() {
    if skip() {
        return;
    }
    let cluster = running("quorum-votes", nodes(3));
    counts(&cluster, &[1, 2, 3], [3, 3, 2, 3], true);
    let (text, _, status) = run(&cluster, 2, &["status"]);
    assert_eq!(status, Some(0));
    for line in [
        "Quorum          yes\n",
        "Votes needed    2\n",
        "Stands          the loss of any 1\n",
        "online  this node\n",
    ] {
        assert!(text.contains(line), "{line:?}: {text}");
    }

    // A node more, as far as votes go; what was shown before is what is there afterwards.
    let shown = json(&cluster, 1, &["votes", "n2", "2", "--dry-run"], 0);
    assert_eq!((&shown["after"]["expected"], &shown["asked"]), (&4.into(), &false.into()));
    counts(&cluster, &[1, 2, 3], [3, 3, 2, 3], true);
    let made = json(&cluster, 1, &["votes", "n2", "2"], 0);
    for (name, value) in [("expected", 4), ("needed", 3), ("present", 4)] {
        assert_eq!(made["after"][name], value, "{made}");
        assert_eq!(made["now"][name], value, "{made}");
    }
    counts(&cluster, &[1, 2, 3], [4, 4, 3, 4], true);
    let (text, _, status) = run(&cluster, 3, &["votes", "2", "2"]);
    assert!(status == Some(0) && text.contains("It is so already."), "{text}");

    // What would cost quorum is refused; so is what the daemon would not take, whoever insists.
    refused(&cluster, 1, &["votes", "n2", "9"], "on the way there", "holdfast quorum votes n2 5 ");
    refused(
        &cluster,
        1,
        &["expected", "8"],
        "4 of 8 votes would be present and 5 needed",
        "holdfast quorum expected 7",
    );
    refused(
        &cluster,
        1,
        &["expected", "3"],
        "the votes that are here make 4, and not fewer can be expected",
        "holdfast quorum expected 4",
    );
    let (_, errors, status) = run(&cluster, 1, &["expected", "3", "--force", "quorum-votes"]);
    assert!(
        status == Some(70) && errors.contains("cmmd refused it: expected votes are at least"),
        "{errors}"
    );
    let (_, errors, status) = run(&cluster, 1, &["expected", "3", "--force", "web"]);
    assert!(
        status == Some(64) && errors.contains("this is cluster \"quorum-votes\", not \"web\""),
        "{errors}"
    );
    let (_, errors, status) = run(&cluster, 1, &["votes", "n9", "1"]);
    assert!(
        status == Some(64) && errors.contains("there is no node n9; there are n1 (1), n2 (2), n3 (3)"),
        "{errors}"
    );
    counts(&cluster, &[1, 2, 3], [4, 4, 3, 4], true);

    // As the file says, in one word.
    done(&cluster, 3, &["reset"]);
    counts(&cluster, &[1, 2, 3], [3, 3, 2, 3], true);

    // Two nodes are gone. The one that is left may go on only if somebody knows that they are.
    done(&cluster, 1, &["expected", "4"]);
    counts(&cluster, &[1, 2, 3], [3, 4, 3, 3], true);
    done(&cluster, 1, &["expected", "3"]);
    stop(&cluster, 3);
    stop(&cluster, 2);
    counts(&cluster, &[1], [3, 3, 2, 1], false);
    refused(
        &cluster,
        1,
        &["votes", "n1", "3"],
        "this partition is not quorate (1 of 3 votes, 2 needed)",
        "holdfast quorum expected 1",
    );
    refused(
        &cluster,
        1,
        &["expected", "1"],
        "n2 and n3 may be quorate without this partition",
        "--force and the cluster's name",
    );
    let (text, errors, status) = run(&cluster, 1, &["expected", "1", "--force", "quorum-votes"]);
    assert!(
        status == Some(0) && text.contains("In force: expected 1, needed 1, present 1; quorate."),
        "{text}{errors}"
    );
    counts(&cluster, &[1], [3, 1, 1, 1], true);
}

#[test]
fn a_node_in_maintenance_lowers_what_is_needed_and_reset_brings_all_back() {
    if skip() {
        return;
    }
    let cluster = running("quorum-maintenance", nodes(3));
    stop(&cluster, 3);
    counts(&cluster, &[1, 2], [3, 3, 2, 2], true);
    refused(
        &cluster,
        1,
        &["maintenance", "n2", "on"],
        "1 of 2 votes would be present and 2 needed",
        "start n3 first",
    );
    // It is down: its vote is not expected any more. With both that are left another one may go as little as before, and says so.
    done(&cluster, 1, &["maintenance", "n3", "on"]);
    counts(&cluster, &[1, 2], [2, 2, 2, 2], true);
    let status = json(&cluster, 2, &["status"], 0);
    assert_eq!(
        (&status["nodes"][2]["place"], &status["nodes"][2]["votes"]),
        (&"maintenance".into(), &0.into()),
        "{status}"
    );
    // It is there again, and has no vote until it is told so.
    start(&cluster, 3);
    counts(&cluster, &[1, 2, 3], [2, 2, 2, 2], true);
    done(&cluster, 3, &["maintenance", "3", "off"]);
    counts(&cluster, &[1, 2, 3], [3, 3, 2, 3], true);

    // Who runs can be taken out of the count, too; reset brings back all at once, and what was set by hand.
    done(&cluster, 1, &["votes", "n1", "2"]);
    let (text, _, status) = run(&cluster, 2, &["maintenance", "n2", "on"]);
    assert!(status == Some(0) && text.contains("the votes of n1 were set to 2 at run time"), "{text}");
    counts(&cluster, &[1, 2, 3], [2, 2, 2, 2], true);
    done(&cluster, 3, &["reset"]);
    counts(&cluster, &[1, 2, 3], [3, 3, 2, 3], true);
    let (text, _, status) = run(&cluster, 3, &["reset"]);
    assert!(status == Some(0) && text.contains("It is so already."), "{text}");

    // Where those that are back in the count are not there, reset would cost quorum.
    stop(&cluster, 3);
    done(&cluster, 1, &["maintenance", "n3", "on"]);
    counts(&cluster, &[1, 2], [2, 2, 2, 2], true);
    stop(&cluster, 2);
    counts(&cluster, &[1], [2, 2, 2, 1], false);
    refused(
        &cluster,
        1,
        &["reset"],
        "this partition is not quorate (1 of 2 votes, 2 needed)",
        "start n2 first",
    );
}

#[test]
fn a_device_that_is_not_there_and_a_daemon_that_is_not_are_named_with_what_helps() {
    if skip() {
        return;
    }
    let cluster = running("quorum-errors", nodes(2));
    let (_, errors, status) = run(&cluster, 1, &["device", "disable"]);
    assert!(
        status == Some(64) && errors.contains("no quorum device; add one: holdfast quorum device add"),
        "{errors}"
    );
    let (_, errors, status) = run(&cluster, 1, &["device", "remove"]);
    assert!(status == Some(73) && errors.contains("there is no quorum device in it"), "{errors}");
    // No quorum disk: nothing is changed.
    let file = cluster.node_dir(1).join("nothing");
    std::fs::write(&file, vec![0; 1 << 20]).unwrap();
    let path = file.to_str().unwrap();
    let before = cluster.exec(1, "cat", &["/etc/holdfast/holdfast.conf"]).unwrap().stdout;
    let (_, errors, status) = run(&cluster, 1, &["device", "add", "disk", path]);
    let remedy = format!(
        "make it one first: holdfast qdisk create {path} --label quorum-errors --cluster quorum-errors"
    );
    assert!(status == Some(73) && errors.contains(&remedy), "{errors}");
    let after = cluster
        .exec(1, "sh", &["-c", "cat /etc/holdfast/holdfast.conf; ls -A /etc/holdfast"])
        .unwrap()
        .stdout;
    let names = "authkey\nholdfast.conf\n";
    assert_eq!(String::from_utf8_lossy(&after), String::from_utf8_lossy(&before) + names);
    stop(&cluster, 2);
    cluster.signal(1, "cmmd", Signal::SIGTERM);
    cluster.wait_for("it ends", || cluster.find(1, "cmmd").is_empty().then_some(()));
    for args in [&["status"][..], &["expected", "1"], &["maintenance", "n2", "on"]] {
        let (_, errors, status) = run(&cluster, 1, args);
        assert!(
            status == Some(69) && errors.contains("cmmd does not run on this node"),
            "{args:?}: {errors}"
        );
    }
}

/// A node's configuration file.
fn file(cluster: &Cluster, node: u32) -> String {
    let out = cluster.exec(node, "cat", &["/etc/holdfast/holdfast.conf"]).unwrap();
    String::from_utf8_lossy(&out.stdout).into_owned()
}

/// (S12, S13)
#[test]
fn a_quorum_disk_is_added_disabled_and_removed_by_command_and_never_where_it_carries_the_majority() {
    if skip() {
        return;
    }
    let cluster = running("quorum-device", nodes(2));
    counts(&cluster, &[1, 2], [2, 2, 2, 2], true);
    let disk = cluster.node_dir(1).parent().unwrap().join("disk");
    std::fs::write(&disk, vec![0; 4 << 20]).unwrap();
    let disk = disk.to_str().unwrap();
    let made = cluster
        .exec(1, "holdfast", &["qdisk", "create", disk, "--cluster", "quorum-device", "--yes"])
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let add = ["device", "add", "disk", disk, "--interval", "200", "--tko", "6"];
    let before = file(&cluster, 1);

    // On the first node it waits for the second one's file, and says so; on the second it is done.
    let (text, errors, status) = run(&cluster, 1, &add);
    assert_eq!(status, Some(75), "{text}{errors}\n{}", cluster.report());
    for words in [
        "the file of node 2 has another one",
        "Type the same on n2",
        "holdfast quorum device add disk",
        "--tko 6",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    counts(&cluster, &[1, 2], [2, 2, 2, 2], true);
    done(&cluster, 2, &add);
    counts(&cluster, &[1, 2], [3, 3, 2, 3], true);
    let with = file(&cluster, 1);
    let (_, errors, status) = run(&cluster, 1, &add);
    assert!(status == Some(73) && errors.contains("there is a quorum device already"), "{errors}");
    let shown = json(&cluster, 2, &["status"], 0);
    assert_eq!(
        (&shown["device"]["model"], &shown["device"]["votes"], &shown["stands"]),
        (&"disk".into(), &1.into(), &1.into()),
        "{shown}"
    );

    // Without it for a while, on all nodes, and back.
    done(&cluster, 2, &["device", "disable"]);
    counts(&cluster, &[1, 2], [2, 2, 2, 2], true);
    assert_eq!(json(&cluster, 1, &["status"], 0)["device"]["enabled"], false);
    done(&cluster, 1, &["device", "enable"]);
    counts(&cluster, &[1, 2], [3, 3, 2, 3], true);

    // 4811232: one of two is down, and the device carries the majority. Nothing is changed, and nothing dies.
    stop(&cluster, 2);
    counts(&cluster, &[1], [3, 3, 2, 2], true);
    let remedy = "holdfast quorum maintenance n2 on; holdfast quorum device disable";
    for command in ["remove", "disable"] {
        let remedy = remedy
            .strip_suffix("; holdfast quorum device disable")
            .filter(|_| command == "disable")
            .unwrap_or(remedy);
        refused(&cluster, 1, &["device", command], "1 of 2 votes would be present and 2 needed", remedy);
    }
    assert_eq!(file(&cluster, 1), with);
    // Nor by force: the daemon waits until it can be done.
    let (text, errors, status) = run(&cluster, 1, &["device", "remove", "--force", "quorum-device"]);
    assert!(status == Some(75) && text.contains("start node 2 first"), "{text}{errors}");
    assert_eq!(file(&cluster, 1), before, "byte for byte");
    counts(&cluster, &[1], [3, 3, 2, 2], true);
    done(&cluster, 1, &add);
    assert_eq!(file(&cluster, 1), with);

    // As the remedy says.
    done(&cluster, 1, &["maintenance", "n2", "on"]);
    counts(&cluster, &[1], [2, 2, 2, 2], true);
    done(&cluster, 1, &["device", "disable"]);
    counts(&cluster, &[1], [1, 1, 1, 1], true);
    done(&cluster, 1, &["device", "remove"]);
    counts(&cluster, &[1], [1, 1, 1, 1], true);
    assert_eq!(file(&cluster, 1), before, "byte for byte");
    let kept = cluster.exec(1, "sh", &["-c", "cat /etc/holdfast/holdfast.conf.bak-*"]).unwrap();
    assert!(String::from_utf8_lossy(&kept.stdout).contains("model: disk"), "{kept:?}");

    // The second node comes back with the file of before, and waits for nobody when its own is changed.
    start(&cluster, 2);
    counts(&cluster, &[1, 2], [1, 1, 1, 1], true);
    done(&cluster, 2, &["device", "remove"]);
    done(&cluster, 2, &["reset"]);
    counts(&cluster, &[1, 2], [2, 2, 2, 2], true);
}

#[test]
fn a_quorum_server_is_added_disabled_and_removed_by_command() {
    if skip() {
        return;
    }
    let cluster = Cluster::new("quorum-server", Options { spare: true, ..nodes(2) }, &Cib::new()).unwrap();
    crate::qnetd::start_server(&cluster, &["-f", "-s", "off"]);
    for node in [1, 2] {
        cluster.power_on(node).unwrap();
        cluster.start_ring(node).unwrap();
    }
    cluster.wait_for_members(&[1, 2], &[1, 2]);
    counts(&cluster, &[1, 2], [2, 2, 2, 2], true);
    let before = file(&cluster, 2);
    let server = harness::address(cluster.spare(), 0).to_string();
    let add = ["device", "add", "net", &server, "--tls", "off", "--timeout", "4000"];
    let (text, errors, status) = run(&cluster, 1, &add);
    assert!(status == Some(75) && text.contains("Type the same on n2"), "{text}{errors}");
    done(&cluster, 2, &add);
    counts(&cluster, &[1, 2], [3, 3, 2, 3], true);
    let (text, _, _) = run(&cluster, 1, &["status"]);
    assert!(text.contains(&format!("net {server}")), "{text}");
    done(&cluster, 1, &["device", "disable"]);
    counts(&cluster, &[1, 2], [2, 2, 2, 2], true);
    done(&cluster, 2, &["device", "enable"]);
    counts(&cluster, &[1, 2], [3, 3, 2, 3], true);

    // A server does not remember whom it served: with its vote alone nothing is changed.
    stop(&cluster, 1);
    counts(&cluster, &[2], [3, 3, 2, 2], true);
    let why = "the nodes have to be quorate without the server's vote";
    refused(&cluster, 2, &["maintenance", "n1", "on"], why, "start n1 first");
    let (_, errors, status) = run(&cluster, 2, &["maintenance", "n1", "on", "--force", "quorum-server"]);
    assert!(
        status == Some(70) && errors.contains("cmmd refused it: before and after it a majority"),
        "{errors}"
    );
    counts(&cluster, &[2], [3, 3, 2, 2], true);
    start(&cluster, 1);
    counts(&cluster, &[1, 2], [3, 3, 2, 3], true);
    let (text, errors, status) = run(&cluster, 1, &["device", "remove"]);
    assert!(status == Some(75) && text.contains("holdfast quorum device remove"), "{text}{errors}");
    done(&cluster, 2, &["device", "remove"]);
    counts(&cluster, &[1, 2], [2, 2, 2, 2], true);
    assert_eq!(file(&cluster, 2), before, "byte for byte");
}
