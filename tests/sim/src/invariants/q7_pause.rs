//! Q7: after a pause longer than the lease, "not quorate" is visible to clients before any packet is read.

use super::Invariant;
use crate::oracle::{History, Observation, What};

#[derive(Default)]
pub(crate) struct Pause;

impl Invariant for Pause {
    fn name(&self) -> &'static str {
        "Q7"
    }

    fn claim(&self) -> &'static str {
        "after a pause longer than the lease, \"not quorate\" is visible before any packet is read"
    }

    fn observe(&mut self, history: &History, seen: &Observation<'_>) -> Result<(), String> {
        let What::Resumed(gap) = seen.what else { return Ok(()) };
        let life = &history.lives[seen.life];
        let need = history.need(life);
        let device = history.weight_of(life, life.node) + 2 * history.device_of(life) >= need;
        let held = life.hold.is_some_and(|until| device && life.clock.local(history.now) < until);
        let alone = held || life.view.two_node || history.weight_of(life, life.node) >= need;
        if gap > life.clock.real(history.lease) && life.view.quorate && !alone {
            return Err(format!(
                "node {} still believes it is quorate after {} ms of pause",
                life.id,
                gap / 1_000_000
            ));
        }
        Ok(())
    }
}
