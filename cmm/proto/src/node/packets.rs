//! Packets in and heartbeats out: the seal first, then life, leases and gasps; what is the ring's goes to the ring.

use holdfast_types::{Boottime, LinkId, LinkSet, NodeId, RingId, Span};

use super::Node;
use crate::api::{Destination, Event, GaspKind, Output, RejectReason};
use crate::detector::Hint;
use crate::service::messages::Message;
use crate::wire::{Echo, FrameKind, Gasp, Header, Heartbeat, Join, LinkBeat, PacketKind, Part, Probe};

impl Node {
    /// Checks and opens a packet, and acts on what is in it. One that does not open changes counters only, and costs no
    /// more than the checks.
    pub(super) fn receive(&mut self, now: Boottime, link: LinkId, packet: &mut [u8]) {
        let len = packet.len();
        match self.opener.open(packet) {
            Ok(opened) => {
                let news = (opened.new_incarnation, opened.new_keys);
                let (header, body) = (opened.header, opened.body);
                self.links.packet(now, header.sender, link, header.kind, len);
                if news.0 || news.1 {
                    self.look_for_wanted();
                }
                if let Err(why) = self.handle_opened(now, link, &header, news, body) {
                    self.reject(why, Some(header.sender));
                }
                self.settle(now);
            }
            Err(RejectReason::Replay) if self.links.sends_doubles() => {}
            Err(why) => {
                let of_another_key = matches!(why, RejectReason::UnknownKey | RejectReason::OldKey);
                let header =
                    Header::decode(packet).ok().filter(|h| of_another_key && self.is_listed(h.sender));
                self.reject(why, header.map(|h| h.sender));
                if let Some(header) = header.filter(|_| why == RejectReason::UnknownKey) {
                    self.note_unknown_key(now, &header, packet);
                }
            }
        }
    }

    /// A packet that says it is from `claims` came from an address that is not that node's: the driver has not looked further.
    pub fn reject_address(&mut self, claims: NodeId) {
        self.reject(RejectReason::Address, Some(claims));
    }

    pub(super) fn is_listed(&self, node: NodeId) -> bool {
        self.config.nodes.binary_search_by_key(&node, |n| n.id).is_ok()
    }

    fn reject(&mut self, why: RejectReason, claims: Option<NodeId>) {
        self.rejected.reject(why);
        self.event(Event::PacketRejected { why, claims });
    }

    fn handle_opened(
        &mut self,
        now: Boottime,
        link: LinkId,
        header: &Header,
        (new_incarnation, new_keys): (bool, bool),
        body: &[u8],
    ) -> Result<(), RejectReason> {
        let sender = header.sender;
        if self.is_confirmed(sender, header.incarnation) {
            return Err(RejectReason::Replay);
        }
        if new_incarnation {
            self.links.restarted(now, sender);
            self.note_life(sender, header.incarnation);
            // The ring learns of a new life by its join.
            if self.detector.replaced(sender, header.incarnation) {
                self.event(Event::Suspect { node: sender, why: "new incarnation", silent: Span::ZERO });
            }
        }
        if new_keys {
            self.review_keys(now);
        }
        match header.kind {
            PacketKind::Gasp => {
                let gasp = Gasp::decode(body).map_err(|_| RejectReason::Content)?;
                return self.handle_gasp(now, header, gasp);
            }
            PacketKind::Heartbeat => {
                let (beat, rest) = LinkBeat::split(body).map_err(|_| RejectReason::Content)?;
                let heartbeat = beat.heartbeat.then(|| Heartbeat::decode(rest)).transpose();
                let heartbeat = heartbeat.map_err(|_| RejectReason::Content)?;
                self.detector.heard(now, sender);
                self.ring.heard(now, sender);
                if self.links.asks(sender, &beat) {
                    // On all links: the one that it came on need not carry the answer.
                    self.send_heartbeat(now, &[sender], false);
                }
                // Sent on another link than it came in on: cables or addresses are swapped, and it says nothing of either.
                if header.link == link && self.links.beat(now, sender, link, &beat) {
                    self.send_on(now, sender, link, None, false);
                }
                if let Some(heartbeat) = heartbeat {
                    self.handle_heartbeat(now, header, &heartbeat);
                }
            }
            PacketKind::Ring => self.handle_ring_frame(now, header, body),
            PacketKind::Part => {
                self.detector.heard(now, sender);
                let part = Part::decode(body).map_err(|_| RejectReason::Content)?;
                if let Some(frame) = self.parts.put(sender, header.incarnation, &part) {
                    self.handle_ring_frame(now, header, &frame);
                }
            }
            PacketKind::Probe => {
                let probe = Probe::decode(body).map_err(|_| RejectReason::Content)?;
                if header.link == link {
                    self.handle_probe(now, sender, link, probe);
                }
            }
        }
        Ok(())
    }

    fn handle_ring_frame(&mut self, now: Boottime, header: &Header, frame: &[u8]) {
        let sender = header.sender;
        self.detector.heard(now, sender);
        if FrameKind::of(frame) == Ok(FrameKind::Join)
            && let Ok(join) = Join::decode(frame)
        {
            self.note_join(now, header, &join);
        }
        self.ring.handle_frame(now, sender, frame);
    }

    /// What a join says besides what it is for the ring.
    fn note_join(&mut self, now: Boottime, header: &Header, join: &Join) {
        if join.leave {
            // Whoever leaves has given up quorum first.
            self.quorum.promised_mut().end(header.sender, header.incarnation);
            self.quorum.note_leaving(header.sender);
            self.detector.suspect(header.sender);
            return;
        }
        for node in join.deaf.iter() {
            self.probe(now, node, Hint::Doubted);
        }
    }

    /// Has the detector ask `node` whether it is there.
    pub(super) fn probe(&mut self, now: Boottime, node: NodeId, hint: Hint) {
        if self.detector.hint(now, node, hint, self.links.round_trip(node)) {
            self.event(Event::Probe { node, why: hint.as_str() });
        }
    }

    pub(super) fn handle_heartbeat(&mut self, now: Boottime, header: &Header, beat: &Heartbeat) {
        let sender = header.sender;
        self.note_boot(sender, header.incarnation, beat.boot_id);
        let Some(news) =
            self.detector.heartbeat(sender, header.incarnation, beat.ring, beat.send_time, &beat.echoes)
        else {
            return;
        };
        // Only what this life sent can come back. A member of the same ring could not echo anything else, but a lease
        // is nothing to take on trust.
        if let Some(sent) = news.echo.filter(|sent| (self.started..=now).contains(sent)) {
            self.quorum.echo(sender, sent, beat.lease, beat.device);
            self.detector.leased(now, sender, beat.lease);
        }
        if news.first {
            self.send_heartbeat(now, &[sender], false);
        }
    }

    pub(super) fn handle_gasp(
        &mut self,
        now: Boottime,
        header: &Header,
        gasp: Gasp,
    ) -> Result<(), RejectReason> {
        let (node, life) = (header.sender, header.incarnation);
        if gasp.incarnation != life {
            return Err(RejectReason::Content);
        }
        let last_word = gasp.kind == GaspKind::LastWord;
        let news = self.quorum.promised_mut().end(node, life);
        if news || last_word {
            self.event(Event::Gasp { node, incarnation: life, last_word, why: gasp.why.clone() });
        }
        if news {
            self.suspect(now, node, "gasp");
        }
        if last_word {
            self.confirm(now, node, life, &gasp.why);
            // For those that its packets did not reach.
            let why = &gasp.why;
            self.pending.push_back(Message::ConfirmDeath { node, incarnation: life, why }.encode());
        }
        Ok(())
    }

    /// Sends a packet over the links that carry what goes there.
    pub(super) fn transmit(&mut self, to: Destination, urgent: bool, kind: PacketKind, packet: Vec<u8>) {
        let node = match to {
            Destination::Node(node) => node,
            Destination::AllPeers => match self.links.route_to_all(urgent) {
                Some(links) => {
                    self.links.sent_to_all(links, kind, packet.len());
                    return self.outputs.push_back(Output::Transmit { to, links, urgent, packet });
                }
                None => {
                    let peers: Vec<NodeId> = self.peers().collect();
                    for peer in peers {
                        self.transmit(Destination::Node(peer), urgent, kind, packet.clone());
                    }
                    return;
                }
            },
        };
        let links = self.links.route(node, urgent);
        self.links.sent(node, links, kind, packet.len());
        self.outputs.push_back(Output::Transmit { to, links, urgent, packet });
    }

    /// Sends a heartbeat to every member of the ring.
    pub(super) fn send_heartbeat_to_members(&mut self, now: Boottime) {
        let members: Vec<NodeId> = self.detector.peers().collect();
        self.send_heartbeat(now, &members, false);
    }

    /// Sends a heartbeat to each of `nodes`, on every link: the failure of one makes nobody silent. One that `asks` is a
    /// probe.
    pub(super) fn send_heartbeat(&mut self, now: Boottime, nodes: &[NodeId], asks: bool) {
        // Before the first ring there is none to speak of: a beat alone is life enough.
        let ring = self.detector.ring() != RingId::default();
        let echoes = if ring { self.detector.echoes() } else { Vec::new() };
        for node in nodes {
            if !self.is_listed(*node) {
                continue; // no node any more
            }
            let echo = echoes.binary_search_by_key(node, |e| e.node).ok().map(|at| echoes[at]);
            let heartbeat = ring.then(|| self.heartbeat(now, echo).encode());
            for link in self.links.all().iter() {
                self.send_on(now, *node, link, heartbeat.as_deref(), asks);
            }
        }
    }

    /// Sends beats to those who get no heartbeats, when they are due.
    pub(super) fn probe_links(&mut self, now: Boottime) {
        while let Some(node) = self.links.due(now) {
            for link in self.links.all().iter() {
                self.send_on(now, node, link, None, false);
            }
        }
    }

    fn send_on(&mut self, now: Boottime, node: NodeId, link: LinkId, heartbeat: Option<&[u8]>, asks: bool) {
        let beat = LinkBeat { asks, ..self.links.compose(now, node, link, heartbeat.is_some()) };
        let body = beat.before(heartbeat.unwrap_or_default());
        self.send_on_link(node, link, PacketKind::Heartbeat, &body);
    }

    /// Sends what belongs to one link.
    pub(super) fn send_on_link(&mut self, node: NodeId, link: LinkId, kind: PacketKind, body: &[u8]) {
        let packet = self.sealer.seal(kind, link, body);
        let links = LinkSet::of(link);
        self.links.sent(node, links, kind, packet.len());
        let to = Destination::Node(node);
        self.outputs.push_back(Output::Transmit { to, links, urgent: true, packet });
    }

    fn peers(&self) -> impl Iterator<Item = NodeId> {
        let me = self.config.me;
        self.config.nodes.iter().map(|n| n.id).filter(move |id| *id != me)
    }

    /// A heartbeat with the echo of whom it goes to: nobody else has any use for it. What it promises is noted.
    fn heartbeat(&mut self, now: Boottime, echo: Option<Echo>) -> Heartbeat {
        if let Some(echo) = echo {
            let life = self.lives.get(&echo.node).copied().unwrap_or_default();
            let arrived = self.detector.arrived(echo.node).unwrap_or(now);
            self.quorum.promised_mut().echoed(echo.node, life, arrived);
        }
        Heartbeat {
            ring: self.detector.ring(),
            send_time: now,
            boot_id: self.config.boot_id,
            watchdog: Span::ZERO,
            lease: self.quorum.promised().lease(),
            device: self.quorum.hands_on(now),
            echoes: echo.into_iter().collect(),
        }
    }
}
