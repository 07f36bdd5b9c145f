//! What the daemon of this node says of votes: read through votequorum and the CMAP keys.

use cmm_ipc::abi::votequorum::{Info, flags};
use cmm_ipc::client::{CmapClient, Error, VotequorumClient};
use cmm_ipc::{CsError, abi::cmap::Value};
use holdfast_types::NodeId;
use status::{DeviceStatus, NodeRef};

use super::count::{Device, Electorate, Place, TieBreak, Voter};
use crate::gather::{self, Sources};

/// The state of votes as one node sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) cluster: String,
    /// The node that was asked.
    pub(super) node: NodeRef,
    pub(super) votes: Electorate,
    /// As the daemon has it: with leases, and with who waits for all.
    pub(super) quorate: bool,
    pub(super) needed: u32,
    pub(super) present: u32,
    /// Why it is not quorate, in words.
    pub(super) reason: String,
    pub(super) waits_for_lease: bool,
    pub(super) waits_for_all: bool,
    /// As corosync-quorumtool names them.
    pub(super) flags: Vec<String>,
    /// What the quorum device is made of, who owns its votes, why they do not count; empty without one.
    pub(super) served_by: DeviceStatus,
    /// What it waits for without quorum, with names.
    pub(super) waits_for: String,
    /// Ids of the nodes that the list under way has; empty: no change of it is under way.
    pub(super) next: Vec<u32>,
    /// What the configuration file waits for to be in force.
    pub(super) waits: String,
}

/// Connections to the daemon of this node.
pub(super) struct Daemon {
    pub(super) cmap: CmapClient,
    pub(super) votes: VotequorumClient,
}

impl Daemon {
    pub(super) fn connect(sources: &Sources) -> Result<Self, Error> {
        let mut cmap = CmapClient::connect(&sources.place, sources.limit)?;
        cmap.connection().set_limit(sources.limit);
        let mut votes = VotequorumClient::connect(&sources.place, sources.limit)?;
        votes.connection().set_limit(sources.limit);
        Ok(Self { cmap, votes })
    }

    /// Sets a key that asks for something.
    pub(super) fn ask(&mut self, key: &str, value: u8) -> Result<(), Error> {
        self.cmap.set(key, &Value::u8(value))
    }

    /// Looks at all of it, at one instant: it is many questions, and something may change between two of them.
    pub(super) fn look(&mut self) -> Result<Seen, Error> {
        let mut tries = 0;
        loop {
            let before = self.votes.info(None)?;
            let seen = self.look_after(&before)?;
            tries += 1;
            if self.votes.info(None)? == before || tries == LOOKS_MAX {
                return Ok(seen);
            }
        }
    }

    fn look_after(&mut self, info: &Info) -> Result<Seen, Error> {
        let me = self.number("runtime.votequorum.this_node_id")?.unwrap_or(info.node.get());
        let configured = gather::configured_nodes(&mut self.cmap)?;
        let mut served_by = gather::device(&mut self.cmap, info, &configured)?.unwrap_or_default();
        if !MODELS.contains(&served_by.model.as_str()) {
            // A daemon that does not say it, or a real corosync: as the file has it.
            served_by.model = self.text("quorum.device.model")?;
        }
        let waits = self.text("holdfast.nodelist.waits")?;
        let node = configured
            .iter()
            .find(|n| n.id == me)
            .cloned()
            .unwrap_or(NodeRef { id: me, name: me.to_string() });
        Ok(Seen {
            cluster: self.text("totem.cluster_name")?,
            votes: self.electorate(info, configured, &served_by)?,
            node,
            quorate: info.flags & flags::QUORATE != 0,
            needed: info.quorum.get(),
            present: info.total.get(),
            reason: self.text("holdfast.quorum.reason")?,
            waits_for_lease: self.number("holdfast.lease.waits")? == Some(1),
            waits_for_all: self.number("runtime.votequorum.wait_for_all_status")? == Some(1),
            flags: gather::quorum_flags(info.flags),
            served_by,
            next: ids(&self.text("holdfast.nodelist.next")?),
            waits,
            waits_for: self.text("holdfast.quorum.waits_for")?,
        })
    }

    fn electorate(
        &mut self,
        info: &Info,
        configured: Vec<NodeRef>,
        served_by: &DeviceStatus,
    ) -> Result<Electorate, Error> {
        let away = ids(&self.text("holdfast.quorum.away")?);
        let maintained = self.text("holdfast.quorum.maintained")?;
        let in_force = ids(&self.text("holdfast.nodelist.in_force")?);
        let in_file = self.votes_in_file()?;
        let mut nodes = configured;
        // The list in force may have nodes that the file has not.
        for id in in_force.iter().filter(|id| nodes.iter().all(|n| n.id != **id)).copied().collect::<Vec<_>>()
        {
            nodes.push(NodeRef { id, name: id.to_string() });
        }
        nodes.sort_by_key(|n| n.id);
        let mut voters = Vec::new();
        for NodeRef { id, name } in nodes {
            let known = match self.votes.info(Some(NodeId::new(id))) {
                Ok(info) => Some(info),
                Err(Error::Refused(CsError::NotExist)) => None,
                Err(e) => return Err(e),
            };
            let place = match () {
                () if !in_force.is_empty() && !in_force.contains(&id) => Place::Unlisted,
                () if ids(&maintained).contains(&id) => Place::Maintenance,
                () if away.contains(&id) => Place::Away,
                () => Place::Counted,
            };
            let votes = known.as_ref().map_or(0, |i| i.votes.get());
            voters.push(Voter {
                id,
                name,
                votes,
                votes_in_file: in_file.iter().find(|(n, _)| *n == id).map_or(1, |(_, votes)| *votes),
                present: known.is_some_and(|i| i.state == MEMBER),
                place,
            });
        }
        let disabled = maintained.split_whitespace().any(|word| word == DEVICE);
        let registered = info.flags & flags::QDEVICE_REGISTERED != 0;
        let device = (registered || disabled).then(|| Device {
            name: if info.qdevice_name.is_empty() {
                served_by.model.clone()
            } else {
                info.qdevice_name.clone()
            },
            model: served_by.model.clone(),
            votes: info.qdevice_votes.get(),
            present: registered && !disabled && info.flags & flags::QDEVICE_CAST_VOTE != 0,
            enabled: !disabled,
        });
        let tie = self.number("holdfast.quorum.tie_breaker")?.filter(|id| *id > 0);
        let tie_break = match self.number("runtime.votequorum.atb_type")? {
            Some(1) => TieBreak::Lowest,
            Some(2) => TieBreak::Highest,
            Some(3) => TieBreak::Listed(ids(&self.text("quorum.auto_tie_breaker_node")?)),
            _ => TieBreak::Off,
        };
        let two_node = voters.len() <= 2 && self.number("quorum.two_node")? == Some(1);
        Ok(Electorate {
            voters,
            device,
            expected: info.highest_expected.get(),
            expected_in_file: self.number("quorum.expected_votes")?.filter(|n| *n > 0),
            two_node: two_node || info.flags & flags::TWO_NODE != 0,
            tie_break,
            tie,
        })
    }

    /// Votes that the file gives to nodes: those with other than one.
    fn votes_in_file(&mut self) -> Result<Vec<(u32, u32)>, Error> {
        let mut votes = Vec::new();
        for (key, value) in self.cmap.entries("nodelist.node.")? {
            let Some(position) = key.strip_suffix(".quorum_votes") else { continue };
            let count = value.as_u64().and_then(|n| u32::try_from(n).ok()).unwrap_or(1);
            if let Some(id) = self.number(&format!("{position}.nodeid"))? {
                votes.push((id, count));
            }
        }
        Ok(votes)
    }

    fn text(&mut self, key: &str) -> Result<String, Error> {
        self.cmap.get_str(key).map(Option::unwrap_or_default)
    }

    fn number(&mut self, key: &str) -> Result<Option<u32>, Error> {
        Ok(self.cmap.get_u64(key)?.and_then(|n| u32::try_from(n).ok()))
    }
}

fn ids(words: &str) -> Vec<u32> {
    words.split_whitespace().filter_map(|w| w.parse().ok()).collect()
}

/// Stands among the ids in maintenance for the quorum device.
pub(super) const DEVICE: &str = "device";
/// What a quorum device may be.
const MODELS: [&str; 3] = ["disk", "scsi", "net"];
/// Where numbers change all the time, the last look has to do.
const LOOKS_MAX: u32 = 20;
/// Number of a member's state in votequorum.
const MEMBER: u32 = 1;
