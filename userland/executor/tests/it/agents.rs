//! Agents written here, and `ocf:heartbeat:Dummy` where it is installed.

use std::path::Path;

use executor::{JobId, OpStatus, Work, rc};
use holdfast_types::Span;

use crate::{Bench, eventually, gone, job, next, write_executable};

#[test]
fn an_agent_sees_the_contract_and_nothing_of_our_environment() {
    let bench = Bench::new("env");
    bench.agent("Env", "env; echo \"args=$*\"; echo fds=$(ls /proc/self/fd | wc -l); umask; exit 0");
    let (executor, outcomes) = bench.start();
    let mut j = job(1, "db", "Env", "monitor");
    j.params = vec![("ip".into(), "10.0.0.1 with blanks".into())];
    j.meta = vec![("migration-threshold".into(), "3".into()), ("OCF_CHECK_LEVEL".into(), "10".into())];
    executor.submit(j);
    let out = next(&outcomes);
    assert!(out.is_ok(), "{out:?}");
    for line in [
        "OCF_RESOURCE_INSTANCE=db",
        "OCF_RESOURCE_TYPE=Env",
        "OCF_RESOURCE_PROVIDER=test",
        "OCF_RA_VERSION_MAJOR=1",
        "OCF_RESKEY_ip=10.0.0.1 with blanks",
        "OCF_RESKEY_CRM_meta_migration_threshold=3",
        "OCF_RESKEY_CRM_meta_timeout=60000",
        "OCF_RESKEY_CRM_meta_on_node=node1",
        "OCF_CHECK_LEVEL=10",
        "LC_ALL=C",
        "args=monitor",
        "0026",
    ] {
        assert!(out.stdout.lines().any(|l| l == line), "{line} missing in\n{}", out.stdout);
    }
    assert!(!out.stdout.contains("CARGO"), "our environment leaks:\n{}", out.stdout);
    assert!(!out.stdout.contains("CRM_meta_interval"), "a probe has no interval");
    // `ls` itself has 0, 1, 2 and the folder it reads.
    assert!(out.stdout.contains("fds=4\n"), "descriptors leak:\n{}", out.stdout);
}

/// Variables that Pacemaker 2.1.5 gave to an agent of a promotable clone's kind, recorded; but those of clones, which the
/// caller puts among the meta attributes.
#[test]
fn the_variables_of_an_operation_are_those_recorded_of_the_original() {
    let bench = Bench::new("recorded");
    bench.agent("Env", "env");
    let (executor, outcomes) = bench.start();
    let names = |action: &str, interval: Span| {
        let mut j = job(1, "d", "Env", action);
        j.params = vec![("p".into(), "a b".into())];
        j.meta = vec![("migration-threshold".into(), "3".into())];
        // As the caller does it: a probe has no name.
        if interval > Span::ZERO || action != "monitor" {
            j.meta.push(("name".into(), action.into()));
        }
        j.interval = interval;
        executor.submit(j);
        let out = next(&outcomes);
        executor.cancel(JobId(1));
        if out.recurring {
            next(&outcomes);
        }
        let ours = |l: &str| {
            ["OCF_", "HA_", "PCMK_"].iter().any(|p| l.starts_with(p)) && !l.starts_with("HA_RSCTMP")
        };
        let mut names: Vec<String> = out
            .stdout
            .lines()
            .filter(|l| ours(l))
            .filter_map(|l| Some(l.split_once('=')?.0.to_owned()))
            .collect();
        names.sort();
        names
    };
    let always = [
        "HA_cluster_type",
        "HA_debug",
        "HA_logfacility",
        "HA_quorum_type",
        "OCF_EXIT_REASON_PREFIX",
        "OCF_OUTPUT_FORMAT",
        "OCF_RA_VERSION_MAJOR",
        "OCF_RA_VERSION_MINOR",
        "OCF_RESKEY_CRM_meta_migration_threshold",
        "OCF_RESKEY_CRM_meta_on_node",
        "OCF_RESKEY_CRM_meta_on_node_uuid",
        "OCF_RESKEY_CRM_meta_timeout",
        "OCF_RESKEY_crm_feature_set",
        "OCF_RESKEY_p",
        "OCF_RESOURCE_INSTANCE",
        "OCF_RESOURCE_PROVIDER",
        "OCF_RESOURCE_TYPE",
        "OCF_ROOT",
        "PCMK_cluster_type",
        "PCMK_debug",
        "PCMK_logfacility",
        "PCMK_quorum_type",
    ];
    let with = |more: &[&str]| {
        let mut all: Vec<String> = always.iter().chain(more).map(|s| (*s).to_owned()).collect();
        all.sort();
        all
    };
    assert_eq!(names("monitor", Span::ZERO), with(&[]), "a probe");
    assert_eq!(names("start", Span::ZERO), with(&["OCF_RESKEY_CRM_meta_name"]));
    let recurring = ["OCF_RESKEY_CRM_meta_name", "OCF_RESKEY_CRM_meta_interval"];
    assert_eq!(names("monitor", Span::from_secs(100)), with(&recurring));
}

#[test]
fn a_hanging_agent_is_killed_with_its_whole_group() {
    let bench = Bench::new("hang");
    let pids = bench.root.join("pids");
    bench.agent("Hang", &format!("trap '' TERM; sleep 1000 & echo $$ $! > {}; wait", pids.display()));
    let (executor, outcomes) = bench.start();
    let mut j = job(1, "r", "Hang", "start");
    j.timeout = Span::from_millis(500);
    executor.submit(j);
    let out = next(&outcomes);
    assert_eq!((out.status, out.rc), (OpStatus::Timeout, rc::TIMED_OUT));
    assert!(out.reason.contains("timeout of 500 ms"), "{}", out.reason);
    let pids = std::fs::read_to_string(pids).expect("the agent ran");
    for pid in pids.split_whitespace() {
        let pid: u32 = pid.parse().expect("a pid");
        assert!(eventually(|| gone(pid)), "process {pid} survived its group's SIGKILL");
    }
}

#[test]
fn a_daemon_left_by_start_does_not_hold_the_result_back() {
    let bench = Bench::new("daemon");
    let pid = bench.root.join("pid");
    bench.agent("Daemon", &format!("sleep 1000 & echo $! > {}; exit 0", pid.display()));
    let (executor, outcomes) = bench.start();
    executor.submit(job(1, "r", "Daemon", "start"));
    assert!(next(&outcomes).is_ok());
    let pid = std::fs::read_to_string(pid).expect("the daemon's pid");
    assert!(Path::new("/proc").join(pid.trim()).exists(), "the daemon lives on");
    let killed = std::process::Command::new("kill").args(["-9", pid.trim()]).status().expect("kill runs");
    assert!(killed.success());
}

#[test]
fn a_flood_of_output_is_drained_and_capped() {
    let bench = Bench::new("flood");
    bench.agent("Flood", "head -c 5000000 /dev/zero | tr '\\0' x; echo ocf-exit-reason:no room >&2; exit 1");
    let (executor, outcomes) = bench.start();
    executor.submit(job(1, "r", "Flood", "start"));
    let out = next(&outcomes);
    assert_eq!((out.status, out.rc, out.stdout.len()), (OpStatus::Done, 1, 64 * 1024));
    assert_eq!(out.reason, "no room");
}

#[test]
fn operations_of_one_resource_never_overlap_and_others_run_beside_it() {
    let bench = Bench::new("serial");
    let log = bench.root.join("log");
    // The first operation of `a` ends only when `b` has started: without parallel resources this would time out.
    bench.agent(
        "Log",
        &format!(
            "echo \"+$OCF_RESOURCE_INSTANCE\" >> {0}; [ $OCF_RESOURCE_INSTANCE = a ] && until grep -q +b {0}; do :; done; echo \"-$OCF_RESOURCE_INSTANCE\" >> {0}",
            log.display()
        ),
    );
    let (executor, outcomes) = bench.start();
    for (id, resource) in [(1, "a"), (2, "a"), (3, "b")] {
        executor.submit(job(id, resource, "Log", "monitor"));
    }
    for _ in 0..3 {
        assert!(next(&outcomes).status == OpStatus::Done);
    }
    let log = std::fs::read_to_string(log).expect("log written");
    let of_a: Vec<&str> = log.lines().filter(|l| l.ends_with('a')).collect();
    assert_eq!(of_a, ["+a", "-a", "+a", "-a"]);
}

#[test]
fn a_recurring_monitor_reports_changes_and_can_be_cancelled() {
    let bench = Bench::new("recurring");
    let flag = bench.root.join("broken");
    bench.agent("Flag", &format!("[ -e {} ] && exit 7; exit 0", flag.display()));
    let (executor, outcomes) = bench.start();
    let mut j = job(9, "r", "Flag", "monitor");
    j.interval = Span::from_millis(20);
    executor.submit(j);
    let first = next(&outcomes);
    assert!(first.is_ok() && first.recurring);
    std::fs::write(&flag, "").expect("flag set");
    let second = next(&outcomes);
    assert_eq!(
        (second.status, second.rc),
        (OpStatus::Done, rc::NOT_RUNNING),
        "the change, and nothing before it"
    );
    executor.cancel(JobId(9));
    let last = next(&outcomes);
    assert_eq!((last.status, last.recurring), (OpStatus::Cancelled, false));
}

#[test]
fn a_missing_agent_and_an_unsafe_name_are_told_apart() {
    let bench = Bench::new("missing");
    let (executor, outcomes) = bench.start();
    executor.submit(job(1, "r", "Nosuch", "start"));
    let out = next(&outcomes);
    assert_eq!((out.status, out.rc), (OpStatus::NotInstalled, rc::ERR_INSTALLED));
    assert!(out.reason.contains("resource.d/test/Nosuch"), "{}", out.reason);
    executor.submit(job(2, "r", "../../../bin/sh", "start"));
    let out = next(&outcomes);
    assert_eq!((out.status, out.rc), (OpStatus::Error, rc::ERR_CONFIGURED));
}

#[test]
fn a_fence_agent_reads_its_parameters_from_standard_input() {
    let bench = Bench::new("fence");
    let seen = bench.root.join("seen");
    write_executable(
        &bench.root.join("fence_test"),
        &format!("[ $# = 0 ] || exit 2; cat > {}", seen.display()),
    );
    let (executor, outcomes) = bench.start();
    let mut j = job(1, "fence-node2", "", "");
    j.work = Work::Fence { agent: "fence_test".into(), action: "off".into() };
    j.params = vec![("port".into(), "node2".into()), ("ip".into(), "a\naction=on".into())];
    executor.submit(j);
    assert!(next(&outcomes).is_ok());
    let seen = std::fs::read_to_string(seen).expect("input kept");
    assert_eq!(seen, "port=node2\nip=a action=on\naction=off\n", "a value cannot smuggle a key in");
}

#[test]
fn the_real_dummy_agent_starts_and_stops() {
    if !Path::new("/usr/lib/ocf/resource.d/heartbeat/Dummy").exists() {
        eprintln!("skipped: needs the package resource-agents");
        return;
    }
    let bench = Bench::new("dummy");
    let (executor, outcomes) = bench.start();
    let state = bench.root.join("dummy.state").display().to_string();
    for (id, action, want) in
        [(1, "monitor", 7), (2, "start", 0), (3, "monitor", 0), (4, "stop", 0), (5, "monitor", 7)]
    {
        let mut j = job(id, "dummy", "", "");
        j.work = Work::Ocf { provider: "heartbeat".into(), agent: "Dummy".into(), action: action.into() };
        j.params = vec![("state".into(), state.clone())];
        executor.submit(j);
        let out = next(&outcomes);
        assert_eq!((out.status, out.rc), (OpStatus::Done, want), "{action}: {out:?}");
    }
}
