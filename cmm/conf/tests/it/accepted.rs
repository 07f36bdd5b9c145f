//! Configurations as they are found in the field, and what becomes of them.

use cmm_conf::{
    ConfigKey, Debug, DiskName, ExitScope, FoundBy, KeyValue, Mode, Priority, Scheduling, ServerTieBreaker,
    ServerTls, Severity, Timing, WatchdogName,
};
use holdfast_types::{NodeId, Span, Votes};

use crate::{read, three};

/// The file the distribution ships.
const DEBIAN: &str = include_str!("testdata/debian.conf");
/// What a cluster of five with everything knet offers looks like.
const KNET: &str = include_str!("testdata/knet.conf");
/// corosync 1.x with udpu members.
const WHITETANK: &str = include_str!("testdata/whitetank.conf");

#[test]
fn the_distributions_file_works_unchanged() {
    let (config, found) = read(&DEBIAN.replace("127.0.0.1", "10.0.0.1"));
    let config = config.expect("it runs");
    assert_eq!(found.to_string(), "");
    assert_eq!(config.totem.cluster_name, "debian");
    assert_eq!(config.me().id.get(), 1);
    assert_eq!(config.timing.token, Span::from_millis(3_000));
    assert_eq!(config.logging.logfile.as_deref(), Some("/var/log/corosync/corosync.log"));
    assert!(config.logging.sinks.file && config.logging.sinks.stderr && config.logging.sinks.syslog);
    assert_eq!(config.totem.key.required_by, None);
    assert_eq!(config.failfast.mode, Mode::Exit);
    assert_eq!(config.failfast.watchdogs, []);
}

#[test]
fn a_file_full_of_knet_settings_only_warns() {
    let (config, found) = read(KNET);
    let config = config.expect("it runs");
    let errors: Vec<_> = found.iter().filter(|d| d.severity != Severity::Warning).collect();
    assert!(errors.is_empty(), "{found}");
    assert!(found.to_string().contains("c.conf:12: warning: totem.knet_compression_model has no effect: Holdfast has its own transport; remove the line"), "{found}");
    // token 1000 + 3 x 650 for five nodes.
    assert_eq!(config.timing.token, Span::from_millis(2_950));
    assert_eq!(config.totem.ports[..2], [5_555, 5_556]);
    assert_eq!(config.totem.key.required_by, Some((6, "totem.crypto_cipher: aes256".into())));
    assert_eq!(config.totem.key.file.as_deref(), Some("/etc/cluster/authkey"));
    assert_eq!(config.nodes.len(), 5);
    assert_eq!(config.nodes[1].addrs[1], Some("10.1.0.2".parse().expect("v4")));
    assert_eq!(config.nodes[4].votes, Votes::new(3));
    assert_eq!(config.logging.subsystems[0].name, "TOTEM");
    assert_eq!(config.logging.subsystems[0].sinks.debug, Debug::On);
    assert_eq!(config.logging.sinks.file_priority, Priority::Warning);
    assert_eq!(config.ipc_users, ["hacluster"]);
    assert_eq!(config.ipc_groups, ["189"]);
}

#[test]
fn members_of_the_old_days_become_nodes_with_ids_from_their_addresses() {
    let (config, found) = read(WHITETANK);
    let config = config.unwrap_or_else(|| panic!("{found}"));
    let ids: Vec<u32> = config.nodes.iter().map(|n| n.id.get()).collect();
    assert_eq!(ids, [0x0a00_0001, 0x0a00_0002]);
    assert_eq!(config.local, 0);
    assert!(found.iter().all(|d| d.severity == Severity::Warning), "{found}");
}

#[test]
fn the_local_node_is_found_by_id_then_name_then_address() {
    let named = three("", "");
    assert_eq!(read(&named).0.expect("runs").me().id.get(), 1);
    assert_eq!(read(&three("  nodeid: 3\n", "")).0.expect("runs").me().id.get(), 3);
    let by_address = named.replace("name: node", "name: other");
    assert_eq!(read(&by_address).0.expect("runs").me().id.get(), 1);
    let domain =
        named.replace("name: node2", "name: node1.example.org").replace("name: node1\n", "name: x\n");
    assert_eq!(read(&domain).0.expect("runs").me().id.get(), 2);
}

#[test]
fn names_resolve_as_ip_version_says() {
    let text = |v: &str| {
        three(v, "").replace("10.0.0.1", "alpha").replace("10.0.0.2", "beta").replace("10.0.0.3", "fd00::3")
    };
    let (config, found) = read(&text(""));
    assert_eq!(
        config.unwrap_or_else(|| panic!("{found}")).nodes[1].addrs[0],
        Some("fd00::2".parse().expect("v6"))
    );
    let (config, found) = read(&text("  ip_version: ipv4\n"));
    assert!(
        config.is_none() && found.to_string().contains("IPv4 on some nodes and IPv6 on others"),
        "{found}"
    );
}

#[test]
fn times_follow_the_token_and_can_be_set_one_by_one() {
    let timing = |totem: &str| read(&three(totem, "")).0.expect("runs").timing;
    let t = timing("  token: 1000\n  token_coefficient: 0\n");
    let ms = Span::from_millis;
    assert_eq!((t.token, t.consensus, t.join), (ms(1_000), ms(1_200), ms(50)));
    assert_eq!(t.token_retransmit, Span::from_nanos(1_000_000_000 * 10 / 42));
    let heartbeats = |t: &Timing| {
        let all = [t.heartbeat, t.heartbeat_limit, t.heartbeat_limit_max, t.lease, t.lease_margin];
        all.map(|s| s.as_millis())
    };
    assert_eq!(heartbeats(&t), [40, 240, 500, 200, 40]);
    assert_eq!(t.lease_wait(), Span::ZERO);
    assert_eq!(t.takeover(), None);
    assert_eq!(heartbeats(&timing("")), [40, 240, 1_825, 200, 40], "a longer token does not slow them down");
    assert_eq!(heartbeats(&timing("  token: 250\n  token_coefficient: 0\n")), [10, 60, 125, 50, 10]);
    assert_eq!(heartbeats(&timing("  heartbeat_interval: 100\n")), [100, 600, 1_825, 500, 100]);
    assert_eq!(
        heartbeats(&timing("  heartbeat_limit: 300\n  lease_margin: 20\n")),
        [50, 300, 1_825, 280, 20]
    );
    let t = timing(
        "  token: 1000\n  consensus: 2000\n  lease: 480\n  heartbeat_limit: 500\n  token_coefficient: 100\n",
    );
    assert_eq!((t.token, t.consensus, t.lease_wait()), (ms(1_100), ms(2_000), Span::from_nanos(63_333_333)));
    assert!(
        t.to_string().contains(
            "token                    1100 ms   totem.token 1000 ms + 1 x token_coefficient 100 ms"
        ),
        "{t}"
    );
}

#[test]
fn lateness_of_the_machine_is_held_against_the_margin() {
    let t = read(&three("  token: 100\n  token_coefficient: 0\n", "")).0.expect("runs").timing;
    assert_eq!(t.broken_by_jitter(Span::from_millis(1)), None);
    assert!(
        t.broken_by_jitter(Span::from_millis(3))
            .expect("too late")
            .starts_with("totem.lease_margin 4 ms is less")
    );
}

#[test]
fn failfast_defaults_to_exit_and_takes_corosyncs_watchdog() {
    let more = "resources {\n  watchdog_device: /dev/watchdog1\n  watchdog_timeout: 8000\n}\n";
    let failfast = read(&three("", more)).0.expect("runs").failfast;
    assert_eq!(failfast.watchdogs, [WatchdogName::Path("/dev/watchdog1".into())]);
    assert_eq!(failfast.watchdog_timeout, Span::from_millis(8_000));
    assert_eq!(failfast.watchdog_pretimeout, Span::from_secs(1));
    let soonest = failfast.watchdog_timeout.saturating_sub(failfast.watchdog_pretimeout);
    assert!(failfast.guardian_limit < soonest, "the guardian says why, the watchdog does not");
    let more = "failfast {\n  watchdog_device: /dev/watchdog1\n  watchdog_timeout: 8000\n  guardian_limit: 9000\n}\n";
    let (config, found) = read(&three("", more));
    assert!(
        config.is_some() && found.to_string().contains("before its guardian does and says why"),
        "{found}"
    );
    let more = "failfast {\n  mode: reset\n  exit_scope: pid-namespace\n  watchdog_device: off\n  unit {\n    name: dlm\n    delay: 2000\n    pidfile: /run/dlm.pid\n  }\n}\nresources {\n  watchdog_device: /dev/watchdog\n}\n";
    let (config, found) = read(&three("", more));
    let failfast = config.unwrap_or_else(|| panic!("{found}")).failfast;
    assert_eq!((failfast.mode, failfast.exit_scope), (Mode::Reset, ExitScope::PidNamespace));
    assert_eq!(failfast.watchdogs, []);
    assert_eq!(failfast.units[0].found_by, FoundBy::PidFile("/run/dlm.pid".into()));
    assert_eq!((failfast.units[0].delay, failfast.units[0].restarts), (Span::from_secs(2), None));
}

#[test]
fn units_are_found_by_service_and_command_and_watchdogs_by_identity() {
    let more = "failfast {\n  watchdog_identity: i6300ESB timer\n  watchdog_device: /dev/watchdog1\n  unit {\n    name: pg\n    systemd: postgresql@15-main.service\n    delay: 35000\n    on_failure: restart\n    restarts: 2\n    window: 60000\n  }\n  unit {\n    name: gw\n    command: /usr/bin/python3 /opt/gw.py -f\n    delay: 1\n    on_failure: restart\n  }\n}\n";
    let (config, found) = read(&three("", more));
    let failfast = config.unwrap_or_else(|| panic!("{found}")).failfast;
    assert_eq!(found.to_string(), "");
    let devices =
        [WatchdogName::Identity("i6300ESB timer".into()), WatchdogName::Path("/dev/watchdog1".into())];
    assert_eq!(failfast.watchdogs, devices);
    assert_eq!(failfast.units[0].found_by, FoundBy::Systemd("postgresql@15-main.service".into()));
    assert_eq!(failfast.units[0].restarts, Some((2, Span::from_secs(60))));
    let words = ["/usr/bin/python3", "/opt/gw.py", "-f"].map(str::to_owned).to_vec();
    assert_eq!(failfast.units[1].found_by, FoundBy::Command(words));
    assert_eq!(failfast.units[1].restarts, Some((3, Span::from_secs(600))), "the default");
}

#[test]
fn realtime_priority_comes_from_system() {
    let of = |system: &str| {
        read(&three("", &format!("system {{\n{system}}}\n"))).0.expect("runs").system.scheduling
    };
    assert_eq!(of(""), Scheduling::Realtime(20));
    assert_eq!(of("priority: 40\n"), Scheduling::Realtime(40));
    assert_eq!(of("priority: max\n"), Scheduling::Realtime(20));
    assert_eq!(of("sched_rr: no\n"), Scheduling::Nice(0));
    assert_eq!(of("sched_rr: no\npriority: max\n"), Scheduling::Nice(-20));
}

#[test]
fn clients_see_the_keys_they_expect_with_their_types() {
    let (config, _) = read(&three("  transport: udpu\n  config_version: 7\n  token: 1000\n", "").replace(
        "provider: corosync_votequorum",
        "provider: corosync_votequorum\n  expected_votes: 3\n  wait_for_all: 1",
    ));
    let keys = config.expect("runs").keys;
    let get =
        |name: &str| keys.iter().find(|k| k.name == name).map(|k: &ConfigKey| (k.value.clone(), k.read_only));
    assert_eq!(get("totem.cluster_name"), Some((KeyValue::Str("c".into()), true)));
    assert_eq!(get("totem.config_version"), Some((KeyValue::U64(7), false)));
    assert_eq!(get("totem.token"), Some((KeyValue::U32(1_000), false)));
    assert_eq!(get("runtime.config.totem.token"), Some((KeyValue::U32(1_650), true)));
    assert_eq!(get("nodelist.node.2.nodeid"), Some((KeyValue::U32(3), true)));
    assert_eq!(get("nodelist.node.0.ring0_addr"), Some((KeyValue::Str("10.0.0.1".into()), true)));
    assert_eq!(get("nodelist.local_node_pos"), Some((KeyValue::U32(0), true)));
    assert_eq!(get("quorum.wait_for_all"), Some((KeyValue::U8(1), false)));
    assert_eq!(get("quorum.expected_votes"), Some((KeyValue::U32(3), false)));
    assert_eq!(get("quorum.provider"), Some((KeyValue::Str("corosync_votequorum".into()), false)));
    assert!(keys.is_sorted_by(|a, b| a.name < b.name));
}

#[test]
fn the_secret_itself_is_no_key() {
    let (config, _) = read(&three("  key: geheim\n", ""));
    let config = config.expect("runs");
    assert_eq!(config.totem.key.inline.as_deref(), Some("geheim"));
    assert!(config.keys.iter().all(|k| k.value != KeyValue::Str("geheim".into())));
}

#[test]
fn a_quorum_disk_has_the_votes_of_all_nodes_but_one_and_may_be_several() {
    let disk = |lines: &str| {
        let nodes: String =
            (1..=4).map(|n| format!("node {{\n nodeid: {n}\n ring0_addr: 10.0.0.{n}\n}}\n")).collect();
        let text = format!(
            "totem {{\n version: 2\n cluster_name: c\n nodeid: 1\n}}\nnodelist {{\n{nodes}}}\nquorum {{\n provider: corosync_votequorum\n\
             device {{\n model: disk\n{lines}}}\n}}\n"
        );
        let (config, found) = read(&text);
        assert_eq!(found.to_string(), "");
        let quorum = config.unwrap().quorum;
        (quorum.device.as_ref().unwrap().votes, quorum.disk().unwrap().clone())
    };
    let (votes, one) = disk("disk {\n device: /dev/sdb1\n}\n");
    assert_eq!((votes, one.lease()), (Votes::new(3), Span::from_secs(4)));
    let (votes, three) = disk(
        "votes: 1\ndisk {\n device: /dev/a\n device: /dev/b\n device: /dev/c\n interval: 500\n tko: 10\n}\n",
    );
    assert_eq!((three.disks.len(), votes, three.lease()), (3, Votes::new(1), Span::from_secs(5)));
    assert_eq!((one.max_score(), one.min_score, one.upgrade_wait), (1, 1, 2), "every node is fit");
    let found = disk("disk {\n label: web\n device: /dev/a\n label: other\n}\n").1.disks;
    let label = |l: &str| DiskName::Label(l.into());
    assert_eq!(found, [label("web"), DiskName::Path("/dev/a".into()), label("other")]);

    // Heuristics: those of qdiskd by default.
    let heuristic = |timers: &str, keys: &str| {
        let text =
            format!("disk {{\n device: /dev/a\n{timers} heuristic {{\n program: true\n{keys} }}\n}}\n");
        disk(&text).1.heuristics[0].clone()
    };
    for (tko, interval, heuristic_tko) in [(4, 1_000, 3), (6, 2_000, 2), (24, 3_000, 7), (60, 5_000, 11)] {
        let heuristic = heuristic(&format!(" tko: {tko}\n"), "");
        assert_eq!(
            (heuristic.score, heuristic.interval, heuristic.tko),
            (1, Span::from_millis(interval), heuristic_tko),
            "tko {tko}"
        );
    }
    let short = heuristic(" interval: 400\n tko: 5\n", "");
    assert_eq!((short.interval, short.tko), (Span::from_millis(800), 2), "fits into the lease");
    let set = heuristic("", " score: 7\n interval: 250\n tko: 9\n");
    assert_eq!((set.score, set.interval, set.tko), (7, Span::from_millis(250), 9));
    let several = "disk {\n device: /dev/a\n heuristic {\n program: ping -c1 a && true\n score: 3\n }\n \
                   heuristic {\n program: b\n }\n}\n";
    let (_, several) = disk(several);
    assert_eq!((several.max_score(), several.min_score), (4, 3), "more than half");
    assert_eq!(several.heuristics[0].program, "ping -c1 a && true");
}

#[test]
fn a_disk_with_reservations_is_named_by_its_path() {
    let text = "totem {\n version: 2\n cluster_name: c\n nodeid: 1\n}\nnodelist {\nnode {\n nodeid: 1\n ring0_addr: 10.0.0.1\n}\nnode {\n nodeid: 2\n ring0_addr: 10.0.0.2\n}\n}\n\
                quorum {\n provider: corosync_votequorum\n device {\n model: scsi\n scsi {\n device: /dev/disk/by-id/wwn-0x1\n}\n}\n}\n";
    let (config, found) = read(text);
    assert_eq!(found.to_string(), "");
    let quorum = config.unwrap().quorum;
    let scsi = quorum.scsi().unwrap();
    assert_eq!((scsi.path.as_str(), scsi.lease()), ("/dev/disk/by-id/wwn-0x1", Span::from_secs(2)));
    assert_eq!((quorum.device.as_ref().unwrap().votes, quorum.disk()), (Votes::new(1), None));
    let (_, found) = read(&text.replace("/dev/disk/by-id/wwn-0x1", "sda"));
    assert!(found.to_string().contains("write \"scsi { device: /dev/disk/by-id/… }\""), "{found}");
    let (_, found) = read(&text.replace("scsi {", "scsi {\n interval: 100\n tko: 2"));
    assert!(found.to_string().contains("raise tko"), "{found}");
}

#[test]
fn data_disks_are_named_by_their_paths_and_looked_at_each_two_seconds() {
    let text = "totem {\n version: 2\n cluster_name: c\n nodeid: 1\n}\nnodelist {\nnode {\n nodeid: 1\n ring0_addr: 10.0.0.1\n}\n}\n\
                quorum {\n provider: corosync_votequorum\n}\n\
                fencing {\n scsi {\n device: /dev/disk/by-id/wwn-0x1\n device: /dev/disk/by-id/wwn-0x2\n}\n}\n";
    let (config, found) = read(text);
    assert_eq!(found.to_string(), "");
    let disks = config.unwrap().data_disks.unwrap();
    assert_eq!(disks.paths, ["/dev/disk/by-id/wwn-0x1", "/dev/disk/by-id/wwn-0x2"]);
    assert_eq!((disks.interval, disks.on_conflict), (Span::from_secs(2), cmm_conf::OnConflict::Failfast));
    let (config, _) = read(&text.replace("scsi {", "scsi {\n interval: 500\n on_conflict: log"));
    let disks = config.unwrap().data_disks.unwrap();
    assert_eq!((disks.interval, disks.on_conflict), (Span::from_millis(500), cmm_conf::OnConflict::Log));
    let (config, _) = read(
        "totem {\n version: 2\n cluster_name: c\n nodeid: 1\n}\nnodelist {\nnode {\n nodeid: 1\n ring0_addr: 10.0.0.1\n}\n}\n",
    );
    assert_eq!(config.unwrap().data_disks, None);
}

#[test]
fn the_defaults_are_safe_for_every_size_and_token() {
    for nodes in [1, 2, 3, 8, 32, 64] {
        for token in [20, 100, 1_000, 3_000, 60_000] {
            let list: String = (1..=nodes)
                .map(|n| format!("node {{\n nodeid: {n}\n ring0_addr: 10.0.0.{n}\n}}\n"))
                .collect();
            let text = format!(
                "totem {{\n version: 2\n cluster_name: c\n nodeid: 1\n token: {token}\n}}\nnodelist {{\n{list}}}\n\
                 quorum {{\n provider: corosync_votequorum\n}}\nresources {{\n watchdog_device: /dev/watchdog\n}}\n\
                 failfast {{\n mode: panic\n}}\n"
            );
            let (config, found) = read(&text);
            assert_eq!(found.to_string(), "", "{nodes} nodes, token {token}");
            assert_eq!(config.expect("it runs").timing.lease_wait(), Span::ZERO);
        }
    }
}

#[test]
fn a_quorum_server_has_the_defaults_of_corosync_qdevice() {
    let server = |lines: &str| {
        let nodes: String =
            (1..=2).map(|n| format!("node {{\n nodeid: {n}\n ring0_addr: 10.0.0.{n}\n}}\n")).collect();
        let text = format!(
            "totem {{\n version: 2\n cluster_name: c\n}}\nnodelist {{\n{nodes}}}\nquorum {{\n provider: corosync_votequorum\n device {{\n  model: net\n{lines}}}\n}}\n"
        );
        read(&text).0.unwrap().quorum
    };
    let quorum = server("net {\n host: q\n}\n");
    let one = quorum.server().unwrap();
    assert_eq!((one.port, one.tls, one.last_man_standing), (5403, ServerTls::On, false));
    assert_eq!((one.heartbeat(), one.lease()), (Span::from_secs(8), Span::from_secs(5)));
    assert_eq!(one.connect_timeout, Span::from_secs(8));
    assert!(one.keep_active && quorum.wait_for_all && quorum.disk().is_none());
    assert_eq!(quorum.device.as_ref().unwrap().votes, Votes::new(1), "ffsplit: one half of a split");
    let quorum = server("net {\n host: q\n tls: required\n algorithm: lms\n tie_breaker: 2\n}\n");
    let one = quorum.server().unwrap();
    assert_eq!((one.tls, one.last_man_standing), (ServerTls::Required, true));
    assert_eq!(one.tie_breaker, ServerTieBreaker::Node(NodeId::new(2)));
    assert!(quorum.heuristics().unwrap().tests.is_empty(), "off by default");
    let quorum =
        server("net {\n host: q\n}\nheuristics {\n mode: on\n exec_a: ping -c1 a\n exec_b: true\n}\n");
    let all = quorum.heuristics().unwrap();
    assert_eq!(
        (all.tests.len(), all.min_score, all.limit),
        (2, 2, Span::from_secs(5)),
        "both have to succeed"
    );
    assert_eq!((all.tests[0].program.as_str(), all.tests[0].interval), ("ping -c1 a", Span::from_secs(30)));
    let quorum = server("net {\n host: q\n}\nheuristics {\n mode: sync\n exec_a: true\n}\n");
    let all = quorum.heuristics().unwrap();
    assert_eq!((all.limit, all.tests[0].interval), (Span::from_secs(15), Span::from_secs(86_400)));
}
