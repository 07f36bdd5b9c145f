//! Reach: who of those considered hears whom, and so whom this node goes on without.
//!
//! Each node says in its joins whom it hears and whom it does not; what a node says of the latter is its *row*, and
//! everybody passes on the rows it knows. A pair is *apart* when one of the two does not hear the other. Where no pair
//! is, all go on together. Else everybody chooses by the same function of the same rows ([`super::clique`]), so all
//! choose the same, once: the best clique, then the best of the rest, and so on.
//!
//! * Silence is a matter of two. A node that does not hear another one speaks for itself only: nobody is thrown out
//!   because one member lost contact with it. A member that hears of a silence looks at its own evidence: if it hears
//!   nothing either it says so at once, and if nobody hears a node, it is dead. So a death still costs no more than the
//!   first one's suspicion.
//! * Firm news (a leave, a gasp, a confirmed death) is a matter of all: whoever of the own ring says it is believed.
//! * Rows only get longer within an episode, so the choice settles. One that leaves out a node which some of those who
//!   stay still hear waits until nothing was added for a moment: who else lost contact is known a moment later.
//! * Rows guide the choice and nothing else. Which nodes are a ring is decided by all of them having said the same, and
//!   by the commit token: with wrong or missing rows there are worse rings, or more of them, never two with one id.

use arrayvec::ArrayVec;
use holdfast_types::{Boottime, NodeId, Span};

use super::clique::{Graph, weight};
use super::timer::Timer;
use super::{HeldOut, Ring, State};
use crate::limits::NODES_MAX;
use crate::wire::{Join, NodeSet, Row, RowVersion};

impl Ring {
    /// This node was not there to listen until now: it cannot tell others' silence from its own.
    pub fn listen_anew(&mut self, now: Boottime) {
        self.listening_since = now;
    }

    /// Any packet of a node's current life proves that it is heard. The driver calls it for those that are not the
    /// ring's.
    pub fn heard(&mut self, now: Boottime, from: NodeId) {
        if from != self.me {
            self.peers.entry(from).or_default().heard = now;
        }
    }

    /// A node that was silent for this long is not heard, where others have news of it: three heartbeats of a member,
    /// three joins of a node from outside.
    fn doubt(&self, id: NodeId) -> Span {
        let timers = &self.config.settings.timers;
        let member = self.installed.members.contains(id);
        if member { timers.heartbeat } else { timers.join }.scale(3, 1)
    }

    /// Since when `id` has been silent to this node, as far as that is its own doing.
    fn silent_since(&self, id: NodeId) -> Boottime {
        let peer = self.peers.get(&id);
        let since = peer.map_or(Boottime::default(), |p| p.heard.max(p.considered));
        since.max(self.listening_since)
    }

    /// Nodes considered that this node hears, itself included.
    pub(super) fn hears(&self, now: Boottime) -> NodeSet {
        let hears = |id: &NodeId| {
            let peer = self.peers.get(id);
            *id == self.me
                || peer.is_some_and(|p| p.word.is_some() || now.since(p.heard) < self.doubt(*id))
                    && !self.gather.deaf.contains(*id)
                    && !self.gather.gone.contains(*id)
        };
        self.gather.proc.iter().filter(hears).collect()
    }

    /// The sender's row, and those it passes on. Whether they say anything new about who is apart.
    pub(super) fn take_rows(&mut self, from: NodeId, join: &Join) -> bool {
        let mut news = self.take_row(join.row(from));
        for row in &join.rows {
            // What was heard from the node itself is newer, or from before this episode.
            let direct = self.peers.get(&row.node).map(|p| RowVersion::new(p.incarnation, p.counter));
            let known = row.node == self.me || direct >= Some(row.version);
            if !known {
                news |= self.take_row(row.clone());
            }
        }
        news
    }

    fn take_row(&mut self, row: Row) -> bool {
        let known = self.gather.rows.get(&row.node);
        if known.is_some_and(|k| k.version >= row.version) {
            return false;
        }
        let news = known.is_none_or(|k| k.deaf != row.deaf);
        self.gather.rows.insert(row.node, row);
        news
    }

    /// What to pass on: nothing where nobody misses anybody, unless something keeps all waiting. Not all of it may fit
    /// one join, so each begins with another one.
    pub(super) fn rows_to_tell(&self, now: Boottime, turn: u64) -> Vec<Row> {
        let waiting = now.since(self.gather.graph_since) >= self.config.settings.timers.join;
        if !waiting && !self.is_troubled() {
            return Vec::new();
        }
        let mut rows: Vec<Row> = self.gather.rows.values().cloned().collect();
        if let Ok(count @ 1..) = u64::try_from(rows.len()) {
            rows.rotate_left((turn % count) as usize);
        }
        rows
    }

    /// Nodes considered that somebody says not to hear, by place.
    fn accused(&self) -> u64 {
        let rows = self.gather.rows.values().map(|row| &row.deaf);
        let accused = rows.chain([&self.gather.deaf]).filter(|deaf| !deaf.is_empty());
        accused.fold(0, |mask, deaf| mask | deaf.places_in(&self.gather.proc))
    }

    /// Nodes that others have news of, good or bad, and that this one does not hear: it says so. If it has heard them a
    /// moment ago it looks again when that is no longer so.
    fn doubt_the_silent(&mut self, now: Boottime) {
        let mut next: Option<Boottime> = None;
        let accused = self.accused();
        for (place, id) in self.gather.proc.clone().iter().enumerate() {
            let settled = id == self.me || self.gather.deaf.contains(id) || self.gather.gone.contains(id);
            let direct = self.peers.get(&id).is_some_and(|p| p.word.is_some());
            let talked_of = !direct && self.gather.rows.contains_key(&id);
            if settled || !(talked_of || accused >> place & 1 == 1) {
                continue;
            }
            let until = self.silent_since(id) + self.doubt(id);
            if until <= now {
                self.gather.deaf.insert(id);
            } else {
                next = Some(next.map_or(until, |n| n.min(until)));
            }
        }
        if let Some(next) = next {
            self.timers.set_earlier(Timer::Join, next);
        }
    }

    /// Chooses whom this node goes on without, by all that it knows. Whether that has changed.
    pub(super) fn choose(&mut self, now: Boottime) -> bool {
        self.doubt_the_silent(now);
        let (graph, me) = (self.graph(), self.gather.proc.position(self.me));
        let me = me.expect("a node considers itself");
        // Joins that say nothing new are most of them, and the search is the dear part.
        if self.gather.graph.as_ref() != Some(&graph) || self.gather.place != me {
            self.gather.share = graph.share(me);
            self.gather.split = graph.is_split(self.gather.share);
            self.gather.place = me;
        }
        if self.gather.graph.as_ref() != Some(&graph) {
            self.gather.graph = Some(graph);
            self.gather.graph_since = now;
        }
        let failed = self.gather.proc.of_mask(!self.gather.share);
        let changed = failed != self.gather.failed;
        self.gather.failed = failed;
        changed
    }

    /// Those that may go on, by their places among those considered, and which of them are apart.
    fn graph(&self) -> Graph {
        let proc = &self.gather.proc;
        let spoke = |id: NodeId| id == self.me || self.gather.rows.contains_key(&id);
        // Accused by this node too, and nobody has heard it say anything: dead.
        let dead = |id: NodeId| self.gather.gone.contains(id) || self.gather.deaf.contains(id) && !spoke(id);
        let company = |id: NodeId| {
            if id == self.me {
                (!self.newborn).then_some(self.installed.id.representative)
            } else {
                self.gather.rows.get(&id).and_then(|row| row.company)
            }
        };
        let there = |id: &NodeId| !dead(*id);
        let mut graph = Graph::new();
        if !self.is_troubled() {
            for (place, id) in proc.iter().enumerate().filter(|(_, id)| there(id)) {
                graph.add(place, weight(self.votes(id), false));
            }
            return graph;
        }
        // Who comes from the strongest of the rings that meet here would like to stay.
        let mut strengths: ArrayVec<(NodeId, u64), NODES_MAX> = ArrayVec::new();
        for id in proc.iter().filter(there) {
            let (Some(company), strength) = (company(id), weight(self.votes(id), false)) else { continue };
            match strengths.binary_search_by_key(&company, |(of, _)| *of) {
                Ok(at) => strengths[at].1 += strength,
                Err(at) => strengths.insert(at, (company, strength)),
            }
        }
        let strongest = strengths.iter().rev().max_by_key(|(_, strength)| *strength).map(|(of, _)| *of);
        for (place, id) in proc.iter().enumerate().filter(|(_, id)| !dead(*id)) {
            graph.add(place, weight(self.votes(id), strongest.is_some() && company(id) == strongest));
        }
        let speak = proc.mask(spoke);
        for (a, id) in proc.iter().enumerate() {
            let row = if id == self.me {
                Some(&self.gather.deaf)
            } else {
                self.gather.rows.get(&id).map(|row| &row.deaf)
            };
            graph.part_all(a, row.map_or(0, |missed| missed.places_in(proc) & speak));
        }
        graph
    }

    /// Votes of a node, as configured; of one that only others know, what nodes have that say nothing of it.
    pub(super) fn votes(&self, id: NodeId) -> u32 {
        self.nodes.position(id).map_or(1, |place| self.config.nodes[place].votes.get())
    }

    /// Whether all of `live` hear each other, by what they have said.
    pub(super) fn all_hear_all(&self, live: &NodeSet) -> bool {
        live.iter().all(|id| {
            let word = self.peers.get(&id).and_then(|p| p.word.as_ref());
            id == self.me || word.is_some_and(|word| live.is_subset(&word.heard))
        })
    }

    /// When a choice that leaves out nodes which some still hear may be acted on, if that is not yet.
    pub(super) fn too_soon(&self, now: Boottime) -> Option<Boottime> {
        let until = self.gather.graph_since
            + self.config.settings.timers.join.max(self.config.settings.timers.heartbeat).scale(3, 1);
        (self.gather.split && now < until).then_some(until)
    }

    /// Whether anything speaks for choosing: then others should know soon what this node knows.
    pub(super) fn is_troubled(&self) -> bool {
        !self.gather.deaf.is_empty() || self.gather.rows.values().any(|row| !row.deaf.is_empty())
    }

    /// Those that spoke in this episode and are not in the ring that came of it, and which of its members each of them
    /// does not reach.
    pub(super) fn left_out(&self) -> Vec<HeldOut> {
        assert_eq!(self.state, State::Operational);
        let Some(graph) = &self.gather.graph else { return Vec::new() };
        let proc = &self.gather.proc;
        let out = proc.iter().enumerate().filter(|(place, id)| {
            graph.nodes() >> place & 1 == 1
                && self.gather.rows.contains_key(id)
                && !self.installed.members.contains(*id)
        });
        out.map(|(place, node)| {
            let apart = |id: &NodeId| proc.position(*id).is_some_and(|other| graph.is_apart(place, other));
            HeldOut { node, cannot_reach: self.installed.members.iter().find(apart) }
        })
        .collect()
    }
}
