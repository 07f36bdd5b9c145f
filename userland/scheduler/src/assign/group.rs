//! A group: its members one after another, each with the one before.

use cib::Score;

use crate::model::{Flags, NodeId, ResourceId, WorkingSet};

impl WorkingSet<'_> {
    pub(super) fn assign_group(&mut self, id: ResourceId, prefer: Option<NodeId>) -> Option<NodeId> {
        let resource = self.resource(id);
        if !resource.provisional {
            return resource.assigned;
        }
        if resource.assigning {
            return None;
        }
        let members = resource.children.clone();
        let (Some(first), Some(last)) = (members.first().copied(), members.last().copied()) else {
            self.resource_mut(id).provisional = false;
            return None;
        };
        let role = self.resource(first).role;
        let group = self.resource_mut(id);
        (group.assigning, group.role) = (true, role);
        self.hand_down_colocations(id, &members, first, last);
        self.show_scores(id, "pcmk__group_assign");
        let mut placed = None;
        for member in members {
            let node = self.assign(member, prefer);
            placed = placed.or(node);
        }
        let next_role = self.resource(first).next_role;
        let together = self.is_together(id);
        let group = self.resource_mut(id);
        (group.provisional, group.assigning) = (false, false);
        group.next_role = next_role;
        placed.filter(|_| together)
    }

    /// What the group depends on its first member does; what depends on it depends on its last.
    fn hand_down_colocations(
        &mut self,
        id: ResourceId,
        members: &[ResourceId],
        first: ResourceId,
        last: ResourceId,
    ) {
        let group = self.resource_mut(id);
        let this_with = std::mem::take(&mut group.this_with);
        let with_this = std::mem::take(&mut group.with_this);
        for at in &this_with {
            self.insert_colocation(first, *at, true);
        }
        // A member that stays where it is whatever is decided does not take those behind it along.
        let mut unmanaged = !self.resource(first).is(Flags::MANAGED);
        for member in &members[1..] {
            if unmanaged {
                for at in &this_with {
                    if self.colocations[*at].score == Score::INFINITY {
                        self.insert_colocation(*member, *at, true);
                    }
                }
            } else {
                unmanaged = !self.resource(*member).is(Flags::MANAGED);
            }
        }
        for at in with_this {
            self.insert_colocation(last, at, false);
        }
    }
}
