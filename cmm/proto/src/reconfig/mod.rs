//! The reconfiguration automaton: numbered steps after each regular configuration, with a barrier after each.
//!
//! | step | name | ends here when |
//! |---|---|---|
//! | 1 | `sync` | the states of all members were delivered |
//! | 2 | `quorum` | votes are decided and told, leases waited for |
//! | 3 | `fence` | the local userland says so, or takes no part; and data disks are free of those who are no members |
//! | 4 | `resources` | the same |
//! | 5 | `end` | at once |
//!
//! A member that has ended a step multicasts that in order. When the word of all members was delivered the step is done
//! and the next one begins, at the same place of the order everywhere: nothing begins before what precedes it has ended
//! on all members. Two barriers cost nothing. The last state delivered ends `sync`: states are safe, so every member has
//! them all, at that place. And where no state says that its userland takes part, or that it has data disks, the steps of
//! userland are left out. Step `quorum` does not end here while a change of a data disk is under way that an earlier
//! configuration ordered: it could be against a node that has become a member, which registers in step `fence`.
//! A new configuration aborts everything. A step that takes longer than its limit, or whose userland
//! vanishes inside it, makes the reconfiguration start again with a higher epoch (from `sync` if that is late, else
//! from `quorum`), a bounded number of times for each configuration; after that it goes on to wait and to report. It
//! never goes on without a member.
//!
//! The epoch is agreed in the exchange: every member proposes one more than it has seen, the highest proposal counts.
//! Before that a member that asks to start again names the round, which all count alike.

use std::collections::{BTreeMap, BTreeSet};

use holdfast_types::{Boottime, Epoch, NodeId, RingId, Span, StepNumber};

use crate::api::{Event, Output, Refusal, StepNotice, StepPhase};
use crate::service::messages::{Message, State};

/// `sync`.
pub const SYNC: StepNumber = StepNumber::new(1);
/// `quorum`.
pub const QUORUM: StepNumber = StepNumber::new(2);
/// `fence`: the first step of userland.
pub const FENCE: StepNumber = StepNumber::new(3);
/// `resources`.
pub const RESOURCES: StepNumber = StepNumber::new(4);
/// `end`: no step is left.
pub const END: StepNumber = StepNumber::new(5);

/// The automaton of one node.
pub struct Reconfig {
    step_limit: Span,
    /// Highest epoch seen.
    seen: Epoch,
    participant: bool,
    disks: Option<Disks>,
    run: Option<Run>,
    notice: Option<StepNotice>,
    outputs: Vec<Output>,
    /// Ordered messages to send, and what the node must do.
    actions: Vec<Action>,
}

/// How far this node is with its data disks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Disks {
    /// A change of a disk is under way.
    pub busy: bool,
    /// In the reconfiguration with this epoch, nobody but its members can write to any of them.
    pub fenced: Option<Epoch>,
}

/// What the node must do for the automaton.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Multicast these bytes in order, for this ring only.
    Send(Vec<u8>),
    /// Make this node's state for this round of the exchange and multicast it.
    SendState {
        /// Goes into [`State::round`].
        round: u32,
        /// Goes into [`State::epoch`].
        epoch: Epoch,
    },
    /// All states are here: synchronise services, votes and lives, then [`Reconfig::exchanged`].
    Synchronise(BTreeMap<NodeId, State>),
    /// Step `quorum` begins: decide. [`Reconfig::finished`] when it is over.
    Decide,
}

/// The reconfiguration of one regular configuration.
struct Run {
    ring: RingId,
    members: Vec<NodeId>,
    /// How often it has started again: the same on all members at each place of the order, from the first message on.
    round: u32,
    epoch: Epoch,
    step: StepNumber,
    states: BTreeMap<NodeId, State>,
    /// Some member's userland takes part, as their states say.
    userland: bool,
    /// Members whose word that the step is over was delivered.
    done: BTreeSet<NodeId>,
    /// The local userland's part of the step is over, or it has none.
    userland_done: bool,
    /// This node's part of the step is over.
    finished: bool,
    synchronised: bool,
    /// The configuration is being left: nothing begins any more.
    leaving: bool,
    deadline: Boottime,
}

impl Reconfig {
    /// At start.
    #[must_use]
    pub fn new(step_limit: Span) -> Self {
        Self {
            step_limit,
            seen: Epoch::new(0),
            participant: false,
            disks: None,
            run: None,
            notice: None,
            outputs: Vec::new(),
            actions: Vec::new(),
        }
    }

    /// Steps that begin from now on may take this long.
    pub fn set_step_limit(&mut self, step_limit: Span) {
        self.step_limit = step_limit;
    }

    /// What is to be told; drain after every call.
    pub fn take_outputs(&mut self) -> Vec<Output> {
        std::mem::take(&mut self.outputs)
    }

    /// What is to be done; drain after every call.
    pub fn take_actions(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.actions)
    }

    /// The last notice.
    #[must_use]
    pub fn notice(&self) -> Option<&StepNotice> {
        self.notice.as_ref()
    }

    /// The exchange of the current ring is complete, so that ordered messages can be acted on.
    #[must_use]
    pub fn is_synchronised(&self) -> bool {
        self.run.as_ref().is_some_and(|r| r.synchronised)
    }

    /// The step that runs.
    #[must_use]
    pub fn step(&self) -> Option<StepNumber> {
        self.run.as_ref().filter(|r| !r.leaving).map(|r| r.step)
    }

    /// The configuration is being left: no step begins or ends here any more. States may still complete.
    pub fn leaving(&mut self) {
        if let Some(run) = self.run.as_mut().filter(|r| !r.leaving) {
            run.leaving = true;
            if run.step != END {
                self.tell(StepPhase::Aborted);
            }
        }
    }

    /// A regular configuration: everything before is void, step `sync` begins.
    pub fn install(&mut self, now: Boottime, ring: RingId, members: &[NodeId]) {
        self.leaving();
        self.seen = Epoch::new(self.seen.get() + 1);
        self.run = Some(Run {
            ring,
            members: members.to_vec(),
            round: 0,
            epoch: self.seen,
            step: SYNC,
            states: BTreeMap::new(),
            userland: false,
            done: BTreeSet::new(),
            userland_done: false,
            finished: false,
            synchronised: false,
            leaving: false,
            deadline: now + self.step_limit,
        });
        self.tell(StepPhase::Begin);
        self.actions.push(Action::SendState { round: 0, epoch: self.seen });
    }

    /// The state of a member, in its place of the order.
    pub fn deliver_state(&mut self, sender: NodeId, state: State) {
        let Some(run) = &mut self.run else { return };
        if run.synchronised || state.ring != run.ring || state.round != run.round {
            return;
        }
        if !run.members.contains(&sender) {
            return;
        }
        run.states.insert(sender, state);
        if run.states.len() < run.members.len() {
            return;
        }
        run.synchronised = true;
        let states = std::mem::take(&mut run.states);
        run.epoch = states.values().map(|s| s.epoch).fold(run.epoch, Epoch::max);
        run.userland = states.values().any(|s| s.participates);
        self.seen = self.seen.max(run.epoch);
        self.actions.push(Action::Synchronise(states));
    }

    /// What the states said has taken effect here: step `sync` is over, on all members alike.
    pub fn exchanged(&mut self, now: Boottime) {
        if self.run.as_ref().is_some_and(|r| !r.leaving && r.synchronised && r.step == SYNC) {
            self.tell(StepPhase::Done);
            self.begin(now, QUORUM);
        }
    }

    /// Whether the local userland takes part or there are data disks, for [`State::participates`].
    #[must_use]
    pub fn participates(&self) -> bool {
        self.participant || self.disks.is_some()
    }

    /// This node has data disks, and is so far with them.
    pub fn set_disks(&mut self, disks: Disks) {
        self.disks = Some(disks);
        if self.step() == Some(FENCE) {
            self.finish();
        }
    }

    /// A member's word that it has ended a step, in its place of the order.
    pub fn deliver_done(
        &mut self,
        now: Boottime,
        sender: NodeId,
        ring: RingId,
        epoch: Epoch,
        step: StepNumber,
    ) {
        let Some(run) = &mut self.run else { return };
        if run.leaving || (ring, epoch, step) != (run.ring, run.epoch, run.step) || step == END {
            return;
        }
        if run.members.contains(&sender) {
            run.done.insert(sender);
        }
        if run.done.len() == run.members.len() {
            let next = if run.userland { StepNumber::new(step.get() + 1) } else { END };
            self.tell(StepPhase::Done);
            self.begin(now, next);
        }
    }

    /// A member asks to start this reconfiguration again, in its place of the order. The first of several counts.
    pub fn deliver_again(&mut self, now: Boottime, ring: RingId, round: u32) {
        let Some(run) = &mut self.run else { return };
        if run.leaving || (ring, round) != (run.ring, run.round) || run.step == END {
            return;
        }
        self.tell(StepPhase::Aborted);
        self.restart(now);
    }

    /// This node's part of the current step is over. `true` the first time that nothing else of it is left.
    pub fn finished(&mut self) -> bool {
        self.finish()
    }

    /// The userland's word that its part of a step is over.
    ///
    /// # Errors
    /// `NotExist` if that step does not run (any more).
    pub fn userland_done(&mut self, epoch: Epoch, step: StepNumber) -> Result<(), Refusal> {
        let runs = self.run.as_ref().is_some_and(|r| !r.leaving && (r.epoch, r.step) == (epoch, step));
        if !runs || !is_userlands(step) {
            return Err(Refusal::NotExist);
        }
        self.run.iter_mut().for_each(|r| r.userland_done = true);
        self.finish();
        Ok(())
    }

    /// Whether the local userland takes part. One that vanishes inside a step has not done it: the reconfiguration
    /// starts again without it.
    pub fn participant(&mut self, takes_part: bool) {
        let vanished = self.participant && !takes_part;
        self.participant = takes_part;
        if let Some(run) = self.run.as_ref().filter(|r| vanished && !r.leaving && !r.userland_done)
            && is_userlands(run.step)
        {
            self.ask_again();
        }
    }

    /// Looks at the limit of the step.
    pub fn handle_timeout(&mut self, now: Boottime) {
        let Some(run) = &mut self.run else { return };
        if run.leaving || run.step == END || now < run.deadline {
            return;
        }
        run.deadline = now + self.step_limit;
        let here = |node: &NodeId| {
            if run.step == SYNC { run.states.contains_key(node) } else { run.done.contains(node) }
        };
        let missing: Vec<NodeId> = run.members.iter().filter(|n| !here(n)).copied().collect();
        self.outputs.push(Output::Event(Event::StepLate { step: run.step, missing }));
        if run.round < RESTARTS_MAX {
            self.ask_again();
        }
    }

    /// When the step is late.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Boottime> {
        self.run.as_ref().filter(|r| !r.leaving && r.step != END).map(|r| r.deadline)
    }

    fn ask_again(&mut self) {
        if let Some(run) = &self.run {
            let again = Message::StepAgain { ring: run.ring, round: run.round };
            self.actions.push(Action::Send(again.encode()));
        }
    }

    fn restart(&mut self, now: Boottime) {
        let Some(run) = &mut self.run else { return };
        run.round += 1;
        run.epoch = Epoch::new(run.epoch.get() + 1);
        self.seen = self.seen.max(run.epoch);
        if run.synchronised {
            return self.begin(now, QUORUM);
        }
        run.states.clear();
        run.deadline = now + self.step_limit;
        let (round, epoch) = (run.round, run.epoch);
        self.actions.push(Action::SendState { round, epoch });
        self.tell(StepPhase::Begin);
    }

    fn begin(&mut self, now: Boottime, step: StepNumber) {
        let Some(run) = &mut self.run else { return };
        run.step = step;
        run.done.clear();
        run.userland_done = !self.participant;
        run.finished = false;
        run.deadline = now + self.step_limit;
        if step == END {
            return self.tell(StepPhase::Done);
        }
        self.tell(StepPhase::Begin);
        match step {
            QUORUM => self.actions.push(Action::Decide),
            _ => {
                self.finish();
            }
        }
    }

    /// Tells the others that this node has ended the current step, once, if nothing of it is left.
    fn finish(&mut self) -> bool {
        let disks = self.disks;
        let ready = |r: &&mut Run| {
            let disks = match r.step {
                QUORUM => disks.is_none_or(|d| !d.busy),
                FENCE => disks.is_none_or(|d| d.fenced == Some(r.epoch)),
                _ => true,
            };
            let userland = !is_userlands(r.step) || r.userland_done;
            disks && userland && !r.leaving && !r.finished && r.step != END
        };
        let Some(run) = self.run.as_mut().filter(ready) else { return false };
        run.finished = true;
        let done = Message::StepDone { ring: run.ring, epoch: run.epoch, step: run.step };
        self.actions.push(Action::Send(done.encode()));
        true
    }

    fn tell(&mut self, phase: StepPhase) {
        let Some(run) = &self.run else { return };
        let notice =
            StepNotice { epoch: run.epoch, ring: run.ring, step: run.step, name: name(run.step), phase };
        self.outputs.push(Output::Step(notice.clone()));
        self.notice = Some(notice);
    }
}

fn is_userlands(step: StepNumber) -> bool {
    step == FENCE || step == RESOURCES
}

fn name(step: StepNumber) -> &'static str {
    match step {
        SYNC => "sync",
        QUORUM => "quorum",
        FENCE => "fence",
        RESOURCES => "resources",
        _ => "end",
    }
}

/// Restarts of one configuration because of the limit; after them a late step is only reported.
const RESTARTS_MAX: u32 = 3;

#[cfg(test)]
mod tests;
