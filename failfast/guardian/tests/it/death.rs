//! `cmmd` dies or hangs: the peers hear it, the reason is written, the node's processes are gone, and no others.

use std::os::fd::AsFd;

use failfast::black_box::Class;
use failfast_core::Mode;
use holdfast_sys::pidfd;
use holdfast_types::Span;
use nix::sys::signal::Signal;

use crate::common::{Daemon, World};

const LONG: Span = Span::from_secs(600);
const DIED: &str = "Failfast: Aborting because \"cmmd\" died 0 seconds ago.";

#[test]
fn a_killed_daemon_takes_its_node_along_and_nothing_else() {
    let world = World::new();
    let daemon = Daemon::start(&world, Mode::Exit, LONG);
    let ours = [world.sleeper(true), world.sleeper(true)];
    let elsewhere = World::new();
    let others = [world.sleeper(false), elsewhere.sleeper(true)];
    daemon.process.signal(Signal::SIGKILL);

    assert_eq!(world.hear_all(5), ["daemon died", "daemon died", "last word", "last word", "last word"]);
    // The last word says so, and it is so.
    assert!(ours.iter().all(|p| !p.is_alive()));
    assert!(others.iter().all(|p| p.is_alive()));
    assert!(daemon.guardian_ends());

    let records = world.black_box();
    assert_eq!(records[0], (Class::Death, DIED.into()));
    assert!(
        records[1].1.starts_with("Failfast: node is down, ") && records[1].1.ends_with("none left"),
        "{records:?}"
    );
    assert!(world.kernel_log().starts_with(&format!("<0>holdfast: {DIED}")), "{}", world.kernel_log());
    for place in ["log", "stderr"] {
        let text = std::fs::read_to_string(world.dir.join(place)).unwrap();
        assert!(text.lines().any(|l| l == DIED), "{place}: {text}");
    }
    assert_eq!(std::fs::read_to_string(world.dir.join("trigger")).unwrap(), "");
    assert_eq!(world.silence(), [""; 0]);
}

/// A process that is killed has its memory taken down before a pidfd tells of its end. Here that never comes.
#[test]
fn a_daemon_is_dead_when_its_event_loop_is() {
    let world = World::new();
    let mut daemon = Daemon::start(&world, Mode::Exit, LONG);
    let ours = world.sleeper(true);
    daemon.tell("end main thread");
    assert_eq!(world.hear_all(5), ["daemon died", "daemon died", "last word", "last word", "last word"]);
    assert!(!ours.is_alive() && !daemon.process.is_alive());
    assert!(daemon.guardian_ends());
    assert_eq!(world.black_box()[0], (Class::Death, DIED.into()));
}

#[test]
fn who_sends_the_guardian_signals_makes_it_look_and_no_more() {
    let world = World::new();
    let mut daemon = Daemon::start(&world, Mode::Exit, LONG);
    for signal in [Signal::SIGUSR1, Signal::SIGTERM, Signal::SIGUSR1] {
        pidfd::send_signal(daemon.guardian().as_fd(), signal).unwrap();
    }
    daemon.tell("release");
    assert_eq!(daemon.line("released"), "ok");
    assert_eq!((world.silence(), world.black_box()), (Vec::new(), Vec::new()));
}

#[test]
fn a_stuck_daemon_is_taken_down() {
    let world = World::new();
    let mut daemon = Daemon::start(&world, Mode::Exit, Span::from_secs(2));
    let ours = world.sleeper(true);
    daemon.tell("no progress");
    assert_eq!(world.hear(), "daemon died");
    assert!(!daemon.process.is_alive(), "it held the lease: it is dead before the gasp");
    assert!(ours.dies() && daemon.guardian_ends());
    let (_, reason) = &world.black_box()[0];
    let silent = reason
        .strip_prefix("Failfast: Aborting because \"cmmd\" made no progress for ")
        .and_then(|r| r.strip_suffix(" seconds."))
        .unwrap_or_else(|| panic!("{reason}"));
    assert!(silent.parse::<u64>().unwrap() >= 2, "{reason}");
}

#[test]
fn a_stopped_daemon_is_stuck_after_the_limit() {
    let world = World::new();
    let daemon = Daemon::start(&world, Mode::Exit, Span::from_secs(1));
    daemon.process.signal(Signal::SIGSTOP);
    assert_eq!(world.hear(), "daemon died");
    assert!(!daemon.process.is_alive() && daemon.guardian_ends());
    assert_eq!(world.hear_all(4), ["daemon died", "last word", "last word", "last word"]);
}

#[test]
fn a_daemon_that_was_stopped_for_less_lives_on() {
    let world = World::new();
    let mut daemon = Daemon::start(&world, Mode::Exit, LONG);
    daemon.process.signal(Signal::SIGSTOP);
    // The guardian has looked at a stopped daemon when it has had time for a few looks: one a second.
    std::thread::sleep(std::time::Duration::from_millis(2_500));
    daemon.process.signal(Signal::SIGCONT);
    daemon.tell("release");
    assert_eq!(daemon.line("released"), "ok");
    assert_eq!(world.silence(), [""; 0]);
    assert_eq!(world.black_box(), []);
}

#[test]
fn mode_off_stops_the_daemon_only() {
    let world = World::new();
    let mut daemon = Daemon::start(&world, Mode::Off, LONG);
    let ours = world.sleeper(true);
    daemon.tell("take down");
    assert_eq!([world.hear(), world.hear()], ["daemon died", "daemon died"]);
    assert!(daemon.process.dies() && daemon.guardian_ends());
    assert!(ours.is_alive());
    assert_eq!(world.silence(), [""; 0]);
    let text = "Failfast: Aborting because the test says so";
    assert_eq!(world.black_box(), [(Class::Death, text.into())]);
}

/// The trigger is a plain file here; on a machine these bytes are its end.
#[test]
fn panic_and_reset_write_to_the_trigger() {
    // A kernel that does not panic is told to reset.
    for (mode, letters) in [(Mode::Panic, "cb"), (Mode::Reset, "b")] {
        let world = World::new();
        let daemon = Daemon::start(&world, mode, LONG);
        let ours = world.sleeper(true);
        daemon.process.signal(Signal::SIGKILL);
        assert_eq!([world.hear(), world.hear()], ["daemon died", "daemon died"]);
        assert!(daemon.guardian_ends());
        assert_eq!(std::fs::read_to_string(world.dir.join("trigger")).unwrap(), letters);
        // The machine is still there, so at least the node's processes are not. That confirms nothing.
        assert!(!ours.is_alive());
        assert_eq!(world.silence(), [""; 0]);
        let (class, outcome) = &world.black_box()[1];
        assert!(*class == Class::Outcome && outcome.contains("sysrq did not work"), "{outcome}");
    }
}

#[test]
fn a_dead_guardian_is_replaced() {
    let world = World::new();
    let mut daemon = Daemon::start(&world, Mode::Exit, LONG);
    pidfd::send_signal(daemon.guardian().as_fd(), Signal::SIGKILL).unwrap();
    let second = pidfd::open(daemon.line("guardian").parse().unwrap()).unwrap();
    assert!(daemon.process.is_alive());
    daemon.process.signal(Signal::SIGKILL);
    assert_eq!(world.hear(), "daemon died");
    assert!(pidfd::wait_end(second.as_fd(), crate::common::LIMIT).unwrap());
    assert_eq!(world.black_box()[0].1, DIED);
}

/// A child that lost the variable cannot be told from a stranger: it is spared, and nobody confirms the death.
#[test]
fn no_last_word_while_something_may_be_left() {
    let world = World::new();
    let daemon = Daemon::start(&world, Mode::Exit, LONG);
    let mut command = std::process::Command::new("sh");
    command.args(["-c", "env -u HOLDFAST_RUN_DIR sleep 600 & echo $!; wait"]);
    command.env("HOLDFAST_RUN_DIR", &world.dir).stdout(std::process::Stdio::piped());
    let mut shell = command.spawn().unwrap();
    let mut line = String::new();
    use std::io::BufRead;
    std::io::BufReader::new(shell.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let stray = pidfd::open(line.trim().parse().unwrap()).unwrap();
    // Between fork and exec it still has it.
    while std::fs::read(format!("/proc/{}/comm", line.trim())).unwrap() != b"sleep\n" {
        std::thread::yield_now();
    }
    daemon.process.signal(Signal::SIGKILL);
    assert_eq!([world.hear(), world.hear()], ["daemon died", "daemon died"]);
    shell.wait().unwrap();
    std::thread::sleep(std::time::Duration::from_millis(500));
    assert_eq!(world.silence(), [""; 0]);
    assert!(!pidfd::has_ended(stray.as_fd()).unwrap(), "spared");
    // Somebody else ends it: now the node is down, and the guardian has waited for that.
    pidfd::send_signal(stray.as_fd(), Signal::SIGKILL).unwrap();
    assert_eq!(world.hear(), "last word");
    assert!(daemon.guardian_ends());
}
