//! The probe: a client in a node that prints, for each quorum notice, the time and the members. Speaks the client ABI, so it
//! measures corosync and `cmmd` alike. All nodes of the harness share the clock of one kernel.

use std::io::Write;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use cmm_ipc::Place;
use cmm_ipc::abi::quorum::Event;
use cmm_ipc::client::QuorumClient;
use holdfast_sys::clock::boottime_nanos;

/// One line of a probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Notice {
    /// Nanoseconds on the clock that all nodes share.
    pub(crate) at: u64,
    pub(crate) quorate: bool,
    pub(crate) members: Vec<u32>,
}

/// Prints notices until the daemon goes away.
pub(crate) fn run() -> Result<()> {
    let mut client = connect()?;
    client.track()?;
    let mut out = std::io::stdout();
    loop {
        let _ = client.connection().wait_event(Duration::from_secs(3_600));
        let at = boottime_nanos();
        while let Some(event) = client.dispatch()? {
            let (Event::Quorum { quorate, view, .. } | Event::Notification { quorate, view, .. }) = event
            else {
                continue;
            };
            let members: Vec<String> = view.iter().map(ToString::to_string).collect();
            writeln!(out, "notice {at} {} {}", u8::from(quorate), members.join(","))?;
            out.flush()?;
        }
    }
}

/// The notices in a probe's log.
pub(crate) fn read(log: &str) -> Vec<Notice> {
    log.lines().filter_map(parse).collect()
}

fn parse(line: &str) -> Option<Notice> {
    let mut words = line.strip_prefix("notice ")?.split(' ');
    let at = words.next()?.parse().ok()?;
    let quorate = words.next()? == "1";
    let members = words.next()?.split(',').filter_map(|id| id.parse().ok()).collect();
    Some(Notice { at, quorate, members })
}

fn connect() -> Result<QuorumClient> {
    let began = boottime_nanos();
    loop {
        match QuorumClient::connect(&Place::Abstract, Duration::from_secs(5)) {
            Ok(client) => return Ok(client),
            Err(e) if boottime_nanos() - began > 60_000_000_000 => {
                return Err(e).context("no daemon after 60 s");
            }
            Err(cmm_ipc::client::Error::Untrusted { uid }) => bail!("a stranger (uid {uid}) listens"),
            Err(_) => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}
