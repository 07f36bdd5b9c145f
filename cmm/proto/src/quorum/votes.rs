//! Votes: what a configuration's members bring together, and what it takes. Pure arithmetic, the same on every member.
//!
//! quorum = max(⌊(expected + 2) / 2⌋, ⌊(total + 2) / 2⌋). Expected votes are those of a quorate partition where there is
//! one (a node that joins it takes them over), else the highest of any member; they rise by themselves when more votes
//! are present and fall only by the administrator's word, so quorum is never lowered by itself. With `two_node` one of
//! at most two nodes is enough: both halves of a split are then quorate.

use holdfast_types::{NodeId, Votes};

/// One member as it stated itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Voter {
    /// Who.
    pub node: NodeId,
    /// Its votes.
    pub votes: Votes,
    /// Its expected votes.
    pub expected: Votes,
    /// It comes from a partition that is quorate, within a valid lease.
    pub quorate: bool,
    /// It waits for all: `wait_for_all` is armed there.
    pub waits_for_all: bool,
}

/// What the members of one configuration have together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tally {
    /// Expected votes that count.
    pub expected: Votes,
    /// Votes present.
    pub total: Votes,
    /// Votes needed.
    pub quorum: Votes,
    /// Somebody waits for all, not all are here, and no quorate member says that the wait is over.
    pub waits_for_all: bool,
}

impl Tally {
    /// Counts `voters`. `two_node` is this node's option, in force while at most two nodes are members.
    #[must_use]
    pub fn of(voters: &[Voter], two_node: bool) -> Self {
        let total = voters.iter().fold(0_u32, |sum, v| sum.saturating_add(v.votes.get()));
        let expected_of =
            |of: &dyn Fn(&&Voter) -> bool| voters.iter().filter(of).map(|v| v.expected.get()).max();
        let expected = expected_of(&|v| v.quorate).or_else(|| expected_of(&|_| true)).unwrap_or(0).max(total);
        let quorum = if two_node && voters.len() <= 2 { 1 } else { majority(expected).max(majority(total)) };
        let over = voters.iter().any(|v| v.quorate && !v.waits_for_all);
        let waits_for_all = voters.iter().any(|v| v.waits_for_all) && !over && total != expected;
        Self {
            expected: Votes::new(expected),
            total: Votes::new(total),
            quorum: Votes::new(quorum),
            waits_for_all,
        }
    }

    /// Whether the votes are enough. The lease has its own say.
    #[must_use]
    pub fn suffices(&self) -> bool {
        self.total >= self.quorum && !self.waits_for_all
    }

    /// Why not, in words; empty if they are.
    #[must_use]
    pub fn reason(&self) -> String {
        if self.total < self.quorum {
            format!("{} of {} votes, {} needed", self.total, self.expected, self.quorum)
        } else if self.waits_for_all {
            format!("waits for all: {} of {} votes", self.total, self.expected)
        } else {
            String::new()
        }
    }
}

/// More than half of `votes`, and at least 1.
fn majority(votes: u32) -> u32 {
    votes / 2 + 1
}
