//! What `cmmd` tells its guardian, and what a guardian refuses.

use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::process::{Command, Stdio};

use failfast::black_box::Class;
use failfast_core::Mode;
use holdfast_sys::pidfd;
use holdfast_types::Span;
use nix::sys::signal::Signal;

use crate::common::{Daemon, World};

const LONG: Span = Span::from_secs(600);

#[test]
fn told_to_take_the_node_down_it_begins_with_the_daemon() {
    let world = World::new();
    let mut daemon = Daemon::start(&world, Mode::Exit, LONG);
    let ours = world.sleeper(true);
    daemon.tell("take down");
    assert_eq!(world.hear(), "daemon died");
    assert!(!daemon.process.is_alive(), "the gasp says that its lease is over");
    assert!(ours.dies() && daemon.guardian_ends());
    assert_eq!(world.black_box()[0], (Class::Death, "Failfast: Aborting because the test says so".into()));
    assert_eq!(world.hear_all(4), ["daemon died", "last word", "last word", "last word"]);
}

#[test]
fn a_gasp_for_the_occasion_goes_out_instead() {
    let world = World::new();
    let mut daemon = Daemon::start(&world, Mode::Exit, LONG);
    daemon.tell("take down with gasp");
    assert_eq!([world.hear(), world.hear()], ["fresh gasp", "fresh gasp"]);
    assert!(daemon.guardian_ends());
}

#[test]
fn packets_can_be_replaced() {
    let world = World::new();
    let mut daemon = Daemon::start(&world, Mode::Exit, LONG);
    daemon.tell("other packets");
    assert_eq!(daemon.line("told"), "ok");
    daemon.process.signal(Signal::SIGKILL);
    assert_eq!(world.hear(), "other packet");
    assert!(daemon.guardian_ends());
}

#[test]
fn links_can_be_replaced() {
    let world = World::new();
    let mut daemon = Daemon::start(&world, Mode::Exit, LONG);
    let other = UdpSocket::bind("127.0.0.1:0").unwrap();
    other.set_read_timeout(Some(std::time::Duration::from_secs(60))).unwrap();
    daemon.tell("other links");
    daemon.tell(&other.local_addr().unwrap().to_string());
    assert_eq!(daemon.line("told"), "ok");
    daemon.process.signal(Signal::SIGKILL);
    let mut heard = [0; 64];
    let len = other.recv(&mut heard).unwrap();
    assert_eq!(&heard[..len], b"daemon died");
    assert!(daemon.guardian_ends());
    assert_eq!(world.silence(), [""; 0], "nothing goes where it went before");
}

#[test]
fn a_released_guardian_goes_in_peace() {
    let world = World::new();
    let mut daemon = Daemon::start(&world, Mode::Exit, LONG);
    let ours = world.sleeper(true);
    daemon.tell("release");
    assert_eq!(daemon.line("released"), "ok");
    assert!(daemon.guardian_ends() && daemon.process.dies());
    assert!(ours.is_alive());
    assert_eq!(world.silence(), [""; 0]);
    assert_eq!((world.black_box(), world.kernel_log()), (vec![], String::new()));
}

#[test]
fn a_daemon_without_guardian_goes_down_by_itself() {
    let world = World::new();
    let mut daemon = Daemon::start(&world, Mode::Exit, LONG);
    let ours = world.sleeper(true);
    // The guardian belongs to the node, and is not in the way.
    daemon.tell("take down alone");
    assert_eq!(world.hear_all(5), ["daemon died", "daemon died", "last word", "last word", "last word"]);
    assert!(!ours.is_alive() && daemon.process.dies() && daemon.guardian_ends());
    assert_eq!(world.black_box()[0].1, "Failfast: Aborting because the test says so");
}

/// A stopped guardian hears nothing: the daemon waits, and then does it alone.
#[test]
fn a_guardian_that_does_not_act_does_not_keep_the_node_alive() {
    let world = World::new();
    let mut daemon = Daemon::start(&world, Mode::Exit, LONG);
    let ours = world.sleeper(true);
    pidfd::send_signal(daemon.guardian().as_fd(), Signal::SIGSTOP).unwrap();
    daemon.tell("take down");
    assert_eq!(world.hear(), "daemon died");
    assert!(ours.dies() && daemon.process.dies());
}

#[test]
fn signals_do_not_move_it() {
    let world = World::new();
    let daemon = Daemon::start(&world, Mode::Exit, LONG);
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGPIPE, Signal::SIGALRM] {
        pidfd::send_signal(daemon.guardian().as_fd(), signal).unwrap();
    }
    daemon.process.signal(Signal::SIGKILL);
    assert_eq!(world.hear(), "daemon died");
    assert!(daemon.guardian_ends());
}

#[test]
fn a_set_up_that_cannot_be_served_is_refused_in_words() {
    let world = World::new();
    let mut daemon = Daemon::begin(&world, Mode::Exit, Span::ZERO);
    assert!(daemon.line("refused").contains("failfast.guardian_limit is 0"));
}

#[test]
fn it_is_of_no_use_by_hand() {
    for stdin in [Stdio::null(), Stdio::piped()] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_holdfast-guardian"));
        let output = command.stdin(stdin).output().unwrap();
        assert_eq!(output.status.code(), Some(64));
        assert!(String::from_utf8_lossy(&output.stderr).contains("is started by cmmd"));
    }
}
