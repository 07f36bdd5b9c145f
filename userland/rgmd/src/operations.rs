//! From the executor's words to log lines and ordered messages; agents of fence devices that run on this node.

use executor::{Job, OpStatus, Outcome};
use holdfast_types::Span;
use logconv::Event;
use tracing::Level;

use crate::door::Output;
use crate::local::{Effects, result_text};
use crate::manager::Manager;
use crate::message::{FenceRun, Message};

impl Manager {
    /// The controller wants an agent run. It is run at the end of the turn: what else comes in this turn may be that
    /// quorum is lost.
    pub(crate) fn fence_ordered(&mut self, sender: u32, run: FenceRun) {
        let in_charge = self.replica.dc() == Some(sender)
            && run.call.origin == sender
            && run.call.term == self.replica.term;
        if in_charge && run.executor == self.config.me {
            self.fence_orders.push(run);
        }
    }

    /// Runs the agents that were asked for in this turn.
    pub(crate) fn run_fence_agents(&mut self) {
        for run in std::mem::take(&mut self.fence_orders) {
            self.fence_run(&run);
        }
    }

    fn fence_run(&mut self, run: &FenceRun) {
        if !(self.may_fence() && self.unsettled.is_empty()) {
            let error = Some(format!("{} has no quorum", self.my_name()));
            return self.multicast(&Message::FenceRan { call: run.call, error });
        }
        if let Some(agent) = self.power.learning(&run.device) {
            let error = Some(format!("{} does not know yet what {agent} can do", self.my_name()));
            return self.multicast(&Message::FenceRan { call: run.call, error });
        }
        let Some(call) = self.power.call(&run.device, &run.action, &run.name, run.target) else {
            let error = Some(format!("{} does not know device {}", self.my_name(), run.device));
            return self.multicast(&Message::FenceRan { call: run.call, error });
        };
        let id = self.local.next_job();
        self.log(
            Level::INFO,
            format!(
                "Requesting that {} perform '{}' action targeting {} using '{}'",
                self.my_name(),
                call.action,
                run.name,
                run.device
            ),
        );
        // The operator's log speaks of nodes that are taken down.
        if run.action != "on" {
            self.event(Event::DeviceBegins {
                device: run.device.clone(),
                executor: self.my_name(),
                action: call.action.clone(),
                node: run.name.clone(),
            });
            self.fence_victims.insert(id.0, run.name.clone());
        }
        self.fence_jobs.insert(id.0, run.call);
        self.outputs.push_back(Output::Run(Box::new(Job {
            id,
            // Apart from the device's own monitor, which must not delay it; one call at a time for each device.
            resource: format!("fence:{}", run.device),
            work: executor::Work::Fence { agent: call.agent, action: call.action },
            params: call.params,
            meta: Vec::new(),
            timeout: call.timeout,
            interval: Span::ZERO,
        })));
    }

    pub(crate) fn outcome(&mut self, outcome: &Outcome) {
        self.say_noticed(outcome);
        if outcome.repeated {
            return;
        }
        if let Some(agent) = self.ability_jobs.remove(&outcome.id.0) {
            return self.learned(&agent, outcome);
        }
        if let Some(call) = self.fence_asks.remove(&outcome.id.0) {
            let answer = (outcome.status == OpStatus::Done).then_some((outcome.rc, outcome.stdout.as_str()));
            return self.power.fencer.asked(self.now.boot, call, answer);
        }
        if let Some(call) = self.fence_jobs.remove(&outcome.id.0) {
            let error = (!outcome.is_ok()).then(|| fence_error(outcome));
            let returned = if outcome.status == OpStatus::Done {
                outcome.rc.to_string()
            } else {
                format!("{:?}", outcome.status)
            };
            self.log(
                Level::INFO,
                format!(
                    "Operation '{}' using {} returned {returned}",
                    outcome.action,
                    outcome.resource.trim_start_matches("fence:")
                ),
            );
            if let Some(node) = self.fence_victims.remove(&outcome.id.0) {
                let device = outcome.resource.trim_start_matches("fence:").to_owned();
                self.event(Event::DeviceEnded { device, node, ok: error.is_none() });
            }
            return self.multicast(&Message::FenceRan { call, error });
        }
        let mut effects = Effects::default();
        self.local.ended(outcome, self.now.wall, &mut effects);
        self.effects(effects);
    }

    /// Turns the effects of local operations into outputs.
    pub(crate) fn effects(&mut self, effects: Effects) {
        for id in effects.cancel {
            self.outputs.push_back(Output::Cancel(id));
        }
        for (resource, result) in effects.results {
            let level = if result.failed() { Level::WARN } else { Level::INFO };
            let interval = if result.interval_ms > 0 {
                format!("{}ms-interval ", result.interval_ms)
            } else {
                String::new()
            };
            let operation = if result.is_probe() { "probe" } else { &result.operation };
            let text = result_text(&result);
            let line = format!(
                "Result of {interval}{operation} operation for {resource} on {}: {text}",
                self.my_name()
            );
            self.log(level, line);
            let class = self.local.class(&resource);
            self.say_ended(&class, &resource, &result);
            self.alert_result(&resource, &result);
        }
        if !effects.reports.is_empty() {
            self.own_stops = None;
        }
        for report in effects.reports {
            self.multicast(&Message::State(Box::new(report)));
        }
        for job in effects.run {
            self.outputs.push_back(Output::Run(Box::new(job)));
        }
    }
}

fn fence_error(outcome: &Outcome) -> String {
    let last = outcome.stderr.lines().rev().find(|l| !l.trim().is_empty()).unwrap_or("").trim();
    match outcome.status {
        OpStatus::Done if last.is_empty() => format!("the agent returned {}", outcome.rc),
        OpStatus::Done => format!("the agent returned {}: {last}", outcome.rc),
        _ => outcome.reason.clone(),
    }
}
