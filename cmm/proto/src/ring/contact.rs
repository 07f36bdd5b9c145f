//! Contact with nodes outside the ring: showing it to them, hearing them, and leaving those alone for a while with whom
//! forming a ring has failed.
//!
//! A node that can reach only some members of a ring would keep all of it gathering: each attempt costs the ring a
//! consensus timeout, and then it is left out again. So whoever showed itself and did not get in is *held out*: until
//! every two nodes of the ring that would be formed are known to hear each other. Each shows in its merge-detects whom it
//! hears, and who has heard the merge-detects of all knows. Where they say otherwise the two rings stay apart in peace;
//! where they say nothing it is tried again after a while that doubles each time.
//!
//! Two that hear each other well may still fail for ever if each goes by what the other has said in the attempt before:
//! an accusation that arrives when its sender has begun anew is answered with one that arrives as late. So after a second
//! attempt in vain there is silence for longer than anything is under way.

use holdfast_types::{Boottime, NodeId, RingId, Span};

use super::gather::{Cause, Peer};
use super::timer::Timer;
use super::{Ring, State};
use crate::Destination;
use crate::wire::{MergeDetect, NodeSet};

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

/// Whether something may be begun with a node outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// Nothing speaks against it.
    Open,
    /// It is held out, or holds this node out, but all are known to hear each other again. Not both sides need to
    /// know that yet: who does vouches for it in its joins.
    Whole,
    /// This node holds it out, or it says that it holds this node out.
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
        let contact = &mut self.peers.entry(from).or_default().contact;
        let news =
            contact.heard_at.is_none_or(|at| now.since(at) >= self.config.timers.merge.scale(FRESH, 1));
        contact.shown = Some((now, detect));
        if ring == self.installed.id {
            return;
        }
        contact.heard(now);
        if news && self.state == State::Operational {
            // Whoever waits to hear of this contact need not wait for the whole interval.
            let soon = now + self.config.timers.merge.scale(1, 10);
            self.timers.set_earlier(Timer::Merge, soon);
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
                self.open_gather(now);
                self.gather.vouch = admission == Admission::Whole;
                self.consider(now, from);
                self.enter_gather(now, operational);
            }
            State::Gather => {
                self.gather.vouch |= admission == Admission::Whole;
                if self.consider(now, from) {
                    self.enter_gather(now, gathering);
                }
            }
            State::Commit | State::Recovery | State::Left => {}
        }
    }

    /// Whether something may be begun with `id`.
    pub(super) fn admission(&self, now: Boottime, id: NodeId) -> Admission {
        let theirs = self.shown(now, id).is_some_and(|d| d.held_out.contains(self.me));
        if !theirs && !self.distrusts(now, id) {
            Admission::Open
        } else if self.is_welcome_back(now, id) {
            Admission::Whole
        } else {
            Admission::HeldOut
        }
    }

    /// Whether forming a ring with `id` has failed, and it is too early to try again without knowing better.
    fn distrusts(&self, now: Boottime, id: NodeId) -> bool {
        let Some(Peer { contact, .. }) = self.peers.get(&id) else { return false };
        let limit = contact.held_since + self.config.timers.consensus.scale(APART_MAX, 1);
        let apart = contact.vain > 0 && now < limit && self.shown(now, id).is_some();
        now < contact.held_until || apart
    }

    /// What `id` has shown lately.
    fn shown(&self, now: Boottime, id: NodeId) -> Option<&MergeDetect> {
        let (at, detect) = self.peers.get(&id)?.contact.shown.as_ref()?;
        (now.since(*at) < self.config.timers.merge.scale(FRESH, 1)).then_some(detect)
    }

    /// Whether one that is held out may come in early: all are known to hear each other, and if that was so before and
    /// was in vain all the same, some time has passed.
    fn is_welcome_back(&self, now: Boottime, id: NodeId) -> bool {
        let rest = |c: &Contact| self.config.timers.merge.scale((1 << c.vain.saturating_sub(1)) - 1, 1);
        let rested = self.peers.get(&id).is_none_or(|p| now.since(p.contact.held_since) >= rest(&p.contact));
        rested && self.is_whole_with(now, id)
    }

    /// Whether all of this ring and all of the ring that `other` is in are known to hear each other, by what they
    /// have shown since `other` was held out.
    fn is_whole_with(&self, now: Boottime, other: NodeId) -> bool {
        let since = self.peers.get(&other).map_or(now, |p| p.contact.held_since);
        let said = |id: NodeId, ring: RingId| {
            let at = self.peers.get(&id)?.contact.shown.as_ref()?.0;
            self.shown(now, id).filter(|d| d.ring == ring && at > since)
        };
        let Some(theirs) = self.shown(now, other) else { return false };
        theirs.members.iter().all(|b| {
            said(b, theirs.ring).is_some_and(|of_b| {
                self.installed.members.iter().all(|a| {
                    let a_hears_b =
                        a == self.me || said(a, self.installed.id).is_some_and(|d| d.heard.contains(b));
                    a_hears_b && of_b.heard.contains(a)
                })
            })
        })
    }

    /// At the end of an episode: who came from outside and did not get in is held out.
    pub(super) fn settle_held_out(&mut self, now: Boottime, before: &NodeSet) {
        let consensus = self.config.timers.consensus;
        for id in self.gather.proc.clone().iter() {
            let contact = &mut self.peers.entry(id).or_default().contact;
            if self.installed.members.contains(id) {
                contact.welcome();
            } else if !before.contains(id) {
                contact.hold_out(now, consensus);
            }
        }
    }

    /// Shows the ring to configured nodes outside of it. The representative does so all the time; where any member hears
    /// somebody outside every member does, and to everybody, so that all learn who hears whom.
    pub(super) fn merge_tick(&mut self, now: Boottime) {
        if self.state != State::Operational {
            return;
        }
        self.timers.set(Timer::Merge, now + self.config.timers.merge);
        let absent = self.config.nodes.iter().copied().filter(|id| !self.installed.members.contains(*id));
        let absent: NodeSet = absent.collect();
        let fresh = self.config.timers.merge.scale(FRESH, 1);
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
    }
}

/// A node outside that shows nothing is held out for at most `consensus × 2^this` at a time.
const DOUBLINGS_MAX: u8 = 5;
/// Consensus timeouts after which an attempt is made even with one that shows that not all hear each other: what is
/// only believed holds for a long time, not for ever.
const APART_MAX: u64 = 300;
/// What was heard counts for this many intervals of merge-detects.
const FRESH: u64 = 3;
