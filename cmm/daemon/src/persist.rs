//! What must survive this process: written by a thread of its own, to temporary files, fsync, rename, fsync of the
//! folder. A kill or a power cut at any instant leaves the old content or the new one.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, Thread};
use std::time::Duration;

use cmm_proto::Record;
use crossbeam_queue::ArrayQueue;
use holdfast_types::NodeId;

use crate::events::DaemonEvent;
use crate::exit::{self, Fatal};
use crate::log::Log;
use crate::node_table;

/// The loop's end of the thread that writes.
pub(crate) struct Persister {
    queues: Arc<Queues>,
    thread: Thread,
}

struct Queues {
    jobs: ArrayQueue<Record>,
    done: ArrayQueue<Record>,
}

/// The core asks for a new record only when the one before is durable, more or less.
const QUEUE_MAX: usize = 64;
const STACK_BYTES: usize = 128 * 1_024;
const RETRY: Duration = Duration::from_millis(500);

impl Persister {
    /// Starts the thread; `waker` wakes the loop when something is durable.
    ///
    /// # Errors
    /// When the system refuses the thread.
    pub(crate) fn start(files: Files, waker: Arc<mio::Waker>, log: Log) -> io::Result<Self> {
        let queues = Arc::new(Queues { jobs: ArrayQueue::new(QUEUE_MAX), done: ArrayQueue::new(QUEUE_MAX) });
        let for_thread = Arc::clone(&queues);
        let handle = thread::Builder::new()
            .name("persist".into())
            .stack_size(STACK_BYTES)
            .spawn(move || run(&for_thread, &files, &waker, &log))?;
        Ok(Self { queues, thread: handle.thread().clone() })
    }

    /// Hands a record over.
    pub(crate) fn push(&self, record: Record) {
        // When the disk stands still for so long that they pile up, the newest says it all.
        self.queues.jobs.force_push(record);
        self.thread.unpark();
    }

    /// The next record that is durable.
    pub(crate) fn done(&self) -> Option<Record> {
        self.queues.done.pop()
    }
}

fn run(queues: &Queues, files: &Files, waker: &mio::Waker, log: &Log) {
    let mut failing = false;
    let mut written: [Option<String>; 4] = Default::default();
    loop {
        let mut newest: Option<Record> = None;
        while let Some(record) = queues.jobs.pop() {
            newest = Some(record);
        }
        let Some(record) = newest else {
            thread::park();
            continue;
        };
        let number = |n: u64| Some(format!("{n}\n"));
        let contents = [
            (&files.ring, number(record.ring_seq_reserved)),
            (&files.promise, number(record.promised.as_nanos())),
            (&files.expected, record.expected_seen.and_then(|n| number(n.get().into()))),
            (&files.nodes, record.tables.as_ref().map(|t| node_table::to_text(&files.cluster, t))),
        ];
        for ((path, content), written) in contents.into_iter().zip(&mut written) {
            while let Some(text) = content.as_ref().filter(|_| *written != content) {
                match write_durably(path, text.as_bytes()) {
                    Ok(()) => written.clone_from(&content),
                    Err(e) => {
                        if !failing {
                            failing = true;
                            log.event(DaemonEvent::PersistFailed {
                                error: format!("{}: {e}", path.display()),
                            });
                            log.wake();
                        }
                        thread::sleep(RETRY);
                    }
                }
            }
        }
        if failing {
            failing = false;
            log.event(DaemonEvent::PersistRecovered);
            log.wake();
        }
        queues.done.force_push(record);
        // The loop lives as long as this thread; if its poll is gone, so is the process.
        let _ = waker.wake();
    }
}

/// Replaces a file so that no crash can leave it torn or empty.
pub(crate) fn write_durably(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let temporary = PathBuf::from(temporary);
    let mut file = File::create(&temporary)?;
    file.write_all(content)?;
    file.sync_all()?;
    drop(file);
    fs::rename(&temporary, path)?;
    File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
}

/// A number from a state file; `None` where there is no file yet.
pub(crate) fn read_number(path: &Path) -> Result<Option<u64>, Fatal> {
    let wrong = |what: String| Fatal::new(exit::FILES, format!("{}: {what}", path.display()));
    match fs::read_to_string(path) {
        Ok(text) => match text.trim().parse() {
            Ok(n) => Ok(Some(n)),
            Err(_) => Err(wrong(
                "is not a number; restore it, or write one that is greater than any this cluster has used"
                    .into(),
            )),
        },
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(wrong(format!("cannot be read: {e}"))),
    }
}

/// Where a [`Record`] is kept. With the node's id in the names, as corosync does: nodes in namespaces of one machine may share
/// the folder.
pub(crate) struct Files {
    /// The highest ring sequence number that may have been used.
    pub(crate) ring: PathBuf,
    /// The longest promise of a lease that may have been made, in nanoseconds.
    pub(crate) promise: PathBuf,
    /// The node tables that count.
    pub(crate) nodes: PathBuf,
    /// The most votes that were ever expected, where that is tracked.
    pub(crate) expected: PathBuf,
    /// Whose.
    cluster: String,
}

impl Files {
    pub(crate) fn of(state: &Path, cluster: &str, me: NodeId) -> Self {
        let file = |kind: &str| state.join(format!("{kind}_{me}"));
        Self {
            ring: file("ringid"),
            promise: file("promise"),
            nodes: file("nodes"),
            expected: file("ev_tracking"),
            cluster: cluster.to_owned(),
        }
    }
}

/// Where this node's last incarnation is kept.
pub(crate) fn incarnation_file(state: &Path, me: NodeId) -> PathBuf {
    state.join(format!("incarnation_{me}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_as_a_whole_and_reads_back() {
        let dir = std::env::temp_dir().join(format!("cmmd-persist-{}", std::process::id()));
        fs::create_dir_all(&dir).expect("a folder");
        let path = dir.join("n");
        assert_eq!(read_number(&path).expect("no file is fine"), None);
        write_durably(&path, b"41\n").expect("writes");
        write_durably(&path, b"42\n").expect("writes again");
        assert_eq!(read_number(&path).expect("reads"), Some(42));
        assert_eq!(fs::read_dir(&dir).expect("lists").count(), 1, "no temporary file stays");
        fs::write(&path, "").expect("writes");
        let refused = read_number(&path).expect_err("an empty file is no number").to_string();
        assert!(refused.contains("is not a number; restore it"), "{refused}");
        fs::remove_dir_all(&dir).expect("removes");
    }
}
