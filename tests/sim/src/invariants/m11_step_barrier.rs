//! M11: step k+1 starts nowhere before step k ended everywhere; an abort discards all per-round state, and the next
//! round has a higher number.
//!
//! Seen from outside, a node has ended a step when the step began there and its userland, if it takes part, has said
//! that it is done. Steps before `fence` have no part in userland. The number of a round is agreed on in its first
//! step: that one may end with a higher number than it began with.

use std::collections::{BTreeMap, BTreeSet};

use cmm_proto::{StepNotice, StepPhase};
use holdfast_types::{Epoch, RingId, StepNumber};

use super::Invariant;
use crate::oracle::{History, LifeIndex, Observation, What};

/// Step numbers below this one are the daemon's own.
pub const FIRST_USERLAND_STEP: u32 = 3;

const SYNC: StepNumber = StepNumber::new(1);

/// Rounds, and where each life is.
#[derive(Default)]
pub(crate) struct StepBarrier {
    ended: BTreeMap<(RingId, Epoch), BTreeMap<StepNumber, BTreeSet<LifeIndex>>>,
    places: BTreeMap<LifeIndex, Place>,
}

#[derive(Default)]
struct Place {
    participant: bool,
    epoch: Epoch,
    /// The step that began last in this epoch, and its ring.
    step: Option<(RingId, StepNumber)>,
    aborted: Option<Epoch>,
}

impl Invariant for StepBarrier {
    fn name(&self) -> &'static str {
        "M11"
    }

    fn claim(&self) -> &'static str {
        "step k+1 starts nowhere before step k ended everywhere, and a new round has a higher number"
    }

    fn observe(&mut self, history: &History, seen: &Observation<'_>) -> Result<(), String> {
        match seen.what {
            // A participant that vanishes inside a step has not ended it.
            What::Participant(on) => self.places.entry(seen.life).or_default().participant = on,
            What::StepDone(notice) => self.end((notice.ring, notice.epoch), notice.step, seen.life),
            What::Step(notice) => {
                return self
                    .step(history, seen.life, notice)
                    .map_err(|why| format!("node {}: {why} at {notice:?}", history.lives[seen.life].id));
            }
            _ => {}
        }
        Ok(())
    }
}

impl StepBarrier {
    fn end(&mut self, key: (RingId, Epoch), step: StepNumber, life: LifeIndex) {
        self.ended.entry(key).or_default().entry(step).or_default().insert(life);
    }

    fn step(&mut self, history: &History, life: LifeIndex, notice: &StepNotice) -> Result<(), String> {
        let agreed_later = |step: StepNumber| step == SYNC;
        let key = (notice.ring, if agreed_later(notice.step) { Epoch::new(0) } else { notice.epoch });
        let place = self.places.entry(life).or_default();
        if notice.phase == StepPhase::Aborted {
            place.aborted = place.aborted.max(Some(notice.epoch));
            return Ok(());
        }
        if place.aborted.is_some_and(|aborted| notice.epoch <= aborted) {
            return Err(format!("round {} goes on after it was aborted", notice.epoch));
        }
        if history.lives[life].ring != Some(notice.ring) {
            return Err(format!("a step of another ring than {:?}", history.lives[life].ring));
        }
        if notice.epoch < place.epoch {
            return Err(format!("round {} after round {}", notice.epoch, place.epoch));
        }
        let ends = notice.phase == StepPhase::Done || notice.name == "end";
        if ends && agreed_later(notice.step) && place.step == Some((notice.ring, notice.step)) {
            place.epoch = notice.epoch;
        }
        let again = notice.epoch > place.epoch;
        let before = if again { None } else { place.step };
        if before.is_some_and(|(ring, _)| ring != notice.ring) {
            return Err(format!("round {} is used for two rings", notice.epoch));
        }
        if ends {
            match before {
                Some((_, step)) if notice.name == "end" => self.all_ended(history, key, step)?,
                Some((_, step)) if step == notice.step => self.all_ended(history, key, step)?,
                _ => return Err("a step ends that never began".to_owned()),
            }
            return Ok(());
        }
        if before.is_some_and(|(_, step)| notice.step <= step) {
            return Err(format!("steps do not go up, {before:?} was before"));
        }
        place.epoch = notice.epoch;
        place.step = Some((notice.ring, notice.step));
        let participant = place.participant && notice.step.get() >= FIRST_USERLAND_STEP;
        if let Some((ring, step)) = before {
            let round = if agreed_later(step) { Epoch::new(0) } else { notice.epoch };
            self.all_ended(history, (ring, round), step)?;
        }
        if !participant {
            self.end(key, notice.step, life);
        }
        Ok(())
    }

    fn all_ended(&self, history: &History, key: (RingId, Epoch), step: StepNumber) -> Result<(), String> {
        let ended = self.ended.get(&key).and_then(|steps| steps.get(&step));
        let ring = history.rings.get(&key.0).ok_or("a step of a ring that nobody installed")?;
        for member in &ring.members {
            let mut lives = ended.into_iter().flatten();
            if !lives.any(|life| history.lives[*life].id == *member) {
                return Err(format!("step {step} of round {} has not ended on node {member}", key.1));
            }
        }
        Ok(())
    }
}
