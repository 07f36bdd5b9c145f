//! Flow control: how many frames this member may send while it holds the token.

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
}

impl Flow {
    pub(super) fn new(window: u32, per_visit: u32) -> Self {
        Self { window: window.max(1), per_visit: per_visit.max(1), sent: 0, backlog: 0 }
    }

    /// Frames that may be sent at this visit with `backlog` frames waiting here: what the rotation has left, and of
    /// that no more than this member's share of everybody's backlog.
    pub(super) fn allowance(&self, token: &Token, backlog: u32) -> u32 {
        let room = self.window.saturating_sub(token.fcc.saturating_sub(self.sent));
        let total = u64::from(self.others(token)) + u64::from(backlog);
        let share = u64::from(self.window) * u64::from(backlog);
        let share = u32::try_from(share.checked_div(total).unwrap_or(0)).unwrap_or(u32::MAX).max(1);
        self.per_visit.min(room).min(share)
    }

    /// Takes this member's last counts out of the token and puts the new ones in.
    pub(super) fn account(&mut self, token: &mut Token, sent: u32, backlog: u32) {
        token.fcc = token.fcc.saturating_sub(self.sent).saturating_add(sent);
        token.backlog = self.others(token).saturating_add(backlog);
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

    /// Lets members with these endless backlogs take turns; frames each sent in the last of 20 rotations.
    fn rotate(window: u32, per_visit: u32, backlogs: &[u32]) -> Vec<u32> {
        let mut token = token();
        let mut members = vec![Flow::new(window, per_visit); backlogs.len()];
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
        let mut flow = Flow::new(50, 17);
        assert_eq!(flow.allowance(&wild, u32::MAX), 0);
        flow.account(&mut wild, 17, u32::MAX);
        assert_eq!(flow.allowance(&token(), 3), 17);
    }
}
