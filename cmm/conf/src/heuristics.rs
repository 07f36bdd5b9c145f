//! Heuristics: programs that tell whether a node is of use, and so fit to have a quorum device's vote.

use holdfast_types::Span;

use crate::schema::parse_number;
use crate::{Diagnostics, Section};

/// A test of this node's fitness: a program that ends with 0, or does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heuristic {
    /// `program`: a line for `/bin/sh -c`.
    pub program: String,
    /// `score`: what it adds while it is up.
    pub score: u16,
    /// `interval`: it is run this often.
    pub interval: Span,
    /// `tko`: it is down after so many failures in a row.
    pub tko: u32,
}

/// All tests of a device, and what they have to reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heuristics {
    /// None: every node is fit.
    pub tests: Vec<Heuristic>,
    /// One that runs longer is ended, and down.
    pub limit: Span,
    /// A node that reaches less is not fit.
    pub min_score: u16,
    /// This passes between a sufficient score and a bid for the vote.
    pub wait: Span,
}

impl Heuristics {
    /// What all reach together; 1 where there are none.
    #[must_use]
    pub fn max_score(&self) -> u16 {
        max_score(&self.tests)
    }
}

pub(crate) fn max_score(tests: &[Heuristic]) -> u16 {
    if tests.is_empty() { 1 } else { tests.iter().map(|h| h.score).sum() }
}

/// `device.heuristics { }` with the names and defaults of corosync-qdevice(8): all of its programs have to succeed. With `mode: sync` they
/// are run when a member is lost, and else once a day.
pub(crate) fn of_server(device: &Section, timeout: Span, found: &mut Diagnostics) -> Heuristics {
    let get = |key: &str| device.get(&["heuristics"], key);
    let span = |key: &str| get(key).and_then(|i| parse_number(&i.value)).map(Span::from_millis);
    let mode = get("mode").map_or("off", |i| i.value.as_str());
    let sync_timeout = device.get(&[], "sync_timeout").and_then(|i| parse_number(&i.value));
    let sync_timeout = sync_timeout.map_or(Span::from_secs(30), Span::from_millis);
    let (interval, limit) = if mode == "sync" {
        (Span::from_secs(86_400), span("sync_timeout").unwrap_or(sync_timeout.scale(1, 2)))
    } else {
        let interval = span("interval").unwrap_or(timeout.scale(3, 1));
        (interval, span("timeout").unwrap_or(timeout.scale(1, 2)))
    };
    let sections = device.all("heuristics");
    let programs = sections.flat_map(|s| &s.items).filter(|i| i.key.starts_with("exec_"));
    let test = |program: &str| Heuristic { program: program.trim().to_owned(), score: 1, interval, tko: 1 };
    let mut tests: Vec<Heuristic> = programs.map(|i| test(&i.value)).collect();
    if mode == "off" {
        tests.clear();
    } else if tests.is_empty() || tests.len() > TESTS_MAX {
        let text = format!(
            "quorum.device.heuristics have {} programs; write one to {TESTS_MAX} lines \"exec_NAME: PROGRAM\", or \"mode: off\"",
            tests.len()
        );
        found.error(device.at(), text);
        tests.truncate(TESTS_MAX);
    }
    let min_score = max_score(&tests);
    Heuristics { tests, limit, min_score, wait: Span::ZERO }
}

/// As in qdiskd.
pub(crate) const TESTS_MAX: usize = 10;
