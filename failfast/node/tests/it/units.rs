//! Units live, die, hang and come back.

use std::os::unix::fs::PermissionsExt;

use failfast::client::{ClientError, SOCKET};
use failfast::{Client, FailfastServer, ServerConfig};
use failfast_core::{ArmRequest, Event, ExitScope, Mode, ReasonKind, Restarts, Trouble, UnitName, UnitState};
use holdfast_types::Span;
use nix::sys::signal::Signal;

use crate::common::{LIMIT, Node, RunDir, Unit, UnitProcess, now};

fn unit(delay_ms: u64, heartbeat_ms: u64) -> Unit<'static> {
    Unit { name: "rgmd", delay_ms, heartbeat_ms, tagged: true }
}

/// The number of seconds in a text of this shape.
fn seconds(text: &str, before: &str, after: &str) -> u64 {
    let number = text.strip_prefix(before).and_then(|t| t.strip_suffix(after));
    number.unwrap_or_else(|| panic!("{text}")).parse().unwrap()
}

#[test]
fn a_killed_unit_takes_the_node_down_with_the_text() {
    let mut node = Node::new(Mode::Exit);
    let child = UnitProcess::armed(&mut node, &unit(1_000, 0));
    child.signal(Signal::SIGKILL);
    let reason = node.run_to_decision();
    assert_eq!(reason.kind, ReasonKind::UnitDied);
    assert!(seconds(&reason.text, "Failfast: Aborting because \"rgmd\" died ", " seconds ago.") >= 1);
    let name = UnitName::new("rgmd").unwrap();
    let (pid, delay) = (child.pid(), Span::from_secs(1));
    assert_eq!(node.events[0], Event::Armed { name, pid, delay, heartbeat: Span::ZERO });
    let (trouble, maintenance) = (Trouble::Died, None);
    assert_eq!(node.events[1], Event::Triggered { name, pid, trouble, delay, maintenance });
    assert_eq!(node.events[2], Event::TakingDown { text: reason.text });
    assert!(!node.server.within_deadlines(now()));
}

#[test]
fn a_unit_that_ends_without_disarming_is_dead_too() {
    let mut node = Node::new(Mode::Exit);
    let mut child = UnitProcess::armed(&mut node, &unit(0, 0));
    child.tell("disarm");
    assert_eq!(node.beside(|_| child.answer()), "ok");
    drop(child);
    let other = UnitProcess::armed(&mut node, &unit(0, 0));
    let pid = other.pid();
    drop(other);
    let reason = node.run_to_decision();
    assert_eq!(&*reason.text, "Failfast: Aborting because \"rgmd\" died 0 seconds ago.");
    assert!(node.events.iter().any(|e| matches!(e, Event::Triggered { pid: p, .. } if *p == pid)));
}

#[test]
fn a_stopped_unit_misses_its_heartbeat() {
    let mut node = Node::new(Mode::Exit);
    let child = UnitProcess::armed(&mut node, &unit(500, 1_000));
    child.signal(Signal::SIGSTOP);
    let reason = node.run_to_decision();
    assert_eq!(reason.kind, ReasonKind::UnitLate);
    let late =
        seconds(&reason.text, "Failfast: Aborting because \"rgmd\" missed its heartbeat for ", " seconds.");
    assert!(late >= 1);
}

#[test]
fn a_unit_that_goes_on_in_time_is_forgiven() {
    let mut node = Node::new(Mode::Exit);
    let child = UnitProcess::armed(&mut node, &unit(600_000, 200));
    child.signal(Signal::SIGSTOP);
    node.run_until("triggered", |n| n.events.iter().any(|e| matches!(e, Event::Triggered { .. })));
    child.signal(Signal::SIGCONT);
    node.run_until("recovered", |n| n.events.iter().any(|e| matches!(e, Event::Recovered { .. })));
    assert!(node.server.within_deadlines(now()));
}

#[test]
fn a_replacement_cancels_the_countdown() {
    let mut node = Node::new(Mode::Exit);
    let first = UnitProcess::armed(&mut node, &unit(600_000, 0));
    drop(first);
    node.run_until("triggered", |n| n.events.iter().any(|e| matches!(e, Event::Triggered { .. })));
    let second = UnitProcess::armed(&mut node, &unit(600_000, 0));
    assert!(node.events.iter().any(|e| matches!(e, Event::Rearmed { pid, .. } if *pid == second.pid())));
    let units: Vec<_> = node.server.units().collect();
    assert_eq!((units.len(), units[0].state, units[0].pid), (1, UnitState::Armed, second.pid()));
}

#[test]
fn a_unit_of_another_live_process_is_not_taken_over() {
    let mut node = Node::new(Mode::Exit);
    let first = UnitProcess::armed(&mut node, &unit(600_000, 0));
    let mut second = UnitProcess::start(&node.dir.0, &unit(600_000, 0));
    let answer = node.beside(|_| second.answer());
    assert!(answer.contains(&format!("armed by pid {}, which is alive", first.pid())), "{answer}");
    drop(second);
    let mut observer = node.beside(|dir| Client::connect(dir, LIMIT)).unwrap();
    let refused = node.beside(|_| observer.disarm(&UnitName::new("rgmd").unwrap()));
    assert!(matches!(refused, Err(ClientError::Refused(_))), "{refused:?}");
}

/// In mode `exit` by run directory the node's processes are found by their environment: one without the variable would
/// live on, so it may not be a unit.
#[test]
fn a_process_that_could_not_be_found_again_cannot_arm() {
    let mut node = Node::new(Mode::Exit);
    let untagged = Unit { tagged: false, ..unit(600_000, 0) };
    let mut child = UnitProcess::start(&node.dir.0, &untagged);
    let answer = node.beside(|_| child.answer());
    assert!(answer.contains("was started without HOLDFAST_RUN_DIR="), "{answer}");
    assert_eq!(node.server.units().count(), 0);
    drop(child);
    // In the other modes it does not matter.
    let mut node = Node::new(Mode::Off);
    let _child = UnitProcess::armed(&mut node, &untagged);
}

#[test]
fn a_process_that_the_configuration_names_is_watched() {
    let mut node = Node::new(Mode::Off);
    let child = UnitProcess::armed(&mut node, &unit(600_000, 0));
    let name = UnitName::new("by-configuration").unwrap();
    let request = ArmRequest { name, delay: Span::ZERO, heartbeat: Span::ZERO, mode: None, restarts: None };
    node.server.arm_process(now(), child.pid(), &request).unwrap();
    assert!(node.server.arm_process(now(), u32::MAX, &request).is_err());
    drop(child);
    node.run_until("timed out", |n| {
        n.events.iter().any(|e| matches!(e, Event::TimedOut { name: n, .. } if *n == name))
    });
}

#[test]
fn an_administrator_arms_and_disarms_for_others() {
    let mut node = Node::new(Mode::Exit);
    let child = UnitProcess::armed(&mut node, &Unit { name: "other", ..unit(600_000, 0) });
    let pid = child.pid();
    let name = UnitName::new("pg").unwrap();
    let (delay, heartbeat) = (Span::from_secs(600), Span::ZERO);
    let restarts = Some(Restarts { count: 3, window: Span::from_secs(60) });
    let request = ArmRequest { name, delay, heartbeat, mode: None, restarts };
    node.beside(|dir| Client::connect(dir, LIMIT).unwrap().arm_process(pid, &request)).unwrap();
    let nobody = node.beside(|dir| Client::connect(dir, LIMIT).unwrap().arm_process(u32::MAX, &request));
    assert!(
        matches!(&nobody, Err(ClientError::Refused(why)) if why.contains("cannot watch pid")),
        "{nobody:?}"
    );
    let unit = node.server.units().find(|u| u.name == name).unwrap();
    assert_eq!((unit.pid, unit.restarts), (pid, restarts));
    let disarm =
        |pid| move |dir: &std::path::Path| Client::connect(dir, LIMIT).unwrap().disarm_process(pid, &name);
    assert!(node.beside(disarm(pid + 1)).is_err(), "somebody else's by now");
    node.beside(disarm(pid)).unwrap();
    let by = Some(std::process::id());
    assert!(node.events.contains(&Event::Disarmed { name, by }), "{:?}", node.events);
    child.signal(Signal::SIGKILL);
    node.run_until("its own arming counts alone", |n| {
        n.events.iter().any(|e| matches!(e, Event::Triggered { name, .. } if name.as_str() == "other"))
    });
}

#[test]
fn under_maintenance_a_dead_unit_is_told_and_takes_nothing_down_until_it_ends() {
    let mut node = Node::new(Mode::Exit);
    let child = UnitProcess::armed(&mut node, &unit(0, 0));
    let maintain =
        |length| move |dir: &std::path::Path| Client::connect(dir, LIMIT).unwrap().maintain(None, length);
    node.beside(maintain(Span::from_secs(3_600))).unwrap();
    let report = node.beside(|dir| Client::connect(dir, LIMIT).unwrap().report()).unwrap();
    assert!(report.maintenance.is_some_and(|left| left > Span::from_secs(3_000)), "{report:?}");
    assert_eq!((report.mode, report.guardian), (Mode::Exit, None));
    child.signal(Signal::SIGKILL);
    node.run_until("told", |n| n.events.iter().any(|e| matches!(e, Event::Triggered { .. })));
    let lines = node.beside(|dir| Client::connect(dir, LIMIT).unwrap().list()).unwrap();
    assert_eq!((lines[0].trouble, lines[0].maintenance.is_some()), (Some(Trouble::Died), true));
    let refused = node.beside(maintain(Span::from_secs(5 * 3_600)));
    assert!(matches!(&refused, Err(ClientError::Refused(why)) if why.contains("at most")), "{refused:?}");
    // Beside the loop, which is to take the node down now.
    let dir = node.dir.0.clone();
    let ended = std::thread::spawn(move || Client::connect(&dir, LIMIT).unwrap().maintain(None, Span::ZERO));
    let reason = node.run_to_decision();
    assert_eq!(reason.kind, ReasonKind::UnitDied);
    ended.join().unwrap().unwrap();
}

#[test]
fn a_list_shows_all_units() {
    let mut node = Node::new(Mode::Exit);
    let list = |dir: &std::path::Path| Client::connect(dir, LIMIT).unwrap().list().unwrap();
    assert_eq!(node.beside(list), []);
    let child = UnitProcess::armed(&mut node, &unit(35_000, 10_000));
    let lines = node.beside(list);
    assert_eq!(lines.len(), 1);
    let line = lines[0];
    assert_eq!((line.name.as_str(), line.pid, line.state), ("rgmd", child.pid(), UnitState::Armed));
    assert_eq!((line.delay, line.heartbeat), (Span::from_secs(35), Span::from_secs(10)));
}

#[test]
fn the_socket_is_for_its_owner_and_goes_with_the_server() {
    let node = Node::new(Mode::Exit);
    let path = node.dir.0.join(SOCKET);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let Node { server, dir, .. } = node;
    drop(server);
    assert!(!path.exists());
    let error = Client::connect(&dir.0, LIMIT).unwrap_err();
    assert!(error.to_string().contains("is cmmd running?"), "{error}");
}

#[test]
fn a_stale_socket_is_replaced_and_a_path_too_long_is_told() {
    let dir = RunDir::new();
    let config = |run_dir| ServerConfig { run_dir, mode: Mode::Exit, scope: ExitScope::RunDir };
    std::mem::forget(FailfastServer::bind(&config(dir.0.clone()), now()).unwrap());
    FailfastServer::bind(&config(dir.0.clone()), now()).unwrap();
    let long = dir.0.join("x".repeat(120));
    std::fs::create_dir(&long).unwrap();
    let error = FailfastServer::bind(&config(long), now()).unwrap_err();
    assert!(error.to_string().contains(SOCKET), "{error}");
}
