//! What carries messages between a client that has been let in and the daemon.

use std::fmt;
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;

use super::{Gone, Next};

/// Which one clients get: `system.qb_ipc_type`. The daemon decides alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Rings in shared memory. Pacemaker takes nothing else.
    #[default]
    SharedMemory,
    /// Datagram sockets: a message of more than what `net.core.wmem_max` allows the client does not go.
    Sockets,
}

/// One client's requests, replies and events. Nothing here blocks.
pub(super) trait Transport: fmt::Debug {
    /// Says by its end that the other side is gone.
    fn stream(&self) -> &UnixStream;

    /// To be watched besides the stream.
    fn request_fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// The next request of at most `max` bytes, into `out`.
    fn take_request(&mut self, out: &mut Vec<u8>, max: usize) -> Result<Next, Gone>;

    /// Reads what the client has announced, while its requests must wait.
    fn take_notifications(&mut self) {}

    /// `false`: no room.
    fn send_response(&mut self, message: &[u8]) -> Result<bool, Gone>;

    /// `false`: no room now.
    fn send_event(&mut self, parts: &[&[u8]]) -> Result<bool, Gone>;

    /// Tells the client of the events given so far, where they do not speak for themselves.
    fn notify(&mut self) {}

    /// Tells the client to hold back: 0 go, 1 stop everything, 2 stop multicasts only.
    fn set_flow_control(&mut self, value: u32);

    /// Whether the client has opened what has a name; that is unlinked as soon as this sees it, so that nothing is left
    /// behind whoever is killed from then on.
    fn is_attached(&mut self) -> bool;
}
