//! A change of votes that this node has taken from an administrator: it is made, or a line of the log says that it was not.
//!
//! What changes votes is void in any other ring than the one it was asked in, and is dropped while another change is
//! under way: what was right for one majority can make two of it when it comes late. The administrator has been told
//! "taken" by then. So the node that took it asks again, after another look, as the administrator would: in a
//! configuration that has every member of the one it was taken in, or that is quorate as it stands. What is not made
//! within a minute is given up: nobody expects it any more.

use holdfast_types::{Boottime, NodeId, RingId, Span};

use super::Node;
use crate::api::{Event, Guarantee, Refusal};
use crate::quorum::change::Change;
use crate::service::messages::Message;

/// A change that was taken and is not made yet.
pub(super) struct Wish {
    change: Change,
    /// Members of the configuration in which it was taken.
    members: Vec<NodeId>,
    until: Boottime,
    /// The ring in which it is on its way.
    asked: Option<RingId>,
}

impl Node {
    /// Takes a change of votes.
    pub(super) fn wish(&mut self, now: Boottime, change: Change) -> Result<(), Refusal> {
        self.ready()?;
        if self.changes.is_running() || self.wish.is_some() {
            return Err(Refusal::TryAgain);
        }
        self.quorum.check(change)?;
        self.wish = Some(Wish { change, members: self.members.clone(), until: now + WISH_MAX, asked: None });
        self.pursue_wish(now);
        Ok(())
    }

    /// Whether a change of votes that was taken here is not made yet.
    #[must_use]
    pub fn votes_change_pending(&self) -> bool {
        self.wish.is_some()
    }

    /// Asks the members for the change, unless that is on its way, or has to wait.
    pub(super) fn pursue_wish(&mut self, now: Boottime) {
        let Some(wish) = self.wish.as_ref().filter(|w| w.asked != Some(self.ring_id)) else { return };
        if now >= wish.until {
            return self.give_up_wish("the membership did not come to rest in time");
        }
        if !self.reconfig.is_synchronised() || self.changes.is_running() {
            return;
        }
        let all_here = wish.members.iter().all(|node| self.members.contains(node));
        match self.quorum.check(wish.change) {
            Ok(()) if all_here || self.quorum.suffices() => {}
            Err(Refusal::InvalidParam | Refusal::NameNotFound) if all_here => {
                return self.give_up_wish("with the votes as they are by now it is not allowed any more");
            }
            _ => return,
        }
        let ring = self.ring_id;
        let message = match wish.change {
            Change::Expected(votes) => Message::SetExpected { ring, votes },
            Change::Votes { node, votes } => Message::SetVotes { ring, node, votes },
            Change::Table => return,
        };
        self.control.push_back((ring, Guarantee::Agreed, message.encode()));
        self.wish.iter_mut().for_each(|w| w.asked = Some(ring));
    }

    /// The members have dropped a change: if it is this node's, it is asked for again.
    pub(super) fn wish_dropped(&mut self, sender: NodeId) {
        if sender == self.config.me {
            self.wish.iter_mut().for_each(|w| w.asked = None);
        }
    }

    /// A change was made, whoever asked for it.
    pub(super) fn wish_made(&mut self, change: Change) {
        self.wish.take_if(|w| w.change == change);
    }

    fn give_up_wish(&mut self, why: &'static str) {
        if self.wish.take().is_some() {
            self.event(Event::VotesNotChanged { why });
        }
    }
}

/// After this long nobody expects the change any more.
const WISH_MAX: Span = Span::from_secs(60);
