//! Runs end with all that they started, leave nothing behind, and wait for nobody else.

use std::path::Path;

use executor::{OpStatus, rc};
use holdfast_types::Span;

use crate::{Bench, eventually, gone, job, next};

/// A child that leaves its process group, its session and its parent, and ignores SIGTERM.
const ESCAPE: &str = "setsid sh -c 'trap \"\" TERM; echo $$ >> PIDS; sleep 1000 & echo $! >> PIDS; wait' \
                      </dev/null >/dev/null 2>&1 &";

#[test]
fn at_the_timeout_even_what_detached_itself_is_killed() {
    let bench = Bench::new("escape");
    let pids = bench.root.join("pids");
    // The outer one ends at once, so that its child's parent is gone.
    let body = format!("sh -c \"{}\"; sleep 1000", ESCAPE.replace('"', "\\\"").replace("$", "\\$"));
    bench.agent("Escape", &body.replace("PIDS", &pids.display().to_string()));
    let (executor, outcomes) = bench.start();
    if !executor.surroundings().contains("below") {
        eprintln!("SKIPPED: cgroups cannot be made here: {}", executor.surroundings());
        return;
    }
    let mut j = job(1, "r", "Escape", "start");
    j.timeout = Span::from_secs(2);
    executor.submit(j);
    let out = next(&outcomes);
    assert_eq!((out.status, out.rc), (OpStatus::Timeout, rc::TIMED_OUT));
    assert!(out.stderr.contains("still running at its timeout: Escape ("), "{}", out.stderr);
    let pids = std::fs::read_to_string(pids).expect("the child ran");
    assert_eq!(pids.lines().count(), 2, "{pids}");
    for pid in pids.lines().map(|l| l.parse::<u32>().expect("a pid")) {
        assert!(eventually(|| gone(pid)), "{pid} outlived the timeout");
    }
}

#[test]
fn an_agent_may_clean_up_after_sigterm() {
    let bench = Bench::new("term");
    let mark = bench.root.join("cleaned");
    bench.agent("Clean", &format!("trap 'echo yes > {}; exit 0' TERM; sleep 1000 & wait", mark.display()));
    let (executor, outcomes) = bench.start();
    let mut j = job(1, "r", "Clean", "monitor");
    j.timeout = Span::from_millis(500);
    executor.submit(j);
    assert_eq!(next(&outcomes).status, OpStatus::Timeout);
    assert!(mark.exists(), "SIGTERM came first, and there was time");
}

#[test]
fn a_hundred_times_as_many_runs_leave_no_descriptor_no_child_and_no_cgroup() {
    let bench = Bench::new("many");
    bench.agent("Quick", "exit 0");
    let (executor, outcomes) = bench.start();
    let count = |n: u64| {
        for id in 0..n {
            executor.submit(job(id, &format!("r{}", id % 7), "Quick", "monitor"));
        }
        for _ in 0..n {
            assert!(next(&outcomes).is_ok());
        }
        let descriptors = std::fs::read_dir("/proc/self/fd").expect("own descriptors").count();
        (descriptors, children(), groups(executor.surroundings()))
    };
    let few = count(10);
    let many = count(1_000);
    assert_eq!(few, many, "descriptors, children, cgroups");
    assert_eq!(many.1, 0);
}

#[test]
fn a_fence_agent_does_not_wait_for_others_turn() {
    let bench = Bench::new("turn");
    bench.agent("Slow", "sleep 1000");
    crate::write_executable(&bench.root.join("fence_quick"), "exit 0");
    let (executor, outcomes) = bench.start();
    // More than may run at once.
    for id in 0..10 {
        executor.submit(job(id, &format!("slow{id}"), "Slow", "start"));
    }
    let mut fence = job(99, "fence", "", "");
    fence.work = executor::Work::Fence { agent: "fence_quick".into(), action: "off".into() };
    executor.submit(fence);
    let out = next(&outcomes);
    assert!(out.id.0 == 99 && out.is_ok(), "{out:?}");
}

#[test]
fn the_longest_waiting_runs_first_whoever_asks_most() {
    let bench = Bench::new("fair");
    let log = bench.root.join("log");
    bench.agent("Log", &format!("echo $OCF_RESOURCE_INSTANCE >> {}", log.display()));
    let mut config = bench.config.clone();
    config.parallel_max = 1;
    let (executor, outcomes) = executor::Executor::new(config, || {}).expect("executor starts");
    let asked = ["a", "a", "a", "b", "a", "c", "a", "a"];
    for (id, resource) in asked.iter().enumerate() {
        executor.submit(job(id as u64, resource, "Log", "monitor"));
    }
    for _ in 0..asked.len() {
        assert!(next(&outcomes).is_ok());
    }
    let log = std::fs::read_to_string(log).expect("log written");
    assert_eq!(log.lines().collect::<Vec<_>>(), asked);
}

fn children() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").expect("own threads").flatten();
    let text = |t: std::fs::DirEntry| std::fs::read_to_string(t.path().join("children")).unwrap_or_default();
    tasks.map(text).map(|t| t.split_whitespace().count()).sum()
}

fn groups(surroundings: &str) -> usize {
    let Some((_, dir)) = surroundings.split_once("below ") else { return 0 };
    let entries = std::fs::read_dir(Path::new(dir)).expect("our cgroups").flatten();
    entries.filter(|e| e.file_type().is_ok_and(|t| t.is_dir())).count()
}
