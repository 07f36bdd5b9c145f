//! Who owns the disk's vote: at every instant at most one life of one node.
//!
//! Two things are put together. *Who* owns the vote in a term is agreed upon by Disk Paxos: it is right under any delays, and needs
//! no clock. *Until when* the owner may count it is a lease, so that an owner that went silent can be followed by another one; it
//! needs clocks that run at nearly the same rate and nothing else.
//!
//! All work is done in *rounds*: this node writes its own block to each disk and then reads all blocks of that disk. A round is over
//! when a majority of the disks has done both and the read showed exactly what was written: a lost, torn or misplaced
//! write is no write. One round runs at a time.
//!
//! | round | what is written | what follows when it is over |
//! |---|---|---|
//! | look | nothing | at start: the own block is carried on, or an earlier life's wait is not over yet |
//! | beat | a higher sequence | owner, and nobody has a ballot for the next term: the lease counts from the round's beginning |
//! | prepare | a ballot for term t+1 | a higher ballot, or the owner of t has moved: withdrawn. A value accepted there: it is taken over. Else: this node |
//! | accept | ballot and value | a higher ballot: begin again. Else term t+1 is decided |
//!
//! A prepare goes on with this node as value only if the owner of term t (1) has released
//! the vote, or (2) is known to be dead, by news or since another life of it writes there, as long ago as others count what it handed on, or (3) it is and there are no such others, or (4) *has stood still in this very read*, and for its lease, drift and margin before it on
//! this node's clock, counted from the end of the read that showed its sequence first.
//!
//! Why no two count it at once: let owner `o` of term t count by a round with sequence `s`, and `q` get term t+1. `o`'s read showed no
//! ballot for t+1. On a disk that both used: if `q`'s prepare read came before `o`'s write of `s`, then `q`'s ballot was written before it, and
//! `o` would have read it. So `q` saw `s`, or a later one; then (4) has waited for `o`'s lease, which began before `s` was written, so before `q`
//! could see it. Whoever else decides t+1 for `q` does so after `q`'s accept, and that came after (1)–(4).

mod guard;
mod rounds;

use arrayvec::ArrayVec;
use holdfast_types::{Boottime, Ended, Hold, Incarnation, Span, Wish};

use self::rounds::{Busy, Round, Step};
use crate::format::block::{Block, Decided, Owner};
use crate::format::{Area, Damaged};
use crate::{DISKS_MAX, SLOTS_MAX};

/// What a node is told at start.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Its slot on every disk.
    pub slot: u8,
    /// This life: greater than every earlier one.
    pub life: Incarnation,
    /// How many disks there are; a majority of them counts.
    pub disks: usize,
    /// A round begins this long after the one before.
    pub interval: Span,
    /// How long the vote counts from the beginning of a round: `interval` times `tko`.
    pub lease: Span,
    /// What is added when another node's lease is waited for: how late it may notice that it is over.
    pub margin: Span,
    /// How long after this node has stopped to count the vote others may, to whom it has handed it on.
    pub handed_on: Span,
}

/// Why a disk does not count in a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The operating system says no: its error number.
    #[error("I/O error {0}")]
    Io(i32),
    /// It is no quorum disk of this cluster any more.
    #[error("header: {0}")]
    Header(Damaged),
    /// A node's block cannot be read: nobody knows what that node has promised.
    #[error("block of node {slot}: {why}")]
    Unreadable {
        /// Whose.
        slot: u8,
        /// Why.
        why: Damaged,
    },
    /// A block is older than it was before.
    #[error("block of node {0} is older than it was")]
    Stale(u8),
    /// What was written is not there.
    #[error("what was written is not there")]
    Lost,
    /// Somebody else writes into this node's block.
    #[error("another process writes as this node")]
    Foreign,
    /// The disk has no block for this node.
    #[error("no slot for this node")]
    NoSlot,
}

/// For the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A disk failed for the first time since it worked, or works again.
    Disk {
        /// Which.
        disk: usize,
        /// Why.
        failure: Option<Failure>,
    },
    /// The vote has another owner.
    Decided(Decided),
    /// This node counts the vote from now on.
    Gained {
        /// In which term.
        term: u64,
    },
    /// It counts it no more.
    Lost {
        /// In which term.
        term: u64,
        /// In words.
        why: &'static str,
    },
    /// This node was not in the last configuration that counted the vote: it must not have it before it was together with one that was.
    NotInLast {
        /// Whose word that is.
        owner: Owner,
    },
    /// The disks contradict each other about a term: this node takes no part any more.
    Contradiction {
        /// Which term.
        term: u64,
    },
    /// A life after this one has written there.
    LaterLife(Incarnation),
}

/// What is to be done, in order.
#[derive(Clone, Copy, Debug)]
pub enum Output {
    /// Read all blocks of a disk; then [`Claim::handle_done`].
    Look {
        /// Which.
        disk: usize,
    },
    /// Write this node's block to a disk, and when that has come back without an error read all blocks; then [`Claim::handle_done`].
    Exchange {
        /// Which.
        disk: usize,
        /// What to write.
        block: Block,
    },
    /// For the log.
    Event(Event),
}

/// A node's part in the ownership of the vote.
///
/// `now` never goes back. After each call [`Claim::poll_output`] until it is empty. Each disk has at most one request outstanding.
#[derive(Debug)]
pub struct Claim {
    config: Config,
    started: Boottime,
    now: Boottime,
    wish: Wish,
    /// When the wish changed last.
    wished_at: Boottime,
    score: (u16, u16),
    wall: u64,
    /// This node's block as written last, or as it is to be written next.
    own: Block,
    /// It has been carried on from what the disks held: this node may write.
    ready: bool,
    /// It takes no part any more.
    broken: bool,
    step: Step,
    round: Option<Round>,
    rounds: u64,
    /// The newest block of each slot in the reads of the round that runs.
    view: Vec<Block>,
    disks: ArrayVec<Disk, DISKS_MAX>,
    seen: Vec<Seen>,
    /// For each slot: up to which life nothing runs any more, since when that is known here, and whether nobody counts it.
    ended: Vec<(Incarnation, Boottime, bool)>,
    hold: Option<Hold>,
    /// The own block has to be written before its time.
    urgent: bool,
    next_beat: Boottime,
    /// Nothing is urgent before this: the last round failed.
    rest_until: Boottime,
    /// No ballot before this: the last one was lost.
    bid_at: Boottime,
    attempts: u32,
    last_ballot: u64,
    /// When the last round that was completed began.
    looked_at: Option<Boottime>,
    told_not_in_last: Option<Owner>,
    outputs: std::collections::VecDeque<Output>,
}

#[derive(Debug, Default)]
struct Disk {
    busy: Option<Busy>,
    failure: Option<Failure>,
    /// The newest block that it showed of each slot.
    newest: Vec<(Incarnation, u64)>,
}

/// The newest block of a slot on any disk, and when it was read first.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    block: Block,
    since: Boottime,
}

impl Claim {
    /// At this node's start.
    ///
    /// # Panics
    /// If `config` names no slot or no disk, or too many.
    #[must_use]
    pub fn new(config: Config, now: Boottime) -> Self {
        assert!((1..=SLOTS_MAX).contains(&config.slot) && (1..=DISKS_MAX).contains(&config.disks));
        let slots = usize::from(SLOTS_MAX) + 1;
        let disk = || Disk { newest: vec![Default::default(); slots], ..Disk::default() };
        Self {
            config,
            started: now,
            now,
            wish: Wish::default(),
            wished_at: now,
            score: (0, 0),
            wall: 0,
            own: Block::default(),
            ready: false,
            broken: false,
            step: Step::Rest,
            round: None,
            rounds: 0,
            view: vec![Block::default(); slots],
            disks: (0..config.disks).map(|_| disk()).collect(),
            seen: vec![Seen::default(); slots],
            ended: vec![(Incarnation::default(), now, false); slots],
            hold: None,
            urgent: false,
            next_beat: now,
            rest_until: now,
            bid_at: now,
            attempts: 0,
            last_ballot: 0,
            looked_at: None,
            told_not_in_last: None,
            outputs: std::collections::VecDeque::with_capacity(4 * DISKS_MAX),
        }
    }

    /// What the cluster wants has changed.
    pub fn set_wish(&mut self, now: Boottime, wish: Wish) {
        self.turn(now);
        if self.wish != wish {
            self.wish = wish;
            self.wished_at = self.now;
        }
        self.advance();
    }

    /// What others are handed on may count for so long from now on. Never less than before.
    pub fn set_handed_on(&mut self, span: Span) {
        self.config.handed_on = self.config.handed_on.max(span);
    }

    /// What stands in the block for people: heuristics reached and possible, and the wall clock in seconds since 1970.
    pub fn set_display(&mut self, score: (u16, u16), wall: u64) {
        (self.score, self.wall) = (score, wall);
    }

    /// No life of a node up to this one runs any more.
    pub fn handle_ended(&mut self, now: Boottime, ended: Ended) {
        self.turn(now);
        if let Some(known) = self.ended.get_mut(usize::from(ended.slot)) {
            match known.0.cmp(&ended.life) {
                std::cmp::Ordering::Less => *known = (ended.life, self.now, ended.alone),
                std::cmp::Ordering::Equal => known.2 |= ended.alone,
                std::cmp::Ordering::Greater => {}
            }
        }
        self.advance();
    }

    /// What a disk was asked for is over.
    pub fn handle_done(&mut self, now: Boottime, disk: usize, result: Result<&Area, Failure>) {
        self.turn(now);
        self.completed(disk, result);
        self.advance();
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Boottime) {
        self.turn(now);
        self.advance();
    }

    /// The next thing to do, in order.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Claim::handle_timeout`] has something to do.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Boottime> {
        let start = (self.round.is_none() && !self.broken).then(|| self.next_start());
        [start, self.hold.map(|h| h.until)].into_iter().flatten().min()
    }

    /// The vote, if this node may count it now.
    #[must_use]
    pub fn hold(&self, now: Boottime) -> Option<Hold> {
        self.hold.filter(|h| now < h.until && self.wish.wanted && !self.broken)
    }

    /// Who owns the vote as far as this node knows.
    #[must_use]
    pub fn decided(&self) -> Decided {
        self.own.decided
    }

    /// Nodes whose blocks have moved within their lease, and this one while it writes: bit `slot - 1` for each.
    #[must_use]
    pub fn alive(&self) -> u64 {
        let lives = |slot: &u8| {
            let seen = &self.seen[usize::from(*slot)];
            seen.block.life.get() > 0 && self.now < seen.since + seen.block.lease
        };
        (1..=SLOTS_MAX).filter(lives).fold(0, |all, slot| all | 1 << (slot - 1))
    }

    /// This node's block as written last, or as it is to be written next.
    #[must_use]
    pub fn own(&self) -> &Block {
        &self.own
    }

    /// Why a disk did not count when it was used last.
    #[must_use]
    pub fn failure(&self, disk: usize) -> Option<Failure> {
        self.disks.get(disk).and_then(|d| d.failure)
    }

    /// The latest time that it was told.
    #[must_use]
    pub fn now(&self) -> Boottime {
        self.now
    }

    /// How many disks there are.
    #[must_use]
    pub fn disks(&self) -> usize {
        self.disks.len()
    }

    /// Whose word this node waits for, since it was not in the last configuration that counted the vote: it was told of by
    /// [`Event::NotInLast`] and holds still.
    #[must_use]
    pub fn not_in_last(&self) -> Option<Owner> {
        let waits = self.wish.wanted && !self.owns() && !self.was_in_last(self.owner_seen());
        self.told_not_in_last.filter(|owner| waits && *owner == self.own.decided.owner)
    }

    /// Disks that worked when they were used last.
    #[must_use]
    pub fn disks_ok(&self) -> usize {
        self.disks.iter().filter(|d| d.failure.is_none()).count()
    }

    /// First thing in every call: a lease that is over is over.
    fn turn(&mut self, now: Boottime) {
        self.now = self.now.max(now);
        if self.hold.is_some_and(|h| self.now >= h.until) {
            self.drop_hold("the lease ran out");
            self.release();
        }
    }

    fn me(&self) -> Owner {
        Owner { slot: self.config.slot, life: self.config.life }
    }

    fn owns(&self) -> bool {
        self.ready && self.own.decided.owner == self.me() && !self.own.released
    }

    fn drop_hold(&mut self, why: &'static str) {
        if self.hold.take().is_some() {
            self.event(Event::Lost { term: self.own.decided.term, why });
        }
    }

    /// The vote goes back: in this term it is never counted here again.
    fn release(&mut self) {
        if self.owns() {
            self.own.released = true;
            self.urgent = true;
        }
    }

    fn event(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }
}

#[cfg(test)]
mod tests;
