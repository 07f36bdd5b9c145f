//! A transition carried out on paper: every action ends at once with the result that was hoped for, or with one that was asked
//! for, and the status is what it would be afterwards.
//!
//! The document is changed as the peer's simulator changes it, so that either can go on where the other ended.

mod document;
mod history;
mod inject;

use cib::{Element, Moment};

use crate::model::WorkingSet;
use crate::transition::{Action, Done, Graph, Kind, Outcome};

use document::{Document, FENCING};
use history::Operation;
pub use inject::{Injections, Modified, inject};

/// What happened, for reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// An action that only stands for others is done.
    Pseudo {
        /// Its key.
        key: String,
        /// Where, if anywhere.
        node: Option<String>,
    },
    /// An agent was called.
    Resource {
        /// For this resource.
        resource: String,
        /// `start`, ...
        operation: String,
        /// Again and again after so long; 0: once.
        interval_ms: u64,
        /// On this node.
        node: String,
    },
    /// The cluster did something.
    Cluster {
        /// `do_shutdown`, ...
        task: String,
        /// To this resource, if to one.
        resource: Option<String>,
        /// On this node.
        node: String,
    },
    /// A node was fenced.
    Fencing {
        /// Which.
        node: String,
        /// `off`, `reboot`, `on`.
        action: String,
    },
    /// An action was made to fail.
    Pretended {
        /// Its number.
        id: u32,
        /// As what.
        rc: i32,
    },
    /// A transient attribute was set.
    Attribute {
        /// Which.
        name: String,
        /// To what, as it is said.
        value: String,
        /// The id of the node.
        node_id: String,
    },
    /// The input was changed, in the words of the peer.
    Modification(String),
    /// Something that was asked for makes no sense.
    Refused(String),
}

/// What came of a graph.
#[derive(Clone, Debug)]
pub struct CarriedOut {
    /// The document as it is afterwards.
    pub cib: Element,
    /// Whether all of it could be done.
    pub outcome: Outcome,
    /// What happened, in order.
    pub events: Vec<Event>,
}

/// Carries a graph out on the document that `set` was read from. `failures` are actions that are to fail:
/// `RESOURCE_TASK_MILLISECONDS@NODE=STATUS`. `clock` is when all of it happens.
#[must_use]
pub fn carry_out(graph: &Graph, set: &WorkingSet<'_>, failures: &[String], clock: Moment) -> CarriedOut {
    let mut simulation =
        Simulation { set, failures, clock, document: Document::new(set.root.clone()), events: Vec::new() };
    let outcome = graph.execute(|action| simulation.act(action));
    CarriedOut { cib: simulation.document.into_cib(), outcome, events: simulation.events }
}

struct Simulation<'a, 'c> {
    set: &'a WorkingSet<'c>,
    failures: &'a [String],
    clock: Moment,
    document: Document,
    events: Vec<Event>,
}

impl Simulation<'_, '_> {
    fn act(&mut self, action: &Action) -> Done {
        let node = action.node.as_ref().map(|n| n.name.clone());
        match action.kind {
            Kind::PseudoEvent => {
                self.events.push(Event::Pseudo { key: action.key.clone(), node });
                Done::Well
            }
            Kind::CrmEvent if action.operation == "stonith" => {
                self.fence(&node.unwrap_or_default(), attribute(action, "CRM_meta_stonith_action"));
                Done::Well
            }
            Kind::CrmEvent => {
                let resource = action.resource.as_ref().map(|r| r.id.clone());
                self.events.push(Event::Cluster {
                    task: action.operation.clone(),
                    resource,
                    node: node.unwrap_or_default(),
                });
                Done::Well
            }
            Kind::RscOp => self.call(action),
        }
    }

    fn fence(&mut self, name: &str, action: &str) {
        self.events.push(Event::Fencing { node: name.to_owned(), action: action.to_owned() });
        if action.eq_ignore_ascii_case("on") {
            return;
        }
        let node = self.document.set_node_state(name, false, FENCING);
        self.document.forget(node);
    }

    /// An agent is called, and says what it was hoped to say.
    fn call(&mut self, action: &Action) -> Done {
        if matches!(action.operation.as_str(), "probe_complete" | "probe_again") {
            return Done::Well;
        }
        let (Some(descriptor), Some(place)) = (&action.resource, &action.node) else {
            return Done::Impossible;
        };
        // The history is kept under the name of the configuration, unless only the instance is known at all.
        let configured = descriptor.id.as_str();
        let resource = match &descriptor.long_id {
            Some(long) if !self.set.knows(configured) && self.set.knows(long) => long.as_str(),
            _ => configured,
        };
        let mut event = Event::Resource {
            resource: resource.to_owned(),
            operation: action.operation.clone(),
            interval_ms: 0,
            node: place.name.clone(),
        };
        if matches!(action.operation.as_str(), "delete" | "meta-data") {
            self.events.push(event);
            return Done::Well;
        }
        let expected_rc = attribute(action, "CRM_meta_op_target_rc").parse().unwrap_or(0);
        let uuid = if action.router.is_some() { &place.name } else { &place.uuid };
        let node = self.document.node(&place.name, uuid);
        let history = match self.document.history(node, resource, descriptor) {
            Ok(history) => history,
            Err(why) => {
                self.events.push(Event::Refused(why));
                return Done::Impossible;
            }
        };
        let mut operation = Operation {
            resource: configured.to_owned(),
            task: &action.operation,
            interval_ms: attribute(action, "CRM_meta_interval").parse().unwrap_or(0),
            rc: expected_rc,
            expected_rc,
            exit_reason: "User-injected result",
            parameters: Some(&action.attributes),
            clock: self.clock,
        };
        if let Event::Resource { interval_ms, .. } = &mut event {
            *interval_ms = operation.interval_ms;
        }
        self.events.push(event);
        let done = match self.pretended(action, &operation, resource, configured, &place.name) {
            Some((name, rc)) => {
                self.events.push(Event::Pretended { id: action.id, rc });
                operation.rc = rc;
                self.document.count_failure(node, &name, &operation, &mut self.events);
                Done::Failed
            }
            None => Done::Well,
        };
        operation.record(self.document.history_mut(node, history));
        self.document.changed_status();
        done
    }

    /// The name by which an action was asked to fail, and as what.
    fn pretended(
        &mut self,
        action: &Action,
        operation: &Operation<'_>,
        resource: &str,
        configured: &str,
        node: &str,
    ) -> Option<(String, i32)> {
        for spec in self.failures {
            let matches = |name: &&str| {
                let key = format!("{name}_{}_{}@{node}=", action.operation, operation.interval_ms);
                spec.get(..key.len()).is_some_and(|start| start.eq_ignore_ascii_case(&key))
            };
            let Some(name) = [resource, configured].into_iter().find(matches) else { continue };
            match spec.split_once('=').and_then(|(_, rc)| rc.trim().parse().ok()) {
                Some(rc) => return Some((name.to_owned(), rc)),
                None => self.events.push(Event::Refused(format!(
                    "Invalid failed operation '{spec}' (result code must be integer)"
                ))),
            }
        }
        None
    }
}

fn attribute<'a>(action: &'a Action, name: &str) -> &'a str {
    action.attributes.get(name).map_or("", String::as_str)
}

impl WorkingSet<'_> {
    /// Whether configuration or history know a resource by this name.
    pub(crate) fn knows(&self, name: &str) -> bool {
        self.by_id.contains_key(name) || self.by_history_name.contains_key(name)
    }
}
