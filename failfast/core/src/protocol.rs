//! Words on the failfast socket: one datagram a request, one a reply, text for people and programs alike.
//!
//! | request | reply |
//! |---|---|
//! | `arm NAME delay_ms=N heartbeat_ms=N mode=exit\|panic\|reset\|off restarts=N window_ms=N pid=N` | `ok`, or `error TEXT` |
//! | `beat NAME` | none |
//! | `disarm NAME pid=N` | `ok`, or `error TEXT` |
//! | `maintain NAME for_ms=N`, `maintain * for_ms=N` | `ok`, or `error TEXT` |
//! | `list` | one line a unit, see [`UnitLine`] |
//! | `status` | a few lines about the node, see [`Report`] |
//!
//! `heartbeat_ms` may be left out (then only a death counts), and so may `mode` (then it is the node's), `restarts` with
//! `window_ms` (then restarts are not counted) and `pid` (then it is the sender's; in `disarm` it is that of the process
//! whose unit is meant). `for_ms=0` ends a maintenance. Nothing here panics, whatever the bytes.

use std::fmt::{self, Write};

use holdfast_types::{Boottime, Span};

use crate::limits::REQUEST_MAX;
use crate::mode::Mode;
use crate::name::UnitName;
use crate::registry::{ArmRequest, Restarts, Trouble, UnitState, UnitView};

/// One request, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Arm a unit for the sender, or for another process.
    Arm(ArmRequest, Option<u32>),
    /// The sender's unit is alive.
    Beat(UnitName),
    /// The unit of the sender, or of another process, is no longer needed.
    Disarm(UnitName, Option<u32>),
    /// Trouble of a unit, or of all, is only told for so long; zero: no longer.
    Maintain(Option<UnitName>, Span),
    /// Which units there are.
    List,
    /// What the node would do.
    Status,
}

/// Why a request was not understood; its `Display` says what to write instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadRequest {
    /// Longer than [`REQUEST_MAX`], or no UTF-8.
    Bytes,
    /// Not one of the verbs.
    Verb,
    /// No name, or a bad one.
    Name,
    /// No `delay_ms`.
    DelayMissing,
    /// `restarts` without `window_ms`, or the other way round.
    WindowMissing,
    /// No `for_ms`.
    LengthMissing,
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
        if let Some(request) =
            [("list", Self::List), ("status", Self::Status)].iter().find(|(v, _)| *v == verb)
        {
            return if words.next().is_none() { Ok(request.1) } else { Err(BadRequest::Extra) };
        }
        if !["arm", "beat", "disarm", "maintain"].contains(&verb) {
            return Err(BadRequest::Verb);
        }
        let word = words.next().ok_or(BadRequest::Name)?;
        if (verb, word) == ("maintain", "*") {
            return Options::read(words, &["for_ms"])?.maintain(None);
        }
        let name = UnitName::new(word).map_err(|_| BadRequest::Name)?;
        match verb {
            "arm" => Options::read(words, &ARM_KEYS)?.arm(name),
            "beat" => Options::read(words, &[]).map(|_| Self::Beat(name)),
            "maintain" => Options::read(words, &["for_ms"])?.maintain(Some(name)),
            _ => Options::read(words, &["pid"]).map(|options| Self::Disarm(name, options.pid)),
        }
    }
}

/// What `arm` takes.
const ARM_KEYS: [&str; 6] = ["delay_ms", "heartbeat_ms", "mode", "restarts", "window_ms", "pid"];

/// What stands behind the name, each at most once.
#[derive(Default)]
struct Options {
    delay: Option<Span>,
    heartbeat: Option<Span>,
    mode: Option<Mode>,
    restarts: Option<u8>,
    window: Option<Span>,
    length: Option<Span>,
    pid: Option<u32>,
}

impl Options {
    fn read<'a>(words: impl Iterator<Item = &'a str>, keys: &[&str]) -> Result<Self, BadRequest> {
        let mut this = Self::default();
        for word in words {
            let (key, value) = word.split_once('=').ok_or(BadRequest::Extra)?;
            if !keys.contains(&key) {
                return Err(BadRequest::Extra);
            }
            let twice = match key {
                "delay_ms" => this.delay.replace(millis(value)?).is_some(),
                "heartbeat_ms" => this.heartbeat.replace(millis(value)?).is_some(),
                "mode" => this.mode.replace(value.parse().map_err(|_| BadRequest::Mode)?).is_some(),
                "restarts" => this.restarts.replace(number(value)?).is_some(),
                "window_ms" => this.window.replace(millis(value)?).is_some(),
                "for_ms" => this.length.replace(millis(value)?).is_some(),
                _ => this.pid.replace(number(value)?).is_some(),
            };
            if twice {
                return Err(BadRequest::Extra);
            }
        }
        Ok(this)
    }

    fn arm(self, name: UnitName) -> Result<Request, BadRequest> {
        let Self { delay, heartbeat, mode, restarts, window, pid, .. } = self;
        let restarts = match (restarts, window) {
            (Some(count), Some(window)) => Some(Restarts { count, window }),
            (None, None) => None,
            _ => return Err(BadRequest::WindowMissing),
        };
        let (delay, heartbeat) = (delay.ok_or(BadRequest::DelayMissing)?, heartbeat.unwrap_or(Span::ZERO));
        Ok(Request::Arm(ArmRequest { name, delay, heartbeat, mode, restarts }, pid))
    }

    fn maintain(self, name: Option<UnitName>) -> Result<Request, BadRequest> {
        self.length.map(|length| Request::Maintain(name, length)).ok_or(BadRequest::LengthMissing)
    }
}

/// Digits only: `from_str` would take a plus sign too.
fn number<T: std::str::FromStr>(value: &str) -> Result<T, BadRequest> {
    let number = value.bytes().all(|b| b.is_ascii_digit()).then(|| value.parse().ok()).flatten();
    number.ok_or(BadRequest::Number)
}

fn millis(value: &str) -> Result<Span, BadRequest> {
    number(value).map(Span::from_millis)
}

/// The request as the client sends it.
impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Arm(ArmRequest { name, delay, heartbeat, mode, restarts }, pid) => {
                let (delay, heartbeat) = (delay.as_millis(), heartbeat.as_millis());
                write!(f, "arm {name} delay_ms={delay} heartbeat_ms={heartbeat}")?;
                mode.map_or(Ok(()), |mode| write!(f, " mode={mode}"))?;
                restarts.map_or(Ok(()), |Restarts { count, window }| {
                    write!(f, " restarts={count} window_ms={}", window.as_millis())
                })?;
                write_pid(f, *pid)
            }
            Self::Beat(name) => writeln!(f, "beat {name}"),
            Self::Disarm(name, pid) => {
                write!(f, "disarm {name}")?;
                write_pid(f, *pid)
            }
            Self::Maintain(name, length) => {
                let name = name.as_ref().map_or("*", UnitName::as_str);
                writeln!(f, "maintain {name} for_ms={}", length.as_millis())
            }
            Self::List => f.write_str("list\n"),
            Self::Status => f.write_str("status\n"),
        }
    }
}

fn write_pid(f: &mut fmt::Formatter<'_>, pid: Option<u32>) -> fmt::Result {
    pid.map_or(Ok(()), |pid| write!(f, " pid={pid}"))?;
    f.write_char('\n')
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
    /// How the node goes down for it. `None`: the other side does not say.
    pub mode: Option<Mode>,
    /// What is wrong with it, while something is.
    pub trouble: Option<Trouble>,
    /// How long until the node goes down unless something changes; `None` where nothing runs.
    pub deadline: Option<Span>,
    /// How often it may be restarted; `None`: that is not counted.
    pub restarts: Option<Restarts>,
    /// How often it was, in the window behind.
    pub restarted: u8,
    /// For how long its trouble is only told.
    pub maintenance: Option<Span>,
}

impl UnitLine {
    /// A unit as seen at `now`.
    #[must_use]
    pub fn new(unit: &UnitView, now: Boottime) -> Self {
        let UnitView { name, pid, state, delay, heartbeat, trouble, restarts, restarted, .. } = *unit;
        let left = |at: Option<Boottime>| at.map(|at| at.since(now));
        Self {
            name,
            pid,
            state,
            delay,
            heartbeat,
            since: now.since(unit.since),
            mode: Some(unit.mode),
            trouble,
            deadline: left(unit.deadline),
            restarts,
            restarted,
            maintenance: left(unit.maintenance),
        }
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
            mode: value("mode").and_then(|word| word.parse().ok()),
            trouble: value("trouble").and_then(Trouble::of_word),
            deadline: span("deadline_ms"),
            restarts: value("restarts")
                .and_then(|n| number(n).ok())
                .zip(span("window_ms"))
                .map(|(count, window)| Restarts { count, window }),
            restarted: value("restarted").and_then(|n| number(n).ok()).unwrap_or(0),
            maintenance: span("maintenance_ms"),
        })
    }
}

impl fmt::Display for UnitLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, pid, state, .. } = self;
        let (delay, heartbeat) = (self.delay.as_millis(), self.heartbeat.as_millis());
        write!(f, "name={name} pid={pid} state={state} delay_ms={delay} heartbeat_ms={heartbeat} ")?;
        write!(f, "since_ms={}", self.since.as_millis())?;
        let mut more = |key: &str, value: Option<&dyn fmt::Display>| {
            value.map_or(Ok(()), |value| write!(f, " {key}={value}"))
        };
        let millis = |span: Option<Span>| span.map(Span::as_millis);
        more("mode", self.mode.as_ref().map(|m| m as &dyn fmt::Display))?;
        more("trouble", self.trouble.map(Trouble::word).as_ref().map(|w| w as &dyn fmt::Display))?;
        more("deadline_ms", millis(self.deadline).as_ref().map(|n| n as &dyn fmt::Display))?;
        if let Some(Restarts { count, window }) = self.restarts {
            more("restarts", Some(&count))?;
            more("window_ms", Some(&window.as_millis()))?;
            more("restarted", Some(&self.restarted))?;
        }
        more("maintenance_ms", millis(self.maintenance).as_ref().map(|n| n as &dyn fmt::Display))
    }
}

/// What the node would do, and with what: the answer to `status`.
///
/// Lines of fields that are separated by tabs: one that begins with `node`, one with `feeding` where a watchdog is armed,
/// one with `watchdog` for each device. Keys and lines that a reader does not know it passes over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// How the node goes down.
    pub mode: Mode,
    /// The guardian; `None`: there is none at the moment.
    pub guardian: Option<GuardianLine>,
    /// For how long trouble of all units is only told.
    pub maintenance: Option<Span>,
    /// Whether the watchdogs are fed, and why or why not. `None`: none is armed.
    pub feeding: Option<(bool, String)>,
    /// The devices of the configuration.
    pub watchdogs: Vec<WatchdogLine>,
}

/// The guardian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuardianLine {
    /// Its process.
    pub pid: u32,
    /// How long ago it made progress.
    pub seen: Span,
    /// How long `cmmd` may go without.
    pub limit: Span,
}

/// A watchdog device that is configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchdogLine {
    /// Whether it is armed; it waits for the first quorum, or could not be.
    pub state: DeviceState,
    /// Its time-out.
    pub timeout: Span,
    /// The kernel panics this long before it fires; `None`: it does not.
    pub notice: Option<Span>,
    /// At the latest this long after the last feed the machine is down.
    pub worst: Span,
    /// It cannot be stopped once it runs.
    pub no_way_out: bool,
    /// It is the kernel's own.
    pub software: bool,
    /// Its path.
    pub path: String,
    /// What its driver calls it.
    pub name: String,
    /// Why it is not armed, or what is missing.
    pub why: String,
}

/// What is with a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceState {
    /// To be armed with the first quorum.
    Waiting,
    /// Armed.
    Armed,
    /// It could not be armed.
    Failed,
}

impl DeviceState {
    /// The word in a report.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Armed => "armed",
            Self::Failed => "failed",
        }
    }
}

/// What may stand in a field: no separator.
struct Field<'a>(&'a str);

impl fmt::Display for Field<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| f.write_char(if c.is_control() { ' ' } else { c }))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node\tmode={}", self.mode)?;
        if let Some(GuardianLine { pid, seen, limit }) = self.guardian {
            let (seen, limit) = (seen.as_millis(), limit.as_millis());
            write!(f, "\tguardian={pid}\tguardian_seen_ms={seen}\tguardian_limit_ms={limit}")?;
        }
        if let Some(left) = self.maintenance {
            write!(f, "\tmaintenance_ms={}", left.as_millis())?;
        }
        if let Some((fed, why)) = &self.feeding {
            write!(f, "\nfeeding\tfed={}\twhy={}", u8::from(*fed), Field(why))?;
        }
        for w in &self.watchdogs {
            let (state, timeout, worst) = (w.state.as_str(), w.timeout.as_millis(), w.worst.as_millis());
            write!(f, "\nwatchdog\tstate={state}\ttimeout_ms={timeout}\tworst_ms={worst}")?;
            w.notice.map_or(Ok(()), |n| write!(f, "\tnotice_ms={}", n.as_millis()))?;
            write!(f, "\tnowayout={}\tsoftware={}", u8::from(w.no_way_out), u8::from(w.software))?;
            write!(f, "\tpath={}\tname={}\twhy={}", Field(&w.path), Field(&w.name), Field(&w.why))?;
        }
        f.write_char('\n')
    }
}

impl Report {
    /// Reads an answer; `None` where it is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut this = None;
        let (mut feeding, mut watchdogs) = (None, Vec::new());
        for line in text.lines() {
            let value =
                |key: &str| line.split('\t').skip(1).find_map(|w| w.strip_prefix(key)?.strip_prefix('='));
            let span = |key: &str| millis(value(key)?).ok();
            let text = |key: &str| value(key).unwrap_or_default().to_owned();
            match line.split('\t').next() {
                Some("node") => {
                    let guardian =
                        value("guardian").and_then(|pid| number(pid).ok()).map(|pid| GuardianLine {
                            pid,
                            seen: span("guardian_seen_ms").unwrap_or(Span::ZERO),
                            limit: span("guardian_limit_ms").unwrap_or(Span::ZERO),
                        });
                    let mode = value("mode")?.parse().ok()?;
                    this = Some((mode, guardian, span("maintenance_ms")));
                }
                Some("feeding") => feeding = Some((value("fed") == Some("1"), text("why"))),
                Some("watchdog") => watchdogs.push(WatchdogLine {
                    state: [DeviceState::Waiting, DeviceState::Armed, DeviceState::Failed]
                        .into_iter()
                        .find(|s| value("state") == Some(s.as_str()))?,
                    timeout: span("timeout_ms")?,
                    notice: span("notice_ms"),
                    worst: span("worst_ms")?,
                    no_way_out: value("nowayout") == Some("1"),
                    software: value("software") == Some("1"),
                    path: text("path"),
                    name: text("name"),
                    why: text("why"),
                }),
                _ => {}
            }
        }
        let (mode, guardian, maintenance) = this?;
        Some(Self { mode, guardian, maintenance, feeding, watchdogs })
    }
}

impl fmt::Display for BadRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes => write!(f, "a request is one line of at most {REQUEST_MAX} bytes of text"),
            Self::Verb => f.write_str("a request begins with arm, beat, disarm, maintain, list or status"),
            Self::Name => write!(f, "a unit's name is wanted: {}", crate::name::BadName),
            Self::DelayMissing => f.write_str("arm needs delay_ms=N"),
            Self::WindowMissing => f.write_str("restarts=N and window_ms=N go together"),
            Self::LengthMissing => f.write_str("maintain needs for_ms=N; 0 ends it"),
            Self::Number => f.write_str("delay_ms and heartbeat_ms are whole milliseconds, as are window_ms and for_ms; restarts and pid are whole numbers"),
            Self::Mode => f.write_str("mode is exit, panic, reset or off"),
            Self::Extra => f.write_str(
                "arm takes delay_ms=N, heartbeat_ms=N, mode=M, restarts=N, window_ms=N and pid=N once each, disarm pid=N, \
                 maintain for_ms=N; other requests no options",
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
            let delay = Span::from_secs(35);
            Request::Arm(ArmRequest { name: name(), delay, heartbeat, mode, restarts: None }, None)
        };
        let counted = ArmRequest {
            name: name(),
            delay: Span::from_secs(35),
            heartbeat: Span::ZERO,
            mode: None,
            restarts: Some(Restarts { count: 3, window: Span::from_secs(60) }),
        };
        let table = [
            (
                "arm rgmd delay_ms=35000 restarts=3 window_ms=60000 pid=17",
                Ok(Request::Arm(counted, Some(17))),
            ),
            ("arm rgmd delay_ms=1 restarts=3", Err(BadRequest::WindowMissing)),
            ("arm rgmd delay_ms=1 restarts=300 window_ms=1", Err(BadRequest::Number)),
            ("arm rgmd delay_ms=1 for_ms=1", Err(BadRequest::Extra)),
            ("disarm rgmd pid=17", Ok(Request::Disarm(name(), Some(17)))),
            ("disarm rgmd pid=-1", Err(BadRequest::Number)),
            ("disarm rgmd delay_ms=1", Err(BadRequest::Extra)),
            ("maintain rgmd for_ms=600000", Ok(Request::Maintain(Some(name()), Span::from_secs(600)))),
            ("maintain * for_ms=0", Ok(Request::Maintain(None, Span::ZERO))),
            ("maintain *", Err(BadRequest::LengthMissing)),
            ("maintain for_ms=5", Err(BadRequest::Name)),
            ("arm * delay_ms=1", Err(BadRequest::Name)),
            ("status\n", Ok(Request::Status)),
            ("status now", Err(BadRequest::Extra)),
            (
                "arm rgmd delay_ms=35000 heartbeat_ms=2000 mode=exit\n",
                Ok(arm(Span::from_secs(2), Some(Mode::Exit))),
            ),
            ("arm rgmd delay_ms=35000 heartbeat_ms=0", Ok(arm(Span::ZERO, None))),
            ("arm rgmd mode=off delay_ms=35000", Ok(arm(Span::ZERO, Some(Mode::Off)))),
            ("beat rgmd\n", Ok(Request::Beat(name()))),
            ("disarm rgmd", Ok(Request::Disarm(name(), None))),
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
            mode: Some(Mode::Panic),
            trouble: Some(Trouble::Died),
            deadline: Some(Span::from_nanos(u64::MAX)),
            restarts: Some(Restarts { count: u8::MAX, window: Span::from_nanos(u64::MAX) }),
            restarted: u8::MAX,
            maintenance: Some(Span::from_nanos(u64::MAX)),
        };
        assert!((line.to_string().len() + 1) * crate::limits::UNITS_MAX <= crate::limits::REPLY_MAX);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = Request::parse(&bytes);
            let _ = UnitLine::parse(&String::from_utf8_lossy(&bytes));
            let _ = Report::parse(&String::from_utf8_lossy(&bytes));
        }

        #[test]
        fn what_is_written_is_read(
            name in "[A-Za-z0-9_.:@-]{1,48}", delay in 0u64..4_000_000, heartbeat in 0u64..4_000_000, mode in 0usize..5,
            count in 0u8..=255, pid in proptest::option::of(any::<u32>()), some in any::<bool>(),
        ) {
            let name = UnitName::new(&name).unwrap();
            let mode = [None, Some(Mode::Exit), Some(Mode::Panic), Some(Mode::Reset), Some(Mode::Off)][mode];
            let (delay, heartbeat) = (Span::from_millis(delay), Span::from_millis(heartbeat));
            let restarts = some.then_some(Restarts { count, window: heartbeat });
            for request in [
                Request::Arm(ArmRequest { name, delay, heartbeat, mode, restarts }, pid),
                Request::Beat(name),
                Request::Disarm(name, pid),
                Request::Maintain(some.then_some(name), delay),
                Request::List,
                Request::Status,
            ] {
                prop_assert_eq!(Request::parse(request.to_string().as_bytes()), Ok(request));
            }
            let trouble = some.then_some(Trouble::Late);
            let (deadline, maintenance) = (some.then_some(delay), some.then_some(heartbeat));
            let restarted = if some { count } else { 0 };
            let state = UnitState::Armed;
            let line = UnitLine {
                name, pid: 7, state, delay, heartbeat, since: delay, mode, trouble, deadline, restarts, restarted, maintenance,
            };
            prop_assert_eq!(UnitLine::parse(&line.to_string()), Some(line));
        }

        #[test]
        fn a_report_is_read_as_it_was_written(
            mode in 0usize..4, pid in proptest::option::of(any::<u32>()), ms in 0u64..4_000_000, some in any::<bool>(),
            words in "[ -~]{0,40}", devices in 0usize..3,
        ) {
            let span = Span::from_millis(ms);
            let watchdog = WatchdogLine {
                state: [DeviceState::Waiting, DeviceState::Armed, DeviceState::Failed][devices],
                timeout: span,
                notice: some.then_some(span),
                worst: span,
                no_way_out: some,
                software: !some,
                path: words.clone(),
                name: words.clone(),
                why: words.clone(),
            };
            let report = Report {
                mode: [Mode::Exit, Mode::Panic, Mode::Reset, Mode::Off][mode],
                guardian: pid.map(|pid| GuardianLine { pid, seen: span, limit: span }),
                maintenance: some.then_some(span),
                feeding: some.then_some((some, words)),
                watchdogs: vec![watchdog; devices],
            };
            prop_assert_eq!(Report::parse(&report.to_string()), Some(report));
        }
    }

    /// A list of an older `cmmd` has fewer words, and a name from a driver may hold anything.
    #[test]
    fn less_is_read_too_and_separators_do_not_get_in() {
        let old = "name=rgmd pid=7 state=armed delay_ms=35000 heartbeat_ms=0 since_ms=5";
        let line = UnitLine::parse(old).unwrap();
        assert_eq!((line.mode, line.restarts, line.maintenance), (None, None, None));
        let text = Report {
            mode: Mode::Off,
            guardian: None,
            maintenance: None,
            feeding: Some((true, "a\tb\nwatchdog".into())),
            watchdogs: vec![],
        };
        let read = Report::parse(&text.to_string()).unwrap();
        assert_eq!(read.feeding, Some((true, "a b watchdog".into())));
        assert_eq!(read.watchdogs, []);
    }
}
