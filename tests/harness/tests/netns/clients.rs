//! Clients of the predecessor's own libraries.

use harness::{Cib, Cluster, Options, skip};

use crate::nodes;

/// What one of the distribution's programs prints on a node, errors included, and its exit status.
fn ask(cluster: &Cluster, node: u32, program: &str, args: &[&str]) -> (String, Option<i32>) {
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
