//! Asking this node's ring daemon for everything it knows of its ring. Keys that it does not have stay unknown.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use cmm_ipc::abi::cmap::{Map, Value};
use cmm_ipc::abi::votequorum::flags;
use cmm_ipc::client::{CmapClient, Error, VotequorumClient};
use holdfast_sys::clock::boottime_nanos;
use status::{
    Change, Lengths, LinkReport, LoopReport, Missed, NodeRef, PeerReport, RingReport, TokenReport, Traffic,
    Trouble,
};

use crate::gather::{Sources, cmmd_note, configured_nodes, last_death, ring_of, timings};

/// What the node knows of its ring.
pub(crate) fn gather(sources: &Sources) -> RingReport {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut report = RingReport {
        updated_unix_ms: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
        ..RingReport::default()
    };
    match ask(sources, &mut report) {
        Ok(()) => report.answered = true,
        Err(e) => {
            report.notes.push(cmmd_note(&e, "holdfast ring"));
            report.notes.extend(last_death(sources, report.updated_unix_ms));
        }
    }
    report
}

fn ask(sources: &Sources, report: &mut RingReport) -> Result<(), Error> {
    let Sources { place, limit, .. } = sources;
    let mut cmap = CmapClient::connect(place, *limit)?;
    cmap.connection().set_limit(*limit);
    let text = |cmap: &mut CmapClient, key: &str| cmap.get_str(key).map(Option::unwrap_or_default);
    report.cluster_name = text(&mut cmap, "totem.cluster_name")?;
    report.ring.state = text(&mut cmap, "holdfast.ring.state")?;
    report.ring.step = text(&mut cmap, "holdfast.step.current")?;
    if report.ring.step.ends_with("/end") {
        report.ring.step.clear();
    }
    report.timings = timings(&mut cmap)?;
    let mut votes = VotequorumClient::connect(place, *limit)?;
    votes.connection().set_limit(*limit);
    report.quorate = votes.info(None)?.flags & flags::QUORATE != 0;
    if !report.quorate {
        report.quorum_reason = text(&mut cmap, "holdfast.quorum.reason")?;
    }
    if let Some((ring, members)) = ring_of(place, *limit)? {
        report.ring.id = ring;
        report.ring.members = members;
    }
    let own = cmap.get_u64("runtime.votequorum.this_node_id")?.unwrap_or(0);
    let nodes = configured_nodes(&mut cmap)?;
    if let Some(me) = nodes.iter().find(|n| u64::from(n.id) == own) {
        report.node = me.clone();
    }
    let addresses = addresses(&mut cmap)?;
    let mut stats = CmapClient::connect_map(place, Map::Stats, *limit)?;
    stats.connection().set_limit(*limit);
    let mut keys = Keys::default();
    for prefix in ["stats.srp.", "stats.holdfast.", "stats.knet.node", "stats.schedmiss."] {
        keys.0.extend(stats.entries(prefix)?);
    }
    fill(report, &keys, boottime_nanos() / 1_000_000);
    report.peers = nodes
        .into_iter()
        .map(|node| {
            let addresses = addresses.get(&node.id).map(Vec::as_slice).unwrap_or_default();
            peer(node, addresses, &report.ring.members, &keys)
        })
        .collect();
    Ok(())
}

/// Link numbers and addresses by node.
fn addresses(cmap: &mut CmapClient) -> Result<BTreeMap<u32, Vec<(u8, String)>>, Error> {
    let entries = cmap.entries("nodelist.node.")?;
    let mut all = BTreeMap::new();
    for (key, value) in &entries {
        let Some(position) = key.strip_suffix(".nodeid") else { continue };
        let Some(id) = value.as_u64().and_then(|id| u32::try_from(id).ok()) else { continue };
        let of_node = entries.iter().filter_map(|(key, value)| {
            let link = key.strip_prefix(position)?.strip_prefix(".ring")?.strip_suffix("_addr")?;
            Some((link.parse().ok()?, value.as_str()?.to_owned()))
        });
        all.insert(id, of_node.collect());
    }
    Ok(all)
}

/// The statistics by their keys.
#[derive(Default)]
struct Keys(BTreeMap<String, Value>);

impl Keys {
    fn number(&self, key: &str) -> Option<u64> {
        self.0.get(key)?.as_u64()
    }

    fn text(&self, key: &str) -> String {
        self.0.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
    }

    fn ids(&self, key: &str) -> Vec<u32> {
        self.text(key).split_whitespace().filter_map(|id| id.parse().ok()).collect()
    }

    fn lengths(&self, key: &str) -> Lengths {
        let n = |what: &str| self.number(&format!("{key}_{what}_us")).unwrap_or(0);
        Lengths::parse(&self.text(key), n("p50"), n("p99"), n("max"))
    }
}

/// Everything but the peers. `now_ms` is the daemon's clock, which counts from boot.
fn fill(report: &mut RingReport, keys: &Keys, now_ms: u64) {
    let now_unix_ms = report.updated_unix_ms;
    let unix = |at_ms: u64| now_unix_ms.saturating_sub(now_ms.saturating_sub(at_ms));
    let count = |key: &str| keys.number(key).unwrap_or(0);
    report.token = TokenReport {
        busy: keys.lengths("stats.holdfast.token.busy"),
        quiet: keys.lengths("stats.holdfast.token.quiet"),
        since_last_ms: count("stats.srp.time_since_token_last_received"),
    };
    let missed = (0..).map_while(|n| {
        let at = keys.number(&format!("stats.schedmiss.{n}.timestamp"))?;
        let late = keys.0.get(&format!("stats.schedmiss.{n}.delay")).and_then(Value::as_f32).unwrap_or(0.0);
        Some(Missed { at_unix_ms: unix(at), late_us: (late * 1_000.0) as u64 })
    });
    report.event_loop = LoopReport {
        wakeup: keys.lengths("stats.holdfast.loop.wakeup"),
        turn: keys.lengths("stats.holdfast.loop.turn"),
        missed: missed.collect(),
    };
    report.traffic = Traffic {
        delivered: count("stats.holdfast.delivered"),
        frames_sent: count("stats.srp.mcast_tx"),
        frames_received: count("stats.srp.mcast_rx"),
        retransmits: count("stats.srp.mcast_retx"),
        queue_level: u8::try_from(count("stats.holdfast.queue_level")).unwrap_or(100),
    };
    let rejected = keys.0.iter().filter_map(|(key, value)| {
        Some((key.strip_prefix("stats.holdfast.rejected.")?.to_owned(), value.as_u64()?))
    });
    report.trouble = Trouble {
        tokens_lost: count("stats.srp.operational_token_lost"),
        consensus_timeouts: count("stats.srp.consensus_timeouts"),
        continuous_gather: count("stats.srp.continuous_gather"),
        rejected: rejected.collect(),
    };
    let changes = (0..).map_while(|n| {
        let key = |what: &str| format!("stats.holdfast.change.{n}.{what}");
        Some(Change {
            cause: u8::try_from(keys.number(&key("cause"))?).ok()?,
            text: keys.text(&key("text")),
            at_unix_ms: unix(keys.number(&key("began_ms")).unwrap_or(0)),
            took_us: keys.number(&key("took_us")).unwrap_or(0),
            old: keys.text(&key("old")),
            new: keys.text(&key("new")),
            members: keys.ids(&key("members")),
            joined: keys.ids(&key("joined")),
            left: keys.ids(&key("left")),
        })
    });
    report.changes = changes.collect();
}

fn peer(node: NodeRef, addresses: &[(u8, String)], members: &[u32], keys: &Keys) -> PeerReport {
    let id = node.id;
    let detector = |what: &str| keys.number(&format!("stats.holdfast.detector.node{id}.{what}"));
    let links = addresses.iter().map(|(link, address)| {
        let key = |what: &str| keys.number(&format!("stats.knet.node{id}.link{link}.{what}"));
        let samples = key("latency_samples").is_some_and(|n| n > 0);
        LinkReport {
            link: *link,
            address: address.clone(),
            enabled: key("enabled") != Some(0),
            connected: key("connected") == Some(1),
            one_way: key("one_way").map(|n| n == 1),
            latency_us: key("latency_ave").filter(|_| samples),
            latency_max_us: key("latency_max").filter(|_| samples),
            loss_percent: key("loss_percent").and_then(|n| u8::try_from(n).ok()),
            mtu: key("mtu").and_then(|n| u32::try_from(n).ok()),
            down_count: key("down_count"),
        }
    });
    PeerReport {
        id,
        member: members.contains(&id),
        suspected: detector("suspected").map(|n| n == 1),
        limit_us: detector("limit_us"),
        silent_us: detector("silent_us"),
        late_us: detector("late_us"),
        deviation_us: detector("deviation_us"),
        links: links.collect(),
        name: node.name,
    }
}
