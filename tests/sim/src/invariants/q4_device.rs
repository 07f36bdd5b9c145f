//! Q4: the quorum device's vote belongs to at most one life at each instant, whether that life can act on it or not.
//!
//! What a life holds is a promise that others wait for on their own clocks: a paused one counts here as well.

use super::Invariant;
use crate::oracle::{History, Observation, What};

#[derive(Default)]
pub(crate) struct OneOwner;

impl Invariant for OneOwner {
    fn name(&self) -> &'static str {
        "Q4"
    }

    fn claim(&self) -> &'static str {
        "the vote of the quorum device belongs to at most one life of one node at each instant"
    }

    fn every_turn(&self) -> bool {
        true
    }

    fn observe(&mut self, history: &History, seen: &Observation<'_>) -> Result<(), String> {
        if history.device == 0 || !matches!(seen.what, What::Turn) {
            return Ok(());
        }
        let lives = history.running.iter().flatten().map(|l| &history.lives[*l]);
        let mut owners = lives.filter(|l| l.hold.is_some_and(|until| l.clock.local(history.now) < until));
        match (owners.next(), owners.next()) {
            (Some(one), Some(other)) => Err(format!("nodes {} and {} both own it", one.id, other.id)),
            _ => Ok(()),
        }
    }
}
