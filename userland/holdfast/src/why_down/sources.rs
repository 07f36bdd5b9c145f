//! What there is to read: the black box, the configuration's nodes and quorum disks, whether `cmmd` runs. No daemon is asked.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use cmm_conf::{Diagnostics, parse_sections};
use failfast::black_box::{self, Class, Record};
use holdfast_sys::{block, host};
use holdfast_types::{BootId, NodeId};

use super::kernel::{self, Dump};
use super::verdict::{Around, Stone};
use crate::gather::Sources;
use crate::{qdisk, quorum};

/// What the configuration file says that matters here; nothing of it is needed.
#[derive(Clone, Debug, Default)]
pub(super) struct Conf {
    /// Ids and names.
    pub(super) nodes: Vec<(NodeId, String)>,
    /// Quorum disks by path and by label.
    paths: Vec<PathBuf>,
    labels: Vec<String>,
}

/// Everything that was read.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) records: Vec<Record>,
    /// This node, if its black box says which it is.
    pub(super) me: Option<NodeId>,
    pub(super) conf: Conf,
    pub(super) boot: BootId,
    pub(super) running: Option<u32>,
    pub(super) dumps: Vec<Dump>,
    /// What could not be read, and what that may have cost.
    pub(super) warnings: Vec<String>,
}

/// Why there is no answer at all.
#[derive(Debug)]
pub(super) enum Refusal {
    /// Nothing is recorded here.
    Nothing(String),
    /// It may not be read.
    NotAllowed(String),
    /// It is no black box of this version.
    Unusable(String),
}

/// Reads all but the quorum disks.
///
/// # Errors
/// Without a black box.
pub(super) fn find(sources: &Sources, pstore: &[PathBuf]) -> Result<Found, Refusal> {
    let path = sources.state_dir.join("blackbox");
    let records = black_box::read(&path).map_err(|e| refusal(&path, &e))?;
    let me = records.iter().rev().find(|r| r.class == Class::Start).map(|r| r.node);
    let (dumps, failed) = kernel::dumps(pstore);
    let warnings =
        failed.into_iter().map(|why| format!("the kernel's last words cannot be read: {why}")).collect();
    Ok(Found {
        me,
        conf: conf(&quorum::configuration(None, &sources.run_dir)),
        boot: host::boot_id().map(BootId).unwrap_or_default(),
        running: running(&sources.run_dir),
        records,
        dumps,
        warnings,
    })
}

fn refusal(path: &Path, e: &io::Error) -> Refusal {
    let name = path.display();
    match e.kind() {
        io::ErrorKind::NotFound => Refusal::Nothing(format!(
            "there is no black box {name}: cmmd has never run here with this state directory; name it with HOLDFAST_STATE_DIR, or ask on another node: holdfast why-down NODE"
        )),
        io::ErrorKind::PermissionDenied => {
            Refusal::NotAllowed(format!("{name}: {e}; only root may read it: sudo holdfast why-down"))
        }
        _ => Refusal::Unusable(format!("the black box cannot be read: {e}")),
    }
}

/// As much of it as can be understood: a mistake elsewhere in it does not matter now, and no name is looked up.
fn conf(path: &Path) -> Conf {
    let mut found = Diagnostics::new(&path.display().to_string());
    let root = parse_sections(&fs::read(path).unwrap_or_default(), &mut found);
    let nodes = root.all("nodelist").flat_map(|list| list.all("node")).filter_map(|node| {
        let id = NodeId::new(node.get(&[], "nodeid")?.value.parse().ok()?);
        let name = node.get(&[], "name").or_else(|| node.get(&[], "ring0_addr"));
        Some((id, name.map_or_else(|| id.to_string(), |name| name.value.clone())))
    });
    let disks = || root.all("quorum").flat_map(|q| q.all("device")).flat_map(|d| d.all("disk"));
    let values =
        |key: &'static str| disks().flat_map(move |disk| disk.all_items(key)).map(|item| item.value.clone());
    Conf {
        nodes: nodes.collect(),
        paths: values("device").map(PathBuf::from).collect(),
        labels: values("label").collect(),
    }
}

/// The process id of this node's `cmmd`: the file of a dead one is no sign of life.
fn running(run_dir: &Path) -> Option<u32> {
    let pid: u32 = fs::read_to_string(run_dir.join("cmmd.pid")).ok()?.trim().parse().ok()?;
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    (name.trim_end() == "cmmd").then_some(pid)
}

impl Found {
    /// How a node is called.
    pub(super) fn name(&self, node: NodeId) -> String {
        let known = self.conf.nodes.iter().find(|(id, _)| *id == node);
        known.map_or_else(|| self.name_in_box(node), |(_, name)| name.clone())
    }

    /// `Node 2 (n2) of cluster …`, in a record of its start.
    fn name_in_box(&self, node: NodeId) -> String {
        let start = self.records.iter().rev().find(|r| r.class == Class::Start && r.node == node);
        let name =
            start.and_then(|r| r.text.split_once(" (")?.1.split_once(')').map(|(name, _)| name.to_owned()));
        name.unwrap_or_else(|| format!("node {node}"))
    }

    /// The node with this name or id.
    pub(super) fn node(&self, named: &str) -> Option<NodeId> {
        let by_name = self.conf.nodes.iter().find(|(_, name)| name == named).map(|(id, _)| *id);
        by_name
            .or_else(|| named.parse().ok().filter(|id| *id > 0).map(NodeId::new))
            .or_else(|| self.me.filter(|me| self.name_in_box(*me) == named))
    }

    /// What there is on this machine besides the black box about a node.
    pub(super) fn near(&self, node: NodeId) -> Around {
        let own = Some(node) == self.me;
        Around {
            dumps: if own { self.dumps.clone() } else { Vec::new() },
            stones: Vec::new(),
            boot: self.boot,
            running: self.running,
            name: self.name(node),
            names: self.conf.nodes.clone(),
        }
    }

    /// And on the quorum disks: waits for each up to [`DISK_LIMIT`].
    pub(super) fn around(&self, node: NodeId, warnings: &mut Vec<String>) -> Around {
        Around { stones: self.stones(node, warnings), ..self.near(node) }
    }

    fn stones(&self, node: NodeId, warnings: &mut Vec<String>) -> Vec<Stone> {
        let Ok(slot) = u8::try_from(node.get()) else { return Vec::new() };
        let Conf { paths, labels, .. } = self.conf.clone();
        if paths.is_empty() && labels.is_empty() {
            return Vec::new();
        }
        let (tell, told) = mpsc::channel();
        // A disk that hangs keeps its thread, not us; it ends with the process.
        std::thread::spawn(move || {
            let labelled = labels.iter().flat_map(|label| qdisk::with_label(label, &block::all()));
            let all: Vec<PathBuf> = paths.into_iter().chain(labelled).collect();
            for path in all {
                let read = qdisk::tombstone(&path, slot);
                let _ = tell.send((path.display().to_string(), read)); // nobody waits any more: no matter
            }
        });
        let mut stones = Vec::new();
        loop {
            match told.recv_timeout(DISK_LIMIT) {
                Ok((disk, Ok(Some(stone)))) => stones.push(Stone {
                    disk,
                    life: stone.life,
                    at: i64::try_from(stone.written).unwrap_or(0).saturating_mul(1_000_000),
                    why: stone.why.to_string(),
                }),
                Ok((_, Ok(None))) => {}
                Ok((_, Err(why))) => warnings.push(format!("a quorum disk cannot be read: {why}")),
                Err(mpsc::RecvTimeoutError::Disconnected) => return stones,
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    let limit = DISK_LIMIT.as_secs();
                    warnings.push(format!(
                        "a quorum disk did not answer for {limit} seconds: what it says is missing"
                    ));
                    return stones;
                }
            }
        }
    }
}

const DISK_LIMIT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_with_mistakes_says_what_it_can() {
        let dir = std::env::temp_dir().join(format!("holdfast-why-conf-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let path = dir.join("c.conf");
        let text = "nodelist {\n node {\n nodeid: 1\n name: a\n }\n node {\n nodeid: 2\n ring0_addr: nowhere.example\n }\n}\n\
                    totem {\n token: much\n}\nquorum {\n device {\n model: disk\n disk {\n device: /dev/vdb\n label: web\n }\n }\n}\n";
        fs::write(&path, text).unwrap();
        let conf = conf(&path);
        let _ = fs::remove_dir_all(&dir);
        assert_eq!(conf.nodes, [(NodeId::new(1), "a".into()), (NodeId::new(2), "nowhere.example".into())]);
        assert_eq!((conf.paths, conf.labels), (vec![PathBuf::from("/dev/vdb")], vec!["web".to_owned()]));
        assert!(super::conf(&path).nodes.is_empty(), "without a file nothing is known");
        let found = Found { conf: Conf { nodes: conf.nodes, ..Conf::default() }, ..Found::default() };
        assert_eq!(found.node("a"), Some(NodeId::new(1)));
        assert_eq!((found.node("7"), found.node("b"), found.node("0")), (Some(NodeId::new(7)), None, None));
    }

    #[test]
    fn what_is_missing_is_said_with_the_next_command() {
        let nowhere = std::env::temp_dir().join(format!("holdfast-why-{}", std::process::id()));
        let sources = Sources::of_node(nowhere.clone(), nowhere);
        let Err(Refusal::Nothing(why)) = find(&sources, &[]) else { panic!("there is nothing") };
        assert!(why.contains("HOLDFAST_STATE_DIR"), "{why}");
    }
}
