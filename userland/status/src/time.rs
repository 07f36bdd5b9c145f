//! Dates for people. The zone comes in as a function, so that every renderer stays a pure function of its input.

/// Seconds east of Greenwich at an instant (seconds since the Unix epoch).
pub type Zone = fn(i64) -> i32;

/// Coordinated universal time: the zone of tests.
#[must_use]
pub fn utc(_: i64) -> i32 {
    0
}

/// As ctime(3): `Sat Nov 22 01:10:00 2025`.
#[must_use]
pub fn ctime(unix_ms: u64, zone: Zone) -> String {
    let c = Civil::of(unix_ms, zone);
    let day = DAYS[c.weekday];
    let month = MONTHS[c.month - 1];
    format!("{day} {month} {:2} {:02}:{:02}:{:02} {}", c.day, c.hour, c.minute, c.second, c.year)
}

/// As ISO 8601 with a blank between the parts: `2025-11-22 01:10:00Z`, `2025-11-22 02:10:00 +01:00`.
#[must_use]
pub fn iso(unix_ms: u64, zone: Zone) -> String {
    let c = Civil::of(unix_ms, zone);
    let zone = match c.offset {
        0 => "Z".to_owned(),
        o => {
            let (sign, o) = (if o < 0 { '-' } else { '+' }, o.unsigned_abs());
            format!(" {sign}{:02}:{:02}", o / 3600, o / 60 % 60)
        }
    };
    format!("{:04}-{:02}-{:02} {:02}:{:02}:{:02}{zone}", c.year, c.month, c.day, c.hour, c.minute, c.second)
}

/// As Pacemaker prints lengths of time: `60s`, `1m30s`, `20.003s`, `250ms`. A whole number of the next unit stays in
/// the smaller one (`1000ms`, `60m`), as there.
#[must_use]
pub fn interval(ms: u64) -> String {
    let (mut out, mut rest) = (String::new(), ms);
    for (unit, name) in [(86_400_000, 'd'), (3_600_000, 'h'), (60_000, 'm')] {
        if rest > unit {
            out.push_str(&format!("{}{name}", rest / unit));
            rest %= unit;
        }
    }
    if rest > 1000 {
        out.push_str(&(rest / 1000).to_string());
        if !rest.is_multiple_of(1000) {
            out.push_str(&format!(".{:03}", rest % 1000));
        }
        out.push('s');
    } else if rest > 0 {
        out.push_str(&format!("{rest}ms"));
    } else if out.is_empty() {
        out.push_str("0s");
    }
    out
}

/// How long ago, in one unit: `3 s`, `12 min`, `5 h`, `9 d`.
#[must_use]
pub fn age(ms: u64) -> String {
    match ms / 1000 {
        0 => format!("{ms} ms"),
        s @ 1..120 => format!("{s} s"),
        s @ 120..7200 => format!("{} min", s / 60),
        s @ 7200..172_800 => format!("{} h", s / 3600),
        s => format!("{} d", s / 86_400),
    }
}

struct Civil {
    year: i64,
    month: usize,
    day: u32,
    weekday: usize,
    hour: u32,
    minute: u32,
    second: u32,
    offset: i32,
}

impl Civil {
    /// Proleptic Gregorian date of an instant: years start in March, so that the leap day is the last of its year.
    fn of(unix_ms: u64, zone: Zone) -> Self {
        let unix = i64::try_from(unix_ms / 1000).unwrap_or(i64::MAX / 4);
        let offset = zone(unix);
        let local = unix + i64::from(offset);
        let (days, second_of_day) = (local.div_euclid(86_400), local.rem_euclid(86_400));
        let z = days + 719_468;
        let (era, day_of_era) = (z.div_euclid(146_097), z.rem_euclid(146_097));
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * shifted + 2) / 5 + 1;
        let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
        Self {
            year: year_of_era + era * 400 + i64::from(month <= 2),
            month: month as usize,
            day: day as u32,
            weekday: (days + 4).rem_euclid(7) as usize,
            hour: (second_of_day / 3600) as u32,
            minute: (second_of_day / 60 % 60) as u32,
            second: (second_of_day % 60) as u32,
            offset,
        }
    }
}

const DAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_ctime() {
        assert_eq!(ctime(0, utc), "Thu Jan  1 00:00:00 1970");
        assert_eq!(ctime(1_763_773_800_000, utc), "Sat Nov 22 01:10:00 2025");
        assert_eq!(ctime(951_827_696_000, utc), "Tue Feb 29 12:34:56 2000");
        assert_eq!(ctime(951_827_696_000, |_| -13 * 3600), "Mon Feb 28 23:34:56 2000");
        assert_eq!(iso(1_763_773_800_999, utc), "2025-11-22 01:10:00Z");
        assert_eq!(iso(1_763_773_800_000, |_| 5400), "2025-11-22 02:40:00 +01:30");
        assert_eq!(ctime(u64::MAX, utc).len(), "Sun Aug 17 07:12:55 584556019".len());
    }

    #[test]
    fn intervals_are_those_of_pacemaker() {
        let table = [
            (0, "0s"),
            (5, "5ms"),
            (1000, "1000ms"),
            (1001, "1.001s"),
            (10_000, "10s"),
            (20_003, "20.003s"),
            (60_000, "60s"),
            (90_000, "1m30s"),
            (3_600_000, "60m"),
            (90_061_500, "1d1h1m1.500s"),
        ];
        for (ms, text) in table {
            assert_eq!(interval(ms), text, "{ms}");
        }
    }
}
