//! `sim`: runs the simulator from the command line.
//!
//! Exit status: 0 all went well, 1 bad usage, 127 a node crashed, 128 something did not happen in time, 129 something
//! happened that never should.

#![forbid(unsafe_code)]

mod soak;

use std::cell::Cell;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Parser, Subcommand, ValueEnum};
use holdfast_sim::options::Options;
use holdfast_sim::run::{Failure, Report, Summary, run, run_many};
use holdfast_sim::sabotage::Bug;
use holdfast_sim::scale;
use holdfast_sim::shrink::{Cut, shrink};
use holdfast_sim::trace::Mode;

/// Deterministic simulator of the Holdfast protocol core.
#[derive(Parser)]
#[command(name = "sim")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run many seeds, on all cores.
    Run {
        /// Seeds, as FIRST..END (END is not run).
        #[arg(long, default_value = "0..2000", value_parser = parse_seeds)]
        seeds: (u64, u64),
        /// Print what was reached, and what never was.
        #[arg(long)]
        coverage: bool,
        /// Print what runs of each size cost.
        #[arg(long)]
        costs: bool,
        #[command(flatten)]
        common: Common,
    },
    /// Run one seed and say what happens.
    Replay {
        /// The seed.
        seed: u64,
        /// Number of nodes, 2 to 64, instead of the one drawn.
        #[arg(long, value_parser = clap::value_parser!(u64).range(2..=64))]
        nodes: Option<u64>,
        /// Print everything that happens.
        #[arg(long)]
        trace: bool,
        #[command(flatten)]
        cut: Cut,
        /// Plant a bug.
        #[arg(long)]
        bug: Option<Bug>,
        /// Print the options drawn.
        #[arg(long)]
        options: bool,
    },
    /// Print what a cluster costs, as a function of the number of nodes.
    Scale {
        /// Numbers of nodes, 2 to 64.
        #[arg(long, value_delimiter = ',', default_values_t = [2, 3, 5, 8, 16, 32, 64],
              value_parser = clap::value_parser!(u32).range(2..=64))]
        nodes: Vec<u32>,
    },
    /// Shorten the run of a seed that fails: fewer classes of faults, nodes, strikes, less time.
    Shrink {
        /// The seed.
        seed: u64,
        /// Number of nodes, 2 to 64, instead of the one drawn.
        #[arg(long, value_parser = clap::value_parser!(u64).range(2..=64))]
        nodes: Option<u64>,
        /// Runs that it may take.
        #[arg(long, default_value_t = 400)]
        runs: u32,
        /// Plant a bug.
        #[arg(long)]
        bug: Option<Bug>,
    },
    /// Work through many seeds for hours, in blocks; goes on where it was stopped.
    Soak(soak::Args),
}

#[derive(clap::Args)]
struct Common {
    /// Number of nodes, 2 to 64, instead of the one drawn.
    #[arg(long, value_parser = clap::value_parser!(u64).range(2..=64))]
    nodes: Option<u64>,
    /// Threads; as many as there are cores by default.
    #[arg(long)]
    threads: Option<usize>,
    /// Stop after so many failures.
    #[arg(long, default_value_t = 1)]
    failures: usize,
}

fn main() -> ExitCode {
    exit_with_seed_on_panic();
    match Cli::parse().command {
        Command::Run { seeds: (first, end), coverage, costs, common } => {
            many(&common, coverage, costs, |i| first.checked_add(i).filter(|seed| *seed < end))
        }
        Command::Replay { seed, nodes, trace, cut, bug, options: show } => {
            let mut options = Options::draw_sized(seed, nodes.and_then(|n| usize::try_from(n).ok()));
            options.cut(&cut);
            if show {
                println!("{options:#?}");
            }
            replay(&options, trace, bug)
        }
        Command::Scale { nodes } => {
            println!("{}", scale::HEAD);
            for n in nodes {
                match scale::measure(n) {
                    Ok(row) => println!("{row}"),
                    Err(violation) => {
                        println!("{n} nodes: {}: {}\n{}", violation.name, violation.claim, violation.seen);
                        return ExitCode::from(128);
                    }
                }
            }
            ExitCode::SUCCESS
        }
        Command::Shrink { seed, nodes, runs, bug } => {
            SEED.set(Some(seed));
            let options = Options::draw_sized(seed, nodes.and_then(|n| usize::try_from(n).ok()));
            let Some(shrunk) = shrink(&options, bug, runs) else {
                println!("seed {seed} does not fail");
                return ExitCode::SUCCESS;
            };
            print!("{shrunk}");
            let name = bug.as_ref().and_then(ValueEnum::to_possible_value);
            let bug = name.map(|b| format!(" --bug {}", b.get_name())).unwrap_or_default();
            let nodes = nodes.map(|n| format!(" --nodes {n}")).unwrap_or_default();
            let cut = &shrunk.cut;
            println!("replay: cargo run --release -p holdfast-sim -- replay {seed}{nodes}{bug}{cut} --trace");
            ExitCode::from(shrunk.after.exit_code())
        }
        Command::Soak(args) => soak::soak(args),
    }
}

fn many(common: &Common, coverage: bool, costs: bool, next: impl Fn(u64) -> Option<u64> + Sync) -> ExitCode {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = common.threads.unwrap_or(cores);
    let nodes = common.nodes.and_then(|n| usize::try_from(n).ok());
    let began = now();
    let next = |i| {
        let seed = next(i)?;
        SEED.set(Some(seed));
        Some(seed)
    };
    println!("{threads} threads");
    let summary = run_many(next, nodes, threads, common.failures, |result| {
        if let Err(failure) = result {
            println!("{failure}\n");
        }
    });
    print_summary(&summary, began.elapsed(), cpu_seconds());
    if costs {
        print_costs(&summary);
    }
    if coverage {
        print!("{}", summary.coverage.table(summary.passed));
    }
    summary.failures.iter().map(Failure::exit_code).max().map_or(ExitCode::SUCCESS, ExitCode::from)
}

fn replay(options: &Options, trace: bool, bug: Option<Bug>) -> ExitCode {
    SEED.set(Some(options.seed));
    let began = now();
    match run(options, if trace { Mode::Print } else { Mode::Tail }, bug) {
        Ok(report) => {
            print_report(&report, began.elapsed());
            ExitCode::SUCCESS
        }
        Err(failure) => {
            println!("{failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}

fn print_report(report: &Report, took: Duration) {
    println!("{report:#?}");
    let seconds = report.virtual_time as f64 / 1e9;
    println!("{seconds:.1} simulated seconds in {took:.2?}: {:.0} per second", seconds / took.as_secs_f64());
}

fn print_summary(summary: &Summary, took: Duration, cpu: f64) {
    let seconds = summary.virtual_time as f64 / 1e9;
    let c = &summary.counters;
    println!(
        "{} seeds passed, {} failed in {took:.1?}, {cpu:.1} CPU seconds\n\
         {seconds:.0} simulated seconds, {:.0} per CPU second; {} events, {} packets, {:.2} µs an event\n\
         {} configurations, {} deaths, {} pauses, {} losses of quorum, {} messages in, {} deliveries, {} refused\n\
         slowest convergence {:.1} s (seed {})",
        summary.passed,
        summary.failures.len(),
        seconds / cpu,
        c.events,
        summary.packets,
        cpu * 1e6 / (c.events.max(1) as f64),
        c.installs,
        c.deaths,
        c.pauses,
        c.quorum_lost,
        c.submitted,
        c.deliveries,
        c.try_again,
        summary.slowest.0 as f64 / 1e9,
        summary.slowest.1,
    );
}

fn print_costs(summary: &Summary) {
    let all = summary.counters.events.max(1) as f64;
    println!("nodes     seeds  sim. s each  events each      most  of them quiet  share of all");
    for (nodes, c) in &summary.costs {
        let runs = c.runs as f64;
        println!(
            "{nodes:>5} {:>9} {:>12.1} {:>12.0} {:>9} {:>13.0} % {:>11.1} %",
            c.runs,
            c.virtual_time as f64 / 1e9 / runs,
            c.events as f64 / runs,
            c.most,
            100.0 * c.quiet_events as f64 / c.events.max(1) as f64,
            100.0 * c.events as f64 / all,
        );
    }
}

fn parse_seeds(text: &str) -> Result<(u64, u64), String> {
    let bad = || format!("\"{text}\" should be FIRST..END, such as 0..2000");
    let (first, end) = text.split_once("..").ok_or_else(bad)?;
    let number = |part: &str| part.trim().parse::<u64>().map_err(|_| bad());
    let (first, end) = (number(first)?, number(end)?);
    if first < end { Ok((first, end)) } else { Err(bad()) }
}

/// A release build ends at the first panic: it must have said which seed did it, and end with the right status.
fn exit_with_seed_on_panic() {
    if cfg!(panic = "unwind") {
        return;
    }
    let default = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        default(info);
        if let Some(seed) = SEED.get() {
            soak::note_crash(seed, &info.to_string());
            eprintln!(
                "seed {seed}: a node crashed\n  replay: cargo run -p holdfast-sim -- replay {seed} --trace"
            );
        }
        std::process::exit(127);
    }));
}

/// The real clock: for speed and the end of a soak, never for a run.
#[expect(clippy::disallowed_methods, reason = "the command line is outside of the runs")]
fn now() -> Instant {
    Instant::now()
}

/// CPU time of this process so far, in seconds: user and system, counted by the kernel in hundredths.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks: u64 =
        after_name.split_whitespace().skip(11).take(2).filter_map(|t| t.parse::<u64>().ok()).sum();
    ticks.max(1) as f64 / 100.0
}

thread_local! {
    static SEED: Cell<Option<u64>> = const { Cell::new(None) };
}
