//! One member's side of one ring's order: its window, what it knows from the token, what it adds to it.

use holdfast_types::{MsgSeq, NodeId, RingId, TokenSeq};

use super::flow::Flow;
use super::window::{Frame, Window};
use crate::limits::{RETRANSMIT_REQUESTS_MAX, WINDOW_FRAMES_MAX};
use crate::wire::{Mcast, NodeSet, Token};

/// The order of one ring as this member takes part in it.
#[derive(Debug)]
pub(super) struct Turn {
    pub(super) id: RingId,
    pub(super) members: NodeSet,
    pub(super) window: Window,
    pub(super) flow: Flow,
    /// Number of the last token handled here.
    pub(super) token_seq: TokenSeq,
    /// Every member is known to have every frame up to here.
    pub(super) safe: MsgSeq,
    /// Visits in a row without news: nothing sent, nothing missing anywhere.
    pub(super) idle_visits: u32,
    /// What left here last.
    sent: Option<Sent>,
    /// `seq` of the token when it came the last time: what lacks of that has had a rotation's time to arrive.
    seq_before: MsgSeq,
    /// Visits in a row in which one and the same member held the aru back.
    stuck_visits: u32,
}

/// The token as it was passed on.
#[derive(Debug)]
struct Sent {
    frame: Vec<u8>,
    seq: MsgSeq,
    aru: MsgSeq,
    aru_id: Option<NodeId>,
}

impl Turn {
    pub(super) fn new(id: RingId, members: NodeSet, flow: Flow) -> Self {
        Self {
            id,
            members,
            window: Window::default(),
            flow,
            token_seq: TokenSeq::default(),
            safe: MsgSeq::default(),
            idle_visits: 0,
            sent: None,
            seq_before: MsgSeq::default(),
            stuck_visits: 0,
        }
    }

    pub(super) fn is_alone(&self) -> bool {
        self.members.len() == 1
    }

    /// Learns from a token that has been all the way round.
    ///
    /// Everybody lowers the aru to its own, and only who lowered it raises it again, once a visit. So what the aru
    /// said when it left here, and still says when it is back, holds for every member: those frames are safe.
    pub(super) fn observe(&mut self, token: &Token) {
        self.token_seq = token.token_seq;
        let Some(sent) = &self.sent else { return };
        self.safe = self.safe.max(token.aru.min(sent.aru)).min(self.window.aru());
        let idle = token.seq == sent.seq && token.aru == token.seq && token.requests.is_empty();
        self.idle_visits = if idle { self.idle_visits.saturating_add(1) } else { 0 };
        let stuck = token.aru == sent.aru && token.aru < token.seq && token.aru_id == sent.aru_id;
        self.stuck_visits = if stuck { self.stuck_visits.saturating_add(1) } else { 0 };
    }

    /// The member that holds the aru back, and for how many visits it has.
    pub(super) fn laggard(&self) -> Option<(NodeId, u32)> {
        self.sent.as_ref().and_then(|s| s.aru_id).map(|id| (id, self.stuck_visits))
    }

    /// Answers requests for frames that are here, and drops those that everybody has.
    pub(super) fn serve(&self, token: &mut Token, frames: &mut Vec<Vec<u8>>) {
        token.requests.retain(|seq| {
            if let Some(frame) = self.window.get(*seq) {
                frames.push(self.encode(*seq, frame));
                return false;
            }
            *seq > self.safe && *seq <= token.seq
        });
    }

    /// Gives the next place in the order to `frame`; as bytes to send.
    pub(super) fn append(&mut self, token: &mut Token, frame: Frame) -> Vec<u8> {
        token.seq = token.seq.next();
        let bytes = self.encode(token.seq, &frame);
        let taken = self.window.insert(token.seq, || frame);
        assert!(taken, "only the holder of the token gives out sequence numbers");
        bytes
    }

    /// New frames there is room for: the laggards have to catch up before there are more, and after an honest token
    /// each of them has a free place in the window.
    pub(super) fn room(&self, token: &Token) -> u32 {
        if token.seq < self.window.high() {
            return 0;
        }
        let outstanding = token.seq.get() - token.aru.get();
        let room =
            (WINDOW_FRAMES_MAX as u64).saturating_sub(outstanding).min(self.window.places_after(token.seq));
        u32::try_from(room).unwrap_or(u32::MAX)
    }

    /// Asks for what has had its time to arrive and did not. How many requests were added.
    pub(super) fn request(&mut self, token: &mut Token) -> u32 {
        let mut added = 0;
        for seq in self.window.missing(self.seq_before.min(token.seq)) {
            if token.requests.len() == RETRANSMIT_REQUESTS_MAX {
                break;
            }
            if !token.requests.contains(&seq) {
                token.requests.push(seq);
                added += 1;
            }
        }
        added
    }

    /// Lowers the aru to ours, or raises it if we lowered it, or if nobody did.
    pub(super) fn settle_aru(&self, token: &mut Token, me: NodeId) {
        let mine = self.window.aru().min(token.seq);
        if mine < token.aru || token.aru_id == Some(me) || token.aru_id.is_none() {
            token.aru = mine;
            token.aru_id = (mine < token.seq).then_some(me);
        }
    }

    /// The token as bytes, with its next number; kept for retransmission.
    pub(super) fn pass(&mut self, token: &mut Token) -> Vec<u8> {
        token.token_seq = TokenSeq::new(token.token_seq.get() + 1);
        let frame = token.encode();
        self.note_sent(token, frame.clone());
        frame
    }

    /// Remembers what the token said when this member was done with it.
    pub(super) fn note_sent(&mut self, token: &Token, frame: Vec<u8>) {
        self.sent = Some(Sent { frame, seq: token.seq, aru: token.aru, aru_id: token.aru_id });
    }

    /// To be called with the `seq` the token came with, when the visit is over.
    pub(super) fn end_visit(&mut self, seq_on_arrival: MsgSeq) {
        self.seq_before = seq_on_arrival;
    }

    /// The token passed on last.
    pub(super) fn sent_frame(&self) -> Option<&[u8]> {
        self.sent.as_ref().map(|s| &*s.frame)
    }

    /// `seq` of the token passed on last: a higher frame proves that it arrived.
    pub(super) fn sent_seq(&self) -> Option<MsgSeq> {
        self.sent.as_ref().map(|s| s.seq)
    }

    fn encode(&self, seq: MsgSeq, frame: &Frame) -> Vec<u8> {
        Mcast {
            ring: self.id,
            seq,
            sender: frame.sender,
            guarantee: frame.guarantee,
            wrapped: frame.wrapped,
            payload: &frame.payload,
        }
        .encode()
    }
}
