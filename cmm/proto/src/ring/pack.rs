//! Messages into frames and back: small ones packed together, large ones cut up.
//!
//! A message stays in the queue until its last part is in a frame. When the configuration changes in between, the new
//! ring gets it from its start, and every receiver drops the parts that came on the old one: so a message belongs to
//! one configuration, the one its last part was sent in.

use std::collections::VecDeque;

use holdfast_types::NodeId;

use crate::bytes::{Buffer, Pool};
use crate::limits::{MESSAGE_MAX, NODES_MAX, QUEUE_BYTES_MAX, QUEUE_MESSAGES_MAX};
use crate::wire::{CHUNK_HEADER_LEN, Chunk, put_chunk_header};
use crate::{Bytes, Guarantee, Refusal};

/// Messages that wait for the token.
#[derive(Debug, Default)]
pub(super) struct SendQueue {
    /// Guarantee and length of each.
    messages: VecDeque<(Guarantee, usize)>,
    /// All messages one behind the other, and before them those that are out.
    buffer: Vec<u8>,
    /// Where the first message begins.
    start: usize,
    /// How much of the first message is in frames of this ring already.
    sent: usize,
    /// Some part of the first message, perhaps an empty one, is in a frame of this ring.
    begun: bool,
}

impl SendQueue {
    /// Takes the message that `write` adds to what it is given.
    pub(super) fn push(
        &mut self,
        guarantee: Guarantee,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), Refusal> {
        if self.messages.len() >= QUEUE_MESSAGES_MAX {
            return Err(Refusal::TryAgain);
        }
        let before = self.buffer.len();
        write(&mut self.buffer);
        let len = self.buffer.len() - before;
        let refusal = match () {
            () if len > MESSAGE_MAX => Some(Refusal::TooBig),
            () if self.bytes() > QUEUE_BYTES_MAX => Some(Refusal::TryAgain),
            () => None,
        };
        if let Some(refusal) = refusal {
            self.buffer.truncate(before);
            return Err(refusal);
        }
        self.messages.push_back((guarantee, len));
        Ok(())
    }

    /// Bytes of all messages, the sent part of the first one included.
    fn bytes(&self) -> usize {
        self.buffer.len() - self.start
    }

    /// The first message is out.
    fn pop(&mut self) {
        let Some((_, len)) = self.messages.pop_front() else { return };
        self.start += len;
        (self.sent, self.begun) = (0, false);
        // What is out is dropped when it is the larger part: each byte is moved once at most.
        if self.start >= self.buffer.len() - self.start {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
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
        percent(self.messages.len(), QUEUE_MESSAGES_MAX).max(percent(self.bytes(), QUEUE_BYTES_MAX))
    }

    /// Frames of `max` bytes that the queue would fill, roughly.
    pub(super) fn frames_waiting(&self, max: usize) -> u32 {
        let bytes = self.bytes() - self.sent + self.messages.len() * CHUNK_HEADER_LEN;
        u32::try_from(bytes.div_ceil(max)).unwrap_or(u32::MAX)
    }

    /// The guarantee of the next frame, if there is one.
    pub(super) fn next_guarantee(&self) -> Option<Guarantee> {
        self.messages.front().map(|(guarantee, _)| *guarantee)
    }

    /// Adds the chunks of the next frame to `out`, at most `max` bytes of them; messages of one guarantee only.
    pub(super) fn next_payload(&mut self, max: usize, out: &mut Vec<u8>) {
        let (begin, guarantee) = (out.len(), self.next_guarantee());
        while let Some((_, len)) = self.messages.front().filter(|(g, _)| Some(*g) == guarantee) {
            let rest = &self.buffer[self.start + self.sent..self.start + len];
            let used = out.len() - begin;
            let Some(room) = (max - used).checked_sub(CHUNK_HEADER_LEN) else { break };
            // A message that fits a frame is not cut to fill up this one: the cut costs more than the gap.
            if rest.len() > room && used > 0 && (rest.len() <= max - CHUNK_HEADER_LEN || room < SPLIT_MIN) {
                break;
            }
            let part = &rest[..rest.len().min(room)];
            let last = part.len() == rest.len();
            put_chunk_header(out, !self.begun, last, part.len());
            out.extend_from_slice(part);
            if last {
                self.pop();
            } else {
                self.sent += part.len();
                self.begun = true;
                break;
            }
        }
    }

    /// A new ring begins: a message of which only a part was sent starts again.
    pub(super) fn restart(&mut self) {
        (self.sent, self.begun) = (0, false);
    }
}

/// Puts the parts of each sender's messages together.
#[derive(Debug)]
pub(super) struct Assembler {
    /// A message begun by each sender; at most one, at most [`MESSAGE_MAX`] bytes.
    parts: Vec<(NodeId, Buffer)>,
    pool: Pool,
}

impl Default for Assembler {
    fn default() -> Self {
        Self { parts: Vec::new(), pool: Pool::new(BUFFER_BYTES, BUFFERS_MAX) }
    }
}

/// A chunk that cannot belong where it came: skipped, the same way by all who deliver it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OutOfPlace;

impl Assembler {
    /// The message that `chunk` completes, if it does; `frame` is what the chunk is a part of.
    pub(super) fn push(
        &mut self,
        sender: NodeId,
        chunk: Chunk<'_>,
        frame: &Bytes,
    ) -> Result<Option<Bytes>, OutOfPlace> {
        let begun = self.parts.iter().position(|(from, _)| *from == sender);
        match (chunk.first, begun) {
            (true, None) if chunk.last => Ok(Some(frame.part(chunk.bytes))),
            (true, None) if self.parts.len() < NODES_MAX => {
                let mut buffer = self.pool.take();
                buffer.extend_from_slice(chunk.bytes);
                self.parts.push((sender, buffer));
                Ok(None)
            }
            (true, None) | (false, None) => Err(OutOfPlace),
            (true, Some(at)) => {
                // A sender ends each message before the next one: what was begun is void.
                self.drop_part(at);
                self.push(sender, chunk, frame).and(Err(OutOfPlace))
            }
            (false, Some(at)) => {
                let parts = &mut self.parts[at].1;
                if parts.len() + chunk.bytes.len() > MESSAGE_MAX {
                    self.drop_part(at);
                    return Err(OutOfPlace);
                }
                parts.extend_from_slice(chunk.bytes);
                Ok(chunk.last.then(|| self.pool.share(self.parts.swap_remove(at).1)))
            }
        }
    }

    fn drop_part(&mut self, at: usize) {
        self.pool.give_back(self.parts.swap_remove(at).1);
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

/// What a buffer for large messages begins with.
const BUFFER_BYTES: usize = 68 * 1_024;
/// Buffers of large messages that are kept: each may have grown to the largest one.
const BUFFERS_MAX: usize = 16;

/// A part of a large message is at least this long, but for its last.
const SPLIT_MIN: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Chunks, FRAME_PAYLOAD_MAX};

    const ME: NodeId = NodeId::new(1);

    fn frame(queue: &mut SendQueue, max: usize) -> Option<(Guarantee, Bytes)> {
        let guarantee = queue.next_guarantee()?;
        // Behind a header, as in a frame.
        let mut out = vec![7; 3];
        queue.next_payload(max, &mut out);
        Some((guarantee, out[3..].into()))
    }

    fn frames(queue: &mut SendQueue, max: usize) -> Vec<(Guarantee, Bytes)> {
        std::iter::from_fn(|| frame(queue, max)).collect()
    }

    fn messages(frames: &[(Guarantee, Bytes)]) -> Vec<Vec<u8>> {
        let mut assembler = Assembler::default();
        let chunks = frames.iter().flat_map(|(_, payload)| Chunks::new(payload).map(move |c| (c, payload)));
        let whole = chunks.filter_map(|(c, of)| assembler.push(ME, c.unwrap(), of).unwrap());
        whole.map(|message| message.to_vec()).collect()
    }

    fn push(queue: &mut SendQueue, guarantee: Guarantee, message: &[u8]) -> Result<(), Refusal> {
        queue.push(guarantee, |out| out.extend_from_slice(message))
    }

    fn add(a: &mut Assembler, sender: u32, first: bool, last: bool, frame: &Bytes) -> Added {
        a.push(NodeId::new(sender), Chunk { first, last, bytes: frame }, frame)
    }

    type Added = Result<Option<Bytes>, OutOfPlace>;

    fn sample(len: usize) -> Vec<u8> {
        (0..len).map(|n| (n * 7 + len) as u8).collect()
    }

    #[test]
    fn small_messages_share_a_frame() {
        let mut queue = SendQueue::default();
        let sent: Vec<_> = (0..20).map(|n| sample(n * 3)).collect();
        for m in &sent {
            push(&mut queue, Guarantee::Agreed, m).unwrap();
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
                push(&mut queue, Guarantee::Agreed, m).unwrap();
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
        assert_eq!(push(&mut queue, Guarantee::Agreed, &vec![0; MESSAGE_MAX + 1]), Err(Refusal::TooBig));
        let largest = sample(MESSAGE_MAX);
        push(&mut queue, Guarantee::Safe, &largest).unwrap();
        assert_eq!(messages(&frames(&mut queue, FRAME_PAYLOAD_MAX)), [largest]);
    }

    #[test]
    fn frames_hold_one_guarantee() {
        let mut queue = SendQueue::default();
        for guarantee in [Guarantee::Agreed, Guarantee::Agreed, Guarantee::Safe, Guarantee::Agreed] {
            push(&mut queue, guarantee, b"x").unwrap();
        }
        let guarantees: Vec<_> = frames(&mut queue, 100).into_iter().map(|(g, _)| g).collect();
        assert_eq!(guarantees, [Guarantee::Agreed, Guarantee::Safe, Guarantee::Agreed]);
    }

    #[test]
    fn a_full_queue_refuses_and_the_level_tells() {
        let mut queue = SendQueue::default();
        for _ in 0..QUEUE_MESSAGES_MAX {
            push(&mut queue, Guarantee::Agreed, b"").unwrap();
        }
        assert_eq!((queue.level(), push(&mut queue, Guarantee::Agreed, b"")), (100, Err(Refusal::TryAgain)));
        let mut queue = SendQueue::default();
        while push(&mut queue, Guarantee::Agreed, &[0; MESSAGE_MAX]).is_ok() {}
        assert_eq!(queue.level(), 100);
    }

    #[test]
    fn a_message_that_was_begun_starts_again_on_a_new_ring() {
        let mut queue = SendQueue::default();
        let (whole, begun) = (sample(10), sample(900));
        push(&mut queue, Guarantee::Agreed, &whole).unwrap();
        push(&mut queue, Guarantee::Agreed, &begun).unwrap();
        let old: Vec<_> = (0..2).map(|_| frame(&mut queue, 300).unwrap()).collect();
        assert_eq!(messages(&old), [whole]);
        queue.restart();
        assert_eq!(messages(&frames(&mut queue, 300)), [begun]);
    }

    #[test]
    fn parts_out_of_place_are_skipped() {
        let mut a = Assembler::default();
        let ab: Bytes = b"ab".as_slice().into();
        assert_eq!(add(&mut a, 1, false, true, &ab), Err(OutOfPlace));
        assert_eq!(add(&mut a, 1, true, false, &ab), Ok(None));
        assert_eq!(add(&mut a, 1, true, false, &ab), Err(OutOfPlace), "the first one never ended");
        assert_eq!(add(&mut a, 2, true, true, &ab), Ok(Some(ab.clone())));
        assert_eq!(add(&mut a, 1, false, true, &ab), Ok(Some(b"abab".as_slice().into())));
        assert!(a.open().is_empty());
    }

    #[test]
    fn reassembly_is_bounded_in_bytes_and_senders() {
        let mut a = Assembler::default();
        let bytes: Bytes = [0; 1000].as_slice().into();
        add(&mut a, 1, true, false, &bytes).unwrap();
        let mut more = 0;
        while add(&mut a, 1, false, false, &bytes).is_ok() {
            more += 1;
        }
        assert_eq!(more, MESSAGE_MAX / 1000 - 1);
        assert!(a.open().is_empty());
        for n in 1..=100 {
            let _ = add(&mut a, n, true, false, &bytes);
        }
        assert_eq!(a.open().len(), NODES_MAX);
        a.clear();
        assert!(a.open().is_empty());
    }
}
