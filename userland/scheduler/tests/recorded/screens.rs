//! The screens that operators are shown in each fault of a two-node database cluster, in the layouts of Pacemaker 1.1.13 and 2.1,
//! from documents that describe those moments. What stands in the files below `screens/` is what was promised; the documents are
//! shown to the peer, too, where it is installed.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use cib::{Element, Moment};
use scheduler::{Details, Monitor, Sections, WorkingSet, old_monitor};

use super::monitored::{clock, peer, unlike, words};

const CONFIGURATION: &str = include_str!("screens/config.xml");

/// Wed May 25 16:35:00 2016.
const NOW: Moment = Moment(1_464_194_100);
/// Wed May 25 16:30:05 2016.
const FAILED_AT: i64 = 1_464_193_805;

const SERVICE: [&str; 4] =
    ["prmExPostgreSQLDB", "prmFsPostgreSQLDB", "prmIpPostgreSQLDB", "prmApPostgreSQLDB"];
const CLONES: [&str; 3] = ["prmPing", "prmDiskd1", "prmDiskd2"];
/// The devices that fence the other node.
const DEVICES: [[&str; 2]; 2] = [["prmStonith2-1", "prmStonith2-2"], ["prmStonith1-1", "prmStonith1-2"]];

#[derive(Clone, Copy, PartialEq)]
enum State {
    Up,
    /// It is gone, and what it may still run is not known.
    Lost,
    /// It is gone, and was fenced.
    Down,
}

/// What of the database failed, and is told.
#[derive(Clone, Copy, PartialEq)]
enum Failure {
    None,
    Monitor,
    Stop,
}

/// A node of a moment.
#[derive(Clone, Copy)]
struct Node {
    state: State,
    /// It runs the service.
    service: bool,
    /// It runs its fence devices and its instances of the clones.
    helpers: bool,
    standby: bool,
    ping: &'static str,
    shared: &'static str,
    internal: &'static str,
    failure: Failure,
}

const STANDBY: Node = Node {
    state: State::Up,
    service: false,
    helpers: true,
    standby: false,
    ping: "100",
    shared: "normal",
    internal: "normal",
    failure: Failure::None,
};
const ACTIVE: Node = Node { service: true, ..STANDBY };
const GONE: Node = Node { state: State::Down, ..STANDBY };

/// A name, both nodes, and constraints that are there besides.
fn moments() -> Vec<(&'static str, [Node; 2], &'static str)> {
    let banned = r#"<rsc_location id="cli-ban-grpPostgreSQLDB-on-srv01" rsc="grpPostgreSQLDB" role="Started" node="srv01" score="-INFINITY"/>"#;
    let moved = r#"<rsc_location id="cli-ban-grpPostgreSQLDB-on-srv02" rsc="grpPostgreSQLDB" role="Started" node="srv02" score="-INFINITY"/>
        <rsc_location id="cli-prefer-grpPostgreSQLDB" rsc="grpPostgreSQLDB" role="Started" node="srv01" score="INFINITY"/>"#;
    let failed = Node { failure: Failure::Monitor, ..STANDBY };
    let stuck = Node { failure: Failure::Stop, ..ACTIVE };
    vec![
        ("healthy", [ACTIVE, STANDBY], ""),
        ("service-failed", [failed, ACTIVE], ""),
        ("network-lost", [Node { ping: "0", ..STANDBY }, ACTIVE], ""),
        ("split", [ACTIVE, GONE], ""),
        ("node-lost", [Node { state: State::Lost, ..ACTIVE }, STANDBY], ""),
        ("node-fenced", [GONE, ACTIVE], ""),
        ("disk-failed", [Node { internal: "ERROR", ..stuck }, STANDBY], ""),
        ("cable-pulled", [Node { shared: "ERROR", ..STANDBY }, ACTIVE], ""),
        ("stop-failed", [stuck, STANDBY], banned),
        ("stop-failed-fenced", [GONE, ACTIVE], banned),
        ("standby", [Node { standby: true, helpers: false, ..failed }, ACTIVE], ""),
        ("moved-back", [ACTIVE, STANDBY], moved),
    ]
}

/// The document of a moment.
fn document(nodes: &[Node; 2], constraints: &str) -> String {
    let configuration = Element::parse(CONFIGURATION, "screens/config.xml").unwrap();
    let mut status = String::from("<status>\n");
    for (at, node) in nodes.iter().enumerate() {
        status += &node_state(&configuration, at, node);
    }
    let standby = |at: usize| {
        let id = at + 1;
        if nodes[at].standby {
            format!(
                r#"<node id="{id}" uname="srv0{id}"><instance_attributes id="nodes-{id}"><nvpair id="nodes-{id}-standby" name="standby" value="on"/></instance_attributes></node>"#
            )
        } else {
            format!(r#"<node id="{id}" uname="srv0{id}"/>"#)
        }
    };
    let dc = if nodes[0].state == State::Up { 1 } else { 2 };
    CONFIGURATION
        .replacen(
            "<cib ",
            &format!(
                r#"<cib cib-last-written="Wed May 25 16:20:11 2016" update-user="root" update-client="cibadmin" update-origin="srv01" have-quorum="1" dc-uuid="{dc}" "#
            ),
            1,
        )
        .replacen(
            "</cluster_property_set>",
            r#"<nvpair name="cluster-infrastructure" value="corosync" id="o-stack"/><nvpair name="dc-version" value="VERSION" id="o-version"/></cluster_property_set>"#,
            1,
        )
        .replacen(r#"<node id="1" uname="srv01"/>"#, &standby(0), 1)
        .replacen(r#"<node id="2" uname="srv02"/>"#, &standby(1), 1)
        .replacen("</constraints>", &format!("{constraints}</constraints>"), 1)
        .replacen("</cib>", &(status + "</status></cib>"), 1)
}

fn node_state(configuration: &Element, at: usize, node: &Node) -> String {
    let id = at + 1;
    let (in_ccm, crmd, join) = match node.state {
        State::Up => ("true", "online", "member"),
        State::Lost => ("false", "offline", "member"),
        State::Down => ("false", "offline", "down"),
    };
    let mut out = format!(
        r#"<node_state id="{id}" uname="srv0{id}" in_ccm="{in_ccm}" crmd="{crmd}" join="{join}" expected="{join}" crm-debug-origin="test">"#
    );
    if node.state == State::Down {
        return out + "</node_state>\n";
    }
    let mut attributes = vec![
        ("default_ping_set", node.ping.to_owned()),
        ("diskcheck_status", node.shared.to_owned()),
        ("diskcheck_status_internal", node.internal.to_owned()),
    ];
    let failed = match node.failure {
        Failure::None => None,
        Failure::Monitor => Some(("monitor_10000", "1")),
        Failure::Stop => Some(("stop_0", "INFINITY")),
    };
    let names: Vec<(String, String)> = failed
        .into_iter()
        .flat_map(|(operation, count)| {
            [
                (format!("fail-count-prmApPostgreSQLDB#{operation}"), count.to_owned()),
                (format!("last-failure-prmApPostgreSQLDB#{operation}"), FAILED_AT.to_string()),
            ]
        })
        .collect();
    attributes.extend(names.iter().map(|(name, value)| (name.as_str(), value.clone())));
    let _ = write!(out, r#"<transient_attributes id="{id}"><instance_attributes id="status-{id}">"#);
    for (number, (name, value)) in attributes.iter().enumerate() {
        let _ = write!(out, r#"<nvpair id="status-{id}-{number}" name="{name}" value="{value}"/>"#);
    }
    let _ = write!(out, r#"</instance_attributes></transient_attributes><lrm id="{id}"><lrm_resources>"#);
    let mut call = 10;
    let helpers = CLONES.iter().chain(&DEVICES[at]);
    let runs = SERVICE.iter().map(|r| (*r, node.service)).chain(helpers.map(|r| (*r, node.helpers)));
    for (resource, runs) in runs {
        let agent = configuration.find_id(resource).unwrap();
        let provider = agent.get("provider").map_or(String::new(), |p| format!(r#" provider="{p}""#));
        let (class, kind) = (agent.get("class").unwrap(), agent.get("type").unwrap());
        let _ = write!(out, r#"<lrm_resource id="{resource}" class="{class}"{provider} type="{kind}">"#);
        let failure = node.failure;
        let failed = resource == "prmApPostgreSQLDB" && failure != Failure::None;
        call += 10;
        if failed && failure == Failure::Monitor {
            out += &operation(resource, "last_failure_0", "monitor", 10_000, (7, 0), 77, id);
            out += &operation(resource, "last_0", "stop", 0, (0, 0), 80, id);
        } else if failed {
            out += &operation(resource, "last_failure_0", "stop", 0, (1, 0), 77, id);
            out += &operation(resource, "last_0", "stop", 0, (1, 0), 77, id);
        } else if runs {
            out += &operation(resource, "last_0", "start", 0, (0, 0), call, id);
        } else {
            out += &operation(resource, "last_0", "monitor", 0, (7, 7), call, id);
        }
        out += "</lrm_resource>";
    }
    out + "</lrm_resources></lrm></node_state>\n"
}

/// An entry of the history; `rc`: what came of it, and what was expected.
fn operation(
    resource: &str,
    entry: &str,
    task: &str,
    interval: u32,
    rc: (u32, u32),
    call: u32,
    node: usize,
) -> String {
    let (rc, expected) = rc;
    format!(
        r#"<lrm_rsc_op id="{resource}_{entry}" operation_key="{resource}_{task}_{interval}" operation="{task}" interval="{interval}" call-id="{call}" rc-code="{rc}" op-status="0" transition-key="1:1:{expected}:t" transition-magic="0:{rc};1:1:{expected}:t" on_node="srv0{node}" last-rc-change="{FAILED_AT}" exec-time="0" queue-time="0" crm_feature_set="3.16.1" op-digest="x"/>"#
    )
}

fn screen(document: &str, old: bool) -> String {
    let root = Element::parse(document, "test").unwrap();
    let mut set = WorkingSet::new(&root, NOW).unwrap();
    let asked = Monitor {
        sections: Sections::SUMMARY
            .with(Sections::NODES)
            .with(Sections::RESOURCES)
            .with(Sections::FAILURES)
            .with(Sections::FAILCOUNTS)
            .with(Sections::ATTRIBUTES)
            .with(Sections::BANS),
        details: Details { pending: true, ..Details::default() },
        only_node: None,
        only_resource: None,
        ban_prefix: None,
        fencing: None,
        clock: words(NOW),
    };
    if old { old_monitor(&mut set, &asked) } else { asked.text(&mut set) }
}

/// From the list of nodes on: the summary is the same in all of them.
fn below_the_summary(screen: &str, old: bool) -> &str {
    let at = if old { screen.find("\n\n\n").map(|at| at + 3) } else { screen.find("Node List:") };
    &screen[at.unwrap_or(0)..]
}

#[test]
fn the_screens_of_every_fault_are_as_they_were_promised_in_both_layouts() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recorded/screens");
    let mut wrong = Vec::new();
    for (name, nodes, constraints) in moments() {
        for (layout, old, version) in [("1.1", true, "1.1.13-6052cd1"), ("2.1", false, "2.1.5-a3f44794f94")] {
            let document = document(&nodes, constraints).replace("VERSION", version);
            let want = fs::read_to_string(folder.join(format!("{name}.{layout}.txt"))).unwrap();
            let shown = screen(&document, old);
            let have = if name == "healthy" { &shown } else { below_the_summary(&shown, old) };
            if have != want {
                wrong.push(format!("{name}.{layout}: want\n{want}\nhave\n{have}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_documents_of_every_fault_are_shown_as_the_peer_shows_them() {
    if !peer() {
        return;
    }
    struct Gone(PathBuf);
    impl Drop for Gone {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }
    let folder = Gone(std::env::temp_dir().join(format!("holdfast-screens-{}", std::process::id())));
    fs::create_dir_all(&folder.0).unwrap();
    let mut files = Vec::new();
    for (name, nodes, constraints) in moments() {
        let file = folder.0.join(format!("{name}.xml"));
        fs::write(&file, document(&nodes, constraints).replace("VERSION", "2.1.5-a3f44794f94")).unwrap();
        files.push(file);
    }
    let found = super::monitored::each(&files, |file| unlike(file, clock()));
    let wrong: Vec<&String> = found.iter().flat_map(|(_, found)| found).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(found.iter().all(|(compared, _)| *compared > 9), "the peer refuses a document: {found:?}");
}
