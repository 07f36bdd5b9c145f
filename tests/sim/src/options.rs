//! What a run is like: cluster, timers, network, faults, load. [`crate::draw`] draws all of it from the seed.

use std::collections::BTreeSet;

use cmm_proto::{
    DeviceConfig, LinkMode, LinksConfig, NodeEntry, NodeTable, QuorumConfig, QuorumOptions, Settings,
    TieBreak, Timers,
};
use holdfast_types::{NodeId, Span, Votes};

use crate::clock::{MS, SEC};
use crate::faults::StrikeId;

/// A run, before it starts.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// Which votes are expected, and who breaks ties.
    pub scaling: Scaling,
    /// Links of every node.
    pub links: LinksConfig,
    /// All machines start within this time, in nanoseconds.
    pub start_spread: u64,
    /// Length of the safety phase, in nanoseconds.
    pub duration: u64,
    /// Tenths of token timeouts for which nothing may happen any more at the end.
    pub patience: u64,
    /// Clocks gain or lose up to this many parts per million.
    pub drift_ppm_max: u32,
    /// The driver calls `handle_timeout` at the beginning of each turn, due or not.
    pub eager: bool,
    /// The network when nothing is wrong.
    pub network: NetworkOptions,
    /// What goes wrong.
    pub faults: FaultOptions,
    /// What clients do.
    pub load: LoadOptions,
    /// A script makes things happen that the options do not say.
    pub scripted: bool,
    /// Of what would strike, only these do; `None`: all.
    pub strikes: Option<BTreeSet<StrikeId>>,
}

/// Options of votequorum that change which votes are expected.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scaling {
    /// `auto_tie_breaker`.
    pub tie_break: TieBreak,
    /// `last_man_standing` with its window.
    pub last_man_standing: Option<Span>,
    /// `allow_downscale`, down to so many.
    pub allow_downscale: Option<Votes>,
    /// `expected_votes_tracking`.
    pub track: bool,
}

/// The network when nothing is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NetworkOptions {
    /// One-way delay, nanoseconds. Each pair has its own, up to half as much again.
    pub latency: u64,
    /// Mean of what chance adds to it.
    pub jitter: u64,
    /// One direction of a pair may take up to this many times as long as the other one.
    pub asymmetry: u64,
}

/// A token bucket: what a link lets through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bucket {
    /// Nanoseconds a byte takes; 0: no limit.
    pub nanos_per_byte: u64,
    /// Bytes that pass at once after a silence.
    pub burst: u64,
    /// Bytes that wait in front of it; what comes when it is full is lost.
    pub queue: u64,
}

/// Faults: chances in parts per million a packet, mean intervals in nanoseconds; zero is off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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
    /// Every pair's packets pass through such a bucket all the time.
    pub bucket: Bucket,
    /// A pair's packets pass through a thin pipe for a while.
    pub thin_every: u64,
    /// Packets of some pairs arrive many times for a while.
    pub storm_every: u64,
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
    /// Mean interval of false hints, 0: none. Hints about dead daemons always come.
    pub hint_every: u64,
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
    /// Mean time that a quorum disk takes for a sector.
    pub disk_latency: u64,
    /// Chance that it takes up to `disk_stall_max` more.
    pub disk_stall: u32,
    /// The longest stall.
    pub disk_stall_max: u64,
    /// Chance that a write to a quorum disk is lost, though the disk says that it is not.
    pub disk_lost: u32,
    /// Chance that a request to a quorum disk fails; its write may be there or not, or half of it.
    pub disk_error: u32,
    /// Nodes have heuristics: they are fit for the quorum disk's vote or not, and were found so lately or not.
    pub heuristics: bool,
    /// Quorum disks are out of reach for some machines.
    pub disk_cut_every: u64,
    /// Requests then fail at once; else they wait.
    pub disk_cut_errors: bool,
    /// Timers fire late by this much on average (a machine with load).
    pub lateness: u64,
}

/// What clients do: mean intervals in nanoseconds for each node, zero is off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    /// Votes and expected votes are changed.
    pub votes_every: u64,
    /// An operator brings another key.
    pub key_every: u64,
    /// An operator changes links.
    pub links_every: u64,
    /// An operator changes timers.
    pub timers_every: u64,
    /// An operator takes nodes out of the node table and puts them back.
    pub nodes_every: u64,
    /// An operator takes votes out of the count and puts them back.
    pub maintain_every: u64,
    /// Clients of a node do not keep up for a while.
    pub lag_every: u64,
    /// An operator has the ring formed anew.
    pub gather_every: u64,
    /// Share of node starts whose userland takes part in steps.
    pub participant: u32,
}

/// A class of faults that can be switched off, to find out which one matters: `replay SEED --without loss,pause`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Class {
    /// Even, bursty and by-kind loss.
    Loss,
    /// Duplicates, single ones and storms.
    Duplicate,
    /// Reordering.
    Reorder,
    /// Long delays, steps, thin pipes and buckets.
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
    /// Slow writes, and all that happens to quorum disks.
    Disk,
    /// The quorum device itself.
    Device,
    /// Late timers.
    Lateness,
    /// Clients that come and go.
    Churn,
    /// Multicasts.
    Mcast,
    /// Changes of votes and expected votes.
    Votes,
    /// Changes of the key.
    Key,
    /// Changes of links.
    Links,
    /// Changes of timers.
    Timers,
    /// Changes of the node table.
    Nodes,
    /// Nodes in maintenance.
    Maintain,
    /// Tie-breaker, last man standing, downscaling.
    Scaling,
    /// Clients that do not keep up.
    Lag,
    /// The ring is formed anew because an operator wants it.
    Gather,
    /// Participants in steps.
    Participant,
    /// False hints.
    Hint,
}

impl Options {
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
            quorum: QuorumConfig { expected_votes: None, two_node: false, wait_for_all: false, device: None },
            scaling: Scaling::default(),
            links: LinksConfig::equal(1, LinkMode::Passive),
            start_spread: SEC,
            duration: 0,
            patience: 40,
            drift_ppm_max: 100,
            eager: true,
            network: NetworkOptions { latency: 200_000, jitter: 20_000, asymmetry: 1 },
            faults: FaultOptions { restart_max: SEC, persist_mean: MS, ..FaultOptions::default() },
            load: LoadOptions {
                mcast_every: 0,
                burst: 0,
                large: 0,
                safe: 300_000,
                churn_every: 0,
                votes_every: 0,
                key_every: 0,
                links_every: 0,
                timers_every: 0,
                nodes_every: 0,
                maintain_every: 0,
                lag_every: 0,
                gather_every: 0,
                participant: 0,
            },
            scripted: true,
            strikes: None,
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
            Class::Duplicate => {
                f.duplicate = 0;
                f.storm_every = 0;
            }
            Class::Reorder => f.reorder = false,
            Class::Delay => {
                f.slow = 0;
                f.delay_step_every = 0;
                f.thin_every = 0;
                f.bucket = Bucket::default();
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
            Class::Disk => {
                f.persist_stall = 0;
                (f.disk_stall, f.disk_lost, f.disk_error, f.disk_cut_every) = (0, 0, 0, 0);
                f.heuristics = false;
            }
            Class::Device => self.quorum.device = None,
            Class::Lateness => f.lateness = 0,
            Class::Churn => l.churn_every = 0,
            Class::Mcast => l.mcast_every = 0,
            Class::Votes => l.votes_every = 0,
            Class::Key => l.key_every = 0,
            Class::Links => l.links_every = 0,
            Class::Timers => l.timers_every = 0,
            Class::Nodes => l.nodes_every = 0,
            Class::Maintain => l.maintain_every = 0,
            Class::Scaling => self.scaling = Scaling::default(),
            Class::Lag => l.lag_every = 0,
            Class::Gather => l.gather_every = 0,
            Class::Participant => l.participant = 0,
            Class::Hint => f.hint_every = 0,
        }
    }

    /// Whether a class is on.
    #[must_use]
    pub fn has(&self, class: Class) -> bool {
        let mut other = self.clone();
        other.without(class);
        other != *self
    }

    /// Leaves out all but the first nodes; at least two stay, and a vote among them. Slots of quorum disks are node ids.
    pub fn first_nodes(&mut self, nodes: usize) {
        self.nodes.truncate(nodes.max(2));
        if self.votes_total() == 0 {
            self.nodes[0].votes = Votes::new(1);
        }
    }

    /// Nothing can happen here that may change a membership.
    #[must_use]
    pub fn calm(&self) -> bool {
        !self.scripted && self.faults.calm()
    }

    /// What every configuration file says at first.
    #[must_use]
    pub fn settings(&self) -> Settings {
        Settings {
            timers: self.timers,
            window_frames: self.window_frames,
            frames_per_visit: self.frames_per_visit,
            quorum: Some(QuorumOptions {
                two_node: self.quorum.two_node,
                wait_for_all: self.quorum.wait_for_all,
                last_man_standing: self.scaling.last_man_standing,
                allow_downscale: self.scaling.allow_downscale,
            }),
        }
    }

    /// Votes of the quorum device, 0 without one.
    #[must_use]
    pub fn device_votes(&self) -> u32 {
        self.quorum.device.map_or(0, |d| d.votes.get())
    }

    /// All votes that there can be.
    #[must_use]
    pub fn expected_votes(&self) -> u32 {
        self.votes_total() + self.device_votes()
    }

    /// The node table of every configuration file at first.
    #[must_use]
    pub fn table(&self) -> NodeTable {
        NodeTable::new(self.nodes.clone(), self.quorum.expected_votes)
            .with_tie_break(self.scaling.tie_break.clone())
            .with_device(self.quorum.device.map(|d| d.entry()))
    }

    /// The quorum device of a file with this table.
    #[must_use]
    pub fn device_of(&self, table: &NodeTable) -> Option<DeviceConfig> {
        let entry = table.device?;
        self.quorum.device.map(|device| DeviceConfig { votes: entry.votes, ..device })
    }

    /// Whose votes count changes in this run, or half of them may be enough.
    #[must_use]
    pub fn tables_change(&self) -> bool {
        let scaling = Scaling { track: false, ..self.scaling.clone() };
        self.load.nodes_every > 0 || self.load.maintain_every > 0 || scaling != Scaling::default()
    }

    /// Sum of the configured votes.
    #[must_use]
    pub fn votes_total(&self) -> u32 {
        self.nodes.iter().map(|n| n.votes.get()).sum()
    }
}

impl FaultOptions {
    /// Nothing here can change a membership.
    pub(crate) fn calm(&self) -> bool {
        let chances = [self.loss, self.burst_enter, self.duplicate, self.slow, self.flip, self.truncate];
        let intervals = [
            self.delay_step_every,
            self.thin_every,
            self.storm_every,
            self.bucket.nanos_per_byte,
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
