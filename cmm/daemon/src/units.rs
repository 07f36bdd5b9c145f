//! Units that the configuration names: a helper thread finds their processes, the loop arms what it finds.
//!
//! A unit may start after `cmmd`, and a unit that was restarted within its delay is armed again: so the thread looks over
//! and over, and every new process is handed on once. Files and processes of others are its business alone: it may be
//! slow, and the loop may not.
//!
//! systemd is asked by its own `systemctl`, only while no living process of the unit is known, and by a `vfork` of this
//! thread (decision 27): the loop neither forks nor waits.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use cmm_conf::{FoundBy, Unit};
use crossbeam_queue::ArrayQueue;

/// The loop's end of the thread.
pub(crate) struct UnitProcesses {
    units: Vec<Unit>,
    found: Arc<ArrayQueue<(usize, Result<u32, String>)>>,
}

const INTERVAL: Duration = Duration::from_millis(500);
/// systemd is asked at each look for so long after a process was lost, and then seldom: a unit may be off for days.
const EAGER: Duration = Duration::from_secs(60);
const SELDOM: Duration = Duration::from_secs(5);
/// An answer that takes longer is none.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
const STACK_BYTES: usize = 128 * 1_024;

impl UnitProcesses {
    /// Starts the thread if there is anything to find.
    ///
    /// # Errors
    /// When the system refuses the thread.
    pub(crate) fn watch(units: Vec<Unit>, waker: Arc<mio::Waker>) -> io::Result<Self> {
        let found = Arc::new(ArrayQueue::new(units.len().max(1) * 4));
        if !units.is_empty() {
            let (mut searches, found): (Vec<Search>, _) =
                (units.iter().map(Search::new).collect(), Arc::clone(&found));
            let builder = thread::Builder::new().name("units".into()).stack_size(STACK_BYTES);
            builder.spawn(move || {
                loop {
                    for (index, search) in searches.iter_mut().enumerate() {
                        // Where the queue is full the news comes with the next look.
                        let news = search.look(Instant::now());
                        if news.is_some_and(|news| found.push((index, news)).is_err()) {
                            search.seen = None;
                        }
                    }
                    if !found.is_empty() {
                        // The poller lives as long as the process.
                        let _ = waker.wake();
                    }
                    thread::sleep(INTERVAL);
                }
            })?;
        }
        Ok(Self { units, found })
    }

    /// The next unit with a process that was not seen before, or why none can be found.
    pub(crate) fn next(&self) -> Option<(&Unit, Result<u32, String>)> {
        self.found.pop().map(|(index, news)| (&self.units[index], news))
    }
}

/// The search for one unit's process.
struct Search {
    found_by: FoundBy,
    /// Handed on last.
    seen: Option<Process>,
    /// Why it cannot be found was said.
    complained: bool,
    lost_at: Instant,
    asked_at: Option<Instant>,
}

/// A process and no other one that has its pid later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Process {
    pid: u32,
    /// In ticks since the machine's start; `None`: there is no such process.
    started: Option<u64>,
}

impl Process {
    fn of(pid: u32) -> Self {
        Self { pid, started: stat(pid).map(|s| s.started) }
    }

    fn lives(self) -> bool {
        self.started.is_some() && Self::of(self.pid) == self
    }
}

impl Search {
    fn new(unit: &Unit) -> Self {
        Self {
            found_by: unit.found_by.clone(),
            seen: None,
            complained: false,
            lost_at: Instant::now(),
            asked_at: None,
        }
    }

    /// A process that was not handed on yet; once, why there is no way to find any.
    fn look(&mut self, now: Instant) -> Option<Result<u32, String>> {
        let pid = match &self.found_by {
            // A file that is being written, or is gone, is no news: the death of a unit comes from the kernel.
            FoundBy::PidFile(path) => read_pid(path),
            _ if self.seen.is_some_and(Process::lives) => {
                (self.lost_at, self.asked_at) = (now, None);
                return None;
            }
            FoundBy::Command(words) => find_command(words),
            FoundBy::Systemd(unit) => {
                let pause = if now.duration_since(self.lost_at) < EAGER { Duration::ZERO } else { SELDOM };
                if self.asked_at.is_some_and(|at| now.duration_since(at) < pause) {
                    return None;
                }
                self.asked_at = Some(now);
                match main_pid(unit) {
                    Ok(pid) => {
                        self.complained = false;
                        pid
                    }
                    Err(_) if self.complained => return None,
                    Err(e) => {
                        self.complained = true;
                        return Some(Err(format!(
                            "systemd does not say which process {unit} is ({e}); name its pidfile instead"
                        )));
                    }
                }
            }
        };
        let process = Process::of(pid?);
        if self.seen == Some(process) {
            return None;
        }
        self.seen = Some(process);
        Some(Ok(process.pid))
    }
}

fn read_pid(path: &str) -> Option<u32> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// What `/proc/PID/stat` says.
struct Stat {
    parent: u32,
    started: u64,
}

/// `None` where there is no such process, or only what is left of one.
fn stat(pid: u32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // Behind the name, which may hold anything: state, parent, …, the start as the 20th.
    let mut fields = text.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    let started = fields.nth(17)?.parse().ok()?;
    (!["Z", "X"].contains(&state)).then_some(Stat { parent, started })
}

/// The eldest process that runs this program with these first arguments and whose parent does not: that is a worker's
/// master, and a program of the same name elsewhere is younger.
fn find_command(words: &[String]) -> Option<u32> {
    let (program, arguments) = words.split_first()?;
    let program = fs::canonicalize(program).unwrap_or_else(|_| PathBuf::from(program));
    let pids = fs::read_dir("/proc").ok()?.flatten().filter_map(|e| e.file_name().to_str()?.parse().ok());
    let running: HashMap<u32, Stat> = pids
        .filter(|pid| runs(*pid, &program, arguments))
        .filter_map(|pid| Some((pid, stat(pid)?)))
        .collect();
    let masters = running.iter().filter(|(_, s)| !running.contains_key(&s.parent));
    masters.min_by_key(|(pid, s)| (s.started, **pid)).map(|(pid, _)| *pid)
}

fn runs(pid: u32, program: &Path, arguments: &[String]) -> bool {
    let Ok(link) = fs::read_link(format!("/proc/{pid}/exe")) else { return false };
    // A program that was replaced by a newer one still runs.
    let link = link.to_str().map(|l| l.strip_suffix(" (deleted)").unwrap_or(l));
    if link.is_none_or(|link| Path::new(link) != program) {
        return false;
    }
    let Ok(line) = fs::read(format!("/proc/{pid}/cmdline")) else { return false };
    let mut words = line.split(|b| *b == 0).skip(1);
    arguments.iter().all(|a| words.next() == Some(a.as_bytes()))
}

/// The main process of a service, as systemd has it; `None` while there is none.
fn main_pid(unit: &str) -> io::Result<Option<u32>> {
    let mut child = Command::new("systemctl")
        .args(["show", "--property=MainPID", "--value", "--", unit])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let start = Instant::now();
    let status = loop {
        match child.try_wait()? {
            Some(status) => break status,
            None if start.elapsed() < ANSWER_LIMIT => thread::sleep(Duration::from_millis(10)),
            None => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(io::Error::new(io::ErrorKind::TimedOut, "systemctl does not answer"));
            }
        }
    };
    let mut text = String::new();
    if let Some(out) = &mut child.stdout {
        out.take(64).read_to_string(&mut text)?;
    }
    match text.trim().parse() {
        Ok(0) => Ok(None),
        Ok(pid) => Ok(Some(pid)),
        Err(_) => {
            Err(io::Error::other(format!("systemctl ended with {status} and said \"{}\"", text.trim())))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A process of this test, gone with it.
    struct Sleeper(std::process::Child);

    impl Sleeper {
        fn new(seconds: &str) -> Self {
            Self(Command::new("sleep").arg(seconds).spawn().expect("sleep starts"))
        }
    }
    impl Drop for Sleeper {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    fn search(found_by: FoundBy) -> Search {
        Search { found_by, seen: None, complained: false, lost_at: Instant::now(), asked_at: None }
    }

    fn wait_for<T>(mut look: impl FnMut() -> Option<T>) -> T {
        for _ in 0..6_000 {
            if let Some(found) = look() {
                return found;
            }
            thread::sleep(Duration::from_millis(10));
        }
        panic!("not within a minute");
    }

    #[test]
    fn a_command_is_found_by_program_and_first_arguments_and_again_after_its_end() {
        // Nobody else sleeps for so long.
        let seconds = format!("9{:09}", std::process::id());
        let program = which("sleep");
        let mut search = search(FoundBy::Command(vec![program.clone(), seconds.clone()]));
        let mut others = FoundBy::Command(vec![program, seconds.clone() + "1"]);
        assert_eq!(search.look(Instant::now()), None);
        let first = Sleeper::new(&seconds);
        assert_eq!(wait_for(|| search.look(Instant::now())), Ok(first.0.id()));
        let second = Sleeper::new(&seconds);
        assert_eq!(search.look(Instant::now()), None, "the first one lives");
        drop(first);
        assert_eq!(wait_for(|| search.look(Instant::now())), Ok(second.0.id()));
        std::mem::swap(&mut search.found_by, &mut others);
        search.seen = None;
        assert_eq!(search.look(Instant::now()), None, "another argument, another process");
    }

    fn which(program: &str) -> String {
        let out = Command::new("sh").args(["-c", &format!("command -v {program}")]).output().expect("sh");
        String::from_utf8(out.stdout).expect("a path").trim().to_owned()
    }

    #[test]
    fn a_pid_file_is_news_once_for_each_process() {
        let file = std::env::temp_dir().join(format!("holdfast-units-{}", std::process::id()));
        let mut search = search(FoundBy::PidFile(file.to_str().expect("text").into()));
        assert_eq!(search.look(Instant::now()), None);
        let sleeper = Sleeper::new("600");
        fs::write(&file, format!("{}\n", sleeper.0.id())).expect("writes");
        let looks = [search.look(Instant::now()), search.look(Instant::now())];
        fs::write(&file, "not yet").expect("writes");
        let nonsense = search.look(Instant::now());
        let _ = fs::remove_file(&file);
        assert_eq!((looks, nonsense), ([Some(Ok(sleeper.0.id())), None], None));
    }

    #[test]
    fn a_dead_process_is_no_process() {
        let mut sleeper = Sleeper::new("600");
        let process = Process::of(sleeper.0.id());
        assert!(process.lives());
        sleeper.0.kill().expect("it is ours");
        // Not reaped yet: a zombie is dead.
        wait_for(|| (!process.lives()).then_some(()));
    }
}
