//! Inside of a node: asks the ring's daemon some two thousand times a second whether this node is quorate, and prints each answer between
//! two readings of the clock that all nodes of a machine share, so that a test can tell what was true at one instant.
//!
//! `ring SEQ REPRESENTATIVE MEMBER,…`: what the daemon told last. `yes BEFORE AFTER`, `no BEFORE AFTER`: nanoseconds. `gone`: there is no
//! daemon.

use std::fmt::Write as _;
use std::io::Write;
use std::time::Duration;

use anyhow::Result;
use cmm_ipc::Place;
use cmm_ipc::abi::quorum::Event;
use cmm_ipc::client::QuorumClient;
use holdfast_sys::clock::boottime_nanos;

fn main() -> Result<()> {
    loop {
        // Until the daemon is there, again: it is killed and started while this runs.
        let ended = sample();
        writeln!(std::io::stdout(), "gone")?;
        if ended.is_err() {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

fn sample() -> Result<()> {
    // Longer than any daemon of a test is stopped: an answer is waited for, so that none is missed.
    let mut client = QuorumClient::connect(&Place::Abstract, Duration::from_secs(20))?;
    client.track()?;
    let (mut out, mut line) = (std::io::stdout(), String::new());
    loop {
        line.clear();
        while let Some(event) = client.dispatch()? {
            if let Event::Quorum { ring, view, .. } = event {
                let members: Vec<String> = view.iter().map(ToString::to_string).collect();
                writeln!(line, "ring {} {} {}", ring.seq, ring.representative, members.join(","))?;
            }
        }
        let before = boottime_nanos();
        let quorate = client.is_quorate()?;
        let after = boottime_nanos();
        writeln!(line, "{} {before} {after}", if quorate { "yes" } else { "no" })?;
        // One write: whatever kills this leaves whole lines.
        out.write_all(line.as_bytes())?;
        out.flush()?;
        std::thread::sleep(Duration::from_micros(400));
    }
}
