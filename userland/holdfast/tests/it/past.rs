//! `holdfast cib`: the history of a configuration, and the way back.

use std::fs;

use admin::history::History;
use cib::Element;
use cib::operation::{EMPTY, Operation, OperationKind, Stamp, apply};

use crate::{Temp, holdfast, run};

/// A history of three configurations, and a document like the last one.
fn past() -> Temp {
    let temp = Temp::new();
    let state = temp.0.join("state");
    fs::create_dir_all(&state).unwrap();
    let (mut history, _) = History::open(&state).unwrap();
    let mut document = Element::parse(EMPTY, "empty").unwrap();
    history.add(&document.to_xml()).unwrap();
    for (id, user) in [("a", "root"), ("b", "tony")] {
        let add = Operation {
            section: Some("resources".into()),
            xml: Some(format!(r#"<primitive id="{id}" class="ocf" provider="heartbeat" type="Dummy"/>"#)),
            stamp: Some(Stamp {
                written: "Mon Nov 23 10:00:00 2026".into(),
                origin: "n1".into(),
                client: "cibadmin".into(),
                user: user.into(),
            }),
            ..Operation::new(OperationKind::Create)
        };
        document = apply(&document, &add).unwrap().document;
        history.add(&document.to_xml()).unwrap();
    }
    fs::write(temp.0.join("cib.xml"), document.to_xml()).unwrap();
    temp
}

fn cib(temp: &Temp, words: &[&str]) -> (Option<i32>, String, String) {
    run(holdfast(&temp.0)
        .env("CIB_file", temp.0.join("cib.xml"))
        .env_remove("CIB_shadow")
        .arg("cib")
        .args(words))
}

#[test]
fn the_history_says_who_changed_what_and_when() {
    let temp = past();
    let (code, out, err) = cib(&temp, &["history"]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines.len(), 3);
    assert!(
        lines[2].contains("0.3.0")
            && lines[2].contains("Mon Nov 23 10:00:00 2026  by tony via cibadmin on n1  1 changed"),
        "{out}"
    );
    let (_, out, _) = cib(&temp, &["history", "--json"]);
    let rows: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((rows[1]["number"].as_u64(), rows[1]["user"].as_str()), (Some(2), Some("root")));
    let (code, out, _) = cib(&temp, &["diff"]);
    assert_eq!(code, Some(0));
    assert!(out.starts_with("++ /cib/configuration/resources:  <primitive id=\"b\""), "{out}");
    let (_, out, _) = cib(&temp, &["show", "2"]);
    let shown = Element::parse(&out, "shown").unwrap();
    assert!(shown.find_id("a").is_some() && shown.find_id("b").is_none());
    let (code, _, err) = cib(&temp, &["show", "99"]);
    assert_eq!(code, Some(105));
    assert!(err.contains("holdfast cib history"), "{err}");
}

#[test]
fn a_rollback_is_a_new_change_that_puts_the_old_configuration_back() {
    let temp = past();
    let read = || Element::parse(&fs::read_to_string(temp.0.join("cib.xml")).unwrap(), "cib.xml").unwrap();
    let before = read();
    let (code, out, _) = cib(&temp, &["rollback", "2", "--dry-run"]);
    assert_eq!(code, Some(0));
    assert!(out.contains("-- /cib/configuration/resources/primitive[@id='b']"), "{out}");
    assert_eq!(read(), before, "nothing was changed");
    let (code, out, err) = cib(&temp, &["rollback", "2"]);
    assert_eq!(code, Some(0), "{err}");
    assert!(out.ends_with("the configuration is that of number 2 again\n"), "{out}");
    let after = read();
    assert_eq!(after.get("epoch"), Some("4"), "a change like any other");
    assert!(after.find_id("a").is_some() && after.find_id("b").is_none());
    let (_, out, _) = cib(&temp, &["rollback", "2"]);
    assert_eq!(out, "the configuration is that of number 2 already\n");
}

#[test]
fn a_damaged_entry_is_told_and_the_others_are_shown() {
    let temp = past();
    let folder = temp.0.join("state/cib-history");
    let second = fs::read_dir(&folder)
        .unwrap()
        .map(|f| f.unwrap().path())
        .find(|p| p.to_string_lossy().contains("/00000002-"))
        .unwrap();
    fs::write(&second, "<cib/>").unwrap();
    let (code, out, _) = cib(&temp, &["history"]);
    assert_eq!(code, Some(0));
    assert_eq!(out.lines().filter(|l| l.contains("damaged")).count(), 1, "{out}");
    assert_eq!(out.lines().count(), 3);
    assert_eq!(cib(&temp, &["show", "2"]).0, Some(65));
    assert_eq!(cib(&temp, &["rollback", "2"]).0, Some(65));
}
