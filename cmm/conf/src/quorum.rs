//! `quorum { }`: votes, and the options of votequorum(5); combinations that void each other are named.

use holdfast_types::{NodeId, Span, Votes};

use crate::heuristics::Heuristics;
use crate::qdisk::{self, QuorumDisk};
use crate::reservation::{self, QuorumScsi};
use crate::schema::parse_number;
use crate::server::{self, QuorumServer};
use crate::{Diagnostics, Item, Node, Section, Timing};

/// Votes and options in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quorum {
    /// `provider: corosync_votequorum` is configured. Quorum is counted in any case.
    pub provider: bool,
    /// `expected_votes`; `None`: the sum of the node list.
    pub expected_votes: Option<Votes>,
    /// `two_node`, only with two nodes.
    pub two_node: bool,
    /// `wait_for_all`: as set, else as `two_node` implies.
    pub wait_for_all: bool,
    /// `auto_tie_breaker` and `auto_tie_breaker_node`.
    pub tie_break: TieBreak,
    /// `last_man_standing` with `last_man_standing_window`.
    pub last_man_standing: Option<Span>,
    /// `allow_downscale`: down to `expected_votes`.
    pub allow_downscale: Option<Votes>,
    /// `expected_votes_tracking`, also implied by `allow_downscale`.
    pub expected_votes_tracking: bool,
    /// `device { }`.
    pub device: Option<QuorumDevice>,
}

impl Quorum {
    /// The device, if it is a disk.
    #[must_use]
    pub fn disk(&self) -> Option<&QuorumDisk> {
        match &self.device.as_ref()?.model {
            DeviceModel::Disk(disk) => Some(disk),
            DeviceModel::Scsi(_) | DeviceModel::Net(_) => None,
        }
    }

    /// The device, if it is a disk with reservations.
    #[must_use]
    pub fn scsi(&self) -> Option<&QuorumScsi> {
        match &self.device.as_ref()?.model {
            DeviceModel::Scsi(scsi) => Some(scsi),
            DeviceModel::Disk(_) | DeviceModel::Net(_) => None,
        }
    }

    /// What says whether this node is fit to have the device's vote.
    #[must_use]
    pub fn heuristics(&self) -> Option<Heuristics> {
        match &self.device.as_ref()?.model {
            DeviceModel::Disk(disk) => Some(disk.fitness()),
            DeviceModel::Net(server) => Some(server.heuristics.clone()),
            DeviceModel::Scsi(_) => None,
        }
    }

    /// The device, if it is a server.
    #[must_use]
    pub fn server(&self) -> Option<&QuorumServer> {
        match &self.device.as_ref()?.model {
            DeviceModel::Net(server) => Some(server),
            DeviceModel::Disk(_) | DeviceModel::Scsi(_) => None,
        }
    }
}

/// `quorum { device { } }`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuorumDevice {
    /// `device.votes`; by default those of all nodes less one, so that the last node stands with it.
    pub votes: Votes,
    /// `device.model` and its section.
    pub model: DeviceModel,
    /// Line of the section.
    line: (u32, u32),
}

/// What a quorum device is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeviceModel {
    /// `disk { }`.
    Disk(QuorumDisk),
    /// `scsi { }`.
    Scsi(QuorumScsi),
    /// `net { }`.
    Net(QuorumServer),
}

/// With which node half of the expected votes are enough.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TieBreak {
    /// With none.
    Off,
    /// The lowest id.
    Lowest,
    /// The highest id.
    Highest,
    /// The first of these that is there.
    Listed(Vec<NodeId>),
}

pub(crate) fn read(root: &Section, nodes: &[Node], found: &mut Diagnostics) -> Quorum {
    let get = |key: &str| root.get(&["quorum"], key);
    let number = |key: &str| get(key).and_then(|i| parse_number(&i.value));
    let on = |key: &str| number(key) == Some(1);
    let at = |key: &str| get(key).map_or((1, 0), Item::at);

    let device = root.all("quorum").flat_map(|q| q.all("device")).next();
    let sum: u64 = nodes.iter().map(|n| u64::from(n.votes.get())).sum();
    let served = device.and_then(|device| read_device(device, nodes, sum, found));
    if let Some(second) = root.all("quorum").flat_map(|q| q.all("device")).nth(1) {
        found.error(second.at(), "one quorum device is served; remove one (a device may have several disks)");
    }
    // Each of the others is safe; two_node is the named exception.
    let mut two_node = on("two_node") && !on("auto_tie_breaker");
    if on("two_node") && nodes.len() != 2 {
        let text = format!("two_node with {} nodes; remove the line (it is for exactly two)", nodes.len());
        found.error(at("two_node"), text);
        two_node = false;
    }
    if on("two_node") {
        let text = "with two_node both halves of a split report quorate, and what the lost half may run starts only after \
                    its death is confirmed; configure a fence device, or a third node and no two_node";
        found.warn(at("two_node"), text);
        for key in SCALING.into_iter().filter(|k| on(k)) {
            found.error(at(key), format!("{key} and two_node void each other; remove one of them"));
        }
        if let Some(device) = device {
            found.error(device.at(), "a quorum device and two_node void each other; remove two_node");
        }
        if number("wait_for_all") == Some(0) {
            let text = "two_node without wait_for_all: after a cold start two nodes that do not see each other both go ahead; \
                        remove \"wait_for_all: 0\"";
            found.error(at("wait_for_all"), text);
        }
    }
    if let Some(device) = device {
        for key in SCALING.into_iter().filter(|k| on(k)) {
            found.error(device.at(), format!("a quorum device and {key} void each other; remove {key}"));
        }
    }
    if on("last_man_standing") && nodes.iter().any(|n| n.votes.get() != 1) {
        found.error(
            at("last_man_standing"),
            "last_man_standing needs one vote in every node; remove the quorum_votes",
        );
    }
    let expected = number("expected_votes");
    let scales = device.is_none() && !two_node;
    let tie_break = read_tie_break(root, nodes, found);
    check_scaling(root, sum, found);
    let downscale = expected.filter(|_| scales && on("allow_downscale"));
    // That is how far they may fall: they begin with all that there are, or two parts could begin beside each other.
    let expected = expected.filter(|ev| downscale.is_none() || *ev > sum);
    match expected {
        // Quorum is expected/2 + 1: it must be more than half of what two partitions may have together.
        Some(ev) if !two_node && (ev / 2 + 1) * 2 <= sum => {
            let text = format!(
                "expected_votes {ev} with {sum} votes in the node list lets two halves be quorate at once; write {sum}, or remove the line"
            );
            found.error(at("expected_votes"), text);
        }
        Some(ev) if device.is_none() && ev / 2 + 1 > sum && sum > 0 => {
            let text = format!(
                "expected_votes {ev} can never be reached by half with {sum} votes in the node list; write {sum}, or remove the line"
            );
            found.error(at("expected_votes"), text);
        }
        Some(ev) if two_node && ev != 2 => {
            found.error(
                at("expected_votes"),
                format!("two_node wants expected_votes 2, not {ev}; remove the line"),
            );
        }
        _ => {}
    }
    if sum == 0 && !nodes.is_empty() {
        found.error(
            (nodes[0].line, 0),
            "no node has a vote, so there is never quorum; remove \"quorum_votes: 0\"",
        );
    }
    // A disk knows who was there last; a server does not.
    let forgets = matches!(served, Some(QuorumDevice { model: DeviceModel::Net(_), .. }));
    if forgets && number("wait_for_all") == Some(0) {
        let text = "a quorum server does not remember who was in the last cluster: without wait_for_all a node that was not may form one \
                    alone, with an old configuration; remove \"wait_for_all: 0\"";
        found.warn(at("wait_for_all"), text);
    }
    let provider = get("provider").is_some();
    if !provider {
        let line = root.all("quorum").last().map_or(root.at(), Section::at);
        let text = "no quorum provider, so corosync-quorumtool shows no votes; write \"provider: corosync_votequorum\" into quorum";
        found.warn(line, text);
    }
    Quorum {
        provider,
        expected_votes: expected.map(|v| Votes::new(v as u32)),
        two_node,
        wait_for_all: number("wait_for_all").map_or(two_node || forgets, |v| v == 1),
        tie_break: if scales { tie_break } else { TieBreak::Off },
        last_man_standing: (scales && on("last_man_standing"))
            .then(|| Span::from_millis(number("last_man_standing_window").unwrap_or(10_000))),
        allow_downscale: downscale.map(|v| Votes::new(v as u32)),
        expected_votes_tracking: on("expected_votes_tracking") || downscale.is_some(),
        device: served.filter(|_| !two_node),
    }
}

fn read_device(device: &Section, nodes: &[Node], sum: u64, found: &mut Diagnostics) -> Option<QuorumDevice> {
    let model = match device.get(&[], "model").map(|m| m.value.as_str()) {
        Some("disk") => DeviceModel::Disk(qdisk::read(device, found)?),
        Some("scsi") => DeviceModel::Scsi(reservation::read(device, found)?),
        Some("net") => DeviceModel::Net(server::read(device, found)?),
        _ => {
            let text = "section quorum.device has no model; write \"model: disk\", \"model: scsi\" or \"model: net\"";
            found.error(device.at(), text);
            return None;
        }
    };
    if let Some(node) = nodes.iter().find(|n| n.id.get() > SLOTS_MAX) {
        let text = format!(
            "a quorum device has room for node ids 1 to {SLOTS_MAX}, and node {} has a higher one; give the nodes low nodeids",
            node.id
        );
        found.error(device.at(), text);
        return None;
    }
    let votes = device.get(&[], "votes").and_then(|i| parse_number(&i.value));
    if votes == Some(0) {
        found
            .error(device.at(), "a quorum device without votes decides nothing; remove it, or give it votes");
        return None;
    }
    let default = match &model {
        // One half of an even split wins.
        DeviceModel::Net(server) if !server.last_man_standing => 1,
        _ => sum.saturating_sub(1).max(1),
    };
    let votes = Votes::new(u32::try_from(votes.unwrap_or(default)).unwrap_or(u32::MAX));
    Some(QuorumDevice { votes, model, line: device.at() })
}

/// `auto_tie_breaker` and `auto_tie_breaker_node`.
fn read_tie_break(root: &Section, nodes: &[Node], found: &mut Diagnostics) -> TieBreak {
    let get = |key: &str| root.get(&["quorum"], key);
    let on = |key: &str| get(key).and_then(|i| parse_number(&i.value)) == Some(1);
    let node = get("auto_tie_breaker_node");
    if !on("auto_tie_breaker") {
        if let Some(item) = node {
            let text = "auto_tie_breaker_node does nothing without \"auto_tie_breaker: 1\"; write that as well, or remove the line";
            found.error(item.at(), text);
        }
        return TieBreak::Off;
    }
    let Some(item) = node else { return TieBreak::Lowest };
    let words: Vec<&str> = item.value.split_whitespace().collect();
    match words.as_slice() {
        ["lowest"] => return TieBreak::Lowest,
        ["highest"] => return TieBreak::Highest,
        _ => {}
    }
    let mut listed = Vec::new();
    for word in words {
        let id = word.parse().ok().map(NodeId::new);
        let votes = id.and_then(|id| nodes.iter().find(|n| n.id == id)).map(|n| n.votes.get());
        match (id, votes) {
            (Some(id), Some(1..)) if !listed.contains(&id) => listed.push(id),
            (Some(id), Some(0)) => {
                let text =
                    format!("auto_tie_breaker_node names node {id}, which has no vote; name one that has");
                found.error(item.at(), text);
            }
            (Some(_), Some(_)) => {
                found.error(item.at(), format!("auto_tie_breaker_node names node {word} twice"))
            }
            _ => {
                let text = format!(
                    "auto_tie_breaker_node \"{word}\" is no node id of the node list; write lowest, highest, or ids with spaces between"
                );
                found.error(item.at(), text);
            }
        }
    }
    // Nobody breaks a tie where the list cannot be read: that is the stricter reading.
    if listed.is_empty() { TieBreak::Off } else { TieBreak::Listed(listed) }
}

/// Options that change which votes are expected, and what they need.
fn check_scaling(root: &Section, sum: u64, found: &mut Diagnostics) {
    let get = |key: &str| root.get(&["quorum"], key);
    let number = |key: &str| get(key).and_then(|i| parse_number(&i.value));
    let on = |key: &str| number(key) == Some(1);
    let mut wrong = |key: &str, text: String| found.error(get(key).map_or((1, 0), Item::at), text);
    let waits = number("wait_for_all") == Some(1);
    if on("last_man_standing") && !waits {
        let text = "last_man_standing without wait_for_all: at a cold start those that are first go on without the others after the window; \
                    write \"wait_for_all: 1\"";
        wrong("last_man_standing", text.to_owned());
    }
    if !on("last_man_standing") && get("last_man_standing_window").is_some() {
        let text = "last_man_standing_window does nothing without \"last_man_standing: 1\"; write that as well, or remove the line";
        wrong("last_man_standing_window", text.to_owned());
    }
    let expected = number("expected_votes");
    if on("allow_downscale") && expected.is_none_or(|ev| ev >= sum) {
        let text = format!(
            "allow_downscale lowers expected votes as far as expected_votes, and {}; write \"expected_votes: N\" with N below {sum}, or remove allow_downscale",
            expected.map_or("that is not there".to_owned(), |ev| format!("that is {ev} of {sum}")),
        );
        wrong("allow_downscale", text);
    }
    let votes = expected.filter(|ev| !on("allow_downscale") || *ev > sum).unwrap_or(sum);
    let scales = on("last_man_standing") || on("allow_downscale");
    if on("auto_tie_breaker") && !votes.is_multiple_of(2) && !scales && number("two_node") != Some(1) {
        let text = format!(
            "auto_tie_breaker with {votes} expected votes: there is no half of them that it could decide; remove it, or add last_man_standing, which \
             makes them even in time"
        );
        // corosync takes it with wait_for_all, and would let fewer than half go on.
        match get("auto_tie_breaker").filter(|_| waits) {
            Some(item) => found.warn(item.at(), text),
            None => wrong("auto_tie_breaker", text),
        }
    }
}

/// What of the device does not fit the timers.
pub(crate) fn check_timing(quorum: &Quorum, timing: &Timing, found: &mut Diagnostics) {
    let Some(QuorumDevice { model, line, .. }) = &quorum.device else { return };
    let (interval, lease) = match model {
        DeviceModel::Disk(disk) => (disk.interval, disk.lease()),
        DeviceModel::Scsi(scsi) => (scsi.interval, scsi.lease()),
        DeviceModel::Net(server) => return server.check_timing(*line, timing, found),
    };
    // The vote is handed on with heartbeats, for what is left of the lease when it is to be renewed next.
    let least = interval + timing.lease + timing.lease_margin.scale(2, 1);
    if lease < least {
        let text = format!(
            "interval times tko is {lease}, and a vote that others are to count as well needs {least}; raise tko"
        );
        found.error(*line, text);
    }
}

/// As on the disk.
pub(crate) const SLOTS_MAX: u32 = 64;
/// Options that say what is enough where there is no device and not `two_node`.
const SCALING: [&str; 3] = ["auto_tie_breaker", "last_man_standing", "allow_downscale"];
