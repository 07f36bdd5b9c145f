//! Alert agents get their variables, as an ordinary user, and hold nobody else up.

use std::path::PathBuf;

use executor::{Alert, AlertEvent, Alerts, Selection};
use holdfast_types::{Span, WallTime};

use crate::{Bench, eventually, write_executable};

const AT: WallTime = WallTime(1_700_000_000_012_345);

fn results(alerts: &mut Alerts, wanted: usize) -> Vec<executor::AlertResult> {
    let mut all = Vec::new();
    assert!(eventually(|| {
        all.extend(alerts.take_results());
        all.len() >= wanted
    }));
    all
}

fn open_to_all(bench: &Bench) {
    let mode: std::fs::Permissions = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(&bench.root, mode).expect("mode set");
}

#[test]
fn each_kind_of_event_has_its_variables() {
    let bench = Bench::new("alerts");
    open_to_all(&bench);
    let path = bench.root.join("dump");
    write_executable(
        &path,
        "env | grep -v ^_ | sort > $CRM_alert_recipient.$CRM_alert_kind; id -un >> $CRM_alert_recipient.user",
    );
    let out = bench.root.join("out");
    let mut alert = Alert::new("a", path, &out.display().to_string());
    alert.params = vec![("debug_exec_order".into(), "a b".into())];
    alert.selection.attributes = Some(vec!["pingd".into()]);
    let attribute = |name: &str| AlertEvent::Attribute {
        node: "n1".into(),
        id: 1,
        name: name.into(),
        value: "100".into(),
    };
    let events = [
        AlertEvent::Node { node: "n2".into(), id: 2, member: false },
        AlertEvent::Fencing { target: "n2".into(), description: "Operation off of n2".into(), rc: 0 },
        AlertEvent::Resource {
            node: "n1".into(),
            resource: "f1".into(),
            task: "start".into(),
            interval_ms: 0,
            rc: 0,
            target_rc: 0,
            status: 0,
            exec_ms: 21,
            description: "ok".into(),
        },
        attribute("pingd"),
        attribute("other"),
    ];
    let mut alerts = Alerts::new(&bench.config, || {}).expect("alerts");
    for event in &events {
        alerts.tell(std::slice::from_ref(&alert), event, AT);
    }
    let done = results(&mut alerts, 4);
    assert!(done.iter().all(|r| r.error.is_none()), "{done:?}");
    let want = [
        ("node", "desc=lost node=n2 nodeid=2 node_sequence=1"),
        ("fencing", "desc=Operation%off%of%n2 node=n2 rc=0 task=st_notify_fence node_sequence=2"),
        (
            "resource",
            "desc=ok exec_time=21 interval=0 node=n1 rc=0 rsc=f1 status=0 target_rc=0 task=start node_sequence=3",
        ),
        ("attribute", "attribute_name=pingd attribute_value=100 node=n1 nodeid=1 node_sequence=4"),
    ];
    for (kind, own) in want {
        let text = std::fs::read_to_string(out.with_extension(kind)).expect("it was told");
        let common = format!(
            "kind={kind} version=2.1.5 recipient={} timestamp_epoch=1700000000 timestamp_usec=012345",
            out.display()
        );
        let mut found: Vec<String> = text
            .lines()
            .filter_map(|l| l.strip_prefix("CRM_alert_"))
            .filter(|l| !l.starts_with("timestamp="))
            .map(|l| l.replace(' ', "%"))
            .collect();
        let mut want: Vec<&str> = common.split(' ').chain(own.split(' ')).collect();
        found.sort();
        want.sort();
        assert_eq!(found, want, "{kind}");
        assert!(text.contains("CRM_alert_timestamp=") && text.contains(".012345\n"), "{text}");
        assert!(
            text.contains("debug_exec_order=a b\n") && text.contains(&format!("CRM_notify_kind={kind}\n"))
        );
        assert!(!text.contains("CRM_notify_node_sequence") && !text.contains("CARGO"), "{text}");
    }
    let root = nix::unistd::geteuid().is_root();
    let there = matches!(nix::unistd::User::from_name("hacluster"), Ok(Some(_)));
    if root && there {
        let user = std::fs::read_to_string(out.with_extension("user")).expect("it said who it is");
        assert!(user.lines().all(|l| l == "hacluster"), "{user}");
    }
}

#[test]
fn the_real_sample_agent_writes_its_line() {
    let sample = PathBuf::from("/usr/share/pacemaker/alerts/alert_file.sh.sample");
    if !sample.exists() {
        eprintln!("SKIPPED: needs the package pacemaker");
        return;
    }
    let bench = Bench::new("alertfile");
    open_to_all(&bench);
    let path = bench.root.join("alert_file.sh");
    std::fs::copy(&sample, &path).expect("copied");
    let mode: std::fs::Permissions = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&path, mode).expect("mode set");
    let out = bench.root.join("alerts.log");
    std::fs::write(&out, "").expect("made");
    let mode: std::fs::Permissions = std::os::unix::fs::PermissionsExt::from_mode(0o666);
    std::fs::set_permissions(&out, mode).expect("mode set");
    let mut alerts = Alerts::new(&bench.config, || {}).expect("alerts");
    let event = AlertEvent::Node { node: "n2".into(), id: 2, member: false };
    alerts.tell(&[Alert::new("file", path, &out.display().to_string())], &event, AT);
    let done = results(&mut alerts, 1);
    let text = std::fs::read_to_string(&out).expect("its file");
    assert!(done[0].error.is_none() && text.contains("n2") && text.contains("lost"), "{done:?}: {text}");
}

#[test]
fn one_that_hangs_delays_itself_and_what_does_not_fit_is_counted() {
    let bench = Bench::new("alerthang");
    open_to_all(&bench);
    let (quick, slow) = (bench.root.join("quick"), bench.root.join("slow"));
    write_executable(&quick, "exit 0");
    write_executable(&slow, "sleep 1000");
    let both = [
        Alert { timeout: Span::from_secs(600), ..Alert::new("slow", slow, "") },
        Alert::new("quick", quick, ""),
    ];
    let mut alerts = Alerts::new(&bench.config, || {}).expect("alerts");
    let event = AlertEvent::Node { node: "n2".into(), id: 2, member: true };
    for told in 1..=150 {
        alerts.tell(&both, &event, AT);
        // As fast as the quick one is.
        if told % 50 == 0 {
            let done = results(&mut alerts, 1);
            assert!(done.iter().all(|r| r.id == "quick" && r.error.is_none()), "{done:?}");
        }
    }
    assert!(alerts.dropped() >= 50, "of the slow one's: {}", alerts.dropped());
    let none = Alert { selection: Selection { nodes: false, ..Selection::default() }, ..both[1].clone() };
    let missing = Alert::new("missing", PathBuf::from("/nonexistent/agent"), "");
    while eventually_none(&mut alerts) {}
    alerts.tell(&[none, missing], &event, AT);
    let done = results(&mut alerts, 1);
    assert_eq!(done.len(), 1, "one does not want to know: {done:?}");
    assert!(
        done[0].id == "missing" && done[0].error.as_ref().is_some_and(|e| e.contains("not installed")),
        "{done:?}"
    );
}

/// Whether results were still coming in.
fn eventually_none(alerts: &mut Alerts) -> bool {
    std::thread::sleep(std::time::Duration::from_millis(200));
    !alerts.take_results().is_empty()
}
