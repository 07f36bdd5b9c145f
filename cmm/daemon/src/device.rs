//! What the quorum device needs outside of the core: threads, processes and descriptors, by its model. They are started with the daemon,
//! or by the thread that reads the configuration again ([`crate::reload`]), and stay while this process runs.

use std::io;
use std::sync::Arc;

use cmm_conf::{Config, QuorumDevice};
use holdfast_types::Incarnation;

use crate::disks::Disks;
use crate::heuristics::Heuristics;
use crate::log::Log;
use crate::reservation::Reservation;
use crate::servers::Servers;

/// The loop's side of it.
pub(crate) struct Device {
    pub(crate) disks: Disks,
    pub(crate) heuristics: Heuristics,
    pub(crate) reservation: Reservation,
    pub(crate) servers: Servers,
    /// What it was started for.
    of: Option<QuorumDevice>,
}

impl Device {
    /// Starts what the configured device takes, if there is one; not on the realtime thread. `life`: this one.
    ///
    /// # Errors
    /// When no thread or process can be started.
    pub(crate) fn start(
        config: &Config,
        life: Incarnation,
        waker: &Arc<mio::Waker>,
        log: &Log,
    ) -> io::Result<Self> {
        let what = |what: &'static str| {
            move |e: io::Error| io::Error::new(e.kind(), format!("cannot start {what}: {e}"))
        };
        Ok(Self {
            reservation: Reservation::start(config, Arc::clone(waker), log)
                .map_err(what("the thread of the disk with reservations"))?,
            disks: Disks::start(config, life, Arc::clone(waker), log)
                .map_err(what("the thread that opens quorum disks"))?,
            heuristics: Heuristics::start(config.quorum.heuristics(), Arc::clone(waker), log)
                .map_err(what("the process that runs heuristics"))?,
            servers: Servers::start(config, Arc::clone(waker), log)
                .map_err(what("the thread of the quorum server"))?,
            of: config.quorum.device.clone(),
        })
    }

    /// Takes a configuration that was read anew over, as far as the device is concerned: its votes may be others, or it may be gone.
    ///
    /// # Errors
    /// Why not, and what to do.
    pub(crate) fn take_over(&mut self, config: &Config) -> Result<(), String> {
        if let (Some(used), Some(new)) = (&self.of, &config.quorum.device)
            && used.model != new.model
        {
            return Err("quorum.device is another one than this node has used since its start, and only its votes change at run \
                        time: take it out of all files and reload (\"holdfast quorum device remove\"), stop and start each node in \
                        turn, and then add the other one"
                .to_owned());
        }
        let highest = config.nodes.iter().map(|n| n.id.get()).max().unwrap_or(0);
        match self.disks.room() {
            Some((disk, room)) if u32::from(room) < highest => Err(format!(
                "the quorum disk {disk} has room for node ids up to {room}, and node {highest} is configured; give it a lower id, or \
                 make the disk anew with more slots while no node uses it"
            )),
            _ => {
                self.disks.widen(highest);
                Ok(())
            }
        }
    }
}
