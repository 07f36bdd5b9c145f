//! The table of actions: what one is, finding and making them, and the edges between them.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use indexmap::IndexMap;

use crate::model::{Flags, NoQuorumPolicy, NodeId, ResourceId, Role, WorkingSet};
use crate::orderings::{Kind, Ordering, Parts};

use super::task::{Task, Tasks};

/// An action's place in the table. Actions are numbered in the order in which they were made, which shows in the graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ActionId(pub(crate) u32);

/// What is true of an action.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Is(u32);

impl Is {
    /// Not a thing to do, but a point that others are ordered by.
    pub(crate) const PSEUDO: Self = Self(1);
    /// It can be done.
    pub(crate) const RUNNABLE: Self = Self(1 << 1);
    /// It need not be done.
    pub(crate) const OPTIONAL: Self = Self(1 << 2);
    /// It stands in the graph even if it need not be done.
    pub(crate) const PRINT_ALWAYS: Self = Self(1 << 3);
    /// It takes part in a live migration.
    pub(crate) const MIGRATABLE: Self = Self(1 << 4);
    /// The stop of what a migration left behind.
    pub(crate) const DANGLING: Self = Self(1 << 5);
    /// Runnable as soon as so many of those before it are.
    pub(crate) const REQUIRES_ANY: Self = Self(1 << 6);
    /// A recurring operation that has to begin anew.
    pub(crate) const RESCHEDULE: Self = Self(1 << 7);
    /// The controller that leads does it, wherever it is about.
    pub(crate) const ON_DC: Self = Self(1 << 8);
    /// Its inputs have been sorted.
    pub(crate) const DEDUPLICATED: Self = Self(1 << 9);
    /// It stands in the graph.
    pub(crate) const IN_GRAPH: Self = Self(1 << 10);

    pub(crate) const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    pub(crate) const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(crate) const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    pub(crate) const fn of(self, filter: Self) -> Self {
        Self(self.0 & filter.0)
    }
}

/// What the cluster needs before an action can be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Needs {
    Nothing,
    Quorum,
    Fencing,
}

/// What an action is found by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    /// Task and interval of a resource's action.
    Of(Task, u64),
    /// An action without a resource.
    Named(Rc<str>),
}

/// An edge, seen from one end.
#[derive(Clone, Debug)]
pub(crate) struct Edge {
    pub(crate) other: ActionId,
    pub(crate) kind: Kind,
    /// It is an input in the graph.
    pub(crate) in_graph: bool,
}

/// An action.
#[derive(Clone, Debug)]
pub(crate) struct Action {
    pub(crate) resource: Option<ResourceId>,
    pub(crate) node: Option<NodeId>,
    pub(crate) key: Key,
    pub(crate) task: Task,
    pub(crate) is: Is,
    pub(crate) needs: Needs,
    pub(crate) reason: Option<Rc<str>>,
    /// Priority of its own.
    pub(crate) urgent: bool,
    /// Of one that needs some of those before it: how many, and how many there are.
    pub(crate) required_before: u32,
    pub(crate) runnable_before: u32,
    /// Attributes that it brings along, as names without `CRM_meta_`.
    pub(crate) meta: Vec<(String, String)>,
    /// Those before it, oldest first; their kinds may change later.
    pub(crate) before: Vec<Edge>,
    /// The exit status that an agent is expected to have, if that is not success.
    pub(crate) expected: Option<u8>,
    /// Those after it, oldest first, with the kinds of the edges as they were when they were made.
    pub(crate) after: Vec<(ActionId, Kind)>,
    /// Those of them that have to be done if this one has to.
    pub(crate) implied: Vec<ActionId>,
    /// See `WorkingSet::order_probes`.
    pub(crate) visited: u32,
}

impl Action {
    pub(crate) fn interval_ms(&self) -> u64 {
        match self.key {
            Key::Of(_, interval) => interval,
            Key::Named(_) => 0,
        }
    }

    /// The task that its key names, which differs from what is done for a cancelled operation.
    pub(crate) fn key_task(&self) -> Option<Task> {
        match self.key {
            Key::Of(task, _) => Some(task),
            Key::Named(_) => None,
        }
    }

    pub(crate) fn set_meta(&mut self, name: &str, value: impl Into<String>) {
        let value = value.into();
        match self.meta.iter_mut().find(|(n, _)| n == name) {
            Some(known) => known.1 = value,
            None => self.meta.push((name.to_owned(), value)),
        }
    }

    pub(crate) fn meta(&self, name: &str) -> Option<&str> {
        self.meta.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }
}

/// All actions, and what orders them.
#[derive(Debug, Default)]
pub(crate) struct Actions {
    pub(crate) table: Vec<Action>,
    /// By resource, oldest first.
    by_resource: Vec<Vec<ActionId>>,
    /// Those without a resource, by key.
    named: BTreeMap<Rc<str>, Vec<ActionId>>,
    /// All kinds of edges between two actions.
    edges: IndexMap<(ActionId, ActionId), Kind>,
    pub(crate) tasks: Tasks,
    /// Orderings in the order in which they were made.
    pub(crate) orderings: Vec<Ordering>,
    /// How many of the orders of the history have been carried out.
    pub(super) orders_done: usize,
    pub(crate) visit: u32,
    /// Edges from probes to what depends on what they find.
    pub(crate) probe_edges: u32,
    /// Collectives none of whose parts can do this: their dependents have been blocked.
    pub(crate) blocked: BTreeSet<(ResourceId, Task)>,
    /// What is known of the parts of collectives.
    pub(crate) parts: Parts,
    /// Containers of bundles whose probes come before the others' starts.
    pub(super) probed_containers: BTreeSet<ResourceId>,
}

impl Actions {
    pub(crate) fn of(&self, resource: ResourceId) -> &[ActionId] {
        self.by_resource.get(resource.0 as usize).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn named(&self, key: &str) -> Option<ActionId> {
        self.named.get(key).and_then(|all| all.first().copied())
    }

    pub(crate) fn ids(&self) -> impl DoubleEndedIterator<Item = ActionId> + use<> {
        (0..self.table.len() as u32).map(ActionId)
    }
}

impl std::ops::Index<ActionId> for Actions {
    type Output = Action;
    fn index(&self, id: ActionId) -> &Action {
        &self.table[id.0 as usize]
    }
}

impl std::ops::IndexMut<ActionId> for Actions {
    fn index_mut(&mut self, id: ActionId) -> &mut Action {
        &mut self.table[id.0 as usize]
    }
}

impl WorkingSet<'_> {
    pub(crate) fn is(&self, action: ActionId, what: Is) -> bool {
        self.actions[action].is.has(what)
    }

    pub(crate) fn set_is(&mut self, action: ActionId, what: Is) {
        self.change_is(action, |is| is.with(what));
    }

    pub(crate) fn clear_is(&mut self, action: ActionId, what: Is) {
        self.change_is(action, |is| is.without(what));
    }

    fn change_is(&mut self, id: ActionId, change: impl FnOnce(Is) -> Is) {
        let action = &mut self.actions[id];
        let before = action.is;
        action.is = change(before);
        let counts = Is::OPTIONAL.with(Is::RUNNABLE);
        if before.of(counts) != action.is.of(counts) {
            let resource = action.resource;
            self.touch(resource);
        }
    }

    /// All actions of a resource with this key. With a node: those there, and those that had none, which now have it.
    pub(crate) fn find_actions(
        &mut self,
        resource: ResourceId,
        key: (Task, u64),
        node: Option<NodeId>,
    ) -> Vec<ActionId> {
        let key = Key::Of(key.0, key.1);
        let mut found = Vec::new();
        let mut given = false;
        for at in 0..self.actions.of(resource).len() {
            let id = self.actions.of(resource)[at];
            let action = &mut self.actions[id];
            if action.key != key {
                continue;
            }
            if node.is_some() {
                given |= action.node.is_none();
                action.node = action.node.or(node);
                if action.node != node {
                    continue;
                }
            }
            found.push(id);
        }
        if given {
            self.touch(Some(resource));
        }
        found
    }

    /// Those of a resource with this key on this very node.
    pub(crate) fn find_actions_on(
        &self,
        resource: ResourceId,
        key: (Task, u64),
        node: NodeId,
    ) -> Vec<ActionId> {
        let key = Key::Of(key.0, key.1);
        let all = self.actions.of(resource).iter().copied();
        all.filter(|a| self.actions[*a].key == key && self.actions[*a].node == Some(node)).collect()
    }

    /// The latest action of a resource that does this (there).
    pub(crate) fn latest(&self, resource: ResourceId, task: Task, node: Option<NodeId>) -> Option<ActionId> {
        self.actions.of(resource).iter().rev().copied().find(|a| {
            let action = &self.actions[*a];
            action.task == task && (node.is_none() || action.node == node)
        })
    }

    /// The latest action of a resource with this key.
    pub(crate) fn latest_by_key(&self, resource: ResourceId, task: Task) -> Option<ActionId> {
        let key = Key::Of(task, 0);
        self.actions.of(resource).iter().rev().copied().find(|a| self.actions[*a].key == key)
    }

    /// A resource's action, made if there is none with this key on the node. One that is asked for as required becomes so.
    pub(crate) fn action(
        &mut self,
        resource: ResourceId,
        (task, interval_ms): (Task, u64),
        node: Option<NodeId>,
        optional: bool,
    ) -> ActionId {
        let found = self.find_actions(resource, (task, interval_ms), node).first().copied();
        let id = found.unwrap_or_else(|| {
            let needs = self.needs_of(resource, task);
            self.new_action(Some(resource), Key::Of(task, interval_ms), task, node, needs, optional)
        });
        let action = &self.actions[id];
        let unmanaged = action.node.is_some()
            && !action.is.has(Is::PSEUDO)
            && !self.resource(resource).is(Flags::MANAGED)
            && action.interval_ms() == 0;
        if unmanaged {
            self.set_is(id, Is::OPTIONAL);
        } else if !optional {
            self.clear_is(id, Is::OPTIONAL);
        }
        self.judge_runnable(id, resource);
        id
    }

    /// An action without a resource.
    pub(crate) fn named_action(
        &mut self,
        key: &str,
        task: Task,
        node: Option<NodeId>,
        optional: bool,
    ) -> ActionId {
        let all = self.actions.named.get(key).cloned().unwrap_or_default();
        let found = all.into_iter().find(|a| {
            let action = &mut self.actions[*a];
            if node.is_some() {
                action.node = action.node.or(node);
            }
            node.is_none() || action.node == node
        });
        let id = found.unwrap_or_else(|| {
            self.new_action(None, Key::Named(key.into()), task, node, Needs::Nothing, optional)
        });
        if !optional {
            self.clear_is(id, Is::OPTIONAL);
        }
        id
    }

    /// A point of order without a resource, by its name.
    pub(crate) fn pseudo_action(&mut self, name: &str) -> ActionId {
        if let Some(known) = self.actions.named(name) {
            return known;
        }
        let task = self.actions.tasks.task(name);
        let id = self.named_action(name, task, None, true);
        self.set_is(id, Is::PSEUDO.with(Is::RUNNABLE));
        id
    }

    fn new_action(
        &mut self,
        resource: Option<ResourceId>,
        key: Key,
        task: Task,
        node: Option<NodeId>,
        needs: Needs,
        optional: bool,
    ) -> ActionId {
        let id = ActionId(self.actions.table.len() as u32);
        match (&key, resource) {
            (Key::Named(name), _) => self.actions.named.entry(name.clone()).or_default().push(id),
            (Key::Of(..), Some(resource)) => {
                let at = resource.0 as usize;
                let lists = &mut self.actions.by_resource;
                if lists.len() <= at {
                    lists.resize_with(at + 1, Vec::new);
                }
                lists[at].push(id);
            }
            (Key::Of(..), None) => {}
        }
        let mut is = Is::RUNNABLE;
        if optional {
            is = is.with(Is::OPTIONAL);
        }
        if task == Task::LRM_DELETE {
            is = is.with(Is::ON_DC);
        }
        self.actions.table.push(Action {
            resource,
            node,
            key,
            task,
            is,
            needs,
            reason: None,
            urgent: false,
            required_before: 0,
            runnable_before: 0,
            meta: Vec::new(),
            before: Vec::new(),
            after: Vec::new(),
            implied: Vec::new(),
            expected: None,
            visited: 0,
        });
        self.touch_new(resource, task);
        id
    }

    fn needs_of(&self, resource: ResourceId, task: Task) -> Needs {
        let resource = self.resource(resource);
        if !matches!(task, Task::START | Task::PROMOTE) {
            Needs::Nothing
        } else if resource.is(Flags::NEEDS_FENCING) {
            Needs::Fencing
        } else if resource.is(Flags::NEEDS_QUORUM) {
            Needs::Quorum
        } else {
            Needs::Nothing
        }
    }

    /// Whether an action can be done where it is to be done, as far as node and quorum go.
    fn judge_runnable(&mut self, id: ActionId, resource: ResourceId) {
        let action = &self.actions[id];
        if action.is.has(Is::PSEUDO) {
            return;
        }
        let Some(node) = action.node else { return self.clear_is(id, Is::RUNNABLE) };
        let (task, needs, on_dc) = (action.task, action.needs, action.is.has(Is::ON_DC));
        let guest = self.is_guest(node);
        let known = self.node(node);
        if !on_dc && !known.online && (!guest || known.requires_reset) {
            let clean = !known.unclean;
            self.clear_is(id, Is::RUNNABLE);
            if self.resource(resource).is(Flags::MANAGED) && task == Task::STOP && clean {
                self.fence_now(node, "stop is unrunnable");
            }
        } else if !on_dc && known.pending {
            self.clear_is(id, Is::RUNNABLE);
        } else if needs == Needs::Nothing {
            self.actions[id].reason = None;
            if guest && !self.can_fence(node) {
                self.clear_is(id, Is::RUNNABLE);
            } else {
                self.set_is(id, Is::RUNNABLE);
            }
        } else {
            self.judge_quorum(id, resource);
        }
    }

    fn judge_quorum(&mut self, id: ActionId, resource: ResourceId) {
        match self.policy_for(resource) {
            NoQuorumPolicy::Stop => {
                self.clear_is(id, Is::RUNNABLE);
                self.actions[id].reason = Some("no quorum".into());
            }
            NoQuorumPolicy::Freeze => {
                let known = self.resource(resource);
                if !self.is_active(resource, true) || known.next_role > known.role {
                    self.clear_is(id, Is::RUNNABLE);
                    self.actions[id].reason = Some("quorum freeze".into());
                }
            }
            _ => self.set_is(id, Is::RUNNABLE),
        }
    }

    fn policy_for(&mut self, id: ResourceId) -> NoQuorumPolicy {
        if self.have_quorum {
            return NoQuorumPolicy::Ignore;
        }
        let policy = self.options.no_quorum_policy;
        if policy != NoQuorumPolicy::Demote {
            return policy;
        }
        let resource = self.resource_mut(id);
        if resource.role < Role::Unpromoted {
            return NoQuorumPolicy::Stop;
        }
        resource.next_role = resource.next_role.min(Role::Unpromoted);
        NoQuorumPolicy::Ignore
    }

    /// Gives an action a reason, unless it has one.
    pub(crate) fn give_reason(&mut self, id: ActionId, reason: &str, overwrite: bool) {
        let known = &mut self.actions[id].reason;
        if known.is_none() || overwrite {
            *known = Some(reason.into());
        }
    }

    /// An edge; whether it is new. One that says what another says already is none.
    pub(crate) fn order(&mut self, first: ActionId, then: ActionId, kind: Kind) -> bool {
        if kind == Kind::NONE {
            return false;
        }
        let known = self.actions.edges.entry((first, then)).or_insert(Kind::NONE);
        if known.any(kind) {
            return false;
        }
        *known = known.with(kind);
        let before = &mut self.actions[then].before;
        before.push(Edge { other: first, kind, in_graph: false });
        let first = &mut self.actions[first];
        first.after.push((then, kind));
        if kind.has(Kind::IMPLIES_THEN) {
            first.implied.push(then);
        }
        true
    }

    /// Fences a node, which makes the action at once.
    pub(crate) fn fence_now(&mut self, node: NodeId, reason: &str) {
        self.fence(node, reason);
        self.carry_out_orders();
    }

    /// Whether an action's key ends with a task, as that of being told of it does, too.
    pub(crate) fn key_ends_with(&self, id: ActionId, task: Task) -> bool {
        let Key::Of(own, 0) = self.actions[id].key else { return false };
        let told = || {
            let name = self.actions.tasks.name(own);
            name.rsplit_once('_').is_some_and(|(_, last)| last == self.actions.tasks.name(task))
        };
        own == task || told()
    }

    /// An action's key as text: `db_monitor_10000`.
    pub(crate) fn key_of(&self, id: ActionId) -> String {
        let action = &self.actions[id];
        match (&action.key, action.resource) {
            (Key::Named(name), _) => name.to_string(),
            (Key::Of(task, interval), Some(resource)) => {
                format!("{}_{}_{interval}", self.resource(resource).id, self.actions.tasks.name(*task))
            }
            (Key::Of(task, interval), None) => format!("{}_{interval}", self.actions.tasks.name(*task)),
        }
    }
}
