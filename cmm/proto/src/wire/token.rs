//! The regular token: who holds it may send.

use arrayvec::ArrayVec;
use holdfast_types::{MsgSeq, NodeId, RingId, TokenSeq};

use super::{FrameKind, Put, Reader, WireError};
use crate::limits::RETRANSMIT_REQUESTS_MAX;

/// The token of an installed ring, or of one in recovery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Which ring it orders.
    pub ring: RingId,
    /// Grows with each pass; a copy with the same or a lower number is old.
    pub token_seq: TokenSeq,
    /// Highest sequence number given to a frame.
    pub seq: MsgSeq,
    /// All received up to here: lowered by whoever lacks something, raised only by the one who lowered it.
    pub aru: MsgSeq,
    /// Who lowered `aru`; `None` when it equals `seq`.
    pub aru_id: Option<NodeId>,
    /// Frames that wait at all members together.
    pub backlog: u32,
    /// Frames sent by all members in the last rotation.
    pub fcc: u32,
    /// Members whose clients do not keep up, as a mask over the ring's members in ascending order: nobody adds more than
    /// a trickle while there is one.
    pub lagging: u64,
    /// While some member is not known to have entered the ring: how far recovery is.
    pub recovery: Option<RecoveryProgress>,
    /// Frames somebody lacks.
    pub requests: ArrayVec<MsgSeq, RETRANSMIT_REQUESTS_MAX>,
}

/// Masks over the ring's members in ascending order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecoveryProgress {
    /// Members that may still have old frames to send again.
    pub pending: u64,
    /// Members that have all frames of their old ring and took on the duty to deliver them.
    pub ready: u64,
}

impl Token {
    /// As a frame.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(FIXED_LEN + 16 + 8 * self.requests.len());
        self.encode_into(&mut out);
        out
    }

    /// Behind what `out` holds.
    pub fn encode_into(&self, out: &mut Vec<u8>) {
        out.put_u8(FrameKind::Token as u8);
        out.put_ring(self.ring);
        out.put_u64(self.token_seq.get());
        out.put_u64(self.seq.get());
        out.put_u64(self.aru.get());
        out.put_u32(self.aru_id.map_or(0, NodeId::get));
        out.put_u32(self.backlog);
        out.put_u32(self.fcc);
        out.put_u64(self.lagging);
        out.put_u8(u8::from(self.recovery.is_some()));
        if let Some(progress) = self.recovery {
            out.put_u64(progress.pending);
            out.put_u64(progress.ready);
        }
        out.put_count(self.requests.len());
        for seq in &self.requests {
            out.put_u64(seq.get());
        }
    }

    /// From a frame.
    pub fn decode(frame: &[u8]) -> Result<Self, WireError> {
        let mut r = Reader::frame(frame, FrameKind::Token)?;
        let ring = r.ring()?;
        let token_seq = TokenSeq::new(r.seq()?.get());
        let seq = r.seq()?;
        let aru = r.seq()?;
        if aru > seq {
            return Err(WireError::BadValue("aru"));
        }
        let aru_id = match r.u32()? {
            0 => None,
            id => Some(NodeId::new(id)),
        };
        let backlog = r.u32()?;
        let fcc = r.u32()?;
        let lagging = r.u64()?;
        let recovery = match r.u8()? {
            0 => None,
            1 => Some(RecoveryProgress { pending: r.u64()?, ready: r.u64()? }),
            _ => return Err(WireError::BadValue("recovery flag")),
        };
        let mut requests = ArrayVec::new();
        for _ in 0..r.count("requests", RETRANSMIT_REQUESTS_MAX)? {
            requests.push(r.seq()?);
        }
        r.end()?;
        Ok(Self { ring, token_seq, seq, aru, aru_id, backlog, fcc, lagging, recovery, requests })
    }
}

const FIXED_LEN: usize = 1 + 12 + 8 + 8 + 8 + 4 + 4 + 4 + 8 + 1 + 1;
const _: () = assert!(FIXED_LEN + 16 + RETRANSMIT_REQUESTS_MAX * 8 <= super::FRAME_CONTROL_MAX);

#[cfg(test)]
mod tests {
    use super::super::tests::{all_truncations_fail, one_more_byte_fails};
    use super::*;

    pub(super) fn sample(recovery: bool, requests: usize) -> Token {
        Token {
            ring: RingId { representative: NodeId::new(1), seq: 4 },
            token_seq: TokenSeq::new(99),
            seq: MsgSeq::new(1000),
            aru: MsgSeq::new(990),
            aru_id: Some(NodeId::new(3)),
            backlog: 17,
            fcc: 5,
            lagging: 0b110,
            recovery: recovery.then_some(RecoveryProgress { pending: 0b101, ready: 0b010 }),
            requests: (0..requests).map(|n| MsgSeq::new(991 + n as u64)).collect(),
        }
    }

    #[test]
    fn decodes_what_it_encodes() {
        for recovery in [false, true] {
            for requests in [0, 1, RETRANSMIT_REQUESTS_MAX] {
                let token = sample(recovery, requests);
                let bytes = token.encode();
                assert_eq!(Token::decode(&bytes), Ok(token));
                all_truncations_fail(&bytes, |b| Token::decode(b).is_err());
                one_more_byte_fails(&bytes, |b| Token::decode(b).is_err());
            }
        }
    }

    #[test]
    fn refuses_counts_and_values_out_of_range() {
        let mut bytes = sample(false, 0).encode();
        *bytes.last_mut().unwrap() = 31;
        bytes.extend([0; 31 * 8]);
        assert!(matches!(Token::decode(&bytes), Err(WireError::TooMany { count: 31, .. })));
        let mut token = sample(false, 0);
        token.aru = MsgSeq::new(1001);
        assert_eq!(Token::decode(&token.encode()), Err(WireError::BadValue("aru")));
        token.seq = MsgSeq::new(u64::MAX);
        assert!(Token::decode(&token.encode()).is_err());
    }
}
