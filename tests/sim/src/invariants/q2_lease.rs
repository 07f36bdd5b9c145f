//! Q2: a quorate node has heard within the lease from a quorum of votes. Q8: no client is told "quorate" outside a
//! valid lease, nor left believing it when the lease has run out.
//!
//! The oracle does not ask the node. For each packet it knows which of the receiver's own packets its sender had read
//! when it was sent; whatever the packet says, it cannot vouch for the receiver later than that, and for no longer than the lease that was configured there. The majority is the
//! oracle's own as well: more than half of all configured votes.

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
        if history.two_node {
            return Ok(());
        }
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
        if !life.believes() {
            return Ok(());
        }
        let stored = self.ends.entry(index).or_insert(0);
        if history.now > stored.saturating_add(allowance) {
            *stored = lease_end(history, life, &life.echoed);
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

/// When the votes that vouch for `life` until these times, its own included, fall below a majority; 0: they never made
/// one.
pub(crate) fn lease_end(
    history: &History,
    life: &Life,
    until: &[Option<holdfast_types::Boottime>],
) -> Instant {
    let mut votes = history.votes_of(life.node);
    if votes >= history.majority {
        return Instant::MAX;
    }
    let mut vouching: Vec<_> =
        until.iter().enumerate().filter_map(|(node, at)| Some(((*at)?, node))).collect();
    vouching.sort_unstable_by(|a, b| b.cmp(a));
    for (at, node) in vouching {
        if node != life.node {
            votes += history.votes_of(node);
        }
        if votes >= history.majority {
            return life.clock.instant(at);
        }
    }
    0
}
