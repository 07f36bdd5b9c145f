//! `rgmd` on the distribution's corosync: no failfast, no lives, no leases; fencing alone says who is dead.

use harness::{Cib, Cluster, FENCE_AGENT, FencePolicy, Options, Signal, skip};

use crate::{bring_back, has_ip, nodes, others, shop_with, stays, wait_for_takeover};

fn shop(name: &str) -> (Cluster, u32) {
    shop_with(name, Options { daemon: "corosync", ..nodes(3) }, Cib::new().fencing(FENCE_AGENT))
}

#[test]
fn rgmd_on_corosync_moves_a_group_by_fencing_whatever_dies() {
    if skip() {
        return;
    }
    let (cluster, mut place) = shop("predecessor");
    for death in ["power", "corosync", "rgmd"] {
        let (old, asked) = (place, others(&cluster, &[place])[0]);
        match death {
            "power" => cluster.power_off(old).unwrap(),
            daemon => cluster.signal(old, daemon, Signal::SIGKILL),
        }
        place = wait_for_takeover(&cluster, asked, old);
        assert!(has_ip(&cluster, place), "{death}");
        let name = harness::node_name(old);
        let calls = cluster.fence_calls();
        assert!(calls.iter().any(|c| c.target == name && c.answer == "ok"), "{death}: {calls:?}");
        assert!(cluster.processes(old).is_empty(), "{death}: the fence device took its power");
        bring_back(&cluster, old);
        cluster.assert_nothing_ran_twice();
    }
    // An orderly stop needs none.
    let before = cluster.fence_calls().len();
    cluster.stop(place);
    wait_for_takeover(&cluster, others(&cluster, &[place])[0], place);
    let strikes = |c: &harness::FenceCall| c.action == "off" || c.action == "reboot";
    assert!(!cluster.fence_calls()[before..].iter().any(strikes), "{:?}", cluster.fence_calls());
    cluster.assert_nothing_ran_twice();
}

#[test]
fn rgmd_on_corosync_starts_nothing_elsewhere_until_the_fence_device_works() {
    if skip() {
        return;
    }
    let (cluster, old) = shop("unfenced");
    let asked = others(&cluster, &[old]);
    cluster.set_fence_policy(FencePolicy::Fails);
    cluster.isolate(old);
    cluster.wait_for_members(&asked, &asked);
    cluster.wait_for("the fence device has refused", || {
        cluster.fence_calls().iter().any(|c| c.answer.starts_with("error")).then_some(())
    });
    stays("nothing starts elsewhere", std::time::Duration::from_secs(3), || {
        cluster.service_starts().len() == 1
    });
    // The lost node is alone, without quorum: it has stopped the group by itself. Only nobody else can know.
    cluster.wait_for("the lost node stops the group", || {
        cluster.service_runs_on("shop").is_empty().then_some(())
    });
    cluster.set_fence_policy(FencePolicy::Works);
    wait_for_takeover(&cluster, asked[0], old);
    cluster.heal();
    bring_back(&cluster, old);
    cluster.assert_nothing_ran_twice();
}
