//! A group of three resources, and the time it is gone when its node dies.

use std::fmt;

use anyhow::{Context, Result};
use harness::{Cib, Cluster, Options};
use nix::sys::signal::Signal;

const GROUP: [&str; 3] = ["a", "b", "c"];

/// What is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Victim {
    /// Everything at once: detection by silence, then a fence agent confirms the death.
    Node,
    /// `cmmd` alone: the guardian's gasp and last word.
    Cmmd,
}

impl Victim {
    pub(crate) const ALL: [Self; 2] = [Self::Node, Self::Cmmd];
}

impl fmt::Display for Victim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Node => "whole node, death confirmed by fencing",
            Self::Cmmd => "cmmd alone, death confirmed by the guardian",
        })
    }
}

/// Milliseconds from each death to the start of the group's last resource elsewhere.
pub(crate) fn moves(victim: Victim, kills: u32, token: u32) -> Result<Vec<f64>> {
    let cluster = cluster(token)?;
    let mut samples = Vec::new();
    for round in 0..kills {
        let home = cluster.wait_for_started(1 + round % 3, &GROUP);
        let blow = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs_f64();
        match victim {
            Victim::Node => cluster.power_off(home)?,
            Victim::Cmmd => cluster.signal(home, "cmmd", Signal::SIGKILL),
        }
        let started = cluster.wait_for("the group to start elsewhere", || last_start(&cluster, blow, home));
        samples.push((started - blow) * 1e3);
        eprintln!("{victim} {}: {:.1} ms", round + 1, (started - blow) * 1e3);
        let _ = cluster.power_off(home);
        cluster.boot(home)?;
        cluster.wait_for_members(&cluster.all(), &cluster.all());
    }
    cluster.assert_nothing_ran_twice();
    Ok(samples)
}

/// When the last resource of the group was started on another node than `home`, if that was after `blow`. The services
/// themselves write it down.
fn last_start(cluster: &Cluster, blow: f64, home: u32) -> Option<f64> {
    let home = harness::node_name(home);
    let starts = cluster.service_starts();
    let last = starts.iter().rev().find(|l| l.split(' ').nth(1) == GROUP.last().copied())?;
    let mut words = last.split(' ');
    let at: f64 = words.next()?.parse().ok()?;
    (at > blow && words.nth(1)? != home).then_some(at)
}

fn cluster(token: u32) -> Result<Cluster> {
    let options = Options {
        nodes: 3,
        token_ms: token,
        more: "totem {\n    token_coefficient: 0\n}\n",
        ..Options::default()
    };
    let lines: Vec<String> = GROUP.iter().map(|g| format!("{} {g}", harness::SERVICE)).collect();
    let pids: Vec<String> = GROUP.iter().map(|g| format!("/run/{g}.pid")).collect();
    let params: Vec<[(&str, &str); 2]> =
        lines.iter().zip(&pids).map(|(l, p)| [("binfile", l.as_str()), ("pidfile", p.as_str())]).collect();
    let members: Vec<harness::Member<'_>> =
        GROUP.iter().zip(&params).map(|(g, p)| (*g, "ocf:heartbeat:anything", p.as_slice())).collect();
    let cib = Cib::new().fencing(harness::FENCE_AGENT).group("g", &members);
    let cluster = Cluster::new("bench", options, &cib)?;
    cluster.boot_all().context("booting")?;
    Ok(cluster)
}
