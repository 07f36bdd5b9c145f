//! The state seen through the configuration: which nodes can take resources, where each resource is, what its failures
//! mean.

use std::collections::BTreeMap;

use cib::{Cib, NoQuorumPolicy, NodeFacts, OnFail, Options, Primitive, parse_bool};
use holdfast_types::{NodeId, WallTime};
use indexmap::IndexMap;

use super::state::{Activity, ClusterState, NodeState, Presence, ResourceState};

/// Configuration, state and time of one run.
pub(crate) struct View<'a> {
    pub(crate) cib: &'a Cib,
    pub(crate) state: &'a ClusterState,
    pub(crate) now: WallTime,
    /// Why a node cannot take resources; nodes that can are missing.
    pub(crate) unusable: BTreeMap<NodeId, String>,
    /// Nodes that take part and have to be fenced, and why.
    pub(crate) condemned: BTreeMap<NodeId, String>,
    empty: IndexMap<String, String>,
}

impl<'a> View<'a> {
    pub(crate) fn new(cib: &'a Cib, state: &'a ClusterState, now: WallTime) -> Self {
        let (unusable, condemned) = (BTreeMap::new(), BTreeMap::new());
        let mut view = Self { cib, state, now, unusable, condemned, empty: IndexMap::new() };
        for (id, node) in &state.nodes {
            let wants = |p: &&Primitive| node.resources.get(&p.id).is_some_and(|on| view.wants_fence(p, on));
            // Where no device reaches the node the failed resource alone is blocked.
            if let Some(failed) = cib.primitives().find(wants)
                && node.presence == Presence::Online
                && node.fenceable
                && view.may_act()
            {
                view.condemned.insert(*id, format!("{} failed there", failed.id));
            }
            if let Some(why) = view.why_unusable(*id, node) {
                view.unusable.insert(*id, why);
            }
        }
        view
    }

    pub(crate) fn options(&self) -> &'a Options {
        &self.cib.options
    }

    /// Resources may be started and nodes fenced.
    pub(crate) fn may_act(&self) -> bool {
        self.state.quorate || self.options().no_quorum_policy == NoQuorumPolicy::Ignore
    }

    fn why_unusable(&self, id: NodeId, node: &NodeState) -> Option<String> {
        let why = match &node.presence {
            Presence::Online if self.condemned.contains_key(&id) => "is about to be fenced".to_owned(),
            Presence::Offline => "is offline".to_owned(),
            Presence::Unclean { why, .. } => format!("is UNCLEAN ({why})"),
            Presence::Online if node.shutting_down => "is shutting down".to_owned(),
            Presence::Online if self.node_flag(node, "standby") => "is in standby".to_owned(),
            Presence::Online if self.node_flag(node, "maintenance") => "is in maintenance".to_owned(),
            Presence::Online => {
                let failed = self.cib.primitives().find(|p| {
                    node.resources
                        .get(&p.id)
                        .is_some_and(|r| self.failure_policy(p, r) == Some(OnFail::Standby))
                })?;
                format!("is in standby (on-fail of {})", failed.id)
            }
        };
        Some(why)
    }

    fn node_flag(&self, node: &NodeState, name: &str) -> bool {
        let value = self.cib.node(&node.name).and_then(|n| n.attributes.get(name));
        value.is_some_and(|v| parse_bool(v) == Some(true))
    }

    /// What location rules see of a node; `id` is its id in decimal.
    pub(crate) fn facts<'b>(&'b self, node_id: NodeId, node: &'b NodeState, id: &'b str) -> NodeFacts<'b> {
        let attributes = self.cib.node(&node.name).map_or(&self.empty, |n| &n.attributes);
        NodeFacts { id, uname: &node.name, attributes, dc: self.state.dc == Some(node_id) }
    }

    /// Nodes that take part and are not about to be fenced.
    pub(crate) fn online(&self) -> impl Iterator<Item = (NodeId, &'a NodeState)> {
        let nodes = self.state.nodes.iter().map(|(id, n)| (*id, n));
        nodes.filter(|(id, n)| n.presence == Presence::Online && !self.condemned.contains_key(id))
    }

    /// Nodes that may run anything unseen, or are about to be fenced.
    pub(crate) fn unclean(&self) -> impl Iterator<Item = (NodeId, &'a NodeState)> {
        let nodes = self.state.nodes.iter().map(|(id, n)| (*id, n));
        nodes.filter(|(id, n)| {
            matches!(n.presence, Presence::Unclean { .. }) || self.condemned.contains_key(id)
        })
    }

    /// Nodes that take part on which the resource is active or has to be taken for active.
    pub(crate) fn active(&self, primitive: &Primitive) -> Vec<NodeId> {
        let active = |on: &ResourceState| {
            matches!(
                self.activity(primitive, on),
                Activity::Started | Activity::Failed | Activity::StopFailed
            )
        };
        self.online()
            .filter(|(_, n)| n.resources.get(&primitive.id).is_some_and(active))
            .map(|(id, _)| id)
            .collect()
    }

    /// What the resource does, seen through `on-fail=ignore`.
    pub(crate) fn activity(&self, primitive: &Primitive, on: &ResourceState) -> Activity {
        match on.activity {
            Activity::Failed if self.policy(primitive, on) == Some(OnFail::Ignore) => Activity::Started,
            Activity::StopFailed if self.policy(primitive, on) == Some(OnFail::Ignore) => Activity::Stopped,
            other => other,
        }
    }

    pub(crate) fn on(&self, resource: &str, node: NodeId) -> Option<&'a ResourceState> {
        self.state.nodes.get(&node)?.resources.get(resource)
    }

    /// The failure still counts: it is recorded and has not expired.
    pub(crate) fn failure_counts(&self, primitive: &Primitive, on: &ResourceState) -> bool {
        match (&on.failure, primitive.meta.failure_timeout_ms) {
            (None, _) => on.fail_count > 0,
            (Some(_), None) => true,
            (Some(failure), Some(timeout)) => self.now.0 < expiry_us(failure.at_us, timeout),
        }
    }

    /// When a recorded failure expires.
    pub(crate) fn expires_at(primitive: &Primitive, on: &ResourceState) -> Option<WallTime> {
        let failure = on.failure.as_ref()?;
        Some(WallTime(expiry_us(failure.at_us, primitive.meta.failure_timeout_ms?)))
    }

    /// What the recorded failure asks for, expired or not.
    fn policy(&self, primitive: &Primitive, on: &ResourceState) -> Option<OnFail> {
        let result = &on.failure.as_ref()?.result;
        Some(primitive.on_fail(&result.action, result.interval_ms, self.options().stonith_enabled))
    }

    /// What the recorded failure asks for; `None`: there is none that counts.
    pub(crate) fn failure_policy(&self, primitive: &Primitive, on: &ResourceState) -> Option<OnFail> {
        self.policy(primitive, on).filter(|_| self.failure_counts(primitive, on))
    }

    /// Nothing is done with the resource on this node until somebody cleans up: a failed stop is never simply tried
    /// again, the node is fenced or the operator decides.
    pub(crate) fn is_blocked(&self, primitive: &Primitive, on: &ResourceState) -> bool {
        match self.activity(primitive, on) {
            Activity::StopFailed => true,
            Activity::Failed => self.policy(primitive, on) == Some(OnFail::Block),
            _ => false,
        }
    }

    /// The node has to be fenced because of this failure.
    fn wants_fence(&self, primitive: &Primitive, on: &ResourceState) -> bool {
        matches!(on.activity, Activity::Failed | Activity::StopFailed)
            && self.policy(primitive, on) == Some(OnFail::Fence)
    }

    /// The resource is managed where it is.
    pub(crate) fn managed(&self, primitive: &Primitive) -> bool {
        let explicit = primitive.meta.all.get("is-managed").and_then(|v| parse_bool(v)) == Some(true);
        primitive.meta.managed
            && (!self.options().maintenance || (explicit && !primitive.meta.maintenance))
            && !self.active(primitive).iter().any(|id| self.node_flag(&self.state.nodes[id], "maintenance"))
    }
}

fn expiry_us(at_us: i64, timeout_ms: u64) -> i64 {
    at_us.saturating_add(i64::try_from(timeout_ms).unwrap_or(i64::MAX).saturating_mul(1_000))
}
