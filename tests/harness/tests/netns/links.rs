//! Links: cut one by one, both, one way; what operators see of it.

use std::process::Output;
use std::time::Duration;

use harness::{Cib, Cluster, Options, Signal, skip};

use crate::{one_order, start_talkers, stays, up};

fn two_links(nodes: u32) -> Options {
    Options { nodes, links: 2, ..Options::default() }
}

/// Standard output of one of the distribution's programs on a node.
fn ask(cluster: &Cluster, node: u32, program: &str, args: &[&str]) -> String {
    let out = cluster.exec(node, program, args).unwrap();
    String::from_utf8_lossy(&out.stdout).into_owned()
}

/// A key of the statistics map.
fn stat(cluster: &Cluster, node: u32, key: &str) -> Option<u64> {
    let text = ask(cluster, node, "corosync-cmapctl", &["-m", "stats", "-g", key]);
    text.trim().rsplit(" = ").next()?.parse().ok()
}

/// How often each node has installed a ring.
fn rings(cluster: &Cluster) -> Vec<Option<u64>> {
    let of = |n: &u32| stat(cluster, *n, "stats.srp.operational_entered");
    let rings: Vec<_> = cluster.all().iter().map(of).collect();
    assert!(rings.iter().all(Option::is_some), "{rings:?}");
    rings
}

fn wait_for_line(cluster: &Cluster, node: u32, line: &str) {
    cluster.wait_for(&format!("n{node} logs \"{line}\""), || {
        cluster.log(node, "cmmd").contains(line).then_some(())
    });
}

fn wait_for_stat(cluster: &Cluster, node: u32, key: &str, wanted: u64) {
    cluster.wait_for(&format!("{key} of n{node} is {wanted}"), || {
        (stat(cluster, node, key) == Some(wanted)).then_some(())
    });
}

#[test]
fn a_link_is_cut_and_nobody_but_the_operator_notices() {
    if skip() {
        return;
    }
    let cluster = up("linkcut", two_links(3), &Cib::new());
    wait_for_stat(&cluster, 1, "stats.knet.node2.link1.connected", 1);
    wait_for_stat(&cluster, 1, "stats.knet.node3.link0.connected", 1);
    let before = rings(&cluster);
    cluster.cut_link(0);
    wait_for_line(&cluster, 1, "link: host: 2 link: 0 is down");
    wait_for_line(&cluster, 1, "host: host: 2 (passive) best link: 1 (pri: 1)");
    wait_for_line(&cluster, 1, "Ring number 0 is FAULTY");
    wait_for_stat(&cluster, 1, "stats.knet.node2.link0.connected", 0);
    assert_eq!(stat(&cluster, 1, "stats.knet.node2.link1.connected"), Some(1));
    assert_eq!(stat(&cluster, 1, "stats.knet.node2.link0.down_count"), Some(1));
    let nodes = ask(&cluster, 1, "corosync-cfgtool", &["-n"]);
    assert!(nodes.contains("LINK: 0 udp (10.77.0.1->10.77.0.2) enabled mtu:"), "{nodes}");
    assert!(nodes.contains("LINK: 1 udp (10.77.1.1->10.77.1.2) enabled connected mtu:"), "{nodes}");
    stays("all are members of one ring", Duration::from_secs(5), || {
        cluster.all().iter().all(|n| cluster.status(*n).is_ok_and(|s| s.ring.members == cluster.all()))
    });
    cluster.heal();
    wait_for_line(&cluster, 1, "rx: host: 2 link: 0 is up");
    wait_for_line(&cluster, 1, "Automatically recovered ring 0");
    wait_for_stat(&cluster, 1, "stats.knet.node2.link0.connected", 1);
    let status = ask(&cluster, 1, "corosync-cfgtool", &["-s"]);
    for line in ["LINK ID 0 udp", "addr\t= 10.77.0.1", "LINK ID 1 udp", "nodeid:          2:\tconnected"] {
        assert!(status.contains(line), "{line} in:\n{status}");
    }
    assert_eq!(rings(&cluster), before, "no ring was formed\n{}", cluster.report());
}

#[test]
fn when_the_last_link_is_cut_the_node_is_lost() {
    if skip() {
        return;
    }
    let cluster = up("lastlink", two_links(3), &Cib::new());
    cluster.cut_link(0);
    wait_for_line(&cluster, 1, "link: host: 3 link: 0 is down");
    cluster.isolate(3);
    cluster.wait_for_members(&[1, 2], &[1, 2]);
    cluster.wait_for_quorum(&[1, 2], true);
    cluster.wait_for_quorum(&[3], false);
    wait_for_line(&cluster, 1, "host: host: 3 has no active links");
    cluster.heal();
    let all = cluster.all();
    cluster.wait_for_members(&all, &all);
    cluster.wait_for_quorum(&all, true);
}

#[test]
fn a_link_that_works_one_way_only_is_given_up_by_both_sides() {
    if skip() {
        return;
    }
    let cluster = up("linkoneway", two_links(2), &Cib::new());
    wait_for_stat(&cluster, 1, "stats.knet.node2.link0.connected", 1);
    let before = rings(&cluster);
    cluster.cut_link_one_way(0, 1, 2);
    wait_for_line(&cluster, 1, "link: host: 2 link: 0 is down (it does not hear us)");
    wait_for_line(&cluster, 2, "link: host: 1 link: 0 is down (nothing is heard on it)");
    assert_eq!(rings(&cluster), before, "no ring was formed\n{}", cluster.report());
}

#[test]
fn a_ring_forms_and_fails_over_on_ipv6_in_active_mode() {
    if skip() {
        return;
    }
    let options = Options { ipv6: true, totem: "    link_mode: active\n", ..two_links(3) };
    let cluster = up("ipv6", options, &Cib::new());
    wait_for_stat(&cluster, 1, "stats.knet.node2.link1.connected", 1);
    let before = rings(&cluster);
    cluster.cut_link(1);
    wait_for_line(&cluster, 2, "link: host: 3 link: 1 is down");
    let nodes = ask(&cluster, 2, "corosync-cfgtool", &["-n"]);
    assert!(nodes.contains("(fd77::2->fd77::3) enabled connected"), "{nodes}");
    assert_eq!(rings(&cluster), before, "no ring was formed\n{}", cluster.report());
}

/// The ring's packets are larger than this link takes: the kernel has to cut them up.
#[test]
fn a_path_of_small_packets_carries_the_ring() {
    if skip() {
        return;
    }
    let resource = |cib: Cib, n: u32| cib.primitive(&format!("dummy{n}"), "ocf:heartbeat:Dummy", &[]);
    let cib = (0..20).fold(Cib::new(), resource);
    let cluster = Cluster::new("smallmtu", Options { nodes: 2, ..Options::default() }, &cib).unwrap();
    for node in cluster.all() {
        cluster.power_on(node).unwrap();
        let out = cluster.exec(node, "ip", &["link", "set", "eth0", "mtu", "1280"]).unwrap();
        assert!(out.status.success(), "{out:?}");
    }
    for node in cluster.all() {
        cluster.boot(node).unwrap();
    }
    cluster.wait_for_members(&[1, 2], &[1, 2]);
    // The configuration is longer than a packet, and both managers must have it.
    cluster.wait_for_started(2, &["dummy0"]);
    cluster.wait_for("large packets have been sent", || {
        let bytes = stat(&cluster, 1, "stats.knet.node2.link0.tx_total_bytes")?;
        (bytes > 20_000).then_some(())
    });
}

/// What data packets of a node may have for a frame, on their way to node 2 or 1.
fn mtu(cluster: &Cluster, node: u32) -> Option<u64> {
    let to = if node == 2 { 1 } else { 2 };
    stat(cluster, node, &format!("stats.knet.node{to}.link0.mtu"))
}

#[test]
fn a_path_shrinks_and_grows_under_load_and_nobody_but_the_operator_notices() {
    if skip() {
        return;
    }
    let options = Options { nodes: 3, totem: "    knet_pmtud_interval: 2\n", ..Options::default() };
    let cluster = up("mtu", options, &Cib::new());
    let all = cluster.all();
    let settle = |what: &str, range: std::ops::RangeInclusive<u64>| {
        cluster.wait_for(what, || {
            all.iter().all(|n| mtu(&cluster, *n).is_some_and(|m| range.contains(&m))).then_some(())
        });
    };
    // Packets of 1472 bytes with IPv4 on Ethernet, header and tag of the seal taken off.
    settle("Ethernet is found", 1_428..=1_428);
    wait_for_line(&cluster, 1, "pmtud: Global data MTU changed to: 1428");
    all.iter().for_each(|n| cluster.set_mtu(*n, 9_000));
    settle("long frames are found", 8_928..=8_928);
    wait_for_line(&cluster, 1, "pmtud: PMTUD link change for host: 2 link: 0 from 1428 to 8928");
    let before = rings(&cluster);
    let (count, size) = (3_000, 16_384);
    start_talkers(&cluster, count, size);
    let delivered = |node: u32| cluster.log(node, "talker").lines().count();
    for (part, mtu) in [(1, 1_500), (2, 1_300), (3, 9_000)] {
        cluster.wait_for(&format!("{part} of 5 parts of the load are through"), || {
            (delivered(3) > part * all.len() * count / 5).then_some(())
        });
        // One after the other: in between, long packets of one get lost on their way to another.
        all.iter().for_each(|n| cluster.set_mtu(*n, mtu));
    }
    one_order(&cluster, count);
    settle("long frames are found again", 8_928..=8_928);
    assert_eq!(rings(&cluster), before, "no ring was formed\n{}", cluster.report());
    // And where nothing is sent: the next search sees it, at the latest.
    all.iter().for_each(|n| cluster.set_mtu(*n, 1_300));
    settle("what is left of 1300 is found", 1_220..=1_228);
    assert_eq!(rings(&cluster), before, "no ring was formed\n{}", cluster.report());
}

fn edit(cluster: &Cluster, node: u32, edit: &str) {
    let out = cluster.exec(node, "sed", &["-i", edit, "/etc/holdfast/holdfast.conf"]).unwrap();
    assert!(out.status.success(), "{out:?}");
}

/// Edits the configuration of every node and has one of them say that all are to read it anew. What that one is told.
fn reload(cluster: &Cluster, text: &str) -> Output {
    cluster.all().iter().for_each(|n| edit(cluster, *n, text));
    cluster.exec(2, "corosync-cfgtool", &["-R"]).unwrap()
}

#[test]
fn links_and_addresses_change_while_the_ring_turns() {
    if skip() {
        return;
    }
    let cluster = up("relink", two_links(3), &Cib::new());
    let before = rings(&cluster);
    // Another address for everyone on link 1, added before it is used.
    for node in cluster.all() {
        let address = format!("10.77.1.{}/24", 100 + node);
        let out = cluster.exec(node, "ip", &["addr", "add", &address, "dev", "eth1"]).unwrap();
        assert!(out.status.success(), "{out:?}");
    }
    let out = reload(&cluster, "s/ring1_addr: 10.77.1./ring1_addr: 10.77.1.10/");
    assert!(out.status.success(), "{out:?}");
    cluster.wait_for("link 1 is up at its new addresses", || {
        let nodes = ask(&cluster, 1, "corosync-cfgtool", &["-n"]);
        nodes.contains("LINK: 1 udp (10.77.1.101->10.77.1.103) enabled connected").then_some(())
    });
    wait_for_stat(&cluster, 2, "stats.knet.node3.link1.connected", 1);
    wait_for_stat(&cluster, 3, "stats.knet.node2.link1.connected", 1);
    // Link 1 goes; then the addresses of link 0 may not change.
    reload(&cluster, "/ring1_addr/d");
    wait_for_line(&cluster, 1, "Config reload: links are 0;");
    let out = reload(&cluster, "s/ring0_addr: 10.77.0./ring0_addr: 10.77.9./");
    assert!(!out.status.success(), "who asks is told that it was refused: {out:?}");
    wait_for_line(&cluster, 1, "Config reload refused");
    stays("all are members of one ring", Duration::from_secs(3), || {
        cluster.all().iter().all(|n| cluster.status(*n).is_ok_and(|s| s.ring.members == cluster.all()))
    });
    assert_eq!(rings(&cluster), before, "no ring was formed\n{}", cluster.report());
}

/// A key of the configuration's map, as corosync-cmapctl prints its value.
fn key(cluster: &Cluster, node: u32, key: &str) -> String {
    let text = ask(cluster, node, "corosync-cmapctl", &["-g", key]);
    text.trim().rsplit(" = ").next().unwrap_or_default().to_owned()
}

#[test]
fn a_reload_is_for_all_nodes_and_says_what_it_does_not_do() {
    if skip() {
        return;
    }
    let cluster = up("reload", two_links(3), &Cib::new());
    let before = rings(&cluster);
    let out = reload(&cluster, "s/transport: knet/transport: udp/");
    assert!(out.status.success(), "{out:?}");
    for node in cluster.all() {
        wait_for_line(&cluster, node, "Config reload requested by node 2");
        wait_for_line(&cluster, node, "NOT taken over before this node is started anew: totem.transport");
        wait_for_line(
            &cluster,
            node,
            "Modified entry 'totem.transport' in corosync.conf cannot be changed at run-time",
        );
    }
    // One mistake, on one node: it stays there, and is named with its line.
    edit(&cluster, 3, "s/version: 2/version: two/");
    let out = cluster.exec(1, "corosync-cfgtool", &["-R"]).unwrap();
    assert!(out.status.success(), "on that node all is well: {out:?}");
    wait_for_line(&cluster, 3, "Config reload refused, nothing has changed: /etc/holdfast/holdfast.conf:2");
    let out = cluster.exec(3, "corosync-cfgtool", &["-R"]).unwrap();
    assert!(!out.status.success(), "{out:?}");
    assert_eq!(
        [key(&cluster, 3, "config.reload_status"), key(&cluster, 1, "config.reload_status")],
        ["7", "1"]
    );
    assert!(!cluster.log(1, "cmmd").contains("Config reload refused"), "{}", cluster.report());
    assert_eq!(rings(&cluster), before, "no ring was formed\n{}", cluster.report());
}

#[test]
fn a_reload_changes_timers_and_logging_on_all_nodes_at_once() {
    if skip() {
        return;
    }
    let cluster = up("retime", two_links(3), &Cib::new());
    let before = rings(&cluster);
    let limit =
        |node: u32, of: u32| stat(&cluster, node, &format!("stats.holdfast.detector.node{of}.limit_us"));
    assert!(limit(1, 3) < Some(3_000_000), "{:?}", limit(1, 3));
    let longer = "s/token: 2000/token: 9000\\n    token_coefficient: 0\\n    heartbeat_limit: 3000/; \
                  s/to_syslog: no/to_syslog: no\\n    debug: on\\n    to_logfile: yes\\n    logfile: \\/var\\/log\\/holdfast-reload.log/";
    let out = reload(&cluster, longer);
    assert!(out.status.success(), "{out:?}");
    for node in cluster.all() {
        wait_for_line(
            &cluster,
            node,
            "taken over: logging.debug logging.logfile logging.to_logfile totem.heartbeat_limit totem.token",
        );
        cluster.wait_for("the new limits are in force", || {
            (limit(node, node % 3 + 1) >= Some(3_000_000)).then_some(())
        });
        assert_eq!(key(&cluster, node, "totem.token"), "9000");
        assert_eq!(key(&cluster, node, "runtime.config.totem.token"), "9000");
        assert_eq!(key(&cluster, node, "runtime.config.totem.consensus"), "10800");
        assert_eq!(key(&cluster, node, "logging.debug"), "on");
        for progress in ["config.reload_in_progress", "config.totemconfig_reload_in_progress"] {
            assert_eq!(key(&cluster, node, progress), "0");
        }
    }
    // For longer than the old limits, twice the old lease and more.
    stays("all are members of one ring, and quorate", Duration::from_secs(5), || {
        cluster
            .all()
            .iter()
            .all(|n| cluster.status(*n).is_ok_and(|s| s.ring.members == cluster.all() && s.quorum.quorate))
    });
    assert_eq!(rings(&cluster), before, "no ring was formed\n{}", cluster.report());
    // Back to short ones: what was set is gone, and a death is seen as they say.
    let shorter = "/heartbeat_limit/d; /token_coefficient/d; /logfile/d; s/token: 9000/token: 500/; s/debug: on/debug: off/";
    let out = reload(&cluster, shorter);
    assert!(out.status.success(), "{out:?}");
    for node in cluster.all() {
        cluster.wait_for("the short limits are in force", || {
            (limit(node, node % 3 + 1) < Some(1_000_000)).then_some(())
        });
        assert_eq!(key(&cluster, node, "logging.debug"), "off");
        let gone = cluster.exec(node, "corosync-cmapctl", &["-g", "totem.heartbeat_limit"]).unwrap();
        assert!(!gone.status.success(), "{gone:?}");
        let written = ask(&cluster, node, "cat", &["/var/log/holdfast-reload.log"]);
        assert!(written.contains(" cmmd "), "the log file was written while it was asked for: {written}");
    }
    assert_eq!(rings(&cluster), before, "no ring was formed\n{}", cluster.report());
    cluster.signal(3, "cmmd", Signal::SIGKILL);
    cluster.wait_for_members(&[1, 2], &[1, 2]);
    cluster.wait_for_quorum(&[1, 2], true);
}

/// A line of corosync-quorumtool, without its name.
fn quorumtool(cluster: &Cluster, node: u32, name: &str) -> String {
    let text = ask(cluster, node, "corosync-quorumtool", &["-s"]);
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap_or_default().trim().to_owned()
}

#[test]
fn a_reload_changes_votes_on_all_nodes() {
    if skip() {
        return;
    }
    let cluster = up("revote", two_links(3), &Cib::new());
    let numbers =
        |n: u32| ["Expected votes:", "Total votes:", "Quorum:"].map(|name| quorumtool(&cluster, n, name));
    let are = |wanted: [&str; 3]| {
        cluster.wait_for(&format!("expected, total, quorum are {wanted:?}"), || {
            cluster.all().iter().all(|n| numbers(*n) == wanted).then_some(())
        });
    };
    are(["3", "3", "2"]);
    let out = reload(&cluster, "s/provider: .*/&\\n    expected_votes: 5/");
    assert!(out.status.success(), "{out:?}");
    are(["5", "3", "3"]);
    assert_eq!(key(&cluster, 3, "quorum.expected_votes"), "5");
    // More than all can make a quorum of: all stays as it is, and each node says so.
    reload(&cluster, "s/expected_votes: 5/expected_votes: 9/");
    wait_for_line(&cluster, 3, "expected_votes 9 can never be reached by half with 3 votes in the node list");
    are(["5", "3", "3"]);
    // Two votes for node 1, and the number of all of them as before.
    reload(&cluster, "s/expected_votes: 9/expected_votes: 5/; s/nodeid: 1$/&\\n        quorum_votes: 2/");
    are(["5", "4", "3"]);
    reload(&cluster, "/expected_votes/d; /quorum_votes/d");
    are(["3", "3", "2"]);
    let gone = cluster.exec(1, "corosync-cmapctl", &["-g", "quorum.expected_votes"]).unwrap();
    assert!(!gone.status.success(), "{gone:?}");
    assert!(
        cluster.all().iter().all(|n| cluster.status(*n).is_ok_and(|s| s.quorum.quorate)),
        "{}",
        cluster.report()
    );
}

#[test]
fn a_reload_switches_two_node() {
    if skip() {
        return;
    }
    let cluster = up("retwo", two_links(2), &Cib::new());
    let before = rings(&cluster);
    let switch = |edit: &str, flags: &str| {
        let out = reload(&cluster, edit);
        assert!(out.status.success(), "{out:?}");
        cluster.wait_for(&format!("the flags are {flags:?}"), || {
            cluster.all().iter().all(|n| quorumtool(&cluster, *n, "Flags:") == flags).then_some(())
        });
    };
    switch("s/provider: .*/&\\n    two_node: 1/", "2Node Quorate WaitForAll");
    assert_eq!(key(&cluster, 1, "quorum.two_node"), "1");
    switch("/two_node/d", "Quorate");
    switch("s/provider: .*/&\\n    two_node: 1/", "2Node Quorate WaitForAll");
    assert_eq!(rings(&cluster), before, "no ring was formed\n{}", cluster.report());
    cluster.power_off(2).unwrap();
    cluster.wait_for_members(&[1], &[1]);
    cluster.wait_for_quorum(&[1], true);
}

#[test]
fn a_reload_changes_the_key_where_the_file_holds_another_one() {
    if skip() {
        return;
    }
    let cluster = up("rekey", two_links(3), &Cib::new());
    let before = rings(&cluster);
    for node in cluster.all() {
        let write = "printf '%0200d' 7 > /etc/holdfast/authkey";
        let out = cluster.exec(node, "sh", &["-c", write]).unwrap();
        assert!(out.status.success(), "{out:?}");
    }
    let out = cluster.exec(1, "corosync-cfgtool", &["-R"]).unwrap();
    assert!(out.status.success(), "{out:?}");
    for node in cluster.all() {
        wait_for_line(&cluster, node, "Key change, step 2: packets are sealed with key");
        wait_for_line(&cluster, node, "Key change done");
    }
    assert_eq!(rings(&cluster), before, "no ring was formed\n{}", cluster.report());
}

#[test]
fn a_gasp_goes_to_the_addresses_of_today() {
    if skip() {
        return;
    }
    let cluster = up("regasp", two_links(3), &Cib::new());
    let ip = |node: u32, what: &str, address: String, link: u8| {
        let out = cluster.exec(node, "ip", &["addr", what, &address, "dev", &format!("eth{link}")]).unwrap();
        assert!(out.status.success(), "{out:?}");
    };
    for link in [0, 1] {
        cluster.all().into_iter().for_each(|n| ip(n, "add", format!("10.78.{link}.{n}/24"), link));
        reload(&cluster, &format!("s/ring{link}_addr: 10.77.{link}./ring{link}_addr: 10.78.{link}./"));
        for node in cluster.all() {
            let wanted = format!("LINK: {link} udp (10.78.{link}.{node}->10.78.{link}.");
            cluster.wait_for(&format!("link {link} of n{node} is up at its new addresses"), || {
                let nodes = ask(&cluster, node, "corosync-cfgtool", &["-n"]);
                let up = |l: &&str| l.contains(&wanted) && l.contains("connected");
                (nodes.lines().filter(up).count() == 2).then_some(())
            });
        }
        // Nothing that was known at the start leads anywhere.
        cluster.all().into_iter().for_each(|n| ip(n, "del", format!("10.77.{link}.{n}/24"), link));
    }
    cluster.signal(3, "cmmd", Signal::SIGKILL);
    for survivor in [1, 2] {
        wait_for_line(&cluster, survivor, "Node 3 goes down: cmmd died or made no progress");
    }
    cluster.wait_for_members(&[1, 2], &[1, 2]);
}

#[test]
fn an_interface_that_is_set_down_takes_its_link_with_it_at_once() {
    if skip() {
        return;
    }
    let cluster = up("carrier", two_links(3), &Cib::new());
    wait_for_stat(&cluster, 3, "stats.knet.node2.link1.connected", 1);
    wait_for_stat(&cluster, 3, "stats.knet.node2.link0.connected", 1);
    let before = rings(&cluster);
    let set = |link: u8, state: &str| {
        let out = cluster.exec(3, "ip", &["link", "set", &format!("eth{link}"), state]).unwrap();
        assert!(out.status.success(), "{out:?}");
    };
    set(0, "down");
    for peer in [1, 2] {
        let line = format!("link: host: {peer} link: 0 is down (its interface lost the carrier)");
        wait_for_line(&cluster, 3, &line);
    }
    wait_for_line(&cluster, 1, "link: host: 3 link: 0 is down");
    set(0, "up");
    wait_for_stat(&cluster, 3, "stats.knet.node2.link0.connected", 1);
    assert_eq!(rings(&cluster), before, "no ring was formed\n{}", cluster.report());
    // The last one: whoever has no link left asks, hears nothing, and is alone.
    set(0, "down");
    set(1, "down");
    wait_for_line(&cluster, 3, "is asked whether it is there (no link to it is up)");
    cluster.wait_for_members(&[1, 2], &[1, 2]);
    cluster.wait_for_members(&[3], &[3]);
    cluster.wait_for_quorum(&[3], false);
    set(0, "up");
    set(1, "up");
    let all = cluster.all();
    cluster.wait_for_members(&all, &all);
    cluster.wait_for_quorum(&all, true);
}
