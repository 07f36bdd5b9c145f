//! Dates with a zone, periods and durations, as Pacemaker's commands read and write them.

use std::fmt::{self, Write};

use cib::{Element, Moment};

/// A point in time and the zone that it was given in, in seconds east of Greenwich.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Date {
    pub(super) moment: Moment,
    offset: i64,
}

/// Now, in the local zone.
pub(super) fn now() -> Date {
    let moment = super::session::clock();
    Date { moment, offset: holdfast_sys::timezone::utc_offset(moment.0).into() }
}

/// A moment in seconds since 1970, in a zone in seconds east of Greenwich.
pub(super) fn at(seconds: i64, offset: i64) -> Date {
    Date { moment: Moment(seconds), offset }
}

/// Reads a date; a time alone is one of today.
pub(super) fn parse(text: &str) -> Option<Date> {
    let text = text.trim();
    if text.eq_ignore_ascii_case("epoch") {
        return Some(Date { moment: Moment(0), offset: 0 });
    }
    let begins_with_time = text.starts_with('T') || text.get(2..3) == Some(":");
    let dated;
    let whole = if begins_with_time {
        let today = Written::default().of(Date { moment: super::session::clock(), offset: 0 });
        dated = format!("{}T{}", today.get(..10)?, text.trim_start_matches('T'));
        dated.as_str()
    } else {
        text
    };
    let moment = Moment::parse(whole)?;
    Some(Date { moment, offset: zone(whole) })
}

/// The zone at the end of a date, which is known to be right.
fn zone(text: &str) -> i64 {
    let time = text.find(['T', ' ']).map_or("", |at| &text[at..]);
    let Some(at) = time.rfind(['+', '-']) else { return 0 };
    let digits: String = time[at + 1..].chars().filter(char::is_ascii_digit).collect();
    let part =
        |range: std::ops::Range<usize>| digits.get(range).and_then(|d| d.parse::<i64>().ok()).unwrap_or(0);
    let seconds = part(0..2) * 3600 + part(2..4) * 60;
    if time[at..].starts_with('-') { -seconds } else { seconds }
}

/// Beginning and end of a period: two dates, or one of them and a duration.
pub(super) fn parse_period(text: &str) -> Option<(Date, Date)> {
    let (start, end) = text.split_once('/')?;
    match (start.starts_with('P'), end.starts_with('P')) {
        (true, true) => None,
        (true, false) => {
            let end = parse(end)?;
            Some((Duration::parse(start)?.before(end)?, end))
        }
        (false, true) => {
            let start = parse(start)?;
            Some((start, Duration::parse(end)?.after(start)?))
        }
        (false, false) => Some((parse(start)?, parse(end)?)),
    }
}

/// How a date is written.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Written {
    pub(super) seconds: bool,
    pub(super) epoch: bool,
    pub(super) local: bool,
    pub(super) ordinal: bool,
    pub(super) week: bool,
}

/// Seconds from the beginning of the year 1 to 1970.
const BEFORE_EPOCH: i64 = 62_135_596_800;

impl Written {
    pub(super) fn of(self, date: Date) -> String {
        if self.seconds {
            return date.moment.0.saturating_add(BEFORE_EPOCH).to_string();
        }
        if self.epoch {
            return date.moment.0.to_string();
        }
        let offset = if self.local { date.offset } else { 0 };
        let shown = Moment(date.moment.0.saturating_add(offset)).display();
        let (day, time) = shown.trim_end_matches('Z').split_once(' ').unwrap_or((&shown, ""));
        let mut parts = day.rsplitn(3, '-').filter_map(|p| p.parse::<i64>().ok());
        let (d, m, y) = (parts.next().unwrap_or(1), parts.next().unwrap_or(1), parts.next().unwrap_or(1970));
        let ordinal = day_of_year(y, m, d);
        let day = if self.week {
            let (year, week, weekday) = iso_week(y, ordinal);
            format!("{year}-W{week:02}-{weekday}")
        } else if self.ordinal {
            format!("{y}-{ordinal:03}")
        } else {
            day.to_owned()
        };
        let zone = match offset {
            0 => "Z".to_owned(),
            o => {
                let sign = if o < 0 { '-' } else { '+' };
                format!(" {sign}{:02}:{:02}", o.abs() / 3600, o.abs() / 60 % 60)
            }
        };
        format!("{day} {time}{zone}")
    }
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn day_of_year(year: i64, month: i64, day: i64) -> i64 {
    let before = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
    let at = usize::try_from(month - 1).unwrap_or(0).min(11);
    before[at] + day + i64::from(month > 2 && is_leap(year))
}

/// Year, week and weekday (Monday is 1), by the week's Thursday.
fn iso_week(year: i64, ordinal: i64) -> (i64, i64, i64) {
    let days_before = |y: i64| (y - 1) * 365 + (y - 1) / 4 - (y - 1) / 100 + (y - 1) / 400;
    let weekday = (days_before(year) + ordinal - 1).rem_euclid(7) + 1;
    let thursday = ordinal + 4 - weekday;
    let length = |y: i64| if is_leap(y) { 366 } else { 365 };
    let (year, thursday) = if thursday < 1 {
        (year - 1, thursday + length(year - 1))
    } else if thursday > length(year) {
        (year + 1, thursday - length(year))
    } else {
        (year, thursday)
    };
    (year, (thursday - 1) / 7 + 1, weekday)
}

/// A length of time by the calendar.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Duration {
    years: i64,
    months: i64,
    days: i64,
    seconds: i64,
}

impl Duration {
    /// `P1Y2M3W4DT5H6M7S`, parts left out.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut rest = text.trim().strip_prefix('P').filter(|r| !r.is_empty())?;
        let mut duration = Self::default();
        let mut of_day = false;
        while let Some(next) = rest.chars().next() {
            if next == 'T' {
                of_day = true;
                rest = &rest[1..];
                continue;
            }
            let end = rest.find(|c: char| !c.is_ascii_digit())?;
            // More than what a calendar knows is no length of time.
            let number: i64 = rest[..end].parse().ok().filter(|n| *n <= i64::from(i32::MAX))?;
            let seconds = |each: i64| number.checked_mul(each);
            match (rest[end..].chars().next()?, of_day) {
                ('Y', false) => duration.years = number,
                ('M', false) => duration.months = number,
                ('W', false) => duration.days = duration.days.checked_add(number.checked_mul(7)?)?,
                ('D', false) => duration.days = duration.days.checked_add(number)?,
                ('H', true) => duration.seconds = duration.seconds.checked_add(seconds(3600)?)?,
                ('M', true) => duration.seconds = duration.seconds.checked_add(seconds(60)?)?,
                ('S', _) => duration.seconds = duration.seconds.checked_add(number)?,
                _ => return None,
            }
            rest = &rest[end + 1..];
        }
        Some(duration)
    }

    /// So much later. `None`: no calendar goes so far.
    pub(super) fn after(self, date: Date) -> Option<Date> {
        self.shifted(date, 1)
    }

    fn before(self, date: Date) -> Option<Date> {
        self.shifted(date, -1)
    }

    fn shifted(self, date: Date, sign: i64) -> Option<Date> {
        let part = |n: i64| (n * sign).to_string();
        let span = Element::new("duration")
            .with("years", &part(self.years))
            .with("months", &part(self.months))
            .with("days", &part(self.days))
            .with("seconds", &part(self.seconds));
        Some(Date { moment: date.moment.plus(&span)?, ..date })
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = |n: i64| if n == 1 { "" } else { "s" };
        let mut text = String::new();
        for (n, width, word) in [(self.years, 4, "year"), (self.months, 2, "month"), (self.days, 2, "day")] {
            if n != 0 {
                write!(text, "{n:width$} {word}{} ", plural(n))?;
            }
        }
        let s = self.seconds;
        if s < 60 && (s != 0 || text.is_empty()) {
            write!(text, "{s} second{}", plural(s))?;
        } else if s != 0 {
            let parts = [(s / 3600, "hour"), (s / 60 % 60, "minute"), (s % 60, "second")];
            let words: Vec<String> =
                parts.iter().filter(|(n, _)| *n > 0).map(|(n, w)| format!("{n} {w}{}", plural(*n))).collect();
            write!(text, "{s} seconds ({})", words.join(" "))?;
        }
        f.write_str(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weeks_belong_to_the_year_of_their_thursday() {
        let week = |text: &str| Written { week: true, ..Written::default() }.of(parse(text).unwrap());
        for (date, is) in
            [("2019-12-31", "2020-W01-2"), ("2021-01-03", "2020-W53-7"), ("2019-040", "2019-W06-6")]
        {
            assert_eq!(week(date), format!("{is} 00:00:00Z"));
        }
    }

    #[test]
    fn what_no_calendar_knows_is_no_date() {
        let begin = parse("2026-01-01").unwrap();
        assert_eq!(Duration::parse("P99999999Y").and_then(|d| d.after(begin)), None);
        for text in ["", "P", "P1", "1D", "P99999999999999999999D", "-P1D", "PT1D"] {
            assert_eq!(Duration::parse(text), None, "{text}");
        }
    }
}
