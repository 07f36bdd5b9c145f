//! `totem { }`: cluster name, keys, ports and windows. Timing is in [`crate::timing`].

use holdfast_types::Span;

use crate::schema::{parse_number, yes_no};
use crate::{Diagnostics, Item, Section};

/// What the ring is told besides times.
#[derive(Clone, Debug)]
pub struct Totem {
    /// `cluster_name`; may be empty.
    pub cluster_name: String,
    /// `transport`: means the same for all of them here; kept for clients that show it.
    pub transport: Option<String>,
    /// `nodeid`: which node this is, where name and address do not tell.
    pub nodeid: Option<u32>,
    /// `clear_node_high_bit`, for node ids made from addresses.
    pub clear_node_high_bit: bool,
    /// `ip_version`.
    pub ip_version: IpVersion,
    /// `block_unlisted_ips`.
    pub block_unlisted_ips: bool,
    /// Where the cluster key comes from.
    pub key: KeySource,
    /// UDP port of each link.
    pub ports: [u16; 8],
    /// `ttl` of each link, where set.
    pub ttl: [Option<u8>; 8],
    /// `link_mode`: whether one link carries packets or all do.
    pub link_mode: LinkMode,
    /// `knet_link_priority` of each link: the highest one that is up is used in passive mode.
    pub priorities: [u8; 8],
    /// `knet_ping_timeout` of each link, where set: silence after which it is down.
    pub ping_timeouts: [Option<Span>; 8],
    /// `knet_pong_count` of each link: beats in a row that bring it back.
    pub pong_counts: [u8; 8],
    /// The smaller one of `netmtu` and `knet_mtu`, where set: no IP packet is longer.
    pub mtu: Option<usize>,
    /// `knet_pmtud_interval`: how often the path MTU is looked for.
    pub mtu_interval: Span,
    /// `ip_dscp`.
    pub ip_dscp: u8,
    /// `window_size`: frames a rotation.
    pub window_size: u32,
    /// `max_messages`: frames a token visit of one node.
    pub max_messages: u32,
}

/// Where the cluster key comes from, and whether the operator insists on one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySource {
    /// `keyfile`.
    pub file: Option<String>,
    /// `key`: the secret itself in the configuration.
    pub inline: Option<String>,
    /// The setting that asks for cryptography (line and text), if one does: then a key must exist.
    pub required_by: Option<(u32, String)>,
}

/// `totem.link_mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkMode {
    /// The best link carries everything.
    Passive,
    /// Every link carries everything.
    Active,
}

/// `totem.ip_version`: which of a name's addresses is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IpVersion {
    /// IPv4 only.
    V4,
    /// IPv6 only.
    V6,
    /// IPv4 first.
    V4First,
    /// IPv6 first.
    V6First,
}

/// corosync's 50 and 17 are meant for frames of up to 64 KiB; ours fit one Ethernet frame, so more of them go round.
const WINDOW_FRAMES: u64 = 256;
const VISIT_FRAMES: u64 = 64;
/// MTU that every path has, with IPv6.
const MTU_MIN: u64 = 1_280;
/// corosync's interval of looking for the path MTU.
const MTU_SECONDS: u64 = 30;
/// corosync's port.
const PORT: u16 = 5_405;

pub(crate) fn read(root: &Section, found: &mut Diagnostics) -> Totem {
    let get = |key: &str| root.get(&["totem"], key);
    let value = |key: &str| get(key).map(|i| i.value.as_str());
    let number = |key: &str| value(key).and_then(parse_number);
    let flag = |key: &str, default| value(key).and_then(yes_no).unwrap_or(default);
    match root.all("totem").last() {
        None => {
            found.error(root.at(), "no totem section; write \"totem { version: 2 … }\" with a cluster_name")
        }
        Some(s) => {
            if get("version").is_none() {
                found.error(s.at(), "totem has no version; write \"version: 2\"");
            }
            if value("cluster_name").is_none_or(str::is_empty) {
                found.warn(
                    s.at(),
                    "totem has no cluster_name, and DLM needs one; write \"cluster_name: NAME\"",
                );
            }
        }
    }
    let udp = value("transport") == Some("udp");
    let ip_version = match value("ip_version") {
        Some("ipv4") => IpVersion::V4,
        Some("ipv6") => IpVersion::V6,
        Some("ipv4-6") => IpVersion::V4First,
        None if udp => IpVersion::V4,
        _ => IpVersion::V6First,
    };
    let links = links(root, udp, found);
    if let Some(item) = get("link_mode").filter(|i| i.value == "rr") {
        let text = "link_mode rr is served as passive: packets that overtake each other would be asked for again; write passive or active";
        found.warn(item.at(), text);
    }
    let mut mtu = None;
    for item in ["netmtu", "knet_mtu"].into_iter().filter_map(get) {
        let Some(bytes) = parse_number(&item.value).filter(|n| *n > 0) else { continue };
        if bytes < MTU_MIN {
            let text = format!(
                "{} {bytes} is below {MTU_MIN}, which every path carries with IPv6: packets of {MTU_MIN} bytes are cut up on the way",
                item.key
            );
            found.warn(item.at(), text);
        }
        mtu = Some(mtu.unwrap_or(bytes).min(bytes));
    }
    Totem {
        cluster_name: value("cluster_name").unwrap_or_default().to_owned(),
        transport: value("transport").map(str::to_owned),
        nodeid: number("nodeid").map(|n| n as u32),
        clear_node_high_bit: flag("clear_node_high_bit", false),
        ip_version,
        block_unlisted_ips: flag("block_unlisted_ips", true),
        key: key_source(root),
        ports: links.ports,
        ttl: links.ttl,
        link_mode: if value("link_mode") == Some("active") { LinkMode::Active } else { LinkMode::Passive },
        priorities: links.priorities,
        ping_timeouts: links.ping_timeouts,
        pong_counts: links.pong_counts,
        mtu: mtu.map(|n| n as usize),
        mtu_interval: Span::from_secs(
            number("knet_pmtud_interval").filter(|n| *n > 0).unwrap_or(MTU_SECONDS),
        ),
        ip_dscp: number("ip_dscp").unwrap_or(0) as u8,
        window_size: number("window_size").unwrap_or(WINDOW_FRAMES) as u32,
        max_messages: number("max_messages").unwrap_or(VISIT_FRAMES) as u32,
    }
}

fn key_source(root: &Section) -> KeySource {
    let get = |key: &str| root.get(&["totem"], key).filter(|i| !i.value.is_empty());
    let asks = |i: &&Item| match i.key.as_str() {
        "secauth" => yes_no(&i.value) == Some(true),
        _ => i.value != "none",
    };
    let required = ["crypto_cipher", "crypto_hash", "secauth"].iter().find_map(|k| get(k).filter(asks));
    KeySource {
        file: get("keyfile").map(|i| i.value.clone()),
        inline: get("key").map(|i| i.value.clone()),
        required_by: required.map(|i| (i.line, format!("totem.{}: {}", i.key, i.value))),
    }
}

/// What `interface` sections say, by link.
struct Links {
    ports: [u16; 8],
    ttl: [Option<u8>; 8],
    priorities: [u8; 8],
    ping_timeouts: [Option<Span>; 8],
    pong_counts: [u8; 8],
}

/// Unlike corosync's udp, one port a link is used, not two.
fn links(root: &Section, udp: bool, found: &mut Diagnostics) -> Links {
    let mut links = Links {
        ports: [0; 8],
        ttl: [None; 8],
        priorities: [1; 8],
        ping_timeouts: [None; 8],
        pong_counts: [2; 8],
    };
    for (link, port) in (0..).zip(&mut links.ports) {
        *port = PORT + if udp { 2 * link } else { link };
    }
    let mut seen = [0u32; 8];
    for interface in root.all("totem").flat_map(|t| t.all("interface")) {
        let number = |key: &str| interface.get(&[], key).and_then(|i| parse_number(&i.value));
        let link = number("linknumber").or(number("ringnumber")).unwrap_or(0).min(7) as usize;
        if seen[link] != 0 {
            let text = format!(
                "link {link} has an interface section in line {} already; give this one another linknumber",
                seen[link]
            );
            found.error(interface.at(), text);
        }
        seen[link] = interface.line;
        if let Some(port) = number("mcastport") {
            links.ports[link] = port as u16;
        }
        links.ttl[link] = number("ttl").map(|t| t as u8);
        if let Some(priority) = number("knet_link_priority") {
            links.priorities[link] = priority as u8;
        }
        links.ping_timeouts[link] = number("knet_ping_timeout").filter(|t| *t > 0).map(Span::from_millis);
        if let Some(count) = number("knet_pong_count") {
            links.pong_counts[link] = count.clamp(1, 64) as u8;
        }
    }
    links
}
