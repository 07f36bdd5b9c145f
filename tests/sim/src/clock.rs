//! Clocks: the simulator's own time is real time; each machine reads it through an offset and a rate of its own.

use holdfast_types::{Boottime, Span};

/// An instant of real time, in nanoseconds since the run began. Nodes never see it.
pub type Instant = u64;

/// A millisecond of real time.
pub const MS: u64 = 1_000_000;
/// A second of real time.
pub const SEC: u64 = 1_000 * MS;

/// `CLOCK_BOOTTIME` of one machine.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
    offset: u64,
    ppm: i32,
}

impl Clock {
    /// A clock that shows `offset` at `origin` and gains `ppm` microseconds a second (loses, if negative).
    #[must_use]
    pub fn new(origin: Instant, offset: u64, ppm: i32) -> Self {
        assert!(ppm.abs() < 100_000, "a clock that runs 10 % off is broken, not drifting");
        Self { origin, offset, ppm }
    }

    /// What the clock shows at `t`.
    #[must_use]
    pub fn local(&self, t: Instant) -> Boottime {
        Boottime::from_nanos(self.offset + mul_div(t.saturating_sub(self.origin), self.rate(), MILLION))
    }

    /// The first instant at which the clock shows `local` or later.
    #[must_use]
    pub fn instant(&self, local: Boottime) -> Instant {
        let since = u128::from(local.as_nanos().saturating_sub(self.offset));
        let t = (since * u128::from(MILLION)).div_ceil(u128::from(self.rate()));
        self.origin.saturating_add(u64::try_from(t).unwrap_or(u64::MAX))
    }

    /// How long `span` on this clock is in real time, rounded up.
    #[must_use]
    pub fn real(&self, span: Span) -> u64 {
        mul_div(span.as_nanos(), MILLION, self.rate()) + 1
    }

    /// The rate, in parts per million of real time.
    fn rate(&self) -> u64 {
        MILLION.saturating_add_signed(i64::from(self.ppm))
    }
}

const MILLION: u64 = 1_000_000;

fn mul_div(value: u64, num: u64, den: u64) -> u64 {
    crate::random::scale(value, num, den)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instant_is_the_inverse_of_local() {
        for ppm in [-200, -1, 0, 3, 200] {
            let clock = Clock::new(17, 123_456_789, ppm);
            for t in [17, 18, 1_000, 999_999_937, 86_400 * SEC + 1] {
                let shown = clock.local(t);
                let back = clock.instant(shown);
                assert!(back <= t && clock.local(back) >= shown, "{ppm} {t} {back}");
                assert!(back == 17 || clock.local(back - 1) < shown);
            }
        }
    }
}
