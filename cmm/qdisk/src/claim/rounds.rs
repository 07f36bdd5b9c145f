//! Rounds: what is written, what was read, and what follows.

use holdfast_types::{Boottime, Incarnation, Span};

use super::guard::Gone;
use super::{Claim, Event, Failure, Hold, Output};
use crate::format::block::{BALLOT_MAX, Block, Decided, Owner};
use crate::format::{Area, Slot};

/// Where this node is in the agreement on the next term.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Rest,
    Prepare,
    Accept,
}

/// One write and read of all disks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Round {
    number: u64,
    step: Step,
    begun: Boottime,
    /// What is written; none: only looks.
    block: Option<Block>,
    /// Disks that have done it, and disks that failed: a bit each.
    done: u8,
    failed: u8,
}

/// What a disk was asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Busy {
    round: u64,
    block: Option<Block>,
}

impl Claim {
    /// A disk has come back.
    pub(super) fn completed(&mut self, disk: usize, result: Result<&Area, Failure>) {
        let Some(busy) = self.disks.get_mut(disk).and_then(|d| d.busy.take()) else { return };
        let counts = self.round.as_ref().is_some_and(|r| r.number == busy.round);
        let verdict = result.and_then(|area| self.examine(disk, &busy, area, counts));
        let failure = verdict.err();
        let known = &mut self.disks[disk].failure;
        if known.is_some() != failure.is_some() {
            self.outputs.push_back(Output::Event(Event::Disk { disk, failure }));
        }
        *known = failure;
        let (all, majority) = (self.disks.len(), self.disks.len() / 2 + 1);
        let Some(round) = self.round.as_mut().filter(|_| counts) else { return };
        let of = if failure.is_none() { &mut round.done } else { &mut round.failed };
        *of |= 1 << disk;
        let count = |bits: u8| usize::try_from(bits.count_ones()).unwrap_or(0);
        if count(round.done) >= majority {
            let round = *round;
            self.round = None;
            self.looked_at = Some(round.begun);
            self.own.took = self.now.since(round.begun);
            self.finish(round);
        } else if count(round.failed) > all - majority {
            self.rest_until = self.now.max(round.begun + self.config.interval);
            let step = round.step;
            self.round = None;
            self.give_up(step);
        }
    }

    /// Takes note of what a disk showed. `counts`: for the round that runs.
    fn examine(&mut self, disk: usize, busy: &Busy, area: &Area, counts: bool) -> Result<(), Failure> {
        let mut verdict = Ok(());
        let mut mine = None;
        for (slot, read) in area.slots() {
            let at = usize::from(slot);
            let block = match read {
                Slot::Block(block) => block,
                Slot::Damaged(why) => {
                    if slot != self.config.slot || busy.block.is_none() {
                        verdict = Err(Failure::Unreadable { slot, why: *why });
                    }
                    continue;
                }
            };
            if slot == self.config.slot {
                mine = Some(block);
            }
            let newest = &mut self.disks[disk].newest[at];
            if block.age() < *newest {
                verdict = Err(Failure::Stale(slot));
                continue;
            }
            *newest = block.age();
            let seen = &mut self.seen[at];
            if block.age() > seen.block.age() {
                // A new life: those before have ended by now, and with them what they handed on, some time from now.
                let before = Incarnation::new(block.life.get().saturating_sub(1));
                if block.life > seen.block.life && before > self.ended[at].0 {
                    self.ended[at] = (before, self.now, false);
                }
                (seen.block, seen.since) = (*block, self.now);
            }
        }
        verdict?;
        match (busy.block, mine) {
            (Some(written), Some(read)) if written == *read => {}
            (Some(written), Some(read)) if read.age() > written.age() => return Err(Failure::Foreign),
            (Some(_), _) => return Err(Failure::Lost),
            (None, Some(_)) => {}
            (None, None) => return Err(Failure::NoSlot),
        }
        if counts {
            for (slot, read) in area.slots() {
                if let Slot::Block(block) = read {
                    let newest = &mut self.view[usize::from(slot)];
                    if block.age() >= newest.age() {
                        *newest = *block;
                    }
                }
            }
        }
        Ok(())
    }

    /// Starts the next round if it is time, and lets disks that have fallen behind take part in the one that runs.
    pub(super) fn advance(&mut self) {
        if self.broken {
            return;
        }
        if self.owns() && !self.wish.wanted {
            // Those to whom it was handed on count it a little longer.
            let over = self.wished_at + self.config.handed_on;
            if self.hold.is_none_or(|h| self.now >= over.min(h.until)) {
                self.drop_hold("it is not wanted here");
                self.release();
            }
        }
        if self.round.is_none() && self.now >= self.next_start() {
            self.start();
        }
        let Some(round) = &self.round else { return };
        let (number, block, over) = (round.number, round.block, round.done | round.failed);
        for (disk, state) in self.disks.iter_mut().enumerate() {
            if state.busy.is_none() && over >> disk & 1 == 0 {
                state.busy = Some(Busy { round: number, block });
                self.outputs.push_back(match block {
                    Some(block) => Output::Exchange { disk, block },
                    None => Output::Look { disk },
                });
            }
        }
    }

    /// When the next round begins.
    pub(super) fn next_start(&self) -> Boottime {
        let moved = self.owns() && self.wish.wanted && self.own.ring != self.wish.ring;
        let mut at = self.next_beat;
        // The look that can make it ready, if none has begun since: not only with the next beat.
        let begins = self.begins();
        if !self.ready && self.next_beat < begins + self.config.interval {
            at = at.min(begins);
        }
        if self.ready && (self.urgent || moved || self.step != Step::Rest) {
            at = at.min(self.rest_until);
        }
        if self.owns() && !self.wish.wanted {
            at = at.min((self.wished_at + self.config.handed_on).max(self.rest_until));
        }
        match self.bid_time() {
            Some(bid) => at.min(bid.max(self.rest_until)),
            None => at,
        }
    }

    fn start(&mut self) {
        self.rounds += 1;
        self.next_beat = self.now + self.config.interval;
        self.view.fill(Block::default());
        let mut round =
            Round { number: self.rounds, step: Step::Rest, begun: self.now, block: None, done: 0, failed: 0 };
        if self.ready {
            self.urgent = false;
            if self.step == Step::Rest && self.bid_time().is_some_and(|at| self.now >= at) && self.is_fresh()
            {
                self.prepare();
            }
            self.compose();
            round.step = self.step;
            round.block = Some(self.own);
        }
        self.round = Some(round);
    }

    /// What is known of the owner is not from before a pause.
    fn is_fresh(&self) -> bool {
        let old = self.config.interval.scale(2, 1);
        self.looked_at.is_some_and(|at| self.now.since(at) <= old + self.own.took)
    }

    /// The own block as it is to be written now.
    fn compose(&mut self) {
        let own = &mut self.own;
        own.life = self.config.life;
        own.sequence = own.sequence.saturating_add(1);
        own.wanted = self.wish.wanted;
        own.lease = self.config.lease;
        own.interval = self.config.interval;
        own.handed_on = Span::from_millis(self.config.handed_on.as_nanos().div_ceil(1_000_000));
        (own.score, own.written) = (self.score, self.wall);
        let me = Owner { slot: self.config.slot, life: self.config.life };
        let becomes = self.step == Step::Accept && own.value == me;
        if becomes || own.decided.owner == me && !own.released {
            (own.ring, own.members) = (self.wish.ring, self.wish.members);
        } else if own.decided.owner.slot != me.slot {
            // Nobody asks a node that is not the owner for its members.
            (own.ring, own.members) = (self.wish.ring, 0);
        }
    }

    /// A new ballot, higher than every one that was seen.
    fn prepare(&mut self) {
        let term = self.own.decided.term;
        let seen = self.seen.iter().map(|s| &s.block).filter(|b| b.decided.term == term).map(|b| b.ballot);
        let highest = seen.max().unwrap_or(0).max(self.last_ballot).max(self.own.ballot);
        let ballot = ((highest >> SLOT_BITS) + 1) << SLOT_BITS | u64::from(self.config.slot - 1);
        if ballot < BALLOT_MAX {
            self.last_ballot = ballot;
            self.own.ballot = ballot;
            self.step = Step::Prepare;
        }
    }

    /// A round is over: a majority of the disks has what was written, and was read behind it.
    fn finish(&mut self, round: Round) {
        let latest = self.view.iter().map(|b| b.decided).max_by_key(|d| d.term).unwrap_or_default();
        let contradicts =
            |d: &Decided, than: &Decided| d.term == than.term && d.term > 0 && d.owner != than.owner;
        let disputed = self.view.iter().any(|b| contradicts(&b.decided, &latest));
        if disputed || self.ready && contradicts(&latest, &self.own.decided) {
            self.drop_hold("the disks contradict each other");
            self.broken = true;
            self.event(Event::Contradiction { term: latest.term });
            return;
        }
        if !self.ready {
            self.carry_on(&round, latest);
            return;
        }
        if latest.term > self.own.decided.term {
            self.learn(latest);
            return;
        }
        match round.step {
            Step::Rest => self.beaten(&round),
            Step::Prepare => self.prepared(),
            Step::Accept => self.accepted(&round),
        }
    }

    /// When nothing of an earlier life is under way or counted any more.
    fn begins(&self) -> Boottime {
        self.started + self.config.lease.max(self.config.handed_on) + self.config.margin
    }

    /// At start: what an earlier life wrote is carried on when nothing of it can still be under way, nor counted by those to
    /// whom it has handed the vote on. A ballot that it had is not taken back: it may have accepted a value on a disk that was
    /// not read.
    fn carry_on(&mut self, round: &Round, latest: Decided) {
        let mine = self.view[usize::from(self.config.slot)];
        if mine.life >= self.config.life {
            if self.rounds == 1 {
                self.event(Event::LaterLife(mine.life));
            }
            return;
        }
        if round.begun < self.begins() {
            return;
        }
        self.own = Block { released: false, ..mine };
        self.ready = true;
        self.next_beat = self.now;
        if latest.term > mine.decided.term {
            self.learn(latest);
        }
    }

    /// Another node knows the outcome of a term that this one does not.
    fn learn(&mut self, decided: Decided) {
        if decided.owner != self.me() {
            self.drop_hold("another node owns it");
        }
        self.own.decided = decided;
        self.own.released = false;
        (self.own.ballot, self.own.accepted, self.own.value) = (0, 0, Owner::default());
        self.step = Step::Rest;
        self.attempts = 0;
        self.last_ballot = 0;
        self.urgent = true;
        self.event(Event::Decided(decided));
    }

    /// A beat is over: the owner's lease goes on, unless somebody has a ballot for the next term.
    fn beaten(&mut self, round: &Round) {
        let challenged = self.others().any(|b| b.decided.term == self.own.decided.term && b.ballot > 0);
        if self.owns() && !challenged {
            self.extend(round);
        }
        if self.wish.wanted && !self.owns() && !self.was_in_last(self.owner_seen()) {
            let owner = self.own.decided.owner;
            if self.told_not_in_last.replace(owner) != Some(owner) {
                self.event(Event::NotInLast { owner });
            }
        }
    }

    /// The lease counts from the beginning of a round.
    fn extend(&mut self, round: &Round) {
        let until = round.begun + self.config.lease;
        let Some(block) = round.block.filter(|b| b.wanted) else { return };
        if self.now >= until {
            return self.release();
        }
        if self.hold.is_none() {
            self.event(Event::Gained { term: self.own.decided.term });
        }
        self.hold = Some(Hold { until, ring: block.ring });
    }

    /// A prepare is over.
    fn prepared(&mut self) {
        let (term, ballot) = (self.own.decided.term, self.own.ballot);
        let same_term = || self.view.iter().filter(move |b| b.decided.term == term);
        if same_term().any(|b| b.ballot > ballot) {
            return self.give_up(Step::Prepare);
        }
        let accepted = same_term().filter(|b| b.accepted > 0).max_by_key(|b| b.accepted);
        let value = match accepted.map(|b| b.value) {
            Some(value) => value,
            None => {
                let owner = &self.view[usize::from(self.own.decided.owner.slot)];
                let gone = match self.gone(owner) {
                    Gone::Surely => true,
                    Gone::From(at) => self.now >= at,
                    Gone::No => false,
                };
                if !gone || !self.wish.wanted || !self.was_in_last(owner) {
                    return self.withdraw();
                }
                self.me()
            }
        };
        (self.own.accepted, self.own.value) = (ballot, value);
        self.step = Step::Accept;
    }

    /// An accept is over.
    fn accepted(&mut self, round: &Round) {
        let (term, ballot) = (self.own.decided.term, self.own.ballot);
        if self.others().any(|b| b.decided.term == term && b.ballot > ballot) {
            return self.give_up(Step::Accept);
        }
        let owner = self.own.value;
        self.learn(Decided { term: term + 1, owner });
        if owner == self.me() {
            self.extend(round);
        }
    }

    /// A ballot was lost, or could not be written. What was accepted stays; nothing else is in anybody's way.
    fn give_up(&mut self, step: Step) {
        if step == Step::Rest {
            return;
        }
        self.attempts = self.attempts.saturating_add(1);
        // Different for each node, and never the same twice in a row, so that two of them do not go on losing to each other.
        let spread = u64::from(self.attempts).wrapping_mul(7).wrapping_add(u64::from(self.config.slot) * 5);
        let range = u64::from(2 + self.attempts.min(14));
        self.bid_at = self.now + self.config.interval.scale(spread % range, 4);
        self.withdraw();
    }

    /// A ballot without a value never has a consequence: it can be taken back.
    fn withdraw(&mut self) {
        self.own.ballot = self.own.accepted;
        self.step = Step::Rest;
        self.urgent = true;
    }

    fn others(&self) -> impl Iterator<Item = &Block> {
        let me = usize::from(self.config.slot);
        self.view.iter().enumerate().filter(move |(slot, _)| *slot != me).map(|(_, b)| b)
    }
}

const SLOT_BITS: u32 = 6;
