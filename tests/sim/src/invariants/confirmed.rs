//! The part of "one owner" that is visible here: a death is confirmed only of an incarnation whose machine or
//! process tree is known to be gone (fence, last word, new boot), never of one that is merely silent.

use super::Invariant;
use crate::oracle::{History, Observation, What};

#[derive(Default)]
pub(crate) struct ConfirmedDeath;

impl Invariant for ConfirmedDeath {
    fn name(&self) -> &'static str {
        "S5"
    }

    fn claim(&self) -> &'static str {
        "a death is confirmed only on a fence, a last word or a new boot of that node"
    }

    fn observe(&mut self, history: &History, seen: &Observation<'_>) -> Result<(), String> {
        let What::Confirmed(node, incarnation) = seen.what else { return Ok(()) };
        let who = history.lives[seen.life].id;
        let life = history.lives.iter().find(|l| l.id == node && l.incarnation == incarnation);
        match life {
            None => Err(format!(
                "node {who} confirms the death of incarnation {incarnation} of {node}: never lived"
            )),
            Some(life) if life.ended.is_none() => Err(format!(
                "node {who} confirms the death of incarnation {incarnation} of {node}, which lives"
            )),
            Some(_) if !history.fenced.contains(&(node, incarnation)) => Err(format!(
                "node {who} confirms the death of incarnation {incarnation} of {node} without ground"
            )),
            Some(_) => Ok(()),
        }
    }
}
