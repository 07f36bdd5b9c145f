//! A disk with SCSI-3 persistent reservations: a thread of its own opens it and sends commands, one at a time; a disk that hangs holds up
//! nobody else.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;
use std::{io, thread};

use cmm_scsi::{Cluster, Command, Failure, Reply};
use crossbeam_queue::ArrayQueue;
use fencing_scsi::Disk;

/// The loop's end.
pub(crate) struct Target {
    commands: SyncSender<Command>,
    done: Arc<ArrayQueue<Result<Reply, Failure>>>,
}

/// What the thread is told.
pub(crate) struct Config {
    pub(crate) path: PathBuf,
    /// Whose keys count.
    pub(crate) cluster: Cluster,
    /// A command may take this long, and then as long as the kernel tries to abort it.
    pub(crate) timeout_ms: u32,
}

impl Target {
    /// Starts the thread. `opened` hears of each attempt to open the disk.
    ///
    /// # Errors
    /// When no thread can be started.
    pub(crate) fn start(
        name: &str,
        config: Config,
        waker: Arc<mio::Waker>,
        opened: impl FnMut(&Path, Result<(), &io::Error>) + Send + 'static,
    ) -> io::Result<Self> {
        let done = Arc::new(ArrayQueue::new(1));
        // One is outstanding at a time: sending never waits.
        let (commands, waiting) = sync_channel(1);
        let sender = Sender { config, opened, disk: None };
        let answers = Arc::clone(&done);
        thread::Builder::new()
            .name(name.into())
            .stack_size(128 * 1_024)
            .spawn(move || sender.run(&waiting, &answers, &waker))?;
        Ok(Self { commands, done })
    }

    /// Sends a command. The one before is over.
    pub(crate) fn send(&self, command: Command) {
        if self.commands.try_send(command).is_err() {
            // The thread is gone, and nothing is in there.
            let _ = self.done.push(Err(Failure::Io(ENODEV)));
        }
    }

    /// A command that is over.
    pub(crate) fn done(&self) -> Option<Result<Reply, Failure>> {
        self.done.pop()
    }
}

/// The thread's end.
struct Sender<F> {
    config: Config,
    opened: F,
    disk: Option<Disk>,
}

impl<F: FnMut(&Path, Result<(), &io::Error>)> Sender<F> {
    fn run(
        mut self,
        commands: &Receiver<Command>,
        answers: &ArrayQueue<Result<Reply, Failure>>,
        waker: &mio::Waker,
    ) {
        while let Ok(command) = commands.recv() {
            let result = self.send(command);
            if let Err(Failure::Io(_)) = result {
                // It may be there under the same name as another device.
                self.disk = None;
                thread::sleep(PAUSE);
            }
            // The one before it was taken.
            let _ = answers.push(result);
            let _ = waker.wake();
        }
    }

    fn send(&mut self, command: Command) -> Result<Reply, Failure> {
        let Config { path, cluster, timeout_ms } = &self.config;
        let disk = match self.disk.take() {
            Some(disk) => disk,
            None => match Disk::open(path, *timeout_ms) {
                Ok(disk) => {
                    (self.opened)(path, Ok(()));
                    disk
                }
                Err(error) => {
                    (self.opened)(path, Err(&error));
                    return Err(Failure::Io(error.raw_os_error().unwrap_or(ENODEV)));
                }
            },
        };
        self.disk.insert(disk).send(*cluster, command)
    }
}

/// Before a disk that failed is tried again.
const PAUSE: Duration = Duration::from_millis(100);
/// As in errno.h.
const ENODEV: i32 = 19;
