//! A group of three resources, and the time it is gone: its node or its node's daemon dies, a process of it is killed, its
//! node is put in standby. Under `cmmd` and `rgmd`, and under the distribution's corosync and Pacemaker beside them.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use harness::{Cib, Cluster, Options, node_name};
use nix::sys::signal::Signal;

use crate::table::Table;

const GROUP: [&str; 3] = ["a", "b", "c"];

/// Who keeps the group alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Stack {
    /// `cmmd` and `rgmd`.
    Holdfast,
    /// corosync and Pacemaker.
    Pacemaker,
}

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Fault {
    /// Everything on the node is dead at once: detection by silence, then a fence agent confirms it.
    Node,
    /// The ring's daemon alone is killed.
    Daemon,
    /// The process of the last resource is killed.
    Service,
    /// An operator puts the node in standby.
    Standby,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Node => "whole node dead",
            Self::Daemon => "ring's daemon killed",
            Self::Service => "process of the last resource killed",
            Self::Standby => "orderly standby",
        })
    }
}

/// Rows for every fault under one stack. `token`: `totem.token` in milliseconds, 0: no timer is set; `monitor`: how often
/// resources are looked at.
pub(crate) fn run(
    stack: Stack,
    faults: &[Fault],
    times: u32,
    token: u32,
    monitor: &str,
    table: &mut Table,
) -> Result<()> {
    let bench = Bench { stack, cluster: cluster(stack, token, monitor)? };
    bench.begin()?;
    for fault in faults {
        let mut all: Vec<Vec<(String, f64)>> = Vec::new();
        for round in 0..times {
            let parts = bench.once(*fault)?;
            let total: f64 = parts.iter().map(|(_, ms)| ms).sum();
            eprintln!("{stack:?}: {fault} {}: {total:.0} ms {parts:?}", round + 1);
            all.push(parts);
        }
        let totals = all.iter().map(|parts| parts.iter().map(|(_, ms)| ms).sum()).collect();
        table.samples(&format!("{stack:?}: {fault}"), totals);
        // The parts of a fail-over are the same ones each time, or it is not shown in parts.
        let names: Vec<&String> = all.first().into_iter().flatten().map(|(name, _)| name).collect();
        let same = all.iter().all(|parts| parts.iter().map(|(name, _)| name).eq(names.iter().copied()));
        for (at, name) in names.iter().enumerate().filter(|_| same && names.len() > 1) {
            table.samples(&format!("    {name}"), all.iter().map(|parts| parts[at].1).collect());
        }
    }
    bench.cluster.assert_nothing_ran_twice();
    Ok(())
}

struct Bench {
    stack: Stack,
    cluster: Cluster,
}

impl Bench {
    fn begin(&self) -> Result<()> {
        match self.stack {
            Stack::Holdfast => self.cluster.boot_all().context("booting"),
            Stack::Pacemaker => {
                for node in self.cluster.all() {
                    self.boot(node)?;
                }
                self.online();
                // Pacemaker has made one of its own by now, and takes only a newer one.
                let ours = std::fs::read_to_string(self.cluster.node_dir(1).join("../cib.xml"))?;
                let newer = self.cluster.node_dir(1).join("newer.xml");
                std::fs::write(&newer, ours.replace("admin_epoch=\"0\"", "admin_epoch=\"1\""))?;
                self.type_in(1, &format!("cibadmin --replace --xml-file {}", newer.display()))
            }
        }
    }

    fn boot(&self, node: u32) -> Result<()> {
        if self.stack == Stack::Holdfast {
            return self.cluster.boot(node);
        }
        if !self.cluster.is_on(node) {
            self.cluster.power_on(node)?;
        }
        self.cluster.start_ring(node)?;
        let log = format!("PCMK_logfile={}", self.cluster.node_dir(node).join("log/pacemaker.log").display());
        self.cluster.start_as(node, "pacemakerd", "env", &[&log, "pacemakerd"])
    }

    fn type_in(&self, node: u32, command: &str) -> Result<()> {
        let prefix = if self.stack == Stack::Holdfast { "exec holdfast" } else { "exec" };
        let out = self.cluster.exec(node, "sh", &["-c", &format!("{prefix} {command}")])?;
        ensure!(out.status.success(), "{command}: {}", String::from_utf8_lossy(&out.stderr));
        Ok(())
    }

    /// Waits until every node takes part.
    fn online(&self) {
        let all = self.cluster.all();
        let names: Vec<String> = all.iter().map(|n| node_name(*n)).collect();
        let line = format!("Online: [ {} ]", names.join(" "));
        self.cluster.wait_for("all nodes are online", || {
            let sees = |node: &u32| {
                let mon = if self.stack == Stack::Holdfast { "holdfast crm_mon -1" } else { "crm_mon -1" };
                let out = self.cluster.exec(*node, "sh", &["-c", mon]).ok()?;
                String::from_utf8_lossy(&out.stdout).contains(&line).then_some(())
            };
            all.iter().all(|node| sees(node).is_some()).then_some(())
        });
    }

    /// The node on which the whole group runs.
    fn home(&self) -> u32 {
        self.cluster.wait_for("the group runs", || {
            let places = GROUP.map(|g| self.cluster.service_runs_on(g));
            let one = places[0].first().filter(|_| places.iter().all(|p| p.len() == 1 && p == &places[0]))?;
            Some(*one)
        })
    }

    /// One fault, and the parts that the way back takes, in milliseconds.
    fn once(&self, fault: Fault) -> Result<Vec<(String, f64)>> {
        self.online();
        let home = self.home();
        let other = 1 + home % 3;
        // What the last fault left under way is over.
        std::thread::sleep(std::time::Duration::from_secs(3));
        let ring = if self.stack == Stack::Holdfast { "cmmd" } else { "corosync" };
        let blow = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64();
        match fault {
            Fault::Node => self.cluster.power_off(home)?,
            Fault::Daemon => self.cluster.signal(home, ring, Signal::SIGKILL),
            Fault::Service => {
                let out = self.cluster.exec(home, "sh", &["-c", "kill -9 $(cat /run/c.pid)"])?;
                ensure!(out.status.success(), "{out:?}");
            }
            Fault::Standby => self.type_in(other, &format!("crm_standby -N {} -v on", node_name(home)))?,
        }
        let started = self.cluster.wait_for("the group runs again", || self.last_start(blow, home, fault));
        let mut parts = self.parts(home, fault, blow, started);
        if parts.is_empty() {
            parts.push(("all".to_owned(), (started - blow) * 1e3));
        }
        match fault {
            Fault::Node | Fault::Daemon => {
                let _ = self.cluster.power_off(home);
                self.boot(home)?;
            }
            Fault::Service => {}
            Fault::Standby => self.type_in(other, &format!("crm_standby -N {} -D", node_name(home)))?,
        }
        Ok(parts)
    }

    /// When the last resource of the group was started, if that was after `blow`; elsewhere where its node is gone. The services
    /// themselves write it down.
    fn last_start(&self, blow: f64, home: u32, fault: Fault) -> Option<f64> {
        let starts = self.cluster.service_starts();
        let last = starts.iter().rev().find(|l| l.split(' ').nth(1) == GROUP.last().copied())?;
        let mut words = last.split(' ');
        let at: f64 = words.next()?.parse().ok()?;
        let elsewhere = words.nth(1)? != node_name(home);
        (at > blow && (elsewhere || fault == Fault::Service)).then_some(at)
    }

    /// What `rgmd`'s logs on the survivors say: told of the loss; its death is known; first start; last resource up.
    fn parts(&self, home: u32, fault: Fault, blow: f64, started: f64) -> Vec<(String, f64)> {
        if self.stack != Stack::Holdfast || !matches!(fault, Fault::Node | Fault::Daemon) {
            return Vec::new();
        }
        let name = node_name(home);
        let logs: Vec<String> = self
            .cluster
            .all()
            .into_iter()
            .filter(|n| *n != home)
            .map(|n| self.cluster.log(n, "rgmd"))
            .collect();
        let first = |text: &str| {
            let lines = logs.iter().flat_map(|l| l.lines()).filter(|l| l.contains(text));
            lines.filter_map(|l| on_day_of(blow, l)).filter(|at| *at > blow).min_by(f64::total_cmp)
        };
        let marks = [
            ("death → rgmd is told", first(&format!("Node {name} state is now lost"))),
            ("→ its death is certain", first(&format!("Node {name} is confirmed dead"))),
            ("→ first start is ordered", first("Requesting local execution of start operation for a")),
            ("→ last resource is up", Some(started)),
        ];
        let mut before = blow;
        let mut parts = Vec::new();
        for (name, at) in marks {
            let Some(at) = at else { return Vec::new() };
            parts.push((name.to_owned(), (at - before) * 1e3));
            before = at;
        }
        parts
    }
}

/// The time at the begin of a log line (`2026-11-23T18:04:54.261025Z`), in seconds since 1970 if it is of the same day as `day`.
fn on_day_of(day: f64, line: &str) -> Option<f64> {
    let time = line.get(11..26)?;
    let mut parts = time.split(':').map(|p| p.parse::<f64>().ok());
    let (hours, minutes, seconds) = (parts.next()??, parts.next()??, parts.next()??);
    Some((day / 86_400.0).floor() * 86_400.0 + hours * 3_600.0 + minutes * 60.0 + seconds)
}

fn cluster(stack: Stack, token: u32, monitor: &str) -> Result<Cluster> {
    let options = Options {
        nodes: 3,
        token_ms: token,
        daemon: if stack == Stack::Holdfast { "cmmd" } else { "corosync" },
        more: if token > 0 { "totem {\n    token_coefficient: 0\n}\n" } else { "" },
        ..Options::default()
    };
    let lines: Vec<String> = GROUP.iter().map(|g| format!("{} {g}", harness::SERVICE)).collect();
    let pids: Vec<String> = GROUP.iter().map(|g| format!("/run/{g}.pid")).collect();
    let params: Vec<[(&str, &str); 2]> =
        lines.iter().zip(&pids).map(|(l, p)| [("binfile", l.as_str()), ("pidfile", p.as_str())]).collect();
    let members: Vec<harness::Member<'_>> =
        GROUP.iter().zip(&params).map(|(g, p)| (*g, "ocf:heartbeat:anything", p.as_slice())).collect();
    let cib = Cib::new().fencing(harness::FENCE_AGENT).group("g", &members).monitored_every(monitor);
    Cluster::new("bench", options, &cib)
}
