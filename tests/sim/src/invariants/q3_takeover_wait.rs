//! Q3: a partition that gains or keeps quorum without a node has waited until every lease of that node must have
//! ended, drift and scheduling included, or its death is a fact.
//!
//! A lease is what peers' heartbeats grant: the oracle reads each heartbeat when it is sent, whether it arrives or not.
//! A node outside the configuration announced must not be able to muster a majority by the grants that are out, not
//! even if the network delivered all of them.

use super::Invariant;
use super::q2_lease::lease_end;
use crate::oracle::{History, Life, LifeIndex, Observation, What};

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
        if !view.quorate || history.two_node {
            return Ok(());
        }
        for lost in history.running.iter().flatten().map(|l| &history.lives[*l]) {
            if view.members.contains(&lost.id) || lost.gave_up || ahead(history, seen, view, lost) {
                continue;
            }
            let grants: Vec<_> =
                lost.granted.iter().map(|g| g.filter(|g| binds(history, view, g.1)).map(|g| g.0)).collect();
            let end = lease_end(history, lost, &grants);
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

/// Whether a grant of this life binds those who announce `view`: all do but those of a member's later life, which is
/// no member any more. That one waits itself, for all that its earlier lives may have granted, before its vote counts.
fn binds(history: &History, view: &cmm_proto::QuorumView, granter: LifeIndex) -> bool {
    let node = history.lives[granter].node;
    let stays = history.rings.get(&view.ring).map(|ring| &ring.stays);
    let member =
        stays.into_iter().flatten().map(|(life, _)| *life).find(|life| history.lives[*life].node == node);
    member.is_none_or(|life| granter <= life)
}

/// Both are members of a later ring, which the announcing node is yet to install: nobody is lost, it comes late.
fn ahead(history: &History, seen: &Observation<'_>, view: &cmm_proto::QuorumView, other: &Life) -> bool {
    let me = history.lives[seen.life].id;
    let later = other.ring.filter(|ring| *ring > view.ring);
    other.ring.is_none() || later.is_some_and(|ring| history.rings[&ring].members.contains(&me))
}
