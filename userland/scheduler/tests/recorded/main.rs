//! What is read of a document is what Pacemaker's tools read, and resources are placed by the same scores: own cases always,
//! the peers' recorded ones where they lie beside the checkout.

mod executed;
mod fencing;
mod graphs;
mod large;
mod monitored;
mod scheduled;
mod screens;

use std::fs;
use std::path::{Path, PathBuf};

use cib::{Element, Moment, Score};
use proptest::prelude::*;
use scheduler::{WorkingSet, current_status};

/// Recorded documents say themselves what time it is; for the others it does not matter.
const NOW: Moment = Moment(1_700_000_000);

fn status(document: &str) -> String {
    let root = cib::upgrade(Element::parse(document, "test").unwrap()).root;
    let recorded = WorkingSet::recorded_time(&root);
    let set = WorkingSet::new(&root, recorded.unwrap_or(NOW)).unwrap();
    current_status(&set, recorded.is_some())
}

/// The scores by which everything is placed, sorted: their order is no part of what is promised.
fn scores(document: &str, now: Option<Moment>) -> Vec<String> {
    let root = cib::upgrade(Element::parse(document, "test").unwrap()).root;
    let now = now.or(WorkingSet::recorded_time(&root)).unwrap_or(NOW);
    let mut set = WorkingSet::new(&root, now).unwrap();
    set.place();
    sorted(set.scores())
}

fn sorted(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = text.lines().filter(|l| !l.is_empty()).map(str::to_owned).collect();
    lines.sort();
    lines
}

/// Lines without their indentation and empty ones: the peer's runs differ in those.
fn lines(text: &str) -> Vec<String> {
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    text.lines().map(words).filter(|l| !l.is_empty()).collect()
}

/// The part of a recorded summary that is about the state as it is.
fn recorded(summary: &str) -> Vec<String> {
    let all = lines(summary);
    let end = all.iter().position(|l| l.starts_with("Transition Summary")).unwrap_or(all.len());
    all[..end].to_vec()
}

/// The folder of recorded cases.
fn cases() -> Option<PathBuf> {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/conformance/scheduler/cases");
    if !cases.exists() {
        println!("skipped: no recorded cases beside the checkout");
        return None;
    }
    Some(cases)
}

/// The floor: what was placed by the peer's scores once is so for ever. A case more is a line more here.
const PLACED: &str = include_str!("placed.txt");

#[test]
fn what_was_placed_by_the_peers_scores_once_still_is() {
    let Some(cases) = cases() else { return };
    let wrong: Vec<&str> = PLACED
        .lines()
        .filter(|line| {
            // Behind a name: the time that the case is run at.
            let (name, now) = line.split_once(' ').unwrap_or((line, ""));
            let read = |folder: &str, kind: &str| {
                fs::read_to_string(cases.join(folder).join(format!("{name}.{kind}"))).unwrap()
            };
            let now = (!now.is_empty()).then(|| Moment::parse(now).unwrap());
            scores(&read("xml", "xml"), now) != sorted(&read("scores", "scores"))
        })
        .collect();
    assert!(wrong.is_empty(), "{} of {}: {wrong:?}", wrong.len(), PLACED.lines().count());
}

#[test]
fn what_is_said_of_a_score_adds_up_to_it_in_every_recorded_case() {
    let Some(cases) = cases() else { return };
    let (mut rows, mut promotions) = (0, 0);
    for line in PLACED.lines() {
        let (name, now) = line.split_once(' ').unwrap_or((line, ""));
        let document = fs::read_to_string(cases.join("xml").join(format!("{name}.xml"))).unwrap();
        let root = Element::parse(&document, "test").unwrap();
        let now = Moment::parse(now).or(WorkingSet::recorded_time(&root)).unwrap_or(NOW);
        let mut set = WorkingSet::new_explained(&root, now).unwrap();
        set.place();
        let explained = set.explain(None, None);
        let score = |text: &str| Score::parse(text).unwrap();
        for row in &explained {
            let mut sum = row.start.as_deref().map(score);
            for step in &row.steps {
                // What is added is added to what was there; what is set says so.
                sum = Some(match &step.added {
                    Some(added) => sum.unwrap() + score(added),
                    None => score(&step.score),
                });
                assert_eq!(sum, Some(score(&step.score)), "{name}: {row:#?}");
                assert!(!step.why.is_empty());
            }
            assert_eq!(sum, Some(score(&row.score)), "{name}: {row:#?}");
        }
        // Every line of scores is explained, and nothing else.
        let lines: Vec<String> = explained
            .iter()
            .map(|r| match r.label.as_str() {
                "promotion score" => format!("{} {} on {}: {}", r.resource, r.label, r.node, r.score),
                label => format!("{label}: {} allocation score on {}: {}", r.resource, r.node, r.score),
            })
            .collect();
        let shown: Vec<&str> = set.scores().lines().collect();
        assert_eq!(lines, shown, "{name}");
        rows += lines.len();
        promotions += explained.iter().filter(|r| r.label == "promotion score").count();
    }
    assert!(rows > 10_000 && promotions > 500, "only {rows} rows, {promotions} of promotion");
}

#[test]
fn the_status_of_every_recorded_case_is_read_as_the_peer_reads_it() {
    let Some(cases) = cases() else { return };
    let mut documents: Vec<PathBuf> =
        fs::read_dir(cases.join("xml")).unwrap().map(|e| e.unwrap().path()).collect();
    documents.sort();
    let mut wrong = Vec::new();
    for document in &documents {
        let name = document.file_stem().unwrap().to_str().unwrap();
        let summary = fs::read_to_string(cases.join("summary").join(format!("{name}.summary"))).unwrap();
        let modern = |line: &String| line.replace("Masters:", "Promoted:").replace("Slaves:", "Unpromoted:");
        let want: Vec<String> = recorded(&summary).iter().map(modern).collect();
        let have = lines(&status(&fs::read_to_string(document).unwrap()));
        if have != want {
            wrong.push(format!("{name}:\n  want {want:#?}\n  have {have:#?}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), documents.len(), wrong.join("\n"));
    assert!(documents.len() > 100, "only {} cases", documents.len());
}

const SMALL: &str = r#"<cib validate-with="pacemaker-3.7" have-quorum="1" dc-uuid="1"><configuration>
<crm_config><cluster_property_set id="o"><nvpair id="o1" name="stonith-enabled" value="false"/></cluster_property_set></crm_config>
<nodes><node id="1" uname="n10"/><node id="2" uname="n9"/></nodes>
<resources>
  <template id="t" class="ocf" provider="pacemaker" type="Dummy"><meta_attributes id="tm"><nvpair id="tm1" name="target-role" value="Stopped"/></meta_attributes></template>
  <primitive id="a" template="t"/>
  <group id="g"><primitive id="g1" class="ocf" provider="pacemaker" type="Dummy"/><primitive id="g2" class="lsb" type="x"/></group>
  <clone id="c"><meta_attributes id="cm"><nvpair id="cm1" name="promotable" value="true"/></meta_attributes>
    <primitive id="p" class="ocf" provider="pacemaker" type="Stateful"/></clone>
</resources><constraints/></configuration><status>
<node_state id="1" uname="n10" in_ccm="true" crmd="online" join="member" expected="member"><lrm id="1"><lrm_resources>
  <lrm_resource id="g1" class="ocf" provider="pacemaker" type="Dummy"><lrm_rsc_op id="g1_last_0" operation="start" call-id="3" rc-code="0" op-status="0" interval="0" transition-key="1:0:0:x"/></lrm_resource>
  <lrm_resource id="p" class="ocf" provider="pacemaker" type="Stateful"><lrm_rsc_op id="p_last_0" operation="promote" call-id="5" rc-code="0" op-status="0" interval="0" transition-key="1:0:0:x"/></lrm_resource>
  <lrm_resource id="gone" class="ocf" provider="pacemaker" type="Dummy"><lrm_rsc_op id="gone_last_0" operation="monitor" call-id="2" rc-code="1" op-status="4" interval="10000" transition-key="1:0:0:x"/></lrm_resource>
</lrm_resources></lrm></node_state>
<node_state id="2" uname="n9" in_ccm="true" crmd="online" join="member" expected="member"><transient_attributes id="2"><instance_attributes id="s2"><nvpair id="s2x" name="standby" value="on"/></instance_attributes></transient_attributes></node_state>
</status></cib>"#;

#[test]
fn templates_groups_clones_orphans_and_nodes_in_standby_are_seen() {
    let want = "\
1 of 6 resource instances DISABLED and 0 BLOCKED from further action due to failure

Current cluster status:
  * Node List:
    * Node n9: standby
    * Online: [ n10 ]

  * Full List of Resources:
    * a\t(ocf:pacemaker:Dummy):\t Stopped (disabled)
    * Resource Group: g:
      * g1\t(ocf:pacemaker:Dummy):\t Started n10
      * g2\t(lsb:x):\t Stopped
    * Clone Set: c [p] (promotable):
      * Promoted: [ n10 ]
      * Stopped: [ n9 ]
    * gone\t(ocf:pacemaker:Dummy):\t ORPHANED FAILED n10
";
    assert_eq!(status(SMALL), want);
}

#[test]
fn a_resource_goes_where_its_scores_are_best_and_its_group_with_it() {
    let document = SMALL.replace(
        "<constraints/>",
        r#"<constraints><rsc_location id="l" rsc="g" node="n9" score="50"/></constraints>"#,
    );
    let on = |resource: &str| -> Vec<String> {
        let of = format!("pcmk__primitive_assign: {resource} allocation score on ");
        scores(&document, None).iter().filter_map(|l| l.strip_prefix(&of).map(str::to_owned)).collect()
    };
    // n9 is in standby: what hangs on g1 could not be there, so neither can it, whatever it is worth there by itself.
    assert_eq!(on("g1"), ["n10: 0", "n9: -INFINITY"]);
    assert_eq!(on("g2"), ["n10: 0", "n9: -INFINITY"]);
    assert_eq!(on("a"), ["n10: -INFINITY", "n9: -INFINITY"], "its template says that it is stopped");
}

#[test]
fn of_two_blocks_of_one_kind_the_later_one_counts() {
    let block = |id: &str, role: &str| {
        format!(
            r#"<meta_attributes id="{id}"><nvpair id="{id}1" name="target-role" value="{role}"/></meta_attributes>"#
        )
    };
    let with = |first: &str, second: &str| {
        let both = block("x", first) + &block("y", second);
        let document = SMALL.replace(
            r#"<primitive id="a" template="t"/>"#,
            &format!(r#"<primitive id="a" class="ocf" provider="pacemaker" type="Dummy">{both}</primitive>"#),
        );
        status(&document).contains("a\t(ocf:pacemaker:Dummy):\t Stopped (disabled)")
    };
    assert!(with("Started", "Stopped"));
    assert!(!with("Stopped", "Started"));
    // What a primitive says itself is stronger than its template.
    let own = SMALL.replace(
        r#"<primitive id="a" template="t"/>"#,
        &format!(r#"<primitive id="a" template="t">{}</primitive>"#, block("x", "Started")),
    );
    assert!(!status(&own).contains("Stopped (disabled)"));
}

#[test]
fn parameters_have_the_digests_that_the_peer_computes() {
    let document = SMALL.replace(
        r#"<primitive id="g2" class="lsb" type="x"/>"#,
        r#"<primitive id="g2" class="lsb" type="x"><instance_attributes id="gi"><nvpair id="gi1" name="passwd" value="a&lt;b"/><nvpair id="gi2" name="ip" value="10.0.0.1"/></instance_attributes></primitive>"#,
    );
    let root = Element::parse(&document, "test").unwrap();
    let mut set = WorkingSet::new(&root, NOW).unwrap();
    let nothing = "f2317cad3d54cec5d7d7aa7d0bf35cf8".to_owned();
    assert_eq!(set.start_digests("g1", "n9"), Some((nothing.clone(), nothing)));
    // As crm_resource --digests gives them.
    let (all, open) = set.start_digests("g2", "n10").unwrap();
    assert_eq!(
        (all.as_str(), open.as_str()),
        ("b52ab9d9253f9871fb5c0a42de2e58b8", "ba6a72f3ccfb84f58fad1ff6a1d34598")
    );
    assert_eq!(set.start_digests("g2", "elsewhere"), None);
}

#[test]
fn the_largest_numbers_there_are_are_read_and_add_up_to_no_more() {
    let most = i64::MAX.to_string();
    let utilization = |id: &str| {
        format!(r#"<utilization id="u{id}"><nvpair id="u{id}x" name="cpu" value="{most}"/></utilization>"#)
    };
    let document = SMALL
        .replace(r#"value="false"/>"#, r#"value="false"/><nvpair id="o2" name="placement-strategy" value="utilization"/>"#)
        .replace(r#"name="standby" value="on""#, &format!(r#"name="last-failure-g1" value="{most}""#))
        .replace(r#"uname="n10"/><node"#, &format!(r#"uname="n10">{}</node><node"#, utilization("n")))
        .replace(
            r#"<primitive id="g1" class="ocf" provider="pacemaker" type="Dummy"/>"#,
            &format!(
                r#"<primitive id="g1" class="ocf" provider="pacemaker" type="Dummy">{}<meta_attributes id="gm">
                   <nvpair id="gm1" name="failure-timeout" value="60s"/></meta_attributes></primitive>"#,
                utilization("g")
            ),
        )
        .replace(r#"<primitive id="g2" class="lsb" type="x"/>"#, &format!(r#"<primitive id="g2" class="lsb" type="x">{}</primitive>"#, utilization("h")))
        .replace(r#"operation="start" call-id="3""#, &format!(r#"operation="start" last-rc-change="{most}" call-id="3""#));
    assert!(status(&document).contains("g1"));
    assert!(scores(&document, None).iter().any(|l| l.contains("g2")));
}

proptest! {
    /// Attributes that are lost, doubled or senseless: whatever is left is read, without a panic and without end.
    #[test]
    fn a_broken_document_is_read_as_far_as_it_makes_sense(
        cut in 0usize..120,
        value in prop::sample::select(vec!["", "-1", "999999999999", "a", "2", "Promoted", "c", "INFINITY", "g1"]),
        drop in any::<bool>(),
    ) {
        let mut root = Element::parse(SMALL, "test").unwrap();
        let mut at = cut;
        damage(&mut root, &mut at, value, drop);
        if let Ok(mut set) = WorkingSet::new(&root, NOW) {
            prop_assert!(current_status(&set, false).contains("Node List"));
            set.place();
        }
    }
}

/// Changes or drops the attribute that comes `at`-th.
fn damage(element: &mut Element, at: &mut usize, value: &str, drop: bool) {
    let names: Vec<String> = element.attributes.keys().map(str::to_owned).collect();
    for name in names {
        if *at == 0 {
            if drop {
                element.attributes.remove(&name);
            } else {
                element.attributes.insert(&name, value);
            }
        }
        *at = at.wrapping_sub(1);
    }
    for child in &mut element.children {
        damage(child, at, value, drop);
    }
}
