//! A local client that keeps none of the rules, beside programs that keep them all: the daemon serves these as if it were
//! not there.
//!
//! `HOLDFAST_HOSTILE_ROUNDS` and `HOLDFAST_HOSTILE_SEED` in the environment for other runs than that of the suite.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use harness::{Cib, Cluster, Options, Signal, skip};

use crate::nodes;

const ROUNDS: u64 = 60;
const SEED: u64 = 4;

fn from_env(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Compiles one of the programs here against the distribution's libraries.
fn compile(cluster: &Cluster, name: &str, libraries: &[&str]) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/netns/{name}.c"));
    let program = cluster.node_dir(1).join(name);
    let out =
        Command::new("cc").args(["-O2", "-Wall", "-o"]).arg(&program).arg(source).args(libraries).output();
    let out = out.expect("a C compiler");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    program
}

/// Kilobytes of memory and open descriptors of the daemon that is attacked.
fn costs(cluster: &Cluster) -> (u64, usize) {
    let pid = cluster.find(1, "cmmd")[0].pid;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let resident = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).expect("it has memory");
    let resident = resident.split_whitespace().next().and_then(|n| n.parse().ok()).expect("a number");
    (resident, std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count())
}

/// How many configurations each node has gone through.
fn rings(cluster: &Cluster) -> Vec<usize> {
    let of_node = |n: &u32| cluster.log(*n, "cmmd").matches("A new membership").count();
    cluster.all().iter().map(of_node).collect()
}

fn nobody_is_disturbed(name: &str, more: &'static str) {
    if skip() {
        return;
    }
    let (rounds, seed) = (
        from_env("HOLDFAST_HOSTILE_ROUNDS").unwrap_or(ROUNDS),
        from_env("HOLDFAST_HOSTILE_SEED").unwrap_or(SEED),
    );
    println!("seed {seed}, {rounds} rounds");
    let cluster = Cluster::new(name, Options { more, ..nodes(3) }, &Cib::new()).unwrap();
    for node in cluster.all() {
        cluster.power_on(node).unwrap();
        // Small enough to be filled.
        let out = cluster.exec(node, "mount", &["-o", "remount,size=96m", "/dev/shm"]).unwrap();
        assert!(out.status.success(), "{out:?}");
        cluster.start(node, "cmmd", &["-f"]).unwrap();
    }
    cluster.wait_for("all are one ring", || {
        let whole = |n: &u32| cluster.log(*n, "cmmd").contains("Members[3]: 1 2 3");
        cluster.all().iter().all(whole).then_some(())
    });
    let program = compile(&cluster, "loop", &["-lcpg", "-lcmap", "-lquorum", "-lvotequorum"]);
    let turns = |node: u32| cluster.log(node, "loop").matches("turns").count();
    let unharmed = |node: u32| {
        let log = cluster.log(node, "loop");
        assert!(!log.contains("wrong"), "n{node}: {log}\n{}", cluster.log(1, "hostile"));
    };
    for node in 1..=2 {
        cluster.start_as(node, "loop", program.to_str().unwrap(), &[]).unwrap();
    }
    cluster.wait_for("the programs turn", || (turns(1) > 2 && turns(2) > 2).then_some(()));
    let (formed, before) = (rings(&cluster), costs(&cluster));
    let args = [seed, 0, rounds].map(|n| n.to_string());
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    cluster.start_as(1, "hostile", env!("CARGO_BIN_EXE_hostile"), &args).unwrap();
    let (mut most, mut seen, mut progress) = (0, 0, Instant::now());
    while !cluster.log(1, "hostile").ends_with("done\n") {
        (1..=2).for_each(unharmed);
        let runs = !cluster.find(1, "hostile").is_empty();
        let log = cluster.log(1, "hostile");
        assert!(runs || log.is_empty() || log.ends_with("done\n"), "{log}");
        if log.len() > seen {
            (seen, progress) = (log.len(), Instant::now());
        }
        assert!(progress.elapsed() < harness::patience(), "it got no further:\n{log}\n{}", cluster.report());
        most = costs(&cluster).0.max(most);
        std::thread::sleep(Duration::from_millis(100));
    }
    // Whoever wants in now gets in, and everything that the hostile one had is given back.
    let turned = [turns(1), turns(2)];
    cluster.wait_for("the programs still turn", || {
        (1..=2).for_each(unharmed);
        (turns(1) > turned[0] + 2 && turns(2) > turned[1] + 2).then_some(())
    });
    cluster.wait_for("descriptors are given back", || (costs(&cluster).1 <= before.1).then_some(()));
    let left = cluster.exec(1, "ls", &["/dev/shm"]).unwrap();
    assert!(!String::from_utf8_lossy(&left.stdout).contains("qb-"), "{left:?}");
    for node in 1..=2 {
        cluster.signal(node, "loop", Signal::SIGTERM);
        cluster.wait_for("the programs end", || {
            unharmed(node);
            cluster.log(node, "loop").contains("done").then_some(())
        });
        println!("n{node}: {}", cluster.log(node, "loop").lines().last().unwrap_or_default());
    }
    assert_eq!(rings(&cluster), formed, "no new ring for that:\n{}", cluster.report());
    let loops = cluster.exec(1, "corosync-cmapctl", &["-m", "stats", "stats.holdfast.loop."]).unwrap();
    print!("{}", String::from_utf8_lossy(&loops.stdout));
    let after = costs(&cluster);
    println!("resident before {} KB, at most {most} KB, after {} KB", before.0, after.0);
    assert!(most < RESIDENT_MAX, "{most} KB");
}

/// All that may wait for clients, all keys that there may be, and all files that fit the node's shared memory, twice.
const RESIDENT_MAX: u64 = 2 * (128 + 16 + 96) * 1_024;

#[test]
fn a_hostile_client_disturbs_nobody() {
    nobody_is_disturbed("hostile", "");
}

#[test]
fn a_hostile_client_disturbs_nobody_over_sockets() {
    nobody_is_disturbed("hostile-sockets", "system {\n    qb_ipc_type: socket\n}\n");
}
