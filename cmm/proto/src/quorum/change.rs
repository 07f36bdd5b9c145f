//! Changes of votes by the administrator, in two phases.
//!
//! Two majorities of one vote table share a voter; a majority of one table and one of another need not. So a change
//! never takes a member from one table to the next at once. *Prepared* (in its place of the order) it counts only as far
//! as it makes quorum harder: expected votes rise and do not fall yet, a node's votes fall and do not rise yet. Such a
//! table can meet the old one and the new one: of two disjoint sets of nodes, one with a majority by it, none has one by
//! either. (A change of the node table, in which there is no such table between old and new, needs a majority by both while it is
//! prepared, and each member has that on its disk before it goes on.) When a member is through with announcing its configuration it says that it is ready; when the word of all
//! members was delivered the change is *committed*: by then nobody counts by the old table any more. A configuration
//! that ends in between leaves the change prepared; the administrator, who sees the numbers, asks again.

use std::collections::BTreeSet;

use holdfast_types::{Boottime, NodeId, Votes};

use super::votes::{Tally, Voter};
use super::{Ballot, Count, Quorum};
use crate::api::{NodeTable, Output, Refusal, TableId, Tables};

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
    /// The node table of the members' files. Prepared, a majority by the old one and one by the new one are needed.
    Table,
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

    /// Which change of this ring the next one is.
    #[must_use]
    pub fn next_number(&self) -> u32 {
        u32::try_from(self.delivered).unwrap_or(u32::MAX - 1) + 1
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

/// What a change does to the votes that this node counts.
impl Quorum {
    /// Checks a change of votes against the configuration synchronised last.
    ///
    /// # Errors
    /// `NameNotFound`: no such node. `InvalidParam`: expected votes of zero or below those present; or the partition
    /// would lose its quorum, on the way or in the end; or a node's votes where there is no quorum: the rest of the
    /// cluster would not know of it.
    pub fn check(&self, change: Change) -> Result<(), Refusal> {
        self.check_with(change, self.view.has_device())
    }

    /// `device`: whether the quorum device's votes are here.
    fn check_with(&self, change: Change, device: bool) -> Result<(), Refusal> {
        let ballot = self.current().filter(|b| b.next.is_none()).ok_or(Refusal::TryAgain)?;
        let two_node = self.is_two_node(&self.tables.table);
        let now = &ballot.count.tally;
        let sound = |voters: &[Voter]| {
            Tally::of(voters, two_node, now.device).with_tie(voters, now.tie).has_enough(device)
        };
        let stays = sound(&prepared(ballot, change)) && sound(&committed(ballot, change));
        let sane = match change {
            Change::Expected(expected) => {
                expected.get() > 0 && expected >= now.with_device() && (stays || !now.suffices())
            }
            Change::Votes { node, .. } if !self.records.contains_key(&node) => {
                return Err(Refusal::NameNotFound);
            }
            Change::Votes { votes, .. } => stays && now.suffices() && votes.get() <= VOTES_MAX,
            Change::Table => return Err(Refusal::InvalidParam),
        };
        if sane { Ok(()) } else { Err(Refusal::InvalidParam) }
    }

    /// First phase of a change, in its place of the order. `false`: it is not sane by now, for all alike.
    pub fn prepare(&mut self, change: Change) -> bool {
        // Members may differ in whether the device's votes are here: whoever was asked has looked.
        let sane = self.check_with(change, true).is_ok();
        if let Some(ballot) = self.current().filter(|_| sane) {
            let voters = prepared(ballot, change);
            if let Change::Votes { node, votes } = change {
                self.set_votes(node, |before| before.min(votes));
            }
            self.replace(voters, self.tie());
        }
        sane
    }

    /// Whether the members may count by `table` instead of the one in force.
    ///
    /// # Errors
    /// Why not, in words for the administrator.
    pub fn check_table(&self, table: &NodeTable) -> Result<(), String> {
        let Some(ballot) = self.current().filter(|b| b.suffices()) else {
            return Err("this partition is not quorate".to_owned());
        };
        let members = ballot.members();
        let list = |nodes: Vec<NodeId>| nodes.iter().map(NodeId::to_string).collect::<Vec<_>>().join(", ");
        let gone: Vec<NodeId> = members.iter().copied().filter(|m| table.votes(*m).is_none()).collect();
        if !gone.is_empty() {
            return Err(format!(
                "to be removed and still a member: node {}; stop it there first",
                list(gone)
            ));
        }
        let count = Count::by(table, &ballot.count.voters, self.is_two_node(table));
        let tables = (self.tables.table.device, table.device);
        if let (Some(old), Some(new)) = tables
            && old.kind != new.kind
        {
            return Err(format!(
                "another quorum device: take \"model: {}\" out of the files first, and put \"model: {}\" in when that is done",
                old.kind.name(),
                new.kind.name()
            ));
        }
        let start = |tally: &Tally, nodes: &NodeTable| {
            let absent: Vec<NodeId> = nodes.ids().filter(|id| !members.contains(id)).collect();
            let Tally { total, expected, quorum, device, .. } = tally;
            let remedy = match absent.is_empty() {
                true => "give it fewer votes".to_owned(),
                false => format!("start node {} first", list(absent)),
            };
            let without = if device.get() > 0 { " without the quorum device's" } else { "" };
            format!("{total} of {expected} votes would be present{without} and {quorum} needed; {remedy}")
        };
        if tables.0.or(tables.1).is_some() && !ballot.count.is_majority() {
            return Err(start(&ballot.count.tally, &self.tables.table));
        }
        if !ballot.count.can_become(&count) {
            return Err(start(&count.tally, table));
        }
        Ok(())
    }

    /// Whether the votes of the configuration synchronised last are enough by each table that counts, also without `two_node`: whose votes
    /// count is not for one of two halves to change by itself. The same on all members, whatever their options.
    #[must_use]
    pub fn has_majority(&self) -> bool {
        self.current().is_some_and(|b| b.suffices() && b.counts().all(Count::is_majority))
    }

    /// Whether the members may count by `table`, which is the one in force with others out of the count.
    #[must_use]
    pub fn may_scale(&self, table: &NodeTable) -> bool {
        let Some(ballot) = self.current().filter(|_| self.has_majority()) else { return false };
        let count = Count::by(table, &ballot.count.voters, false);
        count.is_majority() && ballot.count.can_become(&count)
    }

    /// Whether this node may say that it counts by the tables under way. With a device only while it is quorate by them: then the device
    /// knows of this configuration, and none without a node of it gets its vote.
    #[must_use]
    pub fn is_ready(&self, now: Boottime) -> bool {
        let device = |table: &NodeTable| table.device.is_some();
        let next = self.tables.next.as_ref();
        let with_device = device(&self.tables.table) || next.is_some_and(|(_, table)| device(table));
        // Who is in no table is never quorate: it has no say in that.
        let sure = next.is_none() || !with_device || self.quorate(now) || !self.is_in_table();
        self.is_decided() && self.on_disk && sure
    }

    /// First phase of a change of the table, in its place of the order.
    pub fn prepare_table(&mut self, id: TableId, table: NodeTable) {
        let two_node = self.is_two_node(&table);
        let own = self.own();
        if let Some(ballot) = self.candidate.as_mut().or(self.ballot.as_mut()) {
            ballot.next = Some(Count::by(&table, &ballot.count.voters, two_node));
            ballot.reckon(own);
        }
        let members = self.current().map_or_else(Vec::new, Ballot::members);
        assert!(self.tables.next.is_none(), "one change of the node table at a time");
        assert!(id > self.tables.id, "table {id:?} comes after {:?}", self.tables.id);
        self.set_tables(Tables { next: Some((id, table)), ..self.tables.clone() }, &members);
    }

    fn commit_table(&mut self) {
        let Some((id, table)) = self.tables.next.clone() else { return };
        let Some(count) = self.candidate.as_mut().or(self.ballot.as_mut()).and_then(|b| b.next.take()) else {
            return;
        };
        let members: Vec<NodeId> = count.voters.iter().map(|v| v.node).collect();
        let tie = table.scale.tie;
        self.set_tables(Tables { id, table, next: None }, &members);
        let known: Vec<NodeId> = self.records.keys().copied().chain([self.me]).collect();
        for node in known {
            let votes = self.tables.table.votes(node).unwrap_or(Votes::new(0));
            self.set_votes(node, |_| votes);
        }
        self.replace(count.voters, tie);
    }

    /// Second phase, in its place of the order.
    pub fn commit(&mut self, now: Boottime, change: Change, outputs: &mut impl Extend<Output>) {
        if change == Change::Table {
            self.commit_table();
            return self.tell_numbers(now, outputs);
        }
        let Some(voters) = self.current().map(|ballot| committed(ballot, change)) else {
            return;
        };
        match change {
            Change::Expected(expected) => self.expected = expected,
            Change::Votes { node, votes } => self.set_votes(node, |_| votes),
            Change::Table => {}
        }
        self.replace(voters, self.tie());
        self.tell_numbers(now, outputs);
    }
}

/// The voters of a ballot while a change is under way: as hard as it gets, see above.
pub(super) fn prepared(ballot: &Ballot, change: Change) -> Vec<Voter> {
    let after = Tally::of(&committed(ballot, change), false, ballot.count.tally.device).expected;
    let expected = ballot.count.tally.expected.max(after);
    let before = ballot.count.voters.iter().map(|v| match change {
        Change::Votes { node, votes } if node == v.node => Voter { votes: v.votes.min(votes), ..*v },
        _ => *v,
    });
    before.map(|v| Voter { expected, ..v }).collect()
}

/// The voters of a ballot when a change is over. Expected votes are never below those present.
pub(super) fn committed(ballot: &Ballot, change: Change) -> Vec<Voter> {
    let after = |v: &Voter| match change {
        Change::Expected(expected) => Voter { expected, ..*v },
        Change::Votes { node, votes } if node == v.node => Voter { votes, ..*v },
        Change::Votes { .. } | Change::Table => *v,
    };
    let mut voters: Vec<Voter> = ballot.count.voters.iter().map(after).collect();
    let total = Tally::of(&voters, false, ballot.count.tally.device).with_device();
    voters.iter_mut().for_each(|v| v.expected = v.expected.max(total));
    voters
}

/// Most votes of one node.
const VOTES_MAX: u32 = 65_535;

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
