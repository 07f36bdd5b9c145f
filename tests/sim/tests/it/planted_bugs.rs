//! Strength of the harness: each planted bug is found, by an invariant that speaks of it, within a few hundred seeds.

use holdfast_sim::Options;
use holdfast_sim::run::run;
use holdfast_sim::sabotage::Bug;
use holdfast_sim::trace::Mode;

/// Seeds that a bug may take to be found.
const SEEDS_MAX: u64 = 300;

/// Runs seeds with the bug until an invariant breaks; it must be one of `expected`.
fn is_found(bug: Bug, expected: &[&str]) {
    let mut struck = 0;
    for seed in 0..SEEDS_MAX {
        match run(&Options::draw(seed), Mode::Off, Some(bug)) {
            Ok(report) => struck += report.struck,
            Err(failure) => {
                let v = &failure.violation;
                assert!(
                    expected.contains(&v.name),
                    "{bug:?} is found by {}, expected {expected:?}: {failure}",
                    v.name
                );
                eprintln!("{bug:?}: seed {seed}, {} broken: {}", v.name, v.seen);
                return;
            }
        }
    }
    panic!("{bug:?} struck {struck} times in {SEEDS_MAX} seeds, and no invariant noticed");
}

macro_rules! planted {
    ($($name:ident: $bug:ident by $($invariant:literal)|+;)*) => {
        $(#[test]
        fn $name() {
            is_found(Bug::$bug, &[$($invariant),+]);
        })*
    };
}

planted! {
    a_suppressed_delivery_is_found: DropDelivery by "M7" | "M12 (local)" | "M5 (no holes)" | "M10" | "M9";
    // A message too short to say which one it is shows as one more than the neighbours were told.
    a_double_delivery_is_found: DeliverTwice by "M4" | "M12 (local)";
    swapped_deliveries_are_found: SwapDeliveries by "M5" | "M5 (no holes)" | "M6" | "M12 (local)" | "M4" | "M1/M2";
    an_altered_message_is_found: AlterMessage by "M4";
    quorum_that_is_told_too_long_is_found: QuorateTooLong by "Q1" | "Q2/Q8" | "Q7";
    quorum_without_waiting_for_leases_is_found: QuorateAtOnce by "Q1" | "Q3" | "Q2/Q8";
    quorum_that_ignores_leases_is_found: StaleQuorum by "Q1" | "Q2/Q8" | "Q3" | "Q7";
    // A node that names another ring than its members do then runs steps of a ring that it has not told.
    a_reused_ring_id_is_found: ReuseRingId by "M1/M2" | "M3" | "M11";
    a_forgotten_record_is_found: ForgetRecord by "M3" | "M1/M2";
    a_lost_member_is_found: LoseMember by "M1/M2" | "M8";
    a_node_outside_its_own_configuration_is_found: LoseMyself by "M1/M2";
    a_lost_transitional_member_is_found: LoseTransitional by "M8";
    a_late_transitional_configuration_is_found: LateTransitional by "M5 (no holes)" | "M10" | "M7 (cut)";
    a_suppressed_group_change_is_found: DropConfchg by "M12" | "M12 (local)" | "M5 (no holes)" | "M7";
    a_client_that_haunts_a_group_is_found: GhostClient by "M12" | "M12 (ring)";
    a_step_before_its_time_is_found: StepTooEarly by "M11";
    an_answer_to_a_damaged_packet_is_found: AnswerDamaged by "N1";
    reading_before_looking_at_timers_is_found: ReadBeforeTimers by "Q7" | "Q2/Q8" | "N1" | "Q1";
    a_lease_of_the_disk_that_looks_shorter_is_found: ShortDiskLease by "Q4" | "Q1" | "Q3";
    a_holder_that_never_sees_its_end_is_found: StaleReservation by "Q4" | "Q1" | "Q3";
    a_disk_that_loses_writes_unnoticed_is_found: LostWrites by "Q4" | "Q1" | "Q3";
    a_fence_agent_that_lies_is_found: FenceLies by "S5" | "Q1" | "Q3";
    a_deaf_node_is_found: Deaf by "L1/L7/L9" | "L2/L3" | "L6";
    forgotten_messages_are_found: ForgetMessages by "M9";
}
