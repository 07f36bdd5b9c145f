//! M9: a node delivers its own messages unless it fails.

use super::Invariant;
use crate::oracle::{History, Observation};

#[derive(Default)]
pub(crate) struct OwnMessages;

impl Invariant for OwnMessages {
    fn name(&self) -> &'static str {
        "M9"
    }

    fn claim(&self) -> &'static str {
        "a node delivers its own messages unless it fails"
    }

    fn observe(&mut self, _: &History, _: &Observation<'_>) -> Result<(), String> {
        Ok(()) // a promise about the end of a run, see below
    }

    fn finish(&mut self, history: &History) -> Result<(), String> {
        for (id, message) in &history.messages {
            let survivor = history.lives[id.life].ended.is_none();
            let delivered = || {
                history
                    .rings
                    .values()
                    .any(|ring| ring.stays.get(&id.life).is_some_and(|s| s.position.contains_key(id)))
            };
            if message.main && survivor && !delivered() {
                let node = history.lives[id.life].id;
                return Err(format!("node {node} never delivered its own {id:?}"));
            }
        }
        Ok(())
    }
}
