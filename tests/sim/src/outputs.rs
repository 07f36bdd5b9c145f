//! What comes out of a daemon, and what becomes of it.

use std::rc::Rc;

use cmm_proto::{ConfigurationKind, CpgEvent, Destination, Output, QuorumView, StepNotice, StepPhase};
use holdfast_types::{Incarnation, LinkSet, NodeId, WallTime};

use crate::clock::{MS, SEC};
use crate::cluster::{Accepted, Cluster, Event};
use crate::invariants::FIRST_USERLAND_STEP;
use crate::machine::{Death, seal_gasps};
use crate::oracle::{Violation, What};

/// Outputs of one input before it counts as endless.
const OUTPUTS_MAX: usize = 100_000;

impl Cluster {
    /// Takes all outputs of daemon `n`; says how many were more than events for the log.
    pub(crate) fn drain(&mut self, n: usize) -> Result<usize, Violation> {
        let mut deeds = 0;
        self.note_hold(n);
        for _ in 0..OUTPUTS_MAX {
            let Some(running) = self.machines[n].running.as_mut() else { return Ok(deeds) };
            let Some(output) = running.node.poll_output() else {
                if running.clients.is_empty() && running.node.is_synced() && !running.leaving {
                    self.first_clients(n);
                }
                return Ok(deeds);
            };
            if let Some(left) = running.doom.as_mut() {
                if *left == 0 {
                    self.crash(n, Death::Silent)?;
                    return Ok(deeds);
                }
                *left -= 1;
            }
            // A look at the key file is not a deed: it is what a packet under an unknown key may cause, now and then.
            deeds += usize::from(!matches!(output, Output::Event(_) | Output::LoadKey));
            if self.saboteur.bug.is_none() {
                self.output(n, output)?;
                continue;
            }
            let id = self.machines[n].id;
            let (now, later) = self.saboteur.pass(n, id, output);
            if let Some((delay, output)) = later {
                self.belated(n, delay, output);
            }
            for output in now {
                self.output(n, output)?;
            }
        }
        let seen = format!("node {} has more than {OUTPUTS_MAX} outputs for one input", self.machines[n].id);
        Err(self.liveness("L3", "a turn ends: outputs are bounded", seen))
    }

    /// One output of daemon `n`.
    pub(crate) fn output(&mut self, n: usize, output: Output) -> Result<(), Violation> {
        let machine = &self.machines[n];
        let Some(running) = machine.running.as_ref() else { return Ok(()) };
        let (life, id, durable) = (running.life, machine.id.get(), machine.durable);
        match output {
            Output::Transmit { to, links, packet, .. } => {
                self.transmit(n, life, to, links, &Rc::from(packet));
            }
            Output::Probe { to, link, packet } => {
                self.transmit(n, life, Destination::Node(to), LinkSet::of(link), &Rc::from(packet));
            }
            Output::Persist(record) => {
                self.trace.mix(&[n as u64, 1, record.ring_seq_reserved, record.promised.as_nanos()]);
                self.persist(n, record);
            }
            Output::Configuration(c) => {
                self.trace.mix(&[n as u64, 2, c.kind as u64, c.ring.seq, c.ring.representative.get().into()]);
                self.trace.line(self.now, Some(id), || {
                    format!("{:?} {} {:?} joined {:?} left {:?}", c.kind, c.ring, c.members, c.joined, c.left)
                });
                self.counters.installs += u64::from(c.kind == ConfigurationKind::Regular);
                self.observe(life, What::Configuration(&c, durable))?;
            }
            Output::Cpg { conn, event } => self.told(n, conn, &event)?,
            Output::NodeList(notice) => {
                self.trace.mix(&[n as u64, 4, notice.ring.seq, notice.members.len() as u64]);
                self.trace.line(self.now, Some(id), || format!("{notice:?}"));
                // The node may have gone on since, within the same input; then its table says nothing about this ring.
                let node = self.node(n).filter(|node| node.ring_id() == notice.ring);
                let table = node.map(cmm_proto::Node::cpg_groups).unwrap_or_default();
                self.observe(life, What::Synced(&notice, &table))?;
                for about in notice.joined.into_iter().filter(|about| about.get() != id) {
                    self.agenda.at(self.now + 3 * MS, Event::Testify { node: n, life, about });
                }
            }
            Output::Quorum(view) => {
                self.trace.mix(&[
                    n as u64,
                    5,
                    view.quorate.into(),
                    view.ring.seq,
                    view.expected.get().into(),
                ]);
                self.trace.line(self.now, Some(id), || describe_view(&view));
                let lost = self.oracle.history.lives[life].view.quorate && !view.quorate;
                self.counters.quorum_lost += u64::from(lost);
                self.coverage.quorum(&self.oracle.history.lives[life].view, &view);
                self.observe(life, What::Quorum(&view))?;
            }
            Output::Step(notice) => {
                let (epoch, step) = (notice.epoch.get(), notice.step.get());
                self.trace.mix(&[n as u64, 6, epoch, step.into(), notice.phase as u64]);
                self.trace.line(self.now, Some(id), || {
                    format!("step {epoch}/{step} {} {:?} of {}", notice.name, notice.phase, notice.ring)
                });
                if let Some(running) = self.machines[n].running.as_mut() {
                    self.coverage.step(running.step.replace((notice.name, notice.phase)), &notice);
                }
                self.observe(life, What::Step(&notice))?;
                self.take_part(n, notice);
            }
            Output::Confirmed { node, incarnation, why } => {
                self.trace.mix(&[n as u64, 7, node.get().into(), incarnation.get()]);
                self.trace
                    .line(self.now, Some(id), || format!("confirmed: {node} life {incarnation}: {why}"));
                self.coverage.confirmed(&why);
                self.observe(life, What::Confirmed(node, incarnation))?;
            }
            Output::Gate { open } => {
                self.trace.mix(&[n as u64, 8, open.into()]);
                self.trace.line(self.now, Some(id), || format!("gate open: {open}"));
            }
            Output::Reload { by } => {
                self.trace.line(self.now, Some(id), || format!("reload, asked by {by}"));
                self.read_file(n);
            }
            Output::Settings(taken) => {
                self.trace.line(self.now, Some(id), || format!("{taken:?}"));
                if let Some(running) = self.machines[n].running.as_mut() {
                    running.lease = running.staged.take().map_or(running.lease, |s| s.timers.lease);
                }
            }
            Output::Scsi(command) => self.send_scsi(n, command),
            Output::Server(output) => self.ask_server(n, output),
            Output::Disk { disk, block } => self.ask_disk(n, disk, block.map(|b| *b)),
            Output::Table(view) => {
                self.trace.line(self.now, Some(id), || format!("{view:?}"));
                self.oracle.history.lives[life].next = view.tables.next.map(|(_, table)| table);
            }
            Output::LoadKey => self.load_key(n),
            Output::Keys(view) => self.trace.line(self.now, Some(id), || format!("{view:?}")),
            Output::SealGasps => {
                if let Some(running) = self.machines[n].running.as_mut() {
                    running.gasps = seal_gasps(&mut running.node);
                }
            }
            Output::TakeDown(why) => self.take_down(n, &why)?,
            Output::Left => self.left(n)?,
            Output::Event(event) => {
                if let Some(running) = &self.machines[n].running {
                    self.coverage.event(running.state, &event);
                }
                self.trace.line(self.now, Some(id), || format!("{event:?}"));
            }
        }
        Ok(())
    }

    /// An event for a client of machine `n`.
    fn told(&mut self, n: usize, conn: holdfast_types::ConnId, event: &CpgEvent) -> Result<(), Violation> {
        self.trace.mix(&[n as u64, 3, conn.get()]);
        match event {
            CpgEvent::Deliver { group, sender, payload, .. } => {
                self.counters.deliveries += 1;
                self.client_delivery(n, conn, group, *sender, payload)
            }
            CpgEvent::Confchg { group, members, left, joined } => {
                let id = self.machines[n].id.get();
                self.trace.line(self.now, Some(id), || {
                    format!(
                        "confchg for {conn} of {group:02x?}: {members:?}, left {left:?}, joined {joined:?}"
                    )
                });
                self.client_change(n, conn, group, members, left, joined)
            }
            CpgEvent::Totem { ring, members } => {
                self.trace.mix(&[ring.seq, members.len() as u64]);
                let Some(life) = self.machines[n].running.as_ref().map(|r| r.life) else { return Ok(()) };
                self.observe(life, What::Ring(conn, *ring, members))
            }
        }
    }

    /// A participant finishes its part of a userland step some time after it began.
    pub(crate) fn take_part(&mut self, n: usize, notice: StepNotice) {
        let Some(running) = self.machines[n].running.as_ref().filter(|r| r.participant) else { return };
        if notice.phase != StepPhase::Begin || notice.step.get() < FIRST_USERLAND_STEP || notice.name == "end"
        {
            return;
        }
        let life = running.life;
        let slow = !self.healed && self.load.chance(20_000);
        let delay = if slow { self.load.log_uniform(SEC, 60 * SEC) } else { self.load.exponential(20 * MS) };
        self.agenda.at(self.now + delay, Event::StepDone { node: n, life, notice });
    }

    /// Daemon `n` tells a node that has joined how the life before this one ended: what it does at each start of a peer. Nothing may come
    /// of it but an event there.
    pub(crate) fn testify(&mut self, n: usize, about: NodeId) -> Result<(), Violation> {
        let machine = &self.machines[n];
        let Some(running) = machine.running.as_ref().filter(|_| machine.paused.is_none()) else {
            return Ok(());
        };
        let life = running.life;
        self.timers_first(n)?;
        if !self.lives(n, life) {
            return Ok(());
        }
        let lives = self.node(n).map(cmm_proto::Node::incarnations).unwrap_or_default();
        let known = lives.get(&about).map_or(0, |life| life.get());
        if let Some(before) = known.checked_sub(1).filter(|before| *before > 0) {
            let testimony = cmm_proto::Testimony {
                node: about,
                life: Incarnation::new(before),
                news: 8,
                at: WallTime(0),
                text: "fenced by the simulator",
            };
            let _ = self.submit(n, cmm_proto::Request::Testify(testimony))?; // refused: nothing is tried again
        }
        Ok(())
    }

    /// Userland of machine `n` has finished its part of a step.
    pub(crate) fn step_done(&mut self, n: usize, notice: StepNotice) -> Result<(), Violation> {
        let machine = &self.machines[n];
        let Some(running) = machine.running.as_ref().filter(|r| r.participant) else { return Ok(()) };
        let life = running.life;
        if machine.paused.is_some() {
            self.agenda.at(self.now + 20 * MS, Event::StepDone { node: n, life, notice });
            return Ok(());
        }
        self.timers_first(n)?;
        if !self.lives(n, life) {
            return Ok(());
        }
        self.observe(life, What::StepDone(&notice))?;
        let request = cmm_proto::Request::StepDone { epoch: notice.epoch, step: notice.step };
        let current = self.machines[n]
            .running
            .as_ref()
            .and_then(|r| r.node.step())
            .is_some_and(|now| now.epoch == notice.epoch && now.step == notice.step);
        if self.submit(n, request)? == Accepted(false) && current {
            self.agenda.at(self.now + 20 * MS, Event::StepDone { node: n, life, notice });
        }
        Ok(())
    }
}

fn describe_view(view: &QuorumView) -> String {
    let (total, quorum) = (view.total, view.quorum);
    let (ring, members) = (view.ring, &view.members);
    let waits = if view.waits_for_lease { ", waits for leases" } else { "" };
    let wfa = if view.wait_for_all_status { ", waits for all" } else { "" };
    format!("QUORATE {} {total}/{quorum} in {ring} {members:?}{waits}{wfa} {}", view.quorate, view.reason)
}
