//! `sim soak`: works through a range of seeds for hours or days. Each finished block of seeds is a line in a file, so it can be
//! stopped and killed at any time: the next start goes on with what is not in the file, and each seed is counted once.
//!
//! A seed means a run only together with the commit that the simulator was built from, so lines of other commits do not
//! count as done.

use std::collections::VecDeque;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use holdfast_sim::run::{Failure, run_seed};

use crate::{SEED, now, parse_seeds};

/// What follows the options in the help.
const EXAMPLES: &str = "\
The folder gets two files: blocks.txt, a line for each finished block of seeds, and failures.txt, each failure with the command \
that replays it. A release build ends at a crash of a node (status 127); the seed is noted as failed, and the next start goes \
on after it.

Examples:
  An hour on one core, of whatever is not done yet:
    nice -n 19 sim soak --dir soak --commit $(git rev-parse --short HEAD) --seeds 0..1000000 --seconds 3600
  Go on until all is done, over crashes too:
    while sim soak --dir soak --commit 1a2b3c4 --seeds 0..1000000 --threads 2; [ $? = 127 ]; do :; done";

#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Folder that remembers what was run; made if it is missing.
    #[arg(long)]
    dir: PathBuf,
    /// Seeds, as FIRST..END (END is not run).
    #[arg(long, value_parser = parse_seeds)]
    seeds: (u64, u64),
    /// What this simulator was built from, one word.
    #[arg(long, default_value = "unknown", value_parser = parse_commit)]
    commit: String,
    /// Threads.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1_024))]
    threads: u16,
    /// Stop after so many seconds; what is done by then counts.
    #[arg(long)]
    seconds: Option<u64>,
    /// Seeds of a block: at most so many of each thread are run again after a kill.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u64).range(1..))]
    block: u64,
    /// Stop after so many failures.
    #[arg(long, default_value_t = 20)]
    failures: u64,
}

/// Where a crash of a node is noted: the process ends with it.
static CRASHES: OnceLock<(PathBuf, String)> = OnceLock::new();

/// Runs what is not done yet. Exit status as of the other commands, for the failures of this start.
pub(crate) fn soak(args: Args) -> ExitCode {
    let began = now();
    match Soak::open(&args, began) {
        Ok(soak) => {
            let threads = usize::from(args.threads);
            let results: Vec<io::Result<()>> = std::thread::scope(|scope| {
                let workers: Vec<_> = (0..threads).map(|_| scope.spawn(|| soak.work())).collect();
                workers
                    .into_iter()
                    .map(|w| w.join().unwrap_or_else(|p| std::panic::resume_unwind(p)))
                    .collect()
            });
            soak.report(now());
            match results.into_iter().find_map(Result::err) {
                None => ExitCode::from(soak.lock().exit),
                Some(error) => fail(&args.dir, &error),
            }
        }
        Err(error) => fail(&args.dir, &error),
    }
}

fn fail(dir: &Path, error: &io::Error) -> ExitCode {
    eprintln!("{}: {error}", dir.display());
    ExitCode::from(1)
}

/// A panic in a build that ends with it: the seed counts as run and failed.
pub(crate) fn note_crash(seed: u64, what: &str) {
    let Some((dir, commit)) = CRASHES.get() else { return };
    let block = Block { commit: commit.clone(), seeds: (seed, seed + 1), simulated: 0.0, failures: 1 };
    let text =
        format!("commit {commit}, seed {seed}: a node crashed\n  {what}\n  replay: {REPLAY} {seed} --trace");
    let noted =
        append(&dir.join(FAILURES), &text).and_then(|()| append(&dir.join(BLOCKS), &block.to_string()));
    if let Err(error) = noted {
        eprintln!("{}: {error}", dir.display());
    }
}

/// A soak that runs.
struct Soak {
    dir: PathBuf,
    commit: String,
    began: Instant,
    end: Option<Instant>,
    block: u64,
    failures_max: u64,
    state: Mutex<State>,
    /// Locked as long as it is open.
    _blocks: File,
}

/// What the threads share.
struct State {
    /// Not begun yet.
    left: VecDeque<(u64, u64)>,
    /// Seeds to do at the beginning, and done since.
    todo: u64,
    done: u64,
    simulated: f64,
    failures: u64,
    exit: u8,
    /// All that the file tells of this commit.
    total: (u64, f64, u64),
    told: Instant,
}

impl Soak {
    fn open(args: &Args, began: Instant) -> io::Result<Self> {
        fs::create_dir_all(&args.dir)?;
        let path = args.dir.join(BLOCKS);
        let blocks = OpenOptions::new().create(true).append(true).open(&path)?;
        blocks
            .try_lock()
            .map_err(|_| io::Error::other("another soak works in this folder; give it another one"))?;
        let text = fs::read_to_string(&path)?;
        if !text.is_empty() && !text.ends_with('\n') {
            append(&path, "")?; // killed in the middle of a line
        }
        let mut done = Vec::new();
        let mut total = (0, 0.0, 0);
        for line in text.lines().filter(|line| !line.is_empty()) {
            match Block::parse(line) {
                Some(block) if block.commit == args.commit => {
                    total.0 += block.seeds.1 - block.seeds.0;
                    total.1 += block.simulated;
                    total.2 += block.failures;
                    done.push(block.seeds);
                }
                Some(_) => {}
                None => {
                    eprintln!("{}: does not count, since it is no line of a block: {line}", path.display())
                }
            }
        }
        let left = without(args.seeds, done);
        let todo = left.iter().map(|(first, end)| end - first).sum();
        println!("commit {}: {todo} seeds of {}..{} to do", args.commit, args.seeds.0, args.seeds.1);
        let _ = CRASHES.set((args.dir.clone(), args.commit.clone()));
        Ok(Self {
            dir: args.dir.clone(),
            commit: args.commit.clone(),
            began,
            end: args.seconds.map(|seconds| began + Duration::from_secs(seconds)),
            block: args.block,
            failures_max: args.failures,
            state: Mutex::new(State {
                left: left.into(),
                todo,
                done: 0,
                simulated: 0.0,
                failures: 0,
                exit: 0,
                total,
                told: began,
            }),
            _blocks: blocks,
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One thread: block after block.
    fn work(&self) -> io::Result<()> {
        while let Some((first, end)) = self.next() {
            let mut block =
                Block { commit: self.commit.clone(), seeds: (first, first), simulated: 0.0, failures: 0 };
            for seed in first..end {
                if self.is_over() {
                    break;
                }
                SEED.set(Some(seed));
                match run_seed(seed, None) {
                    Ok(report) => block.simulated += report.virtual_time as f64 / 1e9,
                    Err(failure) => {
                        block.failures += 1;
                        self.failed(&failure)?;
                    }
                }
                block.seeds.1 = seed + 1;
            }
            if block.seeds.1 > first {
                self.finish(&block)?;
            }
        }
        Ok(())
    }

    fn next(&self) -> Option<(u64, u64)> {
        if self.is_over() {
            return None;
        }
        let mut state = self.lock();
        let (first, end) = state.left.pop_front()?;
        let cut = end.min(first.saturating_add(self.block));
        if cut < end {
            state.left.push_front((cut, end));
        }
        Some((first, cut))
    }

    fn is_over(&self) -> bool {
        self.end.is_some_and(|end| now() >= end) || self.lock().failures >= self.failures_max
    }

    fn failed(&self, failure: &Failure) -> io::Result<()> {
        let mut state = self.lock();
        state.failures += 1;
        state.exit = state.exit.max(failure.exit_code());
        println!("{failure}\n");
        append(&self.dir.join(FAILURES), &format!("commit {}, {failure}\n", self.commit))
    }

    fn finish(&self, block: &Block) -> io::Result<()> {
        let now = now();
        let mut state = self.lock();
        append(&self.dir.join(BLOCKS), &block.to_string())?;
        let seeds = block.seeds.1 - block.seeds.0;
        state.done += seeds;
        state.simulated += block.simulated;
        state.total.0 += seeds;
        state.total.1 += block.simulated;
        state.total.2 += block.failures;
        if now.duration_since(state.told) >= PROGRESS {
            state.told = now;
            drop(state);
            self.report(now);
        }
        Ok(())
    }

    fn report(&self, now: Instant) {
        let state = self.lock();
        let took = now.duration_since(self.began).as_secs_f64().max(0.001);
        let rate = state.done as f64 / took;
        let left = state.todo - state.done;
        println!(
            "{} of {} seeds, {rate:.1} a second, {:.0} simulated seconds a second, {} failures, {:.1} hours to go; \
             commit {} in all: {} seeds, {:.1} simulated hours, {} failures",
            state.done,
            state.todo,
            state.simulated / took,
            state.failures,
            left as f64 / rate.max(0.001) / 3_600.0,
            self.commit,
            state.total.0,
            state.total.1 / 3_600.0,
            state.total.2,
        );
    }
}

/// A line of the file: seeds that were run to their end.
#[derive(Clone, Debug, PartialEq)]
struct Block {
    commit: String,
    /// First, and the one after the last.
    seeds: (u64, u64),
    /// Seconds of those that passed.
    simulated: f64,
    failures: u64,
}

impl fmt::Display for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { commit, seeds: (first, end), simulated, failures } = self;
        write!(f, "commit={commit} seeds={first}..{end} simulated_seconds={simulated:.1} failures={failures}")
    }
}

impl Block {
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split(' ');
        let mut value = |key: &str| words.next()?.strip_prefix(key)?.strip_prefix('=');
        let commit = value("commit")?.to_owned();
        let seeds = parse_seeds(value("seeds")?).ok()?;
        let simulated = value("simulated_seconds")?.parse().ok()?;
        let failures = value("failures")?.parse().ok()?;
        words.next().is_none().then_some(Self { commit, seeds, simulated, failures })
    }
}

/// What of `range` is in none of `done`.
fn without(range: (u64, u64), mut done: Vec<(u64, u64)>) -> Vec<(u64, u64)> {
    done.sort_unstable();
    let (mut at, end) = range;
    let mut left = Vec::new();
    for (first, last) in done.into_iter().chain([(end, end)]) {
        let gap = (at, first.min(end));
        if gap.0 < gap.1 {
            left.push(gap);
        }
        at = at.max(last);
    }
    left
}

fn append(path: &Path, line: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    file.write_all(format!("{line}\n").as_bytes()) // in one call: nobody finds half of it but after a power loss
}

fn parse_commit(text: &str) -> Result<String, String> {
    let word = !text.is_empty() && text.chars().all(|c| c.is_ascii_graphic());
    if word { Ok(text.to_owned()) } else { Err("should be one word, such as 1a2b3c4".to_owned()) }
}

const BLOCKS: &str = "blocks.txt";
const FAILURES: &str = "failures.txt";
const REPLAY: &str = "cargo run --release -p holdfast-sim -- replay";
/// Between two lines of progress.
const PROGRESS: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_in_no_block() {
        assert_eq!(without((10, 20), vec![]), [(10, 20)]);
        assert_eq!(without((10, 20), vec![(15, 17), (0, 11), (19, 40)]), [(11, 15), (17, 19)]);
        assert_eq!(without((10, 20), vec![(12, 18), (13, 14), (30, 40)]), [(10, 12), (18, 20)]);
        assert_eq!(without((10, 20), vec![(0, 100), (12, 13)]), []);
    }

    #[test]
    fn a_block_is_read_as_it_is_written_and_nothing_else_is() {
        let block = Block { commit: "1a2b".to_owned(), seeds: (5, 9), simulated: 12.5, failures: 1 };
        let line = block.to_string();
        assert_eq!(Block::parse(&line), Some(block));
        for cut in 0..line.len() - " failures=1".len() {
            assert_eq!(Block::parse(&line[..cut]), None, "{}", &line[..cut]);
        }
        assert_eq!(Block::parse(&format!("{line} x")), None);
    }
}
