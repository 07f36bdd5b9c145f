//! What a score is made of: every change of one while resources are placed, with its reason, if somebody asked for it.
//!
//! Nothing is kept when nobody did: each change looks at one `Option` and no more.

use std::collections::BTreeMap;

use cib::Score;

use crate::model::{NodeId, ResourceId, WorkingSet};

/// Why a score changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// A location constraint, by its place in the list.
    Location(usize),
    /// Another part of the resource has the score of this location constraint.
    AllowedBy(usize),
    /// It runs there.
    Stickiness,
    /// It failed there too often.
    Failures,
    /// It is to be found on other nodes only.
    Discovery,
    /// It waits for a node that was shut down.
    Lock,
    /// The history says so: a failure, or that it is not managed.
    History,
    /// A ticket is missing.
    Ticket,
    /// It has to be where this one is, or must not.
    Colocation(usize),
    /// The one that is placed by it would rather be there.
    Wish(usize),
    /// That left no node, and was taken back.
    TakenBack,
    /// It runs inside of something else.
    Container,
    /// It cannot run on a node that is reached over a connection.
    RemoteNode,
    /// What it is an instance of is not wanted there.
    OfWhole,
    /// There are as many instances as may be, or the node takes none.
    Full,
    /// There are as many instances as there may be at all.
    LimitReached,
    /// Its agent said that it would be promoted there.
    Promotion,
    /// What this instance, which will be there, is worth there as the promoted one.
    PromotionOf(ResourceId),
    /// Its agent said nothing of being promoted there.
    NoPromotion,
    /// It is not to be promoted, or not to run.
    NotPromoted,
    /// It has been chosen already.
    ToBePromoted,
    /// It is to be stopped.
    TargetRole,
    /// The node is too small.
    Capacity,
    /// It was put on another node than the one that it was tried for.
    SecondTry,
    /// It belongs to a replica.
    Replica,
}

/// One change of one score.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Change {
    pub(crate) resource: ResourceId,
    pub(crate) node: NodeId,
    /// `None`: it was not allowed there before.
    pub(crate) before: Option<Score>,
    pub(crate) after: Score,
    /// What was added; `None`: the score was set.
    pub(crate) added: Option<Score>,
    pub(crate) why: Why,
}

/// One change of what an instance is worth as the promoted one where it will be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Merit {
    pub(crate) before: Score,
    pub(crate) after: Score,
    /// What was added; `None`: it was set.
    pub(crate) added: Option<Score>,
    pub(crate) why: Why,
}

/// One line of scores, and how many changes had been made when it was written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shown {
    pub(crate) label: &'static str,
    pub(crate) resource: ResourceId,
    /// `None`: an instance without a node, of which a promotion score is told nevertheless.
    pub(crate) node: Option<NodeId>,
    pub(crate) score: Score,
    pub(crate) changes: usize,
    /// Whose scores have been changed: those of the whole clone in the end, for a promotion score, or the resource's own merit.
    pub(crate) of: Of,
}

/// What a line of scores shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Of {
    /// The score of a resource on a node: of the line's own, or of the clone that it is an instance of.
    Score(ResourceId),
    /// What an instance is worth as the promoted one.
    Merit,
}

/// The label of promotion scores.
pub(crate) const PROMOTION: &str = "promotion score";

/// Everything that happened to scores, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trace {
    pub(crate) changes: Vec<Change>,
    pub(crate) shown: Vec<Shown>,
    /// By instance, in order.
    pub(crate) merits: BTreeMap<ResourceId, Vec<Merit>>,
}

pub(crate) type Table = Vec<Option<Score>>;

impl WorkingSet<'_> {
    pub(super) fn note(
        &mut self,
        resource: ResourceId,
        at: usize,
        before: Option<Score>,
        after: Score,
        added: Option<Score>,
        why: Why,
    ) {
        if let Some(trace) = &mut self.trace
            && (before != Some(after) || added.is_some_and(|a| a != Score::ZERO))
        {
            let added = added.or_else(|| sum_to(before?, after));
            trace.changes.push(Change { resource, node: NodeId(at as u32), before, after, added, why });
        }
    }

    pub(super) fn note_shown(&mut self, resource: ResourceId, label: &'static str) {
        for place in 0..self.by_name.len() {
            let node = self.by_name[place];
            if let Some(score) = self.score_on(resource, node)
                && let Some(trace) = &mut self.trace
            {
                let changes = trace.changes.len();
                let (node, of) = (Some(node), Of::Score(resource));
                trace.shown.push(Shown { label, resource, node, score, changes, of });
            }
        }
    }

    /// Writes down that the line of a promotion score was written.
    pub(super) fn note_promotion(&mut self, resource: ResourceId, node: Option<NodeId>, of: Of) {
        let score = self.resource(resource).promotion_index;
        if let Some(trace) = &mut self.trace {
            let changes = trace.changes.len();
            trace.shown.push(Shown { label: PROMOTION, resource, node, score, changes, of });
        }
    }

    pub(super) fn note_merit(&mut self, id: ResourceId, merit: Merit) {
        if let Some(trace) = &mut self.trace {
            trace.merits.entry(id).or_default().push(merit);
        }
    }

    /// What an instance is worth as the promoted one, instead of what it was.
    pub(super) fn set_merit(&mut self, id: ResourceId, score: Score, why: Why) {
        let before = std::mem::replace(&mut self.resource_mut(id).priority, score);
        self.note_merit(id, Merit { before, after: score, added: None, why });
    }

    /// More, or less, of it.
    pub(super) fn add_merit(&mut self, id: ResourceId, score: Score, why: Why) {
        let resource = self.resource_mut(id);
        let before = resource.priority;
        let after = before + score;
        resource.priority = after;
        self.note_merit(id, Merit { before, after, added: Some(score), why });
    }

    /// A score of its own, instead of the one that it had.
    pub(crate) fn set_score(&mut self, id: ResourceId, at: usize, score: Score, why: Why) {
        let allowed = &mut self.resource_mut(id).allowed;
        if allowed.len() <= at {
            allowed.resize(at + 1, None);
        }
        let before = allowed[at].replace(score);
        self.note(id, at, before, score, None, why);
    }

    /// Sets the scores of those nodes that a resource is allowed on at all, and that are meant.
    pub(crate) fn set_scores(
        &mut self,
        id: ResourceId,
        score: Score,
        why: Why,
        meant: impl Fn(&Self, NodeId) -> bool,
    ) {
        for at in 0..self.resource(id).allowed.len() {
            if self.resource(id).allowed[at].is_some() && meant(self, NodeId(at as u32)) {
                self.set_score(id, at, score, why);
            }
        }
    }

    /// Puts another table in place of a resource's own.
    pub(super) fn replace_table(&mut self, id: ResourceId, table: Table, why: Why) {
        let before = std::mem::replace(&mut self.resource_mut(id).allowed, table);
        if self.trace.is_none() {
            return;
        }
        for at in 0..self.resource(id).allowed.len() {
            if let Some(after) = self.resource(id).allowed[at] {
                self.note(id, at, before.get(at).copied().flatten(), after, None, why);
            }
        }
    }
}

/// What has to be added to a score to come to another one; `None`: nothing can do that.
fn sum_to(before: Score, after: Score) -> Option<Score> {
    let infinite = after == Score::INFINITY || after == Score::MINUS_INFINITY;
    let added = if infinite { after } else { Score::new(after.get().saturating_sub(before.get())) };
    (before + added == after).then_some(added)
}
