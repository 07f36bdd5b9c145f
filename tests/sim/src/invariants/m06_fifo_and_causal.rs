//! M6: messages of one sender arrive in the order sent, and nobody sees a message before what its sender had seen.

use std::collections::BTreeMap;

use holdfast_types::ConnId;

use super::Invariant;
use crate::oracle::{History, LifeIndex, Observation, What};

/// Last number of each sender at each receiver.
#[derive(Default)]
pub(crate) struct FifoAndCausal(BTreeMap<(LifeIndex, ConnId, LifeIndex, ConnId), u32>);

impl Invariant for FifoAndCausal {
    fn name(&self) -> &'static str {
        "M6"
    }

    fn claim(&self) -> &'static str {
        "delivery is FIFO for each sender, and causal"
    }

    fn observe(&mut self, history: &History, seen: &Observation<'_>) -> Result<(), String> {
        let What::Delivered(d) = seen.what else { return Ok(()) };
        let Some(id) = d.message else { return Ok(()) };
        let last = self.0.entry((seen.life, d.conn, id.life, id.conn)).or_insert(0);
        if id.number < *last {
            return Err(format!("{:?} sends {} before {last}, delivered after it", d.sender, id.number));
        }
        *last = id.number;
        let after = history.messages.get(&id).and_then(|m| m.after);
        let (true, Some((ring, cause))) = (d.observer, after) else { return Ok(()) };
        let Some((here, stay)) = history.stay(seen.life) else { return Ok(()) };
        if here == ring && stay.whole && !stay.position.contains_key(&cause) {
            let node = history.lives[seen.life].id;
            return Err(format!("in {ring} node {node} delivers {id:?} without its cause {cause:?}"));
        }
        Ok(())
    }
}
