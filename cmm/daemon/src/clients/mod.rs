//! Every client of the local IPC: listeners, connections, and the services behind them.
//!
//! The event loop calls, in one turn: [`Clients::on_ready`] for each event of a token that is ours; then
//! [`Clients::serve_some`] up to a budget (32 or so), with the core's outputs drained after each, so that no input of the
//! core comes before the outputs of the one before are taken; [`Clients::on_output`] for every output in its order;
//! [`Clients::on_timer`] when [`Clients::next_timeout`] has passed; [`Clients::poll_action`] for what is the daemon's own
//! to do; [`Clients::notify`] at the end. Nothing here blocks.

mod admission;
mod cfg;
mod cmap;
mod cpg;
#[cfg(test)]
mod no_alloc;
mod peers;
mod published;
mod quorum;
mod stats;
mod store;
mod votequorum;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::net::IpAddr;
use std::os::fd::AsRawFd;

use cmm_conf::ConfigKey;
use cmm_ipc::abi::cmap::Value;
use cmm_ipc::abi::{Malformed, View, cfg as abi_cfg, cmap as abi_cmap, cpg as abi_cpg};
use cmm_ipc::abi::{quorum as abi_quorum, votequorum as abi_votequorum};
use cmm_ipc::server::{Handshake, Listener, Mode, Next};
use cmm_ipc::{CsError, Place, Service};
use cmm_proto::{ConfigurationKind, Node, Output, Refusal};
use holdfast_types::{Boottime, ConnId, Incarnation, LinkId, NodeId, Span};
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};

use admission::{HANDSHAKE_LIMIT, listening_places, prepare_ring_dir};
use peers::{Peers, deregister};

use crate::lateness::Lateness;
use crate::startup::key_value;

/// What the clients' side is told at start.
#[derive(Clone, Debug)]
pub(crate) struct ClientsConfig {
    /// Abstract names, or files below `$HOLDFAST_RUN_DIR`.
    pub(crate) place: Place,
    /// What carries their messages.
    pub(crate) mode: Mode,
    /// This node.
    pub(crate) me: NodeId,
    /// The node list.
    pub(crate) nodes: Vec<ClientNode>,
    /// This life of the daemon.
    pub(crate) incarnation: Incarnation,
    /// `knet`, `udpu` or `udp`: the form of some status texts.
    pub(crate) transport: String,
    /// The configuration as keys for CMAP: key, value, read-only.
    pub(crate) keys: Vec<(String, Value, bool)>,
}

/// A configured node as CFG and CMAP show it.
#[derive(Clone, Debug)]
pub(crate) struct ClientNode {
    /// Its id.
    pub(crate) id: NodeId,
    /// One address a link, in ascending order of link.
    pub(crate) addresses: Vec<(LinkId, IpAddr)>,
}

/// What a client asked for that the daemon itself does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Leave the cluster and stop.
    Shutdown,
    /// Open the log file anew.
    ReopenLogs,
    /// Something an operator should know: a client refused or thrown out.
    Report(String),
}

/// What a service does with a request.
enum Answer {
    /// This reply.
    Reply(Vec<u8>),
    /// A reply of the request's own shape, with this error (or `Ok`) and zeroes.
    Error(CsError),
    /// No reply, or later.
    None,
    /// Not now: the request waits, and with it what the client sent behind it.
    Hold,
}

/// What may follow a request.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    /// The client's next one, in the same run.
    Next,
    /// Its next one, when the outputs of this one are drained.
    Later,
    /// Nothing, until its request can be taken.
    Wait,
}

/// All clients.
pub(crate) struct Clients {
    place: Place,
    mode: Mode,
    nodes: Vec<ClientNode>,
    listeners: Vec<Listener>,
    registry: Option<Registry>,
    first_token: usize,
    /// Clients that have not been let in yet, with the time they came.
    handshakes: BTreeMap<ConnId, (Handshake, Boottime)>,
    last_conn: u64,
    peers: Peers,
    cmap: cmap::Cmap,
    cfg: cfg::Cfg,
    cpg: cpg::Cpg,
    quorum: quorum::Quorum,
    votequorum: votequorum::Votequorum,
    published: published::Published,
    stats_at: Boottime,
    /// When clients in full flow had their turn last.
    streams_at: Boottime,
    /// Whether clients do not keep up.
    lag: bool,
    /// Of those, whose word has come.
    hellos: VecDeque<ConnId>,
    /// When clients are let in again.
    accept_at: Option<Boottime>,
    next_listener: usize,
    denials: u32,
    denied_at: Option<Boottime>,
    actions: Vec<Action>,
    reports: Reports,
    request: Vec<u8>,
    /// Buffers of requests that waited.
    spare: Vec<Vec<u8>>,
    reply: Vec<u8>,
    /// How late the event loop is: it counts, clients read.
    pub(crate) lateness: Lateness,
    /// Packets that the system did not take, in a row: the same.
    pub(crate) send_failures: u32,
}

impl Clients {
    /// Binds all listeners: to be called while the process still is who clients are to see. No client is let in before
    /// the node is synchronised.
    ///
    /// # Errors
    /// A socket that cannot be bound, named in the text.
    pub(crate) fn new(config: ClientsConfig) -> io::Result<Self> {
        holdfast_sys::shm::guard_against_sigbus()?;
        prepare_ring_dir(&config.place)?;
        let mut listeners = Vec::new();
        for place in listening_places(&config.place) {
            for service in Service::ALL {
                let listener = Listener::bind(&place, service).map_err(|e| {
                    let text = format!("cannot listen for {} clients: {e}", service.name());
                    io::Error::new(e.kind(), text)
                })?;
                listeners.push(listener);
            }
        }
        let mut cmap = cmap::Cmap::default();
        for (key, value, read_only) in config.keys {
            cmap.config.load(key, value, read_only);
        }
        for (key, value) in [
            ("runtime.votequorum.this_node_id", Value::u32(config.me.get())),
            ("holdfast.incarnation", Value::u64(config.incarnation.get())),
            ("holdfast.step.participant", Value::u8(0)),
        ] {
            cmap.config.load(key.to_owned(), value, true);
        }
        for service in Service::ALL {
            let number = u16::try_from(service.number()).unwrap_or_default();
            let key = format!("runtime.services.{}.service_id", service.name());
            cmap.config.load(key, Value::u16(number), true);
        }
        cmap.config.load(cmap::FORCE_GATHER.to_owned(), Value::str("no"), false);
        Ok(Self {
            place: config.place,
            mode: config.mode,
            cfg: cfg::Cfg::new(config.nodes.clone(), config.transport),
            nodes: config.nodes,
            listeners,
            registry: None,
            first_token: 0,
            handshakes: BTreeMap::new(),
            last_conn: 0,
            peers: Peers::default(),
            cmap,
            cpg: cpg::Cpg::default(),
            quorum: quorum::Quorum::default(),
            votequorum: votequorum::Votequorum::default(),
            published: published::Published::default(),
            stats_at: Boottime::default(),
            streams_at: Boottime::default(),
            lag: false,
            hellos: VecDeque::new(),
            accept_at: None,
            next_listener: 0,
            denials: 0,
            denied_at: None,
            actions: Vec::new(),
            reports: Reports::default(),
            request: Vec::new(),
            spare: Vec::new(),
            reply: Vec::new(),
            lateness: Lateness::default(),
            send_failures: 0,
        })
    }

    /// Joins the poll set. All tokens from `first_token` on are ours.
    ///
    /// # Errors
    /// Those of the poller.
    pub(crate) fn register(&mut self, registry: &Registry, first_token: usize) -> io::Result<()> {
        for (k, listener) in self.listeners.iter().enumerate() {
            let token = Token(first_token + k);
            registry.register(&mut SourceFd(&listener.as_raw_fd()), token, Interest::READABLE)?;
        }
        self.registry = Some(registry.try_clone()?);
        self.first_token = first_token;
        Ok(())
    }

    /// Something happened on a descriptor of ours.
    pub(crate) fn on_ready(&mut self, event: &mio::event::Event, now: Boottime) {
        let Some(index) = event.token().0.checked_sub(self.first_token) else { return };
        if index < self.listeners.len() {
            self.accept_at.get_or_insert(now);
            return;
        }
        let conn = ConnId::new((index - self.listeners.len()) as u64);
        if self.handshakes.contains_key(&conn) {
            self.hellos.push_back(conn);
            self.accept_at.get_or_insert(now);
            return;
        }
        if event.is_writable() {
            self.peers.flush(conn, now);
        }
        self.peers.wake(conn);
    }

    /// Clients in full flow get their turn by the next [`Clients::serve_some`]. False: there are none.
    pub(crate) fn poll_streams(&mut self, now: Boottime) -> bool {
        self.streams_at = now;
        self.peers.wake_streams()
    }

    /// Tells clients of the events they were given. `Some`: from now on they keep up (`false`), or do not, so that
    /// senders on all nodes must hold back.
    pub(crate) fn notify(&mut self, now: Boottime) -> Option<bool> {
        self.peers.notify(now);
        let lag = self.peers.lag(self.lag, now);
        (std::mem::replace(&mut self.lag, lag) != lag).then_some(lag)
    }

    /// Serves the next client in turn, one request or a run of multicasts, or closes one connection. False: nothing is
    /// left to do.
    pub(crate) fn serve_some(&mut self, node: &mut Node, now: Boottime) -> bool {
        if self.close_one(node, now) {
            return true;
        }
        while let Some(conn) = self.peers.next_ready() {
            let mut request = std::mem::take(&mut self.request);
            let (served, multicasts) = self.serve_run(conn, &mut request, node, now);
            self.request = request;
            if let Some(streams) = self.peers.note_multicasts(conn, multicasts, now) {
                self.watch(conn, !streams);
            }
            if served > 0 {
                return true;
            }
        }
        self.close_one(node, now)
    }

    /// Serves requests of one client up to and with the first that is no multicast, or to a bound; how many, and how many
    /// multicasts. For the core they are one input.
    fn serve_run(
        &mut self,
        conn: ConnId,
        request: &mut Vec<u8>,
        node: &mut Node,
        now: Boottime,
    ) -> (u32, u32) {
        let (mut served, mut multicasts, mut bytes) = (0, 0, 0);
        while let Some(peer) = self.peers.get_mut(conn) {
            let next = match peer.held.take() {
                Some(held) => {
                    let spare = std::mem::replace(request, held);
                    if self.spare.len() < SPARE_MAX {
                        self.spare.push(spare);
                    }
                    Ok(Next::Request)
                }
                None => peer.connection.next_request(request),
            };
            match next {
                Ok(Next::Request) => {}
                Ok(Next::Nothing) => break,
                Ok(Next::HungUp) => {
                    self.peers.doom(conn, None);
                    break;
                }
                Err(gone) => {
                    self.peers.doom(conn, Some(gone));
                    break;
                }
            }
            if served == 0 {
                node.cork(now);
            }
            served += 1;
            bytes += request.len();
            let then = self.serve(conn, request, node, now);
            multicasts += u32::from(then == Then::Next);
            if then != Then::Next || served == RUN_REQUESTS || bytes >= RUN_BYTES {
                if then != Then::Wait {
                    self.peers.wake(conn);
                }
                break;
            }
        }
        if served > 0 {
            node.uncork(now);
        }
        (served, multicasts)
    }

    /// Watches the socket of a client for requests, or for the end only.
    fn watch(&self, conn: ConnId, requests: bool) {
        let (Some(peer), Some(registry)) = (self.peers.get(conn), &self.registry) else { return };
        let interest = if requests { Interest::READABLE | Interest::WRITABLE } else { Interest::WRITABLE };
        // It is registered and open: nothing can fail but the whole poller.
        let token = self.token(conn);
        let _ = registry.reregister(&mut SourceFd(&peer.connection.as_raw_fd()), token, interest);
        if let Some(fd) = peer.connection.request_fd().map(|fd| fd.as_raw_fd()) {
            let _ = if requests {
                registry.register(&mut SourceFd(&fd), token, Interest::READABLE)
            } else {
                registry.deregister(&mut SourceFd(&fd))
            };
        }
    }

    /// Of all descriptors of a connection.
    fn token(&self, conn: ConnId) -> Token {
        Token(self.first_token + self.listeners.len() + conn.get() as usize)
    }

    /// Tells clients and keys what the core says. Outputs come here in their order, each before the next input.
    pub(crate) fn on_output(&mut self, output: &Output, node: &Node, now: Boottime) {
        let Self { peers, cmap, .. } = self;
        match output {
            Output::Configuration(change) => {
                if change.kind == ConfigurationKind::Regular {
                    let set = |key: &str, value| cmap.config.set_own(key, value, peers, now);
                    self.published.members(change, &self.nodes, set);
                }
                self.publish_state(node, now);
            }
            Output::Cpg { conn, event } => self.cpg.event(*conn, event, node, peers, now),
            Output::NodeList(notice) => {
                self.cpg.ring(notice.ring, &notice.members, peers, now);
                self.quorum.node_list(notice, peers, now);
                self.votequorum.node_list(notice, peers, now);
            }
            Output::Quorum(view) => {
                self.quorum.quorum(view, peers, now);
                self.votequorum.quorum(view, peers, now);
                published::quorum(view, node, |key, value| cmap.config.set_own(key, value, peers, now));
                self.publish_state(node, now);
            }
            Output::Step(notice) => {
                if let Some(value) = published::step(notice) {
                    cmap.config.set_own("holdfast.step.current", value, peers, now);
                }
                published::lives(node, |key, value| cmap.config.set_own(key, value, peers, now));
            }
            Output::Confirmed { node: dead, incarnation, .. } => {
                let key = format!("holdfast.confirmed.{dead}");
                cmap.config.set_own(&key, Value::u64(incarnation.get()), peers, now);
            }
            Output::Gate { open } => {
                peers.set_flow_control(if *open { 0 } else { HOLD_MULTICASTS });
            }
            Output::Event(_) => self.publish_state(node, now),
            Output::Keys(view) => {
                published::keys(view, |key, value| cmap.config.set_own(key, value, peers, now))
            }
            Output::Table(view) => {
                published::table(view, |key, value| cmap.config.set_own(key, value, peers, now))
            }
            Output::LoadKey
            | Output::Disk { .. }
            | Output::Scsi(_)
            | Output::Server(_)
            | Output::SealGasps
            | Output::Transmit { .. }
            | Output::Probe { .. }
            | Output::Reload { .. }
            | Output::Persist(_)
            | Output::TakeDown(_)
            | Output::Settings(_)
            | Output::Left => {}
        }
    }

    /// What is due: events that found a ring full, held requests, unanswered shutdowns, statistics that somebody tracks.
    pub(crate) fn on_timer(&mut self, node: &mut Node, now: Boottime) {
        self.peers.on_timer(now);
        self.cfg.on_timer(&mut self.peers, now, &mut self.actions);
        if self.accept_at.is_some_and(|at| at <= now) {
            self.let_in(node, now);
        }
        let late: Vec<ConnId> = self
            .handshakes
            .iter()
            .filter(|(_, (_, since))| now.since(*since) > HANDSHAKE_LIMIT)
            .map(|(conn, _)| *conn)
            .collect();
        for conn in late {
            self.drop_handshake(conn);
        }
        if self.cmap.stats.is_tracked() && now.since(self.stats_at) >= STATS_INTERVAL {
            self.refresh_stats(node, now);
        }
        self.publish_state(node, now);
    }

    /// When [`Clients::on_timer`] is due; the past while clients wait for their turn: do not sleep then.
    pub(crate) fn next_timeout(&self) -> Option<Boottime> {
        if self.peers.has_work() {
            return Some(Boottime::default());
        }
        let stats = self.cmap.stats.is_tracked().then(|| self.stats_at + STATS_INTERVAL);
        let handshake = self.handshakes.values().map(|(_, since)| *since + HANDSHAKE_LIMIT).min();
        let streams = self.peers.has_streams().then(|| self.streams_at + STREAMS_INTERVAL);
        [streams, self.peers.next_timeout(), self.cfg.next_timeout(), self.accept_at, stats, handshake]
            .into_iter()
            .flatten()
            .min()
    }

    /// The next thing that the daemon itself must do.
    pub(crate) fn poll_action(&mut self) -> Option<Action> {
        if self.actions.is_empty() { None } else { Some(self.actions.remove(0)) }
    }

    /// The configuration was read anew, and taken over or refused: who asked for it here is told.
    pub(crate) fn reloaded(&mut self, taken: bool) {
        self.cfg.reloaded(taken, &mut self.peers);
    }

    /// The node list has other addresses: `keys` are those of the configuration from now on.
    pub(crate) fn set_nodes(&mut self, nodes: Vec<ClientNode>, keys: Vec<(String, Value)>, now: Boottime) {
        self.cfg.set_nodes(nodes.clone());
        self.nodes = nodes;
        let Self { cmap, peers, .. } = self;
        let names: BTreeSet<&str> = keys.iter().map(|(name, _)| name.as_str()).collect();
        cmap.config.retain_under("nodelist.", |key| names.contains(key), peers, now);
        for (name, value) in &keys {
            cmap.config.set_own(name, value.clone(), peers, now);
        }
    }

    /// The configuration was read anew: these keys are new or other, and those are gone.
    pub(crate) fn set_config(&mut self, set: &[ConfigKey], gone: &[String], now: Boottime) {
        for key in gone {
            self.delete_key(key, now);
        }
        let Self { cmap, peers, .. } = self;
        for key in set {
            cmap.config.set_of_file(&key.name, key_value(&key.value), key.read_only, peers, now);
        }
    }

    /// Sets a key that clients may only read, e.g. `holdfast.failfast.mode`.
    pub(crate) fn set_key(&mut self, key: &str, value: Value, now: Boottime) {
        self.cmap.config.set_own(key, value, &mut self.peers, now);
    }

    /// Deletes such a key.
    pub(crate) fn delete_key(&mut self, key: &str, now: Boottime) {
        self.cmap.config.delete_own(key, &mut self.peers, now);
    }

    /// The value of a key that holds a number.
    pub(crate) fn number_key(&self, key: &str) -> Option<u64> {
        self.cmap.config.get(key).and_then(Value::as_u64)
    }

    /// Whether a local process is in a group: then there may be something to protect.
    pub(crate) fn has_group_members(&self) -> bool {
        self.cpg.has_members()
    }

    /// Closes every connection and unlinks everything: after the leave is out, since clients take the end of their
    /// connection for the end of this node.
    pub(crate) fn shutdown(&mut self) {
        let waiting: Vec<ConnId> = self.handshakes.keys().copied().collect();
        for conn in waiting {
            self.drop_handshake(conn);
        }
        for listener in self.listeners.drain(..) {
            deregister(self.registry.as_ref(), &listener);
        }
        self.peers.clear(self.registry.as_ref());
    }

    fn serve(&mut self, conn: ConnId, request: &mut Vec<u8>, node: &mut Node, now: Boottime) -> Then {
        let Some(service) = self.peers.get(conn).map(|p| p.connection.service()) else { return Then::Wait };
        if service == Service::Cmap && self.cmap.wants_stats(conn) && now.since(self.stats_at) >= STATS_FRESH
        {
            self.refresh_stats(node, now);
        }
        let answer = self.dispatch(service, conn, request, node, now);
        let invalid = answer.is_err();
        let answer = answer.unwrap_or_else(|e| Answer::Error(e.into()));
        if let Some(peer) = self.peers.get_mut(conn) {
            peer.invalid += u64::from(invalid);
            peer.refused += u64::from(matches!(answer, Answer::Hold | Answer::Error(CsError::TryAgain)));
        }
        if std::mem::take(&mut self.cmap.clear_missed) {
            self.lateness.forget_missed();
            self.refresh_stats(node, now);
        }
        let id = View(request).i32(0).unwrap_or_default();
        let multicast = service == Service::Cpg && id == MULTICAST;
        match answer {
            Answer::Reply(reply) => self.peers.send_response(conn, &reply),
            // Nobody waits for the reply to a multicast.
            Answer::Error(_) if multicast => {}
            Answer::Error(error) => {
                let reply = service.error_reply_in(std::mem::take(&mut self.reply), id, error);
                self.peers.send_response(conn, &reply);
                self.reply = reply;
            }
            Answer::None => {}
            Answer::Hold => {
                let next = self.spare.pop().unwrap_or_default();
                self.peers.hold(conn, std::mem::replace(request, next), now);
                return Then::Wait;
            }
        }
        if multicast { Then::Next } else { Then::Later }
    }

    fn dispatch(
        &mut self,
        service: Service,
        conn: ConnId,
        request: &[u8],
        node: &mut Node,
        now: Boottime,
    ) -> Result<Answer, Malformed> {
        let Self { peers, cmap, cfg, cpg, quorum, votequorum, actions, .. } = self;
        Ok(match service {
            Service::Cmap => cmap.handle(conn, &abi_cmap::Request::decode(request)?, peers, node, now),
            Service::Cfg => {
                let patience = cmap.config.get("cfg.shutdown_timeout").and_then(Value::as_u64);
                let patience = patience.map_or(SHUTDOWN_PATIENCE, Span::from_millis);
                let request = abi_cfg::Request::decode(request)?;
                cfg.handle(conn, &request, &mut cfg::Context { peers, node, now, patience, actions })
            }
            Service::Cpg => cpg.handle(conn, &abi_cpg::Request::decode(request)?, peers, node, now),
            Service::Quorum => {
                let request = abi_quorum::Request::decode(request)?;
                quorum.handle(conn, request, peers, node.quorum_view(), now)
            }
            Service::Votequorum => {
                votequorum.handle(conn, &abi_votequorum::Request::decode(request)?, peers, node, now)
            }
        })
    }

    fn close_one(&mut self, node: &mut Node, now: Boottime) -> bool {
        let Some((conn, peer, why)) = self.peers.take_doomed() else { return false };
        deregister(self.registry.as_ref(), &peer.connection);
        let service = peer.connection.service();
        if let Some(why) = why {
            let pid = peer.connection.credentials().pid;
            self.report(format!("closed the {} connection of pid {pid}: {why}", service.name()), now);
        }
        stats::client_went(&mut self.cmap, &mut self.peers, conn, &peer.connection, now);
        match service {
            Service::Cmap => self.cmap.closed(conn, node, now),
            Service::Cfg => self.cfg.closed(conn, &mut self.peers, &mut self.actions),
            Service::Cpg => self.cpg.closed(conn, node, now),
            Service::Quorum => self.quorum.closed(conn),
            Service::Votequorum => self.votequorum.closed(conn),
        }
        true
    }

    fn publish_state(&mut self, node: &Node, now: Boottime) {
        let Self { cmap, peers, .. } = self;
        published::state(node, |key, value| cmap.config.set_own(key, value, peers, now));
    }

    fn refresh_stats(&mut self, node: &Node, now: Boottime) {
        self.stats_at = now;
        let sources = stats::Sources {
            node,
            nodes: &self.nodes,
            lateness: &self.lateness,
            send_failures: self.send_failures,
        };
        stats::refresh(&mut self.cmap, &mut self.peers, &sources, now);
    }

    /// A line for operators, but not many a second: clients that do wrong can come back at once.
    fn report(&mut self, mut text: String, now: Boottime) {
        let Reports { since, told, untold } = &mut self.reports;
        if now.since(*since) >= REPORTS_INTERVAL {
            if *untold > 0 {
                text.push_str(&format!(" (and {untold} more such lines before)"));
            }
            (*since, *told, *untold) = (now, 0, 0);
        }
        if *told < REPORTS_MAX {
            *told += 1;
            self.actions.push(Action::Report(text));
        } else {
            *untold += 1;
        }
    }
}

/// Lines about clients since then, and those that were left out.
#[derive(Default)]
struct Reports {
    since: Boottime,
    told: u32,
    untold: u32,
}

/// What a client is told of a refusal.
fn refusal(refusal: Refusal) -> CsError {
    match refusal {
        Refusal::TryAgain => CsError::TryAgain,
        Refusal::InvalidParam => CsError::InvalidParam,
        Refusal::Busy => CsError::Busy,
        Refusal::NotExist => CsError::NotExist,
        Refusal::NameTooLong => CsError::NameTooLong,
        Refusal::Exist => CsError::Exist,
        Refusal::Interrupt => CsError::Interrupt,
        Refusal::NameNotFound => CsError::NameNotFound,
        Refusal::TooBig => CsError::TooBig,
    }
}

/// Requests of one client served in one run, and bytes of them after which a run ends.
const RUN_REQUESTS: u32 = 128;
const RUN_BYTES: usize = 262_144;
/// Buffers that are kept for requests that must wait.
const SPARE_MAX: usize = 4;
/// How long a client in full flow waits for its turn where nothing else wakes the loop.
const STREAMS_INTERVAL: Span = Span::from_micros(200);
/// Flow-control value that stops multicasts and nothing else.
const HOLD_MULTICASTS: u32 = 2;
/// Request id of a plain multicast.
const MULTICAST: i32 = 2;
/// How long a shutdown waits for its answers where `cfg.shutdown_timeout` does not say.
const SHUTDOWN_PATIENCE: Span = Span::from_secs(5);
/// How old statistics may be when a client reads them.
const STATS_FRESH: Span = Span::from_millis(100);
/// How often they are made while somebody tracks them.
const STATS_INTERVAL: Span = Span::from_secs(1);
/// Lines about clients within a second.
const REPORTS_MAX: u32 = 10;
const REPORTS_INTERVAL: Span = Span::from_secs(1);
