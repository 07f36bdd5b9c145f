//! What the registry tells for log, counters and CMAP: each event once, with its wording.

use std::fmt;

use holdfast_types::Span;

use crate::name::UnitName;
use crate::registry::{Restarts, Trouble};
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
    /// The node can do without a unit from now on.
    Disarmed {
        /// Which.
        name: UnitName,
        /// The process that said so, where it was not the unit's own.
        by: Option<u32>,
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
        /// The delay begins only then.
        maintenance: Option<Span>,
    },
    /// A unit is in trouble that was restarted as often as it may be: no restart cancels this countdown.
    RestartedTooOften {
        /// Which.
        name: UnitName,
        /// How often it may be.
        restarts: Restarts,
    },
    /// Trouble of a unit, or of all, is only told for a while: at the begin, and again until it is over.
    Maintenance {
        /// Which; `None`: all.
        name: Option<UnitName>,
        /// For how long, from now.
        left: Span,
    },
    /// A maintenance is over.
    MaintenanceOver {
        /// Of which; `None`: of all.
        name: Option<UnitName>,
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
            Self::Armed { .. } | Self::Disarmed { by: None, .. } => Level::Info,
            Self::Rearmed { .. }
            | Self::Recovered { .. }
            | Self::Disarmed { .. }
            | Self::Maintenance { .. }
            | Self::MaintenanceOver { .. }
            | Self::Paused { .. }
            | Self::Dropped { .. } => Level::Warning,
            Self::Triggered { .. } | Self::TimedOut { .. } | Self::RestartedTooOften { .. } => Level::Error,
            Self::TakingDown { .. } => Level::Emergency,
        }
    }
}

/// Which units, as the subject of a sentence.
struct Whose<'a>(&'a Option<UnitName>);

impl fmt::Display for Whose<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(name) => write!(f, "unit \"{name}\" is"),
            None => f.write_str("all units are"),
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
            Self::Disarmed { name, by: None } => write!(f, "Failfast: unit \"{name}\" disarmed"),
            Self::Disarmed { name, by: Some(by) } => {
                write!(f, "Failfast: unit \"{name}\" disarmed by pid {by}")
            }
            Self::Triggered { name, pid, trouble, delay, maintenance } => {
                let (what, back) = match trouble {
                    Trouble::Died => ("died", "armed again"),
                    Trouble::Late => ("missed its heartbeat", "back"),
                };
                write!(f, "Failfast: unit \"{name}\" (pid {pid}) {what}; aborting in {delay} ")?;
                match maintenance {
                    Some(left) => {
                        write!(f, "from the end of its maintenance, which lasts {left}, unless it is {back}")
                    }
                    None => write!(f, "unless it is {back}"),
                }
            }
            Self::RestartedTooOften { name, restarts: Restarts { count, window } } => write!(
                f,
                "Failfast: unit \"{name}\" was restarted {count} times in {window}: another restart does not count"
            ),
            Self::Maintenance { name, left } => {
                write!(f, "Failfast: {} under maintenance for {left}: ", Whose(name))?;
                f.write_str("trouble is only logged, nothing takes the node down for it")
            }
            Self::MaintenanceOver { name } => {
                write!(f, "Failfast: {} no longer under maintenance", Whose(name))
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
        let triggered = |trouble| Event::Triggered { name, pid: 17, trouble, delay, maintenance: None };
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
            (Event::Disarmed { name, by: None }, "Failfast: unit \"rgmd\" disarmed"),
            (Event::Disarmed { name, by: Some(4) }, "Failfast: unit \"rgmd\" disarmed by pid 4"),
            (
                Event::Triggered {
                    name,
                    pid: 17,
                    trouble: Trouble::Died,
                    delay,
                    maintenance: Some(Span::from_secs(60)),
                },
                "Failfast: unit \"rgmd\" (pid 17) died; aborting in 35000 ms from the end of its maintenance, which lasts \
                 60000 ms, unless it is armed again",
            ),
            (
                Event::RestartedTooOften {
                    name,
                    restarts: Restarts { count: 3, window: Span::from_secs(60) },
                },
                "Failfast: unit \"rgmd\" was restarted 3 times in 60000 ms: another restart does not count",
            ),
            (
                Event::Maintenance { name: Some(name), left: delay },
                "Failfast: unit \"rgmd\" is under maintenance for 35000 ms: trouble is only logged, nothing takes the node \
                 down for it",
            ),
            (Event::MaintenanceOver { name: None }, "Failfast: all units are no longer under maintenance"),
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
