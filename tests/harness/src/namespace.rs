//! Namespaces that live exactly as long as somebody wants them.
//!
//! Each is held by a small init: a shell that sets the namespace up, says `ready`, and becomes a program that waits
//! for the end of its standard input. That is a pipe from this process, so whatever ends this process, even SIGKILL, ends the init, and
//! the kernel then ends everything in its PID namespace. No named network namespaces, nothing to clean by hand.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::processes::{Process, child_of, in_namespace, pid_namespace};

/// A set of namespaces with their init.
pub(crate) struct Namespace {
    unshare: Child,
    init: u32,
    pid_namespace: String,
    // Never written: its end is the signal.
    _stdin: ChildStdin,
}

impl Namespace {
    /// Makes new network, mount, UTS, IPC and PID namespaces and runs `setup` (shell, with `set -eu`) in them as
    /// process 1, with `args` as `$1`…
    ///
    /// The processes cannot load modules, reboot or set the clock.
    pub(crate) fn new(setup: &str, args: &[&OsStr], log: &Path) -> Result<Self> {
        let stderr = std::fs::File::create(log).with_context(|| format!("creating {}", log.display()))?;
        let script = format!("set -eu\n{setup}\n{WAIT_FOR_THE_END}");
        let mut command = Command::new("setpriv");
        command.args(BOUNDING).args(["unshare", "--net", "--mount", "--uts", "--ipc", "--pid", "--fork"]);
        command.args(["--kill-child", "--mount-proc", "sh", "-c", &script, "init"]).args(args);
        command.current_dir("/").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(stderr);
        let mut unshare = command.spawn().context("running unshare")?;
        let stdin = unshare.stdin.take().context("no pipe to the init")?;
        let stdout = unshare.stdout.take().context("no pipe from the init")?;
        let mut line = String::new();
        let _ = BufReader::new(stdout).read_line(&mut line);
        if line.trim_end() != "ready" {
            drop(stdin);
            let _ = unshare.kill();
            let _ = unshare.wait();
            bail!(
                "setting up a namespace failed: {}",
                std::fs::read_to_string(log).unwrap_or_default().trim()
            );
        }
        let init = child_of(unshare.id()).context("the init of a namespace is gone")?;
        let pid_namespace = pid_namespace(init).context("the init of a namespace is gone")?;
        Ok(Self { unshare, init, pid_namespace, _stdin: stdin })
    }

    /// The init's pid, as seen from here.
    pub(crate) fn init(&self) -> u32 {
        self.init
    }

    /// Whether the init is alive.
    pub(crate) fn is_alive(&mut self) -> bool {
        matches!(self.unshare.try_wait(), Ok(None))
    }

    /// Everything in it but its init.
    pub(crate) fn processes(&self) -> Vec<Process> {
        let mut all = in_namespace(&self.pid_namespace);
        all.retain(|p| p.inner_pid != 1);
        all
    }

    /// A command that will run in the network namespace only: it sees this machine's pids and files.
    pub(crate) fn network_command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--target={}", self.init)).args(["--net", "--", program]);
        command
    }

    /// A command that will run inside.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--target={}", self.init)).args(["--net", "--mount", "--uts", "--ipc", "--pid"]);
        command.args(["--", "setpriv"]).args(BOUNDING).arg("--").arg(program).current_dir("/");
        command
    }

    /// Kills the init: the kernel kills the rest. Returns when all of it is gone.
    pub(crate) fn kill(&mut self) -> Result<()> {
        if self.is_alive() {
            // Its parent has not been waited for, so the pid is still the init's.
            let _ = kill(Pid::from_raw(i32::try_from(self.init)?), Signal::SIGKILL);
            self.unshare.wait().context("waiting for the end of a namespace")?;
        }
        let deadline = Instant::now() + Duration::from_secs(30);
        while !in_namespace(&self.pid_namespace).is_empty() {
            anyhow::ensure!(
                Instant::now() < deadline,
                "processes outlive their namespace: {:?}",
                self.processes()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if let Err(e) = self.kill() {
            eprintln!("harness: {e:#}");
        }
    }
}

/// What a node of a test must never do to the machine below it.
const BOUNDING: [&str; 2] = [
    "--bounding-set=-sys_boot,-sys_module,-sys_time,-sys_rawio",
    "--inh-caps=-sys_boot,-sys_module,-sys_time,-sys_rawio",
];

/// Orphans become children of process 1; with SIGCHLD ignored the kernel reaps them. (A shell's own `read` ends when
/// such a child does, so that the waiting is left to cat.)
const WAIT_FOR_THE_END: &str = "echo ready\nexec env --ignore-signal=CHLD cat >/dev/null";

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(what: &str, mut done: impl FnMut() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while !done() {
            assert!(Instant::now() < deadline, "{what}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn log(name: &str) -> std::path::PathBuf {
        std::env::temp_dir().join(format!("holdfast-namespace-{}-{name}.log", std::process::id()))
    }

    #[test]
    fn everything_in_a_namespace_dies_with_it_and_orphans_are_reaped() {
        if crate::skip() {
            return;
        }
        let log = log("dies");
        let mut space = Namespace::new("", &[], &log).unwrap();
        let script = "exec 3>&1 >/dev/null 2>&1; setsid sleep 1001 3>&- & setsid sleep 1002 3>&- & \
                      (sleep 0.1 3>&- &) ; echo started >&3";
        let out = space.command("sh").args(["-c", script]).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&out.stdout), "started\n", "{out:?}");
        let sleeping = |space: &Namespace| space.processes().iter().filter(|p| p.name == "sleep").count();
        wait("the short sleep ends", || sleeping(&space) == 2);
        let zombies = || {
            let out =
                space.command("sh").args(["-c", "grep -c '^State:.Z' /proc/[0-9]*/status"]).output().unwrap();
            String::from_utf8_lossy(&out.stdout).lines().filter(|l| l.ends_with(":1")).count()
        };
        wait("orphans are reaped", || zombies() == 0);
        let all = space.processes();
        space.kill().unwrap();
        assert!(all.iter().all(|p| !p.is_alive()) && !space.is_alive());
        std::fs::remove_file(log).unwrap();
    }

    #[test]
    fn a_node_cannot_reboot_and_a_failing_setup_says_why() {
        if crate::skip() {
            return;
        }
        let log = log("caps");
        let space = Namespace::new("", &[], &log).unwrap();
        let out = space.command("grep").args(["CapBnd", "/proc/self/status"]).output().unwrap();
        let bounding =
            String::from_utf8_lossy(&out.stdout).split_whitespace().next_back().unwrap().to_owned();
        let bounding = u64::from_str_radix(&bounding, 16).unwrap();
        assert_eq!(bounding & (1 << 22), 0, "CAP_SYS_BOOT");
        assert_ne!(bounding & (1 << 12), 0, "CAP_NET_ADMIN");
        let error = Namespace::new("echo no such luck >&2; false", &[], &log).err().unwrap();
        assert!(error.to_string().contains("no such luck"), "{error:#}");
        std::fs::remove_file(log).unwrap();
    }
}
