//! Units of systemd, over a real dbus-daemon with a small systemd1 of this test's own (`systemd1.py`): no systemd runs
//! here as the init of a container. The real one is for tests in virtual machines.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use executor::{OpStatus, Outcome, Work, agents, metadata, standards};
use holdfast_types::Span;

use crate::{Bench, eventually, job, next, write_executable};

struct Bus {
    bench: Bench,
    children: Vec<Child>,
    log: PathBuf,
}

impl Bus {
    /// `None`: not here, and it has been said.
    fn start(name: &str) -> Option<Self> {
        let python = Command::new("/usr/bin/python3").args(["-c", "import dbus, gi"]).output();
        if !Path::new("/usr/bin/dbus-daemon").exists() || !python.is_ok_and(|o| o.status.success()) {
            eprintln!("SKIPPED: needs the packages dbus-daemon, python3-dbus and python3-gi");
            return None;
        }
        let mut bench = Bench::new(name);
        let socket = bench.root.join("bus");
        let config = bench.root.join("bus.conf");
        let text = format!(
            "<busconfig><type>custom</type><listen>unix:path={}</listen><auth>EXTERNAL</auth>\
             <policy context='default'><allow send_destination='*' eavesdrop='true'/><allow eavesdrop='true'/>\
             <allow own='*'/></policy></busconfig>",
            socket.display()
        );
        std::fs::write(&config, text).expect("configuration written");
        let address = format!("unix:path={}", socket.display());
        let log = bench.root.join("log");
        std::fs::create_dir_all(bench.root.join("units")).expect("a folder");
        bench.config.bus.clone_from(&address);
        bench.config.systemd_dir = bench.root.join("units");
        let daemon = Command::new("/usr/bin/dbus-daemon")
            .args(["--nofork", "--config-file"])
            .arg(&config)
            .spawn()
            .expect("dbus-daemon starts");
        let mut bus = Self { bench, children: vec![daemon], log };
        assert!(eventually(|| socket.exists()), "the bus listens");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/systemd1.py");
        let mut manager = Command::new("/usr/bin/python3")
            .arg(script)
            .arg(&bus.log)
            .env("DBUS_SYSTEM_BUS_ADDRESS", &address)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the manager starts");
        let ready = manager.stdout.take().map(BufReader::new).and_then(|out| out.lines().next());
        bus.children.push(manager);
        assert!(matches!(ready, Some(Ok(line)) if line == "ready"), "the manager has its name");
        Some(bus)
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn drop_in(&self, unit: &str) -> PathBuf {
        self.bench.config.systemd_dir.join(format!("{unit}.d/50-holdfast.conf"))
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        // The manager ends its units' processes, so it goes first and is asked.
        for child in self.children.iter_mut().rev() {
            let _ = Command::new("kill").arg(child.id().to_string()).status();
            let _ = child.wait();
        }
    }
}

fn run(bus: &Bus, unit: &str, actions: &[&str]) -> Vec<Outcome> {
    let (executor, outcomes) = bus.bench.start();
    let run = |(id, action): (usize, &&str)| {
        let mut j = job(id as u64, unit, "", "");
        j.work = Work::of("systemd", "", unit, action).expect("a class");
        executor.submit(j);
        next(&outcomes)
    };
    actions.iter().enumerate().map(run).collect()
}

fn results(outcomes: &[Outcome]) -> Vec<(OpStatus, i32, &str)> {
    outcomes.iter().map(|o| (o.status, o.rc, o.reason.as_str())).collect()
}

#[test]
fn a_unit_is_started_watched_over_and_stopped() {
    let Some(bus) = Bus::start("unit") else { return };
    let done = run(&bus, "good", &["monitor", "start", "monitor"]);
    let ok = (OpStatus::Done, 0, "");
    assert_eq!(results(&done), [(OpStatus::Done, 7, "unit is inactive"), ok, ok]);
    let text =
        std::fs::read_to_string(bus.drop_in("good.service")).expect("the drop-in is there while it is ours");
    assert!(text.contains("Restart=no") && text.contains("Before=rgmd.service"), "{text}");
    let log = bus.log();
    let order: Vec<&str> = log.lines().filter(|l| !l.starts_with("LoadUnit")).collect();
    assert_eq!(order, ["Reload", "Subscribe", "StartUnit good.service replace"]);
    let done = run(&bus, "good", &["stop", "monitor", "stop"]);
    assert_eq!(results(&done), [ok, (OpStatus::Done, 7, "unit is inactive"), ok]);
    assert!(!bus.drop_in("good.service").exists() && bus.log().ends_with("StopUnit good.service replace\n"));
    assert_eq!(bus.log().matches("Reload").count(), 2, "after each change of the drop-in");
}

#[test]
fn the_death_of_a_units_main_process_brings_its_monitor_forward() {
    let Some(bus) = Bus::start("main") else { return };
    let (executor, outcomes) = bus.bench.start();
    let op = |id: u64, action: &str, interval: Span| {
        let mut j = job(id, "u", "", "");
        j.work = Work::of("systemd", "", "good", action).expect("a class");
        j.interval = interval;
        executor.submit(j);
        next(&outcomes)
    };
    assert!(op(1, "start", Span::ZERO).is_ok() && op(2, "monitor", Span::from_secs(100_000)).is_ok());
    let children = |pid: u32| {
        let text = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        text.split_whitespace().filter_map(|p| p.parse::<u32>().ok()).collect::<Vec<_>>()
    };
    let main = children(bus.children[1].id());
    assert_eq!(main.len(), 1, "the unit's process");
    assert!(Command::new("kill").args(["-9", &main[0].to_string()]).status().expect("kill runs").success());
    let news = executor.watched().recv_timeout(std::time::Duration::from_secs(60));
    assert!(
        matches!(&news, Ok(executor::Watched::Died { pid, monitored: true, .. }) if *pid == main[0]),
        "{news:?}"
    );
    let out = next(&outcomes);
    assert_eq!((out.id.0, out.rc, out.reason.as_str()), (2, 7, "unit is failed"));
}

#[test]
fn failures_of_units_are_told_with_systemds_word() {
    let Some(bus) = Bus::start("failing") else { return };
    let start = |unit: &str| {
        results(&run(&bus, unit, &["start"])).iter().map(|r| format!("{r:?}")).collect::<String>()
    };
    assert_eq!(start("bad"), r#"(Done, 1, "systemd's start job ended with \"failed\"")"#);
    assert_eq!(start("needy"), r#"(Done, 1, "systemd's start job ended with \"dependency\"")"#);
    assert_eq!(start("oneshot"), r#"(Done, 1, "its start job is done, and yet: unit is inactive")"#);
    assert_eq!(start("nosuch"), r#"(NotInstalled, 5, "systemd has no unit nosuch.service")"#);
    assert_eq!(results(&run(&bus, "nosuch", &["stop", "monitor"]))[0], (OpStatus::Done, 0, ""));
    assert_eq!(start("a/../b"), format!("{:?}", results(&run(&bus, "a/../b", &["start"]))[0]));
    let out = &run(&bus, "good", &["promote"])[0];
    assert_eq!((out.status, out.rc), (OpStatus::Done, 3), "{out:?}");
}

#[test]
fn a_slow_unit_holds_nobody_up_and_is_given_up_at_its_timeout() {
    let Some(bus) = Bus::start("slow") else { return };
    let (executor, outcomes) = bus.bench.start();
    bus.bench.agent("Quick", "exit 0");
    let mut slow = job(1, "slow", "", "");
    slow.work = Work::of("systemd", "", "slow", "start").expect("a class");
    slow.timeout = Span::from_secs(3);
    executor.submit(slow);
    executor.submit(job(2, "quick", "Quick", "monitor"));
    let first = next(&outcomes);
    assert!(first.id.0 == 2 && first.is_ok(), "{first:?}");
    let out = next(&outcomes);
    assert_eq!((out.id.0, out.status), (1, OpStatus::Timeout), "{out:?}");
    assert!(out.reason.starts_with("systemd was not done within"), "{}", out.reason);
    // Its job goes on in systemd, and a monitor waits for what becomes of it.
    let mut monitor = job(3, "slow", "", "");
    monitor.work = Work::of("systemd", "", "slow", "monitor").expect("a class");
    executor.submit(monitor);
    let out = next(&outcomes);
    assert!(out.is_ok(), "activating, and then active: {out:?}");
}

#[test]
fn a_name_is_an_init_script_before_it_is_a_unit() {
    let Some(mut bus) = Bus::start("service") else { return };
    bus.bench.config.init_dirs = vec![bus.bench.root.clone()];
    write_executable(&bus.bench.root.join("good"), "echo script");
    let (executor, outcomes) = bus.bench.start();
    let ask = |id: u64| {
        let mut j = job(id, "r", "", "");
        j.work = Work::of("service", "", "good", "start").expect("a class");
        executor.submit(j);
        next(&outcomes)
    };
    assert_eq!(ask(1).stdout, "script\n");
    std::fs::remove_file(bus.bench.root.join("good")).expect("removed");
    assert!(ask(2).is_ok() && bus.log().contains("StartUnit good.service"), "{}", bus.log());
    let config = &bus.bench.config;
    assert!(standards(config).contains(&"systemd"));
    assert_eq!(agents(config, "systemd", None).unwrap(), ["bad", "good", "needy", "oneshot", "slow"]);
    let text = metadata(config, "systemd", None, "good").unwrap();
    assert!(text.contains("The good unit") && text.contains("<action name=\"monitor\""), "{text}");
    assert!(metadata(config, "systemd", None, "nosuch").is_err());
}

#[test]
fn without_a_bus_the_reason_is_given() {
    let mut bench = Bench::new("nobus");
    bench.config.bus = format!("unix:path={}", bench.root.join("nothing").display());
    let (executor, outcomes) = bench.start();
    let mut j = job(1, "r", "", "");
    j.work = Work::of("systemd", "", "good", "start").expect("a class");
    executor.submit(j);
    let out = next(&outcomes);
    assert_eq!((out.status, out.rc), (OpStatus::Error, 1));
    assert!(out.reason.contains("is it this machine's init?"), "{}", out.reason);
}
