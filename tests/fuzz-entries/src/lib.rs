//! What the fuzz targets run. Each entry takes any bytes and must neither panic nor allocate without bound; where a
//! format is both written and read here, what was read and written again must read the same.

#![forbid(unsafe_code)]

mod failfast;
mod logconv;
mod qdisk;
mod qnet;
mod rings;
mod scheduler;

use std::net::IpAddr;

use cmm_ipc::abi;
use cmm_proto::ring::{Ring, RingConfig, Suspicion};
use cmm_proto::service::messages::Message;
use cmm_proto::wire::{
    ClusterKey, Commit, Gasp, Header, Heartbeat, HoldCancel, Join, LinkBeat, Mcast, MergeDetect, Opener,
    Part, Probe, Token,
};
use cmm_proto::{Guarantee, NodeEntry, Settings, Timers};
use holdfast_types::{Boottime, Incarnation, NodeId, Span, Votes};

pub use self::scheduler::{document, scheduler, validate};
pub use failfast::failfast;
pub use logconv::logconv;
pub use qdisk::qdisk;
pub use qnet::qnet;
pub use rings::rings;

/// A datagram from the network: the seal must refuse it, and each decoder behind the seal must survive it.
pub fn packet(data: &[u8]) {
    let nodes = [1, 2, 3].map(NodeId::new);
    let mut opener = Opener::new(&ClusterKey::new([7; 32]), "fuzz", NodeId::new(1), nodes);
    let mut copy = data.to_vec();
    assert!(opener.open(&mut copy).is_err(), "bytes nobody sealed opened");
    assert!(
        nodes.iter().all(|n| opener.incarnation(*n).is_none()),
        "a packet that does not open changed something"
    );
    let _ = Header::decode(data);
    let _ = Token::decode(data);
    let _ = Mcast::decode(data);
    let _ = Join::decode(data);
    let _ = Commit::decode(data);
    let _ = MergeDetect::decode(data);
    let _ = HoldCancel::decode(data);
    let _ = Heartbeat::decode(data);
    let _ = LinkBeat::split(data);
    let _ = Gasp::decode(data);
    let _ = Part::decode(data);
    let _ = Probe::decode(data);
}

/// Frames of hostile members that hold the key: a sequence of {from, length, bytes}, with timeouts between. The ring may
/// do what it likes with them, but it must go on.
pub fn ring(data: &[u8]) {
    let mut now = Boottime::from_nanos(1_000_000_000);
    let mut ring = Ring::new(ring_config(2), now);
    let mut persisted = 0;
    let mut rest = data;
    // Bounded: an input is at most two thousand inputs of the ring.
    for _ in 0..2_048 {
        let Some((&[op, low, high], tail)) = rest.split_first_chunk::<3>() else { break };
        let len = usize::from(u16::from_le_bytes([low, high]));
        let (body, tail) = tail.split_at(len.min(tail.len()));
        rest = tail;
        match op % 8 {
            0..=3 => ring.handle_frame(now, NodeId::new(u32::from(op % 2) * 2 + 1), body),
            4 => {
                if let Some(at) = ring.next_timeout() {
                    now = now.max(at);
                }
                ring.handle_timeout(now);
            }
            5 => drop(ring.submit(now, if op & 8 == 0 { Guarantee::Agreed } else { Guarantee::Safe }, body)),
            6 if op & 8 == 0 => {
                let suspicion = if op & 16 == 0 { Suspicion::Silent } else { Suspicion::Gone };
                ring.suspect(now, &[NodeId::new(3)], suspicion);
            }
            6 => ring.resend_token(now),
            _ => ring.handle_persisted(now, persisted),
        }
        for _ in 0..10_000 {
            match ring.poll_output() {
                Some(cmm_proto::ring::RingOutput::Persist(seq)) => persisted = seq,
                Some(_) => {}
                None => break,
            }
        }
    }
}

/// One of three nodes.
pub fn ring_config(me: u32) -> RingConfig {
    RingConfig {
        me: NodeId::new(me),
        nodes: [1, 2, 3].map(|id| NodeEntry { id: NodeId::new(id), votes: Votes::new(1) }).to_vec(),
        incarnation: Incarnation::new(5),
        settings: Settings {
            timers: Timers::from_token(Span::from_millis(1_000)),
            window_frames: 50,
            frames_per_visit: 17,
            quorum: None,
        },
        frame_payload_max: 256,
        ring_seq_reserved: 0,
    }
}

/// An ordered message of the services, as a peer of another version might send it.
pub fn order(data: &[u8]) {
    if let Ok(message) = Message::decode(data) {
        let bytes = message.encode();
        assert_eq!(Message::decode(&bytes).as_ref(), Ok(&message), "written again, it reads the same");
    }
}

/// Messages of local clients to each service, and what a client of ours may read from a daemon.
pub fn ipc(data: &[u8]) {
    let _ = abi::cmap::Request::decode(data);
    let _ = abi::cmap::Event::decode(data);
    let _ = abi::cmap::get_from(data);
    let _ = abi::cmap::iteration_item_from(data);
    let _ = abi::cfg::Request::decode(data);
    let _ = abi::cfg::ring_status_from(data);
    let _ = abi::cfg::node_addresses_from(data);
    let _ = abi::cfg::NodeStatus::from_reply(data);
    let _ = abi::cpg::Request::decode(data);
    let _ = abi::cpg::Event::decode(data);
    let _ = abi::cpg::membership_from(data);
    let _ = abi::cpg::iteration_item_from(data);
    let _ = abi::quorum::Request::decode(data);
    let _ = abi::quorum::Event::decode(data);
    let _ = abi::votequorum::Request::decode(data);
    let _ = abi::votequorum::Event::decode(data);
    let _ = abi::votequorum::Info::from_reply(data);
}

/// A configuration file.
pub fn conf(data: &[u8]) {
    let resolve = |_: &str| -> Vec<IpAddr> { Vec::new() };
    let is_local = |a: IpAddr| a == IpAddr::from([127, 0, 0, 1]);
    let host = cmm_conf::Host { hostname: "node1", resolve: &resolve, is_local: &is_local };
    let (config, diagnostics) = cmm_conf::parse("fuzz.conf", data, &host);
    for line in diagnostics.iter() {
        assert!(!diagnostics.line(line).is_empty());
    }
    if let Some(config) = config {
        assert!(config.local < config.nodes.len());
    }
}

/// A CIB.
pub fn cib(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(cib) = cib::Cib::parse(text, "fuzz.xml") {
        let written = cib.to_xml();
        let again = cib::Cib::parse(&written, "again.xml");
        assert_eq!(again.map(|c| c.digest()), Ok(cib.digest()), "written again, it is the same");
    }
}
