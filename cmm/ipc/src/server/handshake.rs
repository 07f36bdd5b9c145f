//! What passes before there are rings: 24 bytes from the client with its credentials, one reply.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;

use nix::errno::Errno;
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, UnixCredentials, getsockopt, recvmsg, send, setsockopt, sockopt,
};

use nix::unistd::geteuid;

use super::Connection;
use super::datagrams::{DatagramTransport, Sockets};
use super::files::RingFiles;
use super::rings::RingTransport;
use super::transport::{Mode, Transport};
use crate::abi::{Build, Service, View};
use crate::place::Place;

/// Who a client is, by the kernel's word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// Process id.
    pub pid: i32,
    /// Effective user id.
    pub uid: u32,
    /// Effective primary group id.
    pub gid: u32,
}

impl Credentials {
    /// Whether this is root, or the user that the daemon itself runs as (which is root, but in tests and demos).
    #[must_use]
    pub fn is_root_or_own(&self) -> bool {
        self.uid == 0 || self.uid == geteuid().as_raw()
    }
}

/// A client that has connected and not been let in yet.
#[derive(Debug)]
pub struct Handshake {
    stream: UnixStream,
    service: Service,
    user: u32,
    request: [u8; REQUEST],
    have: usize,
    credentials: Option<Credentials>,
}

impl Handshake {
    pub(super) fn new(stream: UnixStream, service: Service) -> Self {
        // The kernel knows it of any connected socket; where it does not, nobody in particular has connected.
        let user = getsockopt(&stream, sockopt::PeerCredentials).map_or(u32::MAX, |peer| peer.uid());
        Self { stream, service, user, request: [0; REQUEST], have: 0, credentials: None }
    }

    /// Which service it asks for.
    #[must_use]
    pub fn service(&self) -> Service {
        self.service
    }

    /// Whose process has connected: an effective user id.
    #[must_use]
    pub fn user(&self) -> u32 {
        self.user
    }

    /// Reads on. `Some` when the whole request is there.
    ///
    /// # Errors
    /// When the client is gone or does not speak the protocol: drop the handshake without a reply.
    pub fn on_readable(&mut self) -> io::Result<Option<Credentials>> {
        while self.have < REQUEST {
            let mut space = nix::cmsg_space!(UnixCredentials);
            let mut parts = [io::IoSliceMut::new(&mut self.request[self.have..])];
            let got = recvmsg::<()>(
                self.stream.as_raw_fd(),
                &mut parts,
                Some(&mut space),
                MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC,
            );
            let message = match got {
                Ok(message) => message,
                Err(Errno::EAGAIN) => return Ok(None),
                Err(Errno::EINTR) => continue,
                Err(e) => return Err(e.into()),
            };
            for control in message.cmsgs()? {
                if let ControlMessageOwned::ScmCredentials(c) = control {
                    self.credentials = Some(Credentials { pid: c.pid(), uid: c.uid(), gid: c.gid() });
                }
            }
            match message.bytes {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                n => self.have += n,
            }
        }
        let view = View(&self.request);
        let (id, size) = (view.i32(0).unwrap_or_default(), view.i32(8).unwrap_or_default());
        match self.credentials {
            Some(credentials) if id == AUTHENTICATE && size == REQUEST as i32 => Ok(Some(credentials)),
            _ => Err(io::Error::new(io::ErrorKind::InvalidData, "not a connection request")),
        }
    }

    /// Says no, with an errno that the library turns into its result, and closes.
    pub fn refuse(self, errno: i32) {
        // The buffer of a fresh socket has room; a client that is gone need not hear it.
        let _ = send_whole(&self.stream, &reply(-errno));
    }

    /// Makes what carries the messages and says yes.
    ///
    /// # Errors
    /// Why that cannot be made; the client has been told.
    pub fn accept(self, place: &Place, mode: Mode) -> io::Result<Connection> {
        let credentials = self.credentials.ok_or(io::ErrorKind::InvalidInput)?;
        let (service, fd) = (self.service, self.stream.as_raw_fd());
        let (transport, kind, names): (Box<dyn Transport>, _, _) = match mode {
            Mode::SharedMemory => match RingFiles::create(place, service, credentials, fd) {
                Ok((files, rings)) => {
                    let names = files.bases();
                    (Box::new(RingTransport::new(self.stream, files, rings)), CONNECTION_SHM, names)
                }
                Err(e) => return Err(self.cannot(e)),
            },
            Mode::Sockets => match Sockets::create(place, service, credentials, fd) {
                Ok(sockets) => {
                    let names = sockets.names();
                    (Box::new(DatagramTransport::new(self.stream, sockets)), CONNECTION_SOCKET, names)
                }
                Err(e) => return Err(self.cannot(e)),
            },
        };
        setsockopt(transport.stream(), sockopt::PassCred, &false)?;
        let mut message = Build::request(AUTHENTICATE, REPLY).i32(24, kind).u32(28, service.grant());
        for (at, name) in [40, 4_136, 8_232].into_iter().zip(names) {
            message = message.text(at, NAME_FIELD, name.as_os_str().as_bytes());
        }
        send_whole(transport.stream(), &message.done())?;
        Ok(Connection::new(transport, service, credentials))
    }

    /// Tells the client that there is nothing to carry its messages, and why.
    fn cannot(self, why: io::Error) -> io::Error {
        // EAGAIN is no memory to lock; to a client it would mean that the daemon is starting.
        let errno = why.raw_os_error().filter(|errno| *errno != Errno::EAGAIN as i32);
        self.refuse(errno.unwrap_or(Errno::ENOMEM as i32));
        why
    }
}

fn send_whole(stream: &UnixStream, message: &[u8]) -> io::Result<()> {
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    match send(stream.as_raw_fd(), message, flags) {
        Ok(n) if n == message.len() => Ok(()),
        Ok(_) => Err(io::ErrorKind::WriteZero.into()),
        Err(e) => Err(e.into()),
    }
}

impl AsFd for Handshake {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

impl AsRawFd for Handshake {
    fn as_raw_fd(&self) -> RawFd {
        self.stream.as_raw_fd()
    }
}

fn reply(error: i32) -> Vec<u8> {
    Build::request(AUTHENTICATE, REPLY).i32(16, error).done()
}

pub(crate) const AUTHENTICATE: i32 = -1;
pub(crate) const REQUEST: usize = 24;
pub(crate) const REPLY: usize = 12_328;
pub(crate) const NAME_FIELD: usize = 4_096;
pub(crate) const CONNECTION_SHM: i32 = 1;
pub(crate) const CONNECTION_SOCKET: i32 = 0;
const _: () = assert!(8_232 + NAME_FIELD == REPLY);
