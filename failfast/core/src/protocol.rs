//! Words on the failfast socket: one datagram a request, one a reply, text for people and programs alike.
//!
//! | request | reply |
//! |---|---|
//! | `arm NAME delay_ms=N heartbeat_ms=N mode=exit\|panic\|reset\|off` | `ok`, or `error TEXT` |
//! | `beat NAME` | none |
//! | `disarm NAME` | `ok`, or `error TEXT` |
//! | `list` | one line a unit |
//!
//! `heartbeat_ms` may be left out (then only a death counts), and so may `mode` (then it is the node's). Nothing here
//! panics, whatever the bytes.

use std::fmt::{self, Write};

use holdfast_types::{Boottime, Span};

use crate::limits::REQUEST_MAX;
use crate::mode::Mode;
use crate::name::UnitName;
use crate::registry::{ArmRequest, UnitState, UnitView};

/// One request, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Arm a unit for the sender.
    Arm(ArmRequest),
    /// The sender's unit is alive.
    Beat(UnitName),
    /// The sender's unit is no longer needed.
    Disarm(UnitName),
    /// Which units there are.
    List,
}

/// Why a request was not understood; its `Display` says what to write instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadRequest {
    /// Longer than [`REQUEST_MAX`], or no UTF-8.
    Bytes,
    /// Not one of the four verbs.
    Verb,
    /// No name, or a bad one.
    Name,
    /// No `delay_ms`.
    DelayMissing,
    /// A value that is no number of milliseconds.
    Number,
    /// A mode that is none.
    Mode,
    /// Another key, a key given twice, or words behind the end.
    Extra,
}

impl Request {
    /// Reads one datagram.
    ///
    /// # Errors
    /// [`BadRequest`].
    pub fn parse(datagram: &[u8]) -> Result<Self, BadRequest> {
        if datagram.len() > REQUEST_MAX {
            return Err(BadRequest::Bytes);
        }
        let line = std::str::from_utf8(datagram).map_err(|_| BadRequest::Bytes)?;
        let mut words = line.split_ascii_whitespace();
        let verb = words.next().ok_or(BadRequest::Verb)?;
        if verb == "list" {
            return if words.next().is_none() { Ok(Self::List) } else { Err(BadRequest::Extra) };
        }
        if !["arm", "beat", "disarm"].contains(&verb) {
            return Err(BadRequest::Verb);
        }
        let name = words.next().and_then(|w| UnitName::new(w).ok()).ok_or(BadRequest::Name)?;
        match verb {
            "arm" => parse_arm(name, words).map(Self::Arm),
            _ if words.next().is_some() => Err(BadRequest::Extra),
            "beat" => Ok(Self::Beat(name)),
            _ => Ok(Self::Disarm(name)),
        }
    }
}

fn parse_arm<'a>(name: UnitName, words: impl Iterator<Item = &'a str>) -> Result<ArmRequest, BadRequest> {
    let (mut delay, mut heartbeat, mut mode) = (None, None, None);
    for word in words {
        let (key, value) = word.split_once('=').ok_or(BadRequest::Extra)?;
        let twice = match key {
            "delay_ms" => delay.replace(millis(value)?).is_some(),
            "heartbeat_ms" => heartbeat.replace(millis(value)?).is_some(),
            "mode" => mode.replace(value.parse::<Mode>().map_err(|_| BadRequest::Mode)?).is_some(),
            _ => true,
        };
        if twice {
            return Err(BadRequest::Extra);
        }
    }
    let delay = delay.ok_or(BadRequest::DelayMissing)?;
    Ok(ArmRequest { name, delay, heartbeat: heartbeat.unwrap_or(Span::ZERO), mode })
}

fn millis(value: &str) -> Result<Span, BadRequest> {
    // Digits only: `u64::from_str` would take a plus sign too.
    let number = value.bytes().all(|b| b.is_ascii_digit()).then(|| value.parse().ok()).flatten();
    number.map(Span::from_millis).ok_or(BadRequest::Number)
}

/// The request as the client sends it.
impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Arm(ArmRequest { name, delay, heartbeat, mode }) => {
                let (delay, heartbeat) = (delay.as_millis(), heartbeat.as_millis());
                write!(f, "arm {name} delay_ms={delay} heartbeat_ms={heartbeat}")?;
                mode.map_or(Ok(()), |mode| write!(f, " mode={mode}"))?;
                f.write_char('\n')
            }
            Self::Beat(name) => writeln!(f, "beat {name}"),
            Self::Disarm(name) => writeln!(f, "disarm {name}"),
            Self::List => f.write_str("list\n"),
        }
    }
}

/// One line of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnitLine {
    /// Its name.
    pub name: UnitName,
    /// The process that armed it.
    pub pid: u32,
    /// Its state.
    pub state: UnitState,
    /// Its delay.
    pub delay: Span,
    /// Longest time between two heartbeats; zero: none wanted.
    pub heartbeat: Span,
    /// How long it has been in this state.
    pub since: Span,
}

impl UnitLine {
    /// A unit as seen at `now`.
    #[must_use]
    pub fn new(unit: &UnitView, now: Boottime) -> Self {
        let UnitView { name, pid, state, delay, heartbeat, since, .. } = *unit;
        Self { name, pid, state, delay, heartbeat, since: now.since(since) }
    }

    /// Reads a line of a list. Keys it does not know are passed over: a newer `cmmd` may say more.
    #[must_use]
    pub fn parse(line: &str) -> Option<Self> {
        let value =
            |key: &str| line.split_ascii_whitespace().find_map(|w| w.strip_prefix(key)?.strip_prefix('='));
        let span = |key: &str| millis(value(key)?).ok();
        let state = value("state")?;
        Some(Self {
            name: UnitName::new(value("name")?).ok()?,
            pid: value("pid")?.parse().ok()?,
            state: [UnitState::Armed, UnitState::Triggered, UnitState::Disarmed]
                .into_iter()
                .find(|s| s.as_str() == state)?,
            delay: span("delay_ms")?,
            heartbeat: span("heartbeat_ms")?,
            since: span("since_ms")?,
        })
    }
}

impl fmt::Display for UnitLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, pid, state, .. } = self;
        let (delay, heartbeat) = (self.delay.as_millis(), self.heartbeat.as_millis());
        write!(f, "name={name} pid={pid} state={state} delay_ms={delay} heartbeat_ms={heartbeat} ")?;
        write!(f, "since_ms={}", self.since.as_millis())
    }
}

impl fmt::Display for BadRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes => write!(f, "a request is one line of at most {REQUEST_MAX} bytes of text"),
            Self::Verb => f.write_str("a request begins with arm, beat, disarm or list"),
            Self::Name => write!(f, "a unit's name is wanted: {}", crate::name::BadName),
            Self::DelayMissing => f.write_str("arm needs delay_ms=N"),
            Self::Number => f.write_str("delay_ms and heartbeat_ms are whole milliseconds"),
            Self::Mode => f.write_str("mode is exit, panic, reset or off"),
            Self::Extra => f.write_str(
                "arm takes delay_ms=N, heartbeat_ms=N and mode=M once each; other requests no options",
            ),
        }
    }
}
impl std::error::Error for BadRequest {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name() -> UnitName {
        UnitName::new("rgmd").unwrap()
    }

    #[test]
    fn requests_are_read() {
        let arm = |heartbeat, mode| {
            Request::Arm(ArmRequest { name: name(), delay: Span::from_secs(35), heartbeat, mode })
        };
        let table: [(&str, Result<Request, BadRequest>); 20] = [
            (
                "arm rgmd delay_ms=35000 heartbeat_ms=2000 mode=exit\n",
                Ok(arm(Span::from_secs(2), Some(Mode::Exit))),
            ),
            ("arm rgmd delay_ms=35000 heartbeat_ms=0", Ok(arm(Span::ZERO, None))),
            ("arm rgmd mode=off delay_ms=35000", Ok(arm(Span::ZERO, Some(Mode::Off)))),
            ("beat rgmd\n", Ok(Request::Beat(name()))),
            ("disarm rgmd", Ok(Request::Disarm(name()))),
            ("list\n", Ok(Request::List)),
            ("", Err(BadRequest::Verb)),
            ("ARM rgmd", Err(BadRequest::Verb)),
            ("arm", Err(BadRequest::Name)),
            ("arm r\"gmd delay_ms=1", Err(BadRequest::Name)),
            ("arm rgmd", Err(BadRequest::DelayMissing)),
            ("arm rgmd delay_ms=", Err(BadRequest::Number)),
            ("arm rgmd delay_ms=+5", Err(BadRequest::Number)),
            ("arm rgmd delay_ms=99999999999999999999999", Err(BadRequest::Number)),
            ("arm rgmd delay_ms=1 delay_ms=2", Err(BadRequest::Extra)),
            ("arm rgmd delay_ms=1 mode=halt", Err(BadRequest::Mode)),
            ("arm rgmd delay_ms=1 colour=red", Err(BadRequest::Extra)),
            ("beat rgmd now", Err(BadRequest::Extra)),
            ("list all", Err(BadRequest::Extra)),
            ("arm rgmd now", Err(BadRequest::Extra)),
        ];
        for (line, expected) in table {
            assert_eq!(Request::parse(line.as_bytes()), expected, "{line:?}");
        }
        assert_eq!(Request::parse(b"beat \xff"), Err(BadRequest::Bytes));
        assert_eq!(Request::parse(&[b' '; REQUEST_MAX + 1]), Err(BadRequest::Bytes));
    }

    #[test]
    fn a_full_list_fits_one_reply() {
        let line = UnitLine {
            name: UnitName::new(&"n".repeat(crate::limits::NAME_MAX)).unwrap(),
            pid: u32::MAX,
            state: UnitState::Triggered,
            delay: Span::from_nanos(u64::MAX),
            heartbeat: Span::from_nanos(u64::MAX),
            since: Span::from_nanos(u64::MAX),
        };
        assert!((line.to_string().len() + 1) * crate::limits::UNITS_MAX <= crate::limits::REPLY_MAX);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = Request::parse(&bytes);
            let _ = UnitLine::parse(&String::from_utf8_lossy(&bytes));
        }

        #[test]
        fn what_is_written_is_read(
            name in "[A-Za-z0-9_.:@-]{1,48}", delay in 0u64..4_000_000, heartbeat in 0u64..4_000_000, mode in 0usize..5,
        ) {
            let name = UnitName::new(&name).unwrap();
            let mode = [None, Some(Mode::Exit), Some(Mode::Panic), Some(Mode::Reset), Some(Mode::Off)][mode];
            let (delay, heartbeat) = (Span::from_millis(delay), Span::from_millis(heartbeat));
            for request in [
                Request::Arm(ArmRequest { name, delay, heartbeat, mode }),
                Request::Beat(name),
                Request::Disarm(name),
                Request::List,
            ] {
                prop_assert_eq!(Request::parse(request.to_string().as_bytes()), Ok(request));
            }
            let line = UnitLine { name, pid: 7, state: UnitState::Armed, delay, heartbeat, since: delay };
            prop_assert_eq!(UnitLine::parse(&line.to_string()), Some(line));
        }
    }
}
