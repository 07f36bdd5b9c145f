//! What /proc says about processes.

use std::fs;
use std::path::Path;

/// One process, as it was when it was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Process {
    /// Its number.
    pub(crate) pid: u32,
    /// Its parent's.
    pub(crate) parent: u32,
    /// Its name.
    pub(crate) name: String,
    /// Ended, and not taken leave of.
    pub(crate) dead: bool,
    /// When it was born: hundredths of a second since the machine was.
    pub(crate) born: u64,
}

/// Looks at one process. `None`: there is none.
pub(crate) fn look(pid: u32) -> Option<Process> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    parse(pid, &String::from_utf8_lossy(&stat))
}

/// A name may hold anything, also blanks and parentheses: the last `)` ends it.
fn parse(pid: u32, stat: &str) -> Option<Process> {
    let (head, tail) = stat.rsplit_once(')')?;
    let name = head.split_once('(')?.1.to_owned();
    let mut fields = tail.split_whitespace();
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    let born = fields.nth(17).and_then(|f| f.parse().ok()).unwrap_or(0);
    Some(Process { pid, parent, name, dead: matches!(state, "Z" | "X"), born })
}

/// All processes.
pub(crate) fn all() -> Vec<Process> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|e| e.file_name().to_str()?.parse().ok()).filter_map(look).collect()
}

/// What descends from a process, itself included.
pub(crate) fn descendants(of: u32) -> Vec<Process> {
    let all = all();
    let mut found: Vec<Process> = all.iter().filter(|p| p.pid == of).cloned().collect();
    let mut at = 0;
    while at < found.len() {
        let parent = found[at].pid;
        found.extend(all.iter().filter(|p| p.parent == parent && p.pid != of).cloned());
        at += 1;
    }
    found
}

/// Processes that came to this one when their parents ended (where it adopts orphans).
pub(crate) fn adopted() -> Vec<u32> {
    let me = std::process::id();
    let children = fs::read_to_string(format!("/proc/{me}/task/{me}/children")).unwrap_or_default();
    children.split_whitespace().filter_map(|p| p.parse().ok()).collect()
}

/// Whether a process was started with this environment entry.
pub(crate) fn carries(pid: u32, entry: &str) -> bool {
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    environment.split(|b| *b == 0).any(|e| e == entry.as_bytes())
}

/// Whether nothing says whose a process is: no resource in its environment (`su -` clears it), none of our cgroups.
pub(crate) fn is_unclaimed(pid: u32) -> bool {
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    let cgroup = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    !environment.split(|b| *b == 0).any(|e| e.starts_with(b"OCF_RESOURCE_INSTANCE="))
        && !cgroup.contains("/holdfast.")
}

/// The process that a file names in its first line, if it lives.
pub(crate) fn of_pid_file(path: &Path) -> Option<u32> {
    let text = fs::read_to_string(path).ok()?;
    let pid = text.lines().next()?.trim().parse().ok()?;
    look(pid).filter(|p| !p.dead && pid > 1).map(|p| p.pid)
}

/// Where processes hang, in a few words each: name, number, what of the kernel they wait in.
pub(crate) fn whereabouts(processes: &[Process]) -> String {
    let one = |p: &Process| {
        let place = fs::read_to_string(format!("/proc/{}/wchan", p.pid)).unwrap_or_default();
        match place.trim() {
            "" | "0" => format!("{} ({})", p.name, p.pid),
            place => format!("{} ({}, in {place})", p.name, p.pid),
        }
    };
    processes.iter().filter(|p| !p.dead).take(WHEREABOUTS_MAX).map(one).collect::<Vec<_>>().join(", ")
}

const WHEREABOUTS_MAX: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_is_read_to_its_end() {
        let process = parse(7, "7 (a) S (b)) Z 12 7 7 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 4117559 0").unwrap();
        assert_eq!((process.name.as_str(), process.parent, process.dead), ("a) S (b)", 12, true));
        assert_eq!(process.born, 4_117_559);
        assert_eq!(parse(7, "7 nothing"), None);
    }

    #[test]
    fn we_descend_from_our_parent() {
        let me = look(std::process::id()).unwrap();
        let below = descendants(me.parent);
        assert!(below.iter().any(|p| p.pid == me.pid) && below[0].pid == me.parent, "{below:?}");
    }
}
