//! What is written is what was read; changes raise the version.

use cib::{Cib, EditError, Element, TargetRole};

use crate::FULL;

#[test]
fn written_and_read_again_is_the_same() {
    let cib = Cib::parse(FULL, "full.xml").unwrap();
    let again = Cib::parse(&cib.to_xml(), "again").unwrap();
    assert_eq!(cib.tree(), again.tree());
    assert_eq!(cib.digest(), again.digest());
}

#[test]
fn odd_characters_survive() {
    let value = "tab\t newline\n return\r quote\" less< amp& apos' end]]> ünïcödé 漢";
    let tree = Element::new("cib").with("odd", value).with("empty", "");
    let mut root = tree.clone();
    root.child_mut("configuration");
    let text = root.to_xml();
    let again = Cib::parse(&text, "x").unwrap();
    assert_eq!(again.tree().get("odd"), Some(value));
    assert_eq!(again.tree(), &root);
}

#[test]
fn digests_see_every_difference() {
    let cib = Cib::parse(FULL, "full.xml").unwrap();
    let other = Cib::parse(
        &FULL.replace("value=\"200\"", "value=\"201\"").replace("score=\"200\"", "score=\"201\""),
        "x",
    );
    assert_ne!(cib.digest(), other.unwrap().digest());
}

#[test]
fn a_change_raises_the_epoch() {
    let cib = Cib::parse(FULL, "full.xml").unwrap();
    let standby = cib.with_node_attribute(2, "srv02", "standby", Some("on")).unwrap();
    assert_eq!((standby.version.epoch, standby.version.num_updates), (8, 0));
    assert_eq!(standby.node("srv02").unwrap().attributes["standby"], "on");
    assert_eq!(standby.node("srv01").unwrap().attributes["standby"], "on", "untouched");
    let back = standby.with_node_attribute(2, "srv02", "standby", None).unwrap();
    assert!(back.node("srv02").unwrap().attributes.is_empty());
    assert_eq!(back.version.epoch, 9);
    let new = cib.with_node_attribute(3, "srv03", "standby", Some("off")).unwrap();
    assert_eq!(new.node("srv03").unwrap().id, "3");
    let replaced = cib.with_version_after(back.version).unwrap();
    assert_eq!((replaced.version.admin_epoch, replaced.version.epoch), (1, 10), "replaces what is in force");
    assert_eq!(back.with_version_after(cib.version).unwrap().version, back.version, "is newer anyway");
    let stopped = cib.with_meta("grp", "target-role", Some("Stopped")).unwrap();
    assert_eq!(stopped.primitive("ip").unwrap().meta.target_role, TargetRole::Stopped);
    assert_eq!(cib.with_meta("nobody", "a", None).unwrap_err(), EditError::NoSuchResource("nobody".into()));
}
