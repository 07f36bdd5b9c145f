//! Constraints that follow from what a resource is part of.

use cib::Score;

use crate::assign::trace::Why;
use crate::model::{Flags, ResourceId, Role, Variant, WorkingSet};

use super::colocation::Bond;

pub(crate) const MANDATORY: Bond<'static> = Bond {
    score: Score::INFINITY,
    roles: (Role::Unknown, Role::Unknown),
    attribute: None,
    influence: Some(true),
};

impl WorkingSet<'_> {
    pub(crate) fn add_internal_constraints(&mut self) {
        for id in self.top.clone() {
            self.constrain_within(id);
        }
    }

    fn constrain_within(&mut self, id: ResourceId) {
        match self.resource(id).variant.clone() {
            Variant::Primitive => self.constrain_primitive(id),
            Variant::Group => {
                let together = self.is_together(id);
                let members = self.resource(id).children.clone();
                for (at, member) in members.iter().enumerate() {
                    self.constrain_primitive(*member);
                    if let Some(before) = at.checked_sub(1).filter(|_| together) {
                        self.colocate(*member, members[before], &Bond { influence: None, ..MANDATORY });
                    }
                }
            }
            Variant::Clone(_) => {
                for child in self.resource(id).children.clone() {
                    self.constrain_within(child);
                }
            }
            Variant::Bundle(bundle) => {
                for replica in &bundle.replicas {
                    self.constrain_primitive(replica.container);
                    if let Some(ip) = replica.ip {
                        self.constrain_primitive(ip);
                        self.colocate(ip, replica.container, &MANDATORY);
                    }
                    if let Some(connection) = replica.connection {
                        self.constrain_primitive(connection);
                    }
                }
                if let Some(inside) = bundle.inside {
                    self.constrain_within(inside);
                }
            }
        }
    }

    /// Whether the members of a group are kept in one place, as is usual.
    pub(crate) fn is_together(&self, group: ResourceId) -> bool {
        self.resource(group).meta.get("collocated").and_then(|v| cib::parse_bool(v)) != Some(false)
    }

    fn constrain_primitive(&mut self, id: ResourceId) {
        let resource = self.resource(id);
        if !resource.is(Flags::MANAGED) {
            return;
        }
        let is_connection = resource.is_connection;
        let forbidden_on_remote = is_connection || resource.is(Flags::FENCE_DEVICE);
        if let Some(container) = resource.container {
            let bundled = self.is_bundled(id);
            if is_connection && !bundled {
                // A guest cannot run on what is itself reached over a connection.
                self.avoid_remote_nodes(container, Why::Container);
            }
            match self.guest_of(container).filter(|_| !is_connection) {
                // What runs inside of a guest runs on that and nowhere else.
                Some(guest) => {
                    self.set_scores(id, Score::MINUS_INFINITY, Why::Container, |set, n| {
                        set.node(n).connection != Some(guest)
                    });
                }
                None => {
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
