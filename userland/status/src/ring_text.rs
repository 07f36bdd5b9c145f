//! The text of `holdfast ring`: what is wrong first, then members and links, how long things take, what went wrong, the
//! last changes, and the histograms.

use std::collections::BTreeSet;
use std::fmt::Write;

use anstyle::Style;

use crate::ring::{Change, Lengths, LinkReport, PeerReport, RingReport};
use crate::table::{BAD, GOOD, PLAIN, Table, WARN, bold, bold_cell, paint};
use crate::time::{Zone, age, iso};

/// The ring as text, with styles. The first line alone holds the time.
#[must_use]
pub fn ring_text(report: &RingReport, zone: Zone) -> String {
    let mut out = String::new();
    let at = iso(report.updated_unix_ms, zone);
    if report.answered {
        let cluster = bold(&format!("Ring of cluster {}", report.cluster_name));
        let _ = writeln!(out, "{cluster}, seen from {} at {at}", report.node.name);
    } else {
        let _ = writeln!(out, "{}, at {at}", bold("No ring"));
    }
    for note in &report.notes {
        let _ = writeln!(out, "{}", paint(BAD, &format!("! {}", note.what)));
        if !note.remedy.is_empty() {
            let _ = writeln!(out, "  {}", note.remedy);
        }
    }
    if !report.answered {
        return out;
    }
    for text in [
        overview(report).render(0),
        peers(report).render(0),
        lengths(report).render(0),
        counters(report).render(0),
        changes(report),
        bars(report).render(0),
    ] {
        if !text.is_empty() {
            out.push('\n');
            out.push_str(&text);
        }
    }
    out
}

fn overview(report: &RingReport) -> Table {
    let mut t = Table::default();
    let ring = &report.ring;
    let members: Vec<String> = ring.members.iter().map(|id| name(report, *id)).collect();
    let whole = ring.members.len() == report.peers.len();
    let operational = ring.state.is_empty() || ring.state == "OPERATIONAL";
    let mut line = ring.id.clone();
    if !ring.state.is_empty() {
        let _ = write!(line, " {}", ring.state.to_lowercase());
    }
    let _ = write!(line, ", members {}", members.join(" "));
    if !ring.step.is_empty() {
        let _ = write!(line, ", step {}", ring.step);
    }
    let style = match (operational, whole) {
        (false, _) => BAD,
        (true, false) => WARN,
        (true, true) => GOOD,
    };
    t.row([bold_cell("Ring"), (line, style)]);
    let (line, style) = match (report.quorate, report.quorum_reason.is_empty()) {
        (true, _) => ("yes".to_owned(), GOOD),
        (false, true) => ("NO".to_owned(), BAD),
        (false, false) => (format!("NO: {}", report.quorum_reason), BAD),
    };
    t.row([bold_cell("Quorum"), (line, style)]);
    let m = &report.timings;
    if m.token_ms > 0 {
        let mut line = format!("token {} ms, consensus {} ms", m.token_ms, m.consensus_ms);
        if m.heartbeat_ms > 0 {
            let _ = write!(
                line,
                ", heartbeat {} ms, suspected after {} ms, lease {} + {} ms",
                m.heartbeat_ms, m.heartbeat_limit_ms, m.lease_ms, m.lease_margin_ms
            );
        }
        t.row([bold_cell("Timing"), (line, PLAIN)]);
    }
    t
}

fn name(report: &RingReport, id: u32) -> String {
    report.peers.iter().find(|p| p.id == id).map_or_else(|| id.to_string(), |p| p.name.clone())
}

fn peers(report: &RingReport) -> Table {
    let mut t = Table::default();
    if report.peers.is_empty() {
        return t;
    }
    t.row(
        [
            "NODE",
            "ID",
            "STATE",
            "LIMIT",
            "LATE",
            "SILENT",
            "LINK",
            "ADDRESS",
            "",
            "ROUND TRIP",
            "LOSS",
            "MTU",
            "DOWNS",
        ]
        .map(bold_cell),
    );
    for peer in &report.peers {
        let (state, style) = peer_state(peer, report.node.id);
        let none = LinkReport::default();
        let links = if peer.links.is_empty() { std::slice::from_ref(&none) } else { &peer.links };
        for (n, link) in links.iter().enumerate() {
            let first = |text: String| if n == 0 { (text, PLAIN) } else { Default::default() };
            let at = |span: Option<u64>| first(span.map(length).unwrap_or_default());
            let (up, up_style) = link_state(peer, link, report.node.id);
            let number = if peer.links.is_empty() { String::new() } else { link.link.to_string() };
            t.row([
                first(peer.name.clone()),
                first(peer.id.to_string()),
                if n == 0 { (state.to_owned(), style) } else { Default::default() },
                at(peer.limit_us),
                first(late(peer)),
                at(peer.silent_us),
                (number, PLAIN),
                (link.address.clone(), PLAIN),
                (up.to_owned(), up_style),
                (round_trip(link), PLAIN),
                loss(link),
                (link.mtu.map(|m| m.to_string()).unwrap_or_default(), PLAIN),
                (link.down_count.map(|n| n.to_string()).unwrap_or_default(), PLAIN),
            ]);
        }
    }
    t
}

fn late(peer: &PeerReport) -> String {
    match (peer.late_us, peer.deviation_us) {
        (Some(mean), Some(deviation)) => format!("{} ± {}", length(mean), length(deviation)),
        (Some(mean), None) => length(mean),
        (None, _) => String::new(),
    }
}

fn peer_state(peer: &PeerReport, me: u32) -> (&'static str, Style) {
    match (peer.id == me, peer.member, peer.suspected) {
        (true, ..) => ("this node", PLAIN),
        (_, true, Some(true)) => ("suspected", BAD),
        (_, true, _) => ("member", GOOD),
        (_, false, _) => ("no member", WARN),
    }
}

fn link_state(peer: &PeerReport, link: &LinkReport, me: u32) -> (&'static str, Style) {
    match link {
        _ if peer.links.is_empty() || peer.id == me => ("", PLAIN),
        LinkReport { enabled: false, .. } => ("off", WARN),
        LinkReport { one_way: Some(true), .. } => ("ONE WAY", BAD),
        LinkReport { connected: true, .. } => ("up", GOOD),
        LinkReport { connected: false, .. } => ("DOWN", BAD),
    }
}

fn round_trip(link: &LinkReport) -> String {
    match (link.latency_us, link.latency_max_us) {
        (Some(ave), Some(max)) => format!("{}, max {}", length(ave), length(max)),
        (Some(ave), None) => length(ave),
        (None, _) => String::new(),
    }
}

fn loss(link: &LinkReport) -> (String, Style) {
    match link.loss_percent {
        None => Default::default(),
        Some(0) => ("0 %".to_owned(), PLAIN),
        Some(n) => (format!("{n} %"), if n > 10 { BAD } else { WARN }),
    }
}

/// What is counted by length, with its name.
fn columns(report: &RingReport) -> [(&'static str, &Lengths); 4] {
    [
        ("token to token, busy", &report.token.busy),
        ("token to token, quiet", &report.token.quiet),
        ("wake-up late by", &report.event_loop.wakeup),
        ("turn of the loop", &report.event_loop.turn),
    ]
}

fn lengths(report: &RingReport) -> Table {
    let mut t = Table::default();
    let columns = columns(report);
    if columns.iter().all(|(_, l)| l.count == 0) {
        return t;
    }
    t.row(["HOW LONG", "P50", "P99", "LONGEST", "TIMES"].map(bold_cell));
    for (name, l) in columns {
        let cells = if l.count == 0 {
            [String::new(), String::new(), String::new()]
        } else {
            [l.p50_us, l.p99_us, l.max_us].map(length)
        };
        let [p50, p99, max] = cells;
        t.row([
            (name.to_owned(), PLAIN),
            (p50, PLAIN),
            (p99, PLAIN),
            (max, PLAIN),
            (l.count.to_string(), PLAIN),
        ]);
    }
    for missed in &report.event_loop.missed {
        let ago = age(report.updated_unix_ms.saturating_sub(missed.at_unix_ms));
        let text = format!("! the loop was not scheduled for {}, {ago} ago", length(missed.late_us));
        t.row([(text, WARN)]);
    }
    t
}

/// The four histograms side by side.
fn bars(report: &RingReport) -> Table {
    let mut t = Table::default();
    let columns = columns(report);
    // `None`, no upper end, comes last.
    let ends: BTreeSet<u64> = columns
        .iter()
        .flat_map(|(_, l)| &l.buckets)
        .map(|bucket| bucket.upto_us.unwrap_or(u64::MAX))
        .collect();
    if ends.is_empty() {
        return t;
    }
    t.row(["UP TO", "TOKEN BUSY", "TOKEN QUIET", "WAKE-UP", "TURN"].map(bold_cell));
    for end in ends {
        let cell = |l: &Lengths| {
            let most = l.buckets.iter().map(|b| b.count).max().unwrap_or(0);
            let here = l.buckets.iter().find(|b| b.upto_us.unwrap_or(u64::MAX) == end);
            (here.map(|b| bar(b.count, most)).unwrap_or_default(), PLAIN)
        };
        let label = if end == u64::MAX { "longer".to_owned() } else { length(end) };
        let [busy, quiet, wakeup, turn] = columns.map(|(_, l)| cell(l));
        t.row([(label, PLAIN), busy, quiet, wakeup, turn]);
    }
    t
}

/// So many changes keep the screen short; the JSON form has all of them.
const CHANGES_SHOWN: usize = 8;

/// Eight cells in eighths, and the number.
fn bar(count: u64, most: u64) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let eighths = u128::from(count) * (8 * BAR) / u128::from(most.max(1));
    let eighths = usize::try_from(eighths).unwrap_or(0).max(1);
    let drawn = format!("{}{}", "█".repeat(eighths / 8), EIGHTHS[eighths % 8]);
    format!("{drawn:<width$} {count}", width = BAR as usize)
}

const BAR: u128 = 8;

fn counters(report: &RingReport) -> Table {
    let mut t = Table::default();
    let f = &report.traffic;
    let line = format!(
        "{} delivered; frames {} sent, {} received, {} sent again; queue {} % full",
        f.delivered, f.frames_sent, f.frames_received, f.retransmits, f.queue_level
    );
    t.row([bold_cell("Messages"), (line, if f.queue_level > 75 { WARN } else { PLAIN })]);
    let lost = &report.trouble;
    let line = format!("{} tokens lost, {} consensus time-outs", lost.tokens_lost, lost.consensus_timeouts);
    t.row([bold_cell("Trouble"), (line, if lost.tokens_lost > 0 { WARN } else { PLAIN })]);
    if lost.continuous_gather > 3 {
        let line = format!(
            "! no ring comes about ({} times in a row): is a firewall in the way of the cluster's UDP port?",
            lost.continuous_gather
        );
        t.row([(line, BAD)]);
    }
    let refused: Vec<String> =
        lost.rejected.iter().filter(|(_, n)| **n > 0).map(|(why, n)| format!("{why} {n}")).collect();
    let (line, style) = if refused.is_empty() {
        ("no packets".to_owned(), PLAIN)
    } else {
        let harmless = lost.rejected.iter().all(|(why, n)| *n == 0 || why == "replay");
        (refused.join(", "), if harmless { PLAIN } else { WARN })
    };
    t.row([bold_cell("Refused"), (line, style)]);
    t
}

fn changes(report: &RingReport) -> String {
    if report.changes.is_empty() {
        return String::new();
    }
    let mut t = Table::default();
    t.row(["CHANGE", "RING", "TOOK", "BECAUSE", ""].map(bold_cell));
    for change in report.changes.iter().take(CHANGES_SHOWN) {
        let ago = age(report.updated_unix_ms.saturating_sub(change.at_unix_ms));
        t.row([
            (format!("{ago} ago"), PLAIN),
            (format!("{} → {}", change.old, change.new), PLAIN),
            (length(change.took_us), PLAIN),
            (format!("{}({})", change.cause, change.text), PLAIN),
            who(report, change),
        ]);
    }
    t.render(0)
}

fn who(report: &RingReport, change: &Change) -> (String, Style) {
    let names = |ids: &[u32]| ids.iter().map(|id| name(report, *id)).collect::<Vec<_>>().join(" ");
    let mut parts = Vec::new();
    if !change.joined.is_empty() {
        parts.push(format!("joined {}", names(&change.joined)));
    }
    if !change.left.is_empty() {
        parts.push(format!("left {}", names(&change.left)));
    }
    (parts.join(", "), if change.left.is_empty() { PLAIN } else { WARN })
}

/// A length of time in two or three digits: `64 µs`, `1.2 ms`, `250 ms`, `8.4 s`.
pub(crate) fn length(us: u64) -> String {
    match us {
        0..1_000 => format!("{us} µs"),
        1_000..10_000 => format!("{}.{} ms", us / 1_000, us / 100 % 10),
        10_000..1_000_000 => format!("{} ms", us / 1_000),
        1_000_000..10_000_000 => format!("{}.{} s", us / 1_000_000, us / 100_000 % 10),
        _ => format!("{} s", us / 1_000_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_have_the_unit_that_makes_them_short() {
        let table = [
            (0, "0 µs"),
            (999, "999 µs"),
            (1_000, "1.0 ms"),
            (1_290, "1.2 ms"),
            (64_000, "64 ms"),
            (999_999, "999 ms"),
            (8_388_608, "8.3 s"),
            (61_000_000, "61 s"),
        ];
        for (us, want) in table {
            assert_eq!(length(us), want);
        }
    }

    #[test]
    fn a_bar_is_never_empty_and_never_too_long() {
        assert_eq!(bar(1, 1_000_000), "▏        1");
        assert_eq!(bar(5, 5), "████████ 5");
        assert_eq!(bar(u64::MAX, u64::MAX).chars().filter(|c| *c == '█').count(), 8);
    }
}
