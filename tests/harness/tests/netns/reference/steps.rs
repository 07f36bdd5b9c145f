//! The rehearsed faults, and recovery from each: what is typed, what the screen shows, what the operators' logs say. The service
//! runs on n1, which is the controller unless said otherwise, and moves to n2.

use super::rig::{SERVICE_LAN, Site};

/// A recorded screen, in the layouts of 2.1 and 1.1.
macro_rules! screen {
    ($name:literal) => {
        [
            include_str!(concat!(
                "../../../../../userland/scheduler/tests/recorded/screens/",
                $name,
                ".2.1.txt"
            )),
            include_str!(concat!(
                "../../../../../userland/scheduler/tests/recorded/screens/",
                $name,
                ".1.1.txt"
            )),
        ]
    };
}
pub(super) use screen;

pub(super) const STOPS: &str = "
    info: Resource prmApPostgreSQLDB tries to stop.
    info: Resource prmApPostgreSQLDB stopped. (rc=0) ok
    info: Resource prmIpPostgreSQLDB tries to stop.
    info: Resource prmIpPostgreSQLDB stopped. (rc=0) ok
    info: Resource prmFsPostgreSQLDB tries to stop.
    info: Resource prmFsPostgreSQLDB stopped. (rc=0) ok
    info: Resource prmExPostgreSQLDB tries to stop.
    info: Resource prmExPostgreSQLDB stopped. (rc=0) ok";
pub(super) const STARTS: &str = "
    info: Resource prmExPostgreSQLDB tries to start.
    info: Resource prmExPostgreSQLDB started. (rc=0) ok
    info: Resource prmFsPostgreSQLDB tries to start.
    info: Resource prmFsPostgreSQLDB started. (rc=0) ok
    info: Resource prmIpPostgreSQLDB tries to start.
    info: Resource prmIpPostgreSQLDB started. (rc=0) ok
    info: Resource prmApPostgreSQLDB tries to start.
    info: Resource prmApPostgreSQLDB started. (rc=0) ok";
const MOVED: &str = "
    info: Resource prmExPostgreSQLDB : Move n1 -> n2
    info: Resource prmApPostgreSQLDB : Move n1 -> n2
    info: fail-over succeeded.";
pub(super) const FAIL_OVER: &str = "Start to fail-over.";
/// What is typed to take the database away.
pub(super) const STOP_AT_ONCE: &str =
    "cd / && runuser -u postgres -- /usr/lib/postgresql/15/bin/pg_ctl -D /var/lib/dbfp/pgdata/data -m i stop";
/// The same without a word to it.
pub(super) const KILL: &str = "kill -9 $(head -n 1 /var/lib/dbfp/pgdata/data/postmaster.pid)";

/// How long the operators' logs are, by node.
pub(super) fn now(site: &Site) -> Vec<usize> {
    site.cluster.all().into_iter().map(|node| site.log(node).len()).collect()
}

/// How many lines with a text each node has logged since then.
pub(super) fn counts(site: &Site, from: &[usize], text: &str) -> Vec<usize> {
    (1..).zip(from).map(|(node, from)| site.count(node, *from, text)).collect()
}

/// Waits for a screen: of two nodes the recorded one; of more, for which none is recorded, what Pacemaker shows, with
/// these lines.
pub(super) fn shown(site: &Site, node: u32, recorded: [&str; 2], lines: &[&str]) {
    if site.cluster.all().len() == 2 {
        site.wait_for_screen(node, recorded);
    } else {
        site.wait_for_pacemakers_screen(node, lines);
    }
}

/// Waits until nothing keeps the group from any node.
pub(super) fn all_could_run_it(site: &Site) {
    let nodes = site.cluster.all().len();
    site.cluster.wait_for("every node could run it", || {
        let screen = site.ask(2, "crm_mon -1 -A -L").0;
        (screen.matches(": 100").count() == nodes && !screen.contains("rsc_location-grpPostgreSQLDB-3"))
            .then_some(())
    });
}

/// Waits until all nodes are online.
pub(super) fn all_online(site: &Site) {
    let names: Vec<_> = site.cluster.all().into_iter().map(harness::node_name).collect();
    site.wait_for(2, "crm_mon -1 -fA", &format!("Online: [ {} ]", names.join(" ")));
}

/// The end of recovery: the group is moved from n2 to n1, and the constraints of that are taken away.
pub(super) fn fail_back(site: &Site) {
    let from = now(site);
    site.run(2, "crm_resource -M -r grpPostgreSQLDB -N n1 -f -Q");
    site.wait_for_log(2, from[1], STOPS);
    site.wait_for_log(1, from[0], STARTS);
    let ban = "cli-ban-grpPostgreSQLDB-on-n2\tprevents grpPostgreSQLDB from running on n2";
    let place = "prmApPostgreSQLDB\t(ocf:heartbeat:pgsql):\t Started n1";
    shown(site, 1, screen!("moved-back"), &[ban, place]);
    let said = site.run(2, "crm_resource -U -r grpPostgreSQLDB");
    assert!(
        said.contains("cli-ban-grpPostgreSQLDB-on-n2") && said.contains("cli-prefer-grpPostgreSQLDB"),
        "{said}"
    );
    shown(site, 1, screen!("healthy"), &[place]);
    assert!(!site.run(1, "crm_mon -1 -L").contains("cli-"), "what the move left is gone");
    assert_eq!(counts(site, &from, FAIL_OVER).iter().sum::<usize>(), 0, "a move is no fail-over");
    site.check(1);
}

/// Power on, and the cluster's software started, after which the node is a member.
pub(super) fn boot(site: &Site, node: u32) {
    let other = if node == 1 { 2 } else { 1 };
    let from = site.log(other).len();
    // What a node's power switch does; a guardian's last word leaves the machine itself on.
    site.cluster.power_off(node).unwrap();
    site.switch_on(node);
    site.cluster.boot(node).unwrap();
    site.wait_for_log(other, from, &format!("info: Node n{node} is member"));
}

/// Case 1 and recovery 1', the service's return included.
pub(super) fn the_database_fails(site: &Site, how: &str) {
    let from = now(site);
    site.run(1, how);
    site.wait_for_log(1, from[0], &format!("error: {FAIL_OVER}{STOPS}{MOVED}"));
    let gone = database_failed(site, from[0]);
    site.wait_for_log(2, from[1], STARTS);
    let place = "prmApPostgreSQLDB\t(ocf:heartbeat:pgsql):\t Started n2";
    if gone {
        let failed = "prmApPostgreSQLDB 2s-interval monitor on n1 returned 'not running'";
        shown(site, 2, screen!("service-failed"), &[failed, place]);
    }
    let fail_overs = counts(site, &from, FAIL_OVER);
    assert_eq!((fail_overs[0], fail_overs.iter().sum()), (1, 1), "once, by the controller");
    site.check(2);

    // 1': out of service, cleared, in service.
    assert_eq!(site.run(2, "crm_standby -U n1 -v on"), "");
    if gone {
        shown(site, 2, screen!("standby"), &["Node n1: standby\n"]);
    }
    site.wait_for(2, "crm_mon -1 -fA", "Node n1: standby\n");
    site.run(2, "crm_resource -C -r prmApPostgreSQLDB -N n1");
    site.cluster.wait_for("nothing has failed", || {
        let screen = site.ask(2, "crm_mon -1 -fA").0;
        (!screen.contains("fail-count") && !screen.contains("Failed Resource Actions")).then_some(())
    });
    assert_eq!(site.run(2, "crm_standby -U n1 -v off"), "");
    all_online(site);
    // It stays until it is moved back.
    all_could_run_it(site);
    site.wait_for_service(2);
    fail_back(site);
}

/// Whether the monitor found the database gone (true), or going and deaf, which it may do when it comes at the wrong moment.
pub(super) fn database_failed(site: &Site, from: usize) -> bool {
    let gone = site.count(1, from, "Resource prmApPostgreSQLDB does not work. (rc=7) not running") == 1;
    let deaf = site.count(1, from, "Resource prmApPostgreSQLDB failed to monitor. (rc=1) unknown error") == 1;
    assert!(gone != deaf, "{:#?}", site.log(1));
    gone
}

/// Case 2 and recovery 1; the service is left on n2.
pub(super) fn the_service_lan_is_cut(site: &Site) {
    let from = now(site);
    let cut =
        format!("iptables -A INPUT -i {SERVICE_LAN} -j DROP; iptables -A OUTPUT -o {SERVICE_LAN} -j DROP");
    site.run(1, &cut);
    assert_eq!(site.run(1, "iptables -L").matches("\nDROP ").count(), 2);
    let lost = "info: Attribute \"default_ping_set\" is updated to \"0\" at \"n1\".";
    site.wait_for_log(1, from[0], &format!("{lost}\nerror: {FAIL_OVER}{STOPS}{MOVED}"));
    site.wait_for_log(2, from[1], &format!("{lost}{STARTS}"));
    let place = "prmApPostgreSQLDB\t(ocf:heartbeat:pgsql):\t Started n2";
    shown(site, 2, screen!("network-lost"), &["\t: Connectivity is lost", place]);
    let fail_overs = counts(site, &from, FAIL_OVER);
    assert_eq!((fail_overs[0], fail_overs.iter().sum()), (1, 1), "once, by the controller");
    site.check(2);

    // 1: out of service, repaired, in service.
    assert_eq!(site.run(2, "crm_standby -U n1 -v on"), "");
    site.wait_for(2, "crm_mon -1 -fA", "Node n1: standby\n");
    site.run(1, "iptables -F");
    assert_eq!(site.run(1, "iptables -L").matches("DROP").count(), 0);
    assert_eq!(site.run(2, "crm_standby -U n1 -v off"), "");
    let back = "info: Attribute \"default_ping_set\" is updated to \"100\" at \"n1\".";
    site.wait_for_log(1, from[0], &format!("{lost}\n{back}"));
    site.wait_for_service(2);
    assert_eq!(
        site.cluster.fence_calls().iter().filter(|c| c.action != "monitor").count(),
        0,
        "nobody was fenced"
    );
}

/// Case 9 and recovery 2, of two nodes: the agent is another one while it runs.
pub(super) fn the_stop_fails(site: &Site) {
    let (from, struck) = (now(site), [1, 2].map(|n| site.strikes(n)));
    site.run(
        1,
        "cd /usr/lib/ocf/resource.d/heartbeat && cp pgsql pgsql_bak && \
         sed -i 's/^pgsql_stop() {$/&\\n    return $OCF_ERR_GENERIC/' pgsql && ! cmp -s pgsql pgsql_bak",
    );
    site.run(1, "crm_resource -M -r grpPostgreSQLDB -N n2 -f -Q");
    site.wait_for_log(
        1,
        from[0],
        "info: Resource prmApPostgreSQLDB tries to stop.
        error: Resource prmApPostgreSQLDB failed to stop. (rc=1) unknown error",
    );
    site.wait_for_log(
        2,
        from[1],
        &format!(
            "info: Try to execute STONITH device prmStonith1-1 on n2 for reboot n1.
            warning: Failed to execute STONITH device prmStonith1-1 for n1.
            info: Try to execute STONITH device prmStonith1-2 on n2 for reboot n1.
            info: Succeeded to execute STONITH device prmStonith1-2 for n1.
            {STARTS}
            info: fail-over succeeded."
        ),
    );
    site.wait_for_screen(2, screen!("stop-failed-fenced"));
    // The victim was the controller: who takes over from it does not take over what a device was doing, and may ask again.
    assert!(site.strikes(1) > struck[0]);
    assert_eq!(site.strikes(2), struck[1]);
    site.check(2);

    // 2: the machine comes up with the agent as it was, and the ban goes. (Before, the one node that is left has no quorum,
    // without which the configuration is not changed.)
    boot(site, 1);
    all_online(site);
    site.run(2, "crm_resource -U -r grpPostgreSQLDB");
    all_could_run_it(site);
    site.wait_for_service(2);
    fail_back(site);
}

/// Case 6: the ring's daemon of n1 is killed, and what an operator's log says up to the fail-over's end comes from whoever
/// is controller then. `fenced`: what it says between the loss and the starts.
pub(super) fn the_ring_daemon_is_killed(site: &Site, fenced: &str) {
    let from = now(site);
    // In the node's own namespace of processes.
    site.cluster.start_as(1, "operator", "pkill", &["-9", "-x", site.cluster.options().daemon]).unwrap();
    let controller = site.cluster.wait_for("somebody starts to fail over", || {
        counts(site, &from, FAIL_OVER).iter().position(|count| *count > 0)
    });
    let controller = controller as u32 + 1;
    assert_ne!(controller, 1);
    let lost = "warning: Node n1 is lost";
    if controller == 2 {
        site.wait_for_log(2, from[1], &format!("{lost}\n{fenced}{STARTS}\ninfo: fail-over succeeded."));
    } else {
        site.wait_for_log(2, from[1], &format!("{lost}{STARTS}"));
        let from = from[controller as usize - 1];
        site.wait_for_log(controller, from, &format!("{lost}\n{fenced}\ninfo: fail-over succeeded."));
    }
    assert_eq!(counts(site, &from, FAIL_OVER).iter().sum::<usize>(), 1);
    site.cluster.wait_for("nothing of n1 is left", || site.cluster.processes(1).is_empty().then_some(()));
    let place = "prmApPostgreSQLDB\t(ocf:heartbeat:pgsql):\t Started n2";
    shown(site, 2, screen!("node-fenced"), &["OFFLINE: [ n1 ]", place]);
    site.check(2);
}

/// Recovery 2, the service's return included.
pub(super) fn n1_comes_back(site: &Site) {
    boot(site, 1);
    all_online(site);
    all_could_run_it(site);
    crate::stays("it is not moved by itself", std::time::Duration::from_secs(1), || site.mounts(2));
    fail_back(site);
}
