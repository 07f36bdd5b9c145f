//! Why a resource has the scores that it has: everything that changed one, in the order in which it did.

use std::collections::BTreeMap;

use cib::Score;
use serde::Serialize;

use crate::assign::trace::{Change, Merit, Of, Shown, Trace, Why};
use crate::constraints::Colocation;
use crate::model::{NodeId, ResourceId, Role, WorkingSet};

/// One line of scores, and how it came about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// The line's label, as `crm_simulate -s` has it.
    pub label: String,
    /// The resource, or a part of it.
    pub resource: String,
    /// The node; `none` for the promotion score of an instance that has none.
    pub node: String,
    /// The score that the line shows.
    pub score: String,
    /// What it was before anything was said of it: the node's own; `None`: not allowed there.
    pub start: Option<String>,
    /// What changed it, in order. What was added to a score that it could not change is there, too.
    pub steps: Vec<Step>,
}

/// One contribution to a score.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// What was added; `None`: the score was set.
    pub added: Option<String>,
    /// The score after that.
    pub score: String,
    /// Why, in words.
    pub why: String,
}

impl WorkingSet<'_> {
    /// Every line of scores of a resource and its parts (`None`: of all) on a node (`None`: on all), in the order of
    /// `crm_simulate -s`, each with what it is made of. Only of a set made by [`WorkingSet::new_explained`], after
    /// [`WorkingSet::place`].
    #[must_use]
    pub fn explain(&self, resource: Option<&str>, node: Option<&str>) -> Vec<Explanation> {
        let Some(trace) = &self.trace else { return Vec::new() };
        let mut of_score: BTreeMap<(ResourceId, NodeId), Vec<(usize, &Change)>> = BTreeMap::new();
        for (at, change) in trace.changes.iter().enumerate() {
            of_score.entry((change.resource, change.node)).or_default().push((at, change));
        }
        let mut found = Vec::new();
        for shown in &trace.shown {
            let name = shown.node.map_or("none", |n| self.node(n).name.as_str());
            if !resource.is_none_or(|r| self.belongs_to(shown.resource, r))
                || !node.is_none_or(|n| name.eq_ignore_ascii_case(n))
            {
                continue;
            }
            let (start, steps) = match (shown.of, shown.node) {
                (Of::Score(of), Some(node)) => {
                    let all = of_score.get(&(of, node)).map_or(&[][..], |c| &c[..]);
                    let changes: Vec<&Change> =
                        all.iter().take_while(|(at, _)| *at < shown.changes).map(|(_, c)| *c).collect();
                    let start = changes.first().map_or(Some(shown.score), |first| first.before);
                    (start, changes.into_iter().flat_map(|c| self.steps(trace, shown, c)).collect())
                }
                _ => {
                    let all = trace.merits.get(&shown.resource).map_or(&[][..], |m| &m[..]);
                    let start = all.first().map_or(shown.score, |first| first.before);
                    (Some(start), all.iter().map(|m| self.step(&of_merit(shown, m))).collect())
                }
            };
            found.push(Explanation {
                label: shown.label.to_owned(),
                resource: self.resource(shown.resource).id.clone(),
                node: name.to_owned(),
                score: shown.score.to_string(),
                start: start.map(|s| s.to_string()),
                steps,
            });
        }
        found
    }

    /// What a change is made of: a promotion score that goes into those of the whole clone of what was said of it one by one.
    fn steps(&self, trace: &Trace, shown: &Shown, change: &Change) -> Vec<Step> {
        let Why::PromotionOf(instance) = change.why else { return vec![self.step(change)] };
        let mut steps = Vec::new();
        let mut sum = change.before;
        for merit in trace.merits.get(&instance).map_or(&[][..], |m| &m[..]) {
            if merit.added.is_none() {
                // What was said before has been taken back.
                steps.clear();
                sum = change.before;
            }
            let Some(before) = sum else { break };
            let added = merit.added.unwrap_or(merit.after);
            let after = before + added;
            sum = Some(after);
            let part = Change {
                resource: instance,
                before: Some(before),
                after,
                added: Some(added),
                why: merit.why,
                ..*change
            };
            steps.push(self.step(&part));
        }
        // Infinity swallows what is added to it, one by one otherwise than as a whole.
        if sum == Some(change.after) && shown.resource == instance { steps } else { vec![self.step(change)] }
    }

    /// Whether a resource is the named one or a part of it, by its own id or that in the configuration.
    fn belongs_to(&self, id: ResourceId, name: &str) -> bool {
        let mut at = Some(id);
        while let Some(one) = at {
            let resource = self.resource(one);
            if resource.id == name || resource.configured_id() == name {
                return true;
            }
            at = resource.parent;
        }
        false
    }

    fn step(&self, change: &Change) -> Step {
        Step {
            added: change.added.map(|a| a.to_string()),
            score: change.after.to_string(),
            why: self.reason(change),
        }
    }

    fn reason(&self, change: &Change) -> String {
        let id = |id: ResourceId| self.resource(id).id.as_str();
        let named = |colocation: &Colocation| match &colocation.id {
            Some(constraint) => format!(" (colocation {constraint}, score {})", colocation.score),
            None => format!(" (score {})", colocation.score),
        };
        let role =
            |role: Role| if role == Role::Unknown { String::new() } else { format!(" as {}", role.as_str()) };
        let own = id(change.resource);
        match change.why {
            Why::Location(at) | Why::AllowedBy(at) => {
                let location = &self.locations_by_constraint[at];
                let kind =
                    if location.id == "node-health-strategy" { "node health" } else { "location constraint" };
                if matches!(change.why, Why::AllowedBy(_)) {
                    format!("{kind} {} allows it here; its score counts for the first member", location.id)
                } else if kind == "node health" {
                    kind.to_owned()
                } else {
                    format!("{kind} {}{}", location.id, role(location.role))
                }
            }
            Why::Stickiness => format!("stickiness: {own} runs here"),
            Why::Failures => "it failed here as often as migration-threshold says".to_owned(),
            Why::Discovery => "resource-discovery=exclusive: other nodes only".to_owned(),
            Why::Lock => "shutdown lock: it waits for the node that it ran on".to_owned(),
            Why::History if change.after == Score::INFINITY => "it is not managed, and runs here".to_owned(),
            Why::History => {
                "the history: a failure that rules the node out, or no resource of the configuration"
                    .to_owned()
            }
            Why::Ticket => "a ticket is missing".to_owned(),
            Why::Colocation(at) => {
                let colocation = &self.colocations[at];
                let word = if colocation.score < Score::ZERO { "away from" } else { "with" };
                format!(
                    "{}{} is placed {word} {}{}{}",
                    id(colocation.dependent),
                    role(colocation.dependent_role),
                    id(colocation.primary),
                    role(colocation.primary_role),
                    named(colocation)
                )
            }
            Why::Wish(at) => {
                let colocation = &self.colocations[at];
                let other = if colocation.dependent == change.resource {
                    colocation.primary
                } else {
                    colocation.dependent
                };
                format!("what {} would like, as it is placed with this one{}", id(other), named(colocation))
            }
            Why::TakenBack => "a colocation left no node at all, and was taken back".to_owned(),
            Why::Container => "what runs inside of something runs there, and a guest on no guest".to_owned(),
            Why::RemoteNode => "connections and fence devices run on members only".to_owned(),
            Why::OfWhole => "what it is an instance of must not be here".to_owned(),
            Why::Full => "the node takes no more instances".to_owned(),
            Why::LimitReached => "there are as many instances as there may be".to_owned(),
            Why::Promotion => "promotion score of its agent (a node attribute)".to_owned(),
            Why::PromotionOf(instance) => format!("promotion score of {}, which will be here", id(instance)),
            Why::NoPromotion => "its agent said nothing of being promoted here".to_owned(),
            Why::NotPromoted => "it is not to be promoted, or not to run".to_owned(),
            Why::ToBePromoted => "it is to be promoted".to_owned(),
            Why::TargetRole => "it is to be stopped".to_owned(),
            Why::Capacity => "the node has not enough capacity left".to_owned(),
            Why::SecondTry => {
                "it did not get the node that it runs on; what was tried is forgotten".to_owned()
            }
            Why::Replica => "parts of a replica run on its own guest".to_owned(),
        }
    }
}

/// A change of what an instance is worth, as one of a score.
fn of_merit(shown: &Shown, merit: &Merit) -> Change {
    Change {
        resource: shown.resource,
        node: shown.node.unwrap_or(NodeId(0)),
        before: Some(merit.before),
        after: merit.after,
        added: merit.added,
        why: merit.why,
    }
}
