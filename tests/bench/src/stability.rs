//! Whether a ring holds: configurations counted while the machine is idle, busy, or flooded with messages.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::ValueEnum;
use cmm_ipc::Place;
use cmm_ipc::client::{CpgClient, CpgEvent};

use crate::daemon::{Daemon, Ring};
use crate::membership::{self, notices};

/// What the ring has to stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Load {
    /// Nothing.
    Idle,
    /// An endless loop on every core, at normal priority.
    Busy,
    /// Every node sends messages of 64 KiB to a group as fast as it is let.
    Flood,
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Idle => "idle",
            Self::Busy => "a busy loop on every core",
            Self::Flood => "64 KiB messages from all nodes",
        })
    }
}

/// Rows: reconfigurations and losses of quorum that any node has seen, messages that came through.
pub(crate) fn measure(daemon: Daemon, load: Load, seconds: u32, ring: Ring) -> Result<Vec<(String, String)>> {
    let cluster = membership::start(daemon, ring)?;
    // Rings form and settle before they are counted.
    std::thread::sleep(Duration::from_secs(3));
    let before: Vec<usize> = cluster.all().iter().map(|n| notices(&cluster, *n).len()).collect();
    if load == Load::Flood {
        let me = std::env::current_exe()?;
        let me = me.to_str().context("path of this program")?;
        for node in cluster.all() {
            cluster.start_as(
                node,
                "flood",
                me,
                &["flood", "--size", "65536", "--seconds", &seconds.to_string()],
            )?;
        }
    }
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        if load == Load::Busy {
            for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
                scope.spawn(|| {
                    while !over.load(Ordering::Relaxed) {
                        std::hint::spin_loop();
                    }
                });
            }
        }
        std::thread::sleep(Duration::from_secs(seconds.into()));
        over.store(true, Ordering::Relaxed);
    });
    let (mut rings, mut losses) = (0, 0);
    for (node, skip) in cluster.all().iter().zip(&before) {
        let seen = notices(&cluster, *node);
        let mut last = seen[..*skip].last().cloned();
        let (mut here, mut lost) = (0, 0);
        for notice in &seen[*skip..] {
            here += usize::from(last.as_ref().is_none_or(|l| l.members != notice.members));
            lost += usize::from(!notice.quorate && last.as_ref().is_some_and(|l| l.quorate));
            last = Some(notice.clone());
        }
        (rings, losses) = (rings.max(here), losses.max(lost));
    }
    let mut rows = vec![
        ("changes of membership".to_owned(), rings.to_string()),
        ("losses of quorum".to_owned(), losses.to_string()),
    ];
    if load == Load::Flood {
        let received = |n: &u32| {
            let log = cluster.log(*n, "flood");
            log.lines().rev().find_map(|l| l.strip_prefix("received ")?.parse::<u64>().ok()).unwrap_or(0)
        };
        let least = cluster.all().iter().map(received).min().unwrap_or(0);
        let rate = least as f64 * 65_536.0 / 1e6 / f64::from(seconds);
        rows.push(("at the slowest receiver".to_owned(), format!("{least} messages, {rate:.1} MB/s")));
    }
    Ok(rows)
}

/// Inside of a node: joins a group, sends as fast as it is let, counts what arrives.
pub(crate) fn flood(size: usize, seconds: u32) -> Result<()> {
    let mut client = CpgClient::connect(&Place::Abstract, Duration::from_secs(5))?;
    loop {
        match client.join(b"flood") {
            Ok(()) => break,
            Err(e) if e.is_try_again() => std::thread::sleep(Duration::from_millis(5)),
            Err(e) => return Err(e.into()),
        }
    }
    let payload = vec![0x5a; size];
    let end = Instant::now() + Duration::from_secs(seconds.into());
    let (mut received, mut told) = (0_u64, Instant::now());
    while Instant::now() < end {
        match client.mcast(&payload) {
            Ok(()) => {}
            Err(e) if e.is_try_again() => {
                // An event or not: the next turn looks.
                let _ = client.connection().wait_event(Duration::from_millis(1));
            }
            Err(e) => return Err(e).with_context(|| format!("after {received} messages")),
        }
        while let Some(event) = client.dispatch()? {
            received += u64::from(matches!(event, CpgEvent::Deliver { .. }));
        }
        if told.elapsed() > Duration::from_secs(1) {
            told = Instant::now();
            println!("received {received}");
        }
    }
    println!("received {received}");
    Ok(())
}
