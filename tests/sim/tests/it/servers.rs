//! Named scenarios with a quorum server, and a storm: splits, pauses, crashes, a server that forgets, connections that end on one side.

use cmm_proto::{DeviceConfig, DeviceModel};
use cmm_qnet::{Algorithm, Settings, TieBreaker, Tls};
use holdfast_sim::clock::{MS, SEC};
use holdfast_sim::machine::Death;
use holdfast_sim::run::run;
use holdfast_sim::sabotage::Bug;
use holdfast_sim::trace::Mode;
use holdfast_sim::{Cluster, Options};
use holdfast_types::{Span, Votes};

use crate::story::{fail, held, kill, quorate, split, until};

const LEASE: Span = Span::from_millis(600);

fn options(seed: u64, count: u32, algorithm: Algorithm) -> Options {
    let mut options = Options::quiet(seed, count);
    let votes = Votes::new(if algorithm == Algorithm::Lms { count - 1 } else { 1 });
    let settings = Settings {
        algorithm,
        tie_breaker: TieBreaker::Lowest,
        keep_active: true,
        tls: Tls::On,
        heartbeat: Span::from_millis(500),
        interval: Span::from_millis(100),
        lease: LEASE,
        connect_timeout: Span::from_millis(500),
    };
    options.quorum.device = Some(DeviceConfig { votes, model: DeviceModel::Net(settings) });
    options.faults.disk_latency = MS / 2;
    options
}

/// Formed, and the server's vote is owned.
fn formed(seed: u64, count: u32, algorithm: Algorithm) -> Cluster {
    let mut cluster = Cluster::new(options(seed, count, algorithm), Mode::Tail, None);
    cluster.start_all(50 * MS);
    let all: Vec<usize> = (0..cluster.len()).collect();
    until(&mut cluster, 30 * SEC, "all are quorate together, and the first one has the vote", |c| {
        c.together(&all) && all.iter().all(|n| c.quorate(*n)) && c.device_owner() == Some(0)
    });
    held(&mut cluster, SEC);
    cluster
}

#[test]
fn of_two_nodes_cut_apart_the_lowest_stays_quorate_without_a_break() {
    for algorithm in [Algorithm::FfSplit, Algorithm::Lms] {
        for seed in 0..10 {
            let mut cluster = formed(seed, 2, algorithm);
            let lost = cluster.counters.quorum_lost;
            split(&mut cluster, &[0]);
            held(&mut cluster, 10 * SEC);
            assert_eq!(quorate(&cluster), [0], "{algorithm:?}, seed {seed}");
            assert_eq!(cluster.counters.quorum_lost, lost + 1, "only the other one lost it");
            cluster.network.heal();
            until(&mut cluster, 20 * SEC, "both are quorate", |c| quorate(c) == [0, 1]);
        }
    }
}

#[test]
fn when_either_of_two_nodes_dies_the_other_one_is_quorate() {
    for algorithm in [Algorithm::FfSplit, Algorithm::Lms] {
        for (victim, death) in [(0, Death::Silent), (1, Death::Silent), (0, Death::Gasp)] {
            let mut cluster = formed(20, 2, algorithm);
            kill(&mut cluster, victim, death);
            until(&mut cluster, 10 * SEC, "the other one is quorate alone", |c| {
                quorate(c) == [1 - victim] && c.ring(1 - victim).unwrap().1.len() == 1
            });
            held(&mut cluster, 5 * SEC);
            if quorate(&cluster) != [1 - victim] {
                fail(
                    &cluster,
                    &format!("{algorithm:?} {victim} {death:?} owner {:?}", cluster.device_owner()),
                );
            }
        }
    }
}

#[test]
fn who_does_not_reach_the_server_loses_a_split() {
    for algorithm in [Algorithm::FfSplit, Algorithm::Lms] {
        let mut cluster = formed(30, 2, algorithm);
        cluster.reach_server(&[0], false);
        held(&mut cluster, 3 * SEC);
        assert_eq!(quorate(&cluster), [0, 1], "two of three votes");
        split(&mut cluster, &[0]);
        until(&mut cluster, 20 * SEC, "the other one is quorate", |c| quorate(c) == [1]);
        held(&mut cluster, 5 * SEC);
        assert_eq!(quorate(&cluster), [1]);
    }
}

#[test]
fn a_server_that_is_down_costs_nothing_until_a_node_is_lost() {
    for algorithm in [Algorithm::FfSplit, Algorithm::Lms] {
        let mut cluster = formed(40, 2, algorithm);
        let lost = cluster.counters.quorum_lost;
        cluster.stop_server();
        held(&mut cluster, 10 * SEC);
        assert_eq!((quorate(&cluster), cluster.device_owner()), (vec![0, 1], None));
        cluster.start_server();
        until(&mut cluster, 10 * SEC, "the vote is back", |c| c.device_owner() == Some(0));
        assert_eq!(cluster.counters.quorum_lost, lost);
        cluster.stop_server();
        split(&mut cluster, &[0]);
        held(&mut cluster, 5 * SEC);
        assert_eq!(quorate(&cluster), [0; 0], "one of three votes");
        cluster.start_server();
        until(&mut cluster, 10 * SEC, "the server decides", |c| quorate(c).len() == 1);
    }
}

#[test]
fn of_four_nodes_the_last_one_stands() {
    for survivor in 0..4 {
        let mut cluster = formed(50 + survivor as u64, 4, Algorithm::Lms);
        for n in (0..4).filter(|n| *n != survivor) {
            kill(&mut cluster, n, Death::Silent);
            held(&mut cluster, 4 * SEC);
        }
        until(&mut cluster, 10 * SEC, "the survivor is quorate", |c| quorate(c) == [survivor]);
        held(&mut cluster, 3 * SEC);
        assert_eq!(quorate(&cluster), [survivor]);
    }
}

#[test]
fn of_four_nodes_one_half_stays_quorate() {
    for (seed, half) in [[0, 1], [2, 3], [0, 3]].into_iter().enumerate() {
        let mut cluster = formed(60 + seed as u64, 4, Algorithm::FfSplit);
        split(&mut cluster, &half);
        held(&mut cluster, 10 * SEC);
        let with_first: Vec<usize> = (0..4).filter(|n| half.contains(n) == half.contains(&0)).collect();
        assert_eq!(quorate(&cluster), with_first, "the lowest node breaks the tie");
    }
}

/// Everything that can happen to a small cluster and its server, again and again.
fn storm(seed: u64, bug: Option<Bug>) -> Result<u64, String> {
    let count = 2 + u32::try_from(seed % 3).unwrap_or(0);
    let algorithm = if (seed / 3).is_multiple_of(2) { Algorithm::FfSplit } else { Algorithm::Lms };
    let mut options = options(seed, count, algorithm);
    options.timers = cmm_proto::Timers::from_token(Span::from_millis(300));
    options.start_spread = 100 * MS;
    options.duration = 60 * SEC;
    (options.patience, options.drift_ppm_max, options.scripted) = (3, 200, false);
    let f = &mut options.faults;
    (f.split_every, f.pair_every, f.one_way_every) = (3 * SEC, 6 * SEC, 12 * SEC);
    (f.cut_max, f.pause_every, f.pause_max) = (5 * SEC, 6 * SEC, 2 * SEC);
    (f.crash_every, f.restart_max, f.gasp) = (8 * SEC, 3 * SEC, 500_000);
    (f.leave_every, f.disk_cut_every, f.lateness) = (30 * SEC, 900 * MS, MS);
    f.disk_latency = [MS / 5, 5 * MS, 40 * MS][usize::try_from(seed / 6 % 3).unwrap_or(0)];
    match run(&options, Mode::Off, bug) {
        Ok(report) => Ok(report.struck),
        Err(failure) => Err(format!("{}: {failure}", failure.violation.name)),
    }
}

#[test]
fn in_a_storm_at_no_instant_two_nodes_have_the_vote() {
    for seed in 0..60 {
        if let Err(failure) = storm(seed, None) {
            panic!("seed {seed}: {failure}");
        }
    }
}

/// The same storm with a lie in it breaks the rule: so it is what it rests on.
#[test]
fn in_a_storm_every_lie_is_found() {
    for bug in [Bug::GenerousServer, Bug::HollowEchoes] {
        let found = (0..90).find_map(|seed| storm(seed, Some(bug)).err());
        let found = found.unwrap_or_else(|| panic!("{bug:?} is not found"));
        assert!(["Q4", "Q1", "Q3"].iter().any(|name| found.starts_with(name)), "{bug:?}: {found}");
        eprintln!("{bug:?}: {}", found.lines().next().unwrap_or_default());
    }
}
