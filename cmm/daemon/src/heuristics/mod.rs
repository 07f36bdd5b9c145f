//! Heuristics of the quorum device: whether this node is of use, and so fit to have the device's vote. Programs run in a process of
//! their own ([`helper`]); a thread reads what came of them, the loop counts the score.

pub(crate) mod helper;

use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Thread};
use std::time::Duration;

use cmm_conf::Priority;
use cmm_proto::Fitness;
use crossbeam_queue::ArrayQueue;
use holdfast_types::Boottime;

use crate::log::Log;

/// The loop's side.
pub(crate) struct Heuristics {
    /// `None`: every node is fit.
    tests: Option<Tests>,
}

struct Tests {
    config: cmm_conf::Heuristics,
    reports: Arc<ArrayQueue<Report>>,
    last: Vec<Option<Report>>,
    judge: Judge,
    hurry: Hurry,
}

/// What came of one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Report {
    number: usize,
    /// The heuristic is up: this run succeeded, or not too many have failed.
    up: bool,
    succeeded: bool,
    begun: Boottime,
    heard: Boottime,
}

/// The thread that asks the helper to hurry: a pipe may be full.
struct Hurry {
    asked: Arc<AtomicBool>,
    thread: Thread,
}

/// What the score means, and since when.
#[derive(Debug, Default)]
struct Judge {
    /// The score has been sufficient since then.
    since: Option<Boottime>,
    /// Each heuristic has been run.
    told: bool,
}

impl Heuristics {
    /// Starts the helper and the thread that reads it, if there is anything to run. Before realtime priority.
    ///
    /// # Errors
    /// When no process or thread can be started.
    pub(crate) fn start(
        config: Option<cmm_conf::Heuristics>,
        waker: Arc<mio::Waker>,
        log: &Log,
    ) -> io::Result<Self> {
        let Some(config) = config.filter(|c| !c.tests.is_empty()) else { return Ok(Self { tests: None }) };
        let reports = Arc::new(ArrayQueue::new(8 * config.tests.len()));
        let input = Arc::new(Mutex::new(None));
        let args = helper::arguments(&config.tests, config.limit.to_duration());
        let first = begin(&args)?;
        let reader = Reader {
            states: vec![None; config.tests.len()],
            config: config.clone(),
            reports: Arc::clone(&reports),
            input: Arc::clone(&input),
            waker,
            log: log.clone(),
        };
        let hurry = Hurry::start(input)?;
        thread::Builder::new()
            .name("heuristics".into())
            .stack_size(STACK_BYTES)
            .spawn(move || reader.run(first, &args))?;
        let last = vec![None; config.tests.len()];
        Ok(Self {
            tests: Some(Tests { config: config.clone(), reports, last, judge: Judge::default(), hurry }),
        })
    }

    /// Has all of them run now: a member was lost.
    pub(crate) fn run_now(&self) {
        if let Some(tests) = &self.tests {
            tests.hurry.asked.store(true, Ordering::Release);
            tests.hurry.thread.unpark();
        }
    }

    /// Takes what has come of runs. Whether there was anything.
    pub(crate) fn take(&mut self) -> bool {
        let Some(tests) = &mut self.tests else { return false };
        let mut any = false;
        while let Some(report) = tests.reports.pop() {
            any = true;
            if let Some(last) = tests.last.get_mut(report.number) {
                *last = Some(report);
            }
        }
        any
    }

    /// Whether the node is fit now.
    pub(crate) fn judge(&mut self, now: Boottime, log: &Log) -> Fitness {
        let Some(tests) = &mut self.tests else { return Fitness::ALWAYS };
        let score = tests.score(now);
        let run = tests.last.iter().all(Option::is_some);
        let (fit, said) = tests.judge.judge(&tests.config, now, score, run);
        if let Some(said) = said {
            log.text(Priority::Notice, said);
        }
        Fitness { fit, proven: tests.proven(), score: (score, tests.config.max_score()) }
    }

    /// The score that is needed.
    pub(crate) fn min_score(&self) -> u16 {
        self.tests.as_ref().map_or(1, |t| t.config.min_score)
    }
}

impl Tests {
    /// Of those that are up and were heard of: a helper that stands still proves nothing.
    fn score(&self, now: Boottime) -> u16 {
        let limit = self.config.limit;
        let counts = |(h, last): (&cmm_conf::Heuristic, &Option<Report>)| {
            let Report { up, heard, .. } = (*last)?;
            (up && now.since(heard) <= h.interval + limit.scale(2, 1)).then_some(h.score)
        };
        self.config.tests.iter().zip(&self.last).filter_map(counts).sum()
    }

    /// The runs that reach the score that is needed have all begun since then.
    fn proven(&self) -> Boottime {
        let successes = self.config.tests.iter().zip(&self.last);
        let mut successes: Vec<(Boottime, u16)> = successes
            .filter_map(|(h, last)| last.filter(|r| r.succeeded).map(|r| (r.begun, h.score)))
            .collect();
        successes.sort_by_key(|(begun, _)| std::cmp::Reverse(*begun));
        let mut score = 0;
        let enough = successes.into_iter().find(|(_, more)| {
            score += more;
            score >= self.config.min_score
        });
        enough.map_or(Boottime::ZERO, |(begun, _)| begun)
    }
}

impl Hurry {
    fn start(input: Arc<Mutex<Option<ChildStdin>>>) -> io::Result<Self> {
        let asked = Arc::new(AtomicBool::new(false));
        let theirs = Arc::clone(&asked);
        let run = move || {
            loop {
                while !theirs.swap(false, Ordering::AcqRel) {
                    thread::park();
                }
                // A helper that has ended runs everything at once when it is there again.
                if let Some(pipe) = &mut *lock(&input) {
                    let _ = pipe.write_all(&[0]);
                }
            }
        };
        let handle =
            thread::Builder::new().name("heuristics-now".into()).stack_size(STACK_BYTES).spawn(run)?;
        Ok(Self { asked, thread: handle.thread().clone() })
    }
}

impl Judge {
    /// Whether the node is fit, and a line for the log if that has changed. `run`: each heuristic has been run by now.
    fn judge(
        &mut self,
        config: &cmm_conf::Heuristics,
        now: Boottime,
        score: u16,
        run: bool,
    ) -> (bool, Option<String>) {
        let (max, required) = (config.max_score(), config.min_score);
        let mut said = None;
        if score >= required && self.since.is_none() {
            self.since = Some(now);
            said = Some(format!(
                "Score sufficient for master operation ({score}/{max}; required={required}); upgrading"
            ));
        } else if score < required && self.since.take().is_some() {
            said = Some(format!(
                "Score insufficient for master operation ({score}/{max}; required={required}); downgrading"
            ));
        } else if run && !self.told && score < required {
            said = Some(format!(
                "Initial score {score}/{max} is insufficient (required={required}): this node does not ask for the quorum device's vote"
            ));
        }
        self.told |= run || score >= required;
        (self.since.is_some_and(|since| now >= since + config.wait), said)
    }
}

/// The thread that reads what the helper says.
struct Reader {
    config: cmm_conf::Heuristics,
    states: Vec<Option<bool>>,
    reports: Arc<ArrayQueue<Report>>,
    /// The helper's standard input.
    input: Arc<Mutex<Option<ChildStdin>>>,
    waker: Arc<mio::Waker>,
    log: Log,
}

impl Reader {
    /// For as long as the process lives: a helper that ended is started anew.
    fn run(mut self, first: Child, args: &[String]) {
        let mut next = Ok(first);
        loop {
            match next {
                Ok(mut helper) => {
                    *lock(&self.input) = helper.stdin.take();
                    if let Some(out) = helper.stdout.take() {
                        BufReader::new(out).lines().map_while(Result::ok).for_each(|line| self.read(&line));
                    }
                    let _ = helper.kill();
                    let ended = helper.wait().map_or_else(|e| e.to_string(), |status| status.to_string());
                    let text =
                        format!("The process that runs heuristics has ended ({ended}); starting another one");
                    self.log.text(Priority::Warning, text);
                }
                Err(e) => self.log.text(Priority::Err, format!("Heuristics cannot be run: {e}")),
            }
            thread::sleep(AGAIN);
            next = begin(args);
        }
    }

    fn read(&mut self, line: &str) {
        let mut words = line.split(' ');
        let number = words.next().and_then(|n| n.parse::<usize>().ok());
        let (Some(number), Some(what)) = (number, words.next()) else { return };
        let Some(begun) = words.next().and_then(|n| n.parse().ok()).map(Boottime::from_nanos) else { return };
        let Some(program) = self.config.tests.get(number).map(|h| h.program.as_str()) else { return };
        let up = matches!(what, "u" | "f");
        if self.states[number].replace(up) != Some(up) {
            let text = match what {
                "u" | "f" => format!("Heuristic: '{program}' UP"),
                "s" => format!("Heuristic: '{program}' DOWN - Exceeded timeout of {}", self.config.limit),
                _ => {
                    let misses = words.next().unwrap_or("?");
                    format!("Heuristic: '{program}' DOWN ({misses}/{})", self.config.tests[number].tko)
                }
            };
            self.log.text(Priority::Notice, text);
        }
        let heard = Boottime::from_nanos(holdfast_sys::clock::boottime_nanos());
        self.reports.force_push(Report { number, up, succeeded: what == "u", begun, heard });
        // The loop lives as long as this thread; if its poll is gone, so is the process.
        let _ = self.waker.wake();
    }
}

/// `/proc/self/exe` is this very program, even if another one has been installed since.
fn begin(args: &[String]) -> io::Result<Child> {
    Command::new("/proc/self/exe")
        .args(args)
        .env_remove(holdfast_sys::service::VARIABLE)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

const AGAIN: Duration = Duration::from_secs(1);
const STACK_BYTES: usize = 128 * 1_024;

#[cfg(test)]
mod tests;
