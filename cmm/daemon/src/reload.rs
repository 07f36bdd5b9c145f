//! Reading the configuration again while the node runs: on a thread of its own, since files and names may be slow.
//!
//! Links, their addresses and priorities are taken over; all else waits for the next start.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, Thread};

use cmm_conf::{Config, Severity};
use crossbeam_queue::ArrayQueue;

use crate::startup;

/// The loop's end of the thread that reads the configuration.
pub(crate) struct Reloader {
    shared: Arc<Shared>,
    thread: Thread,
}

struct Shared {
    asked: AtomicBool,
    read: ArrayQueue<Result<Box<Config>, String>>,
}

impl Reloader {
    /// Starts the thread; `waker` wakes the loop when the file was read.
    ///
    /// # Errors
    /// When the system refuses the thread.
    pub(crate) fn start(path: PathBuf, waker: Arc<mio::Waker>) -> io::Result<Self> {
        let shared = Arc::new(Shared { asked: AtomicBool::new(false), read: ArrayQueue::new(1) });
        let theirs = Arc::clone(&shared);
        let run = move || {
            loop {
                while !theirs.asked.swap(false, Ordering::AcqRel) {
                    thread::park();
                }
                theirs.read.force_push(read(&path));
                // The loop lives as long as this thread; if its poll is gone, so is the process.
                let _ = waker.wake();
            }
        };
        let handle = thread::Builder::new().name("reload".into()).stack_size(STACK_BYTES).spawn(run)?;
        Ok(Self { shared, thread: handle.thread().clone() })
    }

    /// Has the configuration read.
    pub(crate) fn ask(&self) {
        self.shared.asked.store(true, Ordering::Release);
        self.thread.unpark();
    }

    /// What was read, if anything was.
    pub(crate) fn done(&self) -> Option<Result<Box<Config>, String>> {
        self.shared.read.pop()
    }
}

/// Stricter than a start: an error refuses it, for there is something that works.
fn read(path: &std::path::Path) -> Result<Box<Config>, String> {
    let (config, found) = startup::read_config(path).map_err(|e| e.text)?;
    match found.iter().find(|d| d.severity >= Severity::Error) {
        Some(wrong) => Err(found.line(wrong)),
        None => config.map(Box::new).ok_or_else(|| "the file cannot be run".to_owned()),
    }
}

const STACK_BYTES: usize = 512 * 1_024;
