//! What the ring remembers of itself for its operators: how long the token takes, and what the last changes were.
//!
//! Nothing here decides anything. Counting a token allocates nothing once there were a hundred; a change of the ring
//! keeps its lists.

use std::collections::VecDeque;

use holdfast_types::{Boottime, Histogram, NodeId, RingId, Span};

use super::{Ring, State};
use crate::wire::FrameKind;
use crate::{Configuration, Event, RingChange, Stats, TokenTimes};

/// Times of tokens, and the last changes.
#[derive(Debug, Default)]
pub(super) struct History {
    /// From token to token while there is something to do.
    busy: Histogram,
    /// From token to token on a quiet ring, where the representative holds it.
    quiet: Histogram,
    /// The last tokens.
    visits: VecDeque<Visit>,
    /// The newest of them is that of the token's last coming, which is not so for a ring's first token.
    newest_is_last: bool,
    /// When the token came last, in this ring.
    last: Option<Boottime>,
    changes: VecDeque<RingChange>,
    /// The change that is under way.
    open: Option<RingChange>,
}

#[derive(Clone, Copy, Debug)]
struct Visit {
    since_last: Span,
    stay: Span,
    backlog: u32,
}

/// As many tokens as corosync averages over.
const VISITS: usize = 100;
/// Changes remembered.
const CHANGES: usize = 16;

impl History {
    /// The token of the ring came, with so many frames waiting here. `quiet`: nothing was sent in its last rotations.
    pub(super) fn token_came(&mut self, now: Boottime, backlog: u32, quiet: bool) {
        let last = self.last.replace(now);
        self.newest_is_last = last.is_some();
        let Some(last) = last else { return };
        let since_last = now.since(last);
        if quiet { &mut self.quiet } else { &mut self.busy }.record(since_last);
        if self.visits.len() == VISITS {
            self.visits.pop_front();
        }
        self.visits.push_back(Visit { since_last, stay: Span::ZERO, backlog });
    }

    /// It was passed on.
    pub(super) fn token_left(&mut self, now: Boottime) {
        if let (Some(last), true, Some(newest)) = (self.last, self.newest_is_last, self.visits.back_mut()) {
            newest.stay = now.since(last);
        }
    }

    /// Gather was entered, for this reason.
    pub(super) fn gather(&mut self, now: Boottime, cause: (u8, &'static str), from: RingId) {
        self.last = None;
        let open = self.open.get_or_insert_with(|| RingChange {
            cause: cause.0,
            text: cause.1,
            began: now,
            took: Span::ZERO,
            gathers: 0,
            old: from,
            new: RingId::default(),
            members: Vec::new(),
            joined: Vec::new(),
            left: Vec::new(),
        });
        open.gathers += 1;
    }

    /// A ring was installed.
    pub(super) fn installed(&mut self, now: Boottime, configuration: &Configuration) {
        let Some(mut change) = self.open.take() else { return };
        change.took = now.since(change.began);
        change.new = configuration.ring;
        change.members.clone_from(&configuration.members);
        change.joined.clone_from(&configuration.joined);
        change.left.clone_from(&configuration.left);
        if self.changes.len() == CHANGES {
            self.changes.pop_front();
        }
        self.changes.push_back(change);
    }

    /// The last changes, oldest first.
    pub(super) fn changes(&self) -> impl Iterator<Item = &RingChange> {
        self.changes.iter()
    }

    /// What the tokens took. `held`: the token is here now.
    pub(super) fn token_times(&self, now: Boottime, held: bool) -> TokenTimes {
        let visits = &self.visits;
        let mean = |sum: u64| sum.checked_div(visits.len() as u64).unwrap_or(0);
        let mean_span =
            |of: fn(&Visit) -> Span| Span::from_nanos(mean(visits.iter().map(|v| of(v).as_nanos()).sum()));
        TokenTimes {
            busy: self.busy.clone(),
            quiet: self.quiet.clone(),
            mean_between: mean_span(|v| v.since_last),
            mean_stay: mean_span(|v| v.stay),
            mean_backlog: u32::try_from(mean(visits.iter().map(|v| u64::from(v.backlog)).sum()))
                .unwrap_or(u32::MAX),
            since_last: self.last.filter(|_| !held).map(|last| now.since(last)),
        }
    }
}

impl Ring {
    /// The token came, before anything is done with it.
    pub(super) fn note_token(&mut self, now: Boottime) {
        if self.state == State::Operational {
            let backlog = self.queue.frames_waiting(self.config.frame_payload_max);
            self.history.token_came(now, backlog, self.installed.is_quiet());
        }
    }
}

impl Ring {
    /// These left the ring: whoever did not say so may be running still.
    pub(super) fn note_silent_leaves(&mut self, left: &[NodeId]) {
        let said_so = |id: &&NodeId| self.peers.get(*id).is_some_and(|peer| peer.leaving);
        let nodes: Vec<NodeId> = left.iter().filter(|id| !said_so(id)).copied().collect();
        if !nodes.is_empty() {
            self.event(Event::LeftSilently { nodes });
        }
    }
}

impl Stats {
    /// A frame is handed out to be sent.
    pub(super) fn count_sent(&mut self, frame: &[u8]) {
        match FrameKind::of(frame) {
            Ok(FrameKind::Token) => self.token_tx += 1,
            Ok(FrameKind::Join) => self.join_tx += 1,
            Ok(FrameKind::Commit) => self.commit_tx += 1,
            Ok(FrameKind::MergeDetect) => self.merge_detect_tx += 1,
            Ok(FrameKind::HoldCancel) => self.hold_cancel_tx += 1,
            // Those are counted where they are made: the first time, or again.
            Ok(FrameKind::Mcast) | Err(_) => {}
        }
    }

    /// A frame of this kind came.
    pub(super) fn count_received(&mut self, kind: FrameKind) {
        match kind {
            FrameKind::Join => self.join_rx += 1,
            FrameKind::Commit => self.commit_rx += 1,
            FrameKind::MergeDetect => self.merge_detect_rx += 1,
            FrameKind::HoldCancel => self.hold_cancel_rx += 1,
            // Counted when they turn out to be of this ring.
            FrameKind::Token | FrameKind::Mcast => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ConfigurationKind;

    fn at(ms: u64) -> Boottime {
        Boottime::from_nanos(ms * 1_000_000)
    }

    fn ring(seq: u64) -> RingId {
        RingId { representative: NodeId::new(1), seq }
    }

    fn installed(seq: u64) -> Configuration {
        Configuration {
            kind: ConfigurationKind::Regular,
            ring: ring(seq),
            members: vec![NodeId::new(1)],
            joined: Vec::new(),
            left: vec![NodeId::new(2)],
        }
    }

    #[test]
    fn rotations_are_counted_within_one_ring_only() {
        let mut h = History::default();
        for ms in [10, 12, 14] {
            h.token_came(at(ms), 3, false);
            h.token_left(at(ms + 1));
        }
        h.gather(at(20), (2, "lost"), ring(4));
        h.installed(at(30), &installed(5));
        h.token_came(at(31), 0, false);
        h.token_came(at(231), 0, true);
        let times = h.token_times(at(240), false);
        assert_eq!((times.busy.to_string(), times.quiet.to_string()), ("2048:2".into(), "262144:1".into()));
        assert_eq!((times.mean_between, times.mean_backlog), (Span::from_millis(68), 2));
        assert_eq!(times.mean_stay, Span::from_nanos(666_666), "of the last one nothing is known yet");
        assert_eq!(times.since_last, Some(Span::from_millis(9)));
        assert_eq!(h.token_times(at(240), true).since_last, None, "it is here");
    }

    #[test]
    fn a_change_has_its_first_cause_and_lasts_until_the_ring_is_installed() {
        let mut h = History::default();
        h.gather(at(100), (2, "lost"), ring(4));
        h.gather(at(150), (11, "merge during join"), ring(4));
        h.installed(at(180), &installed(5));
        let change = h.changes().next().expect("a change").clone();
        assert_eq!((change.cause, change.text, change.gathers), (2, "lost", 2));
        assert_eq!((change.took, change.old, change.new), (Span::from_millis(80), ring(4), ring(5)));
        assert_eq!(change.left, [NodeId::new(2)]);
        for n in 0..40 {
            h.gather(at(200), (7, "foreign"), ring(n));
            h.installed(at(210), &installed(n + 1));
        }
        assert_eq!(h.changes().count(), CHANGES);
        assert_eq!(h.changes().last().expect("a change").new, ring(40), "the newest are kept");
    }
}
