//! Guards and a target: what an operator would see, and a world in which configurations come and go, commands stall and fail, machines
//! stand still and paths change.

use std::collections::BTreeMap;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::*;
use crate::target::Target;

const INTERVAL: Span = Span::from_millis(100);
const MS: u64 = 1_000_000;

fn cluster() -> Cluster {
    Cluster::of_name("c")
}

fn goal(number: u64, members: &[u8]) -> Option<Goal> {
    Some(Goal { number, members: members.iter().fold(0, |all, slot| all | bit(*slot)) })
}

/// Nodes that do their I/O at once.
struct Room {
    now: Boottime,
    target: Target,
    guards: BTreeMap<u8, Guard>,
    events: Vec<(u8, Event)>,
}

impl Room {
    fn new(nodes: u8, simple: bool) -> Self {
        let now = Boottime::from_nanos(1);
        let guard = |slot| (slot, Guard::new(Config { slot, cluster: cluster(), interval: INTERVAL }, now));
        Self {
            now,
            target: Target::new(simple),
            guards: (1..=nodes).map(guard).collect(),
            events: Vec::new(),
        }
    }

    fn set(&mut self, slot: u8, goal: Option<Goal>) {
        let now = self.now;
        self.guards.get_mut(&slot).unwrap().set_goal(now, goal);
    }

    fn set_all(&mut self, slots: &[u8], number: u64) {
        slots.iter().for_each(|slot| self.set(*slot, goal(number, slots)));
    }

    /// Lets all that `who` has to do happen, for some intervals.
    fn run(&mut self, who: &[u8]) {
        for _ in 0..5 {
            for slot in who {
                self.now = self.now + Span::from_nanos(MS);
                let guard = self.guards.get_mut(slot).unwrap();
                guard.handle_timeout(self.now);
                while let Some(output) = guard.poll_output() {
                    match output {
                        Output::Event(event) => self.events.push((*slot, event)),
                        Output::Send(command) => {
                            let nexus = u64::from(*slot);
                            let answer = self.target.execute(nexus, &command.cdb(), command.list().as_ref());
                            let reply = command.reply(cluster(), answer.status, &answer.sense, &answer.data);
                            guard.handle_done(self.now, reply);
                        }
                    }
                }
            }
            self.now = self.now + INTERVAL;
        }
    }

    fn take(&mut self) -> Vec<(u8, Event)> {
        std::mem::take(&mut self.events)
    }

    fn by_hand(&mut self, nexus: u64, command: Command) {
        let answer = self.target.execute(nexus, &command.cdb(), command.list().as_ref());
        assert_eq!(answer.status, 0, "{command:?}");
    }
}

#[test]
fn members_register_and_who_is_no_member_any_more_is_removed_and_hears_of_it() {
    for simple in [false, true] {
        let mut room = Room::new(3, simple);
        room.run(&[1, 2, 3]);
        assert_eq!(room.take(), [], "without quorum nothing is changed");
        room.set_all(&[1, 2, 3], 1);
        room.run(&[1, 2, 3]);
        let all = |target: &Target| [1, 2, 3, 4].map(|nexus| target.may_write(nexus));
        assert_eq!(all(&room.target), [true, true, true, false]);
        assert!(room.guards.values().all(|g| g.fenced() == Some(1)));
        let events = room.take();
        assert_eq!(events.contains(&(1, Event::Volatile)), simple);
        assert!(events.contains(&(3, Event::Registered)));

        // 3 is cut off: it has no quorum any more when the others have it.
        room.set(3, None);
        room.set_all(&[1, 2], 2);
        room.run(&[1, 2]);
        assert_eq!(all(&room.target), [true, true, false, false]);
        assert_eq!(room.guards[&1].fenced(), Some(2));
        assert!(room.take().iter().any(|(_, event)| *event == Event::Preempted { slot: 3 }));
        room.run(&[3]);
        assert_eq!(room.take(), [(3, Event::Conflict)], "within an interval, with nothing to write");

        // Together again, it registers again.
        room.set_all(&[1, 2, 3], 3);
        room.run(&[1, 2, 3]);
        assert_eq!(all(&room.target), [true, true, true, false]);
        assert_eq!(room.take(), [(3, Event::Registered)]);
    }
}

#[test]
fn a_key_that_is_removed_by_hand_stays_away_until_the_configuration_changes() {
    let mut room = Room::new(2, false);
    room.set_all(&[1, 2], 1);
    room.run(&[1, 2]);
    room.take();
    let key = |slot| cluster().key(slot);
    room.by_hand(2, Command::Preempt { key: key(2), victim: key(1), abort: true });
    room.run(&[1, 2]);
    assert_eq!(room.take(), [(1, Event::Conflict)]);
    assert!(!room.target.may_write(1) && room.target.may_write(2));
    room.set_all(&[1, 2], 2);
    room.run(&[1, 2]);
    assert!(room.target.may_write(1) && room.target.may_write(2));
}

#[test]
fn a_target_that_forgets_everything_removes_nobody() {
    let mut room = Room::new(3, true);
    room.set_all(&[1, 2, 3], 1);
    room.run(&[1, 2, 3]);
    room.take();
    room.target.lose_power();
    // One is a while ahead: the others see its key and none of theirs.
    room.run(&[2]);
    room.run(&[1, 3]);
    let events = room.take();
    assert!(!events.iter().any(|(_, event)| *event == Event::Conflict), "{events:?}");
    assert_eq!([1, 2, 3, 4].map(|nexus| room.target.may_write(nexus)), [true, true, true, false]);
    // Who has no quorum cannot tell that from having been removed.
    room.set(3, None);
    room.target.lose_power();
    room.run(&[3]);
    assert_eq!(room.take(), [], "nobody has removed it");
    room.set_all(&[1, 2], 2);
    room.run(&[1, 2]);
    room.run(&[3]);
    assert!(room.take().contains(&(3, Event::Conflict)));
}

#[test]
fn registrations_survive_a_target_that_persists_them() {
    let mut room = Room::new(2, false);
    room.set_all(&[1, 2], 1);
    room.run(&[1, 2]);
    room.take();
    room.target.lose_power();
    assert!(!room.target.may_write(3));
    room.run(&[1, 2]);
    assert_eq!(room.take(), []);
}

#[test]
fn a_disk_of_somebody_else_is_left_alone_and_never_fenced() {
    let mut room = Room::new(1, false);
    let theirs = Cluster::of_name("other").key(1);
    room.by_hand(9, Command::RegisterAndIgnore { key: theirs, persist: true });
    room.set_all(&[1], 1);
    room.run(&[1]);
    assert_eq!(room.take(), [(1, Event::Foreign(theirs))]);
    assert_eq!(room.guards[&1].fenced(), None);
    room.by_hand(9, Command::RegisterAndIgnore { key: Key::NONE, persist: true });
    room.run(&[1]);
    assert_eq!(room.guards[&1].fenced(), Some(1));
}

#[test]
fn a_path_that_lost_its_registration_gets_it_again_when_it_is_refused() {
    let mut room = Room::new(2, false);
    room.set_all(&[1, 2], 1);
    room.run(&[1, 2]);
    // The key is still there, by the path of an earlier life.
    room.by_hand(7, Command::RegisterAndIgnore { key: cluster().key(1), persist: true });
    room.by_hand(1, Command::RegisterAndIgnore { key: Key::NONE, persist: true });
    room.take();
    room.set(2, None);
    room.set_all(&[1], 2);
    room.run(&[1]);
    assert_eq!(room.guards[&1].fenced(), Some(2));
    assert!(room.target.may_write(1) && !room.target.may_write(2));
}

#[test]
fn a_target_that_comes_back_with_another_path_is_registered_with_again() {
    let mut room = Room::new(2, false);
    room.set_all(&[1, 2], 1);
    room.run(&[1, 2]);
    // The keys outlived it, and node 2 comes by another path than before.
    room.by_hand(7, Command::RegisterAndIgnore { key: cluster().key(2), persist: true });
    room.by_hand(2, Command::RegisterAndIgnore { key: Key::NONE, persist: true });
    room.target.lose_power();
    assert!(!room.target.may_write(2));
    room.take();
    room.run(&[1, 2]);
    assert_eq!(room.take(), [(2, Event::Registered)]);
    assert!(room.target.may_write(1) && room.target.may_write(2));
}

#[test]
fn a_registration_that_comes_too_late_is_taken_back() {
    let mut guard = Guard::new(Config { slot: 1, cluster: cluster(), interval: INTERVAL }, at(0));
    let sent = |guard: &mut Guard| {
        std::iter::from_fn(|| guard.poll_output()).find_map(|output| match output {
            Output::Send(command) => Some(command),
            Output::Event(_) => None,
        })
    };
    guard.set_goal(at(1), goal(1, &[1, 2]));
    assert_eq!(sent(&mut guard), Some(Command::ReadKeys));
    guard.handle_done(at(2), Ok(Reply::Keys(Keys::default())));
    assert_eq!(sent(&mut guard), Some(Command::ReadReservation));
    guard.handle_done(at(3), Ok(Reply::Reservation(crate::Reservation::default())));
    let key = cluster().key(1);
    assert_eq!(sent(&mut guard), Some(Command::RegisterAndIgnore { key, persist: true }));
    assert!(guard.is_changing());
    guard.set_goal(at(4), None);
    assert!(guard.is_changing(), "whoever wants to leave the configuration waits for that");
    guard.handle_done(at(5), Ok(Reply::Done));
    let back = Command::Register { current: key, key: Key::NONE, persist: true };
    assert_eq!(sent(&mut guard), Some(back));
    guard.handle_done(at(6), Ok(Reply::Done));
    assert!(!guard.is_changing() && !guard.is_registered());
}

fn at(ms: u64) -> Boottime {
    Boottime::from_nanos(1 + ms * MS)
}

/// A machine of the world.
struct Machine {
    guard: Guard,
    nexus: u64,
    /// It stands still until then, and its commands with it.
    still_until: u64,
    /// A command: executed at, answered at, whether its answer is lost.
    under_way: Option<(Command, u64, u64, bool)>,
    answer: Option<Result<Reply, Failure>>,
    /// It came through a fence step in this life, and was not removed since: what it runs writes.
    writes: bool,
    /// It has been without a configuration since it registered: it may be removed.
    may_be_removed: bool,
}

struct World {
    now: u64,
    rng: ChaCha8Rng,
    target: Target,
    machines: Vec<Machine>,
    members: Vec<usize>,
    number: u64,
    /// All members have left what was before; the goal is set; all are through the step.
    phase: Phase,
    change_at: u64,
    next_nexus: u64,
    stalls: u64,
    barriers: u64,
    lie: Lie,
    /// What should never happen.
    broken: Option<String>,
}

/// Something that the rules exclude.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lie {
    None,
    /// A configuration is left while changes that it ordered are under way.
    LeftTooSoon,
    /// The step ends before the keys of the others are gone.
    EndedTooSoon,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Quorum,
    Fence,
    Resources,
}

impl World {
    fn new(seed: u64, lie: Lie) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let count = 2 + usize::try_from(rng.next_u64() % 3).unwrap();
        let simple = rng.next_u64().is_multiple_of(3);
        let stalls = [0, 20, 200][usize::try_from(rng.next_u64() % 3).unwrap()];
        let mut world = Self {
            now: 0,
            rng,
            target: Target::new(simple),
            machines: Vec::new(),
            members: Vec::new(),
            number: 0,
            phase: Phase::Quorum,
            change_at: 0,
            next_nexus: 0,
            stalls,
            barriers: 0,
            lie,
            broken: None,
        };
        for _ in 0..count {
            let machine = world.machine(world.machines.len());
            world.machines.push(machine);
        }
        world
    }

    fn below(&mut self, n: u64) -> u64 {
        self.rng.next_u64() % n
    }

    fn machine(&mut self, index: usize) -> Machine {
        self.next_nexus += 1;
        let slot = u8::try_from(index + 1).unwrap();
        Machine {
            guard: Guard::new(Config { slot, cluster: cluster(), interval: INTERVAL }, at(self.now)),
            nexus: self.next_nexus,
            still_until: 0,
            under_way: None,
            answer: None,
            writes: false,
            may_be_removed: false,
        }
    }

    /// Another configuration: whoever is not in it has no quorum from now on, which its lease makes sure of.
    fn reconfigure(&mut self, calm: bool) {
        let all: Vec<usize> = (0..self.machines.len()).collect();
        let chosen: Vec<usize> = all.iter().copied().filter(|_| calm || self.below(3) > 0).collect();
        self.members = if chosen.is_empty() { all } else { chosen };
        let now = at(self.now);
        for machine in &mut self.machines {
            machine.guard.set_goal(now, None);
        }
        for (index, machine) in self.machines.iter_mut().enumerate() {
            machine.may_be_removed |= !self.members.contains(&index);
        }
        self.number += 1;
        self.phase = Phase::Quorum;
        self.change_at = self.now + 300 + self.below(3_000);
    }

    fn step(&mut self, calm: bool) {
        self.now += 1;
        if self.now >= self.change_at
            && !(calm && self.phase == Phase::Resources && self.members.len() == self.machines.len())
        {
            self.reconfigure(calm);
        }
        for index in 0..self.machines.len() {
            if !calm && self.below(4_000) == 0 {
                // It dies and comes back, by another path. What it has sent may still come.
                if let Some((command, ..)) = self.machines[index].under_way.take()
                    && self.below(2) == 0
                {
                    let nexus = self.machines[index].nexus;
                    self.target.execute(nexus, &command.cdb(), command.list().as_ref());
                }
                self.machines[index] = self.machine(index);
                if self.members.contains(&index) {
                    self.reconfigure(calm);
                }
            }
            if !calm && self.below(2_000) == 0 {
                self.machines[index].still_until = self.now + self.below(2_000);
            }
            self.turn(index, calm);
        }
        let members = self.members.clone();
        match self.phase {
            Phase::Quorum
                if self.lie == Lie::LeftTooSoon
                    || members.iter().all(|m| !self.machines[*m].guard.is_changing()) =>
            {
                self.phase = Phase::Fence;
                let mask = members.iter().fold(0, |all, m| all | 1 << m);
                let goal = Some(Goal { number: self.number, members: mask });
                members.iter().for_each(|m| self.machines[*m].guard.set_goal(at(self.now), goal));
            }
            Phase::Fence
                if self.lie == Lie::EndedTooSoon
                    || members.iter().all(|m| self.machines[*m].guard.fenced() == Some(self.number)) =>
            {
                self.phase = Phase::Resources;
                self.barriers += 1;
                members.iter().for_each(|m| self.machines[*m].writes = true);
            }
            _ => {}
        }
        if self.phase == Phase::Resources {
            for (index, machine) in self.machines.iter().enumerate() {
                let may = self.target.may_write(machine.nexus);
                let outside = !members.contains(&index);
                if outside && machine.writes && may {
                    self.broken = Some(format!("{} at {}: node {index} writes", self.number, self.now));
                }
            }
        }
    }

    fn turn(&mut self, index: usize, calm: bool) {
        let now = self.now;
        let (stall, lost, latency) =
            (self.below(1_000) < self.stalls && !calm, !calm && self.below(40) == 0, self.below(3));
        let length = self.below(1_500);
        let key = cluster().key(u8::try_from(index + 1).unwrap());
        // Ordered by one that is no member any more.
        let strangers = self.machines.iter().enumerate().filter(|(n, _)| !self.members.contains(n));
        let late = strangers
            .map(|(_, m)| m)
            .any(|m| matches!(m.under_way, Some((Command::Preempt { victim, .. }, ..)) if victim == key));
        let machine = &mut self.machines[index];
        if let Some((command, executed, answered, lost)) = machine.under_way {
            if now == executed {
                let answer = self.target.execute(machine.nexus, &command.cdb(), command.list().as_ref());
                machine.answer = Some(command.reply(cluster(), answer.status, &answer.sense, &answer.data));
            }
            if now >= answered && now >= machine.still_until {
                machine.under_way = None;
                let answer = machine.answer.take().unwrap_or(Err(Failure::Io(5)));
                machine.guard.handle_done(at(now), if lost { Err(Failure::Io(5)) } else { answer });
            }
        }
        if now < machine.still_until {
            return;
        }
        machine.guard.handle_timeout(at(now));
        while let Some(output) = machine.guard.poll_output() {
            match output {
                Output::Send(command) => {
                    let executed = now + 1 + latency + if stall { length } else { 0 };
                    machine.under_way = Some((command, executed, executed + 1, lost));
                }
                Output::Event(Event::Registered) => machine.may_be_removed = late,
                Output::Event(Event::Conflict) => {
                    if !machine.may_be_removed {
                        self.broken = Some(format!("at {now}: node {index} was removed for nothing"));
                    }
                    machine.writes = false;
                }
                Output::Event(_) => {}
            }
        }
    }
}

#[test]
fn nobody_outside_the_configuration_writes_after_the_fence_step_and_nobody_is_removed_for_nothing() {
    let mut barriers = 0;
    for seed in 0..120 {
        let mut world = World::new(seed, Lie::None);
        while world.now < 20_000 {
            world.step(false);
        }
        // When all is well, all are members and can write.
        for _ in 0..10_000 {
            world.step(true);
        }
        assert_eq!((world.phase, world.broken), (Phase::Resources, None), "seed {seed}");
        for machine in &world.machines {
            assert!(world.target.may_write(machine.nexus), "seed {seed}");
        }
        barriers += world.barriers;
    }
    assert!(barriers > 300, "{barriers}: the world does what it is for");
}

#[test]
fn every_lie_is_found() {
    for lie in [Lie::LeftTooSoon, Lie::EndedTooSoon] {
        let found = (0..200).any(|seed| {
            let mut world = World::new(seed, lie);
            while world.now < 20_000 && world.broken.is_none() {
                world.step(false);
            }
            world.broken.is_some()
        });
        assert!(found, "{lie:?} breaks nothing");
    }
}
