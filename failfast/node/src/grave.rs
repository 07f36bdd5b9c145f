//! A thread that writes onto the quorum disks why this node goes down: the survivors read it there, also where no packet reaches them.
//!
//! Like the scribe it is given its line and waited for, but no longer: a disk that hangs delays no death. Disks are opened when
//! they are named, by the thread, and written to all at once.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use cmm_qdisk::format::Text as DiskText;
use cmm_qdisk::{DISKS_MAX, DiskId, Layout, Tombstone};
use failfast_core::Text;
use holdfast_sys::clock;
use holdfast_sys::uring::{self, Devices};
use holdfast_types::Incarnation;

use crate::guardian;
use crate::scribe::wait_readable;

/// This node's place on a quorum disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grave {
    /// The disk.
    pub path: PathBuf,
    /// Its id.
    pub id: DiskId,
    /// How it is laid out.
    pub layout: Layout,
    /// This node's slot.
    pub slot: u8,
    /// This life.
    pub life: Incarnation,
}

/// The panic path's side.
#[derive(Debug)]
pub(crate) struct Graves {
    channel: OwnedFd,
    named: Arc<Mutex<Option<Vec<Grave>>>>,
    unanswered: usize,
}

impl Graves {
    /// Starts the thread.
    pub(crate) fn start() -> io::Result<Self> {
        let (channel, theirs) = guardian::channel()?;
        let named = Arc::new(Mutex::new(None));
        let digger = Digger { channel: theirs, named: Arc::clone(&named) };
        std::thread::Builder::new().name("graves".into()).stack_size(STACK).spawn(move || digger.run())?;
        // Its first word: from here on it runs and needs nothing more.
        let mut this = Self { channel, named, unanswered: 1 };
        this.wait(START_LIMIT);
        Ok(this)
    }

    /// These disks from now on. Not on the way down: it allocates.
    pub(crate) fn name(&mut self, graves: Vec<Grave>) {
        *self.named.lock().unwrap_or_else(PoisonError::into_inner) = Some(graves);
        self.send(&[NAMED]);
    }

    /// Hands the line over.
    pub(crate) fn hand_over(&mut self, text: &Text) {
        let mut message = [0; 1 + failfast_core::limits::TEXT_MAX];
        message[0] = WRITE;
        message[1..=text.len()].copy_from_slice(text.as_bytes());
        self.send(&message[..=text.len()]);
    }

    fn send(&mut self, message: &[u8]) {
        // A full channel belongs to a thread that hangs: it would not write the line either.
        self.unanswered += usize::from(guardian::send(self.channel.as_fd(), message).is_ok());
    }

    /// Waits until all that was handed over is done, or the limit is over.
    pub(crate) fn wait(&mut self, limit: Duration) {
        let start = Instant::now();
        loop {
            while self.unanswered > 0 {
                match guardian::receive(self.channel.as_fd(), &mut [0; 4]) {
                    Ok(1..) => self.unanswered -= 1,
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                    Ok(_) | Err(_) => return,
                }
            }
            let left = limit.saturating_sub(start.elapsed());
            if self.unanswered == 0 || !wait_readable(&self.channel, left) {
                return;
            }
        }
    }
}

/// The thread.
struct Digger {
    channel: OwnedFd,
    named: Arc<Mutex<Option<Vec<Grave>>>>,
}

/// Open disks, used by the thread that opened them.
type Disks = (Devices, Vec<(usize, Grave)>);

impl Digger {
    fn run(self) {
        let mut disks = None;
        let _ = guardian::send(self.channel.as_fd(), &[0]); // a fresh channel has room
        let mut message = [0; 1 + failfast_core::limits::TEXT_MAX];
        loop {
            wait_readable(&self.channel, Duration::MAX);
            match guardian::receive(self.channel.as_fd(), &mut message) {
                Ok(0) => return,
                Ok(len) => {
                    match message[0] {
                        NAMED => disks = self.open().or(disks),
                        _ => {
                            let why = std::str::from_utf8(&message[1..len]).unwrap_or_default();
                            disks.iter_mut().for_each(|disks| write(disks, why));
                        }
                    }
                    let _ = guardian::send(self.channel.as_fd(), &[0]); // nobody waits any more: no matter
                }
                Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                Err(_) => return,
            }
        }
    }

    /// What cannot be opened is left out: there is nobody to tell, and the daemon has told of the same disk.
    fn open(&self) -> Option<Disks> {
        let named = self.named.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        let mut devices = Devices::new(DISKS_MAX as u32).ok()?;
        let mut graves = Vec::new();
        for grave in named.into_iter().take(DISKS_MAX) {
            if let Ok(file) = uring::open(&grave.path) {
                let at = grave.layout.tombstone_at(grave.slot);
                let len = grave.layout.pair();
                graves.push((devices.add(file.into(), at, len, len), grave));
            }
        }
        Some((devices, graves))
    }
}

fn write((devices, graves): &mut Disks, why: &str) {
    let mut waits = 0;
    for (device, grave) in graves {
        let written = clock::wall_nanos() / 1_000_000_000;
        let stone = Tombstone { life: grave.life, written, why: DiskText::new(why) };
        let Some(pair) = devices.to_write(*device) else { continue };
        stone.write(grave.slot, &grave.id, pair);
        waits += u32::from(devices.start(*device, true).is_ok());
    }
    let start = Instant::now();
    while waits > 0 && start.elapsed() < LIMIT {
        let _ = wait_readable(&devices.event(), LIMIT.saturating_sub(start.elapsed()));
        let _ = devices.woken();
        while devices.done().is_some() {
            waits = waits.saturating_sub(1);
        }
    }
}

const NAMED: u8 = 1;
const WRITE: u8 = 2;
const STACK: usize = 128 << 10;
const START_LIMIT: Duration = Duration::from_secs(10);
/// A disk that takes longer hangs: the others are answered for.
const LIMIT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_handed_over_is_on_every_disk_that_can_be_opened() {
        let layout = Layout::new(512, 4).unwrap();
        let dir = std::env::temp_dir().join(format!("holdfast-graves-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let grave = |n: u8| Grave {
            path: dir.join(n.to_string()),
            id: [n; 16],
            layout,
            slot: 3,
            life: Incarnation::new(7),
        };
        let blank = vec![0; usize::try_from(layout.size()).unwrap()];
        for n in [1, 3] {
            std::fs::write(dir.join(n.to_string()), &blank).unwrap();
        }
        let mut graves = Graves::start().unwrap();
        graves.hand_over(&Text::from("no disks yet"));
        graves.name(vec![grave(1), grave(2), grave(3)]);
        graves.hand_over(&Text::from("Failfast: Aborting because of it"));
        graves.wait(Duration::from_secs(60));
        assert_eq!(graves.unanswered, 0);
        let read = |n: u8| {
            let bytes = std::fs::read(dir.join(n.to_string())).unwrap();
            let at = usize::try_from(layout.tombstone_at(3)).unwrap();
            assert!(bytes[..at].iter().all(|b| *b == 0), "nothing else is touched");
            Tombstone::read(3, &[n; 16], &bytes[at..at + layout.pair()]).unwrap()
        };
        for n in [1, 3] {
            let stone = read(n);
            assert_eq!(stone.life, Incarnation::new(7));
            assert_eq!(stone.why.to_string(), "Failfast: Aborting because of it");
        }
        std::fs::remove_dir_all(dir).unwrap();
    }
}
