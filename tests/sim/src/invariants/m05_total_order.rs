//! M5: any two nodes deliver the messages they both deliver in the same order; and, as long as a node is in a regular
//! configuration, without holes: of two nodes' sequences there one is the beginning of the other.

use std::collections::BTreeMap;

use holdfast_types::RingId;

use super::Invariant;
use crate::oracle::{History, Item, LifeIndex, Observation, What};

/// For each pair of lives in a ring: how far in each one's order the last common message is.
#[derive(Default)]
pub(crate) struct TotalOrder(BTreeMap<(RingId, LifeIndex, LifeIndex), (usize, usize)>);

impl Invariant for TotalOrder {
    fn name(&self) -> &'static str {
        "M5"
    }

    fn claim(&self) -> &'static str {
        "any two nodes deliver the messages they both deliver in the same order"
    }

    fn observe(&mut self, history: &History, seen: &Observation<'_>) -> Result<(), String> {
        let What::Delivered(d) = seen.what else { return Ok(()) };
        let (true, Some(id)) = (d.observer, d.message) else { return Ok(()) };
        let Some((ring, mine)) = history.stay(seen.life) else { return Ok(()) };
        let here = mine.items.len() - 1;
        for (other, stay) in &history.rings[&ring].stays {
            if *other == seen.life {
                continue;
            }
            let Some(there) = stay.position.get(&id).copied() else { continue };
            // A pair's common messages form a chain in both orders: the new one, last here, must be last there.
            let (low, high) = (seen.life.min(*other), seen.life.max(*other));
            let swap = seen.life != low;
            let last = self.0.entry((ring, low, high)).or_insert((usize::MAX, usize::MAX));
            let last_there = if swap { last.0 } else { last.1 };
            if last_there != usize::MAX && there <= last_there {
                let (a, b) = (history.lives[seen.life].id, history.lives[*other].id);
                let (got, had) = (&stay.items[last_there], id);
                return Err(format!("in {ring} node {a} delivers {had:?} after {got:?}, node {b} before it"));
            }
            *last = if swap { (there, here) } else { (here, there) };
        }
        Ok(())
    }
}

/// The longest order seen in each ring, and where each life's order begins in it and how much of it is compared.
#[derive(Default)]
pub(crate) struct NoHoles(BTreeMap<RingId, (Vec<Item>, BTreeMap<LifeIndex, Place>)>);

#[derive(Default)]
struct Place {
    start: Option<usize>,
    compared: usize,
}

impl Invariant for NoHoles {
    fn name(&self) -> &'static str {
        "M5 (no holes)"
    }

    fn claim(&self) -> &'static str {
        "in a regular configuration every member delivers the same sequence, without holes"
    }

    fn observe(&mut self, history: &History, seen: &Observation<'_>) -> Result<(), String> {
        if !matches!(seen.what, What::Delivered(_) | What::Group(_)) {
            return Ok(());
        }
        let Some((ring, stay)) = history.stay(seen.life) else { return Ok(()) };
        let (order, places) = self.0.entry(ring).or_default();
        let place = places.entry(seen.life).or_default();
        let items = &stay.items[..stay.regular.unwrap_or(stay.items.len())];
        if items.is_empty() {
            return Ok(()); // of another client; the observer's own order has not begun
        }
        if place.start.is_none() {
            // An order that begins with the observer's own join has a place once another one's order shows that join.
            let found = items.first().and_then(|join| order.iter().position(|item| item == join));
            let first = order.is_empty() && all_new(history, ring);
            place.start = if stay.whole || first { Some(0) } else { found };
        }
        let Some(start) = place.start else { return Ok(()) };
        for (i, item) in items.iter().enumerate().skip(place.compared) {
            match order.get(start + i) {
                None => order.push(*item),
                Some(expected) if expected == item => {}
                Some(expected) => {
                    let id = history.lives[seen.life].id;
                    return Err(format!(
                        "in {ring} node {id} delivers {item:?} where others have {expected:?}"
                    ));
                }
            }
        }
        place.compared = items.len();
        Ok(())
    }
}

/// Every member has installed the ring, and no observer was in the group before: the first order seen is as good as
/// any to begin with.
fn all_new(history: &History, ring: RingId) -> bool {
    let ring = &history.rings[&ring];
    ring.stays.len() >= ring.members.len() && ring.stays.values().all(|stay| !stay.whole)
}
