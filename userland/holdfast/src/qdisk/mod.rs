//! `holdfast qdisk`: makes quorum disks, finds them, and shows what is on them; and `mkqdisk`.

mod device;
mod dump;
mod find;
mod import;
mod live;
mod mkqdisk;
mod orders;
mod probe;
mod signature;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use cmm_qdisk::format::legacy::{LegacyState, LegacyStatus};
use cmm_qdisk::{Area, Block, Header, Slot};
use holdfast_sys::block;
use holdfast_sys::clock::{LocalTime, local_time};

use self::device::{Content, Plan};
pub(crate) use self::find::with_label;
pub(crate) use self::mkqdisk::{Mkqdisk, mkqdisk};
pub(crate) use self::orders::tombstone;
use crate::exit::Exit;
use crate::io::Io;

/// Make quorum disks, find them, see what is on them.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Make a device or file a quorum disk: what is on it is lost
    Create(Create),
    /// Name the quorum disks of this machine, or which of these devices are some
    List(List),
    /// Show a quorum disk and what each node has written there
    Show(Show),
    /// Show who owns the vote and until when, scores, cycles, disks
    Status(live::Status),
    /// Print every field of every record, both copies, with checksums
    Dump(dump::Dump),
    /// Measure a quorum disk, and see whether what is written stays; nothing on it changes
    Test(probe::Test),
    /// Order a node to go down, through its mailbox on the quorum disk
    Evict(orders::Evict),
    /// Show why nodes went down
    Tombstones(orders::Tombstones),
    /// Read a disk of qdiskd: its configuration in our words, and a new disk with its label
    Import(import::Import),
}

#[derive(clap::Args)]
struct Create {
    /// A block device that all nodes see, or a file
    #[arg(value_name = "DEVICE")]
    device: PathBuf,
    /// What it is called
    #[arg(short, long, default_value = "")]
    label: String,
    /// Name of the cluster that may use it (totem.cluster_name); empty: any
    #[arg(short, long, value_name = "NAME", default_value = "")]
    cluster: String,
    /// Highest node id that it has room for
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u8).range(1..=64))]
    slots: u8,
    /// Bytes of a sector, 512 or 4096, where it is not the device's own
    #[arg(long, value_name = "BYTES")]
    sector: Option<u32>,
    /// Do not ask, unless it looks as if data were there
    #[arg(short, long)]
    yes: bool,
    /// Even if nodes write to it, something else uses it, or data are there
    #[arg(long)]
    force: bool,
    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Print JSON: one object, fields are only ever added. Nothing is asked: --yes or --force say what may be done
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
struct List {
    /// Look at these only
    #[arg(value_name = "DEVICE")]
    devices: Vec<PathBuf>,
    /// Print JSON: one object, fields are only ever added
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
struct Show {
    /// The quorum disk, by path, id or label
    #[arg(value_name = "DEVICE")]
    device: PathBuf,
    /// Print JSON: one object, fields are only ever added
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args, io: &mut Io) -> Exit {
    match &args.what {
        What::Create(args) => create(args, io),
        What::List(args) => list(args, io),
        What::Show(args) => show(args, io),
        What::Status(args) => live::run(args, io),
        What::Dump(args) => dump::run(args, io),
        What::Test(args) => probe::run(args, io),
        What::Evict(args) => orders::evict(args, io),
        What::Tombstones(args) => orders::tombstones(args, io),
        What::Import(args) => import::run(args, io),
    }
}

fn create(args: &Create, io: &mut Io) -> Exit {
    let name = args.device.display();
    let found = match device::read(&args.device) {
        Ok(found) => found,
        Err(why) => return fail(&why, io),
    };
    if !args.force
        && let Some(why) = in_use(&args.device).or_else(|| same_label(&args.device, &args.label))
    {
        io.complain(format_args!("{name} {why}; nothing was changed (--force does it all the same)\n"));
        return Exit::CannotCreate;
    }
    let (on_it, data) = describe(&found);
    if !args.json {
        io.say(format_args!("{name} holds {on_it}.\n"));
    }
    if args.dry_run {
        if args.json {
            io.say(format_args!(
                "{:#}\n",
                serde_json::json!({"device": name.to_string(), "holds": on_it, "made": false})
            ));
        } else {
            io.say(format_args!(
                "It would be made a quorum disk with {} slots; nothing was changed.\n",
                args.slots
            ));
        }
        return Exit::Ok;
    }
    if data && (args.yes || args.json) && !args.force {
        io.complain(format_args!(
            "{name} holds {on_it}; nothing was changed (--force overwrites it, and without --yes you are asked)\n"
        ));
        return Exit::CannotCreate;
    }
    if !args.yes && !args.force && (args.json || !confirmed(&args.device, io)) {
        return Exit::CannotCreate;
    }
    let plan = Plan {
        path: &args.device,
        label: &args.label,
        cluster: &args.cluster,
        slots: args.slots,
        sector: args.sector,
    };
    match plan.carry_out() {
        Ok(header) if args.json => {
            let json = serde_json::json!({
                "device": name.to_string(), "held": on_it, "made": true, "label": header.label.to_string(),
                "cluster": header.cluster.to_string(), "slots": header.layout.slots(), "sector": header.layout.sector(),
                "generation": header.generation,
            });
            io.say(format_args!("{json:#}\n"));
            Exit::Ok
        }
        Ok(header) => {
            io.say(format_args!(
                "{name} is a quorum disk: label \"{}\", cluster \"{}\", node ids 1 to {}, sectors of {} bytes.\n\
                 Into corosync.conf of every node: quorum {{ device {{ model: disk  disk {{ device: {name} }} }} }}\n",
                header.label,
                header.cluster,
                header.layout.slots(),
                header.layout.sector(),
            ));
            Exit::Ok
        }
        Err(why) => fail(&why, io),
    }
}

/// What is there, and whether it looks like data that somebody wants.
fn describe(found: &Content) -> (String, bool) {
    match found {
        Content::Empty => ("nothing (zeros)".to_owned(), false),
        Content::Other(Some(what)) => ((*what).to_owned(), true),
        Content::Other(None) => ("data of something else".to_owned(), true),
        Content::Ours(header, _) => {
            (format!("quorum disk \"{}\" of cluster \"{}\"", header.label, header.cluster), false)
        }
        // Whether its nodes run cannot be seen in a moment: they write by the second.
        Content::Legacy(header, _) => (format!("quorum disk \"{}\" of qdiskd", header.label), true),
    }
}

/// The quorum disk with this path, id or label, if the cluster may use it.
///
/// # Errors
/// In words, with what to type first.
pub(crate) fn of_cluster(name: &Path, cluster: &str) -> Result<PathBuf, String> {
    let path = find::disk(name)?;
    let named = path.display();
    match device::read(&path)? {
        Content::Ours(header, _) => {
            let theirs = header.cluster.to_string();
            if theirs.is_empty() || theirs == cluster {
                return Ok(path);
            }
            Err(format!(
                "{named} is a quorum disk of cluster \"{theirs}\", not of \"{cluster}\"; name another one, or make it anew: holdfast \
                 qdisk create {named} --cluster {cluster}"
            ))
        }
        other => Err(format!(
            "{named} is no quorum disk: it holds {}; make it one first: holdfast qdisk create {named} --label {cluster} --cluster \
             {cluster}",
            describe(&other).0
        )),
    }
}

/// Another block device that has the label already, and is not the same one by another path.
fn same_label(path: &Path, label: &str) -> Option<String> {
    let own = block::names_of(path);
    let others = if label.is_empty() { Vec::new() } else { find::with_label(label, &block::all()) };
    let other = others.into_iter().find(|other| !own.contains(other))?;
    Some(format!("would be the second quorum disk with label \"{label}\": {} has it", other.display()))
}

/// Why a device should be left alone.
fn in_use(path: &Path) -> Option<String> {
    match (block::used_by(path), device::living(path)) {
        (Some(by), _) => Some(format!("is {by}")),
        (None, Ok(Some(node))) => {
            Some(format!("is the quorum disk of a running cluster: node {node} writes to it"))
        }
        _ => None,
    }
}

/// mkqdisk's question. Only `y` is yes.
fn confirmed(path: &Path, io: &mut Io) -> bool {
    io.say(format_args!("WARNING: About to destroy all data on {}; proceed [N/y] ? ", path.display()));
    let yes = io.read_line().is_ok_and(|answer| answer.trim() == "y");
    if !yes {
        io.say(format_args!("Good thinking.\n"));
    }
    yes
}

fn list(args: &List, io: &mut Io) -> Exit {
    let all = if args.devices.is_empty() { block::all() } else { args.devices.clone() };
    let disks = all.into_iter().filter_map(|path| Some((device::read(&path).ok()?, path)));
    let mut rows = Vec::new();
    for (content, path) in disks {
        let (label, cluster, format) = match &content {
            Content::Ours(h, _) => (h.label.to_string(), h.cluster.to_string(), "holdfast 1"),
            Content::Legacy(h, _) => (h.label.to_string(), String::new(), "qdiskd 2"),
            Content::Other(_) | Content::Empty => continue,
        };
        rows.push((path.display().to_string(), label, cluster, format));
    }
    if args.json {
        let disks: Vec<_> = rows
            .iter()
            .map(|(device, label, cluster, format)| serde_json::json!({"device": device, "label": label, "cluster": cluster, "format": format}))
            .collect();
        io.say(format_args!("{:#}\n", serde_json::json!({ "disks": disks })));
    } else {
        let width = rows.iter().map(|r| r.0.len()).max().unwrap_or(0).max(6);
        let label = rows.iter().map(|r| r.1.len()).max().unwrap_or(0).max(5);
        io.say(format_args!("{:width$}  {:label$}  {:10}  Cluster\n", "Device", "Label", "Format"));
        for (device, name, cluster, format) in &rows {
            io.say(format_args!("{device:width$}  {name:label$}  {format:10}  {cluster}\n"));
        }
    }
    Exit::Ok
}

fn show(args: &Show, io: &mut Io) -> Exit {
    let path = match find::disk(&args.device) {
        Ok(path) => path,
        Err(why) => return fail(&why, io),
    };
    match device::read(&path) {
        Ok(Content::Ours(header, area)) if args.json => {
            io.say(format_args!("{:#}\n", as_json(&header, &area)));
            Exit::Ok
        }
        Ok(content @ (Content::Ours(..) | Content::Legacy(..))) => {
            io.say(format_args!("{}", entry(&[path], &content, true)));
            Exit::Ok
        }
        Ok(Content::Other(_) | Content::Empty) => {
            io.complain(format_args!("{} is no quorum disk\n", path.display()));
            Exit::Software
        }
        Err(why) => fail(&why, io),
    }
}

fn as_json(header: &Header, area: &Area) -> serde_json::Value {
    let node = |(slot, read): (u8, &Slot)| match read {
        Slot::Block(b) if b.life.get() > 0 => Some(serde_json::json!({
            "node": slot, "state": device::state(slot, b, area), "incarnation": b.life.get(), "sequence": b.sequence,
            "term": b.decided.term, "owner": b.decided.owner.slot, "ballot": b.ballot, "accepted": b.accepted,
            "wanted": b.wanted, "released": b.released, "ring": b.ring.to_string(), "members": members(b),
            "score": b.score.0, "score_max": b.score.1, "lease_ms": b.lease.as_millis(), "interval_ms": b.interval.as_millis(),
            "written": b.written, "took_us": b.took.as_micros(),
        })),
        Slot::Block(_) => None,
        Slot::Damaged(why) => {
            Some(serde_json::json!({"node": slot, "state": "Damaged", "why": why.to_string()}))
        }
    };
    let nodes: Vec<_> = area.slots().filter_map(node).collect();
    serde_json::json!({
        "label": header.label.to_string(), "cluster": header.cluster.to_string(), "host": header.host.to_string(),
        "created": header.created, "generation": header.generation, "sector": header.layout.sector(),
        "slots": header.layout.slots(), "nodes": nodes,
    })
}

fn members(block: &Block) -> Vec<u8> {
    (1..=cmm_qdisk::SLOTS_MAX).filter(|slot| block.has_member(*slot)).collect()
}

/// A quorum disk as mkqdisk shows it.
fn entry(names: &[PathBuf], content: &Content, nodes: bool) -> String {
    let mut text = String::new();
    for name in names {
        let _ = writeln!(text, "{}:", name.display());
    }
    let mut field = |name: &str, value: String| {
        let _ = writeln!(text, "\t{:<21} {value}", format!("{name}:"));
    };
    let kernel = names.last().and_then(|name| block::sector_of(name));
    let kernel = |recorded: u32| kernel.unwrap_or(recorded).to_string();
    match content {
        Content::Ours(h, area) => {
            field("Magic", "HOLDFSTQ".into());
            field("Label", h.label.to_string());
            field("Created", date(h.created));
            field("Host", h.host.to_string());
            field("Kernel Sector Size", kernel(h.layout.sector()));
            field("Recorded Sector Size", h.layout.sector().to_string());
            field("Cluster", h.cluster.to_string());
            let _ = writeln!(text);
            area.slots().filter(|_| nodes).for_each(|(slot, read)| text += &status(slot, read, area));
        }
        Content::Legacy(h, status) => {
            field("Magic", "eb7a62c2".into());
            field("Label", h.label.to_string());
            field("Created", date(h.created));
            field("Host", h.host.to_string());
            field("Kernel Sector Size", kernel(h.sector));
            field("Recorded Sector Size", h.sector.to_string());
            let _ = writeln!(text);
            let there = status.iter().filter(|s| nodes && s.state != LegacyState::None);
            there.for_each(|s| text += &legacy_status(s));
        }
        Content::Other(_) | Content::Empty => {}
    }
    text
}

fn status(slot: u8, read: &Slot, area: &Area) -> String {
    let block = match read {
        Slot::Block(block) if block.life.get() > 0 => block,
        Slot::Block(_) => return String::new(),
        Slot::Damaged(why) => return format!("Status block for node {slot}\n\tDamaged: {why}\n\n"),
    };
    let took = |us: u64| format!("{}.{:06} seconds", us / 1_000_000, us % 1_000_000);
    let last = took(block.took.as_micros());
    format!(
        "Status block for node {slot}\n\tLast updated by node {slot}\n\tLast updated on {}\n\tState: {}\n\tFlags: {:04x}\n\tScore: {}/{}\n\
         \tAverage Cycle speed: {last}\n\tLast Cycle speed: {last}\n\tIncarnation: {:016x}\n\tTerm: {}, owned by node {}\n\tMembers: {:?}\n\n",
        date(block.written),
        device::state(slot, block, area),
        u8::from(block.released) | u8::from(block.wanted) << 1,
        block.score.0,
        block.score.1,
        block.life.get(),
        block.decided.term,
        block.decided.owner.slot,
        members(block),
    )
}

fn legacy_status(s: &LegacyStatus) -> String {
    let state = match s.state {
        LegacyState::None => "None",
        LegacyState::Evicted => "Evicted",
        LegacyState::Initializing => "Initializing",
        LegacyState::Running => "Running",
        LegacyState::Master => "Master",
    };
    let speed = |(seconds, micros): (u32, u32)| format!("{seconds}.{micros:06} seconds");
    format!(
        "Status block for node {}\n\tLast updated by node {}\n\tLast updated on {}\n\tState: {state}\n\tFlags: {:04x}\n\tScore: {}/{}\n\
         \tAverage Cycle speed: {}\n\tLast Cycle speed: {}\n\tIncarnation: {:016x}\n\n",
        s.node,
        s.updated_by,
        date(s.timestamp),
        s.flags,
        s.score.0,
        s.score.1,
        speed(s.cycle),
        speed(s.last_cycle),
        s.incarnation,
    )
}

/// As ctime(3) writes it.
fn date(seconds: u64) -> String {
    let LocalTime { year, month, day, hour, minute, second, offset_minutes } =
        local_time(seconds.saturating_mul(1_000_000_000));
    let days = (i64::try_from(seconds).unwrap_or(0) + 60 * i64::from(offset_minutes)).div_euclid(86_400);
    let weekday = usize::try_from((days + 4).rem_euclid(7)).unwrap_or(0);
    let name = |names: &'static str, n: usize| names.get(3 * n..3 * n + 3).unwrap_or("???");
    let month = name("JanFebMarAprMayJunJulAugSepOctNovDec", usize::from(month.saturating_sub(1)));
    let weekday = name("SunMonTueWedThuFriSat", weekday);
    format!("{weekday} {month} {day:2} {hour:02}:{minute:02}:{second:02} {year}")
}

fn fail(why: &str, io: &mut Io) -> Exit {
    io.complain(format_args!("{why}\n"));
    Exit::Software
}

const EXAMPLES: &str = "\
Examples:
  holdfast qdisk create /dev/disk/by-id/scsi-36001405 --label web --cluster web
  holdfast qdisk list                    which disks of this machine are quorum disks
  holdfast qdisk show /dev/sdb1          who has the vote, who writes
  holdfast qdisk show /dev/sdb1 --json   the same for programs
  holdfast qdisk status                  who owns the vote, until when, scores, disks
  holdfast qdisk test web --write-as 1   is the disk labelled web fast enough, does it keep what is written
  holdfast qdisk evict 2 --why \"hangs\"   node 2 goes down as soon as it reads that
  holdfast qdisk tombstones              why nodes went down
  holdfast qdisk dump web --json         every field of every record
  holdfast qdisk import /dev/sdc1 /dev/sdd1 --cluster web
                                         from qdiskd's disk to a new one

Exit status: 0 done, 64 usage, 69 cmmd does not answer, 70 failed, 73 left as it was, 75 not obeyed yet";

#[cfg(test)]
mod tests;
