//! Clients of the predecessor's own libraries.

use std::collections::BTreeSet;

use harness::{Cib, Cluster, Options, skip};

use crate::{nodes, one_order, start_talkers};

/// What one of the distribution's programs prints on a node, errors included, and its exit status.
pub(crate) fn ask(cluster: &Cluster, node: u32, program: &str, args: &[&str]) -> (String, Option<i32>) {
    let out = cluster.exec(node, program, args).unwrap();
    let text = [out.stdout, out.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    (text.concat(), out.status.code())
}

#[test]
fn corosyncs_tools_are_served_over_sockets() {
    if skip() {
        return;
    }
    let options = Options { more: "system {\n    qb_ipc_type: socket\n}\n", ..nodes(2) };
    let cluster = Cluster::new("sockets", options, &Cib::new()).unwrap();
    for node in cluster.all() {
        cluster.power_on(node).unwrap();
        cluster.start(node, "cmmd", &["-f"]).unwrap();
    }
    cluster.wait_for("both are quorate", || {
        let quorate =
            |n: &u32| ask(&cluster, *n, "corosync-quorumtool", &["-s"]).0.contains("Quorate:          Yes");
        cluster.all().iter().all(quorate).then_some(())
    });
    let (nodes, status) = ask(&cluster, 1, "corosync-quorumtool", &["-l"]);
    assert_eq!(status, Some(0), "{nodes}");
    assert!(nodes.contains("n1 (local)") && nodes.contains("n2"), "{nodes}");
    let (text, status) = ask(&cluster, 1, "corosync-cmapctl", &["-s", "test.number", "u32", "77"]);
    assert_eq!(status, Some(0), "{text}");
    let (text, _) = ask(&cluster, 1, "corosync-cmapctl", &["-g", "test.number"]);
    assert_eq!(text.trim(), "test.number (u32) = 77");
    let (all, _) = ask(&cluster, 1, "corosync-cmapctl", &[]);
    assert!(
        all.lines().count() > 50 && all.contains("totem.cluster_name"),
        "every key, one call each: {all}"
    );
    let (text, status) = ask(&cluster, 2, "corosync-cfgtool", &["-n"]);
    assert!(status == Some(0) && text.contains("connected"), "{text}");
    let (text, status) = ask(&cluster, 2, "corosync-cpgtool", &["-e"]);
    assert_eq!(status, Some(0), "{text}");
    // The programs have ended; what they had is gone from the node's own /dev/shm.
    let (left, _) = ask(&cluster, 1, "ls", &["/dev/shm"]);
    assert!(!left.contains("qb-"), "{left}");
}

/// One configuration for both daemons, with these nodes in its list.
pub(crate) fn configuration(cluster: &Cluster, node: u32, list: &[u32]) -> String {
    let dir = cluster.node_dir(node);
    let dir = dir.display();
    let mut text = format!(
        "totem {{\n  version: 2\n  cluster_name: tools\n  transport: knet\n  crypto_cipher: aes256\n  crypto_hash: sha256\n  \
         keyfile: {dir}/etc/authkey\n  token: 2000\n  token_coefficient: 0\n}}\nquorum {{\n  provider: corosync_votequorum\n}}\n\
         logging {{\n  to_stderr: yes\n  to_syslog: no\n}}\nsystem {{\n  state_dir: {dir}/state\n}}\nnodelist {{\n"
    );
    for id in list.iter().copied() {
        let (name, address) = (harness::node_name(id), harness::address(id, 0));
        text += &format!("  node {{\n    nodeid: {id}\n    name: {name}\n    ring0_addr: {address}\n  }}\n");
    }
    text + "}\n"
}

/// What an operator sees of a cluster of three with this daemon, command by command.
fn transcript(daemon: &str) -> Vec<(String, String, Option<i32>)> {
    let cluster = Cluster::new(&format!("tools-{daemon}"), nodes(3), &Cib::new()).unwrap();
    for node in cluster.all() {
        cluster.power_on(node).unwrap();
        let path = cluster.node_dir(node).join("tools.conf");
        std::fs::write(&path, configuration(&cluster, node, &cluster.all())).unwrap();
        cluster.start(node, daemon, &["-f", "-c", path.to_str().unwrap()]).unwrap();
    }
    cluster.wait_for("all are quorate together", || {
        let whole =
            |n: &u32| ask(&cluster, *n, "corosync-quorumtool", &["-s"]).0.contains("Total votes:      3");
        cluster.all().iter().all(whole).then_some(())
    });
    start_talkers(&cluster, 1, 8);
    one_order(&cluster, 1);
    let mut told = Vec::new();
    for (program, args) in QUESTIONS {
        let (text, status) = ask(&cluster, 1, program, args);
        told.push((format!("{program} {}", args.join(" ")), text, status));
    }
    told.push((NOTIFYD.join(" "), notices(&cluster), None));
    told
}

const NOTIFYD: [&str; 3] = ["corosync-notifyd", "-f", "-o"];

/// What `corosync-notifyd` says of a node that dies, a client that leaves and a node that comes.
fn notices(cluster: &Cluster) -> String {
    cluster.start_as(1, "notifyd", NOTIFYD[0], &NOTIFYD[1..]).unwrap();
    let has = |words: &str| {
        cluster.wait_for(&format!("corosync-notifyd says \"{words}\""), || {
            cluster.log(1, "notifyd").contains(words).then_some(())
        });
    };
    // It says at once what it finds; from then on it hears.
    has("is now quorate");
    // It stays connected itself: who goes is the tool.
    cluster.exec(1, "corosync-cfgtool", &["-n"]).unwrap();
    cluster.wait_for("corosync-notifyd says that a client went", || {
        let went = |line: &str| line.contains("disconnected") && line.ends_with(" corosync");
        cluster.log(1, "notifyd").lines().any(went).then_some(())
    });
    cluster.power_off(3).unwrap();
    has("ip:10.77.0.3 left");
    has("link 0 to node 3 is now disconnected");
    cluster.log(1, "notifyd")
}

const QUESTIONS: &[(&str, &[&str])] = &[
    ("corosync-quorumtool", &["-s"]),
    ("corosync-quorumtool", &["-l"]),
    ("corosync-quorumtool", &["-l", "-i"]),
    ("corosync-quorumtool", &["-V"]),
    ("corosync-quorumtool", &["-n", "2", "-v", "1"]),
    ("corosync-quorumtool", &["-e", "3"]),
    ("corosync-quorumtool", &["-e", "0"]),
    ("corosync-quorumtool", &["-n", "9", "-v", "1"]),
    ("timeout", &["1", "corosync-quorumtool", "-m"]),
    ("corosync-cfgtool", &["-s"]),
    ("corosync-cfgtool", &["-n"]),
    ("corosync-cfgtool", &["-s", "-b"]),
    ("corosync-cfgtool", &["-a", "2"]),
    ("corosync-cfgtool", &["-a", "9"]),
    ("corosync-cfgtool", &["-R"]),
    ("corosync-cfgtool", &["-L"]),
    ("corosync-cpgtool", &["-e"]),
    ("corosync-cpgtool", &["-n"]),
    ("corosync-cmapctl", &["totem."]),
    ("corosync-cmapctl", &["nodelist."]),
    ("corosync-cmapctl", &["quorum."]),
    ("corosync-cmapctl", &["runtime."]),
    ("corosync-cmapctl", &["-m", "stats"]),
    ("corosync-cmapctl", &["-g", "no.such.key"]),
    ("corosync-cmapctl", &["-g", "runtime.force_gather"]),
    ("corosync-cmapctl", &["-s", "totem.version", "u32", "3"]),
    ("corosync-cmapctl", &["-d", "totem.version"]),
    ("corosync-cmapctl", &["-s", "tools.text", "str", "a b"]),
    ("corosync-cmapctl", &["tools."]),
    ("corosync-cmapctl", &["-D", "tools."]),
];

/// Without what differs from run to run or must differ: times, sequence numbers, process ids, the size of packets, paths.
/// Members of a group are told in no particular order.
pub(crate) fn masked(question: &str, text: &str) -> String {
    let mut lines: Vec<String> = text
        .lines()
        .map(|line| match line.split_once([':', '=']) {
            Some(("Date" | "Ring ID" | "totem.keyfile (str) ", _)) => line[..8].to_owned(),
            _ => match line.split_once("mtu: ") {
                Some((head, _)) => format!("{head}mtu: *"),
                None if question.starts_with("corosync-cpgtool") && line.starts_with("\t\t") => {
                    line.split_whitespace().skip(1).collect::<Vec<_>>().join(" ")
                }
                None => line.to_owned(),
            },
        })
        .collect();
    if question == NOTIFYD.join(" ") {
        // How a link and its node are missed is a matter of who looks first; connections have no fixed names.
        lines.retain(|line| line.starts_with("[notice]") && !line.ends_with(" corosync"));
    }
    if question.starts_with("corosync-cpgtool") || question == NOTIFYD.join(" ") {
        lines.sort();
    }
    lines.join("\n")
}

/// Names and types of the keys in a listing; connections by service only.
fn keys(text: &str) -> BTreeSet<String> {
    let names =
        text.lines().filter_map(|line| line.split_once(" = ").or(line.strip_suffix(" =").map(|k| (k, ""))));
    let general = |name: &str| match name.strip_prefix("stats.ipcs.service") {
        Some(rest) => format!("stats.ipcs.service.{}", rest.rsplit('.').next().unwrap_or_default()),
        None => name.to_owned(),
    };
    names.map(|(name, _)| general(name)).collect()
}

/// Keys of corosync that there are not, by how they begin: services that there are not (a load generator and two monitors without
/// clients), and libqb's flight recorder.
const ABSENT: &[&str] =
    &["runtime.services.pload.", "runtime.services.mon.", "runtime.services.wd.", "runtime.blackbox."];

#[test]
fn the_tools_print_what_they_print_on_corosync() {
    if skip() {
        return;
    }
    let (ours, theirs) = (transcript("cmmd"), transcript("corosync"));
    for ((question, ours, our_status), (_, theirs, their_status)) in ours.iter().zip(&theirs) {
        assert_eq!(our_status, their_status, "{question}\n{ours}\n{theirs}");
        if !question.ends_with("runtime.") && !question.ends_with("stats") {
            assert_eq!(masked(question, ours), masked(question, theirs), "{question}");
            continue;
        }
        let (ours, theirs) = (keys(ours), keys(theirs));
        assert!(theirs.len() > 60, "{question}: {theirs:?}");
        let known = |key: &&String| ABSENT.iter().any(|part| key.starts_with(part));
        let absent: Vec<_> = theirs.difference(&ours).filter(|key| !known(key)).collect();
        assert!(absent.is_empty(), "{question} lacks {absent:?}");
    }
}
