//! Sealing and opening packets: AES-256-GCM, one key for each sender and life, a counter as nonce, a replay window.
//!
//! Every packet key is HKDF-SHA-256 of the cluster key with the cluster name as salt, bound to the sender, its
//! incarnation, the *domain* (ring and heartbeat packets share one counter; gasps are sealed in advance and have their
//! own) and the *series* of 2²⁴ packets that the counter falls into, so that no AES key seals more than that. An
//! incarnation is never used twice, and a counter never within one, also not across a change of the cluster key: so no
//! nonce is. The header is authenticated with the body.
//!
//! A receiver knows one life of each sender: the newest that proved itself by a packet that opened. Older ones are
//! rejected, a newer one starts anew: what its sender sealed before the first packet that is seen counts as seen. Gasps
//! have no window: what they say is idempotent.
//!
//! Several cluster keys may be accepted at once, while the cluster changes from one to another. The header names the
//! key, so one attempt tells. Checks come in the order of what they cost: length, magic, version, key, sender, life,
//! counter; only then a key is looked up or derived, and the seal is tried.

use arrayvec::ArrayVec;
use aws_lc_rs::aead::{Aad, LessSafeKey, Nonce};
use holdfast_types::{Incarnation, LinkId, NodeId};

use super::header::{HEADER_LEN, Header, PacketKind};
use super::key::{ClusterKey, Domain, Fingerprint, KeyId, Root};
use super::meter::{Meter, SealTimes};
use super::replay::ReplayWindow;
use crate::RejectReason;
use crate::limits::{KEYS_MAX, PACKET_MAX};

/// Bytes of the tag behind a sealed body.
pub const TAG_LEN: usize = 16;
/// Bytes that a packet has more than its body.
pub const SEAL_LEN: usize = HEADER_LEN + TAG_LEN;
/// Packets under one AES key: far below what GCM bears for packets of this length.
const SERIES_BITS: u32 = 24;

/// Seals this node's packets.
pub struct Sealer {
    me: NodeId,
    incarnation: Incarnation,
    root: Root,
    next_key: Option<KeyId>,
    packets: Series,
    gasps: Series,
    meter: Meter,
}

/// A counter and the key of the series it is in.
struct Series {
    domain: Domain,
    counter: u64,
    key: LessSafeKey,
}

impl Sealer {
    /// For one life of one node.
    ///
    /// The same `incarnation` must never be given to two sealers of one node: nonces would be used twice.
    #[must_use]
    pub fn new(key: &ClusterKey, cluster_name: &str, me: NodeId, incarnation: Incarnation) -> Self {
        let root = Root::new(key, cluster_name);
        let series = |domain| Series { domain, counter: 0, key: root.packet_key(me, incarnation, domain, 0) };
        let (packets, gasps) = (series(Domain::Packets), series(Domain::Gasps));
        Self { me, incarnation, root, next_key: None, packets, gasps, meter: Meter::default() }
    }

    /// Seals with another key from now on. Counters go on, so nothing is lost should a key ever come back.
    pub fn change(&mut self, key: &ClusterKey, cluster_name: &str) {
        self.root = Root::new(key, cluster_name);
        for series in [&mut self.packets, &mut self.gasps] {
            let number = series.counter >> SERIES_BITS;
            series.key = self.root.packet_key(self.me, self.incarnation, series.domain, number);
        }
    }

    /// Says in every packet from now on that this key is accepted here, and wanted next.
    pub fn announce(&mut self, next_key: Option<KeyId>) {
        self.next_key = next_key;
    }

    /// Sealing is timed from now on, by a clock of nanoseconds.
    pub fn lend_clock(&mut self, clock: fn() -> u64) {
        self.meter.lend(clock);
    }

    /// Packets sealed.
    #[must_use]
    pub fn times(&self) -> SealTimes {
        self.meter.times()
    }

    /// The key in use.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.root.fingerprint
    }

    /// A packet around `body`, ready for UDP.
    ///
    /// # Panics
    /// If the packet would be longer than [`PACKET_MAX`], or after 2⁶⁴ packets.
    pub fn seal(&mut self, kind: PacketKind, link: LinkId, body: &[u8]) -> Vec<u8> {
        let mut packet = Vec::with_capacity(HEADER_LEN + body.len() + TAG_LEN);
        self.seal_into(kind, link, body, &mut packet);
        packet
    }

    /// The same in a buffer that was used before; what it holds is replaced.
    ///
    /// # Panics
    /// As there.
    pub fn seal_into(&mut self, kind: PacketKind, link: LinkId, body: &[u8], packet: &mut Vec<u8>) {
        assert!(body.len() + SEAL_LEN <= PACKET_MAX, "{} bytes do not fit a packet", body.len());
        let began = self.meter.start();
        let Self { me, incarnation, root, next_key, .. } = &*self;
        let (sender, incarnation, key, next_key) = (*me, *incarnation, root.id(), *next_key);
        let series = match domain_of(kind) {
            Domain::Packets => &mut self.packets,
            Domain::Gasps => &mut self.gasps,
        };
        series.counter = series.counter.checked_add(1).expect("a nonce is never used twice");
        let counter = series.counter;
        if counter.trailing_zeros() >= SERIES_BITS {
            series.key = self.root.packet_key(sender, incarnation, series.domain, counter >> SERIES_BITS);
        }
        packet.clear();
        Header { kind, link, key, next_key, sender, incarnation, counter }.encode(packet);
        packet.extend_from_slice(body);
        let (clear, sealed) = packet.split_at_mut(HEADER_LEN);
        let tag = series
            .key
            .seal_in_place_separate_tag(nonce(counter), Aad::from(clear), sealed)
            .expect("a body this short always seals");
        packet.extend_from_slice(tag.as_ref());
        self.meter.stop(began);
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
    /// The sender's [`Keys`] are others than before.
    pub new_keys: bool,
}

/// Which keys a peer has, by its newest packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keys {
    /// It seals with this one.
    pub key: KeyId,
    /// It accepts this one too, and wants to change to it.
    pub next: Option<KeyId>,
}

/// Opens the packets of all peers.
pub struct Opener {
    cluster_name: String,
    accepted: ArrayVec<Accepted, KEYS_MAX>,
    /// Keys that were accepted once; the latest ones.
    forgotten: ArrayVec<KeyId, KEYS_MAX>,
    peers: Vec<Peer>,
    meter: Meter,
}

struct Accepted {
    root: Root,
    /// For the lives that are known, and no other ones.
    retiring: bool,
}

struct Peer {
    id: NodeId,
    life: Option<Life>,
}

struct Life {
    incarnation: Incarnation,
    /// What was sealed before the first packet that was seen counts as seen.
    floor: u64,
    /// The highest counter, and what its packet said of keys.
    said: (u64, Option<Keys>),
    seals: ArrayVec<LifeSeal, KEYS_MAX>,
}

/// What opens one life's packets under one cluster key.
struct LifeSeal {
    key: KeyId,
    window: ReplayWindow,
    packets: Recent,
    gasps: Recent,
}

/// The keys of the last two series.
#[derive(Default)]
struct Recent(ArrayVec<(u64, LessSafeKey), 2>);

impl Opener {
    /// For packets of `nodes`; `me` among them is left out, for nobody else may speak for this node.
    #[must_use]
    pub fn new(
        key: &ClusterKey,
        cluster_name: &str,
        me: NodeId,
        nodes: impl IntoIterator<Item = NodeId>,
    ) -> Self {
        let mut peers: Vec<Peer> =
            nodes.into_iter().filter(|id| *id != me).map(|id| Peer { id, life: None }).collect();
        peers.sort_by_key(|p| p.id);
        let mut accepted = ArrayVec::new();
        accepted.push(Accepted { root: Root::new(key, cluster_name), retiring: false });
        let forgotten = ArrayVec::new();
        Self { cluster_name: cluster_name.to_owned(), accepted, forgotten, peers, meter: Meter::default() }
    }

    /// Opening is timed from now on, by a clock of nanoseconds.
    pub fn lend_clock(&mut self, clock: fn() -> u64) {
        self.meter.lend(clock);
    }

    /// Packets opened.
    #[must_use]
    pub fn times(&self) -> SealTimes {
        self.meter.times()
    }

    /// Packets of these nodes are opened from now on; what is known of those that stay, stays.
    pub fn set_nodes(&mut self, me: NodeId, nodes: impl IntoIterator<Item = NodeId>) {
        let mut before = std::mem::take(&mut self.peers);
        let mut keep = |id: NodeId| {
            let at = before.iter().position(|p| p.id == id);
            at.map_or(Peer { id, life: None }, |at| before.swap_remove(at))
        };
        self.peers = nodes.into_iter().filter(|id| *id != me).map(&mut keep).collect();
        self.peers.sort_by_key(|p| p.id);
    }

    /// Accepts this key as well. `false`: there are [`KEYS_MAX`] already, or one of the same name on the wire.
    pub fn accept(&mut self, key: &ClusterKey) -> bool {
        let fingerprint = key.fingerprint();
        if let Some(known) = self.accepted.iter_mut().find(|a| a.root.id() == fingerprint.id()) {
            known.retiring = false;
            return known.root.fingerprint == fingerprint;
        }
        self.forgotten.retain(|id| *id != fingerprint.id());
        let accepted = Accepted { root: Root::new(key, &self.cluster_name), retiring: false };
        self.accepted.try_push(accepted).is_ok()
    }

    /// Whether this key is accepted.
    #[must_use]
    pub fn accepts(&self, key: KeyId) -> bool {
        self.accepted.iter().any(|a| a.root.id() == key)
    }

    /// Keys accepted.
    #[must_use]
    pub fn accepted(&self) -> usize {
        self.accepted.len()
    }

    /// All keys but this one are accepted from the lives that are known only: who starts must have this one.
    pub fn retire_all_but(&mut self, key: KeyId) {
        self.accepted.iter_mut().for_each(|a| a.retiring = a.root.id() != key);
    }

    /// All keys but this one are accepted no longer.
    pub fn forget_all_but(&mut self, key: KeyId) {
        let (stay, go): (ArrayVec<_, KEYS_MAX>, ArrayVec<_, KEYS_MAX>) =
            self.accepted.drain(..).partition(|a| a.root.id() == key);
        self.accepted = stay;
        for gone in go {
            if self.forgotten.is_full() {
                self.forgotten.remove(0);
            }
            self.forgotten.push(gone.root.id());
        }
        for life in self.peers.iter_mut().filter_map(|p| p.life.as_mut()) {
            life.seals.retain(|s| s.key == key);
        }
    }

    /// The newest life known of `node`: one that sealed a packet which opened here.
    #[must_use]
    pub fn incarnation(&self, node: NodeId) -> Option<Incarnation> {
        self.life(node).map(|l| l.incarnation)
    }

    /// Which keys the newest life of `node` has, if it has said so.
    #[must_use]
    pub fn keys(&self, node: NodeId) -> Option<Keys> {
        self.life(node).and_then(|l| l.said.1)
    }

    fn life(&self, node: NodeId) -> Option<&Life> {
        let at = self.peers.binary_search_by_key(&node, |p| p.id).ok()?;
        self.peers[at].life.as_ref()
    }

    /// Opens `packet` in place. On an error nothing has changed here but the bytes of `packet`; and not even they if
    /// the reason is another one than the seal.
    pub fn open<'a>(&mut self, packet: &'a mut [u8]) -> Result<Opened<'a>, RejectReason> {
        if packet.len() > PACKET_MAX || packet.len() < SEAL_LEN {
            return Err(RejectReason::Malformed);
        }
        let header = Header::decode(packet).map_err(|_| RejectReason::Malformed)?;
        let Some(accepted) = self.accepted.iter().find(|a| a.root.id() == header.key) else {
            let was_accepted = self.forgotten.contains(&header.key);
            return Err(if was_accepted { RejectReason::OldKey } else { RejectReason::UnknownKey });
        };
        let at = self
            .peers
            .binary_search_by_key(&header.sender, |p| p.id)
            .map_err(|_| RejectReason::UnknownSender)?;
        let peer = &mut self.peers[at];
        let domain = domain_of(header.kind);
        let known = peer.life.as_ref().map(|l| l.incarnation);
        if known > Some(header.incarnation) {
            return Err(RejectReason::Replay);
        }
        let mut life = peer.life.as_mut().filter(|l| l.incarnation == header.incarnation);
        if life.is_none() && accepted.retiring {
            return Err(RejectReason::OldKey);
        }
        if domain == Domain::Packets && life.as_ref().is_some_and(|l| !l.is_new(&header)) {
            return Err(RejectReason::Replay);
        }
        let series = header.counter >> SERIES_BITS;
        let began = self.meter.start();
        let cached = life.as_mut().and_then(|l| l.seal(header.key)).and_then(|s| s.of(domain).get(series));
        let derived = match cached {
            Some(_) => None,
            None => Some(accepted.root.packet_key(header.sender, header.incarnation, domain, series)),
        };
        let key = cached.or(derived.as_ref()).expect("one of the two is there");
        let (clear, sealed) = packet.split_at_mut(HEADER_LEN);
        let body = key
            .open_in_place(nonce(header.counter), Aad::from(&*clear), sealed)
            .map_err(|_| RejectReason::Seal)?;
        // It is the sender's. Only from here on anything changes.
        self.meter.stop(began);
        let new_incarnation = life.is_none();
        let life = match life {
            Some(life) => life,
            None => peer.life.insert(Life::new(&header, domain)),
        };
        let new_keys = life.note(&header, domain, derived);
        Ok(Opened { header, body, new_incarnation, new_keys })
    }

    /// Whether `packet`, as received, opens with this key: then its sender has it. Changes nothing.
    #[must_use]
    pub fn would_open(&self, key: &ClusterKey, packet: &[u8]) -> bool {
        let Ok(header) = Header::decode(packet) else { return false };
        let whole = SEAL_LEN..=PACKET_MAX;
        if header.key != key.id() || !whole.contains(&packet.len()) {
            return false;
        }
        let known = |p: &Peer| {
            p.id == header.sender && p.life.as_ref().map(|l| l.incarnation) <= Some(header.incarnation)
        };
        if !self.peers.iter().any(known) {
            return false;
        }
        let root = Root::new(key, &self.cluster_name);
        let series = header.counter >> SERIES_BITS;
        let key = root.packet_key(header.sender, header.incarnation, domain_of(header.kind), series);
        let mut sealed = packet[HEADER_LEN..].to_vec();
        key.open_in_place(nonce(header.counter), Aad::from(&packet[..HEADER_LEN]), &mut sealed).is_ok()
    }
}

impl Life {
    fn new(header: &Header, domain: Domain) -> Self {
        // A gasp's counter says nothing of packets; whoever gasps first has nothing more to say.
        let floor = if domain == Domain::Packets { header.counter } else { 0 };
        Self { incarnation: header.incarnation, floor, said: (0, None), seals: ArrayVec::new() }
    }

    fn is_new(&self, header: &Header) -> bool {
        let seal = self.seals.iter().find(|s| s.key == header.key);
        header.counter >= self.floor && seal.is_none_or(|s| s.window.is_new(header.counter))
    }

    fn seal(&mut self, key: KeyId) -> Option<&mut LifeSeal> {
        self.seals.iter_mut().find(|s| s.key == key)
    }

    /// A packet was opened, with the key derived for it if it was not at hand. `true` if it brings news of keys.
    fn note(&mut self, header: &Header, domain: Domain, derived: Option<LessSafeKey>) -> bool {
        if self.seal(header.key).is_none() {
            self.seals.push(LifeSeal {
                key: header.key,
                window: ReplayWindow::new(),
                packets: Recent::default(),
                gasps: Recent::default(),
            });
        }
        let seal = self.seal(header.key).expect("just made where it was missing");
        if let Some(key) = derived {
            seal.of(domain).put(header.counter >> SERIES_BITS, key);
        }
        if domain == Domain::Gasps {
            return false;
        }
        seal.window.note(header.counter);
        if header.counter < self.said.0 {
            return false;
        }
        let keys = Some(Keys { key: header.key, next: header.next_key });
        let news = self.said.1 != keys;
        self.said = (header.counter, keys);
        news
    }
}

impl LifeSeal {
    fn of(&mut self, domain: Domain) -> &mut Recent {
        match domain {
            Domain::Packets => &mut self.packets,
            Domain::Gasps => &mut self.gasps,
        }
    }
}

impl Recent {
    fn get(&self, series: u64) -> Option<&LessSafeKey> {
        self.0.iter().rev().find(|(number, _)| *number == series).map(|(_, key)| key)
    }

    fn put(&mut self, series: u64, key: LessSafeKey) {
        if self.0.is_full() {
            self.0.remove(0);
        }
        self.0.push((series, key));
    }
}

fn domain_of(kind: PacketKind) -> Domain {
    match kind {
        PacketKind::Ring | PacketKind::Heartbeat | PacketKind::Part | PacketKind::Probe => Domain::Packets,
        PacketKind::Gasp => Domain::Gasps,
    }
}

fn nonce(counter: u64) -> Nonce {
    let mut bytes = [0; 12];
    bytes[4..].copy_from_slice(&counter.to_le_bytes());
    Nonce::assume_unique_for_key(bytes)
}

#[cfg(test)]
#[path = "seal_tests.rs"]
mod tests;
