//! Constraints that follow from what a resource is part of.

use cib::Score;

use crate::model::{NodeKind, ResourceId, Role, Variant, WorkingSet};

use super::colocation::Bond;

pub(crate) const MANDATORY: Bond<'static> =
    Bond { score: Score::INFINITY, roles: (Role::Unknown, Role::Unknown), attribute: None, influence: None };

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
                        self.colocate(*member, members[before], &MANDATORY);
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
        let forbidden_on_remote = resource.is_connection || resource.is(crate::model::Flags::FENCE_DEVICE);
        let guest = resource.container.and_then(|c| self.guest_of(c));
        if let Some(container) = resource.container {
            let bundled = self.is_bundled(id);
            match guest.filter(|_| !self.resource(id).is_connection) {
                // What runs inside of a guest runs on that and nowhere else.
                Some(guest) => {
                    for at in 0..self.nodes.len() {
                        if at != guest.0 as usize
                            && let Some(Some(score)) = self.resource_mut(id).allowed.get_mut(at)
                        {
                            *score = Score::MINUS_INFINITY;
                        }
                    }
                }
                None => {
                    // The connection to a replica can be made from elsewhere, too.
                    let score = if bundled { Score::new(10_000) } else { Score::INFINITY };
                    self.colocate(id, container, &Bond { score, influence: Some(true), ..MANDATORY });
                }
            }
        }
        if forbidden_on_remote {
            for at in 0..self.nodes.len() {
                if self.nodes[at].kind == NodeKind::Remote
                    && let Some(Some(score)) = self.resource_mut(id).allowed.get_mut(at)
                {
                    *score = Score::MINUS_INFINITY;
                }
            }
        }
    }

    /// The guest node that a container is.
    fn guest_of(&self, container: ResourceId) -> Option<crate::model::NodeId> {
        let fillers = &self.resource(container).fillers;
        let connection = fillers.iter().find(|f| self.resource(**f).is_connection)?;
        self.node_named(&self.resource(*connection).id)
    }
}
