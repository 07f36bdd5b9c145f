//! CPG: between libcpg's messages and the core, which holds groups and connection states.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::Path;

use cmm_ipc::CsError;
use cmm_ipc::abi::cpg::{
    Address, Fragment, JOIN_INITIAL_TOTEM, ONE_GROUP, Request, ZERO_COPY_COOKIE, ZERO_COPY_HEADER,
    ZERO_COPY_LENGTH, confchg_event, deliver_head_in, iteration_item_reply, iteration_reply, local_reply,
    membership_reply, totem_event,
};
use cmm_proto::{CpgEvent, CpgFragment, GroupMember, GroupName, GroupReason, Guarantee, Node};
use holdfast_sys::shm::SharedMap;
use holdfast_types::{Boottime, ConnId, NodeId, RingId};

use super::peers::Peers;
use super::{Answer, refusal};

/// The service.
#[derive(Default)]
pub(super) struct Cpg {
    conns: BTreeMap<ConnId, Conn>,
    handles: u64,
    /// The ring that all connections were told of last.
    ring: RingId,
    members: Vec<NodeId>,
    /// The fields before a message, made anew for each.
    head: Vec<u8>,
}

#[derive(Default)]
struct Conn {
    /// The pid it joined with, until its leave is delivered.
    joined: Option<u32>,
    /// After its own join confchg it wants the ring too.
    wants_totem: bool,
    /// After finalize it receives nothing more.
    finalized: bool,
    iterations: BTreeMap<u64, VecDeque<(GroupName, NodeId, u32)>>,
    zero_copy: BTreeMap<u64, SharedMap>,
}

impl Cpg {
    pub(super) fn opened(&mut self, conn: ConnId) {
        self.conns.insert(conn, Conn::default());
    }

    pub(super) fn handle(
        &mut self,
        conn: ConnId,
        request: &Request<'_>,
        peers: &mut Peers,
        node: &mut Node,
        now: Boottime,
    ) -> Answer {
        let Some(credentials) = peers.get(conn).map(|p| p.connection.credentials()) else {
            return Answer::None;
        };
        let state = self.conns.entry(conn).or_default();
        let mut multicast = |guarantee, fragment, past_gate, payload: &[u8]| {
            let guarantee = if guarantee == SAFE { Guarantee::Safe } else { Guarantee::Agreed };
            node.submit(now, cmm_proto::Request::CpgMcast { conn, guarantee, fragment, past_gate, payload })
                .map_err(refusal)
        };
        let outcome = match *request {
            Request::Join { group, pid, flags } => {
                // Identity in the whole cluster: only root may speak for another process (of another pid namespace).
                if !credentials.is_root_or_own() && u32::try_from(credentials.pid) != Ok(pid) {
                    Err(CsError::Access)
                } else {
                    let joined = node.submit(now, cmm_proto::Request::CpgJoin { conn, pid, group });
                    if joined.is_ok() {
                        state.joined = Some(pid);
                        state.wants_totem = flags & JOIN_INITIAL_TOTEM != 0;
                    }
                    joined.map_err(refusal)
                }
            }
            Request::Leave { .. } => node.submit(now, cmm_proto::Request::CpgLeave { conn }).map_err(refusal),
            Request::Mcast { guarantee, payload } => {
                peers.has_sent(conn, now);
                return match multicast(guarantee, None, false, payload) {
                    // It would be lost, and its sender would never know.
                    Err(CsError::TryAgain) => Answer::Hold,
                    _ => Answer::None,
                };
            }
            Request::Fragment { guarantee, fragment, payload } => {
                let Fragment { whole_len, position } = fragment;
                let place = CpgFragment { whole_len, position };
                let outcome = multicast(guarantee, Some(place), peers.in_call(conn, now), payload);
                let more = position != LAST && !matches!(outcome, Err(e) if e != CsError::TryAgain);
                peers.set_in_fragments(conn, more, now);
                if position == LAST {
                    peers.has_sent(conn, now);
                }
                outcome
            }
            Request::ZeroCopyMcast { cookie } => match state.zero_copy.get(&cookie) {
                None => Err(CsError::NotExist),
                Some(map) => {
                    peers.has_sent(conn, now);
                    zero_copy_payload(map).and_then(|(g, payload)| multicast(g, None, false, &payload))
                }
            },
            Request::Finalize => {
                state.finalized = true;
                node.submit(now, cmm_proto::Request::CpgDisconnect { conn }).map_err(refusal)
            }
            Request::MembershipGet { group } => {
                let members: Vec<_> = node.cpg_members(group).iter().map(|m| address(m, 0)).collect();
                return Answer::Reply(membership_reply(&members));
            }
            Request::LocalGet => return Answer::Reply(local_reply(node.me())),
            Request::IterationInit { group, kind } => {
                if state.iterations.len() >= ITERATIONS_MAX {
                    return Answer::Error(CsError::NoResources);
                }
                let Some(items) = snapshot(node, group, kind) else {
                    return Answer::Error(CsError::InvalidParam);
                };
                self.handles += 1;
                state.iterations.insert(self.handles, items);
                return Answer::Reply(iteration_reply(self.handles));
            }
            Request::IterationNext { handle } => match state.iterations.get_mut(&handle) {
                None => Err(CsError::Library),
                Some(items) => match items.pop_front() {
                    None => Err(CsError::NoSections),
                    Some((group, node, pid)) => {
                        return Answer::Reply(iteration_item_reply(&group, node, pid));
                    }
                },
            },
            Request::IterationFinalize { handle } => {
                state.iterations.remove(&handle).map(drop).ok_or(CsError::Library)
            }
            Request::ZeroCopyAlloc { map_size, path } => {
                self.handles += 1;
                zero_copy_map(state, self.handles, map_size, path, credentials.uid)
            }
            Request::ZeroCopyFree { cookie } => {
                state.zero_copy.remove(&cookie).map(drop).ok_or(CsError::NotExist)
            }
        };
        match outcome {
            // What only waits for room in the order waits here; else TRY_AGAIN has a cause that the caller must hear.
            Err(CsError::TryAgain) if !node.gate_open() || is_multicast(request) => Answer::Hold,
            outcome => Answer::Error(outcome.err().unwrap_or(CsError::Ok)),
        }
    }

    /// Something for one connection. The ring itself is told to all of them, by [`Cpg::ring`].
    pub(super) fn event(
        &mut self,
        conn: ConnId,
        event: &CpgEvent,
        node: &Node,
        peers: &mut Peers,
        now: Boottime,
    ) {
        let Some(state) = self.conns.get_mut(&conn).filter(|c| !c.finalized) else { return };
        match event {
            CpgEvent::Deliver { group, sender, fragment, payload } => {
                let fragment = fragment.map(|f| Fragment { whole_len: f.whole_len, position: f.position });
                let buffer = std::mem::take(&mut self.head);
                self.head = deliver_head_in(buffer, group, sender.node, sender.pid, fragment, payload.len());
                peers.send_event(conn, &[&self.head, payload], now);
            }
            CpgEvent::Confchg { group, members, left, joined } => {
                let list = |l: &[(GroupMember, GroupReason)]| {
                    l.iter().map(|(m, reason)| address(m, *reason as u32)).collect::<Vec<_>>()
                };
                let members: Vec<_> = members.iter().map(|m| address(m, 0)).collect();
                let (left, joined) = (list(left), list(joined));
                peers.send_event(conn, &[&confchg_event(group, &members, &left, &joined)], now);
                let me = node.me();
                let own = |a: &Address| a.node == me && Some(a.pid) == state.joined;
                if left.iter().any(own) {
                    state.joined = None;
                } else if joined.iter().any(own) && std::mem::take(&mut state.wants_totem) {
                    peers.send_event(conn, &[&totem_event(self.ring, &self.members)], now);
                }
            }
            CpgEvent::Totem { .. } => {}
        }
    }

    /// A membership change is complete: every connection is told, joined or not.
    pub(super) fn ring(&mut self, ring: RingId, members: &[NodeId], peers: &mut Peers, now: Boottime) {
        (self.ring, self.members) = (ring, members.to_vec());
        let message = totem_event(ring, members);
        for (conn, _) in self.conns.iter().filter(|(_, c)| !c.finalized) {
            peers.send_event(*conn, &[&message], now);
        }
    }

    /// Whether any local process is in a group.
    pub(super) fn has_members(&self) -> bool {
        self.conns.values().any(|c| c.joined.is_some() && !c.finalized)
    }

    pub(super) fn closed(&mut self, conn: ConnId, node: &mut Node, now: Boottime) {
        if self.conns.remove(&conn).is_some() {
            // Nobody is left to hear a refusal; the core keeps what it cannot order yet.
            let _ = node.submit(now, cmm_proto::Request::CpgDisconnect { conn });
        }
    }
}

fn is_multicast(request: &Request<'_>) -> bool {
    matches!(request, Request::Fragment { .. } | Request::ZeroCopyMcast { .. })
}

fn address(member: &GroupMember, reason: u32) -> Address {
    Address { node: member.node, pid: member.pid, reason }
}

fn snapshot(node: &Node, group: &[u8], kind: u32) -> Option<VecDeque<(GroupName, NodeId, u32)>> {
    let groups = node.cpg_groups().into_iter();
    Some(match kind {
        NAMES_ONLY => groups.map(|(name, _)| (name, NodeId::default(), 0)).collect(),
        ONE_GROUP | ALL => groups
            .filter(|(name, _)| kind == ALL || **name == *group)
            .flat_map(|(name, members)| members.into_iter().map(move |m| (name.clone(), m.node, m.pid)))
            .collect(),
        _ => return None,
    })
}

/// Maps the buffer that the client made, and writes the cookie by which it will name it.
///
/// The client chooses the path, so it may only lead to a plain file of its own directly in `/dev/shm`: anything else
/// could block the loop, or lend our rights.
fn zero_copy_map(state: &mut Conn, cookie: u64, size: u64, path: &[u8], owner: u32) -> Result<(), CsError> {
    use std::os::unix::ffi::OsStrExt;

    let path = Path::new(std::ffi::OsStr::from_bytes(path));
    let len = usize::try_from(size).map_err(|_| CsError::InvalidParam)?;
    if !(ZERO_COPY_HEADER..=ZERO_COPY_SIZE_MAX).contains(&len) || path.parent() != Some(Path::new("/dev/shm"))
    {
        return Err(CsError::InvalidParam);
    }
    if state.zero_copy.len() >= ZERO_COPY_MAPS_MAX {
        return Err(CsError::NoResources);
    }
    let map = SharedMap::open_owned(path, len, owner).map_err(|e| match e.kind() {
        io::ErrorKind::NotFound => CsError::NotExist,
        io::ErrorKind::InvalidData => CsError::InvalidParam,
        _ => CsError::Access,
    })?;
    let _ = std::fs::remove_file(path);
    map.write(ZERO_COPY_COOKIE, &cookie.to_ne_bytes());
    state.zero_copy.insert(cookie, map);
    Ok(())
}

/// Guarantee and payload, copied out before anything is done with them.
fn zero_copy_payload(map: &SharedMap) -> Result<(u32, Vec<u8>), CsError> {
    let word = |at| map.atomic_u32(at).load(std::sync::atomic::Ordering::Acquire);
    let len = word(ZERO_COPY_LENGTH) as usize;
    if len > map.len() - ZERO_COPY_HEADER {
        return Err(CsError::InvalidParam);
    }
    let mut payload = vec![0; len];
    map.read(ZERO_COPY_HEADER, &mut payload);
    if map.faulted() { Err(CsError::InvalidParam) } else { Ok((word(ZERO_COPY_GUARANTEE), payload)) }
}

const NAMES_ONLY: u32 = 1;
const ALL: u32 = 3;
/// Position of the last fragment.
const LAST: u32 = 3;
/// `CPG_TYPE_SAFE`.
const SAFE: u32 = 3;
const ZERO_COPY_GUARANTEE: usize = 40;
const ZERO_COPY_SIZE_MAX: usize = 2 * 1_048_576;
const ZERO_COPY_MAPS_MAX: usize = 16;
/// Iterations of one connection: each holds a copy of the groups.
const ITERATIONS_MAX: usize = 8;
