//! `nodelist { }`: who belongs to the cluster, at which addresses, and which node this one is.

use std::net::{IpAddr, Ipv4Addr};

use holdfast_types::{NodeId, Votes};

use crate::schema::parse_number;
use crate::{Diagnostics, Host, Item, Section, Totem, totem::IpVersion};

/// One configured node.
#[derive(Clone, Debug)]
pub struct Node {
    /// `nodeid`, or made from the IPv4 address of link 0 as corosync does.
    pub id: NodeId,
    /// `name`.
    pub name: Option<String>,
    /// `quorum_votes`, else `quorum.votes`, else 1.
    pub votes: Votes,
    /// `ring0_addr` … `ring7_addr`, resolved; index is the link.
    pub addrs: [Option<IpAddr>; 8],
    /// The same as written.
    pub names: [Option<String>; 8],
    /// Line of its section.
    pub line: u32,
}

/// A cluster has at most this many nodes.
const NODES_MAX: usize = 64;
const ADDR_KEYS: [&str; 8] = [
    "ring0_addr",
    "ring1_addr",
    "ring2_addr",
    "ring3_addr",
    "ring4_addr",
    "ring5_addr",
    "ring6_addr",
    "ring7_addr",
];

pub(crate) fn read(root: &Section, totem: &Totem, host: &Host<'_>, found: &mut Diagnostics) -> Vec<Node> {
    let sections: Vec<&Section> = root.all("nodelist").flat_map(|l| l.all("node")).collect();
    let mut nodes: Vec<Node> = Vec::new();
    for section in &sections {
        let default_votes = root.get(&["quorum"], "votes").and_then(|i| parse_number(&i.value)).unwrap_or(1);
        if let Some(node) = read_node(section, totem, default_votes, host, found) {
            nodes.push(node);
        }
    }
    if sections.is_empty() {
        nodes = read_members(root, totem, host, found);
        if nodes.is_empty() {
            let text = "no nodelist section with nodes; write \"nodelist { node { nodeid: 1 … ring0_addr: ADDRESS } … }\" \
                        (there is no multicast to find nodes by)";
            found.fatal(root.at(), text);
        }
    }
    if nodes.len() > NODES_MAX {
        found.fatal((nodes[NODES_MAX].line, 0), format!("more than {NODES_MAX} nodes; remove some"));
    }
    check_unique(&nodes, found);
    check_links(&nodes, found);
    nodes
}

fn read_node(
    section: &Section,
    totem: &Totem,
    default_votes: u64,
    host: &Host<'_>,
    found: &mut Diagnostics,
) -> Option<Node> {
    let get = |key: &str| section.get(&[], key).filter(|i| !i.value.is_empty());
    let mut addrs = [None; 8];
    let mut names: [Option<String>; 8] = Default::default();
    for (link, key) in ADDR_KEYS.iter().enumerate() {
        let Some(item) = get(key) else { continue };
        names[link] = Some(item.value.clone());
        addrs[link] = resolve(item, totem.ip_version, host);
        if addrs[link].is_none() {
            // Only link 0 is needed to run.
            let text = format!(
                "{key} \"{}\" is neither an address nor a name that resolves; write an IP address, or add the name to /etc/hosts",
                item.value
            );
            if link == 0 { found.fatal(item.at(), text) } else { found.error(item.at(), text) }
        }
    }
    if names[0].is_none() {
        found.fatal(section.at(), "node has no ring0_addr; write \"ring0_addr: ADDRESS\"");
    }
    let id = match get("nodeid") {
        Some(item) => parse_number(&item.value).and_then(|n| u32::try_from(n).ok())?,
        None => {
            if totem.transport.as_deref().is_none_or(|t| t == "knet") {
                found.error(
                    section.at(),
                    "node has no nodeid; write \"nodeid: NUMBER\", a different one in each node",
                );
            }
            let Some(id) = addrs[0].and_then(|a| id_from_address(a, totem.clear_node_high_bit)) else {
                found.fatal(
                    section.at(),
                    "node has no nodeid, and its address makes none; write \"nodeid: NUMBER\"",
                );
                return None;
            };
            id
        }
    };
    let votes = get("quorum_votes").and_then(|i| parse_number(&i.value)).unwrap_or(default_votes);
    Some(Node {
        id: NodeId::new(id),
        name: get("name").map(|i| i.value.clone()),
        votes: Votes::new(votes as u32),
        addrs,
        names,
        line: section.line,
    })
}

/// corosync 1.x and 2.x: `totem { interface { member { memberaddr } } }`.
fn read_members(root: &Section, totem: &Totem, host: &Host<'_>, found: &mut Diagnostics) -> Vec<Node> {
    let interfaces: Vec<&Section> = root.all("totem").flat_map(|t| t.all("interface")).collect();
    let members = interfaces.iter().flat_map(|i| i.all("member"));
    let mut nodes = Vec::new();
    for section in members {
        let Some(item) = section.get(&[], "memberaddr") else {
            found.fatal(section.at(), "member has no memberaddr; write \"memberaddr: ADDRESS\"");
            continue;
        };
        let addr = resolve(item, totem.ip_version, host);
        let Some(id) = addr.and_then(|a| id_from_address(a, totem.clear_node_high_bit)) else {
            found.fatal(item.at(), "memberaddr must be an IPv4 address; or write a nodelist with node ids");
            continue;
        };
        nodes.push(Node {
            id: NodeId::new(id),
            name: None,
            votes: Votes::new(1),
            addrs: [addr, None, None, None, None, None, None, None],
            names: [Some(item.value.clone()), None, None, None, None, None, None, None],
            line: section.line,
        });
    }
    if let Some(first) = nodes.first() {
        found.warn(
            (first.line, 0),
            "member sections are corosync 1.x; write a nodelist with node ids instead",
        );
    }
    nodes
}

fn resolve(item: &Item, version: IpVersion, host: &Host<'_>) -> Option<IpAddr> {
    if let Ok(addr) = item.value.parse::<IpAddr>() {
        return Some(addr);
    }
    let all = (host.resolve)(&item.value);
    let v4 = all.iter().find(|a| a.is_ipv4());
    let v6 = all.iter().find(|a| a.is_ipv6());
    match version {
        IpVersion::V4 => v4,
        IpVersion::V6 => v6,
        IpVersion::V4First => v4.or(v6),
        IpVersion::V6First => v6.or(v4),
    }
    .copied()
}

/// corosync's node id of a node without one: the IPv4 address as a number.
fn id_from_address(addr: IpAddr, clear_high_bit: bool) -> Option<u32> {
    let IpAddr::V4(v4) = addr else { return None };
    let id = u32::from(v4) & if clear_high_bit { 0x7fff_ffff } else { u32::MAX };
    (id != 0 && v4 != Ipv4Addr::UNSPECIFIED).then_some(id)
}

fn check_unique(nodes: &[Node], found: &mut Diagnostics) {
    for (i, node) in nodes.iter().enumerate() {
        for other in &nodes[..i] {
            let at = (node.line, 0);
            if other.id == node.id {
                let text = format!(
                    "nodeid {} belongs to the node in line {} already; give this one another number",
                    node.id, other.line
                );
                found.fatal(at, text);
            }
            if node.name.is_some() && node.name == other.name {
                let name = node.name.as_deref().unwrap_or_default();
                found.error(
                    at,
                    format!(
                        "name \"{name}\" belongs to the node in line {} already; write another name",
                        other.line
                    ),
                );
            }
            let shared = node.addrs.iter().flatten().find(|a| other.addrs.iter().flatten().any(|b| b == *a));
            if let Some(addr) = shared {
                found.fatal(at, format!("address {addr} belongs to the node in line {} already; write this node's own address", other.line));
            }
        }
    }
}

/// Links that every node has an address on, all of one kind.
pub(crate) fn links(nodes: &[Node]) -> Vec<usize> {
    let v4 = |n: &Node, link: usize| n.addrs[link].map(|a| a.is_ipv4());
    let first = |link| nodes.first().and_then(|n| v4(n, link));
    (0..8).filter(|l| first(*l).is_some() && nodes.iter().all(|n| v4(n, *l) == first(*l))).collect()
}

fn check_links(nodes: &[Node], found: &mut Diagnostics) {
    for (link, key) in ADDR_KEYS.iter().enumerate() {
        let Some(with) = nodes.iter().find(|n| n.names[link].is_some()) else { continue };
        // Link 0 is looked at with each node.
        if let Some(without) = nodes.iter().find(|n| n.names[link].is_none()).filter(|_| link > 0) {
            let text = format!(
                "node {} has no {key}, but node {} has one: link {link} is not used; write one for every node, or for none",
                without.id, with.id
            );
            found.error((without.line, 0), text);
        }
        let v4 = |n: &Node| n.addrs[link].map(|a| a.is_ipv4());
        let Some(kind) = nodes.iter().find_map(v4) else { continue };
        if let Some(odd) = nodes.iter().find(|n| v4(n).is_some_and(|v| v != kind)) {
            let text = format!("{key} is IPv4 on some nodes and IPv6 on others; write the same kind on all");
            // Only link 0 is needed to run.
            if link == 0 { found.fatal((odd.line, 0), text) } else { found.error((odd.line, 0), text) }
        }
    }
}

/// Which node is this one: by `totem.nodeid`, by name, by address.
pub(crate) fn find_local(
    root: &Section,
    totem: &Totem,
    nodes: &[Node],
    host: &Host<'_>,
    found: &mut Diagnostics,
) -> Option<usize> {
    if nodes.is_empty() {
        return None;
    }
    if let Some(id) = totem.nodeid {
        let at = root.get(&["totem"], "nodeid").map_or((1, 0), Item::at);
        let index = nodes.iter().position(|n| n.id.get() == id);
        if index.is_none() {
            let ids: Vec<String> = nodes.iter().map(|n| n.id.to_string()).collect();
            found.fatal(
                at,
                format!("totem.nodeid {id} is in no node section; write one of {}", ids.join(", ")),
            );
        }
        return index;
    }
    let short = |s: &str| s.split('.').next().unwrap_or(s).to_owned();
    let by_name = |same: &dyn Fn(&str) -> bool| {
        let named =
            |n: &Node| n.name.as_deref().is_some_and(same) || n.names.iter().flatten().any(|a| same(a));
        nodes.iter().position(named)
    };
    let host_short = short(host.hostname);
    let numeric = |s: &str| s.parse::<IpAddr>().is_ok();
    let index = by_name(&|n| n == host.hostname)
        .or_else(|| by_name(&|n| n == host_short))
        .or_else(|| by_name(&|n| !numeric(n) && short(n) == host_short));
    if index.is_some() {
        return index;
    }
    let here = |n: &Node| n.addrs.iter().flatten().any(|a| (host.is_local)(*a));
    let local: Vec<usize> = nodes.iter().enumerate().filter(|(_, n)| here(n)).map(|(i, _)| i).collect();
    let line = root.all("nodelist").last().map_or(root.at(), Section::at);
    match local.as_slice() {
        [one] => Some(*one),
        [] => {
            let text = format!(
                "no node section is this machine: none has the name \"{}\" nor an address that is configured here; \
                 write \"nodeid: NUMBER\" into totem, or correct the names",
                host.hostname
            );
            found.fatal(line, text);
            None
        }
        [first, second, ..] => {
            let (a, b) = (&nodes[*first], &nodes[*second]);
            let text = format!(
                "nodes {} and {} both have an address of this machine; write \"nodeid: {}\" (this node's number) into totem",
                a.id, b.id, a.id
            );
            found.fatal(line, text);
            None
        }
    }
}
