//! Watching what a resource left running: its main processes by pidfd, its cgroups by their events.
//!
//! *Main* processes are those that nothing else of the resource started: in its cgroups those whose parent is outside,
//! orphans that came to us and carry the resource's name in their environment, what pid files name, what systemd calls a
//! unit's main process, and orphans of nobody that came while the resource was started. Workers that a
//! daemon starts and ends are its own affair. When a main process ends unasked the resource is worth a look at once; one
//! look too many costs a monitor, one too few costs an interval, so in doubt a process counts as main.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::PathBuf;

use holdfast_sys::pidfd;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};

use crate::cgroup::Group;
use crate::procfs;

/// News of what is watched.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Watched {
    /// A main process ended, and no operation of the resource was under way. Its recurring monitors run now.
    Died {
        /// The resource.
        resource: String,
        /// Which process; 0: the last of its cgroup, which was none of those known as main.
        pid: u32,
        /// Its name.
        name: String,
        /// Its exit code, or 128 and the signal that ended it, where that could be learned.
        code: Option<i32>,
        /// A monitor of it recurs here, and so runs at once.
        monitored: bool,
    },
}

/// What ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Death {
    pub(crate) resource: String,
    pub(crate) pid: u32,
    pub(crate) name: String,
    pub(crate) code: Option<i32>,
}

#[derive(Debug, Default)]
pub(crate) struct Watcher {
    resources: BTreeMap<String, Entry>,
    tokens: BTreeMap<usize, Key>,
    last_token: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Key {
    Process(String, u32),
    Group(String, usize),
}

#[derive(Debug, Default)]
struct Entry {
    /// Whether deaths are told; groups are kept and removed in any case.
    told: bool,
    mains: BTreeMap<u32, Main>,
    groups: BTreeMap<usize, Group>,
    pid_files: Vec<PathBuf>,
    main: Option<u32>,
    since: Option<u64>,
    had_mains: bool,
}

#[derive(Debug)]
struct Main {
    name: String,
    fd: OwnedFd,
    token: usize,
}

impl Watcher {
    /// Tokens of its own begin here.
    pub(crate) const FIRST_TOKEN: usize = 1 << 40;

    /// What a run left in its cgroup belongs to the resource from now on.
    pub(crate) fn keep(&mut self, registry: &Registry, resource: &str, group: Group) {
        self.last_token += 1;
        let token = Self::FIRST_TOKEN + self.last_token;
        let watched = registry.register(&mut SourceFd(&group.events_fd()), Token(token), Interest::PRIORITY);
        if watched.is_ok() {
            self.tokens.insert(token, Key::Group(resource.to_owned(), token));
        }
        self.resources.entry(resource.to_owned()).or_default().groups.insert(token, group);
        self.sweep(registry, token);
    }

    /// Begins to tell deaths: what is there now is looked for. `main`: a main process that the caller knows. `since`: when
    /// the operation began (hundredths of a second since the machine was born): orphans that nothing says anything of
    /// and that were born since then count as its own.
    pub(crate) fn begin(
        &mut self,
        registry: &Registry,
        resource: &str,
        pid_files: Vec<PathBuf>,
        main: Option<u32>,
        since: Option<u64>,
    ) {
        let entry = self.resources.entry(resource.to_owned()).or_default();
        entry.told = true;
        entry.pid_files = pid_files;
        entry.main = main;
        entry.since = since;
        self.look(registry, resource);
    }

    /// Whether deaths of this one are told.
    pub(crate) fn is_told(&self, resource: &str) -> bool {
        self.resources.get(resource).is_some_and(|e| e.told)
    }

    /// Whether it has lost its main processes, and others may have taken their place.
    pub(crate) fn is_blind(&self, resource: &str) -> bool {
        self.resources.get(resource).is_some_and(|e| e.told && e.had_mains && e.mains.is_empty())
    }

    /// Processes whose death is told, with how they ended.
    pub(crate) fn pids(&self) -> BTreeSet<u32> {
        self.resources.values().flat_map(|e| e.mains.keys().copied()).collect()
    }

    /// No death is told until the next [`Self::begin`]: an operation may be what ends it.
    pub(crate) fn pause(&mut self, registry: &Registry, resource: &str) {
        let Some(entry) = self.resources.get_mut(resource) else { return };
        entry.told = false;
        for (_, main) in std::mem::take(&mut entry.mains) {
            self.tokens.remove(&main.token);
            // Closing would do it as well; to be exact.
            let _ = registry.deregister(&mut SourceFd(&main.fd.as_raw_fd()));
        }
        if entry.groups.is_empty() {
            self.resources.remove(resource);
        }
    }

    /// What the poller said about one of our tokens.
    pub(crate) fn ready(&mut self, registry: &Registry, token: Token) -> Option<Death> {
        match self.tokens.get(&token.0).cloned()? {
            Key::Process(resource, pid) => {
                let entry = self.resources.get_mut(&resource)?;
                let main = entry.mains.get(&pid)?;
                if !pidfd::has_ended(main.fd.as_fd()).unwrap_or(true) {
                    return None;
                }
                let main = entry.mains.remove(&pid)?;
                self.tokens.remove(&token.0);
                let _ = registry.deregister(&mut SourceFd(&main.fd.as_raw_fd()));
                // Agents ask `kill -0`, and a process that nobody has taken leave of says yes.
                let code = pidfd::reap(main.fd.as_fd());
                // Its children have come to others: they may be what counts now.
                self.look(registry, &resource);
                Some(Death { resource, pid, name: main.name, code })
            }
            Key::Group(resource, id) => {
                if !self.sweep(registry, id) {
                    return None;
                }
                let entry = self.resources.get(&resource)?;
                // Main processes speak for themselves. This is for what was started after the last look.
                let silent = entry.told && entry.mains.is_empty() && entry.groups.is_empty();
                silent.then(|| Death { resource, pid: 0, name: String::new(), code: None })
            }
        }
    }

    /// Removes a group that is empty. Whether it was.
    fn sweep(&mut self, registry: &Registry, token: usize) -> bool {
        let resource = self.resources.iter().find(|(_, e)| e.groups.contains_key(&token));
        let Some(resource) = resource.map(|(r, _)| r.clone()) else { return false };
        let Some(entry) = self.resources.get_mut(&resource) else { return false };
        let Some(group) = entry.groups.get(&token).filter(|g| !g.is_populated()) else { return false };
        self.tokens.remove(&token);
        let _ = registry.deregister(&mut SourceFd(&group.events_fd()));
        // Not empty after all, or held by someone: the daemon's end removes it.
        let _ = group.remove();
        entry.groups.remove(&token);
        true
    }

    /// Looks for main processes that are not known yet.
    fn look(&mut self, registry: &Registry, resource: &str) {
        let others: BTreeSet<u32> = self
            .resources
            .iter()
            .filter(|(name, _)| *name != resource)
            .flat_map(|(_, e)| e.mains.keys().copied())
            .collect();
        let Some(entry) = self.resources.get_mut(resource).filter(|e| e.told) else { return };
        let mut found: BTreeSet<u32> = BTreeSet::new();
        for group in entry.groups.values() {
            let pids: BTreeSet<u32> = group.pids().into_iter().collect();
            let main = |pid: &&u32| procfs::look(**pid).is_some_and(|p| !p.dead && !pids.contains(&p.parent));
            found.extend(pids.iter().filter(main));
        }
        let mark = format!("OCF_RESOURCE_INSTANCE={resource}");
        found.extend(procfs::adopted().into_iter().filter(|pid| procfs::carries(*pid, &mark)));
        if let Some(since) = entry.since.take() {
            let young = |pid: &u32| procfs::look(*pid).is_some_and(|p| !p.dead && p.born >= since);
            let all = procfs::adopted().into_iter();
            let strays = all.filter(|pid| !others.contains(pid) && young(pid));
            found.extend(strays.filter(|pid| procfs::is_unclaimed(*pid)));
        }
        found.extend(entry.main.take());
        found.extend(entry.pid_files.iter().filter_map(|path| procfs::of_pid_file(path)));
        for pid in found {
            if entry.mains.contains_key(&pid) || entry.mains.len() >= MAINS_MAX {
                continue;
            }
            let watched = watch_process(registry, pid, Self::FIRST_TOKEN + self.last_token + 1);
            if let Ok(Some(main)) = watched {
                self.last_token += 1;
                self.tokens.insert(main.token, Key::Process(resource.to_owned(), pid));
                entry.mains.insert(pid, main);
                entry.had_mains = true;
            }
        }
    }
}

fn watch_process(registry: &Registry, pid: u32, token: usize) -> io::Result<Option<Main>> {
    let fd = pidfd::open(pid)?;
    // Looked at with its handle in hand: it is this one or it is gone.
    let Some(process) = procfs::look(pid).filter(|p| !p.dead) else { return Ok(None) };
    registry.register(&mut SourceFd(&fd.as_raw_fd()), Token(token), Interest::READABLE)?;
    Ok(Some(Main { name: process.name, fd, token }))
}

/// Pid files that an agent's parameters name.
pub(crate) fn pid_files(params: &[(String, String)]) -> Vec<PathBuf> {
    let absolute = |value: &str| Some(PathBuf::from(value)).filter(|p| p.is_absolute());
    params
        .iter()
        .filter_map(|(name, value)| match name.to_ascii_lowercase().as_str() {
            "pid" | "pidfile" | "pid_file" => absolute(value),
            // PostgreSQL's own, below its data.
            "pgdata" => absolute(value).map(|p| p.join("postmaster.pid")),
            _ => None,
        })
        .collect()
}

/// A resource with more would be a leak of ours.
const MAINS_MAX: usize = 64;
