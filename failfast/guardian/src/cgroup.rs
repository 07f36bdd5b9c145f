//! A cgroup of the guardian's own, so that no service manager kills it together with `cmmd`.
//!
//! Only where `cmmd` runs as a service (its cgroup's path has a `.service` in it): elsewhere nobody kills by cgroup,
//! and nothing needs to be made or removed. Version 2 hierarchies only.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The cgroup that was made, for its removal.
#[derive(Debug)]
pub(crate) struct Own {
    root: PathBuf,
    dir: PathBuf,
}

const PREFIX: &str = "holdfast-guardian-";

impl Own {
    /// Moves this process out of the service. A failure is a warning: a `kill` of the whole service then takes the
    /// guardian too, as the watchdog will find.
    pub(crate) fn leave_service(warnings: &mut Vec<String>) -> Option<Self> {
        let membership = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let root = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"]
            .into_iter()
            .map(PathBuf::from)
            .find(|r| r.join("cgroup.procs").exists());
        match Self::leave(&membership, root?) {
            Ok(own) => own,
            Err(e) => {
                warnings.push(format!("Failfast: the guardian stays in the service's cgroup: {e}"));
                None
            }
        }
    }

    fn leave(membership: &str, root: PathBuf) -> io::Result<Option<Self>> {
        let Some(slice) = slice_of(membership) else { return Ok(None) };
        let slice = root.join(slice);
        remove_stale(&slice);
        let dir = slice.join(format!("{PREFIX}{}", std::process::id()));
        fs::create_dir(&dir)?;
        let own = Self { root, dir };
        match fs::write(own.dir.join("cgroup.procs"), std::process::id().to_string()) {
            Ok(()) => Ok(Some(own)),
            Err(e) => {
                let _ = fs::remove_dir(&own.dir); // empty: the move has failed
                Err(e)
            }
        }
    }

    /// Leaves the cgroup (for the root's, which may hold processes always) and removes it. What cannot be removed is
    /// left to the next guardian.
    pub(crate) fn remove(self) {
        let _ = fs::write(self.root.join("cgroup.procs"), std::process::id().to_string());
        let _ = fs::remove_dir(&self.dir);
    }
}

/// The cgroup above the outermost service this process is in, relative to the root; `None` outside of services.
fn slice_of(membership: &str) -> Option<PathBuf> {
    let path = membership.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let mut slice = PathBuf::new();
    for part in Path::new(path) {
        if part.to_str().is_some_and(|p| p.ends_with(".service")) {
            return Some(slice);
        }
        slice.push(part);
    }
    None
}

/// Cgroups of guardians that were killed. One that is still populated cannot be removed, so none is taken from anybody.
fn remove_stale(slice: &Path) {
    let Ok(entries) = fs::read_dir(slice) else { return };
    for entry in entries.flatten() {
        if entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX)) {
            let _ = fs::remove_dir(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_services_are_left() {
        let table = [
            ("0::/system.slice/holdfast.service\n", Some("system.slice")),
            ("12:cpu:/x\n0::/system.slice/holdfast.service/payload\n", Some("system.slice")),
            ("0::/holdfast.service\n", Some("")),
            (
                "0::/user.slice/user-0.slice/user@0.service/app.slice/x.service\n",
                Some("user.slice/user-0.slice"),
            ),
            ("0::/user.slice/session-3.scope\n", None),
            ("0::/\n", None),
            ("4:memory:/a.service\n", None),
            ("", None),
        ];
        for (membership, slice) in table {
            assert_eq!(slice_of(membership), slice.map(PathBuf::from), "{membership:?}");
        }
    }

    /// A directory stands in for the hierarchy: the same calls, and files that stay.
    #[test]
    fn it_moves_and_cleans_up() {
        let root = std::env::temp_dir().join(format!("holdfast-cgroup-{}", std::process::id()));
        let slice = root.join("system.slice");
        fs::create_dir_all(slice.join(format!("{PREFIX}1"))).unwrap();
        fs::create_dir_all(slice.join("other.service")).unwrap();
        let own = Own::leave("0::/system.slice/holdfast.service\n", root.clone()).unwrap().unwrap();
        let moved = fs::read_to_string(own.dir.join("cgroup.procs")).unwrap();
        let left: Vec<_> = fs::read_dir(&slice).unwrap().map(|e| e.unwrap().file_name()).collect();
        let outside = Own::leave("0::/session-3.scope\n", root.clone()).unwrap();
        let _ = fs::remove_dir_all(&root);
        assert_eq!(moved, std::process::id().to_string());
        assert_eq!(left.len(), 2, "the stale one is gone, the service is not: {left:?}");
        assert!(outside.is_none());
    }
}
