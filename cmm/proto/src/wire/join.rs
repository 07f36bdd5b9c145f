//! JOIN and LEAVE: one node's word on who is there.

use holdfast_types::{Incarnation, RingId};

use super::{FrameKind, NodeSet, Put, Reader, WireError};

/// What one node says about membership. The sender is the packet's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Join {
    /// The sender's life.
    pub incarnation: Incarnation,
    /// Grows with each join the sender makes in one life: an older one is void however late it comes.
    pub counter: u64,
    /// Orderly leave: the sender is gone after this.
    pub leave: bool,
    /// The sender knows that all of its ring and of the receiver's hear each other, and gathers because of that.
    pub vouch: bool,
    /// Highest ring sequence number the sender has taken part in or may have used in an earlier life.
    pub ring_seq: u64,
    /// The configuration it comes from.
    pub old_ring: RingId,
    /// Nodes it considers, the failed included.
    pub proc: NodeSet,
    /// Nodes it holds failed.
    pub failed: NodeSet,
}

impl Join {
    /// As a frame.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(FIXED_LEN + 4 * (self.proc.len() + self.failed.len()));
        out.put_u8(FrameKind::Join as u8);
        out.put_u8(u8::from(self.leave) | u8::from(self.vouch) << 1);
        out.put_u64(self.incarnation.get());
        out.put_u64(self.counter);
        out.put_u64(self.ring_seq);
        out.put_ring(self.old_ring);
        out.put_nodes(&self.proc);
        out.put_nodes(&self.failed);
        out
    }

    /// From a frame.
    pub fn decode(frame: &[u8]) -> Result<Self, WireError> {
        let mut r = Reader::frame(frame, FrameKind::Join)?;
        let flags = r.u8()?;
        if flags > 3 {
            return Err(WireError::BadValue("join flags"));
        }
        let join = Self {
            leave: flags & 1 == 1,
            vouch: flags & 2 == 2,
            incarnation: Incarnation::new(r.u64()?),
            counter: r.u64()?,
            ring_seq: r.ring_seq()?,
            old_ring: r.ring()?,
            proc: r.nodes("nodes considered")?,
            failed: r.nodes("nodes failed")?,
        };
        r.end()?;
        Ok(join)
    }
}

const FIXED_LEN: usize = 1 + 1 + 8 + 8 + 8 + 12 + 1 + 1;
const _: () = assert!(FIXED_LEN + 2 * 4 * crate::limits::NODES_MAX <= super::FRAME_MAX);

#[cfg(test)]
mod tests {
    use holdfast_types::NodeId;

    use super::super::tests::{all_truncations_fail, one_more_byte_fails};
    use super::*;

    fn sample(proc: u32, failed: u32) -> Join {
        Join {
            incarnation: Incarnation::new(3),
            counter: 8,
            leave: failed == 1,
            vouch: proc == 3,
            ring_seq: 1024,
            old_ring: RingId { representative: NodeId::new(2), seq: 1020 },
            proc: (1..=proc).map(NodeId::new).collect(),
            failed: (1..=failed).map(NodeId::new).collect(),
        }
    }

    #[test]
    fn decodes_what_it_encodes() {
        for (proc, failed) in [(0, 0), (3, 1), (64, 64)] {
            let join = sample(proc, failed);
            let bytes = join.encode();
            assert_eq!(Join::decode(&bytes), Ok(join));
            all_truncations_fail(&bytes, |b| Join::decode(b).is_err());
            one_more_byte_fails(&bytes, |b| Join::decode(b).is_err());
        }
    }

    #[test]
    fn refuses_unsorted_and_oversized_sets() {
        let mut bytes = sample(2, 0).encode();
        let at = FIXED_LEN - 1;
        bytes[at..at + 8].rotate_left(4);
        assert_eq!(Join::decode(&bytes), Err(WireError::BadValue("order of node ids")));
        let mut bytes = sample(0, 0).encode();
        bytes[FIXED_LEN - 2] = 65;
        assert!(matches!(Join::decode(&bytes), Err(WireError::TooMany { count: 65, .. })));
    }
}
