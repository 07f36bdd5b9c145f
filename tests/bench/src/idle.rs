//! What a daemon, and the guardian beside it, cost when nothing happens.

use std::time::Duration;

use anyhow::{Context, Result};

use crate::daemon::{Daemon, GUARDIAN, Ring};
use crate::membership;

/// CPU share, memory and threads of the daemon of node 2, and of its guardian where it has one.
pub(crate) fn measure(daemon: Daemon, seconds: u32, ring: Ring) -> Result<Vec<(String, String)>> {
    let cluster = membership::start(daemon, ring)?;
    let find = |name: &str| cluster.find(2, name).into_iter().next().map(|p| p.pid);
    let daemon = find(daemon.process()).context("the daemon runs")?;
    let guardian = find(GUARDIAN);
    // Not the first seconds: rings form and settle.
    std::thread::sleep(Duration::from_secs(5));
    let seconds_f = f64::from(seconds);
    let guardian_before = guardian.map(wake_ups).transpose()?;
    let (before, guardian_cpu) = (cpu_nanos(daemon)?, guardian.map(cpu_nanos).transpose()?);
    std::thread::sleep(Duration::from_secs(seconds.into()));
    let share = |used: u64| format!("{:.2} % of a core", used as f64 / 1e7 / seconds_f);
    let mut rows = vec![("CPU".to_owned(), share(cpu_nanos(daemon)? - before))];
    for (field, name) in [("VmRSS", "resident"), ("VmLck", "locked"), ("Threads", "threads")] {
        rows.push((name.to_owned(), field_of(&format!("/proc/{daemon}/status"), field)?));
    }
    if let (Some(pid), Some(wakes), Some(cpu)) = (guardian, guardian_before, guardian_cpu) {
        let mut row = |name: &str, value: String| rows.push((format!("guardian, {name}"), value));
        row("CPU", share(cpu_nanos(pid)? - cpu));
        row("wake-ups", format!("{:.1} a second", (wake_ups(pid)? - wakes) as f64 / seconds_f));
        // What the machine would have without it: its own pages, and its share of those it has with others.
        let rollup = format!("/proc/{pid}/smaps_rollup");
        for (field, name) in [("Rss", "resident"), ("Pss", "its share"), ("Private_Dirty", "its own")] {
            row(name, field_of(&rollup, field)?);
        }
    }
    Ok(rows)
}

fn field_of(file: &str, field: &str) -> Result<String> {
    let text = std::fs::read_to_string(file)?;
    Ok(text.lines().find_map(|l| l.strip_prefix(field)?.strip_prefix(':')).unwrap_or("?").trim().to_owned())
}

/// How often the threads of a process went to sleep, or had to wait, so far.
fn wake_ups(pid: u32) -> Result<u64> {
    let mut sum = 0;
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let status = task?.path().join("status");
        let status = status.to_str().context("a path in /proc")?;
        for field in ["voluntary_ctxt_switches", "nonvoluntary_ctxt_switches"] {
            sum += field_of(status, field)?.parse::<u64>()?;
        }
    }
    Ok(sum)
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
