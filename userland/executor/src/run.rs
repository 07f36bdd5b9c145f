//! One run of a job: its process, what it writes, and its end in two steps, SIGTERM and SIGKILL.

use std::collections::BTreeSet;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::process::{ChildStderr, ChildStdout, ExitStatus};
use std::time::{Duration, Instant};

use holdfast_sys::pidfd::{self, Signal};
use holdfast_sys::spawn::{Spawn, Spawned};
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};

use crate::agent::EXIT_REASON_PREFIX;
use crate::cgroup::Group;
use crate::job::{Job, OpStatus};
use crate::procfs;
use crate::systemd::Operation;

/// Output of one stream that is kept; the rest is read and dropped.
pub(crate) const OUTPUT_MAX: usize = 64 * 1024;
/// A pipe takes this much without a reader; a fence agent's parameters must fit.
const INPUT_MAX: usize = 60 * 1024;
/// A killed child that is still there after this long is in the kernel: said once, then waited for.
pub(crate) const KILL_PATIENCE: Duration = Duration::from_secs(5);

/// A job that runs.
pub(crate) struct Running {
    pub(crate) job: Job,
    pub(crate) body: Body,
    pub(crate) queued: Duration,
    pub(crate) started: Instant,
    pub(crate) deadline: Instant,
    pub(crate) ending: Option<Ending>,
}

/// What carries it out.
pub(crate) enum Body {
    Process(Box<Process>),
    Unit(#[expect(dead_code, reason = "held: letting go of it ends it")] Operation),
}

/// It is being ended.
pub(crate) struct Ending {
    pub(crate) why: OpStatus,
    /// SIGKILL follows then.
    pub(crate) kill_at: Instant,
    pub(crate) killed: bool,
    pub(crate) warned: bool,
}

/// An agent's process.
pub(crate) struct Process {
    pub(crate) child: Spawned,
    pub(crate) stdout: Capture<ChildStdout>,
    pub(crate) stderr: Capture<ChildStderr>,
    pub(crate) group: Option<Group>,
    /// It was only asked for the names of its parameters: this script is called next.
    pub(crate) then: Option<PathBuf>,
    /// Without a cgroup: what descended from it when its end began.
    descendants: Vec<OwnedFd>,
}

/// One stream of a process.
pub(crate) struct Capture<R> {
    pipe: Option<R>,
    pub(crate) kept: Vec<u8>,
    /// Stopped reading before the pipe was empty: the poller, being edge-triggered, will not say so again.
    pub(crate) more: bool,
}

/// What a poll token stands for: slot × 4 + stream.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    Death = 0,
    Stdout = 1,
    Stderr = 2,
}

impl Process {
    /// Starts it and watches it under the tokens of this slot.
    pub(crate) fn start(
        mut call: Spawn,
        input: Option<&str>,
        group: Option<(Group, OwnedFd)>,
        slot: usize,
        registry: &Registry,
    ) -> std::io::Result<Self> {
        let (group, procs) = group.unzip();
        call.cgroup = procs;
        let started = call.start().and_then(|mut child| {
            feed(&mut child, input)
                .and_then(|()| {
                    let (stdout, stderr) =
                        (Capture::new(child.take_stdout()), Capture::new(child.take_stderr()));
                    let watch = |fd: i32, stream: Stream| {
                        let token = Token(slot * 4 + stream as usize);
                        registry.register(&mut SourceFd(&fd), token, Interest::READABLE)
                    };
                    watch(child.pidfd().as_raw_fd(), Stream::Death)?;
                    stdout.pipe.as_ref().map_or(Ok(()), |p| watch(p.as_raw_fd(), Stream::Stdout))?;
                    stderr.pipe.as_ref().map_or(Ok(()), |p| watch(p.as_raw_fd(), Stream::Stderr))?;
                    Ok((stdout, stderr))
                })
                .inspect_err(|_| {
                    let _ = child.kill_group();
                    // Killed: it ends at once, and nobody else would take leave of it.
                    let _ = pidfd::wait_end(child.pidfd(), KILL_PATIENCE).and_then(|_| child.try_wait());
                })
                .map(|(stdout, stderr)| (child, stdout, stderr))
        });
        match started {
            Ok((child, stdout, stderr)) => {
                Ok(Self { child, stdout, stderr, group, then: None, descendants: Vec::new() })
            }
            Err(e) => {
                if let Some(group) = group {
                    let _ = group.remove();
                }
                Err(e)
            }
        }
    }

    /// Everything that it started and that can still be told to be of it.
    fn tree(&self) -> Vec<procfs::Process> {
        let mut tree = procfs::descendants(self.child.pid());
        let known: BTreeSet<u32> = tree.iter().map(|p| p.pid).collect();
        let grouped = self.group.as_ref().map(Group::pids).unwrap_or_default();
        tree.extend(grouped.into_iter().filter(|pid| !known.contains(pid)).filter_map(procfs::look));
        tree
    }

    /// SIGTERM to all of it. Returns where it hung.
    pub(crate) fn terminate(&mut self) -> String {
        let tree = self.tree();
        let place = procfs::whereabouts(&tree);
        let _ = self.child.terminate_group();
        let leader = self.child.pid();
        for process in tree.iter().filter(|p| p.pid != leader) {
            let Ok(fd) = pidfd::open(process.pid) else { continue };
            // Looked at again with its handle in hand: the number has not gone to another.
            if procfs::look(process.pid).is_some_and(|p| p.name == process.name && p.parent == process.parent)
            {
                use std::os::fd::AsFd;
                let _ = pidfd::send_signal(fd.as_fd(), Signal::SIGTERM);
                self.descendants.push(fd);
            }
        }
        place
    }

    /// SIGKILL to all of it.
    pub(crate) fn kill(&self) {
        use std::os::fd::AsFd;
        let _ = self.child.kill_group();
        for fd in &self.descendants {
            let _ = pidfd::send_signal(fd.as_fd(), Signal::SIGKILL);
        }
        if let Some(group) = &self.group {
            // Kernels before 5.14 have no such file: the processes one by one then, as seen now.
            if group.kill().is_err() {
                for fd in group.pids().into_iter().filter_map(|pid| pidfd::open(pid).ok()) {
                    let _ = pidfd::send_signal(fd.as_fd(), Signal::SIGKILL);
                }
            }
        }
    }

    /// Takes everything out of the poller.
    pub(crate) fn forget(&mut self, registry: &Registry) {
        // Closing does it as well, but a daemon that the agent left behind may hold the pipe's other end; to be exact.
        let _ = registry.deregister(&mut SourceFd(&self.child.pidfd().as_raw_fd()));
        if let Some(pipe) = self.stdout.pipe.take() {
            let _ = registry.deregister(&mut SourceFd(&pipe.as_raw_fd()));
        }
        if let Some(pipe) = self.stderr.pipe.take() {
            let _ = registry.deregister(&mut SourceFd(&pipe.as_raw_fd()));
        }
    }

    pub(crate) fn has_more(&self) -> bool {
        self.stdout.more || self.stderr.more
    }
}

impl Running {
    pub(crate) fn process(&mut self) -> Option<&mut Process> {
        match &mut self.body {
            Body::Process(process) => Some(process),
            Body::Unit(_) => None,
        }
    }

    /// When something is to be done about it, though nothing is heard of it.
    pub(crate) fn due(&self) -> Instant {
        match (&self.body, &self.ending) {
            (Body::Process(p), _) if p.has_more() => Instant::now(),
            (_, None) => self.deadline,
            (_, Some(ending)) if !ending.killed => ending.kill_at,
            (_, Some(ending)) if !ending.warned => ending.kill_at + KILL_PATIENCE,
            // Its death is an event; this is for what the kernel might not tell.
            _ => Instant::now() + Duration::from_secs(1),
        }
    }

    /// Begins to end it: SIGTERM now, SIGKILL after the grace.
    pub(crate) fn end(&mut self, why: OpStatus, grace: Duration) {
        if self.ending.is_some() {
            return;
        }
        let now = Instant::now();
        self.ending = Some(Ending { why, kill_at: now + grace, killed: false, warned: false });
        if let Body::Process(process) = &mut self.body {
            let place = process.terminate();
            if why == OpStatus::Timeout && !place.is_empty() {
                process.stderr.add(&format!("still running at its timeout: {place}\n"));
            }
        }
        if grace.is_zero() {
            self.press(now);
        }
    }

    /// Carries on what [`Self::end`] began.
    pub(crate) fn press(&mut self, now: Instant) {
        let Some(ending) = &mut self.ending else { return };
        let Body::Process(process) = &mut self.body else { return };
        if !ending.killed && ending.kill_at <= now {
            ending.killed = true;
            process.kill();
        } else if ending.killed && !ending.warned && ending.kill_at + KILL_PATIENCE <= now {
            ending.warned = true;
            process.stderr.add(&format!("{} will not die!\n", process.child.pid()));
        }
    }

    /// Its result, apart from what its class makes of the exit code.
    pub(crate) fn verdict(&self, status: Option<ExitStatus>, stderr: &str) -> (OpStatus, i32, String) {
        use crate::job::rc;
        use std::os::unix::process::ExitStatusExt;
        match (self.ending.as_ref().map(|e| e.why), status) {
            (Some(OpStatus::Timeout), _) => {
                let why = format!("killed after its timeout of {}", self.job.timeout);
                (OpStatus::Timeout, rc::TIMED_OUT, why)
            }
            (Some(why), _) => (why, rc::ERR_GENERIC, "killed".to_owned()),
            (None, None) => {
                (OpStatus::Error, rc::ERR_GENERIC, "lost track of the agent's process".to_owned())
            }
            (None, Some(s)) => match s.code() {
                Some(code) => (OpStatus::Done, code, exit_reason(stderr).to_owned()),
                None => {
                    let signal = s.signal().unwrap_or(0);
                    (OpStatus::Error, rc::ERR_GENERIC, format!("agent ended by signal {signal}"))
                }
            },
        }
    }
}

impl<R: Read> Capture<R> {
    fn new(pipe: Option<R>) -> Self {
        Self { pipe, kept: Vec::new(), more: false }
    }

    /// A line of our own, where there is room.
    fn add(&mut self, line: &str) {
        if self.kept.len() + line.len() <= OUTPUT_MAX {
            self.kept.extend_from_slice(line.as_bytes());
        }
    }

    /// Reads what is there; keeps up to the maximum and drops the rest, so that the agent never blocks on a full pipe.
    pub(crate) fn drain(&mut self) {
        self.more = false;
        let Some(pipe) = &mut self.pipe else { return };
        let mut buffer = [0_u8; 4096];
        // A flooding agent gets its share of a turn, not all of it.
        for _ in 0..64 {
            match pipe.read(&mut buffer) {
                Ok(0) => {
                    self.pipe = None;
                    return;
                }
                Ok(n) => {
                    let room = OUTPUT_MAX.saturating_sub(self.kept.len());
                    self.kept.extend_from_slice(&buffer[..n.min(room)]);
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
        self.more = true;
    }

    /// All that was kept, as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.kept).into_owned()
    }
}

/// The text of the last `ocf-exit-reason:` line.
fn exit_reason(stderr: &str) -> &str {
    stderr.lines().rev().find_map(|l| l.split_once(EXIT_REASON_PREFIX)).map_or("", |(_, text)| text.trim())
}

fn feed(child: &mut Spawned, input: Option<&str>) -> std::io::Result<()> {
    let (Some(mut stdin), Some(input)) = (child.take_stdin(), input) else { return Ok(()) };
    if input.len() > INPUT_MAX {
        return Err(std::io::Error::new(ErrorKind::InvalidInput, "more than 60 KiB of parameters"));
    }
    match stdin.write_all(input.as_bytes()) {
        // An agent that never reads its input is its own affair.
        Err(e) if e.kind() == ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}
