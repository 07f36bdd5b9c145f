//! What is going to be done, a line for each resource and node that changes, with the reason.

use std::fmt::Write;

use crate::actions::{ActionId, Is, Task};
use crate::model::{Flags, NodeId, ResourceId, Role, Variant, WorkingSet};

/// One line about a resource.
struct Line {
    change: &'static str,
    id: String,
    details: String,
    reason: Option<String>,
}

/// The second part of what `crm_simulate` prints: what is going to change. After [`WorkingSet::graph`].
#[must_use]
pub fn transition_summary(set: &mut WorkingSet<'_>) -> String {
    let mut out = String::from("Transition Summary:\n");
    for id in set.actions.ids().rev() {
        set.summarize_fencing(id, &mut out);
    }
    let mut lines = Vec::new();
    for id in set.top.clone() {
        set.summarize(id, &mut lines);
    }
    // A column is as wide as the longest before it made it; an id that is too long makes room for two letters more.
    let id_width =
        lines.iter().map(|l| l.id.len()).fold(5, |width, len| if len > width { len + 2 } else { width });
    let details_width = lines.iter().map(|l| l.details.len()).fold(5, usize::max);
    for line in lines {
        let Line { change, id, details, reason } = line;
        let reason = reason.map(|r| format!("  {r}")).unwrap_or_default();
        let _ = writeln!(out, "  * {change:<8}   {id:<id_width$}   ( {details:>details_width$} ){reason}");
    }
    out
}

impl WorkingSet<'_> {
    fn summarize_fencing(&self, id: ActionId, out: &mut String) {
        let action = &self.actions[id];
        let (Some(node), Some(reason)) = (action.node, &action.reason) else { return };
        if action.task != Task::STONITH || action.is.has(Is::OPTIONAL) {
            return;
        }
        let operation = action.meta("stonith_action").unwrap_or_default();
        let container = self.node(node).connection.and_then(|c| self.resource(c).container);
        let container = container.filter(|_| self.is_guest(node));
        let resource = container.map(|c| format!(" (resource: {})", self.resource(c).id)).unwrap_or_default();
        let _ = writeln!(out, "  * Fence ({operation}) {}{resource} '{reason}'", self.node(node).name);
    }

    fn summarize(&mut self, id: ResourceId, lines: &mut Vec<Line>) {
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
        lines: &mut Vec<Line>,
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
                self.line("Restart", id, current, None, start, None)
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
        origin: Option<NodeId>,
        destination: Option<NodeId>,
        action: Option<ActionId>,
        because: Option<ActionId>,
    ) -> Option<Line> {
        let action = action?;
        let resource = self.resource(id);
        let with_role = resource.role > Role::Started || resource.next_role > Role::Unpromoted;
        let same_role = resource.role == resource.next_role;
        let (role, next_role) = (resource.role.as_str(), resource.next_role.as_str());
        let name = |node: NodeId| self.node(node).name.as_str();
        let details = match (origin, destination) {
            (None, None) => return None,
            (None, Some(there)) if with_role => format!("{role} -> {next_role} {}", name(there)),
            (None, Some(there)) => name(there).to_owned(),
            (Some(here), None) if with_role => format!("{role} {}", name(here)),
            (Some(here), None) => name(here).to_owned(),
            (Some(here), Some(there)) if here == there => {
                if !same_role {
                    format!("{role} -> {next_role} {}", name(here))
                } else if with_role {
                    format!("{role} {}", name(here))
                } else {
                    name(here).to_owned()
                }
            }
            (Some(here), Some(there)) if !same_role => {
                format!("{role} {} -> {next_role} {}", name(here), name(there))
            }
            (Some(here), Some(there)) if with_role => format!("{} -> {} {role}", name(here), name(there)),
            (Some(here), Some(there)) => format!("{} -> {}", name(here), name(there)),
        };
        let runnable = self.is(action, Is::RUNNABLE);
        let reason = match &self.actions[because.unwrap_or(action)].reason {
            Some(reason) if runnable => Some(format!("due to {reason}")),
            Some(reason) => Some(format!("due to {reason} (blocked)")),
            None => (!runnable).then(|| "blocked".to_owned()),
        };
        Some(Line { change, id: resource.id.clone(), details, reason })
    }
}
