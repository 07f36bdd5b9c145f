//! What a simulation did, in the words of Pacemaker's tools.

use std::fmt;

use crate::simulate::Event;

impl fmt::Display for Event {
    /// One line, without what marks it as one of a list.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pseudo { key, node: None } => write!(f, "Pseudo action:   {key}"),
            Self::Pseudo { key, node: Some(node) } => write!(f, "Pseudo action:   {key} on {node}"),
            Self::Resource { resource, operation, interval_ms: 0, node } => {
                write!(f, "Resource action: {resource:<15} {operation} on {node}")
            }
            Self::Resource { resource, operation, interval_ms, node } => {
                write!(f, "Resource action: {resource:<15} {operation}={interval_ms} on {node}")
            }
            Self::Cluster { task, resource: None, node } => write!(f, "Cluster action:  {task} on {node}"),
            Self::Cluster { task, resource: Some(resource), node } => {
                write!(f, "Cluster action:  {task} for {resource} on {node}")
            }
            Self::Fencing { node, action } => write!(f, "Fencing {node} ({action})"),
            Self::Pretended { id, rc } => write!(f, "Pretending action {id} failed with rc={rc}"),
            Self::Attribute { name, value, node_id } => {
                write!(f, "Injecting attribute {name}={value} into /node_state '{node_id}'")
            }
            Self::Modification(text) | Self::Refused(text) => f.write_str(text),
        }
    }
}

impl Event {
    /// Its line in a list, indented; what stands outside of the list has no mark. `None`: it is a complaint.
    #[must_use]
    pub fn line(&self) -> Option<String> {
        match self {
            Self::Refused(_) => None,
            Self::Pretended { .. } => Some(format!("{self}\n")),
            _ => Some(format!("  * {self}\n")),
        }
    }
}
