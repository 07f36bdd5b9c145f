//! Notifications: agents of a clone are told before and after each of its actions what is done, where.

use std::rc::Rc;

use crate::model::{Flags, NodeId, ResourceId, Role, Variant, WorkingSet};
use crate::orderings::Kind;

use super::{ActionId, Is, Key, Needs, Task};

/// What is told of one kind of a clone's actions.
#[derive(Clone, Debug)]
pub(crate) struct Notice {
    pub(crate) clone: ResourceId,
    pub(crate) task: Task,
    /// Telling before it, and all having been told; the same after it.
    pub(crate) pre: ActionId,
    pre_done: ActionId,
    post: ActionId,
    pub(crate) post_done: ActionId,
}

/// The points of order that a notification goes between.
#[derive(Clone, Copy)]
struct Points {
    task: Task,
    pre: Option<(ActionId, ActionId)>,
    post: (ActionId, ActionId),
}

/// Instances, and where.
type Entries = Vec<(ResourceId, Option<NodeId>)>;

/// What is told.
#[derive(Default)]
struct Told {
    stop: Entries,
    start: Entries,
    demote: Entries,
    promote: Entries,
    active: Entries,
    promoted: Entries,
    unpromoted: Entries,
    inactive: Entries,
}

impl WorkingSet<'_> {
    /// The points of order for telling of an action, where agents are to be told.
    pub(super) fn notices(
        &mut self,
        id: ResourceId,
        task: Task,
        action: ActionId,
        done: ActionId,
    ) -> Option<Notice> {
        if !self.resource(id).is(Flags::NOTIFY) {
            return None;
        }
        let (pre, pre_done) = self.points_before(id, task, action);
        let (post, post_done) = self.points_after(id, task, done);
        self.order(pre_done, post, Kind::OPTIONAL);
        Some(Notice { clone: id, task, pre, pre_done, post, post_done })
    }

    fn points_before(&mut self, id: ResourceId, task: Task, action: ActionId) -> (ActionId, ActionId) {
        let pre = self.notice_point(id, action, Task::NOTIFY, "pre");
        let pre_done = self.notice_point(id, action, Task::NOTIFIED, "confirmed-pre");
        for point in [pre, pre_done] {
            self.set_is(point, Is::RUNNABLE);
            self.tell_kind(point, "pre", task);
        }
        self.order(pre, pre_done, Kind::OPTIONAL);
        self.order(pre_done, action, Kind::OPTIONAL);
        (pre, pre_done)
    }

    fn points_after(&mut self, id: ResourceId, task: Task, done: ActionId) -> (ActionId, ActionId) {
        let post = self.notice_point(id, done, Task::NOTIFY, "post");
        let post_done = self.notice_point(id, done, Task::NOTIFIED, "confirmed-post");
        for point in [post, post_done] {
            self.actions[point].urgent = true;
            if self.is(done, Is::RUNNABLE) {
                self.set_is(point, Is::RUNNABLE);
            } else {
                self.clear_is(point, Is::RUNNABLE);
            }
            self.tell_kind(point, "post", task);
        }
        self.order(done, post, Kind::IMPLIES_THEN);
        self.order(post, post_done, Kind::IMPLIES_THEN);
        (post, post_done)
    }

    fn tell_kind(&mut self, point: ActionId, kind: &str, task: Task) {
        let task = self.actions.tasks.name(task).to_owned();
        self.actions[point].set_meta("notify_type", kind);
        self.actions[point].set_meta("notify_operation", task);
    }

    fn notice_point(&mut self, id: ResourceId, action: ActionId, task: Task, kind: &str) -> ActionId {
        let of = self.actions.tasks.name(self.actions[action].task).to_owned();
        let key = self.actions.tasks.task(&format!("{kind}_notify_{of}"));
        let optional = self.is(action, Is::OPTIONAL);
        let point = self.action(id, (key, 0), None, optional);
        self.actions[point].task = task;
        self.actions[point].needs = Needs::Nothing;
        self.set_is(point, Is::PSEUDO);
        self.actions[point].set_meta("notify_key_type", kind);
        self.actions[point].set_meta("notify_key_operation", of);
        point
    }

    /// Makes a clone's notifications, now that it is known what is done.
    pub(crate) fn create_notifications(&mut self, id: ResourceId) {
        let order = [Task::START, Task::STOP, Task::PROMOTE, Task::DEMOTE];
        for task in order {
            let Some(notice) = self.notices.iter().find(|n| n.clone == id && n.task == task).cloned() else {
                continue;
            };
            let mut told = Told::default();
            self.collect(id, true, &mut told);
            let meta = self.told_meta(id, &mut told);
            let concerned = match task {
                Task::START => !told.start.is_empty(),
                Task::STOP => !told.stop.is_empty(),
                Task::PROMOTE => !told.promote.is_empty(),
                _ => !told.demote.is_empty(),
            };
            if concerned {
                for point in [notice.pre, notice.pre_done, notice.post, notice.post_done] {
                    self.clear_is(point, Is::OPTIONAL);
                }
            }
            let points = Points {
                task,
                pre: Some((notice.pre, notice.pre_done)),
                post: (notice.post, notice.post_done),
            };
            self.notify(id, points, concerned, &meta);
        }
    }

    /// The others are told of an instance that fencing has stopped, once it has.
    pub(super) fn notify_after_fencing(&mut self, stop: ActionId, id: ResourceId, fencing: ActionId) {
        let post = self.points_after(id, Task::STOP, fencing);
        let mut told = Told::default();
        self.collect(id, false, &mut told);
        let node = self.actions[stop].node.map(|n| self.node(n).name.clone()).unwrap_or_default();
        let meta: Rc<[(String, String)]> = Rc::new([
            ("notify_stop_resource".to_owned(), self.resource(id).id.clone()),
            ("notify_stop_uname".to_owned(), node),
        ]);
        let top = self.top_of(id);
        self.notify(top, Points { task: Task::STOP, pre: None, post }, true, &meta);
    }

    fn collect(&self, id: ResourceId, activity: bool, told: &mut Told) {
        let resource = self.resource(id);
        if !resource.children.is_empty() {
            for child in &resource.children {
                self.collect(*child, activity, told);
            }
            return;
        }
        let entry = (id, resource.running_on.first().copied());
        match resource.role {
            Role::Stopped => told.inactive.push(entry),
            Role::Started => told.active.push(entry),
            Role::Unpromoted => {
                told.unpromoted.push(entry);
                told.active.push(entry);
            }
            Role::Promoted => {
                told.promoted.push(entry);
                told.active.push(entry);
            }
            Role::Unknown => {}
        }
        if !activity {
            return;
        }
        for action in self.actions.of(id).iter().rev() {
            let action = &self.actions[*action];
            let Some(node) = action.node.filter(|_| !action.is.has(Is::OPTIONAL)) else { continue };
            let lost = action.task == Task::STOP && self.node(node).unclean;
            if !lost && !action.is.has(Is::RUNNABLE) {
                continue;
            }
            let into = match action.task {
                Task::START => &mut told.start,
                Task::STOP => &mut told.stop,
                Task::PROMOTE => &mut told.promote,
                Task::DEMOTE => &mut told.demote,
                _ => continue,
            };
            into.push((id, Some(node)));
        }
    }

    /// What is told as attributes of an action.
    fn told_meta(&self, id: ResourceId, told: &mut Told) -> Rc<[(String, String)]> {
        let mut meta = Vec::new();
        let mut add = |name: &str, list: &mut Entries, with_nodes: bool| {
            let node = |n: Option<NodeId>| n.map_or("", |n| self.node(n).id.as_str());
            list.sort_by(|a, b| {
                (&self.resource(a.0).id, node(a.1)).cmp(&(&self.resource(b.0).id, node(b.1)))
            });
            list.dedup_by_key(|e| e.0);
            let resources: Vec<&str> = list.iter().map(|e| self.resource(e.0).id.as_str()).collect();
            let nodes: Vec<&str> =
                list.iter().filter_map(|e| e.1).map(|n| self.node(n).name.as_str()).collect();
            let text = |words: Vec<&str>| if words.is_empty() { " ".to_owned() } else { words.join(" ") };
            meta.push((format!("notify_{name}_resource"), text(resources)));
            if with_nodes {
                meta.push((format!("notify_{name}_uname"), text(nodes)));
            }
        };
        add("stop", &mut told.stop, true);
        add("start", &mut told.start, true);
        add("demote", &mut told.demote, true);
        add("promote", &mut told.promote, true);
        add("active", &mut told.active, true);
        // By the names of today and those of old.
        add("promoted", &mut told.promoted, true);
        add("master", &mut told.promoted, true);
        add("unpromoted", &mut told.unpromoted, true);
        add("slave", &mut told.unpromoted, true);
        add("inactive", &mut told.inactive, false);
        let names = |nodes: Vec<NodeId>| {
            let names: Vec<&str> = nodes.into_iter().map(|n| self.node(n).name.as_str()).collect();
            if names.is_empty() { " ".to_owned() } else { names.join(" ") }
        };
        let allowed = self.by_name.iter().copied().filter(|n| self.score_on(id, *n).is_some()).collect();
        meta.push(("notify_available_uname".to_owned(), names(allowed)));
        let on_host = self.resource(id).meta.get("container-attribute-target").is_some_and(|t| t == "host");
        if on_host {
            let hosts = self.by_name.iter().map(|n| self.host_of(*n)).collect();
            meta.push(("notify_all_hosts".to_owned(), names(hosts)));
        }
        meta.push(("notify_all_uname".to_owned(), names(self.by_name.clone())));
        meta.into()
    }

    /// The cluster node that a guest of a bundle runs on; of others the node itself.
    fn host_of(&self, node: NodeId) -> NodeId {
        let container = self.node(node).connection.and_then(|c| self.resource(c).container);
        let host = container
            .filter(|_| self.is_guest(node))
            .and_then(|c| self.resource(c).running_on.first().copied());
        host.unwrap_or(node)
    }

    fn notify(&mut self, id: ResourceId, points: Points, concerned: bool, meta: &Rc<[(String, String)]>) {
        let resource = self.resource(id);
        if !resource.children.is_empty() || !resource.is_primitive() {
            for child in self.parts_to_notify(id) {
                self.notify(child, points, concerned, meta);
            }
            return;
        }
        for at in (0..self.actions.of(id).len()).rev() {
            let action = self.actions.of(id)[at];
            let known = &self.actions[action];
            let told = matches!(known.task, Task::START | Task::STOP | Task::PROMOTE | Task::DEMOTE);
            if told && !known.is.has(Is::OPTIONAL) && known.node.is_some() {
                self.add_told(action, meta);
            }
        }
        // A stop may be implied by fencing: nobody need be named.
        if points.task != Task::STOP && !concerned {
            return;
        }
        let resource = self.resource(id);
        if resource.role != Role::Stopped && matches!(points.task, Task::STOP | Task::DEMOTE) {
            let stop = self.latest(id, Task::STOP, None);
            for node in resource.running_on.clone() {
                let lost = self.node(node).unclean || self.node(node).requires_reset;
                if stop.is_some_and(|s| self.is(s, Is::PSEUDO)) && lost {
                    continue;
                }
                if let Some(pre) = points.pre {
                    self.notify_on(id, node, pre, meta);
                }
                if points.task == Task::DEMOTE || stop.is_none_or(|s| self.is(s, Is::OPTIONAL)) {
                    self.notify_after(id, node, points.post, meta);
                }
            }
        }
        let resource = self.resource(id);
        if resource.next_role != Role::Stopped && matches!(points.task, Task::START | Task::PROMOTE) {
            let Some(node) = resource.assigned else { return };
            let start = self.latest(id, Task::START, None);
            if start.is_some_and(|s| !self.is(s, Is::OPTIONAL) && !self.is(s, Is::RUNNABLE)) {
                // It will not be there to be told.
                return;
            }
            let stays = points.task != Task::START || start.is_none_or(|s| self.is(s, Is::OPTIONAL));
            if let Some(pre) = points.pre.filter(|_| stays) {
                self.notify_on(id, node, pre, meta);
            }
            self.notify_after(id, node, points.post, meta);
        }
    }

    fn parts_to_notify(&self, id: ResourceId) -> Vec<ResourceId> {
        match &self.resource(id).variant {
            Variant::Bundle(_) => Vec::new(),
            _ => self.resource(id).children.clone(),
        }
    }

    fn add_told(&mut self, action: ActionId, meta: &Rc<[(String, String)]>) {
        for (name, value) in meta.iter() {
            self.actions[action].set_meta(name, value.clone());
        }
    }

    fn notify_on(
        &mut self,
        id: ResourceId,
        node: NodeId,
        (point, done): (ActionId, ActionId),
        meta: &Rc<[(String, String)]>,
    ) -> Option<ActionId> {
        if !self.is(point, Is::RUNNABLE) || !self.node(node).online {
            return None;
        }
        let known = &self.actions[point];
        let name = |name: &str| known.meta(name).unwrap_or_default().to_owned();
        let key = format!("{}_notify_{}", name("notify_type"), name("notify_operation"));
        let (optional, copied) = (known.is.has(Is::OPTIONAL), known.meta.clone());
        let key = self.actions.tasks.task(&key);
        let action = self.action(id, (key, 0), Some(node), optional);
        self.actions[action].task = Task::NOTIFY;
        self.touch_new(Some(id), Task::NOTIFY);
        for (name, value) in copied {
            if self.actions[action].meta(&name).is_none() {
                self.actions[action].set_meta(&name, value);
            }
        }
        self.add_told(action, meta);
        self.order(point, action, Kind::OPTIONAL);
        self.order(action, done, Kind::OPTIONAL);
        Some(action)
    }

    fn notify_after(
        &mut self,
        id: ResourceId,
        node: NodeId,
        post: (ActionId, ActionId),
        meta: &Rc<[(String, String)]>,
    ) {
        if let Some(action) = self.notify_on(id, node, post, meta) {
            self.actions[action].urgent = true;
        }
        for at in (0..self.actions.of(id).len()).rev() {
            let monitor = self.actions.of(id)[at];
            let known = &self.actions[monitor];
            if matches!(known.key, Key::Of(_, 1..)) && known.task != Task::CANCEL {
                self.order(post.1, monitor, Kind::OPTIONAL);
            }
        }
    }
}
