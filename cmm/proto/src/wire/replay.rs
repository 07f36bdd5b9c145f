//! The replay window: which counters of one life were seen, as a ring of bits behind the highest.
//!
//! Blocks of 64 counters are dropped as a whole when the window moves on, so a jump of any length costs at most one pass
//! over the words (RFC 6479).

/// Counters seen.
pub(super) struct ReplayWindow {
    highest: u64,
    seen: Box<[u64; WORDS]>,
}

/// Words of 64 counters. A packet may be 16,320 counters late: more than a sender ever has waiting behind urgent packets.
const WORDS: usize = 256;
/// How far behind the highest counter any packet may be.
#[cfg(test)]
pub(super) const REORDER_MAX: u64 = 64 * (WORDS as u64 - 1);

impl ReplayWindow {
    pub(super) fn new() -> Self {
        Self { highest: 0, seen: Box::new([0; WORDS]) }
    }

    /// Whether `counter` was not seen before and is not too old to tell. Counters start at 1.
    pub(super) fn is_new(&self, counter: u64) -> bool {
        if counter > self.highest {
            return true;
        }
        // Blocks, not bits: the highest one's block is the newest of WORDS.
        counter != 0
            && block(self.highest) - block(counter) < WORDS as u64
            && self.seen[word(counter)] & bit(counter) == 0
    }

    pub(super) fn note(&mut self, counter: u64) {
        if counter > self.highest {
            let passed = (block(counter) - block(self.highest)).min(WORDS as u64);
            for step in 0..passed {
                self.seen[word(counter - 64 * step)] = 0;
            }
            self.highest = counter;
        }
        self.seen[word(counter)] |= bit(counter);
    }
}

fn block(counter: u64) -> u64 {
    counter / 64
}

fn word(counter: u64) -> usize {
    (block(counter) % WORDS as u64) as usize
}

fn bit(counter: u64) -> u64 {
    1 << (counter % 64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_agrees_with_a_set() {
        let mut window = ReplayWindow::new();
        let mut seen = std::collections::BTreeSet::new();
        let mut x = 1_u64;
        for round in 0..40_000_u64 {
            x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let highest = window.highest;
            // Mostly near the highest, sometimes far behind, sometimes far ahead.
            let counter = match round % 50 {
                0 => highest + (x >> 33) % (2 * REORDER_MAX),
                1 => highest.saturating_sub((x >> 33) % REORDER_MAX).max(1),
                _ => (highest + 40).saturating_sub(x >> 33 & 63).max(1),
            };
            assert_eq!(window.is_new(counter), !seen.contains(&counter), "{counter} of {highest}");
            window.note(counter);
            seen.insert(counter);
        }
    }

    #[test]
    fn what_is_too_old_to_tell_was_seen() {
        let mut window = ReplayWindow::new();
        window.note(10);
        window.note(10 + REORDER_MAX);
        assert!(window.is_new(11), "the last that can be told");
        window.note(64 * WORDS as u64);
        assert!(!window.is_new(11) && !window.is_new(0));
        window.note(u64::MAX);
        assert!(!window.is_new(u64::MAX) && window.is_new(u64::MAX - 1));
        assert!(!window.is_new(64 * WORDS as u64 + 1));
    }
}
