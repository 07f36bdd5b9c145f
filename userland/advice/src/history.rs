//! The history of operations, as the status of a document has it.

use cib::Element;

/// One operation that was done somewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry<'c> {
    /// The resource, as the history names it.
    pub resource: &'c str,
    /// The node's name.
    pub node: &'c str,
    /// `start`, `stop`, `monitor`, …
    pub task: &'c str,
    /// 0: it was done once.
    pub interval_ms: u64,
    /// The agent's result.
    pub rc: i32,
    /// The result that was expected.
    pub expected: Option<i32>,
    /// The executor's status; 0: done.
    pub status: i32,
    /// When the result was first so, in seconds since 1970; 0: not known.
    pub at: i64,
    /// The agent's own words.
    pub reason: &'c str,
}

impl<'c> Entry<'c> {
    fn read(xml: &'c Element, resource: &'c str, node: &'c str) -> Option<Self> {
        let number = |name: &str| xml.get(name).and_then(|v| v.trim().parse::<i64>().ok());
        let small = |name: &str| number(name).and_then(|n| i32::try_from(n).ok());
        let expected = xml.get("transition-key").and_then(|key| key.split(':').nth(2)?.parse().ok());
        Some(Self {
            resource,
            node,
            task: xml.get("operation")?,
            interval_ms: number("interval").and_then(|n| u64::try_from(n).ok()).unwrap_or(0),
            rc: small("rc-code").unwrap_or(-1),
            expected,
            status: small("op-status").unwrap_or(0),
            at: number("last-rc-change").or_else(|| number("last-run")).unwrap_or(0),
            reason: xml.get("exit-reason").unwrap_or("").trim(),
        })
    }

    /// Whether it only looked where things are.
    #[must_use]
    pub fn is_probe(&self) -> bool {
        self.task == "monitor" && self.interval_ms == 0
    }

    /// Whether it failed. What only looked, and found it running or not, did not.
    #[must_use]
    pub fn failed(&self) -> bool {
        match self.status {
            0 if self.is_probe() => !matches!(self.rc, 0 | 7 | 8 | 190 | 191),
            0 => {
                self.rc != self.expected.unwrap_or(0)
                    && !(self.task == "monitor" && matches!(self.rc, 190 | 191))
            }
            // Under way, and cancelled.
            -1 | 1 => false,
            _ => true,
        }
    }

    /// Whether it did what it was to do.
    #[must_use]
    pub fn succeeded(&self) -> bool {
        self.status == 0 && !self.failed() && self.rc == 0
    }

    /// What went wrong, in words: `its monitor found it not running (7): REASON`.
    #[must_use]
    pub fn words(&self) -> String {
        let how = match (self.status, self.rc) {
            (2, _) => "took too long".to_owned(),
            (0, 7) if self.task == "monitor" => "found it not running (7)".to_owned(),
            (0, rc) => format!("returned {} ({rc})", result(rc)),
            (7, _) => "could not be run: its agent is not installed".to_owned(),
            (status, _) => format!("could not be run (status {status})"),
        };
        let why = if self.reason.is_empty() { String::new() } else { format!(": {}", self.reason) };
        format!("its {} {how}{why}", self.task)
    }
}

fn result(rc: i32) -> &'static str {
    match rc {
        0 => "success",
        1 => "an error",
        2 => "`invalid parameter`",
        3 => "`unimplemented feature`",
        4 => "`insufficient privileges`",
        5 => "`not installed`",
        6 => "`not configured`",
        7 => "`not running`",
        8 => "`promoted`",
        9 => "`promoted, and failed`",
        _ => "an unknown result",
    }
}

/// Everything that was done, in document order.
pub(crate) fn entries(root: &Element) -> Vec<Entry<'_>> {
    let states = root.child("status").into_iter().flat_map(|s| s.children_named("node_state"));
    let mut all = Vec::new();
    for state in states {
        let Some(node) = state.get("uname").or_else(|| state.id()) else { continue };
        let resources = state.child("lrm").and_then(|l| l.child("lrm_resources"));
        for resource in resources.into_iter().flat_map(|r| r.children_named("lrm_resource")) {
            let Some(id) = resource.id() else { continue };
            all.extend(resource.children_named("lrm_rsc_op").filter_map(|op| Entry::read(op, id, node)));
        }
    }
    all
}
