//! Actions and what comes before what, as a drawing in the language of Graphviz.

use std::fmt::Write;

use crate::model::{Flags, WorkingSet};
use crate::orderings::Kind;

use super::{ActionId, Is, Key, Task};

impl WorkingSet<'_> {
    /// The graph as a drawing: what is done in green, what should be done and cannot in red; with `all` also what need not be
    /// done, in blue. Pseudo-actions have orange letters. After [`Self::graph`].
    #[must_use]
    pub fn dot(&self, all: bool) -> String {
        let mut out = String::from(" digraph \"g\" {\n");
        let mut drawn = vec![false; self.actions.table.len()];
        for id in self.actions.ids().rev() {
            let action = &self.actions[id];
            let unmanaged = action.resource.is_some_and(|r| !self.resource(r).is(Flags::MANAGED));
            let mut font = if action.is.has(Is::PSEUDO) { "orange" } else { "black" };
            let (style, color) = if action.is.has(Is::IN_GRAPH) {
                ("bold", "green")
            } else if unmanaged {
                font = "purple";
                ("dashed", "red")
            } else if action.is.has(Is::OPTIONAL) {
                ("dashed", "blue")
            } else {
                ("dashed", "red")
            };
            if !all && !action.is.has(Is::IN_GRAPH) && (unmanaged || action.is.has(Is::OPTIONAL)) {
                continue;
            }
            drawn[id.0 as usize] = true;
            let name = Quoted(self.dot_name(id));
            let _ = writeln!(out, "{name} [ style={style} color=\"{color}\" fontcolor=\"{font}\"]");
        }
        for id in self.actions.ids().rev() {
            for edge in &self.actions[id].before {
                let both = drawn[id.0 as usize] && drawn[edge.other.0 as usize] && edge.kind != Kind::LOAD;
                if !edge.in_graph && (edge.kind == Kind::NONE || !(both || all)) {
                    continue;
                }
                let (first, then) = (Quoted(self.dot_name(edge.other)), Quoted(self.dot_name(id)));
                let style = if edge.in_graph { "bold" } else { "dashed" };
                let _ = writeln!(out, "{first} -> {then} [ style = {style}]");
            }
        }
        out + "}\n"
    }

    fn dot_name(&self, id: ActionId) -> String {
        let action = &self.actions[id];
        let task = self.actions.tasks.name(action.task);
        let place = match action.node {
            Some(node) => format!(" {}", self.node(node).name),
            None if action.is.has(Is::PSEUDO) => String::new(),
            None => " <none>".to_owned(),
        };
        let known_as = action.resource.and_then(|r| self.resource(r).history_name.as_deref());
        let prefix = if action.task == Task::CANCEL { "Cancel " } else { "" };
        if let Some(name) = known_as {
            let key = if matches!(action.task, Task::NOTIFY | Task::NOTIFIED) {
                let meta = |name: &str| action.meta(name).unwrap_or_default();
                format!("{name}_{}_notify_{}_0", meta("notify_key_type"), meta("notify_key_operation"))
            } else {
                let task = match &action.key {
                    Key::Of(task, _) if action.task == Task::CANCEL => self.actions.tasks.name(*task),
                    _ => task,
                };
                format!("{name}_{task}_{}", action.interval_ms())
            };
            return format!("{prefix}{key}{place}");
        }
        if action.task == Task::STONITH {
            return format!("{task} '{}'{place}", action.meta("stonith_action").unwrap_or_default());
        }
        if action.resource.is_some() || place.is_empty() {
            return format!("{prefix}{}{place}", self.key_of(id));
        }
        format!("{prefix}{task}{place}")
    }
}

/// A name between quotes, of which it may hold none itself.
struct Quoted(String);

impl std::fmt::Display for Quoted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "\"{}\"", self.0.replace('"', "\\\""))
    }
}
