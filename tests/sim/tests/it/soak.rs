//! The soak command as a process: it may be killed at any time, and still each seed is counted once.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

const SEEDS: u64 = 200;

fn soak(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sim"));
    command.arg("soak").arg("--dir").arg(dir);
    command.args(["--commit", "test", "--seeds", &format!("0..{SEEDS}"), "--block", "5", "--threads", "2"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn run(command: &mut Command) -> (Output, String) {
    let output = command.output().unwrap();
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output, text)
}

/// Seeds of each whole line of this commit.
fn blocks(file: &Path, commit: &str) -> Vec<(u64, u64)> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let lines = whole.lines().filter_map(|line| line.strip_prefix(&format!("commit={commit} seeds=")));
    lines
        .filter_map(|rest| rest.split_once(" simulated_seconds=")?.0.split_once(".."))
        .map(|(first, end)| (first.parse().unwrap(), end.parse().unwrap()))
        .collect()
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[expect(clippy::disallowed_methods, reason = "the test waits for another process")]
fn until(what: &str, done: impl Fn() -> bool) {
    for _ in 0..6_000 {
        if done() {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("not within two minutes: {what}");
}

#[test]
fn a_soak_that_is_killed_goes_on_and_counts_each_seed_once() {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("soak-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    let file = dir.join("blocks.txt");

    let first = Killed(soak(&dir).stdout(Stdio::null()).spawn().unwrap());
    until("two blocks are done", || blocks(&file, "test").len() >= 2);
    let (second, text) = run(&mut soak(&dir));
    assert_eq!(second.status.code(), Some(1), "{text}");
    assert!(text.contains("another soak works in this folder"), "{text}");
    drop(first);
    let before = blocks(&file, "test");

    // Killed in the middle of a line; and somebody else's seeds.
    let torn = "commit=other seeds=0..1000 simulated_seconds=1.0 failures=0\ncommit=test seeds=0..10";
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("{text}{torn}")).unwrap();

    let (no_time, text) = run(soak(&dir).args(["--seconds", "0"]));
    assert_eq!(no_time.status.code(), Some(0), "{text}");
    assert_eq!(blocks(&file, "test"), before, "no time, no block");
    assert!(text.contains("is no line of a block"), "{text}");

    let (rest, text) = run(&mut soak(&dir));
    assert_eq!(rest.status.code(), Some(0), "{text}");
    assert!(text.contains(&format!("in all: {SEEDS} seeds")), "{text}");
    let mut done = blocks(&file, "test");
    assert!(done.starts_with(&before), "what was done is not done again");
    done.sort_unstable();
    assert_eq!((done.first().unwrap().0, done.last().unwrap().1), (0, SEEDS));
    assert!(done.windows(2).all(|w| w[0].1 == w[1].0), "each once: {done:?}");

    let (nothing, text) = run(&mut soak(&dir));
    assert!(nothing.status.success() && text.contains(&format!("0 seeds of 0..{SEEDS} to do")), "{text}");
    std::fs::remove_dir_all(&dir).unwrap();
}
