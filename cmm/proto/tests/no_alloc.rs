//! A steady flow of messages through three nodes allocates nothing, from the request to the delivery: a binary of its
//! own, so that nobody else's allocations count.

use std::collections::VecDeque;

use cmm_proto::wire::ClusterKey;
use cmm_proto::{
    CpgEvent, Destination, Guarantee, LinkMode, LinksConfig, Node, NodeConfig, NodeEntry, Output,
    QuorumConfig, Refusal, Request, Settings, Timers,
};
use holdfast_sys::counting::CountingAllocator;
use holdfast_types::{BootId, Boottime, ConnId, Incarnation, LinkId, NodeId, Span, Votes};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator::new();

const CONN: ConnId = ConnId::new(1);
const LINK: LinkId = LinkId::new(0);

/// Three nodes, and packets on their way, in buffers that are used again.
struct World {
    nodes: Vec<Node>,
    now: Boottime,
    wire: VecDeque<(usize, Vec<u8>)>,
    spare: Vec<Vec<u8>>,
    /// Messages and bytes delivered at each node.
    delivered: [(u64, u64); 3],
}

impl World {
    fn new() -> Self {
        let now = Boottime::from_nanos(5_000_000_000);
        // Heartbeats are no messages: none in the time of this test.
        let timers = Timers::from_token(Span::from_secs(1_000)).with_limit(Span::from_secs(1_000));
        let ids = (1..=3).map(NodeId::new);
        let config = |me| NodeConfig {
            cluster_name: "flow".into(),
            me,
            nodes: ids.clone().map(|id| NodeEntry { id, votes: Votes::new(1) }).collect(),
            key: ClusterKey::new([7; 32]),
            incarnation: Incarnation::new(1),
            boot_id: BootId([me.get() as u8; 16]),
            ring_seq_reserved: 0,
            promised: Span::ZERO,
            tables: None,
            settings: Settings { timers, window_frames: 50, frames_per_visit: 17, quorum: None },
            quorum: QuorumConfig { expected_votes: None, two_node: false, wait_for_all: false, device: None },
            tie_break: cmm_proto::TieBreak::Off,
            expected_seen: None,
            links: LinksConfig::equal(1, LinkMode::Passive),
        };
        let nodes = ids.clone().map(|me| Node::new(config(me), now).expect("runs")).collect();
        let mut world = Self { nodes, now, wire: VecDeque::new(), spare: Vec::new(), delivered: [(0, 0); 3] };
        (0..3).for_each(|n| world.drain(n));
        while !world.nodes.iter().all(|n| n.members().len() == 3 && n.gate_open()) {
            world.step();
        }
        for n in 0..3 {
            world.submit(n, Request::CpgJoin { conn: CONN, pid: n as u32 + 1, group: b"flow" });
        }
        while !world.nodes.iter().all(|n| n.cpg_members(b"flow").len() == 3) {
            world.step();
        }
        world
    }

    /// The next packet; or if there is none, the next timer.
    fn step(&mut self) {
        let Some((to, mut packet)) = self.wire.pop_front() else {
            let due =
                self.nodes.iter().filter_map(Node::next_timeout).min().expect("nodes wait for something");
            self.now = self.now.max(due);
            for n in 0..3 {
                self.nodes[n].handle_timeout(self.now);
                self.drain(n);
            }
            return;
        };
        self.now = self.now + Span::from_nanos(50);
        self.nodes[to].handle_packet(self.now, LINK, &mut packet);
        self.spare.push(packet);
        self.drain(to);
    }

    /// Takes what a node puts out.
    fn drain(&mut self, n: usize) {
        while let Some(output) = self.nodes[n].poll_output() {
            match output {
                Output::Transmit { to, packet, .. } => {
                    let wanted = |other: &usize| match to {
                        Destination::Node(id) => id.get() as usize == other + 1,
                        Destination::AllPeers => *other != n,
                    };
                    for other in (0..3).filter(wanted) {
                        let mut copy = self.spare.pop().unwrap_or_else(|| Vec::with_capacity(2_000));
                        copy.clear();
                        copy.extend_from_slice(&packet);
                        self.wire.push_back((other, copy));
                    }
                    self.nodes[n].give_back(packet);
                }
                Output::Persist(record) => self.nodes[n].handle_persisted(self.now, &record),
                Output::Cpg { event: CpgEvent::Deliver { payload, .. }, .. } => {
                    let (messages, bytes) = &mut self.delivered[n];
                    *messages += 1;
                    *bytes += payload.len() as u64;
                }
                _ => {}
            }
        }
    }

    fn submit(&mut self, n: usize, request: Request<'_>) {
        loop {
            let outcome = self.nodes[n].submit(self.now, request.clone());
            self.drain(n);
            match outcome {
                Ok(()) => return,
                Err(Refusal::TryAgain) => self.step(),
                Err(refusal) => panic!("{refusal:?}"),
            }
        }
    }

    /// Sends messages of these sizes from all nodes in turn, with up to `depth` on their way, until all are delivered
    /// everywhere.
    fn flow(&mut self, messages: u64, depth: u64, payload: &[u8], sizes: &[usize]) {
        let before = self.delivered;
        let mut bytes = 0;
        for k in 0..messages {
            let payload = &payload[..sizes[k as usize % sizes.len()]];
            bytes += payload.len() as u64;
            let guarantee = Guarantee::Agreed;
            let request =
                Request::CpgMcast { conn: CONN, guarantee, fragment: None, past_gate: false, payload };
            self.submit((k / depth % 3) as usize, request);
            self.await_delivery(&before, (k + 1).saturating_sub(depth));
        }
        self.await_delivery(&before, messages);
        assert!(self.delivered.iter().zip(&before).all(|(now, b)| now.1 - b.1 == bytes));
    }

    /// Until so many messages were delivered everywhere since then.
    fn await_delivery(&mut self, since: &[(u64, u64); 3], messages: u64) {
        while self.delivered.iter().zip(since).any(|(now, b)| now.0 - b.0 < messages) {
            self.step();
        }
    }
}

#[test]
fn a_steady_flow_of_messages_allocates_nothing() {
    let mut world = World::new();
    let payload = vec![0x5a; 65_536];
    let sizes = [64, 1_024, 1_300, 64, 5_000, 1, 64, 65_536, 1_024, 0];
    for (what, messages, depth, sizes) in [
        ("dialogue", 10_000, 1, &sizes[..1]),
        ("64 bytes", 10_000, 100, &sizes[..1]),
        ("1 KiB", 10_000, 30, &sizes[1..2]),
        ("64 KiB", 500, 10, &sizes[7..8]),
        ("all sizes", 3_000, 20, &sizes[..]),
    ] {
        // The first windows warm buffers up; and now and then the thread that runs tests allocates something for itself.
        let mut counts = Vec::with_capacity(WINDOWS);
        while counts.len() < WINDOWS && counts.last() != Some(&0) {
            let before = ALLOCATOR.allocations();
            world.flow(messages, depth, &payload, sizes);
            counts.push(ALLOCATOR.allocations() - before);
        }
        assert_eq!(
            counts.last(),
            Some(&0),
            "{what}: allocations in windows of {messages} messages: {counts:?}"
        );
    }
}

/// So many windows of messages at most until there is one without allocations.
const WINDOWS: usize = 12;
