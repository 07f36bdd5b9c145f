//! `iso8601`: dates, periods and durations as rules and constraints write them.

use super::dates::{Duration, Written, parse, parse_period};
use super::options::{Given, Grammar, Group, flag, value};
use super::output::Out;
use super::{Stop, conduct};
use crate::exit::Exit;
use crate::io::Io;

pub(super) const GRAMMAR: Grammar = Grammar {
    name: "iso8601",
    about: "iso8601 - read dates, periods and durations as rules write them",
    rest: "",
    output: false,
    help: 'h',
    main: &[],
    groups: &[
        Group {
            name: "commands",
            title: "Commands:",
            about: "Show command options",
            options: &[
                flag("now", 'n', "Show the current date and time"),
                value("date", 'd', "DATE", "Read a date, such as '2026-12-24 18:00:00 +01:00' or 2026-040"),
                value("period", 'p', "PERIOD", "Read a period, such as 2026-040/2026-043"),
                value(
                    "duration",
                    'D',
                    "DURATION",
                    "Read a duration, such as P1M; with a date also the sum of both",
                ),
                value("expected", 'E', "TEXT", "Exit with 1 if something else comes out"),
            ],
        },
        Group {
            name: "modifiers",
            title: "Output modifiers:",
            about: "Show output modifiers",
            options: &[
                flag("seconds", 's', "As seconds since the beginning of the year 0"),
                flag("epoch", 'S', "As seconds since 1970"),
                flag("local", 'L', "In the zone that was given"),
                flag("ordinal", 'O', "As a day of the year"),
                flag("week", 'W', "As a day of a week"),
            ],
        },
    ],
    examples: "\
Examples:
  iso8601 -d 2026-040                  which day is that?
  iso8601 -n -D P1DT2H                 until when does that last from now on?
  iso8601 -p 2026-W01/P1M

Exit status: 0; 1 not what was expected; 2 no such date; 64 wrong usage",
};

pub(super) fn run(grammar: &Grammar, words: &[String], io: &mut Io) -> Exit {
    conduct(grammar, words, io, work)
}

fn work(given: &Given, out: &mut Out<'_>) -> Result<u8, Stop> {
    let form = Written {
        seconds: given.has("seconds"),
        epoch: given.has("epoch"),
        local: given.has("local"),
        ordinal: given.has("ordinal"),
        week: given.has("week"),
    };
    let date = match given.last_of(&["now", "date"]) {
        Some("now") => {
            let now = super::dates::now();
            out.print(format_args!("Current date/time: {}\n", form.of(now)));
            Some(now)
        }
        Some(_) => {
            let text = given.get("date").unwrap_or_default();
            let invalid = || Stop::new(2, format!("Invalid date/time specified: {text}"));
            let date = parse(text).ok_or_else(invalid)?;
            out.print(format_args!("Date: {}\n", form.of(date)));
            Some(date)
        }
        None => None,
    };
    let duration = given.get("duration").map(|text| {
        Duration::parse(text).ok_or_else(|| Stop::new(2, format!("Invalid duration specified: {text}")))
    });
    let duration = duration.transpose()?;
    if let Some(duration) = duration {
        out.print(format_args!("Duration: {duration}\n"));
    }
    if let Some(text) = given.get("period") {
        let invalid = || Stop::new(2, format!("Invalid interval specified: {text}"));
        let (start, end) = parse_period(text).ok_or_else(invalid)?;
        out.print(format_args!("Period: {} to {}\n", form.of(start), form.of(end)));
    }
    let result = match (date, duration) {
        (Some(date), Some(duration)) => {
            let invalid = || Stop::new(70, "Unable to calculate ending time: no calendar goes so far");
            let end = duration.after(date).ok_or_else(invalid)?;
            out.print(format_args!("Duration ends at: {}\n", Written { local: true, ..form }.of(end)));
            Some(end)
        }
        (date, _) => date,
    };
    let unexpected =
        given.get("expected").zip(result).is_some_and(|(want, is)| !form.of(is).eq_ignore_ascii_case(want));
    Ok(u8::from(unexpected))
}
