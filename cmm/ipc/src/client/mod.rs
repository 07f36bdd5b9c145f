//! Clients of the local daemon, `cmmd` or a real corosync: one typed handle a service.
//!
//! Calls block until the reply is there or [`Connection::CALL_LIMIT`] is over (another limit can be set per handle).
//! `dispatch` never blocks: poll the handle's descriptor ([`std::os::fd::AsFd`]) for readability, then call `dispatch`
//! until it gives `None`. After [`Error::Disconnected`] or [`Error::TimedOut`] a handle is of no more use; make a new
//! one.

mod cfg;
mod cmap;
mod connection;
mod cpg;
mod quorum;
mod votequorum;

pub use cfg::CfgClient;
pub use cmap::{CmapClient, Track};
pub use connection::Connection;
pub use cpg::{CpgClient, CpgEvent};
pub use quorum::QuorumClient;
pub use votequorum::VotequorumClient;

use crate::abi::{CsError, Malformed};
use crate::ring::Broken;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no daemon to connect to.
    #[error("cannot connect to the cluster daemon: {0}; is cmmd running?")]
    Connect(#[source] std::io::Error),
    /// Who listens there is neither root nor this user.
    #[error("the process that listens as the cluster daemon runs as uid {uid}, which is not to be trusted")]
    Untrusted {
        /// Whose it is.
        uid: u32,
    },
    /// The daemon said no.
    #[error("the cluster daemon answered {0}")]
    Refused(#[from] CsError),
    /// The daemon is gone, or closed this connection.
    #[error("the connection to the cluster daemon is lost")]
    Disconnected,
    /// No answer within the limit.
    #[error("the cluster daemon did not answer in time")]
    TimedOut,
    /// The daemon sent what is no message of this service, or its ring is broken.
    #[error("the cluster daemon broke the protocol: {0}")]
    Protocol(String),
}

impl Error {
    /// Whether the same call may succeed a moment later: the daemon is starting, its queue is full, or a membership
    /// change is under way.
    #[must_use]
    pub fn is_try_again(&self) -> bool {
        matches!(self, Self::Refused(CsError::TryAgain))
    }
}

impl From<Malformed> for Error {
    fn from(e: Malformed) -> Self {
        Self::Protocol(e.to_string())
    }
}

impl From<Broken> for Error {
    fn from(e: Broken) -> Self {
        Self::Protocol(e.to_string())
    }
}
