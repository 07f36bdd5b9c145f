//! The process that runs the heuristics: `cmmd` started once more, small, ordinary, before the loop goes realtime. Programs are
//! started here and nowhere else, so that the loop never forks, and no program inherits what is `cmmd`'s alone.
//!
//! It writes a line for each run, with the instant at which that began: `N u BEGUN` (success), `N d BEGUN MISSES` (failure, down), `N f
//! BEGUN MISSES` (failure, still up), `N s BEGUN` (it ran for longer than permitted and was ended: down). A byte on standard input has all
//! of them run at once. When that ends, `cmmd` has ended: so do the programs, and it.

use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use cmm_conf::Heuristic;
use holdfast_sys::{clock, pidfd, spawn};

/// The word by which `cmmd` is told to be this.
pub(crate) const WORD: &str = "--run-heuristics";

/// What the helper is called with.
pub(super) fn arguments(heuristics: &[Heuristic], limit: Duration) -> Vec<String> {
    let mut args = vec![WORD.to_owned(), limit.as_millis().to_string()];
    for h in heuristics {
        args.extend([h.interval.as_millis().to_string(), h.tko.to_string(), h.program.clone()]);
    }
    args
}

/// Runs until standard input ends.
pub(crate) fn run(args: &[String]) -> ExitCode {
    let Some((limit, plans)) = parse(args) else { return ExitCode::from(crate::exit::USAGE) };
    // So that it is not taken for cmmd, nor spared as cmmd is when memory runs out. Neither is needed.
    let _ = fs::write("/proc/self/comm", "cmmd-heuristics");
    let _ = fs::write("/proc/self/oom_score_adj", "0");
    let running: Running = Arc::new(Mutex::new(Some(plans.iter().map(|_| None).collect())));
    let hurry = Arc::new(Hurry::default());
    for (number, plan) in plans.into_iter().enumerate() {
        let (running, hurry) = (Arc::clone(&running), Arc::clone(&hurry));
        let run = move || plan.repeat(number, limit, &running, &hurry);
        if thread::Builder::new().name(format!("heuristic {number}")).spawn(run).is_err() {
            return ExitCode::from(crate::exit::OS);
        }
    }
    let mut byte = [0];
    while !matches!(io::stdin().read(&mut byte), Ok(0)) {
        *lock(&hurry.count) += 1;
        hurry.told.notify_all();
    }
    // Nothing more is started, and what runs ends.
    for child in lock(&running).take().into_iter().flatten().flatten() {
        let _ = spawn::kill_group(&child);
    }
    ExitCode::SUCCESS
}

fn parse(args: &[String]) -> Option<(Duration, Vec<Plan>)> {
    let (limit, rest) = args.split_first()?;
    let plan = |three: &[String]| {
        Some(Plan {
            interval: Duration::from_millis(three[0].parse().ok()?),
            tko: three[1].parse().ok()?,
            program: three[2].clone(),
        })
    };
    let plans: Option<Vec<Plan>> = rest.chunks_exact(3).map(plan).collect();
    Some((Duration::from_millis(limit.parse().ok()?), plans.filter(|p| 3 * p.len() == rest.len())?))
}

/// The program that each heuristic runs now; `None`: everything ends.
type Running = Arc<Mutex<Option<Vec<Option<Child>>>>>;

/// How often all were asked to run at once.
#[derive(Default)]
struct Hurry {
    count: Mutex<u64>,
    told: Condvar,
}

impl Hurry {
    /// For so long, or until somebody has asked since.
    fn wait(&self, asked: u64, limit: Duration) {
        let waited = self.told.wait_timeout_while(lock(&self.count), limit, |count| *count == asked);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }
}

struct Plan {
    interval: Duration,
    tko: u32,
    program: String,
}

impl Plan {
    fn repeat(&self, number: usize, limit: Duration, running: &Running, hurry: &Hurry) {
        let mut misses = 0_u32;
        let mut up = false;
        loop {
            let asked = *lock(&hurry.count);
            let (begun, stamp) = (Instant::now(), clock::boottime_nanos());
            let failed = match self.start(number, running) {
                None => return,
                Some(Ok(())) => match Self::await_end(number, limit, running) {
                    Some(true) => {
                        (misses, up) = (0, true);
                        say(&format!("{number} u {stamp}"));
                        false
                    }
                    Some(false) => true,
                    None => {
                        (misses, up) = (self.tko, false);
                        say(&format!("{number} s {stamp}"));
                        Self::end(number, running);
                        false
                    }
                },
                // No process to be had: the machine is in no good state.
                Some(Err(_)) => true,
            };
            if failed {
                misses = misses.saturating_add(1);
                up &= misses < self.tko;
                say(&format!("{number} {} {stamp} {misses}", if up { 'f' } else { 'd' }));
            }
            thread::sleep(PAUSE);
            hurry.wait(asked, self.interval.saturating_sub(begun.elapsed()));
        }
    }

    /// `None`: everything ends.
    fn start(&self, number: usize, running: &Running) -> Option<io::Result<()>> {
        let mut all = lock(running);
        let slot = all.as_mut()?.get_mut(number)?;
        let child = Command::new("/bin/sh")
            .args(["-c", &self.program])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn();
        Some(child.map(|child| *slot = Some(child)))
    }

    /// Whether it succeeded; `None`: it did not end in time.
    fn await_end(number: usize, limit: Duration, running: &Running) -> Option<bool> {
        let pid = lock(running).as_ref()?.get(number)?.as_ref()?.id();
        let ended = pidfd::open(pid).and_then(|fd| pidfd::wait_end(fd.as_fd(), limit));
        match ended {
            Ok(false) => None,
            _ => Some(Self::end(number, running)),
        }
    }

    /// Ends what is left of it, and waits until it has ended. Whether it succeeded.
    fn end(number: usize, running: &Running) -> bool {
        let child = lock(running).as_mut().and_then(|all| all.get_mut(number)?.take());
        let Some(mut child) = child else { return false };
        // It is not reaped yet: the number of the group is its own.
        let _ = spawn::kill_group(&child);
        child.wait().is_ok_and(|status| status.success())
    }
}

/// Nobody reads it any more: then standard input has ended as well.
fn say(line: &str) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

fn lock<T>(of: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Between two runs, however short the interval.
const PAUSE: Duration = Duration::from_millis(10);
