//! A node's block: that it lives, and what it knows, has promised and has proposed about who owns the disk's vote.

use holdfast_types::{Incarnation, NodeId, RingId, Span};

use super::{Damaged, DiskId, Kind, newer, open, seal_pair};
use crate::SLOTS_MAX;

/// Who may own the vote: one life of one node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Owner {
    /// Its slot; 0: nobody.
    pub slot: u8,
    /// Its life.
    pub life: Incarnation,
}

/// An outcome that stands: who owns the vote in which term. Terms count from 1; in term 0 nobody does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Decided {
    /// Which term.
    pub term: u64,
    /// Whose it is.
    pub owner: Owner,
}

/// What a node has on each disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Block {
    /// The life that wrote it; 0: nobody ever did.
    pub life: Incarnation,
    /// Counts writes: a number that stands still is a node that does not write.
    pub sequence: u64,
    /// The last outcome that it knows.
    pub decided: Decided,
    /// It is the owner and has given the vote back: it never counts it again in this term.
    pub released: bool,
    /// It wants the vote, and is fit to have it.
    pub wanted: bool,
    /// Its ballot for the next term: it counts nothing below. 0: none.
    pub ballot: u64,
    /// The highest ballot for the next term in which it accepted a value. 0: none.
    pub accepted: u64,
    /// The value accepted there.
    pub value: Owner,
    /// As owner it counts the vote for so long from the beginning of a write.
    pub lease: Span,
    /// Others may count what this node hands on for so long after it has stopped to count it. Whole milliseconds on the disk, rounded
    /// up.
    pub handed_on: Span,
    /// The configuration that the owner counts the vote for.
    pub ring: RingId,
    /// Its members: bit `slot - 1` for each.
    pub members: u64,
    /// What its heuristics reach, and could reach.
    pub score: (u16, u16),
    /// It writes this often.
    pub interval: Span,
    /// When it was written: seconds since 1970, for people.
    pub written: u64,
    /// How long its last write and read took.
    pub took: Span,
}

impl Block {
    /// Which of two blocks of one slot is the later one.
    #[must_use]
    pub fn age(&self) -> (Incarnation, u64) {
        (self.life, self.sequence)
    }

    /// Whether a node in these members' configuration is `slot`.
    #[must_use]
    pub fn has_member(&self, slot: u8) -> bool {
        slot > 0 && self.members >> (slot - 1) & 1 == 1
    }

    /// Into both copies: `pair` has [`Layout::pair`](super::Layout::pair) bytes.
    pub fn write(&self, slot: u8, id: &DiskId, pair: &mut [u8]) {
        let mut body = [0; LEN];
        let mut at = 0;
        let mut put = |bytes: &[u8]| {
            body[at..at + bytes.len()].copy_from_slice(bytes);
            at += bytes.len();
        };
        let flags = u8::from(self.released) | u8::from(self.wanted) << 1;
        put(&self.life.get().to_le_bytes());
        put(&self.sequence.to_le_bytes());
        put(&self.decided.term.to_le_bytes());
        put(&self.decided.owner.life.get().to_le_bytes());
        put(&self.ballot.to_le_bytes());
        put(&self.accepted.to_le_bytes());
        put(&self.value.life.get().to_le_bytes());
        put(&[self.decided.owner.slot, self.value.slot, flags, 0]);
        put(&self.ring.representative.get().to_le_bytes());
        put(&self.ring.seq.to_le_bytes());
        put(&self.members.to_le_bytes());
        put(&self.lease.as_nanos().to_le_bytes());
        put(&self.interval.as_nanos().to_le_bytes());
        put(&self.score.0.to_le_bytes());
        put(&self.score.1.to_le_bytes());
        let handed_on = self.handed_on.as_nanos().div_ceil(1_000_000);
        put(&u32::try_from(handed_on).unwrap_or(u32::MAX).to_le_bytes());
        put(&self.written.to_le_bytes());
        put(&self.took.as_nanos().to_le_bytes());
        assert!(at == LEN, "as long as it is");
        seal_pair(pair, Kind::Block, slot, id, &body);
    }

    /// From both copies: the later one that can be read.
    ///
    /// # Errors
    /// When neither can be read.
    pub fn read(slot: u8, id: &DiskId, pair: &[u8]) -> Result<Self, Damaged> {
        newer(pair, |bytes| Self::read_one(slot, id, bytes), |b, a| b.age() > a.age())
    }

    fn read_one(slot: u8, id: &DiskId, sector: &[u8]) -> Result<Self, Damaged> {
        let mut body = open(sector, Kind::Block, slot, Some(id))?;
        let life = Incarnation::new(body.u64());
        let sequence = body.u64();
        let term = body.u64();
        let owner_life = Incarnation::new(body.u64());
        let (ballot, accepted) = (body.u64(), body.u64());
        let value_life = Incarnation::new(body.u64());
        let (owner, value, flags) = (body.u8(), body.u8(), body.u8());
        body.u8();
        let ring = RingId { representative: NodeId::new(body.u32()), seq: body.u64() };
        let members = body.u64();
        let (lease, interval) = (Span::from_nanos(body.u64()), Span::from_nanos(body.u64()));
        let score = (body.u16(), body.u16());
        let handed_on = Span::from_millis(u64::from(body.u32()));
        let block = Self {
            life,
            sequence,
            decided: Decided { term, owner: Owner { slot: owner, life: owner_life } },
            released: flags & 1 != 0,
            wanted: flags & 2 != 0,
            ballot,
            accepted,
            value: Owner { slot: value, life: value_life },
            lease,
            handed_on,
            ring,
            members,
            score,
            interval,
            written: body.u64(),
            took: Span::from_nanos(body.u64()),
        };
        let sound = owner <= SLOTS_MAX
            && value <= SLOTS_MAX
            && (term == 0) == (owner == 0)
            && accepted <= ballot
            && (accepted == 0 || value > 0)
            && term < u64::MAX
            && sequence < u64::MAX
            && ballot < BALLOT_MAX;
        if sound { Ok(block) } else { Err(Damaged::Contents) }
    }
}

/// No ballot is this high.
pub(crate) const BALLOT_MAX: u64 = u64::MAX >> 1;
const LEN: usize = 7 * 8 + 4 + 4 + 8 * 4 + 2 + 2 + 4 + 8 + 8;
const _: () = assert!(LEN <= super::BODY_MAX);
