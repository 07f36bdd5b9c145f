//! Bytes that several hold, and the buffers they are in, which are used again: a steady flow of messages allocates nothing.

use std::collections::VecDeque;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

/// Bytes that do not change, shared without a copy: a part of a buffer, which its pool uses again when nobody holds it.
#[derive(Clone)]
pub struct Bytes {
    buffer: Arc<Vec<u8>>,
    from: usize,
    to: usize,
}

impl Bytes {
    /// The same buffer, narrowed to `part`.
    ///
    /// # Panics
    /// If `part` does not lie within these bytes.
    #[must_use]
    pub fn part(&self, part: &[u8]) -> Self {
        let at = part.as_ptr().addr().wrapping_sub(self.as_ptr().addr());
        assert!(
            part.is_empty() || at <= self.len() && part.len() <= self.len() - at,
            "no part of these bytes"
        );
        let from = if part.is_empty() { self.from } else { self.from + at };
        Self { buffer: Arc::clone(&self.buffer), from, to: from + part.len() }
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Self {
        Buffer(Arc::new(bytes)).freeze()
    }
}

impl From<&[u8]> for Bytes {
    fn from(bytes: &[u8]) -> Self {
        bytes.to_vec().into()
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.buffer[self.from..self.to]
    }
}

impl PartialEq for Bytes {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Bytes {}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

/// A buffer that is being filled: nobody else holds it.
#[derive(Debug)]
pub(crate) struct Buffer(Arc<Vec<u8>>);

impl Buffer {
    fn freeze(self) -> Bytes {
        let to = self.0.len();
        Bytes { buffer: self.0, from: 0, to }
    }
}

impl Deref for Buffer {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.0
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        Arc::get_mut(&mut self.0).expect("nobody else holds a buffer that is being filled")
    }
}

/// Buffers of one kind.
///
/// It keeps a handle of each, oldest first, and gives out again what nobody else holds any more.
#[derive(Debug)]
pub(crate) struct Pool {
    kept: VecDeque<Arc<Vec<u8>>>,
    capacity: usize,
    max: usize,
}

/// Buffers that are looked at before a new one is made: they come free in about the order in which they were given out.
const LOOKS: usize = 16;

impl Pool {
    /// New buffers have this capacity; at most `max` are kept.
    pub(crate) fn new(capacity: usize, max: usize) -> Self {
        Self { kept: VecDeque::new(), capacity, max }
    }

    /// An empty buffer.
    pub(crate) fn take(&mut self) -> Buffer {
        for _ in 0..LOOKS.min(self.kept.len()) {
            let Some(mut buffer) = self.kept.pop_front() else { break };
            if let Some(free) = Arc::get_mut(&mut buffer) {
                free.clear();
                return Buffer(buffer);
            }
            self.kept.push_back(buffer);
        }
        Buffer(Arc::new(Vec::with_capacity(self.capacity)))
    }

    /// What is in it changes no more. The pool has it back when nobody holds the bytes.
    pub(crate) fn share(&mut self, buffer: Buffer) -> Bytes {
        if self.kept.len() < self.max {
            self.kept.push_back(Arc::clone(&buffer.0));
        }
        buffer.freeze()
    }

    /// A buffer is not needed after all.
    pub(crate) fn give_back(&mut self, buffer: Buffer) {
        if self.kept.len() < self.max {
            self.kept.push_front(buffer.0);
        }
    }

    /// Bytes that `write` puts into a buffer.
    pub(crate) fn write(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Bytes {
        let mut buffer = self.take();
        write(&mut buffer);
        self.share(buffer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_shares_its_buffer() {
        let whole: Bytes = vec![1, 2, 3, 4, 5].into();
        let part = whole.part(&whole[1..4]);
        assert_eq!(*part, [2, 3, 4]);
        let part = part.part(&part[2..]);
        assert_eq!((&*part, part.buffer.as_ptr()), (&[4][..], whole.buffer.as_ptr()));
        assert!(whole.part(&[]).is_empty() && part.part(&[]).is_empty());
    }

    #[test]
    #[should_panic(expected = "no part of these bytes")]
    fn what_lies_elsewhere_is_no_part() {
        let whole: Bytes = vec![1, 2, 3].into();
        let _ = whole.part(&[1]);
    }

    #[test]
    fn a_buffer_is_used_again_when_nobody_holds_it() {
        let mut pool = Pool::new(10, 2);
        let first = pool.write(|b| b.extend([1, 2]));
        let at = first.buffer.as_ptr();
        let second = pool.write(|b| b.push(3));
        assert_ne!(second.buffer.as_ptr(), at, "the first one is held");
        let copy = first.clone();
        drop(first);
        assert_ne!(pool.take().as_ptr(), at, "and still is");
        assert_eq!(*copy, [1, 2]);
        drop((copy, second));
        let again = [pool.take(), pool.take()];
        assert!(again.iter().any(|b| b.as_ptr() == at) && again.iter().all(|b| b.is_empty()));
    }

    #[test]
    fn no_more_are_kept_than_allowed() {
        let mut pool = Pool::new(10, 2);
        let held: Vec<Bytes> = (0..5).map(|n| pool.write(|b| b.push(n))).collect();
        assert_eq!((pool.kept.len(), &*held[4]), (2, &[4][..]));
    }
}
