//! What an operator would tell, each with a few seeds.

use rgmd::{Admin, Whose};

use crate::world::{Faults, World, cib};

fn started(seed: u64, stonith: bool, more: &str) -> World {
    let mut world = World::new(seed, 3, &cib(stonith, more));
    for id in 1..=3 {
        world.start(id);
    }
    world.settle();
    world
}

fn each_seed(story: impl Fn(u64)) {
    for seed in 0..6 {
        story(seed);
    }
}

#[test]
fn a_fresh_cluster_starts_everything_once() {
    each_seed(|seed| {
        let world = started(seed, false, "");
        let g = world.whereabouts(1, "a").expect("a runs");
        assert_eq!(world.whereabouts(1, "b"), Some(g));
        assert_eq!(world.whereabouts(1, "c"), Some(g));
        assert!(world.whereabouts(1, "solo").is_some_and(|n| n != g), "spread");
        assert_eq!(world.starts["a"], 1);
    });
}

#[test]
fn a_confirmed_death_moves_the_resources() {
    each_seed(|seed| {
        let mut world = started(seed, false, "");
        let g = world.whereabouts(1, "a").unwrap();
        world.kill(g, true);
        world.settle();
        let survivor = world.alive()[0];
        let now = world.whereabouts(survivor, "a").expect("a runs again");
        assert_ne!(now, g);
        assert_eq!(world.whereabouts(survivor, "c"), Some(now));
    });
}

#[test]
fn an_unconfirmed_death_moves_nothing() {
    each_seed(|seed| {
        let mut world = started(seed, false, "");
        let g = world.whereabouts(1, "a").unwrap();
        let starts = world.starts.clone();
        world.kill(g, false);
        world.settle();
        let survivor = world.alive()[0];
        let status = world.agree(survivor);
        assert!(status.nodes.iter().any(|n| n.name == format!("n{g}") && n.unclean), "{:?}", status.nodes);
        assert_eq!(world.starts["a"], starts["a"]);
        assert!(status.resources.iter().find(|r| r.id == "a").unwrap().why.contains("UNCLEAN"));
        // The operator's word frees it.
        world.admin(survivor, Admin::Confirm { node: format!("n{g}"), by: None });
        world.reply().unwrap();
        world.settle();
        assert!(world.whereabouts(survivor, "a").is_some());
    });
}

#[test]
fn a_fence_device_confirms_the_death() {
    each_seed(|seed| {
        let mut world = started(seed, true, "");
        let g = world.whereabouts(1, "a").unwrap();
        world.kill(g, false);
        world.settle();
        let survivor = world.alive()[0];
        assert!(world.whereabouts(survivor, "a").is_some_and(|n| n != g));
        let status = world.agree(survivor);
        assert_eq!(status.fencing.len(), 1, "{:?}\n{}", status.fencing, world.log.join("\n"));
        assert_eq!(status.fencing[0].device, "fence");
    });
}

/// By the pattern of names and by the attribute of a node, as by the name itself.
#[test]
fn the_topology_says_which_device_is_used() {
    for target in [
        r#"target="n1""#,
        r#"target-pattern="^n[0-9]$""#,
        r#"target-attribute="rack" target-value="7""#,
        r#"target-pattern="^other" "#,
    ] {
        let more = format!(
            r#"<nodes><node id="1" uname="n1"><instance_attributes id="n1-a"><nvpair id="n1-rack" name="rack" value="7"/></instance_attributes></node></nodes>
               <fencing-topology><fencing-level id="l" {target} index="1" devices="second"/></fencing-topology></configuration>"#
        );
        let second = r#"<primitive id="second" class="stonith" type="fence_t"/></resources>"#;
        let text = cib(true, "").replace("</resources>", second).replace("</configuration>", &more);
        let mut world = World::new(1, 3, &text);
        for id in 1..=3 {
            world.start(id);
        }
        world.settle();
        world.kill(1, false);
        world.settle();
        let status = world.agree(2);
        let used: Vec<&str> = status.fencing.iter().map(|f| f.device.as_str()).collect();
        let expected = if target.contains("other") { "fence" } else { "second" };
        assert_eq!(used, [expected], "{target}\n{}", world.log.join("\n"));
    }
}

#[test]
fn fencing_that_fails_first_is_tried_again() {
    each_seed(|seed| {
        let mut world = started(seed, true, "");
        world.faults.fence = 70;
        let g = world.whereabouts(1, "a").unwrap();
        world.kill(g, false);
        world.settle();
        let survivor = world.alive()[0];
        assert!(world.whereabouts(survivor, "a").is_some(), "{}", world.log.join("\n"));
    });
}

/// Nothing is started before the ring's step of fencing is over: it must not wait for a plan that is never made.
#[test]
fn what_fencing_could_not_see_to_is_started_when_the_operator_has_confirmed_it() {
    each_seed(|seed| {
        let mut world = started(seed, true, "");
        world.faults.fence = 100;
        let g = world.whereabouts(1, "a").unwrap();
        let starts = world.starts.clone();
        world.kill(g, false);
        world.reconfigure(3, "fence");
        world.settle();
        assert!(world.log.iter().any(|l| l.contains("was not terminated")), "{}", world.log.join("\n"));
        let survivor = world.alive()[0];
        world.admin(survivor, Admin::Confirm { node: format!("n{g}"), by: None });
        world.reply().unwrap();
        world.settle();
        let done = |node: &u32| world.steps_done.contains(&(*node, 3));
        assert!(world.alive().iter().all(done), "{:?}\n{}", world.steps_done, world.log.join("\n"));
        assert_eq!(world.starts["a"], starts["a"], "the step is not over for all");
        world.reconfigure(4, "resources");
        world.settle();
        assert!(world.whereabouts(survivor, "a").is_some(), "{}", world.log.join("\n"));
    });
}

#[test]
fn a_node_that_is_cut_off_stops_and_comes_back() {
    each_seed(|seed| {
        let mut world = started(seed, false, "");
        let g = world.whereabouts(1, "a").unwrap();
        world.cut(&[g]);
        world.settle();
        assert!(world.running["a"].is_empty(), "without quorum it is stopped");
        let other = world.alive().into_iter().find(|n| *n != g).unwrap();
        assert!(world.agree(other).nodes.iter().any(|n| n.unclean), "not confirmed: not taken over");
        assert_eq!(world.starts["a"], 1);
        world.heal();
        world.settle();
        assert!(world.whereabouts(g, "a").is_some(), "back, and its word is good");
    });
}

#[test]
fn a_node_that_is_cut_off_is_fenced_and_comes_back() {
    each_seed(|seed| {
        let mut world = started(seed, true, "");
        let g = world.whereabouts(1, "a").unwrap();
        world.cut(&[g]);
        world.settle();
        assert!(!world.alive().contains(&g), "fenced\n{}", world.log.join("\n"));
        let other = world.alive()[0];
        assert!(world.whereabouts(other, "a").is_some());
        world.heal();
        world.start(g);
        world.settle();
        assert!(world.whereabouts(g, "a").is_some());
        assert_eq!(world.agree(g).nodes.iter().filter(|n| n.online).count(), 3);
    });
}

#[test]
fn an_orderly_leave_hands_over() {
    each_seed(|seed| {
        let mut world = started(seed, true, "");
        let g = world.whereabouts(1, "a").unwrap();
        world.leave(g);
        world.settle();
        assert_eq!(world.nodes[&g].left, Some(true));
        let other = world.alive()[0];
        assert!(world.whereabouts(other, "a").is_some_and(|n| n != g));
        let status = world.agree(other);
        assert!(status.fencing.is_empty(), "nobody is fenced: {:?}", status.fencing);
    });
}

#[test]
fn all_leave_and_come_back() {
    each_seed(|seed| {
        let mut world = started(seed, true, "");
        for id in 1..=3 {
            world.leave(id);
        }
        world.settle();
        assert!(world.alive().is_empty() && world.running.values().all(std::collections::BTreeSet::is_empty));
        for id in [3, 1, 2] {
            world.start(id);
        }
        world.settle();
        assert!(world.whereabouts(1, "a").is_some());
    });
}

#[test]
fn a_failed_monitor_recovers_in_place() {
    each_seed(|seed| {
        let mut world = started(seed, false, "");
        let g = world.whereabouts(1, "b").unwrap();
        world.resource_dies("b");
        for _ in 0..3_000 {
            world.step();
        }
        world.settle();
        assert_eq!(world.whereabouts(1, "b"), Some(g));
        assert_eq!((world.starts["a"], world.starts["b"]), (1, 2), "what it needs is not touched");
        assert_eq!(world.starts["c"], 2, "what needs it is restarted");
    });
}

#[test]
fn failures_are_forgotten_by_operation_and_interval() {
    let mut world = started(1, false, "");
    let place = world.whereabouts(1, "a").unwrap();
    world.resource_dies("a");
    world.settle();
    let failed = |world: &World| {
        world
            .agree(1)
            .resources
            .iter()
            .filter(|r| r.id == "a")
            .flat_map(|r| &r.fail_counts)
            .map(|f| f.count)
            .sum()
    };
    let count: u32 = failed(&world);
    assert_eq!(count, 1);
    let of = |operation: &str, interval_ms| {
        let (resource, operation) = (Some("a".to_owned()), Some(operation.to_owned()));
        Admin::Cleanup(Whose { resource, operation, interval_ms, node: None })
    };
    for other in [of("start", None), of("monitor", None), of("monitor", Some(2_000))] {
        world.admin(2, other);
        assert_eq!(world.reply().unwrap()["cleaned"], serde_json::json!([]));
        world.settle();
        assert_eq!(failed(&world), 1);
    }
    world.admin(2, of("monitor", Some(1_000)));
    let cleaned = serde_json::json!([{ "resource": "a", "node": format!("n{place}") }]);
    assert_eq!(world.reply().unwrap()["cleaned"], cleaned);
    world.settle();
    assert_eq!(failed(&world), 0);
}

#[test]
fn a_failed_stop_is_fenced() {
    each_seed(|seed| {
        let mut world = started(seed, true, "");
        let g = world.whereabouts(1, "a").unwrap();
        let asker = world.alive().into_iter().find(|n| *n != g).unwrap();
        world.faults = Faults { stop: 100, stop_on: g, ..Faults::default() };
        world.admin(asker, Admin::Standby { node: format!("n{g}"), on: true });
        world.reply().unwrap();
        for _ in 0..2_000 {
            world.step();
        }
        world.faults = Faults::default();
        world.settle();
        assert!(!world.alive().contains(&g), "fenced\n{}", world.log.join("\n"));
        assert!(world.whereabouts(asker, "a").is_some_and(|n| n != g));
    });
}

#[test]
fn standby_and_back_through_any_member() {
    each_seed(|seed| {
        let mut world = started(seed, false, "");
        let g = world.whereabouts(1, "a").unwrap();
        for asker in 1..=3 {
            world.admin(asker, Admin::Standby { node: format!("n{g}"), on: asker != 2 });
            world.reply().unwrap();
        }
        world.settle();
        assert!(world.whereabouts(1, "a").is_some_and(|n| n != g));
        assert_eq!(world.agree(1).cib.version, "0.5.0");
    });
}

/// Also one that does not decide itself: scripts wait for it through any member.
#[test]
fn every_member_knows_what_the_controller_does() {
    each_seed(|seed| {
        let mut world = started(seed, false, "");
        let state = |world: &mut World, asker: u32| {
            world.admin(asker, Admin::Controller);
            world.reply().unwrap()["state"].as_str().unwrap().to_owned()
        };
        for asker in 1..=3 {
            assert_eq!(state(&mut world, asker), "S_IDLE", "n{asker}");
        }
        let g = world.whereabouts(1, "a").unwrap();
        let asker = (1..=3).find(|n| world.agree(1).dc.as_deref() != Some(&format!("n{n}"))).unwrap();
        world.admin(asker, Admin::Standby { node: format!("n{g}"), on: true });
        world.reply().unwrap();
        assert_eq!(state(&mut world, asker), "S_TRANSITION_ENGINE", "what was changed before counts");
        world.settle();
        assert_eq!(state(&mut world, asker), "S_IDLE");
    });
}

#[test]
fn without_quorum_the_configuration_is_not_changed() {
    let mut world = started(1, false, "");
    world.cut(&[1]);
    world.settle();
    world.admin(1, Admin::Standby { node: "n1".into(), on: true });
    let why = world.reply().unwrap_err();
    assert!(why.starts_with("no quorum: the configuration cannot be changed"), "{why}");
    assert!(why.ends_with("what to do next: holdfast doctor"), "{why}");
    world.admin(2, Admin::Meta { resource: "nobody".into(), name: "target-role".into(), value: None });
    let why = world.reply().unwrap_err();
    assert_eq!(why, "no resource \"nobody\" in the configuration; those that are there: crm_resource --list");
    world.admin(
        2,
        Admin::Meta { resource: "g".into(), name: "target-role".into(), value: Some("Stopped".into()) },
    );
    world.reply().unwrap();
    world.heal();
    world.settle();
    assert_eq!(world.agree(1).cib.version, "0.3.0", "the side with quorum wins");
    assert!(world.running["a"].is_empty());
}

/// The last of two is without quorum, and its operator still has to be able to put things right.
#[test]
fn where_quorum_is_to_be_ignored_a_lone_node_changes_the_configuration_and_its_change_wins() {
    let ignore = "<nvpair id=\"o-policy\" name=\"no-quorum-policy\" value=\"ignore\"/>";
    let mut world = started(1, false, ignore);
    world.kill(2, true);
    world.kill(3, true);
    world.settle();
    let stop =
        Admin::Meta { resource: "g".into(), name: "target-role".into(), value: Some("Stopped".into()) };
    world.admin(1, stop);
    world.reply().unwrap();
    world.settle();
    assert!(world.running["a"].is_empty());
    let version = world.agree(1).cib.version;
    for id in [2, 3] {
        world.start(id);
    }
    world.settle();
    assert_eq!(world.agree(2).cib.version, version, "those that come back take it");
    assert!(world.running["a"].is_empty());
}

#[test]
fn a_node_never_seen_is_waited_for_and_then_fenced() {
    each_seed(|seed| {
        let mut world = World::new(seed, 3, &cib(true, ""));
        world.start(1);
        world.start(2);
        for _ in 0..100 {
            world.step();
        }
        assert!(world.starts.is_empty(), "it may be running everything");
        world.settle();
        for _ in 0..20_000 {
            world.step();
        }
        world.settle();
        assert!(world.whereabouts(1, "a").is_some(), "{}", world.log.join("\n"));
        assert_eq!(world.agree(1).fencing.len(), 1);
    });
}

fn names(world: &World, id: u32) -> Vec<String> {
    world.agree(id).nodes.into_iter().map(|n| n.name).collect()
}

fn remove(world: &mut World, asker: u32, node: &str) -> (serde_json::Value, String) {
    world.admin(asker, Admin::RemoveNode { node: node.to_owned() });
    let answer = world.reply().unwrap();
    (answer["rc"].clone(), answer["error"].as_str().unwrap_or_default().to_owned())
}

#[test]
fn a_node_that_left_is_removed_and_who_was_away_does_not_bring_it_back() {
    each_seed(|seed| {
        let mut world = World::new(seed, 5, &cib(false, ""));
        for id in 1..=5 {
            world.start(id);
        }
        world.settle();
        let (rc, why) = remove(&mut world, 1, "n5");
        assert_eq!(rc, 113, "{why}");
        assert!(why.ends_with("stop it there first: systemctl stop rgmd cmmd"), "{why}");
        let (rc, why) = remove(&mut world, 1, "n9");
        assert_eq!(rc, 68, "{why}");
        world.leave(5);
        world.settle();
        let version = world.agree(1).cib.version;
        world.cut(&[4]);
        world.settle();
        assert_eq!(remove(&mut world, 4, "n5").0, 106, "without quorum");
        assert_eq!(remove(&mut world, 2, "n5"), (serde_json::Value::Null, String::new()));
        world.settle();
        for id in 1..=3 {
            assert_eq!(names(&world, id), ["n1", "n2", "n3", "n4"]);
        }
        assert_ne!(world.agree(1).cib.version, version, "its place in the configuration is gone too");
        world.heal();
        world.settle();
        for id in 1..=4 {
            assert_eq!(names(&world, id), ["n1", "n2", "n3", "n4"]);
        }
        world.start(5);
        world.settle();
        for id in 1..=5 {
            assert_eq!(names(&world, id), ["n1", "n2", "n3", "n4", "n5"]);
        }
    });
}

#[test]
fn a_node_that_may_be_running_something_is_not_removed_before_it_is_confirmed() {
    let mut world = started(1, false, "");
    let g = world.whereabouts(1, "a").unwrap();
    let survivor = 1 + g % 3;
    let name = format!("n{g}");
    world.kill(g, false);
    world.settle();
    let (rc, why) = remove(&mut world, survivor, &name);
    assert_eq!(rc, 113, "{why}");
    assert!(why.ends_with(&format!("say so first: stonith_admin --confirm {name}")), "{why}");
    world.admin(survivor, Admin::Confirm { node: name.clone(), by: None });
    world.reply().unwrap();
    world.settle();
    assert_eq!(remove(&mut world, survivor, &name).0, serde_json::Value::Null);
    world.settle();
    assert!(!names(&world, survivor).contains(&name));
    let fenced = world.agree(survivor);
    assert!(world.whereabouts(survivor, "a").is_some_and(|n| n != g), "{fenced:?}");
    world.admin(survivor, Admin::FenceHistory { node: Some(name.clone()) });
    let history = world.reply().unwrap();
    assert_eq!(history["events"][0]["target"], serde_json::json!(name), "it keeps its name there");
}
