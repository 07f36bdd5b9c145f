//! Failfast in the event loop: the registry's socket, the guardian, the watchdog, and the way down.

use std::os::fd::{AsRawFd, RawFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, Thread};

use cmm_conf::{Config, Priority, WatchdogName};
use cmm_proto::{GaspKind, Node};
use crossbeam_queue::ArrayQueue;
use failfast::black_box::Class;
use failfast::spawn::Respawn;
use failfast::watchdog::{Feeder, Figures, Identity, Notice};
use failfast::{FailfastServer, Grave, Guardian, Link, Packets, PanicPath, ServerConfig, Setup, Watchdog};
use failfast_core::protocol::{DeviceState, GuardianLine, WatchdogLine};
use failfast_core::{ArmRequest, Decision, ExitScope, Mode, Output, Reason, Restarts, Text, UnitName};
use holdfast_types::{Boottime, Span};

use crate::events::{DaemonEvent, Happening, watchdog_text};
use crate::exit::{self, Fatal};
use crate::log::Log;
use crate::net::{LinkNet, NetConfig};
use crate::runtime_files::Paths;
use crate::units::UnitProcesses;

/// Everything that can take this node down, and what it needs for that.
pub(crate) struct Failfast {
    server: FailfastServer,
    units: UnitProcesses,
    /// `None` while another one is being started.
    guardian: Option<Guardian>,
    respawn: Option<Respawn>,
    /// This process's own way down, should the guardian be gone.
    own: PanicPath,
    setup: Setup,
    /// The guardian has not got the packets of the set-up yet.
    packets_due: bool,
    /// Nor the links.
    links_due: bool,
    /// Places on quorum disks for the reason, and whether the guardian has not got them yet.
    graves: Vec<Grave>,
    graves_due: bool,
    program: PathBuf,
    waker: Arc<mio::Waker>,
    watchdogs: Watchdogs,
    /// Events of the registry may wait although its descriptor is quiet.
    more: bool,
    seen_changes: u64,
    guardian_seen: Boottime,
    /// The node goes down in this turn, as soon as its clients know that it is not quorate.
    condemned: Option<Reason>,
}

/// The watchdog devices of the configuration. All are fed alike: the first that fires takes the machine down.
#[derive(Default)]
struct Watchdogs {
    /// Found, not armed: that waits for the first quorum.
    arming: Option<Arming>,
    running: Vec<Feeder>,
}

/// A helper thread that opens the devices: some drivers take seconds for it.
struct Arming {
    thread: Thread,
    /// By number in the configuration.
    results: Arc<ArrayQueue<(usize, Result<Watchdog, String>)>>,
    asked: Arc<AtomicBool>,
    left: usize,
}

/// What the loop wants of the watchdog in this turn.
pub(crate) struct Health {
    pub(crate) quorate: bool,
    /// Something runs here that must not run while the node is not quorate.
    pub(crate) protected: bool,
}

impl Failfast {
    /// Binds the socket, starts the guardian, prepares the way down. Before memory is locked and before realtime priority.
    ///
    /// # Errors
    /// Without a guardian, or where the watchdog is running already.
    pub(crate) fn start(
        config: &Config,
        paths: &Paths,
        net: &NetConfig,
        node: &mut Node,
        waker: Arc<mio::Waker>,
        log: &Log,
    ) -> Result<Self, Fatal> {
        let fatal =
            |what: &str, e: &dyn std::fmt::Display| Fatal::new(exit::OS, format!("failfast: {what}: {e}"));
        let now = crate::event_loop::now();
        let (mode, scope) = effective_mode(config, paths);
        if mode != mode_of(config.failfast.mode) {
            let text = "failfast mode exit finds the processes of this node by HOLDFAST_RUN_DIR in their environment, and it is \
                        not set: going down only stops cmmd; on a real node write \"mode: panic\" or \"mode: reset\" into failfast";
            log.text(Priority::Warning, text);
        }
        let server_config = ServerConfig { run_dir: paths.run.clone(), mode, scope };
        let mut server = FailfastServer::bind(&server_config, now).map_err(|e| fatal("no socket", &e))?;
        let setup = Setup {
            mode,
            scope,
            run_dir: paths.run.clone(),
            black_box: Some(paths.state.join("blackbox")),
            // With scope run-dir several nodes share this machine, and it stays up: its console is not theirs.
            kernel_log: (mode != Mode::Exit || scope != ExitScope::RunDir).then(|| "/dev/kmsg".into()),
            log_file: config
                .logging
                .sinks
                .file
                .then(|| config.logging.logfile.clone().map(PathBuf::from))
                .flatten(),
            sysrq_trigger: failfast::guardian::SYSRQ_TRIGGER.into(),
            limit: config.failfast.guardian_limit,
            links: net.links.iter().map(gasp_link).collect(),
            packets: seal_packets(node, mode),
        };
        let program = Guardian::program().map_err(|e| fatal("no guardian", &e))?;
        let mut warnings = Vec::new();
        let own = PanicPath::prepare(&setup, None, &mut warnings).map_err(|e| fatal("no way down", &e))?;
        let (watchdogs, lines) = find_watchdogs(config, &waker, log)?;
        let units = UnitProcesses::watch(config.failfast.units.clone(), Arc::clone(&waker))
            .map_err(|e| fatal("cannot start a thread", &e))?;
        // Last: from here on an end of this process that is not an orderly one takes the node down.
        let guardian = Guardian::spawn(&program, &setup, now).map_err(|e| {
            fatal(
                "no guardian",
                &format!("{e}; install holdfast-guardian beside cmmd, and check the failfast section"),
            )
        })?;
        server.report_mut().watchdogs = lines;
        server.report_mut().guardian = Some(guardian_line(&guardian, &setup));
        warnings.extend_from_slice(guardian.warnings());
        warnings.sort();
        warnings.dedup();
        for warning in warnings {
            log.text(Priority::Warning, warning);
        }
        Ok(Self {
            server,
            units,
            guardian: Some(guardian),
            respawn: None,
            own,
            setup,
            packets_due: false,
            links_due: false,
            graves: Vec::new(),
            graves_due: false,
            program,
            waker,
            watchdogs,
            more: false,
            seen_changes: 0,
            guardian_seen: now,
            condemned: None,
        })
    }

    /// Arms units of the configuration whose processes were found.
    fn arm_configured(&mut self, now: Boottime, log: &Log) {
        while let Some((unit, found)) = self.units.next() {
            let pid = found.as_ref().map_or(0, |pid| *pid);
            let armed = found.and_then(|pid| {
                let name = UnitName::new(&unit.name).map_err(|e| e.to_string())?;
                let heartbeat = unit.heartbeat.unwrap_or(Span::ZERO);
                let restarts = unit.restarts.map(|(count, window)| Restarts { count, window });
                let (delay, mode) = (unit.delay, unit.mode.map(mode_of));
                self.server.arm_process(now, pid, &ArmRequest { name, delay, heartbeat, mode, restarts })
            });
            if let Err(why) = armed {
                log.event(DaemonEvent::UnitNotArmed { name: unit.name.clone(), pid, why });
            }
        }
    }

    /// The registry's socket, for the poll set.
    pub(crate) fn server_fd(&self) -> RawFd {
        self.server.as_raw_fd()
    }

    /// The guardian's pidfd, for the poll set; changes when another one starts.
    pub(crate) fn guardian_fd(&self) -> Option<RawFd> {
        self.guardian.as_ref().map(|g| g.pidfd().as_raw_fd())
    }

    /// Stamps the turn. First thing in it: no system call.
    pub(crate) fn progress(&self, now: Boottime) {
        if let Some(guardian) = &self.guardian {
            guardian.progress(now);
        }
    }

    /// The registry's socket is readable.
    pub(crate) fn on_ready(&mut self, now: Boottime) {
        self.more = self.server.handle_ready(now);
    }

    /// Whether the next turn must not sleep.
    pub(crate) fn has_work(&self) -> bool {
        self.more
    }

    /// When [`Self::turn`] has something to do.
    pub(crate) fn next_timeout(&self) -> Option<Boottime> {
        let feeding = self.watchdogs.running.iter().filter_map(Feeder::next_timeout);
        feeding.chain(self.server.next_timeout()).min()
    }

    /// The guardian is dead, or stands still: another one is started on a helper thread.
    pub(crate) fn replace_guardian(&mut self, now: Boottime, why: &str, log: &Log) {
        let Some(dead) = self.guardian.take() else { return };
        self.server.report_mut().guardian = None;
        log.event(DaemonEvent::Guardian { error: Some(why.to_owned()) });
        let waker = Arc::clone(&self.waker);
        let wake = move || {
            // The poller lives as long as the process.
            let _ = waker.wake();
        };
        match Respawn::start(dead, self.program.clone(), self.setup.clone(), now, wake) {
            Ok(respawn) => self.respawn = Some(respawn),
            Err(e) => self.condemn(Reason::guardian_died(&e)),
        }
    }

    /// What is due, and what the helper threads have done. `true`: there is another guardian to poll.
    pub(crate) fn turn(&mut self, now: Boottime, health: &Health, log: &Log) -> bool {
        self.arm_configured(now, log);
        if self.server.next_timeout().is_some_and(|at| at <= now) {
            self.server.handle_timeout(now);
        }
        while let Some(output) = self.server.poll_output() {
            match output {
                Output::Event(event) => log.push(Happening::Failfast(event)),
                Output::Decision(Decision::TakeDown(reason)) => self.condemn(reason),
            }
        }
        let replaced = match self.respawn.as_ref().and_then(Respawn::result) {
            None => false,
            Some(Ok(guardian)) => {
                self.server.report_mut().guardian = Some(guardian_line(&guardian, &self.setup));
                self.guardian = Some(guardian);
                self.respawn = None;
                self.guardian_seen = now;
                // It may have been started before they were sealed anew.
                (self.packets_due, self.links_due) = (true, true);
                self.graves_due = !self.graves.is_empty();
                log.event(DaemonEvent::Guardian { error: None });
                true
            }
            Some(Err(e)) => {
                self.respawn = None;
                self.condemn(Reason::guardian_died(&e));
                false
            }
        };
        self.hand_over_packets();
        self.look_after_guardian(now, log);
        self.feed(now, health, log);
        replaced
    }

    /// Seals the gasps with the key in use now; the guardian gets them as soon as it takes them.
    pub(crate) fn reseal(&mut self, node: &mut Node, log: &Log) {
        self.setup.packets = seal_packets(node, self.setup.mode);
        self.packets_due = true;
        if let Err(e) = self.own.set_packets(&self.setup.packets) {
            let then = "the peers will notice the end of this node by its silence";
            log.event(DaemonEvent::Degraded { what: "gasps not sealed anew", error: e.to_string(), then });
        }
        self.hand_over_packets();
    }

    /// Gasps go over these links from now on.
    pub(crate) fn set_links(&mut self, net: &NetConfig, log: &Log) {
        self.setup.links = net.links.iter().map(gasp_link).collect();
        self.links_due = true;
        let mut warnings = Vec::new();
        if let Err(e) = self.own.set_links(&self.setup.links, &mut warnings) {
            let then = "without its guardian this node would end without a word";
            log.event(DaemonEvent::Degraded { what: "no sockets for gasps", error: e.to_string(), then });
        }
        warnings.into_iter().for_each(|warning| log.text(Priority::Warning, warning));
        self.hand_over_packets();
    }

    /// The reason is written there from now on.
    pub(crate) fn add_grave(&mut self, grave: Grave) {
        self.graves.push(grave);
        self.own.set_graves(&self.graves);
        self.graves_due = true;
        self.hand_over_packets();
    }

    fn hand_over_packets(&mut self) {
        if let Some(guardian) = self.guardian.as_ref().filter(|_| self.graves_due) {
            self.graves_due = guardian.update_graves(&self.graves).is_err();
        }
        if let Some(guardian) = self.guardian.as_ref().filter(|_| self.links_due) {
            self.links_due = guardian.update_links(&self.setup.links).is_err();
        }
        if let Some(guardian) = self.guardian.as_ref().filter(|_| self.packets_due) {
            // A guardian that does not read, or is dead, shows elsewhere; the next one starts with them.
            self.packets_due = guardian.update_packets(&self.setup.packets).is_err();
        }
    }

    /// A stopped guardian is as good as none; but after a pause of this process it gets its time to be seen again.
    fn look_after_guardian(&mut self, now: Boottime, log: &Log) {
        let Some(guardian) = &self.guardian else { return };
        let silent = guardian.silent_for(now);
        self.server.guardian_seen(now - silent);
        if silent < self.setup.limit {
            self.guardian_seen = now;
        } else if now.since(self.guardian_seen) > self.setup.limit {
            self.replace_guardian(now, "it stands still", log);
        }
    }

    /// Feeds the watchdogs while the node is fit: units within their deadlines, and quorate or nothing to protect. Being
    /// called at all is the proof of progress.
    fn feed(&mut self, now: Boottime, health: &Health, log: &Log) {
        if let Some(arming) = &mut self.watchdogs.arming {
            if health.quorate && !arming.asked.swap(true, Ordering::AcqRel) {
                arming.thread.unpark();
            }
            while let Some((index, result)) = arming.results.pop() {
                arming.left -= 1;
                let line = self.server.report_mut().watchdogs.get_mut(index);
                match result {
                    Ok(device) => {
                        tell_armed(&device, line, log);
                        if self.watchdogs.running.is_empty() {
                            log.event(DaemonEvent::Watchdog {
                                fed: true,
                                why: "armed with the first quorum",
                            });
                        }
                        self.watchdogs.running.push(Feeder::new(device, now));
                    }
                    Err(error) => {
                        if let Some(line) = line {
                            (line.state, line.why) = (DeviceState::Failed, error.clone());
                        }
                        log.event(DaemonEvent::Degraded {
                            what: "the watchdog is not armed",
                            error,
                            then: "nobody takes over from this node by this device's time alone",
                        });
                    }
                }
            }
            if arming.left == 0 {
                self.watchdogs.arming = None;
            }
        }
        if self.watchdogs.running.is_empty() {
            return;
        }
        let fit = self.server.within_deadlines(now);
        // What a dead unit has left behind nobody knows: what it said of itself while it lived counts no more.
        let protected = health.protected || self.server.in_trouble();
        let (feed, why) = match (fit, health.quorate, protected) {
            (false, _, _) => (false, "a unit is over its deadline"),
            (true, true, _) => (true, "the node is fit and quorate"),
            (true, false, false) => (true, "not quorate, but nothing here needs protection"),
            (true, false, true) => (false, "not quorate with something to protect"),
        };
        let mut changed = false;
        for feeder in &mut self.watchdogs.running {
            changed |= feeder.turn(now, feed).is_some();
        }
        if changed {
            // Unless it is fed again, that was why this node went down.
            let class = if feed { Class::Outcome } else { Class::Death };
            self.own.announce(class, &watchdog_text(feed, why));
            log.event(DaemonEvent::Watchdog { fed: feed, why });
        }
        let told = &mut self.server.report_mut().feeding;
        if told.as_ref().is_none_or(|(fed, told)| *fed != feed || told != why) {
            *told = Some((feed, why.to_owned()));
        }
    }

    /// Units as they are now, if they have changed since the last call.
    pub(crate) fn changed_units(&mut self) -> Option<Vec<failfast_core::UnitView>> {
        let changes = self.server.changes();
        if changes == self.seen_changes {
            return None;
        }
        self.seen_changes = changes;
        Some(self.server.units().collect())
    }

    /// The node must go down; the first reason counts.
    pub(crate) fn condemn(&mut self, reason: Reason) {
        self.condemned.get_or_insert(reason);
    }

    /// Why the node must go down, if it must.
    pub(crate) fn condemned(&mut self) -> Option<Reason> {
        self.condemned.take()
    }

    /// Takes the node down, and this process with it. The peers take the gasp as the end of this node's lease: its own
    /// clients must know that it is not quorate before.
    pub(crate) fn take_down(&mut self, node: &mut Node, reason: &Reason) -> ! {
        let gasp = node.seal_gasp(GaspKind::UnitDied, reason.text.as_str());
        failfast::take_down(self.guardian.as_ref(), &mut self.own, reason, &gasp)
    }

    /// An orderly end: the guardian goes, the watchdogs stop; unless there is something to protect, which nobody watches from now on.
    pub(crate) fn release(mut self, protected: bool, log: &Log) {
        if !self.graves.is_empty() {
            self.own.say_on_disks(&Text::from("cmmd left the cluster in order"));
        }
        if let Some(Err(e)) = self.guardian.map(Guardian::release) {
            log.event(DaemonEvent::Guardian { error: Some(e.to_string()) });
        }
        if (protected || self.server.in_trouble()) && !self.watchdogs.running.is_empty() {
            log.event(DaemonEvent::Degraded {
                what: "the watchdog stays armed",
                error: "something here still needs protection (a member of a process group, or a unit in trouble)".into(),
                then: "it will reset this machine; next time stop rgmd and what else uses the cluster before cmmd",
            });
            return;
        }
        for feeder in self.watchdogs.running {
            if let Err(e) = feeder.disarm() {
                let (what, then) = ("the watchdog cannot be stopped", "it will reset this machine");
                log.event(DaemonEvent::Degraded { what, error: e.to_string(), then });
            }
        }
    }
}

fn seal_packets(node: &mut Node, mode: Mode) -> Packets {
    let last_word = match mode {
        Mode::Exit => node.seal_gasp(GaspKind::LastWord, "every process of the node was killed"),
        _ => Vec::new(),
    };
    Packets {
        daemon_died: node.seal_gasp(GaspKind::CmmdDied, "cmmd died or made no progress"),
        unit_died: node.seal_gasp(GaspKind::UnitDied, "a unit of failfast died"),
        last_word,
    }
}

/// Without the variable in the environment of this process no process of the node can be found by it: then mode `exit`
/// can only stop `cmmd`, and no last word may claim more.
pub(crate) fn effective_mode(config: &Config, paths: &Paths) -> (Mode, ExitScope) {
    let mode = mode_of(config.failfast.mode);
    let scope = match config.failfast.exit_scope {
        cmm_conf::ExitScope::RunDir => ExitScope::RunDir,
        cmm_conf::ExitScope::PidNamespace => ExitScope::PidNamespace,
    };
    let nobody_to_find = mode == Mode::Exit && scope == ExitScope::RunDir && !paths.run_given;
    (if nobody_to_find { Mode::Off } else { mode }, scope)
}

/// Where gasps go on one link.
fn gasp_link(link: &LinkNet) -> Link {
    Link { source: link.local.ip(), peers: link.peers.iter().map(|(_, a)| *a).collect() }
}

fn mode_of(mode: cmm_conf::Mode) -> Mode {
    match mode {
        cmm_conf::Mode::Exit => Mode::Exit,
        cmm_conf::Mode::Panic => Mode::Panic,
        cmm_conf::Mode::Reset => Mode::Reset,
        cmm_conf::Mode::Off => Mode::Off,
    }
}

fn guardian_line(guardian: &Guardian, setup: &Setup) -> GuardianLine {
    GuardianLine { pid: guardian.pid(), seen: Span::ZERO, limit: setup.limit }
}

/// What an operator has to know of a device that is armed now.
fn tell_armed(device: &Watchdog, line: Option<&mut WatchdogLine>, log: &Log) {
    let identity = device.identity();
    let (path, name) = (identity.path.display(), &identity.name);
    let mut why = String::new();
    log.text(Priority::Info, format!("watchdog {path} ({name}) is armed, time-out {}", device.timeout()));
    if let Notice::Refused(missing) = device.notice() {
        log.text(Priority::Warning, missing.clone());
        why.clone_from(missing);
    }
    if identity.no_way_out {
        let text = format!(
            "watchdog {path} ({name}) runs with nowayout: it cannot be stopped, and an orderly stop of cmmd ends with a reset of \
             this machine; load its driver without nowayout if that is not wanted"
        );
        log.text(Priority::Warning, text);
    }
    if let Some(line) = line {
        line.state = DeviceState::Armed;
        line.notice = if let Notice::Panic(before) = device.notice() { Some(*before) } else { None };
        line.worst = device.worst_case();
        line.timeout = device.timeout();
        line.name.clone_from(name);
        line.why = why;
    }
}

/// Looks the configured watchdogs up, without opening them, and gets a thread ready that will.
fn find_watchdogs(
    config: &Config,
    waker: &Arc<mio::Waker>,
    log: &Log,
) -> Result<(Watchdogs, Vec<WatchdogLine>), Fatal> {
    let failfast = &config.failfast;
    let mut found: Vec<Identity> = Vec::new();
    for name in &failfast.watchdogs {
        let refused = |why: &dyn std::fmt::Display| {
            let text =
                format!("watchdog {name}: {why}; correct watchdog_device, or write \"watchdog_device: off\"");
            Fatal::new(exit::OS, text)
        };
        let identity = match name {
            WatchdogName::Path(path) => Identity::of(path.as_ref()),
            WatchdogName::Identity(name) => Identity::named(name),
        };
        let identity = identity.map_err(|e| refused(&e))?;
        if identity.active {
            let why = "it is running already: left armed by a cmmd that died, or used by another program";
            return Err(refused(&why));
        }
        if let Some(same) = found.iter().find(|other| other.place() == identity.place()) {
            return Err(refused(&format!("it is the same device as {}", same.path.display())));
        }
        if identity.is_software() {
            let path = identity.path.display();
            log.text(
                Priority::Warning,
                format!("watchdog {path} is the software one: it dies with the kernel"),
            );
        }
        found.push(identity);
    }
    if found.is_empty() {
        return Ok((Watchdogs::default(), Vec::new()));
    }
    let line = |identity: &Identity| WatchdogLine {
        state: DeviceState::Waiting,
        timeout: failfast.watchdog_timeout,
        notice: None,
        worst: failfast.watchdog_timeout.scale(22, 10),
        no_way_out: identity.no_way_out,
        software: identity.is_software(),
        path: identity.path.display().to_string(),
        name: identity.name.clone(),
        why: String::new(),
    };
    let lines = found.iter().map(line).collect();
    let left = found.len();
    let figures = Figures { timeout: failfast.watchdog_timeout, pretimeout: failfast.watchdog_pretimeout };
    let results = Arc::new(ArrayQueue::new(left));
    let asked = Arc::new(AtomicBool::new(false));
    let (for_thread, asked_there, waker) = (Arc::clone(&results), Arc::clone(&asked), Arc::clone(waker));
    let run = move || {
        while !asked_there.load(Ordering::Acquire) {
            thread::park();
        }
        for (index, identity) in found.into_iter().enumerate() {
            let armed = Watchdog::arm(identity, figures).map_err(|e| e.to_string());
            let _ = for_thread.push((index, armed)); // there is room for all
            let _ = waker.wake();
        }
    };
    let handle = thread::Builder::new()
        .name("watchdog".into())
        .stack_size(128 * 1_024)
        .spawn(run)
        .map_err(|e| Fatal::new(exit::OS, format!("cannot start a thread: {e}")))?;
    let arming = Some(Arming { thread: handle.thread().clone(), results, asked, left });
    Ok((Watchdogs { arming, running: Vec::with_capacity(left) }, lines))
}
