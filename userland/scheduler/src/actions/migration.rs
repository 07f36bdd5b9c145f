//! Live migration: two steps in place of a stop and a start, which stay as points of order.

use crate::model::{Flags, NodeId, ResourceId, WorkingSet};
use crate::orderings::Kind;

use super::{Is, Task};

impl WorkingSet<'_> {
    pub(super) fn can_migrate(&self, id: ResourceId, current: NodeId) -> bool {
        let resource = self.resource(id);
        resource.is(Flags::MIGRATABLE | Flags::MANAGED)
            && !resource.is(Flags::FAILED)
            && !resource.is(Flags::START_PENDING)
            && !self.node(current).unclean
            && resource.assigned.is_some_and(|n| !self.node(n).unclean)
    }

    pub(super) fn create_migration(&mut self, id: ResourceId, current: NodeId) {
        let target = self.resource(id).assigned;
        let start = self.start(id, true);
        let stop = self.stop(id, current, true);
        let begun = self.resource(id).partial_migration.is_some();
        let migrate_to = (!begun).then(|| self.action(id, (Task::MIGRATE_TO, 0), Some(current), true));
        let migrate_from = self.action(id, (Task::MIGRATE_FROM, 0), target, true);
        for action in [start, stop, migrate_from].into_iter().chain(migrate_to) {
            self.set_is(action, Is::MIGRATABLE);
        }
        self.set_is(start, Is::PSEUDO);
        let needs = self.actions[start].needs;
        let chain = Kind::OPTIONAL.with(Kind::FIRST_MIGRATABLE);
        if let Some(migrate_to) = migrate_to {
            self.actions[migrate_to].needs = needs;
            self.add_ordering_within(id, Task::MONITOR, Task::MIGRATE_TO, Kind::OPTIONAL);
            self.add_ordering_within(id, Task::MIGRATE_TO, Task::MIGRATE_FROM, chain);
        } else {
            self.actions[migrate_from].needs = needs;
            self.add_ordering_within(id, Task::MONITOR, Task::MIGRATE_FROM, Kind::OPTIONAL);
        }
        self.add_ordering_within(id, Task::MIGRATE_FROM, Task::STOP, chain);
        self.add_ordering_within(id, Task::MIGRATE_FROM, Task::START, chain.with(Kind::PSEUDO_FIRST));
        let name = |node: NodeId| self.node(node).name.clone();
        let (from, to) = (name(current), target.map(name).unwrap_or_default());
        for action in migrate_to.into_iter().chain([migrate_from]) {
            self.actions[action].set_meta("migrate_source", from.clone());
            self.actions[action].set_meta("migrate_target", to.clone());
        }
        // It may touch the target, too: that it is under way has to be known should the source die.
        if let Some(migrate_to) = migrate_to.filter(|_| !self.resource(id).is_connection) {
            self.actions[migrate_to].set_meta("record-pending", "true");
        }
    }

    fn add_ordering_within(&mut self, id: ResourceId, first: Task, then: Task, kind: Kind) {
        self.add_ordering((id, first), (id, then), kind);
    }
}
