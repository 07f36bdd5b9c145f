//! What will happen when: a queue of events, in order of time, then of their making.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::clock::Instant;

/// Events of type `E`.
#[derive(Debug)]
pub struct Agenda<E> {
    heap: BinaryHeap<Reverse<(Instant, u64, usize)>>,
    made: u64,
    store: Vec<Option<E>>,
    free: Vec<usize>,
}

impl<E> Default for Agenda<E> {
    fn default() -> Self {
        Self { heap: BinaryHeap::new(), made: 0, store: Vec::new(), free: Vec::new() }
    }
}

impl<E> Agenda<E> {
    /// Adds an event.
    pub fn at(&mut self, at: Instant, event: E) {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.store.push(None);
            self.store.len() - 1
        });
        self.store[slot] = Some(event);
        self.made += 1;
        self.heap.push(Reverse((at, self.made, slot)));
    }

    /// When the next event is due.
    #[must_use]
    pub fn next_at(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((at, _, _))| *at)
    }

    /// Takes the next event.
    pub fn pop(&mut self) -> Option<E> {
        let Reverse((_, _, slot)) = self.heap.pop()?;
        self.free.push(slot);
        self.store[slot].take()
    }

    /// Removes the events that `gone` says are void.
    pub fn purge(&mut self, mut gone: impl FnMut(Instant, &E) -> bool) {
        let entries = std::mem::take(&mut self.heap).into_vec();
        for Reverse((at, made, slot)) in entries {
            if self.store[slot].as_ref().is_some_and(|event| gone(at, event)) {
                self.store[slot] = None;
                self.free.push(slot);
            } else {
                self.heap.push(Reverse((at, made, slot)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_in_order_of_time_then_of_making() {
        let mut agenda = Agenda::default();
        for (at, name) in [(3, 'd'), (1, 'a'), (2, 'c'), (1, 'b'), (9, 'x')] {
            agenda.at(at, name);
        }
        agenda.purge(|at, name| at == 9 && *name == 'x');
        let order: String = std::iter::from_fn(|| agenda.pop()).collect();
        assert_eq!(order, "abcd");
    }
}
