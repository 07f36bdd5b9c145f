//! The cluster under test: machines with their clocks and daemons, the network between them, and the loop that takes
//! one event after another. Every output of every node passes the oracle.

use std::rc::Rc;

use cmm_proto::wire::ClusterKey;
use cmm_proto::{
    Destination, Hint, Node, NodeTable, Output, Record, Request, Settings, StepNotice, StepPhase, Tables,
};
use holdfast_types::{Boottime, Incarnation, LinkSet, NodeId, RingId, Span, Votes};

use cmm_scsi::target::{Nexus, Target};

use crate::agenda::Agenda;
use crate::clients::Clients;
use crate::clock::{Clock, Instant, MS};
use crate::coverage::{self, Coverage, Input};
use crate::disks::{self, DiskEvent, Disks, Io};
use crate::faults::{StrikeId, Undo};
use crate::network::{BUFFER_MAX, Damage, Flight, Heard, Network};
use crate::options::Options;
use crate::oracle::{Life, LifeIndex, Oracle, Violation, ViolationKind, What};
use crate::qnetd::{Qnetd, ServerEvent};
use crate::random::{Random, Stream};
use crate::sabotage::{Bug, Saboteur};
use crate::sniffer::{Content, Sniffer};
use crate::target::{self, Sent, TargetEvent};
use crate::trace::{Mode, Trace};

/// Name of the simulated cluster.
pub const CLUSTER_NAME: &str = "simulated";

/// All machines and everything between them.
pub struct Cluster {
    /// What this run is like.
    pub options: Options,
    /// Real time.
    pub now: Instant,
    /// Sees everything.
    pub oracle: Oracle,
    /// Between the machines.
    pub network: Network,
    /// What happened.
    pub trace: Trace,
    /// Counters of the run.
    pub counters: Counters,
    /// Places reached.
    pub coverage: Coverage,
    pub(crate) machines: Vec<Machine>,
    pub(crate) agenda: Agenda<Event>,
    pub(crate) disks: Disks,
    /// The disk with reservations, if that is the quorum device; and how many commands were sent to it.
    pub(crate) target: Target,
    pub(crate) scsi_commands: u64,
    pub(crate) qnetd: Qnetd,
    pub(crate) faults: Random,
    pub(crate) load: Random,
    pub(crate) chance: Random,
    /// The keys of this run, in the order in which an operator brings them.
    pub(crate) keys: Vec<ClusterKey>,
    pub(crate) saboteur: Saboteur,
    /// Faults have stopped.
    pub(crate) healed: bool,
    /// Changes of votes that daemons have taken from operators and that are not put back.
    pub(crate) votes_asked: u32,
    /// What has struck when.
    pub struck: Vec<(Instant, StrikeId)>,
    /// Nodes that somebody has asked to kill.
    pub(crate) kills: Vec<NodeId>,
    sniffer: Sniffer,
    packet: Vec<u8>,
}

/// What a run did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Inputs handled.
    pub events: u64,
    /// Those of them after the faults had stopped.
    pub quiet_events: u64,
    /// Regular configurations installed.
    pub installs: u64,
    /// Deliveries to clients.
    pub deliveries: u64,
    /// Messages accepted.
    pub submitted: u64,
    /// Requests refused with "try again".
    pub try_again: u64,
    /// Crashes, leaves and kills.
    pub deaths: u64,
    /// Pauses.
    pub pauses: u64,
    /// Losses of quorum told to clients.
    pub quorum_lost: u64,
}

/// One machine.
pub(crate) struct Machine {
    pub(crate) id: NodeId,
    pub(crate) clock: Clock,
    pub(crate) boot: holdfast_types::BootId,
    pub(crate) incarnation: u64,
    /// What its disk holds.
    pub(crate) durable: u64,
    /// The longest promise that its disk knows of.
    pub(crate) promised: Span,
    /// The node tables that its disk holds.
    pub(crate) tables: Option<Tables>,
    /// The most expected votes that its disk knows of.
    pub(crate) expected_seen: Votes,
    /// What its configuration file says.
    pub(crate) table: NodeTable,
    pub(crate) file: Settings,
    /// Which of the run's keys its key file holds.
    pub(crate) key_file: usize,
    /// The daemon, if it runs.
    pub(crate) running: Option<Running>,
    /// Since when it stands still.
    pub(crate) paused: Option<Instant>,
    pub(crate) inbox: Vec<Flight>,
    pub(crate) inbox_bytes: usize,
    /// Its path to the disk with reservations, and whether it held the reservation once.
    pub(crate) nexus: Nexus,
    pub(crate) held: bool,
    /// While its daemon is dead it is up itself: its kernel refuses packets for the daemon.
    pub(crate) refuses: bool,
}

/// A running daemon.
pub(crate) struct Running {
    pub(crate) life: LifeIndex,
    pub(crate) node: Node,
    /// `next_timeout` at the end of the last turn.
    pub(crate) deadline: Option<Boottime>,
    pub(crate) wake_at: Instant,
    /// A millisecond and the turns in it that had no input: many are a loop that spins.
    pub(crate) spins: (u64, u32),
    pub(crate) writes: Vec<Record>,
    /// Requests to quorum disks, by disk.
    pub(crate) io: Vec<Option<Io>>,
    /// The command that is outstanding at the disk with reservations.
    pub(crate) sent: Option<Sent>,
    pub(crate) clients: Clients,
    pub(crate) gasps: [Rc<[u8]>; 3],
    pub(crate) participant: bool,
    pub(crate) leaving: bool,
    /// For each node, the life and own send time of the newest packet read from it.
    pub(crate) heard: Vec<Heard>,
    /// The same, for the packets that are sent until the next one is read.
    pub(crate) heard_shared: Option<Rc<[Heard]>>,
    /// The daemon dies after so many more outputs.
    pub(crate) doom: Option<u32>,
    /// What it was handed in last, and the lease that is configured there by now.
    pub(crate) staged: Option<Settings>,
    pub(crate) lease: Span,
    /// The links that it listens on.
    pub(crate) links: LinkSet,
    /// Its clients do not keep up.
    pub(crate) lags: bool,
    /// A unit died: the daemon is about to be killed.
    pub(crate) unit_died: bool,
    /// State of the ring when the last input came.
    pub(crate) state: usize,
    /// The last notice of a step.
    pub(crate) step: Option<(&'static str, StepPhase)>,
}

/// What can happen.
#[derive(Debug)]
pub(crate) enum Event {
    Arrive(Flight),
    Durable {
        node: usize,
        life: LifeIndex,
    },
    Key {
        node: usize,
        life: LifeIndex,
    },
    /// The daemon's configuration file is read.
    Reread {
        node: usize,
        life: LifeIndex,
    },
    Resume {
        node: usize,
        since: Instant,
    },
    Restart {
        node: usize,
    },
    /// The guardian kills what is left of a node whose unit died.
    Die {
        node: usize,
        life: LifeIndex,
    },
    Disk(disks::Request, DiskEvent),
    /// A command to the disk with reservations.
    Scsi(target::Request, TargetEvent),
    /// A command of a dead daemon is executed all the same.
    LateCommand {
        nexus: Nexus,
        command: cmm_scsi::Command,
    },
    /// What a dead daemon had written lands after all.
    LateWrite {
        disk: usize,
        node: usize,
        block: Box<cmm_qdisk::Block>,
    },
    /// Something happens on this connection to the quorum server.
    Server(u64, ServerEvent),
    Strike(StrikeId, Box<Random>),
    Undo(Undo),
    Connect {
        node: usize,
        life: LifeIndex,
    },
    Multicast {
        node: usize,
        life: LifeIndex,
    },
    Churn {
        node: usize,
        life: LifeIndex,
    },
    /// A daemon tells another one how that one's life before ended.
    Testify {
        node: usize,
        life: LifeIndex,
        about: NodeId,
    },
    StepDone {
        node: usize,
        life: LifeIndex,
        notice: StepNotice,
    },
    /// The guardian of a dead node sends a packet; the last word confirms the death.
    /// A packet to machine `of` came back: nobody listens at the port.
    Refused {
        node: usize,
        of: usize,
    },
    Guardian {
        node: usize,
        life: LifeIndex,
        packet: Rc<[u8]>,
        last_word: bool,
    },
    FenceReport {
        node: usize,
        life: LifeIndex,
        tries: u32,
    },
    LeaveLimit {
        node: usize,
        life: LifeIndex,
    },
    Belated {
        node: usize,
        life: LifeIndex,
        output: Box<Output>,
    },
}

impl Cluster {
    /// A cluster whose machines are all down.
    #[must_use]
    pub fn new(options: Options, mode: Mode, bug: Option<Bug>) -> Self {
        let seed = options.seed;
        let mut chance = Random::new(seed, Stream::Machines);
        let machines = options.nodes.iter().map(|n| Machine::new(n.id, &options, &mut chance)).collect();
        let lateness_max = lateness_max(&options);
        let all = options.faults.kind_loss.is_some()
            || mode != Mode::Off
            || Coverage::opens_packets(seed) && !options.scripted;
        let keys = crate::keys::of_run(seed);
        let sniffer = Sniffer::new(&keys, options.nodes.iter().map(|n| n.id), all);
        Self {
            now: 0,
            oracle: Oracle::new(&options, lateness_max),
            network: Network::new(
                seed,
                options.nodes.len(),
                options.links.links.len(),
                options.network,
                options.faults,
            ),
            trace: Trace::new(mode),
            counters: Counters::default(),
            coverage: Coverage::default(),
            machines,
            agenda: Agenda::default(),
            disks: Disks::new(&options.quorum, options.nodes.len()),
            target: Target::new(seed.is_multiple_of(3)),
            scsi_commands: 0,
            qnetd: Qnetd::new(options.quorum.server().is_some(), options.nodes.len()),
            faults: Random::new(seed, Stream::Faults),
            load: Random::new(seed, Stream::Load),
            chance,
            keys,
            saboteur: Saboteur::new(seed, bug),
            healed: false,
            votes_asked: 0,
            struck: Vec::new(),
            kills: Vec::new(),
            sniffer,
            packet: Vec::new(),
            options,
        }
    }

    /// How many machines there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.machines.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.machines.is_empty()
    }

    /// The daemon on a machine, if it runs.
    #[must_use]
    pub fn node(&self, n: usize) -> Option<&Node> {
        self.machines[n].running.as_ref().map(|r| &r.node)
    }

    /// The ring that machine `n` has installed last, and its members; none while its daemon is down or alone at start.
    #[must_use]
    pub fn ring(&self, n: usize) -> Option<(RingId, &[NodeId])> {
        let ring = self.life(n)?.ring?;
        Some((ring, &self.oracle.history.rings[&ring].members))
    }

    /// Whether clients of machine `n` believe that they may act.
    #[must_use]
    pub fn quorate(&self, n: usize) -> bool {
        self.life(n).is_some_and(Life::believes)
    }

    /// Whether exactly these machines are one configuration, synchronised, and have told their clients what it means
    /// for quorum.
    #[must_use]
    pub fn together(&self, machines: &[usize]) -> bool {
        let ids: Vec<NodeId> = machines.iter().map(|n| self.machines[*n].id).collect();
        machines.iter().all(|n| {
            let ring = self.ring(*n).filter(|(_, members)| *members == ids);
            let life = self.life(*n);
            ring.is_some_and(|(ring, _)| life.is_some_and(|l| l.settled == Some(ring) && l.view.ring == ring))
        })
    }

    fn life(&self, n: usize) -> Option<&Life> {
        self.oracle.history.running[n].map(|life| &self.oracle.history.lives[life])
    }

    /// The daemon of machine `n` dies after so many more outputs.
    pub fn crash_after_outputs(&mut self, n: usize, outputs: u32) {
        if let Some(running) = self.machines[n].running.as_mut() {
            running.doom = Some(outputs);
        }
    }

    /// Lets events happen until `until`.
    ///
    /// # Errors
    /// The first invariant that does not hold.
    pub fn run_until(&mut self, until: Instant) -> Result<(), Violation> {
        while self.step(until)? {}
        Ok(())
    }

    /// Lets events happen until `done` holds; false if it does not by `deadline`.
    ///
    /// # Errors
    /// The first invariant that does not hold.
    pub fn run_while_not(
        &mut self,
        deadline: Instant,
        mut done: impl FnMut(&Self) -> bool,
    ) -> Result<bool, Violation> {
        loop {
            if done(self) {
                return Ok(true);
            }
            if !self.step(deadline)? {
                return Ok(false);
            }
        }
    }

    /// Lets the next event happen, if it is due by `until`; else moves time there and says false.
    ///
    /// # Errors
    /// The first invariant that does not hold.
    pub fn step(&mut self, until: Instant) -> Result<bool, Violation> {
        let awake = self.machines.iter().enumerate().filter(|(_, m)| m.paused.is_none());
        let wakes = awake.filter_map(|(n, m)| m.running.as_ref().map(|r| (r.wake_at, n)));
        let wake = wakes.min();
        let event = self.agenda.next_at();
        let (at, node) = match (wake, event) {
            (Some((at, node)), Some(event)) if at < event => (at, Some(node)),
            (_, Some(event)) => (event, None),
            (Some((at, node)), None) => (at, Some(node)),
            (None, None) => (Instant::MAX, None),
        };
        if at > until {
            self.now = self.now.max(until);
            return Ok(false);
        }
        self.now = self.now.max(at);
        self.counters.events += 1;
        self.counters.quiet_events += u64::from(self.healed);
        match node {
            Some(node) => self.wake(node)?,
            None => match self.agenda.pop() {
                Some(event) => self.happen(event)?,
                None => return Ok(false),
            },
        }
        Ok(true)
    }

    fn happen(&mut self, event: Event) -> Result<(), Violation> {
        match event {
            Event::Arrive(flight) => self.arrive(flight),
            Event::Durable { node, life } if self.lives(node, life) => self.durable(node),
            Event::Reread { node, life } if self.lives(node, life) => self.reread(node),
            Event::Key { node, life } if self.lives(node, life) => self.key_loaded(node),
            Event::Resume { node, since } if self.machines[node].paused == Some(since) => self.resume(node),
            Event::Restart { node } => self.start(node),
            Event::Refused { node, of } => {
                let about = self.machines[of].id;
                self.coverage.reach("fault", "refused packet", "", "");
                self.tell(node, |node, now| node.hint(now, about, Hint::Refused))
            }
            Event::Die { node, life } if self.lives(node, life) => self.die(node),
            Event::Disk(request, event) => self.disk_event(request, event),
            Event::Scsi(request, event) => self.scsi_event(request, event),
            Event::LateCommand { nexus, command } => {
                self.late_command(nexus, command);
                Ok(())
            }
            Event::Server(conn, event) => self.server_event(conn, event),
            Event::LateWrite { disk, node, block } => {
                self.late_write(disk, node, *block);
                Ok(())
            }
            Event::Strike(strike, rng) => self.strike(strike, *rng),
            Event::Undo(undo) => self.undo(undo),
            Event::Connect { node, life } if self.lives(node, life) => self.connect(node),
            Event::Multicast { node, life } if self.lives(node, life) => self.multicast_some(node),
            Event::Churn { node, life } if self.lives(node, life) => self.churn(node),
            Event::StepDone { node, life, notice } if self.lives(node, life) => self.step_done(node, notice),
            Event::Testify { node, life, about } if self.lives(node, life) => self.testify(node, about),
            Event::Guardian { node, life, packet, last_word } => self.guardian(node, life, packet, last_word),
            Event::FenceReport { node, life, tries } => self.fence_report(node, life, tries),
            Event::LeaveLimit { node, life } if self.lives(node, life) => {
                let seen = format!("node {} does not finish its leave", self.machines[node].id);
                Err(self.liveness("L3", "each acknowledged request finishes", seen))
            }
            Event::Belated { node, life, output } if self.lives(node, life) => {
                self.say_belated(node, *output)
            }
            _ => Ok(()), // of a daemon that is no more
        }
    }

    /// A planted bug's late news, unless newer ones have overtaken it.
    fn say_belated(&mut self, n: usize, output: Output) -> Result<(), Violation> {
        match &output {
            Output::Quorum(view) if self.node(n).is_some_and(|n| n.quorum_view().quorate != view.quorate) => {
                Ok(())
            }
            _ => self.output(n, output),
        }
    }

    /// Whether this life still runs on this machine.
    pub(crate) fn lives(&self, node: usize, life: LifeIndex) -> bool {
        self.machines[node].running.as_ref().is_some_and(|r| r.life == life)
    }

    /// A violation of liveness, now.
    pub(crate) fn liveness(&self, name: &'static str, claim: &'static str, seen: String) -> Violation {
        Violation { kind: ViolationKind::Liveness, name, claim, seen, at: self.now }
    }

    /// Timers are due.
    fn wake(&mut self, n: usize) -> Result<(), Violation> {
        self.timeout(n)?;
        let Some(running) = self.machines[n].running.as_mut() else { return Ok(()) };
        let millisecond = self.now / MS;
        let count = if running.spins.0 == millisecond { running.spins.1 + 1 } else { 0 };
        running.spins = (millisecond, count);
        if count > SPINS_MAX {
            let seen = format!("node {} asks to be woken at once, again and again", self.machines[n].id);
            return Err(self.liveness("L3", "a turn ends: the loop does not spin", seen));
        }
        self.end_turn(n)
    }

    /// The beginning of a turn that has an input: the driver looks at its timers first. Where none is due the call
    /// does nothing, so most runs leave it out, and some make sure.
    pub(crate) fn timers_first(&mut self, n: usize) -> Result<(), Violation> {
        let now = self.local(n);
        let Some(running) = self.machines[n].running.as_ref() else { return Ok(()) };
        if self.options.eager || running.deadline.is_some_and(|at| at <= now) {
            self.timeout(n)?;
        }
        Ok(())
    }

    /// `handle_timeout` and what comes out.
    pub(crate) fn timeout(&mut self, n: usize) -> Result<(), Violation> {
        let now = self.local(n);
        let Some(running) = self.machines[n].running.as_mut() else { return Ok(()) };
        let due = running.deadline.is_some_and(|at| at <= now);
        running.state = coverage::state(&running.node);
        running.node.handle_timeout(now);
        if due {
            self.coverage.ring(running.state, Input::Timer, coverage::state(&running.node));
        }
        self.drain(n).map(drop)
    }

    /// What the clock of machine `n` shows.
    #[must_use]
    pub fn local(&self, n: usize) -> Boottime {
        self.machines[n].clock.local(self.now)
    }

    fn arrive(&mut self, flight: Flight) -> Result<(), Violation> {
        let n = flight.to;
        let machine = &mut self.machines[n];
        let listens = machine.running.as_ref().is_some_and(|r| r.links.contains(flight.link));
        let refuses = !listens && (machine.refuses || machine.running.is_some());
        if refuses && self.network.reaches(n, flight.from) {
            let at = self.now + self.chance.exponential(self.options.network.latency) + 1;
            self.agenda.at(at, Event::Refused { node: flight.from, of: n });
        }
        if !listens || self.healed && self.saboteur.bug == Some(Bug::Deaf) && n == 0 {
            return Ok(());
        }
        if machine.paused.is_some() {
            if machine.inbox_bytes + flight.bytes.len() <= BUFFER_MAX {
                machine.inbox_bytes += flight.bytes.len();
                machine.inbox.push(flight);
            }
            return Ok(());
        }
        self.timers_first(n)?;
        self.read(&flight)?;
        self.end_turn(n)
    }

    /// Machine `n`'s kernel tells its daemon something.
    pub(crate) fn tell(&mut self, n: usize, tell: impl FnOnce(&mut Node, Boottime)) -> Result<(), Violation> {
        if self.machines[n].running.is_none() || self.machines[n].paused.is_some() {
            return Ok(());
        }
        self.timers_first(n)?;
        let now = self.local(n);
        if let Some(running) = self.machines[n].running.as_mut() {
            running.state = coverage::state(&running.node);
            tell(&mut running.node, now);
        }
        self.drain(n)?;
        self.end_turn(n)
    }

    /// The daemon reads one packet.
    pub(crate) fn read(&mut self, flight: &Flight) -> Result<(), Violation> {
        let n = flight.to;
        let now = self.local(n);
        let Some(running) = self.machines[n].running.as_mut() else { return Ok(()) };
        let life = running.life;
        self.trace.mix(&[self.now, n as u64, flight.from as u64, flight.bytes.len() as u64]);
        let mut packet = std::mem::take(&mut self.packet);
        flight.arrive_into(&mut packet);
        running.state = coverage::state(&running.node);
        running.node.handle_packet(now, flight.link, &mut packet);
        let input = if flight.damage == Damage::None { Input::Packet(flight.kind) } else { Input::Damaged };
        self.coverage.ring(running.state, input, coverage::state(&running.node));
        self.packet = packet;
        if flight.damage == Damage::None {
            let heard = &mut running.heard[flight.from];
            *heard = (*heard).max(Some((flight.sender, flight.sent)));
            running.heard_shared = None;
            if let Some((_, own)) = flight.heard[n].filter(|(of, _)| *of == life) {
                let echoed = &mut self.oracle.history.lives[life].echoed[flight.from];
                *echoed = (*echoed).max(Some(own + flight.lease));
                let device = &mut self.oracle.history.lives[life].device_echoed;
                *device = (*device).max(flight.device.then_some(own + flight.lease));
            }
            self.drain(n)?;
        } else {
            let lie = self.saboteur.strikes(Bug::AnswerDamaged, 10_000);
            let outputs = self.drain(n)? + usize::from(lie);
            if self.lives(n, life) {
                self.observe(life, What::Damaged(outputs))?;
            }
        }
        Ok(())
    }

    fn durable(&mut self, n: usize) -> Result<(), Violation> {
        if self.machines[n].paused.is_some() {
            // The helper thread stands still as well.
            let life = self.machines[n].running.as_ref().map_or(0, |r| r.life);
            self.agenda.at(self.now + 10 * MS, Event::Durable { node: n, life });
            return Ok(());
        }
        self.timers_first(n)?;
        let now = self.local(n);
        let machine = &mut self.machines[n];
        let Some(running) = machine.running.as_mut() else { return Ok(()) };
        if running.writes.is_empty() {
            return Ok(());
        }
        let record = running.writes.remove(0);
        machine.durable = machine.durable.max(record.ring_seq_reserved);
        machine.promised = record.promised;
        machine.tables.clone_from(&record.tables);
        machine.expected_seen = record.expected_seen.unwrap_or_default();
        running.state = coverage::state(&running.node);
        running.node.handle_persisted(now, &record);
        self.coverage.ring(running.state, Input::Persisted, coverage::state(&running.node));
        self.drain(n)?;
        self.end_turn(n)
    }

    /// A request of the local userland, in a turn of its own.
    pub(crate) fn submit(&mut self, n: usize, request: Request<'_>) -> Result<Accepted, Violation> {
        let now = self.local(n);
        let Some(running) = self.machines[n].running.as_mut() else { return Ok(Accepted(false)) };
        running.state = coverage::state(&running.node);
        let name = coverage::request_name(&request);
        let answer = running.node.submit(now, request);
        self.coverage.ring(running.state, Input::Request, coverage::state(&running.node));
        self.coverage.request(name, answer.is_ok());
        self.trace.mix(&[self.now, n as u64, answer.map_or_else(|r| r as u64 + 1, |()| 0)]);
        self.counters.try_again += u64::from(answer.is_err());
        self.drain(n)?;
        self.end_turn(n)?;
        Ok(Accepted(answer.is_ok()))
    }

    /// After an input and its outputs: the next wake-up, and a look at everything.
    pub(crate) fn end_turn(&mut self, n: usize) -> Result<(), Violation> {
        let machine = &mut self.machines[n];
        let Some(running) = machine.running.as_mut() else { return Ok(()) };
        let deadline = running.node.next_timeout();
        if deadline != running.deadline {
            running.deadline = deadline;
            let late = match self.options.faults.lateness {
                mean if mean > 0 && !self.healed => {
                    self.chance.exponential(mean).min(lateness_max(&self.options))
                }
                _ => 0,
            };
            running.wake_at =
                deadline.map_or(Instant::MAX, |d| machine.clock.instant(d).max(self.now) + late);
        } else if running.wake_at < self.now {
            running.wake_at = self.now;
        }
        let life = running.life;
        self.note_hold(n);
        self.observe(life, What::Turn)
    }

    /// Until when the daemon of machine `n` owns the quorum device's vote.
    pub(crate) fn note_hold(&mut self, n: usize) {
        let now = self.local(n);
        if let Some(running) =
            self.machines[n].running.as_ref().filter(|_| self.options.quorum.device.is_some())
        {
            let hold = running.node.device_hold(now).map(|h| h.until);
            self.oracle.history.lives[running.life].hold = hold;
        }
    }

    pub(crate) fn observe(&mut self, life: LifeIndex, what: What<'_>) -> Result<(), Violation> {
        self.oracle.observe(self.now, life, what)
    }

    /// Sends a packet of node `n`, from `life`.
    pub(crate) fn transmit(
        &mut self,
        n: usize,
        life: LifeIndex,
        to: Destination,
        links: LinkSet,
        packet: &Rc<[u8]>,
    ) {
        let content = self.sniffer.look(packet);
        if let Content::Heartbeat(heartbeat) = content {
            self.oracle.history.note_grants(n, heartbeat);
        }
        let kind = content.number();
        let now = self.now;
        self.trace.mix_bytes(packet);
        self.trace
            .line(now, Some(self.machines[n].id.get()), || format!("sends {} to {to:?}", describe(content)));
        let lease = self.machines[n].running.as_ref().map_or(Span::ZERO, |r| r.lease);
        let hold = self.oracle.history.lives[life].hold;
        let device = hold.is_some_and(|until| self.machines[n].clock.local(now) < until);
        let heard = match self.machines[n].running.as_mut() {
            Some(running) => {
                Rc::clone(running.heard_shared.get_or_insert_with(|| running.heard.as_slice().into()))
            }
            None => vec![None; self.machines.len()].into(), // a guardian's packet
        };
        for peer in 0..self.machines.len() {
            let wanted = match to {
                Destination::Node(id) => self.machines[peer].id == id,
                Destination::AllPeers => peer != n,
            };
            if !wanted {
                continue;
            }
            for link in links.iter() {
                let flight = Flight {
                    from: n,
                    to: peer,
                    link,
                    kind,
                    bytes: Rc::clone(packet),
                    damage: Damage::None,
                    sender: life,
                    sent: self.machines[n].clock.local(now),
                    heard: Rc::clone(&heard),
                    lease,
                    device,
                };
                let agenda = &mut self.agenda;
                self.network.send(now, flight, |at, flight| agenda.at(at, Event::Arrive(flight)));
            }
        }
    }

    /// What `node` knows about a dead life's incarnation, for fences.
    pub(crate) fn incarnation_of(&self, life: LifeIndex) -> (NodeId, Incarnation) {
        let life = &self.oracle.history.lives[life];
        (life.id, life.incarnation)
    }
}

/// Whether a request was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) struct Accepted(pub(crate) bool);

/// How late a timer may fire at most: half of what the margin on foreign leases allows for.
fn lateness_max(options: &Options) -> u64 {
    if options.faults.lateness == 0 { 0 } else { options.timers.lease_margin.as_nanos() / 2 }
}

fn describe(content: &Content) -> String {
    match content {
        Content::Frame(kind) => format!("{kind:?}"),
        Content::Heartbeat(h) => format!("Heartbeat {} {:?}", h.ring, h.echoes.len()),
        other => format!("{other:?}"),
    }
}

/// Turns of one node without input within a millisecond before it counts as spinning.
const SPINS_MAX: u32 = 1_000;
