//! When the owner of a term may be followed, and by whom.

use holdfast_types::{Boottime, Span};

use super::Claim;
use crate::SLOTS_MAX;
use crate::format::block::{Block, Owner};

/// Whether and when an owner may be followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gone {
    /// Now, for a reason that no clock has a part in.
    Surely,
    /// If it still stands still then.
    From(Boottime),
    /// Nobody can tell.
    No,
}

impl Claim {
    /// Whether the owner of the term decided last may be followed, going by its block as it was read.
    pub(super) fn gone(&self, block: &Block) -> Gone {
        let Owner { slot, life } = self.own.decided.owner;
        if slot == 0 {
            return Gone::Surely;
        }
        if slot == self.config.slot {
            // An earlier life of this node, or this one when it has given the vote back.
            let over = life < self.config.life || self.own.released && self.hold.is_none();
            return if over { Gone::Surely } else { Gone::No };
        }
        let released = block.life == life && block.released && block.decided == self.own.decided;
        let (ended, since, alone) = self.ended[usize::from(slot)];
        if released || ended >= life && alone {
            return Gone::Surely;
        }
        if ended >= life && block.life >= life {
            return Gone::From(since + watch(block.handed_on) + self.config.margin);
        }
        if block.life != life {
            return Gone::No; // it has not been seen yet
        }
        let seen = &self.seen[usize::from(slot)];
        if seen.block.age() == block.age() {
            Gone::From(seen.since + watch(block.lease) + self.config.margin)
        } else {
            Gone::No
        }
    }

    /// Whether this node was in the last configuration that counted the vote, or there is none: otherwise others may
    /// know what it does not.
    pub(super) fn was_in_last(&self, block: &Block) -> bool {
        let owner = self.own.decided.owner;
        let last = if owner.slot == self.config.slot { &self.own } else { block };
        owner.slot == 0 || owner.slot == self.config.slot || last.has_member(self.config.slot)
    }

    /// The owner's block as read last.
    pub(super) fn owner_seen(&self) -> &Block {
        &self.seen[usize::from(self.own.decided.owner.slot)].block
    }

    /// When this node may begin a ballot, if nothing more is seen of the owner. Members with lower slots that want the vote as
    /// well come first.
    pub(super) fn bid_time(&self) -> Option<Boottime> {
        if !self.ready || !self.wish.wanted || self.owns() || !self.was_in_last(self.owner_seen()) {
            return None;
        }
        let base = match self.gone(self.owner_seen()) {
            Gone::Surely => Boottime::ZERO,
            Gone::From(at) => at,
            Gone::No => return None,
        };
        let owner = self.own.decided.owner.slot;
        let before = |slot: &u8| {
            let other = &self.seen[usize::from(*slot)].block;
            let member = self.wish.members >> (slot - 1) & 1 == 1;
            member && *slot != owner && other.wanted && other.ring == self.wish.ring
        };
        let rank = (1..self.config.slot.min(SLOTS_MAX)).filter(before).count();
        let turn = self.config.interval.scale(2 * u64::try_from(rank).unwrap_or(0), 1);
        Some(base.max(self.bid_at).max(self.wished_at) + turn)
    }
}

/// How long an owner with this lease is watched standing still, without margin: clocks drift apart by less than 1 % each way.
pub(super) fn watch(lease: Span) -> Span {
    lease + lease.scale(2, 100)
}
