//! Ordered messages: how many a second, and how long one takes. The same client of ours in every node, of our daemon and of
//! the peer alike.

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use cmm_ipc::Place;
use cmm_ipc::client::{CpgClient, CpgEvent};
use harness::Cluster;

use crate::calls;

/// Who sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Senders {
    /// Node 1.
    One,
    /// All nodes.
    All,
}

impl fmt::Display for Senders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::One => "one sender",
            Self::All => "all send",
        })
    }
}

/// Messages a second at the slowest receiver, in one run on a ring that is there.
pub(crate) fn throughput(
    cluster: &Cluster,
    run: u32,
    senders: Senders,
    size: usize,
    seconds: u32,
    on: On,
) -> Result<f64> {
    let sends = |node| senders == Senders::All || node == 1;
    let words = |node| {
        let role = if sends(node) { "send" } else { "receive" };
        [role.to_owned(), size.to_string(), seconds.to_string()]
    };
    let lines = clients(cluster, run, on, words)?;
    let rate = |line: &Vec<f64>| line[0] / line[1];
    lines.iter().map(rate).min_by(f64::total_cmp).context("no nodes")
}

/// Microseconds from the sending of each message of 64 bytes to its delivery at the sender, one after the other.
pub(crate) fn latency(cluster: &Cluster, run: u32, sender: u32, seconds: u32, on: On) -> Result<Vec<f64>> {
    let words = |node| {
        let role = if node == sender { "talk" } else { "receive" };
        [role.to_owned(), "64".to_owned(), seconds.to_string()]
    };
    let mut lines = clients(cluster, run, on, words)?;
    Ok(lines.swap_remove(sender as usize - 1))
}

/// What the clients are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum On {
    /// Our own client.
    Ours,
    /// The predecessor's library.
    Libcpg,
}

/// Runs a client in each node; the numbers that each has printed at its end.
fn clients(cluster: &Cluster, run: u32, on: On, words: impl Fn(u32) -> [String; 3]) -> Result<Vec<Vec<f64>>> {
    let program = match on {
        On::Ours => std::env::current_exe()?,
        On::Libcpg => calls::compile(cluster)?,
    };
    let program = program.to_str().context("path of the client")?;
    let (all, log) = (cluster.all(), format!("client{run}"));
    let (group, nodes) = (format!("bench{run}"), all.len().to_string());
    for node in &all {
        let [role, size, seconds] = words(*node);
        cluster.start_as(*node, &log, program, &["client", &group, &nodes, &role, &size, &seconds])?;
    }
    let result = |node: &u32| calls::result(&cluster.log(*node, &log));
    Ok(cluster.wait_for("the clients' results", || all.iter().map(result).collect()))
}

/// What a client does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Role {
    /// Counts what arrives.
    Receive,
    /// The same, and sends as fast as it is let.
    Send,
    /// Sends a message when the last one was delivered.
    Talk,
}

/// Inside of a node: waits for the others in a group, does its part for so long, and prints what came of it. A talker:
/// microseconds of each message. Else: messages received, and seconds.
pub(crate) fn client(group: &str, nodes: usize, role: Role, size: usize, seconds: u32) -> Result<()> {
    let mut client = CpgClient::connect(&Place::Abstract, Duration::from_secs(10))?;
    join(&mut client, group.as_bytes())?;
    let mut here = 0;
    while here < nodes {
        if let CpgEvent::Confchg { members, .. } = next(&mut client)? {
            here = members.len();
        }
    }
    let payload = vec![0x5a; size];
    let (begin, limit) = (Instant::now(), Duration::from_secs(seconds.into()));
    let mut received = 0_u64;
    let mut times = Vec::new();
    while begin.elapsed() < limit {
        if role == Role::Talk {
            let sent = Instant::now();
            send(&mut client, &payload)?;
            while !matches!(next(&mut client)?, CpgEvent::Deliver { .. }) {}
            times.push(sent.elapsed().as_nanos() as f64 / 1e3);
            continue;
        }
        let idle = role == Role::Receive || !try_send(&mut client, &payload)?;
        let mut empty = true;
        while let Some(event) = client.dispatch()? {
            empty = false;
            received += u64::from(matches!(event, CpgEvent::Deliver { .. }));
        }
        if idle && empty {
            let _ = client.connection().wait_event(Duration::from_millis(1));
        }
    }
    let took = begin.elapsed().as_secs_f64();
    let numbers = if role == Role::Talk { times } else { vec![received as f64, took] };
    let numbers: Vec<String> = numbers.iter().map(|n| format!("{n:.3}")).collect();
    // Whoever leaves while others still count would be a change of the group in their figures.
    let end = Instant::now() + Duration::from_millis(200);
    while Instant::now() < end {
        while client.dispatch()?.is_some() {}
        let _ = client.connection().wait_event(Duration::from_millis(10));
    }
    println!("result {}", numbers.join(" "));
    Ok(())
}

fn join(client: &mut CpgClient, group: &[u8]) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        match client.join(group) {
            Ok(()) => return Ok(()),
            Err(e) if e.is_try_again() && Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(5))
            }
            Err(e) => return Err(e.into()),
        }
    }
}

fn try_send(client: &mut CpgClient, payload: &[u8]) -> Result<bool> {
    match client.mcast(payload) {
        Ok(()) => Ok(true),
        Err(e) if e.is_try_again() => Ok(false),
        Err(e) => Err(e.into()),
    }
}

fn send(client: &mut CpgClient, payload: &[u8]) -> Result<()> {
    while !try_send(client, payload)? {
        std::thread::sleep(Duration::from_micros(100));
    }
    Ok(())
}

fn next(client: &mut CpgClient) -> Result<CpgEvent> {
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(event) = client.dispatch()? {
            return Ok(event);
        }
        if Instant::now() > end {
            bail!("nothing was delivered for 30 s");
        }
        let _ = client.connection().wait_event(Duration::from_secs(1));
    }
}

/// The value in the middle; of an even number of them the lower one.
pub(crate) fn median(mut samples: Vec<f64>) -> f64 {
    percentile(&mut samples, 50)
}

/// The smallest value that so many of a hundred do not exceed.
pub(crate) fn percentile(samples: &mut [f64], percent: usize) -> f64 {
    samples.sort_by(f64::total_cmp);
    let rank = (samples.len() * percent).div_ceil(100);
    samples.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_there() {
        let mut samples: Vec<f64> = (1..=200).rev().map(f64::from).collect();
        assert_eq!([50, 99, 100].map(|p| percentile(&mut samples, p)), [100.0, 198.0, 200.0]);
        assert_eq!((median(vec![3.0, 1.0]), median(vec![7.0])), (1.0, 7.0));
        assert!(median(vec![]).is_nan());
    }
}
