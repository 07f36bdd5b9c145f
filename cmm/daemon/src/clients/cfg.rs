//! CFG: what the links and nodes are doing, shutting down with the consent of those who asked to be asked, killing a
//! node.

use std::collections::BTreeSet;
use std::net::IpAddr;

use cmm_ipc::abi::cfg::{
    LinkStatus, NODE_STATUS_V1, NodeStatus, Request, SHUTDOWN_IMMEDIATE, SHUTDOWN_REGARDLESS, TestShutdown,
    local_reply, node_addresses_reply, node_status_error, ring_status_reply,
};
use cmm_ipc::{CsError, Service};
use cmm_proto::Node;
use holdfast_types::{Boottime, ConnId, LinkId, NodeId, Span};

use super::peers::Peers;
use super::{Action, Answer, ClientNode, refusal};

/// The service.
pub(super) struct Cfg {
    nodes: Vec<ClientNode>,
    transport: String,
    trackers: BTreeSet<ConnId>,
    shutdown: Option<Shutdown>,
    /// Who waits for the configuration to be read.
    reloads: Vec<ConnId>,
}

/// A shutdown that somebody asked for and others have not answered yet.
struct Shutdown {
    requester: ConnId,
    regardless: bool,
    waiting: BTreeSet<ConnId>,
    refused: bool,
    deadline: Boottime,
}

/// What serving a request takes.
pub(super) struct Context<'a> {
    pub(super) peers: &'a mut Peers,
    pub(super) node: &'a mut Node,
    pub(super) now: Boottime,
    /// How long a shutdown waits for its answers.
    pub(super) patience: Span,
    /// What the daemon itself must do.
    pub(super) actions: &'a mut Vec<Action>,
}

impl Cfg {
    pub(super) fn new(nodes: Vec<ClientNode>, transport: String) -> Self {
        Self { nodes, transport, trackers: BTreeSet::new(), shutdown: None, reloads: Vec::new() }
    }

    /// The node list from now on.
    pub(super) fn set_nodes(&mut self, nodes: Vec<ClientNode>) {
        self.nodes = nodes;
    }

    pub(super) fn handle(
        &mut self,
        conn: ConnId,
        request: &Request<'_>,
        context: &mut Context<'_>,
    ) -> Answer {
        let Context { peers, node, now, actions, .. } = context;
        let outcome = match *request {
            Request::RingStatus => return Answer::Reply(ring_status_reply(&self.ring_status(node))),
            Request::LocalGet => return Answer::Reply(local_reply(node.me())),
            Request::NodeAddresses { node: asked } => match self.find(asked, node.me()) {
                Some(entry) => {
                    let addresses: Vec<IpAddr> = entry.addresses.iter().map(|(_, ip)| *ip).collect();
                    return Answer::Reply(node_addresses_reply(&addresses));
                }
                None => Err(CsError::NotExist),
            },
            Request::NodeStatus { version, .. } if version != NODE_STATUS_V1 => {
                return Answer::Reply(node_status_error(CsError::NotSupported));
            }
            Request::NodeStatus { node: asked, .. } => match self.node_status(asked, node) {
                Some(status) => return Answer::Reply(status.encode()),
                None => Err(CsError::FailedOperation),
            },
            Request::KillNode { node: target, reason } => {
                if !node.members().contains(&target) {
                    Err(CsError::NotExist)
                } else {
                    let why = String::from_utf8_lossy(reason);
                    let request =
                        cmm_proto::Request::KillNode { node: target, why: why.trim_end_matches('\0') };
                    match node.submit(*now, request).map_err(refusal) {
                        Err(CsError::TryAgain) => return Answer::Hold,
                        outcome => outcome,
                    }
                }
            }
            Request::TryShutdown { flags } => {
                return self.try_shutdown(conn, flags, context);
            }
            Request::ShutdownReply { yes } => {
                let asked = self.shutdown.as_mut().filter(|s| s.waiting.contains(&conn));
                if let Some(shutdown) = asked {
                    shutdown.waiting.remove(&conn);
                    shutdown.refused |= !yes;
                    self.decide(peers, actions);
                    Ok(())
                } else {
                    Err(CsError::Access)
                }
            }
            Request::ReopenLogs => {
                actions.push(Action::ReopenLogs);
                Ok(())
            }
            Request::TrackStart => {
                if self.trackers.insert(conn) {
                    Ok(())
                } else {
                    Err(CsError::Exist)
                }
            }
            Request::TrackStop => {
                let tracked = self.trackers.remove(&conn);
                self.withdraw(conn, peers, actions);
                if tracked { Ok(()) } else { Err(CsError::NotExist) }
            }
            // Answered when this node has done it. libcfg waits for that.
            Request::Reload if self.reloads.contains(&conn) => Err(CsError::TryAgain),
            Request::Reload => match node.submit(*now, cmm_proto::Request::Reload).map_err(refusal) {
                Err(CsError::TryAgain) => return Answer::Hold,
                Ok(()) => {
                    self.reloads.push(conn);
                    return Answer::None;
                }
                refused => refused,
            },
            Request::RingReenable => Err(CsError::NotSupported),
        };
        Answer::Error(outcome.err().unwrap_or(CsError::Ok))
    }

    fn try_shutdown(&mut self, conn: ConnId, flags: u32, context: &mut Context<'_>) -> Answer {
        if self.shutdown.is_some() {
            return Answer::Error(CsError::Exist);
        }
        let waiting: BTreeSet<ConnId> = self.trackers.iter().copied().filter(|c| *c != conn).collect();
        if flags == SHUTDOWN_IMMEDIATE || waiting.is_empty() {
            context.actions.push(Action::Shutdown);
            return Answer::Error(CsError::Ok);
        }
        let question = TestShutdown { flags, timed_out: false }.encode();
        for tracker in &waiting {
            context.peers.send_event(*tracker, &[&question], context.now);
        }
        self.shutdown = Some(Shutdown {
            requester: conn,
            regardless: flags == SHUTDOWN_REGARDLESS,
            waiting,
            refused: false,
            deadline: context.now + context.patience,
        });
        Answer::None
    }

    /// The configuration was read, and taken over or refused.
    pub(super) fn reloaded(&mut self, taken: bool, peers: &mut Peers) {
        let error = if taken { CsError::Ok } else { CsError::InvalidParam };
        for conn in self.reloads.drain(..) {
            peers.send_response(conn, &Service::Cfg.error_reply(RELOAD, error));
            peers.wake(conn);
        }
    }

    /// When an unanswered shutdown is decided.
    pub(super) fn next_timeout(&self) -> Option<Boottime> {
        self.shutdown.as_ref().map(|s| s.deadline)
    }

    pub(super) fn on_timer(&mut self, peers: &mut Peers, now: Boottime, actions: &mut Vec<Action>) {
        if let Some(shutdown) = self.shutdown.as_mut().filter(|s| s.deadline <= now) {
            shutdown.refused |= !shutdown.waiting.is_empty();
            shutdown.waiting.clear();
            self.decide(peers, actions);
        }
    }

    /// The connection is gone: it refuses nothing, and a shutdown that it asked for goes on without it.
    pub(super) fn closed(&mut self, conn: ConnId, peers: &mut Peers, actions: &mut Vec<Action>) {
        self.trackers.remove(&conn);
        self.reloads.retain(|waits| *waits != conn);
        self.withdraw(conn, peers, actions);
    }

    fn withdraw(&mut self, conn: ConnId, peers: &mut Peers, actions: &mut Vec<Action>) {
        if let Some(shutdown) = &mut self.shutdown {
            shutdown.waiting.remove(&conn);
            self.decide(peers, actions);
        }
    }

    fn decide(&mut self, peers: &mut Peers, actions: &mut Vec<Action>) {
        let Some(shutdown) = self.shutdown.take_if(|s| s.waiting.is_empty() || s.refused && !s.regardless)
        else {
            return;
        };
        let goes = !shutdown.refused || shutdown.regardless;
        let error = if goes { CsError::Ok } else { CsError::Busy };
        peers.send_response(shutdown.requester, &Service::Cfg.error_reply(TRY_SHUTDOWN, error));
        peers.wake(shutdown.requester);
        if goes {
            actions.push(Action::Shutdown);
        }
    }

    fn find(&self, asked: NodeId, me: NodeId) -> Option<&ClientNode> {
        let id = if asked == NodeId::default() { me } else { asked };
        self.nodes.iter().find(|n| n.id == id)
    }

    /// For udp and udpu one word a link; for knet, as corosync prints it, one digit a node: bit 0 enabled, bit 1
    /// connected, `n` for this node.
    fn ring_status(&self, node: &Node) -> Vec<(String, String)> {
        let Some(local) = self.find(node.me(), node.me()) else { return vec![] };
        let digits = |link: LinkId| -> String {
            let digit = |n: &ClientNode| match () {
                () if n.id == node.me() => 'n',
                () if address(n, link).is_none() => '0',
                () if node.links().up(n.id).contains(link) => '3',
                () => '1',
            };
            self.nodes.iter().map(digit).collect()
        };
        let word = |link: LinkId, ip: &IpAddr| match node.links().faulty().contains(link) {
            true => format!("Marking ringid {link} interface {ip} FAULTY"),
            false => "OK".to_owned(),
        };
        let text = |link, ip| if self.transport == "knet" { digits(link) } else { word(link, ip) };
        local.addresses.iter().map(|(link, ip)| (format!("{link} {ip}"), text(*link, ip))).collect()
    }

    fn node_status(&self, asked: NodeId, node: &Node) -> Option<NodeStatus> {
        let entry = self.find(asked, node.me())?;
        let local = self.find(node.me(), node.me())?;
        let me = entry.id == node.me();
        let up = node.links().up(entry.id);
        // The place of a link in the reply is its number.
        let link = |k: u8| {
            let link = LinkId::new(k);
            let Some(ip) = address(entry, link) else { return LinkStatus::default() };
            LinkStatus {
                enabled: true,
                connected: up.contains(link),
                mtu: node.links().stats(entry.id, link).mtu as u32,
                source: address(local, link).map(|ip| ip.to_string()).unwrap_or_default(),
                destination: ip.to_string(),
            }
        };
        let count = entry.addresses.last().map_or(0, |(link, _)| link.get() + 1);
        Some(NodeStatus {
            node: entry.id,
            reachable: me || !up.is_empty(),
            onwire: [1, 1, 1],
            links: (0..count).map(link).collect(),
        })
    }
}

fn address(node: &ClientNode, link: LinkId) -> Option<IpAddr> {
    node.addresses.iter().find(|(id, _)| *id == link).map(|(_, ip)| *ip)
}

/// Request id of try shutdown.
const TRY_SHUTDOWN: i32 = 3;
/// Request id of reloading.
const RELOAD: i32 = 7;
