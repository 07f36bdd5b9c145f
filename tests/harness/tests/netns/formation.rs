//! Rings form, nodes leave and come back in order.

use std::time::Duration;

use harness::{Cib, Cluster, Options, Signal, skip};

use crate::{nodes, others, stays, up};

fn forms(count: u32) {
    if skip() {
        return;
    }
    let cluster = up(&format!("form{count}"), nodes(count), &Cib::new());
    let status = cluster.status(1).unwrap();
    assert_eq!(status.quorum.total, count);
    assert_eq!(status.quorum.needed, count / 2 + 1);
    assert_eq!(status.nodes.len(), count as usize);
    let ids: Vec<_> = cluster.all().iter().map(|n| cluster.status(*n).unwrap().ring.id).collect();
    assert!(ids.windows(2).all(|w| w[0] == w[1]), "one ring, one id: {ids:?}");
    cluster.wait_for("every resource-group manager takes part", || {
        cluster.status(1).is_ok_and(|s| s.dc.is_some() && s.nodes.iter().all(|n| n.online)).then_some(())
    });
}

#[test]
fn one_node_is_a_cluster_of_its_own() {
    forms(1);
}

#[test]
fn two_nodes_form_a_ring() {
    forms(2);
}

#[test]
fn three_nodes_form_a_ring() {
    forms(3);
}

#[test]
fn five_nodes_form_a_ring() {
    forms(5);
}

#[test]
fn a_lone_node_of_three_waits_for_a_second() {
    if skip() {
        return;
    }
    let cluster = Cluster::new("lone", nodes(3), &Cib::new()).unwrap();
    cluster.boot(1).unwrap();
    cluster.wait_for_members(&[1], &[1]);
    cluster.wait_for_quorum(&[1], false);
    let status = cluster.status(1).unwrap();
    assert!(!status.quorum.reason.is_empty(), "it says why it is not quorate: {:?}", status.quorum);
    let waits = "1 more vote (1 of 3 are here, 2 needed); missing: node 2 (n2), node 3 (n3)";
    wait_for_line(
        &cluster,
        1,
        &format!("doesn't have operational quorum yet; waiting for quorum. This node waits for {waits}"),
    );
    assert_eq!(cluster.status(1).unwrap().quorum.waits_for, waits);
    cluster.wait_for("it says for how long", || {
        let quorum = cluster.status(1).ok()?.quorum;
        (quorum.waits_for == waits && quorum.waiting_ms > 1_000).then_some(())
    });
    let text = cluster.exec(1, "holdfast", &["status"]).unwrap();
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    assert!(text.contains("NO: waiting for quorum for ") && text.contains(waits), "{text}");
    cluster.boot(2).unwrap();
    cluster.wait_for_members(&[1, 2], &[1, 2]);
    cluster.wait_for_quorum(&[1, 2], true);
    let quorum = cluster.status(1).unwrap().quorum;
    assert_eq!((quorum.waits_for.as_str(), quorum.waiting_ms), ("", 0));

    // Alone again, it says that it had quorum; once.
    cluster.power_off(2).unwrap();
    let lost =
        format!("CMM: Cluster lost operational quorum; waiting for quorum. This node waits for {waits}");
    wait_for_line(&cluster, 1, &lost);
    stays("it says so once", Duration::from_secs(3), || cluster.log(1, "cmmd").matches(&lost).count() == 1);
}

/// Waits until a node's ring daemon has said something.
fn wait_for_line(cluster: &Cluster, node: u32, text: &str) {
    cluster.wait_for(&format!("n{node} says: {text}"), || {
        cluster.log(node, "cmmd").contains(text).then_some(())
    });
}

#[test]
fn with_wait_for_all_a_majority_says_for_whom_it_waits() {
    if skip() {
        return;
    }
    let options = Options { quorum: "    wait_for_all: 1\n", ..nodes(3) };
    let cluster = Cluster::new("waitall", options, &Cib::new()).unwrap();
    for node in [1, 2] {
        cluster.boot(node).unwrap();
    }
    cluster.wait_for_members(&[1, 2], &[1, 2]);
    let waits = "waits for all nodes (wait_for_all; 2 of 3 votes are here); missing: node 3 (n3); if they are down for certain:";
    for node in [1, 2] {
        wait_for_line(&cluster, node, waits);
    }
    cluster.wait_for_quorum(&[1, 2], false);
    // What it names is what helps.
    let asked =
        cluster.exec(1, "corosync-cmapctl", &["-s", "quorum.cancel_wait_for_all", "u8", "1"]).unwrap();
    assert!(asked.status.success(), "{asked:?}");
    cluster.wait_for_quorum(&[1, 2], true);
}

/// Records a hundred frames that a node sends to others, or sends them once more; returns what it says.
fn recorder(cluster: &Cluster, node: u32, args: &[&str]) -> String {
    let out = cluster.exec(node, "python3", &[&["-c", RECORDER], args].concat()).unwrap();
    assert!(out.status.success(), "{out:?}");
    String::from_utf8_lossy(&out.stdout).into_owned()
}

/// The checksum of what is recorded is not made yet: 0 stands for none.
const RECORDER: &str = "
import pickle, socket, sys
raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.ntohs(3))
raw.bind(('eth0', 0))
if sys.argv[1] == 'record':
    frames = []
    while len(frames) < 100:
        frame, (_, _, kind, _, _) = raw.recvfrom(65536)
        if kind == 4 and len(frame) <= 1514 and frame[12:14] == b'\\x08\\x00' and frame[23] == 17:
            frames.append(frame[:40] + b'\\0\\0' + frame[42:])
    pickle.dump(frames, open('/var/lib/holdfast/frames', 'wb'))
else:
    frames = pickle.load(open('/var/lib/holdfast/frames', 'rb'))
    for frame in frames:
        raw.send(frame)
print(len(frames))
";

/// (S2)
#[test]
fn a_life_after_the_clock_was_set_back_is_a_later_one() {
    if skip() {
        return;
    }
    let cluster = up("clockback", nodes(3), &Cib::new());
    let life = |asked: u32| cluster.status(asked).unwrap().nodes[2].incarnation;
    let first = life(1);
    let recorded = recorder(&cluster, 3, &["record"]);
    assert!(recorded.ends_with("100\n"), "{recorded}");
    cluster.stop(3);
    cluster.wait_for_members(&[1, 2], &[1, 2]);
    // As if its clock had been in the next century then, and had been set since.
    let file = cluster.node_dir(3).join("state/incarnation_3");
    let ahead = first + 3_000_000_000_000_000_000;
    assert_eq!(std::fs::read_to_string(&file).unwrap().trim(), first.to_string());
    std::fs::write(&file, format!("{ahead}\n")).unwrap();
    let all = cluster.all();
    for back in 1..=2 {
        cluster.boot(3).unwrap();
        cluster.wait_for_members(&all, &all);
        cluster.wait_for_quorum(&all, true);
        for asked in all.iter().copied() {
            assert_eq!(life(asked), ahead + back, "n{asked} knows the new life");
        }
        // What the first life has sent comes again, from where it came: it is refused, and nothing else happens.
        let replays = || {
            let refused =
                |n: &u32| cluster.ring(*n).unwrap().trouble.rejected.get("replay").copied().unwrap_or(0);
            [1, 2].iter().map(refused).sum::<u64>()
        };
        let (before, ring) = (replays(), cluster.status(1).unwrap().ring.id);
        let sent = recorder(&cluster, 3, &["replay"]);
        assert!(sent.ends_with("100\n"), "{sent}");
        cluster.wait_for("all of it is refused", || (replays() >= before + 100).then_some(()));
        assert_eq!((cluster.status(1).unwrap().ring.id, life(1)), (ring, ahead + back));
        cluster.stop(3);
        cluster.wait_for_members(&[1, 2], &[1, 2]);
    }
}

#[test]
fn a_node_leaves_in_order_and_comes_back() {
    if skip() {
        return;
    }
    let cluster = up("leave", nodes(3), &Cib::new());
    cluster.stop(2);
    cluster.wait_for_members(&[1, 3], &[1, 3]);
    cluster.wait_for_quorum(&[1, 3], true);
    assert!(cluster.processes(2).is_empty(), "an orderly stop leaves nothing: {:?}", cluster.processes(2));
    let node = |n: u32| cluster.status(n).unwrap().nodes.into_iter().find(|n| n.name == "n2").unwrap();
    assert!(!node(1).unclean && !node(3).unclean, "{:?}", node(1));
    cluster.boot(2).unwrap();
    let all = cluster.all();
    cluster.wait_for_members(&all, &all);
    cluster.wait_for("its manager takes part again", || {
        cluster.status(1).is_ok_and(|s| s.nodes[1].online).then_some(())
    });
}

#[test]
fn the_last_node_stops_in_order() {
    if skip() {
        return;
    }
    let cluster = up("laststop", nodes(2), &Cib::new());
    for node in [1, 2] {
        cluster.stop(node);
        assert!(cluster.processes(node).is_empty(), "{:?}", cluster.processes(node));
    }
}

#[test]
fn a_machine_that_reboots_at_once_is_a_new_life() {
    if skip() {
        return;
    }
    let cluster = up("reboot", nodes(3), &Cib::new());
    let life = |n: u32| cluster.status(1).unwrap().nodes[n as usize - 1].incarnation;
    let before = life(3);
    cluster.power_off(3).unwrap();
    cluster.boot(3).unwrap();
    let all = cluster.all();
    cluster.wait_for_members(&all, &all);
    cluster.wait_for("the others know of the new life", || (life(3) > before).then_some(()));
    cluster.wait_for_quorum(&all, true);
}

#[test]
fn a_stopped_node_is_expelled_and_comes_back() {
    if skip() {
        return;
    }
    let cluster = up("pause", nodes(3), &Cib::new());
    // Longer than the token; the guardian's own limit is longer still, so the node lives.
    cluster.signal(2, "cmmd", Signal::SIGSTOP);
    cluster.wait_for_members(&[1, 3], &[1, 3]);
    cluster.wait_for_quorum(&[1, 3], true);
    cluster.signal(2, "cmmd", Signal::SIGCONT);
    let all = cluster.all();
    cluster.wait_for("n2 is a member again, or its guardian has taken it down", || {
        let back =
            others(&cluster, &[2]).iter().all(|n| cluster.status(*n).is_ok_and(|s| s.ring.members == all));
        (back || cluster.find(2, "cmmd").is_empty()).then_some(())
    });
    if cluster.find(2, "cmmd").is_empty() {
        cluster.boot(2).unwrap();
    }
    cluster.wait_for_members(&all, &all);
    cluster.wait_for_quorum(&all, true);
}
