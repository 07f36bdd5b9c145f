//! A bundle: its containers are given to nodes as instances are, then each replica's parts, then what runs inside.

use cib::Score;

use crate::constraints::{Colocation, MANDATORY};
use crate::model::{Flags, NodeId, ResourceId, Role, Variant, WorkingSet};

impl WorkingSet<'_> {
    pub(super) fn assign_bundle(&mut self, id: ResourceId) -> Option<NodeId> {
        // Every look at it shows its scores anew.
        if self.resource(id).assigning {
            return None;
        }
        let Variant::Bundle(bundle) = self.resource(id).variant.clone() else { return None };
        self.resource_mut(id).assigning = true;
        self.show_scores(id, "pcmk__bundle_allocate");
        let containers: Vec<ResourceId> = bundle.replicas.iter().map(|r| r.container).collect();
        let max = bundle.replicas.len() as u32;
        self.distribute(id, &containers, max, bundle.per_host);
        for replica in &bundle.replicas {
            if let Some(ip) = replica.ip {
                self.assign(ip, None);
            }
            if let Some(connection) = replica.connection {
                // A remote node can hold connections only where its own is.
                let host = self.resource(replica.container).assigned;
                if let Some(through) = host.and_then(|h| self.node(h).connection) {
                    self.colocate(connection, through, &MANDATORY);
                }
                self.assign(connection, None);
            }
            if let (Some(child), Some(guest)) = (replica.child, replica.guest) {
                self.assign_inside(child, guest);
            }
        }
        if let Some(inside) = bundle.inside {
            let guests: Vec<NodeId> = bundle.replicas.iter().filter_map(|r| r.guest).collect();
            for (at, entry) in self.resource_mut(inside).allowed.iter_mut().enumerate() {
                if let Some(score) = entry {
                    let own = guests.iter().any(|g| g.0 as usize == at);
                    *score = if own { Score::ZERO } else { Score::MINUS_INFINITY };
                }
            }
            self.assign(inside, None);
        }
        let resource = self.resource_mut(id);
        (resource.provisional, resource.assigning) = (false, false);
        None
    }

    /// What runs inside of a replica runs on its guest, unless it has failed there too often.
    fn assign_inside(&mut self, child: ResourceId, guest: NodeId) {
        let worn_out = self.has_failed_too_often(child, guest);
        for (at, entry) in self.resource_mut(child).allowed.iter_mut().enumerate() {
            let Some(score) = entry else { continue };
            if at != guest.0 as usize {
                *score = Score::MINUS_INFINITY;
            } else if !worn_out {
                *score = Score::INFINITY;
            }
        }
        let Some(clone) = self.resource(child).parent else { return };
        let before = std::mem::replace(&mut self.resource_mut(clone).assigning, true);
        self.assign(child, Some(guest));
        self.resource_mut(clone).assigning = before;
    }

    pub(super) fn colocate_with_bundle(
        &mut self,
        dependent: ResourceId,
        primary: ResourceId,
        colocation: &Colocation,
    ) {
        let bundle = self.resource(primary);
        if bundle.provisional {
            return;
        }
        let Variant::Bundle(bundle) = bundle.variant.clone() else { return };
        let promoted = colocation.primary_role == Role::Promoted;
        let counts = |set: &Self, replica: &crate::model::Replica| {
            !promoted || replica.child.is_some_and(|c| set.resource(c).next_role == Role::Promoted)
        };
        let hosts: Vec<(NodeId, Score)> = bundle
            .replicas
            .iter()
            .filter(|r| counts(self, r) && !self.resource(r.container).is(Flags::BLOCKED))
            .filter_map(|r| self.assigned_with_score(r.container))
            .collect();
        if colocation.score == Score::INFINITY {
            self.restrict_to(dependent, &hosts, false);
            return;
        }
        for replica in &bundle.replicas {
            if counts(self, replica) {
                let plain = Colocation { primary_role: Role::Unknown, ..colocation.clone() };
                self.apply_colocation(dependent, replica.container, &plain);
            }
        }
    }
}
