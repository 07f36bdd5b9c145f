//! The thread that does with quorum disks what may hang: it finds and opens them, and reads why a node went down.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, Thread};
use std::time::Duration;

use cmm_conf::{DiskName, Priority};
use cmm_qdisk::{DiskId, Header, Layout, Tombstone};
use crossbeam_queue::ArrayQueue;
use holdfast_sys::block;
use holdfast_sys::uring::{self, Buffer};
use holdfast_types::{Incarnation, NodeId};

use crate::events::DaemonEvent;
use crate::log::Log;

/// A disk that is ready for use.
pub(super) struct Opened {
    pub(super) disk: usize,
    pub(super) path: PathBuf,
    pub(super) file: File,
    pub(super) header: Header,
}

/// A life of a node that has gone: why?
#[derive(Clone, Copy, Debug)]
pub(super) struct Gone {
    pub(super) slot: u8,
    pub(super) life: Incarnation,
    /// It is looked for so many times more.
    pub(super) tries: u8,
}

/// The loop's side of the thread.
pub(super) struct Clerk {
    gone: Arc<ArrayQueue<Gone>>,
    thread: Thread,
}

impl Clerk {
    /// Has it looked up why a node went down.
    pub(super) fn ask(&self, slot: u8, life: Incarnation) {
        self.gone.force_push(Gone { slot, life, tries: TRIES });
        self.thread.unpark();
    }
}

/// Finds and opens disks, again and again until all are open.
pub(super) struct Opener {
    /// Number, name, and what was said of it last.
    pub(super) waiting: Vec<(usize, DiskName, String)>,
    pub(super) cluster: String,
    /// The highest node id.
    pub(super) last: u8,
    pub(super) opened: Arc<ArrayQueue<Opened>>,
    pub(super) waker: Arc<mio::Waker>,
    pub(super) log: Log,
}

impl Opener {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system refuses it.
    pub(super) fn start(self) -> std::io::Result<Clerk> {
        let gone = Arc::new(ArrayQueue::new(usize::from(cmm_qdisk::SLOTS_MAX)));
        let theirs = Arc::clone(&gone);
        let handle = thread::Builder::new().name("qdisk".into()).spawn(move || self.run(&theirs))?;
        Ok(Clerk { gone, thread: handle.thread().clone() })
    }

    fn run(mut self, asked: &ArrayQueue<Gone>) {
        let mut graves = Vec::new();
        let mut gone: Vec<Gone> = Vec::new();
        loop {
            for (disk, name, said) in std::mem::take(&mut self.waiting) {
                match self.open(disk, &name) {
                    Ok(opened) => {
                        let Header { label, layout, id, .. } = opened.header;
                        let path = opened.path.display();
                        self.log
                            .text(Priority::Notice, format!("Quorum disk {disk} is {path} (label {label})"));
                        graves.push((opened.path.clone(), layout, id));
                        // There is room for each.
                        let _ = self.opened.push(opened);
                        let _ = self.waker.wake();
                    }
                    Err(why) => {
                        if why != said {
                            self.log.text(
                                Priority::Warning,
                                format!("Quorum disk {disk}, {name}, cannot be used: {why}"),
                            );
                        }
                        self.waiting.push((disk, name, why));
                    }
                }
            }
            gone.extend(std::iter::from_fn(|| asked.pop()));
            gone.retain_mut(|gone| {
                gone.tries = gone.tries.saturating_sub(1);
                !self.tell(*gone, &graves) && gone.tries > 0
            });
            match (self.waiting.is_empty(), gone.is_empty()) {
                (true, true) => thread::park(),
                (false, true) => thread::park_timeout(AGAIN),
                (_, false) => thread::park_timeout(LOOK_AGAIN),
            }
        }
    }

    /// Whether it is known why that life ended.
    fn tell(&self, gone: Gone, graves: &[(PathBuf, Layout, DiskId)]) -> bool {
        let stones = graves.iter().filter_map(|(path, layout, id)| tombstone(path, *layout, id, gone.slot));
        let Some(stone) = stones.filter(|s| s.life >= gone.life).max_by_key(|s| s.life) else { return false };
        let (node, life) = (NodeId::new(u32::from(gone.slot)), stone.life);
        self.log.event(DaemonEvent::Tombstone { node, life, why: stone.why.to_string() });
        self.log.wake();
        true
    }

    fn open(&self, disk: usize, name: &DiskName) -> Result<Opened, String> {
        let path = match name {
            DiskName::Path(path) => PathBuf::from(path),
            DiskName::Label(label) => find(label, &self.cluster, &block::all())?,
        };
        let make = "make it with \"mkqdisk -c\" or \"holdfast qdisk create\"";
        let file =
            uring::open(&path).map_err(|e| format!("{e}; {make}, or correct quorum.device.disk.device"))?;
        let header = read_header(&file).map_err(|e| format!("{e}; {make}"))?;
        let cluster = header.cluster.to_string();
        if !cluster.is_empty() && cluster != self.cluster {
            return Err(format!(
                "it is for cluster \"{cluster}\"; name another disk, or make it anew for this one"
            ));
        }
        if header.layout.slots() < self.last {
            return Err(format!(
                "it has room for node ids up to {}, and node {} is configured; make it anew with more slots",
                header.layout.slots(),
                self.last
            ));
        }
        Ok(Opened { disk, path, file, header })
    }
}

fn read_header(file: &File) -> Result<Header, String> {
    let mut start = Buffer::zeroed(8_192);
    file.read_exact_at(start.bytes_mut(), 0).map_err(|e| e.to_string())?;
    Header::find(start.bytes()).map_err(|e| e.to_string())
}

/// The quorum disk of a cluster with this label. Several paths to one disk are one: the last one is that of multipath, if any.
fn find(label: &str, cluster: &str, candidates: &[PathBuf]) -> Result<PathBuf, String> {
    let mut found: Vec<(DiskId, &PathBuf)> = Vec::new();
    for path in candidates {
        let header = uring::open_to_read(path).map_err(|e| e.to_string()).and_then(|file| read_header(&file));
        let Ok(header) = header else { continue };
        let theirs = header.cluster.to_string();
        if header.label.to_string() == label && (theirs.is_empty() || theirs == cluster) {
            found.retain(|(id, _)| *id != header.id);
            found.push((header.id, path));
        }
    }
    match found.as_slice() {
        [(_, path)] => Ok((*path).clone()),
        [] => Err(format!(
            "no block device here is a quorum disk of cluster \"{cluster}\" with this label; \"holdfast qdisk list\" names those that are"
        )),
        several => {
            let paths: Vec<String> = several.iter().map(|(_, p)| p.display().to_string()).collect();
            Err(format!(
                "{} matches found for label '{label}'; please use 'device=' instead! ({})",
                several.len(),
                paths.join(", ")
            ))
        }
    }
}

fn tombstone(path: &Path, layout: Layout, id: &DiskId, slot: u8) -> Option<Tombstone> {
    let file = uring::open_to_read(path).ok()?;
    let mut pair = Buffer::zeroed(layout.pair());
    file.read_exact_at(pair.bytes_mut(), layout.tombstone_at(slot)).ok()?;
    Tombstone::read(slot, id, pair.bytes()).ok()
}

const AGAIN: Duration = Duration::from_secs(2);
/// A node that is going down writes while it does.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// A minute: a node that stood still says why it ends when it moves again.
const TRIES: u8 = 120;

#[cfg(test)]
mod tests {
    use std::fs;

    use cmm_qdisk::format::Text;

    use super::*;

    fn disk(name: &str, label: &str, cluster: &str, id: u8) -> PathBuf {
        let path = std::env::temp_dir().join(format!("cmmd-label-{name}-{}", std::process::id()));
        let layout = Layout::new(512, 4).unwrap();
        let (label, host, cluster) = (Text::new(label), Text::new("h"), Text::new(cluster));
        let header = Header { id: [id; 16], layout, created: 0, generation: 1, label, host, cluster };
        fs::write(&path, header.fresh()).unwrap();
        path
    }

    #[test]
    fn a_disk_is_found_by_its_label_and_two_with_one_label_are_none() {
        let all = [
            disk("a", "web", "shop", 1),
            disk("b", "other", "shop", 2),
            disk("c", "web", "bank", 3),
            disk("path2", "web", "shop", 1),
            std::env::temp_dir().join("cmmd-label-nowhere"),
        ];
        assert_eq!(find("web", "shop", &all).as_ref(), Ok(&all[3]), "two paths to one disk");
        assert_eq!(find("web", "bank", &all).as_ref(), Ok(&all[2]));
        let why = find("db", "shop", &all).unwrap_err();
        assert!(why.contains("no block device here is a quorum disk of cluster \"shop\""), "{why}");
        let twin = disk("twin", "web", "shop", 9);
        let why = find("web", "shop", &[all[0].clone(), twin.clone()]).unwrap_err();
        assert!(why.starts_with("2 matches found for label 'web'; please use 'device=' instead!"), "{why}");
        for path in all.iter().take(4).chain([&twin]) {
            fs::remove_file(path).unwrap();
        }
    }

    #[test]
    fn a_tombstone_is_read_where_it_is() {
        let path = disk("grave", "web", "shop", 1);
        let layout = Layout::new(512, 4).unwrap();
        let none = tombstone(&path, layout, &[1; 16], 3).unwrap();
        assert_eq!(none.life, Incarnation::new(0));
        let stone = Tombstone { life: Incarnation::new(7), written: 1, why: Text::new("so it was") };
        let mut image = fs::read(&path).unwrap();
        let at = usize::try_from(layout.tombstone_at(3)).unwrap();
        stone.write(3, &[1; 16], &mut image[at..at + layout.pair()]);
        fs::write(&path, image).unwrap();
        assert_eq!(tombstone(&path, layout, &[1; 16], 3), Some(stone));
        assert_eq!(tombstone(&path, layout, &[2; 16], 3), None, "another disk");
        fs::remove_file(path).unwrap();
    }
}
