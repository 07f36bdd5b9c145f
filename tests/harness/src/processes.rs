//! Looking at processes through `/proc`, and signalling them without hitting a stranger.

use std::fs;

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// One process as this machine sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its pid outside of the node.
    pub pid: u32,
    /// Its pid inside of the node's PID namespace.
    pub inner_pid: u32,
    /// Its name (at most 15 bytes, as the kernel keeps it).
    pub name: String,
    /// When it started, in clock ticks since boot: with the pid, who it is.
    start_time: u64,
}

impl Process {
    /// Sends a signal, if the process is still the one that was found.
    ///
    /// # Errors
    /// When it is gone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let now = stat(self.pid).with_context(|| format!("{} ({}) is gone", self.name, self.pid))?;
        // A zombie takes signals, and is gone all the same.
        let gone = now.start_time != self.start_time || matches!(now.state, 'Z' | 'X');
        anyhow::ensure!(!gone, "{} ({}) is gone", self.name, self.pid);
        let pid = Pid::from_raw(i32::try_from(self.pid)?);
        kill(pid, signal).with_context(|| format!("signalling {} ({})", self.name, self.pid))
    }

    /// Whether it is still there and not a zombie.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        stat(self.pid).is_some_and(|s| s.start_time == self.start_time && !matches!(s.state, 'Z' | 'X'))
    }

    /// Whether it is stopped by a signal.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        stat(self.pid).is_some_and(|s| s.start_time == self.start_time && s.state == 'T')
    }
}

/// The processes of one PID namespace, zombies left out, ascending by outer pid. `namespace` is what
/// [`pid_namespace`] gave.
#[must_use]
pub(crate) fn in_namespace(namespace: &str) -> Vec<Process> {
    let mut found: Vec<_> = all_pids()
        .filter(|pid| pid_namespace(*pid).is_some_and(|n| n == namespace))
        .filter_map(|pid| {
            let stat = stat(pid)?;
            if matches!(stat.state, 'Z' | 'X') {
                return None;
            }
            let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
            let inner = status.lines().find(|l| l.starts_with("NSpid:"))?.split_whitespace().next_back()?;
            Some(Process {
                pid,
                inner_pid: inner.parse().ok()?,
                name: stat.name,
                start_time: stat.start_time,
            })
        })
        .collect();
    found.sort_by_key(|p| p.pid);
    found
}

/// The PID namespace of a process, as the kernel names it.
#[must_use]
pub(crate) fn pid_namespace(pid: u32) -> Option<String> {
    fs::read_link(format!("/proc/{pid}/ns/pid")).ok()?.into_os_string().into_string().ok()
}

/// The first child of a process.
#[must_use]
pub(crate) fn child_of(parent: u32) -> Option<u32> {
    all_pids().find(|pid| stat(*pid).is_some_and(|s| s.parent == parent))
}

fn all_pids() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|e| e.file_name().to_str()?.parse().ok())
}

struct Stat {
    name: String,
    state: char,
    parent: u32,
    start_time: u64,
}

/// `/proc/PID/stat`: the name stands in brackets and may itself hold brackets and blanks.
fn stat(pid: u32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (name, rest) = text.split_once('(')?.1.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    let state = fields.next()?.chars().next()?;
    let parent = fields.next()?.parse().ok()?;
    let start_time = fields.nth(17)?.parse().ok()?;
    Some(Stat { name: name.to_owned(), state, parent, start_time })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_found_in_its_namespace() {
        let me = std::process::id();
        let all = in_namespace(&pid_namespace(me).unwrap());
        let found = all.iter().find(|p| p.pid == me).unwrap();
        assert!(found.is_alive() && !found.is_stopped());
    }
}
