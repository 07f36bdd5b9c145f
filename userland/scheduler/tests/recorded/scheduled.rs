//! What has to be done is what the peer finds: the same actions with the same attributes, each after the same ones.

use std::collections::BTreeMap;
use std::fs;

use cib::{Element, Moment};
use scheduler::transition::{Action, Graph};
use scheduler::{WorkingSet, transition_summary};

use super::{NOW, cases};

/// The floor: a graph that was the peer's once is so for ever. A case more is a line more here.
const SCHEDULED: &str = include_str!("scheduled.txt");

fn graph(document: &str, now: Option<Moment>) -> Graph {
    let root = cib::upgrade(Element::parse(document, "test").unwrap()).root;
    let now = now.or(WorkingSet::recorded_time(&root)).unwrap_or(NOW);
    let mut set = WorkingSet::new(&root, now).unwrap();
    set.without_secrets = true;
    set.place();
    set.schedule();
    set.graph()
}

/// An action apart from its number, which says only when it was thought of.
fn unnumbered(action: &Action) -> Action {
    let mut action = Action { id: 0, ..action.clone() };
    action.attributes.remove("crm_feature_set");
    action.downed.sort();
    action
}

/// Every synapse as text, sorted: what is done, how urgent it is, and after what.
fn lines(graph: &Graph) -> Vec<String> {
    let carried_out: BTreeMap<u32, ()> =
        graph.synapses.iter().map(|s| (graph.actions[s.action].id, ())).collect();
    let name = |at: usize| {
        let action = &graph.actions[at];
        let known = if carried_out.contains_key(&action.id) { "" } else { "(absent) " };
        let place = action.node.as_ref().map(|n| n.name.clone()).unwrap_or_default();
        format!("{known}{:?} {} {:?} {place}", action.kind, action.key, action.internal_key)
    };
    let mut lines: Vec<String> = graph
        .synapses
        .iter()
        .map(|synapse| {
            let mut after: Vec<String> = synapse.inputs.iter().map(|i| name(*i)).collect();
            after.sort();
            let action = unnumbered(&graph.actions[synapse.action]);
            format!("{} {action:?} after {after:?}", synapse.priority)
        })
        .collect();
    lines.sort();
    let mut head = graph.head.clone();
    head.batch_limit.clear();
    lines.push(format!("{head:?}"));
    lines
}

#[test]
fn what_was_scheduled_as_by_the_peer_once_still_is() {
    let Some(cases) = cases() else { return };
    let wrong: Vec<&str> = SCHEDULED
        .lines()
        .filter(|line| {
            // Behind a name: the time that the case is run at.
            let (name, now) = line.split_once(' ').unwrap_or((line, ""));
            let read = |folder: &str, kind: &str| {
                fs::read_to_string(cases.join(folder).join(format!("{name}.{kind}"))).unwrap()
            };
            let now = (!now.is_empty()).then(|| Moment::parse(now).unwrap());
            let want = Graph::parse(&read("exp", "exp"), name).unwrap();
            lines(&graph(&read("xml", "xml"), now)) != lines(&want)
        })
        .collect();
    assert!(wrong.is_empty(), "{} of {}: {wrong:?}", wrong.len(), SCHEDULED.lines().count());
}

/// The part of a summary that says what is going to change, line by line, blanks apart.
fn transition(summary: &str) -> Vec<String> {
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let lines = summary.lines().map(words).filter(|l| !l.is_empty());
    lines
        .skip_while(|l| !l.starts_with("Transition Summary"))
        .take_while(|l| !l.starts_with("Executing"))
        .collect()
}

#[test]
fn what_changes_is_told_as_the_peer_tells_it_for_every_recorded_case() {
    let Some(cases) = cases() else { return };
    let mut wrong = Vec::new();
    for entry in fs::read_dir(cases.join("xml")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        let summary = fs::read_to_string(cases.join("summary").join(format!("{name}.summary"))).unwrap();
        let document = fs::read_to_string(&path).unwrap();
        let root = cib::upgrade(Element::parse(&document, name).unwrap()).root;
        let now = WorkingSet::recorded_time(&root).unwrap_or(NOW);
        let mut set = WorkingSet::new(&root, now).unwrap();
        set.without_secrets = true;
        set.place();
        set.schedule();
        set.graph();
        if transition(&transition_summary(&mut set)) != transition(&summary) {
            wrong.push(name.to_owned());
        }
    }
    wrong.sort();
    assert!(wrong.is_empty(), "{}: {wrong:?}", wrong.len());
}
