//! What a member does when all inputs of a turn are in: agreement, the controller's transitions (fencing is in
//! `power`), this node's own rules, answers to reconfiguration steps, leaving.

use std::collections::BTreeMap;

use cib::NoQuorumPolicy;
use holdfast_types::{Boottime, NodeId, Span, WallTime};
use scheduler::{ActionKind, Activity, ClusterState, NodeState, Presence};
use tracing::Level;

use crate::door::{Now, Output};
use crate::engine::Progress;
use crate::local::{Effects, result_text};
use crate::manager::{GOODBYE_LIMIT, Manager};
use crate::message::{Forget, Message, Order, Snapshot, StateReport, Tag, Verdict};
use crate::replica::{Node, Standing};

impl Manager {
    /// Decides what to do. Called when all inputs of a turn are in, and when [`Self::next_timeout`] is due.
    pub fn turn(&mut self, now: Now) {
        self.now = now;
        self.send_snapshot();
        self.run_fence_agents();
        if self.is_dc() {
            self.confirm_deaths();
            // A view may come before the word on what it means for quorum: nothing is done on the old one.
            if self.unsettled.is_empty() {
                self.fence();
                self.transition();
            }
        }
        self.rule_locally();
        self.watch();
        self.answer_step();
        self.say_goodbye();
    }

    /// The cluster as the scheduler sees it.
    pub(crate) fn cluster_state(&self) -> ClusterState {
        let nodes =
            self.replica.nodes.iter().map(|(id, node)| (NodeId::new(*id), self.node_state(*id, node)));
        ClusterState { quorate: self.quorate, dc: self.replica.dc().map(NodeId::new), nodes: nodes.collect() }
    }

    fn node_state(&self, id: u32, node: &Node) -> NodeState {
        let unclean = |why: &str, fence| Presence::Unclean { why: why.to_owned(), fence };
        let presence = match &node.standing {
            Standing::Online => Presence::Online,
            Standing::Left | Standing::Dead => Presence::Offline,
            Standing::Unclean(why) => unclean(why, true),
            Standing::Never => self.unseen(id),
        };
        NodeState {
            name: node.name.clone(),
            presence,
            shutting_down: node.leaving || node.goodbye.is_some(),
            fenceable: self.power.can_fence(id, &node.name),
            resources: if node.standing == Standing::Online {
                node.resources.clone()
            } else {
                BTreeMap::new()
            },
        }
    }

    /// A node that has never taken part. Where its ring daemon does, its manager is waited for a moment; a node may do
    /// without one. Else it may be running anything, and is fenced if it is to be fenced at start.
    fn unseen(&self, id: u32) -> Presence {
        let unclean = |why: &str, fence| Presence::Unclean { why: why.to_owned(), fence };
        let waited = |limit: Span| self.formed_at.is_some_and(|at| at + limit <= self.now.boot);
        if self.ring.contains(&id) {
            let why = "has no resource manager in the cluster yet";
            return if waited(MANAGER_GRACE) { Presence::Offline } else { unclean(why, false) };
        }
        match self.replica.cib.options.startup_fencing {
            false => Presence::Offline,
            true if waited(self.dead_time()) => unclean("has not been seen by the cluster", true),
            true => unclean("has not been seen yet", false),
        }
    }

    fn dead_time(&self) -> Span {
        Span::from_millis(self.replica.cib.options.dc_deadtime_ms)
    }

    /// When nodes that have never been seen count for something else.
    fn unseen_until(&self) -> Option<Boottime> {
        let anyone = self.replica.nodes.values().any(|n| n.standing == Standing::Never);
        let formed = self.formed_at.filter(|_| anyone)?;
        [MANAGER_GRACE, self.dead_time()]
            .map(|limit| formed + limit)
            .into_iter()
            .filter(|at| *at > self.now.boot)
            .min()
    }

    fn send_snapshot(&mut self) {
        let me = self.config.me;
        let Some(sync) = self.sync.as_mut().filter(|s| !s.sent && s.is_complete() && s.source() == Some(me))
        else {
            return;
        };
        sync.sent = true;
        let snapshot = Snapshot {
            view: sync.view.clone(),
            cib: (!sync.same_cib()).then(|| self.replica.cib.to_xml()),
            fencing: self.replica.fencing.iter().cloned().collect(),
        };
        self.multicast(&Message::Snapshot(Box::new(snapshot)));
    }

    // --- the controller: transitions ---

    pub(crate) fn abort(&mut self, why: &str) {
        if let Some(number) = self.engine.abort() {
            self.log(Level::INFO, format!("Transition {number} aborted: {why}"));
        }
    }

    /// A node's word on a resource: is it the answer to an order, as expected, or news?
    pub(crate) fn judge(&mut self, sender: u32, report: &StateReport) {
        let name = self.replica.name(sender);
        let resource = &report.resource;
        if let (Some(tag), Some(verdict)) = (report.tag, &report.verdict)
            && tag.term == self.replica.term
        {
            let probe = self.engine.running.as_ref().and_then(|r| r.graph.actions.get(tag.action));
            let probe = probe.is_some_and(|a| a.kind == ActionKind::Probe);
            match verdict {
                Verdict::Ok if probe && report.state.activity != Activity::Stopped => {
                    self.abort(&format!("{resource} was found active on {name}"));
                }
                Verdict::Ok if self.engine.succeeded(tag) => {}
                // What an earlier transition began and this one had to leave out.
                Verdict::Ok => self.abort(&format!("an operation of {resource} ended on {name}")),
                Verdict::Failed => {
                    let text = report.state.last.as_ref().map(result_text).unwrap_or_default();
                    self.abort(&format!("an operation of {resource} failed on {name}: {text}"));
                }
                Verdict::Refused(why) => {
                    self.plan_not_before = Some(self.now.boot + REFUSAL_PAUSE);
                    self.abort(&format!("{name} refused an operation of {resource}: {why}"));
                }
            }
            return;
        }
        // A node that leaves stops its resources by itself.
        if !self.settle_leaving(sender, report) {
            self.abort(&format!("{resource} changed on {name}"));
        }
    }

    /// Ends the actions that a leaving node carries out without being told. Whether this report belongs to one.
    fn settle_leaving(&mut self, sender: u32, report: &StateReport) -> bool {
        let leaving = self.replica.nodes.get(&sender).is_some_and(|n| n.leaving);
        let Some(running) = self.engine.running.as_mut().filter(|_| leaving) else { return false };
        let mut found = false;
        for (action, progress) in running.graph.actions.iter().zip(&mut running.progress) {
            if action.node.get() == sender
                && action.resource == report.resource
                && *progress == Progress::Sent
            {
                let done = match action.kind {
                    ActionKind::Stop => report.state.activity == Activity::Stopped,
                    _ => report.state.activity != Activity::Unknown,
                };
                found = true;
                if done && report.state.pending.is_none() {
                    *progress = Progress::Done;
                }
            }
        }
        found && report.state.activity != Activity::StopFailed
    }

    /// Carries on the transition under way, or makes a new plan.
    fn transition(&mut self) {
        if self.recheck_at.take_if(|at| *at <= self.now.boot).is_some() {
            self.engine.stale = true;
        }
        self.plan_not_before.take_if(|at| *at <= self.now.boot);
        self.carry_on();
        if self.engine.running.is_none() && self.engine.stale && self.plan_not_before.is_none() {
            self.plan();
            self.carry_on();
        }
    }

    fn carry_on(&mut self) {
        self.settle_fences();
        self.dispatch();
        if let Some(ended) = self.engine.take_finished() {
            self.log(
                Level::INFO,
                format!("Transition {} ({} actions): Complete", ended.id, ended.progress.len()),
            );
            self.last_decisions.clear();
            self.engine.stale = true;
        }
    }

    fn plan(&mut self) {
        self.engine.stale = false;
        let graph = scheduler::plan(&self.replica.cib, &self.cluster_state(), self.now.wall);
        let expiry = graph.recheck_at.map(|at| {
            let wait = u64::try_from(at.0.saturating_sub(self.now.wall.0)).unwrap_or(0);
            self.now.boot + Span::from_micros(wait) + Span::from_millis(1)
        });
        self.recheck_at = [expiry, self.unseen_until()].into_iter().flatten().min();
        let blocked: Vec<String> =
            graph.blocked.iter().map(|b| format!("{}: {}", b.resource, b.why)).collect();
        if blocked != self.last_blocked {
            // Without quorum there is one reason for all, and it was said when quorum was lost.
            let worth = if self.quorate { blocked.as_slice() } else { &[] };
            for line in worth {
                self.log(Level::INFO, format!("Not running as wanted: {line}"));
            }
            self.last_blocked = blocked;
        }
        if graph.is_empty() {
            return;
        }
        for line in &graph.decisions {
            if !self.last_decisions.contains(line) {
                self.log(Level::INFO, format!("Actions: {line}"));
            }
        }
        self.last_decisions.clone_from(&graph.decisions);
        self.engine.begin(graph);
    }

    /// A node that was to be fenced is known to be dead: whatever it was that confirmed it.
    fn settle_fences(&mut self) {
        let Some(running) = self.engine.running.as_mut() else { return };
        for (action, progress) in running.graph.actions.iter().zip(&mut running.progress) {
            let standing = self.replica.nodes.get(&action.node.get()).map(|n| &n.standing);
            let down = matches!(standing, Some(Standing::Dead | Standing::Left));
            if action.kind == ActionKind::Fence && *progress == Progress::Sent && down {
                *progress = Progress::Done;
            }
        }
    }

    /// Sends what may be sent.
    fn dispatch(&mut self) {
        let Some(running) = self.engine.running.as_ref() else { return };
        let (transition, limit) = (running.id, self.replica.cib.options.batch_limit);
        let mut sent = running.sent();
        for id in running.ready() {
            if limit > 0 && sent >= limit {
                break;
            }
            let Some(action) = self.engine.running.as_ref().and_then(|r| r.graph.actions.get(id)).cloned()
            else {
                break;
            };
            if action.kind == ActionKind::Start && !(self.may_start() && self.fences_are_over()) {
                continue;
            }
            let node = action.node.get();
            let tag = Tag { term: self.replica.term, transition, action: id };
            let by_itself = self.replica.nodes.get(&node).is_some_and(|n| n.leaving);
            match action.kind {
                ActionKind::Fence => {}
                ActionKind::Expire => self.multicast(&Message::Forget(Forget {
                    node: Some(node),
                    resource: Some(action.resource),
                    expired: true,
                    tag: Some(tag),
                })),
                _ if by_itself => {}
                ActionKind::Probe | ActionKind::Stop | ActionKind::Start => self.send_order(Order {
                    tag,
                    node,
                    resource: action.resource,
                    action: action.kind.operation().to_owned(),
                    at_us: self.now.wall.0,
                }),
            }
            sent += 1;
            if let Some(running) = self.engine.running.as_mut() {
                running.progress[id] = Progress::Sent;
            }
        }
    }

    /// From now on the operation counts as under way here, so that no later plan orders another one beside it.
    fn send_order(&mut self, order: Order) {
        self.replica.ordered(&order);
        self.multicast(&Message::Order(order.clone()));
        self.undelivered.push(order);
    }

    /// Starts are allowed by quorum, as the policy says.
    pub(crate) fn may_start(&self) -> bool {
        self.quorate || self.replica.cib.options.no_quorum_policy != NoQuorumPolicy::Stop
    }

    /// A partition without quorum fences nobody, unless so configured.
    pub(crate) fn may_fence(&self) -> bool {
        self.quorate || self.replica.cib.options.no_quorum_policy == NoQuorumPolicy::Ignore
    }

    /// The reconfiguration's fence step is over: nothing is started before that.
    fn fences_are_over(&self) -> bool {
        self.step
            .as_ref()
            .is_none_or(|s| s.name != "aborted" && (s.step >= STEP_RESOURCES || s.name == "end"))
    }

    // --- this node's own rules ---

    /// This node stops its resources by itself, whoever is controller: it has no quorum, it leaves, or the ring daemon
    /// is gone.
    pub(crate) fn local_rules(&self) -> bool {
        self.leaving
            || !self.connected
            || (!self.quorate && self.replica.cib.options.no_quorum_policy == NoQuorumPolicy::Stop)
    }

    fn rule_locally(&mut self) {
        if !self.local_rules() || self.finished {
            return;
        }
        let mut effects = Effects::default();
        self.local.cancel_starts(&mut effects);
        let me = NodeId::new(self.config.me);
        for action in self.local_plan().actions {
            // Before it leaves, a node looks at what it has never looked at; without quorum it just stops.
            let wanted =
                action.kind == ActionKind::Stop || (action.kind == ActionKind::Probe && self.leaving);
            if !wanted || action.node != me || action.held || !action.after.is_empty() {
                continue;
            }
            let operation = action.kind.operation();
            self.log(
                Level::INFO,
                format!("Executing {operation} operation for {} locally: {}", action.resource, action.reason),
            );
            let (cib, wall) = (&self.replica.cib, self.now.wall);
            if self.local.start(cib, &action.resource, operation, None, wall, &mut effects).is_ok() {
                // What ended at once has been reported already.
                if let Some(state) =
                    self.local.truth.get(&action.resource).filter(|s| s.pending.is_some()).cloned()
                {
                    effects.reports.push(StateReport {
                        resource: action.resource,
                        state,
                        tag: None,
                        verdict: None,
                    });
                }
            }
        }
        self.effects(effects);
    }

    /// What this node alone has to do to run nothing.
    fn local_plan(&self) -> scheduler::TransitionGraph {
        let node = NodeState {
            name: self.my_name(),
            presence: Presence::Online,
            shutting_down: self.leaving || !self.connected,
            fenceable: false,
            resources: self.local.truth.clone(),
        };
        let nodes = BTreeMap::from([(NodeId::new(self.config.me), node)]);
        let state = ClusterState { quorate: false, dc: None, nodes };
        scheduler::plan(&self.replica.cib, &state, self.now.wall)
    }

    /// Starts and ends recurring monitors.
    fn watch(&mut self) {
        let mut effects = Effects::default();
        self.local.reconcile_monitors(&self.replica.cib, &mut effects);
        self.effects(effects);
    }

    // --- steps, leaving ---

    fn answer_step(&mut self) {
        let Some(step) = self.step.clone() else { return };
        if step.step < STEP_FENCE
            || matches!(step.name.as_str(), "end" | "aborted")
            || self.step_answered == Some((step.epoch, step.step))
        {
            return;
        }
        let ready = match step.step {
            // The barrier holds for all: only the controller has something to do, but who that is must be agreed.
            STEP_FENCE => self.leaving || (self.is_synced() && !(self.is_dc() && self.has_to_fence())),
            _ => true,
        };
        if ready {
            self.step_answered = Some((step.epoch, step.step));
            self.outputs.push_back(Output::StepDone { epoch: step.epoch, step: step.step });
        }
    }

    fn has_to_fence(&self) -> bool {
        if !self.unsettled.is_empty() {
            return true;
        }
        let targets = scheduler::fence_targets(&self.replica.cib, &self.cluster_state(), self.now.wall);
        !targets.is_empty()
    }

    pub(crate) fn shutdown(&mut self) {
        if self.leaving {
            return;
        }
        self.leaving = true;
        self.log(Level::INFO, "Shutting down: stopping local resources");
        self.multicast(&Message::Leaving);
    }

    fn say_goodbye(&mut self) {
        let must_go = self.leaving || !self.connected;
        if self.finished || !must_go {
            return;
        }
        if let Some((at, clean)) = self.said_goodbye {
            if at + GOODBYE_LIMIT <= self.now.boot {
                self.finish(clean);
            }
            return;
        }
        let more = self
            .local_plan()
            .actions
            .iter()
            .any(|a| a.kind == ActionKind::Stop || (a.kind == ActionKind::Probe && self.connected));
        if self.local.is_any_busy() || more {
            return;
        }
        let clean = !self.local.truth.values().any(|s| s.activity == Activity::StopFailed);
        if !clean {
            self.log(Level::ERROR, "Something could not be stopped: this node will count as UNCLEAN");
        }
        if self.connected && self.is_synced() {
            self.said_goodbye = Some((self.now.boot, clean));
            self.multicast(&Message::Goodbye { clean });
        } else {
            self.finish(clean && self.connected);
        }
    }
}

/// Milliseconds since the Unix epoch, for the model of cluster state.
pub(crate) fn unix_ms(at: WallTime) -> u64 {
    u64::try_from(at.0 / 1_000).unwrap_or(0)
}

/// How long the resource manager of a node in the ring is waited for before the node counts as one without.
const MANAGER_GRACE: Span = Span::from_secs(5);
/// After a refused order the controller waits this long before it plans again.
const REFUSAL_PAUSE: Span = Span::from_secs(1);
/// Numbers of the steps that are userland's.
const STEP_FENCE: u32 = 3;
const STEP_RESOURCES: u32 = 4;
