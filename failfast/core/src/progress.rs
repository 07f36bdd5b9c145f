//! Tells a stuck daemon from a paused machine.
//!
//! The daemon stamps each turn of its loop. A stamp that stays the same for longer than the limit means a stuck
//! daemon, but only where the watcher itself ran all the while: after a suspend, a frozen cgroup or a stopped virtual
//! machine both were away, and the daemon gets the whole limit anew.

use holdfast_types::{Boottime, Span};

/// Watches one stamp.
#[derive(Clone, Copy, Debug)]
pub struct StuckDetector {
    limit: Span,
    stamp: u64,
    counting_from: Boottime,
    last_look: Boottime,
}

impl StuckDetector {
    /// Starts to count at `now`.
    ///
    /// # Panics
    /// When the limit is zero: that daemon would be stuck at once.
    #[must_use]
    pub fn new(limit: Span, now: Boottime) -> Self {
        assert!(limit > Span::ZERO, "a limit of zero takes the node down at its start");
        Self { limit, stamp: 0, counting_from: now, last_look: now }
    }

    /// How often to look: a look later than twice this counts as a pause of the watcher.
    #[must_use]
    pub fn interval(&self) -> Span {
        self.limit.scale(1, 8).max(Span::from_millis(10)).min(Span::from_secs(1))
    }

    /// Takes a look; says for how long the stamp has stood still once that is longer than the limit.
    pub fn look(&mut self, now: Boottime, stamp: u64) -> Option<Span> {
        let paused = now.since(self.last_look) > self.interval() + self.interval();
        self.last_look = now;
        if stamp != self.stamp || paused {
            self.stamp = stamp;
            self.counting_from = now;
        }
        let silent = now.since(self.counting_from);
        (silent > self.limit).then_some(silent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Boottime {
        Boottime::from_nanos(ms * 1_000_000)
    }

    #[test]
    fn a_stamp_that_stands_still_is_stuck_after_the_limit() {
        let mut d = StuckDetector::new(Span::from_secs(4), at(0));
        let stuck =
            (0..100).find_map(|i| d.look(at(i * 500), if i < 10 { i } else { 10 }).map(|s| (i * 500, s)));
        // The last new stamp was seen at 5 s.
        assert_eq!(stuck, Some((9_500, Span::from_millis(4_500))));
    }

    #[test]
    fn a_pause_of_the_watcher_is_not_held_against_the_daemon() {
        let mut d = StuckDetector::new(Span::from_secs(4), at(0));
        assert_eq!(d.look(at(500), 7), None);
        assert_eq!(d.look(at(60_000), 7), None, "both were away");
        assert_eq!(d.look(at(60_500), 8), None);
        assert_eq!(d.look(at(61_000), 8), None);
    }

    #[test]
    fn one_that_stays_stuck_after_a_pause_is_found() {
        let mut d = StuckDetector::new(Span::from_secs(4), at(0));
        assert_eq!(d.look(at(60_000), 7), None);
        let stuck = (1..100).find_map(|i| d.look(at(60_000 + i * 500), 7));
        assert_eq!(stuck, Some(Span::from_millis(4_500)));
    }
}
