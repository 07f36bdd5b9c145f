//! The wire: packet header and seal, and the bodies inside. One byte order (little endian), every count bounded by
//! [`crate::limits`], decoders that check each length once, return typed errors and never allocate more than the
//! bytes they were given justify.
//!
//! A packet is [`Header`] (authenticated, in the clear), sealed body, tag. The body of a [`PacketKind::Ring`] packet
//! is one frame whose first byte is its [`FrameKind`].

mod beat;
mod commit;
mod control;
mod gasp;
mod header;
mod heartbeat;
mod join;
mod key;
mod mcast;
mod meter;
mod nodeset;
mod part;
mod probe;
mod replay;
mod seal;
mod token;

use holdfast_types::{MsgSeq, NodeId, RingId};

pub use beat::LinkBeat;
pub use commit::{Commit, CommitEntry, ENTRIES_PER_PART};
pub use control::{HoldCancel, MergeDetect};
pub use gasp::Gasp;
pub use header::{HEADER_LEN, Header, PacketKind};
pub use heartbeat::{Echo, Heartbeat};
pub use join::{Join, Row, RowVersion};
pub use key::{ClusterKey, Fingerprint, KeyId};
pub use mcast::{
    CHUNK_HEADER_LEN, Chunk, Chunks, FRAME_PAYLOAD_MAX, MCAST_HEADER_LEN, Mcast, put_chunk_header,
};
pub use meter::SealTimes;
pub use nodeset::NodeSet;
pub use part::Part;
pub use probe::Probe;
pub use seal::{Keys, Opened, Opener, SEAL_LEN, Sealer, TAG_LEN};
pub use token::{RecoveryProgress, Token};

use crate::limits::{PACKET_CONTROL_MAX, PACKET_MAX, PACKET_SAFE};

/// Bytes of one frame, so that its packet fits [`PACKET_MAX`].
pub const FRAME_MAX: usize = frame_of(PACKET_MAX);
/// Bytes of one frame that carries no data, so that its packet fits [`PACKET_CONTROL_MAX`].
pub const FRAME_CONTROL_MAX: usize = frame_of(PACKET_CONTROL_MAX);

/// Bytes of the frame that a packet of so many bytes carries.
#[must_use]
pub const fn frame_of(packet: usize) -> usize {
    packet - SEAL_LEN
}

/// Bytes of chunks in a data frame whose packet has at most so many bytes.
#[must_use]
pub const fn payload_of(packet: usize) -> usize {
    frame_of(packet) - 2 * MCAST_HEADER_LEN
}

const _: () = assert!(PACKET_SAFE <= PACKET_CONTROL_MAX && PACKET_CONTROL_MAX <= PACKET_MAX);

/// Why bytes are not what they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// Fewer bytes than the layout needs.
    #[error("ends too early")]
    Truncated,
    /// More bytes than the layout has.
    #[error("{0} bytes too many")]
    Trailing(usize),
    /// A count above its limit.
    #[error("{what}: {count} is more than {max}")]
    TooMany {
        /// Which count.
        what: &'static str,
        /// As found.
        count: usize,
        /// The limit.
        max: usize,
    },
    /// A field with a value that has no meaning.
    #[error("{0} has a value that means nothing")]
    BadValue(&'static str),
}

/// First byte of a ring frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum FrameKind {
    /// The regular token.
    Token = 1,
    /// Ordered data, or an old ring's frame wrapped for recovery.
    Mcast = 2,
    /// Membership: join or leave.
    Join = 3,
    /// The commit token, or a part of it.
    Commit = 4,
    /// A representative shows itself to nodes outside its ring.
    MergeDetect = 5,
    /// A member has something to send: the held token should go round.
    HoldCancel = 6,
}

impl FrameKind {
    /// The kind of an opened frame, by its first byte.
    pub fn of(frame: &[u8]) -> Result<Self, WireError> {
        Ok(match frame.first().ok_or(WireError::Truncated)? {
            1 => Self::Token,
            2 => Self::Mcast,
            3 => Self::Join,
            4 => Self::Commit,
            5 => Self::MergeDetect,
            6 => Self::HoldCancel,
            _ => return Err(WireError::BadValue("frame kind")),
        })
    }
}

/// Takes fields off the front of a slice.
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// A reader behind the kind byte of a frame that must be of this kind.
    pub(crate) fn frame(bytes: &'a [u8], kind: FrameKind) -> Result<Self, WireError> {
        let mut r = Self(bytes);
        if r.u8()? == kind as u8 { Ok(r) } else { Err(WireError::BadValue("frame kind")) }
    }

    pub(crate) fn bytes(&mut self, n: usize) -> Result<&'a [u8], WireError> {
        let (head, tail) = self.0.split_at_checked(n).ok_or(WireError::Truncated)?;
        self.0 = tail;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let (head, tail) = self.0.split_first_chunk::<N>().ok_or(WireError::Truncated)?;
        self.0 = tail;
        Ok(*head)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, WireError> {
        Ok(self.array::<1>()?[0])
    }

    pub(crate) fn u16(&mut self) -> Result<u16, WireError> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, WireError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(crate) fn u64(&mut self) -> Result<u64, WireError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub(crate) fn id16(&mut self) -> Result<[u8; 16], WireError> {
        self.array()
    }

    /// A node id; zero is not a node.
    pub(crate) fn node(&mut self) -> Result<NodeId, WireError> {
        match self.u32()? {
            0 => Err(WireError::BadValue("node id")),
            id => Ok(NodeId::new(id)),
        }
    }

    pub(crate) fn ring(&mut self) -> Result<RingId, WireError> {
        Ok(RingId { representative: self.node()?, seq: self.ring_seq()? })
    }

    /// A ring sequence number. The upper half of the range is never reached, so that adding to one cannot wrap.
    pub(crate) fn ring_seq(&mut self) -> Result<u64, WireError> {
        match self.u64()? {
            seq if seq <= SEQ_MAX => Ok(seq),
            _ => Err(WireError::BadValue("ring sequence number")),
        }
    }

    /// A frame's sequence number; bounded for the same reason.
    pub(crate) fn seq(&mut self) -> Result<MsgSeq, WireError> {
        match self.u64()? {
            seq if seq <= SEQ_MAX => Ok(MsgSeq::new(seq)),
            _ => Err(WireError::BadValue("frame sequence number")),
        }
    }

    /// A count byte, checked against its limit.
    pub(crate) fn count(&mut self, what: &'static str, max: usize) -> Result<usize, WireError> {
        let count = usize::from(self.u8()?);
        if count <= max { Ok(count) } else { Err(WireError::TooMany { what, count, max }) }
    }

    /// Node ids in strictly ascending order, behind their count.
    pub(crate) fn nodes(&mut self, what: &'static str) -> Result<NodeSet, WireError> {
        let count = self.count(what, crate::limits::NODES_MAX)?;
        let mut set = NodeSet::new();
        for _ in 0..count {
            let id = self.node()?;
            if set.last().is_some_and(|last| last >= id) {
                return Err(WireError::BadValue("order of node ids"));
            }
            set.insert(id);
        }
        Ok(set)
    }

    pub(crate) fn rest(self) -> &'a [u8] {
        self.0
    }

    pub(crate) fn end(self) -> Result<(), WireError> {
        if self.0.is_empty() { Ok(()) } else { Err(WireError::Trailing(self.0.len())) }
    }
}

/// Puts fields at the end of a vector.
pub(crate) trait Put {
    fn put(&mut self, bytes: &[u8]);
    fn put_u8(&mut self, v: u8) {
        self.put(&[v]);
    }
    fn put_u16(&mut self, v: u16) {
        self.put(&v.to_le_bytes());
    }
    fn put_u32(&mut self, v: u32) {
        self.put(&v.to_le_bytes());
    }
    fn put_u64(&mut self, v: u64) {
        self.put(&v.to_le_bytes());
    }
    fn put_ring(&mut self, ring: RingId) {
        self.put_u32(ring.representative.get());
        self.put_u64(ring.seq);
    }
    /// Count and ids. The count fits a byte: every set is bounded by `NODES_MAX`.
    fn put_nodes(&mut self, set: &NodeSet) {
        self.put_count(set.len());
        for id in set.iter() {
            self.put_u32(id.get());
        }
    }
    /// A count that is bounded far below 256 by its container.
    fn put_count(&mut self, n: usize) {
        self.put_u8(u8::try_from(n).expect("counts are bounded by limits.rs"));
    }
}

impl Put for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// Largest sequence number accepted from a peer.
pub(crate) const SEQ_MAX: u64 = u64::MAX >> 2;

const _: () = assert!(crate::limits::NODES_MAX <= 64, "sets of members travel as 64-bit masks");

#[cfg(test)]
mod tests {
    use super::*;

    /// No proper prefix of a valid encoding is one.
    pub(super) fn all_truncations_fail(bytes: &[u8], fails: impl Fn(&[u8]) -> bool) {
        for len in 0..bytes.len() {
            assert!(fails(&bytes[..len]), "{len} of {} bytes decode", bytes.len());
        }
    }

    /// Declared size and consumed size are the same.
    pub(super) fn one_more_byte_fails(bytes: &[u8], fails: impl Fn(&[u8]) -> bool) {
        let longer = [bytes, &[0]].concat();
        assert!(fails(&longer));
    }

    #[test]
    fn kinds_are_told_by_the_first_byte() {
        for (byte, kind) in [(1, FrameKind::Token), (3, FrameKind::Join), (6, FrameKind::HoldCancel)] {
            assert_eq!(FrameKind::of(&[byte]), Ok(kind));
        }
        assert_eq!(FrameKind::of(&[]), Err(WireError::Truncated));
        assert!(FrameKind::of(&[0]).is_err() && FrameKind::of(&[7]).is_err());
    }

    #[test]
    fn noise_never_panics_a_decoder() {
        let mut x = 88_172_645_463_325_252_u64;
        let mut noise = [0_u8; 400];
        for round in 0..20_000 {
            for byte in &mut noise {
                x ^= x << 13;
                x ^= x >> 7;
                x ^= x << 17;
                // Small values make counts and flags plausible, so that the decoders get further in.
                *byte = if x & 3 == 0 { (x >> 8) as u8 } else { (x >> 8) as u8 & 3 };
            }
            let body = &mut noise[..round % 400];
            if let Some(kind) = body.first_mut() {
                *kind = (round % 7) as u8;
            }
            let _ = (Token::decode(body), Join::decode(body), Commit::decode(body), Header::decode(body));
            let _ = (MergeDetect::decode(body), HoldCancel::decode(body), Heartbeat::decode(body));
            let _ = LinkBeat::split(body);
            let _ = (Gasp::decode(body), Part::decode(body), Probe::decode(body));
            if let Ok(m) = Mcast::decode(body) {
                assert!(Chunks::new(m.payload).count() <= body.len());
            }
        }
    }
}
