//! Virtual quorum disks: sectors that are written and read one at a time, each after a delay of its own; requests that stall, fail,
//! are lost or torn; and disks that some machines, or all, do not reach for a while.

use cmm_proto::{Fitness, QuorumConfig};
use cmm_qdisk::format::Damaged;
use cmm_qdisk::{Area, Block, Failure, Slot};
use holdfast_types::Boottime;

use crate::clock::MS;
use crate::cluster::{Cluster, Event};
use crate::faults::Undo;
use crate::oracle::{LifeIndex, Violation};
use crate::sabotage::Bug;

/// All disks of the run. Slots are indices of machines.
#[derive(Debug, Default)]
pub(crate) struct Disks {
    /// By disk and slot: both copies of the block; none: garbage.
    blocks: Vec<Vec<[Option<Block>; 2]>>,
    /// By disk and machine: how many cuts keep them apart.
    cuts: Vec<Vec<u32>>,
    /// By machine: its heuristics fail.
    unfit: Vec<bool>,
    requests: u64,
}

/// A request of a daemon to a disk.
#[derive(Debug)]
pub(crate) struct Io {
    number: u64,
    block: Option<Block>,
    area: Vec<Slot>,
    fails: bool,
}

/// What can happen to a request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum DiskEvent {
    /// It reaches the disk, if the machine does.
    Issue,
    /// One copy is written.
    Copy(usize),
    /// One slot is read.
    Read(usize),
    /// The daemon hears of it.
    Done,
}

/// Where a request is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request {
    pub(crate) node: usize,
    pub(crate) life: LifeIndex,
    disk: usize,
    number: u64,
}

impl Disks {
    /// Empty blocks on each disk.
    pub(crate) fn new(quorum: &QuorumConfig, nodes: usize) -> Self {
        let blank = vec![[Some(Block::default()); 2]; nodes];
        // A disk with reservations is cut off like the others.
        let paths = if quorum.device.is_some() { quorum.disks().max(1) } else { 0 };
        Self {
            blocks: vec![blank; quorum.disks()],
            cuts: vec![vec![0; nodes]; paths],
            unfit: vec![false; nodes],
            requests: 0,
        }
    }

    /// How many daemons write blocks to.
    pub(crate) fn count(&self) -> usize {
        self.blocks.len()
    }

    /// How many there are, of whichever kind.
    pub(crate) fn paths(&self) -> usize {
        self.cuts.len()
    }

    pub(crate) fn is_cut(&self, disk: usize, node: usize) -> bool {
        self.cuts.get(disk).is_some_and(|cuts| cuts[node] > 0)
    }

    pub(crate) fn heal(&mut self) {
        self.cuts.iter_mut().for_each(|cuts| cuts.fill(0));
    }
}

impl Cluster {
    /// A daemon wants something of a disk.
    pub(crate) fn ask_disk(&mut self, node: usize, disk: usize, block: Option<Block>) {
        let fails = !self.healed && self.chance.chance(self.options.faults.disk_error);
        let slots = self.machines.len();
        let Some(running) = self.machines[node].running.as_mut() else { return };
        assert!(running.io[disk].is_none(), "each disk has at most one request outstanding");
        self.disks.requests += 1;
        let number = self.disks.requests;
        let area = vec![Slot::Damaged(Damaged::Unknown); slots];
        running.io[disk] = Some(Io { number, block, area, fails });
        let request = Request { node, life: running.life, disk, number };
        self.agenda.at(self.now, Event::Disk(request, DiskEvent::Issue));
    }

    pub(crate) fn disk_delay(&mut self) -> u64 {
        let f = self.options.faults;
        let mut delay = 1 + self.chance.exponential(f.disk_latency.max(1));
        if !self.healed && self.chance.chance(f.disk_stall) {
            delay += self.chance.log_uniform(MS, f.disk_stall_max.max(2 * MS));
        }
        delay
    }

    pub(crate) fn disk_event(&mut self, request: Request, event: DiskEvent) -> Result<(), Violation> {
        let Request { node, life, disk, number } = request;
        let running = self.machines[node].running.as_mut().filter(|r| r.life == life);
        let Some(io) = running.and_then(|r| r.io[disk].as_mut()).filter(|io| io.number == number) else {
            return Ok(());
        };
        match event {
            DiskEvent::Issue => {
                let (block, fails) = (io.block, io.fails);
                if self.disks.cuts[disk][node] > 0 {
                    if self.options.faults.disk_cut_errors {
                        io.fails = true;
                        let at = self.now + 1 + self.chance.exponential(5 * MS);
                        self.agenda.at(at, Event::Disk(request, DiskEvent::Done));
                    } else {
                        self.agenda.at(self.now + 20 * MS, Event::Disk(request, DiskEvent::Issue));
                    }
                    return Ok(());
                }
                self.transfer(request, block.is_some(), fails);
            }
            DiskEvent::Copy(copy) => self.disks.blocks[disk][node][copy] = io.block,
            DiskEvent::Read(slot) => {
                let pair = self.disks.blocks[disk][slot];
                let mut read = pair.into_iter().flatten().max_by_key(Block::age);
                if slot == node && self.saboteur.bug == Some(Bug::LostWrites) {
                    read = io.block.or(read);
                }
                if let Some(other) = read.as_mut().filter(|_| slot != node)
                    && self.saboteur.strikes(Bug::ShortDiskLease, 1_000_000)
                {
                    other.lease = other.lease.scale(1, 50);
                }
                io.area[slot] = read.map_or(Slot::Damaged(Damaged::Contents), Slot::Block);
            }
            DiskEvent::Done => return self.disk_done(request),
        }
        Ok(())
    }

    /// A request goes its way: both copies in either order, then all slots, each when it comes to it.
    fn transfer(&mut self, request: Request, writes: bool, fails: bool) {
        let mut at = self.now;
        if writes {
            let lost = !self.healed && self.chance.chance(self.options.faults.disk_lost)
                || self.saboteur.strikes(Bug::LostWrites, 600_000);
            let first = self.chance.index(2);
            for copy in [first, 1 - first] {
                at += self.disk_delay();
                if !(lost || fails && self.chance.chance(500_000)) {
                    self.agenda.at(at, Event::Disk(request, DiskEvent::Copy(copy)));
                }
            }
        }
        let mut end = at;
        for slot in 0..self.machines.len() {
            let when = at + self.disk_delay();
            end = end.max(when);
            self.agenda.at(when, Event::Disk(request, DiskEvent::Read(slot)));
        }
        self.agenda.at(end + 1, Event::Disk(request, DiskEvent::Done));
    }

    fn disk_done(&mut self, request: Request) -> Result<(), Violation> {
        let Request { node, life, disk, .. } = request;
        if self.machines[node].paused.is_some() {
            // The kernel has it; the daemon hears of it when it goes on.
            self.agenda.at(self.now + 5 * MS, Event::Disk(request, DiskEvent::Done));
            return Ok(());
        }
        let Some(io) = self.machines[node].running.as_mut().and_then(|r| r.io[disk].take()) else {
            return Ok(());
        };
        self.trace.mix(&[self.now, node as u64, disk as u64, u64::from(io.fails)]);
        self.timers_first(node)?;
        if !self.lives(node, life) {
            return Ok(());
        }
        let area = Area::of(io.area);
        self.coverage.reach("quorum disk", if io.fails { "error" } else { "done" }, "", "");
        self.tell(node, |node, now| {
            node.handle_disk(now, disk, if io.fails { Err(Failure::Io(5)) } else { Ok(&area) });
        })?;
        if !self.options.faults.heuristics || !self.lives(node, life) {
            return Ok(());
        }
        let heuristics = self.heuristics(node);
        self.tell(node, |node, now| {
            let fitness = heuristics.map_or(Fitness::ALWAYS, |(fit, age)| {
                let proven = Boottime::from_nanos(now.as_nanos().saturating_sub(age));
                Fitness { fit, proven, score: (fit.into(), 1) }
            });
            node.set_fitness(now, fitness, 0);
        })
    }

    /// What heuristics say of a machine in this cycle, if it has any: whether it is fit, and how long ago the runs began that show it.
    fn heuristics(&mut self, node: usize) -> Option<(bool, u64)> {
        if self.healed {
            return None;
        }
        if self.chance.chance(50_000) {
            self.disks.unfit[node] ^= true;
        }
        let age = match self.chance.below(4) {
            0 => self.chance.log_uniform(MS, 5_000 * MS),
            _ => 0,
        };
        let fit = !self.disks.unfit[node];
        self.coverage.reach(
            "heuristics",
            if fit { "fit" } else { "unfit" },
            if age == 0 { "now" } else { "before" },
            "",
        );
        Some((fit, age))
    }

    /// The daemon of a machine is dead: of what it had written last each copy may be on the disk or not, may land within a
    /// lease, or be garbage if the other one is whole.
    pub(crate) fn lose_disk_writes(&mut self, node: usize, ios: Vec<Option<Io>>) {
        for (disk, io) in ios.into_iter().enumerate() {
            let Some(block) = io.and_then(|io| io.block) else { continue };
            match self.chance.below(6) {
                0 => {}
                1 => self.disks.blocks[disk][node][0] = Some(block),
                2 => self.disks.blocks[disk][node] = [Some(block); 2],
                3 => {
                    let lease = self.options.quorum.device.map_or(0, |d| d.lease().as_nanos());
                    let at = self.now + self.chance.below(lease.max(1));
                    self.agenda.at(at, Event::LateWrite { disk, node, block: Box::new(block) });
                }
                n => {
                    let torn = usize::try_from(n - 4).unwrap_or(0);
                    if self.disks.blocks[disk][node][1 - torn].is_some() {
                        self.disks.blocks[disk][node][torn] = None;
                    }
                }
            }
        }
    }

    pub(crate) fn late_write(&mut self, disk: usize, node: usize, block: Block) {
        self.disks.blocks[disk][node] = [Some(block); 2];
    }

    /// Disks are out of reach for some machines.
    pub(crate) fn cut_disks(&mut self) {
        let (disks, n) = (self.disks.paths(), self.machines.len());
        if disks == 0 {
            return;
        }
        if self.disks.count() == 0 && self.faults.chance(200_000) {
            self.trace.line(self.now, None, || "the disk with reservations loses its power".to_owned());
            self.target.lose_power();
        }
        let one_disk = self.faults.index(disks);
        let one_node = self.faults.index(n);
        let (every_disk, of) = (self.faults.chance(500_000), self.faults.below(3));
        let mut cuts = Vec::new();
        for disk in (0..disks).filter(|d| every_disk || *d == one_disk) {
            for node in 0..n {
                let hit = match of {
                    0 => true,
                    1 => node == one_node,
                    _ => self.faults.chance(500_000),
                };
                if hit {
                    cuts.push((disk, node));
                }
            }
        }
        self.trace.line(self.now, None, || format!("disks out of reach: {cuts:?}"));
        for (disk, node) in &cuts {
            self.disks.cuts[*disk][*node] += 1;
        }
        let length = self.faults.log_uniform(MS, self.options.faults.cut_max.max(MS));
        self.agenda.at(self.now + length, Event::Undo(Undo::Disks { cuts }));
    }

    pub(crate) fn mend_disks(&mut self, cuts: &[(usize, usize)]) {
        for (disk, node) in cuts {
            let known = &mut self.disks.cuts[*disk][*node];
            *known = known.saturating_sub(1);
        }
    }
}

impl Cluster {
    /// All disks are out of reach for these machines, or back. For scripts.
    pub fn reach_disks(&mut self, nodes: &[usize], reach: bool) {
        for cuts in &mut self.disks.cuts {
            nodes.iter().for_each(|node| cuts[*node] = u32::from(!reach));
        }
    }

    /// One disk is out of reach for all. For scripts.
    pub fn cut_one_disk(&mut self, disk: usize) {
        self.disks.cuts[disk].fill(1);
    }

    /// The machine whose daemon owns the quorum device's vote.
    #[must_use]
    pub fn device_owner(&self) -> Option<usize> {
        (0..self.len()).find(|n| self.node(*n).is_some_and(|node| node.device_hold(self.local(*n)).is_some()))
    }
}
