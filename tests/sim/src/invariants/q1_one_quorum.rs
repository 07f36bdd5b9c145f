//! Q1: at each instant at most one partition has a node that believes it is quorate.
//!
//! What a node believes is what its clients were told last, with the configuration that was named with it: a node
//! that waits in its old configuration counts with the old one. Two believers are one partition if the later of their
//! two configurations has both as members: one of them may have been told of a merge already that the other, a member
//! of it too, is still synchronising. A paused node acts on nothing, so it believes nothing; on its first turn it does
//! again (Q7 says what it must believe then). two_node is the named exception, while it is in
//! force on one of the two: both halves are quorate by intent.

use super::Invariant;
use crate::oracle::{History, Observation, What};

#[derive(Default)]
pub(crate) struct OneQuorum;

impl Invariant for OneQuorum {
    fn name(&self) -> &'static str {
        "Q1"
    }

    fn claim(&self) -> &'static str {
        "at no instant do two partitions both believe they are quorate"
    }

    fn observe(&mut self, history: &History, seen: &Observation<'_>) -> Result<(), String> {
        match seen.what {
            What::Quorum(view) if view.quorate => {}
            What::Resumed(_) => {}
            What::Left if history.lives[seen.life].view.quorate => {
                return Err(format!(
                    "node {} has left without giving up quorum first",
                    history.lives[seen.life].id
                ));
            }
            _ => return Ok(()),
        }
        let believers: Vec<_> =
            history.running.iter().flatten().map(|l| &history.lives[*l]).filter(|l| l.believes()).collect();
        for (i, p) in believers.iter().enumerate() {
            let Some(ring) = history.rings.get(&p.view.ring) else {
                return Err(format!("node {} is quorate in {}, which nobody installed", p.id, p.view.ring));
            };
            if ring.members != p.view.members {
                let (id, view) = (p.id, &p.view);
                return Err(format!("node {id} names {:?} as members of {}", view.members, view.ring));
            }
            for q in &believers[i + 1..] {
                if p.view.two_node || q.view.two_node {
                    continue;
                }
                let later = if p.view.ring >= q.view.ring { p } else { q };
                if !later.view.members.contains(&p.id) || !later.view.members.contains(&q.id) {
                    return Err(format!(
                        "node {} believes it is quorate in {} {:?}, and node {} in {} {:?}",
                        p.id, p.view.ring, p.view.members, q.id, q.view.ring, q.view.members
                    ));
                }
            }
        }
        Ok(())
    }
}
