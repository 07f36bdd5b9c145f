//! The clocks: one for decisions, one for people.

use std::time::{SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};

/// Nanoseconds on `CLOCK_BOOTTIME`: monotonic, and counting suspend, so that a lease ends while the machine sleeps.
#[must_use]
pub fn boottime_nanos() -> u64 {
    let t = clock_gettime(ClockId::CLOCK_BOOTTIME).expect("every Linux has CLOCK_BOOTTIME");
    (t.tv_sec() as u64) * 1_000_000_000 + t.tv_nsec() as u64
}

/// Nanoseconds since 1970, for log lines and for telling lives of a daemon apart. Never for a decision.
#[must_use]
pub fn wall_nanos() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos() as u64)
}

#[cfg(test)]
mod tests {
    #[test]
    fn boottime_never_goes_back() {
        let mut last = 0;
        for _ in 0..1_000 {
            let now = super::boottime_nanos();
            assert!(now >= last);
            last = now;
        }
    }
}
