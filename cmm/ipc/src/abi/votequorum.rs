//! VOTEQUORUM: votes, expected votes, node states.

use holdfast_types::{NodeId, RingId, Votes};

use super::{Build, CsError, Malformed, REPLY_HEADER, REQUEST_HEADER, View, open, open_reply};

/// Bytes of a quorum device's name field.
pub const QDEVICE_NAME_FIELD: usize = 255;

/// Flags of [`Info::flags`], numbers as in votequorum.h.
#[expect(missing_docs, reason = "named as in votequorum.h")]
pub mod flags {
    pub const TWO_NODE: u32 = 1;
    pub const QUORATE: u32 = 2;
    pub const WAIT_FOR_ALL: u32 = 4;
    pub const LAST_MAN_STANDING: u32 = 8;
    pub const AUTO_TIE_BREAKER: u32 = 16;
    pub const ALLOW_DOWNSCALE: u32 = 32;
    pub const QDEVICE_REGISTERED: u32 = 64;
    pub const QDEVICE_ALIVE: u32 = 128;
    pub const QDEVICE_CAST_VOTE: u32 = 256;
    pub const QDEVICE_MASTER_WINS: u32 = 512;
}

/// What a client asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "fields named as in votequorum.h")]
pub enum Request<'a> {
    /// `votequorum_getinfo`; node 0 is the local one.
    GetInfo { node: NodeId },
    /// `votequorum_setexpected`.
    SetExpected { expected: Votes },
    /// `votequorum_setvotes`.
    SetVotes { votes: Votes, node: NodeId },
    /// `votequorum_trackstart`.
    TrackStart { context: u64, flags: u32 },
    /// `votequorum_trackstop`.
    TrackStop,
    /// `votequorum_qdevice_register`.
    QdeviceRegister { name: &'a [u8] },
    /// `votequorum_qdevice_unregister`.
    QdeviceUnregister { name: &'a [u8] },
    /// `votequorum_qdevice_update`.
    QdeviceUpdate { old: &'a [u8], new: &'a [u8] },
    /// `votequorum_qdevice_poll`.
    QdevicePoll { name: &'a [u8], cast_vote: bool, ring: RingId },
    /// `votequorum_qdevice_master_wins`.
    QdeviceMasterWins { name: &'a [u8], allow: bool },
}

impl<'a> Request<'a> {
    /// Checks and takes apart a request.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn decode(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let (id, bytes) = open(bytes, REQUEST_HEADER)?;
        let v = View(bytes);
        let name = || v.text(16, QDEVICE_NAME_FIELD);
        Ok(match id {
            0 => Self::GetInfo { node: NodeId::new(v.u32(16)?) },
            1 => Self::SetExpected { expected: Votes::new(v.u32(16)?) },
            2 => Self::SetVotes { votes: Votes::new(v.u32(16)?), node: NodeId::new(v.u32(20)?) },
            3 => Self::TrackStart { context: v.u64(16)?, flags: v.u32(24)? },
            4 => Self::TrackStop,
            5 => Self::QdeviceRegister { name: name()? },
            6 => Self::QdeviceUnregister { name: name()? },
            7 => Self::QdeviceUpdate { old: name()?, new: v.text(271, QDEVICE_NAME_FIELD)? },
            8 => Self::QdevicePoll { name: name()?, cast_vote: v.u32(272)? != 0, ring: v.ring(280)? },
            9 => Self::QdeviceMasterWins { name: name()?, allow: v.u32(272)? != 0 },
            id => return Err(Malformed::UnknownId(id)),
        })
    }

    /// The message.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let named = |id, size, name: &[u8]| Build::request(id, size).text(16, QDEVICE_NAME_FIELD, name);
        match self {
            Self::GetInfo { node } => Build::request(0, 24).u32(16, node.get()),
            Self::SetExpected { expected } => Build::request(1, 24).u32(16, expected.get()),
            Self::SetVotes { votes, node } => Build::request(2, 24).u32(16, votes.get()).u32(20, node.get()),
            Self::TrackStart { context, flags } => Build::request(3, 32).u64(16, *context).u32(24, *flags),
            Self::TrackStop => Build::request(4, 16),
            Self::QdeviceRegister { name } => named(5, 272, name),
            Self::QdeviceUnregister { name } => named(6, 272, name),
            Self::QdeviceUpdate { old, new } => named(7, 528, old).text(271, QDEVICE_NAME_FIELD, new),
            Self::QdevicePoll { name, cast_vote, ring } => {
                named(8, 296, name).u32(272, (*cast_vote).into()).ring(280, *ring)
            }
            Self::QdeviceMasterWins { name, allow } => named(9, 280, name).u32(272, (*allow).into()),
        }
        .done()
    }
}

pub(super) fn reply_shape(request: i32) -> Option<(i32, usize)> {
    match request {
        0 => Some((1, INFO_REPLY)),
        1..=9 => Some((0, 24)),
        _ => None,
    }
}

/// Reply to [`Request::GetInfo`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Info {
    /// The node asked about.
    pub node: NodeId,
    /// 1 member, 2 dead, 3 leaving.
    pub state: u32,
    /// Its votes.
    pub votes: Votes,
    /// Its expected votes.
    pub expected: Votes,
    /// Highest expected votes of any member.
    pub highest_expected: Votes,
    /// Votes present.
    pub total: Votes,
    /// Votes needed.
    pub quorum: Votes,
    /// See [`flags`].
    pub flags: u32,
    /// Votes of the quorum device.
    pub qdevice_votes: Votes,
    /// Its name.
    pub qdevice_name: String,
}

impl Info {
    /// The reply.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let numbers = [
            self.node.get(),
            self.state,
            self.votes.get(),
            self.expected.get(),
            self.highest_expected.get(),
            self.total.get(),
            self.quorum.get(),
            self.flags,
            self.qdevice_votes.get(),
        ];
        let b = Build::reply(1, INFO_REPLY, CsError::Ok);
        let b = numbers.into_iter().enumerate().fold(b, |b, (k, n)| b.u32(24 + 4 * k, n));
        b.text(60, QDEVICE_NAME_FIELD, self.qdevice_name.as_bytes()).done()
    }

    /// Out of a reply.
    ///
    /// # Errors
    /// What the server answered.
    pub fn from_reply(reply: &[u8]) -> Result<Self, CsError> {
        let v = open_reply(reply)?;
        Ok(Self {
            node: NodeId::new(v.u32(24)?),
            state: v.u32(28)?,
            votes: Votes::new(v.u32(32)?),
            expected: Votes::new(v.u32(36)?),
            highest_expected: Votes::new(v.u32(40)?),
            total: Votes::new(v.u32(44)?),
            quorum: Votes::new(v.u32(48)?),
            flags: v.u32(52)?,
            qdevice_votes: Votes::new(v.u32(56)?),
            qdevice_name: String::from_utf8_lossy(v.text(60, QDEVICE_NAME_FIELD)?).into_owned(),
        })
    }
}

/// What a tracking connection is told. `context` is echoed from trackstart.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "fields named as in votequorum.h")]
pub enum Event {
    /// Quorum, and every known node with its state.
    Quorum { quorate: bool, context: u64, nodes: Vec<(NodeId, u32)> },
    /// Expected votes were set.
    ExpectedVotes { context: u64, expected: Votes },
    /// The membership changed; quorum is decided afterwards.
    NodeList { context: u64, ring: RingId, members: Vec<NodeId> },
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
            3 => {
                let n = v.count(40)?;
                let list = View(v.bytes(48, n.checked_mul(8).ok_or(Malformed::Content)?)?);
                let entry = |k| Ok((NodeId::new(list.u32(8 * k)?), list.u32(8 * k + 4)?));
                let nodes = (0..n).map(entry).collect::<Result<_, Malformed>>()?;
                Self::Quorum { quorate: v.u32(24)? != 0, context: v.u64(32)?, nodes }
            }
            4 => Self::ExpectedVotes { context: v.u64(24)?, expected: Votes::new(v.u32(32)?) },
            5 => {
                Self::NodeList { context: v.u64(24)?, ring: v.ring(32)?, members: v.nodes(56, v.count(48)?)? }
            }
            id => return Err(Malformed::UnknownId(id)),
        })
    }

    /// The message.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Quorum { quorate, context, nodes } => {
                let b = Build::event(3, 48 + 8 * nodes.len())
                    .u32(24, (*quorate).into())
                    .u64(32, *context)
                    .count(40, nodes.len());
                nodes
                    .iter()
                    .enumerate()
                    .fold(b, |b, (k, (node, state))| b.u32(48 + 8 * k, node.get()).u32(52 + 8 * k, *state))
            }
            Self::ExpectedVotes { context, expected } => {
                Build::event(4, 40).u64(24, *context).u32(32, expected.get())
            }
            Self::NodeList { context, ring, members } => Build::event(5, 56 + 4 * members.len())
                .u64(24, *context)
                .ring(32, *ring)
                .count(48, members.len())
                .nodes(56, members),
        }
        .done()
    }
}

const INFO_REPLY: usize = 320;
