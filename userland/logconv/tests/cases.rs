//! The operator's logs of the nine fault cases, from raw logs in the wordings of three generations.
//!
//! What happens in a case is told once, as a story; each generation has its own words for it, and all of them must lead to the log
//! in `cases/`, line by line.

#![forbid(unsafe_code)]

use std::fmt::Write;

use logconv::{Converter, Date, Rules, Settings, State};

const TODAY: Date = Date { year: 2016, month: 6, day: 1 };

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Generation {
    /// 1.1.13 and 1.1.14, with the names of functions.
    V1_1_13,
    /// 1.1.17.
    V1_1_17,
    /// 2.1.5, with everything that it can say.
    V2_1_5,
}
use Generation::{V1_1_13, V1_1_17, V2_1_5};

/// The raw log of a story on a node. A line of a story is `TIME WHAT …`; see the arms.
fn raw(story: &str, me: &str, generation: Generation) -> String {
    let mut out = String::new();
    let new = generation == V2_1_5;
    let daemon = |old: &str| -> String {
        if !new {
            return old.to_owned();
        }
        let name = match old {
            "crmd" => "controld",
            "pengine" => "schedulerd",
            "stonith-ng" => "fenced",
            other => other,
        };
        format!("pacemaker-{name}")
    };
    for line in story.lines().map(str::trim).filter(|l| !l.is_empty()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (time, what, w) = (words[0], words[1], &words[2..]);
        let mut say = |process: &str, level: &str, text: &str| {
            let _ = writeln!(out, "May 25 {time} {me} {process}[2041]: {level:>7}: {text}");
        };
        let crmd = daemon("crmd");
        let pengine = daemon("pengine");
        let stonith = daemon("stonith-ng");
        let attrd = daemon("attrd");
        let function = |name: &str| if generation == V1_1_13 { format!("{name}: ") } else { String::new() };
        match what {
            "init" => {
                let (op, r, n) = (w[0], w[1], w[2]);
                let local = if n == me { "locally " } else { "" };
                let text = if generation == V1_1_13 {
                    format!("te_rsc_command: Initiating action 5: {op} {r}_{op}_0 on {n}")
                } else {
                    format!("Initiating {op} operation {r}_{op}_0 {local}on {n}")
                };
                say(&crmd, "notice", &text);
            }
            "try" => {
                let (op, r) = (w[0], w[1]);
                if new {
                    say(
                        &crmd,
                        "notice",
                        &format!("Requesting local execution of {op} operation for {r} on {me}"),
                    );
                } else {
                    let text =
                        format!("{}Performing key=5:5:0:0d469cae op={r}_{op}_0", function("do_lrm_rsc_op"));
                    say(&crmd, "info", &text);
                    say("lrmd", "info", &format!("executing - rsc:{r} action:{op} call_id:27"));
                }
            }
            "result" => {
                let (op, r, rc): (_, _, i32) = (w[0], w[1], w[2].parse().unwrap());
                let interval = if op == "monitor" { 10_000 } else { 0 };
                let old = match rc {
                    0 => "ok",
                    7 => "not running",
                    _ => "unknown error",
                };
                let text = match generation {
                    V1_1_13 => format!(
                        "process_lrm_event: Operation {r}_{op}_{interval}: {old} (node={me}, call=77, rc={rc}, cib-update=12, confirmed=true)"
                    ),
                    V1_1_17 => format!("Result of {op} operation for {r} on {me}: {rc} ({old})"),
                    V2_1_5 => format!(
                        "Result of {op} operation for {r} on {me}: {}",
                        if rc == 1 { "error (no reason)" } else { old }
                    ),
                };
                say(&crmd, "notice", &text);
            }
            "error" => {
                let (op, r) = (w[0], w[1]);
                let interval = if op == "monitor" { 10_000 } else { 0 };
                let text = if generation == V1_1_13 {
                    format!(
                        "process_lrm_event: Operation {r}_{op}_{interval}: Error (node={me}, call=77, status=4, cib-update=12, confirmed=true)"
                    )
                } else {
                    format!("Result of {op} operation for {r} on {me}: Error")
                };
                say(&crmd, "error", &text);
            }
            "failcount" => {
                let text = format!(
                    "{}Updating failcount for {} on {} after failed {}",
                    function("update_failcount"),
                    w[0],
                    w[1],
                    w[2]
                );
                say(
                    &crmd,
                    if new { "notice" } else { "warning" },
                    &format!("{text}: rc={} (update=value++, time=1464161405)", w[3]),
                );
                let text = format!(
                    "{}Setting fail-count-{}[{}]: (null) -> 1 from {}",
                    function("attrd_peer_update"),
                    w[0],
                    w[1],
                    w[1]
                );
                say(&attrd, "info", &text);
            }
            "calc" => say(
                &crmd,
                "notice",
                &format!("{}State transition S_IDLE -> S_POLICY_ENGINE", function("do_state_transition")),
            ),
            "online" => say(
                &pengine,
                "info",
                &format!("{}Node {} is online", function("determine_online_status"), w[0]),
            ),
            "plan" => {
                let (change, r) = (w[0], w[1]);
                let leave = change == "Leave";
                let text = match (generation, &w[2..]) {
                    (V2_1_5, [a, b]) if !leave => {
                        format!("Actions: {change:<10} {r:<20} (  {a} -> {b} )  due to something")
                    }
                    (V2_1_5, [a]) if !leave => format!("Actions: {change:<10} {r:<20} (          {a} )"),
                    (_, [a, b]) => format!("{change:<7} {r}#011(Started {a} -> {b})"),
                    (_, [a]) if change == "Start" => format!("{change:<7} {r}#011({a})"),
                    (_, [a]) => format!("{change:<7} {r}#011(Started {a})"),
                    (_, _) => format!("{change:<7} {r}#011(Stopped)"),
                };
                say(
                    &pengine,
                    if leave { "info" } else { "notice" },
                    &format!("{}{text}", function("log_actions")),
                );
            }
            "go" => {
                say(&pengine, "notice", "Calculated transition 5, saving inputs in pe-input-5.bz2");
                say(
                    &crmd,
                    "info",
                    &format!(
                        "{}State transition S_POLICY_ENGINE -> S_TRANSITION_ENGINE",
                        function("do_state_transition")
                    ),
                );
            }
            "idle" => say(
                &crmd,
                "notice",
                &format!("{}State transition S_TRANSITION_ENGINE -> S_IDLE", function("do_state_transition")),
            ),
            "attribute" => {
                let (a, n, v) = (w[0], w[1], w[2]);
                let old = if new { "(unset)" } else { "(null)" };
                let tail = if new { " | from srv01 with 5s write delay" } else { " from srv01" };
                say(
                    &attrd,
                    "info",
                    &format!("{}Setting {a}[{n}]: {old} -> {v}{tail}", function("attrd_peer_update")),
                );
            }
            "ping" => say(
                "ping(prmPing)",
                "WARNING",
                &format!("{} is inactive: PING {0} 56(84) bytes of data.", w[0]),
            ),
            "disk" => say(
                "diskd",
                "warning",
                &format!(
                    "check_status: disk status is changed, attr_name={}, target={}, new_status=ERROR",
                    w[0], w[1]
                ),
            ),
            "lost" => {
                if new {
                    say(&attrd, "notice", &format!("Node {} state is now lost", w[0]));
                    say(&crmd, "notice", &format!("Node {} state is now lost", w[0]));
                    say(&crmd, "info", &format!("Cluster node {} is now lost (was member)", w[0]));
                } else if generation == V1_1_17 {
                    say(&crmd, "info", &format!("Cluster node {} is now lost (was member)", w[0]));
                } else {
                    say(&crmd, "info", &format!("peer_update_callback: {} is now lost (was member)", w[0]));
                }
            }
            "silent" => say(
                "corosync",
                "notice",
                &format!("[TOTEM ] Failed to receive the leave message. failed: {}", w[0]),
            ),
            "unset" => say(&crmd, "info", &format!("{}Unset DC. Was {}", function("update_dc"), w[0])),
            "set" => say(&crmd, "info", &format!("{}Set DC to {} (3.0.11)", function("update_dc"), w[0])),
            "fence" => {
                let text = if generation == V1_1_13 {
                    format!(
                        "te_fence_node: Executing reboot fencing operation (79) on {} (timeout=60000)",
                        w[0]
                    )
                } else {
                    format!("Requesting fencing (reboot) of node {}", w[0])
                };
                say(&crmd, "notice", &text);
            }
            "fenced" => {
                let text = if generation == V1_1_13 {
                    format!(
                        "tengine_stonith_notify: Peer {} was terminated (reboot) by {} for {1}: OK (ref=0) by client crmd.2041",
                        w[0], w[1]
                    )
                } else {
                    format!("Peer {} was terminated (reboot) by {} on behalf of {crmd}.2041: OK", w[0], w[1])
                };
                say(&crmd, "notice", &text);
            }
            "device" => {
                let (d, m, n) = (w[0], w[1], w[2]);
                let text = match generation {
                    V1_1_13 => format!(
                        "call_remote_stonith: Requesting that {m} perform op reboot {n} with {d} for crmd.2041 (60s)"
                    ),
                    V1_1_17 => format!(
                        "Requesting that '{m}' perform op '{n} reboot' with '{d}' for crmd.2041 (48s)"
                    ),
                    V2_1_5 => {
                        format!("Requesting that {m} perform 'reboot' action targeting {n} using '{d}'")
                    }
                };
                say(&stonith, if new { "notice" } else { "info" }, &text);
            }
            "called" => {
                let (d, n, rc) = (w[0], w[1], w[2]);
                let words = if rc == "0" { "OK" } else { "No data available" };
                let text = match generation {
                    V1_1_13 => format!(
                        "process_remote_stonith_exec: Call to {d} for {n} on behalf of crmd.2041@{me}: {words} ({rc})"
                    ),
                    V1_1_17 => {
                        format!("Call to {d} for '{n} reboot' on behalf of crmd.2041@{me}: {words} ({rc})")
                    }
                    V2_1_5 => {
                        say(&stonith, "info", &format!("Operation 'monitor' [33] using {d} returned 0"));
                        format!(
                            "Operation 'reboot' [31] targeting {n} using {d} returned {}",
                            rc.trim_start_matches('-')
                        )
                    }
                };
                say(&stonith, "notice", &text);
            }
            other => panic!("{other:?} is no part of a story"),
        }
    }
    out
}

const EX: &str = "prmExPostgreSQLDB";
const FS: &str = "prmFsPostgreSQLDB";
const IP: &str = "prmIpPostgreSQLDB";
const AP: &str = "prmApPostgreSQLDB";

/// `TIME WHAT` for all four, as the plan of a controller.
fn plan(time: &str, what: impl Fn(&str) -> String) -> String {
    [EX, FS, IP, AP].iter().map(|r| format!("{time} plan {}\n", what(r))).collect()
}

/// The four stop on this node, each at these times.
fn stops(controller: bool, times: [[&str; 2]; 4]) -> String {
    [AP, IP, FS, EX].iter().zip(times).fold(String::new(), |mut out, (r, [from, to])| {
        if controller {
            let _ = writeln!(out, "{from} init stop {r} srv01");
        }
        let _ = writeln!(out, "{from} try stop {r}\n{to} result stop {r} 0");
        out
    })
}

/// The four start on srv02.
fn starts(on_controller: bool, here: bool, times: [[&str; 2]; 4]) -> String {
    [EX, FS, IP, AP].iter().zip(times).fold(String::new(), |mut out, (r, [from, to])| {
        if on_controller {
            let _ = writeln!(out, "{from} init start {r} srv02");
        }
        if here {
            let _ = writeln!(out, "{from} try start {r}\n{to} result start {r} 0");
        }
        out
    })
}

fn settings() -> Settings {
    let text = "[Settings]\n\
        attribute_ping = not_defined default_ping_set or default_ping_set lt 100\n\
        attribute_diskd = not_defined diskcheck_status or diskcheck_status eq ERROR\n\
        attribute_diskd_inner = not_defined diskcheck_status_internal or diskcheck_status_internal eq ERROR\n\
        act_rsc = prmExPostgreSQLDB,prmApPostgreSQLDB\nresult_format = 2.2\n";
    Settings::parse(text).unwrap()
}

/// Converts the story in every generation's words, once in one go and once with a new converter for each line.
fn check(case: &str, me: &str, story: &str, want: &str) {
    for generation in [V1_1_13, V1_1_17, V2_1_5] {
        let raw = raw(story, me, generation);
        let mut converter = Converter::new(settings(), Rules::standard(), "elsewhere");
        let lines: Vec<String> =
            raw.lines().flat_map(|l| converter.line(l, TODAY)).map(|l| l.to_string()).collect();
        let said = lines.iter().fold(String::new(), |out, line| out + line + "\n");
        assert_eq!(said, want, "case {case} on {me} in the words of {generation:?}; raw:\n{raw}");
        let mut state = serde_json::to_string(&State::default()).unwrap();
        let mut again = String::new();
        for line in raw.lines() {
            let mut converter = Converter::new(settings(), Rules::standard(), "elsewhere");
            converter.resume(serde_json::from_str(&state).unwrap());
            converter.line(line, TODAY).iter().for_each(|l| again += &format!("{l}\n"));
            state = serde_json::to_string(converter.state()).unwrap();
        }
        assert_eq!(again, want, "case {case} on {me}, restarted at every line");
    }
}

fn moves(time: &str) -> String {
    plan(time, |r| if r == AP { format!("Recover {r} srv01 srv02") } else { format!("Move {r} srv01 srv02") })
}

#[test]
fn case_1_postgresql_fails() {
    let t = "16:30:05";
    let story = format!(
        "{t} result monitor {AP} 7\n{t} failcount {AP} srv01 monitor 7\n{t} calc\n{t} online srv01\n{t} online srv02\n\
         {t} plan Leave {EX} srv01\n{t} plan Recover {AP} srv01\n{}{t} go\n{}{}16:30:08 idle\n",
        moves(t),
        stops(true, [[t, t]; 4]),
        starts(true, false, [[t, t]; 4]),
    );
    check("1", "srv01", &story, include_str!("cases/1.srv01.log"));
    let times = [
        ["16:30:05", "16:30:06"],
        ["16:30:06", "16:30:06"],
        ["16:30:07", "16:30:07"],
        ["16:30:07", "16:30:08"],
    ];
    check("1", "srv02", &starts(false, true, times), include_str!("cases/1.srv02.log"));
}

#[test]
fn case_2_the_service_lan_is_cut() {
    let t = "17:32:23";
    let late = ["17:32:25", "17:32:25"];
    let story = format!(
        "17:32:18 ping 192.168.101.1\n17:32:18 attribute default_ping_set srv01 0\n{t} calc\n{t} online srv01\n\
         {t} online srv02\n{}{t} go\n{}{}17:32:28 idle\n",
        plan(t, |r| format!("Move {r} srv01 srv02")),
        stops(true, [[t, "17:32:25"], late, late, late]),
        starts(true, false, [late; 4]),
    );
    check("2", "srv01", &story, include_str!("cases/2.srv01.log"));
    let times = [
        ["17:32:25", "17:32:26"],
        ["17:32:26", "17:32:26"],
        ["17:32:26", "17:32:26"],
        ["17:32:26", "17:32:28"],
    ];
    let story = format!("17:32:18 attribute default_ping_set srv01 0\n{}", starts(false, true, times));
    check("2", "srv02", &story, include_str!("cases/2.srv02.log"));
}

#[test]
fn case_3_the_heartbeat_lans_are_cut() {
    let story = "17:54:55 silent 2
        17:54:56 unset srv02
        17:54:56 lost srv02
        17:54:56 set srv01
        17:54:56 online srv01
        17:54:56 plan Leave prmExPostgreSQLDB srv01
        17:54:56 plan Leave prmApPostgreSQLDB srv01
        17:54:56 plan Stop prmStonith1-1 srv02
        17:54:56 plan Stop prmPing:1 srv02
        17:54:57 go
        17:54:57 fence srv02
        17:54:58 device prmStonith2-1 srv01 srv02
        17:55:02 called prmStonith2-1 srv02 -61
        17:55:02 device prmStonith2-2 srv01 srv02
        17:55:04 called prmStonith2-2 srv02 0
        17:55:04 fenced srv02 srv01
        17:55:05 idle";
    check("3", "srv01", story, include_str!("cases/3.srv01.log"));
}

/// Cases 4 to 6: srv01 is gone, srv02 is the controller.
fn node_failure(
    lost: &str,
    plan_at: &str,
    device: [&str; 4],
    starts_at: [[&str; 2]; 4],
    idle: &str,
) -> String {
    let [first, failed, second, done] = device;
    let t = plan_at;
    format!(
        "{lost} silent 1\n{lost} lost srv01\n{t} calc\n{t} online srv02\n{}{t} plan Stop prmPing:0 srv01\n{t} go\n\
         {t} fence srv01\n{first} device prmStonith1-1 srv02 srv01\n{failed} called prmStonith1-1 srv01 -61\n\
         {second} device prmStonith1-2 srv02 srv01\n{done} called prmStonith1-2 srv01 0\n{done} fenced srv01 srv02\n\
         {}{done} go\n{}{idle} idle\n",
        plan(t, |r| format!("Move {r} srv01 srv02")),
        plan(done, |r| format!("Start {r} srv02")),
        starts(true, true, starts_at),
    )
}

#[test]
fn cases_4_and_5_the_node_fails() {
    let at = "18:12:32";
    let story =
        node_failure("18:11:58", "18:11:59", ["18:12:01", "18:12:30", "18:12:30", at], [[at, at]; 4], at);
    check("4", "srv02", &story, include_str!("cases/4.srv02.log"));
    check("5", "srv02", &story, include_str!("cases/5.srv02.log"));
}

#[test]
fn case_6_corosync_is_killed() {
    let story = node_failure(
        "10:23:13",
        "10:23:14",
        ["10:23:15", "10:23:44", "10:23:44", "10:23:45"],
        [
            ["10:23:45", "10:24:56"],
            ["10:24:56", "10:24:57"],
            ["10:24:57", "10:24:57"],
            ["10:24:57", "10:24:58"],
        ],
        "10:24:59",
    );
    check("6", "srv02", &story, include_str!("cases/6.srv02.log"));
}

#[test]
fn case_7_the_internal_disk_fails() {
    let story = format!(
        "10:33:18 disk diskcheck_status_internal /dev/internal_a\n\
         10:33:18 attribute diskcheck_status_internal srv01 ERROR\n10:33:20 try stop {AP}\n10:33:20 error stop {AP}\n\
         10:33:20 error monitor {EX}\n10:33:20 error monitor {FS}\n10:33:21 error monitor {IP}\n"
    );
    check("7", "srv01", &story, include_str!("cases/7.srv01.log"));
    let (t, done) = ("10:33:20", "10:33:28");
    let story = format!(
        "10:33:18 attribute diskcheck_status_internal srv01 ERROR\n{t} calc\n{t} online srv01\n{t} online srv02\n{}{t} go\n\
         {t} init stop {AP} srv01\n{t} failcount {AP} srv01 stop 1\n{}{t} go\n{t} fence srv01\n\
         10:33:21 device prmStonith1-1 srv02 srv01\n10:33:25 called prmStonith1-1 srv01 -61\n\
         10:33:25 device prmStonith1-2 srv02 srv01\n{done} lost srv01\n{done} called prmStonith1-2 srv01 0\n\
         {done} fenced srv01 srv02\n{}{done} go\n{}10:34:42 idle\n",
        plan(t, |r| format!("Move {r} srv01 srv02")),
        moves(t),
        plan(done, |r| format!("Start {r} srv02")),
        starts(
            true,
            true,
            [
                ["10:33:29", "10:34:40"],
                ["10:34:40", "10:34:40"],
                ["10:34:40", "10:34:40"],
                ["10:34:40", "10:34:42"]
            ]
        ),
    );
    check("7", "srv02", &story, include_str!("cases/7.srv02.log"));
}

#[test]
fn case_8_the_cable_of_the_shared_disk_is_pulled() {
    let t = "11:20:43";
    let story = format!(
        "11:20:41 disk diskcheck_status /dev/mapper/mpatha\n11:20:41 attribute diskcheck_status srv01 ERROR\n{t} calc\n\
         {t} online srv01\n{t} online srv02\n{}{t} go\n{}{}11:20:46 idle\n",
        plan(t, |r| format!("Move {r} srv01 srv02")),
        stops(true, [[t, t]; 4]),
        starts(true, false, [[t, t]; 4]),
    );
    check("8", "srv01", &story, include_str!("cases/8.srv01.log"));
}

#[test]
fn case_9_postgresql_cannot_be_stopped() {
    // An operator's move, which the stop failure makes a fail-over of; its controller is fenced before it can say so.
    let t = "17:41:33";
    let story = format!(
        "{t} calc\n{t} online srv01\n{t} online srv02\n{}{t} go\n{t} init stop {AP} srv01\n{t} try stop {AP}\n\
         {t} result stop {AP} 1\n",
        plan(t, |r| format!("Move {r} srv01 srv02")),
    );
    check("9", "srv01", &story, include_str!("cases/9.srv01.log"));
    let (done, t) = ("17:42:41", "17:42:42");
    let story = format!(
        "17:42:34 device prmStonith1-1 srv02 srv01\n17:42:38 called prmStonith1-1 srv01 -61\n\
         17:42:38 device prmStonith1-2 srv02 srv01\n{done} called prmStonith1-2 srv01 0\n{done} silent 1\n{done} unset srv01\n\
         {done} lost srv01\n{done} fenced srv01 srv02\n{done} set srv02\n{t} online srv02\n{}{t} go\n{}17:43:55 idle\n",
        plan(t, |r| format!("Start {r} srv02")),
        starts(
            true,
            true,
            [
                ["17:42:42", "17:43:53"],
                ["17:43:53", "17:43:53"],
                ["17:43:53", "17:43:53"],
                ["17:43:53", "17:43:55"]
            ]
        ),
    );
    check("9", "srv02", &story, include_str!("cases/9.srv02.log"));
}

#[test]
fn an_operators_move_is_no_failover_and_no_place_left_is_a_failed_one() {
    let t = "12:00:00";
    let moved = format!(
        "{t} calc\n{t} online srv01\n{t} online srv02\n{}{t} go\n{t} init stop {AP} srv01\n{t} idle\n",
        plan(t, |r| format!("Move {r} srv01 srv02"))
    );
    check("a move", "srv01", &moved, "");
    let nowhere = format!(
        "{t} attribute default_ping_set srv01 0\n{t} attribute default_ping_set srv02 0\n{t} calc\n{t} online srv01\n\
         {t} online srv02\n{}{t} go\n{t} init stop {AP} srv01\n{t} init stop {EX} srv01\n{t} idle\n",
        plan(t, |r| format!("Stop {r} srv01"))
    );
    let want = format!(
        "May 25 {t} srv01    info: Attribute \"default_ping_set\" is updated to \"0\" at \"srv01\".\n\
         May 25 {t} srv01    info: Attribute \"default_ping_set\" is updated to \"0\" at \"srv02\".\n\
         May 25 {t} srv01   error: Start to fail-over.\n\
         May 25 {t} srv01   error: Resource {EX} : Stopped\nMay 25 {t} srv01   error: Resource {AP} : Stopped\n\
         May 25 {t} srv01   error: fail-over failed.\n"
    );
    check("nowhere to go", "srv01", &nowhere, &want);
}
