//! What colocations do to scores: of the dependent, once its primary is placed; of the primary, by where its dependents would
//! rather be.

use cib::Score;

use crate::constraints::Colocation;
use crate::model::{Flags, NodeId, ResourceId, Role, Variant, WorkingSet};

type Table = Vec<Option<Score>>;

/// A score that is used up: the node was wanted, and would not be any more.
const MARK: Score = Score::new(-13);

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

/// What a colocation is about at this moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    Nothing,
    Location,
    Role,
}

impl WorkingSet<'_> {
    /// Lets a colocation work on the dependent. Collectives pass it on to the part that it is about.
    pub(super) fn apply_colocation(
        &mut self,
        dependent: ResourceId,
        primary: ResourceId,
        colocation: &Colocation,
    ) {
        match self.resource(dependent).variant {
            Variant::Group => {
                if let Some(first) = self.resource(dependent).children.first().copied() {
                    self.apply_colocation(first, primary, colocation);
                }
            }
            _ => self.apply_to_dependent(dependent, primary, colocation),
        }
    }

    fn apply_to_dependent(&mut self, dependent: ResourceId, primary: ResourceId, colocation: &Colocation) {
        match self.resource(primary).variant {
            Variant::Primitive => self.colocate_with_primitive(dependent, primary, colocation),
            Variant::Group => {
                if self.resource(primary).provisional {
                    return;
                }
                let members = &self.resource(primary).children;
                let member =
                    if colocation.score == Score::INFINITY { members.last() } else { members.first() };
                if let Some(member) = member.copied() {
                    self.apply_to_dependent(dependent, member, colocation);
                }
            }
            Variant::Clone(_) => self.colocate_with_clone(dependent, primary, colocation),
            Variant::Bundle(_) => self.colocate_with_bundle(dependent, primary, colocation),
        }
    }

    fn effect(&self, dependent: ResourceId, primary: ResourceId, colocation: &Colocation) -> Effect {
        let (d, p) = (self.resource(dependent), self.resource(primary));
        if p.provisional {
            return Effect::Nothing;
        }
        let promotable = d.parent.is_some_and(|parent| self.resource(parent).is(Flags::PROMOTABLE));
        if colocation.dependent_role >= Role::Unpromoted && promotable && !d.provisional {
            return Effect::Role;
        }
        if !d.provisional {
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

    fn colocate_with_primitive(
        &mut self,
        dependent: ResourceId,
        primary: ResourceId,
        colocation: &Colocation,
    ) {
        match self.effect(dependent, primary, colocation) {
            Effect::Nothing => {}
            Effect::Role => self.apply_to_priority(dependent, primary, colocation),
            Effect::Location => self.apply_to_scores(dependent, primary, colocation),
        }
    }

    /// A node's value of an attribute, as colocations compare it.
    pub(super) fn node_value(&self, node: NodeId, attribute: &str) -> Option<String> {
        self.node(node).attributes.get(attribute).map(|v| v.to_ascii_lowercase())
    }

    fn apply_to_priority(&mut self, dependent: ResourceId, primary: ResourceId, colocation: &Colocation) {
        let (Some(d), Some(p)) = (self.resource(dependent).assigned, self.resource(primary).assigned) else {
            return;
        };
        if self.node_value(d, &colocation.attribute) != self.node_value(p, &colocation.attribute) {
            if colocation.score == Score::INFINITY && colocation.dependent_role == Role::Promoted {
                self.resource_mut(dependent).priority = Score::MINUS_INFINITY;
            }
            return;
        }
        let wanted = colocation.primary_role;
        if wanted != Role::Unknown && wanted != self.resource(primary).next_role {
            return;
        }
        let score = if colocation.dependent_role == Role::Unpromoted {
            Score::new(-colocation.score.get())
        } else {
            colocation.score
        };
        let resource = self.resource_mut(dependent);
        resource.priority = score + resource.priority;
    }

    fn apply_to_scores(&mut self, dependent: ResourceId, primary: ResourceId, colocation: &Colocation) {
        let there = self.resource(primary).assigned;
        if there.is_none() && colocation.score < Score::ZERO {
            return;
        }
        let value = there.and_then(|n| self.node_value(n, &colocation.attribute));
        let negated = Score::new(-colocation.score.get());
        let mut work = self.resource(dependent).allowed.clone();
        for (at, score) in work.iter_mut().enumerate() {
            let Some(score) = score else { continue };
            if there.is_none() {
                *score = negated + *score;
            } else if self.node_value(NodeId(at as u32), &colocation.attribute) == value {
                // That it must be there is said by all other nodes.
                if colocation.score < Score::INFINITY {
                    *score = colocation.score + *score;
                }
            } else if colocation.score == Score::INFINITY {
                *score = negated + *score;
            }
        }
        let infinite = matches!(colocation.score, Score::INFINITY | Score::MINUS_INFINITY);
        if infinite || self.any_usable(&work) {
            self.resource_mut(dependent).allowed = work;
        }
    }

    /// Adds to a resource's scores where those would rather be that are placed with it.
    pub(super) fn add_dependents(&mut self, id: ResourceId, how: How) {
        for at in self.resource(id).with_this.clone() {
            let colocation = self.colocations[at].clone();
            if !self.has_influence(&colocation) {
                continue;
            }
            let table = self.resource(id).allowed.clone();
            let factor = colocation.score.get() as f32 / Score::INFINITY.get() as f32;
            let (dependent, attribute) = (colocation.dependent, &colocation.attribute);
            if let Some(added) = self.add_colocated_scores(dependent, Some(&table), attribute, factor, how) {
                self.resource_mut(id).allowed = added;
            }
        }
    }

    /// Adds, times a factor, the scores of a resource and of what hangs on it to a table. `None`: to its own.
    pub(super) fn add_colocated_scores(
        &mut self,
        id: ResourceId,
        table: Option<&Table>,
        attribute: &str,
        factor: f32,
        how: How,
    ) -> Option<Table> {
        if self.resource(id).merging {
            return table.cloned();
        }
        self.resource_mut(id).merging = true;
        let result = self.add_colocated(id, table, attribute, factor, how);
        self.resource_mut(id).merging = false;
        result
    }

    fn add_colocated(
        &mut self,
        id: ResourceId,
        table: Option<&Table>,
        attribute: &str,
        factor: f32,
        how: How,
    ) -> Option<Table> {
        let group = matches!(self.resource(id).variant, Variant::Group);
        let members = self.resource(id).children.clone();
        let mut work = match (table, group) {
            (None, true) => {
                let last = *members.last()?;
                return self.add_colocated_scores(last, None, attribute, factor, how);
            }
            (None, false) => self.resource(id).allowed.clone(),
            (Some(table), true) => {
                let first = *members.first()?;
                self.add_colocated_scores(first, Some(table), attribute, factor, how)?
            }
            (Some(table), false) => {
                let mut work = table.clone();
                self.add_matching(&mut work, id, attribute, factor, how.nonnegative);
                work
            }
        };
        if self.any_usable(&work) {
            let list = if how.this_with {
                self.resource(id).this_with.clone()
            } else {
                match members.last().filter(|_| group) {
                    Some(last) => {
                        let mut all = self.resource(id).with_this.clone();
                        all.extend(&self.resource(*last).with_this);
                        all
                    }
                    None => self.resource(id).with_this.clone(),
                }
            };
            for at in list {
                let colocation = self.colocations[at].clone();
                let other = if how.this_with { colocation.primary } else { colocation.dependent };
                if !how.this_with && !self.has_influence(&colocation) {
                    continue;
                }
                // Not times the factor so far: only its sign goes on.
                let share = colocation.score.get() as f32 / Score::INFINITY.get() as f32;
                let factor = if factor < 0.0 { -share } else { share };
                let how = How { active: true, ..how };
                if let Some(more) =
                    self.add_colocated_scores(other, Some(&work), &colocation.attribute, factor, how)
                {
                    work = more;
                }
            }
        } else if how.active {
            return table.cloned();
        }
        if how.nonnegative {
            for score in work.iter_mut().flatten().filter(|s| **s == MARK) {
                *score = Score::new(1);
            }
        }
        Some(work)
    }

    fn add_matching(
        &self,
        table: &mut Table,
        id: ResourceId,
        attribute: &str,
        factor: f32,
        nonnegative: bool,
    ) {
        for (at, entry) in table.iter_mut().enumerate() {
            let Some(weight) = entry.as_mut() else { continue };
            let score = self.best_matching(id, attribute, NodeId(at as u32));
            if (factor < 0.0 && score < Score::ZERO) || (nonnegative && *weight == MARK) {
                continue;
            }
            let product = factor * score.get() as f32;
            // Half away from zero.
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
            let sum = Score::new(delta) + *weight;
            if nonnegative && sum < Score::ZERO && *weight > Score::ZERO {
                *weight = MARK;
            } else if nonnegative && sum < Score::ZERO && *weight == Score::ZERO {
                // Neither wanted nor unwanted.
            } else {
                *weight = sum;
            }
        }
    }

    /// The best score of a resource on an available node that has the same value of an attribute.
    fn best_matching(&self, id: ResourceId, attribute: &str, node: NodeId) -> Score {
        let allowed = &self.resource(id).allowed;
        let at = |n: NodeId| allowed.get(n.0 as usize).copied().flatten().filter(|_| self.is_available(n));
        if attribute == "#uname" {
            return at(node).unwrap_or(Score::MINUS_INFINITY);
        }
        let value = self.node_value(node, attribute);
        let same = self.by_name.iter().filter(|n| self.node_value(**n, attribute) == value);
        same.filter_map(|n| at(*n)).max().unwrap_or(Score::MINUS_INFINITY)
    }
}
