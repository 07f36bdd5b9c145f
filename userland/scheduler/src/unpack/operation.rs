//! One entry of the history: what was done, and what came of it.

use std::cmp::Ordering;

use cib::Element;

/// What became of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Unknown,
    Pending,
    Done,
    Cancelled,
    TimedOut,
    NotSupported,
    Error,
    HardError,
    FatalError,
    NotInstalled,
    NotConnected,
    Invalid,
    NoFenceDevice,
    NoSecrets,
}

impl Status {
    fn of(number: i64) -> Self {
        match number {
            -1 => Self::Pending,
            0 => Self::Done,
            1 => Self::Cancelled,
            2 => Self::TimedOut,
            3 => Self::NotSupported,
            4 => Self::Error,
            5 => Self::HardError,
            6 => Self::FatalError,
            7 => Self::NotInstalled,
            8 => Self::NotConnected,
            9 => Self::Invalid,
            10 => Self::NoFenceDevice,
            11 => Self::NoSecrets,
            _ => Self::Unknown,
        }
    }
}

/// Exit statuses of agents.
pub(super) mod rc {
    pub(in super::super) const OK: i32 = 0;
    pub(in super::super) const INVALID_PARAMETER: i32 = 2;
    pub(in super::super) const UNIMPLEMENTED: i32 = 3;
    pub(in super::super) const INSUFFICIENT_PRIVILEGES: i32 = 4;
    pub(in super::super) const NOT_INSTALLED: i32 = 5;
    pub(in super::super) const NOT_CONFIGURED: i32 = 6;
    pub(in super::super) const NOT_RUNNING: i32 = 7;
    pub(in super::super) const PROMOTED: i32 = 8;
    pub(in super::super) const FAILED_PROMOTED: i32 = 9;
    pub(in super::super) const DEGRADED: i32 = 190;
    pub(in super::super) const DEGRADED_PROMOTED: i32 = 191;
    pub(in super::super) const UNKNOWN: i32 = 193;
}

/// An entry.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Operation<'c> {
    pub(crate) xml: &'c Element,
    pub(crate) task: &'c str,
    pub(crate) interval_ms: u64,
    pub(super) call: i64,
    pub(super) rc: i32,
    /// What was expected; -1: nothing that is known.
    pub(super) expected_rc: i32,
    pub(super) status: Status,
    /// When its result changed last, seconds since 1970; 0: not known.
    pub(super) changed: i64,
}

impl<'c> Operation<'c> {
    pub(crate) fn read(xml: &'c Element) -> Option<Self> {
        let number = |name: &str| xml.get(name).and_then(|v| v.trim().parse::<i64>().ok());
        let small = |name: &str| number(name).and_then(|n| i32::try_from(n).ok());
        Some(Self {
            xml,
            task: xml.get("operation")?,
            interval_ms: number("interval").and_then(|n| u64::try_from(n).ok()).unwrap_or(0),
            call: number("call-id").unwrap_or(0),
            rc: small("rc-code").unwrap_or(rc::UNKNOWN),
            expected_rc: xml.get("transition-key").and_then(expected_rc).unwrap_or(-1),
            status: number("op-status").map_or(Status::Unknown, Status::of),
            changed: number("last-rc-change").unwrap_or(0),
        })
    }

    pub(super) fn id(&self) -> &'c str {
        self.xml.id().unwrap_or_default()
    }

    pub(super) fn is_probe(&self) -> bool {
        self.task == "monitor" && self.interval_ms == 0
    }

    /// The key under which the configuration and fail counts know it.
    pub(super) fn key(&self, resource: &str) -> String {
        match self.xml.get("operation_key") {
            Some(key) => key.to_owned(),
            None => format!("{resource}_{}_{}", self.task, self.interval_ms),
        }
    }
}

/// `ACTION:TRANSITION:EXPECTED_RC:UUID`.
fn expected_rc(key: &str) -> Option<i32> {
    key.split(':').nth(2)?.trim().parse().ok()
}

/// The number of the transition and who computed it.
fn transition(xml: &Element) -> Option<(i64, &str)> {
    let key =
        xml.get("transition-key").or_else(|| xml.get("transition-magic")?.split_once(';').map(|m| m.1))?;
    let mut parts = key.splitn(4, ':');
    let number = parts.nth(1)?.trim().parse().ok()?;
    Some((number, parts.nth(1)?))
}

/// Entries of one node by age. What is under way cannot always be told from what is done, so that no order is right for all of them:
/// they are merged as the peer merges them, two halves at a time, and a comparison that contradicts itself does no harm.
pub(crate) fn sort_by_age<T>(entries: Vec<T>, operation: &impl Fn(&T) -> Operation<'_>) -> Vec<T> {
    if entries.len() < 2 {
        return entries;
    }
    let mut first = entries;
    let second = first.split_off(first.len() / 2);
    let mut sorted = Vec::with_capacity(first.len() + second.len());
    let mut first = sort_by_age(first, operation).into_iter().peekable();
    let mut second = sort_by_age(second, operation).into_iter().peekable();
    while let (Some(a), Some(b)) = (first.peek(), second.peek()) {
        let later = compare(&operation(a), &operation(b), true).is_gt();
        sorted.extend(if later { second.next() } else { first.next() });
    }
    sorted.extend(first);
    sorted.extend(second);
    sorted
}

/// Which of two entries is the older one. `same_node`: their call ids can be compared.
pub(super) fn compare(a: &Operation<'_>, b: &Operation<'_>, same_node: bool) -> Ordering {
    if a.id() == b.id() && same_node {
        return Ordering::Equal;
    }
    if same_node && a.call >= 0 && b.call >= 0 && a.call != b.call {
        return a.call.cmp(&b.call);
    }
    if a.call == -1 && b.call == -1 && same_node {
        // Both are under way: one of them was of use until lately.
        return Ordering::Equal;
    }
    if (a.call >= 0 && a.call == b.call) || !same_node {
        return if a.changed == 0 || b.changed == 0 { Ordering::Equal } else { a.changed.cmp(&b.changed) };
    }
    // One is under way, and the other done.
    let (Some((a_number, a_who)), Some((b_number, b_who))) = (transition(a.xml), transition(b.xml)) else {
        return Ordering::Equal;
    };
    if a_who != b_who || a_number == b_number {
        // The one under way was begun in another life of the controller, or in the same transition: it is the newer one.
        return if b.call == -1 { Ordering::Less } else { Ordering::Greater };
    }
    // What no transition asked for is the newest: it came from a shutdown, or from a simulation.
    let age = |number: i64| if number == -1 { i64::MAX } else { number };
    age(a_number).cmp(&age(b_number))
}
