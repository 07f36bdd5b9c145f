//! Keys that the daemon itself keeps up to date: members, votes, statistics, and its own under `holdfast.`.

use std::collections::{BTreeMap, BTreeSet};

use cmm_ipc::abi::cmap::Value;
use cmm_proto::{Configuration, Node, QuorumView, StepNotice, StepPhase};
use holdfast_types::{Boottime, NodeId};

use super::ClientNode;
use super::cmap::Cmap;
use super::peers::Peers;

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
            let ip: String =
                addresses.iter().enumerate().map(|(k, ip)| format!("r({k}) ip({ip}) ")).collect();
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
    set("runtime.votequorum.ev_barrier", Value::u32(view.expected.get()));
    set("runtime.votequorum.wait_for_all_status", Value::u8(view.wait_for_all_status.into()));
    if let (Some(lowest), Some(highest)) = (view.members.first(), view.members.last()) {
        set("runtime.votequorum.lowest_node_id", Value::u32(lowest.get()));
        set("runtime.votequorum.highest_node_id", Value::u32(highest.get()));
    }
    set("holdfast.quorum.reason", Value::str(&view.reason));
    set("holdfast.lease.waits", Value::u8(view.waits_for_lease.into()));
    lives(node, &mut set);
}

/// What changes without an output of its own: ring state, lease, known lives.
pub(super) fn state(node: &Node, mut set: impl FnMut(&str, Value)) {
    set("holdfast.ring.state", Value::str(node.ring_state()));
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

/// Brings the statistics map up to date, named as in corosync where that has the number.
pub(super) fn stats(cmap: &mut Cmap, nodes: &[ClientNode], peers: &mut Peers, node: &Node, now: Boottime) {
    let s = node.stats();
    let mut values: Vec<(String, Value)> = [
        ("stats.srp.orf_token_rx", s.token_rx),
        ("stats.srp.mcast_tx", s.mcast_tx),
        ("stats.srp.mcast_retx", s.mcast_retx),
        ("stats.srp.mcast_rx", s.mcast_rx),
        ("stats.srp.gather_entered", s.gather_entered),
        ("stats.srp.consensus_timeouts", s.consensus_timeouts),
        ("stats.srp.operational_token_lost", s.operational_token_lost),
        ("stats.srp.operational_entered", s.operational_entered),
        ("stats.srp.rx_msg_dropped", s.packets_rejected),
        ("stats.holdfast.delivered", s.delivered),
        ("stats.ipcs.global.active", peers.len() as u64),
        ("stats.ipcs.global.closed", peers.closed()),
    ]
    .into_iter()
    .map(|(key, n)| (key.to_owned(), Value::u64(n)))
    .collect();
    for n in nodes {
        for link in 0..n.addresses.len() {
            let up = link == 0 && node.members().contains(&n.id);
            let base = format!("stats.knet.node{}.link{link}", n.id);
            values.push((format!("{base}.enabled"), Value::u8(1)));
            values.push((format!("{base}.connected"), Value::u8(up.into())));
        }
    }
    let mut services = BTreeSet::new();
    for (conn, connection) in peers.iter() {
        let (counters, (queued, flow_control)) = (connection.counters(), connection.waiting());
        let (service, pid) = (connection.service().number(), connection.credentials().pid);
        let base = format!("stats.ipcs.service{service}.{pid}.{conn}");
        for (name, n) in [
            ("requests", counters.requests),
            ("responses", counters.responses),
            ("dispatched", counters.events),
            ("send_retries", counters.event_waits),
            ("flow_control_count", counters.flow_controls),
            ("queued", queued as u64),
            ("flow_control", flow_control.into()),
        ] {
            values.push((format!("{base}.{name}"), Value::u64(n)));
        }
        services.insert(base);
    }
    for (key, value) in values {
        cmap.stats.set_own(&key, value, peers, now);
    }
    let lives = |key: &str| {
        key.starts_with("stats.ipcs.global.")
            || key.rsplit_once('.').is_some_and(|(base, _)| services.contains(base))
    };
    cmap.stats.retain_under("stats.ipcs.", lives, peers, now);
}
