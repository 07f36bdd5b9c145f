//! QUORUM: whether this node's partition may act, and who is in it.

use holdfast_types::{NodeId, RingId};

use super::{Build, CsError, Malformed, REPLY_HEADER, REQUEST_HEADER, View, open, open_reply};

/// Track flag: tell the current state now, before the reply.
pub const TRACK_CURRENT: u32 = 1;
/// Track flag: tell every change.
pub const TRACK_CHANGES: u32 = 2;
/// Track flag: tell every change, as changes only (corosync treats it as [`TRACK_CHANGES`]).
pub const TRACK_CHANGES_ONLY: u32 = 4;
/// `gettype` of a node with a quorum provider.
pub const TYPE_SET: u32 = 1;
/// `gettype` of a node without one: always quorate.
pub const TYPE_FREE: u32 = 0;

/// What a client asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "fields named as in quorum.h")]
pub enum Request {
    /// `quorum_getquorate`.
    GetQuorate,
    /// `quorum_trackstart`.
    TrackStart { flags: u32 },
    /// `quorum_trackstop`.
    TrackStop,
    /// What `quorum_initialize` asks.
    GetType,
    /// What `quorum_model_initialize` asks; makes it the connection's model.
    ModelGetType { model: u32 },
}

impl Request {
    /// Checks and takes apart a request.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let (id, bytes) = open(bytes, REQUEST_HEADER)?;
        let v = View(bytes);
        Ok(match id {
            0 => Self::GetQuorate,
            1 => Self::TrackStart { flags: v.u32(16)? },
            2 => Self::TrackStop,
            3 => Self::GetType,
            4 => Self::ModelGetType { model: v.u32(16)? },
            id => return Err(Malformed::UnknownId(id)),
        })
    }

    /// The message.
    #[must_use]
    pub fn encode(self) -> Vec<u8> {
        match self {
            Self::GetQuorate => Build::request(0, 16),
            Self::TrackStart { flags } => Build::request(1, 24).u32(16, flags),
            Self::TrackStop => Build::request(2, 16),
            Self::GetType => Build::request(3, 16),
            Self::ModelGetType { model } => Build::request(4, 24).u32(16, model),
        }
        .done()
    }
}

pub(super) fn reply_shape(request: i32) -> Option<(i32, usize)> {
    Some(match request {
        0 => (0, 32),
        1 => (1, 24),
        2 => (2, 24),
        3 => (4, 32),
        4 => (5, 32),
        _ => return None,
    })
}

/// Reply to [`Request::GetQuorate`].
#[must_use]
pub fn quorate_reply(quorate: bool) -> Vec<u8> {
    Build::reply(0, 32, CsError::Ok).u32(24, quorate.into()).done()
}

/// Reply to [`Request::GetType`] (`model` none) or [`Request::ModelGetType`].
#[must_use]
pub fn type_reply(model: Option<u32>, kind: u32) -> Vec<u8> {
    Build::reply(if model.is_some() { 5 } else { 4 }, 32, CsError::Ok).u32(24, kind).done()
}

/// The number out of a reply to [`Request::GetQuorate`], [`Request::GetType`] or [`Request::ModelGetType`].
///
/// # Errors
/// What the server answered.
pub fn number_from(reply: &[u8]) -> Result<u32, CsError> {
    Ok(open_reply(reply)?.u32(24)?)
}

/// What a tracking connection is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Model 0: quorum and the members of the partition.
    Notification {
        /// Whether it may act.
        quorate: bool,
        /// Sequence number of the ring.
        seq: u64,
        /// Members, ascending.
        view: Vec<NodeId>,
    },
    /// Model 1: the same, with the whole ring id.
    Quorum {
        /// Whether it may act.
        quorate: bool,
        /// The ring.
        ring: RingId,
        /// Members, ascending.
        view: Vec<NodeId>,
    },
    /// Model 1: the membership changed; quorum follows in its own event.
    NodeList {
        /// The ring.
        ring: RingId,
        /// Members, ascending.
        members: Vec<NodeId>,
        /// New ones.
        joined: Vec<NodeId>,
        /// Lost ones.
        left: Vec<NodeId>,
    },
}

impl Event {
    /// Checks and takes apart an event.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let (id, bytes) = open(bytes, REPLY_HEADER)?;
        let v = View(bytes);
        Ok(match id {
            3 => Self::Notification {
                quorate: v.i32(24)? != 0,
                seq: v.u64(32)?,
                view: v.nodes(44, v.count(40)?)?,
            },
            6 => {
                Self::Quorum { quorate: v.i32(24)? != 0, ring: v.ring(32)?, view: v.nodes(52, v.count(48)?)? }
            }
            7 => {
                let (m, j, l) = (v.count(40)?, v.count(48)?, v.count(56)?);
                let total = m.checked_add(j).and_then(|n| n.checked_add(l)).ok_or(Malformed::Content)?;
                let mut members = v.nodes(60, total)?;
                let mut joined = members.split_off(m);
                let left = joined.split_off(j);
                Self::NodeList { ring: v.ring(24)?, members, joined, left }
            }
            id => return Err(Malformed::UnknownId(id)),
        })
    }

    /// The message.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        // Sizes count from the padded structs, so four bytes behind each list stay unused.
        match self {
            Self::Notification { quorate, seq, view } => Build::event(3, 48 + 4 * view.len())
                .u32(24, (*quorate).into())
                .u64(32, *seq)
                .count(40, view.len())
                .nodes(44, view),
            Self::Quorum { quorate, ring, view } => Build::event(6, 56 + 4 * view.len())
                .u32(24, (*quorate).into())
                .ring(32, *ring)
                .count(48, view.len())
                .nodes(52, view),
            Self::NodeList { ring, members, joined, left } => {
                let (m, j, l) = (members.len(), joined.len(), left.len());
                Build::event(7, 64 + 4 * (m + j + l))
                    .ring(24, *ring)
                    .count(40, m)
                    .count(48, j)
                    .count(56, l)
                    .nodes(60, members)
                    .nodes(60 + 4 * m, joined)
                    .nodes(60 + 4 * (m + j), left)
            }
        }
        .done()
    }
}
