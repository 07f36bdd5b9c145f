//! Sealing and opening packets: AES-256-GCM, one key for each sender and life, a counter as nonce, a replay window.
//!
//! Every packet key is HKDF-SHA-256 of the cluster key with the cluster name as salt, bound to the sender, its
//! incarnation and the *domain*: ring and heartbeat packets share one counter; gasps are sealed in advance and have a
//! key of their own, so that their counters never meet the others'. An incarnation is never used twice, and a counter
//! never within one, so no nonce is. The header is authenticated with the body.
//!
//! A receiver knows one life of each sender: the newest that proved itself by a packet that opened. Older ones are
//! rejected, a newer one starts a fresh window. Gasps have no window: what they say is idempotent.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};
use holdfast_types::{Incarnation, LinkId, NodeId};
use zeroize::Zeroizing;

use super::header::{HEADER_LEN, Header, PacketKind};
use crate::RejectReason;
use crate::limits::PACKET_MAX;

/// Bytes of the tag behind a sealed body.
pub const TAG_LEN: usize = 16;

/// Seals this node's packets.
pub struct Sealer {
    me: NodeId,
    incarnation: Incarnation,
    packets: LessSafeKey,
    gasps: LessSafeKey,
    counter: u64,
    gasp_counter: u64,
}

impl Sealer {
    /// For one life of one node.
    ///
    /// The same `incarnation` must never be given to two sealers of one node: nonces would be used twice.
    #[must_use]
    pub fn new(cluster_key: &[u8; 32], cluster_name: &str, me: NodeId, incarnation: Incarnation) -> Self {
        let root = root(cluster_key, cluster_name);
        Self {
            me,
            incarnation,
            packets: packet_key(&root, me, incarnation, Domain::Packets),
            gasps: packet_key(&root, me, incarnation, Domain::Gasps),
            counter: 0,
            gasp_counter: 0,
        }
    }

    /// A packet around `body`, ready for UDP.
    ///
    /// # Panics
    /// If the packet would be longer than [`PACKET_MAX`], or after 2⁶⁴ packets.
    pub fn seal(&mut self, kind: PacketKind, link: LinkId, body: &[u8]) -> Vec<u8> {
        assert!(HEADER_LEN + body.len() + TAG_LEN <= PACKET_MAX, "{} bytes do not fit a packet", body.len());
        let (key, counter) = match Domain::of(kind) {
            Domain::Packets => (&self.packets, &mut self.counter),
            Domain::Gasps => (&self.gasps, &mut self.gasp_counter),
        };
        *counter = counter.checked_add(1).expect("a nonce is never used twice");
        let header = Header { kind, link, sender: self.me, incarnation: self.incarnation, counter: *counter };
        let mut packet = Vec::with_capacity(HEADER_LEN + body.len() + TAG_LEN);
        header.encode(&mut packet);
        packet.extend_from_slice(body);
        let (clear, sealed) = packet.split_at_mut(HEADER_LEN);
        let tag = key
            .seal_in_place_separate_tag(nonce(*counter), Aad::from(clear), sealed)
            .expect("a body this short always seals");
        packet.extend_from_slice(tag.as_ref());
        packet
    }
}

/// An opened packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened<'a> {
    /// Who, which life, what.
    pub header: Header,
    /// The body in the clear.
    pub body: &'a [u8],
    /// This is the first packet of a life newer than any known of the sender (also of its first one).
    pub new_incarnation: bool,
}

/// Opens the packets of all peers.
pub struct Opener {
    root: Prk,
    peers: Vec<Peer>,
}

struct Peer {
    id: NodeId,
    life: Option<Life>,
}

struct Life {
    incarnation: Incarnation,
    packets: LessSafeKey,
    gasps: LessSafeKey,
    window: ReplayWindow,
}

impl Opener {
    /// For packets of `nodes`; `me` among them is left out, for nobody else may speak for this node.
    #[must_use]
    pub fn new(
        cluster_key: &[u8; 32],
        cluster_name: &str,
        me: NodeId,
        nodes: impl IntoIterator<Item = NodeId>,
    ) -> Self {
        let mut peers: Vec<Peer> =
            nodes.into_iter().filter(|id| *id != me).map(|id| Peer { id, life: None }).collect();
        peers.sort_by_key(|p| p.id);
        Self { root: root(cluster_key, cluster_name), peers }
    }

    /// The newest life known of `node`: one that sealed a packet which opened here.
    #[must_use]
    pub fn incarnation(&self, node: NodeId) -> Option<Incarnation> {
        let at = self.peers.binary_search_by_key(&node, |p| p.id).ok()?;
        self.peers[at].life.as_ref().map(|l| l.incarnation)
    }

    /// Opens `packet` in place. On an error nothing has changed here but the bytes of `packet`.
    pub fn open<'a>(&mut self, packet: &'a mut [u8]) -> Result<Opened<'a>, RejectReason> {
        if packet.len() > PACKET_MAX || packet.len() < HEADER_LEN + TAG_LEN {
            return Err(RejectReason::Malformed);
        }
        let header = Header::decode(packet).map_err(|_| RejectReason::Malformed)?;
        let at = self
            .peers
            .binary_search_by_key(&header.sender, |p| p.id)
            .map_err(|_| RejectReason::UnknownSender)?;
        let peer = &mut self.peers[at];
        let domain = Domain::of(header.kind);
        let known = peer.life.as_ref().map(|l| l.incarnation);
        if known > Some(header.incarnation) {
            return Err(RejectReason::Replay);
        }
        let (clear, sealed) = packet.split_at_mut(HEADER_LEN);
        let aad = Aad::from(&*clear);
        let new_incarnation = known != Some(header.incarnation);
        let body = if new_incarnation {
            let mut life = Life::new(&self.root, header.sender, header.incarnation);
            let body = life.key(domain).open_in_place(nonce(header.counter), aad, sealed);
            let body = body.map_err(|_| RejectReason::Seal)?;
            if domain == Domain::Packets {
                life.window.note(header.counter);
            }
            peer.life = Some(life);
            body
        } else {
            let life = peer.life.as_mut().expect("its incarnation is known");
            if domain == Domain::Packets && !life.window.is_new(header.counter) {
                return Err(RejectReason::Replay);
            }
            let body = life.key(domain).open_in_place(nonce(header.counter), aad, sealed);
            let body = body.map_err(|_| RejectReason::Seal)?;
            if domain == Domain::Packets {
                life.window.note(header.counter);
            }
            body
        };
        Ok(Opened { header, body, new_incarnation })
    }
}

impl Life {
    fn new(root: &Prk, sender: NodeId, incarnation: Incarnation) -> Self {
        Self {
            incarnation,
            packets: packet_key(root, sender, incarnation, Domain::Packets),
            gasps: packet_key(root, sender, incarnation, Domain::Gasps),
            window: ReplayWindow::new(),
        }
    }

    fn key(&self, domain: Domain) -> &LessSafeKey {
        match domain {
            Domain::Packets => &self.packets,
            Domain::Gasps => &self.gasps,
        }
    }
}

/// Counters seen, as a ring of bits behind the highest.
struct ReplayWindow {
    highest: u64,
    seen: [u64; WINDOW_WORDS],
}

impl ReplayWindow {
    const fn new() -> Self {
        Self { highest: 0, seen: [0; WINDOW_WORDS] }
    }

    /// Whether `counter` was not seen before and is not too old to tell. Counters start at 1.
    fn is_new(&self, counter: u64) -> bool {
        if counter > self.highest {
            return true;
        }
        counter != 0 && self.highest - counter < WINDOW_BITS && self.seen[word(counter)] & bit(counter) == 0
    }

    fn note(&mut self, counter: u64) {
        if counter > self.highest {
            if counter - self.highest >= WINDOW_BITS {
                self.seen = [0; WINDOW_WORDS];
            } else {
                for passed in self.highest + 1..=counter {
                    self.seen[word(passed)] &= !bit(passed);
                }
            }
            self.highest = counter;
        }
        self.seen[word(counter)] |= bit(counter);
    }
}

fn word(counter: u64) -> usize {
    (counter % WINDOW_BITS / 64) as usize
}

fn bit(counter: u64) -> u64 {
    1 << (counter % 64)
}

/// Which key and counter a packet uses.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Domain {
    Packets,
    Gasps,
}

impl Domain {
    fn of(kind: PacketKind) -> Self {
        match kind {
            PacketKind::Ring | PacketKind::Heartbeat => Self::Packets,
            PacketKind::Gasp => Self::Gasps,
        }
    }
}

struct KeyLen;

impl KeyType for KeyLen {
    fn len(&self) -> usize {
        32
    }
}

fn root(cluster_key: &[u8; 32], cluster_name: &str) -> Prk {
    Salt::new(HKDF_SHA256, cluster_name.as_bytes()).extract(cluster_key)
}

fn packet_key(root: &Prk, sender: NodeId, incarnation: Incarnation, domain: Domain) -> LessSafeKey {
    let label: &[u8] = match domain {
        Domain::Packets => b"holdfast 1 packets",
        Domain::Gasps => b"holdfast 1 gasps",
    };
    let info: [&[u8]; 3] = [label, &sender.get().to_le_bytes(), &incarnation.get().to_le_bytes()];
    let mut key = Zeroizing::new([0; 32]);
    root.expand(&info, KeyLen).and_then(|okm| okm.fill(&mut *key)).expect("32 bytes are within HKDF's bound");
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &*key).expect("32 bytes are a key"))
}

fn nonce(counter: u64) -> Nonce {
    let mut bytes = [0; 12];
    bytes[4..].copy_from_slice(&counter.to_le_bytes());
    Nonce::assume_unique_for_key(bytes)
}

const WINDOW_WORDS: usize = 64;
const WINDOW_BITS: u64 = 64 * WINDOW_WORDS as u64;

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 32] = [7; 32];

    fn id(n: u32) -> NodeId {
        NodeId::new(n)
    }

    fn sealer(node: u32, incarnation: u64) -> Sealer {
        Sealer::new(&KEY, "alpha", id(node), Incarnation::new(incarnation))
    }

    fn opener(me: u32) -> Opener {
        Opener::new(&KEY, "alpha", id(me), [1, 2, 3].map(id))
    }

    fn seal(s: &mut Sealer) -> Vec<u8> {
        s.seal(PacketKind::Ring, LinkId::new(0), b"body")
    }

    #[test]
    fn a_peer_opens_what_was_sealed() {
        let mut packet = sealer(1, 10).seal(PacketKind::Heartbeat, LinkId::new(3), b"hello");
        let mut peer = opener(2);
        let opened = peer.open(&mut packet).unwrap();
        assert_eq!(opened.body, b"hello");
        assert_eq!((opened.header.sender, opened.header.link), (id(1), LinkId::new(3)));
        assert!(opened.new_incarnation);
        assert_eq!(peer.incarnation(id(1)), Some(Incarnation::new(10)));
        assert_eq!(peer.incarnation(id(3)), None);
    }

    #[test]
    fn any_changed_bit_and_any_missing_byte_is_refused() {
        let good = seal(&mut sealer(1, 10));
        for at in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[at / 8] ^= 1 << (at % 8);
            assert!(opener(2).open(&mut bad).is_err(), "bit {at}");
        }
        for len in 0..good.len() {
            assert!(opener(2).open(&mut good.clone()[..len]).is_err(), "{len} bytes");
        }
    }

    #[test]
    fn another_cluster_or_key_does_not_open() {
        for (key, name) in [(KEY, "beta"), ([8; 32], "alpha")] {
            let mut stranger = Opener::new(&key, name, id(2), [1, 2, 3].map(id));
            assert_eq!(stranger.open(&mut seal(&mut sealer(1, 10))), Err(RejectReason::Seal));
        }
    }

    #[test]
    fn strangers_and_oneself_are_not_known_senders() {
        assert_eq!(opener(2).open(&mut seal(&mut sealer(9, 1))), Err(RejectReason::UnknownSender));
        assert_eq!(opener(1).open(&mut seal(&mut sealer(1, 1))), Err(RejectReason::UnknownSender));
    }

    #[test]
    fn a_packet_opens_once_in_any_order() {
        let mut s = sealer(1, 10);
        let packets: Vec<_> = (0..100).map(|_| seal(&mut s)).collect();
        let mut peer = opener(2);
        for packet in packets.iter().rev() {
            assert!(peer.open(&mut packet.clone()).is_ok());
        }
        for packet in &packets {
            assert_eq!(peer.open(&mut packet.clone()), Err(RejectReason::Replay));
        }
    }

    #[test]
    fn what_is_too_old_to_tell_is_refused() {
        let mut s = sealer(1, 10);
        let old = seal(&mut s);
        let within = seal(&mut s);
        let mut peer = opener(2);
        for _ in 0..WINDOW_BITS {
            assert!(peer.open(&mut seal(&mut s)).is_ok());
        }
        assert_eq!(peer.open(&mut old.clone()), Err(RejectReason::Replay));
        assert_eq!(peer.open(&mut within.clone()), Err(RejectReason::Replay));
    }

    #[test]
    fn a_new_life_shuts_out_the_old_one() {
        let (mut old, mut new) = (sealer(1, 10), sealer(1, 11));
        let mut peer = opener(2);
        assert!(peer.open(&mut seal(&mut old)).unwrap().new_incarnation);
        assert!(!peer.open(&mut seal(&mut old)).unwrap().new_incarnation);
        assert!(peer.open(&mut seal(&mut new)).unwrap().new_incarnation);
        assert_eq!(peer.open(&mut seal(&mut old)), Err(RejectReason::Replay));
    }

    #[test]
    fn a_forged_newer_life_changes_nothing() {
        let mut honest = sealer(1, 10);
        let mut peer = opener(2);
        peer.open(&mut seal(&mut honest)).unwrap();
        let mut forged = seal(&mut honest);
        forged[12] = 99; // incarnation
        assert_eq!(peer.open(&mut forged), Err(RejectReason::Seal));
        assert!(!peer.open(&mut seal(&mut honest)).unwrap().new_incarnation);
    }

    #[test]
    fn gasps_live_apart_from_the_counters_of_packets() {
        let mut s = sealer(1, 10);
        let gasp = s.seal(PacketKind::Gasp, LinkId::new(0), b"why");
        let first = seal(&mut s);
        assert_eq!(Header::decode(&gasp).unwrap().counter, Header::decode(&first).unwrap().counter);
        let mut peer = opener(2);
        peer.open(&mut first.clone()).unwrap();
        assert_eq!(peer.open(&mut gasp.clone()).unwrap().body, b"why");
        assert!(peer.open(&mut gasp.clone()).is_ok(), "the guardian sends each three times");
        let mut mislabelled = gasp;
        mislabelled[5] = PacketKind::Ring as u8;
        assert!(opener(2).open(&mut mislabelled).is_err());
    }

    #[test]
    fn the_window_agrees_with_a_set() {
        let mut window = ReplayWindow::new();
        let mut seen = std::collections::BTreeSet::new();
        let mut x = 1_u64;
        for _ in 0..20_000 {
            x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let highest = window.highest;
            let counter = (highest + 40).saturating_sub(x >> 33 & 63).max(1);
            assert_eq!(window.is_new(counter), !seen.contains(&counter), "{counter} of {highest}");
            window.note(counter);
            seen.insert(counter);
        }
        window.note(window.highest + 3 * WINDOW_BITS);
        assert!(window.is_new(window.highest - 1));
        assert!(!window.is_new(window.highest));
    }
}
