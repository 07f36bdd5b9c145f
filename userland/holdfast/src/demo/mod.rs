//! `holdfast demo`: three real nodes on one machine, a group of resources, and two deaths to watch.
//!
//! Where it may make namespaces (as root, or in a user namespace) each node has a network and PID namespace of its own on a
//! bridge; elsewhere the nodes share the machine on 127.0.0.1, 127.0.0.2, … Either way every node is a real `cmmd`, guardian
//! and `rgmd`, and nothing is left behind.

mod files;
mod init;
mod power;
mod screen;
mod status;
mod story;
mod worker;
mod world;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{SigSet, Signal};

pub(crate) use init::init;
pub(crate) use power::fence;
pub(crate) use worker::worker;

/// Options of the demo.
#[derive(clap::Args, Debug, Clone)]
pub(crate) struct Args {
    /// How many nodes (3 to 7)
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(3..=7))]
    pub(crate) nodes: u32,
    /// Leave the cluster running at the end, for exploring, until Ctrl-C
    #[arg(long)]
    pub(crate) keep: bool,
    /// Use loopback addresses even where namespaces are possible
    #[arg(long)]
    pub(crate) loopback: bool,
    /// Set by the demo itself when it runs itself again inside of its namespaces
    #[arg(long, hide = true, value_name = "DIR")]
    pub(crate) inside: Option<PathBuf>,
}

/// Runs the demo. 0: all went well; 1: it did not; 130: interrupted.
pub(crate) fn run(args: &Args) -> ExitCode {
    let stop = match watch_signals() {
        Ok(stop) => stop,
        Err(e) => return failed(&e),
    };
    let result = match &args.inside {
        Some(dir) => story::tell(args, dir, world::Kind::Namespaces, &stop),
        None => outside(args, &stop),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) if stop.load(Ordering::Relaxed) => {
            eprintln!("holdfast demo: interrupted; everything is cleaned up");
            ExitCode::from(130)
        }
        Err(e) => failed(&e),
    }
}

fn failed(e: &anyhow::Error) -> ExitCode {
    eprintln!("holdfast demo: {e:#}");
    ExitCode::FAILURE
}

/// The part that owns the temporary folder: chooses how nodes are kept apart, and cleans up whatever happens.
fn outside(args: &Args, stop: &Arc<AtomicBool>) -> Result<()> {
    let binaries = files::Binaries::find()?;
    let dir = TempDir::new()?;
    let prefix = if args.loopback { None } else { namespace_command() };
    let Some(prefix) = prefix else {
        return story::tell(args, &dir.0, world::Kind::Loopback, stop);
    };
    let mut command = Command::new(&prefix[0]);
    command.args(&prefix[1..]).arg(&binaries.holdfast).arg("demo").arg("--inside").arg(&dir.0);
    command.args(["--nodes", &args.nodes.to_string()]);
    if args.keep {
        command.arg("--keep");
    }
    let mut child = command.stdin(Stdio::null()).spawn().context("cannot start the namespaces")?;
    // The first process inside is its namespace's init: when it dies, by whatever cause, every process in there dies.
    loop {
        if let Some(status) = child.try_wait()? {
            if status.success() {
                return Ok(());
            }
            bail!("the demo did not reach its end (see above)");
        }
        if stop.load(Ordering::Relaxed) {
            let _ = child.kill();
            let _ = child.wait();
            bail!("interrupted");
        }
        std::thread::sleep(world::POLL);
    }
}

/// The command line that makes the demo's own namespaces, if this machine lets us.
fn namespace_command() -> Option<Vec<String>> {
    let works = |program: &str, args: &[&str]| {
        let mut command = Command::new(program);
        command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|s| s.success())
    };
    let base = ["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"];
    // Proves what the demo needs: a bridge, and a second PID namespace with a /proc of its own inside of the first one.
    let probe = "ip link add br0 type bridge && ip link add va type veth peer name vb && \
                 unshare --net --pid --fork --kill-child --mount-proc true";
    for user in [&[][..], &["--user", "--map-root-user"][..]] {
        let flags: Vec<&str> = user.iter().chain(base.iter()).copied().collect();
        let test: Vec<&str> = flags.iter().copied().chain(["sh", "-c", probe]).collect();
        if works("unshare", &test) {
            return Some(std::iter::once("unshare").chain(flags).map(str::to_owned).collect());
        }
    }
    None
}

/// SIGINT and SIGTERM set a flag; the demo's waits look at it, and its destructors do the rest.
fn watch_signals() -> Result<Arc<AtomicBool>> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGINT);
    signals.add(Signal::SIGTERM);
    signals.thread_block().context("cannot block signals")?;
    let stop = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stop);
    std::thread::spawn(move || {
        while signals.wait().is_ok() {
            flag.store(true, Ordering::Relaxed);
        }
    });
    Ok(stop)
}

/// A private folder, gone when this is dropped.
struct TempDir(PathBuf);

impl TempDir {
    fn new() -> Result<Self> {
        let base = std::env::temp_dir();
        for attempt in 0..100 {
            // Short: the path of a Unix socket has 107 bytes.
            let dir = base.join(format!("holdfast-demo.{}.{attempt}", std::process::id()));
            match make_private(&dir) {
                Ok(()) => return Ok(Self(dir)),
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(e).with_context(|| format!("cannot make {}", dir.display())),
            }
        }
        bail!("cannot find a free name in {}", base.display())
    }
}

fn make_private(dir: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().mode(0o700).create(dir)
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
