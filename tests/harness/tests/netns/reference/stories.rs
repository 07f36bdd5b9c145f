//! Faults and recoveries, as they are rehearsed: what is typed, what the screen shows, what the operators' logs say.

use std::time::Duration;

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

const STOPS: &str = "
    info: Resource prmApPostgreSQLDB tries to stop.
    info: Resource prmApPostgreSQLDB stopped. (rc=0) ok
    info: Resource prmIpPostgreSQLDB tries to stop.
    info: Resource prmIpPostgreSQLDB stopped. (rc=0) ok
    info: Resource prmFsPostgreSQLDB tries to stop.
    info: Resource prmFsPostgreSQLDB stopped. (rc=0) ok
    info: Resource prmExPostgreSQLDB tries to stop.
    info: Resource prmExPostgreSQLDB stopped. (rc=0) ok";
const STARTS: &str = "
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
const FAIL_OVER: &str = "Start to fail-over.";

/// How long both operators' logs are.
fn now(site: &Site) -> [usize; 2] {
    [1, 2].map(|node| site.log(node).len())
}

/// The end of recovery: the group is moved from n2 to n1, and the constraints of that are taken away. `back` and
/// `healthy` are the screens after each.
fn fail_back(site: &Site) {
    let from = now(site);
    site.run(2, "crm_resource -M -r grpPostgreSQLDB -N n1 -f -Q");
    site.wait_for_log(2, from[1], STOPS);
    site.wait_for_log(1, from[0], STARTS);
    site.wait_for_screen(1, screen!("moved-back"));
    let said = site.run(2, "crm_resource -U -r grpPostgreSQLDB");
    assert!(
        said.contains("cli-ban-grpPostgreSQLDB-on-n2") && said.contains("cli-prefer-grpPostgreSQLDB"),
        "{said}"
    );
    site.wait_for_screen(1, screen!("healthy"));
    assert_eq!(
        [1, 2].map(|n| site.count(n, from[n as usize - 1], FAIL_OVER)),
        [0, 0],
        "a move is no fail-over"
    );
    site.check(1);
}

/// Power on, and the cluster's software started, after which the node is a member.
fn boot(site: &Site, node: u32) {
    let other = 3 - node;
    let from = now(site)[other as usize - 1];
    // What a node's power switch does; a guardian's last word leaves the machine itself on.
    site.cluster.power_off(node).unwrap();
    site.switch_on(node);
    site.cluster.boot(node).unwrap();
    site.wait_for_log(other, from, &format!("info: Node n{node} is member"));
}

/// How often a node's power was taken.
fn strikes(site: &Site, node: &str) -> usize {
    let strike = |c: &&harness::FenceCall| c.target == node && ["off", "reboot"].contains(&c.action.as_str());
    site.cluster.fence_calls().iter().filter(strike).count()
}

/// Cases 1 and 2, recoveries 1' and 1.
#[test]
fn the_database_then_the_service_lan_fail_and_each_time_all_is_moved_back() {
    if super::rig::skip() {
        return;
    }
    let site = Site::new("refdb", 1);
    site.wait_for_screen(1, screen!("healthy"));
    let from = now(&site);
    site.run(1, "cd / && runuser -u postgres -- /usr/lib/postgresql/15/bin/pg_ctl -D /var/lib/dbfp/pgdata/data -m i stop");
    // A monitor that comes while it is going down finds it there and deaf.
    site.wait_for_log(1, from[0], &format!("error: {FAIL_OVER}{STOPS}{MOVED}"));
    let gone = site.count(1, from[0], "Resource prmApPostgreSQLDB does not work. (rc=7) not running") == 1;
    let deaf =
        site.count(1, from[0], "Resource prmApPostgreSQLDB failed to monitor. (rc=1) unknown error") == 1;
    assert!(gone != deaf, "{:#?}", site.log(1));
    site.wait_for_log(2, from[1], STARTS);
    if gone {
        site.wait_for_screen(2, screen!("service-failed"));
    }
    assert_eq!(
        [1, 2].map(|n| site.count(n, from[n as usize - 1], FAIL_OVER)),
        [1, 0],
        "once, by the controller"
    );
    site.check(2);

    // 1': out of service, cleared, in service.
    assert_eq!(site.run(2, "crm_standby -U n1 -v on"), "");
    if gone {
        site.wait_for_screen(2, screen!("standby"));
    }
    site.wait_for(2, "crm_mon -1 -fA", "Node n1: standby\n");
    site.run(2, "crm_resource -C -r prmApPostgreSQLDB -N n1");
    site.cluster.wait_for("nothing has failed", || {
        let screen = site.ask(2, "crm_mon -1 -fA").0;
        (!screen.contains("fail-count") && !screen.contains("Failed Resource Actions")).then_some(())
    });
    assert_eq!(site.run(2, "crm_standby -U n1 -v off"), "");
    site.wait_for(2, "crm_mon -1 -fA", "Online: [ n1 n2 ]");
    // It stays until it is moved back.
    site.cluster.wait_for("n1 could run it", || {
        let screen = site.ask(2, "crm_mon -1 -A -L").0;
        (screen.matches(": 100").count() == 2 && !screen.contains("rsc_location-grpPostgreSQLDB-3"))
            .then_some(())
    });
    site.wait_for_service(2);
    fail_back(&site);

    // Case 2.
    let from = now(&site);
    let cut =
        format!("iptables -A INPUT -i {SERVICE_LAN} -j DROP; iptables -A OUTPUT -o {SERVICE_LAN} -j DROP");
    site.run(1, &cut);
    assert_eq!(site.run(1, "iptables -L").matches("\nDROP ").count(), 2);
    site.wait_for_log(
        1,
        from[0],
        &format!(
            "info: Attribute \"default_ping_set\" is updated to \"0\" at \"n1\".
            error: {FAIL_OVER}{STOPS}{MOVED}"
        ),
    );
    let lost = "info: Attribute \"default_ping_set\" is updated to \"0\" at \"n1\".";
    site.wait_for_log(2, from[1], &format!("{lost}{STARTS}"));
    site.wait_for_screen(2, screen!("network-lost"));
    assert_eq!([1, 2].map(|n| site.count(n, from[n as usize - 1], FAIL_OVER)), [1, 0]);
    site.check(2);

    // 1: out of service, repaired, in service.
    assert_eq!(site.run(2, "crm_standby -U n1 -v on"), "");
    site.wait_for(2, "crm_mon -1 -fA", "Node n1: standby\n");
    site.run(1, "iptables -F");
    assert_eq!(site.run(1, "iptables -L").matches("DROP").count(), 0);
    assert_eq!(site.run(2, "crm_standby -U n1 -v off"), "");
    site.wait_for_log(
        1,
        from[0],
        &format!("{lost}\ninfo: Attribute \"default_ping_set\" is updated to \"100\" at \"n1\"."),
    );
    site.wait_for_service(2);
    fail_back(&site);
    assert_eq!(
        site.cluster.fence_calls().iter().filter(|c| c.action != "monitor").count(),
        0,
        "nobody was fenced"
    );
}

/// Case 1 where a resource may fail twice.
#[test]
fn a_database_that_is_killed_is_started_again_in_its_place_and_the_third_time_elsewhere() {
    if super::rig::skip() {
        return;
    }
    let site = Site::new("refthree", 3);
    let kill = "kill -9 $(head -n 1 /var/lib/dbfp/pgdata/data/postmaster.pid)";
    let failed = "error: Resource prmApPostgreSQLDB does not work. (rc=7) not running";
    for count in [1, 2] {
        let from = now(&site);
        site.run(1, kill);
        site.wait_for_log(
            1,
            from[0],
            &format!(
                "{failed}
                info: Resource prmApPostgreSQLDB tries to stop.
                info: Resource prmApPostgreSQLDB stopped. (rc=0) ok
                info: Resource prmApPostgreSQLDB tries to start.
                info: Resource prmApPostgreSQLDB started. (rc=0) ok"
            ),
        );
        site.wait_for_service(1);
        let shown = format!("prmApPostgreSQLDB: migration-threshold=3 fail-count={count} ");
        site.wait_for(1, "crm_mon -1 -f", &shown);
        for other in ["prmEx", "prmFs", "prmIp", FAIL_OVER] {
            assert_eq!(site.count(1, from[0], other), 0, "{other} has nothing to do with it");
        }
        site.check(1);
    }
    let from = now(&site);
    site.run(1, kill);
    site.wait_for_log(1, from[0], &format!("{failed}\nerror: {FAIL_OVER}{STOPS}{MOVED}"));
    site.wait_for_log(2, from[1], STARTS);
    site.wait_for_service(2);
    site.check(2);
}

/// Cases 3 and 9, recoveries 2' and 2.
#[test]
fn the_standby_is_fenced_in_a_split_and_the_active_node_when_its_stop_fails() {
    if super::rig::skip() {
        return;
    }
    let site = Site::new("refsplit", 1);
    let (from, failures) = (now(&site), site.failures());
    for lan in ["eth0", "eth1"] {
        site.run(1, &format!("iptables -A INPUT -i {lan} -j DROP; iptables -A OUTPUT -o {lan} -j DROP"));
    }
    site.wait_for_log(
        1,
        from[0],
        "warning: Node n2 is lost
        info: Try to STONITH (reboot) n2.
        info: Try to execute STONITH device prmStonith2-1 on n1 for reboot n2.
        warning: Failed to execute STONITH device prmStonith2-1 for n2.
        info: Try to execute STONITH device prmStonith2-2 on n1 for reboot n2.
        info: Succeeded to execute STONITH device prmStonith2-2 for n2.
        info: Succeeded to STONITH (reboot) n2 by n1.",
    );
    site.wait_for_screen(1, screen!("split"));
    site.check(1);
    assert_eq!(site.failures(), failures, "the service was not interrupted");
    assert_eq!((strikes(&site, "n1"), strikes(&site, "n2")), (0, 1));
    assert_eq!(site.count(1, from[0], FAIL_OVER), 0, "nothing has to move");
    // What it has planned it could not begin: its own fence waits, as a standby's does.
    assert_eq!(site.count(2, from[1], "PostgreSQLDB tries"), 0, "the loser has started nothing");

    // 2'.
    site.run(1, "iptables -F");
    boot(&site, 2);
    site.wait_for_screen(1, screen!("healthy"));
    assert_eq!(site.count(1, from[0], "PostgreSQLDB"), 0, "the service has not been touched");
    site.check(1);

    // Case 9: the agent is another one while it runs.
    let from = now(&site);
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
    assert!(strikes(&site, "n1") > 0);
    assert_eq!(strikes(&site, "n2"), 1);
    site.check(2);

    // 2: the machine comes up with the agent as it was, and the ban goes. (Before, the one node that is left has no quorum,
    // without which the configuration is not changed.)
    boot(&site, 1);
    site.wait_for(2, "crm_mon -1 -fA", "Online: [ n1 n2 ]");
    site.run(2, "crm_resource -U -r grpPostgreSQLDB");
    site.cluster.wait_for("n1 could run it", || {
        let screen = site.ask(2, "crm_mon -1 -A -L").0;
        (screen.matches(": 100").count() == 2 && !screen.contains("rsc_location-grpPostgreSQLDB-3"))
            .then_some(())
    });
    site.wait_for_service(2);
    fail_back(&site);
}

/// Case 6, recovery 2.
#[test]
fn the_membership_daemon_is_killed_and_the_node_goes_down_before_the_service_moves() {
    if super::rig::skip() {
        return;
    }
    let site = Site::new("refkill", 1);
    let from = now(&site);
    // In the node's own namespace of processes.
    site.cluster.start_as(1, "operator", "pkill", &["-9", "-x", "cmmd"]).unwrap();
    site.wait_for_log(
        2,
        from[1],
        &format!(
            "warning: Node n1 is lost
            {STARTS}
            info: fail-over succeeded."
        ),
    );
    assert_eq!(site.count(2, from[1], FAIL_OVER), 1);
    site.cluster.wait_for("nothing of n1 is left", || site.cluster.processes(1).is_empty().then_some(()));
    site.wait_for_screen(2, screen!("node-fenced"));
    site.check(2);
    boot(&site, 1);
    site.wait_for(2, "crm_mon -1 -fA", "Online: [ n1 n2 ]");
    crate::stays("it is not moved by itself", Duration::from_secs(2), || site.mounts(2));
    site.cluster.wait_for("n1 could run it", || {
        let screen = site.ask(2, "crm_mon -1 -A -L").0;
        (screen.matches(": 100").count() == 2 && !screen.contains("rsc_location-grpPostgreSQLDB-3"))
            .then_some(())
    });
    fail_back(&site);
}
