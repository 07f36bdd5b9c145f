//! All of it put together. [`Manager::handle`] takes inputs and only changes state; [`Manager::turn`], called when all
//! inputs of a turn are in, decides what to do. So an answer to a reconfiguration step always rests on the view and
//! quorum that were told before it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use cib::operation::{Operation, Refusal};
use cib::{Cib, Element};
use executor::AlertEvent;
use holdfast_types::{Boottime, Span};
use logconv::{Cause, Event};
use scheduler::transition::Action;
use tracing::Level;

use crate::attributes::{Attributes, Update, Updated};
use crate::door::{Config, Input, Now, Output, StepAt};
use crate::engine::Engine;
use crate::local::{Call, Effects, Local};
use crate::message::{
    CibChange, FenceCall, FenceRun, Forget, Hello, Message, Order, Snapshot, StateReport, Verdict,
};
use crate::metrics::Tally;
use crate::power::Power;
use crate::replica::{Replica, Standing};
use crate::said::Said;
use crate::sync::Sync;
use crate::unfencing::Access;

/// The resource-group manager of one node.
#[derive(Debug)]
pub struct Manager {
    pub(crate) config: Config,
    pub(crate) now: Now,
    pub(crate) replica: Replica,
    pub(crate) sync: Option<Sync>,
    pub(crate) local: Local,
    pub(crate) engine: Engine,
    pub(crate) tally: Tally,
    pub(crate) power: Power,
    pub(crate) quorate: bool,
    /// Nodes that a view has lost and that the last word on quorum still counts: until the next one nobody acts on it.
    pub(crate) unsettled: BTreeSet<u32>,
    /// Members of the ring, with or without a resource manager.
    pub(crate) ring: BTreeSet<u32>,
    /// Highest confirmed life of each node, as the ring daemon knows it.
    pub(crate) confirmed: BTreeMap<u32, u64>,
    /// Last known life of each node, as the ring daemon knows it.
    pub(crate) lives: BTreeMap<u32, u64>,
    /// The step at hand; `None`: the ring daemon has no steps.
    pub(crate) step: Option<StepAt>,
    pub(crate) step_answered: Option<(u64, u32)>,
    /// When this member first agreed with others.
    pub(crate) formed_at: Option<Boottime>,
    /// When the plan may change by itself.
    pub(crate) recheck_at: Option<Boottime>,
    /// No new plan before: a node has refused an order.
    pub(crate) plan_not_before: Option<Boottime>,
    /// Confirmations sent and not yet delivered.
    pub(crate) confirming: BTreeSet<(u32, u64)>,
    /// Agents of fence devices that this node was asked to run in this turn.
    pub(crate) fence_orders: Vec<FenceRun>,
    /// Agents of fence devices under way here, by job.
    pub(crate) fence_jobs: BTreeMap<u64, FenceCall>,
    /// Whom those are about.
    pub(crate) fence_victims: BTreeMap<u64, String>,
    /// What the last run of each resource's agent noticed.
    pub(crate) noticed: BTreeMap<String, Vec<logconv::Event>>,
    /// Questions to fence devices under way here, by job.
    pub(crate) fence_asks: BTreeMap<u64, fencing::CallId>,
    /// Agents of fence devices that are asked here what they can do, by job.
    pub(crate) ability_jobs: BTreeMap<u64, String>,
    /// Nodes that are being given access on this controller's order.
    pub(crate) unfencing: BTreeMap<u32, Access>,
    /// Calls that this controller has made and not heard of, by number.
    pub(crate) fence_calls: BTreeMap<u64, FenceCall>,
    /// Victims whose fencing ended here; that it did is not delivered yet.
    pub(crate) fence_closing: BTreeSet<u32>,
    /// Nodes that administrators want fenced: how, and for whom.
    pub(crate) fence_wanted: BTreeMap<u32, (String, String)>,
    /// Who waits here for the end of a node's fencing.
    pub(crate) fence_waiters: BTreeMap<u32, Vec<u64>>,
    /// Changes of the configuration under way from here: request, who asked.
    pub(crate) changes: BTreeMap<u64, u64>,
    /// Who asks here what the controller does, by question.
    pub(crate) asked: BTreeMap<u64, u64>,
    /// Number of the last of either.
    pub(crate) last_change: u64,
    /// The configuration is another one than at the last turn.
    pub(crate) reconfigured: bool,
    /// What is wrong with it, as far as that was said.
    pub(crate) problems: Vec<String>,
    /// The configuration is to be saved.
    pub(crate) unsaved: bool,
    /// Answers to changes, which are told after the save that they wait for.
    pub(crate) answers: Vec<Output>,
    /// Fence devices that constraints keep from nodes: device and node's name, as the last plan knows it.
    pub(crate) device_bans: Vec<(String, String)>,
    /// Orders of ours that have not been delivered.
    pub(crate) undelivered: Vec<Order>,
    /// What was decided last, so that the log says it once.
    pub(crate) last_decisions: Vec<String>,
    /// What this node has to stop by its own rules; `None`: to be found out.
    pub(crate) own_stops: Option<Vec<Action>>,
    /// Attributes that are held back, and until when; `None`: it was said that the time is over.
    pub(crate) dampened: BTreeMap<String, Option<Boottime>>,
    /// What the present transitions are for, as far as the operator's log speaks of it.
    pub(crate) cause: Cause,
    /// Nodes and cluster are named in the configuration, or it was asked that they be.
    pub(crate) named: bool,
    /// Since when this node is leaving, in seconds since 1970.
    pub(crate) leaving: Option<i64>,
    pub(crate) said_goodbye: Option<(Boottime, bool)>,
    pub(crate) connected: bool,
    pub(crate) finished: bool,
    /// Messages that could not be read.
    pub(crate) skipped: u64,
    pub(crate) outputs: VecDeque<Output>,
}

impl Manager {
    /// A manager that knows only itself.
    #[must_use]
    pub fn new(config: Config, now: Now) -> Self {
        let replica = Replica::new(config.cib.clone(), &config.nodes);
        let mut manager = Self {
            config,
            now,
            replica,
            sync: None,
            local: Local::default(),
            engine: Engine::default(),
            tally: Tally::default(),
            power: Power::default(),
            quorate: false,
            unsettled: BTreeSet::new(),
            ring: BTreeSet::new(),
            confirmed: BTreeMap::new(),
            lives: BTreeMap::new(),
            step: None,
            step_answered: None,
            formed_at: None,
            recheck_at: None,
            plan_not_before: None,
            confirming: BTreeSet::new(),
            fence_orders: Vec::new(),
            fence_jobs: BTreeMap::new(),
            fence_victims: BTreeMap::new(),
            noticed: BTreeMap::new(),
            fence_asks: BTreeMap::new(),
            ability_jobs: BTreeMap::new(),
            unfencing: BTreeMap::new(),
            fence_calls: BTreeMap::new(),
            fence_closing: BTreeSet::new(),
            fence_wanted: BTreeMap::new(),
            fence_waiters: BTreeMap::new(),
            changes: BTreeMap::new(),
            asked: BTreeMap::new(),
            last_change: 0,
            reconfigured: false,
            problems: Vec::new(),
            unsaved: false,
            answers: Vec::new(),
            device_bans: Vec::new(),
            undelivered: Vec::new(),
            last_decisions: Vec::new(),
            own_stops: None,
            dampened: BTreeMap::new(),
            cause: Cause::None,
            named: false,
            leaving: None,
            said_goodbye: None,
            connected: true,
            finished: false,
            skipped: 0,
            outputs: VecDeque::new(),
        };
        manager.configured();
        manager
    }

    /// Takes an input. Then [`Self::turn`].
    pub fn handle(&mut self, now: Now, input: Input) {
        self.now = now;
        match input {
            Input::View { members, left, joined } => self.view(members, &left, &joined),
            Input::Message { node, bytes } => self.message(node, &bytes),
            Input::Quorum { quorate, members } => self.quorum(quorate, members),
            Input::Confirmed { node, incarnation } => {
                let known = self.confirmed.entry(node).or_default();
                *known = (*known).max(incarnation);
            }
            Input::Life { node, incarnation } => {
                self.lives.insert(node, incarnation);
                if node == self.config.me {
                    self.config.incarnation = incarnation;
                }
            }
            Input::Step(step) => self.step = Some(step),
            Input::Outcome(outcome) => self.outcome(&outcome),
            Input::Admin { conn, request } => self.admin(conn, request),
            Input::Shutdown => self.shutdown(),
            Input::Disconnected => {
                if self.connected {
                    self.log(Level::ERROR, "Lost connection to the cluster layer: stopping local resources");
                }
                self.connected = false;
            }
        }
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Self::turn`] is due without any input.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Boottime> {
        let goodbye = self.said_goodbye.map(|(at, _)| at + GOODBYE_LIMIT);
        let dc = self.is_dc().then(|| self.power.next_timeout()).flatten();
        let dampened = self.dampened.values().flatten().min().copied().filter(|_| self.is_dc());
        [goodbye, dc, dampened, self.recheck_at, self.plan_not_before].into_iter().flatten().min()
    }

    /// This member is the designated controller of an agreed view.
    #[must_use]
    pub fn is_dc(&self) -> bool {
        self.is_synced() && self.replica.dc() == Some(self.config.me)
    }

    /// This member has agreed with all others of its view.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        self.sync.is_none() && self.replica.epoch > 0 && self.replica.order.contains(&self.config.me)
    }

    pub(crate) fn log(&mut self, level: Level, text: impl Into<String>) {
        self.outputs.push_back(Output::Log(level, text.into()));
    }

    pub(crate) fn multicast(&mut self, message: &Message) {
        if self.connected {
            self.outputs.push_back(Output::Multicast(message.encode()));
        }
    }

    /// This node's name.
    pub(crate) fn my_name(&self) -> String {
        self.replica.name(self.config.me)
    }

    pub(crate) fn cib_version(&self) -> (u32, u32, u32) {
        let version = self.replica.cib.version;
        (version.admin_epoch, version.epoch, version.num_updates)
    }

    // --- views and agreement ---

    fn view(&mut self, members: Vec<(u32, u32)>, left: &[(u32, u32, &'static str)], joined: &[(u32, u32)]) {
        let dc_before = self.replica.dc();
        self.replica.term += 1;
        for (node, _, why) in left {
            let clean = self.replica.nodes.get(node).is_some_and(|n| n.goodbye == Some(true));
            let name = self.replica.name(*node);
            self.log(Level::INFO, format!("Node {name} state is now lost"));
            self.event(Event::NodeLost { node: name.clone() });
            self.alert(AlertEvent::Node { node: name.clone(), id: *node, member: false });
            if !clean {
                self.happened(Cause::Node, format!("node {name} is lost: {why}"));
            }
            match self.replica.gone(*node, why, self.now.boot) {
                Standing::Unclean(why) => self.log(
                    Level::WARN,
                    format!("Node {name} is UNCLEAN: {why}; nothing it may run is started elsewhere before its death is confirmed"),
                ),
                Standing::Dead => self.log(Level::INFO, format!("Node {name} is confirmed dead")),
                _ if clean => self.log(Level::INFO, format!("Node {name} left cleanly")),
                _ => {}
            }
        }
        let lost = left.iter().filter(|(_, _, why)| *why == NODE_LOST).map(|(node, ..)| *node);
        self.unsettled.extend(lost.filter(|node| self.ring.contains(node)));
        for (node, _) in joined {
            self.unsettled.remove(node);
            let name = self.replica.name(*node);
            self.log(Level::INFO, format!("Node {name} state is now member"));
            self.alert(AlertEvent::Node { node: name.clone(), id: *node, member: true });
            self.event(Event::NodeMember { node: name });
        }
        self.controller_unsettled();
        self.confirming.clear();
        // Access that was given to an earlier life of a node, or before it was away, counts for nothing.
        self.forget_unfencing();
        self.power.try_again();
        // Orders that were not delivered before this view are void everywhere.
        for order in std::mem::take(&mut self.undelivered) {
            self.replica.void(&order);
        }
        self.engine.abort();
        self.last_decisions.clear();
        if members.iter().all(|(node, _)| *node != self.config.me) {
            // We are out: what this node runs is stopped by the rules of a node without quorum.
            self.sync = None;
            self.replica.order.clear();
            return;
        }
        if !joined.is_empty() || self.sync.is_some() {
            self.begin_sync(members);
        } else {
            self.dc_changed(dc_before);
        }
    }

    fn begin_sync(&mut self, view: Vec<(u32, u32)>) {
        let hello = Hello {
            view: view.clone(),
            name: self.my_name(),
            incarnation: self.config.incarnation,
            release: env!("CARGO_PKG_VERSION").to_owned(),
            epoch: self.replica.epoch,
            quorate_epoch: self.replica.quorate_epoch,
            term: self.replica.term,
            order: self.replica.order.clone(),
            cib_version: self.cib_version(),
            cib_digest: self.replica.cib.digest(),
            history: self.local.truth.clone(),
            attributes: self.replica.attributes.of(self.config.me),
            absent: self.replica.absent(),
            leaving: self.leaving,
        };
        self.sync = Some(Sync { view, ..Sync::default() });
        self.multicast(&Message::Hello(Box::new(hello)));
    }

    fn hello(&mut self, sender: u32, hello: Hello) {
        let Some(sync) = self.sync.as_mut().filter(|s| s.view == hello.view) else { return };
        sync.hellos.insert(sender, hello);
    }

    fn snapshot(&mut self, sender: u32, snapshot: Snapshot) {
        let Some(sync) =
            self.sync.take_if(|s| s.view == snapshot.view && s.source() == Some(sender) && s.is_complete())
        else {
            return;
        };
        let dc_before = self.replica.dc();
        if let Some(xml) = snapshot.cib {
            self.adopt_cib(&xml, &format!("the one of {}", self.replica.name(sender)));
        }
        sync.install(&mut self.replica, self.now.boot);
        self.replica.fencing = snapshot.fencing.into();
        if self.quorate {
            self.replica.quorate_epoch = self.replica.epoch;
        }
        if self.formed_at.is_none() {
            self.formed_at = Some(self.now.boot);
            // What was read from a file named at start is ours from now on.
            self.unsaved = true;
        }
        self.dc_changed(dc_before);
    }

    /// Takes a document that the group agreed on.
    fn adopt_cib(&mut self, xml: &str, whose: &str) {
        match Cib::parse(xml, "CIB of the cluster") {
            Ok(cib) => {
                if cib.digest() != self.replica.cib.digest() {
                    self.adopt(cib, whose);
                }
            }
            // Every member gets the same bytes and refuses them alike.
            Err(error) => self.log(Level::ERROR, format!("Configuration refused: {error}")),
        }
    }

    pub(crate) fn adopt(&mut self, cib: Cib, whose: &str) {
        let (old, new) = (self.replica.cib.version, cib.version);
        self.log(Level::INFO, format!("Configuration {new} replaces {old}: {whose}"));
        self.replica.cib = cib;
        (self.reconfigured, self.unsaved) = (true, true);
        self.happened(Cause::Operator, "the configuration changed");
        self.abort("the configuration changed");
    }

    /// What the changes of a turn come to is looked at and saved once, and then they are answered.
    pub(crate) fn take_configuration(&mut self) {
        if std::mem::take(&mut self.reconfigured) {
            self.configured();
        }
        if std::mem::take(&mut self.unsaved) {
            self.outputs.push_back(Output::Save(self.replica.cib.to_xml()));
        }
        self.outputs.extend(self.answers.drain(..));
    }

    /// The configuration is another one.
    fn configured(&mut self) {
        let mut problems = self.power.configure(&self.replica.cib);
        let findings = cib::validate(self.replica.cib.tree().clone()).findings;
        let findings = findings.iter().filter(|f| f.severity != cib::Severity::Note);
        problems.extend(findings.map(|f| format!("{}: {}; {}", f.path, f.what, f.remedy)));
        for problem in problems.iter().filter(|p| !self.problems.contains(p)) {
            self.outputs.push_back(Output::Log(Level::WARN, format!("Configuration: {problem}")));
        }
        self.problems = problems;
        self.ask_abilities();
        self.own_stops = None;
        self.named = false;
        self.say(Said::Watch(advice::watched(self.replica.cib.tree())));
        self.outputs.push_back(Output::Alerts(crate::alerts::agents(self.replica.cib.tree())));
    }

    fn dc_changed(&mut self, before: Option<u32>) {
        self.named = false;
        let dc = self.replica.dc();
        if dc == Some(self.config.me) {
            self.set_candidates();
        } else {
            self.power.fencer.abandon();
            self.fence_calls.clear();
            self.unfencing.clear();
            self.say(Said::Resign);
        }
        if dc == before {
            return;
        }
        match dc {
            Some(dc) => {
                let node = self.replica.name(dc);
                self.log(Level::INFO, format!("Set DC to {node}"));
                self.event(Event::ControllerSet { node });
            }
            None => {
                self.log(Level::INFO, "Unset DC");
                let node = before.map(|dc| self.replica.name(dc)).unwrap_or_default();
                self.event(Event::ControllerUnset { node });
            }
        }
    }

    /// Who may run agents of fence devices.
    pub(crate) fn set_candidates(&mut self) {
        let candidates = self.candidates();
        self.power.fencer.set_candidates(self.now.boot, candidates);
    }

    fn quorum(&mut self, quorate: bool, members: Vec<u32>) {
        self.ring = members.into_iter().collect();
        self.unsettled.retain(|node| self.ring.contains(node));
        if quorate == self.quorate {
            return;
        }
        self.quorate = quorate;
        if quorate {
            self.log(Level::INFO, "Quorum acquired");
            self.replica.quorate_epoch = self.replica.epoch;
        } else {
            self.log(Level::WARN, "Quorum lost");
        }
        self.abort("quorum changed");
    }

    // --- ordered messages ---

    fn message(&mut self, sender: u32, bytes: &[u8]) {
        let Some(message) = Message::decode(bytes) else {
            self.skipped += 1;
            let line =
                format!("Message of {} cannot be read ({} so far)", self.replica.name(sender), self.skipped);
            return self.log(Level::WARN, line);
        };
        match message {
            Message::Hello(hello) => self.hello(sender, *hello),
            Message::Snapshot(snapshot) => self.snapshot(sender, *snapshot),
            Message::State(report) => self.state_report(sender, &report),
            Message::Cib(change) => self.cib_change(sender, &change),
            Message::CibDo { operation, request } => self.cib_do(sender, &operation, request),
            Message::NodeRemoved { name, request } => self.node_removed(sender, &name, request),
            Message::Leaving { at_s } => self.node_leaving(sender, at_s),
            Message::Fail { node, resource } => {
                if node == self.config.me {
                    let (name, wall) = (self.my_name(), self.now.wall);
                    let mut effects = Effects::default();
                    self.local.fail(&resource, &name, wall, &mut effects);
                    self.effects(effects);
                }
            }
            Message::FenceWanted { target, action, client } => {
                self.fence_wanted.insert(target, (action, client));
            }
            Message::Attribute(update) => self.attribute_update(&update),
            Message::Release { name } => self.attribute_release(&name),
            Message::ClearFailures { node, resource, operation } => {
                self.clear_failures(node, &resource, operation.as_deref());
            }
            Message::Goodbye { clean } => self.node_goodbye(sender, clean),
            Message::Confirmed { node, incarnation, why } => self.node_confirmed(node, incarnation, &why),
            Message::FenceBegun(entry) | Message::FenceDone(entry) => self.fence_news(entry),
            Message::FenceRan { call, error } => self.fence_ran(call, error.as_deref()),
            Message::FenceWithdrawn { target } => {
                self.fence_closing.remove(&target);
                self.replica.forget_fence(target);
            }
            Message::Ask { request } => self.controller_asked(sender, request),
            Message::Told { node, request, state } => self.controller_told(node, request, &state),
            // What follows is of a controller in charge of an agreed view, or void.
            _ if !self.is_synced() => {}
            Message::Order(order) => self.order(sender, &order),
            Message::Forget(forget) => self.forget(&forget),
            Message::FenceRun(run) => self.fence_ordered(sender, run),
        }
    }

    fn order(&mut self, sender: u32, order: &Order) {
        self.undelivered.retain(|o| o != order);
        if !self.replica.accepts(sender, order.tag, order.node) {
            // Nobody carries it out.
            return self.replica.void(order);
        }
        self.replica.ordered(order);
        if order.node != self.config.me {
            return;
        }
        let mut effects = Effects::default();
        let resource = order.action.resource.as_ref().map(|r| r.id.clone()).unwrap_or_default();
        let operation = order.action.operation.as_str();
        let brings_up = matches!(operation, "start" | "promote" | "migrate_from");
        let refusal = if self.local_rules() && operation != "monitor" {
            Some("this node stops its resources itself".to_owned())
        } else if brings_up && !(self.may_start() && self.unsettled.is_empty()) {
            Some("no quorum".to_owned())
        } else if self.said_goodbye.is_some() || (brings_up && self.leaving.is_some()) {
            Some("this node leaves".to_owned())
        } else {
            self.own_stops = None;
            let line = format!(
                "Requesting local execution of {operation} operation for {resource} on {}",
                self.my_name()
            );
            self.log(Level::INFO, line);
            let call = Call {
                action: &order.action,
                transition_key: &order.transition_key,
                tag: Some(order.tag),
                wall: self.now.wall,
            };
            let began = self.local.start(call, &mut effects);
            if began.is_ok() {
                let class = order.action.resource.as_ref().map_or("", |r| r.class.as_str());
                self.say_begins(class, &resource, operation);
            }
            began.err()
        };
        if let Some(why) = refusal {
            self.log(Level::WARN, format!("Refused {operation} of {resource}: {why}"));
            let history = self.local.truth.get(&resource).cloned();
            effects.reports.push(StateReport {
                resource,
                history,
                tag: Some(order.tag),
                verdict: Some(Verdict::Refused(why)),
                failure: None,
            });
        }
        self.effects(effects);
    }

    fn state_report(&mut self, sender: u32, report: &StateReport) {
        // While members agree, a node's word belongs to what it said in its hello.
        let fatal = self.replica.cib.options.start_failure_is_fatal;
        if let Some(hello) = self.sync.as_mut().and_then(|s| s.hellos.get_mut(&sender)) {
            match &report.history {
                Some(history) => hello.history.insert(report.resource.clone(), history.clone()),
                None => hello.history.remove(&report.resource),
            };
            if let Some(failure) = &report.failure {
                failure.count(sender, fatal, &mut hello.attributes);
            }
        }
        self.replica.reported(sender, report);
        if self.is_dc() {
            self.judge(sender, report);
        }
    }

    fn cib_change(&mut self, sender: u32, change: &CibChange) {
        let mine = if sender == self.config.me { self.changes.remove(&change.request) } else { None };
        let answer = if self.sync.is_some() || change.base != self.cib_version() {
            Err(crate::refusal::OVERTAKEN.to_owned())
        } else {
            self.adopt_cib(&change.xml, &format!("changed on {}", self.replica.name(sender)));
            Ok(serde_json::json!({ "version": self.replica.cib.version.to_string() }))
        };
        if let Some(conn) = mine {
            self.answers.push(Output::Reply { conn, answer });
        }
    }

    /// An operation on the document, at the same place of the order for all: what comes of it is the same everywhere.
    fn cib_do(&mut self, sender: u32, operation: &Operation, request: u64) {
        let answer = if self.sync.is_some() {
            Err(Refusal { rc: 75, text: crate::refusal::AGREEING.to_owned(), ..Refusal::default() })
        } else {
            self.apply(sender, operation)
        };
        let mine = if sender == self.config.me { self.changes.remove(&request) } else { None };
        if let Some(conn) = mine {
            let answer = match answer {
                Ok(()) => serde_json::json!({ "xml": null }),
                Err(refusal) => serde_json::to_value(refusal).unwrap_or_default(),
            };
            self.answers.push(Output::Reply { conn, answer: Ok(answer) });
        }
    }

    fn apply(&mut self, sender: u32, operation: &Operation) -> Result<(), Refusal> {
        let before = self.document();
        let applied = cib::operation::apply(&before, operation)?;
        self.take_status(&before, &applied.document);
        if !applied.configuration_changed {
            return Ok(());
        }
        let mut tree = applied.document;
        tree.children.retain(|c| c.name != "status");
        let cib = Cib::from_tree(tree, "CIB").map_err(|e| Refusal {
            rc: 78,
            text: e.to_string(),
            ..Refusal::default()
        })?;
        let whose = format!("changed on {}", self.replica.name(sender));
        self.adopt(cib, &whose);
        Ok(())
    }

    /// Of changes of the status those count that are about what is kept of nodes: their attributes, and all of it where a
    /// node's state is taken out.
    fn take_status(&mut self, before: &Element, after: &Element) {
        if before.child("status") == after.child("status") {
            return;
        }
        let nodes: Vec<u32> = self.replica.nodes.keys().copied().collect();
        for node in nodes {
            let id = node.to_string();
            let state = |root: &Element| -> Option<Element> {
                root.child("status")?.children.iter().find(|s| s.id() == Some(&id)).cloned()
            };
            let (Some(old), new) = (state(before), state(after)) else { continue };
            let Some(new) = new else {
                self.replica.attributes.forget(node);
                if let Some(entry) = self.replica.nodes.get_mut(&node)
                    && matches!(entry.standing, Standing::Left | Standing::Dead)
                {
                    entry.history.clear();
                }
                continue;
            };
            let (old, new) = (crate::attributes::read(&old), crate::attributes::read(&new));
            let gone = old.keys().filter(|name| !new.contains_key(*name)).map(|name| (name.clone(), None));
            let set = new.iter().filter(|(name, value)| old.get(*name) != Some(value));
            let set = set.map(|(name, value)| (name.clone(), Some(value.clone())));
            for (name, value) in gone.chain(set).collect::<Vec<_>>() {
                let update = Update { node, name, value, dampen_ms: Some(0), ..Update::default() };
                self.attribute_update(&update);
            }
        }
    }

    fn node_leaving(&mut self, node: u32, at_s: i64) {
        if let Some(hello) = self.sync.as_mut().and_then(|s| s.hellos.get_mut(&node)) {
            hello.leaving = Some(at_s);
        }
        if let Some(entry) = self.replica.nodes.get_mut(&node) {
            entry.leaving = Some(at_s);
            let name = self.replica.name(node);
            self.log(Level::INFO, format!("Creating shutdown request for {name}"));
            if self.is_dc() {
                self.event(Event::NodeLeaves { node: name.clone() });
                self.happened(Cause::Operator, format!("{name} leaves"));
            }
            self.abort(&format!("{name} is shutting down"));
        }
    }

    fn node_goodbye(&mut self, node: u32, clean: bool) {
        if let Some(entry) = self.replica.nodes.get_mut(&node) {
            entry.goodbye = Some(clean);
            self.abort(&format!("{} has stopped its resources", self.replica.name(node)));
        }
        if node == self.config.me {
            self.finish(clean);
        }
    }

    pub(crate) fn node_confirmed(&mut self, node: u32, incarnation: u64, why: &str) {
        // While members agree, what is confirmed must reach the result whoever's knowledge wins.
        if let Some(sync) = &mut self.sync {
            for hello in sync.hellos.values_mut() {
                let absent = hello.absent.entry(node).or_default();
                let life = if incarnation == 0 { absent.incarnation } else { incarnation };
                absent.confirmed = absent.confirmed.max(life);
            }
        }
        if self.replica.confirm(node, incarnation, self.now.boot) {
            let name = self.replica.name(node);
            self.log(Level::INFO, format!("Node {name} is confirmed dead: {why}"));
            if !self.engine.fences(&name) {
                self.abort(&format!("{name} is dead"));
            }
        }
    }

    fn forget(&mut self, forget: &Forget) {
        if forget.node.is_none_or(|n| n == self.config.me) {
            let mut effects = Effects::default();
            let (attributes, me) = (&self.replica.attributes, self.config.me);
            let operation = forget.operation.as_deref();
            let counts = |id: &str| attributes.has_failures(me, id, operation);
            let whose = (forget.resource.as_deref(), operation);
            self.local.forget(whose, forget.failed, counts, &mut effects);
            self.effects(effects);
        }
        let operation = forget.operation.as_deref();
        self.replica.attributes.clear(forget.node, forget.resource.as_deref(), operation);
        self.power.try_again();
        self.abort("resources are looked at anew");
    }

    // --- attributes ---

    /// The table, and what members have said of it who are agreeing.
    fn each_table(&mut self, mut change: impl FnMut(Option<u32>, &mut Attributes)) {
        for (node, hello) in self.sync.iter_mut().flat_map(|s| &mut s.hellos) {
            change(Some(*node), &mut hello.attributes);
        }
        change(None, &mut self.replica.attributes);
    }

    fn alert_attribute(&mut self, id: u32, name: &str, value: Option<String>) {
        let node = self.replica.name(id);
        let (name, value) = (name.to_owned(), value.unwrap_or_default());
        self.alert(AlertEvent::Attribute { node, id, name, value });
    }

    fn attribute_update(&mut self, update: &Update) {
        let mut updated = Updated::Not;
        self.each_table(|whose, table| {
            if whose.is_none_or(|node| node == update.node) {
                updated = table.update(update);
            }
        });
        if updated == Updated::Now && !update.private {
            let (name, node) = (&update.name, self.replica.name(update.node));
            let now = self.replica.attributes.value(update.node, name);
            let value = now.as_deref().unwrap_or("(unset)");
            self.log(Level::INFO, format!("Setting {name}[{node}]: {value}"));
            self.say_attribute(name, &node, now.as_deref());
            self.alert_attribute(update.node, name, now);
            self.abort(&format!("attribute {name} changed on {node}"));
        }
    }

    fn attribute_release(&mut self, name: &str) {
        let nodes = self.replica.attributes.waiting(name);
        let mut changed = false;
        self.each_table(|_, table| changed |= table.release(name));
        for id in nodes.into_iter().filter(|_| changed) {
            let (node, now) = (self.replica.name(id), self.replica.attributes.value(id, name));
            let value = now.as_deref().unwrap_or("(unset)");
            self.log(Level::INFO, format!("Setting {name}[{node}]: {value}"));
            self.say_attribute(name, &node, now.as_deref());
            self.alert_attribute(id, name, now);
        }
        if changed {
            self.abort(&format!("attribute {name} changed"));
        }
    }

    fn clear_failures(&mut self, node: Option<u32>, resource: &str, operation: Option<&str>) {
        let mut cleared = false;
        self.each_table(|_, table| cleared |= table.clear(node, Some(resource), operation));
        if cleared {
            self.engine.stale = true;
        }
    }

    pub(crate) fn finish(&mut self, clean: bool) {
        if !self.finished {
            self.finished = true;
            self.outputs.push_back(Output::Finished(clean));
        }
    }
}

/// Why a member left, where its whole node is gone from the ring.
pub const NODE_LOST: &str = "peer is no longer part of the cluster";
/// A goodbye that is not delivered within this time is not waited for any more.
pub(crate) const GOODBYE_LIMIT: Span = Span::from_secs(10);
