//! What comes before what: orderings as they are configured or follow from what a resource is, edges between actions made
//! of them, and what one action's state means for the next, to a fixed point.

mod flags;
mod probes;
mod read;
mod resolve;
mod update;

pub(crate) use flags::Parts;

use crate::actions::{ActionId, Task};
use crate::model::{Flags, ResourceId, WorkingSet};

/// What an edge means, beyond "first before then". Several may be true at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Kind(u32);

impl Kind {
    /// No edge at all.
    pub(crate) const NONE: Self = Self(0);
    /// Order and nothing else.
    pub(crate) const OPTIONAL: Self = Self(1);
    /// Order only of those that move without live migration.
    pub(crate) const FIRST_NOT_MIGRATABLE: Self = Self(1 << 1);
    /// Required then, required first.
    pub(crate) const IMPLIES_FIRST: Self = Self(1 << 2);
    /// Required first, required then.
    pub(crate) const IMPLIES_THEN: Self = Self(1 << 3);
    /// Required then, required first, if then's resource is promoted now.
    pub(crate) const PROMOTED_IMPLIES_FIRST: Self = Self(1 << 4);
    /// Then must be migratable and runnable for first to be.
    pub(crate) const FIRST_MIGRATABLE: Self = Self(1 << 5);
    /// Unrunnable first, unrunnable then.
    pub(crate) const RUNNABLE_FIRST: Self = Self(1 << 6);
    /// Unrunnable first, and then is no longer a mere pseudo-action.
    pub(crate) const PSEUDO_FIRST: Self = Self(1 << 7);
    /// `IMPLIES_THEN`, for those on first's node.
    pub(crate) const IMPLIES_THEN_ON_NODE: Self = Self(1 << 8);
    /// As `RUNNABLE_FIRST`, for probes.
    pub(crate) const PROBE: Self = Self(1 << 9);
    /// Stop before start of the same.
    pub(crate) const RESTART: Self = Self(1 << 10);
    /// Counts only if both are on one node.
    pub(crate) const SAME_NODE: Self = Self(1 << 11);
    /// Never at the same time.
    pub(crate) const SERIALIZE: Self = Self(1 << 12);
    /// Unrunnable first makes then required and unrunnable.
    pub(crate) const ASYMMETRIC: Self = Self(1 << 13);
    /// Capacity that has to be freed first.
    pub(crate) const LOAD: Self = Self(1 << 14);
    /// One of several firsts is enough.
    pub(crate) const ONE_OR_MORE: Self = Self(1 << 15);
    /// Two that may not be on one node.
    pub(crate) const ANTI_COLOCATION: Self = Self(1 << 16);
    /// Made by the cluster: kept even around a guest's own container.
    pub(crate) const PRESERVE: Self = Self(1 << 17);
    /// Required then makes first superfluous.
    pub(crate) const THEN_CANCELS_FIRST: Self = Self(1 << 18);
    /// Required then puts first into the graph.
    pub(crate) const PRINTS_FIRST: Self = Self(1 << 19);
    /// Required first puts then into the graph.
    pub(crate) const PRINTS_THEN: Self = Self(1 << 20);

    pub(crate) const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    pub(crate) const fn any(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    pub(crate) const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(crate) const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

/// One side of an ordering: an action, or those of a resource with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Action(ActionId),
    Task(ResourceId, Task, u64),
}

impl From<ActionId> for Side {
    fn from(action: ActionId) -> Self {
        Self::Action(action)
    }
}

impl From<(ResourceId, Task)> for Side {
    fn from((resource, task): (ResourceId, Task)) -> Self {
        Self::Task(resource, task, 0)
    }
}

/// `first` before `then`.
#[derive(Clone, Debug)]
pub(crate) struct Ordering {
    pub(crate) first: Side,
    pub(crate) then: Side,
    pub(crate) kind: Kind,
}

impl WorkingSet<'_> {
    /// Notes an ordering. They are resolved to actions once all those are there.
    pub(crate) fn add_ordering(&mut self, first: impl Into<Side>, then: impl Into<Side>, kind: Kind) {
        let ordering = Ordering { first: first.into(), then: then.into(), kind };
        self.actions.orderings.push(ordering.clone());
        self.order_migrations(&ordering);
    }

    pub(crate) fn add_ordering_of(&mut self, first: ResourceId, task: Task, then: ResourceId, kind: Kind) {
        self.add_ordering((first, task), (then, task), kind);
    }

    /// The resource of one side.
    pub(crate) fn side_resource(&self, side: Side) -> Option<ResourceId> {
        match side {
            Side::Action(action) => self.actions[action].resource,
            Side::Task(resource, ..) => Some(resource),
        }
    }

    /// The task of one side.
    pub(crate) fn side_task(&self, side: Side) -> Option<(Task, u64)> {
        match side {
            Side::Action(action) => {
                let action = &self.actions[action];
                action.key_task().map(|task| (task, action.interval_ms()))
            }
            Side::Task(_, task, interval) => Some((task, interval)),
        }
    }

    /// What is ordered by start and stop is ordered by migration, too.
    fn order_migrations(&mut self, ordering: &Ordering) {
        let (Some(first), Some(then)) =
            (self.side_resource(ordering.first), self.side_resource(ordering.then))
        else {
            return;
        };
        let related = first == then || self.is_inside(first, then) || self.is_inside(then, first);
        let then_migratable = self.resource(then).is(Flags::MIGRATABLE);
        if related || !then_migratable {
            return;
        }
        let first_migratable = self.resource(first).is(Flags::MIGRATABLE);
        let not_migrating =
            if first_migratable { Kind::OPTIONAL.with(Kind::FIRST_NOT_MIGRATABLE) } else { Kind::OPTIONAL };
        let partly = self.resource(then).partial_migration.is_some();
        let task = |side| self.side_task(side).filter(|(_, interval)| *interval == 0).map(|(task, _)| task);
        match (task(ordering.first), task(ordering.then)) {
            (Some(Task::START), Some(Task::START)) => {
                if first_migratable {
                    self.add_ordering((first, Task::MIGRATE_FROM), (then, Task::MIGRATE_TO), Kind::OPTIONAL);
                }
                self.add_ordering((first, Task::START), (then, Task::MIGRATE_TO), not_migrating);
            }
            (Some(Task::STOP), Some(Task::STOP)) => {
                self.add_ordering((first, Task::STOP), (then, Task::MIGRATE_TO), not_migrating);
                if partly {
                    self.add_ordering((first, Task::STOP), (then, Task::MIGRATE_FROM), not_migrating);
                }
            }
            (Some(Task::PROMOTE), Some(Task::START)) => {
                self.add_ordering((first, Task::PROMOTE), (then, Task::MIGRATE_TO), Kind::OPTIONAL);
            }
            (Some(Task::DEMOTE), Some(Task::STOP)) => {
                self.add_ordering((first, Task::DEMOTE), (then, Task::MIGRATE_TO), Kind::OPTIONAL);
                if partly {
                    self.add_ordering((first, Task::DEMOTE), (then, Task::MIGRATE_FROM), Kind::OPTIONAL);
                }
            }
            _ => {}
        }
    }

    /// Whether a resource is inside of another at any depth.
    pub(crate) fn is_inside(&self, inner: ResourceId, outer: ResourceId) -> bool {
        let mut at = self.resource(inner).parent;
        while let Some(parent) = at {
            if parent == outer {
                return true;
            }
            at = self.resource(parent).parent;
        }
        false
    }
}
