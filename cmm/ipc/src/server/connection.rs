//! A client that has been let in.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use super::transport::Transport;
use super::{Credentials, QUEUE_BYTES_MAX};
use crate::abi::Service;
use crate::ring::Broken;

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

/// One connection: what carries its messages, and the events that found no room there.
#[derive(Debug)]
pub struct Connection {
    transport: Box<dyn Transport>,
    service: Service,
    credentials: Credentials,
    /// Events that wait for room, one behind the other, and the length of each.
    queue: VecDeque<u8>,
    lengths: VecDeque<u32>,
    /// What the daemon says to all clients of the service.
    gate: u32,
    /// What this client is told: the gate, or on its own account to stop multicasts, or to go on.
    flow_control: u32,
    /// It takes no events until it is rid of what it sends.
    in_call: bool,
    counters: Counters,
}

impl Connection {
    pub(super) fn new(transport: Box<dyn Transport>, service: Service, credentials: Credentials) -> Self {
        Self {
            transport,
            service,
            credentials,
            queue: VecDeque::new(),
            lengths: VecDeque::new(),
            gate: 0,
            flow_control: 0,
            in_call: false,
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
        let next = self.transport.take_request(out, self.service.grant() as usize)?;
        self.counters.requests += u64::from(next == Next::Request);
        Ok(next)
    }

    /// Reads what the client has announced, while its requests must wait.
    pub fn take_notifications(&mut self) {
        self.transport.take_notifications();
    }

    /// A descriptor to be watched besides the connection's own, where requests come that way.
    #[must_use]
    pub fn request_fd(&self) -> Option<BorrowedFd<'_>> {
        self.transport.request_fd()
    }

    /// Gives the reply to the request handed out last. Events given before it are announced first: a client that has its
    /// reply finds them there.
    ///
    /// # Errors
    /// [`Gone`]: close the connection.
    pub fn send_response(&mut self, message: &[u8]) -> Result<(), Gone> {
        self.notify();
        if !self.transport.send_response(message)? {
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
            if self.transport.send_event(parts)? {
                self.counters.events += 1;
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
            if !self.transport.send_event(&[&first[..head], &second[..length - head]])? {
                break;
            }
            self.queue.drain(..length);
            self.lengths.pop_front();
            self.counters.events += 1;
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

    /// Says that the client takes no events until it is rid of what it sends (or does again): nothing holds it back then.
    /// libcpg sends the fragments of a large message in one call, and in it tries each a hundred times, 10 ms apart.
    pub fn set_in_call(&mut self, value: bool) {
        if value != self.in_call {
            self.in_call = value;
            self.update_flow_control();
        }
    }

    fn update_flow_control(&mut self) {
        let throttled = self.flow_control > self.gate;
        let bound = if throttled { 0 } else { THROTTLE_BYTES };
        let drowns = self.queue.len() > bound;
        let value = if self.in_call {
            0
        } else if drowns {
            self.gate.max(STOP_MULTICASTS)
        } else {
            self.gate
        };
        if value != self.flow_control {
            self.counters.flow_controls += u64::from(self.flow_control == 0);
            self.flow_control = value;
            self.transport.set_flow_control(value);
        }
    }

    /// Tells the client of the events given so far.
    pub fn notify(&mut self) {
        self.transport.notify();
    }

    /// Whether the client has opened what has a name for it; that is unlinked as soon as this sees it.
    pub fn is_attached(&mut self) -> bool {
        self.transport.is_attached()
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.transport.stream().as_fd()
    }
}

impl AsRawFd for Connection {
    fn as_raw_fd(&self) -> RawFd {
        self.transport.stream().as_raw_fd()
    }
}

impl From<Gone> for io::Error {
    fn from(e: Gone) -> Self {
        Self::new(io::ErrorKind::ConnectionAborted, e)
    }
}

const STOP_MULTICASTS: u32 = 2;
/// Capacity that an empty queue of waiting events keeps.
const QUEUE_BYTES_KEPT: usize = 1_048_576;
/// A client with more than this waiting beyond its full ring must not multicast until all of it is in the ring.
const THROTTLE_BYTES: usize = 4 * 1_048_576;
const _: () =
    assert!(THROTTLE_BYTES * 4 <= QUEUE_BYTES_MAX, "room for what is on its way when a client is throttled");
