//! What a scheduled cluster's status shows that an operator should look at before the cluster acts on it.

use std::collections::BTreeSet;

use crate::model::{Flags, Role, WorkingSet};

/// One thing, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Concern {
    /// Node or resource that it is about; empty: the whole.
    pub about: String,
    /// What is so.
    pub what: String,
    /// What to do about it.
    pub remedy: &'static str,
}

/// What Pacemaker's checker warns of after it has scheduled: nodes to be fenced, orphans that run, a status of nodes that are not
/// configured.
#[must_use]
pub fn concerns(set: &WorkingSet<'_>) -> Vec<Concern> {
    let mut found = Vec::new();
    for id in &set.by_name {
        let node = set.node(*id);
        if node.unclean && !set.is_guest(*id) {
            let fate = if set.can_fence(*id) { "will be fenced" } else { "cannot be fenced" };
            found.push(Concern {
                about: node.name.clone(),
                what: format!("node {} is unclean: it {fate}", node.name),
                remedy: "see what it did last: holdfast simulate -S",
            });
        }
    }
    for resource in &set.resources {
        if resource.is(Flags::ORPHAN) && resource.children.is_empty() && !resource.running_on.is_empty() {
            found.push(Concern {
                about: resource.id.clone(),
                what: format!("resource {} runs, but is no longer in the configuration", resource.id),
                remedy: "it is stopped unless stop-orphan-resources is false; then: crm_resource --cleanup",
            });
        }
    }
    of_operations(set, &mut found);
    for warning in &set.warnings {
        found.push(Concern {
            about: String::new(),
            what: warning.clone(),
            remedy: "what is left out is neither placed nor ordered",
        });
    }
    let constraints = set.document().child("configuration").and_then(|c| c.child("constraints"));
    for location in constraints.into_iter().flat_map(|c| c.children_named("rsc_location")) {
        let Some(pattern) = location.get("rsc-pattern") else { continue };
        if regex::Regex::new(pattern.strip_prefix('!').unwrap_or(pattern)).is_err() {
            let id = location.id().unwrap_or_default();
            found.push(Concern {
                about: id.to_owned(),
                what: format!("constraint {id} is ignored: its rsc-pattern is no regular expression"),
                remedy: "write another pattern, or name the resource with rsc",
            });
        }
    }
    let states = set.document().child("status").into_iter().flat_map(|s| s.children_named("node_state"));
    for state in states {
        let (Some(id), name) = (state.id(), state.get("uname")) else { continue };
        if !set.nodes.iter().any(|n| n.id == id || Some(n.name.as_str()) == name) {
            found.push(Concern {
                about: name.unwrap_or(id).to_owned(),
                what: format!("the status of node {} is ignored: it is not configured", name.unwrap_or(id)),
                remedy: "forget the node: crm_node --remove",
            });
        }
    }
    found
}

/// What cannot be meant by the configuration of an operation, defaults and rules included. Only operations that have a part in
/// what is scheduled are looked at, whether they are carried out or not: so does the peer.
fn of_operations(set: &WorkingSet<'_>, found: &mut Vec<Concern>) {
    let mut seen = BTreeSet::new();
    for action in set.actions.ids() {
        let Some(resource) = set.actions[action].resource else { continue };
        let (task, interval_ms) = set.operation_of(action);
        if !seen.insert((resource, task.clone(), interval_ms)) {
            continue;
        }
        let meta = set.operation_meta(resource, &task, interval_ms);
        let id = &set.resource(resource).id;
        let mut say = |what: String, remedy: &'static str| {
            found.push(Concern { about: id.clone(), what: format!("{task} of {id}: {what}"), remedy });
        };
        if let Some(value) = meta.get("on-fail") {
            let configured = set.configured_operation(resource, &task, interval_ms);
            let of_promoted = task == "monitor"
                && interval_ms > 0
                && configured.and_then(|op| op.get("role")).and_then(Role::parse) == Some(Role::Promoted);
            match value.to_ascii_lowercase().as_str() {
                "standby" | "demote" | "stop" if task == "stop" => say(
                    format!("on-fail {value} is not allowed for stop: the default is used"),
                    "write fence, block or ignore",
                ),
                "demote" if task != "promote" && !of_promoted => say(
                    format!("on-fail demote is not allowed for {task}: the default is used"),
                    "use it with promote, and with recurring monitors of role Promoted",
                ),
                "fence" if !set.options.fencing => say(
                    "on-fail fence without fencing makes no sense: the resource is stopped".to_owned(),
                    "set the option stonith-enabled to true, or write another on-fail",
                ),
                "ignore" | "nothing" | "block" | "fence" | "standby" | "migrate" | "stop" | "restart"
                | "restart-container" | "demote" => {}
                _ => say(
                    format!("on-fail \"{}\" is not possible, and ignored", value.escape_debug()),
                    "write restart, block, stop, fence, standby, demote or ignore",
                ),
            }
        }
        if interval_ms > 0
            && !meta.contains_key("start-delay")
            && let Some(origin) = meta.get("interval-origin").filter(|o| cib::Moment::parse(o).is_none())
        {
            say(
                format!("interval-origin \"{}\" is no date, and ignored", origin.escape_debug()),
                "write a date as 2026-01-31 08:00:00",
            );
        }
    }
}
