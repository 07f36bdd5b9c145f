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
//! | triggered, restarted too often already | arm | refused: the delay runs out |
//! | triggered by a late heartbeat | death | stays triggered, the delay does not start anew; the text says "died" |
//! | triggered | delay over | the node goes down; in mode `off` timed out, and a line in the log |
//!
//! Only the first takedown is a decision: the node goes down once.
//!
//! **Restart first.** A unit with [`Restarts`] may be armed again out of trouble so many times in its window. One that
//! needs it more often is not kept alive by whoever restarts it: the next trouble ends with the node, whether it comes
//! back within the delay or not.
//!
//! **Maintenance** ([`Registry::maintain`]) stops no clock but the delay's: what happens is told as ever, and a delay
//! that would run begins when the maintenance ends. It ends by itself, and is told about now and then until it does.

use std::collections::VecDeque;
use std::fmt;

use holdfast_types::{Boottime, Span};

use crate::events::Event;
use crate::limits::{
    EVENTS_MAX, INTERVAL_MAX, MAINTENANCE_MAX, MAINTENANCE_REMINDER, PAUSE_SLACK, RESTARTS_MAX, UNITS_MAX,
};
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
    /// Of all units, those that will arm included.
    maintenance: Option<Maintenance>,
}

/// For how long trouble is only told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Maintenance {
    until: Boottime,
    remind_at: Boottime,
}

/// How often a unit may be restarted before that is no cure any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restarts {
    /// So often; at most [`RESTARTS_MAX`].
    pub count: u8,
    /// In any stretch of time as long as this.
    pub window: Span,
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
    /// `None`: who arms again within the delay is welcome, however often.
    pub restarts: Option<Restarts>,
}

/// Why an arming was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArmError {
    /// The unit is armed by this other process, which is alive.
    ArmedByAnother(u32),
    /// The table is full of armed units.
    TooMany,
    /// The delay, the heartbeat or the window is beyond [`INTERVAL_MAX`].
    Interval,
    /// More than [`RESTARTS_MAX`] restarts.
    Restarts,
    /// It was restarted as often as it may be: nothing cancels this countdown.
    RestartedTooOften(Restarts),
    /// The unit asks for a mode that is not the node's.
    Mode {
        /// What it asked for.
        asked: Mode,
        /// What the node is configured for.
        node: Mode,
    },
}

/// Why a maintenance was refused; nothing has changed then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaintenanceError {
    /// There is no such unit, or it is disarmed.
    NoSuchUnit,
    /// Longer than [`MAINTENANCE_MAX`].
    TooLong,
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
    /// How the node goes down for it; [`Mode::Off`]: it does not.
    pub mode: Mode,
    /// What is wrong with it, while something is.
    pub trouble: Option<Trouble>,
    /// How often it may be restarted.
    pub restarts: Option<Restarts>,
    /// How often it was, in the window behind.
    pub restarted: u8,
    /// Until when its trouble is only told.
    pub maintenance: Option<Boottime>,
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
    restarts: Option<Restarts>,
    /// When it was restarted the last times, newest first.
    restarted: [Option<Boottime>; RESTARTS_MAX as usize],
    maintenance: Option<Maintenance>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Armed,
    Triggered { trouble: Trouble, at: Boottime, deadline: Boottime, curable: bool },
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
            maintenance: None,
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
        let mut restarted = before.map_or_else(Default::default, |u| u.restarted);
        let news = match before.map(|u| (u.state, u.pid)) {
            Some((State::Armed, other)) if other != pid => return Err(ArmError::ArmedByAnother(other)),
            Some((State::Triggered { curable: false, .. }, _)) => {
                let restarts = before.and_then(|u| u.restarts);
                return Err(ArmError::RestartedTooOften(
                    restarts.unwrap_or(Restarts { count: 0, window: Span::ZERO }),
                ));
            }
            Some((State::Triggered { at, trouble, .. }, before)) => {
                // One that hung and goes on is no other process.
                if trouble == Trouble::Died || before != pid {
                    restarted.rotate_right(1);
                    restarted[0] = Some(now);
                }
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
            restarts: request.restarts,
            restarted,
            maintenance: before.and_then(|u| u.maintenance),
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
        let window = request.restarts.map_or(Span::ZERO, |r| r.window);
        if [request.delay, request.heartbeat, window].into_iter().any(|span| span > INTERVAL_MAX) {
            return Err(ArmError::Interval);
        }
        if request.restarts.is_some_and(|r| r.count > RESTARTS_MAX) {
            return Err(ArmError::Restarts);
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

    /// The unit of process `pid` is to be watched no longer, says process `by`. Says whether there was such a unit.
    /// How often it was restarted is forgotten, and its maintenance is over.
    pub fn disarm(&mut self, now: Boottime, by: u32, pid: u32, name: &UnitName) -> bool {
        self.begin(now);
        let found = self.units.iter_mut().find(|u| u.name == *name && u.pid == pid);
        let Some(unit) = found.filter(|u| u.state != State::Disarmed) else { return false };
        (unit.state, unit.since) = (State::Disarmed, now);
        (unit.restarted, unit.maintenance) = (Default::default(), None);
        self.changed(Event::Disarmed { name: *name, by: Some(by).filter(|by| *by != pid) });
        self.expected_at = self.next_timeout();
        true
    }

    /// For `length` from now trouble of this unit, or of all units (`None`), those that will arm included, is only told;
    /// zero ends it. A delay that runs, or begins to, runs from the end of the maintenance.
    ///
    /// # Errors
    /// [`MaintenanceError`].
    pub fn maintain(
        &mut self,
        now: Boottime,
        name: Option<&UnitName>,
        length: Span,
    ) -> Result<(), MaintenanceError> {
        self.begin(now);
        if length > MAINTENANCE_MAX {
            return Err(MaintenanceError::TooLong);
        }
        let until = now + length;
        let wanted =
            (length > Span::ZERO).then_some(Maintenance { until, remind_at: now + MAINTENANCE_REMINDER });
        let was = match name {
            None => std::mem::replace(&mut self.maintenance, wanted),
            Some(name) => {
                let found = self.units.iter_mut().find(|u| u.name == *name && u.state != State::Disarmed);
                let unit = found.ok_or(MaintenanceError::NoSuchUnit)?;
                std::mem::replace(&mut unit.maintenance, wanted)
            }
        };
        self.move_deadlines(now);
        match (wanted, was) {
            (Some(_), _) => self.changed(Event::Maintenance { name: name.copied(), left: length }),
            (None, Some(_)) => self.changed(Event::MaintenanceOver { name: name.copied() }),
            (None, None) => {}
        }
        self.expected_at = self.next_timeout();
        Ok(())
    }

    /// Delays that run: from the end of the maintenance where there is one, from now where it was ended before its time.
    fn move_deadlines(&mut self, now: Boottime) {
        for unit in &mut self.units {
            let until = unit.maintained_until(self.maintenance);
            let delay = unit.delay;
            if let State::Triggered { deadline, .. } = &mut unit.state {
                match until {
                    Some(until) => *deadline = until + delay,
                    None => *deadline = (*deadline).min(now + delay),
                }
            }
        }
    }

    /// Ends what has expired and reminds of what has not.
    fn look_after_maintenance(&mut self, now: Boottime) {
        if let Some(event) = due_word(&mut self.maintenance, None, now) {
            self.changed(event);
        }
        for i in 0..self.units.len() {
            let name = self.units[i].name;
            if let Some(event) = due_word(&mut self.units[i].maintenance, Some(name), now) {
                self.changed(event);
            }
        }
    }

    /// Until when trouble of all units is only told.
    #[must_use]
    pub fn maintenance(&self) -> Option<Boottime> {
        self.maintenance.map(|m| m.until)
    }

    /// The process of this arming is dead.
    pub fn handle_death(&mut self, now: Boottime, key: UnitKey) {
        self.begin(now);
        let all = self.maintenance;
        let Some(unit) = self.units.iter_mut().find(|u| u.key == key) else { return };
        match &mut unit.state {
            State::Armed => {
                let events = unit.trigger(Trouble::Died, now, all);
                events.into_iter().flatten().for_each(|event| self.changed(event));
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
        self.look_after_maintenance(now);
        let all = self.maintenance;
        for i in 0..self.units.len() {
            let unit = &mut self.units[i];
            if unit.state == State::Armed && unit.late_at().is_some_and(|at| at <= now) {
                let events = unit.trigger(Trouble::Late, now, all);
                events.into_iter().flatten().for_each(|event| self.changed(event));
            }
            let unit = &mut self.units[i];
            if let State::Triggered { trouble, at, deadline, .. } = unit.state
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
        let word = |m: &Option<Maintenance>| m.map(|m| m.until.min(m.remind_at));
        self.units
            .iter()
            .flat_map(|u| {
                let own = match u.state {
                    State::Armed => u.late_at(),
                    State::Triggered { deadline, .. } => Some(deadline),
                    State::TimedOut | State::Disarmed => None,
                };
                [own, word(&u.maintenance)]
            })
            .chain([word(&self.maintenance)])
            .flatten()
            .min()
    }

    /// Whether the watchdog may be fed as far as the units are concerned: none is past its delay and none has taken the
    /// node down.
    #[must_use]
    pub fn within_deadlines(&self, now: Boottime) -> bool {
        let late = |u: &Unit| match u.state {
            State::Triggered { deadline, .. } => u.mode != Mode::Off && deadline <= now,
            State::Armed => {
                let from =
                    |at: Boottime| u.maintained_until(self.maintenance).map_or(at, |until| until.max(at));
                u.mode != Mode::Off && u.late_at().is_some_and(|at| from(at) + u.delay <= now)
            }
            State::TimedOut | State::Disarmed => false,
        };
        !self.decided && !self.units.iter().any(late)
    }

    /// Whether a unit is dead or late without the node going down for it (yet): nobody knows what it has left behind.
    #[must_use]
    pub fn in_trouble(&self) -> bool {
        self.units.iter().any(|u| matches!(u.state, State::Triggered { .. }) && u.mode != Mode::Off)
    }

    /// All units, in the order of their first arming.
    pub fn units(&self) -> impl Iterator<Item = UnitView> {
        self.units.iter().map(|unit| unit.view(self.maintenance, self.last_call))
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

    /// Its delay begins, behind the maintenance if there is one.
    fn trigger(&mut self, trouble: Trouble, now: Boottime, all: Option<Maintenance>) -> [Option<Event>; 2] {
        let spent = self.restarts.filter(|r| self.restarted_since(now, r.window) >= r.count);
        let until = self.maintained_until(all).filter(|until| *until > now);
        let deadline = until.unwrap_or(now) + self.delay;
        self.state = State::Triggered { trouble, at: now, deadline, curable: spent.is_none() };
        self.since = now;
        let (name, pid, delay) = (self.name, self.pid, self.delay);
        let maintenance = until.map(|until| until.since(now));
        let too_often = spent.map(|restarts| Event::RestartedTooOften { name, restarts });
        [Some(Event::Triggered { name, pid, trouble, delay, maintenance }), too_often]
    }

    /// The later of its own maintenance and that of all.
    fn maintained_until(&self, all: Option<Maintenance>) -> Option<Boottime> {
        [self.maintenance, all].into_iter().flatten().map(|m| m.until).max()
    }

    /// How often it was restarted in the window that ends now.
    fn restarted_since(&self, now: Boottime, window: Span) -> u8 {
        let within = |at: &&Option<Boottime>| at.is_some_and(|at| now.since(at) < window);
        self.restarted.iter().filter(within).count() as u8 // of RESTARTS_MAX at most
    }

    fn reason(&self, trouble: Trouble, at: Boottime, now: Boottime) -> Reason {
        match trouble {
            Trouble::Died => self.died.reason(ReasonKind::UnitDied, now.since(at)),
            Trouble::Late => self.late.reason(ReasonKind::UnitLate, now.since(self.last_beat)),
        }
    }

    fn view(&self, all: Option<Maintenance>, now: Boottime) -> UnitView {
        let maintenance = self.maintained_until(all);
        let from = |at: Boottime| maintenance.map_or(at, |until| until.max(at));
        let (state, deadline) = match self.state {
            State::Armed => (UnitState::Armed, self.late_at().map(|at| from(at) + self.delay)),
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
            mode: self.mode,
            trouble: match self.state {
                State::Triggered { trouble, .. } => Some(trouble),
                State::Armed | State::TimedOut | State::Disarmed => None,
            },
            restarts: self.restarts,
            restarted: self.restarts.map_or(0, |r| self.restarted_since(now, r.window)),
            maintenance,
        }
    }
}

/// The end of a maintenance, or a reminder of one.
fn due_word(maintenance: &mut Option<Maintenance>, name: Option<UnitName>, now: Boottime) -> Option<Event> {
    let running = maintenance.as_mut()?;
    if running.until <= now {
        *maintenance = None;
        return Some(Event::MaintenanceOver { name });
    }
    if running.remind_at > now {
        return None;
    }
    running.remind_at = now + MAINTENANCE_REMINDER;
    Some(Event::Maintenance { name, left: running.until.since(now) })
}

impl Trouble {
    /// The word in lists.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Died => "died",
            Self::Late => "late",
        }
    }

    /// The trouble of a word.
    #[must_use]
    pub fn of_word(word: &str) -> Option<Self> {
        [Self::Died, Self::Late].into_iter().find(|t| t.word() == word)
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
                write!(f, "delay_ms, heartbeat_ms and window_ms are at most {}", INTERVAL_MAX.as_millis())
            }
            Self::Restarts => write!(f, "restarts is at most {RESTARTS_MAX}"),
            Self::RestartedTooOften(Restarts { count, window }) => {
                write!(
                    f,
                    "it was restarted {count} times in {window}: the node goes down; disarm it first to prevent that"
                )
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

impl fmt::Display for MaintenanceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchUnit => {
                f.write_str("no such unit is watched; \"holdfast failfast status\" lists them")
            }
            Self::TooLong => {
                write!(f, "a maintenance lasts at most {MAINTENANCE_MAX}; begin another one when it ends")
            }
        }
    }
}
impl std::error::Error for MaintenanceError {}
