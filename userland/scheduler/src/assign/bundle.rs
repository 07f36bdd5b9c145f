//! A bundle: its containers are given to nodes as instances are, then each replica's parts, then what runs inside.

use cib::Score;

use crate::constraints::MANDATORY;
use crate::model::{Flags, NodeId, ResourceId, Role, Variant, WorkingSet};

use super::trace::Why;

impl WorkingSet<'_> {
    pub(super) fn assign_bundle(&mut self, id: ResourceId) -> Option<NodeId> {
        // Every look at it shows its scores anew, also one from inside of it: its parts know themselves what is under way.
        let Variant::Bundle(bundle) = self.resource(id).variant.clone() else { return None };
        self.resource_mut(id).assigning = true;
        self.show_scores(id, "pcmk__bundle_allocate");
        let mut containers: Vec<ResourceId> = bundle.replicas.iter().map(|r| r.container).collect();
        self.sort_instances(id, &mut containers);
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
            self.set_scores(inside, Score::ZERO, Why::Replica, |_, n| guests.contains(&n));
            self.set_scores(inside, Score::MINUS_INFINITY, Why::Replica, |_, n| !guests.contains(&n));
            self.assign(inside, None);
        }
        let resource = self.resource_mut(id);
        (resource.provisional, resource.assigning) = (false, false);
        None
    }

    /// What runs inside of a replica runs on its guest, unless it has failed there too often.
    fn assign_inside(&mut self, child: ResourceId, guest: NodeId) {
        let worn_out = self.has_failed_too_often(child, guest);
        self.set_scores(child, Score::MINUS_INFINITY, Why::Replica, |_, n| n != guest);
        if !worn_out {
            self.set_scores(child, Score::INFINITY, Why::Replica, |_, n| n == guest);
        }
        let Some(clone) = self.resource(child).parent else { return };
        self.resource_mut(clone).assigning = true;
        self.assign(child, Some(guest));
        self.resource_mut(clone).assigning = false;
    }

    pub(super) fn colocate_with_bundle(&mut self, dependent: ResourceId, primary: ResourceId, at: usize) {
        let bundle = self.resource(primary);
        if bundle.provisional {
            return;
        }
        let Variant::Bundle(bundle) = bundle.variant.clone() else { return };
        let colocation = &self.colocations[at];
        let (score, role) = (colocation.score, colocation.primary_role);
        let containers: Vec<ResourceId> = bundle.replicas.iter().map(|r| r.container).collect();
        if matches!(self.resource(colocation.dependent).variant, Variant::Clone(_) | Variant::Bundle(_)) {
            match self.partner(dependent, &containers, Role::Unknown) {
                Some(partner) => self.apply_colocation(dependent, partner, at),
                None if score == Score::INFINITY => self.place_nowhere(dependent),
                None => {}
            }
            return;
        }
        if score < Score::INFINITY {
            for container in containers {
                self.apply_to_dependent(dependent, container, at);
            }
            return;
        }
        let counts = |replica: &&crate::model::Replica| {
            !self.resource(replica.container).is(Flags::BLOCKED)
                && (role < Role::Promoted
                    || replica.child.is_some_and(|c| self.resource(c).next_role >= Role::Promoted))
        };
        let hosts: Vec<(NodeId, Score)> = bundle
            .replicas
            .iter()
            .filter(counts)
            .filter_map(|r| self.placed_with_score(r.container))
            .collect();
        self.restrict_to(dependent, &hosts, false, at);
    }
}
