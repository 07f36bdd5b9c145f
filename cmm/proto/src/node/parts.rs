//! Frames that came in parts, put together.

use std::collections::VecDeque;

use holdfast_types::{Incarnation, NodeId};

use crate::wire::Part;

/// Frames of which a part is here, of all senders; the oldest first.
#[derive(Debug, Default)]
pub(super) struct Parts(Vec<Sender>);

#[derive(Debug)]
struct Sender {
    node: NodeId,
    incarnation: Incarnation,
    frames: VecDeque<Frame>,
}

#[derive(Debug)]
struct Frame {
    id: u32,
    bytes: Vec<u8>,
    /// No part comes twice: the seal's window sees to that.
    missing: usize,
}

impl Parts {
    /// The frame that this part completes, if it does. A frame that `node` has cut up otherwise is worth nothing, but hurts only
    /// what `node` says: it is checked as any other is.
    pub(super) fn put(&mut self, node: NodeId, incarnation: Incarnation, part: &Part<'_>) -> Option<Vec<u8>> {
        let at = self.0.iter().position(|s| s.node == node).unwrap_or_else(|| {
            self.0.push(Sender { node, incarnation, frames: VecDeque::new() });
            self.0.len() - 1
        });
        let sender = &mut self.0[at];
        if sender.incarnation != incarnation {
            (sender.incarnation, sender.frames) = (incarnation, VecDeque::new());
        }
        let frames = &mut sender.frames;
        let at = frames.iter().position(|f| f.id == part.id).unwrap_or_else(|| {
            if frames.len() == FRAMES_MAX {
                frames.pop_front();
            }
            frames.push_back(Frame { id: part.id, bytes: vec![0; part.whole], missing: part.whole });
            frames.len() - 1
        });
        let frame = &mut frames[at];
        frame.bytes.get_mut(part.offset..part.offset + part.bytes.len())?.copy_from_slice(part.bytes);
        frame.missing = frame.missing.saturating_sub(part.bytes.len());
        if frame.missing > 0 {
            return None;
        }
        frames.remove(at).map(|f| f.bytes)
    }
}

/// Frames of one sender that are not whole yet. They are sent one behind the other; those that were asked for again overtake.
const FRAMES_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::PACKET_SAFE;

    const LIFE: Incarnation = Incarnation::new(3);

    fn frame(n: u8) -> Vec<u8> {
        (0..5_000_u16).map(|k| k as u8 ^ n).collect()
    }

    #[test]
    fn frames_come_together_in_any_order_of_parts() {
        let mut parts = Parts::default();
        let frames: Vec<Vec<u8>> = (0..FRAMES_MAX as u8).map(frame).collect();
        let split = |n: usize| Part::split(n as u32, &frames[n], PACKET_SAFE).collect::<Vec<_>>();
        let all: Vec<Vec<Part<'_>>> = (0..FRAMES_MAX).map(split).collect();
        let mut got = Vec::new();
        for k in (0..all[0].len()).rev() {
            for part in all.iter().map(|parts| &parts[k]) {
                got.extend(parts.put(NodeId::new(2), LIFE, part));
            }
        }
        assert_eq!(got, frames);
        assert!(parts.0[0].frames.is_empty());
    }

    #[test]
    fn what_never_comes_whole_is_forgotten_and_bounded() {
        let mut parts = Parts::default();
        let frame = frame(1);
        for id in 0..100 {
            let part = Part::split(id, &frame, PACKET_SAFE).next().unwrap();
            assert_eq!(parts.put(NodeId::new(2), LIFE, &part), None);
            assert!(parts.0[0].frames.len() <= FRAMES_MAX);
        }
        let rest: Vec<_> = Part::split(99, &frame, PACKET_SAFE).skip(1).collect();
        let last = rest.iter().find_map(|part| parts.put(NodeId::new(2), LIFE, part));
        assert_eq!(last, Some(frame));
    }

    #[test]
    fn lives_and_senders_are_kept_apart() {
        let mut parts = Parts::default();
        let frame = frame(7);
        let split: Vec<_> = Part::split(1, &frame, PACKET_SAFE).collect();
        let put = |parts: &mut Parts, node, life, k: usize| {
            parts.put(NodeId::new(node), Incarnation::new(life), &split[k])
        };
        for k in 0..split.len() - 1 {
            assert_eq!(put(&mut parts, 2, 3, k), None);
        }
        assert_eq!(put(&mut parts, 4, 3, split.len() - 1), None, "of another node");
        assert_eq!(put(&mut parts, 2, 9, split.len() - 1), None, "of another life");
    }

    #[test]
    fn parts_of_frames_of_different_lengths_with_one_number_do_no_harm() {
        let mut parts = Parts::default();
        let part = |whole, offset, bytes| Part { id: 1, whole, offset, bytes };
        assert_eq!(parts.put(NodeId::new(2), LIFE, &part(10, 0, b"abc")), None);
        assert_eq!(parts.put(NodeId::new(2), LIFE, &part(4_000, 3_000, b"abc")), None);
        assert_eq!(
            parts.put(NodeId::new(2), LIFE, &part(10, 0, b"0123456789")),
            Some(b"0123456789".to_vec())
        );
    }
}
