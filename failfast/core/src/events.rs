//! What the registry tells for log, counters and CMAP: each event once, with its wording.

use std::fmt;

use holdfast_types::Span;

use crate::name::UnitName;
use crate::registry::Trouble;
use crate::text::Text;

/// One thing that happened. `Copy` and of fixed size, so that the realtime thread can hand it to the log thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A unit armed for the first time, or again after it was disarmed.
    Armed {
        /// Which.
        name: UnitName,
        /// Its process.
        pid: u32,
        /// How long after its death the node goes down.
        delay: Span,
        /// Longest time between two heartbeats; zero: only its death counts.
        heartbeat: Span,
    },
    /// A unit was armed again while its delay ran: the countdown is off.
    Rearmed {
        /// Which.
        name: UnitName,
        /// Its process now.
        pid: u32,
        /// How long it had been in trouble.
        after: Span,
    },
    /// A late heartbeat came while the delay ran: the countdown is off.
    Recovered {
        /// Which.
        name: UnitName,
        /// How long the delay had run.
        after: Span,
    },
    /// A unit said that the node can do without it from now on.
    Disarmed {
        /// Which.
        name: UnitName,
    },
    /// A unit is dead or late; its delay runs.
    Triggered {
        /// Which.
        name: UnitName,
        /// Its process.
        pid: u32,
        /// What is wrong.
        trouble: Trouble,
        /// The node goes down when this is over.
        delay: Span,
    },
    /// The delay of a unit in mode `off` is over: nothing happens but this line.
    TimedOut {
        /// Which.
        name: UnitName,
        /// What would have been the reason.
        text: Text,
    },
    /// The delay of a unit is over: the node goes down.
    TakingDown {
        /// The reason.
        text: Text,
    },
    /// The loop was away for so long that the units' clocks were set forward by it.
    Paused {
        /// For how long.
        gap: Span,
    },
    /// Events that were dropped because nobody fetched them.
    Dropped {
        /// How many.
        count: u64,
    },
}

/// How loud an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// The ordinary course of things.
    Info,
    /// Something an operator should look at.
    Warning,
    /// Something is lost.
    Error,
    /// The node goes down.
    Emergency,
}

impl Event {
    /// How loud it is.
    #[must_use]
    pub const fn level(&self) -> Level {
        match self {
            Self::Armed { .. } | Self::Disarmed { .. } => Level::Info,
            Self::Rearmed { .. } | Self::Recovered { .. } | Self::Paused { .. } | Self::Dropped { .. } => {
                Level::Warning
            }
            Self::Triggered { .. } | Self::TimedOut { .. } => Level::Error,
            Self::TakingDown { .. } => Level::Emergency,
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Armed { name, pid, delay, heartbeat } => {
                write!(f, "Failfast: unit \"{name}\" armed by pid {pid}, delay {delay}")?;
                if *heartbeat > Span::ZERO { write!(f, ", heartbeat {heartbeat}") } else { Ok(()) }
            }
            Self::Rearmed { name, pid, after } => {
                write!(
                    f,
                    "Failfast: unit \"{name}\" armed again by pid {pid} after {after}, countdown cancelled"
                )
            }
            Self::Recovered { name, after } => {
                write!(f, "Failfast: heartbeat of unit \"{name}\" is back after {after}, countdown cancelled")
            }
            Self::Disarmed { name } => write!(f, "Failfast: unit \"{name}\" disarmed"),
            Self::Triggered { name, pid, trouble: Trouble::Died, delay } => {
                write!(
                    f,
                    "Failfast: unit \"{name}\" (pid {pid}) died; aborting in {delay} unless it is armed again"
                )
            }
            Self::Triggered { name, pid, trouble: Trouble::Late, delay } => {
                write!(
                    f,
                    "Failfast: unit \"{name}\" (pid {pid}) missed its heartbeat; aborting in {delay} "
                )?;
                f.write_str("unless it is back")
            }
            Self::TimedOut { name, text } => {
                write!(f, "Failfast timeout - unit \"{name}\" (mode off): {text}")
            }
            Self::TakingDown { text } => f.write_str(text),
            Self::Paused { gap } => {
                write!(f, "Failfast: the loop was away for {gap}; units get that time anew")
            }
            Self::Dropped { count } => write!(f, "Failfast: {count} events lost"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The wording is a contract: operators' filters read it.
    #[test]
    fn wording() {
        let name = UnitName::new("rgmd").unwrap();
        let delay = Span::from_secs(35);
        let triggered = |trouble| Event::Triggered { name, pid: 17, trouble, delay };
        let table = [
            (
                Event::Armed { name, pid: 17, delay, heartbeat: Span::ZERO },
                "Failfast: unit \"rgmd\" armed by pid 17, delay 35000 ms",
            ),
            (
                Event::Armed { name, pid: 17, delay, heartbeat: Span::from_secs(2) },
                "Failfast: unit \"rgmd\" armed by pid 17, delay 35000 ms, heartbeat 2000 ms",
            ),
            (
                Event::Rearmed { name, pid: 18, after: Span::from_millis(1_500) },
                "Failfast: unit \"rgmd\" armed again by pid 18 after 1500 ms, countdown cancelled",
            ),
            (
                Event::Recovered { name, after: Span::from_millis(20) },
                "Failfast: heartbeat of unit \"rgmd\" is back after 20 ms, countdown cancelled",
            ),
            (Event::Disarmed { name }, "Failfast: unit \"rgmd\" disarmed"),
            (
                triggered(Trouble::Died),
                "Failfast: unit \"rgmd\" (pid 17) died; aborting in 35000 ms unless it is armed again",
            ),
            (
                triggered(Trouble::Late),
                "Failfast: unit \"rgmd\" (pid 17) missed its heartbeat; aborting in 35000 ms unless it is back",
            ),
            (
                Event::TimedOut { name, text: Text::from("why") },
                "Failfast timeout - unit \"rgmd\" (mode off): why",
            ),
            (Event::TakingDown { text: Text::from("why") }, "why"),
            (
                Event::Paused { gap: Span::from_secs(3) },
                "Failfast: the loop was away for 3000 ms; units get that time anew",
            ),
            (Event::Dropped { count: 4 }, "Failfast: 4 events lost"),
        ];
        for (event, line) in table {
            assert_eq!(event.to_string(), line);
        }
    }
}
