//! Any sequence of arms, beats, deaths, maintenances and waits, against a model that is too simple to be wrong: a unit takes
//! the node down exactly when it has been dead or silent for its delay, outside of maintenance, without being armed anew
//! (F1), or after it was restarted too often (F40), and never else (F4).

use std::collections::BTreeMap;

use failfast_core::{ArmRequest, Decision, Mode, Output, Registry, Restarts, UnitKey, UnitName};
use holdfast_types::{Boottime, Span};
use proptest::prelude::*;

const NAMES: [&str; 3] = ["a", "b", "c"];

#[derive(Clone, Debug)]
enum Step {
    Arm { unit: usize, pid: u32, delay: u64, heartbeat: u64, restarts: Option<(u8, u64)> },
    Maintain { unit: Option<usize>, ms: u64 },
    Beat { unit: usize, pid: u32 },
    Disarm { unit: usize, pid: u32 },
    Die { unit: usize },
    StaleDeath { unit: usize },
    Wait { ms: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    let unit = 0..NAMES.len();
    let heartbeat = prop_oneof![Just(0), 1u64..400];
    prop_oneof![
        4 => (unit.clone(), 1u32..3, 0u64..400, heartbeat, proptest::option::of((0u8..3, 1u64..1_000)))
            .prop_map(|(unit, pid, delay, heartbeat, restarts)| Step::Arm { unit, pid, delay, heartbeat, restarts }),
        1 => (proptest::option::of(unit.clone()), prop_oneof![Just(0), 1u64..600])
            .prop_map(|(unit, ms)| Step::Maintain { unit, ms }),
        3 => (unit.clone(), 1u32..3).prop_map(|(unit, pid)| Step::Beat { unit, pid }),
        1 => (unit.clone(), 1u32..3).prop_map(|(unit, pid)| Step::Disarm { unit, pid }),
        2 => unit.clone().prop_map(|unit| Step::Die { unit }),
        1 => unit.prop_map(|unit| Step::StaleDeath { unit }),
        5 => (0u64..300).prop_map(|ms| Step::Wait { ms }),
    ]
}

/// All times in whole milliseconds.
#[derive(Clone, Debug)]
struct ModelUnit {
    pid: u32,
    delay: u64,
    heartbeat: u64,
    last_beat: u64,
    dead: bool,
    /// From when the delay runs, while there is trouble.
    runs_from: Option<u64>,
    /// So many restarts in so long.
    restarts: Option<(u8, u64)>,
    restarted: Vec<u64>,
    /// No restart helps any more.
    doomed: bool,
    /// End of its maintenance.
    maintained: u64,
}

#[derive(Default)]
struct Model {
    now: u64,
    units: BTreeMap<usize, ModelUnit>,
    /// End of the maintenance of all.
    maintained: u64,
    down_at: Option<u64>,
}

impl Model {
    /// Lets one millisecond pass, or none: looks what is due.
    fn look(&mut self) {
        for unit in self.units.values_mut() {
            let silent = unit.heartbeat > 0 && self.now >= unit.last_beat + unit.heartbeat;
            if unit.runs_from.is_none() && (unit.dead || silent) {
                unit.runs_from = Some(self.now.max(unit.maintained).max(self.maintained));
                let recent = |window| unit.restarted.iter().filter(|at| self.now - **at < window).count();
                unit.doomed =
                    unit.restarts.is_some_and(|(count, window)| recent(window) >= usize::from(count));
            }
            if unit.runs_from.is_some_and(|from| self.now >= from + unit.delay) {
                self.down_at.get_or_insert(self.now);
            }
        }
    }
}

fn at(ms: u64) -> Boottime {
    Boottime::from_nanos((ms + 5_000) * 1_000_000)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn the_node_goes_down_exactly_when_it_must(steps in proptest::collection::vec(step(), 1..60)) {
        let mut registry = Registry::new(Mode::Exit, at(0));
        let mut model = Model::default();
        let mut keys: BTreeMap<usize, UnitKey> = BTreeMap::new();
        let mut stale: BTreeMap<usize, UnitKey> = BTreeMap::new();
        let mut down_at = None;
        for step in steps {
            let now = model.now;
            match step {
                Step::Arm { unit, pid, delay, heartbeat, restarts } => {
                    let request = ArmRequest {
                        name: UnitName::new(NAMES[unit]).unwrap(),
                        delay: Span::from_millis(delay),
                        heartbeat: Span::from_millis(heartbeat),
                        mode: None,
                        restarts: restarts.map(|(count, window)| Restarts { count, window: Span::from_millis(window) }),
                    };
                    let before = model.units.get(&unit).cloned();
                    let refused = before.as_ref().is_some_and(|u| match u.runs_from {
                        None => u.pid != pid,
                        Some(_) => u.doomed,
                    });
                    match registry.arm(at(now), pid, &request) {
                        Ok(key) => {
                            prop_assert!(!refused);
                            if let Some(old) = keys.insert(unit, key) {
                                stale.insert(unit, old);
                            }
                            let mut restarted = before.as_ref().map_or(vec![], |u| u.restarted.clone());
                            if before.as_ref().is_some_and(|u| u.runs_from.is_some() && (u.dead || u.pid != pid)) {
                                restarted.push(now);
                            }
                            let maintained = before.map_or(0, |u| u.maintained);
                            let (dead, runs_from, doomed) = (false, None, false);
                            model.units.insert(unit, ModelUnit {
                                pid, delay, heartbeat, last_beat: now, dead, runs_from, restarts, restarted, doomed, maintained,
                            });
                        }
                        Err(_) => prop_assert!(refused),
                    }
                }
                Step::Beat { unit, pid } => {
                    registry.beat(at(now), pid, &UnitName::new(NAMES[unit]).unwrap());
                    if let Some(u) = model.units.get_mut(&unit).filter(|u| u.pid == pid && !u.dead) {
                        (u.last_beat, u.runs_from) = (now, None);
                    }
                }
                Step::Disarm { unit, pid } => {
                    let known = model.units.get(&unit).is_some_and(|u| u.pid == pid);
                    prop_assert_eq!(registry.disarm(at(now), 9, pid, &UnitName::new(NAMES[unit]).unwrap()), known);
                    if known {
                        model.units.remove(&unit);
                    }
                }
                Step::Die { unit } => {
                    if let Some(key) = keys.get(&unit) {
                        registry.handle_death(at(now), *key);
                    }
                    if let Some(u) = model.units.get_mut(&unit) {
                        u.dead = true;
                    }
                }
                Step::StaleDeath { unit } => {
                    if let Some(key) = stale.get(&unit) {
                        registry.handle_death(at(now), *key);
                    }
                }
                Step::Maintain { unit, ms } => {
                    let known = unit.is_none_or(|unit| model.units.contains_key(&unit));
                    let name = unit.map(|unit| UnitName::new(NAMES[unit]).unwrap());
                    let done = registry.maintain(at(now), name.as_ref(), Span::from_millis(ms));
                    prop_assert_eq!(done.is_ok(), known);
                    match unit.and_then(|unit| model.units.get_mut(&unit)) {
                        Some(u) => u.maintained = now + ms,
                        None if unit.is_none() => model.maintained = now + ms,
                        None => {}
                    }
                    let all = model.maintained;
                    for u in model.units.values_mut() {
                        let until = u.maintained.max(all);
                        u.runs_from = u.runs_from.map(|from| if until > now { until } else { from.min(now) });
                    }
                }
                Step::Wait { ms } => {
                    for _ in 0..ms {
                        model.now += 1;
                        model.look();
                    }
                }
            }
            model.look();
            // The loop wakes at each instant the registry asks for, and after each input.
            while let Some(due) = registry.next_timeout().filter(|due| *due < at(model.now)) {
                registry.handle_timeout(due);
                down_at = down_at.or_else(|| taken_down(&mut registry).then_some(due));
            }
            registry.handle_timeout(at(model.now));
            down_at = down_at.or_else(|| taken_down(&mut registry).then_some(at(model.now)));
            prop_assert_eq!(down_at, model.down_at.map(at));
            prop_assert!(model.down_at.is_none() || !registry.within_deadlines(at(model.now)));
            if model.down_at.is_some() {
                break;
            }
            prop_assert!(registry.within_deadlines(at(model.now)));
        }
    }
}

fn taken_down(registry: &mut Registry) -> bool {
    let outputs: Vec<_> = std::iter::from_fn(|| registry.poll_output()).collect();
    outputs.iter().any(|o| matches!(o, Output::Decision(Decision::TakeDown(_))))
}
