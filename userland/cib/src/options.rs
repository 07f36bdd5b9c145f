//! Cluster options (`crm_config`): those that decide something here, typed; the rest known by name, so that a typing
//! mistake is told from an option that another tool needs.

use indexmap::IndexMap;

use crate::error::{CibError, Warning};
use crate::tree::{Element, Position};
use crate::values::{parse_bool, parse_duration_ms};

/// What happens to resources of a partition without quorum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NoQuorumPolicy {
    /// They are stopped.
    #[default]
    Stop,
    /// They go on, nothing new is started.
    Freeze,
    /// Nothing is different.
    Ignore,
}

/// How a node is fenced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StonithAction {
    /// Off, then on.
    #[default]
    Reboot,
    /// Off, and stays off.
    Off,
}

impl StonithAction {
    /// As fence agents spell it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reboot => "reboot",
            Self::Off => "off",
        }
    }
}

/// Options in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// `no-quorum-policy`.
    pub no_quorum_policy: NoQuorumPolicy,
    /// `symmetric-cluster`: resources may run everywhere unless a constraint says no.
    pub symmetric: bool,
    /// `maintenance-mode`.
    pub maintenance: bool,
    /// `stop-all-resources`.
    pub stop_all: bool,
    /// `start-failure-is-fatal`.
    pub start_failure_is_fatal: bool,
    /// `enable-startup-probes`.
    pub startup_probes: bool,
    /// `stonith-enabled`.
    pub stonith_enabled: bool,
    /// `stonith-action`.
    pub stonith_action: StonithAction,
    /// `stonith-timeout`.
    pub stonith_timeout_ms: u64,
    /// `stonith-max-attempts`.
    pub stonith_attempts_max: u32,
    /// `startup-fencing`: nodes never seen are fenced before anything starts.
    pub startup_fencing: bool,
    /// `dc-deadtime`: how long nodes that have not been seen yet are waited for.
    pub dc_deadtime_ms: u64,
    /// `cluster-recheck-interval`.
    pub recheck_interval_ms: u64,
    /// `batch-limit`: actions in flight at the same time; 0: no limit.
    pub batch_limit: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            no_quorum_policy: NoQuorumPolicy::Stop,
            symmetric: true,
            maintenance: false,
            stop_all: false,
            start_failure_is_fatal: true,
            startup_probes: true,
            stonith_enabled: true,
            stonith_action: StonithAction::Reboot,
            stonith_timeout_ms: 60_000,
            stonith_attempts_max: 10,
            startup_fencing: true,
            dc_deadtime_ms: 20_000,
            recheck_interval_ms: 15 * 60_000,
            batch_limit: 0,
        }
    }
}

impl Options {
    /// From name/value pairs and where each stands.
    pub(crate) fn read(
        pairs: &IndexMap<String, (String, Position)>,
        file: &str,
        warnings: &mut Vec<Warning>,
    ) -> Result<Self, CibError> {
        let mut options = Self::default();
        for (name, (value, position)) in pairs {
            let bad = |expected: &str| {
                Err(CibError::new(
                    file,
                    *position,
                    format!("{name}=\"{value}\" is not valid; write {expected}"),
                ))
            };
            let as_bool = || parse_bool(value).map_or_else(|| bad("true or false").map(|()| false), Ok);
            let as_ms = || parse_duration_ms(value).map_or_else(|| bad("a time such as 60s").map(|()| 0), Ok);
            let as_number = || value.parse::<u32>().map_or_else(|_| bad("a whole number").map(|()| 0), Ok);
            let mut warn = |what: String| warnings.push(Warning { line: position.line, what });
            match name.as_str() {
                "no-quorum-policy" => match value.as_str() {
                    "stop" => options.no_quorum_policy = NoQuorumPolicy::Stop,
                    "freeze" => options.no_quorum_policy = NoQuorumPolicy::Freeze,
                    "ignore" => options.no_quorum_policy = NoQuorumPolicy::Ignore,
                    "demote" | "suicide" => {
                        warn(format!(
                            "not supported yet: no-quorum-policy=\"{value}\"; \"stop\" is in force"
                        ));
                    }
                    _ => return bad("stop, freeze or ignore").map(|()| options),
                },
                "symmetric-cluster" => options.symmetric = as_bool()?,
                "maintenance-mode" => options.maintenance = as_bool()?,
                "stop-all-resources" => options.stop_all = as_bool()?,
                "start-failure-is-fatal" => options.start_failure_is_fatal = as_bool()?,
                "enable-startup-probes" => options.startup_probes = as_bool()?,
                "stonith-enabled" => options.stonith_enabled = as_bool()?,
                "stonith-action" => match value.as_str() {
                    "reboot" => options.stonith_action = StonithAction::Reboot,
                    "off" | "poweroff" => options.stonith_action = StonithAction::Off,
                    _ => return bad("reboot or off").map(|()| options),
                },
                "stonith-timeout" => options.stonith_timeout_ms = as_ms()?,
                "stonith-max-attempts" => options.stonith_attempts_max = as_number()?.max(1),
                "startup-fencing" => options.startup_fencing = as_bool()?,
                "dc-deadtime" => options.dc_deadtime_ms = as_ms()?,
                "cluster-recheck-interval" => options.recheck_interval_ms = as_ms()?,
                "batch-limit" => options.batch_limit = as_number()? as usize,
                known if NOT_HONOURED.iter().any(|(n, _)| *n == known) => {
                    let default = NOT_HONOURED.iter().find(|(n, _)| *n == known).map_or("", |(_, d)| d);
                    if value != default {
                        warn(format!("not supported yet: {name}=\"{value}\"; it has no effect"));
                    }
                }
                known if NO_EFFECT.contains(&known) => {}
                _ => {
                    let near = nearest(name).map(|n| format!("; did you mean \"{n}\"?")).unwrap_or_default();
                    warn(format!("unknown cluster option \"{name}\"{near}"));
                }
            }
        }
        if !options.stonith_enabled {
            options.startup_fencing = false;
        }
        Ok(options)
    }
}

/// Pairs of all `cluster_property_set`s: `cib-bootstrap-options` first, the first value of a name wins.
pub(crate) fn property_pairs(crm_config: &Element) -> IndexMap<String, (String, Position)> {
    let mut sets: Vec<&Element> = crm_config.children_named("cluster_property_set").collect();
    sets.sort_by_key(|set| set.id() != Some("cib-bootstrap-options"));
    let mut pairs = IndexMap::new();
    for pair in sets.iter().flat_map(|set| set.children_named("nvpair")) {
        if let (Some(name), Some(value)) = (pair.get("name"), pair.get("value")) {
            pairs.entry(name.to_owned()).or_insert((value.to_owned(), pair.position));
        }
    }
    pairs
}

/// The known name that differs from `name` in at most two letters.
fn nearest(name: &str) -> Option<&'static str> {
    let all = HONOURED.iter().copied().chain(NOT_HONOURED.iter().map(|(n, _)| *n));
    all.map(|known| (distance(name, known), known)).filter(|(d, _)| *d <= 2).min().map(|(_, known)| known)
}

/// Edit distance; inputs are short names.
fn distance(a: &str, b: &str) -> usize {
    if a.len().abs_diff(b.len()) > 2 {
        return usize::MAX;
    }
    let b: Vec<u8> = b.bytes().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let next = (diagonal + usize::from(x != *y)).min(row[j] + 1).min(row[j + 1] + 1);
            diagonal = row[j + 1];
            row[j + 1] = next;
        }
    }
    row[b.len()]
}

const HONOURED: &[&str] = &[
    "no-quorum-policy",
    "symmetric-cluster",
    "maintenance-mode",
    "stop-all-resources",
    "start-failure-is-fatal",
    "enable-startup-probes",
    "stonith-enabled",
    "stonith-action",
    "stonith-timeout",
    "stonith-max-attempts",
    "startup-fencing",
    "dc-deadtime",
    "cluster-recheck-interval",
    "batch-limit",
];

/// Known, with the default that is what happens here.
const NOT_HONOURED: &[(&str, &str)] = &[
    ("shutdown-lock", "false"),
    ("shutdown-lock-limit", "0"),
    ("have-watchdog", "false"),
    ("stonith-watchdog-timeout", "0"),
    ("priority-fencing-delay", "0"),
    ("migration-limit", "-1"),
    ("stop-orphan-resources", "true"),
    ("stop-orphan-actions", "true"),
    ("remove-after-stop", "false"),
    ("node-health-strategy", "none"),
    ("placement-strategy", "default"),
    ("node-action-limit", "0"),
    ("fence-reaction", "stop"),
    ("enable-acl", "false"),
    ("transition-delay", "0s"),
];

/// Known, and nothing that an operator could notice depends on them here.
const NO_EFFECT: &[&str] = &[
    "cluster-delay",
    "concurrent-fencing",
    "pe-error-series-max",
    "pe-warn-series-max",
    "pe-input-series-max",
    "node-health-base",
    "node-health-green",
    "node-health-yellow",
    "node-health-red",
    "dc-version",
    "cluster-infrastructure",
    "cluster-name",
    "load-threshold",
    "election-timeout",
    "shutdown-escalation",
    "join-integration-timeout",
    "join-finalization-timeout",
    "cluster-ipc-limit",
    "last-lrm-refresh",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_near_miss_is_named() {
        assert_eq!(nearest("no-quorum-polcy"), Some("no-quorum-policy"));
        assert_eq!(nearest("stonith-enable"), Some("stonith-enabled"));
        assert_eq!(nearest("colour"), None);
    }
}
