//! Part of a ring frame that is longer than the packets which the path takes now.

use super::{FRAME_MAX, HEADER_LEN, Put, Reader, TAG_LEN, WireError};

/// Body of a [`super::PacketKind::Part`] packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part<'a> {
    /// Number of the frame among those that its sender has cut up in this life.
    pub id: u32,
    /// Bytes of the whole frame, at most [`FRAME_MAX`].
    pub whole: usize,
    /// Where these bytes belong.
    pub offset: usize,
    /// The bytes; at least one.
    pub bytes: &'a [u8],
}

impl<'a> Part<'a> {
    /// Bytes before those of the frame.
    pub const LEN: usize = 4 + 2 + 2;

    /// The parts of `frame` for packets of at most `packet_max` bytes.
    pub(crate) fn split(id: u32, frame: &'a [u8], packet_max: usize) -> impl Iterator<Item = Self> {
        let size = packet_max - HEADER_LEN - TAG_LEN - Self::LEN;
        let part = move |(n, bytes)| Self { id, whole: frame.len(), offset: n * size, bytes };
        frame.chunks(size).enumerate().map(part)
    }

    /// As a packet's body.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(Self::LEN + self.bytes.len());
        let short = |n: usize| u16::try_from(n).expect("frames are shorter than 64 KiB");
        out.put_u32(self.id);
        out.put_u16(short(self.whole));
        out.put_u16(short(self.offset));
        out.put(self.bytes);
        out
    }

    /// From an opened body.
    pub fn decode(body: &'a [u8]) -> Result<Self, WireError> {
        let mut r = Reader::new(body);
        let (id, whole, offset) = (r.u32()?, usize::from(r.u16()?), usize::from(r.u16()?));
        let bytes = r.rest();
        if whole > FRAME_MAX {
            return Err(WireError::TooMany { what: "bytes of a frame", count: whole, max: FRAME_MAX });
        }
        if bytes.is_empty() {
            return Err(WireError::Truncated);
        }
        if offset + bytes.len() > whole {
            return Err(WireError::Trailing(offset + bytes.len() - whole));
        }
        Ok(Self { id, whole, offset, bytes })
    }
}

const _: () = assert!(FRAME_MAX <= u16::MAX as usize);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::PACKET_SAFE;

    #[test]
    fn the_parts_of_a_frame_are_the_frame() {
        let frame: Vec<u8> = (0..FRAME_MAX).map(|n| n as u8).collect();
        for len in [1, 100, 5_000, FRAME_MAX] {
            let mut whole = Vec::new();
            for part in Part::split(7, &frame[..len], PACKET_SAFE) {
                let body = part.encode();
                assert!(HEADER_LEN + body.len() + TAG_LEN <= PACKET_SAFE);
                assert_eq!(Part::decode(&body), Ok(part));
                assert_eq!((part.id, part.whole, part.offset), (7, len, whole.len()));
                whole.extend_from_slice(part.bytes);
            }
            assert_eq!(whole, frame[..len]);
        }
    }

    #[test]
    fn what_does_not_fit_its_frame_is_refused() {
        let good = Part { id: 1, whole: 10, offset: 4, bytes: b"abcdef" };
        assert!(Part::decode(&good.encode()).is_ok());
        assert!(Part::decode(&Part { offset: 5, ..good }.encode()).is_err());
        assert!(Part::decode(&Part { bytes: b"", ..good }.encode()).is_err());
        assert!(Part::decode(&Part { whole: FRAME_MAX + 1, ..good }.encode()).is_err());
        assert!(Part::decode(&good.encode()[..7]).is_err());
    }
}
