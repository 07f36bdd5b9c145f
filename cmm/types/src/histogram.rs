//! Lengths of time counted by powers of two: fixed memory, no allocation, for what happens all the time.

use std::fmt::{self, Write};

use crate::Span;

/// How often lengths of time fell between two powers of two of a microsecond.
///
/// Bucket `k` counts what is longer than `2^(k-1)` µs and at most `2^k` µs (the first one everything up to 1 µs); the
/// last one has no upper end. As text: `64:12 128:3`, upper ends in microseconds and counts, empty buckets left out,
/// the last bucket's end written `inf`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram {
    buckets: [u64; BUCKETS],
    max: Span,
}

/// Up to 2^23 µs, which is 8.4 seconds, and beyond.
const BUCKETS: usize = 25;

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: [0; BUCKETS], max: Span::ZERO }
    }
}

impl Histogram {
    /// Counts one length.
    pub fn record(&mut self, span: Span) {
        let micros = span.as_nanos().div_ceil(1_000).max(1);
        let bucket = (u64::BITS - (micros - 1).leading_zeros()) as usize;
        self.buckets[bucket.min(BUCKETS - 1)] += 1;
        self.max = self.max.max(span);
    }

    /// How many lengths were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// The longest one.
    #[must_use]
    pub fn max(&self) -> Span {
        self.max
    }

    /// The upper end of the bucket in which the `percent`-th of a hundred lengths falls, at most the longest one; zero
    /// where nothing was counted.
    #[must_use]
    pub fn percentile(&self, percent: u64) -> Span {
        let rank = (self.count() * percent.min(100)).div_ceil(100).max(1);
        let mut seen = 0;
        for (bucket, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return end(bucket).unwrap_or(self.max).min(self.max);
            }
        }
        Span::ZERO
    }

    /// Upper ends (`None`: no end) and counts of the buckets that are not empty, ascending.
    pub fn iter(&self) -> impl Iterator<Item = (Option<Span>, u64)> + '_ {
        self.buckets.iter().enumerate().filter(|(_, count)| **count > 0).map(|(k, count)| (end(k), *count))
    }
}

fn end(bucket: usize) -> Option<Span> {
    (bucket + 1 < BUCKETS).then(|| Span::from_micros(1 << bucket))
}

impl fmt::Display for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, (end, count)) in self.iter().enumerate() {
            if n > 0 {
                f.write_char(' ')?;
            }
            match end {
                Some(end) => write!(f, "{}:{count}", end.as_micros())?,
                None => write!(f, "inf:{count}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_fall_into_the_bucket_that_ends_at_or_above_them() {
        let mut h = Histogram::default();
        assert_eq!((h.to_string().as_str(), h.percentile(99), h.count()), ("", Span::ZERO, 0));
        for nanos in [0, 999, 1_000, 1_001, 2_000, 2_001, 64_000, 64_001] {
            h.record(Span::from_nanos(nanos));
        }
        assert_eq!(h.to_string(), "1:3 2:2 4:1 64:1 128:1");
        h.record(Span::from_nanos(u64::MAX));
        h.record(Span::from_micros(1 << 23));
        assert_eq!(h.to_string(), "1:3 2:2 4:1 64:1 128:1 8388608:1 inf:1");
        assert_eq!(h.count(), 10);
    }

    #[test]
    fn a_percentile_is_an_upper_end_and_never_more_than_the_longest() {
        let mut h = Histogram::default();
        for micros in 1..=100 {
            h.record(Span::from_micros(micros));
        }
        assert_eq!(h.percentile(0), Span::from_micros(1));
        assert_eq!(h.percentile(50), Span::from_micros(64));
        assert_eq!(h.percentile(99), Span::from_micros(100));
        assert_eq!(h.max(), Span::from_micros(100));
        h.record(Span::from_secs(60));
        assert_eq!(h.percentile(100), Span::from_secs(60));
    }
}
