//! The configuration on disk: read at start, saved durably by a thread of its own (temporary file, fsync, rename, fsync
//! of the folder), so that the loop never waits for a disk.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

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
        let thread =
            std::thread::Builder::new().name("store".into()).stack_size(128 * 1024).spawn(move || {
                while let Ok((number, text)) = work.recv() {
                    if report.send((number, save(&path, &text))).is_err() {
                        return;
                    }
                    notify();
                }
            })?;
        Ok(Self { queue: Some(queue), done, thread: Some(thread) })
    }

    /// Queues a document; its number comes back from [`Self::poll_done`].
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

const EMPTY: &str = "<cib admin_epoch=\"0\" epoch=\"0\" num_updates=\"0\"><configuration><crm_config/><nodes/><resources/>\
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
        drop(store);
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
