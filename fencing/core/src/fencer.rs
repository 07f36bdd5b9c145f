//! The automaton of fence requests.
//!
//! | state of a request | input | next |
//! |---|---|---|
//! | new | – | delay of the first device, or run at once |
//! | delayed | time | run the device on a member that is not the victim |
//! | running | success | next device of the level; after the last one: done |
//! | running | failure, executor lost, time | next try, next level, next round after a pause; after the last: done, failed |
//! | any | deadline | done, failed |
//!
//! With several devices in a level a reboot is an `off` of all, then an `on` of all, whose failure does not matter.

use std::collections::VecDeque;

use holdfast_types::{Boottime, Incarnation, NodeId, Span};

use crate::device::{Call, Device};

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

/// A topology level: devices that must all succeed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Level {
    /// Name of the victim.
    pub target: String,
    /// Lower ones first.
    pub index: u32,
    /// Ids of its devices, in order.
    pub devices: Vec<String>,
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
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            timeout: Span::from_secs(60),
            rounds_max: 10,
            pause: Span::from_secs(1),
            deadline: Span::from_secs(600),
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
    /// `off` or `reboot`.
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
    outputs: VecDeque<Output>,
    next_call: u64,
}

#[derive(Debug)]
struct Running {
    request: Request,

    since: Boottime,
    deadline: Boottime,
    /// What is to be done in this round, in order.
    plan: Vec<Step>,
    /// Position in `plan`.
    at: usize,
    tries: u32,
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

#[derive(Debug)]
enum Phase {
    /// Until then, then the step at hand.
    Waiting(Boottime),
    /// An agent runs; it is given up then.
    Running { call: CallId, executor: NodeId, until: Boottime },
}

impl Running {
    fn due(&self) -> Boottime {
        let (Phase::Waiting(until) | Phase::Running { until, .. }) = self.phase;
        until.min(self.deadline)
    }
}

impl Fencer {
    /// Devices and topology in force. Running requests go on with the devices that they began a round with, if those
    /// still exist.
    pub fn configure(&mut self, devices: Vec<Device>, mut levels: Vec<Level>, limits: Limits) {
        levels.sort_by_key(|l| l.index);
        (self.devices, self.levels, self.limits) = (devices, levels, limits);
    }

    /// Whether some device can fence this node.
    #[must_use]
    pub fn can_fence(&self, name: &str) -> bool {
        !self.plan(name, "off").is_empty()
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
        }
        self.handle_timeout(now);
    }

    /// Asks for a node to be fenced. A request for a victim that has one in flight joins it. `random` decides random
    /// delays; `deadline` is the rest of an earlier request's time that this one continues.
    pub fn request(&mut self, now: Boottime, request: Request, random: u64, deadline: Option<Span>) {
        if self.running.iter().any(|r| r.request.target == request.target) {
            return;
        }
        let plan = self.plan(&request.name, &request.action);
        let delay = plan
            .first()
            .and_then(|s| self.device(&s.device))
            .map_or(Span::ZERO, |d| d.delay(&request.name, random));
        self.running.push(Running {
            since: now,
            deadline: now + deadline.unwrap_or(self.limits.deadline),
            plan,
            at: 0,
            tries: 0,
            round: 1,
            phase: Phase::Waiting(now + delay),
            last_error: String::new(),
            last_device: String::new(),
            last_executor: None,
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
        self.running.retain(|r| r.request.target != target || matches!(r.phase, Phase::Running { .. }));
        self.running.len() < before
    }

    /// Forgets everything: another member is in charge now.
    pub fn abandon(&mut self) {
        self.running.clear();
        self.outputs.clear();
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

    /// Starts what is due and ends what is over its time.
    pub fn handle_timeout(&mut self, now: Boottime) {
        // Ends: each turn ends a request, starts an agent, or makes it wait for a later time.
        while let Some(index) = self.running.iter().position(|r| r.due() <= now) {
            self.turn(now, index);
        }
    }

    /// When [`Self::handle_timeout`] is due.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Boottime> {
        self.running.iter().map(Running::due).min()
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
        match self.running[index].phase {
            Phase::Waiting(until) if until <= now => self.run_step(now, index),
            Phase::Running { until, .. } if until <= now => {
                self.step_failed(now, index, "the agent's result did not come in time");
            }
            _ => {}
        }
    }

    fn run_step(&mut self, now: Boottime, index: usize) {
        let running = &self.running[index];
        let Some(step) = running.plan.get(running.at).cloned() else {
            // No device, or a new round: look again, the configuration may have changed.
            let plan = self.plan(&running.request.name, &running.request.action);
            if plan.is_empty() {
                return self.end(now, index, Verdict::Failed("no fence device can reach it".to_owned()));
            }
            let running = &mut self.running[index];
            (running.plan, running.at, running.tries) = (plan, 0, 0);
            return self.run_step(now, index);
        };
        let target = running.request.target;
        let Some(device) = self.device(&step.device) else {
            return self.step_failed(
                now,
                index,
                &format!("device {} is gone from the configuration", step.device),
            );
        };
        let executor = self
            .candidates
            .iter()
            .find(|c| c.node != target && !c.banned_devices.contains(&step.device))
            .map(|c| c.node);
        let Some(executor) = executor else {
            let why = format!("no member may use device {}", step.device);
            return self.step_failed(now, index, &why);
        };
        let what = device.call(&step.action, &running.request.name, target.get(), self.limits.timeout);
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
        let running = &mut self.running[index];
        running.last_error = format!("{}: {error}", step.device);
        if running.tries > 0 && running.tries < tries_max {
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
        self.outputs.push_back(Output::Done(Record {
            verdict,
            device: running.last_device,
            executor: running.last_executor,
            took: now.since(running.since),
            request: running.request,
        }));
    }

    fn device(&self, id: &str) -> Option<&Device> {
        self.devices.iter().find(|d| d.id == id)
    }

    /// Everything that may be tried in one round. Without a topology for the node each able device is a level.
    fn plan(&self, name: &str, action: &str) -> Vec<Step> {
        let configured: Vec<Vec<&Device>> = self
            .levels
            .iter()
            .filter(|l| l.target == name)
            .map(|l| l.devices.iter().filter_map(|id| self.device(id)).collect())
            .collect();
        let levels = if configured.is_empty() {
            self.devices.iter().filter(|d| d.can_fence(name)).map(|d| vec![d]).collect()
        } else {
            configured
        };
        let mut plan = Vec::new();
        for (level, devices) in levels.iter().enumerate() {
            let split = action == "reboot" && devices.len() > 1;
            let mut push = |device: &Device, action: &str, optional| {
                plan.push(Step { device: device.id.clone(), action: action.to_owned(), level, optional });
            };
            for device in devices {
                push(device, if split { "off" } else { action }, false);
            }
            if split {
                for device in devices {
                    push(device, "on", true);
                }
            }
        }
        plan
    }
}

const RESULT_GRACE: Span = Span::from_secs(5);
