//! The executor's thread: queue, running children, recurring jobs.
//!
//! A job is queued → running → done; a recurring one then waits for its interval and is queued again. A child is done
//! when its pidfd says so, not when its pipes close: a daemon that it started may keep those open for ever.

use std::collections::{BTreeMap, VecDeque};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{ChildStderr, ChildStdout};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};
use holdfast_sys::spawn::Spawned;
use holdfast_types::Span;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

use crate::ExecutorConfig;
use crate::agent::{self, AgentError, EXIT_REASON_PREFIX};
use crate::job::{Job, JobId, OpStatus, Outcome, rc};

pub(crate) const WAKE: Token = Token(usize::MAX);
/// Output of one stream that is kept; the rest is read and dropped.
const OUTPUT_MAX: usize = 64 * 1024;
/// A pipe takes this much without a reader; a fence agent's parameters must fit.
const INPUT_MAX: usize = 60 * 1024;
/// A killed child that is still there after this long is in the kernel: said once, then waited for.
const KILL_PATIENCE: Duration = Duration::from_secs(5);

pub(crate) enum Command {
    Run(Box<Job>),
    Cancel(JobId),
    End,
}

pub(crate) struct Runner {
    config: ExecutorConfig,
    poll: Poll,
    commands: Receiver<Command>,
    outcomes: Sender<Outcome>,
    notify: Box<dyn Fn() + Send>,
    queue: VecDeque<Pending>,
    running: BTreeMap<usize, Running>,
    /// Recurring jobs between two runs.
    resting: Vec<(Instant, Job)>,
    /// Result last reported of each recurring job.
    reported: BTreeMap<JobId, (OpStatus, i32)>,
    next_slot: usize,
}

struct Pending {
    job: Job,
    since: Instant,
}

struct Running {
    job: Job,
    child: Spawned,
    stdout: Capture<ChildStdout>,
    stderr: Capture<ChildStderr>,
    queued: Duration,
    started: Instant,
    deadline: Instant,
    killed_for: Option<OpStatus>,
    warned: bool,
}

struct Capture<R> {
    pipe: Option<R>,
    kept: Vec<u8>,
    /// Stopped reading before the pipe was empty: the poller, being edge-triggered, will not say so again.
    more: bool,
}

/// What a poll token stands for: slot × 4 + stream.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stream {
    Death = 0,
    Stdout = 1,
    Stderr = 2,
}

impl Runner {
    pub(crate) fn new(
        config: ExecutorConfig,
        poll: Poll,
        commands: Receiver<Command>,
        outcomes: Sender<Outcome>,
        notify: Box<dyn Fn() + Send>,
    ) -> Self {
        Self {
            config,
            poll,
            commands,
            outcomes,
            notify,
            queue: VecDeque::new(),
            running: BTreeMap::new(),
            resting: Vec::new(),
            reported: BTreeMap::new(),
            next_slot: 0,
        }
    }

    pub(crate) fn run(mut self) {
        let mut events = Events::with_capacity(64);
        loop {
            let timeout = self.next_timeout().map(|at| at.saturating_duration_since(Instant::now()));
            match self.poll.poll(&mut events, timeout) {
                Ok(()) => {}
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(_) => return self.kill_all(),
            }
            for event in &events {
                if event.token() != WAKE {
                    self.stream_ready(event.token());
                }
            }
            for run in self.running.values_mut().filter(|r| r.has_more()) {
                run.stdout.drain();
                run.stderr.drain();
            }
            while let Ok(command) = self.commands.try_recv() {
                match command {
                    Command::Run(job) => self.queue.push_back(Pending { job: *job, since: Instant::now() }),
                    Command::Cancel(id) => self.cancel(id),
                    Command::End => return self.kill_all(),
                }
            }
            self.expire();
            self.reap();
            self.start_ready();
        }
    }

    fn next_timeout(&self) -> Option<Instant> {
        let running = self.running.values().map(|r| match r.killed_for {
            _ if r.has_more() => Instant::now(),
            None => r.deadline,
            Some(_) => Instant::now() + Duration::from_millis(200),
        });
        running.chain(self.resting.iter().map(|(at, _)| *at)).min()
    }

    /// Moves rested jobs to the queue and kills what is over its time.
    fn expire(&mut self) {
        let now = Instant::now();
        let (due, resting) = std::mem::take(&mut self.resting).into_iter().partition(|(at, _)| *at <= now);
        self.resting = resting;
        for (since, job) in due {
            self.queue.push_back(Pending { job, since });
        }
        for run in self.running.values_mut() {
            if run.killed_for.is_none() && run.deadline <= now {
                run.kill(OpStatus::Timeout);
            } else if run.killed_for.is_some() && !run.warned && run.deadline + KILL_PATIENCE <= now {
                run.warned = true;
                let line = format!("{} will not die!\n", run.child.pid());
                run.stderr.kept.extend_from_slice(line.as_bytes());
            }
        }
    }

    fn start_ready(&mut self) {
        let mut index = 0;
        while index < self.queue.len() && self.running.len() < self.config.parallel_max {
            let resource = &self.queue[index].job.resource;
            let busy = self.running.values().any(|r| r.job.resource == *resource)
                || self.queue.iter().take(index).any(|p| p.job.resource == *resource);
            if busy {
                index += 1;
            } else if let Some(pending) = self.queue.remove(index) {
                self.start(pending);
            }
        }
    }

    fn start(&mut self, Pending { job, since }: Pending) {
        let started = Instant::now();
        let queued = started.duration_since(since);
        let (call, input) = match agent::call(&self.config, &job) {
            Ok(call) => call,
            Err(e) => {
                let (status, code) = match e {
                    AgentError::NotInstalled { .. } => (OpStatus::NotInstalled, rc::ERR_INSTALLED),
                    AgentError::BadName(_) => (OpStatus::Error, rc::ERR_CONFIGURED),
                };
                return self.finish(job, Result::bare(status, code, e.to_string(), queued));
            }
        };
        let spawned = call.start().and_then(|mut child| {
            feed(&mut child, input.as_deref()).inspect_err(|_| {
                let _ = child.kill_group();
            })?;
            Ok(child)
        });
        let mut child = match spawned {
            Ok(child) => child,
            Err(e) => {
                let reason = format!("could not start {}: {e}", call.program.display());
                return self.finish(job, Result::bare(OpStatus::Error, rc::ERR_GENERIC, reason, queued));
            }
        };
        let slot = self.next_slot;
        self.next_slot += 1;
        let run = Running {
            stdout: Capture { pipe: child.take_stdout(), kept: Vec::new(), more: false },
            stderr: Capture { pipe: child.take_stderr(), kept: Vec::new(), more: false },
            deadline: started + job.timeout.to_duration(),
            job,
            child,
            queued,
            started,
            killed_for: None,
            warned: false,
        };
        let registry = self.poll.registry();
        let watch = |fd: i32, stream: Stream| {
            registry.register(&mut SourceFd(&fd), Token(slot * 4 + stream as usize), Interest::READABLE)
        };
        let watched = watch(run.child.pidfd().as_raw_fd(), Stream::Death)
            .and_then(|()| run.stdout.pipe.as_ref().map_or(Ok(()), |p| watch(p.as_raw_fd(), Stream::Stdout)))
            .and_then(|()| run.stderr.pipe.as_ref().map_or(Ok(()), |p| watch(p.as_raw_fd(), Stream::Stderr)));
        self.running.insert(slot, run);
        if watched.is_err()
            && let Some(run) = self.running.get_mut(&slot)
        {
            run.kill(OpStatus::Error);
        }
    }

    fn stream_ready(&mut self, token: Token) {
        let Some(run) = self.running.get_mut(&(token.0 / 4)) else { return };
        if token.0 % 4 == Stream::Stdout as usize {
            run.stdout.drain();
        } else if token.0 % 4 == Stream::Stderr as usize {
            run.stderr.drain();
        }
    }

    /// Takes the results of children that have ended.
    fn reap(&mut self) {
        let ended: Vec<(usize, Option<std::process::ExitStatus>)> = self
            .running
            .iter_mut()
            .filter_map(|(slot, run)| match run.child.try_wait() {
                Ok(None) => None,
                Ok(Some(status)) => Some((*slot, Some(status))),
                Err(_) => Some((*slot, None)),
            })
            .collect();
        for (slot, status) in ended {
            if let Some(mut run) = self.running.remove(&slot) {
                run.stdout.drain();
                run.stderr.drain();
                // Dropping the pidfd closes it, which also takes it out of the poll set; deregister to be exact.
                let _ =
                    self.poll.registry().deregister(&mut SourceFd(&run.child.pidfd().as_fd().as_raw_fd()));
                let (job, result) = run.into_result(status);
                self.finish(job, result);
            }
        }
    }

    fn finish(&mut self, job: Job, result: Result) {
        let recurring = job.interval > Span::ZERO && result.status != OpStatus::Cancelled;
        let outcome = Outcome {
            id: job.id,
            resource: job.resource.clone(),
            action: job.work.action().to_owned(),
            status: result.status,
            rc: result.rc,
            reason: result.reason,
            stdout: result.stdout,
            stderr: result.stderr,
            exec: result.exec.into(),
            queued: result.queued.into(),
            recurring,
        };
        let news = (outcome.status, outcome.rc);
        let id = job.id;
        let known = if recurring {
            self.resting.push((Instant::now() + job.interval.to_duration(), job));
            self.reported.insert(id, news) == Some(news)
        } else {
            self.reported.remove(&id);
            false
        };
        if !known && self.outcomes.send(outcome).is_ok() {
            (self.notify)();
        }
    }

    fn cancel(&mut self, id: JobId) {
        if let Some(run) = self.running.values_mut().find(|r| r.job.id == id) {
            run.kill(OpStatus::Cancelled);
            return;
        }
        let queued = self.queue.iter().position(|p| p.job.id == id).and_then(|i| self.queue.remove(i));
        let resting = || self.resting.iter().position(|(_, job)| job.id == id);
        let job = match queued {
            Some(pending) => Some(pending.job),
            None => resting().map(|i| self.resting.remove(i).1),
        };
        if let Some(job) = job {
            let result = Result::bare(OpStatus::Cancelled, rc::SUCCESS, String::new(), Duration::ZERO);
            self.finish(job, result);
        }
    }

    fn kill_all(mut self) {
        for run in self.running.values_mut() {
            run.kill(OpStatus::Cancelled);
        }
        // Reap what dies at once; a child stuck in the kernel is init's.
        let patience = Instant::now() + Duration::from_secs(1);
        while !self.running.is_empty() && Instant::now() < patience {
            self.running.retain(|_, run| matches!(run.child.try_wait(), Ok(None)));
            let _ = self.poll.poll(&mut Events::with_capacity(8), Some(Duration::from_millis(5)));
        }
    }
}

impl Running {
    fn has_more(&self) -> bool {
        self.stdout.more || self.stderr.more
    }

    fn kill(&mut self, why: OpStatus) {
        if self.killed_for.is_none() {
            self.killed_for = Some(why);
            let _ = self.child.kill_group();
        }
    }

    fn into_result(self, status: Option<std::process::ExitStatus>) -> (Job, Result) {
        let stdout = String::from_utf8_lossy(&self.stdout.kept).into_owned();
        let stderr = String::from_utf8_lossy(&self.stderr.kept).into_owned();
        let (status, code, reason) = match (self.killed_for, status) {
            (Some(OpStatus::Timeout), _) => (
                OpStatus::Timeout,
                rc::TIMED_OUT,
                format!("killed after its timeout of {}", self.job.timeout),
            ),
            (Some(why), _) => (why, rc::ERR_GENERIC, "killed".to_owned()),
            (None, None) => {
                (OpStatus::Error, rc::ERR_GENERIC, "lost track of the agent's process".to_owned())
            }
            (None, Some(s)) => match s.code() {
                Some(code) => (OpStatus::Done, code, exit_reason(&stderr).to_owned()),
                None => {
                    let signal = s.signal().unwrap_or(0);
                    (OpStatus::Error, rc::ERR_GENERIC, format!("agent ended by signal {signal}"))
                }
            },
        };
        let exec = self.started.elapsed();
        (self.job, Result { status, rc: code, reason, stdout, stderr, exec, queued: self.queued })
    }
}

struct Result {
    status: OpStatus,
    rc: i32,
    reason: String,
    stdout: String,
    stderr: String,
    exec: Duration,
    queued: Duration,
}

impl Result {
    fn bare(status: OpStatus, rc: i32, reason: String, queued: Duration) -> Self {
        let (stdout, stderr) = (String::new(), String::new());
        Self { status, rc, reason, stdout, stderr, exec: Duration::ZERO, queued }
    }
}

impl<R: Read> Capture<R> {
    /// Reads what is there; keeps up to the maximum and drops the rest, so that the agent never blocks on a full pipe.
    fn drain(&mut self) {
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
