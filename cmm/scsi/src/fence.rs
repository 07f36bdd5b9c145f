//! One data disk: the nodes of the configuration can write to it, and nobody else.
//!
//! All nodes register the same keys as on a quorum device (cluster and node), one holds the reservation *write exclusive, registrants
//! only*. Each member does all of this by itself; what another one was faster with is refused by the target, and the next look shows it.
//! A cycle is two looks (keys, reservation), and then at most one change, if this node is in a quorate configuration (it has a [`Goal`]):
//!
//! | what the looks show | what is done |
//! |---|---|
//! | this path is not registered in this life | register |
//! | the disk had failed, or the target began anew: is this path still registered? | register what should be there; refused: register anew |
//! | nobody holds the reservation | reserve |
//! | the key of a node outside the configuration | preempt and abort |
//! | none of these | fenced: from this look on, until the goal changes |
//! | keys or a reservation that are none of this cluster's | nothing: not fenced, an operator has to say whose the disk is |
//! | this node was removed in this configuration | nothing: it registers again in another one |
//!
//! And with or without a goal:
//!
//! | what a look shows of a node that was registered | what it means |
//! |---|---|
//! | its key is missing, others' are there | it was removed: [`Event::Conflict`] |
//! | no key at all, or the generation begins anew, and there is a goal | the target has forgotten everything: register anew |
//!
//! A registration may take effect late. One whose goal was over when it ended is taken back; and a node that has just come writes nothing
//! before step `fence` is over on all members. Its caller does not let go of a configuration (ends step `quorum` of the next) while a change is
//! under way: so no member removes the key of a node that has come in the meantime. One that has been lost in between may (its command was on
//! its way): whom that hits goes down for nothing, on the safe side.

use std::collections::VecDeque;

use holdfast_types::{Boottime, Span};

use crate::command::{Command, Failure, Holder, Keys, Reply, bit};
use crate::key::{Cluster, Key};

/// What a node is told at start.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Its node id.
    pub slot: u8,
    /// Whose keys count.
    pub cluster: Cluster,
    /// A cycle begins this long after the one before.
    pub interval: Span,
}

/// A quorate configuration that this node is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Goal {
    /// Which: comes back from [`Guard::fenced`].
    pub number: u64,
    /// Bit `slot - 1` for each member.
    pub members: u64,
}

/// For the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The disk failed for the first time since it worked, or works again.
    Disk(Option<Failure>),
    /// This node can write to it from now on.
    Registered,
    /// A node that is no member was removed: it cannot write there any more.
    Preempted {
        /// Which.
        slot: u8,
    },
    /// The others have removed this node.
    Conflict,
    /// The target has lost all registrations: this node registers anew.
    Forgotten,
    /// Another cluster or a tool has a key or the reservation.
    Foreign(Key),
    /// The target keeps nothing over a loss of power.
    Volatile,
}

/// What is to be done, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send it; then [`Guard::handle_done`]. One is outstanding at a time.
    Send(Command),
    /// For the log.
    Event(Event),
}

/// A node's part in the fencing of one disk.
///
/// `now` never goes back. After each call [`Guard::poll_output`] until it is empty.
#[derive(Debug)]
pub struct Guard {
    config: Config,
    goal: Option<Goal>,
    /// What is outstanding, when it was sent, and for which goal.
    sent: Option<(Command, Boottime, Option<Goal>)>,
    /// In this life, through this path, and not removed since.
    registered: bool,
    /// Whether it is has to be asked: the key may be there by another path.
    doubted: bool,
    /// A registration whose goal was over has to be undone.
    take_back: bool,
    /// It was removed when it was in no later configuration than this: it registers again in another one.
    removed: Option<u64>,
    /// Of the last goal.
    number: u64,
    keys: Keys,
    /// For which goal the keys were looked at.
    keys_for: Option<Goal>,
    holder: Option<Holder>,
    fenced: Option<u64>,
    next_cycle: Boottime,
    persist: bool,
    abort: bool,
    /// A change was refused although the keys allow it: this path may have lost its registration.
    refused: bool,
    failure: Option<Failure>,
    told_foreign: Option<Key>,
    outputs: VecDeque<Output>,
}

impl Guard {
    /// At this node's start.
    ///
    /// # Panics
    /// If `config` names no slot.
    #[must_use]
    pub fn new(config: Config, now: Boottime) -> Self {
        assert!((1..=crate::SLOTS_MAX).contains(&config.slot));
        Self {
            config,
            goal: None,
            sent: None,
            registered: false,
            doubted: false,
            take_back: false,
            removed: None,
            number: 0,
            keys: Keys::default(),
            keys_for: None,
            holder: None,
            fenced: None,
            next_cycle: now,
            persist: true,
            abort: true,
            refused: false,
            failure: None,
            told_foreign: None,
            outputs: VecDeque::with_capacity(8),
        }
    }

    /// The configuration that this node is in, if it is quorate.
    pub fn set_goal(&mut self, now: Boottime, goal: Option<Goal>) {
        if self.goal != goal {
            self.goal = goal;
            self.fenced = None;
            self.next_cycle = now;
        }
        if let Some(goal) = goal {
            self.number = goal.number;
            self.removed.take_if(|number| goal.number > *number);
            // It is wanted again, and made anew.
            self.take_back = false;
        }
        self.advance(now);
    }

    /// What was sent is over.
    pub fn handle_done(&mut self, now: Boottime, result: Result<Reply, Failure>) {
        let Some((command, _, goal)) = self.sent.take() else { return };
        // Most changes are looked at at once, most failures later.
        self.next_cycle = now;
        match result {
            Ok(reply) => self.done(now, command, goal, reply),
            Err(Failure::Attention) => {}
            Err(Failure::Unsupported) if self.do_without(command) => {}
            Err(Failure::Conflict) if command.list().is_some() => {
                // Somebody was faster, or this path is not registered: the next look says which.
                if matches!(command, Command::Register { .. }) {
                    // It is not there to be taken back, or to be kept.
                    (self.registered, self.doubted, self.take_back) = (false, false, false);
                } else if std::mem::replace(&mut self.refused, true) {
                    self.registered = false;
                    self.next_cycle = now + self.config.interval;
                }
            }
            Err(failure) => {
                self.fenced = None;
                self.doubted = true;
                self.note(Some(failure));
                self.next_cycle = now + self.config.interval;
            }
        }
        self.advance(now);
    }

    /// To be called when this has come.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Boottime> {
        Some(self.next_cycle).filter(|_| self.sent.is_none())
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Boottime) {
        self.advance(now);
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// For which goal nobody but its members can write: the goal's number.
    #[must_use]
    pub fn fenced(&self) -> Option<u64> {
        self.fenced
    }

    /// A change is under way, whether or not it is still wanted.
    #[must_use]
    pub fn is_changing(&self) -> bool {
        self.sent.is_some_and(|(command, ..)| command.list().is_some())
    }

    /// It works for a goal.
    #[must_use]
    pub fn is_guarding(&self) -> bool {
        self.goal.is_some()
    }

    /// This node's registration is there as far as it knows.
    #[must_use]
    pub fn is_registered(&self) -> bool {
        self.registered
    }

    /// Why the disk does not answer, if it does not; and since when a command is outstanding.
    #[must_use]
    pub fn failure(&self) -> (Option<Failure>, Option<Boottime>) {
        (self.failure, self.sent.map(|(_, at, _)| at))
    }

    /// Keys and the holder of the reservation, as seen last, for status.
    #[must_use]
    pub fn seen(&self) -> (Keys, Option<Holder>) {
        (self.keys, self.holder)
    }

    fn key(&self) -> Key {
        self.config.cluster.key(self.config.slot)
    }

    fn done(&mut self, now: Boottime, command: Command, goal: Option<Goal>, reply: Reply) {
        self.note(None);
        match (command, reply) {
            (Command::ReadKeys, Reply::Keys(keys)) => {
                self.saw_keys(keys, goal);
                self.send(now, Command::ReadReservation);
            }
            (Command::ReadReservation, Reply::Reservation(reservation)) => {
                self.holder = Some(reservation.holder);
                if self.keys_for == self.goal && goal == self.goal {
                    self.next_cycle = now + self.config.interval;
                    self.act(now);
                }
            }
            (Command::RegisterAndIgnore { .. }, _) if self.goal.is_some() && self.goal == goal => {
                (self.registered, self.doubted, self.refused) = (true, false, false);
                self.event(Event::Registered);
            }
            (Command::RegisterAndIgnore { .. }, _) => self.take_back = true,
            (Command::Register { key: Key::NONE, .. }, _) => {
                (self.registered, self.take_back) = (false, false);
            }
            (Command::Register { .. }, _) => self.doubted = false,
            (Command::Preempt { victim, .. }, _) => {
                self.refused = false;
                if let Some(slot) = self.config.cluster.slot(victim) {
                    self.event(Event::Preempted { slot });
                }
            }
            _ => self.refused = false,
        }
    }

    fn saw_keys(&mut self, keys: Keys, goal: Option<Goal>) {
        let before = std::mem::replace(&mut self.keys, keys);
        self.keys_for = goal;
        let mine = keys.ours & bit(self.config.slot) != 0;
        self.doubted |= keys.generation < before.generation;
        if self.registered && !mine {
            let nobody = keys.ours == 0 && keys.foreign.is_none();
            let began_anew = nobody || keys.generation < before.generation;
            if began_anew && self.goal.is_some() {
                self.registered = false;
                self.event(Event::Forgotten);
            } else if !nobody {
                (self.registered, self.removed) = (false, Some(self.number));
                self.event(Event::Conflict);
            }
        }
    }

    /// At most one change, after both looks.
    fn act(&mut self, now: Boottime) {
        let foreign = match self.holder {
            Some(Holder::Foreign(key)) => Some(key),
            _ => self.keys.foreign,
        };
        if self.told_foreign != foreign {
            self.told_foreign = foreign;
            self.outputs.extend(foreign.map(|key| Output::Event(Event::Foreign(key))));
        }
        let Some(goal) = self.goal else { return };
        self.fenced = None;
        if foreign.is_some() || self.removed.is_some() {
            return;
        }
        let key = self.key();
        let outside = self.keys.ours & !goal.members;
        let change = match self.holder {
            _ if !self.registered => Command::RegisterAndIgnore { key, persist: self.persist },
            _ if self.doubted => Command::Register { current: key, key, persist: self.persist },
            None | Some(Holder::Nobody) => Command::Reserve { key },
            _ if outside != 0 => {
                // Of a set that is not empty.
                let slot = u8::try_from(outside.trailing_zeros() + 1).unwrap_or(crate::SLOTS_MAX);
                Command::Preempt { key, victim: self.config.cluster.key(slot), abort: self.abort }
            }
            _ => {
                self.fenced = Some(goal.number);
                self.refused = false;
                return;
            }
        };
        self.send(now, change);
    }

    /// Where the target does not know all commands there are others.
    fn do_without(&mut self, command: Command) -> bool {
        match command {
            Command::Preempt { abort: true, .. } => std::mem::replace(&mut self.abort, false),
            Command::Register { persist: true, .. } | Command::RegisterAndIgnore { persist: true, .. } => {
                if self.persist {
                    self.event(Event::Volatile);
                }
                std::mem::replace(&mut self.persist, false)
            }
            _ => false,
        }
    }

    fn advance(&mut self, now: Boottime) {
        if self.sent.is_some() || now < self.next_cycle {
            return;
        }
        if self.take_back {
            let key = self.key();
            let persist = self.persist;
            self.send(now, Command::Register { current: key, key: Key::NONE, persist });
        } else {
            self.send(now, Command::ReadKeys);
        }
    }

    fn send(&mut self, now: Boottime, command: Command) {
        self.sent = Some((command, now, self.goal));
        self.outputs.push_back(Output::Send(command));
    }

    fn note(&mut self, failure: Option<Failure>) {
        if self.failure.is_some() != failure.is_some() {
            self.event(Event::Disk(failure));
        }
        self.failure = failure;
    }

    fn event(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }
}

#[cfg(test)]
mod tests;
