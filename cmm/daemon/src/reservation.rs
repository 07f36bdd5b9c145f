//! The disk with SCSI-3 persistent reservations: a thread of its own opens it and sends what the core wants, one command at a time; a disk
//! that hangs holds up nobody else.

use std::fs::{File, OpenOptions};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;
use std::{io, thread};

use cmm_conf::{Config, Priority};
use cmm_scsi::command::ANSWER_LEN;
use cmm_scsi::{Cluster, Command, Failure, Reply};
use crossbeam_queue::ArrayQueue;
use holdfast_sys::sg::{self, Data};

use crate::log::Log;

/// The loop's end.
pub(crate) struct Reservation {
    commands: Option<SyncSender<Command>>,
    done: Arc<ArrayQueue<Result<Reply, Failure>>>,
}

impl Reservation {
    /// Starts the thread, if such a disk is configured.
    ///
    /// # Errors
    /// When no thread can be started.
    pub(crate) fn start(config: &Config, waker: Arc<mio::Waker>, log: &Log) -> io::Result<Self> {
        let done = Arc::new(ArrayQueue::new(1));
        let Some(scsi) = config.quorum.scsi() else { return Ok(Self { commands: None, done }) };
        // One is outstanding at a time: sending never waits.
        let (commands, waiting) = sync_channel(1);
        let sender = Sender {
            path: scsi.path.clone(),
            cluster: Cluster::of_name(&config.totem.cluster_name),
            timeout_ms: u32::try_from(scsi.lease().as_millis()).unwrap_or(u32::MAX),
            disk: None,
            said: String::new(),
            log: log.clone(),
        };
        let answers = Arc::clone(&done);
        thread::Builder::new()
            .name("reservation".into())
            .spawn(move || sender.run(&waiting, &answers, &waker))?;
        Ok(Self { commands: Some(commands), done })
    }

    /// What the core wants sent.
    pub(crate) fn send(&self, command: Command) {
        if self.commands.as_ref().is_none_or(|c| c.try_send(command).is_err()) {
            // There is nothing in it: the thread has nothing to do, or is gone.
            let _ = self.done.push(Err(Failure::Io(ENODEV)));
        }
    }

    /// A command that is over.
    pub(crate) fn done(&self) -> Option<Result<Reply, Failure>> {
        self.done.pop()
    }
}

/// The thread's end.
struct Sender {
    path: String,
    cluster: Cluster,
    timeout_ms: u32,
    disk: Option<File>,
    /// Why it could not be opened, as said last.
    said: String,
    log: Log,
}

impl Sender {
    fn run(
        mut self,
        commands: &Receiver<Command>,
        answers: &ArrayQueue<Result<Reply, Failure>>,
        waker: &mio::Waker,
    ) {
        while let Ok(command) = commands.recv() {
            let mut result = self.send(command);
            // What the target has to tell, it tells before it does anything.
            for _ in 0..ATTENTIONS_MAX {
                if result != Err(Failure::Attention) {
                    break;
                }
                result = self.send(command);
            }
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
        if self.disk.is_none() {
            self.open()?;
        }
        let Some(disk) = &self.disk else { return Err(Failure::Io(ENODEV)) };
        let (mut sense, mut answer) = ([0; 96], [0; ANSWER_LEN]);
        let list = command.list();
        let data = match &list {
            Some(list) => Data::Out(list),
            None => Data::In(&mut answer),
        };
        let done = sg::send(disk.as_fd(), &command.cdb(), data, &mut sense, self.timeout_ms)
            .map_err(|e| errno(&e))?;
        let read = if list.is_some() { 0 } else { done.read };
        command.reply(self.cluster, done.status, &sense[..done.sense], &answer[..read])
    }

    fn open(&mut self) -> Result<(), Failure> {
        // Non-blocking: a device that has no medium is not waited for.
        let opened = OpenOptions::new().read(true).write(true).custom_flags(O_NONBLOCK).open(&self.path);
        match opened {
            Ok(disk) => {
                self.said.clear();
                self.log.text(Priority::Notice, format!("Quorum disk with reservations is {}", self.path));
                self.disk = Some(disk);
                Ok(())
            }
            Err(error) => {
                let why = format!(
                    "Quorum disk with reservations, {}, cannot be used: {error}; correct quorum.device.scsi.device, or look at the path to the disk",
                    self.path
                );
                if why != self.said {
                    self.log.text(Priority::Warning, why.clone());
                    self.said = why;
                }
                Err(errno(&error))
            }
        }
    }
}

fn errno(error: &io::Error) -> Failure {
    Failure::Io(error.raw_os_error().unwrap_or(EIO))
}

const ATTENTIONS_MAX: u32 = 8;
const PAUSE: Duration = Duration::from_millis(100);

/// As in errno.h and fcntl.h: `cmmd` has no `libc` of its own.
const EIO: i32 = 5;
const ENODEV: i32 = 19;
const O_NONBLOCK: i32 = 0o4000;
