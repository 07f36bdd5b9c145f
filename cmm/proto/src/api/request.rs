//! What is asked of a node, and why it refuses.

use std::sync::Arc;

use holdfast_types::{ConnId, Epoch, Incarnation, LinkSet, NodeId, StepNumber, Votes};

use super::config::{DeviceConfig, LinksConfig, Settings};
use super::table::NodeTable;
use crate::reconfig::Disks;
pub use crate::service::messages::Testimony;

/// How strictly a message is delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guarantee {
    /// In total order.
    Agreed,
    /// In total order, and only when every member of the configuration has received it.
    Safe,
}

/// Name of a process group: bytes, may contain NUL, at most [`crate::limits::GROUP_NAME_MAX`].
pub type GroupName = Arc<[u8]>;

/// What the daemon asks of the core, mostly for a client.
#[derive(Clone, Debug)]
pub enum Request<'a> {
    /// A new CPG connection: from now on it gets [`crate::CpgEvent::Totem`] after each membership change. A join does the
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
        /// Taken as long as there is room, also where the gate is shut until the queue has drained: its sender takes no
        /// events until it is rid of it, and that may be what the queue waits for.
        past_gate: bool,
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
    /// This node has data disks, from its start on, and is so far with them. Never refused.
    DataDisks(Disks),
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
    /// Votes are neither counted nor expected from now on, or again. Refused with `NameNotFound` where there is no such node or no
    /// device, with `InvalidParam` where too few votes would be present.
    Maintain {
        /// Whose.
        whose: Whose,
        /// In maintenance.
        on: bool,
    },
    /// `corosync_cfg_kill_node`.
    KillNode {
        /// Who.
        node: NodeId,
        /// In words.
        why: &'a str,
    },
    /// What this node recorded of the end of an earlier life of a member, for that member's black box. Refused with `TryAgain` as
    /// clients' messages are, with `NotExist` where it is no member, with `InvalidParam` where that life has not ended.
    Testify(Testimony<'a>),
    /// The ring is formed anew, with whoever is there: `cmap runtime.force_gather`. Nothing happens while one is being formed. Never
    /// refused.
    FormAnew,
    /// Every member reads its configuration anew: told to all, in order; each gets [`Output::Reload`](crate::Output::Reload).
    Reload,
    /// This node has read its configuration, as [`Output::Reload`](crate::Output::Reload) asked: these settings are to be in force;
    /// `None`: it keeps those that are. They are taken when all members have read theirs, at the latest some seconds from now;
    /// then comes [`Output::Settings`](crate::Output::Settings). Refused with `InvalidParam` where they cannot be run.
    Reread(Option<Settings>),
    /// The node table of this node's file, read anew. Packets go to its nodes from now on; it is in force when all members of a quorate
    /// partition have said that theirs is the same, and it can be: what comes of it is in [`crate::Output::Table`]. Refused with
    /// `InvalidParam` where it cannot be run, or does not name this node.
    SetTable(&'a NodeTable),
    /// The quorum device of this node's file, read anew: it is opened, and used as long as a table that counts has a device. Refused with
    /// `InvalidParam` where it cannot be, with `Busy` where it is another one than this life has used: only its votes can be changed.
    SetDevice(Option<DeviceConfig>),
    /// The key file holds another key: load it and change to it, everywhere. What comes of it is in [`crate::Output::Keys`].
    ChangeKey,
    /// Orderly leave: give up quorum, send the leave, then [`crate::Output::Left`].
    Leave,
}

/// Whose votes are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// A node's.
    Node(NodeId),
    /// The quorum device's.
    Device,
    /// Those of all nodes and the device: they count as the files say, so this can be taken out of maintenance only.
    All,
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
