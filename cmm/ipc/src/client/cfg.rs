//! CFG handle.

use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use holdfast_types::NodeId;

use super::{Connection, Error};
use crate::abi::cfg::{
    NODE_STATUS_V1, NodeStatus, Request, TestShutdown, local_from, node_addresses_from, ring_status_from,
};
use crate::abi::{Service, open_reply};
use crate::place::Place;

/// A connection to CFG.
#[derive(Debug)]
pub struct CfgClient(Connection);

impl CfgClient {
    /// Connects.
    ///
    /// # Errors
    /// See [`Connection::connect`].
    pub fn connect(place: &Place, limit: Duration) -> Result<Self, Error> {
        Connection::connect(place, Service::Cfg, limit).map(Self)
    }

    /// This node's id.
    ///
    /// # Errors
    /// [`Error`].
    pub fn local(&mut self) -> Result<NodeId, Error> {
        Ok(local_from(&self.call(&Request::LocalGet)?)?)
    }

    /// Name and status text of each link.
    ///
    /// # Errors
    /// [`Error`].
    pub fn ring_status(&mut self) -> Result<Vec<(String, String)>, Error> {
        Ok(ring_status_from(&self.call(&Request::RingStatus)?)?)
    }

    /// Addresses of a node.
    ///
    /// # Errors
    /// [`crate::CsError::NotExist`] for an unknown node; else [`Error`].
    pub fn addresses(&mut self, node: NodeId) -> Result<Vec<IpAddr>, Error> {
        Ok(node_addresses_from(&self.call(&Request::NodeAddresses { node })?)?)
    }

    /// State of a node and of the links to it.
    ///
    /// # Errors
    /// [`crate::CsError::FailedOperation`] for an unknown node; else [`Error`].
    pub fn node_status(&mut self, node: NodeId) -> Result<NodeStatus, Error> {
        Ok(NodeStatus::from_reply(&self.call(&Request::NodeStatus { node, version: NODE_STATUS_V1 })?)?)
    }

    /// Makes a member leave at once, with a reason for its log.
    ///
    /// # Errors
    /// [`crate::CsError::NotExist`] for what is no member; else [`Error`].
    pub fn kill_node(&mut self, node: NodeId, why: &str) -> Result<(), Error> {
        self.status(&Request::KillNode { node, reason: why.as_bytes() })
    }

    /// Asks the daemon to stop; `flags` as [`crate::abi::cfg::SHUTDOWN_REQUEST`] and its siblings.
    ///
    /// # Errors
    /// [`crate::CsError::Busy`] when a client refused; else [`Error`].
    pub fn try_shutdown(&mut self, flags: u32) -> Result<(), Error> {
        self.status(&Request::TryShutdown { flags })
    }

    /// Asks to be asked before the daemon stops: the question comes from [`CfgClient::dispatch`].
    ///
    /// # Errors
    /// [`Error`].
    pub fn track(&mut self) -> Result<(), Error> {
        self.status(&Request::TrackStart)
    }

    /// Answers that question.
    ///
    /// # Errors
    /// [`Error`].
    pub fn reply_to_shutdown(&mut self, yes: bool) -> Result<(), Error> {
        self.status(&Request::ShutdownReply { yes })
    }

    /// Makes the daemon open its log file anew.
    ///
    /// # Errors
    /// [`Error`].
    pub fn reopen_logs(&mut self) -> Result<(), Error> {
        self.status(&Request::ReopenLogs)
    }

    /// Has every member read its configuration file again. It is answered when this node has.
    ///
    /// # Errors
    /// [`crate::CsError::InvalidParam`] when this node's file is refused; else [`Error`].
    pub fn reload(&mut self) -> Result<(), Error> {
        self.status(&Request::Reload)
    }

    /// The next event, if there is one. Never blocks.
    ///
    /// # Errors
    /// [`Error`].
    pub fn dispatch(&mut self) -> Result<Option<TestShutdown>, Error> {
        self.0.next_event()?.map(|bytes| Ok(TestShutdown::decode(&bytes)?)).transpose()
    }

    /// The connection below: limits, waiting, who serves.
    pub fn connection(&mut self) -> &mut Connection {
        &mut self.0
    }

    fn call(&mut self, request: &Request<'_>) -> Result<Vec<u8>, Error> {
        self.0.call(&[&request.encode()], 1)
    }

    fn status(&mut self, request: &Request<'_>) -> Result<(), Error> {
        open_reply(&self.call(request)?)?;
        Ok(())
    }
}

impl AsFd for CfgClient {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
