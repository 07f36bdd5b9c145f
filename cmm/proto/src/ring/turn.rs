//! One member's side of one ring's order: its window, what it knows from the token, what it adds to it.

use holdfast_types::{Boottime, MsgSeq, NodeId, RingId, Span, TokenSeq};

use super::flow::Flow;
use super::window::{Frame, Window};
use crate::bytes::Pool;
use crate::limits::{RETRANSMIT_REQUESTS_MAX, WINDOW_FRAMES_MAX};
use crate::wire::{Mcast, NodeSet, Token};
use crate::{Bytes, Guarantee};

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
    /// Who said with a frame that it keeps the token for a moment, since the token was here.
    pub(super) lingers_at: Option<NodeId>,
    /// What left here last.
    sent: Option<Sent>,
    /// How often it was sent again.
    resent: u32,
    /// `seq` of the token when it came the last time: what lacks of that has had a rotation's time to arrive.
    seq_before: MsgSeq,
    /// Visits in a row in which one and the same member held the aru back.
    stuck_visits: u32,
    /// Before the first of them.
    moved: Boottime,
}

/// The token as it was passed on.
#[derive(Debug)]
struct Sent {
    /// None where nobody else is there to get it.
    frame: Option<Bytes>,
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
            lingers_at: None,
            sent: None,
            resent: 0,
            seq_before: MsgSeq::default(),
            stuck_visits: 0,
            moved: Boottime::default(),
        }
    }

    pub(super) fn is_alone(&self) -> bool {
        self.members.len() == 1
    }

    /// Learns from a token that has been all the way round.
    ///
    /// Everybody lowers the aru to its own, and only who lowered it raises it again, once a visit. So what the aru
    /// said when it left here, and still says when it is back, holds for every member: those frames are safe.
    pub(super) fn observe(&mut self, now: Boottime, token: &Token) {
        self.token_seq = token.token_seq;
        self.lingers_at = None;
        let Some(sent) = &self.sent else { return };
        self.safe = self.safe.max(token.aru.min(sent.aru)).min(self.window.aru());
        let idle = token.seq == sent.seq && token.aru == token.seq && token.requests.is_empty();
        self.idle_visits = if idle { self.idle_visits.saturating_add(1) } else { 0 };
        let stuck = token.aru == sent.aru && token.aru < token.seq && token.aru_id == sent.aru_id;
        (self.stuck_visits, self.moved) =
            if stuck { (self.stuck_visits.saturating_add(1), self.moved) } else { (0, now) };
    }

    /// The member that holds the aru back, for how many visits it has, and since when.
    pub(super) fn laggard(&self) -> Option<(NodeId, u32, Boottime)> {
        let aru_id = self.sent.as_ref().and_then(|s| s.aru_id)?;
        Some((aru_id, self.stuck_visits, self.moved))
    }

    /// Answers requests for frames that are here, and drops those that everybody has.
    pub(super) fn serve(&self, token: &mut Token, frames: &mut Vec<Bytes>) {
        token.requests.retain(|seq| {
            if let Some(frame) = self.window.get(*seq) {
                frames.push(frame.bytes.clone());
                return false;
            }
            *seq > self.safe && *seq <= token.seq
        });
    }

    /// Gives the next place in the order to a frame of `sender` with the payload that `fill` adds; as bytes to send.
    pub(super) fn append(
        &mut self,
        token: &mut Token,
        pool: &mut Pool,
        (sender, guarantee, wrapped): (NodeId, Guarantee, bool),
        fill: impl FnOnce(&mut Vec<u8>),
    ) -> Bytes {
        token.seq = token.seq.next();
        let (ring, seq) = (self.id, token.seq);
        let bytes = pool.write(|out| {
            Mcast { ring, seq, sender, guarantee, wrapped, lingers: false, payload: &[] }.encode_into(out);
            fill(out);
        });
        let taken = self.window.insert(seq, || Frame { sender, guarantee, wrapped, bytes: bytes.clone() });
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
    pub(super) fn pass(&mut self, token: &mut Token, pool: &mut Pool) -> Bytes {
        token.token_seq = TokenSeq::new(token.token_seq.get() + 1);
        let frame = pool.write(|out| token.encode_into(out));
        self.note_sent(token, Some(frame.clone()));
        frame
    }

    /// Remembers what the token said when this member was done with it.
    pub(super) fn note_sent(&mut self, token: &Token, frame: Option<Bytes>) {
        self.resent = 0;
        self.sent = Some(Sent { frame, seq: token.seq, aru: token.aru, aru_id: token.aru_id });
    }

    /// To be called with the `seq` the token came with, when the visit is over.
    pub(super) fn end_visit(&mut self, seq_on_arrival: MsgSeq) {
        self.seq_before = seq_on_arrival;
    }

    /// When nothing proves the arrival of the token for this long it is sent again: soon on a busy ring, where everybody
    /// waits for it, then less and less often; at the configured interval on a quiet one, where it may be held.
    pub(super) fn resend_after(&self, configured: Span) -> Span {
        if self.is_quiet() { configured } else { configured.scale(1 << self.resent.min(3), 8) }
    }

    /// The token passed on last, to be sent again.
    pub(super) fn resend(&mut self) -> Option<Bytes> {
        self.resent += 1;
        self.sent.as_ref().and_then(|s| s.frame.clone())
    }

    /// The representative may hold the token now or at its next visit.
    pub(super) fn is_quiet(&self) -> bool {
        self.idle_visits + 1 >= HOLD_AFTER_VISITS
    }

    /// Whether a token was passed on.
    pub(super) fn has_sent(&self) -> bool {
        self.sent.is_some()
    }

    /// `seq` of the token passed on last: a higher frame proves that it arrived.
    pub(super) fn sent_seq(&self) -> Option<MsgSeq> {
        self.sent.as_ref().map(|s| s.seq)
    }
}

/// Visits without news after which the representative holds the token: enough for everybody to know that all is
/// safe, and for an answer to a message to find the token turning.
pub(super) const HOLD_AFTER_VISITS: u32 = 6;

#[cfg(test)]
mod tests {
    use arrayvec::ArrayVec;

    use super::*;

    const ME: NodeId = NodeId::new(1);
    const OTHER: NodeId = NodeId::new(2);

    fn turn() -> Turn {
        Turn::new(
            RingId { representative: ME, seq: 1 },
            [ME, OTHER].into_iter().collect(),
            Flow::new(50, 17, Span::from_millis(25)),
        )
    }

    fn token(seq: u64, aru: u64, aru_id: Option<NodeId>) -> Token {
        Token {
            ring: RingId { representative: ME, seq: 1 },
            token_seq: TokenSeq::new(1),
            seq: MsgSeq::new(seq),
            aru: MsgSeq::new(aru),
            aru_id,
            backlog: 0,
            fcc: 0,
            lagging: 0,
            recovery: None,
            requests: ArrayVec::new(),
        }
    }

    fn receive(turn: &mut Turn, seqs: &[u64]) {
        for seq in seqs.iter().map(|seq| MsgSeq::new(*seq)) {
            let (ring, sender, guarantee) = (turn.id, OTHER, Guarantee::Agreed);
            let m = Mcast { ring, seq, sender, guarantee, wrapped: false, lingers: false, payload: &[1] };
            let frame = || Frame { sender, guarantee, wrapped: false, bytes: m.encode().into() };
            assert!(turn.window.insert(seq, frame));
        }
    }

    #[test]
    fn safe_is_what_the_aru_said_on_leaving_and_on_coming_back() {
        let mut t = turn();
        receive(&mut t, &[1, 2, 3, 4, 5]);
        t.note_sent(&token(5, 4, Some(OTHER)), None);
        t.observe(Boottime::default(), &token(5, 5, None));
        assert_eq!(t.safe.get(), 4, "it may have been lowered and raised again");
        t.note_sent(&token(5, 5, None), None);
        t.observe(Boottime::default(), &token(5, 2, Some(OTHER)));
        assert_eq!(t.safe.get(), 4, "it never goes back");
        t.note_sent(&token(5, 5, None), None);
        t.observe(Boottime::default(), &token(9, 5, Some(OTHER)));
        assert_eq!(t.safe.get(), 5);
    }

    #[test]
    fn the_aru_is_lowered_by_who_lacks_and_raised_by_who_lowered() {
        let mut t = turn();
        receive(&mut t, &[1, 2, 3]);
        let settled = |mut token: Token| {
            t.settle_aru(&mut token, ME);
            (token.aru.get(), token.aru_id)
        };
        assert_eq!(settled(token(5, 5, None)), (3, Some(ME)));
        assert_eq!(settled(token(5, 1, Some(ME))), (3, Some(ME)));
        assert_eq!(settled(token(3, 1, Some(ME))), (3, None));
        assert_eq!(settled(token(5, 1, Some(OTHER))), (1, Some(OTHER)), "only who lowered it");
        assert_eq!(settled(token(5, 4, Some(OTHER))), (3, Some(ME)));
    }

    #[test]
    fn a_hole_is_asked_for_when_it_had_a_rotation_to_fill() {
        let mut t = turn();
        receive(&mut t, &[1, 3]);
        let mut first = token(5, 0, None);
        assert_eq!(t.request(&mut first), 0, "2, 4 and 5 may be on their way");
        t.end_visit(MsgSeq::new(5));
        let mut second = token(8, 0, None);
        assert_eq!(t.request(&mut second), 3);
        assert_eq!(second.requests.iter().map(|s| s.get()).collect::<Vec<_>>(), [2, 4, 5]);
        assert_eq!(t.request(&mut second), 0, "once");
    }

    #[test]
    fn requests_are_served_by_one_and_forgotten_when_all_have_it() {
        let mut t = turn();
        receive(&mut t, &[1, 2, 3]);
        t.safe = MsgSeq::new(1);
        t.window.forget(t.safe);
        let mut token = token(9, 0, None);
        token.requests.extend([1, 3, 7, 12].map(MsgSeq::new));
        let mut frames = Vec::new();
        t.serve(&mut token, &mut frames);
        assert_eq!(frames.len(), 1);
        assert_eq!(Mcast::decode(&frames[0]).unwrap().seq.get(), 3);
        assert_eq!(token.requests.as_slice(), [MsgSeq::new(7)], "1 is safe, 12 was never sent");
    }

    #[test]
    fn there_is_no_room_far_ahead_of_the_laggard_nor_behind_what_was_received() {
        let mut t = turn();
        assert_eq!(t.room(&token(0, 0, None)), WINDOW_FRAMES_MAX as u32);
        assert_eq!(t.room(&token(1000, 0, Some(OTHER))), WINDOW_FRAMES_MAX as u32 - 1000);
        assert_eq!(t.room(&token(u64::MAX >> 3, 0, Some(OTHER))), 0);
        assert_eq!(t.room(&token(u64::MAX >> 3, u64::MAX >> 3, None)), 0);
        receive(&mut t, &[7]);
        assert_eq!(t.room(&token(6, 0, Some(OTHER))), 0, "place 7 is taken: this token lies");
    }

    #[test]
    fn a_token_is_sent_again_soon_and_then_less_often() {
        let mut t = turn();
        let configured = Span::from_millis(80);
        let mut pool = Pool::new(100, 10);
        t.pass(&mut token(3, 3, None), &mut pool);
        let waits: Vec<u64> = (0..6)
            .map(|_| {
                let wait = t.resend_after(configured).as_millis();
                t.resend().unwrap();
                wait
            })
            .collect();
        assert_eq!(waits, [10, 20, 40, 80, 80, 80]);
        t.idle_visits = HOLD_AFTER_VISITS;
        t.pass(&mut token(3, 3, None), &mut pool);
        assert_eq!(t.resend_after(configured), configured);
    }
}
