//! Whose votes are expected: nodes that left, or are missing for long, are taken out of the count and come back into it; and who
//! breaks a tie is one of those that are there.
//!
//! corosync lowers the expected votes on each member by itself, when its own timer runs out or it hears of a leave. Of two halves that
//! part meanwhile one may count by the old number and one by the new one. Here it is a change of the node table
//! (`table.rs`, decisions 16 and 20): some member proposes it, at its place of the order all members work out the same table, and until each of
//! them has it on its disk a majority by both is needed. Options need not be the same on all members for that to be safe.

use holdfast_types::{Boottime, NodeId, RingId, Span, Votes};

use super::Node;
use crate::api::{Guarantee, NodeTable, Refusal, Scale, Whose};
use crate::service::messages::Message;

/// What this node has seen and said of those who are missing.
#[derive(Debug, Default)]
pub(super) struct Absence {
    /// The configuration that has been quorate since then.
    since: Option<(RingId, Boottime)>,
    /// Somebody may be proposed then; not before, if it was done already.
    due: Option<Boottime>,
    said: Option<(RingId, Boottime)>,
}

impl Absence {
    pub(super) fn next_timeout(&self) -> Option<Boottime> {
        self.due
    }
}

impl Node {
    /// Proposes to take out of the count who has been missing for the window, or has left.
    pub(super) fn say_absent(&mut self, now: Boottime) {
        let options = *self.quorum.options();
        self.absence.due = None;
        if options.last_man_standing.is_none() && options.allow_downscale.is_none() {
            return;
        }
        let view = self.quorum.view();
        if !view.quorate || view.ring != self.ring_id {
            self.absence.since = None;
            return;
        }
        let since = self.absence.since.filter(|(ring, _)| *ring == self.ring_id).map_or(now, |(_, at)| at);
        self.absence.since = Some((self.ring_id, since));
        let tables = self.quorum.tables();
        let missing = |id: &NodeId| !self.members.contains(id);
        let ready = tables.is_bound() && tables.next.is_none() && !self.changes.is_running() && !self.left;
        if !ready || !tables.table.counted().any(|id| missing(&id)) {
            return;
        }
        let left = |id: &NodeId| self.quorum.left().any(|gone| gone == *id);
        let all = options.last_man_standing.map(|window| since + window);
        let some = options.allow_downscale.filter(|_| tables.table.counted().any(|id| left(&id)));
        let mut due = all.into_iter().chain(some.map(|_| now)).min();
        if let Some((_, at)) = self.absence.said.filter(|(ring, _)| *ring == self.ring_id) {
            due = due.map(|due| due.max(at + AGAIN));
        }
        if due.is_none_or(|due| now < due) {
            self.absence.due = due;
            return;
        }
        let missing = tables.table.counted().filter(missing);
        let (least, who): (Votes, Vec<NodeId>) = match (all, some) {
            (Some(at), _) if now >= at => (Votes::new(0), missing.collect()),
            (_, Some(least)) => (least, missing.filter(left).collect()),
            _ => return,
        };
        let sane = self.without(least, &who).is_some_and(|table| self.quorum.may_scale(&table));
        if sane {
            let message = Message::Absent { ring: self.ring_id, least, who }.encode();
            self.control.push_back((self.ring_id, Guarantee::Agreed, message));
        }
        self.absence.said = Some((self.ring_id, now));
        self.absence.due = Some(now + AGAIN);
    }

    /// Nodes are to be taken out of the count, in its place of the order.
    pub(super) fn absent_delivered(&mut self, least: Votes, who: &[NodeId]) {
        let table = self.without(least, who);
        self.begin_scale(table);
    }

    /// An administrator takes votes out of the count or puts them back.
    pub(super) fn ask_to_maintain(&mut self, whose: Whose, on: bool) -> Result<(), Refusal> {
        self.ready()?;
        if self.changes.is_running() || self.quorum.tables().next.is_some() {
            return Err(Refusal::TryAgain);
        }
        if !self.quorum.tables().is_bound() {
            return Err(Refusal::NotExist);
        }
        let table = &self.quorum.tables().table;
        let known = match whose {
            Whose::Node(node) => table.votes(node).is_some(),
            Whose::Device => table.device.is_some(),
            Whose::All => !on,
        };
        if !known {
            return Err(Refusal::NameNotFound);
        }
        let Some(table) = self.maintained(whose, on) else { return Ok(()) };
        if !self.quorum.may_scale(&table) {
            return Err(Refusal::InvalidParam);
        }
        self.order(&Message::Maintain { ring: self.ring_id, whose, on })
    }

    /// Votes are to be taken out of the count, or put back, in its place of the order.
    pub(super) fn maintain_delivered(&mut self, whose: Whose, on: bool) {
        let table = self.maintained(whose, on);
        self.begin_scale(table);
    }

    /// The table in force with those back in the count that are members, and with somebody who is there to break a tie; none if that
    /// is how it is.
    pub(super) fn settled_scale(&self) -> Option<NodeTable> {
        self.rescaled(|_| {})
    }

    fn without(&self, least: Votes, who: &[NodeId]) -> Option<NodeTable> {
        self.rescaled(|scale| {
            scale.away.extend(who);
            scale.least = least;
        })
    }

    fn maintained(&self, whose: Whose, on: bool) -> Option<NodeTable> {
        let table = &self.quorum.tables().table;
        let votes = match whose {
            Whose::Node(node) => table.votes(node),
            Whose::Device => table.device_now().map(|device| device.votes),
            Whose::All => None,
        };
        self.rescaled(|scale| {
            match whose {
                Whose::Node(node) if on => scale.maintained.push(node),
                Whose::Node(node) => scale.maintained.retain(|id| *id != node),
                Whose::Device => scale.device_out = on,
                Whose::All if on => {}
                Whose::All => *scale = Scale { tie: scale.tie, ..Scale::default() },
            }
            if let Some(votes) = votes.filter(|_| on) {
                scale.least = Votes::new(table.expected_now().get().saturating_sub(votes.get()));
            }
        })
    }

    /// The table in force with another scale; none if it is the same. The same for all members in one place of the order.
    fn rescaled(&self, change: impl FnOnce(&mut Scale)) -> Option<NodeTable> {
        let tables = self.quorum.tables();
        if !tables.is_bound() {
            return None;
        }
        let mut scale = tables.table.scale.clone();
        change(&mut scale);
        scale.away.retain(|id| !self.members.contains(id));
        let table = tables.table.clone().scaled(scale, |id| self.members.contains(&id));
        (table != tables.table).then_some(table)
    }

    fn begin_scale(&mut self, table: Option<NodeTable>) {
        if self.changes.is_running() || self.left || self.quorum.tables().next.is_some() {
            return;
        }
        if let Some(table) = table.filter(|table| self.quorum.may_scale(table)) {
            self.begin_table(table);
        }
    }
}

/// What came to nothing is proposed again after this time.
const AGAIN: Span = Span::from_secs(1);
