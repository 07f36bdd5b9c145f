//! The node table as it is kept on the disk: lines of text, so that an operator can see what counts.
//!
//! ```text
//! cluster NAME
//! in_force RING.NUMBER expected VOTES
//! node ID VOTES
//! device MODEL VOTES
//! tie_break lowest|highest|ID … by ID
//! away ID …
//! maintained ID …
//! device_out
//! least VOTES
//! next RING.NUMBER expected VOTES
//! node ID VOTES
//! ```
//!
//! `next` is there while a change is under way; the lines behind the nodes where there is a quorum device, nodes or the device do not count
//! for now, or ties are broken.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;

use cmm_proto::{DeviceEntry, DeviceKind, NodeEntry, NodeTable, TableId, Tables, TieBreak};
use holdfast_types::{NodeId, Votes};

use crate::exit::{self, Fatal};

/// The tables as text.
pub(crate) fn to_text(cluster: &str, tables: &Tables) -> String {
    let mut text = format!("cluster {cluster}\n");
    let mut put = |what: &str, id: TableId, table: &NodeTable| {
        let _ = writeln!(text, "{what} {}.{} expected {}", id.ring, id.number, table.expected);
        for node in &table.nodes {
            let _ = writeln!(text, "node {} {}", node.id, node.votes);
        }
        if let Some(device) = table.device {
            let _ = writeln!(text, "device {} {}", device.kind.name(), device.votes);
        }
        let scale = &table.scale;
        let rule = match &table.tie_break {
            TieBreak::Off => String::new(),
            TieBreak::Lowest => "lowest".to_owned(),
            TieBreak::Highest => "highest".to_owned(),
            TieBreak::Listed(list) => ids(list),
        };
        if !rule.is_empty() {
            let _ = writeln!(text, "tie_break {rule} by {}", scale.tie.map_or(0, NodeId::get));
        }
        for (name, list) in [("away", &scale.away), ("maintained", &scale.maintained)] {
            if !list.is_empty() {
                let _ = writeln!(text, "{name} {}", ids(list));
            }
        }
        if scale.device_out {
            text.push_str("device_out\n");
        }
        if scale.least.get() > 0 {
            let _ = writeln!(text, "least {}", scale.least);
        }
    };
    put("in_force", tables.id, &tables.table);
    if let Some((id, table)) = &tables.next {
        put("next", *id, table);
    }
    text
}

fn ids(list: &[NodeId]) -> String {
    list.iter().map(NodeId::to_string).collect::<Vec<_>>().join(" ")
}

/// Ids of the table, ascending where `sorted`.
fn read_ids(words: &[&str], table: &NodeTable, sorted: bool) -> Option<Vec<NodeId>> {
    let id = |word: &&str| word.parse().ok().map(NodeId::new);
    let ids: Vec<NodeId> = words.iter().map(id).collect::<Option<_>>()?;
    let ordered = !sorted || ids.windows(2).all(|w| w[0] < w[1]);
    (!ids.is_empty() && ordered && ids.iter().all(|id| table.votes(*id).is_some())).then_some(ids)
}

/// The tables of this cluster; none where the text is another cluster's.
///
/// # Errors
/// The line that cannot be.
pub(crate) fn of_text(cluster: &str, text: &str) -> Result<Option<Tables>, String> {
    let mut lines = text.lines();
    let name = lines
        .next()
        .and_then(|line| line.strip_prefix("cluster "))
        .ok_or("the first line names no cluster")?;
    if name != cluster {
        return Ok(None);
    }
    let mut found: Vec<(&str, TableId, NodeTable)> = Vec::new();
    for line in lines {
        let wrong = || format!("\"{line}\"");
        let words: Vec<&str> = line.split(' ').collect();
        match (words.as_slice(), found.last_mut()) {
            (["node", id, votes], Some((.., table))) => {
                let id = NodeId::new(id.parse().map_err(|_| wrong())?);
                let votes = Votes::new(votes.parse().map_err(|_| wrong())?);
                if id.get() == 0 || table.nodes.last().is_some_and(|last| last.id >= id) {
                    return Err(wrong());
                }
                table.nodes.push(NodeEntry { id, votes });
            }
            (["device", model, votes], Some((.., table))) => {
                let kinds = [DeviceKind::Disk, DeviceKind::Scsi, DeviceKind::Net];
                let kind = kinds.into_iter().find(|kind| kind.name() == *model).ok_or_else(wrong)?;
                let votes = Votes::new(votes.parse().map_err(|_| wrong())?);
                table.device = Some(DeviceEntry { votes, kind }).filter(|device| device.votes.get() > 0);
            }
            (["device_out"], Some((.., table))) if table.device.is_some() => table.scale.device_out = true,
            (["tie_break", rule @ .., "by", tie], Some((.., table))) => {
                table.tie_break = match rule {
                    ["lowest"] => TieBreak::Lowest,
                    ["highest"] => TieBreak::Highest,
                    list => TieBreak::Listed(read_ids(list, table, false).ok_or_else(wrong)?),
                };
                let tie = tie.parse().map_err(|_| wrong())?;
                table.scale.tie = Some(NodeId::new(tie)).filter(|id| id.get() > 0);
            }
            (["away", list @ ..], Some((.., table))) => {
                table.scale.away = read_ids(list, table, true).ok_or_else(wrong)?;
            }
            (["maintained", list @ ..], Some((.., table))) => {
                table.scale.maintained = read_ids(list, table, true).ok_or_else(wrong)?;
            }
            (["least", votes], Some((.., table))) => {
                table.scale.least = Votes::new(votes.parse().map_err(|_| wrong())?);
            }
            ([what @ ("in_force" | "next"), id, "expected", expected], _) => {
                let (ring, number) = id.split_once('.').ok_or_else(wrong)?;
                let ring = ring.parse().map_err(|_| wrong())?;
                let number = number.parse().map_err(|_| wrong())?;
                let expected = Votes::new(expected.parse().map_err(|_| wrong())?);
                found.push((what, TableId { ring, number }, NodeTable::new(Vec::new(), Some(expected))));
            }
            _ => return Err(wrong()),
        }
    }
    if let Some((what, ..)) =
        found.iter().find(|(.., table)| table.nodes.is_empty() || table.nodes.len() > MAX)
    {
        return Err(format!("number of nodes in \"{what}\""));
    }
    let mut found = found.into_iter();
    match (found.next(), found.next(), found.next()) {
        (Some(("in_force", id, table)), None, None) => Ok(Some(Tables { id, table, next: None })),
        (Some(("in_force", id, table)), Some(("next", next_id, next)), None) => {
            Ok(Some(Tables { id, table, next: Some((next_id, next)) }))
        }
        _ => Err("no table in force".into()),
    }
}

/// The tables that an earlier life has left behind, if it has.
///
/// # Errors
/// When the file cannot be read, or is damaged.
pub(crate) fn read(path: &Path, cluster: &str) -> Result<Option<Tables>, Fatal> {
    let wrong = |what: String| {
        let text = format!(
            "{}: {what}; it holds the node list that counts: copy it from another node, or, where all nodes are stopped, remove it \
             on all of them to start with the lists of the configuration files",
            path.display()
        );
        Fatal::new(exit::FILES, text)
    };
    match fs::read_to_string(path) {
        Ok(text) => of_text(cluster, &text).map_err(|line| wrong(format!("is damaged: {line}"))),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(wrong(format!("cannot be read: {e}"))),
    }
}

const MAX: usize = cmm_proto::limits::NODES_MAX;

#[cfg(test)]
mod tests {
    use cmm_proto::Scale;

    use super::*;

    fn tables() -> Tables {
        let table = |ids: &[u32]| {
            let entry = |id: &u32| NodeEntry { id: NodeId::new(*id), votes: Votes::new(id % 3) };
            NodeTable::new(ids.iter().map(entry).collect(), None)
        };
        let id = |ring, number| TableId { ring, number };
        Tables {
            id: id(44, 0),
            table: table(&[1, 2, 3]),
            next: Some((id(72, 2), table(&[1, 2, 4_000_000_000]))),
        }
    }

    #[test]
    fn what_is_written_is_read_and_of_another_cluster_nothing() {
        for tables in [tables(), Tables { next: None, ..tables() }] {
            let text = to_text("a b", &tables);
            assert_eq!(of_text("a b", &text), Ok(Some(tables)), "{text}");
            assert_eq!(of_text("other", &text), Ok(None));
        }
        let mut scaled = Tables { next: None, ..tables() };
        for tie_break in [TieBreak::Lowest, TieBreak::Highest, TieBreak::Listed(vec![NodeId::new(2)])] {
            let device = DeviceEntry { votes: Votes::new(2), kind: DeviceKind::Scsi };
            let table = scaled.table.with_tie_break(tie_break).with_device(Some(device));
            let scale = Scale {
                away: vec![NodeId::new(1)],
                maintained: vec![NodeId::new(3)],
                device_out: true,
                least: Votes::new(2),
                tie: None,
            };
            scaled.table = table.scaled(scale, |_| true);
            let text = to_text("c", &scaled);
            assert_eq!(of_text("c", &text), Ok(Some(scaled.clone())), "{text}");
            let other = text.replace("away 1", "away 7");
            assert!(of_text("c", &other).is_err_and(|line| line.contains("away 7")));
        }
        let text = "cluster c\nin_force 44.0 expected 3\nnode 1 1\nnode 2 2\nnode 3 0\n";
        assert_eq!(to_text("c", &Tables { next: None, ..tables() }), text);
    }

    #[test]
    fn what_is_damaged_is_refused_with_the_line() {
        let text = to_text("c", &tables());
        for (from, to, says) in [
            ("cluster", "cl", "the first line names no cluster"),
            ("in_force", "next", "no table in force"),
            ("node 1 1", "node 1 x", "node 1 x"),
            ("node 1 1", "node 0 1", "node 0 1"),
            ("node 3 0", "node 2 0", "node 2 0"),
            ("44.0", "44", "in_force 44 expected 3"),
            ("next", "then", "then 72.2"),
            ("node 1 1\nnode 2 2\nnode 3 0\n", "", "number of nodes"),
        ] {
            let found = of_text("c", &text.replacen(from, to, 1)).unwrap_err();
            assert!(found.contains(says), "{from}: {found}");
        }
        assert!(of_text("c", "cluster c\n").is_err() && of_text("c", "").is_err());
    }
}
