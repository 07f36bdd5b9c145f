//! The cluster key: a secret with a name that may be shown.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, LessSafeKey, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};
use holdfast_types::{Incarnation, NodeId};
use zeroize::Zeroizing;

/// 32 secret bytes that everyone in the cluster has. Wiped from memory when dropped, never printed.
#[derive(Clone)]
pub struct ClusterKey(Zeroizing<[u8; 32]>);

/// Tells keys apart without giving anything of them away: 8 bytes derived from the key. In logs and status.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fingerprint([u8; 8]);

/// The first two bytes of a fingerprint, never zero: which key a packet is sealed with, so that one attempt opens it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyId(u16);

impl ClusterKey {
    /// A key of these bytes.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// A key from a secret of any length. `origin` keeps keys of different origin apart, e.g. `key file`.
    #[must_use]
    pub fn from_secret(origin: &str, secret: &[u8]) -> Self {
        let prk = Salt::new(HKDF_SHA256, b"holdfast cluster key 1").extract(secret);
        let mut key = Self::new([0; 32]);
        expand(&prk, &[origin.as_bytes()], &mut key.0);
        key
    }

    /// What may be shown of it.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        let prk = Salt::new(HKDF_SHA256, b"holdfast fingerprint 1").extract(&*self.0);
        let mut bytes = Zeroizing::new([0; 32]);
        expand(&prk, &[b"fingerprint"], &mut bytes);
        let mut shown = [0; 8];
        shown.copy_from_slice(&bytes[..8]);
        Fingerprint(shown)
    }

    /// Its name on the wire.
    #[must_use]
    pub fn id(&self) -> KeyId {
        self.fingerprint().id()
    }
}

impl fmt::Debug for ClusterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClusterKey({})", self.fingerprint())
    }
}

impl Fingerprint {
    /// The name on the wire of a key with this fingerprint.
    #[must_use]
    pub fn id(self) -> KeyId {
        KeyId(u16::from_be_bytes([self.0[0], self.0[1]]).max(1))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl KeyId {
    /// From the wire; zero is no key.
    #[must_use]
    pub fn from_wire(number: u16) -> Option<Self> {
        (number != 0).then_some(Self(number))
    }

    /// For the wire.
    #[must_use]
    pub fn get(self) -> u16 {
        self.0
    }
}

impl fmt::Display for KeyId {
    /// As the fingerprint begins.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04x}", self.0)
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Which key and counter a packet uses: gasps are sealed in advance, so their counters must never meet the others'.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Domain {
    Packets,
    Gasps,
}

/// A cluster key bound to a cluster name, ready to derive packet keys from.
pub(super) struct Root {
    pub(super) fingerprint: Fingerprint,
    prk: Prk,
}

impl Root {
    pub(super) fn new(key: &ClusterKey, cluster_name: &str) -> Self {
        let prk = Salt::new(HKDF_SHA256, cluster_name.as_bytes()).extract(&*key.0);
        Self { fingerprint: key.fingerprint(), prk }
    }

    pub(super) fn id(&self) -> KeyId {
        self.fingerprint.id()
    }

    /// The key of one series of packets of one life of one sender.
    pub(super) fn packet_key(
        &self,
        sender: NodeId,
        incarnation: Incarnation,
        domain: Domain,
        series: u64,
    ) -> LessSafeKey {
        let label: &[u8] = match domain {
            Domain::Packets => b"holdfast 1 packets",
            Domain::Gasps => b"holdfast 1 gasps",
        };
        let info =
            [label, &sender.get().to_le_bytes(), &incarnation.get().to_le_bytes(), &series.to_le_bytes()];
        let mut key = Zeroizing::new([0; 32]);
        expand(&self.prk, &info, &mut key);
        LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &*key).expect("32 bytes are a key"))
    }
}

struct KeyLen;

impl KeyType for KeyLen {
    fn len(&self) -> usize {
        32
    }
}

fn expand(prk: &Prk, info: &[&[u8]], out: &mut [u8; 32]) {
    prk.expand(info, KeyLen).and_then(|okm| okm.fill(out)).expect("32 bytes are within HKDF's bound");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_different_origin_or_content_differ() {
        let key = |origin, secret| ClusterKey::from_secret(origin, secret).fingerprint();
        assert_eq!(key("key file", b"a"), key("key file", b"a"));
        assert_ne!(key("key file", b"a"), key("cluster name", b"a"));
        assert_ne!(key("key file", b"a"), key("key file", b"b"));
    }

    #[test]
    fn nothing_of_a_key_is_printed_but_its_fingerprint() {
        let key = ClusterKey::new([0x5a; 32]);
        let shown = format!("{key:?}");
        assert_eq!(shown, format!("ClusterKey({})", key.fingerprint()));
        assert!(!shown.contains("5a5a") && !shown.contains("90, 90"), "{shown}");
        assert!(key.fingerprint().to_string().starts_with(&key.id().to_string()));
    }
}
