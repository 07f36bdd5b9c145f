//! Dying gasp and last word: sealed in advance, sent by the guardian when the daemon is no more.

use holdfast_types::Incarnation;

use super::{Put, Reader, WireError};
use crate::GaspKind;

/// Body of a [`super::PacketKind::Gasp`] packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gasp {
    /// What happened.
    pub kind: GaspKind,
    /// Whose end it is: one life of the sender. Equal to the header's.
    pub incarnation: Incarnation,
    /// In words, for logs on the survivors; at most [`Gasp::WHY_MAX`] bytes.
    pub why: String,
}

impl Gasp {
    /// Bytes of `why`; longer text is cut at a character when encoded.
    pub const WHY_MAX: usize = 255;

    /// As bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let why = &self.why[..self.why.floor_char_boundary(Self::WHY_MAX)];
        let mut out = Vec::with_capacity(1 + 8 + 1 + why.len());
        out.put_u8(match self.kind {
            GaspKind::CmmdDied => 1,
            GaspKind::UnitDied => 2,
            GaspKind::LastWord => 3,
        });
        out.put_u64(self.incarnation.get());
        out.put_count(why.len());
        out.put(why.as_bytes());
        out
    }

    /// From an opened body. Bytes that are not UTF-8 become replacement characters: the text is for people only.
    pub fn decode(body: &[u8]) -> Result<Self, WireError> {
        let mut r = Reader::new(body);
        let kind = match r.u8()? {
            1 => GaspKind::CmmdDied,
            2 => GaspKind::UnitDied,
            3 => GaspKind::LastWord,
            _ => return Err(WireError::BadValue("kind of gasp")),
        };
        let incarnation = Incarnation::new(r.u64()?);
        let len = r.count("bytes of the reason", Self::WHY_MAX)?;
        let why = String::from_utf8_lossy(r.bytes(len)?).into_owned();
        r.end()?;
        Ok(Self { kind, incarnation, why })
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{all_truncations_fail, one_more_byte_fails};
    use super::*;

    #[test]
    fn decodes_what_it_encodes() {
        for kind in [GaspKind::CmmdDied, GaspKind::UnitDied, GaspKind::LastWord] {
            let gasp = Gasp { kind, incarnation: Incarnation::new(9), why: "\"rgmd\" died".into() };
            let bytes = gasp.encode();
            assert_eq!(Gasp::decode(&bytes), Ok(gasp));
            all_truncations_fail(&bytes, |b| Gasp::decode(b).is_err());
            one_more_byte_fails(&bytes, |b| Gasp::decode(b).is_err());
        }
    }

    #[test]
    fn long_text_is_cut_at_a_character() {
        let gasp = Gasp { kind: GaspKind::UnitDied, incarnation: Incarnation::new(1), why: "ä".repeat(200) };
        let back = Gasp::decode(&gasp.encode()).unwrap();
        assert_eq!(back.why, "ä".repeat(127));
    }
}
