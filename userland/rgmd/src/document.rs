//! The whole CIB as all members know it: the configuration, and the status made from the replicated state, in Pacemaker's
//! form. Who reads it, the scheduler first, sees what Pacemaker's controller would have written.

use cib::Element;

use crate::manager::Manager;
use crate::replica::{Node, Standing};

/// What a version of Pacemaker with this language is called; tools ask for it.
pub(crate) const DC_VERSION: &str = "2.1.5-holdfast";

impl Manager {
    /// Configuration and status.
    #[must_use]
    pub fn document(&self) -> Element {
        let mut root = self.replica.cib.tree().clone();
        root.attributes.insert("crm_feature_set", crate::history::FEATURE_SET);
        root.attributes.insert("have-quorum", if self.quorate { "1" } else { "0" });
        if let Some(dc) = self.replica.dc() {
            root.attributes.insert("dc-uuid", dc.to_string());
        }
        self.name_nodes(&mut root);
        self.name_cluster(&mut root);
        root.children.retain(|c| c.name != "status");
        let mut status = Element::new("status");
        let nodes = self.replica.nodes.iter();
        status.children.extend(nodes.filter_map(|(id, node)| self.node_state(*id, node)));
        root.children.push(status);
        root
    }

    /// Only this node, with quorum or without it; `leaves`: it shall run nothing any more.
    pub(crate) fn own_document(&self, quorate: bool, leaves: bool) -> Element {
        let mut root = self.replica.cib.tree().clone();
        root.attributes.insert("crm_feature_set", crate::history::FEATURE_SET);
        root.attributes.insert("have-quorum", if quorate { "1" } else { "0" });
        root.attributes.insert("dc-uuid", self.config.me.to_string());
        self.name_nodes(&mut root);
        root.children.retain(|c| c.name != "status");
        let mut status = Element::new("status");
        for (id, node) in &self.replica.nodes {
            let mut state = node_state(*id, &node.name, *id == self.config.me);
            if *id == self.config.me {
                let shutdown = ("shutdown", (self.now.wall.0 / 1_000_000).to_string());
                let own = if leaves { vec![shutdown] } else { Vec::new() };
                state.children.extend(self.replica.attributes.element(*id, &own));
                let mut resources = Element::new("lrm_resources");
                resources.children.extend(self.local.truth.values().map(crate::history::History::element));
                state.children.push(lrm(*id, resources));
            }
            status.children.push(state);
        }
        root.children.push(status);
        root
    }

    /// Every node that is known stands in the configuration.
    fn name_nodes(&self, root: &mut Element) {
        let nodes = root.child_mut("configuration").child_mut("nodes");
        for (id, node) in &self.replica.nodes {
            let id = id.to_string();
            let known = |n: &Element| n.id() == Some(&id) || n.get("uname") == Some(&node.name);
            if !nodes.children.iter().any(known) {
                nodes.children.push(Element::new("node").with("id", &id).with("uname", &node.name));
            }
        }
    }

    /// What tools want to know of the cluster stands among its options, as they expect it.
    fn name_cluster(&self, root: &mut Element) {
        let options = root.child_mut("configuration").child_mut("crm_config");
        let at = options.children.iter().position(|s| s.id() == Some(BOOTSTRAP)).unwrap_or_else(|| {
            options.children.push(Element::new("cluster_property_set").with("id", BOOTSTRAP));
            options.children.len() - 1
        });
        let set = &mut options.children[at];
        let facts = [
            ("have-watchdog", "false"),
            ("dc-version", DC_VERSION),
            ("cluster-infrastructure", "corosync"),
            ("cluster-name", self.config.cluster_name.as_str()),
        ];
        for (name, value) in facts.into_iter().filter(|(_, value)| !value.is_empty()) {
            if set.children.iter().any(|p| p.get("name") == Some(name)) {
                continue;
            }
            let id = format!("{BOOTSTRAP}-{name}");
            set.children.push(Element::new("nvpair").with("id", &id).with("name", name).with("value", value));
        }
    }

    /// How a node stands. `None`: nothing was heard of it, and it may be running anything.
    fn node_state(&self, id: u32, node: &Node) -> Option<Element> {
        let mut state = match &node.standing {
            Standing::Online => node_state(id, &node.name, true),
            Standing::Left | Standing::Dead => node_state(id, &node.name, false),
            Standing::Never if self.unseen(id).is_none_or(|(_, fence)| !fence) => {
                node_state(id, &node.name, false)
            }
            Standing::Never => return None,
            Standing::Unclean(_) => {
                let mut state = node_state(id, &node.name, false);
                state.attributes.insert("join", "member");
                state.attributes.insert("expected", "member");
                state
            }
        };
        let mut own = Vec::new();
        if node.standing == Standing::Online {
            own.push(("#feature-set", crate::history::FEATURE_SET.to_owned()));
        }
        own.extend(node.leaving.map(|at| ("shutdown", at.to_string())));
        state.children.extend(self.replica.attributes.element(id, &own));
        let resources = Element { children: node.history.elements(), ..Element::new("lrm_resources") };
        if node.standing == Standing::Online || !resources.children.is_empty() {
            state.children.push(lrm(id, resources));
        }
        Some(state)
    }
}

fn node_state(id: u32, name: &str, up: bool) -> Element {
    let [ccm, crmd, join] = if up { ["true", "online", "member"] } else { ["false", "offline", "down"] };
    Element::new("node_state")
        .with("id", &id.to_string())
        .with("uname", name)
        .with("in_ccm", ccm)
        .with("crmd", crmd)
        .with("crm-debug-origin", "rgmd")
        .with("join", join)
        .with("expected", join)
}

fn lrm(id: u32, resources: Element) -> Element {
    let mut lrm = Element::new("lrm").with("id", &id.to_string());
    lrm.children.push(resources);
    lrm
}

const BOOTSTRAP: &str = "cib-bootstrap-options";
