//! Changes of votes by the administrator, in two phases.
//!
//! Two majorities of one vote table share a voter; a majority of one table and one of another need not. So a change
//! never takes a member from one table to the next at once. *Prepared* (in its place of the order) it counts only as far
//! as it makes quorum harder: expected votes rise and do not fall yet, a node's votes fall and do not rise yet. Such a
//! table can meet the old one and the new one: of two disjoint sets of nodes, one with a majority by it, none has one by
//! either. When a member is through with announcing its configuration it says that it is ready; when the word of all
//! members was delivered the change is *committed*: by then nobody counts by the old table any more. A configuration
//! that ends in between leaves the change prepared; the administrator, who sees the numbers, asks again.

use std::collections::BTreeSet;

use holdfast_types::{NodeId, Votes};

/// What the administrator wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// `votequorum_setexpected`.
    Expected(Votes),
    /// `votequorum_setvotes`.
    Votes {
        /// Whose.
        node: NodeId,
        /// How many.
        votes: Votes,
    },
}

/// The change under way in one ring: one at a time, so that there is never a third table.
#[derive(Debug, Default)]
pub struct Changes {
    /// Changes delivered in this ring, also those that were dropped.
    delivered: u64,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    number: u64,
    change: Change,
    ready: BTreeSet<NodeId>,
    said: bool,
}

impl Changes {
    /// Whether a change is under way: another one has to wait.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// A change was delivered; `prepared` tells whether it was prepared, which is the same for all members.
    pub fn delivered(&mut self, change: Change, prepared: bool) {
        self.delivered += 1;
        if prepared {
            let (number, ready) = (self.delivered, BTreeSet::new());
            self.running = Some(Running { number, change, ready, said: false });
        }
    }

    /// The number of the change under way, once: for this node to say that it is ready.
    pub fn take_unsaid(&mut self) -> Option<u64> {
        let running = self.running.as_mut().filter(|r| !r.said)?;
        running.said = true;
        Some(running.number)
    }

    /// `member` is ready. Returns the change when all `members` are: it is over with that.
    pub fn ready(&mut self, number: u64, member: NodeId, members: &[NodeId]) -> Option<Change> {
        let running = self.running.as_mut().filter(|r| r.number == number)?;
        running.ready.insert(member);
        if !members.iter().all(|m| running.ready.contains(m)) {
            return None;
        }
        self.running.take().map(|r| r.change)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_over_when_all_members_are_ready_and_only_then() {
        let node = NodeId::new;
        let members = [node(1), node(2)];
        let (one, two) = (Change::Expected(Votes::new(3)), Change::Expected(Votes::new(4)));
        let mut changes = Changes::default();
        changes.delivered(one, false);
        assert!(!changes.is_running() && changes.take_unsaid().is_none(), "dropped");
        changes.delivered(two, true);
        assert!(changes.is_running());
        assert_eq!((changes.take_unsaid(), changes.take_unsaid()), (Some(2), None), "said once");
        assert_eq!(changes.ready(1, node(1), &members), None, "another one");
        assert_eq!(changes.ready(2, node(1), &members), None);
        assert_eq!(changes.ready(2, node(1), &members), None, "the same member again");
        assert_eq!(changes.ready(2, node(2), &members), Some(two));
        assert!(!changes.is_running());
        assert_eq!(changes.ready(2, node(2), &members), None);
    }
}
