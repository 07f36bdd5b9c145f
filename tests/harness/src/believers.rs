//! Who believed to be quorate, and when: what the samplers of all nodes have seen, put together. At no instant may two partitions.
//!
//! A sampler asks again and again. Between two answers "yes" that follow each other closely the node was quorate, from the end of the first
//! question to the beginning of the last: so an overlap that is found is one, and one that is longer than a few questions is
//! found. That is what a client can know, which is what a client acts upon. (The daemon's own stamps would be
//! finer, and would have to be believed.) A daemon that is stopped answers nobody: who asks it waits, and has its answer of after the stop. The
//! questions are a load, and wake the daemon up: that it tells of a lease's end by itself is shown by the tests
//! that wait for a notice.

use std::collections::{BTreeMap, VecDeque};

/// A configuration, later ones being greater: sequence number, representative.
type Ring = (u64, u32);

/// A time in which a node was quorate without a break.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Belief {
    /// Which node.
    pub node: u32,
    /// The configuration that it named last, and its members.
    pub ring: Ring,
    /// See there.
    pub members: Vec<u32>,
    /// Nanoseconds; of a single answer these are the other way round: somewhere between.
    pub from: u64,
    /// See there.
    pub until: u64,
}

/// All beliefs that were read so far.
#[derive(Clone, Debug, Default)]
pub struct Believers {
    readers: BTreeMap<u32, Reader>,
    beliefs: Vec<Belief>,
    /// A daemon was stopped from then to then: its answers are of after that.
    stops: Vec<(u32, u64, u64)>,
    /// Times between two answers, in microseconds.
    gaps: Vec<u64>,
}

/// Where one node's log has been read up to.
#[derive(Clone, Debug, Default)]
struct Reader {
    ring: Option<(Ring, Vec<u32>)>,
    open: Option<Belief>,
    last: u64,
    /// Answers that may be of a configuration that the sampler has not been told of yet: quorate, before, after.
    waiting: VecDeque<(bool, u64, u64)>,
}

impl Believers {
    /// Nothing seen yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A daemon stood still from then to then, in nanoseconds. To be told before the answers of after that are read.
    pub fn stopped(&mut self, node: u32, from: u64, until: u64) {
        self.stops.push((node, from, until));
    }

    /// Reads the next lines of a node's sampler.
    pub fn read(&mut self, node: u32, lines: &str) {
        for line in lines.lines() {
            self.line(node, line);
        }
    }

    fn line(&mut self, node: u32, line: &str) {
        let reader = self.readers.entry(node).or_default();
        let mut words = line.split(' ');
        let what = words.next().unwrap_or_default();
        let mut number = || words.next().and_then(|w| w.parse::<u64>().ok());
        match what {
            "ring" => {
                let (Some(seq), Some(of)) = (number(), number()) else { return };
                let ids = words.next().unwrap_or_default().split(',');
                let members: Vec<u32> = ids.filter_map(|id| id.parse().ok()).collect();
                let ring = ((seq, u32::try_from(of).unwrap_or(0)), members);
                if reader.ring.as_ref() != Some(&ring) {
                    self.beliefs.extend(reader.open.take());
                    reader.waiting.clear();
                }
                reader.ring = Some(ring);
            }
            "yes" | "no" => {
                let (Some(before), Some(after)) = (number(), number()) else { return };
                let stop = |s: &&(u32, u64, u64)| s.0 == node && (s.1..s.2).contains(&before);
                let before = self.stops.iter().find(stop).map_or(before, |s| s.2.min(after));
                reader.waiting.push_back((what == "yes", before, after));
                if reader.waiting.len() > UNSURE {
                    self.take(node);
                }
            }
            // `gone`
            _ => {
                while !self.readers[&node].waiting.is_empty() {
                    self.take(node);
                }
                let reader = self.readers.entry(node).or_default();
                self.beliefs.extend(reader.open.take());
                *reader = Reader::default();
            }
        }
    }

    /// The oldest answer that waits is sure to be of the configuration told last.
    fn take(&mut self, node: u32) {
        let Some(reader) = self.readers.get_mut(&node) else { return };
        let Some((yes, before, after)) = reader.waiting.pop_front() else { return };
        let gap = after.saturating_sub(reader.last);
        if reader.last > 0 {
            self.gaps.push(gap / 1_000);
        }
        reader.last = after;
        match (&mut reader.open, &reader.ring) {
            (Some(belief), _) if yes && gap < CLOSE => belief.until = before,
            (open, Some((ring, members))) if yes => {
                let members = members.clone();
                let new = Belief { node, ring: *ring, members, from: after, until: before };
                self.beliefs.extend(open.replace(new));
            }
            (open, _) => self.beliefs.extend(open.take()),
        }
    }

    /// Closes what is open. More may be read afterwards.
    fn all(&self) -> Vec<Belief> {
        self.beliefs.iter().chain(self.readers.values().filter_map(|r| r.open.as_ref())).cloned().collect()
    }

    /// Two nodes of different partitions that both were quorate at one instant, in words. Two are one partition if
    /// the later one of their configurations has both: one of them may have been told of a merge that the other has not.
    #[must_use]
    pub fn overlaps(&self) -> Vec<String> {
        let mut all = self.all();
        all.sort_by_key(|b| b.from.min(b.until));
        let mut found = Vec::new();
        for (i, a) in all.iter().enumerate() {
            let end = a.from.max(a.until);
            for b in all[i + 1..].iter().take_while(|b| b.from.min(b.until) <= end) {
                let later = if a.ring >= b.ring { a } else { b };
                let together = later.members.contains(&a.node) && later.members.contains(&b.node);
                if let Some(nanos) = common(a, b).filter(|_| a.node != b.node && !together) {
                    found.push(format!(
                        "for {:.3} ms both were quorate:\n  {a:?}\n  {b:?}",
                        nanos as f64 / 1e6
                    ));
                }
            }
        }
        found
    }

    /// The longest time in which no node at all was quorate, between these instants: nanoseconds, and when it began.
    #[must_use]
    pub fn longest_without(&self, from: u64, until: u64) -> (u64, u64) {
        let mut spans: Vec<(u64, u64)> =
            self.all().iter().map(|b| (b.from.min(b.until), b.from.max(b.until))).collect();
        spans.sort_unstable();
        let (mut seen, mut longest) = (from, (0, from));
        for (start, end) in spans.into_iter().filter(|(_, end)| *end > from) {
            let start = start.min(until);
            longest = longest.max((start.saturating_sub(seen), seen));
            seen = seen.max(end).min(until);
        }
        longest.max((until.saturating_sub(seen), seen))
    }

    /// Forgets what ended before an instant.
    pub fn forget(&mut self, before: u64) {
        self.beliefs.retain(|b| b.from.max(b.until) >= before);
    }

    /// Microseconds between two answers "yes" and no: the median, the 99th and the 99.9th of a hundred, and how many.
    #[must_use]
    pub fn gaps(&self) -> ([u64; 3], usize) {
        let mut gaps = self.gaps.clone();
        gaps.sort_unstable();
        let at = |per_mille: usize| gaps.get(gaps.len() * per_mille / 1_000).copied().unwrap_or(0);
        ([500, 990, 999].map(at), gaps.len())
    }
}

/// For how long both are sure; a single answer is somewhere between its two ends, and common only with what covers all of that.
fn common(a: &Belief, b: &Belief) -> Option<u64> {
    let single = |b: &Belief| b.from > b.until;
    match (single(a), single(b)) {
        (false, false) => a.until.min(b.until).checked_sub(a.from.max(b.from)),
        (true, false) => (b.from <= a.until && a.from <= b.until).then_some(0),
        (false, true) => (a.from <= b.until && b.from <= a.until).then_some(0),
        (true, true) => None,
    }
}

/// Notices leave at the end of the turn that answers: the next answer is of a later turn, and the notice is there before the one after it.
const UNSURE: usize = 2;

/// Answers that are further apart than this say nothing of the time between.
const CLOSE: u64 = 50_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(nodes: [&str; 2]) -> Believers {
        let mut believers = Believers::new();
        for (node, text) in [1, 2].into_iter().zip(nodes) {
            believers.read(node, text);
        }
        believers
    }

    /// So many answers, a microsecond apart.
    fn answers(yes: bool, from: u64, count: u64) -> String {
        let word = if yes { "yes" } else { "no" };
        (0..count).map(|i| format!("{word} {} {}\n", from + 1_000 * i, from + 1_000 * i + 100)).collect()
    }

    #[test]
    fn an_overlap_of_two_partitions_is_found_and_one_partition_is_none() {
        let both = format!("ring 4 1 1,2\n{}", answers(true, 1_000, 20));
        assert_eq!(seen([&both, &both]).overlaps(), [""; 0]);
        // The second one has gone on alone, and the first one does not know.
        let alone = format!("ring 8 2 2\n{}", answers(true, 5_500, 5));
        assert_eq!(seen([&both, &alone]).overlaps().len(), 1);
        // It was only once that it said so, and that is between two answers of the other.
        let once = format!("ring 8 2 2\n{}{}", answers(true, 5_500, 1), answers(false, 6_500, 3));
        assert_eq!(seen([&both, &once]).overlaps().len(), 1);
        // It said so after the other one had given up.
        let later = format!("ring 8 2 2\n{}{}", answers(false, 1_000, 20), answers(true, 21_500, 5));
        let gave_up = format!("{both}{}", answers(false, 21_000, 5));
        assert_eq!(seen([&gave_up, &later]).overlaps(), [""; 0]);
        // One that has been told of a merge, and one that has not.
        let merged =
            format!("ring 8 2 2\n{}ring 12 1 1,2\n{}", answers(true, 1_000, 9), answers(true, 10_000, 9));
        let told =
            format!("ring 8 1 1\n{}ring 12 1 1,2\n{}", answers(false, 1_000, 4), answers(true, 5_000, 9));
        assert_eq!(seen([&merged, &told]).overlaps(), [""; 0]);
        // An answer of the turn that tells of the merge comes before the notice.
        let early = format!(
            "ring 8 1 1\n{}yes 4900 4950\nring 12 1 1,2\n{}",
            answers(false, 1_000, 4),
            answers(true, 5_000, 9)
        );
        assert_eq!(seen([&merged, &early]).overlaps(), [""; 0]);
    }

    #[test]
    fn what_a_stopped_daemon_answers_is_of_after_the_stop() {
        let alone = format!("ring 8 2 2\n{}", answers(true, 2_500, 20));
        let told = format!("ring 4 1 1,2\nyes 2000 9000\n{}", answers(false, 9_100, 5));
        let mut believers = Believers::new();
        believers.stopped(1, 1_900, 8_500);
        believers.read(1, &told);
        believers.read(2, &alone);
        assert_eq!(believers.overlaps().len(), 1);
        assert_eq!(seen([&told, &alone]).overlaps(), [""; 0], "it may have been before");
    }

    #[test]
    fn times_without_anybody_are_measured() {
        let lines = "ring 4 1 1\nyes 10 11\nyes 100 101\nno 102 103\nyes 400 401\nyes 500 501\nno 502 503\nno 504 505\nno 506 507\n";
        let believers = seen([lines, ""]);
        assert_eq!(believers.longest_without(50, 500), (301, 100));
        assert_eq!(believers.longest_without(50, 1_000), (500, 500));
    }
}
