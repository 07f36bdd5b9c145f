//! The moments after each fault case and on the way back, made from the reference configuration by carrying transitions out on paper: what
//! `why` and `doctor` say of them.

#![forbid(unsafe_code)]

use advice::{Answer, Diagnosis, Fencing, Pattern, View, planned, watched};
use cib::{Element, Moment};
use logconv::{Cause, Event};
use scheduler::WorkingSet;
use scheduler::simulate::{Injections, carry_out, inject};

const BEGIN: i64 = 1_464_161_000;

/// A cluster on paper: its document, and its clock.
struct Site {
    cib: Element,
    now: i64,
    fencing: Vec<Fencing>,
}

impl Site {
    /// Both nodes up, all well.
    fn new() -> Self {
        let cib = Element::parse(include_str!("reference.xml"), "reference.xml").unwrap();
        let mut site = Self { cib: cib::upgrade(cib).root, now: BEGIN, fencing: Vec::new() };
        let up = ["srv01", "srv02"].map(str::to_owned).to_vec();
        site.inject(&Injections { node_up: up, ..Injections::default() });
        for node in ["srv01", "srv02"] {
            site.attributes(node);
        }
        site.settle();
        assert_eq!(site.why("grpPostgreSQLDB").to.as_deref(), Some("srv01"));
        site
    }

    fn attributes(&mut self, node: &str) {
        self.attribute(node, "default_ping_set", "100");
        self.attribute(node, "diskcheck_status", "normal");
        self.attribute(node, "diskcheck_status_internal", "normal");
    }

    fn inject(&mut self, asked: &Injections) {
        self.now += 10;
        let set = WorkingSet::new(&self.cib, Moment(self.now)).unwrap();
        self.cib = inject(&set, asked, Moment(self.now)).cib;
    }

    /// The cluster does what it has to, until nothing is left.
    fn settle(&mut self) {
        self.settle_with(&[]);
    }

    fn settle_with(&mut self, failures: &[&str]) {
        let failures: Vec<String> = failures.iter().map(|f| (*f).to_owned()).collect();
        for round in 0..20 {
            self.now += 3;
            let mut set = WorkingSet::new(&self.cib, Moment(self.now)).unwrap();
            set.place();
            set.schedule();
            let graph = set.graph();
            let done = carry_out(&graph, &set, if round == 0 { &failures } else { &[] }, Moment(self.now));
            if done.events.is_empty() {
                return;
            }
            for event in &done.events {
                if let scheduler::simulate::Event::Fencing { node, action } = event {
                    self.fencing.push(Fencing {
                        target: node.clone(),
                        action: action.clone(),
                        state: "success".into(),
                        delegate: "srv02".into(),
                        completed_us: self.now * 1_000_000,
                        ..Fencing::default()
                    });
                }
            }
            self.cib = done.cib;
        }
        panic!("it does not settle");
    }

    fn state(&mut self, node: &str) -> &mut Element {
        let states = &mut self.cib.child_mut("status").children;
        states.iter_mut().find(|s| s.get("uname") == Some(node)).unwrap()
    }

    /// A transient attribute of a node.
    fn attribute(&mut self, node: &str, name: &str, value: &str) {
        self.now += 1;
        let set = self.state(node).child_mut("transient_attributes").child_mut("instance_attributes");
        if set.id().is_none() {
            set.attributes.insert("id", format!("status-{node}"));
        }
        let id = format!("status-{node}-{name}");
        set.children.retain(|c| c.id() != Some(&id));
        set.children.push(Element::new("nvpair").with("id", &id).with("name", name).with("value", value));
    }

    /// A monitor's result that nobody expected, with its fail count.
    fn monitor_fails(&mut self, resource: &str, node: &str) {
        let result = format!("{resource}_monitor_10000@{node}=7");
        self.inject(&Injections { op_inject: vec![result], ..Injections::default() });
    }

    fn constraint(&mut self, id: &str, resource: &str, node: &str, score: &str) {
        let constraint = Element::new("rsc_location")
            .with("id", id)
            .with("rsc", resource)
            .with("role", "Started")
            .with("node", node)
            .with("score", score);
        self.cib.child_mut("configuration").child_mut("constraints").children.push(constraint);
    }

    /// `crm_resource -M -r RESOURCE -N node -f` away from `from`.
    fn move_to(&mut self, node: &str, from: &str) {
        self.constraint("cli-prefer-grpPostgreSQLDB", "grpPostgreSQLDB", node, "INFINITY");
        self.constraint(&format!("cli-ban-grpPostgreSQLDB-on-{from}"), "grpPostgreSQLDB", from, "-INFINITY");
        self.settle();
    }

    /// `crm_resource -U`
    fn clear(&mut self) {
        let constraints = &mut self.cib.child_mut("configuration").child_mut("constraints").children;
        constraints.retain(|c| !c.id().is_some_and(|id| id.starts_with("cli-")));
    }

    fn standby(&mut self, node: &str, on: bool) {
        let nodes = &mut self.cib.child_mut("configuration").child_mut("nodes").children;
        let node = nodes.iter_mut().find(|n| n.get("uname") == Some(node)).unwrap();
        node.children.clear();
        if on {
            let pair = Element::new("nvpair").with("id", "sb").with("name", "standby").with("value", "on");
            let mut set = Element::new("instance_attributes").with("id", "sba");
            set.children.push(pair);
            node.children.push(set);
        }
        self.settle();
    }

    fn lost(&mut self, node: &str) {
        self.inject(&Injections { node_fail: vec![node.to_owned()], ..Injections::default() });
    }

    fn back(&mut self, node: &str) {
        self.inject(&Injections { node_up: vec![node.to_owned()], ..Injections::default() });
        self.attributes(node);
        self.settle();
    }

    /// `crm_resource -C -r RESOURCE -N NODE`
    fn cleanup(&mut self, resource: &str, node: &str) {
        let state = self.state(node);
        let attributes = state.child_mut("transient_attributes").child_mut("instance_attributes");
        let of_it = |name: &str| {
            name.starts_with(&format!("fail-count-{resource}"))
                || name.starts_with(&format!("last-failure-{resource}"))
        };
        attributes.children.retain(|c| !c.get("name").is_some_and(of_it));
        let resources = &mut state.child_mut("lrm").child_mut("lrm_resources").children;
        for lrm in resources.iter_mut().filter(|r| r.id() == Some(resource)) {
            lrm.children.retain(|op| {
                op.get("rc-code") == Some("0")
                    || op.get("operation") == Some("stop") && op.get("rc-code") == Some("0")
            });
        }
    }

    fn why(&self, name: &str) -> Answer {
        let view = View::new(&self.cib, &self.fencing, Moment(self.now)).unwrap();
        view.why(name).unwrap_or_else(|| panic!("no {name}"))
    }

    fn doctor(&self) -> Diagnosis {
        View::new(&self.cib, &self.fencing, Moment(self.now)).unwrap().doctor()
    }

    fn next(&self) -> String {
        self.doctor().next.unwrap_or_default()
    }

    fn pattern(&self) -> Option<Pattern> {
        self.doctor().recovery.map(|r| r.pattern)
    }
}

const GROUP: &str = "grpPostgreSQLDB";

fn says(answer: &Answer, pieces: &[&str]) {
    for piece in pieces {
        assert!(answer.sentence.contains(piece), "{piece:?} in {answer:#?}");
    }
    assert_eq!(answer.sentence.matches(". ").count(), 0, "one sentence: {}", answer.sentence);
}

#[test]
fn a_healthy_cluster_needs_nothing() {
    let site = Site::new();
    let found = site.doctor();
    assert!(!found.to_do && found.next.is_none() && found.findings.is_empty(), "{found:#?}");
    let answer = site.why(GROUP);
    assert_eq!((answer.cause, answer.from.as_deref()), (Cause::None, None));
    says(&answer, &["runs on srv01"]);
    says(&site.why("srv01"), &["srv01 is up"]);
    assert!(View::new(&site.cib, &[], Moment(site.now)).unwrap().why("nothing").is_none());
    assert_eq!(watched(&site.cib), ["prmExPostgreSQLDB", "prmApPostgreSQLDB"]);
}

#[test]
fn case_1_a_resource_failed_and_pattern_1_leads_back() {
    let mut site = Site::new();
    site.monitor_fails("prmApPostgreSQLDB", "srv01");
    let mut set = WorkingSet::new(&site.cib, Moment(site.now)).unwrap();
    set.place();
    let moved = || logconv::Planned::Move { from: "srv01".into(), to: "srv02".into() };
    let all = ["prmExPostgreSQLDB", "prmFsPostgreSQLDB", "prmIpPostgreSQLDB", "prmApPostgreSQLDB"];
    assert_eq!(planned(&set), all.map(|id| (id.to_owned(), moved())));
    site.settle();
    for name in [GROUP, "prmApPostgreSQLDB", "prmExPostgreSQLDB"] {
        let answer = site.why(name);
        assert_eq!(answer.cause, Cause::Resource, "{answer:#?}");
        assert_eq!((answer.from.as_deref(), answer.to.as_deref()), (Some("srv01"), Some("srv02")));
        says(&answer, &["moved from srv01 to srv02", "failed on srv01", "monitor found it not running (7)"]);
        assert_eq!(answer.commands, ["crm_resource -C -r prmApPostgreSQLDB -N srv01"]);
    }
    assert_eq!(site.pattern(), Some(Pattern::Resource));
    assert_eq!(site.next(), "crm_standby -U srv01 -v on");
    site.standby("srv01", true);
    assert_eq!(site.next(), "crm_resource -C -r prmApPostgreSQLDB -N srv01");
    assert_eq!(site.why(GROUP).cause, Cause::Resource, "standby came after it");
    site.cleanup("prmApPostgreSQLDB", "srv01");
    assert_eq!(site.next(), "crm_standby -U srv01 -v off");
    site.standby("srv01", false);
    let found = site.doctor();
    assert!(!found.to_do, "{found:#?}");
    // What is left is a wish.
    let step = found.recovery.as_ref().and_then(|r| r.next()).unwrap().clone();
    assert!(step.optional && step.command == "crm_resource -M -r grpPostgreSQLDB -N srv01 -f -Q", "{step:?}");
    site.move_to("srv01", "srv02");
    let answer = site.why(GROUP);
    assert_eq!((answer.cause, answer.to.as_deref()), (Cause::Operator, Some("srv01")), "{answer:#?}");
    says(&answer, &["an operator moved it", "cli-ban-grpPostgreSQLDB-on-srv02"]);
    assert_eq!(site.next(), "crm_resource -U -r grpPostgreSQLDB");
    site.clear();
    assert!(!site.doctor().to_do);
}

#[test]
fn case_2_the_network_failed_and_the_constraint_is_named() {
    let mut site = Site::new();
    site.attribute("srv01", "default_ping_set", "0");
    site.settle();
    let answer = site.why(GROUP);
    assert_eq!(answer.cause, Cause::Score, "{answer:#?}");
    says(
        &answer,
        &[
            "moved from srv01 to srv02",
            "default_ping_set is 0 on srv01",
            "rsc_location-grpPostgreSQLDB-3-rule-1",
        ],
    );
    assert_eq!(
        (site.pattern(), site.next().as_str()),
        (Some(Pattern::Network), "crm_standby -U srv01 -v on")
    );
    let view = View::new(&site.cib, &[], Moment(site.now)).unwrap();
    let reasons = view.reasons(&watched(&site.cib));
    let refused = reasons.iter().find_map(|e| match e {
        Event::Refused { node, constraint, .. } => {
            Some((node.clone(), constraint.clone().unwrap_or_default()))
        }
        _ => None,
    });
    assert_eq!(
        refused,
        Some(("srv01".into(), "rsc_location-grpPostgreSQLDB-3-rule-1".into())),
        "{reasons:?}"
    );
    assert!(matches!(&reasons[1], Event::Chosen { node, .. } if node == "srv02"), "{reasons:?}");
    // Repaired without standby: nothing is left, and the group stays.
    site.attribute("srv01", "default_ping_set", "100");
    site.settle();
    assert!(!site.doctor().to_do);
    let answer = site.why(GROUP);
    assert_eq!((answer.cause, answer.from.as_deref()), (Cause::None, Some("srv01")));
    assert!(answer.sentence.contains("operator's log"), "{answer:#?}");
}

#[test]
fn case_3_the_standby_was_fenced_and_nothing_moved() {
    let mut site = Site::new();
    site.lost("srv02");
    site.settle();
    let answer = site.why(GROUP);
    assert_eq!((answer.cause, answer.from.as_deref()), (Cause::None, None), "{answer:#?}");
    let answer = site.why("srv02");
    assert_eq!(answer.cause, Cause::Node);
    says(&answer, &["srv02 is offline", "fenced (reboot)"]);
    assert_eq!(site.pattern(), Some(Pattern::Standby));
    assert!(site.next().contains("power srv02 on"), "{:#?}", site.doctor());
    site.back("srv02");
    assert!(!site.doctor().to_do, "{:#?}", site.doctor());
}

#[test]
fn cases_4_to_6_the_node_was_lost_and_pattern_2_leads_back() {
    let mut site = Site::new();
    site.lost("srv01");
    // Before it is fenced.
    let found = site.doctor();
    assert!(found.to_do && found.findings[0].kind == "unclean", "{found:#?}");
    assert_eq!(site.pattern(), Some(Pattern::Disk));
    assert!(site.next().contains("stonith_admin -C srv01"));
    let answer = site.why("srv01");
    says(&answer, &["srv01 is UNCLEAN", "not fenced yet"]);
    site.settle();
    for fencing in [site.fencing.clone(), Vec::new()] {
        // With the history of fencing, and from the document alone.
        site.fencing = fencing;
        let answer = site.why(GROUP);
        assert_eq!(answer.cause, Cause::Node, "{answer:#?}");
        says(&answer, &["moved from srv01 to srv02", "srv01 was lost"]);
    }
    assert_eq!(site.pattern(), Some(Pattern::Node));
    assert!(site.next().contains("power srv01 on"));
    site.back("srv01");
    let found = site.doctor();
    assert!(!found.to_do, "{found:#?}");
    assert!(found.recovery.unwrap().next().unwrap().command.contains("-M -r grpPostgreSQLDB -N srv01"));
}

#[test]
fn fencing_that_failed_waits_for_a_human() {
    let mut site = Site::new();
    site.lost("srv01");
    site.fencing.push(Fencing {
        target: "srv01".into(),
        action: "reboot".into(),
        state: "failed".into(),
        delegate: "srv02".into(),
        completed_us: site.now * 1_000_000,
        exit_reason: "No route to host".into(),
        ..Fencing::default()
    });
    let found = site.doctor();
    assert_eq!(found.next.as_deref(), Some("stonith_admin -C srv01"), "{found:#?}");
    assert!(found.findings[0].what.contains("No route to host"));
    says(&site.why("srv01"), &["UNCLEAN", "could not be fenced"]);
}

#[test]
fn cases_7_and_8_a_disk_failed_and_pattern_3_leads_back() {
    for (attribute, rule) in [("diskcheck_status_internal", "rule-3"), ("diskcheck_status", "rule-2")] {
        let mut site = Site::new();
        site.attribute("srv01", attribute, "ERROR");
        site.settle();
        let answer = site.why(GROUP);
        assert_eq!(answer.cause, Cause::Score);
        says(&answer, &[&format!("{attribute} is ERROR on srv01"), rule]);
        assert_eq!((site.pattern(), site.next().as_str()), (Some(Pattern::Disk), "stonith_admin -F srv01"));
        // Taken down by force.
        site.lost("srv01");
        site.settle();
        assert!(site.next().contains("power srv01 on"), "{:#?}", site.doctor());
        site.back("srv01");
        assert!(!site.doctor().to_do);
    }
}

#[test]
fn case_9_a_stop_failed_and_the_node_was_fenced() {
    let mut site = Site::new();
    site.monitor_fails("prmApPostgreSQLDB", "srv01");
    // The stop fails: its result, and what is to be done then.
    site.inject(&Injections {
        op_inject: vec!["prmApPostgreSQLDB_stop_0@srv01=1".into()],
        ..Injections::default()
    });
    let found = site.doctor();
    assert!(found.findings.iter().any(|f| f.kind == "unclean" && f.about == "srv01"), "{found:#?}");
    says(&site.why("srv01"), &["UNCLEAN", "prmApPostgreSQLDB could not be stopped there"]);
    site.settle();
    let answer = site.why(GROUP);
    assert_eq!(answer.cause, Cause::Node, "{answer:#?}");
    says(&answer, &["moved from srv01 to srv02"]);
    assert_eq!(site.pattern(), Some(Pattern::Node));
}

#[test]
fn a_forgotten_ban_is_the_reason_that_nothing_fails_over() {
    let mut site = Site::new();
    site.move_to("srv02", "srv01");
    let found = site.doctor();
    let ban = found.findings.iter().find(|f| f.kind == "ban" && f.what.contains("cli-ban")).unwrap();
    assert!(ban.what.contains("cannot fail over there") && ban.to_do, "{ban:?}");
    assert_eq!(ban.command, "crm_resource -U -r grpPostgreSQLDB");
    site.cib.attributes.insert("cib-last-written", "Wed May 25 05:23:20 2016");
    let found = site.doctor();
    let ban = found.findings.iter().find(|f| f.what.contains("cli-ban")).unwrap();
    assert!(
        ban.what.contains(", for 120 min at least") || ban.what.contains(", for 2 h at least"),
        "{ban:?}"
    );
    // A fault of the node that is left.
    site.attribute("srv02", "default_ping_set", "0");
    site.settle();
    let answer = site.why(GROUP);
    says(&answer, &["runs nowhere", "cli-ban-grpPostgreSQLDB-on-srv01", "default_ping_set is 0 on srv02"]);
    assert!(answer.commands.contains(&"crm_resource -U -r grpPostgreSQLDB".to_owned()), "{answer:#?}");
}

#[test]
fn what_else_can_be_wrong_is_found_with_its_command() {
    let mut site = Site::new();
    let kinds = |site: &Site| -> Vec<(&'static str, String)> {
        site.doctor().findings.into_iter().filter(|f| f.to_do).map(|f| (f.kind, f.command)).collect()
    };
    let set = |site: &mut Site, name: &str, value: &str| {
        let options =
            site.cib.child_mut("configuration").child_mut("crm_config").child_mut("cluster_property_set");
        options.children.retain(|c| c.get("name") != Some(name));
        options
            .children
            .push(Element::new("nvpair").with("id", name).with("name", name).with("value", value));
    };
    set(&mut site, "stonith-enabled", "false");
    assert_eq!(kinds(&site), [("fencing", "crm_attribute -n stonith-enabled -v true".to_owned())]);
    set(&mut site, "stonith-enabled", "true");
    set(&mut site, "maintenance-mode", "true");
    assert_eq!(kinds(&site), [("maintenance", "crm_attribute -n maintenance-mode -D".to_owned())]);
    set(&mut site, "maintenance-mode", "false");
    set(&mut site, "no-quorum-policy", "stop");
    site.cib.attributes.insert("have-quorum", "0");
    assert!(kinds(&site).contains(&("quorum", "holdfast quorum status".to_owned())));
    assert_eq!(site.next(), "holdfast quorum status");
    site.cib.attributes.insert("have-quorum", "1");
    // A node's clock.
    site.now -= 3_600;
    let found = site.doctor();
    assert!(found.findings.iter().any(|f| f.kind == "time" && f.about == "srv01"), "{found:#?}");
    site.now += 3_600;
    site.standby("srv02", true);
    assert_eq!(kinds(&site), [("standby", "crm_standby -U srv02 -v off".to_owned())]);
    assert_eq!(site.next(), "crm_standby -U srv02 -v off");
}

#[test]
fn a_stop_that_failed_without_fencing_blocks_and_is_said() {
    let mut site = Site::new();
    let text = site.cib.to_xml().replace(r#"on-fail="fence""#, r#"on-fail="block""#);
    site.cib = Element::parse(&text, "x").unwrap();
    site.monitor_fails("prmApPostgreSQLDB", "srv01");
    site.inject(&Injections {
        op_inject: vec!["prmApPostgreSQLDB_stop_0@srv01=1".into()],
        ..Injections::default()
    });
    let found = site.doctor();
    let blocked = found.findings.iter().find(|f| f.kind == "blocked").unwrap_or_else(|| panic!("{found:#?}"));
    assert_eq!(blocked.command, "crm_resource -C -r prmApPostgreSQLDB -N srv01");
    assert!(blocked.what.contains("stop returned an error (1)"), "{blocked:?}");
    assert_eq!(found.next.as_deref(), Some(blocked.command.as_str()));
}
