//! M4: a message is delivered at most once, unaltered, from a member of the configuration it was sent in, in that
//! configuration or its transitional one.

use std::collections::BTreeSet;

use holdfast_types::ConnId;

use super::Invariant;
use crate::oracle::{History, LifeIndex, MessageId, Observation, What};

/// What each client has had.
#[derive(Default)]
pub(crate) struct OnceAndUnaltered(BTreeSet<(LifeIndex, ConnId, MessageId)>);

impl Invariant for OnceAndUnaltered {
    fn name(&self) -> &'static str {
        "M4"
    }

    fn claim(&self) -> &'static str {
        "a message is delivered at most once, unaltered, from a member of the configuration"
    }

    fn observe(&mut self, history: &History, seen: &Observation<'_>) -> Result<(), String> {
        let What::Delivered(d) = seen.what else { return Ok(()) };
        let Some((ring, _)) = history.stay(seen.life) else {
            return Err("a delivery before the first configuration".to_owned());
        };
        let members = &history.rings[&ring].members;
        if !members.contains(&d.sender.node) {
            return Err(format!("delivery from {:?}, not a member of {ring} {members:?}", d.sender));
        }
        let Some(id) = d.message else {
            let known = history.anonymous.contains(&(d.sender, d.hash));
            return if known {
                Ok(())
            } else {
                Err(format!("{:?} never sent what arrives from it", d.sender))
            };
        };
        let Some(sent) = history.messages.get(&id) else {
            return Err(format!("{id:?} was never sent"));
        };
        if sent.hash != d.hash || sent.sender != d.sender {
            return Err(format!("{id:?} of {:?} arrives altered, as from {:?}", sent.sender, d.sender));
        }
        if !history.rings[&ring].stays.contains_key(&id.life) {
            return Err(format!("{id:?} is delivered in {ring}, which its sender's life never installed"));
        }
        if !self.0.insert((seen.life, d.conn, id)) {
            return Err(format!("{id:?} is delivered twice to connection {}", d.conn));
        }
        Ok(())
    }
}
