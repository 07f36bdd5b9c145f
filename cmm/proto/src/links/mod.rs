//! The links to every peer: which are up, which one carries what, and what is known of each.
//!
//! On each link each node sends beats to each other node ([`LinkBeat`]): to members of its ring they carry the ring's
//! heartbeat, so that a cluster with one link has no second stream of packets; to others they go alone and less often. A link to
//! a peer is *up* while beats are heard on it and say that ours are heard there as well. It is down when
//! four beats are missing, or when the peer says that it does not hear us (a one-way failure: both sides stop using it). It comes back
//! after some beats in a row without a gap, more of them each time if it flaps.
//!
//! In passive mode the link with the highest priority that is up carries everything, all others only beats; in active
//! mode every packet goes out on every link that is up, and the receiver's replay window drops the doubles. To a peer without
//! any link that is up, urgent packets go out on all links, so that nobody waits for a link to come up before the ring can
//! form. Beats always go out on all links: the failure of one link never makes a member silent.
//!
//! While a link is up, the longest packet that gets to the peer whole is searched for ([`mtu`]). Data packets are no longer
//! than all peers get them on the links that carry data to them.

mod mtu;
mod path;

use std::collections::VecDeque;

use holdfast_types::{Boottime, LinkId, LinkSet, NodeId, Span};

use crate::limits::{LINKS_MAX, PACKET_SAFE};
use crate::wire::{LinkBeat, NodeSet, PacketKind, frame_of};
use crate::{Event, LinkMode, LinksConfig, Refusal};
use mtu::Step;
use path::{Change, Path};
pub use path::{Count, PathStats, Traffic, Unsent};

/// Why a link cannot carry anything, as this machine itself knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkLoss {
    /// Its interface is down, or has nothing at the other end.
    Carrier,
    /// Its local address is on no interface any more.
    Address,
}

impl LinkLoss {
    /// In words, for the log.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Carrier => "its interface lost the carrier",
            Self::Address => "its local address was removed",
        }
    }
}

/// All links to all peers.
pub struct Links {
    config: LinksConfig,
    peers: Vec<Peer>,
    /// Between two heartbeats to a member of the ring.
    heartbeat: Span,
    last_turn: Boottime,
    /// Links that reached somebody once.
    seen_up: LinkSet,
    /// Links that reach nobody while others do.
    faulty: LinkSet,
    /// Since when they do.
    doubted: [Option<Boottime>; LINKS_MAX],
    /// What carries packets to some peer has changed.
    rerouted: bool,
    /// Data packets are no longer than this.
    packet_max: usize,
    /// The same, as told last.
    packet_max_told: usize,
    /// It may have to be another one.
    resize: bool,
    /// No probe of a path before that: they must not come in a burst.
    probe_after: Boottime,
    /// Peers whose last link has gone down, not taken yet.
    cut_off: NodeSet,
    events: VecDeque<Event>,
}

struct Peer {
    id: NodeId,
    paths: [Path; LINKS_MAX],
    up: LinkSet,
    /// What goes before data, and data.
    urgent: LinkSet,
    data: LinkSet,
    /// The link that passive mode uses.
    best: Option<LinkId>,
    /// `sent` of the newest of its probes that was answered.
    answered: Boottime,
    /// When a beat is sent if no heartbeat was.
    next_beat: Boottime,
}

impl Peer {
    /// Of whom nothing is known; a beat is due.
    fn new(id: NodeId, config: &LinksConfig, now: Boottime) -> Self {
        Self {
            id,
            paths: Default::default(),
            up: LinkSet::EMPTY,
            urgent: config.all(),
            data: config.best_of(config.all()).map_or(LinkSet::EMPTY, LinkSet::of),
            best: None,
            answered: Boottime::default(),
            next_beat: now,
        }
    }
}

impl Links {
    /// To all `peers`; nothing is known of any link, and beats are due.
    #[must_use]
    pub fn new(
        config: LinksConfig,
        peers: impl IntoIterator<Item = NodeId>,
        heartbeat: Span,
        now: Boottime,
    ) -> Self {
        let mut peers: Vec<Peer> = peers.into_iter().map(|id| Peer::new(id, &config, now)).collect();
        peers.sort_by_key(|p| p.id);
        Self {
            config,
            peers,
            heartbeat,
            last_turn: now,
            seen_up: LinkSet::EMPTY,
            faulty: LinkSet::EMPTY,
            doubted: [None; LINKS_MAX],
            rerouted: false,
            packet_max: PACKET_SAFE,
            packet_max_told: PACKET_SAFE,
            resize: false,
            probe_after: now,
            cut_off: NodeSet::new(),
            events: VecDeque::new(),
        }
    }

    /// These are all peers from now on; what is known of those that stay, stays.
    pub fn set_peers(&mut self, now: Boottime, peers: impl IntoIterator<Item = NodeId>) {
        let mut before = std::mem::take(&mut self.peers);
        let config = &self.config;
        let mut keep = |id: NodeId| {
            let at = before.iter().position(|p| p.id == id);
            at.map_or_else(|| Peer::new(id, config, now), |at| before.swap_remove(at))
        };
        self.peers = peers.into_iter().map(&mut keep).collect();
        self.peers.sort_by_key(|p| p.id);
        self.cut_off = self.cut_off.iter().filter(|id| self.place(*id).is_some()).collect();
        (self.rerouted, self.resize) = (true, true);
    }

    /// A turn of the event loop. After one that came late nobody is held silent: what was sent may be waiting.
    pub fn turn(&mut self, now: Boottime) {
        let gap = now.since(self.last_turn);
        self.last_turn = now;
        if gap > self.heartbeat.scale(2, 1) {
            for path in self.peers.iter_mut().flat_map(|p| &mut p.paths) {
                path.listen_anew(now);
            }
        }
    }

    /// Heartbeats go to members at another interval from now on.
    pub fn set_heartbeat(&mut self, now: Boottime, heartbeat: Span) {
        self.heartbeat = heartbeat;
        self.peers.iter_mut().for_each(|peer| peer.next_beat = now);
    }

    /// Takes other links from now on; `moved` are those with other addresses. Beats go out at once.
    ///
    /// # Errors
    /// `Busy`: a peer is reached now, and by none of the links that stay as they are.
    pub fn change(&mut self, now: Boottime, config: &LinksConfig, moved: LinkSet) -> Result<(), Refusal> {
        let stays: LinkSet = config.all().without_all(moved);
        let lost = |p: &Peer| !p.up.is_empty() && !p.up.iter().any(|l| stays.contains(l));
        if self.peers.iter().any(lost) {
            return Err(Refusal::Busy);
        }
        let gone = self.config.all().without_all(stays);
        self.config = config.clone();
        for peer in &mut self.peers {
            for link in gone.iter() {
                peer.paths[usize::from(link.get())].leave(now);
                if peer.up.contains(link) {
                    let why = if moved.contains(link) { "its addresses change" } else { "it was removed" };
                    self.events.push_back(Event::Link { node: peer.id, link, up: false, why });
                }
                peer.up = peer.up.without(link);
            }
            self.events.extend(peer.choose(&self.config));
            peer.paths.iter_mut().for_each(|path| path.mtu.again(now));
            peer.next_beat = now;
        }
        (self.rerouted, self.resize) = (true, true);
        self.seen_up = self.seen_up.without_all(gone);
        self.faulty = self.faulty.without_all(gone);
        self.doubted = [None; LINKS_MAX];
        Ok(())
    }

    /// A packet of `node`, opened, came in on `link`.
    pub fn packet(&mut self, now: Boottime, node: NodeId, link: LinkId, kind: PacketKind, len: usize) {
        if let Some(path) = self.path(node, link) {
            path.packet(now, kind.into(), len);
        }
    }

    /// A beat of `node` came in on `link`. `true`: it wants an answer at once.
    pub fn beat(&mut self, now: Boottime, node: NodeId, link: LinkId, beat: &LinkBeat) -> bool {
        let Some(path) = self.path(node, link) else { return false };
        let heard = path.hearing;
        let first = path.beat(now, beat);
        self.resize |= !heard;
        self.judge(now, node, link, None);
        first
    }

    /// Whether this beat of `node` is a probe that was not answered yet: one answer for all its copies.
    pub fn asks(&mut self, node: NodeId, beat: &LinkBeat) -> bool {
        let Ok(at) = self.peers.binary_search_by_key(&node, |p| p.id) else { return false };
        let answered = &mut self.peers[at].answered;
        beat.asks && std::mem::replace(answered, beat.sent.max(*answered)) < beat.sent
    }

    /// This machine says that a link carries nothing any more: it is down for all peers, at once.
    pub fn lost(&mut self, now: Boottime, link: LinkId, why: LinkLoss) {
        for at in 0..self.peers.len() {
            let id = self.peers[at].id;
            if let Some(path) = self.path(id, link) {
                path.silent();
                self.judge(now, id, link, Some(why));
            }
        }
    }

    /// `node` has begun another life.
    pub fn restarted(&mut self, now: Boottime, node: NodeId) {
        self.resize = true;
        for link in self.config.all().iter() {
            if let Some(path) = self.path(node, link) {
                path.restarted();
            }
            self.judge(now, node, link, None);
        }
        if let Ok(at) = self.peers.binary_search_by_key(&node, |p| p.id) {
            self.peers[at].answered = Boottime::default();
        }
    }

    /// Links that have fallen silent.
    pub fn handle_timeout(&mut self, now: Boottime) {
        let all = self.config.all();
        for k in 0..self.peers.len() {
            for link in all.iter() {
                let limit = self.config.limit(link);
                let peer = &mut self.peers[k];
                let path = &mut peer.paths[usize::from(link.get())];
                if path.silent_at(limit).is_some_and(|at| at <= now) {
                    path.silent();
                    self.resize = true;
                    let id = peer.id;
                    self.judge(now, id, link, None);
                }
            }
        }
        self.look_for_faults(now);
    }

    /// When [`Links::handle_timeout`], [`Links::due`] or [`Links::next_probe`] has something to do.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Boottime> {
        let mut next = self.fault_at().unwrap_or(Boottime::MAX);
        for peer in &self.peers {
            next = next.min(peer.next_beat);
            for link in &self.config.links {
                let path = &peer.paths[usize::from(link.id.get())];
                next = next.min(path.silent_at(link.limit).unwrap_or(Boottime::MAX));
                next = next.min(path.mtu.due().map_or(Boottime::MAX, |due| due.max(self.probe_after)));
            }
        }
        (next < Boottime::MAX).then_some(next)
    }

    /// The next peer that has got no beat for so long that one is due by itself.
    pub fn due(&mut self, now: Boottime) -> Option<NodeId> {
        self.peers.iter().find(|p| p.next_beat <= now).map(|p| p.id)
    }

    /// The next beat to `node` on `link`, with a heartbeat behind it or without.
    pub fn compose(&mut self, now: Boottime, node: NodeId, link: LinkId, heartbeat: bool) -> LinkBeat {
        let probe = self.heartbeat.scale(PROBE_HEARTBEATS, 1).min(PROBE_MAX).max(self.heartbeat);
        let interval = if heartbeat { self.heartbeat } else { probe };
        let peer = self.peer_mut(node).expect("beats go to peers");
        // A heartbeat that is a little late still comes before a beat of its own.
        peer.next_beat = now + if heartbeat { interval.scale(3, 2) } else { interval };
        peer.paths[usize::from(link.get())].compose(now, interval, heartbeat)
    }

    /// All links of this node.
    #[must_use]
    pub fn all(&self) -> LinkSet {
        self.config.all()
    }

    /// How it was configured.
    #[must_use]
    pub fn config(&self) -> &LinksConfig {
        &self.config
    }

    /// The links that carry a packet to `node`.
    #[must_use]
    pub fn route(&self, node: NodeId, urgent: bool) -> LinkSet {
        let peer = self.peer(node);
        peer.map_or(LinkSet::EMPTY, |p| if urgent { p.urgent } else { p.data })
    }

    /// The links that carry a packet to every peer, if they are the same for all.
    #[must_use]
    pub fn route_to_all(&self, urgent: bool) -> Option<LinkSet> {
        let route = |p: &Peer| if urgent { p.urgent } else { p.data };
        let first = self.peers.first().map(route)?;
        self.peers.iter().all(|p| route(p) == first).then_some(first)
    }

    /// A packet for `node` was given to the driver on these links.
    pub fn sent(&mut self, node: NodeId, links: LinkSet, kind: PacketKind, len: usize) {
        if let Some(peer) = self.peer_mut(node) {
            peer.count(links, kind, len);
        }
    }

    /// A packet for every peer was given to the driver on these links.
    pub fn sent_to_all(&mut self, links: LinkSet, kind: PacketKind, len: usize) {
        self.peers.iter_mut().for_each(|p| p.count(links, kind, len));
    }

    /// Packets for `node` were not taken by the system on this link; they are lost, or wait.
    pub fn unsent(&mut self, node: NodeId, link: LinkId, unsent: &Unsent) {
        if let Some(path) = self.path(node, link) {
            path.stats.unsent.add(unsent);
        }
    }

    /// Data packets should be no longer than this: every peer that is heard gets them whole, on the links that carry data to it.
    pub fn packet_max(&mut self) -> usize {
        if std::mem::take(&mut self.resize) {
            let heard = || self.peers.iter().filter(|p| p.paths.iter().any(|path| path.hearing));
            let paths = || heard().flat_map(|p| p.data.iter().map(|l| &p.paths[usize::from(l.get())].mtu));
            self.packet_max = paths().map(mtu::Mtu::usable).min().unwrap_or(PACKET_SAFE);
            // Not while it is being found out: it would go up and down.
            let settled = heard().next().is_some() && paths().all(mtu::Mtu::is_settled);
            if settled && self.packet_max != self.packet_max_told {
                self.packet_max_told = self.packet_max;
                self.events.push_back(Event::DataMtu { mtu: frame_of(self.packet_max) });
            }
        }
        self.packet_max
    }

    /// A probe of a path's MTU that is due: to whom, on which link, how many bytes of packet. Must be sent whole or not at all.
    pub fn next_probe(&mut self, now: Boottime) -> Option<(NodeId, LinkId, usize)> {
        if now < self.probe_after {
            return None;
        }
        let Self { config, peers, events, resize, heartbeat, .. } = self;
        for peer in peers {
            for link in &config.links {
                let path = &mut peer.paths[usize::from(link.id.get())];
                while path.mtu.due().is_some_and(|due| due <= now) {
                    let wait = heartbeat.scale(4, 1).max(path.stats.latency_ave.scale(4, 1)).max(PROBE_WAIT);
                    *resize = true;
                    match path.mtu.step(now, link.packet_max, wait, config.mtu_interval) {
                        Step::Ask { len, again } => {
                            path.stats.unsent.retried[Traffic::Probe as usize] += u64::from(again);
                            self.probe_after = now + PROBE_PACE;
                            return Some((peer.id, link.id, len));
                        }
                        Step::Found { from, to } => {
                            let (from, to) = (frame_of(from), frame_of(to));
                            events.push_back(Event::PathMtu { node: peer.id, link: link.id, from, to });
                        }
                        Step::Rest => {}
                    }
                }
            }
        }
        None
    }

    /// `node` has got a probe of so many bytes whole.
    pub fn probe_answered(&mut self, now: Boottime, node: NodeId, link: LinkId, len: usize) {
        if let Some(path) = self.path(node, link) {
            path.mtu.answered(now, len);
            self.resize = true;
        }
    }

    /// A probe of so many bytes was not sent: it is longer than the interface takes.
    pub fn probe_refused(&mut self, now: Boottime, node: NodeId, link: LinkId, len: usize) {
        if let Some(path) = self.path(node, link) {
            path.stats.unsent.lost[Traffic::Probe as usize] += 1;
            path.mtu.refused(now, len);
            self.resize = true;
        }
    }

    /// Long packets seem to get lost, or are cut up, on these links.
    pub fn doubt(&mut self, now: Boottime, links: LinkSet) {
        for peer in &mut self.peers {
            for link in links.iter() {
                self.resize |= peer.paths[usize::from(link.get())].mtu.doubt(now);
            }
        }
    }

    /// Links to `node` on which both sides hear each other.
    #[must_use]
    pub fn up(&self, node: NodeId) -> LinkSet {
        self.peer(node).map_or(LinkSet::EMPTY, |p| p.up)
    }

    /// Links on which `node` is heard, whether or not it hears us.
    #[must_use]
    pub fn heard_on(&self, node: NodeId) -> LinkSet {
        let heard = |p: &Peer| {
            self.config.all().iter().filter(|l| p.paths[usize::from(l.get())].hearing).collect::<LinkSet>()
        };
        self.peer(node).map_or(LinkSet::EMPTY, heard)
    }

    /// What is known of one link to one peer.
    #[must_use]
    pub fn stats(&self, node: NodeId, link: LinkId) -> PathStats {
        let stats = |p: &Peer| {
            let path = &p.paths[usize::from(link.get())];
            PathStats { mtu: frame_of(path.mtu.usable()), ..path.stats }
        };
        self.peer(node).map_or_else(PathStats::default, stats)
    }

    /// Links that reach nobody while others reach somebody.
    #[must_use]
    pub fn faulty(&self) -> LinkSet {
        self.faulty
    }

    /// Whether packets go to some peer by another way than at the last call.
    pub fn take_rerouted(&mut self) -> bool {
        std::mem::take(&mut self.rerouted)
    }

    /// Peers whose last link has gone down since the last call.
    pub fn take_cut_off(&mut self) -> NodeSet {
        std::mem::take(&mut self.cut_off)
    }

    /// The longest that a packet to `node` and its answer usually take.
    #[must_use]
    pub fn round_trip(&self, node: NodeId) -> Span {
        let long = |p: &Path| p.stats.latency_ave + p.stats.latency_dev.scale(4, 1);
        let longest = |p: &Peer| self.config.all().iter().map(|l| long(&p.paths[usize::from(l.get())])).max();
        self.peer(node).and_then(longest).unwrap_or_default()
    }

    /// Whether peers send the same packet more than once, on purpose.
    #[must_use]
    pub fn sends_doubles(&self) -> bool {
        self.config.mode == LinkMode::Active && self.config.links.len() > 1
    }

    /// The next thing worth a line.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    fn place(&self, node: NodeId) -> Option<usize> {
        self.peers.binary_search_by_key(&node, |p| p.id).ok()
    }

    fn peer(&self, node: NodeId) -> Option<&Peer> {
        self.place(node).map(|at| &self.peers[at])
    }

    fn peer_mut(&mut self, node: NodeId) -> Option<&mut Peer> {
        self.place(node).map(|at| &mut self.peers[at])
    }

    fn path(&mut self, node: NodeId, link: LinkId) -> Option<&mut Path> {
        if !self.config.all().contains(link) {
            return None;
        }
        self.peer_mut(node)?.paths.get_mut(usize::from(link.get()))
    }

    fn judge(&mut self, now: Boottime, node: NodeId, link: LinkId, loss: Option<LinkLoss>) {
        let recover = self.config.recover(link);
        let Some(change) = self.path(node, link).and_then(|p| p.judge(now, recover)) else { return };
        let at = self.place(node).expect("it has a path");
        let peer = &mut self.peers[at];
        let (up, why) = match change {
            Change::Up => (true, ""),
            Change::Down(why) => (false, loss.map_or(why, LinkLoss::as_str)),
        };
        self.events.push_back(Event::Link { node, link, up, why });
        if up {
            peer.up = peer.up.with(link);
            self.seen_up = self.seen_up.with(link);
        } else {
            peer.up = peer.up.without(link);
            if peer.up.is_empty() {
                self.cut_off.insert(node);
            }
        }
        let before = peer.data;
        if let Some(event) = peer.choose(&self.config) {
            self.events.push_back(event);
        }
        self.rerouted |= peer.data != before;
        self.resize = true;
        self.look_for_faults(now);
    }

    /// A link that reaches nobody for a while, though others do, is faulty. Not at once: when a node dies, its links fall silent
    /// one after another.
    fn look_for_faults(&mut self, now: Boottime) {
        let reaches = self.peers.iter().fold(LinkSet::EMPTY, |all, p| p.up.iter().fold(all, LinkSet::with));
        for link in self.config.all().iter() {
            let at = usize::from(link.get());
            if reaches.is_empty() {
                // Nobody is reached at all: nothing is known of this link that was not known before.
                self.doubted[at] = None;
            } else if reaches.contains(link) {
                self.doubted[at] = None;
                if self.faulty.contains(link) {
                    self.faulty = self.faulty.without(link);
                    self.events.push_back(Event::LinkFaulty { link, faulty: false });
                }
            } else if !self.faulty.contains(link) {
                let since = *self.doubted[at].get_or_insert(now);
                if now >= since + self.patience(link) {
                    self.faulty = self.faulty.with(link);
                    self.events.push_back(Event::LinkFaulty { link, faulty: true });
                }
            }
        }
    }

    /// How long a link may reach nobody; one that never did is given longer.
    fn patience(&self, link: LinkId) -> Span {
        if self.seen_up.contains(link) { self.heartbeat.scale(4, 1) } else { GRACE }
    }

    /// When a link in doubt is faulty.
    fn fault_at(&self) -> Option<Boottime> {
        let sound = self.config.links.iter().map(|l| l.id).filter(|link| !self.faulty.contains(*link));
        let at =
            |link: LinkId| self.doubted[usize::from(link.get())].map(|since| since + self.patience(link));
        sound.filter_map(at).min()
    }
}

impl Peer {
    /// Chooses anew which links carry what.
    fn choose(&mut self, config: &LinksConfig) -> Option<Event> {
        let best = config.best_of(self.up);
        let some = config.best_of(config.all()).map_or(LinkSet::EMPTY, LinkSet::of);
        (self.urgent, self.data) = match (config.mode, best) {
            (_, None) => (config.all(), some),
            (LinkMode::Passive, Some(best)) => (LinkSet::of(best), LinkSet::of(best)),
            (LinkMode::Active, Some(_)) => (self.up, self.up),
        };
        let changed = std::mem::replace(&mut self.best, best) != best;
        let links = self.up.len();
        (changed || config.mode == LinkMode::Active && best.is_some()).then(|| Event::BestLink {
            node: self.id,
            mode: config.mode,
            link: best,
            priority: best.map_or(0, |l| config.priority(l)),
            links,
        })
    }

    fn count(&mut self, links: LinkSet, kind: PacketKind, len: usize) {
        for link in links.iter() {
            self.paths[usize::from(link.get())].sent(Traffic::from(kind), len);
        }
    }
}

/// A node that is no member gets a beat after so many heartbeats.
const PROBE_HEARTBEATS: u64 = 4;
/// At the latest after this time.
const PROBE_MAX: Span = Span::from_secs(1);
/// Between two probes of paths, whichever: at most 9 MB a second, for the second or so that a search takes.
const PROBE_PACE: Span = Span::from_millis(1);
/// An answer to one takes no longer, nor four heartbeats or round trips.
const PROBE_WAIT: Span = Span::from_millis(100);
/// A link that has never been up is not called faulty before that.
const GRACE: Span = Span::from_secs(5);

#[cfg(test)]
mod tests;
