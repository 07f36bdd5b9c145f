//! Deaths and formations as the survivors' clients see them.

use std::fmt;

use anyhow::{Context, Result};
use harness::{Cluster, Options};
use holdfast_sys::clock::boottime_nanos;
use nix::sys::signal::Signal;

use crate::daemon::Daemon;
use crate::probe::{self, Notice};

/// What is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Victim {
    /// Every process of the node at once, as when the power fails: nobody is left to say a word.
    Node,
    /// The daemon alone; a guardian may speak for it.
    Daemon,
}

impl Victim {
    pub(crate) fn of(_: Daemon) -> [Self; 2] {
        [Self::Node, Self::Daemon]
    }
}

impl fmt::Display for Victim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Node => "whole node",
            Self::Daemon => "daemon alone",
        })
    }
}

/// Kills one node after another, round robin. Milliseconds until the first and the last survivor's notice.
pub(crate) fn deaths(daemon: Daemon, victim: Victim, kills: u32, token: u32) -> Result<(Vec<f64>, Vec<f64>)> {
    let cluster = start(daemon, token)?;
    let (mut first, mut last) = (Vec::new(), Vec::new());
    for round in 0..kills {
        let node = round % 3 + 1;
        let survivors: Vec<u32> = cluster.all().into_iter().filter(|n| *n != node).collect();
        // Not in step with the ring's own timers.
        std::thread::sleep(std::time::Duration::from_millis(u64::from(round * 37 % 500) + 300));
        let before: Vec<usize> = survivors.iter().map(|n| notices(&cluster, *n).len()).collect();
        let blow = boottime_nanos();
        match victim {
            Victim::Node => cluster.power_off(node)?,
            Victim::Daemon => cluster.signal(node, daemon.process(), Signal::SIGKILL),
        }
        let seen = cluster.wait_for("the survivors' new configuration", || {
            let of = |(node, skip): (&u32, &usize)| {
                notices(&cluster, *node)
                    .into_iter()
                    .skip(*skip)
                    .find(|n| n.members == survivors)
                    .map(|n| n.at)
            };
            survivors.iter().zip(&before).map(of).collect::<Option<Vec<u64>>>()
        });
        let ms = |at: &u64| (at.saturating_sub(blow)) as f64 / 1e6;
        first.extend(seen.iter().min().map(ms));
        last.extend(seen.iter().max().map(ms));
        eprintln!("{daemon}, {victim} {}: {:.1} ms", round + 1, last.last().copied().unwrap_or_default());
        let _ = cluster.power_off(node);
        launch(&cluster, daemon, node, token)?;
        wait_all(&cluster, &cluster.all())?;
    }
    Ok((first, last))
}

/// Cold starts of all daemons at once.
pub(crate) fn formations(daemon: Daemon, times: u32, token: u32) -> Result<Vec<f64>> {
    let mut samples = Vec::new();
    for _ in 0..times {
        let cluster = Cluster::new("bench", options(token), &harness::Cib::new())?;
        for node in cluster.all() {
            cluster.power_on(node)?;
            probe(&cluster, node)?;
        }
        let began = boottime_nanos();
        for node in cluster.all() {
            daemon.start(&cluster, node, token)?;
        }
        let complete = wait_all(&cluster, &cluster.all())?;
        samples.push((complete.saturating_sub(began)) as f64 / 1e6);
    }
    Ok(samples)
}

/// A ring of three with a probe on each node.
pub(crate) fn start(daemon: Daemon, token: u32) -> Result<Cluster> {
    let cluster = Cluster::new("bench", options(token), &harness::Cib::new())?;
    for node in cluster.all() {
        launch(&cluster, daemon, node, token)?;
    }
    wait_all(&cluster, &cluster.all())?;
    Ok(cluster)
}

fn launch(cluster: &Cluster, daemon: Daemon, node: u32, token: u32) -> Result<()> {
    cluster.power_on(node)?;
    daemon.start(cluster, node, token)?;
    probe(cluster, node)
}

fn probe(cluster: &Cluster, node: u32) -> Result<()> {
    let me = std::env::current_exe()?;
    cluster.start_as(node, "probe", me.to_str().context("path of this program")?, &["probe"])
}

/// Waits until the last notice of each node says all members and quorate; when the last of them said so.
fn wait_all(cluster: &Cluster, nodes: &[u32]) -> Result<u64> {
    let complete = |n: &u32| {
        notices(cluster, *n)
            .pop()
            .filter(|last| last.quorate && last.members == cluster.all())
            .map(|last| last.at)
    };
    let times = cluster
        .wait_for("one configuration of all", || nodes.iter().map(complete).collect::<Option<Vec<u64>>>());
    times.into_iter().max().context("no nodes")
}

fn notices(cluster: &Cluster, node: u32) -> Vec<Notice> {
    probe::read(&cluster.log(node, "probe"))
}

fn options(token: u32) -> Options {
    // The same effective token for both: corosync is run without the coefficient, too.
    Options {
        nodes: 3,
        token_ms: token,
        more: "totem {\n    token_coefficient: 0\n}\n",
        ..Options::default()
    }
}
