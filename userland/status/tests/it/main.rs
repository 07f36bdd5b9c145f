//! Screens of whole clusters, compared byte for byte.
//!
//! `testdata/CLUSTER.OPTIONS.txt` is what crm_mon of Pacemaker 2.1.5 printed for the same cluster (with the date of
//! `Last updated` fixed, and without the feature sets that `-R` adds); `CLUSTER.json` is the cluster in our model.

mod timing;

use std::fs;
use std::path::PathBuf;

use status::{ClusterStatus, CrmMonOptions, RingReport, crm_mon, crm_mon_simple, ring_text, text, utc};

fn testdata(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/it/testdata").join(name)
}

fn read(name: &str) -> String {
    fs::read_to_string(testdata(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

fn cluster(name: &str) -> ClusterStatus {
    serde_json::from_str(&read(&format!("{name}.json"))).unwrap_or_else(|e| panic!("{name}: {e}"))
}

fn options(letters: &str) -> CrmMonOptions {
    let mut o = CrmMonOptions { live: false, ..CrmMonOptions::default() };
    for letter in letters.chars() {
        match letter {
            'r' => o.inactive = true,
            'f' => o.failcounts = true,
            'A' => o.node_attributes = true,
            'L' => o.neg_locations = Some(String::new()),
            'R' => o.show_detail = true,
            'n' => o.group_by_node = true,
            'D' => o.hide_headers = true,
            _ => panic!("option {letter}"),
        }
    }
    o
}

#[test]
fn crm_mon_prints_what_pacemaker_prints() {
    let mut compared = 0;
    for entry in fs::read_dir(testdata("")).unwrap() {
        let file = entry.unwrap().file_name().into_string().unwrap();
        let [name, letters, "txt"] = file.split('.').collect::<Vec<_>>()[..] else { continue };
        let status = cluster(name);
        let screen = match letters {
            "s" => crm_mon_simple(&status),
            "status" => continue,
            "plain" => crm_mon(&status, &options(""), utc),
            letters => crm_mon(&status, &options(letters), utc),
        };
        assert_eq!(screen, read(&file), "{file}");
        compared += 1;
    }
    assert!(compared >= 20, "only {compared} screens found");
}

#[test]
fn fencing_history_reads_as_pacemakers() {
    let mut status = ClusterStatus::default();
    let record = |target: &str, state, at: u64| status::FenceRecord {
        target: target.into(),
        action: "reboot".into(),
        executor: "n1".into(),
        client: "rgmd.7".into(),
        origin: "n1".into(),
        state,
        error: if state == status::FenceState::Failed { "No route to host".into() } else { String::new() },
        requested_unix_ms: at,
        completed_unix_ms: if state == status::FenceState::Pending { 0 } else { at },
        ..Default::default()
    };
    let at = 1_763_773_800_000;
    status.fencing = vec![
        record("n2", status::FenceState::Pending, at + 9000),
        record("n2", status::FenceState::Failed, at + 2000),
        record("n2", status::FenceState::Failed, at + 1000),
        record("n3", status::FenceState::Succeeded, at),
    ];
    let section = |o: CrmMonOptions| {
        let screen = crm_mon(&status, &o, utc);
        screen[screen.find("Failed Fencing").unwrap_or_else(|| panic!("{screen}"))..].to_owned()
    };
    assert_eq!(
        section(CrmMonOptions::default()),
        "Failed Fencing Actions:
  * reboot of n2 by n1 for rgmd.7@n1 last failed (No route to host) at 2025-11-22 01:10:02Z

Pending Fencing Actions:
  * reboot of n2 for rgmd.7@n1 pending
"
    );
    assert_eq!(
        section(CrmMonOptions { fence_history: 3, show_detail: true, ..CrmMonOptions::default() }),
        "Failed Fencing Actions:
  * reboot of n2 failed (No route to host): delegate=n1, client=rgmd.7, origin=n1, completed='2025-11-22 01:10:02Z'
  * reboot of n2 failed (No route to host): delegate=n1, client=rgmd.7, origin=n1, completed='2025-11-22 01:10:01Z'

Fencing History:
  * reboot of n2 pending: client=rgmd.7, origin=n1
  * reboot of n3 successful: delegate=n1, client=rgmd.7, origin=n1, completed='2025-11-22 01:10:00Z'
"
    );
}

#[test]
fn status_text_is_as_recorded() {
    for name in ["mixed", "alarm", "empty", "stopped", "odd", "waiting", "device"] {
        let plain = strip(&text(&cluster(name), utc));
        let file = format!("{name}.status.txt");
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            fs::write(testdata(&file), &plain).unwrap();
        }
        assert_eq!(plain, read(&file), "{name}: set UPDATE_EXPECT=1 where the change is wanted");
        assert!(plain.lines().all(|l| l.trim_end() == l), "{name}: trailing blanks");
    }
}

#[test]
fn ring_text_is_as_recorded() {
    for name in ["calm", "trouble", "sparse", "silent"] {
        let report: RingReport = serde_json::from_str(&read(&format!("ring/{name}.json"))).unwrap();
        let plain = strip(&ring_text(&report, utc));
        let file = format!("ring/{name}.txt");
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            fs::write(testdata(&file), &plain).unwrap();
        }
        assert_eq!(plain, read(&file), "{name}: set UPDATE_EXPECT=1 where the change is wanted");
        assert!(plain.lines().all(|l| l.trim_end() == l), "{name}: trailing blanks");
        let again: RingReport = serde_json::from_str(&serde_json::to_string(&report).unwrap()).unwrap();
        assert_eq!(report, again);
    }
}

#[test]
fn the_model_survives_json_and_tolerates_missing_and_new_fields() {
    let status = cluster("mixed");
    let again: ClusterStatus = serde_json::from_str(&serde_json::to_string(&status).unwrap()).unwrap();
    assert_eq!(status, again);
    let sparse: ClusterStatus =
        serde_json::from_str(r#"{"resources":[{"id":"a","later":1}],"later":{}}"#).unwrap();
    assert!(sparse.resources[0].managed && sparse.cib.stonith_enabled);
}

/// The text without its ANSI sequences.
fn strip(styled: &str) -> String {
    let mut out = String::new();
    let mut chars = styled.chars();
    while let Some(c) = chars.next() {
        if c == '\u{1b}' {
            chars.by_ref().find(|c| *c == 'm');
        } else {
            out.push(c);
        }
    }
    out
}
