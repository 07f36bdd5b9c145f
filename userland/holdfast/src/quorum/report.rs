//! What `holdfast quorum` shows: the state of votes, and a change before and after, as aligned text and as JSON. Pure.

use std::fmt::Write;

use anstyle::Style;
use serde_json::{Value, json};
use status::table::{BAD, GOOD, PLAIN, Table, WARN, bold, bold_cell, paint};

use super::count::{Change, Electorate, Harm, Place, Tally, Voter};
use super::seen::Seen;

/// The state of votes as text.
pub(super) fn status_text(seen: &Seen) -> String {
    let tally = seen.votes.tally();
    let mut out = format!(
        "{}, votes as {} counts them\n\n",
        bold(&format!("Cluster {}", seen.cluster)),
        seen.node.name
    );
    let mut t = Table::default();
    t.row([bold_cell("Quorum"), quorum(seen)]);
    if !seen.quorate && !seen.waits_for.is_empty() {
        t.row([bold_cell("Waits for"), (seen.waits_for.clone(), WARN)]);
    }
    t.row([bold_cell("Votes possible"), (possible(&tally), PLAIN)]);
    t.row([bold_cell("Votes needed"), (needed(seen), PLAIN)]);
    t.row([bold_cell("Votes present"), (seen.present.to_string(), if seen.quorate { PLAIN } else { BAD })]);
    t.row([bold_cell("Stands"), stands(seen.quorate, &tally)]);
    let flags: Vec<&str> = seen.flags.iter().map(String::as_str).filter(|f| *f != "Quorate").collect();
    if !flags.is_empty() {
        t.row([bold_cell("Flags"), (flags.join(" "), PLAIN)]);
    }
    if let Some(tie) = seen.votes.tie {
        let name = seen.votes.voter(tie).map_or_else(|| tie.to_string(), |v| v.name.clone());
        t.row([bold_cell("Breaks ties"), (name, PLAIN)]);
    }
    if !seen.next.is_empty() {
        let list = seen.next.iter().map(u32::to_string).collect::<Vec<_>>().join(" ");
        t.row([bold_cell("Under way"), (format!("the votes of nodes {list} by another table"), WARN)]);
    }
    if !seen.waits.is_empty() {
        t.row([bold_cell("File waits"), (seen.waits.clone(), WARN)]);
    }
    out += &t.render(0);
    let mut t = Table::default();
    t.row(["NODE", "ID", "PRESENT", "POSSIBLE", "STATUS", ""].map(bold_cell));
    for voter in &seen.votes.voters {
        let present = if voter.present { voter.votes } else { 0 };
        let (state, style) = state(voter);
        t.row([
            (voter.name.clone(), PLAIN),
            (voter.id.to_string(), PLAIN),
            (present.to_string(), PLAIN),
            (voter.votes.to_string(), PLAIN),
            (state.to_owned(), style),
            (remarks(seen, voter), PLAIN),
        ]);
    }
    let _ = write!(out, "\n{}", t.render(0));
    if let Some(device) = &seen.votes.device {
        let mut t = Table::default();
        t.row(["DEVICE", "PRESENT", "POSSIBLE", "STATUS", ""].map(bold_cell));
        let counts = if device.enabled { device.votes } else { 0 };
        let (state, style) = match (device.enabled, device.present) {
            (false, _) => ("disabled", WARN),
            (true, true) => ("online", GOOD),
            (true, false) => ("not here", WARN),
        };
        t.row([
            (device.name.clone(), PLAIN),
            (if device.present { counts } else { 0 }.to_string(), PLAIN),
            (counts.to_string(), PLAIN),
            (state.to_owned(), style),
            (device_remarks(seen, device.enabled), PLAIN),
        ]);
        let _ = write!(out, "\n{}", t.render(0));
    }
    out
}

/// What the device is, who has its votes, and why they are not here.
fn device_remarks(seen: &Seen, enabled: bool) -> String {
    let device = &seen.served_by;
    let mut words = Vec::new();
    for part in &device.parts {
        let failure = if part.failure.is_empty() { String::new() } else { format!(" ({})", part.failure) };
        words.push(format!("{} {}{failure}", device.model, part.name));
    }
    if let Some(owner) = device.owner.as_ref().filter(|_| enabled) {
        words.push(format!("owned by {owner}"));
    }
    if !device.why.is_empty() && enabled {
        words.push(device.why.clone());
    }
    if !enabled {
        words.push("holdfast quorum device enable ends it".to_owned());
    }
    words.join(", ")
}

fn quorum(seen: &Seen) -> (String, Style) {
    match () {
        () if seen.quorate => ("yes".to_owned(), GOOD),
        () if seen.waits_for_lease => ("not yet: the lease of a lost member may still run".to_owned(), WARN),
        () if seen.reason.is_empty() => ("NO".to_owned(), BAD),
        () => (format!("NO: {}", seen.reason), BAD),
    }
}

fn possible(tally: &Tally) -> String {
    match tally.expected == tally.possible {
        true => tally.possible.to_string(),
        false => format!("{} ({} expected)", tally.possible, tally.expected),
    }
}

fn needed(seen: &Seen) -> String {
    match seen.votes.tie.and_then(|id| seen.votes.voter(id)) {
        Some(tie) if seen.votes.expected.is_multiple_of(2) && seen.needed > 1 => {
            format!("{}, or {} with {}", seen.needed, seen.votes.expected / 2, tie.name)
        }
        _ => seen.needed.to_string(),
    }
}

/// How many failures the partition stands.
fn stands(quorate: bool, tally: &Tally) -> (String, Style) {
    let Some(any) = tally.stands.filter(|_| quorate) else { return ("-".to_owned(), PLAIN) };
    let mut text = match any {
        0 => "no loss".to_owned(),
        1 => "the loss of any 1".to_owned(),
        n => format!("the loss of any {n}"),
    };
    if let Some(nodes) = tally.stands_with_device.filter(|n| *n != any) {
        let _ = write!(text, "; of {nodes} nodes while the device is here");
    }
    (text, if any == 0 && tally.stands_with_device.is_none_or(|n| n == 0) { WARN } else { PLAIN })
}

fn state(voter: &Voter) -> (&'static str, Style) {
    match (voter.place, voter.present) {
        (Place::Maintenance, true) => ("maintenance", WARN),
        (Place::Maintenance, false) => ("maintenance, offline", WARN),
        (Place::Away, true) => ("away, online", WARN),
        (Place::Away, false) => ("away", WARN),
        (Place::Unlisted, _) => ("not in the list", WARN),
        (Place::Counted, true) => ("online", GOOD),
        (Place::Counted, false) => ("offline", BAD),
    }
}

fn remarks(seen: &Seen, voter: &Voter) -> String {
    let mut words = Vec::new();
    if voter.id == seen.node.id {
        words.push("this node".to_owned());
    }
    if voter.place == Place::Counted && voter.votes != voter.votes_in_file {
        words.push(format!("{} in the file", voter.votes_in_file));
    }
    match voter.place {
        Place::Maintenance => {
            words.push(format!("holdfast quorum maintenance {} off ends it", voter.name));
        }
        Place::Away => words.push("counts again when it is back".to_owned()),
        Place::Unlisted | Place::Counted => {}
    }
    words.join(", ")
}

/// The state of votes for programs.
pub(super) fn status_json(seen: &Seen) -> Value {
    let tally = seen.votes.tally();
    json!({
        "cluster": seen.cluster,
        "node": seen.node,
        "quorate": seen.quorate,
        "reason": if seen.quorate { "" } else { seen.reason.as_str() },
        "waits_for": seen.waits_for,
        "waits_for_lease": seen.waits_for_lease,
        "waits_for_all": seen.waits_for_all,
        "possible": tally.possible,
        "expected": seen.votes.expected,
        "needed": seen.needed,
        "present": seen.present,
        "stands": tally.stands.filter(|_| seen.quorate),
        "stands_with_device": tally.stands_with_device.filter(|_| seen.quorate),
        "flags": seen.flags,
        "tie_breaker": seen.votes.tie,
        "nodes": seen.votes.voters,
        "device": device_json(seen),
        "under_way": seen.next,
        "waits": seen.waits,
    })
}

fn device_json(seen: &Seen) -> Value {
    let Some(device) = &seen.votes.device else { return Value::Null };
    let mut value = json!(device);
    if let (Value::Object(value), Value::Object(detail)) = (&mut value, json!(seen.served_by)) {
        value.extend(detail.into_iter().filter(|(name, _)| !matches!(name.as_str(), "votes" | "counts")));
    }
    value
}

/// A change: how it is and how it would be.
pub(super) struct Comparison<'a> {
    pub(super) seen: &'a Seen,
    pub(super) change: &'a Change,
    pub(super) then: Electorate,
    pub(super) harm: Option<Harm>,
}

impl<'a> Comparison<'a> {
    pub(super) fn of(seen: &'a Seen, change: &'a Change) -> Self {
        Self { seen, change, then: seen.votes.after(change), harm: seen.votes.harm(change) }
    }

    /// What is worth knowing about it, besides the numbers.
    pub(super) fn notes(&self) -> Vec<String> {
        let now = &self.seen.votes;
        let mut notes = Vec::new();
        let by_table = !matches!(self.change, Change::Expected(_) | Change::Votes { .. });
        if by_table {
            for voter in now.changed_at_run_time() {
                notes.push(format!(
                    "the votes of {} were set to {} at run time, and are the {} of the file again after this",
                    voter.name, voter.votes, voter.votes_in_file
                ));
            }
        } else {
            notes.push("numbers set at run time are forgotten by a node that restarts, and void when nodes are added, removed or \
                        taken out of the count; to keep them write them into the configuration file of every node".to_owned());
        }
        match self.change {
            Change::Maintenance { node, on: true } if now.voter(*node).is_some_and(|v| v.present) => {
                notes.push("that node runs: it stays a member, without a vote".to_owned());
            }
            Change::DeviceEnabled(true) | Change::DeviceAdded(_) => {
                notes.push(
                    "the device's votes are expected at once, and here when they are claimed".to_owned(),
                );
            }
            Change::Expected(_) if self.then.expected < now.expected && now.missing().next().is_some() => {
                notes.push(format!(
                    "{} must not run anywhere with the number of before: it could be quorate with others",
                    now.names(now.missing())
                ));
            }
            _ => {}
        }
        notes
    }

    /// The table.
    pub(super) fn text(&self) -> String {
        let (now, then) = (&self.seen.votes, &self.then);
        let (tally, after) = (now.tally(), then.tally());
        let mut t = Table::default();
        t.row(["", "NOW", "THEN"].map(bold_cell));
        let mut row = |name: &str, a: (String, Style), b: (String, Style)| {
            let b = if a.0 == b.0 { (b.0, PLAIN) } else { b };
            t.row([(name.to_owned(), PLAIN), a, b]);
        };
        for (a, b) in now.voters.iter().zip(&then.voters) {
            row(&a.name, vote(a), vote(b));
        }
        if now.device.is_some() || then.device.is_some() {
            row("quorum device", device(now), device(then));
        }
        let number = |n: u32| (n.to_string(), PLAIN);
        row("Expected votes", number(tally.expected), number(after.expected));
        row("Needed", number(tally.needed), number(after.needed));
        row("Present", number(tally.present), number(after.present));
        let word = |yes: bool| if yes { ("yes".to_owned(), GOOD) } else { ("NO".to_owned(), BAD) };
        row("Quorate", word(self.seen.quorate), word(self.quorate_then()));
        row("Stands", stands(self.seen.quorate, &tally), stands(self.quorate_then(), &after));
        let title = format!("{} of cluster {}: {}", "Votes", self.seen.cluster, self.change.words(now));
        format!("{}\n\n{}", bold(&title), t.render(2))
    }

    /// With votes enough something else may be waited for, and still is then.
    pub(super) fn quorate_then(&self) -> bool {
        let waits = !self.seen.quorate && self.seen.votes.tally().quorate;
        self.then.tally().quorate && !waits
    }

    /// The same for programs.
    pub(super) fn json(&self) -> serde_json::Map<String, Value> {
        let side = |votes: &Electorate, quorate: bool| {
            let mut value = json!(votes.tally());
            if let Value::Object(value) = &mut value {
                value.insert("quorate".into(), quorate.into());
                value.insert("nodes".into(), json!(votes.voters));
                value.insert("device".into(), json!(votes.device));
            }
            value
        };
        let value = json!({
            "cluster": self.seen.cluster,
            "change": self.change.words(&self.seen.votes),
            "before": side(&self.seen.votes, self.seen.quorate),
            "after": side(&self.then, self.quorate_then()),
            "harm": self.harm.as_ref().map(|h| h.why.as_str()),
            "remedy": self.harm.as_ref().map(|h| h.remedy.as_str()),
            "notes": self.notes(),
        });
        match value {
            Value::Object(map) => map,
            _ => serde_json::Map::new(),
        }
    }
}

fn vote(voter: &Voter) -> (String, Style) {
    let style = if voter.present { PLAIN } else { WARN };
    match (voter.place, voter.present) {
        (Place::Maintenance, _) => ("0 in maintenance".to_owned(), WARN),
        (Place::Away, _) => ("0 away".to_owned(), WARN),
        (Place::Unlisted, _) => ("0 not in the list".to_owned(), WARN),
        (Place::Counted, true) => (format!("{} here", voter.votes), style),
        (Place::Counted, false) => (format!("{} absent", voter.votes), style),
    }
}

fn device(votes: &Electorate) -> (String, Style) {
    match &votes.device {
        None => ("none".to_owned(), PLAIN),
        Some(device) if !device.enabled => ("0 disabled".to_owned(), WARN),
        Some(device) if device.present => (format!("{} here", device.votes), PLAIN),
        Some(device) => (format!("{} not claimed", device.votes), WARN),
    }
}

/// A line about harm, and what to type instead.
pub(super) fn harm_text(harm: &Harm) -> String {
    format!("{}\n  {}\n", paint(BAD, &format!("! {}", harm.why)), harm.remedy)
}
