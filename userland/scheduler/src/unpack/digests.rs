//! Whether an operation of the history was done with the parameters that the configuration has now: digests of them, as Pacemaker
//! writes them down with each result.

use std::collections::BTreeMap;
use std::rc::Rc;

use cib::{Attributes, Element, Facts, Precedence, collect, md5_hex};

use crate::model::{NodeId, ResourceId, WorkingSet};

use super::operation::Operation;

/// What has become of the parameters of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parameters {
    /// They are what they were.
    Unchanged,
    /// The history does not say what they were.
    Unknown,
    /// Some have changed; an agent that can take them without a restart may do so, and a recurring operation is begun anew.
    Changed,
    /// Some have changed that need a restart.
    Restart,
}

/// Digests of the parameters that an operation would have now.
#[derive(Clone, Debug, Default)]
pub(crate) struct Digests {
    /// Of all parameters.
    pub(crate) all: String,
    /// Of those that are no secrets.
    pub(crate) secure: String,
    /// Of those that an agent cannot take over while it runs; `None`: the history keeps none to compare with.
    pub(crate) restart: Option<String>,
    /// The operation has parameters of its own, and does not recur: a change of any of them needs a restart.
    own_parameters: bool,
}

/// Digests that were computed already, by node, resource and key of the operation.
pub(crate) type Computed = BTreeMap<(NodeId, ResourceId, String), Rc<Digests>>;

/// Names that are no parameters, wherever they come from.
const NO_PARAMETERS: [&str; 6] =
    ["id", "crm_feature_set", "op-digest", "on_node", "on_node_uuid", "pcmk_external_ip"];

impl<'c> WorkingSet<'c> {
    /// What has become of the parameters of an entry of the history.
    ///
    /// Of two entries of one operation the first one says which parameters are secrets, or can be reloaded.
    pub(crate) fn compare_parameters(
        &mut self,
        id: ResourceId,
        node: NodeId,
        entry: &Operation<'c>,
    ) -> Parameters {
        let digests = self.digests(id, node, entry.task, entry.interval_ms, Some(entry.xml));
        let was = |name: &str| entry.xml.get(name);
        if let (Some(was), Some(now)) = (was("op-restart-digest"), &digests.restart)
            && was != now
        {
            return Parameters::Restart;
        }
        match was("op-digest") {
            None => Parameters::Unknown,
            Some(was) if was == digests.all => Parameters::Unchanged,
            Some(_) if digests.own_parameters => Parameters::Restart,
            Some(_) => Parameters::Changed,
        }
    }

    /// Whether nothing but secrets is different, which a copy of a configuration without them cannot tell from no change.
    pub(crate) fn only_secrets_changed(
        &mut self,
        id: ResourceId,
        node: NodeId,
        entry: &Operation<'c>,
    ) -> bool {
        let digests = self.digests(id, node, entry.task, entry.interval_ms, Some(entry.xml));
        entry.xml.get("op-secure-digest") == Some(&digests.secure)
    }

    /// Digests of the parameters that a resource would be started with on a node: of all, and of those that are no secrets by
    /// their names (`passwd`, `password`, `user`). `None`: one of them is not known.
    pub fn start_digests(&mut self, resource: &str, node: &str) -> Option<(String, String)> {
        let (resource, node) = (self.find_resource(resource)?, self.node_named(node)?);
        let digests = self.compute_digests(resource, node, "start", 0, None);
        Some((digests.all, digests.secure))
    }

    /// Digests of what a fence device would be given to unfence a node: compared with what the node says it was unfenced with.
    pub(crate) fn unfencing_digests(&mut self, id: ResourceId, node: NodeId) -> Rc<Digests> {
        self.digests(id, node, "stonith-on", 0, None)
    }

    /// Whether parameters cannot be known before resources have their nodes: those of a connection to a replica that has no
    /// address of its own.
    pub(crate) fn needs_host_name(&self, id: ResourceId) -> bool {
        self.resource(id).is_connection
            && self.parameters(id, None).get("addr").is_some_and(|a| a.eq_ignore_ascii_case("#uname"))
    }

    /// The address of such a connection: the name of the node where its container will be, or is.
    pub(crate) fn host_name(&self, id: ResourceId) -> Option<&str> {
        let container = self.resource(id).container?;
        let host = self.resource(container).assigned.or_else(|| self.current_node(container))?;
        Some(&self.node(host).name)
    }

    fn digests(
        &mut self,
        id: ResourceId,
        node: NodeId,
        task: &str,
        interval_ms: u64,
        entry: Option<&Element>,
    ) -> Rc<Digests> {
        let key = (node, id, format!("{task}_{interval_ms}"));
        if let Some(computed) = self.digests.get(&key) {
            return Rc::clone(computed);
        }
        let computed = Rc::new(self.compute_digests(id, node, task, interval_ms, entry));
        self.digests.insert(key, Rc::clone(&computed));
        computed
    }

    fn compute_digests(
        &self,
        id: ResourceId,
        node: NodeId,
        task: &str,
        interval_ms: u64,
        entry: Option<&Element>,
    ) -> Digests {
        let attributes = &self.node(node).attributes;
        let own = self.parameters_of_operation(id, attributes, task, interval_ms);
        let resources = self.parameters(id, Some(attributes));
        // What comes first stays.
        let mut all: BTreeMap<&str, &str> = BTreeMap::new();
        if self.needs_host_name(id)
            && let Some(name) = self.host_name(id)
        {
            all.insert("addr", name);
        }
        for (name, value) in resources.iter().chain(&own) {
            all.entry(name).or_insert(value);
        }
        let with_meta = all.clone();
        all.retain(|name, _| is_parameter(name));
        let timeout = self.timeout_of(id, node, task, interval_ms).to_string();
        if interval_ms > 0 {
            let given = with_meta.get("CRM_meta_timeout").copied();
            all.insert("CRM_meta_timeout", given.unwrap_or(&timeout));
        }
        let secrets = match entry {
            None => Some(" passwd password user "),
            Some(entry) => entry.get("op-secure-params"),
        };
        // As the attribute has it: with a blank on both sides of each name.
        let named = |list: &str, name: &str| list.contains(&format!(" {name} "));
        let open: BTreeMap<&str, &str> = if self.is_before_secure_timeouts(entry) {
            let of_device = |name: &str| self.resource(id).class == "stonith" && is_of_fencing(name);
            let own = resources.iter().map(|(name, value)| (name.as_str(), value.as_str()));
            own.filter(|(name, _)| is_parameter(name) && !of_device(name)).collect()
        } else {
            all.clone()
        };
        let open =
            open.into_iter().filter(|(name, _)| !secrets.is_some_and(|list| named(list, name))).collect();
        let restart = entry.filter(|e| e.get("op-restart-digest").is_some()).map(|entry| {
            let mut fixed = all.clone();
            if let Some(list) = entry.get("op-force-restart") {
                fixed.retain(|name, _| named(list, name));
            }
            digest(&fixed)
        });
        Digests {
            all: digest(&all),
            secure: digest(&open),
            restart,
            own_parameters: interval_ms == 0 && !own.is_empty(),
        }
    }

    /// Parameters that are given for one operation only.
    pub(crate) fn parameters_of_operation(
        &self,
        id: ResourceId,
        node: &Attributes,
        task: &str,
        interval_ms: u64,
    ) -> Attributes {
        let mut own = Attributes::new();
        if let Some(op) = self.configured_operation(id, task, interval_ms) {
            let facts = Facts { node: Some(node), ..self.facts() };
            let kind = "instance_attributes";
            collect(&self.ids, op, kind, &facts, None, Precedence::First, &mut own);
        }
        own
    }

    /// How long an operation may take, in milliseconds.
    pub(crate) fn timeout_of(&self, id: ResourceId, node: NodeId, task: &str, interval_ms: u64) -> u64 {
        let resource = self.resource(id);
        let probe = task == "monitor" && interval_ms == 0;
        if resource.class == "stonith" && (task == "start" || probe) {
            let parameters = self.parameters(id, Some(&self.node(node).attributes));
            if let Some(timeout) = parameters.get("pcmk_monitor_timeout") {
                return milliseconds(timeout);
            }
        }
        let meta = self.operation_meta(id, task, interval_ms);
        meta.get("timeout").map_or(DEFAULT_TIMEOUT_MS, |timeout| milliseconds(timeout))
    }

    /// Results of before feature set 3.16.0 say nothing of timeouts where secrets are left out.
    fn is_before_secure_timeouts(&self, entry: Option<&Element>) -> bool {
        let version =
            entry.and_then(|e| e.get("crm_feature_set")).or_else(|| self.root.get("crm_feature_set"));
        let number = |text: &str| text.parse::<u32>().unwrap_or(0);
        version.is_some_and(|v| v.split('.').map(number).collect::<Vec<_>>() < vec![3, 16, 0])
    }
}

const DEFAULT_TIMEOUT_MS: u64 = 20_000;

/// A length of time as timeouts have it: one that makes no sense is the default.
fn milliseconds(text: &str) -> u64 {
    let text = text.trim_start();
    if text.starts_with('P') {
        DEFAULT_TIMEOUT_MS
    } else {
        cib::parse_duration_ms(text).unwrap_or(DEFAULT_TIMEOUT_MS)
    }
}

fn is_parameter(name: &str) -> bool {
    !name.starts_with("CRM_meta_") && !NO_PARAMETERS.contains(&name)
}

/// Parameters of fence devices that are the cluster's, and not the agent's.
fn is_of_fencing(name: &str) -> bool {
    let Some(rest) = name.strip_prefix("pcmk_") else {
        return matches!(name, "provides" | "stonith-timeout");
    };
    matches!(
        rest,
        "action_limit"
            | "delay_base"
            | "delay_max"
            | "host_argument"
            | "host_check"
            | "host_list"
            | "host_map"
    ) || rest.split_once('_').is_some_and(|(_, what)| matches!(what, "action" | "timeout" | "retries"))
}

/// The digest of parameters in the order of their names: of a line of XML, with a blank before it.
pub(crate) fn digest(parameters: &BTreeMap<&str, &str>) -> String {
    let mut text = String::from(" <parameters");
    for (name, value) in parameters {
        text.push(' ');
        text.push_str(name);
        text.push_str("=\"");
        escape(value, &mut text);
        text.push('"');
    }
    text.push_str("/>\n");
    md5_hex(text.as_bytes())
}

/// What has a meaning in XML is written otherwise, as is what cannot be printed. Behind the first letter that is not of ASCII
/// everything stays as it is: a quirk that digests all over the world depend on.
fn escape(value: &str, into: &mut String) {
    let plain = value.find(|c: char| !c.is_ascii()).unwrap_or(value.len());
    for c in value[..plain].chars() {
        match c {
            '<' => into.push_str("&lt;"),
            '>' => into.push_str("&gt;"),
            '"' => into.push_str("&quot;"),
            '\'' => into.push_str("&apos;"),
            '&' => into.push_str("&amp;"),
            '\t' => into.push_str("    "),
            '\n' => into.push_str("\\n"),
            '\r' => into.push_str("\\r"),
            ' '..='~' => into.push(c),
            other => into.push_str(&format!("\\{:03o}", u32::from(other))),
        }
    }
    into.push_str(&value[plain..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_have_the_digests_that_pacemaker_writes() {
        // Of nothing at all; known from every cluster.
        assert_eq!(digest(&BTreeMap::new()), "f2317cad3d54cec5d7d7aa7d0bf35cf8");
    }

    #[test]
    fn what_means_something_in_xml_is_written_otherwise_up_to_the_first_foreign_letter() {
        let written = |value: &str| {
            let mut text = String::new();
            escape(value, &mut text);
            text
        };
        assert_eq!(written("a<b>&\"'\t\n\r\x7f~"), "a&lt;b&gt;&amp;&quot;&apos;    \\n\\r\\177~");
        assert_eq!(written("<\u{e9}<"), "&lt;\u{e9}<");
    }
}
