//! Votes: what a configuration's members bring together, and what it takes. Pure arithmetic, the same on every member.
//!
//! quorum = max(⌊(expected + 2) / 2⌋, ⌊(total + 2) / 2⌋). A quorum device's votes are always expected, whether they are here or
//! not. Expected votes are those of a quorate partition where there is one (a node that joins it takes them over), else the highest of any member; they rise by themselves when more votes
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
    /// Votes of the members present.
    pub total: Votes,
    /// Votes of the quorum device: expected, and here if a member's lease on them says so.
    pub device: Votes,
    /// Votes needed.
    pub quorum: Votes,
    /// With this node half of the expected votes are enough.
    pub tie: Option<NodeId>,
    /// It is here, with a vote.
    pub tie_here: bool,
    /// Somebody waits for all, not all are here, and no quorate member says that the wait is over.
    pub waits_for_all: bool,
}

impl Tally {
    /// Counts `voters`. `two_node` is this node's option, in force while at most two nodes are members; `device` the votes of the quorum
    /// device, 0 without one.
    #[must_use]
    pub fn of(voters: &[Voter], two_node: bool, device: Votes) -> Self {
        let total = voters.iter().fold(0_u32, |sum, v| sum.saturating_add(v.votes.get()));
        let expected_of =
            |of: &dyn Fn(&&Voter) -> bool| voters.iter().filter(of).map(|v| v.expected.get()).max();
        let expected = expected_of(&|v| v.quorate)
            .or_else(|| expected_of(&|_| true))
            .unwrap_or(0)
            .max(total.saturating_add(device.get()));
        let quorum = if two_node && voters.len() <= 2 { 1 } else { majority(expected).max(majority(total)) };
        let over = voters.iter().any(|v| v.quorate && !v.waits_for_all);
        let waits_for_all =
            voters.iter().any(|v| v.waits_for_all) && !over && total.saturating_add(device.get()) != expected;
        Self {
            expected: Votes::new(expected),
            total: Votes::new(total),
            device,
            quorum: Votes::new(quorum),
            tie: None,
            tie_here: false,
            waits_for_all,
        }
    }

    /// The same if this node of `voters` breaks a tie.
    #[must_use]
    pub fn with_tie(self, voters: &[Voter], tie: Option<NodeId>) -> Self {
        let tie_here = voters.iter().any(|v| Some(v.node) == tie && v.votes.get() > 0);
        Self { tie, tie_here, ..self }
    }

    /// What it takes.
    #[must_use]
    pub fn need(&self) -> Need {
        let twice = self.quorum.get().saturating_mul(2);
        // With two_node one vote is enough: there is no tie to break.
        let tie = self.tie.filter(|_| twice > self.expected.get());
        Need { weight: tie.map_or(twice, |_| self.expected.get().saturating_add(1)), tie }
    }

    /// Whether the votes of the members are enough, or with those of the device if it is here.
    #[must_use]
    pub fn has_enough(&self, device: bool) -> bool {
        let votes = if device { self.with_device() } else { self.total };
        let need = self.need();
        let tie = need.tie.is_some() && self.tie_here;
        votes.get().saturating_mul(2).saturating_add(tie.into()) >= need.weight
    }

    /// Votes of the members and of the device.
    #[must_use]
    pub fn with_device(&self) -> Votes {
        Votes::new(self.total.get().saturating_add(self.device.get()))
    }

    /// Whether the votes are enough, the device's included if there is one. The lease has its own say.
    #[must_use]
    pub fn suffices(&self) -> bool {
        self.has_enough(true) && !self.waits_for_all
    }

    /// Why not, in words; empty if they are.
    #[must_use]
    pub fn reason(&self) -> String {
        let tie = self.need().tie.filter(|_| self.expected.get().is_multiple_of(2));
        if !self.has_enough(true) {
            let half = tie
                .map_or(String::new(), |node| format!(", or {} with node {node}", self.expected.get() / 2));
            format!("{} of {} votes, {} needed{half}", self.total, self.expected, self.quorum)
        } else if self.waits_for_all {
            format!("waits for all: {} of {} votes", self.total, self.expected)
        } else {
            String::new()
        }
    }
}

/// What a quorum takes, in half votes: so whoever breaks ties can have one half vote more than its votes. Two sets of nodes that
/// both have enough share one, with a tie-breaker as without: together they would have more than there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    /// So many half votes.
    pub weight: u32,
    /// Who has one more.
    pub tie: Option<NodeId>,
}

impl Need {
    /// Half votes of a node.
    #[must_use]
    pub fn weight_of(&self, voter: &Voter) -> u32 {
        let more = Some(voter.node) == self.tie && voter.votes.get() > 0;
        voter.votes.get().saturating_mul(2).saturating_add(more.into())
    }
}

impl From<Votes> for Need {
    fn from(quorum: Votes) -> Self {
        Self { weight: quorum.get().saturating_mul(2), tie: None }
    }
}

/// More than half of `votes`, and at least 1.
fn majority(votes: u32) -> u32 {
    votes / 2 + 1
}
