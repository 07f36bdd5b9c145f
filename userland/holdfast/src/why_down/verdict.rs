//! From what was found to what happened, in words. No I/O, no clock: everything comes in.

use std::fmt::Write as _;

use failfast::black_box::{Class, PeerNews, Record};
use failfast::core::ReasonKind;
use holdfast_types::{BootId, Incarnation, NodeId};

use super::kernel::{About, Dump};
use super::lives::{Episode, Life};

/// How a life ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// Not at all: it runs.
    Running,
    /// It was stopped, and left the cluster first.
    InOrder,
    /// A unit of failfast was dead or late, the guardian was lost, or the daemon itself saw that it must not go on.
    Failfast,
    /// `cmmd` was dead or stuck, and its guardian took the node down.
    Guardian,
    /// Evicted through the quorum disk, or killed by an order of another node.
    Ordered,
    /// It could not write to a data disk any more: another member had removed its key.
    Conflict,
    /// A fence device.
    Fenced,
    /// The watchdog.
    Watchdog,
    /// Somebody triggered a crash.
    Crash,
    /// The kernel panicked for another reason.
    Panic,
    /// Without a word, and the machine went down.
    Power,
    /// Without a word, and the machine did not go down.
    Killed,
    /// A peer fell silent, and that is all that is known here.
    Silent,
    /// A peer was gone at once, and that is all that is known here.
    Gone,
}

impl Cause {
    /// Its name in JSON.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::InOrder => "in-order",
            Self::Failfast => "failfast",
            Self::Guardian => "guardian",
            Self::Ordered => "ordered",
            Self::Conflict => "reservation-conflict",
            Self::Fenced => "fenced",
            Self::Watchdog => "watchdog",
            Self::Crash => "crash-by-hand",
            Self::Panic => "kernel-panic",
            Self::Power => "power",
            Self::Killed => "killed",
            Self::Silent => "silent",
            Self::Gone => "gone",
        }
    }

    /// Whether it is something that somebody should look into.
    pub(super) const fn is_unclean(self) -> bool {
        !matches!(self, Self::Running | Self::InOrder)
    }
}

/// A word of a witness.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Evidence {
    /// Whose: `black box`, `kernel (pstore)`, `quorum disk`, or the name of a node.
    pub(super) source: String,
    /// When it was written, if that is known: microseconds since 1970.
    pub(super) at: Option<i64>,
    /// What it says.
    pub(super) text: String,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) cause: Cause,
    /// When: microseconds since 1970. `None`: not known.
    pub(super) at: Option<i64>,
    /// Goes on after the node's name.
    pub(super) headline: String,
    /// The exact words, where somebody left some.
    pub(super) reason: Option<String>,
    pub(super) evidence: Vec<Evidence>,
    /// What to look at, or to type, next.
    pub(super) next: Vec<String>,
}

/// A tombstone of the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stone {
    pub(super) disk: String,
    pub(super) life: Incarnation,
    /// Microseconds since 1970.
    pub(super) at: i64,
    pub(super) why: String,
}

/// What there is beside the black box.
#[derive(Debug, Default)]
pub(super) struct Around {
    pub(super) dumps: Vec<Dump>,
    pub(super) stones: Vec<Stone>,
    /// The machine's boot now.
    pub(super) boot: BootId,
    /// Process id of this node's `cmmd`, if it runs.
    pub(super) running: Option<u32>,
    /// The node's name, for commands to type.
    pub(super) name: String,
    /// Names of nodes that the configuration has.
    pub(super) names: Vec<(NodeId, String)>,
}

impl Around {
    /// How a node is called.
    fn called(&self, node: NodeId) -> String {
        let known = self.names.iter().find(|(id, _)| *id == node);
        known.map_or_else(|| format!("node {node}"), |(_, name)| name.clone())
    }
}

/// The kernel's last words are dated in whole seconds, rounded down: microseconds. Not more: a virtual machine is back in seconds.
const DATED: i64 = 1_000_000;
/// What a daemon says of its orderly end on a quorum disk.
const IN_ORDER: &str = "cmmd left the cluster in order";
const UNFED: &str = "The watchdog is not fed any more: ";
const ARMED: &str = "The watchdog is fed: armed";

/// What happened to this node at the end of a life.
pub(super) fn own(life: &Life, around: &Around) -> Verdict {
    let until = life.next.map_or(i64::MAX, |next| next.wall.0);
    let from = life.start.map_or(0, |start| start.wall.0);
    let dumps: Vec<&Dump> = around.dumps.iter().filter(|d| d.at >= from - DATED && d.at <= until).collect();
    let stone = life
        .start
        .and_then(|s| around.stones.iter().filter(|stone| stone.life == s.life).max_by_key(|s| s.at));
    let mut verdict = judge_own(life, around, &dumps, stone);
    let mut say = |source: &str, at, text: &str| {
        let word = Evidence { source: source.to_owned(), at, text: text.trim_end().to_owned() };
        // Copies of the kernel's last words say the same again.
        if !verdict.evidence.contains(&word) {
            verdict.evidence.push(word);
        }
    };
    for record in &life.deaths {
        say("black box", Some(record.wall.0), &record.text);
    }
    if let Some(record) = &life.end {
        say("black box", Some(record.wall.0), &record.text);
    }
    for dump in &dumps {
        for line in &dump.lines {
            say("kernel (pstore)", Some(dump.at), &line.text);
        }
    }
    if let Some(stone) = stone {
        say("quorum disk", Some(stone.at), &format!("{}: {}", stone.disk, stone.why));
    }
    for record in &life.told {
        say(&around.called(record.node), Some(record.wall.0), &record.text);
    }
    verdict
}

fn judge_own(life: &Life, around: &Around, dumps: &[&Dump], stone: Option<&Stone>) -> Verdict {
    let kernel = |about: About| dumps.iter().rev().find_map(|d| Some((d.at, d.about(about)?.to_owned())));
    let verdict = |cause, at, headline: String, reason: Option<String>| Verdict {
        cause,
        at,
        headline,
        reason,
        evidence: Vec::new(),
        next: Vec::new(),
    };
    let rebooted = life.next.map_or(around.boot, |next| next.boot) != life.boot;
    if let Some(death) = last_death(life) {
        return of_death(life, around, death, &kernel);
    }
    let start = life.start.map(|s| s.wall.0);
    if life.next.is_none()
        && life.end.is_none()
        && !rebooted
        && around.running.is_some()
        && life.start.map(|s| s.pid) == around.running
    {
        return verdict(Cause::Running, start, "runs, and has not gone down since its start".into(), None);
    }
    if let Some(end) = &life.end {
        let then = match (rebooted, life.next.is_some()) {
            (true, _) => "; the machine was booted anew after that",
            (false, true) => "",
            (false, false) => "; cmmd has not been started again since",
        };
        let why = end.text.split_once(": ").map_or("", |(_, why)| why);
        let why = if why.is_empty() { String::new() } else { format!(", {why}") };
        return verdict(Cause::InOrder, Some(end.wall.0), format!("was stopped in order{why}{then}"), None);
    }
    // Its own black box has no reason: the disk may have been what failed.
    if let Some((at, said)) = kernel(About::Holdfast).filter(|(_, said)| said.starts_with("Failfast")) {
        let headline =
            "was taken down by failfast; its black box could not be written, the kernel kept the reason";
        return verdict(Cause::Failfast, Some(at), headline.into(), Some(said));
    }
    if let Some((at, line)) = kernel(About::Watchdog) {
        let headline = "was reset by its watchdog, which gave notice first: nothing fed it, and neither cmmd nor its guardian could say why (both dead, stopped, or without a processor)";
        return verdict(Cause::Watchdog, Some(at), headline.into(), Some(line));
    }
    if let Some((at, line)) = kernel(About::Sysrq) {
        let headline = "crashed because somebody told the kernel to (sysrq \"c\"), and Holdfast did not";
        return verdict(Cause::Crash, Some(at), headline.into(), Some(line));
    }
    if let Some((at, line)) = kernel(About::Panic).or_else(|| kernel(About::Oops)) {
        let mut found =
            verdict(Cause::Panic, Some(at), "went down with a panic of its kernel".into(), Some(line));
        found.next.push(format!("the kernel's whole last words: cat {}", place(dumps)));
        return found;
    }
    if let Some(stone) = stone.filter(|stone| stone.why != IN_ORDER) {
        let headline =
            "was taken down, as it says on the quorum disk; its black box could not be written".to_owned();
        return verdict(Cause::Failfast, Some(stone.at), headline, Some(stone.why.clone()));
    }
    let told = as_told(life, around);
    match &told {
        Some(told) if !matches!(told.verdict.cause, Cause::Silent | Cause::Gone) => others_word(told),
        _ => without_a_word(life, around, rebooted, told.as_ref()),
    }
}

/// What peers have told of the end of this life.
struct Told {
    /// The names of those who say most.
    by: String,
    /// What they say.
    verdict: Verdict,
    /// Who fenced this node, with what and why, if they know of it.
    fenced: Option<String>,
}

/// One that knows how it ended counts before one that only missed it.
fn as_told(life: &Life, around: &Around) -> Option<Told> {
    let mut tellers: Vec<NodeId> = life.told.iter().map(|r| r.node).collect();
    tellers.sort_unstable();
    tellers.dedup();
    let judge = |teller: NodeId| {
        let news = life.told.iter().filter(|r| r.node == teller).copied().collect();
        (teller, judge_peer(&Episode { news, ..Episode::default() }, around, None))
    };
    let said: Vec<(NodeId, Verdict)> = tellers.into_iter().map(judge).collect();
    let rank = |cause| match cause {
        Cause::Gone => 0,
        Cause::Silent => 1,
        _ => 2,
    };
    let verdict = said.iter().map(|(_, verdict)| verdict).rev().max_by_key(|v| rank(v.cause))?.clone();
    let by = said.iter().filter(|(_, v)| v.cause == verdict.cause).map(|(by, _)| around.called(*by));
    Some(Told {
        by: by.collect::<Vec<_>>().join(" and "),
        verdict,
        fenced: life.told.iter().filter(|r| r.detail == PeerNews::Confirmed.code()).find_map(fence),
    })
}

/// The verdict on an end of which nothing is left here, by those who know how it was.
fn others_word(told: &Told) -> Verdict {
    let Told { by, verdict, fenced } = told;
    let (headline, next) = match fenced.as_ref().filter(|_| verdict.cause == Cause::Fenced) {
        Some(fenced) => (
            format!("ended without a word, and was fenced, as {by} recorded: {fenced}"),
            "why it was silent before that: what its kernel and its machine's controller logged: journalctl -k -b -1; ipmitool sel list",
        ),
        None => (
            format!("left no word here; {by} recorded that it {}", verdict.headline),
            "why its black box has nothing of it: look at the disk with the state directory",
        ),
    };
    Verdict { headline, next: vec![next.into()], evidence: Vec::new(), ..verdict.clone() }
}

/// The last reason that was not withdrawn.
fn last_death(life: &Life) -> Option<&Record> {
    let at = life.deaths.iter().rposition(|r| r.class == Class::Death)?;
    let withdrawn = life.deaths[at].text.starts_with(UNFED)
        && life.deaths[at..]
            .iter()
            .any(|r| r.class == Class::Outcome && r.text.starts_with("The watchdog is fed"));
    (!withdrawn).then(|| &life.deaths[at])
}

fn of_death(
    life: &Life,
    around: &Around,
    death: &Record,
    kernel: &dyn Fn(About) -> Option<(i64, String)>,
) -> Verdict {
    let text = death.text.trim_end().to_owned();
    let outcome = life.deaths.iter().rev().find(|r| r.class == Class::Outcome && r.number > death.number);
    let mut next = Vec::new();
    let (cause, mut headline) = if let Some(why) = text.strip_prefix(UNFED) {
        let how = match kernel(About::Watchdog) {
            Some(_) => "it gave notice, and the kernel panicked on it",
            None => "it fired without notice",
        };
        (
            Cause::Watchdog,
            format!("was taken down by its watchdog: it was not fed any more, because {why}; {how}"),
        )
    } else {
        match ReasonKind::from_code(death.detail) {
            Some(ReasonKind::DaemonDied) => (Cause::Guardian, daemon_died(life, kernel, &mut next)),
            Some(ReasonKind::DaemonStuck) => {
                next.push("what kept it: look for lines of the kernel about hung tasks or stalls, and for a load that takes every processor".into());
                (
                    Cause::Guardian,
                    "was taken down by its guardian: cmmd made no progress (stopped, or without a processor)"
                        .into(),
                )
            }
            Some(ReasonKind::GuardianDied) => (
                Cause::Failfast,
                "took itself down: its guardian was dead, and no other could be started".into(),
            ),
            Some(ReasonKind::UnitDied) => {
                (Cause::Failfast, format!("was taken down by failfast: {} was dead", unit(&text)))
            }
            Some(ReasonKind::UnitLate) => (
                Cause::Failfast,
                format!("was taken down by failfast: {} gave no heartbeat in time", unit(&text)),
            ),
            Some(ReasonKind::Commanded) | None => commanded(&text, &around.name, &mut next),
        }
    };
    if outcome.is_some_and(|o| o.text.contains("sysrq did not work")) {
        headline.push_str(
            "; the kernel did not do what it was told, and the watchdog or an operator did the rest",
        );
    } else if outcome.is_some_and(|o| o.text.contains("death not confirmed")) {
        headline.push_str("; something of it was left, so nothing was confirmed to the others");
    }
    Verdict { cause, at: Some(death.wall.0), headline, reason: Some(text), evidence: Vec::new(), next }
}

fn daemon_died(
    life: &Life,
    kernel: &dyn Fn(About) -> Option<(i64, String)>,
    next: &mut Vec<String>,
) -> String {
    let mut headline = "was taken down by its guardian: cmmd was dead".to_owned();
    let broken = life.events.iter().rev().find(|r| r.text.starts_with("cmmd ends, an invariant is broken"));
    if let Some(broken) = broken {
        headline.push_str(" (it found an invariant broken)");
        next.push(format!(
            "report this to those who maintain Holdfast, with the log: {}",
            broken.text.trim_end()
        ));
    } else if kernel(About::Memory).is_some_and(|(_, line)| line.contains("(cmmd)")) {
        headline.push_str(" (killed by the kernel when memory ran out)");
    } else {
        headline.push_str(" (killed, or it crashed)");
        next.push("who killed it, or a core dump: journalctl -b -1 -u cmmd; coredumpctl list cmmd".into());
    }
    headline
}

/// `"rgmd"` of `… because "rgmd" died 5 seconds ago.`
fn unit(text: &str) -> String {
    let name = text.split('"').nth(1).unwrap_or("a unit");
    format!("unit \"{name}\"")
}

fn commanded(text: &str, name: &str, next: &mut Vec<String>) -> (Cause, String) {
    if text.contains("Reservation Conflict") {
        next.push(format!(
            "who removed its key, and why: holdfast why-down {name}    on a node that was in the cluster then"
        ));
        (
            Cause::Conflict,
            "took itself down: its key was removed from a data disk, where it could not write any more"
                .into(),
        )
    } else if text.contains("through the quorum disk by") {
        (Cause::Ordered, "was ordered to go down through the quorum disk, and did".into())
    } else if text.contains("killed by node") {
        (Cause::Ordered, "was ordered to go down by another member, and did".into())
    } else if text.contains("the death of this node was confirmed") {
        (Cause::Fenced, "took itself down when it learned that its death had been confirmed: the others had it fenced, or an operator said that it was dead".into())
    } else {
        (Cause::Failfast, "took itself down".into())
    }
}

fn without_a_word(life: &Life, around: &Around, rebooted: bool, told: Option<&Told>) -> Verdict {
    let name = &around.name;
    let ask = format!("what the others saw: holdfast why-down {name}    on each of them");
    let armed = life.events.iter().any(|r| r.text.starts_with(ARMED));
    let (cause, headline, next) = if rebooted {
        let mut headline = "went down without a word: it lost its power, or was reset from outside (power cut, reset button, fence device".to_owned();
        headline.push_str(if armed { ", or its watchdog, which was armed)" } else { ")" });
        let mut next = vec![ask];
        next.push("what the machine's controller logged: ipmitool sel list; whether it was shut down in order: last -x".into());
        if armed {
            next.push("with the kernel's module pretimeout_panic loaded, a watchdog leaves a word before it fires: modprobe pretimeout_panic".into());
        }
        (Cause::Power, headline, next)
    } else {
        let headline = "ended without a word, and its machine did not go down: cmmd and its guardian were killed at once (SIGKILL to all, a container that was removed)".to_owned();
        (Cause::Killed, headline, vec![ask])
    };
    let missed = told.and_then(|told| Some((told.verdict.at?, format!("when {} missed it", told.by))));
    let (at, time) = missed.map_or_else(
        || ((life.last_sign > 0).then_some(life.last_sign), "that of its last sign of life".to_owned()),
        |(at, time)| (Some(at), time),
    );
    let headline = format!("{headline}; the time is {time}");
    Verdict { cause, at, headline, reason: None, evidence: Vec::new(), next }
}

/// Where the last words of the kernel are.
fn place(dumps: &[&Dump]) -> String {
    dumps.last().map_or_else(String::new, |dump| dump.path.display().to_string())
}

/// What comes behind the words that the log puts before a reason.
fn words<'a>(text: &'a str, before: &str) -> &'a str {
    text.split_once(before).map_or(text, |(_, why)| why).trim_end()
}

/// Who fenced it, if a record tells that.
fn fence(record: &Record) -> Option<String> {
    let why = words(&record.text, "is confirmed: ");
    why.contains("fenced").then(|| why.to_owned())
}

/// What this node knows of the end of a peer.
pub(super) fn peer(episode: &Episode, around: &Around) -> Verdict {
    let stone = around
        .stones
        .iter()
        .filter(|s| s.life == episode.life && episode.life > Incarnation::default())
        .max_by_key(|s| s.at);
    let mut verdict = judge_peer(episode, around, stone);
    for record in &episode.news {
        let text = record.text.trim_end().to_owned();
        verdict.evidence.push(Evidence { source: "black box".into(), at: Some(record.wall.0), text });
    }
    if let Some(stone) = stone {
        let text = format!("{}: {}", stone.disk, stone.why);
        verdict.evidence.push(Evidence { source: "quorum disk".into(), at: Some(stone.at), text });
    }
    verdict
}

fn judge_peer(episode: &Episode, around: &Around, stone: Option<&Stone>) -> Verdict {
    let first = |news: PeerNews| episode.news.iter().find(|r| r.detail == news.code());
    let last = |news: PeerNews| episode.news.iter().rev().find(|r| r.detail == news.code());
    let begun = episode.news.first().map(|r| r.wall.0);
    let fenced = episode.news.iter().filter(|r| r.detail == PeerNews::Confirmed.code()).find_map(fence);
    let name = &around.name;
    let mut next = Vec::new();
    let (mut cause, at, mut headline, reason) = if episode.news.is_empty() {
        let at = episode.joined.map(|r| r.wall.0);
        let headline = match around.running {
            Some(_) => "is a member, and has not gone down since then as far as this node knows",
            None => "was a member when this node was last in the cluster",
        };
        (Cause::Running, at, headline.to_owned(), None)
    } else if let Some(gasp) = first(PeerNews::Gasp).or_else(|| first(PeerNews::LastWord)) {
        let why = words(
            &gasp.text,
            if gasp.detail == PeerNews::Gasp.code() { "goes down: " } else { "last word: " },
        );
        let stone = stone
            .map(|s| s.why.as_str())
            .filter(|why| why.starts_with("Failfast") || why.starts_with("The watchdog"));
        let (cause, what) = of_words(stone.unwrap_or(why));
        (
            cause,
            Some(gasp.wall.0),
            format!("{what}, and said so itself"),
            Some(stone.unwrap_or(why).to_owned()),
        )
    } else if let Some(leave) = first(PeerNews::Leave) {
        (Cause::InOrder, Some(leave.wall.0), "left the cluster in order".to_owned(), None)
    } else if let Some(stone) = stone {
        if stone.why == IN_ORDER {
            (Cause::InOrder, begun, "left the cluster in order".to_owned(), None)
        } else {
            let (cause, what) = of_words(&stone.why);
            (cause, begun, format!("{what}, as it says on the quorum disk"), Some(stone.why.clone()))
        }
    } else if let Some(read) = last(PeerNews::Tombstone) {
        let why = words(&read.text, "why it went down: ");
        let (cause, what) = of_words(why);
        (cause, begun, format!("{what}, as it said on the quorum disk"), Some(why.to_owned()))
    } else if let Some(silence) = first(PeerNews::Silence) {
        next.push(format!("what it says itself, when it is up again: holdfast why-down    on {name}"));
        let headline = "fell silent: it lost its power, hung, or could not be reached".to_owned();
        (Cause::Silent, Some(silence.wall.0), headline, Some(silence.text.trim_end().to_owned()))
    } else {
        next.push(format!("what it says itself, when it is up again: holdfast why-down    on {name}"));
        let gone = first(PeerNews::Gone).map(|r| r.text.trim_end().to_owned());
        (Cause::Gone, begun, "was gone at once: no word of it is known here".to_owned(), gone)
    };
    if let Some(why) = fenced {
        if matches!(cause, Cause::Silent | Cause::Gone) {
            cause = Cause::Fenced;
        }
        let _ = write!(headline, "; then its death was confirmed: {why}"); // writing to a string does not fail
    } else if let Some(confirmed) = last(PeerNews::Confirmed) {
        let why = words(&confirmed.text, "is confirmed: ");
        let _ = write!(headline, "; its death was confirmed: {why}");
    } else if cause.is_unclean() && episode.back.is_none() {
        headline.push_str("; its death is not confirmed here");
    }
    if let Some(removed) = last(PeerNews::Removed) {
        let _ = write!(headline, "; {}", removed.text.trim_end());
    }
    Verdict { cause, at, headline, reason, evidence: Vec::new(), next }
}

/// What a node's own word says.
fn of_words(why: &str) -> (Cause, String) {
    if let Some(why) = why.strip_prefix(UNFED) {
        return (Cause::Watchdog, format!("was about to be reset by its watchdog, because {why}"));
    }
    if why.contains("\"cmmd\" died")
        || why.contains("\"cmmd\" made no progress")
        || why.starts_with("cmmd died or made")
    {
        return (
            Cause::Guardian,
            "was taken down by its guardian: cmmd was dead or made no progress".to_owned(),
        );
    }
    if let Some(unit) = why.strip_prefix("Failfast: Aborting because \"") {
        let name = unit.split('"').next().unwrap_or_default();
        return (Cause::Failfast, format!("was taken down by failfast, because of unit \"{name}\""));
    }
    commanded(why, "", &mut Vec::new())
}
