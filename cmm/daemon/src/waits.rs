//! What a node without quorum waits for, in words: for the log, for `holdfast status` and for the service manager; and how the quorum
//! device is, whose vote may be what is missing.
//!
//! The core says why there is no quorum in numbers of votes. An operator who stands before a machine that does not come up wants
//! to know which other machine to go to: so here are names.

use std::collections::BTreeMap;

use cmm_conf::Config;
use cmm_ipc::abi::cmap::Value;
use cmm_proto::Node;
use cmm_scsi::Key;
use cmm_scsi::command::Holder;
use holdfast_types::{Boottime, NodeId, Span, Votes};

use crate::events::DaemonEvent;

/// What is waited for, as told last.
#[derive(Default)]
pub(crate) struct Waiting {
    names: BTreeMap<NodeId, String>,
    /// Something has changed.
    stale: bool,
    /// When it is looked at even so: leases and disks have no word of their own.
    look_at: Boottime,
    /// Since when there is no quorum.
    since: Option<Boottime>,
    was_quorate: bool,
    text: String,
    /// When the log says it, if it is the same until then.
    tell_at: Option<Boottime>,
    told: String,
    device: Option<Device>,
}

/// The quorum device as this node sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Device {
    /// As in `quorum.device.model`.
    model: &'static str,
    votes: Votes,
    /// Its vote counts here.
    counts: bool,
    /// Who owns it, where the device says so.
    owner: Option<NodeId>,
    why: Why,
}

/// Why the device's vote does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    /// It does, or nothing is known against it.
    Nothing,
    /// This node was not in the last cluster: bit `id - 1` for each that was.
    NotInLast(u64),
    /// Too few disks work: how many of how many, the first that does not, and why.
    Disks(usize, usize, usize, cmm_qdisk::Failure),
    Reservation(cmm_scsi::Failure),
    Foreign(Key),
    Unfit,
    /// It belongs to a node that is not here.
    OwnedBy(NodeId),
    NotConnected,
    NoVerdict,
    /// An operator has put it in maintenance: it is not expected either.
    Maintenance,
    /// The cluster has it, and this life of this node has nothing that could reach it.
    NotUsed,
}

/// What the words are made of.
#[derive(Clone, Debug, Default)]
struct Facts {
    /// There is a configuration.
    formed: bool,
    /// The node list in force, if this node is not in it.
    not_in: Option<Vec<NodeId>>,
    total: u32,
    expected: u32,
    needed: u32,
    /// With this node, half of the votes are enough.
    tie: Option<NodeId>,
    /// Nodes whose votes are not here; `true`: they show themselves, and are held out.
    missing: Vec<(NodeId, bool)>,
    all: bool,
    leases: bool,
    device: Option<Device>,
    /// What the core says.
    reason: String,
}

impl Waiting {
    pub(crate) fn new(config: &Config) -> Self {
        let mut waiting = Self { stale: true, ..Self::default() };
        waiting.set_names(config);
        waiting
    }

    /// The configuration was read anew.
    pub(crate) fn set_names(&mut self, config: &Config) {
        let name = |n: &cmm_conf::Node| n.name.clone().map(|name| (n.id, name));
        self.names = config.nodes.iter().filter_map(name).collect();
        self.stale = true;
    }

    /// Something has changed that it may depend on.
    pub(crate) fn touch(&mut self) {
        self.stale = true;
    }

    /// Looks whether something else is waited for, and sets the keys that say so. `fit`: heuristics say so. `leaves`: this node
    /// has given up quorum by itself. Some text: news for the service manager.
    pub(crate) fn review(
        &mut self,
        node: &Node,
        (fit, leaves): (bool, bool),
        at: Boottime,
        mut set: impl FnMut(&str, Value),
    ) -> Option<String> {
        if !std::mem::take(&mut self.stale) && at < self.look_at {
            return None;
        }
        self.look_at = at + LOOK_INTERVAL;
        let view = node.quorum_view();
        let device = Device::of(node, fit);
        if device != self.device {
            self.device = device;
            self.publish_device(&mut set);
        }
        let waits = !view.quorate && !leaves;
        self.was_quorate |= view.quorate;
        if !waits && self.since.is_none() {
            return None;
        }
        let text = if waits { Facts::of(node, device).words(&self.names) } else { String::new() };
        if text == self.text && self.since.is_some() == waits {
            return None;
        }
        self.since = waits.then(|| self.since.unwrap_or(at));
        // What was told before the quorum that was lost is told again.
        if !waits {
            self.told.clear();
        }
        let patience = if view.members.is_empty() { TOLD_WITHOUT_RING_AFTER } else { TOLD_AFTER };
        self.tell_at = waits.then(|| at + patience);
        set("holdfast.quorum.waits_for", Value::str(&text));
        set("holdfast.quorum.waits_since", Value::u64(self.since.map_or(0, Boottime::as_nanos)));
        self.text = text;
        Some(match (waits, view.quorate) {
            (true, _) => format!("STATUS=Waiting for quorum: {}", self.text),
            (false, true) => "STATUS=This node is in the primary component.".to_owned(),
            (false, false) => "STATUS=Leaving the cluster.".to_owned(),
        })
    }

    /// The line that is due.
    pub(crate) fn due(&mut self, at: Boottime) -> Option<DaemonEvent> {
        self.tell_at.take_if(|tell_at| *tell_at <= at)?;
        if self.told == self.text {
            return None;
        }
        self.told.clone_from(&self.text);
        Some(DaemonEvent::WaitsForQuorum { lost: self.was_quorate, waits_for: self.text.clone() })
    }

    /// `holdfast.quorum.device.*`
    fn publish_device(&self, set: &mut impl FnMut(&str, Value)) {
        let device = self.device.unwrap_or(NO_DEVICE);
        let base = "holdfast.quorum.device";
        set(&format!("{base}.model"), Value::str(device.model));
        set(&format!("{base}.votes"), Value::u32(device.votes.get()));
        set(&format!("{base}.counts"), Value::u8(device.counts.into()));
        set(&format!("{base}.owner"), Value::u32(device.owner.map_or(0, NodeId::get)));
        set(&format!("{base}.why"), Value::str(&device.why.words(&self.names)));
    }
}

impl Device {
    fn of(node: &Node, fit: bool) -> Option<Self> {
        let view = node.quorum_view();
        let cmm_proto::DeviceView { model, votes, counts, out, .. } = view.device?;
        let here = |id: NodeId| view.members.contains(&id);
        let id = |slot: u8| NodeId::new(slot.into());
        let owned = |owner: Option<NodeId>| owner.filter(|id| !here(*id)).map_or(Why::Nothing, Why::OwnedBy);
        let (owner, why) = if let Some(claim) = node.qdisk() {
            let owner = Some(claim.decided().owner.slot).filter(|slot| *slot > 0).map(id);
            let (works, all) = (claim.disks_ok(), claim.disks());
            let failure = (0..all).find_map(|disk| Some((disk, claim.failure(disk)?)));
            let why = match (failure, claim.not_in_last()) {
                (Some((disk, failure)), _) if works <= all / 2 => Why::Disks(works, all, disk, failure),
                (_, Some(last)) => Why::NotInLast(1 << (last.slot - 1)),
                (_, None) if !fit => Why::Unfit,
                (_, None) => owned(owner),
            };
            (owner, why)
        } else if let Some(claim) = node.reservation() {
            let (holder, keys, failure) = claim.seen();
            let owner = match holder {
                Some(Holder::Slot(slot)) => Some(id(slot)),
                Some(Holder::Nobody | Holder::Foreign(_)) | None => None,
            };
            let foreign = match (holder, keys.foreign) {
                (Some(Holder::Foreign(key)), _) | (_, Some(key)) => Some(key),
                _ => None,
            };
            let why = match (failure, foreign, claim.not_in_last()) {
                (Some(failure), ..) => Why::Reservation(failure),
                (None, Some(key), _) => Why::Foreign(key),
                (None, None, 0) if !fit => Why::Unfit,
                (None, None, 0) => owned(owner),
                (None, None, nodes) => Why::NotInLast(nodes),
            };
            (owner, why)
        } else if let Some(client) = node.qnet() {
            (None, if client.is_connected() { Why::NoVerdict } else { Why::NotConnected })
        } else {
            (None, Why::NotUsed)
        };
        let why = match (out, counts) {
            (true, _) => Why::Maintenance,
            (false, true) => Why::Nothing,
            (false, false) => why,
        };
        Some(Self { model, votes, counts, owner, why })
    }

    fn words(&self, names: &BTreeMap<NodeId, String>) -> String {
        let Self { model, votes, why, .. } = self;
        let why = match why {
            Why::Nothing => "does not count here yet".to_owned(),
            why => why.words(names),
        };
        format!("the quorum device ({model}, {}): {why}", count(votes.get(), "vote"))
    }
}

impl Why {
    /// Empty: nothing.
    fn words(&self, names: &BTreeMap<NodeId, String>) -> String {
        match *self {
            Self::Nothing => String::new(),
            Self::NotInLast(nodes) => {
                let nodes: Vec<NodeId> =
                    (1..=64_u32).filter(|id| nodes >> (id - 1) & 1 == 1).map(NodeId::new).collect();
                let were = if nodes.len() == 1 { "was" } else { "were" };
                let list = list(nodes.iter().map(|id| (*id, false)), names);
                format!("{list} {were} in the last cluster and this node was not: start {list} as well")
            }
            Self::Disks(works, all, disk, failure) => {
                format!("{works} of {} works, disk {disk}: {failure}", count_of(all, "disk"))
            }
            Self::Reservation(failure) => format!("it does not answer: {failure}"),
            Self::Foreign(key) => format!("another cluster or tool uses it, key {key}"),
            Self::Unfit => "this node's heuristics fail".to_owned(),
            Self::OwnedBy(node) => {
                format!("{} has it, and its lease may still run", name(node, false, names))
            }
            Self::NotConnected => "this node is not connected to the quorum server".to_owned(),
            Self::Maintenance => "it is in maintenance (holdfast quorum device enable ends it)".to_owned(),
            Self::NotUsed => {
                "this node does not use it, though the cluster has it: write it into its file, and run \"corosync-cfgtool -R\"".to_owned()
            }
            Self::NoVerdict => "the quorum server has not given its vote to this partition".to_owned(),
        }
    }
}

impl Facts {
    fn of(node: &Node, device: Option<Device>) -> Self {
        let view = node.quorum_view();
        let tables = node.tables();
        let in_force = || tables.table.ids().collect();
        let held_out = |id: NodeId| node.held_out().iter().any(|out| out.node == id);
        let absent = view.nodes.iter().filter(|n| n.state != MEMBER && n.votes.get() > 0);
        Self {
            formed: !view.members.is_empty(),
            not_in: tables.table.votes(node.me()).is_none().then(in_force),
            total: view.total.get(),
            expected: view.highest_expected.get(),
            needed: view.quorum.get(),
            tie: view.tie,
            missing: absent.map(|n| (n.node, held_out(n.node))).collect(),
            all: view.wait_for_all_status,
            leases: view.waits_for_lease,
            device: device.filter(|d| !d.counts && d.why != Why::Maintenance),
            reason: view.reason.clone(),
        }
    }

    /// Continues "it waits for".
    fn words(&self, names: &BTreeMap<NodeId, String>) -> String {
        let Self { total, expected, needed, .. } = *self;
        if let Some(ids) = &self.not_in {
            let ids: Vec<String> = ids.iter().map(NodeId::to_string).collect();
            return format!(
                "a place in the node list, which is in force as {}: name this node in the files of its members, and run \
                 \"corosync-cfgtool -R\" there",
                ids.join(" ")
            );
        }
        if !self.formed {
            return format!("the first membership{}", self.absent(names));
        }
        let lack = needed.saturating_sub(total);
        if self.leases {
            return format!("the leases of nodes that are not here to end{}", self.absent(names));
        }
        if self.all && (!self.missing.is_empty() || lack > 0) {
            return format!(
                "all nodes (wait_for_all; {total} of {expected} votes are here){}; if they are down for certain: corosync-cmapctl -s \
                 quorum.cancel_wait_for_all u8 1",
                self.absent(names)
            );
        }
        if lack == 0 {
            // Votes are here, and do not count: the core says why.
            return format!("members to confirm their votes: {}", self.reason);
        }
        let half = self.tie.filter(|_| expected.is_multiple_of(2));
        let half =
            half.map_or(String::new(), |id| format!(", or {} with {}", expected / 2, name(id, false, names)));
        let votes = count(lack, "more vote");
        format!("{votes} ({total} of {expected} are here, {needed} needed{half}){}", self.absent(names))
    }

    /// `; missing: …`
    fn absent(&self, names: &BTreeMap<NodeId, String>) -> String {
        let nodes = list(self.missing.iter().copied(), names);
        let device = self.device.map(|d| d.words(names)).unwrap_or_default();
        let and = if nodes.is_empty() || device.is_empty() { "" } else { ", and " };
        if nodes.is_empty() && device.is_empty() {
            return String::new();
        }
        format!("; missing: {nodes}{and}{device}")
    }
}

/// `node 2 (beta), node 3`
fn list(nodes: impl Iterator<Item = (NodeId, bool)>, names: &BTreeMap<NodeId, String>) -> String {
    let words: Vec<String> = nodes.map(|(id, held_out)| name(id, held_out, names)).collect();
    words.join(", ")
}

fn name(id: NodeId, held_out: bool, names: &BTreeMap<NodeId, String>) -> String {
    let held_out = if held_out { " (it shows itself, but not all nodes reach each other)" } else { "" };
    match names.get(&id) {
        Some(name) => format!("node {id} ({name}){held_out}"),
        None => format!("node {id}{held_out}"),
    }
}

/// `1 vote`, `3 votes`
fn count(number: u32, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// `1 disk`, `3 disks`
fn count_of(number: usize, what: &str) -> String {
    count(u32::try_from(number).unwrap_or(u32::MAX), what)
}

/// As in votequorum.h.
const MEMBER: u32 = 1;
const NO_DEVICE: Device =
    Device { model: "", votes: Votes::new(0), counts: false, owner: None, why: Why::Nothing };
const LOOK_INTERVAL: Span = Span::from_secs(1);
/// What is waited for no longer than this is not worth a line: nodes that start together come one after the other.
const TOLD_AFTER: Span = Span::from_secs(1);
/// A ring of one node takes the time in which others might have answered.
const TOLD_WITHOUT_RING_AFTER: Span = Span::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u32) -> NodeId {
        NodeId::new(n)
    }

    fn names() -> BTreeMap<NodeId, String> {
        [(id(1), "alpha".to_owned()), (id(2), "beta".to_owned())].into()
    }

    /// One of three nodes.
    fn lone() -> Facts {
        Facts {
            formed: true,
            total: 1,
            expected: 3,
            needed: 2,
            missing: vec![(id(2), false), (id(3), false)],
            reason: "1 of 3 votes, 2 needed".into(),
            ..Facts::default()
        }
    }

    fn device(why: Why) -> Option<Device> {
        Some(Device { model: "disk", votes: Votes::new(1), counts: false, owner: None, why })
    }

    #[test]
    fn it_says_for_whom_it_waits() {
        let of = |facts: Facts| facts.words(&names());
        let both = |why| {
            let missing = vec![(id(2), false)];
            of(Facts { missing, device: device(why), ..lone() })
        };
        let table = [
            (of(Facts { formed: false, ..lone() }), "the first membership; missing: node 2 (beta), node 3"),
            (of(lone()), "1 more vote (1 of 3 are here, 2 needed); missing: node 2 (beta), node 3"),
            (
                of(Facts {
                    total: 1,
                    expected: 6,
                    needed: 4,
                    tie: Some(id(1)),
                    missing: vec![(id(2), true)],
                    ..lone()
                }),
                "3 more votes (1 of 6 are here, 4 needed, or 3 with node 1 (alpha)); missing: node 2 (beta) (it shows itself, but not \
                 all nodes reach each other)",
            ),
            (
                of(Facts { all: true, total: 2, missing: vec![(id(3), false)], ..lone() }),
                "all nodes (wait_for_all; 2 of 3 votes are here); missing: node 3; if they are down for certain: corosync-cmapctl -s \
                 quorum.cancel_wait_for_all u8 1",
            ),
            (
                of(Facts { leases: true, total: 2, missing: vec![(id(2), false)], ..lone() }),
                "the leases of nodes that are not here to end; missing: node 2 (beta)",
            ),
            (
                of(Facts { not_in: Some(vec![id(1), id(3)]), ..lone() }),
                "a place in the node list, which is in force as 1 3: name this node in the files of its members, and run \
                 \"corosync-cfgtool -R\" there",
            ),
            (
                of(Facts { total: 2, reason: "lease ran out".into(), ..lone() }),
                "members to confirm their votes: lease ran out",
            ),
            (of(Facts { missing: vec![], ..lone() }), "1 more vote (1 of 3 are here, 2 needed)"),
            (
                both(Why::Nothing),
                "1 more vote (1 of 3 are here, 2 needed); missing: node 2 (beta), and the quorum device (disk, 1 vote): does not count \
                 here yet",
            ),
            (
                both(Why::NotInLast(0b10)),
                "1 more vote (1 of 3 are here, 2 needed); missing: node 2 (beta), and the quorum device (disk, 1 vote): node 2 (beta) was \
                 in the last cluster and this node was not: start node 2 (beta) as well",
            ),
        ];
        for (got, want) in table {
            assert_eq!(got, want);
        }
    }

    #[test]
    fn it_says_why_the_device_does_not_count() {
        let io = cmm_qdisk::Failure::Io(5);
        let table = [
            (Why::Nothing, ""),
            (
                Why::NotInLast(0b101),
                "node 1 (alpha), node 3 were in the last cluster and this node was not: start node 1 (alpha), node 3 as well",
            ),
            (Why::Unfit, "this node's heuristics fail"),
            (Why::OwnedBy(id(2)), "node 2 (beta) has it, and its lease may still run"),
            (Why::Maintenance, "it is in maintenance (holdfast quorum device enable ends it)"),
            (
                Why::NotUsed,
                "this node does not use it, though the cluster has it: write it into its file, and run \"corosync-cfgtool -R\"",
            ),
            (Why::NotConnected, "this node is not connected to the quorum server"),
            (Why::NoVerdict, "the quorum server has not given its vote to this partition"),
        ];
        for (why, want) in table {
            assert_eq!(why.words(&names()), want);
        }
        let text = Why::Disks(1, 3, 2, io).words(&names());
        assert!(text.starts_with("1 of 3 disks works, disk 2: "), "{text}");
    }

    #[test]
    fn a_line_is_written_when_it_has_been_the_same_for_a_while_and_not_twice() {
        let at = |ms| Boottime::ZERO + Span::from_millis(ms);
        let mut waiting = Waiting { text: "a".into(), tell_at: Some(at(1_000)), ..Waiting::default() };
        assert!(waiting.due(at(999)).is_none());
        let Some(DaemonEvent::WaitsForQuorum { lost: false, waits_for }) = waiting.due(at(1_000)) else {
            panic!("a line is due");
        };
        assert_eq!(waits_for, "a");
        assert!(waiting.due(at(5_000)).is_none(), "once");
        // It waited for something else, and not for long.
        waiting.tell_at = Some(at(6_000));
        assert!(waiting.due(at(7_000)).is_none(), "it was told before");
        (waiting.text, waiting.tell_at) = ("b".into(), Some(at(8_000)));
        assert!(waiting.due(at(8_000)).is_some());
    }
}
