//! This node's resources: one operation at a time for each, recurring monitors while they run, and the truth about
//! them, which only this node tells.

use std::collections::BTreeMap;

use cib::{Cib, Operation, Primitive};
use executor::{Job, JobId, Outcome, Work};
use holdfast_types::{Span, WallTime};
use scheduler::{Activity, OpResult, OpStatus, Pending, ResourceState, params_digest};

use crate::message::{StateReport, Tag, Verdict};

/// This node's resources.
#[derive(Debug, Default)]
pub(crate) struct Local {
    /// What each resource does here. A missing one has never been looked at.
    pub(crate) truth: BTreeMap<String, ResourceState>,
    /// Operations that run once, by job.
    running: BTreeMap<u64, Running>,
    /// Recurring monitors: by resource and interval, their job and what they were made from.
    recurring: BTreeMap<(String, u64), (u64, String)>,
    /// Definition that each resource was last touched with: a resource that is gone from the configuration can still be
    /// stopped.
    known: BTreeMap<String, Primitive>,
    last_job: u64,
}

#[derive(Debug)]
struct Running {
    resource: String,
    action: String,
    tag: Option<Tag>,
    digest: String,
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
    /// Results worth a log line: resource, result, whether it was expected.
    pub(crate) results: Vec<(String, OpResult)>,
}

impl Local {
    /// A number for a job, never used twice.
    pub(crate) fn next_job(&mut self) -> JobId {
        self.last_job += 1;
        JobId(self.last_job)
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
    pub(crate) fn start(
        &mut self,
        cib: &Cib,
        resource: &str,
        action: &str,
        tag: Option<Tag>,
        wall: WallTime,
        effects: &mut Effects,
    ) -> Result<(), String> {
        if self.is_busy(resource) {
            return Err("another operation of it is under way".to_owned());
        }
        let configured = cib.primitive(resource);
        // What runs is stopped with the definition that it was started with.
        let definition = if action == "stop" { self.known.get(resource).or(configured) } else { configured };
        let Some(primitive) = definition.cloned() else {
            return Err("it is not in the configuration".to_owned());
        };
        if action == "stop" {
            self.cancel_recurring(resource, effects);
        } else {
            self.known.insert(resource.to_owned(), primitive.clone());
        }
        let state = self.truth.entry(resource.to_owned()).or_default();
        let order = tag.map(Tag::order);
        state.pending = Some(Pending { action: action.to_owned(), since_us: wall.0, order });
        let id = self.next_job();
        let digest = params_digest(&primitive);
        self.running
            .insert(id.0, Running { resource: resource.to_owned(), action: action.to_owned(), tag, digest });
        if primitive.is_fence_device() && action == "stop" {
            // A fence device is not a process: from now on it is just not watched.
            let outcome = Outcome {
                id,
                resource: resource.to_owned(),
                action: action.to_owned(),
                status: executor::OpStatus::Done,
                rc: 0,
                reason: String::new(),
                stdout: String::new(),
                stderr: String::new(),
                exec: Span::ZERO,
                queued: Span::ZERO,
                recurring: false,
            };
            self.ended(cib, &outcome, wall, effects);
        } else {
            effects.run.push(job(&primitive, action, None, id));
        }
        Ok(())
    }

    /// The executor's word on a job. Words on jobs that were cancelled are ignored.
    pub(crate) fn ended(&mut self, cib: &Cib, outcome: &Outcome, wall: WallTime, effects: &mut Effects) {
        if let Some(running) = self.running.remove(&outcome.id.0) {
            let result = result_of(outcome, 0, &running.digest, wall);
            if outcome.status == executor::OpStatus::Cancelled {
                return self.cancelled(&running, effects);
            }
            let verdict = if result.failed() { Verdict::Failed } else { Verdict::Ok };
            self.record(cib, &running.resource, &running.action, result, running.tag, Some(verdict), effects);
            return;
        }
        let found = self.recurring.iter().find(|(_, (job, _))| *job == outcome.id.0);
        let Some(((resource, interval_ms), _)) = found else { return };
        let (resource, interval_ms) = (resource.clone(), *interval_ms);
        let result = result_of(outcome, interval_ms, "", wall);
        let state = self.truth.entry(resource.clone()).or_default();
        // The first result of a monitor that is well is no news, unless it takes back a failure.
        if !result.failed() && state.activity != Activity::Failed {
            return;
        }
        self.record(cib, &resource, "monitor", result, None, None, effects);
    }

    /// An operation that we killed ourselves is no failure of the resource: it is only not known to be down.
    fn cancelled(&mut self, running: &Running, effects: &mut Effects) {
        let state = self.truth.entry(running.resource.clone()).or_default();
        (state.activity, state.pending) = (Activity::Failed, None);
        let verdict = Some(Verdict::Refused("cancelled".to_owned()));
        effects.reports.push(StateReport {
            resource: running.resource.clone(),
            state: state.clone(),
            tag: running.tag,
            verdict,
        });
    }

    #[allow(clippy::too_many_arguments, reason = "one call of two, both above")]
    fn record(
        &mut self,
        cib: &Cib,
        resource: &str,
        action: &str,
        mut result: OpResult,
        tag: Option<Tag>,
        verdict: Option<Verdict>,
        effects: &mut Effects,
    ) {
        action.clone_into(&mut result.action);
        effects.results.push((resource.to_owned(), result.clone()));
        let state = self.truth.entry(resource.to_owned()).or_default();
        let recurring = result.interval_ms > 0;
        let pending = state.pending.clone().filter(|_| recurring);
        state.record(result, cib.options.start_failure_is_fatal);
        state.pending = pending;
        if state.activity == Activity::Stopped && !recurring {
            self.cancel_recurring(resource, effects);
            if cib.primitive(resource).is_none() {
                self.known.remove(resource);
            }
        }
        let state = self.truth.get(resource).cloned().unwrap_or_default();
        effects.reports.push(StateReport { resource: resource.to_owned(), state, tag, verdict });
    }

    /// Starts under way are killed: this node must not run anything. Their outcome counts as a failed start.
    pub(crate) fn cancel_starts(&self, effects: &mut Effects) {
        let starts = self.running.iter().filter(|(_, r)| r.action == "start");
        effects.cancel.extend(starts.map(|(id, _)| JobId(*id)));
    }

    /// Forgets failures as asked; reports what changed.
    pub(crate) fn forget(
        &mut self,
        resource: Option<&str>,
        expired: bool,
        tag: Option<Tag>,
        effects: &mut Effects,
    ) {
        for (id, state) in &mut self.truth {
            if resource.is_some_and(|r| r != id) {
                continue;
            }
            let before = state.clone();
            if expired {
                state.expire();
            } else {
                state.cleanup();
            }
            if *state != before || tag.is_some() {
                let verdict = tag.map(|_| Verdict::Ok);
                effects.reports.push(StateReport {
                    resource: id.clone(),
                    state: state.clone(),
                    tag,
                    verdict,
                });
            }
        }
        // Whoever asked waits for an answer, also where there is nothing to forget.
        if let (Some(id), Some(_)) = (resource.filter(|r| !self.truth.contains_key(*r)), tag) {
            let state = ResourceState::default();
            effects.reports.push(StateReport {
                resource: id.to_owned(),
                state,
                tag,
                verdict: Some(Verdict::Ok),
            });
        }
    }

    /// Makes the recurring monitors those that should run: of resources that run here and are not in maintenance.
    pub(crate) fn reconcile_monitors(&mut self, cib: &Cib, effects: &mut Effects) {
        let mut wanted: BTreeMap<(String, u64), (String, &Primitive, &Operation)> = BTreeMap::new();
        for primitive in cib.primitives().filter(|p| !p.meta.maintenance && !cib.options.maintenance) {
            let Some(state) = self.truth.get(&primitive.id) else { continue };
            let runs =
                matches!(state.activity, Activity::Started | Activity::Failed) && state.pending.is_none();
            if runs {
                for op in primitive.recurring() {
                    let made_from = format!("{} {op:?}", params_digest(primitive));
                    wanted.insert((primitive.id.clone(), op.interval_ms), (made_from, primitive, op));
                }
            }
        }
        self.recurring.retain(|key, (id, made_from)| {
            let keep = wanted.get(key).is_some_and(|(m, ..)| m == made_from);
            if !keep {
                effects.cancel.push(JobId(*id));
            }
            keep
        });
        for (key, (made_from, primitive, op)) in wanted {
            // A resource that failed is about to be stopped: nothing new is begun for it.
            let well = self.truth.get(&key.0).is_some_and(|s| s.activity == Activity::Started);
            if well && !self.recurring.contains_key(&key) {
                let id = self.next_job();
                effects.run.push(job(primitive, "monitor", Some(op), id));
                self.recurring.insert(key, (id.0, made_from));
            }
        }
    }

    fn cancel_recurring(&mut self, resource: &str, effects: &mut Effects) {
        self.recurring.retain(|(r, _), (id, _)| {
            if r == resource {
                effects.cancel.push(JobId(*id));
            }
            r != resource
        });
    }
}

/// The executor's job for an operation; `recurring`: the configured monitor that is repeated.
fn job(primitive: &Primitive, action: &str, recurring: Option<&Operation>, id: JobId) -> Job {
    let once = primitive.operation(action, 0);
    let interval_ms = recurring.map_or(0, |op| op.interval_ms);
    let configured = recurring.and_then(|op| op.timeout_ms).unwrap_or_else(|| primitive.timeout_ms(action));
    let timeout = recurring.map_or(configured, |op| op.timeout_ms.unwrap_or(primitive.default_timeout_ms));
    let mut params = primitive.params.clone();
    let mut meta: Vec<(String, String)> =
        primitive.meta.all.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
    if let Some(op) = recurring.or(once) {
        meta.extend(op.meta.iter().cloned());
        for (name, value) in &op.params {
            // OCF_CHECK_LEVEL goes to the agent without a prefix; the executor knows it among the meta attributes.
            if name == "OCF_CHECK_LEVEL" {
                meta.push((name.clone(), value.clone()));
            } else {
                params.retain(|(n, _)| n != name);
                params.push((name.clone(), value.clone()));
            }
        }
    }
    // A probe is a monitor with neither interval nor name: agents tell it by that.
    if !(action == "monitor" && interval_ms == 0) {
        meta.push(("name".to_owned(), action.to_owned()));
    }
    let work = if primitive.is_fence_device() {
        params.retain(|(n, _)| !n.starts_with("pcmk_"));
        Work::Fence { agent: primitive.kind.clone(), action: "monitor".to_owned() }
    } else {
        Work::Ocf {
            provider: primitive.provider.clone(),
            agent: primitive.kind.clone(),
            action: action.to_owned(),
        }
    };
    Job {
        id,
        resource: primitive.id.clone(),
        work,
        params,
        meta,
        timeout: Span::from_millis(timeout),
        interval: Span::from_millis(interval_ms),
    }
}

fn result_of(outcome: &Outcome, interval_ms: u64, digest: &str, wall: WallTime) -> OpResult {
    let status = match outcome.status {
        executor::OpStatus::Done => OpStatus::Done,
        executor::OpStatus::Timeout => OpStatus::Timeout,
        executor::OpStatus::NotInstalled => OpStatus::NotInstalled,
        executor::OpStatus::Cancelled | executor::OpStatus::Error => OpStatus::Error,
    };
    OpResult {
        action: outcome.action.clone(),
        interval_ms,
        status,
        rc: outcome.rc,
        reason: outcome.reason.clone(),
        call: outcome.id.0,
        at_us: wall.0,
        exec_ms: outcome.exec.as_millis(),
        queued_ms: outcome.queued.as_millis(),
        digest: digest.to_owned(),
    }
}

/// What an exit code or status is called, as operators know it.
pub(crate) fn result_text(result: &OpResult) -> String {
    let text = match (result.status, result.rc) {
        (OpStatus::Timeout, _) => "Timed Out",
        (OpStatus::NotInstalled, _) | (OpStatus::Done, 5) => "not installed",
        (OpStatus::Done, 0) => "ok",
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
