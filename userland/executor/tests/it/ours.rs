//! Our own agents (`userland/packaging/ocf`), run by the executor in a network namespace of the test's own, with real
//! pings, a real file and real interfaces. `attrd_updater` is a script that writes down what it is called with: the real
//! one needs a cluster, and is tested with that.

use std::path::{Path, PathBuf};
use std::process::Command;

use executor::{Executor, Outcome, Work, agents, metadata};
use holdfast_types::Span;

use crate::{Bench, job, next, write_executable};

struct Ours {
    bench: Bench,
    log: PathBuf,
}

impl Ours {
    fn new(name: &str) -> Self {
        let mut bench = Bench::new(name);
        let ocf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/ocf");
        let ocf = ocf.canonicalize().expect("our agents");
        std::os::unix::fs::symlink(ocf, bench.root.join("resource.d/holdfast")).expect("link");
        let log = bench.root.join("log");
        write_executable(&bench.root.join("attrd_updater"), &format!("echo \"$*\" >> {}", log.display()));
        bench.config.tools_dir = Some(bench.root.clone());
        bench.config.extra_env.push(("HA_RSCTMP".into(), bench.root.display().to_string()));
        Self { bench, log }
    }

    fn run(&self, agent: &str, params: &[(&str, &str)], actions: &[&str]) -> Vec<Outcome> {
        let (executor, outcomes) = self.bench.start();
        actions.iter().map(|action| call(&executor, &outcomes, agent, params, action)).collect()
    }

    fn last(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        text.lines().last().unwrap_or("").to_owned()
    }
}

fn call(
    executor: &Executor,
    outcomes: &crossbeam_channel::Receiver<Outcome>,
    agent: &str,
    params: &[(&str, &str)],
    action: &str,
) -> Outcome {
    let mut j = job(1, "r", "", "");
    j.work = Work::of("ocf", "holdfast", agent, action).expect("a class");
    j.params = params.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    j.timeout = Span::from_secs(120);
    executor.submit(j);
    next(outcomes)
}

/// This process gets a network namespace of its own; `false`: it may not, and that was said.
fn own_network() -> bool {
    if !nix::unistd::geteuid().is_root()
        || nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).is_err()
        || !Path::new("/usr/sbin/ip").exists() && !Path::new("/sbin/ip").exists()
    {
        eprintln!("SKIPPED: needs root and the package iproute2");
        return false;
    }
    ip("link set lo up");
    true
}

fn ip(args: &str) {
    let status = Command::new("ip").args(args.split(' ')).status().expect("ip runs");
    assert!(status.success(), "ip {args}");
}

fn codes(outcomes: &[Outcome]) -> Vec<i32> {
    outcomes.iter().map(|o| o.rc).collect()
}

#[test]
fn ping_counts_the_hosts_that_answer() {
    if !own_network() {
        return;
    }
    let ours = Ours::new("ping");
    ip("link add d0 type veth peer name d1");
    ip("link set d0 up");
    ip("addr add 198.51.100.1/24 dev d0");
    let params = [
        ("host_list", "127.0.0.1 198.51.100.1 192.0.2.7"),
        ("multiplier", "100"),
        ("dampen", "2s"),
        ("name", "default_ping_set"),
        ("attempts", "1"),
        ("timeout", "1"),
    ];
    assert_eq!(codes(&ours.run("ping", &params, &["monitor", "start"])), [7, 0]);
    assert_eq!(ours.last(), "-n default_ping_set -B 200 -d 2s");
    // Nothing is sent out of this namespace: the address is gone, and so is the way to it.
    ip("addr del 198.51.100.1/24 dev d0");
    let out = &ours.run("ping", &params, &["monitor"])[0];
    assert!(out.is_ok() && out.stderr.contains("1 of 3 hosts answer: default_ping_set=100"), "{out:?}");
    assert_eq!(ours.last(), "-n default_ping_set -B 100 -d 2s");
    let strict: Vec<(&str, &str)> = params.iter().copied().chain([("failure_score", "200")]).collect();
    let out = &ours.run("ping", &strict, &["monitor"])[0];
    assert_eq!((out.rc, out.reason.as_str()), (1, "default_ping_set is 100, less than failure_score=200"));
    assert_eq!(codes(&ours.run("ping", &params, &["stop", "stop", "monitor"])), [0, 0, 7]);
    assert_eq!(ours.last(), "-n default_ping_set -D -d 2s");
    let out = &ours.run("ping", &[], &["start"])[0];
    assert!(out.rc == 6 && out.reason.contains("host_list is empty"), "{out:?}");
    let out = &ours.run("ping", &[("host_list", "127.0.0.1"), ("timeout", "2s")], &["validate-all"])[0];
    assert!(out.rc == 6 && out.reason.contains("timeout=2s is not valid: write a whole number"), "{out:?}");
}

#[test]
fn diskd_says_normal_or_error() {
    let ours = Ours::new("diskd");
    let disk = ours.bench.root.join("disk");
    std::fs::write(&disk, vec![0_u8; 8192]).expect("a disk");
    let device = disk.display().to_string();
    let params = [
        ("device", device.as_str()),
        ("name", "diskcheck_status"),
        ("retry_interval", "0"),
        ("timeout", "5"),
    ];
    assert_eq!(codes(&ours.run("diskd", &params, &["monitor", "start", "monitor"])), [7, 0, 0]);
    assert_eq!(ours.last(), "-n diskcheck_status -B normal -d 0");
    std::fs::remove_file(&disk).expect("the disk is gone");
    let out = &ours.run("diskd", &params, &["monitor"])[0];
    let line =
        format!("disk status is changed, attr_name=diskcheck_status, target={device}, new_status=ERROR");
    assert!(out.is_ok() && out.stderr.contains(&line), "{out:?}");
    assert_eq!(ours.last(), "-n diskcheck_status -B ERROR -d 0");
    assert_eq!(codes(&ours.run("diskd", &params, &["stop", "monitor"])), [0, 7]);
    assert_eq!(ours.last(), "-n diskcheck_status -D -d 0");
    let dir = ours.bench.root.join("dir");
    let params = [("write_dir", dir.to_str().expect("a path")), ("retry", "0")];
    assert_eq!(codes(&ours.run("diskd", &params, &["start"])), [0]);
    assert_eq!(ours.last(), "-n diskd -B ERROR -d 0");
    std::fs::create_dir(&dir).expect("the folder is back");
    assert_eq!(codes(&ours.run("diskd", &params, &["monitor"])), [0]);
    assert_eq!(ours.last(), "-n diskd -B normal -d 0");
    let out = &ours.run("diskd", &[], &["start"])[0];
    assert!(out.rc == 6 && out.reason.contains("name one of them"), "{out:?}");
}

#[test]
fn diskd_is_not_held_up_by_a_disk_that_hangs_and_begins_no_second_look_at_it() {
    let ours = Ours::new("diskhang");
    // Opening a pipe that nobody writes to hangs as a dead disk does.
    let pipe = ours.bench.root.join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
    let params = [
        ("device", pipe.to_str().expect("a path")),
        ("timeout", "1"),
        ("retry", "1"),
        ("retry_interval", "0"),
    ];
    let (executor, outcomes) = ours.bench.start();
    let run = |action: &str| call(&executor, &outcomes, "diskd", &params, action);
    let looks = || {
        let all = std::fs::read_dir("/proc").expect("processes").flatten();
        let dd = |e: &std::fs::DirEntry| {
            let line = std::fs::read(e.path().join("cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(&format!("if={}\0", pipe.display()))
        };
        all.filter(dd).count()
    };
    assert!(run("start").is_ok() && run("monitor").is_ok());
    assert_eq!(ours.last(), "-n diskd -B ERROR -d 0");
    assert_eq!(looks(), 1, "one hangs, and no second one was begun");
    // The disk is back: what hung ends, and the next look is a fresh one.
    drop(std::fs::OpenOptions::new().write(true).open(&pipe).expect("a writer"));
    assert!(crate::eventually(|| looks() == 0));
    std::fs::remove_file(&pipe).expect("removed");
    std::fs::write(&pipe, vec![0_u8; 8192]).expect("a disk");
    assert!(crate::eventually(|| run("monitor").is_ok() && ours.last() == "-n diskd -B normal -d 0"));
    assert!(run("stop").is_ok());
}

#[test]
fn ifcheck_counts_interfaces_with_a_link() {
    if !own_network() {
        return;
    }
    let ours = Ours::new("ifcheck");
    ip("link add v0 type veth peer name v1");
    ip("link set v0 up");
    ip("link set v1 up");
    let params = [("interfaces", "lo v0 nosuch"), ("multiplier", "10"), ("dampen", "0")];
    let done = ours.run("ifcheck", &params, &["monitor", "start"]);
    assert_eq!(codes(&done), [7, 0]);
    assert!(done[1].stderr.contains("ifcheck=20, without a link: nosuch"), "{done:?}");
    assert_eq!(ours.last(), "-n ifcheck -B 20 -d 0");
    // The other end goes down: no carrier, though the interface itself is up.
    ip("link set v1 down");
    assert_eq!(codes(&ours.run("ifcheck", &params, &["monitor"])), [0]);
    assert_eq!(ours.last(), "-n ifcheck -B 10 -d 0");
    let strict = [("interfaces", "v0"), ("failure_score", "1")];
    let out = &ours.run("ifcheck", &strict, &["monitor"])[0];
    assert!(out.rc == 1 && out.reason.ends_with("without a link: v0"), "{out:?}");
    assert_eq!(codes(&ours.run("ifcheck", &params, &["stop", "monitor"])), [0, 7]);
}

#[test]
fn their_meta_data_names_every_parameter_that_they_read() {
    let ours = Ours::new("meta");
    let found = agents(&ours.bench.config, "ocf", Some("holdfast")).unwrap();
    assert_eq!(found, ["diskd", "ifcheck", "ping"]);
    for agent in found {
        let xml = metadata(&ours.bench.config, "ocf", Some("holdfast"), &agent).unwrap();
        let mut reader = quick_xml::Reader::from_str(&xml);
        while !matches!(
            reader.read_event().unwrap_or_else(|e| panic!("{agent}: {e}")),
            quick_xml::events::Event::Eof
        ) {}
        let path = ours.bench.root.join("resource.d/holdfast").join(&agent);
        let script = std::fs::read_to_string(path).expect("the script");
        let words = script.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        for name in words.filter_map(|w| w.strip_prefix("OCF_RESKEY_")) {
            assert!(xml.contains(&format!("<parameter name=\"{name}\"")), "{agent}: {name}");
        }
        assert!(xml.contains("<version>1.1</version>"), "{agent}");
    }
}
