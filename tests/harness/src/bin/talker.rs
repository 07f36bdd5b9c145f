//! Inside of a node: takes part in a group, sends its share of messages, and prints every message it is delivered as
//! `NODE NUMBER`, so that a test can compare the order on all nodes. `left NODE` when a member is lost; `done` when the
//! messages of all have come.
//!
//! `talker MEMBERS COUNT SIZE`: waits for so many members, then sends so many messages of so many bytes.

use std::io::{BufWriter, Write};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cmm_ipc::Place;
use cmm_ipc::client::{CpgClient, CpgEvent};

fn main() -> Result<()> {
    let mut numbers = std::env::args().skip(1).map(|a| a.parse::<usize>());
    let mut number = |what: &'static str| numbers.next().context(what)?.context(what);
    let (members, count, size) = (number("MEMBERS")?, number("COUNT")?, number("SIZE")?);
    ensure!(size >= 8, "SIZE is at least 8");
    let mut client = CpgClient::connect(&Place::Abstract, Duration::from_secs(30))?;
    while let Err(e) = client.join(b"talk") {
        ensure!(e.is_try_again(), "{e}");
        std::thread::sleep(Duration::from_millis(5));
    }
    let mut out = BufWriter::new(std::io::stdout());
    let mut payload = vec![0x5a; size];
    let (mut present, mut sent, mut received) = (0, 0, 0);
    while received < members * count {
        if present == members && sent < count {
            payload[..8].copy_from_slice(&(sent as u64).to_le_bytes());
            match client.mcast(&payload) {
                Ok(()) => sent += 1,
                Err(e) => ensure!(e.is_try_again(), "{e}"),
            }
        }
        // The limit is for nothing but trying to send again.
        let _ = client.connection().wait_event(Duration::from_millis(2));
        while let Some(event) = client.dispatch()? {
            match event {
                CpgEvent::Deliver { node, payload, .. } => {
                    let number =
                        payload.first_chunk().map(|n| u64::from_le_bytes(*n)).context("a short message")?;
                    writeln!(out, "{node} {number}")?;
                    received += 1;
                }
                CpgEvent::Confchg { members, left, .. } => {
                    // Those who are done leave.
                    present = present.max(members.len());
                    for member in left {
                        writeln!(out, "left {}", member.node)?;
                    }
                }
                CpgEvent::Totem { .. } => {}
            }
        }
    }
    writeln!(out, "done")?;
    out.flush()?;
    // Nobody is to see somebody leave before all are done.
    std::thread::sleep(Duration::from_secs(3_600));
    Ok(())
}
