//! Why the administrators' door refuses, and what to type next: nobody who is refused has to look that up.

/// Nothing may be changed here.
pub(crate) const NO_QUORUM: &str = "no quorum: the configuration cannot be changed here; which nodes are missing and what to do next: holdfast doctor";
/// Nobody may be fenced from here.
pub(crate) const NO_QUORUM_TO_FENCE: &str =
    "no quorum: nobody may be fenced from here; which nodes are missing and what to do next: holdfast doctor";
/// This node is no member of an agreed view yet.
pub(crate) const NOT_AGREED: &str =
    "this node has not agreed with the others yet; try again in a moment, and if it lasts: holdfast status";
/// Members are just coming together.
pub(crate) const AGREEING: &str = "members are just agreeing; try again in a moment";
/// Two wanted to change the same document.
pub(crate) const OVERTAKEN: &str =
    "the configuration was changed by somebody else meanwhile; look at it and try again: cibadmin --query";

/// No node of this name.
pub(crate) fn no_node(name: &str) -> String {
    format!("no node \"{name}\" in this cluster; those that are there: crm_node --list")
}

/// No resource of this id.
pub(crate) fn no_resource(id: &str) -> String {
    format!("no resource \"{id}\" in the configuration; those that are there: crm_resource --list")
}

/// The resource has no history there, so it cannot have failed there.
pub(crate) fn nothing_known(resource: &str, node: &str) -> String {
    format!(
        "nothing is known of {resource} on {node}; where it is: crm_resource --locate --resource {resource}; have it looked for: \
         crm_resource --refresh --resource {resource} --node {node}"
    )
}

/// Nodes are fenced in two ways.
pub(crate) fn no_such_fencing(action: &str, node: &str) -> String {
    format!("nodes are fenced by \"off\" or \"reboot\", not by \"{action}\": stonith_admin --reboot {node}")
}

/// No fence device has it among its hosts.
pub(crate) fn out_of_reach(node: &str) -> String {
    format!(
        "no fence device reaches {node}; those that are there: stonith_admin --list-registered; if {node} is certainly down, say so: \
         stonith_admin --confirm {node}"
    )
}

/// A member cannot be declared dead.
pub(crate) fn not_dead(node: &str) -> String {
    format!(
        "{node} takes part in the cluster: it is not dead; to have it fenced: stonith_admin --reboot {node}"
    )
}

/// A member cannot be forgotten.
pub(crate) fn takes_part(node: &str) -> String {
    format!("{node} takes part in the cluster; stop it there first: systemctl stop rgmd cmmd")
}

/// What may still run something is not forgotten.
pub(crate) fn may_run(node: &str) -> String {
    format!(
        "{node} may still be running resources; if it is certainly down, say so first: stonith_admin --confirm {node}"
    )
}

/// Its fencing goes on.
pub(crate) fn being_fenced(node: &str) -> String {
    format!("{node} is being fenced; try again when that is over: stonith_admin --history {node}")
}
