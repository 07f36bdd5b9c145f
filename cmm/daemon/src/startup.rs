//! From the command line to a node: configuration, this life's number, the machine's boot id.

use std::fs;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::Path;

use cmm_conf::{Config, ConfigKey, Diagnostics, Host, KeyValue, ServerTieBreaker, ServerTls};
use cmm_ipc::Place;
use cmm_ipc::abi::cmap::Value;
use cmm_ipc::server::Mode;
use cmm_proto::wire::ClusterKey;
use cmm_proto::{
    DeviceConfig, DeviceModel, DiskConfig, LinkConfig, LinkMode, LinksConfig, Node, NodeConfig, NodeEntry,
    NodeTable, QuorumConfig, QuorumOptions, ScsiConfig, Settings, TieBreak, Timers, limits,
};
use cmm_qnet::{Algorithm, TieBreaker, Tls};
use holdfast_sys::{clock, host};
use holdfast_types::{BootId, Incarnation, LinkId, Span, Votes};

use crate::clients::{ClientNode, ClientsConfig};
use crate::exit::{self, Fatal};
use crate::failfast;
use crate::net::{LinkNet, NetConfig};
use crate::node_table;
use crate::persist;
use crate::runtime_files::Paths;

/// Reads the configuration, asking this machine what the configuration leaves open.
///
/// # Errors
/// When the file cannot be read. What is wrong inside is in the diagnostics.
pub(crate) fn read_config(path: &Path) -> Result<(Option<Config>, Diagnostics), Fatal> {
    let text = fs::read(path).map_err(|e| {
        let text =
            format!("{}:1: cannot be read: {e}; name the file with -c or HOLDFAST_CONF", path.display());
        Fatal::new(exit::CONFIG, text)
    })?;
    let hostname = host::hostname().unwrap_or_default();
    let resolve = |name: &str| -> Vec<IpAddr> {
        (name, 0).to_socket_addrs().map(|all| all.map(|a| a.ip()).collect()).unwrap_or_default()
    };
    let host = Host { hostname: &hostname, resolve: &resolve, is_local: &host::is_local };
    Ok(cmm_conf::parse(&path.display().to_string(), &text, &host))
}

/// Takes the next incarnation: greater than every earlier one, and durable before the first packet.
///
/// # Errors
/// When the state directory cannot be read or written.
pub(crate) fn next_incarnation(path: &Path) -> Result<Incarnation, Fatal> {
    let last = persist::read_number(path)?.unwrap_or(0);
    let next = last.saturating_add(1).max(clock::wall_nanos());
    persist::write_durably(path, format!("{next}\n").as_bytes())
        .map_err(|e| Fatal::new(exit::FILES, format!("cannot write {}: {e}", path.display())))?;
    Ok(Incarnation::new(next))
}

/// Which boot of the machine this is.
///
/// # Errors
/// Without /proc.
pub(crate) fn boot_id() -> Result<BootId, Fatal> {
    host::boot_id().map(BootId).map_err(|e| Fatal::new(exit::OS, e.to_string()))
}

/// What the protocol core is told.
///
/// # Errors
/// When the state directory cannot be read or written.
pub(crate) fn node_config(config: &Config, paths: &Paths, key: ClusterKey) -> Result<NodeConfig, Fatal> {
    let me = config.me().id;
    let files = persist::Files::of(&paths.state, &config.totem.cluster_name, me);
    Ok(NodeConfig {
        cluster_name: config.totem.cluster_name.clone(),
        me,
        nodes: node_table(config).nodes,
        tables: node_table::read(&files.nodes, &config.totem.cluster_name)?,
        key,
        incarnation: next_incarnation(&persist::incarnation_file(&paths.state, me))?,
        boot_id: boot_id()?,
        ring_seq_reserved: persist::read_number(&files.ring)?.unwrap_or(0),
        promised: Span::from_nanos(persist::read_number(&files.promise)?.unwrap_or(0)),
        settings: settings(config),
        quorum: QuorumConfig {
            expected_votes: config.quorum.expected_votes,
            two_node: config.quorum.two_node,
            wait_for_all: config.quorum.wait_for_all,
            device: device_config(config),
        },
        tie_break: tie_break(config),
        expected_seen: if config.quorum.expected_votes_tracking {
            let seen = persist::read_number(&files.expected)?.unwrap_or(0);
            Some(Votes::new(u32::try_from(seen).unwrap_or(u32::MAX)))
        } else {
            None
        },
        links: links_config(config),
    })
}

/// The quorum device as the core knows it.
pub(crate) fn device_config(config: &Config) -> Option<DeviceConfig> {
    let device = config.quorum.device.as_ref()?;
    let model = match &device.model {
        cmm_conf::DeviceModel::Disk(disk) => DeviceModel::Disk(DiskConfig {
            disks: disk.disks.len(),
            interval: disk.interval,
            lease: disk.lease(),
        }),
        cmm_conf::DeviceModel::Scsi(scsi) => DeviceModel::Scsi(ScsiConfig {
            cluster: cmm_scsi::Cluster::of_name(&config.totem.cluster_name),
            interval: scsi.interval,
            lease: scsi.lease(),
        }),
        cmm_conf::DeviceModel::Net(server) => DeviceModel::Net(server_settings(server)),
    };
    Some(DeviceConfig { votes: device.votes, model })
}

fn server_settings(server: &cmm_conf::QuorumServer) -> cmm_qnet::Settings {
    cmm_qnet::Settings {
        algorithm: if server.last_man_standing { Algorithm::Lms } else { Algorithm::FfSplit },
        tie_breaker: match server.tie_breaker {
            ServerTieBreaker::Lowest => TieBreaker::Lowest,
            ServerTieBreaker::Highest => TieBreaker::Highest,
            ServerTieBreaker::Node(node) => TieBreaker::Node(node),
        },
        keep_active: server.keep_active,
        tls: match server.tls {
            ServerTls::Off => Tls::Off,
            ServerTls::On => Tls::On,
            ServerTls::Required => Tls::Required,
        },
        heartbeat: server.heartbeat(),
        interval: server.interval(),
        lease: server.lease(),
        connect_timeout: server.connect_timeout,
    }
}

/// The node table of the file.
pub(crate) fn node_table(config: &Config) -> NodeTable {
    let entry = |n: &cmm_conf::Node| NodeEntry { id: n.id, votes: n.votes };
    let mut nodes: Vec<NodeEntry> = config.nodes.iter().map(entry).collect();
    nodes.sort_by_key(|n| n.id);
    let table = NodeTable::new(nodes, config.quorum.expected_votes);
    match device_config(config) {
        Some(device) => table.with_device(Some(device.entry())),
        None => table.with_tie_break(tie_break(config)),
    }
}

fn tie_break(config: &Config) -> TieBreak {
    match &config.quorum.tie_break {
        cmm_conf::TieBreak::Off => TieBreak::Off,
        cmm_conf::TieBreak::Lowest => TieBreak::Lowest,
        cmm_conf::TieBreak::Highest => TieBreak::Highest,
        cmm_conf::TieBreak::Listed(list) => TieBreak::Listed(list.clone()),
    }
}

/// What a reload may change.
pub(crate) fn settings(config: &Config) -> Settings {
    let t = &config.timing;
    Settings {
        timers: Timers {
            token: t.token,
            token_retransmit: t.token_retransmit,
            hold: t.hold,
            join: t.join,
            consensus: t.consensus,
            merge: t.merge,
            fail_recv_rotations: t.fail_recv_rotations,
            heartbeat: t.heartbeat,
            heartbeat_limit: t.heartbeat_limit,
            heartbeat_limit_max: t.heartbeat_limit_max,
            lease: t.lease,
            lease_margin: t.lease_margin,
            step_limit: t.step_limit,
        },
        window_frames: config.totem.window_size,
        frames_per_visit: config.totem.max_messages,
        quorum: Some(QuorumOptions {
            two_node: config.quorum.two_node,
            wait_for_all: config.quorum.wait_for_all,
            last_man_standing: config.quorum.last_man_standing,
            allow_downscale: config.quorum.allow_downscale,
        }),
    }
}

/// The links as the core knows them.
pub(crate) fn links_config(config: &Config) -> LinksConfig {
    let totem = &config.totem;
    let link = |link: usize| {
        let headers = if config.me().addrs[link].is_some_and(|ip| ip.is_ipv6()) { 40 + 8 } else { 20 + 8 };
        let packet_max = totem.mtu.map_or(limits::PACKET_MAX, |mtu| mtu.saturating_sub(headers));
        LinkConfig {
            id: LinkId::new(link as u8),
            priority: totem.priorities[link],
            limit: totem.ping_timeouts[link],
            recover: totem.pong_counts[link],
            packet_max: packet_max.clamp(limits::PACKET_SAFE, limits::PACKET_MAX),
        }
    };
    let mode = match totem.link_mode {
        cmm_conf::LinkMode::Passive => LinkMode::Passive,
        cmm_conf::LinkMode::Active => LinkMode::Active,
    };
    let links = config.links().into_iter().map(link).collect();
    LinksConfig { mode, links, mtu_interval: totem.mtu_interval }
}

/// Addresses of all links.
pub(crate) fn net_config(config: &Config) -> NetConfig {
    let me = config.me();
    let link = |link: usize| {
        let addr = |n: &cmm_conf::Node| Some(SocketAddr::new(n.addrs[link]?, config.totem.ports[link]));
        let others = config.nodes.iter().filter(|n| n.id != me.id);
        Some(LinkNet {
            id: LinkId::new(link as u8),
            local: addr(me)?,
            peers: others.filter_map(|n| Some((n.id, addr(n)?))).collect(),
            ttl: config.totem.ttl[link],
        })
    };
    NetConfig {
        links: config.links().into_iter().filter_map(link).collect(),
        block_unlisted: config.totem.block_unlisted_ips,
        dscp: config.totem.ip_dscp,
    }
}

/// What the clients' side is told: the configuration as CMAP keys, and who may connect.
pub(crate) fn clients_config(config: &Config, paths: &Paths, node: &Node, key_source: &str) -> ClientsConfig {
    let (mode, _) = failfast::effective_mode(config, paths);
    let mut keys: Vec<_> =
        config.keys.iter().map(|k| (k.name.clone(), key_value(&k.value), k.read_only)).collect();
    keys.push(("holdfast.key.source".into(), Value::str(key_source), true));
    keys.push(("holdfast.failfast.mode".into(), Value::str(mode.as_str()), true));
    ClientsConfig {
        place: if paths.run_given { Place::Dir(paths.run.clone()) } else { Place::Abstract },
        mode: if config.system.client_sockets { Mode::Sockets } else { Mode::SharedMemory },
        me: config.me().id,
        nodes: client_nodes(config),
        incarnation: node.config().incarnation,
        transport: config.totem.transport.clone().unwrap_or_else(|| "knet".into()),
        keys,
    }
}

/// A value of the configuration as CMAP holds it.
pub(crate) fn key_value(value: &KeyValue) -> Value {
    match value {
        KeyValue::U8(n) => Value::u8(*n),
        KeyValue::U16(n) => Value::u16(*n),
        KeyValue::U32(n) => Value::u32(*n),
        KeyValue::U64(n) => Value::u64(*n),
        KeyValue::I32(n) => Value::i32(*n),
        KeyValue::Str(text) => Value::str(text),
    }
}

/// The node list as clients see it.
pub(crate) fn client_nodes(config: &Config) -> Vec<ClientNode> {
    let links = config.links();
    let node = |n: &cmm_conf::Node| ClientNode {
        id: n.id,
        addresses: links.iter().filter_map(|l| Some((LinkId::new(*l as u8), n.addrs[*l]?))).collect(),
    };
    config.nodes.iter().map(node).collect()
}

/// Users and groups allowed to use the local IPC: those of the configuration and of `uidgid.d` beside it, as CMAP keys.
pub(crate) fn ipc_access(config: &Config, config_path: &Path, warnings: &mut Vec<String>) -> Vec<ConfigKey> {
    let (mut users, mut groups) = (config.ipc_users.clone(), config.ipc_groups.clone());
    let dir = config_path.parent().unwrap_or(Path::new("/")).join("uidgid.d");
    let mut files: Vec<_> = fs::read_dir(&dir).into_iter().flatten().flatten().map(|e| e.path()).collect();
    files.sort();
    for file in files.iter().filter(|f| f.is_file()) {
        let name = file.display().to_string();
        let mut found = Diagnostics::new(&name);
        let root = cmm_conf::parse_sections(&fs::read(file).unwrap_or_default(), &mut found);
        warnings.extend(found.iter().map(|d| found.line(d)));
        for section in root.all("uidgid") {
            users.extend(section.all_items("uid").map(|i| i.value.clone()));
            groups.extend(section.all_items("gid").map(|i| i.value.clone()));
        }
    }
    let mut keys = Vec::new();
    let mut add = |kind: &str, name: &str, id: Option<u32>| match id {
        Some(id) => keys.push(ConfigKey {
            name: format!("uidgid.config.{kind}.{id}"),
            value: KeyValue::U8(1),
            read_only: true,
        }),
        None => {
            let text = format!(
                "uidgid: this machine has no {kind} \"{name}\"; correct the name, or write its number"
            );
            warnings.push(text);
        }
    };
    users.iter().for_each(|u| add("uid", u, host::user_id(u)));
    groups.iter().for_each(|g| add("gid", g, host::group_id(g)));
    keys
}

#[cfg(test)]
mod tests {
    use holdfast_types::NodeId;

    use super::*;

    #[test]
    fn incarnations_grow_whatever_the_clock_says() {
        let dir = std::env::temp_dir().join(format!("cmmd-incarnation-{}", std::process::id()));
        fs::create_dir_all(&dir).expect("a folder");
        let path = persist::incarnation_file(&dir, NodeId::new(7));
        let first = next_incarnation(&path).expect("writes");
        assert!(next_incarnation(&path).expect("writes") > first);
        let ahead = u64::MAX / 2;
        fs::write(&path, ahead.to_string()).expect("writes");
        assert_eq!(next_incarnation(&path).expect("writes").get(), ahead + 1);
        fs::remove_dir_all(&dir).expect("removes");
    }

    #[test]
    fn the_machine_has_a_boot_id() {
        assert_ne!(boot_id().expect("/proc is there"), BootId::default());
    }
}
