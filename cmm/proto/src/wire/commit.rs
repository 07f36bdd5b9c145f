//! The commit token: goes round a ring that is being formed, twice. The first time each member adds what it brings
//! from the ring before, the second time everybody learns all of it.
//!
//! Up to [`ENTRIES_PER_PART`] members fit one packet; a larger ring's token travels in several parts, each with the
//! whole member list.

use holdfast_types::{MsgSeq, NodeId, RingId, TokenSeq};

use super::{FrameKind, NodeSet, Put, Reader, WireError};
use crate::limits::NODES_MAX;

/// The commit token, or one part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// The ring being formed.
    pub ring: RingId,
    /// Grows with each pass; a copy with the same or a lower number is old.
    pub token_seq: TokenSeq,
    /// Members of the ring being formed, for ever.
    pub members: NodeSet,
    /// Place of the first of `entries` among the members.
    pub first: usize,
    /// What members bring, in their order; `None` where one has not yet said it.
    pub entries: Vec<Option<CommitEntry>>,
}

/// What one member brings from its old ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommitEntry {
    /// The last configuration it installed.
    pub old_ring: RingId,
    /// It holds, or has delivered, every frame of the old ring up to here.
    pub aru: MsgSeq,
    /// The highest frame of the old ring that it holds.
    pub high: MsgSeq,
    /// Every member of the old ring is known to hold every frame up to here.
    pub safe: MsgSeq,
    /// Mask over the old ring's members: whose frames it must deliver even behind a hole.
    pub obligations: u64,
}

impl Commit {
    /// A fresh token without entries.
    #[must_use]
    pub fn new(ring: RingId, members: NodeSet) -> Self {
        let entries = vec![None; members.len()];
        Self { ring, token_seq: TokenSeq::new(0), members, first: 0, entries }
    }

    /// The whole token as frames, one or more.
    #[must_use]
    pub fn encode(&self) -> Vec<Vec<u8>> {
        let parts = self.entries.chunks(ENTRIES_PER_PART).enumerate();
        parts.map(|(n, entries)| self.encode_part(self.first + n * ENTRIES_PER_PART, entries)).collect()
    }

    fn encode_part(&self, first: usize, entries: &[Option<CommitEntry>]) -> Vec<u8> {
        let mut out = Vec::with_capacity(FIXED_LEN + 4 * self.members.len() + ENTRY_LEN * entries.len());
        out.put_u8(FrameKind::Commit as u8);
        out.put_ring(self.ring);
        out.put_u64(self.token_seq.get());
        out.put_nodes(&self.members);
        out.put_count(first);
        out.put_count(entries.len());
        for entry in entries {
            out.put_u8(u8::from(entry.is_some()));
            if let Some(e) = entry {
                out.put_ring(e.old_ring);
                out.put_u64(e.aru.get());
                out.put_u64(e.high.get());
                out.put_u64(e.safe.get());
                out.put_u64(e.obligations);
            }
        }
        out
    }

    /// From a frame: one part. Its representative is the lowest of its members; there is at least one entry and none
    /// beyond the members.
    pub fn decode(frame: &[u8]) -> Result<Self, WireError> {
        let mut r = Reader::frame(frame, FrameKind::Commit)?;
        let ring = r.ring()?;
        let token_seq = TokenSeq::new(r.seq()?.get());
        let members = r.nodes("members")?;
        if members.first() != Some(ring.representative) {
            return Err(WireError::BadValue("representative"));
        }
        let first = r.count("place of the first entry", NODES_MAX - 1)?;
        let count = r.count("entries", ENTRIES_PER_PART)?;
        if count == 0 || first + count > members.len() || first % ENTRIES_PER_PART != 0 {
            return Err(WireError::BadValue("place of the entries"));
        }
        if count != (members.len() - first).min(ENTRIES_PER_PART) {
            return Err(WireError::BadValue("count of entries"));
        }
        let mut entries = Vec::with_capacity(count);
        for _ in 0..count {
            entries.push(match r.u8()? {
                0 => None,
                1 => Some(Self::decode_entry(&mut r)?),
                _ => return Err(WireError::BadValue("entry flag")),
            });
        }
        r.end()?;
        Ok(Self { ring, token_seq, members, first, entries })
    }

    fn decode_entry(r: &mut Reader<'_>) -> Result<CommitEntry, WireError> {
        let entry = CommitEntry {
            old_ring: r.ring()?,
            aru: r.seq()?,
            high: r.seq()?,
            safe: r.seq()?,
            obligations: r.u64()?,
        };
        if entry.aru > entry.high || entry.safe > entry.aru {
            return Err(WireError::BadValue("aru"));
        }
        Ok(entry)
    }

    /// What `id` brings.
    #[must_use]
    pub fn entry(&self, id: NodeId) -> Option<&CommitEntry> {
        let at = self.members.position(id)?.checked_sub(self.first)?;
        self.entries.get(at)?.as_ref()
    }

    /// Whether every member has said what it brings. Of a whole token.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.entries.len() == self.members.len() && self.entries.iter().all(Option::is_some)
    }
}

/// Entries in one packet.
pub const ENTRIES_PER_PART: usize = 16;
const FIXED_LEN: usize = 1 + 12 + 8 + 1 + 1 + 1;
const ENTRY_LEN: usize = 1 + 12 + 8 + 8 + 8 + 8;
const _: () = assert!(FIXED_LEN + 4 * NODES_MAX + ENTRIES_PER_PART * ENTRY_LEN <= super::FRAME_CONTROL_MAX);

#[cfg(test)]
mod tests {
    use super::super::tests::{all_truncations_fail, one_more_byte_fails};
    use super::*;

    fn sample(members: u32) -> Commit {
        let members: NodeSet = (1..=members).map(NodeId::new).collect();
        let mut commit = Commit::new(RingId { representative: NodeId::new(1), seq: 7 }, members);
        for (n, entry) in commit.entries.iter_mut().enumerate().filter(|(n, _)| n % 3 != 1) {
            *entry = Some(CommitEntry {
                old_ring: RingId { representative: NodeId::new(1), seq: 6 },
                aru: MsgSeq::new(n as u64),
                high: MsgSeq::new(100),
                safe: MsgSeq::new(0),
                obligations: 1 << n,
            });
        }
        commit
    }

    #[test]
    fn decodes_what_it_encodes() {
        for members in [1, 2, 16, 17, 64] {
            let commit = sample(members);
            let parts = commit.encode();
            assert_eq!(parts.len(), (members as usize).div_ceil(ENTRIES_PER_PART));
            let mut entries = Vec::new();
            for bytes in &parts {
                let part = Commit::decode(bytes).unwrap();
                assert_eq!((part.ring, &part.members), (commit.ring, &commit.members));
                assert_eq!(part.first, entries.len());
                entries.extend(part.entries);
                all_truncations_fail(bytes, |b| Commit::decode(b).is_err());
                one_more_byte_fails(bytes, |b| Commit::decode(b).is_err());
            }
            assert_eq!(entries, commit.entries);
        }
    }

    #[test]
    fn entries_are_found_by_member_in_a_part_too() {
        let commit = sample(20);
        let second = Commit::decode(&commit.encode()[1]).unwrap();
        assert_eq!(second.entry(NodeId::new(1)), None);
        assert_eq!(second.entry(NodeId::new(19)), commit.entry(NodeId::new(19)));
        assert!(second.entry(NodeId::new(19)).is_some() && !commit.is_full());
    }

    #[test]
    fn refuses_a_representative_that_is_not_the_lowest() {
        let mut commit = sample(3);
        commit.ring.representative = NodeId::new(2);
        assert_eq!(Commit::decode(&commit.encode()[0]), Err(WireError::BadValue("representative")));
    }

    #[test]
    fn refuses_entries_in_odd_places() {
        let mut commit = sample(20);
        commit.first = 4;
        assert!(Commit::decode(&commit.encode()[1]).is_err());
        commit.first = 0;
        commit.entries.pop();
        assert!(Commit::decode(&commit.encode()[1]).is_err());
    }
}
