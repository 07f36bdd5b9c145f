//! Everything at once, from one seed a run: deaths with and without confirmation, cuts at any place of the order,
//! leaves, failing agents, changes of the configuration. In the end the world is healed and must come to rest with
//! everything running once. Nothing may ever run twice; the world checks that at each start.
//!
//! `RGMD_SEED=n cargo test -p rgmd chaos` replays one run, `RGMD_SEEDS=n` runs so many.

use std::collections::BTreeSet;

use rgmd::{Admin, Whose};

use crate::world::{Faults, World, cib, unfencing};

fn run(seed: u64) {
    let nodes = 2 + u32::try_from(seed % 4).unwrap();
    let stonith = !seed.is_multiple_of(3);
    let access = stonith && seed % 4 == 1;
    let text = if access { unfencing() } else { cib(stonith, "") };
    let mut world = World::new(seed, nodes, &text);
    // Then the world also checks that it was given before each start.
    world.access = access.then(BTreeSet::new);
    if seed.is_multiple_of(5) {
        world.faults =
            Faults { start: 5, stop: if stonith { 5 } else { 0 }, stop_on: 0, fence: 30, unfence_on: 0 };
    }
    for id in 1..=nodes {
        world.start(id);
    }
    for _ in 0..40 {
        for _ in 0..world.rng.below(400) {
            world.step();
        }
        disturb(&mut world, nodes);
    }
    heal(&mut world, nodes);
    let survivor = world.alive()[0];
    let status = world.agree(survivor);
    assert_eq!(status.nodes.iter().filter(|n| n.online).count(), nodes as usize, "{}", world.log.join("\n"));
    for resource in ["a", "b", "c", "solo"] {
        let place = world.whereabouts(survivor, resource);
        assert!(place.is_some(), "seed {seed}: {resource} runs nowhere\n{}", world.log.join("\n"));
    }
}

fn disturb(world: &mut World, nodes: u32) {
    let id = 1 + u32::try_from(world.rng.below(u64::from(nodes))).unwrap();
    let is_alive = world.nodes[&id].manager.is_some();
    match world.rng.below(12) {
        0 | 1 if is_alive => {
            let confirmed = world.rng.percent(70);
            world.kill(id, confirmed);
        }
        2 | 3 if !is_alive => world.start(id),
        4 => {
            let mask = world.rng.next();
            let side: Vec<u32> = (1..=nodes).filter(|n| mask >> n & 1 == 1).collect();
            world.cut(&side);
        }
        5 | 6 => world.heal(),
        7 if is_alive => world.leave(id),
        8 => {
            let resource = ["a", "b", "c", "solo"][usize::try_from(world.rng.below(4)).unwrap()];
            world.resource_dies(resource);
        }
        9 if is_alive => {
            let on = world.rng.percent(50);
            world.admin(id, Admin::Standby { node: format!("n{id}"), on });
        }
        10 | 11 if is_alive => world.admin(id, Admin::Cleanup(Whose::default())),
        _ => {}
    }
}

/// Faults stop; everybody comes back; what failed is cleaned up.
fn heal(world: &mut World, nodes: u32) {
    world.faults = Faults::default();
    world.heal();
    for id in 1..=nodes {
        if world.nodes[&id].manager.is_none() {
            let life = world.nodes[&id].life;
            world.confirm(id, life);
        }
    }
    // A node that is leaving, or about to be fenced, must be gone before it can be started.
    for _ in 0..20 {
        for _ in 0..5_000 {
            world.step();
        }
        let missing: Vec<u32> = (1..=nodes).filter(|id| world.nodes[id].manager.is_none()).collect();
        for id in missing {
            let life = world.nodes[&id].life;
            world.confirm(id, life);
            world.start(id);
        }
    }
    world.settle();
    for id in 1..=nodes {
        let node = format!("n{id}");
        world.admin(1, Admin::Standby { node, on: false });
        world.reply().unwrap_or_else(|e| panic!("{e}\n{}", world.log.join("\n")));
    }
    world.admin(1, Admin::Cleanup(Whose::default()));
    world.reply().unwrap();
    for _ in 0..10_000 {
        world.step();
    }
    world.settle();
}

#[test]
fn nothing_ever_runs_twice() {
    if let Ok(seed) = std::env::var("RGMD_SEED") {
        return run(seed.parse().expect("RGMD_SEED is a number"));
    }
    let seeds = std::env::var("RGMD_SEEDS").ok().and_then(|s| s.parse().ok()).unwrap_or(24);
    for seed in 0..seeds {
        let result = std::panic::catch_unwind(|| run(seed));
        if let Err(panic) = result {
            eprintln!("replay: RGMD_SEED={seed} cargo test -p rgmd --test it nothing_ever_runs_twice");
            std::panic::resume_unwind(panic);
        }
    }
}
