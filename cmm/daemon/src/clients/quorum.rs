//! QUORUM: quorate or not, and who is in the partition.

use std::collections::BTreeMap;

use cmm_ipc::abi::quorum::{
    Event, Request, TRACK_CHANGES, TRACK_CHANGES_ONLY, TRACK_CURRENT, TYPE_SET, quorate_reply, type_reply,
};
use cmm_ipc::{CsError, Service};
use cmm_proto::{NodeListNotice, QuorumView};
use holdfast_types::{Boottime, ConnId};

use super::Answer;
use super::peers::Peers;

/// The service. Quorum is always in force, so its type is always "set".
#[derive(Default)]
pub(super) struct Quorum {
    conns: BTreeMap<ConnId, Conn>,
}

#[derive(Clone, Copy, Default)]
struct Conn {
    model: u32,
    tracks: bool,
}

impl Quorum {
    pub(super) fn handle(
        &mut self,
        conn: ConnId,
        request: Request,
        peers: &mut Peers,
        view: &QuorumView,
        now: Boottime,
    ) -> Answer {
        let state = self.conns.entry(conn).or_default();
        match request {
            Request::GetQuorate => Answer::Reply(quorate_reply(view.quorate)),
            Request::GetType => Answer::Reply(type_reply(None, TYPE_SET)),
            Request::ModelGetType { model: model @ (0 | 1) } => {
                state.model = model;
                Answer::Reply(type_reply(Some(model), TYPE_SET))
            }
            Request::ModelGetType { .. } => Answer::Error(CsError::InvalidParam),
            Request::TrackStart { flags } => {
                let model = state.model;
                let tracked = state.tracks;
                state.tracks |= flags & (TRACK_CHANGES | TRACK_CHANGES_ONLY) != 0;
                // Before the reply: callers dispatch without waiting right after it.
                if flags & (TRACK_CURRENT | TRACK_CHANGES) != 0 {
                    if model == 1 {
                        let list = Event::NodeList {
                            ring: view.ring,
                            members: view.members.clone(),
                            joined: vec![],
                            left: vec![],
                        };
                        peers.send_event(conn, &[&list.encode()], now);
                    }
                    peers.send_event(conn, &[&notification(model, view).encode()], now);
                }
                let again = tracked && flags & (TRACK_CHANGES | TRACK_CHANGES_ONLY) != 0;
                Answer::Error(if again { CsError::Exist } else { CsError::Ok })
            }
            Request::TrackStop => {
                state.tracks = false;
                Answer::Reply(Service::Quorum.error_reply(2, CsError::Ok))
            }
        }
    }

    /// The membership is synchronised; quorum is decided afterwards.
    pub(super) fn node_list(&self, notice: &NodeListNotice, peers: &mut Peers, now: Boottime) {
        let message = Event::NodeList {
            ring: notice.ring,
            members: notice.members.clone(),
            joined: notice.joined.clone(),
            left: notice.left.clone(),
        }
        .encode();
        for (conn, _) in self.trackers(|model| model == 1) {
            peers.send_event(conn, &[&message], now);
        }
    }

    /// Quorum is decided.
    pub(super) fn quorum(&self, view: &QuorumView, peers: &mut Peers, now: Boottime) {
        for (conn, model) in self.trackers(|_| true) {
            peers.send_event(conn, &[&notification(model, view).encode()], now);
        }
    }

    pub(super) fn closed(&mut self, conn: ConnId) {
        self.conns.remove(&conn);
    }

    fn trackers(&self, model: impl Fn(u32) -> bool) -> impl Iterator<Item = (ConnId, u32)> {
        self.conns.iter().filter(move |(_, c)| c.tracks && model(c.model)).map(|(conn, c)| (*conn, c.model))
    }
}

fn notification(model: u32, view: &QuorumView) -> Event {
    let (quorate, ring, members) = (view.quorate, view.ring, view.members.clone());
    match model {
        0 => Event::Notification { quorate, seq: ring.seq, view: members },
        _ => Event::Quorum { quorate, ring, view: members },
    }
}
