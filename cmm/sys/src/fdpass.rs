//! Descriptors that travel over a local socket.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};

/// Descriptors in one message.
pub const FDS_MAX: usize = 4;

/// Sends one message with descriptors; never waits, never raises SIGPIPE.
///
/// # Errors
/// `InvalidInput` beyond [`FDS_MAX`] descriptors; what `sendmsg` says.
pub fn send(socket: BorrowedFd<'_>, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut raw: [RawFd; FDS_MAX] = [-1; FDS_MAX];
    let raw = raw.get_mut(..fds.len()).ok_or(io::ErrorKind::InvalidInput)?;
    for (slot, fd) in raw.iter_mut().zip(fds) {
        *slot = fd.as_raw_fd();
    }
    let rights = [ControlMessage::ScmRights(raw)];
    let rights = if fds.is_empty() { &rights[..0] } else { &rights[..] };
    let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
    sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(bytes)], rights, flags, None)?;
    Ok(())
}

/// Receives one message and the descriptors that came with it, close-on-exec; never waits.
///
/// # Errors
/// `InvalidData` where the message or its descriptors did not fit; what `recvmsg` says.
pub fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut control = nix::cmsg_space!([RawFd; FDS_MAX]);
    let mut parts = [IoSliceMut::new(buffer)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC | MsgFlags::MSG_DONTWAIT;
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut control), flags)?;
    let mut fds = Vec::new();
    for part in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(raw) = part {
            // SAFETY: the kernel has just installed these descriptors for this message; nobody else owns them, and each
            // is taken exactly once.
            fds.extend(raw.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
        }
    }
    // Only now, so that what did arrive is closed again.
    if message.flags.intersects(MsgFlags::MSG_TRUNC | MsgFlags::MSG_CTRUNC) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok((message.bytes, fds))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::fd::AsFd;
    use std::os::unix::net::{UnixDatagram, UnixStream};

    use super::*;

    #[test]
    fn a_descriptor_arrives_and_works() {
        let (a, b) = UnixDatagram::pair().unwrap();
        let (mut kept, sent) = UnixStream::pair().unwrap();
        send(a.as_fd(), b"hello", &[sent.as_fd()]).unwrap();
        drop(sent);
        let mut buffer = [0; 16];
        let (len, mut fds) = receive(b.as_fd(), &mut buffer).unwrap();
        assert_eq!((&buffer[..len], fds.len()), (&b"hello"[..], 1));
        let mut other = UnixStream::from(fds.remove(0));
        other.write_all(b"through").unwrap();
        drop(other);
        let mut text = String::new();
        kept.read_to_string(&mut text).unwrap();
        assert_eq!(text, "through");
    }

    #[test]
    fn a_message_that_does_not_fit_is_an_error() {
        let (a, b) = UnixDatagram::pair().unwrap();
        send(a.as_fd(), b"too long", &[]).unwrap();
        assert_eq!(receive(b.as_fd(), &mut [0; 4]).unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert_eq!(receive(b.as_fd(), &mut [0; 4]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        let null = std::fs::File::open("/dev/null").unwrap();
        let many = [null.as_fd(); FDS_MAX + 1];
        assert_eq!(send(a.as_fd(), b"", &many).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}
