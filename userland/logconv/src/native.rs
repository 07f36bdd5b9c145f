//! The same log from a resource-group manager that knows what happens and why: nothing is found, nothing is guessed.

use crate::event::{Event, Level, Message, Suffix};
use crate::failover::{Cause, FailOver, Planned};

/// Puts a manager's events into the words of the log, and adds the lines about fail-overs while this node is the controller.
///
/// ```
/// use logconv::{Cause, Event, Operator, Planned, Suffix};
/// let mut operator = Operator::new(Suffix::Words);
/// let moved = Planned::Move { from: "srv01".into(), to: "srv02".into() };
/// operator.watch(vec!["db".to_owned()]);
/// operator.happened(Cause::Resource, "db failed on srv01: not running");
/// let said = operator.transition(&[("db".to_owned(), moved)], &[]);
/// assert_eq!(said[0].text, "Start to fail-over.");
/// assert_eq!(said[1].text, "Reason: db failed on srv01: not running");
/// operator.operates("db");
/// let said = operator.settled();
/// assert_eq!(said[0].text, "Resource db : Move srv01 -> srv02");
/// assert_eq!(said[1].text, "fail-over succeeded.");
/// ```
#[derive(Clone, Debug, Default)]
pub struct Operator {
    suffix: Suffix,
    watched: Vec<String>,
    cause: Cause,
    why: String,
    failover: FailOver,
}

impl Operator {
    /// One that has nothing to say yet.
    #[must_use]
    pub fn new(suffix: Suffix) -> Self {
        Self { suffix, ..Self::default() }
    }

    /// Whose places are said at the end of a fail-over: first and last member of each group, and what stands alone. To be called
    /// when the configuration changes.
    pub fn watch(&mut self, resources: Vec<String>) {
        self.watched = resources;
    }

    /// The words for an event. `None`: the log does not speak of it.
    #[must_use]
    pub fn say(&self, event: &Event) -> Option<Message> {
        event.message(self.suffix)
    }

    /// Something happened that makes a calculation necessary: what kind of thing, and what, in words. Until nothing is left to be done
    /// the strongest kind counts, and of several of a kind the first; a score only for the next calculation.
    pub fn happened(&mut self, cause: Cause, why: &str) {
        if cause > self.cause {
            self.cause = cause;
            why.clone_into(&mut self.why);
        }
    }

    /// What the transition under way is for.
    #[must_use]
    pub const fn cause(&self) -> Cause {
        self.cause
    }

    /// A transition begins. `planned`: what it wants for each resource that it says something of; `reasons`: why nodes were chosen
    /// and refused ([`Event::Chosen`], [`Event::Refused`]), said where a fail-over begins with it. To be called before anything of the
    /// transition is done or said.
    pub fn transition(&mut self, planned: &[(String, Planned)], reasons: &[Event]) -> Vec<Message> {
        if !self.failover.is_open() {
            self.failover.calculation_begins();
        }
        for (resource, planned) in planned {
            self.failover.plan(resource, planned.clone());
        }
        let watched = &self.watched;
        let Some(begins) = self.failover.acts(self.cause, |id| watched.iter().any(|w| w == id)) else {
            // An attribute that takes nothing away now (it is well again, say) is not why somebody moves something before all has
            // settled.
            if self.cause == Cause::Score && !self.failover.is_open() {
                self.cause = Cause::None;
                self.why.clear();
            }
            return Vec::new();
        };
        let because = Event::Because { why: self.why.clone() };
        let all = [begins, because];
        all.iter().chain(reasons).filter_map(|event| event.message(self.suffix)).collect()
    }

    /// Something other than a monitor is done to a resource in it.
    pub fn operates(&mut self, resource: &str) {
        self.failover.operates(resource);
    }

    /// Nothing is left to be done, or this controller goes: how a fail-over ended, if one was under way.
    pub fn settled(&mut self) -> Vec<Message> {
        let said = self.failover.settled(&self.watched);
        self.cause = Cause::None;
        self.why.clear();
        said.iter().filter_map(|event| event.message(self.suffix)).collect()
    }

    /// Another node is the controller now: what was under way is its business.
    pub fn resign(&mut self) {
        self.failover = FailOver::default();
        self.cause = Cause::None;
        self.why.clear();
    }

    /// A message as a record of the journal's own protocol, with its number in `HOLDFAST_MSGNO`.
    #[must_use]
    pub fn journal_record(message: &Message, identifier: &str) -> Vec<u8> {
        let Message { number, level, text } = message;
        let severity = level.severity();
        let line = |text: &str| text.replace(['\n', '\r'], " ");
        format!(
            "MESSAGE={}\nPRIORITY={severity}\nSYSLOG_IDENTIFIER={}\nHOLDFAST_MSGNO={number}\n",
            line(text),
            line(identifier)
        )
        .into_bytes()
    }

    /// A message as a line of the log's file: `DATE HOST LEVEL: TEXT`.
    #[must_use]
    pub fn file_line(message: &Message, date: &str, host: &str) -> String {
        let Message { number, level, text } = message;
        let (date, host, text) = (date.to_owned(), host.to_owned(), text.replace(['\n', '\r'], " "));
        let level: Level = *level;
        crate::line::Line { date, host, number, level, text }.to_string()
    }
}
