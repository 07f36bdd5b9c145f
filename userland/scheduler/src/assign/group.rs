//! A group: its members one after another, each with the one before.

use crate::model::{NodeId, ResourceId, WorkingSet};

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
        // What the group depends on its first member does; what depends on it depends on its last.
        let this_with = std::mem::take(&mut group.this_with);
        let with_this = std::mem::take(&mut group.with_this);
        // A member that stays where it is whatever is decided does not take those behind it along.
        let mut unmanaged = false;
        for member in &members[1..] {
            let before = members[members.iter().position(|m| m == member).unwrap_or(1) - 1];
            unmanaged |= !self.resource(before).is(crate::model::Flags::MANAGED);
            if unmanaged && self.resource(*member).is(crate::model::Flags::MANAGED) {
                let mandatory =
                    this_with.iter().copied().filter(|c| self.colocations[*c].score == cib::Score::INFINITY);
                let mandatory: Vec<usize> = mandatory.collect();
                self.resource_mut(*member).this_with.extend(mandatory);
            }
        }
        self.resource_mut(first).this_with.extend(this_with);
        self.resource_mut(last).with_this.extend(with_this);
        self.show_scores(id, "pcmk__group_assign");
        let mut placed = None;
        for member in members {
            let node = self.assign(member, prefer);
            placed = placed.or(node);
        }
        let next_role = self.resource(first).next_role;
        let group = self.resource_mut(id);
        (group.provisional, group.assigning) = (false, false);
        (group.next_role, group.assigned) = (next_role, placed);
        placed
    }
}
