//! The tables' language.

use std::collections::BTreeMap;

use cib::Cib;
use holdfast_types::{NodeId, WallTime};
use scheduler::{
    Activity, ClusterState, Failure, NodeState, OpResult, Pending, Presence, ResourceState, TransitionGraph,
};

/// One case.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) cib: Cib,
    pub(crate) state: ClusterState,
    pub(crate) now: WallTime,
    /// Lines: actions with what precedes them, then blocked resources.
    pub(crate) expected: Vec<String>,
}

pub(crate) fn cases(text: &str) -> Vec<Case> {
    text.split("== ").skip(1).map(case).collect()
}

fn case(text: &str) -> Case {
    let mut lines = text.lines();
    let name = lines.next().unwrap().trim().to_owned();
    let mut case = Case {
        name,
        cib: Cib::parse("<cib><configuration/></cib>", "empty").unwrap(),
        state: ClusterState { quorate: true, dc: Some(NodeId::new(1)), nodes: BTreeMap::new() },
        now: WallTime(100_000_000),
        expected: Vec::new(),
    };
    let (mut options, mut nodes, mut resources, mut constraints) =
        (String::new(), String::new(), String::new(), String::new());
    let mut expecting = false;
    for line in lines.map(|l| l.split('#').next().unwrap().trim_end()).filter(|l| !l.is_empty()) {
        if expecting {
            case.expected.push(line.trim().to_owned());
            continue;
        }
        let (key, rest) = line.split_once(':').unwrap_or_else(|| panic!("{}: {line}", case.name));
        let rest = rest.trim();
        match key {
            "cluster" => {
                for word in rest.split_whitespace() {
                    match word.split_once('=') {
                        None => case.state.quorate = word != "inquorate",
                        Some(("now", secs)) => case.now = WallTime(secs.parse::<i64>().unwrap() * 1_000_000),
                        Some((k, v)) => {
                            options += &format!("<nvpair id=\"opt-{k}\" name=\"{k}\" value=\"{v}\"/>")
                        }
                    }
                }
            }
            "resource" => resources += &primitive(rest),
            "group" => {
                // group: g = a b key=value, c
                let (id, members) = rest.split_once('=').unwrap();
                let members: String = members.split(',').map(|m| primitive(m.trim())).collect();
                resources += &format!("<group id=\"{}\">{members}</group>", id.trim());
            }
            "location" => {
                let words: Vec<&str> = rest.split_whitespace().collect();
                let [rsc, node, score] = words[..] else { panic!("{}: {line}", case.name) };
                constraints += &format!(
                    "<rsc_location id=\"loc-{rsc}-{node}\" rsc=\"{rsc}\" node=\"{node}\" score=\"{score}\"/>"
                );
            }
            "node" => {
                let id = u32::try_from(case.state.nodes.len() + 1).unwrap();
                let (state, attributes) = node(&case.name, rest);
                let pairs: String = attributes
                    .iter()
                    .map(|a| format!("<nvpair id=\"n{id}-{a}\" name=\"{a}\" value=\"true\"/>"))
                    .collect();
                nodes += &format!(
                    "<node id=\"{id}\" uname=\"{}\"><instance_attributes id=\"n{id}\">{pairs}</instance_attributes></node>",
                    state.name
                );
                case.state.nodes.insert(NodeId::new(id), state);
            }
            "expect" => expecting = true,
            other => panic!("{}: {other}", case.name),
        }
    }
    let xml = format!(
        "<cib><configuration><crm_config><cluster_property_set id=\"o\">{options}</cluster_property_set></crm_config>\
         <nodes>{nodes}</nodes><resources>{resources}</resources><constraints>{constraints}</constraints></configuration></cib>"
    );
    case.cib = Cib::parse(&xml, &case.name).unwrap();
    assert_eq!(case.cib.warnings, vec![], "{}", case.name);
    case
}

/// `id key=value …`; `on-fail-OP=…` and `monitor=10s` make operations, `param-NAME=…` parameters.
fn primitive(text: &str) -> String {
    let mut words = text.split_whitespace();
    let id = words.next().unwrap();
    let (mut meta, mut ops, mut params) = (String::new(), String::new(), String::new());
    let mut class = "class=\"ocf\" provider=\"heartbeat\" type=\"Dummy\"";
    for word in words {
        let (key, value) = word.split_once('=').unwrap();
        if let Some(op) = key.strip_prefix("on-fail-") {
            let interval = if op == "monitor" { "10s" } else { "0" };
            ops +=
                &format!("<op id=\"{id}-{op}\" name=\"{op}\" interval=\"{interval}\" on-fail=\"{value}\"/>");
        } else if let Some(name) = key.strip_prefix("param-") {
            params += &format!("<nvpair id=\"{id}-p-{name}\" name=\"{name}\" value=\"{value}\"/>");
        } else if key == "class" {
            class = "class=\"stonith\" type=\"fence_x\"";
        } else {
            meta += &format!("<nvpair id=\"{id}-{key}\" name=\"{key}\" value=\"{value}\"/>");
        }
    }
    format!(
        "<primitive id=\"{id}\" {class}><instance_attributes id=\"{id}-params\">{params}</instance_attributes>\
         <meta_attributes id=\"{id}-meta\">{meta}</meta_attributes><operations>{ops}</operations></primitive>"
    )
}

/// `name [offline|unclean|unclean-fence|leaving|fenceable|standby|maintenance]* id=activity[,detail]*`
fn node(case: &str, text: &str) -> (NodeState, Vec<String>) {
    let mut words = text.split_whitespace();
    let mut node = NodeState {
        name: words.next().unwrap().to_owned(),
        presence: Presence::Online,
        ..NodeState::default()
    };
    let mut attributes = Vec::new();
    for word in words {
        match word {
            "offline" => node.presence = Presence::Offline,
            "unclean" => node.presence = Presence::Unclean { why: "lost".into(), fence: false },
            "unclean-fence" => {
                node.presence = Presence::Unclean { why: "lost".into(), fence: true };
                node.fenceable = true;
            }
            "leaving" => node.shutting_down = true,
            "fenceable" => node.fenceable = true,
            "standby" | "maintenance" => attributes.push(word.to_owned()),
            other => {
                let (id, state) = other.split_once('=').unwrap_or_else(|| panic!("{case}: {other}"));
                node.resources.insert(id.to_owned(), resource(case, state));
            }
        }
    }
    (node, attributes)
}

fn resource(case: &str, text: &str) -> ResourceState {
    let mut state = ResourceState::default();
    for word in text.split(',') {
        match word {
            "unknown" => state.activity = Activity::Unknown,
            "stopped" => state.activity = Activity::Stopped,
            "started" => state.activity = Activity::Started,
            "failed" => fail(&mut state, "monitor", 10_000, 1),
            "start-failed" => fail(&mut state, "start", 0, 1),
            "stop-failed" => fail(&mut state, "stop", 0, 1),
            "banned" => fail(&mut state, "start", 0, 5),
            "wrong" => fail(&mut state, "start", 0, 6),
            "stopping" => state.pending = Some(Pending { action: "stop".into(), since_us: 0, order: None }),
            "old-params" => state.digest = "other".into(),
            other => {
                // fc=COUNT[@SECONDS]
                let value = other.strip_prefix("fc=").unwrap_or_else(|| panic!("{case}: {other}"));
                let (count, at) = value.split_once('@').unwrap_or((value, "100"));
                state.fail_count = count.parse().unwrap();
                let result =
                    OpResult { action: "monitor".into(), interval_ms: 10_000, rc: 7, ..OpResult::default() };
                state.failure = Some(Failure { result, at_us: at.parse::<i64>().unwrap() * 1_000_000 });
            }
        }
    }
    state
}

fn fail(state: &mut ResourceState, action: &str, interval_ms: u64, rc: i32) {
    state.activity = if action == "stop" { Activity::Started } else { Activity::Stopped };
    if interval_ms > 0 {
        state.activity = Activity::Started;
    }
    let result =
        OpResult { action: action.into(), interval_ms, rc, at_us: 100_000_000, ..OpResult::default() };
    state.record(result, true);
}

/// The graph in the language of `expect:`.
pub(crate) fn render(case: &Case, graph: &TransitionGraph) -> Vec<String> {
    let label = |i: usize| {
        let action = &graph.actions[i];
        let node = &case.state.nodes[&action.node].name;
        let what = match action.kind {
            scheduler::ActionKind::Probe => "probe",
            scheduler::ActionKind::Expire => "expire",
            kind => kind.operation(),
        };
        if action.resource.is_empty() {
            format!("{what} {node}")
        } else {
            format!("{what} {} {node}", action.resource)
        }
    };
    let mut lines: Vec<String> = (0..graph.actions.len())
        .map(|i| {
            let mut before: Vec<String> = graph.actions[i].after.iter().map(|b| label(*b)).collect();
            before.sort();
            if graph.actions[i].held {
                return format!("{} held", label(i));
            }
            if before.is_empty() { label(i) } else { format!("{} after {}", label(i), before.join(", ")) }
        })
        .collect();
    lines.sort();
    lines.extend(graph.blocked.iter().map(|b| format!("blocked {}: {}", b.resource, b.why)));
    lines
}
