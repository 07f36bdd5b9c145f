//! The configuration as CMAP keys, named and typed as corosync's clients expect them.

use holdfast_types::Span;

use crate::schema::{self, Kind, Width, parse_number};
use crate::{Node, Section, Timing, Totem};

/// One CMAP key.
#[derive(Clone, Debug, PartialEq)]
pub struct ConfigKey {
    /// E.g. `nodelist.node.0.nodeid`.
    pub name: String,
    /// Typed value.
    pub value: KeyValue,
    /// Clients may not change it.
    pub read_only: bool,
}

/// A typed value.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum KeyValue {
    U8(u8),
    U16(u16),
    U32(u32),
    U64(u64),
    I32(i32),
    Str(String),
}

/// Longest name of a CMAP key; longer ones are left out, as nobody could read them.
const NAME_MAX: usize = 255;

pub(crate) fn collect(
    root: &Section,
    nodes: &[Node],
    local: usize,
    timing: &Timing,
    totem: &Totem,
) -> Vec<ConfigKey> {
    let mut keys = Keys(Vec::new());
    for section in &root.sections {
        match section.name.as_str() {
            // Users and groups are added by the daemon, which knows their numbers.
            "nodelist" | "uidgid" => {}
            "totem" => keys.totem(section),
            "logging" => keys.logging(section),
            _ => keys.tree(section, &section.name, &[section.name.as_str()]),
        }
    }
    for (index, node) in nodes.iter().enumerate() {
        let base = format!("nodelist.node.{index}");
        keys.add(format!("{base}.nodeid"), KeyValue::U32(node.id.get()));
        if let Some(name) = &node.name {
            keys.add(format!("{base}.name"), KeyValue::Str(name.clone()));
        }
        for (link, name) in node.names.iter().enumerate() {
            if let Some(name) = name {
                keys.add(format!("{base}.ring{link}_addr"), KeyValue::Str(name.clone()));
            }
        }
        if node.votes.get() != 1 {
            keys.add(format!("{base}.quorum_votes"), KeyValue::U32(node.votes.get()));
        }
    }
    keys.add("nodelist.local_node_pos".into(), KeyValue::U32(local as u32));
    keys.in_force(nodes, timing, totem);
    for row in timing.rows() {
        let base = format!("holdfast.timing.{}", row.name);
        if let Some(value) = row.value {
            keys.add(format!("{base}.us"), KeyValue::U64(value.as_micros()));
        }
        keys.add(format!("{base}.why"), KeyValue::Str(row.why));
    }
    let order: Vec<&str> = timing.rows().iter().map(|row| row.name).collect();
    keys.add("holdfast.timing.rows".into(), KeyValue::Str(order.join(" ")));
    keys.0.sort_by(|a, b| a.name.cmp(&b.name));
    // A key set twice: the last one counts, as in corosync.
    keys.0.reverse();
    keys.0.dedup_by(|a, b| a.name == b.name);
    keys.0.reverse();
    keys.0
}

struct Keys(Vec<ConfigKey>);

impl Keys {
    /// `runtime.config.totem.*`: what is in force. What corosync has a setting for and this protocol does by itself has the value that
    /// corosync would do the same with.
    fn in_force(&mut self, nodes: &[Node], timing: &Timing, totem: &Totem) {
        let base = "runtime.config.totem";
        let millis = |span: Span| KeyValue::U32(u32::try_from(span.as_millis()).unwrap_or(u32::MAX));
        for (name, span) in [
            ("token", timing.token),
            ("token_retransmit", timing.token_retransmit),
            ("hold", timing.hold),
            ("join", timing.join),
            ("consensus", timing.consensus),
            ("merge", timing.merge),
            ("heartbeat_interval", timing.heartbeat),
            ("heartbeat_limit", timing.heartbeat_limit),
            ("heartbeat_limit_max", timing.heartbeat_limit_max),
            ("lease", timing.lease),
            ("lease_margin", timing.lease_margin),
        ] {
            self.add(format!("{base}.{name}"), millis(span));
        }
        for (name, number) in [
            ("token_retransmits_before_loss_const", timing.retransmits),
            ("fail_recv_const", timing.fail_recv_rotations),
            ("window_size", totem.window_size),
            ("max_messages", totem.max_messages),
            ("block_unlisted_ips", totem.block_unlisted_ips.into()),
            ("knet_mtu", totem.mtu.and_then(|mtu| u32::try_from(mtu).ok()).unwrap_or(0)),
            (
                "knet_pmtud_interval",
                u32::try_from(totem.mtu_interval.as_millis() / 1_000).unwrap_or(u32::MAX),
            ),
            // A late token is told at three quarters of its time-out.
            ("token_warning", 75),
            // The token is never held while frames are missing; they are asked for when it shows that they are.
            ("cancel_token_hold_on_retransmit", 1),
            ("miss_count_const", 1),
            // A quiet ring is recognised at once.
            ("seqno_unchanged_const", 1),
            // Joins are not put off by chance, interfaces are not polled, the token is no heartbeat.
            ("send_join", 0),
            ("downcheck", 0),
            ("heartbeat_failures_allowed", 0),
            ("max_network_delay", 0),
            ("knet_compression_threshold", 0),
        ] {
            self.add(format!("{base}.{name}"), KeyValue::U32(number));
        }
        self.add(format!("{base}.knet_compression_level"), KeyValue::I32(0));
        self.add(format!("{base}.knet_compression_model"), KeyValue::Str("none".into()));
        let links = 0..totem.ping_timeouts.len();
        for link in links.filter(|link| nodes.iter().any(|n| n.addrs[*link].is_some())) {
            let base = format!("{base}.interface.{link}");
            // Beats are heartbeats; a link is down when four are missing, if nothing is configured.
            let limit = totem.ping_timeouts[link].unwrap_or(timing.heartbeat.scale(4, 1));
            self.add(format!("{base}.knet_ping_interval"), millis(timing.heartbeat));
            self.add(format!("{base}.knet_ping_timeout"), millis(limit));
        }
    }

    fn add(&mut self, name: String, value: KeyValue) {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-/:".contains(&b);
        if name.len() <= NAME_MAX && name.bytes().all(plain) {
            let read_only = is_read_only(&name);
            self.0.push(ConfigKey { name, value, read_only });
        }
    }

    /// `section.key` for every key, `section.inner.key` for those of inner sections.
    fn tree(&mut self, section: &Section, base: &str, path: &[&str]) {
        for item in &section.items {
            self.add(format!("{base}.{}", item.key), typed(path, &item.key, &item.value));
        }
        for inner in &section.sections {
            let mut path = path.to_vec();
            path.push(&inner.name);
            self.tree(inner, &format!("{base}.{}", inner.name), &path);
        }
    }

    /// Interfaces become `totem.interface.LINK.key`.
    fn totem(&mut self, section: &Section) {
        for item in &section.items {
            // The shared secret is for nobody's eyes.
            if item.key != "key" {
                self.add(format!("totem.{}", item.key), typed(&["totem"], &item.key, &item.value));
            }
        }
        for interface in section.all("interface") {
            let number = |key| interface.get(&[], key).and_then(|i| parse_number(&i.value));
            let link = number("linknumber").or(number("ringnumber")).unwrap_or(0);
            for item in &interface.items {
                let value = typed(&["totem", "interface"], &item.key, &item.value);
                self.add(format!("totem.interface.{link}.{}", item.key), value);
            }
        }
    }

    /// Subsystems become `logging.logger_subsys.NAME.key`.
    fn logging(&mut self, section: &Section) {
        for item in &section.items {
            self.add(format!("logging.{}", item.key), KeyValue::Str(item.value.clone()));
        }
        for subsystem in section.all("logger_subsys") {
            let Some(name) = subsystem.get(&[], "subsys") else { continue };
            for item in &subsystem.items {
                let key = format!("logging.logger_subsys.{}.{}", name.value, item.key);
                self.add(key, KeyValue::Str(item.value.clone()));
            }
        }
    }
}

fn typed(path: &[&str], key: &str, value: &str) -> KeyValue {
    let number = parse_number(value).unwrap_or(0);
    match schema::kind_of(path, key) {
        Some(Kind::Flag) => KeyValue::U8(number as u8),
        Some(Kind::Number(_, _, Width::U8)) => KeyValue::U8(number as u8),
        Some(Kind::Number(_, _, Width::U16)) => KeyValue::U16(number as u16),
        Some(Kind::Number(_, _, Width::U32)) => KeyValue::U32(number as u32),
        Some(Kind::Number(_, _, Width::U64)) => KeyValue::U64(number),
        _ => KeyValue::Str(value.to_owned()),
    }
}

/// corosync's rules of what clients may not set.
fn is_read_only(name: &str) -> bool {
    const PREFIXES: [&str; 5] =
        ["runtime.config.", "uidgid.config.", "system.", "nodelist.", "holdfast.timing."];
    const TOTEM: [&str; 15] = [
        "crypto_cipher",
        "crypto_hash",
        "crypto_model",
        "keyfile",
        "key",
        "secauth",
        "ip_version",
        "rrp_mode",
        "transport",
        "cluster_name",
        "netmtu",
        "threads",
        "version",
        "nodeid",
        "clear_node_high_bit",
    ];
    PREFIXES.iter().any(|p| name.starts_with(p))
        || name.strip_prefix("totem.").is_some_and(|k| TOTEM.contains(&k))
}
