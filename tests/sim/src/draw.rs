//! Draws a run from its seed. Each run has another mix of fault classes, strengths and settings ("swarm"): faults that
//! are always all on hide each other, and so do settings that are always the same.
//!
//! Most runs are short and of two to five nodes: what a fault does it does soon after, and nearly all that can go wrong
//! between many nodes can go wrong between few. A few are long, a few have up to 64 nodes. Intervals of faults never exceed the
//! length of the run: what is on happens. Why these shares: decision 11.

use cmm_proto::{
    DeviceConfig, DeviceModel, DiskConfig, LinkMode, LinksConfig, NodeEntry, QuorumConfig, ScsiConfig,
    TieBreak, Timers, limits,
};
use cmm_qnet::{Algorithm, TieBreaker};
use holdfast_types::{NodeId, Span, Votes};

use crate::clock::MS;
use crate::options::{Bucket, FaultOptions, LoadOptions, NetworkOptions, Options, Scaling};
use crate::random::{Random, Stream};

/// Packets of heartbeats that a run of each length may cost: a bound on the length of runs of many nodes.
const BUDGETS: [u64; 3] = [3_000, 12_000, 60_000];
/// Lengths of the safety phase in quarters of token timeouts: many short ones, few long ones.
const QUARTERS: [(u64, u64); 3] = [(3, 14), (14, 50), (50, 160)];
/// Messages of a run of each length, at most: the least is 10.
const MESSAGES: [u64; 3] = [400, 1_000, 1_000];

impl Options {
    /// The run of `seed`.
    #[must_use]
    pub fn draw(seed: u64) -> Self {
        Self::draw_sized(seed, None)
    }

    /// The run of `seed` with a fixed number of nodes, 2 to 64.
    #[must_use]
    pub fn draw_sized(seed: u64, nodes: Option<usize>) -> Self {
        let mut rng = Random::new(seed, Stream::Options);
        let count = draw_count(&mut rng);
        let count = nodes.unwrap_or(count).clamp(2, 64);
        let n = count as u64;
        let token = Span::from_millis(rng.pick(&[300, 1_000, 1_000, 1_000, 3_000]));
        let token_ns = token.as_nanos();
        let timers = draw_timers(&mut Random::new(seed, Stream::Timers), token);
        let beats = n * (n - 1) * (token_ns / timers.heartbeat.as_nanos().max(1)).max(1);
        let length = match rng.below(100) {
            0..85 => 0,
            85..97 => 1,
            _ => 2,
        };
        let (low, high) = QUARTERS[length];
        let quarters = rng.log_uniform(low, high).min(4 * BUDGETS[length] / beats).max(3);
        let duration = token_ns / 4 * quarters;
        // A round trip fits well into a heartbeat's interval, or no lease would hold on a calm day.
        let beat = timers.heartbeat.as_nanos();
        let latency = rng.log_uniform(20_000, (token_ns / 150 / n).max(40_000)).min(beat / 8);
        let asymmetry = if rng.chance(300_000) { rng.log_uniform(2, 20) } else { 1 };
        let network = NetworkOptions {
            latency,
            jitter: rng.log_uniform(1_000, 300_000),
            asymmetry: asymmetry.min(beat / 4 / latency.max(1)).max(1),
        };
        let quorum = QuorumConfig {
            expected_votes: None,
            two_node: count == 2 && rng.chance(300_000),
            wait_for_all: rng.chance(200_000),
            device: None,
        };
        let nodes = draw_nodes(&mut rng, count, quorum.two_node);
        let mut faults = FaultOptions::draw(&mut rng, token_ns, duration, n);
        let mut load = LoadOptions::draw(&mut rng, token_ns, duration, n, MESSAGES[length]);
        let mut operators = Random::new(seed, Stream::Operators);
        load.draw_operators(&mut operators, duration);
        let mut rng_device = Random::new(seed, Stream::Device);
        let device = draw_device(&mut rng_device, &nodes, quorum, &timers, load.timers_every > 0);
        let mut rng_server = Random::new(seed, Stream::Server);
        let server = || draw_server(&mut rng_server, &nodes, quorum, &timers, load.timers_every > 0);
        let device = device.or_else(server);
        let quorum = QuorumConfig { device, ..quorum };
        if device.is_some() {
            faults.draw_disks(&mut rng_device, token_ns, duration, timers.heartbeat);
        }
        // A node that leaves the table stops, and others have reasons of their own to wait for it, or to count anew.
        let plain = !quorum.two_node && !quorum.wait_for_all && device.is_none();
        if plain && load.votes_every == 0 && !faults.calm() && operators.chance(200_000) {
            load.nodes_every = operators.log_uniform(duration / 16, duration / 2);
        }
        let mut rng_scaling = Random::new(seed, Stream::Scaling);
        let scaling = draw_scaling(&mut rng_scaling, &nodes, quorum, load.votes_every > 0, &timers);
        if device.is_none() && !quorum.two_node && load.votes_every == 0 && rng_scaling.chance(150_000) {
            load.maintain_every = rng_scaling.log_uniform(duration / 16, duration);
        }
        let mut rng_table = Random::new(seed, Stream::Table);
        let changes = device.is_some() && !quorum.wait_for_all && load.votes_every == 0 && !faults.calm();
        if changes && rng_table.chance(300_000) {
            load.nodes_every = rng_table.log_uniform(duration / 16, duration / 2);
        }
        if changes && rng_table.chance(300_000) {
            load.maintain_every = rng_table.log_uniform(duration / 16, duration);
        }
        let spread = rng.pick(&[0, token_ns / 10, token_ns / 2, 2 * token_ns]);
        let links = draw_links(&mut rng);
        Self {
            seed,
            nodes,
            links,
            timers,
            window_frames: rng.pick(&[50, 50, 50, 17, 300, 1_000, 4]),
            frames_per_visit: rng.pick(&[17, 17, 17, 1, 50, 200]),
            quorum,
            scaling,
            start_spread: if faults.calm() { spread.min(100 * MS) } else { spread },
            duration,
            patience: rng.pick(&[3, 3, 3, 3, 3, 3, 10, 40]),
            drift_ppm_max: rng.pick(&[0, 20, 200]),
            eager: rng.chance(200_000),
            network,
            faults,
            load,
            scripted: false,
            strikes: None,
        }
    }
}

/// For four of ten clusters without a device. Operators who change votes at run time change the same numbers: not together.
fn draw_scaling(
    rng: &mut Random,
    nodes: &[NodeEntry],
    quorum: QuorumConfig,
    votes_change: bool,
    timers: &Timers,
) -> Scaling {
    if votes_change {
        return Scaling { track: rng.chance(500_000), ..Scaling::default() };
    }
    if quorum.two_node || quorum.device.is_some() || !rng.chance(400_000) {
        return Scaling::default();
    }
    let sum: u32 = nodes.iter().map(|n| n.votes.get()).sum();
    let order = rng.shuffled(nodes.len());
    let listed: Vec<NodeId> = order.into_iter().map(|n| nodes[n].id).collect();
    let tie_break = match rng.below(6) {
        0..2 => TieBreak::Off,
        2 => TieBreak::Highest,
        3 => TieBreak::Listed(listed[..=rng.index(listed.len())].to_vec()),
        _ => TieBreak::Lowest,
    };
    let window = rng.log_uniform(timers.heartbeat.as_nanos(), 2 * timers.token.as_nanos());
    let least = u32::try_from(rng.below(u64::from(sum) + 1)).unwrap_or(0);
    Scaling {
        tie_break,
        last_man_standing: rng.chance(500_000).then_some(Span::from_nanos(window)),
        allow_downscale: rng.chance(400_000).then_some(Votes::new(least)),
        track: rng.chance(200_000),
    }
}

/// A disk, or several, or one with reservations, for four of ten clusters of two to four nodes: last man standing, or one vote.
fn draw_device(
    rng: &mut Random,
    nodes: &[NodeEntry],
    quorum: QuorumConfig,
    timers: &Timers,
    timers_change: bool,
) -> Option<DeviceConfig> {
    let in_order = nodes.iter().zip(1..).all(|(n, id)| n.id.get() == id);
    if !in_order || nodes.len() > 4 || quorum.two_node || !rng.chance(400_000) {
        return None;
    }
    let all: u32 = nodes.iter().map(|n| n.votes.get()).sum();
    let votes = if rng.chance(600_000) { all.saturating_sub(1).max(1) } else { 1 };
    let interval = timers.heartbeat.scale(rng.pick(&[1, 2, 4]), 2);
    let mut least = interval + interval + timers.lease + timers.lease_margin;
    if timers_change {
        // Heartbeats may come five times as seldom: the vote is handed on with them.
        least += (timers.heartbeat.scale(3, 1) + timers.lease_margin).scale(5, 1);
    }
    let lease = least.max(interval.scale(3, 1)).scale(rng.pick(&[3, 4, 8]), 2);
    let disk = DiskConfig { disks: rng.pick(&[1, 1, 3]), interval, lease };
    let model = if rng.chance(300_000) {
        // A cycle is four ways there and back.
        let lease = lease + timers.heartbeat;
        DeviceModel::Scsi(ScsiConfig {
            cluster: cmm_scsi::Cluster::of_name(crate::cluster::CLUSTER_NAME),
            interval,
            lease,
        })
    } else {
        DeviceModel::Disk(disk)
    };
    Some(DeviceConfig { votes: Votes::new(votes), model })
}

/// A server for half of the small clusters that have no disk.
fn draw_server(
    rng: &mut Random,
    nodes: &[NodeEntry],
    quorum: QuorumConfig,
    timers: &Timers,
    timers_change: bool,
) -> Option<DeviceConfig> {
    let in_order = nodes.iter().zip(1..).all(|(n, id)| n.id.get() == id);
    if !in_order || nodes.len() > 4 || quorum.two_node || !rng.chance(500_000) {
        return None;
    }
    let all: u32 = nodes.iter().map(|n| n.votes.get()).sum();
    let algorithm = rng.pick(&[Algorithm::FfSplit, Algorithm::Lms]);
    let votes = if algorithm == Algorithm::Lms { all.saturating_sub(1).max(1) } else { 1 };
    let interval = timers.heartbeat.scale(rng.pick(&[1, 2, 4]), 2);
    let mut least = interval + interval + timers.lease + timers.lease_margin;
    if timers_change {
        least += (timers.heartbeat.scale(3, 1) + timers.lease_margin).scale(5, 1);
    }
    let lease = least.max(interval.scale(3, 1)).scale(rng.pick(&[3, 4, 8]), 2);
    let heartbeat = Span::from_millis(lease.scale(rng.pick(&[1, 2, 3]), 2).as_millis().max(1));
    let settings = cmm_qnet::Settings {
        algorithm,
        tie_breaker: rng.pick(&[TieBreaker::Lowest, TieBreaker::Highest, TieBreaker::Node(NodeId::new(2))]),
        keep_active: rng.chance(500_000),
        tls: rng.pick(&[cmm_qnet::Tls::Off, cmm_qnet::Tls::On]),
        heartbeat,
        interval,
        lease,
        connect_timeout: heartbeat + timers.heartbeat,
    };
    Some(DeviceConfig { votes: Votes::new(votes), model: DeviceModel::Net(settings) })
}

fn draw_count(rng: &mut Random) -> usize {
    // A run of 64 nodes costs as much as some thousand others.
    let (low, high) = match rng.below(10_000) {
        0 => (64, 64),
        1..3 => (17, 63),
        3..100 => (8, 16),
        100..500 => (6, 7),
        500..2_000 => (5, 5),
        2_000..4_000 => (4, 4),
        4_000..8_000 => (3, 3),
        _ => (2, 2),
    };
    usize::try_from(rng.log_uniform(low, high)).unwrap_or(2)
}

/// Half of the runs have the defaults. The others have a detector that is slower or cannot adapt, heartbeats that are
/// denser or thinner, and a lease that outlasts the detector's limit, so that survivors have to wait for it; and the
/// ring's own timers and limits shifted within what may be configured.
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
    let ns = token.as_nanos();
    Timers {
        heartbeat,
        heartbeat_limit_max,
        lease,
        join: Span::from_nanos(rng.log_uniform(ns / 40, ns / 8)),
        consensus: Span::from_nanos(rng.log_uniform(ns + ns / 10, 3 * ns)),
        merge: Span::from_nanos(rng.log_uniform(ns / 20, ns)),
        fail_recv_rotations: rng.pick(&[2_500, 2_500, 2_500, 100, 20]),
        step_limit: Span::from_secs(rng.pick(&[30, 30, 10, 3])),
        ..timers
    }
}

impl FaultOptions {
    fn draw(rng: &mut Random, token: u64, duration: u64, nodes: u64) -> Self {
        if rng.chance(50_000) {
            // A calm run: nothing may change, whatever somebody insinuates.
            let hint_every = rng.pick(&[0, token / 200, token / 10]);
            return Self { restart_max: token, persist_mean: MS, hint_every, ..Self::default() };
        }
        let on = rng.pick(&[100_000, 200_000, 400_000, 600_000]); // how full of faults this run is
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
            let low = (token * low / 4).min(duration / 2);
            let interval = rng.log_uniform(low, (token * high).min(duration));
            if rng.chance(on) { interval } else { 0 }
        };
        let bucket = Bucket {
            nanos_per_byte: rng.log_uniform(8, 800), // 1 Gbit/s to 10 Mbit/s
            burst: rng.log_uniform(1_500, 64 << 10),
            queue: rng.log_uniform(16 << 10, 1 << 20),
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
            bucket: if rng.chance(on / 2) { bucket } else { Bucket::default() },
            thin_every: every(rng, 4, 20),
            storm_every: every(rng, 4, 20),
            split_every: every(rng, 4, 20),
            one_way_every: every(rng, 4, 20),
            pair_every: every(rng, 4, 20),
            flap_every: every(rng, 8, 30),
            swizzle_every: every(rng, 8, 30),
            cut_max: rng.log_uniform(token / 10, 6 * token),
            pause_every: every(rng, 2, 20),
            pause_max: rng.log_uniform(token / 20, 4 * token),
            crash_every: every(rng, 2, 20),
            blackout_every: if rng.chance(80_000) { rng.between(duration / 3, duration) } else { 0 },
            restart_max: rng.log_uniform(MS, 6 * token),
            gasp: if rng.chance(500_000) { 700_000 } else { 0 },
            fence: if rng.chance(400_000) { 500_000 } else { 0 },
            leave_every: every(rng, 4, 30),
            kill_every: if nodes > 2 { every(rng, 16, 40) } else { 0 },
            persist_mean: rng.log_uniform(50_000, 30 * MS),
            persist_stall: ppm(rng, 10_000, 300_000),
            lateness: if rng.chance(on) { rng.log_uniform(10_000, token / 200) } else { 0 },
            link_every: every(rng, 2, 20),
            hint_every: if rng.chance(on) { rng.log_uniform(token / 400, 4 * token) } else { 0 },
            ..Self::default()
        }
    }
}

impl FaultOptions {
    /// What happens to the quorum disks. Where nothing may change a membership they only take their time.
    fn draw_disks(&mut self, rng: &mut Random, token: u64, duration: u64, beat: Span) {
        self.disk_latency = rng.log_uniform(5_000, beat.as_nanos() / 10);
        if self.calm() {
            return;
        }
        let mut ppm = |low, high| {
            if rng.chance(400_000) { u32::try_from(rng.log_uniform(low, high)).unwrap_or(0) } else { 0 }
        };
        (self.disk_stall, self.disk_lost, self.disk_error) =
            (ppm(1_000, 100_000), ppm(1_000, 100_000), ppm(1_000, 100_000));
        self.disk_stall_max = rng.log_uniform(10 * MS, 4 * token);
        self.disk_cut_every = if rng.chance(500_000) { rng.log_uniform(duration / 8, duration) } else { 0 };
        self.disk_cut_errors = rng.chance(500_000);
        self.heuristics = rng.chance(400_000);
    }
}

impl LoadOptions {
    fn draw(rng: &mut Random, token: u64, duration: u64, nodes: u64, messages_max: u64) -> Self {
        let messages = (rng.log_uniform(10, messages_max) / nodes).max(3); // of one node: keeps a run's cost within a bound
        let mcast_every = duration / messages;
        Self {
            mcast_every: if rng.chance(900_000) { mcast_every } else { 0 },
            burst: rng.pick(&[0, 0, 2_000, 20_000]),
            large: rng.pick(&[0, 1_000, 20_000]) / u32::try_from(nodes.div_ceil(4)).unwrap_or(1),
            safe: rng.pick(&[0, 200_000, 500_000, 1_000_000]),
            churn_every: if rng.chance(600_000) {
                rng.log_uniform(token / 8, (10 * token).min(duration))
            } else {
                0
            },
            votes_every: if rng.chance(100_000) {
                rng.log_uniform(token / 2, (20 * token).min(duration))
            } else {
                0
            },
            key_every: if rng.chance(250_000) { rng.log_uniform(duration / 10, duration) } else { 0 },
            participant: rng.pick(&[0, 0, 500_000, 1_000_000]),
            links_every: 0,
            nodes_every: 0,
            maintain_every: 0,
            timers_every: 0,
            lag_every: 0,
            gather_every: 0,
        }
    }

    /// What no membership may notice, whatever else the run is like; and a ring that is formed anew, which a calm run has not.
    fn draw_operators(&mut self, rng: &mut Random, duration: u64) {
        let every = |rng: &mut Random| rng.log_uniform(duration / 8, duration);
        self.links_every = if rng.chance(150_000) { every(rng) } else { 0 };
        self.lag_every = if rng.chance(150_000) { every(rng) } else { 0 };
        self.timers_every = if rng.chance(150_000) { every(rng) } else { 0 };
        self.gather_every = if rng.chance(150_000) { every(rng) } else { 0 };
    }
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

/// One link for two thirds of the runs; else two or three, of equal or different priority, in either mode.
fn draw_links(rng: &mut Random) -> LinksConfig {
    let mode = if rng.chance(300_000) { LinkMode::Active } else { LinkMode::Passive };
    let mut links = LinksConfig::equal(rng.pick(&[1, 1, 1, 1, 1, 1, 2, 2, 3]), mode);
    for link in &mut links.links {
        link.priority = rng.pick(&[1, 1, 2]);
        // Long frames leave no message to cut up: most runs have short ones.
        link.packet_max = if link.priority == 2 { 3_000 } else { limits::PACKET_CONTROL_MAX };
    }
    links
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_swarm_has_calm_and_stormy_runs_of_all_sizes() {
        let runs: Vec<Options> = (0..400).map(Options::draw).collect();
        assert!(runs.iter().any(Options::calm));
        assert!(
            runs.iter().any(|o| o.faults.loss > 0 && o.faults.crash_every > 0 && o.faults.pause_every > 0)
        );
        for count in [2, 3, 4, 5] {
            let share = runs.iter().filter(|o| o.nodes.len() == count).count();
            assert!(share > 40, "only {share} runs with {count} nodes");
        }
        for links in [1, 2, 3] {
            assert!(runs.iter().any(|o| o.links.links.len() == links), "no run with {links} links");
        }
        assert!(runs.iter().any(|o| o.links.mode == LinkMode::Active && o.faults.link_every > 0));
        // The test command has ten thousand.
        let sizes: BTreeSet<usize> = (0..10_000).map(|seed| Options::draw(seed).nodes.len()).collect();
        assert!((2..=16).all(|count| sizes.contains(&count)) && sizes.contains(&64), "{sizes:?}");
        assert!(runs.iter().any(|o| o.quorum.two_node) && runs.iter().any(|o| o.quorum.wait_for_all));
    }
}
