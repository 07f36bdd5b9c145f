//! The loop: receive, feed the manager, carry out what it wants, sleep. It decides nothing.

use std::collections::VecDeque;
use std::fs;
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use cib::Cib;
use cmm_ipc::Place;
use cmm_ipc::abi::cmap::Value;
use crossbeam_channel::Receiver;
use executor::{Alert, Alerts, Executor, ExecutorConfig, Outcome, Watched};
use holdfast_sys::clock;
use holdfast_sys::daemonize::{self, Signals};
use holdfast_sys::service::Notify;
use holdfast_types::{Boottime, Span, WallTime};
use logconv::Event;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use rgmd::operator::OperatorLog;
use rgmd::{Config, Input, Manager, Now, Output};
use tracing::Level;

use crate::exit::{self, Fatal};
use crate::lifeline::Lifeline;
use crate::log;
use crate::ring::{Facts, Ring};
use crate::socket::Socket;
use crate::store::Store;

/// Folders of this node.
pub(crate) struct Paths {
    pub(crate) run_dir: PathBuf,
    pub(crate) state_dir: PathBuf,
    /// The run directory was named: several nodes may live on this machine.
    own_run_dir: bool,
}

impl Paths {
    pub(crate) fn from_env() -> Self {
        let dir = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        let run_dir = dir("HOLDFAST_RUN_DIR");
        Self {
            own_run_dir: run_dir.is_some(),
            run_dir: run_dir.unwrap_or_else(|| "/run/holdfast".into()),
            state_dir: dir("HOLDFAST_STATE_DIR").unwrap_or_else(|| "/var/lib/holdfast".into()),
        }
    }
}

/// Everything that the loop drives.
pub(crate) struct Driver {
    poll: Poll,
    paths: Paths,
    manager: Manager,
    /// `None`: the ring daemon is gone.
    ring: Option<Ring>,
    joined: bool,
    lifeline: Lifeline,
    executor: Executor,
    outcomes: Receiver<Outcome>,
    store: Store,
    socket: Socket,
    signals: Signals,
    notify: Notify,
    /// Numbers of the last save asked for and the last one done.
    saves: (u64, u64),
    /// Answers that wait until this save is done.
    held: VecDeque<(u64, u64, Result<serde_json::Value, String>)>,
    /// Something waits for the ring daemon to take it.
    retry: bool,
    finished: Option<bool>,
    operator: OperatorLog,
    alerts: Alerts,
    alert_agents: Vec<Alert>,
}

impl Driver {
    /// Connects to the ring daemon, waiting for it if need be, and sets everything up.
    /// `delay`: from the death of this process to the end of the node.
    pub(crate) fn start(paths: Paths, cib: Cib, mut signals: Signals, delay: Span) -> Result<Self, Fatal> {
        let os = |what: &'static str| move |e: std::io::Error| Fatal::new(exit::OS, format!("{what}: {e}"));
        let files = |e: std::io::Error| Fatal::new(exit::FILES, format!("cannot make a folder: {e}"));
        let work_dir = paths.state_dir.join("agents");
        for dir in [&paths.run_dir, &work_dir] {
            fs::create_dir_all(dir).map_err(files)?;
        }
        let (ring, facts) = connect(&mut signals)?;
        let poll = Poll::new().map_err(os("cannot make a poller"))?;
        let registry = poll.registry();
        let waker = Arc::new(Waker::new(registry, WAKE).map_err(os("cannot make a waker"))?);
        for (fd, token) in ring.descriptors().iter().zip([CMAP, CPG, QUORUM]) {
            registry.register(&mut SourceFd(fd), token, Interest::READABLE).map_err(os("cannot poll"))?;
        }
        let signal_fd = signals.as_fd().as_raw_fd();
        registry
            .register(&mut SourceFd(&signal_fd), SIGNALS, Interest::READABLE)
            .map_err(os("cannot poll"))?;
        let socket =
            Socket::bind(&paths.run_dir, registry, FIRST_ADMIN).map_err(os("cannot make rgmd.sock"))?;
        let wake = Arc::clone(&waker);
        let store =
            Store::start(&paths.state_dir, move || drop(wake.wake())).map_err(os("cannot start a thread"))?;
        let config = executor_config(&paths, &facts, work_dir).map_err(files)?;
        let alert_waker = Arc::clone(&waker);
        let alerts = Alerts::new(&config, move || drop(alert_waker.wake()))
            .map_err(os("cannot start the executor of alerts"))?;
        let (executor, outcomes) =
            Executor::new(config, move || drop(waker.wake())).map_err(os("cannot start the executor"))?;
        tracing::info!("{}", executor.surroundings());
        let now = now();
        tracing::info!(
            "Starting on node {} ({}) of cluster {}",
            facts.nodes.get(&facts.me).map_or("?", String::as_str),
            facts.me,
            facts.cluster_name
        );
        let name = facts.nodes.get(&facts.me).cloned().unwrap_or_default();
        let mut operator = OperatorLog::from_env(&name);
        operator.event(&Event::ManagerStarts { version: env!("CARGO_PKG_VERSION").to_owned() });
        let lifeline = Lifeline::arm(&paths.run_dir, delay, now.boot);
        let manager = Manager::new(
            Config {
                me: facts.me,
                nodes: facts.nodes,
                cluster_name: facts.cluster_name,
                incarnation: facts.incarnation,
                cib,
            },
            now,
        );
        Ok(Self {
            poll,
            paths,
            manager,
            ring: Some(ring),
            joined: false,
            lifeline,
            executor,
            outcomes,
            store,
            socket,
            signals,
            notify: Notify::from_env(),
            saves: (0, 0),
            held: VecDeque::new(),
            retry: false,
            finished: None,
            operator,
            alerts,
            alert_agents: Vec::new(),
        })
    }

    /// Runs until everything is stopped after a signal, or the ring daemon is gone.
    pub(crate) fn run(mut self) -> Result<(), Fatal> {
        let mut inputs = Vec::new();
        if let Some(ring) = &mut self.ring
            && let Err(e) = ring.track(&mut inputs)
        {
            self.lost(&e.to_string(), &mut inputs);
        }
        let mut events = Events::with_capacity(128);
        let mut reap_at = now().boot;
        loop {
            self.receive(&mut inputs);
            let at = now();
            self.lifeline.beat(at.boot);
            for input in inputs.drain(..) {
                self.manager.handle(at, input);
            }
            self.manager.turn(at);
            self.carry_out(&mut inputs);
            if at.boot >= reap_at {
                self.executor.take_leave_of_orphans();
                reap_at = at.boot + REAP_INTERVAL;
            }
            if let Some(clean) = self.finished {
                return self.leave(clean);
            }
            if !inputs.is_empty() {
                continue;
            }
            if let Err(e) = self.poll.poll(&mut events, Some(self.sleep()))
                && e.kind() != std::io::ErrorKind::Interrupted
            {
                return Err(Fatal::new(exit::OS, format!("cannot poll: {e}")));
            }
            self.ready(&events, &mut inputs);
        }
    }

    /// Signals, administrators.
    fn ready(&mut self, events: &Events, inputs: &mut Vec<Input>) {
        let mut requests = Vec::new();
        for event in events.iter().filter(|e| e.token().0 >= FIRST_ADMIN) {
            self.socket.on_ready(self.poll.registry(), event.token(), &mut requests);
        }
        self.admit(requests, inputs);
        while let Some(signal) = self.signals.next_signal() {
            if is_stop(signal) {
                self.notify.say("STOPPING=1");
                inputs.push(Input::Shutdown);
            } else if signal == daemonize::SIGCHLD {
                // At once: agents look whether what they stopped still exists, and sleep for a second if it does.
                self.executor.take_leave_of_orphans();
            }
        }
    }

    /// Everything else that has arrived; joins the group once that is possible.
    fn receive(&mut self, inputs: &mut Vec<Input>) {
        if let Some(ring) = &mut self.ring {
            let joined = if self.joined { Ok(true) } else { ring.join() };
            let received = joined.and_then(|joined| {
                if joined && !self.joined {
                    self.notify.say("READY=1");
                }
                self.joined = joined;
                ring.dispatch(inputs)
            });
            if let Err(e) = received {
                self.lost(&e.to_string(), inputs);
            }
        }
        while let Ok(outcome) = self.outcomes.try_recv() {
            if !outcome.repeated {
                log_output(&outcome);
            }
            inputs.push(Input::Outcome(Box::new(outcome)));
        }
        for result in self.alerts.take_results() {
            if let Some(error) = result.error {
                log::line(
                    Level::WARN,
                    &format!("Alert {} failed: {error} {}", result.id, result.stderr.trim()),
                );
            }
        }
        while let Ok(news) = self.executor.watched().try_recv() {
            log_death(&news);
        }
        while let Some((number, saved)) = self.store.poll_done() {
            if let Err(e) = saved {
                tracing::error!(
                    "The configuration cannot be saved in {}: {e}",
                    self.paths.state_dir.display()
                );
            }
            self.saves.1 = number;
        }
        while let Some((_, conn, answer)) = self.held.pop_front_if(|(save, ..)| *save <= self.saves.1) {
            self.reply(conn, &answer, inputs);
        }
    }

    /// What the manager wants.
    fn carry_out(&mut self, inputs: &mut Vec<Input>) {
        while let Some(output) = self.manager.poll_output() {
            match output {
                Output::Multicast(message) => {
                    if let Some(ring) = &mut self.ring {
                        ring.multicast(message);
                    }
                }
                Output::Confirm { node, incarnation, why } => self
                    .set(&format!("holdfast.confirmed.{node}"), Value::str(&format!("{incarnation} {why}"))),
                Output::StepDone { epoch, step } => {
                    self.set("holdfast.step.done", Value::str(&format!("{epoch}/{step}")))
                }
                Output::Run(job) => self.executor.submit(*job),
                Output::Cancel(id) => self.executor.cancel(id),
                Output::Save(text) => {
                    self.saves.0 += 1;
                    self.store.save(self.saves.0, text);
                }
                Output::Log(level, text) => log::line(level, &text),
                Output::Said(said) => self.operator.take(*said),
                Output::Alerts(agents) => self.alert_agents = agents,
                Output::Alert(event) => {
                    let wall = now().wall;
                    self.alerts.tell(&self.alert_agents, &event, wall);
                    self.socket.broadcast(self.poll.registry(), &rgmd::as_json(&event, wall.0));
                }
                Output::Reply { conn, answer } if self.saves.0 > self.saves.1 => {
                    // A change is acknowledged when it is durable.
                    self.held.push_back((self.saves.0, conn, answer));
                }
                Output::Reply { conn, answer } => self.reply(conn, &answer, inputs),
                Output::Finished(clean) => self.finished = Some(clean),
            }
        }
        if let Some(ring) = &mut self.ring {
            match ring.flush() {
                Ok(done) => self.retry = !done,
                Err(e) => self.lost(&e.to_string(), inputs),
            }
        }
    }

    fn set(&mut self, key: &str, value: Value) {
        if let Some(ring) = self.ring.as_mut().filter(|r| r.is_cmmd) {
            ring.set(key, value);
        }
    }

    fn reply(&mut self, conn: u64, answer: &Result<serde_json::Value, String>, inputs: &mut Vec<Input>) {
        let mut requests = Vec::new();
        self.socket.answer(self.poll.registry(), conn, answer, &mut requests);
        self.admit(requests, inputs);
    }

    /// Requests become inputs; what is no request is answered at once.
    fn admit(&mut self, requests: Vec<(u64, Result<rgmd::Admin, String>)>, inputs: &mut Vec<Input>) {
        for (conn, request) in requests {
            match request {
                Ok(rgmd::Admin::Events) => self.socket.subscribe(conn),
                Ok(request) => inputs.push(Input::Admin { conn, request }),
                Err(why) => self.reply(conn, &Err(why), inputs),
            }
        }
    }

    /// The ring daemon is gone: what runs here is stopped, then we end.
    fn lost(&mut self, why: &str, inputs: &mut Vec<Input>) {
        if let Some(ring) = self.ring.take() {
            for fd in ring.descriptors() {
                // The descriptors close right after; the poller then forgets them anyway.
                let _ = self.poll.registry().deregister(&mut SourceFd(&fd));
            }
            log::line(Level::ERROR, &format!("The ring daemon is gone: {why}"));
            inputs.push(Input::Disconnected);
        }
    }

    fn sleep(&self) -> Duration {
        let due = [self.manager.next_timeout(), self.lifeline.next_beat()].into_iter().flatten().min();
        let now = boottime();
        let sleep =
            due.map_or(SLEEP_MAX, |at| at.since(now).to_duration() + Duration::from_millis(1)).min(SLEEP_MAX);
        let waits = self.ring.is_some() && (self.retry || !self.joined);
        if waits { sleep.min(RETRY) } else { sleep }
    }

    fn leave(mut self, clean: bool) -> Result<(), Fatal> {
        self.operator.event(&Event::ManagerStopped);
        if !self.operator.close(OPERATOR_LOG_LIMIT) {
            tracing::warn!("the operator's log could not be written to its end");
        }
        let connected = self.ring.is_some();
        if let Some(mut ring) = self.ring.take() {
            if clean {
                self.lifeline.disarm();
            }
            ring.leave();
        }
        match (connected, clean) {
            (true, true) => {
                tracing::info!("Shutdown complete");
                Ok(())
            }
            (true, false) => Err(Fatal::new(exit::SOFTWARE, "left, but something could not be stopped")),
            (false, _) => {
                Err(Fatal::new(exit::UNAVAILABLE, "the ring daemon is gone; local resources were stopped"))
            }
        }
    }
}

/// Connects, and waits for a ring daemon that is starting or not there yet.
fn connect(signals: &mut Signals) -> Result<(Ring, Facts), Fatal> {
    let place = Place::from_env();
    let mut said = String::new();
    loop {
        let error = match Ring::connect(&place) {
            Ok(connected) => return Ok(connected),
            Err(e) => e.to_string(),
        };
        if error != said {
            tracing::info!("Waiting for the ring daemon: {error}");
            said = error;
        }
        if signals.next_signal().is_some_and(is_stop) {
            return Err(Fatal::new(exit::UNAVAILABLE, "stopped while waiting for the ring daemon"));
        }
        std::thread::sleep(RETRY);
    }
}

fn executor_config(paths: &Paths, facts: &Facts, work_dir: PathBuf) -> std::io::Result<ExecutorConfig> {
    let name = facts.nodes.get(&facts.me).cloned().unwrap_or_else(|| facts.me.to_string());
    let mut config = ExecutorConfig::new(&name, facts.me, work_dir);
    let scratch = match paths.own_run_dir {
        true => own_scratch(&paths.run_dir, facts.incarnation)?,
        false => "/run/resource-agents".into(),
    };
    fs::create_dir_all(&scratch)?;
    config.extra_env.push(("HA_RSCTMP".to_owned(), scratch.display().to_string()));
    Ok(config)
}

/// Where agents keep their state, for one of several nodes on this machine. Agents rely on it being empty after a boot;
/// such a node boots when its ring daemon begins a new life.
fn own_scratch(run_dir: &Path, incarnation: u64) -> std::io::Result<PathBuf> {
    let scratch = run_dir.join("resource-agents");
    let mark = run_dir.join("resource-agents.life");
    let life = incarnation.to_string();
    if fs::read_to_string(&mark).is_ok_and(|earlier| earlier != life) && scratch.is_dir() {
        fs::remove_dir_all(&scratch)?;
    }
    fs::write(&mark, life)?;
    Ok(scratch)
}

/// It asks this daemon to end.
const fn is_stop(signal: i32) -> bool {
    !matches!(signal, daemonize::SIGHUP | daemonize::SIGCHLD)
}

/// A resource's process ended unasked. Its monitors tell what that means.
fn log_death(news: &Watched) {
    let Watched::Died { resource, pid, name, code, monitored } = news else { return };
    let how = match code {
        Some(code) if *code > 128 => format!("ended by signal {}", code - 128),
        Some(code) => format!("ended with exit code {code}"),
        None => "ended".to_owned(),
    };
    let then = if *monitored { "its monitor runs now" } else { "it has no recurring monitor" };
    // No more than news: a helper that was left behind ends in the same way, and its resource is well.
    log::line(Level::INFO, &format!("Process {pid} ({name}) of {resource} {how}, unasked: {then}"));
}

/// The operator's log is waited for so long at the end.
const OPERATOR_LOG_LIMIT: Duration = Duration::from_secs(2);

/// What an agent wrote: standard error is for operators, standard output for those who look closer.
fn log_output(outcome: &Outcome) {
    let interval = if outcome.recurring { "recurring" } else { "0" };
    for line in outcome.stderr.lines().filter(|l| !l.trim().is_empty()).take(LINES_MAX) {
        tracing::info!(
            "{}_{}_{interval}:{}:stderr [ {line} ]",
            outcome.resource,
            outcome.action,
            outcome.id.0
        );
    }
    for line in outcome.stdout.lines().filter(|l| !l.trim().is_empty()).take(LINES_MAX) {
        tracing::debug!(
            "{}_{}_{interval}:{}:stdout [ {line} ]",
            outcome.resource,
            outcome.action,
            outcome.id.0
        );
    }
}

fn boottime() -> Boottime {
    Boottime::from_nanos(clock::boottime_nanos())
}

fn now() -> Now {
    let micros = i64::try_from(clock::wall_nanos() / 1_000).unwrap_or(i64::MAX);
    Now { boot: boottime(), wall: WallTime(micros) }
}

const WAKE: Token = Token(0);
const SIGNALS: Token = Token(1);
const CMAP: Token = Token(2);
const CPG: Token = Token(3);
const QUORUM: Token = Token(4);
const FIRST_ADMIN: usize = 16;
/// How often dead orphans of agents are taken leave of whose signal did not come.
const REAP_INTERVAL: Span = Span::from_secs(1);
/// Longest sleep: a wake-up that was lost costs no more than this.
const SLEEP_MAX: Duration = Duration::from_secs(1);
/// Pause before something is tried again that the ring daemon did not take.
const RETRY: Duration = Duration::from_millis(20);
/// Lines of an agent's output that are logged for each run.
const LINES_MAX: usize = 40;
