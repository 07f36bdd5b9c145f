//! Points in time as rules and options write them: ISO 8601 dates (calendar, ordinal, week), times, zones and periods.
//!
//! The calendar is jiff's; the dialect is Pacemaker's, which takes more than RFC 3339.

use jiff::civil::{Date, DateTime, ISOWeekDate, Time, Weekday};
use jiff::tz::{Offset, TimeZone};
use jiff::{Span, Timestamp, Zoned};

use crate::tree::Element;

/// A point in time, in whole seconds since 1970 in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub i64);

impl Moment {
    /// Reads a date, a time of today's date is not taken: `2005-020T12:30`, `2014-05-07 00:28:00Z`, `2009-W01-1`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let at = text.find(['T', ' ']).unwrap_or(text.len());
        let (date, rest) = (&text[..at], text[at..].trim_start_matches(['T', ' ']));
        let date = parse_date(date)?;
        let (time, offset) = parse_time(rest)?;
        let (date, time) = match time {
            Some(time) => (date, time),
            None => (date.tomorrow().ok()?, Time::midnight()),
        };
        let zoned = TimeZone::fixed(offset).to_zoned(DateTime::from_parts(date, time)).ok()?;
        Some(Self(zoned.timestamp().as_second()))
    }

    /// As a date and time of UTC: `2014-05-07 00:28:00Z`.
    #[must_use]
    pub fn display(self) -> String {
        let at = self.civil();
        format!(
            "{:04}-{:02}-{:02} {:02}:{:02}:{:02}Z",
            at.year(),
            at.month(),
            at.day(),
            at.hour(),
            at.minute(),
            at.second()
        )
    }

    /// Later by a `duration` element: years, months, weeks, days, hours, minutes, seconds. `None`: beyond what a calendar knows.
    #[must_use]
    pub fn plus(self, duration: &Element) -> Option<Self> {
        let get = |name: &str| duration.get(name).and_then(|v| v.trim().parse::<i64>().ok()).unwrap_or(0);
        let span = Span::new()
            .try_years(get("years"))
            .and_then(|s| s.try_months(get("months")))
            .and_then(|s| s.try_weeks(get("weeks")))
            .and_then(|s| s.try_days(get("days")))
            .and_then(|s| s.try_hours(get("hours")))
            .and_then(|s| s.try_minutes(get("minutes")))
            .and_then(|s| s.try_seconds(get("seconds")))
            .ok()?;
        Some(Self(self.zoned().checked_add(span).ok()?.timestamp().as_second()))
    }

    /// Whether it is in what a `date_spec` element names.
    #[must_use]
    pub fn is_in(self, spec: &Element) -> bool {
        let at = self.civil();
        let week = at.date().iso_week_date();
        let is = |name: &str, value: i64| spec.get(name).is_none_or(|range| in_range(range, value));
        is("years", at.year().into())
            && is("months", at.month().into())
            && is("monthdays", at.day().into())
            && is("hours", at.hour().into())
            && is("minutes", at.minute().into())
            && is("seconds", at.second().into())
            && is("yeardays", at.day_of_year().into())
            && is("weekyears", week.year().into())
            && is("weeks", week.week().into())
            && is("weekdays", at.weekday().to_monday_one_offset().into())
            && is("moon", moon_phase(at.date()))
    }

    fn zoned(self) -> Zoned {
        // Clamped to what the calendar knows.
        let bounded = self.0.clamp(Timestamp::MIN.as_second() + 86_400, Timestamp::MAX.as_second() - 86_400);
        Timestamp::from_second(bounded).unwrap_or(Timestamp::UNIX_EPOCH).to_zoned(TimeZone::UTC)
    }

    fn civil(self) -> DateTime {
        self.zoned().datetime()
    }
}

/// `5`, `1-7`, `3-`, `-4`.
fn in_range(range: &str, value: i64) -> bool {
    let number = |text: &str| text.trim().parse::<i64>().ok();
    match range.split_once('-') {
        None => number(range) == Some(value),
        Some((low, high)) => {
            let above = low.trim().is_empty() || number(low).is_some_and(|low| value >= low);
            let below = high.trim().is_empty() || number(high).is_some_and(|high| value <= high);
            above && below
        }
    }
}

/// 0 (new) to 7, by the usual approximation of the age of the moon.
fn moon_phase(date: Date) -> i64 {
    let day = i64::from(date.day_of_year()) - 1;
    let golden = i64::from(date.year()).rem_euclid(19) + 1;
    let mut epact = (11 * golden + 18) % 30;
    if (epact == 25 && golden > 11) || epact == 24 {
        epact += 1;
    }
    ((((day + epact) * 6 + 11) % 177) / 22) & 7
}

fn digits(text: &str) -> Option<i16> {
    (!text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok())?
}

fn parse_date(text: &str) -> Option<Date> {
    let small = |text: &str| digits(text).and_then(|n| i8::try_from(n).ok());
    let year = digits(text.get(..4)?)?;
    let rest = text.get(4..)?;
    let rest = rest.strip_prefix('-').unwrap_or(rest);
    if let Some(week) = rest.strip_prefix('W') {
        let day = week.get(2..).unwrap_or("").trim_start_matches('-');
        let day = if day.is_empty() { 1 } else { small(day)? };
        let weekday = Weekday::from_monday_one_offset(day).ok()?;
        return Some(ISOWeekDate::new(year, small(week.get(..2)?)?, weekday).ok()?.date());
    }
    match rest.len() {
        // A year or a month alone is its first day.
        0 => Date::new(year, 1, 1).ok(),
        2 => Date::new(year, small(rest)?, 1).ok(),
        3 => Date::new(year, 1, 1).ok()?.with().day_of_year(digits(rest)?).build().ok(),
        4 => Date::new(year, small(&rest[..2])?, small(&rest[2..])?).ok(),
        5 => Date::new(year, small(rest.get(..2)?)?, small(rest.get(3..)?)?).ok(),
        _ => None,
    }
}

/// The time (`None` within: 24:00, the end of the day) and the zone.
fn parse_time(text: &str) -> Option<(Option<Time>, Offset)> {
    let zone = text.find(['Z', '+', '-']).unwrap_or(text.len());
    let (time, zone) = (text[..zone].trim(), text[zone..].trim());
    let compact: String = time.split('.').next()?.chars().filter(|c| *c != ':').collect();
    let part = |at: usize| match compact.get(at..at + 2) {
        Some(two) => digits(two).and_then(|n| i8::try_from(n).ok()),
        None if compact.len() <= at => Some(0),
        None => None,
    };
    let (hour, minute, second) = (part(0)?, part(2)?, part(4)?);
    let time = if (hour, minute, second) == (24, 0, 0) {
        None
    } else {
        Some(Time::new(hour, minute, second.min(59), 0).ok()?)
    };
    let offset = match zone.chars().next() {
        None | Some('Z') => 0,
        Some(sign) => {
            let compact: String = zone[1..].chars().filter(char::is_ascii_digit).collect();
            let hours = digits(compact.get(..2)?)?;
            let minutes = compact.get(2..4).map_or(Some(0), digits)?;
            let seconds = i32::from(hours) * 3_600 + i32::from(minutes) * 60;
            if sign == '-' { -seconds } else { seconds }
        }
    };
    Some((time, Offset::from_seconds(offset).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_of_every_kind_are_the_same_moment() {
        let want = Moment(1_106_179_200);
        for text in [
            "2005-01-20",
            "20050120",
            "2005-020",
            "2005-W03-4",
            "2005-020T00:00",
            "2005-01-20T01:00:00+01:00",
        ] {
            assert_eq!(Moment::parse(text), Some(want), "{text}");
        }
        assert_eq!(Moment::parse("2005-01-19T24:00"), Some(want));
        assert_eq!(want.display(), "2005-01-20 00:00:00Z");
        for text in ["", "2005-13-01", "today", "2005-W54-1", "2005-01-20T25:00", "2005-01-20T1", "9999999"] {
            assert_eq!(Moment::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_spec_names_ranges() {
        let noon = Moment::parse("2005-020T12:30").unwrap();
        let spec = |name: &str, value: &str| noon.is_in(&Element::new("date_spec").with(name, value));
        assert!(
            spec("hours", "9-16") && spec("weekdays", "4") && spec("yeardays", "20") && spec("hours", "12-")
        );
        assert!(!spec("hours", "-11") && !spec("monthdays", "21") && !spec("hours", "x"));
    }

    #[test]
    fn a_duration_follows_the_calendar() {
        let begin = Moment::parse("2004-01-31").unwrap();
        let after = begin.plus(&Element::new("duration").with("months", "1"));
        assert_eq!(after, Moment::parse("2004-02-29"));
        assert_eq!(begin.plus(&Element::new("duration").with("years", "99999999")), None);
    }
}
