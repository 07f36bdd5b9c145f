//! What the runs have reached: states and transitions of the ring, causes of its changes, steps, quorum states, the
//! detector's decisions, answers to requests, faults. A place never reached in thousands of runs is a promise that
//! nobody has checked; `known.txt` names those that must be reached, and the few that cannot be, with the reason.
//!
//! Kinds of ring packets are sealed: they are counted in runs whose packets the simulator opens anyway
//! ([`Coverage::opens_packets`]), one seed in four.

use std::collections::BTreeMap;

use cmm_proto::{Event, Node, QuorumView, Request, StepNotice, StepPhase};

/// Places reached, and how often.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Coverage {
    places: BTreeMap<Place, u64>,
    /// By state before, input, state after: by far the most frequent ones, in a table of their own.
    ring: [[[u64; STATES.len()]; INPUTS.len()]; STATES.len()],
}

/// One place: the table it belongs to, and up to three words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place(pub &'static str, pub &'static str, pub &'static str, pub &'static str);

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} | {} | {} | {}", self.0, self.1, self.2, self.3)
    }
}

/// States of the ring, as [`Node::ring_state`] names them.
const STATES: [&str; 5] = ["GATHER", "COMMIT", "RECOVERY", "OPERATIONAL", "LEFT"];

/// What is put into a node. Packets by their numbers in [`crate::sniffer::Content::number`].
const INPUTS: [&str; 12] = [
    "token",
    "mcast",
    "join",
    "commit token",
    "merge detect",
    "hold cancel",
    "heartbeat",
    "gasp",
    "damaged packet",
    "timer",
    "persisted",
    "request",
];

/// An input of a node; its number in [`INPUTS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Input {
    Packet(u8),
    Damaged,
    Timer,
    Persisted,
    Request,
}

impl Input {
    fn index(self) -> usize {
        match self {
            Self::Packet(kind) => usize::from(kind),
            Self::Damaged => 8,
            Self::Timer => 9,
            Self::Persisted => 10,
            Self::Request => 11,
        }
    }
}

impl std::fmt::Debug for Coverage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} places", self.places().len())
    }
}

/// The index of a node's state.
pub(crate) fn state(node: &Node) -> usize {
    match node.ring_state() {
        "GATHER" => 0,
        "COMMIT" => 1,
        "RECOVERY" => 2,
        "OPERATIONAL" => 3,
        "LEFT" => 4,
        other => unreachable!("{other} is no state that the table has"),
    }
}

impl Coverage {
    /// Whether the run of this seed opens every packet to see its kind.
    #[must_use]
    pub fn opens_packets(seed: u64) -> bool {
        seed.is_multiple_of(4)
    }

    /// One input, handled to the end of its outputs.
    pub(crate) fn ring(&mut self, before: usize, input: Input, after: usize) {
        if let Some(row) = self.ring[before].get_mut(input.index()) {
            row[after] += 1;
        }
    }

    pub(crate) fn reach(&mut self, table: &'static str, a: &'static str, b: &'static str, c: &'static str) {
        *self.places.entry(Place(table, a, b, c)).or_insert(0) += 1;
    }

    /// An event that came out of a node whose input began in state `before`.
    pub(crate) fn event(&mut self, before: usize, event: &Event) {
        let state = STATES[before];
        match event {
            Event::EnterGather { text, .. } => self.reach("cause", state, text, ""),
            Event::Suspect { why, .. } => self.reach("detector", "suspect", why, state),
            Event::Probe { why, .. } => self.reach("detector", "probe", why, state),
            Event::Gasp { last_word: true, .. } => self.reach("detector", "last word", state, ""),
            Event::Gasp { .. } => self.reach("detector", "gasp", state, ""),
            Event::Paused { .. } => self.reach("detector", "paused", state, ""),
            Event::TokenLost { .. } => self.reach("event", "token lost", state, ""),
            Event::TokenLate { .. } => self.reach("event", "token late", state, ""),
            Event::Retransmit { .. } => self.reach("event", "retransmit", state, ""),
            Event::FailedToReceive => self.reach("event", "failed to receive", state, ""),
            Event::StepLate { .. } => self.reach("event", "step late", state, ""),
            Event::Reservation(event) => {
                let word = match event {
                    cmm_scsi::Event::Disk(Some(_)) => "disk fails",
                    cmm_scsi::Event::Disk(None) => "disk works",
                    cmm_scsi::Event::Holder(_) => "holder",
                    cmm_scsi::Event::Gained => "gained",
                    cmm_scsi::Event::Lost { why } => why,
                    cmm_scsi::Event::Preempted { .. } => "preempted another",
                    cmm_scsi::Event::Removed => "removed",
                    cmm_scsi::Event::NotInLast { .. } => "not in last",
                    cmm_scsi::Event::Foreign(_) => "foreign",
                    cmm_scsi::Event::Volatile => "volatile",
                };
                self.reach("reservation", word, "", "");
            }
            Event::Device(cmm_qdisk::Event::Gained { .. }) => self.reach("quorum disk", "gained", state, ""),
            Event::Device(cmm_qdisk::Event::Lost { why, .. }) => self.reach("quorum disk", "lost", why, ""),
            Event::Device(cmm_qdisk::Event::NotInLast { .. }) => {
                self.reach("quorum disk", "not in last", "", "")
            }
            Event::Device(cmm_qdisk::Event::Disk { failure, .. }) => {
                let why = failure.map_or("works", |f| match f {
                    cmm_qdisk::Failure::Io(_) => "error",
                    cmm_qdisk::Failure::Lost => "lost write",
                    cmm_qdisk::Failure::Unreadable { .. } => "unreadable",
                    cmm_qdisk::Failure::Stale(_) => "stale",
                    _ => "otherwise",
                });
                self.reach("quorum disk", "disk", why, "");
            }
            Event::Server(cmm_qnet::Event::Gained) => self.reach("quorum server", "gained", state, ""),
            Event::Server(cmm_qnet::Event::Lost { why }) => self.reach("quorum server", "lost", why, ""),
            Event::Server(cmm_qnet::Event::Disconnected { why, .. }) => {
                self.reach("quorum server", "disconnected", why, "");
            }
            Event::MessageSkipped { .. } => self.reach("event", "message skipped", state, ""),
            Event::PacketRejected { why, .. } => self.reach("rejected", why.name(), state, ""),
            _ => {} // told in other tables
        }
    }

    /// A step's notice after the one before.
    pub(crate) fn step(&mut self, before: Option<(&'static str, StepPhase)>, now: &StepNotice) {
        let phase = |phase| match phase {
            StepPhase::Begin => "begins",
            StepPhase::Done => "done",
            StepPhase::Aborted => "aborted",
        };
        let (name, was) = before.map_or(("", "start"), |(name, p)| (name, phase(p)));
        self.reach("step", now.name, phase(now.phase), if name == now.name { was } else { name });
    }

    /// What clients are told of quorum, after what they were told before.
    pub(crate) fn quorum(&mut self, before: &QuorumView, now: &QuorumView) {
        self.reach("quorum", quorum_state(before), quorum_state(now), "");
    }

    /// A death confirmed, by the words of whoever vouches for it.
    pub(crate) fn confirmed(&mut self, why: &str) {
        let grounds = ["fenced", "last word", "boot", "all processes"];
        let ground = grounds.iter().find(|g| why.contains(**g)).copied().unwrap_or("otherwise");
        self.reach("detector", "confirmed", ground, "");
    }

    /// A request and its answer.
    pub(crate) fn request(&mut self, name: &'static str, accepted: bool) {
        self.reach("request", name, if accepted { "accepted" } else { "refused" }, "");
    }
    /// Adds what another run has reached.
    pub fn add(&mut self, other: &Self) {
        for (place, count) in &other.places {
            *self.places.entry(*place).or_insert(0) += count;
        }
        for (mine, theirs) in self.ring.as_flattened_mut().iter_mut().zip(other.ring.as_flattened()) {
            for (mine, theirs) in mine.iter_mut().zip(theirs) {
                *mine += theirs;
            }
        }
    }

    /// All places reached, with how often.
    #[must_use]
    pub fn places(&self) -> BTreeMap<String, u64> {
        let mut all: BTreeMap<String, u64> = self.places.iter().map(|(p, n)| (p.to_string(), *n)).collect();
        for (before, inputs) in self.ring.iter().enumerate() {
            for (input, afters) in inputs.iter().enumerate() {
                for (after, count) in afters.iter().enumerate().filter(|(_, count)| **count > 0) {
                    all.insert(
                        Place("ring", STATES[before], INPUTS[input], STATES[after]).to_string(),
                        *count,
                    );
                }
            }
        }
        all
    }

    /// Places of the list that were not reached.
    #[must_use]
    pub fn missing(&self) -> Vec<&'static str> {
        let all = self.places();
        known()
            .filter(|(place, except)| except.is_none() && !all.contains_key(*place))
            .map(|(p, _)| p)
            .collect()
    }

    /// A table of everything, for people: what was reached and how often, then what never was.
    #[must_use]
    pub fn table(&self, seeds: u64) -> String {
        let all = self.places();
        let mut text = String::new();
        for (place, count) in &all {
            let new = if known().any(|(k, _)| k == place) { "" } else { "   (not in known.txt)" };
            text += &format!("{count:>12}  {place}{new}\n");
        }
        for (place, except) in known().filter(|(k, _)| !all.contains_key(*k)) {
            let why = except.map(|why| format!("  ({why})")).unwrap_or_default();
            text += &format!("never reached in {seeds} seeds: {place}{why}\n");
        }
        text
    }
}

/// The list: each place, and why it cannot be reached if so.
pub fn known() -> impl Iterator<Item = (&'static str, Option<&'static str>)> {
    let lines = include_str!("coverage/known.txt").lines().filter(|l| !l.is_empty() && !l.starts_with('#'));
    lines.map(|line| match line.split_once("  -- ") {
        Some((place, why)) => (place, Some(why)),
        None => (line, None),
    })
}

/// A name for a request.
pub(crate) fn request_name(request: &Request<'_>) -> &'static str {
    match request {
        Request::CpgConnect { .. } => "connect",
        Request::CpgJoin { .. } => "join group",
        Request::CpgLeave { .. } => "leave group",
        Request::CpgMcast { .. } => "multicast",
        Request::CpgDisconnect { .. } => "disconnect",
        Request::SetExpectedVotes(_) => "expected votes",
        Request::SetVotes { .. } => "votes",
        Request::CancelWaitForAll => "cancel wait_for_all",
        Request::Reload => "reload",
        Request::Reread(_) => "file read again",
        Request::SetTable(_) => "node table",
        Request::ConfirmDeath { .. } => "confirm death",
        Request::StepDone { .. } => "step done",
        Request::StepParticipant(_) => "participant",
        Request::KillNode { .. } => "kill",
        Request::Testify(_) => "testimony",
        Request::Leave => "leave",
        Request::SetLinks { .. } => "links",
        Request::ChangeKey => "change key",
        Request::FormAnew => "form anew",
        #[allow(unreachable_patterns, reason = "requests of others are welcome before they have a name here")]
        _ => "other",
    }
}

fn quorum_state(view: &QuorumView) -> &'static str {
    let reason = view.reason.as_str();
    match () {
        () if view.quorate => "quorate",
        () if view.wait_for_all_status => "waits for all",
        () if view.waits_for_lease || reason.starts_with("waits for the leases") => "waits for leases",
        () if reason == "lease ran out" => "lease ran out",
        () if reason.contains("votes") => "too few votes",
        () if reason == "no configuration yet" || reason.is_empty() => "no configuration",
        () => "resigned",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_names_each_place_once_and_an_exception_has_a_reason() {
        let mut seen = std::collections::BTreeSet::new();
        for (place, except) in known() {
            assert!(seen.insert(place), "{place} is listed twice");
            assert_eq!(place.split(" | ").count(), 4, "{place}");
            assert!(except.is_none_or(|why| why.len() > 10), "{place} needs a reason");
        }
        let coverage = Coverage::default();
        assert!(!coverage.missing().is_empty(), "a run of nothing reaches nothing");
        assert!(coverage.table(0).contains("never reached in 0 seeds"));
    }
}
