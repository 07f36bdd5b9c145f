//! Registration keys: the cluster in the upper half, the node in the lower one.

use std::fmt;

/// The upper half of the keys of a cluster: those of another cluster on the same disk are nobody's here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cluster(u32);

impl Cluster {
    /// From the cluster's name: FNV-1a, with the highest bit set so that no key looks like a small number of another tool.
    #[must_use]
    pub fn of_name(name: &str) -> Self {
        let hash =
            name.bytes().fold(0x811C_9DC5_u32, |hash, b| (hash ^ u32::from(b)).wrapping_mul(0x0100_0193));
        Self(hash | 0x8000_0000)
    }

    /// The key of a node.
    #[must_use]
    pub fn key(self, slot: u8) -> Key {
        Key(u64::from(self.0) << 32 | u64::from(slot))
    }

    /// Whose key that is, if it is one of this cluster.
    #[must_use]
    pub fn slot(self, key: Key) -> Option<u8> {
        let slot = u8::try_from(key.0 & 0xFFFF_FFFF).ok()?;
        (key.0 >> 32 == u64::from(self.0) && (1..=crate::SLOTS_MAX).contains(&slot)).then_some(slot)
    }
}

/// A registration key. Zero is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key(u64);

impl Key {
    /// No registration.
    pub const NONE: Self = Self(0);

    /// As it stands in a parameter list, big end first.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 8]) -> Self {
        Self(u64::from_be_bytes(bytes))
    }

    /// As it stands in a parameter list, big end first.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 8] {
        self.0.to_be_bytes()
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#018x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_says_which_cluster_and_which_node() {
        let (web, db) = (Cluster::of_name("web"), Cluster::of_name("db"));
        let key = web.key(4);
        assert_eq!((web.slot(key), db.slot(key)), (Some(4), None));
        assert_eq!(Key::from_bytes(key.to_bytes()), key);
        assert!(key.to_string().starts_with("0x") && key.to_string().ends_with("00000004"));
        // Neither no node nor one without a slot.
        assert_eq!((web.slot(web.key(0)), web.slot(Key(web.key(1).0 | 0x100))), (None, None));
    }
}
