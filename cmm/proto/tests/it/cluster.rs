//! A small cluster in memory: one clock, a fixed delay, links that are cut by hand, and a record of what each node told
//! its driver.

use std::collections::{BTreeMap, BTreeSet};

use cmm_proto::{
    Configuration, ConfigurationKind, CpgEvent, Destination, Event, GaspKind, GroupMember, GroupReason,
    LinkMode, LinksConfig, Node, NodeConfig, NodeEntry, Output, QuorumConfig, Record, Refusal, Request,
    Settings, StepPhase, Timers, wire::ClusterKey,
};
use holdfast_types::{
    BootId, Boottime, ConnId, Epoch, Incarnation, LinkId, LinkSet, NodeId, Span, StepNumber, Votes,
};

pub(crate) const PLAIN: QuorumConfig =
    QuorumConfig { expected_votes: None, two_node: false, wait_for_all: false, device: None };

fn seal_gasps(node: &mut Node) -> Vec<Vec<u8>> {
    [GaspKind::CmmdDied, GaspKind::LastWord].iter().map(|kind| node.seal_gasp(*kind, "cmmd died")).collect()
}

/// How long a packet takes.
const DELAY: Span = Span::from_micros(200);
/// How long it takes to make something durable.
const PERSIST_DELAY: Span = Span::from_millis(2);

pub(crate) fn node(id: u32) -> NodeId {
    NodeId::new(id)
}

pub(crate) fn conn(id: u64) -> ConnId {
    ConnId::new(id)
}

pub(crate) fn ids(list: &[u32]) -> Vec<NodeId> {
    list.iter().map(|id| node(*id)).collect()
}

/// Something a node told its driver, with the time.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub(crate) at: Boottime,
    pub(crate) output: Output,
}

pub(crate) struct Cluster {
    pub(crate) now: Boottime,
    pub(crate) nodes: BTreeMap<u32, Member>,
    options: QuorumConfig,
    timers: Timers,
    agenda: BTreeMap<(Boottime, u64), Due>,
    seq: u64,
    cut: BTreeSet<(u32, u32)>,
    /// From, to, link.
    cut_links: BTreeSet<(u32, u32, u8)>,
    /// Longer packets get lost on the way.
    pub(crate) path: usize,
    /// Longer packets are not sent, if they may not be cut up.
    pub(crate) interface: usize,
}

/// One machine: the node if it runs, and what survives it.
pub(crate) struct Member {
    node: Option<Node>,
    config: NodeConfig,
    /// What its key file holds; `None`: it cannot be read.
    pub(crate) file: Option<ClusterKey>,
    durable: u64,
    promised: Span,
    pub(crate) told: Vec<Told>,
    paused: bool,
    queue: Vec<(LinkId, Vec<u8>)>,
    last_gasps: Vec<Vec<u8>>,
}

enum Due {
    Packet { to: u32, life: Incarnation, link: LinkId, bytes: Vec<u8> },
    Persisted { node: u32, life: Incarnation, record: Box<Record> },
    Key { node: u32, life: Incarnation },
}

impl Cluster {
    /// `nodes` nodes with one vote each, all started, nothing agreed yet.
    pub(crate) fn new(nodes: u32, options: QuorumConfig) -> Self {
        Self::with_links(nodes, options, LinksConfig::equal(1, LinkMode::Passive))
    }

    /// The same with several links.
    pub(crate) fn with_links(nodes: u32, options: QuorumConfig, links: LinksConfig) -> Self {
        Self::with_timers(nodes, options, links, Timers::from_token(Span::from_millis(1_000)))
    }

    /// The same with other timers.
    pub(crate) fn with_timers(nodes: u32, options: QuorumConfig, links: LinksConfig, timers: Timers) -> Self {
        let mut cluster = Self {
            now: Boottime::from_nanos(5_000_000_000),
            nodes: BTreeMap::new(),
            options,
            timers,
            agenda: BTreeMap::new(),
            seq: 0,
            cut: BTreeSet::new(),
            cut_links: BTreeSet::new(),
            path: usize::MAX,
            interface: usize::MAX,
        };
        for id in 1..=nodes {
            let config = NodeConfig {
                cluster_name: "it".into(),
                me: node(id),
                nodes: (1..=nodes).map(|n| NodeEntry { id: node(n), votes: Votes::new(1) }).collect(),
                key: ClusterKey::new([7; 32]),
                incarnation: Incarnation::new(0),
                boot_id: BootId([id as u8; 16]),
                ring_seq_reserved: 0,
                promised: Span::ZERO,
                tables: None,
                settings: Settings { timers, window_frames: 50, frames_per_visit: 17, quorum: None },
                quorum: cluster.options,
                tie_break: cmm_proto::TieBreak::Off,
                expected_seen: None,
                links: links.clone(),
            };
            let member = Member {
                node: None,
                file: Some(config.key.clone()),
                config,
                durable: 0,
                promised: Span::ZERO,
                told: Vec::new(),
                paused: false,
                queue: Vec::new(),
                last_gasps: Vec::new(),
            };
            cluster.nodes.insert(id, member);
        }
        for id in 1..=nodes {
            cluster.start(id);
        }
        cluster
    }

    /// All nodes together, quorate, all steps done, and what earlier lives may have promised is over.
    pub(crate) fn formed(nodes: u32) -> Self {
        Self::formed_with(nodes, LinksConfig::equal(1, LinkMode::Passive))
    }

    /// The same with several links.
    pub(crate) fn formed_with(nodes: u32, links: LinksConfig) -> Self {
        let mut cluster = Self::with_links(nodes, PLAIN, links);
        let all: Vec<u32> = (1..=nodes).collect();
        cluster.until("forms", |c| c.settled(&all) && all.iter().all(|id| c.quorate(*id)));
        cluster.run(Span::from_secs(1));
        cluster.forget();
        cluster
    }

    pub(crate) fn timers(&self) -> &Timers {
        &self.timers
    }

    /// A new life, on the same boot.
    pub(crate) fn start(&mut self, id: u32) {
        let member = self.nodes.get_mut(&id).expect("a configured node");
        assert!(member.node.is_none(), "one life at a time");
        member.config.incarnation = Incarnation::new(member.config.incarnation.get() + 1);
        (member.config.ring_seq_reserved, member.config.promised) = (member.durable, member.promised);
        member.config.key = member.file.clone().expect("a node does not start without its key");
        let mut node = Node::new(member.config.clone(), self.now).expect("a sane configuration");
        member.last_gasps = seal_gasps(&mut node);
        member.node = Some(node);
        self.drain(id);
    }

    /// The same, after the machine was booted again.
    pub(crate) fn boot(&mut self, id: u32) {
        let member = self.nodes.get_mut(&id).expect("a configured node");
        member.config.boot_id.0[15] += 1;
        self.start(id);
    }

    /// The process is gone, and nobody says so.
    pub(crate) fn kill(&mut self, id: u32) {
        let member = self.nodes.get_mut(&id).expect("a configured node");
        (member.node, member.paused) = (None, false);
        member.queue.clear();
    }

    /// The process is gone, and its guardian says so; with `last_word`, that all of its process tree is gone too.
    pub(crate) fn kill_with_gasp(&mut self, id: u32, last_word: bool) {
        self.kill(id);
        let gasps = self.nodes[&id].last_gasps.clone();
        for gasp in &gasps[..1 + usize::from(last_word)] {
            self.send(id, Destination::AllPeers, LinkSet::of(LinkId::new(0)), gasp);
        }
    }

    /// A packet made up by a test.
    pub(crate) fn inject(&mut self, to: u32, mut bytes: Vec<u8>) {
        let now = self.now;
        self.act(to, |n| n.handle_packet(now, LinkId::new(0), &mut bytes));
    }

    pub(crate) fn gasp_of(&self, id: u32) -> Vec<u8> {
        self.nodes[&id].last_gasps[0].clone()
    }

    /// The process stands still: its packets queue.
    pub(crate) fn pause(&mut self, id: u32) {
        self.nodes.get_mut(&id).expect("a configured node").paused = true;
    }

    /// It runs again: first its timers, then what has queued.
    pub(crate) fn resume(&mut self, id: u32) {
        let member = self.nodes.get_mut(&id).expect("a configured node");
        member.paused = false;
        let queue = std::mem::take(&mut member.queue);
        let now = self.now;
        self.act(id, |n| n.handle_timeout(now));
        for (link, mut packet) in queue {
            self.act(id, |n| n.handle_packet(now, link, &mut packet));
        }
    }

    /// No packet passes between the two sides, either way.
    pub(crate) fn cut(&mut self, one: &[u32], other: &[u32]) {
        for a in one {
            for b in other {
                self.cut.extend([(*a, *b), (*b, *a)]);
            }
        }
    }

    /// No packet passes from `from` to `to`.
    pub(crate) fn cut_one_way(&mut self, from: u32, to: u32) {
        self.cut.insert((from, to));
    }

    /// No packet passes on this link from `from` to `to`.
    pub(crate) fn cut_link_one_way(&mut self, link: u8, from: u32, to: u32) {
        self.cut_links.insert((from, to, link));
    }

    /// No packet passes on this link.
    pub(crate) fn cut_link(&mut self, link: u8) {
        let nodes: Vec<u32> = self.nodes.keys().copied().collect();
        let pairs = nodes.iter().flat_map(|a| nodes.iter().map(move |b| (*a, *b, link)));
        self.cut_links.extend(pairs);
    }

    pub(crate) fn heal(&mut self) {
        self.cut.clear();
        self.cut_links.clear();
    }

    pub(crate) fn node(&self, id: u32) -> &Node {
        self.nodes[&id].node.as_ref().expect("it runs")
    }

    pub(crate) fn runs(&self, id: u32) -> bool {
        self.nodes[&id].node.is_some()
    }

    pub(crate) fn quorate(&self, id: u32) -> bool {
        self.node(id).quorum_view().quorate
    }

    pub(crate) fn submit(&mut self, id: u32, request: Request<'_>) -> Result<(), Refusal> {
        let now = self.now;
        let mut result = Ok(());
        self.act(id, |n| result = n.submit(now, request));
        result
    }

    pub(crate) fn join(&mut self, id: u32, conn: u64, pid: u32, group: &[u8]) {
        let request = Request::CpgJoin { conn: self::conn(conn), pid, group };
        self.submit(id, request).expect("the gate is open");
    }

    /// Calls a node and carries out what it wants.
    pub(crate) fn act(&mut self, id: u32, act: impl FnOnce(&mut Node)) {
        if let Some(node) = self.nodes.get_mut(&id).and_then(|m| m.node.as_mut()) {
            act(node);
            self.drain(id);
        }
    }

    fn drain(&mut self, id: u32) {
        while let Some(output) = self.nodes.get_mut(&id).and_then(|m| m.node.as_mut()?.poll_output()) {
            let life = self.nodes[&id].config.incarnation;
            match &output {
                Output::Transmit { to, links, packet, .. } => {
                    self.send(id, *to, *links, packet);
                    continue;
                }
                Output::Probe { to, link, packet } if packet.len() > self.interface => {
                    let (to, link, len, now) = (*to, *link, packet.len(), self.now);
                    if let Some(node) = self.nodes.get_mut(&id).and_then(|m| m.node.as_mut()) {
                        node.handle_too_long(now, to, link, len);
                    }
                    continue;
                }
                Output::Probe { to, link, packet } => {
                    self.send(id, Destination::Node(*to), LinkSet::of(*link), packet);
                    continue;
                }
                Output::Persist(record) => {
                    let due = Due::Persisted { node: id, life, record: Box::new(record.clone()) };
                    self.put(self.now + PERSIST_DELAY, due);
                }
                Output::LoadKey => self.put(self.now + PERSIST_DELAY, Due::Key { node: id, life }),
                Output::SealGasps => {
                    let member = self.nodes.get_mut(&id).expect("a configured node");
                    member.last_gasps = member.node.as_mut().map_or_else(Vec::new, seal_gasps);
                }
                _ => {}
            }
            let member = self.nodes.get_mut(&id).expect("a configured node");
            let left = matches!(output, Output::Left);
            member.told.push(Told { at: self.now, output });
            if left {
                member.node = None;
            }
        }
    }

    fn send(&mut self, from: u32, to: Destination, links: LinkSet, packet: &[u8]) {
        assert!(!links.is_empty(), "a packet for nowhere");
        let mut receivers: Vec<u32> = match to {
            Destination::Node(id) => vec![id.get()],
            Destination::AllPeers => self.nodes.keys().copied().filter(|id| *id != from).collect(),
        };
        receivers.retain(|to| !self.cut.contains(&(from, *to)) && packet.len() <= self.path);
        for to in receivers {
            let life = self.nodes[&to].config.incarnation;
            for link in
                links.iter().filter(|l| !self.cut_links.contains(&(from, to, l.get()))).collect::<Vec<_>>()
            {
                self.put(self.now + DELAY, Due::Packet { to, life, link, bytes: packet.to_vec() });
            }
        }
    }

    fn put(&mut self, at: Boottime, due: Due) {
        self.seq += 1;
        self.agenda.insert((at, self.seq), due);
    }

    /// The next thing that happens.
    fn step(&mut self) {
        let timer = self
            .nodes
            .iter()
            .filter(|(_, m)| !m.paused)
            .filter_map(|(id, m)| Some((m.node.as_ref()?.next_timeout()?.max(self.now), *id)))
            .min();
        let due = self.agenda.first_key_value().map(|((at, _), _)| *at);
        match (timer, due) {
            (Some((at, id)), due) if due.is_none_or(|due| at < due) => {
                self.now = at;
                self.act(id, |n| n.handle_timeout(at));
            }
            (_, Some(_)) => {
                let ((at, _), due) = self.agenda.pop_first().expect("it is there");
                self.now = at;
                self.happen(due);
            }
            _ => panic!("nothing will ever happen again"),
        }
    }

    fn happen(&mut self, due: Due) {
        let now = self.now;
        match due {
            Due::Packet { to, life, link, mut bytes } => {
                let member = self.nodes.get_mut(&to).expect("a configured node");
                if member.config.incarnation != life {
                } else if member.paused {
                    member.queue.push((link, bytes));
                } else {
                    self.act(to, |n| n.handle_timeout(now));
                    self.act(to, |n| n.handle_packet(now, link, &mut bytes));
                }
            }
            Due::Key { node, life } => {
                let member = &self.nodes[&node];
                let loaded = member.file.clone().ok_or_else(|| "authkey: cannot be read".to_owned());
                if member.config.incarnation == life {
                    self.act(node, |n| n.handle_key(now, loaded));
                }
            }
            Due::Persisted { node, life, record } => {
                let member = self.nodes.get_mut(&node).expect("a configured node");
                member.durable = member.durable.max(record.ring_seq_reserved);
                member.promised = record.promised;
                if member.config.incarnation == life {
                    self.act(node, |n| n.handle_persisted(now, &record));
                }
            }
        }
    }

    /// Lets time pass.
    pub(crate) fn run(&mut self, span: Span) {
        let end = self.now + span;
        while self.now < end {
            self.step();
        }
    }

    /// Lets time pass until something holds.
    pub(crate) fn until(&mut self, what: &str, holds: impl Fn(&Self) -> bool) {
        let deadline = self.now + Span::from_secs(120);
        while !holds(self) {
            assert!(self.now < deadline, "never happened: {what}\n{}", self.describe());
            self.step();
        }
    }

    /// These nodes are one configuration, synchronised, with all steps done.
    pub(crate) fn settled(&self, members: &[u32]) -> bool {
        let ring = self.node(members[0]).ring_id();
        members.iter().all(|id| {
            let node = self.node(*id);
            let done = node.step().is_some_and(|s| s.name == "end" && s.ring == ring);
            node.members() == ids(members) && node.ring_id() == ring && done && node.gate_open()
        })
    }

    pub(crate) fn describe(&self) -> String {
        let line = |(id, m): (&u32, &Member)| match &m.node {
            None => format!("{id}: down\n"),
            Some(n) => format!(
                "{id}: {} {} {:?} {:?} quorate {} ({}) {:?}\n",
                n.ring_state(),
                n.ring_id(),
                n.members(),
                n.step(),
                n.quorum_view().quorate,
                n.quorum_view().reason,
                n.key_view()
            ),
        };
        self.nodes.iter().map(line).collect()
    }

    /// Forgets what was told so far.
    pub(crate) fn forget(&mut self) {
        self.nodes.values_mut().for_each(|m| m.told.clear());
    }

    pub(crate) fn told(&self, id: u32) -> &[Told] {
        &self.nodes[&id].told
    }

    /// What was told of quorum, in order.
    pub(crate) fn quorum_told(&self, id: u32) -> Vec<bool> {
        let of = |t: &Told| match &t.output {
            Output::Quorum(view) => Some(view.quorate),
            _ => None,
        };
        self.told(id).iter().filter_map(of).collect()
    }

    /// Regular configurations installed, in order.
    pub(crate) fn regular(&self, id: u32) -> Vec<&Configuration> {
        fn of(told: &Told) -> Option<&Configuration> {
            match &told.output {
                Output::Configuration(c) if c.kind == ConfigurationKind::Regular => Some(c),
                _ => None,
            }
        }
        self.told(id).iter().filter_map(of).collect()
    }

    pub(crate) fn events(&self, id: u32) -> Vec<&Event> {
        fn of(told: &Told) -> Option<&Event> {
            if let Output::Event(event) = &told.output { Some(event) } else { None }
        }
        self.told(id).iter().filter_map(of).collect()
    }

    /// Deaths confirmed: who, which life.
    pub(crate) fn confirmed(&self, id: u32) -> Vec<(u32, u64)> {
        let of = |t: &Told| match &t.output {
            Output::Confirmed { node, incarnation, .. } => Some((node.get(), incarnation.get())),
            _ => None,
        };
        self.told(id).iter().filter_map(of).collect()
    }

    /// `NAME Phase` of each step notice.
    pub(crate) fn steps(&self, id: u32) -> Vec<String> {
        let of = |t: &Told| match &t.output {
            Output::Step(s) => Some(format!("{} {:?}", s.name, s.phase)),
            _ => None,
        };
        self.told(id).iter().filter_map(of).collect()
    }

    /// The step that has begun last, as a participant needs it to say that it is done.
    pub(crate) fn begun(&self, id: u32) -> Option<(Epoch, StepNumber)> {
        let step = self.node(id).step()?;
        (step.phase == StepPhase::Begin).then_some((step.epoch, step.step))
    }

    /// What one connection was told, a line each.
    pub(crate) fn client(&self, id: u32, wanted: u64) -> Vec<String> {
        let list = |members: &[(GroupMember, GroupReason)], sign: char| {
            let item = |(m, r): &(GroupMember, GroupReason)| format!("{sign}{}.{}/{r:?} ", m.node, m.pid);
            members.iter().map(item).collect::<String>()
        };
        let line = |t: &Told| match &t.output {
            Output::Cpg { conn, event } if *conn == self::conn(wanted) => Some(match event {
                CpgEvent::Confchg { members, left, joined, .. } => {
                    let all: Vec<String> = members.iter().map(|m| format!("{}.{}", m.node, m.pid)).collect();
                    format!("{}{}={}", list(left, '-'), list(joined, '+'), all.join(","))
                }
                CpgEvent::Deliver { sender, payload, .. } => {
                    format!("{}.{} {}", sender.node, sender.pid, String::from_utf8_lossy(payload))
                }
                CpgEvent::Totem { members, .. } => {
                    format!("ring {:?}", members.iter().map(|m| m.get()).collect::<Vec<_>>())
                }
            }),
            _ => None,
        };
        self.told(id).iter().filter_map(line).collect()
    }
}
