//! What one more node costs: packets and CPU time of each daemon, and how long changes of the ring take, by number of
//! nodes.

use std::time::Duration;

use anyhow::{Context, Result};
use harness::Cluster;

use crate::daemon::{Daemon, Ring};
use crate::idle::cpu_nanos;
use crate::membership::{self, Fault};

/// One row: the mean of all nodes of a quiet ring, and medians of changes.
pub(crate) struct Row {
    /// Percent of a core a daemon.
    pub(crate) cpu: f64,
    /// Packets a second that enter and leave a node.
    pub(crate) packets: f64,
    /// Resident megabytes a daemon.
    pub(crate) resident: f64,
    /// Milliseconds from the start of all daemons to one quorate ring of all.
    pub(crate) form: f64,
    /// Milliseconds from the kill -9 of a daemon to the last survivor's configuration.
    pub(crate) kill: f64,
    /// Milliseconds from the death of a whole node to the last survivor's configuration.
    pub(crate) death: f64,
}

/// Measures a ring: for `seconds` when it is quiet, then so many deaths of each kind.
pub(crate) fn measure(daemon: Daemon, seconds: u32, times: u32, ring: Ring) -> Result<Row> {
    let form = median(membership::formations(daemon, times, ring)?);
    let cluster = membership::start(daemon, ring)?;
    // Rings form and settle before they are measured.
    std::thread::sleep(Duration::from_secs(3));
    let before = Sum::of(&cluster, daemon)?;
    std::thread::sleep(Duration::from_secs(seconds.into()));
    let after = Sum::of(&cluster, daemon)?;
    let each = |total: u64| total as f64 / f64::from(ring.nodes) / f64::from(seconds);
    let kill = median(membership::strike_in(&cluster, daemon, Fault::Daemon, times, ring)?.last);
    let death = median(membership::strike_in(&cluster, daemon, Fault::Node, times, ring)?.last);
    Ok(Row {
        cpu: each(after.cpu_nanos - before.cpu_nanos) / 1e7,
        packets: each(after.packets - before.packets),
        resident: after.resident_kb as f64 / 1e3 / f64::from(ring.nodes),
        form,
        kill,
        death,
    })
}

/// Over all nodes.
#[derive(Default)]
struct Sum {
    cpu_nanos: u64,
    packets: u64,
    resident_kb: u64,
}

impl Sum {
    fn of(cluster: &Cluster, daemon: Daemon) -> Result<Self> {
        let mut sum = Self::default();
        for node in cluster.all() {
            let process =
                cluster.find(node, daemon.process()).into_iter().next().context("the daemon runs")?;
            sum.cpu_nanos += cpu_nanos(process.pid)?;
            let read = |file: &str| std::fs::read_to_string(format!("/proc/{}/{file}", process.pid));
            let dev = read("net/dev")?;
            let eth0 = dev.lines().find_map(|l| l.trim_start().strip_prefix("eth0:")).context("eth0")?;
            let fields: Vec<&str> = eth0.split_whitespace().collect();
            for field in [1, 9] {
                sum.packets +=
                    fields.get(field).and_then(|f| f.parse::<u64>().ok()).context("packets of eth0")?;
            }
            let status = read("status")?;
            let resident = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).context("VmRSS")?;
            sum.resident_kb += resident.trim().trim_end_matches(" kB").parse::<u64>().context("VmRSS")?;
        }
        Ok(sum)
    }
}

fn median(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples.get(samples.len().saturating_sub(1) / 2).copied().unwrap_or(f64::NAN)
}
