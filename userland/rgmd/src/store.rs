//! The configuration on disk: read at start, saved durably by a thread of its own (temporary file, fsync, rename, fsync
//! of the folder), so that the loop never waits for a disk. What it was before is kept beside it, and is on disk before the new one
//! counts as saved.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use admin::history::History;
use cib::Cib;
use crossbeam_channel::{Receiver, Sender, unbounded};

use crate::exit::{self, Fatal};

/// Name of the file in the state directory.
const NAME: &str = "cib.xml";

/// The saving thread. Dropping it saves what is queued and ends it.
pub(crate) struct Store {
    queue: Option<Sender<(u64, String)>>,
    done: Receiver<(u64, io::Result<()>)>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Store {
    /// Starts the thread; `notify` is called on it when a save has ended.
    pub(crate) fn start(state_dir: &Path, notify: impl Fn() + Send + 'static) -> io::Result<Self> {
        let (queue, work) = unbounded::<(u64, String)>();
        let (report, done) = unbounded();
        let path = state_dir.join(NAME);
        let mut history = Past::open(state_dir);
        let thread =
            std::thread::Builder::new().name("store".into()).stack_size(128 * 1024).spawn(move || {
                if let Ok(before) = fs::read_to_string(&path) {
                    history.add(&before);
                }
                while let Ok(first) = work.recv() {
                    // What came while the disk was busy is saved at once: the last of it is all of it, and one step of the history.
                    let (number, text) = work.try_iter().last().unwrap_or(first);
                    history.add(&text);
                    if report.send((number, save(&path, &text))).is_err() {
                        return;
                    }
                    notify();
                }
            })?;
        Ok(Self { queue: Some(queue), done, thread: Some(thread) })
    }

    /// Queues a document; its number, or that of a later one that stands for it, comes back from [`Self::poll_done`].
    pub(crate) fn save(&self, number: u64, text: String) {
        if let Some(queue) = &self.queue {
            // The thread lives as long as this handle.
            let _ = queue.send((number, text));
        }
    }

    /// The next save that has ended.
    pub(crate) fn poll_done(&self) -> Option<(u64, io::Result<()>)> {
        self.done.try_recv().ok()
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What the configuration was. A disk that does not take it must not keep the cluster from going on: it is said, once until it is
/// well again.
struct Past {
    history: Option<History>,
    failed: bool,
}

impl Past {
    fn open(state_dir: &Path) -> Self {
        match History::open(state_dir) {
            Ok((history, aside)) => {
                for path in aside {
                    tracing::warn!("a former configuration is damaged and was put aside: {}", path.display());
                }
                Self { history: Some(history), failed: false }
            }
            Err(e) => {
                tracing::warn!("former configurations are not kept: {}: {e}", state_dir.display());
                Self { history: None, failed: true }
            }
        }
    }

    fn add(&mut self, document: &str) {
        let Some(history) = &mut self.history else { return };
        let added = history.add(document);
        if let (Err(e), false) = (&added, self.failed) {
            tracing::warn!("this change of the configuration is not in its history: {e}");
        }
        self.failed = added.is_err();
    }
}

/// The configuration to begin with: the saved one, else the file that was named, else an empty one.
pub(crate) fn first_cib(state_dir: &Path, named: Option<&Path>) -> Result<Cib, Fatal> {
    let saved = state_dir.join(NAME);
    let found = match read(&saved)? {
        Some(text) => Some((saved, text)),
        None => match named {
            None => None,
            Some(path) => match read(path)? {
                Some(text) => Some((path.to_owned(), text)),
                None => return Err(Fatal::new(exit::FILES, format!("there is no file {}", path.display()))),
            },
        },
    };
    let Some((path, text)) = found else { return parse(EMPTY, Path::new("empty CIB")) };
    parse(&text, &path)
}

fn parse(text: &str, path: &Path) -> Result<Cib, Fatal> {
    Cib::parse(text, &path.display().to_string()).map_err(|e| Fatal::new(exit::DATA, e.to_string()))
}

fn read(path: &Path) -> Result<Option<String>, Fatal> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Fatal::new(exit::FILES, format!("cannot read {}: {e}", path.display()))),
    };
    let mut text = String::new();
    // One byte beyond the limit tells the parser that there is more.
    let limit = cib::limits::CONFIGURATION.bytes as u64 + 1;
    file.take(limit)
        .read_to_string(&mut text)
        .map_err(|e| Fatal::new(exit::FILES, format!("cannot read {}: {e}", path.display())))?;
    Ok(Some(text))
}

/// Durable, and at no instant half.
fn save(path: &Path, text: &str) -> io::Result<()> {
    let folder: PathBuf = path.parent().map_or_else(|| PathBuf::from("."), Path::to_owned);
    let temporary = path.with_extension("xml.new");
    let mut file = File::create(&temporary)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    File::open(folder)?.sync_all()
}

const EMPTY: &str = "<cib crm_feature_set=\"3.16.1\" validate-with=\"pacemaker-3.9\" admin_epoch=\"0\" epoch=\"0\" num_updates=\"0\"><configuration><crm_config/><nodes/><resources/>\
<constraints/></configuration><status/></cib>";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_saved_is_read_again_and_wins_over_the_file_named() {
        let dir = std::env::temp_dir().join(format!("rgmd-store-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let named = dir.join("named.xml");
        fs::write(&named, EMPTY.replace("epoch=\"0\"", "epoch=\"3\"")).unwrap();
        assert_eq!(first_cib(&dir, None).ok().map(|c| c.version.epoch), Some(0));
        assert_eq!(first_cib(&dir, Some(&named)).ok().map(|c| c.version.epoch), Some(3));
        let (sender, receiver) = unbounded();
        let store = Store::start(&dir, move || sender.send(()).unwrap()).unwrap();
        store.save(7, EMPTY.replace("epoch=\"0\"", "epoch=\"9\""));
        receiver.recv().unwrap();
        assert!(matches!(store.poll_done(), Some((7, Ok(())))));
        assert_eq!(first_cib(&dir, Some(&named)).ok().map(|c| c.version.epoch), Some(9));
        assert!(!dir.join("cib.xml.new").exists());
        let changed = EMPTY.replace("<resources/>", "<resources><group id=\"g\"/></resources>");
        store.save(8, changed.clone());
        drop(store);
        // What was saved is in the history by then, each configuration once.
        let entries = History::of(&dir).entries().unwrap();
        let of: Vec<_> = entries.iter().map(|e| e.document().unwrap().find_id("g").is_some()).collect();
        assert_eq!(of, [false, true]);
        fs::remove_dir_all(&dir).unwrap();
    }

    /// crmsh loads nothing into a document that does not name them.
    #[test]
    fn a_cluster_without_a_configuration_names_schema_and_feature_set() {
        let [ours, theirs] =
            [EMPTY, cib::operation::EMPTY].map(|text| cib::Element::parse(text, "empty").unwrap());
        for name in ["validate-with", "crm_feature_set"] {
            assert!(ours.get(name).is_some() && ours.get(name) == theirs.get(name), "{name}");
        }
    }

    #[test]
    fn what_comes_while_the_disk_is_busy_is_saved_at_once() {
        let dir = std::env::temp_dir().join(format!("rgmd-group-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let (sender, receiver) = unbounded();
        let store = Store::start(&dir, move || sender.send(()).unwrap()).unwrap();
        let epoch = |n: u64| EMPTY.replace("epoch=\"0\"", &format!("epoch=\"{n}\""));
        for number in 1..=200 {
            store.save(number, epoch(number));
        }
        let mut saved = Vec::new();
        while saved.last() != Some(&200) {
            receiver.recv().unwrap();
            while let Some((number, result)) = store.poll_done() {
                result.unwrap();
                saved.push(number);
            }
        }
        assert!(saved.is_sorted(), "{saved:?}");
        assert_eq!(first_cib(&dir, None).ok().map(|c| c.version.epoch), Some(200));
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn a_bad_file_is_named() {
        let dir = std::env::temp_dir().join(format!("rgmd-bad-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("cib.xml"), "<cib>\n</cib>").unwrap();
        let fatal = first_cib(&dir, None).err().unwrap();
        assert_eq!(fatal.status, exit::DATA);
        assert!(fatal.text.ends_with("cib.xml:1: <cib> has no <configuration>"), "{}", fatal.text);
        assert_eq!(
            first_cib(&dir.join("none"), Some(&dir.join("missing"))).err().unwrap().status,
            exit::FILES
        );
        fs::remove_dir_all(&dir).unwrap();
    }
}
