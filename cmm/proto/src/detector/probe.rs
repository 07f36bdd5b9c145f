//! Fast probes: what a hint starts, and the only thing it can do.
//!
//! A hint may be forged or mean something else, so it never counts as news. It makes this node ask the peer, a few times
//! within a short window; only a peer of which nothing is heard meanwhile is suspected. The window is a sixth of the
//! detector's floor, more for a peer that is known to be irregular or far away. A peer that is heard is left in peace for
//! a while that doubles each time, so a stream of hints costs few packets, and seldom a window that a stall could fill.

use holdfast_types::{Boottime, Span};

/// Something suggests that a node is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hint {
    /// Its machine says that nobody listens at its port (ICMP, ICMPv6).
    Refused,
    /// No link to it is up.
    LinksDown,
    /// Another member does not hear it.
    Doubted,
    /// The token is late, and it may be the one that has it.
    TokenLate,
    /// It has echoed nothing for so long that quorum is about to be lost.
    EchoLate,
}

impl Hint {
    /// In words, for the log.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "its address refuses packets",
            Self::LinksDown => "no link to it is up",
            Self::Doubted => "another member does not hear it",
            Self::TokenLate => "the token is late",
            Self::EchoLate => "without its echo the quorum lease ends",
        }
    }
}

/// Probes of one peer.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Probes {
    running: Option<Probe>,
    /// Hints count for nothing until then.
    rest_until: Boottime,
    /// How often in a row it answered.
    answered: u8,
}

#[derive(Clone, Copy, Debug)]
struct Probe {
    hint: Hint,
    began: Boottime,
    /// Packets still to be sent.
    left: u8,
    next: Boottime,
    spacing: Span,
}

impl Probes {
    /// A hint came. Probes are sent within `window`, unless they are already, or the peer is to be left in peace. Whether
    /// that begins now.
    pub(super) fn hint(&mut self, now: Boottime, hint: Hint, window: Span) -> bool {
        let begins = self.running.is_none() && now >= self.rest_until;
        if begins {
            let spacing = window.scale(1, PACKETS.into());
            self.running = Some(Probe { hint, began: now, left: PACKETS, next: now, spacing });
        }
        begins
    }

    /// Whether a probe is to be sent now.
    pub(super) fn due(&mut self, now: Boottime) -> bool {
        let Some(probe) = self.running.as_mut().filter(|p| p.left > 0 && now >= p.next) else { return false };
        (probe.left, probe.next) = (probe.left - 1, now + probe.spacing);
        true
    }

    /// The peer was heard: it lives, and hints count for nothing for some intervals. What comes with the hint may have been
    /// on its way when the peer died.
    pub(super) fn heard(&mut self, now: Boottime, interval: Span) {
        if self.running.take_if(|p| now > p.began + p.spacing.scale(1, 4)).is_none() {
            return;
        }
        if now > self.rest_until + interval.scale(1 << DOUBLINGS_MAX, 1) {
            self.answered = 0;
        }
        self.rest_until = now + interval.scale(1 << self.answered, 1);
        self.answered = (self.answered + 1).min(DOUBLINGS_MAX);
    }

    /// The hint, once the peer had its time to answer. `gap`: how long this node itself was away before this turn. What
    /// came meanwhile is not read yet, so it waits once more. Where nobody is heard the probes themselves are all that wakes it.
    pub(super) fn judge(&mut self, now: Boottime, gap: Span) -> Option<Hint> {
        let probe = self.running.as_mut().filter(|p| p.left == 0 && now >= p.next)?;
        if gap > probe.spacing.scale(3, 2) {
            probe.next = now + probe.spacing;
            return None;
        }
        self.running.take().map(|p| p.hint)
    }

    /// When there is something to do.
    pub(super) fn next_timeout(&self) -> Option<Boottime> {
        self.running.map(|p| p.next)
    }
}

/// Packets of a probe.
const PACKETS: u8 = 3;
/// A peer that is heard is left in peace for `interval × 2^this` at most.
const DOUBLINGS_MAX: u8 = 6;

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Span = Span::from_millis(30);
    const BEAT: Span = Span::from_millis(40);
    const NO_GAP: Span = Span::from_millis(1);

    fn at(ms: u64) -> Boottime {
        Boottime::from_nanos(1_000_000 * (10_000 + ms))
    }

    #[test]
    fn three_packets_and_then_the_verdict() {
        let mut probes = Probes::default();
        assert!(probes.hint(at(0), Hint::Refused, WINDOW) && !probes.hint(at(1), Hint::LinksDown, WINDOW));
        let sent: Vec<u64> = (0..30).filter(|ms| probes.due(at(*ms))).collect();
        assert_eq!(sent, [0, 10, 20]);
        assert_eq!(probes.next_timeout(), Some(at(30)));
        assert_eq!(probes.judge(at(29), NO_GAP), None, "not before the window is over");
        assert_eq!(probes.judge(at(30), NO_GAP), Some(Hint::Refused));
        assert_eq!((probes.judge(at(31), NO_GAP), probes.next_timeout()), (None, None), "once");
    }

    #[test]
    fn who_was_away_itself_waits_once_more() {
        let mut probes = Probes::default();
        probes.hint(at(0), Hint::Refused, WINDOW);
        probes.heard(at(2), BEAT);
        for ms in [0, 10, 20] {
            assert!(probes.due(at(ms)), "what comes with the hint may have been sent before");
        }
        assert_eq!(probes.judge(at(50), Span::from_millis(30)), None);
        probes.heard(at(55), BEAT);
        assert_eq!((probes.judge(at(60), NO_GAP), probes.next_timeout()), (None, None), "it had answered");
    }

    #[test]
    fn hints_that_prove_wrong_count_less_and_less_and_are_forgiven() {
        let mut probes = Probes::default();
        let mut packets = 0;
        for ms in 0..60_000 {
            probes.hint(at(ms), Hint::Refused, WINDOW);
            probes.heard(at(ms), BEAT);
            packets += u32::from(probes.due(at(ms)));
            assert_eq!(probes.judge(at(ms), NO_GAP), None);
        }
        assert!((20..80).contains(&packets), "{packets} in a minute of a hint each millisecond");
        let (later, next) = (120_000, 120_050);
        assert!(probes.hint(at(later), Hint::Refused, WINDOW));
        probes.heard(at(later + 4), BEAT);
        assert!(probes.hint(at(next), Hint::Refused, WINDOW), "the rest is short again");
    }
}
