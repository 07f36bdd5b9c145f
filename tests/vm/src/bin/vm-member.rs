//! Runs in a virtual machine: sits in a process group, so that the node has something to protect, and says "in".

#![forbid(unsafe_code)]

use std::time::Duration;

use anyhow::{Result, ensure};
use cmm_ipc::Place;
use cmm_ipc::client::CpgClient;

fn main() -> Result<()> {
    let mut client = CpgClient::connect(&Place::Abstract, Duration::from_secs(30))?;
    while let Err(e) = client.join(b"precious") {
        ensure!(e.is_try_again(), "{e}");
        std::thread::sleep(Duration::from_millis(5));
    }
    println!("in");
    loop {
        let _ = client.connection().wait_event(Duration::from_secs(60));
        while client.dispatch()?.is_some() {}
    }
}
