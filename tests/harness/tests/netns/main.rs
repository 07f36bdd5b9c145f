//! Stories of real clusters: real daemons, real agents, real namespaces. Each needs root; see the harness.

mod arena;
mod chaos;
mod clients;
mod deaths;
mod device_change;
mod dlm;
mod failfast_command;
mod formation;
mod hostile;
mod large;
mod links;
mod load;
mod nodes;
mod operators;
mod pacemaker;
mod partitions;
mod predecessor;
mod qdisk;
mod qdisk_faults;
mod qdisk_random;
mod qnetd;
mod quorum_command;
mod reference;
mod resources;
mod rows;
mod sbd;
mod scale;
mod turmoil;
mod votequorum;
mod weather;
mod why_down;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use harness::{Cib, Cluster, FENCE_AGENT, Options, SERVICE};
use status::ClusterStatus;

/// A cluster that is up: all nodes in one ring, quorate.
fn up(name: &str, options: Options, cib: &Cib) -> Cluster {
    let cluster = Cluster::new(name, options, cib).unwrap();
    cluster.boot_all().unwrap();
    let all = cluster.all();
    cluster.wait_for_members(&all, &all);
    cluster.wait_for_quorum(&all, true);
    cluster
}

/// On every node a client that sends `count` messages of `size` bytes to one group and prints what it receives.
fn start_talkers(cluster: &Cluster, count: usize, size: usize) {
    let all = cluster.all();
    let args = [all.len(), count, size].map(|n| n.to_string());
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    for node in &all {
        cluster.start_as(*node, "talker", env!("CARGO_BIN_EXE_talker"), &args).unwrap();
    }
}

/// Waits until all messages of the talkers are everywhere: each once, in one order, which is returned.
fn one_order(cluster: &Cluster, count: usize) -> String {
    let all = cluster.all();
    cluster.wait_for("all messages are everywhere", || {
        all.iter().all(|n| cluster.log(*n, "talker").ends_with("done\n")).then_some(())
    });
    let first = cluster.log(1, "talker");
    assert_eq!(first.lines().count(), all.len() * count + 1, "each once, nobody left:\n{}", cluster.report());
    for node in &all[1..] {
        assert!(cluster.log(*node, "talker") == first, "n{node} has another order:\n{}", cluster.report());
    }
    first
}

/// Compiles a program of these tests, `NAME.c`, against the distribution's libraries.
fn compile(cluster: &Cluster, name: &str) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/netns/{name}.c"));
    let program = cluster.node_dir(1).join(name);
    let out = Command::new("cc").args(["-O2", "-Wall", "-o"]).arg(&program).arg(source).arg("-lcpg").output();
    let out = out.expect("a C compiler");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    program
}

fn nodes(nodes: u32) -> Options {
    Options { nodes, ..Options::default() }
}

/// A cluster with a fence device and the group `shop` of three real agents: `state` (Dummy),
/// `service` (a process that must not run twice, by `anything`), `ip` (IPaddr2). Gives the node that runs it.
fn shop(name: &str, options: Options) -> (Cluster, u32) {
    shop_with(name, options, Cib::new().fencing(FENCE_AGENT))
}

/// The same with what stands in `cib` before it.
fn shop_with(name: &str, options: Options, cib: Cib) -> (Cluster, u32) {
    start_shop(name, options, &cib_of_shop(cib))
}

/// Starts a configuration with the shop in it.
fn start_shop(name: &str, options: Options, cib: &Cib) -> (Cluster, u32) {
    let cluster = Cluster::new(name, options, cib).unwrap();
    cluster.boot_all().unwrap();
    let all = cluster.all();
    cluster.wait_for_members(&all, &all);
    let place = cluster.wait_for_started(1, &SHOP);
    cluster.wait_for("the service runs where its cluster says", || {
        (cluster.service_runs_on("shop") == [place] && has_ip(&cluster, place)).then_some(())
    });
    (cluster, place)
}

/// What stands in `cib`, and the group.
fn cib_of_shop(cib: Cib) -> Cib {
    cib.property("no-quorum-policy", "stop").group(
        "shop",
        &[
            ("state", "ocf:heartbeat:Dummy", &[]),
            ("service", "ocf:heartbeat:anything", &[("binfile", SERVICE), ("cmdline_options", "shop")]),
            ("ip", "ocf:heartbeat:IPaddr2", &[("ip", SHOP_IP), ("cidr_netmask", "24"), ("nic", "eth0")]),
        ],
    )
}

const SHOP: [&str; 3] = ["state", "service", "ip"];
const SHOP_IP: &str = "10.77.0.250";

/// Whether the group's address is on a node's interface.
fn has_ip(cluster: &Cluster, node: u32) -> bool {
    let out = cluster.exec(node, "ip", &["-o", "addr", "show", "dev", "eth0"]);
    out.is_ok_and(|o| String::from_utf8_lossy(&o.stdout).contains(&format!("{SHOP_IP}/")))
}

/// Waits until the group runs as a whole on another node than `old`, seen by `asked`; gives that node.
fn wait_for_takeover(cluster: &Cluster, asked: u32, old: u32) -> u32 {
    cluster.wait_for(&format!("the group moves away from n{old}"), || {
        let status = cluster.status(asked).ok()?;
        let place = place_of_shop(&status)?;
        (place != old && cluster.service_runs_on("shop") == [place]).then_some(place)
    })
}

/// Boots a node that went down and waits until all nodes take part. A fence agent that was called for its last life
/// is let strike first: it would not tell the lives apart, as no power switch does.
fn bring_back(cluster: &Cluster, node: u32) {
    let asked = others(cluster, &[node])[0];
    cluster.wait_for("no fence agent runs", || {
        let pending = |s: ClusterStatus| s.fencing.iter().any(|f| f.state == status::FenceState::Pending);
        cluster.status(asked).is_ok_and(|s| s.answered.rgmd && !pending(s)).then_some(())
    });
    cluster.boot(node).unwrap();
    let all = cluster.all();
    cluster.wait_for_members(&all, &all);
    cluster.wait_for("every manager takes part", || {
        let takes_part = |s: ClusterStatus| s.nodes.iter().all(|n| n.online && !n.unclean);
        all.iter().all(|n| cluster.status(*n).is_ok_and(takes_part)).then_some(())
    });
}

/// The node on which the whole group is started.
fn place_of_shop(status: &ClusterStatus) -> Option<u32> {
    let place = |id: &&str| {
        let r = status.resources.iter().find(|r| r.id == *id)?;
        (r.role == status::Role::Started && !r.failed && r.nodes.len() == 1).then(|| r.nodes[0].clone())
    };
    let places: Vec<_> = SHOP.iter().map(place).collect::<Option<_>>()?;
    let first = places.first()?;
    if places.iter().any(|p| p != first) {
        return None;
    }
    status.nodes.iter().find(|n| n.name == *first).map(|n| n.id)
}

/// All nodes but these.
fn others(cluster: &Cluster, without: &[u32]) -> Vec<u32> {
    cluster.all().into_iter().filter(|n| !without.contains(n)).collect()
}

/// Looks at something for a while and fails when it stops being true: for what must *not* happen. The time is no
/// limit that anything has to meet; a longer look only finds more.
fn stays(what: &str, look: Duration, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while start.elapsed() < look {
        assert!(holds(), "no longer true: {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}
