//! The kernel's last words: what pstore kept of a panic, where the kernel left it or `systemd-pstore` took it.

use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Where they are looked for.
pub(super) const FOLDERS: [&str; 2] = ["/sys/fs/pstore", "/var/lib/systemd/pstore"];

/// What a line of the kernel is about, most telling last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum About {
    /// Memory ran out, and a process was killed for it.
    Memory,
    /// A bug in the kernel that need not be the end.
    Oops,
    /// It panicked.
    Panic,
    /// Somebody asked for a crash.
    Sysrq,
    /// The watchdog gave notice.
    Watchdog,
    /// Holdfast said why.
    Holdfast,
}

/// A line that says something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KernelLine {
    /// What about.
    pub(super) about: About,
    /// Without level and time.
    pub(super) text: String,
}

/// What was kept of one end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Dump {
    /// When, as the kernel dated it: microseconds since 1970.
    pub(super) at: i64,
    /// Its first file.
    pub(super) path: PathBuf,
    /// Lines that say something, oldest first.
    pub(super) lines: Vec<KernelLine>,
}

impl Dump {
    /// The line that says most about something.
    pub(super) fn about(&self, about: About) -> Option<&str> {
        self.lines.iter().rev().find(|line| line.about == about).map(|line| line.text.as_str())
    }
}

/// A file of a dump.
struct Part {
    at: i64,
    path: PathBuf,
    /// `Panic#2`.
    dump: String,
    part: u32,
    text: String,
}

/// All that these folders have, oldest first. What cannot be read is left out; the folders that cannot be looked into are returned.
pub(super) fn dumps(folders: &[PathBuf]) -> (Vec<Dump>, Vec<String>) {
    let (mut parts, mut failed) = (Vec::new(), Vec::new());
    for folder in folders {
        if let Err(e) = collect(folder, 0, &mut parts)
            && e.kind() != std::io::ErrorKind::NotFound
        {
            failed.push(format!("{}: {e}", folder.display()));
        }
    }
    // The kernel counts its dumps from 1 in each boot: it is the time, and parts that begin anew, that tell two apart.
    parts.sort_by(|a: &Part, b| (&a.dump, a.at, a.part).cmp(&(&b.dump, b.at, b.part)));
    let mut dumps = Vec::new();
    for of_one in parts.chunk_by_mut(|a, b| a.dump == b.dump && b.at - a.at < SAME && a.part < b.part) {
        let mut dump = Dump { at: of_one[0].at, path: of_one[0].path.clone(), lines: Vec::new() };
        // The first part is the end of the log.
        of_one.reverse();
        for part in &*of_one {
            // The first line says which part it is.
            dump.lines.extend(part.text.lines().skip(1).filter_map(line));
        }
        dumps.push(dump);
    }
    dumps.sort_by_key(|dump| dump.at);
    (dumps, failed)
}

fn collect(folder: &Path, depth: u32, parts: &mut Vec<Part>) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)?.flatten() {
        let path = entry.path();
        let Ok(about) = entry.metadata() else { continue };
        let name = entry.file_name().to_string_lossy().into_owned();
        if about.is_dir() && depth < 2 {
            // One that cannot be looked into is one part less.
            let _ = collect(&path, depth + 1, parts);
        } else if about.is_file() && name.starts_with("dmesg-") {
            let mut bytes = Vec::new();
            let read = fs::File::open(&path).and_then(|file| file.take(PART_MAX).read_to_end(&mut bytes));
            if read.is_err() {
                continue;
            }
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let (dump, part) = head(text.lines().next().unwrap_or_default());
            let at = about.mtime().saturating_mul(1_000_000) + about.mtime_nsec() / 1_000;
            parts.push(Part { at, path, dump, part, text });
        }
    }
    Ok(())
}

/// `Panic#2 Part1`
fn head(line: &str) -> (String, u32) {
    let mut words = line.split_whitespace();
    let dump = words.next().unwrap_or_default().to_owned();
    let part = words.find_map(|w| w.strip_prefix("Part")?.parse().ok()).unwrap_or(0);
    (dump, part)
}

/// `<0>[   12.345678] Kernel panic - not syncing: sysrq triggered crash`; with the caller behind the time where the kernel tells it.
fn line(raw: &str) -> Option<KernelLine> {
    let text = raw.trim();
    let text =
        text.strip_prefix('<').and_then(|t| t.split_once('>')).map_or(text, |(_, text)| text).trim_start();
    let mut text =
        text.strip_prefix('[').and_then(|t| t.split_once(']')).map_or(text, |(_, text)| text).trim_start();
    if let Some((caller, rest)) = text.strip_prefix('[').and_then(|t| t.split_once(']'))
        && caller.trim().starts_with(['T', 'C'])
    {
        text = rest.trim_start();
    }
    if let Some(said) = text.strip_prefix("holdfast: ") {
        return Some(KernelLine { about: About::Holdfast, text: said.to_owned() });
    }
    let has = |words: &[&str]| words.iter().any(|word| text.contains(word));
    let about = if has(&["pretimeout", "Software Watchdog Timer expired", "softdog: Initiating"]) {
        About::Watchdog
    } else if has(&["Trigger a crash", "sysrq triggered crash"]) {
        About::Sysrq
    } else if text.starts_with("Kernel panic") {
        About::Panic
    } else if has(&[
        "BUG:",
        "Oops",
        "general protection fault",
        "Internal error:",
        "hard LOCKUP",
        "soft lockup",
        "Machine Check Exception",
        "Hardware Error",
        "Unable to handle kernel",
        "unable to handle",
    ]) {
        About::Oops
    } else if has(&["Out of memory", "Memory cgroup out of memory", "invoked oom-killer"]) {
        About::Memory
    } else {
        return None;
    };
    Some(KernelLine { about, text: text.to_owned() })
}

/// Parts of one dump follow each other closer than this: microseconds.
const SAME: i64 = 10_000_000;
/// A part is some kilobytes.
const PART_MAX: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_told_apart() {
        let about = |text: &str| line(text).map(|l| l.about);
        let table = [
            (
                "<0>[   40.1] holdfast: Failfast: Aborting because \"cmmd\" died 0 seconds ago.",
                Some(About::Holdfast),
            ),
            ("<6>[   41.2] sysrq: Trigger a crash", Some(About::Sysrq)),
            ("<0>[   41.3] Kernel panic - not syncing: sysrq triggered crash", Some(About::Sysrq)),
            ("<0>[   41.3] Kernel panic - not syncing: watchdog pretimeout event", Some(About::Watchdog)),
            ("<0>[   41.3] Kernel panic - not syncing: Fatal exception in interrupt", Some(About::Panic)),
            (
                "<1>[  7.5][  T91] BUG: kernel NULL pointer dereference, address: 0000000000000000",
                Some(About::Oops),
            ),
            ("<3>[  7.5] Out of memory: Killed process 71 (cmmd) total-vm:1kB", Some(About::Memory)),
            ("<6>[  7.5] e1000: eth0 NIC Link is Up", None),
            ("", None),
        ];
        for (text, want) in table {
            assert_eq!(about(text), want, "{text}");
        }
        assert_eq!(line("<1>[  7.5][  T91] BUG: so").unwrap().text, "BUG: so");
    }

    #[test]
    fn parts_are_put_together_and_what_systemd_has_moved_is_found() {
        let dir = std::env::temp_dir().join(format!("holdfast-pstore-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        let (kernel, moved) = (dir.join("pstore"), dir.join("systemd"));
        fs::create_dir_all(&kernel).unwrap();
        fs::create_dir_all(moved.join("17/001")).unwrap();
        fs::write(kernel.join("dmesg-erst-1"), "Panic#2 Part1\n<0>[9.2] Kernel panic - not syncing: x\n")
            .unwrap();
        fs::write(kernel.join("dmesg-erst-2"), "Panic#2 Part2\n<0>[9.1] holdfast: why\n<6>[9.1] noise\n")
            .unwrap();
        fs::write(kernel.join("console-ramoops-0"), "Kernel panic - not a dump\n").unwrap();
        fs::write(moved.join("17/001/dmesg-efi-1"), "Oops#1 Part1\n<1>[5.0] BUG: y\n").unwrap();
        let nowhere = dir.join("nowhere");
        let (dumps, failed) = dumps(&[kernel.clone(), moved, nowhere]);
        assert_eq!(failed, [""; 0], "a folder that is not there has no dumps");
        let _ = fs::remove_dir_all(&dir);
        let mut texts: Vec<Vec<&str>> =
            dumps.iter().map(|d| d.lines.iter().map(|l| l.text.as_str()).collect()).collect();
        texts.sort();
        assert_eq!(texts, [vec!["BUG: y"], vec!["why", "Kernel panic - not syncing: x"]]);
        let panic = dumps.iter().find(|d| d.about(About::Holdfast) == Some("why")).unwrap();
        assert!(panic.at > 0 && panic.about(About::Panic).is_some() && panic.about(About::Oops).is_none());
    }

    #[test]
    fn two_panics_soon_after_each_other_are_two() {
        let dir = std::env::temp_dir().join(format!("holdfast-pstore-two-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).unwrap();
        for (name, at, head, said) in [
            ("dmesg-erst-1", 100, "Panic#1 Part1", "first"),
            ("dmesg-erst-2", 101, "Panic#1 Part2", "before first"),
            ("dmesg-erst-3", 104, "Panic#1 Part1", "second"),
            ("dmesg-erst-4", 130, "Panic#1 Part2", "third, without its end"),
        ] {
            let path = dir.join(name);
            fs::write(&path, format!("{head}\n<0>[1.0] holdfast: {said}\n")).unwrap();
            let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(at);
            fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
        }
        let (dumps, _) = dumps(std::slice::from_ref(&dir));
        let _ = fs::remove_dir_all(&dir);
        let found: Vec<(i64, Vec<&str>)> = dumps
            .iter()
            .map(|d| (d.at / 1_000_000, d.lines.iter().map(|l| l.text.as_str()).collect()))
            .collect();
        let want = [
            (100, vec!["before first", "first"]),
            (104, vec!["second"]),
            (130, vec!["third, without its end"]),
        ];
        assert_eq!(found, want);
    }
}
