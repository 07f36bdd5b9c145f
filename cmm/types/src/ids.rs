//! Who and which: nodes, links, rings, incarnations, sequence numbers, votes.

use std::fmt;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident, $inner:ty) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name($inner);
        impl $name {
            /// Wraps a raw value.
            pub const fn new(raw: $inner) -> Self { Self(raw) }
            /// The raw value, for the wire and for display.
            pub const fn get(self) -> $inner { self.0 }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { fmt::Display::fmt(&self.0, f) }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { write!(f, concat!(stringify!($name), "({})"), self.0) }
        }
    };
}

number!(
    /// A machine of the cluster, as `nodelist.node.N.nodeid` names it. Zero is not a node.
    NodeId, u32);
number!(
    /// One of up to eight links of a node (`ring0_addr` … `ring7_addr`).
    LinkId, u8);
number!(
    /// One life of the daemon on a node. Grows with every start, also across reboots.
    Incarnation, u64);
number!(
    /// Number of a token pass on one ring.
    TokenSeq, u64);
number!(
    /// Number of a step of the reconfiguration automaton.
    StepNumber, u32);
number!(
    /// Quorum votes.
    Votes, u32);
number!(
    /// Number of a reconfiguration; a higher one makes every lower one void.
    Epoch, u64);
number!(
    /// A client connection of the local daemon. Never reused within one incarnation.
    ConnId, u64);
number!(
    /// Sequence number of a frame on one ring. Starts at 1 on every ring; 64 bits wide, so it never wraps.
    MsgSeq, u64);

impl MsgSeq {
    /// The sequence number after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// Identity of a ring: the representative (lowest node id) that made it and a sequence number that grows with
/// every ring the cluster forms. No id is ever used with two member lists.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub struct RingId {
    /// The member with the lowest id, which made the commit token.
    pub representative: NodeId,
    /// Grows by at least 1 with each ring; persisted before first use.
    pub seq: u64,
}

impl PartialOrd for RingId {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for RingId {
    /// Orders by sequence number first: a later ring is greater whoever made it.
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.seq, self.representative).cmp(&(other.seq, other.representative))
    }
}
impl fmt::Display for RingId {
    /// As corosync prints it: representative in decimal, sequence in hexadecimal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:x}", self.representative, self.seq)
    }
}

/// The kernel's `/proc/sys/kernel/random/boot_id`: two different ones mean that the machine has rebooted.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug, PartialOrd, Ord)]
pub struct BootId(pub [u8; 16]);

/// Some of the eight links of a node.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct LinkSet(u8);

impl LinkSet {
    /// None.
    pub const EMPTY: Self = Self(0);

    /// Just this one.
    #[must_use]
    pub const fn of(link: LinkId) -> Self {
        Self(1 << (link.0 & 7))
    }

    /// With this one.
    #[must_use]
    pub const fn with(self, link: LinkId) -> Self {
        Self(self.0 | Self::of(link).0)
    }

    /// Without this one.
    #[must_use]
    pub const fn without(self, link: LinkId) -> Self {
        self.without_all(Self::of(link))
    }

    /// Without any of these.
    #[must_use]
    pub const fn without_all(self, links: Self) -> Self {
        Self(self.0 & !links.0)
    }

    /// Whether this one is among them.
    #[must_use]
    pub const fn contains(self, link: LinkId) -> bool {
        self.0 & Self::of(link).0 != 0
    }

    /// How many.
    #[must_use]
    pub const fn len(self) -> u32 {
        self.0.count_ones()
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The lowest.
    #[must_use]
    pub fn first(self) -> Option<LinkId> {
        self.iter().next()
    }

    /// In ascending order.
    pub fn iter(self) -> impl Iterator<Item = LinkId> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let lowest = (rest != 0).then(|| LinkId(rest.trailing_zeros().to_le_bytes()[0]));
            rest &= rest.wrapping_sub(1);
            lowest
        })
    }
}

impl fmt::Debug for LinkSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(LinkId::get)).finish()
    }
}

impl FromIterator<LinkId> for LinkSet {
    fn from_iter<I: IntoIterator<Item = LinkId>>(links: I) -> Self {
        links.into_iter().fold(Self::EMPTY, Self::with)
    }
}
