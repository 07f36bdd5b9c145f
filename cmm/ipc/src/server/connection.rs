//! A client that has been let in.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::net::UnixStream;

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv, send};

use super::files::{RingFiles, Rings};
use super::{Credentials, QUEUE_BYTES_MAX};
use crate::abi::Service;
use crate::ring::{Broken, Ring};

/// Why a connection must be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Gone {
    /// It broke the protocol.
    #[error(transparent)]
    Broken(#[from] Broken),
    /// It did not take its events, and too many wait.
    #[error("client does not take its events: {0} bytes wait")]
    Slow(usize),
    /// It has not taken a reply and asks again, or a reply is larger than its ring.
    #[error("no room for a reply")]
    NoRoom,
}

/// What [`Connection::next_request`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// A request, now in the buffer.
    Request,
    /// None now.
    Nothing,
    /// The client has hung up, and everything it had asked was handed out.
    HungUp,
}

/// What passed over a connection so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Requests taken.
    pub requests: u64,
    /// Replies given.
    pub responses: u64,
    /// Events put into the ring.
    pub events: u64,
    /// Times an event found the ring full.
    pub event_waits: u64,
    /// Times the client was told to hold back.
    pub flow_controls: u64,
}

/// One connection: a stream socket for notification bytes, and three rings.
#[derive(Debug)]
pub struct Connection {
    stream: UnixStream,
    service: Service,
    credentials: Credentials,
    request: Ring,
    response: Ring,
    event: Ring,
    /// Until the client has attached to all rings; then their names are of no more use.
    files: Option<RingFiles>,
    /// Notification bytes read whose chunks were not taken yet.
    announced: usize,
    /// Notification bytes of committed events that did not fit the socket yet.
    owed: usize,
    /// Events that wait for room in the ring, one behind the other, and the length of each.
    queue: VecDeque<u8>,
    lengths: VecDeque<u32>,
    /// What the daemon says to all clients of the service.
    gate: u32,
    /// What this client is told: the gate, or on its own account to stop multicasts.
    flow_control: u32,
    /// It is in the middle of a message in fragments.
    in_fragments: bool,
    counters: Counters,
}

impl Connection {
    pub(super) fn new(
        stream: UnixStream,
        service: Service,
        credentials: Credentials,
        files: RingFiles,
        [request, response, event]: Rings,
    ) -> Self {
        Self {
            stream,
            service,
            credentials,
            request,
            response,
            event,
            files: Some(files),
            announced: 0,
            owed: 0,
            queue: VecDeque::new(),
            lengths: VecDeque::new(),
            gate: 0,
            flow_control: 0,
            in_fragments: false,
            counters: Counters::default(),
        }
    }

    /// Its service.
    #[must_use]
    pub fn service(&self) -> Service {
        self.service
    }

    /// Who the client is.
    #[must_use]
    pub fn credentials(&self) -> Credentials {
        self.credentials
    }

    /// What passed so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Events that wait for room, and whether the client is told to hold back.
    #[must_use]
    pub fn waiting(&self) -> (usize, u32) {
        (self.lengths.len(), self.flow_control)
    }

    /// Bytes of events that wait for room in the ring.
    #[must_use]
    pub fn waiting_bytes(&self) -> usize {
        self.queue.len()
    }

    /// Takes the next request into `out`. To throttle a client, do not call this: what it sends stays in its ring.
    ///
    /// # Errors
    /// [`Gone`]: close the connection.
    pub fn next_request(&mut self, out: &mut Vec<u8>) -> Result<Next, Gone> {
        if self.announced == 0
            && let Some(end) = self.read_notifications()
        {
            return Ok(end);
        }
        self.announced -= 1;
        if !self.request.pop(out, self.service.grant() as usize)? {
            return Err(Broken("announced a request that is not there").into());
        }
        self.counters.requests += 1;
        self.is_attached();
        Ok(Next::Request)
    }

    /// Reads what the client has announced, while its requests must wait: its library counts on that. It sends the byte
    /// behind a request until it is taken, and does nothing else meanwhile.
    pub fn take_notifications(&mut self) {
        // One that floods its own socket gets no more than an honest one could need.
        for _ in 0..NOTIFICATION_READS {
            if self.read_notifications().is_some() {
                break;
            }
        }
    }

    /// Reads some notification bytes; else why there are none.
    fn read_notifications(&mut self) -> Option<Next> {
        let mut bytes = [0; NOTIFICATIONS];
        loop {
            match recv(self.stream.as_raw_fd(), &mut bytes, MsgFlags::MSG_DONTWAIT) {
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Some(Next::Nothing),
                Ok(0) | Err(_) => return Some(Next::HungUp),
                Ok(n) => {
                    self.announced = self.announced.saturating_add(n);
                    return None;
                }
            }
        }
    }

    /// Gives the reply to the request handed out last. Events given before it are announced first: a client that has its
    /// reply finds them there.
    ///
    /// # Errors
    /// [`Gone`]: close the connection.
    pub fn send_response(&mut self, message: &[u8]) -> Result<(), Gone> {
        self.notify();
        if !self.response.push(&[message])? {
            return Err(Gone::NoRoom);
        }
        self.counters.responses += 1;
        Ok(())
    }

    /// Gives an event, made of `parts` one behind the other; it waits where the ring is full. The client learns of it
    /// by [`Connection::notify`]: many events, one call.
    ///
    /// # Errors
    /// [`Gone`]: close the connection.
    pub fn send_event(&mut self, parts: &[&[u8]]) -> Result<(), Gone> {
        if self.lengths.is_empty() {
            if self.event.push(parts)? {
                self.committed();
                return Ok(());
            }
            // It can only make room if it knows what is there.
            self.notify();
        }
        let before = self.queue.len();
        for part in parts {
            self.queue.extend(*part);
        }
        let length = u32::try_from(self.queue.len() - before).map_err(|_| Gone::NoRoom)?;
        self.lengths.push_back(length);
        self.counters.event_waits += 1;
        self.update_flow_control();
        if self.queue.len() > QUEUE_BYTES_MAX { Err(Gone::Slow(self.queue.len())) } else { Ok(()) }
    }

    /// Tries again what did not fit before. True while an event still waits for room in the ring: nothing announces that
    /// room, so call again after a moment.
    ///
    /// # Errors
    /// [`Gone`]: close the connection.
    pub fn flush(&mut self) -> Result<bool, Gone> {
        while let Some(length) = self.lengths.front().map(|l| *l as usize) {
            let (first, second) = self.queue.as_slices();
            let head = first.len().min(length);
            if !self.event.push(&[&first[..head], &second[..length - head]])? {
                break;
            }
            self.queue.drain(..length);
            self.lengths.pop_front();
            self.committed();
        }
        if self.queue.is_empty() && self.queue.capacity() > QUEUE_BYTES_KEPT {
            self.queue = VecDeque::new();
        }
        self.update_flow_control();
        self.notify();
        Ok(!self.lengths.is_empty())
    }

    /// Tells the client to hold back: 0 go, 1 stop everything, 2 stop multicasts only.
    ///
    /// A client that does not take its events is told to stop its multicasts in any case: else it could only drown in the
    /// echo of its own. What it has sent already is served; it may wait for a reply and take no events meanwhile.
    pub fn set_flow_control(&mut self, value: u32) {
        self.gate = value;
        self.update_flow_control();
    }

    /// Says that the client is (or is no more) in the middle of a message in fragments. Its library sends them all in one
    /// call, takes no events meanwhile, and gives up when it must wait for long: only the gate holds it back then.
    pub fn set_in_fragments(&mut self, value: bool) {
        if value != self.in_fragments {
            self.in_fragments = value;
            self.update_flow_control();
        }
    }

    fn update_flow_control(&mut self) {
        let throttled = self.flow_control > self.gate;
        let bound = if throttled { 0 } else { THROTTLE_BYTES };
        let drowns = self.queue.len() > bound && !self.in_fragments;
        let value = if drowns { self.gate.max(STOP_MULTICASTS) } else { self.gate };
        if value != self.flow_control {
            self.counters.flow_controls += u64::from(self.flow_control == 0);
            self.flow_control = value;
            self.request.set_flow_control(value);
        }
    }

    fn committed(&mut self) {
        self.counters.events += 1;
        self.owed += 1;
    }

    /// Tells the client of the events given so far: one byte an event, after its chunk. What the socket does not take
    /// now is owed until it is writable.
    pub fn notify(&mut self) {
        while self.owed > 0 {
            let bytes = [0; NOTIFICATIONS];
            let n = self.owed.min(bytes.len());
            let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
            match send(self.stream.as_raw_fd(), &bytes[..n], flags) {
                Ok(sent) => self.owed -= sent,
                Err(Errno::EINTR) => {}
                // Full, or hung up, which reading will tell.
                Err(_) => return,
            }
        }
    }

    /// Whether the client has opened all rings; their files are unlinked as soon as this sees it, so that nothing is left
    /// behind whoever is killed from then on. (The client bumps the counts in the order request, response, event.)
    pub fn is_attached(&mut self) -> bool {
        if self.files.is_some() && self.event.ref_count() >= 2 {
            self.files = None;
        }
        self.files.is_none()
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

impl From<Gone> for io::Error {
    fn from(e: Gone) -> Self {
        Self::new(io::ErrorKind::ConnectionAborted, e)
    }
}

const STOP_MULTICASTS: u32 = 2;
/// Notification bytes read or written by one system call.
const NOTIFICATIONS: usize = 512;
/// A socket's buffer holds some 300 of one byte each.
const NOTIFICATION_READS: usize = 4;
/// Capacity that an empty queue of waiting events keeps.
const QUEUE_BYTES_KEPT: usize = 1_048_576;
/// A client with more than this waiting beyond its full ring must not multicast until all of it is in the ring.
const THROTTLE_BYTES: usize = 4 * 1_048_576;
const _: () =
    assert!(THROTTLE_BYTES * 4 <= QUEUE_BYTES_MAX, "room for what is on its way when a client is throttled");
