//! The ring's packets: one socket a link, batches in both directions, urgent packets first.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;

use cmm_proto::links::{Traffic, Unsent};
use cmm_proto::wire::{Header, NodeSet};
use cmm_proto::{Destination, Node, limits};
use holdfast_sys::net::{self, ReceiveBatch, Sender, UdpOptions};
use holdfast_sys::refused;
use holdfast_types::{Boottime, LinkId, LinkSet, NodeId, Span};
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use socket2::SockAddr;

use crate::events::DaemonEvent;
use crate::log::Log;
use crate::outbox::{Flushed, Outbox};

/// The transport of one node.
pub(crate) struct Net {
    /// In ascending order of link.
    links: Vec<Link>,
    config: NetConfig,
    batch: ReceiveBatch,
    /// The link that `batch` came in on.
    batch_of: LinkId,
    sender: Sender,
    /// Buffers of packets that are out.
    spare: Vec<Vec<u8>>,
    /// Probes of paths to be sent: to whom, on which link.
    probes: Vec<(NodeId, LinkId, Vec<u8>)>,
    /// What came of sending, for the node to know.
    feedback: Vec<Feedback>,
    block_unlisted: bool,
    unlisted: u64,
    unlisted_from: Option<SocketAddr>,
    failures: u32,
}

/// One link: its socket and what waits for it.
struct Link {
    id: LinkId,
    local: IpAddr,
    socket: UdpSocket,
    peers: Vec<Peer>,
    /// Of each peer, in the same order.
    troubles: Vec<Trouble>,
    /// Token, membership and heartbeat packets; they go before data.
    urgent: Outbox,
    data: Outbox,
    /// Whether the socket may hold packets that were not taken yet.
    readable: bool,
    /// Whether the kernel may keep errors of it that were not taken yet.
    erring: bool,
    /// Whether the poller is asked to say when it takes more.
    writing: bool,
    overflowed: u64,
}

struct Peer {
    id: NodeId,
    ip: IpAddr,
    addr: SockAddr,
}

/// What could not be sent to one peer since the last report, at all or at once.
#[derive(Default)]
struct Trouble {
    unsent: Unsent,
    error: Option<io::ErrorKind>,
}

/// What the node is told about sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Feedback {
    /// A probe of so many bytes is longer than the interface takes.
    TooLong { to: NodeId, link: LinkId, len: usize },
    /// Packets on this link are longer than the interface takes, and were cut up.
    CutUp(LinkId),
}

/// What the transport is made of.
#[derive(Clone, Debug)]
pub(crate) struct NetConfig {
    /// In ascending order of link.
    pub(crate) links: Vec<LinkNet>,
    pub(crate) block_unlisted: bool,
    pub(crate) dscp: u8,
}

/// One link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LinkNet {
    pub(crate) id: LinkId,
    /// This node's address.
    pub(crate) local: SocketAddr,
    /// The others'.
    pub(crate) peers: Vec<(NodeId, SocketAddr)>,
    pub(crate) ttl: Option<u8>,
}

/// Packets taken in one turn: more wait for the next, so that timers and clients get theirs. A call takes up to a thousand
/// where the kernel joins them.
const RECEIVE_BUDGET: usize = 512;
/// Failed calls on one socket in one turn.
const ERRORS_MAX: usize = 4;
/// Errors taken from the queue of one link in one turn.
const ERRORS_BUDGET: usize = 64;
/// Packets that wait for the socket's buffer. The ring's window is far below; beyond it the oldest data is lost, and
/// asked for again.
const QUEUE_MAX: usize = 8_192;
/// A full window of 64 nodes, several times over.
const BUFFER_BYTES: usize = 4 << 20;
/// Buffers kept for packets that go out on several links.
const SPARE_KEPT: usize = 64;
/// How often packets that were refused or not sent are told.
pub(crate) const REPORT_INTERVAL: Span = Span::from_secs(1);

impl Net {
    /// Binds a socket for each link.
    ///
    /// # Errors
    /// When a port is taken; with the address that it was wanted on.
    pub(crate) fn bind(config: &NetConfig) -> Result<Self, (SocketAddr, io::Error)> {
        let bind = |link: &LinkNet| Link::bind(link, config.dscp).map_err(|e| (link.local, e));
        Ok(Self {
            links: config.links.iter().map(bind).collect::<Result<_, _>>()?,
            config: config.clone(),
            batch: ReceiveBatch::default(),
            batch_of: LinkId::default(),
            sender: Sender::default(),
            spare: Vec::new(),
            probes: Vec::new(),
            feedback: Vec::new(),
            block_unlisted: config.block_unlisted,
            unlisted: 0,
            unlisted_from: None,
            failures: 0,
        })
    }

    /// Links that `config` gives other addresses.
    pub(crate) fn moved(&self, config: &NetConfig) -> LinkSet {
        let old = |new: &LinkNet| self.config.links.iter().find(|l| l.id == new.id);
        let moves = |old: &LinkNet, new: &LinkNet| {
            let known = |id: NodeId| old.peers.iter().find(|(peer, _)| *peer == id).map(|(_, addr)| *addr);
            let moved = |(id, addr): &(NodeId, SocketAddr)| known(*id).is_some_and(|before| before != *addr);
            (old.local, old.ttl) != (new.local, new.ttl) || new.peers.iter().any(moved)
        };
        let moved = config.links.iter().filter(|new| old(new).is_some_and(|old| moves(old, new)));
        moved.map(|l| l.id).collect()
    }

    /// The links without the addresses of some peers; none if all peers are kept.
    pub(crate) fn without(&self, keep: impl Fn(NodeId) -> bool) -> Option<NetConfig> {
        let mut config = self.config.clone();
        let mut gone = false;
        for link in &mut config.links {
            let count = link.peers.len();
            link.peers.retain(|(id, _)| keep(*id));
            gone |= link.peers.len() < count;
        }
        gone.then_some(config)
    }

    /// Gives the peers that `config` does not have on its links, and that are known here, a place there.
    pub(crate) fn keep_others(&self, config: &mut NetConfig) {
        let named: Vec<NodeId> =
            config.links.iter().flat_map(|l| l.peers.iter().map(|(id, _)| *id)).collect();
        for link in &mut config.links {
            let old = self.config.links.iter().find(|old| old.id == link.id).into_iter();
            let others = old.flat_map(|old| &old.peers).filter(|(id, _)| !named.contains(id));
            link.peers.extend(others.copied());
        }
    }

    /// Binds what `config` has and this has not.
    ///
    /// # Errors
    /// When a port is taken; with the address that it was wanted on. Nothing has changed then.
    pub(crate) fn bind_new(&self, config: &NetConfig) -> Result<Vec<UdpSocket>, (SocketAddr, io::Error)> {
        let new = config.links.iter().filter(|new| self.keeps(new).is_none());
        new.map(|new| Link::socket(new, config.dscp).map_err(|e| (new.local, e))).collect()
    }

    /// Takes these links from now on, with the sockets that [`Self::bind_new`] made for them.
    ///
    /// # Errors
    /// Those of the poller.
    pub(crate) fn adopt(
        &mut self,
        config: NetConfig,
        sockets: Vec<UdpSocket>,
        registry: &Registry,
        first: usize,
    ) -> io::Result<()> {
        self.flush();
        let kept: Vec<bool> = config.links.iter().map(|new| self.keeps(new).is_some()).collect();
        let mut old = std::mem::take(&mut self.links);
        for link in &old {
            registry.deregister(&mut SourceFd(&link.socket.as_raw_fd()))?;
        }
        let mut sockets = sockets.into_iter();
        for (new, kept) in config.links.iter().zip(kept) {
            let socket = match kept {
                true => old.iter().position(|l| l.id == new.id).map(|at| old.swap_remove(at).socket),
                false => sockets.next(),
            };
            self.links.extend(socket.map(|socket| Link::new(new, socket)));
        }
        self.config = config;
        // What has come in meanwhile is looked at once.
        self.links.iter_mut().for_each(|l| l.readable = true);
        self.register(registry, first)
    }

    /// The link whose socket serves `new` as it is.
    fn keeps(&self, new: &LinkNet) -> Option<&LinkNet> {
        self.config.links.iter().find(|old| (old.id, old.local, old.ttl) == (new.id, new.local, new.ttl))
    }

    /// This node's address on each link.
    pub(crate) fn interfaces(&self) -> Vec<(LinkId, IpAddr)> {
        self.links.iter().map(|l| (l.id, l.local)).collect()
    }

    /// Joins the poll set: link N gets token `first + N`.
    ///
    /// # Errors
    /// Those of the poller.
    pub(crate) fn register(&self, registry: &Registry, first: usize) -> io::Result<()> {
        for link in &self.links {
            let token = Token(first + usize::from(link.id.get()));
            registry.register(&mut SourceFd(&link.socket.as_raw_fd()), token, Interest::READABLE)?;
        }
        Ok(())
    }

    /// The poller says that there is something to take on link N.
    pub(crate) fn set_readable(&mut self, link: usize) {
        for link in self.links.iter_mut().filter(|l| usize::from(l.id.get()) == link) {
            link.readable = true;
        }
    }

    /// The poller shows an error on link N.
    pub(crate) fn set_erring(&mut self, link: usize) {
        for link in self.links.iter_mut().filter(|l| usize::from(l.id.get()) == link) {
            link.erring = true;
        }
    }

    /// Peers whose machines refuse packets, as far as the kernel has told since the last call. Never waits.
    pub(crate) fn refusals(&mut self) -> NodeSet {
        let mut refused = NodeSet::new();
        for link in &mut self.links {
            for _ in 0..ERRORS_BUDGET {
                if !link.erring {
                    break;
                }
                match refused::take(&link.socket) {
                    Some(by) => {
                        let peer =
                            link.peers.iter().find(|p| by.is_some_and(|by| p.addr.as_socket() == Some(by)));
                        peer.map(|p| refused.insert(p.id));
                    }
                    None => link.erring = false,
                }
            }
        }
        refused
    }

    /// Whether the next turn must not sleep.
    pub(crate) fn has_work(&self) -> bool {
        !self.batch.is_empty() || self.links.iter().any(|l| l.readable || l.erring)
    }

    /// Takes packets, each at the time `now` gives, and calls `after` for what came out of the node. Links take turns, one call
    /// of the kernel each.
    pub(crate) fn receive(
        &mut self,
        node: &mut Node,
        now: impl Fn() -> Boottime,
        mut after: impl FnMut(&mut Node, &mut Queue<'_>, Boottime),
    ) {
        let mut budget = RECEIVE_BUDGET;
        while budget > 0 && (!self.batch.is_empty() || self.receive_batch()) {
            let now = now();
            let Self {
                links,
                batch,
                batch_of: id,
                spare,
                probes,
                block_unlisted,
                unlisted,
                unlisted_from,
                ..
            } = self;
            let Some(at) = links.iter().position(|l| l.id == *id) else {
                // The link has gone since.
                batch.clear();
                continue;
            };
            while budget > 0
                && let Some((from, packet)) = batch.next_packet()
            {
                budget -= 1;
                // Before the seal: who has the address of one node need not cost us more because it names another one.
                if *block_unlisted {
                    let peers = &links[at].peers;
                    let claims = Header::decode(packet).ok().map(|h| h.sender);
                    let claimed = peers.iter().find(|p| Some(p.id) == claims);
                    let fits = claimed.is_some_and(|p| p.ip == from.ip());
                    if !fits && !peers.iter().any(|p| p.ip == from.ip()) {
                        *unlisted += 1;
                        *unlisted_from = Some(from);
                        continue;
                    }
                    if let Some(claimed) = claimed.filter(|_| !fits) {
                        node.reject_address(claimed.id);
                        after(node, &mut Queue { links, spare, probes }, now);
                        continue;
                    }
                }
                node.handle_packet(now, *id, packet);
                after(node, &mut Queue { links, spare, probes }, now);
            }
        }
    }

    /// Takes what has come in on the next link that may have something. False: nothing on any.
    fn receive_batch(&mut self) -> bool {
        let after = self.links.iter().position(|l| l.id > self.batch_of).unwrap_or(0);
        for at in (after..self.links.len()).chain(0..after) {
            let link = &mut self.links[at];
            for _ in 0..ERRORS_MAX {
                if !link.readable {
                    break;
                }
                match self.batch.receive(&link.socket) {
                    Ok(n) => {
                        link.readable = n == net::RECEIVE_MAX;
                        self.batch_of = link.id;
                        return true;
                    }
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => link.readable = false,
                    // What an earlier send left behind (ECONNREFUSED): taken off by reading it.
                    Err(_) => {}
                }
            }
        }
        false
    }

    /// Where outputs of the node put their packets.
    pub(crate) fn queue(&mut self) -> Queue<'_> {
        Queue { links: &mut self.links, spare: &mut self.spare, probes: &mut self.probes }
    }

    /// Sends what waits, urgent packets first, until each socket's buffer is full.
    pub(crate) fn flush(&mut self) {
        for link in &mut self.links {
            if !link.urgent.is_empty() || !link.data.is_empty() {
                let failures = link.flush(&mut self.sender, &mut self.spare);
                self.failures = if failures == 0 { 0 } else { self.failures.saturating_add(failures) };
            }
            if self.sender.take_too_long() {
                self.feedback.push(Feedback::CutUp(link.id));
            }
        }
        for (to, id, packet) in self.probes.drain(..) {
            let Some(link) = self.links.iter().find(|l| l.id == id) else { continue };
            let Some(peer) = link.peers.iter().find(|p| p.id == to) else { continue };
            // Whatever else goes wrong: no answer will come.
            let sent = net::send_whole(&link.socket, &peer.addr, &packet);
            if sent.is_err_and(|e| net::is_too_long(&e)) {
                self.feedback.push(Feedback::TooLong { to, link: id, len: packet.len() });
            }
        }
    }

    /// Packets that the system did not take, in a row.
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }

    /// What came of sending that the node should know.
    pub(crate) fn take_feedback(&mut self) -> Vec<Feedback> {
        std::mem::take(&mut self.feedback)
    }

    /// Buffers of packets that are out, for the node to use again.
    pub(crate) fn spare(&mut self) -> impl Iterator<Item = Vec<u8>> {
        let keep = self.spare.len().min(SPARE_KEPT);
        self.spare.drain(keep..)
    }

    /// Has the poller say when a socket takes more, where packets wait for that.
    pub(crate) fn watch(&mut self, registry: &Registry, first: usize) {
        for link in &mut self.links {
            let waits = !link.urgent.is_empty() || !link.data.is_empty();
            if waits == link.writing {
                continue;
            }
            link.writing = waits;
            let interest = if waits { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
            let token = Token(first + usize::from(link.id.get()));
            // The descriptor is registered and open: nothing can fail but the whole poller.
            let _ = registry.reregister(&mut SourceFd(&link.socket.as_raw_fd()), token, interest);
        }
    }

    /// Tells what was refused or not sent since the last report.
    pub(crate) fn report(&mut self, node: &mut Node, log: &Log) {
        if let Some(from) = self.unlisted_from.take() {
            log.event(DaemonEvent::Unlisted { from, count: std::mem::take(&mut self.unlisted) });
        }
        for link in &mut self.links {
            for (peer, trouble) in link.peers.iter().zip(&mut link.troubles) {
                let Trouble { unsent, error } = std::mem::take(trouble);
                if unsent != Unsent::default() {
                    node.note_unsent(peer.id, link.id, &unsent);
                }
                if let Some(error) = error {
                    let count = unsent.lost.iter().sum();
                    log.event(DaemonEvent::SendFailed { to: peer.id, link: link.id, error, count });
                }
            }
            if link.overflowed > 0 {
                let count = std::mem::take(&mut link.overflowed);
                log.event(DaemonEvent::SendOverflow { link: link.id, count });
            }
        }
    }
}

impl Link {
    fn bind(config: &LinkNet, dscp: u8) -> io::Result<Self> {
        Ok(Self::new(config, Self::socket(config, dscp)?))
    }

    fn socket(config: &LinkNet, dscp: u8) -> io::Result<UdpSocket> {
        let options = UdpOptions { buffer_bytes: BUFFER_BYTES, dscp, ttl: config.ttl };
        let socket = net::bind_udp(config.local, &options)?;
        refused::watch(&socket)?;
        Ok(socket)
    }

    fn new(config: &LinkNet, socket: UdpSocket) -> Self {
        let peer = |(id, addr): &(NodeId, SocketAddr)| Peer { id: *id, ip: addr.ip(), addr: (*addr).into() };
        Self {
            id: config.id,
            local: config.local.ip(),
            socket,
            peers: config.peers.iter().map(peer).collect(),
            troubles: config.peers.iter().map(|_| Trouble::default()).collect(),
            urgent: Outbox::new(QUEUE_MAX / 8),
            data: Outbox::new(QUEUE_MAX),
            readable: false,
            erring: false,
            writing: false,
            overflowed: 0,
        }
    }

    /// Sends what waits; how many packets the system did not take.
    fn flush(&mut self, sender: &mut Sender, spare: &mut Vec<Vec<u8>>) -> u32 {
        let Self { socket, peers, troubles, urgent, data, .. } = self;
        let mut failures = 0;
        for outbox in [urgent, data] {
            let addresses = peers.iter().map(|p| &p.addr);
            let failed = |peer: usize, why, packet: &[u8]| {
                let Trouble { unsent, error } = &mut troubles[peer];
                let traffic = Header::decode(packet).map_or(Traffic::Data, |h| h.kind.into()) as usize;
                if why == io::ErrorKind::WouldBlock {
                    unsent.retried[traffic] += 1;
                } else {
                    unsent.lost[traffic] += 1;
                    *error = Some(why);
                    failures += 1;
                }
            };
            if outbox.flush(socket, sender, addresses, spare, failed) == Flushed::Full {
                break;
            }
        }
        failures
    }

    /// Queues a packet for those whom it is for.
    fn push(&mut self, to: Destination, urgent: bool, packet: Vec<u8>, spare: &mut Vec<Vec<u8>>) {
        let outbox = if urgent { &mut self.urgent } else { &mut self.data };
        let mask = self.peers.iter().enumerate().fold(0, |mask, (at, peer)| {
            let wanted = !matches!(to, Destination::Node(id) if id != peer.id);
            mask | u64::from(wanted) << at
        });
        if !outbox.push(mask, packet, spare) {
            self.overflowed += 1;
        }
    }
}

/// The sending half, for outputs that come out while packets are taken in.
pub(crate) struct Queue<'a> {
    links: &'a mut [Link],
    spare: &'a mut Vec<Vec<u8>>,
    probes: &'a mut Vec<(NodeId, LinkId, Vec<u8>)>,
}

impl Queue<'_> {
    /// Queues a probe of a path.
    pub(crate) fn push_probe(&mut self, to: NodeId, link: LinkId, packet: Vec<u8>) {
        self.probes.push((to, link, packet));
    }

    /// Queues one packet of the node on each of these links.
    pub(crate) fn push(&mut self, to: Destination, links: LinkSet, urgent: bool, packet: Vec<u8>) {
        debug_assert!(packet.len() <= limits::PACKET_MAX);
        let mut wanted = self.links.iter_mut().filter(|l| links.contains(l.id)).peekable();
        let mut packet = Some(packet);
        while let Some(link) = wanted.next() {
            // The last one takes the buffer itself.
            let copy = match (&packet, wanted.peek()) {
                (Some(packet), Some(_)) => {
                    let mut copy = self.spare.pop().unwrap_or_default();
                    copy.clone_from(packet);
                    Some(copy)
                }
                _ => packet.take(),
            };
            if let Some(copy) = copy {
                link.push(to, urgent, copy, self.spare);
            }
        }
    }
}
