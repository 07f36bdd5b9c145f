//! Flow control: how many frames this member may send while it holds the token.
//!
//! The configured window and frames a visit are the bounds. Below them each member paces itself by what the network
//! carries, as it sees it: the time that the token takes for a rotation in which this member sent something. Data that waits
//! in the queue of a narrow link makes the token wait there, and heartbeats too: so a rotation may take little longer than
//! the shortest one, a small part of the lease, before fewer frames are sent. Frames lost in numbers say the same of links
//! that have no queue to wait in. As long as all is well the pace grows to the bound, in about ten rotations. It begins anew
//! after each quiet time: nobody knows what the network carries by then.

use holdfast_types::{Boottime, Span};

use crate::wire::Token;

/// Limits, and what this member added to the token's counts at its last visit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flow {
    /// Frames all members together may send a rotation.
    window: u32,
    /// Frames one member may send a visit.
    per_visit: u32,
    sent: u32,
    backlog: u32,
    /// By how much a rotation may be longer than the shortest one.
    slack: Span,
    /// Frames a visit that the network seems to carry, at most `per_visit`.
    pace: u32,
    /// The last visit was held back by the pace alone.
    held_back: bool,
    /// The shortest rotation with something sent here since the ring was quiet.
    shortest: Option<Span>,
    /// When the token left here last.
    left: Option<Boottime>,
}

impl Flow {
    pub(super) fn new(window: u32, per_visit: u32, slack: Span) -> Self {
        let (window, per_visit) = (window.max(1), per_visit.max(1));
        Self {
            window,
            per_visit,
            sent: 0,
            backlog: 0,
            slack,
            pace: per_visit.min(PACE_START),
            held_back: false,
            shortest: None,
            left: None,
        }
    }

    /// Takes the bounds of another one; what was learned of the network stays.
    pub(super) fn bound(&mut self, by: &Self) {
        (self.window, self.per_visit, self.slack) = (by.window, by.per_visit, by.slack);
        self.pace = self.pace.min(self.per_visit);
    }

    /// The token has left here.
    pub(super) fn token_left(&mut self, now: Boottime) {
        self.left = Some(now);
    }

    /// The ring is quiet: what was learned of the network is of the past.
    pub(super) fn rest(&mut self) {
        (self.pace, self.shortest) = (self.pace.min(PACE_START), None);
    }

    /// The token is back, all the way round.
    pub(super) fn token_came(&mut self, now: Boottime, token: &Token) {
        let Some(left) = self.left.take().filter(|_| self.sent > 0) else { return };
        let took = now.since(left);
        let shortest = self.shortest.map_or(took, |s| s.min(took));
        self.shortest = Some(shortest);
        let waited = took.saturating_sub(shortest);
        let lost = u32::try_from(token.requests.len()).unwrap_or(u32::MAX);
        self.pace = match self.pace {
            _ if waited > self.slack.scale(4, 1) => 1,
            pace if waited > self.slack || lost > LOST_MIN.max(token.fcc / 4) => (pace * 3 / 4).max(1),
            // What is added now shows in the rotation after the next one.
            pace if self.held_back && waited < self.slack.scale(1, 4) => pace + (pace / 4).max(1),
            pace => pace,
        };
        self.pace = self.pace.min(self.per_visit);
    }

    /// Frames that may be sent at this visit with `backlog` frames waiting here: what the rotation has left, and of
    /// that no more than this member's share of everybody's backlog.
    pub(super) fn allowance(&self, token: &Token, backlog: u32) -> u32 {
        let room = self.window.saturating_sub(token.fcc.saturating_sub(self.sent));
        let total = u64::from(self.others(token)) + u64::from(backlog);
        let share = u64::from(self.window) * u64::from(backlog);
        let share = u32::try_from(share.checked_div(total).unwrap_or(0)).unwrap_or(u32::MAX).max(1);
        self.pace.min(room).min(share)
    }

    /// Takes this member's last counts out of the token and puts the new ones in.
    pub(super) fn account(&mut self, token: &mut Token, sent: u32, backlog: u32) {
        token.fcc = token.fcc.saturating_sub(self.sent).saturating_add(sent);
        token.backlog = self.others(token).saturating_add(backlog);
        self.held_back = sent >= self.pace && backlog > 0;
        (self.sent, self.backlog) = (sent, backlog);
    }

    /// Whether nobody else has sent anything in this rotation or waits to.
    pub(super) fn is_only_sender(&self, token: &Token) -> bool {
        token.fcc <= self.sent && self.others(token) == 0
    }

    fn others(&self, token: &Token) -> u32 {
        token.backlog.saturating_sub(self.backlog)
    }
}

/// Frames a visit after a quiet time.
const PACE_START: u32 = 2;
/// Frames lost in one rotation that say nothing yet.
const LOST_MIN: u32 = 3;

#[cfg(test)]
mod tests {
    use arrayvec::ArrayVec;
    use holdfast_types::{MsgSeq, RingId, TokenSeq};

    use super::*;

    fn token() -> Token {
        Token {
            ring: RingId::default(),
            token_seq: TokenSeq::new(1),
            seq: MsgSeq::new(0),
            aru: MsgSeq::new(0),
            aru_id: None,
            backlog: 0,
            fcc: 0,
            lagging: 0,
            recovery: None,
            requests: ArrayVec::new(),
        }
    }

    const SLACK: Span = Span::from_millis(25);

    /// At full pace.
    fn flow(window: u32, per_visit: u32) -> Flow {
        Flow { pace: per_visit, ..Flow::new(window, per_visit, SLACK) }
    }

    /// Lets members with these endless backlogs take turns; frames each sent in the last of 20 rotations.
    fn rotate(window: u32, per_visit: u32, backlogs: &[u32]) -> Vec<u32> {
        let mut token = token();
        let mut members = vec![flow(window, per_visit); backlogs.len()];
        let mut sent = Vec::new();
        for _ in 0..20 {
            sent.clear();
            for (member, backlog) in members.iter_mut().zip(backlogs) {
                let n = member.allowance(&token, *backlog).min(*backlog);
                member.account(&mut token, n, *backlog);
                sent.push(n);
            }
            assert_eq!(token.fcc, sent.iter().sum::<u32>());
            assert!(token.fcc <= window);
        }
        sent
    }

    #[test]
    fn one_sender_gets_its_visit_full() {
        assert_eq!(rotate(50, 17, &[1000, 0, 0]), [17, 0, 0]);
        assert_eq!(rotate(10, 17, &[0, 1000]), [0, 10]);
    }

    #[test]
    fn the_window_is_shared_by_backlog() {
        assert_eq!(rotate(60, 60, &[1000, 1000, 1000]), [20, 20, 20]);
        assert_eq!(rotate(60, 60, &[3000, 1000, 2000]), [30, 10, 20]);
    }

    #[test]
    fn everybody_with_something_to_send_gets_a_turn() {
        let sent = rotate(64, 17, &[1_000_000, 1, 1, 1_000_000, 5]);
        assert!(sent.iter().all(|n| *n >= 1), "{sent:?}");
    }

    #[test]
    fn absurd_counts_do_not_overflow() {
        let mut wild = token();
        (wild.fcc, wild.backlog) = (u32::MAX, u32::MAX);
        let mut flow = flow(50, 17);
        assert_eq!(flow.allowance(&wild, u32::MAX), 0);
        flow.account(&mut wild, 17, u32::MAX);
        assert_eq!(flow.allowance(&token(), 3), 17);
    }
    /// The pace after rotations that took so many milliseconds each, with an endless backlog.
    fn paces(flow: &mut Flow, rotations: &[u64], requests: usize) -> Vec<u32> {
        let mut token = token();
        token.requests.extend((0..requests as u64).map(|n| MsgSeq::new(n + 1)));
        let mut now = Boottime::from_nanos(1_000_000_000);
        let rotate = |ms: &u64| {
            let sent = flow.allowance(&token, 1_000);
            flow.account(&mut token, sent, 1_000);
            flow.token_left(now);
            now = now + Span::from_millis(*ms);
            flow.token_came(now, &token);
            flow.pace
        };
        rotations.iter().map(rotate).collect()
    }

    #[test]
    fn the_pace_grows_to_the_bound_while_the_token_turns_as_ever() {
        let mut flow = Flow::new(50, 17, SLACK);
        let rotations = [1, 2, 1, 5, 1, 1, 1, 1, 1, 1, 1];
        assert_eq!(paces(&mut flow, &rotations, 0), [3, 4, 5, 6, 7, 8, 10, 12, 15, 17, 17]);
        flow.rest();
        assert_eq!(flow.pace, PACE_START, "and begins anew");
        assert_eq!(paces(&mut flow, &[200, 200, 200], 0), [3, 4, 5], "a long way is not a queue");
    }

    #[test]
    fn it_falls_where_the_token_waits_and_grows_again_when_it_does_not() {
        let mut flow = flow(50, 17);
        assert_eq!(paces(&mut flow, &[1, 27, 20, 5, 150, 1], 0), [17, 12, 12, 15, 1, 2]);
        assert_eq!(paces(&mut flow, &[40; 9], 0), [1; 9], "never below one");
    }

    #[test]
    fn it_falls_where_much_is_lost_and_not_where_little_is() {
        let mut flow = Flow::new(50, 17, SLACK);
        assert_eq!(paces(&mut flow, &[1; 4], 3), [3, 4, 5, 6]);
        assert_eq!(paces(&mut flow, &[1; 4], 6), [4, 3, 2, 1]);
    }

    #[test]
    fn who_sends_little_learns_nothing_new() {
        let mut flow = Flow::new(50, 17, SLACK);
        let (mut token, mut now) = (token(), Boottime::from_nanos(1));
        for sent in [0, 1, 3] {
            flow.account(&mut token, sent, 0);
            flow.token_left(now);
            now = now + Span::from_millis(300 * u64::from(sent == 0) + 1);
            flow.token_came(now, &token);
            assert_eq!(flow.pace, PACE_START, "{sent} frames");
        }
    }
}
