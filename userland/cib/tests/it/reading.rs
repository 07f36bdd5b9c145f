//! What is read, what is refused with which words, what is warned about.

use cib::{Cib, LocationScore, NoQuorumPolicy, NodeFacts, OnFail, Score, Version};

use crate::{FULL, with_resources};

#[test]
fn everything_that_is_honoured_is_read() {
    let cib = Cib::parse(FULL, "full.xml").unwrap();
    assert_eq!(cib.warnings, vec![]);
    assert_eq!(cib.version, Version { admin_epoch: 1, epoch: 7, num_updates: 2 });
    assert_eq!(cib.options.no_quorum_policy, NoQuorumPolicy::Freeze);
    assert!(cib.options.stonith_enabled, "cib-bootstrap-options wins over other sets");
    assert_eq!(cib.options.stonith_timeout_ms, 120_000);
    assert_eq!(cib.node("srv01").unwrap().attributes["standby"], "on");
    let group = &cib.resources[0];
    assert!(group.group && group.id == "grp");
    assert_eq!(group.members.iter().map(|m| m.id.as_str()).collect::<Vec<_>>(), ["fs", "ip"]);
    let (fs, ip) = (&group.members[0], &group.members[1]);
    assert_eq!(fs.agent(), "ocf:heartbeat:Filesystem");
    assert_eq!(fs.param("device"), Some("/dev/disk/by-label/a&b"));
    assert_eq!(fs.param("options"), Some("a < \"b\""));
    assert_eq!(fs.meta.stickiness, Score::new(50), "from the group");
    assert_eq!(fs.meta.migration_threshold, Some(1), "from the defaults");
    assert_eq!(fs.timeout_ms("start"), 60_000);
    assert_eq!(fs.timeout_ms("monitor"), 40_000, "a probe takes the shortest interval's");
    assert_eq!(fs.recurring().map(|op| op.interval_ms).collect::<Vec<_>>(), [10_000, 60_000]);
    assert_eq!(
        fs.operation("monitor", 60_000).unwrap().params,
        [("OCF_CHECK_LEVEL".to_owned(), "20".to_owned())]
    );
    assert_eq!(fs.operation("monitor", 60_000).unwrap().timeout_ms, Some(33_000), "op_defaults");
    assert_eq!(ip.meta.stickiness, Score::INFINITY, "its own");
    assert_eq!(ip.meta.migration_threshold, Some(3));
    assert_eq!(ip.meta.failure_timeout_ms, Some(60_000));
    assert_eq!(ip.timeout_ms("start"), 33_000);
    assert_eq!(cib.fence_devices().map(|d| d.id.as_str()).collect::<Vec<_>>(), ["fence"]);
    assert_eq!(cib.fencing_levels[0].devices, ["fence"]);
    let LocationScore::Rule(rule) = &cib.locations[1].score else { panic!("a rule") };
    let facts = |uname, attributes| NodeFacts { id: "2", uname, attributes, dc: false };
    let (none, site) = (indexmap::IndexMap::new(), indexmap::IndexMap::from([("site".into(), "a".into())]));
    assert!(rule.accepts(facts("srv02", &site)) && rule.accepts(facts("srv01", &none)));
    assert!(!rule.accepts(facts("srv01", &site)));
}

#[test]
fn on_fail_depends_on_the_operation_and_on_fencing() {
    let cib = Cib::parse(FULL, "full.xml").unwrap();
    let (fs, ip) = (cib.primitive("fs").unwrap(), cib.primitive("ip").unwrap());
    for (primitive, action, stonith, want) in [
        (fs, "start", true, OnFail::Restart),
        (fs, "stop", true, OnFail::Fence),
        (fs, "stop", false, OnFail::Stop),
        (ip, "stop", true, OnFail::Fence),
        (ip, "stop", false, OnFail::Block),
        (ip, "monitor", true, OnFail::Restart),
    ] {
        assert_eq!(primitive.on_fail(action, 0, stonith), want, "{} {action} {stonith}", primitive.id);
    }
}

#[test]
fn mistakes_are_named_with_line_and_remedy() {
    let dummy = |inner: &str| {
        with_resources(&format!(
            "<primitive id=\"d\" class=\"ocf\" provider=\"heartbeat\" type=\"Dummy\">\n{inner}\n</primitive>"
        ))
    };
    let cases: Vec<(String, &str)> = vec![
        (String::new(), "x.xml:1: the document is empty; a CIB begins with <cib>"),
        ("<cluster/>".into(), "x.xml:1: the document begins with <cluster>; a CIB begins with <cib>"),
        ("<cib>\n</cib>".into(), "x.xml:1: <cib> has no <configuration>"),
        ("<cib><configuration/></cib>\n<cib/>".into(), "x.xml:2: a second top-level element; a CIB has one, <cib>"),
        ("<cib>\n<configuration>".into(), "x.xml:2: <configuration> of line 2 is never closed"),
        ("<cib>\n<configuration>hello</configuration></cib>".into(), "x.xml:2: text between elements; a CIB holds values in attributes only"),
        ("<!DOCTYPE cib [<!ENTITY a \"b\">]>\n<cib/>".into(), "x.xml:1: a document type is not allowed in a CIB; remove the <!DOCTYPE …> line"),
        ("<cib epoch=\"x\"><configuration/></cib>".into(), "x.xml:1: epoch=\"x\" is not a whole number"),
        (with_resources("<primitive class=\"ocf\" type=\"Dummy\"/>"), "x.xml:4: <primitive> needs id=\"…\""),
        (with_resources("<primitive id=\"a b\" class=\"ocf\" type=\"Dummy\"/>"), "x.xml:4: resource id \"a b\": use letters, digits, '-', '_', '.'; at most 128"),
        (with_resources("<primitive id=\"d\" class=\"lbs\" type=\"Dummy\"/>"), "x.xml:4: class \"lbs\" of \"d\" is unknown; write ocf or stonith"),
        (with_resources("<group id=\"g\"/>"), "x.xml:4: group \"g\" has no members; add a <primitive> or remove it"),
        (
            with_resources("<primitive id=\"d\" class=\"ocf\" type=\"Dummy\"/>\n<primitive id=\"d\" class=\"ocf\" type=\"Dummy\"/>"),
            "x.xml:5: id \"d\" is used twice (first in line 4); give <primitive> an id of its own",
        ),
        (dummy("<operations><op id=\"o\" name=\"start\" timeout=\"soon\"/></operations>"), "x.xml:5: timeout=\"soon\" is not a time; write for example 20s"),
        (dummy("<operations><op id=\"o\" name=\"start\" timeout=\"0\"/></operations>"), "x.xml:5: timeout of start is zero; write for example 20s"),
        (
            dummy("<operations><op id=\"o\" name=\"stop\" on-fail=\"shoot\"/></operations>"),
            "x.xml:5: on-fail=\"shoot\" is not valid; write ignore, block, stop, restart, standby or fence",
        ),
        (
            dummy("<meta_attributes id=\"m\"><nvpair id=\"n\" name=\"is-managed\" value=\"maybe\"/></meta_attributes>"),
            "x.xml:4: is-managed=\"maybe\" is not valid; write true or false",
        ),
        (
            dummy("<meta_attributes id=\"m\"><nvpair id=\"n\" name=\"resource-stickiness\" value=\"lots\"/></meta_attributes>"),
            "x.xml:4: score \"lots\" is not valid; write a whole number, INFINITY or -INFINITY",
        ),
        (
            "<cib><configuration><crm_config><cluster_property_set id=\"p\">\n<nvpair id=\"q\" name=\"no-quorum-policy\" value=\"panic\"/></cluster_property_set></crm_config></configuration></cib>".into(),
            "x.xml:2: no-quorum-policy=\"panic\" is not valid; write stop, freeze or ignore",
        ),
        (
            "<cib><configuration><resources><primitive id=\"d\" class=\"ocf\" type=\"Dummy\"/></resources><constraints>\n<rsc_location id=\"l\" rsc=\"d\"/></constraints></configuration></cib>".into(),
            "x.xml:2: rsc_location \"l\" needs node=\"…\" score=\"…\" or a <rule>",
        ),
    ];
    for (text, want) in cases {
        let error = Cib::parse(&text, "x.xml").expect_err(want).to_string();
        assert_eq!(error, want, "{text}");
    }
}

#[test]
fn syntax_errors_name_the_line() {
    for (text, line, part) in [
        ("<cib>\n<configuration>\n</resources>", 3, "expected `</configuration>`"),
        ("<cib>\n\n<configuration a=\"1\" a=\"2\"/></cib>", 3, "duplicate"),
        ("<cib>\n<configuration a=\"&unknown;\"/></cib>", 2, "&amp;"),
        ("<cib>\n<configuration a=1/></cib>", 2, "attributes of <configuration>"),
    ] {
        let error = Cib::parse(text, "x").unwrap_err();
        assert_eq!(error.position.line, line, "{error}");
        assert!(error.to_string().contains(part), "{error}");
    }
}

#[test]
fn what_is_not_honoured_is_said() {
    let text = with_resources(
        "<clone id=\"c\"><primitive id=\"p\" class=\"ocf\" type=\"Dummy\"/></clone>\n\
         <primitive id=\"s\" class=\"systemd\" type=\"httpd\"/>\n\
         <group id=\"g\"><primitive id=\"t\" class=\"systemd\" type=\"x\"/><primitive id=\"u\" class=\"ocf\" type=\"Dummy\"/></group>",
    );
    let text = text.replace(
        "</resources>",
        "</resources>\n<constraints><rsc_colocation id=\"k\" rsc=\"u\" with-rsc=\"p\"/><rsc_location id=\"l\" rsc=\"nobody\" node=\"n\"/></constraints>\n\
         <crm_config><cluster_property_set id=\"o\"><nvpair id=\"o1\" name=\"stonith-enabld\" value=\"x\"/></cluster_property_set></crm_config>",
    );
    let cib = Cib::parse(&text, "x").unwrap();
    let said: Vec<String> = cib.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        said,
        [
            "line 4: not supported yet: clone \"c\"; it is not managed",
            "line 5: not supported yet: class \"systemd\"; \"s\" is not managed",
            "line 6: not supported yet: a member of group \"g\"; the whole group is not managed",
            "line 6: not supported yet: class \"systemd\"; \"t\" is not managed",
            "line 8: not supported yet: rsc_colocation \"k\"; it has no effect",
            "line 8: rsc_location \"l\" names \"nobody\", which is not managed",
            "line 9: unknown cluster option \"stonith-enabld\"; did you mean \"stonith-enabled\"?",
        ]
    );
    assert_eq!(cib.primitives().count(), 0);
    assert!(cib.to_xml().contains("<clone id=\"c\">"), "kept in the document");
}

#[test]
fn sets_may_be_shared_and_have_a_rank() {
    let text = with_resources(
        "<primitive id=\"a\" class=\"ocf\" type=\"Dummy\"><instance_attributes id=\"low\" score=\"1\"><nvpair id=\"l1\" name=\"x\" value=\"low\"/></instance_attributes>\
         <instance_attributes id=\"high\" score=\"9\"><nvpair id=\"h1\" name=\"x\" value=\"high\"/></instance_attributes></primitive>\n\
         <primitive id=\"b\" class=\"ocf\" type=\"Dummy\"><instance_attributes id-ref=\"low\"/></primitive>",
    );
    let cib = Cib::parse(&text, "x").unwrap();
    assert_eq!(cib.primitive("a").unwrap().param("x"), Some("high"));
    assert_eq!(cib.primitive("b").unwrap().param("x"), Some("low"));
}
