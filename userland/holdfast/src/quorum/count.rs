//! The arithmetic: who has votes, what they make, what a change makes of it, and whether the partition stands it. No I/O.
//!
//! The rules are those of the daemon (`cmm_proto::quorum`), from what its clients see. The daemon has the last word: this is for
//! an administrator, who wants to see what would follow before it does.

use serde::Serialize;

/// A node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Voter {
    pub(super) id: u32,
    pub(super) name: String,
    /// Votes that count now: 0 while it is away or in maintenance.
    pub(super) votes: u32,
    /// Votes of the configuration file.
    pub(super) votes_in_file: u32,
    /// It is a member of this partition.
    pub(super) present: bool,
    /// Whether its votes count, and why not.
    pub(super) place: Place,
}

/// Whether a node's votes count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Place {
    /// They do.
    #[default]
    Counted,
    /// Not until it is a member again: `last_man_standing`, `allow_downscale`.
    Away,
    /// Not until an administrator says so.
    Maintenance,
    /// The node list in force does not have it.
    Unlisted,
}

/// The quorum device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Device {
    /// As clients of votequorum see it, and what it is made of.
    pub(super) name: String,
    /// `disk`, `scsi` or `net`.
    pub(super) model: String,
    pub(super) votes: u32,
    /// Its votes count here.
    pub(super) present: bool,
    /// Its votes are expected: no administrator has disabled it.
    pub(super) enabled: bool,
}

/// With which node half of the votes are enough.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum TieBreak {
    /// With none.
    #[default]
    Off,
    Lowest,
    Highest,
    /// The first of these that is there.
    Listed(Vec<u32>),
}

/// All that votes hang on, as one node sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Electorate {
    /// In ascending order of id.
    pub(super) voters: Vec<Voter>,
    pub(super) device: Option<Device>,
    /// Expected votes that count.
    pub(super) expected: u32,
    /// `expected_votes` of the configuration file.
    pub(super) expected_in_file: Option<u32>,
    /// `two_node` is configured.
    pub(super) two_node: bool,
    pub(super) tie_break: TieBreak,
    /// Who breaks a tie now.
    pub(super) tie: Option<u32>,
}

/// What an administrator may change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Expected(u32),
    Votes { node: u32, votes: u32 },
    Maintenance { node: u32, on: bool },
    Reset,
    DeviceEnabled(bool),
    DeviceAdded(Device),
    DeviceRemoved,
}

/// What the votes make.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Tally {
    /// Votes of all nodes that count and of the device, here or not.
    pub(super) possible: u32,
    pub(super) expected: u32,
    pub(super) needed: u32,
    pub(super) present: u32,
    /// The votes are enough. (A lease, or `wait_for_all`, may still be waited for.)
    pub(super) quorate: bool,
    /// So many voters, nodes or the device, may be lost at once, whichever they are; none without quorum.
    pub(super) stands: Option<u32>,
    /// So many nodes may be lost at once while the device's vote is here.
    pub(super) stands_with_device: Option<u32>,
}

/// A change that would do harm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Harm {
    /// With the arithmetic.
    pub(super) why: String,
    /// What to type instead.
    pub(super) remedy: String,
}

impl Electorate {
    pub(super) fn voter(&self, id: u32) -> Option<&Voter> {
        self.voters.iter().find(|v| v.id == id)
    }

    pub(super) fn tally(&self) -> Tally {
        let quorate = self.has_enough(self.weight(), self.members());
        let (any, nodes) =
            if quorate { (Some(self.stands(true)), Some(self.stands(false))) } else { (None, None) };
        Tally {
            possible: sum(self.voters.iter().map(|v| v.votes)).saturating_add(self.device_votes()),
            expected: self.expected,
            needed: self.needed(),
            present: self.present(),
            quorate,
            stands: any,
            stands_with_device: nodes
                .filter(|_| self.device.as_ref().is_some_and(|d| d.present && d.enabled)),
        }
    }

    /// Votes that are here.
    fn present(&self) -> u32 {
        self.nodes_present().saturating_add(self.device_present())
    }

    fn nodes_present(&self) -> u32 {
        sum(self.voters.iter().filter(|v| v.present).map(|v| v.votes))
    }

    /// The device's votes, if they are expected.
    fn device_votes(&self) -> u32 {
        self.device.as_ref().filter(|d| d.enabled).map_or(0, |d| d.votes)
    }

    fn device_present(&self) -> u32 {
        self.device.as_ref().filter(|d| d.enabled && d.present).map_or(0, |d| d.votes)
    }

    fn members(&self) -> usize {
        self.voters.iter().filter(|v| v.present).count()
    }

    fn is_two_node(&self) -> bool {
        self.two_node && self.device.is_none() && self.members() <= 2
    }

    fn needed(&self) -> u32 {
        if self.is_two_node() { 1 } else { self.expected / 2 + 1 }
    }

    /// In half votes: whoever breaks ties has one more.
    fn need(&self) -> (u32, Option<u32>) {
        let twice = self.needed().saturating_mul(2);
        let tie = self.tie.filter(|_| self.device.is_none() && twice > self.expected);
        (tie.map_or(twice, |_| self.expected.saturating_add(1)), tie)
    }

    /// Half votes of the nodes that are here, in descending order.
    fn weights(&self) -> Vec<u32> {
        let tie = self.need().1;
        let weight =
            |v: &Voter| v.votes.saturating_mul(2).saturating_add(u32::from(v.votes > 0 && tie == Some(v.id)));
        let mut weights: Vec<u32> = self.voters.iter().filter(|v| v.present).map(weight).collect();
        weights.sort_unstable_by(|a, b| b.cmp(a));
        weights
    }

    fn weight(&self) -> u32 {
        sum(self.weights().into_iter()).saturating_add(self.device_present().saturating_mul(2))
    }

    fn has_enough(&self, weight: u32, nodes: usize) -> bool {
        nodes > 0 && weight >= self.need().0
    }

    /// How many may be lost at once, the heaviest first.
    fn stands(&self, device_too: bool) -> u32 {
        let mut voters: Vec<(u32, bool)> = self.weights().into_iter().map(|w| (w, true)).collect();
        let device = self.device_present().saturating_mul(2);
        if device > 0 && device_too {
            voters.push((device, false));
            voters.sort_unstable_by(|a, b| b.cmp(a));
        }
        let (mut rest, mut nodes) = (self.weight(), self.members());
        let mut lost = 0;
        for (weight, is_node) in voters {
            rest = rest.saturating_sub(weight);
            nodes -= usize::from(is_node);
            if !self.has_enough(rest, nodes) {
                break;
            }
            lost += 1;
        }
        lost
    }

    /// Absent nodes whose votes are expected.
    pub(super) fn missing(&self) -> impl Iterator<Item = &Voter> {
        self.voters.iter().filter(|v| !v.present && v.votes > 0)
    }

    /// Whether those who are not here may be quorate by themselves, by what they know.
    fn has_rivals(&self) -> bool {
        let (need, tie) = self.need();
        let weight =
            |v: &Voter| v.votes.saturating_mul(2).saturating_add(u32::from(v.votes > 0 && tie == Some(v.id)));
        let device = self.device_votes().saturating_sub(self.device_present()).saturating_mul(2);
        let nodes = sum(self.missing().map(weight));
        nodes > 0 && nodes.saturating_add(device) >= need
    }

    /// Whether somebody's votes do not count for now.
    fn is_scaled(&self) -> bool {
        let out = |v: &Voter| matches!(v.place, Place::Away | Place::Maintenance);
        self.voters.iter().any(out) || self.device.as_ref().is_some_and(|d| !d.enabled)
    }

    /// Nodes that have other votes than the file says, without being out of the count.
    pub(super) fn changed_at_run_time(&self) -> impl Iterator<Item = &Voter> {
        self.voters.iter().filter(|v| v.place == Place::Counted && v.votes != v.votes_in_file)
    }

    /// Expected votes as the files and the members have them: what was set at run time is void with the next change of the table.
    fn expected_by_table(&self) -> u32 {
        if self.is_scaled() { self.expected } else { self.expected_by_file() }
    }

    pub(super) fn expected_by_file(&self) -> u32 {
        let nodes = self.voters.iter().filter(|v| v.place != Place::Unlisted).map(|v| v.votes_in_file);
        let votes = self.device.as_ref().map_or(0, |d| d.votes);
        let all = sum(nodes).saturating_add(votes);
        match self.expected_in_file {
            Some(expected) if votes > 0 => expected.max(all),
            Some(expected) => expected,
            None => all,
        }
    }

    /// The votes as the table has them.
    fn count_by_table(&mut self) {
        for voter in &mut self.voters {
            voter.votes = if voter.place == Place::Counted { voter.votes_in_file } else { 0 };
        }
        let here: Vec<u32> = self.voters.iter().filter(|v| v.present && v.votes > 0).map(|v| v.id).collect();
        self.tie = match &self.tie_break {
            TieBreak::Off => None,
            TieBreak::Lowest => here.first().copied().or(self.tie),
            TieBreak::Highest => here.last().copied().or(self.tie),
            TieBreak::Listed(list) => list.iter().copied().find(|id| here.contains(id)).or(self.tie),
        };
    }

    fn counted(&self) -> u32 {
        sum(self.voters.iter().map(|v| v.votes)).saturating_add(self.device_votes())
    }

    /// What follows from a change.
    pub(super) fn after(&self, change: &Change) -> Self {
        let mut then = self.clone();
        match change {
            Change::Expected(expected) => then.expected = *expected,
            Change::Votes { node, votes } => {
                then.voters.iter_mut().filter(|v| v.id == *node).for_each(|v| v.votes = *votes);
            }
            Change::Maintenance { node, on: true } => {
                let before = self.expected_by_table();
                let votes =
                    self.voter(*node).filter(|v| v.place == Place::Counted).map_or(0, |v| v.votes_in_file);
                then.place(*node, Place::Maintenance);
                then.count_by_table();
                then.expect(before.saturating_sub(votes));
            }
            Change::Maintenance { node, on: false } => {
                then.place(*node, Place::Counted);
                then.count_by_table();
                then.expect(self.least());
            }
            Change::Reset => {
                for voter in then.voters.iter_mut().filter(|v| v.place != Place::Unlisted) {
                    voter.place = Place::Counted;
                }
                if let Some(device) = &mut then.device {
                    device.enabled = true;
                }
                then.count_by_table();
                then.expected = then.expected_by_file();
            }
            Change::DeviceEnabled(on) => {
                let before = self.expected_by_table();
                let least = if *on { self.least() } else { before.saturating_sub(self.device_votes()) };
                if let Some(device) = then.device.as_mut().filter(|d| d.enabled != *on) {
                    device.enabled = *on;
                    device.present = false;
                }
                then.count_by_table();
                then.expect(least);
            }
            // The file follows what is in force already.
            Change::DeviceAdded(_) | Change::DeviceRemoved if self.is_so(change) => {}
            Change::DeviceAdded(device) => {
                then.device = Some(device.clone());
                then.tie_break = TieBreak::Off;
                then.two_node = false;
                then.count_by_table();
                then.expect(self.least());
            }
            Change::DeviceRemoved => {
                then.device = None;
                then.count_by_table();
                then.expect(self.least());
            }
        }
        let here = then.nodes_present().saturating_add(then.device_votes());
        then.expected = then.expected.max(here);
        then
    }

    /// What expected votes do not fall below while somebody is out of the count: the daemon does not say, and what it expects now is
    /// the most that it can be.
    fn least(&self) -> u32 {
        if self.is_scaled() { self.expected } else { 0 }
    }

    /// Expected votes of another table.
    fn expect(&mut self, least: u32) {
        self.expected =
            if self.is_scaled() { self.counted().max(least).max(1) } else { self.expected_by_file() };
    }

    fn place(&mut self, node: u32, place: Place) {
        self.voters.iter_mut().filter(|v| v.id == node).for_each(|v| v.place = place);
    }

    /// The hardest instant on the way: votes set at run time fall at once and rise at last, expected votes the other way round.
    fn on_the_way(&self, change: &Change) -> Option<Self> {
        let after = self.after(change);
        let mut way = self.clone();
        match change {
            Change::Votes { node, votes } => {
                way.voters.iter_mut().filter(|v| v.id == *node).for_each(|v| v.votes = v.votes.min(*votes));
            }
            Change::Expected(_) => {}
            _ => return None,
        }
        way.expected = self.expected.max(after.expected);
        Some(way)
    }

    /// Whether it is as the change wants it.
    pub(super) fn is_so(&self, change: &Change) -> bool {
        match change {
            Change::Expected(expected) => self.expected == *expected,
            Change::Votes { node, votes } => self.voter(*node).is_some_and(|v| v.votes == *votes),
            Change::Maintenance { node, on } => {
                self.voter(*node).is_some_and(|v| (v.place == Place::Maintenance) == *on)
            }
            Change::Reset => {
                !self.is_scaled()
                    && self.changed_at_run_time().next().is_none()
                    && self.expected == self.after(&Change::Reset).expected
            }
            Change::DeviceEnabled(on) => self.device.as_ref().is_some_and(|d| d.enabled == *on),
            Change::DeviceAdded(device) => self.device.as_ref().is_some_and(|d| d.votes == device.votes),
            Change::DeviceRemoved => self.device.is_none(),
        }
    }

    /// What would be bad about a change, if anything.
    pub(super) fn harm(&self, change: &Change) -> Option<Harm> {
        let why = self.why_not(change)?;
        let now = self.tally();
        let remedy = match change {
            Change::Expected(expected) if *expected < self.least_expected() => {
                format!("holdfast quorum expected {}", self.least_expected())
            }
            Change::Expected(_) if !now.quorate => {
                let names = self.names(self.missing());
                format!(
                    "make sure that {names} are down, and type the same with --force and the cluster's name"
                )
            }
            Change::DeviceAdded(_) | Change::DeviceRemoved => self.instead(change),
            _ if !now.quorate => {
                let expected = now.present.saturating_mul(2).saturating_sub(1).max(1);
                format!("{}holdfast quorum expected {expected}", self.start_or("if they are down for good: "))
            }
            _ => self.instead(change),
        };
        Some(Harm { why, remedy })
    }

    /// Votes that are here with the device's, wherever it is: not fewer can be expected.
    fn least_expected(&self) -> u32 {
        self.nodes_present().saturating_add(self.device_votes())
    }

    /// Why a change is not to be made.
    fn why_not(&self, change: &Change) -> Option<String> {
        let after = self.after(change);
        if after == *self && matches!(change, Change::DeviceAdded(_) | Change::DeviceRemoved) {
            return None;
        }
        let (now, then) = (self.tally(), after.tally());
        if let Change::Expected(expected) = change {
            let least = self.least_expected();
            if *expected < least {
                let device = if self.device_votes() > 0 { ", the quorum device's included," } else { "" };
                return Some(format!(
                    "the votes that are here{device} make {least}, and not fewer can be expected"
                ));
            }
            if !now.quorate && then.quorate && self.has_rivals() {
                return Some(format!(
                    "{} may be quorate without this partition: they have the {} votes that were needed, and then two partitions \
                     would be",
                    self.names(self.missing()),
                    now.needed
                ));
            }
        }
        if !now.quorate
            && !matches!(change, Change::Expected(_) | Change::DeviceAdded(_) | Change::DeviceRemoved)
        {
            return Some(format!(
                "this partition is not quorate ({} of {} votes, {} needed), and a change of votes takes a quorate one",
                now.present, now.expected, now.needed
            ));
        }
        if !then.quorate && (now.quorate || !matches!(change, Change::Expected(_))) {
            let would = if now.quorate { "would lose quorum" } else { "is not quorate, and would not be" };
            return Some(format!(
                "the partition {would}: {} of {} votes would be present and {} needed",
                then.present, then.expected, then.needed
            ));
        }
        let way = self.on_the_way(change).map(|way| way.tally());
        if let Some(way) = way.filter(|way| now.quorate && !way.quorate) {
            return Some(format!(
                "on the way there the partition would lose quorum: a node's votes rise last, and {} of {} votes would be present \
                 and {} needed",
                way.present, way.expected, way.needed
            ));
        }
        self.leans_on_device(&after).filter(|_| !matches!(change, Change::Expected(_) | Change::Votes { .. }))
    }

    /// Majorities before and after a change have to share a voter. The device is one only where the nodes need it before and after,
    /// and a server never is: it does not remember whom it served.
    fn leans_on_device(&self, after: &Self) -> Option<String> {
        let model = |votes: &Self| votes.device.as_ref().filter(|d| d.enabled).map(|d| d.model.clone());
        let alone = |votes: &Self| votes.has_enough(sum(votes.weights().into_iter()), votes.members());
        let before = model(self);
        let shares = before.is_some() && before == model(after) && !alone(self);
        let server = before.as_deref() == Some(SERVER);
        let counts = |votes: &Self| {
            format!(
                "{} of {} votes, and {} are needed",
                votes.nodes_present(),
                votes.expected,
                votes.needed()
            )
        };
        if server && !alone(self) {
            return Some(format!(
                "the nodes have to be quorate without the server's vote for that: they have {}",
                counts(self)
            ));
        }
        if !alone(after) && !shares {
            return Some(format!(
                "the nodes have to be quorate without the quorum device's vote after it, since they are before: they would have {}",
                counts(after)
            ));
        }
        None
    }

    /// What can be typed instead of a change that would cost quorum.
    fn instead(&self, change: &Change) -> String {
        let now = self.tally();
        match change {
            Change::Expected(_) => {
                let most = now.present.saturating_mul(2).saturating_sub(1);
                format!("holdfast quorum expected {most}    (the most that these votes are a majority of)")
            }
            Change::Votes { node, votes } => {
                let before = self.voter(*node).map_or(0, |v| v.votes);
                let stays = |n: &u32| {
                    let change = Change::Votes { node: *node, votes: *n };
                    let way = self.on_the_way(&change).is_none_or(|way| way.tally().quorate);
                    way && self.after(&change).tally().quorate
                };
                let name = self.voter(*node).map_or_else(|| node.to_string(), |v| v.name.clone());
                let towards = if *votes > before {
                    (before + 1..*votes).rev().find(stays)
                } else {
                    (*votes..before).find(stays)
                };
                match towards {
                    Some(n) => format!("holdfast quorum votes {name} {n}    (step by step)"),
                    None => format!("{}holdfast quorum status", self.start_or("look at: ")),
                }
            }
            Change::Maintenance { on: true, .. } => {
                let disable = Change::DeviceEnabled(false);
                let enabled = self.device.as_ref().is_some_and(|d| d.enabled);
                if enabled
                    && self.why_not(&disable).is_none()
                    && self.after(&disable).why_not(change).is_none()
                {
                    return "first: holdfast quorum device disable".to_owned();
                }
                format!("{}holdfast quorum status", self.start_or("look at: "))
            }
            Change::Maintenance { on: false, .. } | Change::Reset => {
                let out: Vec<&Voter> =
                    self.voters.iter().filter(|v| v.place != Place::Counted && !v.present).collect();
                let names = self.names(out.into_iter());
                if names.is_empty() {
                    "holdfast quorum status".to_owned()
                } else {
                    format!("start {names} first")
                }
            }
            Change::DeviceEnabled(_) | Change::DeviceRemoved | Change::DeviceAdded(_) => {
                if let Some(votes) = self.fewer_votes(change) {
                    return format!("add it with fewer votes: --votes {votes}");
                }
                let mut without = self.clone();
                let mut lines = Vec::new();
                // As in Sun Cluster: what is to go is taken out of the count first.
                let disable = (Change::DeviceEnabled(false), "holdfast quorum device disable".to_owned());
                let missing = self.missing().map(|v| {
                    let change = Change::Maintenance { node: v.id, on: true };
                    (change, format!("holdfast quorum maintenance {} on", v.name))
                });
                let disable = (*change == Change::DeviceRemoved).then_some(disable);
                for (step, line) in missing.chain(disable) {
                    if without.why_not(&step).is_some() {
                        break;
                    }
                    without = without.after(&step);
                    lines.push(line);
                    if without.why_not(change).is_none() {
                        return format!(
                            "{}{}",
                            self.start_or("or, where it stays down, first: "),
                            lines.join("; ")
                        );
                    }
                }
                format!("{}holdfast quorum status", self.start_or("look at: "))
            }
        }
    }

    /// With how many votes a device could be added.
    fn fewer_votes(&self, change: &Change) -> Option<u32> {
        let Change::DeviceAdded(device) = change else { return None };
        let fits = |votes: &u32| {
            self.after(&Change::DeviceAdded(Device { votes: *votes, ..device.clone() })).tally().quorate
        };
        (1..device.votes.min(VOTES_TRIED)).rev().find(fits)
    }

    fn start_or(&self, otherwise: &str) -> String {
        let names = self.names(self.missing());
        if names.is_empty() { String::new() } else { format!("start {names} first; {otherwise}") }
    }

    /// `n1`, `n1 and n2`, `n1, n2 and n3`.
    pub(super) fn names<'a>(&self, voters: impl Iterator<Item = &'a Voter>) -> String {
        let names: Vec<&str> = voters.map(|v| v.name.as_str()).collect();
        match names.as_slice() {
            [] => String::new(),
            [one] => (*one).to_owned(),
            [rest @ .., last] => format!("{} and {last}", rest.join(", ")),
        }
    }
}

impl Change {
    /// In words, for a heading.
    pub(super) fn words(&self, of: &Electorate) -> String {
        let name = |id: &u32| of.voter(*id).map_or_else(|| id.to_string(), |v| v.name.clone());
        match self {
            Self::Expected(n) => format!("expected {n}"),
            Self::Votes { node, votes } => format!("{} has {votes}", name(node)),
            Self::Maintenance { node, on: true } => format!("{} in maintenance", name(node)),
            Self::Maintenance { node, on: false } => format!("{} out of maintenance", name(node)),
            Self::Reset => "all count as the configuration file says".to_owned(),
            Self::DeviceEnabled(true) => "the quorum device enabled".to_owned(),
            Self::DeviceEnabled(false) => "the quorum device disabled".to_owned(),
            Self::DeviceAdded(device) => format!("quorum device {}, votes {}", device.name, device.votes),
            Self::DeviceRemoved => "no quorum device".to_owned(),
        }
    }
}

/// `model` of a quorum server.
const SERVER: &str = "net";
/// No cluster has a use for more votes of a device than these.
const VOTES_TRIED: u32 = 1_000;

fn sum(votes: impl Iterator<Item = u32>) -> u32 {
    votes.fold(0, u32::saturating_add)
}
