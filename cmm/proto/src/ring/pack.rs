//! Messages into frames and back: small ones packed together, large ones cut up.
//!
//! A message stays in the queue until its last part is in a frame. When the configuration changes in between, the new
//! ring gets it from its start, and every receiver drops the parts that came on the old one: so a message belongs to
//! one configuration, the one its last part was sent in.

use std::collections::VecDeque;

use holdfast_types::NodeId;

use crate::limits::{MESSAGE_MAX, NODES_MAX, QUEUE_BYTES_MAX, QUEUE_MESSAGES_MAX};
use crate::wire::{CHUNK_HEADER_LEN, Chunk, put_chunk_header};
use crate::{Guarantee, Refusal};

/// Messages that wait for the token.
#[derive(Debug, Default)]
pub(super) struct SendQueue {
    messages: VecDeque<Message>,
    /// Bytes of all messages, the sent part of the first one included.
    bytes: usize,
    /// How much of the first message is in frames of this ring already.
    sent: usize,
    /// Some part of the first message, perhaps an empty one, is in a frame of this ring.
    begun: bool,
}

#[derive(Debug)]
struct Message {
    guarantee: Guarantee,
    payload: Box<[u8]>,
}

impl SendQueue {
    pub(super) fn push(&mut self, guarantee: Guarantee, payload: &[u8]) -> Result<(), Refusal> {
        if payload.len() > MESSAGE_MAX {
            return Err(Refusal::TooBig);
        }
        if self.messages.len() >= QUEUE_MESSAGES_MAX || self.bytes + payload.len() > QUEUE_BYTES_MAX {
            return Err(Refusal::TryAgain);
        }
        self.bytes += payload.len();
        self.messages.push_back(Message { guarantee, payload: payload.into() });
        Ok(())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Messages of which some part waits.
    pub(super) fn len(&self) -> usize {
        self.messages.len()
    }

    /// Percent of the tighter of the two bounds.
    pub(super) fn level(&self) -> u8 {
        let percent = |used: usize, max: usize| u8::try_from(used * 100 / max).unwrap_or(100);
        percent(self.messages.len(), QUEUE_MESSAGES_MAX).max(percent(self.bytes, QUEUE_BYTES_MAX))
    }

    /// Frames of `max` bytes that the queue would fill, roughly.
    pub(super) fn frames_waiting(&self, max: usize) -> u32 {
        let bytes = self.bytes - self.sent + self.messages.len() * CHUNK_HEADER_LEN;
        u32::try_from(bytes.div_ceil(max)).unwrap_or(u32::MAX)
    }

    /// The chunks of the next frame, at most `max` bytes of them; messages of one guarantee only.
    pub(super) fn next_payload(&mut self, max: usize) -> Option<(Guarantee, Vec<u8>)> {
        let guarantee = self.messages.front()?.guarantee;
        let mut out =
            Vec::with_capacity(max.min(self.bytes - self.sent + CHUNK_HEADER_LEN * self.messages.len()));
        while let Some(message) = self.messages.front().filter(|m| m.guarantee == guarantee) {
            let rest = &message.payload[self.sent..];
            let Some(room) = (max - out.len()).checked_sub(CHUNK_HEADER_LEN) else { break };
            // A message that fits a frame is not cut to fill up this one: the cut costs more than the gap.
            if rest.len() > room
                && !out.is_empty()
                && (rest.len() <= max - CHUNK_HEADER_LEN || room < SPLIT_MIN)
            {
                break;
            }
            let part = &rest[..rest.len().min(room)];
            let last = part.len() == rest.len();
            put_chunk_header(&mut out, !self.begun, last, part.len());
            out.extend_from_slice(part);
            if last {
                self.bytes -= message.payload.len();
                self.messages.pop_front();
                (self.sent, self.begun) = (0, false);
            } else {
                self.sent += part.len();
                self.begun = true;
                break;
            }
        }
        Some((guarantee, out))
    }

    /// A new ring begins: a message of which only a part was sent starts again.
    pub(super) fn restart(&mut self) {
        (self.sent, self.begun) = (0, false);
    }
}

/// Puts the parts of each sender's messages together.
#[derive(Debug, Default)]
pub(super) struct Assembler {
    /// A message begun by each sender; at most one, at most [`MESSAGE_MAX`] bytes.
    parts: Vec<(NodeId, Vec<u8>)>,
}

/// A chunk that cannot belong where it came: skipped, the same way by all who deliver it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OutOfPlace;

impl Assembler {
    /// The message that `chunk` completes, if it does.
    pub(super) fn push(&mut self, sender: NodeId, chunk: Chunk<'_>) -> Result<Option<Vec<u8>>, OutOfPlace> {
        let begun = self.parts.iter().position(|(from, _)| *from == sender);
        match (chunk.first, begun) {
            (true, None) if chunk.last => Ok(Some(chunk.bytes.to_vec())),
            (true, None) if self.parts.len() < NODES_MAX => {
                self.parts.push((sender, chunk.bytes.to_vec()));
                Ok(None)
            }
            (true, None) | (false, None) => Err(OutOfPlace),
            (true, Some(at)) => {
                // A sender ends each message before the next one: what was begun is void.
                self.parts.swap_remove(at);
                self.push(sender, chunk).and(Err(OutOfPlace))
            }
            (false, Some(at)) => {
                let parts = &mut self.parts[at].1;
                if parts.len() + chunk.bytes.len() > MESSAGE_MAX {
                    self.parts.swap_remove(at);
                    return Err(OutOfPlace);
                }
                parts.extend_from_slice(chunk.bytes);
                Ok(chunk.last.then(|| self.parts.swap_remove(at).1))
            }
        }
    }

    /// The ring is over: nothing begun on it will be completed.
    pub(super) fn clear(&mut self) {
        self.parts.clear();
    }

    /// Who has begun a message.
    #[cfg(test)]
    pub(super) fn open(&self) -> crate::wire::NodeSet {
        self.parts.iter().map(|(from, _)| *from).collect()
    }
}

/// A part of a large message is at least this long, but for its last.
const SPLIT_MIN: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Chunks, FRAME_PAYLOAD_MAX};

    const ME: NodeId = NodeId::new(1);

    fn frames(queue: &mut SendQueue, max: usize) -> Vec<(Guarantee, Vec<u8>)> {
        std::iter::from_fn(|| queue.next_payload(max)).collect()
    }

    fn messages(frames: &[(Guarantee, Vec<u8>)]) -> Vec<Vec<u8>> {
        let mut assembler = Assembler::default();
        let chunks = frames.iter().flat_map(|(_, payload)| Chunks::new(payload));
        chunks.filter_map(|c| assembler.push(ME, c.unwrap()).unwrap()).collect()
    }

    fn sample(len: usize) -> Vec<u8> {
        (0..len).map(|n| (n * 7 + len) as u8).collect()
    }

    #[test]
    fn small_messages_share_a_frame() {
        let mut queue = SendQueue::default();
        let sent: Vec<_> = (0..20).map(|n| sample(n * 3)).collect();
        for m in &sent {
            queue.push(Guarantee::Agreed, m).unwrap();
        }
        let frames = frames(&mut queue, FRAME_PAYLOAD_MAX);
        assert_eq!(frames.len(), 1);
        assert_eq!(messages(&frames), sent);
        assert!(queue.is_empty() && queue.level() == 0 && queue.frames_waiting(100) == 0);
    }

    #[test]
    fn big_messages_are_cut_and_come_back_whole() {
        for max in [64, 300, FRAME_PAYLOAD_MAX] {
            let mut queue = SendQueue::default();
            let sent: Vec<_> = [5000, 3, max - 2, max - 1, max, 0, 70_000].map(sample).into();
            for m in &sent {
                queue.push(Guarantee::Agreed, m).unwrap();
            }
            let waiting = queue.frames_waiting(max) as usize;
            let frames = frames(&mut queue, max);
            assert!(frames.iter().all(|(_, payload)| payload.len() <= max && !payload.is_empty()));
            assert!(frames.len() >= waiting && frames.len() < waiting * 11 / 10 + 10, "{waiting}");
            assert_eq!(messages(&frames), sent, "max {max}");
        }
    }

    #[test]
    fn the_largest_message_passes_and_one_byte_more_does_not() {
        let mut queue = SendQueue::default();
        assert_eq!(queue.push(Guarantee::Agreed, &vec![0; MESSAGE_MAX + 1]), Err(Refusal::TooBig));
        let largest = sample(MESSAGE_MAX);
        queue.push(Guarantee::Safe, &largest).unwrap();
        assert_eq!(messages(&frames(&mut queue, FRAME_PAYLOAD_MAX)), [largest]);
    }

    #[test]
    fn frames_hold_one_guarantee() {
        let mut queue = SendQueue::default();
        for guarantee in [Guarantee::Agreed, Guarantee::Agreed, Guarantee::Safe, Guarantee::Agreed] {
            queue.push(guarantee, b"x").unwrap();
        }
        let guarantees: Vec<_> = frames(&mut queue, 100).into_iter().map(|(g, _)| g).collect();
        assert_eq!(guarantees, [Guarantee::Agreed, Guarantee::Safe, Guarantee::Agreed]);
    }

    #[test]
    fn a_full_queue_refuses_and_the_level_tells() {
        let mut queue = SendQueue::default();
        for _ in 0..QUEUE_MESSAGES_MAX {
            queue.push(Guarantee::Agreed, b"").unwrap();
        }
        assert_eq!((queue.level(), queue.push(Guarantee::Agreed, b"")), (100, Err(Refusal::TryAgain)));
        let mut queue = SendQueue::default();
        while queue.push(Guarantee::Agreed, &[0; MESSAGE_MAX]).is_ok() {}
        assert_eq!(queue.level(), 100);
    }

    #[test]
    fn a_message_that_was_begun_starts_again_on_a_new_ring() {
        let mut queue = SendQueue::default();
        let (whole, begun) = (sample(10), sample(900));
        queue.push(Guarantee::Agreed, &whole).unwrap();
        queue.push(Guarantee::Agreed, &begun).unwrap();
        let old: Vec<_> = (0..2).map(|_| queue.next_payload(300).unwrap()).collect();
        assert_eq!(messages(&old), [whole]);
        queue.restart();
        assert_eq!(messages(&frames(&mut queue, 300)), [begun]);
    }

    #[test]
    fn parts_out_of_place_are_skipped() {
        let mut a = Assembler::default();
        let part = |first, last| Chunk { first, last, bytes: b"ab" };
        assert_eq!(a.push(ME, part(false, true)), Err(OutOfPlace));
        assert_eq!(a.push(ME, part(true, false)), Ok(None));
        assert_eq!(a.push(ME, part(true, false)), Err(OutOfPlace), "the first one never ended");
        assert_eq!(a.push(NodeId::new(2), part(true, true)), Ok(Some(b"ab".to_vec())));
        assert_eq!(a.push(ME, part(false, true)), Ok(Some(b"abab".to_vec())));
        assert!(a.open().is_empty());
    }

    #[test]
    fn reassembly_is_bounded_in_bytes_and_senders() {
        let mut a = Assembler::default();
        let bytes = &[0; 1000];
        a.push(ME, Chunk { first: true, last: false, bytes }).unwrap();
        let mut more = 0;
        while a.push(ME, Chunk { first: false, last: false, bytes }).is_ok() {
            more += 1;
        }
        assert_eq!(more, MESSAGE_MAX / 1000 - 1);
        assert!(a.open().is_empty());
        for n in 1..=100 {
            let _ = a.push(NodeId::new(n), Chunk { first: true, last: false, bytes });
        }
        assert_eq!(a.open().len(), NODES_MAX);
        a.clear();
        assert!(a.open().is_empty());
    }
}
