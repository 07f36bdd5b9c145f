//! `holdfast failfast status`.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use failfast::client::ClientError;
use failfast::core::protocol::{DeviceState, Report, UnitLine, WatchdogLine};
use failfast::core::{Mode, Restarts, Trouble, UnitState};
use holdfast_types::Span;
use serde_json::{Value, json};

use super::{connect, fail, words};
use crate::exit::Exit;
use crate::io::Io;
use crate::live;

#[derive(clap::Args)]
pub(super) struct Args {
    /// Print JSON: one object, fields are only ever added; with --watch one line each time
    #[arg(long)]
    json: bool,
    /// Look again and again, every so many seconds (1 if none are given), until q or Ctrl-C
    #[arg(short, long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "1", value_parser = live::seconds)]
    watch: Option<Duration>,
}

pub(super) fn run(args: &Args, io: &mut Io) -> Exit {
    match args.watch {
        Some(interval) if args.json => live::lines(NAME, interval, io, || {
            // Who watches wants to see cmmd come back.
            let json = ask().map_or_else(|e| json!({"error": e.to_string()}), |(r, u)| as_json(&r, &u));
            serde_json::to_string(&json)
        }),
        Some(interval) => live::view(NAME, interval, io, frame),
        None => match ask() {
            Err(e) => fail(&e, io),
            Ok((report, units)) if args.json => {
                let json = as_json(&report, &units);
                io.say(format_args!("{json:#}\n"));
                Exit::Ok
            }
            Ok((report, units)) => {
                io.say(format_args!("{}", as_text(&report, &units)));
                Exit::Ok
            }
        },
    }
}

const NAME: &str = "holdfast failfast status";

fn ask() -> Result<(Report, Vec<UnitLine>), ClientError> {
    let mut client = connect()?;
    Ok((client.report()?, client.list()?))
}

/// A screen of the live view: the time, and what there is then.
fn frame() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = status::iso(u64::try_from(now.as_millis()).unwrap_or(0), holdfast_sys::timezone::utc_offset);
    match ask() {
        Ok((report, units)) => format!("{now}\n\n{}", as_text(&report, &units)),
        Err(e) => format!("{now}\n\n{e}\n"),
    }
}

/// What the node does for a unit that is over its delay.
pub(super) fn what_a_mode_does(mode: Mode) -> &'static str {
    match mode {
        Mode::Exit => "every process of this node is killed",
        Mode::Panic => "the kernel panics",
        Mode::Reset => "the machine is reset at once",
        Mode::Off => "cmmd ends, and nothing else",
    }
}

fn millis(span: Option<Span>) -> Option<u64> {
    span.map(Span::as_millis)
}

fn as_json(report: &Report, units: &[UnitLine]) -> Value {
    let unit = |u: &UnitLine| {
        json!({
            "name": u.name.as_str(), "pid": u.pid, "state": u.state.as_str(), "since_ms": u.since.as_millis(),
            "delay_ms": u.delay.as_millis(), "heartbeat_ms": u.heartbeat.as_millis(),
            "mode": u.mode.map(Mode::as_str), "trouble": u.trouble.map(Trouble::word), "deadline_ms": millis(u.deadline),
            "restarts": u.restarts.map(|r| r.count), "window_ms": u.restarts.map(|r| r.window.as_millis()),
            "restarted": u.restarted, "maintenance_ms": millis(u.maintenance),
        })
    };
    let watchdog = |w: &WatchdogLine| {
        json!({
            "path": w.path, "name": w.name, "state": w.state.as_str(), "timeout_ms": w.timeout.as_millis(),
            "notice_ms": millis(w.notice), "worst_case_ms": w.worst.as_millis(), "nowayout": w.no_way_out,
            "software": w.software, "why": w.why,
        })
    };
    let guardian = report
        .guardian
        .map(|g| json!({"pid": g.pid, "seen_ms": g.seen.as_millis(), "limit_ms": g.limit.as_millis()}));
    let feeding = report.feeding.as_ref().map(|(fed, why)| json!({"fed": fed, "why": why}));
    json!({
        "mode": report.mode.as_str(), "guardian": guardian, "maintenance_ms": millis(report.maintenance),
        "feeding": feeding, "watchdogs": report.watchdogs.iter().map(watchdog).collect::<Vec<_>>(),
        "units": units.iter().map(unit).collect::<Vec<_>>(),
    })
}

fn as_text(report: &Report, units: &[UnitLine]) -> String {
    let mut text = String::new();
    // Writing to a String never fails.
    let _ = writeln!(text, "Mode:      {}: {}", report.mode, what_a_mode_does(report.mode));
    let _ = match report.guardian {
        Some(g) => {
            let (seen, limit) = (words(g.seen), words(g.limit));
            writeln!(text, "Guardian:  pid {}, seen {seen} ago; cmmd may stand still for {limit}", g.pid)
        }
        None => writeln!(text, "Guardian:  none at the moment; another one is being started"),
    };
    for w in &report.watchdogs {
        let _ = writeln!(text, "Watchdog:  {}", watchdog(w));
    }
    if report.watchdogs.is_empty() {
        text.push_str(
            "Watchdog:  none; a node that hangs as a whole stays as it is (failfast.watchdog_device)\n",
        );
    }
    if let Some((fed, why)) = &report.feeding {
        let what = if *fed { "fed" } else { "NOT FED, this machine goes down" };
        let _ = writeln!(text, "           {what}: {why}");
    }
    if let Some(left) = report.maintenance {
        let _ = writeln!(
            text,
            "MAINTENANCE of all units, {} left; \"holdfast failfast maintenance off --all\" ends it",
            words(left)
        );
    }
    if units.is_empty() {
        text.push_str("\nNo unit is watched.\n");
        return text;
    }
    let name_width = units.iter().map(|u| u.name.as_str().len()).max().unwrap_or(0).max(4);
    let _ = writeln!(
        text,
        "\n{:name_width$}  {:>7}  {:9}  {:>8}  {:>9}  {:8}  Restarts",
        "Unit", "Pid", "State", "Delay", "Heartbeat", "Mode"
    );
    for u in units {
        let heartbeat = if u.heartbeat == Span::ZERO { "-".into() } else { words(u.heartbeat) };
        let mode = u.mode.map_or("-", |mode| if mode == Mode::Off { "log only" } else { mode.as_str() });
        let restarts = u.restarts.map_or("any".into(), |Restarts { count, window }| {
            format!("{} of {count} in {}", u.restarted, words(window))
        });
        let (name, state, delay) = (u.name, u.state, words(u.delay));
        let _ = writeln!(
            text,
            "{name:name_width$}  {:>7}  {state:9}  {delay:>8}  {heartbeat:>9}  {mode:8}  {restarts}",
            u.pid
        );
        for note in notes(u) {
            let _ = writeln!(text, "{:name_width$}  {note}", "");
        }
    }
    text
}

fn watchdog(w: &WatchdogLine) -> String {
    let state = match w.state {
        DeviceState::Waiting => "to be armed with the first quorum",
        DeviceState::Armed => "armed",
        DeviceState::Failed => "NOT ARMED",
    };
    let mut text = format!("{} ({}), {state}, time-out {}", w.path, w.name, words(w.timeout));
    if let Some(notice) = w.notice {
        let _ = write!(text, ", kernel panics {} before", words(notice));
    }
    let _ = write!(text, ", down within {}", words(w.worst));
    if w.no_way_out {
        text.push_str("; nowayout: an orderly stop of cmmd ends with a reset");
    }
    if !w.why.is_empty() {
        let _ = write!(text, "; {}", w.why);
    }
    text
}

/// What is wrong with a unit, and what follows.
fn notes(u: &UnitLine) -> Vec<String> {
    let mut notes = Vec::new();
    let since = words(u.since);
    match (u.state, u.trouble) {
        (UnitState::Triggered, Some(Trouble::Died)) => notes.push(format!("dead for {since}")),
        (UnitState::Triggered, Some(Trouble::Late)) => notes.push(format!("heartbeat missing for {since}")),
        (UnitState::Triggered, None) => notes.push("over its delay".into()),
        _ => {}
    }
    if let Some(left) = u.deadline.filter(|_| u.trouble.is_some()) {
        let then = if u.mode == Some(Mode::Off) { "a line is logged" } else { "THE NODE GOES DOWN" };
        notes.push(format!("{then} in {} unless it is armed again", words(left)));
    }
    if let Some(left) = u.maintenance {
        notes.push(format!("under maintenance for {}", words(left)));
    }
    notes
}

#[cfg(test)]
mod tests {
    use failfast::core::UnitName;
    use failfast::core::protocol::GuardianLine;

    use super::*;

    fn seconds(n: u64) -> Span {
        Span::from_secs(n)
    }

    fn report() -> Report {
        Report {
            mode: Mode::Panic,
            guardian: Some(GuardianLine { pid: 17, seen: Span::from_millis(12), limit: seconds(10) }),
            maintenance: None,
            feeding: Some((true, "the node is fit and quorate".into())),
            watchdogs: vec![WatchdogLine {
                state: DeviceState::Armed,
                timeout: seconds(10),
                notice: Some(seconds(2)),
                worst: seconds(22),
                no_way_out: true,
                software: false,
                path: "/dev/watchdog0".into(),
                name: "i6300ESB timer".into(),
                why: String::new(),
            }],
        }
    }

    fn unit() -> UnitLine {
        UnitLine {
            name: UnitName::new("pg").unwrap(),
            pid: 4711,
            state: UnitState::Triggered,
            delay: seconds(35),
            heartbeat: Span::ZERO,
            since: seconds(4),
            mode: Some(Mode::Panic),
            trouble: Some(Trouble::Died),
            deadline: Some(seconds(31)),
            restarts: Some(Restarts { count: 3, window: seconds(600) }),
            restarted: 2,
            maintenance: None,
        }
    }

    #[test]
    fn trouble_is_shown_with_what_follows() {
        let text = as_text(&report(), &[unit()]);
        assert!(text.starts_with("Mode:      panic: the kernel panics\n"), "{text}");
        assert!(text.contains("Guardian:  pid 17, seen 12 ms ago; cmmd may stand still for 10 s"), "{text}");
        assert!(
            text.contains(
                "/dev/watchdog0 (i6300ESB timer), armed, time-out 10 s, kernel panics 2 s before, down within 22 s; nowayout"
            ),
            "{text}"
        );
        assert!(
            text.contains("pg       4711  triggered      35 s          -  panic     2 of 3 in 10 min\n"),
            "{text}"
        );
        assert!(
            text.contains("      dead for 4 s\n      THE NODE GOES DOWN in 31 s unless it is armed again\n"),
            "{text}"
        );
        let json = as_json(&report(), &[unit()]);
        assert_eq!(
            (&json["units"][0]["deadline_ms"], &json["watchdogs"][0]["nowayout"]),
            (&json!(31_000), &json!(true))
        );
    }

    #[test]
    fn maintenance_and_what_is_missing_cannot_be_overlooked() {
        let report = Report {
            maintenance: Some(seconds(570)),
            guardian: None,
            feeding: Some((false, "a unit is over its deadline".into())),
            watchdogs: vec![],
            ..report()
        };
        let unit = UnitLine { maintenance: Some(seconds(570)), ..unit() };
        let text = as_text(&report, &[unit]);
        for part in [
            "MAINTENANCE of all units, 9 min 30 s left",
            "Guardian:  none at the moment",
            "Watchdog:  none;",
            "NOT FED, this machine goes down: a unit is over its deadline",
            "under maintenance for 9 min 30 s",
        ] {
            assert!(text.contains(part), "{part:?} is missing in\n{text}");
        }
        assert!(as_text(&report, &[]).contains("No unit is watched."));
    }
}
