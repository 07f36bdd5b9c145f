//! Block devices that all nodes of a cluster see: a loop device with partitions.
//!
//! The kernel of a test machine may know no partition table, so that the partitions are told to it one by one; nobody reads a table.
//! All nodes have one kernel: what one of them has written the others read, also when it never reached the file.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// A disk. The kernel takes it away with the last that has it open, mounts included.
#[derive(Debug)]
pub struct SharedDisk {
    _open: File,
}

const MEBIBYTE: u64 = 1 << 20;

impl SharedDisk {
    /// A disk with partitions of so many MiB. Device files `NAME`, `NAME1`, `NAME2`… are made in `dir`, for nodes to copy.
    ///
    /// # Errors
    /// Without a free loop device.
    pub fn new(dir: &Path, name: &str, partitions: &[u64]) -> Result<Self> {
        let image = dir.join(format!("{name}.image"));
        // The first and the last MiB belong to no partition.
        File::create(&image)?.set_len((partitions.iter().sum::<u64>() + 2) * MEBIBYTE)?;
        let mut losetup = Command::new("losetup");
        let device = said(losetup.args(["--find", "--show", "--partscan"]).arg(&image))?;
        let opened = File::options().read(true).write(true).open(&device);
        // It goes when it is closed.
        said(Command::new("losetup").args(["--detach", &device]))?;
        let open = opened.with_context(|| format!("opening {device}"))?;
        let whole = device.trim_start_matches("/dev/");
        node(&dir.join(name), &fs::read_to_string(format!("/sys/block/{whole}/dev"))?)?;
        let mut start = MEBIBYTE;
        for (number, size) in (1..).zip(partitions.iter().map(|mib| mib * MEBIBYTE)) {
            let [at, sectors] = [start / 512, size / 512].map(|n| n.to_string());
            said(Command::new("addpart").args([&device, &format!("{number}"), &at, &sectors]))?;
            let numbers = fs::read_to_string(format!("/sys/block/{whole}/{whole}p{number}/dev"))?;
            node(&dir.join(format!("{name}{number}")), &numbers)?;
            start += size;
        }
        Ok(Self { _open: open })
    }
}

/// Makes a device file from its numbers, `MAJOR:MINOR`.
fn node(path: &Path, numbers: &str) -> Result<()> {
    let (major, minor) = numbers.trim().split_once(':').with_context(|| format!("device {numbers:?}"))?;
    said(Command::new("mknod").arg(path).args(["b", major, minor])).map(|_| ())
}

/// What a command says.
fn said(command: &mut Command) -> Result<String> {
    let out = command.output().with_context(|| format!("running {command:?}"))?;
    ensure!(out.status.success(), "{command:?}: {}", String::from_utf8_lossy(&out.stderr).trim());
    Ok(String::from_utf8_lossy(&out.stdout).trim().to_owned())
}
