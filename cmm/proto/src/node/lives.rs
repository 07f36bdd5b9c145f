//! Lives and deaths of nodes: what is known of them, and what follows from it.

use holdfast_types::{BootId, Boottime, Incarnation, NodeId, Span};

use super::Node;
use crate::api::{Event, Output};
use crate::ring::Suspicion;
use crate::service::messages::cut;

impl Node {
    /// Firm news of a member.
    pub(super) fn suspect(&mut self, now: Boottime, node: NodeId, why: &'static str) {
        if self.detector.suspect(node) {
            self.event(Event::Suspect { node, why, silent: Span::ZERO });
        }
        self.ring.suspect(now, &[node], Suspicion::Gone);
    }

    /// A packet of this life was opened, or another member knows it.
    pub(super) fn note_life(&mut self, node: NodeId, life: Incarnation) {
        let known = self.lives.entry(node).or_insert(life);
        *known = life.max(*known);
        self.quorum.note_life(node, life);
        if let Some(before) = life.get().checked_sub(1).map(Incarnation::new)
            && node != self.config.me
        {
            // Two lives of a node are never up at once: the daemon holds a lock on its state.
            self.quorum.promised_mut().end(node, before);
        }
    }

    /// A later life on another boot confirms the death of the earlier one.
    pub(super) fn note_boot(&mut self, node: NodeId, life: Incarnation, boot: BootId) {
        match self.boots.get(&node).copied() {
            Some((known, _)) if known >= life => return,
            Some((known, before)) if before != boot => {
                self.confirm(self.now, node, known, "its machine has booted again");
            }
            _ => {}
        }
        self.boots.insert(node, (life, boot));
    }

    pub(super) fn is_confirmed(&self, node: NodeId, life: Incarnation) -> bool {
        self.confirmed.get(&node).is_some_and(|known| *known >= life)
    }

    /// The death of a life, and of all before it, is confirmed.
    pub(super) fn confirm(&mut self, now: Boottime, node: NodeId, life: Incarnation, why: &str) {
        if self.is_confirmed(node, life) {
            return;
        }
        self.confirmed.insert(node, life);
        self.quorum.promised_mut().end(node, life);
        self.outputs.push_back(Output::Confirmed { node, incarnation: life, why: cut(why).to_owned() });
        if node == self.config.me {
            if life >= self.config.incarnation {
                self.take_down(format!("the death of this node was confirmed: {}", cut(why)));
            }
        } else if self.lives.get(&node).is_none_or(|known| *known <= life) {
            self.suspect(now, node, "death confirmed");
        }
    }

    pub(super) fn take_down(&mut self, why: String) {
        if !std::mem::replace(&mut self.taken_down, true) {
            self.quorum.resign(&why);
            self.quorum.update(self.now, &mut self.outputs);
            self.outputs.push_back(Output::TakeDown(why));
        }
    }
}
