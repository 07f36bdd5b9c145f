//! The files of a connection, and their folder.

use std::io;
use std::os::fd::RawFd;
use std::os::unix::fs::{PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use nix::unistd::{geteuid, mkdtemp};

use super::Credentials;
use crate::abi::Service;
use crate::place::Place;
use crate::ring::{Ring, paths};

/// The folder of one connection. Removed, if it is empty, when this is dropped.
///
/// It stays ours and lets others only pass through: a client that could rename or replace files in it could lead our
/// unlinking elsewhere.
#[derive(Debug)]
pub(super) struct ClientDir(PathBuf);

impl ClientDir {
    pub(super) fn create(place: &Place, client: Credentials, fd: RawFd) -> io::Result<Self> {
        let name = format!("qb-{}-{}-{fd}-XXXXXX", std::process::id(), client.pid);
        Ok(Self(mkdtemp(&place.ring_dir().join(name))?))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// What is in it is ready.
    pub(super) fn open_to_others(&self) -> io::Result<()> {
        std::fs::set_permissions(&self.0, std::fs::Permissions::from_mode(0o711))
    }
}

impl Drop for ClientDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.0);
    }
}

/// Six files. Removed when this is dropped.
#[derive(Debug)]
pub(super) struct RingFiles {
    dir: ClientDir,
    service: Service,
}

/// Request, response, event.
pub(super) type Rings = [Ring; 3];

impl RingFiles {
    /// Makes the folder and three rings, owned by the client.
    pub(super) fn create(
        place: &Place,
        service: Service,
        client: Credentials,
        fd: RawFd,
    ) -> io::Result<(Self, Rings)> {
        let files = Self { dir: ClientDir::create(place, client, fd)?, service };
        let make = |base: PathBuf| -> io::Result<Ring> {
            let (ring, opened) = Ring::create(&base, service.grant())?;
            if client.uid != geteuid().as_raw() {
                for file in &opened {
                    fchown(file, Some(client.uid), Some(client.gid))?;
                }
            }
            Ok(ring)
        };
        let [request, response, event] = files.bases();
        let rings = [make(request)?, make(response)?, make(event)?];
        files.dir.open_to_others()?;
        Ok((files, rings))
    }

    /// Base paths of the rings, in the order of the handshake's reply.
    pub(super) fn bases(&self) -> [PathBuf; 3] {
        let base = |kind| self.dir.path().join(format!("qb-{kind}-{}", self.service.name()));
        [base("request"), base("response"), base("event")]
    }
}

impl Drop for RingFiles {
    fn drop(&mut self) {
        for base in self.bases() {
            let (header, data) = paths(&base);
            let remove = |path: &Path| drop(std::fs::remove_file(path));
            remove(&header);
            remove(&data);
        }
    }
}
