//! `holdfast qdisk status`: who owns the vote and until when, scores, cycles, disks: from `cmmd` where it runs, from the disks otherwise.

use std::path::{Path, PathBuf};

use cmm_ipc::client::{CmapClient, Error};
use cmm_qdisk::{Area, Block, Slot};
use holdfast_sys::clock;
use serde_json::{Value, json};

use super::device::{self, Content};
use super::{fail, find};
use crate::exit::Exit;
use crate::io::Io;

#[derive(clap::Args)]
pub(super) struct Status {
    /// Quorum disks, by path, id or label; else those that this node uses
    #[arg(value_name = "DEVICE")]
    devices: Vec<PathBuf>,
    /// Print JSON: one object, fields are only ever added
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Status, io: &mut Io) -> Exit {
    let (daemon, used, why) = match find::used() {
        Ok((mut cmap, used)) if !used.is_empty() => (ask(&mut cmap).ok(), used, None),
        Ok(_) => (None, Vec::new(), Some("this node's cmmd uses no quorum disk".to_owned())),
        Err(e) => (None, Vec::new(), Some(format!("cmmd does not answer ({e})"))),
    };
    let paths = if args.devices.is_empty() {
        used.iter().map(|u| u.path.clone()).filter(|p| !p.as_os_str().is_empty()).collect()
    } else {
        match find::disks(&args.devices) {
            Ok(paths) => paths,
            Err(why) => return fail(&why, io),
        }
    };
    if let (None, Some(why), true) = (&daemon, &why, paths.is_empty()) {
        io.complain(format_args!("{why}; name the quorum disk to see what stands on it\n"));
        return Exit::Unavailable;
    }
    let nodes: Vec<Value> = paths.iter().flat_map(|path| nodes(path)).collect();
    let disks: Vec<Value> = used
        .iter()
        .map(|u| json!({"name": u.name, "device": u.path.display().to_string(), "label": u.label, "state": u.state}))
        .collect();
    if args.json {
        let all = json!({"daemon": daemon, "disks": disks, "nodes": nodes});
        io.say(format_args!("{all:#}\n"));
        return Exit::Ok;
    }
    match (&daemon, why) {
        (Some(daemon), _) => io.say(format_args!("{}", of_daemon(daemon))),
        (None, why) => io.say(format_args!(
            "{}: this is what stands on the disk.\n",
            why.unwrap_or_else(|| "cmmd says nothing".into())
        )),
    }
    for disk in &disks {
        io.say(format_args!(
            "Disk {} {} ({}): {}\n",
            word(&disk["device"]),
            word(&disk["name"]),
            word(&disk["label"]),
            word(&disk["state"])
        ));
    }
    io.say(format_args!(
        "\n{:4}  {:8}  {:>9}  {:>10}  {:>10}  {:>6}  {}\n",
        "Node", "State", "Score", "Written", "Cycle us", "Term", "Device"
    ));
    for n in &nodes {
        io.say(format_args!(
            "{:4}  {:8}  {:>9}  {:>10}  {:>10}  {:>6}  {}\n",
            word(&n["node"]),
            word(&n["state"]),
            format!("{}/{}", word(&n["score"]), word(&n["score_max"])),
            format!("{} s ago", word(&n["age_s"])),
            word(&n["took_us"]),
            word(&n["term"]),
            word(&n["device"]),
        ));
    }
    Exit::Ok
}

/// What `cmmd` knows.
fn ask(cmap: &mut CmapClient) -> Result<Value, Error> {
    let mut number = |key: &str| cmap.get_u64(&format!("holdfast.qdisk.{key}")).map(|n| n.unwrap_or(0));
    let until = number("until")?;
    let left = until.saturating_sub(clock::boottime_nanos()) / 1_000_000;
    let alive = number("alive")?;
    let alive: Vec<u32> = (1..=64).filter(|n| alive >> (n - 1) & 1 == 1).collect();
    Ok(json!({
        "owner": number("owner")?, "owner_incarnation": number("owner_incarnation")?, "term": number("term")?,
        "counts_here": left > 0, "lease_left_ms": left, "lease_ms": number("lease_ms")?, "interval_ms": number("interval_ms")?,
        "took_us": number("took_us")?, "score": number("score")?, "score_max": number("score_max")?,
        "min_score": number("min_score")?, "sequence": number("sequence")?, "wanted": number("wanted")? == 1, "alive": alive,
        "node": cmap.get_u64("runtime.votequorum.this_node_id")?.unwrap_or(0),
    }))
}

fn of_daemon(d: &Value) -> String {
    let owner = match (d["owner"].as_u64(), d["owner"] == d["node"]) {
        (Some(0) | None, _) => "nobody has had the vote yet".to_owned(),
        (Some(_), true) => format!(
            "this node ({}) is the master (term {}), {}",
            d["node"],
            d["term"],
            if d["counts_here"] == true {
                format!("its lease ends in {} ms if nothing renews it", d["lease_left_ms"])
            } else {
                "and does not count the vote".to_owned()
            }
        ),
        (Some(node), false) => format!("node {node} is the master (term {})", d["term"]),
    };
    let alive: Vec<String> = d["alive"].as_array().into_iter().flatten().map(Value::to_string).collect();
    format!(
        "Quorum disk: {owner}\nScore:       {}/{} (Minimum required = {}){}\nCycle:       every {} ms, the last one took {} us; lease {} ms\n\
         Visible Set: {{ {} }}\n",
        d["score"],
        d["score_max"],
        d["min_score"],
        if d["wanted"] == true { "" } else { ", does not ask for the vote" },
        d["interval_ms"],
        d["took_us"],
        d["lease_ms"],
        alive.join(" "),
    )
}

/// What each node has written to a disk.
fn nodes(path: &Path) -> Vec<Value> {
    let device = path.display().to_string();
    let now = clock::wall_nanos() / 1_000_000_000;
    let of = |area: &Area, slot: u8, b: &Block| {
        json!({
            "device": device, "node": slot, "state": device::state(slot, b, area), "score": b.score.0, "score_max": b.score.1,
            "age_s": now.saturating_sub(b.written), "took_us": b.took.as_micros(), "term": b.decided.term,
            "owner": b.decided.owner.slot, "incarnation": b.life.get(), "wanted": b.wanted,
        })
    };
    match device::read(path) {
        Ok(Content::Ours(_, area)) => area
            .slots()
            .filter_map(|(slot, read)| match read {
                Slot::Block(b) if b.life.get() > 0 => Some(of(&area, slot, b)),
                Slot::Block(_) => None,
                Slot::Damaged(why) => {
                    Some(json!({"device": device, "node": slot, "state": "Damaged", "why": why.to_string()}))
                }
            })
            .collect(),
        _ => Vec::new(),
    }
}

fn word(v: &Value) -> String {
    match v {
        Value::Null => "-".into(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
