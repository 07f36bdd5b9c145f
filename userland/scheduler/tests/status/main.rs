//! What is read of a document is what Pacemaker's tools read: own cases always, the peers' recorded ones where they lie
//! beside the checkout.

use std::fs;
use std::path::{Path, PathBuf};

use cib::{Element, Moment};
use proptest::prelude::*;
use scheduler::{WorkingSet, current_status};

/// Recorded documents say themselves what time it is; for the others it does not matter.
const NOW: Moment = Moment(1_700_000_000);

fn status(document: &str) -> String {
    let root = Element::parse(document, "test").unwrap();
    let set = WorkingSet::new(&root, NOW).unwrap();
    current_status(&set, root.get("execution-date").is_some())
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

#[test]
fn the_status_of_every_recorded_case_is_read_as_the_peer_reads_it() {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/conformance/scheduler/cases");
    if !cases.exists() {
        println!("skipped: no recorded cases beside the checkout");
        return;
    }
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
        if let Ok(set) = WorkingSet::new(&root, NOW) {
            prop_assert!(current_status(&set, false).contains("Node List"));
        }
    }
}

/// Changes or drops the attribute that comes `at`-th.
fn damage(element: &mut Element, at: &mut usize, value: &str, drop: bool) {
    let names: Vec<String> = element.attributes.keys().cloned().collect();
    for name in names {
        if *at == 0 {
            if drop {
                element.attributes.shift_remove(&name);
            } else {
                element.attributes.insert(name, value.to_owned());
            }
        }
        *at = at.wrapping_sub(1);
    }
    for child in &mut element.children {
        damage(child, at, value, drop);
    }
}
