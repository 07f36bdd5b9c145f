//! How regularly the heartbeats of one peer arrive, and what limit on its silence follows.
//!
//! After Jacobson's round-trip estimator (SIGCOMM 1988), with two differences that a failure detector wants: only
//! lateness counts, since nothing is wrong with an early heartbeat; and the deviation goes up at once and comes down
//! slowly, because stalls of a scheduler or a hypervisor come seldom and come again. A lost heartbeat shows as one that
//! is an interval late, and what this node is late itself shows in the arrivals of all its peers. Integers only.

use holdfast_types::{Boottime, Span};

/// Arrivals of one peer's heartbeats.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Arrivals {
    last: Option<Boottime>,
    /// Mean of what is lacking to the interval.
    late: Span,
    /// Deviation from it.
    deviation: Span,
}

impl Arrivals {
    /// A heartbeat arrived; they are sent every `interval`.
    pub(super) fn note(&mut self, now: Boottime, interval: Span) {
        let Some(last) = self.last.replace(now) else { return };
        let late = now.since(last).saturating_sub(interval);
        let off = late.saturating_sub(self.late) + self.late.saturating_sub(late);
        self.late = towards(self.late, late, 16);
        self.deviation = towards(self.deviation, off, if off > self.deviation { 2 } else { 256 });
    }

    /// How late they come: the mean, and the deviation from it.
    pub(super) fn lateness(&self) -> (Span, Span) {
        (self.late, self.deviation)
    }

    /// What comes next is no news of the peer: this node was deaf, or the ring is a new one.
    pub(super) fn pause(&mut self) {
        self.last = None;
    }

    /// Silence beyond this is not explained by what was seen so far.
    pub(super) fn limit(&self, interval: Span) -> Span {
        interval + self.late + self.deviation.scale(DEVIATIONS, 1)
    }
}

/// From `a` a part of the way to `b`.
fn towards(a: Span, b: Span, part: u64) -> Span {
    a.saturating_sub(a.saturating_sub(b).scale(1, part)) + b.saturating_sub(a).scale(1, part)
}

/// As in Jacobson's estimator.
const DEVIATIONS: u64 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    const BEAT: Span = Span::from_millis(40);

    fn after(gaps: impl IntoIterator<Item = u64>) -> Arrivals {
        let mut arrivals = Arrivals::default();
        let mut now = Boottime::from_nanos(1_000_000_000);
        arrivals.note(now, BEAT);
        for gap in gaps {
            now = now + Span::from_millis(gap);
            arrivals.note(now, BEAT);
        }
        arrivals
    }

    fn limit(gaps: impl IntoIterator<Item = u64>) -> u64 {
        after(gaps).limit(BEAT).as_millis()
    }

    #[test]
    fn regular_and_early_heartbeats_leave_the_limit_at_one_interval() {
        assert_eq!(limit([]), 40);
        assert_eq!(limit([40; 500]), 40);
        assert_eq!(limit([1, 40, 3, 39, 40]), 40);
    }

    #[test]
    fn one_stall_raises_the_limit_beyond_it_and_is_forgotten_slowly() {
        let at_once = limit([40, 200]);
        assert!((360..400).contains(&at_once), "160 ms late: {at_once}");
        let soon = limit([40, 200].into_iter().chain([40; 100]));
        assert!(soon > 240, "four seconds later: {soon}");
        let later = limit([40, 200].into_iter().chain([40; 2_000]));
        assert!(later < 50, "80 seconds later: {later}");
    }

    #[test]
    fn a_stall_that_comes_again_counts_for_more() {
        let stalls = (0..200).map(|n| if n % 20 == 0 { 120 } else { 40 });
        assert!(limit(stalls) > 300, "80 ms late every 800 ms");
        let lossy = (0..300).map(|n| if n % 5 == 4 { 80 } else { 40 });
        assert!(limit(lossy) > 160, "every sixth one is lost");
    }

    #[test]
    fn a_pause_of_this_node_is_not_held_against_the_peer() {
        let mut arrivals = after([40; 10]);
        arrivals.pause();
        arrivals.note(Boottime::from_nanos(9_000_000_000), BEAT);
        assert_eq!(arrivals.limit(BEAT), BEAT);
    }
}
