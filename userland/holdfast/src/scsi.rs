//! `holdfast scsi`: keys and the reservation of a disk with SCSI-3 persistent reservations, and the end of both.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use cmm_scsi::{Cluster, Command, Failure, Key};
use fencing_scsi::Disk;
use serde_json::{Value, json};
use status::ClusterStatus;

use crate::exit::Exit;
use crate::gather::{Sources, gather};
use crate::io::Io;

/// See who can write to a disk with SCSI-3 persistent reservations, and clear it.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Show the registration keys with the nodes whose they are, and who holds the reservation
    Show(Show),
    /// Remove all keys and the reservation: then every machine can write to the disk
    ///
    /// Not while keys of nodes that are in this node's cluster now are there: stop cmmd on them first. Without cmmd on this node nobody knows
    /// whether the others run.
    Clear(Clear),
}

#[derive(clap::Args)]
struct Show {
    /// The disk, by path
    #[arg(value_name = "DEVICE")]
    device: PathBuf,
    /// Whose keys are told apart from others', where cmmd does not run here to say so
    #[arg(long, value_name = "CLUSTERNAME")]
    cluster: Option<String>,
    /// Print JSON: one object, fields are only ever added
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
struct Clear {
    /// The disk, by path
    #[arg(value_name = "DEVICE")]
    device: PathBuf,
    /// Do not ask; the cluster's name (totem.cluster_name) says that this is the machine you think it is
    #[arg(long, value_name = "CLUSTERNAME")]
    force: Option<String>,
    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Print JSON: one object, fields are only ever added. Nothing is asked: --force says that it may be done
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args, io: &mut Io) -> Exit {
    match &args.what {
        What::Show(args) => show(args, io),
        What::Clear(args) => clear(args, io),
    }
}

/// What stands on the disk.
struct Seen {
    generation: u32,
    keys: Vec<Key>,
    holder: Option<(Key, u8)>,
}

/// A key, and whose it is.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    key: Key,
    /// Of this cluster.
    node: Option<u8>,
    name: String,
    member: bool,
    paths: usize,
    holds: bool,
}

fn look(path: &Path) -> Result<(Disk, Seen), String> {
    let name = path.display();
    let disk = Disk::open(path, TIMEOUT_MS).map_err(|e| format!("{name} cannot be opened: {e}"))?;
    let why = |failure: Failure| match failure {
        Failure::Io(ENOTTY) => format!("{name} takes no SCSI commands; name a whole SCSI disk"),
        failure => format!("{name}: {failure}"),
    };
    let (generation, keys) = disk.keys().map_err(why)?;
    let holder = disk.holder().map_err(why)?;
    Ok((disk, Seen { generation, keys, holder }))
}

/// One row for each key, nodes of this cluster first.
fn rows(seen: &Seen, status: &ClusterStatus, cluster: Option<Cluster>) -> Vec<Row> {
    let mut keys = seen.keys.clone();
    keys.sort_unstable();
    keys.dedup();
    let row = |key: Key| {
        let node = cluster.and_then(|c| c.slot(key));
        let known = status.nodes.iter().find(|n| node.is_some_and(|slot| n.id == u32::from(slot)));
        Row {
            key,
            node,
            name: known.map_or(String::new(), |n| n.name.clone()),
            member: node.is_some_and(|slot| status.ring.members.contains(&u32::from(slot))),
            paths: seen.keys.iter().filter(|k| **k == key).count(),
            holds: seen.holder.is_some_and(|(holder, _)| holder == key),
        }
    };
    let mut rows: Vec<Row> = keys.into_iter().map(row).collect();
    rows.sort_by_key(|row| (row.node.is_none(), row.node, row.key));
    rows
}

fn show(args: &Show, io: &mut Io) -> Exit {
    let seen = match look(&args.device) {
        Ok((_, seen)) => seen,
        Err(why) => return fail(&why, io),
    };
    let status = gather(&Sources::from_env());
    let name = args.cluster.clone().or_else(|| status.answered.cmmd.then(|| status.cluster_name.clone()));
    let rows = rows(&seen, &status, name.as_deref().map(Cluster::of_name));
    if args.json {
        let json = as_json(&args.device, &seen, &rows, name.as_deref());
        io.say(format_args!("{json:#}\n"));
    } else {
        io.say(format_args!("{}", as_text(&args.device, &seen, &rows, name.as_deref())));
    }
    Exit::Ok
}

fn as_json(device: &Path, seen: &Seen, rows: &[Row], cluster: Option<&str>) -> Value {
    let key = |row: &Row| {
        json!({
            "key": row.key.to_string(), "node": row.node, "name": row.name, "member": row.member, "paths": row.paths,
        })
    };
    let reservation = seen.holder.map(|(holder, kind)| {
        let row = rows.iter().find(|row| row.key == holder);
        json!({"key": holder.to_string(), "node": row.and_then(|r| r.node), "type": kind})
    });
    json!({
        "device": device.display().to_string(), "cluster": cluster, "generation": seen.generation,
        "keys": rows.iter().map(key).collect::<Vec<_>>(), "reservation": reservation,
    })
}

fn as_text(device: &Path, seen: &Seen, rows: &[Row], cluster: Option<&str>) -> String {
    let mut text = format!("{}: {} keys, generation {}", device.display(), rows.len(), seen.generation);
    let _ = match seen.holder {
        None => writeln!(text, ", no reservation: every machine can write"),
        Some((_, REGISTRANTS_ONLY)) => writeln!(text, ", only who is registered can write"),
        Some((holder, kind)) => writeln!(text, ", a reservation of type {kind:#x} held by {holder}"),
    };
    let width = rows.iter().map(|row| row.name.len()).max().unwrap_or(0).max(4);
    if !rows.is_empty() {
        let _ = writeln!(text, "{:18}  Node  {:width$}  Member  Paths  Holds", "Key", "Name");
    }
    for row in rows {
        let node = row.node.map_or("-".to_owned(), |n| n.to_string());
        let member = if row.member { "yes" } else { "no" };
        let holds = if row.holds { "reservation" } else { "" };
        let line =
            format!("{}  {node:>4}  {:width$}  {member:6}  {:>5}  {holds}", row.key, row.name, row.paths);
        let _ = writeln!(text, "{}", line.trim_end());
    }
    if cluster.is_none() && !rows.is_empty() {
        text.push_str("cmmd does not answer here: --cluster CLUSTERNAME says whose nodes the keys are of.\n");
    }
    text
}

/// Why the disk must be left alone.
fn in_use(device: &Path, rows: &[Row], status: &ClusterStatus, force: Option<&str>) -> Option<String> {
    let members: Vec<String> =
        rows.iter().filter(|r| r.member).filter_map(|r| r.node).map(|n| n.to_string()).collect();
    if !members.is_empty() {
        return Some(format!(
            "{} has keys of nodes that are running: {}; nothing was changed. Stop cmmd on them first",
            device.display(),
            members.join(" ")
        ));
    }
    let name = status.cluster_name.as_str();
    if let Some(force) = force.filter(|force| status.answered.cmmd && *force != name) {
        return Some(format!(
            "this node is of cluster \"{name}\", not \"{force}\"; nothing was changed. If it is the disk you mean: --force {name}"
        ));
    }
    None
}

fn clear(args: &Clear, io: &mut Io) -> Exit {
    let (disk, seen) = match look(&args.device) {
        Ok(found) => found,
        Err(why) => return fail(&why, io),
    };
    let status = gather(&Sources::from_env());
    let name = if status.answered.cmmd { Some(status.cluster_name.clone()) } else { args.force.clone() };
    let cluster = name.as_deref().map(Cluster::of_name);
    let rows = rows(&seen, &status, cluster);
    if let Some(why) = in_use(&args.device, &rows, &status, args.force.as_deref()) {
        io.complain(format_args!("{why}\n"));
        return Exit::CannotCreate;
    }
    if !args.json {
        io.say(format_args!("{}", as_text(&args.device, &seen, &rows, name.as_deref())));
    }
    let nothing = seen.keys.is_empty() && seen.holder.is_none();
    if !nothing && !args.dry_run && args.force.is_none() {
        if args.json {
            return fail("with --json nothing is asked; say --force CLUSTERNAME", io);
        }
        if !status.answered.cmmd {
            io.say(format_args!(
                "cmmd does not answer here: nobody knows whether the nodes with these keys run.\n"
            ));
        }
        io.say(format_args!("All of them go, and every machine can write there then. Proceed [N/y] ? "));
        if io.read_line().map_or(true, |answer| answer.trim() != "y") {
            io.say(format_args!("Good thinking.\n"));
            return Exit::CannotCreate;
        }
    }
    let cleared = !args.dry_run && !nothing;
    if cleared && let Err(failure) = clear_all(&disk) {
        return fail(&format!("{}: the keys cannot be cleared: {failure}", args.device.display()), io);
    }
    if args.json {
        let mut json = as_json(&args.device, &seen, &rows, name.as_deref());
        json["cleared"] = cleared.into();
        io.say(format_args!("{json:#}\n"));
    } else if cleared {
        io.say(format_args!("All keys and the reservation are gone.\n"));
    } else if nothing {
        io.say(format_args!("There is nothing to clear.\n"));
    } else {
        io.say(format_args!("They would be cleared; nothing was changed.\n"));
    }
    Exit::Ok
}

/// Who is registered may clear: so this path registers first.
fn clear_all(disk: &Disk) -> Result<(), Failure> {
    // Of no cluster: theirs have a name in the upper half.
    let key = Key::from_bytes([0, 0, 0, 0, 0, 0, 0, 1]);
    let nobody = Cluster::of_name("");
    disk.send(nobody, Command::RegisterAndIgnore { key, persist: false })?;
    disk.send(nobody, Command::Clear { key }).map(drop).inspect_err(|_| {
        // As it was, as far as that goes.
        let _ = disk.send(nobody, Command::Register { current: key, key: Key::NONE, persist: false });
    })
}

fn fail(why: &str, io: &mut Io) -> Exit {
    io.complain(format_args!("{why}\n"));
    Exit::Software
}

const TIMEOUT_MS: u32 = 10_000;
/// Write exclusive, registrants only.
const REGISTRANTS_ONLY: u8 = 5;
/// As in errno.h.
const ENOTTY: i32 = 25;
const EXAMPLES: &str = "\
Examples:
  holdfast scsi show /dev/disk/by-id/wwn-0x5000       who can write there, who holds the reservation
  holdfast scsi show /dev/sdb --json                  the same for programs
  holdfast scsi show /dev/sdb --cluster web           where cmmd does not run
  holdfast scsi clear /dev/sdb                        after a question
  holdfast scsi clear /dev/sdb --force web            without one
  holdfast scsi clear /dev/sdb --dry-run              what would go

Exit status: 0 done, 64 usage, 70 failed, 73 left as it was";

#[cfg(test)]
mod tests {
    use status::NodeStatus;

    use super::*;

    fn cluster() -> Cluster {
        Cluster::of_name("web")
    }

    /// Keys of nodes 2 (two paths), 1 and of another cluster; 2 holds the reservation.
    fn seen() -> Seen {
        let key = |slot| cluster().key(slot);
        let other = Cluster::of_name("db").key(1);
        Seen { generation: 9, keys: vec![key(2), other, key(1), key(2)], holder: Some((key(2), 5)) }
    }

    fn status(members: &[u32]) -> ClusterStatus {
        let mut status = ClusterStatus { cluster_name: "web".into(), ..ClusterStatus::default() };
        status.answered.cmmd = true;
        status.ring.members = members.to_vec();
        status.nodes = vec![NodeStatus { id: 1, name: "alpha".into(), ..NodeStatus::default() }];
        status
    }

    #[test]
    fn keys_are_shown_with_their_nodes_and_paths() {
        let rows = rows(&seen(), &status(&[1]), Some(cluster()));
        let text = as_text(Path::new("/dev/sdb"), &seen(), &rows, Some("web"));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "/dev/sdb: 3 keys, generation 9, only who is registered can write");
        assert_eq!(lines[1], "Key                 Node  Name   Member  Paths  Holds");
        assert!(lines[2].ends_with("00000001     1  alpha  yes         1"), "{text}");
        assert!(lines[3].ends_with("00000002     2         no          2  reservation"), "{text}");
        assert!(lines[4].ends_with("   -         no          1"), "{text}");
        let json = as_json(Path::new("/dev/sdb"), &seen(), &rows, Some("web"));
        assert_eq!(json["keys"][1]["paths"], 2);
        assert_eq!((&json["reservation"]["node"], &json["reservation"]["type"]), (&json!(2), &json!(5)));
        assert_eq!(json["keys"][2]["node"], Value::Null);
    }

    #[test]
    fn a_disk_with_keys_of_members_is_never_cleared_and_another_clusters_name_does_not_do() {
        let (seen, path) = (seen(), Path::new("/dev/sdb"));
        let refused = |members: &[u32], force| {
            let status = status(members);
            in_use(path, &rows(&seen, &status, Some(cluster())), &status, force)
        };
        assert!(refused(&[1], Some("web")).unwrap().contains("nodes that are running: 1;"));
        assert!(refused(&[3], Some("db")).unwrap().contains("--force web"));
        assert_eq!(refused(&[3], Some("web")), None);
        assert_eq!(refused(&[3], None), None);
    }
}
