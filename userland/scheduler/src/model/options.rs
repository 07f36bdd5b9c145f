//! Cluster options that decide something, with their defaults.

use cib::{Attributes, Score, parse_bool, parse_duration_ms};

/// What a partition without quorum does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoQuorumPolicy {
    /// Stops everything.
    Stop,
    /// Goes on with what runs.
    Freeze,
    /// Goes on.
    Ignore,
    /// Demotes what is promoted, stops the rest.
    Demote,
    /// Fences itself.
    Suicide,
}

/// Options in force. Values that make no sense count as absent.
#[derive(Clone, Debug)]
pub struct Options {
    /// `no-quorum-policy`.
    pub no_quorum_policy: NoQuorumPolicy,
    /// `symmetric-cluster`.
    pub symmetric: bool,
    /// `maintenance-mode`.
    pub maintenance: bool,
    /// `stonith-enabled`.
    pub fencing: bool,
    /// `startup-fencing`; false without fencing.
    pub startup_fencing: bool,
    /// `have-watchdog`.
    pub have_watchdog: bool,
    /// `stop-orphan-resources`.
    pub stop_orphans: bool,
    /// `shutdown-lock`.
    pub shutdown_lock: bool,
    /// `shutdown-lock-limit` in milliseconds; 0: none.
    pub shutdown_lock_limit_ms: u64,
    /// `stop-all-resources`.
    pub stop_all: bool,
    /// `enable-startup-probes`.
    pub startup_probes: bool,
    /// `stop-orphan-actions`.
    pub stop_orphan_actions: bool,
    /// `remove-after-stop`.
    pub remove_after_stop: bool,
    /// `concurrent-fencing`.
    pub concurrent_fencing: bool,
    /// `stonith-action`: `reboot` or `off`.
    pub stonith_action: String,
    /// `priority-fencing-delay` in seconds.
    pub priority_fencing_delay: u64,
    /// All as they stand.
    pub all: Attributes,
}

impl Options {
    pub(crate) fn new(all: Attributes, quorum: bool, no_quorum_panic: bool) -> Self {
        let flag =
            |name: &str, default: bool| all.get(name).and_then(|value| parse_bool(value)).unwrap_or(default);
        let fencing = flag("stonith-enabled", true);
        let no_quorum_policy = match all.get("no-quorum-policy").map(String::as_str) {
            Some("ignore") => NoQuorumPolicy::Ignore,
            Some("freeze") => NoQuorumPolicy::Freeze,
            Some("demote") => NoQuorumPolicy::Demote,
            // A node that never had quorum has nothing to end its life for.
            Some("suicide") if fencing && (no_quorum_panic || quorum) => NoQuorumPolicy::Suicide,
            _ => NoQuorumPolicy::Stop,
        };
        let duration = |name: &str| all.get(name).and_then(|v| parse_duration_ms(v)).unwrap_or(0);
        Self {
            no_quorum_policy,
            symmetric: flag("symmetric-cluster", true),
            maintenance: flag("maintenance-mode", false),
            fencing,
            startup_fencing: fencing && flag("startup-fencing", true),
            have_watchdog: flag("have-watchdog", false),
            stop_orphans: flag("stop-orphan-resources", true),
            shutdown_lock: flag("shutdown-lock", false),
            shutdown_lock_limit_ms: duration("shutdown-lock-limit"),
            stop_all: flag("stop-all-resources", false),
            startup_probes: flag("enable-startup-probes", true),
            stop_orphan_actions: flag("stop-orphan-actions", true),
            remove_after_stop: flag("remove-after-stop", false),
            concurrent_fencing: flag("concurrent-fencing", false),
            stonith_action: match all.get("stonith-action").map(String::as_str) {
                Some("off" | "poweroff") => "off".into(),
                _ => "reboot".into(),
            },
            priority_fencing_delay: duration("priority-fencing-delay") / 1_000,
            all,
        }
    }

    /// The score of a colour of node health, or of a number.
    pub(crate) fn health_score(&self, value: &str) -> Score {
        let own =
            |name: &str, default: Score| self.all.get(name).and_then(|v| Score::parse(v)).unwrap_or(default);
        let strategy = self.all.get("node-health-strategy").map_or("none", String::as_str);
        let scored = matches!(strategy, "progressive" | "custom");
        match value.trim().to_ascii_lowercase().as_str() {
            "red" if scored => own("node-health-red", Score::MINUS_INFINITY),
            "yellow" if scored => own("node-health-yellow", Score::ZERO),
            "green" if scored => own("node-health-green", Score::ZERO),
            "red" if matches!(strategy, "migrate-on-red" | "only-green") => Score::MINUS_INFINITY,
            "yellow" if strategy == "only-green" => Score::MINUS_INFINITY,
            "red" | "yellow" | "green" => Score::ZERO,
            _ => Score::parse(value).unwrap_or_default(),
        }
    }
}
