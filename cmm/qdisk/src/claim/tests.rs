//! A world of virtual disks and drifting clocks, in which everything that the rules allow happens: at no instant may two
//! nodes count the vote. And the same world with a lie in it: that has to show.

use std::collections::BinaryHeap;

use holdfast_types::{NodeId, RingId};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::*;
use crate::format::Slot;

const MS: u64 = 1_000_000;
const INTERVAL: Span = Span::from_millis(100);
const LEASE: Span = Span::from_millis(400);
const MARGIN: Span = Span::from_millis(10);
const HANDED_ON: Span = Span::from_millis(50);

/// Something that the rules exclude, told to the automaton from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lie {
    None,
    /// Owners' leases look shorter than they are.
    ShortLease,
    /// Nobody sees the ballots of others.
    HiddenBallots,
    /// Nobody sees what others have accepted.
    HiddenValues,
    /// A write that was lost looks as if it were there, to its writer.
    LostUnnoticed,
    /// A node that crashes forgets what it has promised and accepted.
    Amnesia,
    /// A living node is said to be dead.
    FalseDeath,
    /// Reads may be as old as some seconds.
    StaleReads,
}

/// One sector of each copy; none: garbage.
type Pair = [Option<Block>; 2];

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Turn { node: usize, life: u64 },
    Copy { node: usize, life: u64, disk: usize, copy: usize, of: u64 },
    Sector { node: usize, life: u64, disk: usize, slot: usize },
    Done { node: usize, life: u64, disk: usize, error: bool },
    Crash { node: usize },
    Start { node: usize },
    Resume { node: usize },
    Wish { node: usize },
}

struct Io {
    block: Option<Block>,
    of: u64,
    area: Vec<Slot>,
}

struct Node {
    claim: Option<Claim>,
    life: u64,
    ppm: i64,
    paused: bool,
    inbox: Vec<What>,
    io: Vec<Option<Io>>,
    turn_at: u64,
}

struct World {
    now: u64,
    rng: ChaCha8Rng,
    lie: Lie,
    nodes: Vec<Node>,
    disks: Vec<Vec<Pair>>,
    /// Every value that a sector ever had, for stale reads.
    history: Vec<Vec<Vec<(u64, Pair)>>>,
    agenda: BinaryHeap<std::cmp::Reverse<(u64, u64, What)>>,
    number: u64,
    writes: u64,
    faults: Faults,
    healed: bool,
    gained: u64,
    terms: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Faults {
    stall: u64,
    lost: u64,
    error: u64,
    crash: bool,
    pause: bool,
    latency: u64,
}

impl World {
    fn new(seed: u64, lie: Lie) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut below = |n: u64| rng.next_u64() % n;
        let nodes = usize::try_from(2 + below(3)).unwrap();
        let disks = [1, 1, 3, 3, 2, 5][usize::try_from(below(6)).unwrap()];
        let faults = Faults {
            stall: [0, 5, 50, 200][usize::try_from(below(4)).unwrap()],
            lost: if lie == Lie::LostUnnoticed {
                300
            } else {
                [0, 20, 200][usize::try_from(below(3)).unwrap()]
            },
            error: [0, 10][usize::try_from(below(2)).unwrap()],
            crash: below(2) == 0 || lie == Lie::Amnesia,
            pause: below(2) == 0 && lie != Lie::Amnesia,
            latency: [MS / 10, MS, 20 * MS, 60 * MS][usize::try_from(below(4)).unwrap()],
        };
        let blank = vec![[Some(Block::default()); 2]; nodes];
        let mut world = Self {
            now: 0,
            lie,
            nodes: Vec::new(),
            history: vec![vec![Vec::new(); nodes]; disks],
            disks: vec![blank; disks],
            agenda: BinaryHeap::new(),
            number: 0,
            writes: 0,
            faults,
            healed: false,
            gained: 0,
            terms: 0,
            rng,
        };
        for node in 0..nodes {
            // Any two clocks run apart by less than 1 %.
            let ppm = i64::try_from(world.below(9_801)).unwrap() - 4_900;
            let io = (0..disks).map(|_| None).collect();
            let inbox = Vec::new();
            world.nodes.push(Node { claim: None, life: 0, ppm, paused: false, inbox, io, turn_at: u64::MAX });
            world.at(1 + 50 * MS * node as u64, What::Start { node });
            world.at(1, What::Wish { node });
            let at = world.below(3_000 * MS);
            world.at(at, What::Crash { node });
        }
        world
    }

    fn below(&mut self, n: u64) -> u64 {
        self.rng.next_u64() % n
    }

    fn at(&mut self, at: u64, what: What) {
        self.number += 1;
        self.agenda.push(std::cmp::Reverse((at, self.number, what)));
    }

    /// What the clock of a node shows.
    fn local(&self, node: usize) -> Boottime {
        let skew = i128::from(self.now) * i128::from(self.nodes[node].ppm) / 1_000_000;
        Boottime::from_nanos(u64::try_from(i128::from(self.now) + skew).unwrap() + 1_000_000_000)
    }

    fn real(&self, node: usize, local: Boottime) -> u64 {
        let local = i128::from(local.as_nanos().saturating_sub(1_000_000_000));
        u64::try_from(local * 1_000_000 / (1_000_000 + i128::from(self.nodes[node].ppm)) + 1).unwrap()
    }

    fn delay(&mut self) -> u64 {
        let (latency, stall) = (self.faults.latency, self.faults.stall);
        let usual = 1 + self.below(latency);
        if !self.healed && self.below(1_000) < stall { usual + self.below(3_000 * MS) } else { usual }
    }

    /// Runs until `end`; the instant at which two nodes count the vote is an error.
    fn run(&mut self, end: u64) -> Result<(), String> {
        while let Some(std::cmp::Reverse((at, _, what))) = self.agenda.pop() {
            if at > end {
                self.at(at, what);
                break;
            }
            self.now = self.now.max(at);
            self.happen(what)?;
            self.check()?;
        }
        self.now = self.now.max(end);
        Ok(())
    }

    fn check(&self) -> Result<(), String> {
        let holders: Vec<_> = (0..self.nodes.len())
            .filter_map(|n| Some((n + 1, self.nodes[n].claim.as_ref()?.hold(self.local(n))?)))
            .collect();
        if holders.len() > 1 {
            Err(format!("two count the vote at {}: {holders:?}", self.now))
        } else {
            Ok(())
        }
    }

    fn happen(&mut self, what: What) -> Result<(), String> {
        match what {
            What::Turn { node, life } | What::Done { node, life, .. } if self.nodes[node].life != life => {}
            What::Turn { node, .. } | What::Done { node, .. } if self.nodes[node].paused => {
                self.nodes[node].inbox.push(what);
            }
            What::Turn { node, .. } => {
                if self.nodes[node].turn_at <= self.now {
                    self.nodes[node].turn_at = u64::MAX;
                    self.feed(node, |claim, now| claim.handle_timeout(now))?;
                }
            }
            What::Copy { node, life, disk, copy, of } => {
                let io = self.nodes[node].io[disk].as_ref().filter(|io| io.of == of);
                // Of a dead process: it has been put on the agenda with its block when the process died.
                if let Some(block) = io.and_then(|io| io.block).filter(|_| self.nodes[node].life == life) {
                    self.put(disk, node, copy, Some(block));
                }
            }
            What::Sector { node, life, disk, slot } => {
                if self.nodes[node].life == life {
                    let read = self.read(node, disk, slot);
                    if let Some(io) = &mut self.nodes[node].io[disk] {
                        io.area[slot] = read;
                    }
                }
            }
            What::Done { node, disk, error, .. } => {
                let Some(io) = self.nodes[node].io[disk].take() else { return Ok(()) };
                let mut area = Area::of(io.area);
                if let (Lie::LostUnnoticed, Some(block)) = (self.lie, io.block) {
                    let slots = area.slots().map(|(slot, read)| {
                        if usize::from(slot) == node + 1 { Slot::Block(block) } else { *read }
                    });
                    area = Area::of(slots.collect::<Vec<_>>());
                }
                self.feed(node, |claim, now| {
                    claim.handle_done(now, disk, if error { Err(Failure::Io(5)) } else { Ok(&area) });
                })?;
            }
            What::Crash { node } => self.crash(node)?,
            What::Start { node } => {
                if self.nodes[node].claim.is_none() {
                    self.nodes[node].life += 1;
                    let config = Config {
                        slot: u8::try_from(node + 1).unwrap(),
                        life: Incarnation::new(self.nodes[node].life),
                        disks: self.disks.len(),
                        interval: INTERVAL,
                        lease: LEASE,
                        margin: MARGIN,
                        handed_on: HANDED_ON,
                    };
                    self.nodes[node].claim = Some(Claim::new(config, self.local(node)));
                    let wish = self.draw_wish(node);
                    self.feed(node, |claim, now| claim.set_wish(now, wish))?;
                }
            }
            What::Resume { node } => {
                self.nodes[node].paused = false;
                for what in std::mem::take(&mut self.nodes[node].inbox) {
                    self.happen(what)?;
                    self.check()?;
                }
            }
            What::Wish { node } => {
                if !self.healed {
                    let at = self.now + 1 + self.below(2_000 * MS);
                    self.at(at, What::Wish { node });
                    if self.nodes[node].claim.is_some() && !self.nodes[node].paused {
                        let wish = self.draw_wish(node);
                        self.feed(node, |claim, now| claim.set_wish(now, wish))?;
                    }
                    if self.lie == Lie::FalseDeath {
                        self.tell_death(node)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn draw_wish(&mut self, node: usize) -> Wish {
        let all = (1 << self.nodes.len()) - 1;
        if self.healed {
            let ring = RingId { representative: NodeId::new(1), seq: u64::MAX / 2 };
            return Wish { wanted: true, ring, members: all };
        }
        let ring = RingId { representative: NodeId::new(1), seq: 1 + self.now / (300 * MS) };
        let alone = self.below(3) == 0;
        Wish { wanted: self.below(4) > 0, ring, members: if alone { 1 << node } else { all } }
    }

    fn feed(&mut self, node: usize, input: impl FnOnce(&mut Claim, Boottime)) -> Result<(), String> {
        let now = self.local(node);
        let Some(claim) = &mut self.nodes[node].claim else { return Ok(()) };
        input(claim, now);
        while let Some(output) = self.nodes[node].claim.as_mut().and_then(Claim::poll_output) {
            match output {
                Output::Look { disk } => self.issue(node, disk, None),
                Output::Exchange { disk, block } => self.issue(node, disk, Some(block)),
                Output::Event(Event::Gained { term }) => {
                    self.gained += 1;
                    self.terms = self.terms.max(term);
                }
                Output::Event(Event::Contradiction { term }) => {
                    return Err(format!("term {term} was decided twice"));
                }
                Output::Event(_) => {}
            }
        }
        let Some(next) = self.nodes[node].claim.as_ref().and_then(Claim::next_timeout) else { return Ok(()) };
        let at = self.real(node, next).max(self.now + 1);
        if at < self.nodes[node].turn_at {
            self.nodes[node].turn_at = at;
            let life = self.nodes[node].life;
            self.at(at, What::Turn { node, life });
        }
        Ok(())
    }

    fn issue(&mut self, node: usize, disk: usize, block: Option<Block>) {
        assert!(self.nodes[node].io[disk].is_none(), "one request at a time for each disk");
        self.writes += 1;
        let (of, life) = (self.writes, self.nodes[node].life);
        let area = vec![Slot::Damaged(Damaged::Unknown); self.nodes.len()];
        self.nodes[node].io[disk] = Some(Io { block, of, area });
        let faulty = |world: &mut Self, ppm: u64| !world.healed && world.below(1_000) < ppm;
        let error = faulty(self, self.faults.error);
        let mut at = self.now;
        if block.is_some() {
            let lost = faulty(self, self.faults.lost);
            let first = usize::try_from(self.below(2)).unwrap();
            for copy in [first, 1 - first] {
                at += self.delay();
                if !(lost || error && self.below(2) == 0) {
                    self.at(at, What::Copy { node, life, disk, copy, of });
                }
            }
        }
        let mut end = at;
        for slot in 0..self.nodes.len() {
            let when = at + self.delay();
            end = end.max(when);
            self.at(when, What::Sector { node, life, disk, slot });
        }
        self.at(end + 1, What::Done { node, life, disk, error });
    }

    fn put(&mut self, disk: usize, slot: usize, copy: usize, block: Option<Block>) {
        self.history[disk][slot].push((self.now, self.disks[disk][slot]));
        self.disks[disk][slot][copy] = block;
    }

    fn read(&mut self, node: usize, disk: usize, slot: usize) -> Slot {
        let mut pair = self.disks[disk][slot];
        if self.lie == Lie::StaleReads && node != slot && self.below(3) == 0 {
            let past = self.now.saturating_sub(1_500 * MS);
            if let Some((_, old)) = self.history[disk][slot].iter().find(|(until, _)| *until > past) {
                pair = *old;
            }
        }
        let Some(mut block) = pair.into_iter().flatten().max_by_key(Block::age) else {
            return Slot::Damaged(Damaged::Contents);
        };
        if node != slot {
            match self.lie {
                Lie::ShortLease => block.lease = block.lease.scale(1, 20),
                Lie::HiddenBallots => block.ballot = block.accepted,
                Lie::HiddenValues => block.accepted = 0,
                _ => {}
            }
        }
        Slot::Block(block)
    }

    fn crash(&mut self, node: usize) -> Result<(), String> {
        if self.healed {
            return Ok(());
        }
        let again = self.now + 1 + self.below(4_000 * MS);
        self.at(again, What::Crash { node });
        if self.faults.pause && self.below(2) == 0 {
            if !self.nodes[node].paused {
                self.nodes[node].paused = true;
                let at = self.now + 1 + self.below(1_500 * MS);
                self.at(at, What::Resume { node });
            }
            return Ok(());
        }
        if !self.faults.crash || self.nodes[node].claim.take().is_none() {
            return Ok(());
        }
        self.nodes[node].inbox.clear();
        self.nodes[node].turn_at = u64::MAX;
        // Of what was under way, each copy may land or not; one that does not may be left as garbage. At most one lies in
        // front of the head.
        for disk in 0..self.disks.len() {
            let Some(io) = self.nodes[node].io[disk].take() else { continue };
            let Some(block) = io.block else { continue };
            match self.below(6) {
                0 => {}
                1 => self.put(disk, node, 0, Some(block)),
                2 => self.put(disk, node, 1, Some(block)),
                3 => (0..2).for_each(|copy| self.put(disk, node, copy, Some(block))),
                // Torn where the other copy is whole.
                n => {
                    let torn = usize::try_from(n - 4).unwrap();
                    if self.disks[disk][node][1 - torn].is_some() {
                        self.put(disk, node, torn, None);
                    }
                }
            }
        }
        if self.lie == Lie::Amnesia {
            for disk in 0..self.disks.len() {
                let life = Incarnation::new(self.nodes[node].life);
                let blank = Block { life, sequence: 1_000_000, ..Block::default() };
                (0..2).for_each(|copy| self.put(disk, node, copy, Some(blank)));
            }
        }
        if self.below(3) == 0 {
            self.tell_death(node)?;
        }
        self.nodes[node].life += 1; // nothing that is still on the agenda is for the next life
        let at = self.now + 1 + self.below(1_000 * MS);
        self.at(at, What::Start { node });
        Ok(())
    }

    fn tell_death(&mut self, node: usize) -> Result<(), String> {
        let (slot, life) = (u8::try_from(node + 1).unwrap(), Incarnation::new(self.nodes[node].life));
        let ended = Ended { slot, life, alone: self.below(2) == 0 };
        for other in (0..self.nodes.len()).filter(|n| *n != node) {
            if !self.nodes[other].paused {
                self.feed(other, |claim, now| claim.handle_ended(now, ended))?;
                self.check()?;
            }
        }
        Ok(())
    }

    /// Everything works from now on, and all nodes are one configuration.
    fn heal(&mut self) -> Result<(), String> {
        self.healed = true;
        for node in 0..self.nodes.len() {
            self.happen(What::Resume { node })?;
            self.happen(What::Start { node })?;
            let wish = self.draw_wish(node);
            self.feed(node, |claim, now| claim.set_wish(now, wish))?;
        }
        Ok(())
    }
}

#[test]
fn a_started_node_writes_as_soon_as_nothing_of_its_earlier_life_counts() {
    let started = Boottime::from_nanos(77 * MS);
    let config = Config {
        slot: 1,
        life: Incarnation::new(2),
        disks: 1,
        interval: INTERVAL.scale(3, 1),
        lease: LEASE,
        margin: MARGIN,
        handed_on: HANDED_ON,
    };
    let mut claim = Claim::new(config, started);
    let area = Area::of(vec![Slot::Block(Block::default()); 3]);
    let mut now = started;
    let mut looks = Vec::new();
    let wrote = loop {
        claim.handle_timeout(now);
        match claim.poll_output() {
            Some(Output::Look { .. }) => {
                looks.push(now.since(started).as_millis());
                claim.handle_done(now, 0, Ok(&area));
            }
            Some(Output::Exchange { .. }) => break now,
            Some(Output::Event(_)) => {}
            None => now = claim.next_timeout().expect("it goes on").max(now),
        }
    };
    // Intervals of 300 ms, and in between the look at the end of the wait.
    assert_eq!(looks, [0, 300, 410]);
    assert_eq!(wrote, started + LEASE + MARGIN);
}

#[test]
fn a_later_life_is_looked_at_once_an_interval() {
    let mut claim = Claim::new(
        Config {
            slot: 1,
            life: Incarnation::new(2),
            disks: 1,
            interval: INTERVAL,
            lease: LEASE,
            margin: MARGIN,
            handed_on: HANDED_ON,
        },
        Boottime::ZERO,
    );
    let later = Block { life: Incarnation::new(3), ..Block::default() };
    let area = Area::of(vec![Slot::Block(later)]);
    let mut now = Boottime::ZERO;
    let mut looks = 0;
    while now < Boottime::ZERO + Span::from_secs(10) {
        claim.handle_timeout(now);
        match claim.poll_output() {
            Some(Output::Look { .. }) => {
                looks += 1;
                claim.handle_done(now, 0, Ok(&area));
            }
            Some(output) => assert!(matches!(output, Output::Event(_)), "it never writes"),
            None => now = claim.next_timeout().expect("it goes on").max(now),
        }
    }
    // Once more at the end of the wait, which falls between two of them.
    assert!((100..=101).contains(&looks), "{looks}");
}

fn whole_run(seed: u64, lie: Lie) -> Result<World, String> {
    let mut world = World::new(seed, lie);
    world.run(12_000 * MS)?;
    world.heal()?;
    world.run(30_000 * MS)?;
    Ok(world)
}

fn seeds() -> u64 {
    if cfg!(debug_assertions) { 600 } else { 2_000 }
}

#[test]
fn q4_at_no_instant_do_two_count_the_vote() {
    let (mut gained, mut terms) = (0, 0);
    for seed in 0..seeds() {
        let world = whole_run(seed, Lie::None).unwrap_or_else(|seen| panic!("seed {seed}: {seen}"));
        (gained, terms) = (gained + world.gained, terms + world.terms);
        let holders = (0..world.nodes.len())
            .filter(|n| world.nodes[*n].claim.as_ref().is_some_and(|c| c.hold(world.local(*n)).is_some()));
        assert_eq!(holders.count(), 1, "seed {seed}: once all is well somebody has it");
    }
    assert!(gained > 3 * seeds() && terms > 3 * seeds(), "{gained} times gained in {terms} terms");
}

#[test]
#[ignore = "takes two minutes with a release build: the test command runs it so"]
fn q4_soak() {
    for seed in 1_000_000..1_020_000 {
        whole_run(seed, Lie::None).unwrap_or_else(|seen| panic!("seed {seed}: {seen}"));
    }
}

#[test]
fn every_lie_is_found() {
    let lies = [
        Lie::ShortLease,
        Lie::HiddenBallots,
        Lie::HiddenValues,
        Lie::LostUnnoticed,
        Lie::Amnesia,
        Lie::FalseDeath,
        Lie::StaleReads,
    ];
    for lie in lies {
        let found = (0..seeds()).find_map(|seed| whole_run(seed, lie).err().map(|seen| (seed, seen)));
        assert!(found.is_some(), "{lie:?} goes unnoticed");
        println!("{lie:?}: {found:?}");
    }
}
