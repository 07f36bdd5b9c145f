//! Nodes that have to be given access to what is shared before anything starts there: the world asserts that at each start,
//! and that each node is given it by itself.

use std::collections::BTreeSet;

use rgmd::Admin;

use crate::world::{World, unfencing};

fn started(seed: u64, fault: u32) -> World {
    let mut world = World::new(seed, 3, &unfencing());
    world.access = Some(BTreeSet::new());
    world.faults.unfence_on = fault;
    for id in 1..=3 {
        world.start(id);
    }
    world.settle();
    world
}

/// How many nodes say that they have access, and with what.
fn said(world: &mut World, id: u32) -> [usize; 3] {
    world.admin(id, Admin::Cib);
    let answer = world.reply().unwrap();
    let xml = answer["xml"].as_str().unwrap().to_owned();
    ["#node-unfenced", "#digests-all", "#digests-secure"]
        .map(|name| xml.matches(&format!("name=\"{name}\"")).count())
}

fn given(world: &World, node: u32) -> usize {
    world.log.iter().filter(|l| l.ends_with(&format!(" n{node} has access"))).count()
}

#[test]
fn nodes_give_themselves_access_before_anything_starts() {
    for seed in 0..6 {
        let mut world = started(seed, 0);
        assert!(world.whereabouts(1, "a").is_some() && world.whereabouts(1, "solo").is_some());
        assert_eq!(said(&mut world, 1), [3, 3, 3], "{}", world.log.join("\n"));
        assert!(world.agree(1).nodes.iter().all(|n| n.online && !n.unclean));
    }
}

/// The agent has no reboot: the node is switched off. What it was given before counts for nothing when it is back.
#[test]
fn a_node_that_was_fenced_gives_itself_access_again() {
    for seed in 0..6 {
        let mut world = started(seed, 0);
        let g = world.whereabouts(1, "a").unwrap();
        let before = given(&world, g);
        world.kill(g, false);
        world.settle();
        let survivor = world.alive()[0];
        assert!(world.whereabouts(survivor, "a").is_some_and(|n| n != g), "{}", world.log.join("\n"));
        assert_eq!(said(&mut world, survivor), [2, 2, 2]);
        world.start(g);
        world.settle();
        assert!(given(&world, g) > before, "{}", world.log.join("\n"));
        assert_eq!(said(&mut world, survivor), [3, 3, 3]);
    }
}

/// It does not count as dead because of that, nor as one that cannot be fenced.
#[test]
fn where_access_fails_nothing_starts_and_the_node_can_still_be_fenced() {
    for seed in 0..6 {
        let mut world = started(seed, 2);
        let given_up = |world: &World| world.log.iter().any(|l| l.contains("Node n2 could not be unfenced"));
        for _ in 0..1_000_000 {
            if given_up(&world) {
                break;
            }
            world.step();
        }
        assert!(given_up(&world), "{}", world.log.join("\n"));
        world.settle();
        assert_eq!(said(&mut world, 1), [2, 2, 2]);
        assert!(world.agree(1).nodes.iter().all(|n| n.online && !n.unclean));
        world.kill(2, false);
        world.settle();
        let status = world.agree(1);
        assert!(status.nodes.iter().all(|n| !n.unclean), "{}", world.log.join("\n"));
        assert!(world.log.iter().any(|l| l.ends_with(" fences n2")), "{}", world.log.join("\n"));
        assert!(world.whereabouts(1, "a").is_some(), "{}", world.log.join("\n"));
        world.faults.unfence_on = 0;
        world.start(2);
        world.settle();
        assert_eq!(said(&mut world, 1), [3, 3, 3]);
    }
}
