//! The death of what a resource left running is noticed at once, and its monitor runs, not at its next interval.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crossbeam_channel::Receiver;
use executor::{Executor, OpStatus, Outcome, Watched, Work, rc};
use holdfast_types::Span;

use crate::{Bench, eventually, gone, job, next};

/// A daemon that leaves its agent's group, session and parent.
const DAEMON: &str = "
pidfile=$OCF_RESKEY_state
case $1 in
start) rm -f $pidfile
       setsid sh -c 'echo $$ > '$pidfile'; exec sleep 1000' </dev/null >/dev/null 2>&1 &
       until [ -s $pidfile ]; do sleep 0.01; done; exit 0;;
stop) [ -s $pidfile ] && kill -9 $(cat $pidfile); rm -f $pidfile; exit 0;;
monitor) [ -s $pidfile ] && kill -0 $(cat $pidfile) && exit 0; exit 7;;
esac";

struct Daemon {
    bench: Bench,
    executor: Executor,
    outcomes: Receiver<Outcome>,
}

impl Daemon {
    fn start(name: &str) -> Self {
        // As rgmd does: a dead daemon is our zombie then, and `kill -0` says that it lives until we take leave of it.
        holdfast_sys::orphans::adopt().expect("orphans come to us");
        let bench = Bench::new(name);
        bench.agent("Daemon", DAEMON);
        let (executor, outcomes) = bench.start();
        let this = Self { bench, executor, outcomes };
        this.op(1, "start", |_| {});
        assert!(next(&this.outcomes).is_ok());
        this
    }

    fn op(&self, id: u64, action: &str, change: impl FnOnce(&mut executor::Job)) {
        let mut j = job(id, "d", "Daemon", action);
        j.params = vec![("state".into(), self.bench.root.join("pid").display().to_string())];
        change(&mut j);
        self.executor.submit(j);
    }

    /// A monitor whose next turn no test lives to see.
    fn monitor(&self, id: u64, meta: Option<(&str, &str)>) {
        self.op(id, "monitor", |j| {
            j.interval = Span::from_secs(100_000);
            j.meta.extend(meta.map(|(k, v)| (k.to_owned(), v.to_owned())));
        });
        assert!(next(&self.outcomes).is_ok());
    }

    fn pid(&self) -> u32 {
        let text = std::fs::read_to_string(self.bench.root.join("pid")).expect("its pid");
        text.trim().parse().expect("a pid")
    }

    fn kill(&self) -> u32 {
        let pid = self.pid();
        assert!(Command::new("kill").args(["-9", &pid.to_string()]).status().expect("kill runs").success());
        pid
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Ok(pid) = std::fs::read_to_string(self.bench.root.join("pid")) {
            let _ = Command::new("kill").args(["-9", pid.trim()]).status();
        }
    }
}

fn died(watched: &Receiver<Watched>) -> Watched {
    watched.recv_timeout(Duration::from_secs(60)).expect("a death is told")
}

#[test]
fn the_monitor_of_a_killed_daemon_runs_at_once() {
    let daemon = Daemon::start("killed");
    daemon.monitor(2, None);
    let pid = daemon.kill();
    let Watched::Died { resource, pid: told, name, code, monitored } = died(&daemon.executor.watched())
    else {
        panic!("another kind of news");
    };
    assert_eq!((resource.as_str(), told, name.as_str(), monitored), ("d", pid, "sleep", true));
    assert_eq!(code, Some(128 + 9), "taken leave of");
    let out = next(&daemon.outcomes);
    assert_eq!((out.id.0, out.status, out.rc, out.recurring), (2, OpStatus::Done, rc::NOT_RUNNING, true));
}

#[test]
fn a_stop_is_no_death_and_a_new_start_is_watched_again() {
    let daemon = Daemon::start("asked");
    let watched = daemon.executor.watched();
    daemon.op(2, "stop", |_| {});
    assert!(next(&daemon.outcomes).is_ok());
    daemon.op(3, "start", |_| {});
    assert!(next(&daemon.outcomes).is_ok());
    // News come in order: had the stop been told, it would be the first.
    let pid = daemon.kill();
    assert!(matches!(died(&watched), Watched::Died { pid: told, .. } if told == pid));
    assert!(watched.is_empty());
}

#[test]
fn watching_can_be_switched_off_for_one_resource_and_for_all() {
    let off = Some(("holdfast-watch", "false"));
    let daemon = Daemon::start("switch");
    let watched = daemon.executor.watched();
    daemon.op(2, "stop", |_| {});
    daemon.op(3, "start", |j| j.meta.extend(off.map(|(k, v)| (k.to_owned(), v.to_owned()))));
    assert!(next(&daemon.outcomes).is_ok() && next(&daemon.outcomes).is_ok());
    daemon.monitor(4, off);
    let pid = daemon.kill();
    assert!(eventually(|| gone(pid)));
    daemon.executor.set_watching(false);
    daemon.op(5, "start", |_| {});
    assert!(next(&daemon.outcomes).is_ok());
    let pid = daemon.kill();
    assert!(eventually(|| gone(pid)));
    daemon.executor.set_watching(true);
    daemon.op(6, "start", |_| {});
    assert!(next(&daemon.outcomes).is_ok());
    let pid = daemon.kill();
    assert!(matches!(died(&watched), Watched::Died { pid: told, monitored: true, .. } if told == pid));
    assert!(watched.is_empty(), "the first two were not told");
}

#[test]
fn a_daemon_that_ran_before_us_is_watched_from_its_first_monitor_on() {
    let daemon = Daemon::start("before");
    // Another executor, as after a restart of rgmd: it knows the daemon by its pid file only.
    let config = executor::ExecutorConfig { cgroups: false, ..daemon.bench.config.clone() };
    let (second, outcomes) = Executor::new(config, || {}).expect("executor starts");
    let file = daemon.bench.root.join("pid");
    let mut monitor = job(7, "later", "Daemon", "monitor");
    monitor.params = ["state", "pidfile"].map(|n| (n.to_owned(), file.display().to_string())).to_vec();
    monitor.interval = Span::from_secs(100_000);
    second.submit(monitor);
    assert!(next(&outcomes).is_ok());
    let pid = daemon.kill();
    let news = died(&second.watched());
    assert!(
        matches!(&news, Watched::Died { pid: told, resource, .. } if *told == pid && resource == "later")
    );
    assert_eq!(next(&outcomes).rc, rc::NOT_RUNNING);
}

#[test]
fn the_real_postgresql_is_watched() {
    let agent = Path::new("/usr/lib/ocf/resource.d/heartbeat/pgsql");
    let bin = Path::new("/usr/lib/postgresql/15/bin");
    let root = nix::unistd::geteuid().is_root();
    if !agent.exists() || !bin.join("pg_ctl").exists() || !root {
        eprintln!("SKIPPED: needs root and the packages resource-agents and postgresql-15");
        return;
    }
    holdfast_sys::orphans::adopt().expect("orphans come to us");
    let bench = Bench::new("pgsql");
    let data = bench.root.join("data");
    let run = |program: &str, args: &[&str]| {
        let out = Command::new(program).args(args).current_dir("/").output().expect("it runs");
        assert!(out.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&out.stderr));
    };
    run("chmod", &["755", &bench.root.display().to_string()]);
    run("install", &["-d", "-o", "postgres", "-m", "700", &data.display().to_string()]);
    let initdb = bin.join("initdb").display().to_string();
    run(
        "runuser",
        &["-u", "postgres", "--", &initdb, "-N", "-A", "trust", "-D", &data.display().to_string()],
    );
    let port = 20_000 + std::process::id() % 40_000;
    let settings = format!("listen_addresses = ''\nport = {port}\nfsync = off\n");
    std::fs::OpenOptions::new()
        .append(true)
        .open(data.join("postgresql.conf"))
        .and_then(|mut f| std::io::Write::write_all(&mut f, settings.as_bytes()))
        .expect("settings");
    let (executor, outcomes) = bench.start();
    let op = |id: u64, action: &str, interval: Span| {
        let mut j = job(id, "pg", "", "");
        j.work = Work::Ocf { provider: "heartbeat".into(), agent: "pgsql".into(), action: action.into() };
        j.params = [
            ("pgctl", bin.join("pg_ctl").display().to_string()),
            ("psql", "/usr/bin/psql".to_owned()),
            ("pgdata", data.display().to_string()),
            ("pgport", port.to_string()),
            ("logfile", data.join("log").display().to_string()),
        ]
        .map(|(k, v)| (k.to_owned(), v))
        .to_vec();
        j.interval = interval;
        j.timeout = Span::from_secs(45);
        let id = j.id;
        executor.submit(j);
        // A monitor that ran once more is told of, too, since its agent has something to say.
        std::iter::repeat_with(|| next(&outcomes)).find(|outcome| outcome.id == id).expect("endless")
    };
    let log = || std::fs::read_to_string(data.join("log")).unwrap_or_default();
    let started = op(1, "start", Span::ZERO);
    let stop = || op(9, "stop", Span::ZERO);
    if !started.is_ok() {
        stop();
        panic!("{started:?}\n{}", log());
    }
    let monitored = op(2, "monitor", Span::from_secs(100_000));
    let postmaster = std::fs::read_to_string(data.join("postmaster.pid")).unwrap_or_default();
    let postmaster: u32 = postmaster.lines().next().and_then(|l| l.parse().ok()).unwrap_or(0);
    run("kill", &["-9", &postmaster.to_string()]);
    let news = executor.watched().recv_timeout(Duration::from_secs(60));
    let after = outcomes.recv_timeout(Duration::from_secs(60));
    let stopped = stop();
    assert!(monitored.is_ok(), "{monitored:?}");
    assert!(
        matches!(&news, Ok(Watched::Died { pid, name, .. }) if *pid == postmaster && name == "postgres"),
        "{news:?}"
    );
    let after = after.expect("its monitor ran at once");
    assert_eq!((after.id.0, after.rc), (2, rc::NOT_RUNNING), "{after:?}");
    assert!(stopped.is_ok(), "{stopped:?}");
}

#[test]
fn what_an_earlier_life_of_the_daemon_left_in_a_cgroup_is_watched_again() {
    let mut daemon = Daemon::start("takeover");
    // The executor's end is rgmd's: the daemon and its cgroup stay. Under the name of a process that is no more, they are
    // what a killed rgmd leaves.
    let surroundings = daemon.executor.surroundings().to_owned();
    let Some((_, home)) = surroundings.split_once("below ") else {
        eprintln!("SKIPPED: cgroups cannot be made here: {surroundings}");
        return;
    };
    let pid = daemon.pid();
    let dead = std::process::Command::new("true")
        .spawn()
        .and_then(|mut c| c.wait().map(|_| c.id()))
        .expect("true runs");
    daemon.bench.config.node_name = format!("takeover-{pid}");
    let own = Path::new(home).parent().expect("our own cgroup");
    let earlier = own.join(format!("holdfast.takeover-{pid}.{dead}"));
    let group = earlier.join("d.1");
    std::fs::create_dir_all(&group).expect("a cgroup");
    std::fs::write(group.join("cgroup.procs"), pid.to_string()).expect("moved");
    let (second, outcomes) = daemon.bench.start();
    let mut monitor = job(7, "d", "Daemon", "monitor");
    monitor.params = vec![("state".to_owned(), daemon.bench.root.join("pid").display().to_string())];
    monitor.interval = Span::from_secs(100_000);
    second.submit(monitor);
    assert!(next(&outcomes).is_ok());
    daemon.kill();
    let news = died(&second.watched());
    assert!(
        matches!(&news, Watched::Died { pid: told, resource, .. } if *told == pid && resource == "d"),
        "{news:?}"
    );
    assert_eq!(next(&outcomes).rc, rc::NOT_RUNNING);
    assert!(eventually(|| !group.exists()), "an empty cgroup is removed");
    drop(second);
    let _ = std::fs::remove_dir(&earlier);
}
