//! A graph from a file: the peer's, or one of ours.

use std::collections::BTreeMap;

use cib::{CibError, Element};

use super::{Action, Descriptor, Graph, Head, Kind, Place, Synapse};

/// A document is no graph that could be carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotAGraph(String);

impl std::fmt::Display for NotAGraph {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}; give a file that `crm_simulate --save-graph` wrote", self.0)
    }
}
impl std::error::Error for NotAGraph {}

impl From<CibError> for NotAGraph {
    fn from(error: CibError) -> Self {
        Self(error.to_string())
    }
}

impl Graph {
    /// Reads a document; `file` is its name in messages.
    ///
    /// # Errors
    /// When it is not well-formed, is no graph, or has two actions of one number.
    pub fn parse(text: &str, file: &str) -> Result<Self, NotAGraph> {
        let root = Element::parse(text, file)?;
        if root.name != "transition_graph" {
            return Err(NotAGraph(format!("{file}: the document's top element is <{}>", root.name)));
        }
        let fail = |element: &Element, what: &str| {
            Err(NotAGraph(format!("{file}:{}: <{}> {what}", element.position.line, element.name)))
        };
        let mut graph = Self { head: Head::read(&root), ..Self::default() };
        let mut by_id = BTreeMap::new();
        for synapse in root.children_named("synapse") {
            let actions = synapse.child("action_set").map_or(&[][..], |set| &set.children);
            let [action] = actions else { return fail(synapse, "has not one action, as all graphs have") };
            let Some(read) = Action::read(action, true) else { return fail(action, "is no action") };
            if by_id.insert(read.id, graph.actions.len()).is_some() {
                return fail(action, "has the number of another action");
            }
            let priority = synapse.get("priority").and_then(|p| p.parse().ok()).unwrap_or(0);
            graph.synapses.push(Synapse { priority, action: graph.actions.len(), inputs: Vec::new() });
            graph.actions.push(read);
        }
        for (at, synapse) in root.children_named("synapse").enumerate() {
            let inputs = synapse.child("inputs").map_or(&[][..], |inputs| &inputs.children);
            for input in inputs.iter().flat_map(|trigger| &trigger.children) {
                let Some(read) = Action::read(input, false) else { return fail(input, "is no action") };
                let place = *by_id.entry(read.id).or_insert_with(|| {
                    graph.actions.push(read);
                    graph.actions.len() - 1
                });
                graph.synapses[at].inputs.push(place);
            }
        }
        Ok(graph)
    }
}

impl Head {
    fn read(root: &Element) -> Self {
        let optional = |name: &str| root.get(name).map(str::to_owned);
        let default = Self::default();
        let or = |name: &str, default: String| optional(name).unwrap_or(default);
        Self {
            cluster_delay: or("cluster-delay", default.cluster_delay),
            stonith_timeout: or("stonith-timeout", default.stonith_timeout),
            failed_stop_offset: or("failed-stop-offset", default.failed_stop_offset),
            failed_start_offset: or("failed-start-offset", default.failed_start_offset),
            batch_limit: or("batch-limit", default.batch_limit),
            transition_id: or("transition_id", default.transition_id),
            migration_limit: optional("migration-limit"),
            recheck_by: optional("recheck-by"),
        }
    }
}

impl Action {
    /// One element; of an input only what tells it from others.
    fn read(xml: &Element, whole: bool) -> Option<Self> {
        let kind = Kind::ALL.into_iter().find(|kind| kind.as_str() == xml.name)?;
        let owned = |name: &str| xml.get(name).map(str::to_owned);
        let mut action =
            Self::new(xml.id()?.parse().ok()?, kind, owned("operation")?, owned("operation_key")?);
        action.internal_key = owned("internal_operation_key");
        action.node = owned("on_node").zip(owned("on_node_uuid")).map(|(name, uuid)| Place { name, uuid });
        action.router = owned("router_node");
        action.shutdown_lock = owned("shutdown-lock");
        action.in_cib = xml.get("mode") == Some("cib");
        if !whole {
            return Some(action);
        }
        action.resource = xml.child("primitive").map(Descriptor::read);
        if let Some(attributes) = xml.child("attributes") {
            let named = attributes.children_named("param").filter_map(|p| {
                Some((p.get("name")?.to_owned(), p.get("value").unwrap_or_default().to_owned()))
            });
            let plain = attributes.attributes.iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
            action.attributes = plain.chain(named).collect();
        }
        let nodes = |name: &str| xml.child(name).map_or(&[][..], |list| &list.children);
        action.downed = nodes("downed").iter().filter_map(|n| n.id().map(str::to_owned)).collect();
        action.maintenance = nodes("maintenance")
            .iter()
            .filter_map(|n| Some((n.id()?.to_owned(), n.get("node_in_maintenance") == Some("1"))))
            .collect();
        Some(action)
    }
}

impl Descriptor {
    fn read(xml: &Element) -> Self {
        let owned = |name: &str| xml.get(name).map(str::to_owned);
        Self {
            id: owned("id").unwrap_or_default(),
            long_id: owned("long-id"),
            class: owned("class").unwrap_or_default(),
            provider: owned("provider"),
            kind: owned("type").unwrap_or_default(),
        }
    }
}
