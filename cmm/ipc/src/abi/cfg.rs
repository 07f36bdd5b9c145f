//! CFG: ring status, node status, shutdown, killing of nodes.

use std::net::IpAddr;

use holdfast_types::NodeId;

use super::{Build, CsError, Malformed, REPLY_HEADER, REQUEST_HEADER, View, open, open_reply};

/// Entries in the reply to ring status.
pub const INTERFACES_MAX: usize = 16;
/// Links in a node status.
pub const STATUS_LINKS: usize = 8;
/// The only version of node status.
pub const NODE_STATUS_V1: u32 = 1;

/// Try shutdown: ask the trackers; any may refuse.
pub const SHUTDOWN_REQUEST: u32 = 0;
/// Try shutdown: ask the trackers, but do it whatever they say.
pub const SHUTDOWN_REGARDLESS: u32 = 1;
/// Try shutdown: do not ask.
pub const SHUTDOWN_IMMEDIATE: u32 = 2;

/// What a client asks.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "fields named as in cfg.h")]
pub enum Request<'a> {
    /// `corosync_cfg_ring_status_get`.
    RingStatus,
    /// `corosync_cfg_ring_reenable`: gone since links heal by themselves.
    RingReenable,
    /// `corosync_cfg_kill_node`.
    KillNode { node: NodeId, reason: &'a [u8] },
    /// `corosync_cfg_try_shutdown`.
    TryShutdown { flags: u32 },
    /// `corosync_cfg_replyto_shutdown`.
    ShutdownReply { yes: bool },
    /// `corosync_cfg_get_node_addrs`; node 0 is the local one.
    NodeAddresses { node: NodeId },
    /// `corosync_cfg_local_get`.
    LocalGet,
    /// `corosync_cfg_reload_config`.
    Reload,
    /// `corosync_cfg_reopen_log_files`.
    ReopenLogs,
    /// `corosync_cfg_node_status_get`.
    NodeStatus { node: NodeId, version: u32 },
    /// `corosync_cfg_trackstart`.
    TrackStart,
    /// `corosync_cfg_trackstop`.
    TrackStop,
}

impl<'a> Request<'a> {
    /// Checks and takes apart a request.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn decode(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let (id, bytes) = open(bytes, REQUEST_HEADER)?;
        let v = View(bytes);
        Ok(match id {
            0 => Self::RingStatus,
            1 => Self::RingReenable,
            2 => {
                let field = v.bytes(26, REASON_FIELD)?;
                let reason = field.get(..usize::from(v.u16(24)?)).ok_or(Malformed::Name)?;
                Self::KillNode { node: NodeId::new(v.u32(16)?), reason }
            }
            3 => Self::TryShutdown { flags: v.u32(16)? },
            4 => Self::ShutdownReply { yes: v.u32(16)? != 0 },
            5 => Self::NodeAddresses { node: NodeId::new(v.u32(16)?) },
            6 => Self::LocalGet,
            7 => Self::Reload,
            8 => Self::ReopenLogs,
            9 => Self::NodeStatus { node: NodeId::new(v.u32(16)?), version: v.u32(24)? },
            10 => Self::TrackStart,
            11 => Self::TrackStop,
            id => return Err(Malformed::UnknownId(id)),
        })
    }

    /// The message. A reason longer than its field is cut.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::RingStatus => Build::request(0, 16),
            Self::RingReenable => Build::request(1, 16),
            Self::KillNode { node, reason } => {
                let reason = reason.get(..REASON_FIELD - 1).unwrap_or(reason);
                Build::request(2, 288)
                    .u32(16, node.get())
                    .u16(24, u16::try_from(reason.len()).expect("cut to its field"))
                    .bytes(26, reason)
            }
            Self::TryShutdown { flags } => Build::request(3, 24).u32(16, *flags),
            Self::ShutdownReply { yes } => Build::request(4, 24).u32(16, (*yes).into()),
            Self::NodeAddresses { node } => Build::request(5, 24).u32(16, node.get()),
            Self::LocalGet => Build::request(6, 16),
            Self::Reload => Build::request(7, 16),
            Self::ReopenLogs => Build::request(8, 16),
            Self::NodeStatus { node, version } => Build::request(9, 32).u32(16, node.get()).u32(24, *version),
            Self::TrackStart => Build::request(10, 24),
            Self::TrackStop => Build::request(11, 16),
        }
        .done()
    }
}

pub(super) fn reply_shape(request: i32) -> Option<(i32, usize)> {
    Some(match request {
        0 => (0, RING_STATUS_REPLY),
        1 => (1, 24),
        2 => (8, 24),
        3 => (9, 24),
        4 => (13, 24),
        5 => (11, 32),
        6 => (12, 32),
        7 => (14, 24),
        8 => (15, 24),
        9 => (16, NODE_STATUS_REPLY),
        10 => (2, 24),
        11 => (3, 24),
        _ => return None,
    })
}

/// Reply to [`Request::RingStatus`]: name and status of each link. What does not fit is left out.
#[must_use]
pub fn ring_status_reply(links: &[(String, String)]) -> Vec<u8> {
    let n = links.len().min(INTERFACES_MAX);
    let b = Build::reply(0, RING_STATUS_REPLY, CsError::Ok).count(24, n);
    links[..n]
        .iter()
        .enumerate()
        .fold(b, |b, (k, (name, status))| {
            b.text(32 + 128 * k, 128, name.as_bytes()).text(2_080 + 512 * k, 512, status.as_bytes())
        })
        .done()
}

/// Name and status of each link out of a reply to [`Request::RingStatus`].
///
/// # Errors
/// What the server answered.
pub fn ring_status_from(reply: &[u8]) -> Result<Vec<(String, String)>, CsError> {
    let v = open_reply(reply)?;
    let n = v.count(24)?;
    if n > INTERFACES_MAX {
        return Err(CsError::MessageError);
    }
    let text = |at, field| v.text(at, field).map(|t| String::from_utf8_lossy(t).into_owned());
    (0..n).map(|k| Ok((text(32 + 128 * k, 128)?, text(2_080 + 512 * k, 512)?))).collect()
}

/// Reply to [`Request::NodeAddresses`]: the addresses of one family; others are left out.
#[must_use]
pub fn node_addresses_reply(addresses: &[IpAddr]) -> Vec<u8> {
    let v6 = addresses.first().is_some_and(IpAddr::is_ipv6);
    let same: Vec<_> = addresses.iter().filter(|a| a.is_ipv6() == v6).take(STATUS_LINKS).collect();
    let family = if v6 { AF_INET6 } else { AF_INET };
    let b = Build::reply(11, 32 + 16 * same.len(), CsError::Ok).u32(24, family).count(28, same.len());
    same.iter()
        .enumerate()
        .fold(b, |b, (k, address)| match address {
            IpAddr::V4(a) => b.bytes(32 + 16 * k, &a.octets()),
            IpAddr::V6(a) => b.bytes(32 + 16 * k, &a.octets()),
        })
        .done()
}

/// Addresses out of a reply to [`Request::NodeAddresses`].
///
/// # Errors
/// What the server answered.
pub fn node_addresses_from(reply: &[u8]) -> Result<Vec<IpAddr>, CsError> {
    let v = open_reply(reply)?;
    let (family, n) = (v.u32(24)?, v.count(28)?);
    let slot = |k: usize| -> Result<IpAddr, Malformed> {
        let at = k.checked_mul(16).and_then(|n| n.checked_add(32)).ok_or(Malformed::Content)?;
        Ok(match family {
            AF_INET6 => IpAddr::from(v.array::<16>(at)?),
            _ => IpAddr::from(v.array::<4>(at)?),
        })
    };
    (0..n).map(|k| slot(k).map_err(CsError::from)).collect()
}

/// Reply to [`Request::LocalGet`].
#[must_use]
pub fn local_reply(me: NodeId) -> Vec<u8> {
    Build::reply(12, 32, CsError::Ok).u32(24, me.get()).done()
}

/// The node id out of a reply to [`Request::LocalGet`].
///
/// # Errors
/// What the server answered.
pub fn local_from(reply: &[u8]) -> Result<NodeId, CsError> {
    Ok(NodeId::new(open_reply(reply)?.u32(24)?))
}

/// Reply to [`Request::NodeStatus`], version 1.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeStatus {
    /// Which node.
    pub node: NodeId,
    /// Whether any link reaches it.
    pub reachable: bool,
    /// Version of the wire protocol: lowest, highest, in use.
    pub onwire: [u8; 3],
    /// Its links, by number; at most [`STATUS_LINKS`].
    pub links: Vec<LinkStatus>,
}

/// One link of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkStatus {
    /// Configured.
    pub enabled: bool,
    /// Works.
    pub connected: bool,
    /// Bytes of a packet.
    pub mtu: u32,
    /// Address here.
    pub source: String,
    /// Address there.
    pub destination: String,
}

impl NodeStatus {
    /// The reply.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let b = Build::reply(16, NODE_STATUS_REPLY, CsError::Ok)
            .u32(24, NODE_STATUS_V1)
            .u32(28, self.node.get())
            .u8(32, self.reachable.into())
            .bytes(35, &self.onwire);
        self.links
            .iter()
            .take(STATUS_LINKS)
            .enumerate()
            .fold(b, |b, (k, link)| {
                let at = 40 + LINK_STATUS * k;
                b.u8(at, link.enabled.into())
                    .u8(at + 1, link.connected.into())
                    .u32(at + 4, link.mtu)
                    .text(at + 8, 256, link.source.as_bytes())
                    .text(at + 264, 256, link.destination.as_bytes())
            })
            .done()
    }

    /// Out of a reply; links that are not enabled keep their place.
    ///
    /// # Errors
    /// What the server answered.
    pub fn from_reply(reply: &[u8]) -> Result<Self, CsError> {
        let v = open_reply(reply)?;
        let link = |k| -> Result<LinkStatus, Malformed> {
            let at = 40 + LINK_STATUS * k;
            let text = |at| v.text(at, 256).map(|t| String::from_utf8_lossy(t).into_owned());
            Ok(LinkStatus {
                enabled: v.u8(at)? != 0,
                connected: v.u8(at + 1)? != 0,
                mtu: v.u32(at + 4)?,
                source: text(at + 8)?,
                destination: text(at + 264)?,
            })
        };
        Ok(Self {
            node: NodeId::new(v.u32(28)?),
            reachable: v.u8(32)? != 0,
            onwire: v.array(35)?,
            links: (0..STATUS_LINKS).map(link).collect::<Result<_, _>>()?,
        })
    }
}

/// Reply to [`Request::NodeStatus`] that carries nothing but an error: the short form that libcfg accepts.
#[must_use]
pub fn node_status_error(error: CsError) -> Vec<u8> {
    Build::reply(16, 32, error).done()
}

/// The one event: whether the daemon may shut down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TestShutdown {
    /// As in the request that asks for it.
    pub flags: u32,
    /// A vote timed out.
    pub timed_out: bool,
}

impl TestShutdown {
    /// Checks and takes apart an event.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let (id, bytes) = open(bytes, REPLY_HEADER)?;
        if id != 10 {
            return Err(Malformed::UnknownId(id));
        }
        let v = View(bytes);
        Ok(Self { flags: v.u32(24)?, timed_out: v.i32(16)? != CsError::Ok.code() })
    }

    /// The message.
    #[must_use]
    pub fn encode(self) -> Vec<u8> {
        let error = if self.timed_out { CsError::Timeout } else { CsError::Ok };
        Build::reply(10, 32, error).u32(24, self.flags).done()
    }
}

const REASON_FIELD: usize = 256;
const RING_STATUS_REPLY: usize = 10_272;
const NODE_STATUS_REPLY: usize = 4_200;
const LINK_STATUS: usize = 520;
const AF_INET: u32 = 2;
const AF_INET6: u32 = 10;
const _: () = assert!(40 + STATUS_LINKS * LINK_STATUS == NODE_STATUS_REPLY);
const _: () = assert!(2_080 + INTERFACES_MAX * 512 == RING_STATUS_REPLY);
