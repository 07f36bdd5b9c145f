//! The key of running daemons is changed, and hostile packets change nothing.

use std::fs;
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use cmm_ipc::Place;
use cmm_ipc::abi::cmap::Value;
use cmm_ipc::client::CmapClient;

use crate::nodes::{Cluster, Daemon, LIMIT, wait_until};

/// A cluster whose nodes have key files of their own.
struct Keyed {
    cluster: Cluster,
}

impl Keyed {
    fn new(nodes: u8, key: u8) -> Self {
        let keyed = Self { cluster: Cluster::new(nodes) };
        for node in 1..=nodes {
            keyed.put(node, key);
            let keyfile = format!("  keyfile: {}\n", keyed.file(node).display());
            keyed.cluster.write_config(node, &keyfile, "");
        }
        keyed
    }

    fn file(&self, node: u8) -> PathBuf {
        self.cluster.dir.join(format!("{node}.authkey"))
    }

    /// Replaces a node's key file as an operator does: there is no instant without one.
    fn put(&self, node: u8, key: u8) {
        let content: Vec<u8> = (0..=255).map(|n: u8| n.wrapping_mul(key)).collect();
        let new = self.cluster.dir.join("new");
        fs::write(&new, content).expect("writes");
        fs::set_permissions(&new, fs::Permissions::from_mode(0o400)).expect("is ours");
        fs::rename(&new, self.file(node)).expect("is in its place");
    }

    fn start(&self, nodes: impl IntoIterator<Item = u8>) -> Vec<Daemon> {
        nodes.into_iter().map(|n| self.cluster.spawn(n, &[])).collect()
    }

    fn cmap(&self, node: u8) -> CmapClient {
        CmapClient::connect(&Place::Dir(self.cluster.run_dir(node)), LIMIT).expect("it serves")
    }

    fn change(&self, node: u8) {
        self.cmap(node).set("holdfast.key.change", &Value::u64(1)).expect("root may");
    }
}

fn text(cmap: &mut CmapClient, key: &str) -> String {
    cmap.get_str(&format!("holdfast.key.{key}")).expect("it answers").unwrap_or_default()
}

#[test]
fn the_key_of_a_running_cluster_is_changed_and_no_membership_with_it() {
    let keyed = Keyed::new(3, 3);
    let mut daemons = keyed.start(1..=3);
    daemons.iter().for_each(|d| drop(d.wait_for("Members[3]: 1 2 3")));
    let old = text(&mut keyed.cmap(1), "fingerprint");
    assert_eq!(text(&mut keyed.cmap(1), "source"), keyed.file(1).display().to_string());

    // A file that is missing on one node holds the change up; nothing else happens.
    keyed.put(1, 5);
    keyed.put(2, 5);
    keyed.change(1);
    daemons[0].wait_for("Key change, step 1");
    daemons[1].wait_for("Key change, step 1");
    daemons[2].wait_for("copy the new key file to this node, which reads it by itself");
    assert_eq!(text(&mut keyed.cmap(1), "state"), "accepting");
    // What node 2 announces with its packets may come after what it logs.
    wait_until("only node 3 to be waited for", || {
        (text(&mut keyed.cmap(1), "waits_for") == "3").then_some(())
    });
    // A file that cannot be used is told, and costs nothing.
    fs::write(keyed.cluster.dir.join("short"), [1, 2, 3]).expect("writes");
    fs::rename(keyed.cluster.dir.join("short"), keyed.file(3)).expect("is in its place");
    keyed.change(3);
    daemons[2].wait_for("Key not loaded: totem.keyfile");
    assert!(text(&mut keyed.cmap(3), "error").contains("has 3 bytes"));
    keyed.put(3, 5);
    keyed.change(3);
    for (node, daemon) in (1..).zip(&daemons) {
        daemon.wait_for("Key change, step 2");
        daemon.wait_for("Key change done");
        let mut cmap = keyed.cmap(node);
        assert_eq!((text(&mut cmap, "state"), text(&mut cmap, "next")), ("settled".into(), String::new()));
        assert_ne!(text(&mut cmap, "fingerprint"), old);
        assert!(
            !daemon.log().contains("Members left") && !daemon.log().contains("Sync left"),
            "{}",
            daemon.log()
        );
    }
    // The guardian has its gasps under the new key.
    let mut victim = daemons.pop().expect("three");
    victim.kill_9();
    for survivor in &daemons {
        survivor.wait_for("Node 3 goes down: cmmd died or made no progress");
        survivor.wait_for("Death of node 3 is confirmed");
    }
    drop(victim);
    // With the old key nobody comes in any more; with the new one put in its place, it does.
    keyed.put(3, 3);
    let back = keyed.start([3]);
    daemons[0]
        .wait_for("that name node 3 are sealed with a key that this cluster has changed for another one");
    back[0].wait_for("are sealed with a key that this node does not have");
    keyed.put(3, 5);
    back[0].wait_for("Members[3]: 1 2 3");
}

#[test]
fn a_flood_of_hostile_packets_changes_no_membership() {
    const FLOOD: usize = 60_000;
    let keyed = Keyed::new(3, 3);
    let daemons = keyed.start(1..=3);
    daemons.iter().for_each(|d| drop(d.wait_for("Members[3]: 1 2 3")));
    let mut cmap = keyed.cmap(1);
    let refused = |cmap: &mut CmapClient| cmap.get_u64("holdfast.incarnation").expect("it answers");
    let life = refused(&mut cmap);
    // From the address of a member: everything is looked at.
    let socket = UdpSocket::bind((keyed.cluster.addr(2), 0)).expect("loopback");
    let to = (keyed.cluster.addr(1), 5_405);
    for n in 0..FLOOD {
        let mut packet: Vec<u8> = (0..64 + n % 1_300).map(|i| (i * n) as u8).collect();
        match n % 3 {
            0 => {}
            // A header that passes every cheap check but the key, then one with garbage for everything behind it.
            1 => packet[..16].copy_from_slice(&[b'H', b'F', 6, 1, 7, 7, 0, 0, 2, 0, 0, 0, 9, 9, 9, 9]),
            _ => packet[..4].copy_from_slice(&[b'H', b'F', 6, 2]),
        }
        socket.send_to(&packet, to).expect("sends");
        if n % 64 == 0 {
            // Faster than any ring, and slow enough that the kernel does not throw the ring's own packets away.
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    daemons[0].wait_for("are no packets of this cluster");
    daemons[0].wait_for("are sealed with a key that this node does not have");
    assert_eq!(refused(&mut cmap), life, "it serves its clients");
    // Nothing came back: the socket that sent them has heard nothing.
    socket.set_nonblocking(true).expect("can");
    assert!(socket.recv_from(&mut [0; 2_048]).is_err(), "no answer to what nobody sealed");
    for daemon in &daemons {
        let log = daemon.log();
        assert!(!log.contains("Sync left") && !log.contains("NOT provide any services"), "{log}");
        let lines = log.lines().filter(|l| l.contains("packets") && l.contains("sealed with a key")).count();
        assert!(lines < 1_000, "{lines} lines for {FLOOD} packets");
    }
    wait_until("still one configuration", || {
        (keyed.cmap(1).get_str("runtime.members.2.status").expect("it answers").as_deref() == Some("joined"))
            .then_some(())
    });
}
