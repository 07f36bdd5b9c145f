//! Nodes of the configuration.

use cib::{Attributes, Element, Precedence, Score, collect};

use crate::model::node::compare_names;
use crate::model::{Node, NodeId, NodeKind, WorkingSet};

impl<'c> WorkingSet<'c> {
    pub(super) fn read_nodes(&mut self, section: &'c Element) {
        for element in section.children_named("node") {
            let (Some(id), name) = (element.id(), element.get("uname")) else { continue };
            let Some(name) = name else { continue };
            let kind = match element.get("type") {
                None | Some("member" | "normal") => NodeKind::Member,
                Some("remote") => NodeKind::Remote,
                Some(_) => NodeKind::Ping,
            };
            let score = element.get("score").map_or(Score::ZERO, |s| self.options.health_score(s));
            let node = self.add_node(Node::new(id, name, kind, score));
            // A remote node is looked for only once there is a connection to it.
            if kind != NodeKind::Remote {
                self.await_first_sign(node);
            }
            self.add_attributes(node, Some(element), false);
            let mut utilization = Attributes::new();
            let facts = self.facts();
            collect(&self.ids, element, "utilization", &facts, None, Precedence::First, &mut utilization);
            self.node_mut(node).utilization = utilization;
        }
    }

    /// Puts a node into both tables.
    pub(super) fn add_node(&mut self, node: Node) -> NodeId {
        let id = NodeId(self.nodes.len() as u32);
        let at = self
            .by_name
            .iter()
            .position(|n| compare_names(&self.node(*n).name, &node.name).is_gt())
            .unwrap_or(self.by_name.len());
        self.nodes.push(node);
        self.by_name.insert(at, id);
        id
    }

    /// Until a state is read nothing is known of a node, which with fencing at startup is reason enough to fence it.
    pub(super) fn await_first_sign(&mut self, node: NodeId) {
        let unclean = self.options.startup_fencing;
        let node = self.node_mut(node);
        (node.unclean, node.unseen) = (unclean, true);
    }

    /// Attributes of a `node` or of its `transient_attributes`, if it has any; those of the status are stronger.
    pub(super) fn add_attributes(&mut self, node: NodeId, element: Option<&Element>, transient: bool) {
        let dc = self.root.get("dc-uuid");
        let cluster_name = self.options.all.get("cluster-name").cloned();
        let is_dc = dc == Some(self.node(node).id.as_str());
        if is_dc {
            self.dc = Some(node);
        }
        let known = self.node(node);
        let mut attributes = known.attributes.clone();
        attributes.insert("#uname".into(), known.name.clone());
        attributes.insert("#id".into(), known.id.clone());
        attributes.insert("#is_dc".into(), is_dc.to_string());
        if !attributes.contains_key("#kind") {
            let kind = if known.kind == NodeKind::Remote { "remote" } else { "cluster" };
            attributes.insert("#kind".into(), kind.into());
        }
        if let Some(name) = &cluster_name {
            attributes.insert("#cluster-name".into(), name.clone());
        }
        if let Some(element) = element {
            let precedence = if transient { Precedence::Last } else { Precedence::First };
            let kind = "instance_attributes";
            collect(&self.ids, element, kind, &self.facts(), None, precedence, &mut attributes);
        }
        if !attributes.contains_key("#site-name") {
            let site = attributes.get("site-name").cloned().or(cluster_name);
            attributes.extend(site.map(|site| ("#site-name".to_owned(), site)));
        }
        let known = self.node_mut(node);
        known.attributes = attributes;
        known.failures = std::cell::OnceCell::new();
    }
}
