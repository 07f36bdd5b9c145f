//! `fencing { scsi { } }`: data disks whose SCSI-3 persistent reservations keep out whoever is no member.

use holdfast_types::Span;

use crate::quorum::{Quorum, SLOTS_MAX};
use crate::schema::parse_number;
use crate::{Diagnostics, Node, Section};

/// Disks that only members can write to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataDisks {
    /// `scsi.device`, each of them: absolute paths.
    pub paths: Vec<String>,
    /// `scsi.interval`: each node looks at each disk once in this time.
    pub interval: Span,
    /// `scsi.on_conflict`.
    pub on_conflict: OnConflict,
}

/// What a node does that was removed from a data disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnConflict {
    /// It goes down through the failfast.
    Failfast,
    /// It says so; its writes fail.
    Log,
}

pub(crate) fn read(
    root: &Section,
    nodes: &[Node],
    quorum: &Quorum,
    found: &mut Diagnostics,
) -> Option<DataDisks> {
    let scsi = root.all("fencing").flat_map(|f| f.all("scsi")).next()?;
    let get = |key: &str| scsi.get(&[], key);
    let mut paths: Vec<String> = Vec::new();
    for item in scsi.all_items("device") {
        let path = &item.value;
        if !path.starts_with('/') {
            let text = format!(
                "\"{path}\" is no absolute path; write \"device: /dev/disk/by-id/…\", the same name on all nodes"
            );
            found.error(item.at(), text);
        } else if paths.contains(path) {
            found.error(item.at(), format!("data disk {path} is named twice; remove one line"));
        } else if quorum.scsi().is_some_and(|device| device.path == *path) {
            let text = format!(
                "{path} is the quorum device, whose reservation is its vote, and cannot be a data disk as well; name another disk there or here"
            );
            found.error(item.at(), text);
        } else {
            paths.push(path.clone());
        }
    }
    if paths.len() > DISKS_MAX {
        let text = format!(
            "{} data disks, and there is room for {DISKS_MAX}; join them to fewer ones (LVM)",
            paths.len()
        );
        found.error(scsi.at(), text);
        paths.truncate(DISKS_MAX);
    }
    if paths.is_empty() {
        found.error(
            scsi.at(),
            "no data disk is fenced; write \"device: /dev/disk/by-id/…\", or remove the section",
        );
        return None;
    }
    if let Some(node) = nodes.iter().find(|n| n.id.get() > SLOTS_MAX) {
        let text = format!(
            "keys on data disks are those of node ids 1 to {SLOTS_MAX}, and node {} has a higher one; give the nodes low nodeids",
            node.id
        );
        found.error(scsi.at(), text);
        return None;
    }
    Some(DataDisks {
        paths,
        interval: Span::from_millis(get("interval").and_then(|i| parse_number(&i.value)).unwrap_or(2_000)),
        on_conflict: match get("on_conflict").map(|i| i.value.as_str()) {
            Some("log") => OnConflict::Log,
            _ => OnConflict::Failfast,
        },
    })
}

/// Each has a thread.
const DISKS_MAX: usize = 64;
