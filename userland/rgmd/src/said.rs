//! What the operator's log is told: each event where the manager itself knows of it, and what a transition is for.

use advice::View;
use cib::{Element, Moment};
use logconv::{Cause, Event, Operation, Outcome, Planned};

use crate::door::Output;
use crate::history::{Entry, status};
use crate::manager::Manager;

/// Something for [`crate::operator::OperatorLog`]; the methods of that say what each is.
#[derive(Clone, Debug)]
pub enum Said {
    /// Something happened.
    Event(Event),
    /// A calculation is necessary for this.
    Happened(Cause, String),
    /// A transition begins: what becomes of resources, and why.
    Transition(Vec<(String, Planned)>, Vec<Event>),
    /// Something is done to a resource.
    Operates(String),
    /// Nothing is left to be done.
    Settled,
    /// Another node is the controller now.
    Resign,
    /// The configuration is another one: whose places are said.
    Watch(Vec<String>),
}

impl Manager {
    pub(crate) fn say(&mut self, said: Said) {
        self.outputs.push_back(Output::Said(Box::new(said)));
    }

    pub(crate) fn event(&mut self, event: Event) {
        self.say(Said::Event(event));
    }

    pub(crate) fn happened(&mut self, cause: Cause, why: impl Into<String>) {
        self.cause = self.cause.max(cause);
        self.say(Said::Happened(cause, why.into()));
    }

    /// An operation begins here.
    pub(crate) fn say_begins(&mut self, class: &str, resource: &str, operation: &str) {
        let Some(operation) = Operation::parse(operation).filter(|o| *o != Operation::Monitor) else {
            return;
        };
        let (resource, device) = (resource.to_owned(), class == "stonith");
        self.event(Event::Begins { resource, operation, device });
    }

    /// An operation ended here.
    pub(crate) fn say_ended(&mut self, class: &str, resource: &str, entry: &Entry) {
        let Some(operation) = Operation::parse(&entry.operation) else { return };
        if operation == Operation::Monitor && (entry.is_probe() || !entry.failed()) {
            return;
        }
        let outcome = match entry.status {
            status::DONE => Outcome::Agent(entry.rc),
            status::TIMEOUT => Outcome::TimedOut,
            other => Outcome::Executor(other),
        };
        let (resource, device) = (resource.to_owned(), class == "stonith");
        self.event(Event::Ended { resource, operation, outcome, device });
    }

    /// What an agent that watches a network or a disk has noticed: each once, until a run does not notice it any more.
    pub(crate) fn say_noticed(&mut self, outcome: &executor::Outcome) {
        let mut events: Vec<Event> = Vec::new();
        for event in outcome.stderr.lines().filter_map(Event::noticed) {
            if !events.contains(&event) {
                events.push(event);
            }
        }
        let before = match events.is_empty() {
            true => self.noticed.remove(&outcome.resource),
            false => self.noticed.insert(outcome.resource.clone(), events.clone()),
        };
        let before = before.unwrap_or_default();
        for event in events.into_iter().filter(|e| !before.contains(e)) {
            self.event(event);
        }
    }

    /// A node attribute is another one now.
    pub(crate) fn say_attribute(&mut self, name: &str, node: &str, value: Option<&str>) {
        let (name, node) = (name.to_owned(), node.to_owned());
        self.happened(Cause::Score, format!("{name} changed on {node}"));
        self.event(match value {
            Some(value) => Event::AttributeSet { name, value: value.to_owned(), node },
            None => Event::AttributeDeleted { name, node },
        });
    }

    /// Nothing is left to be done.
    pub(crate) fn say_settled(&mut self) {
        self.cause = Cause::None;
        self.say(Said::Settled);
    }

    /// A transition begins, decided on this document. What it means for each resource is found out where it may be part of a
    /// fail-over: that takes as long as deciding did.
    pub(crate) fn say_transition(&mut self, document: &Element, now: Moment) {
        if self.cause <= Cause::Operator {
            return;
        }
        let Ok(view) = View::new(document, &[], now) else { return };
        let planned = view.planned();
        let moved: Vec<String> = planned
            .iter()
            .filter(|(_, planned)| {
                !matches!(planned, Planned::Stays(_) | Planned::StaysDown | Planned::Unmanaged)
            })
            .map(|(id, _)| id.clone())
            .collect();
        let reasons = if moved.is_empty() { Vec::new() } else { view.reasons(&moved) };
        self.say(Said::Transition(planned, reasons));
    }
}
