//! The local time zone, for dates that people read.

/// Seconds east of Greenwich at an instant (seconds since the Unix epoch); 0 where the zone is not known.
#[must_use]
pub fn utc_offset(unix: i64) -> i32 {
    let mut broken_down = std::mem::MaybeUninit::<libc::tm>::zeroed();
    // SAFETY: both pointers are to memory of their type that lives through the call; all-zero is a valid `tm` should
    // the call not write it.
    let tm = unsafe {
        if libc::localtime_r(&unix, broken_down.as_mut_ptr()).is_null() {
            return 0;
        }
        broken_down.assume_init()
    };
    i32::try_from(tm.tm_gmtoff).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    #[test]
    fn offsets_are_whole_minutes_of_less_than_a_day() {
        let offset = super::utc_offset(1_763_773_800);
        assert!(offset.abs() < 86_400 && offset % 60 == 0, "{offset}");
        assert_eq!(super::utc_offset(i64::MAX), 0, "a year that does not fit");
    }
}
