//! Many nodes.

use harness::{Cib, Cluster, skip};

use crate::{nodes, others};

#[test]
fn sixteen_daemons_form_a_ring_lose_one_and_take_it_back() {
    if skip() {
        return;
    }
    const NODES: u32 = 16;
    let cluster = Cluster::new("sixteen", nodes(NODES), &Cib::new()).unwrap();
    let all = cluster.all();
    for node in &all {
        cluster.power_on(*node).unwrap();
    }
    for node in &all {
        cluster.start(*node, "cmmd", &["-f"]).unwrap();
    }
    // One question to each node tells all of it: many questions would be most of the load.
    let wait = |nodes: &[u32], members: &[u32]| {
        for node in nodes {
            cluster.wait_for(&format!("n{node} is quorate in a ring of {members:?}"), || {
                let seen = cluster.ring(*node).ok()?;
                (seen.ring.members == members && seen.ring.state == "OPERATIONAL" && seen.quorate)
                    .then_some(())
            });
        }
    };
    wait(&all, &all);
    let rest = others(&cluster, &[7]);
    cluster.power_off(7).unwrap();
    wait(&rest, &rest);
    let ids: Vec<String> = rest.iter().map(|n| cluster.ring(*n).unwrap().ring.id).collect();
    assert!(ids.windows(2).all(|w| w[0] == w[1]), "one ring: {ids:?}");
    cluster.power_on(7).unwrap();
    cluster.start(7, "cmmd", &["-f"]).unwrap();
    wait(&all, &all);
    let ring = cluster.ring(1).unwrap();
    let last =
        |word: &str| ring.changes.iter().find(|c| if word == "left" { &c.left } else { &c.joined } == &[7]);
    assert!(last("left").is_some() && last("joined").is_some(), "its history tells it: {:?}", ring.changes);
}
