//! What goes into a [`Node`](crate::Node) and what comes out of it.

use std::sync::Arc;

use holdfast_types::{
    BootId, Boottime, ConnId, Epoch, Histogram, Incarnation, LinkId, LinkSet, NodeId, RingId, Span,
    StepNumber, Votes,
};

use crate::wire::{ClusterKey, Fingerprint, KeyId};

/// Everything a node is told at start. Derived from corosync.conf by the daemon, from the seed by the simulator.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// `totem.cluster_name`; part of what every packet is bound to.
    pub cluster_name: String,
    /// This node.
    pub me: NodeId,
    /// All configured nodes, this one included, in ascending order of id.
    pub nodes: Vec<NodeEntry>,
    /// Secret that seals packets: from the key file, or made from the cluster name.
    pub key: ClusterKey,
    /// This life of the daemon; greater than that of every earlier start on this node.
    pub incarnation: Incarnation,
    /// Which boot of the machine this is.
    pub boot_id: BootId,
    /// Highest ring sequence number that may have been used by an earlier life (as persisted).
    pub ring_seq_reserved: u64,
    /// Intervals and limits.
    pub timers: Timers,
    /// Ring window in frames a rotation, all members together (`totem.window_size`).
    pub window_frames: u32,
    /// Frames one member may send a token visit (`totem.max_messages`).
    pub frames_per_visit: u32,
    /// Votes and quorum options.
    pub quorum: QuorumConfig,
    /// Links and how they are used.
    pub links: LinksConfig,
}

/// The links of the cluster: every node has the same ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinksConfig {
    /// Which links carry a packet.
    pub mode: LinkMode,
    /// In ascending order of id, at least one, at most [`crate::limits::LINKS_MAX`].
    pub links: Vec<LinkConfig>,
}

/// One link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkConfig {
    /// `ringN_addr`, `linknumber: N`.
    pub id: LinkId,
    /// `knet_link_priority`: the highest one that is up is used in passive mode, of equal ones the lowest link.
    pub priority: u8,
    /// `knet_ping_timeout`: silence after which it is down; `None`: when four beats are missing.
    pub limit: Option<Span>,
    /// `knet_pong_count`: beats in a row that bring it back.
    pub recover: u8,
}

/// `link_mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkMode {
    /// The best link carries everything.
    Passive,
    /// Every link carries everything.
    Active,
}

impl LinksConfig {
    /// `count` links of the same priority, from 0 on.
    #[must_use]
    pub fn equal(count: u8, mode: LinkMode) -> Self {
        let link = |id| LinkConfig { id: LinkId::new(id), priority: 1, limit: None, recover: 2 };
        Self { mode, links: (0..count).map(link).collect() }
    }

    /// All of them.
    #[must_use]
    pub fn all(&self) -> LinkSet {
        self.links.iter().map(|l| l.id).collect()
    }

    /// What is wrong with them, if anything.
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        if self.links.is_empty() || self.links.windows(2).any(|w| w[0].id >= w[1].id) {
            return Err("at least one, in ascending order, each once");
        }
        if self.links.iter().any(|l| usize::from(l.id.get()) >= crate::limits::LINKS_MAX) {
            return Err("numbers are 0 to 7");
        }
        Ok(())
    }

    /// The one of these with the highest priority, the lowest of equal ones.
    #[must_use]
    pub fn best_of(&self, links: LinkSet) -> Option<LinkId> {
        let among = self.links.iter().filter(|l| links.contains(l.id));
        among.min_by_key(|l| (std::cmp::Reverse(l.priority), l.id)).map(|l| l.id)
    }

    /// Priority of a link; 0 if there is no such link.
    #[must_use]
    pub fn priority(&self, link: LinkId) -> u8 {
        self.get(link).map_or(0, |l| l.priority)
    }

    pub(crate) fn limit(&self, link: LinkId) -> Option<Span> {
        self.get(link).and_then(|l| l.limit)
    }

    pub(crate) fn recover(&self, link: LinkId) -> u8 {
        self.get(link).map_or(1, |l| l.recover.max(1))
    }

    fn get(&self, link: LinkId) -> Option<&LinkConfig> {
        self.links.iter().find(|l| l.id == link)
    }
}

/// One configured node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeEntry {
    /// Its id.
    pub id: NodeId,
    /// `nodelist.node.N.quorum_votes`, 1 by default.
    pub votes: Votes,
}

/// Intervals and limits, named as in corosync.conf where that has the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timers {
    /// A token not seen for this long is lost (`totem.token`).
    pub token: Span,
    /// The last token is sent again when nothing was heard for this long.
    pub token_retransmit: Span,
    /// How long the representative keeps the token of a quiet ring.
    pub hold: Span,
    /// Interval of JOIN packets in Gather.
    pub join: Span,
    /// Gather waits this long for a silent node that is not known to be gone.
    pub consensus: Span,
    /// Interval of merge-detect packets on a quiet ring.
    pub merge: Span,
    /// Rotations with a stuck aru before a member counts as failed to receive.
    pub fail_recv_rotations: u32,
    /// Interval of heartbeats to every member.
    pub heartbeat: Span,
    /// A member silent for this long is suspected: the detector's floor.
    pub heartbeat_limit: Span,
    /// The detector's ceiling, for a member whose heartbeats arrive irregularly.
    pub heartbeat_limit_max: Span,
    /// How long one echo of a heartbeat counts, from the send time of the heartbeat echoed.
    pub lease: Span,
    /// Drift and scheduling allowance on a foreign lease; `lease + lease_margin ≤ heartbeat_limit` makes takeover waits zero.
    pub lease_margin: Span,
    /// A reconfiguration step may take this long before the reconfiguration starts again.
    pub step_limit: Span,
}

impl Timers {
    /// Defaults derived from one token timeout, as `cmm-conf` does where the configuration names nothing else.
    #[must_use]
    pub fn from_token(token: Span) -> Self {
        let token_retransmit = token.scale(10, 42);
        let timers = Self {
            token,
            token_retransmit,
            hold: token_retransmit.scale(8, 10).saturating_sub(Span::from_millis(10)),
            join: Span::from_millis(50).min(token.scale(1, 10)),
            consensus: token.scale(12, 10),
            merge: Span::from_millis(200).min(token.scale(1, 2)),
            fail_recv_rotations: 2_500,
            heartbeat: Span::ZERO,
            heartbeat_limit: Span::ZERO,
            heartbeat_limit_max: Span::ZERO,
            lease: Span::ZERO,
            lease_margin: Span::ZERO,
            step_limit: Span::from_secs(30),
        };
        timers.with_limit(token.min(Span::from_secs(1)).scale(24, 100))
    }

    /// The same with another floor of the detector, and heartbeats and lease that go with it.
    #[must_use]
    pub fn with_limit(self, limit: Span) -> Self {
        Self {
            heartbeat: limit.scale(1, 6),
            heartbeat_limit: limit,
            heartbeat_limit_max: limit.max(self.token.scale(1, 2)),
            lease: limit.scale(5, 6),
            lease_margin: limit.scale(1, 6),
            ..self
        }
    }
}

/// Votes and the options of votequorum(5) that are served so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuorumConfig {
    /// `quorum.expected_votes`; `None`: the sum of the node list's votes.
    pub expected_votes: Option<Votes>,
    /// Two nodes, each quorate alone: the named exception to "one quorum"; takeover needs confirmed death.
    pub two_node: bool,
    /// Quorate for the first time only when all nodes have been seen together.
    pub wait_for_all: bool,
}

/// Where a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// To one node.
    Node(NodeId),
    /// To every configured node but this one. The driver sends one copy each.
    AllPeers,
}

/// A configuration as extended virtual synchrony knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Configuration {
    /// Transitional or regular.
    pub kind: ConfigurationKind,
    /// For a regular one its own id; for a transitional one the id of the regular configuration it leads out of.
    pub ring: RingId,
    /// Members in ascending order.
    pub members: Vec<NodeId>,
    /// Against the previous regular configuration (empty in a transitional one).
    pub joined: Vec<NodeId>,
    /// In the previous configuration but not in the transitional one between: includes a node that restarted so fast
    /// that it is a member again.
    pub left: Vec<NodeId>,
}

/// Which kind a configuration is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigurationKind {
    /// Members of the old configuration that go on together; messages of the old one end here.
    Transitional,
    /// A new ring in operation.
    Regular,
}

/// How strictly a message is delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guarantee {
    /// In total order.
    Agreed,
    /// In total order, and only when every member of the configuration has received it.
    Safe,
}

/// One process of a process group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupMember {
    /// Its node.
    pub node: NodeId,
    /// Its pid, as it named itself.
    pub pid: u32,
}

/// Why a process is in a joined or left list; numbers as in `cpg_reason_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum GroupReason {
    /// It joined.
    Join = 1,
    /// It left.
    Leave = 2,
    /// Its node left the membership.
    NodeDown = 3,
    /// Its node joined the membership.
    NodeUp = 4,
    /// It ended or was killed.
    ProcDown = 5,
}

/// Name of a process group: bytes, may contain NUL, at most [`crate::limits::GROUP_NAME_MAX`].
pub type GroupName = Arc<[u8]>;

/// What the daemon asks of the core, mostly for a client.
#[derive(Clone, Debug)]
pub enum Request<'a> {
    /// A new CPG connection: from now on it gets [`CpgEvent::Totem`] after each membership change. A join does the
    /// same. Never refused.
    CpgConnect {
        /// The connection.
        conn: ConnId,
    },
    /// `cpg_join` of a local connection. Answered at once; the confchg comes in order.
    CpgJoin {
        /// The connection.
        conn: ConnId,
        /// Pid the client gave.
        pid: u32,
        /// Group to join.
        group: &'a [u8],
    },
    /// `cpg_leave`.
    CpgLeave {
        /// The connection.
        conn: ConnId,
    },
    /// `cpg_mcast_joined`, and each fragment of a large message (then `fragment` says where it belongs).
    CpgMcast {
        /// The connection.
        conn: ConnId,
        /// Delivered as agreed whatever libcpg's caller asked, unless it asked for safe.
        guarantee: Guarantee,
        /// Whole length and position for libcpg's fragments of messages beyond 1 MiB (request 12).
        fragment: Option<CpgFragment>,
        /// The bytes.
        payload: &'a [u8],
    },
    /// The connection is gone (crash, exit, or finalize): PROCDOWN if it was joined.
    CpgDisconnect {
        /// The connection.
        conn: ConnId,
    },
    /// `votequorum_setexpected`: checked here, told to all.
    SetExpectedVotes(Votes),
    /// `votequorum_setvotes`.
    SetVotes {
        /// Whose.
        node: NodeId,
        /// How many.
        votes: Votes,
    },
    /// `cmap quorum.cancel_wait_for_all=1`.
    CancelWaitForAll,
    /// Death of an incarnation is confirmed (successful fence, operator's word). Told to all, in order.
    ConfirmDeath {
        /// Who.
        node: NodeId,
        /// Which life; `None`: the last one known, refused with `Busy` while the node is a member.
        incarnation: Option<Incarnation>,
        /// In words, for logs and for `holdfast.confirmed.*`.
        why: &'a str,
    },
    /// The local userland has finished this step of this reconfiguration (`holdfast.step.done`).
    StepDone {
        /// Which reconfiguration.
        epoch: Epoch,
        /// Which step.
        step: StepNumber,
    },
    /// Whether the local userland takes part in steps; without it steps complete by themselves here.
    StepParticipant(bool),
    /// Links were added, removed, or have other addresses. Refused with `Busy` where a peer that is reached now would be reached by
    /// none of the links that stay as they are, with `InvalidParam` where they are none, too many, or not in order.
    SetLinks {
        /// All links from now on.
        links: &'a LinksConfig,
        /// Those among them that have other addresses than before, here or on another node.
        moved: LinkSet,
    },
    /// `corosync_cfg_kill_node`.
    KillNode {
        /// Who.
        node: NodeId,
        /// In words.
        why: &'a str,
    },
    /// The key file holds another key: load it and change to it, everywhere. What comes of it is in [`Output::Keys`].
    ChangeKey,
    /// Orderly leave: give up quorum, send the leave, then [`Output::Left`].
    Leave,
}

/// Position of one of libcpg's fragments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpgFragment {
    /// Length of the whole message.
    pub whole_len: u32,
    /// 1 first, 2 continued, 3 last, as on libcpg's wire.
    pub position: u32,
}

/// Why a request was not taken. The daemon maps each to its `cs_error_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Queue full, or a membership change is under way: `CS_ERR_TRY_AGAIN` (6).
    #[error("try again: the order queue is full or a membership change is under way")]
    TryAgain,
    /// `CS_ERR_INVALID_PARAM` (7).
    #[error("invalid parameter")]
    InvalidParam,
    /// `CS_ERR_BUSY` (10).
    #[error("busy")]
    Busy,
    /// `CS_ERR_NOT_EXIST` (12).
    #[error("does not exist")]
    NotExist,
    /// `CS_ERR_NAME_TOO_LONG` (13).
    #[error("name too long")]
    NameTooLong,
    /// `CS_ERR_EXIST` (14).
    #[error("exists already")]
    Exist,
    /// `CS_ERR_INTERRUPT` (16): a confchg reached the sender inside a fragmented message.
    #[error("interrupted by a membership change")]
    Interrupt,
    /// `CS_ERR_NAME_NOT_FOUND` (17).
    #[error("no such node")]
    NameNotFound,
    /// `CS_ERR_TOO_BIG` (26).
    #[error("too big")]
    TooBig,
}

/// What a node wants done, in order. Drain after every call of a `handle_*` or of `submit`.
#[derive(Clone, Debug)]
pub enum Output {
    /// Send this sealed packet.
    Transmit {
        /// To whom.
        to: Destination,
        /// Over which links: one copy each.
        links: LinkSet,
        /// Token, membership and heartbeat packets go before data.
        urgent: bool,
        /// The bytes, ready for UDP.
        packet: Vec<u8>,
    },
    /// Write this durably (temporary file, fsync, rename, fsync the folder), off the loop; then `handle_persisted`.
    Persist(Record),
    /// A configuration was installed.
    Configuration(Configuration),
    /// For one local CPG connection.
    Cpg {
        /// The connection.
        conn: ConnId,
        /// What happened.
        event: CpgEvent,
    },
    /// The membership as synchronised and what it means for quorum: for QUORUM and VOTEQUORUM clients.
    NodeList(NodeListNotice),
    /// Quorum, votes or expected votes changed, or were confirmed for a new configuration.
    Quorum(QuorumView),
    /// A reconfiguration step begins, or ended everywhere.
    Step(StepNotice),
    /// The death of an incarnation is confirmed (for `holdfast.confirmed.<nodeid>`).
    Confirmed {
        /// Who.
        node: NodeId,
        /// Which life.
        incarnation: Incarnation,
        /// In words.
        why: String,
    },
    /// Clients may send again (`true`) or must wait (`false`): the CPG gate (flow-control value 2).
    Gate {
        /// Open for multicasts.
        open: bool,
    },
    /// Read the key file, off the loop; then `handle_key`.
    LoadKey,
    /// The keys are others than before, or what is known of those of the members.
    Keys(KeyView),
    /// Packets are sealed with another key now: seal the guardian's gasps anew.
    SealGasps,
    /// The node must go down, and this is why (a killed node, a broken invariant).
    TakeDown(String),
    /// The leave is out; the daemon may exit.
    Left,
    /// For log, counters and CMAP.
    Event(Event),
}

/// What must survive a crash of this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// No ring with a higher sequence number is used before a higher reservation is durable.
    pub ring_seq_reserved: u64,
}

/// Event for one CPG connection; the daemon encodes it for libcpg.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CpgEvent {
    /// Membership of the group changed.
    Confchg {
        /// The group.
        group: GroupName,
        /// All members now, sorted by node, then pid.
        members: Vec<GroupMember>,
        /// Who left, and why.
        left: Vec<(GroupMember, GroupReason)>,
        /// Who joined, and why.
        joined: Vec<(GroupMember, GroupReason)>,
    },
    /// A message.
    Deliver {
        /// The group.
        group: GroupName,
        /// Its sender.
        sender: GroupMember,
        /// Set for libcpg's fragments of large messages.
        fragment: Option<CpgFragment>,
        /// The bytes; shared by all local members of the group.
        payload: Arc<[u8]>,
    },
    /// The ring changed (every connection gets it; libcpg drops it where no callback is set).
    Totem {
        /// Its id.
        ring: RingId,
        /// Its members.
        members: Vec<NodeId>,
    },
}

/// A completed membership change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeListNotice {
    /// The ring.
    pub ring: RingId,
    /// All members.
    pub members: Vec<NodeId>,
    /// New ones.
    pub joined: Vec<NodeId>,
    /// Lost ones.
    pub left: Vec<NodeId>,
}

/// Votes and quorum as this node sees them now. `quorate` is true only within a valid lease.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct QuorumView {
    /// Whether this node's partition may act.
    pub quorate: bool,
    /// Configuration the view belongs to.
    pub ring: RingId,
    /// Its members.
    pub members: Vec<NodeId>,
    /// Every node ever seen or configured, ascending.
    pub nodes: Vec<NodeVotes>,
    /// This node's expected votes.
    pub expected: Votes,
    /// Highest expected votes of any member.
    pub highest_expected: Votes,
    /// Votes present.
    pub total: Votes,
    /// Votes needed.
    pub quorum: Votes,
    /// `two_node` is in force.
    pub two_node: bool,
    /// `wait_for_all` is configured.
    pub wait_for_all: bool,
    /// Still waiting for all.
    pub wait_for_all_status: bool,
    /// Votes would do, but a lost member's lease may still run: when this is set the partition waits.
    pub waits_for_lease: bool,
    /// Why the node is not quorate, in words, e.g. `lease ran out`, `1 of 3 votes, 2 needed`.
    pub reason: String,
}

/// One node's votes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeVotes {
    /// Who.
    pub node: NodeId,
    /// Its state, numbers as in votequorum.h: 1 member, 2 dead, 3 leaving.
    pub state: u32,
    /// Its votes.
    pub votes: Votes,
    /// Its expected votes.
    pub expected: Votes,
    /// Its life, if known.
    pub incarnation: Option<Incarnation>,
}

/// The cluster key, and how far a change of it has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyView {
    /// This node seals with it.
    pub key: Fingerprint,
    /// This node accepts it too, and changes to it when all members do.
    pub next: Option<Fingerprint>,
    /// Keys that are accepted, old ones included; 1 when no change is under way.
    pub accepted: usize,
    /// Members that do not accept `next` yet; without one, members that do not seal with `key` yet.
    pub waits_for: Vec<NodeId>,
    /// How many loads that an operator asked for are over.
    pub loads: u64,
    /// Why the last load failed; empty if it did not.
    pub error: String,
}

/// Progress of the reconfiguration automaton.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepNotice {
    /// Which reconfiguration.
    pub epoch: Epoch,
    /// The ring it belongs to.
    pub ring: RingId,
    /// Which step.
    pub step: StepNumber,
    /// Its name: `sync`, `quorum`, `fence`, `resources`; `end` when all are done.
    pub name: &'static str,
    /// Begins, ended everywhere, or was aborted by a newer reconfiguration.
    pub phase: StepPhase,
}

/// Phase of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepPhase {
    /// Begins here.
    Begin,
    /// Ended on every member.
    Done,
    /// Void: a newer reconfiguration started.
    Aborted,
}

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
    /// A member has been silent for longer than the limit, or there is firm news of it.
    Suspect {
        /// Who.
        node: NodeId,
        /// `heartbeat`, `gasp`, `leave`, `new incarnation`.
        why: &'static str,
        /// For how long it was silent.
        silent: Span,
    },
    /// `A new membership (1.a4) was formed. Members joined: 2 left: 3`.
    NewMembership(Configuration),
    /// `Failed to receive the leave message. failed: 3`: these left the ring without having said so.
    LeftSilently {
        /// Who.
        nodes: Vec<NodeId>,
    },
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
    /// The seal does not open.
    Seal,
    /// Counter seen before, or of an older incarnation.
    Replay,
    /// Opened, but its content does not parse.
    Content,
}

impl RejectReason {
    /// All of them, in order.
    pub const ALL: [Self; 7] = [
        Self::Malformed,
        Self::UnknownKey,
        Self::OldKey,
        Self::UnknownSender,
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
            Self::Seal => "seal",
            Self::Replay => "replay",
            Self::Content => "content",
        }
    }
}

/// Counters of one node, for `stats.*` in CMAP and for the simulator.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Tokens received.
    pub token_rx: u64,
    /// Tokens sent, again included.
    pub token_tx: u64,
    /// Joins received.
    pub join_rx: u64,
    /// Joins sent; one to all counts once.
    pub join_tx: u64,
    /// Commit tokens received, in parts.
    pub commit_rx: u64,
    /// Commit tokens sent, in parts, again included.
    pub commit_tx: u64,
    /// Merge-detects received.
    pub merge_detect_rx: u64,
    /// Merge-detects sent.
    pub merge_detect_tx: u64,
    /// Hold-cancels received.
    pub hold_cancel_rx: u64,
    /// Hold-cancels sent.
    pub hold_cancel_tx: u64,
    /// Frames multicast first by this node.
    pub mcast_tx: u64,
    /// Frames sent again.
    pub mcast_retx: u64,
    /// Frames received.
    pub mcast_rx: u64,
    /// Times Gather was entered.
    pub gather_entered: u64,
    /// Times consensus timed out.
    pub consensus_timeouts: u64,
    /// Tokens lost in Operational.
    pub operational_token_lost: u64,
    /// Commit tokens that all agreed on and that never came.
    pub gather_token_lost: u64,
    /// Commit tokens lost in Commit.
    pub commit_token_lost: u64,
    /// Tokens lost in Recovery.
    pub recovery_token_lost: u64,
    /// Times Commit was entered.
    pub commit_entered: u64,
    /// Times Recovery was entered.
    pub recovery_entered: u64,
    /// Commit tokens that never came, in a row, since a ring was installed: beyond 3 something keeps this node from
    /// forming one, most often a firewall.
    pub continuous_gather: u32,
    /// Rings installed.
    pub operational_entered: u64,
    /// Packets rejected, all reasons.
    pub packets_rejected: u64,
    /// The same by reason, in the order of [`RejectReason::ALL`].
    pub rejected: [u64; RejectReason::ALL.len()],
    /// Messages delivered.
    pub delivered: u64,
    /// Visits of the token at which new frames were held back because clients of some member lag.
    pub lagging_visits: u64,
}

impl Stats {
    /// Counts one rejected packet.
    pub(crate) fn reject(&mut self, why: RejectReason) {
        self.packets_rejected += 1;
        self.rejected[why as usize] += 1;
    }
}

/// One change of the ring, from leaving Operational to being Operational again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RingChange {
    /// Number of what began it, as corosync numbers the causes of entering Gather.
    pub cause: u8,
    /// The same in words.
    pub text: &'static str,
    /// When it began.
    pub began: Boottime,
    /// How long it took.
    pub took: Span,
    /// How often Gather was entered in it.
    pub gathers: u32,
    /// The ring before.
    pub old: RingId,
    /// The ring after.
    pub new: RingId,
    /// Its members, ascending.
    pub members: Vec<NodeId>,
    /// Who came.
    pub joined: Vec<NodeId>,
    /// Who went.
    pub left: Vec<NodeId>,
}

/// What the token takes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenTimes {
    /// From token to token while there is something to do, since start.
    pub busy: Histogram,
    /// From token to token on a quiet ring, where the representative holds it, since start.
    pub quiet: Histogram,
    /// Mean from token to token over the last 100.
    pub mean_between: Span,
    /// Mean of how long it stayed here over the last 100.
    pub mean_stay: Span,
    /// Mean number of frames that waited here when it came, over the last 100.
    pub mean_backlog: u32,
    /// Since it came last; `None` while it is here, or no ring turns.
    pub since_last: Option<Span>,
}

/// Kinds of packets that are sealed in advance and handed to the guardian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GaspKind {
    /// `cmmd` is dead or stuck; the node goes down now. Firm news: ends lease and membership of this incarnation.
    CmmdDied,
    /// A unit died; the node goes down now.
    UnitDied,
    /// Mode `exit` only: the node's process tree was killed and seen empty. Confirms the death.
    LastWord,
}

/// Handed in with each call: the current time. Here for documentation; see [`Boottime`].
pub type Now = Boottime;
