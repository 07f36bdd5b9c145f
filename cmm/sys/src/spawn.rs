//! Starting an agent: own process group, no inherited descriptor, a pidfd for its death.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};

/// What to run and in what surroundings. The environment is exactly `env`; nothing is inherited.
#[derive(Debug)]
pub struct Spawn {
    /// Absolute path of the program.
    pub program: PathBuf,
    /// Arguments behind the program's name.
    pub args: Vec<OsString>,
    /// The whole environment.
    pub env: Vec<(OsString, OsString)>,
    /// Working directory.
    pub dir: PathBuf,
    /// Give the child a pipe on standard input (else `/dev/null`).
    pub stdin: bool,
    /// `cgroup.procs` of the cgroup that it is born into, open for writing (else our own cgroup).
    pub cgroup: Option<OwnedFd>,
    /// User and group that it runs as, without further groups (else our own).
    pub user: Option<(u32, u32)>,
}

/// A running child that leads its own process group. Dropping it neither kills nor reaps.
#[derive(Debug)]
pub struct Spawned {
    child: Child,
    pidfd: OwnedFd,
}

impl Spawn {
    /// Starts the program: stdout and stderr are non-blocking pipes, umask 0026, default signal dispositions, no signal blocked, normal
    /// scheduling, no protection from the kernel's memory killer, and every descriptor above 2 closed.
    ///
    /// # Errors
    /// What `fork`, `exec` or `pidfd_open` say; `ErrorKind::NotFound` where there is no such program.
    pub fn start(&self) -> io::Result<Spawned> {
        let mut command = Command::new(&self.program);
        command
            .args(&self.args)
            .env_clear()
            .envs(self.env.iter().map(|(k, v)| (k, v)))
            .current_dir(&self.dir)
            .stdin(if self.stdin { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        if let Some((uid, gid)) = self.user {
            command.gid(gid).uid(uid);
        }
        let cgroup = self.cgroup.as_ref().map_or(-1, |fd| fd.as_raw_fd());
        // SAFETY: the closure runs in the forked child before exec and calls only async-signal-safe functions; it
        // captures a number of a descriptor that `self` holds open until after the fork.
        unsafe {
            command.pre_exec(move || {
                // Written by the child itself, so that nothing it forks can be born outside.
                if cgroup >= 0 && libc::write(cgroup, c"0".as_ptr().cast(), 1) != 1 {
                    return Err(io::Error::last_os_error());
                }
                ordinary_priority();
                deliver_signals();
                libc::umask(0o026);
                // Close on exec rather than now: the standard library still reports a failed exec over a pipe of its own.
                libc::syscall(libc::SYS_close_range, 3, u32::MAX, libc::CLOSE_RANGE_CLOEXEC);
                Ok(())
            });
        }
        let mut child = command.spawn()?;
        let pid = libc::pid_t::try_from(child.id()).map_err(io::Error::other)?;
        // SAFETY: plain system call; the child is not reaped yet, so the pid is still its own.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
        if fd < 0 {
            let error = io::Error::last_os_error();
            let _ = child.kill();
            let _ = child.wait();
            return Err(error);
        }
        // SAFETY: the kernel has just handed us this descriptor, nobody else owns it, and it fits an int.
        let pidfd = unsafe { OwnedFd::from_raw_fd(libc::c_int::try_from(fd).map_err(io::Error::other)?) };
        let spawned = Spawned { child, pidfd };
        if let Some(out) = &spawned.child.stdout {
            set_nonblocking(out.as_fd())?;
        }
        if let Some(err) = &spawned.child.stderr {
            set_nonblocking(err.as_fd())?;
        }
        Ok(spawned)
    }
}

impl Spawned {
    /// The child's pid, which is also its process group.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
    /// Readable once the child has ended.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
    /// Takes the read end of its standard output.
    pub fn take_stdout(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }
    /// Takes the read end of its standard error.
    pub fn take_stderr(&mut self) -> Option<ChildStderr> {
        self.child.stderr.take()
    }
    /// Takes the write end of its standard input, where one was asked for.
    pub fn take_stdin(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }
    /// Its exit status if it has ended; reaps it.
    ///
    /// # Errors
    /// What `waitpid` says.
    pub fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }
    /// SIGKILL to the whole process group. Call it before the child is reaped: until then its number cannot have gone
    /// to someone else.
    ///
    /// # Errors
    /// What `kill` says; a group that is already empty is not an error.
    pub fn kill_group(&self) -> io::Result<()> {
        kill_group(&self.child)
    }
    /// SIGTERM to the whole process group, under the same condition.
    ///
    /// # Errors
    /// As for [`Self::kill_group`].
    pub fn terminate_group(&self) -> io::Result<()> {
        signal_group(&self.child, libc::SIGTERM)
    }
}

/// A daemon that reads its signals from a descriptor has them blocked, and the standard library passes that on: a shell that waits
/// for SIGCHLD, as `timeout` does, would never hear of its child. For the child between fork and exec.
fn deliver_signals() {
    // SAFETY: an all-zero set is a valid argument for `sigemptyset`, which fills it in.
    let mut none: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a local that lives through the call.
    unsafe { libc::sigemptyset(&raw mut none) };
    // SAFETY: the same; no old set is asked for.
    unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut()) };
}

/// An agent has no part in what a daemon needs for itself. Refusals do not matter: then there was nothing to give back.
/// For the child between fork and exec: calls only async-signal-safe functions.
fn ordinary_priority() {
    let other = libc::sched_param { sched_priority: 0 };
    // SAFETY: the pointer is to a local that lives through the call.
    unsafe { libc::sched_setscheduler(0, libc::SCHED_OTHER, &raw const other) };
    // SAFETY: plain system call on this process.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, 0) };
    // SAFETY: the path is a literal that ends with NUL.
    let fd = unsafe { libc::open(c"/proc/self/oom_score_adj".as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC) };
    if fd >= 0 {
        // SAFETY: the buffer is a literal of at least that length; the descriptor was opened above and is closed once.
        unsafe {
            libc::write(fd, c"0".as_ptr().cast(), 1);
            libc::close(fd);
        }
    }
}

/// SIGKILL to the process group that a child leads. Call it before the child is reaped: until then its number cannot have gone to
/// someone else.
///
/// # Errors
/// What `kill` says; a group that is already empty is not an error.
pub fn kill_group(leader: &Child) -> io::Result<()> {
    signal_group(leader, libc::SIGKILL)
}

fn signal_group(leader: &Child, signal: libc::c_int) -> io::Result<()> {
    let group = libc::pid_t::try_from(leader.id()).map_err(io::Error::other)?;
    // SAFETY: plain system call with a process group whose leader is a child that is not reaped.
    if unsafe { libc::kill(-group, signal) } < 0 {
        let error = io::Error::last_os_error();
        if error.raw_os_error() != Some(libc::ESRCH) {
            return Err(error);
        }
    }
    Ok(())
}

fn set_nonblocking(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: plain system calls on a descriptor that the caller holds open.
    let flags = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) };
    if flags < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: as above.
    if unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, flags | libc::O_NONBLOCK) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;
    use crate::daemonize::Signals;

    /// `timeout` waits for SIGCHLD, and an agent that is told to end has to hear it.
    #[test]
    fn an_agent_of_a_daemon_that_reads_its_signals_has_none_of_them_blocked() {
        let blocked = || {
            let spawn = Spawn {
                program: "/bin/grep".into(),
                args: ["SigBlk", "/proc/self/status"].map(OsString::from).to_vec(),
                env: Vec::new(),
                dir: "/".into(),
                stdin: false,
                cgroup: None,
                user: None,
            };
            let mut child = spawn.start().expect("it starts").child;
            child.wait().expect("it ends");
            let mut said = String::new();
            child.stdout.take().expect("a pipe").read_to_string(&mut said).expect("it is readable");
            said.split_whitespace().last().expect("a mask").to_owned()
        };
        let _signals = Signals::with_children().expect("signals");
        assert_eq!(blocked(), "0000000000000000");
    }
}
