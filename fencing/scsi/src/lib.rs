//! A disk with SCSI-3 persistent reservations: the commands of [`cmm_scsi`] sent with `SG_IO`. Each call waits for the disk; what must not
//! wait has a thread for it.

#![forbid(unsafe_code)]

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use cmm_scsi::command::{self, ANSWER_LEN};
use cmm_scsi::{Cluster, Command, Failure, Key, Reply};
use holdfast_sys::sg::{self, Data};

/// An open disk.
#[derive(Debug)]
pub struct Disk {
    file: File,
    timeout_ms: u32,
}

impl Disk {
    /// Opens it for commands that may take `timeout_ms` each, and the kernel's attempts to abort them then.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn open(path: &Path, timeout_ms: u32) -> io::Result<Self> {
        // Non-blocking: a device that has no medium is not waited for.
        let file = OpenOptions::new().read(true).write(true).custom_flags(O_NONBLOCK).open(path)?;
        Ok(Self { file, timeout_ms })
    }

    /// Sends a command, again where the target has something to tell first.
    ///
    /// # Errors
    /// When it was not done, or nobody knows whether it was.
    pub fn send(&self, cluster: Cluster, command: Command) -> Result<Reply, Failure> {
        self.sent(command, |status, sense, data| command.reply(cluster, status, sense, data))
    }

    /// The generation and all registrations, of whichever cluster: one for each path.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub fn keys(&self) -> Result<(u32, Vec<Key>), Failure> {
        self.sent(Command::ReadKeys, command::all_keys)
    }

    /// The key of whoever holds the reservation, and its type (5: write exclusive, registrants only).
    ///
    /// # Errors
    /// As [`Self::send`].
    pub fn holder(&self) -> Result<Option<(Key, u8)>, Failure> {
        self.sent(Command::ReadReservation, command::any_holder)
    }

    fn sent<T>(
        &self,
        command: Command,
        read: impl Fn(u8, &[u8], &[u8]) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        for _ in 0..ATTENTIONS_MAX {
            let (mut sense, mut answer) = ([0; 96], vec![0; ANSWER_LEN]);
            let list = command.list();
            let data = match &list {
                Some(list) => Data::Out(list),
                None => Data::In(&mut answer),
            };
            let done = sg::send(self.file.as_fd(), &command.cdb(), data, &mut sense, self.timeout_ms)
                .map_err(|e| Failure::Io(e.raw_os_error().unwrap_or(EIO)))?;
            let length = if list.is_some() { 0 } else { done.read };
            match read(done.status, &sense[..done.sense], &answer[..length]) {
                Err(Failure::Attention) => {}
                result => return result,
            }
        }
        // It tells the same again and again.
        Err(Failure::Io(EIO))
    }
}

const ATTENTIONS_MAX: u32 = 8;

/// As in errno.h and fcntl.h.
const EIO: i32 = 5;
const O_NONBLOCK: i32 = 0o4000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_scsi_disk_says_so() {
        assert!(Disk::open(Path::new("/nonexistent"), 1_000).is_err());
        let disk = Disk::open(Path::new("/dev/null"), 1_000).unwrap();
        let cluster = Cluster::of_name("c");
        assert!(matches!(disk.send(cluster, Command::ReadKeys), Err(Failure::Io(_))));
        assert!(disk.keys().is_err() && disk.holder().is_err());
    }
}
