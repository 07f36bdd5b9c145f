//! The timing model as text and as JSON.

use status::{Lateness, NodeRef, TimingReport, TimingRow, timing_text};

use crate::strip;

fn report() -> TimingReport {
    let row = |name: &str, us, why: &str| TimingRow { name: name.into(), us, why: why.into() };
    TimingReport {
        cluster_name: "prod".into(),
        node: NodeRef { id: 1, name: "alpha".into() },
        answered: true,
        rows: vec![
            row("heartbeat", Some(40_000), "between two heartbeats"),
            row("takeover", None, "by confirmed death only"),
        ],
        lateness: Lateness { count: 5_000, p99_us: 128, max_us: 2_100 },
        safe: Some(true),
        ..TimingReport::default()
    }
}

fn plain(report: &TimingReport) -> String {
    strip(&timing_text(report))
}

#[test]
fn the_arithmetic_and_its_judgement_are_aligned() {
    let want = "\
Timing model of cluster prod, in force on alpha

heartbeat  40 ms   between two heartbeats
takeover   -       by confirmed death only
lateness   128 µs  wake-ups of cmmd on this machine, 99 of 100 within; the latest of 5000 2.1 ms

safe with this machine's lateness
";
    assert_eq!(plain(&report()), want);
    let broken = "totem.lease_margin 1ms is too little".to_owned();
    let unsafe_one = TimingReport { safe: Some(false), broken, ..report() };
    assert!(plain(&unsafe_one).ends_with("\nUNSAFE: totem.lease_margin 1ms is too little\n"));
    let young = TimingReport { safe: None, ..report() };
    assert!(plain(&young).contains("not judged yet"));
}

#[test]
fn a_release_that_knows_less_is_understood() {
    let report: TimingReport = serde_json::from_str("{}").unwrap();
    assert_eq!(report, TimingReport::default());
    assert_eq!(plain(&report), "No timing model\n");
}
