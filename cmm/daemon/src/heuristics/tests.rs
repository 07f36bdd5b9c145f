//! Scores, what follows from them, and a helper that runs real programs.

use cmm_conf::{Config, Host};
use holdfast_types::Span;

use super::*;

fn at(millis: u64) -> Boottime {
    Boottime::ZERO + Span::from_millis(millis)
}

/// Interval 1 s, tko 4.
fn disk(more: &str) -> cmm_conf::Heuristics {
    let text = format!(
        "totem {{\n version: 2\n cluster_name: c\n nodeid: 1\n}}\nnodelist {{\n node {{\n nodeid: 1\n ring0_addr: 10.0.0.1\n }}\n\
         node {{\n nodeid: 2\n ring0_addr: 10.0.0.2\n }}\n}}\nquorum {{\n provider: corosync_votequorum\n device {{\n model: disk\n\
         disk {{\n device: /dev/x\n{more} }}\n }}\n}}\n"
    );
    let host = Host { hostname: "n1", resolve: &|_| vec![], is_local: &|_| false };
    let (config, found): (Option<Config>, _) = cmm_conf::parse("c.conf", text.as_bytes(), &host);
    assert_eq!(found.to_string(), "");
    config.and_then(|c| c.quorum.heuristics()).expect("a disk")
}

#[test]
fn r17_who_loses_the_score_is_not_fit_and_waits_when_it_has_it_again() {
    let config = disk(
        "min_score: 2\n heuristic {\n program: a\n score: 2\n }\n heuristic {\n program: b\n }\n upgrade_wait: 3\n",
    );
    let mut judge = Judge::default();
    assert_eq!(judge.judge(&config, at(0), 0, false), (false, None), "nothing is known yet");
    let (fit, said) = judge.judge(&config, at(100), 2, false);
    let text = "Score sufficient for master operation (2/3; required=2); upgrading";
    assert_eq!((fit, said.as_deref()), (false, Some(text)));
    assert_eq!(judge.judge(&config, at(3_099), 3, true), (false, None), "three intervals have not passed");
    assert_eq!(judge.judge(&config, at(3_100), 3, true), (true, None));
    let (fit, said) = judge.judge(&config, at(4_000), 1, true);
    let text = "Score insufficient for master operation (1/3; required=2); downgrading";
    assert_eq!((fit, said.as_deref()), (false, Some(text)));
    assert!(!judge.judge(&config, at(4_100), 2, true).0, "it waits again");
    assert_eq!(judge.judge(&config, at(7_100), 2, true), (true, None));

    let mut judge = Judge::default();
    let (_, said) = judge.judge(&config, at(0), 1, true);
    assert!(said.is_some_and(|s| s.starts_with("Initial score 1/3 is insufficient")));
    assert_eq!(judge.judge(&config, at(100), 1, true), (false, None), "it is said once");
}

#[test]
fn what_was_not_heard_of_for_long_does_not_count() {
    let config =
        disk("heuristic {\n program: a\n}\n heuristic {\n program: b\n score: 2\n}\n min_score: 1\n");
    let reports = Arc::new(ArrayQueue::new(4));
    let hurry = Hurry::start(Arc::new(Mutex::new(None))).unwrap();
    let tests =
        Tests { config, reports: Arc::clone(&reports), last: vec![None; 2], judge: Judge::default(), hurry };
    let mut heuristics = Heuristics { tests: Some(tests) };
    let look = |h: &Heuristics, now| h.tests.as_ref().map(|t| (t.score(now), t.proven()));
    assert_eq!(look(&heuristics, at(0)), Some((0, at(0))));
    assert!(!heuristics.take(), "nothing yet");
    let report =
        |number, begun| Report { number, up: true, succeeded: true, begun: at(begun), heard: at(begun) };
    reports.force_push(report(0, 1_000));
    reports.force_push(report(9, 1_000));
    assert!(heuristics.take());
    // Every second, for three at most, and as much again.
    assert_eq!(look(&heuristics, at(8_000)), Some((1, at(1_000))));
    assert_eq!(look(&heuristics, at(8_001)), Some((0, at(1_000))), "the helper stands still");
    reports.force_push(report(1, 7_000));
    heuristics.take();
    assert_eq!(look(&heuristics, at(8_000)), Some((3, at(7_000))), "the later one suffices");
    if let Some(tests) = &mut heuristics.tests {
        tests.config.min_score = 3;
    }
    assert_eq!(look(&heuristics, at(8_000)), Some((3, at(1_000))), "both are needed");
    // It failed, and counts for a little longer; but it proves nothing.
    reports.force_push(Report { succeeded: false, ..report(1, 7_500) });
    heuristics.take();
    assert_eq!(look(&heuristics, at(8_000)), Some((3, at(0))));
    assert_eq!(heuristics.min_score(), 3);
}

#[test]
fn arguments_come_back() {
    let config = disk("heuristic {\n program: echo \"a  b\" && true\n}\n heuristic {\n program: c\n}\n");
    let args = helper::arguments(&config.tests, Duration::from_secs(3));
    assert_eq!(args[..5], [helper::WORD, "3000", "1000", "3", "echo \"a  b\" && true"]);
    assert_eq!(args.len(), 2 + 3 * 2);
}
