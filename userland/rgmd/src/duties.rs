//! What a member does when all inputs of a turn are in: agreement, the controller's transitions (`transitions`; fencing is
//! in `power`), this node's own rules, answers to reconfiguration steps, leaving.

use std::collections::BTreeMap;

use cib::NoQuorumPolicy;
use holdfast_types::{Boottime, Span, WallTime};
use scheduler::transition::{Action, Kind};
use tracing::Level;

use crate::door::{Now, Output};
use crate::history::Activity;
use crate::local::{Call, Effects};
use crate::manager::{GOODBYE_LIMIT, Manager};
use crate::message::{CibChange, Message, Snapshot};
use crate::replica::Standing;

impl Manager {
    /// Decides what to do. Called when all inputs of a turn are in, and when [`Self::next_timeout`] is due.
    pub fn turn(&mut self, now: Now) {
        self.now = now;
        self.take_configuration();
        self.send_snapshot();
        self.run_fence_agents();
        if self.is_dc() {
            self.confirm_deaths();
            self.name_members();
            self.dampen();
            // A view may come before the word on what it means for quorum: nothing is done on the old one.
            if self.unsettled.is_empty() {
                if self.power.expire(now.boot) {
                    // Also where a transition waits for what had been given up.
                    self.engine.abort();
                }
                self.transition();
                self.fence();
                // What fencing gave up or found done is decided on at once.
                self.transition();
            }
        }
        self.rule_locally();
        self.answer_step();
        self.say_goodbye();
    }

    /// A node that has never taken part. Where its ring daemon does, its manager is waited for a moment; a node may do
    /// without one. Else it may be running anything, and is fenced if it is to be fenced at start. `None`: it counts as
    /// stopped; else why it does not, and whether it is to be fenced.
    pub(crate) fn unseen(&self, id: u32) -> Option<(&'static str, bool)> {
        let waited = |limit: Span| self.formed_at.is_some_and(|at| at + limit <= self.now.boot);
        if self.ring.contains(&id) {
            let why = "has no resource manager in the cluster yet";
            return (!waited(MANAGER_GRACE)).then_some((why, false));
        }
        match self.replica.cib.options.startup_fencing {
            false => None,
            true if waited(self.dead_time()) => Some(("has not been seen by the cluster", true)),
            true => Some(("has not been seen yet", false)),
        }
    }

    fn dead_time(&self) -> Span {
        Span::from_millis(self.replica.cib.options.dc_deadtime_ms)
    }

    /// When nodes that have never been seen count for something else.
    pub(crate) fn unseen_until(&self) -> Option<Boottime> {
        let anyone = self.replica.nodes.values().any(|n| n.standing == Standing::Never);
        let formed = self.formed_at.filter(|_| anyone)?;
        [MANAGER_GRACE, self.dead_time()]
            .map(|limit| formed + limit)
            .into_iter()
            .filter(|at| *at > self.now.boot)
            .min()
    }

    /// What the document says of nodes and the cluster by itself is written into the configuration once, so that patches
    /// made from it fit.
    fn name_members(&mut self) {
        if self.named || !self.quorate {
            return;
        }
        self.named = true;
        let mut tree = self.document();
        tree.children.retain(|c| c.name != "status");
        if tree.child("configuration") != self.replica.cib.tree().child("configuration") {
            let (admin_epoch, epoch, _) = self.cib_version();
            tree.attributes.insert("admin_epoch", admin_epoch.to_string());
            tree.attributes.insert("epoch", epoch.saturating_add(1).to_string());
            tree.attributes.insert("num_updates", "0");
            self.multicast(&Message::Cib(CibChange {
                base: self.cib_version(),
                xml: tree.to_xml(),
                request: 0,
            }));
        }
    }

    /// Attributes that are held back come into force when their time is over.
    fn dampen(&mut self) {
        let now = self.now.boot;
        let held: BTreeMap<String, u64> =
            self.replica.attributes.held().map(|(name, ms)| (name.to_owned(), ms)).collect();
        self.dampened.retain(|name, _| held.contains_key(name));
        for (name, ms) in held {
            let due = self.dampened.entry(name.clone()).or_insert_with(|| Some(now + Span::from_millis(ms)));
            if due.take_if(|at| *at <= now).is_some() {
                self.multicast(&Message::Release { name });
            }
        }
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

    /// Starts are allowed by quorum, as the policy says.
    pub(crate) fn may_start(&self) -> bool {
        self.quorate || self.replica.cib.options.no_quorum_policy != NoQuorumPolicy::Stop
    }

    /// A partition without quorum fences nobody, unless so configured.
    pub(crate) fn may_fence(&self) -> bool {
        self.quorate || self.replica.cib.options.no_quorum_policy == NoQuorumPolicy::Ignore
    }

    /// A partition without quorum changes no configuration either: two halves would not come to one again. Who tells the
    /// cluster to do without a quorum has said which half counts, by fencing.
    pub(crate) fn may_change(&self) -> bool {
        self.quorate || self.replica.cib.options.no_quorum_policy == NoQuorumPolicy::Ignore
    }

    /// The reconfiguration's fence step is over: nothing is started before that.
    pub(crate) fn fences_are_over(&self) -> bool {
        self.step
            .as_ref()
            .is_none_or(|s| s.name != "aborted" && (s.step >= STEP_RESOURCES || s.name == "end"))
    }

    // --- this node's own rules ---

    /// This node stops its resources by itself, whoever is controller: it has no quorum, or no controller to stop them in
    /// the order that concerns others, too.
    pub(crate) fn local_rules(&self) -> bool {
        !self.connected
            || (!self.quorate && self.replica.cib.options.no_quorum_policy == NoQuorumPolicy::Stop)
            || (self.leaving.is_some() && !self.is_synced())
    }

    /// What this node alone has to do to run nothing, as far as it can be begun now. Before it leaves, a node looks at what
    /// it has never looked at; without quorum it just stops.
    fn own_plan(&self) -> Vec<Action> {
        let leaves = self.leaving.is_some() || !self.connected;
        let decide = |document| scheduler::decide(&document, cib::Moment(unix_seconds(self.now.wall)));
        let me = self.config.me.to_string();
        let here = |action: &&Action| {
            action.kind == Kind::RscOp && action.node.as_ref().is_some_and(|n| n.uuid == me)
        };
        if self.leaving.is_some()
            && self.connected
            && let Ok(decision) = decide(self.own_document(true, false))
        {
            let probes = decision.graph.actions.iter().filter(here).filter(|a| {
                a.operation == "monitor"
                    && a.key.ends_with("_monitor_0")
                    && a.resource
                        .as_ref()
                        .is_some_and(|r| r.class != "stonith" && !self.local.truth.contains_key(&r.id))
            });
            let probes: Vec<Action> = probes.cloned().collect();
            if !probes.is_empty() {
                return probes;
            }
        }
        let Ok(decision) = decide(self.own_document(leaves, leaves)) else { return Vec::new() };
        let graph = &decision.graph;
        let stops = |action: &Action| here(&action) && matches!(action.operation.as_str(), "stop" | "demote");
        // What others would do, or nobody, counts as done.
        let mut missing: Vec<usize> = graph.synapses.iter().map(|s| s.inputs.len()).collect();
        let mut followers: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (at, synapse) in graph.synapses.iter().enumerate() {
            for input in &synapse.inputs {
                followers.entry(*input).or_default().push(at);
            }
        }
        let mut open: Vec<usize> = (0..missing.len()).filter(|at| missing[*at] == 0).collect();
        let mut mine = self.local.forgotten_stops();
        while let Some(at) = open.pop() {
            let place = graph.synapses[at].action;
            if stops(&graph.actions[place]) {
                mine.push(graph.actions[place].clone());
                continue;
            }
            for follower in followers.get(&place).into_iter().flatten() {
                missing[*follower] -= 1;
                if missing[*follower] == 0 {
                    open.push(*follower);
                }
            }
        }
        mine
    }

    fn rule_locally(&mut self) {
        let concerned = self.local_rules() || self.leaving.is_some();
        if !concerned || self.finished {
            self.own_stops = None;
            return;
        }
        if self.own_stops.is_none() {
            self.own_stops = Some(self.own_plan());
        }
        if !self.local_rules() {
            return;
        }
        let mut effects = Effects::default();
        self.local.cancel_starts(&mut effects);
        for action in self.own_stops.clone().unwrap_or_default() {
            let resource = action.resource.as_ref().map(|r| r.id.clone()).unwrap_or_default();
            if self.local.is_busy(&resource) {
                continue;
            }
            let operation = &action.operation;
            self.log(Level::INFO, format!("Executing {operation} operation for {resource} locally"));
            let transition_key = format!("{}:0:0:{}", action.id, NO_CONTROLLER);
            let call =
                Call { action: &action, transition_key: &transition_key, tag: None, wall: self.now.wall };
            let began = self.local.start(call, &mut effects).is_ok();
            if let Some(history) = self.local.truth.get(&resource).filter(|h| began && h.pending.is_some()) {
                effects.reports.push(crate::message::StateReport {
                    resource,
                    history: Some(history.clone()),
                    tag: None,
                    verdict: None,
                    failure: None,
                });
            }
        }
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
            STEP_FENCE => {
                self.leaving.is_some() || (self.is_synced() && !(self.is_dc() && self.has_to_fence()))
            }
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
        self.engine.stale || self.engine.running.as_ref().is_some_and(|r| r.fencing().next().is_some())
    }

    pub(crate) fn shutdown(&mut self) {
        if self.leaving.is_some() {
            return;
        }
        let at_s = unix_seconds(self.now.wall);
        self.leaving = Some(at_s);
        self.own_stops = None;
        self.log(Level::INFO, "Shutting down: stopping local resources");
        self.multicast(&Message::Leaving { at_s });
    }

    fn say_goodbye(&mut self) {
        let must_go = self.leaving.is_some() || !self.connected;
        if self.finished || !must_go {
            return;
        }
        if let Some((at, clean)) = self.said_goodbye {
            if at + GOODBYE_LIMIT <= self.now.boot {
                self.finish(clean);
            }
            return;
        }
        if self.local.is_any_busy() || self.own_stops.as_ref().is_none_or(|stops| !stops.is_empty()) {
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

/// Seconds since the Unix epoch, as histories have them.
pub(crate) fn unix_seconds(at: WallTime) -> i64 {
    at.0.div_euclid(1_000_000)
}

/// In place of a controller's name where none gave the order.
const NO_CONTROLLER: &str = "00000000-0000-0000-0000-000000000000";
/// How long the resource manager of a node in the ring is waited for before the node counts as one without.
const MANAGER_GRACE: Span = Span::from_secs(5);
/// Numbers of the steps that are userland's.
const STEP_FENCE: u32 = 3;
const STEP_RESOURCES: u32 = 4;
