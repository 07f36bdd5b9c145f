//! What is only shown.

use std::collections::BTreeSet;

use scheduler::{
    ColocationView, Flags, HistoryEntry, NodeId, Resource, ResourceId, Role, Variant, WorkingSet,
};

use super::super::output::{Node, Out};
use super::super::session::ctime;
use super::{DONE, Done, Found, NO_SUCH, Stop, Task, text};

pub(super) fn work(
    task: &Task<'_>,
    set: &mut WorkingSet<'_>,
    found: Found,
    overrides: &[(String, String)],
    out: &mut Out<'_>,
) -> Result<Done, Stop> {
    match task.command {
        "list" => {
            if out.is_xml() {
                out.open(Node::new("resources"));
                for id in set.top.clone() {
                    add(set, id, out);
                }
                out.close();
            } else {
                out.print(format_args!("{}", text::all(set)));
            }
            return if set.top.is_empty() { Ok(Done::Status(NO_SUCH)) } else { DONE };
        }
        "list-raw" => {
            if set.top.is_empty() {
                out.error(format_args!("NO resources configured\n"));
                return Ok(Done::Status(NO_SUCH));
            }
            out.list("Resource Names");
            for id in set.top.clone() {
                names(set, id, out);
            }
            out.end();
            return DONE;
        }
        "list-cts" => {
            for id in set.top.clone() {
                test_lines(set, id, out);
            }
            return DONE;
        }
        "list-operations" | "list-all-operations" => {
            operations(task, set, out);
            return DONE;
        }
        "why" => {
            why(set, found, out);
            return DONE;
        }
        _ => {}
    }
    let Some(resource) = found.resource else { return DONE };
    match task.command {
        "query-xml" | "query-xml-raw" => configuration(task, set, resource, out),
        "get-property" => {
            let name = task.given.get(task.command).unwrap_or_default();
            if let Some(value) = set.resource_at(resource).element().get(name) {
                named_value("Properties", name, value, out);
            }
        }
        "get-parameter" => parameter(task, set, resource, out),
        "locate" => locate(task, set, resource, out),
        "digests" => {
            if !overrides.is_empty() {
                return Err(Stop::new(
                    3,
                    "digests of other parameters than those of the configuration are not shown yet",
                ));
            }
            let node = task.node_name.unwrap_or_default();
            let Some((all, secure)) = set.start_digests(&set.resource_at(resource).id.clone(), node) else {
                return Ok(Done::Status(NO_SUCH));
            };
            if out.is_xml() {
                let mut digests = Node::new("digests");
                digests = digests.with("resource", set.resource_at(resource).id.as_str()).with("node", node);
                digests = digests.with("task", "start").with("interval", "0ms");
                for (kind, hash) in [("all", &all), ("nonprivate", &secure)] {
                    digests.push(Node::new("digest").with("type", kind).with("hash", hash.as_str()));
                }
                out.add(digests);
            } else {
                out.print(format_args!("{all} (all parameters)\n{secure} (non-private parameters)\n"));
            }
        }
        _ => constraints(task, set, resource, out),
    }
    DONE
}

fn names(set: &WorkingSet<'_>, id: ResourceId, out: &mut Out<'_>) {
    let resource = set.resource_at(id);
    let parts = match &resource.variant {
        Variant::Bundle(bundle) => {
            let replicas = bundle.replicas.iter();
            replicas.flat_map(|r| [r.ip, Some(r.container), r.connection, r.child]).flatten().collect()
        }
        _ => resource.children.clone(),
    };
    if parts.is_empty() {
        out.item(Some("resource"), &resource.id);
    }
    for part in parts {
        names(set, part, out);
    }
}

/// Lines that a test suite of Pacemaker's reads.
fn test_lines(set: &WorkingSet<'_>, id: ResourceId, out: &mut Out<'_>) {
    let resource = set.resource_at(id);
    let or_none = |text: Option<&str>| text.unwrap_or("NA").to_owned();
    let parent = resource.parent.map(|p| set.resource_at(p).id.as_str());
    let node = set.stands_on(id).map(|n| set.node_at(n).name.as_str());
    out.info(format_args!(
        "Resource: {} {} {} {} {} {} {} {} {}",
        resource.element().name,
        resource.id,
        resource.history_name.as_deref().unwrap_or(&resource.id),
        or_none(parent),
        or_none(resource.provider.as_deref()),
        resource.class,
        resource.kind,
        or_none(node),
        u8::from(resource.class != "stonith"),
    ));
    for child in &resource.children {
        test_lines(set, *child, out);
    }
}

/// A resource with what is inside of it, for programs.
fn add(set: &WorkingSet<'_>, id: ResourceId, out: &mut Out<'_>) {
    let resource = set.resource_at(id);
    let flag = |flag: Flags| if resource.is(flag) { "true" } else { "false" };
    let disabled = match resource.meta.get("target-role").and_then(|r| Role::parse(r)) {
        Some(Role::Stopped) => "true",
        Some(Role::Unpromoted) if resource.is(Flags::PROMOTABLE) => "true",
        _ => "false",
    };
    match &resource.variant {
        Variant::Primitive => out.add(primitive(set, resource, id)),
        Variant::Group => {
            let group = Node::new("group")
                .with("id", resource.id.as_str())
                .with("number_resources", resource.children.len().to_string())
                .with("managed", flag(Flags::MANAGED))
                .with("disabled", disabled);
            inside(set, group, &resource.children, out);
        }
        Variant::Clone(_) => {
            let clone = Node::new("clone")
                .with("id", resource.id.as_str())
                .with("multi_state", flag(Flags::PROMOTABLE))
                .with("unique", flag(Flags::UNIQUE))
                .with("managed", flag(Flags::MANAGED))
                .with("disabled", disabled)
                .with("failed", flag(Flags::FAILED))
                .with("failure_ignored", flag(Flags::FAILURE_IGNORED));
            inside(set, clone, &resource.children, out);
        }
        Variant::Bundle(bundle) => {
            out.open(
                Node::new("bundle")
                    .with("id", resource.id.as_str())
                    .with("image", bundle.image.as_str())
                    .with("unique", flag(Flags::UNIQUE))
                    .with("managed", flag(Flags::MANAGED))
                    .with("failed", flag(Flags::FAILED)),
            );
            for (at, replica) in bundle.replicas.iter().enumerate() {
                let parts = [replica.ip, replica.child, Some(replica.container), replica.connection];
                let parts: Vec<_> = parts.into_iter().flatten().collect();
                inside(set, Node::new("replica").with("id", at.to_string()), &parts, out);
            }
            out.close();
        }
    }
}

fn inside(set: &WorkingSet<'_>, node: Node, parts: &[ResourceId], out: &mut Out<'_>) {
    out.open(node);
    for part in parts {
        add(set, *part, out);
    }
    out.close();
}

fn primitive(set: &WorkingSet<'_>, resource: &Resource<'_>, id: ResourceId) -> Node {
    let flag = |flag: Flags| if resource.is(flag) { "true" } else { "false" };
    let provider = resource.provider.as_ref().map_or(String::new(), |p| format!("{p}:"));
    let name = if resource.is(Flags::UNIQUE) {
        &resource.id
    } else {
        resource.element().id().unwrap_or(&resource.id)
    };
    let promotable = set.resource_at(set.outermost(id)).is(Flags::PROMOTABLE);
    let role = if resource.role == Role::Started && promotable { Role::Unpromoted } else { resource.role };
    let role = if role == Role::Unknown { Role::Stopped } else { role };
    let mut node = Node::new("resource")
        .with("id", name)
        .with("resource_agent", format!("{}:{provider}{}", resource.class, resource.kind))
        .with("role", role.as_str())
        .maybe("target_role", resource.meta.get("target-role").map(String::as_str))
        .with("active", if resource.running_on.is_empty() { "false" } else { "true" })
        .with("orphaned", flag(Flags::ORPHAN))
        .with("blocked", flag(Flags::BLOCKED))
        .with("managed", flag(Flags::MANAGED))
        .with("failed", flag(Flags::FAILED))
        .with("failure_ignored", flag(Flags::FAILURE_IGNORED))
        .with("nodes_running_on", resource.running_on.len().to_string())
        .maybe("pending", resource.pending.as_ref().map(|p| pending(&p.task)));
    for on in &resource.running_on {
        let on = set.node_at(*on);
        let cached = if on.online { "true" } else { "false" };
        node.push(
            Node::new("node")
                .with("name", on.name.as_str())
                .with("id", on.id.as_str())
                .with("cached", cached),
        );
    }
    node
}

fn pending(task: &str) -> &str {
    match task {
        "start" => "Starting",
        "stop" => "Stopping",
        "migrate_to" | "migrate_from" => "Migrating",
        "promote" => "Promoting",
        "demote" => "Demoting",
        "monitor" => "Monitoring",
        other => other,
    }
}

fn operations(task: &Task<'_>, set: &WorkingSet<'_>, out: &mut Out<'_>) {
    let since_start = task.command == "list-operations";
    let found = set.operations(task.given.get("resource"), task.node_name, since_start);
    if found.is_empty() {
        return;
    }
    out.list("Operations");
    for entry in &found {
        operation(set, entry, out);
    }
    out.end();
}

fn operation(set: &WorkingSet<'_>, entry: &HistoryEntry<'_>, out: &mut Out<'_>) {
    let get = |name: &str| entry.xml.get(name).unwrap_or("(null)").to_owned();
    let key = entry.xml.get("operation_key").or(entry.xml.id()).unwrap_or_default();
    let status = status_word(entry.xml.get("op-status").and_then(|s| s.trim().parse().ok()).unwrap_or(-2));
    let changed = entry.xml.get("last-rc-change").and_then(|t| t.trim().parse::<i64>().ok()).map(ctime);
    let resource = set.look_up(entry.resource, false);
    if out.is_xml() {
        let mut node = Node::new("operation")
            .with("op", key)
            .with("node", entry.node)
            .maybe("call", entry.xml.get("call-id"))
            .maybe("rc", entry.xml.get("rc-code"))
            .with("status", status);
        if let Some(resource) = resource.map(|r| set.resource_at(r)) {
            let provider = resource.provider.as_deref().unwrap_or_default();
            let name = resource.element().id().unwrap_or(&resource.id);
            node = node
                .with("rsc", name)
                .with("agent", format!("{}:{provider}:{}", resource.class, resource.kind));
        }
        if let Some(changed) = changed {
            node = node.with("last-rc-change", changed).maybe("exec-time", entry.xml.get("exec-time"));
        }
        out.add(node);
        return;
    }
    let what = resource.and_then(|r| text::primitive(set, r));
    let what = what.unwrap_or_else(|| format!("Unknown resource {}", entry.resource));
    let changed =
        changed.map(|c| format!(", last-rc-change='{c}', exec={}ms", get("exec-time"))).unwrap_or_default();
    out.indented(format_args!(
        "{what}: {key} (node={}, call={}, rc={}{changed}): {status}",
        entry.node,
        get("call-id"),
        get("rc-code")
    ));
}

/// How an operation was carried out.
pub(super) fn status_word(status: i32) -> &'static str {
    match status {
        -1 => "pending",
        0 => "complete",
        1 => "Cancelled",
        2 => "Timed Out",
        3 => "NOT SUPPORTED",
        4 => "Error",
        5 => "Hard error",
        6 => "Fatal error",
        7 => "Not installed",
        8 => "Internal communication failure",
        9 => "No execution device",
        10 => "No fence device",
        11 => "Invalid fence device ID",
        _ => "UNKNOWN!",
    }
}

fn configuration(task: &Task<'_>, set: &WorkingSet<'_>, id: ResourceId, out: &mut Out<'_>) {
    let resource = set.resource_at(id);
    let raw = task.command == "query-xml-raw";
    let expanded = resource.element();
    let written = raw.then(|| set.document().find_id(expanded.id().unwrap_or_default())).flatten();
    let mut element = written.unwrap_or(expanded).clone();
    // An instance says which one it is.
    if let Some((_, number)) = resource.id.rsplit_once(':').filter(|_| expanded.id() != Some(&resource.id)) {
        element.attributes.insert("clone", number);
    }
    let xml = element.to_xml();
    if out.is_xml() {
        out.open(Node::new("resource_config"));
        add(set, id, out);
        out.document("xml", &xml);
        out.close();
        return;
    }
    for line in text::one(set, id) {
        out.print(format_args!("{line}\n"));
    }
    out.print(format_args!("Resource XML:\n{xml}"));
}

fn named_value(heading: &str, name: &str, value: &str, out: &mut Out<'_>) {
    if out.is_xml() {
        out.list(heading);
        out.item(Some(name), value);
        out.end();
    } else {
        out.print(format_args!("{value}\n"));
    }
}

fn parameter(task: &Task<'_>, set: &WorkingSet<'_>, id: ResourceId, out: &mut Out<'_>) {
    let resource = set.resource_at(id);
    let name = task.given.get(task.command).unwrap_or_default();
    let active = set.runs_on(id);
    if active.len() > 1 {
        out.error(format_args!(
            "{} is active on more than one node, returning the default value for {name}",
            resource.id
        ));
    }
    let node = active.first().copied().filter(|_| active.len() == 1);
    let value = match task.given.last_of(&["meta", "utilization"]) {
        Some("meta") => resource.meta.get(name).cloned(),
        Some(_) => set.utilization_of(id).get(name).cloned(),
        None => set.parameters_on(id, node).get(name).cloned(),
    };
    match value {
        Some(value) => named_value("Attributes", name, &value, out),
        None => out.error(format_args!("Attribute '{name}' not found for '{}'", resource.id)),
    }
}

/// Where a resource runs, and whether promoted: of a clone all its instances, the last one first.
pub(super) fn places(set: &WorkingSet<'_>, id: ResourceId, name: &str) -> Vec<(NodeId, bool)> {
    let resource = set.resource_at(id);
    let top = set.outermost(id);
    let is_clone = |id: ResourceId| matches!(set.resource_at(id).variant, Variant::Clone(_));
    let all_of = |clone: ResourceId| {
        let of = set.resource_at(clone);
        let promotable = of.is(Flags::PROMOTABLE);
        let mut places: Vec<(NodeId, bool)> = of
            .children
            .iter()
            .flat_map(|child| {
                let promoted = promotable && set.strongest_role(*child) == Role::Promoted;
                set.resource_at(*child).running_on.iter().map(move |node| (*node, promoted))
            })
            .collect();
        places.reverse();
        places
    };
    if is_clone(id) {
        return all_of(id);
    }
    if is_clone(top) && !resource.is(Flags::UNIQUE) && name != resource.id {
        return all_of(top);
    }
    let promoted = set.strongest_role(id) == Role::Promoted;
    resource.running_on.iter().rev().map(|node| (*node, promoted)).collect()
}

fn locate(task: &Task<'_>, set: &WorkingSet<'_>, id: ResourceId, out: &mut Out<'_>) {
    let found = places(set, id, task.name);
    if out.is_xml() {
        let mut nodes = Node::new("nodes").with("resource", task.name);
        for (node, promoted) in found {
            let node = Node::new("node")
                .maybe("state", promoted.then_some("promoted"))
                .text(&set.node_at(node).name);
            nodes.push(node);
        }
        out.add(nodes);
        return;
    }
    if found.is_empty() && !out.quiet {
        out.error(format_args!("resource {} is NOT running", task.name));
    }
    for (node, promoted) in found {
        let node = &set.node_at(node).name;
        if out.quiet {
            out.print(format_args!("{node}\n"));
        } else {
            let role = if promoted { " Promoted" } else { "" };
            out.print(format_args!("resource {} is running on: {node}{role}\n", task.name));
        }
    }
}

/// A score as people read it.
fn score(score: cib::Score) -> String {
    match score {
        cib::Score::INFINITY => "INFINITY".to_owned(),
        cib::Score::MINUS_INFINITY => "-INFINITY".to_owned(),
        score => score.get().to_string(),
    }
}

fn constraints(task: &Task<'_>, set: &mut WorkingSet<'_>, id: ResourceId, out: &mut Out<'_>) {
    set.read_constraints_only();
    let id = if task.force { id } else { set.outermost(id) };
    let recursive = task.command == "stack" || task.given.has("recursive");
    out.open(Node::new("constraints"));
    locations(set, id, out);
    for others in [true, false] {
        colocations(set, id, others, recursive, &mut BTreeSet::new(), out);
    }
    out.close();
}

fn locations(set: &WorkingSet<'_>, id: ResourceId, out: &mut Out<'_>) {
    let views = set.location_views(id);
    if views.is_empty() {
        return;
    }
    let resource = &set.resource_at(id).id;
    if out.is_xml() {
        for view in views {
            out.add(
                Node::new("rsc_location")
                    .with("node", view.node.name.as_str())
                    .with("rsc", resource.as_str())
                    .with("id", view.id)
                    .with("score", score(view.score)),
            );
        }
        return;
    }
    out.list("Locations");
    for view in views {
        let text =
            format!("Node {} (score={}, id={}, rsc={resource})", view.node.name, score(view.score), view.id);
        out.item(None, &text);
    }
    out.end();
}

/// Colocations of a resource: with `others` those in which others depend on it.
fn colocations(
    set: &WorkingSet<'_>,
    id: ResourceId,
    others: bool,
    recursive: bool,
    seen: &mut BTreeSet<ResourceId>,
    out: &mut Out<'_>,
) {
    if !seen.insert(id) {
        return;
    }
    let (this_with, with_this) = set.colocation_views(id);
    let views = if others { with_this } else { this_with };
    if views.is_empty() {
        return;
    }
    let xml = out.is_xml();
    let own = &set.resource_at(id).id;
    if !xml {
        let heading = if others {
            format!("Resources colocated with {own}")
        } else {
            format!("Resources {own} is colocated with")
        };
        out.list(&heading);
    }
    for view in views {
        let other = if others { view.dependent } else { view.primary };
        let name = &set.resource_at(other).id;
        let again = seen.contains(&other);
        if xml {
            out.add(colocation(set, &view));
        } else if again {
            out.item(None, &format!("{name} (id={} - loop)", view.id));
        } else {
            let role = match view.primary_role {
                Role::Unknown | Role::Stopped | Role::Started => String::new(),
                role => format!(" {} role={},", if others { "needs" } else { "with" }, role.as_str()),
            };
            out.item(None, &format!("{name} (score={},{role} id={})", score(view.score), view.id));
        }
        if again {
            continue;
        }
        if !xml {
            out.list("");
        }
        locations(set, other, out);
        if recursive {
            colocations(set, other, others, recursive, seen, out);
        }
        if !xml {
            out.end();
        }
    }
    if !xml {
        out.end();
    }
}

fn colocation(set: &WorkingSet<'_>, view: &ColocationView<'_>) -> Node {
    let role = |role: Role| (role != Role::Unknown).then_some(role.as_str());
    Node::new("rsc_colocation")
        .with("id", view.id)
        .with("rsc", set.resource_at(view.dependent).id.as_str())
        .with("with-rsc", set.resource_at(view.primary).id.as_str())
        .with("score", score(view.score))
        .maybe("node-attribute", view.attribute)
        .maybe("rsc-role", role(view.dependent_role))
        .maybe("with-rsc-role", role(view.primary_role))
}

/// Why resources run or do not.
fn why(set: &WorkingSet<'_>, found: Found, out: &mut Out<'_>) {
    let runs = |id: ResourceId| !set.runs_on(id).is_empty();
    let say = |id: ResourceId, text: String, out: &mut Out<'_>| {
        let id = &set.resource_at(id).id;
        out.item(Some("reason"), &format!("Resource {id} {text}"));
    };
    let node_name = found.node.map(|n| set.node_at(n).name.clone()).unwrap_or_default();
    if out.is_xml() {
        return why_xml(set, found, &node_name, out);
    }
    out.list("Resource Reasons");
    match (found.resource, found.node) {
        (None, None) => {
            for id in set.top.clone() {
                say(id, if runs(id) { "is running" } else { "is not running" }.to_owned(), out);
                checks(set, id, None, out);
            }
        }
        (Some(id), None) => {
            say(id, format!("is {}running", if runs(id) { "" } else { "not " }), out);
            checks(set, id, None, out);
        }
        (Some(id), Some(node)) => {
            let not = if set.runs_on(id).contains(&node) { "" } else { "not " };
            say(id, format!("is {not}running on host {node_name}"), out);
            checks(set, id, Some(node), out);
        }
        (None, Some(node)) => {
            for id in set.node_at(node).running.clone() {
                say(id, format!("is running on host {node_name}"), out);
                checks(set, id, Some(node), out);
            }
        }
    }
    out.end();
}

fn why_xml(set: &WorkingSet<'_>, found: Found, node_name: &str, out: &mut Out<'_>) {
    let runs = |id: ResourceId| if set.runs_on(id).is_empty() { "false" } else { "true" };
    let reason = Node::new("reason");
    match (found.resource, found.node) {
        (Some(id), None) => {
            out.open(reason.with("running", runs(id)));
            checks(set, id, None, out);
        }
        (Some(id), Some(node)) => {
            let on = set.runs_on(id).contains(&node).then_some(node_name);
            out.open(reason.maybe("running_on", on));
            checks(set, id, Some(node), out);
        }
        (None, node) => {
            out.open(reason);
            out.open(Node::new("resources"));
            let all = node.map_or_else(|| set.top.clone(), |n| set.node_at(n).running.clone());
            for id in all {
                let resource = Node::new("resource").with("id", set.resource_at(id).id.as_str());
                let running = if node.is_some() { "true" } else { runs(id) };
                out.open(resource.with("running", running).maybe("host", node.map(|_| node_name)));
                checks(set, id, node, out);
                out.close();
            }
            out.close();
        }
    }
    out.close();
}

/// What may keep a resource from running.
pub(super) fn checks(set: &WorkingSet<'_>, id: ResourceId, node: Option<NodeId>, out: &mut Out<'_>) {
    let resource = set.resource_at(id);
    let top = set.resource_at(set.outermost(id));
    let role = resource.meta.get("target-role").and_then(|r| Role::parse(r));
    let stopped = role == Some(Role::Stopped);
    let unpromotable = role == Some(Role::Unpromoted) && top.is(Flags::PROMOTABLE);
    let unmanaged = resource.meta.get("is-managed").is_some_and(|m| cib::parse_bool(m) != Some(true));
    let locked = resource.locked_to.map(|n| set.node_at(n).name.clone());
    let unhealthy = match node {
        Some(node) => set.is_unhealthy(node),
        None => !set.by_name.is_empty() && set.by_name.iter().all(|n| set.is_unhealthy(*n)),
    };
    let id = &top.id;
    if out.is_xml() {
        let check = Node::new("check")
            .with("id", id.as_str())
            .maybe("remain_stopped", stopped.then_some("true"))
            .maybe("promotable", unpromotable.then_some("false"))
            .maybe("unmanaged", unmanaged.then_some("true"))
            .maybe("locked-to", locked)
            .maybe("unhealthy", unhealthy.then_some("true"));
        out.add(check);
        return;
    }
    out.list("Resource Checks");
    let mut say = |text: String| out.item(Some("check"), &text);
    if stopped {
        say(format!("Configuration specifies '{id}' should remain stopped"));
    }
    if unpromotable {
        say(format!("Configuration specifies '{id}' should not be promoted"));
    }
    if unmanaged {
        say(format!("Configuration prevents cluster from stopping or starting unmanaged '{id}'"));
    }
    if let Some(node) = locked {
        say(format!("'{id}' is locked to node {node} due to shutdown"));
    }
    if unhealthy {
        let strategy = set.options.all.get("node-health-strategy").map_or("none", String::as_str);
        say(format!("'{id}' cannot run on unhealthy nodes due to node-health-strategy='{strategy}'"));
    }
    out.end();
}

/// The primitives of a resource and the nodes whose history of them is to be forgotten.
pub(super) fn cleaned(
    set: &WorkingSet<'_>,
    id: ResourceId,
    node: Option<NodeId>,
) -> Vec<(ResourceId, NodeId)> {
    let resource = set.resource_at(id);
    if !resource.children.is_empty() {
        return resource.children.iter().flat_map(|c| cleaned(set, *c, node)).collect();
    }
    let nodes: Vec<NodeId> = match node {
        Some(node) => vec![node],
        None if !resource.known_on.is_empty() => resource.known_on.iter().copied().collect(),
        None => set.by_name.clone(),
    };
    let reachable = |n: &NodeId| node.is_some() || set.node_at(*n).online;
    nodes.into_iter().filter(reachable).map(|n| (id, n)).collect()
}
