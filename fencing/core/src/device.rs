//! A fence device: parameters as Pacemaker's `pcmk_*` have them, and the call of its agent for one victim.

use std::collections::BTreeMap;

use holdfast_types::Span;

/// A device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its id in the configuration.
    pub id: String,
    /// Its agent, e.g. `fence_ipmilan`.
    pub agent: String,
    /// What goes to the agent: everything but `pcmk_*`.
    params: Vec<(String, String)>,
    hosts: Hosts,
    /// Parameter that carries the victim's alias; `None`: nothing is sent.
    host_argument: Option<String>,
    /// Substitutes and limits by action.
    actions: BTreeMap<String, ActionSettings>,
    /// `pcmk_delay_base`: waited before `off` and `reboot`.
    delay_base: DelayBase,
    /// `pcmk_delay_max`: the whole delay, random part included, is at most this.
    delay_max: Span,
}

/// Which nodes a device can fence.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Hosts {
    /// Any (`pcmk_host_check=none`).
    Any(BTreeMap<String, String>),
    /// These, with the names that the device knows them by.
    Static(BTreeMap<String, String>),
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
    /// A feature that does not exist yet.
    #[error("fence device {device}: not supported yet: {what}")]
    Unsupported {
        /// The device.
        device: String,
        /// What it asks for.
        what: String,
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
        let hosts = match get("pcmk_host_check") {
            Some("static-list") => Hosts::Static(aliases),
            Some("none") => Hosts::Any(aliases),
            Some(other @ ("dynamic-list" | "status")) => {
                let what =
                    format!("pcmk_host_check={other}; name the nodes in pcmk_host_list or pcmk_host_map");
                return Err(DeviceError::Unsupported { device: id.to_owned(), what });
            }
            Some(other) => return Err(bad("pcmk_host_check", other, "static-list or none")),
            // Pacemaker would ask the agent for a list; an agent asked to fence what it does not know fails.
            None if aliases.is_empty() => Hosts::Any(aliases),
            None => Hosts::Static(aliases),
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
            hosts,
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

    /// Whether it can fence this node.
    #[must_use]
    pub fn can_fence(&self, node: &str) -> bool {
        match &self.hosts {
            Hosts::Any(_) => true,
            Hosts::Static(aliases) => aliases.contains_key(node),
        }
    }

    /// The call for one victim. `timeout` is the cluster's `stonith-timeout`.
    #[must_use]
    pub fn call(&self, action: &str, node: &str, node_id: u32, timeout: Span) -> Call {
        let settings = self.actions.get(action);
        let mut params = vec![("nodename".to_owned(), node.to_owned())];
        if node_id != 0 {
            params.push(("nodeid".to_owned(), node_id.to_string()));
        }
        let (Hosts::Any(aliases) | Hosts::Static(aliases)) = &self.hosts;
        let alias = aliases.get(node).map_or(node, String::as_str);
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
        let settings = self.actions.get("monitor");
        Call {
            agent: self.agent.clone(),
            action: settings.and_then(|s| s.substitute.clone()).unwrap_or_else(|| "monitor".to_owned()),
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
            assert_eq!((device.can_fence("n1"), device.can_fence("other")), (n1, other), "{params:?}");
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
                "fence device d: pcmk_host_check=\"maybe\" is not valid; write static-list or none",
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
