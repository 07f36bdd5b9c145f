//! Old documents become what Pacemaker's tools make of them: own cases always, random ones beside the peer where it is installed.

use std::path::Path;
use std::process::{Command, Stdio};

use cib::{Element, upgrade};

fn document(schema: &str, configuration: &str) -> Element {
    let text = format!(
        r#"<cib crm_feature_set="3.0.9" validate-with="{schema}" epoch="1" num_updates="0" admin_epoch="0" have-quorum="1">
           <configuration>{configuration}</configuration><status/></cib>"#
    );
    Element::parse(&text, "test").unwrap()
}

fn upgraded(schema: &str, configuration: &str) -> (Element, Vec<String>) {
    let done = upgrade(document(schema, configuration));
    (done.root, done.changes.into_iter().map(|c| c.what).collect())
}

#[test]
fn a_document_of_the_third_family_or_of_none_stays_as_it_is() {
    let old = r#"<crm_config><cluster_property_set id="o"><nvpair id="o1" name="stonith_enabled" value="0"/></cluster_property_set></crm_config>"#;
    for schema in ["pacemaker-3.0", "pacemaker-3.9", "none", "pacemaker-next"] {
        let before = document(schema, old);
        let after = upgrade(before.clone());
        assert_eq!((after.root, after.from, after.changes.len()), (before, None, 0), "{schema}");
    }
}

#[test]
fn old_options_get_their_new_names_and_places() {
    let (root, changes) = upgraded(
        "pacemaker-2.5",
        r#"<crm_config><cluster_property_set id="o">
             <nvpair id="o1" name="default-resource-stickiness" value="7"/>
             <nvpair id="o2" name="stonith_enabled" value="false"/>
             <nvpair id="o3" name="own-option" value="x"/>
             <nvpair id="o4" name="expected-quorum-votes" value="3"/></cluster_property_set></crm_config>
           <nodes><node id="1" uname="n1" type="normal"/></nodes><resources/><constraints/><unknown a="b"/>"#,
    );
    let configuration = root.child("configuration").unwrap();
    let names: Vec<_> = configuration.find_id("o").unwrap().children.iter().map(|p| p.get("name")).collect();
    assert_eq!(names, [Some("stonith-enabled"), Some("own-option")]);
    assert_eq!(configuration.find_id("1").unwrap().get("type"), Some("member"));
    assert_eq!(
        configuration.child("rsc_defaults").unwrap().find_id("o1").unwrap().get("name"),
        Some("resource-stickiness")
    );
    assert_eq!(configuration.child("unknown").unwrap().get("a"), Some("b"), "what is unknown is kept");
    assert_eq!(
        changes,
        [
            "cluster option default-resource-stickiness is resource-stickiness in rsc_defaults now, unless that is set there",
            "cluster option stonith_enabled is called stonith-enabled now",
            "cluster option expected-quorum-votes means nothing any more and is dropped",
            "node \"1\": type normal is called member now",
        ]
    );
}

#[test]
fn users_of_the_first_access_lists_become_targets_with_a_role() {
    let (root, _) = upgraded(
        "pacemaker-1.2",
        r#"<crm_config/><nodes/><resources/><constraints/><acls>
             <acl_user id="u"><read id="u1" tag="nodes" attribute="type"/><deny id="u2" xpath="//x" attribute="y"/></acl_user>
             <acl_user id="v"><role_ref id="r"/></acl_user><acl_role id="r"><write id="r1" ref="a"/></acl_role></acls>"#,
    );
    let want = Element::parse(
        r#"<acls><acl_target id="u"><role id="auto-u"/></acl_target>
             <acl_role id="auto-u"><acl_permission id="u1" kind="read" object-type="nodes" attribute="type"/>
               <acl_permission id="u2" kind="deny" xpath="//x[@y]"/></acl_role>
             <acl_target id="v"><role id="r"/></acl_target>
             <acl_role id="r"><acl_permission id="r1" kind="write" reference="a"/></acl_role></acls>"#,
        "test",
    );
    assert_eq!(root.child("configuration").unwrap().child("acls"), want.as_ref().ok());
}

/// Numbers from a seed: the same documents each time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }

    fn pairs(&mut self, id: &str, names: &[&str], values: &[&str]) -> String {
        let mut text = String::new();
        for i in 0..self.below(4) {
            let name = names[self.below(names.len() as u64) as usize];
            let value = values[self.below(values.len() as u64) as usize];
            text += &format!(r#"<nvpair id="{id}-{i}" name="{name}" value="{value}"/>"#);
        }
        text
    }

    /// A block of pairs, now and then with a rule, or nothing.
    fn block(&mut self, kind: &str, id: &str, names: &[&str], values: &[&str]) -> String {
        let rule = match self.below(8) {
            0 | 1 => return String::new(),
            2 => format!(
                r#"<rule id="{id}-r" score="0"><expression id="{id}-e" attribute="site" operation="defined"/></rule>"#
            ),
            _ => String::new(),
        };
        let pairs = self.pairs(id, names, values);
        format!(r#"<{kind} id="{id}" score="{}">{rule}{pairs}</{kind}>"#, self.below(9))
    }
}

const OPTIONS: [&str; 10] = [
    "default-resource-stickiness",
    "default_action_timeout",
    "is_managed_default",
    "no_quorum_policy",
    "cluster-infrastructure",
    "default-resource-failure-stickiness",
    "expected-quorum-votes",
    "own",
    "stonith-enabled",
    "transition_idle_timeout",
];
const METAS: [&str; 6] =
    ["isolation", "resource-failure-stickiness", "requires", "target-role", "isolation-host", "own"];
const PARAMETERS: [&str; 5] = ["pcmk_arg_map", "pcmk_off_cmd", "own", "ip", "pcmk_list_cmd"];
const OF_OPERATIONS: [&str; 6] = ["timeout", "requires", "on-fail", "own", "role", "start-delay"];

fn random(numbers: &mut Numbers) -> Element {
    let mut resources = String::new();
    for r in ["a", "b", "c"] {
        let values = ["-INFINITY", "1", "port:x", "port:x,y:z"];
        let mut inner = String::new();
        if r != "a" && numbers.below(3) == 0 {
            inner += r#"<meta_attributes id-ref="a-m0"/><instance_attributes id-ref="a-i0"/>"#;
        }
        for n in 0..3 {
            inner += &numbers.block("meta_attributes", &format!("{r}-m{n}"), &METAS, &values);
            inner += &numbers.block("instance_attributes", &format!("{r}-i{n}"), &PARAMETERS, &values);
        }
        let mut ops = String::new();
        for (n, (name, interval)) in [("start", 0), ("promote", 0), ("monitor", 10)].iter().enumerate() {
            let id = format!("{r}-o{n}");
            let requires = if numbers.below(4) == 0 { r#" requires="quorum""# } else { "" };
            let mut blocks =
                numbers.block("instance_attributes", &format!("{id}-i"), &OF_OPERATIONS, &["7", "8"]);
            blocks += &numbers.block("meta_attributes", &format!("{id}-m"), &OF_OPERATIONS, &["7", "8"]);
            ops += &format!(r#"<op id="{id}" name="{name}" interval="{interval}"{requires}>{blocks}</op>"#);
        }
        resources += &format!(
            r#"<primitive id="{r}" class="ocf" provider="heartbeat" type="Dummy">{inner}<operations>{ops}</operations></primitive>"#
        );
    }
    let values = ["-INFINITY", "7", "cman", "corosync"];
    let options =
        ["o0", "o1"].map(|id| numbers.block("cluster_property_set", id, &OPTIONS, &values)).concat();
    let mut defaults = String::new();
    for (section, id) in [("rsc_defaults", "rd"), ("op_defaults", "od")] {
        if numbers.below(2) == 0 {
            let block =
                numbers.block("meta_attributes", id, &["resource-stickiness", "timeout", "own"], &["3"]);
            defaults += &format!("<{section}>{block}</{section}>");
        }
    }
    let normal = if numbers.below(2) == 0 { r#" type="normal""# } else { "" };
    document(
        "pacemaker-2.5",
        &format!(
            r#"<crm_config>{options}</crm_config><nodes><node id="1" uname="n1"{normal}/></nodes>
               <resources>{resources}</resources><constraints/>{defaults}"#
        ),
    )
}

/// What the peer makes of a document, `None` if it refuses it.
fn by_peer(document: &Element) -> Option<Element> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let (before, after) = (folder.join("upgrade-before.xml"), folder.join("upgrade-after.xml"));
    std::fs::write(&before, document.to_xml()).unwrap();
    let mut simulate = Command::new("crm_simulate");
    simulate.arg("-Qx").arg(&before).arg("-I").arg(&after).stdout(Stdio::null()).stderr(Stdio::null());
    simulate.status().unwrap();
    let text = std::fs::read_to_string(&after);
    let _ = std::fs::remove_file(before);
    let _ = std::fs::remove_file(after);
    let text = text.ok()?;
    Some(Element::parse(&text, "after.xml").unwrap())
}

#[test]
fn random_documents_become_what_the_peer_makes_of_them() {
    if Command::new("crm_simulate").arg("--version").output().is_err() {
        println!("skipped: needs Pacemaker's crm_simulate");
        return;
    }
    let mut accepted = 0;
    for seed in 0..30 {
        let document = random(&mut Numbers(seed));
        let Some(mut want) = by_peer(&document) else { continue };
        accepted += 1;
        let mut have = upgrade(document.clone()).root;
        for root in [&mut want, &mut have] {
            root.attributes.remove("validate-with");
            sort_attributes(root);
        }
        let (have, want) = (have.to_xml(), want.to_xml());
        let only = |one: &str, other: &str| -> Vec<String> {
            one.lines().filter(|l| !other.contains(l)).map(str::to_owned).collect()
        };
        assert!(
            have == want,
            "seed {seed}:\n{}\nonly ours {:#?}\nonly the peer's {:#?}",
            document.to_xml(),
            only(&have, &want),
            only(&want, &have),
        );
    }
    assert!(accepted > 10, "the peer took only {accepted}");
}

/// Their order means nothing.
fn sort_attributes(element: &mut Element) {
    let mut pairs: Vec<_> = element.attributes.iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
    pairs.sort();
    element.attributes = pairs.into_iter().collect();
    element.children.iter_mut().for_each(sort_attributes);
}
