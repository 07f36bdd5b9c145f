//! M12, the ring's part: with each synchronisation every connection is told of the new ring, once, with its members,
//! before the node list is.

use std::collections::BTreeMap;

use holdfast_types::{ConnId, RingId};

use super::Invariant;
use crate::oracle::{History, LifeIndex, Observation, What};

/// The ring each connection was told of last.
#[derive(Default)]
pub(crate) struct RingNews(BTreeMap<(LifeIndex, ConnId), Option<RingId>>);

impl Invariant for RingNews {
    fn name(&self) -> &'static str {
        "M12 (ring)"
    }

    fn claim(&self) -> &'static str {
        "with each synchronisation every connection is told of the ring and its members, once"
    }

    fn observe(&mut self, history: &History, seen: &Observation<'_>) -> Result<(), String> {
        let life = seen.life;
        match seen.what {
            What::ClientCame(conn) => {
                self.0.insert((life, conn), None);
            }
            What::ClientGone(conn) => {
                self.0.remove(&(life, conn));
            }
            What::Ring(conn, ring, members) => {
                let node = history.lives[life].id;
                let Some(told) = self.0.get_mut(&(life, conn)) else {
                    return Err(format!(
                        "node {node} tells connection {conn} of {ring}, but nobody is there"
                    ));
                };
                if told.replace(ring) == Some(ring) {
                    return Err(format!("node {node} tells connection {conn} of {ring} twice"));
                }
                if history.rings.get(&ring).is_none_or(|r| r.members != members) {
                    return Err(format!(
                        "node {node} tells connection {conn} of {ring} with members {members:?}"
                    ));
                }
            }
            What::Synced(notice, _) => {
                let mut all = self.0.range((life, ConnId::new(0))..=(life, ConnId::new(u64::MAX)));
                if let Some(((_, conn), told)) = all.find(|(_, told)| **told != Some(notice.ring)) {
                    let node = history.lives[life].id;
                    return Err(format!(
                        "node {node} has told connection {conn} of {told:?}, not of {}",
                        notice.ring
                    ));
                }
            }
            _ => {}
        }
        Ok(())
    }
}
