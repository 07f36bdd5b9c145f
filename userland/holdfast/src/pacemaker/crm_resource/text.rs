//! Resources as this command shows them: the lists of the status, without what is not asked for.

use scheduler::{ResourceId, Variant, WorkingSet, status_text};

/// All resources with what is inside of them, without the nodes of primitives.
pub(super) fn all(set: &WorkingSet<'_>) -> String {
    let mut text = "Full List of Resources:\n".to_owned();
    for line in lines(set) {
        text += &format!("{}\n", without_node(set, line.strip_prefix("  ").unwrap_or(&line)));
    }
    text
}

/// A primitive without its node; `None`: nobody is shown it.
pub(super) fn primitive(set: &WorkingSet<'_>, id: ResourceId) -> Option<String> {
    let line = below(set, id).into_iter().next().or_else(|| Some(instance(set, id)))?;
    Some(without_node(set, &line))
}

/// The lines of a resource and of what is inside of it, without headings and instances that do not run.
pub(super) fn one(set: &WorkingSet<'_>, id: ResourceId) -> Vec<String> {
    let found = below(set, id);
    if found.is_empty() && matches!(set.resource_at(id).variant, Variant::Primitive) {
        return vec![instance(set, id)];
    }
    let of_clone = matches!(set.resource_at(id).variant, Variant::Clone(_));
    let stopped = |line: &String| line.starts_with("Stopped: [") || line.contains("):\t Stopped");
    found.into_iter().filter(|l| !(l.ends_with(':') || of_clone && stopped(l))).collect()
}

fn lines(set: &WorkingSet<'_>) -> Vec<String> {
    let text = status_text(set, true);
    let mut lines = text.lines().map(str::to_owned);
    lines.by_ref().find(|l| l.ends_with("* Full List of Resources:"));
    lines.collect()
}

fn depth(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

/// The lines of a resource, the heading included, without indentation.
fn below(set: &WorkingSet<'_>, id: ResourceId) -> Vec<String> {
    let resource = set.resource_at(id);
    let own = |line: &str| {
        let line = line.trim_start().trim_start_matches("* ");
        let name = ["Resource Group: ", "Clone Set: ", "Container bundle: ", "Container bundle set: "]
            .iter()
            .find_map(|title| line.strip_prefix(title))
            .unwrap_or(line);
        name.strip_prefix(resource.id.as_str()).is_some_and(|rest| rest.starts_with(['\t', ' ', ':', '[']))
    };
    let all = lines(set);
    let Some(at) = all.iter().position(|l| own(l)) else { return Vec::new() };
    let level = depth(&all[at]);
    let inside = all[at + 1..].iter().take_while(|l| depth(l) > level);
    let shown = std::iter::once(&all[at]).chain(inside);
    shown.map(|l| l.trim_start().trim_start_matches("* ").to_owned()).collect()
}

/// An instance of a clone, which the lists show only together with others.
fn instance(set: &WorkingSet<'_>, id: ResourceId) -> String {
    let resource = set.resource_at(id);
    let provider = resource.provider.as_ref().map_or(String::new(), |p| format!("{p}:"));
    let name = resource.element().id().unwrap_or(&resource.id);
    let role = match (set.strongest_role(id), set.resource_at(set.outermost(id))) {
        (scheduler::Role::Started, top) if top.is(scheduler::Flags::PROMOTABLE) => {
            scheduler::Role::Unpromoted
        }
        (role, _) => role,
    };
    let node = set.stands_on(id).map_or(String::new(), |n| format!(" {}", set.node_at(n).name));
    format!("{name}\t({}:{provider}{}):\t {}{node}", resource.class, resource.kind, role.as_str())
}

/// A primitive's line without where it runs.
fn without_node(set: &WorkingSet<'_>, line: &str) -> String {
    let Some((head, state)) = line.split_once("):\t") else { return line.to_owned() };
    let state = state.split_once(" [ ").map_or(state, |(before, _)| before);
    let is_node = |word: &str| set.nodes.iter().any(|n| n.name == word);
    let mut dropped = false;
    let words: Vec<&str> = state
        .split(' ')
        .enumerate()
        // The first word is the role.
        .filter(|(at, word)| {
            let node = !dropped && *at > 1 && is_node(word);
            dropped |= node;
            !node
        })
        .map(|(_, word)| word)
        .collect();
    format!("{head}):\t{}", words.join(" "))
}
