//! The designated controller's fencing: which lost nodes have to be fenced, requests to the fencing automaton, what is
//! given up and when it is tried again.

use std::collections::BTreeMap;

use cib::{Cib, parse_duration_ms};
use fencing::{Call, Candidate, Device, Fencer, Level, Limits};
use holdfast_types::{Boottime, NodeId, Span};

/// Fencing by this member while it is the controller.
#[derive(Debug, Default)]
pub(crate) struct Power {
    /// The automaton.
    pub(crate) fencer: Fencer,
    devices: Vec<Device>,
    timeout: Span,
    /// Nodes whose fencing was given up, and until when.
    given_up: BTreeMap<u32, Boottime>,
}

impl Power {
    /// Takes devices and topology from the configuration; what was given up is tried again. Returns what is wrong with
    /// devices.
    pub(crate) fn configure(&mut self, cib: &Cib) -> Vec<String> {
        let mut problems = Vec::new();
        self.devices.clear();
        for primitive in cib.fence_devices().filter(|p| p.meta.target_role == cib::TargetRole::Started) {
            match Device::new(&primitive.id, &primitive.kind, &primitive.params, parse_duration_ms) {
                Ok(device) => self.devices.push(device),
                Err(error) => problems.push(error.to_string()),
            }
        }
        self.timeout = Span::from_millis(cib.options.stonith_timeout_ms);
        let levels = cib.fencing_levels.iter().map(|l| Level {
            target: l.target.clone(),
            index: l.index,
            devices: l.devices.clone(),
        });
        let limits = Limits {
            timeout: self.timeout,
            rounds_max: cib.options.stonith_attempts_max,
            deadline: self.timeout.scale(u64::from(cib.options.stonith_attempts_max), 1),
            ..Limits::default()
        };
        self.fencer.configure(self.devices.clone(), levels.collect(), limits);
        self.given_up.clear();
        problems
    }

    /// A device can fence this node, and that has not been given up.
    pub(crate) fn can_fence(&self, node: u32, name: &str) -> bool {
        !self.given_up.contains_key(&node) && self.fencer.can_fence(name)
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

    /// Something changed: what was given up is tried again.
    pub(crate) fn try_again(&mut self) {
        self.given_up.clear();
    }

    /// Forgets what is due to be tried again. Whether there was something.
    pub(crate) fn expire(&mut self, now: Boottime) -> bool {
        let before = self.given_up.len();
        self.given_up.retain(|_, until| *until > now);
        self.given_up.len() < before
    }

    /// When [`Self::expire`] or the automaton is due.
    pub(crate) fn next_timeout(&self) -> Option<Boottime> {
        self.given_up.values().copied().chain(self.fencer.next_timeout()).min()
    }

    /// Members that may run agents, this one first, without devices that constraints keep from them.
    pub(crate) fn candidates(me: u32, members: &[u32], bans: &[(String, String, NodeId)]) -> Vec<Candidate> {
        let mut members: Vec<u32> = members.to_vec();
        members.sort_by_key(|m| *m != me);
        let banned = |node: u32| {
            bans.iter().filter(|(_, _, n)| n.get() == node).map(|(_, resource, _)| resource.clone()).collect()
        };
        members.into_iter().map(|m| Candidate { node: NodeId::new(m), banned_devices: banned(m) }).collect()
    }
}
