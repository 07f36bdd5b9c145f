//! What is refused, by whom and in which words. One row a mistake.

use cmm_conf::Severity::{self, Error, Fatal, Warning};

use crate::{read, three};

/// (lines in totem, more sections, worst severity, a line that must be said)
const ROWS: &[(&str, &str, Severity, &str)] = &[
    // Names
    ("  tokn: 1000\n", "", Error, "c.conf:4: unknown key \"tokn\" in totem; did you mean \"token\"?"),
    (
        "  quorum_votes: 1\n",
        "",
        Error,
        "c.conf:4: unknown key \"quorum_votes\" in totem; it belongs into section nodelist.node",
    ),
    ("", "qourum {\n}\n", Error, "c.conf:22: unknown section \"qourum\"; did you mean \"quorum\"?"),
    ("", "blabla {\n}\n", Error, "c.conf:22: unknown section \"blabla\"; remove it, or correct its name"),
    (
        "  token: 1000\n  token: 2000\n",
        "",
        Error,
        "c.conf:5: token is set in line 4 already, and this one counts; remove one",
    ),
    // Values
    (
        "  token: fast\n",
        "",
        Fatal,
        "c.conf:4: \"fast\" is not a value of totem.token; write a number from 1 to 600000",
    ),
    (
        "  token: -5\n",
        "",
        Fatal,
        "c.conf:4: \"-5\" is not a value of totem.token; write a number from 1 to 600000",
    ),
    (
        "  token: 1000 # a second\n",
        "",
        Fatal,
        "c.conf:4: \"1000 # a second\" is not a value of totem.token (a comment needs a line of its own); write a number from 1 to 600000",
    ),
    (
        "  transport: upd\n",
        "",
        Fatal,
        "c.conf:4: \"upd\" is not a value of totem.transport; write knet, udpu, udp (did you mean \"udp\"?)",
    ),
    ("  secauth: maybe\n", "", Fatal, "c.conf:4: \"maybe\" is not a value of totem.secauth; write yes or no"),
    (
        "  config_version: 99999999999999999999\n",
        "",
        Fatal,
        "c.conf:4: \"99999999999999999999\" is not a value of totem.config_version; write a number from 0 to 18446744073709551615",
    ),
    // Relics and what is not served
    (
        "  rrp_mode: passive\n",
        "",
        Warning,
        "c.conf:4: warning: totem.rrp_mode has no effect: corosync dropped it long ago; remove the line",
    ),
    // Who is expected, and who breaks ties: the first nodes have three votes.
    (
        "",
        "quorum {\n  auto_tie_breaker: 1\n}\n",
        Error,
        "c.conf:23: auto_tie_breaker with 3 expected votes: there is no half of them that it could decide; remove it, or add last_man_standing, which makes them even in time",
    ),
    (
        "",
        "quorum {\n  auto_tie_breaker: 1\n  wait_for_all: 1\n}\n",
        Error,
        "c.conf:23: warning: auto_tie_breaker with 3 expected votes: there is no half of them",
    ),
    (
        "",
        "quorum {\n  auto_tie_breaker_node: lowest\n}\n",
        Error,
        "c.conf:23: auto_tie_breaker_node does nothing without \"auto_tie_breaker: 1\"; write that as well, or remove the line",
    ),
    (
        "",
        "quorum {\n  expected_votes: 4\n  auto_tie_breaker: 1\n  auto_tie_breaker_node: 1 x\n}\n",
        Error,
        "c.conf:25: auto_tie_breaker_node \"x\" is no node id of the node list; write lowest, highest, or ids with spaces between",
    ),
    (
        "",
        "quorum {\n  expected_votes: 4\n  auto_tie_breaker: 1\n  auto_tie_breaker_node: 1 1\n}\n",
        Error,
        "c.conf:25: auto_tie_breaker_node names node 1 twice",
    ),
    (
        "",
        "quorum {\n  last_man_standing: 1\n}\n",
        Error,
        "c.conf:23: last_man_standing without wait_for_all: at a cold start those that are first go on without the others after the window; write \"wait_for_all: 1\"",
    ),
    (
        "",
        "quorum {\n  last_man_standing_window: 5000\n}\n",
        Error,
        "c.conf:23: last_man_standing_window does nothing without \"last_man_standing: 1\"; write that as well, or remove the line",
    ),
    (
        "",
        "quorum {\n  allow_downscale: 1\n}\n",
        Error,
        "c.conf:23: allow_downscale lowers expected votes as far as expected_votes, and that is not there; write \"expected_votes: N\" with N below 3, or remove allow_downscale",
    ),
    (
        "",
        "quorum {\n  expected_votes: 3\n  allow_downscale: 1\n}\n",
        Error,
        "c.conf:24: allow_downscale lowers expected votes as far as expected_votes, and that is 3 of 3; write \"expected_votes: N\" with N below 3, or remove allow_downscale",
    ),
    // Data disks
    (
        "",
        "fencing {\n  agent: ipmi\n}\n",
        Error,
        "c.conf:23: unknown key \"agent\" in fencing; remove the line, or correct the name",
    ),
    (
        "",
        "fencing {\n  scsi {\n    devcie: /dev/sda\n  }\n}\n",
        Error,
        "c.conf:24: unknown key \"devcie\" in fencing.scsi; did you mean \"device\"?",
    ),
    (
        "",
        "fencing {\n  scsi {\n  }\n}\n",
        Error,
        "c.conf:23: no data disk is fenced; write \"device: /dev/disk/by-id/…\", or remove the section",
    ),
    (
        "",
        "fencing {\n  scsi {\n    device: sda\n  }\n}\n",
        Error,
        "c.conf:24: \"sda\" is no absolute path; write \"device: /dev/disk/by-id/…\", the same name on all nodes",
    ),
    (
        "",
        "fencing {\n  scsi {\n    device: /dev/sda\n    device: /dev/sda\n  }\n}\n",
        Error,
        "c.conf:25: data disk /dev/sda is named twice; remove one line",
    ),
    (
        "",
        "fencing {\n  scsi {\n    device: /dev/sda\n  }\n}\nquorum {\n  device {\n    model: scsi\n    scsi {\n      device: /dev/sda\n    }\n  }\n}\n",
        Error,
        "c.conf:24: /dev/sda is the quorum device, whose reservation is its vote, and cannot be a data disk as well; name another disk there or here",
    ),
    // Times
    (
        "  heartbeat_interval: 70\n  heartbeat_limit: 200\n",
        "",
        Error,
        "c.conf:5: unsafe timing: heartbeat_limit 200 ms suspects a node after fewer than three lost heartbeats of 70 ms",
    ),
    (
        "",
        "system {\n  qb_ipc_type: socket\n}\n",
        Warning,
        "c.conf:23: warning: qb_ipc_type \"socket\": corosync's libraries are served, but rgmd, holdfast and Pacemaker need shared memory and cannot connect; remove the line if any of them is used",
    ),
    (
        "  heartbeat_limit_max: 200\n",
        "",
        Error,
        "c.conf:4: unsafe timing: heartbeat_limit_max 200 ms is below heartbeat_limit 240 ms; write at least as much",
    ),
    (
        "  heartbeat_interval: 700\n",
        "",
        Warning,
        "c.conf:4: warning: heartbeat_limit_max 4200 ms is longer than token 3650 ms, which then notices a death first",
    ),
    (
        "  token: 1000\n  token_retransmit: 900\n",
        "",
        Error,
        "c.conf:5: unsafe timing: token_retransmit 900 ms leaves no second chance within token 1650 ms; write at most half of the token",
    ),
    ("  hold: 1000\n", "", Error, "c.conf:4: unsafe timing: hold 1000 ms"),
    (
        "  join: 100\n  consensus: 60\n",
        "",
        Error,
        "c.conf:5: unsafe timing: consensus 60 ms ends before the second JOIN is sent after 100 ms; write a consensus of at least join",
    ),
    ("  lease_margin: 0\n", "", Error, "c.conf:4: unsafe timing: lease_margin 0 ms does not even cover"),
    ("  heartbeat_limit: 3\n", "", Error, "c.conf:4: unsafe timing: a heartbeat every 0.500 ms"),
    (
        "  lease: 2000\n",
        "",
        Warning,
        "c.conf:4: warning: lease 2000 ms and lease_margin 40 ms are longer than heartbeat_limit 240 ms",
    ),
    (
        "",
        "failfast {\n  guardian_limit: 500\n}\n",
        Error,
        "c.conf:23: unsafe timing: the guardian takes the node down after 500 ms",
    ),
    // Options that void each other
    (
        "",
        "quorum {\n  two_node: 1\n}\n",
        Error,
        "c.conf:23: two_node with 3 nodes; remove the line (it is for exactly two)",
    ),
    (
        "",
        "quorum {\n  expected_votes: 1\n}\n",
        Error,
        "c.conf:23: expected_votes 1 with 3 votes in the node list lets two halves be quorate at once; write 3, or remove the line",
    ),
    (
        "",
        "quorum {\n  expected_votes: 9\n}\n",
        Error,
        "c.conf:23: expected_votes 9 can never be reached by half with 3 votes",
    ),
    (
        "",
        "quorum {\n  auto_tie_breaker: 1\n  device {\n    model: net\n  }\n}\n",
        Error,
        "c.conf:24: a quorum device and auto_tie_breaker void each other; remove auto_tie_breaker",
    ),
    (
        "",
        "quorum {\n  device {\n    votes: 1\n  }\n}\n",
        Error,
        "c.conf:23: section quorum.device has no model",
    ),
    (
        "",
        "quorum {\n  device {\n    model: net\n  }\n}\n",
        Error,
        "c.conf:23: the quorum server has no address",
    ),
    (
        "",
        "quorum {\n  device {\n    model: net\n    net {\n      host: q\n      algorithm: test\n    }\n  }\n}\n",
        Error,
        "c.conf:23: algorithm test is not served",
    ),
    (
        "",
        "quorum {\n  device {\n    model: net\n    net {\n      host: q\n      tie_breaker: middle\n    }\n  }\n}\n",
        Error,
        "c.conf:23: tie_breaker middle is neither lowest nor highest nor a node id",
    ),
    (
        "",
        "quorum {\n  device {\n    model: net\n    net {\n      host: q\n    }\n    heuristics {\n      mode: on\n    }\n  }\n}\n",
        Error,
        "c.conf:23: quorum.device.heuristics have 0 programs",
    ),
    (
        "",
        "quorum {\n  device {\n    model: net\n    timeout: 300\n    net {\n      host: q\n    }\n  }\n}\n",
        Error,
        "c.conf:23: quorum.device.timeout is 300 ms",
    ),
    (
        "",
        "quorum {\n  wait_for_all: 0\n  device {\n    model: net\n    net {\n      host: q\n    }\n  }\n}\n",
        Error,
        "c.conf:23: warning: a quorum server does not remember who was in the last cluster",
    ),
    (
        "",
        "quorum {\n  device {\n    model: disk\n    disk {\n      device: sdb1\n    }\n  }\n}\n",
        Error,
        "c.conf:23: a quorum disk is named by an absolute path or by its label, one to seven of them",
    ),
    (
        "",
        "quorum {\n  device {\n    model: disk\n    disk {\n      device: /dev/x\n      device: /dev/x\n    }\n  }\n}\n",
        Error,
        "c.conf:23: a quorum disk is named twice; name each once",
    ),
    (
        "",
        "quorum {\n  device {\n    model: disk\n    disk {\n      device: /dev/x\n      interval: 20\n      tko: 3\n    }\n  }\n}\n",
        Error,
        "c.conf:23: interval times tko is 60 ms, and a vote that others are to count as well needs",
    ),
    (
        "",
        "quorum {\n  device {\n    model: disk\n    votes: 0\n    disk {\n      device: /dev/x\n    }\n  }\n}\n",
        Error,
        "c.conf:23: a quorum device without votes decides nothing",
    ),
    (
        "",
        "quorum {\n  device {\n    model: disk\n    disk {\n      label: web\n      label: web\n    }\n  }\n}\n",
        Error,
        "c.conf:23: a quorum disk is named twice; name each once",
    ),
    (
        "",
        "quorum {\n  device {\n    model: disk\n    disk {\n      device: /dev/x\n      heuristic {\n        score: 1\n      }\n    }\n  }\n}\n",
        Error,
        "c.conf:27: a heuristic without a program; write",
    ),
    (
        "",
        "quorum {\n  device {\n    model: disk\n    disk {\n      device: /dev/x\n      heuristic {\n        program: true\n        scores: 1\n      }\n    }\n  }\n}\n",
        Error,
        "c.conf:29: unknown key \"scores\" in quorum.device.disk.heuristic; did you mean \"score\"?",
    ),
    (
        "",
        "quorum {\n  device {\n    model: disk\n    disk {\n      device: /dev/x\n      heuristic {\n        program: true\n        score: 0\n      }\n    }\n  }\n}\n",
        Fatal,
        "c.conf:29: \"0\" is not a value of quorum.device.disk.heuristic.score; write a number from 1 to 6553",
    ),
    (
        "",
        "quorum {\n  device {\n    model: disk\n    disk {\n      device: /dev/x\n      min_score: 3\n      heuristic {\n        program: true\n        score: 2\n      }\n    }\n  }\n}\n",
        Error,
        "c.conf:27: min_score 3 can never be reached: all heuristics together have 2; write 2 or less",
    ),
    (
        "",
        "quorum {\n  device {\n    model: disk\n    disk {\n      device: /dev/x\n      min_score: 1\n    }\n  }\n}\n",
        Error,
        "c.conf:27: min_score 1 without heuristics: there is nothing to reach it by",
    ),
    (
        "",
        "quorum {\n  device {\n    model: disk\n    disk {\n      device: /dev/x\n      upgrade_wait: 5\n    }\n  }\n}\n",
        Error,
        "c.conf:27: upgrade_wait 5 is longer than tko 4",
    ),
    (
        "",
        "quorum {\n  device {\n    model: disk\n    disk {\n      device: /dev/x\n      heuristic {\n        program: true\n      }\n      heuristic {\n        program: true\n      }\n      heuristic {\n        program: true\n      }\n      heuristic {\n        program: true\n      }\n      heuristic {\n        program: true\n      }\n      heuristic {\n        program: true\n      }\n      heuristic {\n        program: true\n      }\n      heuristic {\n        program: true\n      }\n      heuristic {\n        program: true\n      }\n      heuristic {\n        program: true\n      }\n      heuristic {\n        program: true\n      }\n    }\n  }\n}\n",
        Error,
        "c.conf:57: more than 10 heuristics; put several tests into one program",
    ),
    (
        "",
        "logging {\n  to_logfile: yes\n}\n",
        Error,
        "c.conf:22: to_logfile without a logfile; write \"logfile: PATH\", or \"to_logfile: no\"",
    ),
    (
        "",
        "logging {\n  logger_subsys {\n    debug: on\n  }\n}\n",
        Error,
        "c.conf:23: logger_subsys names no subsystem; write \"subsys: NAME\"",
    ),
    (
        "",
        "system {\n  priority: -10\n}\n",
        Error,
        "c.conf:23: priority \"-10\" does not go with sched_rr; write a number from 1 to 98, or \"sched_rr: no\"",
    ),
    // Nodes
    ("  nodeid: 9\n", "", Fatal, "c.conf:4: totem.nodeid 9 is in no node section; write one of 1, 2, 3"),
    (
        "",
        "nodelist {\n  node {\n    nodeid: 3\n    ring0_addr: 10.0.0.9\n  }\n}\n",
        Fatal,
        "c.conf:23: nodeid 3 belongs to the node in line 16 already; give this one another number",
    ),
    (
        "",
        "nodelist {\n  node {\n    nodeid: 4\n    ring0_addr: 10.0.0.3\n  }\n}\n",
        Fatal,
        "c.conf:23: address 10.0.0.3 belongs to the node in line 16 already; write this node's own address",
    ),
    (
        "",
        "nodelist {\n  node {\n    nodeid: 4\n    ring0_addr: nowhere\n  }\n}\n",
        Fatal,
        "c.conf:25: ring0_addr \"nowhere\" is neither an address nor a name that resolves; write an IP address, or add the name to /etc/hosts",
    ),
    (
        "",
        "nodelist {\n  node {\n    nodeid: 4\n  }\n}\n",
        Fatal,
        "c.conf:23: node has no ring0_addr; write \"ring0_addr: ADDRESS\"",
    ),
    (
        "",
        "nodelist {\n  node {\n    nodeid: 0\n    ring0_addr: 10.0.0.4\n  }\n}\n",
        Fatal,
        "c.conf:24: \"0\" is not a value of nodelist.node.nodeid; write a number from 1 to 4294967295",
    ),
    (
        "",
        "failfast {\n  watchdog_device: watchdog\n}\n",
        Fatal,
        "c.conf:23: watchdog_device \"watchdog\" is no absolute path; write \"/dev/watchdog\", or \"off\"",
    ),
    (
        "",
        "failfast {\n  unit {\n    delay: 3\n  }\n}\n",
        Fatal,
        "c.conf:23: unit has no name; write \"name: NAME\"",
    ),
    (
        "",
        "failfast {\n  unit {\n    name: dlm\n  }\n}\n",
        Fatal,
        "c.conf:23: unit \"dlm\" does not say how its process is found; write \"systemd: NAME.service\", \"pidfile: PATH\"",
    ),
    (
        "",
        "failfast {\n  unit {\n    name: dlm\n    pidfile: /a\n    command: /b\n  }\n}\n",
        Fatal,
        "c.conf:26: unit \"dlm\" is found by its pidfile already; remove one of the two lines",
    ),
    (
        "",
        "failfast {\n  unit {\n    name: pg\n    systemd: postgresql\n  }\n}\n",
        Fatal,
        "c.conf:25: \"postgresql\" does not tell how unit \"pg\" is found; write \"systemd: NAME.service\"",
    ),
    (
        "",
        "failfast {\n  unit {\n    name: pg\n    systemd: --force.service\n  }\n}\n",
        Fatal,
        "c.conf:25: \"--force.service\" does not tell how unit \"pg\" is found; write \"systemd: NAME.service\"",
    ),
    (
        "",
        "failfast {\n  unit {\n    name: pg\n    command: postgres -D /x\n  }\n}\n",
        Fatal,
        "c.conf:25: \"postgres -D /x\" does not tell how unit \"pg\" is found; write \"command: PATH ARGUMENTS\"",
    ),
    (
        "",
        "failfast {\n  unit {\n    name: pg\n    pidfile: /x\n    on_failure: restart\n  }\n}\n",
        Error,
        "c.conf:23: unit \"pg\" is to be restarted first, and has no time for it; write \"delay: MILLISECONDS\"",
    ),
    (
        "",
        "failfast {\n  unit {\n    name: pg\n    pidfile: /x\n    restarts: 3\n  }\n}\n",
        Error,
        "c.conf:26: restarts of unit \"pg\" has no effect by itself; write \"on_failure: restart\" as well",
    ),
    (
        "",
        "failfast {\n  watchdog_device: off\n  watchdog_identity: iTCO_wdt\n}\n",
        Error,
        "c.conf:24: watchdog_identity \"iTCO_wdt\" and \"watchdog_device: off\"; remove one",
    ),
    (
        "",
        "failfast {\n  watchdog_device: /dev/watchdog\n  watchdog_device: /dev/watchdog\n}\n",
        Error,
        "c.conf:24: watchdog /dev/watchdog is named twice; remove one line",
    ),
];

#[test]
fn every_mistake_is_named_with_its_line_and_its_remedy() {
    for (totem, more, worst, line) in ROWS {
        let (config, found) = read(&three(totem, more));
        let said = found.to_string();
        assert!(
            said.lines().any(|l| l.starts_with(line)),
            "expected\n  {line}\nfor {totem:?} {more:?}, but was told\n{said}"
        );
        assert_eq!(found.worst(), Some(*worst), "for {totem:?} {more:?}: {said}");
        assert_eq!(config.is_none(), *worst == Fatal, "for {totem:?} {more:?}");
    }
}

#[test]
fn a_file_without_nodes_cannot_run() {
    let (config, found) = read("totem {\n  version: 2\n  cluster_name: c\n}\n");
    assert!(config.is_none());
    assert!(
        found.to_string().contains("c.conf:4: no nodelist section with nodes; write \"nodelist {"),
        "{found}"
    );
    assert!(read("").0.is_none());
}

#[test]
fn a_machine_that_is_no_node_is_told_so() {
    let text = three("", "").replace("node1\n", "other\n").replace("10.0.0.1", "10.9.9.9");
    let (config, found) = read(&text);
    assert!(config.is_none());
    assert!(
        found.to_string().contains("c.conf:5: no node section is this machine: none has the name \"node1\""),
        "{found}"
    );
}

#[test]
fn two_nodes_with_two_node_are_told_to_fence() {
    let text = "totem {\n  version: 2\n  cluster_name: c\n  nodeid: 1\n}\nnodelist {\n  node {\n    nodeid: 1\n    ring0_addr: 10.0.0.1\n  }\n  node {\n    nodeid: 2\n    ring0_addr: 10.0.0.2\n  }\n}\nquorum {\n  provider: corosync_votequorum\n  two_node: 1\n}\n";
    let (config, found) = read(text);
    let quorum = config.expect("runs").quorum;
    assert!(quorum.two_node && quorum.wait_for_all);
    assert!(found.to_string().contains("configure a fence device"), "{found}");
    let (config, found) = read(&text.replace("two_node: 1", "two_node: 1\n  wait_for_all: 0"));
    assert!(!config.expect("runs").quorum.wait_for_all);
    assert_eq!(found.worst(), Some(Error));
}

#[test]
fn garbage_never_panics_and_never_fills_the_screen() {
    let seeds =
        [three("  token: 1000\n", "logging {\n  debug: on\n}\n"), "a {\n".repeat(50), "x: y\n".repeat(499)];
    for seed in &seeds {
        for cut in (0..seed.len()).step_by(1 + seed.len() / 100) {
            let _ = read(&seed[..cut]);
            let mut bytes = seed.clone().into_bytes();
            bytes[cut] = bytes[cut].wrapping_mul(31).wrapping_add(7) & 0x7f;
            let (_, found) = read(&String::from_utf8_lossy(&bytes));
            assert!(found.iter().count() <= 100);
        }
    }
}

/// Times of a quorum disk that do not go with those of the ring are refused, and what is asked for instead suffices, and not more.
/// (qdiskd asked for a token longer than its master's recovery: here the lease has to outlast what is handed on with a heartbeat.)
#[test]
fn r18_the_lease_that_is_asked_for_is_enough_and_an_interval_less_is_not() {
    for token in [200, 1_000, 10_000] {
        let told = |tko: u64| {
            let disk =
                format!("    disk {{\n      device: /dev/x\n      interval: 20\n      tko: {tko}\n    }}\n");
            let device = format!("quorum {{\n  device {{\n    model: disk\n{disk}  }}\n}}\n");
            read(&three(&format!("  token: {token}\n"), &device)).1
        };
        let refused = told(3);
        assert_eq!(refused.worst(), Some(Error));
        let said = refused.to_string();
        let needs = said.split(" needs ").nth(1).and_then(|rest| rest.split(';').next()).expect("a time");
        let (number, unit) = needs.split_once(' ').expect("a time with its unit");
        let ms = number.parse::<f64>().unwrap() * if unit == "ms" { 1.0 } else { 1_000.0 };
        let tko = (ms / 20.0).ceil() as u64;
        let lease = |tko| told(tko).to_string();
        assert!(
            !lease(tko).contains("interval times tko"),
            "token {token}, asked for {needs}: {}",
            lease(tko)
        );
        assert!(lease(tko - 1).contains("interval times tko"), "token {token}, asked for {needs}");
    }
}
