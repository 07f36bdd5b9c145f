//! Times: the clock that counts suspend for decisions, the wall clock for people.

use std::fmt;
use std::ops::{Add, AddAssign, Sub};
use std::time::Duration;

/// An instant on `CLOCK_BOOTTIME` of this machine, in nanoseconds. Means nothing on another machine.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Boottime(u64);

/// A length of time in nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Span(u64);

/// Microseconds since the Unix epoch. For display and CIB rules only: never for a decision about membership.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct WallTime(pub i64);

impl Boottime {
    /// Before everything.
    pub const ZERO: Self = Self(0);
    /// Never.
    pub const MAX: Self = Self(u64::MAX);
    /// The instant `nanos` after boot.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }
    /// Nanoseconds since boot.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }
    /// Time passed since `earlier`; zero if `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Span {
        Span(self.0.saturating_sub(earlier.0))
    }
}

impl Span {
    /// No time at all.
    pub const ZERO: Self = Self(0);
    /// From nanoseconds.
    pub const fn from_nanos(n: u64) -> Self {
        Self(n)
    }
    /// From microseconds.
    pub const fn from_micros(n: u64) -> Self {
        Self(n.saturating_mul(1_000))
    }
    /// From milliseconds.
    pub const fn from_millis(n: u64) -> Self {
        Self(n.saturating_mul(1_000_000))
    }
    /// From seconds.
    pub const fn from_secs(n: u64) -> Self {
        Self(n.saturating_mul(1_000_000_000))
    }
    /// In nanoseconds.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }
    /// In microseconds, rounded down.
    pub const fn as_micros(self) -> u64 {
        self.0 / 1_000
    }
    /// In milliseconds, rounded down.
    pub const fn as_millis(self) -> u64 {
        self.0 / 1_000_000
    }
    /// `self × num ÷ den`, saturating; integers only, so that decisions are the same everywhere.
    #[must_use]
    pub const fn scale(self, num: u64, den: u64) -> Self {
        let v = (self.0 as u128) * (num as u128) / (den as u128);
        Self(if v > u64::MAX as u128 { u64::MAX } else { v as u64 })
    }
    /// Difference, zero where it would be negative.
    #[must_use]
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
    /// As the standard library's type, for pollers.
    pub const fn to_duration(self) -> Duration {
        Duration::from_nanos(self.0)
    }
}

impl From<Duration> for Span {
    fn from(d: Duration) -> Self {
        Self(u64::try_from(d.as_nanos()).unwrap_or(u64::MAX))
    }
}
impl Add<Span> for Boottime {
    type Output = Self;
    fn add(self, s: Span) -> Self {
        Self(self.0.saturating_add(s.0))
    }
}
impl Sub<Span> for Boottime {
    type Output = Self;
    fn sub(self, s: Span) -> Self {
        Self(self.0.saturating_sub(s.0))
    }
}
impl Add for Span {
    type Output = Self;
    fn add(self, o: Self) -> Self {
        Self(self.0.saturating_add(o.0))
    }
}
impl AddAssign for Span {
    fn add_assign(&mut self, o: Self) {
        *self = *self + o;
    }
}
impl fmt::Display for Span {
    /// Milliseconds with up to three digits behind the point, e.g. `12.5 ms`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let us = self.as_micros();
        if us.is_multiple_of(1_000) {
            write!(f, "{} ms", us / 1_000)
        } else {
            write!(f, "{}.{:03} ms", us / 1_000, us % 1_000)
        }
    }
}
impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
