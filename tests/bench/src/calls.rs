//! Calls of the predecessor's own libraries: how long one takes, while nothing else happens; and what two processes take to wake
//! each other up in the same way with nothing to do, below which no daemon can be.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};
use harness::Cluster;

/// What is called.
pub(crate) const CALLS: [&str; 5] =
    ["wake-ups", "wake-ups-apart", "cmap_get", "quorum_getquorate", "votequorum_getinfo"];

/// Microseconds of each call on node 2 (or the only one), with a pause behind each.
pub(crate) fn measure(
    cluster: &Cluster,
    run: &str,
    call: &str,
    pause_us: u32,
    seconds: u32,
) -> Result<Vec<f64>> {
    let program = compile(cluster)?;
    let log = format!("calls-{run}");
    let args = ["calls", call, &pause_us.to_string(), &seconds.to_string()];
    let node = cluster.all().len().min(NODE) as u32;
    cluster.start_as(node, &log, &program.to_string_lossy(), &args)?;
    let found = cluster.wait_for("the calls' times", || result(&cluster.log(node, &log)));
    ensure!(!found.is_empty(), "no call was made");
    Ok(found)
}

/// Compiles the client on libcpg, libcmap, libquorum and libvotequorum.
pub(crate) fn compile(cluster: &Cluster) -> Result<PathBuf> {
    let program = cluster.node_dir(1).join("libraries");
    if program.exists() {
        return Ok(program);
    }
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/libraries.c");
    let out = Command::new("cc").args(["-O2", "-o"]).arg(&program).arg(source).args(LIBRARIES).output()?;
    ensure!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    Ok(program)
}

/// The numbers that a client has printed at its end.
pub(crate) fn result(log: &str) -> Option<Vec<f64>> {
    let line = log.lines().find_map(|l| l.strip_prefix("result "))?;
    log.ends_with('\n').then(|| line.split(' ').filter_map(|n| n.parse().ok()).collect())
}

const NODE: usize = 2;
const LIBRARIES: [&str; 4] = ["-lcpg", "-lcmap", "-lquorum", "-lvotequorum"];
