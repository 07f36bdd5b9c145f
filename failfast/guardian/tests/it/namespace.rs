//! Scope `pid-namespace`: everything in the namespace goes, tagged or not, and nothing outside of it.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use failfast_core::Mode;
use holdfast_types::Span;

use crate::common::{DAEMON_ARGS, Daemon, World};

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
    assert_eq!(inside(&namespace).len(), 6, "init, three sleeps, the stand-in, its guardian");
    daemon.tell("die");
    assert_eq!(world.hear_all(5), ["daemon died", "daemon died", "last word", "last word", "last word"]);
    // The last word is true, but for the guardian who has just said it.
    let left = inside(&namespace);
    assert!(
        left.len() <= 2 && left.iter().all(|name| name == "sleep" || name == "holdfast-guardi"),
        "{left:?}"
    );
    assert!(outside.iter().all(|p| p.is_alive()));
    let outcome = world.black_box().pop().unwrap().1;
    assert!(outcome.ends_with("processes killed, none left"), "{outcome}");
}

/// Names of the living processes of a PID namespace.
fn inside(namespace: &Path) -> Vec<String> {
    let all = std::fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().path());
    let inside = all.filter(|p| std::fs::read_link(p.join("ns/pid")).is_ok_and(|ns| ns == namespace));
    // One that has ended meanwhile has no name, and a zombie no executable.
    let alive = inside.filter(|p| std::fs::read_link(p.join("exe")).is_ok());
    alive.filter_map(|p| Some(std::fs::read_to_string(p.join("comm")).ok()?.trim().to_owned())).collect()
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
