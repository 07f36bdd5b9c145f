//! Counters and times, for `stats.*` in CMAP and for the simulator.

use holdfast_types::{Boottime, Histogram, NodeId, RingId, Span};

use super::event::RejectReason;

/// Counters of one node, for `stats.*` in CMAP and for the simulator.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Tokens received.
    pub token_rx: u64,
    /// Tokens sent, again included.
    pub token_tx: u64,
    /// Joins received.
    pub join_rx: u64,
    /// Joins sent; one to all counts once.
    pub join_tx: u64,
    /// Commit tokens received, in parts.
    pub commit_rx: u64,
    /// Commit tokens sent, in parts, again included.
    pub commit_tx: u64,
    /// Merge-detects received.
    pub merge_detect_rx: u64,
    /// Merge-detects sent.
    pub merge_detect_tx: u64,
    /// Hold-cancels received.
    pub hold_cancel_rx: u64,
    /// Hold-cancels sent.
    pub hold_cancel_tx: u64,
    /// Frames multicast first by this node.
    pub mcast_tx: u64,
    /// Frames sent again.
    pub mcast_retx: u64,
    /// Frames of this node that others have sent again.
    pub mcast_again: u64,
    /// Frames received.
    pub mcast_rx: u64,
    /// Times Gather was entered.
    pub gather_entered: u64,
    /// Times consensus timed out.
    pub consensus_timeouts: u64,
    /// Tokens lost in Operational.
    pub operational_token_lost: u64,
    /// Commit tokens that all agreed on and that never came.
    pub gather_token_lost: u64,
    /// Commit tokens lost in Commit.
    pub commit_token_lost: u64,
    /// Tokens lost in Recovery.
    pub recovery_token_lost: u64,
    /// Times Commit was entered.
    pub commit_entered: u64,
    /// Times Recovery was entered.
    pub recovery_entered: u64,
    /// Commit tokens that never came, in a row, since a ring was installed: beyond 3 something keeps this node from
    /// forming one, most often a firewall.
    pub continuous_gather: u32,
    /// Rings installed.
    pub operational_entered: u64,
    /// Packets rejected, all reasons.
    pub packets_rejected: u64,
    /// The same by reason, in the order of [`RejectReason::ALL`].
    pub rejected: [u64; RejectReason::ALL.len()],
    /// Messages delivered.
    pub delivered: u64,
    /// Visits of the token at which new frames were held back because clients of some member lag.
    pub lagging_visits: u64,
}

impl Stats {
    /// Counts one rejected packet.
    pub(crate) fn reject(&mut self, why: RejectReason) {
        self.packets_rejected += 1;
        self.rejected[why as usize] += 1;
    }
}

/// One change of the ring, from leaving Operational to being Operational again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RingChange {
    /// Number of what began it, as corosync numbers the causes of entering Gather.
    pub cause: u8,
    /// The same in words.
    pub text: &'static str,
    /// When it began.
    pub began: Boottime,
    /// How long it took.
    pub took: Span,
    /// How often Gather was entered in it.
    pub gathers: u32,
    /// The ring before.
    pub old: RingId,
    /// The ring after.
    pub new: RingId,
    /// Its members, ascending.
    pub members: Vec<NodeId>,
    /// Who came.
    pub joined: Vec<NodeId>,
    /// Who went.
    pub left: Vec<NodeId>,
}

/// What the token takes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenTimes {
    /// From token to token while there is something to do, since start.
    pub busy: Histogram,
    /// From token to token on a quiet ring, where the representative holds it, since start.
    pub quiet: Histogram,
    /// Mean from token to token over the last 100.
    pub mean_between: Span,
    /// Mean of how long it stayed here over the last 100.
    pub mean_stay: Span,
    /// Mean number of frames that waited here when it came, over the last 100.
    pub mean_backlog: u32,
    /// Since it came last; `None` while it is here, or no ring turns.
    pub since_last: Option<Span>,
}
