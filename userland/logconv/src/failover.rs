//! Where a fail-over begins and how it ends, from what a controller plans and does.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::event::{Event, Placement};

/// What made a transition necessary, the strongest last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cause {
    /// Nothing that happened: a time, a first look.
    #[default]
    None,
    /// Somebody wanted it so: a move, standby, a changed configuration.
    Operator,
    /// A score: an attribute of a node says that it cannot run it any more.
    Score,
    /// A resource failed.
    Resource,
    /// A node was lost, or has to be fenced.
    Node,
}

impl Cause {
    /// Whether what comes of it may be a fail-over.
    #[must_use]
    pub const fn is_failure(self) -> bool {
        matches!(self, Self::Score | Self::Resource | Self::Node)
    }
}

/// What is to happen to a resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Planned {
    /// It is started there; it ran nowhere.
    Start(String),
    /// It changes its node.
    Move {
        /// From this one,
        from: String,
        /// to this one.
        to: String,
    },
    /// It is stopped, and started nowhere.
    Stop,
    /// It stays on its node, restarted, recovered, reloaded or promoted there or not.
    Stays(String),
    /// It runs nowhere, and will not.
    StaysDown,
    /// It is not managed.
    Unmanaged,
}

/// One controller's view of a fail-over.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FailOver {
    /// What the last calculation wants.
    planned: BTreeMap<String, Planned>,
    /// A fail-over is under way.
    open: bool,
    /// Something is done to these in it.
    operated: BTreeSet<String>,
}

impl FailOver {
    /// A calculation begins after nothing was to be done.
    pub fn calculation_begins(&mut self) {
        self.planned.clear();
    }

    /// What it wants for a resource. A later calculation of the same transition has the last word.
    pub fn plan(&mut self, resource: &str, planned: Planned) {
        let arrived = |at: &Planned, node: &str| matches!(at, Planned::Move { to, .. } if to == node);
        if let Planned::Stays(node) = &planned
            && self.planned.get(resource).is_some_and(|at| arrived(at, node))
        {
            // Moved and now there: what a later calculation finds is what this one did.
            return;
        }
        self.planned.insert(resource.to_owned(), planned);
    }

    /// Something is going to be done about it. The event, if that is where a fail-over begins: with a failure behind it, and one of
    /// the `watched` resources moved or stopped for it, or after the loss of a node started or left down.
    pub fn acts(&mut self, cause: Cause, watched: impl Fn(&str) -> bool) -> Option<Event> {
        if self.open || !cause.is_failure() {
            return None;
        }
        let concerns = |planned: &Planned| match planned {
            Planned::Move { .. } | Planned::Stop => true,
            Planned::Start(_) | Planned::StaysDown => cause == Cause::Node,
            Planned::Stays(_) | Planned::Unmanaged => false,
        };
        self.open = self.planned.iter().any(|(id, planned)| watched(id) && concerns(planned));
        self.open.then_some(Event::FailOverBegins)
    }

    /// Something other than a monitor is done to a resource.
    pub fn operates(&mut self, resource: &str) {
        if self.open {
            self.operated.insert(resource.to_owned());
        }
    }

    /// Whether one of the `watched` resources is to be moved or stopped.
    pub fn takes_away(&self, watched: impl Fn(&str) -> bool) -> bool {
        let away = |planned: &Planned| matches!(planned, Planned::Move { .. } | Planned::Stop);
        self.planned.iter().any(|(id, planned)| watched(id) && away(planned))
    }

    /// Whether a fail-over is under way.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.open
    }

    /// Nothing more is to be done: how it ended, if one was under way, for the `watched` resources in their order.
    pub fn settled(&mut self, watched: &[String]) -> Vec<Event> {
        let was = std::mem::take(self);
        if !was.open {
            return Vec::new();
        }
        if was.planned.values().any(|p| *p == Planned::Unmanaged) {
            return vec![Event::Unmanaged, Event::FailOverFailed];
        }
        let (mut said, mut failed) = (Vec::new(), false);
        for resource in watched {
            let placement = match was.planned.get(resource) {
                Some(Planned::Start(node) | Planned::Stays(node)) => Placement::StartedOn(node.clone()),
                Some(Planned::Move { from, to }) => Placement::Moved { from: from.clone(), to: to.clone() },
                Some(Planned::Stop | Planned::StaysDown) => Placement::Stopped,
                Some(Planned::Unmanaged) | None => continue,
            };
            let stopped = placement == Placement::Stopped;
            if stopped || was.operated.contains(resource) {
                failed |= stopped;
                said.push(Event::Placed { resource: resource.clone(), placement });
            }
        }
        let failed = failed || said.is_empty();
        said.push(if failed { Event::FailOverFailed } else { Event::FailOverSucceeded });
        said
    }
}
