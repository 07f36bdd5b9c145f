//! Metrics in Prometheus's text form (version 0.0.4), made anew each time somebody asks.
//!
//! Names are those of `ha_cluster_exporter` where it has one (`ha_cluster_pacemaker_*`, `ha_cluster_corosync_*`), so that
//! dashboards go on working; the rest begins with `holdfast_`. Units are Prometheus's: seconds, and `_total` for what only
//! grows. Counters belong to a life of the daemon that keeps them.

use std::fmt::{Display, Write};

use crate::model::{ClusterStatus, FenceState, INFINITY, Role};
use crate::ring::{Lengths, RingReport};

/// What a family of metrics is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It only grows.
    Counter,
    /// It goes up and down.
    Gauge,
}

/// Families, one after the other.
#[derive(Debug, Default)]
pub struct Metrics {
    text: String,
    name: &'static str,
}

impl Metrics {
    /// Begins a family; its samples follow.
    pub fn family(&mut self, name: &'static str, kind: Kind, help: &str) {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        self.name = name;
    }

    /// A sample of the family that was begun last.
    pub fn sample(&mut self, labels: &[(&str, &str)], value: impl Display) {
        self.text.push_str(self.name);
        for (at, (name, text)) in labels.iter().enumerate() {
            self.text.push(if at == 0 { '{' } else { ',' });
            let escaped = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _ = write!(self.text, "{name}=\"{escaped}\"");
        }
        let end = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.text, "{end} {value}");
    }

    /// A family of one sample.
    pub fn one(&mut self, name: &'static str, kind: Kind, help: &str, value: impl Display) {
        self.family(name, kind, help);
        self.sample(&[], value);
    }

    /// All of it.
    #[must_use]
    pub fn text(self) -> String {
        self.text
    }
}

/// What stands in the configuration and in no [`ClusterStatus`].
#[derive(Clone, Debug, Default)]
pub struct Configured {
    /// Clones of resources, by the resource's id.
    pub clones: Vec<(String, String)>,
    /// Location constraints: id, resource, node, role, score as written.
    pub locations: Vec<[String; 5]>,
    /// When the configuration was changed last, in seconds since 1970.
    pub changed_at: Option<i64>,
}

/// Transitions of this life of the manager.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Transitions {
    /// Begun here.
    pub begun: u64,
    /// Carried out to their end.
    pub completed: u64,
    /// One is under way.
    pub running: bool,
    /// How long the completed ones took together.
    pub took_ms: u64,
    /// How long the last one took.
    pub last_ms: u64,
}

/// What the resource-group manager knows.
#[must_use]
pub fn manager_metrics(status: &ClusterStatus, configured: &Configured, transitions: &Transitions) -> String {
    let mut m = Metrics::default();
    nodes(&mut m, status);
    resources(&mut m, status, configured);
    m.one(
        "ha_cluster_pacemaker_stonith_enabled",
        Kind::Gauge,
        "Whether or not stonith is enabled",
        u8::from(status.cib.stonith_enabled),
    );
    if let Some(at) = configured.changed_at {
        m.one(
            "ha_cluster_pacemaker_config_last_change",
            Kind::Gauge,
            "The timestamp of the last change of the configuration, in seconds",
            at,
        );
    }
    fencing(&mut m, status);
    m.family(
        "holdfast_transitions_total",
        Kind::Counter,
        "Transitions that this node began as the controller, by how they ended",
    );
    let aborted = transitions
        .begun
        .saturating_sub(transitions.completed)
        .saturating_sub(u64::from(transitions.running));
    m.sample(&[("end", "complete")], transitions.completed);
    m.sample(&[("end", "aborted")], aborted);
    m.one(
        "holdfast_transition_running",
        Kind::Gauge,
        "Whether a transition is under way",
        u8::from(transitions.running),
    );
    m.one(
        "holdfast_transition_seconds_total",
        Kind::Counter,
        "How long the complete transitions took together",
        seconds(transitions.took_ms, 1_000),
    );
    m.one(
        "holdfast_transition_last_seconds",
        Kind::Gauge,
        "How long the last complete transition took",
        seconds(transitions.last_ms, 1_000),
    );
    m.one(
        "holdfast_actions_pending",
        Kind::Gauge,
        "Actions of the running transition that have not ended",
        status.pending.len(),
    );
    m.text()
}

fn nodes(m: &mut Metrics, status: &ClusterStatus) {
    m.family(
        "ha_cluster_pacemaker_nodes",
        Kind::Gauge,
        "The status of each node in the cluster; 1 means the node is in that status, 0 otherwise",
    );
    for node in &status.nodes {
        for (name, set) in [
            ("online", node.online),
            ("standby", node.standby),
            ("standby_onfail", false),
            ("maintenance", node.maintenance),
            ("pending", node.pending),
            ("unclean", node.unclean),
            ("shutdown", false),
            ("expected_up", node.online),
            ("dc", node.dc),
        ] {
            let labels = [("node", node.name.as_str()), ("status", name), ("type", "member")];
            m.sample(&labels, u8::from(set));
        }
    }
    m.family(
        "ha_cluster_pacemaker_node_attributes",
        Kind::Gauge,
        "Metadata attributes of each node; value is always 1",
    );
    for node in &status.nodes {
        for (name, value) in &node.attributes {
            m.sample(&[("name", name), ("node", &node.name), ("value", value)], 1);
        }
    }
}

fn resources(m: &mut Metrics, status: &ClusterStatus, configured: &Configured) {
    m.family(
        "ha_cluster_pacemaker_resources",
        Kind::Gauge,
        "The status of each resource in the cluster; 1 means the resource is in that status, 0 otherwise",
    );
    for resource in &status.resources {
        // As the exporter shows it: an instance under the id of what is cloned.
        let id = resource.id.split_once(':').map_or(resource.id.as_str(), |(id, _)| id);
        let clone = configured.clones.iter().find(|(of, _)| of == id).map_or("", |(_, clone)| clone);
        let role = match resource.role {
            Role::Promoted => "master",
            Role::Unpromoted => "slave",
            Role::Started => "started",
            Role::Starting => "starting",
            Role::Stopping => "stopping",
            Role::Stopped | Role::Unknown => "stopped",
        };
        let nodes: &[String] = if resource.nodes.is_empty() { &[String::new()] } else { &resource.nodes };
        for node in nodes {
            for (name, set) in [
                ("active", !resource.nodes.is_empty()),
                ("orphaned", resource.orphaned),
                ("blocked", resource.blocked),
                ("failed", resource.failed),
                ("failure_ignored", false),
            ] {
                let labels = [
                    ("agent", resource.agent.as_str()),
                    ("clone", clone),
                    ("group", resource.group.as_deref().unwrap_or_default()),
                    ("managed", if resource.managed { "true" } else { "false" }),
                    ("node", node),
                    ("resource", id),
                    ("role", role),
                    ("status", name),
                ];
                m.sample(&labels, u8::from(set));
            }
        }
    }
    let counts = || status.resources.iter().flat_map(|r| r.fail_counts.iter().map(move |c| (r, c)));
    let infinite = |n: u32| if n >= INFINITY { "+Inf".to_owned() } else { n.to_string() };
    // Instances on one node are one resource to it.
    let mut seen = std::collections::BTreeSet::new();
    m.family(
        "ha_cluster_pacemaker_fail_count",
        Kind::Gauge,
        "The Fail count number per node and resource id",
    );
    for (resource, count) in counts() {
        let id = resource.id.split_once(':').map_or(resource.id.as_str(), |(id, _)| id);
        if seen.insert((id, &count.node)) {
            m.sample(&[("node", &count.node), ("resource", id)], infinite(count.count));
        }
    }
    seen.clear();
    m.family(
        "ha_cluster_pacemaker_migration_threshold",
        Kind::Gauge,
        "The migration_threshold number per node and resource id",
    );
    for (resource, count) in counts() {
        let id = resource.id.split_once(':').map_or(resource.id.as_str(), |(id, _)| id);
        if seen.insert((id, &count.node)) {
            let threshold = Some(count.migration_threshold).filter(|n| *n > 0).unwrap_or(INFINITY);
            m.sample(&[("node", &count.node), ("resource", id)], threshold);
        }
    }
    m.family(
        "ha_cluster_pacemaker_location_constraints",
        Kind::Gauge,
        "Resource location constraints. The value indicates the score",
    );
    for [id, resource, node, role, score] in &configured.locations {
        let score = match score.as_str() {
            "INFINITY" | "+INFINITY" => "+Inf",
            "-INFINITY" => "-Inf",
            other if other.parse::<i64>().is_ok() => other,
            _ => continue,
        };
        m.sample(&[("constraint", id), ("node", node), ("resource", resource), ("role", role)], score);
    }
}

fn fencing(m: &mut Metrics, status: &ClusterStatus) {
    m.family(
        "holdfast_fencing_remembered",
        Kind::Gauge,
        "Fence requests that the cluster remembers (the last hundred), by target and how they ended",
    );
    let mut counts = std::collections::BTreeMap::<(&str, &str), u32>::new();
    for record in &status.fencing {
        let state = match record.state {
            FenceState::Pending => "pending",
            FenceState::Succeeded => "success",
            FenceState::Failed => "failed",
        };
        *counts.entry((&record.target, state)).or_default() += 1;
    }
    for ((target, state), count) in &counts {
        m.sample(&[("target", target), ("state", state)], count);
    }
    m.family(
        "holdfast_fencing_last_seconds",
        Kind::Gauge,
        "How long the last fencing of a node that succeeded took",
    );
    let mut done = std::collections::BTreeSet::new();
    // Newest first.
    for record in status.fencing.iter().filter(|r| r.state == FenceState::Succeeded) {
        if done.insert(&record.target) {
            let took = record.completed_unix_ms.saturating_sub(record.requested_unix_ms);
            m.sample(&[("target", &record.target)], seconds(took, 1_000));
        }
    }
}

/// What the ring's daemon knows: `ring` is of the same node.
#[must_use]
pub fn ring_metrics(status: &ClusterStatus, ring: &RingReport) -> String {
    let mut m = Metrics::default();
    m.one(
        "ha_cluster_corosync_quorate",
        Kind::Gauge,
        "Whether or not the cluster is quorate",
        u8::from(status.quorum.quorate),
    );
    m.family("ha_cluster_corosync_quorum_votes", Kind::Gauge, "Cluster quorum votes; one line per type");
    for (kind, votes) in [
        ("expected_votes", status.quorum.expected),
        ("highest_expected", status.quorum.highest_expected),
        ("quorum", status.quorum.needed),
        ("total_votes", status.quorum.total),
    ] {
        m.sample(&[("type", kind)], votes);
    }
    let links = || ring.peers.iter().flat_map(|p| p.links.iter().map(move |l| (p, l)));
    // Of a link to this node itself nothing is known but its address.
    let to_others = || links().filter(|(peer, link)| peer.id != status.node.id && link.enabled);
    let faulty = to_others().filter(|(peer, link)| peer.member && !link.connected).count();
    m.one(
        "ha_cluster_corosync_ring_errors",
        Kind::Gauge,
        "The total number of faulty corosync rings",
        faulty,
    );
    m.family(
        "ha_cluster_corosync_rings",
        Kind::Gauge,
        "The status of each Corosync ring; 1 means healthy, 0 means faulty",
    );
    let id = status.node.id.to_string();
    for (_, own) in links().filter(|(peer, _)| peer.id == status.node.id) {
        let well = !to_others().any(|(peer, l)| peer.member && l.link == own.link && !l.connected);
        let number = own.link.to_string();
        let labels = [
            ("address", own.address.as_str()),
            ("node_id", &id),
            ("number", &number),
            ("ring_id", &status.ring.id),
        ];
        m.sample(&labels, u8::from(well));
    }
    peers(&mut m, ring, &to_others().collect::<Vec<_>>());
    m.one(
        "holdfast_ring_operational",
        Kind::Gauge,
        "Whether this node is in a ring that is in operation",
        u8::from(ring.ring.state == "OPERATIONAL"),
    );
    m.one("holdfast_ring_members", Kind::Gauge, "Members of this node's ring", ring.ring.members.len());
    lengths(
        &mut m,
        "holdfast_ring_token_seconds",
        "What the token takes from one coming to the next, by load of the ring",
        "load",
        &[("busy", &ring.token.busy), ("quiet", &ring.token.quiet)],
    );
    lengths(
        &mut m,
        "holdfast_loop_seconds",
        "How late the ring daemon's loop wakes up, and how long a turn of it takes",
        "what",
        &[("wakeup", &ring.event_loop.wakeup), ("turn", &ring.event_loop.turn)],
    );
    for (name, help, value) in [
        ("holdfast_messages_delivered_total", "Messages delivered on this node", ring.traffic.delivered),
        ("holdfast_frames_sent_total", "Frames that this node sent first", ring.traffic.frames_sent),
        ("holdfast_frames_received_total", "Frames received", ring.traffic.frames_received),
        (
            "holdfast_frames_retransmitted_total",
            "Frames sent again because somebody lacked them",
            ring.traffic.retransmits,
        ),
        ("holdfast_tokens_lost_total", "Tokens lost in operation", ring.trouble.tokens_lost),
        (
            "holdfast_consensus_timeouts_total",
            "Times that nobody had news of a silent node until the consensus time-out",
            ring.trouble.consensus_timeouts,
        ),
    ] {
        m.one(name, Kind::Counter, help, value);
    }
    m.family("holdfast_packets_rejected_total", Kind::Counter, "Packets refused, by reason");
    for (reason, count) in &ring.trouble.rejected {
        m.sample(&[("reason", reason)], count);
    }
    m.one(
        "holdfast_lease_seconds",
        Kind::Gauge,
        "How long this node may act on what its peers said last",
        seconds(status.timings.lease_ms, 1_000),
    );
    m.one(
        "holdfast_lease_waits",
        Kind::Gauge,
        "Whether a takeover waits for the lease of a lost member",
        u8::from(status.quorum.waits_for_lease),
    );
    units(&mut m, status);
    m.text()
}

fn peers(m: &mut Metrics, ring: &RingReport, links: &[(&crate::PeerReport, &crate::LinkReport)]) {
    m.family("holdfast_link_connected", Kind::Gauge, "Whether both sides of a link hear each other");
    for (peer, link) in links {
        m.sample(&[("peer", &peer.name), ("link", &link.link.to_string())], u8::from(link.connected));
    }
    m.family("holdfast_link_latency_seconds", Kind::Gauge, "Round trip of a link, smoothed");
    for (peer, link) in links {
        if let Some(us) = link.latency_us {
            m.sample(&[("peer", &peer.name), ("link", &link.link.to_string())], seconds(us, 1_000_000));
        }
    }
    m.family(
        "holdfast_link_loss_ratio",
        Kind::Gauge,
        "Part of the packets lost lately on a link, both ways together",
    );
    for (peer, link) in links {
        if let Some(percent) = link.loss_percent {
            let labels = [("peer", peer.name.as_str()), ("link", &link.link.to_string())];
            m.sample(&labels, seconds(percent.into(), 100));
        }
    }
    m.family("holdfast_peer_silent_seconds", Kind::Gauge, "For how long a member has been silent");
    for peer in &ring.peers {
        if let Some(us) = peer.silent_us.filter(|_| peer.member) {
            m.sample(&[("peer", &peer.name)], seconds(us, 1_000_000));
        }
    }
}

fn units(m: &mut Metrics, status: &ClusterStatus) {
    m.family(
        "holdfast_failfast_unit",
        Kind::Gauge,
        "Units of this node's failfast; 1 means the unit is in that state",
    );
    for unit in &status.units {
        for state in ["armed", "triggered", "disarmed"] {
            m.sample(&[("unit", &unit.name), ("state", state)], u8::from(unit.state == state));
        }
    }
    m.family(
        "holdfast_failfast_unit_trouble",
        Kind::Gauge,
        "Whether something is wrong with a unit: it died, or is late",
    );
    for unit in &status.units {
        m.sample(&[("unit", &unit.name)], u8::from(!unit.trouble.is_empty()));
    }
    m.family(
        "holdfast_failfast_unit_deadline_seconds",
        Kind::Gauge,
        "When the node goes down because of a unit, unless something changes",
    );
    for unit in &status.units {
        if let Some(ms) = unit.deadline_ms {
            m.sample(&[("unit", &unit.name)], seconds(ms, 1_000));
        }
    }
}

/// Of lengths of time their middle, their upper end and the longest; and how many there were.
fn lengths(m: &mut Metrics, name: &'static str, help: &str, label: &str, of: &[(&str, &Lengths)]) {
    m.family(name, Kind::Gauge, help);
    for (which, lengths) in of.iter().filter(|(_, l)| l.count > 0) {
        for (stat, us) in [("p50", lengths.p50_us), ("p99", lengths.p99_us), ("max", lengths.max_us)] {
            m.sample(&[(label, which), ("stat", stat)], seconds(us, 1_000_000));
        }
    }
}

/// A number of parts as decimal fraction, without rounding.
fn seconds(parts: u64, of_one: u64) -> String {
    let digits = of_one.ilog10() as usize;
    let text = format!("{}.{:0digits$}", parts / of_one, parts % of_one);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use prometheus_parse::{Scrape, Value};

    use super::*;
    use crate::model::{FailCount, FenceRecord, NodeRef, NodeStatus, ResourceStatus, UnitStatus};
    use crate::ring::{LinkReport, PeerReport};

    fn read(text: &str) -> Vec<(String, BTreeMap<String, String>, f64)> {
        let scrape = Scrape::parse(text.lines().map(|l| Ok(l.to_owned()))).unwrap();
        let lines = text.lines().filter(|l| !l.starts_with('#')).count();
        assert_eq!(scrape.samples.len(), lines, "a line is not understood:\n{text}");
        let sample = |s: prometheus_parse::Sample| {
            let labels = s.labels.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
            match s.value {
                Value::Gauge(v) | Value::Counter(v) => (s.metric, labels, v),
                other => panic!("{}: {other:?}", s.metric),
            }
        };
        scrape.samples.into_iter().map(sample).collect()
    }

    fn value(all: &[(String, BTreeMap<String, String>, f64)], name: &str, labels: &[(&str, &str)]) -> f64 {
        let fits =
            |l: &BTreeMap<String, String>| labels.iter().all(|(k, v)| l.get(*k).is_some_and(|x| x == v));
        let found: Vec<f64> = all.iter().filter(|(n, l, _)| n == name && fits(l)).map(|(.., v)| *v).collect();
        assert_eq!(found.len(), 1, "{name} {labels:?} in {all:?}");
        found[0]
    }

    #[test]
    fn a_parser_of_the_text_form_reads_every_line_with_names_that_dashboards_know() {
        let node = |id: u32, online| NodeStatus {
            id,
            name: format!("n{id}"),
            online,
            dc: id == 1,
            ..NodeStatus::default()
        };
        let mut odd = node(2, false);
        odd.attributes = vec![("path".into(), "a \"b\" \\ c".into())];
        let status = ClusterStatus {
            node: NodeRef { id: 1, name: "n1".into() },
            nodes: vec![node(1, true), odd],
            resources: vec![
                ResourceStatus {
                    id: "m:0".into(),
                    agent: "ocf:heartbeat:pgsql".into(),
                    nodes: vec!["n1".into()],
                    role: Role::Promoted,
                    fail_counts: vec![FailCount {
                        node: "n2".into(),
                        count: INFINITY,
                        ..FailCount::default()
                    }],
                    ..ResourceStatus::default()
                },
                ResourceStatus { id: "ip".into(), ..ResourceStatus::default() },
            ],
            units: vec![UnitStatus {
                name: "rgmd".into(),
                state: "armed".into(),
                deadline_ms: Some(1500),
                ..UnitStatus::default()
            }],
            fencing: vec![FenceRecord {
                target: "n2".into(),
                state: FenceState::Succeeded,
                requested_unix_ms: 1_000,
                completed_unix_ms: 3_500,
                ..FenceRecord::default()
            }],
            ..ClusterStatus::default()
        };
        let configured = Configured {
            clones: vec![("m".into(), "ms".into())],
            locations: vec![
                ["cli-ban-ip-on-n2".into(), "ip".into(), "n2".into(), "Started".into(), "-INFINITY".into()],
                ["by-rule".into(), "ip".into(), "n1".into(), String::new(), "a-name".into()],
            ],
            changed_at: Some(1_700_000_000),
        };
        let transitions = Transitions { begun: 5, completed: 3, running: true, took_ms: 1_250, last_ms: 40 };
        let all = read(&manager_metrics(&status, &configured, &transitions));
        assert_eq!(
            value(
                &all,
                "ha_cluster_pacemaker_nodes",
                &[("node", "n1"), ("status", "dc"), ("type", "member")]
            ),
            1.0
        );
        assert_eq!(value(&all, "ha_cluster_pacemaker_nodes", &[("node", "n2"), ("status", "online")]), 0.0);
        let active =
            [("resource", "m"), ("clone", "ms"), ("role", "master"), ("node", "n1"), ("status", "active")];
        assert_eq!(value(&all, "ha_cluster_pacemaker_resources", &active), 1.0);
        assert_eq!(
            value(&all, "ha_cluster_pacemaker_resources", &[("resource", "ip"), ("status", "active")]),
            0.0
        );
        assert_eq!(
            value(&all, "ha_cluster_pacemaker_fail_count", &[("node", "n2"), ("resource", "m")]),
            f64::INFINITY
        );
        let ban = [("constraint", "cli-ban-ip-on-n2"), ("node", "n2"), ("resource", "ip")];
        assert_eq!(value(&all, "ha_cluster_pacemaker_location_constraints", &ban), f64::NEG_INFINITY);
        assert_eq!(value(&all, "ha_cluster_pacemaker_config_last_change", &[]), 1_700_000_000.0);
        assert_eq!(value(&all, "holdfast_transitions_total", &[("end", "aborted")]), 1.0);
        assert_eq!(value(&all, "holdfast_transition_seconds_total", &[]), 1.25);
        assert_eq!(value(&all, "holdfast_fencing_last_seconds", &[("target", "n2")]), 2.5);

        let link =
            |connected, us| LinkReport { enabled: true, connected, latency_us: us, ..LinkReport::default() };
        let peer = |id: u32, l| PeerReport {
            id,
            name: format!("n{id}"),
            member: true,
            links: vec![l],
            ..PeerReport::default()
        };
        let mut ring = RingReport {
            peers: vec![peer(1, link(true, None)), peer(2, link(false, Some(215)))],
            ..RingReport::default()
        };
        ring.trouble.rejected.insert("seal".into(), 7);
        ring.token.busy = Lengths::parse("64:12", 64, 64, 64);
        let all = read(&ring_metrics(&status, &ring));
        assert_eq!(value(&all, "ha_cluster_corosync_ring_errors", &[]), 1.0);
        assert_eq!(value(&all, "ha_cluster_corosync_rings", &[("node_id", "1"), ("number", "0")]), 0.0);
        assert_eq!(value(&all, "holdfast_link_latency_seconds", &[("peer", "n2"), ("link", "0")]), 0.000_215);
        assert_eq!(value(&all, "holdfast_packets_rejected_total", &[("reason", "seal")]), 7.0);
        assert_eq!(
            value(&all, "holdfast_ring_token_seconds", &[("load", "busy"), ("stat", "p99")]),
            0.000_064
        );
        assert_eq!(value(&all, "holdfast_failfast_unit", &[("unit", "rgmd"), ("state", "armed")]), 1.0);
        assert_eq!(value(&all, "holdfast_failfast_unit_deadline_seconds", &[("unit", "rgmd")]), 1.5);
    }

    #[test]
    fn fractions_are_exact() {
        for (parts, of, text) in
            [(0, 1_000, "0"), (1_500, 1_000, "1.5"), (1, 1_000_000, "0.000001"), (10, 1, "10")]
        {
            assert_eq!(seconds(parts, of), text);
        }
    }
}
