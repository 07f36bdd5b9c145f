//! Packets that wait for one socket, each kept once for all who get it.
//!
//! They go out peer by peer: runs of packets to one peer pass the kernel as one. What the socket does not take stays, with
//! who still has to get it.

use std::collections::VecDeque;
use std::io;
use std::net::UdpSocket;

use holdfast_sys::net::{SEND_MAX, Sender};
use socket2::SockAddr;

/// A queue of packets, in their order.
pub(crate) struct Outbox {
    packets: VecDeque<Waiting>,
    max: usize,
}

struct Waiting {
    bytes: Vec<u8>,
    /// By position in the list of peers: who still has to get it.
    to: u64,
}

/// Errors of earlier packets that one flush gets over without a loss.
const OTHERS_MAX: u32 = 16;

/// How a flush ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Flushed {
    /// Nothing waits any more.
    All,
    /// The socket's buffer is full.
    Full,
}

impl Outbox {
    /// For `max` packets.
    pub(crate) fn new(max: usize) -> Self {
        Self { packets: VecDeque::with_capacity(max), max }
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }

    /// Queues a packet for the peers at these positions; the buffer comes back through `spare` when it is out. False: the
    /// oldest packet was lost for it.
    pub(crate) fn push(&mut self, to: u64, bytes: Vec<u8>, spare: &mut Vec<Vec<u8>>) -> bool {
        if to == 0 {
            spare.push(bytes);
            return true;
        }
        let full = self.packets.len() >= self.max;
        if full && let Some(oldest) = self.packets.pop_front() {
            spare.push(oldest.bytes);
        }
        self.packets.push_back(Waiting { bytes, to });
        !full
    }

    /// Sends until the socket's buffer is full. `peers` is the address of each; `failed` is told of a peer to whom this
    /// packet could not be sent, and why: it is lost, or waits if the buffer is full.
    pub(crate) fn flush<'a>(
        &mut self,
        socket: &UdpSocket,
        sender: &mut Sender,
        peers: impl Iterator<Item = &'a SockAddr> + Clone,
        spare: &mut Vec<Vec<u8>>,
        mut failed: impl FnMut(usize, io::ErrorKind, &[u8]),
    ) -> Flushed {
        let count = peers.clone().count();
        let chunk = (SEND_MAX / count.max(1)).max(1);
        let mut others = 0;
        while !self.packets.is_empty() {
            let waiting = &self.packets;
            let list = peers.clone().enumerate().flat_map(|(at, addr)| {
                let its = waiting.iter().take(chunk).filter(move |w| w.to & 1 << at != 0);
                its.map(move |w| (addr, w.bytes.as_slice()))
            });
            let sent = match sender.send(socket, list) {
                Ok(sent) => sent,
                // What the kernel says may be about an earlier packet to whichever peer: then it is said once.
                Err(e) if e.kind() == io::ErrorKind::ConnectionRefused && others < OTHERS_MAX => {
                    others += 1;
                    continue;
                }
                Err(e) => {
                    let first = waiting.iter().take(chunk).min_by_key(|w| w.to.trailing_zeros());
                    if let Some(first) = first {
                        failed(first.to.trailing_zeros() as usize, e.kind(), &first.bytes);
                    }
                    if e.kind() == io::ErrorKind::WouldBlock {
                        return Flushed::Full;
                    }
                    // Something is wrong with the first one (filtered, no route): the rest must not suffer.
                    1
                }
            };
            self.strike_out(sent, count, chunk, spare);
        }
        Flushed::All
    }

    /// The first `sent` of what was on the list are out.
    fn strike_out(&mut self, mut sent: usize, peers: usize, chunk: usize, spare: &mut Vec<Vec<u8>>) {
        for at in 0..peers {
            for waiting in self.packets.iter_mut().take(chunk).filter(|w| w.to & 1 << at != 0) {
                if sent == 0 {
                    break;
                }
                waiting.to &= !(1 << at);
                sent -= 1;
            }
        }
        while let Some(done) = self.packets.pop_front_if(|w| w.to == 0) {
            spare.push(done.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    fn socket() -> (UdpSocket, SocketAddr) {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("binds");
        socket.set_read_timeout(Some(std::time::Duration::from_secs(20))).expect("sets");
        let addr = socket.local_addr().expect("bound");
        (socket, addr)
    }

    fn flush(outbox: &mut Outbox, peers: &[SockAddr], spare: &mut Vec<Vec<u8>>) -> (Flushed, Vec<usize>) {
        let (mut failed, socket) = (Vec::new(), socket().0);
        let outcome =
            outbox.flush(&socket, &mut Sender::default(), peers.iter(), spare, |at, _, _| failed.push(at));
        (outcome, failed)
    }

    #[test]
    fn everybody_gets_its_own_in_order_and_the_buffers_come_back() {
        let (a, b) = (socket(), socket());
        let peers = [a.1.into(), b.1.into()];
        let (mut outbox, mut spare) = (Outbox::new(1_000), Vec::new());
        for n in 0..150_u16 {
            let to = if n % 3 == 0 { 0b10 } else { 0b11 };
            assert!(outbox.push(to, n.to_le_bytes().into(), &mut spare));
        }
        assert!(outbox.push(0, vec![9], &mut spare), "for nobody");
        assert_eq!(flush(&mut outbox, &peers, &mut spare), (Flushed::All, vec![]));
        assert!(outbox.is_empty());
        assert_eq!(spare.len(), 151);
        let mut buffer = [0; 8];
        let mut next = |socket: &UdpSocket| {
            assert_eq!(socket.recv(&mut buffer).expect("arrives"), 2);
            u16::from_le_bytes([buffer[0], buffer[1]])
        };
        assert!((0..150).filter(|n| n % 3 != 0).all(|n| next(&a.0) == n));
        assert!((0..150).all(|n| next(&b.0) == n));
    }

    #[test]
    fn one_peer_without_a_route_costs_the_others_nothing() {
        let a = socket();
        // Broadcast needs a permission that the socket does not have.
        let nowhere: SocketAddr = "255.255.255.255:9".parse().expect("an address");
        let (mut outbox, mut spare) = (Outbox::new(10), Vec::new());
        for _ in 0..3 {
            outbox.push(0b11, vec![1; 100], &mut spare);
        }
        let peers = [nowhere.into(), a.1.into()];
        assert_eq!(flush(&mut outbox, &peers, &mut spare), (Flushed::All, vec![0, 0, 0]));
        for _ in 0..3 {
            assert_eq!(a.0.recv(&mut [0; 200]).expect("arrives"), 100);
        }
    }

    #[test]
    fn a_full_queue_loses_the_oldest_and_says_so() {
        let (mut outbox, mut spare) = (Outbox::new(2), Vec::new());
        assert!(outbox.push(1, vec![1], &mut spare) && outbox.push(1, vec![2], &mut spare));
        assert!(!outbox.push(1, vec![3], &mut spare));
        assert_eq!(spare, [[1]]);
    }
}
