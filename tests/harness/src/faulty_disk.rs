//! A disk whose every node has a way of its own to it, and what may happen on that way: errors, stalls, delays, writes that are lost
//! or torn.
//!
//! Each way is a FUSE mount in the node's mount namespace over one and the same file. A read looks and a write takes effect at some
//! instant between the request and its answer, drawn by dice: a request that is held back may have been carried out long ago, or may be
//! only when it is let go.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::libc::EIO;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::cluster::lock;
use crate::dice::Dice;
use crate::fuse::{Fuse, Unique, Wanted};
use crate::namespace::Namespace;

/// What happens to the requests of one node to one disk. The default: nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskFault {
    /// Every request is answered with an error, at once, and not carried out.
    pub fails: bool,
    /// No request is answered, until this is changed or the node has lost its power.
    pub stalls: bool,
    /// Every request takes up to this long.
    pub delay: Duration,
    /// So many of a thousand writes are said to be done and are not.
    pub lost: u32,
    /// Of so many of a thousand writes only the first or the second half is done; they succeed, or fail.
    pub torn: u32,
}

/// Requests of one node to one disk since it was switched on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskRequests {
    /// How many reads.
    pub reads: u64,
    /// How many writes.
    pub writes: u64,
    /// Bytes read.
    pub read_bytes: u64,
    /// Bytes written.
    pub written_bytes: u64,
}

/// One node's way to one disk, while the node is on.
pub(crate) struct FaultyDisk {
    shared: Arc<Shared>,
    wake: UnixStream,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    image: File,
    state: Mutex<State>,
}

struct State {
    fault: DiskFault,
    /// The node goes: nothing waits any more.
    over: bool,
    requests: DiskRequests,
}

/// A request that is under way.
struct Pending {
    unique: Unique,
    wanted: Wanted,
    /// When it is carried out and answered; `None`: it is held back.
    effect: Option<Instant>,
    answer: Option<Instant>,
    /// What came of it.
    result: Option<Result<Vec<u8>, i32>>,
}

impl FaultyDisk {
    /// Mounts the disk `image` over the file `path` of a node.
    pub(crate) fn mount(space: &Namespace, image: &Path, path: &Path, dice: Dice) -> Result<Self> {
        let image = File::options().read(true).write(true).open(image).context("opening a disk's image")?;
        let fuse = Fuse::open(image.metadata()?.len())?;
        let kernel = fuse.file().try_clone()?;
        let (wake, woken) = UnixStream::pair()?;
        woken.set_nonblocking(true)?;
        wake.set_nonblocking(true)?;
        let state = State { fault: DiskFault::default(), over: false, requests: DiskRequests::default() };
        let shared = Arc::new(Shared { image, state: Mutex::new(state) });
        let server = Server { fuse, woken, shared: Arc::clone(&shared), dice, pending: Vec::new() };
        let thread = std::thread::spawn(move || server.run());
        let disk = Self { shared, wake, thread: Some(thread) };
        Fuse::mount(kernel, space, path)?;
        Ok(disk)
    }

    pub(crate) fn set(&self, fault: DiskFault) {
        lock(&self.shared.state).fault = fault;
        let _ = (&self.wake).write(&[0]);
    }

    pub(crate) fn requests(&self) -> DiskRequests {
        lock(&self.shared.state).requests
    }

    /// The node's power is about to go: nobody may wait for an answer, or it would not die. What is under way is carried out now, or
    /// never.
    pub(crate) fn release(&self) {
        lock(&self.shared.state).over = true;
        let _ = (&self.wake).write(&[0]);
    }
}

impl Drop for FaultyDisk {
    fn drop(&mut self) {
        self.release();
        // The thread ends when the kernel's end is gone: with the node's mount namespace, or, should that still be there, with this.
        let _ = self.wake.shutdown(std::net::Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Answers the kernel.
struct Server {
    fuse: Fuse,
    woken: UnixStream,
    shared: Arc<Shared>,
    dice: Dice,
    pending: Vec<Pending>,
}

impl Server {
    fn run(mut self) {
        loop {
            match self.fuse.next() {
                Ok(Some((unique, wanted))) => self.take(unique, wanted),
                Ok(None) => {
                    self.work();
                    if !self.wait() {
                        return;
                    }
                }
                // Not mounted yet.
                Err(e) if e.raw_os_error() == Some(nix::libc::EPERM) => {
                    if lock(&self.shared.state).over {
                        return;
                    }
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err(_) => return,
            }
        }
    }

    fn take(&mut self, unique: Unique, wanted: Wanted) {
        let mut state = lock(&self.shared.state);
        let requests = &mut state.requests;
        match &wanted {
            Wanted::Read { len, .. } => {
                requests.reads += 1;
                requests.read_bytes += *len as u64;
            }
            Wanted::Write { data, .. } => {
                requests.writes += 1;
                requests.written_bytes += data.len() as u64;
            }
        }
        let (fault, over) = (state.fault, state.over);
        drop(state);
        if fault.fails || over {
            self.fuse.answer(unique, Err(EIO));
            return;
        }
        let now = Instant::now();
        let mut pending = Pending { unique, wanted, effect: None, answer: None, result: None };
        if fault.stalls {
            pending.effect = self.dice.chance(500).then_some(now);
        } else {
            let nanos = u64::try_from(fault.delay.as_nanos()).unwrap_or(u64::MAX);
            let answer = self.dice.below(nanos);
            let effect = self.dice.below(answer);
            pending.effect = Some(now + Duration::from_nanos(effect));
            pending.answer = Some(now + Duration::from_nanos(answer));
        }
        self.pending.push(pending);
    }

    /// Carries out and answers what is due.
    fn work(&mut self) {
        let state = lock(&self.shared.state);
        let (fault, over) = (state.fault, state.over);
        drop(state);
        let now = Instant::now();
        for mut pending in std::mem::take(&mut self.pending) {
            if over {
                // Whatever a dead machine's adapter still has in its queue gets to the disk, or does not.
                if pending.result.is_none() && self.dice.chance(500) {
                    let _ = self.carry_out(&pending.wanted, fault);
                }
                self.fuse.answer(pending.unique, Err(EIO));
                continue;
            }
            if fault.fails && pending.answer.is_none() {
                self.fuse.answer(pending.unique, Err(EIO));
                continue;
            }
            if !fault.stalls {
                pending.effect.get_or_insert(now);
                pending.answer.get_or_insert(now);
            }
            if pending.result.is_none() && pending.effect.is_some_and(|at| at <= now) {
                pending.result = Some(self.carry_out(&pending.wanted, fault));
            }
            match (&pending.result, &pending.wanted) {
                (Some(result), wanted) if pending.answer.is_some_and(|at| at <= now) => {
                    match (result, wanted) {
                        (Ok(_), Wanted::Write { data, .. }) => self.fuse.written(pending.unique, data.len()),
                        (result, _) => self.fuse.answer(pending.unique, result.as_deref().map_err(|e| *e)),
                    }
                }
                _ => self.pending.push(pending),
            }
        }
    }

    fn carry_out(&mut self, wanted: &Wanted, fault: DiskFault) -> Result<Vec<u8>, i32> {
        match wanted {
            Wanted::Read { at, len } => {
                let mut data = vec![0; *len];
                let size = self.shared.image.metadata().map_or(0, |m| m.len());
                data.truncate(usize::try_from(size.saturating_sub(*at)).unwrap_or(0));
                self.shared.image.read_exact_at(&mut data, *at).map(|()| data).map_err(|_| EIO)
            }
            Wanted::Write { .. } if self.dice.chance(fault.lost) => Ok(Vec::new()),
            Wanted::Write { at, data } => {
                let half = data.len() / 2;
                let torn = self.dice.chance(fault.torn);
                let (at, part) = match (torn, self.dice.chance(500)) {
                    (false, _) => (*at, &data[..]),
                    (true, false) => (*at, &data[..half]),
                    (true, true) => (*at + half as u64, &data[half..]),
                };
                let done = self.shared.image.write_all_at(part, at).map_err(|_| EIO);
                if torn && self.dice.chance(500) { Err(EIO) } else { done.map(|()| Vec::new()) }
            }
        }
    }

    /// Sleeps until there is something to do; `false` when nobody wants anything any more.
    fn wait(&mut self) -> bool {
        let due =
            self.pending.iter().filter_map(|p| if p.result.is_none() { p.effect } else { p.answer }).min();
        let timeout = due.map_or(PollTimeout::NONE, |at| {
            let left = at.saturating_duration_since(Instant::now());
            PollTimeout::try_from(left + Duration::from_micros(999)).unwrap_or(PollTimeout::MAX)
        });
        let mut fds =
            [self.fuse.file().as_fd(), self.woken.as_fd()].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        if poll(&mut fds, timeout).is_err() {
            return true;
        }
        let mut bytes = [0; 64];
        loop {
            match self.woken.read(&mut bytes) {
                Ok(0) => return false,
                Ok(_) => {}
                Err(_) => return true,
            }
        }
    }
}
