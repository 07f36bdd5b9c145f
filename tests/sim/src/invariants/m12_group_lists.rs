//! M12: after synchronisation the process-group lists are equal on all members and hold members' processes only; each
//! client's view follows from the changes it was told of; clients of one node in one group are told the same.

use std::collections::BTreeMap;

use cmm_proto::GroupMember;
use holdfast_types::{ConnId, NodeId, RingId};

use super::Invariant;
use crate::clients::OBSERVER;
use crate::oracle::{Delivery, GroupChange, History, LifeIndex, Observation, What};
use crate::trace::hash_bytes;

/// Members of the main group after each synchronisation, and each client's view.
#[derive(Default)]
pub(crate) struct GroupLists {
    tables: BTreeMap<(RingId, u32), Vec<GroupMember>>,
    rounds: BTreeMap<(LifeIndex, RingId), u32>,
    views: BTreeMap<(LifeIndex, ConnId), View>,
}

/// Who is in the group, and which life of its node that was when the client was told.
type View = BTreeMap<GroupMember, Option<LifeIndex>>;

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
                let members: Vec<GroupMember> = view.keys().copied().collect();
                let first = self.tables.entry((notice.ring, *round)).or_insert_with(|| members.clone());
                if *first != members {
                    let ring = notice.ring;
                    return Err(format!(
                        "after sync in {ring} node {node} has {members:?}, others {first:?}"
                    ));
                }
                // A node that died and is back must have been seen to leave.
                for (member, life) in view {
                    let now = life_in(history, notice.ring, member.node);
                    if *life != now {
                        return Err(format!(
                            "on node {node} {member:?} of life {life:?} never left, it is {now:?}"
                        ));
                    }
                }
                Ok(())
            }
            What::Group(change) => {
                self.follow(history, seen.life, change).map_err(|why| format!("node {node}: {why}"))
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
    fn follow(&mut self, history: &History, life: LifeIndex, change: &GroupChange<'_>) -> Result<(), String> {
        let key = (life, change.conn);
        let ring = history.lives[life].ring.unwrap_or_default();
        let of = |member: &GroupMember| (*member, life_in(history, ring, member.node));
        let first = change.joined.iter().any(|(m, _)| *m == change.me);
        let view = match self.views.remove(&key) {
            Some(mut view) => {
                for (member, _) in change.left {
                    view.remove(member)
                        .ok_or_else(|| format!("{member:?} leaves, but was not there: {change:?}"))?;
                }
                for (member, _) in change.joined {
                    let (member, life) = of(member);
                    if view.insert(member, life).is_some() {
                        return Err(format!("{member:?} joins twice: {change:?}"));
                    }
                }
                view
            }
            None if first => change.members.iter().map(of).collect(),
            None => {
                return Err(format!("connection {} is told of a change before its join: {change:?}", key.1));
            }
        };
        if !view.keys().eq(change.members) {
            return Err(format!("members should be {:?}: {change:?}", view.keys()));
        }
        if view.contains_key(&change.me) {
            self.views.insert(key, view);
        }
        Ok(())
    }
}

/// The life of a node that is in this ring.
fn life_in(history: &History, ring: RingId, node: NodeId) -> Option<LifeIndex> {
    history.rings.get(&ring)?.lives.get(&node).copied()
}

/// What clients of each group on each node were told, and how far each client is in it.
#[derive(Default)]
pub(crate) struct LocalClients {
    told: BTreeMap<(LifeIndex, u8), Told>,
    /// Clients of this life were told something, and its turn has not ended yet.
    news: Option<LifeIndex>,
}

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

    fn every_turn(&self) -> bool {
        true
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
                if self.news.take_if(|life| *life == seen.life).is_none() {
                    return Ok(());
                }
                for ((_, group), told) in self.told.range((seen.life, 0)..=(seen.life, u8::MAX)) {
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
                self.told.retain(|(life, _), _| *life != seen.life);
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
        self.news = Some(life);
        let told = self.told.entry((life, group)).or_default();
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
        for (_, told) in self.told.range_mut((life, 0)..=(life, u8::MAX)) {
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
