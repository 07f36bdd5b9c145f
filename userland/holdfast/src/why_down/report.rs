//! A verdict as text and as JSON.

use std::fmt::Write as _;

use failfast::black_box::{Class, Record};
use serde_json::{Value, json};
use status::table::{BAD, GOOD, PLAIN, Table, WARN, bold, bold_cell, paint};
use status::{Zone, age, iso};

use super::verdict::{Cause, Verdict};

/// One end, or none, of one node.
pub(super) struct Report {
    pub(super) name: String,
    pub(super) id: u32,
    /// Which life; 0: not known.
    pub(super) life: u64,
    /// When it began, microseconds since 1970, and what was said then.
    pub(super) start: Option<(i64, String)>,
    pub(super) verdict: Verdict,
    /// The last things that its log told, oldest first.
    pub(super) events: Vec<Record>,
    /// When it became a member again after that.
    pub(super) back: Option<i64>,
}

/// Microseconds since 1970 as a date.
pub(super) fn date(micros: i64, zone: Zone) -> String {
    iso(u64::try_from(micros / 1_000).unwrap_or(0), zone)
}

fn ago(micros: i64, now_ms: u64) -> String {
    let at = u64::try_from(micros / 1_000).unwrap_or(0);
    format!("{} ago", age(now_ms.saturating_sub(at)))
}

/// The whole of it.
pub(super) fn text(report: &Report, now_ms: u64, zone: Zone) -> String {
    let Report { name, verdict, .. } = report;
    let style = match verdict.cause {
        Cause::Running => GOOD,
        Cause::InOrder => PLAIN,
        Cause::Silent | Cause::Gone => WARN,
        _ => BAD,
    };
    let mut out = format!("{} {}.\n", bold(name), paint(style, &verdict.headline));
    if let Some(reason) = &verdict.reason {
        let _ = writeln!(out, "\n  {}\n", bold(reason));
    }
    let mut table = Table::default();
    let when = |at: i64| (format!("{} ({})", date(at, zone), ago(at, now_ms)), PLAIN);
    if let Some(at) = verdict.at {
        table.row([bold_cell(if verdict.cause == Cause::Running { "Since" } else { "When" }), when(at)]);
    }
    if let Some((at, said)) = &report.start {
        let life = said.split_once(": ").map_or(said.as_str(), |(_, rest)| rest).trim_end();
        table.row([bold_cell("Began"), (format!("{}, {life}", date(*at, zone)), PLAIN)]);
    } else if report.life != 0 {
        table.row([bold_cell("Life"), (format!("incarnation {}", report.life), PLAIN)]);
    }
    if let Some(back) = report.back {
        table.row([bold_cell("Back"), when(back)]);
    }
    out.push_str(&table.render(0));
    if !verdict.evidence.is_empty() {
        let mut table = Table::default();
        for word in &verdict.evidence {
            let at = word.at.map_or_else(String::new, |at| date(at, zone));
            table.row([(word.source.to_owned(), PLAIN), (at, PLAIN), (word.text.clone(), PLAIN)]);
        }
        let _ = write!(out, "\n{}\n{}", bold("Witnesses"), table.render(2));
    }
    if !report.events.is_empty() {
        let mut table = Table::default();
        for event in &report.events {
            let style = if event.detail <= LEVEL_WARNING { WARN } else { PLAIN };
            table.row([(date(event.wall.0, zone), PLAIN), (event.text.trim_end().to_owned(), style)]);
        }
        let _ = write!(out, "\n{}\n{}", bold("Before that"), table.render(2));
    }
    if !verdict.next.is_empty() {
        let _ = writeln!(out, "\n{}", bold("Next"));
        for next in &verdict.next {
            let _ = writeln!(out, "  {next}");
        }
    }
    out
}

/// The same for programs.
pub(super) fn json(report: &Report) -> Value {
    let ms = |micros: i64| micros / 1_000;
    let Verdict { cause, at, headline, reason, evidence, next } = &report.verdict;
    json!({
        "node": {"id": report.id, "name": report.name},
        "incarnation": report.life,
        "began_unix_ms": report.start.as_ref().map(|(at, _)| ms(*at)),
        "cause": cause.name(),
        "unclean": cause.is_unclean(),
        "at_unix_ms": at.map(ms),
        "back_unix_ms": report.back.map(ms),
        "summary": format!("{} {headline}", report.name),
        "reason": reason,
        "witnesses": evidence.iter().map(|e| json!({"source": e.source, "at_unix_ms": e.at.map(ms), "text": e.text})).collect::<Vec<_>>(),
        "events": report.events.iter().map(event).collect::<Vec<_>>(),
        "next": next,
    })
}

fn event(record: &Record) -> Value {
    json!({"at_unix_ms": record.wall.0 / 1_000, "level": record.detail, "text": record.text.trim_end()})
}

/// The last events of a life that an operator reads, oldest first.
pub(super) fn last_events(events: &[Record], count: usize) -> Vec<Record> {
    let told: Vec<&Record> =
        events.iter().filter(|r| r.class == Class::Event && r.detail < LEVEL_DEBUG).collect();
    told[told.len().saturating_sub(count)..].iter().map(|r| **r).collect()
}

/// As syslog numbers them.
const LEVEL_WARNING: u8 = 4;
const LEVEL_DEBUG: u8 = 7;
