//! The client's side of one connection.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, connect, recv, send, setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;

use super::Error;
use crate::abi::{Build, CsError, Malformed, Service, View};
use crate::place::Place;
use crate::ring::Ring;
use crate::server::Credentials;
use crate::server::handshake::{AUTHENTICATE, CONNECTION_SHM, NAME_FIELD, REPLY, REQUEST as HELLO};

/// A connection to one service, below the typed handles.
#[derive(Debug)]
pub struct Connection {
    stream: UnixStream,
    request: Ring,
    response: Ring,
    event: Ring,
    grant: usize,
    limit: Duration,
    /// Set when a reply is outstanding that nobody waits for any more: what comes next would answer the wrong call.
    out_of_step: bool,
    /// Bytes still to be read for events already taken.
    due: usize,
    server: Credentials,
}

impl Connection {
    /// How long a call waits for its reply unless told otherwise.
    pub const CALL_LIMIT: Duration = Duration::from_secs(30);

    /// Connects to a service. The daemon answers this promptly or not at all; `limit` bounds it.
    ///
    /// # Errors
    /// [`Error::Refused`] with [`CsError::TryAgain`] while the daemon has no membership yet, [`CsError::Access`] for
    /// users who may not; [`Error::Connect`] without a daemon.
    pub fn connect(place: &Place, service: Service, limit: Duration) -> Result<Self, Error> {
        let (stream, server) = open_socket(place, service, limit).map_err(Error::Connect)?;
        // An abstract name belongs to whoever binds it first.
        if server.uid != 0 && server.uid != nix::unistd::geteuid().as_raw() {
            return Err(Error::Untrusted { uid: server.uid });
        }
        let hello = Build::request(AUTHENTICATE, HELLO).u32(16, service.grant().max(1_048_576)).done();
        let mut reply = vec![0; REPLY];
        exchange(&stream, &hello, &mut reply).map_err(Error::Connect)?;
        let view = View(&reply);
        if view.i32(0)? != AUTHENTICATE || view.i32(8)? != REPLY as i32 {
            return Err(Error::Protocol("not a handshake".into()));
        }
        match view.i32(16)? {
            0 if view.i32(24)? == CONNECTION_SHM => {}
            0 => {
                let text = "the daemon serves its clients over sockets, and this one needs shared memory: remove \"qb_ipc_type: socket\" from system in the daemon's configuration and restart it";
                return Err(Error::Protocol(text.into()));
            }
            error => return Err(Error::Refused(CsError::from_errno(error.saturating_neg()))),
        }
        let attach = |at, with_flow_control| -> Result<Ring, Error> {
            Ring::attach(&path(view, at)?, with_flow_control).map_err(Error::Connect)
        };
        // In this order: the server may unlink everything when it sees us on the event ring.
        let (request, response, event) = (attach(40, true)?, attach(4_136, false)?, attach(8_232, false)?);
        stream.set_nonblocking(true).map_err(Error::Connect)?;
        Ok(Self {
            stream,
            request,
            response,
            event,
            grant: view.u32(28)? as usize,
            limit: Self::CALL_LIMIT,
            out_of_step: false,
            due: 0,
            server,
        })
    }

    /// Sets how long each call waits.
    pub fn set_limit(&mut self, limit: Duration) {
        self.limit = limit;
    }

    /// Who serves.
    #[must_use]
    pub fn server(&self) -> Credentials {
        self.server
    }

    /// Largest message in bytes.
    #[must_use]
    pub fn message_max(&self) -> usize {
        self.grant
    }

    /// Sends a request made of `parts` without waiting for anything.
    ///
    /// # Errors
    /// [`CsError::TryAgain`] where the server says hold back to calls of this `tolerance` (1; multicasts 2), or the
    /// ring is full.
    pub fn send(&mut self, parts: &[&[u8]], tolerance: u32) -> Result<(), Error> {
        if self.out_of_step || self.request.ref_count() != 2 {
            return Err(Error::Disconnected);
        }
        if parts.iter().map(|part| part.len()).sum::<usize>() > self.grant {
            return Err(Error::Refused(CsError::TooBig));
        }
        let flow_control = self.request.flow_control();
        if flow_control > 0 && flow_control <= tolerance || !self.request.push(parts)? {
            return Err(if self.hung_up() { Error::Disconnected } else { Error::Refused(CsError::TryAgain) });
        }
        let end = Instant::now() + self.limit;
        loop {
            match send(self.stream.as_raw_fd(), &[0], MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL) {
                Ok(_) => return Ok(()),
                Err(Errno::EINTR) => {}
                // The chunk is committed, so its byte must follow: wait until the server has read some.
                Err(Errno::EAGAIN) if self.wait_socket(PollFlags::POLLOUT, end) => {}
                Err(Errno::EAGAIN) => {
                    self.out_of_step = true;
                    return Err(Error::TimedOut);
                }
                Err(_) => return Err(Error::Disconnected),
            }
        }
    }

    /// Sends a request and waits for its reply.
    ///
    /// # Errors
    /// Everything but what the reply's error field says, which the caller looks at.
    pub fn call(&mut self, parts: &[&[u8]], tolerance: u32) -> Result<Vec<u8>, Error> {
        self.send(parts, tolerance)?;
        let end = Instant::now() + self.limit;
        let mut reply = Vec::new();
        loop {
            let rest = end.saturating_duration_since(Instant::now());
            if self.response.pop_wait(&mut reply, self.grant, rest.min(SLICE))? {
                return Ok(reply);
            }
            if self.hung_up() {
                // The last reply may have come just before.
                self.out_of_step = true;
                return if self.response.pop(&mut reply, self.grant)? {
                    Ok(reply)
                } else {
                    Err(Error::Disconnected)
                };
            }
            if rest.is_zero() {
                self.out_of_step = true;
                return Err(Error::TimedOut);
            }
        }
    }

    /// The next event, if there is one.
    ///
    /// # Errors
    /// [`Error::Disconnected`] when the server is gone and all events were taken.
    pub fn next_event(&mut self) -> Result<Option<Vec<u8>>, Error> {
        let mut event = Vec::new();
        let mut announced = false;
        loop {
            if self.event.pop(&mut event, self.grant)? {
                self.due += 1;
                self.read_due();
                return Ok(Some(event));
            }
            self.read_due();
            let mut byte = [0];
            match recv(self.stream.as_raw_fd(), &mut byte, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_PEEK) {
                Ok(0) => {
                    return if self.event.pop(&mut event, self.grant)? {
                        Ok(Some(event))
                    } else {
                        Err(Error::Disconnected)
                    };
                }
                // Of an event that was taken before its byte came: that is read first, and there are no more of them than such events.
                Ok(_) if self.due > 0 => {}
                Ok(_) if announced => {
                    return Err(Error::Protocol("an event was announced that is not there".into()));
                }
                // The chunk comes before its byte: it is there now.
                Ok(_) => announced = true,
                Err(Errno::EAGAIN | Errno::EINTR) => return Ok(None),
                Err(_) => return Err(Error::Disconnected),
            }
        }
    }

    /// Waits until [`Connection::next_event`] may have something, or the server is gone; false when `limit` is over.
    #[must_use]
    pub fn wait_event(&self, limit: Duration) -> bool {
        self.wait_socket(PollFlags::POLLIN, Instant::now() + limit)
    }

    fn read_due(&mut self) {
        let mut bytes = [0; 64];
        while self.due > 0 {
            let n = self.due.min(bytes.len());
            match recv(self.stream.as_raw_fd(), &mut bytes[..n], MsgFlags::MSG_DONTWAIT) {
                Ok(n) if n > 0 => self.due -= n,
                Err(Errno::EINTR) => {}
                // The byte follows its chunk; it will be read next time.
                _ => return,
            }
        }
    }

    fn hung_up(&self) -> bool {
        let mut fds = [PollFd::new(self.stream.as_fd(), PollFlags::empty())];
        let polled = poll(&mut fds, PollTimeout::ZERO);
        polled.is_ok_and(|n| n > 0)
            && fds[0].revents().is_some_and(|r| r.intersects(PollFlags::POLLHUP | PollFlags::POLLERR))
    }

    /// Waits for readiness or hang-up; false when time is over.
    fn wait_socket(&self, what: PollFlags, end: Instant) -> bool {
        loop {
            let rest = end.saturating_duration_since(Instant::now());
            let timeout = PollTimeout::try_from(rest).unwrap_or(PollTimeout::MAX);
            let mut fds = [PollFd::new(self.stream.as_fd(), what)];
            match poll(&mut fds, timeout) {
                Ok(n) if n > 0 => return true,
                Err(Errno::EINTR) => {}
                Ok(_) if rest.is_zero() || rest <= Duration::from_millis(1) => return false,
                Ok(_) => {}
                Err(_) => return false,
            }
        }
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

impl AsRawFd for Connection {
    fn as_raw_fd(&self) -> RawFd {
        self.stream.as_raw_fd()
    }
}

fn open_socket(place: &Place, service: Service, limit: Duration) -> io::Result<(UnixStream, Credentials)> {
    let address = place.address(service)?;
    let fd = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    let limit =
        TimeVal::new(limit.as_secs().try_into().unwrap_or(i64::MAX), limit.subsec_micros().max(1).into());
    setsockopt(&fd, sockopt::SendTimeout, &limit)?;
    setsockopt(&fd, sockopt::ReceiveTimeout, &limit)?;
    connect(fd.as_raw_fd(), &address)?;
    let peer = nix::sys::socket::getsockopt(&fd, sockopt::PeerCredentials)?;
    Ok((UnixStream::from(fd), Credentials { pid: peer.pid(), uid: peer.uid(), gid: peer.gid() }))
}

fn exchange(mut stream: &UnixStream, hello: &[u8], reply: &mut [u8]) -> io::Result<()> {
    use std::io::{Read, Write};
    stream.write_all(hello)?;
    stream.read_exact(reply).map_err(|e| match e.kind() {
        io::ErrorKind::WouldBlock => io::Error::new(io::ErrorKind::TimedOut, "no answer to the handshake"),
        io::ErrorKind::UnexpectedEof => io::Error::new(e.kind(), "closed without an answer to the handshake"),
        _ => e,
    })
}

fn path(view: View<'_>, at: usize) -> Result<PathBuf, Malformed> {
    use std::os::unix::ffi::OsStringExt;
    Ok(PathBuf::from(std::ffi::OsString::from_vec(view.text(at, NAME_FIELD)?.to_vec())))
}

/// How long to wait before the socket is looked at for a hang-up.
const SLICE: Duration = Duration::from_millis(100);
