//! Data disks that only members can write to: a thread for each sends the commands, so that one that hangs holds up nobody else; the loop
//! asks the automatons of `cmm_scsi::fence` what to send, and tells the core how far they are. Decision 22.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use cmm_conf::{Config, OnConflict};
use cmm_ipc::abi::cmap::Value;
use cmm_proto::reconfig::{self, Disks};
use cmm_proto::{Node, Request, StepPhase};
use cmm_scsi::command::Holder;
use cmm_scsi::fence::{self, Event, Goal, Guard, Output};
use cmm_scsi::{Cluster, Failure, Keys};
use holdfast_types::{Boottime, Span};

use crate::events::DaemonEvent;
use crate::log::Log;
use crate::target::{self, Target};

/// The loop's end.
pub(crate) struct DataDisks {
    disks: Vec<Disk>,
    on_conflict: OnConflict,
    /// What the core was told.
    told: Disks,
}

struct Disk {
    path: String,
    guard: Guard,
    target: Target,
    /// What CMAP shows.
    shown: Option<Shown>,
}

/// What is made text only when it changes.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Shown {
    keys: Keys,
    holder: Option<Holder>,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Fails(Failure),
    Hangs,
    Fenced,
    Fencing,
    Registered,
    NotRegistered,
}

impl DataDisks {
    /// Starts the threads, if such disks are configured.
    ///
    /// # Errors
    /// When no thread can be started.
    pub(crate) fn start(
        config: &Config,
        now: Boottime,
        node: &mut Node,
        waker: &Arc<mio::Waker>,
    ) -> io::Result<Self> {
        let told = Disks::default();
        let Some(configured) = &config.data_disks else {
            return Ok(Self { disks: Vec::new(), on_conflict: OnConflict::Log, told });
        };
        let guard = fence::Config {
            slot: u8::try_from(config.me().id.get()).unwrap_or(u8::MAX),
            cluster: Cluster::of_name(&config.totem.cluster_name),
            interval: configured.interval,
        };
        let start = |path: &String| {
            let target =
                target::Config { path: PathBuf::from(path), cluster: guard.cluster, timeout_ms: TIMEOUT_MS };
            // The automaton says when it does not work.
            let target = Target::start("data-disk", target, Arc::clone(waker), |_, _| ())?;
            Ok(Disk { path: path.clone(), guard: Guard::new(guard, now), target, shown: None })
        };
        let disks = configured.paths.iter().map(start).collect::<io::Result<_>>()?;
        // From the first configuration on. Never refused.
        let _ = node.submit(now, Request::DataDisks(told));
        Ok(Self { disks, on_conflict: configured.on_conflict, told })
    }

    /// When [`Self::turn`] has something to do.
    pub(crate) fn next_timeout(&self) -> Option<Boottime> {
        self.disks.iter().filter_map(|d| d.guard.next_timeout()).min()
    }

    /// What the disks have done and what is due; tells the core how far they are. Returns why this node must go down, if it must.
    pub(crate) fn turn(
        &mut self,
        now: Boottime,
        node: &mut Node,
        log: &Log,
        mut set: impl FnMut(&str, Value),
    ) -> Option<String> {
        if self.disks.is_empty() {
            return None;
        }
        let goal = goal(node);
        let mut removed = None;
        for (number, disk) in self.disks.iter_mut().enumerate() {
            disk.turn(now, goal, log, &mut removed);
            disk.publish(number, now, &mut set);
        }
        let fenced = goal.filter(|goal| {
            let open = |d: &&Disk| d.guard.fenced() != Some(goal.number);
            let mut open = self.disks.iter().filter(open).peekable();
            open.peek().is_none() || open.all(|d| d.is_silent(now)) && nobody_else_lives(node)
        });
        let disks = Disks {
            busy: self.disks.iter().any(|d| d.guard.is_changing()),
            fenced: fenced.and_then(|_| node.step().map(|step| step.epoch)),
        };
        if self.told != disks {
            self.told = disks;
            // Never refused.
            let _ = node.submit(now, Request::DataDisks(disks));
        }
        removed.filter(|_| self.on_conflict == OnConflict::Failfast)
    }
}

impl Disk {
    fn turn(&mut self, now: Boottime, goal: Option<Goal>, log: &Log, removed: &mut Option<String>) {
        // First what is in force: an answer is judged by it.
        self.guard.set_goal(now, goal);
        while let Some(result) = self.target.done() {
            self.guard.handle_done(now, result);
        }
        while let Some(output) = self.guard.poll_output() {
            match output {
                Output::Send(command) => self.target.send(command),
                Output::Event(event) => {
                    if event == Event::Conflict {
                        *removed = Some(format!("of a Reservation Conflict. Disk: {}", self.path));
                    }
                    log.event(DaemonEvent::DataDisk { path: self.path.clone(), event });
                }
            }
        }
    }

    /// It does not answer, or not with what was asked for: nobody knows what is on it.
    fn is_silent(&self, now: Boottime) -> bool {
        let (failure, sent) = self.guard.failure();
        failure.is_some() || sent.is_some_and(|at| now.since(at) > HANGS_AFTER)
    }

    /// `holdfast.scsi.N.*`
    fn publish(&mut self, number: usize, now: Boottime, set: &mut impl FnMut(&str, Value)) {
        let (keys, holder) = self.guard.seen();
        let state = match self.guard.failure() {
            (Some(failure), _) => State::Fails(failure),
            _ if self.is_silent(now) => State::Hangs,
            _ if self.guard.fenced().is_some() => State::Fenced,
            _ if self.guard.is_guarding() => State::Fencing,
            _ if self.guard.is_registered() => State::Registered,
            _ => State::NotRegistered,
        };
        let shown = Shown { keys, holder, state };
        if self.shown.replace(shown) == Some(shown) {
            return;
        }
        let state = match state {
            State::Fails(failure) => failure.to_string(),
            State::Hangs => "hangs".to_owned(),
            State::Fenced => "fenced".to_owned(),
            State::Fencing => "fencing".to_owned(),
            State::Registered => "registered".to_owned(),
            State::NotRegistered => "not registered".to_owned(),
        };
        let nodes = (1..=64_u32).filter(|slot| keys.ours & 1 << (slot - 1) != 0);
        let nodes = nodes.map(|slot| slot.to_string()).collect::<Vec<_>>().join(" ");
        let holder = match holder {
            None | Some(Holder::Nobody) => String::new(),
            Some(Holder::Slot(slot)) => slot.to_string(),
            Some(Holder::Foreign(key)) => key.to_string(),
        };
        let mut set =
            |key: &str, value: &str| set(&format!("holdfast.scsi.{number}.{key}"), Value::str(value));
        set("device", &self.path);
        set("state", &state);
        set("nodes", &nodes);
        set("holder", &holder);
    }
}

/// The configuration whose members may write, if it is quorate and step `fence` has begun.
fn goal(node: &Node) -> Option<Goal> {
    let step = node.step().filter(|s| s.step >= reconfig::FENCE && s.phase != StepPhase::Aborted)?;
    if !node.quorum_view().quorate || step.ring != node.ring_id() {
        return None;
    }
    let bit = |id: u32| id.checked_sub(1).and_then(|n| 1_u64.checked_shl(n)).unwrap_or(0);
    let members = node.members().iter().fold(0, |all, id| all | bit(id.get()));
    Some(Goal { number: step.epoch.get(), members })
}

/// The death of every node that is no member is confirmed.
fn nobody_else_lives(node: &Node) -> bool {
    let tables = node.tables();
    let next = tables.next.iter().flat_map(|(_, table)| &table.nodes);
    let (lives, dead) = (node.incarnations(), node.confirmed());
    tables.table.nodes.iter().chain(next).map(|n| n.id).all(|id| {
        let died = || dead.get(&id).zip(lives.get(&id)).is_some_and(|(dead, life)| dead >= life);
        node.members().contains(&id) || died()
    })
}

/// A command may take this long, and then as long as the kernel tries to abort it.
const TIMEOUT_MS: u32 = 10_000;
/// One that takes longer makes the disk count as out of reach.
const HANGS_AFTER: Span = Span::from_secs(5);
