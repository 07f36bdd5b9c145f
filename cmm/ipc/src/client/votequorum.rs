//! VOTEQUORUM handle.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use holdfast_types::{NodeId, Votes};

use super::{Connection, Error};
use crate::abi::quorum::{TRACK_CHANGES, TRACK_CURRENT};
use crate::abi::votequorum::{Event, Info, Request};
use crate::abi::{Service, open_reply};
use crate::place::Place;

/// A connection to VOTEQUORUM.
#[derive(Debug)]
pub struct VotequorumClient(Connection);

impl VotequorumClient {
    /// Connects.
    ///
    /// # Errors
    /// See [`Connection::connect`].
    pub fn connect(place: &Place, limit: Duration) -> Result<Self, Error> {
        Connection::connect(place, Service::Votequorum, limit).map(Self)
    }

    /// Votes and state of a node; none: the local one.
    ///
    /// # Errors
    /// [`crate::CsError::NotExist`] for an unknown node; else [`Error`].
    pub fn info(&mut self, node: Option<NodeId>) -> Result<Info, Error> {
        let reply = self.0.call(&[&Request::GetInfo { node: node.unwrap_or_default() }.encode()], 1)?;
        Ok(Info::from_reply(&reply)?)
    }

    /// Sets the expected votes of the cluster.
    ///
    /// # Errors
    /// [`crate::CsError::InvalidParam`] for what would cost quorum; else [`Error`].
    pub fn set_expected(&mut self, expected: Votes) -> Result<(), Error> {
        self.status(Request::SetExpected { expected })
    }

    /// Sets the votes of a node.
    ///
    /// # Errors
    /// [`Error`].
    pub fn set_votes(&mut self, node: NodeId, votes: Votes) -> Result<(), Error> {
        self.status(Request::SetVotes { votes, node })
    }

    /// Asks for the current state and every change: they come from [`VotequorumClient::dispatch`].
    ///
    /// # Errors
    /// [`Error`].
    pub fn track(&mut self, context: u64) -> Result<(), Error> {
        self.status(Request::TrackStart { context, flags: TRACK_CURRENT | TRACK_CHANGES })
    }

    /// The next event, if there is one. Never blocks.
    ///
    /// # Errors
    /// [`Error`].
    pub fn dispatch(&mut self) -> Result<Option<Event>, Error> {
        self.0.next_event()?.map(|bytes| Ok(Event::decode(&bytes)?)).transpose()
    }

    /// The connection below: limits, waiting, who serves.
    pub fn connection(&mut self) -> &mut Connection {
        &mut self.0
    }

    fn status(&mut self, request: Request<'_>) -> Result<(), Error> {
        open_reply(&self.0.call(&[&request.encode()], 1)?)?;
        Ok(())
    }
}

impl AsFd for VotequorumClient {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
