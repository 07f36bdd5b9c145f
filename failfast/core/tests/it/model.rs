//! Any sequence of arms, beats, deaths and waits, against a model that is too simple to be wrong: a unit takes the node
//! down exactly when it has been dead or silent for its delay without being armed anew (F1), and never else (F4).

use std::collections::BTreeMap;

use failfast_core::{ArmRequest, Decision, Mode, Output, Registry, UnitKey, UnitName};
use holdfast_types::{Boottime, Span};
use proptest::prelude::*;

const NAMES: [&str; 3] = ["a", "b", "c"];

#[derive(Clone, Debug)]
enum Step {
    Arm { unit: usize, pid: u32, delay: u64, heartbeat: u64 },
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
        2 => (unit.clone(), 1u32..3, 0u64..400, heartbeat)
            .prop_map(|(unit, pid, delay, heartbeat)| Step::Arm { unit, pid, delay, heartbeat }),
        3 => (unit.clone(), 1u32..3).prop_map(|(unit, pid)| Step::Beat { unit, pid }),
        1 => (unit.clone(), 1u32..3).prop_map(|(unit, pid)| Step::Disarm { unit, pid }),
        1 => unit.clone().prop_map(|unit| Step::Die { unit }),
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
    /// Since when the delay runs.
    trouble_since: Option<u64>,
}

#[derive(Default)]
struct Model {
    now: u64,
    units: BTreeMap<usize, ModelUnit>,
    down_at: Option<u64>,
}

impl Model {
    /// Lets one millisecond pass, or none: looks what is due.
    fn look(&mut self) {
        for unit in self.units.values_mut() {
            let silent = unit.heartbeat > 0 && self.now >= unit.last_beat + unit.heartbeat;
            if unit.trouble_since.is_none() && (unit.dead || silent) {
                unit.trouble_since = Some(self.now);
            }
            if unit.trouble_since.is_some_and(|since| self.now >= since + unit.delay) {
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
                Step::Arm { unit, pid, delay, heartbeat } => {
                    let request = ArmRequest {
                        name: UnitName::new(NAMES[unit]).unwrap(),
                        delay: Span::from_millis(delay),
                        heartbeat: Span::from_millis(heartbeat),
                        mode: None,
                    };
                    let refused = model.units.get(&unit).is_some_and(|u| u.pid != pid && u.trouble_since.is_none());
                    match registry.arm(at(now), pid, &request) {
                        Ok(key) => {
                            prop_assert!(!refused);
                            if let Some(old) = keys.insert(unit, key) {
                                stale.insert(unit, old);
                            }
                            let (dead, trouble_since) = (false, None);
                            model.units.insert(unit, ModelUnit { pid, delay, heartbeat, last_beat: now, dead, trouble_since });
                        }
                        Err(_) => prop_assert!(refused),
                    }
                }
                Step::Beat { unit, pid } => {
                    registry.beat(at(now), pid, &UnitName::new(NAMES[unit]).unwrap());
                    if let Some(u) = model.units.get_mut(&unit).filter(|u| u.pid == pid && !u.dead) {
                        (u.last_beat, u.trouble_since) = (now, None);
                    }
                }
                Step::Disarm { unit, pid } => {
                    let known = model.units.get(&unit).is_some_and(|u| u.pid == pid);
                    prop_assert_eq!(registry.disarm(at(now), pid, &UnitName::new(NAMES[unit]).unwrap()), known);
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
