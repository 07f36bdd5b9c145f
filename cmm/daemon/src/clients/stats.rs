//! The statistics map: `stats.*` under corosync's names where corosync has the number, our own under `stats.holdfast.`.
//!
//! It is made when a client reads it, and once a second while somebody tracks it; else it costs nothing. Clients that come and
//! go are told to who tracks it at once, however short they stay.

use std::collections::BTreeSet;

use cmm_ipc::abi::cmap::Value;
use cmm_ipc::server::Connection;
use cmm_proto::links::{Count, Traffic};
use cmm_proto::wire::{SEAL_LEN, SealTimes};
use cmm_proto::{Node, RejectReason, limits};
use holdfast_types::{Boottime, ConnId, Histogram, LinkId, NodeId, Span};

use super::ClientNode;
use super::cmap::Cmap;
use super::peers::{Peer, Peers};
use crate::lateness::Lateness;

/// Where the numbers come from.
pub(super) struct Sources<'a> {
    pub(super) node: &'a Node,
    pub(super) nodes: &'a [ClientNode],
    pub(super) lateness: &'a Lateness,
    /// Packets that the system did not take, in a row.
    pub(super) send_failures: u32,
}

/// Brings the map up to date. What is not there any more goes.
pub(super) fn refresh(cmap: &mut Cmap, peers: &mut Peers, sources: &Sources<'_>, now: Boottime) {
    let mut values = Values::default();
    srp(&mut values, sources);
    pg(&mut values, sources.node);
    holdfast(&mut values, sources);
    seals(&mut values, sources.node);
    links(&mut values, sources);
    schedmiss(&mut values, sources.lateness);
    clients(&mut values, peers);
    let keys: BTreeSet<&str> = values.0.iter().map(|(key, _)| key.as_str()).collect();
    cmap.stats.retain_under("stats.", |key| keys.contains(key), peers, now);
    for (key, value) in values.0 {
        cmap.stats.set_own(&key, value, peers, now);
    }
}

/// The client `conn` has come.
pub(super) fn client_came(cmap: &mut Cmap, peers: &mut Peers, conn: ConnId, now: Boottime) {
    let mut values = Values::default();
    if let Some(peer) = peers.get(conn).filter(|_| cmap.stats.is_tracked()) {
        client(&mut values, conn, peer);
    }
    for (key, value) in values.0 {
        cmap.stats.set_own(&key, value, peers, now);
    }
}

/// The client `conn` has gone; `connection` was its.
pub(super) fn client_went(
    cmap: &mut Cmap,
    peers: &mut Peers,
    conn: ConnId,
    connection: &Connection,
    now: Boottime,
) {
    if cmap.stats.is_tracked() {
        cmap.stats.retain_under(&client_key(conn, connection), |_| false, peers, now);
    }
}

#[derive(Default)]
struct Values(Vec<(String, Value)>);

impl Values {
    fn put(&mut self, key: impl Into<String>, value: Value) {
        self.0.push((key.into(), value));
    }

    fn number(&mut self, key: impl Into<String>, n: u64) {
        self.put(key, Value::u64(n));
    }

    fn micros(&mut self, key: impl Into<String>, span: Span) {
        self.number(key, span.as_micros());
    }

    /// The whole as text, and what dashboards ask for.
    fn histogram(&mut self, key: &str, h: &Histogram) {
        self.put(key, Value::str(&h.to_string()));
        self.number(format!("{key}_count"), h.count());
        self.micros(format!("{key}_p50_us"), h.percentile(50));
        self.micros(format!("{key}_p99_us"), h.percentile(99));
        self.micros(format!("{key}_max_us"), h.max());
    }
}

/// The ring, in corosync's words, types and units.
fn srp(values: &mut Values, sources: &Sources<'_>) {
    let node = sources.node;
    let s = node.stats();
    for (name, n) in [
        ("orf_token_rx", s.token_rx),
        ("orf_token_tx", s.token_tx),
        ("mcast_tx", s.mcast_tx),
        ("mcast_retx", s.mcast_retx),
        ("mcast_rx", s.mcast_rx),
        ("memb_join_rx", s.join_rx),
        ("memb_join_tx", s.join_tx),
        ("memb_commit_token_rx", s.commit_rx),
        ("memb_commit_token_tx", s.commit_tx),
        ("memb_merge_detect_rx", s.merge_detect_rx),
        ("memb_merge_detect_tx", s.merge_detect_tx),
        ("token_hold_cancel_rx", s.hold_cancel_rx),
        ("token_hold_cancel_tx", s.hold_cancel_tx),
        ("gather_entered", s.gather_entered),
        ("gather_token_lost", s.gather_token_lost),
        ("commit_entered", s.commit_entered),
        ("commit_token_lost", s.commit_token_lost),
        ("recovery_entered", s.recovery_entered),
        ("recovery_token_lost", s.recovery_token_lost),
        ("operational_entered", s.operational_entered),
        ("operational_token_lost", s.operational_token_lost),
        ("consensus_timeouts", s.consensus_timeouts),
        ("rx_msg_dropped", s.packets_rejected),
    ] {
        values.number(format!("stats.srp.{name}"), n);
    }
    let times = node.token_times();
    let millis = |span: Span| Value::u32(u32::try_from(span.as_millis()).unwrap_or(u32::MAX));
    values.put("stats.srp.mtt_rx_token", millis(times.mean_between));
    values.put("stats.srp.avg_token_workload", millis(times.mean_stay));
    values.put("stats.srp.avg_backlog_calc", Value::u32(times.mean_backlog));
    let since = times.since_last.unwrap_or(Span::ZERO).as_millis();
    values.number("stats.srp.time_since_token_last_received", since);
    values.put("stats.srp.continuous_gather", Value::u32(s.continuous_gather));
    values.put("stats.srp.continuous_sendmsg_failures", Value::u32(sources.send_failures));
    let blocked = s.continuous_gather > limits::CONTINUOUS_GATHER_MAX;
    values.put("stats.srp.firewall_enabled_or_nic_failure", Value::u8(blocked.into()));
}

/// The queue of messages that wait for the token.
fn pg(values: &mut Values, node: &Node) {
    let (waiting, room) = node.queue_room();
    let count = |n: usize| Value::u32(u32::try_from(n).unwrap_or(u32::MAX));
    values.put("stats.pg.msg_reserved", count(waiting));
    values.put("stats.pg.msg_queue_avail", count(room));
}

/// What corosync does not have.
fn holdfast(values: &mut Values, sources: &Sources<'_>) {
    let Sources { node, lateness, .. } = sources;
    let (stats, times) = (node.stats(), node.token_times());
    values.number("stats.holdfast.delivered", stats.delivered);
    values.put("stats.holdfast.queue_level", Value::u8(node.queue_level()));
    for (why, n) in RejectReason::ALL.into_iter().zip(stats.rejected) {
        values.number(format!("stats.holdfast.rejected.{}", why.name()), n);
    }
    values.histogram("stats.holdfast.token.busy", &times.busy);
    values.histogram("stats.holdfast.token.quiet", &times.quiet);
    values.histogram("stats.holdfast.loop.wakeup", lateness.wakeups());
    values.histogram("stats.holdfast.loop.turn", lateness.turns());
    for watched in node.watched() {
        let base = format!("stats.holdfast.detector.node{}", watched.node);
        values.put(format!("{base}.suspected"), Value::u8(watched.suspected.into()));
        values.micros(format!("{base}.limit_us"), watched.limit);
        values.micros(format!("{base}.silent_us"), watched.silent);
        values.micros(format!("{base}.late_us"), watched.late);
        values.micros(format!("{base}.deviation_us"), watched.deviation);
    }
    let changes: Vec<_> = node.ring_changes().collect();
    for (n, change) in changes.iter().rev().enumerate() {
        let base = format!("stats.holdfast.change.{n}");
        values.put(format!("{base}.cause"), Value::u8(change.cause));
        values.put(format!("{base}.text"), Value::str(change.text));
        values.number(format!("{base}.began_ms"), change.began.as_nanos() / 1_000_000);
        values.micros(format!("{base}.took_us"), change.took);
        values.put(format!("{base}.gathers"), Value::u32(change.gathers));
        values.put(format!("{base}.old"), Value::str(&change.old.to_string()));
        values.put(format!("{base}.new"), Value::str(&change.new.to_string()));
        values.put(format!("{base}.members"), Value::str(&list(&change.members)));
        values.put(format!("{base}.joined"), Value::str(&list(&change.joined)));
        values.put(format!("{base}.left"), Value::str(&list(&change.left)));
    }
}

/// `stats.knet.handle.*`: all packets are sealed, one in some is timed (nanoseconds, as in corosync), none is compressed.
fn seals(values: &mut Values, node: &Node) {
    let (sealed, opened) = node.seal_times();
    let times = |values: &mut Values, what: &str, t: &SealTimes| {
        let base = format!("stats.knet.handle.{what}_time");
        values.number(format!("{base}_ave"), t.total.as_nanos().checked_div(t.timed).unwrap_or(0));
        values.number(format!("{base}_max"), t.max.as_nanos());
        values.number(format!("{base}_min"), if t.timed == 0 { u64::MAX } else { t.min.as_nanos() });
    };
    for (dir, seals) in [("tx", &sealed), ("rx", &opened)] {
        times(values, &format!("{dir}_crypt"), seals);
        times(values, &format!("{dir}_compress"), &SealTimes::default());
        values.number(format!("stats.knet.handle.{dir}_crypt_packets"), seals.packets);
        for what in ["packets", "original_bytes", "size_bytes"] {
            values.number(format!("stats.knet.handle.{dir}_compressed_{what}"), 0);
        }
    }
    values.number("stats.knet.handle.tx_crypt_byte_overhead", sealed.packets * SEAL_LEN as u64);
    values.number("stats.knet.handle.tx_uncompressed_packets", 0);
}

fn links(values: &mut Values, sources: &Sources<'_>) {
    for n in sources.nodes {
        for (link, _) in &n.addresses {
            self::link(values, sources.node, n.id, *link);
        }
    }
}

/// `stats.knet.nodeN.linkL.*`, named and typed as in corosync. Beats stand for its pings, those that answer one for its pongs;
/// latencies are round trips in microseconds; the MTU is that of data, as there.
fn link(values: &mut Values, node: &Node, id: NodeId, link: LinkId) {
    let base = format!("stats.knet.node{id}.link{link}");
    let s = node.links().stats(id, link);
    let of = |counts: &[Count], traffic: Traffic| counts[traffic as usize];
    let (tx, rx) = (Count::total(&s.tx), Count::total(&s.rx));
    let (data_tx, data_rx) = (of(&s.tx, Traffic::Data), of(&s.rx, Traffic::Data));
    let (beat_tx, beat_rx) = (of(&s.tx, Traffic::Beat), of(&s.rx, Traffic::Beat));
    let (probe_tx, probe_rx) = (of(&s.tx, Traffic::Probe), of(&s.rx, Traffic::Probe));
    let micros = |span: Span| Value::u32(u32::try_from(span.as_micros()).unwrap_or(u32::MAX));
    let latency_min = if s.latency_samples == 0 { Value::u32(u32::MAX) } else { micros(s.latency_min) };
    for (key, value) in [
        ("enabled", Value::u8(1)),
        ("connected", Value::u8((id == node.me() || s.connected).into())),
        ("mtu", Value::u32(s.mtu as u32)),
        ("up_count", Value::u32(s.up_count)),
        ("down_count", Value::u32(s.down_count)),
        ("latency_min", latency_min),
        ("latency_max", micros(s.latency_max)),
        ("latency_ave", micros(s.latency_ave)),
        ("latency_samples", Value::u32(s.latency_samples)),
        ("rx_data_packets", Value::u64(data_rx.packets)),
        ("tx_data_packets", Value::u64(data_tx.packets)),
        ("rx_data_bytes", Value::u64(data_rx.bytes)),
        ("tx_data_bytes", Value::u64(data_tx.bytes)),
        ("rx_ping_packets", Value::u64(beat_rx.packets)),
        ("tx_ping_packets", Value::u64(beat_tx.packets)),
        ("rx_ping_bytes", Value::u64(beat_rx.bytes)),
        ("tx_ping_bytes", Value::u64(beat_tx.bytes)),
        ("rx_pong_packets", Value::u64(s.answers_rx.packets)),
        ("tx_pong_packets", Value::u64(s.answers_tx.packets)),
        ("rx_pong_bytes", Value::u64(s.answers_rx.bytes)),
        ("tx_pong_bytes", Value::u64(s.answers_tx.bytes)),
        ("rx_pmtu_packets", Value::u64(probe_rx.packets)),
        ("tx_pmtu_packets", Value::u64(probe_tx.packets)),
        ("rx_pmtu_bytes", Value::u64(probe_rx.bytes)),
        ("tx_pmtu_bytes", Value::u64(probe_tx.bytes)),
        ("rx_total_packets", Value::u64(rx.packets)),
        ("tx_total_packets", Value::u64(tx.packets)),
        ("rx_total_bytes", Value::u64(rx.bytes)),
        ("tx_total_bytes", Value::u64(tx.bytes)),
        ("tx_total_errors", Value::u64(s.unsent.lost.iter().sum())),
        // Of what is sent, though corosync names it so.
        ("rx_total_retries", Value::u64(s.unsent.retried.iter().sum())),
        // A beat that did not go out is counted as a ping, whether it answers one or not.
        ("tx_pong_errors", Value::u32(0)),
        ("tx_pong_retries", Value::u32(0)),
    ] {
        values.put(format!("{base}.{key}"), value);
    }
    for (name, traffic) in [("data", Traffic::Data), ("ping", Traffic::Beat), ("pmtu", Traffic::Probe)] {
        let count = |n: u64| Value::u32(u32::try_from(n).unwrap_or(u32::MAX));
        values.put(format!("{base}.tx_{name}_errors"), count(s.unsent.lost[traffic as usize]));
        values.put(format!("{base}.tx_{name}_retries"), count(s.unsent.retried[traffic as usize]));
    }
    // Ours: of 32 beats, in percent.
    let percent = |lost: u8| Value::u8(u8::try_from(u32::from(lost) * 100 / 32).unwrap_or(100));
    values.put(format!("{base}.one_way"), Value::u8(s.one_way.into()));
    values.put(format!("{base}.loss_percent"), percent(s.lost_in.max(s.lost_out)));
    values.put(format!("{base}.loss_in_percent"), percent(s.lost_in));
    values.put(format!("{base}.loss_out_percent"), percent(s.lost_out));
    values.put(format!("{base}.latency_dev"), micros(s.latency_dev));
}

/// When the loop did not run in time: newest first, times in milliseconds as in corosync.
fn schedmiss(values: &mut Values, lateness: &Lateness) {
    for (n, missed) in lateness.last_missed().enumerate() {
        let base = format!("stats.schedmiss.{n}");
        values.number(format!("{base}.timestamp"), missed.at.as_nanos() / 1_000_000);
        values.put(format!("{base}.delay"), Value::float(missed.late.as_micros() as f32 / 1_000.0));
    }
}

fn clients(values: &mut Values, peers: &Peers) {
    values.number("stats.ipcs.global.active", peers.len() as u64);
    values.number("stats.ipcs.global.closed", peers.closed());
    for (conn, peer) in peers.iter() {
        client(values, conn, peer);
    }
}

fn client(values: &mut Values, conn: ConnId, peer: &Peer) {
    let Peer { connection, name, invalid, refused, .. } = peer;
    let (counters, (queued, flow_control)) = (connection.counters(), connection.waiting());
    let base = client_key(conn, connection);
    for (key, n) in [
        ("requests", counters.requests),
        ("responses", counters.responses),
        ("dispatched", counters.events),
        ("send_retries", counters.event_waits),
        ("flow_control_count", counters.flow_controls),
        ("invalid_request", *invalid),
        ("overload", *refused),
        // What is announced is there, or the connection ends.
        ("recv_retries", 0),
    ] {
        values.number(format!("{base}{key}"), n);
    }
    values.put(format!("{base}procname"), Value::str(name));
    let count = |n: u64| Value::u32(u32::try_from(n).unwrap_or(u32::MAX));
    values.put(format!("{base}queued"), count(queued as u64));
    values.put(format!("{base}queueing"), Value::i32((queued > 0).into()));
    values.put(format!("{base}sent"), count(counters.events));
    values.put(format!("{base}flow_control"), Value::u32(flow_control));
}

fn client_key(conn: ConnId, connection: &Connection) -> String {
    format!("stats.ipcs.service{}.{}.{conn}.", connection.service().number(), connection.credentials().pid)
}

/// `1 2 3`.
pub(super) fn list(nodes: &[NodeId]) -> String {
    nodes.iter().map(NodeId::to_string).collect::<Vec<_>>().join(" ")
}
