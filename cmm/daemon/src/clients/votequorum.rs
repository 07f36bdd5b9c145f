//! VOTEQUORUM: votes, expected votes, node states, and the quorum device as this daemon has it. A device of a client's own is refused.

use std::collections::BTreeMap;

use cmm_ipc::CsError;
use cmm_ipc::abi::quorum::{TRACK_CHANGES, TRACK_CHANGES_ONLY, TRACK_CURRENT};
use cmm_ipc::abi::votequorum::{Event, Info, Request, flags};
use cmm_proto::{Node, NodeListNotice, QuorumView};
use holdfast_types::{Boottime, ConnId, NodeId, Votes};

use super::peers::Peers;
use super::{Answer, refusal};

/// The service.
#[derive(Default)]
pub(super) struct Votequorum {
    /// Trackers with their contexts.
    trackers: BTreeMap<ConnId, u64>,
    /// Expected votes as told last.
    expected: Option<Votes>,
}

impl Votequorum {
    pub(super) fn handle(
        &mut self,
        conn: ConnId,
        request: &Request<'_>,
        peers: &mut Peers,
        node: &mut Node,
        now: Boottime,
    ) -> Answer {
        let outcome = match *request {
            Request::GetInfo { node: asked } => {
                let asked = if asked == NodeId::default() { node.me() } else { asked };
                return match info(node.quorum_view(), asked) {
                    Some(info) => Answer::Reply(info.encode()),
                    None => Answer::Error(CsError::NotExist),
                };
            }
            Request::SetExpected { expected } => {
                let unchanged = node.quorum_view().highest_expected == expected;
                match node.submit(now, cmm_proto::Request::SetExpectedVotes(expected)).map_err(refusal) {
                    // Nothing will change, so nothing else would tell the trackers that it was set.
                    Ok(()) if unchanged => {
                        self.tell_expected(expected, peers, now);
                        Ok(())
                    }
                    Ok(()) => Ok(()),
                    Err(CsError::TryAgain) => return Answer::Hold,
                    Err(error) => Err(error),
                }
            }
            Request::SetVotes { votes, node: whose } => {
                let whose = if whose == NodeId::default() { node.me() } else { whose };
                match node.submit(now, cmm_proto::Request::SetVotes { node: whose, votes }).map_err(refusal) {
                    Err(CsError::TryAgain) => return Answer::Hold,
                    outcome => outcome,
                }
            }
            Request::TrackStart { context, flags } => {
                let changes = flags & (TRACK_CHANGES | TRACK_CHANGES_ONLY) != 0;
                // Before the reply: callers dispatch without waiting right after it.
                if flags & (TRACK_CURRENT | TRACK_CHANGES) != 0 {
                    let view = node.quorum_view();
                    let list = Event::NodeList { context, ring: view.ring, members: view.members.clone() };
                    peers.send_event(conn, &[&list.encode()], now);
                    peers.send_event(conn, &[&notification(view, context).encode()], now);
                }
                match self.trackers.contains_key(&conn) {
                    true if changes => Err(CsError::Exist),
                    _ => {
                        if changes {
                            self.trackers.insert(conn, context);
                        }
                        Ok(())
                    }
                }
            }
            Request::TrackStop => self.trackers.remove(&conn).map(drop).ok_or(CsError::NotExist),
            Request::QdeviceRegister { .. } => Err(CsError::Access),
            Request::QdeviceUnregister { .. }
            | Request::QdeviceUpdate { .. }
            | Request::QdevicePoll { .. }
            | Request::QdeviceMasterWins { .. } => Err(CsError::NotExist),
        };
        Answer::Error(outcome.err().unwrap_or(CsError::Ok))
    }

    /// The membership is synchronised; quorum is decided afterwards.
    pub(super) fn node_list(&self, notice: &NodeListNotice, peers: &mut Peers, now: Boottime) {
        for (conn, context) in &self.trackers {
            let list =
                Event::NodeList { context: *context, ring: notice.ring, members: notice.members.clone() };
            peers.send_event(*conn, &[&list.encode()], now);
        }
    }

    /// Quorum is decided, or votes have changed.
    pub(super) fn quorum(&mut self, view: &QuorumView, peers: &mut Peers, now: Boottime) {
        for (conn, context) in &self.trackers {
            peers.send_event(*conn, &[&notification(view, *context).encode()], now);
        }
        // The first value is no news.
        if self.expected.replace(view.highest_expected).is_some_and(|told| told != view.highest_expected) {
            self.tell_expected(view.highest_expected, peers, now);
        }
    }

    pub(super) fn closed(&mut self, conn: ConnId) {
        self.trackers.remove(&conn);
    }

    fn tell_expected(&self, expected: Votes, peers: &mut Peers, now: Boottime) {
        for (conn, context) in &self.trackers {
            let message = Event::ExpectedVotes { context: *context, expected }.encode();
            peers.send_event(*conn, &[&message], now);
        }
    }
}

/// The quorum device, where a node is asked for (`VOTEQUORUM_QDEVICE_NODEID`).
const QDEVICE: NodeId = NodeId::new(0);

fn info(view: &QuorumView, asked: NodeId) -> Option<Info> {
    let of_device = view.device.filter(|_| asked == QDEVICE).map(|device| cmm_proto::NodeVotes {
        node: QDEVICE,
        state: if device.counts { 1 } else { 2 },
        votes: device.votes,
        expected: view.expected,
        incarnation: None,
    });
    let entry = of_device.or_else(|| view.nodes.iter().find(|n| n.node == asked).copied())?;
    let flag = |set: bool, bit: u32| if set { bit } else { 0 };
    Some(Info {
        node: asked,
        state: entry.state,
        votes: entry.votes,
        expected: entry.expected,
        highest_expected: view.highest_expected,
        total: view.total,
        quorum: view.quorum,
        flags: flag(view.two_node, flags::TWO_NODE)
            | flag(view.quorate, flags::QUORATE)
            | flag(view.wait_for_all, flags::WAIT_FOR_ALL)
            | flag(view.last_man_standing, flags::LAST_MAN_STANDING)
            | flag(view.tie.is_some(), flags::AUTO_TIE_BREAKER)
            | flag(view.allow_downscale, flags::ALLOW_DOWNSCALE)
            | flag(view.device.is_some(), flags::QDEVICE_REGISTERED)
            | flag(view.has_device(), flags::QDEVICE_ALIVE | flags::QDEVICE_CAST_VOTE),
        qdevice_votes: view.device.map_or(Votes::new(0), |d| d.votes),
        qdevice_name: view.device.map_or(String::new(), |d| d.name.to_owned()),
    })
}

fn notification(view: &QuorumView, context: u64) -> Event {
    Event::Quorum {
        quorate: view.quorate,
        context,
        nodes: view.nodes.iter().map(|n| (n.node, n.state)).collect(),
    }
}
