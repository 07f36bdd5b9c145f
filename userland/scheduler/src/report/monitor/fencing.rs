//! What was fenced, by whom, and what came of it.

use super::out::{Heading, Kind, Markup};
use super::{Sections, Show};

/// How far a request came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FenceState {
    /// It is under way; the number is the peer's for how far.
    Pending(i64),
    /// The node is down.
    Done,
    /// No device could do it.
    Failed,
}

/// A request to fence a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FenceEvent {
    /// Who.
    pub target: String,
    /// `reboot`, `off`, `on`.
    pub action: String,
    /// How far it came.
    pub state: FenceState,
    /// The node where it was asked for.
    pub origin: String,
    /// The node that did it.
    pub delegate: Option<String>,
    /// Who asked.
    pub client: String,
    /// When it ended, in microseconds since 1970.
    pub completed_us: i64,
    /// Why it failed.
    pub exit_reason: Option<String>,
}

/// What was fenced, as far as it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FencingHistory {
    /// Requests, in any order.
    Known(Vec<FenceEvent>),
    /// It cannot be had: exit status, and its words.
    Unknown(u8, String),
}

impl FencingHistory {
    /// Of each kind only the newest; what is under way, all of it.
    #[must_use]
    pub fn reduced(&self) -> Self {
        let Self::Known(events) = self else { return self.clone() };
        let mut kept: Vec<FenceEvent> = Vec::new();
        for event in sorted(events) {
            let over = !matches!(event.state, FenceState::Pending(_));
            let known = over
                && kept.iter().any(|newer| {
                    newer.target.eq_ignore_ascii_case(&event.target)
                        && newer.action == event.action
                        && newer.state == event.state
                        && (event.state == FenceState::Done || same(&newer.delegate, &event.delegate))
                });
            if !known {
                kept.push(event.clone());
            }
        }
        Self::Known(kept)
    }
}

fn same(a: &Option<String>, b: &Option<String>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => a.eq_ignore_ascii_case(b),
        (a, b) => a == b,
    }
}

/// What is under way first, then the newest.
fn sorted(events: &[FenceEvent]) -> Vec<&FenceEvent> {
    let mut sorted: Vec<&FenceEvent> = events.iter().collect();
    sorted.sort_by_key(|e| match e.state {
        FenceState::Pending(_) => (0, 0),
        _ => (1, e.completed_us.saturating_neg()),
    });
    sorted
}

/// The node from which the same was done later, if it was.
fn later<'e>(event: &FenceEvent, all: &[&'e FenceEvent]) -> Option<&'e str> {
    let mut other = None;
    for newer in all {
        if std::ptr::eq(*newer, event) {
            break;
        }
        if newer.state == FenceState::Done
            && newer.target.eq_ignore_ascii_case(&event.target)
            && newer.action == event.action
            && newer.completed_us > event.completed_us
        {
            if event.delegate.is_none() || same(&event.delegate, &newer.delegate) {
                return newer.delegate.as_deref();
            }
            other = other.or(Some(newer.delegate.as_deref().unwrap_or("some node")));
        }
    }
    other
}

impl Show<'_, '_> {
    /// Whether there was anything to say.
    pub(super) fn fencing_failed(&mut self, spacer: bool) -> bool {
        if !self.sections.has(Sections::FENCE_FAILED) {
            return false;
        }
        self.fencing_list(spacer, "Failed Fencing Actions", &|s| s == FenceState::Failed)
    }

    /// What did not fail.
    pub(super) fn fencing_history(&mut self, spacer: bool) {
        let wanted = self.sections;
        let unknown = matches!(self.fencing, Some(FencingHistory::Unknown(..)));
        if unknown && wanted.has(Sections::FENCE_FAILED) && self.kind() == Kind::Text {
            return; // that was said
        }
        if wanted.has(Sections::FENCE_WORKED) {
            let title = if unknown { "Failed Fencing Actions" } else { "Fencing History" };
            self.fencing_list(spacer, title, &|s| s != FenceState::Failed);
        } else if wanted.has(Sections::FENCE_PENDING) {
            let title = if unknown { "Failed Fencing Actions" } else { "Pending Fencing Actions" };
            self.fencing_list(spacer, title, &|s| matches!(s, FenceState::Pending(_)));
        }
    }

    /// All of it, for programs.
    pub(super) fn fencing_all(&mut self) {
        if self.sections.has(Sections::FENCING) {
            self.fencing_list(false, "Fencing History", &|_| true);
        }
    }

    fn fencing_list(&mut self, spacer: bool, title: &str, wanted: &dyn Fn(FenceState) -> bool) -> bool {
        let Some(history) = self.fencing else { return false };
        let mut begun = Heading::default();
        match history {
            FencingHistory::Unknown(status, _) if self.kind() == Kind::Xml => {
                self.out.leaf(Markup::new("fence_history").with("status", &status.to_string()));
                return true;
            }
            FencingHistory::Unknown(_, why) => {
                self.out.heading(&mut begun, spacer, title);
                self.out.item(&format!("Failed to get fencing history: {why}"));
            }
            FencingHistory::Known(events) => {
                let events = sorted(events);
                for event in &events {
                    if wanted(event.state) && self.nodes.has_node(&event.target) {
                        self.out.heading(&mut begun, spacer, title);
                        self.fence_event(event, later(event, &events));
                    }
                }
            }
        }
        self.out.footer(begun);
        begun.0
    }

    fn fence_event(&mut self, event: &FenceEvent, later: Option<&str>) {
        let over = !matches!(event.state, FenceState::Pending(_));
        let failed = event.state == FenceState::Failed;
        if self.kind() == Kind::Xml {
            let mut element = Markup::new("fence_event")
                .with("action", &event.action)
                .with("target", &event.target)
                .with("client", &event.client)
                .with("origin", &event.origin);
            element = match event.state {
                FenceState::Failed => element
                    .with("status", "failed")
                    .with_all(&[("exit-reason", event.exit_reason.as_deref())]),
                FenceState::Done => element.with("status", "success"),
                FenceState::Pending(how_far) => {
                    element.with("status", "pending").with("extended-status", &how_far.to_string())
                }
            };
            let completed = over.then(|| self.fencing_time(event.completed_us));
            element = element
                .with_all(&[("delegate", event.delegate.as_deref()), ("completed", completed.as_deref())]);
            self.out.leaf(element);
            return;
        }
        let full = self.sections.has(Sections::FENCING);
        let action = match event.action.as_str() {
            "on" => "unfencing",
            "off" => "turning off",
            other => other,
        };
        let state = match event.state {
            FenceState::Failed => "failed",
            FenceState::Done => "successful",
            FenceState::Pending(_) => "pending",
        };
        let FenceEvent { target, client, origin, .. } = event;
        let mut line = format!("{action} of {target}");
        let delegate = event.delegate.as_deref().filter(|_| over);
        if !self.details.detail {
            line += &delegate.map_or(String::new(), |d| format!(" by {d}"));
            line += &format!(" for {client}@{origin}");
            if !full {
                line.push_str(" last");
            }
        }
        line += &format!(" {state}");
        if let Some(reason) = event.exit_reason.as_deref().filter(|_| failed) {
            line += &format!(" ({reason})");
        }
        let completed = self.fencing_time(event.completed_us);
        if self.details.detail {
            line.push_str(": ");
            line += &delegate.map_or(String::new(), |d| format!("delegate={d}, "));
            line += &format!("client={client}, origin={origin}");
            if over {
                let word = match (full, failed) {
                    (true, _) => "completed",
                    (false, true) => "last-failed",
                    (false, false) => "last-successful",
                };
                line += &format!(", {word}='{completed}'");
            }
        } else if over {
            line += &format!(" at {completed}");
        }
        if let Some(later) = later.filter(|_| failed) {
            line += &format!(" (a later attempt from {later} succeeded)");
        }
        if self.kind() == Kind::Html {
            let class = match event.state {
                FenceState::Done => "successful-stonith-event",
                FenceState::Failed => "failed-stonith-event",
                FenceState::Pending(_) => "pending-stonith-event",
            };
            self.out.leaf(Markup::new("li").with("class", class).with_text(&line));
        } else {
            self.out.item(&line);
        }
    }

    fn fencing_time(&self, at_us: i64) -> String {
        (self.clock.iso)(at_us.div_euclid(1_000_000))
    }
}
