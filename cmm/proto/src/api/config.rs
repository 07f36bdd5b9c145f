//! What a node is told at start: identity, timers, links, votes.

use holdfast_types::{BootId, Incarnation, LinkId, LinkSet, NodeId, Span, Votes};

use super::table::{DeviceEntry, DeviceKind, NodeTable, Tables, TieBreak, fnv1a};
use crate::wire::ClusterKey;

/// Everything a node is told at start. Derived from corosync.conf by the daemon, from the seed by the simulator.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// `totem.cluster_name`; part of what every packet is bound to.
    pub cluster_name: String,
    /// This node.
    pub me: NodeId,
    /// The nodes of the configuration file, this one included, in ascending order of id.
    pub nodes: Vec<NodeEntry>,
    /// The node table that was in force in earlier lives (as persisted: [`Record::tables`](crate::Record::tables)).
    pub tables: Option<Tables>,
    /// Secret that seals packets: from the key file, or made from the cluster name.
    pub key: ClusterKey,
    /// This life of the daemon; greater than that of every earlier start on this node.
    pub incarnation: Incarnation,
    /// Which boot of the machine this is.
    pub boot_id: BootId,
    /// Highest ring sequence number that may have been used by an earlier life (as persisted).
    pub ring_seq_reserved: u64,
    /// Longest promise that earlier lives may have made (as persisted: [`Record::promised`](crate::Record::promised)).
    pub promised: Span,
    /// What a reload may change.
    pub settings: Settings,
    /// Votes and quorum options.
    pub quorum: QuorumConfig,
    /// Who breaks a tie. Part of the node table: it counts when the files of all members say it.
    pub tie_break: TieBreak,
    /// `expected_votes_tracking`: the most votes that were ever expected here (as persisted:
    /// [`Record::expected_seen`](crate::Record::expected_seen)); `None`: they are not tracked.
    pub expected_seen: Option<Votes>,
    /// Links and how they are used.
    pub links: LinksConfig,
}

impl NodeConfig {
    /// The node table of the configuration file.
    #[must_use]
    pub fn table(&self) -> NodeTable {
        let table = NodeTable::new(self.nodes.clone(), self.quorum.expected_votes);
        match self.quorum.device {
            // The device decides where there is one.
            Some(device) => table.with_device(Some(device.entry())),
            None => table.with_tie_break(self.tie_break.clone()),
        }
    }
}

/// What a reload may change at run time, on all members at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Intervals and limits.
    pub timers: Timers,
    /// Ring window in frames a rotation, all members together (`totem.window_size`).
    pub window_frames: u32,
    /// Frames one member may send a token visit (`totem.max_messages`).
    pub frames_per_visit: u32,
    /// Options of votequorum(5); `None`: those in force, at start those of [`QuorumConfig`].
    pub quorum: Option<QuorumOptions>,
}

impl Settings {
    /// A short digest: members with the same settings have the same one.
    #[must_use]
    pub fn digest(&self) -> u64 {
        let t = &self.timers;
        let spans = [
            t.token,
            t.token_retransmit,
            t.hold,
            t.join,
            t.consensus,
            t.merge,
            t.heartbeat,
            t.heartbeat_limit,
            t.heartbeat_limit_max,
            t.lease,
            t.lease_margin,
            t.step_limit,
        ];
        let numbers = [t.fail_recv_rotations, self.window_frames, self.frames_per_visit].map(u64::from);
        let options = self.quorum.map_or([0; 3], |q| {
            let downscale = q.allow_downscale.map_or(0, |least| 1 + u64::from(least.get()));
            let window = q.last_man_standing.map_or(0, |window| 1 + window.as_nanos());
            [1 + 2 * u64::from(q.two_node) + 4 * u64::from(q.wait_for_all), downscale, window]
        });
        let all = spans.iter().map(|s| s.as_nanos()).chain(numbers).chain(options);
        fnv1a(all)
    }

    /// What is wrong with them, if anything.
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        let t = &self.timers;
        let intervals =
            [t.token, t.token_retransmit, t.join, t.consensus, t.merge, t.heartbeat, t.step_limit];
        if intervals.contains(&Span::ZERO) {
            return Err("token, retransmit, join, consensus, merge, heartbeat and step limit must not be 0");
        }
        if t.heartbeat_limit < t.heartbeat.scale(2, 1) {
            return Err("the heartbeat limit must be at least two heartbeats");
        }
        if t.heartbeat_limit_max < t.heartbeat_limit {
            return Err("the heartbeat limit must not be above its maximum");
        }
        if t.lease < t.heartbeat.scale(2, 1) {
            return Err("the lease must be at least two heartbeats");
        }
        Ok(())
    }
}

/// The links of the cluster: every node has the same ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinksConfig {
    /// Which links carry a packet.
    pub mode: LinkMode,
    /// In ascending order of id, at least one, at most [`crate::limits::LINKS_MAX`].
    pub links: Vec<LinkConfig>,
    /// The path MTU of a link is looked for again after this time (`knet_pmtud_interval`).
    pub mtu_interval: Span,
}

/// One link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkConfig {
    /// `ringN_addr`, `linknumber: N`.
    pub id: LinkId,
    /// `knet_link_priority`: the highest one that is up is used in passive mode, of equal ones the lowest link.
    pub priority: u8,
    /// `knet_ping_timeout`: silence after which it is down; `None`: when four beats are missing.
    pub limit: Option<Span>,
    /// `knet_pong_count`: beats in a row that bring it back.
    pub recover: u8,
    /// No packet is longer, in bytes of UDP payload: [`crate::limits::PACKET_SAFE`] to [`crate::limits::PACKET_MAX`]
    /// (`knet_mtu`, `netmtu`).
    pub packet_max: usize,
}

/// `link_mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkMode {
    /// The best link carries everything.
    Passive,
    /// Every link carries everything.
    Active,
}

impl LinksConfig {
    /// As in knet.
    pub const MTU_INTERVAL: Span = Span::from_secs(30);

    /// `count` links of the same priority, from 0 on.
    #[must_use]
    pub fn equal(count: u8, mode: LinkMode) -> Self {
        let packet_max = crate::limits::PACKET_MAX;
        let link = |id| LinkConfig { id: LinkId::new(id), priority: 1, limit: None, recover: 2, packet_max };
        Self { mode, links: (0..count).map(link).collect(), mtu_interval: Self::MTU_INTERVAL }
    }

    /// All of them.
    #[must_use]
    pub fn all(&self) -> LinkSet {
        self.links.iter().map(|l| l.id).collect()
    }

    /// What is wrong with them, if anything.
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        if self.links.is_empty() || self.links.windows(2).any(|w| w[0].id >= w[1].id) {
            return Err("at least one, in ascending order, each once");
        }
        if self.links.iter().any(|l| usize::from(l.id.get()) >= crate::limits::LINKS_MAX) {
            return Err("numbers are 0 to 7");
        }
        let lengths = crate::limits::PACKET_SAFE..=crate::limits::PACKET_MAX;
        if self.links.iter().any(|l| !lengths.contains(&l.packet_max)) || self.mtu_interval == Span::ZERO {
            return Err("packets have 1232 to 8972 bytes, and their length is looked for at an interval");
        }
        Ok(())
    }

    /// The one of these with the highest priority, the lowest of equal ones.
    #[must_use]
    pub fn best_of(&self, links: LinkSet) -> Option<LinkId> {
        let among = self.links.iter().filter(|l| links.contains(l.id));
        among.min_by_key(|l| (std::cmp::Reverse(l.priority), l.id)).map(|l| l.id)
    }

    /// Priority of a link; 0 if there is no such link.
    #[must_use]
    pub fn priority(&self, link: LinkId) -> u8 {
        self.get(link).map_or(0, |l| l.priority)
    }

    pub(crate) fn limit(&self, link: LinkId) -> Option<Span> {
        self.get(link).and_then(|l| l.limit)
    }

    pub(crate) fn recover(&self, link: LinkId) -> u8 {
        self.get(link).map_or(1, |l| l.recover.max(1))
    }

    fn get(&self, link: LinkId) -> Option<&LinkConfig> {
        self.links.iter().find(|l| l.id == link)
    }
}

/// One configured node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeEntry {
    /// Its id.
    pub id: NodeId,
    /// `nodelist.node.N.quorum_votes`, 1 by default.
    pub votes: Votes,
}

/// Intervals and limits, named as in corosync.conf where that has the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timers {
    /// A token not seen for this long is lost (`totem.token`).
    pub token: Span,
    /// The last token is sent again when nothing was heard for this long.
    pub token_retransmit: Span,
    /// How long the representative keeps the token of a quiet ring.
    pub hold: Span,
    /// Interval of JOIN packets in Gather.
    pub join: Span,
    /// Gather waits this long for a silent node that is not known to be gone.
    pub consensus: Span,
    /// Interval of merge-detect packets on a quiet ring.
    pub merge: Span,
    /// Rotations with a stuck aru before a member counts as failed to receive, if they take longer than a heartbeat limit.
    pub fail_recv_rotations: u32,
    /// Interval of heartbeats to every member.
    pub heartbeat: Span,
    /// A member silent for this long is suspected: the detector's floor.
    pub heartbeat_limit: Span,
    /// The detector's ceiling, for a member whose heartbeats arrive irregularly.
    pub heartbeat_limit_max: Span,
    /// How long one echo of a heartbeat counts, from the send time of the heartbeat echoed.
    pub lease: Span,
    /// Drift and scheduling allowance on a foreign lease; `lease + lease_margin ≤ heartbeat_limit` makes takeover waits zero.
    pub lease_margin: Span,
    /// A reconfiguration step may take this long before the reconfiguration starts again.
    pub step_limit: Span,
}

impl Timers {
    /// Defaults derived from one token timeout, as `cmm-conf` does where the configuration names nothing else.
    #[must_use]
    pub fn from_token(token: Span) -> Self {
        let token_retransmit = token.scale(10, 42);
        let timers = Self {
            token,
            token_retransmit,
            hold: token_retransmit.scale(8, 10).saturating_sub(Span::from_millis(10)),
            join: Span::from_millis(50).min(token.scale(1, 10)),
            consensus: token.scale(12, 10),
            merge: Span::from_millis(200).min(token.scale(1, 2)),
            fail_recv_rotations: 2_500,
            heartbeat: Span::ZERO,
            heartbeat_limit: Span::ZERO,
            heartbeat_limit_max: Span::ZERO,
            lease: Span::ZERO,
            lease_margin: Span::ZERO,
            step_limit: Span::from_secs(30),
        };
        timers.with_limit(token.min(Span::from_secs(1)).scale(24, 100))
    }

    /// The same with another floor of the detector, and heartbeats and lease that go with it.
    #[must_use]
    pub fn with_limit(self, limit: Span) -> Self {
        Self {
            heartbeat: limit.scale(1, 6),
            heartbeat_limit: limit,
            heartbeat_limit_max: limit.max(self.token.scale(1, 2)),
            lease: limit.scale(5, 6),
            lease_margin: limit.scale(1, 6),
            ..self
        }
    }
}

/// Votes and the options of votequorum(5) that are served so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuorumConfig {
    /// `quorum.expected_votes`; `None`: the sum of the node list's votes.
    pub expected_votes: Option<Votes>,
    /// As in [`QuorumOptions`].
    pub two_node: bool,
    /// As in [`QuorumOptions`].
    pub wait_for_all: bool,
    /// `quorum.device`.
    pub device: Option<DeviceConfig>,
}

impl QuorumConfig {
    /// How many quorum disks there are.
    #[must_use]
    pub fn disks(&self) -> usize {
        self.device.map_or(0, |device| match device.model {
            DeviceModel::Disk(disk) => disk.disks,
            DeviceModel::Scsi(_) | DeviceModel::Net(_) => 0,
        })
    }

    /// How the quorum server is used, if there is one.
    #[must_use]
    pub fn server(&self) -> Option<cmm_qnet::Settings> {
        self.device.and_then(|device| match device.model {
            DeviceModel::Disk(_) | DeviceModel::Scsi(_) => None,
            DeviceModel::Net(settings) => Some(settings),
        })
    }
}

/// Options of votequorum(5) that a reload may change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QuorumOptions {
    /// Two nodes, each quorate alone: the named exception to "one quorum"; takeover needs confirmed death.
    pub two_node: bool,
    /// Quorate for the first time only when all nodes have been seen together.
    pub wait_for_all: bool,
    /// `last_man_standing`: after this long without a node in a quorate partition nobody expects its votes any more, until it is back.
    pub last_man_standing: Option<Span>,
    /// `allow_downscale`: nor after it has left in order, down to so many expected votes.
    pub allow_downscale: Option<Votes>,
}

/// A quorum device. Slots are node ids, so none may be above [`cmm_qdisk::SLOTS_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceConfig {
    /// Its votes.
    pub votes: Votes,
    /// What it is made of.
    pub model: DeviceModel,
}

/// What a quorum device is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceModel {
    /// Blocks that the nodes write.
    Disk(DiskConfig),
    /// A disk with SCSI-3 persistent reservations.
    Scsi(ScsiConfig),
    /// A server that all nodes ask.
    Net(cmm_qnet::Settings),
}

/// A disk whose reservation is the vote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScsiConfig {
    /// Whose keys on it count.
    pub cluster: cmm_scsi::Cluster,
    /// One look at the reservation in this time.
    pub interval: Span,
    /// How long the vote counts from a look: `interval` times `tko`.
    pub lease: Span,
}

/// A quorum disk, or several of which a majority counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskConfig {
    /// How many disks.
    pub disks: usize,
    /// One write and one read in this time.
    pub interval: Span,
    /// How long the vote counts from the beginning of a write: `interval` times `tko`.
    pub lease: Span,
}

impl DeviceConfig {
    /// What stands of it in the node table.
    #[must_use]
    pub fn entry(&self) -> DeviceEntry {
        let kind = match self.model {
            DeviceModel::Disk(_) => DeviceKind::Disk,
            DeviceModel::Scsi(_) => DeviceKind::Scsi,
            DeviceModel::Net(_) => DeviceKind::Net,
        };
        DeviceEntry { votes: self.votes, kind }
    }

    /// How long the vote counts for its owner from the beginning of what renewed it.
    #[must_use]
    pub fn lease(&self) -> Span {
        match self.model {
            DeviceModel::Disk(disk) => disk.lease,
            DeviceModel::Scsi(scsi) => scsi.lease,
            DeviceModel::Net(net) => net.lease,
        }
    }

    /// What is wrong with it, if anything.
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        if self.votes.get() == 0 {
            return Err("votes must not be 0");
        }
        let interval = match self.model {
            DeviceModel::Disk(disk) if !(1..=cmm_qdisk::DISKS_MAX).contains(&disk.disks) => {
                return Err("one to seven disks");
            }
            DeviceModel::Disk(disk) => disk.interval,
            DeviceModel::Scsi(scsi) => scsi.interval,
            DeviceModel::Net(net) => return net.check(),
        };
        if interval == Span::ZERO {
            return Err("interval must not be 0");
        }
        if self.lease() < interval + interval {
            return Err("tko must be at least 2");
        }
        Ok(())
    }
}
