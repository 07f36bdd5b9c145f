//! Frames of one ring by sequence number: what was received, what is missing, what may be forgotten.

use std::collections::VecDeque;

use holdfast_types::{MsgSeq, NodeId};

use crate::limits::WINDOW_FRAMES_MAX;
use crate::wire::MCAST_HEADER_LEN;
use crate::{Bytes, Guarantee};

/// A frame kept until every member is known to have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    /// Who sent it first.
    pub(super) sender: NodeId,
    pub(super) guarantee: Guarantee,
    /// The payload is a frame of an older ring.
    pub(super) wrapped: bool,
    /// As it goes over the wire, to be sent again.
    pub(super) bytes: Bytes,
}

impl Frame {
    /// Chunks, or the frame of the older ring.
    pub(super) fn payload(&self) -> &[u8] {
        &self.bytes[MCAST_HEADER_LEN..]
    }
}

/// Frames in order, between what all have (`base`) and the highest received.
///
/// Slots grow with what is outstanding, which flow control bounds; a frame further ahead than [`CAPACITY`] is not
/// taken, and asked for again when the window has moved.
#[derive(Debug, Default)]
pub(super) struct Window {
    /// Frames up to here are forgotten.
    base: u64,
    /// All frames up to here were received.
    aru: u64,
    /// Slot `i` holds frame `base + 1 + i`; the last slot is never empty.
    slots: VecDeque<Option<Frame>>,
}

impl Window {
    /// All received up to here.
    pub(super) fn aru(&self) -> MsgSeq {
        MsgSeq::new(self.aru)
    }

    /// Highest frame received.
    pub(super) fn high(&self) -> MsgSeq {
        MsgSeq::new(self.base + self.slots.len() as u64)
    }

    /// The frame, unless it is missing or forgotten.
    pub(super) fn get(&self, seq: MsgSeq) -> Option<&Frame> {
        self.slots.get(self.slot(seq)?)?.as_ref()
    }

    /// Takes a frame; `false` if it was there before or is too far ahead. `make` runs only for a frame that is taken.
    pub(super) fn insert(&mut self, seq: MsgSeq, make: impl FnOnce() -> Frame) -> bool {
        let Some(slot) = self.slot(seq).filter(|slot| *slot < CAPACITY) else { return false };
        if slot >= self.slots.len() {
            self.slots.resize(slot + 1, None);
        }
        let place = &mut self.slots[slot];
        if place.is_some() {
            return false;
        }
        *place = Some(make());
        while self.get(MsgSeq::new(self.aru + 1)).is_some() {
            self.aru += 1;
        }
        true
    }

    /// Sequence numbers missing up to and with `to`, ascending.
    pub(super) fn missing(&self, to: MsgSeq) -> impl Iterator<Item = MsgSeq> + '_ {
        let to = to.get().min(self.base.saturating_add(CAPACITY as u64));
        (self.aru + 1..=to).map(MsgSeq::new).filter(|seq| self.get(*seq).is_none())
    }

    /// Forgets frames up to `seq`, none of them missing.
    pub(super) fn forget(&mut self, seq: MsgSeq) {
        let to = seq.get().min(self.aru);
        while self.base < to {
            self.slots.pop_front();
            self.base += 1;
        }
    }

    /// Frames up to here are forgotten.
    pub(super) fn base(&self) -> MsgSeq {
        MsgSeq::new(self.base)
    }

    /// Free places behind `seq`, which is the highest in use or higher.
    pub(super) fn places_after(&self, seq: MsgSeq) -> u64 {
        (self.base + CAPACITY as u64).saturating_sub(seq.get())
    }

    fn slot(&self, seq: MsgSeq) -> Option<usize> {
        usize::try_from(seq.get().checked_sub(self.base + 1)?).ok()
    }
}

/// Slots at most. Nobody sends further ahead of the token's aru than [`WINDOW_FRAMES_MAX`]; that aru is at most two
/// rotations ahead of what is known to be safe here, and a rotation adds at most [`WINDOW_FRAMES_MAX`] frames.
pub(super) const CAPACITY: usize = 4 * WINDOW_FRAMES_MAX;

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(n: u64) -> Frame {
        Frame {
            sender: NodeId::new(1),
            guarantee: Guarantee::Agreed,
            wrapped: false,
            bytes: n.to_le_bytes().as_slice().into(),
        }
    }

    fn put(w: &mut Window, n: u64) -> bool {
        w.insert(MsgSeq::new(n), || frame(n))
    }

    fn missing(w: &Window, to: u64) -> Vec<u64> {
        w.missing(MsgSeq::new(to)).map(MsgSeq::get).collect()
    }

    #[test]
    fn aru_stops_at_the_first_hole_and_moves_when_it_is_filled() {
        let mut w = Window::default();
        assert!(put(&mut w, 1) && put(&mut w, 3) && put(&mut w, 5));
        assert_eq!((w.aru().get(), w.high().get()), (1, 5));
        assert_eq!(missing(&w, 7), [2, 4, 6, 7]);
        assert!(put(&mut w, 2));
        assert_eq!(w.aru().get(), 3);
        assert!(put(&mut w, 4));
        assert_eq!(w.aru().get(), 5);
    }

    #[test]
    fn a_frame_is_taken_once() {
        let mut w = Window::default();
        assert!(put(&mut w, 1));
        assert!(!w.insert(MsgSeq::new(1), || frame(9)));
        assert_eq!(w.get(MsgSeq::new(1)), Some(&frame(1)));
        w.forget(MsgSeq::new(1));
        assert!(!put(&mut w, 1), "nor when it is forgotten");
        assert!(w.aru() == MsgSeq::new(1) && w.get(MsgSeq::new(1)).is_none());
    }

    #[test]
    fn forgets_only_what_was_received() {
        let mut w = Window::default();
        for n in [1, 2, 4] {
            put(&mut w, n);
        }
        w.forget(MsgSeq::new(4));
        assert_eq!(w.get(MsgSeq::new(2)), None);
        assert_eq!(w.get(MsgSeq::new(4)), Some(&frame(4)));
        assert_eq!(missing(&w, 4), [3]);
        assert_eq!(w.high().get(), 4);
    }

    #[test]
    fn memory_is_bounded_however_far_ahead_a_peer_claims_to_be() {
        let mut w = Window::default();
        assert!(!put(&mut w, CAPACITY as u64 + 1));
        assert!(!put(&mut w, u64::MAX >> 2));
        assert!(!put(&mut w, 0));
        assert!(put(&mut w, CAPACITY as u64));
        assert_eq!(w.missing(MsgSeq::new(u64::MAX >> 2)).count(), CAPACITY - 1);
    }
}
