//! The ring: Totem's single-ring protocol as a state machine without I/O.
//!
//! After Amir, Moser, Melliar-Smith, Agarwal and Ciarfella, "The Totem single-ring ordering and membership protocol",
//! ACM TOCS 13(4), 1995, and extended virtual synchrony (ICDCS 1994). Opened frames, timer expiries and the current
//! time go in; frames, messages in total order, configurations and events come out of [`Ring::poll_output`].
//!
//! | state | leaves to | when |
//! |---|---|---|
//! | Gather | Commit | all that are not held failed say the same; or the commit token names just these |
//! | Gather | Gather | a join, a merge, a suspicion or silence changes who is considered or held failed |
//! | Commit | Recovery | the commit token comes with everybody's entry |
//! | Commit | Gather | token lost; a member of the new ring is suspected, leaves or has changed its mind |
//! | Recovery | Operational | the token says that everybody has all frames of its old ring |
//! | Recovery | Gather | token lost; a member of the new ring is suspected, leaves or gathers again |
//! | Operational | Gather | token lost; a member is suspected, leaves or gathers; another ring shows itself |
//! | any | Left | [`Ring::leave`] |
//!
//! Where it differs from the paper and from corosync:
//!
//! * A suspected member is held failed at once. Gather ends when all that are left agree; only a silent node that
//!   nobody has news of costs the consensus timeout.
//! * Joins carry the sender's incarnation and a counter, so a late one is recognised as such.
//! * Recovery counts by masks in the token instead of rotations: which members may still have old frames to send,
//!   and which have all. Where nobody lacks anything the first token of the new ring installs it.
//! * Frames that one known member has are sent again by that member only.
//! * The cut between what is delivered in the old regular configuration and in the transitional one is computed from
//!   the commit token alone, so it is the same for all that go together; nothing behind a hole is lost that EVS lets
//!   through.
//! * The token leaves before most of the frames of a visit do; holes are asked for when they had a rotation's time.
//! * No ring sequence number above the durable reservation is used, so that none is ever used twice.

mod clique;
mod commit;
mod contact;
mod flow;
mod gather;
mod history;
mod operational;
mod pack;
mod reach;
mod recovery;
mod reservation;
mod timer;
mod turn;
mod window;

#[cfg(test)]
mod testnet;

use std::collections::{BTreeMap, VecDeque};

use holdfast_types::{Boottime, Incarnation, MsgSeq, NodeId, RingId};

use self::commit::{Forming, Parts};
use self::contact::Better;
use self::flow::Flow;
use self::gather::{Cause, Gather, Peer};
use self::history::History;
use self::pack::{Assembler, SendQueue};
use self::reservation::Reservation;
use self::timer::{Timer, TimerTable};
use self::turn::Turn;
use crate::bytes::Pool;
use crate::limits::{PACKET_SAFE, QUEUE_MESSAGES_MAX, WINDOW_FRAMES_MAX};
use crate::wire::{
    FRAME_PAYLOAD_MAX, FrameKind, HoldCancel, Join, Mcast, MergeDetect, NodeSet, Token, WireError, frame_of,
};
use crate::{
    Bytes, Configuration, Destination, Event, Guarantee, HeldOut, NodeEntry, Refusal, RejectReason,
    RingChange, Settings, Stats, TokenTimes,
};

/// What a ring is told at start.
#[derive(Clone, Debug)]
pub struct RingConfig {
    /// This node.
    pub me: NodeId,
    /// All configured nodes, this one included, with their votes: the best clique is the one with the most.
    pub nodes: Vec<NodeEntry>,
    /// This life of the daemon.
    pub incarnation: Incarnation,
    /// Intervals, limits and window.
    pub settings: Settings,
    /// Bytes of chunks in one frame, at most [`crate::wire::FRAME_PAYLOAD_MAX`]; smaller in tests.
    pub frame_payload_max: usize,
    /// Highest ring sequence number that an earlier life may have used.
    pub ring_seq_reserved: u64,
}

/// What a ring wants done, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RingOutput {
    /// Send a frame.
    Send {
        /// To whom.
        to: Destination,
        /// Ahead of data.
        urgent: bool,
        /// A frame as [`Ring::handle_frame`] takes it, at most [`crate::wire::FRAME_MAX`] bytes.
        frame: Bytes,
    },
    /// A message in its place of the total order.
    Deliver {
        /// The regular configuration it was sent in.
        ring: RingId,
        /// Who submitted it.
        sender: NodeId,
        /// The message.
        payload: Bytes,
    },
    /// A configuration was installed.
    Configuration(Configuration),
    /// Make "no ring sequence number above this is used" durable, then call [`Ring::handle_persisted`].
    Persist(u64),
    /// For log and counters.
    Event(Event),
}

/// What is held against a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suspicion {
    /// This node has not heard it for too long. Others may.
    Silent,
    /// Firm news: it left, its daemon or its node is dead.
    Gone,
}

/// States of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Finding out who is there.
    Gather,
    /// All agree; the commit token is on its way.
    Commit,
    /// Frames of the old rings are exchanged on the new one.
    Recovery,
    /// The token turns, messages are ordered.
    Operational,
    /// Left for good, by [`Ring::leave`].
    Left,
}

/// One node's side of the ring.
///
/// Calling order: [`Ring::handle_timeout`] first on every wake-up, then inputs with the same or a later `now`; after
/// each call [`Ring::poll_output`] until it is empty. The order of outputs has meaning: what is delivered before a
/// configuration belongs to the one before.
pub struct Ring {
    config: RingConfig,
    me: NodeId,
    state: State,
    timers: TimerTable,
    outputs: VecDeque<RingOutput>,
    stats: Stats,
    history: History,
    queue: SendQueue,
    assembler: Assembler,
    /// Buffers of frames.
    pool: Pool,
    /// What a visit of the token sends; empty between visits.
    frames: Vec<Bytes>,
    reservation: Reservation,
    /// The last regular configuration that was installed, with its frames.
    installed: Turn,
    /// Nothing was ever installed: `installed` is the configuration of a node that has just started, with itself as
    /// only member, no frame, and an id that no ring has.
    newborn: bool,
    /// Frames of the installed ring up to here were delivered.
    delivered: MsgSeq,
    /// Mask over the installed ring's members: whose frames must be delivered even behind a hole, because another
    /// ring that was never installed here could count on it.
    obligations: u64,
    /// All configured nodes.
    nodes: NodeSet,
    gather: Gather,
    peers: BTreeMap<NodeId, Peer>,
    /// Nodes outside that the ring is kept from, for want of reach.
    held_out: Vec<HeldOut>,
    better: Better,
    /// Before then this node was not there to listen.
    listening_since: Boottime,
    /// The ring that Commit and Recovery are about.
    forming: Option<Forming>,
    parts: Parts,
    /// The token, while it stays here: on a quiet ring, or because this node is alone.
    held: Option<Token>,
    /// A hold-cancel was sent since the token was here.
    cancel_sent: bool,
    /// Local clients do not keep up with what is delivered.
    lagging: bool,
    /// All members have something to say, one after the other: the token stays with nobody.
    in_round: bool,
    /// The token may be kept here for the next message up to then, and for so many visits.
    linger_until: Boottime,
    linger_visits: u32,
}

impl Ring {
    /// A node that has just started: it gathers.
    #[must_use]
    pub fn new(mut config: RingConfig, now: Boottime) -> Self {
        config.nodes.sort_unstable_by_key(|node| node.id);
        config.nodes.dedup_by_key(|node| node.id);
        config.frame_payload_max = config.frame_payload_max.clamp(16, FRAME_PAYLOAD_MAX);
        let me = config.me;
        let flow = flow(&config);
        let mut ring = Self {
            me,
            state: State::Gather,
            timers: TimerTable::default(),
            outputs: VecDeque::new(),
            stats: Stats::default(),
            history: History::default(),
            queue: SendQueue::default(),
            assembler: Assembler::default(),
            pool: Pool::new(frame_of(PACKET_SAFE), window::CAPACITY),
            frames: Vec::new(),
            reservation: Reservation::new(config.ring_seq_reserved),
            installed: Turn::new(RingId { representative: me, seq: 0 }, NodeSet::of(me), flow),
            newborn: true,
            delivered: MsgSeq::new(0),
            obligations: 0,
            nodes: config.nodes.iter().map(|node| node.id).collect(),
            gather: Gather::new(NodeSet::of(me)),
            peers: BTreeMap::new(),
            held_out: Vec::new(),
            better: Better::default(),
            listening_since: now,
            forming: None,
            parts: Parts::default(),
            held: None,
            cancel_sent: false,
            lagging: false,
            in_round: false,
            linger_until: now,
            linger_visits: 0,
            config,
        };
        ring.reserve();
        ring.begin_episode(now);
        ring.enter_gather(now, Cause::Start);
        ring
    }

    /// An authenticated frame: token, mcast, join, commit, merge-detect or hold-cancel. Bytes that are none of these
    /// are counted and change nothing.
    pub fn handle_frame(&mut self, now: Boottime, from: NodeId, frame: &[u8]) {
        if self.state == State::Left || from == self.me {
            return;
        }
        self.heard(now, from);
        if self.dispatch(now, from, frame).is_err() {
            self.stats.reject(RejectReason::Content);
            self.outputs.push_back(RingOutput::Event(Event::PacketRejected {
                why: RejectReason::Content,
                claims: None,
            }));
        }
    }

    fn dispatch(&mut self, now: Boottime, from: NodeId, frame: &[u8]) -> Result<(), WireError> {
        let kind = FrameKind::of(frame)?;
        self.stats.count_received(kind);
        match kind {
            FrameKind::Token => self.handle_token(now, from, Token::decode(frame)?),
            FrameKind::Mcast => self.handle_mcast(now, from, Mcast::decode(frame)?, frame),
            FrameKind::Join => self.handle_join(now, from, Join::decode(frame)?),
            FrameKind::Commit => self.handle_commit(now, from, crate::wire::Commit::decode(frame)?),
            FrameKind::MergeDetect => self.handle_merge_detect(now, from, MergeDetect::decode(frame)?),
            FrameKind::HoldCancel => self.handle_hold_cancel(now, from, HoldCancel::decode(frame)?),
        }
        Ok(())
    }

    /// Call it first on every wake-up.
    pub fn handle_timeout(&mut self, now: Boottime) {
        for timer in Timer::ALL {
            if self.timers.take_expired(timer, now) {
                self.fire(now, timer);
            }
        }
    }

    fn fire(&mut self, now: Boottime, timer: Timer) {
        match timer {
            Timer::TokenLoss => self.token_lost(now),
            Timer::TokenLate => self.token_late(now),
            Timer::TokenRetransmit => self.retransmit_token(now),
            Timer::Hold => self.release_token(now),
            Timer::Join => self.join_tick(now),
            Timer::Consensus => self.consensus_timed_out(now),
            Timer::Merge => self.merge_tick(now),
        }
    }

    /// The reservation asked for by [`RingOutput::Persist`] is durable.
    pub fn handle_persisted(&mut self, now: Boottime, ring_seq_reserved: u64) {
        self.reservation.persisted(ring_seq_reserved);
        self.resume_commit(now);
    }

    /// Queues one message of any size up to [`crate::limits::MESSAGE_MAX`]. It survives configuration changes until
    /// it is sent, and is then delivered here too unless this node fails.
    ///
    /// # Errors
    /// [`Refusal::TooBig`]; [`Refusal::TryAgain`] when the queue is full or the node has left.
    pub fn submit(&mut self, now: Boottime, guarantee: Guarantee, payload: &[u8]) -> Result<(), Refusal> {
        self.enqueue(guarantee, |out| out.extend_from_slice(payload))?;
        self.want_token(now);
        Ok(())
    }

    /// As [`Ring::submit`], one of several messages, which `write` adds to what it is given: [`Ring::want_token`] is to be
    /// called after the last one.
    ///
    /// # Errors
    /// As there.
    pub fn enqueue(&mut self, guarantee: Guarantee, write: impl FnOnce(&mut Vec<u8>)) -> Result<(), Refusal> {
        if self.state == State::Left {
            return Err(Refusal::TryAgain);
        }
        self.queue.push(guarantee, write)
    }

    /// Frames made from now on have this many bytes of chunks at most.
    pub fn set_frame_payload_max(&mut self, bytes: usize) {
        self.config.frame_payload_max = bytes.clamp(16, FRAME_PAYLOAD_MAX);
    }

    /// Other intervals, limits and window from now on. What waits for a token waits anew.
    pub fn set_settings(&mut self, now: Boottime, settings: Settings) {
        self.config.settings = settings;
        let (flow, timers) = (self.flow(), &self.config.settings.timers);
        for turn in
            [Some(&mut self.installed), self.forming.as_mut().map(|f| &mut f.turn)].into_iter().flatten()
        {
            turn.flow.bound(&flow);
        }
        if self.timers.is_set(Timer::TokenLoss) {
            self.timers.set(Timer::TokenLoss, now + timers.token);
        }
        if self.timers.is_set(Timer::TokenLate) {
            self.timers.set(Timer::TokenLate, now + timers.token.scale(3, 4));
        }
        for (timer, at) in [
            (Timer::Hold, timers.hold),
            (Timer::Merge, timers.merge),
            (Timer::Join, timers.join),
            (Timer::Consensus, timers.consensus),
        ] {
            self.timers.set_earlier(timer, now + at);
        }
    }

    /// These are all nodes from now on. Members, and those with whom a ring is being formed, are among them.
    pub fn set_nodes(&mut self, now: Boottime, nodes: &[NodeEntry]) {
        self.config.nodes = nodes.to_vec();
        self.nodes = nodes.iter().map(|node| node.id).collect();
        let (nodes, installed) = (&self.nodes, &self.installed.members);
        assert!(installed.is_subset(nodes), "a member is no node any more");
        self.peers.retain(|id, _| nodes.contains(*id));
        self.held_out.retain(|out| nodes.contains(out.node));
        self.better = Better::default();
        if self.state == State::Operational {
            self.timers.set(Timer::Merge, now + self.config.settings.timers.merge);
        }
    }

    /// Whether local clients do not keep up with what is delivered. While they do not, nobody on the ring adds more than a
    /// trickle, and the token rests here for a moment at each visit, so that they get the processor.
    pub fn set_lagging(&mut self, now: Boottime, lagging: bool) {
        if self.lagging != lagging {
            self.lagging = lagging;
            if !lagging && self.held.as_ref().is_some_and(|t| t.lagging != 0) {
                self.release_token(now);
            }
        }
    }

    /// Whether every member is about to say its word, as it does in the steps of a reconfiguration: then the token does
    /// not stay with one that has said little, for its next message.
    pub fn set_in_round(&mut self, in_round: bool) {
        self.in_round = in_round;
    }

    /// Acts at once on what is known of `peers`: the detector's word, or firm news. No effect on those that are neither
    /// members nor considered for the ring that is being formed.
    pub fn suspect(&mut self, now: Boottime, peers: &[NodeId], suspicion: Suspicion) {
        self.hold_failed(now, peers, suspicion == Suspicion::Gone, Cause::Suspect);
    }

    /// The administrator wants the ring formed anew. Where none turns, one is being formed.
    pub fn form_anew(&mut self, now: Boottime) {
        if self.state == State::Operational {
            self.event(Event::Forced);
            self.open_gather(now);
            self.enter_gather(now, Cause::Forced);
        }
    }

    /// Says goodbye to all and falls silent. Messages still queued are lost.
    pub fn leave(&mut self, now: Boottime) {
        if self.state == State::Left {
            return;
        }
        // Twice, because nobody will be there to say it again if the first one is lost.
        for _ in 0..2 {
            self.send_join(now, true);
        }
        self.state = State::Left;
        self.timers.clear();
        self.forming = None;
        self.held = None;
    }

    /// Next thing to do; drain after every call.
    pub fn poll_output(&mut self) -> Option<RingOutput> {
        self.outputs.pop_front()
    }

    /// When [`Ring::handle_timeout`] wants to be called.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Boottime> {
        self.timers.next()
    }

    /// Where the protocol is.
    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    /// The regular configuration installed last; sequence number 0 before the first one.
    #[must_use]
    pub fn ring_id(&self) -> RingId {
        self.installed.id
    }

    /// Its members, ascending. Just this node before the first one.
    #[must_use]
    pub fn members(&self) -> &[NodeId] {
        self.installed.members.as_slice()
    }

    /// Nodes outside that show themselves and that the ring is kept from, and why. Ascending.
    #[must_use]
    pub fn held_out(&self) -> &[HeldOut] {
        &self.held_out
    }

    /// Percent of the send queue in use, 0 to 100.
    #[must_use]
    pub fn queue_level(&self) -> u8 {
        self.queue.level()
    }

    /// Messages of this node that wait in the send queue, and how many more it takes (if they are small).
    #[must_use]
    pub fn queue_room(&self) -> (usize, usize) {
        (self.queue.len(), QUEUE_MESSAGES_MAX - self.queue.len())
    }

    /// Counters since start.
    #[must_use]
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// What the token takes.
    #[must_use]
    pub fn token_times(&self, now: Boottime) -> TokenTimes {
        self.history.token_times(now, self.held.is_some())
    }

    /// The last changes, oldest first.
    pub fn changes(&self) -> impl Iterator<Item = &RingChange> {
        self.history.changes()
    }

    /// The way to another node has changed: a token that was sent and not seen again is sent once more, at once.
    pub fn resend_token(&mut self, now: Boottime) {
        self.timers.set_earlier(Timer::TokenRetransmit, now);
    }

    fn event(&mut self, event: Event) {
        self.outputs.push_back(RingOutput::Event(event));
    }

    fn send(&mut self, to: Destination, urgent: bool, frame: impl Into<Bytes>) {
        let frame = frame.into();
        self.stats.count_sent(&frame);
        self.outputs.push_back(RingOutput::Send { to, urgent, frame });
    }

    fn flow(&self) -> Flow {
        flow(&self.config)
    }

    /// Asks for a higher durable reservation when few sequence numbers are left of the one asked for last.
    fn reserve(&mut self) {
        if let Some(seq) = self.reservation.request() {
            self.outputs.push_back(RingOutput::Persist(seq));
        }
    }
}

/// Rotations may take longer by an eighth of the lease: heartbeat and echo each wait behind data that long, and a heartbeat
/// or two are lost, before the lease ends.
fn flow(config: &RingConfig) -> Flow {
    let settings = &config.settings;
    let window = settings.window_frames.clamp(1, WINDOW_FRAMES_MAX as u32);
    Flow::new(window, settings.frames_per_visit, settings.timers.lease.scale(1, 8))
}
