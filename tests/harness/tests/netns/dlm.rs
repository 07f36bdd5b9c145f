//! `dlm_controld`, as far as a kernel without dlm lets it go.
//!
//! Its groups (`dlm:controld`, one for each lockspace) and the death of a node in them are in `tests/vm`: it joins them only
//! after it has found the kernel's dlm (misc devices, configfs), which belongs to the machine and not to a namespace.
//! What comes before that is compared here with corosync, word by word: the connections to CFG, CMAP and QUORUM, its node id,
//! the addresses of all nodes, the orderly end.

use harness::{Cib, Cluster, Options, skip};

use crate::nodes;

/// What `dlm_controld` says on each node of a cluster with this daemon, without the seconds at the front of each line.
fn said(daemon: &'static str) -> Vec<String> {
    let options = Options { daemon, ..nodes(3) };
    let cluster = Cluster::new(&format!("dlm-{daemon}"), options, &Cib::new()).unwrap();
    let all = cluster.all();
    for node in &all {
        cluster.power_on(*node).unwrap();
        cluster.start_ring(*node).unwrap();
    }
    cluster.wait_for_members(&all, &all);
    let lines = |node: &u32| {
        let out = cluster.exec(*node, "dlm_controld", &["-D"]).unwrap();
        let text = String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned();
        let words = |line: &str| line.split_once(' ').map(|(_, words)| words.to_owned());
        text.lines().filter_map(words).collect::<Vec<_>>().join("\n")
    };
    all.iter().map(lines).collect()
}

#[test]
fn dlm_controld_gets_as_far_as_the_kernel_lets_it_and_as_on_corosync() {
    if skip() {
        return;
    }
    let (ours, theirs) = (said("cmmd"), said("corosync"));
    for (node, ours) in (1..).zip(&ours) {
        for line in [format!("our_nodeid {node}"), "node_config 3".to_owned(), "shutdown".to_owned()] {
            assert!(ours.lines().any(|l| l == line), "n{node}: {line:?} is missing in\n{ours}");
        }
    }
    assert_eq!(ours, theirs);
}
