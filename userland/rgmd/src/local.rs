//! This node's resources: operations as the controller orders them, or as this node's own rules do; repeated operations
//! while they run; and the truth about them, which only this node tells.

use std::collections::BTreeMap;

use executor::{Job, JobId, Outcome, Work};
use holdfast_types::{Span, WallTime};
use scheduler::transition::{Action, Descriptor};

use crate::history::{Activity, Entry, History, Pending, status};
use crate::message::{Failure, StateReport, Tag, Verdict};

/// This node's resources.
#[derive(Debug, Default)]
pub(crate) struct Local {
    /// What each resource has been through here. A missing one has never been looked at.
    pub(crate) truth: BTreeMap<String, History>,
    /// Operations that run once, by job.
    running: BTreeMap<u64, Running>,
    /// Repeated ones, by their keys.
    recurring: BTreeMap<String, Recurring>,
    /// The action that each resource was started by, until it is stopped: it is stopped with those parameters, whatever the
    /// configuration says by then, and is stopped before this node leaves, whatever was forgotten of it.
    started_by: BTreeMap<String, Action>,
    last_job: u64,
}

#[derive(Debug)]
struct Running {
    resource: String,
    entry: Entry,
    tag: Option<Tag>,
    ignored: bool,
}

#[derive(Debug)]
struct Recurring {
    resource: String,
    job: u64,
    entry: Entry,
    /// The order that its first result answers.
    tag: Option<Tag>,
    ignored: bool,
}

/// An operation that is to be carried out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call<'a> {
    /// As the graph has it.
    pub(crate) action: &'a Action,
    /// `ACTION:TRANSITION:EXPECTED:CONTROLLER`.
    pub(crate) transition_key: &'a str,
    /// The order; `None`: this node's own decision.
    pub(crate) tag: Option<Tag>,
    /// Now.
    pub(crate) wall: WallTime,
}

/// What a call of [`Local`] leads to.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    /// Jobs for the executor.
    pub(crate) run: Vec<Job>,
    /// Jobs to be ended.
    pub(crate) cancel: Vec<JobId>,
    /// What the others have to know.
    pub(crate) reports: Vec<StateReport>,
    /// Results worth a log line, by resource.
    pub(crate) results: Vec<(String, Entry)>,
}

/// Results of it stand in the history.
pub(crate) fn is_recorded(operation: &str) -> bool {
    !matches!(operation, "cancel" | "delete" | "notify" | "meta-data")
}

impl Local {
    /// A number for a job, never used twice.
    pub(crate) fn next_job(&mut self) -> JobId {
        self.last_job += 1;
        JobId(self.last_job)
    }

    /// The class of a resource's agent.
    pub(crate) fn class(&self, resource: &str) -> String {
        self.truth.get(resource).map(|h| h.agent.class.clone()).unwrap_or_default()
    }

    /// An operation runs, or is queued, for this resource.
    pub(crate) fn is_busy(&self, resource: &str) -> bool {
        self.running.values().any(|r| r.resource == resource)
    }

    /// Some operation runs.
    pub(crate) fn is_any_busy(&self) -> bool {
        !self.running.is_empty()
    }

    /// Carries out one operation. `Err`: it cannot be, and why.
    pub(crate) fn start(&mut self, call: Call<'_>, effects: &mut Effects) -> Result<(), String> {
        let action = call.action;
        let Some(agent) = &action.resource else { return Err("it names no resource".to_owned()) };
        let resource = agent.id.clone();
        match action.operation.as_str() {
            "cancel" => {
                self.cancel_one(&action.key, effects);
                let history = self.truth.get_mut(&resource);
                if let Some(history) = history {
                    history.by_key.remove(&action.key);
                }
                self.report(&resource, call.tag, Some(Verdict::Ok), None, effects);
                return Ok(());
            }
            "delete" if !self.is_busy(&resource) => {
                self.forget_one(&resource, effects);
                self.report(&resource, call.tag, Some(Verdict::Ok), None, effects);
                return Ok(());
            }
            _ if self.is_busy(&resource) => return Err("another operation of it is under way".to_owned()),
            _ => {}
        }
        let work = work(agent, &action.operation)?;
        let entry = Entry::begun(action, call.transition_key.to_owned(), call.wall.0 / 1_000_000);
        let ignored = action.attributes.get("CRM_meta_on_fail").is_some_and(|v| v == "ignore");
        let changes = is_recorded(&action.operation) && action.operation != "monitor";
        if changes {
            self.cancel_recurring(&resource, effects);
        }
        if matches!(action.operation.as_str(), "start" | "migrate_from" | "reload" | "reload-agent") {
            self.started_by.insert(resource.clone(), action.clone());
        }
        if is_recorded(&action.operation) {
            let history = self.truth.entry(resource.clone()).or_insert_with(|| History::new(agent.clone()));
            history.agent = agent.clone();
            history.pending = Some(Pending { order: call.tag.map(Tag::order), entry: entry.clone() });
        }
        let id = self.next_job();
        // What runs is stopped with what it was started with.
        let by = self.started_by.get(&resource).filter(|_| action.operation == "stop");
        let job = job(action, by.map_or(&action.attributes, |by| &by.attributes), work, id);
        if entry.interval_ms > 0 {
            self.cancel_one(&action.key, effects);
            let recurring = Recurring { resource, job: id.0, entry, tag: call.tag, ignored };
            self.recurring.insert(action.key.clone(), recurring);
            effects.run.push(job);
            return Ok(());
        }
        // A fence device is not a process. It is up where it is watched, and stopped it just is not watched any more.
        let started = self.started_by.contains_key(&resource);
        let told = match action.operation.as_str() {
            "stop" if agent.class == "stonith" => Some(executor::rc::SUCCESS),
            "monitor" if agent.class == "stonith" && !started => Some(executor::rc::NOT_RUNNING),
            _ => None,
        };
        self.running.insert(id.0, Running { resource, entry, tag: call.tag, ignored });
        match told {
            Some(rc) => self.ended(&told_of_device(&job, &action.operation, rc), call.wall, effects),
            None => effects.run.push(job),
        }
        Ok(())
    }

    /// The executor's word on a job. Words on jobs that were cancelled are ignored.
    pub(crate) fn ended(&mut self, outcome: &Outcome, wall: WallTime, effects: &mut Effects) {
        if let Some(Running { resource, entry, tag, ignored }) = self.running.remove(&outcome.id.0) {
            if !is_recorded(&entry.operation) {
                return self.report(&resource, tag, Some(Verdict::Ok), None, effects);
            }
            if outcome.status == executor::OpStatus::Cancelled {
                return self.cancelled(&resource, entry, outcome.id.0, tag, wall, effects);
            }
            let entry = completed(&entry, outcome, wall);
            let verdict = if entry.failed() { Verdict::Failed } else { Verdict::Ok };
            return self.record(&resource, entry, tag, Some(verdict), ignored, effects);
        }
        let Some(recurring) = self.recurring.values_mut().find(|r| r.job == outcome.id.0) else { return };
        let tag = recurring.tag.take();
        let (resource, ignored) = (recurring.resource.clone(), recurring.ignored);
        let entry = completed(&recurring.entry, outcome, wall);
        let verdict = tag.map(|_| if entry.failed() { Verdict::Failed } else { Verdict::Ok });
        self.record(&resource, entry, tag, verdict, ignored, effects);
    }

    /// An operation that we killed ourselves is no failure that counts; but the resource is not known to be down, and has to
    /// be stopped.
    fn cancelled(
        &mut self,
        resource: &str,
        entry: Entry,
        job: u64,
        tag: Option<Tag>,
        wall: WallTime,
        effects: &mut Effects,
    ) {
        if let Some(history) = self.truth.get_mut(resource) {
            history.pending = None;
            let changed_at = wall.0.div_euclid(1_000_000);
            let reason = "cancelled".to_owned();
            history.record(Entry {
                status: status::ERROR,
                rc: 1,
                call: i64::try_from(job).unwrap_or(i64::MAX),
                changed_at,
                reason,
                ..entry
            });
        }
        self.report(resource, tag, Some(Verdict::Refused("cancelled".to_owned())), None, effects);
    }

    fn record(
        &mut self,
        resource: &str,
        entry: Entry,
        tag: Option<Tag>,
        verdict: Option<Verdict>,
        ignored: bool,
        effects: &mut Effects,
    ) {
        effects.results.push((resource.to_owned(), entry.clone()));
        let counts = entry.interval_ms > 0
            || matches!(entry.operation.as_str(), "start" | "stop" | "promote" | "demote" | ASYNC_MONITOR);
        let failure = (entry.failed() && counts).then(|| Failure {
            key: format!("{resource}#{}_{}", entry.operation, entry.interval_ms),
            operation: entry.operation.clone(),
            ignored,
            at_s: entry.changed_at,
        });
        if entry.operation == "stop" && !entry.failed() {
            self.started_by.remove(resource);
        }
        let Some(history) = self.truth.get_mut(resource) else { return };
        // A repeated operation's result leaves alone what runs once beside it.
        history.pending.take_if(|p| p.entry.interval_ms == entry.interval_ms);
        history.record(entry);
        self.report(resource, tag, verdict, failure, effects);
    }

    fn report(
        &self,
        resource: &str,
        tag: Option<Tag>,
        verdict: Option<Verdict>,
        failure: Option<Failure>,
        effects: &mut Effects,
    ) {
        effects.reports.push(StateReport {
            resource: resource.to_owned(),
            history: self.truth.get(resource).cloned(),
            tag,
            verdict,
            failure,
        });
    }

    /// Somebody outside has seen it fail. Whether it is known here at all.
    pub(crate) fn fail(&mut self, resource: &str, node: &str, wall: WallTime, effects: &mut Effects) -> bool {
        let Some(history) = self.truth.get(resource) else { return false };
        let calls = [&history.last, &history.failed].into_iter().flatten().map(|e| e.call);
        let entry = Entry {
            operation: ASYNC_MONITOR.to_owned(),
            transition_key: "0:0:0:00000000-0000-0000-0000-000000000000".to_owned(),
            rc: 1,
            call: calls.max().unwrap_or(0).max(i64::try_from(self.last_job).unwrap_or(0)),
            changed_at: wall.0.div_euclid(1_000_000),
            reason: "Simulated failure".to_owned(),
            on_node: node.to_owned(),
            ..Entry::default()
        };
        self.record(resource, entry, None, None, false, effects);
        true
    }

    /// Operations under way that bring something up are killed: this node must not run anything.
    pub(crate) fn cancel_starts(&self, effects: &mut Effects) {
        let brings_up =
            |r: &Running| matches!(r.entry.operation.as_str(), "start" | "promote" | "migrate_from");
        let starts = self.running.iter().filter(|(_, r)| brings_up(r));
        effects.cancel.extend(starts.map(|(id, _)| JobId(*id)));
    }

    /// Forgets what was seen of resources, or of one, so that they are looked at anew; `failed`: only of those that failed (with
    /// this operation, if one is named), or that `counts` knows failures of. Returns which.
    pub(crate) fn forget(
        &mut self,
        (resource, operation): (Option<&str>, Option<&str>),
        failed: bool,
        counts: impl Fn(&str) -> bool,
        effects: &mut Effects,
    ) -> Vec<String> {
        let base = |id: &str| id.rsplit_once(':').map_or(id, |(base, _)| base).to_owned();
        let wanted = |id: &str, history: &History| {
            resource.is_none_or(|r| r == id || r == base(id))
                && (!failed
                    || history.has_failed(operation)
                    || (operation.is_none() && history.activity == Activity::StopFailed)
                    || counts(id))
        };
        let ids: Vec<String> =
            self.truth.iter().filter(|(id, h)| wanted(id, h)).map(|(id, _)| id.clone()).collect();
        let ids: Vec<String> = ids.into_iter().filter(|id| !self.is_busy(id)).collect();
        for id in &ids {
            self.forget_one(id, effects);
            self.report(id, None, None, None, effects);
        }
        ids
    }

    /// Stops of what was started here and is forgotten since: it may be running.
    pub(crate) fn forgotten_stops(&self) -> Vec<Action> {
        let forgotten = self.started_by.iter().filter(|(id, _)| !self.truth.contains_key(*id));
        forgotten
            .map(|(id, started)| Action {
                operation: "stop".to_owned(),
                key: format!("{id}_stop_0"),
                ..started.clone()
            })
            .collect()
    }

    fn forget_one(&mut self, resource: &str, effects: &mut Effects) {
        self.cancel_recurring(resource, effects);
        self.truth.remove(resource);
    }

    fn cancel_one(&mut self, key: &str, effects: &mut Effects) {
        let Some(recurring) = self.recurring.remove(key) else { return };
        effects.cancel.push(JobId(recurring.job));
        // Whoever ordered it and has had no result yet is told that there will be none: he would wait for ever.
        if let Some(tag) = recurring.tag {
            if let Some(history) = self.truth.get_mut(&recurring.resource) {
                history.pending.take_if(|p| p.order == Some(tag.order()));
            }
            self.report(&recurring.resource, Some(tag), None, None, effects);
        }
    }

    fn cancel_recurring(&mut self, resource: &str, effects: &mut Effects) {
        let keys = self.recurring.iter().filter(|(_, r)| r.resource == resource).map(|(k, _)| k.clone());
        for key in keys.collect::<Vec<_>>() {
            self.cancel_one(&key, effects);
        }
    }
}

/// What is known of a fence device without asking it.
fn told_of_device(job: &Job, operation: &str, rc: i32) -> Outcome {
    Outcome {
        id: job.id,
        resource: job.resource.clone(),
        action: operation.to_owned(),
        status: executor::OpStatus::Done,
        rc,
        reason: String::new(),
        stdout: String::new(),
        stderr: String::new(),
        exec: Span::ZERO,
        queued: Span::ZERO,
        recurring: false,
        repeated: false,
    }
}

fn work(descriptor: &Descriptor, operation: &str) -> Result<Work, String> {
    let (agent, action) = (descriptor.kind.clone(), operation.to_owned());
    match descriptor.class.as_str() {
        "ocf" => Ok(Work::Ocf { provider: descriptor.provider.clone().unwrap_or_default(), agent, action }),
        "lsb" => Ok(Work::Lsb { agent, action }),
        "systemd" => Ok(Work::Systemd { unit: agent, action }),
        "service" => Ok(Work::Service { agent, action }),
        "nagios" => Ok(Work::Nagios { agent, action }),
        "stonith" => Ok(Work::Fence { agent, action: "monitor".to_owned() }),
        class => Err(format!("there is nobody here to run agents of class {class}")),
    }
}

/// The executor's job for an action. Attributes of the graph are the agent's parameters, and what is told about them.
fn job(action: &Action, attributes: &BTreeMap<String, String>, work: Work, id: JobId) -> Job {
    let millis =
        |name: &str| Span::from_millis(action.attributes.get(name).and_then(|v| v.parse().ok()).unwrap_or(0));
    let fences = matches!(work, Work::Fence { .. });
    let (mut params, mut meta) = (Vec::new(), Vec::new());
    // What is told about the call itself is the call's, whatever the resource was started with.
    let told = action.attributes.iter().filter(|(n, _)| n.starts_with(META));
    let given = attributes.iter().filter(|(n, _)| !n.starts_with(META));
    for (name, value) in told.chain(given) {
        let pair = (name.strip_prefix(META).unwrap_or(name).to_owned(), value.clone());
        match name.strip_prefix(META) {
            // The executor says these itself.
            Some("timeout" | "interval" | "on_node" | "on_node_uuid") => {}
            Some(_) => meta.push(pair),
            // It goes to the agent without a prefix; the executor knows it among these.
            None if name == "OCF_CHECK_LEVEL" => meta.push(pair),
            None if name == "crm_feature_set" || (fences && name.starts_with("pcmk_")) => {}
            None => params.push(pair),
        }
    }
    Job {
        id,
        resource: action.resource.as_ref().map(|r| r.id.clone()).unwrap_or_default(),
        work,
        params,
        meta,
        timeout: millis("CRM_meta_timeout"),
        interval: millis("CRM_meta_interval"),
    }
}

/// What a failure is called that somebody outside has seen.
const ASYNC_MONITOR: &str = "asyncmon";
const META: &str = "CRM_meta_";

/// An entry with what came of it.
fn completed(begun: &Entry, outcome: &Outcome, wall: WallTime) -> Entry {
    let status = match outcome.status {
        executor::OpStatus::Done => status::DONE,
        executor::OpStatus::Timeout => status::TIMEOUT,
        executor::OpStatus::NotInstalled => status::NOT_INSTALLED,
        executor::OpStatus::Cancelled | executor::OpStatus::Error => status::ERROR,
    };
    Entry {
        rc: outcome.rc,
        status,
        call: i64::try_from(outcome.id.0).unwrap_or(i64::MAX),
        changed_at: wall.0 / 1_000_000,
        exec_ms: outcome.exec.as_millis(),
        queue_ms: outcome.queued.as_millis(),
        reason: outcome.reason.clone(),
        ..begun.clone()
    }
}

/// What an exit code or status is called, as operators know it.
pub(crate) fn result_text(result: &Entry) -> String {
    let text = match (result.status, result.rc) {
        (status::TIMEOUT, _) => "Timed Out",
        (status::NOT_INSTALLED, _) | (status::DONE, 5) => "not installed",
        (status::DONE, 0) => "ok",
        (_, 2) => "invalid parameter",
        (_, 3) => "unimplemented feature",
        (_, 4) => "insufficient privileges",
        (_, 6) => "not configured",
        (_, 7) => "not running",
        (_, 8) => "promoted",
        (_, 9) => "promoted (failed)",
        (_, 190) => "degraded",
        (_, 191) => "promoted (degraded)",
        _ => "error",
    };
    if result.reason.is_empty() { text.to_owned() } else { format!("{text} ({})", result.reason) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(operation: &str, interval_ms: u64) -> Action {
        let key = format!("db_{operation}_{interval_ms}");
        let mut action = Action::new(1, scheduler::transition::Kind::RscOp, operation, &key);
        action.resource = Some(Descriptor {
            id: "db".into(),
            class: "ocf".into(),
            kind: "T".into(),
            ..Descriptor::default()
        });
        action.attributes.insert("CRM_meta_interval".into(), interval_ms.to_string());
        action
    }

    /// Whoever gave an order waits for its answer, also where it was to look at something again and again and did not get to look
    /// once.
    #[test]
    fn a_repeated_operation_that_is_cancelled_before_its_first_result_is_answered() {
        let tag = |action| Tag { term: 1, transition: 2, action };
        for how in ["forget", "stop", "cancel"] {
            let (mut local, mut effects) = (Local::default(), Effects::default());
            fn call(action: &Action, tag: Tag) -> Call<'_> {
                Call { action, transition_key: "k", tag: Some(tag), wall: WallTime(0) }
            }
            local.start(call(&order("monitor", 3_000), tag(1)), &mut effects).unwrap();
            match how {
                "forget" => drop(local.forget((Some("db"), None), false, |_| false, &mut effects)),
                "stop" => local.start(call(&order("stop", 0), tag(2)), &mut effects).unwrap(),
                _ => {
                    let cancel = Action { operation: "cancel".into(), ..order("monitor", 3_000) };
                    local.start(call(&cancel, tag(2)), &mut effects).unwrap();
                }
            }
            assert_eq!(effects.cancel.len(), 1, "{how}");
            assert!(effects.reports.iter().any(|r| r.tag == Some(tag(1))), "{how}: {:?}", effects.reports);
            let pending = local.truth.get("db").and_then(|h| h.pending.as_ref()).and_then(|p| p.order);
            assert_eq!(pending, (how == "stop").then(|| tag(2).order()), "{how}");
        }
    }
}
