//! Scope `pid-namespace`: everything in the namespace goes, tagged or not, and nothing outside of it.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use failfast_core::Mode;
use holdfast_types::Span;

use crate::common::{DAEMON_ARGS, Daemon, LIMIT, World};

const LONG: Span = Span::from_secs(600);
/// Starts some, then the stand-in, and stays: a process 1 that ends takes the guardian along, and its last word.
const INIT: &str = "sleep 600 & env -i sleep 600 & (setsid sleep 600 &); \"$@\"; exec sleep 600";

#[test]
fn a_pid_namespace_is_emptied_and_nothing_else() {
    let unshare = ["--pid", "--fork", "--kill-child", "--mount-proc"];
    let can = Command::new("unshare").args(unshare).arg("true").stderr(Stdio::null()).status();
    if !can.is_ok_and(|status| status.success()) {
        writeln!(std::io::stderr(), "skipped: needs root and unshare(1)").unwrap();
        return;
    }
    let world = World::new();
    let outside = [world.sleeper(true), world.sleeper(false)];
    let mut command = Command::new("unshare");
    command.args(unshare).args(["sh", "-c", INIT, "sh"]);
    command.arg(std::env::current_exe().unwrap()).args(DAEMON_ARGS).env("DAEMON_SCOPE", "pid-namespace");
    let mut daemon = Daemon::begin_by(&world, command, Mode::Exit, LONG);
    daemon.line("guardian");
    let namespace = daemon.process.child_namespace();
    let end = Instant::now() + LIMIT;
    while inside(&namespace) != ["holdfast-guardi", "it", "sleep", "sleep", "sleep"] {
        assert!(Instant::now() < end, "{:?}", inside(&namespace));
        std::thread::yield_now();
    }
    daemon.tell("die");
    assert_eq!(world.hear_all(5), ["daemon died", "daemon died", "last word", "last word", "last word"]);
    // The last word is true, but for the guardian who has just said it.
    let left = inside(&namespace);
    assert!(left.is_empty() || left == ["holdfast-guardi"], "{left:?}");
    assert!(outside.iter().all(|p| p.is_alive()));
    while world.black_box().len() < 2 {
        assert!(Instant::now() < end, "the outcome is not written");
        std::thread::yield_now();
    }
    let outcome = world.black_box().pop().unwrap().1;
    assert!(outcome.ends_with("processes killed, none left"), "{outcome}");
}

/// Names of the living processes of a PID namespace but its process 1, sorted; the test binary is `it`.
fn inside(namespace: &Path) -> Vec<String> {
    let all = std::fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().path());
    let mut names: Vec<_> = all.filter_map(|process| name_inside(&process, namespace)).collect();
    names.sort();
    names
}

/// `None` for one that is elsewhere, process 1 there, a zombie (it has no executable), or gone meanwhile.
fn name_inside(process: &Path, namespace: &Path) -> Option<String> {
    if std::fs::read_link(process.join("ns/pid")).ok()? != namespace {
        return None;
    }
    std::fs::read_link(process.join("exe")).ok()?;
    let status = std::fs::read_to_string(process.join("status")).ok()?;
    let pid = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?.split_whitespace().last()?;
    let name = status.lines().find_map(|line| line.strip_prefix("Name:"))?.trim();
    let name = if name.starts_with("it-") { "it" } else { name };
    (pid != "1").then(|| name.to_owned())
}

/// Without a namespace of its own such a node is not started at all.
#[test]
fn the_machines_own_namespace_is_refused() {
    let initial = std::fs::read_link("/proc/self/ns/pid").unwrap();
    if initial != Path::new("pid:[4026531836]") {
        writeln!(std::io::stderr(), "skipped: needs the initial PID namespace").unwrap();
        return;
    }
    let world = World::new();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(DAEMON_ARGS).env("DAEMON_SCOPE", "pid-namespace");
    let mut daemon = Daemon::begin_by(&world, command, Mode::Exit, LONG);
    assert!(daemon.line("refused").contains("this is the machine's initial PID namespace"));
}
