//! How late the event loop is: wake-ups after their time, turns that take long, and the worst of them by name.
//!
//! Counting is a few additions; what is kept is fixed in size.

use std::collections::VecDeque;

use holdfast_types::{Boottime, Histogram, Span};

/// What the loop knows of its own lateness.
#[derive(Debug, Default)]
pub(crate) struct Lateness {
    /// Wake-ups behind the time they were asked for.
    wakeups: Histogram,
    /// From the begin of a turn to its end.
    turns: Histogram,
    /// The last times that the limit was passed, newest first, as corosync keeps them.
    missed: VecDeque<Missed>,
}

/// The loop ran later than it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Missed {
    /// When it ran at last.
    pub(crate) at: Boottime,
    /// By how much it was late.
    pub(crate) late: Span,
}

/// As many as corosync keeps.
const MISSED_MAX: usize = 10;

impl Lateness {
    /// The loop slept and was to wake up at `due` if nothing came before. How late it is.
    pub(crate) fn woke(&mut self, due: Boottime, at: Boottime) -> Span {
        let late = at.since(due);
        if at >= due {
            self.wakeups.record(late);
        }
        late
    }

    /// A turn is over. How long it took.
    pub(crate) fn turned(&mut self, began: Boottime, at: Boottime) -> Span {
        let took = at.since(began);
        self.turns.record(took);
        took
    }

    /// The limit was passed.
    pub(crate) fn missed(&mut self, at: Boottime, late: Span) {
        self.missed.truncate(MISSED_MAX - 1);
        self.missed.push_front(Missed { at, late });
    }

    /// Forgets the times that the limit was passed (`stats.clear.schedmiss`).
    pub(crate) fn forget_missed(&mut self) {
        self.missed.clear();
    }

    pub(crate) fn wakeups(&self) -> &Histogram {
        &self.wakeups
    }

    pub(crate) fn turns(&self) -> &Histogram {
        &self.turns
    }

    /// Newest first.
    pub(crate) fn last_missed(&self) -> impl Iterator<Item = &Missed> {
        self.missed.iter()
    }

    /// The worst of both.
    pub(crate) fn max(&self) -> Span {
        self.wakeups.max().max(self.turns.max())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_ten_misses_are_kept_newest_first() {
        let mut lateness = Lateness::default();
        for n in 1..=25 {
            lateness.missed(Boottime::from_nanos(n), Span::from_millis(n));
        }
        let kept: Vec<u64> = lateness.last_missed().map(|m| m.late.as_millis()).collect();
        assert_eq!(kept, (16..=25).rev().collect::<Vec<_>>());
        lateness.forget_missed();
        assert_eq!(lateness.last_missed().count(), 0);
    }

    #[test]
    fn waking_up_early_is_not_late() {
        let at = Boottime::from_nanos;
        let mut lateness = Lateness::default();
        assert_eq!(lateness.woke(at(5_000), at(3_000)), Span::ZERO);
        assert_eq!(lateness.woke(at(3_000), at(9_000)), Span::from_micros(6));
        assert_eq!(lateness.turned(at(0), at(90_000)), Span::from_micros(90));
        assert_eq!(
            (lateness.wakeups().count(), lateness.turns().count()),
            (1, 1),
            "a packet woke it up, no timer"
        );
        assert_eq!(lateness.max(), Span::from_micros(90));
    }
}
