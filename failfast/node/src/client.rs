//! The failfast socket from a daemon's side: arm, beat, disarm; and from an administrator's: list, report, arm and disarm
//! for another process, maintenance.
//!
//! ```no_run
//! use std::path::Path;
//! use std::time::Duration;
//!
//! use failfast::Client;
//! use failfast_core::{ArmRequest, UnitName};
//! use holdfast_types::Span;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let name = UnitName::new("rgmd")?;
//! let mut client = Client::connect(Path::new("/run/holdfast"), Duration::from_secs(5))?;
//! client.arm(&ArmRequest {
//!     name,
//!     delay: Span::from_secs(35),
//!     heartbeat: Span::from_secs(10),
//!     mode: None, // the node's own
//!     restarts: None, // whoever arms it again in time is welcome
//! })?;
//! client.beat(&name)?; // several times in each heartbeat limit, from the loop that must make progress
//! client.disarm(&name)?; // before an orderly end
//! # Ok(())
//! # }
//! ```

use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use failfast_core::limits::REPLY_MAX;
use failfast_core::protocol::{Report, Request, UnitLine};
use failfast_core::{ArmRequest, UnitName};
use holdfast_types::Span;
use nix::sys::socket::{self, AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr};

use crate::scribe::wait_readable;

/// Name of the socket in the run directory.
pub const SOCKET: &str = "failfast.sock";

/// A connection to the failfast registry of this node. Units stay armed when it closes; they end with
/// [`Self::disarm`] or with the process.
#[derive(Debug)]
pub struct Client {
    socket: OwnedFd,
    limit: Duration,
}

/// Why a request did not work.
#[derive(Debug)]
pub enum ClientError {
    /// There is no registry to talk to, or it stopped talking.
    Io {
        /// The socket, where connecting failed.
        path: Option<PathBuf>,
        /// Why.
        source: io::Error,
    },
    /// It refused, and said why.
    Refused(String),
    /// It did not answer in time.
    NoAnswer,
}

impl Client {
    /// Connects to the registry of the node with this run directory. Every answer is waited for at most `limit`.
    ///
    /// # Errors
    /// [`ClientError::Io`]: `NotFound` or `ConnectionRefused` where no `cmmd` runs there, `PermissionDenied`.
    pub fn connect(run_dir: &Path, limit: Duration) -> Result<Self, ClientError> {
        let path = run_dir.join(SOCKET);
        let connect = || {
            let (family, kind) = (AddressFamily::Unix, SockType::SeqPacket);
            let socket = socket::socket(family, kind, SockFlag::SOCK_CLOEXEC, None)?;
            socket::connect(socket.as_raw_fd(), &UnixAddr::new(&path)?)?;
            Ok::<_, nix::Error>(socket)
        };
        match connect() {
            Ok(socket) => Ok(Self { socket, limit }),
            Err(e) => Err(ClientError::Io { path: Some(path), source: e.into() }),
        }
    }

    /// Arms a unit for this process, or arms it anew with other figures.
    ///
    /// # Errors
    /// [`ClientError`]; the unit is not armed then, unless there was no answer.
    pub fn arm(&mut self, request: &ArmRequest) -> Result<(), ClientError> {
        self.ask(&Request::Arm(*request, None)).and_then(expect_ok)
    }

    /// As [`Self::arm`] for process `pid`, as `cmmd` sees pids.
    ///
    /// # Errors
    /// As there; refused where there is no such process.
    pub fn arm_process(&mut self, pid: u32, request: &ArmRequest) -> Result<(), ClientError> {
        self.ask(&Request::Arm(*request, Some(pid))).and_then(expect_ok)
    }

    /// Says that the unit is alive. Waits for nothing.
    ///
    /// # Errors
    /// [`ClientError::Io`]: `WouldBlock` where `cmmd` does not read (try again at the next beat), else it is gone.
    pub fn beat(&self, name: &UnitName) -> Result<(), ClientError> {
        self.send(&Request::Beat(*name), MsgFlags::MSG_DONTWAIT)
    }

    /// Says that the node can do without the unit from now on.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn disarm(&mut self, name: &UnitName) -> Result<(), ClientError> {
        self.ask(&Request::Disarm(*name, None)).and_then(expect_ok)
    }

    /// As [`Self::disarm`] for the unit of process `pid`: not for that of one that has taken its place meanwhile.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn disarm_process(&mut self, pid: u32, name: &UnitName) -> Result<(), ClientError> {
        self.ask(&Request::Disarm(*name, Some(pid))).and_then(expect_ok)
    }

    /// For `length` from now trouble of a unit, or of all (`None`), is only told; zero ends that.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn maintain(&mut self, name: Option<&UnitName>, length: Span) -> Result<(), ClientError> {
        self.ask(&Request::Maintain(name.copied(), length)).and_then(expect_ok)
    }

    /// What the node would do, and with what.
    ///
    /// # Errors
    /// [`ClientError`]; refused by a `cmmd` that is older than this question.
    pub fn report(&mut self) -> Result<Report, ClientError> {
        let reply = self.ask(&Request::Status)?;
        Report::parse(&reply).ok_or_else(|| {
            ClientError::Refused(
                reply.trim_end().strip_prefix("error ").unwrap_or("no answer that is understood").into(),
            )
        })
    }

    /// All units of the node.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn list(&mut self) -> Result<Vec<UnitLine>, ClientError> {
        let reply = self.ask(&Request::List)?;
        match reply.strip_prefix("error ") {
            Some(text) => Err(ClientError::Refused(text.trim_end().into())),
            None => Ok(reply.lines().filter_map(UnitLine::parse).collect()),
        }
    }

    fn send(&self, request: &Request, flags: MsgFlags) -> Result<(), ClientError> {
        let line = request.to_string();
        socket::send(self.socket.as_raw_fd(), line.as_bytes(), flags | MsgFlags::MSG_NOSIGNAL)
            .map_err(broken)?;
        Ok(())
    }

    fn ask(&mut self, request: &Request) -> Result<String, ClientError> {
        let mut buffer = vec![0; REPLY_MAX];
        // An answer that came too late for its request is not the answer to this one.
        while matches!(self.receive(&mut buffer), Ok(1..)) {}
        self.send(request, MsgFlags::empty())?;
        if !wait_readable(&self.socket, self.limit) {
            return Err(ClientError::NoAnswer);
        }
        match self.receive(&mut buffer).map_err(broken)? {
            0 => Err(broken(nix::Error::ECONNRESET)),
            len => Ok(String::from_utf8_lossy(&buffer[..len]).into_owned()),
        }
    }

    fn receive(&self, buffer: &mut [u8]) -> nix::Result<usize> {
        socket::recv(self.socket.as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT)
    }
}

/// Readable when `cmmd` is gone (there are no answers but to questions).
impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn expect_ok(reply: String) -> Result<(), ClientError> {
    match reply.trim_end() {
        "ok" => Ok(()),
        other => Err(ClientError::Refused(other.strip_prefix("error ").unwrap_or(other).into())),
    }
}

fn broken(e: nix::Error) -> ClientError {
    ClientError::Io { path: None, source: e.into() }
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { path: Some(path), source } => {
                write!(f, "cannot reach failfast at {}: {source}; is cmmd running?", path.display())
            }
            Self::Io { path: None, source } => write!(f, "lost failfast: {source}"),
            Self::Refused(text) => write!(f, "failfast refused: {text}"),
            Self::NoAnswer => f.write_str("failfast did not answer in time"),
        }
    }
}
impl std::error::Error for ClientError {}
