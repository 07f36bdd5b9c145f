//! The designated controller's fencing: which lost nodes have to be fenced, requests to the fencing automaton, what is
//! given up and when it is tried again.

use std::collections::BTreeMap;

use cib::{Cib, FencingTarget, parse_duration_ms};
use executor::{AlertEvent, Job};
use fencing::{Abilities, Call, Candidate, Device, Fencer, Level as FencingLevel, Limits, Target};
use fencing::{Output as FenceOutput, Record, Request, Verdict as FenceVerdict};
use holdfast_types::{Boottime, Incarnation, NodeId, Span};
use logconv::{Cause, Event};
use tracing::Level;

use crate::door::Output;
use crate::manager::Manager;
use crate::message::{FenceCall, FenceRun, Message};
use crate::replica::{FenceEntry, Standing};

/// Fencing by this member while it is the controller.
#[derive(Debug, Default)]
pub(crate) struct Power {
    /// The automaton.
    pub(crate) fencer: Fencer,
    devices: Vec<Device>,
    timeout: Span,
    /// Nodes whose fencing was given up, and until when.
    given_up: BTreeMap<u32, Boottime>,
    /// Nodes that could not be given access, and until when. Apart: they may be fenced all the same.
    unfencing_given_up: BTreeMap<u32, Boottime>,
    /// What agents of devices that unfence can do; `None`: it is being asked, or could not be found out.
    pub(crate) abilities: BTreeMap<String, Option<Abilities>>,
    /// Agents that are being asked.
    pub(crate) asked: std::collections::BTreeSet<String>,
}

/// A node that is to be fenced.
#[derive(Clone, Debug)]
struct Wanted {
    /// `reboot` or `off`.
    action: String,
    /// In words.
    why: String,
    /// Before the first device's own delay: `priority-fencing-delay`.
    delay: Span,
}

impl Power {
    /// Takes devices and topology from the configuration; what was given up is tried again. Returns what is wrong with
    /// devices.
    pub(crate) fn configure(&mut self, cib: &Cib) -> Vec<String> {
        let mut problems = Vec::new();
        self.devices.clear();
        for primitive in cib.fence_devices().filter(|p| p.meta.target_role == cib::TargetRole::Started) {
            match Device::new(&primitive.id, &primitive.kind, &primitive.params, parse_duration_ms) {
                Ok(device) => {
                    let known = self.abilities.get(&primitive.kind).cloned().flatten();
                    let known = known.filter(|_| crate::unfencing::unfences(primitive));
                    self.devices.push(match known {
                        Some(abilities) => device.with_abilities(abilities),
                        None => device,
                    });
                }
                Err(error) => problems.push(error.to_string()),
            }
        }
        self.timeout = Span::from_millis(cib.options.stonith_timeout_ms);
        let mut levels = Vec::new();
        for level in &cib.fencing_levels {
            let target = match &level.target {
                FencingTarget::Name(name) => Ok(Target::Name(name.clone())),
                FencingTarget::Pattern(pattern) => Target::pattern(pattern),
                FencingTarget::Attribute(name, value) => Ok(Target::Attribute(name.clone(), value.clone())),
            };
            match target {
                Ok(target) => {
                    levels.push(FencingLevel { target, index: level.index, devices: level.devices.clone() })
                }
                Err(error) => problems.push(format!("fencing-level {}: {error}", level.index)),
            }
        }
        let attributes = |n: &cib::Node| n.attributes.clone().into_iter().collect();
        self.fencer.set_attributes(cib.nodes.iter().map(|n| (n.uname.clone(), attributes(n))).collect());
        let limits = Limits {
            timeout: self.timeout,
            rounds_max: cib.options.stonith_attempts_max,
            deadline: self.timeout.scale(u64::from(cib.options.stonith_attempts_max), 1),
            ..Limits::default()
        };
        self.fencer.configure(self.devices.clone(), levels, limits);
        self.try_again();
        problems
    }

    /// A device can fence this node, and that has not been given up.
    pub(crate) fn can_fence(&self, node: u32, name: &str) -> bool {
        !self.given_up.contains_key(&node) && self.fencer.can_fence(name)
    }

    /// Devices that can fence this node, as far as their parameters say.
    pub(crate) fn devices_for(&self, name: &str) -> impl Iterator<Item = &str> {
        let can = move |d: &&Device| d.check() != fencing::Check::Static || d.names(name);
        self.devices.iter().filter(can).map(|d| d.id.as_str())
    }

    /// The agent's call for one of our devices, on this node.
    pub(crate) fn call(&self, device: &str, action: &str, name: &str, target: u32) -> Option<Call> {
        let device = self.devices.iter().find(|d| d.id == device)?;
        Some(device.call(action, name, target, self.timeout))
    }

    /// Not tried again before `until`, unless something changes.
    pub(crate) fn give_up(&mut self, node: u32, until: Boottime) {
        self.given_up.insert(node, until);
    }

    /// Whether a node may be given access now: that has not been given up.
    pub(crate) fn may_unfence(&self, node: u32) -> bool {
        !self.unfencing_given_up.contains_key(&node)
    }

    /// As [`Self::give_up`], for access.
    pub(crate) fn give_up_unfencing(&mut self, node: u32, until: Boottime) {
        self.unfencing_given_up.insert(node, until);
    }

    /// The agent of a device, where it is just being asked what it can do.
    pub(crate) fn learning(&self, device: &str) -> Option<&str> {
        let device = self.devices.iter().find(|d| d.id == device)?;
        self.asked.get(device.agent()).map(String::as_str)
    }

    /// Something changed: what was given up is tried again.
    pub(crate) fn try_again(&mut self) {
        self.unfencing_given_up.clear();
        self.given_up.clear();
    }

    /// Forgets what is due to be tried again. Whether there was something.
    pub(crate) fn expire(&mut self, now: Boottime) -> bool {
        let mut expired = false;
        for given_up in [&mut self.given_up, &mut self.unfencing_given_up] {
            let before = given_up.len();
            given_up.retain(|_, until| *until > now);
            expired |= given_up.len() < before;
        }
        expired
    }

    /// When [`Self::expire`] or the automaton is due.
    pub(crate) fn next_timeout(&self) -> Option<Boottime> {
        let given_up = self.given_up.values().chain(self.unfencing_given_up.values()).copied();
        given_up.chain(self.fencer.next_timeout()).min()
    }
}

impl Manager {
    /// Members that may run agents, this one first, without devices that constraints keep from them.
    pub(crate) fn candidates(&self) -> Vec<Candidate> {
        let mut members = self.replica.order.clone();
        members.sort_by_key(|m| *m != self.config.me);
        let banned = |node: u32| {
            let name = self.replica.name(node);
            self.device_bans.iter().filter(|(_, n)| *n == name).map(|(device, _)| device.clone()).collect()
        };
        members.into_iter().map(|m| Candidate { node: NodeId::new(m), banned_devices: banned(m) }).collect()
    }

    /// Tells all members what the ring daemon knows of deaths that they wait for.
    pub(crate) fn confirm_deaths(&mut self) {
        let waited = self
            .replica
            .nodes
            .iter()
            .filter(|(_, n)| matches!(n.standing, Standing::Unclean(_) | Standing::Never));
        let news: Vec<(u32, u64)> = waited
            .filter_map(|(id, node)| {
                let life = if node.incarnation == 0 {
                    self.lives.get(id).copied().unwrap_or(0)
                } else {
                    node.incarnation
                };
                let confirmed = self.confirmed.get(id).copied().unwrap_or(0);
                (life != 0 && confirmed >= life).then_some((*id, life))
            })
            .filter(|news| !self.confirming.contains(news))
            .collect();
        for (node, incarnation) in news {
            self.confirming.insert((node, incarnation));
            let why = "its guardian's last word, a fence or an operator, says the ring daemon".to_owned();
            self.multicast(&Message::Confirmed { node, incarnation, why });
        }
    }

    /// Begins, withdraws and carries on fence requests.
    pub(crate) fn fence(&mut self) {
        // What has ended comes first: it is not asked for again.
        self.drain_fencer();
        // Between two plans nothing is known of who is to be fenced.
        if !self.engine.stale {
            let targets = self.fence_targets();
            self.withdraw_fences(&targets);
            self.unfence(&targets.keys().copied().collect());
            for (target, wanted) in targets {
                let (node, name) = (target.get(), self.replica.name(target.get()));
                let may =
                    self.may_fence() && self.power.asked.is_empty() && self.power.can_fence(node, &name);
                if may && !self.power.fencer.is_fencing(target) && !self.fence_closing.contains(&node) {
                    self.request_fence(node, &wanted);
                }
            }
        }
        self.power.fencer.handle_timeout(self.now.boot);
        self.drain_fencer();
    }

    /// Nodes that the transition under way waits for to be fenced: how, and why.
    fn fence_targets(&self) -> BTreeMap<NodeId, Wanted> {
        let wanted = self.fence_wanted.iter().map(|(node, (action, client))| {
            let (action, why) = (action.clone(), format!("{client} asked for it"));
            (NodeId::new(*node), Wanted { action, why, delay: Span::ZERO })
        });
        let mut all: BTreeMap<NodeId, Wanted> = wanted.collect();
        let Some(running) = &self.engine.running else { return all };
        let id = |name: &str| self.replica.nodes.iter().find(|(_, n)| n.name == name).map(|(id, _)| *id);
        let targets = running.fencing().filter(|(_, _, begun)| *begun);
        let planned = targets.filter_map(|(at, name, _)| {
            let attribute = |name: &str| running.action(at).attributes.get(name);
            let action = attribute("CRM_meta_stonith_action").cloned();
            let delay = attribute("CRM_meta_priority_fencing_delay").and_then(|d| d.parse().ok());
            let node = id(name)?;
            let decided = running.decision.fencing.iter().find(|f| f.node == name);
            let why = match &self.replica.nodes[&node].standing {
                Standing::Unclean(why) => why.clone(),
                Standing::Never => "has not been seen by the cluster".to_owned(),
                _ => decided.map(|f| f.reason.clone()).unwrap_or_default(),
            };
            let action = action.unwrap_or_else(|| "reboot".to_owned());
            Some((
                NodeId::new(node),
                Wanted { action, why, delay: delay.map_or(Span::ZERO, Span::from_secs) },
            ))
        });
        all.extend(planned);
        all
    }

    fn drain_fencer(&mut self) {
        while let Some(ask) = self.power.fencer.poll_ask() {
            let id = self.local.next_job();
            self.fence_asks.insert(id.0, ask.call);
            self.outputs.push_back(Output::Run(Box::new(Job {
                id,
                resource: format!("fence:{}", ask.device),
                work: executor::Work::Fence { agent: ask.what.agent, action: ask.what.action },
                params: ask.what.params,
                meta: Vec::new(),
                timeout: ask.what.timeout,
                interval: Span::ZERO,
            })));
        }
        while let Some(output) = self.power.fencer.poll_output() {
            match output {
                FenceOutput::Run { call, executor, device, target, action, .. } => {
                    let name = self.replica.name(target.get());
                    let (origin, term, at_us) = (self.config.me, self.replica.term, self.now.wall.0);
                    let call = FenceCall { origin, term, number: call.0, at_us };
                    self.fence_calls.insert(call.number, call);
                    self.multicast(&Message::FenceRun(FenceRun {
                        call,
                        executor: executor.get(),
                        device,
                        action,
                        target: target.get(),
                        name,
                    }));
                }
                FenceOutput::Done(record) => self.fence_ended(record),
            }
        }
    }

    /// Requests whose reason is gone: the node is known to be dead, or takes part again.
    fn withdraw_fences(&mut self, targets: &BTreeMap<NodeId, Wanted>) {
        let open: Vec<FenceEntry> =
            self.replica.fencing.iter().filter(|e| e.completed_us == 0).cloned().collect();
        for entry in open.into_iter().filter(|e| !targets.contains_key(&NodeId::new(e.target))) {
            let target = NodeId::new(entry.target);
            let forgotten = self.power.fencer.withdraw(target);
            let closing = self.fence_closing.contains(&entry.target);
            if !closing && (forgotten || !self.power.fencer.is_fencing(target)) {
                self.fence_closing.insert(entry.target);
                self.multicast(&Message::FenceWithdrawn { target: entry.target });
            }
        }
    }

    pub(crate) fn multicast_fence_done(&mut self, entry: FenceEntry) {
        // Nothing new is begun for this victim before it is delivered.
        self.fence_closing.insert(entry.target);
        self.multicast(&Message::FenceDone(entry));
    }

    fn request_fence(&mut self, target: u32, wanted: &Wanted) {
        let name = self.replica.name(target);
        let Wanted { action, why, delay } = wanted.clone();
        let incarnation = self.replica.nodes.get(&target).map_or(0, |n| n.incarnation);
        self.log(Level::WARN, format!("Requesting fencing ({action}) of node {name}: {why}"));
        self.event(Event::FenceBegins { action: action.clone(), node: name.clone() });
        self.happened(Cause::Node, format!("{name} is fenced: {why}"));
        // A request of an earlier controller goes on; its time is not given twice.
        let earlier =
            self.replica.fencing.iter().find(|e| e.target == target && e.completed_us == 0).cloned();
        let used = earlier
            .as_ref()
            .map(|e| Span::from_micros(u64::try_from(self.now.wall.0 - e.requested_us).unwrap_or(0)));
        let options = &self.replica.cib.options;
        let one = Span::from_millis(options.stonith_timeout_ms);
        let all = one.scale(u64::from(options.stonith_attempts_max), 1);
        let deadline = used.map(|used| all.saturating_sub(used).max(one));
        let requested_us = earlier.map_or(self.now.wall.0, |e| e.requested_us);
        let entry = FenceEntry {
            target,
            incarnation,
            action: action.clone(),
            reason: why.clone(),
            client: "rgmd".to_owned(),
            origin: self.config.me,
            requested_us,
            ..FenceEntry::default()
        };
        self.multicast(&Message::FenceBegun(entry));
        let request = Request {
            target: NodeId::new(target),
            name,
            incarnation: (incarnation != 0).then(|| Incarnation::new(incarnation)),
            action,
            reason: why,
            client: "rgmd".to_owned(),
        };
        // Delays need to differ between two halves, not to be unpredictable.
        let random =
            u64::from(self.config.me).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ self.now.wall.0.unsigned_abs();
        // What an earlier controller has waited already is not waited again.
        let delay = delay.saturating_sub(used.unwrap_or(Span::ZERO));
        self.power.fencer.request_delayed(self.now.boot, request, random, deadline, delay);
    }

    fn fence_ended(&mut self, record: Record) {
        let target = record.request.target.get();
        if record.request.action == "on" {
            // Never a word on a death.
            return self.unfencing_ended(target, &record);
        }
        let error = match record.verdict {
            FenceVerdict::Succeeded => None,
            FenceVerdict::Failed(why) => Some(why),
        };
        if error.is_some() {
            let pause = Span::from_millis(self.replica.cib.options.recheck_interval_ms);
            self.power.give_up(target, self.now.boot + pause);
            self.event(Event::FenceGivenUp { node: record.request.name.clone() });
            // Anew, so that what waits for plans (the ring's step "fence") does not wait for one that is never made.
            self.abort(&format!("{} could not be fenced", record.request.name));
        }
        let requested_us = self
            .replica
            .fencing
            .iter()
            .find(|e| e.target == target && e.completed_us == 0)
            .map(|e| e.requested_us);
        self.multicast_fence_done(FenceEntry {
            target,
            incarnation: record.request.incarnation.map_or(0, Incarnation::get),
            action: record.request.action,
            reason: record.request.reason,
            client: record.request.client,
            origin: self.config.me,
            device: record.device,
            executor: record.executor.map_or(0, NodeId::get),
            requested_us: requested_us.unwrap_or(self.now.wall.0),
            completed_us: self.now.wall.0.max(1),
            error,
        });
    }

    /// A fence request began or ended, in order.
    pub(crate) fn fence_news(&mut self, entry: FenceEntry) {
        let (name, completed) = (self.replica.name(entry.target), entry.completed_us != 0);
        let (executor, origin) = (self.replica.name(entry.executor), self.replica.name(entry.origin));
        let succeeded = completed && entry.error.is_none();
        if completed {
            let outcome = entry.error.clone().unwrap_or_else(|| "OK".to_owned());
            let was = if succeeded { "was" } else { "was not" };
            let line = format!(
                "Peer {name} {was} terminated ({}) by {executor} on behalf of {} @{origin}: {outcome}",
                entry.action, entry.client
            );
            self.log(if succeeded { Level::INFO } else { Level::ERROR }, line);
            self.alert(AlertEvent::Fencing {
                target: name.clone(),
                description: format!(
                    "Operation {} of {name} by {executor} for {}@{origin}: {outcome}",
                    entry.action, entry.client
                ),
                rc: i32::from(!succeeded),
            });
            let action = entry.action.clone();
            self.event(if entry.client == "operator" {
                Event::FenceConfirmed { action, node: name }
            } else {
                Event::FenceEnded { action, node: name, by: executor.clone(), ok: succeeded }
            });
        }
        if completed {
            self.fence_closing.remove(&entry.target);
            self.fence_wanted.remove(&entry.target);
            for conn in self.fence_waiters.remove(&entry.target).unwrap_or_default() {
                let answer = match &entry.error {
                    None => Ok(serde_json::json!({})),
                    Some(error) => Err(error.clone()),
                };
                self.outputs.push_back(Output::Reply { conn, answer });
            }
        }
        let (target, incarnation, device) = (entry.target, entry.incarnation, entry.device.clone());
        let FenceEntry { action, client, reason, .. } = &entry;
        let why = format!(
            "{executor} fenced it ({action}) with {device} on behalf of {client} @{origin}: {reason}"
        );
        self.replica.fence(entry);
        if succeeded {
            self.node_confirmed(target, incarnation, &format!("fenced by device {device}"));
            if self.is_dc() {
                self.outputs.push_back(Output::Confirm { node: target, incarnation, why });
            }
        }
    }

    pub(crate) fn fence_ran(&mut self, call: FenceCall, error: Option<&str>) {
        if self.fence_calls.get(&call.number) == Some(&call) {
            self.fence_calls.remove(&call.number);
            self.power.fencer.call_done(self.now.boot, fencing::CallId(call.number), error);
        }
    }
}
