//! Migrations in the history: what both sides say of where the resource is now.

use crate::model::{Flags, NodeId, ResourceId, Role, WorkingSet};

use super::history::State;
use super::operation::{Operation, Status, compare, rc};

/// The two sides of a migration.
struct Sides {
    source: String,
    target: String,
}

impl<'c> WorkingSet<'c> {
    /// It has left the source, as far as that knows.
    pub(super) fn take_migrate_to(&mut self, state: &State, seen: &Operation<'c>) {
        let id = state.resource;
        let Some(sides) = self.sides(state, seen, true) else { return };
        let name = &state.name;
        let source_went_on = self.went_on(name, state.node, seen, true);
        let target = self.node_named(&sides.target);
        let arrival = target.and_then(|t| self.find_migration(name, t, "migrate_from", &sides));
        if arrival.is_some() && source_went_on {
            return;
        }
        let target_went_on =
            target.is_some_and(|t| self.has_newer_state(name, t, &sides, Some(seen), arrival.as_ref()));
        if source_went_on && target_went_on {
            return;
        }
        if let Some(arrival) = &arrival
            && arrival.rc == rc::OK
            && arrival.status == Status::Done
        {
            // Only its stop on the source is missing.
            let resource = self.resource_mut(id);
            resource.role = Role::Stopped;
            resource.dangling.insert(0, state.node);
            return;
        }
        self.resource_mut(id).role = Role::Started;
        let online = target.is_some_and(|t| self.node(t).online);
        let active_on_target = target.filter(|_| online && !target_went_on);
        let failed = arrival.as_ref().is_some_and(|a| a.status != Status::Pending);
        if failed {
            match active_on_target {
                Some(target) => self.add_running(id, target),
                None => self.give_up_migration(id),
            }
            return;
        }
        if online && target.is_some_and(|t| !self.is_known_by(name, t)) {
            // Its history was cleaned: a probe will tell.
            return;
        }
        if let Some(target) = active_on_target {
            self.add_running(id, target);
            if let Some(source) = self.node_named(&sides.source).filter(|s| self.node(*s).online) {
                self.resource_mut(id).partial_migration = Some((source, target));
            }
        } else if !source_went_on {
            self.give_up_migration(id);
        }
    }

    /// It may be on either side.
    pub(super) fn take_failed_migrate_to(&mut self, state: &State, seen: &Operation<'c>) {
        let id = state.resource;
        let Some(sides) = self.sides(state, seen, true) else { return };
        self.resource_mut(id).role = Role::Started;
        let name = &state.name;
        let target = self.node_named(&sides.target);
        let arrival = target.and_then(|t| self.find_migration(name, t, "migrate_from", &sides));
        let still_there = target.filter(|t| {
            self.is_known_by(name, *t)
                && !self.has_newer_state(name, *t, &sides, Some(seen), arrival.as_ref())
        });
        if let Some(target) = still_there {
            if self.node(target).online {
                self.add_running(id, target);
            }
        } else if !self.went_on(name, state.node, seen, true) {
            self.resource_mut(id).dangling.insert(0, state.node);
        }
    }

    /// It may still be on the source.
    pub(super) fn take_failed_migrate_from(&mut self, state: &State, seen: &Operation<'c>) {
        let id = state.resource;
        let Some(sides) = self.sides(state, seen, false) else { return };
        self.resource_mut(id).role = Role::Started;
        let name = &state.name;
        let source = self.node_named(&sides.source);
        let departure = source.and_then(|s| self.find_migration(name, s, "migrate_to", &sides));
        let still_there = source.filter(|s| {
            self.is_known_by(name, *s)
                && !self.has_newer_state(name, *s, &sides, departure.as_ref(), Some(seen))
        });
        if let Some(source) = still_there.filter(|s| self.node(*s).online) {
            self.add_running(id, source);
        }
    }

    fn give_up_migration(&mut self, id: ResourceId) {
        let resource = self.resource_mut(id);
        resource.set(Flags::FAILED | Flags::MUST_STOP, true);
        resource.set(Flags::MIGRATABLE, false);
    }

    /// Both names, of which the one has to be that of the node that says so.
    fn sides(&self, state: &State, seen: &Operation<'_>, is_source: bool) -> Option<Sides> {
        let get = |name: &str| seen.xml.get(name).map(str::to_owned);
        let sides = Sides { source: get("migrate_source")?, target: get("migrate_target")? };
        let own = if is_source { &sides.source } else { &sides.target };
        own.eq_ignore_ascii_case(&self.node(state.node).name).then_some(sides)
    }

    /// The entries of a resource on a node.
    pub(super) fn entries(&self, name: &str, node: NodeId) -> Vec<Operation<'c>> {
        let known = self.node(node);
        let Some(status) = self.root.child("status") else { return Vec::new() };
        let state = status.children_named("node_state").find(|s| {
            s.get("uname").is_some_and(|n| n.eq_ignore_ascii_case(&known.name)) || s.id() == Some(&known.id)
        });
        let list = state.and_then(|s| s.child("lrm")).and_then(|l| l.child("lrm_resources"));
        let resource = list.and_then(|l| l.children_named("lrm_resource").find(|r| r.id() == Some(name)));
        let entries = resource.into_iter().flat_map(|r| r.children_named("lrm_rsc_op"));
        entries.filter_map(Operation::read).collect()
    }

    fn find_migration(&self, name: &str, node: NodeId, task: &str, sides: &Sides) -> Option<Operation<'c>> {
        self.entries(name, node).into_iter().find(|e| {
            e.task == task
                && if task == "migrate_from" {
                    e.xml.get("migrate_source") == Some(&sides.source)
                } else {
                    e.xml.get("migrate_target") == Some(&sides.target)
                }
        })
    }

    /// Whether something other than a monitor was done on a node after this.
    fn went_on(&self, name: &str, node: NodeId, after: &Operation<'_>, same_node: bool) -> bool {
        self.entries(name, node).iter().any(|e| {
            matches!(e.task, "start" | "stop" | "migrate_to" | "migrate_from")
                && compare(e, after, same_node).is_gt()
        })
    }

    /// Whether what a node says of the migration was overtaken there: something was done, or it was seen not to run.
    fn has_newer_state(
        &self,
        name: &str,
        node: NodeId,
        sides: &Sides,
        departure: Option<&Operation<'_>>,
        arrival: Option<&Operation<'_>>,
    ) -> bool {
        let here = &self.node(node).name;
        // Numbers of calls can be compared on one node only, and say more than times.
        let (after, same_node) = if here.eq_ignore_ascii_case(&sides.target) {
            (arrival.or(departure), arrival.is_some())
        } else if here.eq_ignore_ascii_case(&sides.source) {
            (departure.or(arrival), departure.is_some())
        } else {
            (arrival.or(departure), false)
        };
        let Some(after) = after else { return false };
        self.went_on(name, node, after, same_node)
            || self.entries(name, node).iter().any(|e| {
                e.task == "monitor"
                    && e.rc == rc::NOT_RUNNING
                    && e.status == Status::Done
                    && compare(e, after, same_node).is_gt()
            })
    }

    fn is_known_by(&self, name: &str, node: NodeId) -> bool {
        self.entries(name, node).iter().any(|e| e.rc != rc::UNKNOWN)
    }
}
