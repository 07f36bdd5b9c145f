//! The ring's timers: a fixed table and one next deadline.

use holdfast_types::Boottime;

/// One per purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Timer {
    TokenLoss,
    TokenLate,
    TokenRetransmit,
    Hold,
    Join,
    Consensus,
    Merge,
}

impl Timer {
    /// In the order in which they are looked at: after a long pause the loss of the token comes before all that
    /// would try to keep it.
    pub(super) const ALL: [Self; 7] = [
        Self::TokenLoss,
        Self::TokenLate,
        Self::TokenRetransmit,
        Self::Hold,
        Self::Consensus,
        Self::Join,
        Self::Merge,
    ];
}

#[derive(Debug, Default)]
pub(super) struct TimerTable([Option<Boottime>; Timer::ALL.len()]);

impl TimerTable {
    pub(super) fn set(&mut self, timer: Timer, at: Boottime) {
        self.0[timer as usize] = Some(at);
    }

    /// Brings a timer forward, if it runs.
    pub(super) fn set_earlier(&mut self, timer: Timer, at: Boottime) {
        if let Some(set) = &mut self.0[timer as usize] {
            *set = at.min(*set);
        }
    }

    /// Whether it runs.
    pub(super) fn is_set(&self, timer: Timer) -> bool {
        self.is_due(timer, Boottime::MAX)
    }

    pub(super) fn stop(&mut self, timer: Timer) {
        self.0[timer as usize] = None;
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(super) fn next(&self) -> Option<Boottime> {
        self.0.iter().flatten().min().copied()
    }

    /// Whether `timer` runs and is due by then.
    pub(super) fn is_due(&self, timer: Timer, by: Boottime) -> bool {
        self.0[timer as usize].is_some_and(|at| at <= by)
    }

    /// Whether `timer` was due; it is stopped then.
    pub(super) fn take_expired(&mut self, timer: Timer, now: Boottime) -> bool {
        self.0[timer as usize].take_if(|at| *at <= now).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_deadline_is_the_earliest_and_expires_once() {
        let at = Boottime::from_nanos;
        let mut timers = TimerTable::default();
        assert_eq!(timers.next(), None);
        timers.set(Timer::Merge, at(20));
        timers.set(Timer::Join, at(10));
        assert_eq!(timers.next(), Some(at(10)));
        assert!(!timers.take_expired(Timer::Join, at(9)));
        assert!(timers.take_expired(Timer::Join, at(10)));
        assert!(!timers.take_expired(Timer::Join, at(99)));
        assert_eq!(timers.next(), Some(at(20)));
        timers.stop(Timer::Merge);
        assert_eq!(timers.next(), None);
    }

    #[test]
    fn every_timer_has_a_place() {
        for (n, timer) in Timer::ALL.into_iter().enumerate() {
            assert!((timer as usize) < Timer::ALL.len());
            assert!(Timer::ALL[..n].iter().all(|other| *other as usize != timer as usize));
        }
    }
}
