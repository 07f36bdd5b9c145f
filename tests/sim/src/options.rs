//! What a run is like, drawn from its seed: cluster, timers, faults, load. Each run has another mix of fault classes
//! and strengths ("swarm"): faults that are always all on hide each other.

use cmm_proto::{LinkMode, LinksConfig, NodeEntry, QuorumConfig, Timers};
use holdfast_types::{NodeId, Span, Votes};

use crate::clock::{MS, SEC};
use crate::random::{Random, Stream};

/// A run, before it starts.
#[derive(Clone, Debug)]
pub struct Options {
    /// Everything below and everything that happens follows from it.
    pub seed: u64,
    /// Ids and votes, ascending.
    pub nodes: Vec<NodeEntry>,
    /// Timers of every node.
    pub timers: Timers,
    /// Ring window.
    pub window_frames: u32,
    /// Frames per token visit.
    pub frames_per_visit: u32,
    /// Quorum options of every node.
    pub quorum: QuorumConfig,
    /// Links of every node.
    pub links: LinksConfig,
    /// Length of the safety phase, in nanoseconds.
    pub duration: u64,
    /// Clocks gain or lose up to this many parts per million.
    pub drift_ppm_max: u32,
    /// The network when nothing is wrong.
    pub network: NetworkOptions,
    /// What goes wrong.
    pub faults: FaultOptions,
    /// What clients do.
    pub load: LoadOptions,
    /// A script makes things happen that the options do not say.
    pub scripted: bool,
}

/// The network when nothing is wrong.
#[derive(Clone, Copy, Debug)]
pub struct NetworkOptions {
    /// One-way delay, nanoseconds. Each pair has its own, up to half as much again.
    pub latency: u64,
    /// Mean of what chance adds to it.
    pub jitter: u64,
}

/// Faults: chances in parts per million a packet, mean intervals in nanoseconds; zero is off.
#[derive(Clone, Copy, Debug, Default)]
pub struct FaultOptions {
    /// Even loss.
    pub loss: u32,
    /// Bursts of loss: chance to enter one, for each packet of a pair.
    pub burst_enter: u32,
    /// Chance to leave the burst with each packet; within it everything is lost.
    pub burst_leave: u32,
    /// Loss of one kind of packet (the kind's number in the header, loss).
    pub kind_loss: Option<(u8, u32)>,
    /// A packet arrives twice.
    pub duplicate: u32,
    /// Packets of a pair may overtake each other.
    pub reorder: bool,
    /// Share of packets with a long delay, and its mean.
    pub slow: u32,
    /// Mean of the long delay.
    pub slow_mean: u64,
    /// A bit is flipped.
    pub flip: u32,
    /// The packet is cut short.
    pub truncate: u32,
    /// An old packet is sent once more, to anyone.
    pub replay: u32,
    /// Steps in delay: one node's or pair's packets are late for a while.
    pub delay_step_every: u64,
    /// A pair's packets pass through a thin pipe for a while.
    pub thin_every: u64,
    /// Cuts in two groups, both ways.
    pub split_every: u64,
    /// One-way cuts.
    pub one_way_every: u64,
    /// Cuts of single pairs: non-transitive.
    pub pair_every: u64,
    /// Cuts that open and close many times.
    pub flap_every: u64,
    /// Cuts of one link, between some nodes, one way or both.
    pub link_every: u64,
    /// Clog a random subset one by one, unclog in another order.
    pub swizzle_every: u64,
    /// How long a cut lasts at most.
    pub cut_max: u64,
    /// A node stands still.
    pub pause_every: u64,
    /// For how long at most.
    pub pause_max: u64,
    /// A node dies and restarts.
    pub crash_every: u64,
    /// All nodes die together.
    pub blackout_every: u64,
    /// How long until the restart at most.
    pub restart_max: u64,
    /// The guardian tells the peers (share of the crashes).
    pub gasp: u32,
    /// A fence agent confirms the death (share of the crashes).
    pub fence: u32,
    /// Orderly leaves.
    pub leave_every: u64,
    /// A node is killed by another one's request.
    pub kill_every: u64,
    /// Mean time until a record is durable.
    pub persist_mean: u64,
    /// Chance that a write takes seconds.
    pub persist_stall: u32,
    /// Timers fire late by this much on average (a machine with load).
    pub lateness: u64,
}

/// What clients do: mean intervals in nanoseconds for each node, zero is off.
#[derive(Clone, Copy, Debug)]
pub struct LoadOptions {
    /// Multicasts.
    pub mcast_every: u64,
    /// Share of the multicasts that come as a burst of up to 64.
    pub burst: u32,
    /// Share of messages beyond 8 KiB, up to 64 KiB.
    pub large: u32,
    /// Share of messages that ask for safe delivery.
    pub safe: u32,
    /// Clients come, join, leave and crash.
    pub churn_every: u64,
    /// Expected votes are changed.
    pub expected_every: u64,
    /// An operator brings another key.
    pub key_every: u64,
    /// Share of node starts whose userland takes part in steps.
    pub participant: u32,
}

/// A class of faults that can be switched off, to find out which one matters: `replay SEED --without loss,pause`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Class {
    /// Even, bursty and by-kind loss.
    Loss,
    /// Duplicates.
    Duplicate,
    /// Reordering.
    Reorder,
    /// Long delays, steps and thin pipes.
    Delay,
    /// Bit flips and truncation.
    Mangle,
    /// Replayed packets.
    Replay,
    /// All kinds of cuts.
    Cut,
    /// Pauses.
    Pause,
    /// Crashes, blackouts and kills.
    Crash,
    /// Gasps, last words and fences.
    Confirm,
    /// Orderly leaves.
    Leave,
    /// Slow writes.
    Disk,
    /// Late timers.
    Lateness,
    /// Clients that come and go.
    Churn,
    /// Multicasts.
    Mcast,
    /// Changes of expected votes.
    Expected,
    /// Changes of the key.
    Key,
    /// Participants in steps.
    Participant,
}

impl Options {
    /// The run of `seed`.
    #[must_use]
    pub fn draw(seed: u64) -> Self {
        Self::draw_sized(seed, None)
    }

    /// The run of `seed` with a fixed number of nodes, 2 to 16.
    #[must_use]
    pub fn draw_sized(seed: u64, nodes: Option<usize>) -> Self {
        let mut rng = Random::new(seed, Stream::Options);
        let drawn = rng.pick(&[2, 2, 3, 3, 3, 3, 4, 4, 5, 5, 5, 5, 6, 7, 8, 9, 11, 13, 16]);
        let count = nodes.unwrap_or(drawn).clamp(2, 16);
        let token = Span::from_millis(rng.pick(&[300, 1_000, 1_000, 1_000, 1_000, 3_000]));
        let token_ns = token.as_nanos();
        let rounds = rng.log_uniform(8, 40);
        let network = NetworkOptions {
            latency: rng.log_uniform(20_000, (token_ns / 150 / count as u64).max(40_000)),
            jitter: rng.log_uniform(1_000, 300_000),
        };
        let quorum = QuorumConfig {
            expected_votes: None,
            two_node: count == 2 && rng.chance(300_000),
            wait_for_all: rng.chance(200_000),
        };
        let nodes = draw_nodes(&mut rng, count, quorum.two_node);
        let duration = token_ns.saturating_mul(rounds);
        let faults = FaultOptions::draw(&mut rng, token_ns, count as u64);
        let load = LoadOptions::draw(&mut rng, token_ns, duration, count as u64);
        let window_frames = rng.pick(&[50, 50, 50, 17, 300]);
        let frames_per_visit = rng.pick(&[17, 17, 17, 1, 50]);
        let drift_ppm_max = rng.pick(&[0, 20, 200]);
        let links = draw_links(&mut rng);
        Self {
            seed,
            nodes,
            links,
            timers: draw_timers(&mut Random::new(seed, Stream::Timers), token),
            window_frames,
            frames_per_visit,
            quorum,
            duration,
            drift_ppm_max,
            network,
            faults,
            load,
            scripted: false,
        }
    }

    /// A quiet run of `count` nodes with a token of one second, one vote each, no faults and no load: where scripted
    /// scenarios start.
    #[must_use]
    pub fn quiet(seed: u64, count: u32) -> Self {
        Self {
            seed,
            nodes: (1..=count).map(|id| NodeEntry { id: NodeId::new(id), votes: Votes::new(1) }).collect(),
            timers: Timers::from_token(Span::from_secs(1)),
            window_frames: 50,
            frames_per_visit: 17,
            quorum: QuorumConfig { expected_votes: None, two_node: false, wait_for_all: false },
            links: LinksConfig::equal(1, LinkMode::Passive),
            duration: 0,
            drift_ppm_max: 100,
            network: NetworkOptions { latency: 200_000, jitter: 20_000 },
            faults: FaultOptions { restart_max: SEC, persist_mean: MS, ..FaultOptions::default() },
            load: LoadOptions {
                mcast_every: 0,
                burst: 0,
                large: 0,
                safe: 300_000,
                churn_every: 0,
                expected_every: 0,
                key_every: 0,
                participant: 0,
            },
            scripted: true,
        }
    }

    /// Switches a class off.
    pub fn without(&mut self, class: Class) {
        let (f, l) = (&mut self.faults, &mut self.load);
        match class {
            Class::Loss => {
                f.loss = 0;
                f.burst_enter = 0;
                f.kind_loss = None;
            }
            Class::Duplicate => f.duplicate = 0,
            Class::Reorder => f.reorder = false,
            Class::Delay => {
                f.slow = 0;
                f.delay_step_every = 0;
                f.thin_every = 0;
            }
            Class::Mangle => {
                f.flip = 0;
                f.truncate = 0;
            }
            Class::Replay => f.replay = 0,
            Class::Cut => {
                f.split_every = 0;
                f.one_way_every = 0;
                f.pair_every = 0;
                f.flap_every = 0;
                f.link_every = 0;
                f.swizzle_every = 0;
            }
            Class::Pause => f.pause_every = 0,
            Class::Crash => {
                f.crash_every = 0;
                f.blackout_every = 0;
                f.kill_every = 0;
            }
            Class::Confirm => {
                f.gasp = 0;
                f.fence = 0;
            }
            Class::Leave => f.leave_every = 0,
            Class::Disk => f.persist_stall = 0,
            Class::Lateness => f.lateness = 0,
            Class::Churn => l.churn_every = 0,
            Class::Mcast => l.mcast_every = 0,
            Class::Expected => l.expected_every = 0,
            Class::Key => l.key_every = 0,
            Class::Participant => l.participant = 0,
        }
    }

    /// Nothing can happen here that may change a membership.
    #[must_use]
    pub fn calm(&self) -> bool {
        !self.scripted && self.faults.calm()
    }

    /// Sum of the configured votes.
    #[must_use]
    pub fn votes_total(&self) -> u32 {
        self.nodes.iter().map(|n| n.votes.get()).sum()
    }
}

impl FaultOptions {
    fn draw(rng: &mut Random, token: u64, nodes: u64) -> Self {
        if rng.chance(50_000) {
            return Self { restart_max: token, persist_mean: MS, ..Self::default() }; // a calm run: nothing may change
        }
        let on = rng.pick(&[150_000, 350_000, 600_000]); // how full of faults this run is
        let ppm = |rng: &mut Random, low, high| {
            if rng.chance(on) { u32::try_from(rng.log_uniform(low, high)).unwrap_or(0) } else { 0 }
        };
        let loss = ppm(rng, 300, 200_000);
        let burst_enter = ppm(rng, 100, 20_000);
        let burst_leave = u32::try_from(rng.log_uniform(20_000, 500_000)).unwrap_or(0);
        let kind = u8::try_from(rng.below(8)).unwrap_or(0);
        let kind_loss = match ppm(rng, 50_000, 900_000) {
            0 => None,
            share => Some((kind, share)),
        };
        let every = |rng: &mut Random, low: u64, high: u64| {
            let interval = rng.log_uniform(token * low / 4, token * high);
            if rng.chance(on) { interval } else { 0 }
        };
        Self {
            loss,
            burst_enter,
            burst_leave,
            kind_loss,
            duplicate: ppm(rng, 1_000, 200_000),
            reorder: rng.chance(on),
            slow: ppm(rng, 500, 100_000),
            slow_mean: rng.log_uniform(MS, 2 * token),
            flip: ppm(rng, 500, 50_000),
            truncate: ppm(rng, 500, 50_000),
            replay: ppm(rng, 500, 50_000),
            delay_step_every: every(rng, 4, 20),
            thin_every: every(rng, 4, 20),
            split_every: every(rng, 4, 20),
            one_way_every: every(rng, 4, 20),
            pair_every: every(rng, 4, 20),
            flap_every: every(rng, 8, 30),
            swizzle_every: every(rng, 8, 30),
            cut_max: rng.log_uniform(token / 10, 6 * token),
            pause_every: every(rng, 2, 20),
            pause_max: rng.log_uniform(token / 20, 4 * token),
            crash_every: every(rng, 2, 20),
            blackout_every: if rng.chance(100_000) { token * rng.between(5, 20) } else { 0 },
            restart_max: rng.log_uniform(MS, 6 * token),
            gasp: if rng.chance(500_000) { 700_000 } else { 0 },
            fence: if rng.chance(400_000) { 500_000 } else { 0 },
            leave_every: every(rng, 4, 30),
            kill_every: if nodes > 2 { every(rng, 16, 40) } else { 0 },
            persist_mean: rng.log_uniform(50_000, 30 * MS),
            persist_stall: ppm(rng, 10_000, 300_000),
            lateness: if rng.chance(on) { rng.log_uniform(10_000, token / 200) } else { 0 },
            link_every: every(rng, 2, 20),
        }
    }

    /// Nothing here can change a membership.
    fn calm(&self) -> bool {
        let chances = [self.loss, self.burst_enter, self.duplicate, self.slow, self.flip, self.truncate];
        let intervals = [
            self.delay_step_every,
            self.thin_every,
            self.split_every,
            self.one_way_every,
            self.pair_every,
            self.flap_every,
            self.link_every,
            self.swizzle_every,
            self.pause_every,
            self.crash_every,
            self.blackout_every,
            self.leave_every,
            self.kill_every,
            self.lateness,
        ];
        chances.iter().all(|c| *c == 0)
            && self.replay == 0
            && self.kind_loss.is_none()
            && !self.reorder
            && intervals.iter().all(|i| *i == 0)
    }
}

impl LoadOptions {
    fn draw(rng: &mut Random, token: u64, duration: u64, nodes: u64) -> Self {
        let messages_max = 600; // of one node: keeps a run's cost within a bound
        let mcast_every = rng.log_uniform(duration / messages_max, duration / 10);
        Self {
            mcast_every: if rng.chance(900_000) { mcast_every } else { 0 },
            burst: rng.pick(&[0, 0, 2_000, 20_000]),
            large: rng.pick(&[0, 1_000, 20_000]) / u32::try_from(nodes.div_ceil(4)).unwrap_or(1),
            safe: rng.pick(&[0, 200_000, 500_000, 1_000_000]),
            churn_every: if rng.chance(600_000) { rng.log_uniform(token / 4, 10 * token) } else { 0 },
            expected_every: if rng.chance(100_000) { rng.log_uniform(token, 20 * token) } else { 0 },
            key_every: if rng.chance(250_000) { rng.log_uniform(duration / 10, duration) } else { 0 },
            participant: rng.pick(&[0, 0, 500_000, 1_000_000]),
        }
    }
}

/// Half of the runs have the defaults. The others have a detector that is slower or cannot adapt, heartbeats that are
/// denser or thinner, and a lease that outlasts the detector's limit, so that survivors have to wait for it.
fn draw_timers(rng: &mut Random, token: Span) -> Timers {
    let defaults = Timers::from_token(token);
    if rng.chance(500_000) {
        return defaults;
    }
    let limit = rng.pick(&[defaults.heartbeat_limit, token.scale(1, 4), token.scale(1, 2)]);
    let timers = defaults.with_limit(limit);
    let heartbeat = limit.scale(1, rng.pick(&[3, 4, 6, 6, 8]));
    let lease = limit.scale(rng.pick(&[3, 5, 5, 8]), 6).max(heartbeat.scale(3, 1));
    let heartbeat_limit_max = limit.scale(rng.pick(&[1, 2, 4]), 1);
    Timers { heartbeat, heartbeat_limit_max, lease, ..timers }
}

fn draw_nodes(rng: &mut Random, count: usize, equal: bool) -> Vec<NodeEntry> {
    let sparse = rng.chance(300_000);
    let weighted = !equal && rng.chance(200_000);
    let mut id = 0;
    let mut nodes: Vec<NodeEntry> = (0..count)
        .map(|_| {
            id += if sparse { 1 + u32::try_from(rng.log_uniform(1, 1 << 24)).unwrap_or(1) } else { 1 };
            let votes = if weighted { rng.pick(&[0, 1, 1, 1, 2, 3]) } else { 1 };
            NodeEntry { id: NodeId::new(id), votes: Votes::new(votes) }
        })
        .collect();
    if nodes.iter().all(|n| n.votes.get() == 0) {
        nodes[0].votes = Votes::new(1);
    }
    nodes
}

/// One link for half of the runs; else two or three, of equal or different priority, in either mode.
fn draw_links(rng: &mut Random) -> LinksConfig {
    let mode = if rng.chance(300_000) { LinkMode::Active } else { LinkMode::Passive };
    let mut links = LinksConfig::equal(rng.pick(&[1, 1, 1, 2, 2, 3]), mode);
    for link in &mut links.links {
        link.priority = rng.pick(&[1, 1, 2]);
    }
    links
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_swarm_has_calm_and_stormy_runs_of_all_sizes() {
        let runs: Vec<Options> = (0..400).map(Options::draw).collect();
        assert!(runs.iter().any(Options::calm));
        assert!(
            runs.iter().any(|o| o.faults.loss > 0 && o.faults.crash_every > 0 && o.faults.pause_every > 0)
        );
        for count in [2, 3, 5, 16] {
            assert!(runs.iter().any(|o| o.nodes.len() == count), "no run with {count} nodes");
        }
        for links in [1, 2, 3] {
            assert!(runs.iter().any(|o| o.links.links.len() == links), "no run with {links} links");
        }
        assert!(runs.iter().any(|o| o.links.mode == LinkMode::Active && o.faults.link_every > 0));
        assert!(runs.iter().any(|o| o.quorum.two_node) && runs.iter().any(|o| o.quorum.wait_for_all));
    }
}
