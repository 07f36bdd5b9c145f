//! Operations on a document: what each does, what is refused, how the version counts.

use cib::Element;
use cib::operation::{EMPTY, Operation, OperationKind, Options, Refusal, Stamp, apply, query};

fn document() -> Element {
    let text = EMPTY.replace(
        "<resources/>",
        r#"<resources><primitive id="a" class="ocf" provider="heartbeat" type="Dummy"><operations><op id="a-m" name="monitor" interval="10"/></operations></primitive>
           <group id="g"><primitive id="b" class="ocf" provider="heartbeat" type="Dummy"/><primitive id="c" class="ocf" provider="heartbeat" type="Dummy"/></group></resources>"#,
    );
    Element::parse(&text, "test").unwrap()
}

fn on(section: &str, kind: OperationKind, xml: &str) -> Operation {
    Operation { section: Some(section.into()), xml: Some(xml.into()), ..Operation::new(kind) }
}

fn whole(kind: OperationKind, xml: &str) -> Operation {
    Operation { xml: Some(xml.into()), ..Operation::new(kind) }
}

fn selected(kind: OperationKind, xpath: &str, xml: Option<&str>) -> Operation {
    Operation { xpath: Some(xpath.into()), xml: xml.map(str::to_owned), ..Operation::new(kind) }
}

fn version(root: &Element) -> String {
    ["admin_epoch", "epoch", "num_updates"].map(|name| root.get(name).unwrap_or("-")).join(".")
}

fn refused(root: &Element, operation: &Operation) -> Refusal {
    apply(root, operation).expect_err("it is to be refused")
}

#[test]
fn each_kind_of_change_counts_where_it_belongs() {
    let root = document();
    let add = on(
        "resources",
        OperationKind::Create,
        r#"<primitive id="d" class="ocf" provider="heartbeat" type="Dummy"/>"#,
    );
    let added = apply(&root, &add).unwrap();
    assert!(added.configuration_changed && added.patch.is_some());
    assert_eq!(version(&added.document), "0.2.0");
    let state = Operation {
        options: Options { allow_create: true, ..Options::default() },
        ..on("status", OperationKind::Modify, r#"<node_state id="1" uname="n1"/>"#)
    };
    let said = apply(&added.document, &state).unwrap();
    assert_eq!((version(&said.document).as_str(), said.configuration_changed), ("0.2.1", false));
    // The same again changes nothing.
    let again = apply(&said.document, &state).unwrap();
    assert_eq!((again.patch, &again.document), (None, &said.document));
    let removed = apply(&said.document, &whole(OperationKind::Delete, r#"<primitive id="d"/>"#)).unwrap();
    assert_eq!(version(&removed.document), "0.3.0");
    let bumped = apply(&removed.document, &Operation::new(OperationKind::Bump)).unwrap();
    assert_eq!(version(&bumped.document), "0.4.1");
    let raised = apply(
        &bumped.document,
        &whole(OperationKind::Modify, r#"<cib admin_epoch="admin_epoch++" epoch="epoch+=5"/>"#),
    )
    .unwrap();
    assert_eq!(version(&raised.document), "1.9.2");
    let erased = apply(&raised.document, &Operation::new(OperationKind::Erase)).unwrap().document;
    assert_eq!(version(&erased), "2.10.0");
    assert!(erased.find_id("a").is_none());
}

#[test]
fn create_refuses_what_is_there_and_says_what() {
    let refusal = refused(
        &document(),
        &on(
            "resources",
            OperationKind::Create,
            r#"<primitive id="a" class="ocf" provider="heartbeat" type="Stateful"/>"#,
        ),
    );
    assert_eq!((refusal.rc, refusal.text.as_str()), (108, "File exists"));
    assert!(refusal.failed.unwrap().contains(
        r#"<failed_update id="a" object_type="primitive" operation="cib_create" reason="File exists">"#
    ));
    let refusal =
        refused(&document(), &on("tags", OperationKind::Create, r#"<tag id="t"><obj_ref id="a"/></tag>"#));
    assert_eq!((refusal.rc, refusal.text.as_str()), (70, "Invalid argument"));
}

#[test]
fn modify_merges_by_id_and_keeps_what_is_not_named() {
    let change = on(
        "resources",
        OperationKind::Modify,
        r#"<primitive id="a" type="Stateful"><operations><op id="a-m" interval="20"/><op id="a-s" name="start" interval="0"/></operations></primitive>"#,
    );
    let root = apply(&document(), &change).unwrap().document;
    let a = root.find_id("a").unwrap();
    assert_eq!((a.get("type"), a.get("provider")), (Some("Stateful"), Some("heartbeat")));
    assert_eq!(root.find_id("a-m").unwrap().get("interval"), Some("20"));
    assert_eq!(root.find_id("a-m").unwrap().get("name"), Some("monitor"));
    assert!(root.find_id("a-s").is_some());
    // What is not there is added only where that is asked for.
    let new = on(
        "resources",
        OperationKind::Modify,
        r#"<primitive id="z" class="ocf" provider="heartbeat" type="Dummy"/>"#,
    );
    let refusal = refused(&root, &new);
    assert_eq!(refusal.rc, 105);
    assert!(refusal.details[0].contains("--allow-create"), "{refusal}");
    let allowed = Operation { options: Options { allow_create: true, ..Options::default() }, ..new };
    assert!(apply(&root, &allowed).unwrap().document.find_id("z").is_some());
}

#[test]
fn what_is_older_or_of_no_schema_is_refused_and_nothing_changes() {
    let root = apply(&document(), &Operation::new(OperationKind::Bump)).unwrap().document;
    let old = refused(&root, &whole(OperationKind::Replace, &document().to_xml()));
    assert_eq!((old.rc, old.text.as_str()), (103, "Update was older than existing configuration"));
    assert!(old.details[0].contains("0.2.1") && old.details[0].contains("0.1.0"), "{old}");
    assert_eq!(refused(&root, &whole(OperationKind::Modify, r#"<cib epoch="0"/>"#)).rc, 103);
    let wrong = refused(
        &root,
        &on("resources", OperationKind::Modify, r#"<primitive id="a"><bogus id="q"/></primitive>"#),
    );
    assert_eq!((wrong.rc, wrong.text.as_str()), (78, "Update does not conform to the configured schema"));
    assert!(wrong.details[0].contains("bogus"), "{wrong}");
    let later = refused(&root, &whole(OperationKind::Modify, r#"<cib crm_feature_set="99.0.0"/>"#));
    assert_eq!(later.rc, 76);
    assert_eq!(refused(&root, &whole(OperationKind::Create, "<half")).rc, 78);
    assert_eq!(refused(&root, &Operation::new(OperationKind::Modify)).rc, 70);
    assert_eq!(refused(&root, &selected(OperationKind::Delete, "/cib", None)).rc, 70);
    assert_eq!(refused(&root, &selected(OperationKind::Delete, "//[", None)).rc, 105);
}

#[test]
fn delete_takes_the_first_that_matches_whole_and_xpath_all() {
    let root = document();
    let kept = apply(&root, &whole(OperationKind::Delete, r#"<op id="a-m" name="start"/>"#)).unwrap();
    assert_eq!(kept.patch, None, "another name, so it is another element");
    let gone = apply(&root, &whole(OperationKind::Delete, r#"<op name="monitor"/>"#)).unwrap().document;
    assert!(gone.find_id("a-m").is_none());
    let all = apply(&root, &selected(OperationKind::DeleteAll, "//primitive[@type='Dummy'] | //group", None))
        .unwrap()
        .document;
    assert_eq!(all.child("configuration").unwrap().child("resources").unwrap().children.len(), 0);
    let first = apply(&root, &selected(OperationKind::Delete, "//group/primitive", None)).unwrap().document;
    assert!(first.find_id("b").is_none() && first.find_id("c").is_some());
    assert_eq!(apply(&root, &selected(OperationKind::DeleteAll, "//nosuch", None)).unwrap().patch, None);
}

#[test]
fn queries_by_section_xpath_and_path() {
    let root = document();
    assert_eq!(query(&root, &Operation::query(None)).unwrap(), root);
    assert_eq!(query(&root, &Operation::query(Some("resources"))).unwrap().children.len(), 2);
    assert_eq!(query(&root, &Operation::query(Some("alerts"))).unwrap_err().rc, 105);
    assert_eq!(query(&root, &Operation::select("//op")).unwrap().id(), Some("a-m"));
    let all = query(&root, &Operation::select("//group/primitive")).unwrap();
    assert_eq!((all.name.as_str(), all.children.len()), ("xpath-query", 2));
    let paths =
        Operation { options: Options { node_path: true, ..Options::default() }, ..Operation::select("//op") };
    let paths = query(&root, &paths).unwrap();
    assert_eq!(
        paths.children[0].id(),
        Some("/cib/configuration/resources/primitive[@id='a']/operations/op[@id='a-m']")
    );
    let bare = Operation {
        options: Options { no_children: true, ..Options::default() },
        ..Operation::select("//group")
    };
    assert_eq!(query(&root, &bare).unwrap().children.len(), 0);
}

#[test]
fn a_changed_configuration_says_who_changed_it_and_a_changed_status_does_not() {
    let stamp = Some(Stamp {
        written: "Mon Nov 23 10:00:00 2026".into(),
        origin: "n1".into(),
        client: "cibadmin".into(),
        user: "root".into(),
    });
    let change = Operation {
        stamp: stamp.clone(),
        ..on("nodes", OperationKind::Create, r#"<node id="1" uname="n1"/>"#)
    };
    let root = apply(&document(), &change).unwrap().document;
    assert_eq!(root.get("cib-last-written"), Some("Mon Nov 23 10:00:00 2026"));
    assert_eq!(
        (root.get("update-origin"), root.get("update-client"), root.get("update-user")),
        (Some("n1"), Some("cibadmin"), Some("root"))
    );
    let state = Operation {
        stamp,
        options: Options { allow_create: true, ..Options::default() },
        ..on("status", OperationKind::Modify, r#"<node_state id="1" uname="n1"/>"#)
    };
    assert_eq!(apply(&document(), &state).unwrap().document.get("update-origin"), None);
}

#[test]
fn an_operation_survives_the_wire() {
    let operation = Operation {
        xpath: Some("//op".into()),
        user: Some("tony".into()),
        options: Options { node_path: true, ..Options::default() },
        ..Operation::new(OperationKind::DeleteAll)
    };
    let json = serde_json::to_string(&operation).unwrap();
    assert_eq!(serde_json::from_str::<Operation>(&json).unwrap(), operation);
    assert!(serde_json::from_str::<Operation>(r#"{"kind":"bump"}"#).is_ok());
    let refusal = refused(&document(), &Operation::new(OperationKind::Create));
    let json = serde_json::to_value(&refusal).unwrap();
    assert_eq!((json["rc"].as_i64(), json["error"].as_str()), (Some(70), Some("Invalid argument")));
}

/// A plus sign is one however it was written.
#[test]
fn values_count_on_also_where_a_plus_sign_is_a_character_reference() {
    let before = Element::parse(EMPTY, "empty").unwrap();
    let set = |value: &str| Operation {
        section: Some("crm_config".into()),
        xml: Some(format!(
            r#"<cluster_property_set id="s"><nvpair id="n" name="size" value="{value}"/></cluster_property_set>"#
        )),
        ..Operation::new(OperationKind::Create)
    };
    let plain = apply(&before, &set("value++")).unwrap().document;
    assert_ne!(plain.find_id("n").unwrap().get("value"), Some("value++"));
    for value in ["value&#43;&#43;", "value+&#x2b;"] {
        assert_eq!(apply(&before, &set(value)).unwrap().document, plain, "{value}");
    }
}
