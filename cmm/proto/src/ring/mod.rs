//! The Totem single-ring protocol as a state machine without I/O.

use holdfast_types::{Boottime, Incarnation, NodeId, RingId};

use crate::{Configuration, Destination, Event, Guarantee, Refusal, Stats, Timers};

/// What a ring is told at start.
#[derive(Clone, Debug)]
pub struct RingConfig {
    /// This node.
    pub me: NodeId,
    /// All configured nodes, this one included.
    pub nodes: Vec<NodeId>,
    /// This life of the daemon.
    pub incarnation: Incarnation,
    /// Intervals and limits.
    pub timers: Timers,
    /// Frames all members together may send a rotation.
    pub window_frames: u32,
    /// Frames one member may send a token visit.
    pub frames_per_visit: u32,
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
        frame: Vec<u8>,
    },
    /// A message in its place of the total order.
    Deliver {
        /// The regular configuration it was sent in.
        ring: RingId,
        /// Who submitted it.
        sender: NodeId,
        /// The message.
        payload: Vec<u8>,
    },
    /// A configuration was installed.
    Configuration(Configuration),
    /// Make "no ring sequence number above this is used" durable, then call [`Ring::handle_persisted`].
    Persist(u64),
    /// For log and counters.
    Event(Event),
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
pub struct Ring {
    config: RingConfig,
    state: State,
    id: RingId,
    members: crate::wire::NodeSet,
    stats: Stats,
}

impl Ring {
    /// A node that has just started: it gathers.
    #[must_use]
    pub fn new(config: RingConfig, _now: Boottime) -> Self {
        let id = RingId { representative: config.me, seq: 0 };
        let members = crate::wire::NodeSet::of(config.me);
        Self { config, state: State::Gather, id, members, stats: Stats::default() }
    }

    /// An authenticated frame: token, mcast, join, commit, merge-detect or hold-cancel.
    pub fn handle_frame(&mut self, _now: Boottime, _from: NodeId, _frame: &[u8]) {}

    /// Call it first on every wake-up.
    pub fn handle_timeout(&mut self, _now: Boottime) {}

    /// The reservation asked for by [`RingOutput::Persist`] is durable.
    pub fn handle_persisted(&mut self, _now: Boottime, _ring_seq_reserved: u64) {}

    /// Queues one message of any size up to [`crate::limits::MESSAGE_MAX`]. It survives configuration changes until
    /// it is sent, and is then delivered here too unless this node fails.
    pub fn submit(&mut self, _now: Boottime, _guarantee: Guarantee, _payload: &[u8]) -> Result<(), Refusal> {
        Err(Refusal::TryAgain)
    }

    /// Holds `peer` failed at once: detector or firm news.
    pub fn suspect(&mut self, _now: Boottime, _peer: NodeId, _why: &'static str) {}

    /// Says goodbye to all and falls silent.
    pub fn leave(&mut self, _now: Boottime) {
        self.state = State::Left;
    }

    /// Next thing to do; drain after every call.
    pub fn poll_output(&mut self) -> Option<RingOutput> {
        None
    }

    /// When [`Ring::handle_timeout`] wants to be called.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Boottime> {
        None
    }

    /// Where the protocol is.
    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    /// The regular configuration installed last.
    #[must_use]
    pub fn ring_id(&self) -> RingId {
        self.id
    }

    /// Its members, ascending.
    #[must_use]
    pub fn members(&self) -> &[NodeId] {
        self.members.as_slice()
    }

    /// Percent of the send queue in use.
    #[must_use]
    pub fn queue_level(&self) -> u8 {
        let _ = &self.config;
        0
    }

    /// Counters since start.
    #[must_use]
    pub fn stats(&self) -> &Stats {
        &self.stats
    }
}
