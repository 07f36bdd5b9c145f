//! `holdfast qdisk evict` and `tombstones`: an order to a node that the network does not reach, and why nodes went down.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use cmm_qdisk::format::Text;
use cmm_qdisk::{Block, Mail, Order, Tombstone};
use holdfast_sys::clock;
use holdfast_types::Incarnation;

use super::{date, device, fail, find};
use crate::exit::Exit;
use crate::io::Io;

#[derive(clap::Args)]
pub(super) struct Evict {
    /// Id of the node
    #[arg(value_name = "NODE", value_parser = clap::value_parser!(u8).range(1..=64))]
    node: u8,
    /// Quorum disks, by path, id or label; else those that this node uses
    #[arg(value_name = "DEVICE")]
    devices: Vec<PathBuf>,
    /// Why, for its log and its tombstone
    #[arg(long, value_name = "TEXT", default_value = "no reason given")]
    why: String,
    /// Only have it say in its log that the order has arrived
    #[arg(long)]
    test: bool,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    /// Wait so long for it to say that it goes down
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    wait: u64,
    /// Print JSON: one object, fields are only ever added
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
pub(super) struct Tombstones {
    /// Quorum disks, by path, id or label; else those that this node uses
    #[arg(value_name = "DEVICE")]
    devices: Vec<PathBuf>,
    /// Print JSON: one object, fields are only ever added
    #[arg(long)]
    json: bool,
}

/// What one disk says of one node.
struct Place {
    path: PathBuf,
    header: cmm_qdisk::Header,
    block: Option<Block>,
    mail: Option<Mail>,
    stone: Option<Tombstone>,
}

fn look(path: &Path, node: u8) -> Result<Place, String> {
    let (header, bytes) = device::whole(path)?;
    let layout = header.layout;
    if node > layout.slots() {
        return Err(format!("{} has room for node ids up to {}", path.display(), layout.slots()));
    }
    Ok(Place {
        path: path.to_owned(),
        block: Block::read(node, &header.id, device::pair(&bytes, layout, layout.block_at(node))).ok(),
        mail: Mail::read(node, &header.id, device::pair(&bytes, layout, layout.mail_at(node))).ok(),
        stone: Tombstone::read(node, &header.id, device::pair(&bytes, layout, layout.tombstone_at(node)))
            .ok(),
        header,
    })
}

/// Why a node went down last, as a quorum disk has it.
///
/// # Errors
/// In words.
pub(crate) fn tombstone(path: &Path, node: u8) -> Result<Option<Tombstone>, String> {
    look(path, node).map(|place| place.stone.filter(|stone| stone.life.get() > 0))
}

pub(super) fn evict(args: &Evict, io: &mut Io) -> Exit {
    let places = find::disks(&args.devices)
        .and_then(|paths| paths.iter().map(|path| look(path, args.node)).collect::<Result<Vec<_>, _>>());
    let places = match places {
        Ok(places) => places,
        Err(why) => return fail(&why, io),
    };
    // An order is for one life: the one that wrote last.
    let written = places.iter().filter_map(|p| p.block.map(|b| b.life)).max().unwrap_or_default();
    let life = if args.devices.is_empty() { written.max(known_life(args.node)) } else { written };
    if life == Incarnation::new(0) {
        return fail(&format!("node {} has never written to the quorum disk", args.node), io);
    }
    if args.json && !args.test && !args.yes {
        return fail("with --json nothing is asked; say --yes", io);
    }
    if !args.test && !args.yes {
        io.say(format_args!(
            "Node {} (incarnation {life}) will go down by its failfast mode. Proceed [N/y] ? ",
            args.node
        ));
        if io.read_line().map_or(true, |answer| answer.trim() != "y") {
            io.say(format_args!("Good thinking.\n"));
            return Exit::CannotCreate;
        }
    }
    for place in &places {
        let mail = Mail {
            order: if args.test { Order::Test } else { Order::Evicted },
            from: 0,
            life,
            number: place.mail.map_or(0, |m| m.number).saturating_add(1),
            written: clock::wall_nanos() / 1_000_000_000,
            why: Text::new(&args.why),
        };
        let (layout, id) = (place.header.layout, place.header.id);
        let written = device::write(
            &place.path,
            layout.mail_at(args.node),
            |pair| mail.write(args.node, &id, pair),
            layout,
        );
        if let Err(why) = written {
            return fail(&why, io);
        }
    }
    let said = if args.test { None } else { await_end(args, &places, life) };
    tell_evicted(args, life, said.as_ref(), io)
}

/// The last life of a node that this node's `cmmd` knows of: one that has just begun has not written yet.
fn known_life(node: u8) -> Incarnation {
    let life = find::used().and_then(|(mut cmap, _)| cmap.get_u64(&format!("holdfast.incarnation.{node}")));
    Incarnation::new(life.ok().flatten().unwrap_or(0))
}

/// What the node says on its way down, if it does in time.
fn await_end(args: &Evict, places: &[Place], life: Incarnation) -> Option<Tombstone> {
    let until = Instant::now() + Duration::from_secs(args.wait);
    loop {
        let stones = places.iter().filter_map(|p| look(&p.path, args.node).ok()?.stone);
        if let Some(stone) = stones.filter(|s| s.life >= life).max_by_key(|s| s.life) {
            return Some(stone);
        }
        if Instant::now() >= until {
            return None;
        }
        thread::sleep(LOOK_AGAIN);
    }
}

fn tell_evicted(args: &Evict, life: Incarnation, said: Option<&Tombstone>, io: &mut Io) -> Exit {
    let node = args.node;
    if args.json {
        let json = serde_json::json!({
            "node": node, "incarnation": life.get(), "order": if args.test { "test" } else { "evict" },
            "obeyed": said.is_some(), "why": said.map(|s| s.why.to_string()),
        });
        io.say(format_args!("{json:#}\n"));
    } else if args.test {
        io.say(format_args!(
            "A test order is in the mailbox of node {node}: its log says that it has arrived, an interval later.\n"
        ));
    } else if let Some(stone) = said {
        io.say(format_args!("Node {node} goes down: {}\n", stone.why));
        io.say(format_args!(
            "That is no confirmed death: what it runs is started elsewhere when it is fenced.\n"
        ));
    } else {
        io.say(format_args!(
            "The order is in the mailbox of node {node}. It has not obeyed within {} seconds: it is dead, hangs, or does not reach the disk; \
             it obeys as soon as it runs again.\n",
            args.wait
        ));
    }
    if args.test || said.is_some() { Exit::Ok } else { Exit::TryAgain }
}

pub(super) fn tombstones(args: &Tombstones, io: &mut Io) -> Exit {
    let paths = match find::disks(&args.devices) {
        Ok(paths) => paths,
        Err(why) => return fail(&why, io),
    };
    let mut stones: Vec<(u8, Tombstone)> = Vec::new();
    for path in &paths {
        let (header, bytes) = match device::whole(path) {
            Ok(read) => read,
            Err(why) => return fail(&why, io),
        };
        let layout = header.layout;
        for slot in 1..=layout.slots() {
            let pair = device::pair(&bytes, layout, layout.tombstone_at(slot));
            match Tombstone::read(slot, &header.id, pair) {
                Ok(stone) if stone.life.get() > 0 => stones.push((slot, stone)),
                Ok(_) => {}
                Err(why) => {
                    io.complain(format_args!("{}: tombstone of node {slot}: {why}\n", path.display()))
                }
            }
        }
    }
    // Of several disks the latest word.
    stones.sort_by_key(|(slot, stone)| (*slot, std::cmp::Reverse((stone.life, stone.written))));
    stones.dedup_by_key(|(slot, _)| *slot);
    if args.json {
        let stone = |(node, s): &(u8, Tombstone)| serde_json::json!({"node": node, "incarnation": s.life.get(), "written": s.written, "why": s.why.to_string()});
        let json = serde_json::json!({ "tombstones": stones.iter().map(stone).collect::<Vec<_>>() });
        io.say(format_args!("{json:#}\n"));
        return Exit::Ok;
    }
    io.say(format_args!("Node  Went down                 Why\n"));
    for (node, stone) in &stones {
        io.say(format_args!("{node:<4}  {}  {}\n", date(stone.written), stone.why));
    }
    Exit::Ok
}

const LOOK_AGAIN: Duration = Duration::from_millis(200);
