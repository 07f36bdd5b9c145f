//! Every message of the table, from a raw line to the operator's words; and the same from an event.

#![forbid(unsafe_code)]

use logconv::{Converter, Date, Event, Level, Operation, Outcome, Placement, Rules, Settings, Suffix, TABLE};

const TODAY: Date = Date { year: 2017, month: 6, day: 1 };

fn converter(suffix: Suffix) -> Converter {
    let settings = Settings { suffix, act_rsc: vec!["R".to_owned()], ..Settings::default() };
    Converter::new(settings, Rules::standard(), "here")
}

fn said(line: &str, suffix: Suffix) -> Vec<(Level, String)> {
    let all = converter(suffix).line(line, TODAY);
    all.into_iter().map(|l| (l.level, l.text)).collect()
}

/// The daemon of 1.1.17 that a row's raw text is of.
fn daemon(number: &str) -> &'static str {
    match number.split('-').next().unwrap() {
        "7" => "corosync",
        "8" => "ping(prmPing)",
        "9" => "diskd",
        "10" => "pacemakerd",
        "14" if matches!(number, "14-1" | "14-2") => "corosync",
        "14" if matches!(number, "14-3" | "14-4") => "pacemakerd",
        "21" if matches!(number, "21-5" | "21-6" | "21-7") => "stonith-ng",
        "22" => "attrd",
        "23" if number == "23-1" => "corosync",
        "23" => "pacemakerd",
        _ => "crmd",
    }
}

#[test]
fn each_row_of_the_table_comes_from_its_raw_line() {
    let mut seen = 0;
    for row in TABLE.iter().filter(|row| !row.raw.is_empty() && !row.number.starts_with('F')) {
        let line = format!("Apr 24 06:19:55 pm01 {}[3594]:  notice: {}", daemon(row.number), row.raw);
        assert_eq!(said(&line, Suffix::Words), [(row.level, row.text.to_owned())], "{}: {line}", row.number);
        seen += 1;
    }
    assert_eq!(seen, 67, "rows with a raw line of their own");
}

#[test]
fn numbers_stand_once_and_every_event_has_the_words_of_its_row() {
    let mut numbers: Vec<&str> = TABLE.iter().map(|row| row.number).collect();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), TABLE.len());
    for event in events() {
        let message = event.message(Suffix::Words).unwrap_or_else(|| panic!("{event:?}"));
        let row = TABLE.iter().find(|row| row.number == message.number);
        let row = row.unwrap_or_else(|| panic!("{} is in no row", message.number));
        assert_eq!((message.level, message.text.as_str()), (row.level, row.text), "{}", row.number);
    }
    let spoken: Vec<_> = events().iter().map(|e| e.message(Suffix::Words).unwrap().number).collect();
    for row in TABLE {
        assert!(spoken.contains(&row.number), "no event says {}", row.number);
    }
}

/// One for each row.
fn events() -> Vec<Event> {
    use Operation::{Demote, MigrateFrom, MigrateTo, Monitor, Promote, Start, Stop};
    let r = || "R".to_owned();
    let (n, m, s) = (|| "N".to_owned(), || "M".to_owned(), || "S".to_owned());
    let mut all = Vec::new();
    for operation in [Start, Stop, Promote, Demote, MigrateTo, MigrateFrom] {
        all.push(Event::Begins { resource: r(), operation, device: false });
        for outcome in [Outcome::Agent(0), Outcome::Agent(1), Outcome::TimedOut] {
            all.push(Event::Ended { resource: r(), operation, outcome, device: false });
        }
    }
    for outcome in [Outcome::Agent(1), Outcome::Agent(7), Outcome::TimedOut] {
        all.push(Event::Ended { resource: r(), operation: Monitor, outcome, device: false });
    }
    for (operation, outcome) in [
        (Start, Outcome::Agent(0)),
        (Start, Outcome::Executor(4)),
        (Start, Outcome::TimedOut),
        (Stop, Outcome::Agent(0)),
        (Monitor, Outcome::Executor(4)),
        (Monitor, Outcome::TimedOut),
    ] {
        all.push(Event::Ended { resource: s(), operation, outcome, device: true });
    }
    all.extend([Start, Stop].map(|operation| Event::Begins { resource: s(), operation, device: true }));
    let process = |name: &str| name.to_owned();
    all.extend([
        Event::NodeLost { node: n() },
        Event::NodeMember { node: n() },
        Event::RingFaulty { ring: "0".into(), interface: "192.168.103.1".into() },
        Event::RingRecovered { ring: "0".into() },
        Event::NetworkLost { host: "192.168.101.1".into() },
        Event::DiskError { device: "D".into(), attribute: "A".into() },
        Event::ProcessStarted { process: process("cib"), pid: 31164 },
        Event::ProcessExited { process: process("crmd"), pid: 24021, rc: 201 },
        Event::ProcessKilled { process: process("cib"), pid: 24016, signal: 9 },
        Event::ProcessNotRestarted { process: process("crmd"), pid: 16373 },
        Event::ProcessResets { process: process("crmd"), pid: 8635 },
        Event::ProcessStopped { process: process("cib"), pid: 31164 },
        Event::RespawnExceeded { process: process("stonith-ng") },
        Event::ControllerSet { node: n() },
        Event::ControllerUnset { node: n() },
        Event::RingStops,
        Event::RingStopped,
        Event::ManagerStops,
        Event::ManagerStopped,
        Event::NodeLeaves { node: n() },
        Event::FenceBegins { action: "reboot".into(), node: n() },
        Event::FenceEnded { action: "reboot".into(), node: n(), by: m(), ok: true },
        Event::FenceEnded { action: "reboot".into(), node: n(), by: m(), ok: false },
        Event::FenceGivenUp { node: n() },
        Event::DeviceBegins { device: "D".into(), executor: m(), action: "reboot".into(), node: n() },
        Event::DeviceEnded { device: "D".into(), node: n(), ok: true },
        Event::DeviceEnded { device: "D".into(), node: n(), ok: false },
        Event::FenceConfirmed { action: "off".into(), node: n() },
        Event::AttributeSet { name: "A".into(), value: "V".into(), node: n() },
        Event::AttributeDeleted { name: "A".into(), node: n() },
        Event::RingStarts { version: "2.4.2".into() },
        Event::ManagerStarts { version: "1.1.17".into() },
        Event::FailOverBegins,
        Event::Placed { resource: r(), placement: Placement::StartedOn(n()) },
        Event::Placed { resource: r(), placement: Placement::Moved { from: n(), to: m() } },
        Event::Placed { resource: r(), placement: Placement::Stopped },
        Event::Unmanaged,
        Event::FailOverSucceeded,
        Event::FailOverFailed,
        Event::Because { why: "WHY".into() },
        Event::Chosen { resource: r(), node: n(), why: "WHY".into() },
        Event::Refused { resource: r(), node: n(), constraint: Some("C".into()), why: "WHY".into() },
    ]);
    all
}

#[test]
fn the_wordings_of_other_generations_say_the_same() {
    let two = |process: &str, text: &str| {
        format!("2023-04-24T06:19:55.123456+00:00 pm01 {process}[3594]:  notice: {text}")
    };
    for (line, want) in [
        (two("pacemaker-controld", "Requesting local execution of start operation for R on N"), "Resource R tries to start."),
        (two("pacemaker-controld", "Result of stop operation for R on N: ok"), "Resource R stopped. (rc=0) ok"),
        (two("pacemaker-controld", "Result of monitor operation for R on N: not running"), "Resource R does not work. (rc=7) not running"),
        (two("pacemaker-controld", "Result of monitor operation for R on N: not running (gone) | graph action unconfirmed; call=9 key=R_monitor_10000 rc=7"), "Resource R does not work. (rc=7) not running"),
        (two("pacemaker-controld", "Result of start operation for R on N: error (Can't start PostgreSQL.)"), "Resource R failed to start. (rc=1) unknown error"),
        (two("pacemaker-controld", "Result of start operation for R on N: Timed Out after 1m (Resource agent did not complete in time)"), "Resource R failed to start. (Timed Out)"),
        (two("pacemaker-controld", "Result of start operation for R on N: Not installed (no such agent)"), "Resource R failed to start. Not installed"),
        (two("pacemaker-controld", "Node N state is now lost"), "Node N is lost"),
        (two("pacemaker-fenced", "Requesting that M perform 'reboot' action targeting N using 'D'"), "Try to execute STONITH device D on M for reboot N."),
        (two("pacemaker-fenced", "Operation 'reboot' [55] targeting N using D returned 0"), "Succeeded to execute STONITH device D for N."),
        (two("pacemaker-fenced", "Operation 'reboot' [55] targeting N using D returned 1"), "Failed to execute STONITH device D for N."),
        (two("pacemaker-attrd", "Setting A[N]: (unset) -> V"), "Attribute \"A\" is updated to \"V\" at \"N\"."),
        (two("pacemaker-attrd", "Setting A[N]: V -> (unset) | from M"), "Attribute \"A\" is deleted at \"N\"."),
        (two("pacemakerd", "pacemaker-based[77] terminated with signal 9 (Killed)"), "Managed \"pacemaker-based\" process terminated with signal 9. (pid=77)"),
        (two("pacemakerd", "pacemaker-based[77] exited with status 0 (OK)"), "Stop \"pacemaker-based\" process normally. (pid=77)"),
        (two("pacemakerd", "Shutting cluster down because pacemaker-controld[77] had fatal failure"), "Managed \"pacemaker-controld\" process exited. (pid=77, rc=100)"),
        (two("pacemakerd", "Starting Pacemaker 2.1.5-4"), "Starting Pacemaker 2.1.5."),
        // 1.1.10 to 1.1.14
        ("Apr 24 06:19:55 pm01 crmd[1]:   notice: process_lrm_event: LRM operation R_start_0 (call=168, rc=0, cib-update=67, confirmed=true) ok".into(), "Resource R started. (rc=0) ok"),
        ("Apr 24 06:19:55 pm01 crmd[1]:    error: process_lrm_event: LRM operation R_stop_0 (77) Timed Out (timeout=10000ms)".into(), "Resource R failed to stop. (Timed Out)"),
        ("Apr 24 06:19:55 pm01 crmd[1]:    error: process_lrm_event: Operation R_stop_0: Timed Out (node=N, call=77, timeout=60000ms)".into(), "Resource R failed to stop. (Timed Out)"),
        ("Apr 24 06:19:55 pm01 pacemakerd[1]:   notice: pcmk_shutdown_worker: Shuting down Pacemaker".into(), "Pacemaker is shutting down."),
        ("Apr 24 06:19:55 pm01 pacemakerd[1]:    error: pcmk_child_exit: Child process cib (888) exited: Generic Pacemaker error (201)".into(), "Managed \"cib\" process exited. (pid=888, rc=201)"),
        ("Apr 24 06:19:55 pm01 pacemakerd[1]:   notice: pcmk_child_exit: Child process cib terminated with signal 9 (pid=888, core=0)".into(), "Managed \"cib\" process terminated with signal 9. (pid=888)"),
        // Ours.
        ("Apr 24 06:19:55 pm01 rgmd[1]:  INFO Result of 10000ms-interval monitor operation for R on N: not running".into(), "Resource R does not work. (rc=7) not running"),
        ("2023-04-24T06:19:55.123456Z  WARN Requesting fencing (reboot) of node N: it is lost".into(), "Try to STONITH (reboot) N."),
        ("Apr 24 06:19:55 pm01 rgmd[1]:  INFO Peer N was terminated (reboot) by M on behalf of rgmd @M: OK".into(), "Succeeded to STONITH (reboot) N by M."),
    ] {
        let got: Vec<String> = said(&line, Suffix::Words).into_iter().map(|(_, text)| text).collect();
        assert_eq!(got, [want], "{line}");
    }
}

#[test]
fn what_an_operator_need_not_know_is_not_said() {
    for text in [
        "crmd[1]:   notice: Result of probe operation for R on N: 7 (not running)",
        "crmd[1]:   notice: Operation R_monitor_0: not running (node=N, call=5, rc=7, cib-update=3, confirmed=true)",
        "crmd[1]:     info: Result of monitor operation for R on N: 0 (ok)",
        "crmd[1]:     info: Result of monitor operation for R on N: 8 (master)",
        "crmd[1]:     info: Result of monitor operation for R on N: Cancelled",
        "crmd[1]:   notice: Result of notify operation for R on N: 0 (ok)",
        "crmd[1]:     info: Performing key=1:2:0:x op=R_monitor_10000",
        "attrd[1]:     info: Setting fail-count-R[N]: (null) -> 1 from N",
        "attrd[1]:     info: Setting last-failure-R[N]: (null) -> 1492982395 from N",
        "attrd[1]:     info: Setting probe_complete[N]: (null) -> true from N",
        "attrd[1]:     info: Setting shutdown[N]: (null) -> 1492982395 from N",
        "attrd[1]:   notice: Node N state is now lost",
        "pacemaker-fenced[1]:   notice: Operation 'monitor' [55] using D returned 0",
        "cib[1]:     info: Diff: +++ 0.4.17 (null)",
        "lrmd[1]:     info: executing - rsc:R action:stop call_id:27",
    ] {
        let line = format!("Apr 24 06:19:55 pm01 {text}");
        assert_eq!(said(&line, Suffix::Words), [], "{line}");
    }
}

#[test]
fn the_older_generation_writes_numbers_only() {
    for (text, want) in [
        ("Result of start operation for R on N: 0 (ok)", "Resource R started. (rc=0)"),
        ("Result of stop operation for R on N: 1 (unknown error)", "Resource R failed to stop. (rc=1)"),
        ("Result of stop operation for R on N: Error", "Resource R failed to stop. (status=4)"),
        ("Result of monitor operation for R on N: 7 (not running)", "Resource R does not work. (rc=7)"),
        ("Result of monitor operation for R on N: Timed Out", "Resource R failed to monitor. (Timed Out)"),
    ] {
        let line = format!("Apr 24 06:19:55 pm01 crmd[1]:  notice: {text}");
        assert_eq!(said(&line, Suffix::Numbers)[0].1, want);
    }
}

#[test]
fn a_site_can_say_things_by_rules_of_its_own() {
    let rules = "[The backup is running.]\npattern=backup,started\nfunc=output_static_msg\nloglevel=warning\n\
                 [Other]\npattern=backup\nfunc=output_original_log\n";
    let rules = Rules::parse(rules).unwrap();
    let settings = Settings { syslogformat: false, ..Settings::default() };
    let mut converter = Converter::new(settings, rules, "here");
    let mut say =
        |line: &str| converter.line(line, TODAY).iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(
        say("Apr  4 06:19:55 pm01 backup[1]: info: started"),
        ["2017/04/04_06:19:55 pm01 warning: The backup is running."]
    );
    assert_eq!(
        say("Dec 24 06:19:55 pm01 backup[1]: error: no tape"),
        ["2016/12/24_06:19:55 pm01   error: no tape"]
    );
}
