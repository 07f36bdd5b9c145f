//! A primitive: scores by what it depends on and what depends on it, then the best node.

use cib::Score;

use crate::model::{Flags, NoQuorumPolicy, NodeId, ResourceId, Role, Variant, WorkingSet};

use super::colocate::How;
use super::trace::Why;

impl WorkingSet<'_> {
    pub(super) fn assign_primitive(&mut self, id: ResourceId, prefer: Option<NodeId>) -> Option<NodeId> {
        if let Some(parent) = self.resource(id).parent
            && !self.resource(parent).assigning
        {
            self.assign(parent, prefer);
        }
        let resource = self.resource(id);
        if !resource.provisional {
            return resource.assigned;
        }
        if resource.assigning {
            // A loop of dependencies: whoever began it goes on.
            return None;
        }
        self.resource_mut(id).assigning = true;
        // The list may grow meanwhile: what is added then is not looked at any more where it comes first.
        for at in self.resource(id).this_with.clone() {
            self.apply_this_with(id, at);
        }
        self.add_dependents(id, How { active: true, ..How::default() });
        let resource = self.resource(id);
        let freeze = !self.have_quorum && self.options.no_quorum_policy == NoQuorumPolicy::Freeze;
        if resource.next_role == Role::Stopped {
            self.place_everywhere(id, Score::MINUS_INFINITY, Why::TargetRole);
        } else if resource.next_role > resource.role && freeze {
            let role = resource.role;
            self.resource_mut(id).next_role = role;
        }
        self.show_scores(id, "pcmk__primitive_assign");
        if self.options.fencing && !self.has_fence_device {
            self.resource_mut(id).set(Flags::MANAGED, false);
        }
        if !self.resource(id).is(Flags::MANAGED) {
            let role = self.resource(id).role;
            self.resource_mut(id).next_role = role;
            let current = self.current_node(id);
            self.conclude_assignment(id, current, true);
        } else if self.options.stop_all {
            self.conclude_assignment(id, None, true);
        } else if self.resource(id).provisional {
            self.assign_best(id, prefer);
        }
        self.resource_mut(id).assigning = false;
        if self.resource(id).is_connection {
            self.conclude_connection(id);
        }
        self.resource(id).assigned
    }

    fn apply_this_with(&mut self, id: ResourceId, at: usize) {
        let colocation = &self.colocations[at];
        let primary = colocation.primary;
        let revocable = colocation.dependent_role >= Role::Promoted
            || (colocation.score < Score::ZERO && colocation.score > Score::MINUS_INFINITY);
        let before = revocable.then(|| self.resource(id).allowed.clone());
        self.assign(primary, None);
        self.apply_colocation(id, primary, at);
        if let Some(before) = before
            && !self.any_usable(&self.resource(id).allowed)
        {
            self.replace_table(id, before, Why::TakenBack);
        }
    }

    fn assign_best(&mut self, id: ResourceId, prefer: Option<NodeId>) {
        let most_free = self.ban_insufficient_capacity(id);
        let prefer = prefer.or(most_free);
        let current = self.current_node(id);
        let table = &self.resource(id).allowed;
        let nodes = self.sorted_nodes(table, current);
        let score = |n: NodeId| table.get(n.0 as usize).copied().flatten();
        let best = nodes.first().copied();
        let preferred = prefer.filter(|p| {
            score(*p).is_some() && best.is_none_or(|b| score(*p) >= score(b)) && self.is_usable(*p, table)
        });
        let mut chosen = preferred.or(best);
        if preferred.is_none()
            && let (Some(best), Some(current)) = (best, current)
            && score(best) > Some(Score::ZERO)
            && self.is_available(best)
            && self.is_available(current)
            && self.node(current).score >= Score::ZERO
            && !self.is_unique_instance(id)
            && score(current) == score(best)
        {
            chosen = Some(current);
        }
        self.conclude_assignment(id, chosen, false);
    }

    fn is_usable(&self, node: NodeId, table: &[Option<Score>]) -> bool {
        let score = table.get(node.0 as usize).copied().flatten();
        self.is_available(node) && score.is_some_and(|s| s >= Score::ZERO)
    }

    fn is_unique_instance(&self, id: ResourceId) -> bool {
        let parent = self.resource(id).parent.map(|p| self.resource(p));
        parent.is_some_and(|p| matches!(p.variant, Variant::Clone(_)) && p.is(Flags::UNIQUE))
    }

    /// Puts a resource where it was decided, unless it cannot run there.
    pub(super) fn conclude_assignment(&mut self, id: ResourceId, chosen: Option<NodeId>, force: bool) {
        let chosen = chosen.filter(|n| {
            force || {
                let score = self.score_on(id, *n).unwrap_or(Score::MINUS_INFINITY);
                score >= Score::ZERO && (self.is_available(*n) || self.is_guest(*n))
            }
        });
        self.unassign(id);
        let resource = self.resource_mut(id);
        resource.provisional = false;
        let Some(node) = chosen else {
            resource.next_role = Role::Stopped;
            self.keep_down(id);
            return;
        };
        // Where it stays whatever its scores are, only the node's own counts.
        let base = self.node(node).score;
        let score = if force { base } else { self.score_on(id, node).unwrap_or(base) };
        let resource = self.resource_mut(id);
        (resource.assigned, resource.assigned_score) = (Some(node), score);
        self.node_mut(node).assigned += 1;
        self.consume_capacity(id, node);
        self.show_need(id, node);
    }

    /// A connection that will be somewhere makes its node one that can be used.
    fn conclude_connection(&mut self, id: ResourceId) {
        let name = self.resource(id).id.clone();
        let Some(node) = self.node_named(&name) else { return };
        let placed = self.resource(id).assigned.is_some() && self.resource(id).next_role != Role::Stopped;
        let known = self.node_mut(node);
        if placed {
            known.online = true;
            if known.unseen {
                known.unclean = false;
            }
        } else {
            known.shutdown = true;
        }
    }
}
