//! M7: nodes that go together from one configuration to the next delivered the same messages in the first.
//!
//! For clients a configuration begins when it is synchronised: what their nodes have in common before that is the
//! configuration synchronised before. A message ordered in between goes to those who know its sender from there, so
//! what is compared is what happened from one synchronised configuration to the next, on nodes that took the same way.
//!
//! M8: a node is in another one's transitional set if and only if both came from the same configuration.

use cmm_proto::ConfigurationKind;
use holdfast_types::RingId;

use super::Invariant;
use crate::oracle::{History, Item, Observation, Segment, Stay, What};

#[derive(Default)]
pub(crate) struct VirtualSynchrony;

impl Invariant for VirtualSynchrony {
    fn name(&self) -> &'static str {
        "M7"
    }

    fn claim(&self) -> &'static str {
        "nodes that go together from one configuration to the next delivered the same messages in the first"
    }

    fn observe(&mut self, history: &History, seen: &Observation<'_>) -> Result<(), String> {
        let What::Synced(notice, _) = seen.what else { return Ok(()) };
        // The segment just closed is the one of this life that ends here: on the way to this ring.
        let here = |path: &[RingId]| path.last() == Some(&notice.ring);
        let mut all =
            history.segments.iter().filter(|((_, path), lives)| here(path) && lives.contains_key(&seen.life));
        let Some(((from, _), lives)) = all.next() else { return Ok(()) };
        let mine = &lives[&seen.life];
        for (other, theirs) in lives.iter().filter(|(other, _)| **other != seen.life) {
            let (a, b) = (history.lives[seen.life].id, history.lives[*other].id);
            let Some((x, y)) = common_part(mine, theirs) else {
                return Err(format!(
                    "nodes {a} and {b} go together from {from}, but one missed the other's join"
                ));
            };
            if x != y {
                let i = x.iter().zip(y).position(|(x, y)| x != y).unwrap_or(x.len().min(y.len()));
                return Err(format!(
                    "nodes {a} and {b} go together from {from} to {}; of {} and {} deliveries on the way, number {} \
                     is {:?} on one and {:?} on the other",
                    notice.ring,
                    x.len(),
                    y.len(),
                    i + 1,
                    x.get(i),
                    y.get(i),
                ));
            }
        }
        Ok(())
    }
}

/// The parts of two orders that both observers were there for; none if one lacks the join of the other.
fn common_part<'a>(a: &'a Segment, b: &'a Segment) -> Option<(&'a [Item], &'a [Item])> {
    let since = |long: &'a Segment, short: &'a Segment| {
        let join = short.items.first()?;
        long.items.iter().position(|item| item == join).map(|i| &long.items[i..])
    };
    match (a.whole, b.whole) {
        (true, true) => Some((&a.items, &b.items)),
        _ if a.items.is_empty() && !a.whole || b.items.is_empty() && !b.whole => Some((&[], &[])),
        (true, false) => Some((since(a, b)?, &b.items)),
        (false, true) => Some((&a.items, since(b, a)?)),
        (false, false) => since(a, b).map(|x| (x, &b.items[..])).or_else(|| Some((&a.items, since(b, a)?))),
    }
}

#[derive(Default)]
pub(crate) struct TransitionalSet;

impl Invariant for TransitionalSet {
    fn name(&self) -> &'static str {
        "M8"
    }

    fn claim(&self) -> &'static str {
        "a node is in the transitional set if and only if it came from the same configuration"
    }

    fn observe(&mut self, history: &History, seen: &Observation<'_>) -> Result<(), String> {
        let What::Configuration(c, _) = seen.what else { return Ok(()) };
        let me = &history.lives[seen.life];
        if c.kind == ConfigurationKind::Transitional {
            return match me.ring {
                Some(ring) if ring == c.ring => Ok(()),
                other => {
                    Err(format!("transitional configuration of {} on node {} in {other:?}", c.ring, me.id))
                }
            };
        }
        let Some((ring, stay)) = history.stay(seen.life) else { return Ok(()) };
        let with = &stay.came_with;
        if stay.from.is_some() && !with.contains(&me.id) {
            return Err(format!(
                "node {} is not in its own transitional set {with:?} on the way to {ring}",
                me.id
            ));
        }
        let stranger = with.iter().find(|n| !c.members.contains(n) || c.joined.contains(n));
        if let Some(stranger) = stranger {
            return Err(format!(
                "{stranger} is in the transitional set of {}, but not one who stayed: {c:?}",
                me.id
            ));
        }
        for member in &c.members {
            if !with.contains(member) && !c.joined.contains(member) && stay.from.is_some() {
                return Err(format!(
                    "{member} did not come along to {ring} and is not named as joined: {c:?}"
                ));
            }
        }
        let old = stay.from.map(|from| &history.rings[&from].members);
        for member in old.into_iter().flatten() {
            if with.contains(member) == c.left.contains(member) {
                return Err(format!("{member} of the old ring must be in {with:?} or in left, of {c:?}"));
            }
        }
        for (life, other) in &history.rings[&ring].stays {
            if *life == seen.life {
                continue;
            }
            let other_id = history.lives[*life].id;
            let same = stay.from.is_some() && other.from == stay.from;
            if with.contains(&other_id) != same || other.came_with.contains(&me.id) != same {
                return Err(format!(
                    "on the way to {ring} node {} came from {:?} with {with:?}, node {other_id} from {:?} with {:?}",
                    me.id, stay.from, other.from, other.came_with
                ));
            }
        }
        Ok(())
    }
}

#[derive(Default)]
pub(crate) struct SameCut;

impl Invariant for SameCut {
    fn name(&self) -> &'static str {
        "M7 (cut)"
    }

    fn claim(&self) -> &'static str {
        "nodes that go together have the transitional configuration at the same place of the order"
    }

    fn observe(&mut self, history: &History, seen: &Observation<'_>) -> Result<(), String> {
        let What::Configuration(c, _) = seen.what else { return Ok(()) };
        let Some((ring, stay)) = history.stay(seen.life).filter(|_| c.kind == ConfigurationKind::Regular)
        else {
            return Ok(());
        };
        let Some(from) = stay.from else { return Ok(()) };
        let old = &history.rings[&from].stays;
        let Some(mine) = old.get(&seen.life).and_then(behind_the_cut) else { return Ok(()) };
        for (other, theirs) in &history.rings[&ring].stays {
            if theirs.from != Some(from) || *other == seen.life {
                continue;
            }
            let Some(theirs) = old.get(other).and_then(behind_the_cut) else { continue };
            if mine != theirs {
                let i = mine.iter().zip(theirs).position(|(x, y)| x != y);
                let i = i.unwrap_or(mine.len().min(theirs.len()));
                let (a, b) = (history.lives[seen.life].id, history.lives[*other].id);
                return Err(format!(
                    "from {from} to {ring} node {a} has {} behind the cut, node {b} {}; number {} is {:?} on one and \
                     {:?} on the other",
                    mine.len(),
                    theirs.len(),
                    i + 1,
                    mine.get(i),
                    theirs.get(i),
                ));
            }
        }
        Ok(())
    }
}

/// What an observer was told in the transitional configuration; none if it cannot be compared with another one's: it
/// was not in the group yet, or the ring was never synchronised, in which case each side of a merge tells its clients
/// only of senders it knows.
fn behind_the_cut(stay: &Stay) -> Option<&[Item]> {
    let cut = stay.regular.filter(|cut| stay.synced && (stay.whole || *cut > 0))?;
    Some(&stay.items[cut..])
}
