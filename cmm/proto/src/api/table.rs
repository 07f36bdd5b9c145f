//! The node table: which nodes there are, what their votes count, and those of the quorum device.
//!
//! Every node's configuration file has one. The one *in force* is the cluster's: two nodes that counted by different ones could
//! both find a majority. It is on each node's disk, and is changed by all members of a quorate partition at one place of the
//! order ([`crate::quorum::change`], decision 16).

use holdfast_types::{NodeId, Votes};

use super::config::NodeEntry;

/// Nodes with their votes, how many votes are expected, and what the members have made of that.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeTable {
    /// In ascending order of id.
    pub nodes: Vec<NodeEntry>,
    /// `quorum.expected_votes`, or the sum of the votes, the device's among them.
    pub expected: Votes,
    /// The quorum device.
    pub device: Option<DeviceEntry>,
    /// Who breaks a tie.
    pub tie_break: TieBreak,
    /// Whose votes do not count for now: no file says that.
    pub scale: Scale,
}

/// The quorum device, as far as the files of all nodes say the same of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceEntry {
    /// Its votes.
    pub votes: Votes,
    /// What it is.
    pub kind: DeviceKind,
}

/// Kinds of quorum devices. Numbers as on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceKind {
    /// Quorum disks.
    Disk = 1,
    /// A disk with SCSI-3 persistent reservations.
    Scsi = 2,
    /// A quorum server.
    Net = 3,
}

impl DeviceKind {
    /// The kind with this number.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        [Self::Disk, Self::Scsi, Self::Net].into_iter().find(|kind| *kind as u8 == number)
    }

    /// As `quorum.device.model` names it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Disk => "disk",
            Self::Scsi => "scsi",
            Self::Net => "net",
        }
    }

    /// As clients of votequorum see it.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Disk | Self::Scsi => "Disk",
            Self::Net => "Qdevice",
        }
    }

    /// Whether it refuses whoever was not in the configuration that had its vote last. Then it is a voter like others: the next
    /// majority that it is part of knows what the one before decided.
    #[must_use]
    pub fn remembers(self) -> bool {
        matches!(self, Self::Disk | Self::Scsi)
    }
}

/// `quorum.auto_tie_breaker` and `auto_tie_breaker_node`: half of the votes are enough with this node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum TieBreak {
    /// Nobody: more than half is needed.
    #[default]
    Off,
    /// The lowest id.
    Lowest,
    /// The highest id.
    Highest,
    /// The first of these that is there.
    Listed(Vec<NodeId>),
}

impl TieBreak {
    /// The node among `ids` (ascending) that breaks a tie.
    #[must_use]
    pub fn of(&self, mut ids: impl DoubleEndedIterator<Item = NodeId> + Clone) -> Option<NodeId> {
        match self {
            Self::Off => None,
            Self::Lowest => ids.next(),
            Self::Highest => ids.next_back(),
            Self::Listed(list) => list.iter().copied().find(|id| ids.clone().any(|other| other == *id)),
        }
    }

    fn numbers(&self) -> Vec<u32> {
        match self {
            Self::Off => Vec::new(),
            Self::Lowest => vec![1],
            Self::Highest => vec![2],
            Self::Listed(list) => std::iter::once(3).chain(list.iter().map(|id| id.get())).collect(),
        }
    }
}

/// What the members of a quorate partition have agreed upon, beside the file: whose votes neither count nor are expected. It is
/// changed as the rest of the table is, so the next majority shares a voter with the one before (decision 20).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scale {
    /// Until they are members again (`last_man_standing`, `allow_downscale`). Ascending.
    pub away: Vec<NodeId>,
    /// Until an operator says so: in maintenance. Ascending.
    pub maintained: Vec<NodeId>,
    /// The quorum device is in maintenance.
    pub device_out: bool,
    /// Expected votes do not fall below this while somebody is out.
    pub least: Votes,
    /// Who breaks a tie, among those that were together last.
    pub tie: Option<NodeId>,
}

impl NodeTable {
    /// Of these nodes; expected are so many votes, or theirs together.
    #[must_use]
    pub fn new(nodes: Vec<NodeEntry>, expected: Option<Votes>) -> Self {
        let mut table = Self { nodes, ..Self::default() };
        table.expected = expected.unwrap_or(table.sum());
        table
    }

    /// The same with a quorum device. Expected are at least all votes together: quora would not share one otherwise.
    #[must_use]
    pub fn with_device(mut self, device: Option<DeviceEntry>) -> Self {
        self.device = device;
        if let Some(device) = device {
            let all = self.sum().get().saturating_add(device.votes.get());
            self.expected = self.expected.max(Votes::new(all));
        }
        self
    }

    fn sum(&self) -> Votes {
        Votes::new(self.nodes.iter().fold(0, |sum, n| sum.saturating_add(n.votes.get())))
    }

    /// The same with somebody who breaks a tie.
    #[must_use]
    pub fn with_tie_break(self, tie_break: TieBreak) -> Self {
        let scale = Scale { tie: None, ..self.scale.clone() };
        Self { tie_break, ..self }.scaled(scale, |_| true)
    }

    /// Votes of a node that count, 0 while it is away or in maintenance; none if it is not in the table.
    #[must_use]
    pub fn votes(&self, node: NodeId) -> Option<Votes> {
        let out = self.is_out(node);
        self.votes_in_file(node).map(|votes| if out { Votes::new(0) } else { votes })
    }

    /// Votes of a node whether they count or not.
    #[must_use]
    pub fn votes_in_file(&self, node: NodeId) -> Option<Votes> {
        self.nodes.binary_search_by_key(&node, |n| n.id).ok().map(|at| self.nodes[at].votes)
    }

    /// Whether the votes of this node do not count for now.
    #[must_use]
    pub fn is_out(&self, node: NodeId) -> bool {
        self.scale.away.binary_search(&node).is_ok() || self.scale.maintained.binary_search(&node).is_ok()
    }

    /// The quorum device, unless it is in maintenance.
    #[must_use]
    pub fn device_now(&self) -> Option<DeviceEntry> {
        self.device.filter(|_| !self.scale.device_out)
    }

    /// Whether the votes of a node, or of the device, do not count for now.
    #[must_use]
    pub fn is_scaled(&self) -> bool {
        self.scale.device_out || !self.scale.away.is_empty() || !self.scale.maintained.is_empty()
    }

    /// Expected votes in force: without those that are out.
    #[must_use]
    pub fn expected_now(&self) -> Votes {
        if !self.is_scaled() {
            return self.expected;
        }
        let nodes = self.nodes.iter().filter(|n| !self.is_out(n.id)).map(|n| n.votes.get());
        let counted = nodes.chain(self.device_now().map(|device| device.votes.get()));
        Votes::new(counted.fold(0, u32::saturating_add).max(self.scale.least.get()).max(1))
    }

    /// Nodes with votes that count, ascending.
    pub fn counted(&self) -> impl DoubleEndedIterator<Item = NodeId> + Clone + '_ {
        self.nodes.iter().filter(|n| n.votes.get() > 0 && !self.is_out(n.id)).map(|n| n.id)
    }

    /// The same table with another scale. Who breaks a tie is found among those that count and are `here`; if nobody is, it stays
    /// who it was.
    #[must_use]
    pub fn scaled(mut self, scale: Scale, here: impl Fn(NodeId) -> bool + Clone) -> Self {
        let known = |id: &NodeId| self.nodes.binary_search_by_key(id, |n| n.id).is_ok();
        let sorted = |mut ids: Vec<NodeId>| {
            ids.retain(known);
            ids.sort_unstable();
            ids.dedup();
            ids
        };
        let maintained = sorted(scale.maintained);
        let mut away = sorted(scale.away);
        away.retain(|id| maintained.binary_search(id).is_err());
        let device_out = scale.device_out && self.device.is_some();
        self.scale = Scale { away, maintained, device_out, ..Scale::default() };
        if self.is_scaled() {
            self.scale.least = scale.least;
        }
        let tie = self.tie_break.of(self.counted().filter(|id| here(*id)));
        self.scale.tie = tie.or(scale.tie).filter(|_| self.tie_break != TieBreak::Off);
        self
    }

    /// Whether both come from the same file.
    #[must_use]
    pub fn is_of_file(&self, file: &Self) -> bool {
        let said = |table: &Self| (table.expected, table.device);
        said(self) == said(file) && self.nodes == file.nodes && self.tie_break == file.tie_break
    }

    /// Its nodes, ascending.
    pub fn ids(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.nodes.iter().map(|n| n.id)
    }

    /// A short digest of what a file says: the same table has the same one.
    #[must_use]
    pub fn digest(&self) -> u64 {
        let nodes = self.nodes.iter().flat_map(|n| [n.id.get(), n.votes.get()]);
        let device = self.device.map_or([0, 0], |device| [device.kind as u32, device.votes.get()]);
        let numbers = nodes.chain([self.expected.get()]).chain(device).chain(self.tie_break.numbers());
        fnv1a(numbers.map(u64::from))
    }

    /// What is wrong with it, if anything.
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        let nodes = &self.nodes;
        if nodes.is_empty() || nodes.len() > crate::limits::NODES_MAX {
            return Err("must name 1 to 64 nodes");
        }
        if nodes[0].id.get() == 0 {
            return Err("node id 0 is not a node");
        }
        if nodes.windows(2).any(|w| w[0].id >= w[1].id) {
            return Err("must be in ascending order of id, each id once");
        }
        if self.expected == Votes::new(0) && nodes.iter().any(|n| n.votes.get() > 0) {
            return Err("expected votes must not be 0");
        }
        if self.device.is_some_and(|device| device.votes.get() == 0) {
            return Err("a quorum device has at least one vote");
        }
        if self.device.is_some() && nodes.iter().any(|n| n.id.get() > u32::from(cmm_qdisk::SLOTS_MAX)) {
            return Err("with a quorum device node ids are 1 to 64");
        }
        Ok(())
    }
}

/// When a table came: the ring in which it was decided, and the how manieth change of that ring it was. Later is larger:
/// of two rings that are quorate by one table, the later has the larger number, since somebody has been in both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct TableId {
    /// Sequence number of the ring.
    pub ring: u64,
    /// Changes of that ring, this one included; 0: it was found there.
    pub number: u32,
}

/// The table in force, and the one that it is being changed to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tables {
    /// Of the one in force; the least one: it is a file's, and no quorate partition has counted by it yet.
    pub id: TableId,
    /// In force.
    pub table: NodeTable,
    /// Under way: until all members count by both, a majority by both is needed.
    pub next: Option<(TableId, NodeTable)>,
}

impl Tables {
    /// From a file: in force until one is met that counts.
    #[must_use]
    pub fn of_file(table: NodeTable) -> Self {
        Self { id: TableId::default(), table, next: None }
    }

    /// Whether a partition has counted by it: then it outlives the file.
    #[must_use]
    pub fn is_bound(&self) -> bool {
        self.id != TableId::default()
    }

    /// Whether no other table than this one has ever counted.
    #[must_use]
    pub fn is_first(&self) -> bool {
        self.id.number == 0 && self.next.is_none()
    }

    /// What is later is right: a change that was made is later than the same one under way.
    #[must_use]
    pub fn rank(&self) -> (TableId, bool) {
        (self.next.as_ref().map_or(self.id, |(id, _)| *id), self.next.is_none())
    }

    /// Nodes of both tables, ascending.
    #[must_use]
    pub fn ids(&self) -> Vec<NodeId> {
        let next = self.next.iter().flat_map(|(_, table)| table.ids());
        let mut ids: Vec<NodeId> = self.table.ids().chain(next).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }
}

/// The node table as this node sees it: for the log, for status, and for who sends packets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TableView {
    /// In force, and under way.
    pub tables: Tables,
    /// All nodes that packets go to and are taken from, this one included: those of the tables, of the file, and members.
    pub nodes: Vec<NodeId>,
    /// The file has another table than the one in force: why that is not changed, or what it waits for; else empty.
    pub waits: String,
}

/// A short digest of numbers.
pub(super) fn fnv1a(numbers: impl Iterator<Item = u64>) -> u64 {
    numbers
        .flat_map(u64::to_le_bytes)
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}
