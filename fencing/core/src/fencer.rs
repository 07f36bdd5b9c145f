//! The automaton of fence requests.
//!
//! | state of a request | input | next |
//! |---|---|---|
//! | new | – | ask devices whom they can fence where that is not known; else delay of the first device, or run at once |
//! | asking | all answers, time | delay, or run |
//! | delayed | time | run the device on a member that is not the victim; where its limit is reached, queue |
//! | queued | a call of the device ends | run |
//! | running | success | next device of the level; after the last one: done |
//! | running | failure, executor lost, time | next try, next level, next round after a pause; after the last: done, failed |
//! | self-fencing | the victim has been away for `stonith-watchdog-timeout` | done |
//! | any | deadline | done, failed |
//!
//! With several devices in a level, or an agent that has no `reboot`, a reboot is an `off` of all, then an `on` of all,
//! whose failure does not matter. A request for a victim that has an equal one in flight joins it; another action waits
//! until that has ended.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use holdfast_types::{Boottime, Incarnation, NodeId, Span};

use crate::agent::hosts_of_list;
use crate::device::{Call, Check, Device};
use crate::topology::{Level, levels_for};

/// Number of one agent call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(pub u64);

/// A member that may run agents, with the devices that it may not use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Candidate {
    /// Who.
    pub node: NodeId,
    /// Ids of devices banned from it.
    pub banned_devices: Vec<String>,
}

/// Bounds of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// `stonith-timeout`: of one call, unless the device says otherwise.
    pub timeout: Span,
    /// `stonith-max-attempts`: rounds through all levels.
    pub rounds_max: u32,
    /// Pause between two rounds; doubles each time.
    pub pause: Span,
    /// A request ends after this long at the latest.
    pub deadline: Span,
    /// `stonith-watchdog-timeout`: a node that has been away for so long has taken itself down, when no device can
    /// reach it. `None`: nothing may be concluded.
    pub watchdog: Option<Span>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            timeout: Span::from_secs(60),
            rounds_max: 10,
            pause: Span::from_secs(1),
            deadline: Span::from_secs(600),
            watchdog: None,
        }
    }
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The victim.
    pub target: NodeId,
    /// Its name.
    pub name: String,
    /// Its life, if known: success is success for this one.
    pub incarnation: Option<Incarnation>,
    /// `off`, `reboot` or `on`.
    pub action: String,
    /// Why, in words.
    pub reason: String,
    /// Who asks, e.g. `rgmd`.
    pub client: String,
}

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The victim is down.
    Succeeded,
    /// It is not known to be down, and why.
    Failed(String),
}

/// A request that ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// What was asked.
    pub request: Request,
    /// How it ended.
    pub verdict: Verdict,
    /// The device that did it or was tried last; empty: none.
    pub device: String,
    /// The node that ran its agent.
    pub executor: Option<NodeId>,
    /// How long it took.
    pub took: Span,
    /// Equal requests that it answered as well.
    pub joined: Vec<Request>,
}

/// A question to a device: whom it can fence (`list`), or one node's power (`status`). Answered by [`Fencer::asked`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Number of the call.
    pub call: CallId,
    /// Where it is to be run.
    pub executor: NodeId,
    /// The device.
    pub device: String,
    /// The node that it is about.
    pub target: NodeId,
    /// What to run.
    pub what: Call,
}

/// What the fencer wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Run this agent on this member; then [`Fencer::call_done`].
    Run {
        /// Number of the call.
        call: CallId,
        /// Where.
        executor: NodeId,
        /// The device.
        device: String,
        /// The victim.
        target: NodeId,
        /// What is wanted: `off`, `reboot` or `on`.
        action: String,
        /// What to run for it.
        what: Call,
    },
    /// A request ended.
    Done(Record),
}

/// The automaton.
#[derive(Debug, Default)]
pub struct Fencer {
    devices: Vec<Device>,
    levels: Vec<Level>,
    limits: Limits,
    candidates: Vec<Candidate>,
    running: Vec<Running>,
    /// Requests for another action than the one that is in flight for their victim.
    later: Vec<(Request, u64, Option<Span>, Span)>,
    /// What devices said of whom they can fence.
    known: BTreeMap<String, Known>,
    attributes: BTreeMap<String, BTreeMap<String, String>>,
    outputs: VecDeque<Output>,
    asks: VecDeque<Ask>,
    next_call: u64,
}

/// What a device said of whom it can fence, and when.
#[derive(Debug, Default)]
struct Known {
    list: Option<(Boottime, BTreeSet<String>)>,
    status: BTreeMap<String, (Boottime, bool)>,
}

#[derive(Debug)]
struct Running {
    request: Request,
    joined: Vec<Request>,
    random: u64,
    /// `priority-fencing-delay` and its like, on top of the first device's own.
    delay: Span,
    since: Boottime,
    deadline: Boottime,
    /// What is to be done in this round, in order.
    plan: Vec<Step>,
    /// Position in `plan`.
    at: usize,
    tries: u32,
    /// When the step at hand was tried first.
    step_since: Boottime,
    round: u32,
    phase: Phase,
    last_error: String,
    last_device: String,
    last_executor: Option<NodeId>,
}

#[derive(Clone, Debug)]
struct Step {
    device: String,
    action: String,
    /// Topology level by position: a failure skips the rest of it.
    level: usize,
    /// Its failure does not matter: the victim is down already.
    optional: bool,
}

/// Whether a device can fence a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    Yes,
    No,
    Unknown,
}

#[derive(Debug)]
enum Phase {
    /// Until then, then the step at hand.
    Waiting(Boottime),
    /// Devices are asked whom they can fence; what has not answered by then cannot.
    Asking { until: Boottime, open: BTreeMap<CallId, String> },
    /// Until the device has fewer calls under way.
    Queued,
    /// An agent runs; it is given up then.
    Running { call: CallId, executor: NodeId, until: Boottime },
    /// The victim takes itself down; since when it is not a member.
    SelfFencing { away: Option<Boottime>, limit: Span },
}

impl Running {
    fn due(&self) -> Boottime {
        match &self.phase {
            Phase::Waiting(until) | Phase::Running { until, .. } | Phase::Asking { until, .. } => {
                (*until).min(self.deadline)
            }
            Phase::SelfFencing { away: Some(away), limit } => (*away + *limit).min(self.deadline),
            Phase::Queued | Phase::SelfFencing { away: None, .. } => self.deadline,
        }
    }
}

impl Fencer {
    /// Devices and topology in force. Running requests go on with the devices that they began a round with, if those
    /// still exist.
    pub fn configure(&mut self, mut devices: Vec<Device>, levels: Vec<Level>, limits: Limits) {
        if limits.watchdog.is_some() && !devices.iter().any(Device::is_watchdog) {
            devices.push(Device::watchdog());
        }
        // What a device said holds for the parameters that it said it with.
        let same = |id: &str| self.devices.iter().find(|d| d.id == id) == devices.iter().find(|d| d.id == id);
        let stale: Vec<String> = self.known.keys().filter(|id| !same(id)).cloned().collect();
        for id in stale {
            self.known.remove(&id);
        }
        (self.devices, self.levels, self.limits) = (devices, levels, limits);
    }

    /// Node attributes by node, for topology levels that go by them.
    pub fn set_attributes(&mut self, attributes: BTreeMap<String, BTreeMap<String, String>>) {
        self.attributes = attributes;
    }

    /// Whether some device can fence this node, as far as is known.
    #[must_use]
    pub fn can_fence(&self, name: &str) -> bool {
        self.tiers(name, "off").iter().flatten().any(|d| self.reach(d, name, None) != Reach::No)
    }

    /// Devices whose `on` gives this node access when it joins, as far as is known.
    #[must_use]
    pub fn unfencing_devices(&self, name: &str) -> Vec<&str> {
        let unfences = |d: &&Device| d.unfences() && self.reach(d, name, None) != Reach::No;
        self.devices.iter().filter(unfences).map(|d| d.id.as_str()).collect()
    }

    /// Members that may run agents, the preferred one first. Calls on one that is gone have failed.
    pub fn set_candidates(&mut self, now: Boottime, candidates: Vec<Candidate>) {
        self.candidates = candidates;
        for i in 0..self.running.len() {
            if let Phase::Running { executor, .. } = self.running[i].phase
                && !self.candidates.iter().any(|c| c.node == executor)
            {
                self.running[i].last_error = format!("node {executor}, which ran the agent, is gone");
                // The device may be fine: another member tries the same step.
                self.running[i].phase = Phase::Waiting(now);
            }
            let target = self.running[i].request.target;
            let member = self.candidates.iter().any(|c| c.node == target);
            if let Phase::SelfFencing { away, .. } = &mut self.running[i].phase {
                *away = if member { None } else { away.or(Some(now)) };
            }
        }
        self.handle_timeout(now);
    }

    /// Asks for a node to be fenced. A request for a victim that has an equal one in flight joins it; one for another
    /// action follows it. `random` decides random delays; `deadline` is the rest of an earlier request's time that this
    /// one continues.
    pub fn request(&mut self, now: Boottime, request: Request, random: u64, deadline: Option<Span>) {
        self.request_delayed(now, request, random, deadline, Span::ZERO);
    }

    /// As [`Self::request`], with a delay (`priority-fencing-delay`) on top of the first device's own.
    pub fn request_delayed(
        &mut self,
        now: Boottime,
        request: Request,
        random: u64,
        deadline: Option<Span>,
        delay: Span,
    ) {
        if let Some(same) = self.running.iter_mut().find(|r| r.request.target == request.target) {
            if same.request.action == request.action {
                same.joined.push(request);
            } else {
                self.later.push((request, random, deadline, delay));
            }
            return;
        }
        self.running.push(Running {
            since: now,
            deadline: now + deadline.unwrap_or(self.limits.deadline),
            plan: Vec::new(),
            at: 0,
            tries: 0,
            step_since: now,
            round: 0,
            phase: Phase::Waiting(now),
            last_error: String::new(),
            last_device: String::new(),
            last_executor: None,
            joined: Vec::new(),
            random,
            delay,
            request,
        });
        self.handle_timeout(now);
    }

    /// Whether a request for this node is in flight.
    #[must_use]
    pub fn is_fencing(&self, target: NodeId) -> bool {
        self.running.iter().any(|r| r.request.target == target)
    }

    /// Forgets a request whose reason is gone, unless an agent runs for it. Whether it was forgotten.
    pub fn withdraw(&mut self, target: NodeId) -> bool {
        let before = self.running.len();
        self.later.retain(|(request, ..)| request.target != target);
        self.running.retain(|r| r.request.target != target || matches!(r.phase, Phase::Running { .. }));
        self.running.len() < before
    }

    /// Forgets requests that a node be given access (`on`), also where an agent runs for it, but those that are still
    /// wanted: such a node's fencing must not wait for it.
    pub fn withdraw_unfencing(&mut self, wanted: impl Fn(NodeId) -> bool) {
        let goes = |r: &Request| r.action == "on" && !wanted(r.target);
        self.later.retain(|(request, ..)| !goes(request));
        self.running.retain(|r| !goes(&r.request));
    }

    /// Forgets everything: another member is in charge now.
    pub fn abandon(&mut self) {
        self.running.clear();
        self.later.clear();
        self.outputs.clear();
        self.asks.clear();
    }

    /// An agent ended; `error` says why it failed. Calls that nobody waits for any more are ignored.
    pub fn call_done(&mut self, now: Boottime, call: CallId, error: Option<&str>) {
        let waits = |r: &Running| matches!(r.phase, Phase::Running { call: c, .. } if c == call);
        let Some(index) = self.running.iter().position(waits) else { return };
        match error {
            None => self.step_succeeded(now, index),
            Some(error) => self.step_failed(now, index, error),
        }
        self.handle_timeout(now);
    }

    /// A question was answered: the agent's exit code and standard output, or `None` where it could not be run.
    pub fn asked(&mut self, now: Boottime, call: CallId, answer: Option<(i32, &str)>) {
        let asks = |r: &Running| matches!(&r.phase, Phase::Asking { open, .. } if open.contains_key(&call));
        let Some(index) = self.running.iter().position(asks) else { return };
        let running = &mut self.running[index];
        let name = running.request.name.clone();
        let Phase::Asking { open, until } = &mut running.phase else { return };
        let Some(device) = open.remove(&call) else { return };
        if open.is_empty() {
            *until = now;
        }
        self.learn(now, &device, &name, answer);
        self.handle_timeout(now);
    }

    /// Takes in what a device said; `None`: nothing that could be used.
    fn learn(&mut self, now: Boottime, device: &str, name: &str, answer: Option<(i32, &str)>) {
        let status = self.device(device).is_some_and(|d| d.check() == Check::Status);
        let known = self.known.entry(device.to_owned()).or_default();
        if status {
            // 0: on, 2: off. Everything else: it does not know that node.
            let can = matches!(answer, Some((0 | 2, _)));
            known.status.insert(name.to_owned(), (now, can));
        } else if let Some((0, text)) = answer {
            known.list = Some((now, hosts_of_list(text).0));
        } else if known.list.is_none() {
            known.list = Some((now, BTreeSet::new()));
        } else if let Some((at, _)) = &mut known.list {
            // What it said before is better than nothing.
            *at = now;
        }
    }

    /// Starts what is due and ends what is over its time.
    pub fn handle_timeout(&mut self, now: Boottime) {
        // Ends: each turn ends a request, starts an agent, or makes it wait for a later time.
        loop {
            self.wake_queued(now);
            let Some(index) = self.running.iter().position(|r| r.due() <= now) else { return };
            self.turn(now, index);
        }
    }

    /// Lets those go on whose device has fewer calls under way than it may.
    fn wake_queued(&mut self, now: Boottime) {
        for i in 0..self.running.len() {
            let running = &self.running[i];
            let device = running.plan.get(running.at).map(|s| s.device.clone());
            if matches!(running.phase, Phase::Queued) && device.is_none_or(|d| self.has_room(&d)) {
                self.running[i].phase = Phase::Waiting(now);
            }
        }
    }

    /// Whether the device may be called once more. One that waits to run in this very turn counts as calling.
    fn has_room(&self, device: &str) -> bool {
        let Some(limit) = self.device(device).and_then(Device::limit) else { return true };
        let calls = |r: &&Running| {
            matches!(r.phase, Phase::Running { .. }) && r.plan.get(r.at).is_some_and(|s| s.device == device)
        };
        self.running.iter().filter(calls).count() < limit as usize
    }

    /// When [`Self::handle_timeout`] is due.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Boottime> {
        self.running.iter().map(Running::due).min()
    }

    /// The next question to a device.
    pub fn poll_ask(&mut self) -> Option<Ask> {
        self.asks.pop_front()
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn turn(&mut self, now: Boottime, index: usize) {
        if self.running[index].deadline <= now {
            let why = format!(
                "not done within {}; {}",
                self.running[index].deadline.since(self.running[index].since),
                self.running[index].last_error
            );
            return self.end(now, index, Verdict::Failed(why.trim_end_matches("; ").to_owned()));
        }
        match &self.running[index].phase {
            Phase::Waiting(until) if *until <= now => self.run_step(now, index),
            Phase::Running { until, .. } if *until <= now => {
                self.step_failed(now, index, "the agent's result did not come in time");
            }
            Phase::Asking { until, open } if *until <= now => {
                let (name, silent) = (self.running[index].request.name.clone(), open.clone());
                for device in silent.values() {
                    self.learn(now, device, &name, None);
                }
                self.begin_round(now, index);
            }
            Phase::SelfFencing { away: Some(away), limit } if *away + *limit <= now => {
                self.step_succeeded(now, index);
            }
            _ => {}
        }
    }

    /// Asks devices whom they can fence, where that has to be known and is not.
    fn ask(&mut self, now: Boottime, index: usize) {
        let (name, target) = (self.running[index].request.name.clone(), self.running[index].request.target);
        let action = self.running[index].request.action.clone();
        let unknown: Vec<Device> = self
            .tiers(&name, &action)
            .into_iter()
            .flatten()
            .filter(|d| self.reach(d, &name, Some(now)) == Reach::Unknown)
            .cloned()
            .collect();
        let mut open = BTreeMap::new();
        let mut until = now;
        for device in unknown {
            // A node that is given access is no victim: it may ask for itself.
            let banned = |c: &Candidate| c.banned_devices.contains(&device.id);
            let itself = || self.candidates.iter().find(|c| action == "on" && !banned(c)).map(|c| c.node);
            let Some(executor) = self.executor(&device, "list", target).or_else(itself) else {
                self.learn(now, &device.id, &name, None);
                continue;
            };
            let what = device.query(&name, target.get(), self.limits.timeout);
            self.next_call += 1;
            let call = CallId(self.next_call);
            until = until.max(now + what.timeout + RESULT_GRACE);
            open.insert(call, device.id.clone());
            self.asks.push_back(Ask { call, executor, device: device.id, target, what });
        }
        self.running[index].phase = Phase::Asking { until, open };
    }

    /// Plans a round: everything is known that can be.
    fn begin_round(&mut self, now: Boottime, index: usize) {
        let plan = self.plan(now, &self.running[index].request.name, &self.running[index].request.action);
        if plan.is_empty() {
            return self.end(now, index, Verdict::Failed("no fence device can reach it".to_owned()));
        }
        let running = &self.running[index];
        let first = self.device(&plan[0].device);
        let delays = running.round == 0 && running.request.action != "on";
        let delay = match first.filter(|_| delays) {
            Some(first) => running.delay + first.delay(&running.request.name, running.random),
            None => Span::ZERO,
        };
        let running = &mut self.running[index];
        running.round = running.round.max(1);
        (running.plan, running.at, running.tries) = (plan, 0, 0);
        running.phase = Phase::Waiting(now + delay);
    }

    /// A member that may run a device's agent for this victim.
    fn executor(&self, device: &Device, action: &str, target: NodeId) -> Option<NodeId> {
        let on_target = device.runs_on_target(action);
        self.candidates
            .iter()
            .find(|c| (c.node == target) == on_target && !c.banned_devices.contains(&device.id))
            .map(|c| c.node)
    }

    fn run_step(&mut self, now: Boottime, index: usize) {
        let running = &self.running[index];
        let Some(step) = running.plan.get(running.at).cloned() else {
            // A new round: look again, the configuration may have changed.
            return self.ask(now, index);
        };
        let target = running.request.target;
        let Some(device) = self.device(&step.device) else {
            return self.step_failed(
                now,
                index,
                &format!("device {} is gone from the configuration", step.device),
            );
        };
        let device = device.clone();
        if device.is_watchdog() && step.action != "on" {
            return self.self_fence(now, index, &device, step);
        }
        if !self.has_room(&step.device) {
            self.running[index].phase = Phase::Queued;
            return;
        }
        let Some(executor) = self.executor(&device, &step.action, target) else {
            let why = format!("no member may use device {}", step.device);
            return self.step_failed(now, index, &why);
        };
        let mut what =
            device.call(&step.action, &self.running[index].request.name, target.get(), self.limits.timeout);
        if self.running[index].tries == 0 {
            self.running[index].step_since = now;
        } else {
            // A second try gets what the first one left.
            let used = now.since(self.running[index].step_since);
            what.timeout = what.timeout.saturating_sub(used).max(Span::from_secs(1));
        }
        self.next_call += 1;
        let call = CallId(self.next_call);
        let running = &mut self.running[index];
        running.tries += 1;
        running.last_device.clone_from(&step.device);
        running.last_executor = Some(executor);
        // The executor kills the agent at its timeout; the result needs a moment to come back.
        running.phase = Phase::Running { call, executor, until: now + what.timeout + RESULT_GRACE };
        self.outputs.push_back(Output::Run {
            call,
            executor,
            device: step.device,
            target,
            action: step.action,
            what,
        });
    }

    /// The victim is told to take itself down if it can hear it; the rest is time.
    fn self_fence(&mut self, now: Boottime, index: usize, device: &Device, step: Step) {
        let Some(limit) = self.limits.watchdog else {
            return self.step_failed(now, index, "stonith-watchdog-timeout is not set");
        };
        let target = self.running[index].request.target;
        let member = self.candidates.iter().any(|c| c.node == target);
        self.next_call += 1;
        let call = CallId(self.next_call);
        let running = &mut self.running[index];
        running.tries += 1;
        running.last_device.clone_from(&step.device);
        running.last_executor = Some(target);
        running.phase = Phase::SelfFencing { away: (!member).then_some(now), limit };
        if member {
            let what = device.call(&step.action, &running.request.name, target.get(), limit);
            let (device, action) = (step.device, step.action);
            self.outputs.push_back(Output::Run { call, executor: target, device, target, action, what });
        }
    }

    fn step_succeeded(&mut self, now: Boottime, index: usize) {
        let running = &mut self.running[index];
        let level = running.plan[running.at].level;
        let next = running.at + 1;
        if running.plan.get(next).is_some_and(|s| s.level == level) {
            (running.at, running.tries, running.phase) = (next, 0, Phase::Waiting(now));
        } else {
            self.end(now, index, Verdict::Succeeded);
        }
    }

    fn step_failed(&mut self, now: Boottime, index: usize, error: &str) {
        let running = &self.running[index];
        let step = running.plan[running.at].clone();
        if step.optional {
            return self.step_succeeded(now, index);
        }
        let tries_max = self.device(&step.device).map_or(1, |d| d.tries(&step.action));
        let whole = self
            .device(&step.device)
            .map_or(Span::ZERO, |d| d.call(&step.action, "", 0, self.limits.timeout).timeout);
        let used = now.since(self.running[index].step_since);
        let running = &mut self.running[index];
        running.last_error = format!("{}: {error}", step.device);
        // A try that cannot end in what is left of the time is none.
        if running.tries > 0 && running.tries < tries_max && used < whole.scale(7, 10) {
            running.phase = Phase::Waiting(now);
            return;
        }
        running.tries = 0;
        match running.plan.iter().position(|s| s.level > step.level) {
            Some(next) => {
                (running.at, running.phase) = (next, Phase::Waiting(now));
            }
            None if running.round < self.limits.rounds_max => {
                let pause = self.limits.pause.scale(1 << (running.round - 1).min(5), 1);
                running.round += 1;
                // Past the end: the next round plans anew.
                (running.at, running.phase) = (running.plan.len(), Phase::Waiting(now + pause));
            }
            None => {
                let why = format!(
                    "Too many failures ({}) to fence {}, giving up: {}",
                    running.round, running.request.name, running.last_error
                );
                self.end(now, index, Verdict::Failed(why));
            }
        }
    }

    fn end(&mut self, now: Boottime, index: usize, verdict: Verdict) {
        let running = self.running.remove(index);
        let target = running.request.target;
        self.outputs.push_back(Output::Done(Record {
            joined: running.joined,
            verdict,
            device: running.last_device,
            executor: running.last_executor,
            took: now.since(running.since),
            request: running.request,
        }));
        if let Some(next) = self.later.iter().position(|(r, ..)| r.target == target) {
            let (request, random, deadline, delay) = self.later.remove(next);
            self.request_delayed(now, request, random, deadline, delay);
        }
    }

    fn device(&self, id: &str) -> Option<&Device> {
        self.devices.iter().find(|d| d.id == id)
    }

    /// Whether a device can fence a node; with a time: as far as that is known freshly enough.
    fn reach(&self, device: &Device, name: &str, now: Option<Boottime>) -> Reach {
        let fresh = |at: Boottime, limit: Span| now.is_none_or(|now| now.since(at) < limit);
        let known = self.known.get(&device.id);
        let can = match device.check() {
            Check::Any => Some(true),
            Check::Static => Some(device.names(name)),
            Check::Dynamic => known
                .and_then(|k| k.list.as_ref())
                .filter(|(at, _)| fresh(*at, LIST_LIFE))
                .map(|(_, list)| list.contains(device.alias(name))),
            Check::Status => known
                .and_then(|k| k.status.get(name))
                .filter(|(at, _)| fresh(*at, STATUS_LIFE))
                .map(|(_, can)| *can),
        };
        match can {
            Some(true) => Reach::Yes,
            Some(false) => Reach::No,
            None => Reach::Unknown,
        }
    }

    /// Devices that may be tried, level by level; the topology's, else each by itself, the node's own watchdog last.
    fn tiers(&self, name: &str, action: &str) -> Vec<Vec<&Device>> {
        if action == "on" {
            let unfencing: Vec<&Device> = self.devices.iter().filter(|d| d.unfences()).collect();
            if !unfencing.is_empty() {
                // A node has access when all of them have given it.
                return vec![unfencing];
            }
        }
        let configured: Vec<Vec<&Device>> = levels_for(&self.levels, name, self.attributes.get(name))
            .into_iter()
            .map(|l| l.devices.iter().filter_map(|id| self.device(id)).collect())
            .collect();
        if !configured.is_empty() {
            return configured;
        }
        let (own, others): (Vec<&Device>, Vec<&Device>) = self.devices.iter().partition(|d| d.is_watchdog());
        others.into_iter().chain(own).map(|d| vec![d]).collect()
    }

    /// Everything that may be tried in one round. Without a topology for the node each able device is a level.
    fn plan(&self, now: Boottime, name: &str, action: &str) -> Vec<Step> {
        let topology = !levels_for(&self.levels, name, self.attributes.get(name)).is_empty();
        let able = |d: &&Device| match self.reach(d, name, Some(now)) {
            Reach::Yes => true,
            // Named by the topology: whoever wrote it knows. A device that says otherwise is not called for it.
            Reach::Unknown => topology,
            Reach::No => topology && d.check() == Check::Static,
        };
        let mut plan = Vec::new();
        for (level, devices) in self.tiers(name, action).iter().enumerate() {
            let all = devices.len();
            let devices: Vec<&Device> = devices.iter().copied().filter(able).collect();
            if devices.is_empty() || (topology && action != "on" && devices.len() < all) {
                continue;
            }
            let split = action == "reboot" && (devices.len() > 1 || devices.iter().any(|d| d.lacks_reboot()));
            let mut push = |device: &Device, action: &str, optional| {
                plan.push(Step { device: device.id.clone(), action: action.to_owned(), level, optional });
            };
            for device in &devices {
                push(device, if split { "off" } else { action }, false);
            }
            if split {
                for device in devices.iter().filter(|d| !d.is_watchdog()) {
                    push(device, "on", true);
                }
            }
        }
        plan
    }
}

/// How long a device's list is believed, and a node's status.
const LIST_LIFE: Span = Span::from_secs(60);
const STATUS_LIFE: Span = Span::from_secs(5);
const RESULT_GRACE: Span = Span::from_secs(5);
