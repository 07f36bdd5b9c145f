//! Whole seeds: ten thousand of all kinds hold and reach what they must, twenty thousand more with quorum disks hold, and each is
//! the same run every time.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use holdfast_sim::Options;
use holdfast_sim::run::{Summary, run, run_many, run_seed};
use holdfast_sim::trace::Mode;

/// Seeds of the test command.
const SEEDS: u64 = 10_000;
/// Seeds with quorum disks beside them.
const WITH_DISKS: u64 = 20_000;

/// Every invariant, under every mix of faults, in every one of these runs; and all of them together reach each state
/// and transition of the list in `src/coverage/known.txt`.
#[test]
fn ten_thousand_seeds_hold() {
    let summary = all_hold(|i| (i < SEEDS).then_some(i));
    assert_eq!(summary.passed, SEEDS);
    // The swarm is worth its name only if things do go wrong and right in it.
    let c = summary.counters;
    assert!(c.deaths > 1_000 && c.pauses > 1_000 && c.quorum_lost > 1_000, "{c:?}");
    assert!(c.deliveries > 100_000 && c.installs > 10_000, "{c:?}");
    let missing = summary.coverage.missing();
    assert!(missing.is_empty(), "never reached in {SEEDS} seeds:\n{}", missing.join("\n"));
}

/// The same of clusters that have a quorum disk, or several, and of nothing else: about one drawn cluster in five. Other seeds than
/// those above.
#[test]
fn twenty_thousand_seeds_with_quorum_disks_hold() {
    let seeds = Mutex::new((SEEDS..).filter(|seed| Options::draw(*seed).quorum.device.is_some()));
    let summary = all_hold(|i| (i < WITH_DISKS).then(|| seeds.lock().unwrap().next()).flatten());
    assert_eq!(summary.passed, WITH_DISKS);
    let c = summary.counters;
    assert!(c.deaths > 10_000 && c.pauses > 10_000 && c.quorum_lost > 10_000, "{c:?}");
}

/// Runs these seeds on all cores, and fails if one of them does.
fn all_hold(next: impl Fn(u64) -> Option<u64> + Sync) -> Summary {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let run = AtomicU64::new(0);
    let each = |_: &_| {
        run.fetch_add(1, Ordering::Relaxed);
    };
    let summary = run_many(next, None, cores, 3, each);
    for failure in &summary.failures {
        eprintln!("{failure}\n");
    }
    let failed: Vec<u64> = summary.failures.iter().map(|f| f.seed).collect();
    assert!(failed.is_empty(), "seeds {failed:?} fail, of {} run", run.into_inner());
    summary
}

/// See the list of closed sources of entropy in the library's documentation.
#[test]
fn a_seed_is_the_same_run_every_time() {
    for seed in 0..40 {
        let (first, second) = (run_seed(seed, None).unwrap(), run_seed(seed, None).unwrap());
        assert_eq!(first, second, "seed {seed}");
        let tail = run(&Options::draw(seed), Mode::Tail, None).unwrap();
        assert_eq!((first.hash, first.counters), (tail.hash, tail.counters), "seed {seed} with a trace");
    }
    assert_ne!(run_seed(1, None).unwrap().hash, run_seed(2, None).unwrap().hash);
}
