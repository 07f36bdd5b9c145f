//! The socket that clients connect to.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, bind, listen, setsockopt, socket, sockopt,
};

use super::Handshake;
use crate::abi::Service;
use crate::place::Place;

/// The listening socket of one service.
#[derive(Debug)]
pub struct Listener {
    socket: std::os::unix::net::UnixListener,
    service: Service,
    path: Option<PathBuf>,
}

impl Listener {
    /// Binds and listens. Clients see the credentials of the process that calls this, and some insist on root's.
    ///
    /// A socket file that is there already is replaced: the caller holds the run directory's lock.
    ///
    /// # Errors
    /// Those of the socket calls; `AddrInUse` where a daemon serves these names already.
    pub fn bind(place: &Place, service: Service) -> io::Result<Self> {
        let address = place.address(service)?;
        let path = place.socket_path(service);
        let socket = socket(
            AddressFamily::Unix,
            SockType::Stream,
            SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC,
            None,
        )?;
        // Before listen: accepted sockets then carry credentials from the first byte.
        setsockopt(&socket, sockopt::PassCred, &true)?;
        if let Some(path) = &path {
            match std::fs::remove_file(path) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
        }
        bind(socket.as_raw_fd(), &address)?;
        let listener = Self { socket: socket.into(), service, path };
        if let Some(path) = &listener.path {
            // Who may do what is decided after the handshake.
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777))?;
        }
        listen(&listener.socket, Backlog::new(128)?)?;
        Ok(listener)
    }

    /// The next client that wants in, if there is one.
    ///
    /// # Errors
    /// Those of accept; running out of descriptors is the one to expect.
    pub fn accept(&self) -> io::Result<Option<Handshake>> {
        loop {
            match self.socket.accept() {
                Ok((stream, _)) => {
                    stream.set_nonblocking(true)?;
                    return Ok(Some(Handshake::new(stream, self.service)));
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(e)
                    if matches!(e.kind(), io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted) => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// Which service it is for.
    #[must_use]
    pub fn service(&self) -> Service {
        self.service
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for Listener {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            let _ = std::fs::remove_file(path);
        }
    }
}
