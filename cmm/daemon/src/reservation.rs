//! The quorum disk with SCSI-3 persistent reservations.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cmm_conf::{Config, Priority};
use cmm_scsi::{Cluster, Command, Failure, Reply};

use crate::log::Log;
use crate::target::{self, Target};

/// The disk, if one is configured.
pub(crate) struct Reservation {
    target: Option<Target>,
}

impl Reservation {
    /// # Errors
    /// When no thread can be started.
    pub(crate) fn start(config: &Config, waker: Arc<mio::Waker>, log: &Log) -> io::Result<Self> {
        let Some(scsi) = config.quorum.scsi() else { return Ok(Self { target: None }) };
        let target = target::Config {
            path: PathBuf::from(&scsi.path),
            cluster: Cluster::of_name(&config.totem.cluster_name),
            timeout_ms: u32::try_from(scsi.lease().as_millis()).unwrap_or(u32::MAX),
        };
        let (log, mut said) = (log.clone(), String::new());
        let opened = move |path: &Path, result: Result<(), &io::Error>| match result {
            Ok(()) => {
                said.clear();
                log.text(Priority::Notice, format!("Quorum disk with reservations is {}", path.display()));
            }
            Err(error) => {
                let why = format!(
                    "Quorum disk with reservations, {}, cannot be used: {error}; correct quorum.device.scsi.device, or look at the path to the disk",
                    path.display()
                );
                if why != said {
                    log.text(Priority::Warning, why.clone());
                    said = why;
                }
            }
        };
        Ok(Self { target: Some(Target::start("reservation", target, waker, opened)?) })
    }

    /// What the core wants sent.
    pub(crate) fn send(&self, command: Command) {
        if let Some(target) = &self.target {
            target.send(command);
        }
    }

    /// A command that is over.
    pub(crate) fn done(&self) -> Option<Result<Reply, Failure>> {
        self.target.as_ref()?.done()
    }
}
