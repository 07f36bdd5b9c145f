//! How long a fencing waits (`priority-fencing-delay`), as `crm_simulate` 2.1.5 writes it for the same documents.

use cib::Element;
use scheduler::decide;

use crate::NOW;

fn resource(id: &str, priority: u32) -> String {
    format!(
        r#"<primitive id="{id}" class="ocf" provider="heartbeat" type="Dummy"><meta_attributes id="{id}-m"><nvpair id="{id}-p" name="priority" value="{priority}"/></meta_attributes></primitive>"#
    )
}

fn state(node: u32, up: bool, resource: &str) -> String {
    let [ccm, crmd] = if up { ["true", "online"] } else { ["false", "offline"] };
    let key = "5:2:0:f7e3ba80-1111-4c2a-9b43-0123456789ab";
    let history = format!(
        r#"<lrm_resource id="{resource}" type="Dummy" class="ocf" provider="heartbeat"><lrm_rsc_op id="{resource}_last_0" operation_key="{resource}_start_0" operation="start" crm_feature_set="3.16.1" transition-key="{key}" transition-magic="0:0;{key}" call-id="3" rc-code="0" op-status="0" interval="0"/></lrm_resource>"#
    );
    let history = if resource.is_empty() { String::new() } else { history };
    format!(
        r#"<node_state id="{node}" uname="n{node}" in_ccm="{ccm}" crmd="{crmd}" join="member" expected="member"><lrm id="{node}"><lrm_resources>{history}</lrm_resources></lrm></node_state>"#
    )
}

/// Node 1 runs `a`, node 2, which is lost, `b`; the others nothing. What the fencing of node 2 is to wait.
fn delay(a: u32, b: u32, nodes: u32) -> Option<String> {
    let ids: String = (1..=nodes).map(|n| format!(r#"<node id="{n}" uname="n{n}"/>"#)).collect();
    let others: String = (3..=nodes).map(|n| state(n, true, "")).collect();
    let document = format!(
        r#"<cib crm_feature_set="3.16.1" validate-with="pacemaker-3.9" epoch="1" num_updates="0" admin_epoch="0" have-quorum="1" dc-uuid="1"><configuration><crm_config><cluster_property_set id="o"><nvpair id="o1" name="priority-fencing-delay" value="15s"/></cluster_property_set></crm_config><nodes>{ids}</nodes><resources>{}{}<primitive id="f" class="stonith" type="fence_x"/></resources><constraints/></configuration><status>{}{}{others}</status></cib>"#,
        resource("a", a),
        resource("b", b),
        state(1, true, "a"),
        state(2, false, "b"),
    );
    let decision = decide(&Element::parse(&document, "test").unwrap(), NOW).unwrap();
    let fencing = decision.graph.actions.iter().find(|a| a.operation == "stonith").expect("node 2 is fenced");
    fencing.attributes.get("CRM_meta_priority_fencing_delay").cloned()
}

#[test]
fn of_two_halves_the_one_that_runs_less_of_importance_is_fenced_first() {
    let is = |seconds: &str| Some(seconds.to_owned());
    assert_eq!(delay(1, 5, 2), is("15"), "the lost node runs more: who fences it waits");
    assert_eq!(delay(0, 2, 2), is("15"));
    assert_eq!(delay(5, 1, 2), is("0"));
    assert_eq!(delay(3, 3, 2), is("0"), "no difference");
    assert_eq!(delay(1, 5, 3), is("0"), "two of three are the majority");
    assert_eq!(delay(1, 5, 4), is("0"));
}
