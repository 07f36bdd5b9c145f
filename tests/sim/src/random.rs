//! Randomness of a run: ChaCha streams of one seed, integers only, so that a seed means the same on every machine.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// What a stream of randomness is for. Streams are independent: switching one fault off leaves the rest of the
/// drawn options as they were.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Stream {
    /// Options of the run.
    Options = 1,
    /// Fate of each packet.
    Network = 2,
    /// Which fault strikes when.
    Faults = 3,
    /// What clients do.
    Load = 4,
    /// Clocks, keys, boot ids, durations of writes and timer lateness.
    Machines = 5,
    /// Where a planted bug strikes.
    Sabotage = 6,
    /// Intervals and limits.
    Timers = 7,
    /// What operators do besides.
    Operators = 8,
    /// The quorum device and its disks.
    Device = 9,
    /// Which votes are expected.
    Scaling = 10,
    /// The quorum server.
    Server = 11,
    /// Changes of the node table where there is a quorum device.
    Table = 12,
}

/// One stream of randomness.
#[derive(Clone, Debug)]
pub struct Random(ChaCha8Rng);

impl Random {
    /// The stream `stream` of `seed`.
    #[must_use]
    pub fn new(seed: u64, stream: Stream) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(stream as u64);
        Self(rng)
    }

    /// A stream of its own for the strike with this number of a class: leaving out one strike leaves the others as they
    /// are.
    #[must_use]
    pub fn of_strike(seed: u64, class: u64, number: u32) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream((Stream::Faults as u64) << 48 | class << 32 | u64::from(number));
        Self(rng)
    }

    /// 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number below `n`; zero if `n` is zero.
    pub fn below(&mut self, n: u64) -> u64 {
        u64::try_from((u128::from(self.bits()) * u128::from(n)) >> 64).unwrap_or(0)
    }

    /// An index below `n`.
    pub fn index(&mut self, n: usize) -> usize {
        usize::try_from(self.below(n as u64)).unwrap_or(0)
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below((high - low).saturating_add(1))
    }

    /// True with a chance of `ppm` in a million. Draws nothing when the chance is zero.
    pub fn chance(&mut self, ppm: u32) -> bool {
        ppm > 0 && self.below(1_000_000) < u64::from(ppm)
    }

    /// One of `items`.
    pub fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.index(items.len())]
    }

    /// Exponentially distributed with the given mean, near enough: the logarithm is taken with a straight line
    /// between powers of two. At most 40 times the mean.
    pub fn exponential(&mut self, mean: u64) -> u64 {
        let u = self.bits() | 1;
        let whole = u64::from(u.leading_zeros());
        let fraction = (u << whole << 1) >> 48; // 16 bits behind the leading one
        let neg_log2 = ((whole + 1) << 16) - fraction; // 16.16 fixed point, > 0
        scale(mean, neg_log2 * 45_426, 1 << 32) // × ln 2
    }

    /// Between `low` and `high` with equal weight for each order of magnitude.
    pub fn log_uniform(&mut self, low: u64, high: u64) -> u64 {
        let low = low.max(1);
        if high <= low {
            return low;
        }
        let ratio = (high / low).max(1);
        let octaves = u64::from(ratio.ilog2()) + 1;
        let at = self.below(octaves << 16);
        let base = low.saturating_mul(1 << (at >> 16));
        (base + scale(base, at & 0xffff, 1 << 16)).min(high)
    }

    /// Fills `bytes`.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        self.0.fill_bytes(bytes);
    }

    /// A random order of `0..n`.
    pub fn shuffled(&mut self, n: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..n).collect();
        for i in (1..n).rev() {
            order.swap(i, self.index(i + 1));
        }
        order
    }
}

/// `value × num ÷ den` without overflow in between; saturates.
#[must_use]
pub fn scale(value: u64, num: u64, den: u64) -> u64 {
    u64::try_from(u128::from(value) * u128::from(num) / u128::from(den)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponential_has_its_mean_and_streams_differ() {
        let mut rng = Random::new(7, Stream::Network);
        let sum: u64 = (0..100_000).map(|_| rng.exponential(1_000)).sum();
        assert!((90_000_000..115_000_000).contains(&sum), "mean {}", sum / 100_000);
        assert_ne!(Random::new(7, Stream::Load).bits(), Random::new(7, Stream::Network).bits());
    }

    #[test]
    fn draws_stay_in_their_bounds() {
        let mut rng = Random::new(1, Stream::Options);
        for _ in 0..10_000 {
            assert!((5..=9).contains(&rng.between(5, 9)));
            assert!((10..=100_000).contains(&rng.log_uniform(10, 100_000)));
            assert_eq!(rng.below(1), 0);
        }
        let mut order = rng.shuffled(16);
        order.sort_unstable();
        assert!(order.into_iter().eq(0..16));
    }
}
