//! CMAP handle.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use super::{Connection, Error};
use crate::abi::cmap::{
    Event, Map, Request, VALUE_MAX, Value, get_from, handle_from, iteration_item_from, track,
};
use crate::abi::{CsError, Service, open_reply};
use crate::place::Place;

/// A connection to CMAP.
#[derive(Debug)]
pub struct CmapClient(Connection);

/// Something that is tracked; give it back to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Track(u64);

impl CmapClient {
    /// Connects to the configuration and run-time map.
    ///
    /// # Errors
    /// See [`Connection::connect`].
    pub fn connect(place: &Place, limit: Duration) -> Result<Self, Error> {
        Connection::connect(place, Service::Cmap, limit).map(Self)
    }

    /// Connects to one of the maps.
    ///
    /// # Errors
    /// See [`Connection::connect`].
    pub fn connect_map(place: &Place, map: Map, limit: Duration) -> Result<Self, Error> {
        let mut client = Self::connect(place, limit)?;
        client.status(&Request::SelectMap { map: map.number() })?;
        Ok(client)
    }

    /// The value of a key; none if there is no such key.
    ///
    /// # Errors
    /// [`Error`].
    pub fn get(&mut self, key: &str) -> Result<Option<Value>, Error> {
        let reply = self.call(&Request::Get { key: key.as_bytes(), buffer: VALUE_MAX as u64 })?;
        match get_from(&reply) {
            Ok(value) => Ok(Some(value)),
            Err(CsError::NotExist) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    /// The value of a key as a string; none if there is no such key, or its value is no string.
    ///
    /// # Errors
    /// [`Error`].
    pub fn get_str(&mut self, key: &str) -> Result<Option<String>, Error> {
        Ok(self.get(key)?.and_then(|value| value.as_str().map(str::to_owned)))
    }

    /// The value of a key as a number; none if there is no such key, or its value is no unsigned number.
    ///
    /// # Errors
    /// [`Error`].
    pub fn get_u64(&mut self, key: &str) -> Result<Option<u64>, Error> {
        Ok(self.get(key)?.and_then(|value| value.as_u64()))
    }

    /// Sets a key.
    ///
    /// # Errors
    /// [`CsError::Access`] for a read-only key; else [`Error`].
    pub fn set(&mut self, key: &str, value: &Value) -> Result<(), Error> {
        let bytes = match value.bytes().split_last() {
            // libcmap sends strings without their NUL.
            Some((0, text)) if value.kind() == crate::abi::cmap::Kind::String => text,
            _ => value.bytes(),
        };
        self.status(&Request::Set { key: key.as_bytes(), kind: value.kind() as u8, value: bytes })
    }

    /// Deletes a key.
    ///
    /// # Errors
    /// [`CsError::NotExist`] for what is not there; else [`Error`].
    pub fn delete(&mut self, key: &str) -> Result<(), Error> {
        self.status(&Request::Delete { key: key.as_bytes() })
    }

    /// Adds to an integer.
    ///
    /// # Errors
    /// [`CsError::InvalidParam`] for what is no integer; else [`Error`].
    pub fn adjust(&mut self, key: &str, step: i32) -> Result<(), Error> {
        self.status(&Request::Adjust { key: key.as_bytes(), step })
    }

    /// All keys that begin with `prefix`, ascending. No snapshot: what is deleted meanwhile may still be in it.
    ///
    /// # Errors
    /// [`Error`].
    pub fn keys(&mut self, prefix: &str) -> Result<Vec<String>, Error> {
        let handle = handle_from(&self.call(&Request::IterationInit { prefix: prefix.as_bytes() })?)?;
        let mut keys = Vec::new();
        loop {
            match iteration_item_from(&self.call(&Request::IterationNext { handle })?) {
                Ok(key) => keys.push(key),
                Err(CsError::NoSections) => break,
                Err(e) => return Err(e.into()),
            }
        }
        self.status(&Request::IterationFinalize { handle })?;
        Ok(keys)
    }

    /// All keys that begin with `prefix`, ascending, with their values.
    ///
    /// # Errors
    /// [`Error`].
    pub fn entries(&mut self, prefix: &str) -> Result<Vec<(String, Value)>, Error> {
        let mut entries = Vec::new();
        for key in self.keys(prefix)? {
            if let Some(value) = self.get(&key)? {
                entries.push((key, value));
            }
        }
        Ok(entries)
    }

    /// Asks for every change of one key, or with `is_prefix` of all keys that begin so. `context` comes back in the
    /// events ([`Event::client_handle`]).
    ///
    /// # Errors
    /// [`Error`].
    pub fn track(&mut self, key: &str, is_prefix: bool, context: u64) -> Result<Track, Error> {
        let prefix = if is_prefix { track::PREFIX } else { 0 };
        let what = track::ADD | track::MODIFY | track::DELETE | prefix;
        let reply = self.call(&Request::TrackAdd { key: key.as_bytes(), what, client_handle: context })?;
        Ok(Track(handle_from(&reply)?))
    }

    /// Stops that. Events that were sent before may still come.
    ///
    /// # Errors
    /// [`Error`].
    pub fn untrack(&mut self, track: Track) -> Result<(), Error> {
        self.status(&Request::TrackDelete { handle: track.0 })
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

    fn call(&mut self, request: &Request<'_>) -> Result<Vec<u8>, Error> {
        let message = request.encode().map_err(CsError::from)?;
        self.0.call(&[&message], 1)
    }

    fn status(&mut self, request: &Request<'_>) -> Result<(), Error> {
        open_reply(&self.call(request)?)?;
        Ok(())
    }
}

impl AsFd for CmapClient {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
