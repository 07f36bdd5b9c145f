//! Frames in the ring's total order, and the chunks of messages packed in them.
//!
//! The payload of a data frame is a run of chunks; each is a whole message or a part of one, and says whether it is
//! the first and the last. The payload of a recovery frame is another frame of the kind, of the ring that its sender
//! comes from: room for that second header is left in every data frame.

use holdfast_types::{MsgSeq, NodeId, RingId};

use super::{FrameKind, Put, Reader, WireError, payload_of};
use crate::Guarantee;
use crate::limits::PACKET_MAX;

/// A frame with a place in the order, borrowed from its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mcast<'a> {
    /// The ring that orders it.
    pub ring: RingId,
    /// Its place.
    pub seq: MsgSeq,
    /// Who sent it first; a retransmission comes from somebody else.
    pub sender: NodeId,
    /// How strictly it is delivered; holds for all messages that end in it.
    pub guarantee: Guarantee,
    /// The payload is a frame of an older ring.
    pub wrapped: bool,
    /// The sender keeps the token for a moment: who wants it asks there.
    pub lingers: bool,
    /// Chunks, or the wrapped frame.
    pub payload: &'a [u8],
}

impl<'a> Mcast<'a> {
    /// As a frame.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(MCAST_HEADER_LEN + self.payload.len());
        self.encode_into(&mut out);
        out
    }

    /// Behind what `out` holds.
    pub fn encode_into(&self, out: &mut Vec<u8>) {
        out.put_u8(FrameKind::Mcast as u8);
        let safe = self.guarantee == Guarantee::Safe;
        out.put_u8(u8::from(safe) | u8::from(self.wrapped) << 1 | u8::from(self.lingers) << 2);
        out.put_ring(self.ring);
        out.put_u64(self.seq.get());
        out.put_u32(self.sender.get());
        out.put(self.payload);
    }

    /// Sets or clears [`Mcast::lingers`] in an encoded frame.
    pub fn set_lingering(frame: &mut [u8], lingers: bool) {
        if let Some(flags) = frame.get_mut(1) {
            *flags = *flags & !LINGERS | if lingers { LINGERS } else { 0 };
        }
    }

    /// From a frame. Data frames carry something, at most [`FRAME_PAYLOAD_MAX`]; `seq` is at least 1.
    pub fn decode(frame: &'a [u8]) -> Result<Self, WireError> {
        let mut r = Reader::frame(frame, FrameKind::Mcast)?;
        let flags = r.u8()?;
        if flags > 7 {
            return Err(WireError::BadValue("frame flags"));
        }
        let (safe, wrapped, lingers) = (flags & 1 == 1, flags & 2 == 2, flags & LINGERS == LINGERS);
        let ring = r.ring()?;
        let seq = r.seq()?;
        if seq == MsgSeq::new(0) {
            return Err(WireError::BadValue("frame sequence number"));
        }
        let sender = r.node()?;
        let payload = r.rest();
        let max = if wrapped { FRAME_PAYLOAD_MAX + MCAST_HEADER_LEN } else { FRAME_PAYLOAD_MAX };
        if payload.is_empty() {
            return Err(WireError::Truncated);
        }
        if payload.len() > max {
            return Err(WireError::Trailing(payload.len() - max));
        }
        let guarantee = if safe { Guarantee::Safe } else { Guarantee::Agreed };
        Ok(Self { ring, seq, sender, guarantee, wrapped, lingers, payload })
    }
}

/// A message or a part of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk<'a> {
    /// The message starts here.
    pub first: bool,
    /// The message ends here.
    pub last: bool,
    /// Its bytes.
    pub bytes: &'a [u8],
}

/// The chunks of a payload in order. After an error there is nothing more.
#[derive(Clone, Debug)]
pub struct Chunks<'a>(&'a [u8]);

impl<'a> Chunks<'a> {
    /// Of a data frame's payload.
    #[must_use]
    pub fn new(payload: &'a [u8]) -> Self {
        Self(payload)
    }

    fn take(&mut self) -> Result<Chunk<'a>, WireError> {
        let mut r = Reader::new(self.0);
        let head = r.u16()?;
        let chunk = Chunk {
            first: head & FIRST != 0,
            last: head & LAST != 0,
            bytes: r.bytes(usize::from(head & LEN_MASK))?,
        };
        self.0 = r.rest();
        Ok(chunk)
    }
}

impl<'a> Iterator for Chunks<'a> {
    type Item = Result<Chunk<'a>, WireError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let chunk = self.take();
        if chunk.is_err() {
            self.0 = &[];
        }
        Some(chunk)
    }
}

/// Writes the header of a chunk of `len` bytes, which follow.
///
/// # Panics
/// If `len` is more than fits a frame.
pub fn put_chunk_header(out: &mut Vec<u8>, first: bool, last: bool, len: usize) {
    assert!(len + CHUNK_HEADER_LEN <= FRAME_PAYLOAD_MAX);
    let len = u16::try_from(len).expect("shorter than a frame");
    out.put_u16(len | if first { FIRST } else { 0 } | if last { LAST } else { 0 });
}

/// Bytes before the payload of a frame.
pub const MCAST_HEADER_LEN: usize = 1 + 1 + 12 + 8 + 4;
/// Bytes of chunks in one data frame, with room left for the header of a recovery frame around it.
pub const FRAME_PAYLOAD_MAX: usize = payload_of(PACKET_MAX);
/// Bytes before each chunk.
pub const CHUNK_HEADER_LEN: usize = 2;

const LINGERS: u8 = 1 << 2;
const FIRST: u16 = 1 << 15;
const LAST: u16 = 1 << 14;
const LEN_MASK: u16 = LAST - 1;
const _: () = assert!(FRAME_PAYLOAD_MAX <= LEN_MASK as usize);

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(payload: &[u8], guarantee: Guarantee, wrapped: bool) -> Vec<u8> {
        Mcast {
            ring: RingId { representative: NodeId::new(3), seq: 12 },
            seq: MsgSeq::new(5),
            sender: NodeId::new(4),
            guarantee,
            wrapped,
            lingers: false,
            payload,
        }
        .encode()
    }

    #[test]
    fn a_frame_can_be_marked_as_sent_by_one_who_keeps_the_token() {
        let mut bytes = frame(b"abc", Guarantee::Safe, false);
        assert!(!Mcast::decode(&bytes).unwrap().lingers);
        Mcast::set_lingering(&mut bytes, true);
        let m = Mcast::decode(&bytes).unwrap();
        assert!(m.lingers && !m.wrapped && m.guarantee == Guarantee::Safe);
        assert_eq!(m.encode(), bytes);
        Mcast::set_lingering(&mut bytes, false);
        assert_eq!(bytes, frame(b"abc", Guarantee::Safe, false));
    }

    #[test]
    fn decodes_what_it_encodes() {
        for (guarantee, wrapped) in [(Guarantee::Agreed, false), (Guarantee::Safe, true)] {
            let bytes = frame(b"abc", guarantee, wrapped);
            let m = Mcast::decode(&bytes).unwrap();
            assert_eq!((m.guarantee, m.wrapped, m.payload), (guarantee, wrapped, &b"abc"[..]));
            assert_eq!(m.encode(), bytes);
            for len in 0..=MCAST_HEADER_LEN {
                assert!(Mcast::decode(&bytes[..len]).is_err());
            }
        }
    }

    #[test]
    fn a_full_frame_fits_a_packet_also_when_wrapped() {
        let inner = frame(&[1; FRAME_PAYLOAD_MAX], Guarantee::Agreed, false);
        let outer = frame(&inner, Guarantee::Agreed, true);
        assert_eq!(outer.len(), crate::wire::FRAME_MAX);
        let m = Mcast::decode(&outer).unwrap();
        assert_eq!(Mcast::decode(m.payload).unwrap().payload.len(), FRAME_PAYLOAD_MAX);
        assert!(Mcast::decode(&frame(&[1; FRAME_PAYLOAD_MAX + 1], Guarantee::Agreed, false)).is_err());
    }

    #[test]
    fn chunks_come_back_as_packed() {
        let mut payload = Vec::new();
        for (first, last, bytes) in [(true, true, &b"one"[..]), (true, false, b""), (false, true, b"end")] {
            put_chunk_header(&mut payload, first, last, bytes.len());
            payload.extend_from_slice(bytes);
        }
        let chunks: Vec<_> = Chunks::new(&payload).map(Result::unwrap).collect();
        assert_eq!(chunks[0], Chunk { first: true, last: true, bytes: b"one" });
        assert_eq!(chunks[1], Chunk { first: true, last: false, bytes: b"" });
        assert_eq!(chunks[2], Chunk { first: false, last: true, bytes: b"end" });
        payload.pop();
        assert!(Chunks::new(&payload).last().unwrap().is_err());
        assert_eq!(Chunks::new(&payload[..1]).count(), 1);
    }
}
