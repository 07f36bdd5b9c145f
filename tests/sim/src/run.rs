//! Runs of whole seeds: one, or many on all cores, and what is reported of them.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::clock::Instant;
use crate::cluster::{Cluster, Counters};
use crate::coverage::Coverage;
use crate::faults::StrikeId;
use crate::liveness;
use crate::options::Options;
use crate::oracle::{Violation, ViolationKind};
use crate::sabotage::Bug;
use crate::trace::Mode;

/// A run that went well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// How many nodes there were.
    pub nodes: usize,
    /// Virtual time that went by, in nanoseconds.
    pub virtual_time: Instant,
    /// From the end of the faults until all were quorate together.
    pub converged_in: u64,
    /// What happened.
    pub counters: Counters,
    /// What the network did.
    pub network: crate::network::Counters,
    /// Places reached.
    pub coverage: Box<Coverage>,
    /// How often the planted bug struck.
    pub struck: u64,
    /// Hash over everything.
    pub hash: u64,
}

/// A run in which an invariant broke.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// How many nodes there were, if that was not drawn from the seed.
    pub nodes: Option<usize>,
    /// What broke.
    pub violation: Violation,
    /// What had struck when.
    pub struck: Vec<(Instant, StrikeId)>,
    /// Inputs handled up to then.
    pub events: u64,
    /// The last lines of the trace.
    pub tail: Vec<String>,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let v = &self.violation;
        writeln!(f, "seed {}: {} broken at {:.6} ms of virtual time", self.seed, v.name, v.at as f64 / 1e6)?;
        writeln!(f, "  should hold: {}", v.claim)?;
        writeln!(f, "  seen: {}", v.seen)?;
        if !self.tail.is_empty() {
            writeln!(f, "  last lines of the trace:")?;
            for line in &self.tail {
                writeln!(f, "  {line}")?;
            }
        }
        let nodes = self.nodes.map(|n| format!(" --nodes {n}")).unwrap_or_default();
        write!(f, "  replay: cargo run --release -p holdfast-sim -- replay {}{nodes} --trace", self.seed)
    }
}

impl Failure {
    /// Exit status: 127 crash, 128 liveness, 129 safety.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self.violation.kind {
            ViolationKind::Crash => 127,
            ViolationKind::Liveness => 128,
            ViolationKind::Safety => 129,
        }
    }
}

/// Runs `options` once.
///
/// # Errors
/// The first invariant that does not hold, or a panic of the code under test.
pub fn run(options: &Options, mode: Mode, bug: Option<Bug>) -> Result<Report, Box<Failure>> {
    let mut cluster = Cluster::new(options.clone(), mode, bug);
    let result = std::panic::catch_unwind(AssertUnwindSafe(|| liveness::whole_run(&mut cluster)));
    let violation = match result {
        Ok(Ok(converged_in)) => {
            return Ok(Report {
                seed: options.seed,
                nodes: options.nodes.len(),
                virtual_time: cluster.now,
                converged_in,
                counters: cluster.counters,
                network: cluster.network.counters,
                coverage: Box::new(std::mem::take(&mut cluster.coverage)),
                struck: cluster.saboteur.struck,
                hash: cluster.trace.hash(),
            });
        }
        Ok(Err(violation)) => violation,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("panic");
            Violation {
                kind: ViolationKind::Crash,
                name: "crash",
                claim: "no input panics a node",
                seen: text.to_owned(),
                at: cluster.now,
            }
        }
    };
    Err(Box::new(Failure {
        seed: options.seed,
        nodes: None,
        violation,
        struck: std::mem::take(&mut cluster.struck),
        events: cluster.counters.events,
        tail: cluster.trace.tail(),
    }))
}

/// Runs the seed; when it fails, runs it once more to have the trace's last lines.
///
/// # Errors
/// As [`run`].
pub fn run_seed(seed: u64, nodes: Option<usize>) -> Result<Report, Box<Failure>> {
    let options = Options::draw_sized(seed, nodes);
    run(&options, Mode::Off, None).map_err(|first| {
        let mut failure = run(&options, Mode::Tail, None).err().unwrap_or(first);
        failure.nodes = nodes;
        failure
    })
}

/// Sums over many runs.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Runs that went well.
    pub passed: u64,
    /// Runs that did not.
    pub failures: Vec<Failure>,
    /// Virtual nanoseconds of all passed runs.
    pub virtual_time: u128,
    /// Slowest convergence, and its seed.
    pub slowest: (u64, u64),
    /// Sums of the counters of all passed runs.
    pub counters: Counters,
    /// Packets of all passed runs.
    pub packets: u64,
    /// Places that all passed runs have reached.
    pub coverage: Coverage,
    /// What the passed runs cost, by number of nodes.
    pub costs: BTreeMap<usize, Cost>,
}

/// What runs of one size cost.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cost {
    /// Runs.
    pub runs: u64,
    /// Their virtual time, in nanoseconds.
    pub virtual_time: u128,
    /// Their events.
    pub events: u64,
    /// Events of theirs after the faults had stopped.
    pub quiet_events: u64,
    /// The most events of one run.
    pub most: u64,
}

/// Runs seeds on `threads` threads until `next` has no more, and stops early after `failures_max` failures. `each` sees
/// every result.
pub fn run_many(
    next: impl Fn(u64) -> Option<u64> + Sync,
    nodes: Option<usize>,
    threads: usize,
    failures_max: usize,
    each: impl Fn(&Result<Report, Box<Failure>>) + Sync,
) -> Summary {
    let summary = Mutex::new(Summary::default());
    let turn = AtomicU64::new(0);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                while let (false, Some(seed)) =
                    (stop.load(Ordering::Relaxed), next(turn.fetch_add(1, Ordering::Relaxed)))
                {
                    let result = run_seed(seed, nodes);
                    each(&result);
                    let mut summary = summary.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    match result {
                        Ok(report) => summary.add(&report),
                        Err(failure) => {
                            summary.failures.push(*failure);
                            stop.fetch_or(summary.failures.len() >= failures_max, Ordering::Relaxed);
                        }
                    }
                }
            });
        }
    });
    summary.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl Summary {
    fn add(&mut self, report: &Report) {
        self.passed += 1;
        self.virtual_time += u128::from(report.virtual_time);
        self.slowest = self.slowest.max((report.converged_in, report.seed));
        let (sum, c) = (&mut self.counters, &report.counters);
        sum.events += c.events;
        sum.quiet_events += c.quiet_events;
        sum.installs += c.installs;
        sum.deliveries += c.deliveries;
        sum.submitted += c.submitted;
        sum.try_again += c.try_again;
        sum.deaths += c.deaths;
        sum.pauses += c.pauses;
        sum.quorum_lost += c.quorum_lost;
        self.packets += report.network.sent;
        self.coverage.add(&report.coverage);
        let cost = self.costs.entry(report.nodes).or_default();
        cost.runs += 1;
        cost.virtual_time += u128::from(report.virtual_time);
        cost.events += c.events;
        cost.quiet_events += c.quiet_events;
        cost.most = cost.most.max(c.events);
    }
}
