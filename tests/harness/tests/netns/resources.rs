//! Groups of real OCF agents.

use harness::{Cib, Signal, skip};

use crate::{
    FENCE_AGENT, SHOP_IP, bring_back, cib_of_shop, has_ip, nodes, others, place_of_shop, shop, start_shop,
    wait_for_takeover,
};

/// The node stops its services before it leaves, so nobody has to be fenced.
#[test]
fn an_orderly_stop_moves_the_group_without_a_fence() {
    if skip() {
        return;
    }
    let (cluster, old) = shop("move", nodes(3));
    let asked = others(&cluster, &[old]);
    cluster.stop(old);
    let new = wait_for_takeover(&cluster, asked[0], old);
    assert!(has_ip(&cluster, new) && !has_ip(&cluster, old));
    let offs: Vec<_> =
        cluster.fence_calls().into_iter().filter(|c| c.action == "off" || c.action == "reboot").collect();
    assert!(offs.is_empty(), "{offs:?}");
    cluster.assert_nothing_ran_twice();
    bring_back(&cluster, old);
    cluster.assert_nothing_ran_twice();
}

#[test]
fn a_service_that_dies_is_started_again() {
    if skip() {
        return;
    }
    let (cluster, place) = shop("recover", nodes(2));
    let starts = cluster.service_starts().len();
    cluster.signal(place, "sleep", Signal::SIGKILL);
    cluster.wait_for("it runs again", || {
        let again = cluster.service_starts().len() > starts && cluster.service_runs_on("shop").len() == 1;
        (again && place_of_shop(&cluster.status(1).ok()?).is_some()).then_some(())
    });
    let status = cluster.status(1).unwrap();
    let failed: u32 = status.resources.iter().flat_map(|r| &r.fail_counts).map(|f| f.count).sum();
    assert!(failed > 0, "the failure is counted: {:?}", status.resources);
    cluster.assert_nothing_ran_twice();
}

/// The kernel says at once that it died, and its monitor runs then, not in an hour.
#[test]
fn a_service_that_dies_is_started_again_though_its_monitor_is_an_hour_away() {
    if skip() {
        return;
    }
    let cib = cib_of_shop(Cib::new().fencing(FENCE_AGENT)).monitored_every("1h");
    let (cluster, place) = start_shop("died", nodes(2), &cib);
    let starts = cluster.service_starts().len();
    cluster.signal(place, "sleep", Signal::SIGKILL);
    cluster.wait_for("it runs again", || {
        let again = cluster.service_starts().len() > starts && cluster.service_runs_on("shop").len() == 1;
        (again && place_of_shop(&cluster.status(1).ok()?).is_some()).then_some(())
    });
    let log = cluster.log(place, "rgmd");
    assert!(log.contains("of service ended by signal 9, unasked: its monitor runs now"), "{log}");
    cluster.assert_nothing_ran_twice();
}

/// The address answers from wherever the group runs.
#[test]
fn the_groups_address_is_reached_from_another_node_before_and_after_a_takeover() {
    if skip() {
        return;
    }
    let (cluster, old) = shop("address", nodes(3));
    let reached = |from: u32| {
        let script = format!("exec 3<>/dev/tcp/{SHOP_IP}/9");
        let out = cluster.exec(from, "timeout", &["1", "bash", "-c", &script]).unwrap();
        String::from_utf8_lossy(&out.stderr).contains("Connection refused").then_some(())
    };
    let asked = others(&cluster, &[old]);
    cluster.wait_for("the address answers", || reached(asked[0]));
    cluster.power_off(old).unwrap();
    let new = wait_for_takeover(&cluster, asked[0], old);
    let third = others(&cluster, &[old, new])[0];
    cluster.wait_for("the address answers from its new node", || reached(third));
    cluster.assert_nothing_ran_twice();
}

#[test]
fn crm_mon_shows_the_group_as_pacemaker_would() {
    if skip() {
        return;
    }
    let (cluster, place) = shop("crmmon", nodes(2));
    let holdfast = harness::bin_dir().unwrap().join("holdfast");
    let lines = [
        "  * 2 nodes configured".to_owned(),
        "  * Online: [ n1 n2 ]".to_owned(),
        "  * Resource Group: shop:".to_owned(),
        format!("    * state\t(ocf:heartbeat:Dummy):\t Started n{place}"),
        format!("    * service\t(ocf:heartbeat:anything):\t Started n{place}"),
        format!("    * ip\t(ocf:heartbeat:IPaddr2):\t Started n{place}"),
    ];
    // While something is under way its line says that, too, as Pacemaker's does.
    let mut last = String::new();
    cluster.wait_for("the screen shows everything", || {
        let out = cluster.exec(1, &holdfast.to_string_lossy(), &["crm_mon", "-1"]).ok()?;
        let screen = String::from_utf8(out.stdout).ok()?;
        let missing: Vec<&String> = lines.iter().filter(|line| !screen.lines().any(|l| l == *line)).collect();
        if screen != last {
            println!("{}, missing {missing:?}:\n{screen}", out.status);
        }
        last.clone_from(&screen);
        (out.status.success() && missing.is_empty()).then_some(())
    });
}
