//! How many packets are sealed or opened, and how long that takes.

use holdfast_types::Span;

/// Packets sealed, or opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SealTimes {
    /// All of them.
    pub packets: u64,
    /// Those that were timed.
    pub timed: u64,
    /// The shortest time that one took.
    pub min: Span,
    /// The longest.
    pub max: Span,
    /// Of those that were timed together.
    pub total: Span,
}

/// Counts and times. The core has no clock: the driver lends one, for these figures only.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    times: SealTimes,
    clock: Option<fn() -> u64>,
}

impl Meter {
    pub(crate) fn lend(&mut self, clock: fn() -> u64) {
        self.clock = Some(clock);
    }

    pub(crate) fn times(&self) -> SealTimes {
        self.times
    }

    /// To be handed to [`Self::stop`] when the packet is done.
    pub(crate) fn start(&self) -> Option<u64> {
        self.clock.filter(|_| self.times.packets.is_multiple_of(TIMED)).map(|clock| clock())
    }

    pub(crate) fn stop(&mut self, began: Option<u64>) {
        let t = &mut self.times;
        t.packets += 1;
        if let (Some(began), Some(clock)) = (began, self.clock) {
            let took = Span::from_nanos(clock().saturating_sub(began));
            t.min = if t.timed == 0 { took } else { t.min.min(took) };
            t.max = t.max.max(took);
            t.total += took;
            t.timed += 1;
        }
    }
}

/// One packet in so many is timed: to look at the clock twice costs a tenth of what sealing a short one costs.
const TIMED: u64 = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_packet_is_counted_and_one_in_sixteen_timed() {
        fn steps() -> u64 {
            static NOW: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
            let n = NOW.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            n * n
        }
        let mut meter = Meter::default();
        let run = |meter: &mut Meter| {
            for _ in 0..32 {
                let began = meter.start();
                meter.stop(began);
            }
        };
        run(&mut meter);
        assert_eq!(meter.times(), SealTimes { packets: 32, ..SealTimes::default() }, "without a clock");
        meter.lend(steps);
        run(&mut meter);
        // From 0 to 1, and from 4 to 9.
        let (min, max, total) = (Span::from_nanos(1), Span::from_nanos(5), Span::from_nanos(6));
        assert_eq!(meter.times(), SealTimes { packets: 64, timed: 2, min, max, total });
    }
}
