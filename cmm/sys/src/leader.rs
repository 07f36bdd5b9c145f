//! The end of a process's main thread, which comes before the end of the process: a pidfd says nothing until the
//! memory of the process is taken down and its last thread is gone.
//!
//! A parent of that process has no news of it; a child has, with [`tell_of_parent`].

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::fs::FileExt;

use nix::sys::prctl;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// A handle on the main thread of one process, for which no pid reuse matters.
#[derive(Debug)]
pub struct Leader {
    stat: File,
}

impl Leader {
    /// Of the process that `pidfd` is for.
    ///
    /// # Errors
    /// What reading /proc says; `NotFound` where the process is not in this PID namespace, or gone.
    pub fn of(pidfd: BorrowedFd<'_>) -> io::Result<Self> {
        let mut info = String::new();
        File::open(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd()))?.read_to_string(&mut info)?;
        let pid = info.lines().find_map(|line| line.strip_prefix("Pid:")?.trim().parse::<u32>().ok());
        let pid = pid.ok_or(io::ErrorKind::NotFound)?;
        let this = Self { stat: File::open(format!("/proc/{pid}/stat"))? };
        // Then the pid was that process's when its file was opened.
        if crate::pidfd::has_ended(pidfd)? { Err(io::ErrorKind::NotFound.into()) } else { Ok(this) }
    }

    /// Whether it has ended, or is ending its last steps. `false` where that cannot be told. Allocates nothing.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        let mut line = [0; 64];
        match self.stat.read_at(&mut line, 0) {
            Ok(len) => {
                // The name is in parentheses and may have some; the state is the letter behind it.
                let name_ends = line[..len].iter().rposition(|byte| *byte == b')');
                name_ends.and_then(|at| line.get(at + 2)).is_some_and(|state| matches!(state, b'Z' | b'X'))
            }
            Err(e) => e.raw_os_error() == Some(libc::ESRCH),
        }
    }
}

/// From now on the returned descriptor is readable when the thread that started this process may have ended: the parent's
/// main thread if that did, or another one. To be drained with [`SignalFd::read_signal`]; anybody with the right to
/// send this process signals can make it readable too. The signal, SIGUSR1, is blocked in this thread.
///
/// # Errors
/// What the system calls say.
pub fn tell_of_parent() -> io::Result<SignalFd> {
    let signals = SigSet::from(Signal::SIGUSR1);
    signals.thread_block()?;
    let fd = SignalFd::with_flags(&signals, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
    prctl::set_pdeathsig(Signal::SIGUSR1)?;
    Ok(fd)
}

/// Ends this process's main thread where it stands, and nothing else of it; not to be called there. For tests of who
/// watches.
///
/// # Errors
/// What the system calls say.
pub fn end_own() -> io::Result<()> {
    extern "C" fn end(_: libc::c_int) {
        // SAFETY: plain system call without pointers, allowed in a signal handler; nothing of this thread runs after it.
        unsafe { libc::syscall(libc::SYS_exit, 0) };
    }
    let action = SigAction::new(SigHandler::Handler(end), SaFlags::empty(), SigSet::empty());
    // SAFETY: the handler does a system call and nothing else.
    unsafe { sigaction(Signal::SIGUSR2, &action) }?;
    let pid = nix::unistd::getpid().as_raw();
    // SAFETY: plain system call without pointers.
    let sent = unsafe { libc::syscall(libc::SYS_tgkill, pid, pid, libc::SIGUSR2) };
    if sent == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::process::Command;

    use super::*;
    use crate::pidfd;

    #[test]
    fn a_living_process_and_a_zombie_are_told_apart() {
        let mut child = Command::new("sleep").arg("600").spawn().unwrap();
        let handle = pidfd::open(child.id()).unwrap();
        let leader = Leader::of(handle.as_fd()).unwrap();
        assert!(!leader.has_ended());
        child.kill().unwrap();
        assert!(pidfd::wait_end(handle.as_fd(), std::time::Duration::from_secs(60)).unwrap());
        assert!(leader.has_ended(), "a zombie");
        child.wait().unwrap();
        assert!(leader.has_ended(), "reaped");
        assert!(Leader::of(handle.as_fd()).is_err());
    }
}
