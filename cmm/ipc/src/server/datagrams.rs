//! Messages as datagrams: one socket for requests and replies, one for events, and a small shared file that tells the
//! client to hold back. The stream carries nothing more and says by its end that a side is gone.
//!
//! The sockets have abstract names, to which every process of the network namespace can send. Only what comes from the
//! client's own end counts, and first it must come from its user. As soon as that end is there, our socket is connected to
//! it, and the kernel refuses all others; what they had sent before may still wait.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::fchown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use holdfast_sys::shm::SharedMap;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, RecvMsg, SockFlag, SockType, SockaddrLike, UnixAddr,
    UnixCredentials, bind, connect, recv, recvmsg, send, sendmsg, setsockopt, socket, sockopt,
};
use nix::unistd::geteuid;

use super::files::ClientDir;
use super::transport::Transport;
use super::{Credentials, Gone, Next};
use crate::abi::{Service, View};
use crate::place::{Place, padded};
use crate::ring::Broken;

/// What is made before the client is answered.
#[derive(Debug)]
pub(super) struct Sockets {
    client: Credentials,
    /// The sockets' names begin so.
    base: PathBuf,
    request: OwnedFd,
    event: OwnedFd,
    /// The client's ends.
    response_at: UnixAddr,
    event_at: UnixAddr,
    control: SharedMap,
    /// Until the client's first request: then it has mapped the control file.
    files: Option<ControlFile>,
}

#[derive(Debug)]
pub(super) struct DatagramTransport {
    stream: UnixStream,
    sockets: Sockets,
    /// Connected to the client's end.
    takes_requests: bool,
    /// Its user has sent a request from there.
    has_asked: bool,
    /// Connected to the client's end.
    takes_events: bool,
    /// For the credentials of who sends.
    space: Vec<u8>,
}

/// The control file, in a folder of its own. Removed when this is dropped.
#[derive(Debug)]
pub(super) struct ControlFile {
    dir: ClientDir,
    path: PathBuf,
}

impl ControlFile {
    fn new(dir: ClientDir, service: Service) -> Self {
        let path = dir.path().join(format!("qb-control-{}", service.name()));
        Self { dir, path }
    }
}

impl Drop for ControlFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path); // the folder goes with its own drop
    }
}

impl Sockets {
    pub(super) fn create(
        place: &Place,
        service: Service,
        client: Credentials,
        fd: RawFd,
    ) -> io::Result<Self> {
        let dir = ClientDir::create(place, client, fd)?;
        let base = dir.path().join(format!("qb-{}", service.name()));
        let files = ControlFile::new(dir, service);
        let (control, file) = SharedMap::create(&files.path, CONTROL_LEN)?;
        if client.uid != geteuid().as_raw() {
            fchown(&file, Some(client.uid), Some(client.gid))?;
        }
        files.dir.open_to_others()?;
        let size = service.grant() as usize;
        let request = open(&address(&base, "request")?, size)?;
        setsockopt(&request, sockopt::PassCred, &true)?;
        let event = open(&address(&base, "event-tx")?, size)?;
        let (response_at, event_at) = (address(&base, "response")?, address(&base, "event")?);
        Ok(Self { client, base, request, event, response_at, event_at, control, files: Some(files) })
    }

    /// What the handshake's reply names: the control file, and the base of the sockets' names.
    pub(super) fn names(&self) -> [PathBuf; 3] {
        let control = self.files.as_ref().map(|files| files.path.clone()).unwrap_or_default();
        [control, self.base.clone(), PathBuf::new()]
    }

    /// Adds to a counter in the control file, which is for statistics only.
    fn count(&self, counter: usize, sent: u32) {
        self.control.atomic_u32(counter).fetch_add(sent, Ordering::Relaxed);
    }
}

impl DatagramTransport {
    pub(super) fn new(stream: UnixStream, sockets: Sockets) -> Self {
        let space = nix::cmsg_space!(UnixCredentials);
        Self { stream, sockets, takes_requests: false, has_asked: false, takes_events: false, space }
    }

    /// Why there is no request.
    fn look_at_stream(&self) -> Next {
        let mut byte = [0];
        loop {
            match recv(self.stream.as_raw_fd(), &mut byte, MsgFlags::MSG_DONTWAIT) {
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Next::Nothing,
                // It has no business to write here; whoever does is treated as gone.
                Ok(_) | Err(_) => return Next::HungUp,
            }
        }
    }

    /// Takes a datagram; whether it is the client's.
    fn receive(&mut self, out: &mut [u8]) -> nix::Result<bool> {
        let mut parts = [io::IoSliceMut::new(out)];
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
        let fd = self.sockets.request.as_raw_fd();
        let message = recvmsg::<UnixAddr>(fd, &mut parts, Some(&mut self.space), flags)?;
        // Whoever has no name at all comes with an address of no length, which cannot be compared.
        let end = &self.sockets.response_at;
        let from_its_end = message.address.is_some_and(|from| from.len() == end.len() && from == *end);
        let own = from_its_end && (self.has_asked || sender(&message) == Some(self.sockets.client.uid));
        if !self.takes_requests {
            self.takes_requests = connect(fd, &self.sockets.response_at).is_ok();
        }
        if own && !self.has_asked {
            self.has_asked = true;
            self.sockets.files = None;
        }
        Ok(own)
    }
}

impl Transport for DatagramTransport {
    fn stream(&self) -> &UnixStream {
        &self.stream
    }

    fn request_fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.sockets.request.as_fd())
    }

    fn take_request(&mut self, out: &mut Vec<u8>, max: usize) -> Result<Next, Gone> {
        for _ in 0..STRANGERS_MAX {
            let fd = self.sockets.request.as_raw_fd();
            let peek = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_PEEK | MsgFlags::MSG_TRUNC;
            let len = match recv(fd, &mut [], peek) {
                Ok(len) => len,
                Err(Errno::EINTR) => continue,
                Err(Errno::EAGAIN) => return Ok(self.look_at_stream()),
                Err(_) => return Ok(Next::HungUp),
            };
            out.clear();
            out.resize(len.min(max), 0);
            match self.receive(out) {
                Ok(true) => {}
                Ok(false) | Err(Errno::EINTR | Errno::EAGAIN) => continue,
                Err(_) => return Ok(Next::HungUp),
            }
            if len > max || View(out).i32(8).ok() != i32::try_from(len).ok() {
                return Err(Broken("sent a datagram of another length than it says").into());
            }
            self.sockets.count(REQUESTS_SENT, u32::MAX); // one less
            return Ok(Next::Request);
        }
        Err(Broken("drowns in the datagrams of others").into())
    }

    fn send_response(&mut self, message: &[u8]) -> Result<bool, Gone> {
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        loop {
            match send(self.sockets.request.as_raw_fd(), message, flags) {
                Ok(_) => {
                    self.sockets.count(RESPONSES_SENT, 1);
                    return Ok(true);
                }
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN | Errno::ENOBUFS | Errno::EMSGSIZE) => return Ok(false),
                // Gone, as the stream will tell.
                Err(_) => return Ok(true),
            }
        }
    }

    fn send_event(&mut self, parts: &[&[u8]]) -> Result<bool, Gone> {
        if !self.takes_events {
            // The client binds its end after it has our answer to the handshake.
            self.takes_events = connect(self.sockets.event.as_raw_fd(), &self.sockets.event_at).is_ok();
            if !self.takes_events {
                return Ok(false);
            }
        }
        let mut slices = [IoSlice::new(&[]); PARTS_MAX];
        assert!(parts.len() <= slices.len(), "an event has few parts");
        for (slice, part) in slices.iter_mut().zip(parts) {
            *slice = IoSlice::new(part);
        }
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        loop {
            match sendmsg::<()>(self.sockets.event.as_raw_fd(), &slices[..parts.len()], &[], flags, None) {
                Ok(_) => {
                    self.sockets.count(EVENTS_SENT, 1);
                    return Ok(true);
                }
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN | Errno::ENOBUFS) => return Ok(false),
                Err(Errno::EMSGSIZE) => return Err(Gone::NoRoom),
                Err(_) => return Ok(true),
            }
        }
    }

    fn set_flow_control(&mut self, value: u32) {
        self.sockets.control.atomic_u32(REQUEST_FLOW_CONTROL).store(value, Ordering::Release);
    }

    fn is_attached(&mut self) -> bool {
        self.sockets.files.is_none()
    }
}

/// Bound, and with room for a message of `size` bytes.
fn open(address: &UnixAddr, size: usize) -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let fd = socket(AddressFamily::Unix, SockType::Datagram, flags, None)?;
    // Without the right to force it `net.core.wmem_max` bounds it.
    if setsockopt(&fd, sockopt::SndBufForce, &size).is_err() {
        setsockopt(&fd, sockopt::SndBuf, &size)?;
    }
    setsockopt(&fd, sockopt::RcvBuf, &size)?;
    bind(fd.as_raw_fd(), address)?;
    Ok(fd)
}

/// The user that sent it. None where descriptors came along that nobody asked for.
fn sender(message: &RecvMsg<'_, '_, UnixAddr>) -> Option<u32> {
    message.cmsgs().ok()?.find_map(|control| match control {
        ControlMessageOwned::ScmCredentials(credentials) => Some(credentials.uid()),
        _ => None,
    })
}

fn address(base: &Path, end: &str) -> io::Result<UnixAddr> {
    let mut name = base.as_os_str().as_bytes().to_vec();
    name.push(b'-');
    name.extend_from_slice(end.as_bytes());
    padded(&name)
}

/// Three pairs {sent, flow control}: requests, responses, events.
const CONTROL_LEN: usize = 24;
const REQUESTS_SENT: usize = 0;
const REQUEST_FLOW_CONTROL: usize = 4;
const RESPONSES_SENT: usize = 8;
const EVENTS_SENT: usize = 16;
/// Parts of an event.
const PARTS_MAX: usize = 8;
/// Datagrams of others that are thrown away in one go.
const STRANGERS_MAX: u32 = 256;
