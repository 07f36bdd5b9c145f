//! What a node wants done, and the views it hands to clients.

use holdfast_types::{ConnId, Epoch, Incarnation, LinkId, LinkSet, NodeId, RingId, Span, StepNumber, Votes};

use super::event::Event;
use super::request::{CpgFragment, GroupName};
use super::table::{TableView, Tables};
use crate::Bytes;
use crate::wire::Fingerprint;

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
    /// Send this sealed packet, in one piece or not at all; if the interface takes none of that length, say so by
    /// `handle_too_long`.
    Probe {
        /// To whom.
        to: NodeId,
        /// On which link.
        link: LinkId,
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
    /// Read the configuration anew: this member asked for it.
    Reload {
        /// Who.
        by: NodeId,
    },
    /// Write this block to a quorum disk, if there is one, and when that has come back without an error read the header and all
    /// blocks of that disk; then `handle_disk`. One at a time for each disk.
    Disk {
        /// Which, as configured.
        disk: usize,
        /// What to write.
        block: Option<Box<cmm_qdisk::Block>>,
    },
    /// Send this to the disk with reservations; then `handle_scsi`. One at a time.
    Scsi(cmm_scsi::Command),
    /// What is to be done with a connection to the quorum server; what happens to it comes back by `handle_server`. Never an event.
    Server(cmm_qnet::Output),
    /// Read the key file, off the loop; then `handle_key`.
    LoadKey,
    /// The keys are others than before, or what is known of those of the members.
    Keys(KeyView),
    /// Packets are sealed with another key now: seal the guardian's gasps anew.
    SealGasps,
    /// What [`Request::Reread`](crate::Request::Reread) handed in is in force, or what was in force before stays.
    Settings(SettingsTaken),
    /// The node table, who is sent packets, or what a change waits for: others than before.
    Table(TableView),
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
    /// No echo of this life, or of one before that can still count, counts for longer than this from its arrival, margin
    /// included ([`NodeConfig::promised`](crate::NodeConfig::promised)).
    pub promised: Span,
    /// The node tables that count, if any do ([`NodeConfig::tables`](crate::NodeConfig::tables)).
    pub tables: Option<Tables>,
    /// The most votes that were ever expected here, if that is tracked. Nothing waits for it.
    pub expected_seen: Option<Votes>,
    /// Counts records, from 1 in each life: the last one asked for is the one that has to stay.
    pub number: u64,
}

/// A reload is over: what was read is in force, on all members at about the same time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SettingsTaken {
    /// Members that had not read theirs within the limit: they follow when they have.
    pub late: Vec<NodeId>,
    /// Members whose settings are not the same as this node's.
    pub others: Vec<NodeId>,
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
        payload: Bytes,
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
    /// `auto_tie_breaker`: half of the expected votes are enough with this node.
    pub tie: Option<NodeId>,
    /// `last_man_standing` is configured.
    pub last_man_standing: bool,
    /// `allow_downscale` is configured.
    pub allow_downscale: bool,
    /// Expected votes do not fall below this by themselves.
    pub ev_barrier: Votes,
    /// `wait_for_all` is configured.
    pub wait_for_all: bool,
    /// Still waiting for all.
    pub wait_for_all_status: bool,
    /// Votes would do, but a lost member's lease may still run: when this is set the partition waits.
    pub waits_for_lease: bool,
    /// The quorum device, if one is configured.
    pub device: Option<DeviceView>,
    /// Why the node is not quorate, in words, e.g. `lease ran out`, `1 of 3 votes, 2 needed`.
    pub reason: String,
}

impl QuorumView {
    /// Whether the quorum device's vote counts.
    #[must_use]
    pub fn has_device(&self) -> bool {
        self.device.is_some_and(|d| d.counts)
    }
}

/// The quorum device's vote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceView {
    /// As clients of votequorum see it.
    pub name: &'static str,
    /// `quorum.device.model`.
    pub model: &'static str,
    /// How many.
    pub votes: Votes,
    /// They count in the configuration of the view.
    pub counts: bool,
    /// It is in maintenance: its votes are neither counted nor expected.
    pub out: bool,
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
