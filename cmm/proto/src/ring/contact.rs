//! Contact with nodes outside the ring: showing it to them, hearing them, and leaving those alone for a while with whom
//! forming a ring has failed.
//!
//! A node that can reach only some members of a ring would keep all of it gathering, and be left out again each time. So
//! whoever showed itself and did not get in is *held out* until a better ring is known to be possible: each shows in its
//! merge-detects whom it hears, so who has heard the merge-detects of all knows the best clique, and whether it is better
//! than every ring that it would take members from: more votes, or as many with more nodes. Equal is not better, so who
//! is together stays together; and since each change makes the best ring better, changes end. Where the merge-detects
//! say otherwise the rings stay apart in peace; one that shows nothing is tried again after a while that doubles each time.
//!
//! Two that hear each other well may still fail for ever if each goes by what the other has said in the attempt before:
//! an accusation that arrives when its sender has begun anew is answered with one that arrives as late. So after a second
//! attempt in vain there is silence for longer than anything is under way.

use holdfast_types::{Boottime, NodeId, Span};

use super::clique::{Graph, weight};
use super::gather::{Cause, Peer};
use super::timer::Timer;
use super::{Ring, State};
use crate::wire::{MergeDetect, NodeSet};
use crate::{Destination, Event, HeldOut};

/// What is known of one node's reach, and how attempts to form a ring with it went.
#[derive(Debug, Default)]
pub(super) struct Contact {
    /// Something that only a node outside the ring sends came from it.
    heard_at: Option<Boottime>,
    /// Its last merge-detect, and when it came.
    shown: Option<(Boottime, MergeDetect)>,
    /// It is held out from then …
    held_since: Boottime,
    /// … until then.
    held_until: Boottime,
    /// How often in a row it showed itself and did not become a member.
    vain: u8,
}

/// The better ring that is known to be possible.
#[derive(Debug, Default)]
pub(super) struct Better {
    /// Who of those outside would be in it.
    nodes: NodeSet,
    /// Who reaches whom, members and outside.
    graph: Option<Graph>,
    /// That has not changed since then.
    since: Boottime,
}

/// Whether something may be begun with a node outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// Nothing speaks against it.
    Open,
    /// Somebody is held out, but a better ring with both in it is known to be possible. Not all need to
    /// know that yet: who does vouches for it in its joins.
    Better,
    /// Somebody is held out, by this node, a member, or it, and nothing better is known.
    HeldOut,
}

impl Contact {
    pub(super) fn heard(&mut self, now: Boottime) {
        self.heard_at = Some(now);
    }

    fn welcome(&mut self) {
        (self.vain, self.held_until) = (0, Boottime::default());
    }

    fn hold_out(&mut self, now: Boottime, unit: Span) {
        self.held_since = now;
        self.held_until = now + unit.scale(1 << self.vain, 1);
        self.vain = (self.vain + 1).min(DOUBLINGS_MAX);
    }
}

impl Ring {
    pub(super) fn hear(&mut self, now: Boottime, from: NodeId) {
        self.peers.entry(from).or_default().contact.heard(now);
    }

    pub(super) fn handle_merge_detect(&mut self, now: Boottime, from: NodeId, detect: MergeDetect) {
        self.reservation.hear(detect.ring.seq);
        let (ring, member) = (detect.ring, self.installed.members.contains(from));
        // A member that shows another ring has gone on without us, if that ring is a later one; else it comes late.
        let late = member && ring < self.installed.id;
        if late || !detect.members.contains(from) {
            return;
        }
        let outside = ring != self.installed.id;
        let fresh = self.config.settings.timers.merge.scale(FRESH, 1);
        let contact = &mut self.peers.entry(from).or_default().contact;
        let news = outside && contact.heard_at.is_none_or(|at| now.since(at) >= fresh);
        let before = contact.shown.replace((now, detect));
        let changed = before.map(|(_, d)| d) != contact.shown.as_ref().map(|(_, d)| d.clone());
        if outside {
            contact.heard(now);
        }
        if (news || changed) && self.state == State::Operational {
            // Whoever waits to hear of this contact need not wait for the whole interval.
            let soon = now + self.config.settings.timers.merge.scale(1, 10);
            self.timers.set_earlier(Timer::Merge, soon);
        }
        if !outside {
            return;
        }
        self.approach(now, from, Cause::MergeOperational, Cause::MergeGather);
    }

    /// A node outside the ring shows that it is there.
    pub(super) fn approach(&mut self, now: Boottime, from: NodeId, operational: Cause, gathering: Cause) {
        let admission = self.admission(now, from);
        if admission == Admission::HeldOut {
            return;
        }
        match self.state {
            State::Operational => {
                // All of the better ring at once: it is known of each of them that it would be in it.
                let mut with = NodeSet::of(from);
                if admission == Admission::Better {
                    with.merge(&self.better.nodes);
                }
                self.open_gather(now);
                self.gather.vouch = admission == Admission::Better;
                for id in with.iter() {
                    self.consider(now, id);
                }
                self.enter_gather(now, operational);
            }
            State::Gather => {
                self.gather.vouch |= admission == Admission::Better;
                if self.consider(now, from) {
                    self.enter_gather(now, gathering);
                }
            }
            State::Commit | State::Recovery | State::Left => {}
        }
    }

    /// Whether something may be begun with `id`. Where anybody is held out not all hear each other: then nothing is tried
    /// that is not known to be better, with nobody.
    pub(super) fn admission(&self, now: Boottime, id: NodeId) -> Admission {
        let holds_out = |id| self.shown(now, id).is_some_and(|d| !d.held_out.is_empty());
        let theirs = holds_out(id);
        let ours = self.installed.members.iter().any(holds_out) || !self.held_out.is_empty();
        if !theirs && !ours && !self.distrusts(now, id) {
            Admission::Open
        } else if self.is_welcome_back(now, id) {
            Admission::Better
        } else {
            Admission::HeldOut
        }
    }

    /// Whether forming a ring with `id` has failed, and it is too early to try again without knowing better.
    fn distrusts(&self, now: Boottime, id: NodeId) -> bool {
        let Some(Peer { contact, .. }) = self.peers.get(&id) else { return false };
        now < contact.held_until || contact.vain > 0 && self.shown(now, id).is_some()
    }

    /// What `id` has shown lately.
    fn shown(&self, now: Boottime, id: NodeId) -> Option<&MergeDetect> {
        let (at, detect) = self.peers.get(&id)?.contact.shown.as_ref()?;
        (now.since(*at) < self.config.settings.timers.merge.scale(FRESH, 1)).then_some(detect)
    }

    /// Whether one that is held out may come in: there is a better ring with it, and if that was so before and was in
    /// vain all the same, some time has passed.
    fn is_welcome_back(&self, now: Boottime, id: NodeId) -> bool {
        let rest =
            |c: &Contact| self.config.settings.timers.merge.scale((1 << c.vain.saturating_sub(1)) - 1, 1);
        let rested = self.peers.get(&id).is_none_or(|p| now.since(p.contact.held_since) >= rest(&p.contact));
        rested && self.better.nodes.contains(id)
    }

    /// Looks for a better ring: the best clique with this node in it, if it is better than every ring that it takes
    /// members from, by what all have shown since those outside were held out. One of all nodes is taken at once; one
    /// that leaves somebody out only when nothing has changed for a while, so that many who come within each other's
    /// reach become one ring at once.
    fn look_for_better(&mut self, now: Boottime) {
        let outside =
            |id: &NodeId| !self.installed.members.contains(*id) && self.shown_since(now, *id, *id).is_some();
        let outside: NodeSet = self.nodes.iter().filter(outside).collect();
        self.better.nodes = NodeSet::new();
        if outside.is_empty() {
            return;
        }
        let mut all = outside;
        all.merge(&self.installed.members);
        let mut graph = Graph::new();
        let mut reached = 0_u64;
        for (a, id) in all.iter().enumerate() {
            graph.add(a, weight(self.votes(id), self.installed.members.contains(id)));
            reached |= u64::from(self.reach_each_other(now, self.me, id)) << a;
            for (b, before) in all.iter().enumerate().take(a) {
                if !self.reach_each_other(now, before, id) {
                    graph.part(a, b);
                }
            }
        }
        let best = all.of_mask(graph.best(reached));
        let value = |nodes: &NodeSet| nodes.iter().map(|id| weight(self.votes(id), false)).sum::<u64>();
        let mut rings = best.iter().filter_map(|id| self.shown(now, id)).map(|d| &d.members);
        let worth = value(&best);
        let better = worth > value(&self.installed.members)
            && rings.all(|members| members.is_subset(&self.installed.members) || worth > value(members));
        if self.better.graph.as_ref() != Some(&graph) {
            self.better.graph = Some(graph);
            self.better.since = now;
        }
        let rested = now.since(self.better.since) >= self.config.settings.timers.merge.scale(2, 1);
        if better && (rested || best == self.nodes) {
            self.better.nodes = best.minus(&self.installed.members);
        }
    }

    /// What `id` has shown lately and since `outsider` was held out.
    fn shown_since(&self, now: Boottime, id: NodeId, outsider: NodeId) -> Option<&MergeDetect> {
        let since = self.peers.get(&outsider).map_or(now, |p| p.contact.held_since);
        let at = self.peers.get(&id)?.contact.shown.as_ref()?.0;
        self.shown(now, id).filter(|_| at > since)
    }

    /// Whether these two, members or outside, are known to hear each other.
    fn reach_each_other(&self, now: Boottime, a: NodeId, b: NodeId) -> bool {
        let member = |id| self.installed.members.contains(id);
        match (member(a), member(b)) {
            (true, true) => true,
            (false, true) => self.reach_each_other(now, b, a),
            (true, false) => {
                let Some(theirs) = self.shown_since(now, b, b) else { return false };
                let ours = || self.shown_since(now, a, b).filter(|d| d.ring == self.installed.id);
                theirs.heard.contains(a) && (a == self.me || ours().is_some_and(|d| d.heard.contains(b)))
            }
            (false, false) => match (self.shown_since(now, a, a), self.shown_since(now, b, b)) {
                (Some(x), Some(y)) => {
                    a == b || x.ring == y.ring || x.heard.contains(b) && y.heard.contains(a)
                }
                _ => false,
            },
        }
    }

    /// At the end of an episode: who came from outside, or spoke, and did not get in is held out.
    pub(super) fn settle_held_out(&mut self, now: Boottime, before: &NodeSet) {
        let consensus = self.config.settings.timers.consensus;
        let left_out = self.left_out();
        for id in self.gather.proc.clone().iter() {
            let contact = &mut self.peers.entry(id).or_default().contact;
            if self.installed.members.contains(id) {
                contact.welcome();
                continue;
            }
            // Whom this node hears from here on it shows; what it heard before may be why they are apart.
            contact.heard_at = None;
            if !before.contains(id) || left_out.iter().any(|out| out.node == id) {
                contact.hold_out(now, consensus);
            }
        }
        for id in self.installed.members.iter() {
            self.peers.entry(id).or_default().heard = now;
        }
        let mut held_out = self.held_out.clone();
        held_out.retain(|old| left_out.iter().all(|new| new.node != old.node));
        held_out.extend(left_out);
        held_out.sort_by_key(|out| out.node);
        self.tell_held_out(now, held_out);
    }

    /// Says who is held out now: of these, those that are outside and not forgiven.
    fn tell_held_out(&mut self, now: Boottime, mut held_out: Vec<HeldOut>) {
        held_out.retain(|out| !self.installed.members.contains(out.node) && self.distrusts(now, out.node));
        if held_out != self.held_out {
            self.held_out.clone_from(&held_out);
            let members = self.installed.members.as_slice().to_vec();
            self.event(Event::HeldOut { members, held_out });
        }
    }

    /// Shows the ring to configured nodes outside of it. The representative does so all the time; where any member hears
    /// somebody outside every member does, and to everybody, so that all learn who hears whom.
    pub(super) fn merge_tick(&mut self, now: Boottime) {
        let absent = self.nodes.minus(&self.installed.members);
        // A ring of all nodes has nobody to show itself to.
        if self.state != State::Operational || absent.is_empty() && self.held_out.is_empty() {
            return;
        }
        self.timers.set(Timer::Merge, now + self.config.settings.timers.merge);
        self.tell_held_out(now, self.held_out.clone());
        self.look_for_better(now);
        let fresh = self.config.settings.timers.merge.scale(FRESH, 1);
        let heard = |id: &NodeId| {
            let at = self.peers.get(id).and_then(|p| p.contact.heard_at);
            at.is_some_and(|at| now.since(at) < fresh)
        };
        let heard: NodeSet = absent.iter().filter(heard).collect();
        let contact = !heard.is_empty() || {
            let mut mates = self.installed.members.iter().filter_map(|id| self.shown(now, id));
            mates.any(|d| d.ring == self.installed.id && !d.heard.is_empty())
        };
        if !contact && self.installed.members.first() != Some(self.me) {
            return;
        }
        let held_out = absent.iter().filter(|id| self.distrusts(now, *id) && !self.is_welcome_back(now, *id));
        let detect = MergeDetect {
            ring: self.installed.id,
            members: self.installed.members.clone(),
            held_out: held_out.collect(),
            heard,
        };
        let frame = detect.encode();
        if !contact {
            for id in absent.iter() {
                self.send(Destination::Node(id), true, frame.clone());
            }
        } else {
            self.send(Destination::AllPeers, true, frame);
        }
        let better = self.better.nodes.iter().find(|id| self.is_welcome_back(now, *id));
        if let Some(id) = better {
            self.approach(now, id, Cause::MergeOperational, Cause::MergeGather);
        }
    }
}

/// A node outside that shows nothing is held out for at most `consensus × 2^this` at a time.
const DOUBLINGS_MAX: u8 = 5;
/// What was heard counts for this many intervals of merge-detects.
const FRESH: u64 = 5;
