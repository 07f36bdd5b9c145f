//! Keys that the daemon itself keeps up to date: members, votes, and its own under `holdfast.`.

use std::collections::{BTreeMap, BTreeSet};

use cmm_ipc::abi::cmap::Value;
use cmm_proto::{
    Configuration, KeyView, Node, NodeTable, QuorumView, StepNotice, StepPhase, TableView, TieBreak,
};
use holdfast_types::NodeId;

use super::ClientNode;

/// What must be remembered for them.
#[derive(Default)]
pub(super) struct Published {
    join_counts: BTreeMap<NodeId, u32>,
}

impl Published {
    /// `runtime.members.<id>.*`: the first thing that changes with a new ring.
    pub(super) fn members(
        &mut self,
        change: &Configuration,
        nodes: &[ClientNode],
        mut set: impl FnMut(&str, Value),
    ) {
        for id in &change.left {
            set(&format!("runtime.members.{id}.status"), Value::str("left"));
        }
        // A node that restarted so fast that it is in both lists joins again.
        let again = |id: &&NodeId| change.left.contains(id) || !self.join_counts.contains_key(id);
        let joined: BTreeSet<NodeId> =
            change.joined.iter().chain(change.members.iter().filter(again)).copied().collect();
        for id in joined {
            let count = self.join_counts.entry(id).or_default();
            *count += 1;
            let addresses =
                nodes.iter().find(|n| n.id == id).map(|n| n.addresses.as_slice()).unwrap_or_default();
            let ip: String = addresses.iter().map(|(link, ip)| format!("r({link}) ip({ip}) ")).collect();
            set(&format!("runtime.members.{id}.ip"), Value::str(&ip));
            set(&format!("runtime.members.{id}.config_version"), Value::u64(0));
            set(&format!("runtime.members.{id}.join_count"), Value::u32(*count));
            set(&format!("runtime.members.{id}.status"), Value::str("joined"));
        }
    }
}

/// `runtime.votequorum.*` and what follows from quorum under `holdfast.`.
pub(super) fn quorum(view: &QuorumView, node: &Node, mut set: impl FnMut(&str, Value)) {
    set("runtime.votequorum.this_node_id", Value::u32(node.me().get()));
    set("runtime.votequorum.two_node", Value::u8(view.two_node.into()));
    let tie_break = match node.tables().table.tie_break {
        TieBreak::Off => 0,
        TieBreak::Lowest => 1,
        TieBreak::Highest => 2,
        TieBreak::Listed(_) => 3,
    };
    set("runtime.votequorum.atb_type", Value::u32(tie_break));
    set("runtime.votequorum.ev_barrier", Value::u32(view.ev_barrier.get()));
    set("holdfast.quorum.tie_breaker", Value::u32(view.tie.map_or(0, NodeId::get)));
    set("runtime.votequorum.wait_for_all_status", Value::u8(view.wait_for_all_status.into()));
    if let (Some(lowest), Some(highest)) = (view.members.first(), view.members.last()) {
        set("runtime.votequorum.lowest_node_id", Value::u32(lowest.get()));
        set("runtime.votequorum.highest_node_id", Value::u32(highest.get()));
    }
    set("holdfast.quorum.reason", Value::str(&view.reason));
    set("holdfast.lease.waits", Value::u8(view.waits_for_lease.into()));
    lives(node, &mut set);
}

/// `holdfast.key.*`: which key is in use, and how far a change of it has come.
pub(super) fn keys(view: &KeyView, mut set: impl FnMut(&str, Value)) {
    let next = view.next.map(|key| key.to_string()).unwrap_or_default();
    let waits_for: Vec<String> = view.waits_for.iter().map(NodeId::to_string).collect();
    set("holdfast.key.fingerprint", Value::str(&view.key.to_string()));
    set("holdfast.key.next", Value::str(&next));
    set("holdfast.key.state", Value::str(view.state()));
    set("holdfast.key.accepted", Value::u32(u32::try_from(view.accepted).unwrap_or(u32::MAX)));
    set("holdfast.key.waits_for", Value::str(&waits_for.join(" ")));
    set("holdfast.key.error", Value::str(&view.error));
    // Last: whoever waits for it finds the rest as it was after that load.
    set("holdfast.key.loads", Value::u64(view.loads));
}

/// `holdfast.nodelist.*`: the node list that counts, and what a change of it waits for.
pub(super) fn table(view: &TableView, mut set: impl FnMut(&str, Value)) {
    let list = |table: &NodeTable| table.ids().map(|id| id.to_string()).collect::<Vec<_>>().join(" ");
    let next = view.tables.next.as_ref().map(|(_, table)| list(table)).unwrap_or_default();
    set("holdfast.nodelist.in_force", Value::str(&list(&view.tables.table)));
    set("holdfast.nodelist.next", Value::str(&next));
    set("holdfast.nodelist.waits", Value::str(&view.waits));
    let ids = |ids: &[NodeId]| ids.iter().map(NodeId::to_string).collect::<Vec<_>>().join(" ");
    set("holdfast.quorum.away", Value::str(&ids(&view.tables.table.scale.away)));
    let scale = &view.tables.table.scale;
    let mut maintained = ids(&scale.maintained);
    if scale.device_out {
        // Behind the nodes, as the key that takes it out of the count is called.
        maintained.push_str(if maintained.is_empty() { "device" } else { " device" });
    }
    set("holdfast.quorum.maintained", Value::str(&maintained));
}

/// What changes without an output of its own: ring state, lease, known lives.
pub(super) fn state(node: &Node, mut set: impl FnMut(&str, Value)) {
    set("holdfast.ring.state", Value::str(node.ring_state()));
    let held_out: Vec<String> = node.held_out().iter().map(|out| out.node.to_string()).collect();
    set("holdfast.ring.held_out", Value::str(&held_out.join(" ")));
    set("holdfast.lease.valid", Value::u8(node.lease_valid().into()));
}

/// `holdfast.incarnation.<id>` and `holdfast.confirmed.<id>`.
pub(super) fn lives(node: &Node, mut set: impl FnMut(&str, Value)) {
    for (id, life) in node.incarnations() {
        set(&format!("holdfast.incarnation.{id}"), Value::u64(life.get()));
    }
    for (id, life) in node.confirmed() {
        set(&format!("holdfast.confirmed.{id}"), Value::u64(life.get()));
    }
}

/// `EPOCH/STEP/NAME`. A step that has begun stays until the next begins or it is void, which its participants must hear.
pub(super) fn step(notice: &StepNotice) -> Option<Value> {
    let name = match notice.phase {
        StepPhase::Aborted => "aborted",
        StepPhase::Done if notice.name != "end" => return None,
        StepPhase::Begin | StepPhase::Done => notice.name,
    };
    Some(Value::str(&format!("{}/{}/{name}", notice.epoch, notice.step)))
}
