//! A relay between the nodes that makes the network slow and disorderly, since not every kernel can (netem).
//!
//! Each node is configured to see each other one at an address of the switch's own. What it sends there, the relay takes,
//! keeps for a while that differs from packet to packet, and sends on from the address at which the receiver sees the
//! sender. So every packet goes through it, both see one and the same address at each end, and no address translation is
//! needed. Everything is bounded: what is too much is dropped, as in any switch.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, setns};

use crate::cluster::lock;
use crate::network::address;

/// How packets fare between two nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weather {
    /// Each packet is kept for at least this long …
    pub delay: Duration,
    /// … and for up to this much longer, so that packets overtake each other.
    pub jitter: Duration,
    /// Of a hundred packets so many come twice.
    pub doubled_percent: u32,
}

/// Most nodes that a relay can tell apart by address.
pub(crate) const NODES_MAX: u32 = 9;
/// Packets kept at most.
const QUEUE_MAX: usize = 16_384;
/// Packets taken from one socket before the next one's turn.
const BATCH: usize = 64;
const PORT: u16 = 5405;

/// The relay; it ends when it is dropped.
pub(crate) struct Relay {
    weather: Arc<Mutex<Weather>>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Relay {
    /// Starts one in the network namespace of the process `init`, where the addresses of [`seen_from`] are. The weather
    /// is fine until it is changed.
    pub(crate) fn new(init: u32, nodes: u32) -> Result<Self> {
        ensure!(nodes <= NODES_MAX, "a relay serves at most {NODES_MAX} nodes");
        let space = File::open(format!("/proc/{init}/ns/net"))?;
        let weather = Arc::new(Mutex::new(Weather::default()));
        let over = Arc::new(AtomicBool::new(false));
        let (ready, result) = std::sync::mpsc::channel();
        let thread = std::thread::Builder::new().name("relay".into()).spawn({
            let (weather, over) = (Arc::clone(&weather), Arc::clone(&over));
            move || {
                // The namespace of this thread only.
                let sockets = setns(space, CloneFlags::CLONE_NEWNET)
                    .map_err(io::Error::from)
                    .and_then(|()| Sockets::bind(nodes));
                match sockets {
                    Ok(sockets) => {
                        let _ = ready.send(Ok(()));
                        carry(&sockets, &weather, &over);
                    }
                    Err(e) => drop(ready.send(Err(e))),
                }
            }
        })?;
        let relay = Self { weather, over, thread: Some(thread) };
        result.recv().map_err(|_| anyhow!("the relay died"))?.context("the relay's sockets")?;
        Ok(relay)
    }

    pub(crate) fn set(&self, weather: Weather) {
        *lock(&self.weather) = weather;
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The address at which `viewer` sees `node` when a relay is between them.
pub(crate) fn seen_from(viewer: u32, node: u32) -> Ipv4Addr {
    if viewer == node {
        return address(node, 0);
    }
    let [a, b, c, _] = address(node, 0).octets();
    let last = 100 + 10 * viewer + node;
    Ipv4Addr::new(a, b, c, u8::try_from(last).unwrap_or(u8::MAX))
}

/// One socket for each pair (viewer, node), bound to where the viewer sees the node.
struct Sockets(Vec<(u32, u32, UdpSocket)>);

impl Sockets {
    fn bind(nodes: u32) -> io::Result<Self> {
        let mut sockets = Vec::new();
        for viewer in 1..=nodes {
            for node in (1..=nodes).filter(|n| *n != viewer) {
                let socket = UdpSocket::bind((seen_from(viewer, node), PORT))?;
                socket.set_nonblocking(true)?;
                sockets.push((viewer, node, socket));
            }
        }
        Ok(Self(sockets))
    }

    fn of(&self, viewer: u32, node: u32) -> Option<&UdpSocket> {
        self.0.iter().find(|(v, n, _)| (*v, *n) == (viewer, node)).map(|(.., socket)| socket)
    }
}

/// A packet on its way, earliest first; the number keeps packets of one instant in order.
type Packet = Reverse<(Instant, u64, u32, u32, Vec<u8>)>;

fn carry(sockets: &Sockets, weather: &Mutex<Weather>, over: &AtomicBool) {
    let mut queue: BinaryHeap<Packet> = BinaryHeap::new();
    let mut number = 0_u64;
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let mut buffer = vec![0; 65_536];
    while !over.load(Ordering::Relaxed) {
        let now = Instant::now();
        while queue.peek().is_some_and(|Reverse((due, ..))| *due <= now) {
            let Some(Reverse((_, _, from, to, packet))) = queue.pop() else { break };
            if let Some(socket) = sockets.of(to, from) {
                // A node that is off does not answer; nobody here minds.
                let _ = socket.send_to(&packet, (address(to, 0), PORT));
            }
        }
        let wait =
            queue.peek().map_or(LOOK, |Reverse((due, ..))| due.saturating_duration_since(now).min(LOOK));
        // Whole milliseconds: rounded up, or the last one would be spent spinning.
        let wait = u16::try_from(wait.as_micros().div_ceil(1_000)).unwrap_or(u16::MAX);
        let mut fds: Vec<PollFd<'_>> =
            sockets.0.iter().map(|(.., s)| PollFd::new(s.as_fd(), PollFlags::POLLIN)).collect();
        if poll(&mut fds, PollTimeout::from(wait)).is_err() {
            continue;
        }
        let weather = *lock(weather);
        for (from, to, socket) in &sockets.0 {
            for _ in 0..BATCH {
                // Refusals of earlier packets come as errors: they end this socket's turn, no more.
                let Ok((len, sender)) = socket.recv_from(&mut buffer) else { break };
                if sender != SocketAddr::new(IpAddr::V4(address(*from, 0)), PORT) {
                    continue;
                }
                let copies = 1 + usize::from(dice.below(100) < u64::from(weather.doubled_percent));
                for _ in 0..copies {
                    if queue.len() >= QUEUE_MAX {
                        break;
                    }
                    let jitter = u64::try_from(weather.jitter.as_micros()).unwrap_or(0);
                    let due = Instant::now() + weather.delay + Duration::from_micros(dice.below(jitter + 1));
                    number += 1;
                    queue.push(Reverse((due, number, *from, *to, buffer[..len].to_vec())));
                }
            }
        }
    }
}

/// How long it takes to notice that it is over.
const LOOK: Duration = Duration::from_millis(50);

/// xorshift64*: the same dice in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % n.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pair_has_an_address_of_its_own() {
        let mut seen = std::collections::BTreeSet::new();
        for viewer in 1..=NODES_MAX {
            for node in 1..=NODES_MAX {
                assert!(seen.insert(seen_from(viewer, node)), "{viewer} sees {node}");
            }
        }
    }
}
