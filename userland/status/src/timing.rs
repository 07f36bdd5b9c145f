//! The timing model in force on one node, with what was measured there: for `holdfast status --timing`.
//!
//! Also its JSON form, under the rules of the other models: fields are only added, a missing one reads as its default.
//! Lengths of time are microseconds.

use std::fmt::Write;

use serde::{Deserialize, Serialize};

use crate::model::{NodeRef, Note};
use crate::ring_text::length;
use crate::table::{BAD, GOOD, PLAIN, Table, WARN, bold, bold_cell, paint};

/// Intervals and limits of a node's ring daemon, and whether they are safe there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TimingReport {
    /// `totem.cluster_name`.
    pub cluster_name: String,
    /// The node that was asked.
    pub node: NodeRef,
    /// Whether the ring daemon answered.
    pub answered: bool,
    /// What is missing or wrong about this answer, and what helps.
    pub notes: Vec<Note>,
    /// What is configured or derived first, what follows from it last.
    pub rows: Vec<TimingRow>,
    /// How late the event loop has woken up since its start.
    pub lateness: Lateness,
    /// Whether the model holds with that lateness; `None`: too few wake-ups so far.
    pub safe: Option<bool>,
    /// What is broken and what to write instead; empty if nothing is.
    pub broken: String,
}

/// One interval or limit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TimingRow {
    /// E.g. `heartbeat_limit`, `silent_death`.
    pub name: String,
    /// `None`: no time bounds it.
    pub us: Option<u64>,
    /// What it is, or what it is made of.
    pub why: String,
}

/// How late the event loop wakes up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Lateness {
    /// Wake-ups measured.
    pub count: u64,
    /// 99 of 100 are not later.
    pub p99_us: u64,
    /// The latest.
    pub max_us: u64,
}

/// The timing model as text, with styles.
#[must_use]
pub fn timing_text(report: &TimingReport) -> String {
    let mut out = String::new();
    if report.answered {
        let cluster = bold(&format!("Timing model of cluster {}", report.cluster_name));
        let _ = writeln!(out, "{cluster}, in force on {}", report.node.name);
    } else {
        let _ = writeln!(out, "{}", bold("No timing model"));
    }
    for note in &report.notes {
        let _ = writeln!(out, "{}", paint(BAD, &format!("! {}", note.what)));
        if !note.remedy.is_empty() {
            let _ = writeln!(out, "  {}", note.remedy);
        }
    }
    if report.rows.is_empty() {
        return out;
    }
    let mut t = Table::default();
    for row in &report.rows {
        let value = row.us.map_or_else(|| "-".to_owned(), length);
        t.row([bold_cell(&row.name), (value, PLAIN), (row.why.clone(), PLAIN)]);
    }
    let l = report.lateness;
    let (judged, style) = match report.safe {
        Some(true) => ("safe with this machine's lateness".to_owned(), GOOD),
        Some(false) => (format!("UNSAFE: {}", report.broken), BAD),
        None => ("not judged yet: the daemon has not run for long enough".to_owned(), WARN),
    };
    let measured = format!(
        "wake-ups of cmmd on this machine, 99 of 100 within; the latest of {} {}",
        l.count,
        length(l.max_us)
    );
    t.row([bold_cell("lateness"), (length(l.p99_us), PLAIN), (measured, PLAIN)]);
    let _ = write!(out, "\n{}\n{}\n", t.render(0), paint(style, &judged));
    out
}
