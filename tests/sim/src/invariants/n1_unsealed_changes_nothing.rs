//! N1, for damaged packets: a packet whose seal does not open changes counters only.

use super::Invariant;
use crate::oracle::{History, Observation, What};

#[derive(Default)]
pub(crate) struct UnsealedChangesNothing;

impl Invariant for UnsealedChangesNothing {
    fn name(&self) -> &'static str {
        "N1"
    }

    fn claim(&self) -> &'static str {
        "a packet that does not open changes counters only"
    }

    fn observe(&mut self, history: &History, seen: &Observation<'_>) -> Result<(), String> {
        match seen.what {
            What::Damaged(outputs) if outputs > 0 => {
                let node = history.lives[seen.life].id;
                Err(format!("a damaged packet made node {node} do {outputs} things"))
            }
            _ => Ok(()),
        }
    }
}
