//! Life and death of a machine's daemon: starts, crashes, pauses, leaves; what survives on its disk; and what its
//! guardian or a fence agent says about it.

use std::collections::BTreeMap;
use std::rc::Rc;

use cmm_proto::{Destination, GaspKind, Node, NodeConfig, Output, QuorumConfig, QuorumView, Record, Request};
use holdfast_types::{BootId, Incarnation, NodeId, Span, Votes};

use crate::clients::Clients;
use crate::clock::{Clock, Instant, MS, SEC};
use crate::cluster::{Accepted, CLUSTER_NAME, Cluster, Event, Machine, Running};
use crate::options::Options;
use crate::oracle::{Life, LifeIndex, Violation, What};
use crate::random::Random;
use crate::sabotage::Bug;

/// How a daemon dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// Without a word.
    Silent,
    /// Its guardian tells the peers, kills what is left, and sends the last word.
    Gasp,
    /// A unit died: the daemon gives up quorum, the guardian tells the peers, and only then everything is killed.
    UnitDied,
    /// A fence agent kills the machine and says so.
    Fenced,
}

/// What the guardian is given.
pub(crate) fn seal_gasps(node: &mut Node) -> [Rc<[u8]>; 3] {
    let mut gasp = |kind, why| Rc::<[u8]>::from(node.seal_gasp(kind, why));
    [
        gasp(GaspKind::CmmdDied, "cmmd died"),
        gasp(GaspKind::UnitDied, "unit rgmd died"),
        gasp(GaspKind::LastWord, "all processes are gone"),
    ]
}

impl Machine {
    pub(crate) fn new(id: NodeId, options: &Options, chance: &mut Random) -> Self {
        let mut machine = Self {
            id,
            clock: Clock::new(0, 0, 0),
            boot: BootId::default(),
            incarnation: 0,
            durable: 0,
            promised: Span::ZERO,
            tables: None,
            expected_seen: Votes::new(0),
            table: options.table(),
            file: options.settings(),
            key_file: 0,
            running: None,
            paused: None,
            inbox: Vec::new(),
            inbox_bytes: 0,
            refuses: false,
            nexus: id.get().into(),
            held: false,
        };
        machine.boot(0, options, chance);
        machine
    }

    /// A new boot: another boot id, and a clock that begins anew.
    fn boot(&mut self, now: Instant, options: &Options, chance: &mut Random) {
        let ppm_max = u64::from(options.drift_ppm_max);
        let drift = i32::try_from(chance.between(0, 2 * ppm_max)).unwrap_or(0);
        let up = chance.log_uniform(SEC, 1_000_000 * SEC);
        self.clock = Clock::new(now, up, drift - i32::try_from(ppm_max).unwrap_or(0));
        chance.fill(&mut self.boot.0);
    }
}

impl Cluster {
    /// Starts every machine's daemon, each within `spread` from now.
    pub fn start_all(&mut self, spread: u64) {
        for node in 0..self.machines.len() {
            let at = self.now + self.chance.below(spread + 1);
            self.agenda.at(at, Event::Restart { node });
        }
    }

    /// Starts the daemon of machine `n` if it does not run.
    ///
    /// # Errors
    /// The first invariant that does not hold.
    pub fn start(&mut self, n: usize) -> Result<(), Violation> {
        if self.machines[n].running.is_some() {
            return Ok(());
        }
        self.choose_path(n);
        let now = self.local(n);
        let life = self.oracle.history.lives.len();
        let machine = &mut self.machines[n];
        machine.incarnation += 1;
        machine.paused = None;
        let config = NodeConfig {
            cluster_name: CLUSTER_NAME.to_owned(),
            me: machine.id,
            nodes: machine.table.nodes.clone(),
            tables: machine.tables.clone(),
            key: self.keys[machine.key_file].clone(),
            incarnation: Incarnation::new(machine.incarnation),
            boot_id: machine.boot,
            ring_seq_reserved: machine.durable,
            promised: machine.promised,
            settings: machine.file,
            quorum: QuorumConfig { device: self.options.device_of(&machine.table), ..self.options.quorum },
            tie_break: machine.table.tie_break.clone(),
            expected_seen: self.options.scaling.track.then_some(machine.expected_seen),
            links: self.options.links.clone(),
        };
        let mut node = Node::new(config, now).expect("the simulator draws configurations that can run");
        let gasps = seal_gasps(&mut node);
        let size = self.options.nodes.len();
        machine.running = Some(Running {
            life,
            node,
            deadline: None,
            wake_at: Instant::MAX,
            spins: (0, 0),
            writes: Vec::new(),
            io: (0..self.disks.count()).map(|_| None).collect(),
            sent: None,
            clients: Clients::default(),
            gasps,
            participant: false,
            leaving: false,
            heard: vec![None; size],
            heard_shared: None,
            doom: None,
            staged: None,
            lease: machine.file.timers.lease,
            links: self.options.links.all(),
            lags: false,
            unit_died: false,
            state: 0,
            step: None,
        });
        self.oracle.history.lives.push(Life {
            node: n,
            id: machine.id,
            incarnation: Incarnation::new(machine.incarnation),
            boot: machine.boot,
            clock: machine.clock,
            began: self.now,
            ended: None,
            ring: None,
            transitional: None,
            synced: None,
            settled: None,
            view: QuorumView::default(),
            next: None,
            paused: false,
            echoed: vec![None; size],
            granted: BTreeMap::new(),
            hold: None,
            device_echoed: None,
            gave_up: false,
            observer_joined: None,
            segment: crate::oracle::Segment::default(),
            last_message: None,
        });
        let (id, incarnation) = (machine.id, machine.incarnation);
        self.trace.line(self.now, Some(id.get()), || format!("starts, incarnation {incarnation}"));
        self.observe(life, What::Began)?;
        self.drain(n)?;
        self.end_turn(n)?;
        if self.load.chance(self.options.load.participant) {
            self.participate(n, true)?;
        }
        Ok(())
    }

    /// The daemon of machine `n` dies now.
    ///
    /// # Errors
    /// The first invariant that does not hold.
    pub fn crash(&mut self, n: usize, death: Death) -> Result<(), Violation> {
        if death == Death::UnitDied {
            return self.unit_died(n);
        }
        let machine = &mut self.machines[n];
        let Some(running) = machine.running.take() else { return Ok(()) };
        machine.paused = None;
        machine.inbox.clear();
        machine.inbox_bytes = 0;
        machine.refuses = false;
        // Of the writes under way a first part may have reached the disk, though nobody was told.
        let done = self.chance.index(running.writes.len() + 1);
        for record in &running.writes[..done] {
            machine.durable = machine.durable.max(record.ring_seq_reserved);
            machine.promised = record.promised;
            machine.tables.clone_from(&record.tables);
            machine.expected_seen = record.expected_seen.unwrap_or_default();
        }
        self.lose_disk_writes(n, running.io);
        self.lose_command(n, running.sent);
        self.lose_connections(running.life);
        let machine = &mut self.machines[n];
        if self.saboteur.strikes(Bug::ForgetRecord, 1_000_000) {
            machine.durable = 0;
        }
        if self.saboteur.strikes(Bug::ForgetPromise, 1_000_000) {
            machine.promised = Span::ZERO;
        }
        if self.saboteur.strikes(Bug::ForgetTables, 1_000_000) {
            machine.tables = None;
        }
        let id = machine.id;
        if let Some(tables) = machine.tables.as_mut().filter(|t| t.table.scale.tie.is_some())
            && self.saboteur.strikes(Bug::OwnTie, 1_000_000)
        {
            tables.table.scale.tie = Some(id);
        }
        self.saboteur.forget(n);
        let id = machine.id;
        self.counters.deaths += 1;
        self.trace.mix(&[self.now, n as u64, 0xdead]);
        self.trace.line(self.now, Some(id.get()), || format!("dies ({death:?})"));
        self.observe(running.life, What::Ended)?;
        let life = running.life;
        match death {
            Death::Silent | Death::UnitDied => {}
            Death::Gasp => {
                let [cmmd, unit, last] = running.gasps;
                let packet = if running.unit_died { unit } else { cmmd };
                self.transmit(n, life, Destination::AllPeers, self.options.links.all(), &packet);
                let mut at = self.now + self.chance.exponential(20 * MS);
                for _ in 0..3 {
                    let packet = Rc::clone(&last);
                    self.agenda.at(at, Event::Guardian { node: n, life, packet, last_word: true });
                    at += 5 * MS;
                }
            }
            Death::Fenced => {
                let at = self.now + self.chance.exponential(self.options.timers.token.as_nanos() / 2);
                self.agenda.at(at, Event::FenceReport { node: n, life, tries: 0 });
            }
        }
        Ok(())
    }

    fn unit_died(&mut self, n: usize) -> Result<(), Violation> {
        let now = self.local(n);
        let machine = &mut self.machines[n];
        let Some(running) = machine.running.as_mut().filter(|r| machine.paused.is_none() && !r.unit_died)
        else {
            return Ok(());
        };
        let (life, id) = (running.life, machine.id);
        running.unit_died = true;
        running.node.resign(now, "unit rgmd died");
        let gasp = Rc::clone(&running.gasps[1]);
        self.trace.line(self.now, Some(id.get()), || "a unit died".to_owned());
        self.oracle.history.lives[life].gave_up = true;
        self.drain(n)?;
        self.end_turn(n)?;
        self.transmit(n, life, Destination::AllPeers, self.options.links.all(), &gasp);
        let at = self.now + self.chance.exponential(20 * MS);
        self.agenda.at(at, Event::Die { node: n, life });
        Ok(())
    }

    /// The end of a node whose unit died: nothing of it is left.
    pub(crate) fn die(&mut self, n: usize) -> Result<(), Violation> {
        self.crash(n, Death::Gasp)?;
        // When faults have stopped nobody stays down.
        if !self.options.scripted || self.healed {
            let delay = self.restart_delay();
            self.restart_after(n, delay, false);
        }
        Ok(())
    }

    /// Starts machine `n` again after `delay`, with a new boot of the machine or only of the daemon.
    pub fn restart_after(&mut self, n: usize, delay: u64, reboot: bool) {
        // A kernel that is there refuses packets for a daemon that is not; one that crashed says nothing.
        self.machines[n].refuses = !reboot;
        if reboot {
            // A crash of the machine: whatever ran there is gone, and the new boot id says so.
            let (id, now) = (self.machines[n].id, self.now);
            let machine = &mut self.machines[n];
            assert!(machine.running.is_none(), "a machine reboots when its daemon is dead");
            machine.boot(now, &self.options, &mut self.chance);
            let dead = self.oracle.history.lives.iter().filter(|l| l.id == id);
            let dead: Vec<_> = dead.map(|l| (l.id, l.incarnation)).collect();
            self.oracle.history.fenced.extend(dead);
        }
        self.agenda.at(self.now + delay, Event::Restart { node: n });
    }

    pub(crate) fn guardian(
        &mut self,
        n: usize,
        life: LifeIndex,
        packet: Rc<[u8]>,
        last_word: bool,
    ) -> Result<(), Violation> {
        if last_word {
            let dead = self.incarnation_of(life);
            self.oracle.history.fenced.insert(dead);
        }
        self.transmit(n, life, Destination::AllPeers, self.options.links.all(), &packet);
        Ok(())
    }

    /// The fence agent is back: a node that runs tells all others.
    pub(crate) fn fence_report(&mut self, n: usize, life: LifeIndex, tries: u32) -> Result<(), Violation> {
        let (node, incarnation) = self.incarnation_of(life);
        if self.oracle.history.lives[life].ended.is_some() {
            self.oracle.history.fenced.insert((node, incarnation));
        }
        let reporter = self.faults.index(self.machines.len());
        let machine = &self.machines[reporter];
        let able = machine.running.is_some() && machine.paused.is_none() && machine.id != node;
        let request =
            Request::ConfirmDeath { node, incarnation: Some(incarnation), why: "fenced by the simulator" };
        let accepted = able && self.submit(reporter, request)? == Accepted(true);
        if !accepted && tries < 20 {
            let at = self.now + 50 * MS;
            self.agenda.at(at, Event::FenceReport { node: n, life, tries: tries + 1 });
        }
        Ok(())
    }

    /// Machine `n` stands still for `length`: its inputs queue.
    ///
    /// # Errors
    /// The first invariant that does not hold.
    pub fn pause(&mut self, n: usize, length: u64) {
        let machine = &mut self.machines[n];
        if machine.paused.is_some() {
            return;
        }
        let Some(running) = &machine.running else { return };
        machine.paused = Some(self.now);
        self.oracle.history.lives[running.life].paused = true;
        self.counters.pauses += 1;
        let id = machine.id;
        self.trace.line(self.now, Some(id.get()), || format!("stands still for {} ms", length / MS));
        self.agenda.at(self.now + length, Event::Resume { node: n, since: self.now });
    }

    /// Machine `n` goes on: timers first, then what has queued up.
    pub(crate) fn resume(&mut self, n: usize) -> Result<(), Violation> {
        let machine = &mut self.machines[n];
        let (Some(since), Some(running)) = (machine.paused.take(), &machine.running) else { return Ok(()) };
        let (life, id) = (running.life, machine.id);
        let inbox = std::mem::take(&mut machine.inbox);
        machine.inbox_bytes = 0;
        self.trace
            .line(self.now, Some(id.get()), || format!("goes on; {} packets have queued up", inbox.len()));
        if !self.saboteur.strikes(Bug::ReadBeforeTimers, 1_000_000) {
            self.timeout(n)?;
        }
        if self.lives(n, life) {
            self.oracle.history.lives[life].paused = false;
            self.observe(life, What::Resumed(self.now - since))?;
        }
        for flight in &inbox {
            if !self.lives(n, life) {
                return Ok(());
            }
            self.read(flight)?;
        }
        self.end_turn(n)
    }

    /// Machine `n` leaves in order.
    ///
    /// # Errors
    /// The first invariant that does not hold.
    pub fn leave(&mut self, n: usize) -> Result<(), Violation> {
        let machine = &mut self.machines[n];
        let Some(running) = machine.running.as_mut().filter(|r| !r.leaving && machine.paused.is_none())
        else {
            return Ok(());
        };
        running.leaving = true;
        let life = running.life;
        let id = machine.id;
        self.trace.line(self.now, Some(id.get()), || "leaves".to_owned());
        self.oracle.history.lives[life].gave_up = true;
        let accepted = self.submit(n, Request::Leave)?;
        if accepted == Accepted(false) {
            self.oracle.history.lives[life].gave_up = false;
            if let Some(running) = self.machines[n].running.as_mut() {
                running.leaving = false;
            }
            return Ok(());
        }
        let limit = self.options.timers.token.as_nanos() * 20 + 60 * SEC;
        self.agenda.at(self.now + limit, Event::LeaveLimit { node: n, life });
        Ok(())
    }

    /// Userland of machine `n` takes part in steps from now on, or no longer.
    pub(crate) fn participate(&mut self, n: usize, on: bool) -> Result<(), Violation> {
        let Some(running) = self.machines[n].running.as_mut() else { return Ok(()) };
        let life = running.life;
        running.participant = on;
        self.observe(life, What::Participant(on))?;
        if self.submit(n, Request::StepParticipant(on))? == Accepted(false)
            && let Some(running) = self.machines[n].running.as_mut()
        {
            running.participant = !on;
            self.observe(life, What::Participant(!on))?;
        }
        Ok(())
    }

    /// The daemon has a record to write: it is durable after a while, in order.
    pub(crate) fn persist(&mut self, n: usize, record: Record) {
        let faults = &self.options.faults;
        let mut delay = self.chance.exponential(faults.persist_mean.max(1));
        if !self.healed && self.chance.chance(faults.persist_stall) {
            delay += self.chance.log_uniform(100 * MS, 10 * SEC);
        }
        let Some(running) = self.machines[n].running.as_mut() else { return };
        running.writes.push(record);
        let life = running.life;
        self.agenda.at(self.now + delay, Event::Durable { node: n, life });
    }

    /// The daemon says that it must go down: its guardian sees to it.
    pub(crate) fn take_down(&mut self, n: usize, why: &str) -> Result<(), Violation> {
        let id = self.machines[n].id;
        self.trace.line(self.now, Some(id.get()), || format!("must go down: {why}"));
        if !self.kills.contains(&id) {
            return Err(Violation {
                kind: crate::oracle::ViolationKind::Safety,
                name: "F4",
                claim: "no node takes itself down without a cause",
                seen: format!("node {id}: {why}"),
                at: self.now,
            });
        }
        self.crash(n, Death::Gasp)?;
        if !self.options.scripted {
            let delay = self.restart_delay();
            self.restart_after(n, delay, false);
        }
        Ok(())
    }

    /// The leave is out: the daemon exits, and is started again some time later (by the script, if there is one).
    pub(crate) fn left(&mut self, n: usize) -> Result<(), Violation> {
        let Some(running) = self.machines[n].running.as_ref() else { return Ok(()) };
        self.observe(running.life, What::Left)?;
        self.crash(n, Death::Silent)?;
        if !self.options.scripted {
            let delay = self.restart_delay();
            self.restart_after(n, delay, false);
        }
        Ok(())
    }

    /// How long until a dead daemon is started again.
    pub(crate) fn restart_delay(&mut self) -> u64 {
        if self.healed {
            10 * MS
        } else {
            self.faults.log_uniform(MS, self.options.faults.restart_max.max(MS))
        }
    }

    pub(crate) fn belated(&mut self, n: usize, delay: u64, output: Output) {
        let Some(running) = self.machines[n].running.as_ref() else { return };
        let event = Event::Belated { node: n, life: running.life, output: Box::new(output) };
        self.agenda.at(self.now + delay, event);
    }
}
