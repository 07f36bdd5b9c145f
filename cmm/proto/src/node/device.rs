//! The quorum device: what the cluster wants of it goes to its automaton, the vote that it owns to quorum.
//!
//! It works while a node table that counts has a device, or this node's file has one that is to be put in force. Else it sleeps: nothing
//! is asked of it, and what it owned is forgotten by the time that it wakes. A life of a node has one device: what a second
//! automaton would not know is what the first one has under way.

use cmm_qdisk::{Area, Failure, Output as DiskOutput};
use cmm_qnet::{Channel, Input};
use cmm_scsi::Output as ScsiOutput;
use holdfast_types::{Boottime, Ended, Hold, NodeId, Span, Wish};

use super::Node;
use super::fitness::Gate;
use crate::api::{DeviceConfig, DeviceModel, Event, NodeConfig, Output, Refusal, ScsiConfig};

/// The device of this node.
pub(super) struct Device {
    model: DeviceModel,
    claim: Claim,
    gate: Gate,
    asleep: bool,
}

impl Device {
    /// If one is configured. `promised`: the longest that echoes of any life may have counted.
    pub(super) fn new(config: &NodeConfig, promised: Span, now: Boottime) -> Option<Self> {
        let device = config.quorum.device?;
        let timers = &config.settings.timers;
        let (slot, margin) = (slot(config.me)?, timers.lease_margin);
        let handed_on = (timers.lease + timers.lease_margin).max(promised);
        let claim = match device.model {
            DeviceModel::Disk(disk) => {
                let claim = cmm_qdisk::Config {
                    slot,
                    life: config.incarnation,
                    disks: disk.disks,
                    interval: disk.interval,
                    lease: disk.lease,
                    margin,
                    handed_on,
                };
                Claim::Disk(Box::new(cmm_qdisk::Claim::new(claim, now)))
            }
            DeviceModel::Scsi(ScsiConfig { cluster, interval, lease }) => {
                let claim = cmm_scsi::Config { slot, cluster, interval, lease, margin };
                Claim::Scsi(Box::new(cmm_scsi::Claim::new(claim, now)))
            }
            DeviceModel::Net(settings) => {
                let client = cmm_qnet::Config {
                    cluster: config.cluster_name.clone(),
                    node: config.me,
                    nodes: config.nodes.iter().map(|n| n.id).collect(),
                    margin,
                    settings,
                };
                Claim::Net(Box::new(cmm_qnet::Client::new(client, now)))
            }
        };
        Some(Self { model: device.model, claim, gate: Gate::default(), asleep: false })
    }

    pub(super) fn next_timeout(&self) -> Option<Boottime> {
        match &self.claim {
            _ if self.asleep => None,
            Claim::Disk(claim) => claim.next_timeout(),
            Claim::Scsi(claim) => claim.next_timeout(),
            Claim::Net(client) => Some(client.next_timeout()),
        }
    }

    /// The nodes of the cluster are others.
    pub(super) fn set_nodes(&mut self, now: Boottime, nodes: impl Iterator<Item = NodeId>) {
        match &mut self.claim {
            Claim::Net(client) => client.set_nodes(now, nodes.collect()),
            // Every slot is looked at, and every key.
            Claim::Disk(_) | Claim::Scsi(_) => {}
        }
    }
}

/// Who owns the device's vote, by the means of its model.
enum Claim {
    Disk(Box<cmm_qdisk::Claim>),
    Scsi(Box<cmm_scsi::Claim>),
    Net(Box<cmm_qnet::Client>),
}

impl Claim {
    fn set_handed_on(&mut self, span: Span) {
        match self {
            Self::Disk(claim) => claim.set_handed_on(span),
            // Whoever takes over waits for the lease, in which all that was handed on ends.
            Self::Scsi(_) | Self::Net(_) => {}
        }
    }

    fn handle_ended(&mut self, now: Boottime, ended: Ended) {
        match self {
            Self::Disk(claim) => claim.handle_ended(now, ended),
            // Neither a key nor the server says which life of its node it is.
            Self::Scsi(_) | Self::Net(_) => {}
        }
    }

    /// `handed_on`: the vote counts here by a member that owns it.
    fn set_wish(&mut self, now: Boottime, wish: Wish, handed_on: bool) {
        match self {
            Self::Disk(claim) => claim.set_wish(now, wish),
            Self::Scsi(claim) => claim.set_wish(now, wish, handed_on),
            Self::Net(client) => client.set_wish(now, wish),
        }
    }

    fn hold(&self, now: Boottime) -> Option<Hold> {
        match self {
            Self::Disk(claim) => claim.hold(now),
            Self::Scsi(claim) => claim.hold(now),
            Self::Net(client) => client.hold(now),
        }
    }

    fn poll_output(&mut self) -> Option<Output> {
        match self {
            Self::Disk(claim) => claim.poll_output().map(|output| match output {
                DiskOutput::Look { disk } => Output::Disk { disk, block: None },
                DiskOutput::Exchange { disk, block } => Output::Disk { disk, block: Some(Box::new(block)) },
                DiskOutput::Event(event) => Output::Event(Event::Device(event)),
            }),
            Self::Scsi(claim) => claim.poll_output().map(|output| match output {
                ScsiOutput::Send(command) => Output::Scsi(command),
                ScsiOutput::Event(event) => Output::Event(Event::Reservation(event)),
            }),
            Self::Net(client) => client.poll_output().map(|output| match output {
                cmm_qnet::Output::Event(event) => Output::Event(Event::Server(event)),
                other => Output::Server(other),
            }),
        }
    }
}

impl Node {
    /// What [`Output::Disk`] asked for is over.
    pub fn handle_disk(&mut self, now: Boottime, disk: usize, result: Result<&Area, Failure>) {
        self.turn(now);
        if self.left {
            return;
        }
        if let Some(Device { claim: Claim::Disk(claim), .. }) = &mut self.device {
            claim.handle_done(now, disk, result);
        }
        self.settle(now);
    }

    /// What [`Output::Scsi`] asked for is over.
    pub fn handle_scsi(&mut self, now: Boottime, result: Result<cmm_scsi::Reply, cmm_scsi::Failure>) {
        self.turn(now);
        if self.left {
            return;
        }
        if let Some(Device { claim: Claim::Scsi(claim), .. }) = &mut self.device {
            claim.handle_done(now, result);
        }
        self.settle(now);
    }

    /// Something has happened to a connection that [`Output::Server`] asked for.
    pub fn handle_server(&mut self, now: Boottime, channel: Channel, attempt: u64, input: Input<'_>) {
        self.turn(now);
        if self.left {
            return;
        }
        if let Some(Device { claim: Claim::Net(client), .. }) = &mut self.device {
            client.handle(now, channel, attempt, input);
        }
        self.settle(now);
    }

    /// Whether this node is fit to have the device's vote; and the wall clock in seconds since 1970, which stands on the disk for
    /// people.
    pub fn set_fitness(&mut self, now: Boottime, fitness: super::Fitness, wall: u64) {
        self.turn(now);
        if let Some(device) = self.device.as_mut().filter(|_| !self.left) {
            device.gate.fitness = fitness;
            match &mut device.claim {
                Claim::Disk(claim) => claim.set_display(fitness.score, wall),
                Claim::Scsi(_) => {}
                // It weighs that itself, among those of all nodes.
                Claim::Net(client) if fitness.proven < super::Fitness::ALWAYS.proven => {
                    client.set_heuristics(now, fitness.fit);
                }
                Claim::Net(_) => {}
            }
            self.settle(now);
        }
    }

    /// The quorum disk's automaton, for status.
    #[must_use]
    pub fn qdisk(&self) -> Option<&cmm_qdisk::Claim> {
        match &self.device.as_ref()?.claim {
            Claim::Disk(claim) => Some(claim),
            Claim::Scsi(_) | Claim::Net(_) => None,
        }
    }

    /// The automaton of a disk with reservations, for status.
    #[must_use]
    pub fn reservation(&self) -> Option<&cmm_scsi::Claim> {
        match &self.device.as_ref()?.claim {
            Claim::Scsi(claim) => Some(claim),
            Claim::Disk(_) | Claim::Net(_) => None,
        }
    }

    /// The quorum server's client, for status.
    #[must_use]
    pub fn qnet(&self) -> Option<&cmm_qnet::Client> {
        match &self.device.as_ref()?.claim {
            Claim::Net(client) => Some(client),
            Claim::Disk(_) | Claim::Scsi(_) => None,
        }
    }

    /// The device's vote, while this node owns it: also where no table counts it any more.
    #[must_use]
    pub fn device_hold(&self, now: Boottime) -> Option<Hold> {
        self.device.as_ref().and_then(|d| d.claim.hold(now))
    }

    /// This node's file has this device now, or none.
    pub(super) fn set_device(&mut self, now: Boottime, device: Option<DeviceConfig>) -> Result<(), Refusal> {
        if let Some(device) = device {
            let sane = device.check().is_ok() && slot(self.config.me).is_some();
            if !sane {
                return Err(Refusal::InvalidParam);
            }
            if self.device.as_ref().is_some_and(|d| d.model != device.model) {
                return Err(Refusal::Busy);
            }
        }
        self.config.quorum.device = device;
        if self.device.is_none() {
            self.device = Device::new(&self.config, self.quorum.promised().longest(), now);
        }
        Ok(())
    }

    /// Whether the device has work to do.
    fn needs_device(&self) -> bool {
        let tables = self.quorum.tables();
        let mut counting = std::iter::once(&tables.table).chain(tables.next.iter().map(|(_, table)| table));
        // In maintenance it is left alone; before it is in force it is made ready.
        let coming = self.config.quorum.device.is_some() && tables.table.device.is_none();
        coming || counting.any(|table| table.device_now().is_some())
    }

    /// Brings the device's vote up to date, and says what it wants done.
    pub(super) fn tend_device(&mut self, now: Boottime) {
        let asleep = !self.needs_device();
        let Some(device) = &mut self.device else { return };
        device.asleep = asleep;
        if asleep {
            return self.quorum.set_hold(None);
        }
        device.claim.set_handed_on(self.quorum.promised().longest());
        // Who else there is may still count what a dead node handed on: also a member, which the next configuration may leave
        // behind before it has heard of the death.
        let (nodes, me) = (&self.config.nodes, self.config.me);
        let nobody_else = |gone: NodeId| nodes.iter().all(|n| n.id == gone || n.id == me);
        for (node, life) in self.quorum.promised().ends() {
            if let Some(slot) = slot(node).filter(|_| node != self.config.me) {
                device.claim.handle_ended(now, Ended { slot, life, alone: nobody_else(node) });
            }
        }
        let wish = self.quorum.device_wish();
        let handed_on = self.quorum.is_handed_device(now);
        let wish = match &device.claim {
            Claim::Net(_) => wish,
            claim => device.gate.pass(now, wish, claim.hold(now).is_some()),
        };
        device.claim.set_wish(now, wish, handed_on);
        while let Some(output) = device.claim.poll_output() {
            self.outputs.push_back(output);
        }
        self.quorum.set_hold(device.claim.hold(now));
    }
}

/// A node's slot on every disk.
fn slot(node: NodeId) -> Option<u8> {
    u8::try_from(node.get()).ok().filter(|slot| (1..=cmm_qdisk::SLOTS_MAX).contains(slot))
}
