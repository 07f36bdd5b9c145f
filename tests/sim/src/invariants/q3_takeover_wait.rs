//! Q3: a partition that gains or keeps quorum without a node has waited until every lease of that node must have
//! ended, drift and scheduling included, or its death is a fact.
//!
//! A lease is what peers' heartbeats grant: the oracle reads each heartbeat when it is sent, whether it arrives or not.
//! A node that is not quorate and may count by another table, which the next exchange brings, has no majority that could be foretold: if it
//! becomes quorate nevertheless, Q1 sees it.
//! A node outside the configuration announced must not be able to muster a majority by the grants that are out, not
//! even if the network delivered all of them.

use cmm_proto::QuorumView;
use holdfast_types::Boottime;

use super::Invariant;
use super::q2_lease::{lease_end, lease_end_by_next};
use crate::oracle::{History, Life, Observation, What};

#[derive(Default)]
pub(crate) struct TakeoverWait;

impl Invariant for TakeoverWait {
    fn name(&self) -> &'static str {
        "Q3"
    }

    fn claim(&self) -> &'static str {
        "quorum without a node is announced only when every lease of that node must have ended"
    }

    fn observe(&mut self, history: &History, seen: &Observation<'_>) -> Result<(), String> {
        let What::Quorum(view) = seen.what else { return Ok(()) };
        if !view.quorate || view.two_node {
            return Ok(());
        }
        for lost in history.running.iter().flatten().map(|l| &history.lives[*l]) {
            if view.members.contains(&lost.id) || lost.gave_up || ahead(history, seen, view, lost) {
                continue;
            }
            if history.tables_change && !lost.view.quorate {
                continue;
            }
            let (grants, device) = binding_grants(history, view, lost);
            let end = lease_end(history, lost, &grants, lost.hold.max(device)).min(lease_end_by_next(
                history,
                lost,
                &grants,
                lost.hold.max(device),
            ));
            if end > history.now {
                let (me, ms) = (history.lives[seen.life].id, (end - history.now) / 1_000);
                return Err(format!(
                    "node {me} announces quorum in {} {:?} without node {}, whose lease may run {ms} µs more",
                    view.ring, view.members, lost.id
                ));
            }
        }
        Ok(())
    }
}

/// For each node, until when its grants to `lost` count that bind those who announce `view`. A member that has gone on to a later
/// ring, in this life or another, is no member any more: what it grants there it grants for a configuration that waits
/// itself, for all that it had granted before. And the same of the device's vote that came with them.
fn binding_grants(
    history: &History,
    view: &QuorumView,
    lost: &Life,
) -> (Vec<Option<Boottime>>, Option<Boottime>) {
    let mut grants = vec![None; history.votes.len()];
    let mut device = None;
    for ((granter, ring), (at, with_device)) in &lost.granted {
        if *ring <= view.ring || !view.members.contains(&history.votes[*granter].0) {
            grants[*granter] = grants[*granter].max(Some(*at));
            device = device.max(*with_device);
        }
    }
    (grants, device)
}

/// Both are members of a later ring, which the announcing node is yet to install: nobody is lost, it comes late.
fn ahead(history: &History, seen: &Observation<'_>, view: &QuorumView, other: &Life) -> bool {
    let me = history.lives[seen.life].id;
    let later = other.ring.filter(|ring| *ring > view.ring);
    other.ring.is_none() || later.is_some_and(|ring| history.rings[&ring].members.contains(&me))
}
