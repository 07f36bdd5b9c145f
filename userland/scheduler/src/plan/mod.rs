//! From placements to actions and their order.

mod assign;
mod graph;
mod state;
mod view;

use std::collections::BTreeMap;

use cib::{Cib, LocationScore, Primitive, Score};
use holdfast_types::{NodeId, WallTime};

pub use graph::{Action, ActionId, ActionKind, Blocked, TransitionGraph};
pub use state::{
    Activity, ClusterState, FAIL_COUNT_INFINITY, Failure, NodeState, OpResult, OpStatus, Pending, Presence,
    ResourceState, params_digest,
};

use self::assign::{Placement, UNMANAGED, assign};
use self::view::View;

/// What has to be done. Expects that nothing is under way on nodes that take part: an operation that is pending keeps
/// its resource out of the plan.
#[must_use]
pub fn plan(cib: &Cib, state: &ClusterState, now: WallTime) -> TransitionGraph {
    let view = View::new(cib, state, now);
    let placements = assign(&view);
    let mut planner = Planner {
        view: &view,
        graph: TransitionGraph::default(),
        fences: BTreeMap::new(),
        waits: Vec::new(),
    };
    planner.fences();
    planner.orphans();
    for resource in &cib.resources {
        let mut previous = Steps::default();
        for member in &resource.members {
            previous = planner.member(member, &placements[member.id.as_str()], &previous);
        }
    }
    planner.graph
}

/// Nodes that have to be fenced, and why. Empty where this partition may not act.
#[must_use]
pub fn fence_targets(cib: &Cib, state: &ClusterState, now: WallTime) -> BTreeMap<NodeId, String> {
    let view = View::new(cib, state, now);
    targets(&view)
}

fn targets(view: &View<'_>) -> BTreeMap<NodeId, String> {
    if !view.options().stonith_enabled || !view.may_act() {
        return BTreeMap::new();
    }
    let mut targets = view.condemned.clone();
    for (id, node) in &view.state.nodes {
        if let Presence::Unclean { why, fence: true } = &node.presence
            && node.fenceable
        {
            targets.insert(*id, why.clone());
        }
    }
    targets
}

/// Location constraints of score minus infinity in force: id of the constraint, resource, node.
#[must_use]
pub fn bans(cib: &Cib, state: &ClusterState) -> Vec<(String, String, NodeId)> {
    let view = View::new(cib, state, WallTime::default());
    let mut bans = Vec::new();
    for location in &cib.locations {
        for (node_id, node) in &state.nodes {
            let id = node_id.to_string();
            let facts = view.facts(*node_id, node, &id);
            let (name, score) = match &location.score {
                LocationScore::Node(name, score) if *name == node.name => (&location.id, *score),
                LocationScore::Rule(rule) if rule.accepts(facts) => (&rule.id, rule.score_for(facts)),
                _ => continue,
            };
            if score == Score::MINUS_INFINITY {
                bans.push((name.clone(), location.resource.clone(), *node_id));
            }
        }
    }
    bans
}

/// What was planned for the member before in the group.
#[derive(Default)]
struct Steps {
    /// It is started, or its start is action N.
    start: Option<ActionId>,
    /// Its stops (or those of the nearest active one before), which come after those of its successor.
    stops: Vec<ActionId>,
    /// It is stopped or started in this plan, so what depends on it must be down meanwhile.
    disturbed: bool,
    /// It will not run.
    down: bool,
}

struct Planner<'v, 'a> {
    view: &'v View<'a>,
    graph: TransitionGraph,
    fences: BTreeMap<NodeId, ActionId>,
    /// Unclean nodes that cannot be fenced: everything waits for them.
    waits: Vec<String>,
}

impl Planner<'_, '_> {
    fn push(
        &mut self,
        kind: ActionKind,
        node: NodeId,
        resource: &str,
        after: Vec<ActionId>,
        reason: &str,
    ) -> ActionId {
        let (resource, reason) = (resource.to_owned(), reason.to_owned());
        self.graph.actions.push(Action { kind, node, resource, after, held: false, reason });
        self.graph.actions.len() - 1
    }

    fn name(&self, node: NodeId) -> &str {
        self.view.state.nodes.get(&node).map_or("?", |n| n.name.as_str())
    }

    fn fences(&mut self) {
        let targets = targets(self.view);
        for (id, node) in self.view.unclean() {
            match targets.get(&id) {
                Some(why) => {
                    let action = self.push(ActionKind::Fence, id, "", Vec::new(), why);
                    self.fences.insert(id, action);
                    self.graph.decisions.push(format!(
                        "Fence ({}) {} '{why}'",
                        self.view.options().stonith_action.as_str(),
                        node.name
                    ));
                }
                None => self.waits.push(format!(
                    "{} {}",
                    node.name,
                    self.view.unusable.get(&id).map_or("", String::as_str)
                )),
            }
        }
    }

    /// Resources that are active but gone from the configuration are stopped.
    fn orphans(&mut self) {
        let view = self.view;
        for (id, node) in view.online() {
            for (resource, on) in &node.resources {
                let active = matches!(on.activity, Activity::Started | Activity::Failed);
                if active
                    && on.pending.is_none()
                    && view.cib.primitive(resource).is_none()
                    && !view.options().maintenance
                {
                    self.push(ActionKind::Stop, id, resource, Vec::new(), "orphaned");
                    self.graph.decisions.push(format!("Stop {resource} ( {} ) due to orphaned", node.name));
                }
            }
        }
    }

    /// Plans one primitive, after its predecessor in the group.
    fn member(&mut self, primitive: &Primitive, placement: &Placement, before: &Steps) -> Steps {
        let id = primitive.id.as_str();
        let probes = self.probes(primitive);
        self.expiry(primitive);
        let active = self.view.active(primitive);
        if self.is_busy(id) {
            for predecessor in &before.stops {
                self.graph.actions[*predecessor].held = true;
            }
            return Steps { down: true, disturbed: true, ..Steps::default() };
        }
        let target = match placement {
            Placement::Hands(why) => {
                if why != UNMANAGED {
                    self.block(id, why);
                }
                // What depends on it goes on only if it runs well.
                return Steps { down: active.is_empty() || why != UNMANAGED, ..Steps::default() };
            }
            Placement::On(node) => Ok(*node),
            Placement::Nowhere(why) => Err(why.as_str()),
        };
        let stays = target
            .ok()
            .filter(|t| active.as_slice() == [*t] && !before.disturbed && self.runs_well(primitive, *t));
        if stays.is_some() {
            return Steps::default();
        }
        let reason = self.stop_reason(primitive, target, before);
        let (own_stops, stops) = self.stops(primitive, &active, &reason, before);
        let (start, blocked) = match target {
            Err(why) => (None, Some(why.to_owned())),
            Ok(_) if before.down => (None, Some("what it needs does not run".to_owned())),
            Ok(node) => match self.why_not_start(primitive, &active) {
                Some(why) => (None, Some(why)),
                None => (Some(self.start(primitive, node, &active, own_stops, probes, before)), None),
            },
        };
        if let Some(why) = &blocked {
            self.block(id, why);
        }
        self.decide(id, &active, start.and(target.ok()), &reason);
        Steps { down: start.is_none(), start, stops, disturbed: true }
    }

    fn block(&mut self, id: &str, why: &str) {
        self.graph.blocked.push(Blocked { resource: id.to_owned(), why: why.to_owned() });
    }

    /// An operation is under way on a node that takes part.
    fn is_busy(&self, id: &str) -> bool {
        self.view.online().any(|(node, _)| self.view.on(id, node).is_some_and(|on| on.pending.is_some()))
    }

    fn runs_well(&self, primitive: &Primitive, node: NodeId) -> bool {
        self.view.on(&primitive.id, node).is_some_and(|on| {
            self.view.activity(primitive, on) == Activity::Started
                && (on.digest.is_empty() || on.digest == params_digest(primitive))
        })
    }

    fn stop_reason(&self, primitive: &Primitive, target: Result<NodeId, &str>, before: &Steps) -> String {
        let failed = self.view.active(primitive).into_iter().any(|node| {
            self.view
                .on(&primitive.id, node)
                .is_some_and(|on| self.view.activity(primitive, on) == Activity::Failed)
        });
        match target {
            Err(why) => why.to_owned(),
            Ok(_) if failed => "it failed".to_owned(),
            Ok(_) if before.disturbed => "what it needs is restarted".to_owned(),
            Ok(node)
                if self.view.on(&primitive.id, node).is_some_and(|on| on.activity == Activity::Started) =>
            {
                "resource definition change".to_owned()
            }
            Ok(_) => "a better node".to_owned(),
        }
    }

    /// Stops where it is active; the predecessor's stops wait for them. Also what the successor's stops come before.
    fn stops(
        &mut self,
        primitive: &Primitive,
        active: &[NodeId],
        reason: &str,
        before: &Steps,
    ) -> (Vec<ActionId>, Vec<ActionId>) {
        let stops: Vec<ActionId> = active
            .iter()
            .map(|node| self.push(ActionKind::Stop, *node, &primitive.id, Vec::new(), reason))
            .collect();
        for predecessor in &before.stops {
            self.graph.actions[*predecessor].after.extend(&stops);
        }
        // Where this one is not active, the next one's stops are what the predecessor waits for.
        let nearest = if stops.is_empty() { before.stops.clone() } else { stops.clone() };
        (stops, nearest)
    }

    /// Why a start has to wait, although a node was found.
    fn why_not_start(&self, primitive: &Primitive, active: &[NodeId]) -> Option<String> {
        // Known to be active on a node that takes part: no other node can be running it.
        if !active.is_empty() || primitive.is_fence_device() || self.waits.is_empty() {
            return None;
        }
        Some(format!("waits: {} and may still run it", self.waits.join(", ")))
    }

    fn start(
        &mut self,
        primitive: &Primitive,
        node: NodeId,
        active: &[NodeId],
        stops: Vec<ActionId>,
        probes: Vec<ActionId>,
        before: &Steps,
    ) -> ActionId {
        let mut after = stops;
        after.extend(probes);
        after.extend(before.start);
        if active.is_empty() && !primitive.is_fence_device() {
            after.extend(self.fences.values());
        }
        self.push(ActionKind::Start, node, &primitive.id, after, "")
    }

    /// Asks every node that does not know; a start waits for the answers.
    fn probes(&mut self, primitive: &Primitive) -> Vec<ActionId> {
        if primitive.is_fence_device() || !self.view.options().startup_probes {
            return Vec::new();
        }
        let unknown: Vec<NodeId> = self
            .view
            .online()
            .filter(|(id, _)| {
                self.view
                    .on(&primitive.id, *id)
                    .is_none_or(|on| on.activity == Activity::Unknown && on.pending.is_none())
            })
            .map(|(id, _)| id)
            .collect();
        unknown
            .into_iter()
            .map(|node| self.push(ActionKind::Probe, node, &primitive.id, Vec::new(), ""))
            .collect()
    }

    fn expiry(&mut self, primitive: &Primitive) {
        let view = self.view;
        for (node, _) in view.online() {
            let Some(on) = view.on(&primitive.id, node) else { continue };
            let Some(at) = View::expires_at(primitive, on) else { continue };
            if view.failure_counts(primitive, on) {
                self.graph.recheck_at = Some(self.graph.recheck_at.map_or(at, |sooner| sooner.min(at)));
            } else if on.pending.is_none() && !matches!(on.activity, Activity::Failed | Activity::StopFailed)
            {
                self.push(ActionKind::Expire, node, &primitive.id, Vec::new(), "it expired");
            }
        }
    }

    fn decide(&mut self, id: &str, active: &[NodeId], start: Option<NodeId>, reason: &str) {
        let line = match (active, start) {
            ([], None) => return,
            ([], Some(to)) => format!("Start {id} ( {} )", self.name(to)),
            ([from, ..], None) => format!("Stop {id} ( {} ) due to {reason}", self.name(*from)),
            ([from], Some(to)) if *from == to && reason == "it failed" => {
                format!("Recover {id} ( {} )", self.name(to))
            }
            ([from], Some(to)) if *from == to => {
                format!("Restart {id} ( {} ) due to {reason}", self.name(to))
            }
            ([from, ..], Some(to)) if reason == "it failed" => {
                format!("Recover {id} ( {} -> {} )", self.name(*from), self.name(to))
            }
            ([from, ..], Some(to)) => format!("Move {id} ( {} -> {} )", self.name(*from), self.name(to)),
        };
        self.graph.decisions.push(line);
    }
}
