//! M3: ring ids installed by a node grow, across crashes too; no id is used before its number is durable.

use std::collections::BTreeMap;

use cmm_proto::ConfigurationKind;
use holdfast_types::RingId;

use super::Invariant;
use crate::oracle::{History, Observation, What};

/// The highest ring id each node has installed, over all its lives.
#[derive(Default)]
pub(crate) struct RingIdsGrow(BTreeMap<usize, RingId>);

impl Invariant for RingIdsGrow {
    fn name(&self) -> &'static str {
        "M3"
    }

    fn claim(&self) -> &'static str {
        "ring ids installed by a node grow, across crashes too, and are durable before their first use"
    }

    fn observe(&mut self, history: &History, seen: &Observation<'_>) -> Result<(), String> {
        let What::Configuration(c, reserved) = seen.what else { return Ok(()) };
        if c.kind != ConfigurationKind::Regular {
            return Ok(());
        }
        let life = &history.lives[seen.life];
        if c.ring.seq > reserved {
            return Err(format!(
                "node {} installs {}, but only {reserved:x} is durable there",
                life.id, c.ring
            ));
        }
        if let Some(before) = self.0.insert(life.node, c.ring)
            && before >= c.ring
        {
            return Err(format!("node {} installs {} after {before}", life.id, c.ring));
        }
        Ok(())
    }
}
