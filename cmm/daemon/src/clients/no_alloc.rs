//! A steady flow of messages through the daemon's side of the local IPC allocates nothing: from a client's ring to the core,
//! and from the core to the client's ring. The core by itself has its own test, with three nodes. What finds no room in a
//! ring is another matter: it waits in a queue that grows, and goes when it is empty.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use cmm_ipc::Place;
use cmm_ipc::client::{CpgClient, CpgEvent};
use cmm_ipc::server::Mode;
use cmm_proto::wire::ClusterKey;
use cmm_proto::{LinkMode, LinksConfig, Node, NodeConfig, NodeEntry, Output, QuorumConfig, Settings, Timers};
use holdfast_types::{BootId, Incarnation, NodeId, Span, Votes};
use mio::{Events, Poll};

use super::{ClientNode, Clients, ClientsConfig};
use crate::event_loop::now;

/// The clients' side and a core that is alone, turned as the event loop turns them.
struct Rig {
    clients: Clients,
    node: Node,
    poll: Poll,
    events: Events,
    dir: PathBuf,
}

impl Rig {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("cmmd-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a folder");
        let me = NodeId::new(1);
        let config = NodeConfig {
            cluster_name: "alone".into(),
            me,
            nodes: vec![NodeEntry { id: me, votes: Votes::new(1) }],
            key: ClusterKey::new([7; 32]),
            incarnation: Incarnation::new(1),
            boot_id: BootId([1; 16]),
            ring_seq_reserved: 0,
            promised: Span::ZERO,
            tables: None,
            settings: Settings {
                timers: Timers::from_token(Span::from_secs(1)),
                window_frames: 50,
                frames_per_visit: 17,
                quorum: None,
            },
            quorum: QuorumConfig { expected_votes: None, two_node: false, wait_for_all: false, device: None },
            tie_break: cmm_proto::TieBreak::Off,
            expected_seen: None,
            links: LinksConfig::equal(1, LinkMode::Passive),
        };
        let mut clients = Clients::new(ClientsConfig {
            place: Place::Dir(dir.clone()),
            mode: Mode::SharedMemory,
            me,
            nodes: vec![ClientNode { id: me, addresses: Vec::new() }],
            incarnation: Incarnation::new(1),
            transport: "knet".to_owned(),
            keys: Vec::new(),
        })
        .expect("listeners");
        let poll = Poll::new().expect("a poller");
        clients.register(poll.registry(), 16).expect("a fresh poller");
        let node = Node::new(config, now()).expect("a valid configuration");
        let mut rig = Self { clients, node, poll, events: Events::with_capacity(256), dir };
        while !rig.node.is_synced() {
            rig.turn();
        }
        rig
    }

    fn turn(&mut self) {
        self.poll.poll(&mut self.events, Some(Duration::ZERO)).expect("poll");
        let at = now();
        self.node.handle_timeout(at);
        self.drain();
        if self.clients.poll_streams(at) {
            self.serve();
        }
        for event in &self.events {
            self.clients.on_ready(event, at);
        }
        self.serve();
        if self.clients.next_timeout().is_some_and(|due| due <= at) {
            self.clients.on_timer(&mut self.node, at);
            self.drain();
        }
        while let Some(lagging) = self.clients.notify(now()) {
            self.node.set_lagging(now(), lagging);
            self.drain();
        }
    }

    fn serve(&mut self) {
        for _ in 0..32 {
            if !self.clients.serve_some(&mut self.node, now()) {
                break;
            }
            self.drain();
        }
    }

    fn drain(&mut self) {
        while let Some(output) = self.node.poll_output() {
            match output {
                Output::Transmit { packet, .. } | Output::Probe { packet, .. } => self.node.give_back(packet),
                Output::Persist(record) => self.node.handle_persisted(now(), &record),
                output => self.clients.on_output(&output, &self.node, now()),
            }
        }
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// A client on a thread of its own, in a group of its own (the leave of the last one may still be on its way): sends
/// messages of so many bytes with up to `depth` on their way, until told to stop.
struct Sender {
    stop: Arc<AtomicBool>,
    delivered: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Sender {
    fn start(rig: &Rig, group: &'static str, size: usize, depth: u64) -> Self {
        let (stop, delivered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (ends, counts, place) = (Arc::clone(&stop), Arc::clone(&delivered), Place::Dir(rig.dir.clone()));
        let thread = std::thread::spawn(move || {
            let mut client = CpgClient::connect(&place, Duration::from_secs(60)).expect("connect");
            client.join(group.as_bytes()).expect("join");
            let (payload, mut sent, mut received) = (vec![7; size], 0, 0);
            while !ends.load(Ordering::SeqCst) {
                if sent < received + depth && client.mcast(&payload).is_ok() {
                    sent += 1;
                } else {
                    let _ = client.connection().wait_event(Duration::from_millis(1));
                }
                while let Some(event) = client.dispatch().expect("dispatch") {
                    received += u64::from(matches!(event, CpgEvent::Deliver { .. }));
                }
                counts.store(received, Ordering::SeqCst);
            }
        });
        Self { stop, delivered, thread: Some(thread) }
    }

    fn delivered(&self) -> u64 {
        assert!(!self.thread.as_ref().is_some_and(JoinHandle::is_finished), "the client has failed");
        self.delivered.load(Ordering::SeqCst)
    }

    fn end(mut self, rig: &mut Rig) {
        self.stop.store(true, Ordering::SeqCst);
        let thread = self.thread.take().expect("it is ended once");
        while !thread.is_finished() {
            rig.turn();
        }
        thread.join().expect("the client");
    }
}

#[test]
fn a_steady_flow_of_messages_through_the_ipc_allocates_nothing() {
    let mut rig = Rig::new("no-alloc");
    for (what, size, depth, messages) in [
        ("dialogue", 64, 1, 1_000),
        ("64 bytes", 64, 1_000, 10_000),
        ("1 KiB", 1_024, 300, 5_000),
        ("64 KiB", 65_536, 10, 300),
        ("1 MB", 1_000_000, 1, 30),
        ("two fragments", 1_050_000, 1, 30),
    ] {
        let sender = Sender::start(&rig, what, size, depth);
        // The first windows warm buffers up; heartbeats and the like are no messages.
        let mut counts = Vec::new();
        while counts.len() < WINDOWS && counts.last() != Some(&0) {
            let (end, before) = (sender.delivered() + messages, crate::ALLOCATOR.allocations_here());
            while sender.delivered() < end {
                rig.turn();
            }
            counts.push(crate::ALLOCATOR.allocations_here() - before);
        }
        sender.end(&mut rig);
        println!("{what}: {counts:?}");
        assert_eq!(
            counts.last(),
            Some(&0),
            "{what}: allocations in windows of {messages} messages: {counts:?}"
        );
    }
}

/// So many windows at most until there is one without allocations.
const WINDOWS: usize = 12;
