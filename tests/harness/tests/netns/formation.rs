//! Rings form, nodes leave and come back in order.

use harness::{Cib, Cluster, Signal, skip};

use crate::{nodes, others, up};

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
    cluster.boot(2).unwrap();
    cluster.wait_for_members(&[1, 2], &[1, 2]);
    cluster.wait_for_quorum(&[1, 2], true);
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
