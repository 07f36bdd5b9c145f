//! Planted bugs: changes to what a node does or is told, made outside of it. Each must be found by the invariants;
//! a harness that finds nothing proves nothing.

use cmm_proto::{ConfigurationKind, CpgEvent, Output, StepPhase};
use holdfast_types::{NodeId, StepNumber};

use crate::clock::{Instant, MS};
use crate::random::{Random, Stream};

/// A bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Bug {
    /// A delivery is suppressed on one node.
    DropDelivery,
    /// A delivery happens twice.
    DeliverTwice,
    /// Two deliveries change places on one node.
    SwapDeliveries,
    /// One byte of a message is another one.
    AlterMessage,
    /// Clients learn half a second late that the node is not quorate.
    QuorateTooLong,
    /// Quorum is announced as soon as a majority is there, without waiting for leases.
    QuorateAtOnce,
    /// A ring id is used for a second time with other members.
    ReuseRingId,
    /// A ring is installed whose number is not durable: what was written is forgotten at a crash.
    ForgetRecord,
    /// A node that starts has forgotten how long a lease its earlier lives gave.
    ForgetPromise,
    /// A node that starts has forgotten which node table counts.
    ForgetTables,
    /// A node that starts takes itself for the one that breaks ties.
    OwnTie,
    /// A member is missing from a configuration.
    LoseMember,
    /// The node itself is missing from a configuration.
    LoseMyself,
    /// A member is missing from a transitional configuration.
    LoseTransitional,
    /// The transitional configuration comes after the messages that follow it.
    LateTransitional,
    /// A change of a group is not told.
    DropConfchg,
    /// A client's death is not told to the daemon.
    GhostClient,
    /// A step begins before the one before it has ended everywhere.
    StepTooEarly,
    /// A damaged packet makes the node answer.
    AnswerDamaged,
    /// After a pause packets are read before the timers are looked at.
    ReadBeforeTimers,
    /// A fence agent lies: the node lives.
    FenceLies,
    /// After the faults have stopped one node no longer hears anything.
    Deaf,
    /// One node's messages never leave their queue: accepted and forgotten.
    ForgetMessages,
    /// An echo is counted that was never sent: leases never end. Heartbeats are older than they say.
    StaleQuorum,
    /// Blocks on a quorum disk say that their owners' leases are shorter than they are.
    ShortDiskLease,
    /// Whoever held the reservation of a disk once sees itself as its holder for ever.
    StaleReservation,
    /// The quorum server gives its word to everybody.
    GenerousServer,
    /// Something on the way answers echo requests though the quorum server is not connected any more.
    HollowEchoes,
    /// A quorum disk loses writes, and shows them to whoever wrote them.
    LostWrites,
}

/// Where and how often a bug strikes.
#[derive(Debug)]
pub struct Saboteur {
    /// Which bug, if any.
    pub bug: Option<Bug>,
    /// How often it struck.
    pub struck: u64,
    rng: Random,
    held: Vec<(usize, Output)>,
}

impl Saboteur {
    /// One for a run.
    #[must_use]
    pub fn new(seed: u64, bug: Option<Bug>) -> Self {
        Self { bug, struck: 0, rng: Random::new(seed, Stream::Sabotage), held: Vec::new() }
    }

    /// Whether the bug is this one, and strikes now with the given chance in a million.
    pub fn strikes(&mut self, bug: Bug, ppm: u32) -> bool {
        if self.bug != Some(bug) || !self.rng.chance(ppm) {
            return false;
        }
        self.struck += 1;
        true
    }

    /// What comes out instead of `output` of the node with this index and id, now and later.
    pub fn pass(
        &mut self,
        node: usize,
        id: NodeId,
        output: Output,
    ) -> (Vec<Output>, Option<(Instant, Output)>) {
        let Some(bug) = self.bug else { return (vec![output], None) };
        let now = match (bug, output) {
            (Bug::DropDelivery, o @ Output::Cpg { event: CpgEvent::Deliver { .. }, .. })
                if self.strikes(bug, 20_000) =>
            {
                drop(o);
                vec![]
            }
            (Bug::DeliverTwice, o @ Output::Cpg { event: CpgEvent::Deliver { .. }, .. })
                if self.strikes(bug, 20_000) =>
            {
                vec![o.clone(), o]
            }
            (Bug::SwapDeliveries, o @ Output::Cpg { event: CpgEvent::Deliver { .. }, .. }) => {
                self.swap(node, o, Bug::SwapDeliveries)
            }
            (
                Bug::AlterMessage,
                Output::Cpg { conn, event: CpgEvent::Deliver { group, sender, fragment, payload } },
            ) if payload.len() > 24 && self.strikes(bug, 20_000) => {
                let mut bytes = payload.to_vec();
                let at = 24 + self.rng.index(bytes.len() - 24);
                bytes[at] ^= 0x10;
                let event = CpgEvent::Deliver { group, sender, fragment, payload: bytes.into() };
                vec![Output::Cpg { conn, event }]
            }
            (Bug::QuorateTooLong, Output::Quorum(view)) if !view.quorate => {
                self.struck += 1;
                return (vec![], Some((500 * MS, Output::Quorum(view))));
            }
            (Bug::QuorateAtOnce, Output::Quorum(mut view)) => {
                if view.waits_for_lease || view.reason.contains("lease") {
                    self.struck += 1;
                    view.quorate = view.total >= view.quorum;
                }
                vec![Output::Quorum(view)]
            }
            (Bug::ReuseRingId, Output::Configuration(mut c))
                if c.kind == ConfigurationKind::Regular && self.strikes(bug, 200_000) =>
            {
                c.ring.seq = c.ring.seq.saturating_sub(8).max(1);
                vec![Output::Configuration(c)]
            }
            (Bug::LoseMember, Output::Configuration(mut c))
                if c.kind == ConfigurationKind::Regular
                    && c.members.len() > 1
                    && self.strikes(bug, 200_000) =>
            {
                let last = c.members.iter().copied().rfind(|m| *m != id);
                c.members.retain(|m| Some(*m) != last);
                vec![Output::Configuration(c)]
            }
            (Bug::LoseMyself, Output::Configuration(mut c)) if self.strikes(bug, 200_000) => {
                c.members.retain(|m| *m != id);
                vec![Output::Configuration(c)]
            }
            (Bug::LoseTransitional, Output::Configuration(mut c))
                if c.kind == ConfigurationKind::Transitional
                    && c.members.len() > 1
                    && self.strikes(bug, 300_000) =>
            {
                let gone = c.members.iter().copied().find(|m| *m != id);
                c.members.retain(|m| Some(*m) != gone);
                vec![Output::Configuration(c)]
            }
            (Bug::LateTransitional, Output::Configuration(c))
                if c.kind == ConfigurationKind::Transitional =>
            {
                self.struck += 1;
                self.held.push((node, Output::Configuration(c)));
                vec![]
            }
            (Bug::LateTransitional, o @ Output::Configuration(_)) => {
                let mut outputs = self.take_held(node);
                outputs.push(o);
                outputs
            }
            (Bug::DropConfchg, o @ Output::Cpg { event: CpgEvent::Confchg { .. }, .. }) => {
                if self.strikes(bug, 100_000) { vec![] } else { vec![o] }
            }
            (Bug::StepTooEarly, Output::Step(notice)) if notice.phase == StepPhase::Begin => {
                let mut next = notice.clone();
                next.step = StepNumber::new(next.step.get() + 1);
                self.struck += 1;
                vec![Output::Step(notice), Output::Step(next)]
            }
            (Bug::StaleQuorum, Output::Quorum(mut view)) => {
                self.struck += u64::from(!view.quorate);
                view.quorate = view.total >= view.quorum;
                vec![Output::Quorum(view)]
            }
            (_, output) => vec![output],
        };
        (now, None)
    }

    /// The node is dead: what was held back of it never comes.
    pub fn forget(&mut self, node: usize) {
        self.held.retain(|(n, _)| *n != node);
    }

    fn swap(&mut self, node: usize, output: Output, bug: Bug) -> Vec<Output> {
        let mut held = self.take_held(node);
        if held.is_empty() && self.strikes(bug, 50_000) {
            self.held.push((node, output));
            return vec![];
        }
        held.insert(0, output);
        held
    }

    fn take_held(&mut self, node: usize) -> Vec<Output> {
        let at = self.held.iter().position(|(n, _)| *n == node);
        at.map(|at| self.held.swap_remove(at).1).into_iter().collect()
    }
}
