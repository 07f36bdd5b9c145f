//! Why a node goes down, in the words operators search for.

use std::fmt::{self, Write};

use holdfast_types::Span;

use crate::name::UnitName;
use crate::text::Text;

/// Why, in words and by kind. Of fixed size and `Copy`: it travels without allocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reason {
    /// For the choice of packet and for counters.
    pub kind: ReasonKind,
    /// The line for log, kernel log, black box and peers.
    pub text: Text,
}

/// What kind of reason it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReasonKind {
    /// A unit's process is dead.
    UnitDied,
    /// A unit's heartbeat is late.
    UnitLate,
    /// `cmmd` is dead.
    DaemonDied,
    /// `cmmd` makes no progress.
    DaemonStuck,
    /// The guardian is dead and could not be replaced.
    GuardianDied,
    /// `cmmd` itself says so: the node was killed by an operator or a peer, or an invariant is broken.
    Commanded,
}

impl Reason {
    /// `Failfast: Aborting because "cmmd" died N seconds ago.`
    #[must_use]
    pub fn daemon_died(ago: Span) -> Self {
        Wording::died("cmmd").reason(ReasonKind::DaemonDied, ago)
    }

    /// `Failfast: Aborting because "cmmd" made no progress for N seconds.`
    #[must_use]
    pub fn daemon_stuck(silent: Span) -> Self {
        let wording = Wording { before: aborting("cmmd", "made no progress for "), after: " seconds." };
        wording.reason(ReasonKind::DaemonStuck, silent)
    }

    /// `Failfast: guardian died and could not be replaced: WHY`
    #[must_use]
    pub fn guardian_died(why: &dyn fmt::Display) -> Self {
        let mut text = Text::new();
        let _ = write!(text, "Failfast: guardian died and could not be replaced: {why}"); // a Text takes everything
        Self { kind: ReasonKind::GuardianDied, text }
    }

    /// `Failfast: Aborting because WHY`: a decision of the daemon or of its protocol core.
    #[must_use]
    pub fn commanded(why: &dyn fmt::Display) -> Self {
        let mut text = Text::new();
        let _ = write!(text, "Failfast: Aborting because {why}");
        Self { kind: ReasonKind::Commanded, text }
    }
}

impl ReasonKind {
    /// Number in the black box and between `cmmd` and its guardian.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::UnitDied => 1,
            Self::UnitLate => 2,
            Self::DaemonDied => 3,
            Self::DaemonStuck => 4,
            Self::GuardianDied => 5,
            Self::Commanded => 6,
        }
    }

    /// The kind behind a number.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            1 => Self::UnitDied,
            2 => Self::UnitLate,
            3 => Self::DaemonDied,
            4 => Self::DaemonStuck,
            5 => Self::GuardianDied,
            6 => Self::Commanded,
            _ => return None,
        })
    }
}

/// A reason that is ready but for its number of seconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wording {
    before: Text,
    after: &'static str,
}

impl Wording {
    /// `Failfast: Aborting because "NAME" died … seconds ago.`
    pub(crate) fn died(name: &str) -> Self {
        Self { before: aborting(name, "died "), after: " seconds ago." }
    }

    /// `Failfast: Aborting because "NAME" missed its heartbeat for … seconds.`
    pub(crate) fn late(name: &UnitName) -> Self {
        Self { before: aborting(name.as_str(), "missed its heartbeat for "), after: " seconds." }
    }

    /// Puts the number in. Whole seconds, rounded down, as the predecessor printed them.
    pub(crate) fn reason(&self, kind: ReasonKind, span: Span) -> Reason {
        let mut text = self.before;
        let _ = write!(text, "{}{}", span.as_millis() / 1_000, self.after);
        Reason { kind, text }
    }
}

fn aborting(name: &str, what: &str) -> Text {
    let mut text = Text::new();
    let _ = write!(text, "Failfast: Aborting because \"{name}\" {what}");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wording_is_the_one_operators_search_for() {
        let name = UnitName::new("rgmd").unwrap();
        let died = Wording::died("rgmd").reason(ReasonKind::UnitDied, Span::from_millis(35_999));
        assert_eq!(died.text.as_str(), "Failfast: Aborting because \"rgmd\" died 35 seconds ago.");
        let late = Wording::late(&name).reason(ReasonKind::UnitLate, Span::from_secs(12));
        assert_eq!(
            late.text.as_str(),
            "Failfast: Aborting because \"rgmd\" missed its heartbeat for 12 seconds."
        );
        assert_eq!(
            Reason::daemon_died(Span::ZERO).text.as_str(),
            "Failfast: Aborting because \"cmmd\" died 0 seconds ago."
        );
        assert_eq!(
            Reason::daemon_stuck(Span::from_secs(31)).text.as_str(),
            "Failfast: Aborting because \"cmmd\" made no progress for 31 seconds."
        );
        assert_eq!(
            Reason::guardian_died(&"no such file").text.as_str(),
            "Failfast: guardian died and could not be replaced: no such file"
        );
        assert_eq!(
            Reason::commanded(&"an operator on node 2 asked for it").text.as_str(),
            "Failfast: Aborting because an operator on node 2 asked for it"
        );
    }

    #[test]
    fn the_longest_name_and_number_fit() {
        let name = UnitName::new(&"n".repeat(crate::limits::NAME_MAX)).unwrap();
        let late = Wording::late(&name).reason(ReasonKind::UnitLate, Span::from_nanos(u64::MAX));
        assert!(late.text.ends_with(" seconds."), "{}", late.text);
    }

    #[test]
    fn every_kind_has_its_number() {
        for code in 0..=u8::MAX {
            assert!(ReasonKind::from_code(code).is_none_or(|k| k.code() == code));
        }
    }
}
