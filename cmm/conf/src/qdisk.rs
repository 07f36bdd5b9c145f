//! `quorum { device { model: disk  disk { } } }`: quorum disks and the heuristics that say whether a node is fit to have their
//! vote. Names and defaults are qdiskd's, times in milliseconds.

use holdfast_types::Span;

use crate::heuristics::{Heuristic, Heuristics, TESTS_MAX, max_score};
use crate::schema::parse_number;
use crate::{Diagnostics, Item, Section};

/// One quorum disk, or several of which a majority counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuorumDisk {
    /// `device.disk.device` and `device.disk.label`, one line each.
    pub disks: Vec<DiskName>,
    /// `device.disk.interval`: each node writes and reads once in this time.
    pub interval: Span,
    /// `device.disk.tko`: after so many intervals of silence another node may have the vote.
    pub tko: u32,
    /// `device.disk.heuristic { }`; none: every node is fit.
    pub heuristics: Vec<Heuristic>,
    /// `device.disk.min_score`: a node that reaches less is not fit; by default more than half of what can be reached.
    pub min_score: u16,
    /// `device.disk.upgrade_wait`: so many intervals pass between a sufficient score and a bid for the vote.
    pub upgrade_wait: u32,
}

/// What a disk is found by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DiskName {
    /// A block device or file, by its absolute path.
    Path(String),
    /// The label that it got when it was made: all block devices are looked at.
    Label(String),
}

impl std::fmt::Display for DiskName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Path(path) => f.write_str(path),
            Self::Label(label) => write!(f, "label \"{label}\""),
        }
    }
}

impl QuorumDisk {
    /// How long the vote counts from the beginning of a write.
    #[must_use]
    pub fn lease(&self) -> Span {
        self.interval.scale(self.tko.into(), 1)
    }

    /// The heuristics. One may run for an interval less than the lease, so that the vote goes in order.
    #[must_use]
    pub fn fitness(&self) -> Heuristics {
        Heuristics {
            tests: self.heuristics.clone(),
            limit: limit(self.interval, self.tko),
            min_score: self.min_score,
            wait: self.interval.scale(self.upgrade_wait.into(), 1),
        }
    }

    /// What all heuristics reach together; 1 where there are none.
    #[must_use]
    pub fn max_score(&self) -> u16 {
        max_score(&self.heuristics)
    }
}

fn limit(interval: Span, tko: u32) -> Span {
    interval.scale(u64::from(tko).saturating_sub(1).max(1), 1)
}

pub(crate) fn read(device: &Section, found: &mut Diagnostics) -> Option<QuorumDisk> {
    let number = |key: &str| device.get(&["disk"], key).and_then(|i| parse_number(&i.value));
    let disks = names(device, found)?;
    let narrow = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
    let interval = Span::from_millis(number("interval").unwrap_or(1_000));
    let tko = number("tko").map_or(4, narrow);
    let heuristics = heuristics(device, interval, tko, found);
    let mut disk = QuorumDisk {
        disks,
        interval,
        tko,
        heuristics,
        min_score: 0,
        upgrade_wait: number("upgrade_wait").map_or(2, narrow),
    };
    disk.min_score = min_score(device, &disk, found);
    if disk.upgrade_wait > tko {
        let at = device.get(&["disk"], "upgrade_wait").map_or(device.at(), Item::at);
        let text = format!(
            "upgrade_wait {} is longer than tko {tko}: a node that is fit again would stand aside for longer than a dead one is waited for; write {tko} or less",
            disk.upgrade_wait
        );
        found.error(at, text);
    }
    Some(disk)
}

/// Which disks, in the order of their lines.
fn names(device: &Section, found: &mut Diagnostics) -> Option<Vec<DiskName>> {
    let items = |key: &'static str| device.all("disk").flat_map(move |d| d.all_items(key));
    let mut disks: Vec<(u32, DiskName)> = Vec::new();
    disks.extend(items("device").map(|i| (i.line, DiskName::Path(i.value.clone()))));
    disks.extend(items("label").map(|i| (i.line, DiskName::Label(i.value.clone()))));
    disks.sort();
    let relative = |name: &DiskName| matches!(name, DiskName::Path(path) if !path.starts_with('/'));
    if disks.is_empty() || disks.len() > DISKS_MAX || disks.iter().any(|(_, name)| relative(name)) {
        let text = "a quorum disk is named by an absolute path or by its label, one to seven of them; write \"disk { device: /dev/disk/by-id/… }\" or \"disk { label: … }\" with a line for each";
        found.error(device.at(), text);
        return None;
    }
    if disks.iter().enumerate().any(|(n, (_, name))| disks[..n].iter().any(|(_, other)| other == name)) {
        found.error(device.at(), "a quorum disk is named twice; name each once");
        return None;
    }
    if let Some((line, DiskName::Label(label))) =
        disks.iter().find(|(_, n)| matches!(n, DiskName::Label(l) if l.len() > LABEL_MAX))
    {
        let text =
            format!("a label has up to {LABEL_MAX} bytes, and \"{label}\" has {}; correct it", label.len());
        found.error((*line, 0), text);
        return None;
    }
    Some(disks.into_iter().map(|(_, name)| name).collect())
}

/// The heuristics, with qdiskd's defaults: by how long a dead node is waited for they are run every one to five seconds, and as
/// often as that fits in.
fn heuristics(device: &Section, interval: Span, tko: u32, found: &mut Diagnostics) -> Vec<Heuristic> {
    let all: Vec<&Section> = device.all("disk").flat_map(|d| d.all("heuristic")).collect();
    if let Some(one_too_many) = all.get(TESTS_MAX) {
        let text =
            format!("more than {TESTS_MAX} heuristics; put several tests into one program (\"a && b\")");
        found.error(one_too_many.at(), text);
    }
    let limit = limit(interval, tko);
    let mut heuristics = Vec::new();
    for section in all.into_iter().take(TESTS_MAX) {
        let number = |key: &str| section.get(&[], key).and_then(|i| parse_number(&i.value));
        let program = section.get(&[], "program").map(|i| i.value.trim()).filter(|p| !p.is_empty());
        let Some(program) = program else {
            let text = "a heuristic without a program; write \"program: ping -c1 -w1 ADDRESS\", or what tells that this node is of use";
            found.error(section.at(), text);
            continue;
        };
        let every = number("interval").map_or_else(|| usual_interval(limit), Span::from_millis);
        let fits = limit.as_nanos() / every.as_nanos().max(1);
        let usual_tko = u32::try_from(fits).unwrap_or(u32::MAX).max(1);
        heuristics.push(Heuristic {
            program: program.to_owned(),
            score: number("score").and_then(|n| u16::try_from(n).ok()).unwrap_or(1),
            interval: every,
            tko: number("tko").and_then(|n| u32::try_from(n).ok()).unwrap_or(usual_tko),
        });
    }
    heuristics
}

/// qdiskd's table; where the whole time is shorter than two of its intervals, half of it.
fn usual_interval(limit: Span) -> Span {
    let seconds = match limit.as_millis() {
        0..=4_999 => 1,
        5_000..=22_999 => 2,
        23_000..=39_999 => 3,
        40_000..=50_999 => 4,
        _ => 5,
    };
    Span::from_secs(seconds).min(limit.scale(1, 2)).max(Span::from_millis(HEURISTIC_MS_MIN))
}

fn min_score(device: &Section, disk: &QuorumDisk, found: &mut Diagnostics) -> u16 {
    let max = disk.max_score();
    let item = device.get(&["disk"], "min_score");
    let set = item.and_then(|i| parse_number(&i.value)).and_then(|n| u16::try_from(n).ok());
    let at = item.map_or(device.at(), Item::at);
    match set.filter(|n| *n > 0) {
        Some(set) if disk.heuristics.is_empty() => {
            let text = format!(
                "min_score {set} without heuristics: there is nothing to reach it by; add \"heuristic {{ program: … }}\", or remove the line"
            );
            found.error(at, text);
            1
        }
        Some(set) if set > max => {
            let text =
                format!("min_score {set} can never be reached: all heuristics together have {max}; write {max} or less");
            found.error(at, text);
            set
        }
        Some(set) => set,
        None => max / 2 + 1,
    }
    .max(1)
}

/// As on the disk.
const DISKS_MAX: usize = 7;
const LABEL_MAX: usize = 120;
/// Programs are not run more often than this.
pub(crate) const HEURISTIC_MS_MIN: u64 = 100;
