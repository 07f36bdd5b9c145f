//! What a daemon costs when nothing happens.

use std::time::Duration;

use anyhow::{Context, Result};

use crate::daemon::{Daemon, Ring};
use crate::membership;

/// CPU share, memory, threads and switches of the daemon of node 2.
pub(crate) fn measure(daemon: Daemon, seconds: u32, ring: Ring) -> Result<Vec<(String, String)>> {
    let cluster = membership::start(daemon, ring)?;
    let process = cluster.find(2, daemon.process()).into_iter().next().context("the daemon runs")?;
    // Not the first seconds: rings form and settle.
    std::thread::sleep(Duration::from_secs(5));
    let before = cpu_nanos(process.pid)?;
    std::thread::sleep(Duration::from_secs(seconds.into()));
    let used = cpu_nanos(process.pid)? - before;
    let share = used as f64 / 1e7 / f64::from(seconds);
    let mut rows = vec![("CPU".to_owned(), format!("{share:.2} % of a core"))];
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.pid))?;
    for (field, name) in [("VmRSS", "resident"), ("VmLck", "locked"), ("Threads", "threads")] {
        let value =
            status.lines().find_map(|l| l.strip_prefix(field)?.strip_prefix(':')).unwrap_or("?").trim();
        rows.push((name.to_owned(), value.to_owned()));
    }
    Ok(rows)
}

/// Time on a CPU of all threads, by the scheduler's own account.
pub(crate) fn cpu_nanos(pid: u32) -> Result<u64> {
    let mut sum = 0;
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let schedstat = std::fs::read_to_string(task?.path().join("schedstat"))?;
        sum += schedstat.split(' ').next().unwrap_or("0").parse::<u64>()?;
    }
    Ok(sum)
}
