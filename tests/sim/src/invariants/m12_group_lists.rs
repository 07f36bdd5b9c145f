//! M12: after synchronisation the process-group lists are equal on all members and hold members' processes only; each
//! client's view follows from the changes it was told of; clients of one node in one group are told the same.

use std::collections::BTreeMap;

use cmm_proto::GroupMember;
use holdfast_types::{ConnId, RingId};

use super::Invariant;
use crate::clients::OBSERVER;
use crate::oracle::{Delivery, GroupChange, History, LifeIndex, Observation, What};
use crate::trace::hash_bytes;

/// Members of the main group after each synchronisation, and each client's view.
#[derive(Default)]
pub(crate) struct GroupLists {
    tables: BTreeMap<(RingId, u32), Vec<GroupMember>>,
    rounds: BTreeMap<(LifeIndex, RingId), u32>,
    views: BTreeMap<(LifeIndex, ConnId), Vec<GroupMember>>,
}

impl Invariant for GroupLists {
    fn name(&self) -> &'static str {
        "M12"
    }

    fn claim(&self) -> &'static str {
        "after sync process-group lists are equal on all members and hold members' processes only"
    }

    fn observe(&mut self, history: &History, seen: &Observation<'_>) -> Result<(), String> {
        let node = history.lives[seen.life].id;
        match seen.what {
            What::Synced(notice, table) => {
                let ring = history.rings.get(&notice.ring).ok_or("sync of a ring that nobody installed")?;
                if ring.members != notice.members {
                    return Err(format!(
                        "node {node} names {:?} as members of {}",
                        notice.members, notice.ring
                    ));
                }
                for (group, members) in table {
                    if let Some(ghost) = members.iter().find(|m| !ring.members.contains(&m.node)) {
                        return Err(format!(
                            "node {node} has {ghost:?} in {group:?}, not of {}",
                            notice.ring
                        ));
                    }
                }
                let round = self.rounds.entry((seen.life, notice.ring)).or_insert(0);
                *round += 1;
                // What the observer has been told up to this point of the order: the same on all members.
                let Some(view) = self.views.get(&(seen.life, OBSERVER)) else { return Ok(()) };
                let first = self.tables.entry((notice.ring, *round)).or_insert_with(|| view.clone());
                if first != view {
                    return Err(format!(
                        "after sync in {} node {node} has {view:?}, others {first:?}",
                        notice.ring
                    ));
                }
                Ok(())
            }
            What::Group(change) => {
                self.follow(seen.life, change).map_err(|why| format!("node {node}: {why}"))
            }
            What::ClientGone(conn) => {
                self.views.remove(&(seen.life, conn));
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

impl GroupLists {
    fn follow(&mut self, life: LifeIndex, change: &GroupChange<'_>) -> Result<(), String> {
        let key = (life, change.conn);
        let mut expected = match self.views.get(&key) {
            Some(view) => view.clone(),
            None if change.joined.iter().any(|(m, _)| *m == change.me) => change.members.to_vec(),
            None => {
                return Err(format!("connection {} is told of a change before its join: {change:?}", key.1));
            }
        };
        if self.views.contains_key(&key) {
            for (member, _) in change.left {
                let at = expected.iter().position(|m| m == member);
                expected
                    .remove(at.ok_or_else(|| format!("{member:?} leaves, but was not there: {change:?}"))?);
            }
            for (member, _) in change.joined {
                if expected.contains(member) {
                    return Err(format!("{member:?} joins twice: {change:?}"));
                }
                expected.push(*member);
            }
            expected.sort_unstable();
        }
        if expected != change.members || !change.members.is_sorted_by(|a, b| a < b) {
            return Err(format!("members should be {expected:?}: {change:?}"));
        }
        if expected.contains(&change.me) {
            self.views.insert(key, expected);
        } else {
            self.views.remove(&key);
        }
        Ok(())
    }
}

/// What clients of each group on each node were told, and how far each client is in it.
#[derive(Default)]
pub(crate) struct LocalClients(BTreeMap<(LifeIndex, u8), Told>);

#[derive(Default)]
struct Told {
    log: Vec<u64>,
    places: BTreeMap<ConnId, usize>,
}

impl Invariant for LocalClients {
    fn name(&self) -> &'static str {
        "M12 (local)"
    }

    fn claim(&self) -> &'static str {
        "clients of one node that are in one group are told the same, in the same order"
    }

    fn observe(&mut self, history: &History, seen: &Observation<'_>) -> Result<(), String> {
        match seen.what {
            What::Delivered(d) => self.tell(seen.life, d.group, d.conn, event_of_delivery(d), false),
            What::Group(change) => {
                let joins = change.joined.iter().any(|(m, _)| *m == change.me);
                let hash = event_of_change(change);
                self.tell(seen.life, change.group, change.conn, hash, joins)?;
                if !change.members.contains(&change.me) {
                    self.forget(seen.life, change.conn);
                }
                Ok(())
            }
            What::ClientGone(conn) => {
                self.forget(seen.life, conn);
                Ok(())
            }
            What::Turn => {
                for ((_, group), told) in self.0.range((seen.life, 0)..=(seen.life, u8::MAX)) {
                    if let Some((conn, at)) = told.places.iter().find(|(_, at)| **at != told.log.len()) {
                        let (node, all) = (history.lives[seen.life].id, told.log.len());
                        return Err(format!(
                            "node {node}, group {group}: connection {conn} was told {at} of {all}"
                        ));
                    }
                }
                Ok(())
            }
            What::Ended => {
                self.0.retain(|(life, _), _| *life != seen.life);
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

impl LocalClients {
    fn tell(
        &mut self,
        life: LifeIndex,
        group: u8,
        conn: ConnId,
        event: u64,
        joins: bool,
    ) -> Result<(), String> {
        let told = self.0.entry((life, group)).or_default();
        let known = told.places.get(&conn).copied();
        let at = match known {
            Some(at) => at,
            // A client's first event is its own join; other clients may have been told of it in this turn already.
            None if joins => told.log.len() - usize::from(told.log.last() == Some(&event)),
            None => return Err(format!("connection {conn} gets an event before its join")),
        };
        match told.log.get(at) {
            None => told.log.push(event),
            Some(expected) if *expected == event => {}
            Some(_) => return Err(format!("connection {conn} is told something else than its neighbours")),
        }
        told.places.insert(conn, at + 1);
        Ok(())
    }

    fn forget(&mut self, life: LifeIndex, conn: ConnId) {
        for (_, told) in self.0.range_mut((life, 0)..=(life, u8::MAX)) {
            told.places.remove(&conn);
            if told.places.is_empty() {
                told.log.clear();
            }
        }
    }
}

fn member_words(m: GroupMember) -> [u8; 8] {
    (u64::from(m.node.get()) << 32 | u64::from(m.pid)).to_le_bytes()
}

fn event_of_delivery(d: &Delivery) -> u64 {
    hash_bytes(d.hash, &member_words(d.sender))
}

fn event_of_change(change: &GroupChange<'_>) -> u64 {
    let mut hash = 1;
    for member in change.members {
        hash = hash_bytes(hash, &member_words(*member));
    }
    for (list, (member, reason)) in
        change.left.iter().map(|l| (2, l)).chain(change.joined.iter().map(|j| (3, j)))
    {
        hash = hash_bytes(hash ^ list ^ ((*reason as u64) << 8), &member_words(*member));
    }
    hash
}
