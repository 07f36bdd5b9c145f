//! UDP sockets for the ring, and many packets a system call with buffers made once.

use std::io;
use std::mem;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};

use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, SockAddr, SockAddrStorage, Socket, Type};

/// Options of a ring socket.
#[derive(Clone, Copy, Debug, Default)]
pub struct UdpOptions {
    /// Receive and send buffer in bytes; taken beyond the system's maximum where that is permitted.
    pub buffer_bytes: usize,
    /// Differentiated services code point, 0 … 63.
    pub dscp: u8,
    /// Time to live; `None`: the system's.
    pub ttl: Option<u8>,
}

/// A non-blocking UDP socket bound to `addr`, also if the machine does not have that address yet.
///
/// # Errors
/// `EADDRINUSE` where another process has the port, and what `socket` says.
pub fn bind_udp(addr: SocketAddr, options: &UdpOptions) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(addr), Type::DGRAM.nonblocking(), Some(Protocol::UDP))?;
    let tos = u32::from(options.dscp) << 2;
    match addr.ip() {
        IpAddr::V4(_) => {
            socket.set_freebind_v4(true)?;
            socket.set_tos_v4(tos)?;
            options.ttl.filter(|t| *t > 0).map_or(Ok(()), |t| socket.set_ttl_v4(t.into()))?;
        }
        IpAddr::V6(_) => {
            socket.set_freebind_v6(true)?;
            socket.set_only_v6(true)?;
            socket.set_tclass_v6(tos)?;
            options.ttl.filter(|t| *t > 0).map_or(Ok(()), |t| socket.set_unicast_hops_v6(t.into()))?;
        }
    }
    // Beyond the system's maximum if this process may; else as much as it gives.
    if setsockopt(&socket, sockopt::RcvBufForce, &options.buffer_bytes).is_err() {
        socket.set_recv_buffer_size(options.buffer_bytes)?;
    }
    if setsockopt(&socket, sockopt::SndBufForce, &options.buffer_bytes).is_err() {
        socket.set_send_buffer_size(options.buffer_bytes)?;
    }
    socket.bind(&addr.into())?;
    Ok(socket.into())
}

/// Buffers for one call of `recvmmsg`.
pub struct ReceiveBatch {
    buffers: Vec<[u8; BUFFER_BYTES]>,
    filled: Vec<(usize, Option<SocketAddr>)>,
}

/// Packets one call receives.
pub const RECEIVE_MAX: usize = 32;
/// Packets one call sends.
pub const SEND_MAX: usize = 64;
/// Larger packets are not of the ring and are cut off; the caller sees them as longer than any it accepts.
const BUFFER_BYTES: usize = 2_048;

impl Default for ReceiveBatch {
    fn default() -> Self {
        Self { buffers: vec![[0; BUFFER_BYTES]; RECEIVE_MAX], filled: Vec::with_capacity(RECEIVE_MAX) }
    }
}

impl ReceiveBatch {
    /// Takes what has arrived, at most [`RECEIVE_MAX`] packets, without waiting. Returns how many.
    ///
    /// # Errors
    /// `WouldBlock` when nothing is there; errors that earlier sends left behind (`ECONNREFUSED` and the like).
    pub fn receive(&mut self, socket: &UdpSocket) -> io::Result<usize> {
        self.filled.clear();
        let mut names: [SockAddrStorage; RECEIVE_MAX] = std::array::from_fn(|_| SockAddrStorage::zeroed());
        // SAFETY: iovec and mmsghdr are plain C structures for which all zeroes is a valid value (null, no length).
        let mut parts: [libc::iovec; RECEIVE_MAX] = unsafe { mem::zeroed() };
        // SAFETY: as above.
        let mut headers: [libc::mmsghdr; RECEIVE_MAX] = unsafe { mem::zeroed() };
        let name_len = names[0].size_of();
        for (((buffer, name), part), header) in
            self.buffers.iter_mut().zip(&mut names).zip(&mut parts).zip(&mut headers)
        {
            part.iov_base = buffer.as_mut_ptr().cast();
            part.iov_len = BUFFER_BYTES;
            header.msg_hdr.msg_name = (&raw mut *name).cast();
            header.msg_hdr.msg_namelen = name_len;
            header.msg_hdr.msg_iov = part;
            header.msg_hdr.msg_iovlen = 1;
        }
        // SAFETY: every header points to one iovec, one name and one buffer that outlive the call, with their true
        // lengths; no time-out is given.
        let n = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                headers.as_mut_ptr(),
                RECEIVE_MAX as u32,
                libc::MSG_DONTWAIT as _,
                std::ptr::null_mut(),
            )
        };
        let n = usize::try_from(n).map_err(|_| io::Error::last_os_error())?;
        for (header, name) in headers.iter().zip(names).take(n) {
            // SAFETY: the kernel filled the first msg_namelen bytes of this storage with an address.
            let from = unsafe { SockAddr::new(name, header.msg_hdr.msg_namelen) }.as_socket();
            let cut = header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0;
            let len = if cut { BUFFER_BYTES } else { (header.msg_len as usize).min(BUFFER_BYTES) };
            self.filled.push((len, from));
        }
        Ok(n)
    }

    /// The packets of the last call, in order of arrival, with their senders.
    pub fn packets(&mut self) -> impl Iterator<Item = (SocketAddr, &mut [u8])> {
        let filled = self.filled.iter();
        self.buffers.iter_mut().zip(filled).filter_map(|(b, (len, from))| from.map(|f| (f, &mut b[..*len])))
    }
}

/// Sends packets, at most [`SEND_MAX`] of them, without waiting. Returns how many went out; the rest were not tried.
///
/// # Errors
/// What is wrong with the *first* packet; nothing was sent then. `WouldBlock` when the socket's buffer is full.
pub fn send_batch(socket: &UdpSocket, packets: &[(&SockAddr, &[u8])]) -> io::Result<usize> {
    let n = packets.len().min(SEND_MAX);
    // SAFETY: iovec and mmsghdr are plain C structures for which all zeroes is a valid value (null, no length).
    let mut parts: [libc::iovec; SEND_MAX] = unsafe { mem::zeroed() };
    // SAFETY: as above.
    let mut headers: [libc::mmsghdr; SEND_MAX] = unsafe { mem::zeroed() };
    for (((to, packet), part), header) in packets.iter().zip(&mut parts).zip(&mut headers) {
        part.iov_base = packet.as_ptr().cast_mut().cast();
        part.iov_len = packet.len();
        header.msg_hdr.msg_name = to.as_ptr().cast_mut().cast();
        header.msg_hdr.msg_namelen = to.len();
        header.msg_hdr.msg_iov = part;
        header.msg_hdr.msg_iovlen = 1;
    }
    // SAFETY: the first n headers point to one iovec, one address and one packet each, which outlive the call and are
    // only read.
    let sent = unsafe {
        libc::sendmmsg(
            socket.as_raw_fd(),
            headers.as_mut_ptr(),
            n as u32,
            (libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) as _,
        )
    };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

/// Receive buffer that the kernel gave, in bytes (it counts its own overhead, hence twice the request).
///
/// # Errors
/// What `getsockopt` says.
pub fn receive_buffer_bytes(socket: &UdpSocket) -> io::Result<usize> {
    Ok(nix::sys::socket::getsockopt(&socket.as_fd(), sockopt::RcvBuf)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (UdpSocket, UdpSocket) {
        let options = UdpOptions { buffer_bytes: 1 << 20, dscp: 48, ttl: Some(3) };
        let any = "127.0.0.1:0".parse().expect("an address");
        (bind_udp(any, &options).expect("binds"), bind_udp(any, &options).expect("binds"))
    }

    #[test]
    fn a_batch_arrives_in_order_with_its_sender_and_its_lengths() {
        let (a, b) = pair();
        let to: SockAddr = b.local_addr().expect("bound").into();
        let bodies: Vec<Vec<u8>> = (0..100u8).map(|n| vec![n; usize::from(n) * 10]).collect();
        let packets: Vec<(&SockAddr, &[u8])> = bodies.iter().map(|p| (&to, p.as_slice())).collect();
        let mut sent = 0;
        while sent < packets.len() {
            sent += send_batch(&a, &packets[sent..]).expect("sends");
        }
        let mut batch = ReceiveBatch::default();
        let mut got = Vec::new();
        while got.len() < 100 {
            assert!(batch.receive(&b).expect("loopback is instant") <= RECEIVE_MAX);
            for (from, packet) in batch.packets() {
                assert_eq!(from, a.local_addr().expect("bound"));
                got.push(packet.to_vec());
            }
        }
        assert_eq!(got, bodies);
        assert_eq!(batch.receive(&b).expect_err("empty").kind(), io::ErrorKind::WouldBlock);
        assert_eq!(batch.packets().count(), 0);
    }

    #[test]
    fn a_packet_too_large_is_seen_as_too_large() {
        let (a, b) = pair();
        a.send_to(&[7; 5_000], b.local_addr().expect("bound")).expect("sends");
        let mut batch = ReceiveBatch::default();
        assert_eq!(batch.receive(&b).expect("there"), 1);
        assert_eq!(batch.packets().next().expect("there").1.len(), BUFFER_BYTES);
    }

    #[test]
    fn an_address_that_is_not_here_yet_can_be_bound() {
        let addr = "192.0.2.1:0".parse().expect("an address");
        assert!(bind_udp(addr, &UdpOptions { buffer_bytes: 4_096, ..UdpOptions::default() }).is_ok());
    }
}
