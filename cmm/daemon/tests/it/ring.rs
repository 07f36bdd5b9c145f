//! Forming, losing, leaving, coming back.

use std::fs;
use std::net::UdpSocket;
use std::os::unix::net::UnixDatagram;

use holdfast_sys::pidfd::Signal;

use crate::nodes::{Cluster, Daemon, signal_pid, wait_until};

#[test]
fn one_node_is_a_ring_and_says_when_it_serves() {
    let cluster = Cluster::new(1);
    let notify = cluster.dir.join("notify");
    let manager = UnixDatagram::bind(&notify).expect("binds");
    cluster.write_config(1, "", "");
    let mut child = cluster.command(1).arg("-f").env("NOTIFY_SOCKET", &notify).spawn().expect("starts");
    let heard = || {
        let mut buffer = [0; 512];
        let n = manager.recv(&mut buffer).expect("the manager hears");
        String::from_utf8_lossy(&buffer[..n]).into_owned()
    };
    // What `systemctl status` shows comes in between.
    let said = |want: &str| while heard() != want {};
    manager.set_read_timeout(Some(crate::nodes::LIMIT)).expect("a limit");
    assert!(heard().starts_with("STATUS=Waiting for quorum: the first membership"));
    said("READY=1");
    assert!(cluster.run_dir(1).join("cmap").exists(), "clients are served when READY is said");
    assert_eq!(
        fs::read_to_string(cluster.run_dir(1).join("cmmd.pid")).expect("a pid file").trim(),
        child.id().to_string()
    );
    said("STATUS=This node is in the primary component.");
    signal_pid(child.id(), Signal::SIGTERM);
    said("STOPPING=1");
    assert!(child.wait().expect("it is ours").success());
    assert!(!cluster.run_dir(1).join("cmmd.pid").exists(), "an orderly end leaves no pid file");
}

#[test]
fn three_nodes_form_lose_one_and_take_it_back() {
    let cluster = Cluster::new(3);
    let mut daemons = cluster.start_all();
    let first_ring = daemons[0].wait_for("Members joined:");
    let mut victim = daemons.pop().expect("three");
    victim.kill_9();
    assert!(victim.log().contains("Failfast: Aborting because \"cmmd\" died"), "{}", victim.log());
    for survivor in &daemons {
        survivor.wait_for("Node 3 goes down: cmmd died or made no progress");
        survivor.wait_for_after("Sync left[1]: 3", "Members[2]: 1 2");
        survivor.wait_for("Death of node 3 is confirmed");
        assert!(
            !survivor.log().contains("NOT provide any services"),
            "two of three keep quorum without a gap"
        );
    }
    drop(victim);
    let back = cluster.start(3);
    back.wait_for("Members[3]: 1 2 3");
    back.wait_for("This node is within the primary component");
    for survivor in &daemons {
        survivor.wait_for_after("Sync left[1]: 3", "Members[3]: 1 2 3");
    }
    assert!(!back.log().contains(&first_ring), "no ring id is used twice");
}

#[test]
fn an_orderly_leave_is_told_and_ends_with_status_0() {
    let cluster = Cluster::new(3);
    let mut daemons = cluster.start_all();
    daemons[0].signal(Signal::SIGTERM);
    assert!(daemons[0].wait_exit().success());
    assert!(daemons[0].log().contains("Holdfast cmmd exiting normally"));
    assert!(!daemons[0].log().contains("Failfast: Aborting"), "an orderly end is no death");
    for survivor in &daemons[1..] {
        survivor.wait_for("Node 1 is gone (leave)");
        survivor.wait_for_after("Sync left[1]: 1", "Members[2]: 2 3");
        assert!(!survivor.log().contains("NOT provide any services"));
    }
}

#[test]
fn a_minority_of_one_gives_up_quorum() {
    let cluster = Cluster::new(3);
    let mut daemons = cluster.start_all();
    for victim in &mut daemons[1..] {
        victim.kill_9();
    }
    daemons[0].wait_for("This node is within the non-primary component and will NOT provide any services.");
    daemons[0].wait_for("Not quorate: ");
}

#[test]
fn a_stopped_and_continued_node_comes_back() {
    let cluster = Cluster::new(3);
    let daemons = cluster.start_all();
    daemons[2].signal(Signal::SIGSTOP);
    daemons[0].wait_for_after("Sync left[1]: 3", "Members[2]: 1 2");
    // Only who was first says so, and the log comes behind the ring.
    wait_until("by silence, not by news", || {
        daemons[..2].iter().find(|d| d.log().contains("node 3 is suspected, no heartbeat"))
    });
    daemons[2].signal(Signal::SIGCONT);
    for survivor in &daemons[..2] {
        survivor.wait_for_after("Sync left[1]: 3", "Members[3]: 1 2 3");
    }
    // It gave up quorum by itself, before it heard of anybody.
    daemons[2].wait_for_after("Not quorate: lease ran out", "Process pause detected");
}

#[test]
fn garbage_on_the_port_changes_nothing_but_a_counter() {
    let cluster = Cluster::new(2);
    let daemons = cluster.start_all();
    // From the address of the other node, so that it is looked at, and from a stranger's.
    let member = UdpSocket::bind((cluster.addr(2), 0)).expect("loopback");
    let stranger = UdpSocket::bind((cluster.addr(77), 0)).expect("loopback");
    for n in 0..200usize {
        let packet: Vec<u8> = (0..n * 7 % 1_500).map(|i| (i * n) as u8).collect();
        for socket in [&member, &stranger] {
            socket.send_to(&packet, (cluster.addr(1), 5_405)).expect("sends");
        }
    }
    daemons[0].wait_for("are no packets of this cluster");
    daemons[0].wait_for("from addresses that are not in the node list");
    assert!(!daemons[0].log().contains("Members left:"), "the ring holds");
    daemons[1].signal(Signal::SIGTERM);
    daemons[0].wait_for("Node 2 is gone (leave)");
}

#[test]
fn a_packet_from_another_nodes_address_is_dropped_before_it_costs_a_decryption() {
    let cluster = Cluster::new(3);
    let daemons = cluster.start_all();
    // Node 2's machine says that it is node 3: a header that passes every cheap check but this one.
    let member = UdpSocket::bind((cluster.addr(2), 0)).expect("loopback");
    let mut packet = [7; 200];
    packet[..12].copy_from_slice(&[b'H', b'F', 6, 1, 7, 7, 0, 0, 3, 0, 0, 0]);
    for _ in 0..20 {
        member.send_to(&packet, (cluster.addr(1), 5_405)).expect("sends");
    }
    daemons[0].wait_for("came from the address of another node");
    // What names the node that has the address is looked at further.
    packet[8] = 2;
    member.send_to(&packet, (cluster.addr(1), 5_405)).expect("sends");
    daemons[0].wait_for("sealed with a key");
    assert!(!daemons[0].log().contains("Members left:"), "the ring holds");
}

#[test]
fn one_run_directory_has_one_daemon() {
    let cluster = Cluster::new(1);
    let _daemons = cluster.start_all();
    let second = cluster.command(1).arg("-f").output().expect("runs");
    assert_eq!(second.status.code(), Some(75));
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(
        said.contains("cmmd runs already with pid ") && said.contains("another HOLDFAST_RUN_DIR"),
        "{said}"
    );
}

/// The guardian's pid. A helper thread may be the one that started it.
fn guardian_of(daemon: &Daemon) -> Option<u32> {
    let tasks = fs::read_dir(format!("/proc/{}/task", daemon.pid())).ok()?;
    let of = |path: std::path::PathBuf| fs::read_to_string(path.join("children")).unwrap_or_default();
    let all: String = tasks.flatten().map(|t| of(t.path())).collect();
    all.split_whitespace().find_map(|pid| pid.parse().ok())
}

#[test]
fn a_daemon_that_dies_with_its_guardian_is_missed_because_its_port_refuses() {
    let cluster = Cluster::new(3);
    // By silence it would take six times as long.
    let mut daemons = cluster.start_all_with("  token: 20000\n  heartbeat_limit: 6000\n");
    let guardian = wait_until("a guardian", || guardian_of(&daemons[2]));
    signal_pid(guardian, Signal::SIGSTOP);
    signal_pid(daemons[2].pid(), Signal::SIGKILL);
    for survivor in &daemons[..2] {
        survivor.wait_for_after("Sync left[1]: 3", "Members[2]: 1 2");
        let log = survivor.log();
        assert!(!log.contains("NOT provide any services") && !log.contains("gasp"), "{log}");
        // Whoever is refused first tells the other, who asks as well.
        let asked = log.find("Node 3 is asked whether it is there (").expect("a probe");
        let suspected = log.find("forming new configuration: node 3 is suspected, no heartbeat for");
        assert!(suspected.is_none_or(|at| asked < at), "{log}");
    }
    let refused = "no answer to probes (its address refuses packets)";
    assert!(daemons[..2].iter().any(|d| d.log().contains(refused)), "by refusal, not by silence");
    signal_pid(guardian, Signal::SIGKILL);
    assert!(!daemons[2].wait_exit().success());
}

#[test]
fn a_dead_guardian_is_replaced() {
    let cluster = Cluster::new(1);
    let daemons = cluster.start_all();
    let guardian = || guardian_of(&daemons[0]);
    let first = wait_until("a guardian", guardian);
    signal_pid(first, Signal::SIGKILL);
    daemons[0].wait_for("The guardian died, starting another");
    daemons[0].wait_for("The guardian watches this node.");
    assert_ne!(wait_until("another guardian", guardian), first);
}
