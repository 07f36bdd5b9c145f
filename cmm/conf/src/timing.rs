//! The timing model: every interval and limit, derived from the token time-out where the configuration names nothing
//! else, and the rules that make them safe together.
//!
//! The chain that matters: heartbeats are sent every `heartbeat`; each echo of one counts for `lease` from the time
//! the heartbeat was *sent*; a member silent for `heartbeat_limit` is suspected; whoever lost a member announces
//! quorum only when that member's lease must have ended, `lease + lease_margin` after the last heartbeat of it that was
//! echoed. With `lease + lease_margin ≤ heartbeat_limit` that wait is over when the suspicion begins.
//!
//! Heartbeats answer another question than the token does, so they have a scale of their own: up to a token of one
//! second they follow it, a longer token does not make them slower. `heartbeat_limit` is a floor: the detector goes up
//! from it, to `heartbeat_limit_max` at most, for a peer whose heartbeats arrive irregularly.

use std::fmt;

use holdfast_types::Span;

use crate::schema::parse_number;
use crate::{Diagnostics, Failfast, Section};

/// Every interval and limit in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Nodes in the node list.
    pub nodes: usize,
    /// `token` as configured, before the coefficient.
    pub token_base: Span,
    /// `token_coefficient`, for each node beyond two.
    pub token_coefficient: Span,
    /// The token time-out in force.
    pub token: Span,
    /// `token_retransmits_before_loss_const`.
    pub retransmits: u32,
    /// `token_retransmit`.
    pub token_retransmit: Span,
    /// `hold`.
    pub hold: Span,
    /// `join`.
    pub join: Span,
    /// `consensus`.
    pub consensus: Span,
    /// `merge`.
    pub merge: Span,
    /// `fail_recv_const`.
    pub fail_recv_rotations: u32,
    /// `heartbeat_interval`.
    pub heartbeat: Span,
    /// `heartbeat_limit`: what the detector waits for a silent member at least.
    pub heartbeat_limit: Span,
    /// `heartbeat_limit_max`: what it waits at most, for one whose heartbeats arrive irregularly.
    pub heartbeat_limit_max: Span,
    /// `lease`.
    pub lease: Span,
    /// `lease_margin`.
    pub lease_margin: Span,
    /// `step_limit`.
    pub step_limit: Span,
    /// Worst case of the watchdog: twice its time-out (some devices), plus a tenth; `None` without a device.
    pub watchdog_worst: Option<Span>,
    /// The soonest that an unfed watchdog takes the node down, with or without notice; `None` without a device.
    pub watchdog_soonest: Option<Span>,
    /// `failfast.guardian_limit`.
    pub guardian_limit: Span,
}

impl Timing {
    /// From the death of a node to its resources starting elsewhere by time alone: only with a watchdog.
    #[must_use]
    pub fn takeover(&self) -> Option<Span> {
        self.watchdog_worst.map(|w| self.lease + self.lease_margin + w)
    }

    /// How long a partition waits, after it has suspected a silent member, for that member's lease to end.
    #[must_use]
    pub fn lease_wait(&self) -> Span {
        (self.lease + self.lease_margin).saturating_sub(self.heartbeat_limit)
    }

    /// Takes the times of failfast over.
    pub(crate) fn complete(&mut self, failfast: &Failfast) {
        self.guardian_limit = failfast.guardian_limit;
        let device = failfast.watchdogs.first();
        self.watchdog_worst = device.map(|_| failfast.watchdog_timeout.scale(WORST.0, WORST.1));
        self.watchdog_soonest =
            device.map(|_| failfast.watchdog_timeout.saturating_sub(failfast.watchdog_pretimeout));
    }

    /// What the measured lateness of wake-ups on this machine (99th percentile) breaks, in words, if anything.
    #[must_use]
    pub fn broken_by_jitter(&self, jitter: Span) -> Option<String> {
        let drift = self.lease.scale(2 * DRIFT_PPM, 1_000_000);
        let need = drift + jitter.scale(2, 1);
        if self.lease_margin < need {
            return Some(format!(
                "totem.lease_margin {} is less than drift and lateness of this machine need ({need}: 2 x {jitter} measured, {drift} drift); \
                 write a larger lease_margin, or a larger token",
                self.lease_margin
            ));
        }
        let slack = self.lease.saturating_sub(self.heartbeat.scale(2, 1));
        (slack < jitter.scale(2, 1)).then(|| {
            format!(
                "totem.lease {} leaves {slack} behind two heartbeats of {}, less than twice this machine's lateness ({jitter} measured); \
                 write a larger lease, or a larger token",
                self.lease, self.heartbeat
            )
        })
    }
}

/// The watchdog's worst case by its time-out: twice, plus a tenth.
const WORST: (u64, u64) = (22, 10);
/// Two clocks drift apart by at most this much each.
const DRIFT_PPM: u64 = 200;
/// corosync's default token time-out and its addition for each node beyond two.
const TOKEN_MS: u64 = 3_000;
const TOKEN_COEFFICIENT_MS: u64 = 650;

/// Heartbeats follow the token up to here.
const HEARTBEAT_SCALE_MAX: Span = Span::from_secs(1);
/// The least default: a heartbeat each millisecond.
const HEARTBEAT_LIMIT_LEAST: Span = Span::from_millis(HEARTBEATS_A_LIMIT);
/// Heartbeats within the limit: that many may be lost or late, but for one, before a living member is suspected.
const HEARTBEATS_A_LIMIT: u64 = 6;

/// What the configuration says and what follows from it. The times of failfast come with [`Timing::complete`].
pub(crate) fn derive(root: &Section, nodes: usize) -> Timing {
    let number = |key: &str| root.get(&["totem"], key).and_then(|i| parse_number(&i.value));
    let millis = |key: &str| number(key).map(Span::from_millis);

    let token_base = millis("token").unwrap_or(Span::from_millis(TOKEN_MS));
    let token_coefficient = millis("token_coefficient").unwrap_or(Span::from_millis(TOKEN_COEFFICIENT_MS));
    let more_nodes = (nodes as u64).saturating_sub(2);
    let token = token_base + token_coefficient.scale(more_nodes, 1);
    let retransmits = number("token_retransmits_before_loss_const").unwrap_or(4);
    let token_retransmit = millis("token_retransmit").unwrap_or(token.scale(10, 10 * retransmits + 2));
    let hold = token_retransmit.scale(8, 10).saturating_sub(Span::from_millis(10));
    let consensus = millis("consensus").unwrap_or(token.scale(12, 10));
    // One of the two tells the other; neither is told: a limit of 240 ms, less with a small token.
    let interval = millis("heartbeat_interval");
    let heartbeat_limit = millis("heartbeat_limit")
        .or(interval.map(|i| i.scale(HEARTBEATS_A_LIMIT, 1)))
        .unwrap_or(HEARTBEAT_SCALE_MAX.min(token).scale(24, 100).max(HEARTBEAT_LIMIT_LEAST));
    let heartbeat = interval.unwrap_or(heartbeat_limit.scale(1, HEARTBEATS_A_LIMIT));
    let lease_margin = millis("lease_margin").unwrap_or(heartbeat_limit.scale(1, 6));
    Timing {
        nodes,
        token_base,
        token_coefficient,
        token,
        retransmits: retransmits as u32,
        token_retransmit,
        hold: millis("hold").unwrap_or(hold.max(token_retransmit.scale(1, 4))),
        join: millis("join").unwrap_or(Span::from_millis(50).min(token.scale(1, 10))),
        consensus,
        merge: millis("merge").unwrap_or(Span::from_millis(200).min(token.scale(1, 2))),
        fail_recv_rotations: number("fail_recv_const").unwrap_or(2_500) as u32,
        heartbeat,
        heartbeat_limit,
        heartbeat_limit_max: millis("heartbeat_limit_max").unwrap_or(heartbeat_limit.max(token.scale(1, 2))),
        lease: millis("lease").unwrap_or(heartbeat_limit.saturating_sub(lease_margin)),
        lease_margin,
        step_limit: millis("step_limit").unwrap_or(Span::from_secs(30).max((token + consensus).scale(2, 1))),
        watchdog_worst: None,
        watchdog_soonest: None,
        guardian_limit: Span::ZERO,
    }
}

/// The rules, in the order in which they build on each other. Only the first broken one is told.
pub(crate) fn check(root: &Section, t: &Timing, failfast: &Failfast, found: &mut Diagnostics) {
    let rules: [(bool, &[&str], String); 11] = [
        (
            t.heartbeat >= Span::from_millis(1),
            &["heartbeat_interval", "heartbeat_limit", "token"],
            format!(
                "a heartbeat every {} is more than any machine keeps up with; write at least 1, or a heartbeat_limit of at least 6",
                t.heartbeat
            ),
        ),
        (
            t.token_retransmit.scale(2, 1) <= t.token,
            &["token_retransmit", "token_retransmits_before_loss_const", "token"],
            format!(
                "token_retransmit {} leaves no second chance within token {}; write at most half of the token",
                t.token_retransmit, t.token
            ),
        ),
        (
            t.hold < t.token_retransmit,
            &["hold", "token_retransmit"],
            format!(
                "hold {} makes the others send the token again after {}; write a hold below token_retransmit",
                t.hold, t.token_retransmit
            ),
        ),
        (
            t.join <= t.consensus,
            &["consensus", "join"],
            format!(
                "consensus {} ends before the second JOIN is sent after {}; write a consensus of at least join",
                t.consensus, t.join
            ),
        ),
        (
            t.heartbeat.scale(3, 1) <= t.heartbeat_limit,
            &["heartbeat_limit", "heartbeat_interval", "token"],
            format!(
                "heartbeat_limit {} suspects a node after fewer than three lost heartbeats of {}; write at least three times heartbeat_interval",
                t.heartbeat_limit, t.heartbeat
            ),
        ),
        (
            t.heartbeat_limit <= t.heartbeat_limit_max,
            &["heartbeat_limit_max", "heartbeat_limit"],
            format!(
                "heartbeat_limit_max {} is below heartbeat_limit {}; write at least as much",
                t.heartbeat_limit_max, t.heartbeat_limit
            ),
        ),
        (
            t.heartbeat.scale(3, 1) <= t.lease,
            &["lease", "heartbeat_interval", "token"],
            format!(
                "lease {} ends after fewer than three lost heartbeats of {}; write at least three times heartbeat_interval",
                t.lease, t.heartbeat
            ),
        ),
        (
            t.lease.scale(2 * DRIFT_PPM, 1_000_000) < t.lease_margin,
            &["lease_margin", "lease"],
            format!(
                "lease_margin {} does not even cover the drift of two clocks over lease {}; write a larger lease_margin",
                t.lease_margin, t.lease
            ),
        ),
        (
            t.step_limit > t.token + t.consensus,
            &["step_limit", "token"],
            format!(
                "step_limit {} ends before a lost node is noticed and left out ({}); write a larger step_limit",
                t.step_limit,
                t.token + t.consensus
            ),
        ),
        (
            t.watchdog_soonest.is_none_or(|soonest| soonest > t.heartbeat_limit_max),
            &["watchdog_pretimeout", "watchdog_timeout"],
            format!(
                "the watchdog takes the node down after {}, before a member is even suspected ({}); write a larger \
                 failfast.watchdog_timeout or a smaller failfast.watchdog_pretimeout",
                failfast.watchdog_timeout.saturating_sub(failfast.watchdog_pretimeout),
                t.heartbeat_limit_max
            ),
        ),
        (
            failfast.guardian_limit > t.heartbeat_limit_max,
            &["guardian_limit"],
            format!(
                "the guardian takes the node down after {}, before a member is even suspected ({}); write a larger failfast.guardian_limit",
                failfast.guardian_limit, t.heartbeat_limit_max
            ),
        ),
    ];
    for (ok, keys, text) in rules {
        if !ok {
            let set = keys.iter().find_map(|k| {
                root.get(&["totem"], k).or(root.get(&["failfast"], k)).or(root.get(&["resources"], k))
            });
            let at = set.map_or_else(
                || root.all("totem").last().map_or(root.at(), Section::at),
                |i| (i.line, i.column),
            );
            found.error(at, format!("unsafe timing: {text}"));
            return;
        }
    }
    let at = |key: &str| {
        root.get(&["totem"], key)
            .map_or_else(|| root.all("totem").last().map_or(root.at(), Section::at), |i| i.at())
    };
    if t.lease_wait() > Span::ZERO {
        let text = format!(
            "lease {} and lease_margin {} are longer than heartbeat_limit {}: after a silent death the survivors wait {} more; \
             write a shorter lease, or a longer heartbeat_limit",
            t.lease,
            t.lease_margin,
            t.heartbeat_limit,
            t.lease_wait()
        );
        found.warn(at("lease"), text);
    }
    if let Some(soonest) = t.watchdog_soonest.filter(|soonest| *soonest <= failfast.guardian_limit) {
        let text = format!(
            "the watchdog takes a node that hangs down after {soonest}, before its guardian does and says why ({}); write a smaller \
             failfast.guardian_limit",
            failfast.guardian_limit
        );
        let item = root.get(&["failfast"], "guardian_limit");
        found.warn(item.map_or_else(|| root.at(), crate::Item::at), text);
    }
    if t.heartbeat_limit_max > t.token {
        let text = format!(
            "heartbeat_limit_max {} is longer than token {}, which then notices a death first; write less",
            t.heartbeat_limit_max, t.token
        );
        let key = ["heartbeat_limit_max", "heartbeat_limit", "heartbeat_interval"];
        found.warn(
            key.iter().find(|k| root.get(&["totem"], k).is_some()).map_or_else(|| at("token"), |k| at(k)),
            text,
        );
    }
}

/// One line of the arithmetic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimingRow {
    /// E.g. `heartbeat_limit`, `silent_death`.
    pub name: &'static str,
    /// The interval or limit; `None`: no time bounds it.
    pub value: Option<Span>,
    /// What it is, or what it is made of.
    pub why: String,
}

impl Timing {
    /// The arithmetic, a row each: what is configured or derived first, what follows from it last.
    #[must_use]
    pub fn rows(&self) -> Vec<TimingRow> {
        let token = match self.nodes.saturating_sub(2) {
            0 => "totem.token".to_owned(),
            n => format!(
                "totem.token {} + {n} x token_coefficient {}",
                self.token_base, self.token_coefficient
            ),
        };
        let wait = self.lease_wait();
        let takeover = match self.takeover() {
            Some(_) => "lease + lease_margin + 2.2 x watchdog time-out: by time alone",
            None => "by confirmed death only (fence device, guardian, operator): no watchdog",
        };
        [
            ("token", Some(self.token), token),
            (
                "token_retransmit",
                Some(self.token_retransmit),
                format!("token / ({} + 0.2)", self.retransmits),
            ),
            ("hold", Some(self.hold), "the representative keeps the token of a quiet ring".into()),
            ("join", Some(self.join), "between two JOINs while members gather".into()),
            ("consensus", Some(self.consensus), "wait for a silent node nobody has news of".into()),
            ("merge", Some(self.merge), "between two probes for other rings".into()),
            ("heartbeat", Some(self.heartbeat), "between two heartbeats to every member".into()),
            (
                "heartbeat_limit",
                Some(self.heartbeat_limit),
                "silence after which a member is suspected, at least".into(),
            ),
            (
                "heartbeat_limit_max",
                Some(self.heartbeat_limit_max),
                "the same at most, if its heartbeats arrive irregularly".into(),
            ),
            ("lease", Some(self.lease), "an echo of a heartbeat counts this long from its sending".into()),
            (
                "lease_margin",
                Some(self.lease_margin),
                "drift and scheduling allowance on a foreign lease".into(),
            ),
            ("step_limit", Some(self.step_limit), "one step of a reconfiguration".into()),
            (
                "guardian_limit",
                Some(self.guardian_limit),
                "standstill of cmmd after which the guardian acts".into(),
            ),
            (
                "silent_death",
                Some(self.heartbeat_limit + wait),
                format!("heartbeat_limit + {wait} wait for its lease, then a new ring"),
            ),
            ("takeover", self.takeover(), takeover.into()),
        ]
        .map(|(name, value, why)| TimingRow { name, value, why })
        .into()
    }
}

impl fmt::Display for Timing {
    /// The arithmetic, a line each, as `cmmd -t` prints it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for TimingRow { name, value, why } in self.rows() {
            let value = value.map_or_else(|| "-".to_owned(), |v| v.to_string());
            writeln!(f, "  {name:<19} {value:>12}   {why}")?;
        }
        Ok(())
    }
}
