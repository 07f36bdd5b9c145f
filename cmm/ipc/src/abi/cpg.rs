//! CPG: closed process groups.

use holdfast_types::{NodeId, RingId};

use super::{Build, CsError, Malformed, REPLY_HEADER, REQUEST_HEADER, View, open, open_reply};

/// Bytes that a group name may have.
pub const NAME_MAX: usize = 128;
/// Largest payload of one multicast: a constant inside libcpg. What is larger goes in fragments of at most this.
pub const PAYLOAD_MAX: usize = 1_047_552;
/// Largest event, header included: the buffer of the libraries' dispatch.
pub const EVENT_MAX: usize = 1_048_576;
/// Entries in each list of a confchg. The library copies them into arrays of this size without looking.
pub const LIST_MAX: usize = 128;
/// Entries in the reply to membership get.
pub const MEMBERSHIP_MAX: usize = 384;
/// Flag of join: send the ring and its members after the first confchg.
pub const JOIN_INITIAL_TOTEM: u32 = 1;
/// Where the payload starts in a zero-copy buffer, and so what it has beside the payload.
pub const ZERO_COPY_HEADER: usize = 56;
/// Where the server writes its cookie into a zero-copy buffer (64 bits).
pub const ZERO_COPY_COOKIE: usize = 8;
/// Where the client writes the length of the payload (32 bits).
pub const ZERO_COPY_LENGTH: usize = 48;

/// A member of a group, with the reason why it is in a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// Its node.
    pub node: NodeId,
    /// Its pid.
    pub pid: u32,
    /// 0 undefined, 1 join, 2 leave, 3 node down, 4 node up, 5 process down.
    pub reason: u32,
}

/// Position of a fragment of a large message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// Length of the whole message.
    pub whole_len: u32,
    /// 1 first, 2 continued, 3 last.
    pub position: u32,
}

/// What a client asks.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "fields named as in cpg.h")]
pub enum Request<'a> {
    /// `cpg_join`.
    Join { group: &'a [u8], pid: u32, flags: u32 },
    /// `cpg_leave`.
    Leave { group: &'a [u8], pid: u32 },
    /// `cpg_mcast_joined`; no reply.
    Mcast { guarantee: u32, payload: &'a [u8] },
    /// `cpg_membership_get`.
    MembershipGet { group: &'a [u8] },
    /// `cpg_local_get`.
    LocalGet,
    /// `cpg_iteration_initialize`: kind 1 names, 2 one group, 3 all.
    IterationInit { group: &'a [u8], kind: u32 },
    /// `cpg_iteration_next`.
    IterationNext { handle: u64 },
    /// `cpg_iteration_finalize`.
    IterationFinalize { handle: u64 },
    /// `cpg_finalize`.
    Finalize,
    /// `cpg_zcb_alloc`: the client made this file.
    ZeroCopyAlloc { map_size: u64, path: &'a [u8] },
    /// `cpg_zcb_free`.
    ZeroCopyFree { cookie: u64 },
    /// `cpg_zcb_mcast_joined`.
    ZeroCopyMcast { cookie: u64 },
    /// One fragment of a message too large for one request.
    Fragment { guarantee: u32, fragment: Fragment, payload: &'a [u8] },
}

/// Kind of an iteration: the members of the group named.
pub const ONE_GROUP: u32 = 2;

impl<'a> Request<'a> {
    /// Checks and takes apart a request.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn decode(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let (id, bytes) = open(bytes, REQUEST_HEADER)?;
        let v = View(bytes);
        Ok(match id {
            0 => Self::Join { group: name(v, 16)?, pid: v.u32(152)?, flags: v.u32(160)? },
            1 => Self::Leave { group: name(v, 16)?, pid: v.u32(152)? },
            2 => Self::Mcast { guarantee: v.u32(24)?, payload: v.bytes(40, v.count(32)?)? },
            3 => Self::MembershipGet { group: name(v, 16)? },
            4 => Self::LocalGet,
            5 => {
                // The library leaves the name as it was on its stack where none is asked for.
                let kind = v.u32(152)?;
                Self::IterationInit { group: if kind == ONE_GROUP { name(v, 16)? } else { &[] }, kind }
            }
            6 => Self::IterationNext { handle: v.u64(16)? },
            7 => Self::IterationFinalize { handle: v.u64(16)? },
            8 => Self::Finalize,
            9 => Self::ZeroCopyAlloc { map_size: v.u64(16)?, path: v.text(24, 128)? },
            10 => Self::ZeroCopyFree { cookie: v.u64(24)? },
            11 => Self::ZeroCopyMcast { cookie: v.u64(16)? },
            12 => Self::Fragment {
                guarantee: v.u32(24)?,
                fragment: Fragment { whole_len: v.u32(32)?, position: v.u32(48)? },
                payload: v.bytes(56, v.count(40)?)?,
            },
            id => return Err(Malformed::UnknownId(id)),
        })
    }

    /// The request without its payload, which follows it on the ring (multicasts and fragments only have one).
    ///
    /// # Panics
    /// If a group name is longer than [`NAME_MAX`].
    #[must_use]
    pub fn head(&self) -> Vec<u8> {
        match self {
            Self::Join { group, pid, flags } => {
                put_name(Build::request(0, 168), 16, group).u32(152, *pid).u32(160, *flags)
            }
            Self::Leave { group, pid } => put_name(Build::request(1, 160), 16, group).u32(152, *pid),
            Self::Mcast { guarantee, payload } => {
                Build::request(2, 40).u32(24, *guarantee).count(32, payload.len()).followed_by(payload.len())
            }
            Self::MembershipGet { group } => put_name(Build::request(3, 152), 16, group),
            Self::LocalGet => Build::request(4, 16),
            Self::IterationInit { group, kind } => {
                put_name(Build::request(5, 160), 16, group).u32(152, *kind)
            }
            Self::IterationNext { handle } => Build::request(6, 24).u64(16, *handle),
            Self::IterationFinalize { handle } => Build::request(7, 24).u64(16, *handle),
            Self::Finalize => Build::request(8, 16),
            Self::ZeroCopyAlloc { map_size, path } => {
                Build::request(9, 152).u64(16, *map_size).text(24, 128, path)
            }
            Self::ZeroCopyFree { cookie } => Build::request(10, 32).u64(24, *cookie),
            Self::ZeroCopyMcast { cookie } => Build::request(11, 24).u64(16, *cookie),
            Self::Fragment { guarantee, fragment, payload } => Build::request(12, 56)
                .u32(24, *guarantee)
                .u32(32, fragment.whole_len)
                .count(40, payload.len())
                .u32(48, fragment.position)
                .followed_by(payload.len()),
        }
        .done()
    }

    /// What follows the head on the ring.
    #[must_use]
    pub fn payload(&self) -> &'a [u8] {
        match self {
            Self::Mcast { payload, .. } | Self::Fragment { payload, .. } => payload,
            _ => &[],
        }
    }
}

/// Reply id and size for a request id; none for a multicast, which has no reply, and for unknown ids.
pub(super) fn reply_shape(request: i32) -> Option<(i32, usize)> {
    Some(match request {
        0 => (0, 24),
        1 => (1, 24),
        3 => (3, MEMBERSHIP_REPLY),
        4 => (7, 32),
        5 => (9, 32),
        6 => (10, 168),
        7 => (11, 24),
        8 => (12, 24),
        9 | 10 => (0, 24),
        11 => (2, 24),
        12 => (18, 24),
        _ => return None,
    })
}

/// Reply to [`Request::MembershipGet`]; what is beyond [`MEMBERSHIP_MAX`] is left out.
#[must_use]
pub fn membership_reply(members: &[Address]) -> Vec<u8> {
    let n = members.len().min(MEMBERSHIP_MAX);
    let b = Build::reply(3, MEMBERSHIP_REPLY, CsError::Ok).count(24, n);
    put_addresses(b, 32, &members[..n]).done()
}

/// Members out of a reply to [`Request::MembershipGet`].
///
/// # Errors
/// What the server answered.
pub fn membership_from(reply: &[u8]) -> Result<Vec<Address>, CsError> {
    let v = open_reply(reply)?;
    Ok(addresses(v, 32, v.count(24)?)?)
}

/// Reply to [`Request::LocalGet`].
#[must_use]
pub fn local_reply(me: NodeId) -> Vec<u8> {
    Build::reply(7, 32, CsError::Ok).u32(24, me.get()).done()
}

/// The node id out of a reply to [`Request::LocalGet`].
///
/// # Errors
/// What the server answered.
pub fn local_from(reply: &[u8]) -> Result<NodeId, CsError> {
    Ok(NodeId::new(open_reply(reply)?.u32(24)?))
}

/// Reply to [`Request::IterationInit`].
#[must_use]
pub fn iteration_reply(handle: u64) -> Vec<u8> {
    Build::reply(9, 32, CsError::Ok).u64(24, handle).done()
}

/// The handle out of a reply to [`Request::IterationInit`].
///
/// # Errors
/// What the server answered.
pub fn iteration_from(reply: &[u8]) -> Result<u64, CsError> {
    Ok(open_reply(reply)?.u64(24)?)
}

/// Reply to [`Request::IterationNext`].
///
/// # Panics
/// If the name is longer than [`NAME_MAX`].
#[must_use]
pub fn iteration_item_reply(group: &[u8], node: NodeId, pid: u32) -> Vec<u8> {
    put_name(Build::reply(10, 168, CsError::Ok), 24, group).u32(160, node.get()).u32(164, pid).done()
}

/// Group, node and pid out of a reply to [`Request::IterationNext`].
///
/// # Errors
/// What the server answered; [`CsError::NoSections`] at the end.
pub fn iteration_item_from(reply: &[u8]) -> Result<(Vec<u8>, NodeId, u32), CsError> {
    let v = open_reply(reply)?;
    Ok((name(v, 24)?.to_vec(), NodeId::new(v.u32(160)?), v.u32(164)?))
}

/// What a connection is told.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "fields named as in cpg.h")]
pub enum Event {
    /// Membership of the group changed.
    Confchg { group: Vec<u8>, members: Vec<Address>, left: Vec<Address>, joined: Vec<Address> },
    /// A message, or with `fragment` one piece of a large one.
    Deliver { group: Vec<u8>, node: NodeId, pid: u32, fragment: Option<Fragment>, payload: Vec<u8> },
    /// The ring changed.
    Totem { ring: RingId, members: Vec<NodeId> },
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
            4 => {
                let (m, j, l) = (v.count(160)?, v.count(168)?, v.count(176)?);
                // The counts come as members, joined, left; the lists as members, left, joined.
                let left_at =
                    m.checked_mul(ADDRESS).and_then(|n| n.checked_add(184)).ok_or(Malformed::Content)?;
                let joined_at =
                    l.checked_mul(ADDRESS).and_then(|n| n.checked_add(left_at)).ok_or(Malformed::Content)?;
                Self::Confchg {
                    group: name(v, 24)?.to_vec(),
                    members: addresses(v, 184, m)?,
                    left: addresses(v, left_at, l)?,
                    joined: addresses(v, joined_at, j)?,
                }
            }
            5 => Self::Deliver {
                group: name(v, 24)?.to_vec(),
                node: NodeId::new(v.u32(168)?),
                pid: v.u32(176)?,
                fragment: None,
                payload: v.bytes(184, v.count(160)?)?.to_vec(),
            },
            17 => Self::Deliver {
                group: name(v, 24)?.to_vec(),
                node: NodeId::new(v.u32(176)?),
                pid: v.u32(184)?,
                fragment: Some(Fragment { whole_len: v.u32(160)?, position: v.u32(192)? }),
                payload: v.bytes(200, v.count(168)?)?.to_vec(),
            },
            13 => Self::Totem { ring: v.ring(24)?, members: v.nodes(44, v.count(40)?)? },
            id => return Err(Malformed::UnknownId(id)),
        })
    }
}

/// A confchg event.
///
/// # Panics
/// If the name is longer than [`NAME_MAX`] or a list longer than [`LIST_MAX`].
#[must_use]
pub fn confchg_event(group: &[u8], members: &[Address], left: &[Address], joined: &[Address]) -> Vec<u8> {
    let (m, l, j) = (members.len(), left.len(), joined.len());
    assert!(m <= LIST_MAX && l <= LIST_MAX && j <= LIST_MAX, "{m}, {l}, {j} addresses in a confchg");
    let b = Build::event(4, 184 + ADDRESS * (m + l + j));
    let b = put_name(b, 24, group).count(160, m).count(168, j).count(176, l);
    let b = put_addresses(b, 184, members);
    let b = put_addresses(b, 184 + ADDRESS * m, left);
    put_addresses(b, 184 + ADDRESS * (m + l), joined).done()
}

/// Everything of a deliver event but its payload of `len` bytes, which follows on the ring.
///
/// # Panics
/// If the name is longer than [`NAME_MAX`].
#[must_use]
pub fn deliver_head(group: &[u8], node: NodeId, pid: u32, fragment: Option<Fragment>, len: usize) -> Vec<u8> {
    deliver_head_in(Vec::new(), group, node, pid, fragment, len)
}

/// As [`deliver_head`], in a buffer that was used before.
///
/// # Panics
/// As there.
#[must_use]
pub fn deliver_head_in(
    buffer: Vec<u8>,
    group: &[u8],
    node: NodeId,
    pid: u32,
    fragment: Option<Fragment>,
    len: usize,
) -> Vec<u8> {
    match fragment {
        None => put_name(Build::event_in(buffer, 5, 184), 24, group)
            .count(160, len)
            .u32(168, node.get())
            .u32(176, pid)
            .followed_by(len),
        Some(f) => put_name(Build::event_in(buffer, 17, 200), 24, group)
            .u32(160, f.whole_len)
            .count(168, len)
            .u32(176, node.get())
            .u32(184, pid)
            .u32(192, f.position)
            .followed_by(len),
    }
    .done()
}

/// A totem confchg event.
#[must_use]
pub fn totem_event(ring: RingId, members: &[NodeId]) -> Vec<u8> {
    // The size counts from the padded struct, so four bytes behind the list stay unused.
    Build::event(13, 48 + 4 * members.len()).ring(24, ring).count(40, members.len()).nodes(44, members).done()
}

fn name(v: View<'_>, at: usize) -> Result<&[u8], Malformed> {
    let len = v.count(at)?;
    let field = v.bytes(at + 8, NAME_MAX)?;
    field.get(..len).ok_or(Malformed::Name)
}

fn put_name(b: Build, at: usize, name: &[u8]) -> Build {
    assert!(name.len() <= NAME_MAX, "group name of {} bytes", name.len());
    b.count(at, name.len()).bytes(at + 8, name)
}

fn addresses(v: View<'_>, at: usize, n: usize) -> Result<Vec<Address>, Malformed> {
    let list = View(v.bytes(at, n.checked_mul(ADDRESS).ok_or(Malformed::Content)?)?);
    let entry = |k| {
        let at = ADDRESS * k;
        Ok(Address { node: NodeId::new(list.u32(at)?), pid: list.u32(at + 8)?, reason: list.u32(at + 16)? })
    };
    (0..n).map(entry).collect()
}

fn put_addresses(b: Build, at: usize, list: &[Address]) -> Build {
    list.iter().enumerate().fold(b, |b, (k, a)| {
        let at = at + ADDRESS * k;
        b.u32(at, a.node.get()).u32(at + 8, a.pid).u32(at + 16, a.reason)
    })
}

const ADDRESS: usize = 24;
const MEMBERSHIP_REPLY: usize = 32 + ADDRESS * MEMBERSHIP_MAX;
const _: () = assert!(MEMBERSHIP_REPLY == 9_248);
const _: () = assert!(PAYLOAD_MAX + 200 <= EVENT_MAX, "a full fragment fits one event");
