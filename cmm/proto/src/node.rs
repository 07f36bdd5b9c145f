//! [`Node`]: seal, ring, detector, reconfiguration, quorum and services put together behind one door.
//!
//! Every call first looks at the clock: a lease that has run out is told before anything else is read
//! (`turn`). Then the input is handled, and at the end everything it set in motion is carried on until nothing moves
//! (`settle`): what the ring delivers changes services and steps, which send ordered messages, which the ring takes.

mod device;
mod fitness;
mod keys;
mod lives;
mod ordered;
mod packets;
mod parts;
mod paths;
mod reread;
mod scale;
mod table;
mod wish;

pub use self::fitness::Fitness;

use std::collections::{BTreeMap, VecDeque};

use holdfast_types::{BootId, Boottime, Incarnation, LinkId, NodeId, RingId};

use crate::Bytes;
use crate::api::{
    Configuration, ConfigurationKind, Event, GaspKind, GroupMember, GroupName, Guarantee, HeldOut,
    NodeConfig, Output, QuorumView, Record, Refusal, Request, RingChange, Stats, StepNotice, Tables,
    TokenTimes,
};
use crate::detector::{Detector, Hint, Watched};
use crate::limits;
use crate::links::{LinkLoss, Links};
use crate::quorum::Quorum;
use crate::quorum::change::Changes;
use crate::reconfig::{self, Action, Reconfig};
use crate::ring::{self, Ring, RingConfig, RingOutput, Suspicion};
use crate::service::HandlerCount;
use crate::service::counts::Counts;
use crate::service::cpg::{Cpg, Events};
use crate::service::messages::{Message, State};
use crate::wire::{Gasp, NodeSet, Opener, PacketKind, SealTimes, Sealer, payload_of};

/// What is wrong with a [`NodeConfig`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The node list is empty, too long, not ascending, or names node 0.
    #[error("node list: {0}")]
    Nodes(&'static str),
    /// The local node is not in the node list.
    #[error("node {0} is this node, but the node list does not name it")]
    NotInList(NodeId),
    /// An interval is zero or does not fit the others.
    #[error("timers: {0}")]
    Timers(&'static str),
    /// No link, too many, or not in ascending order.
    #[error("links: {0}")]
    Links(&'static str),
    /// Votes or quorum options that cannot be.
    #[error("quorum: {0}")]
    Quorum(&'static str),
    /// A quorum device that cannot be.
    #[error("quorum device: {0}")]
    Device(&'static str),
}

/// One node of the cluster: the whole protocol as a state machine.
///
/// Calling order: on every wake-up [`Node::handle_timeout`] first, then inputs with the same or a later `now`; after
/// each call [`Node::poll_output`] until it is empty. `now` never goes back.
pub struct Node {
    config: NodeConfig,
    started: Boottime,
    now: Boottime,
    outputs: VecDeque<Output>,
    /// For the events of one delivery; empty between them.
    events: Events,
    /// Buffers of packets that are out.
    spare: Vec<Vec<u8>>,
    sealer: Sealer,
    opener: Opener,
    keys: keys::KeyChange,
    ring: Ring,
    detector: Detector,
    links: Links,
    parts: parts::Parts,
    /// Frames sent again, as counted when paths were doubted last.
    resent: u64,
    /// Frames sent in parts in this life.
    frames_cut: u32,
    reconfig: Reconfig,
    quorum: Quorum,
    device: Option<device::Device>,
    cpg: Cpg,
    changes: Changes,
    /// A change of votes that was taken here and is not made yet.
    wish: Option<wish::Wish>,
    /// A reload under way.
    reread: reread::Reread,
    /// The node table in the members' files.
    files: table::Files,
    /// Nodes that are missing, or have left.
    absence: scale::Absence,
    /// What the disk was asked to hold last.
    record: Record,
    /// The record in which the promise changed last.
    promise_number: u64,
    members: Vec<NodeId>,
    ring_id: RingId,
    /// The ring whose exchange was completed last.
    synced_ring: Option<RingId>,
    /// Ordered messages that came before the exchange of their ring was complete.
    held_back: VecDeque<(NodeId, Bytes)>,
    /// Ordered messages for one ring only, not yet taken by the ring's queue.
    control: VecDeque<(RingId, Guarantee, Vec<u8>)>,
    /// Ordered messages that must go out some time, not yet taken by the ring's queue.
    pending: VecDeque<Vec<u8>>,
    gate_open: bool,
    /// Requests are coming in a run: what they set in motion waits for its end.
    corked: bool,
    left: bool,
    taken_down: bool,
    lives: BTreeMap<NodeId, Incarnation>,
    boots: BTreeMap<NodeId, (Incarnation, BootId)>,
    confirmed: BTreeMap<NodeId, Incarnation>,
    /// Packets rejected before the ring saw them.
    rejected: Stats,
    /// Ordered messages, by what they are.
    counts: Counts,
}

impl Node {
    /// A node at its start, alone and not quorate.
    ///
    /// # Errors
    /// When the configuration cannot be run.
    pub fn new(config: NodeConfig, now: Boottime) -> Result<Self, ConfigError> {
        check(&config)?;
        let (me, timers) = (config.me, config.settings.timers);
        // Those of the table in force beside: see `node/table.rs`.
        let ids: Vec<NodeId> = config.nodes.iter().map(|n| n.id).collect();
        let ring = RingConfig {
            me,
            nodes: config.nodes.clone(),
            incarnation: config.incarnation,
            settings: config.settings,
            frame_payload_max: payload_of(limits::PACKET_SAFE),
            ring_seq_reserved: config.ring_seq_reserved,
        };
        let peers = ids.iter().copied().filter(|id| *id != me);
        let links = Links::new(config.links.clone(), peers, timers.heartbeat, now);
        let mut node = Self {
            started: now,
            now,
            outputs: VecDeque::new(),
            events: Events::new(),
            spare: Vec::new(),
            sealer: Sealer::new(&config.key, &config.cluster_name, me, config.incarnation),
            opener: Opener::new(&config.key, &config.cluster_name, me, ids),
            keys: keys::KeyChange::default(),
            ring: Ring::new(ring, now),
            detector: Detector::new(me, &timers, now),
            links,
            parts: parts::Parts::default(),
            resent: 0,
            frames_cut: 0,
            reconfig: Reconfig::new(timers.step_limit),
            quorum: Quorum::new(&config, now),
            device: device::Device::new(&config, config.promised, now),
            cpg: Cpg::new(me),
            changes: Changes::default(),
            wish: None,
            reread: reread::Reread::default(),
            files: table::Files::new(config.table()),
            absence: scale::Absence::default(),
            record: Record {
                ring_seq_reserved: config.ring_seq_reserved,
                promised: config.promised,
                tables: config.tables.clone(),
                expected_seen: config.expected_seen,
                number: 0,
            },
            promise_number: 0,
            members: Vec::new(),
            ring_id: RingId::default(),
            synced_ring: None,
            held_back: VecDeque::new(),
            control: VecDeque::new(),
            pending: VecDeque::new(),
            gate_open: false,
            corked: false,
            left: false,
            taken_down: false,
            lives: BTreeMap::from([(me, config.incarnation)]),
            boots: BTreeMap::from([(me, (config.incarnation, config.boot_id))]),
            confirmed: BTreeMap::new(),
            rejected: Stats::default(),
            counts: Counts::default(),
            config,
        };
        node.tell_keys();
        node.settle(now);
        Ok(node)
    }

    /// A packet as received on `link`; it is opened in place.
    pub fn handle_packet(&mut self, now: Boottime, link: LinkId, packet: &mut [u8]) {
        self.turn(now);
        if !self.left {
            self.receive(now, link, packet);
        }
    }

    /// Timers that are due, and first of all the lease. The driver calls it first on every wake-up.
    pub fn handle_timeout(&mut self, now: Boottime) {
        self.turn(now);
        if self.left {
            return;
        }
        let silent = self.detector.silent(now);
        for (node, silent) in &silent {
            self.event(Event::Suspect { node: *node, why: "heartbeat", silent: *silent });
        }
        let mut silent: NodeSet = silent.into_iter().map(|(node, _)| node).collect();
        for (node, hint, span) in self.detector.mute(now) {
            self.event(Event::Suspect { node, why: hint.as_str(), silent: span });
            silent.insert(node);
        }
        self.ring.suspect(now, silent.as_slice(), Suspicion::Silent);
        if self.renew_at().is_some_and(|at| now >= at) {
            for node in self.quorum.lapsing().iter() {
                self.probe(now, node, Hint::EchoLate);
            }
        }
        self.links.handle_timeout(now);
        self.ring.handle_timeout(now);
        self.reconfig.handle_timeout(now);
        self.key_timers(now);
        self.reread_timer(now);
        self.settle(now);
        self.probe_links(now);
        self.probe_paths(now);
    }

    /// Something suggests that `node` is gone. It is asked, and suspected only if it does not answer.
    pub fn hint(&mut self, now: Boottime, node: NodeId, hint: Hint) {
        self.turn(now);
        if !self.left {
            self.probe(now, node, hint);
            self.settle(now);
        }
    }

    /// This machine says that a link carries nothing any more. Peers that no other link reaches are asked whether they
    /// are there.
    pub fn link_lost(&mut self, now: Boottime, link: LinkId, why: LinkLoss) {
        self.turn(now);
        if !self.left {
            self.links.lost(now, link, why);
            self.settle(now);
        }
    }

    /// `record` is durable.
    pub fn handle_persisted(&mut self, now: Boottime, record: &Record) {
        self.turn(now);
        if !self.left {
            self.ring.handle_persisted(now, record.ring_seq_reserved);
            if record.number >= self.promise_number {
                self.quorum.promised_mut().persisted();
            }
            self.tables_persisted(record);
            self.settle(now);
        }
    }

    /// Takes a request, or says why not.
    ///
    /// # Errors
    /// A [`Refusal`], to be told to the client.
    pub fn submit(&mut self, now: Boottime, request: Request<'_>) -> Result<(), Refusal> {
        if !self.corked {
            self.turn(now);
        }
        if self.left {
            return Err(Refusal::TryAgain);
        }
        let result = self.take(now, request);
        if !self.corked {
            self.ring.want_token(now);
            self.settle(now);
        }
        result
    }

    /// The requests up to [`Node::uncork`] come at one time and in one run, and are one input: outputs need not be
    /// drained between them.
    pub fn cork(&mut self, now: Boottime) {
        self.turn(now);
        self.corked = true;
    }

    /// The run of requests is over.
    pub fn uncork(&mut self, now: Boottime) {
        self.corked = false;
        if !self.left {
            self.ring.want_token(now);
            self.settle(now);
        }
    }

    /// Whether local clients do not keep up with what is delivered: then all members hold back.
    pub fn set_lagging(&mut self, now: Boottime, lagging: bool) {
        self.turn(now);
        if !self.left {
            self.ring.set_lagging(now, lagging);
            self.settle(now);
        }
    }

    /// The next thing to do, in order.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// The buffer of a packet that is out, to be used again. Nobody has to call it.
    pub fn give_back(&mut self, packet: Vec<u8>) {
        if self.spare.len() < SPARE_MAX {
            self.spare.push(packet);
        }
    }

    /// When [`Node::handle_timeout`] has something to do. May be in the past: then it is due.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Boottime> {
        if self.left {
            return None;
        }
        let quorum = self.quorum.next_timeout(self.now);
        let (ring, detector) = (self.ring.next_timeout(), Some(self.detector.next_timeout()));
        let renew = self.renew_at().filter(|at| self.now < *at);
        let (reconfig, keys, reread) =
            (self.reconfig.next_timeout(), self.key_timeout(), self.reread.next_timeout());
        let device = self.device.as_ref().and_then(device::Device::next_timeout);
        let absence = self.absence.next_timeout();
        [ring, detector, self.links.next_timeout(), quorum, reconfig, keys, reread, renew, device, absence]
            .into_iter()
            .flatten()
            .min()
    }

    /// When those whose echoes are missing are asked for them: so early that an answer still saves the lease, and that
    /// without one a node that hears nobody has formed its ring, and tells its clients the loss of quorum together with it.
    /// Never while half of the lease is left: then nothing is missing yet.
    fn renew_at(&self) -> Option<Boottime> {
        let (lease, end) = self.quorum.lease_end()?;
        let half = end - lease.scale(1, 2);
        if self.now < half {
            return Some(half);
        }
        let window = |node| self.detector.window(node, self.links.round_trip(node));
        let longest = self.quorum.lapsing().iter().map(window).max().unwrap_or_default();
        Some(half.max(end - longest.scale(9, 8)))
    }

    /// A gasp sealed in advance for the guardian, which sends the same bytes to every peer on every link.
    pub fn seal_gasp(&mut self, kind: GaspKind, why: &str) -> Vec<u8> {
        let gasp = Gasp { kind, incarnation: self.config.incarnation, why: why.to_owned() };
        self.sealer.seal(PacketKind::Gasp, ANY_LINK, &gasp.encode())
    }

    /// Gives up quorum for good, at once: the first thing to do when this node is to be taken down, so that its gasp
    /// may end its lease.
    pub fn resign(&mut self, now: Boottime, why: &str) {
        self.turn(now);
        self.quorum.resign(why);
        self.settle(now);
    }

    /// This node.
    #[must_use]
    pub fn me(&self) -> NodeId {
        self.config.me
    }

    /// The configuration it was made with.
    #[must_use]
    pub fn config(&self) -> &NodeConfig {
        &self.config
    }

    /// The ring installed last.
    #[must_use]
    pub fn ring_id(&self) -> RingId {
        self.ring_id
    }

    /// State of the ring as corosync names it: `OPERATIONAL`, `GATHER`, `COMMIT`, `RECOVERY`; or `LEFT`.
    #[must_use]
    pub fn ring_state(&self) -> &'static str {
        match self.ring.state() {
            ring::State::Gather => "GATHER",
            ring::State::Commit => "COMMIT",
            ring::State::Recovery => "RECOVERY",
            ring::State::Operational => "OPERATIONAL",
            ring::State::Left => "LEFT",
        }
    }

    /// Nodes that show themselves and are kept out of the ring because not all of it hears them. Ascending.
    #[must_use]
    pub fn held_out(&self) -> &[HeldOut] {
        self.ring.held_out()
    }

    /// Members of the configuration installed last, ascending.
    #[must_use]
    pub fn members(&self) -> &[NodeId] {
        &self.members
    }

    /// Whether the first synchronisation is complete: clients may be served.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        self.synced_ring.is_some()
    }

    /// Whether clients may multicast now: the last [`Output::Gate`].
    #[must_use]
    pub fn gate_open(&self) -> bool {
        self.gate_open
    }

    /// Votes and quorum as last told. Never quorate outside a lease that was valid at the last call with a time.
    #[must_use]
    pub fn quorum_view(&self) -> &QuorumView {
        self.quorum.view()
    }

    /// The node table in force, and the one that it is being changed to.
    #[must_use]
    pub fn tables(&self) -> &Tables {
        self.quorum.tables()
    }

    /// Whether echoes of enough votes are valid, whatever else keeps the node from being quorate.
    #[must_use]
    pub fn lease_valid(&self) -> bool {
        self.quorum.is_leased(self.now)
    }

    /// The last notice of the reconfiguration: the step that runs, or `end`.
    #[must_use]
    pub fn step(&self) -> Option<&StepNotice> {
        self.reconfig.notice()
    }

    /// The links to every peer.
    #[must_use]
    pub fn links(&self) -> &Links {
        &self.links
    }

    /// Counters.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let mut stats = self.ring.stats().clone();
        stats.packets_rejected += self.rejected.packets_rejected;
        for (all, here) in stats.rejected.iter_mut().zip(self.rejected.rejected) {
            *all += here;
        }
        stats
    }

    /// Ordered messages delivered, as corosync counts them.
    pub fn message_counts(&self) -> impl Iterator<Item = HandlerCount> {
        self.counts.all()
    }

    /// Has sealing and opening packets timed by a clock of nanoseconds; for [`Self::seal_times`] and nothing else.
    pub fn lend_clock(&mut self, clock: fn() -> u64) {
        self.sealer.lend_clock(clock);
        self.opener.lend_clock(clock);
    }

    /// Packets sealed, and packets opened.
    #[must_use]
    pub fn seal_times(&self) -> (SealTimes, SealTimes) {
        (self.sealer.times(), self.opener.times())
    }

    /// What the token takes, since start and lately.
    #[must_use]
    pub fn token_times(&self) -> TokenTimes {
        self.ring.token_times(self.now)
    }

    /// Whom the detector waits for, and how long it waits.
    pub fn watched(&self) -> impl Iterator<Item = Watched> + '_ {
        self.detector.watched(self.now)
    }

    /// The last changes of the ring, oldest first.
    pub fn ring_changes(&self) -> impl Iterator<Item = &RingChange> {
        self.ring.changes()
    }

    /// Percent of the send queue in use, 0 to 100.
    #[must_use]
    pub fn queue_level(&self) -> u8 {
        self.ring.queue_level()
    }

    /// Messages of this node that wait in the send queue, and how many more it takes (if they are small).
    #[must_use]
    pub fn queue_room(&self) -> (usize, usize) {
        self.ring.queue_room()
    }

    /// Snapshot of all process groups, by name; members by node, then pid.
    #[must_use]
    pub fn cpg_groups(&self) -> Vec<(GroupName, Vec<GroupMember>)> {
        self.cpg.snapshot()
    }

    /// Members of one group, by node, then pid; empty if there is no such group.
    #[must_use]
    pub fn cpg_members(&self, group: &[u8]) -> Vec<GroupMember> {
        self.cpg.members(group)
    }

    /// Highest incarnation of each node whose death is confirmed.
    #[must_use]
    pub fn confirmed(&self) -> &BTreeMap<NodeId, Incarnation> {
        &self.confirmed
    }

    /// Last known incarnation of each node, this one included.
    #[must_use]
    pub fn incarnations(&self) -> BTreeMap<NodeId, Incarnation> {
        self.lives.clone()
    }

    /// First thing in every turn: the lease, so that nothing is read, told or taken under one that has run out.
    fn turn(&mut self, now: Boottime) {
        self.now = self.now.max(now);
        if self.left {
            return;
        }
        self.quorum.update(now, &mut self.outputs);
        if let Some(gap) = self.detector.turn(now) {
            self.event(Event::Paused { gap });
        }
        if self.detector.is_late() {
            self.ring.listen_anew(now);
        }
        self.links.turn(now);
    }

    /// Carries on until nothing moves, then says what has changed.
    fn settle(&mut self, now: Boottime) {
        if self.links.take_rerouted() {
            // The token may have gone down with the link that it was sent on.
            self.ring.resend_token(now);
        }
        self.fit_frames(now);
        if self.detector.beat_due(now) {
            self.ring.release_quiet_token(now, now + self.config.settings.timers.heartbeat);
        }
        loop {
            self.carry_out(now);
            self.pursue_wish(now);
            self.say_reread(now);
            self.say_table();
            self.say_absent(now);
            self.say_ready(now);
            self.flush_queues(now);
            if let Some(output) = self.ring.poll_output() {
                self.handle_ring(now, output);
                continue;
            }
            self.tend_device(now);
            self.quorum.update(now, &mut self.outputs);
            let decided = self.reconfig.step() == Some(reconfig::QUORUM) && self.quorum.is_decided();
            if !(decided && self.reconfig.finished()) {
                break;
            }
        }
        self.review_table(now);
        self.persist(now, false);
        self.detector.watch(now, &self.ring.awaited());
        for node in self.links.take_cut_off().iter() {
            self.probe(now, node, Hint::LinksDown);
        }
        let asked = self.detector.probes_due(now);
        if !asked.is_empty() {
            self.send_heartbeat(now, asked.as_slice(), true);
        }
        if self.detector.beat_due(now) {
            self.send_heartbeat_to_members(now);
            self.detector.beat_sent(now);
        }
        while let Some(event) = self.links.poll_event() {
            self.event(event);
        }
        self.move_gate();
    }

    fn handle_ring(&mut self, now: Boottime, output: RingOutput) {
        match output {
            RingOutput::Send { to, urgent, frame } => {
                self.send_frame(to, urgent, &frame);
            }
            RingOutput::Deliver { sender, payload, .. } => self.deliver(now, sender, payload),
            RingOutput::Configuration(configuration) => self.install(now, configuration),
            RingOutput::Persist(seq) => {
                self.record.ring_seq_reserved = seq;
                self.persist(now, true);
            }
            RingOutput::Event(event) => {
                let late = matches!(event, Event::TokenLate { .. });
                self.event(event);
                for node in self.members.clone().into_iter().filter(|_| late) {
                    self.probe(now, node, Hint::TokenLate);
                }
            }
        }
    }

    fn install(&mut self, now: Boottime, configuration: Configuration) {
        if configuration.kind == ConfigurationKind::Transitional {
            self.quorum.transitional(&configuration.members);
            self.reconfig.leaving();
            self.carry_out(now);
            self.outputs.push_back(Output::Configuration(configuration));
            return;
        }
        // What was ordered in the old ring belongs to what was known there.
        self.drain_held_back(now, false);
        self.reconfig.leaving();
        self.carry_out(now);
        self.cpg.lost(&configuration.left);
        self.members.retain(|node| !configuration.left.contains(node));
        self.quorum.transitional(&self.members);
        self.ring_id = configuration.ring;
        self.members.clone_from(&configuration.members);
        self.outputs.push_back(Output::Configuration(configuration));
        self.control.clear();
        self.changes = Changes::default();
        self.reread_in_new_ring(now);
        self.detector.install(now, self.ring_id, &self.members);
        self.quorum.installed(self.ring_id, &self.members);
        self.reconfig.install(now, self.ring_id, &self.members);
        self.review_keys(now);
        self.carry_out(now);
    }

    /// Asks for a record if there is something new to be in it.
    fn persist(&mut self, now: Boottime, new: bool) {
        let promised = self.quorum.promised_mut().to_persist(now);
        let seen = self.quorum.expected_seen();
        let more = std::mem::replace(&mut self.record.expected_seen, seen) != seen;
        let new = self.tables_to_persist() || new || more;
        if new || promised.is_some() {
            self.record.number += 1;
            if let Some(promised) = promised {
                (self.record.promised, self.promise_number) = (promised, self.record.number);
            }
            self.outputs.push_back(Output::Persist(self.record.clone()));
        }
    }

    /// Tells and does what the reconfiguration wants.
    fn carry_out(&mut self, now: Boottime) {
        loop {
            self.outputs.extend(self.reconfig.take_outputs());
            let actions = self.reconfig.take_actions();
            if actions.is_empty() {
                return;
            }
            for action in actions {
                match action {
                    Action::Send(message) => {
                        self.control.push_back((self.ring_id, Guarantee::Agreed, message));
                    }
                    Action::SendState { round, epoch } => {
                        let message = Message::State(self.state(now, round, epoch)).encode();
                        // Safe: where the exchange completes on one member, every member has all states and completes
                        // it too, in this ring or on leaving it.
                        self.control.push_back((self.ring_id, Guarantee::Safe, message));
                    }
                    Action::Synchronise(states) => {
                        self.synchronise(now, &states);
                        self.reconfig.exchanged(now);
                    }
                    Action::Decide => self.quorum.decide(now),
                }
            }
        }
    }

    fn event(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    /// What this node brings into the exchange of the current ring.
    fn state(&self, now: Boottime, round: u32, epoch: holdfast_types::Epoch) -> State {
        let mut state = State {
            ring: self.ring_id,
            round,
            epoch,
            incarnation: self.config.incarnation,
            boot_id: self.config.boot_id,
            previous: self.synced_ring.unwrap_or(self.ring_id),
            confirmed: self.confirmed.iter().map(|(node, life)| (*node, *life)).collect(),
            lives: self.boots.iter().map(|(node, (life, boot))| (*node, *life, *boot)).collect(),
            joined: self.cpg.local(),
            participates: self.reconfig.participates(),
            file: self.files.digest(),
            ..State::default()
        };
        self.quorum.state(&self.members, now, &mut state);
        state
    }
}

fn check(config: &NodeConfig) -> Result<(), ConfigError> {
    if config.quorum.expected_votes == Some(holdfast_types::Votes::new(0)) {
        return Err(ConfigError::Quorum("expected votes must not be 0"));
    }
    config.table().check().map_err(ConfigError::Nodes)?;
    if config.table().votes(config.me).is_none() {
        return Err(ConfigError::NotInList(config.me));
    }
    config.links.check().map_err(ConfigError::Links)?;
    config.settings.check().map_err(ConfigError::Timers)?;
    if let Some(device) = config.quorum.device {
        device.check().map_err(ConfigError::Device)?;
        if config.nodes.iter().any(|n| n.id.get() > u32::from(cmm_qdisk::SLOTS_MAX)) {
            return Err(ConfigError::Device("a disk has room for node ids 1 to 64"));
        }
        if config.quorum.two_node {
            return Err(ConfigError::Device("two_node makes both halves quorate, whoever has its vote"));
        }
    }
    Ok(())
}

/// Buffers of packets kept for the next ones: those of a turn.
const SPARE_MAX: usize = 1_024;

/// Only beats belong to a link; what else is sealed may go over several.
const ANY_LINK: LinkId = LinkId::new(0);
