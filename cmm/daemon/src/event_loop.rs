//! The event loop: receive, feed, drain, send, sleep. It decides nothing about the cluster; the protocol core does.
//!
//! One turn: the core's timers first (so that a lease ends before anything else is looked at), then what clients in full
//! flow have sent (so that a token among the packets takes it along), then packets up to a budget, then what became durable,
//! then the other clients; at the end clients are told of their events, many at once, and everything goes out in one batch,
//! urgent packets first. The thread that runs it never waits for a file, a name, a lock or a client.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use cmm_conf::{Config, ConfigKey, Priority, Timing};
use cmm_ipc::CsError;
use cmm_ipc::abi::cmap::Value;
use cmm_proto::{
    Event, Hint, Node, Output, Refusal, RejectReason, Request, SettingsTaken, StepPhase, TableView,
};
use cmm_qdisk::{Mail, Order};
use failfast_core::{Reason, UnitName, UnitState, UnitView};
use holdfast_sys::alarm::Alarm;
use holdfast_sys::clock;
use holdfast_sys::daemonize::{SIGHUP, Signals};
use holdfast_types::{Boottime, Incarnation, LinkId, LinkSet, NodeId, Span};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

use crate::clients::{Action, Clients};
use crate::data_disks::DataDisks;
use crate::device::Device;
use crate::events::{DaemonEvent, Happening};
use crate::failfast::{Failfast, Health};
use crate::interfaces::Watch;
use crate::keys::KeyLoader;
use crate::log::Log;
use crate::net::{self, Feedback, Net};
use crate::persist::Persister;
use crate::recorder::Testimony;
use crate::reload::{self, Reloaded, Reloader, Reread};
use crate::servers::What;
use crate::startup;
use crate::waits::Waiting;
use holdfast_sys::service::Notify;

/// Everything the loop drives.
pub(crate) struct EventLoop {
    pub(crate) node: Node,
    pub(crate) log: Log,
    pub(crate) net: Net,
    pub(crate) interfaces: Watch,
    pub(crate) failfast: Failfast,
    pub(crate) clients: Clients,
    pub(crate) persister: Persister,
    pub(crate) keys: KeyLoader,
    pub(crate) reloader: Reloader,
    pub(crate) device: Device,
    pub(crate) data_disks: DataDisks,
    pub(crate) signals: Signals,
    pub(crate) notify: Notify,
    pub(crate) poll: Poll,
    pub(crate) waiting: Waiting,
    pub(crate) timing: Timing,
    pub(crate) state: State,
}

/// What the loop itself remembers.
#[derive(Default)]
pub(crate) struct State {
    /// Set when a leave was asked for: after this the daemon exits anyway.
    leave_by: Option<Boottime>,
    left: bool,
    ready: bool,
    quorate: bool,
    reason: String,
    /// Packets refused since the last report, and who the last one claims to be from.
    rejected: [(u64, Option<NodeId>); RejectReason::ALL.len()],
    /// The gasps are sealed with a key that is on its way out.
    reseal: bool,
    load_key: bool,
    /// This node has the configuration read anew, everywhere.
    reload_by: Option<NodeId>,
    reloads: u64,
    /// The configuration in force, as CMAP keys.
    config: Vec<ConfigKey>,
    /// What was read and waits for the other members, and the links that it has brought.
    reread: Option<(Box<Reread>, LinkSet)>,
    /// They are there.
    settings: Option<SettingsTaken>,
    /// The node table as told last, and whether that is news.
    table: TableView,
    new_table: bool,
    /// When the log says what a change of it waits for, if it still does.
    waits_at: Option<Boottime>,
    /// Frames asked for again since the last report.
    retransmits: u64,
    report_at: Option<Boottime>,
    /// The latest wake-up or longest turn that CMAP shows.
    late_told: Span,
    /// What the lateness of this machine breaks in the timing model, as CMAP shows it; `None`: not judged yet.
    verdict: Option<String>,
    /// When the thread last slept for real.
    slept_at: Boottime,
    /// When the alarm goes off.
    alarm_at: Boottime,
    /// This node's address on each link.
    interfaces: Vec<(LinkId, IpAddr)>,
    /// Units that CMAP shows.
    units: Vec<UnitName>,
    /// A member was lost: heuristics are run at once.
    test_fitness: bool,
    /// Heuristics say that this node may have the quorum device's vote.
    fit: bool,
    /// What is waited for without quorum may be something else.
    waits_changed: bool,
    /// Lives that have gone, for whose last words the quorum disk is asked.
    gone: Vec<(NodeId, Incarnation)>,
    /// What the core wants of quorum disks.
    asked_of_disks: Vec<(usize, Option<Box<cmm_qdisk::Block>>)>,
    /// And of the disk with reservations.
    to_target: Option<cmm_scsi::Command>,
    /// What it wants of the connections to the quorum server.
    asked_of_server: Vec<cmm_qnet::Output>,
    /// What a peer is to be told as soon as the order takes it.
    testimony: Option<Testimony>,
    /// The core says that the node must go down.
    take_down: Option<String>,
}

impl State {
    /// At the start, with this configuration in force.
    pub(crate) fn new(config: Vec<ConfigKey>) -> Self {
        Self { config, ..Self::default() }
    }
}

/// The ring's sockets: a token a link.
const NET: Token = Token(8);
/// Something became durable.
pub(crate) const WAKER: Token = Token(1);
const SIGNALS: Token = Token(2);
/// The failfast registry's socket.
const FAILFAST: Token = Token(3);
/// The guardian died.
const GUARDIAN: Token = Token(4);
/// A timer was due.
const ALARM: Token = Token(5);
/// The kernel tells of interfaces and addresses.
const INTERFACES: Token = Token(6);
/// A quorum disk has done something.
const DISKS: Token = Token(7);
/// Clients have all tokens from here on.
const CLIENTS: Token = Token(16);
/// Clients served in one turn, one run of requests each.
const CLIENTS_BUDGET: usize = 32;

/// What a change of the node table waits for, for longer than this, is a line of the log.
const WAITS_TOLD_AFTER: Span = Span::from_secs(3);

const EVENTS_MAX: usize = 256;
/// Are 1 while the configuration is read anew and taken over.
const RELOADING: [&str; 2] = ["config.reload_in_progress", "config.totemconfig_reload_in_progress"];
/// How many times that was done in this life, whatever came of it: who has seen it before knows which one is over.
const RELOADS: &str = "config.reloads";
/// What came of the last reload: a `cs_error_t`.
const RELOAD_STATUS: &str = "config.reload_status";
/// `rgmd` sets it to 0 while everything it runs is stopped: then nothing here needs quorum.
const PROTECTED: &str = "holdfast.protected";
/// Longest sleep: the progress stamp and the watchdog want a turn.
const SLEEP_MAX: Span = Span::from_millis(250);
/// An alarm that would go off within this time is put off rather than slept through.
const ALARM_SOON: Span = Span::from_millis(8);
const LEAVE_LIMIT: Span = Span::from_secs(2);
/// A realtime thread that is busy for this long gives ordinary threads, clients among them, a moment.
const BUSY_MAX: Span = Span::from_millis(50);
/// Fewer say nothing about one in a hundred.
const WAKEUPS_TO_JUDGE: u64 = 1_000;
/// What the quorum server says is taken in pieces; as many as its queue has room for.
const SERVER_BUDGET: usize = 256;
const BREATH: Duration = Duration::from_micros(100);

/// Now, on the clock of decisions.
pub(crate) fn now() -> Boottime {
    Boottime::from_nanos(clock::boottime_nanos())
}

impl EventLoop {
    /// Runs until the node has left. Returns the exit status.
    ///
    /// # Errors
    /// When the poller fails, which it does not.
    pub(crate) fn run(mut self) -> io::Result<u8> {
        let registry = self.poll.registry();
        self.net.register(registry, NET.0)?;
        registry.register(&mut SourceFd(&self.signals.as_fd().as_raw_fd()), SIGNALS, Interest::READABLE)?;
        registry.register(&mut SourceFd(&self.failfast.server_fd()), FAILFAST, Interest::READABLE)?;
        self.clients.register(self.poll.registry(), CLIENTS.0)?;
        if let Some(fd) = self.interfaces.fd() {
            self.poll.registry().register(&mut SourceFd(&fd), INTERFACES, Interest::READABLE)?;
        }
        self.set_up_device()?;
        self.watch_guardian();
        let alarm = Alarm::new()?;
        self.poll.registry().register(&mut SourceFd(&alarm.as_raw_fd()), ALARM, Interest::READABLE)?;
        self.state.interfaces = self.net.interfaces();
        self.node.lend_clock(clock::boottime_nanos);
        let mut events = Events::with_capacity(EVENTS_MAX);
        self.state.slept_at = now();
        loop {
            self.turn(&events);
            if self.state.left {
                break;
            }
            self.sleep(&mut events, &alarm)?;
        }
        self.net.flush();
        let protected = self.protects();
        self.clients.shutdown();
        self.failfast.release(protected, &self.log);
        self.log.event(DaemonEvent::Stopped);
        self.log.flush();
        Ok(0)
    }

    fn turn(&mut self, events: &Events) {
        let start = now();
        self.failfast.progress(start);
        self.node.handle_timeout(start);
        self.drain(start);
        for event in events {
            match event.token() {
                Token(link) if (NET..CLIENTS).contains(&event.token()) => {
                    if event.is_readable() {
                        self.net.set_readable(link - NET.0);
                    }
                    if event.is_error() {
                        self.net.set_erring(link - NET.0);
                    }
                }
                INTERFACES => self.interfaces.set_readable(),
                DISKS => self.device.disks.woken(),
                WAKER | ALARM => {}
                SIGNALS => self.on_signals(start),
                FAILFAST => self.failfast.on_ready(start),
                GUARDIAN => self.failfast.replace_guardian(start, "its process ended", &self.log),
                // After the packets: a client's request meets the state that they made.
                _ => {}
            }
        }
        if self.clients.poll_streams(now()) {
            self.serve_requests();
        }
        self.take_packets();
        self.take_hints();
        while let Some(record) = self.persister.done() {
            let at = now();
            self.node.handle_persisted(at, &record);
            self.drain(at);
        }
        self.take_disks();
        while let Some(result) = self.device.reservation.done() {
            self.node.handle_scsi(now(), result);
        }
        self.take_server();
        while let Some(loaded) = self.keys.done() {
            let at = now();
            let key = loaded.map(|key| {
                key.warnings.into_iter().for_each(|w| self.log.text(Priority::Warning, w));
                key.key
            });
            self.node.handle_key(at, key);
            self.drain(at);
        }
        while let Some(read) = self.reloader.done() {
            if let Err(why) = read.and_then(|read| self.take_over(read)) {
                // The others do not have to wait for this node. Never refused.
                let at = now();
                let _ = self.node.submit(at, Request::Reread(None));
                self.drain(at);
                self.state.reread = None;
                self.reloaded(Err(why));
            }
        }
        self.serve_clients(events);
        self.fence_disks();
        self.housekeeping(now());
        self.go_down_if_condemned();
        let at = now();
        while let Some(lagging) = self.clients.notify(at) {
            self.node.set_lagging(at, lagging);
            self.drain(at);
        }
        self.send();
        let end = now();
        let took = self.clients.lateness.turned(start, end);
        self.note_late(end, took);
        self.log.wake();
    }

    /// What the kernel says of links and of peers' ports. After the packets: what a peer sent before it died is no answer.
    fn take_hints(&mut self) {
        let at = now();
        let mut lost = Vec::new();
        self.interfaces.take(|link, why| lost.push((link, why)));
        for (link, why) in lost {
            self.node.link_lost(at, link, why);
            self.drain(at);
        }
        for peer in self.net.refusals().iter() {
            self.node.hint(at, peer, Hint::Refused);
            self.drain(at);
        }
    }

    fn serve_clients(&mut self, events: &Events) {
        let at = now();
        for event in events.iter().filter(|e| e.token() >= CLIENTS) {
            self.clients.on_ready(event, at);
        }
        self.serve_requests();
        let at = now();
        if self.clients.next_timeout().is_some_and(|due| due <= at) {
            self.clients.on_timer(&mut self.node, at);
            self.drain(at);
        }
        while let Some(action) = self.clients.poll_action() {
            match action {
                Action::Shutdown => self.leave(at, "sysadmin"),
                Action::ReopenLogs => self.log.reopen(),
                Action::Report(text) => self.log.event(DaemonEvent::Client { text }),
            }
        }
    }

    /// Begins to use the quorum device that was started.
    fn set_up_device(&mut self) -> io::Result<()> {
        self.device.disks.set_up(&self.log);
        if let Some(fd) = self.device.disks.fd() {
            self.poll.registry().register(&mut SourceFd(&fd), DISKS, Interest::READABLE)?;
        }
        // Before the first look at a disk: not fit until a heuristic says so.
        self.judge_fitness(now());
        Ok(())
    }

    /// What quorum disks have done, and heuristics. A request that fails at once is looked at in the next turn.
    fn take_disks(&mut self) {
        let mut news = self.device.heuristics.take();
        for _ in 0..cmm_qdisk::DISKS_MAX {
            let at = now();
            let Some((disk, result)) = self.device.disks.done() else { break };
            self.node.handle_disk(at, disk, result);
            self.drain(at);
            news = true;
        }
        if news {
            self.judge_fitness(now());
        }
        while let Some(grave) = self.device.disks.take_grave() {
            self.failfast.add_grave(grave);
        }
        if let Some(mail) = self.device.disks.take_order() {
            self.obey_order(&mail);
        }
    }

    /// An order from the quorum disk to this life of this node.
    fn obey_order(&mut self, mail: &Mail) {
        let from = if mail.from == 0 { "an operator".to_owned() } else { format!("node {}", mail.from) };
        let what = match mail.order {
            Order::None | Order::Test => {
                let text = format!("Quorum disk: a test order from {from} has arrived: {}", mail.why);
                return self.log.text(Priority::Notice, text);
            }
            Order::Reset => "was told to reset",
            Order::Off => "was told to go down",
            Order::Evicted => "was evicted",
        };
        let why = format!("this node {what} through the quorum disk by {from}: {}", mail.why);
        self.failfast.condemn(Reason::commanded(&why));
    }

    /// Tells the core whether this node is fit to have the quorum disk's vote.
    fn judge_fitness(&mut self, at: Boottime) {
        let fitness = self.device.heuristics.judge(at, &self.log);
        self.state.fit = fitness.fit;
        self.node.set_fitness(at, fitness, clock::wall_nanos() / 1_000_000_000);
        self.drain(at);
        self.device.disks.publish(
            &self.node,
            fitness.score,
            self.device.heuristics.min_score(),
            |key, value| {
                self.clients.set_key(key, value, at);
            },
        );
    }

    /// What has happened to the connections to the quorum server.
    fn take_server(&mut self) {
        for _ in 0..SERVER_BUDGET {
            let at = now();
            let Some(happened) = self.device.servers.next() else { break };
            let input = match &happened.what {
                What::Connected => cmm_qnet::Input::Connected,
                What::Secured => cmm_qnet::Input::Secured,
                What::Received(bytes) => cmm_qnet::Input::Received(bytes),
                What::Closed => cmm_qnet::Input::Closed,
            };
            self.node.handle_server(at, happened.channel, happened.attempt, input);
            self.drain(at);
        }
    }

    /// Data disks: last, so that they know the configuration that this turn has brought.
    fn fence_disks(&mut self) {
        let at = now();
        let set = |key: &str, value| self.clients.set_key(key, value, at);
        if let Some(why) = self.data_disks.turn(at, &mut self.node, &self.log, set) {
            self.failfast.condemn(Reason::commanded(&why));
        }
        self.drain(at);
    }

    fn serve_requests(&mut self) {
        for _ in 0..CLIENTS_BUDGET {
            let at = now();
            if !self.clients.serve_some(&mut self.node, at) {
                break;
            }
            self.drain(at);
        }
    }

    fn take_packets(&mut self) {
        let Self { node, net, log, persister, clients, state, .. } = self;
        net.receive(node, now, |node, queue, at| {
            while let Some(output) = node.poll_output() {
                match output {
                    Output::Transmit { to, links, urgent, packet } => queue.push(to, links, urgent, packet),
                    Output::Probe { to, link, packet } => queue.push_probe(to, link, packet),
                    output => act(output, node, at, log, persister, clients, state),
                }
            }
        });
        self.obey();
    }

    /// Hands what the core decided to the clients and the network.
    fn drain(&mut self, at: Boottime) {
        let Self { node, net, log, persister, clients, state, .. } = self;
        while let Some(output) = node.poll_output() {
            match output {
                Output::Transmit { to, links, urgent, packet } => net.queue().push(to, links, urgent, packet),
                Output::Probe { to, link, packet } => net.queue().push_probe(to, link, packet),
                output => act(output, node, at, log, persister, clients, state),
            }
        }
        self.obey();
    }

    /// What the core wants of the rest of the daemon: keys, gasps, and going down, having given up quorum itself.
    fn obey(&mut self) {
        if std::mem::take(&mut self.state.test_fitness) {
            self.device.heuristics.run_now();
        }
        for (node, life) in self.state.gone.drain(..) {
            self.device.disks.ask_why(node, life);
        }
        if let Some(command) = self.state.to_target.take() {
            self.device.reservation.send(command);
        }
        for (disk, block) in self.state.asked_of_disks.drain(..) {
            self.device.disks.ask(disk, block.as_deref());
        }
        for order in self.state.asked_of_server.drain(..) {
            self.device.servers.ask(order);
        }
        if let Some(by) = self.state.reload_by.take() {
            self.log.event(DaemonEvent::Reloading { by });
            let at = now();
            RELOADING.iter().for_each(|key| self.clients.set_key(key, Value::u8(1), at));
            self.reloader.ask();
        }
        if let Some(settings) = self.state.settings.take()
            && let Some((read, links)) = self.state.reread.take()
        {
            self.settle_reload(*read, links, settings);
        }
        if std::mem::take(&mut self.state.new_table) {
            self.forget_nodes();
        }
        if std::mem::take(&mut self.state.load_key) {
            self.keys.ask();
        }
        if std::mem::take(&mut self.state.reseal) {
            self.failfast.reseal(&mut self.node, &self.log);
        }
        if let Some(why) = self.state.take_down.take() {
            self.failfast.condemn(Reason::commanded(&why));
            self.go_down_if_condemned();
        }
    }

    /// Gives up quorum, tells the clients, and then takes the node down.
    fn go_down_if_condemned(&mut self) {
        let Some(reason) = self.failfast.condemned() else { return };
        self.node.resign(now(), reason.text.as_str());
        self.drain(now());
        self.clients.notify(now());
        self.net.flush();
        self.failfast.take_down(&mut self.node, &reason);
    }

    fn on_signals(&mut self, at: Boottime) {
        while let Some(signal) = self.signals.next_signal() {
            if signal == SIGHUP {
                self.log.reopen();
            } else {
                self.leave(at, "a signal");
            }
        }
    }

    /// Gives up quorum, tells the cluster, and exits when that is done.
    fn leave(&mut self, at: Boottime, why: &'static str) {
        if self.state.leave_by.is_some() {
            return;
        }
        self.notify.say("STOPPING=1");
        self.log.event(DaemonEvent::Leaving { why });
        self.state.leave_by = Some(at + LEAVE_LIMIT);
        if self.node.submit(at, Request::Leave).is_err() {
            self.state.left = true;
        }
        self.drain(at);
    }

    /// Takes over what can be at once of a configuration that was read anew: the links, logging, and the key if the file holds
    /// another one. Timers follow when all members have read theirs.
    ///
    /// # Errors
    /// Why nothing has changed.
    fn take_over(&mut self, mut read: Box<Reread>) -> Result<(), String> {
        if let Some(device) = read.device.take() {
            self.device = device;
            self.set_up_device().map_err(|e| format!("the quorum device cannot be polled: {e}"))?;
        }
        let limit = read.config.timing.heartbeat_limit_max;
        if limit >= self.timing.guardian_limit || self.timing.watchdog_soonest.is_some_and(|w| limit >= w) {
            return Err(format!(
                "with heartbeat_limit_max {limit} a silent node would be taken down before it is suspected, since the guardian's limit \
                 and the watchdog's time-out stay as they are; write a smaller one, or start this node anew"
            ));
        }
        let links = self.take_links(&read.config)?;
        self.waiting.set_names(&read.config);
        self.log.set_logging(read.config.logging.clone());
        read.warnings.iter().for_each(|text| self.log.event(DaemonEvent::Client { text: text.clone() }));
        let keys = self.node.key_view();
        if keys.next.unwrap_or(keys.key) != read.key {
            let at = now();
            // Never refused.
            let _ = self.node.submit(at, Request::ChangeKey);
            self.drain(at);
        }
        let at = now();
        let settings = startup::settings(&read.config);
        self.state.reread = Some((read, links));
        let taken = self.node.submit(at, Request::Reread(Some(settings)));
        self.drain(at);
        taken.map_err(|_| "the timers cannot be run; check them with \"cmmd -t\"".to_owned())
    }

    /// Timers and limits of a configuration that was read anew are in force.
    fn settle_reload(&mut self, read: Reread, links: LinkSet, settings: SettingsTaken) {
        // These stay as they are while this process runs.
        let Timing { guardian_limit, watchdog_worst, watchdog_soonest, .. } = self.timing;
        self.timing = Timing { guardian_limit, watchdog_worst, watchdog_soonest, ..read.config.timing };
        let changes = reload::take_keys(&mut self.state.config, &read.config.keys);
        self.clients.set_config(&changes.set, &changes.gone, now());
        self.reloaded(Ok(Reloaded { links, taken: changes.taken(), waiting: changes.waiting, settings }));
    }

    /// Packets go no more to those that are no nodes any more.
    fn forget_nodes(&mut self) {
        let Some(net) = self.net.without(|id| self.state.table.nodes.contains(&id)) else { return };
        self.failfast.set_links(&net, &self.log);
        if let Err(e) = self.net.adopt(net, Vec::new(), self.poll.registry(), NET.0) {
            let (what, then) = ("a node that was removed is still sent packets", "they are not for anybody");
            self.log.event(DaemonEvent::Degraded { what, error: e.to_string(), then });
        }
    }

    /// Tells the log and the clients that a reload is over.
    fn reloaded(&mut self, outcome: Result<Reloaded, String>) {
        let at = now();
        let status = if outcome.is_ok() { CsError::Ok } else { CsError::InvalidParam };
        self.clients.set_key(RELOAD_STATUS, Value::i32(status as i32), at);
        self.state.reloads += 1;
        self.clients.set_key(RELOADS, Value::u64(self.state.reloads), at);
        RELOADING.iter().for_each(|key| self.clients.set_key(key, Value::u8(0), at));
        self.clients.reloaded(outcome.is_ok());
        self.log.event(DaemonEvent::Reloaded { outcome });
    }

    /// Takes the links of a configuration that was read anew; says which, or why nothing has changed.
    fn take_links(&mut self, config: &Config) -> Result<LinkSet, String> {
        if config.me().id != self.node.me() {
            return Err(format!(
                "this node is {} and would be {}; stop it first",
                self.node.me(),
                config.me().id
            ));
        }
        let table = startup::node_table(config);
        self.device.take_over(config)?;
        let (mut net, links) = (startup::net_config(config), startup::links_config(config));
        // Nodes that go stay until all members have let them go.
        self.net.keep_others(&mut net);
        let moved = self.net.moved(&net);
        let sockets =
            self.net.bind_new(&net).map_err(|(local, e)| format!("cannot bind UDP {local}: {e}"))?;
        let at = now();
        self.node.submit(at, Request::SetLinks { links: &links, moved }).map_err(|_| {
            "a node that is reached now would be reached by none of the links that stay as they are; \
             change one link at a time, and the next one when \"corosync-cfgtool -n\" shows it connected"
                .to_owned()
        })?;
        self.failfast.set_links(&net, &self.log);
        let adopted = self.net.adopt(net, sockets, self.poll.registry(), NET.0);
        adopted.map_err(|e| format!("cannot poll the sockets of the links: {e}"))?;
        self.state.interfaces = self.net.interfaces();
        self.interfaces.set_links(&self.state.interfaces);
        let keys = config.keys.iter().filter(|k| k.name.starts_with("nodelist."));
        let keys = keys.map(|k| (k.name.clone(), startup::key_value(&k.value))).collect();
        self.clients.set_nodes(startup::client_nodes(config), keys, at);
        let device = self.node.submit(at, Request::SetDevice(startup::device_config(config)));
        let fitness = device.and_then(|_| {
            let taken = self.node.submit(at, Request::SetTable(&table));
            self.judge_fitness(at);
            taken
        });
        self.drain(at);
        fitness.map_err(|_| "the node list cannot be run; check it with \"cmmd -t\"".to_owned())?;
        Ok(links.all())
    }

    /// `holdfast.failfast.unit.<name>.*`
    fn publish_units(&mut self, units: &[UnitView], at: Boottime) {
        let base = |name: &UnitName| format!("holdfast.failfast.unit.{name}");
        for gone in
            std::mem::take(&mut self.state.units).iter().filter(|n| !units.iter().any(|u| u.name == **n))
        {
            for key in ["state", "pid", "delay_ms", "deadline_ms"] {
                self.clients.delete_key(&format!("{}.{key}", base(gone)), at);
            }
        }
        for unit in units {
            let state = match unit.state {
                UnitState::Armed => "armed",
                UnitState::Triggered => "triggered",
                UnitState::Disarmed => "disarmed",
            };
            let deadline = unit.deadline.map_or(0, |d| d.as_nanos() / 1_000_000);
            let mut set =
                |key: &str, value| self.clients.set_key(&format!("{}.{key}", base(&unit.name)), value, at);
            set("state", Value::str(state));
            set("pid", Value::u32(unit.pid));
            set("delay_ms", Value::u64(unit.delay.as_millis()));
            set("deadline_ms", Value::u64(deadline));
            self.state.units.push(unit.name);
        }
    }

    fn watch_guardian(&self) {
        if let Some(fd) = self.failfast.guardian_fd() {
            // A dead guardian that cannot be polled shows in its stamp.
            let _ = self.poll.registry().register(&mut SourceFd(&fd), GUARDIAN, Interest::READABLE);
        }
    }

    /// Something runs here that must not run without quorum.
    fn protects(&self) -> bool {
        self.clients.has_group_members() && self.clients.number_key(PROTECTED) != Some(0)
    }

    fn housekeeping(&mut self, at: Boottime) {
        if self.failfast.has_work() {
            self.failfast.on_ready(at);
        }
        let health = Health { quorate: self.node.quorum_view().quorate, protected: self.protects() };
        if self.state.waits_at.take_if(|told_at| *told_at <= at).is_some() {
            self.log.event(DaemonEvent::NodeTableWaits { why: self.state.table.waits.clone() });
        }
        if let Some(units) = self.failfast.changed_units() {
            self.publish_units(&units, at);
        }
        if self.failfast.turn(at, &health, &self.log) {
            self.watch_guardian();
        }
        if !self.state.ready && self.node.is_synced() {
            self.state.ready = true;
            self.notify.say("READY=1");
        }
        self.review_waits(at);
        self.testify(at);
        if self.state.leave_by.is_some_and(|by| at >= by) && !self.state.left {
            self.log.event(DaemonEvent::LeaveLate);
            self.state.left = true;
        }
        if self.state.report_at.is_none_or(|by| at >= by) {
            self.state.report_at = Some(at + net::REPORT_INTERVAL);
            self.net.report(&mut self.node, &self.log);
            let late_max = self.clients.lateness.max();
            if late_max > self.state.late_told {
                self.state.late_told = late_max;
                let micros = Value::u64(late_max.as_micros());
                self.clients.set_key("holdfast.loop.late_max_us", micros, at);
            }
            self.judge_timing(at);
            if self.state.retransmits > 0 {
                let frames = std::mem::take(&mut self.state.retransmits);
                self.log.event(DaemonEvent::Retransmits { frames });
            }
            for (why, rejected) in RejectReason::ALL.into_iter().zip(&mut self.state.rejected) {
                let (count, claims) = std::mem::take(rejected);
                if count > 0 {
                    self.log.event(DaemonEvent::Rejected { why, count, claims });
                }
            }
        }
    }

    /// Tells peers that are back what was recorded here of their ends. There is no hurry: what the order does not take now it is asked again
    /// in a later turn.
    fn testify(&mut self, at: Boottime) {
        while let Some(testimony) = self.state.testimony.take().or_else(|| self.log.testimony()) {
            let Testimony { node, life, news, at: wall, text } = &testimony;
            let request = cmm_proto::Testimony { node: *node, life: *life, news: *news, at: *wall, text };
            let answer = self.node.submit(at, Request::Testify(request));
            self.drain(at);
            if answer == Err(Refusal::TryAgain) {
                self.state.testimony = Some(testimony);
                return;
            }
        }
    }

    /// What this node waits for without quorum: for clients, for the service manager, and, if it lasts, for the log.
    fn review_waits(&mut self, at: Boottime) {
        if std::mem::take(&mut self.state.waits_changed) {
            self.waiting.touch();
        }
        let Self { waiting, node, clients, state, .. } = self;
        let of_node = (state.fit, state.leave_by.is_some());
        if let Some(news) = waiting.review(node, of_node, at, |key, value| clients.set_key(key, value, at)) {
            self.notify.say(&news);
        }
        if let Some(line) = self.waiting.due(at) {
            self.log.event(line);
        }
    }

    /// Whether the timing model stands on this machine as it is, not only as it was when somebody ran `cmmd -t`.
    fn judge_timing(&mut self, at: Boottime) {
        let wakeups = self.clients.lateness.wakeups();
        if wakeups.count() < WAKEUPS_TO_JUDGE {
            return;
        }
        let verdict = self.timing.broken_by_jitter(wakeups.percentile(99)).unwrap_or_default();
        let told = self.state.verdict.as_deref();
        if told.map(str::is_empty) != Some(verdict.is_empty()) {
            if told.is_some() || !verdict.is_empty() {
                self.log.event(DaemonEvent::Timing { broken: verdict.clone() });
            }
            self.clients.set_key("holdfast.timing.broken", Value::str(&verdict), at);
            self.state.verdict = Some(verdict);
        }
    }

    /// Sends everything that waits; what the socket does not take goes when it says that it takes more.
    fn send(&mut self) {
        self.net.flush();
        let feedback = self.net.take_feedback();
        if !feedback.is_empty() {
            let at = now();
            for told in feedback {
                match told {
                    Feedback::TooLong { to, link, len } => self.node.handle_too_long(at, to, link, len),
                    Feedback::CutUp(link) => self.node.handle_cut_up(at, link),
                }
                self.drain(at);
            }
            self.net.flush();
        }
        self.clients.send_failures = self.net.failures();
        self.net.spare().for_each(|packet| self.node.give_back(packet));
        self.net.watch(self.poll.registry(), NET.0);
    }

    /// Sleeps until something is ready or due, and notes if the wake-up was late.
    fn sleep(&mut self, events: &mut Events, alarm: &Alarm) -> io::Result<()> {
        let before = now();
        let mut due = before + SLEEP_MAX;
        for at in [
            self.node.next_timeout(),
            self.failfast.next_timeout(),
            self.clients.next_timeout(),
            self.data_disks.next_timeout(),
            self.state.leave_by,
        ]
        .into_iter()
        .flatten()
        {
            due = due.min(at);
        }
        if self.net.has_work() || self.interfaces.has_work() || self.failfast.has_work() {
            due = before;
        }
        // The poller counts milliseconds, the alarm does not. Setting it anew each time that something is put off costs a
        // system call: it is put off only when it would go off for nothing soon, which costs a turn.
        let set = self.state.alarm_at;
        if due > before && (set <= before || set > due || (set < due && set.since(before) < ALARM_SOON)) {
            alarm.set(due.as_nanos())?;
            self.state.alarm_at = due;
        }
        let wait = (due <= before).then_some(Duration::ZERO);
        if let Err(e) = self.poll.poll(events, wait)
            && e.kind() != io::ErrorKind::Interrupted
        {
            return Err(e);
        }
        let mut after = now();
        if after.since(before) > BREATH.into() {
            self.state.slept_at = after;
        } else if after.since(self.state.slept_at) > BUSY_MAX {
            std::thread::sleep(BREATH);
            after = now();
            self.state.slept_at = after;
        }
        let late = self.clients.lateness.woke(due.max(before), after);
        self.note_late(after, late);
        Ok(())
    }

    /// A turn that took too long, or a wake-up that came too late.
    fn note_late(&mut self, at: Boottime, late: Span) {
        let limit = self.timing.token.scale(8, 10);
        if late > limit {
            self.clients.lateness.missed(at, late);
            self.log.event(DaemonEvent::NotScheduled { at, late, limit });
        }
    }
}

/// Does what the core wants done, packets excepted.
fn act(
    output: Output,
    node: &Node,
    at: Boottime,
    log: &Log,
    persister: &Persister,
    clients: &mut Clients,
    state: &mut State,
) {
    if !matches!(output, Output::Event(Event::PacketRejected { .. })) {
        clients.on_output(&output, node, at);
    }
    state.waits_changed |= matches!(
        output,
        Output::Quorum(_)
            | Output::Table(_)
            | Output::Event(
                Event::Device(_) | Event::Reservation(_) | Event::Server(_) | Event::HeldOut { .. }
            )
    );
    match output {
        Output::Transmit { .. } | Output::Probe { .. } => {}
        Output::Persist(record) => persister.push(record),
        Output::Scsi(command) => state.to_target = Some(command),
        Output::Disk { disk, block } => state.asked_of_disks.push((disk, block)),
        Output::Server(order) => state.asked_of_server.push(order),
        Output::LoadKey => state.load_key = true,
        Output::Reload { by } => state.reload_by = Some(by),
        Output::SealGasps => state.reseal = true,
        Output::Event(Event::Retransmit { frames }) => state.retransmits += u64::from(frames),
        Output::Event(Event::PacketRejected { why, claims }) => {
            let (count, last) = &mut state.rejected[why as usize];
            *count += 1;
            *last = claims.or(*last);
        }
        Output::Event(Event::LinkFaulty { link, faulty }) => {
            let interface = state.interfaces.iter().find(|(id, _)| *id == link).map(|(_, ip)| *ip);
            log.event(DaemonEvent::LinkFaulty { link, interface, faulty });
        }
        Output::Event(event) => log.push(Happening::Core(event)),
        Output::NodeList(n) => {
            let mut lives: Vec<_> = node.incarnations().into_iter().collect();
            state.gone.extend(lives.iter().filter(|(id, _)| n.left.contains(id)));
            lives.retain(|(id, _)| n.joined.contains(id));
            log.event(DaemonEvent::NodeList { members: n.members, joined: n.joined, left: n.left, lives });
        }
        Output::Quorum(view) => {
            if !view.quorate && (state.quorate || view.reason != state.reason) {
                log.event(DaemonEvent::NoQuorum { reason: view.reason.clone() });
            }
            if view.waits_for_lease {
                log.event(DaemonEvent::LeaseWait { ring: view.ring });
            }
            state.quorate = view.quorate;
            state.reason = view.reason;
        }
        Output::Step(step) => {
            if step.name == "sync" && step.phase == StepPhase::Done {
                log.event(DaemonEvent::Synchronised);
            }
            log.event(DaemonEvent::Step {
                epoch: step.epoch,
                step: step.step,
                name: step.name,
                phase: step.phase,
            });
        }
        Output::Confirmed { node, incarnation, why } => {
            log.event(DaemonEvent::Confirmed { node, incarnation, why });
        }
        Output::TakeDown(why) => state.take_down = Some(why),
        Output::Table(view) => {
            let before = std::mem::replace(&mut state.table, view.clone());
            state.new_table = true;
            // Members read their files one after the other: most waits are over at once.
            let waits = (!view.waits.is_empty()).then_some(at + WAITS_TOLD_AFTER);
            state.waits_at = if before.waits == view.waits { state.waits_at } else { waits };
            log.event(DaemonEvent::NodeTable { before: Box::new(before), now: Box::new(view) });
        }
        Output::Settings(settings) => state.settings = Some(settings),
        Output::Left => state.left = true,
        Output::Configuration(change) => state.test_fitness |= !change.left.is_empty(),
        Output::Cpg { .. } | Output::Gate { .. } | Output::Keys(_) => {}
    }
}
