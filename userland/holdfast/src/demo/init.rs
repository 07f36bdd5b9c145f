//! Process 1 of a demo node in namespaces: sets up the node's network, starts its daemons, reaps orphans, and ends when
//! nothing else is left; the node's namespaces end with it.

use std::io::BufRead;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::sys::wait::{WaitStatus, waitpid};

use super::files::Binaries;

/// `demo-init ADDRESS/LEN CONF CIB`: waits for a line on standard input (the network interface `eth0` is there), then runs
/// the node.
pub(crate) fn init(args: &[String]) -> ExitCode {
    let [address, conf, cib] = args else { return ExitCode::from(64) };
    match run(address, Path::new(conf), Path::new(cib)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("demo-init: {e:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(address: &str, conf: &Path, cib: &Path) -> Result<()> {
    let binaries = Binaries::find()?;
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    if line.trim() != "go" {
        bail!("the demo has gone away");
    }
    for args in [
        &["link", "set", "lo", "up"][..],
        &["address", "add", address, "dev", "eth0"][..],
        &["link", "set", "eth0", "up"][..],
    ] {
        let status = Command::new("ip").args(args).status().context("ip")?;
        if !status.success() {
            bail!("ip {} failed", args.join(" "));
        }
    }
    let start = |program: &Path, args: &[&Path]| {
        let child = Command::new(program).arg("-f").args(args).stdin(Stdio::null()).spawn();
        child.map(drop).with_context(|| program.display().to_string())
    };
    start(&binaries.cmmd, &[Path::new("-c"), conf])?;
    start(&binaries.rgmd, &[Path::new("--cib"), cib])?;
    loop {
        match waitpid(None, None) {
            Ok(WaitStatus::Exited(..) | WaitStatus::Signaled(..)) | Err(Errno::EINTR) => {}
            Ok(_) => {}
            Err(Errno::ECHILD) => return Ok(()),
            Err(e) => return Err(e).context("waitpid"),
        }
    }
}
