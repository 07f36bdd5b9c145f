//! A deterministic network of rings: virtual time, loss, duplication, reordering, cuts, pauses, crashes, and a log of
//! what each node was told, which [`check`] holds against the invariants of extended virtual synchrony.

mod check;
mod delivery;
mod membership;
mod reach;
mod seeds;

use std::collections::{BTreeMap, BTreeSet};

use holdfast_types::{Boottime, Incarnation, NodeId, RingId, Span, Votes};

use super::{Ring, RingConfig, RingOutput, State, Suspicion};
use crate::wire::{FRAME_MAX, FrameKind};
use crate::{Configuration, ConfigurationKind, Destination, Event, Guarantee, NodeEntry, Settings, Timers};

/// splitmix64.
#[derive(Clone, Debug)]
pub(super) struct Rng(u64);

impl Rng {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x1234_5678_9abc_def0)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    pub(super) fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }

    /// True `share` times of a thousand.
    pub(super) fn chance(&mut self, share: u64) -> bool {
        self.below(1000) < share
    }
}

/// What the network does to packets.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Faults {
    /// Of a thousand.
    pub(super) loss: u64,
    /// Of a thousand.
    pub(super) double: u64,
    /// Of a thousand: delayed by up to `late`.
    pub(super) stray: u64,
    pub(super) late: Span,
    /// Loses only frames of this kind.
    pub(super) only: Option<FrameKind>,
}

/// A message: who submitted it, in which life, its number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct MsgId {
    pub(super) node: u32,
    pub(super) life: u64,
    pub(super) number: u32,
}

/// What a node was told, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// A life begins.
    Start(u64),
    /// A life ends: crash or leave.
    End,
    Submit(MsgId, Guarantee),
    Deliver(RingId, NodeId, MsgId),
    Config(Configuration),
}

pub(super) struct TestNode {
    pub(super) id: NodeId,
    pub(super) ring: Option<Ring>,
    pub(super) life: u64,
    pub(super) disk: u64,
    submitted: u32,
    paused_until: Option<Boottime>,
    /// When each member was heard last, whom this node suspects, and in which ring: a plain detector.
    heard: BTreeMap<NodeId, Boottime>,
    suspected: BTreeSet<NodeId>,
    watched: RingId,
    pub(super) told: Vec<Told>,
    pub(super) events: Vec<Event>,
}

enum Happening {
    Packet {
        from: NodeId,
        to: NodeId,
        frame: Vec<u8>,
    },
    Persisted {
        node: NodeId,
        life: u64,
        seq: u64,
    },
    /// A heartbeat is due.
    Beat {
        node: NodeId,
        life: u64,
    },
    /// A heartbeat arrives.
    Heard {
        from: NodeId,
        to: NodeId,
    },
}

pub(super) struct Net {
    pub(super) now: Boottime,
    pub(super) rng: Rng,
    pub(super) faults: Faults,
    pub(super) nodes: Vec<TestNode>,
    /// Directed cuts.
    pub(super) cuts: BTreeSet<(NodeId, NodeId)>,
    pub(super) timers: Timers,
    pub(super) frame_payload_max: usize,
    pub(super) window_frames: u32,
    pub(super) persist_delay: Span,
    /// Nodes that start from now on send heartbeats, and suspect members whose heartbeats cease.
    pub(super) beats: bool,
    happenings: BTreeMap<(Boottime, u64), Happening>,
    serial: u64,
    guarantees: BTreeMap<MsgId, Guarantee>,
    /// Packets sent, by kind.
    pub(super) sent: BTreeMap<FrameKind, u64>,
    /// Drops what it says `true` to.
    pub(super) veto: Option<Veto>,
    /// All packets sent, if somebody wants them.
    pub(super) tape: Option<Vec<(NodeId, NodeId, Vec<u8>)>>,
}

/// Whether to drop a frame from one node to another.
pub(super) type Veto = Box<dyn FnMut(u32, u32, &[u8]) -> bool>;

pub(super) fn id(n: u32) -> NodeId {
    NodeId::new(n)
}

pub(super) fn ids(ns: &[u32]) -> Vec<NodeId> {
    ns.iter().map(|n| id(*n)).collect()
}

impl Net {
    /// `nodes` nodes, not started, with a token timeout of 100 ms and packets that take 100 to 200 µs.
    pub(super) fn new(nodes: u32, seed: u64) -> Self {
        let node = |n| TestNode {
            id: id(n),
            ring: None,
            life: 0,
            disk: 0,
            submitted: 0,
            paused_until: None,
            heard: BTreeMap::new(),
            suspected: BTreeSet::new(),
            watched: RingId::default(),
            told: Vec::new(),
            events: Vec::new(),
        };
        Self {
            now: Boottime::from_nanos(1_000_000_000),
            rng: Rng::new(seed),
            faults: Faults::default(),
            nodes: (1..=nodes).map(node).collect(),
            cuts: BTreeSet::new(),
            timers: Timers::from_token(Span::from_millis(100)),
            frame_payload_max: 100,
            window_frames: 50,
            persist_delay: Span::from_millis(2),
            beats: false,
            happenings: BTreeMap::new(),
            serial: 0,
            guarantees: BTreeMap::new(),
            sent: BTreeMap::new(),
            veto: None,
            tape: None,
        }
    }

    /// All started and one ring.
    pub(super) fn formed(nodes: u32, seed: u64) -> Self {
        let mut net = Self::new(nodes, seed);
        for n in 1..=nodes {
            net.start(n);
        }
        net.until_formed(&(1..=nodes).collect::<Vec<_>>());
        net
    }

    pub(super) fn node(&self, n: u32) -> &TestNode {
        &self.nodes[n as usize - 1]
    }

    fn node_mut(&mut self, n: NodeId) -> &mut TestNode {
        &mut self.nodes[n.get() as usize - 1]
    }

    pub(super) fn ring(&self, n: u32) -> &Ring {
        self.node(n).ring.as_ref().expect("it runs")
    }

    pub(super) fn start(&mut self, n: u32) {
        let entry = |n: &TestNode| NodeEntry { id: n.id, votes: Votes::new(1) };
        let (now, nodes) = (self.now, self.nodes.iter().map(entry).collect());
        let (timers, window_frames, frame_payload_max) =
            (self.timers, self.window_frames, self.frame_payload_max);
        let node = self.node_mut(id(n));
        assert!(node.ring.is_none());
        node.life += 1;
        node.submitted = 0;
        node.paused_until = None;
        let config = RingConfig {
            me: node.id,
            nodes,
            incarnation: Incarnation::new(node.life),
            settings: Settings { timers, window_frames, frames_per_visit: 17, quorum: None },
            frame_payload_max,
            ring_seq_reserved: node.disk,
        };
        node.told.push(Told::Start(node.life));
        node.ring = Some(Ring::new(config, now));
        let life = node.life;
        if self.beats {
            self.schedule(now, Happening::Beat { node: id(n), life });
        }
        self.drain(id(n));
    }

    pub(super) fn crash(&mut self, n: u32) {
        let node = self.node_mut(id(n));
        if node.ring.take().is_some() {
            node.told.push(Told::End);
        }
    }

    pub(super) fn leave(&mut self, n: u32) {
        let now = self.now;
        if let Some(ring) = &mut self.node_mut(id(n)).ring {
            ring.leave(now);
            self.drain(id(n));
            self.crash(n);
        }
    }

    pub(super) fn pause(&mut self, n: u32, span: Span) {
        let until = self.now + span;
        self.node_mut(id(n)).paused_until = Some(until);
    }

    pub(super) fn suspect(&mut self, n: u32, peer: u32) {
        let now = self.now;
        if let Some(ring) = &mut self.node_mut(id(n)).ring {
            ring.suspect(now, &[id(peer)], Suspicion::Gone);
            self.drain(id(n));
        }
    }

    /// Says whether the clients of `n` keep up.
    pub(super) fn set_lagging(&mut self, n: u32, lagging: bool) {
        let now = self.now;
        if let Some(ring) = &mut self.node_mut(id(n)).ring {
            ring.set_lagging(now, lagging);
            self.drain(id(n));
        }
    }

    /// Submits a message of `len` bytes at least; `None` if it was refused or the node is down.
    pub(super) fn submit(&mut self, n: u32, guarantee: Guarantee, len: usize) -> Option<MsgId> {
        let now = self.now;
        let node = self.node_mut(id(n));
        let msg = MsgId { node: n, life: node.life, number: node.submitted + 1 };
        let payload = payload(msg, len);
        node.ring.as_mut()?.submit(now, guarantee, &payload).ok()?;
        node.submitted += 1;
        // The submission comes before what it causes.
        node.told.push(Told::Submit(msg, guarantee));
        self.guarantees.insert(msg, guarantee);
        self.drain(id(n));
        Some(msg)
    }

    /// Hands a node a frame as if `from` had sent it.
    pub(super) fn inject(&mut self, from: u32, to: u32, frame: &[u8]) {
        let now = self.now;
        if let Some(ring) = &mut self.node_mut(id(to)).ring {
            ring.handle_frame(now, id(from), frame);
            self.drain(id(to));
        }
    }

    pub(super) fn cut_both(&mut self, a: &[u32], b: &[u32]) {
        for x in a {
            for y in b {
                self.cuts.insert((id(*x), id(*y)));
                self.cuts.insert((id(*y), id(*x)));
            }
        }
    }

    /// Handles everything up to `span` from now.
    pub(super) fn run(&mut self, span: Span) {
        let end = self.now + span;
        while self.step(end) {}
        self.now = end;
    }

    /// Runs until `done`, at most for 60 virtual seconds.
    ///
    /// # Panics
    /// With a picture of all nodes if it never is.
    pub(super) fn until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        let end = self.now + Span::from_secs(60);
        while !done(self) {
            if !self.step(end) {
                panic!("never: {what}\n{}", self.picture());
            }
        }
    }

    pub(super) fn until_formed(&mut self, members: &[u32]) {
        let expected = ids(members);
        let formed = |net: &Self| {
            members.iter().all(|n| {
                let ring = net.node(*n).ring.as_ref();
                ring.is_some_and(|r| {
                    r.state() == State::Operational
                        && r.members() == expected
                        && r.ring_id() == net.ring(members[0]).ring_id()
                })
            })
        };
        self.until(&format!("one ring of {members:?}"), formed);
    }

    pub(super) fn picture(&self) -> String {
        let line = |n: &TestNode| match &n.ring {
            None => format!("{}: down", n.id),
            Some(r) => format!(
                "{}: {:?} {} {:?} proc {:?} failed {:?} queue {}%",
                n.id,
                r.state(),
                r.ring_id(),
                r.members(),
                r.gather.proc,
                r.gather.failed,
                r.queue_level()
            ),
        };
        self.nodes.iter().map(line).collect::<Vec<_>>().join("\n")
    }

    /// Handles the next thing that happens, if it is not after `end`.
    pub(super) fn step(&mut self, end: Boottime) -> bool {
        let packet = self.happenings.keys().next().map(|(at, _)| *at);
        let timer = self
            .nodes
            .iter()
            .filter_map(|n| {
                let at = n.ring.as_ref()?.next_timeout()?;
                Some((at.max(n.paused_until.unwrap_or(at)), n.id))
            })
            .min();
        match (packet, timer) {
            (None, None) => false,
            (packet, Some((at, node))) if packet.is_none_or(|p| at <= p) => {
                if at > end {
                    return false;
                }
                self.now = self.now.max(at);
                self.wake(node);
                true
            }
            (packet, _) => {
                let at = packet.expect("there is no timer before it");
                if at > end {
                    return false;
                }
                self.now = self.now.max(at);
                let (_, happening) = self.happenings.pop_first().expect("it was seen");
                self.happen(happening);
                true
            }
        }
    }

    fn wake(&mut self, node: NodeId) {
        let now = self.now;
        let n = self.node_mut(node);
        let paused = n.paused_until.take().is_some();
        if let Some(ring) = &mut n.ring {
            if paused {
                ring.listen_anew(now);
            }
            ring.handle_timeout(now);
            self.drain(node);
        }
    }

    fn happen(&mut self, happening: Happening) {
        let now = self.now;
        match happening {
            Happening::Packet { from, to, frame } => {
                let node = self.node_mut(to);
                if let Some(until) = node.paused_until {
                    if until > now {
                        self.schedule(until, Happening::Packet { from, to, frame });
                        return;
                    }
                    self.wake(to);
                }
                if let Some(ring) = &mut self.node_mut(to).ring {
                    ring.handle_frame(now, from, &frame);
                    self.drain(to);
                }
            }
            Happening::Beat { node, life } => self.beat(node, life),
            Happening::Heard { from, to } => {
                let node = self.node_mut(to);
                node.heard.insert(from, now);
                if let Some(ring) = &mut node.ring {
                    ring.heard(now, from);
                }
            }
            Happening::Persisted { node, life, seq } => {
                let n = self.node_mut(node);
                if n.life != life || n.ring.is_none() {
                    return; // The machine went down before the write was complete.
                }
                n.disk = n.disk.max(seq);
                if let Some(ring) = &mut n.ring {
                    ring.handle_persisted(now, seq);
                    self.drain(node);
                }
            }
        }
    }

    /// Sends a heartbeat to every member, and suspects those that were not heard for the limit.
    fn beat(&mut self, node: NodeId, life: u64) {
        let (now, timers) = (self.now, self.timers);
        let n = self.node_mut(node);
        let Some(ring) = n.ring.as_mut().filter(|_| n.life == life) else { return };
        let next = n.paused_until.unwrap_or(now).max(now + timers.heartbeat);
        let awake = n.paused_until.is_none_or(|until| until <= now);
        let members: Vec<NodeId> = ring.members().iter().copied().filter(|m| *m != node).collect();
        if n.watched != ring.ring_id() || !awake {
            n.watched = ring.ring_id();
            n.suspected.clear();
            n.heard = members.iter().map(|m| (*m, now)).collect();
        }
        if awake {
            let silent = |m: &NodeId| now.since(n.heard[m]) > timers.heartbeat_limit;
            let silent: Vec<NodeId> = members.iter().copied().filter(silent).collect();
            let news: Vec<NodeId> = silent.into_iter().filter(|m| n.suspected.insert(*m)).collect();
            ring.suspect(now, &news, Suspicion::Silent);
            self.drain(node);
            for to in members {
                if !self.cuts.contains(&(node, to)) && !self.rng.chance(self.faults.loss) {
                    let at = self.now + Span::from_micros(100 + self.rng.below(100));
                    self.schedule(at, Happening::Heard { from: node, to });
                }
            }
        }
        self.schedule(next, Happening::Beat { node, life });
    }

    fn schedule(&mut self, at: Boottime, happening: Happening) {
        self.serial += 1;
        self.happenings.insert((at, self.serial), happening);
    }

    fn drain(&mut self, node: NodeId) {
        let mut urgent = Vec::new();
        let mut data = Vec::new();
        while let Some(output) = self.node_mut(node).ring.as_mut().and_then(Ring::poll_output) {
            match output {
                RingOutput::Send { to, urgent: first, frame } => {
                    assert!(frame.len() <= FRAME_MAX);
                    if first { &mut urgent } else { &mut data }.push((to, frame));
                }
                RingOutput::Deliver { ring, sender, payload } => {
                    let msg = parse(&payload);
                    self.node_mut(node).told.push(Told::Deliver(ring, sender, msg));
                }
                RingOutput::Configuration(c) => self.node_mut(node).told.push(Told::Config(c)),
                RingOutput::Persist(seq) => {
                    let life = self.node_mut(node).life;
                    let at = self.now + self.persist_delay;
                    self.schedule(at, Happening::Persisted { node, life, seq });
                }
                RingOutput::Event(event) => self.node_mut(node).events.push(event),
            }
        }
        for (to, frame) in urgent.into_iter().chain(data) {
            self.transmit(node, to, &frame);
        }
    }

    fn transmit(&mut self, from: NodeId, to: Destination, frame: &[u8]) {
        let kind = FrameKind::of(frame).expect("a ring sends frames");
        let targets: Vec<NodeId> = match to {
            Destination::Node(to) => vec![to],
            Destination::AllPeers => self.nodes.iter().map(|n| n.id).filter(|n| *n != from).collect(),
        };
        for to in targets {
            *self.sent.entry(kind).or_default() += 1;
            if let Some(tape) = &mut self.tape {
                tape.push((from, to, frame.to_vec()));
            }
            if self.veto.as_mut().is_some_and(|veto| veto(from.get(), to.get(), frame)) {
                continue;
            }
            let faulty = self.faults.only.is_none_or(|only| only == kind);
            if self.cuts.contains(&(from, to)) || faulty && self.rng.chance(self.faults.loss) {
                continue;
            }
            let copies = if self.rng.chance(self.faults.double) { 2 } else { 1 };
            for _ in 0..copies {
                let mut at = self.now + Span::from_micros(100 + self.rng.below(100));
                if self.rng.chance(self.faults.stray) {
                    at = at + Span::from_nanos(self.rng.below(self.faults.late.as_nanos()));
                }
                self.schedule(at, Happening::Packet { from, to, frame: frame.to_vec() });
            }
        }
    }

    /// Regular configurations of one node, in order.
    pub(super) fn configurations(&self, n: u32) -> Vec<&Configuration> {
        let told = self.node(n).told.iter();
        told.filter_map(|told| match told {
            Told::Config(c) if c.kind == ConfigurationKind::Regular => Some(c),
            _ => None,
        })
        .collect()
    }

    /// Messages delivered at one node, in order, of all its lives.
    pub(super) fn delivered(&self, n: u32) -> Vec<MsgId> {
        let msg = |told: &Told| match told {
            Told::Deliver(_, _, msg) => Some(*msg),
            _ => None,
        };
        self.node(n).told.iter().filter_map(msg).collect()
    }
}

/// Who, which one, and a tail that every byte of can be told wrong.
fn payload(msg: MsgId, len: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(len.max(16));
    out.extend(msg.node.to_le_bytes());
    out.extend(msg.life.to_le_bytes());
    out.extend(msg.number.to_le_bytes());
    while out.len() < len {
        out.push((out.len() as u32 ^ msg.number ^ msg.node << 4) as u8);
    }
    out
}

fn parse(bytes: &[u8]) -> MsgId {
    let msg = MsgId {
        node: u32::from_le_bytes(bytes[..4].try_into().unwrap()),
        life: u64::from_le_bytes(bytes[4..12].try_into().unwrap()),
        number: u32::from_le_bytes(bytes[12..16].try_into().unwrap()),
    };
    assert_eq!(bytes, payload(msg, bytes.len()), "M4: unaltered");
    msg
}
