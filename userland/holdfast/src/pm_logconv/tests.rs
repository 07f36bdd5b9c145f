//! Following a log on real files: rotation, restarts, lines without an end, and what another process had written already.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use clap::Parser;

use super::*;

/// A folder of its own, removed at the end.
struct Site(PathBuf);

static NEXT: AtomicU32 = AtomicU32::new(0);

impl Site {
    fn new() -> Self {
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("pm_logconv-{}-{n}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let site = Self(dir);
        let text = format!(
            "[Settings]\nha_log_path = {}\noutput_path = {}\nact_rsc = db\n",
            site.path("ha-log").display(),
            site.path("out").display()
        );
        fs::write(site.path("conf"), text).unwrap();
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn log(&self, name: &str, text: &str) {
        let mut file = OpenOptions::new().create(true).append(true).open(self.path(name)).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    fn args(&self, more: &[&str]) -> Args {
        let path = |name: &str| self.path(name).display().to_string();
        let (conf, state, pid) = (path("conf"), path("stat"), path("pid"));
        let all = ["pm_logconv", "-f", &conf, "--state", &state, "--pid-file", &pid];
        let rules = self.path("no-rules");
        let rules = if rules.exists() { vec!["--rules".to_owned(), path("no-rules")] } else { Vec::new() };
        let all =
            all.iter().map(|s| (*s).to_owned()).chain(rules).chain(more.iter().map(|s| (*s).to_owned()));
        Called::try_parse_from(all).unwrap().args
    }

    /// One run to the end of what there is.
    fn once(&self) {
        let (mut io, said) = Io::captured("");
        let exit = run(&self.args(&["-o"]), &mut io);
        assert_eq!(exit, Exit::Ok, "{}", String::from_utf8_lossy(&said.lock().unwrap()));
    }

    fn work(&self) -> Work {
        let args = self.args(&["-o"]);
        let (settings, rules) = configuration(&args).ok().unwrap();
        let converter = Converter::new(settings.clone(), rules, "here");
        Work::begin(&args, settings, converter).ok().unwrap()
    }

    fn said(&self) -> Vec<String> {
        let text = fs::read_to_string(self.path("out")).unwrap_or_default();
        text.lines().map(|l| l.rsplit(": ").next().unwrap().to_owned()).collect()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn lost(n: u32) -> String {
    format!("May 25 16:30:05 srv01 crmd[1]:     info: Cluster node n{n} is now lost (was member)\n")
}

fn want(numbers: std::ops::RangeInclusive<u32>) -> Vec<String> {
    numbers.map(|n| format!("Node n{n} is lost")).collect()
}

fn drain(work: &mut Work) {
    while work.step().ok().unwrap() {}
}

#[test]
fn a_log_is_followed_through_its_rotation_without_gaps_or_repetitions() {
    let site = Site::new();
    let mut work = site.work();
    drain(&mut work);
    assert!(site.said().is_empty(), "there is no log yet");
    site.log("ha-log", &lost(1));
    drain(&mut work);
    assert_eq!(site.said(), want(1..=1));
    // Its writer still has the old file, and writes to it for a while.
    let mut old = OpenOptions::new().append(true).open(site.path("ha-log")).unwrap();
    fs::rename(site.path("ha-log"), site.path("ha-log.1")).unwrap();
    old.write_all(lost(2).as_bytes()).unwrap();
    drain(&mut work);
    site.log("ha-log", &lost(4));
    old.write_all(lost(3).as_bytes()).unwrap();
    drain(&mut work);
    assert_eq!(site.said(), want(1..=4));
    // Emptied in its place.
    fs::write(site.path("ha-log"), "").unwrap();
    drain(&mut work);
    site.log("ha-log", &lost(5));
    drain(&mut work);
    assert_eq!(site.said(), want(1..=5));
}

#[test]
fn a_line_without_an_end_waits_for_it_or_for_the_rotation() {
    let site = Site::new();
    let mut work = site.work();
    let line = lost(1);
    let (begin, end) = line.split_at(40);
    site.log("ha-log", begin);
    drain(&mut work);
    // Not even a restart takes half a line.
    let mut work = site.work();
    drain(&mut work);
    assert!(site.said().is_empty());
    site.log("ha-log", end);
    drain(&mut work);
    assert_eq!(site.said(), want(1..=1));
    site.log("ha-log", lost(2).trim_end());
    drain(&mut work);
    assert_eq!(site.said(), want(1..=1));
    fs::rename(site.path("ha-log"), site.path("ha-log-20261123")).unwrap();
    site.log("ha-log", &lost(3));
    drain(&mut work);
    assert_eq!(site.said(), want(1..=3));
}

#[test]
fn a_line_that_never_ends_is_taken_as_it_is() {
    let site = Site::new();
    site.log("ha-log", lost(1).trim_end());
    let mut follower = Follower::new(site.path("ha-log"), follow::Kept::default());
    assert!(follower.read().unwrap().is_empty());
    follower = Follower::new(site.path("ha-log"), follow::Kept::default()).with_patience(Duration::ZERO);
    assert!(follower.read().unwrap().is_empty() || !follower.kept().eq(&follow::Kept::default()));
    let lines = follower.read().unwrap();
    assert!(lines.is_empty() || lines == [lost(1).trim_end().as_bytes().to_vec()], "{lines:?}");
}

#[test]
fn a_restart_goes_on_where_the_last_run_stopped_also_after_rotations() {
    let site = Site::new();
    site.log("ha-log", &lost(1));
    site.once();
    site.log("ha-log", &lost(2));
    site.once();
    site.once();
    assert_eq!(site.said(), want(1..=2));
    site.log("ha-log", &lost(3));
    fs::rename(site.path("ha-log"), site.path("ha-log.2")).unwrap();
    site.log("ha-log", &lost(4));
    fs::rename(site.path("ha-log"), site.path("ha-log.1")).unwrap();
    site.log("ha-log", &lost(5));
    // Rotated twice while nobody looked: by age, whatever the names.
    let later = SystemTime::now() + Duration::from_secs(5);
    fs::File::options().append(true).open(site.path("ha-log.1")).unwrap().set_modified(later).unwrap();
    site.once();
    assert_eq!(site.said(), want(1..=5));
}

#[test]
fn a_failover_that_a_restart_falls_into_is_told_to_its_end() {
    let site = Site::new();
    let line = |text: &str| format!("May 25 16:30:05 srv01 {text}\n");
    let all = [
        "crmd[1]:  notice: Result of monitor operation for db on srv01: 7 (not running)",
        "crmd[1]: warning: Updating failcount for db on srv01 after failed monitor: rc=7",
        "crmd[1]:  notice: State transition S_IDLE -> S_POLICY_ENGINE",
        "pengine[1]:  notice: Recover db#011(Started srv01 -> srv02)",
        "crmd[1]:  notice: Initiating stop operation db_stop_0 locally on srv01",
        "crmd[1]:  notice: Result of stop operation for db on srv01: 0 (ok)",
        "crmd[1]:  notice: State transition S_TRANSITION_ENGINE -> S_IDLE",
    ];
    for text in all {
        site.log("ha-log", &line(text));
        site.once();
    }
    let want = [
        "Resource db does not work. (rc=7) not running",
        "Start to fail-over.",
        "Resource db stopped. (rc=0) ok",
        "Move srv01 -> srv02",
        "fail-over succeeded.",
    ];
    let text = fs::read_to_string(site.path("out")).unwrap();
    assert_eq!(text.lines().count(), want.len(), "{text}");
    for (line, want) in text.lines().zip(want) {
        assert!(line.ends_with(want), "{line}");
    }
}

#[test]
fn what_was_written_and_not_kept_is_not_written_twice() {
    let site = Site::new();
    site.log("ha-log", &lost(1));
    site.once();
    let kept = fs::read(site.path("stat")).unwrap();
    site.log("ha-log", &(lost(2) + &lost(3)));
    site.once();
    // As if the process had ended between the two, in the middle of a line.
    fs::write(site.path("stat"), kept).unwrap();
    let text = fs::read_to_string(site.path("out")).unwrap();
    fs::OpenOptions::new()
        .write(true)
        .open(site.path("out"))
        .unwrap()
        .set_len(text.len() as u64 - 9)
        .unwrap();
    site.log("ha-log", &lost(4));
    site.once();
    assert_eq!(site.said(), want(1..=4));
    assert!(fs::read_to_string(site.path("out")).unwrap().starts_with(&text));
}

#[test]
fn a_log_that_is_gone_is_said_and_begun_anew() {
    let site = Site::new();
    site.log("ha-log", &lost(1));
    site.once();
    fs::remove_file(site.path("ha-log")).unwrap();
    site.log("ha-log", &lost(2));
    fs::write(site.path("other"), "takes an inode").unwrap();
    let mut work = site.work();
    drain(&mut work);
    assert_eq!(site.said(), want(1..=2));
    let complaints = work.complaints();
    // The new file may have got the old one's inode; then it is the same file as far as anybody can tell, and was cut.
    assert!(complaints.iter().all(|c| c.contains("from its beginning")), "{complaints:?}");
}

#[test]
fn files_and_standard_input_go_to_standard_output() {
    let site = Site::new();
    site.log("ha-log.1", &lost(1));
    site.log("ha-log", &lost(2));
    let files = [site.path("ha-log.1").display().to_string(), site.path("ha-log").display().to_string()];
    let (mut io, said) = Io::captured(&lost(3));
    assert_eq!(run(&site.args(&[&files[0], &files[1], "-"]), &mut io), Exit::Ok);
    let text = String::from_utf8(said.lock().unwrap().clone()).unwrap();
    assert_eq!(text.lines().count(), 3, "{text}");
    assert_eq!(text.lines().next(), Some("May 25 16:30:05 srv01 warning: Node n1 is lost"));
    assert!(!site.path("out").exists() && !site.path("stat").exists());
    let (mut io, said) = Io::captured(&lost(3));
    run(&site.args(&["--json", "-"]), &mut io);
    let value: serde_json::Value = serde_json::from_slice(&said.lock().unwrap()).unwrap();
    assert_eq!((&value["number"], &value["level"]), (&"6-1".into(), &"warning".into()));
}

#[test]
fn wrong_files_and_wrong_usage_are_said_with_what_to_do() {
    let site = Site::new();
    let say = |args: Args| {
        let (mut io, said) = Io::captured("");
        let exit = run(&args, &mut io);
        (exit, String::from_utf8(said.lock().unwrap().clone()).unwrap())
    };
    let (exit, text) = say(site.args(&[]));
    assert!(exit == Exit::Usage && text.contains("-d follows"), "{text}");
    fs::write(site.path("no-rules"), "[A]\nfunc=magic\n").unwrap();
    let (exit, text) = say(site.args(&["-o"]));
    assert!(
        exit == Exit::Of(1) && text.contains("no-rules: line 2") && text.contains("try_to_operate"),
        "{text}"
    );
    fs::remove_file(site.path("no-rules")).unwrap();
    fs::write(site.path("stat"), "{").unwrap();
    let (exit, text) = say(site.args(&["-o"]));
    assert!(exit == Exit::Of(1) && text.contains("rm "), "{text}");
    let (exit, text) = say(site.args(&["-s"]));
    assert!(exit == Exit::Of(1) && text.contains("pm_logconv -d"), "{text}");
    assert_eq!(say(site.args(&["-k"])).0, Exit::Ok);
    let (exit, text) = say(site.args(&["--print-messages"]));
    assert!(exit == Exit::Ok && text.lines().count() == logconv::TABLE.len());
}

#[test]
fn only_one_follows_a_log() {
    let site = Site::new();
    let lock = daemon::alone(&site.path("pid")).ok().unwrap();
    let (mut io, said) = Io::captured("");
    assert_eq!(run(&site.args(&["-o"]), &mut io), Exit::Of(1));
    assert!(String::from_utf8_lossy(&said.lock().unwrap()).contains("pm_logconv -k"));
    let (mut io, said) = Io::captured("");
    assert_eq!(run(&site.args(&["-s"]), &mut io), Exit::Ok);
    let pid = std::process::id().to_string();
    assert!(String::from_utf8_lossy(&said.lock().unwrap()).contains(&pid));
    drop(lock);
    site.once();
}
