//! Values in attributes: scores, booleans, lengths of time.

use std::fmt;
use std::ops::Add;

/// A score: a whole number within ±[`Score::INFINITY`]. Minus infinity wins over everything when scores are added.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Score(i32);

impl Score {
    /// "Must": 1 000 000.
    pub const INFINITY: Self = Self(1_000_000);
    /// "Must not".
    pub const MINUS_INFINITY: Self = Self(-1_000_000);
    /// No preference.
    pub const ZERO: Self = Self(0);

    /// A finite or infinite score; values beyond infinity become it.
    #[must_use]
    pub const fn new(value: i32) -> Self {
        if value > Self::INFINITY.0 {
            Self::INFINITY
        } else if value < Self::MINUS_INFINITY.0 {
            Self::MINUS_INFINITY
        } else {
            Self(value)
        }
    }

    /// As a number.
    #[must_use]
    pub const fn get(self) -> i32 {
        self.0
    }

    /// Reads `100`, `-5`, `INFINITY`, `+INFINITY`, `-INFINITY`; empty is zero. `None`: not a score.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text.trim() {
            "" => Some(Self::ZERO),
            "INFINITY" | "+INFINITY" => Some(Self::INFINITY),
            "-INFINITY" => Some(Self::MINUS_INFINITY),
            number => {
                let digits = number.strip_prefix(['+', '-']).unwrap_or(number);
                if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
                    return None;
                }
                // Only too many digits can fail now: that is infinity.
                let negative = number.starts_with('-');
                Some(
                    number
                        .parse()
                        .map_or(if negative { Self::MINUS_INFINITY } else { Self::INFINITY }, Self::new),
                )
            }
        }
    }
}

impl Add for Score {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        if self == Self::MINUS_INFINITY || other == Self::MINUS_INFINITY {
            Self::MINUS_INFINITY
        } else if self == Self::INFINITY || other == Self::INFINITY {
            Self::INFINITY
        } else {
            Self::new(self.0 + other.0)
        }
    }
}

impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::INFINITY => f.write_str("INFINITY"),
            Self::MINUS_INFINITY => f.write_str("-INFINITY"),
            Self(n) => write!(f, "{n}"),
        }
    }
}

/// Reads a boolean: `true on yes y 1`, `false off no n 0`, in any case.
#[must_use]
pub fn parse_bool(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "on" | "yes" | "y" | "1" => Some(true),
        "false" | "off" | "no" | "n" | "0" => Some(false),
        _ => None,
    }
}

/// Reads a length of time in milliseconds: a number with one of `ms msec us usec s sec m min h hr`, seconds without a
/// unit, or ISO 8601 as `PT1M30S`.
#[must_use]
pub fn parse_duration_ms(text: &str) -> Option<u64> {
    let text = text.trim();
    if let Some(iso) = text.strip_prefix('P') {
        return parse_iso_duration_ms(iso);
    }
    let end = text.bytes().position(|b| !b.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..end].parse().ok()?;
    match text[end..].trim() {
        "" | "s" | "sec" => number.checked_mul(1_000),
        "ms" | "msec" => Some(number),
        "us" | "usec" => Some(number / 1_000),
        "m" | "min" => number.checked_mul(60_000),
        "h" | "hr" => number.checked_mul(3_600_000),
        _ => None,
    }
}

fn parse_iso_duration_ms(text: &str) -> Option<u64> {
    // Seconds need no T before them: there is nothing else that they could be.
    let (days, clock) = match text.split_once('T') {
        Some(both) => both,
        None if text.ends_with(['S', 'H']) => ("", text),
        None => (text, ""),
    };
    if days.is_empty() && clock.is_empty() {
        return None;
    }
    let day_units = [('W', 604_800_000), ('D', 86_400_000)];
    let clock_units = [('H', 3_600_000), ('M', 60_000), ('S', 1_000)];
    sum_units(days, &day_units)?.checked_add(sum_units(clock, &clock_units)?)
}

fn sum_units(mut text: &str, units: &[(char, u64)]) -> Option<u64> {
    let mut sum = 0u64;
    for (unit, ms) in units {
        if let Some((number, rest)) = text.split_once(*unit) {
            sum = sum.checked_add(number.parse::<u64>().ok()?.checked_mul(*ms)?)?;
            text = rest;
        }
    }
    text.is_empty().then_some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_add_as_pacemaker_adds_them() {
        assert_eq!(Score::INFINITY + Score::MINUS_INFINITY, Score::MINUS_INFINITY);
        assert_eq!(Score::INFINITY + Score::new(-5), Score::INFINITY);
        assert_eq!(Score::new(999_999) + Score::new(2), Score::INFINITY);
        assert_eq!(Score::new(3) + Score::new(-5), Score::new(-2));
    }

    #[test]
    fn scores_are_read_strictly() {
        for (text, want) in [
            ("100", Some(Score::new(100))),
            ("+7", Some(Score::new(7))),
            ("-INFINITY", Some(Score::MINUS_INFINITY)),
            ("99999999999999999999", Some(Score::INFINITY)),
            ("-99999999999999999999", Some(Score::MINUS_INFINITY)),
            ("", Some(Score::ZERO)),
            ("infinity", None),
            ("1.5", None),
            ("-", None),
            ("+-1", None),
        ] {
            assert_eq!(Score::parse(text), want, "{text}");
        }
    }

    #[test]
    fn durations_have_units() {
        for (text, want) in [
            ("20", Some(20_000)),
            ("20s", Some(20_000)),
            ("1500ms", Some(1_500)),
            ("2min", Some(120_000)),
            ("1 h", Some(3_600_000)),
            ("2000us", Some(2)),
            ("PT1M30S", Some(90_000)),
            ("P1D", Some(86_400_000)),
            ("P", None),
            ("PT1X", None),
            ("", None),
            ("s", None),
            ("5 days", None),
            ("99999999999999999999s", None),
            ("18446744073709551615h", None),
        ] {
            assert_eq!(parse_duration_ms(text), want, "{text}");
        }
    }
}
