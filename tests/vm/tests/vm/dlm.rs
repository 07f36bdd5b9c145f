//! `dlm_controld` on `cmmd`, with the kernel's own dlm.

use std::path::{Path, PathBuf};
use std::time::Duration;

use vm::{Cluster, Options};

use crate::{boot, compile, stays};

/// The programs of the distribution that a node with dlm needs.
pub(crate) fn programs() -> Vec<PathBuf> {
    ["dlm_controld", "dlm_tool"].map(|name| Path::new("/usr/sbin").join(name)).into()
}

/// The members of the lockspace as a node's kernel has them; none while they change.
fn members(cluster: &Cluster, node: u32) -> Option<Vec<u32>> {
    let said = cluster.run(node, "dlm_tool ls").ok()?.stdout;
    if said.contains("wait") {
        return None;
    }
    let line = said.lines().find_map(|l| l.trim().strip_prefix("members "))?;
    line.split_whitespace().map(|id| id.parse().ok()).collect()
}

pub(crate) fn wait_for_lockspace(cluster: &Cluster, nodes: &[u32]) {
    cluster.wait_for(&format!("the lockspace is that of {nodes:?}"), || {
        nodes.iter().all(|n| members(cluster, *n).as_deref() == Some(nodes)).then_some(())
    });
}

/// Starts `dlm_controld` and waits until it knows all of the cluster: before that the kernel has no address to use.
pub(crate) fn start(cluster: &Cluster, nodes: &[u32]) {
    nodes.iter().for_each(|node| cluster.start(*node, "dlm_controld", "--daemon_debug"));
    for node in nodes {
        cluster.wait_for(&format!("dlm_controld of n{node} has all members"), || {
            let status = cluster.run(*node, "dlm_tool status").ok()?.stdout;
            let member = |id: &u32| status.lines().any(|l| l.starts_with(&format!("node {id} M ")));
            cluster.all().iter().all(member).then_some(())
        });
    }
}

fn join(cluster: &Cluster, nodes: &[u32]) {
    // A join returns when the lockspace is there: all at once, as at boot.
    for node in nodes {
        cluster.sh(*node, "rm -f /vm/join.log; dlm_tool join test >/vm/join.log 2>&1 &");
    }
    // Its members are known before its device is there.
    for node in nodes {
        cluster.wait_for_log(*node, "join", "done");
    }
}

#[test]
fn a_lockspace_recovers_from_a_death_after_fencing_and_takes_the_node_back() {
    if vm::skip() {
        return;
    }
    let mut programs = programs();
    programs.push(compile("locker", &["-ldlm"]));
    let modules = &["dlm"];
    let cluster = boot("dlm", Options { nodes: 3, modules, programs, ..Options::default() });
    cluster.start_all();
    let all = cluster.all();
    start(&cluster, &all);
    join(&cluster, &all);
    wait_for_lockspace(&cluster, &all);

    cluster.start(3, "locker", "test precious");
    cluster.wait_for_log(3, "locker", "granted");
    cluster.start(1, "locker", "test precious");
    cluster.wait_for_log(1, "locker", "asking");
    let waits = |cluster: &Cluster| !cluster.log(1, "locker").contains("granted");
    stays("n3 has the lock, n1 waits", Duration::from_secs(2), || waits(&cluster));

    cluster.power_off(3);
    cluster.wait_for_members(&[1, 2], &[1, 2]);
    cluster.wait_for_quorum(&[1, 2], true);
    for node in [1, 2] {
        cluster.wait_for(&format!("the lockspace of n{node} waits for fencing"), || {
            cluster.sh(node, "dlm_tool ls").contains("wait fencing").then_some(())
        });
    }
    stays("nobody said that n3 is dead, n1 waits", Duration::from_secs(3), || waits(&cluster));
    // It is: QEMU has been waited for.
    cluster.sh(1, "dlm_tool fence_ack 3");
    wait_for_lockspace(&cluster, &[1, 2]);
    cluster.wait_for_log(1, "locker", "granted");

    cluster.power_on(3).unwrap();
    cluster.wait_for_boot(3, None);
    cluster.start_ring(3);
    cluster.wait_for_members(&all, &all);
    start(&cluster, &[3]);
    join(&cluster, &[3]);
    wait_for_lockspace(&cluster, &all);
    cluster.start(2, "locker", "test precious");
    cluster.wait_for_log(2, "locker", "asking");
    stays("n1 has the lock, n2 waits", Duration::from_secs(2), || {
        !cluster.log(2, "locker").contains("granted")
    });
    cluster.sh(1, "kill -9 $(pidof locker)");
    cluster.wait_for_log(2, "locker", "granted");

    cluster.sh(3, "dlm_tool leave test");
    wait_for_lockspace(&cluster, &[1, 2]);
}
