//! A cgroup for each run, so that whatever an agent starts can be found, watched and ended, however it detaches itself.
//!
//! Below our own cgroup: `holdfast.NODE.PID/RESOURCE.N`. A cgroup whose run left something behind stays until it is empty.
//! Those of an earlier life of this node's daemon are taken over.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Where the cgroups of runs are made.
#[derive(Debug)]
pub(crate) struct Home {
    dir: PathBuf,
    runs: u64,
}

/// One run's cgroup.
#[derive(Debug)]
pub(crate) struct Group {
    dir: PathBuf,
    /// `cgroup.events`: urgent data is there when it becomes empty, or is no longer.
    events: File,
}

impl Home {
    /// Makes it. Groups of a dead daemon of the same node come with it, by resource. `Err`: why there is none, in words.
    pub(crate) fn make(node: &str) -> Result<(Self, Vec<(String, Group)>), String> {
        let own = own_cgroup()?;
        let dir = own.join(format!("{}{}", prefix(node), std::process::id()));
        let earlier = take_over(&own, node);
        // A second executor of one process shares the first one's.
        match fs::create_dir(&dir) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => {
                return Err(format!("cannot make {}: {e}", dir.display()));
            }
            _ => {}
        }
        let mut home = Self { dir, runs: 0 };
        // What is allowed is found out by doing it: a container's cgroups may be there to be read only.
        let trial = home.group("trial").and_then(|(group, _)| group.remove());
        match trial {
            Ok(()) => Ok((home, earlier)),
            Err(e) => {
                let _ = fs::remove_dir(&home.dir);
                Err(format!("cannot use {}: {e}", home.dir.display()))
            }
        }
    }

    /// A group for a run, and its `cgroup.procs`, open for writing.
    pub(crate) fn group(&mut self, resource: &str) -> io::Result<(Group, OwnedFd)> {
        loop {
            self.runs += 1;
            let dir = self.dir.join(format!("{}.{}", resource.replace('/', "_"), self.runs));
            match fs::create_dir(&dir) {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => continue,
                other => other?,
            }
            let opened = fs::OpenOptions::new()
                .write(true)
                .open(dir.join("cgroup.procs"))
                .and_then(|procs| Ok((Group::open(dir.clone())?, procs.into())));
            if opened.is_err() {
                let _ = fs::remove_dir(&dir);
            }
            return opened;
        }
    }

    /// For people.
    pub(crate) fn path(&self) -> &Path {
        &self.dir
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        // Groups with something in them stay, and this one with them.
        for entry in fs::read_dir(&self.dir).into_iter().flatten().flatten() {
            remove_tree(&entry.path());
        }
        let _ = fs::remove_dir(&self.dir);
    }
}

impl Group {
    fn open(dir: PathBuf) -> io::Result<Self> {
        let events = File::open(dir.join("cgroup.events"))?;
        Ok(Self { dir, events })
    }

    /// For the poller: urgent data (`EPOLLPRI`) after each change.
    pub(crate) fn events_fd(&self) -> i32 {
        self.events.as_raw_fd()
    }

    /// Whether something runs in it or below it.
    pub(crate) fn is_populated(&self) -> bool {
        use std::os::unix::fs::FileExt;
        let mut buffer = [0_u8; 128];
        let read = self.events.read_at(&mut buffer, 0).unwrap_or(0);
        buffer[..read].split(|b| *b == b'\n').any(|line| line == b"populated 1")
    }

    /// Who runs in it or below it.
    pub(crate) fn pids(&self) -> Vec<u32> {
        let mut pids = Vec::new();
        let mut dirs = vec![self.dir.clone()];
        while let Some(dir) = dirs.pop() {
            let text = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
            pids.extend(text.lines().filter_map(|l| l.parse::<u32>().ok()));
            let below = fs::read_dir(&dir).into_iter().flatten().flatten();
            dirs.extend(below.filter(|e| e.file_type().is_ok_and(|t| t.is_dir())).map(|e| e.path()));
        }
        pids
    }

    /// SIGKILL to all of it; forks cannot escape.
    pub(crate) fn kill(&self) -> io::Result<()> {
        fs::write(self.dir.join("cgroup.kill"), "1")
    }

    /// Removes it, with what agents made below it, if nothing runs there.
    pub(crate) fn remove(&self) -> io::Result<()> {
        match fs::remove_dir(&self.dir) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                remove_tree(&self.dir);
                if self.dir.exists() { Err(e) } else { Ok(()) }
            }
            _ => Ok(()),
        }
    }
}

/// Our own cgroup of version 2.
fn own_cgroup() -> Result<PathBuf, String> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").map_err(|e| e.to_string())?;
    let own = fs::read_to_string("/proc/self/cgroup").map_err(|e| e.to_string())?;
    own_path(&mounts, &own).ok_or_else(|| "no cgroup file system of version 2 is mounted".to_owned())
}

fn own_path(mounts: &str, own: &str) -> Option<PathBuf> {
    let path = own.lines().find_map(|l| l.strip_prefix("0::"))?;
    mounts.lines().find_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        if right.split(' ').next() != Some("cgroup2") {
            return None;
        }
        let mut fields = left.split(' ').skip(3);
        let (root, point) = (fields.next()?, fields.next()?);
        // Where only a part of the tree is mounted, paths begin there.
        let below = if root == "/" { path } else { path.strip_prefix(root)? };
        Some(Path::new(point).join(below.trim_start_matches('/')))
    })
}

fn prefix(node: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "-_".contains(c) { c } else { '-' };
    format!("holdfast.{}.", node.chars().map(plain).collect::<String>())
}

/// Groups that a dead daemon of this node left with something in them; empty ones are removed.
fn take_over(own: &Path, node: &str) -> Vec<(String, Group)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(own).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        // Other nodes' are not touched: whether their daemons live may not be visible from here.
        let Some(pid) = name.strip_prefix(&prefix(node)) else { continue };
        if pid.parse::<u32>().is_err() || Path::new("/proc").join(pid).exists() {
            continue;
        }
        for group in fs::read_dir(entry.path()).into_iter().flatten().flatten() {
            remove_tree(&group.path());
            let resource = group.file_name().to_string_lossy().into_owned();
            let resource = resource.rsplit_once('.').map_or("", |(resource, _)| resource).to_owned();
            if let Ok(group) = Group::open(group.path()) {
                found.push((resource, group));
            }
        }
        let _ = fs::remove_dir(entry.path());
    }
    found
}

/// Removes what is empty, from below.
fn remove_tree(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            remove_tree(&entry.path());
        }
    }
    let _ = fs::remove_dir(dir);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_cgroup_is_found_in_hybrid_unified_and_partial_mounts() {
        let hybrid = "30 20 0:26 / /sys/fs/cgroup ro - tmpfs tmpfs rw\n31 30 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        let unified = "31 30 0:27 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
        let partial = "31 30 0:27 /system.slice /mnt/cg rw - cgroup2 cgroup2 rw\n";
        for (mounts, own, want) in [
            (hybrid, "9:name=systemd:/x\n0::/\n", Some("/sys/fs/cgroup/unified/")),
            (unified, "0::/system.slice/rgmd.service\n", Some("/sys/fs/cgroup/system.slice/rgmd.service")),
            (partial, "0::/system.slice/rgmd.service\n", Some("/mnt/cg/rgmd.service")),
            (partial, "0::/user.slice\n", None),
            ("31 30 0:27 / /proc rw - proc proc rw\n", "0::/\n", None),
            (unified, "4:memory:/\n", None),
        ] {
            assert_eq!(own_path(mounts, own), want.map(PathBuf::from), "{own}");
        }
    }

    #[test]
    fn a_name_of_a_node_is_one_component() {
        assert_eq!(prefix("/run/holdfast 1"), "holdfast.-run-holdfast-1.");
    }
}
