//! What the installed predecessor's checker calls valid is what ours calls valid, for documents with one thing changed.

use std::path::Path;

use conformance::{document, is_installed, mutate, peer_accepts, we_accept};

/// Seeds that the test command asks about.
const SEEDS: std::ops::Range<u64> = 0..150;

/// Of so many documents the two may judge so many otherwise: see docs/limits.md.
const TOLERANCE_PERCENT: usize = 4;

#[test]
fn changed_documents_are_judged_as_by_the_peer() {
    if !is_installed() {
        println!("skipped: crm_verify 2.1.5 is not installed (package pacemaker-cli-utils)");
        return;
    }
    let (mut accepted, mut refused, mut wrong) = (0, 0, Vec::new());
    for seed in SEEDS {
        let (text, what) = mutate(&base(seed), seed).unwrap();
        let Some(theirs) = peer_accepts(&text).unwrap() else { continue };
        if theirs {
            accepted += 1;
        } else {
            refused += 1;
        }
        let ours = we_accept(&text);
        if ours != theirs {
            wrong.push(format!("seed {seed}: {what}: the peer says {theirs}, we say {ours}"));
        }
    }
    println!("{accepted} valid, {refused} not, {} differ:\n{}", wrong.len(), wrong.join("\n"));
    // Few of the drawn clusters are valid before they are changed; of the recorded ones most are.
    assert!(accepted > 3 && refused > 50, "the changes are of one kind: {accepted} valid, {refused} not");
    assert!(wrong.len() * 100 <= (accepted + refused) * TOLERANCE_PERCENT, "{}", wrong.join("\n"));
}

#[test]
fn recorded_documents_are_judged_as_by_the_peer() {
    let folder = recorded();
    if !is_installed() || !folder.is_dir() {
        println!("skipped: needs crm_verify 2.1.5 (package pacemaker-cli-utils) and the recorded cases");
        return;
    }
    let mut wrong = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let (ours, theirs) = (we_accept(&text), peer_accepts(&text).unwrap());
        if theirs.is_some_and(|theirs| theirs != ours) {
            wrong.push(format!("{}: the peer says {theirs:?}, we say {ours}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A document with values in rules, in defaults and where a resource has its own.
fn with_values(attributes: &str, defaults: &str, constraints: &str) -> String {
    format!(
        r#"<cib validate-with="pacemaker-3.9" crm_feature_set="3.16.1" epoch="1" num_updates="0" admin_epoch="0" have-quorum="1"><configuration>
<crm_config><cluster_property_set id="o"><nvpair id="o1" name="stonith-enabled" value="false"/></cluster_property_set></crm_config>
<nodes><node id="1" uname="n1"/></nodes>
<resources><primitive id="a" class="ocf" provider="pacemaker" type="Dummy">{attributes}</primitive></resources>
<constraints>{constraints}</constraints><rsc_defaults>{defaults}</rsc_defaults></configuration><status/></cib>"#
    )
}

#[test]
fn values_in_rules_and_defaults_are_judged_as_by_the_peer() {
    if !is_installed() {
        println!("skipped: crm_verify 2.1.5 is not installed (package pacemaker-cli-utils)");
        return;
    }
    let block = |id: &str, rule: &str, name: &str, value: &str| {
        format!(
            r#"<meta_attributes id="{id}">{rule}<nvpair id="{id}-1" name="{name}" value="{value}"/></meta_attributes>"#
        )
    };
    let rule = |condition: &str| format!(r#"<rule id="r" score="1">{condition}</rule>"#);
    let rules = [
        String::new(),
        rule(r#"<rsc_expression id="e" type="Dummy"/>"#),
        rule(r#"<rsc_expression id="e" type="other"/>"#),
        rule(r#"<date_expression id="e" operation="lt" end="2000-01-01"/>"#),
        rule(r#"<date_expression id="e" operation="gt" start="2000-01-01"/>"#),
        rule(r#"<date_expression id="e" operation="gt" start="never"/>"#),
        rule(r##"<expression id="e" attribute="#uname" operation="defined"/>"##),
    ];
    let mut documents = Vec::new();
    for (name, good, bad) in [
        ("target-role", "Started", "running"),
        ("target-role", "Started", "Promoted"),
        ("requires", "quorum", "luck"),
        ("requires", "quorum", "unfencing"),
        ("multiple-active", "block", "many"),
        ("migration-threshold", "3", "-5"),
        ("resource-stickiness", "3", "sticky"),
    ] {
        for rule in &rules {
            let bad = block("bad", rule, name, bad);
            documents.push(with_values(&bad, "", ""));
            documents.push(with_values("", &bad, ""));
            // What the resource says itself counts before the defaults.
            documents.push(with_values(&block("good", "", name, good), &bad, ""));
        }
    }
    let expression = r##"<expression id="e" attribute="#uname" operation="eq" value="n1"/>"##;
    for role in ["Started", "promoted", "Slave", "Unknown", "", "running"] {
        let rule = format!(r#"<rule id="r" score="1" role="{role}">{expression}</rule>"#);
        documents.push(with_values(
            "",
            "",
            &format!(r#"<rsc_location id="l" rsc="a">{rule}</rsc_location>"#),
        ));
    }
    for pattern in ["a|b", "!a", "[", "!(", "*"] {
        let location = format!(r#"<rsc_location id="l" rsc-pattern="{pattern}" node="n1" score="1"/>"#);
        documents.push(with_values("", "", &location));
    }
    let lifetime = format!(
        r#"<rsc_location id="l" rsc="a" node="n1" score="1"><lifetime>{}</lifetime></rsc_location>"#,
        rule(expression)
    );
    documents.push(with_values("", "", &lifetime));
    assert_judged_alike(&documents, 20);
}

#[test]
fn operations_are_judged_as_by_the_peer_wherever_their_attributes_come_from() {
    if !is_installed() {
        println!("skipped: crm_verify 2.1.5 is not installed (package pacemaker-cli-utils)");
        return;
    }
    // Operations are judged where they are scheduled: one node is there, and one has a resource that has to stop.
    let running = r#"<lrm_resource id="a" class="ocf" provider="pacemaker" type="Dummy"><lrm_rsc_op id="a_last_0" operation_key="a_start_0" operation="start" crm_feature_set="3.16.1" transition-key="1:1:0:x" transition-magic="0:0;1:1:0:x" call-id="1" rc-code="0" op-status="0" interval="0"/></lrm_resource>"#;
    let status = |history: &str| {
        format!(
            r#"<status><node_state id="1" uname="n1" in_ccm="true" crmd="online" join="member" expected="member"><lrm id="1"><lrm_resources>{history}</lrm_resources></lrm></node_state></status>"#
        )
    };
    let stopped =
        r#"<meta_attributes id="s"><nvpair id="s1" name="target-role" value="Stopped"/></meta_attributes>"#;
    let mut documents = Vec::new();
    for (name, value) in [
        ("on-fail", "fence"),
        ("on-fail", "FENCE"),
        ("on-fail", "demote"),
        ("on-fail", "standby"),
        ("on-fail", "ignore"),
        ("on-fail", "luck"),
        ("interval-origin", "2020-01-01"),
        ("interval-origin", "never"),
        ("interval-origin", ""),
    ] {
        let block = format!(
            r#"<meta_attributes id="m"><nvpair id="m1" name="{name}" value="{value}"/></meta_attributes>"#
        );
        for (operation, interval) in [("start", "0"), ("stop", "0"), ("monitor", "10s")] {
            let whole = |inner: &str, defaults: &str, resource: &str, status: &str| {
                let operations = format!(
                    r#"{resource}<operations><op id="op" name="{operation}" interval="{interval}">{inner}</op></operations>"#
                );
                with_values(&operations, "", "")
                    .replace(
                        "</configuration>",
                        &format!("<op_defaults>{defaults}</op_defaults></configuration>"),
                    )
                    .replace("<status/>", status)
            };
            for (resource, status) in
                [("", "<status/>".to_owned()), ("", status("")), (stopped, status(running))]
            {
                documents.push(whole(&block, "", resource, &status));
                documents.push(whole("", &block, resource, &status));
            }
        }
    }
    for value in ["a", "nobody"] {
        let block = format!(
            r#"<meta_attributes id="m"><nvpair id="m1" name="container" value="{value}"/></meta_attributes>"#
        );
        documents.push(with_values(&block, "", ""));
        documents.push(with_values("", &block, ""));
    }
    assert_judged_alike(&documents, 30);
}

/// Each document is judged as by the peer, and of them at least so many are valid, and as many are not.
fn assert_judged_alike(documents: &[String], each_at_least: usize) {
    let (mut accepted, mut wrong) = (0, Vec::new());
    for text in documents {
        let theirs = peer_accepts(text).unwrap();
        accepted += usize::from(theirs == Some(true));
        let ours = we_accept(text);
        if theirs != Some(ours) {
            wrong.push(format!("the peer says {theirs:?}, we say {ours}:\n{text}"));
        }
    }
    let whole = documents.len();
    println!("{accepted} of {whole} valid");
    assert!(accepted > each_at_least && accepted + each_at_least < whole, "{accepted} of {whole} valid");
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

/// A recorded document where there are some, else a drawn one.
fn base(seed: u64) -> String {
    let mut files: Vec<_> =
        std::fs::read_dir(recorded()).into_iter().flatten().flatten().map(|e| e.path()).collect();
    files.sort();
    let index = usize::try_from(seed.wrapping_mul(7)).unwrap() % files.len().max(1);
    match files.get(index) {
        Some(path) => std::fs::read_to_string(path).unwrap(),
        None => document(seed),
    }
}

fn recorded() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/conformance/scheduler/cases/xml")
}
