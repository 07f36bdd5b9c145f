//! Quorum disks: what they cost an idle daemon, how soon the vote has another owner, and what a disk that stalls does to the ring.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use cmm_qdisk::Layout;
use harness::{Cib, Cluster, DiskFault, DiskKind, Options};
use holdfast_sys::clock::boottime_nanos;
use holdfast_sys::uring::{self, Devices};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;

use crate::idle::cpu_nanos;
use crate::membership::{notices, probe, wait_all};
use crate::table::Table;
use crate::traffic::{self, On};

/// What is measured of quorum disks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum What {
    /// CPU time of a daemon with a disk and without, and what it asks of the disk.
    Idle,
    /// From a split, a death, or the disk's return until the side that is to be quorate is.
    Arbitration,
    /// The ring while the disk works, while it stalls for every node, and again.
    Stall,
}

/// How.
#[derive(Args, Clone, Debug)]
pub(crate) struct How {
    /// What; several may be named [default: all]
    #[arg(value_enum)]
    what: Vec<What>,
    /// How many nodes
    #[arg(long, default_value_t = 2)]
    nodes: u32,
    /// `interval` of the disk in milliseconds
    #[arg(long, default_value_t = 1000)]
    interval: u32,
    /// `tko` of the disk
    #[arg(long, default_value_t = 4)]
    tko: u32,
    /// Each request takes up to so many milliseconds more, in arbitrations on a disk that can fail
    #[arg(long, default_value_t = 0)]
    delay: u32,
    /// For how long an idle or stalled cluster is looked at
    #[arg(long, default_value_t = 30)]
    seconds: u32,
    /// How many arbitrations of each kind
    #[arg(long, default_value_t = 10)]
    times: u32,
}

pub(crate) fn run(how: &How) -> Result<()> {
    let all = [What::Idle, What::Arbitration, What::Stall];
    for what in if how.what.is_empty() { &all[..] } else { &how.what } {
        match what {
            What::Idle => idle(how)?,
            What::Arbitration => arbitration(how)?,
            What::Stall => stall(how)?,
        }
    }
    Ok(())
}

/// A cluster whose vote is owned, with probes; without a disk where `kind` is none.
fn start(how: &How, kind: Option<DiskKind>) -> Result<Cluster> {
    let options = Options {
        nodes: how.nodes,
        token_ms: 1_000,
        disks: kind.is_some().into(),
        disk_kind: kind.unwrap_or_default(),
        disk_interval_ms: how.interval,
        disk_tko: how.tko,
        more: "totem {\n    token_coefficient: 0\n}\n",
        ..Options::default()
    };
    let cluster = Cluster::new("bench", options, &Cib::new())?;
    for node in cluster.all() {
        boot(&cluster, node)?;
    }
    settle(&cluster)?;
    Ok(cluster)
}

fn boot(cluster: &Cluster, node: u32) -> Result<()> {
    cluster.power_on(node)?;
    cluster.start(node, "cmmd", &["-f"])?;
    probe(cluster, node)
}

/// Waits until all are together and the vote counts everywhere.
fn settle(cluster: &Cluster) -> Result<()> {
    wait_all(cluster)?;
    if cluster.options().disks > 0 {
        let (all, votes) = (cluster.all(), 2 * cluster.options().nodes - 1);
        // A node that was started writes only a lease after what its earlier life wrote last.
        let before = cluster.disk_blocks(0);
        cluster.wait_for("every node writes to the disk, and its vote counts", || {
            let counts = |n: &u32| cluster.status(*n).is_ok_and(|s| s.quorum.total == votes);
            let now = cluster.disk_blocks(0);
            let moved = before.iter().zip(&now).take(all.len()).all(|(b, n)| b.1.age() < n.1.age());
            (moved && all.iter().all(counts) && cluster.disk_owner(0).is_some()).then_some(())
        });
    }
    Ok(())
}

fn idle(how: &How) -> Result<()> {
    let How { nodes, seconds, interval, .. } = how;
    let title = format!("one daemon of {nodes} idle nodes over {seconds} s, a disk's interval {interval} ms");
    let mut table = Table::new(&title);
    for kind in [None, Some(DiskKind::File), Some(DiskKind::Loop), Some(DiskKind::Faulty)] {
        let cluster = start(how, kind)?;
        let name = kind.map_or("no disk".to_owned(), |k| k.to_string());
        let daemon = cluster.find(2, "cmmd").into_iter().next().context("the daemon runs")?;
        // Rings form and settle.
        std::thread::sleep(Duration::from_secs(5));
        let (began, before, asked) = (boottime_nanos(), cpu_nanos(daemon.pid)?, cluster.disk_requests(2, 0));
        std::thread::sleep(Duration::from_secs((*seconds).into()));
        let (used, now) = (cpu_nanos(daemon.pid)? - before, cluster.disk_requests(2, 0));
        let took = (boottime_nanos() - began) as f64;
        table.row(&format!("{name}: CPU"), &format!("{:.2} % of a core", 100.0 * used as f64 / took));
        if kind == Some(DiskKind::Faulty) {
            let cycles = took / 1e6 / f64::from(*interval);
            let each = |n: u64| n as f64 / cycles;
            let text = format!(
                "{:.2} reads of {} bytes, {:.2} writes of {} bytes",
                each(now.reads - asked.reads),
                (now.read_bytes - asked.read_bytes) / (now.reads - asked.reads).max(1),
                each(now.writes - asked.writes),
                (now.written_bytes - asked.written_bytes) / (now.writes - asked.writes).max(1),
            );
            table.row("each interval", &text);
        }
    }
    table.print();
    Ok(())
}

/// How a vote has to be arbitrated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Case {
    SplitFromOwner,
    OwnerGasps,
    OwnerLeaves,
    OwnerDies,
    SplitFromOwnerWithoutDisk,
    DiskComesBack,
}

impl Case {
    const ALL: [Self; 6] = [
        Self::SplitFromOwner,
        Self::OwnerGasps,
        Self::OwnerLeaves,
        Self::OwnerDies,
        Self::SplitFromOwnerWithoutDisk,
        Self::DiskComesBack,
    ];

    /// Needs a disk that can fail.
    fn fails(self) -> bool {
        matches!(self, Self::SplitFromOwnerWithoutDisk | Self::DiskComesBack)
    }

    /// Time is counted until the owner is quorate; else until the others are.
    fn owner_stays(self) -> bool {
        self == Self::SplitFromOwner
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SplitFromOwner => "split, the owner's side (no disk access)",
            Self::OwnerGasps => "kill -9 of the owner's daemon (with a gasp)",
            Self::OwnerLeaves => "the owner leaves",
            Self::OwnerDies => "the owner's node dies silently",
            Self::SplitFromOwnerWithoutDisk => "split, and the owner loses the disk",
            Self::DiskComesBack => "split without a disk, which comes back",
        })
    }
}

fn arbitration(how: &How) -> Result<()> {
    let lease = how.interval * how.tko;
    let mut table = Table::new(&format!(
        "what happens -> the side that is to be quorate is told so, ms; {} nodes, token 1000 (suspected after 240), disk: interval {}, \
         lease {lease}; where an owner is waited for: its lease and 2 %, and 40",
        how.nodes, how.interval
    ));
    for kind in [DiskKind::Loop, DiskKind::Faulty] {
        let cluster = start(how, Some(kind))?;
        let mut trips = round_trips_on(&cluster)?;
        table.samples(&format!("{kind}: one write and read"), std::mem::take(&mut trips));
        for case in Case::ALL.into_iter().filter(|case| kind == DiskKind::Faulty || !case.fails()) {
            let (mut lost, mut again) = (Vec::new(), Vec::new());
            for round in 0..how.times {
                // Not in step with the beats of the disk.
                std::thread::sleep(Duration::from_millis(u64::from(round * 137 % how.interval.max(1)) + 500));
                if kind == DiskKind::Faulty {
                    let delay = Duration::from_millis(how.delay.into());
                    cluster.all().into_iter().for_each(|n| cluster.set_disk(n, 0, DiskFault { delay, ..OK }));
                }
                let (l, a) = arbitrate(&cluster, case, lease)?;
                eprintln!(
                    "{kind}, {case} {}: without quorum after {l:?}, quorate after {a:.1} ms",
                    round + 1
                );
                lost.extend(l);
                again.push(a);
                mend(&cluster)?;
            }
            let without = lost.len();
            table.samples(&format!("{kind}, {case}: quorate"), again);
            if without > 0 {
                table.samples(&format!("  quorum was lost before in {without} cases, after"), lost);
            }
        }
    }
    table.print();
    Ok(())
}

const OK: DiskFault = DiskFault { fails: false, stalls: false, delay: Duration::ZERO, lost: 0, torn: 0 };
const CUT: DiskFault = DiskFault { fails: true, ..OK };

/// Milliseconds until the side that is to be quorate lost quorum, if it did, and until it was told of it in its new configuration.
fn arbitrate(cluster: &Cluster, case: Case, lease: u32) -> Result<(Option<f64>, f64)> {
    let owner = cluster.disk_owner(0).context("nobody owns the disk")?;
    let others: Vec<u32> = cluster.all().into_iter().filter(|n| *n != owner).collect();
    if case == Case::DiskComesBack {
        cluster.all().into_iter().for_each(|n| cluster.set_disk(n, 0, CUT));
        std::thread::sleep(Duration::from_millis(u64::from(lease) + 500));
        cluster.isolate(owner);
        cluster.wait_for("nobody is quorate", || {
            let quorate = |n: u32| notices(cluster, n).pop().is_none_or(|n| n.quorate);
            (!cluster.all().into_iter().any(quorate)).then_some(())
        });
    }
    let before: Vec<usize> = cluster.all().iter().map(|n| notices(cluster, *n).len()).collect();
    let blow = boottime_nanos();
    match case {
        Case::SplitFromOwner => cluster.isolate(owner),
        Case::OwnerGasps => cluster.signal(owner, "cmmd", Signal::SIGKILL),
        Case::OwnerLeaves => cluster.signal(owner, "cmmd", Signal::SIGTERM),
        Case::OwnerDies => cluster.power_off(owner)?,
        Case::SplitFromOwnerWithoutDisk => {
            cluster.set_disk(owner, 0, CUT);
            cluster.isolate(owner);
        }
        Case::DiskComesBack => cluster.all().into_iter().for_each(|n| cluster.set_disk(n, 0, OK)),
    }
    // Of the disk's return both sides may be the winner.
    let sides = match case {
        Case::DiskComesBack => vec![vec![owner], others],
        case if case.owner_stays() => vec![vec![owner]],
        _ => vec![others],
    };
    let told = |node: u32, side: &[u32]| {
        let news: Vec<_> = notices(cluster, node).into_iter().skip(before[node as usize - 1]).collect();
        let quorate = news.iter().position(|n| n.quorate && n.members == side)?;
        let lost = news[..quorate].iter().find(|n| !n.quorate).map(|n| n.at);
        Some((lost, news[quorate].at))
    };
    let (lost, quorate) = cluster.wait_for("one side is quorate", || {
        sides.iter().find_map(|side| {
            let all = side.iter().map(|n| told(*n, side)).collect::<Option<Vec<_>>>()?;
            let lost = all.iter().filter_map(|(lost, _)| *lost).min();
            Some((lost, all.iter().map(|(_, at)| *at).max()?))
        })
    });
    let ms = |at: u64| at.saturating_sub(blow) as f64 / 1e6;
    Ok((lost.map(ms), ms(quorate)))
}

fn mend(cluster: &Cluster) -> Result<()> {
    cluster.heal();
    for node in cluster.all() {
        if cluster.options().disk_kind == DiskKind::Faulty {
            cluster.set_disk(node, 0, OK);
        }
        // A guardian may be taking the rest of the node down.
        if cluster.find(node, "cmmd").is_empty() {
            cluster.power_off(node)?;
            boot(cluster, node)?;
        }
    }
    settle(cluster)
}

/// Milliseconds of a write and the read behind it on the first node's way to the disk, as the daemons do it.
fn round_trips_on(cluster: &Cluster) -> Result<Vec<f64>> {
    let me = std::env::current_exe()?;
    let me = me.to_str().context("path of this program")?;
    let disk = cluster.disk_path(0);
    let out = cluster.exec(1, me, &["disk-round-trips", disk.to_str().context("path of the disk")?])?;
    ensure!(out.status.success(), "{out:?}");
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    Ok(text.split_whitespace().filter_map(|w| w.parse().ok()).collect())
}

/// Inside of a node: prints the milliseconds of so many.
pub(crate) fn round_trips(path: &Path) -> Result<()> {
    // As the harness makes them. The last slot is nobody's.
    let layout = Layout::new(512, 16).context("a layout")?;
    let mut devices = Devices::new(1)?;
    let device = devices.add(uring::open(path)?.into(), layout.block_at(16), layout.pair(), layout.area(2));
    for round in 0..100_u8 {
        let began = boottime_nanos();
        devices.to_write(device).context("it is free")?.fill(round);
        devices.start(device, true)?;
        loop {
            if let Some((_, result)) = devices.done() {
                result?;
                break;
            }
            let mut fds = [PollFd::new(devices.event(), PollFlags::POLLIN)];
            poll(&mut fds, PollTimeout::NONE)?;
            devices.woken()?;
        }
        println!("{:.3}", (boottime_nanos() - began) as f64 / 1e6);
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

fn stall(how: &How) -> Result<()> {
    let cluster = start(how, Some(DiskKind::Faulty))?;
    std::thread::sleep(Duration::from_secs(3));
    let title = format!(
        "a message of 64 bytes, sent by node 1 -> delivered to it, one after the other, over {} s each, us; {} nodes, disk: interval {} ms",
        how.seconds, how.nodes, how.interval
    );
    let mut table = Table::new(&title);
    for (run, name) in (0..).zip(["the disk works", "it stalls for all", "it works again"]) {
        let fault = DiskFault { stalls: run == 1, ..OK };
        cluster.all().into_iter().for_each(|n| cluster.set_disk(n, 0, fault));
        let before: Vec<usize> = cluster.all().iter().map(|n| notices(&cluster, *n).len()).collect();
        let asked = cluster.disk_requests(1, 0);
        let mut times = traffic::latency(&cluster, run, 1, how.seconds, On::Ours)?;
        let [p50, p99, max] = [50, 99, 100].map(|p| traffic::percentile(&mut times, p));
        let requests = cluster.disk_requests(1, 0);
        let (mut rings, mut losses) = (0, 0);
        for (node, skip) in cluster.all().iter().zip(before) {
            let seen = notices(&cluster, *node);
            let pairs = || seen.windows(2).skip(skip.saturating_sub(1));
            rings += pairs().filter(|p| p[0].members != p[1].members).count();
            losses += pairs().filter(|p| p[0].quorate && !p[1].quorate).count();
        }
        let text = format!(
            "p50 {p50:8.1}  p99 {p99:8.1}  max {max:9.1}  rotations/s {:6.0}  changes of membership {rings}  losses of quorum {losses}  \
             requests to the disk {}",
            times.len() as f64 / f64::from(how.seconds),
            requests.reads + requests.writes - asked.reads - asked.writes,
        );
        table.row(name, &text);
    }
    let ring = cluster.ring(1)?;
    let lengths = |l: &status::Lengths| format!("p50 {}  p99 {}  max {}", l.p50_us, l.p99_us, l.max_us);
    table.row("turns of node 1's loop, us, all the time", &lengths(&ring.event_loop.turn));
    table.row("lateness of its wake-ups, us", &lengths(&ring.event_loop.wakeup));
    table.print();
    Ok(())
}
