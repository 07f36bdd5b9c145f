//! What a resource has been through on a node, in the form that Pacemaker's history has (`lrm_resource` and its
//! `lrm_rsc_op`), so that the scheduler, crm_mon and whoever else reads a CIB's status reads ours.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};

use cib::{Children, Element};
use scheduler::transition::{Action, Descriptor};
use serde::{Deserialize, Serialize};

/// A resource on a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct History {
    /// Its agent.
    pub(crate) agent: Descriptor,
    /// What it does there, as its results say.
    pub(crate) activity: Activity,
    /// The last operation that runs once.
    pub(crate) last: Option<Entry>,
    /// The last one that failed, kept until it is forgotten.
    pub(crate) failed: Option<Entry>,
    /// Repeated ones, by their keys; and migrations, which are kept by their keys, too.
    pub(crate) by_key: BTreeMap<String, Entry>,
    /// An operation under way.
    pub(crate) pending: Option<Pending>,
}

/// What the resources of a node have been through, by their names there. What stands of it in the status is made once for all who
/// read it before the next change.
#[derive(Clone, Debug, Default)]
pub(crate) struct Histories {
    of: BTreeMap<String, History>,
    shown: OnceCell<Children>,
}

impl From<BTreeMap<String, History>> for Histories {
    fn from(of: BTreeMap<String, History>) -> Self {
        Self { of, shown: OnceCell::new() }
    }
}

impl Deref for Histories {
    type Target = BTreeMap<String, History>;

    fn deref(&self) -> &Self::Target {
        &self.of
    }
}

impl DerefMut for Histories {
    fn deref_mut(&mut self) -> &mut Self::Target {
        self.shown.take();
        &mut self.of
    }
}

impl Histories {
    /// An `lrm_resource` of each.
    pub(crate) fn elements(&self) -> Children {
        self.shown.get_or_init(|| self.of.values().map(History::element).collect()).clone()
    }
}

/// What a resource does on a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Activity {
    /// Not known.
    #[default]
    Unknown,
    /// Seen stopped.
    Stopped,
    /// Seen running.
    Started,
    /// Seen running and promoted.
    Promoted,
    /// An operation failed; it may be running.
    Failed,
    /// Its stop failed: it may be running and cannot be stopped.
    StopFailed,
}

/// An operation under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pending {
    /// The order that it carries out: term, transition, action; `None`: the node's own decision.
    pub(crate) order: Option<[u64; 3]>,
    /// As it stands in the history meanwhile.
    pub(crate) entry: Entry,
}

/// One result: an `lrm_rsc_op`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// `start`, `monitor`, …
    pub(crate) operation: String,
    /// 0: once.
    pub(crate) interval_ms: u64,
    /// `ACTION:TRANSITION:EXPECTED:CONTROLLER`.
    pub(crate) transition_key: String,
    /// The result that was expected.
    pub(crate) target_rc: i32,
    /// The agent's exit status.
    pub(crate) rc: i32,
    /// How it ended, as Pacemaker numbers it: see [`status`].
    pub(crate) status: i32,
    /// The executor's number for it; -1: under way.
    pub(crate) call: i64,
    /// Seconds since 1970 when its result became what it is.
    pub(crate) changed_at: i64,
    /// Milliseconds that it ran.
    pub(crate) exec_ms: u64,
    /// Milliseconds that it waited for its turn.
    pub(crate) queue_ms: u64,
    /// Why it failed, in the agent's words.
    pub(crate) reason: String,
    /// Digest of its parameters.
    pub(crate) digest: String,
    /// The node that it ran on.
    pub(crate) on_node: String,
    /// Of a migration: from and to.
    pub(crate) migration: Option<(String, String)>,
}

/// `op-status`.
pub(crate) mod status {
    /// Under way.
    pub(crate) const PENDING: i32 = -1;
    /// The agent ran to its end.
    pub(crate) const DONE: i32 = 0;
    /// Killed at its time limit.
    pub(crate) const TIMEOUT: i32 = 2;
    /// It could not be executed.
    pub(crate) const ERROR: i32 = 4;
    /// There is no such agent.
    pub(crate) const NOT_INSTALLED: i32 = 7;
}

/// What version of Pacemaker's language the entries are in.
pub(crate) const FEATURE_SET: &str = "3.16.1";
const RUNNING: i32 = 0;
const NOT_RUNNING: i32 = 7;
const PROMOTED: i32 = 8;
const FAILED_PROMOTED: i32 = 9;
/// `op-status` of a pending entry goes with this exit status.
const UNKNOWN_RC: i32 = 193;

impl Entry {
    /// An operation of this action as it begins.
    pub(crate) fn begun(action: &Action, transition_key: String, at_s: i64) -> Self {
        let number = |name: &str| action.attributes.get(name).and_then(|v| v.parse().ok());
        let migration = |name: &str| action.attributes.get(name).cloned().unwrap_or_default();
        let moves = matches!(action.operation.as_str(), "migrate_to" | "migrate_from");
        Self {
            operation: action.operation.clone(),
            interval_ms: action.attributes.get("CRM_meta_interval").and_then(|v| v.parse().ok()).unwrap_or(0),
            transition_key,
            target_rc: number("CRM_meta_op_target_rc").unwrap_or(0),
            rc: UNKNOWN_RC,
            status: status::PENDING,
            call: -1,
            changed_at: at_s,
            digest: scheduler::parameters_digest(&action.attributes),
            on_node: action.node.as_ref().map(|n| n.name.clone()).unwrap_or_default(),
            migration: moves
                .then(|| (migration("CRM_meta_migrate_source"), migration("CRM_meta_migrate_target"))),
            ..Self::default()
        }
    }

    /// It ended otherwise than expected.
    pub(crate) fn failed(&self) -> bool {
        self.status != status::DONE || self.rc != self.target_rc
    }

    /// A monitor that runs once.
    pub(crate) fn is_probe(&self) -> bool {
        self.operation == "monitor" && self.interval_ms == 0
    }

    fn key(&self, resource: &str) -> String {
        // A reload leaves things as a start would.
        let operation = match self.operation.as_str() {
            "reload" | "reload-agent" => "start",
            operation => operation,
        };
        format!("{resource}_{operation}_{}", self.interval_ms)
    }

    fn element(&self, resource: &str, id: &str) -> Element {
        let operation = self.key(resource);
        let operation = operation.strip_prefix(resource).and_then(|o| o.get(1..)).unwrap_or_default();
        let operation = operation.rsplit_once('_').map_or(operation, |(name, _)| name);
        let mut element = Element::new("lrm_rsc_op")
            .with("id", id)
            .with("operation_key", &self.key(resource))
            .with("operation", operation)
            .with("crm-debug-origin", "rgmd")
            .with("crm_feature_set", FEATURE_SET)
            .with("transition-key", &self.transition_key)
            .with("transition-magic", &format!("{}:{};{}", self.status, self.rc, self.transition_key))
            .with("exit-reason", &self.reason)
            .with("on_node", &self.on_node)
            .with("call-id", &self.call.to_string())
            .with("rc-code", &self.rc.to_string())
            .with("op-status", &self.status.to_string())
            .with("interval", &self.interval_ms.to_string())
            .with("last-rc-change", &self.changed_at.to_string())
            .with("exec-time", &self.exec_ms.to_string())
            .with("queue-time", &self.queue_ms.to_string());
        if let Some((source, target)) = &self.migration {
            element = element.with("migrate_source", source).with("migrate_target", target);
        }
        element.with("op-digest", &self.digest)
    }
}

impl History {
    /// Of a resource that was never looked at.
    pub(crate) fn new(agent: Descriptor) -> Self {
        Self { agent, ..Self::default() }
    }

    /// Writes down a result.
    pub(crate) fn record(&mut self, entry: Entry) {
        self.activity = self.after(&entry);
        let key = entry.key(&self.agent.id);
        if entry.failed() {
            self.failed = Some(entry.clone());
        }
        if entry.interval_ms > 0 {
            self.by_key.insert(key, entry);
            return;
        }
        // A failure that somebody outside has seen is none of the operations.
        if entry.operation == "asyncmon" {
            return;
        }
        // What repeats belongs to the life that the resource had before.
        if entry.operation != "monitor" || self.activity == Activity::Stopped {
            self.by_key.retain(|_, known| known.migration.is_some());
        }
        if matches!(entry.operation.as_str(), "start" | "stop") {
            self.by_key.clear();
        }
        if entry.migration.is_some() {
            self.by_key.insert(key, entry);
        } else {
            self.last = Some(entry);
        }
    }

    /// What the resource does after a result.
    fn after(&self, entry: &Entry) -> Activity {
        let failed = entry.status != status::DONE;
        match entry.operation.as_str() {
            "stop" if failed || entry.rc != RUNNING => Activity::StopFailed,
            "stop" => Activity::Stopped,
            // No agent, no process of it.
            "monitor" if entry.is_probe() && entry.status == status::NOT_INSTALLED => Activity::Stopped,
            "monitor" if !failed => match entry.rc {
                RUNNING => Activity::Started,
                PROMOTED => Activity::Promoted,
                NOT_RUNNING => Activity::Stopped,
                FAILED_PROMOTED => Activity::Failed,
                // A probe that says "not installed" has looked.
                5 if entry.is_probe() => Activity::Stopped,
                _ => Activity::Failed,
            },
            "start" | "demote" | "migrate_from" | "reload" | "reload-agent"
                if !failed && entry.rc == RUNNING =>
            {
                Activity::Started
            }
            "promote" if !failed && entry.rc == RUNNING => Activity::Promoted,
            // Until it is stopped on its source, it may be there.
            "migrate_to" if !failed && entry.rc == RUNNING => self.activity,
            _ => Activity::Failed,
        }
    }

    /// A failure is remembered; `operation`: of this one (`monitor_10000`).
    pub(crate) fn has_failed(&self, operation: Option<&str>) -> bool {
        self.failed.as_ref().is_some_and(|failed| {
            operation.is_none_or(|o| o == format!("{}_{}", failed.operation, failed.interval_ms))
        })
    }

    /// It may run there.
    pub(crate) fn may_run(&self) -> bool {
        self.pending.is_some() || self.activity != Activity::Stopped
    }

    /// It may be promoted there.
    pub(crate) fn may_be_promoted(&self) -> bool {
        self.pending.as_ref().is_some_and(|p| p.entry.operation != "demote" && p.entry.operation != "start")
            || !matches!(self.activity, Activity::Stopped | Activity::Started)
    }

    /// It was seen running there, or may be after a failure.
    pub(crate) fn is_active(&self) -> bool {
        matches!(
            self.activity,
            Activity::Started | Activity::Promoted | Activity::Failed | Activity::StopFailed
        )
    }

    /// All that was ever said is forgotten: it is looked at anew.
    pub(crate) fn doubt(&mut self) {
        if self.pending.is_none() && self.activity != Activity::StopFailed {
            *self = Self::new(std::mem::take(&mut self.agent));
        }
    }

    /// Nothing is known.
    pub(crate) fn is_blank(&self) -> bool {
        self.last.is_none() && self.failed.is_none() && self.by_key.is_empty() && self.pending.is_none()
    }

    /// As `lrm_resource`.
    pub(crate) fn element(&self) -> Element {
        let Descriptor { id, class, provider, kind, .. } = &self.agent;
        let mut element = Element::new("lrm_resource").with("id", id).with("class", class);
        if let Some(provider) = provider {
            element = element.with("provider", provider);
        }
        let mut element = element.with("type", kind);
        let pending = self.pending.as_ref().map(|p| &p.entry);
        let pending_once = pending.filter(|p| p.interval_ms == 0 && p.migration.is_none());
        if let Some(failed) = &self.failed {
            element.children.push(failed.element(id, &format!("{id}_last_failure_0")));
        }
        if let Some(last) = pending_once.or(self.last.as_ref()) {
            element.children.push(last.element(id, &format!("{id}_last_0")));
        }
        let mut by_key: BTreeMap<String, &Entry> = self.by_key.iter().map(|(k, e)| (k.clone(), e)).collect();
        if let Some(pending) = pending.filter(|_| pending_once.is_none()) {
            by_key.insert(pending.key(id), pending);
        }
        for (key, entry) in by_key {
            // A repeated operation that failed stands under that name alone, as the peer keeps it.
            if !(entry.failed() && entry.status != status::PENDING && entry.interval_ms > 0) {
                element.children.push(entry.element(id, &key));
            }
        }
        element
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history() -> History {
        History::new(Descriptor {
            id: "db".into(),
            class: "ocf".into(),
            kind: "T".into(),
            ..Descriptor::default()
        })
    }

    fn entry(operation: &str, interval_ms: u64, rc: i32, target_rc: i32) -> Entry {
        Entry { operation: operation.into(), interval_ms, rc, target_rc, ..Entry::default() }
    }

    #[test]
    fn results_say_what_a_resource_does() {
        let timeout = Entry { status: status::TIMEOUT, ..entry("stop", 0, 1, 0) };
        for (entry, want) in [
            (entry("monitor", 0, 7, 7), Activity::Stopped),
            (entry("monitor", 0, 0, 7), Activity::Started),
            (entry("monitor", 0, 8, 7), Activity::Promoted),
            (entry("monitor", 0, 5, 7), Activity::Stopped),
            (entry("monitor", 0, 1, 7), Activity::Failed),
            (entry("start", 0, 0, 0), Activity::Started),
            (entry("start", 0, 7, 0), Activity::Failed),
            (entry("monitor", 10, 7, 0), Activity::Stopped),
            (entry("promote", 0, 0, 0), Activity::Promoted),
            (entry("demote", 0, 0, 0), Activity::Started),
            (entry("stop", 0, 1, 0), Activity::StopFailed),
            (timeout, Activity::StopFailed),
            (entry("stop", 0, 0, 0), Activity::Stopped),
        ] {
            let mut history = history();
            history.record(entry.clone());
            assert_eq!(history.activity, want, "{entry:?}");
        }
    }

    #[test]
    fn a_history_is_written_as_pacemaker_writes_it() {
        let mut history = history();
        history.record(entry("start", 0, 0, 0));
        history.record(entry("monitor", 10_000, 0, 0));
        let ids = |history: &History| -> Vec<String> {
            history.element().children.iter().filter_map(|c| Some(c.id()?.to_owned())).collect()
        };
        assert_eq!(ids(&history), ["db_last_0", "db_monitor_10000"]);
        history.record(entry("monitor", 10_000, 7, 0));
        assert_eq!(ids(&history), ["db_last_failure_0", "db_last_0"]);
        history.record(entry("stop", 0, 0, 0));
        assert_eq!(ids(&history), ["db_last_failure_0", "db_last_0"]);
        assert_eq!(history.element().children[1].get("operation"), Some("stop"));
    }

    #[test]
    fn what_is_under_way_stands_in_place_of_the_last_result() {
        let mut history = history();
        history.record(entry("start", 0, 0, 0));
        let begun = Entry { status: status::PENDING, call: -1, ..entry("stop", 0, 193, 0) };
        history.pending = Some(Pending { order: None, entry: begun });
        let element = history.element();
        assert_eq!(element.children.len(), 1);
        assert_eq!(element.children[0].get("op-status"), Some("-1"));
        assert!(history.may_run());
    }
}
