//! What a scheduled cluster's status shows that an operator should look at before the cluster acts on it.

use crate::model::{Flags, WorkingSet};

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
