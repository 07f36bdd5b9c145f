//! Messages in shared memory: three rings, and on the stream a notification byte for each chunk.

use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv, send};

use super::files::{RingFiles, Rings};
use super::transport::Transport;
use super::{Gone, Next};
use crate::ring::{Broken, Ring};

#[derive(Debug)]
pub(super) struct RingTransport {
    stream: UnixStream,
    request: Ring,
    response: Ring,
    event: Ring,
    /// Until the client has attached to all rings; then their names are of no more use.
    files: Option<RingFiles>,
    /// Notification bytes read whose chunks were not taken yet.
    announced: usize,
    /// Notification bytes of committed events that did not fit the socket yet.
    owed: usize,
}

impl RingTransport {
    pub(super) fn new(stream: UnixStream, files: RingFiles, [request, response, event]: Rings) -> Self {
        Self { stream, request, response, event, files: Some(files), announced: 0, owed: 0 }
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
}

impl Transport for RingTransport {
    fn stream(&self) -> &UnixStream {
        &self.stream
    }

    fn take_request(&mut self, out: &mut Vec<u8>, max: usize) -> Result<Next, Gone> {
        if self.announced == 0
            && let Some(end) = self.read_notifications()
        {
            return Ok(end);
        }
        self.announced -= 1;
        if !self.request.pop(out, max)? {
            return Err(Broken("announced a request that is not there").into());
        }
        self.is_attached();
        Ok(Next::Request)
    }

    /// The client's library counts on it: it sends the byte behind a request until it is taken, and does nothing else
    /// meanwhile.
    fn take_notifications(&mut self) {
        // One that floods its own socket gets no more than an honest one could need.
        for _ in 0..NOTIFICATION_READS {
            if self.read_notifications().is_some() {
                break;
            }
        }
    }

    fn send_response(&mut self, message: &[u8]) -> Result<bool, Gone> {
        Ok(self.response.push(&[message])?)
    }

    fn send_event(&mut self, parts: &[&[u8]]) -> Result<bool, Gone> {
        let sent = self.event.push(parts)?;
        self.owed += usize::from(sent);
        Ok(sent)
    }

    /// One byte an event, after its chunk. What the socket does not take now is owed until it is writable.
    fn notify(&mut self) {
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

    fn set_flow_control(&mut self, value: u32) {
        self.request.set_flow_control(value);
    }

    /// The client bumps the counts in the order request, response, event.
    fn is_attached(&mut self) -> bool {
        if self.files.is_some() && self.event.ref_count() >= 2 {
            self.files = None;
        }
        self.files.is_none()
    }
}

/// Notification bytes read or written by one system call.
const NOTIFICATIONS: usize = 512;
/// A socket's buffer holds some 300 of one byte each.
const NOTIFICATION_READS: usize = 4;
