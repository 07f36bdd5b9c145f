//! Constraints that follow from what a resource is, and what it is part of.

use cib::Score;

use crate::actions::Task;
use crate::assign::nodes::Strategy;
use crate::assign::trace::Why;
use crate::model::{Flags, NodeId, ResourceId, Role, Variant, WorkingSet};
use crate::orderings::Kind;

use super::colocation::Bond;

pub(crate) const MANDATORY: Bond<'static> = Bond {
    id: None,
    score: Score::INFINITY,
    roles: (Role::Unknown, Role::Unknown),
    attribute: None,
    influence: Some(true),
};

/// What the members of a group have in common while they are gone through.
struct Members {
    ordered: bool,
    together: bool,
    promotable: bool,
    previous: Option<ResourceId>,
    last_active: Option<ResourceId>,
}

impl WorkingSet<'_> {
    pub(crate) fn add_internal_constraints(&mut self) {
        for id in self.top.clone() {
            self.constrain_within(id);
        }
    }

    fn constrain_within(&mut self, id: ResourceId) {
        match self.resource(id).variant {
            Variant::Primitive => self.constrain_primitive(id),
            Variant::Group => self.constrain_group(id),
            Variant::Clone(_) => self.constrain_clone(id),
            Variant::Bundle(_) => self.constrain_bundle(id),
        }
    }

    fn constrain_group(&mut self, id: ResourceId) {
        self.order_cycle(id);
        let flag = |name: &str| self.resource(id).meta.get(name).and_then(|v| cib::parse_bool(v));
        let mut members = Members {
            ordered: flag("ordered") != Some(false),
            together: self.is_together(id),
            promotable: self.resource(self.top_of(id)).is(Flags::PROMOTABLE),
            previous: None,
            last_active: None,
        };
        for member in self.resource(id).children.clone() {
            self.constrain_member(id, member, &mut members);
        }
    }

    /// Stopped before start, and each with what completes it.
    fn order_cycle(&mut self, id: ResourceId) {
        self.add_ordering((id, Task::STOPPED), (id, Task::START), Kind::OPTIONAL);
        self.add_ordering((id, Task::START), (id, Task::RUNNING), Kind::RUNNABLE_FIRST);
        self.add_ordering((id, Task::STOP), (id, Task::STOPPED), Kind::RUNNABLE_FIRST);
    }

    fn constrain_member(&mut self, group: ResourceId, member: ResourceId, members: &mut Members) {
        let mut down = Kind::PRINTS_FIRST;
        let mut down_done = Kind::PRINTS_THEN;
        self.constrain_primitive(member);
        match members.previous {
            None if members.ordered => (down, down_done) = (down.with(Kind::OPTIONAL), Kind::IMPLIES_THEN),
            None => {}
            Some(previous) if members.together => {
                self.colocate(member, previous, &Bond { influence: None, ..MANDATORY });
            }
            Some(_) => {}
        }
        let up_done = Kind::RUNNABLE_FIRST.with(Kind::IMPLIES_THEN).with(Kind::PRINTS_THEN);
        let unordered = Kind::IMPLIES_THEN.with(Kind::RUNNABLE_FIRST).with(Kind::PRINTS_FIRST);
        if members.promotable {
            self.add_ordering_of(group, Task::DEMOTE, member, down);
            self.add_ordering((member, Task::DEMOTE), (group, Task::DEMOTED), down_done);
            self.add_ordering((member, Task::PROMOTE), (group, Task::PROMOTED), up_done);
            self.add_ordering_of(group, Task::PROMOTE, member, Kind::PRINTS_FIRST);
        }
        self.add_ordering_of(group, Task::STOP, member, down);
        self.add_ordering((member, Task::STOP), (group, Task::STOPPED), down_done);
        self.add_ordering_of(group, Task::START, member, Kind::PRINTS_FIRST);
        self.add_ordering((member, Task::START), (group, Task::RUNNING), up_done);
        if !members.ordered {
            self.add_ordering_of(group, Task::START, member, unordered);
            if members.promotable {
                self.add_ordering_of(group, Task::PROMOTE, member, unordered);
            }
        } else if let Some(previous) = members.previous {
            let up = Kind::IMPLIES_THEN.with(Kind::RUNNABLE_FIRST);
            self.add_ordering_of(previous, Task::START, member, up);
            self.add_ordering_of(member, Task::STOP, previous, Kind::OPTIONAL.with(Kind::RESTART));
            if members.promotable {
                self.add_ordering_of(previous, Task::PROMOTE, member, up);
                self.add_ordering_of(member, Task::DEMOTE, previous, Kind::OPTIONAL);
            }
        }
        if !self.resource(member).running_on.is_empty() {
            let gap = members.previous.is_some_and(|p| self.resource(p).running_on.is_empty());
            if let Some(last) = members.last_active.filter(|_| members.ordered && gap) {
                self.add_ordering_of(member, Task::STOP, last, Kind::OPTIONAL);
            }
            members.last_active = Some(member);
        }
        members.previous = Some(member);
    }

    fn constrain_clone(&mut self, id: ResourceId) {
        let Variant::Clone(instances) = &self.resource(id).variant else { return };
        let ordered = instances.ordered;
        let promotable = self.resource(id).is(Flags::PROMOTABLE);
        self.order_cycle(id);
        if promotable {
            self.add_ordering((id, Task::DEMOTED), (id, Task::STOP), Kind::OPTIONAL);
            self.add_ordering((id, Task::RUNNING), (id, Task::PROMOTE), Kind::RUNNABLE_FIRST);
        }
        if ordered {
            self.sort_by_number(id);
        }
        let mut last = None;
        for child in self.resource(id).children.clone() {
            self.constrain_within(child);
            self.add_ordering_of(id, Task::START, child, Kind::RUNNABLE_FIRST.with(Kind::PRINTS_FIRST));
            self.add_ordering((child, Task::START), (id, Task::RUNNING), Kind::PRINTS_THEN);
            if let Some(last) = last.filter(|_| ordered) {
                self.add_ordering_of(last, Task::START, child, Kind::OPTIONAL);
            }
            self.add_ordering_of(id, Task::STOP, child, Kind::PRINTS_FIRST);
            self.add_ordering((child, Task::STOP), (id, Task::STOPPED), Kind::PRINTS_THEN);
            if let Some(last) = last.filter(|_| ordered) {
                self.add_ordering_of(child, Task::STOP, last, Kind::OPTIONAL);
            }
            last = Some(child);
        }
        if promotable {
            self.order_roles(id, ordered);
        }
    }

    fn order_roles(&mut self, id: ResourceId, ordered: bool) {
        self.order_role_cycle(id);
        let mut last: Option<ResourceId> = None;
        for child in self.resource(id).children.clone() {
            self.add_ordering((child, Task::DEMOTE), (child, Task::PROMOTE), Kind::OPTIONAL);
            self.add_ordering_of(id, Task::PROMOTE, child, Kind::OPTIONAL);
            self.add_ordering((child, Task::PROMOTE), (id, Task::PROMOTED), Kind::OPTIONAL);
            if let Some(last) = last.filter(|_| ordered) {
                self.add_ordering_of(last, Task::PROMOTE, child, Kind::OPTIONAL);
            }
            self.add_ordering_of(id, Task::DEMOTE, child, Kind::PRINTS_FIRST);
            self.add_ordering((child, Task::DEMOTE), (id, Task::DEMOTED), Kind::PRINTS_THEN);
            if let Some(last) = last.filter(|_| ordered) {
                self.add_ordering_of(child, Task::DEMOTE, last, Kind::OPTIONAL);
            }
            last = Some(child);
        }
    }

    /// All the way down before any goes up.
    fn order_role_cycle(&mut self, id: ResourceId) {
        for (first, then) in [
            (Task::STOPPED, Task::START),
            (Task::STOPPED, Task::PROMOTE),
            (Task::DEMOTED, Task::START),
            (Task::RUNNING, Task::PROMOTE),
            (Task::DEMOTED, Task::STOP),
            (Task::DEMOTE, Task::DEMOTED),
            (Task::DEMOTED, Task::PROMOTE),
        ] {
            self.add_ordering((id, first), (id, then), Kind::OPTIONAL);
        }
    }

    fn constrain_bundle(&mut self, id: ResourceId) {
        let Variant::Bundle(bundle) = self.resource(id).variant.clone() else { return };
        if let Some(inside) = bundle.inside {
            self.add_ordering_of(id, Task::START, inside, Kind::PRINTS_FIRST);
            self.add_ordering_of(id, Task::STOP, inside, Kind::PRINTS_FIRST);
            self.add_ordering_of(inside, Task::RUNNING, id, Kind::PRINTS_THEN);
            self.add_ordering_of(inside, Task::STOPPED, id, Kind::PRINTS_THEN);
        }
        for replica in &bundle.replicas {
            let container = replica.container;
            self.constrain_primitive(container);
            self.add_ordering_of(id, Task::START, container, Kind::RUNNABLE_FIRST.with(Kind::PRINTS_FIRST));
            if let Some(child) = replica.child {
                self.add_ordering_of(id, Task::STOP, child, Kind::PRINTS_FIRST);
            }
            self.add_ordering_of(id, Task::STOP, container, Kind::PRINTS_FIRST);
            self.add_ordering((container, Task::START), (id, Task::RUNNING), Kind::PRINTS_THEN);
            self.add_ordering((container, Task::STOP), (id, Task::STOPPED), Kind::PRINTS_THEN);
            if let Some(ip) = replica.ip {
                self.constrain_primitive(ip);
                self.add_ordering_of(ip, Task::START, container, Kind::RUNNABLE_FIRST.with(Kind::PRESERVE));
                self.add_ordering_of(container, Task::STOP, ip, Kind::IMPLIES_FIRST.with(Kind::PRESERVE));
                self.colocate(ip, container, &MANDATORY);
            }
            if let Some(connection) = replica.connection {
                self.constrain_primitive(connection);
            }
        }
        let Some(inside) = bundle.inside else { return };
        self.constrain_within(inside);
        if self.resource(inside).is(Flags::PROMOTABLE) {
            self.order_role_cycle(id);
            self.add_ordering_of(inside, Task::DEMOTED, id, Kind::PRINTS_THEN);
            self.add_ordering_of(id, Task::DEMOTE, inside, Kind::PRINTS_FIRST);
            self.add_ordering_of(inside, Task::PROMOTED, id, Kind::PRINTS_THEN);
            self.add_ordering_of(id, Task::PROMOTE, inside, Kind::PRINTS_FIRST);
        }
    }

    /// Whether the members of a group are kept in one place, as is usual.
    pub(crate) fn is_together(&self, group: ResourceId) -> bool {
        self.resource(group).meta.get("collocated").and_then(|v| cib::parse_bool(v)) != Some(false)
    }

    /// Orderings among a primitive's own actions, and with what its nodes have to be.
    fn order_primitive(&mut self, id: ResourceId) {
        let restart = Kind::OPTIONAL.with(Kind::IMPLIES_THEN).with(Kind::RESTART);
        self.add_ordering((id, Task::STOP), (id, Task::START), restart);
        if self.resource(self.top_of(id)).is(Flags::PROMOTABLE) || self.resource(id).role > Role::Unpromoted {
            self.add_ordering((id, Task::DEMOTE), (id, Task::STOP), Kind::PROMOTED_IMPLIES_FIRST);
            self.add_ordering((id, Task::START), (id, Task::PROMOTE), Kind::RUNNABLE_FIRST);
        }
        let unless_probed = Kind::SAME_NODE.with(Kind::THEN_CANCELS_FIRST);
        self.add_ordering((id, Task::LRM_DELETE), (id, Task::MONITOR), unless_probed);
        let allowed: Vec<NodeId> =
            self.by_name.iter().copied().filter(|n| self.score_on(id, *n).is_some()).collect();
        let resource = self.resource(id);
        if !resource.is(Flags::FENCE_DEVICE) && self.unfencing && resource.is(Flags::NEEDS_UNFENCING) {
            for node in &allowed {
                let unfence = self.fence_action(*node, Some("on"), true, None);
                self.add_ordering((id, Task::STOP), unfence, Kind::OPTIONAL.with(Kind::SAME_NODE));
                let kind = Kind::IMPLIES_THEN_ON_NODE.with(Kind::SAME_NODE);
                self.add_ordering(unfence, (id, Task::START), kind);
            }
        }
        if self.strategy() != Strategy::Default && !self.needs(id).is_empty() {
            for node in self.resource(id).running_on.clone() {
                let stopped = self.load_stopped(node);
                self.add_ordering((id, Task::STOP), stopped, Kind::LOAD);
            }
            for node in &allowed {
                let stopped = self.load_stopped(*node);
                self.add_ordering(stopped, (id, Task::START), Kind::LOAD);
                self.add_ordering(stopped, (id, Task::MIGRATE_TO), Kind::LOAD);
            }
        }
    }

    /// That all has been stopped on a node whose capacity others wait for.
    fn load_stopped(&mut self, node: NodeId) -> crate::actions::ActionId {
        let name = format!("load_stopped_{}", self.node(node).name);
        let stopped = self.pseudo_action(&name);
        if self.actions[stopped].node.is_none() {
            self.actions[stopped].node = Some(node);
            self.clear_is(stopped, crate::actions::Is::OPTIONAL);
        }
        stopped
    }

    fn constrain_primitive(&mut self, id: ResourceId) {
        let resource = self.resource(id);
        if !resource.is(Flags::MANAGED) {
            return;
        }
        let is_connection = resource.is_connection;
        let forbidden_on_remote = is_connection || resource.is(Flags::FENCE_DEVICE);
        let container = resource.container;
        self.order_primitive(id);
        if let Some(container) = container {
            let bundled = self.is_bundled(id);
            if is_connection {
                if !bundled {
                    // A guest cannot run on what is itself reached over a connection.
                    self.avoid_remote_nodes(container, Why::Container);
                }
                // Should the container be found to run, the connection need not be made anew.
                self.add_ordering((container, Task::MONITOR), (id, Task::STOP), Kind::OPTIONAL);
            }
            match self.guest_of(container).filter(|_| !is_connection) {
                // What runs inside of a guest runs on that and nowhere else.
                Some(guest) => {
                    self.set_scores(id, Score::MINUS_INFINITY, Why::Container, |set, n| {
                        set.node(n).connection != Some(guest)
                    });
                }
                None => {
                    let up = Kind::IMPLIES_THEN.with(Kind::RUNNABLE_FIRST);
                    self.add_ordering_of(container, Task::START, id, up);
                    self.add_ordering_of(id, Task::STOP, container, Kind::IMPLIES_FIRST);
                    // The connection to a replica can be made from elsewhere, too.
                    let score = if bundled { Score::new(10_000) } else { Score::INFINITY };
                    self.colocate(id, container, &Bond { score, ..MANDATORY });
                }
            }
        }
        if forbidden_on_remote {
            self.avoid_remote_nodes(id, Why::RemoteNode);
        }
    }

    fn avoid_remote_nodes(&mut self, id: ResourceId, why: Why) {
        self.set_scores(id, Score::MINUS_INFINITY, why, |set, n| set.node(n).connection.is_some());
    }

    /// The connection to the guest or remote node that a container is.
    fn guest_of(&self, container: ResourceId) -> Option<ResourceId> {
        let resource = self.resource(container);
        if resource.is_connection {
            return Some(container);
        }
        resource.fillers.iter().copied().find(|f| self.resource(*f).is_connection)
    }
}
