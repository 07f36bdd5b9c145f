//! Each case: what is found, and what is said of it.

use std::path::PathBuf;

use failfast::black_box::{BlackBox, Class, PeerNews, Record};
use failfast::core::{ReasonKind, Text};
use holdfast_types::{BootId, Boottime, Incarnation, NodeId, Span, WallTime};

use super::kernel::{About, Dump, KernelLine};
use super::lives::{episodes, lives};
use super::verdict::{self, Around, Cause, Stone, Verdict};
use super::{Args, run_on, span};
use crate::exit::Exit;
use crate::gather::Sources;
use crate::io::Io;

const ME: NodeId = NodeId::new(2);

/// A black box in the making; each record is a second after the one before it.
struct Story {
    records: Vec<Record>,
    second: i64,
    boot: u8,
    life: u64,
}

impl Story {
    /// Begun in boot 1, with life 11.
    fn new() -> Self {
        let mut story = Self { records: Vec::new(), second: 1_700_000_000, boot: 1, life: 10 };
        story.start();
        story
    }

    fn put(&mut self, class: Class, detail: u8, (node, life): (u32, u64), text: &str) {
        self.second += 1;
        let at = u64::try_from(self.second).unwrap() * 1_000_000_000;
        self.records.push(Record {
            number: self.records.len() as u64 + 1,
            boottime: Boottime::from_nanos(at),
            wall: WallTime(self.second * 1_000_000),
            pid: 100 + u32::from(self.boot),
            boot: BootId([self.boot; 16]),
            class,
            detail,
            node: NodeId::new(node),
            life: Incarnation::new(life),
            text: Text::from(text),
        });
    }

    fn start(&mut self) {
        self.life += 1;
        let text = "Node 2 (n2) of cluster \"shop\" begins a life: incarnation 11, failfast mode panic, Holdfast 0.1.0";
        self.put(Class::Start, 0, (ME.get(), self.life), text);
    }

    fn event(&mut self, text: &str) {
        self.put(Class::Event, 5, (ME.get(), self.life), text);
    }

    fn death(&mut self, kind: ReasonKind, text: &str) {
        self.put(Class::Death, kind.code(), (0, 0), text);
    }

    fn outcome(&mut self, text: &str) {
        self.put(Class::Outcome, 0, (0, 0), text);
    }

    fn peer(&mut self, news: PeerNews, text: &str) {
        self.put(Class::Peer, news.code(), (3, 77), text);
    }

    /// What a peer tells of the life before this one.
    fn told(&mut self, by: u32, news: PeerNews, text: &str) {
        self.put(Class::Testimony, news.code(), (by, self.life - 1), text);
    }

    fn reboot(&mut self) {
        self.second += 60;
        self.boot += 1;
        self.start();
    }

    /// The last life but `back`, judged with what is around.
    fn judge(&self, back: usize, around: &Around) -> Verdict {
        let lives = lives(&self.records);
        verdict::own(&lives[lives.len() - 1 - back], around)
    }

    /// The machine is in the boot of the last record, and `cmmd` runs or not.
    fn around(&self, runs: bool) -> Around {
        Around {
            boot: BootId([self.boot; 16]),
            running: runs.then_some(100 + u32::from(self.boot)),
            name: "n2".into(),
            names: vec![(NodeId::new(1), "n1".into())],
            ..Around::default()
        }
    }

    fn of_peer(&self) -> Verdict {
        self.of_peer_with(&Around { name: "n3".into(), running: Some(1), ..Around::default() })
    }

    fn of_peer_with(&self, around: &Around) -> Verdict {
        let episodes = episodes(&self.records, NodeId::new(3));
        verdict::peer(episodes.last().expect("one"), around)
    }
}

fn dump(at: i64, lines: &[(About, &str)]) -> Dump {
    let lines =
        lines.iter().map(|(about, text)| KernelLine { about: *about, text: (*text).into() }).collect();
    Dump { at: at * 1_000_000, path: PathBuf::from("/sys/fs/pstore/dmesg-erst-1"), lines }
}

#[track_caller]
fn assert_says(verdict: &Verdict, cause: Cause, words: &[&str]) {
    assert_eq!(verdict.cause, cause, "{verdict:#?}");
    let all = format!(
        "{} {} {}",
        verdict.headline,
        verdict.reason.as_deref().unwrap_or_default(),
        verdict.next.join(" ")
    );
    for word in words {
        assert!(all.contains(word), "{word:?} is missing in {verdict:#?}");
    }
}

#[test]
fn a_node_that_runs_has_not_gone_down() {
    let story = Story::new();
    assert_says(&story.judge(0, &story.around(true)), Cause::Running, &["has not gone down"]);
}

#[test]
fn a_unit_that_died_is_named_with_the_exact_words() {
    let mut story = Story::new();
    let words = "Failfast: Aborting because \"rgmd\" died 5 seconds ago.";
    story.death(ReasonKind::UnitDied, words);
    let died_at = story.second;
    story.reboot();
    let verdict = story.judge(1, &story.around(true));
    assert_says(&verdict, Cause::Failfast, &["unit \"rgmd\" was dead"]);
    assert_eq!((verdict.reason.as_deref(), verdict.at), (Some(words), Some(died_at * 1_000_000)));
    assert_eq!(verdict.evidence[0].source, "black box");
    assert_says(&story.judge(0, &story.around(true)), Cause::Running, &[]);
    let mut late = Story::new();
    late.death(
        ReasonKind::UnitLate,
        "Failfast: Aborting because \"rgmd\" missed its heartbeat for 9 seconds.",
    );
    assert_says(&late.judge(0, &late.around(false)), Cause::Failfast, &["unit \"rgmd\" gave no heartbeat"]);
}

#[test]
fn a_daemon_that_died_or_hung_is_its_guardians_case_and_the_cause_of_that_is_looked_for() {
    let died = "Failfast: Aborting because \"cmmd\" died 0 seconds ago.";
    let mut story = Story::new();
    story.death(ReasonKind::DaemonDied, died);
    let killed = story.judge(0, &story.around(false));
    assert_says(&killed, Cause::Guardian, &["cmmd was dead", "killed, or it crashed", "coredumpctl"]);
    let mut around = story.around(false);
    around.dumps = vec![dump(
        story.second,
        &[(About::Memory, "Out of memory: Killed process 71 (cmmd)"), (About::Holdfast, died)],
    )];
    assert_says(&story.judge(0, &around), Cause::Guardian, &["memory ran out"]);

    let mut broken = Story::new();
    broken.event("cmmd ends, an invariant is broken: panicked at 'x'");
    broken.death(ReasonKind::DaemonDied, died);
    assert_says(&broken.judge(0, &broken.around(false)), Cause::Guardian, &["an invariant broken"]);

    let mut stuck = Story::new();
    stuck.death(
        ReasonKind::DaemonStuck,
        "Failfast: Aborting because \"cmmd\" made no progress for 31 seconds.",
    );
    stuck.reboot();
    assert_says(&stuck.judge(1, &stuck.around(true)), Cause::Guardian, &["made no progress"]);
    let mut alone = Story::new();
    alone.death(ReasonKind::GuardianDied, "Failfast: guardian died and could not be replaced: no memory");
    assert_says(&alone.judge(0, &alone.around(false)), Cause::Failfast, &["guardian was dead", "no memory"]);
}

#[test]
fn orders_conflicts_and_confirmed_deaths_are_told_apart() {
    for (text, cause, words) in [
        (
            "Failfast: Aborting because this node was evicted through the quorum disk by an operator: maintenance",
            Cause::Ordered,
            "through the quorum disk",
        ),
        ("Failfast: Aborting because killed by node 1: told to", Cause::Ordered, "another member"),
        (
            "Failfast: Aborting because the death of this node was confirmed: n1 fenced it",
            Cause::Fenced,
            "had been confirmed",
        ),
        (
            "Failfast: Aborting because Reservation Conflict. Disk: /dev/sda",
            Cause::Conflict,
            "removed from a data disk",
        ),
        ("Failfast: Aborting because another reason", Cause::Failfast, "took itself down"),
    ] {
        let mut story = Story::new();
        story.death(ReasonKind::Commanded, text);
        let verdict = story.judge(0, &story.around(false));
        assert_says(&verdict, cause, &[words]);
        assert_eq!(verdict.reason.as_deref(), Some(text));
    }
}

#[test]
fn what_did_not_work_is_said() {
    let mut story = Story::new();
    story.death(ReasonKind::DaemonDied, "Failfast: Aborting because \"cmmd\" died 0 seconds ago.");
    story.outcome(
        "Failfast: sysrq did not work: 0 processes left, 0 without the node's variable, 0 unreadable",
    );
    assert_says(
        &story.judge(0, &story.around(false)),
        Cause::Guardian,
        &["the watchdog or an operator did the rest"],
    );
}

#[test]
fn a_watchdog_that_was_not_fed_says_why_unless_it_was_fed_again() {
    let unfed = "The watchdog is not fed any more: not quorate with something to protect";
    let mut story = Story::new();
    story.death(ReasonKind::Commanded, unfed);
    let at = story.second;
    story.reboot();
    let mut around = story.around(true);
    assert_says(
        &story.judge(1, &around),
        Cause::Watchdog,
        &["because not quorate with something to protect", "without notice"],
    );
    around.dumps =
        vec![dump(at + 5, &[(About::Watchdog, "Kernel panic - not syncing: watchdog pretimeout event")])];
    assert_says(&story.judge(1, &around), Cause::Watchdog, &["the kernel panicked on it"]);

    let mut fed = Story::new();
    fed.death(ReasonKind::Commanded, unfed);
    fed.outcome("The watchdog is fed: the node is fit and quorate");
    assert_says(&fed.judge(0, &fed.around(true)), Cause::Running, &[]);
    fed.reboot();
    assert_says(&fed.judge(1, &fed.around(true)), Cause::Power, &["without a word"]);
}

#[test]
fn the_kernels_last_words_count_where_the_black_box_has_none() {
    let mut story = Story::new();
    let at = story.second + 3;
    story.reboot();
    let with = |lines: &[(About, &str)]| {
        let mut around = story.around(true);
        around.dumps = vec![dump(at, lines)];
        story.judge(1, &around)
    };
    let pretimeout = with(&[(About::Watchdog, "Kernel panic - not syncing: watchdog pretimeout event")]);
    assert_says(&pretimeout, Cause::Watchdog, &["gave notice", "nothing fed it"]);
    let crash = with(&[
        (About::Sysrq, "sysrq: Trigger a crash"),
        (About::Sysrq, "Kernel panic - not syncing: sysrq triggered crash"),
    ]);
    assert_says(&crash, Cause::Crash, &["somebody told the kernel to"]);
    let panic = with(&[
        (About::Oops, "BUG: unable to handle page fault"),
        (About::Panic, "Kernel panic - not syncing: Fatal exception"),
    ]);
    assert_says(&panic, Cause::Panic, &["Fatal exception", "/sys/fs/pstore/dmesg-erst-1"]);
    let kept = with(&[
        (About::Holdfast, "Failfast: Aborting because \"rgmd\" died 5 seconds ago."),
        (About::Sysrq, "sysrq: Trigger a crash"),
    ]);
    assert_says(&kept, Cause::Failfast, &["\"rgmd\" died", "black box could not be written"]);
    // A machine that was back in seconds: what the kernel kept then is of the life before.
    let mut around = story.around(true);
    let begun = at - 3;
    around.dumps = vec![dump(
        begun - 8,
        &[(About::Holdfast, "Failfast: Aborting because \"rgmd\" died 5 seconds ago.")],
    )];
    assert_says(&story.judge(1, &around), Cause::Power, &[]);
    // Of another life.
    let mut around = story.around(true);
    around.dumps = vec![dump(at - 3_600, &[(About::Panic, "Kernel panic - not syncing: long ago")])];
    assert_says(&story.judge(1, &around), Cause::Power, &[]);
}

#[test]
fn a_tombstone_of_that_life_counts_where_nothing_else_is_left() {
    let mut story = Story::new();
    story.reboot();
    let stone = |life| Stone {
        disk: "/dev/vdb".into(),
        life: Incarnation::new(life),
        at: story.second * 1_000_000,
        why: "Failfast: Aborting because \"rgmd\" died 5 seconds ago.".into(),
    };
    let around = |life| Around { stones: vec![stone(life)], ..story.around(true) };
    assert_says(&story.judge(1, &around(11)), Cause::Failfast, &["says on the quorum disk", "\"rgmd\" died"]);
    assert_says(&story.judge(1, &around(9)), Cause::Power, &[]);
}

#[test]
fn an_end_without_a_word_is_power_or_a_kill_by_whether_the_machine_went_down() {
    let mut story = Story::new();
    story.event("The watchdog is fed: armed with the first quorum");
    story.put(Class::Sign, 0, (ME.get(), story.life), "");
    let sign = story.second * 1_000_000;
    let mut same_boot = story.around(false);
    let killed = story.judge(0, &same_boot);
    assert_says(
        &killed,
        Cause::Killed,
        &["its machine did not go down", "last sign of life", "holdfast why-down n2"],
    );
    assert_eq!(killed.at, Some(sign));
    same_boot.boot = BootId([9; 16]);
    let power = story.judge(0, &same_boot);
    assert_says(
        &power,
        Cause::Power,
        &["lost its power, or was reset", "its watchdog, which was armed", "ipmitool"],
    );
    assert_eq!(power.at, Some(sign));
}

const FENCED: &str =
    "Death of node 2 is confirmed: n1 fenced it (reboot) with ipmi on behalf of rgmd @n1: node n2 is lost";

#[test]
fn a_node_that_was_fenced_while_it_was_silent_says_so_by_the_word_of_the_others() {
    let mut story = Story::new();
    story.event("all is well");
    story.reboot();
    story.told(1, PeerNews::Silence, "node 2 is suspected, no heartbeat for 512 ms.");
    let missed_at = story.second;
    story.told(1, PeerNews::Lost, "Node 2 is no member any more; members: 1 3");
    story.told(1, PeerNews::Confirmed, FENCED);
    story.told(3, PeerNews::Silence, "node 2 is suspected, no heartbeat for 512 ms.");
    let around = story.around(true);
    let verdict = story.judge(1, &around);
    assert_says(
        &verdict,
        Cause::Fenced,
        &["fenced, as n1 recorded: n1 fenced it (reboot) with ipmi", "node n2 is lost", "ipmitool sel list"],
    );
    assert_eq!(verdict.at, Some(missed_at * 1_000_000));
    let sources: Vec<&str> = verdict.evidence.iter().map(|e| e.source.as_str()).collect();
    assert_eq!(sources, ["n1", "n1", "n1", "node 3"], "{verdict:#?}");
    assert_eq!(story.judge(0, &around).cause, Cause::Running);
    // Killed, and started anew in the same boot: fenced all the same.
    for record in &mut story.records {
        record.boot = BootId([1; 16]);
    }
    assert_eq!(story.judge(1, &story.around(false)).cause, Cause::Fenced);
}

#[test]
fn what_others_only_missed_dates_an_end_and_explains_nothing() {
    let mut story = Story::new();
    story.reboot();
    story.told(1, PeerNews::Silence, "node 2 is suspected, no heartbeat for 512 ms.");
    let missed_at = story.second;
    story.told(1, PeerNews::Confirmed, "Death of node 2 is confirmed: its machine has booted again");
    let verdict = story.judge(1, &story.around(true));
    assert_says(&verdict, Cause::Power, &["lost its power", "the time is when n1 missed it"]);
    assert_eq!(verdict.at, Some(missed_at * 1_000_000));
}

#[test]
fn a_word_of_its_own_counts_before_that_of_others_and_theirs_where_its_own_was_lost() {
    let mut story = Story::new();
    story.reboot();
    story.told(
        1,
        PeerNews::Gasp,
        "Node 2 goes down: Failfast: Aborting because \"rgmd\" died 5 seconds ago.",
    );
    story.told(1, PeerNews::Confirmed, FENCED);
    let verdict = story.judge(1, &story.around(true));
    assert_says(
        &verdict,
        Cause::Failfast,
        &["left no word here; n1 recorded that it was taken down by failfast", "rgmd"],
    );
    let mut story = Story::new();
    story.death(ReasonKind::UnitLate, "Failfast: Aborting because \"db\" gave no heartbeat for 5 seconds.");
    story.reboot();
    story.told(1, PeerNews::Confirmed, FENCED);
    let verdict = story.judge(1, &story.around(true));
    assert_says(&verdict, Cause::Failfast, &["unit \"db\" gave no heartbeat"]);
    assert!(verdict.evidence.iter().any(|e| e.source == "n1"), "{verdict:#?}");
    // Of another life nothing is taken.
    story.reboot();
    assert_eq!(story.judge(1, &story.around(true)).cause, Cause::Power);
}

#[test]
fn an_orderly_stop_is_told_with_what_came_after_it() {
    let mut story = Story::new();
    story.put(Class::End, 0, (ME.get(), story.life), "left the cluster in order: shut down by SIGTERM");
    assert_says(
        &story.judge(0, &story.around(false)),
        Cause::InOrder,
        &["shut down by SIGTERM", "not been started again"],
    );
    let mut again = Story { records: story.records.clone(), ..story };
    again.start();
    assert_says(&again.judge(1, &again.around(true)), Cause::InOrder, &["was stopped in order"]);
    again.put(Class::End, 0, (ME.get(), again.life), "left the cluster in order: shut down by SIGTERM");
    again.reboot();
    assert_says(&again.judge(1, &again.around(true)), Cause::InOrder, &["booted anew after that"]);
}

#[test]
fn reasons_belong_to_the_life_in_which_they_were_written() {
    let mut story = Story::new();
    story.death(ReasonKind::UnitDied, "Failfast: Aborting because \"a\" died 0 seconds ago.");
    story.start();
    story.death(ReasonKind::UnitDied, "Failfast: Aborting because \"b\" died 0 seconds ago.");
    story.reboot();
    assert!(story.judge(2, &story.around(true)).reason.unwrap().contains("\"a\""));
    assert!(story.judge(1, &story.around(true)).reason.unwrap().contains("\"b\""));
    // The beginning of that life is not in the box any more.
    story.records.remove(0);
    let first = verdict::own(&lives(&story.records)[0], &story.around(true));
    assert!(first.reason.unwrap().contains("\"a\""));
}

#[test]
fn of_a_peer_is_told_what_was_seen_of_its_end() {
    let joined = |story: &mut Story| story.peer(PeerNews::Joined, "Node 3 is a member; members: 2 3");
    let lost = |story: &mut Story| story.peer(PeerNews::Lost, "Node 3 is no member any more; members: 2");
    let mut here = Story::new();
    joined(&mut here);
    assert_says(&here.of_peer(), Cause::Running, &["is a member"]);

    let mut gasp = Story::new();
    joined(&mut gasp);
    gasp.peer(PeerNews::Gasp, "Node 3 goes down: Failfast: Aborting because \"rgmd\" died 5 seconds ago.");
    lost(&mut gasp);
    gasp.peer(PeerNews::Confirmed, "Death of node 3 is confirmed: its machine has booted again");
    let verdict = gasp.of_peer();
    assert_says(
        &verdict,
        Cause::Failfast,
        &["because of unit \"rgmd\"", "said so itself", "confirmed: its machine has booted again"],
    );
    assert_eq!(verdict.reason.as_deref(), Some("Failfast: Aborting because \"rgmd\" died 5 seconds ago."));
    assert_eq!(verdict.evidence.len(), 3);

    let mut guardian = Story::new();
    joined(&mut guardian);
    guardian.peer(PeerNews::Gasp, "Node 3 goes down: cmmd died or made no progress");
    assert_says(&guardian.of_peer(), Cause::Guardian, &["death is not confirmed here"]);
    let stone = Stone {
        disk: "/dev/vdb".into(),
        life: Incarnation::new(77),
        at: 5,
        why: "Failfast: Aborting because \"cmmd\" made no progress for 31 seconds.".into(),
    };
    let around = Around { name: "n3".into(), stones: vec![stone], ..Around::default() };
    assert_says(&guardian.of_peer_with(&around), Cause::Guardian, &["made no progress for 31 seconds"]);

    let mut silent = Story::new();
    joined(&mut silent);
    silent.peer(
        PeerNews::Silence,
        "A processor failed, forming new configuration: node 3 is suspected, no heartbeat for 512 ms.",
    );
    lost(&mut silent);
    let at = Some((silent.second - 1) * 1_000_000);
    let alone = silent.of_peer();
    assert_says(
        &alone,
        Cause::Silent,
        &["lost its power, hung, or could not be reached", "no heartbeat for 512 ms", "not confirmed"],
    );
    assert_eq!(alone.at, at);
    silent.peer(
        PeerNews::Confirmed,
        "Death of node 3 is confirmed: n1 fenced it (reboot) with ipmi on behalf of rgmd @n1: silent",
    );
    silent.peer(PeerNews::Removed, "Preempted node 3 from data disk /dev/sda: it is not in this cluster, and cannot write there any more");
    assert_says(
        &silent.of_peer(),
        Cause::Fenced,
        &["n1 fenced it (reboot) with ipmi", "Preempted node 3 from data disk /dev/sda"],
    );

    let mut left = Story::new();
    joined(&mut left);
    left.peer(PeerNews::Leave, "Node 3 is gone (leave), forming new configuration.");
    lost(&mut left);
    assert_says(&left.of_peer(), Cause::InOrder, &["left the cluster in order"]);

    let mut stone = Story::new();
    joined(&mut stone);
    lost(&mut stone);
    stone.peer(PeerNews::Tombstone, "Node 3 says on the quorum disk why it went down: The watchdog is not fed any more: a unit is over its deadline");
    assert_says(
        &stone.of_peer(),
        Cause::Watchdog,
        &["about to be reset by its watchdog", "a unit is over its deadline"],
    );
    let mut gone = Story::new();
    joined(&mut gone);
    lost(&mut gone);
    assert_says(&gone.of_peer(), Cause::Gone, &["no word of it"]);
    assert!(!gone.of_peer().next.is_empty());
}

#[test]
fn every_ending_of_a_peer_is_one_episode_and_late_news_go_to_the_life_that_they_are_about() {
    let mut story = Story::new();
    story.peer(PeerNews::Joined, "Node 3 is a member; members: 2 3");
    story.peer(PeerNews::Silence, "silent");
    story.put(Class::Peer, PeerNews::Joined.code(), (3, 78), "Node 3 is a member; members: 2 3");
    story.peer(PeerNews::Confirmed, "Death of node 3 is confirmed: its machine has booted again");
    let found = episodes(&story.records, NodeId::new(3));
    assert_eq!(found.len(), 2);
    assert_eq!((found[0].news.len(), found[0].back.is_some()), (2, true));
    assert!(found[1].news.is_empty() && found[1].life == Incarnation::new(78));
}

#[test]
fn spans_are_read() {
    assert_eq!((span("90s"), span("2d")), (Ok(90), Ok(172_800)));
    for wrong in ["", "5", "h", "5w", "5ü", "-1h"] {
        assert!(span(wrong).unwrap_err().contains("6h"), "{wrong}");
    }
    assert!(span("99999999999999999d").is_err());
}

struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("holdfast-why-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }

    fn ask(&self, args: &Args) -> (Exit, String) {
        let (mut io, said) = Io::captured("");
        let sources = Sources::of_node(self.0.join("run"), self.0.clone());
        let exit = run_on(args, &sources, &[self.0.join("pstore")], super::now_ms(), &mut io);
        let said = String::from_utf8(said.lock().unwrap().clone()).unwrap();
        (exit, said)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn plain() -> Args {
    Args { node: None, all: false, since: None, events: 3, json: false }
}

#[test]
fn the_command_reads_a_black_box_and_pstore_and_says_it_as_text_and_json() {
    let dir = Dir::new("command");
    let mut black_box = BlackBox::open(&dir.0.join("blackbox")).unwrap();
    let life = Incarnation::new(11);
    let mut put = |class, detail, node, text: &str| {
        black_box
            .write(&Record { node: NodeId::new(node), life, ..Record::now(class, detail, Text::from(text)) })
            .unwrap();
    };
    put(
        Class::Start,
        0,
        2,
        "Node 2 (beta) of cluster \"shop\" begins a life: incarnation 11, failfast mode exit, Holdfast 0.1.0",
    );
    put(Class::Event, 5, 2, "A new membership (1.a4) was formed. Members joined: 2");
    put(Class::Event, 7, 2, "entering GATHER state");
    put(Class::Peer, PeerNews::Silence.code(), 3, "node 3 is suspected, no heartbeat for 512 ms.");
    put(
        Class::Death,
        ReasonKind::UnitDied.code(),
        0,
        "Failfast: Aborting because \"rgmd\" died 5 seconds ago.",
    );
    std::fs::create_dir_all(dir.0.join("pstore")).unwrap();
    std::fs::write(
        dir.0.join("pstore/dmesg-efi-1"),
        "Panic#1 Part1\n<0>[3.1] Kernel panic - not syncing: sysrq triggered crash\n",
    )
    .unwrap();

    let (exit, said) = dir.ask(&plain());
    assert_eq!(exit, Exit::Ok, "{said}");
    for words in [
        "beta",
        "unit \"rgmd\" was dead",
        "Aborting because \"rgmd\" died 5 seconds ago.",
        "Began",
        "kernel (pstore)",
        "sysrq triggered crash",
        "A new membership",
    ] {
        assert!(said.contains(words), "{words:?} is missing in\n{said}");
    }
    assert!(!said.contains("GATHER"), "that is for developers:\n{said}");

    let (exit, said) = dir.ask(&Args { json: true, ..plain() });
    let json: serde_json::Value = serde_json::from_str(&said).unwrap();
    let end = &json["ends"][0];
    assert_eq!(
        (exit, end["cause"].as_str(), end["unclean"].as_bool()),
        (Exit::Ok, Some("failfast"), Some(true))
    );
    assert_eq!(end["node"]["id"], 2);
    assert_eq!((json["own"].as_bool(), json["recorded_by"]["name"].as_str()), (Some(true), Some("beta")));

    let (exit, said) = dir.ask(&Args { node: Some("3".into()), ..plain() });
    assert!(exit == Exit::Ok && said.contains("node 3 ") && said.contains("fell silent"), "{said}");
    let (exit, said) = dir.ask(&Args { node: Some("4".into()), ..plain() });
    assert!(
        exit == Exit::Unavailable && said.contains("nothing is recorded here of an end of node 4"),
        "{said}"
    );
    let (exit, said) = dir.ask(&Args { node: Some("gamma".into()), ..plain() });
    assert!(exit == Exit::Usage && said.contains("no node \"gamma\""), "{said}");
}

#[test]
fn only_what_is_recent_is_told_where_that_is_asked() {
    let dir = Dir::new("since");
    let mut black_box = BlackBox::open(&dir.0.join("blackbox")).unwrap();
    let hour = Span::from_secs(3_600).as_nanos() / 1_000;
    for (life, hours) in [(11, 5_u64), (12, 1)] {
        for (class, text) in [
            (Class::Start, "Node 2 (beta) of cluster \"shop\" begins a life: x"),
            (Class::End, "left the cluster in order"),
        ] {
            let now = Record::now(class, 0, Text::from(text));
            let back = hours * hour;
            let wall = WallTime(now.wall.0 - i64::try_from(back).unwrap());
            black_box.write(&Record { wall, node: ME, life: Incarnation::new(life), ..now }).unwrap();
        }
    }
    let count = |args: Args| {
        let (exit, said) = dir.ask(&Args { json: true, ..args });
        let json: serde_json::Value = serde_json::from_str(&said).unwrap();
        (exit, json["ends"].as_array().unwrap().len())
    };
    assert_eq!(count(plain()), (Exit::Ok, 1));
    assert_eq!(count(Args { all: true, ..plain() }), (Exit::Ok, 2));
    assert_eq!(count(Args { all: true, since: Some(7_200), ..plain() }), (Exit::Ok, 1));
    assert_eq!(count(Args { since: Some(60), ..plain() }), (Exit::Unavailable, 0));
}

#[test]
fn without_a_box_or_with_something_else_in_its_place_the_next_step_is_named() {
    let dir = Dir::new("refused");
    let (exit, said) = dir.ask(&plain());
    assert!(exit == Exit::Unavailable && said.contains("HOLDFAST_STATE_DIR"), "{said}");
    std::fs::write(dir.0.join("blackbox"), b"holdfast black box, version 1\nand much more").unwrap();
    let (exit, said) = dir.ask(&plain());
    assert!(exit == Exit::CannotCreate && said.contains("of version 1"), "{said}");
}
