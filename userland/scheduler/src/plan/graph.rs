//! The result: actions, their order, and what cannot be done.

use holdfast_types::{NodeId, WallTime};

/// Index of an action in its graph.
pub type ActionId = usize;

/// What has to be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TransitionGraph {
    /// Actions; [`Action::after`] points to earlier or later ones, never in a circle.
    pub actions: Vec<Action>,
    /// What is decided, a line a resource, as operators know it: `Start db ( node1 )`.
    pub decisions: Vec<String>,
    /// Resources that should run and cannot, or stay where they should not.
    pub blocked: Vec<Blocked>,
    /// The plan may change by itself then: a failure expires.
    pub recheck_at: Option<WallTime>,
}

/// One action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Action {
    /// What.
    pub kind: ActionKind,
    /// Where; for a fence action the node to be fenced.
    pub node: NodeId,
    /// The resource; empty for a fence action.
    pub resource: String,
    /// Actions that must have succeeded before.
    pub after: Vec<ActionId>,
    /// It waits for an operation that is under way; only a later plan may carry it out.
    pub held: bool,
    /// Why, in words.
    pub reason: String,
}

/// What an action does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ActionKind {
    /// Takes the node down through a fence device, or waits for its confirmed death.
    Fence,
    /// Forgets expired failures.
    Expire,
    /// Asks whether the resource runs.
    Probe,
    /// Stops it.
    Stop,
    /// Starts it.
    Start,
}

impl ActionKind {
    /// The operation's name.
    #[must_use]
    pub const fn operation(self) -> &'static str {
        match self {
            Self::Fence => "fence",
            Self::Expire => "clear_failcount",
            Self::Probe => "monitor",
            Self::Stop => "stop",
            Self::Start => "start",
        }
    }
}

/// A resource that is not where it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocked {
    /// The resource.
    pub resource: String,
    /// Why, in words.
    pub why: String,
}

impl TransitionGraph {
    /// Nothing has to be done.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.actions.is_empty()
    }
}
