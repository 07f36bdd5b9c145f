//! Documents that describe more than anybody can work through: they end, and what can be placed is.

use std::fmt::Write;

use cib::{Element, Moment};
use scheduler::WorkingSet;

/// So many primitives on two nodes, with these constraints.
fn document(primitives: usize, resources: &str, constraints: &str) -> Element {
    let mut all = String::new();
    for i in 0..primitives {
        let _ = write!(all, r#"<primitive id="r{i}" class="ocf" provider="pacemaker" type="Dummy"/>"#); // a String takes everything
    }
    let text = format!(
        r#"<cib validate-with="pacemaker-3.7" have-quorum="1"><configuration><crm_config><cluster_property_set id="o">
           <nvpair id="o1" name="stonith-enabled" value="false"/></cluster_property_set></crm_config>
           <nodes><node id="1" uname="n1"/><node id="2" uname="n2"/></nodes><resources>{all}{resources}</resources>
           <constraints>{constraints}</constraints></configuration><status>
           <node_state id="1" uname="n1" in_ccm="true" crmd="online" join="member" expected="member"/>
           </status></cib>"#
    );
    Element::parse(&text, "large").unwrap()
}

/// Lines of scores once all is placed.
fn placed(document: &Element) -> usize {
    let mut set = WorkingSet::new(document, Moment(1_700_000_000)).unwrap();
    set.place();
    set.scores().lines().filter(|l| l.contains("primitive_assign")).count()
}

#[test]
fn a_chain_of_thousands_of_colocations_is_followed_as_far_as_there_is_room() {
    let link =
        |i: usize| format!(r#"<rsc_colocation id="c{i}" rsc="r{i}" with-rsc="r{}" score="100"/>"#, i + 1);
    let constraints: String = (0..2_999).map(link).collect();
    assert_eq!(placed(&document(3_000, "", &constraints)), 6_000, "each has its scores on both nodes");
}

#[test]
fn a_set_that_is_placed_with_itself_ends() {
    // All ways through it would be as many as orders of its members.
    let references: String = (0..40).map(|i| format!(r#"<resource_ref id="r{i}"/>"#)).collect();
    let set = |id: &str| format!(r#"<resource_set id="{id}" sequential="false">{references}</resource_set>"#);
    let constraint =
        format!(r#"<rsc_colocation id="c" score="5">{}{}</rsc_colocation>"#, set("s1"), set("s2"));
    assert_eq!(placed(&document(40, "", &constraint)), 80);
}

/// Found by fuzzing: each replica is a node, so scores grew with the square of a number in an attribute.
#[test]
fn replicas_and_instances_without_number_are_bounded() {
    let bundle = r#"<bundle id="b"><docker image="i" replicas="1700000000"/><network control-port="3121"/>
        <primitive id="p" class="ocf" provider="pacemaker" type="Dummy"/></bundle>"#;
    let set_of = |resources: &str| {
        let root = document(1, resources, "");
        let set = WorkingSet::new(&root, Moment(1_700_000_000)).unwrap();
        (set.nodes.len(), set.resources.len())
    };
    let (nodes, resources) = set_of(bundle);
    assert!(nodes <= 1_002 && resources < 5_000, "{nodes} nodes, {resources} resources");
    let clone = r#"<clone id="c"><meta_attributes id="m"><nvpair id="m1" name="clone-max" value="2000000000"/></meta_attributes>
        <primitive id="p" class="ocf" provider="pacemaker" type="Dummy"/></clone>"#;
    assert!(set_of(clone).1 <= 10_002);
}

/// Each instance leads to all others: by notifications, by orderings of clones, by groups. What is beyond the bound is said.
#[test]
fn clones_without_number_are_scheduled_as_far_as_their_bound_and_say_so() {
    let clone = |id: &str, max: &str, metas: &[&str], inside: &str| {
        let metas: String = [&[&format!("clone-max={max}"), "clone-node-max=1700000000"], metas]
            .concat()
            .iter()
            .filter_map(|m| m.split_once('='))
            .map(|(n, v)| format!(r#"<nvpair id="{id}-{n}" name="{n}" value="{v}"/>"#))
            .collect();
        format!(r#"<clone id="{id}"><meta_attributes id="{id}-m">{metas}</meta_attributes>{inside}</clone>"#)
    };
    let primitive =
        |id: &str| format!(r#"<primitive id="{id}" class="ocf" provider="pacemaker" type="Stateful"/>"#);
    let group = format!(r#"<group id="g">{}{}</group>"#, primitive("p"), primitive("q"));
    let order = r#"<rsc_order id="o" first="c" then="d"/>"#;
    let unique = "globally-unique=true";
    let most = "1700000000";
    let several =
        clone("c", "600", &[unique], &primitive("p")) + &clone("d", "600", &[unique], &primitive("q"));
    for (resources, constraints, instances) in [
        (clone("c", most, &[], &primitive("p")), "", Some(10_000)),
        (clone("c", most, &[unique, "notify=true", "promotable=true"], &primitive("p")), "", Some(1_000)),
        (clone("c", "600", &[unique, "ordered=true"], &group), "", None),
        (several, order, None),
    ] {
        let root = document(1, &resources, constraints);
        let mut set = WorkingSet::new(&root, Moment(1_700_000_000)).unwrap();
        set.place();
        set.schedule();
        assert!(!set.graph().synapses.is_empty());
        let said = instances.map(|n| {
            format!("clone c has room for {most} instances; only {n} are looked at: lower its clone-max")
        });
        assert_eq!(set.warnings, Vec::from_iter(said));
    }
}
