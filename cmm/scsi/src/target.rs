//! A model of a logical unit with persistent reservations (SPC-4, 5.12), at the level of bytes: for tests and the simulator.
//!
//! It knows what a real target knows: registrations by path (I_T nexus), one reservation of the type that is used here, the generation,
//! unit attentions. What it cannot do like some real ones can be switched off.

use std::collections::{BTreeMap, BTreeSet};

use crate::command::{CDB_LEN, LIST_LEN};
use crate::key::Key;

/// A way to the unit: a machine's initiator and the target's port. A machine that starts anew may get another one.
pub type Nexus = u64;

/// One logical unit.
#[derive(Clone, Debug, Default)]
pub struct Target {
    generation: u32,
    registrations: BTreeMap<Nexus, Key>,
    holder: Option<Nexus>,
    /// Registrations outlive a loss of power.
    persist: bool,
    attention: BTreeSet<Nexus>,
    simple: bool,
}

/// What comes back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The SCSI status.
    pub status: u8,
    /// Sense data in the fixed format, or nothing.
    pub sense: Vec<u8>,
    /// What was read.
    pub data: Vec<u8>,
}

const GOOD: u8 = 0x00;
const CONFLICT: u8 = 0x18;

impl Target {
    /// Nobody is registered. `simple`: PREEMPT AND ABORT, and APTPL, are unknown, as in some user-space targets.
    #[must_use]
    pub fn new(simple: bool) -> Self {
        Self { simple, ..Self::default() }
    }

    /// Executes a command; they take effect one after the other.
    pub fn execute(&mut self, nexus: Nexus, cdb: &[u8; CDB_LEN], list: Option<&[u8; LIST_LEN]>) -> Answer {
        if self.attention.remove(&nexus) {
            return sense(6, 0x2A, 0x05);
        }
        match (cdb[0], cdb[1] & 0x1F, list) {
            (0x5E, 0, _) => {
                let keys = self.registrations.values().flat_map(|k| k.to_bytes()).collect::<Vec<_>>();
                self.read(cdb, &keys)
            }
            (0x5E, 1, _) => {
                let mut held = Vec::new();
                if let Some(key) = self.holder.and_then(|h| self.registrations.get(&h)) {
                    held.extend(key.to_bytes());
                    held.extend([0, 0, 0, 0, 0, 5, 0, 0]);
                }
                self.read(cdb, &held)
            }
            (0x5F, action, Some(list)) => self.out(nexus, action, cdb[2], list),
            _ => sense(5, 0x20, 0x00),
        }
    }

    /// Whether a write through this path is done.
    #[must_use]
    pub fn may_write(&self, nexus: Nexus) -> bool {
        self.holder.is_none() || self.registrations.contains_key(&nexus)
    }

    /// The target loses its power and comes back.
    pub fn lose_power(&mut self) {
        self.generation = 0;
        self.attention.clear();
        if !self.persist {
            self.registrations.clear();
            self.holder = None;
        }
    }

    fn read(&self, cdb: &[u8; CDB_LEN], list: &[u8]) -> Answer {
        let mut data = self.generation.to_be_bytes().to_vec();
        data.extend(u32::try_from(list.len()).unwrap_or(u32::MAX).to_be_bytes());
        data.extend(list);
        data.truncate(usize::from(u16::from_be_bytes([cdb[7], cdb[8]])));
        Answer { status: GOOD, sense: Vec::new(), data }
    }

    fn out(&mut self, nexus: Nexus, action: u8, kind: u8, list: &[u8; LIST_LEN]) -> Answer {
        let key = |at: usize| Key::from_bytes(std::array::from_fn(|n| list[at + n]));
        let (current, other, persist) = (key(0), key(8), list[20] & 1 == 1);
        let mine = self.registrations.get(&nexus).copied();
        let registering = action == 0 || action == 6;
        if self.simple && (action == 5 || registering && persist) {
            return sense(5, if action == 5 { 0x24 } else { 0x26 }, 0x00);
        }
        // Only REGISTER AND IGNORE does not ask for the key that this path has.
        if action != 6 && mine.unwrap_or(Key::NONE) != current || !registering && mine.is_none() {
            return status(CONFLICT);
        }
        match action {
            0 | 6 => {
                if other != Key::NONE {
                    self.registrations.insert(nexus, other);
                } else if self.registrations.remove(&nexus).is_some() && self.holder == Some(nexus) {
                    self.holder = None;
                }
                self.persist = persist;
                self.generation = self.generation.wrapping_add(1);
                status(GOOD)
            }
            1 if kind != 5 => sense(5, 0x24, 0x00),
            1 if self.holder.is_some_and(|h| h != nexus) => status(CONFLICT),
            1 => {
                self.holder = Some(nexus);
                status(GOOD)
            }
            3 => {
                self.attention.extend(self.registrations.keys().filter(|n| **n != nexus));
                self.registrations.clear();
                self.holder = None;
                self.generation = self.generation.wrapping_add(1);
                status(GOOD)
            }
            4 | 5 if kind != 5 => sense(5, 0x24, 0x00),
            4 | 5 => self.preempt(nexus, other),
            _ => sense(5, 0x24, 0x00),
        }
    }

    fn preempt(&mut self, nexus: Nexus, victim: Key) -> Answer {
        if !self.registrations.values().any(|key| *key == victim) {
            return status(CONFLICT);
        }
        if self.holder.and_then(|h| self.registrations.get(&h)) == Some(&victim) {
            self.holder = Some(nexus);
        }
        let gone = |n: Nexus, key: Key| key == victim && n != nexus;
        self.attention.extend(self.registrations.iter().filter(|(n, k)| gone(**n, **k)).map(|(n, _)| *n));
        self.registrations.retain(|n, key| !gone(*n, *key));
        self.generation = self.generation.wrapping_add(1);
        status(GOOD)
    }
}

fn status(status: u8) -> Answer {
    Answer { status, sense: Vec::new(), data: Vec::new() }
}

fn sense(key: u8, code: u8, qualifier: u8) -> Answer {
    let mut sense = vec![0; 18];
    (sense[0], sense[2], sense[7], sense[12], sense[13]) = (0x70, key, 10, code, qualifier);
    Answer { status: 0x02, sense, data: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{Command, Failure, Holder, Keys, Reply, Reservation};
    use crate::key::Cluster;

    fn send(target: &mut Target, nexus: Nexus, command: Command) -> Result<Reply, Failure> {
        let answer = target.execute(nexus, &command.cdb(), command.list().as_ref());
        command.reply(Cluster::of_name("c"), answer.status, &answer.sense, &answer.data)
    }

    fn key(slot: u8) -> Key {
        Cluster::of_name("c").key(slot)
    }

    fn register(slot: u8) -> Command {
        Command::Register { current: Key::NONE, key: key(slot), persist: true }
    }

    #[test]
    fn who_is_preempted_can_neither_write_nor_preempt_in_turn() {
        let mut target = Target::default();
        for slot in [1, 2] {
            assert_eq!(send(&mut target, slot.into(), register(slot)), Ok(Reply::Done));
        }
        assert_eq!(send(&mut target, 1, Command::Reserve { key: key(1) }), Ok(Reply::Done));
        assert_eq!(send(&mut target, 2, Command::Reserve { key: key(2) }), Err(Failure::Conflict));
        let preempt = |me, victim| Command::Preempt { key: key(me), victim: key(victim), abort: true };
        assert_eq!(send(&mut target, 2, preempt(2, 1)), Ok(Reply::Done));
        let reservation = Reservation { generation: 3, holder: Holder::Slot(2) };
        assert_eq!(send(&mut target, 2, Command::ReadReservation), Ok(Reply::Reservation(reservation)));
        assert!(!target.may_write(1) && target.may_write(2));
        // It is told first, and then refused.
        assert_eq!(send(&mut target, 1, preempt(1, 2)), Err(Failure::Attention));
        assert_eq!(send(&mut target, 1, preempt(1, 2)), Err(Failure::Conflict));
        let keys = Keys { generation: 3, ours: 2, foreign: None };
        assert_eq!(send(&mut target, 1, Command::ReadKeys), Ok(Reply::Keys(keys)));
    }

    #[test]
    fn a_loss_of_power_forgets_what_was_not_to_persist() {
        for simple in [false, true] {
            let mut target = Target::new(simple);
            let persist = send(&mut target, 1, register(1));
            assert_eq!(persist, if simple { Err(Failure::Unsupported) } else { Ok(Reply::Done) });
            let volatile = Command::RegisterAndIgnore { key: key(1), persist: !simple };
            assert_eq!(send(&mut target, 1, volatile), Ok(Reply::Done));
            target.lose_power();
            let Ok(Reply::Keys(keys)) = send(&mut target, 1, Command::ReadKeys) else { panic!() };
            assert_eq!(keys.ours, u64::from(!simple));
        }
    }

    #[test]
    fn whoever_leaves_gives_up_its_reservation_and_keys_of_others_are_seen() {
        let mut target = Target::default();
        let foreign = Cluster::of_name("other").key(1);
        let theirs = Command::Register { current: Key::NONE, key: foreign, persist: true };
        assert_eq!(send(&mut target, 9, theirs), Ok(Reply::Done));
        assert_eq!(send(&mut target, 9, Command::Reserve { key: foreign }), Ok(Reply::Done));
        let Ok(Reply::Reservation(held)) = send(&mut target, 1, Command::ReadReservation) else { panic!() };
        assert_eq!(held.holder, Holder::Foreign(foreign));
        let leave = Command::Register { current: foreign, key: Key::NONE, persist: true };
        assert_eq!(send(&mut target, 9, leave), Ok(Reply::Done));
        let Ok(Reply::Reservation(held)) = send(&mut target, 1, Command::ReadReservation) else { panic!() };
        assert_eq!(held.holder, Holder::Nobody);
    }

    #[test]
    fn answers_that_cannot_be_are_malformed() {
        let of = |data: &[u8]| Command::ReadKeys.reply(Cluster::of_name("c"), 0, &[], data);
        for data in [&[][..], &[0; 7], &[0, 0, 0, 0, 0, 0, 0, 8], &[0, 0, 0, 0, 0, 0, 0, 1, 0], &[0xFF; 8]] {
            assert_eq!(of(data), Err(Failure::Malformed), "{data:?}");
        }
        let held = [0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0];
        let reply = Command::ReadReservation.reply(Cluster::of_name("c"), 0, &[], &held);
        assert_eq!(reply, Err(Failure::Malformed));
        let descriptor = [0x72, 0x06, 0x2A, 0x03];
        let reply = Command::ReadKeys.reply(Cluster::of_name("c"), 2, &descriptor, &[]);
        assert_eq!(reply, Err(Failure::Attention));
    }
}
