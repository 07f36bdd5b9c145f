//! What is going to be done, a line for each resource and node that changes, with the reason.

use std::fmt::Write;
use std::rc::Rc;

use super::Markup;
use crate::actions::{ActionId, Is, Task};
use crate::model::{Flags, NodeId, ResourceId, Role, Variant, WorkingSet};

/// What becomes of a resource.
struct Change {
    change: &'static str,
    id: String,
    /// Where it is, and where it will be: not both nowhere.
    from: Option<String>,
    to: Option<String>,
    role: Role,
    next_role: Role,
    reason: Option<Rc<str>>,
    blocked: bool,
}

/// A node that is fenced.
struct Fenced {
    operation: String,
    /// Its name; of a guest with its resource.
    node: String,
    reason: Rc<str>,
}

/// The second part of what `crm_simulate` prints: what is going to change. After [`WorkingSet::graph`].
#[must_use]
pub fn transition_summary(set: &mut WorkingSet<'_>) -> String {
    let (fenced, changes) = set.summarize_all();
    let mut out = String::from("Transition Summary:\n");
    for Fenced { operation, node, reason } in fenced {
        let _ = writeln!(out, "  * Fence ({operation}) {node} '{reason}'");
    }
    let lines: Vec<_> = changes.iter().map(|c| (c, c.details(), c.because())).collect();
    // A column is as wide as the longest before it made it; an id that is too long makes room for two letters more.
    let id_width =
        changes.iter().map(|c| c.id.len()).fold(5, |width, len| if len > width { len + 2 } else { width });
    let details_width = lines.iter().map(|(_, details, _)| details.len()).fold(5, usize::max);
    for (Change { change, id, .. }, details, because) in &lines {
        let because = because.as_ref().map(|r| format!("  {r}")).unwrap_or_default();
        let _ = writeln!(out, "  * {change:<8}   {id:<id_width$}   ( {details:>details_width$} ){because}");
    }
    out
}

/// The same for programs: a `node_action` or `rsc_action` each. After [`WorkingSet::graph`].
#[must_use]
pub fn transition_markup(set: &mut WorkingSet<'_>) -> Vec<Markup> {
    let (fenced, changes) = set.summarize_all();
    let fenced = fenced.into_iter().map(|Fenced { operation, node, reason }| {
        let task = format!("Fence ({operation})");
        Markup::new("node_action").with("task", &task).with("node", &node).with("reason", &reason)
    });
    fenced.chain(changes.iter().map(Change::markup)).collect()
}

impl Change {
    /// Its role matters: it is one that can be promoted.
    fn with_role(&self) -> bool {
        self.role > Role::Started || self.next_role > Role::Unpromoted
    }

    fn details(&self) -> String {
        let (with_role, same_role) = (self.with_role(), self.role == self.next_role);
        let (role, next_role) = (self.role.as_str(), self.next_role.as_str());
        match (self.from.as_deref(), self.to.as_deref()) {
            (None, None) => String::new(),
            (None, Some(there)) if with_role => format!("{role} -> {next_role} {there}"),
            (Some(here), None) if with_role => format!("{role} {here}"),
            (None, Some(place)) | (Some(place), None) => place.to_owned(),
            (Some(here), Some(there)) if here == there => {
                if !same_role {
                    format!("{role} -> {next_role} {here}")
                } else if with_role {
                    format!("{role} {here}")
                } else {
                    here.to_owned()
                }
            }
            (Some(here), Some(there)) if !same_role => format!("{role} {here} -> {next_role} {there}"),
            (Some(here), Some(there)) if with_role => format!("{here} -> {there} {role}"),
            (Some(here), Some(there)) => format!("{here} -> {there}"),
        }
    }

    fn because(&self) -> Option<String> {
        match &self.reason {
            Some(reason) if !self.blocked => Some(format!("due to {reason}")),
            Some(reason) => Some(format!("due to {reason} (blocked)")),
            None => self.blocked.then(|| "blocked".to_owned()),
        }
    }

    fn markup(&self) -> Markup {
        let (with_role, same_role) = (self.with_role(), self.role == self.next_role);
        let (role, next_role) = (Some(self.role.as_str()), Some(self.next_role.as_str()));
        let (from, to) = (self.from.as_deref(), self.to.as_deref());
        let element = Markup::new("rsc_action")
            .with("action", &self.change.to_ascii_lowercase())
            .with("resource", &self.id);
        let only = |name: &'static str, of: Option<&'static str>| (name, of.filter(|_| with_role));
        let element = match (from, to) {
            (None, _) if with_role => {
                element.with_all(&[("role", role), ("next-role", next_role), ("dest", to)])
            }
            (None, _) => element.with_all(&[("node", to)]),
            (_, None) => element.with_all(&[only("role", role), ("node", from)]),
            _ if same_role && from == to => element.with_all(&[only("role", role), ("source", from)]),
            _ if same_role => element.with_all(&[("source", from), ("dest", to), only("role", role)]),
            _ if from == to => {
                element.with_all(&[("role", role), ("next-role", next_role), ("source", from)])
            }
            _ => {
                element.with_all(&[("role", role), ("source", from), ("next-role", next_role), ("dest", to)])
            }
        };
        element.with_all(&[("reason", self.reason.as_deref()), ("blocked", self.blocked.then_some("true"))])
    }
}

impl WorkingSet<'_> {
    fn summarize_all(&mut self) -> (Vec<Fenced>, Vec<Change>) {
        let fenced = self.actions.ids().rev().filter_map(|id| self.summarize_fencing(id)).collect();
        let mut changes = Vec::new();
        for id in self.top.clone() {
            self.summarize(id, &mut changes);
        }
        (fenced, changes)
    }

    fn summarize_fencing(&self, id: ActionId) -> Option<Fenced> {
        let action = &self.actions[id];
        let (node, reason) = (action.node?, action.reason.clone()?);
        if action.task != Task::STONITH || action.is.has(Is::OPTIONAL) {
            return None;
        }
        let operation = action.meta("stonith_action").unwrap_or_default().to_owned();
        let container = self.node(node).connection.and_then(|c| self.resource(c).container);
        let container = container.filter(|_| self.is_guest(node));
        let resource = container.map(|c| format!(" (resource: {})", self.resource(c).id)).unwrap_or_default();
        Some(Fenced { operation, node: self.node(node).name.clone() + &resource, reason })
    }

    fn summarize(&mut self, id: ResourceId, lines: &mut Vec<Change>) {
        if let Variant::Bundle(bundle) = self.resource(id).variant.clone() {
            for replica in &bundle.replicas {
                let parts = [replica.ip, Some(replica.container), replica.connection, replica.child];
                for part in parts.into_iter().flatten() {
                    self.summarize(part, lines);
                }
            }
            return;
        }
        if !self.resource(id).is_primitive() {
            for child in self.resource(id).children.clone() {
                self.summarize(child, lines);
            }
            return;
        }
        let current = self.current_node(id).filter(|_| !self.resource(id).running_on.is_empty());
        let resource = self.resource_mut(id);
        if current.is_some() && resource.role == Role::Stopped {
            resource.role = Role::Started;
        }
        let next = resource.assigned;
        if current.is_none() && resource.is(Flags::ORPHAN)
            || !resource.is(Flags::MANAGED)
            || current.is_none() && next.is_none()
        {
            return;
        }
        self.summarize_change(id, current, next, lines);
    }

    fn summarize_change(
        &mut self,
        id: ResourceId,
        current: Option<NodeId>,
        next: Option<NodeId>,
        lines: &mut Vec<Change>,
    ) {
        let moving = current.is_some() && next.is_some() && current != next;
        let one = |set: &mut Self, task, node| set.find_actions(id, (task, 0), node).first().copied();
        let start = one(self, Task::START, next);
        let starts = start.is_some_and(|s| self.is(s, Is::RUNNABLE));
        let mut stop = one(self, Task::STOP, current.filter(|_| starts));
        if stop.is_none() && self.resource(id).is(Flags::STOP_UNEXPECTED) {
            stop = one(self, Task::STOP, None);
        }
        let promote = one(self, Task::PROMOTE, next);
        let demote = one(self, Task::DEMOTE, next);
        let required =
            |set: &Self, action: Option<ActionId>| action.is_some_and(|a| !set.is(a, Is::OPTIONAL));
        let resource = self.resource(id);
        let (failed, reload) = (resource.is(Flags::FAILED), resource.is(Flags::RELOAD));
        let (role, next_role) = (resource.role, resource.next_role);
        if role == next_role {
            if next.is_none() {
                return;
            }
            let migrate = one(self, Task::MIGRATE_FROM, next);
            let migrates = current.is_some() && migrate.is_some_and(|m| self.is(m, Is::RUNNABLE));
            let line = if migrates {
                self.line("Migrate", id, current, next, start, None)
            } else if reload {
                self.line("Reload", id, current, next, start, None)
            } else if !required(self, start) {
                if !required(self, demote) || !required(self, promote) {
                    return;
                }
                self.line("Re-promote", id, current, next, promote, demote)
            } else if !starts {
                let because = stop.filter(|s| self.actions[*s].reason.is_some()).or(start);
                self.line("Stop", id, current, None, stop, because)
            } else if moving {
                self.line(if failed { "Recover" } else { "Move" }, id, current, next, stop, None)
            } else if failed {
                self.line("Recover", id, current, None, stop, None)
            } else {
                self.line("Restart", id, current, next, start, None)
            };
            lines.extend(line);
            return;
        }
        if stop.is_some() && (next_role == Role::Stopped || start.is_some() && !starts) {
            for node in self.resource(id).running_on.clone() {
                let stop = one(self, Task::STOP, Some(node));
                let because = stop.filter(|s| self.actions[*s].reason.is_some()).or(start);
                let line = self.line("Stop", id, Some(node), None, stop, because);
                lines.extend(line);
            }
            return;
        }
        let line = if stop.is_some() && self.resource(id).is(Flags::FAILED | Flags::MUST_STOP) {
            self.line("Recover", id, current, next, stop, start)
        } else if moving {
            self.line("Move", id, current, next, stop, None)
        } else if reload {
            self.line("Reload", id, current, next, start, None)
        } else if required(self, stop) {
            self.line("Restart", id, current, next, start, None)
        } else if role == Role::Promoted {
            self.line("Demote", id, current, next, demote, None)
        } else if next_role == Role::Promoted {
            self.line("Promote", id, current, next, promote, None)
        } else if role == Role::Stopped && next_role > Role::Stopped {
            self.line("Start", id, current, next, start, None)
        } else {
            None
        };
        lines.extend(line);
    }

    /// A line about `action`, whose reason is that of `because`, if that is another one.
    fn line(
        &self,
        change: &'static str,
        id: ResourceId,
        from: Option<NodeId>,
        to: Option<NodeId>,
        action: Option<ActionId>,
        because: Option<ActionId>,
    ) -> Option<Change> {
        let action = action?;
        from.or(to)?;
        let resource = self.resource(id);
        let name = |node: NodeId| self.node(node).name.clone();
        Some(Change {
            change,
            id: resource.id.clone(),
            from: from.map(name),
            to: to.map(name),
            role: resource.role,
            next_role: resource.next_role,
            reason: self.actions[because.unwrap_or(action)].reason.clone(),
            blocked: !self.is(action, Is::RUNNABLE),
        })
    }
}
