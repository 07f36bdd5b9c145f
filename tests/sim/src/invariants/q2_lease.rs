//! Q2: a quorate node has heard within the lease from a quorum of votes. Q8: no client is told "quorate" outside a
//! valid lease, nor left believing it when the lease has run out.
//!
//! The oracle does not ask the node. For each packet it knows which of the receiver's own packets its sender had read
//! when it was sent; whatever the packet says, it cannot vouch for the receiver later than that, and for no longer than the lease that was configured there. The majority is the
//! oracle's own as well: more than half of all configured votes; only where the votes that count change it is what the
//! node has told its clients.

use std::collections::BTreeMap;

use super::Invariant;
use crate::clock::Instant;
use crate::oracle::{History, Life, LifeIndex, Observation, What};

/// Until when at least each life's lease runs. Echoes only get newer, so a stored end is a lower bound.
#[derive(Default)]
pub(crate) struct Lease {
    ends: BTreeMap<LifeIndex, Instant>,
    /// The first of the ends of those that believe: nobody needs to be looked at before.
    first: Instant,
}

impl Invariant for Lease {
    fn name(&self) -> &'static str {
        "Q2/Q8"
    }

    fn claim(&self) -> &'static str {
        "a node tells its clients \"quorate\" only while it has heard from a quorum of votes within the lease"
    }

    fn every_turn(&self) -> bool {
        true
    }

    fn observe(&mut self, history: &History, seen: &Observation<'_>) -> Result<(), String> {
        match seen.what {
            What::Quorum(view) if view.quorate => {
                self.first = 0;
                self.check(history, seen.life, 0)
            }
            What::Turn if history.now > self.first.saturating_add(history.lateness_max) => {
                self.first = Instant::MAX;
                for life in history.running.iter().flatten() {
                    // A late timer is no lie: the margin that others wait covers it.
                    self.check(history, *life, history.lateness_max)?;
                }
                Ok(())
            }
            What::Resumed(_) => {
                self.first = 0; // it believes again
                Ok(())
            }
            What::Ended => {
                self.ends.remove(&seen.life);
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

impl Lease {
    fn check(&mut self, history: &History, index: LifeIndex, allowance: u64) -> Result<(), String> {
        let life = &history.lives[index];
        if !life.believes() || life.view.two_node {
            return Ok(());
        }
        let stored = self.ends.entry(index).or_insert(0);
        if history.now > stored.saturating_add(allowance) {
            *stored = lease_end(history, life, &life.echoed, life.hold.max(life.device_echoed));
        }
        self.first = self.first.min(*stored);
        if history.now <= stored.saturating_add(allowance) {
            return Ok(());
        }
        let late = (history.now - *stored) / 1_000;
        Err(format!(
            "node {} believes it is quorate {late} µs after its lease in {}",
            life.id, life.view.ring
        ))
    }
}

/// When the votes that vouch for `life` until these times, its own and the device's included, fall below a majority; 0: they never made
/// one.
pub(crate) fn lease_end(
    history: &History,
    life: &Life,
    until: &[Option<holdfast_types::Boottime>],
    device: Option<holdfast_types::Boottime>,
) -> Instant {
    let device = device.map(|at| (at, history.device_of(life)));
    end_of(life, until, device, history.need(life), |node| history.weight_of(life, node))
}

/// The same by the table that is under way in that life, where one is: it needs a majority by both.
pub(crate) fn lease_end_by_next(
    history: &History,
    life: &Life,
    until: &[Option<holdfast_types::Boottime>],
    device: Option<holdfast_types::Boottime>,
) -> Instant {
    let Some(next) = &life.next else { return Instant::MAX };
    let (expected, tie) = (next.expected_now().get(), next.scale.tie);
    let need = if tie.is_some() { expected + 1 } else { 2 * (expected / 2 + 1) };
    let device = device.zip(next.device_now()).map(|(at, device)| (at, device.votes.get()));
    end_of(life, until, device, need, |node| {
        let id = history.votes[node].0;
        let votes = next.votes(id).unwrap_or_default().get();
        2 * votes + u32::from(votes > 0 && tie == Some(id))
    })
}

fn end_of(
    life: &Life,
    until: &[Option<holdfast_types::Boottime>],
    device: Option<(holdfast_types::Boottime, u32)>,
    need: u32,
    weight_of: impl Fn(usize) -> u32,
) -> Instant {
    let mut weight = weight_of(life.node);
    if weight >= need {
        return Instant::MAX;
    }
    let mut vouching: Vec<_> =
        until.iter().enumerate().filter_map(|(node, at)| Some(((*at)?, node))).collect();
    let of_device = until.len();
    vouching.extend(device.filter(|(_, votes)| *votes > 0).map(|(at, _)| (at, of_device)));
    vouching.sort_unstable_by(|a, b| b.cmp(a));
    for (at, node) in vouching {
        if node == of_device {
            weight += 2 * device.map_or(0, |(_, votes)| votes);
        } else if node != life.node {
            weight += weight_of(node);
        }
        if weight >= need {
            return life.clock.instant(at);
        }
    }
    0
}
