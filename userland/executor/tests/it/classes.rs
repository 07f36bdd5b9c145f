//! Init scripts, plugins of cluster-glue and Nagios plugins: how they are called, and what their exit codes mean.

use std::path::Path;

use executor::{Job, OpStatus, Work, rc};
use holdfast_types::Span;

use crate::{Bench, job, next, write_executable};

fn with(id: u64, work: Work) -> Job {
    let mut j = job(id, "r", "", "");
    j.work = work;
    j
}

#[test]
fn codes_of_init_scripts_are_mapped() {
    let mut bench = Bench::new("lsb");
    bench.config.init_dirs = vec![bench.root.clone()];
    let call = bench.root.join("call");
    let (executor, outcomes) = bench.start();
    let cases = [
        ("monitor", 0, 0),
        ("monitor", 1, 7),
        ("monitor", 2, 7),
        ("monitor", 3, 7),
        ("monitor", 4, 1),
        ("monitor", 150, 5),
        ("monitor", 151, 4),
        ("monitor", 200, 1),
        ("start", 0, 0),
        ("start", 5, 5),
        ("start", 7, 7),
        ("start", 8, 1),
        ("stop", 1, 1),
    ];
    for (id, (action, code, want)) in cases.into_iter().enumerate() {
        let body = format!("echo \"$#$1\" > {}; env | grep -c OCF_; exit {code}", call.display());
        write_executable(&bench.root.join("script"), &body);
        let work = match id % 2 {
            0 => Work::of("lsb", "", "script", action),
            // There is a script of this name, so it is that.
            _ => Work::of("service", "", "script", action),
        };
        executor.submit(with(id as u64, work.expect("a class")));
        let out = next(&outcomes);
        assert_eq!((out.status, out.rc), (OpStatus::Done, want), "{action} {code}");
        assert_eq!(out.stdout.trim(), "0", "no parameters, no variables of OCF");
        let called = std::fs::read_to_string(&call).expect("it was called");
        let status = if action == "monitor" { "status" } else { action };
        assert_eq!(called.trim(), format!("1{status}"));
    }
    assert_eq!(Work::of("upstart", "", "x", "start"), None);
}

#[test]
fn a_plugin_of_cluster_glue_gets_what_it_declares_and_nothing_else() {
    let mut bench = Bench::new("glue");
    let dir = bench.root.join("external");
    std::fs::create_dir_all(&dir).expect("a folder");
    bench.config.glue_dirs = vec![bench.root.clone()];
    let log = bench.root.join("log");
    let body = format!(
        "echo \"$*|$hostlist|$undeclared|$nodename|$HA_LOGTAG\" >> {}\n\
         case $1 in getconfignames) echo hostlist; echo password;; gethosts) echo node8; echo node9;; off) exit 1;; esac",
        log.display()
    );
    write_executable(&dir.join("own"), &body);
    let (executor, outcomes) = bench.start();
    let calls = [
        ("monitor", "status", 0),
        ("list", "gethosts", 0),
        ("reboot", "reset node8", 0),
        ("off", "off node8", 1),
    ];
    for (id, (action, word, want)) in calls.into_iter().enumerate() {
        let mut j = with(id as u64, Work::Fence { agent: "external/own".into(), action: action.into() });
        j.params =
            [("hostlist", "node8 node9"), ("undeclared", "x"), ("nodename", "node8"), ("port", "node8")]
                .map(|(k, v)| (k.to_owned(), v.to_owned()))
                .to_vec();
        executor.submit(j);
        let out = next(&outcomes);
        assert_eq!((out.status, out.rc), (OpStatus::Done, want), "{action}: {out:?}");
        let log = std::fs::read_to_string(&log).expect("it was called");
        let last: Vec<&str> = log.lines().rev().take(2).collect();
        assert_eq!(last[1], "getconfignames||||external/own", "names are asked first, without parameters");
        assert_eq!(last[0], format!("{word}|node8 node9||node8|external/own"));
        if action == "list" {
            assert_eq!(out.stdout, "node8\nnode9\n");
        }
    }
    // A file that anybody may change would run as root.
    let path = dir.join("own");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(&path, mode).expect("mode set");
    executor.submit(with(9, Work::Fence { agent: "external/own".into(), action: "monitor".into() }));
    let out = next(&outcomes);
    assert!(out.status == OpStatus::Error && out.reason.contains("chmod go-w"), "{out:?}");
}

#[test]
fn the_real_plugin_null_fences_and_ssh_lists() {
    if !Path::new("/usr/lib/stonith/plugins/external/ssh").exists() {
        eprintln!("SKIPPED: needs the package cluster-glue");
        return;
    }
    let bench = Bench::new("null");
    let (executor, outcomes) = bench.start();
    // In C: it says that it fenced whom it lists.
    for (id, (agent, action)) in
        [("null", "monitor"), ("null", "list"), ("null", "reboot"), ("external/ssh", "list")]
            .into_iter()
            .enumerate()
    {
        let mut j = with(id as u64, Work::Fence { agent: agent.into(), action: action.into() });
        j.params = [("hostlist", "n1 n2"), ("nodename", "n2"), ("port", "n2")]
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .to_vec();
        executor.submit(j);
        let out = next(&outcomes);
        assert!(out.is_ok(), "{agent} {action}: {out:?}");
        if action == "list" {
            assert!(out.stdout.contains("n1") && out.stdout.contains("n2"), "{out:?}");
        }
    }
}

#[test]
fn a_nagios_plugin_is_a_check() {
    let mut bench = Bench::new("nagios");
    bench.config.nagios_dirs = vec![bench.root.clone()];
    let (executor, outcomes) = bench.start();
    write_executable(&bench.root.join("check_own"), "echo \"$*\"; [ \"$1\" = --version ] && exit 0; exit $2");
    let minute = Span::from_secs(60);
    for (id, (action, interval, code, want, args)) in [
        ("monitor", Span::ZERO, "0", 7, "--version"),
        ("start", Span::ZERO, "0", 0, "--code 0 --host a b"),
        ("monitor", minute, "0", 0, "--code 0 --host a b"),
        ("monitor", minute, "1", rc::DEGRADED, "--code 1 --host a b"),
        ("monitor", minute, "2", 1, "--code 2 --host a b"),
        ("stop", Span::ZERO, "2", 0, ""),
    ]
    .into_iter()
    .enumerate()
    {
        let work = Work::of("nagios", "", "check_own", action).expect("a class");
        let mut j = Job { interval, ..with(id as u64, work) };
        j.params = [("code", code), ("host", "a b")].map(|(k, v)| (k.to_owned(), v.to_owned())).to_vec();
        executor.submit(j);
        let out = next(&outcomes);
        assert_eq!((out.status, out.rc, out.stdout.trim()), (OpStatus::Done, want, args), "{action} {code}");
        executor.cancel(out.id);
        if out.recurring {
            assert_eq!(next(&outcomes).status, OpStatus::Cancelled);
        }
    }
    let dummy = Path::new("/usr/lib/nagios/plugins/check_dummy");
    if !dummy.exists() {
        eprintln!("SKIPPED in part: needs the package monitoring-plugins-basic");
        return;
    }
    let real = executor::ExecutorConfig::new("node1", 1, bench.root.clone());
    let (executor, outcomes) = executor::Executor::new(real, || {}).expect("executor starts");
    executor.submit(with(1, Work::of("nagios", "", "check_dummy", "monitor").expect("a class")));
    let out = next(&outcomes);
    assert!(out.stdout.starts_with("check_dummy v"), "the real one was asked for its version: {out:?}");
}
