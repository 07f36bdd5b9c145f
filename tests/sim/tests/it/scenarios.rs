//! Named scenarios: reports from the predecessors' users, and the corners that chance finds too rarely.

use cmm_proto::{Guarantee, NodeTable, Settings, Timers};
use holdfast_sim::clock::{MS, SEC};
use holdfast_sim::machine::Death;
use holdfast_sim::oracle::Violation;
use holdfast_sim::sabotage::Bug;
use holdfast_sim::trace::Mode;
use holdfast_sim::{Cluster, OBSERVER, Options};
use holdfast_types::Span;

/// A cluster of `count` nodes that have formed and are quorate.
fn formed(seed: u64, count: u32) -> Cluster {
    formed_with(Options::quiet(seed, count))
}

fn formed_with(options: Options) -> Cluster {
    formed_from(Cluster::new(options, Mode::Tail, None))
}

fn formed_from(mut cluster: Cluster) -> Cluster {
    cluster.start_all(50 * MS);
    let all: Vec<usize> = (0..cluster.len()).collect();
    until(&mut cluster, 30 * SEC, "all nodes are one quorate configuration", |c| {
        c.together(&all) && all.iter().all(|n| c.quorate(*n))
    });
    let soon = cluster.now + 200 * MS;
    held(soon, &mut cluster);
    cluster
}

/// Runs until `done`, within `limit` of virtual time.
fn until(cluster: &mut Cluster, limit: u64, what: &str, done: impl FnMut(&Cluster) -> bool) {
    let deadline = cluster.now + limit;
    match cluster.run_while_not(deadline, done) {
        Ok(true) => {}
        Ok(false) => fail(cluster, format!("not within {} ms: {what}", limit / MS)),
        Err(violation) => broken(cluster, &violation),
    }
}

/// Runs until that instant.
fn held(until: u64, cluster: &mut Cluster) {
    if let Err(violation) = cluster.run_until(until) {
        broken(cluster, &violation);
    }
}

/// Lets the cluster converge without faults.
fn converges(mut cluster: Cluster) {
    if let Err(violation) = cluster.converge() {
        broken(&cluster, &violation);
    }
}

fn broken(cluster: &Cluster, violation: &Violation) -> ! {
    fail(cluster, format!("{}: {}\n{}", violation.name, violation.claim, violation.seen))
}

fn fail(cluster: &Cluster, why: String) -> ! {
    panic!("{}\n{why}\nat {:.3} ms", cluster.trace.tail().join("\n"), cluster.now as f64 / 1e6)
}

fn say(cluster: &mut Cluster, n: usize, guarantee: Guarantee, len: usize) {
    if let Err(violation) = cluster.multicast(n, OBSERVER, guarantee, len) {
        broken(cluster, &violation);
    }
}

/// corosync #660: one slow link, joins and leaves; messages were corrupted after recovery and all nodes fenced.
#[test]
fn scenario_c660_slow_link_and_a_restart_loop() {
    let mut cluster = formed(660, 5);
    for peer in 0..4 {
        cluster.network.set_thin(4, peer, 20_000); // 400 kbit/s
        cluster.network.set_thin(peer, 4, 20_000);
    }
    for round in 0..8 {
        for n in 0..5 {
            for i in 0..10 {
                let guarantee = if i % 3 == 0 { Guarantee::Safe } else { Guarantee::Agreed };
                say(&mut cluster, n, guarantee, 100 + 700 * i);
            }
        }
        let restart = 3 - (round % 2);
        cluster.crash(restart, Death::Silent).unwrap_or_else(|v| broken(&cluster, &v));
        let soon = cluster.now + 700 * MS;
        held(soon, &mut cluster);
        cluster.start(restart).unwrap_or_else(|v| broken(&cluster, &v));
        let soon = cluster.now + 900 * MS;
        held(soon, &mut cluster);
    }
    converges(cluster);
}

/// corosync 2ab885ab: a node joined, sent its join list, and exited; the barrier never completed and every node hung.
/// Here a joining node dies after each number of outputs in turn, until it lives to the end of its last step.
#[test]
fn a_joining_node_exits_at_each_point_of_the_change() {
    for outputs in 0.. {
        let mut cluster = Cluster::new(Options::quiet(u64::from(outputs), 3), Mode::Tail, None);
        for n in [0, 1] {
            cluster.start(n).unwrap_or_else(|v| broken(&cluster, &v));
        }
        until(&mut cluster, 30 * SEC, "two of three are quorate", |c| {
            c.together(&[0, 1]) && c.quorate(0) && c.quorate(1)
        });
        cluster.start(2).unwrap_or_else(|v| broken(&cluster, &v));
        cluster.crash_after_outputs(2, outputs);
        until(&mut cluster, 30 * SEC, "the joining node dies or is settled", |c| {
            c.node(2).is_none() || c.together(&[0, 1, 2])
        });
        if cluster.node(2).is_some() {
            assert!(outputs > 20, "a join takes more than {outputs} outputs");
            return;
        }
        until(&mut cluster, 30 * SEC, "the others go on", |c| {
            c.together(&[0, 1]) && c.quorate(0) && c.quorate(1)
        });
        converges(cluster);
    }
}

/// The same for a member that dies while another one joins.
#[test]
fn a_member_exits_at_each_point_of_the_change() {
    for outputs in 0.. {
        let mut cluster = Cluster::new(Options::quiet(u64::from(outputs), 4), Mode::Tail, None);
        for n in [0, 1, 2] {
            cluster.start(n).unwrap_or_else(|v| broken(&cluster, &v));
        }
        until(&mut cluster, 30 * SEC, "three of four are quorate", |c| {
            c.together(&[0, 1, 2]) && c.quorate(0)
        });
        for n in 0..3 {
            say(&mut cluster, n, Guarantee::Safe, 3_000);
        }
        cluster.start(3).unwrap_or_else(|v| broken(&cluster, &v));
        cluster.crash_after_outputs(0, outputs);
        until(&mut cluster, 30 * SEC, "the member dies or all are settled", |c| {
            c.node(0).is_none() || c.together(&[0, 1, 2, 3])
        });
        if cluster.node(0).is_some() {
            assert!(outputs > 20, "a change takes more than {outputs} outputs");
            return;
        }
        until(&mut cluster, 30 * SEC, "the others go on", |c| c.together(&[1, 2, 3]) && c.quorate(2));
        converges(cluster);
    }
}

/// corosync #750, #760: A–B and B–C are fine, A–C is cut: corosync re-forms for ever. Here: a few configurations,
/// then peace.
#[test]
fn scenario_c750_a_cut_between_two_of_three_settles() {
    for seed in 0..10 {
        let mut cluster = formed(seed, 3);
        cluster.part(&[0], &[2], true);
        let before = cluster.counters.installs;
        let soon = cluster.now + 20 * SEC;
        held(soon, &mut cluster);
        let changes = cluster.counters.installs - before;
        assert!(changes <= 3 * 3, "seed {seed}: {changes} installations on three nodes");
        let later = cluster.now + 20 * SEC;
        held(later, &mut cluster);
        assert_eq!(cluster.counters.installs - before, changes, "seed {seed}: it goes on re-forming");
        let quorate = (0..3).filter(|n| cluster.quorate(*n)).count();
        assert_eq!(quorate, 2, "seed {seed}: two of them make a quorum");
        converges(cluster);
    }
}

/// L9: all nodes lose power at once; no human is needed.
#[test]
fn all_crash_and_start_cold() {
    for seed in 0..10 {
        let mut cluster = formed(seed, 5);
        for n in 0..5 {
            say(&mut cluster, n, Guarantee::Agreed, 20_000);
        }
        for n in 0..5 {
            cluster.crash(n, Death::Silent).unwrap_or_else(|v| broken(&cluster, &v));
            cluster.restart_after(n, 100 * MS * n as u64, true);
        }
        cluster.lose_packets_under_way();
        let all: Vec<usize> = (0..5).collect();
        until(&mut cluster, 30 * SEC, "all are quorate again", |c| {
            c.together(&all) && all.iter().all(|n| c.quorate(*n))
        });
        converges(cluster);
    }
}

/// Q7 and L7: a node stands still for longer than its lease; the others go on without it; it must not act on what it
/// believed, and comes back.
#[test]
fn a_pause_longer_than_the_lease() {
    for length in [300, 410, 460, 500, 600, 1_000, 1_500, 3_000, 10_000] {
        let mut cluster = formed(length, 3);
        cluster.pause(0, length * MS);
        for n in [1, 2] {
            say(&mut cluster, n, Guarantee::Safe, 500);
        }
        let end = cluster.now + length * MS;
        held(end, &mut cluster);
        if length >= 3_000 {
            assert!(cluster.together(&[1, 2]) && cluster.quorate(1) && cluster.quorate(2), "{length} ms");
        }
        until(&mut cluster, 10 * SEC, "all are together again", |c| {
            c.together(&[0, 1, 2]) && (0..3).all(|n| c.quorate(n))
        });
        converges(cluster);
    }
}

/// corosync #182: the majority takes over before the minority has noticed. Here the minority has given up quorum when
/// the majority goes on without it, and the majority never loses its own.
#[test]
fn scenario_c182_the_minority_gives_up_first() {
    for seed in 0..20 {
        let mut cluster = formed(seed, 5);
        cluster.part(&[0, 1], &[2, 3, 4], true);
        let lost = cluster.counters.quorum_lost;
        until(&mut cluster, 10 * SEC, "the majority goes on", |c| c.together(&[2, 3, 4]) && c.quorate(2));
        assert!(!cluster.quorate(0) && !cluster.quorate(1), "seed {seed}");
        let soon = cluster.now + 5 * SEC;
        held(soon, &mut cluster);
        assert!((2..5).all(|n| cluster.quorate(n)));
        assert_eq!(cluster.counters.quorum_lost - lost, 2, "seed {seed}: only the minority loses quorum");
        cluster.part(&[0, 1], &[2, 3, 4], false);
        until(&mut cluster, 10 * SEC, "halves merge", |c| c.together(&[0, 1, 2, 3, 4]));
        assert_eq!(cluster.counters.quorum_lost - lost, 2, "seed {seed}: a merge costs nobody its quorum");
        converges(cluster);
    }
}

/// A second partition strikes at each event of the change that the first one causes.
#[test]
fn a_partition_at_each_event_of_a_recovery() {
    for events in (0..600).step_by(7) {
        let mut cluster = formed(events, 4);
        for n in 0..4 {
            for len in [200, 5_000] {
                say(&mut cluster, n, Guarantee::Safe, len);
            }
        }
        cluster.part(&[0], &[1, 2, 3], true);
        until(&mut cluster, 10 * SEC, "the cut is noticed", |c| {
            c.node(1).is_some_and(|n| n.ring_state() != "OPERATIONAL")
        });
        for _ in 0..events {
            let limit = cluster.now + SEC;
            cluster.step(limit).unwrap_or_else(|v| broken(&cluster, &v));
        }
        cluster.part(&[1], &[2, 3], true);
        cluster.part(&[0], &[1], false);
        let soon = cluster.now + 4 * SEC;
        held(soon, &mut cluster);
        assert!(!(cluster.quorate(0) && cluster.quorate(3)));
        converges(cluster);
    }
}

/// An orderly leave and a dying gasp are news: nobody waits for a silence, and nobody loses quorum.
#[test]
fn leaves_and_gasps_are_acted_on_at_once() {
    for seed in 0..20 {
        let mut cluster = formed(seed, 4);
        let lost = cluster.counters.quorum_lost;
        let end = match seed % 3 {
            0 => cluster.leave(3),
            1 => cluster.crash(3, Death::Gasp),
            _ => cluster.crash(3, Death::UnitDied),
        };
        end.unwrap_or_else(|v| broken(&cluster, &v));
        let silence = cluster.options.timers.heartbeat_limit.as_nanos();
        let ring = cluster.ring(0).map(|(ring, _)| ring);
        until(&mut cluster, silence - 50 * MS, "the others are a configuration", |c| {
            c.ring(0).map(|(ring, _)| ring) != ring && c.together(&[0, 1, 2])
        });
        assert!((0..3).all(|n| cluster.quorate(n)), "seed {seed}");
        assert!(cluster.counters.quorum_lost - lost <= 1, "seed {seed}: only who leaves may give up quorum");
        converges(cluster);
    }
}

/// A voter that restarts faster than its promises end must not help another partition to quorum before they have.
#[test]
fn a_restarted_voter_remembers_its_promises() {
    for seed in 0..20 {
        let mut cluster = formed(seed, 3);
        // Node 2 alone hears node 3, and dies; its new life hears node 1 alone.
        cluster.part(&[0], &[1, 2], true);
        let soon = cluster.now + (seed * 10) * MS;
        held(soon, &mut cluster);
        cluster.crash(1, Death::Silent).unwrap_or_else(|v| broken(&cluster, &v));
        cluster.part(&[1], &[2], true);
        cluster.part(&[0], &[1], false);
        cluster.start(1).unwrap_or_else(|v| broken(&cluster, &v));
        until(&mut cluster, 30 * SEC, "the restarted voter and its new peer go on", |c| {
            c.together(&[0, 1]) && c.quorate(0)
        });
        assert!(!cluster.quorate(2));
        converges(cluster);
    }
}

/// corosync #736 and its like: a member cut off and back again and again must not wear the others out.
#[test]
fn a_flapping_node_leaves_the_others_in_peace() {
    let mut cluster = formed(736, 5);
    let lost = cluster.counters.quorum_lost;
    for round in 0..20 {
        cluster.part(&[4], &[0, 1, 2, 3], true);
        let soon = cluster.now + (100 + 90 * round) * MS;
        held(soon, &mut cluster);
        cluster.part(&[4], &[0, 1, 2, 3], false);
        let soon = cluster.now + 300 * MS;
        held(soon, &mut cluster);
        if !(0..4).all(|n| cluster.quorate(n)) {
            fail(&cluster, format!("round {round}"))
        }
    }
    assert!(cluster.counters.quorum_lost - lost <= 20, "only the flapping node may lose quorum");
    converges(cluster);
}

/// Both halves of `two_node` stay quorate, as their users expect: the named exception.
#[test]
fn two_node_halves_are_both_quorate_and_merge() {
    let mut options = Options::quiet(2, 2);
    options.quorum.two_node = true;
    options.quorum.wait_for_all = true;
    let mut cluster = formed_with(options);
    cluster.part(&[0], &[1], true);
    until(&mut cluster, 10 * SEC, "both are alone and quorate", |c| {
        c.together(&[0]) && c.together(&[1]) && c.quorate(0) && c.quorate(1)
    });
    converges(cluster);
}

/// Found by seed 11166: a daemon leaves and is back before its leave has arrived. Each side's accusation reached the
/// other one in its next attempt, for ever.
#[test]
fn a_restart_quicker_than_the_network_ends_well() {
    for seed in 0..12 {
        for latency in [1, 3, 8] {
            let mut options = Options::quiet(seed, 2);
            options.network.latency = latency * MS;
            let mut cluster = formed_with(options);
            cluster.leave(1).unwrap_or_else(|v| broken(&cluster, &v));
            let soon = cluster.now + (seed + 1) * MS / 2;
            held(soon, &mut cluster);
            cluster.start(1).unwrap_or_else(|v| broken(&cluster, &v));
            let installs = cluster.counters.installs;
            until(&mut cluster, 5 * SEC, "the two are together again", |c| c.together(&[0, 1]));
            assert!(
                cluster.counters.installs - installs < 20,
                "seed {seed}, {latency} ms: too many attempts"
            );
        }
    }
}

#[test]
fn a_key_is_changed_while_members_die_and_come_back() {
    for after in [1, 3, 10, 60, 400] {
        let mut cluster = formed(40 + after, 5);
        for n in 0..4 {
            cluster.put_key(n, 1);
        }
        if let Err(violation) = cluster.change_key(1) {
            broken(&cluster, &violation);
        }
        let soon = cluster.now + after * MS;
        held(soon, &mut cluster);
        for n in [1, 3] {
            if let Err(violation) = cluster.crash(n, Death::Silent) {
                broken(&cluster, &violation);
            }
            cluster.restart_after(n, 700 * MS, false);
        }
        // The last file comes late: until then nobody may seal with the new key alone.
        let later = cluster.now + 20 * SEC;
        held(later, &mut cluster);
        cluster.put_key(4, 1);
        until(&mut cluster, 60 * SEC, "all have the new key, and no other", Cluster::one_key);
        converges(cluster);
    }
}

/// Scale: sixty-four nodes with the timers of the defaults form, lose one that says so and one that does not, fall apart
/// into 33 and 31, and are one again.
#[test]
fn sixty_four_nodes_with_real_timings() {
    let timers = Timers::from_token(Span::from_secs(3));
    let mut cluster = formed_with(Options { timers, eager: false, ..Options::quiet(64, 64) });
    let all: Vec<usize> = (0..64).collect();
    let without = |gone: &[usize]| -> Vec<usize> { (0..64).filter(|n| !gone.contains(n)).collect() };
    let lost = cluster.counters.quorum_lost;

    cluster.crash(5, Death::Gasp).unwrap_or_else(|v| broken(&cluster, &v));
    until(&mut cluster, SEC, "the others go on at its guardian's word", |c| c.together(&without(&[5])));
    cluster.crash(63, Death::Silent).unwrap_or_else(|v| broken(&cluster, &v));
    until(&mut cluster, 2 * SEC, "the others notice the silence", |c| c.together(&without(&[5, 63])));
    for n in [5, 63] {
        cluster.start(n).unwrap_or_else(|v| broken(&cluster, &v));
    }
    until(&mut cluster, 5 * SEC, "both are back", |c| c.together(&all) && c.quorate(5) && c.quorate(63));
    assert_eq!(cluster.counters.quorum_lost, lost, "nobody who lived lost quorum");

    let (one, other) = all.split_at(33);
    cluster.part(one, other, true);
    until(&mut cluster, 5 * SEC, "each side is one", |c| c.together(one) && c.together(other));
    assert!(one.iter().all(|n| cluster.quorate(*n)), "33 of 64 are a majority");
    assert!(!other.iter().any(|n| cluster.quorate(*n)));
    cluster.part(one, other, false);
    until(&mut cluster, 5 * SEC, "they are one again", |c| {
        c.together(&all) && all.iter().all(|n| c.quorate(*n))
    });
    assert_eq!(cluster.counters.quorum_lost - lost, 31, "only the smaller side lost quorum, and once");
    let installs = cluster.counters.installs;
    let later = cluster.now + SEC;
    held(later, &mut cluster);
    assert_eq!(cluster.counters.installs, installs, "and that is all");
}

/// The daemon dies with its guardian, its machine lives on and refuses packets: missed by a probe, and
/// quorum never lost.
#[test]
fn a_port_that_refuses_is_missed_sooner_than_a_silent_one() {
    for seed in 0..20 {
        let mut cluster = formed(seed, 5);
        cluster.crash(4, Death::Silent).unwrap_or_else(|v| broken(&cluster, &v));
        cluster.restart_after(4, 10 * SEC, false);
        let limit = 120 * MS; // a silent one: 160 to 240
        until(&mut cluster, limit, "the ring is one of four", |c| {
            (0..4).all(|n| c.ring(n).is_some_and(|(_, members)| members.len() == 4))
        });
        assert!((0..4).all(|n| cluster.quorate(n)), "seed {seed}");
        converges(cluster);
    }
}

/// Leases become long by a reload; then two of three nodes die and start with short ones in their files. The third, cut off, holds
/// the long lease that they gave it.
fn two_restart_with_shorter_leases(bug: Option<Bug>) -> Result<Cluster, Violation> {
    let mut cluster = formed_from(Cluster::new(Options::quiet(13, 3), Mode::Tail, bug));
    let short = cluster.options.settings();
    let long = Settings { timers: short.timers.with_limit(Span::from_secs(24)), ..short };
    (0..3).for_each(|n| cluster.put_settings(n, long));
    cluster.reload(0)?;
    until(&mut cluster, 10 * SEC, "long leases are in force", Cluster::settings_agree);
    let later = cluster.now + 10 * SEC;
    cluster.run_until(later)?;
    for (a, b) in [(0, 2), (1, 2)] {
        cluster.network.cut(a, b);
        cluster.network.cut(b, a);
    }
    for n in [0, 1] {
        cluster.put_settings(n, short);
        cluster.crash(n, Death::Silent)?;
        cluster.start(n)?;
    }
    assert!(cluster.quorate(2), "it has heard nothing of all this");
    let deadline = cluster.now + 60 * SEC;
    let done = cluster.run_while_not(deadline, |c| c.together(&[0, 1]) && c.quorate(0) && c.quorate(1))?;
    assert!(done, "the two go on in the end");
    Ok(cluster)
}

#[test]
fn a_restart_does_not_shorten_what_was_promised_and_the_oracle_would_notice() {
    match two_restart_with_shorter_leases(None) {
        Ok(cluster) => converges(cluster),
        Err(v) => panic!("{}: {}", v.name, v.seen),
    }
    let found = two_restart_with_shorter_leases(Some(Bug::ForgetPromise)).err();
    assert!(matches!(found.as_ref().map(|v| v.name), Some("Q1" | "Q3")), "{found:?}");
}

/// Three nodes run; one of them, cut off from the others, starts again with two new ones and a list of five in its file: three of
/// five, beside two of three.
fn three_of_five_start_beside_two_of_three(bug: Option<Bug>) -> Result<Cluster, Violation> {
    let mut options = Options::quiet(14, 5);
    options.load.nodes_every = SEC; // the script changes tables: the oracle counts by those that nodes tell
    let mut cluster = Cluster::new(options, Mode::Tail, bug);
    let five = cluster.options.table();
    let three = NodeTable::new(five.nodes[..3].to_vec(), None);
    for n in 0..3 {
        cluster.put_table(n, &three);
        cluster.start(n)?;
    }
    let quorate = |c: &Cluster, nodes: &[usize]| c.together(nodes) && nodes.iter().all(|n| c.quorate(*n));
    until(&mut cluster, 10 * SEC, "three are quorate", |c| quorate(c, &[0, 1, 2]));
    cluster.part(&[0, 1], &[2, 3, 4], true);
    cluster.crash(2, Death::Silent)?;
    cluster.put_table(2, &five);
    for n in 2..5 {
        cluster.start(n)?;
    }
    let deadline = cluster.now + 10 * SEC;
    let done = cluster.run_while_not(deadline, |c| quorate(c, &[0, 1]) && c.together(&[2, 3, 4]))?;
    assert!(done && (2..5).all(|n| !cluster.quorate(n)), "those with the new list have one vote of three");
    cluster.part(&[0, 1], &[2, 3, 4], false);
    cluster.put_table(0, &five);
    cluster.put_table(1, &five);
    cluster.reload(0)?;
    until(&mut cluster, 10 * SEC, "all five count", |c| {
        c.tables_agree() && c.together(&[0, 1, 2, 3, 4]) && (0..5).all(|n| c.quorate(n))
    });
    Ok(cluster)
}

#[test]
fn an_edited_file_makes_no_second_majority_and_the_oracle_would_notice() {
    match three_of_five_start_beside_two_of_three(None) {
        Ok(cluster) => converges(cluster),
        Err(v) => panic!("{}: {}", v.name, v.seen),
    }
    let found = three_of_five_start_beside_two_of_three(Some(Bug::ForgetTables)).err();
    assert!(matches!(found.as_ref().map(|v| v.name), Some("Q1" | "Q3")), "{found:?}");
}
