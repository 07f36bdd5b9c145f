//! The virtual disk with reservations: one target that executes commands one after the other, each after a delay of its own; commands
//! that stall or fail, of which some were done all the same; a target that loses its power; machines that come back by another path.

use cmm_scsi::command::Holder;
use cmm_scsi::target::Nexus;
use cmm_scsi::{Command, Failure, Reply};

use crate::clock::MS;
use crate::cluster::{Cluster, Event};
use crate::oracle::{LifeIndex, Violation};
use crate::sabotage::Bug;

/// A command of a daemon.
#[derive(Debug)]
pub(crate) struct Sent {
    number: u64,
    command: Command,
    /// What the target said, once it has.
    answer: Option<Result<Reply, Failure>>,
    /// The daemon never hears of that.
    fails: bool,
}

/// What can happen to a command.
#[derive(Clone, Copy, Debug)]
pub(crate) enum TargetEvent {
    /// It goes its way, if the machine reaches the target.
    Issue,
    /// The target executes it.
    Execute,
    /// The daemon hears of it.
    Done,
}

/// Where a command is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request {
    pub(crate) node: usize,
    pub(crate) life: LifeIndex,
    number: u64,
}

impl Cluster {
    /// A daemon sends a command.
    pub(crate) fn send_scsi(&mut self, node: usize, command: Command) {
        let fails = !self.healed && self.chance.chance(self.options.faults.disk_error);
        self.scsi_commands += 1;
        let number = self.scsi_commands;
        let Some(running) = self.machines[node].running.as_mut() else { return };
        assert!(running.sent.is_none(), "one command is outstanding at a time");
        running.sent = Some(Sent { number, command, answer: None, fails });
        let request = Request { node, life: running.life, number };
        self.agenda.at(self.now, Event::Scsi(request, TargetEvent::Issue));
    }

    pub(crate) fn scsi_event(&mut self, request: Request, event: TargetEvent) -> Result<(), Violation> {
        let Request { node, life, number } = request;
        let running = self.machines[node].running.as_mut().filter(|r| r.life == life);
        let Some(sent) = running.and_then(|r| r.sent.as_mut()).filter(|s| s.number == number) else {
            return Ok(());
        };
        match event {
            TargetEvent::Issue if self.disks.is_cut(0, node) => {
                if self.options.faults.disk_cut_errors {
                    sent.fails = true;
                    let at = self.now + 1 + self.chance.exponential(5 * MS);
                    self.agenda.at(at, Event::Scsi(request, TargetEvent::Done));
                } else {
                    self.agenda.at(self.now + 20 * MS, Event::Scsi(request, TargetEvent::Issue));
                }
            }
            TargetEvent::Issue => {
                let fails = sent.fails;
                let at = self.now + self.disk_delay();
                if !(fails && self.chance.chance(500_000)) {
                    self.agenda.at(at, Event::Scsi(request, TargetEvent::Execute));
                }
                let at = at + self.disk_delay();
                self.agenda.at(at, Event::Scsi(request, TargetEvent::Done));
            }
            TargetEvent::Execute => {
                let command = sent.command;
                let answer = self.execute(node, command);
                if let Some(sent) = self.machines[node].running.as_mut().and_then(|r| r.sent.as_mut()) {
                    sent.answer = Some(answer);
                }
            }
            TargetEvent::Done => return self.scsi_done(request),
        }
        Ok(())
    }

    fn execute(&mut self, node: usize, command: Command) -> Result<Reply, Failure> {
        let nexus = self.machines[node].nexus;
        let Some(device) = self.options.quorum.device else { return Err(Failure::Io(5)) };
        let cmm_proto::DeviceModel::Scsi(scsi) = device.model else { return Err(Failure::Io(5)) };
        let answer = self.target.execute(nexus, &command.cdb(), command.list().as_ref());
        let reply = command.reply(scsi.cluster, answer.status, &answer.sense, &answer.data);
        match reply {
            Ok(Reply::Reservation(mut reservation))
                if self.saboteur.strikes(Bug::StaleReservation, 700_000) =>
            {
                // Whoever held it once sees itself for ever.
                let slot = u8::try_from(self.machines[node].id.get()).unwrap_or(u8::MAX);
                if reservation.holder == Holder::Slot(slot) {
                    self.machines[node].held = true;
                } else if self.machines[node].held {
                    reservation.holder = Holder::Slot(slot);
                }
                Ok(Reply::Reservation(reservation))
            }
            reply => reply,
        }
    }

    fn scsi_done(&mut self, request: Request) -> Result<(), Violation> {
        let Request { node, life, .. } = request;
        if self.machines[node].paused.is_some() {
            // The kernel has it; the daemon hears of it when it goes on.
            self.agenda.at(self.now + 5 * MS, Event::Scsi(request, TargetEvent::Done));
            return Ok(());
        }
        let Some(sent) = self.machines[node].running.as_mut().and_then(|r| r.sent.take()) else {
            return Ok(());
        };
        let result = sent.answer.filter(|_| !sent.fails).unwrap_or(Err(Failure::Io(5)));
        self.trace.mix(&[self.now, node as u64, u64::from(result.is_ok())]);
        self.timers_first(node)?;
        if !self.lives(node, life) {
            return Ok(());
        }
        let word = match result {
            Ok(_) => "done",
            Err(Failure::Conflict) => "conflict",
            Err(Failure::Attention) => "attention",
            Err(_) => "error",
        };
        self.coverage.reach("reservation", word, "", "");
        self.tell(node, |node, now| node.handle_scsi(now, result))
    }

    /// The daemon of a machine is dead: what it had sent last may be done within a lease, or never.
    pub(crate) fn lose_command(&mut self, node: usize, sent: Option<Sent>) {
        let Some(sent) = sent.filter(|s| s.answer.is_none()) else { return };
        if self.chance.chance(500_000) {
            let lease = self.options.quorum.device.map_or(0, |d| d.lease().as_nanos());
            let at = self.now + self.chance.below(lease.max(1));
            let nexus = self.machines[node].nexus;
            self.agenda.at(at, Event::LateCommand { nexus, command: sent.command });
        }
    }

    pub(crate) fn late_command(&mut self, nexus: Nexus, command: Command) {
        self.target.execute(nexus, &command.cdb(), command.list().as_ref());
    }

    /// A machine that starts may reach the target by another path than before.
    pub(crate) fn choose_path(&mut self, node: usize) {
        if matches!(self.options.quorum.device.map(|d| d.model), Some(cmm_proto::DeviceModel::Scsi(_)))
            && self.chance.chance(300_000)
        {
            self.machines[node].nexus += 1_000;
        }
    }
}
