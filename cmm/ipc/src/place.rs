//! Where the sockets and the ring files are.

use std::io;
use std::path::{Path, PathBuf};

use nix::sys::socket::UnixAddr;

use crate::abi::Service;

/// Where clients and daemon meet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// corosync's abstract names, in the network namespace; rings in `/dev/shm`.
    Abstract,
    /// Socket files in this folder, rings in its subfolder `shm`: several nodes on one machine.
    Dir(PathBuf),
}

impl Place {
    /// [`Place::Dir`] of `$HOLDFAST_RUN_DIR` where that is set, else [`Place::Abstract`].
    #[must_use]
    pub fn from_env() -> Self {
        match std::env::var_os("HOLDFAST_RUN_DIR") {
            Some(dir) if !dir.is_empty() => Self::Dir(dir.into()),
            _ => Self::Abstract,
        }
    }

    /// The folder that ring files are made in.
    #[must_use]
    pub fn ring_dir(&self) -> PathBuf {
        match self {
            Self::Abstract => PathBuf::from("/dev/shm"),
            Self::Dir(dir) => dir.join("shm"),
        }
    }

    /// The socket file of a service, where it is one.
    #[must_use]
    pub fn socket_path(&self, service: Service) -> Option<PathBuf> {
        match self {
            Self::Abstract => None,
            Self::Dir(dir) => Some(dir.join(service.name())),
        }
    }

    pub(crate) fn address(&self, service: Service) -> io::Result<UnixAddr> {
        match self.socket_path(service) {
            Some(path) => UnixAddr::new::<Path>(&path).map_err(|e| {
                let text =
                    format!("socket path {} is too long ({e}): use a shorter run directory", path.display());
                io::Error::new(io::ErrorKind::InvalidInput, text)
            }),
            None => {
                // libqb's clients connect to the name padded with NUL to the whole field; a shorter address is another.
                padded(service.name().as_bytes())
            }
        }
    }
}

/// An abstract name, padded as libqb pads it.
pub(crate) fn padded(text: &[u8]) -> io::Result<UnixAddr> {
    let mut name = [0; 107];
    let field = name.get_mut(..text.len()).ok_or_else(|| {
        let text =
            format!("socket name {} is too long: use a shorter run directory", String::from_utf8_lossy(text));
        io::Error::new(io::ErrorKind::InvalidInput, text)
    })?;
    field.copy_from_slice(text);
    Ok(UnixAddr::new_abstract(&name)?)
}
