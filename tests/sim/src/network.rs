//! The virtual network: who can reach whom, how long a packet takes, and what happens to it on the way.

use std::collections::VecDeque;
use std::rc::Rc;

use holdfast_types::{Boottime, LinkId, Span};

use crate::clock::{Instant, MS};
use crate::options::{Bucket, FaultOptions, NetworkOptions};
use crate::oracle::LifeIndex;
use crate::random::{Random, Stream};

/// Old packets kept for replays.
const REPLAY_MAX: usize = 512;
/// A receiver's socket buffer and a thin pipe's queue hold this much; the rest is lost.
pub const BUFFER_MAX: usize = 425_984;

/// A packet under way, with what the oracle knows about it and its receiver does not.
#[derive(Clone, Debug)]
pub struct Flight {
    /// Index of the sender.
    pub from: usize,
    /// Index of the receiver.
    pub to: usize,
    /// The link it goes over.
    pub link: LinkId,
    /// What kind of packet it is, if the simulator has looked; see the sniffer.
    pub kind: u8,
    /// The bytes as sent.
    pub bytes: Rc<[u8]>,
    /// What happened to them since.
    pub damage: Damage,
    /// The life that sent it.
    pub sender: LifeIndex,
    /// When it was sent, on the sender's clock.
    pub sent: Boottime,
    /// For each node, its life and the send time of its newest packet that the sender had read by then: whatever the
    /// packet says, it cannot vouch for a node later than that. For all of them, since a replayed packet may reach
    /// another node than it was sent to.
    pub heard: Rc<[Heard]>,
    /// How long the sender vouches for whom it has heard: what was configured there when it was sent.
    pub lease: Span,
    /// The sender owned the quorum device's vote when it was sent.
    pub device: bool,
}

/// The newest packet read from a node: the life that sent it, and when, on that life's clock.
pub type Heard = Option<(LifeIndex, Boottime)>;

/// What happens to the bytes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// Nothing.
    None,
    /// This bit is flipped.
    Flip(usize),
    /// Cut to this length.
    Truncate(usize),
}

impl Flight {
    /// The bytes as they arrive.
    pub fn arrive_into(&self, buffer: &mut Vec<u8>) {
        buffer.clear();
        buffer.extend_from_slice(&self.bytes);
        match self.damage {
            Damage::None => {}
            Damage::Flip(bit) => buffer[bit / 8] ^= 1 << (bit % 8),
            Damage::Truncate(len) => buffer.truncate(len),
        }
    }
}

/// The network between `n` nodes: as many separate ones as there are links.
#[derive(Debug)]
pub struct Network {
    n: usize,
    links: usize,
    options: NetworkOptions,
    /// Faults in force; none in the liveness phase.
    faults: FaultOptions,
    rng: Random,
    pairs: Vec<Pair>,
    history: VecDeque<Flight>,
    /// Counters for the report.
    pub counters: Counters,
}

/// One direction of one link between two nodes.
#[derive(Clone, Debug)]
struct Pair {
    /// Cuts of all links.
    cuts: u32,
    /// Cuts of this one.
    link_cuts: u32,
    latency: u64,
    extra: u64,
    /// What it passes through; when that will have let everything through that it has taken.
    bucket: Bucket,
    free_at: Instant,
    /// Each packet arrives so many times more.
    storm: u32,
    last_arrival: Instant,
    bursting: bool,
}

/// What the network did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Packets handed in, one for each receiver.
    pub sent: u64,
    /// Their bytes, seals included.
    pub bytes: u64,
    /// Packets lost to loss, cuts and full queues.
    pub lost: u64,
    /// Packets damaged.
    pub damaged: u64,
    /// Packets sent once more by the replayer.
    pub replayed: u64,
}

impl Network {
    /// A network in which everyone reaches everyone.
    #[must_use]
    pub fn new(seed: u64, n: usize, links: usize, options: NetworkOptions, faults: FaultOptions) -> Self {
        let mut rng = Random::new(seed, Stream::Network);
        let pair = |_| {
            let slower = if rng.chance(500_000) { options.asymmetry } else { 1 };
            Pair {
                cuts: 0,
                link_cuts: 0,
                latency: (options.latency + rng.below(options.latency / 2 + 1)) * slower,
                extra: 0,
                bucket: faults.bucket,
                free_at: 0,
                storm: 0,
                last_arrival: 0,
                bursting: false,
            }
        };
        let pairs = (0..links * n * n).map(pair).collect();
        Self {
            n,
            links,
            options,
            faults,
            rng,
            pairs,
            history: VecDeque::new(),
            counters: Counters::default(),
        }
    }

    /// Sends `flight` at `now`; calls `arrive` for each copy that gets through, with its time.
    pub fn send(&mut self, now: Instant, flight: Flight, mut arrive: impl FnMut(Instant, Flight)) {
        self.counters.sent += 1;
        self.counters.bytes += flight.bytes.len() as u64;
        if self.faults.replay > 0 {
            if self.history.len() == REPLAY_MAX {
                let old = self.rng.index(REPLAY_MAX);
                self.history.swap_remove_back(old);
            }
            self.history.push_back(flight.clone());
            if self.rng.chance(self.faults.replay) {
                let (at, old) = self.replay(now);
                arrive(at, old);
            }
        }
        let index = self.index(flight.link, flight.from, flight.to);
        if self.lost(index, flight.kind) {
            self.counters.lost += 1;
            return;
        }
        let copies = 1 + self.pairs[index].storm + u32::from(self.rng.chance(self.faults.duplicate));
        for _ in 0..copies {
            match self.arrival(now, index, flight.bytes.len()) {
                Some(at) => {
                    let damage = self.damage(flight.bytes.len());
                    arrive(at, Flight { damage, ..flight.clone() });
                }
                None => self.counters.lost += 1,
            }
        }
    }

    fn lost(&mut self, index: usize, kind: u8) -> bool {
        let f = self.faults;
        let pair = &mut self.pairs[index];
        if pair.cuts + pair.link_cuts > 0 {
            return true;
        }
        if f.burst_enter > 0 {
            let flip = if pair.bursting { f.burst_leave } else { f.burst_enter };
            pair.bursting ^= self.rng.chance(flip);
            if pair.bursting {
                return true;
            }
        }
        self.rng.chance(f.loss) || f.kind_loss.is_some_and(|(k, share)| k == kind && self.rng.chance(share))
    }

    fn arrival(&mut self, now: Instant, index: usize, len: usize) -> Option<Instant> {
        let slow =
            if self.rng.chance(self.faults.slow) { self.rng.exponential(self.faults.slow_mean) } else { 0 };
        let jitter = self.rng.exponential(self.options.jitter);
        let pair = &mut self.pairs[index];
        let mut start = now;
        let Bucket { nanos_per_byte: pace, burst, queue } = pair.bucket;
        if pace > 0 {
            if pair.free_at.saturating_sub(now) > pace * queue {
                return None;
            }
            pair.free_at = pair.free_at.max(now.saturating_sub(pace * burst)) + pace * (len as u64 + 42);
            start = now.max(pair.free_at);
        }
        let mut at = start + pair.latency + pair.extra + jitter + slow;
        if !self.faults.reorder && slow == 0 {
            at = at.max(pair.last_arrival + 1);
            pair.last_arrival = at;
        }
        Some(at)
    }

    fn damage(&mut self, len: usize) -> Damage {
        let damage = if self.rng.chance(self.faults.flip) {
            Damage::Flip(self.rng.index(len * 8))
        } else if self.rng.chance(self.faults.truncate) {
            Damage::Truncate(self.rng.index(len))
        } else {
            return Damage::None;
        };
        self.counters.damaged += 1;
        damage
    }

    /// An old packet once more, in one of three cases to a node it was not meant for.
    fn replay(&mut self, now: Instant) -> (Instant, Flight) {
        self.counters.replayed += 1;
        let mut flight = self.history[self.rng.index(self.history.len())].clone();
        if self.rng.chance(333_333) {
            flight.to = self.rng.index(self.n);
        }
        (now + self.rng.exponential(20 * MS), flight)
    }

    /// Cuts the way from one node to another on every link; cuts add up.
    pub fn cut(&mut self, from: usize, to: usize) {
        self.on_all(from, to, |pair| pair.cuts += 1);
    }

    /// Takes one cut away, on every link.
    pub fn mend(&mut self, from: usize, to: usize) {
        self.on_all(from, to, |pair| pair.cuts = pair.cuts.saturating_sub(1));
    }

    /// Cuts one link from one node to another, besides what [`Network::cut`] cuts.
    pub fn cut_link(&mut self, link: LinkId, from: usize, to: usize) {
        let at = self.index(link, from, to);
        self.pairs[at].link_cuts += 1;
    }

    /// Takes one cut of a link away.
    pub fn mend_link(&mut self, link: LinkId, from: usize, to: usize) {
        let at = self.index(link, from, to);
        self.pairs[at].link_cuts = self.pairs[at].link_cuts.saturating_sub(1);
    }

    /// Whether packets from one node can get to another, if the links work.
    #[must_use]
    pub fn reaches(&self, from: usize, to: usize) -> bool {
        self.pairs[from * self.n + to].cuts == 0
    }

    /// Adds to the delay from one node to another (zero takes it back).
    pub fn set_extra_delay(&mut self, from: usize, to: usize, extra: u64) {
        self.on_all(from, to, |pair| pair.extra = extra);
    }

    /// Makes the way a thin pipe of so many nanoseconds a byte (zero takes it back).
    pub fn set_thin(&mut self, from: usize, to: usize, nanos_per_byte: u64) {
        let bucket = if nanos_per_byte > 0 {
            Bucket { nanos_per_byte, burst: 0, queue: BUFFER_MAX as u64 }
        } else {
            self.faults.bucket
        };
        self.on_all(from, to, |pair| pair.bucket = bucket);
    }

    /// Each packet on this way arrives so many times more (zero takes it back).
    pub fn set_storm(&mut self, from: usize, to: usize, copies: u32) {
        self.on_all(from, to, |pair| pair.storm = copies);
    }

    fn index(&self, link: LinkId, from: usize, to: usize) -> usize {
        (usize::from(link.get()) * self.n + from) * self.n + to
    }

    fn on_all(&mut self, from: usize, to: usize, change: impl Fn(&mut Pair)) {
        for link in 0..self.links {
            change(&mut self.pairs[(link * self.n + from) * self.n + to]);
        }
    }

    /// Changes the share of packets lost evenly from now on (for scripted runs).
    pub fn set_loss(&mut self, ppm: u32) {
        self.faults.loss = ppm;
    }

    /// Ends every fault.
    pub fn heal(&mut self) {
        self.faults = FaultOptions::default();
        for pair in &mut self.pairs {
            pair.cuts = 0;
            pair.link_cuts = 0;
            pair.extra = 0;
            pair.bucket = Bucket::default();
            pair.storm = 0;
            (pair.free_at, pair.last_arrival) = (0, 0); // nothing queues behind what was slow
            pair.bursting = false;
        }
    }
}
