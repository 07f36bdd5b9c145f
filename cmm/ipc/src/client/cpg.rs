//! CPG handle.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use holdfast_types::{NodeId, RingId};

use super::{Connection, Error};
use crate::abi::cpg::{
    Address, Event, Fragment, NAME_MAX, PAYLOAD_MAX, Request, iteration_from, iteration_item_from,
    local_from, membership_from,
};
use crate::abi::{CsError, Service, open_reply};
use crate::place::Place;

/// A connection to CPG. It can be in one group at a time.
#[derive(Debug)]
pub struct CpgClient {
    connection: Connection,
    pid: u32,
    /// Large messages of which the last fragment has not come yet, by sender.
    partial: BTreeMap<(NodeId, u32), Vec<u8>>,
    /// The group it joined; named again when it leaves.
    group: Vec<u8>,
}

/// What a member is told. Large messages arrive whole.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "fields named as in cpg.h")]
pub enum CpgEvent {
    /// Membership of the group changed.
    Confchg { group: Vec<u8>, members: Vec<Address>, left: Vec<Address>, joined: Vec<Address> },
    /// A message.
    Deliver { group: Vec<u8>, node: NodeId, pid: u32, payload: Vec<u8> },
    /// The ring changed.
    Totem { ring: RingId, members: Vec<NodeId> },
}

impl CpgClient {
    /// Largest message of [`CpgClient::mcast`] in bytes. Beyond libcpg's [`PAYLOAD_MAX`] it goes in fragments.
    pub const MESSAGE_MAX: usize = 64 * 1_048_576;

    /// Connects.
    ///
    /// # Errors
    /// See [`Connection::connect`].
    pub fn connect(place: &Place, limit: Duration) -> Result<Self, Error> {
        let connection = Connection::connect(place, Service::Cpg, limit)?;
        Ok(Self { connection, pid: std::process::id(), partial: BTreeMap::new(), group: Vec::new() })
    }

    /// This node's id.
    ///
    /// # Errors
    /// [`Error`].
    pub fn local(&mut self) -> Result<NodeId, Error> {
        Ok(local_from(&self.call(&Request::LocalGet)?)?)
    }

    /// Joins a group: a name of at most 128 bytes. In force with the first confchg event, which contains this member.
    ///
    /// # Errors
    /// [`CsError::Exist`] when this connection or this pid is in the group; [`Error::is_try_again`] during a membership
    /// change; else [`Error`].
    pub fn join(&mut self, group: &[u8]) -> Result<(), Error> {
        checked(group)?;
        self.status(&Request::Join { group, pid: self.pid, flags: 0 })?;
        self.group = group.to_vec();
        Ok(())
    }

    /// Leaves the group; in force with the confchg event that says so.
    ///
    /// # Errors
    /// [`CsError::NotExist`] when it is in none; else [`Error`].
    pub fn leave(&mut self) -> Result<(), Error> {
        let group = std::mem::take(&mut self.group);
        self.status(&Request::Leave { group: &group, pid: self.pid })
    }

    /// Multicasts to the group in total order, this member included. Success means queued.
    ///
    /// # Errors
    /// [`Error::is_try_again`] when the order queue is full, a membership change is under way, or this member has too many
    /// events waiting: nothing was sent; take what [`CpgClient::dispatch`] has, then try again. For a message in fragments [`CsError::Interrupt`] means the same after some were sent: receivers discard
    /// them. [`CsError::TooBig`] above [`CpgClient::MESSAGE_MAX`].
    pub fn mcast(&mut self, payload: &[u8]) -> Result<(), Error> {
        if payload.len() <= PAYLOAD_MAX {
            let head = Request::Mcast { guarantee: AGREED, payload }.head();
            return self.connection.send(&[&head, payload], MULTICAST_TOLERANCE);
        }
        if payload.len() > Self::MESSAGE_MAX {
            return Err(CsError::TooBig.into());
        }
        let whole_len = u32::try_from(payload.len()).map_err(|_| CsError::TooBig)?;
        let count = payload.len().div_ceil(PAYLOAD_MAX);
        for (k, piece) in payload.chunks(PAYLOAD_MAX).enumerate() {
            let position = match k {
                0 => FIRST,
                k if k + 1 == count => LAST,
                _ => CONTINUED,
            };
            self.send_fragment(Fragment { whole_len, position }, piece)?;
        }
        Ok(())
    }

    /// One piece. The first is given back to the caller when it cannot go now; the others follow it patiently, since a
    /// message cut short would be lost.
    fn send_fragment(&mut self, fragment: Fragment, payload: &[u8]) -> Result<(), Error> {
        let head = Request::Fragment { guarantee: AGREED, fragment, payload }.head();
        for _ in 0..FRAGMENT_TRIES {
            let reply = self.connection.call(&[&head, payload], MULTICAST_TOLERANCE);
            match reply.and_then(|reply| Ok(open_reply(&reply).map(drop)?)) {
                Err(e) if e.is_try_again() && fragment.position != FIRST => {
                    std::thread::sleep(FRAGMENT_PAUSE);
                }
                other => return other,
            }
        }
        Err(CsError::Interrupt.into())
    }

    /// Members of any group.
    ///
    /// # Errors
    /// [`Error`].
    pub fn members(&mut self, group: &[u8]) -> Result<Vec<Address>, Error> {
        checked(group)?;
        Ok(membership_from(&self.call(&Request::MembershipGet { group })?)?)
    }

    /// Every process of every group, by group.
    ///
    /// # Errors
    /// [`Error`].
    pub fn all(&mut self) -> Result<Vec<(Vec<u8>, NodeId, u32)>, Error> {
        let handle = iteration_from(&self.call(&Request::IterationInit { group: &[], kind: ITERATE_ALL })?)?;
        let mut all = Vec::new();
        loop {
            match iteration_item_from(&self.call(&Request::IterationNext { handle })?) {
                Ok(item) => all.push(item),
                Err(CsError::NoSections) => break,
                Err(e) => return Err(e.into()),
            }
        }
        self.status(&Request::IterationFinalize { handle })?;
        Ok(all)
    }

    /// The next event, if there is one. Never blocks.
    ///
    /// # Errors
    /// [`Error`].
    pub fn dispatch(&mut self) -> Result<Option<CpgEvent>, Error> {
        while let Some(bytes) = self.connection.next_event()? {
            match Event::decode(&bytes)? {
                Event::Confchg { group, members, left, joined } => {
                    for gone in &left {
                        self.partial.remove(&(gone.node, gone.pid));
                    }
                    return Ok(Some(CpgEvent::Confchg { group, members, left, joined }));
                }
                Event::Totem { ring, members } => return Ok(Some(CpgEvent::Totem { ring, members })),
                Event::Deliver { group, node, pid, fragment: None, payload } => {
                    return Ok(Some(CpgEvent::Deliver { group, node, pid, payload }));
                }
                Event::Deliver { group, node, pid, fragment: Some(fragment), payload } => {
                    if let Some(payload) = self.assemble((node, pid), fragment, payload) {
                        return Ok(Some(CpgEvent::Deliver { group, node, pid, payload }));
                    }
                }
            }
        }
        Ok(None)
    }

    /// The connection below: limits, waiting, who serves.
    pub fn connection(&mut self) -> &mut Connection {
        &mut self.connection
    }

    /// The whole message, when this was its last piece. One that does not add up is dropped, as its sender gave it up.
    fn assemble(&mut self, sender: (NodeId, u32), fragment: Fragment, piece: Vec<u8>) -> Option<Vec<u8>> {
        let whole = fragment.whole_len as usize;
        let mut message = match fragment.position {
            FIRST => Vec::new(),
            _ => self.partial.remove(&sender)?,
        };
        message.extend_from_slice(&piece);
        if message.len() > whole || whole > Self::MESSAGE_MAX {
            return None;
        }
        if fragment.position == LAST {
            return (message.len() == whole).then_some(message);
        }
        self.partial.insert(sender, message);
        None
    }

    fn call(&mut self, request: &Request<'_>) -> Result<Vec<u8>, Error> {
        self.connection.call(&[&request.head(), request.payload()], 1)
    }

    fn status(&mut self, request: &Request<'_>) -> Result<(), Error> {
        open_reply(&self.call(request)?)?;
        Ok(())
    }
}

impl AsFd for CpgClient {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.connection.as_fd()
    }
}

fn checked(group: &[u8]) -> Result<(), Error> {
    if group.len() > NAME_MAX { Err(CsError::NameTooLong.into()) } else { Ok(()) }
}

const AGREED: u32 = 2;
const MULTICAST_TOLERANCE: u32 = 2;
const ITERATE_ALL: u32 = 3;
const FIRST: u32 = 1;
const CONTINUED: u32 = 2;
const LAST: u32 = 3;
/// As libcpg does: 100 times, 10 ms apart.
const FRAGMENT_TRIES: u32 = 100;
const FRAGMENT_PAUSE: Duration = Duration::from_millis(10);
