//! L6 and F4, as far as the core goes: without a fault there is no membership change and no loss of quorum, under
//! any load of clients.

use super::Invariant;
use crate::oracle::{History, Observation, What};

/// Whether all nodes have been together.
#[derive(Default)]
pub(crate) struct NoFalseAlarm {
    formed: bool,
}

impl Invariant for NoFalseAlarm {
    fn name(&self) -> &'static str {
        "L6"
    }

    fn claim(&self) -> &'static str {
        "without a fault no membership changes and no quorum is lost"
    }

    fn every_turn(&self) -> bool {
        true
    }

    fn observe(&mut self, history: &History, seen: &Observation<'_>) -> Result<(), String> {
        if !history.calm {
            return Ok(());
        }
        if matches!(seen.what, What::Turn) {
            self.formed = self.formed || together(history);
            return Ok(());
        }
        let node = history.lives[seen.life].id;
        match seen.what {
            What::Configuration(c, _) if self.formed => {
                Err(format!("node {node} installs {c:?} on a calm day"))
            }
            What::Quorum(view) if self.formed && !view.quorate => {
                Err(format!("node {node} loses quorum on a calm day: {}", view.reason))
            }
            _ => Ok(()),
        }
    }
}

/// All nodes are in one configuration and quorate.
fn together(history: &History) -> bool {
    history.formed
        && history.running.iter().all(|life| {
            life.is_some_and(|l| {
                let life = &history.lives[l];
                life.believes()
                    && life.view.members.len() == history.votes.len()
                    && life.ring == Some(life.view.ring)
            })
        })
}
