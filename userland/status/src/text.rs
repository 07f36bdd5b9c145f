//! The text of `holdfast status`: what is wrong first, then ring, quorum, nodes, resources, and what goes on.
//!
//! Styles are ANSI sequences; the command's output stream strips them where they are not wanted.

use std::fmt::Write;

use anstyle::Style;

use crate::model::{
    ClusterStatus, DevicePart, DeviceStatus, FailedAction, FenceRecord, FenceState, INFINITY, NodeStatus,
    OperationStatus, PendingAction, ResourceStatus, Role,
};
use crate::ocf;
use crate::table::{BAD, GOOD, PLAIN, Table, WARN, bold, bold_cell, paint};
use crate::time::{Zone, age, interval, iso};

/// The whole state as text, with styles.
#[must_use]
pub fn text(status: &ClusterStatus, zone: Zone) -> String {
    let mut out = String::new();
    let (name, at) = (&status.cluster_name, iso(status.updated_unix_ms, zone));
    let _ = writeln!(out, "{}, seen from {} at {at}", bold(&format!("Cluster {name}")), status.node.name);
    for note in &status.notes {
        let _ = writeln!(out, "{}", paint(BAD, &format!("! {}", note.what)));
        if !note.remedy.is_empty() {
            let _ = writeln!(out, "  {}", note.remedy);
        }
    }
    if status.cib.maintenance_mode {
        let _ =
            writeln!(out, "{}", paint(WARN, "! maintenance mode: nothing is started, stopped or recovered"));
    }
    for warning in &status.cib.warnings {
        let _ = writeln!(out, "{}", paint(WARN, &format!("! configuration: {warning}")));
    }
    out.push('\n');
    out.push_str(&overview(status).render(0));
    section(&mut out, &nodes(status).render(0));
    section(&mut out, &resources(status).render(0));
    let list = |out: &mut String, heading: &str, lines: Vec<String>| {
        if !lines.is_empty() {
            section(out, &format!("{}\n{}\n", bold(heading), lines.join("\n")));
        }
    };
    list(&mut out, "Pending actions", status.pending.iter().map(pending).collect());
    list(
        &mut out,
        "Failed actions",
        status.failed.iter().map(|f| failed(f, status.updated_unix_ms)).collect(),
    );
    list(&mut out, "Fencing", status.fencing.iter().map(|f| fence(f, status.updated_unix_ms)).collect());
    list(&mut out, "Went down", deaths(status));
    let ban = |b: &crate::Ban| format!("  {} keeps {} away from {}", b.id, b.resource, b.node);
    list(&mut out, "Bans", status.bans.iter().map(ban).collect());
    list(&mut out, "Failfast units of this node", units(status));
    out
}

/// `  n2 went down 3 min ago: Failfast: …; holdfast why-down n2`: what is older than a day is for who asks.
fn deaths(status: &ClusterStatus) -> Vec<String> {
    let recent = |at: u64| status.updated_unix_ms.saturating_sub(at) < DEATHS_MS;
    let line = |d: &crate::DeathStatus| {
        let ago = age(status.updated_unix_ms.saturating_sub(d.at_unix_ms));
        let which = if d.id == status.node.id { String::new() } else { format!(" {}", d.name) };
        format!("  {} went down {ago} ago: {}; holdfast why-down{which}", d.name, d.why)
    };
    status.deaths.iter().filter(|d| recent(d.at_unix_ms)).map(line).collect()
}

/// Ends that were not in order are shown for a day.
const DEATHS_MS: u64 = 86_400_000;

fn overview(status: &ClusterStatus) -> Table {
    let mut t = Table::default();
    let name = |id: &u32| {
        let known = status.nodes.iter().find(|n| n.id == *id).map(|n| n.name.clone());
        known.unwrap_or_else(|| id.to_string())
    };
    if status.answered.cmmd {
        let ring = &status.ring;
        let members: Vec<_> = ring.members.iter().map(name).collect();
        let state =
            if ring.state.is_empty() { String::new() } else { format!(" {}", ring.state.to_lowercase()) };
        let mut line = format!("{}{state}, members {}", ring.id, members.join(" "));
        if !ring.step.is_empty() {
            let _ = write!(line, ", step {}", ring.step);
        }
        let whole = status.ring.members.len() == status.nodes.len();
        t.row([bold_cell("Ring"), (line, if whole { GOOD } else { WARN })]);
        let q = &status.quorum;
        let votes = format!("{} of {} votes, {} needed", q.total, q.expected, q.needed);
        let flags: Vec<_> = q.flags.iter().filter(|f| *f != "Quorate").cloned().collect();
        let flags = if flags.is_empty() { String::new() } else { format!(" [{}]", flags.join(" ")) };
        let (line, style) = match (q.quorate, q.waits_for_lease) {
            (true, _) => (format!("yes: {votes}{flags}"), GOOD),
            (false, lease) if !q.waits_for.is_empty() => {
                let (no, style) = if lease { ("not yet", WARN) } else { ("NO", BAD) };
                let since = age(q.waiting_ms);
                (format!("{no}: waiting for quorum for {since}, for {}{flags}", q.waits_for), style)
            }
            (false, true) => {
                (format!("not yet: {votes}, the lease of a lost member may still run{flags}"), WARN)
            }
            (false, false) if q.reason.is_empty() => (format!("NO: {votes}{flags}"), BAD),
            (false, false) => (format!("NO: {}{flags}", q.reason), BAD),
        };
        t.row([bold_cell("Quorum"), (line, style)]);
        if let Some(device) = &q.device {
            t.row([bold_cell("Device"), self::device(device, q.quorate)]);
        }
    }
    if status.answered.rgmd {
        let (line, style) = match &status.dc {
            Some(dc) => (dc.clone(), PLAIN),
            None => ("none: nothing is started or recovered until one is chosen".to_owned(), BAD),
        };
        t.row([bold_cell("DC"), (line, style)]);
        if !status.cib.version.is_empty() {
            let fencing =
                if status.cib.stonith_enabled { "" } else { ", fencing is switched off (stonith-enabled)" };
            let policy = &status.cib.no_quorum_policy;
            let line = format!("version {}, no-quorum-policy {policy}{fencing}", status.cib.version);
            t.row([bold_cell("Config"), (line, if fencing.is_empty() { PLAIN } else { WARN })]);
        }
    }
    let m = &status.timings;
    if m.token_ms > 0 {
        let line = format!(
            "token {} ms, heartbeat {} ms, suspected after {} ms, lease {} + {} ms",
            m.token_ms, m.heartbeat_ms, m.heartbeat_limit_ms, m.lease_ms, m.lease_margin_ms
        );
        t.row([bold_cell("Timing"), (line, PLAIN)]);
    }
    t
}

/// `disk /dev/sdb1: 1 vote counts here, n2 owns it`
fn device(device: &DeviceStatus, quorate: bool) -> (String, Style) {
    let part = |part: &DevicePart| {
        let path = if part.path.is_empty() { String::new() } else { format!(" at {}", part.path) };
        let failure = if part.failure.is_empty() { String::new() } else { format!(" ({})", part.failure) };
        format!("{}{path}{failure}", part.name)
    };
    let parts: Vec<String> = device.parts.iter().map(part).collect();
    let name = format!("{} {}", device.model, parts.join(", "));
    let owner = device.owner.as_ref().map_or(String::new(), |owner| format!(", {owner} owns it"));
    let votes = device.votes;
    let s = if votes == 1 { "" } else { "s" };
    let works = device.parts.iter().all(|p| p.failure.is_empty());
    let (counts, style) = match (device.counts, votes) {
        (true, 1) => ("counts here".to_owned(), if works { GOOD } else { WARN }),
        (true, _) => ("count here".to_owned(), if works { GOOD } else { WARN }),
        (false, _) if device.why.is_empty() => ("NOT counted here".to_owned(), WARN),
        (false, _) => (format!("NOT counted here: {}", device.why), if quorate { WARN } else { BAD }),
    };
    let why_first = if device.counts { format!("{counts}{owner}") } else { counts };
    (format!("{}: {votes} vote{s} {why_first}", name.trim_end()), style)
}

fn nodes(status: &ClusterStatus) -> Table {
    let mut t = Table::default();
    if status.nodes.is_empty() {
        return t;
    }
    t.row(["NODE", "ID", "STATE", ""].map(bold_cell));
    for node in &status.nodes {
        let (state, style) = node_state(node);
        let mut remarks = Vec::new();
        if node.dc {
            remarks.push("designated controller".to_owned());
        }
        if node.name == status.node.name {
            remarks.push("this node".to_owned());
        }
        if node.confirmed_dead != 0 && node.confirmed_dead >= node.incarnation {
            remarks.push("death confirmed".to_owned());
        }
        if !node.why.is_empty() {
            remarks.push(node.why.clone());
        }
        let quorum = &status.quorum;
        let uncounted = [
            (&quorum.maintained, "its votes are in maintenance: neither counted nor expected"),
            (&quorum.away, "its votes are neither counted nor expected until it is back"),
        ];
        let mut remark_style = PLAIN;
        for (_, remark) in uncounted.iter().filter(|(ids, _)| ids.contains(&node.id)) {
            remarks.push((*remark).to_owned());
            remark_style = WARN;
        }
        let name = (node.name.clone(), PLAIN);
        let remarks = (remarks.join(", "), remark_style);
        t.row([name, (node.id.to_string(), PLAIN), (state.to_owned(), style), remarks]);
    }
    t
}

fn node_state(node: &NodeStatus) -> (&'static str, Style) {
    match node {
        NodeStatus { unclean: true, online: true, .. } => ("UNCLEAN (online)", BAD),
        NodeStatus { unclean: true, .. } => ("UNCLEAN (offline)", BAD),
        NodeStatus { pending: true, .. } => ("pending", WARN),
        NodeStatus { standby: true, online: true, .. } => ("standby", WARN),
        NodeStatus { maintenance: true, online: true, .. } => ("maintenance", WARN),
        NodeStatus { online: true, .. } => ("online", GOOD),
        _ => ("offline", WARN),
    }
}

fn resources(status: &ClusterStatus) -> Table {
    let mut t = Table::default();
    if status.resources.is_empty() {
        return t;
    }
    t.row(["RESOURCE", "STATE", "NODE", "LAST OPERATION", "AGENT", ""].map(bold_cell));
    let mut group = None;
    for r in &status.resources {
        if r.group != group
            && let Some(name) = &r.group
        {
            t.row([(format!("group {name}"), PLAIN)]);
        }
        group.clone_from(&r.group);
        let indent = if r.group.is_some() { "  " } else { "" };
        let (state, style) = resource_state(r);
        let elsewhere = |op: &OperationStatus| !r.nodes.contains(&op.node);
        let last = r.last.as_ref().map_or_else(String::new, |op| {
            last_operation(op, elsewhere(op) && !op.node.is_empty(), status.updated_unix_ms)
        });
        t.row([
            (format!("{indent}{}", r.id), PLAIN),
            (state, style),
            (r.nodes.join(" "), if r.nodes.len() > 1 { BAD } else { PLAIN }),
            (last, PLAIN),
            (r.agent.clone(), PLAIN),
            (remarks(r), WARN),
        ]);
    }
    t
}

fn resource_state(r: &ResourceStatus) -> (String, Style) {
    let (word, style) = match r.role {
        Role::Stopped if r.disabled => ("stopped", PLAIN),
        Role::Stopped => ("stopped", WARN),
        Role::Starting => ("starting", WARN),
        Role::Started => ("started", GOOD),
        Role::Stopping => ("stopping", WARN),
        Role::Promoted => ("promoted", GOOD),
        Role::Unpromoted => ("unpromoted", GOOD),
        Role::Unknown => ("not probed", WARN),
    };
    if r.blocked {
        return (format!("BLOCKED {word}"), BAD);
    }
    if r.failed || r.nodes.len() > 1 { (format!("FAILED {word}"), BAD) } else { (word.to_owned(), style) }
}

fn remarks(r: &ResourceStatus) -> String {
    let mut out = Vec::new();
    for (set, word) in [(r.disabled, "disabled"), (!r.managed, "unmanaged"), (r.orphaned, "not configured")] {
        if set {
            out.push(word.to_owned());
        }
    }
    for f in r.fail_counts.iter().filter(|f| f.count > 0) {
        let count = if f.count >= INFINITY { "∞".to_owned() } else { f.count.to_string() };
        let of = match f.migration_threshold {
            0 | INFINITY => String::new(),
            n => format!(" of {n}"),
        };
        out.push(format!("failed {count}{of} times on {}", f.node));
    }
    if !r.why.is_empty() {
        out.push(r.why.clone());
    }
    out.join(", ")
}

fn last_operation(op: &OperationStatus, elsewhere: bool, now_unix_ms: u64) -> String {
    let result = if op.status.is_empty() || op.status == "complete" { ocf::text(op.rc) } else { &op.status };
    let since = match op.last_rc_change_unix_ms {
        0 => String::new(),
        at => format!(", {} ago", age(now_unix_ms.saturating_sub(at))),
    };
    let place = if elsewhere { format!(" on {}", op.node) } else { String::new() };
    format!("{}{place} {result} ({}) in {} ms{since}", op.operation, op.rc, op.exec_ms)
}

fn pending(a: &PendingAction) -> String {
    let state = match (a.since_ms, a.waits_for.is_empty()) {
        (_, false) => format!("waits for {}", a.waits_for),
        (0, true) => "not sent yet".to_owned(),
        (ms, true) => format!("for {}", age(ms)),
    };
    format!("  {} {} on {}, {state}", a.operation, a.target, a.node)
}

fn failed(f: &FailedAction, now_unix_ms: u64) -> String {
    let op = &f.operation;
    let every =
        if op.interval_ms > 0 { format!(" every {}", interval(op.interval_ms)) } else { String::new() };
    let reason = if op.exit_reason.is_empty() { String::new() } else { format!(" ({})", op.exit_reason) };
    let result = if op.status == "complete" { ocf::text(op.rc) } else { &op.status };
    let since = age(now_unix_ms.saturating_sub(op.last_rc_change_unix_ms));
    let line =
        format!("  {} {}{every} on {}: {result}{reason}, {since} ago", f.resource, op.operation, op.node);
    let line = paint(BAD, &line);
    if f.remedy.is_empty() { line } else { format!("{line}\n    {}", f.remedy) }
}

fn fence(f: &FenceRecord, now_unix_ms: u64) -> String {
    let by = match (f.device.is_empty(), f.executor.is_empty()) {
        (false, false) => format!(" by {} on {}", f.device, f.executor),
        (false, true) => format!(" by {}", f.device),
        (true, false) => format!(" on {}", f.executor),
        (true, true) => String::new(),
    };
    let took = age(f.completed_unix_ms.saturating_sub(f.requested_unix_ms));
    let since = age(now_unix_ms.saturating_sub(f.completed_unix_ms));
    let (state, style) = match f.state {
        FenceState::Pending => {
            (format!("asked for {} ago, runs", age(now_unix_ms.saturating_sub(f.requested_unix_ms))), WARN)
        }
        FenceState::Succeeded => (format!("succeeded {since} ago, took {took}"), PLAIN),
        FenceState::Failed => (format!("FAILED {since} ago: {}", f.error), BAD),
    };
    let reason = if f.reason.is_empty() { String::new() } else { format!("; why: {}", f.reason) };
    paint(style, &format!("  {} of {}{by} {state}{reason}", f.action, f.target))
}

fn units(status: &ClusterStatus) -> Vec<String> {
    let line = |u: &crate::UnitStatus| {
        let heartbeat = match u.heartbeat_ms {
            0 => "watched by its death only".to_owned(),
            ms => format!("heartbeat within {ms} ms"),
        };
        let maintenance =
            u.maintenance_ms.map_or(String::new(), |ms| format!(", UNDER MAINTENANCE for {}", age(ms)));
        let down = match u.deadline_ms {
            Some(ms) if !u.trouble.is_empty() => format!(", THE NODE GOES DOWN in {}", age(ms)),
            _ => String::new(),
        };
        let style = match u.state.as_str() {
            "triggered" => BAD,
            _ if u.maintenance_ms.is_some() => WARN,
            _ => PLAIN,
        };
        let (name, pid, state, delay) = (&u.name, u.pid, &u.state, u.delay_ms);
        paint(style, &format!("  {name} pid {pid} {state}, delay {delay} ms, {heartbeat}{maintenance}{down}"))
    };
    status.units.iter().map(line).collect()
}

fn section(out: &mut String, body: &str) {
    if !body.is_empty() {
        out.push('\n');
        out.push_str(body);
    }
}
