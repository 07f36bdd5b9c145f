//! Faults and recoveries in a row, each row on a cluster of its own.

use super::rig::Site;
use super::steps::*;

/// Cases 1 and 2, recoveries 1' and 1; then case 1 where a resource may fail twice.
#[test]
fn the_database_then_the_service_lan_fail_and_each_time_all_is_moved_back() {
    if super::rig::skip() {
        return;
    }
    let site = Site::new::<2>("refdb", "cmmd");
    site.wait_for_screen(1, screen!("healthy"));
    the_database_fails(&site, STOP_AT_ONCE);
    the_service_lan_is_cut(&site);
    fail_back(&site);

    site.run(1, "crm_attribute -t rsc_defaults -n migration-threshold -v 3");
    for count in [1, 2] {
        let from = now(&site);
        site.run(1, KILL);
        site.wait_for_log(
            1,
            from[0],
            "info: Resource prmApPostgreSQLDB tries to stop.
            info: Resource prmApPostgreSQLDB stopped. (rc=0) ok
            info: Resource prmApPostgreSQLDB tries to start.
            info: Resource prmApPostgreSQLDB started. (rc=0) ok",
        );
        database_failed(&site, from[0]);
        site.wait_for_service(1);
        let shown = format!("prmApPostgreSQLDB: migration-threshold=3 fail-count={count} ");
        site.wait_for(1, "crm_mon -1 -f", &shown);
        for other in ["prmEx", "prmFs", "prmIp", FAIL_OVER] {
            assert_eq!(site.count(1, from[0], other), 0, "{other} has nothing to do with it");
        }
        site.check(1);
    }
    let from = now(&site);
    site.run(1, KILL);
    site.wait_for_log(1, from[0], &format!("error: {FAIL_OVER}{STOPS}"));
    database_failed(&site, from[0]);
    site.wait_for_log(2, from[1], STARTS);
    site.wait_for_service(2);
    site.check(2);
}

/// Cases 3, 9 and 6, recoveries 2' and 2.
#[test]
fn the_standby_is_fenced_in_a_split_and_the_active_node_when_its_stop_or_its_membership_daemon_fails() {
    if super::rig::skip() {
        return;
    }
    let site = Site::new::<2>("refsplit", "cmmd");
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
    assert_eq!((site.strikes(1), site.strikes(2)), (0, 1));
    assert_eq!(site.count(1, from[0], FAIL_OVER), 0, "nothing has to move");
    // What it has planned it could not begin: its own fence waits, as a standby's does.
    assert_eq!(site.count(2, from[1], "PostgreSQLDB tries"), 0, "the loser has started nothing");

    // 2'.
    site.run(1, "iptables -F");
    boot(&site, 2);
    site.wait_for_screen(1, screen!("healthy"));
    assert_eq!(site.count(1, from[0], "PostgreSQLDB"), 0, "the service has not been touched");
    site.check(1);

    the_stop_fails(&site);
    // By the guardian's last word, which is there before the fence device has struck.
    the_ring_daemon_is_killed(&site, "");
    n1_comes_back(&site);
}

/// Cases 1, 2, 3 and 6 on three nodes, one after the other: where a majority decides, and who has none stops and is fenced.
#[test]
fn of_three_nodes_the_majority_goes_on_and_all_is_moved_back() {
    if super::rig::skip() {
        return;
    }
    let site = Site::new::<3>("refthree", "cmmd");
    site.wait_for_pacemakers_screen(1, &["Online: [ n1 n2 n3 ]"]);
    the_database_fails(&site, KILL);
    the_service_lan_is_cut(&site);

    // Case 3: of the node that has the service now, and no majority.
    let from = now(&site);
    for lan in ["eth0", "eth1"] {
        site.run(2, &format!("iptables -A INPUT -i {lan} -j DROP; iptables -A OUTPUT -o {lan} -j DROP"));
    }
    site.wait_for_log(
        1,
        from[0],
        &format!(
            "warning: Node n2 is lost
            error: {FAIL_OVER}
            info: Try to STONITH (reboot) n2.
            {STARTS}
            info: fail-over succeeded."
        ),
    );
    site.wait_for_pacemakers_screen(1, &["Online: [ n1 n3 ]", "OFFLINE: [ n2 ]"]);
    site.wait_for_service(1);
    site.check(1);
    assert_eq!([1, 2, 3].map(|n| site.strikes(n)), [0, 1, 0]);
    // 2: it is back, and the service where it belongs already.
    boot(&site, 2);
    all_online(&site);
    all_could_run_it(&site);
    site.wait_for_service(1);

    the_ring_daemon_is_killed(&site, "");
    n1_comes_back(&site);
}

/// Cases 1, 2, 9 and 6 where the ring's daemon is corosync: no lease ends there, no guardian says a last word and nobody is
/// evicted, so that only the fence device can say that a node is dead.
#[test]
fn on_corosync_the_same_is_done_by_fencing_alone() {
    if super::rig::skip() {
        return;
    }
    let site = Site::new::<2>("refcoro", "corosync");
    site.wait_for_screen(1, screen!("healthy"));
    the_database_fails(&site, STOP_AT_ONCE);
    the_service_lan_is_cut(&site);
    fail_back(&site);
    the_stop_fails(&site);

    let struck = site.strikes(1);
    the_ring_daemon_is_killed(
        &site,
        "info: Try to STONITH (reboot) n1.
        info: Try to execute STONITH device prmStonith1-1 on n2 for reboot n1.
        warning: Failed to execute STONITH device prmStonith1-1 for n1.
        info: Try to execute STONITH device prmStonith1-2 on n2 for reboot n1.
        info: Succeeded to execute STONITH device prmStonith1-2 for n1.
        info: Succeeded to STONITH (reboot) n1 by n2.",
    );
    assert_eq!(site.strikes(1), struck + 1);
    n1_comes_back(&site);
}
