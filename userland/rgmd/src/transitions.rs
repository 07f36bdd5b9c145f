//! The designated controller's transitions: deciding, carrying out, ending early.
//!
//! What the scheduler decides follows Pacemaker's rules. One rule is stricter, and is kept here, where an action is sent:
//! nothing that may be up once only is brought up while another node may still be running it, whatever the plan says
//! ([`Manager::held_by`]).

use holdfast_types::Span;
use logconv::Cause;
use scheduler::transition::{Action, Kind};
use scheduler::{Alone, Decision};
use tracing::Level;

use crate::duties::unix_seconds;
use crate::local::{is_recorded, result_text};
use crate::manager::Manager;
use crate::message::{Message, Order, StateReport, Tag, Verdict};
use crate::replica::Standing;
use crate::said::Said;

impl Manager {
    pub(crate) fn abort(&mut self, why: &str) {
        if let Some(number) = self.engine.abort() {
            self.log(Level::INFO, format!("Transition {number} aborted: {why}"));
        }
    }

    /// A node's word on a resource: is it the answer to an order, as expected, or news?
    pub(crate) fn judge(&mut self, sender: u32, report: &StateReport) {
        let name = self.replica.name(sender);
        let resource = &report.resource;
        let Some(verdict) = &report.verdict else {
            if report.failure.is_some() {
                self.happened(Cause::Resource, format!("{resource} failed on {name}"));
            }
            return self.abort(&format!("{resource} changed on {name}"));
        };
        match verdict {
            Verdict::Ok if report.tag.is_some_and(|tag| self.engine.succeeded(tag)) => {}
            // What an earlier transition began and this one had to leave out.
            Verdict::Ok => self.abort(&format!("an operation of {resource} ended on {name}")),
            Verdict::Failed => {
                let history = report.history.as_ref();
                let text = history.and_then(|h| h.failed.as_ref().or(h.last.as_ref()));
                let text = text.map(result_text).unwrap_or_default();
                if report.failure.is_some() {
                    self.happened(
                        Cause::Resource,
                        format!("an operation of {resource} failed on {name}: {text}"),
                    );
                }
                self.abort(&format!("an operation of {resource} failed on {name}: {text}"));
            }
            Verdict::Refused(why) => {
                self.plan_not_before = Some(self.now.boot + REFUSAL_PAUSE);
                self.abort(&format!("{name} refused an operation of {resource}: {why}"));
            }
        }
    }

    /// Carries on the transition under way, or makes a new plan.
    pub(crate) fn transition(&mut self) {
        if self.recheck_at.take_if(|at| *at <= self.now.boot).is_some() {
            // What was held may go on now, or be decided otherwise.
            self.engine.abort();
        }
        self.plan_not_before.take_if(|at| *at <= self.now.boot);
        self.carry_on();
        // A plan that asks for nothing ends at once, and another one is not made before something changes.
        if self.engine.running.is_none() && self.engine.stale && self.plan_not_before.is_none() {
            self.plan();
            self.carry_on();
        }
    }

    fn carry_on(&mut self) {
        self.settle_fences();
        self.dispatch();
        if let Some(ended) = self.engine.take_finished() {
            self.tally.completed(self.now.boot);
            let actions = ended.decision.graph.synapses.len();
            self.log(Level::INFO, format!("Transition {} ({actions} actions): Complete", ended.id));
            self.last_decisions.clear();
            self.engine.stale = true;
        }
    }

    fn plan(&mut self) {
        self.engine.stale = false;
        let document = self.document();
        let seconds = unix_seconds(self.now.wall);
        let decision = match scheduler::decide(&document, cib::Moment(seconds)) {
            Ok(decision) => decision,
            Err(error) => return self.log(Level::ERROR, format!("No decision is possible: {error}")),
        };
        let bans: Vec<_> = decision.bans.iter().map(|b| (b.resource.clone(), b.node.clone())).collect();
        if bans != self.device_bans {
            self.device_bans = bans;
            self.set_candidates();
        }
        let interval = self.replica.cib.options.recheck_interval_ms;
        let recheck = (interval > 0).then(|| self.now.boot + Span::from_millis(interval));
        let by = decision.graph.head.recheck_by.as_ref().and_then(|at| at.parse::<i64>().ok());
        let by = by.map(|at| {
            let wait = u64::try_from(at.saturating_sub(seconds)).unwrap_or(0);
            self.now.boot + Span::from_secs(wait.saturating_add(1))
        });
        self.recheck_at = [recheck, by, self.unseen_until()].into_iter().flatten().min();
        if decision.graph.synapses.is_empty() {
            return self.say_settled();
        }
        self.tell(&decision);
        self.say_transition(&document, cib::Moment(seconds));
        self.last_decisions.clone_from(&decision.summary);
        self.engine.begin(decision);
        self.tally.begun(self.now.boot);
    }

    fn tell(&mut self, decision: &Decision) {
        for line in decision.summary.iter().filter(|line| !self.last_decisions.contains(line)) {
            self.outputs.push_back(crate::door::Output::Log(Level::INFO, format!("Actions: {line}")));
        }
    }

    /// A node that was to be fenced is known to be dead: whatever it was that confirmed it.
    fn settle_fences(&mut self) {
        let Some(running) = self.engine.running.as_mut() else { return };
        let dead = |name: &str| {
            let node = self.replica.nodes.values().find(|n| n.name == name);
            node.is_none_or(|n| matches!(n.standing, Standing::Dead | Standing::Left))
        };
        let settled: Vec<usize> =
            running.fencing().filter(|(_, name, begun)| *begun && dead(name)).map(|(at, ..)| at).collect();
        for at in settled {
            running.complete(at);
        }
    }

    /// Begins what may be begun.
    fn dispatch(&mut self) {
        // What ends at once may make others ready.
        while let Some(running) = self.engine.running.as_ref() {
            let (ready, open) = (running.ready(), running.sent());
            let mut ended = false;
            let mut sent = open;
            for at in ready {
                ended |= self.begin(at, &mut sent);
            }
            if !ended {
                break;
            }
        }
    }

    /// Begins one action if it may be. Whether it ended at once.
    fn begin(&mut self, at: usize, sent: &mut usize) -> bool {
        let Some(running) = self.engine.running.as_ref() else { return false };
        let (action, alone) = (running.action(at).clone(), running.alone(at));
        let ended = match action.kind {
            Kind::PseudoEvent => true,
            Kind::CrmEvent => self.begin_event(at, &action),
            Kind::RscOp => {
                self.begin_operation(at, action, alone, sent);
                false
            }
        };
        if let Some(running) = self.engine.running.as_mut().filter(|_| ended) {
            running.complete(at);
        }
        ended
    }

    /// Something that the cluster does by itself. Whether it ended at once.
    fn begin_event(&mut self, at: usize, action: &Action) -> bool {
        match action.operation.as_str() {
            // Carried out by `fence`; over when the death is known, or, by `unfence`, when the node has access.
            "stonith" => {
                if let Some(running) = self.engine.running.as_mut() {
                    running.begun(at, None);
                }
                false
            }
            "clear_failcount" => {
                let node = action.node.as_ref().and_then(|n| n.uuid.parse().ok());
                let resource = action.resource.as_ref().map(|r| r.id.clone()).unwrap_or_default();
                self.multicast(&Message::ClearFailures { node, resource, operation: None });
                true
            }
            // A node that leaves does so by itself when everything on it is stopped.
            _ => true,
        }
    }

    fn begin_operation(&mut self, at: usize, action: Action, alone: Alone, sent: &mut usize) {
        // Without quorum each node stops what it runs by itself, and nothing else is done.
        if !self.may_start() {
            return;
        }
        let place = action.node.as_ref();
        let node = place.and_then(|p| p.uuid.parse::<u32>().ok()).filter(|_| action.router.is_none());
        let (Some(node), Some(agent)) = (node, action.resource.as_ref()) else {
            return self.cannot(at, &action);
        };
        if alone != Alone::No && (!self.fences_are_over() || self.held_by(&agent.id, node, alone).is_some()) {
            return;
        }
        if is_recorded(&action.operation) {
            let on = self.replica.nodes.get(&node).and_then(|n| n.history.get(&agent.id));
            if let Some(pending) = on.and_then(|h| h.pending.as_ref()) {
                // It is under way already: its answer counts. Something else is: that comes first.
                let entry = &pending.entry;
                let same = entry.operation == action.operation
                    && action.key.ends_with(&format!("_{}", entry.interval_ms));
                if let (true, Some([term, transition, number])) = (same, pending.order) {
                    let tag = Tag { term, transition, action: u32::try_from(number).unwrap_or(u32::MAX) };
                    if let Some(running) = self.engine.running.as_mut() {
                        running.begun(at, Some(tag));
                        *sent += 1;
                    }
                }
                return;
            }
        }
        let Some(running) = self.engine.running.as_ref() else { return };
        let limit = running.decision.graph.head.batch_limit.parse().unwrap_or(0);
        if limit > 0 && *sent >= limit {
            return;
        }
        let tag = Tag { term: self.replica.term, transition: running.id, action: action.id };
        if is_recorded(&action.operation) && action.operation != "monitor" {
            let resource = agent.id.clone();
            self.say(Said::Operates(resource));
        }
        let Some(running) = self.engine.running.as_ref() else { return };
        let target = action.attributes.get("CRM_meta_op_target_rc").map_or("0", String::as_str);
        let transition_key = format!("{}:{}:{target}:{}", action.id, running.id, self.controller());
        if let Some(running) = self.engine.running.as_mut() {
            running.begun(at, Some(tag));
            *sent += 1;
        }
        let at_us = self.now.wall.0;
        self.send_order(Order { tag, node, action: Box::new(action), transition_key, at_us });
    }

    /// Where nobody can be told to do it.
    fn cannot(&mut self, at: usize, action: &Action) {
        let line = format!("{} cannot be carried out: remote nodes are not reached yet", action.key);
        self.log(Level::ERROR, line);
        if let Some(running) = self.engine.running.as_mut() {
            running.begun(at, None);
        }
    }

    /// This controller's name in the history: another one, or the same in another term, has another.
    fn controller(&self) -> String {
        let (me, term, life) = (self.config.me, self.replica.term, self.config.incarnation);
        let [a, b, c, d] = [term >> 48, term >> 32, term >> 16, term].map(|part| part & 0xffff);
        format!("{me:08x}-{a:04x}-{b:04x}-{c:04x}-{d:04x}{:08x}", life & 0xffff_ffff)
    }

    /// A node, and why, on which a resource may still be up that is not to be up twice.
    pub(crate) fn held_by(&self, resource: &str, node: u32, alone: Alone) -> Option<(u32, String)> {
        self.replica.nodes.iter().filter(|(id, _)| **id != node).find_map(|(id, other)| {
            let why = match &other.standing {
                Standing::Online | Standing::Left | Standing::Dead => return None,
                Standing::Unclean(why) => {
                    let on = other.history.get(resource);
                    let may = match alone {
                        Alone::Promoted => on.is_none_or(crate::history::History::may_be_promoted),
                        _ => on.is_none_or(crate::history::History::may_run),
                    };
                    may.then(|| why.clone())?
                }
                Standing::Never => self.unseen(*id)?.0.to_owned(),
            };
            Some((*id, why))
        })
    }

    /// From now on the operation counts as under way here, so that no later plan orders another one beside it.
    fn send_order(&mut self, order: Order) {
        self.replica.ordered(&order);
        self.multicast(&Message::Order(order.clone()));
        self.undelivered.push(order);
    }
}

/// After a refused order the controller waits this long before it plans again.
const REFUSAL_PAUSE: Span = Span::from_secs(1);
