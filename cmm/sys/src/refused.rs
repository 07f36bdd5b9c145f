//! Which peers' machines refuse a socket's packets: ICMP errors that the kernel keeps in the socket's error queue.
//!
//! Anyone on the way can forge such an error, so it is a hint and no news.

use std::io;
use std::mem;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;

use nix::sys::socket::{setsockopt, sockopt};
use socket2::{SockAddr, SockAddrStorage};

/// Has the kernel keep ICMP errors of `socket`. From then on an error also fails one later call on the socket, which
/// may be about another peer: that call is to be tried again. Call [`take`] whenever the poller shows an error, or the
/// queue takes the receive buffer's place.
///
/// # Errors
/// What `setsockopt` says.
pub fn watch(socket: &UdpSocket) -> io::Result<()> {
    if socket.local_addr()?.is_ipv4() {
        setsockopt(socket, sockopt::Ipv4RecvErr, &true)?;
    } else {
        setsockopt(socket, sockopt::Ipv6RecvErr, &true)?;
    }
    Ok(())
}

/// Takes one error off the queue. `Some(Some(peer))`: nobody listens there; `Some(None)`: something else; `None`: the
/// queue is empty.
#[must_use]
pub fn take(socket: &UdpSocket) -> Option<Option<SocketAddr>> {
    let mut name = SockAddrStorage::zeroed();
    let name_len = name.size_of();
    let mut control = Control([0; CONTROL_BYTES]);
    // SAFETY: msghdr is a plain C structure for which all zeroes is a valid value (null, no length).
    let mut header: libc::msghdr = unsafe { mem::zeroed() };
    header.msg_name = (&raw mut name).cast();
    header.msg_namelen = name_len;
    header.msg_control = control.0.as_mut_ptr().cast();
    header.msg_controllen = CONTROL_BYTES as _;
    // SAFETY: the header points to a name and a control buffer that outlive the call, with their true lengths; it has
    // no iovec: the packet that was refused is not wanted.
    let n = unsafe {
        libc::recvmsg(socket.as_raw_fd(), &raw mut header, libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT)
    };
    if n < 0 {
        return None;
    }
    // SAFETY: the kernel filled the first msg_namelen bytes of this storage with an address.
    let to = unsafe { SockAddr::new(name, header.msg_namelen) }.as_socket();
    Some(to.filter(|_| is_refusal(&header)))
}

/// Whether the control part says that a machine (not this one's own stack) has nobody at the port.
fn is_refusal(header: &libc::msghdr) -> bool {
    // SAFETY: the header is as the kernel left it, and the buffer that it names is alive in the caller.
    let mut part = unsafe { libc::CMSG_FIRSTHDR(header) };
    while !part.is_null() {
        // SAFETY: CMSG_FIRSTHDR and CMSG_NXTHDR give null or a whole header within the buffer.
        let (level, kind, len) =
            unsafe { ((*part).cmsg_level, (*part).cmsg_type, (*part).cmsg_len as usize) };
        let errors = (level == libc::IPPROTO_IP && kind == libc::IP_RECVERR)
            || (level == libc::IPPROTO_IPV6 && kind == libc::IPV6_RECVERR);
        // SAFETY: no pointers, arithmetic only.
        let whole = unsafe { libc::CMSG_LEN(mem::size_of::<libc::sock_extended_err>() as _) } as usize;
        if errors && len >= whole {
            // SAFETY: the part holds at least a sock_extended_err, as was just checked; it may be unaligned.
            let error: libc::sock_extended_err =
                unsafe { libc::CMSG_DATA(part).cast::<libc::sock_extended_err>().read_unaligned() };
            let remote = [libc::SO_EE_ORIGIN_ICMP, libc::SO_EE_ORIGIN_ICMP6].contains(&error.ee_origin);
            return remote && error.ee_errno == libc::ECONNREFUSED.cast_unsigned();
        }
        // SAFETY: as for CMSG_FIRSTHDR.
        part = unsafe { libc::CMSG_NXTHDR(header, part) };
    }
    false
}

/// Room for control messages, aligned as they must be.
#[repr(align(8))]
struct Control([u8; CONTROL_BYTES]);

const CONTROL_BYTES: usize = 512;

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn refused_from(ip: &str) {
        let Ok(socket) = UdpSocket::bind((ip, 0)) else {
            return eprintln!("skipped: no {ip} here");
        };
        watch(&socket).expect("permitted to all");
        assert_eq!(take(&socket), None);
        let gone = {
            let other = UdpSocket::bind((ip, 0)).expect("binds");
            other.local_addr().expect("bound")
        };
        socket.send_to(b"hello", gone).expect("leaves");
        let deadline = Instant::now() + Duration::from_secs(30);
        let error = loop {
            if let Some(error) = take(&socket) {
                break error;
            }
            assert!(Instant::now() < deadline, "loopback answers");
        };
        assert_eq!(error, Some(gone));
        assert_eq!(take(&socket), None);
    }

    #[test]
    fn a_port_that_nobody_listens_at_is_named() {
        refused_from("127.0.0.1");
        refused_from("::1");
    }
}
