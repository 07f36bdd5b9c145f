//! The document that a simulation changes, with what it is asked for often found by name.

use cib::{Element, Score};
use indexmap::IndexMap;

use super::Event;
use super::history::Operation;
use crate::transition::Descriptor;

/// Who changed a node's state: the tool.
pub(super) const TOOL: &str = "crm_simulate";
/// Who changed it: the part of the peer's tool that fences.
pub(super) const FENCING: &str = "simulate_fencing_action";

/// Classes of agents whose results can be written down.
const CLASSES: [&str; 6] = ["ocf", "stonith", "service", "upstart", "systemd", "lsb"];

/// A CIB.
pub(super) struct Document {
    cib: Element,
    /// Places of node states in the status by the names of their nodes.
    by_name: IndexMap<String, usize>,
    /// Places of resources in the history of a node state.
    histories: IndexMap<usize, IndexMap<String, usize>>,
}

impl Document {
    pub(super) fn new(mut cib: Element) -> Self {
        let mut by_name = IndexMap::new();
        for (at, state) in cib.child_mut("status").children.iter().enumerate() {
            if state.name == "node_state"
                && let Some(name) = state.get("uname")
            {
                by_name.entry(name.to_owned()).or_insert(at);
            }
        }
        Self { cib, by_name, histories: IndexMap::new() }
    }

    pub(super) fn into_cib(self) -> Element {
        self.cib
    }

    pub(super) fn root_mut(&mut self) -> &mut Element {
        &mut self.cib
    }

    pub(super) fn status_mut(&mut self) -> &mut Element {
        self.cib.child_mut("status")
    }

    fn state_mut(&mut self, node: usize) -> &mut Element {
        &mut self.status_mut().children[node]
    }

    /// One change of the status.
    pub(super) fn changed_status(&mut self) {
        raise(&mut self.cib, "num_updates");
    }

    /// One change of anything else.
    pub(super) fn changed_configuration(&mut self) {
        raise(&mut self.cib, "epoch");
        self.cib.attributes.insert("num_updates", "0");
    }

    /// The state of a node of this name and id, made if there is none.
    pub(super) fn node(&mut self, name: &str, id: &str) -> usize {
        if let Some(at) = self.by_name.get(name) {
            return *at;
        }
        let states = &mut self.status_mut().children;
        let known = states.iter().position(|s| s.name == "node_state" && s.id() == Some(id));
        let at = known.unwrap_or_else(|| {
            states.push(Element::new("node_state").with("id", id));
            states.len() - 1
        });
        states[at].attributes.insert("uname", name);
        self.by_name.insert(name.to_owned(), at);
        self.changed_status();
        at
    }

    /// The id of a node of the configuration.
    pub(super) fn configured_node(&self, name: &str) -> Option<&str> {
        let nodes = self.cib.child("configuration")?.child("nodes")?;
        nodes.children.iter().find(|n| n.name == "node" && n.get("uname") == Some(name))?.id()
    }

    /// Brings a node up or down in the eyes of the cluster. One that neither configuration nor status know becomes a node, by
    /// its name.
    pub(super) fn set_node_state(&mut self, name: &str, up: bool, origin: &str) -> usize {
        let node = match (self.by_name.get(name), self.configured_node(name).map(str::to_owned)) {
            (Some(at), _) => *at,
            (None, Some(id)) => self.node(name, &id),
            // What is fenced is known, a remote node by its connection.
            (None, None) if origin == FENCING => self.node(name, name),
            (None, None) => {
                let node = Element::new("node").with("id", name).with("uname", name);
                self.cib.child_mut("configuration").child_mut("nodes").children.push(node);
                self.changed_configuration();
                self.node(name, name)
            }
        };
        let values =
            if up { ["true", "online", "member", "member"] } else { ["false", "offline", "down", "down"] };
        let state = self.state_mut(node);
        for (name, value) in ["in_ccm", "crmd", "join", "expected"].into_iter().zip(values) {
            state.attributes.insert(name, value);
        }
        state.attributes.insert("crm-debug-origin", origin);
        self.changed_status();
        node
    }

    /// A node's processes went on while it left the membership.
    pub(super) fn lose_node(&mut self, name: &str) {
        let node = self.set_node_state(name, true, TOOL);
        self.state_mut(node).attributes.insert("in_ccm", "false");
    }

    /// Drops a node's history and transient attributes, as controllers do for one that left.
    pub(super) fn forget(&mut self, node: usize) {
        for part in ["lrm", "transient_attributes"] {
            let children = &mut self.state_mut(node).children;
            let before = children.len();
            children.retain(|c| c.name != part);
            if children.len() < before {
                self.changed_status();
            }
        }
        self.histories.shift_remove(&node);
    }

    /// The history of a resource on a node: the one under `resource` if there is one, else the one under the descriptor's id,
    /// made if there is none.
    ///
    /// # Errors
    /// When it would have to be made, and the descriptor names no agent that could have one.
    pub(super) fn history(
        &mut self,
        node: usize,
        resource: &str,
        descriptor: &Descriptor,
    ) -> Result<usize, String> {
        if !self.histories.contains_key(&node) {
            let known = self.resources_mut(node).children.iter().enumerate();
            let known = known
                .filter_map(|(at, r)| Some((r.id()?.to_owned(), at)).filter(|_| r.name == "lrm_resource"));
            // Of two with one name the first counts.
            let mut index = IndexMap::new();
            for (id, at) in known {
                index.entry(id).or_insert(at);
            }
            self.histories.insert(node, index);
        }
        let known = &self.histories[&node];
        if let Some(at) = known.get(resource).or_else(|| known.get(&descriptor.id)) {
            return Ok(*at);
        }
        let Descriptor { id, class, provider, kind, .. } = descriptor;
        if class.is_empty() || kind.is_empty() {
            return Err(format!(
                "Resource {resource} has no agent; name a primitive or an instance of a clone"
            ));
        }
        if !CLASSES.iter().any(|known| known.eq_ignore_ascii_case(class)) {
            return Err(format!("Invalid class for {resource}: {class}"));
        }
        if class == "ocf" && provider.is_none() {
            return Err(format!("Please specify the provider for resource {resource}"));
        }
        let mut made = Element::new("lrm_resource").with("id", id).with("class", class);
        if let Some(provider) = provider {
            made = made.with("provider", provider);
        }
        let resources = &mut self.resources_mut(node).children;
        resources.push(made.with("type", kind));
        let at = resources.len() - 1;
        self.histories[&node].insert(id.clone(), at);
        Ok(at)
    }

    pub(super) fn history_mut(&mut self, node: usize, history: usize) -> &mut Element {
        &mut self.resources_mut(node).children[history]
    }

    fn resources_mut(&mut self, node: usize) -> &mut Element {
        let state = self.state_mut(node);
        let id = state.id().unwrap_or_default().to_owned();
        let lrm = state.child_mut("lrm");
        lrm.attributes.or_insert("id", &id);
        lrm.child_mut("lrm_resources")
    }

    /// A failure more of this operation on a node, and when.
    pub(super) fn count_failure(
        &mut self,
        node: usize,
        resource: &str,
        operation: &Operation<'_>,
        events: &mut Vec<Event>,
    ) {
        if operation.rc == 0 {
            return;
        }
        let of = format!("{resource}#{}_{}", operation.task, operation.interval_ms);
        let state = self.state_mut(node);
        let node_id = state.id().unwrap_or_default().to_owned();
        let set = state.child_mut("transient_attributes");
        set.attributes.or_insert("id", &node_id);
        let set = set.child_mut("instance_attributes");
        let set_id = set.attributes.or_insert("id", &node_id).to_owned();
        let mut put = |name: String, value: &dyn Fn(Option<&str>) -> String, said: String| {
            let at = set.children.iter().position(|pair| pair.get("name") == Some(&name));
            let before = at.and_then(|at| set.children[at].get("value"));
            let value = value(before);
            match at {
                Some(at) => {
                    set.children[at].attributes.insert("value", value);
                }
                None => {
                    let id = format!("{set_id}-{}", name.replace([':', '#'], "."));
                    set.children.push(
                        Element::new("nvpair").with("id", &id).with("name", &name).with("value", &value),
                    );
                }
            }
            events.push(Event::Attribute { name, value: said, node_id: node_id.clone() });
        };
        let one_more = |before: Option<&str>| {
            let before = before.and_then(Score::parse).unwrap_or(Score::ZERO);
            (before + Score::new(1)).to_string()
        };
        put(format!("fail-count-{of}"), &one_more, "value++".to_owned());
        let now = operation.clock.0.to_string();
        put(format!("last-failure-{of}"), &|_| now.clone(), now.clone());
    }
}

fn raise(cib: &mut Element, version: &str) {
    let so_far: u64 = cib.get(version).and_then(|v| v.trim().parse().ok()).unwrap_or(0);
    cib.attributes.insert(version, so_far.saturating_add(1).to_string());
}
