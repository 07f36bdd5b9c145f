//! What is worth a log line or a counter.

use holdfast_types::{Incarnation, LinkId, NodeId, Span, StepNumber, WallTime};

use super::config::LinkMode;
use super::output::Configuration;
use crate::wire::{Fingerprint, KeyId};

/// Things worth a log line or a counter, with their fields. The daemon's event table turns them into the wording that
/// operators know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// `entering GATHER state from N(text).`
    EnterGather {
        /// corosync's number of the cause.
        cause: u8,
        /// corosync's text of the cause.
        text: &'static str,
    },
    /// `entering COMMIT state.`
    EnterCommit,
    /// `entering RECOVERY state.`
    EnterRecovery,
    /// `entering OPERATIONAL state.`
    EnterOperational,
    /// `A processor failed, forming new configuration: token timed out (…)`.
    TokenLost {
        /// The limit that ran out.
        token: Span,
    },
    /// News of the quorum disk.
    Device(cmm_qdisk::Event),
    /// The disk with reservations.
    Reservation(cmm_scsi::Event),
    /// News of the quorum server.
    Server(cmm_qnet::Event),
    /// A member has been silent for longer than the limit, or there is firm news of it.
    Suspect {
        /// Who.
        node: NodeId,
        /// `heartbeat`, `gasp`, `leave`, `new incarnation`; or the hint after which it answered no probe, in words.
        why: &'static str,
        /// For how long it was silent.
        silent: Span,
    },
    /// Something suggests that a member is gone: it is asked whether it is there.
    Probe {
        /// Who.
        node: NodeId,
        /// What suggests it, in words.
        why: &'static str,
    },
    /// `A new membership (1.a4) was formed. Members joined: 2 left: 3`.
    NewMembership(Configuration),
    /// `Failed to receive the leave message. failed: 3`: these left the ring without having said so.
    LeftSilently {
        /// Who.
        nodes: Vec<NodeId>,
    },
    /// `Forcing into GATHER state`: an administrator wants the ring formed anew.
    Forced,
    /// `Totem is unable to form a cluster because of …`: all agree on a ring, again and again, and it never comes.
    CannotForm,
    /// `Retransmit List: …`.
    Retransmit {
        /// How many frames are asked for.
        frames: u32,
    },
    /// `FAILED TO RECEIVE`.
    FailedToReceive,
    /// The token is late but not lost.
    TokenLate {
        /// For how long.
        late: Span,
    },
    /// `Process pause detected for %d ms, flushing membership messages.`
    Paused {
        /// How long.
        gap: Span,
    },
    /// `link: host: 2 link: 1 is down`, `rx: host: 2 link: 1 is up`.
    Link {
        /// To whom.
        node: NodeId,
        /// Which.
        link: LinkId,
        /// Both sides hear each other again, or no longer.
        up: bool,
        /// Why it is down.
        why: &'static str,
    },
    /// `host: host: 2 (passive) best link: 1 (pri: 1)`, `host: host: 2 has no active links`.
    BestLink {
        /// To whom.
        node: NodeId,
        /// How links are used.
        mode: LinkMode,
        /// The best one that is up, if one is.
        link: Option<LinkId>,
        /// Its priority.
        priority: u8,
        /// How many are up.
        links: u32,
    },
    /// `pmtud: PMTUD link change for host: 2 link: 0 from 1188 to 1428`: the longest frame that a link carries in one packet.
    PathMtu {
        /// To whom.
        node: NodeId,
        /// Which.
        link: LinkId,
        /// Bytes before.
        from: usize,
        /// Bytes now.
        to: usize,
    },
    /// `pmtud: Global data MTU changed to: 1428`: frames of data are no longer than that from now on.
    DataMtu {
        /// Bytes.
        mtu: usize,
    },
    /// A link reaches nobody while others do, or reaches somebody again.
    LinkFaulty {
        /// Which.
        link: LinkId,
        /// It does not.
        faulty: bool,
    },
    /// A packet that does not open or does not parse; counted, changes nothing else.
    PacketRejected {
        /// Which check failed.
        why: RejectReason,
        /// Who it says it is from, where that was looked at and is configured. Anybody can say that.
        claims: Option<NodeId>,
    },
    /// A key was loaded, changed, or forgotten.
    Key(KeyEvent),
    /// A gasp or last word arrived.
    Gasp {
        /// From whom.
        node: NodeId,
        /// Its life.
        incarnation: Incarnation,
        /// Whether it says that the whole process tree was seen empty.
        last_word: bool,
        /// In words.
        why: String,
    },
    /// What a member recorded of the end of an earlier life of this node.
    Testimony {
        /// Who.
        by: NodeId,
        /// Which life.
        life: Incarnation,
        /// Kind of news, as black boxes number them: not checked.
        news: u8,
        /// When, on that member's wall clock.
        at: WallTime,
        /// In words.
        text: String,
    },
    /// `This node is within the primary component and will provide service.` or its opposite.
    Quorate(bool),
    /// Not all hear each other: these go on together and keep out those that do not reach all of them. Told when it
    /// begins, when it changes, and with nobody held out when it is over.
    HeldOut {
        /// The members.
        members: Vec<NodeId>,
        /// Who is kept out, and why. Ascending.
        held_out: Vec<HeldOut>,
    },
    /// A step went over its limit; reconfiguration starts again.
    StepLate {
        /// Which step.
        step: StepNumber,
        /// Who has not finished.
        missing: Vec<NodeId>,
    },
    /// A message of a member that does not decode, or a change of votes that came too late to be right; skipped the
    /// same way everywhere.
    MessageSkipped {
        /// From whom.
        sender: NodeId,
    },
    /// A change of votes that was taken from an administrator here is not made.
    VotesNotChanged {
        /// In words.
        why: &'static str,
    },
}

/// What happens to keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyEvent {
    /// First step: another key is accepted too.
    Accepted {
        /// Which one.
        key: Fingerprint,
        /// Packets are still sealed with this one.
        sealing: Fingerprint,
    },
    /// Second step: packets are sealed with another key.
    Changed {
        /// Which one.
        key: Fingerprint,
        /// Instead of this one.
        old: Fingerprint,
    },
    /// Nobody seals with an older key any more: they are accepted no longer.
    Forgotten {
        /// The only one that is.
        key: Fingerprint,
    },
    /// The file holds the key that is in use.
    Unchanged {
        /// Which one.
        key: Fingerprint,
    },
    /// Other members change to a key that is not in this node's file.
    Missed {
        /// What they want.
        wanted: KeyId,
        /// What is in the file.
        file: Fingerprint,
    },
    /// The key file cannot be used.
    NotLoaded {
        /// Why not.
        why: String,
    },
}

/// A node that shows itself and is kept out of the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeldOut {
    /// Who.
    pub node: NodeId,
    /// The lowest member that it does not reach, or that does not reach it; `None`: they hear each other and do not come
    /// to agree.
    pub cannot_reach: Option<NodeId>,
}

/// Why a packet was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RejectReason {
    /// Shorter than a header, longer than any packet, or wrong magic or version.
    Malformed,
    /// Sealed with a key that this node does not know.
    UnknownKey,
    /// Sealed with a key that was changed for another one.
    OldKey,
    /// Sender is not configured, or is this node.
    UnknownSender,
    /// It came from an address that is not its sender's.
    Address,
    /// The seal does not open.
    Seal,
    /// Counter seen before, or of an older incarnation.
    Replay,
    /// Opened, but its content does not parse.
    Content,
}

impl RejectReason {
    /// All of them, in order.
    pub const ALL: [Self; 8] = [
        Self::Malformed,
        Self::UnknownKey,
        Self::OldKey,
        Self::UnknownSender,
        Self::Address,
        Self::Seal,
        Self::Replay,
        Self::Content,
    ];

    /// One word, for logs and keys.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::UnknownKey => "unknown_key",
            Self::OldKey => "old_key",
            Self::UnknownSender => "unknown_sender",
            Self::Address => "address",
            Self::Seal => "seal",
            Self::Replay => "replay",
            Self::Content => "content",
        }
    }
}
