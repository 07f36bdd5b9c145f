//! A transition carried out on paper: the peer's graphs in the peer's order with the peer's result, and what one asks for besides.

use std::fs;

use cib::{Element, Moment};
use scheduler::simulate::{CarriedOut, Event, Injections, carry_out, inject};
use scheduler::transition::{Action, Descriptor, Graph, Kind, Outcome, Place, Synapse};
use scheduler::{WorkingSet, revised_status};

use super::{NOW, SMALL, lines};

const CLOCK: Moment = Moment(1_800_000_000);

fn executed(document: &str, graph: &Graph, failures: &[&str]) -> (CarriedOut, String) {
    let root = cib::upgrade(Element::parse(document, "test").unwrap()).root;
    let recorded = WorkingSet::recorded_time(&root);
    let set = WorkingSet::new(&root, recorded.unwrap_or(NOW)).unwrap();
    let failures: Vec<String> = failures.iter().map(|f| (*f).to_owned()).collect();
    let done = carry_out(graph, &set, &failures, CLOCK);
    let after = WorkingSet::new(&done.cib, set.now).unwrap();
    let revised = revised_status(&after, recorded.is_some());
    (done, revised)
}

fn text(events: &[Event]) -> String {
    events.iter().filter_map(Event::line).collect()
}

#[test]
fn every_recorded_graph_is_carried_out_as_the_peer_does_and_leaves_what_it_left() {
    let Some(cases) = super::cases() else { return };
    let mut wrong = Vec::new();
    let mut seen = 0;
    for file in fs::read_dir(cases.join("exp")).unwrap() {
        let path = file.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let read = |kind: &str| fs::read_to_string(cases.join(kind).join(format!("{name}.{kind}"))).unwrap();
        let summary = read("summary").replace("Masters:", "Promoted:").replace("Slaves:", "Unpromoted:");
        let (_, want) = summary.split_once("Executing Cluster Transition:").unwrap();
        let graph = Graph::parse(&read("exp"), &name).unwrap();
        let (done, revised) = executed(&read("xml"), &graph, &[]);
        // Graphs that cannot be completed are part of what is recorded.
        let ended = want.contains("An invalid transition was produced");
        let want: Vec<String> = lines(want)
            .into_iter()
            .filter(|l| !l.starts_with("Transition failed") && !l.starts_with("An invalid transition"))
            .collect();
        let complete = (done.outcome == Outcome::Terminated) == ended;
        if lines(&(text(&done.events) + &revised)) != want || !complete {
            wrong.push(name);
        }
        seen += 1;
    }
    assert!(wrong.is_empty(), "{} of {seen}: {wrong:?}", wrong.len());
    assert!(seen > 100, "only {seen} cases");
}

/// Everything that is written in some way of its own.
const AWKWARD: &str = "l<g>q\"a'&n\nt\tr\ru\u{e4}";

/// A stop of `g1` where it runs, and a start on the other node.
fn move_g1() -> Graph {
    let action = |id: u32, task: &str, node: &str, uuid: &str| {
        let mut action = Action::new(id, Kind::RscOp, task, format!("g1_{task}_0"));
        action.node = Some(Place { name: node.into(), uuid: uuid.into() });
        action.resource = Some(Descriptor {
            id: "g1".into(),
            long_id: None,
            class: "ocf".into(),
            provider: Some("pacemaker".into()),
            kind: "Dummy".into(),
        });
        let parameters = [("CRM_meta_timeout", "20000"), ("a", AWKWARD), ("9a", "b"), ("1a", "b'")];
        action.attributes = parameters.into_iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
        action
    };
    Graph {
        actions: vec![action(1, "stop", "n10", "1"), action(2, "start", "n9", "2")],
        synapses: vec![
            Synapse { priority: 0, action: 1, inputs: vec![0] },
            Synapse { priority: 0, action: 0, inputs: vec![] },
        ],
        ..Graph::default()
    }
}

fn operation<'a>(done: &'a CarriedOut, node: &str, id: &str) -> &'a Element {
    let states = &done.cib.child("status").unwrap().children;
    let state = states.iter().find(|s| s.get("uname") == Some(node)).unwrap();
    state.find_id(id).unwrap_or_else(|| panic!("no {id} on {node}: {}", done.cib.to_xml()))
}

#[test]
fn results_are_kept_as_the_history_of_the_resource() {
    let (done, revised) = executed(SMALL, &move_g1(), &[]);
    assert_eq!(done.outcome, Outcome::Complete);
    assert_eq!(
        text(&done.events),
        "  * Resource action: g1              stop on n10\n  * Resource action: g1              start on n9\n"
    );
    assert!(revised.contains("* g1\t(ocf:pacemaker:Dummy):\t Started n9\n"), "{revised}");
    let stop = operation(&done, "n10", "g1_last_0");
    assert_eq!((stop.get("call-id"), stop.get("operation")), (Some("4"), Some("stop")));
    let start = operation(&done, "n9", "g1_last_0");
    let have = |name: &str| start.get(name).unwrap_or_default();
    assert_eq!(have("transition-key"), "1:-1:0:xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx");
    assert_eq!(have("transition-magic"), format!("0:0;{}", have("transition-key")));
    assert_eq!((have("last-rc-change"), have("operation_key")), ("1800000000", "g1_start_0"));
    // As crm_simulate 2.1.5 wrote it for these parameters.
    assert_eq!(have("op-digest"), "fd0641aa9c17099375d2c1ae3f80e967");
}

#[test]
fn an_action_that_is_asked_to_fail_is_counted_and_ends_it() {
    let (done, revised) = executed(SMALL, &move_g1(), &["G1_stop_0@n10=1", "g1_start_0@n9=x"]);
    assert_eq!(
        text(&done.events),
        "  * Resource action: g1              stop on n10\nPretending action 1 failed with rc=1\n  \
         * Injecting attribute fail-count-g1#stop_0=value++ into /node_state '1'\n  \
         * Injecting attribute last-failure-g1#stop_0=1800000000 into /node_state '1'\n"
    );
    assert_eq!(operation(&done, "n10", "g1_last_failure_0").get("exit-reason"), Some("User-injected result"));
    assert_eq!(operation(&done, "n10", "1-fail-count-g1.stop_0").get("value"), Some("1"));
    assert!(revised.contains("* g1\t(ocf:pacemaker:Dummy):\t FAILED n10 (blocked)\n"), "{revised}");
    let (done, _) = executed(SMALL, &move_g1(), &["g1_start_0@n9=x"]);
    let complaint = "Invalid failed operation 'g1_start_0@n9=x' (result code must be integer)";
    assert!(done.events.contains(&Event::Refused(complaint.into())), "{:?}", done.events);
}

#[test]
fn a_fenced_node_is_down_and_forgets_what_ran_there() {
    let mut fence = Action::new(1, Kind::CrmEvent, "stonith", "stonith-n10-reboot");
    fence.node = Some(Place { name: "n10".into(), uuid: "1".into() });
    fence.attributes.insert("CRM_meta_stonith_action".into(), "reboot".into());
    let mut graph = Graph { actions: vec![fence], ..Graph::default() };
    graph.synapses.push(Synapse { priority: 0, action: 0, inputs: vec![] });
    let (done, revised) = executed(SMALL, &graph, &[]);
    assert_eq!(text(&done.events), "  * Fencing n10 (reboot)\n");
    assert!(revised.contains("    * OFFLINE: [ n10 ]\n"), "{revised}");
    assert!(revised.contains("* g1\t(ocf:pacemaker:Dummy):\t Stopped\n"), "{revised}");
}

#[test]
fn what_is_injected_is_in_the_document_before_anything_else_happens() {
    let root = Element::parse(SMALL, "test").unwrap();
    let set = WorkingSet::new(&root, NOW).unwrap();
    let list = |name: &str| vec![name.to_owned()];
    let asked = Injections {
        quorum: Some("0".into()),
        watchdog: Some("1".into()),
        node_up: list("n11"),
        node_down: list("n9"),
        node_fail: Vec::new(),
        ticket_grant: list("t"),
        ticket_revoke: Vec::new(),
        ticket_standby: list("t"),
        ticket_activate: Vec::new(),
        op_inject: [
            "g1_monitor_10000@n10=7",
            "nobody_monitor_0@n10=1",
            "c_start_0@n10=1",
            "g1@n10=0",
            "g1_stop_0@n99=1",
        ]
        .map(str::to_owned)
        .to_vec(),
    };
    let modified = inject(&set, &asked, CLOCK);
    // The peer's words, but for the last two, at which it ends by an assertion.
    let said: Vec<String> = modified.events.iter().map(ToString::to_string).collect();
    assert_eq!(
        said,
        [
            "Setting quorum: 0",
            "Setting watchdog: 1",
            "Bringing node n11 online",
            "Taking node n9 offline",
            "Granting ticket t",
            "Making ticket t standby",
            "Injecting g1_monitor_10000@n10=7 into the configuration",
            "Injecting attribute fail-count-g1#monitor_10000=value++ into /node_state '1'",
            "Injecting attribute last-failure-g1#monitor_10000=1800000000 into /node_state '1'",
            "Injecting nobody_monitor_0@n10=1 into the configuration",
            "Invalid resource name: nobody",
            "Injecting c_start_0@n10=1 into the configuration",
            "Resource c has no agent; name a primitive or an instance of a clone",
            "Injecting g1@n10=0 into the configuration",
            "Invalid operation spec: g1@n10=0; write it as RESOURCE_TASK_MILLISECONDS@NODE=STATUS",
            "Injecting g1_stop_0@n99=1 into the configuration",
            "Invalid node name: n99; bring it into the cluster with --node-up n99",
        ]
    );
    let text = modified.cib.to_xml();
    for part in [
        r#"have-quorum="0""#,
        r#"name="have-watchdog" value="1""#,
        r#"<node id="n11" uname="n11"/>"#,
        r#"<ticket_state id="t" granted="true" standby="true"/>"#,
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let after = WorkingSet::new(&modified.cib, NOW).unwrap();
    let status = scheduler::current_status(&after, false);
    for part in ["Online: [ n10 n11 ]", "OFFLINE: [ n9 ]", "* g1\t(ocf:pacemaker:Dummy):\t FAILED n10"] {
        assert!(status.contains(part), "{part} in {status}");
    }
}
