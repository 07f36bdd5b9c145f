//! The demo's lines: a time, what happened, and how long after the last blow.

use std::time::{Duration, Instant};

use anstyle::{AnsiColor, Style};

const DIM: Style = Style::new().dimmed();
const BOLD: Style = Style::new().bold();
const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default().bold();

/// The story's screen; colours only where standard output is a terminal.
pub(super) struct Screen {
    began: Instant,
    summary: Vec<(String, Vec<(String, Duration)>)>,
}

impl Screen {
    pub(super) fn new() -> Self {
        Self { began: Instant::now(), summary: Vec::new() }
    }

    /// A heading; the steps that follow belong to it.
    pub(super) fn act(&mut self, title: &str) {
        anstream::println!("\n{BOLD}{title}{BOLD:#}");
        self.summary.push((title.to_owned(), Vec::new()));
    }

    /// Something that happened, `since` its cause.
    pub(super) fn step(&mut self, what: &str, since: Instant) {
        let took = since.elapsed();
        let at = self.began.elapsed();
        anstream::println!(
            "{DIM}{:9.3} s{DIM:#}  {GOOD}{:>7} ms{GOOD:#}  {what}",
            at.as_secs_f64(),
            took.as_millis()
        );
        if let Some((_, steps)) = self.summary.last_mut() {
            steps.push((what.to_owned(), took));
        }
    }

    /// A blow.
    pub(super) fn blow(&self, what: &str) {
        anstream::println!(
            "{DIM}{:9.3} s{DIM:#}              {BAD}{what}{BAD:#}",
            self.began.elapsed().as_secs_f64()
        );
    }

    /// A line without a time, such as one of a log.
    pub(super) fn quote(&self, line: &str) {
        anstream::println!("                         {DIM}| {line}{DIM:#}");
    }

    /// The table at the end.
    pub(super) fn summary(&self) {
        anstream::println!("\n{BOLD}Summary{BOLD:#}");
        for (title, steps) in self.summary.iter().filter(|(_, s)| !s.is_empty()) {
            anstream::println!("  {title}");
            for (what, took) in steps {
                anstream::println!("    {:>7} ms  {what}", took.as_millis());
            }
        }
    }
}
