//! Handles on processes that no pid reuse can redirect: open, signal, wait.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
pub use nix::sys::signal::Signal;

/// A handle on the process that has this pid now. It becomes readable when that process ends.
///
/// # Errors
/// `ESRCH` where there is none, `EMFILE` and the like.
pub fn open(pid: u32) -> io::Result<OwnedFd> {
    let pid = libc::pid_t::try_from(pid).map_err(|_| io::Error::from_raw_os_error(libc::ESRCH))?;
    // SAFETY: plain system call without pointers.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    from_syscall(fd)
}

/// A handle on the process at the other end of a connected local socket, as it was when it connected. Kernels before
/// 6.5 give only its pid: then the pid is opened, which a dead peer's successor could have by now.
///
/// # Errors
/// What `getsockopt` or [`open`] say; `ESRCH` where the peer is dead and reaped.
pub fn of_peer(socket: BorrowedFd<'_>, pid: u32) -> io::Result<OwnedFd> {
    let mut fd: libc::c_int = -1;
    let mut len = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: both pointers are to locals that live through the call, and `len` is the size of what `fd` points to.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERPIDFD,
            (&raw mut fd).cast(),
            &raw mut len,
        )
    };
    if result == 0 {
        return from_syscall(fd.into());
    }
    match io::Error::last_os_error() {
        e if e.raw_os_error() == Some(libc::ENOPROTOOPT) => open(pid),
        // The kernel's word for a peer that is gone and reaped.
        e if e.raw_os_error() == Some(libc::EINVAL) => Err(io::Error::from_raw_os_error(libc::ESRCH)),
        e => Err(e),
    }
}

/// Sends a signal to that very process.
///
/// # Errors
/// `ESRCH` where it has ended and was reaped, `EPERM`.
pub fn send_signal(pidfd: BorrowedFd<'_>, signal: Signal) -> io::Result<()> {
    // SAFETY: the third argument may be null (no siginfo); no other pointer is passed.
    let result = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal as libc::c_int,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Whether the process has ended (it may still be a zombie).
///
/// # Errors
/// What `poll` says.
pub fn has_ended(pidfd: BorrowedFd<'_>) -> io::Result<bool> {
    wait_end(pidfd, Duration::ZERO)
}

/// Takes leave of an ended process that is our child, whichever thread it came to: until then `kill -0` says that it lives.
/// `None`: not our child, or it has not ended. Else its exit code, or 128 and the signal that ended it.
#[must_use]
pub fn reap(pidfd: BorrowedFd<'_>) -> Option<i32> {
    use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
    match waitid(Id::PIDFd(pidfd), WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG) {
        Ok(WaitStatus::Exited(_, code)) => Some(code),
        Ok(WaitStatus::Signaled(_, signal, _)) => Some(128 + signal as i32),
        _ => None,
    }
}

/// Waits until the process has ended, or the limit is over; says which.
///
/// # Errors
/// What `poll` says, but for interruptions.
pub fn wait_end(pidfd: BorrowedFd<'_>, limit: Duration) -> io::Result<bool> {
    let start = Instant::now();
    loop {
        let left = limit.saturating_sub(start.elapsed());
        // Rounded up, so that the last wait is not a spin.
        let timeout = PollTimeout::try_from(left.as_millis() + u128::from(!left.is_zero()))
            .unwrap_or(PollTimeout::from(u16::MAX));
        match poll(&mut [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)], timeout) {
            Ok(0) if start.elapsed() >= limit => return Ok(false),
            Ok(0) | Err(nix::Error::EINTR) => {}
            Ok(_) => return Ok(true),
            Err(e) => return Err(e.into()),
        }
    }
}

fn from_syscall(fd: libc::c_long) -> io::Result<OwnedFd> {
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    let fd = libc::c_int::try_from(fd).map_err(io::Error::other)?;
    // SAFETY: the kernel has just made this descriptor for us; nobody else owns it. It is close-on-exec by itself.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;
    use std::process::Command;

    use super::*;

    #[test]
    fn a_death_is_seen_and_a_dead_process_gets_no_signal() {
        let mut child = Command::new("sleep").arg("600").spawn().unwrap();
        let fd = open(child.id()).unwrap();
        assert!(!has_ended(fd.as_fd()).unwrap());
        send_signal(fd.as_fd(), Signal::SIGKILL).unwrap();
        assert!(wait_end(fd.as_fd(), Duration::from_secs(60)).unwrap());
        child.wait().unwrap();
        assert!(has_ended(fd.as_fd()).unwrap());
        let error = send_signal(fd.as_fd(), Signal::SIGKILL).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ESRCH));
    }

    #[test]
    fn no_such_process() {
        assert_eq!(open(u32::MAX).unwrap_err().raw_os_error(), Some(libc::ESRCH));
    }

    #[test]
    fn the_peer_of_a_socket_is_known() {
        let (a, _b) = UnixStream::pair().unwrap();
        let fd = of_peer(a.as_fd(), std::process::id()).unwrap();
        assert!(!has_ended(fd.as_fd()).unwrap());
    }
}
