//! Cut cables.

use std::time::Duration;

use harness::{Cib, FencePolicy, Options, skip};

use crate::{bring_back, nodes, others, place_of_shop, shop, stays, up, wait_for_takeover};

#[test]
fn one_node_is_cut_off_and_comes_back() {
    if skip() {
        return;
    }
    let cluster = up("cut", nodes(3), &Cib::new());
    cluster.isolate(3);
    cluster.wait_for_members(&[1, 2], &[1, 2]);
    cluster.wait_for_quorum(&[3], false);
    cluster.wait_for_quorum(&[1, 2], true);
    cluster.wait_for_members(&[3], &[3]);
    cluster.heal();
    cluster.wait_for_members(&[1, 2, 3], &[1, 2, 3]);
    cluster.wait_for_quorum(&[1, 2, 3], true);
}

#[test]
fn of_two_halves_neither_is_quorate() {
    if skip() {
        return;
    }
    let cluster = up("halves", nodes(4), &Cib::new());
    cluster.cut(&[1, 2], &[3, 4]);
    cluster.wait_for_members(&[1, 2], &[1, 2]);
    cluster.wait_for_members(&[3, 4], &[3, 4]);
    cluster.wait_for_quorum(&[1, 2, 3, 4], false);
    cluster.heal();
    let all = cluster.all();
    cluster.wait_for_members(&all, &all);
    cluster.wait_for_quorum(&all, true);
}

#[test]
fn of_two_parts_only_the_greater_is_quorate() {
    if skip() {
        return;
    }
    let cluster = up("parts", nodes(5), &Cib::new());
    cluster.cut(&[1, 2], &[3, 4, 5]);
    cluster.wait_for_quorum(&[1, 2], false);
    cluster.wait_for_members(&[3, 4, 5], &[3, 4, 5]);
    cluster.wait_for_quorum(&[3, 4, 5], true);
    cluster.heal();
    let all = cluster.all();
    cluster.wait_for_members(&all, &all);
    cluster.wait_for_quorum(&all, true);
}

#[test]
fn two_nodes_apart_are_both_without_quorum() {
    if skip() {
        return;
    }
    let cluster = up("twoapart", nodes(2), &Cib::new());
    cluster.cut(&[1], &[2]);
    cluster.wait_for_quorum(&[1, 2], false);
    cluster.heal();
    cluster.wait_for_members(&[1, 2], &[1, 2]);
    cluster.wait_for_quorum(&[1, 2], true);
}

/// The first rule: what the lost node may run starts elsewhere only when its death is confirmed, and is stopped on
/// the node that is without quorum.
#[test]
fn a_minority_stops_its_resources_and_the_majority_waits_for_its_death() {
    if skip() {
        return;
    }
    let (cluster, victim) = shop("minority", nodes(3));
    let majority = others(&cluster, &[victim]);
    // The power switch does not answer: nobody can be sure.
    cluster.set_fence_policy(FencePolicy::Fails);
    cluster.isolate(victim);
    cluster.wait_for_quorum(&[victim], false);
    cluster.wait_for("the minority has stopped its resources", || {
        cluster.service_runs_on("shop").is_empty().then_some(())
    });
    cluster.wait_for_members(&majority, &majority);
    cluster.wait_for("the lost node is unclean", || {
        cluster.status(majority[0]).ok()?.nodes.iter().any(|n| n.id == victim && n.unclean).then_some(())
    });
    stays("nothing of the lost node starts elsewhere", Duration::from_secs(5), || {
        cluster.service_runs_on("shop").is_empty()
    });
    cluster.set_fence_policy(FencePolicy::Works);
    wait_for_takeover(&cluster, majority[0], victim);
    cluster.assert_nothing_ran_twice();
}

#[test]
fn a_node_that_was_cut_off_is_fenced_and_rejoins_clean() {
    if skip() {
        return;
    }
    let (cluster, victim) = shop("fencecut", nodes(3));
    let majority = others(&cluster, &[victim]);
    cluster.isolate(victim);
    let place = wait_for_takeover(&cluster, majority[0], victim);
    cluster.heal();
    cluster.wait_for("the fence device has switched it off", || {
        let name = harness::node_name(victim);
        cluster.fence_calls().iter().any(|c| c.target == name && c.answer == "ok").then_some(())
    });
    bring_back(&cluster, victim);
    cluster.wait_for("the group stays where it is", || {
        let status = cluster.status(victim).ok()?;
        (status.nodes.iter().all(|n| n.online) && place_of_shop(&status) == Some(place)).then_some(())
    });
    cluster.assert_nothing_ran_twice();
}

#[test]
fn a_short_cut_heals_before_anybody_is_fenced() {
    if skip() {
        return;
    }
    let (cluster, place) = shop("shortcut", nodes(3));
    cluster.set_fence_policy(FencePolicy::Fails);
    cluster.isolate(place);
    cluster.wait_for_quorum(&[place], false);
    cluster.heal();
    let all = cluster.all();
    cluster.wait_for_members(&all, &all);
    cluster.set_fence_policy(FencePolicy::Works);
    cluster.wait_for("the group runs again, once", || {
        let status = cluster.status(place).ok()?;
        let now = place_of_shop(&status)?;
        (cluster.service_runs_on("shop") == [now]).then_some(())
    });
    cluster.assert_nothing_ran_twice();
}

#[test]
fn a_one_way_cut_does_not_leave_two_quorate_rings() {
    if skip() {
        return;
    }
    let cluster = up("oneway", nodes(3), &Cib::new());
    // n3 hears the others, but they do not hear n3.
    cluster.cut_one_way(3, 1);
    cluster.cut_one_way(3, 2);
    cluster.wait_for_members(&[1, 2], &[1, 2]);
    cluster.wait_for_quorum(&[1, 2], true);
    cluster.wait_for_quorum(&[3], false);
    cluster.heal();
    cluster.wait_for_members(&[1, 2, 3], &[1, 2, 3]);
}

#[test]
fn two_node_mode_keeps_both_halves_quorate_and_still_runs_once() {
    if skip() {
        return;
    }
    let options = Options { quorum: "    two_node: 1\n", ..nodes(2) };
    let (cluster, victim) = shop("twonode", options);
    let survivor = others(&cluster, &[victim])[0];
    cluster.power_off(victim).unwrap();
    cluster.wait_for_quorum(&[survivor], true);
    wait_for_takeover(&cluster, survivor, victim);
    cluster.assert_nothing_ran_twice();
}

/// Asymmetric connectivity: 1 and 3 have lost each other, 2 reaches both. Two stay together, and in peace.
#[test]
fn of_three_with_one_pair_apart_two_stay_together_in_peace() {
    if skip() {
        return;
    }
    let cluster = up("apart", nodes(3), &Cib::new());
    let rings = |node| cluster.log(node, "cmmd").matches("A new membership (").count();
    let before = [rings(2), rings(3)];
    cluster.cut(&[1], &[3]);
    cluster.wait_for_members(&[1, 2], &[1, 2]);
    cluster.wait_for_members(&[3], &[3]);
    cluster.wait_for_quorum(&[1, 2], true);
    cluster.wait_for_quorum(&[3], false);
    for node in [1, 2] {
        cluster.wait_for("the members say who is held out, and why", || {
            cluster.log(node, "cmmd").contains("node 3 is held out: it cannot reach node 1").then_some(())
        });
    }
    let now = || [rings(2), rings(3)];
    assert_eq!(now(), before.map(|n| n + 1), "chosen at once");
    stays("nobody re-forms", Duration::from_secs(10), || now() == before.map(|n| n + 1));
    cluster.heal();
    cluster.wait_for_members(&[1, 2, 3], &[1, 2, 3]);
    cluster.wait_for_quorum(&[1, 2, 3], true);
    cluster.wait_for("nobody is held out", || {
        cluster.log(2, "cmmd").contains("Nobody is held out any more").then_some(())
    });
    assert_eq!(now(), before.map(|n| n + 2), "and brought together at once");
}
