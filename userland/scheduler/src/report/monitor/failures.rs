//! Operations whose last result was a failure.

use cib::Element;

use super::Show;
use super::facts::exit_status_text;
use super::history::epoch;
use super::out::{Heading, Kind, Markup};

/// A failure, as it is told.
pub(super) struct Failure<'c> {
    pub(super) xml: &'c Element,
    pub(super) node: String,
    /// Its key, or its id where it has none.
    pub(super) key: &'c str,
    pub(super) rc: i32,
    pub(super) status: &'static str,
    pub(super) complete: bool,
}

impl<'c> Show<'_, 'c> {
    /// Failures that are asked for.
    pub(super) fn failed(&self) -> Vec<Failure<'c>> {
        let mut found = Vec::new();
        for failed in &self.set.failed {
            let xml = failed.xml;
            let key = xml.get("operation_key").filter(|k| !k.is_empty()).or(xml.id()).unwrap_or_default();
            if !self.nodes.has_node(&failed.node) || failed.masked {
                continue;
            }
            let Some((resource, ..)) = parts_of(key) else { continue };
            if !self.resources.has(resource) {
                continue;
            }
            let number =
                |name: &str| xml.get(name).and_then(|v| v.trim().parse::<i64>().ok()).unwrap_or(0).max(0);
            let status = number("op-status");
            found.push(Failure {
                xml,
                node: failed.node.clone(),
                key,
                rc: i32::try_from(number("rc-code")).unwrap_or(0),
                status: execution_text(status),
                complete: status == 0,
            });
        }
        found
    }

    /// Whether there are any.
    pub(super) fn failures(&mut self, spacer: bool) -> bool {
        let mut begun = Heading::default();
        for failure in self.failed() {
            self.out.heading(&mut begun, spacer, "Failed Resource Actions");
            if self.kind() == Kind::Xml {
                let element = self.failure_xml(&failure);
                self.out.leaf(element);
            } else if self.details.detail {
                let line = self.technical(&failure);
                self.out.item(&line);
            } else {
                let line = self.friendly(&failure);
                self.out.item(&line);
            }
        }
        self.out.footer(begun);
        begun.0
    }

    fn friendly(&self, failure: &Failure<'_>) -> String {
        let (resource, task, interval) =
            parts_of(failure.key).unwrap_or(("unknown resource", "unknown action", 0));
        let get = |name: &str| failure.xml.get(name).filter(|v| !v.is_empty());
        let mut line = format!("{resource} ");
        if interval > 0 {
            line += &format!("{}-interval ", (self.clock.interval)(interval));
        }
        let probe = interval == 0 && task.eq_ignore_ascii_case("monitor");
        line += &format!("{} on {}", if probe { "probe" } else { task }, failure.node);
        let reason = get("exit-reason");
        if failure.complete {
            line += &format!(" returned '{}'", exit_status_text(failure.rc));
            line += &reason.map_or(String::new(), |r| format!(" ({r})"));
        } else {
            let reason = reason.map_or(String::new(), |r| format!(": {r}"));
            line += &format!(" could not be executed ({}{reason})", failure.status);
        }
        if let Some(at) = epoch(failure.xml) {
            line += &format!(" at {}", (self.clock.ctime)(at));
        }
        if let Some(ran) = get("exec-time").and_then(|v| v.trim().parse::<u64>().ok()).filter(|ms| *ms > 0) {
            line += &format!(" after {}", (self.clock.interval)(ran));
        }
        line
    }

    fn technical(&self, failure: &Failure<'_>) -> String {
        let get = |name: &str| failure.xml.get(name).filter(|v| !v.is_empty());
        let Failure { key, node, rc, status, .. } = failure;
        let key = if key.is_empty() { "unknown operation" } else { key };
        let call = get("call-id").unwrap_or("unknown");
        let text = exit_status_text(*rc);
        let mut line = format!("{key} on {node} '{text}' ({rc}): call={call}, status='{status}'");
        if let Some(reason) = get("exit-reason") {
            line += &format!(", exitreason='{reason}'");
        }
        if let Some(at) = epoch(failure.xml) {
            line += &format!(", last-rc-change='{}'", (self.clock.ctime)(at));
        }
        for (name, attribute) in [("queued", "queue-time"), ("exec", "exec-time")] {
            if let Some(length) = get(attribute) {
                line += &format!(", {name}={length}ms");
            }
        }
        line
    }

    fn failure_xml(&self, failure: &Failure<'_>) -> Markup {
        let get = |name: &str| failure.xml.get(name);
        let key = get("operation_key");
        let element = Markup::new("failure")
            .with(if key.is_some() { "op_key" } else { "id" }, key.unwrap_or(failure.key))
            .with("node", &failure.node)
            .with("exitstatus", exit_status_text(failure.rc))
            .with("exitreason", &escaped(get("exit-reason").unwrap_or("none")))
            .with("exitcode", &failure.rc.to_string())
            .with_all(&[("call", get("call-id"))])
            .with("status", failure.status);
        let Some(at) = epoch(failure.xml).filter(|at| *at > 0) else { return element };
        let interval = get("interval").and_then(|v| v.trim().parse::<u64>().ok()).unwrap_or(0);
        element.with("last-rc-change", &(self.clock.iso)(at)).with_all(&[
            ("queued", get("queue-time")),
            ("exec", get("exec-time")),
            ("interval", Some(&interval.to_string())),
            ("task", get("operation")),
        ])
    }
}

/// Resource, task and interval in milliseconds of the key of an operation.
pub(super) fn parts_of(key: &str) -> Option<(&str, &str, u64)> {
    let (front, interval) = key.rsplit_once('_')?;
    let interval = interval.parse().ok()?;
    for task in ["migrate_from", "migrate_to"] {
        for notice in ["", "pre_notify_", "post_notify_"] {
            let task = format!("_{notice}{task}");
            if let Some(resource) = front.strip_suffix(task.as_str()) {
                return Some((resource, &front[resource.len() + 1..], interval));
            }
        }
    }
    for notice in ["_pre_notify_", "_post_notify_"] {
        if let Some((resource, of)) = front.rsplit_once(notice)
            && of.bytes().all(|b| b.is_ascii_lowercase())
        {
            return Some((resource, &front[resource.len() + 1..], interval));
        }
    }
    let (resource, task) = front.rsplit_once('_')?;
    Some((resource, task, interval))
}

/// What became of an operation, by the number that the history has for it.
#[must_use]
pub fn execution_text(status: i64) -> &'static str {
    match status {
        -1 => "pending",
        0 => "complete",
        1 => "Cancelled",
        2 => "Timed Out",
        3 => "NOT SUPPORTED",
        4 => "Error",
        5 => "Hard error",
        6 => "Fatal error",
        7 => "Not installed",
        8 => "Internal communication failure",
        9 => "Cannot execute now",
        10 => "No fence device",
        11 => "CIB secrets unavailable",
        _ => "UNKNOWN!",
    }
}

/// As the peer escapes a reason before it is escaped as an attribute. From two bytes beyond ASCII on it is left as it is.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for (at, c) in text.char_indices() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            '&' => out.push_str("&amp;"),
            '\t' => out.push_str("    "),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            ' '..='~' => out.push(c),
            c if c.is_ascii() => out += &format!("\\{:03o}", u32::from(c)),
            _ => return out + &text[at..],
        }
    }
    out
}
