//! What is wrong with a document is found where it stands.

use cib::{Element, Severity, validate};

/// A document of pacemaker-3.7: options in line 2, resources in line 4, constraints in line 5, the rest in line 6.
fn findings(options: &str, resources: &str, constraints: &str, rest: &str) -> Vec<(Severity, u32, String)> {
    let text = format!(
        r#"<cib validate-with="pacemaker-3.7" epoch="1" num_updates="0" admin_epoch="0"><configuration>
<crm_config><cluster_property_set id="o">{options}</cluster_property_set></crm_config>
<nodes><node id="1" uname="n1"/></nodes>
<resources><primitive id="A" class="lsb" type="a"/><primitive id="B" class="lsb" type="b"/>{resources}</resources>
<constraints>{constraints}</constraints>
{rest}</configuration></cib>"#
    );
    let checked = validate(Element::parse(&text, "test").unwrap());
    checked.findings.into_iter().map(|f| (f.severity, f.position.line, f.what)).collect()
}

const NO_FENCING: &str = r#"<nvpair id="o1" name="stonith-enabled" value="false"/>"#;

#[test]
fn every_kind_of_mistake_is_found_where_it_stands() {
    assert_eq!(findings(NO_FENCING, "", "", ""), []);
    let cases = [
        (r#"<primitive id="A" class="lsb" type="c"/>"#, "", "", 4, "id \"A\" is used twice, first in line 4"),
        (
            r#"<primitive id="1c" class="lsb" type="c"/>"#,
            "",
            "",
            4,
            "id=\"1c\" of <primitive> is not possible",
        ),
        (r#"<primitive class="lsb" type="c"/>"#, "", "", 4, "<primitive> needs an attribute id"),
        (r#"<primitive id="C" class="lsb"/>"#, "", "", 4, "<primitive> needs type"),
        (r#"<primitive id="C" class="ocf" type="c"/>"#, "", "", 4, "agents of class ocf have a provider"),
        (r#"<group id="G"/>"#, "", "", 4, "<group> needs a <primitive>"),
        (r#"<clone id="G"/>"#, "", "", 4, "<clone> needs primitive"),
        (r#"<bundle id="G"/>"#, "", "", 4, "<bundle> needs podman"),
        (r#"<primitve id="C"/>"#, "", "", 4, "<primitve> cannot stand in <resources>"),
        (r#"<primitive id="C" template="T"/>"#, "", "", 4, "template=\"T\" of <primitive> names nothing"),
        (
            "",
            r#"<rsc_location id="l" rsc="Q" node="n1" score="1"/>"#,
            "",
            5,
            "rsc=\"Q\" of <rsc_location> names nothing",
        ),
        ("", r#"<rsc_location id="l" rsc="A" node="n1"/>"#, "", 5, "<rsc_location> needs score"),
        (
            "",
            r#"<rsc_order id="l" first="A" then="B" kind="Often"/>"#,
            "",
            5,
            "kind=\"Often\" of <rsc_order> is not possible",
        ),
        (
            "",
            r#"<rsc_order id="l" first="A" then="B" kind="Optional" score="0"/>"#,
            "",
            5,
            "<rsc_order> cannot have kind, score together",
        ),
        (
            "",
            "",
            r#"<acls><acl_target id="u" name="n"/></acls>"#,
            6,
            "attribute name is of schema pacemaker-3.8, the document of pacemaker-3.7",
        ),
        ("", "", "<tags/><tags/>", 6, "<configuration> can have one <tags> only"),
    ];
    for (resources, constraints, rest, line, what) in cases {
        assert_eq!(
            findings(NO_FENCING, resources, constraints, rest),
            [(Severity::Error, line, what.to_owned())],
            "{resources}{constraints}{rest}"
        );
    }
}

#[test]
fn what_the_scheduler_ignores_is_said() {
    use Severity::{Error, Note, Warning};
    let fencing = findings("", "", "", "");
    assert_eq!(fencing.len(), 1);
    assert!(fencing[0].2.contains("no STONITH resources have been defined"), "{fencing:?}");
    let twice = r#"<primitive id="C" class="lsb" type="c"><operations><op id="o2" name="monitor" interval="10"/>
<op id="o3" name="monitor" interval="10s"/></operations></primitive>"#;
    let role = r#"<primitive id="C" class="lsb" type="c"><meta_attributes id="m"><nvpair id="m1" name="target-role" value="Master"/></meta_attributes></primitive>"#;
    let cases = [
        (twice, "", "", Error, 5, "duplicate of \"o2\" of line 4: both are monitor every 10000 ms"),
        (role, "", "", Error, 4, "target-role Master only makes sense for promotable clones, and is ignored"),
        (
            r#"<primitive id="C" template="A"/>"#,
            "",
            "",
            Error,
            4,
            "\"A\" is no template: the resource is ignored",
        ),
        (
            "",
            r#"<rsc_order id="l" first="A" then="B" score="1"/>"#,
            "",
            Warning,
            5,
            "score of an ordering is deprecated",
        ),
        (
            "",
            r#"<rsc_location id="l" rsc="A" node="n7" score="1"/>"#,
            "",
            Note,
            5,
            "node \"n7\" is not configured",
        ),
        ("", "", r#"<tags><tag id="t"><obj_ref id="Q"/></tag></tags>"#, Note, 6, "\"Q\" names nothing"),
    ];
    for (resources, constraints, rest, severity, line, what) in cases {
        assert_eq!(
            findings(NO_FENCING, resources, constraints, rest),
            [(severity, line, what.to_owned())],
            "{resources}{constraints}{rest}"
        );
    }
    let option = r#"<nvpair id="o2" name="symmetric-cluster" value="maybe"/>"#;
    let said = findings(&format!("{NO_FENCING}{option}"), "", "", "");
    let what = "symmetric-cluster=\"maybe\" is not possible: the option's default is used";
    assert_eq!(said, [(Error, 2, what.to_owned())]);
}

#[test]
fn what_is_of_no_known_schema_is_refused_and_what_wants_no_check_is_warned_of() {
    let checked = |schema: &str| {
        let text = format!(r#"<cib validate-with="{schema}"><configuration/></cib>"#);
        validate(Element::parse(&text, "test").unwrap())
    };
    let unknown = checked("pacemaker-17");
    assert!(!unknown.usable && unknown.findings[0].what.contains("is not known"), "{unknown:?}");
    let none = checked("none");
    assert!(none.usable && none.findings[0].severity == Severity::Warning, "{none:?}");
}
