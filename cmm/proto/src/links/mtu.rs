//! Path MTU of one link to one peer: the longest packet that gets there whole.
//!
//! Found without trusting anybody's word but the peer's: probes of a length, which nobody on the way may cut up, are answered or
//! not. Nothing waits for it. Until a longer packet was answered, [`PACKET_SAFE`] is used, which every path carries. A length
//! that was proven is in doubt when frames have to be sent again, when the interface refuses it, and once in a while: in doubt
//! what is sent is safe again, until the next answer.

use holdfast_types::{Boottime, Span};

use crate::limits::PACKET_SAFE;

/// The search for it, and what is known so far. Lengths are those of UDP payloads.
#[derive(Clone, Debug)]
pub(super) struct Mtu {
    /// The longest packet that the peer has got whole, as far as is known.
    proven: usize,
    /// It is to be proven again before anything else is tried.
    confirm: bool,
    /// Until then it is not used.
    doubted: bool,
    /// This length and longer ones do not pass.
    fails: usize,
    out: Option<Sent>,
    /// When there is something to send, or to give up; `None`: the link is down.
    due: Option<Boottime>,
    /// A search is over, and the next one has not begun.
    resting: bool,
    /// No doubt before then.
    sure_until: Boottime,
    /// What was found by the last search that is over.
    found: Option<usize>,
}

#[derive(Clone, Copy, Debug)]
struct Sent {
    len: usize,
    tries: u8,
}

impl Default for Mtu {
    fn default() -> Self {
        Self {
            proven: PACKET_SAFE,
            confirm: false,
            doubted: false,
            fails: 0,
            out: None,
            due: None,
            resting: false,
            sure_until: Boottime::default(),
            found: None,
        }
    }
}

/// What one look at the search led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Send a probe of this length; `again`: one more time.
    Ask { len: usize, again: bool },
    /// The search is over: it was this length before, and is this one now.
    Found { from: usize, to: usize },
    /// Nothing to tell.
    Rest,
}

impl Mtu {
    /// Packets may be this long.
    pub(super) fn usable(&self) -> usize {
        if self.doubted { PACKET_SAFE } else { self.proven }
    }

    /// Whether a search that may change it is not over yet.
    pub(super) fn is_settled(&self) -> bool {
        self.found == Some(self.proven) && !self.doubted
    }

    /// The link is up: what was known before is void.
    pub(super) fn begin(&mut self, now: Boottime) {
        *self = Self { fails: usize::MAX, due: Some(now), found: self.found, ..Self::default() };
    }

    /// The link is down.
    pub(super) fn end(&mut self) {
        (self.due, self.out, self.proven, self.doubted) = (None, None, PACKET_SAFE, false);
    }

    /// When [`Mtu::step`] has something to do.
    pub(super) fn due(&self) -> Option<Boottime> {
        self.due
    }

    /// Something that is due. `max`: no packet may be longer. An answer takes up to `wait`; the next search begins after `interval`.
    pub(super) fn step(&mut self, now: Boottime, max: usize, wait: Span, interval: Span) -> Step {
        if let Some(out) = &mut self.out {
            if out.tries < TRIES {
                out.tries += 1;
                self.due = Some(now + wait);
                return Step::Ask { len: out.len, again: true };
            }
            let len = out.len;
            self.failed(len);
        }
        if std::mem::take(&mut self.resting) {
            // The interval has passed: a better way may have come up, or the way may have become worse.
            (self.confirm, self.fails) = (self.proven > PACKET_SAFE, usize::MAX);
        }
        self.fails = self.fails.min(max + 1);
        self.proven = self.proven.min(max);
        match self.candidate(max) {
            Some(len) => {
                self.out = Some(Sent { len, tries: 1 });
                self.due = Some(now + wait);
                Step::Ask { len, again: false }
            }
            None => {
                (self.due, self.resting) = (Some(now + interval), true);
                let from = self.found.replace(self.proven).unwrap_or(PACKET_SAFE);
                if from == self.proven { Step::Rest } else { Step::Found { from, to: self.proven } }
            }
        }
    }

    /// Other lengths are allowed: the next search begins at once.
    pub(super) fn again(&mut self, now: Boottime) {
        if self.due.is_some() {
            (self.out, self.resting, self.due) = (None, true, Some(now));
        }
    }

    /// The peer has got a probe of this length.
    pub(super) fn answered(&mut self, now: Boottime, len: usize) {
        if self.out.is_some_and(|out| out.len == len) {
            (self.out, self.due) = (None, Some(now));
            (self.proven, self.confirm, self.doubted) = (len, false, false);
            self.sure_until = now + SURE;
        }
    }

    /// The interface takes no packet of this length.
    pub(super) fn refused(&mut self, now: Boottime, len: usize) {
        if self.out.is_some_and(|out| out.len == len) {
            self.due = Some(now);
            self.failed(len);
        }
    }

    /// Longer packets seem to get lost. `true`: what is used has changed.
    pub(super) fn doubt(&mut self, now: Boottime) -> bool {
        if self.due.is_none() || self.doubted || self.proven <= PACKET_SAFE || now < self.sure_until {
            return false;
        }
        (self.confirm, self.doubted, self.resting) = (true, true, false);
        (self.out, self.due) = (None, Some(now));
        true
    }

    fn failed(&mut self, len: usize) {
        self.out = None;
        self.fails = self.fails.min(len);
        if len <= self.proven {
            (self.proven, self.confirm, self.doubted) = (PACKET_SAFE, false, false);
        }
    }

    /// The length to try next: what must be confirmed; the longest; one that is common; the middle.
    fn candidate(&self, max: usize) -> Option<usize> {
        if self.confirm {
            return Some(self.proven);
        }
        if self.fails <= self.proven + GRAIN {
            return None;
        }
        if self.fails > max {
            return Some(max);
        }
        let common = COMMON.into_iter().find(|len| (self.proven + 1..self.fails).contains(len));
        common.or(Some(self.proven.midpoint(self.fails)))
    }
}

/// A probe that is not answered is sent so many times.
const TRIES: u8 = 3;
/// A length that was just proven is not doubted for this long: packets are lost for other reasons too.
const SURE: Span = Span::from_millis(50);
/// So close is close enough.
const GRAIN: usize = 8;
/// What is left for UDP of usual MTUs, with IPv4 and with IPv6: 9000, 1500, 1450 (VXLAN).
const COMMON: [usize; 5] = [8_972, 8_952, 1_472, 1_452, 1_422];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::PACKET_MAX;

    const WAIT: Span = Span::from_millis(200);
    const INTERVAL: Span = Span::from_secs(30);

    /// A path that takes packets up to a length, and says so or is silent about it.
    struct Way {
        now: Boottime,
        mtu: Mtu,
        takes: usize,
        tells: bool,
        asked: Vec<usize>,
    }

    impl Way {
        fn new(takes: usize, tells: bool) -> Self {
            let now = Boottime::from_nanos(7_000_000_000);
            let mut mtu = Mtu::default();
            mtu.begin(now);
            Self { now, mtu, takes, tells, asked: Vec::new() }
        }

        /// Until a search is over, without waiting for the next one.
        fn search(&mut self) -> Step {
            self.asked.clear();
            loop {
                self.now = self.mtu.due().expect("it is up").max(self.now);
                match self.mtu.step(self.now, PACKET_MAX, WAIT, INTERVAL) {
                    Step::Ask { len, .. } => {
                        self.asked.push(len);
                        if len <= self.takes {
                            self.mtu.answered(self.now, len);
                        } else if self.tells {
                            self.mtu.refused(self.now, len);
                        }
                    }
                    over => return over,
                }
            }
        }
    }

    #[test]
    fn every_path_is_found_to_a_few_bytes_by_few_probes() {
        for tells in [true, false] {
            for takes in (PACKET_SAFE..=PACKET_MAX).step_by(7).chain([1_472, 1_452, 8_952, PACKET_MAX]) {
                let mut way = Way::new(takes, tells);
                way.search();
                let found = way.mtu.usable();
                assert!(found <= takes && takes <= found + GRAIN, "{found} of {takes}");
                assert!(way.mtu.is_settled());
                let most = if tells { 24 } else { 3 * 24 };
                assert!(way.asked.len() <= most, "{takes}: {:?}", way.asked);
            }
        }
        for usual in [1_472, 1_452, 8_952, PACKET_MAX] {
            let mut way = Way::new(usual, true);
            assert_eq!(way.search(), Step::Found { from: PACKET_SAFE, to: usual });
        }
    }

    #[test]
    fn a_path_that_takes_less_than_any_is_used_with_what_is_safe() {
        let mut way = Way::new(500, false);
        assert_eq!(way.search(), Step::Rest);
        assert_eq!(way.mtu.usable(), PACKET_SAFE);
    }

    #[test]
    fn a_path_that_shrinks_is_safe_at_once_and_found_again() {
        let mut way = Way::new(PACKET_MAX, false);
        way.search();
        way.takes = 1_272;
        assert!(!way.mtu.doubt(way.now), "it was proven a moment ago");
        way.now = way.now + SURE;
        assert!(way.mtu.doubt(way.now) && !way.mtu.doubt(way.now));
        assert_eq!(way.mtu.usable(), PACKET_SAFE, "before anything is known");
        assert!(
            matches!(way.search(), Step::Found { from: PACKET_MAX, to } if (1_264..=1_272).contains(&to))
        );
    }

    #[test]
    fn a_doubt_without_reason_costs_one_probe() {
        let mut way = Way::new(1_472, true);
        way.search();
        way.now = way.now + SURE;
        assert!(way.mtu.doubt(way.now));
        assert_eq!(way.search(), Step::Rest);
        assert_eq!((way.asked.as_slice(), way.mtu.usable()), (&[1_472][..], 1_472));
    }

    #[test]
    fn a_path_that_grows_is_found_by_the_next_search() {
        let mut way = Way::new(1_272, false);
        way.search();
        way.takes = PACKET_MAX;
        let begin = way.now;
        assert!(matches!(way.search(), Step::Found { to: PACKET_MAX, .. }));
        assert!(way.now >= begin + INTERVAL);
        assert!(way.asked.len() <= 2, "{:?}", way.asked);
    }

    #[test]
    fn what_is_allowed_bounds_what_is_tried() {
        let mut way = Way::new(PACKET_MAX, true);
        let Step::Ask { len, .. } = way.mtu.step(way.now, 1_300, WAIT, INTERVAL) else { panic!("asks") };
        assert_eq!(len, 1_300);
        way.mtu.answered(way.now, len);
        assert_eq!(way.search(), Step::Found { from: PACKET_SAFE, to: 1_300 });
        way.mtu.again(way.now);
        let begin = way.now;
        assert_eq!(way.search(), Step::Found { from: 1_300, to: PACKET_MAX });
        assert_eq!(way.now, begin, "at once");
        way.now = way.now + INTERVAL;
        way.mtu.step(way.now, 1_300, WAIT, INTERVAL);
        assert_eq!(way.mtu.usable(), 1_300, "and what is used");
    }

    #[test]
    fn a_link_that_went_down_starts_anew() {
        let mut way = Way::new(PACKET_MAX, true);
        way.search();
        way.mtu.end();
        assert_eq!((way.mtu.due(), way.mtu.usable()), (None, PACKET_SAFE));
        assert!(!way.mtu.doubt(way.now + SURE));
        way.mtu.begin(way.now);
        assert!(!way.mtu.is_settled());
        assert_eq!(way.search(), Step::Rest, "as long as before: nothing to tell");
        assert!(way.mtu.is_settled());
    }

    #[test]
    fn an_answer_to_nothing_that_was_asked_proves_nothing() {
        let mut way = Way::new(PACKET_MAX, true);
        way.mtu.answered(way.now, PACKET_MAX);
        way.mtu.refused(way.now, PACKET_MAX);
        assert_eq!(way.mtu.usable(), PACKET_SAFE);
    }
}
