//! A connection taken apart: everything that a client's library keeps in order can be put out of order here.

use std::fs::File;
use std::io::{self, IoSlice, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cmm_ipc::{Place, Service};
use holdfast_sys::shm::SharedMap;
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr, UnixCredentials, bind, connect,
    recv, send, sendmsg, setsockopt, socket, sockopt,
};

/// Let in, and attached.
pub(crate) struct Client {
    pub(crate) stream: UnixStream,
    pub(crate) service: Service,
    pub(crate) carrier: Carrier,
}

pub(crate) enum Carrier {
    /// Request, response, event.
    Rings([Ring; 3]),
    Datagrams(Datagrams),
}

pub(crate) struct Ring {
    pub(crate) header: SharedMap,
    pub(crate) data: SharedMap,
    /// Of both, header first.
    pub(crate) files: [File; 2],
    at: usize,
}

pub(crate) struct Datagrams {
    base: PathBuf,
    pub(crate) control: Option<File>,
    response: OwnedFd,
    event: OwnedFd,
}

/// A stream to the service, with nothing said.
pub(crate) fn open(service: Service) -> io::Result<UnixStream> {
    let stream = match Place::from_env().socket_path(service) {
        Some(path) => UnixStream::connect(path)?,
        None => {
            let fd = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
            connect(fd.as_raw_fd(), &padded(service.name().as_bytes())?)?;
            UnixStream::from(fd)
        }
    };
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    stream.set_write_timeout(Some(Duration::from_secs(20)))?;
    Ok(stream)
}

pub(crate) fn hello() -> [u8; 24] {
    let mut hello = [0; 24];
    for (at, word) in [(0, -1_i32), (8, 24), (16, 1 << 20)] {
        hello[at..at + 4].copy_from_slice(&word.to_ne_bytes());
    }
    hello
}

impl Client {
    /// As a library does it.
    pub(crate) fn connect(service: Service) -> io::Result<Self> {
        let mut stream = open(service)?;
        stream.write_all(&hello())?;
        let mut reply = vec![0; 12_328];
        stream.read_exact(&mut reply)?;
        let word = |at: usize| i32::from_ne_bytes([reply[at], reply[at + 1], reply[at + 2], reply[at + 3]]);
        if word(16) != 0 {
            return Err(io::Error::from_raw_os_error(-word(16)));
        }
        let path = |at: usize| {
            let bytes = reply[at..at + 4_096].split(|b| *b == 0).next().unwrap_or_default();
            PathBuf::from(String::from_utf8_lossy(bytes).into_owned())
        };
        let carrier = if word(24) == 0 {
            Carrier::Datagrams(Datagrams::open(&path(40), path(4_136))?)
        } else {
            Carrier::Rings([
                Ring::attach(&path(40), 8_252)?,
                Ring::attach(&path(4_136), 8_248)?,
                Ring::attach(&path(8_232), 8_248)?,
            ])
        };
        stream.set_nonblocking(true)?;
        Ok(Self { stream, service, carrier })
    }

    /// Sends a request as it should be, or not at all where there is no room.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        match &mut self.carrier {
            Carrier::Rings([request, ..]) => {
                if request.push(bytes) {
                    self.announce(1);
                }
            }
            Carrier::Datagrams(datagrams) => drop(datagrams.send(bytes)),
        }
    }

    /// Announces so many requests.
    pub(crate) fn announce(&self, requests: usize) {
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        let _ = send(self.stream.as_raw_fd(), &vec![0; requests], flags);
    }

    /// Takes what replies and events there are; whether there was any.
    pub(crate) fn take(&mut self) -> bool {
        match &mut self.carrier {
            Carrier::Rings([_, response, event]) => {
                let mut bytes = [0; 4_096];
                let _ = (&self.stream).read(&mut bytes);
                response.pop() | event.pop()
            }
            Carrier::Datagrams(datagrams) => datagrams.take(),
        }
    }

    /// Waits a moment for the next reply, and takes it; whether there was one.
    pub(crate) fn await_reply(&mut self) -> bool {
        for _ in 0..200 {
            if self.take() {
                return true;
            }
            std::thread::sleep(Duration::from_micros(100));
        }
        false
    }

    pub(crate) fn rings(&mut self) -> Option<&mut [Ring; 3]> {
        match &mut self.carrier {
            Carrier::Rings(rings) => Some(rings),
            Carrier::Datagrams(_) => None,
        }
    }
}

impl Ring {
    fn attach(base: &Path, header_len: usize) -> io::Result<Self> {
        let file = |suffix: &str| -> io::Result<File> {
            let path = format!("{}{suffix}", base.display());
            File::options().read(true).write(true).open(path)
        };
        let files = [file("-header")?, file("-data")?];
        let header = SharedMap::map(&files[0], header_len)?;
        let data = SharedMap::map(&files[1], usize::try_from(files[1].metadata()?.len()).unwrap_or(0))?;
        header.atomic_u32(REF_COUNT).fetch_add(1, ORDER);
        Ok(Self { header, data, files, at: 0 })
    }

    fn words(&self) -> usize {
        self.data.len() / 4
    }

    /// A whole chunk behind the last one, if there is room for it.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> bool {
        let words = self.words();
        let read = self.header.atomic_u32(READ_POSITION).load(ORDER) as usize % words;
        let free = if self.at == read { words } else { (read + words - self.at) % words - 1 };
        if free * 4 < bytes.len() + 12 {
            return false;
        }
        let mut start = (self.at + 2) % words * 4;
        for half in
            [&bytes[..bytes.len().min(words * 4 - start)], &bytes[bytes.len().min(words * 4 - start)..]]
        {
            self.data.write(start, half);
            start = 0;
        }
        self.data.atomic_u32(self.at * 4).store(bytes.len() as u32, ORDER);
        self.data.atomic_u32((self.at + 1) % words * 4).store(COMMITTED, ORDER);
        self.at = (self.at + 2 + bytes.len().div_ceil(4)) % words;
        self.header.atomic_u32(WRITE_POSITION).store(self.at as u32, ORDER);
        self.header.semaphore(SEMAPHORE).post();
        true
    }

    /// Throws the next chunk away.
    fn pop(&mut self) -> bool {
        if !self.header.semaphore(SEMAPHORE).try_wait() {
            return false;
        }
        let words = self.words();
        let len = self.data.atomic_u32(self.at * 4).load(ORDER) as usize % (words * 4);
        self.data.atomic_u32((self.at + 1) % words * 4).store(CONSUMED, ORDER);
        self.at = (self.at + 2 + len.div_ceil(4)) % words;
        self.header.atomic_u32(READ_POSITION).store(self.at as u32, ORDER);
        true
    }
}

impl Datagrams {
    fn open(control: &Path, base: PathBuf) -> io::Result<Self> {
        let end = |name: &str, of: &str| -> io::Result<OwnedFd> {
            let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
            let fd = socket(AddressFamily::Unix, SockType::Datagram, flags, None)?;
            setsockopt(&fd, sockopt::SndBuf, &(1 << 20))?;
            bind(fd.as_raw_fd(), &padded(format!("{}-{name}", base.display()).as_bytes())?)?;
            connect(fd.as_raw_fd(), &padded(format!("{}-{of}", base.display()).as_bytes())?)?;
            Ok(fd)
        };
        let (response, event) = (end("response", "request")?, end("event", "event-tx")?);
        Ok(Self { control: File::options().read(true).write(true).open(control).ok(), base, response, event })
    }

    fn send(&self, bytes: &[u8]) -> nix::Result<usize> {
        send(self.response.as_raw_fd(), bytes, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL)
    }

    fn take(&self) -> bool {
        let mut bytes = [0; 64];
        let got =
            |fd: &OwnedFd, bytes: &mut [u8]| recv(fd.as_raw_fd(), bytes, MsgFlags::MSG_DONTWAIT).is_ok();
        got(&self.response, &mut bytes) | got(&self.event, &mut bytes)
    }

    /// From a socket of nobody's, to either of the daemon's, with descriptors.
    pub(crate) fn intrude(&self, bytes: &[u8], uid: u32) {
        for end in ["request", "event-tx"] {
            if let Ok(to) = padded(format!("{}-{end}", self.base.display()).as_bytes()) {
                send_as(&to, bytes, uid);
            }
        }
    }
}

/// A datagram that claims to be from a process of `uid`, with a descriptor that nobody asked for.
pub(crate) fn send_as(to: &UnixAddr, bytes: &[u8], uid: u32) {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let Ok(fd) = socket(AddressFamily::Unix, SockType::Datagram, flags, None) else { return };
    let pid = nix::unistd::getpid().as_raw();
    let who: UnixCredentials = nix::libc::ucred { pid, uid, gid: uid }.into();
    let rights = [fd.as_fd().as_raw_fd()];
    let control = [ControlMessage::ScmCredentials(&who), ControlMessage::ScmRights(&rights)];
    let _ = sendmsg(fd.as_raw_fd(), &[IoSlice::new(bytes)], &control, MsgFlags::MSG_DONTWAIT, Some(to));
}

/// An abstract name, padded as libqb pads it.
pub(crate) fn padded(text: &[u8]) -> io::Result<UnixAddr> {
    let mut name = [0; 107];
    name.get_mut(..text.len()).ok_or(io::ErrorKind::InvalidFilename)?.copy_from_slice(text);
    Ok(UnixAddr::new_abstract(&name)?)
}

const ORDER: std::sync::atomic::Ordering = std::sync::atomic::Ordering::SeqCst;
pub(crate) const WRITE_POSITION: usize = 0;
pub(crate) const READ_POSITION: usize = 4;
const REF_COUNT: usize = 8_204;
pub(crate) const SEMAPHORE: usize = 8_208;
const COMMITTED: u32 = 0xa1a1_a1a1;
const CONSUMED: u32 = 0xd0d0_d0d0;
