//! Who owns the vote of a disk with persistent reservations: at every instant at most one life of one node.
//!
//! *Who* is the target's decision: whoever holds the reservation. *Until when* the holder counts the vote is a lease, renewed by
//! each look at the reservation that shows this node, from the instant at which that look was sent. A node that has become the holder
//! counts nothing before everything that an earlier holder may count has ended.
//!
//! Commands are sent one at a time. A cycle is two looks (keys, reservation), and then at most one change:
//!
//! | what the looks show | what is done |
//! |---|---|
//! | no key of this cluster at all | register: the disk is new, or was cleared by an operator |
//! | this node's key, not through this path | register this path. If the generation shows that somebody was faster: take it back |
//! | this node's key missing, others' there | this node was not in the last cluster: it waits until it is together with the holder, and then registers |
//! | nobody holds the reservation, and the vote is wanted | reserve |
//! | a node outside this configuration holds it, and the vote is wanted | preempt and abort: the race of a split. The target lets one of both win |
//! | a member holds it and hands nothing on for two leases | the same; it registers again later |
//! | this node holds it, and keys of nodes outside this configuration are there | preempt and abort each: they cannot write any more, and the vote counts for this configuration from then on |
//!
//! Why no two count it at once: let `o` count by a look that was sent at `t` and executed at `e >= t`, so `o` held the reservation at `e`. Let `q` count, too,
//! and have become the holder at `p`. If `p < e`, then `o` became the holder after `p`, so `q` saw itself last before that, and `o` has waited for what `q`
//! counts. If `p > e`, `q` has waited for lease, drift and margin from an instant after `p`, so until after `t` + lease. A new life
//! waits as long from its first look, since the key does not say which life of its node it is. What that rests on: no command takes effect after the
//! call that sent it has returned, nor later than a lease after its process died.

use std::collections::VecDeque;

use holdfast_types::{Boottime, Hold, RingId, Span, Wish};

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
    /// How long the vote counts from a look: `interval` times `tko`.
    pub lease: Span,
    /// What is added when another node's lease is waited for: how late it may notice that it is over.
    pub margin: Span,
}

/// For the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The disk failed for the first time since it worked, or works again.
    Disk(Option<Failure>),
    /// The reservation has another holder.
    Holder(Holder),
    /// This node counts the vote from now on.
    Gained,
    /// It counts it no more.
    Lost {
        /// In words.
        why: &'static str,
    },
    /// Another node was removed from the disk: it cannot write there any more.
    Preempted {
        /// Which.
        slot: u8,
    },
    /// This node was removed by the others.
    Removed,
    /// This node was not in the last cluster: it must not have the vote before it was together with one that was.
    NotInLast {
        /// Bit `slot - 1` for each that was.
        registered: u64,
    },
    /// Somebody else uses the disk: this cluster has nothing to do with it.
    Foreign(Key),
    /// The target keeps nothing over a loss of power.
    Volatile,
}

/// What is to be done, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send it; then [`Claim::handle_done`]. One is outstanding at a time.
    Send(Command),
    /// For the log.
    Event(Event),
}

/// Whether this node's key is on the disk, and through this life's path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Registered {
    /// Not looked at yet.
    Unknown,
    No,
    /// It was registered by force, at this generation: if somebody else changed something meanwhile, it may have been against this node.
    Perhaps {
        /// Before.
        generation: u32,
    },
    /// It has to be taken back.
    TakeBack,
    Yes,
}

/// A node's part in the ownership of the vote.
///
/// `now` never goes back. After each call [`Claim::poll_output`] until it is empty.
#[derive(Debug)]
pub struct Claim {
    config: Config,
    now: Boottime,
    wish: Wish,
    wished_at: Boottime,
    /// The vote counts here, handed on by a member; or since when it does not.
    present: bool,
    absent_since: Boottime,
    /// What is outstanding, and when it was sent.
    sent: Option<(Command, Boottime)>,
    registered: Registered,
    keys: Keys,
    /// When the look that showed `keys` was sent.
    keys_at: Boottime,
    holder: Option<Holder>,
    /// When it was seen first.
    holder_at: Boottime,
    /// Since when all looks show this node as holder: the end of the first one.
    held_since: Option<Boottime>,
    /// When the last look was sent that did.
    renewed: Boottime,
    /// Only members of this configuration have keys.
    clean: RingId,
    hold: Option<Hold>,
    next_cycle: Boottime,
    /// No preemption before this: the last one was lost.
    rest_until: Boottime,
    persist: bool,
    abort: bool,
    failure: Option<Failure>,
    told_foreign: Option<Key>,
    told_registered: u64,
    outputs: VecDeque<Output>,
}

impl Claim {
    /// At this node's start.
    ///
    /// # Panics
    /// If `config` names no slot.
    #[must_use]
    pub fn new(config: Config, now: Boottime) -> Self {
        assert!((1..=crate::SLOTS_MAX).contains(&config.slot));
        Self {
            config,
            now,
            wish: Wish::default(),
            wished_at: now,
            present: false,
            absent_since: now,
            sent: None,
            registered: Registered::Unknown,
            keys: Keys::default(),
            keys_at: Boottime::ZERO,
            holder: None,
            holder_at: now,
            held_since: None,
            renewed: Boottime::ZERO,
            clean: RingId::default(),
            hold: None,
            next_cycle: now,
            rest_until: now,
            persist: true,
            abort: true,
            failure: None,
            told_foreign: None,
            told_registered: 0,
            outputs: VecDeque::with_capacity(8),
        }
    }

    /// What the cluster wants has changed, and whether the vote counts here because a member hands it on.
    pub fn set_wish(&mut self, now: Boottime, wish: Wish, present: bool) {
        self.turn(now);
        if self.wish != wish {
            (self.wish, self.wished_at) = (wish, self.now);
            self.next_cycle = self.now;
        }
        if self.present != present {
            (self.present, self.absent_since) = (present, self.now);
        }
        self.advance();
    }

    /// What was sent is over.
    pub fn handle_done(&mut self, now: Boottime, result: Result<Reply, Failure>) {
        self.turn(now);
        if let Some((command, sent_at)) = self.sent.take() {
            let lost_race = matches!(command, Command::Reserve { .. } | Command::Preempt { .. });
            match result {
                Ok(reply) => self.done(command, sent_at, reply),
                Err(Failure::Attention) => self.next_cycle = self.now,
                Err(Failure::Unsupported) if self.do_without(command) => self.next_cycle = self.now,
                Err(Failure::Conflict) if command.list().is_some() => {
                    self.refused(command);
                    self.next_cycle = self.now;
                    if lost_race {
                        self.rest_until = self.now + self.config.interval;
                    }
                }
                Err(failure) => {
                    if matches!(command, Command::RegisterAndIgnore { .. }) {
                        // It may have been done all the same.
                        self.registered = Registered::Perhaps { generation: self.keys.generation };
                    }
                    self.next_cycle = self.now + self.config.interval;
                    self.note(Some(failure));
                }
            }
        }
        self.advance();
    }

    /// To be called when this has come.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Boottime> {
        let cycle = Some(self.next_cycle).filter(|_| self.sent.is_none());
        let counts = self.counts_at().filter(|at| self.hold.is_none() && *at > self.now);
        [cycle, counts, self.hold.map(|h| h.until)].into_iter().flatten().min()
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Boottime) {
        self.turn(now);
        self.advance();
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// The vote, if this node may count it now.
    #[must_use]
    pub fn hold(&self, now: Boottime) -> Option<Hold> {
        self.hold.filter(|h| now < h.until)
    }

    /// Who holds the reservation and whose keys are there, as seen last, for status; and why the disk does not answer.
    #[must_use]
    pub fn seen(&self) -> (Option<Holder>, Keys, Option<Failure>) {
        (self.holder, self.keys, self.failure)
    }

    /// Nodes that were in the last cluster and this node was not, as told by [`Event::NotInLast`], while that holds: bit
    /// `slot - 1` for each.
    #[must_use]
    pub fn not_in_last(&self) -> u64 {
        if self.registered == Registered::No { self.told_registered } else { 0 }
    }

    /// First thing in every call: a lease that is over is over.
    fn turn(&mut self, now: Boottime) {
        self.now = self.now.max(now);
        if self.hold.is_some_and(|h| self.now >= h.until) {
            self.drop_hold("the disk has not answered in time");
        }
    }

    fn key(&self) -> Key {
        self.config.cluster.key(self.config.slot)
    }

    fn is_holder(&self) -> bool {
        self.holder == Some(Holder::Slot(self.config.slot))
    }

    fn done(&mut self, command: Command, sent_at: Boottime, reply: Reply) {
        self.note(None);
        match (command, reply) {
            (Command::ReadKeys, Reply::Keys(keys)) => self.saw_keys(keys, sent_at),
            (Command::ReadReservation, Reply::Reservation(reservation)) => {
                self.saw_holder(reservation.holder, sent_at);
                let current = self.keys_at >= self.wished_at;
                self.next_cycle = self.now + if current { self.config.interval } else { Span::ZERO };
                self.act();
            }
            (Command::Register { key, .. }, _) => {
                self.registered = if key == Key::NONE { Registered::No } else { Registered::Yes };
                self.next_cycle = self.now;
            }
            (Command::RegisterAndIgnore { .. }, _) => {
                self.registered = Registered::Perhaps { generation: self.keys.generation };
                self.next_cycle = self.now;
            }
            (Command::Preempt { victim, .. }, _) => {
                if let Some(slot) = self.config.cluster.slot(victim) {
                    self.event(Event::Preempted { slot });
                }
                self.next_cycle = self.now;
            }
            _ => self.next_cycle = self.now,
        }
    }

    fn saw_keys(&mut self, keys: Keys, sent_at: Boottime) {
        let there = keys.ours & bit(self.config.slot) != 0;
        self.registered = match self.registered {
            Registered::Yes if !there => {
                self.event(Event::Removed);
                Registered::No
            }
            _ if !there => Registered::No,
            // It was not done.
            Registered::Perhaps { generation } if keys.generation == generation => Registered::No,
            Registered::Perhaps { generation } if keys.generation != generation.wrapping_add(1) => {
                Registered::TakeBack
            }
            // Whether through this path is asked next.
            Registered::Perhaps { .. } => Registered::Unknown,
            other => other,
        };
        (self.keys, self.keys_at) = (keys, sent_at);
        if self.told_foreign != keys.foreign {
            self.told_foreign = keys.foreign;
            self.outputs.extend(keys.foreign.map(|key| Output::Event(Event::Foreign(key))));
        }
        self.send(Command::ReadReservation);
    }

    fn saw_holder(&mut self, holder: Holder, sent_at: Boottime) {
        if self.holder != Some(holder) {
            (self.holder, self.holder_at) = (Some(holder), self.now);
            self.event(Event::Holder(holder));
        }
        if !self.is_holder() {
            self.held_since = None;
            self.drop_hold("another node holds the reservation");
            return;
        }
        self.held_since.get_or_insert(self.now);
        self.renewed = sent_at;
    }

    /// A change was refused: what was believed is not so.
    fn refused(&mut self, command: Command) {
        self.registered = match (command, self.registered) {
            // This path has no key; the disk may have one of this node all the same.
            (Command::Register { .. }, _) => Registered::No,
            // Or another path is used than before.
            (_, Registered::Yes) => Registered::Unknown,
            (_, other) => other,
        };
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

    /// When what this node holds may be counted, if nothing comes between.
    fn counts_at(&self) -> Option<Boottime> {
        self.held_since.map(|since| since + waited_for(&self.config))
    }

    /// Keeps the lease current, and begins a cycle when it is time.
    fn advance(&mut self) {
        self.count();
        if self.sent.is_none() && self.now >= self.next_cycle {
            self.send(Command::ReadKeys);
        }
    }

    fn count(&mut self) {
        if !self.wish.wanted {
            self.drop_hold("it would not make this partition quorate, or this node is not fit");
            return;
        }
        let until = self.renewed + self.config.lease;
        let counts = self.counts_at().is_some_and(|at| self.now >= at) && self.now < until;
        if !counts || self.clean == RingId::default() {
            return;
        }
        if self.hold.replace(Hold { until, ring: self.clean }).is_none() {
            self.event(Event::Gained);
        }
    }

    /// At most one change, after both looks.
    fn act(&mut self) {
        let outside = self.keys.ours & !self.wish.members;
        if self.is_holder() && outside == 0 && self.keys_at >= self.wished_at {
            self.clean = self.wish.ring;
        }
        if let Some(command) = self.change(outside) {
            self.send(command);
        }
    }

    fn change(&mut self, outside: u64) -> Option<Command> {
        let (key, me, persist) = (self.key(), bit(self.config.slot), self.persist);
        if self.keys.foreign.is_some() {
            return None;
        }
        match self.registered {
            Registered::Unknown => return Some(Command::Register { current: key, key, persist }),
            Registered::TakeBack => {
                return Some(Command::Register { current: key, key: Key::NONE, persist });
            }
            Registered::Perhaps { .. } => return None,
            Registered::No if self.keys.ours & me != 0 || self.keys.ours == 0 => {
                // It was in the last cluster, or there was none.
                return Some(Command::RegisterAndIgnore { key, persist });
            }
            Registered::No if self.is_with_holder() => {
                return Some(Command::Register { current: Key::NONE, key, persist });
            }
            Registered::No => {
                if self.wish.wanted && self.told_registered != self.keys.ours {
                    self.told_registered = self.keys.ours;
                    self.event(Event::NotInLast { registered: self.keys.ours });
                }
                return None;
            }
            Registered::Yes => self.told_registered = 0,
        }
        if !self.wish.wanted || self.now < self.rest_until {
            return None;
        }
        let victim = match self.holder? {
            Holder::Slot(slot) if slot == self.config.slot => lowest(outside)?,
            Holder::Slot(slot) if self.now >= self.bids_at(slot) => slot,
            Holder::Nobody if self.now >= self.bids_at(0) => return Some(Command::Reserve { key }),
            _ => return None,
        };
        let victim = self.config.cluster.key(victim);
        Some(Command::Preempt { key, victim, abort: self.abort })
    }

    /// The vote is handed on to this node by a member that holds the reservation.
    fn is_with_holder(&self) -> bool {
        self.present && matches!(self.holder, Some(Holder::Slot(slot)) if self.wish.members & bit(slot) != 0)
    }

    /// When this node may take the reservation from `holder`. The lowest member begins, and the holder's own partition.
    fn bids_at(&self, holder: u8) -> Boottime {
        let lower = (self.wish.members & (bit(self.config.slot) - 1)).count_ones();
        let turn = self.config.interval.scale(lower.into(), 1);
        if self.wish.members & bit(holder) != 0 {
            if self.present {
                return Boottime::MAX;
            }
            // It may only be slow, or have to wait in its turn before it counts anything.
            let slow_since = self.absent_since.max(self.wished_at).max(self.holder_at);
            return slow_since + waited_for(&self.config).scale(2, 1) + turn;
        }
        self.wished_at + turn + if holder == 0 { Span::ZERO } else { self.config.interval }
    }

    fn drop_hold(&mut self, why: &'static str) {
        if self.hold.take().is_some() {
            self.event(Event::Lost { why });
        }
    }

    fn note(&mut self, failure: Option<Failure>) {
        if self.failure != failure {
            self.failure = failure;
            self.event(Event::Disk(failure));
        }
    }

    fn send(&mut self, command: Command) {
        self.sent = Some((command, self.now));
        self.outputs.push_back(Output::Send(command));
    }

    fn event(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }
}

/// How long another holder may count what it saw last, on this node's clock.
fn waited_for(config: &Config) -> Span {
    config.lease.scale(102, 100) + config.margin
}

fn lowest(slots: u64) -> Option<u8> {
    let zeros = u8::try_from(slots.trailing_zeros()).ok()?;
    (slots != 0).then_some(zeros + 1)
}

#[cfg(test)]
mod tests;
