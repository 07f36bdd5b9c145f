//! Stories of units, one claim each.

use failfast_core::limits::{INTERVAL_MAX, MAINTENANCE_MAX, PAUSE_SLACK, UNITS_MAX};
use failfast_core::{
    ArmError, ArmRequest, Decision, Event, MaintenanceError, Mode, Output, Reason, ReasonKind, Registry,
    Restarts, Trouble, UnitKey, UnitName, UnitState,
};
use holdfast_types::{Boottime, Span};

fn at(ms: u64) -> Boottime {
    Boottime::from_nanos((1_000_000 + ms) * 1_000_000)
}

fn name(s: &str) -> UnitName {
    UnitName::new(s).unwrap()
}

fn request(unit: &str, delay_ms: u64, heartbeat_ms: u64) -> ArmRequest {
    ArmRequest {
        name: name(unit),
        delay: Span::from_millis(delay_ms),
        heartbeat: Span::from_millis(heartbeat_ms),
        mode: None,
        restarts: None,
    }
}

/// A registry and a loop that calls it as the daemon does.
struct Loop {
    registry: Registry,
    now: u64,
    taken_down: Vec<Reason>,
    events: Vec<Event>,
}

impl Loop {
    fn new() -> Self {
        Self { registry: Registry::new(Mode::Exit, at(0)), now: 0, taken_down: vec![], events: vec![] }
    }

    fn arm(&mut self, pid: u32, request: &ArmRequest) -> UnitKey {
        self.registry.arm(at(self.now), pid, request).unwrap()
    }

    fn beat(&mut self, pid: u32, unit: &str) -> bool {
        self.registry.beat(at(self.now), pid, &name(unit))
    }

    fn die(&mut self, key: UnitKey) {
        self.registry.handle_death(at(self.now), key);
        self.drain();
    }

    /// Runs to an instant, waking exactly when the registry asks for it.
    fn run_to(&mut self, ms: u64) {
        while let Some(due) = self.registry.next_timeout().filter(|due| *due <= at(ms)) {
            self.now = self.now.max(due.as_nanos() / 1_000_000 - 1_000_000);
            self.wake();
        }
        self.now = ms;
        self.wake();
    }

    /// The loop is away until then.
    fn pause_to(&mut self, ms: u64) {
        self.now = ms;
    }

    fn wake(&mut self) {
        self.registry.handle_timeout(at(self.now));
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(output) = self.registry.poll_output() {
            match output {
                Output::Decision(Decision::TakeDown(reason)) => self.taken_down.push(reason),
                Output::Event(event) => self.events.push(event),
            }
        }
    }

    fn texts(&self) -> Vec<&str> {
        self.taken_down.iter().map(|r| r.text.as_str()).collect()
    }

    fn state(&self, unit: &str) -> UnitState {
        self.registry.units().find(|u| u.name == name(unit)).unwrap().state
    }
}

#[test]
fn a_dead_unit_takes_the_node_down_after_its_delay() {
    let mut l = Loop::new();
    let key = l.arm(7, &request("rgmd", 35_000, 0));
    l.run_to(100_000);
    l.die(key);
    assert!(l.registry.within_deadlines(at(l.now)));
    l.run_to(134_999);
    assert_eq!((l.texts(), l.state("rgmd")), (vec![], UnitState::Triggered));
    assert!(l.registry.within_deadlines(at(l.now)), "the watchdog is fed while the delay runs");
    l.run_to(135_000);
    assert_eq!(l.texts(), ["Failfast: Aborting because \"rgmd\" died 35 seconds ago."]);
    assert_eq!(l.taken_down[0].kind, ReasonKind::UnitDied);
    assert!(!l.registry.within_deadlines(at(l.now)));
    l.run_to(500_000);
    assert_eq!(l.taken_down.len(), 1, "the node goes down once");
    assert!(!l.registry.within_deadlines(at(l.now)), "and the watchdog is never fed again");
}

#[test]
fn a_delay_of_zero_acts_in_the_same_turn() {
    let mut l = Loop::new();
    let key = l.arm(7, &request("rgmd", 0, 0));
    l.die(key);
    l.wake();
    assert_eq!(l.texts(), ["Failfast: Aborting because \"rgmd\" died 0 seconds ago."]);
}

#[test]
fn a_replacement_that_arms_in_time_cancels() {
    let mut l = Loop::new();
    let old = l.arm(7, &request("rgmd", 35_000, 0));
    l.die(old);
    l.run_to(34_999);
    let new = l.arm(8, &request("rgmd", 35_000, 0));
    l.run_to(500_000);
    assert_eq!((l.texts(), l.state("rgmd")), (vec![], UnitState::Armed));
    assert!(l.events.contains(&Event::Rearmed {
        name: name("rgmd"),
        pid: 8,
        after: Span::from_millis(34_999)
    }));
    l.die(old);
    l.run_to(600_000);
    assert_eq!(l.texts(), [""; 0], "news of the former process");
    l.die(new);
    l.run_to(700_000);
    assert_eq!(l.taken_down.len(), 1);
}

#[test]
fn a_late_heartbeat_counts_as_death() {
    let mut l = Loop::new();
    l.arm(7, &request("rgmd", 2_000, 10_000));
    l.run_to(9_000);
    assert!(l.beat(7, "rgmd"));
    l.run_to(18_999);
    assert_eq!(l.state("rgmd"), UnitState::Armed);
    l.run_to(19_000);
    assert_eq!(l.state("rgmd"), UnitState::Triggered);
    l.run_to(21_000);
    assert_eq!(l.texts(), ["Failfast: Aborting because \"rgmd\" missed its heartbeat for 12 seconds."]);
    assert_eq!(l.taken_down[0].kind, ReasonKind::UnitLate);
}

#[test]
fn a_heartbeat_that_comes_back_cancels() {
    let mut l = Loop::new();
    l.arm(7, &request("rgmd", 2_000, 10_000));
    l.run_to(11_999);
    assert_eq!(l.state("rgmd"), UnitState::Triggered);
    assert!(!l.beat(8, "rgmd"), "not from another process");
    assert!(l.beat(7, "rgmd"));
    l.run_to(21_000);
    assert_eq!((l.texts(), l.state("rgmd")), (vec![], UnitState::Armed));
}

#[test]
fn one_that_is_late_and_then_dies_gets_no_second_delay() {
    let mut l = Loop::new();
    let key = l.arm(7, &request("rgmd", 5_000, 10_000));
    l.run_to(13_000);
    l.die(key);
    assert!(!l.beat(7, "rgmd"), "the dead have no heartbeat");
    l.run_to(15_000);
    assert_eq!(l.texts(), ["Failfast: Aborting because \"rgmd\" died 2 seconds ago."]);
}

#[test]
fn disarmed_is_disarmed() {
    let mut l = Loop::new();
    let key = l.arm(7, &request("rgmd", 0, 1_000));
    assert!(!l.registry.disarm(at(0), 8, 8, &name("rgmd")), "not by another process");
    assert!(l.registry.disarm(at(0), 7, 7, &name("rgmd")));
    assert!(!l.registry.disarm(at(0), 7, 7, &name("rgmd")), "only once");
    assert!(!l.beat(7, "rgmd"));
    l.die(key);
    l.run_to(500_000);
    assert_eq!((l.texts(), l.state("rgmd"), l.registry.next_timeout()), (vec![], UnitState::Disarmed, None));
}

#[test]
fn a_late_unit_may_still_disarm() {
    let mut l = Loop::new();
    l.arm(7, &request("rgmd", 5_000, 1_000));
    l.run_to(2_000);
    assert_eq!(l.state("rgmd"), UnitState::Triggered);
    assert!(l.registry.disarm(at(2_000), 7, 7, &name("rgmd")));
    l.run_to(500_000);
    assert_eq!(l.texts(), [""; 0]);
}

#[test]
fn a_live_unit_belongs_to_its_process() {
    let mut l = Loop::new();
    l.arm(7, &request("rgmd", 1_000, 0));
    assert_eq!(l.registry.arm(at(1), 8, &request("rgmd", 1_000, 0)), Err(ArmError::ArmedByAnother(7)));
    let key = l.arm(7, &request("rgmd", 3_000, 0));
    l.die(key);
    l.run_to(2_999);
    assert_eq!(l.texts(), [""; 0], "armed anew, the new delay counts");
    l.run_to(3_000);
    assert_eq!(l.taken_down.len(), 1);
}

#[test]
fn a_unit_in_mode_off_only_leaves_a_line() {
    let mut l = Loop::new();
    let key = l.arm(7, &ArmRequest { mode: Some(Mode::Off), ..request("probe", 1_000, 0) });
    l.die(key);
    l.run_to(500_000);
    assert_eq!((l.texts(), l.state("probe")), (vec![], UnitState::Triggered));
    assert!(l.registry.within_deadlines(at(l.now)), "nor does it stop the watchdog's feeding");
    let last = l.events.last().unwrap().to_string();
    let line = "Failfast timeout - unit \"probe\" (mode off): Failfast: Aborting because \"probe\" died 1 seconds ago.";
    assert_eq!(last, line);
}

/// A client must not be able to crash a machine whose administrator chose `exit`.
#[test]
fn no_unit_chooses_a_mode_that_is_not_the_nodes() {
    for node in [Mode::Exit, Mode::Panic, Mode::Reset, Mode::Off] {
        let mut registry = Registry::new(node, at(0));
        for asked in [Mode::Exit, Mode::Panic, Mode::Reset, Mode::Off] {
            let result = registry.arm(at(0), 7, &ArmRequest { mode: Some(asked), ..request("u", 0, 0) });
            if asked == node || asked == Mode::Off {
                assert!(result.is_ok());
            } else {
                assert_eq!(result, Err(ArmError::Mode { asked, node }));
            }
        }
    }
}

#[test]
fn on_a_node_in_mode_off_no_unit_takes_anything_down() {
    let mut registry = Registry::new(Mode::Off, at(0));
    let key = registry.arm(at(0), 7, &request("rgmd", 0, 0)).unwrap();
    registry.handle_death(at(1), key);
    registry.handle_timeout(at(1));
    let outputs: Vec<_> = std::iter::from_fn(|| registry.poll_output()).collect();
    assert!(outputs.iter().all(|o| matches!(o, Output::Event(_))), "{outputs:?}");
    assert!(outputs.iter().any(|o| matches!(o, Output::Event(Event::TimedOut { .. }))), "{outputs:?}");
}

#[test]
fn the_table_has_an_end_and_forgets_the_disarmed_first() {
    let mut l = Loop::new();
    for i in 0..UNITS_MAX {
        l.arm(7, &request(&format!("u{i}"), 0, 0));
    }
    assert_eq!(l.registry.arm(at(0), 7, &request("more", 0, 0)), Err(ArmError::TooMany));
    assert!(l.registry.disarm(at(2), 7, 7, &name("u5")));
    assert!(l.registry.disarm(at(1), 7, 7, &name("u9")));
    l.arm(7, &request("more", 0, 0));
    let names: Vec<_> = l.registry.units().map(|u| u.name.to_string()).collect();
    assert_eq!(
        (names.len(), names.contains(&"u5".into()), names.contains(&"u9".into())),
        (UNITS_MAX, true, false)
    );
}

#[test]
fn intervals_have_an_end() {
    let mut l = Loop::new();
    let over = INTERVAL_MAX.as_millis() + 1;
    assert_eq!(l.registry.arm(at(0), 7, &request("u", over, 0)), Err(ArmError::Interval));
    assert_eq!(l.registry.arm(at(0), 7, &request("u", 0, over)), Err(ArmError::Interval));
    assert_eq!(l.registry.units().count(), 0);
}

/// The loop was stopped (or the machine slept): the units could not reach it, and are not to blame.
#[test]
fn a_pause_of_the_loop_is_not_the_units_fault() {
    let mut l = Loop::new();
    l.arm(7, &request("rgmd", 0, 10_000));
    l.run_to(5_000);
    l.pause_to(60_000);
    l.wake();
    assert_eq!((l.texts(), l.state("rgmd")), (vec![], UnitState::Armed));
    assert!(l.events.contains(&Event::Paused { gap: Span::from_secs(55) }), "{:?}", l.events);
    l.run_to(69_999);
    assert_eq!(l.texts(), [""; 0]);
    l.run_to(70_000);
    assert_eq!(l.texts(), ["Failfast: Aborting because \"rgmd\" missed its heartbeat for 10 seconds."]);
}

/// What waited in the socket during the pause is handed in before the deadlines are looked at, and shows the pause too.
#[test]
fn a_beat_that_waited_during_a_pause_counts_for_all_units() {
    let mut l = Loop::new();
    l.arm(7, &request("a", 0, 10_000));
    l.arm(8, &request("b", 0, 10_000));
    l.pause_to(60_000);
    assert!(l.beat(7, "a"));
    l.wake();
    assert_eq!(l.texts(), [""; 0], "b gets its time too");
}

#[test]
fn a_countdown_stands_still_in_a_pause() {
    let mut l = Loop::new();
    let key = l.arm(7, &request("rgmd", 10_000, 0));
    l.die(key);
    l.run_to(4_000);
    l.pause_to(60_000);
    l.wake();
    assert_eq!(l.texts(), [""; 0], "its replacement could not arm meanwhile");
    l.run_to(66_000);
    assert_eq!(l.texts(), ["Failfast: Aborting because \"rgmd\" died 66 seconds ago."]);
}

/// An ordinary delay of the loop is no excuse for a dead unit.
#[test]
fn a_loop_that_is_a_little_late_is_no_pause() {
    let mut l = Loop::new();
    let key = l.arm(7, &request("rgmd", 10_000, 0));
    l.die(key);
    l.pause_to(10_000 + PAUSE_SLACK.as_millis());
    l.wake();
    assert_eq!(l.texts(), ["Failfast: Aborting because \"rgmd\" died 10 seconds ago."]);
}

#[test]
fn several_dead_units_take_the_node_down_once() {
    let mut l = Loop::new();
    let keys = ["a", "b"].map(|unit| l.arm(7, &request(unit, 1_000, 0)));
    l.die(keys[0]);
    l.run_to(500);
    l.die(keys[1]);
    l.run_to(10_000);
    assert_eq!(l.texts(), ["Failfast: Aborting because \"a\" died 1 seconds ago."]);
}

/// The feeding of the watchdog must not depend on whether the registry has looked at its deadlines yet.
#[test]
fn the_watchdog_is_fed_exactly_as_long_as_the_units_deadlines_hold() {
    let mut l = Loop::new();
    l.arm(7, &request("rgmd", 2_000, 10_000));
    assert!(l.registry.within_deadlines(at(10_000)), "late, but its delay has only begun");
    assert!(l.registry.within_deadlines(at(11_999)));
    assert!(!l.registry.within_deadlines(at(12_000)));
}

/// A loop that sleeps as long as it may is not away, however long that is, and however beats move its deadlines.
#[test]
fn a_quiet_loop_is_no_pause() {
    let mut l = Loop::new();
    l.arm(7, &request("rgmd", 0, 10_000));
    for second in 1..1_000 {
        l.pause_to(second * 9_000);
        assert!(l.beat(7, "rgmd"));
        l.drain();
    }
    l.run_to(999 * 9_000 + 9_999);
    assert!(!l.events.iter().any(|e| matches!(e, Event::Paused { .. })), "{:?}", l.events);
    l.run_to(999 * 9_000 + 10_000);
    assert_eq!(l.taken_down.len(), 1);
}

#[test]
fn events_that_nobody_fetches_are_counted() {
    let mut registry = Registry::new(Mode::Exit, at(0));
    for _ in 0..1_000 {
        registry.arm(at(0), 7, &request("u", 0, 0)).unwrap();
    }
    let key = registry.arm(at(0), 7, &request("u", 0, 0)).unwrap();
    registry.handle_death(at(1), key);
    registry.handle_timeout(at(1));
    let outputs: Vec<_> = std::iter::from_fn(|| registry.poll_output()).collect();
    assert!(matches!(outputs[0], Output::Decision(_)), "a decision is never dropped");
    let told = outputs.len() as u64 - 2;
    assert_eq!(outputs.last(), Some(&Output::Event(Event::Dropped { count: 1_003 - told })));
}

#[test]
fn what_lists_show() {
    let mut l = Loop::new();
    l.arm(7, &request("a", 2_000, 1_000));
    let key = l.arm(8, &request("b", 3_000, 0));
    let changes = l.registry.changes();
    l.run_to(500);
    l.die(key);
    let units: Vec<_> = l.registry.units().collect();
    assert_eq!((units[0].name, units[0].pid, units[0].state), (name("a"), 7, UnitState::Armed));
    assert_eq!(units[0].deadline, Some(at(3_000)), "a beat missed, and the delay");
    assert_eq!(
        (units[1].state, units[1].since, units[1].deadline),
        (UnitState::Triggered, at(500), Some(at(3_500)))
    );
    assert!(l.registry.changes() > changes);
    let trouble = Trouble::Died;
    let (delay, maintenance) = (Span::from_secs(3), None);
    let triggered = Event::Triggered { name: name("b"), pid: 8, trouble, delay, maintenance };
    assert_eq!(l.events.last(), Some(&triggered));
}

fn restarts(count: u8, window_ms: u64) -> Option<Restarts> {
    Some(Restarts { count, window: Span::from_millis(window_ms) })
}

#[test]
fn a_unit_that_is_restarted_too_often_takes_the_node_down_although_it_came_back() {
    let mut l = Loop::new();
    let unit = ArmRequest { restarts: restarts(2, 60_000), ..request("pg", 5_000, 0) };
    let mut key = l.arm(7, &unit);
    for pid in 8..10 {
        l.run_to(l.now + 10_000);
        l.die(key);
        l.run_to(l.now + 1_000);
        key = l.arm(pid, &unit);
    }
    let view = l.registry.units().next().unwrap();
    assert_eq!((view.restarted, view.restarts), (2, unit.restarts));
    l.run_to(l.now + 10_000);
    l.die(key);
    let told = Event::RestartedTooOften { name: name("pg"), restarts: unit.restarts.unwrap() };
    assert!(l.events.contains(&told), "{:?}", l.events);
    let refused = l.registry.arm(at(l.now), 10, &unit);
    assert_eq!(refused, Err(ArmError::RestartedTooOften(unit.restarts.unwrap())));
    assert!(refused.unwrap_err().to_string().contains("restarted 2 times in 60000 ms"));
    l.run_to(l.now + 5_000);
    assert_eq!(l.texts(), ["Failfast: Aborting because \"pg\" died 5 seconds ago."]);
}

#[test]
fn restarts_that_are_long_ago_do_not_count_and_disarming_forgets_them() {
    let mut l = Loop::new();
    let unit = ArmRequest { restarts: restarts(1, 60_000), ..request("pg", 5_000, 0) };
    let mut key = l.arm(7, &unit);
    for pid in 8..14 {
        l.run_to(l.now + 60_000);
        l.die(key);
        l.run_to(l.now + 1_000);
        key = l.arm(pid, &unit);
    }
    assert!(l.registry.disarm(at(l.now), 99, 13, &name("pg")), "a third process may, by the pid of the unit");
    assert_eq!(l.registry.units().next().unwrap().restarted, 0);
    l.arm(14, &unit);
    assert_eq!(l.state("pg"), UnitState::Armed);
    let refused = l.registry.arm(at(l.now), 14, &ArmRequest { restarts: restarts(17, 1), ..unit });
    assert_eq!(refused, Err(ArmError::Restarts));
}

#[test]
fn trouble_under_maintenance_is_told_and_its_delay_begins_with_the_end() {
    let mut l = Loop::new();
    let key = l.arm(7, &request("pg", 5_000, 0));
    l.registry.maintain(at(l.now), Some(&name("pg")), Span::from_secs(600)).unwrap();
    l.run_to(10_000);
    l.die(key);
    assert!(l.registry.in_trouble());
    l.run_to(604_999);
    assert!(l.texts().is_empty() && l.registry.within_deadlines(at(l.now)), "{:?}", l.texts());
    let told = |l: &Loop, wanted: &Event| l.events.iter().filter(|e| *e == wanted).count();
    let reminder = Event::Maintenance { name: Some(name("pg")), left: Span::from_secs(300) };
    assert_eq!(told(&l, &reminder), 1, "{:?}", l.events);
    assert_eq!(told(&l, &Event::MaintenanceOver { name: Some(name("pg")) }), 1, "{:?}", l.events);
    l.run_to(605_000);
    assert_eq!(l.texts(), ["Failfast: Aborting because \"pg\" died 595 seconds ago."]);
}

#[test]
fn a_unit_that_is_back_before_the_maintenance_ends_costs_nothing() {
    let mut l = Loop::new();
    let key = l.arm(7, &request("pg", 0, 0));
    l.registry.maintain(at(l.now), None, Span::from_secs(60)).unwrap();
    l.die(key);
    l.run_to(30_000);
    l.arm(8, &request("pg", 0, 0));
    // One that arms meanwhile is under it too, and a heartbeat may be missing as well.
    l.arm(9, &request("late", 1_000, 1_000));
    l.run_to(60_999);
    assert!(l.texts().is_empty(), "{:?}", l.texts());
    l.run_to(61_000);
    assert_eq!(l.texts(), ["Failfast: Aborting because \"late\" missed its heartbeat for 31 seconds."]);
}

#[test]
fn a_maintenance_that_is_ended_early_lets_the_delay_begin() {
    let mut l = Loop::new();
    let key = l.arm(7, &request("pg", 5_000, 0));
    l.registry.maintain(at(l.now), None, Span::from_secs(600)).unwrap();
    l.die(key);
    l.run_to(100_000);
    l.registry.maintain(at(l.now), None, Span::ZERO).unwrap();
    assert_eq!(l.registry.maintenance(), None);
    l.run_to(104_999);
    assert!(l.texts().is_empty());
    l.run_to(105_000);
    assert_eq!(l.texts(), ["Failfast: Aborting because \"pg\" died 105 seconds ago."]);
}

#[test]
fn a_maintenance_has_an_end_and_a_unit() {
    let mut l = Loop::new();
    let too_long = l.registry.maintain(at(0), None, MAINTENANCE_MAX + Span::from_millis(1));
    assert_eq!(too_long, Err(MaintenanceError::TooLong));
    let nobody = l.registry.maintain(at(0), Some(&name("pg")), Span::from_secs(1));
    assert_eq!(nobody, Err(MaintenanceError::NoSuchUnit));
    assert_eq!(l.registry.next_timeout(), None);
}
