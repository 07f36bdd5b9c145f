//! The ring's packets: one socket a link, batches in both directions, urgent packets first.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, RawFd};

use cmm_proto::{Destination, Node, limits};
use holdfast_sys::net::{self, ReceiveBatch, Sender, UdpOptions};
use holdfast_types::{Boottime, LinkId, NodeId, Span};
use socket2::SockAddr;

use crate::events::DaemonEvent;
use crate::log::Log;
use crate::outbox::{Flushed, Outbox};

/// The transport of one node.
pub(crate) struct Net {
    socket: UdpSocket,
    peers: Vec<Peer>,
    block_unlisted: bool,
    batch: ReceiveBatch,
    /// Token, membership and heartbeat packets; they go before data.
    urgent: Outbox,
    data: Outbox,
    sender: Sender,
    /// Buffers of packets that are out, for the node to use again.
    spare: Vec<Vec<u8>>,
    /// Whether the socket may hold packets that were not taken yet.
    readable: bool,
    unlisted: u64,
    unlisted_from: Option<SocketAddr>,
    overflowed: u64,
}

struct Peer {
    id: NodeId,
    ip: IpAddr,
    addr: SockAddr,
    /// Packets that could not be sent since the last report.
    failed: u64,
    error: Option<io::ErrorKind>,
}

/// What the transport is made of.
pub(crate) struct NetConfig {
    /// This node's address on link 0.
    pub(crate) local: SocketAddr,
    /// The others.
    pub(crate) peers: Vec<(NodeId, SocketAddr)>,
    pub(crate) block_unlisted: bool,
    pub(crate) dscp: u8,
    pub(crate) ttl: Option<u8>,
}

/// Packets taken in one turn: more wait for the next, so that timers and clients get theirs.
const RECEIVE_BUDGET: usize = 4;
/// Packets that wait for the socket's buffer. The ring's window is far below; beyond it the oldest data is lost, and
/// asked for again.
const QUEUE_MAX: usize = 8_192;
/// A full window of 64 nodes, several times over.
const BUFFER_BYTES: usize = 4 << 20;
/// How often packets that were refused or not sent are told.
pub(crate) const REPORT_INTERVAL: Span = Span::from_secs(1);

impl Net {
    /// Binds the socket.
    ///
    /// # Errors
    /// When the port is taken.
    pub(crate) fn bind(config: &NetConfig) -> io::Result<Self> {
        let options = UdpOptions { buffer_bytes: BUFFER_BYTES, dscp: config.dscp, ttl: config.ttl };
        let socket = net::bind_udp(config.local, &options)?;
        let peer = |(id, addr): &(NodeId, SocketAddr)| Peer {
            id: *id,
            ip: addr.ip(),
            addr: (*addr).into(),
            failed: 0,
            error: None,
        };
        Ok(Self {
            socket,
            peers: config.peers.iter().map(peer).collect(),
            block_unlisted: config.block_unlisted,
            batch: ReceiveBatch::default(),
            urgent: Outbox::new(QUEUE_MAX / 8),
            data: Outbox::new(QUEUE_MAX),
            sender: Sender::default(),
            spare: Vec::new(),
            readable: false,
            unlisted: 0,
            unlisted_from: None,
            overflowed: 0,
        })
    }

    /// For the poll set.
    pub(crate) fn raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    /// The poller says that there is something to take.
    pub(crate) fn set_readable(&mut self) {
        self.readable = true;
    }

    /// Whether the next turn must not sleep.
    pub(crate) fn has_work(&self) -> bool {
        self.readable
    }

    /// Whether packets wait for the socket's buffer.
    pub(crate) fn wants_write(&self) -> bool {
        !self.urgent.is_empty() || !self.data.is_empty()
    }

    /// Feeds the node with what has arrived, up to the budget. `after` drains the node's outputs; it is called after each packet.
    pub(crate) fn receive(
        &mut self,
        node: &mut Node,
        now: impl Fn() -> Boottime,
        mut after: impl FnMut(&mut Node, &mut Queue<'_>, Boottime),
    ) {
        for _ in 0..RECEIVE_BUDGET {
            if !self.readable {
                return;
            }
            match self.batch.receive(&self.socket) {
                Ok(n) => self.readable = n == net::RECEIVE_MAX,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => self.readable = false,
                // What an earlier send left behind (ECONNREFUSED): taken off by reading it.
                Err(_) => continue,
            }
            let now = now();
            let Self {
                batch,
                peers,
                urgent,
                data,
                spare,
                unlisted,
                unlisted_from,
                block_unlisted,
                overflowed,
                ..
            } = self;
            for (from, packet) in batch.packets() {
                if *block_unlisted && !peers.iter().any(|p| p.ip == from.ip()) {
                    *unlisted += 1;
                    *unlisted_from = Some(from);
                    continue;
                }
                node.handle_packet(now, LinkId::new(0), packet);
                after(node, &mut Queue { peers, urgent, data, spare, overflowed }, now);
            }
        }
    }

    /// Where outputs of the node put their packets.
    pub(crate) fn queue(&mut self) -> Queue<'_> {
        Queue {
            peers: &self.peers,
            urgent: &mut self.urgent,
            data: &mut self.data,
            spare: &mut self.spare,
            overflowed: &mut self.overflowed,
        }
    }

    /// Sends what waits, urgent packets first, until the socket's buffer is full.
    pub(crate) fn flush(&mut self) {
        let Self { socket, peers, urgent, data, sender, spare, .. } = self;
        let mut troubles = [None; limits::NODES_MAX];
        for outbox in [urgent, data] {
            let addresses = peers.iter().map(|p| &p.addr);
            let failed = |peer: usize, why| {
                let (count, _) = troubles[peer].unwrap_or((0, why));
                troubles[peer] = Some((count + 1, why));
            };
            if outbox.flush(socket, sender, addresses, spare, failed) == Flushed::Full {
                break;
            }
        }
        spare.clear();
        for (peer, (count, why)) in peers.iter_mut().zip(troubles).filter_map(|(p, t)| Some((p, t?))) {
            peer.failed += count;
            peer.error = Some(why);
        }
    }

    /// Tells what was refused or not sent since the last report.
    pub(crate) fn report(&mut self, log: &Log) {
        if let Some(from) = self.unlisted_from.take() {
            log.event(DaemonEvent::Unlisted { from, count: std::mem::take(&mut self.unlisted) });
        }
        for peer in &mut self.peers {
            if let Some(error) = peer.error.take() {
                log.event(DaemonEvent::SendFailed {
                    to: peer.id,
                    error,
                    count: std::mem::take(&mut peer.failed),
                });
            }
        }
        if self.overflowed > 0 {
            log.event(DaemonEvent::SendOverflow { count: std::mem::take(&mut self.overflowed) });
        }
    }
}

/// The sending half, for outputs that come out while packets are taken in.
pub(crate) struct Queue<'a> {
    peers: &'a [Peer],
    urgent: &'a mut Outbox,
    data: &'a mut Outbox,
    spare: &'a mut Vec<Vec<u8>>,
    overflowed: &'a mut u64,
}

impl Queue<'_> {
    /// Queues one packet of the node.
    pub(crate) fn push(&mut self, to: Destination, urgent: bool, packet: Vec<u8>) {
        debug_assert!(packet.len() <= limits::PACKET_MAX);
        let outbox = if urgent { &mut *self.urgent } else { &mut *self.data };
        let mask = self.peers.iter().enumerate().fold(0, |mask, (at, peer)| {
            let wanted = !matches!(to, Destination::Node(id) if id != peer.id);
            mask | u64::from(wanted) << at
        });
        if !outbox.push(mask, packet, self.spare) {
            *self.overflowed += 1;
        }
    }
}
