//! Moving resources by constraints, and taking those back.

use cib::Element;
use scheduler::{Flags, NodeId, ResourceId, Role, Variant, WorkingSet};

use super::super::dates::{self, Duration, Written};
use super::super::output::Out;
use super::super::results::Code;
use super::super::session::Session;
use super::{DONE, Done, Found, Stop, Task, USAGE};

pub(super) fn work(
    task: &Task<'_>,
    set: &WorkingSet<'_>,
    found: Found,
    session: &mut Session,
    out: &mut Out<'_>,
) -> Result<Done, Stop> {
    match (task.command, found.resource, found.node) {
        ("clear", _, node) => clear_all(task, set, node, session, out),
        (_, None, _) => DONE,
        ("move", Some(id), Some(node)) => move_to(task, set, id, node, session, out),
        ("ban", Some(_), Some(node)) => {
            let until = until(task, session, out)?;
            ban(task, task.name, &set.node_at(node).name, task.promoted, until.as_deref(), session, out)?;
            DONE
        }
        (_, Some(id), None) => leave(task, set, id, session, out),
        (_, Some(_), Some(_)) => DONE,
    }
}

/// A cluster option of ours (decision 43): how long bans and moves last that are made without `--lifetime`.
const DEFAULT_LIFETIME: &str = "holdfast-ban-lifetime";

/// The end of what `--lifetime` asks for, or else the cluster's default lifetime; none: it is for good.
fn until(task: &Task<'_>, session: &mut Session, out: &mut Out<'_>) -> Result<Option<String>, Stop> {
    let (lifetime, whence) = match task.given.get("lifetime") {
        Some(lifetime) => (lifetime.to_owned(), "--lifetime"),
        None => match default_lifetime(&session.document()?) {
            Some(lifetime) => (lifetime, DEFAULT_LIFETIME),
            None => return Ok(None),
        },
    };
    let Some(duration) = Duration::parse(&lifetime) else {
        out.error(format_args!(
            "Invalid duration specified: {lifetime}\n\
             Please refer to https://en.wikipedia.org/wiki/ISO_8601#Durations for examples of valid durations"
        ));
        if whence == DEFAULT_LIFETIME {
            out.error(format_args!(
                "It is the cluster option {whence}; set it anew: crm_attribute -n {whence} -v P1D; or name a --lifetime"
            ));
        }
        return Err(Stop::silent(USAGE));
    };
    let end = duration.after(dates::now()).ok_or_else(|| {
        Stop::new(USAGE, format!("{whence} {lifetime}: no calendar goes so far; write for example P1D"))
    })?;
    let text = Written { local: true, ..Written::default() }.of(end);
    out.info(format_args!("Migration will take effect until: {text}"));
    Ok(Some(text))
}

fn default_lifetime(document: &Element) -> Option<String> {
    let options = document.child("configuration")?.child("crm_config")?;
    let mut pairs = options.children.iter().flat_map(|set| &set.children);
    let set = pairs.find(|pair| pair.name == "nvpair" && pair.get("name") == Some(DEFAULT_LIFETIME))?;
    set.get("value").filter(|value| !value.is_empty()).map(str::to_owned)
}

/// What the original leaves to its manual. It goes to standard error, where scripts that read the answer do not look.
fn hint(task: &Task<'_>, text: &str, out: &mut Out<'_>) {
    if !task.given.has("quiet") && !out.is_xml() {
        out.error(format_args!("crm_resource: {text}"));
    }
}

/// Keeps a resource off a node.
pub(super) fn ban(
    task: &Task<'_>,
    resource: &str,
    node: &str,
    promoted: bool,
    until: Option<&str>,
    session: &mut Session,
    out: &mut Out<'_>,
) -> Result<(), Stop> {
    let id = format!("cli-ban-{resource}-on-{node}");
    out.info(format_args!(
        "WARNING: Creating rsc_location constraint '{id}' with a score of -INFINITY for resource {resource} on {node}.\n\tThis \
         will prevent {resource} from {} on {node} until the constraint is removed using the clear option or by editing the CIB \
         with an appropriate tool\n\tThis will be the case even if {node} is the last node in the cluster",
        if promoted { "being promoted" } else { "running" }
    ));
    if until.is_none() {
        hint(task, &format!("to remove it: crm_resource --clear --resource {resource}"), out);
    }
    let location = location(&id, resource, node, "-INFINITY", promoted, until, &id);
    session.update("constraints", &inside_constraints(vec![location]))?;
    Ok(())
}

fn prefer(
    resource: &str,
    node: &str,
    promoted: bool,
    until: Option<&str>,
    session: &mut Session,
) -> Result<(), Stop> {
    let id = format!("cli-prefer-{resource}");
    let location = location(&id, resource, node, "INFINITY", promoted, until, "cli-prefer");
    session.update("constraints", &inside_constraints(vec![location]))?;
    Ok(())
}

/// A constraint for a node, with a rule if it ends.
fn location(
    id: &str,
    resource: &str,
    node: &str,
    score: &str,
    promoted: bool,
    until: Option<&str>,
    stem: &str,
) -> Element {
    let role = if promoted { "Promoted" } else { "Started" };
    let mut location = Element::new("rsc_location").with("id", id).with("rsc", resource).with("role", role);
    let Some(until) = until else { return location.with("node", node).with("score", score) };
    // The two kinds name their parts differently, and are found by these names again.
    let part = |ban: &str, preference: &str| match stem {
        "cli-prefer" => format!("{stem}-{preference}-{resource}"),
        _ => format!("{stem}-{ban}"),
    };
    let mut rule =
        Element::new("rule").with("id", &part("rule", "rule")).with("score", score).with("boolean-op", "and");
    rule.children.push(
        Element::new("expression")
            .with("id", &part("expr", "expr"))
            .with("attribute", "#uname")
            .with("operation", "eq")
            .with("value", node)
            .with("type", "string"),
    );
    rule.children.push(
        Element::new("date_expression")
            .with("id", &part("lifetime", "lifetime-end"))
            .with("operation", "lt")
            .with("end", until),
    );
    location.children.push(rule);
    location
}

fn inside_constraints(locations: Vec<Element>) -> Element {
    let mut constraints = Element::new("constraints");
    constraints.children = locations.into();
    constraints
}

/// Takes back what prefers or bans a node; `bans`: not only what prefers.
pub(super) fn clear(
    resource: &str,
    node: &str,
    bans: bool,
    force: bool,
    session: &mut Session,
) -> Result<(), Stop> {
    let prefers = format!("cli-prefer-{resource}");
    let document = session.document()?;
    let constraints = document.child("configuration").and_then(|c| c.child("constraints"));
    let locations = || constraints.iter().flat_map(|c| c.children_named("rsc_location"));
    let by_rule = |l: &&Element| {
        let rule = l.child("rule").filter(|r| r.id() == Some(&format!("cli-prefer-rule-{resource}")));
        let names = |e: &Element| e.get("attribute") == Some("#uname") && e.get("value") == Some(node);
        l.id() == Some(prefers.as_str()) && rule.is_some_and(|r| r.children_named("expression").any(names))
    };
    let gone = |l: &&Element| {
        let preferred = l.id() == Some(prefers.as_str()) && (force || l.get("node") == Some(node));
        let banned = bans && l.id() == Some(&format!("cli-ban-{resource}-on-{node}"));
        by_rule(l) || preferred || banned
    };
    let ids: Vec<&str> = locations().filter(gone).filter_map(Element::id).collect();
    for id in ids {
        session.delete("constraints", &Element::new("rsc_location").with("id", id))?;
    }
    Ok(())
}

fn clear_all(
    task: &Task<'_>,
    set: &WorkingSet<'_>,
    node: Option<NodeId>,
    session: &mut Session,
    out: &mut Out<'_>,
) -> Result<Done, Stop> {
    let before = ids(&session.document()?);
    if task.given.has("expired") {
        clear_expired(task, session)?;
    } else {
        let nodes = node.map_or_else(|| set.by_name.clone(), |n| vec![n]);
        for node in nodes {
            clear(task.name, &set.node_at(node).name, true, task.force, session)?;
        }
    }
    if !out.is_quiet() {
        let after = ids(&session.document()?);
        for id in before.iter().filter(|id| !after.contains(id)) {
            out.info(format_args!("Removing constraint: {id}"));
        }
    }
    DONE
}

/// Ids of all location constraints.
fn ids(document: &Element) -> Vec<String> {
    let constraints = document.child("configuration").and_then(|c| c.child("constraints"));
    let locations = constraints.into_iter().flat_map(|c| c.children_named("rsc_location"));
    locations.filter_map(|l| l.id().map(str::to_owned)).collect()
}

/// Takes back what was to end before now.
fn clear_expired(task: &Task<'_>, session: &mut Session) -> Result<(), Stop> {
    let document = session.document()?;
    let constraints = document.child("configuration").and_then(|c| c.child("constraints"));
    let now = dates::now().moment;
    for location in constraints.iter().flat_map(|c| c.children_named("rsc_location")) {
        let id = location.id().unwrap_or_default();
        let of = location.get("rsc").unwrap_or_default();
        let date = if id.starts_with("cli-ban-") {
            format!("{id}-lifetime")
        } else if id.starts_with("cli-prefer-") {
            format!("cli-prefer-lifetime-end-{of}")
        } else {
            continue;
        };
        let names_node = |node: &str| {
            let named = |e: &Element| e.get("attribute") == Some("#uname") && e.get("value") == Some(node);
            location.get("node") == Some(node)
                || location.children_named("rule").any(|r| r.children_named("expression").any(named))
        };
        let wanted = task.given.get("resource").is_none_or(|r| r == of)
            && task.node_name.is_none_or(names_node)
            && (!task.promoted || location.get("role") == Some("Promoted"));
        let end = location.find_id(&date).and_then(|e| e.get("end")).and_then(dates::parse);
        if wanted && end.is_some_and(|end| now > end.moment) {
            session.delete("constraints", &Element::new("rsc_location").with("id", id))?;
        }
    }
    Ok(())
}

/// Whether a resource, or the clone that it is an instance of, can be promoted.
fn is_promotable(set: &WorkingSet<'_>, id: ResourceId) -> bool {
    set.resource_at(id).is(Flags::PROMOTABLE) || set.resource_at(set.outermost(id)).is(Flags::PROMOTABLE)
}

/// Where the promoted instances of a resource are.
fn promoted_on(set: &WorkingSet<'_>, id: ResourceId) -> Vec<NodeId> {
    let children = &set.resource_at(id).children;
    let promoted = children.iter().filter(|c| set.strongest_role(**c) == Role::Promoted);
    promoted.filter_map(|c| set.stands_on(*c)).collect()
}

/// Off the node where it runs, wherever else.
fn leave(
    task: &Task<'_>,
    set: &WorkingSet<'_>,
    id: ResourceId,
    session: &mut Session,
    out: &mut Out<'_>,
) -> Result<Done, Stop> {
    let active = set.active_on(id);
    let name = task.name;
    let promotable = is_promotable(set, id);
    let promoted = if promotable { promoted_on(set, id) } else { Vec::new() };
    let node = match (&active[..], &promoted[..]) {
        ([one], _) => *one,
        (_, [one]) => *one,
        _ if promotable => {
            return Err(Stop::new(
                USAGE,
                format!(
                    "Resource '{name}' not moved: active in {} locations (promoted in {}).\nTo prevent '{name}' from running on a \
                     specific location, specify a node.To prevent '{name}' from being promoted at a specific location, specify a \
                     node and the --promoted option.",
                    active.len(),
                    promoted.len()
                ),
            ));
        }
        _ => {
            return Err(Stop::new(
                USAGE,
                format!(
                    "Resource '{name}' not moved: active in {} locations.\nTo prevent '{name}' from running on a specific \
                     location, specify a node.",
                    active.len()
                ),
            ));
        }
    };
    let until = until(task, session, out)?;
    ban(task, name, &set.node_at(node).name, task.promoted, until.as_deref(), session, out)?;
    DONE
}

fn move_to(
    task: &Task<'_>,
    set: &WorkingSet<'_>,
    id: ResourceId,
    to: NodeId,
    session: &mut Session,
    out: &mut Out<'_>,
) -> Result<Done, Stop> {
    let (name, mut only_promoted) = (task.name.to_owned(), task.promoted);
    if only_promoted && !is_promotable(set, id) {
        out.info(format_args!("Ignoring --promoted option: {name} is not promotable"));
        only_promoted = false;
    }
    let active = set.active_on(id);
    let (mut count, mut current) = (active.len(), active.first().copied());
    let mut is_clone = matches!(set.resource_at(id).variant, Variant::Clone(_));
    if is_promotable(set, id) {
        let promoted = promoted_on(set, id);
        if only_promoted || !promoted.is_empty() {
            (count, current) = (promoted.len(), promoted.last().copied());
            // From here on it is about the one instance.
            is_clone &= promoted.is_empty();
        }
    }
    if count > 1 {
        if !is_clone {
            return Err(Code::MULTIPLE.into());
        }
        current = None;
    }
    let there = current == Some(to);
    if there && !task.force {
        return Err(Code::ALREADY.into());
    }
    let to = &set.node_at(to).name;
    let end = until(task, session, out)?;
    for node in &set.by_name {
        clear(&name, &set.node_at(*node).name, false, task.force, session)?;
    }
    clear(&name, to, true, task.force, session)?;
    prefer(&name, to, only_promoted, end.as_deref(), session)?;
    if !task.force {
        if let Some(place) = where_placed(session, &name).filter(|place| place != to && !only_promoted) {
            let text = format!(
                "{name} rather runs on {place}; to move it nevertheless: crm_resource --move --resource {name} --node {to} --force"
            );
            hint(task, &text, out);
        }
        return DONE;
    }
    if there {
        return DONE;
    }
    match current {
        Some(from) => {
            let end = until(task, session, out)?;
            ban(task, &name, &set.node_at(from).name, only_promoted, end.as_deref(), session, out)?;
        }
        None if count > 1 => {
            let what = if only_promoted { "promoted" } else { "active" };
            out.info(format_args!(
                "Resource '{name}' is currently {what} in {count} locations. One may now move to {to}"
            ));
            out.info(format_args!(
                "To prevent '{name}' from being {what} at a specific location, specify a node."
            ));
        }
        None => {}
    }
    DONE
}

/// Where the scheduler would have a primitive or group now.
fn where_placed(session: &mut Session, name: &str) -> Option<String> {
    let document = session.upgraded().ok()?;
    let mut set = WorkingSet::new(&document, dates::now().moment).ok()?;
    set.without_secrets = true;
    set.place();
    let id = set.look_up(name, true)?;
    let resource = set.resource_at(id);
    let first = match resource.variant {
        Variant::Group => set.resource_at(*resource.children.first()?),
        Variant::Primitive => resource,
        _ => return None,
    };
    first.assigned.map(|node| set.node_at(node).name.clone())
}
