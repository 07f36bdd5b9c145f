//! Deaths, leaves, formations and rejoins as the clients of the others see them.

use std::fmt;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::ValueEnum;
use harness::{Cib, Cluster};
use holdfast_sys::clock::boottime_nanos;
use nix::sys::signal::Signal;

use crate::daemon::{Daemon, GUARDIAN, Ring, UNIT, UNIT_PIDFILE};
use crate::probe::{self, Notice};

/// What happens to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Fault {
    /// Every process of the node is killed at once, as when the power fails: nobody is left to say a word.
    Node,
    /// The daemon alone is killed; a guardian may speak for it.
    Daemon,
    /// Its packets vanish in the switch, both ways.
    Cut,
    /// The daemon stands still (SIGSTOP).
    Stop,
    /// The daemon is told to end (SIGTERM).
    Leave,
    /// A unit of failfast without a delay is killed.
    Unit,
    /// The guardian is killed, and the daemon right behind it: nobody is left to speak for it.
    Unguarded,
    /// What it sends vanishes in the switch; it hears the others.
    OneWay,
}

impl Fault {
    /// All of them, the loudest first.
    pub(crate) const ALL: [Self; 8] = [
        Self::Leave,
        Self::Unit,
        Self::Daemon,
        Self::Unguarded,
        Self::Node,
        Self::Stop,
        Self::Cut,
        Self::OneWay,
    ];

    /// Whether it can happen to this daemon.
    pub(crate) fn strikes(self, daemon: Daemon) -> bool {
        daemon == Daemon::Cmmd || !matches!(self, Self::Unit | Self::Unguarded)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Node => "whole node dies",
            Self::Daemon => "kill -9 of the daemon",
            Self::Cut => "link cut",
            Self::Stop => "daemon stopped",
            Self::Leave => "orderly leave",
            Self::Unit => "kill -9 of a unit",
            Self::Unguarded => "kill -9 of guardian and daemon",
            Self::OneWay => "link cut one way",
        })
    }
}

/// Milliseconds until all survivors had the configuration without the node, and from its new start (or from the repair)
/// until all nodes had all members again.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    pub(crate) first: Vec<f64>,
    pub(crate) last: Vec<f64>,
    pub(crate) back: Vec<f64>,
}

/// Strikes one node after another, round robin.
pub(crate) fn strike(daemon: Daemon, fault: Fault, times: u32, ring: Ring) -> Result<Figures> {
    strike_in(&start(daemon, ring)?, daemon, fault, times, ring)
}

/// The same in a ring that is there.
pub(crate) fn strike_in(
    cluster: &Cluster,
    daemon: Daemon,
    fault: Fault,
    times: u32,
    ring: Ring,
) -> Result<Figures> {
    let mut figures = Figures::default();
    for round in 0..times {
        let node = round % ring.nodes + 1;
        let survivors: Vec<u32> = cluster.all().into_iter().filter(|n| *n != node).collect();
        // Not in step with the ring's own timers.
        std::thread::sleep(Duration::from_millis(u64::from(round * 37 % 500) + 300));
        if fault == Fault::Unit {
            start_unit(cluster, node)?;
        }
        let before: Vec<usize> = survivors.iter().map(|n| notices(cluster, *n).len()).collect();
        let blow = boottime_nanos();
        match fault {
            Fault::Node => cluster.power_off(node)?,
            Fault::Daemon => cluster.signal(node, daemon.process(), Signal::SIGKILL),
            Fault::Cut => cluster.isolate(node),
            Fault::Stop => cluster.signal(node, daemon.process(), Signal::SIGSTOP),
            Fault::Leave => cluster.signal(node, daemon.process(), Signal::SIGTERM),
            Fault::Unit => cluster.signal(node, UNIT, Signal::SIGKILL),
            Fault::Unguarded => {
                cluster.signal(node, GUARDIAN, Signal::SIGKILL);
                cluster.signal(node, daemon.process(), Signal::SIGKILL);
            }
            Fault::OneWay => survivors.iter().for_each(|to| cluster.cut_one_way(node, *to)),
        }
        let seen = cluster.wait_for("the survivors' new configuration", || {
            let of = |(node, skip): (&u32, &usize)| {
                let after = notices(cluster, *node).into_iter().skip(*skip);
                after.into_iter().find(|n| n.members == survivors).map(|n| n.at)
            };
            survivors.iter().zip(&before).map(of).collect::<Option<Vec<u64>>>()
        });
        let ms = |at: u64| at.saturating_sub(blow) as f64 / 1e6;
        figures.first.extend(seen.iter().min().map(|at| ms(*at)));
        figures.last.extend(seen.iter().max().map(|at| ms(*at)));
        eprintln!(
            "{daemon}, {fault} {}: {:.1} ms",
            round + 1,
            figures.last.last().copied().unwrap_or_default()
        );
        let again = match fault {
            Fault::Cut | Fault::OneWay => {
                let again = boottime_nanos();
                cluster.heal();
                again
            }
            // A guardian may have taken the rest of the stopped node down by now.
            _ => {
                let _ = cluster.power_off(node);
                cluster.power_on(node)?;
                probe(cluster, node)?;
                let again = boottime_nanos();
                daemon.start(cluster, node, ring)?;
                again
            }
        };
        let complete = wait_all(cluster)?;
        figures.back.push(complete.saturating_sub(again) as f64 / 1e6);
    }
    Ok(figures)
}

/// Starts what the configuration names as a unit, and waits until it is armed.
fn start_unit(cluster: &Cluster, node: u32) -> Result<()> {
    // Its log is that of all its lives.
    let armed = || cluster.log(node, "cmmd").matches("unit \"sleep\" armed").count();
    let before = armed();
    let script = format!("setsid {UNIT} 100000 >/dev/null 2>&1 </dev/null & echo $! >{UNIT_PIDFILE}");
    let out = cluster.exec(node, "sh", &["-c", &script])?;
    anyhow::ensure!(out.status.success(), "{out:?}");
    cluster.wait_for("the unit is armed", || (armed() > before).then_some(()));
    Ok(())
}

/// Cold starts of all daemons at once.
pub(crate) fn formations(daemon: Daemon, times: u32, ring: Ring) -> Result<Vec<f64>> {
    let mut samples = Vec::new();
    for _ in 0..times {
        let cluster = ring.cluster(&Cib::new())?;
        for node in cluster.all() {
            cluster.power_on(node)?;
            probe(&cluster, node)?;
        }
        let began = boottime_nanos();
        for node in cluster.all() {
            daemon.start(&cluster, node, ring)?;
        }
        let complete = wait_all(&cluster)?;
        samples.push(complete.saturating_sub(began) as f64 / 1e6);
    }
    Ok(samples)
}

/// A complete ring with a probe on each node.
pub(crate) fn start(daemon: Daemon, ring: Ring) -> Result<Cluster> {
    let cluster = ring.cluster(&Cib::new())?;
    for node in cluster.all() {
        cluster.power_on(node)?;
        daemon.start(&cluster, node, ring)?;
        probe(&cluster, node)?;
    }
    wait_all(&cluster)?;
    Ok(cluster)
}

/// What the probe of a node has seen so far.
pub(crate) fn notices(cluster: &Cluster, node: u32) -> Vec<Notice> {
    probe::read(&cluster.log(node, "probe"))
}

pub(crate) fn probe(cluster: &Cluster, node: u32) -> Result<()> {
    let me = std::env::current_exe()?;
    cluster.start_as(node, "probe", me.to_str().context("path of this program")?, &["probe"])
}

/// Waits until the last notice of each node says all members and quorate; when the last of them said so.
pub(crate) fn wait_all(cluster: &Cluster) -> Result<u64> {
    let all = cluster.all();
    let complete = |n: &u32| {
        let last = notices(cluster, *n).pop()?;
        (last.quorate && last.members == all).then_some(last.at)
    };
    let times = cluster
        .wait_for("one configuration of all", || all.iter().map(complete).collect::<Option<Vec<u64>>>());
    times.into_iter().max().context("no nodes")
}
