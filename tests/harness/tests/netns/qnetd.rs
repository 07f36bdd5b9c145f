//! Nodes with the distribution's quorum server, corosync-qnetd, on a machine of its own.

use std::time::Duration;

use harness::{Cib, Cluster, Options, ROUTER_ADDRESS, Signal, address, skip};

use crate::{nodes, stays};

/// `timeout` 4 s: the server takes a client for dead after 4.8 s, and the vote counts for 2 s from an answered echo.
const FFSPLIT: &str = "    device {
        model: net
        timeout: 4000
        net {
            host: 10.77.0.3
            tls: off
            algorithm: ffsplit
        }
    }
";
/// A node is of use as long as it reaches the router.
const FITNESS: &str = "    device {
        model: net
        timeout: 4000
        net {
            host: 10.77.0.3
            tls: off
            algorithm: ffsplit
        }
        heuristics {
            mode: on
            interval: 500
            exec_router: ping -c1 -w1 10.77.0.254
        }
    }
";
const LMS: &str = "    device {
        model: net
        timeout: 4000
        net {
            host: 10.77.0.5
            tls: off
            algorithm: lms
        }
    }
";
const WITH_TLS: &str = "    device {
        model: net
        timeout: 4000
        net {
            host: 10.77.0.3
            tls: required
        }
    }
";

fn with_server(count: u32, quorum: &'static str) -> Options {
    Options { spare: true, quorum, ..nodes(count) }
}

/// What a command on a machine says; it has to succeed.
fn run(cluster: &Cluster, node: u32, script: &str) -> String {
    let out = cluster.exec(node, "sh", &["-ec", script]).unwrap();
    assert!(out.status.success(), "{script}: {out:?}");
    String::from_utf8_lossy(&out.stdout).into_owned()
}

/// Starts the server on the spare machine, which may be on already.
pub(crate) fn start_server(cluster: &Cluster, args: &[&str]) {
    let server = cluster.spare();
    if !cluster.is_on(server) {
        cluster.power_on(server).unwrap();
    }
    run(cluster, server, "mkdir -p /run/corosync-qnetd; rm -f /run/corosync-qnetd/*");
    cluster.start_as(server, "qnetd", "corosync-qnetd", args).unwrap();
}

fn tool(cluster: &Cluster) -> String {
    let out = cluster.exec(cluster.spare(), "corosync-qnetd-tool", &["-lv"]).unwrap();
    String::from_utf8_lossy(&out.stdout).into_owned()
}

fn quorumtool(cluster: &Cluster, node: u32) -> String {
    let out = cluster.exec(node, "corosync-quorumtool", &["-s"]).unwrap();
    String::from_utf8_lossy(&out.stdout).into_owned()
}

/// The value behind a name in its output.
fn number(text: &str, name: &str) -> Option<u32> {
    text.lines().find_map(|l| l.strip_prefix(name)?.trim_start_matches(':').trim().parse().ok())
}

/// Waits until these nodes have so many votes, the server's among them or not.
fn wait_for_votes(cluster: &Cluster, on: &[u32], total: u32) {
    cluster.wait_for(&format!("{total} votes on {on:?}"), || {
        on.iter().all(|n| number(&quorumtool(cluster, *n), "Total votes") == Some(total)).then_some(())
    });
}

fn is_quorate(cluster: &Cluster, node: u32) -> bool {
    cluster.status(node).is_ok_and(|s| s.quorum.quorate)
}

/// The ring's daemon alone: nothing here is about resources.
fn start_node(cluster: &Cluster, node: u32) {
    if !cluster.is_on(node) {
        cluster.power_on(node).unwrap();
    }
    cluster.start_ring(node).unwrap();
}

/// The first one's vote counts on both, and the server knows both.
fn formed(name: &str, options: Options, args: &[&str]) -> Cluster {
    let count = options.nodes;
    let cluster = Cluster::new(name, options, &Cib::new()).unwrap();
    start_server(&cluster, args);
    let all = cluster.all();
    all.iter().for_each(|n| start_node(&cluster, *n));
    cluster.wait_for_members(&all, &all);
    cluster.wait_for_quorum(&all, true);
    cluster.wait_for("the server knows all nodes", || {
        let shown = tool(&cluster);
        (shown.matches("Node ID ").count() >= count as usize).then_some(())
    });
    cluster
}

#[test]
fn the_server_prefers_the_half_whose_heuristics_pass() {
    if skip() {
        return;
    }
    assert!(FITNESS.contains(ROUTER_ADDRESS));
    let cluster = formed("qnetdfit", with_server(2, FITNESS), &["-f", "-s", "off"]);
    cluster.add_router();
    let reported = |fails: usize| {
        let text = tool(&cluster);
        text.matches("Fail (").count() == fails && text.matches("Pass (").count() == 2 - fails
    };
    wait_for_votes(&cluster, &[1, 2], 3);
    cluster.wait_for("both pass", || reported(0).then_some(()));
    // Without heuristics it would be the first one.
    cluster.cut_router(1);
    cluster.wait_for("the server knows that the first one fails", || reported(1).then_some(()));
    cluster.cut(&[1], &[2]);
    cluster.wait_for_quorum(&[1], false);
    cluster.wait_for_quorum(&[2], true);
    stays("the second one is quorate alone", Duration::from_secs(4), || {
        is_quorate(&cluster, 2) && !is_quorate(&cluster, 1)
    });
    let log = cluster.log(1, "cmmd");
    assert!(log.contains("Heuristic: 'ping -c1 -w1 10.77.0.254' DOWN"), "{log}");
    cluster.heal();
    cluster.wait_for_quorum(&[1, 2], true);
}

/// (S16)
#[test]
fn a_quorum_server_decides_who_of_two_goes_on_and_costs_nothing_while_both_do() {
    if skip() {
        return;
    }
    let cluster = formed("qnetd", with_server(2, FFSPLIT), &["-f", "-s", "off"]);
    wait_for_votes(&cluster, &[1, 2], 3);
    let text = quorumtool(&cluster, 1);
    assert!(text.contains("Qdevice"), "{text}");
    assert_eq!((number(&text, "Expected votes"), number(&text, "Quorum")), (Some(3), Some(2)), "{text}");
    let shown = tool(&cluster);
    assert!(shown.contains("Cluster \"qnetd\"") && shown.contains("Fifty-Fifty split"), "{shown}");

    // The server dies, which takes nothing from two that are together, and comes back with an empty memory.
    cluster.signal(cluster.spare(), "corosync-qnetd", Signal::SIGKILL);
    wait_for_votes(&cluster, &[1, 2], 2);
    stays("both are quorate", Duration::from_secs(3), || (1..=2).all(|n| is_quorate(&cluster, n)));
    start_server(&cluster, &["-f", "-s", "off"]);
    wait_for_votes(&cluster, &[1, 2], 3);

    // Cut apart: the one that has the vote goes on, the other one does not.
    cluster.cut(&[1], &[2]);
    cluster.wait_for_quorum(&[2], false);
    stays("exactly the first one is quorate", Duration::from_secs(8), || {
        is_quorate(&cluster, 1) && !is_quorate(&cluster, 2)
    });
    cluster.heal();
    cluster.wait_for_quorum(&[1, 2], true);
    wait_for_votes(&cluster, &[1, 2], 3);

    // Without the server neither half goes on.
    cluster.cut(&[1], &[3]);
    cluster.wait_for("the first one has lost the server", || {
        cluster.log(1, "cmmd").contains("Not connected to the quorum server").then_some(())
    });
    cluster.cut(&[1], &[2]);
    cluster.wait_for("the other one goes on, since it has the server", || {
        (is_quorate(&cluster, 2) && !is_quorate(&cluster, 1)).then_some(())
    });
    cluster.heal();
    cluster.wait_for_quorum(&[1, 2], true);

    // Either one loses its power.
    for (victim, other) in [(1, 2), (2, 1)] {
        wait_for_votes(&cluster, &[1, 2], 3);
        cluster.power_off(victim).unwrap();
        cluster.wait_for_members(&[other], &[other]);
        wait_for_votes(&cluster, &[other], 2);
        cluster.wait_for_quorum(&[other], true);
        start_node(&cluster, victim);
        cluster.wait_for_members(&[1, 2], &[1, 2]);
        cluster.wait_for_quorum(&[1, 2], true);
    }
}

#[test]
fn with_lms_the_last_of_four_nodes_stands() {
    if skip() {
        return;
    }
    let cluster = formed("qnetdlms", with_server(4, LMS), &["-f", "-s", "off"]);
    wait_for_votes(&cluster, &[1, 2, 3, 4], 7);
    for gone in 1..4 {
        cluster.power_off(gone).unwrap();
        let left: Vec<u32> = (gone + 1..=4).collect();
        cluster.wait_for_members(&left, &left);
        wait_for_votes(&cluster, &left, 3 + left.len() as u32);
        cluster.wait_for_quorum(&left, true);
    }
}

#[test]
fn with_tls_both_sides_show_certificates_that_were_taken_over_from_nss() {
    if skip() {
        return;
    }
    let cluster = Cluster::new("qnetdtls", with_server(2, WITH_TLS), &Cib::new()).unwrap();
    let server = cluster.spare();
    for machine in [1, 2, server] {
        cluster.power_on(machine).unwrap();
    }
    let holdfast = harness::bin_dir().unwrap().join("holdfast").display().to_string();
    // As corosync-qdevice-net-certutil(8) has it; files go by way of this test.
    run(&cluster, server, "corosync-qnetd-certutil -i >&2");
    let carry = |from: u32, path: &str, to: u32, into: &str| {
        let text = run(&cluster, from, &format!("base64 -w0 {path}"));
        run(&cluster, to, &format!("mkdir -p $(dirname {into}); echo {text} | base64 -d >{into}"));
    };
    carry(server, "/etc/corosync/qnetd/nssdb/qnetd-cacert.crt", 1, "/tmp/ca.crt");
    run(&cluster, 1, "corosync-qdevice-net-certutil -i -c /tmp/ca.crt >&2");
    run(&cluster, 1, "corosync-qdevice-net-certutil -r -n qnetdtls >&2");
    carry(1, "/etc/corosync/qdevice/net/nssdb/qdevice-net-node.crq", server, "/tmp/node.crq");
    run(&cluster, server, "corosync-qnetd-certutil -s -c /tmp/node.crq -n qnetdtls >&2");
    carry(server, "/etc/corosync/qnetd/nssdb/cluster-qnetdtls.crt", 1, "/tmp/cluster.crt");
    run(&cluster, 1, "corosync-qdevice-net-certutil -M -c /tmp/cluster.crt >&2");
    let said = run(&cluster, 1, &format!("{holdfast} qnet import-certificates"));
    assert!(said.contains("/etc/holdfast/qnet/key.pem"), "{said}");
    for file in ["ca.pem", "cert.pem", "key.pem"] {
        let path = format!("/etc/holdfast/qnet/{file}");
        carry(1, &path, 2, &path);
    }
    start_server(&cluster, &["-f", "-s", "req"]);
    [1, 2].iter().for_each(|n| start_node(&cluster, *n));
    cluster.wait_for_members(&[1, 2], &[1, 2]);
    wait_for_votes(&cluster, &[1, 2], 3);
    let shown = tool(&cluster);
    assert!(shown.matches("Node ID ").count() == 2 && shown.contains("TLS active:\t\tYes"), "{shown}");
    cluster.cut(&[1], &[2]);
    cluster.wait_for_quorum(&[2], false);
    stays("the first one goes on", Duration::from_secs(3), || {
        is_quorate(&cluster, 1) && !is_quorate(&cluster, 2)
    });
}

#[test]
fn two_clusters_have_one_server_and_each_its_own_vote() {
    if skip() {
        return;
    }
    let cluster = Cluster::new("qnetdtwo", with_server(4, LMS), &Cib::new()).unwrap();
    start_server(&cluster, &["-f", "-s", "off"]);
    for node in 1..=4 {
        // Nodes 1 and 2 are one cluster, 3 and 4 another one.
        let path = cluster.node_dir(node).join("etc/holdfast.conf");
        let text = std::fs::read_to_string(&path).unwrap();
        let mine: Vec<u32> = if node <= 2 { vec![1, 2] } else { vec![3, 4] };
        let (head, rest) = text.split_once("nodelist {").unwrap();
        let (_, rest) = rest.split_once("}\nquorum {").unwrap();
        let list: String = mine
            .iter()
            .map(|n| {
                let ring = address(*n, 0);
                format!("    node {{\n        nodeid: {n}\n        name: n{n}\n        ring0_addr: {ring}\n    }}\n")
            })
            .collect();
        let head = head.replace("cluster_name: qnetdtwo", &format!("cluster_name: pair{}", mine[0]));
        let text = format!("{head}nodelist {{\n{list}}}\nquorum {{{rest}")
            .replace("algorithm: lms", "algorithm: ffsplit");
        std::fs::write(&path, text).unwrap();
        start_node(&cluster, node);
    }
    for pair in [[1, 2], [3, 4]] {
        cluster.wait_for_members(&pair, &pair);
        wait_for_votes(&cluster, &pair, 3);
    }
    let shown = tool(&cluster);
    assert!(shown.contains("Cluster \"pair1\"") && shown.contains("Cluster \"pair3\""), "{shown}");
    for pair in [[1, 2], [3, 4]] {
        cluster.cut(&pair[..1], &pair[1..]);
        cluster.wait_for_quorum(&pair[1..], false);
    }
    stays("the first one of each goes on", Duration::from_secs(5), || {
        [1, 3].iter().all(|n| is_quorate(&cluster, *n)) && [2, 4].iter().all(|n| !is_quorate(&cluster, *n))
    });
}
