//! QUORUM handle.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use super::{Connection, Error};
use crate::abi::quorum::{Event, Request, TRACK_CHANGES, TRACK_CURRENT, number_from};
use crate::abi::{Service, open_reply};
use crate::place::Place;

/// A connection to QUORUM, of model 1: node lists with what joined and left, quorum with the whole ring id.
#[derive(Debug)]
pub struct QuorumClient(Connection);

impl QuorumClient {
    /// Connects.
    ///
    /// # Errors
    /// See [`Connection::connect`].
    pub fn connect(place: &Place, limit: Duration) -> Result<Self, Error> {
        let mut client = Self(Connection::connect(place, Service::Quorum, limit)?);
        client
            .0
            .call(&[&Request::ModelGetType { model: 1 }.encode()], 1)
            .and_then(|r| Ok(number_from(&r)?))?;
        Ok(client)
    }

    /// Whether this node's partition may act.
    ///
    /// # Errors
    /// [`Error`].
    pub fn is_quorate(&mut self) -> Result<bool, Error> {
        let reply = self.0.call(&[&Request::GetQuorate.encode()], 1)?;
        Ok(number_from(&reply)? != 0)
    }

    /// Asks for the current state and every change: they come from [`QuorumClient::dispatch`].
    ///
    /// # Errors
    /// [`Error`].
    pub fn track(&mut self) -> Result<(), Error> {
        let flags = TRACK_CURRENT | TRACK_CHANGES;
        open_reply(&self.0.call(&[&Request::TrackStart { flags }.encode()], 1)?)?;
        Ok(())
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
}

impl AsFd for QuorumClient {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
