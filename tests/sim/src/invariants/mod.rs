//! The invariants, a file each (or a closely related pair), checked after every event.

use crate::oracle::{History, Observation};

mod calm;
mod confirmed;
mod m01_same_members;
mod m03_ring_ids_grow;
mod m04_once_and_unaltered;
mod m05_total_order;
mod m06_fifo_and_causal;
mod m07_virtual_synchrony;
mod m09_own_messages;
mod m10_safe_delivery;
mod m11_step_barrier;
mod m12_group_lists;
mod m12_ring_news;
mod n1_unsealed_changes_nothing;
mod q1_one_quorum;
mod q2_lease;
mod q3_takeover_wait;
mod q4_device;
mod q7_pause;

pub use m11_step_barrier::FIRST_USERLAND_STEP;

/// Something that must hold at every instant.
pub trait Invariant {
    /// Short name, as in the list of invariants.
    fn name(&self) -> &'static str;
    /// What must hold, in words.
    fn claim(&self) -> &'static str;
    /// Whether it looks at the end of each turn ([`What::Turn`](crate::oracle::What::Turn)), by far the most frequent
    /// observation.
    fn every_turn(&self) -> bool {
        false
    }
    /// Looks at what happened; `history` includes it already.
    ///
    /// # Errors
    /// What was seen that must not be.
    fn observe(&mut self, history: &History, seen: &Observation<'_>) -> Result<(), String>;
    /// Looks at the end of a run, when all is quiet.
    ///
    /// # Errors
    /// What was seen that must not be.
    fn finish(&mut self, history: &History) -> Result<(), String> {
        let _ = history;
        Ok(())
    }
}

/// One of each.
#[must_use]
pub fn all() -> Vec<Box<dyn Invariant>> {
    vec![
        Box::<m01_same_members::SameMembers>::default(),
        Box::<m03_ring_ids_grow::RingIdsGrow>::default(),
        Box::<m04_once_and_unaltered::OnceAndUnaltered>::default(),
        Box::<m05_total_order::TotalOrder>::default(),
        Box::<m05_total_order::NoHoles>::default(),
        Box::<m06_fifo_and_causal::FifoAndCausal>::default(),
        Box::<m07_virtual_synchrony::VirtualSynchrony>::default(),
        Box::<m07_virtual_synchrony::TransitionalSet>::default(),
        Box::<m07_virtual_synchrony::SameCut>::default(),
        Box::<m09_own_messages::OwnMessages>::default(),
        Box::<m10_safe_delivery::SafeDelivery>::default(),
        Box::<m11_step_barrier::StepBarrier>::default(),
        Box::<m12_group_lists::GroupLists>::default(),
        Box::<m12_group_lists::LocalClients>::default(),
        Box::<m12_ring_news::RingNews>::default(),
        Box::<q1_one_quorum::OneQuorum>::default(),
        Box::<q2_lease::Lease>::default(),
        Box::<q3_takeover_wait::TakeoverWait>::default(),
        Box::<q4_device::OneOwner>::default(),
        Box::<q7_pause::Pause>::default(),
        Box::<n1_unsealed_changes_nothing::UnsealedChangesNothing>::default(),
        Box::<confirmed::ConfirmedDeath>::default(),
        Box::<calm::NoFalseAlarm>::default(),
    ]
}
