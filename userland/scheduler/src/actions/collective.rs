//! Groups, clones and bundles: their parts' actions, and points of order for all of them together.

use crate::model::{Flags, ResourceId, Variant, WorkingSet};
use crate::orderings::Kind;

use super::{ActionId, Is, Task};

/// What instances do.
#[derive(Clone, Copy, Debug, Default)]
struct Doing {
    starting: bool,
    stopping: bool,
}

impl WorkingSet<'_> {
    pub(super) fn create_group_actions(&mut self, id: ResourceId) {
        for member in self.resource(id).children.clone() {
            self.create_actions(member);
        }
        let point = |set: &mut Self, task| {
            let action = set.action(id, (task, 0), None, true);
            set.set_is(action, Is::PSEUDO.with(Is::RUNNABLE));
        };
        for task in [Task::START, Task::RUNNING, Task::STOP, Task::STOPPED] {
            point(self, task);
        }
        let promotable =
            self.resource(id).meta.get("promotable").or_else(|| self.resource(id).meta.get("master"));
        if promotable.and_then(|v| cib::parse_bool(v)).unwrap_or(false) {
            for task in [Task::DEMOTE, Task::DEMOTED, Task::PROMOTE, Task::PROMOTED] {
                point(self, task);
            }
        }
    }

    /// A point of order of a resource's.
    pub(crate) fn point(&mut self, id: ResourceId, task: Task, optional: bool, runnable: bool) -> ActionId {
        let action = self.action(id, (task, 0), None, optional);
        self.set_is(action, Is::PSEUDO);
        if runnable {
            self.set_is(action, Is::RUNNABLE);
        }
        action
    }

    pub(super) fn create_clone_actions(&mut self, id: ResourceId) {
        let instances = self.resource(id).children.clone();
        let doing = self.create_instance_actions(&instances);
        self.create_start_and_stop(id, doing);
        if matches!(&self.resource(id).variant, Variant::Clone(i) if i.ordered) {
            self.sort_by_number(id);
            let instances = self.resource(id).children.clone();
            self.chain_instances(&instances);
        }
        if self.resource(id).is(Flags::PROMOTABLE) {
            self.create_promotable_actions(id);
        }
    }

    /// Actions of instances, and what they come to. A clone with instances that do both cannot let others migrate meanwhile.
    fn create_instance_actions(&mut self, instances: &[ResourceId]) -> (Doing, bool) {
        let mut all = Doing::default();
        let mut one_does_both = false;
        for instance in instances {
            self.create_actions(*instance);
            let mut doing = Doing::default();
            self.look_what_is_done(*instance, &mut doing);
            one_does_both |= doing.starting && doing.stopping;
            all.starting |= doing.starting;
            all.stopping |= doing.stopping;
        }
        (all, one_does_both)
    }

    fn create_start_and_stop(&mut self, id: ResourceId, (doing, one_does_both): (Doing, bool)) {
        let start = self.point(id, Task::START, !doing.starting, true);
        let running = self.point(id, Task::RUNNING, !doing.starting, true);
        self.actions[running].urgent = true;
        let start_notices = self.notices(id, Task::START, start, running);
        let stop = self.point(id, Task::STOP, !doing.stopping, true);
        let stopped = self.point(id, Task::STOPPED, !doing.stopping, true);
        self.actions[stopped].urgent = true;
        if !one_does_both {
            self.set_is(stop, Is::MIGRATABLE);
        }
        let stop_notices = self.notices(id, Task::STOP, stop, stopped);
        if let (Some(start), Some(stop)) = (&start_notices, &stop_notices) {
            self.order(stop.post_done, start.pre, Kind::OPTIONAL);
        }
        self.notices.extend(start_notices);
        self.notices.extend(stop_notices);
    }

    fn look_what_is_done(&self, id: ResourceId, doing: &mut Doing) {
        let children = &self.resource(id).children;
        for child in children {
            self.look_what_is_done(*child, doing);
        }
        if !children.is_empty() {
            return;
        }
        for action in self.actions.of(id) {
            let action = &self.actions[*action];
            if action.is.has(Is::OPTIONAL) || !action.is.has(Is::PSEUDO) && !action.is.has(Is::RUNNABLE) {
                continue;
            }
            match action.task {
                Task::STOP => doing.stopping = true,
                Task::START if action.is.has(Is::RUNNABLE) => doing.starting = true,
                _ => {}
            }
        }
    }

    /// Those that have to, one after another up, and down the other way round.
    fn chain_instances(&mut self, instances: &[ResourceId]) {
        let (mut last_stop, mut last_start) = (None, None);
        for instance in instances {
            let required =
                |set: &Self, task| set.latest_by_key(*instance, task).filter(|a| !set.is(*a, Is::OPTIONAL));
            if let Some(stop) = required(self, Task::STOP)
                && let Some(last) = last_stop.replace(stop)
            {
                self.order(stop, last, Kind::OPTIONAL);
            }
            if let Some(start) = required(self, Task::START)
                && let Some(last) = last_start.replace(start)
            {
                self.order(last, start, Kind::OPTIONAL);
            }
        }
    }

    /// Puts instances in the order of their numbers.
    pub(crate) fn sort_by_number(&mut self, id: ResourceId) {
        let number = |set: &Self, id: ResourceId| {
            let id = &set.resource(id).id;
            id.rsplit_once(':').and_then(|(_, n)| n.parse::<u64>().ok()).unwrap_or(0)
        };
        let mut children = self.resource(id).children.clone();
        children.sort_by_key(|c| number(self, *c));
        self.resource_mut(id).children = children;
    }

    fn create_promotable_actions(&mut self, id: ResourceId) {
        let changes = |set: &Self, task: Task| {
            fn any(set: &WorkingSet<'_>, id: ResourceId, task: Task) -> bool {
                let children = &set.resource(id).children;
                if !children.is_empty() {
                    return children.iter().any(|c| any(set, *c, task));
                }
                let mut own = set.actions.of(id).iter().map(|a| &set.actions[*a]);
                own.any(|a| a.task == task && !a.is.has(Is::OPTIONAL))
            }
            set.resource(id).children.iter().any(|c| any(set, *c, task))
        };
        let (promoting, demoting) = (changes(self, Task::PROMOTE), changes(self, Task::DEMOTE));
        let promote = self.point(id, Task::PROMOTE, !promoting, true);
        let promoted = self.point(id, Task::PROMOTED, !promoting, true);
        self.actions[promoted].urgent = true;
        let promote_notices = self.notices(id, Task::PROMOTE, promote, promoted);
        let demote = self.point(id, Task::DEMOTE, !demoting, true);
        let demoted = self.point(id, Task::DEMOTED, !demoting, true);
        self.actions[demoted].urgent = true;
        let demote_notices = self.notices(id, Task::DEMOTE, demote, demoted);
        let of = |set: &Self, task| {
            set.notices.iter().find(|n| n.clone == id && n.task == task).map(|n| (n.pre, n.post_done))
        };
        let (start, stop) = (of(self, Task::START), of(self, Task::STOP));
        if let (Some(promote), Some(demote), Some(start), Some(stop)) =
            (&promote_notices, &demote_notices, start, stop)
        {
            for (first, then) in [
                (stop.1, promote.pre),
                (start.1, promote.pre),
                (demote.post_done, promote.pre),
                (demote.post_done, start.0),
                (demote.post_done, stop.0),
            ] {
                self.order(first, then, Kind::OPTIONAL);
            }
        }
        self.notices.extend(promote_notices);
        self.notices.extend(demote_notices);
        // The order in which they were promoted says nothing any more.
        let priority = self.resource(id).priority;
        for child in self.resource(id).children.clone() {
            self.resource_mut(child).priority = priority;
        }
    }

    pub(super) fn create_bundle_actions(&mut self, id: ResourceId) {
        let Variant::Bundle(bundle) = self.resource(id).variant.clone() else { return };
        let containers: Vec<ResourceId> = bundle.replicas.iter().map(|r| r.container).collect();
        for replica in &bundle.replicas {
            for part in [replica.ip, Some(replica.container), replica.connection].into_iter().flatten() {
                self.create_actions(part);
            }
        }
        let doing = self.create_instance_actions(&containers);
        self.create_start_and_stop(id, doing);
        if let Some(inside) = bundle.inside {
            self.create_actions(inside);
            if self.resource(inside).is(Flags::PROMOTABLE) {
                // Points of order by the bundle's own name.
                for task in [Task::PROMOTE, Task::PROMOTED, Task::DEMOTE, Task::DEMOTED] {
                    let point = self.point(id, task, true, true);
                    if task == Task::PROMOTED || task == Task::DEMOTED {
                        self.actions[point].urgent = true;
                    }
                }
            }
        }
    }
}
