//! Small frames: merge-detect and hold-cancel.

use holdfast_types::RingId;

use super::{FrameKind, NodeSet, Put, Reader, WireError};

/// A member shows its ring to nodes outside it, so that rings which can reach each other become one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MergeDetect {
    /// The ring it is a member of.
    pub ring: RingId,
    /// Members of that ring.
    pub members: NodeSet,
    /// Nodes outside of it that the sender hears.
    pub heard: NodeSet,
    /// Nodes outside of it that the sender will not form a ring with for now.
    pub held_out: NodeSet,
}

impl MergeDetect {
    /// As a frame.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let sets = [&self.members, &self.heard, &self.held_out];
        let mut out = Vec::with_capacity(1 + 12 + sets.map(|set| 1 + 4 * set.len()).iter().sum::<usize>());
        out.put_u8(FrameKind::MergeDetect as u8);
        out.put_ring(self.ring);
        for set in sets {
            out.put_nodes(set);
        }
        out
    }

    /// From a frame.
    pub fn decode(frame: &[u8]) -> Result<Self, WireError> {
        let mut r = Reader::frame(frame, FrameKind::MergeDetect)?;
        let detect = Self {
            ring: r.ring()?,
            members: r.nodes("members")?,
            heard: r.nodes("nodes heard")?,
            held_out: r.nodes("nodes held out")?,
        };
        r.end()?;
        Ok(detect)
    }
}

/// A member asks the representative to let the held token go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HoldCancel {
    /// Of which ring.
    pub ring: RingId,
}

impl HoldCancel {
    /// As a frame.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(13);
        self.encode_into(&mut out);
        out
    }

    /// Behind what `out` holds.
    pub fn encode_into(&self, out: &mut Vec<u8>) {
        out.put_u8(FrameKind::HoldCancel as u8);
        out.put_ring(self.ring);
    }

    /// From a frame.
    pub fn decode(frame: &[u8]) -> Result<Self, WireError> {
        let mut r = Reader::frame(frame, FrameKind::HoldCancel)?;
        let cancel = Self { ring: r.ring()? };
        r.end()?;
        Ok(cancel)
    }
}

#[cfg(test)]
mod tests {
    use holdfast_types::NodeId;

    use super::super::tests::{all_truncations_fail, one_more_byte_fails};
    use super::*;

    #[test]
    fn both_decode_what_they_encode() {
        let ring = RingId { representative: NodeId::new(2), seq: 9 };
        let cancel = HoldCancel { ring };
        assert_eq!(HoldCancel::decode(&cancel.encode()), Ok(cancel));
        all_truncations_fail(&cancel.encode(), |b| HoldCancel::decode(b).is_err());
        one_more_byte_fails(&cancel.encode(), |b| HoldCancel::decode(b).is_err());
        let detect = MergeDetect {
            ring,
            members: [2, 3].map(NodeId::new).into_iter().collect(),
            heard: NodeSet::of(NodeId::new(7)),
            held_out: (1..=64).map(NodeId::new).collect(),
        };
        assert_eq!(MergeDetect::decode(&detect.encode()), Ok(detect.clone()));
        all_truncations_fail(&detect.encode(), |b| MergeDetect::decode(b).is_err());
        one_more_byte_fails(&detect.encode(), |b| MergeDetect::decode(b).is_err());
        assert!(HoldCancel::decode(&detect.encode()).is_err());
    }
}
