//! The packet header: in the clear, but authenticated with the body.

use holdfast_types::{Incarnation, LinkId, NodeId};

use super::{KeyId, Put, Reader, WireError};
use crate::limits::LINKS_MAX;

/// What a packet's body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum PacketKind {
    /// One frame of the ring.
    Ring = 1,
    /// A [`super::LinkBeat`], with a [`super::Heartbeat`] behind it for a member of the sender's ring.
    Heartbeat = 2,
    /// A [`super::Gasp`]; sealed in advance, with a key and counters of its own.
    Gasp = 3,
    /// A [`super::Part`] of a frame of the ring.
    Part = 4,
    /// A [`super::Probe`] of the path's MTU, or the answer to one.
    Probe = 5,
}

/// The first [`HEADER_LEN`] bytes of every packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What the body is.
    pub kind: PacketKind,
    /// The sender's link, for which the packet was sealed.
    pub link: LinkId,
    /// The key it is sealed with.
    pub key: KeyId,
    /// The key that the sender wants to change to, and accepts already.
    pub next_key: Option<KeyId>,
    /// Who sealed it.
    pub sender: NodeId,
    /// Which life of the sender.
    pub incarnation: Incarnation,
    /// Grows with each packet of one life; the nonce.
    pub counter: u64,
}

impl Header {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.put(&MAGIC);
        out.put_u8(VERSION);
        out.put_u8(self.kind as u8 | self.link.get() << LINK_SHIFT);
        out.put_u16(self.key.get());
        out.put_u16(self.next_key.map_or(0, KeyId::get));
        out.put_u32(self.sender.get());
        out.put_u64(self.incarnation.get());
        out.put_u64(self.counter);
    }

    /// From the front of a packet. Nothing in it may be believed before the seal is opened.
    pub fn decode(packet: &[u8]) -> Result<Self, WireError> {
        let mut r = Reader::new(packet);
        if r.bytes(MAGIC.len())? != MAGIC {
            return Err(WireError::BadValue("magic"));
        }
        if r.u8()? != VERSION {
            return Err(WireError::BadValue("version"));
        }
        let kind_and_link = r.u8()?;
        let kind = match kind_and_link & KIND_MASK {
            1 => PacketKind::Ring,
            2 => PacketKind::Heartbeat,
            3 => PacketKind::Gasp,
            4 => PacketKind::Part,
            5 => PacketKind::Probe,
            _ => return Err(WireError::BadValue("packet kind")),
        };
        let link = kind_and_link >> LINK_SHIFT;
        if usize::from(link) >= LINKS_MAX {
            return Err(WireError::BadValue("link"));
        }
        Ok(Self {
            kind,
            link: LinkId::new(link),
            key: KeyId::from_wire(r.u16()?).ok_or(WireError::BadValue("key id"))?,
            next_key: KeyId::from_wire(r.u16()?),
            sender: r.node()?,
            incarnation: Incarnation::new(r.u64()?),
            counter: match r.u64()? {
                0 => return Err(WireError::BadValue("counter")),
                counter => counter,
            },
        })
    }
}

/// Bytes of a header.
pub const HEADER_LEN: usize = 2 + 1 + 1 + 2 + 2 + 4 + 8 + 8;
const MAGIC: [u8; 2] = *b"HF";
const VERSION: u8 = 6;
/// Kind in the lower four bits, link above.
const KIND_MASK: u8 = 0x0f;
const LINK_SHIFT: u32 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u16) -> KeyId {
        KeyId::from_wire(n).unwrap()
    }

    #[test]
    fn decodes_what_it_encodes() {
        let header = Header {
            kind: PacketKind::Heartbeat,
            link: LinkId::new(7),
            key: id(0x1234),
            next_key: Some(id(0xfffe)),
            sender: NodeId::new(0xdead_beef),
            incarnation: Incarnation::new(5),
            counter: u64::MAX,
        };
        let mut bytes = Vec::new();
        header.encode(&mut bytes);
        assert_eq!(bytes.len(), HEADER_LEN);
        assert_eq!(Header::decode(&bytes), Ok(header));
        super::super::tests::all_truncations_fail(&bytes, |b| Header::decode(b).is_err());
    }

    #[test]
    fn refuses_what_it_does_not_know() {
        let header = Header {
            kind: PacketKind::Ring,
            link: LinkId::new(0),
            key: id(1),
            next_key: None,
            sender: NodeId::new(1),
            incarnation: Incarnation::new(1),
            counter: 1,
        };
        let mut good = Vec::new();
        header.encode(&mut good);
        for (at, value) in [(0, b'X'), (1, b'X'), (2, 1), (3, 0), (3, 6), (3, 0x81), (4, 0), (8, 0), (20, 0)]
        {
            let mut bad = good.clone();
            bad[at] = value;
            assert!(Header::decode(&bad).is_err(), "byte {at} = {value}");
        }
    }
}
