//! Runs in a virtual machine: `vm-writer DEVICE AREA` writes stamps to its own megabyte of a shared disk while the node is quorate. It asks
//! before each write, as a service does that depends on quorum, and ends with the first answer "no".

#![forbid(unsafe_code)]

use std::fs::File;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use cmm_ipc::Place;
use cmm_ipc::client::QuorumClient;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().collect();
    let [_, device, area] = args.as_slice() else { bail!("usage: vm-writer DEVICE AREA") };
    let start = area.parse::<u64>()? << 20;
    // Each write is on the disk when it is over.
    let mut options = File::options();
    let disk = options.write(true).custom_flags(nix::libc::O_DSYNC).open(device).context("the disk")?;
    let mut quorum = QuorumClient::connect(&Place::Abstract, Duration::from_secs(30))?;
    println!("writing");
    let mut stamp = 0_u64;
    while quorum.is_quorate()? {
        stamp += 1;
        let mut block = [0; BLOCK];
        block[..8].copy_from_slice(&stamp.to_le_bytes());
        disk.write_all_at(&block, start + stamp % BLOCKS * BLOCK as u64)?;
    }
    println!("not quorate after {stamp} writes");
    Ok(())
}

const BLOCK: usize = 4_096;
const BLOCKS: u64 = 256;
