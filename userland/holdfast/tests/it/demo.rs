//! The demo from end to end, with real daemons.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::{Temp, holdfast, run};

/// Whether the daemons lie next to the program under test. Missing ones fail the test, unless skipping is allowed.
fn skip() -> bool {
    let dir = Path::new(env!("CARGO_BIN_EXE_holdfast")).parent().unwrap();
    let missing: Vec<_> =
        ["cmmd", "rgmd", "holdfast-guardian"].into_iter().filter(|p| !dir.join(p).is_file()).collect();
    if missing.is_empty() {
        return false;
    }
    let hint = "cargo build --bins -p cmmd -p rgmd -p holdfast-guardian";
    let allowed = std::env::var_os("HOLDFAST_ALLOW_SKIP").is_some();
    assert!(allowed, "{missing:?} not found in {}; build them: {hint}", dir.display());
    eprintln!("skipped: {missing:?} not built");
    true
}

/// A demo whose files are all below a folder of its own.
fn demo(temp: &Temp) -> Command {
    let mut command = holdfast(&temp.0);
    command.arg("demo").env("TMPDIR", &temp.0);
    command
}

fn left_in(temp: &Temp) -> Vec<PathBuf> {
    std::fs::read_dir(&temp.0).unwrap().map(|e| e.unwrap().path()).collect()
}

/// Processes that name a folder below this one in their environment or command line.
fn processes_of(dir: &Path) -> Vec<String> {
    let needle = dir.to_str().unwrap();
    let me = std::process::id().to_string();
    let pids = std::fs::read_dir("/proc").unwrap().flatten().filter_map(|e| e.file_name().into_string().ok());
    let names = |pid: &String| {
        let read = |f: &str| std::fs::read(format!("/proc/{pid}/{f}")).unwrap_or_default();
        [read("environ"), read("cmdline")].iter().any(|b| String::from_utf8_lossy(b).contains(needle))
    };
    pids.filter(|p| p.bytes().all(|b| b.is_ascii_digit()) && *p != me).filter(names).collect()
}

#[test]
fn two_deaths_are_survived_and_nothing_is_left() {
    if skip() {
        return;
    }
    let temp = Temp::new();
    let (code, out, err) = run(&mut demo(&temp));
    assert_eq!(code, Some(0), "{out}\n{err}");
    for line in [
        "quorate",
        "Act one",
        "guardian included",
        "fence agent on",
        "Act two",
        "Failfast: Aborting because \"cmmd\" died",
        "never did one run twice",
    ] {
        assert!(out.contains(line), "{line:?} is missing in\n{out}");
    }
    // The guardian's last word and the fence agent race for the second death; on a busy machine the agent may win.
    let act_two = out.split("Act two").nth(1).unwrap_or_default();
    let confirmed = ["last word", "(by the fence agent)"].iter().any(|by| act_two.contains(by));
    assert!(confirmed, "nobody confirmed the second death:\n{out}");
    assert_eq!(left_in(&temp), Vec::<PathBuf>::new());
    assert_eq!(processes_of(&temp.0), Vec::<String>::new());
}

#[test]
fn an_interrupted_demo_leaves_nothing() {
    if skip() {
        return;
    }
    // At several points of the story: as soon as a line with this is on the screen.
    for (signal, word) in
        [(Signal::SIGINT, "start:"), (Signal::SIGTERM, "runs on"), (Signal::SIGHUP, "is killed")]
    {
        let temp = Temp::new();
        let mut child = demo(&temp).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        assert!(lines.any(|l| l.contains(word)), "no line with {word:?}");
        kill(Pid::from_raw(child.id().try_into().unwrap()), signal).unwrap();
        lines.for_each(drop);
        let out = child.wait_with_output().unwrap();
        assert_eq!(out.status.code(), Some(130), "{out:?}");
        assert_eq!(left_in(&temp), Vec::<PathBuf>::new(), "{word}");
        assert_eq!(processes_of(&temp.0), Vec::<String>::new(), "{word}");
    }
}

#[test]
fn a_kept_demo_answers_until_it_is_stopped() {
    if skip() {
        return;
    }
    let temp = Temp::new();
    let (code, out, err) = run(demo(&temp).arg("--keep"));
    assert_eq!(code, Some(0), "{out}\n{err}");
    let dir = left_in(&temp).remove(0);
    let stop = || run(holdfast(&temp.0).args(["demo", "--stop"]).arg(&dir));
    let node = dir.join("n1");
    let mut status = holdfast(&node);
    let (code, text, _) = run(status.arg("status"));
    let (mon_code, screen, _) = run(holdfast(&node).args(["crm_mon", "-1"]));
    let stopped = stop();
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("group shop") && text.contains("Quorum  yes: 3 of 3 votes"), "{text}");
    assert_eq!(mon_code, Some(0));
    assert!(
        screen.contains("  * Online: [ n1 n2 n3 ]") && screen.contains("  * Resource Group: shop:"),
        "{screen}"
    );
    assert_eq!(stopped.0, Some(0), "{stopped:?}");
    assert_eq!(left_in(&temp), Vec::<PathBuf>::new());
    assert_eq!(processes_of(&temp.0), Vec::<String>::new());
    assert_eq!(stop().0, Some(70), "it is gone");
}
