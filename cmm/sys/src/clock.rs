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

/// A local time of day, for log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalTime {
    /// E.g. 2026.
    pub year: i32,
    /// 1 … 12.
    pub month: u8,
    /// 1 … 31.
    pub day: u8,
    /// 0 … 23.
    pub hour: u8,
    /// 0 … 59.
    pub minute: u8,
    /// 0 … 60.
    pub second: u8,
    /// East of Greenwich, in minutes.
    pub offset_minutes: i32,
}

/// The local time of day at a wall-clock time. May read the time-zone file: not for the realtime thread.
#[must_use]
pub fn local_time(wall_nanos: u64) -> LocalTime {
    let seconds = (wall_nanos / 1_000_000_000) as libc::time_t;
    // SAFETY: tm is a plain C structure for which all zeroes is a valid value.
    let mut tm: libc::tm = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to live values of the right types; the result points into `tm` and is not kept.
    unsafe { libc::localtime_r(&raw const seconds, &raw mut tm) };
    LocalTime {
        year: tm.tm_year + 1900,
        month: (tm.tm_mon + 1) as u8,
        day: tm.tm_mday as u8,
        hour: tm.tm_hour as u8,
        minute: tm.tm_min as u8,
        second: tm.tm_sec as u8,
        offset_minutes: (tm.tm_gmtoff / 60) as i32,
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_day_is_a_day() {
        let t = super::local_time(1_750_000_000_000_000_000);
        assert_eq!((t.year, t.month), (2025, 6));
        assert!(t.day == 15 && t.minute < 60 && t.offset_minutes.abs() <= 14 * 60);
    }

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
