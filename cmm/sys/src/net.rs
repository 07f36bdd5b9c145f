//! UDP sockets for the ring, and many packets a system call with buffers made once.

use std::io;
use std::mem::{self, MaybeUninit};
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

/// A non-blocking UDP socket bound to `addr`, also if the machine does not have that address yet. Its packets are cut up where
/// they are longer than the interface or a router takes, and forged reports that a router takes less change nothing.
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
    // Where the kernel cannot join packets they come one by one.
    let _ = setsockopt(&socket, sockopt::UdpGroSegment, &true);
    socket.bind(&addr.into())?;
    let socket = socket.into();
    set_mtu_discovery(&socket, addr.is_ipv6(), libc::IP_PMTUDISC_OMIT)?;
    Ok(socket)
}

/// Sends one packet whole or not at all, without waiting: neither this machine nor a router on the way may cut it up.
///
/// # Errors
/// `EMSGSIZE` where the interface takes no packet of this length; `WouldBlock` when the socket's buffer is full.
pub fn send_whole(socket: &UdpSocket, to: &SockAddr, packet: &[u8]) -> io::Result<()> {
    set_mtu_discovery(socket, to.is_ipv6(), libc::IP_PMTUDISC_PROBE)?;
    let sent = socket2::SockRef::from(socket).send_to_with_flags(
        packet,
        to,
        libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
    );
    set_mtu_discovery(socket, to.is_ipv6(), libc::IP_PMTUDISC_OMIT)?;
    sent.map(drop)
}

/// Whether a packet was not sent because it is longer than its interface takes.
#[must_use]
pub fn is_too_long(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EMSGSIZE)
}

/// How the socket treats packets that are longer than the path takes; the numbers are the same for both families.
fn set_mtu_discovery(socket: &UdpSocket, ipv6: bool, how: libc::c_int) -> io::Result<()> {
    let (level, name) = match ipv6 {
        false => (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER),
        true => (libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER),
    };
    // SAFETY: the option takes an int, which is there for the length of the call.
    let done = unsafe {
        libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const how).cast(), size_of_val(&how) as _)
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Buffers for one call of `recvmmsg`. Where the kernel joins packets that came one behind the other from one sender
/// (UDP GRO), each buffer takes a whole run of them.
pub struct ReceiveBatch {
    buffers: Vec<u8>,
    filled: Vec<Filled>,
    /// The buffer and the byte in it that the next packet starts at.
    next: (usize, usize),
}

/// What is in one buffer.
struct Filled {
    from: Option<SocketAddr>,
    bytes: usize,
    /// Bytes of each packet in it but the last, which may be shorter.
    packet: usize,
}

/// Buffers that one call fills.
pub const RECEIVE_MAX: usize = 16;
/// Packets that one call sends.
pub const SEND_MAX: usize = 256;
/// The largest UDP datagram, and the longest run of joined ones.
const BUFFER_BYTES: usize = 65_536;
/// Room for one control message with an `int`, aligned as the kernel wants it.
type Control = [u64; 3];

impl Default for ReceiveBatch {
    fn default() -> Self {
        let buffers = vec![0; BUFFER_BYTES * RECEIVE_MAX];
        Self { buffers, filled: Vec::with_capacity(RECEIVE_MAX), next: (0, 0) }
    }
}

impl ReceiveBatch {
    /// Takes what has arrived without waiting; what is left of the last call is lost. Returns how many buffers are filled: with fewer than [`RECEIVE_MAX`]
    /// nothing more was there.
    ///
    /// # Errors
    /// `WouldBlock` when nothing is there; errors that earlier sends left behind (`ECONNREFUSED` and the like).
    pub fn receive(&mut self, socket: &UdpSocket) -> io::Result<usize> {
        self.filled.clear();
        self.next = (0, 0);
        let mut names: [SockAddrStorage; RECEIVE_MAX] = std::array::from_fn(|_| SockAddrStorage::zeroed());
        let mut controls = [Control::default(); RECEIVE_MAX];
        // SAFETY: iovec and mmsghdr are plain C structures for which all zeroes is a valid value (null, no length).
        let mut parts: [libc::iovec; RECEIVE_MAX] = unsafe { mem::zeroed() };
        // SAFETY: as above.
        let mut headers: [libc::mmsghdr; RECEIVE_MAX] = unsafe { mem::zeroed() };
        let name_len = names[0].size_of();
        let buffers = self.buffers.chunks_exact_mut(BUFFER_BYTES);
        for ((((buffer, name), control), part), header) in
            buffers.zip(&mut names).zip(&mut controls).zip(&mut parts).zip(&mut headers)
        {
            part.iov_base = buffer.as_mut_ptr().cast();
            part.iov_len = BUFFER_BYTES;
            header.msg_hdr.msg_name = (&raw mut *name).cast();
            header.msg_hdr.msg_namelen = name_len;
            header.msg_hdr.msg_iov = part;
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_control = control.as_mut_ptr().cast();
            header.msg_hdr.msg_controllen = size_of::<Control>() as _;
        }
        // SAFETY: every header points to one iovec, one name, one control buffer and one buffer that outlive the call,
        // with their true lengths; no time-out is given.
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
            let bytes = (header.msg_len as usize).min(BUFFER_BYTES);
            let packet = joined(&header.msg_hdr).filter(|p| *p > 0).unwrap_or(BUFFER_BYTES);
            self.filled.push(Filled { from, bytes, packet });
        }
        Ok(n)
    }

    /// The next packet of the last call, in order of arrival, with its sender.
    pub fn next_packet(&mut self) -> Option<(SocketAddr, &mut [u8])> {
        loop {
            let (at, start) = self.next;
            let filled = self.filled.get(at)?;
            let end = start.saturating_add(filled.packet).min(filled.bytes);
            let from = filled.from.filter(|_| start < end);
            // An empty datagram is nothing to anybody.
            self.next = if end >= filled.bytes { (at + 1, 0) } else { (at, end) };
            if let Some(from) = from {
                let base = at * BUFFER_BYTES;
                return Some((from, &mut self.buffers[base + start..base + end]));
            }
        }
    }

    /// Forgets what is left of the last call.
    pub fn clear(&mut self) {
        self.filled.clear();
    }

    /// Whether [`Self::next_packet`] has more.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.next.0 >= self.filled.len()
    }
}

/// Bytes of each packet in a received run, if it is one.
fn joined(header: &libc::msghdr) -> Option<usize> {
    // SAFETY: the header was filled by the kernel, and its control buffer is still there; the macros stay inside it.
    let mut message = unsafe { libc::CMSG_FIRSTHDR(header).as_ref() };
    while let Some(m) = message {
        if (m.cmsg_level, m.cmsg_type) == (libc::SOL_UDP, libc::UDP_GRO) {
            // SAFETY: the kernel puts an int into this message; it may not be aligned.
            let size = unsafe { libc::CMSG_DATA(m).cast::<libc::c_int>().read_unaligned() };
            return usize::try_from(size).ok();
        }
        // SAFETY: as above.
        message = unsafe { libc::CMSG_NXTHDR(header, m).as_ref() };
    }
    None
}

/// Sends packets, many a system call, and runs of equally long ones to one peer as one (UDP segmentation offload) where
/// kernel and device take that.
#[derive(Debug)]
pub struct Sender {
    segments: bool,
    too_long: bool,
}

impl Default for Sender {
    fn default() -> Self {
        Self { segments: true, too_long: false }
    }
}

impl Sender {
    /// Sends packets, at most [`SEND_MAX`] of them, without waiting. Returns how many went out; the rest were not tried.
    /// Packets to one peer should come one behind the other.
    ///
    /// # Errors
    /// What is wrong with the *first* packet; nothing was sent then. `WouldBlock` when the socket's buffer is full.
    pub fn send<'a>(
        &mut self,
        socket: &UdpSocket,
        packets: impl Iterator<Item = (&'a SockAddr, &'a [u8])> + Clone,
    ) -> io::Result<usize> {
        if self.segments {
            match send_runs(socket, packets.clone(), SEGMENTS_MAX) {
                // The kernel, the device or its path do not take segments (of this size).
                Err(e) if matches!(e.raw_os_error(), Some(libc::EINVAL | libc::EMSGSIZE)) => {
                    self.too_long = true
                }
                Err(e) if matches!(e.raw_os_error(), Some(libc::EIO | libc::EOPNOTSUPP)) => {
                    self.segments = false
                }
                outcome => return outcome,
            }
        }
        send_runs(socket, packets, 1)
    }

    /// Whether packets were longer than their interface takes whole since the last call; they were cut up.
    pub fn take_too_long(&mut self) -> bool {
        std::mem::take(&mut self.too_long)
    }
}

/// Sends packets, runs of up to `longest` of them to one peer as one message.
fn send_runs<'a>(
    socket: &UdpSocket,
    packets: impl Iterator<Item = (&'a SockAddr, &'a [u8])>,
    longest: usize,
) -> io::Result<usize> {
    let mut parts = [const { MaybeUninit::<libc::iovec>::uninit() }; SEND_MAX];
    let mut headers = [const { MaybeUninit::<libc::mmsghdr>::uninit() }; SEND_MAX];
    let mut controls = [const { MaybeUninit::<Control>::uninit() }; SEND_MAX];
    let mut packets = packets.take(SEND_MAX).peekable();
    let (mut n, mut at) = (0, 0);
    while let Some((to, first)) = packets.next() {
        let mut run = Run { to, first: first.len(), bytes: first.len(), packets: 1, open: longest > 1 };
        parts[at].write(part(first));
        while let Some((_, more)) = packets.next_if(|(to, packet)| run.fits(to, packet.len(), longest)) {
            parts[at + run.packets].write(part(more));
            run.take(more.len());
        }
        // SAFETY: plain C structure for which all zeroes is a valid value (null, no length).
        let mut message: libc::mmsghdr = unsafe { mem::zeroed() };
        message.msg_hdr.msg_name = to.as_ptr().cast_mut().cast();
        message.msg_hdr.msg_namelen = to.len();
        message.msg_hdr.msg_iov = parts[at].as_mut_ptr();
        message.msg_hdr.msg_iovlen = run.packets as _;
        if run.packets > 1 {
            message.msg_hdr.msg_control = controls[n].write(Control::default()).as_mut_ptr().cast();
            // SAFETY: a computation on sizes only.
            message.msg_hdr.msg_controllen = unsafe { libc::CMSG_SPACE(size_of::<u16>() as u32) } as _;
            // SAFETY: the control buffer is zeroed, aligned, and longer than one message with a u16.
            unsafe {
                let segment = libc::CMSG_FIRSTHDR(&raw const message.msg_hdr);
                (*segment).cmsg_level = libc::SOL_UDP;
                (*segment).cmsg_type = libc::UDP_SEGMENT;
                (*segment).cmsg_len = libc::CMSG_LEN(size_of::<u16>() as u32) as _;
                libc::CMSG_DATA(segment).cast::<u16>().write_unaligned(run.first as u16);
            }
        }
        headers[n].write(message);
        n += 1;
        at += run.packets;
    }
    // SAFETY: the first n headers are written; each points to its address, its parts (written, one a packet) and perhaps
    // its control message, all of which outlive the call and are only read.
    let sent = unsafe {
        libc::sendmmsg(
            socket.as_raw_fd(),
            headers.as_mut_ptr().cast(),
            n as u32,
            (libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) as _,
        )
    };
    let sent = usize::try_from(sent).map_err(|_| io::Error::last_os_error())?;
    // SAFETY: the kernel sends no more messages than the n that are written.
    Ok(headers[..sent].iter().map(|h| unsafe { h.assume_init_ref() }.msg_hdr.msg_iovlen).sum())
}

fn part(packet: &[u8]) -> libc::iovec {
    libc::iovec { iov_base: packet.as_ptr().cast_mut().cast(), iov_len: packet.len() }
}

/// Packets to one peer that go out as one message: all of one length, but the last may be shorter.
struct Run<'a> {
    to: &'a SockAddr,
    first: usize,
    bytes: usize,
    packets: usize,
    /// All so far are of one length.
    open: bool,
}

impl Run<'_> {
    fn fits(&self, to: &SockAddr, len: usize, longest: usize) -> bool {
        self.open
            && self.packets < longest
            && (1..=self.first).contains(&len)
            && self.bytes + len <= SEGMENTS_BYTES
            && (std::ptr::eq(self.to, to) || self.to == to)
    }

    fn take(&mut self, len: usize) {
        self.packets += 1;
        self.bytes += len;
        self.open = len == self.first;
    }
}

/// Packets and bytes that the kernel takes in one message.
const SEGMENTS_MAX: usize = 64;
const SEGMENTS_BYTES: usize = 65_000;

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

    fn send_all(a: &UdpSocket, sender: &mut Sender, to: &SockAddr, bodies: &[Vec<u8>]) {
        let mut sent = 0;
        while sent < bodies.len() {
            sent += sender.send(a, bodies[sent..].iter().map(|p| (to, p.as_slice()))).expect("sends");
        }
    }

    fn receive_all(b: &UdpSocket, from: &UdpSocket, count: usize) -> Vec<Vec<u8>> {
        let mut batch = ReceiveBatch::default();
        let mut got = Vec::new();
        while got.len() < count {
            assert!(batch.receive(b).expect("loopback is instant") <= RECEIVE_MAX);
            assert!(!batch.is_empty());
            while let Some((sender, packet)) = batch.next_packet() {
                assert_eq!(sender, from.local_addr().expect("bound"));
                got.push(packet.to_vec());
            }
            assert!(batch.is_empty());
        }
        assert_eq!(batch.receive(b).expect_err("empty").kind(), io::ErrorKind::WouldBlock);
        assert_eq!(batch.next_packet(), None);
        got
    }

    #[test]
    fn a_batch_arrives_in_order_with_its_sender_and_its_lengths() {
        let (a, b) = pair();
        let to: SockAddr = b.local_addr().expect("bound").into();
        for segments in [true, false] {
            // Runs of one length that end in a shorter one, runs too long for one message, and singles.
            let lengths =
                (1..100_usize).map(|n| n * 10).chain([1_400; 150]).chain([7; 90]).chain([1_200, 1_200, 30]);
            let bodies: Vec<Vec<u8>> = lengths.zip(0_u8..=255).map(|(len, n)| vec![n; len]).collect();
            send_all(&a, &mut Sender { segments, too_long: false }, &to, &bodies);
            assert_eq!(receive_all(&b, &a, bodies.len()), bodies, "segments {segments}");
        }
    }

    #[test]
    fn packets_to_many_peers_each_arrive_where_they_belong() {
        let (a, b) = pair();
        let (c, _) = pair();
        let to: [SockAddr; 2] = [&b, &c].map(|s| s.local_addr().expect("bound").into());
        let bodies: Vec<Vec<u8>> = (0_u8..20).map(|n| vec![n; 500]).collect();
        let list = to.iter().flat_map(|to| bodies.iter().map(move |p| (to, p.as_slice())));
        assert_eq!(Sender::default().send(&a, list).expect("sends"), 40);
        assert_eq!(receive_all(&b, &a, 20), bodies);
        assert_eq!(receive_all(&c, &a, 20), bodies);
    }

    #[test]
    fn a_packet_too_large_is_seen_as_too_large() {
        let (a, b) = pair();
        a.send_to(&[7; 5_000], b.local_addr().expect("bound")).expect("sends");
        let mut batch = ReceiveBatch::default();
        assert_eq!(batch.receive(&b).expect("there"), 1);
        assert_eq!(batch.next_packet().expect("there").1.len(), 5_000);
    }

    #[test]
    fn a_packet_that_must_stay_whole_does_where_the_interface_takes_it() {
        for any in ["127.0.0.1:0", "[::1]:0"] {
            let socket = || bind_udp(any.parse().expect("an address"), &UdpOptions::default());
            // A machine need not have IPv6.
            let (Ok(a), Ok(b)) = (socket(), socket()) else { continue };
            let to: SockAddr = b.local_addr().expect("bound").into();
            send_whole(&a, &to, &[7; 9_000]).expect("the loopback interface takes 65,536 bytes");
            let error = send_whole(&a, &to, &[7; 65_530]).expect_err("no datagram is that long");
            assert_eq!(error.raw_os_error(), Some(libc::EMSGSIZE), "{any}");
            assert_eq!(receive_all(&b, &a, 1)[0].len(), 9_000);
        }
    }

    #[test]
    fn an_address_that_is_not_here_yet_can_be_bound() {
        let addr = "192.0.2.1:0".parse().expect("an address");
        assert!(bind_udp(addr, &UdpOptions { buffer_bytes: 4_096, ..UdpOptions::default() }).is_ok());
    }
}
