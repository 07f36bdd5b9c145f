//! The units of a node and their deadlines.
//!
//! | state | input | then |
//! |---|---|---|
//! | – or disarmed | arm | armed |
//! | armed | arm by the same process | armed with the new figures |
//! | armed | arm by another process | refused |
//! | armed | beat | the heartbeat's clock starts anew |
//! | armed | disarm by its process | disarmed |
//! | armed | death, or heartbeat late | triggered: the delay runs |
//! | triggered, timed out | arm (any process) | armed: the countdown is off |
//! | triggered by a late heartbeat | beat | armed: the countdown is off |
//! | triggered | disarm by its process | disarmed |
//! | triggered by a late heartbeat | death | stays triggered, the delay does not start anew; the text says "died" |
//! | triggered | delay over | the node goes down; in mode `off` timed out, and a line in the log |
//!
//! Only the first takedown is a decision: the node goes down once.

use std::collections::VecDeque;
use std::fmt;

use holdfast_types::{Boottime, Span};

use crate::events::Event;
use crate::limits::{EVENTS_MAX, INTERVAL_MAX, PAUSE_SLACK, UNITS_MAX};
use crate::mode::Mode;
use crate::name::UnitName;
use crate::reason::{Reason, ReasonKind, Wording};

/// The units of this node.
///
/// Calls, in any order, with a `now` that never goes back: `arm`, `beat`, `disarm`, [`Self::handle_death`],
/// [`Self::handle_timeout`] at the latest at [`Self::next_timeout`] (a call later than that is taken for a pause of
/// the loop); then [`Self::poll_output`] until it is `None`.
/// What waits from the units (beats, arms) must be handed in before `handle_timeout`, or a busy loop would take its
/// own lateness for theirs.
#[derive(Debug)]
pub struct Registry {
    mode: Mode,
    units: Vec<Unit>,
    next_key: u64,
    expected_at: Option<Boottime>,
    last_call: Boottime,
    decision: Option<Reason>,
    decided: bool,
    events: VecDeque<Event>,
    dropped: u64,
    changes: u64,
}

/// Names one arming of one unit: news of an older arming carries another key and changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnitKey(u64);

/// What a process asks for when it arms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArmRequest {
    /// The unit.
    pub name: UnitName,
    /// From its death, or from its late heartbeat, to the takedown.
    pub delay: Span,
    /// Longest time between two heartbeats; zero: only its death counts.
    pub heartbeat: Span,
    /// `None`: the node's mode. `Some(Off)`: only a line in the log. Another mode must be the node's own.
    pub mode: Option<Mode>,
}

/// Why an arming was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArmError {
    /// The unit is armed by this other process, which is alive.
    ArmedByAnother(u32),
    /// The table is full of armed units.
    TooMany,
    /// The delay or the heartbeat is beyond [`INTERVAL_MAX`].
    Interval,
    /// The unit asks for a mode that is not the node's.
    Mode {
        /// What it asked for.
        asked: Mode,
        /// What the node is configured for.
        node: Mode,
    },
}

/// What is wrong with a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Its process is dead.
    Died,
    /// Its heartbeat is late.
    Late,
}

/// What comes out, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// To be acted on.
    Decision(Decision),
    /// To be told.
    Event(Event),
}

/// What the registry decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The node goes down, now.
    TakeDown(Reason),
}

/// State of a unit, for lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnitState {
    /// Watched.
    Armed,
    /// Dead or late: its delay runs, or is over in mode `off`.
    Triggered,
    /// No longer watched.
    Disarmed,
}

/// One unit as lists and CMAP show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnitView {
    /// Its name.
    pub name: UnitName,
    /// The process that armed it last.
    pub pid: u32,
    /// Its state.
    pub state: UnitState,
    /// Its delay.
    pub delay: Span,
    /// Longest time between two heartbeats; zero: none wanted.
    pub heartbeat: Span,
    /// Since when it is in this state.
    pub since: Boottime,
    /// When the node goes down unless something changes: for an armed unit with heartbeats the end of the delay
    /// behind the next one that may be missed. `None` where nothing runs.
    pub deadline: Option<Boottime>,
}

#[derive(Debug)]
struct Unit {
    key: UnitKey,
    name: UnitName,
    pid: u32,
    delay: Span,
    heartbeat: Span,
    mode: Mode,
    state: State,
    since: Boottime,
    last_beat: Boottime,
    died: Wording,
    late: Wording,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Armed,
    Triggered { trouble: Trouble, at: Boottime, deadline: Boottime },
    TimedOut,
    Disarmed,
}

impl Registry {
    /// An empty registry of a node that goes down by `mode`.
    #[must_use]
    pub fn new(mode: Mode, now: Boottime) -> Self {
        Self {
            mode,
            units: Vec::with_capacity(UNITS_MAX),
            next_key: 1,
            expected_at: None,
            last_call: now,
            decision: None,
            decided: false,
            events: VecDeque::with_capacity(EVENTS_MAX),
            dropped: 0,
            changes: 0,
        }
    }

    /// Arms a unit for process `pid`. The caller watches that process and reports its death with the key.
    ///
    /// # Errors
    /// [`ArmError`]; nothing has changed then.
    pub fn arm(&mut self, now: Boottime, pid: u32, request: &ArmRequest) -> Result<UnitKey, ArmError> {
        self.begin(now);
        self.check(request)?;
        let slot = self.units.iter().position(|u| u.name == request.name);
        let before = slot.map(|slot| &self.units[slot]);
        let news = match before.map(|u| (u.state, u.pid)) {
            Some((State::Armed, other)) if other != pid => return Err(ArmError::ArmedByAnother(other)),
            Some((State::Triggered { at, .. }, _)) => {
                Event::Rearmed { name: request.name, pid, after: now.since(at) }
            }
            _ => Event::Armed { name: request.name, pid, delay: request.delay, heartbeat: request.heartbeat },
        };
        let key = UnitKey(self.next_key);
        let unit = Unit {
            key,
            name: request.name,
            pid,
            delay: request.delay,
            heartbeat: request.heartbeat,
            mode: request.mode.unwrap_or(self.mode),
            state: State::Armed,
            since: now,
            last_beat: now,
            died: Wording::died(request.name.as_str()),
            late: Wording::late(&request.name),
        };
        match slot.or_else(|| self.reusable_slot()) {
            Some(slot) => self.units[slot] = unit,
            None if self.units.len() < UNITS_MAX => self.units.push(unit),
            None => return Err(ArmError::TooMany),
        }
        self.next_key += 1;
        self.changed(news);
        self.expected_at = self.next_timeout();
        Ok(key)
    }

    fn check(&self, request: &ArmRequest) -> Result<(), ArmError> {
        if request.delay > INTERVAL_MAX || request.heartbeat > INTERVAL_MAX {
            return Err(ArmError::Interval);
        }
        match request.mode {
            Some(asked) if asked != Mode::Off && asked != self.mode => {
                Err(ArmError::Mode { asked, node: self.mode })
            }
            _ => Ok(()),
        }
    }

    /// With a full table: the unit that has been disarmed for longest makes room.
    fn reusable_slot(&self) -> Option<usize> {
        if self.units.len() < UNITS_MAX {
            return None;
        }
        let disarmed = self.units.iter().enumerate().filter(|(_, u)| u.state == State::Disarmed);
        disarmed.min_by_key(|(_, u)| u.since).map(|(slot, _)| slot)
    }

    /// A heartbeat of a unit, from the process that armed it. Others' and unknown names change nothing; says whether
    /// it counted.
    pub fn beat(&mut self, now: Boottime, pid: u32, name: &UnitName) -> bool {
        self.begin(now);
        let Some(unit) = self.units.iter_mut().find(|u| u.name == *name && u.pid == pid) else {
            return false;
        };
        match unit.state {
            State::Armed => unit.last_beat = now,
            State::Triggered { trouble: Trouble::Late, at, .. } => {
                (unit.state, unit.since, unit.last_beat) = (State::Armed, now, now);
                self.changed(Event::Recovered { name: *name, after: now.since(at) });
            }
            State::Triggered { trouble: Trouble::Died, .. } | State::TimedOut | State::Disarmed => {
                return false;
            }
        }
        self.expected_at = self.next_timeout();
        true
    }

    /// The process that armed the unit wants it watched no longer. Says whether there was such a unit.
    pub fn disarm(&mut self, now: Boottime, pid: u32, name: &UnitName) -> bool {
        self.begin(now);
        let found = self.units.iter_mut().find(|u| u.name == *name && u.pid == pid);
        let Some(unit) = found.filter(|u| u.state != State::Disarmed) else { return false };
        (unit.state, unit.since) = (State::Disarmed, now);
        self.changed(Event::Disarmed { name: *name });
        self.expected_at = self.next_timeout();
        true
    }

    /// The process of this arming is dead.
    pub fn handle_death(&mut self, now: Boottime, key: UnitKey) {
        self.begin(now);
        let Some(unit) = self.units.iter_mut().find(|u| u.key == key) else { return };
        match &mut unit.state {
            State::Armed => {
                let event = unit.trigger(Trouble::Died, now);
                self.changed(event);
            }
            // It was late and is now dead: the countdown goes on, and the text says what is true by then.
            State::Triggered { trouble: trouble @ Trouble::Late, at, .. } => {
                (*trouble, *at) = (Trouble::Died, now);
                self.changes += 1;
            }
            State::Triggered { .. } | State::TimedOut | State::Disarmed => {}
        }
        self.expected_at = self.next_timeout();
    }

    /// Looks for heartbeats that are late and delays that are over.
    pub fn handle_timeout(&mut self, now: Boottime) {
        self.begin(now);
        for i in 0..self.units.len() {
            let unit = &mut self.units[i];
            if unit.state == State::Armed && unit.late_at().is_some_and(|at| at <= now) {
                let event = unit.trigger(Trouble::Late, now);
                self.changed(event);
            }
            let unit = &mut self.units[i];
            if let State::Triggered { trouble, at, deadline } = unit.state
                && deadline <= now
            {
                let reason = unit.reason(trouble, at, now);
                let mode = unit.mode;
                let name = unit.name;
                (unit.state, unit.since) = (State::TimedOut, now);
                if mode == Mode::Off {
                    self.changed(Event::TimedOut { name, text: reason.text });
                } else {
                    self.changed(Event::TakingDown { text: reason.text });
                    self.decide(reason);
                }
            }
        }
        self.expected_at = self.next_timeout();
    }

    /// Begins every call. Where it comes later than asked for, the loop (or the machine) was away and the units could
    /// reach nobody: whoever was armed gets its whole heartbeat limit anew, and a delay goes on where it was.
    fn begin(&mut self, now: Boottime) {
        let last_call = std::mem::replace(&mut self.last_call, now);
        let late_by = self.expected_at.map_or(Span::ZERO, |at| now.since(at.max(last_call)));
        if late_by <= PAUSE_SLACK {
            return;
        }
        let gap = now.since(last_call);
        for unit in &mut self.units {
            match &mut unit.state {
                State::Armed => unit.last_beat = now,
                State::Triggered { deadline, .. } => *deadline = *deadline + gap,
                State::TimedOut | State::Disarmed => {}
            }
        }
        self.expected_at = self.next_timeout();
        self.changed(Event::Paused { gap });
    }

    fn decide(&mut self, reason: Reason) {
        if !self.decided {
            self.decided = true;
            self.decision = Some(reason);
        }
    }

    fn changed(&mut self, event: Event) {
        self.changes += 1;
        if self.events.len() < EVENTS_MAX - 1 {
            self.events.push_back(event);
        } else {
            self.dropped += 1;
        }
    }

    /// The next output, the decision first.
    pub fn poll_output(&mut self) -> Option<Output> {
        if let Some(reason) = self.decision.take() {
            return Some(Output::Decision(Decision::TakeDown(reason)));
        }
        let event = self.events.pop_front().or_else(|| {
            let count = std::mem::take(&mut self.dropped);
            (count > 0).then_some(Event::Dropped { count })
        });
        event.map(Output::Event)
    }

    /// When [`Self::handle_timeout`] is wanted at the latest.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Boottime> {
        self.units
            .iter()
            .filter_map(|u| match u.state {
                State::Armed => u.late_at(),
                State::Triggered { deadline, .. } => Some(deadline),
                State::TimedOut | State::Disarmed => None,
            })
            .min()
    }

    /// Whether the watchdog may be fed as far as the units are concerned: none is past its delay and none has taken the
    /// node down.
    #[must_use]
    pub fn within_deadlines(&self, now: Boottime) -> bool {
        let late = |u: &Unit| match u.state {
            State::Triggered { deadline, .. } => u.mode != Mode::Off && deadline <= now,
            State::Armed => u.mode != Mode::Off && u.late_at().is_some_and(|at| at + u.delay <= now),
            State::TimedOut | State::Disarmed => false,
        };
        !self.decided && !self.units.iter().any(late)
    }

    /// All units, in the order of their first arming.
    pub fn units(&self) -> impl Iterator<Item = UnitView> {
        self.units.iter().map(Unit::view)
    }

    /// Grows whenever a unit changes its state: for those who mirror the list.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// How the node goes down.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.mode
    }
}

impl Unit {
    fn late_at(&self) -> Option<Boottime> {
        (self.heartbeat > Span::ZERO).then_some(self.last_beat + self.heartbeat)
    }

    fn trigger(&mut self, trouble: Trouble, now: Boottime) -> Event {
        self.state = State::Triggered { trouble, at: now, deadline: now + self.delay };
        self.since = now;
        Event::Triggered { name: self.name, pid: self.pid, trouble, delay: self.delay }
    }

    fn reason(&self, trouble: Trouble, at: Boottime, now: Boottime) -> Reason {
        match trouble {
            Trouble::Died => self.died.reason(ReasonKind::UnitDied, now.since(at)),
            Trouble::Late => self.late.reason(ReasonKind::UnitLate, now.since(self.last_beat)),
        }
    }

    fn view(&self) -> UnitView {
        let (state, deadline) = match self.state {
            State::Armed => (UnitState::Armed, self.late_at().map(|at| at + self.delay)),
            State::Triggered { deadline, .. } => (UnitState::Triggered, Some(deadline)),
            State::TimedOut => (UnitState::Triggered, None),
            State::Disarmed => (UnitState::Disarmed, None),
        };
        UnitView {
            name: self.name,
            pid: self.pid,
            state,
            delay: self.delay,
            heartbeat: self.heartbeat,
            since: self.since,
            deadline,
        }
    }
}

impl UnitState {
    /// The word in lists.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Armed => "armed",
            Self::Triggered => "triggered",
            Self::Disarmed => "disarmed",
        }
    }
}

impl fmt::Display for UnitState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Display for ArmError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ArmedByAnother(pid) => write!(f, "the unit is armed by pid {pid}, which is alive"),
            Self::TooMany => write!(f, "{UNITS_MAX} units are armed already"),
            Self::Interval => {
                write!(f, "delay_ms and heartbeat_ms are at most {}", INTERVAL_MAX.as_millis())
            }
            Self::Mode { asked, node } => {
                write!(
                    f,
                    "mode {asked} is not this node's (failfast.mode is {node}); leave it out, or say off"
                )
            }
        }
    }
}
impl std::error::Error for ArmError {}
