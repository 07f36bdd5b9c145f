//! Reads sealed packets with the cluster's keys, for the oracle and for faults that choose by kind. Nodes never see
//! what it finds.

use std::rc::Rc;

use cmm_proto::wire::{ClusterKey, FrameKind, Heartbeat, LinkBeat, Opener, PacketKind};
use holdfast_types::NodeId;

use crate::cluster::CLUSTER_NAME;

/// What a packet is, as far as the simulator wants to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// A ring frame of this kind.
    Frame(FrameKind),
    /// A heartbeat.
    Heartbeat(Heartbeat),
    /// A beat of a link, without a heartbeat; or a probe of its path.
    LinkBeat,
    /// A gasp or last word.
    Gasp,
    /// Not looked into, or not to be opened.
    Sealed,
}

impl Content {
    /// A number for each kind, for faults that choose by kind: 0 to 7.
    #[must_use]
    pub(crate) fn number(&self) -> u8 {
        match self {
            Self::Frame(FrameKind::Token) => 0,
            Self::Frame(FrameKind::Mcast) => 1,
            Self::Frame(FrameKind::Join) => 2,
            Self::Frame(FrameKind::Commit) => 3,
            Self::Frame(FrameKind::MergeDetect) => 4,
            Self::Frame(FrameKind::HoldCancel) => 5,
            Self::Heartbeat(_) | Self::LinkBeat => 6,
            Self::Gasp => 7,
            Self::Sealed => u8::MAX,
        }
    }
}

/// Opens packets in the order they are sent.
pub(crate) struct Sniffer {
    opener: Opener,
    buffer: Vec<u8>,
    all: bool,
    /// The packet looked at last: one that goes to several nodes is the same for all.
    last: (Rc<[u8]>, Content),
}

impl Sniffer {
    /// A sniffer for a cluster with these keys; it opens heartbeats, and other packets only if asked for all.
    #[must_use]
    pub(crate) fn new(keys: &[ClusterKey], nodes: impl IntoIterator<Item = NodeId>, all: bool) -> Self {
        let nobody = NodeId::new(u32::MAX);
        let mut opener = Opener::new(&keys[0], CLUSTER_NAME, nobody, nodes);
        assert!(keys.iter().all(|key| opener.accept(key)), "few keys, of different names");
        Self { opener, buffer: Vec::new(), all, last: (Rc::default(), Content::Sealed) }
    }

    /// What `packet` is.
    pub(crate) fn look(&mut self, packet: &Rc<[u8]>) -> &Content {
        if self.last.0 != *packet {
            let content = self.open(packet);
            self.last = (Rc::clone(packet), content);
        }
        &self.last.1
    }

    fn open(&mut self, packet: &[u8]) -> Content {
        let Ok(header) = cmm_proto::wire::Header::decode(packet) else { return Content::Sealed };
        match header.kind {
            PacketKind::Gasp => return Content::Gasp,
            PacketKind::Ring | PacketKind::Part | PacketKind::Probe if !self.all => return Content::Sealed,
            _ => {}
        }
        self.buffer.clear();
        self.buffer.extend_from_slice(packet);
        let Ok(opened) = self.opener.open(&mut self.buffer) else { return Content::Sealed };
        match header.kind {
            PacketKind::Heartbeat => {
                let Ok((beat, rest)) = LinkBeat::split(opened.body) else { return Content::Sealed };
                if !beat.heartbeat {
                    return Content::LinkBeat;
                }
                Heartbeat::decode(rest).map_or(Content::Sealed, Content::Heartbeat)
            }
            PacketKind::Part => Content::Frame(FrameKind::Mcast),
            PacketKind::Probe => Content::LinkBeat,
            _ => FrameKind::of(opened.body).map_or(Content::Sealed, Content::Frame),
        }
    }
}
