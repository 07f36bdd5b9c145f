//! The executor's thread: one loop over commands, deaths, output and deadlines.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::ErrorKind;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, unbounded};
use holdfast_types::Span;
use mio::{Events, Poll, Token, Waker};

use crate::ExecutorConfig;
use crate::agent::{self, AgentError, Plan};
use crate::cgroup::{Group, Home};
use crate::glue;
use crate::job::{Job, JobId, OpStatus, Outcome, rc};
use crate::run::{Body, Process, Running, Stream};
use crate::systemd::{self, Answer};
use crate::watch::{Death, Watched, Watcher, pid_files};

pub(crate) const WAKE: Token = Token(usize::MAX);
/// Deaths of one resource bring its monitors forward at most this often: a daemon that ends main processes all the time
/// would have them run all the time.
const LOOK_PAUSE: Duration = Duration::from_secs(1);

/// How long systemd may need to take in the death of a process.
const UNIT_LAG: Duration = Duration::from_millis(100);

pub(crate) enum Command {
    Run(Box<Job>),
    Cancel(JobId),
    Watch(String, Vec<PathBuf>),
    Unwatch(String),
    Watching(bool),
    Orphans,
    End,
}

pub(crate) struct Runner {
    config: ExecutorConfig,
    poll: Poll,
    waker: Arc<Waker>,
    commands: Receiver<Command>,
    outcomes: Sender<Outcome>,
    news: Sender<Watched>,
    notify: Box<dyn Fn() + Send>,
    home: Option<Home>,
    queue: VecDeque<Pending>,
    running: BTreeMap<usize, Running>,
    /// Recurring jobs between two runs.
    resting: Vec<(Instant, Job)>,
    /// Result last reported of each recurring job, and whether its agent wrote to standard error.
    reported: BTreeMap<JobId, (OpStatus, i32, bool)>,
    watcher: Watcher,
    /// When deaths last brought a resource's monitors forward, and those that died while one ran.
    looked: BTreeMap<String, Instant>,
    look_again: BTreeSet<String>,
    /// Cgroups of what was killed, until they are empty.
    dying: Vec<Group>,
    units: Ends<(usize, Answer)>,
    next_slot: usize,
}

/// Both ends of a channel.
type Ends<T> = (Sender<T>, Receiver<T>);

struct Pending {
    job: Job,
    since: Instant,
}

/// How a run ended.
struct Ended {
    status: OpStatus,
    rc: i32,
    reason: String,
    stdout: String,
    stderr: String,
    exec: Duration,
    queued: Duration,
    /// Main process of a unit of systemd.
    main: Option<u32>,
}

impl Runner {
    #[allow(clippy::too_many_arguments, reason = "the ends of everything that the handle holds")]
    pub(crate) fn new(
        config: ExecutorConfig,
        poll: Poll,
        waker: Arc<Waker>,
        commands: Receiver<Command>,
        outcomes: Sender<Outcome>,
        news: Sender<Watched>,
        home: Option<(Home, Vec<(String, Group)>)>,
        notify: Box<dyn Fn() + Send>,
    ) -> Self {
        let mut watcher = Watcher::default();
        let home = home.map(|(home, earlier)| {
            for (resource, group) in earlier {
                watcher.keep(poll.registry(), &resource, group);
            }
            home
        });
        Self {
            config,
            poll,
            waker,
            commands,
            outcomes,
            news,
            notify,
            home,
            queue: VecDeque::new(),
            running: BTreeMap::new(),
            resting: Vec::new(),
            reported: BTreeMap::new(),
            watcher,
            looked: BTreeMap::new(),
            look_again: BTreeSet::new(),
            dying: Vec::new(),
            units: unbounded(),
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
            let mut deaths = Vec::new();
            for event in &events {
                match event.token() {
                    WAKE => {}
                    token if token.0 >= Watcher::FIRST_TOKEN => {
                        deaths.extend(self.watcher.ready(self.poll.registry(), token));
                    }
                    token => self.stream_ready(token),
                }
            }
            for process in self.running.values_mut().filter_map(Running::process).filter(|p| p.has_more()) {
                process.stdout.drain();
                process.stderr.drain();
            }
            let mut orphans = false;
            while let Ok(command) = self.commands.try_recv() {
                match command {
                    Command::Run(job) => self.queue.push_back(Pending { job: *job, since: Instant::now() }),
                    Command::Cancel(id) => self.cancel(id),
                    Command::Watch(resource, files) => {
                        self.watcher.begin(self.poll.registry(), &resource, files, None, None);
                    }
                    Command::Unwatch(resource) => self.watcher.pause(self.poll.registry(), &resource),
                    Command::Watching(on) => self.config.watch = on,
                    Command::Orphans => orphans = true,
                    Command::End => return self.kill_all(),
                }
            }
            // Once for all signals of a turn: hundreds of agents may end in one.
            if orphans {
                let watched = self.watcher.pids();
                holdfast_sys::orphans::reap(|pid| watched.contains(&pid));
            }
            self.expire();
            self.reap();
            while let Ok((slot, answer)) = self.units.1.try_recv() {
                self.unit_done(slot, answer);
            }
            // After what has ended: an operation's own end may be the reason of a death, and it has been paused then.
            for death in deaths {
                self.died(death);
            }
            self.start_ready();
        }
    }

    fn next_timeout(&self) -> Option<Instant> {
        let running = self.running.values().map(Running::due);
        let dying = self.dying.first().map(|_| Instant::now() + Duration::from_millis(50));
        running.chain(self.resting.iter().map(|(at, _)| *at)).chain(dying).min()
    }

    /// Moves rested jobs to the queue and ends what is over its time.
    fn expire(&mut self) {
        let now = Instant::now();
        let (due, resting) = std::mem::take(&mut self.resting).into_iter().partition(|(at, _)| *at <= now);
        self.resting = resting;
        for (since, job) in due {
            self.queue.push_back(Pending { job, since });
        }
        let grace = self.config.term_grace.to_duration();
        let mut given_up = Vec::new();
        for (slot, run) in &mut self.running {
            if run.ending.is_none() && run.deadline <= now {
                run.end(OpStatus::Timeout, grace);
            }
            run.press(now);
            if run.ending.is_some() && matches!(run.body, Body::Unit(_)) {
                given_up.push(*slot);
            }
        }
        for slot in given_up {
            self.give_unit_up(slot);
        }
        self.dying.retain(|group| group.is_populated() || group.remove().is_err());
    }

    /// Starts what may run, the longest waiting first: one operation of a resource at a time, so many in all. Fencing
    /// does not wait for agents.
    fn start_ready(&mut self) {
        let mut busy: BTreeSet<String> = self.running.values().map(|r| r.job.resource.clone()).collect();
        let mut room = self
            .config
            .parallel_max
            .saturating_sub(self.running.values().filter(|r| !r.job.work.is_fence()).count());
        let mut index = 0;
        while let Some(pending) = self.queue.get(index) {
            let fence = pending.job.work.is_fence();
            let free = busy.insert(pending.job.resource.clone());
            if !free || (room == 0 && !fence) {
                index += 1;
                continue;
            }
            room -= usize::from(!fence);
            if let Some(pending) = self.queue.remove(index) {
                self.start(pending);
            }
        }
    }

    fn start(&mut self, Pending { job, since }: Pending) {
        let started = Instant::now();
        let queued = started.duration_since(since);
        let plan = match agent::plan(&self.config, &job) {
            Ok(plan) => plan,
            Err(e) => {
                let (status, code) = match e {
                    AgentError::NotInstalled { .. } => (OpStatus::NotInstalled, rc::ERR_INSTALLED),
                    AgentError::BadName(_) => (OpStatus::Error, rc::ERR_CONFIGURED),
                    AgentError::Writable(_) => (OpStatus::Error, rc::ERR_PERM),
                    AgentError::NoAction { .. } => (OpStatus::Done, rc::ERR_UNIMPLEMENTED),
                };
                return self.finish(job, Ended::bare(status, code, e.to_string(), queued));
            }
        };
        if !job.work.is_look() {
            self.watcher.pause(self.poll.registry(), &job.resource);
        }
        self.next_slot += 1;
        let slot = self.next_slot;
        let body = match plan {
            Plan::Nothing => {
                let ended = Ended::bare(OpStatus::Done, rc::SUCCESS, String::new(), queued);
                return self.finish(job, ended);
            }
            Plan::Unit(unit) => self.begin_unit(slot, &unit, job.work.action()),
            Plan::Program(call, input) => {
                self.launch(&job, *call, input.as_deref(), slot).map(|p| Body::Process(Box::new(p)))
            }
            Plan::Glue(script) => {
                let call = glue::names_call(&self.config, &script);
                self.launch(&job, call, None, slot).map(|mut process| {
                    process.then = Some(script);
                    Body::Process(Box::new(process))
                })
            }
        };
        match body {
            Ok(body) => {
                let deadline = started + job.timeout.to_duration();
                self.running.insert(slot, Running { job, body, queued, started, deadline, ending: None });
            }
            Err(reason) => {
                self.finish(job, Ended::bare(OpStatus::Error, rc::ERR_GENERIC, reason, queued));
            }
        }
    }

    fn launch(
        &mut self,
        job: &Job,
        call: holdfast_sys::spawn::Spawn,
        input: Option<&str>,
        slot: usize,
    ) -> Result<Process, String> {
        let program = call.program.display().to_string();
        let group = self.home.as_mut().map(|home| home.group(&job.resource)).transpose();
        group
            .and_then(|group| Process::start(call, input, group, slot, self.poll.registry()))
            .map_err(|e| format!("could not start {program}: {e}"))
    }

    fn begin_unit(&mut self, slot: usize, unit: &str, action: &str) -> Result<Body, String> {
        let (done, waker) = (self.units.0.clone(), Arc::clone(&self.waker));
        let answered = move |answer| {
            // Nobody listens any more: the executor has ended.
            if done.send((slot, answer)).is_ok() {
                let _ = waker.wake();
            }
        };
        let begun = systemd::begin(&self.config, unit, action, answered);
        begun.map(Body::Unit).map_err(|e| {
            format!("systemd cannot be reached at {}: {e}; is it this machine's init?", self.config.bus)
        })
    }

    fn unit_done(&mut self, slot: usize, answer: Answer) {
        let Some(run) = self.running.remove(&slot) else { return };
        let mut ended = Ended::bare(answer.status, answer.rc, answer.reason, run.queued);
        ended.exec = run.started.elapsed();
        ended.main = answer.main;
        self.finish(run.job, ended);
    }

    fn give_unit_up(&mut self, slot: usize) {
        let Some(run) = self.running.remove(&slot) else { return };
        let (status, code, mut reason) = run.verdict(None, "");
        if status == OpStatus::Timeout {
            reason = format!("systemd was not done within {}", run.job.timeout);
        }
        let mut ended = Ended::bare(status, code, reason, run.queued);
        ended.exec = run.started.elapsed();
        self.finish(run.job, ended);
    }

    fn stream_ready(&mut self, token: Token) {
        let Some(process) = self.running.get_mut(&(token.0 / 4)).and_then(Running::process) else { return };
        if token.0 % 4 == Stream::Stdout as usize {
            process.stdout.drain();
        } else if token.0 % 4 == Stream::Stderr as usize {
            process.stderr.drain();
        }
    }

    /// Takes the results of children that have ended.
    fn reap(&mut self) {
        let ended: Vec<(usize, Option<ExitStatus>)> = self
            .running
            .iter_mut()
            .filter_map(|(slot, run)| match run.process()?.child.try_wait() {
                Ok(None) => None,
                Ok(Some(status)) => Some((*slot, Some(status))),
                Err(_) => Some((*slot, None)),
            })
            .collect();
        for (slot, status) in ended {
            self.ended(slot, status);
        }
    }

    fn ended(&mut self, slot: usize, status: Option<ExitStatus>) {
        let Some(mut run) = self.running.remove(&slot) else { return };
        let Body::Process(process) = &mut run.body else { return };
        process.stdout.drain();
        process.stderr.drain();
        process.forget(self.poll.registry());
        let (stdout, stderr) = (process.stdout.text(), process.stderr.text());
        let group = process.group.take();
        let then = process.then.take();
        if run.ending.is_some() {
            // What it started must not outlive it.
            process.kill();
            if let Some(group) = group {
                let _ = group.kill();
                self.dying.push(group);
            }
        } else if let Some(group) = group {
            if group.is_populated() {
                self.watcher.keep(self.poll.registry(), &run.job.resource, group);
            } else {
                let _ = group.remove();
            }
        }
        if let (Some(script), Some(0), None) = (then, status.and_then(|s| s.code()), &run.ending) {
            let call = glue::main_call(&self.config, &script, &run.job, &stdout);
            self.next_slot += 1;
            let slot = self.next_slot;
            match self.launch(&run.job, call, None, slot) {
                Ok(process) => {
                    run.body = Body::Process(Box::new(process));
                    self.running.insert(slot, run);
                }
                Err(reason) => {
                    let ended = Ended::bare(OpStatus::Error, rc::ERR_GENERIC, reason, run.queued);
                    self.finish(run.job, ended);
                }
            }
            return;
        }
        let (status, code, reason) = run.verdict(status, &stderr);
        let code = if status == OpStatus::Done {
            let probe = run.job.work.action() == "monitor" && run.job.interval == Span::ZERO;
            agent::uniform(&run.job.work, probe, code)
        } else {
            code
        };
        let (exec, queued) = (run.started.elapsed(), run.queued);
        // Whoever hears of its end finds nothing of it open any more.
        drop(run.body);
        self.finish(run.job, Ended { status, rc: code, reason, stdout, stderr, exec, queued, main: None });
    }

    fn finish(&mut self, job: Job, result: Ended) {
        let recurring = job.interval > Span::ZERO && result.status != OpStatus::Cancelled;
        self.watch_after(&job, &result);
        let mut outcome = Outcome {
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
            repeated: false,
        };
        let (status, rc, spoke) = (outcome.status, outcome.rc, !outcome.stderr.trim().is_empty());
        let id = job.id;
        let known = if recurring {
            let pause = if self.look_again.remove(&job.resource) {
                Duration::ZERO
            } else {
                job.interval.to_duration()
            };
            self.resting.push((Instant::now() + pause, job));
            let before = self.reported.insert(id, (status, rc, spoke));
            outcome.repeated = before.is_some_and(|b| (b.0, b.1) == (status, rc));
            outcome.repeated && !spoke && !before.is_some_and(|b| b.2)
        } else {
            self.reported.remove(&id);
            false
        };
        if !known && self.outcomes.send(outcome).is_ok() {
            (self.notify)();
        }
    }

    /// What an operation's end means for watching.
    fn watch_after(&mut self, job: &Job, result: &Ended) {
        let refused = |(name, value): &(String, String)| {
            name == SWITCH && matches!(value.as_str(), "false" | "off" | "no" | "n" | "0")
        };
        if !self.config.watch || job.work.is_fence() || job.meta.iter().any(refused) {
            return;
        }
        let well = result.status == OpStatus::Done
            && matches!(result.rc, rc::SUCCESS | rc::RUNNING_PROMOTED | rc::DEGRADED);
        let began = match job.work.action() {
            _ if matches!(job.work, crate::Work::Nagios { .. }) => false,
            "stop" | "migrate_to" | "meta-data" | "metadata" | "validate-all" | "notify" => false,
            // A resource that ran before we did, or runs on in other processes: its monitor says that it runs.
            "monitor" | "status" => {
                let (told, blind) =
                    (self.watcher.is_told(&job.resource), self.watcher.is_blind(&job.resource));
                job.interval > Span::ZERO && (!told || blind)
            }
            _ => true,
        };
        if began && well {
            let files = pid_files(&job.params);
            let since = holdfast_sys::clock::boottime_nanos()
                .saturating_sub(u64::try_from(result.exec.as_nanos()).unwrap_or(u64::MAX));
            // A process that a resource has had for long is not looked for among strangers.
            let since = (!job.work.is_look()).then_some((since / 10_000_000).saturating_sub(1));
            self.watcher.begin(self.poll.registry(), &job.resource, files, result.main, since);
        }
    }

    /// A main process ended unasked: the resource's monitors run now, not at their time.
    fn died(&mut self, death: Death) {
        let Death { resource, pid, name, code } = death;
        if !self.config.watch || !self.watcher.is_told(&resource) {
            return;
        }
        let now = Instant::now();
        let at = match self.looked.get(&resource) {
            Some(last) if *last + LOOK_PAUSE > now => *last + LOOK_PAUSE,
            _ => now,
        };
        self.looked.insert(resource.clone(), at);
        let mut monitored = false;
        for (due, job) in self.resting.iter_mut().filter(|(_, job)| job.resource == resource) {
            // systemd hears of it when we do, and has to have heard before it is asked.
            let lag = if matches!(job.work, crate::Work::Systemd { .. }) { UNIT_LAG } else { Duration::ZERO };
            *due = (*due).min(at + lag);
            monitored = true;
        }
        // One that runs may have looked before the death.
        let looks = |job: &Job| job.resource == resource && job.interval > Span::ZERO;
        if self.running.values().any(|r| looks(&r.job)) {
            self.look_again.insert(resource.clone());
            monitored = true;
        }
        monitored = monitored || self.queue.iter().any(|p| looks(&p.job));
        let news = Watched::Died { resource, pid, name, code, monitored };
        if self.news.send(news).is_ok() {
            (self.notify)();
        }
    }

    fn cancel(&mut self, id: JobId) {
        let grace = self.config.term_grace.to_duration();
        if let Some(run) = self.running.values_mut().find(|r| r.job.id == id) {
            return run.end(OpStatus::Cancelled, grace);
        }
        let queued = self.queue.iter().position(|p| p.job.id == id).and_then(|i| self.queue.remove(i));
        let resting = || self.resting.iter().position(|(_, job)| job.id == id);
        let job = match queued {
            Some(pending) => Some(pending.job),
            None => resting().map(|i| self.resting.remove(i).1),
        };
        if let Some(job) = job {
            let result = Ended::bare(OpStatus::Cancelled, rc::SUCCESS, String::new(), Duration::ZERO);
            self.finish(job, result);
        }
    }

    fn kill_all(mut self) {
        self.running.retain(|_, run| {
            run.end(OpStatus::Cancelled, Duration::ZERO);
            run.process().is_some()
        });
        // Reap what dies at once; a child stuck in the kernel is init's.
        let patience = Instant::now() + Duration::from_secs(1);
        while !self.running.is_empty() && Instant::now() < patience {
            self.running.retain(|_, run| {
                let ended = run.process().is_none_or(|p| !matches!(p.child.try_wait(), Ok(None)));
                if ended && let Some(group) = run.process().and_then(|p| p.group.take()) {
                    let _ = group.remove();
                }
                !ended
            });
            let _ = self.poll.poll(&mut Events::with_capacity(8), Some(Duration::from_millis(5)));
        }
    }
}

impl Ended {
    fn bare(status: OpStatus, rc: i32, reason: String, queued: Duration) -> Self {
        let (stdout, stderr) = (String::new(), String::new());
        Self { status, rc, reason, stdout, stderr, exec: Duration::ZERO, queued, main: None }
    }
}

/// Meta attribute of a resource: `false` leaves deaths of its processes to its monitors.
const SWITCH: &str = "holdfast-watch";
