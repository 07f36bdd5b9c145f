//! The process behind the demo's agent: it takes a lock that all nodes share, and lives. A second copy anywhere finds the
//! lock held, says so in a file that the demo reads at its end, and does not start.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::Write;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use super::files::VIOLATIONS;

/// `demo-worker ROOT RESOURCE PID_FILE` starts the worker in the background and ends when it holds the lock;
/// a fourth argument makes this process the worker itself.
pub(crate) fn worker(args: &[String]) -> ExitCode {
    match args {
        [root, resource, pid_file] => start(root, resource, pid_file),
        [root, resource, pid_file, _] => work(Path::new(root), resource, Path::new(pid_file)),
        _ => ExitCode::from(64),
    }
}

fn start(root: &str, resource: &str, pid_file: &str) -> ExitCode {
    let Ok(me) = std::env::current_exe() else { return ExitCode::FAILURE };
    let child = Command::new(me)
        .args(["demo-worker", root, resource, pid_file, "work"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    // The worker closes its standard output when it holds the lock and has written its pid, or when it ends.
    let Ok(mut child) = child else { return ExitCode::FAILURE };
    let mut word = String::new();
    let heard = child.stdout.take().map(|mut out| std::io::Read::read_to_string(&mut out, &mut word));
    if matches!(heard, Some(Ok(_))) && word == "ready" { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn work(root: &Path, resource: &str, pid_file: &Path) -> ExitCode {
    let Ok(lock) = File::create(root.join("locks").join(resource)) else { return ExitCode::FAILURE };
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let node = std::env::var("HOLDFAST_RUN_DIR").unwrap_or_default();
            if let Ok(mut found) = OpenOptions::new().create(true).append(true).open(root.join(VIOLATIONS)) {
                let _ = writeln!(found, "{resource} was to start below {node} while it ran elsewhere");
            }
            return ExitCode::FAILURE;
        }
        Err(TryLockError::Error(_)) => return ExitCode::FAILURE,
    }
    if std::fs::write(pid_file, std::process::id().to_string()).is_err() {
        return ExitCode::FAILURE;
    }
    let mut out = std::io::stdout();
    if out.write_all(b"ready").and_then(|()| out.flush()).is_err() || close_stdout().is_err() {
        return ExitCode::FAILURE;
    }
    loop {
        std::thread::park();
    }
}

/// Lets the starter's read end: the agent must not wait for a daemon.
fn close_stdout() -> nix::Result<()> {
    let null = File::open("/dev/null").map_err(|_| nix::errno::Errno::ENOENT)?;
    nix::unistd::dup2_stdout(null)
}
