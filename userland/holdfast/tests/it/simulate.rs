//! `simulate` on files: what happens before, graphs carried out, and what is written.

use std::fs;
use std::path::{Path, PathBuf};

use crate::{Temp, holdfast, run};

const SMALL: &str = r#"<cib epoch="1" num_updates="0" have-quorum="1"><configuration>
<crm_config><cluster_property_set id="o"><nvpair id="o1" name="stonith-enabled" value="false"/></cluster_property_set></crm_config>
<nodes><node id="1" uname="n1"/></nodes>
<resources><primitive id="db" class="ocf" provider="pacemaker" type="Dummy"/></resources></configuration>
<status><node_state id="1" uname="n1" in_ccm="true" crmd="online" join="member" expected="member"/></status></cib>"#;

const GRAPH: &str = r#"<transition_graph transition_id="0"><synapse id="0"><action_set>
<rsc_op id="1" operation="start" operation_key="db_start_0" on_node="n1" on_node_uuid="1">
<primitive id="db" class="ocf" provider="pacemaker" type="Dummy"/><attributes/></rsc_op></action_set><inputs/></synapse></transition_graph>"#;

fn simulate(temp: &Temp, args: &[&str]) -> (Option<i32>, String, String) {
    run(holdfast(&temp.0).arg("simulate").args(args).current_dir(&temp.0))
}

fn files() -> Temp {
    let temp = Temp::new();
    fs::write(temp.0.join("cib.xml"), SMALL).unwrap();
    fs::write(temp.0.join("graph"), GRAPH).unwrap();
    temp
}

#[test]
fn what_happens_before_is_shown_and_written_and_what_makes_no_sense_is_said() {
    let temp = files();
    let args = ["-x", "cib.xml", "-i", "db_monitor_10000@n1=7", "-i", "db", "-q", "0", "-I", "input"];
    let (exit, text, complaints) = simulate(&temp, &args);
    assert_eq!(exit, Some(0), "{complaints}");
    for part in [
        "\nPerforming Requested Modifications:\n  * Setting quorum: 0\n",
        "  * Injecting db_monitor_10000@n1=7 into the configuration\n",
    ] {
        assert!(text.contains(part), "{part:?} in {text}");
    }
    assert_eq!(
        complaints,
        "crm_simulate: Invalid operation spec: db; write it as RESOURCE_TASK_MILLISECONDS@NODE=STATUS\n"
    );
    let (_, text, _) = simulate(&temp, &["-x", "input"]);
    assert!(text.contains("* db\t(ocf:pacemaker:Dummy):\t FAILED n1\n"), "{text}");
}

#[test]
fn a_graph_is_carried_out_and_its_result_written() {
    let temp = files();
    let args = ["-x", "cib.xml", "-S", "--load-graph", "graph", "-O", "out", "-G", "saved"];
    let (exit, text, complaints) = simulate(&temp, &args);
    assert_eq!((exit, complaints.as_str()), (Some(0), ""));
    let end = "
Executing Cluster Transition:
  * Resource action: db              start on n1

Revised Cluster Status:
  * Node List:
    * Online: [ n1 ]

  * Full List of Resources:
    * db\t(ocf:pacemaker:Dummy):\t Started n1
";
    assert!(text.ends_with(end), "{text}");
    let (_, text, _) = simulate(&temp, &["-x", "out"]);
    assert!(text.contains("* db\t(ocf:pacemaker:Dummy):\t Started n1\n"), "{text}");
    let saved = fs::read_to_string(temp.0.join("saved")).unwrap();
    assert!(saved.starts_with("<transition_graph cluster-delay="), "{saved}");
    assert_eq!(fs::read_to_string(temp.0.join("cib.xml")).unwrap(), SMALL, "only -X writes to the input");
}

#[test]
fn what_has_to_be_done_is_computed_drawn_and_carried_out() {
    let temp = files();
    let args = ["-x", "cib.xml", "-S", "-G", "saved", "-D", "drawn"];
    let (exit, text, complaints) = simulate(&temp, &args);
    assert_eq!((exit, complaints.as_str()), (Some(0), ""));
    let end = "
Transition Summary:
  * Start      db      (    n1 )

Executing Cluster Transition:
  * Resource action: db              monitor on n1
  * Resource action: db              start on n1

Revised Cluster Status:
  * Node List:
    * Online: [ n1 ]

  * Full List of Resources:
    * db\t(ocf:pacemaker:Dummy):\t Started n1
";
    assert!(text.ends_with(end), "{text}");
    let saved = fs::read_to_string(temp.0.join("saved")).unwrap();
    assert!(saved.contains("operation_key=\"db_start_0\""), "{saved}");
    let mut drawn: Vec<String> =
        fs::read_to_string(temp.0.join("drawn")).unwrap().lines().map(str::to_owned).collect();
    drawn.sort();
    // As crm_simulate 2.1.5 draws it.
    assert_eq!(
        drawn,
        [
            " digraph \"g\" {",
            "\"db_monitor_0 n1\" -> \"db_start_0 n1\" [ style = bold]",
            "\"db_monitor_0 n1\" [ style=bold color=\"green\" fontcolor=\"black\"]",
            "\"db_start_0 n1\" [ style=bold color=\"green\" fontcolor=\"black\"]",
            "}",
        ]
    );
}

#[test]
fn in_place_an_asked_for_failure_is_in_the_input_afterwards() {
    let temp = files();
    let args = ["-x", "cib.xml", "-X", "-Q", "--load-graph", "graph", "-F", "db_start_0@n1=1"];
    assert_eq!(simulate(&temp, &args), (Some(0), String::new(), String::new()));
    let (_, text, _) = simulate(&temp, &["-x", "cib.xml"]);
    assert!(text.contains("* db\t(ocf:pacemaker:Dummy):\t FAILED n1\n"), "{text}");
}

#[test]
fn a_graph_that_cannot_end_is_said_after_what_could_be_done() {
    let temp = files();
    let never = r#"<inputs><trigger><pseudo_event id="9" operation="stop" operation_key="x_stop_0"/></trigger></inputs>"#;
    fs::write(temp.0.join("graph"), GRAPH.replace("<inputs/>", never)).unwrap();
    let (exit, text, complaints) = simulate(&temp, &["-x", "cib.xml", "-S", "--load-graph", "graph"]);
    assert_eq!(exit, Some(1));
    assert_eq!(complaints, "Transition failed: terminated\nAn invalid transition was produced\n");
    assert!(text.contains("Revised Cluster Status:"), "{text}");
}

#[test]
fn every_document_of_a_folder_is_timed_and_a_bad_one_does_not_end_it() {
    let temp = files();
    fs::write(temp.0.join("bad.xml"), GRAPH).unwrap();
    let (exit, text, complaints) = simulate(&temp, &["-P", ".", "-N", "2"]);
    assert_eq!(exit, Some(73));
    assert!(text.starts_with("Timings:\n  * Testing ./cib.xml ... "), "{text}");
    assert!(complaints.contains("bad.xml: the document's top element is not <cib>"), "{complaints}");
}

#[test]
fn the_live_document_is_the_one_that_the_environment_names() {
    let temp = files();
    let (exit, _, complaints) = run(holdfast(&temp.0).args(["simulate", "-L"]).env_remove("CIB_file"));
    assert_eq!(exit, Some(102), "as all commands that cannot reach the cluster: {complaints}");
    assert!(complaints.contains("-x FILE"), "{complaints}");
    let (exit, text, _) =
        run(holdfast(&temp.0).args(["simulate", "-L"]).env("CIB_file", temp.0.join("cib.xml")));
    assert_eq!(exit, Some(0));
    assert!(text.contains("* db\t(ocf:pacemaker:Dummy):\t Stopped\n"), "{text}");
}

/// Ways to ask, each as one would type it.
const ASKED: [&str; 24] = [
    "",
    "-A",
    "-c",
    "-A -c",
    "-R",
    "-S",
    "-A -c -S",
    "-s",
    "-U",
    "-s -U",
    "-s -Q",
    "-U -Q",
    "-s -U -Q",
    "-s -S",
    "-U -R -w 1",
    "-s -U -A -c -S",
    "-S -Q -s",
    "-S -Q",
    "--text-fancy -s -U -S -A -c",
    "--text-fancy -U -Q",
    "--text-fancy -s -Q -S",
    "-s -d n2 -q 0",
    "-S -d n2 -F ip_start_0@n1=1",
    "-s -S -t 2026-12-24T18:00:00Z",
];

#[test]
fn every_way_to_ask_is_answered_as_by_the_installed_command() {
    let version = std::process::Command::new("crm_simulate").arg("--version").output();
    if !version.is_ok_and(|o| String::from_utf8_lossy(&o.stdout).contains("Pacemaker 2.1.5")) {
        eprintln!("skipped: crm_simulate 2.1.5 is not installed (package pacemaker-cli-utils)");
        return;
    }
    let temp = Temp::new();
    fs::write(temp.0.join("cib.xml"), include_str!("testdata/simulate.xml")).unwrap();
    let mut wrong = Vec::new();
    for asked in ASKED {
        let options = asked.split_whitespace();
        let ask = |command: &mut std::process::Command| {
            run(command.args(["-x", "cib.xml"]).args(options.clone()).current_dir(&temp.0).env("TZ", "UTC"))
        };
        let theirs = ask(&mut std::process::Command::new("crm_simulate"));
        let ours = ask(holdfast(&temp.0).arg("simulate"));
        if (ours.0, &ours.1) != (theirs.0, &theirs.1) {
            wrong.push(format!("crm_simulate {asked}\n{theirs:#?}\nbut ours\n{ours:#?}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), ASKED.len(), wrong.join("\n"));
}

/// As documents for programs, the same; and of every recorded case where they lie beside the checkout.
#[test]
fn documents_for_programs_are_those_of_the_installed_command() {
    let version = std::process::Command::new("crm_simulate").arg("--version").output();
    if !version.is_ok_and(|o| String::from_utf8_lossy(&o.stdout).contains("Pacemaker 2.1.5")) {
        eprintln!("skipped: crm_simulate 2.1.5 is not installed (package pacemaker-cli-utils)");
        return;
    }
    let temp = Temp::new();
    fs::write(temp.0.join("cib.xml"), include_str!("testdata/simulate.xml")).unwrap();
    run(holdfast(&temp.0).args(["link", "."]).current_dir(&temp.0));
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/conformance/scheduler/cases/xml");
    let cases = fs::read_dir(cases).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut cases: Vec<PathBuf> = cases.collect();
    cases.sort();
    let own = [
        "-S",
        "-R",
        "-s",
        "-sQ",
        "-SU",
        "-SsU",
        "-RAc",
        "-SQ -t 2026-01-01",
        "-S -d n1 -q 0 -g t -i db_monitor_10000@n2=1",
    ];
    let own = own.iter().map(|asked| (PathBuf::from("cib.xml"), *asked));
    // Some of them, in one way each: all of them take a minute.
    let recorded = cases.into_iter().step_by(10).zip(["-S", "-SsU", "-RAc"].into_iter().cycle());
    let mut wrong = Vec::new();
    let mut total = 0;
    for (document, asked) in own.chain(recorded) {
        total += 1;
        let ask = |command: &mut std::process::Command| {
            let command = command.arg("-x").arg(&document).args(asked.split(' ')).arg("--output-as=xml");
            let (exit, said, _) = run(command.current_dir(&temp.0).env("TZ", "UTC"));
            let said = said.replace("./crm_simulate", "crm_simulate");
            // What is different each time: when it was asked.
            let said: Vec<String> =
                said.lines().filter(|l| !l.contains("last-failure-")).map(str::to_owned).collect();
            (exit, said)
        };
        let theirs = ask(&mut std::process::Command::new("crm_simulate"));
        let ours = ask(&mut std::process::Command::new("./crm_simulate"));
        if ours != theirs {
            let differ = theirs.1.iter().zip(&ours.1).find(|(a, b)| a != b);
            wrong.push(format!("{} {asked}: {:?} {:?} {differ:#?}", document.display(), theirs.0, ours.0));
        }
    }
    assert!(wrong.is_empty(), "{} of {total}:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn what_is_said_goes_to_a_file_where_that_is_asked_for() {
    let temp = files();
    let (_, told, _) = simulate(&temp, &["-x", "cib.xml", "-S"]);
    let args = ["-x", "cib.xml", "-S", "--output-to", "told"];
    assert_eq!(simulate(&temp, &args), (Some(0), String::new(), String::new()));
    assert_eq!(fs::read_to_string(temp.0.join("told")).unwrap(), told);
    assert_eq!(simulate(&temp, &["-x", "cib.xml", "-S", "--output-to", "-"]).1, told, "standard output");
    let (exit, _, complaints) = simulate(&temp, &["-x", "cib.xml", "--output-to", "no/such/folder"]);
    assert_eq!(exit, Some(105), "{complaints}");
}
