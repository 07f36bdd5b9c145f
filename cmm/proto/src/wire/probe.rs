//! Path MTU probe: a packet of a certain length that must not be cut up on its way, and the short answer that it came whole.

use super::{HEADER_LEN, Put, Reader, TAG_LEN, WireError};
use crate::limits::{PACKET_MAX, PACKET_SAFE};

/// Body of a [`super::PacketKind::Probe`] packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// "Say if this comes whole": as many bytes of packet, filled up with zeroes.
    Ask(usize),
    /// "A packet of so many bytes has come whole."
    Answer(usize),
}

impl Probe {
    /// As a packet's body.
    ///
    /// # Panics
    /// If the length is none that is probed for.
    #[must_use]
    pub fn encode(self) -> Vec<u8> {
        let (kind, len) = match self {
            Self::Ask(len) => (ASK, len),
            Self::Answer(len) => (ANSWER, len),
        };
        assert!((PACKET_SAFE..=PACKET_MAX).contains(&len), "no packet is {len} bytes long");
        let body = if kind == ASK { len - HEADER_LEN - TAG_LEN } else { LEN };
        let mut out = Vec::with_capacity(body);
        out.put_u8(kind);
        out.put_u16(u16::try_from(len).expect("packets are shorter than 64 KiB"));
        out.resize(body, 0);
        out
    }

    /// From an opened body.
    pub fn decode(body: &[u8]) -> Result<Self, WireError> {
        let mut r = Reader::new(body);
        let (kind, len) = (r.u8()?, usize::from(r.u16()?));
        if !(PACKET_SAFE..=PACKET_MAX).contains(&len) {
            return Err(WireError::BadValue("length of a probe"));
        }
        match kind {
            ASK if HEADER_LEN + body.len() + TAG_LEN == len => Ok(Self::Ask(len)),
            ASK => Err(WireError::BadValue("length of a probe")),
            ANSWER => r.end().map(|()| Self::Answer(len)),
            _ => Err(WireError::BadValue("kind of a probe")),
        }
    }
}

const ASK: u8 = 1;
const ANSWER: u8 = 2;
const LEN: usize = 1 + 2;

#[cfg(test)]
mod tests {
    use super::super::tests::{all_truncations_fail, one_more_byte_fails};
    use super::*;

    #[test]
    fn a_probe_is_as_long_as_it_says_and_its_answer_short() {
        for len in [PACKET_SAFE, 1_472, PACKET_MAX] {
            let ask = Probe::Ask(len).encode();
            assert_eq!(HEADER_LEN + ask.len() + TAG_LEN, len);
            assert_eq!(Probe::decode(&ask), Ok(Probe::Ask(len)));
            let answer = Probe::Answer(len).encode();
            assert_eq!(answer.len(), LEN);
            assert_eq!(Probe::decode(&answer), Ok(Probe::Answer(len)));
            for bytes in [ask, answer] {
                all_truncations_fail(&bytes, |b| Probe::decode(b).is_err());
                one_more_byte_fails(&bytes, |b| Probe::decode(b).is_err());
            }
        }
        assert!(Probe::decode(&[ANSWER, 0, 0]).is_err() && Probe::decode(&[ANSWER, 0xff, 0xff]).is_err());
        assert!(Probe::decode(&[3, 0xd0, 4]).is_err());
    }
}
