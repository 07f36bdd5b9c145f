//! A fence device: parameters as Pacemaker's `pcmk_*` have them, and the call of its agent for one victim.

use std::collections::BTreeMap;

use holdfast_types::Span;

use crate::agent::Abilities;

/// A device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its id in the configuration.
    pub id: String,
    /// Its agent, e.g. `fence_ipmilan`.
    pub agent: String,
    /// What goes to the agent: everything but `pcmk_*`.
    params: Vec<(String, String)>,
    check: Check,
    /// `pcmk_host_check` says which check it is.
    check_is_set: bool,
    /// Names that the device knows nodes by.
    aliases: BTreeMap<String, String>,
    /// Parameter that carries the victim's alias; `None`: nothing is sent.
    host_argument: Option<String>,
    /// `pcmk_host_argument` names it.
    argument_is_set: bool,
    abilities: Option<Abilities>,
    /// `pcmk_action_limit`: calls at the same time; `None`: any number.
    limit: Option<u32>,
    /// Substitutes and limits by action.
    actions: BTreeMap<String, ActionSettings>,
    /// `pcmk_delay_base`: waited before `off` and `reboot`.
    delay_base: DelayBase,
    /// `pcmk_delay_max`: the whole delay, random part included, is at most this.
    delay_max: Span,
}

/// How it is found out which nodes a device can fence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// Any (`pcmk_host_check=none`).
    Any,
    /// Those that its parameters name.
    Static,
    /// Those that the agent lists.
    Dynamic,
    /// Those whose `status` the agent can tell.
    Status,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct ActionSettings {
    substitute: Option<String>,
    timeout: Option<Span>,
    tries: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum DelayBase {
    Same(Span),
    ByNode(BTreeMap<String, Span>),
}

/// What is wrong with a device's parameters.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    /// A value that cannot be meant.
    #[error("fence device {device}: {name}=\"{value}\" is not valid; write {expected}")]
    Value {
        /// The device.
        device: String,
        /// The parameter.
        name: String,
        /// Its value.
        value: String,
        /// What is.
        expected: &'static str,
    },
}

/// One call of an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The agent.
    pub agent: String,
    /// Its action, after substitution.
    pub action: String,
    /// Lines `key=value` for its standard input, without `action`.
    pub params: Vec<(String, String)>,
    /// It is killed after this long.
    pub timeout: Span,
}

impl Device {
    /// Tries of an action where `pcmk_ACTION_retries` names none.
    pub const TRIES: u32 = 2;

    /// Reads a device. `duration_ms` reads lengths of time as the configuration writes them.
    ///
    /// # Errors
    /// When a parameter has a value that cannot be meant.
    pub fn new(
        id: &str,
        agent: &str,
        params: &[(String, String)],
        duration_ms: fn(&str) -> Option<u64>,
    ) -> Result<Self, DeviceError> {
        let bad = |name: &str, value: &str, expected| DeviceError::Value {
            device: id.to_owned(),
            name: name.to_owned(),
            value: value.to_owned(),
            expected,
        };
        let get = |name: &str| {
            params.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str()).filter(|v| !v.is_empty())
        };
        let span = |name: &str, value: &str| {
            duration_ms(value).map(Span::from_millis).ok_or_else(|| bad(name, value, "a time such as 60s"))
        };
        let mut aliases = BTreeMap::new();
        for name in get("pcmk_host_list").unwrap_or("").split([' ', ',', ';', '\t']).filter(|n| !n.is_empty())
        {
            aliases.insert(name.to_owned(), name.to_owned());
        }
        for entry in get("pcmk_host_map").unwrap_or("").split([';', ' ']).filter(|e| !e.is_empty()) {
            let pair =
                entry.split_once([':', '=']).filter(|(node, port)| !node.is_empty() && !port.is_empty());
            let (node, port) = pair.ok_or_else(|| bad("pcmk_host_map", entry, "node:port[;node:port]"))?;
            aliases.insert(node.to_owned(), port.to_owned());
        }
        let check = match get("pcmk_host_check") {
            Some("static-list") => Check::Static,
            Some("dynamic-list") => Check::Dynamic,
            Some("status") => Check::Status,
            Some("none") => Check::Any,
            Some(other) => {
                return Err(bad("pcmk_host_check", other, "static-list, dynamic-list, status or none"));
            }
            // Until its agent's abilities are known: one asked to fence what it does not know fails.
            None if aliases.is_empty() => Check::Any,
            None => Check::Static,
        };
        let limit = match get("pcmk_action_limit") {
            None => Some(1),
            Some("-1") => None,
            Some(text) => match text.parse() {
                Ok(limit) if limit > 0 => Some(limit),
                _ => return Err(bad("pcmk_action_limit", text, "a whole number from 1, or -1 for no limit")),
            },
        };
        let mut actions: BTreeMap<String, ActionSettings> = BTreeMap::new();
        for (name, value) in params {
            let Some(rest) = name.strip_prefix("pcmk_") else { continue };
            let Some((action, what)) = rest.split_once('_').filter(|(a, _)| ACTIONS.contains(a)) else {
                continue;
            };
            let settings = actions.entry(action.to_owned()).or_default();
            match what {
                "action" => settings.substitute = Some(value.clone()),
                "timeout" => settings.timeout = Some(span(name, value)?),
                "retries" => {
                    let tries = value.parse().map_err(|_| bad(name, value, "a whole number"))?;
                    settings.tries = Some(tries);
                }
                _ => {}
            }
        }
        let delay_base = match get("pcmk_delay_base") {
            None => DelayBase::Same(Span::ZERO),
            Some(map) if map.contains(':') => {
                let mut by_node = BTreeMap::new();
                for entry in map.split([';', ' ']).filter(|e| !e.is_empty()) {
                    let (node, value) = entry.split_once(':').unwrap_or((entry, "0"));
                    by_node.insert(node.to_owned(), span("pcmk_delay_base", value)?);
                }
                DelayBase::ByNode(by_node)
            }
            Some(value) => DelayBase::Same(span("pcmk_delay_base", value)?),
        };
        Ok(Self {
            id: id.to_owned(),
            agent: agent.to_owned(),
            params: params.iter().filter(|(n, _)| !for_us(n)).cloned().collect(),
            check,
            check_is_set: get("pcmk_host_check").is_some(),
            aliases,
            argument_is_set: get("pcmk_host_argument").is_some(),
            abilities: None,
            limit,
            host_argument: match get("pcmk_host_argument") {
                Some("none") => None,
                Some(name) => Some(name.to_owned()),
                None => Some("port".to_owned()),
            },
            actions,
            delay_base,
            delay_max: get("pcmk_delay_max").map_or(Ok(Span::ZERO), |v| span("pcmk_delay_max", v))?,
        })
    }

    /// With what its agent can do, which decides what its parameters leave open: `pcmk_host_check`, `pcmk_host_argument`,
    /// whether a reboot is one call, and unfencing.
    #[must_use]
    pub fn with_abilities(mut self, abilities: Abilities) -> Self {
        // The meta-data of cluster-glue's plugins has actions of resources, not theirs.
        let plugin = !self.agent.starts_with("fence_");
        let abilities = if plugin { Abilities::of_plugin() } else { abilities };
        if !self.check_is_set && self.aliases.is_empty() {
            self.check = match &abilities {
                a if a.has("list") => Check::Dynamic,
                a if a.has("status") => Check::Status,
                _ => Check::Any,
            };
        }
        if !self.argument_is_set {
            self.host_argument = Some(abilities.host_argument().to_owned());
        }
        self.abilities = Some(abilities);
        self
    }

    /// How it is found out whom it can fence.
    #[must_use]
    pub fn check(&self) -> Check {
        self.check
    }

    /// Its agent: `fence_scsi`.
    #[must_use]
    pub fn agent(&self) -> &str {
        &self.agent
    }

    /// The name that it knows a node by.
    #[must_use]
    pub fn alias<'a>(&'a self, node: &'a str) -> &'a str {
        self.aliases.get(node).map_or(node, String::as_str)
    }

    /// Whether its parameters name this node.
    #[must_use]
    pub fn names(&self, node: &str) -> bool {
        self.aliases.contains_key(node)
    }

    /// Whether its `on` is how a node gets access.
    #[must_use]
    pub fn unfences(&self) -> bool {
        self.abilities.as_ref().is_some_and(Abilities::unfences)
    }

    /// Whether this action is run by the victim itself.
    pub(crate) fn runs_on_target(&self, action: &str) -> bool {
        action == "on" && self.abilities.as_ref().is_some_and(Abilities::on_target)
    }

    /// Its agent has no `reboot`, and nothing stands in for it: off, then on.
    pub(crate) fn lacks_reboot(&self) -> bool {
        let stands_in = self.actions.get("reboot").is_some_and(|s| s.substitute.is_some());
        !stands_in && self.abilities.as_ref().is_some_and(|a| !a.has("reboot"))
    }

    /// Calls at the same time; `None`: any number.
    pub(crate) fn limit(&self) -> Option<u32> {
        self.limit
    }

    /// The node takes itself down by its watchdog.
    pub(crate) fn is_watchdog(&self) -> bool {
        self.agent == WATCHDOG
    }

    /// The device that stands for the nodes' own watchdogs where none is configured.
    pub(crate) fn watchdog() -> Self {
        Self {
            id: "watchdog".to_owned(),
            agent: WATCHDOG.to_owned(),
            params: Vec::new(),
            check: Check::Any,
            check_is_set: true,
            aliases: BTreeMap::new(),
            host_argument: None,
            argument_is_set: true,
            abilities: None,
            limit: None,
            actions: BTreeMap::new(),
            delay_base: DelayBase::Same(Span::ZERO),
            delay_max: Span::ZERO,
        }
    }

    /// The call that lists whom it can fence, or asks for one node's power, as [`Self::check`] says.
    #[must_use]
    pub fn query(&self, node: &str, node_id: u32, timeout: Span) -> Call {
        if self.check == Check::Status {
            return self.call("status", node, node_id, timeout);
        }
        self.plain("list", timeout)
    }

    /// The call for one victim. `timeout` is the cluster's `stonith-timeout`.
    #[must_use]
    pub fn call(&self, action: &str, node: &str, node_id: u32, timeout: Span) -> Call {
        let settings = self.actions.get(action);
        let mut params = vec![("nodename".to_owned(), node.to_owned())];
        if node_id != 0 {
            params.push(("nodeid".to_owned(), node_id.to_string()));
        }
        let alias = self.alias(node);
        if let Some(argument) = &self.host_argument
            && !self.params.iter().any(|(n, _)| n == argument)
        {
            params.push((argument.clone(), alias.to_owned()));
        }
        params.extend(self.params.iter().cloned());
        Call {
            agent: self.agent.clone(),
            action: settings.and_then(|s| s.substitute.clone()).unwrap_or_else(|| action.to_owned()),
            params,
            timeout: settings.and_then(|s| s.timeout).unwrap_or(timeout),
        }
    }

    /// The call that checks the device itself (`start` and `monitor` of its resource).
    #[must_use]
    pub fn monitor(&self, timeout: Span) -> Call {
        self.plain("monitor", timeout)
    }

    fn plain(&self, action: &str, timeout: Span) -> Call {
        let settings = self.actions.get(action);
        Call {
            agent: self.agent.clone(),
            action: settings.and_then(|s| s.substitute.clone()).unwrap_or_else(|| action.to_owned()),
            params: self.params.clone(),
            timeout: settings.and_then(|s| s.timeout).unwrap_or(timeout),
        }
    }

    /// How often an action is tried.
    #[must_use]
    pub fn tries(&self, action: &str) -> u32 {
        self.actions.get(action).and_then(|s| s.tries).unwrap_or(Self::TRIES).max(1)
    }

    /// How long to wait before fencing this node; `random` decides the random part.
    #[must_use]
    pub fn delay(&self, node: &str, random: u64) -> Span {
        let base = match &self.delay_base {
            DelayBase::Same(span) => *span,
            DelayBase::ByNode(map) => map.get(node).copied().unwrap_or(Span::ZERO),
        };
        let room = self.delay_max.saturating_sub(base).as_millis();
        base + Span::from_millis(if room == 0 { 0 } else { random % (room + 1) })
    }
}

/// Parameters that the agent never sees.
fn for_us(name: &str) -> bool {
    name.starts_with("pcmk_")
        || name.starts_with("CRM_meta_")
        || matches!(name, "crm_feature_set" | "stonith-timeout" | "action")
}

/// Agent of the device that is a node's own watchdog.
const WATCHDOG: &str = "fence_watchdog";

const ACTIONS: [&str; 6] = ["reboot", "off", "on", "list", "monitor", "status"];

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(text: &str) -> Option<u64> {
        text.strip_suffix('s')?.parse::<u64>().ok().map(|s| s * 1_000)
    }

    fn device(params: &[(&str, &str)]) -> Result<Device, DeviceError> {
        let params: Vec<(String, String)> =
            params.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Device::new("d", "fence_x", &params, ms)
    }

    #[test]
    fn hosts_come_from_list_map_and_check() {
        for (params, n1, other) in [
            (vec![("pcmk_host_list", "n1,n2 n3")], true, false),
            (vec![("pcmk_host_map", "n1:7;n2:8")], true, false),
            (vec![("pcmk_host_check", "none"), ("pcmk_host_list", "n1")], true, true),
            (vec![("pcmk_host_check", "static-list")], false, false),
            (vec![], true, true),
        ] {
            let device = device(&params).unwrap();
            let can = |node: &str| device.check() == Check::Any || device.names(node);
            assert_eq!((can("n1"), can("other")), (n1, other), "{params:?}");
        }
    }

    #[test]
    fn the_agent_gets_what_pacemaker_sends() {
        let device = device(&[
            ("ip", "10.0.0.2"),
            ("pcmk_host_map", "n1:7"),
            ("pcmk_off_timeout", "5s"),
            ("pcmk_reboot_action", "off"),
            ("action", "ignored"),
        ])
        .unwrap();
        let call = device.call("off", "n1", 4, Span::from_secs(60));
        let lines: Vec<String> = call.params.iter().map(|(k, v)| format!("{k}={v}")).collect();
        assert_eq!(lines, ["nodename=n1", "nodeid=4", "port=7", "ip=10.0.0.2"]);
        assert_eq!((call.action.as_str(), call.timeout), ("off", Span::from_secs(5)));
        let reboot = device.call("reboot", "n1", 4, Span::from_secs(60));
        assert_eq!((reboot.action.as_str(), reboot.timeout), ("off", Span::from_secs(60)));
    }

    #[test]
    fn abilities_decide_what_parameters_leave_open() {
        let of = |actions: &str| {
            let actions = actions.split(' ').map(|a| format!("<action name='{a}'/>")).collect::<String>();
            Abilities::of_metadata(&format!(
                "<resource-agent>{actions}<parameter name='plug'/></resource-agent>"
            ))
        };
        for (params, actions, want) in [
            (vec![], "off list status", Check::Dynamic),
            (vec![], "off status", Check::Status),
            (vec![], "off", Check::Any),
            (vec![("pcmk_host_list", "n1")], "off list", Check::Static),
            (vec![("pcmk_host_map", "n1:1")], "off list", Check::Static),
            (vec![("pcmk_host_check", "none")], "off list", Check::Any),
            (vec![("pcmk_host_check", "status")], "off list", Check::Status),
            (vec![("pcmk_host_check", "dynamic-list"), ("pcmk_host_list", "n1")], "off list", Check::Dynamic),
        ] {
            let device = device(&params).unwrap().with_abilities(of(actions));
            assert_eq!(device.check(), want, "{params:?} {actions}");
            let call = device.call("off", "n1", 0, Span::ZERO);
            assert!(call.params.iter().any(|(k, _)| k == "plug"), "the agent's parameter for it");
        }
        let lacks = |params: &[(&str, &str)], actions| {
            device(params).unwrap().with_abilities(of(actions)).lacks_reboot()
        };
        assert!(lacks(&[], "on off") && !lacks(&[], "off reboot"));
        assert!(!lacks(&[("pcmk_reboot_action", "off")], "on off"), "what stands in is called");
    }

    #[test]
    fn a_plugin_of_cluster_glue_can_what_all_of_them_can() {
        let meta = Abilities::of_metadata("<resource-agent><action name='start'/></resource-agent>");
        let plugin = Device::new("d", "external/ipmi", &[], ms).unwrap().with_abilities(meta);
        assert!(!plugin.lacks_reboot() && !plugin.unfences() && plugin.check() == Check::Dynamic);
        assert!(plugin.call("off", "n1", 0, Span::ZERO).params.iter().any(|(k, _)| k == "port"));
    }

    #[test]
    fn a_port_set_by_the_user_is_not_overwritten() {
        let device = device(&[("port", "3")]).unwrap();
        let call = device.call("off", "n1", 0, Span::from_secs(60));
        assert_eq!(
            call.params,
            [("nodename".to_owned(), "n1".to_owned()), ("port".to_owned(), "3".to_owned())]
        );
        let none = super::tests::device(&[("pcmk_host_argument", "none")]).unwrap();
        assert_eq!(none.call("off", "n1", 0, Span::ZERO).params.len(), 1);
    }

    #[test]
    fn delays_are_fixed_plus_random_within_the_maximum() {
        let fixed = device(&[("pcmk_delay_base", "3s")]).unwrap();
        assert_eq!(fixed.delay("n1", u64::MAX), Span::from_secs(3));
        let both = device(&[("pcmk_delay_base", "3s"), ("pcmk_delay_max", "5s")]).unwrap();
        for random in [0, 1, 1_999, 2_000, 2_001, u64::MAX] {
            let delay = both.delay("n1", random);
            assert!(delay >= Span::from_secs(3) && delay <= Span::from_secs(5), "{random}: {delay}");
        }
        let map = device(&[("pcmk_delay_base", "n1:5s;n2:0s")]).unwrap();
        assert_eq!(
            (map.delay("n1", 0), map.delay("n2", 0), map.delay("n3", 0)),
            (Span::from_secs(5), Span::ZERO, Span::ZERO)
        );
    }

    #[test]
    fn wrong_values_are_named() {
        for (params, want) in [
            (
                ("pcmk_host_map", "n1"),
                "fence device d: pcmk_host_map=\"n1\" is not valid; write node:port[;node:port]",
            ),
            (
                ("pcmk_host_check", "maybe"),
                "fence device d: pcmk_host_check=\"maybe\" is not valid; write static-list, dynamic-list, status or none",
            ),
            (
                ("pcmk_action_limit", "0"),
                "fence device d: pcmk_action_limit=\"0\" is not valid; write a whole number from 1, or -1 for no limit",
            ),
            (
                ("pcmk_off_timeout", "soon"),
                "fence device d: pcmk_off_timeout=\"soon\" is not valid; write a time such as 60s",
            ),
            (
                ("pcmk_off_retries", "x"),
                "fence device d: pcmk_off_retries=\"x\" is not valid; write a whole number",
            ),
            (
                ("pcmk_delay_max", "x"),
                "fence device d: pcmk_delay_max=\"x\" is not valid; write a time such as 60s",
            ),
        ] {
            assert_eq!(device(&[params]).unwrap_err().to_string(), want);
        }
    }
}
