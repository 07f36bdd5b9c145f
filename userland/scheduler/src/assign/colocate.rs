//! What colocations do to scores: of the dependent, once its primary is placed; of the primary, by where its dependents would
//! rather be.

use cib::Score;

use crate::constraints::Colocation;
use crate::model::{Flags, NodeId, ResourceId, Role, Variant, WorkingSet};

use super::trace::{Table, Why};

/// How scores of others are added.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct How {
    /// Follow colocations in which the resource is the dependent, not the primary.
    pub(super) this_with: bool,
    /// A node that was wanted stays so.
    pub(super) nonnegative: bool,
    /// Nothing is added if no node would be left.
    pub(super) active: bool,
}

/// Scores that others are being added to.
#[derive(Clone, Debug, Default)]
pub(super) struct Sum {
    pub(super) scores: Table,
    /// Nodes that were wanted and are not any more: out of the question as long as something is added.
    spent: Vec<bool>,
}

impl Sum {
    pub(super) fn of(scores: Table) -> Self {
        let spent = vec![false; scores.len()];
        Self { scores, spent }
    }
}

/// What a colocation is about at this moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    Nothing,
    Location,
    Role,
}

impl WorkingSet<'_> {
    /// Lets a colocation work on the dependent. Collectives pass it on to the part that it is about.
    pub(super) fn apply_colocation(&mut self, dependent: ResourceId, primary: ResourceId, at: usize) {
        if matches!(self.resource(dependent).variant, Variant::Group) {
            let members = self.resource(dependent).children.clone();
            if self.is_together(dependent) {
                if let Some(first) = members.first() {
                    self.apply_to_dependent(*first, primary, at);
                }
            } else if self.colocations[at].score < Score::INFINITY {
                for member in members {
                    self.apply_to_dependent(member, primary, at);
                }
            }
            return;
        }
        self.apply_to_dependent(dependent, primary, at);
    }

    pub(super) fn apply_to_dependent(&mut self, dependent: ResourceId, primary: ResourceId, at: usize) {
        match self.resource(primary).variant {
            Variant::Primitive => match self.effect(dependent, primary, &self.colocations[at], false) {
                Effect::Nothing => {}
                Effect::Role => self.apply_to_priority(dependent, primary, at),
                Effect::Location => self.apply_to_scores(dependent, primary, at),
            },
            Variant::Group => {
                if self.resource(primary).provisional {
                    return;
                }
                let members = self.resource(primary).children.clone();
                let mandatory = self.colocations[at].score == Score::INFINITY;
                if self.is_together(primary) {
                    let member = if mandatory { members.last() } else { members.first() };
                    if let Some(member) = member {
                        self.apply_to_dependent(dependent, *member, at);
                    }
                } else if !mandatory {
                    for member in members {
                        self.apply_to_dependent(dependent, member, at);
                    }
                }
            }
            Variant::Clone(_) => self.colocate_with_clone(dependent, primary, at),
            Variant::Bundle(_) => self.colocate_with_bundle(dependent, primary, at),
        }
    }

    /// What a colocation is about. `preview`: as if both were to be placed still.
    pub(super) fn effect(
        &self,
        dependent: ResourceId,
        primary: ResourceId,
        colocation: &Colocation,
        preview: bool,
    ) -> Effect {
        let (d, p) = (self.resource(dependent), self.resource(primary));
        if !preview && p.provisional {
            return Effect::Nothing;
        }
        let promotable = d.parent.is_some_and(|parent| self.resource(parent).is(Flags::PROMOTABLE));
        if colocation.dependent_role >= Role::Unpromoted && promotable && !d.provisional {
            return Effect::Role;
        }
        if !preview && !d.provisional {
            return Effect::Nothing;
        }
        let positive = colocation.score > Score::ZERO;
        let ruled_out = |wanted: Role, next: Role| wanted != Role::Unknown && ((wanted != next) == positive);
        if ruled_out(colocation.dependent_role, d.next_role)
            || ruled_out(colocation.primary_role, p.next_role)
        {
            return Effect::Nothing;
        }
        Effect::Location
    }

    fn apply_to_priority(&mut self, dependent: ResourceId, primary: ResourceId, at: usize) {
        let (Some(d), Some(p)) = (self.resource(dependent).assigned, self.resource(primary).assigned) else {
            return;
        };
        let colocation = &self.colocations[at];
        let (score, role) = (colocation.score, colocation.dependent_role);
        if !self.same_place(d, p, colocation.attribute.as_deref()) {
            if score == Score::INFINITY && role == Role::Promoted {
                self.set_merit(dependent, Score::MINUS_INFINITY, Why::Colocation(at));
            }
            return;
        }
        let wanted = colocation.primary_role;
        if wanted != Role::Unknown && wanted != self.resource(primary).next_role {
            return;
        }
        let score = if role == Role::Unpromoted { Score::new(-score.get()) } else { score };
        self.add_merit(dependent, score, Why::Colocation(at));
    }

    fn apply_to_scores(&mut self, dependent: ResourceId, primary: ResourceId, at: usize) {
        let there = self.resource(primary).assigned;
        let colocation = &self.colocations[at];
        let score = colocation.score;
        if there.is_none() && score < Score::ZERO {
            return;
        }
        let negated = Score::new(-score.get());
        let mut work = self.resource(dependent).allowed.clone();
        for (node, entry) in work.iter_mut().enumerate() {
            let Some(entry) = entry else { continue };
            let Some(there) = there else {
                *entry = negated + *entry;
                continue;
            };
            if self.same_place(NodeId(node as u32), there, colocation.attribute.as_deref()) {
                // That it must be there is said by all other nodes.
                if score < Score::INFINITY {
                    *entry = score + *entry;
                }
            } else if score == Score::INFINITY {
                *entry = negated + *entry;
            }
        }
        let infinite = matches!(score, Score::INFINITY | Score::MINUS_INFINITY);
        if infinite || self.any_usable(&work) {
            self.replace_table(dependent, work, Why::Colocation(at));
        }
    }

    /// Adds to a resource's scores where those would rather be that are placed with it.
    pub(super) fn add_dependents(&mut self, id: ResourceId, how: How) {
        for place in 0..self.resource(id).with_this.len() {
            let at = self.resource(id).with_this[place];
            if self.has_influence(&self.colocations[at], None) {
                self.add_wish(id, self.colocations[at].dependent, at, how);
            }
        }
    }

    /// Adds the scores of another side of a colocation to a resource's own.
    pub(super) fn add_wish(&mut self, id: ResourceId, other: ResourceId, at: usize, how: How) {
        let mut sum = Sum::of(self.resource(id).allowed.clone());
        let colocation = &self.colocations[at];
        self.add_colocated(other, &mut sum, colocation.attribute.as_deref(), colocation.share(), how);
        self.replace_table(id, sum.scores, Why::Wish(at));
    }

    /// A resource's own scores with those of everything that it is placed with.
    pub(super) fn scores_with_primaries(&self, id: ResourceId) -> Option<Table> {
        let how = How { this_with: true, ..How::default() };
        let resource = self.resource(id);
        if resource.merging.replace(true) {
            return None;
        }
        let sum = match (&resource.variant, resource.children.last()) {
            (Variant::Group, last) => last.and_then(|last| self.scores_with_primaries(*last)).map(Sum::of),
            _ => Some(Sum::of(resource.allowed.clone())),
        };
        let scores = sum.map(|mut sum| {
            self.add_further(id, &mut sum, 1.0, how);
            sum.scores
        });
        resource.merging.set(false);
        scores
    }

    /// Adds, times a factor, the scores of a resource and of what hangs on it to a table.
    pub(super) fn add_colocated(
        &self,
        id: ResourceId,
        sum: &mut Sum,
        attribute: Option<&str>,
        factor: f32,
        how: How,
    ) {
        let resource = self.resource(id);
        if resource.merging.get() || !self.patience.step() {
            // Round in a circle: it is on the way already. Or too far: then it counts for nothing.
            return;
        }
        resource.merging.set(true);
        stacker::maybe_grow(super::RED_ZONE, super::STACK, || {
            self.add_colocated_here(id, sum, attribute, factor, how);
        });
        resource.merging.set(false);
    }

    fn add_colocated_here(
        &self,
        id: ResourceId,
        sum: &mut Sum,
        attribute: Option<&str>,
        factor: f32,
        how: How,
    ) {
        let resource = self.resource(id);
        let mut work = sum.clone();
        let counts = match (&resource.variant, resource.children.first()) {
            (Variant::Group, None) => false,
            (Variant::Group, Some(first)) => {
                self.add_colocated(*first, &mut work, attribute, factor, how);
                true
            }
            _ => {
                self.add_matching(&mut work, id, attribute, factor, how.nonnegative);
                true
            }
        };
        if counts && self.add_further(id, &mut work, factor, how) {
            *sum = work;
        }
    }

    /// What hangs on a resource, too. Whether what was added so far counts.
    fn add_further(&self, id: ResourceId, work: &mut Sum, factor: f32, how: How) -> bool {
        if self.any_usable(&work.scores) {
            let resource = self.resource(id);
            let list = match (&resource.variant, resource.children.last()) {
                _ if how.this_with => &resource.this_with,
                (Variant::Group, Some(last)) => &self.resource(*last).with_this,
                _ => &resource.with_this,
            };
            for at in list {
                let colocation = &self.colocations[*at];
                let other = if how.this_with {
                    colocation.primary
                } else if self.has_influence(colocation, None) {
                    colocation.dependent
                } else {
                    continue;
                };
                // Not times the factor so far: only its sign goes on.
                let share = colocation.share();
                let share = if factor < 0.0 { -share } else { share };
                let how = How { active: true, ..how };
                self.add_colocated(other, work, colocation.attribute.as_deref(), share, how);
            }
        } else if how.active {
            return false;
        }
        if how.nonnegative {
            for (entry, spent) in work.scores.iter_mut().zip(&mut work.spent) {
                if std::mem::replace(spent, false) {
                    *entry = Some(Score::new(1));
                }
            }
        }
        true
    }

    fn add_matching(
        &self,
        sum: &mut Sum,
        id: ResourceId,
        attribute: Option<&str>,
        factor: f32,
        nonnegative: bool,
    ) {
        for (at, entry) in sum.scores.iter_mut().enumerate() {
            let Some(weight) = entry.as_mut() else { continue };
            let score = self.best_matching(id, attribute, NodeId(at as u32));
            if (factor < 0.0 && score < Score::ZERO) || sum.spent[at] {
                continue;
            }
            // In 32 bits; half away from zero.
            let product = f64::from(factor * score.get() as f32);
            let mut delta = if product < 0.0 { product - 0.5 } else { product + 0.5 } as i32;
            if delta == 0 && score != Score::ZERO {
                delta = if factor > 0.0 {
                    1
                } else if factor < 0.0 {
                    -1
                } else {
                    0
                };
            }
            let after = Score::new(delta) + *weight;
            if nonnegative && after < Score::ZERO && *weight > Score::ZERO {
                *weight = Score::MINUS_INFINITY;
                sum.spent[at] = true;
            } else if nonnegative && after < Score::ZERO && *weight == Score::ZERO {
                // Neither wanted nor unwanted.
            } else {
                *weight = after;
            }
        }
    }

    /// The best score of a resource on an available node that is the same place.
    fn best_matching(&self, id: ResourceId, attribute: Option<&str>, node: NodeId) -> Score {
        let allowed = &self.resource(id).allowed;
        let at = |n: NodeId| allowed.get(n.0 as usize).copied().flatten().filter(|_| self.is_available(n));
        if attribute.is_none() && self.node(node).named {
            return at(node).unwrap_or(Score::MINUS_INFINITY);
        }
        let same = self.by_name.iter().filter(|n| self.same_place(node, **n, attribute));
        same.filter_map(|n| at(*n)).max().unwrap_or(Score::MINUS_INFINITY)
    }
}
