//! `holdfast why-down`: why a node went down, in words, from what is left of it and from what others saw.
//!
//! Reads files and quorum disks only: after a crash no daemon runs that could be asked. What was found ([`sources`], [`kernel`],
//! [`lives`]) and what follows from it ([`verdict`]) are kept apart, so that every case can be shown by a test.

mod kernel;
mod lives;
mod report;
mod sources;
#[cfg(test)]
mod tests;
mod verdict;

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use holdfast_types::NodeId;
use serde_json::json;
use status::DeathStatus;

use self::report::Report;
use self::sources::{Found, Refusal};
use self::verdict::Around;
use crate::exit::Exit;
use crate::gather::Sources;
use crate::io::Io;

/// Say why this node went down last, or what it knows of another one's end.
///
/// Without NODE: from this node's black box, the kernel's last words in pstore, and its tombstone on the quorum disks. With the NODE of
/// another one: what this node saw of its end. No daemon is needed.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Name or id of the node; else this one
    #[arg(value_name = "NODE")]
    node: Option<String>,
    /// Every life that is known, the last one first
    #[arg(long)]
    all: bool,
    /// Only what happened within this time: 90s, 15m, 6h, 2d
    #[arg(long, value_name = "TIME", value_parser = span)]
    since: Option<u64>,
    /// How many events before the end are shown
    #[arg(long, value_name = "N", default_value_t = 8)]
    events: usize,
    /// Print JSON: one object, fields are only ever added
    #[arg(long)]
    json: bool,
}

/// Seconds of `15m`.
fn span(text: &str) -> Result<u64, String> {
    let (number, unit) = text.split_at(text.len() - text.chars().last().map_or(0, char::len_utf8));
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err("write a number and s, m, h or d, as in 6h".into()),
    };
    let number: u64 = number.parse().map_err(|_| "write a number and s, m, h or d, as in 6h".to_owned())?;
    number.checked_mul(seconds).ok_or_else(|| "that is more than all time".to_owned())
}

/// Runs it.
pub(crate) fn run(args: &Args, io: &mut Io) -> Exit {
    let pstore = kernel::FOLDERS.map(PathBuf::from);
    run_on(args, &Sources::from_env(), &pstore, now_ms(), io)
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn run_on(args: &Args, sources: &Sources, pstore: &[PathBuf], now_ms: u64, io: &mut Io) -> Exit {
    let found = match sources::find(sources, pstore) {
        Ok(found) => found,
        Err(refusal) => {
            let (why, exit) = match refusal {
                Refusal::Nothing(why) => (why, Exit::Unavailable),
                Refusal::NotAllowed(why) => (why, Exit::NoPermission),
                Refusal::Unusable(why) => (why, Exit::CannotCreate),
            };
            io.complain(format_args!("holdfast why-down: {why}\n"));
            return exit;
        }
    };
    let node = match &args.node {
        None => found.me,
        Some(named) => match found.node(named) {
            Some(node) => Some(node),
            None => {
                let known: Vec<&str> = found.conf.nodes.iter().map(|(_, name)| name.as_str()).collect();
                let known = if known.is_empty() { "a number".to_owned() } else { known.join(", ") };
                io.complain(format_args!(
                    "holdfast why-down: there is no node \"{named}\"; write one of: {known}\n"
                ));
                return Exit::Usage;
            }
        },
    };
    let own = node == found.me;
    let mut warnings = found.warnings.clone();
    let around = found.around(node.unwrap_or_default(), &mut warnings);
    let mut reports = if own {
        of_own(&found, &around, args.events)
    } else {
        of_peer(&found, &around, node.unwrap_or_default())
    };
    reports.reverse();
    if let Some(seconds) = args.since {
        let from = now_ms.saturating_sub(seconds.saturating_mul(1_000)).saturating_mul(1_000);
        let running = |r: &Report| r.verdict.cause == verdict::Cause::Running;
        reports
            .retain(|r| running(r) || r.verdict.at.is_none_or(|at| u64::try_from(at).unwrap_or(0) >= from));
    }
    if !args.all {
        reports.truncate(shown(&reports));
    }
    if reports.is_empty() && !args.json {
        let name = &around.name;
        let within = if args.since.is_some() { " within that time" } else { "" };
        let ask = if own {
            "ask another node: holdfast why-down"
        } else {
            "ask on that node: holdfast why-down    or on another one: holdfast why-down"
        };
        io.complain(format_args!(
            "holdfast why-down: nothing is recorded here of an end of {name}{within}; {ask} {name}\n"
        ));
        return Exit::Unavailable;
    }
    if args.json {
        let all: Vec<_> = reports.iter().map(report::json).collect();
        let seen_by = found.me.map(|me| json!({"id": me.get(), "name": found.name(me)}));
        let json = json!({ "recorded_by": seen_by, "own": own, "ends": all, "warnings": warnings });
        io.say(format_args!("{json:#}\n"));
    } else {
        for (n, report) in reports.iter().enumerate() {
            let line = if n > 0 { "\n" } else { "" };
            io.say(format_args!(
                "{line}{}",
                report::text(report, now_ms, holdfast_sys::timezone::utc_offset)
            ));
        }
        for warning in &warnings {
            io.complain(format_args!("holdfast why-down: {warning}\n"));
        }
    }
    if reports.is_empty() { Exit::Unavailable } else { Exit::Ok }
}

/// A life that runs says nothing of an end: the one before it is shown, too.
fn shown(reports: &[Report]) -> usize {
    let runs = reports.first().is_some_and(|r| r.verdict.cause == verdict::Cause::Running);
    if runs { 2 } else { 1 }
}

/// Lives of this node, oldest first.
fn of_own(found: &Found, around: &Around, events: usize) -> Vec<Report> {
    let lives = lives::lives(&found.records);
    let report = |life: &lives::Life| {
        let verdict = verdict::own(life, around);
        // What it did is news only where it ended.
        let events = if verdict.cause == verdict::Cause::Running { 0 } else { events };
        Report {
            name: around.name.clone(),
            id: found.me.map_or(0, NodeId::get),
            life: life.start.map_or(0, |s| s.life.get()),
            start: life.start.map(|s| (s.wall.0, s.text.to_string())),
            verdict,
            events: report::last_events(&life.events, events),
            back: life.next.map(|next| next.wall.0),
        }
    };
    lives.iter().map(report).collect()
}

/// What this node saw of a peer, oldest first.
fn of_peer(found: &Found, around: &Around, node: NodeId) -> Vec<Report> {
    let report = |episode: lives::Episode| Report {
        name: around.name.clone(),
        id: node.get(),
        life: episode.life.get(),
        start: None,
        verdict: verdict::peer(&episode, around),
        events: Vec::new(),
        back: episode.back.map(|back| back.wall.0),
    };
    let mut episodes = lives::episodes(&found.records, node);
    // This node was away, and met it again: nothing happened to the other one.
    episodes.retain(|e| !e.news.is_empty() || e.back.is_none());
    episodes.into_iter().map(report).collect()
}

/// The last end that was not in order of every node that this node's black box tells of, this one first: for `holdfast status`.
/// Nothing where it cannot be read; no quorum disk is looked at.
pub(crate) fn last_unclean(sources: &Sources) -> Vec<DeathStatus> {
    let Some(found) = look(sources) else { return Vec::new() };
    let own = found.me.and_then(|me| last(of_own(&found, &found.near(me), 0)));
    let peers = lives::peers(&found.records);
    let peers = peers.into_iter().filter_map(|node| last(of_peer(&found, &found.near(node), node)));
    own.into_iter().chain(peers).collect()
}

/// How the last life of this node ended, if that was not in order: while `cmmd` does not run.
pub(crate) fn last_of_this_node(sources: &Sources) -> Option<DeathStatus> {
    let found = look(sources)?;
    let mut reports = of_own(&found, &found.near(found.me?), 0);
    last(reports.split_off(reports.len().saturating_sub(1)))
}

fn look(sources: &Sources) -> Option<Found> {
    sources::find(sources, &kernel::FOLDERS.map(PathBuf::from)).ok()
}

fn last(reports: Vec<Report>) -> Option<DeathStatus> {
    let report = reports.into_iter().rev().find(|r| r.verdict.cause.is_unclean())?;
    Some(DeathStatus {
        id: report.id,
        at_unix_ms: report.verdict.at.and_then(|at| u64::try_from(at / 1_000).ok()).unwrap_or(0),
        cause: report.verdict.cause.name().to_owned(),
        why: report.verdict.reason.unwrap_or(report.verdict.headline),
        name: report.name,
    })
}

const EXAMPLES: &str = "\
Examples:
  holdfast why-down               what happened to this node, after it is up again
  holdfast why-down n2            what this node saw of n2's end: when, how it was noticed, who confirmed it
  holdfast why-down --all --since 7d
  holdfast why-down --json | jq -r '.ends[0] | .cause, .reason'

Causes (in JSON):
  running               it has not gone down
  in-order              it was stopped, and left the cluster first
  failfast              a unit was dead or late, or cmmd saw that it must not go on
  guardian              cmmd was dead or stuck, and its guardian took the node down
  ordered               it was evicted through the quorum disk, or told to by a member
  reservation-conflict  its key was removed from a data disk
  fenced                a fence device, or somebody's word that it is dead
  watchdog              the watchdog was not fed, and fired
  crash-by-hand         somebody told the kernel to crash
  kernel-panic          the kernel panicked for another reason
  power                 without a word, and the machine went down: power cut or reset
  killed                without a word, and the machine did not go down
  silent, gone          of a peer: nothing else is known here

Exit status:
  0   it was said
  64  wrong usage, or there is no such node
  69  nothing is recorded here about that node
  73  the black box cannot be used
  77  only root may read it";
