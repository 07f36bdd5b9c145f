//! M10: a safe message delivered in a regular configuration has been received by every member of it: each delivers
//! it there or on the way out, unless it fails.

use std::collections::BTreeMap;

use cmm_proto::{ConfigurationKind, Guarantee};
use holdfast_types::RingId;

use super::Invariant;
use crate::oracle::{History, LifeIndex, MessageId, Observation, What};

/// Safe messages delivered in each regular configuration, with one life that did.
#[derive(Default)]
pub(crate) struct SafeDelivery(BTreeMap<RingId, BTreeMap<MessageId, LifeIndex>>);

impl Invariant for SafeDelivery {
    fn name(&self) -> &'static str {
        "M10"
    }

    fn claim(&self) -> &'static str {
        "a safe message is delivered only when every member of the configuration has received it"
    }

    fn observe(&mut self, history: &History, seen: &Observation<'_>) -> Result<(), String> {
        match seen.what {
            What::Delivered(d) if d.observer => {
                let Some(id) = d.message else { return Ok(()) };
                let Some((ring, stay)) = history.stay(seen.life) else { return Ok(()) };
                let safe = history.messages.get(&id).is_some_and(|m| m.guarantee == Guarantee::Safe);
                if !safe || stay.regular.is_some() {
                    return Ok(());
                }
                self.0.entry(ring).or_default().entry(id).or_insert(seen.life);
                for other in history.rings[&ring].stays.keys() {
                    check(history, ring, id, seen.life, *other)?;
                }
            }
            What::Configuration(c, _) if c.kind == ConfigurationKind::Regular => {
                let Some(from) = history.stay(seen.life).and_then(|(_, stay)| stay.from) else {
                    return Ok(());
                };
                for (id, by) in self.0.get(&from).into_iter().flatten() {
                    check(history, from, *id, *by, seen.life)?;
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// `by` has delivered `id` as safe in `ring`; `other`, once it has left that ring alive, must have it too.
fn check(
    history: &History,
    ring: RingId,
    id: MessageId,
    by: LifeIndex,
    other: LifeIndex,
) -> Result<(), String> {
    let stays = &history.rings[&ring].stays;
    let (theirs, mine) = (&stays[&other], &stays[&by]);
    if theirs.to.is_none() || theirs.position.contains_key(&id) {
        return Ok(());
    }
    let joined_before = || {
        let Some(join) = theirs.items.first() else { return false };
        mine.items.iter().position(|item| item == join).is_some_and(|at| at < mine.position[&id])
    };
    if theirs.whole || joined_before() {
        let (a, b) = (history.lives[by].id, history.lives[other].id);
        return Err(format!(
            "node {a} delivered {id:?} as safe in {ring}; member {b} left that ring without it"
        ));
    }
    Ok(())
}
