//! Unfencing: a node gets access to what is shared (its key on a disk, its port of a switch) before anything starts on it
//! that wants this. The scheduler says when; here it is carried out, and the node's attributes then say with which devices
//! and parameters.
//!
//! It shares the automaton with fencing, and no message and no record: nothing that gives a node access can ever be taken
//! for a word on its death.

use std::collections::BTreeSet;

use cib::Primitive;
use executor::{Job, OpStatus, Outcome};
use fencing::{Abilities, Record, Request, Verdict};
use holdfast_types::{NodeId, Span};
use tracing::Level;

use crate::attributes::Update;
use crate::door::Output;
use crate::duties::unix_seconds;
use crate::manager::Manager;
use crate::message::Message;
use crate::replica::Standing;

/// What a node is given access with: a list of devices with digests of their parameters, as the scheduler compares them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Digests {
    /// Of all parameters.
    all: String,
    /// Of those that are no secrets.
    secure: String,
}

/// The device is configured as one that gives access.
pub(crate) fn unfences(device: &Primitive) -> bool {
    device.meta.all.get("provides").is_some_and(|p| p.eq_ignore_ascii_case("unfencing"))
}

/// A node's access.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Access {
    /// With what.
    digests: Digests,
    /// It has been given, and said in `#node-unfenced`, with this time; `None`: it is under way.
    since: Option<String>,
    /// The attribute was seen with it.
    seen: bool,
}

impl Manager {
    /// Asks the agents of devices that give access what they can do: whether the node itself has to run them, and which
    /// parameter names it. Once for each agent; again after a change of the configuration where that failed.
    pub(crate) fn ask_abilities(&mut self) {
        let devices = self.replica.cib.fence_devices().filter(|p| unfences(p));
        // A plugin of cluster-glue has no such word.
        let agents = devices.map(|p| p.kind.clone()).filter(|agent| agent.starts_with("fence_"));
        let unknown: BTreeSet<String> = agents
            .filter(|a| {
                !self.power.asked.contains(a) && !self.power.abilities.get(a).is_some_and(Option::is_some)
            })
            .collect();
        for agent in unknown {
            let id = self.local.next_job();
            self.ability_jobs.insert(id.0, agent.clone());
            self.power.asked.insert(agent.clone());
            self.outputs.push_back(Output::Run(Box::new(Job {
                id,
                resource: format!("fence-metadata:{agent}"),
                work: executor::Work::Fence { agent, action: "metadata".to_owned() },
                params: Vec::new(),
                meta: Vec::new(),
                timeout: METADATA_TIMEOUT,
                interval: Span::ZERO,
            })));
        }
    }

    /// An agent has said what it can do.
    pub(crate) fn learned(&mut self, agent: &str, outcome: &Outcome) {
        let abilities = (outcome.status == OpStatus::Done && outcome.rc == 0)
            .then(|| Abilities::of_metadata(&outcome.stdout))
            .filter(|a| a.has("on"));
        self.power.asked.remove(agent);
        if abilities.is_none() {
            let line = format!(
                "{agent} does not say that it can unfence a node (action \"on\" of its meta-data); look at it: \
                 stonith_admin --metadata --agent {agent}"
            );
            self.log(Level::ERROR, line);
        }
        self.power.abilities.insert(agent.to_owned(), abilities);
        // What is wrong with devices was said when the configuration came.
        self.power.configure(&self.replica.cib);
        self.abort(&format!("it is known what {agent} can do"));
    }

    /// Gives access to nodes that the transition under way waits for, but those that are to be taken down.
    pub(crate) fn unfence(&mut self, fenced: &BTreeSet<NodeId>) {
        let mut wanted = std::collections::BTreeMap::new();
        if let Some(running) = &self.engine.running {
            for (at, name, _) in running.unfencing().filter(|(_, _, begun)| *begun) {
                let online = |n: &crate::replica::Node| n.name == name && n.standing == Standing::Online;
                let found = self.replica.nodes.iter().find(|(_, n)| online(n)).map(|(id, _)| *id);
                let Some(node) = found.filter(|id| !fenced.contains(&NodeId::new(*id))) else { continue };
                let of = |name: &str| running.action(at).attributes.get(name).cloned().unwrap_or_default();
                let digests =
                    Digests { all: of("CRM_meta_digests_all"), secure: of("CRM_meta_digests_secure") };
                wanted.insert(node, digests);
            }
        }
        // With other parameters it begins anew, also where somebody has taken the node's word on it away.
        for (node, access) in &mut self.unfencing {
            let said = self.replica.attributes.value(*node, UNFENCED);
            access.seen |= access.since.is_some() && said == access.since;
        }
        self.unfencing.retain(|node, access| match (&access.since, wanted.get(node)) {
            (None, now) => now == Some(&access.digests),
            (since, now) => {
                let said = self.replica.attributes.value(*node, UNFENCED);
                now.is_none_or(|d| *d == access.digests) && (!access.seen || said == *since)
            }
        });
        let still = &self.unfencing;
        self.power.fencer.withdraw_unfencing(|target| still.contains_key(&target.get()));
        for (node, digests) in wanted {
            let target = NodeId::new(node);
            if self.unfencing.get(&node).is_some_and(|a| a.since.is_some()) {
                // A plan that was made before it was said.
                self.finish_unfencing(node);
                continue;
            }
            let may = self.may_fence() && self.power.asked.is_empty() && self.power.may_unfence(node);
            if !may || self.unfencing.contains_key(&node) || self.power.fencer.is_fencing(target) {
                continue;
            }
            let name = self.replica.name(node);
            // Without a device that does it any other that can switch something on would be called.
            if self.power.fencer.unfencing_devices(&name).is_empty() {
                self.unfencing_failed(node, "no fence device unfences it");
                continue;
            }
            self.log(Level::INFO, format!("Requesting unfencing (on) of node {name}"));
            let request = Request {
                target,
                name,
                incarnation: None,
                action: "on".to_owned(),
                reason: "unfencing".to_owned(),
                client: "rgmd".to_owned(),
            };
            self.unfencing.insert(node, Access { digests, since: None, seen: false });
            self.power.fencer.request(self.now.boot, request, 0, None);
        }
    }

    /// Who is a member has changed: what was asked for before is void.
    pub(crate) fn forget_unfencing(&mut self) {
        self.unfencing.clear();
        self.power.fencer.withdraw_unfencing(|_| false);
    }

    /// A request to give access ended.
    pub(crate) fn unfencing_ended(&mut self, node: u32, record: &Record) {
        let Some(Access { digests, .. }) = self.unfencing.remove(&node) else { return };
        let (name, by) = (&record.request.name, record.executor.map_or(0, NodeId::get));
        let by = self.replica.name(by);
        if let Verdict::Failed(why) = &record.verdict {
            return self.unfencing_failed(node, why);
        }
        self.log(Level::INFO, format!("Node {name} was unfenced (on) by {by} with {}", record.device));
        // The time last: whoever sees it sees with what.
        let since = unix_seconds(self.now.wall).to_string();
        let access = Access { digests: digests.clone(), since: Some(since.clone()), seen: false };
        self.unfencing.insert(node, access);
        let facts = [("#digests-all", digests.all), ("#digests-secure", digests.secure), (UNFENCED, since)];
        for (name, value) in facts {
            let update = Update {
                node,
                name: name.to_owned(),
                value: Some(value),
                dampen_ms: Some(0),
                ..Update::default()
            };
            self.multicast(&Message::Attribute(update));
        }
        self.finish_unfencing(node);
    }

    /// What waits for a node's access may follow.
    fn finish_unfencing(&mut self, node: u32) {
        let name = self.replica.name(node);
        let Some(running) = self.engine.running.as_mut() else { return };
        let at: Vec<usize> = running.unfencing().filter(|(_, n, _)| *n == name).map(|(at, ..)| at).collect();
        for at in at {
            running.complete(at);
        }
    }

    /// Nothing is started there that wants access, nor elsewhere what is looked for there first, as with the peer, until
    /// something changes or it is time for another try.
    fn unfencing_failed(&mut self, node: u32, why: &str) {
        let pause = Span::from_millis(self.replica.cib.options.recheck_interval_ms).max(MIN_PAUSE);
        self.power.give_up_unfencing(node, self.now.boot + pause);
        let name = self.replica.name(node);
        let line = format!(
            "Node {name} could not be unfenced: {why}; nothing that waits for it is started before it is. Look at the \
             device, then try again: crm_resource --refresh --node {name}"
        );
        self.log(Level::ERROR, line);
        self.abort(&format!("{name} could not be unfenced"));
    }
}

/// Since when a node has access, in seconds since 1970.
const UNFENCED: &str = "#node-unfenced";
/// Meta-data is printed without asking anything outside of the machine.
const METADATA_TIMEOUT: Span = Span::from_secs(20);
/// Before another try, also where nothing is decided anew from time to time.
const MIN_PAUSE: Span = Span::from_secs(60);
