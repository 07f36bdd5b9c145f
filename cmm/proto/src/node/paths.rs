//! How long packets may be: probes of the paths out and in, and frames that are longer than their paths take now.

use holdfast_types::{Boottime, LinkId, LinkSet, NodeId};

use super::{ANY_LINK, Node};
use crate::api::{Destination, Output};
use crate::limits::PACKET_CONTROL_MAX;
use crate::links::Unsent;
use crate::wire::{FrameKind, PacketKind, Part, Probe, frame_of, payload_of};

impl Node {
    /// An [`Output::Probe`] of so many bytes was not sent: the interface takes none of that length.
    pub fn handle_too_long(&mut self, now: Boottime, to: NodeId, link: LinkId, len: usize) {
        self.turn(now);
        if !self.left {
            self.links.probe_refused(now, to, link, len);
            self.settle(now);
        }
    }

    /// Packets had to be cut up on this link, since the interface does not take them any more.
    pub fn handle_cut_up(&mut self, now: Boottime, link: LinkId) {
        self.turn(now);
        if !self.left {
            self.links.doubt(now, LinkSet::of(link));
            self.settle(now);
        }
    }

    /// The system did not take packets for a peer.
    pub fn note_unsent(&mut self, to: NodeId, link: LinkId, unsent: &Unsent) {
        self.links.unsent(to, link, unsent);
    }

    /// Sends the probes that are due.
    pub(super) fn probe_paths(&mut self, now: Boottime) {
        while let Some((to, link, len)) = self.links.next_probe(now) {
            let packet = self.sealer.seal(PacketKind::Probe, link, &Probe::Ask(len).encode());
            self.links.sent(to, LinkSet::of(link), PacketKind::Probe, packet.len());
            self.outputs.push_back(Output::Probe { to, link, packet });
        }
        while let Some(event) = self.links.poll_event() {
            self.event(event);
        }
    }

    pub(super) fn handle_probe(&mut self, now: Boottime, from: NodeId, link: LinkId, probe: Probe) {
        match probe {
            // The answer is shorter: it costs the one who asks more than us.
            Probe::Ask(len) => {
                self.send_on_link(from, link, PacketKind::Probe, &Probe::Answer(len).encode());
            }
            Probe::Answer(len) => self.links.probe_answered(now, from, link, len),
        }
    }

    /// Frames made from now on fit the paths. Where frames had to be sent again, long ones may not get through any more: what is
    /// sent again now, and all else until that is known, goes in packets that are safe.
    pub(super) fn fit_frames(&mut self, now: Boottime) {
        let stats = self.ring.stats();
        let resent = stats.mcast_retx + stats.mcast_again;
        if std::mem::replace(&mut self.resent, resent) != resent {
            self.links.doubt(now, self.links.all());
        }
        self.ring.set_frame_payload_max(payload_of(self.links.packet_max()));
    }

    /// Sends a frame of the ring, in parts if it is longer than the paths take: it was made when they took more.
    pub(super) fn send_frame(&mut self, to: Destination, urgent: bool, frame: &[u8]) {
        let packet_max = self.links.packet_max();
        // What forms the ring does not wait for a path to be known, and is for the kernel to cut up.
        let whole =
            if FrameKind::of(frame) == Ok(FrameKind::Mcast) { packet_max } else { PACKET_CONTROL_MAX };
        if frame.len() <= frame_of(whole) {
            let mut packet = self.spare.pop().unwrap_or_default();
            self.sealer.seal_into(PacketKind::Ring, ANY_LINK, frame, &mut packet);
            return self.transmit(to, urgent, PacketKind::Ring, packet);
        }
        self.frames_cut = self.frames_cut.wrapping_add(1);
        for part in Part::split(self.frames_cut, frame, packet_max) {
            let packet = self.sealer.seal(PacketKind::Part, ANY_LINK, &part.encode());
            self.transmit(to, urgent, PacketKind::Part, packet);
        }
    }
}
