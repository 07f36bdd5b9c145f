//! Tables of configurations, states and what has to be done: `testdata/*.txt`.
//!
//! A case begins with `== name` and holds lines `cluster:` (quorum, options, time), `resource:`/`group:` (with
//! `key=value` meta attributes), `location:`, `node:` and `expect:`. Every action is written with all actions that come
//! before it, so a missing or a new edge shows. [`carried_out`] then plays each plan to its end and checks that the
//! next plan is empty.

mod table;

use std::collections::BTreeMap;

use holdfast_types::{NodeId, WallTime};
use scheduler::{ActionKind, Activity, ClusterState, OpResult, Presence, TransitionGraph, plan};

use table::{Case, cases};

fn run(text: &str) {
    for case in cases(text) {
        let graph = plan(&case.cib, &case.state, case.now);
        assert_eq!(
            table::render(&case, &graph),
            case.expected,
            "\ncase: {}\nactions: {:#?}",
            case.name,
            graph.actions
        );
        assert_eq!(plan(&case.cib, &case.state, case.now), graph, "{}: not a pure function", case.name);
        in_order(&case, &graph);
        carried_out(case);
    }
}

/// The actions in an order that keeps all edges; panics on a circle.
fn in_order(case: &Case, graph: &TransitionGraph) -> Vec<usize> {
    let mut order: Vec<usize> = Vec::new();
    while order.len() < graph.actions.len() {
        let ready = (0..graph.actions.len()).find(|i| {
            !order.contains(i) && graph.actions[*i].after.iter().all(|before| order.contains(before))
        });
        order.push(ready.unwrap_or_else(|| panic!("{}: a circle in {:#?}", case.name, graph.actions)));
    }
    order
}

/// Plays plans until one is empty; every action succeeds and every probe finds nothing. At each instant no resource
/// may run twice, nor on one node while another that may run it is unclean.
fn carried_out(mut case: Case) {
    for _ in 0..10 {
        let graph = plan(&case.cib, &case.state, case.now);
        if graph.is_empty() {
            return;
        }
        // What is active on a node that takes part cannot be running on one that does not.
        let accounted: Vec<String> =
            case.cib.primitives().map(|p| p.id.clone()).filter(|id| is_active(&case.state, id)).collect();
        for i in in_order(&case, &graph) {
            let action = &graph.actions[i];
            let node = case.state.nodes.get_mut(&action.node).unwrap();
            if action.kind == ActionKind::Fence {
                (node.presence, node.resources) = (Presence::Offline, BTreeMap::new());
                continue;
            }
            let on = node.resources.entry(action.resource.clone()).or_default();
            if action.kind == ActionKind::Expire {
                on.expire();
                continue;
            }
            let rc = if action.kind == ActionKind::Probe { 7 } else { 0 };
            let digest =
                case.cib.primitive(&action.resource).map(scheduler::params_digest).unwrap_or_default();
            on.record(
                OpResult { action: action.kind.operation().into(), rc, digest, ..OpResult::default() },
                true,
            );
            if action.kind == ActionKind::Start {
                nowhere_else(&case, action.node, &action.resource, accounted.contains(&action.resource));
            }
        }
    }
    panic!("{}: plans never end: {:#?}", case.name, plan(&case.cib, &case.state, case.now));
}

fn is_active(state: &ClusterState, resource: &str) -> bool {
    let online = state.nodes.values().filter(|n| n.presence == Presence::Online);
    online.filter_map(|n| n.resources.get(resource)).any(|on| ACTIVE.contains(&on.activity))
}

fn nowhere_else(case: &Case, started: NodeId, resource: &str, accounted: bool) {
    for (id, node) in case.state.nodes.iter().filter(|(id, _)| **id != started) {
        let may_run = match node.presence {
            Presence::Offline => false,
            Presence::Unclean { .. } => {
                !accounted && !case.cib.primitive(resource).unwrap().is_fence_device()
            }
            Presence::Online => node.resources.get(resource).is_some_and(|on| ACTIVE.contains(&on.activity)),
        };
        assert!(!may_run, "{}: {resource} started on node {started} while node {id} may run it", case.name);
    }
}

const ACTIVE: [Activity; 3] = [Activity::Started, Activity::Failed, Activity::StopFailed];

#[test]
fn placement() {
    run(include_str!("testdata/placement.txt"));
}

#[test]
fn groups() {
    run(include_str!("testdata/groups.txt"));
}

#[test]
fn failures() {
    run(include_str!("testdata/failures.txt"));
}

#[test]
fn safety() {
    run(include_str!("testdata/safety.txt"));
}

#[test]
fn expiry_is_announced_and_then_due() {
    let mut case = cases(
        "== x\ncluster: now=100\nresource: a failure-timeout=60s\nnode: n1 a=started,fc=1@50\nexpect:\n",
    )
    .remove(0);
    let graph = plan(&case.cib, &case.state, case.now);
    assert_eq!((graph.is_empty(), graph.recheck_at), (true, Some(WallTime(110_000_000))));
    case.now = WallTime(110_000_000);
    let graph = plan(&case.cib, &case.state, case.now);
    assert_eq!((graph.actions[0].kind, graph.actions.len(), graph.recheck_at), (ActionKind::Expire, 1, None));
}
