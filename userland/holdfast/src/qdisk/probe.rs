//! `holdfast qdisk test`: how long a disk takes, how it is aligned, and whether what is written stays. Nothing on it changes.

use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use cmm_qdisk::{Area, Tombstone};
use holdfast_sys::block;
use holdfast_sys::uring::{self, Buffer};

use super::{device, fail, find};
use crate::exit::Exit;
use crate::io::Io;

#[derive(clap::Args)]
pub(super) struct Test {
    /// The quorum disk, by path, id or label
    #[arg(value_name = "DEVICE")]
    device: PathBuf,
    /// How many cycles
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    count: u32,
    /// Also write: what stands in this node's tombstone, once more. Not while that node runs somewhere else
    #[arg(long, value_name = "NODE", value_parser = clap::value_parser!(u8).range(1..=64))]
    write_as: Option<u8>,
    /// The interval that it is to be used with, in milliseconds: slower cycles are told
    #[arg(long, value_name = "MS", default_value_t = 1_000)]
    interval: u64,
    /// Print JSON: one object, fields are only ever added
    #[arg(long)]
    json: bool,
}

/// Times of one kind of access.
#[derive(Default)]
struct Times(Vec<Duration>);

impl Times {
    fn at(&mut self, percent: usize) -> u64 {
        self.0.sort_unstable();
        let last = self.0.len().saturating_sub(1);
        self.0.get(last * percent / 100).map_or(0, |d| u64::try_from(d.as_micros()).unwrap_or(u64::MAX))
    }

    fn json(&mut self) -> serde_json::Value {
        serde_json::json!({"count": self.0.len(), "median_us": self.at(50), "p99_us": self.at(99), "max_us": self.at(100)})
    }
}

pub(super) fn run(args: &Test, io: &mut Io) -> Exit {
    match test(args) {
        Ok(mut found) => {
            let slow = found.reads.at(100).max(found.writes.at(100)) > args.interval.saturating_mul(1_000);
            if slow {
                found.wrong.push(format!(
                    "a cycle took longer than the interval of {} ms: take a longer one, or a faster disk",
                    args.interval
                ));
            }
            tell(args, &mut found, io);
            if found.wrong.is_empty() { Exit::Ok } else { Exit::Software }
        }
        Err(why) => fail(&why, io),
    }
}

#[derive(Default)]
struct Found {
    path: PathBuf,
    made_for: u32,
    kernel: Option<u32>,
    reads: Times,
    writes: Times,
    wrong: Vec<String>,
}

fn test(args: &Test) -> Result<Found, String> {
    let path = find::disk(&args.device)?;
    let (header, whole) = device::whole(&path)?;
    let layout = header.layout;
    let mut found =
        Found { made_for: layout.sector(), kernel: block::sector_of(&path), path, ..Found::default() };
    if let Some(kernel) = found.kernel.filter(|k| *k > found.made_for) {
        found.wrong.push(format!(
            "the device has sectors of {kernel} bytes and was made for {}: a power cut can take both copies of a record; make it anew",
            found.made_for
        ));
    }
    let failed = |e: std::io::Error| format!("{}: {e}", found.path.display());
    let file =
        if args.write_as.is_some() { uring::open(&found.path) } else { uring::open_to_read(&found.path) };
    let file = file.map_err(failed)?;
    let mut area = Buffer::zeroed(layout.area(layout.slots()));
    let mut blocks = Area::default();
    for _ in 0..args.count {
        let start = Instant::now();
        file.read_exact_at(area.bytes_mut(), 0).map_err(failed)?;
        found.reads.0.push(start.elapsed());
        blocks
            .read(layout, &header.id, area.bytes())
            .map_err(|e| format!("{}: {e}", found.path.display()))?;
    }
    let Some(node) = args.write_as else { return Ok(found) };
    if node > layout.slots() {
        return Err(format!("it has room for node ids up to {}", layout.slots()));
    }
    // What is written is what is there already. Only that node writes it, on its way down.
    let at = layout.tombstone_at(node);
    let mut pair = Buffer::zeroed(layout.pair());
    pair.bytes_mut().copy_from_slice(device::pair(&whole, layout, at));
    Tombstone::read(node, &header.id, pair.bytes()).map_err(|e| format!("tombstone of node {node}: {e}"))?;
    let mut back = Buffer::zeroed(layout.pair());
    for _ in 0..args.count {
        let start = Instant::now();
        file.write_all_at(pair.bytes(), at).map_err(failed)?;
        found.writes.0.push(start.elapsed());
        file.read_exact_at(back.bytes_mut(), at).map_err(failed)?;
        if back.bytes() != pair.bytes() {
            found.wrong.push("what was written is not there: do not use this device".into());
            break;
        }
    }
    Ok(found)
}

fn tell(args: &Test, found: &mut Found, io: &mut Io) {
    if args.json {
        let json = serde_json::json!({
            "device": found.path.display().to_string(), "sector": found.made_for, "kernel_sector": found.kernel,
            "read": found.reads.json(), "write": found.writes.json(), "wrong": found.wrong,
        });
        return io.say(format_args!("{json:#}\n"));
    }
    let kernel = found.kernel.map_or("no block device".to_owned(), |k| format!("the kernel's have {k}"));
    io.say(format_args!(
        "{}: made for sectors of {} bytes, {kernel}\n",
        found.path.display(),
        found.made_for
    ));
    io.say(format_args!("{:6} {:>6} {:>12} {:>12} {:>12}\n", "", "count", "median us", "p99 us", "max us"));
    for (name, times) in [("read", &mut found.reads), ("write", &mut found.writes)] {
        if !times.0.is_empty() {
            let (median, p99, max) = (times.at(50), times.at(99), times.at(100));
            io.say(format_args!("{name:6} {:>6} {median:>12} {p99:>12} {max:>12}\n", times.0.len()));
        }
    }
    if args.write_as.is_none() {
        io.say(format_args!("Nothing was written; --write-as NODE tests that as well.\n"));
    }
    for wrong in &found.wrong {
        io.complain(format_args!("! {wrong}\n"));
    }
}
