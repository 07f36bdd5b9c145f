//! Going into the background, and signals as something to read.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::{ForkResult, fork, setsid};

/// Held by the process in the background; tells the one that waits in the foreground how the start went.
#[derive(Debug)]
pub struct Background(File);

impl Background {
    /// Everything is up: the command in the foreground ends with status 0.
    pub fn ready(mut self) {
        // Nobody may be waiting any more; that is no concern of ours.
        let _ = self.0.write_all(&[0]);
    }
}

/// Goes into the background: returns in the new process, in a session of its own. The calling process stays until
/// [`Background::ready`] and ends with 0, or ends with `failed` when the new process ends before. Standard input and
/// output become `/dev/null`; standard error stays until [`detach_stderr`]. Call it before any thread is started.
///
/// # Errors
/// What `pipe` and `fork` say.
pub fn into_background(failed: u8) -> io::Result<Background> {
    let (read, write) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
    // SAFETY: the process has one thread (contract of this function), so the child may do whatever it likes.
    if let ForkResult::Parent { .. } = unsafe { fork() }? {
        drop(write);
        let mut said = [failed];
        let n = File::from(read).read(&mut said).unwrap_or(0);
        std::process::exit(if n == 1 { 0 } else { i32::from(failed) });
    }
    drop(read);
    setsid()?;
    // SAFETY: as above. A second fork, so that no terminal can become ours again.
    if let ForkResult::Parent { .. } = unsafe { fork() }? {
        std::process::exit(0);
    }
    std::env::set_current_dir("/")?;
    let null = File::options().read(true).write(true).open("/dev/null")?;
    nix::unistd::dup2_stdin(&null)?;
    nix::unistd::dup2_stdout(&null)?;
    Ok(Background(File::from(write)))
}

/// Sends standard error to `/dev/null`.
///
/// # Errors
/// What `open` and `dup2` say.
pub fn detach_stderr() -> io::Result<()> {
    Ok(nix::unistd::dup2_stderr(File::options().write(true).open("/dev/null")?)?)
}

/// Signals taken out of their way and read from a descriptor instead.
#[derive(Debug)]
pub struct Signals(SignalFd);

impl Signals {
    /// Blocks SIGTERM, SIGINT and SIGHUP in this thread and those it starts from now on, to be read here.
    ///
    /// # Errors
    /// What `sigprocmask` and `signalfd` say.
    pub fn new() -> io::Result<Self> {
        Self::of(&[Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP])
    }

    /// The same with SIGCHLD, for who has children.
    ///
    /// # Errors
    /// As for [`Self::new`].
    pub fn with_children() -> io::Result<Self> {
        Self::of(&[Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGCHLD])
    }

    fn of(signals: &[Signal]) -> io::Result<Self> {
        let set: SigSet = signals.iter().copied().collect();
        set.thread_block()?;
        Ok(Self(SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?))
    }

    /// The next signal that has arrived, by number; `None` when there is none.
    pub fn next_signal(&mut self) -> Option<i32> {
        self.0.read_signal().ok().flatten().map(|s| s.ssi_signo as i32)
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// SIGHUP's number.
pub const SIGHUP: i32 = libc::SIGHUP;
/// SIGCHLD's number.
pub const SIGCHLD: i32 = libc::SIGCHLD;
