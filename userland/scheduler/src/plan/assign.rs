//! Which node takes which resource: scores added up for each node, the best usable one wins. A group is placed as one;
//! where it does not fit whole, as many of its first members as do.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use cib::{LocationScore, NoQuorumPolicy, OnFail, Primitive, Resource, Score, TargetRole};
use holdfast_types::NodeId;

use super::view::View;

/// Where a primitive shall be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Placement {
    /// On this node.
    On(NodeId),
    /// Nowhere, and why.
    Nowhere(String),
    /// Left as it is, and why: unmanaged or blocked.
    Hands(String),
}

/// The placement of every primitive, by id.
pub(crate) fn assign<'a>(view: &View<'a>) -> BTreeMap<&'a str, Placement> {
    let mut order: Vec<&Resource> = view.cib.resources.iter().collect();
    // Stable: document order among equals.
    order.sort_by_key(|r| Reverse(r.members.first().map_or(0, |m| m.meta.priority)));
    let mut placed = BTreeMap::new();
    let mut load: BTreeMap<NodeId, usize> = BTreeMap::new();
    for resource in order {
        place(view, resource, &mut load, &mut placed);
    }
    placed
}

fn place<'a>(
    view: &View<'a>,
    resource: &'a Resource,
    load: &mut BTreeMap<NodeId, usize>,
    placed: &mut BTreeMap<&'a str, Placement>,
) {
    // Members from here on are not placed, whatever the nodes are.
    let mut limit = resource.members.len();
    let mut why_limit = String::new();
    for (i, member) in resource.members.iter().enumerate() {
        if let Some(why) = must_not_run(view, member) {
            (limit, why_limit) = (i, why);
            break;
        }
    }
    let mut chosen = None;
    for count in (1..=limit).rev() {
        let members = &resource.members[..count];
        match best_node(view, resource, members, load) {
            Ok(node) => {
                chosen = Some(node);
                limit = count;
                break;
            }
            Err(why) => {
                (limit, why_limit) = (count - 1, why);
            }
        }
    }
    for (i, member) in resource.members.iter().enumerate() {
        let placement = match (hands_off(view, member), chosen) {
            (Some(why), _) => Placement::Hands(why),
            (None, Some(node)) if i < limit => {
                *load.entry(node).or_default() += 1;
                Placement::On(node)
            }
            (None, _) if i > 0 && i > limit && limit < resource.members.len() => {
                Placement::Nowhere(format!("needs {}, which does not run", resource.members[limit].id))
            }
            (None, _) => Placement::Nowhere(why_limit.clone()),
        };
        placed.insert(member.id.as_str(), placement);
    }
}

/// Nothing is done with this resource, and why.
fn hands_off(view: &View<'_>, member: &Primitive) -> Option<String> {
    blocked(view, member).or_else(|| (!view.managed(member)).then(|| UNMANAGED.to_owned()))
}

fn blocked(view: &View<'_>, member: &Primitive) -> Option<String> {
    let is_blocked = |on| view.is_blocked(member, on);
    let (_, node) = view.online().find(|(id, _)| view.on(&member.id, *id).is_some_and(is_blocked))?;
    Some(format!("blocked: it failed on {}; clean it up when it is known to be stopped", node.name))
}

/// Why an unmanaged resource is left as it is: nothing to report.
pub(crate) const UNMANAGED: &str = "unmanaged";

/// Why it, and what comes after it in its group, may run nowhere.
fn must_not_run(view: &View<'_>, member: &Primitive) -> Option<String> {
    if let Some(why) = blocked(view, member) {
        return Some(why);
    }
    if !view.managed(member) {
        // It stays where it is; if that is nowhere, what needs it cannot run.
        return view.active(member).is_empty().then(|| format!("{} is unmanaged and stopped", member.id));
    }
    if view.options().stop_all {
        return Some("stop-all-resources is set".to_owned());
    }
    if member.meta.target_role == TargetRole::Stopped {
        return Some("its target-role is Stopped".to_owned());
    }
    if !view.may_act() && view.options().no_quorum_policy == NoQuorumPolicy::Stop {
        return Some("no quorum".to_owned());
    }
    if !view.may_act() && view.active(member).is_empty() {
        return Some("no quorum: nothing is started (freeze)".to_owned());
    }
    let mut everywhere = view.online().filter_map(|(id, node)| Some((node, view.on(&member.id, id)?)));
    everywhere.find_map(|(node, on)| {
        if on.banned_everywhere && view.failure_counts(member, on) {
            Some(format!("its configuration is wrong, says the agent on {}", node.name))
        } else if view.failure_policy(member, on) == Some(OnFail::Stop) {
            Some(format!("it failed on {} and on-fail is stop", node.name))
        } else {
            None
        }
    })
}

/// The best node for these members together, or why there is none.
fn best_node(
    view: &View<'_>,
    resource: &Resource,
    members: &[Primitive],
    load: &BTreeMap<NodeId, usize>,
) -> Result<NodeId, String> {
    let mut candidates = Vec::new();
    let mut refusals = Vec::new();
    for (id, node) in &view.state.nodes {
        if let Some(why) = view.unusable.get(id) {
            refusals.push(format!("{} {why}", node.name));
            continue;
        }
        match score(view, resource, members, *id) {
            Ok(score) => candidates.push((score, *id)),
            Err(why) => refusals.push(format!("{} {why}", node.name)),
        }
    }
    let current = members.first().map(|m| view.active(m)).filter(|on| on.len() == 1).map(|on| on[0]);
    candidates.sort_by_key(|(score, id)| {
        let used = load.get(id).copied().unwrap_or_default();
        (Reverse(*score), used, current != Some(*id), view.state.nodes[id].name.as_bytes().to_vec())
    });
    let Some(&(best, node)) = candidates.first() else {
        return Err(if refusals.is_empty() { "no node".to_owned() } else { refusals.join(", ") });
    };
    // Where it is now is as good: stay, unless the score is nothing more than "may".
    let stays = candidates.iter().find(|(score, id)| *score == best && current == Some(*id));
    match stays {
        Some((_, id)) if best > Score::ZERO => Ok(*id),
        _ => Ok(node),
    }
}

/// The node's score for these members together, or why it is out.
fn score(view: &View<'_>, resource: &Resource, members: &[Primitive], node: NodeId) -> Result<Score, String> {
    let state = &view.state.nodes[&node];
    let mut allowed = view.options().symmetric;
    let mut total = Score::ZERO;
    let id = node.to_string();
    let facts = view.facts(node, state, &id);
    for location in &view.cib.locations {
        if location.resource != resource.id && members.iter().all(|m| m.id != location.resource) {
            continue;
        }
        let given = match &location.score {
            LocationScore::Node(name, score) if *name == state.name => *score,
            LocationScore::Rule(rule) if rule.accepts(facts) => rule.score_for(facts),
            _ => continue,
        };
        allowed = true;
        total = total + given;
        if given == Score::MINUS_INFINITY {
            return Err(format!("is excluded by {}", location.id));
        }
    }
    if !allowed {
        return Err("is not named by any location constraint (symmetric-cluster is false)".to_owned());
    }
    for member in members {
        total = total + member_score(view, member, node)?;
    }
    if total < Score::ZERO {
        return Err(format!("has score {total}"));
    }
    Ok(total)
}

/// What a member adds for a node: stickiness where it runs; failures may exclude the node.
fn member_score(view: &View<'_>, member: &Primitive, node: NodeId) -> Result<Score, String> {
    let active = view.active(member);
    if hands_off(view, member).is_some() {
        return if active.contains(&node) {
            Ok(Score::INFINITY)
        } else {
            Err(format!("does not run {}, which stays where it is", member.id))
        };
    }
    if !view.may_act() && !active.contains(&node) {
        return Err("does not run it now (no quorum, freeze)".to_owned());
    }
    if let Some(on) = view.on(&member.id, node)
        && view.failure_counts(member, on)
        && view.activity(member, on) == on.activity
    {
        if on.banned {
            return Err(format!("cannot run {} ({})", member.id, failure_text(on.failure.as_ref())));
        }
        if let Some(threshold) = member.meta.migration_threshold
            && on.fail_count >= threshold
        {
            return Err(format!(
                "has seen {} fail {} (migration-threshold {threshold})",
                member.id,
                times(on.fail_count)
            ));
        }
    }
    let here = active.as_slice() == [node];
    Ok(if here { member.meta.stickiness } else { Score::ZERO })
}

fn times(count: u32) -> String {
    match count {
        1 => "once".to_owned(),
        crate::FAIL_COUNT_INFINITY => "for good".to_owned(),
        n => format!("{n} times"),
    }
}

pub(crate) fn failure_text(failure: Option<&crate::Failure>) -> String {
    let Some(failure) = failure else { return "a hard error".to_owned() };
    let result = &failure.result;
    let reason = if result.reason.is_empty() { String::new() } else { format!(": {}", result.reason) };
    format!("{} returned {}{reason}", result.action, result.rc)
}
