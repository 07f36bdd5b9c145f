//! A graph as Pacemaker's tools write it, blank by blank.

use super::{Action, Descriptor, Graph, Head, Synapse};

impl Graph {
    /// As an XML document without a declaration, ending in a newline.
    #[must_use]
    pub fn to_xml(&self) -> String {
        let mut whole = String::new();
        let done: Result<(), std::convert::Infallible> = self.pieces(|piece| {
            whole.push_str(piece);
            Ok(())
        });
        match done {
            Ok(()) => whole,
        }
    }

    /// The same, synapse by synapse: a large graph need not be in memory as text at once.
    ///
    /// # Errors
    /// The first one of `to`.
    pub fn write_xml(&self, to: &mut impl std::io::Write) -> std::io::Result<()> {
        self.pieces(|piece| to.write_all(piece.as_bytes()))
    }

    fn pieces<E>(&self, mut to: impl FnMut(&str) -> Result<(), E>) -> Result<(), E> {
        let mut out = Text(String::new());
        out.open(0, "transition_graph");
        self.head.attributes(&mut out);
        if self.synapses.is_empty() {
            out.0.push_str("/>\n");
            return to(&out.0);
        }
        out.0.push_str(">\n");
        for (number, synapse) in self.synapses.iter().enumerate() {
            self.synapse(number, synapse, &mut out);
            to(&out.0)?;
            out.0.clear();
        }
        to("</transition_graph>\n")
    }

    fn synapse(&self, number: usize, synapse: &Synapse, out: &mut Text) {
        out.open(1, "synapse");
        out.attribute("id", &number.to_string());
        if synapse.priority > 0 {
            out.attribute("priority", &synapse.priority.to_string());
        }
        out.0.push_str(">\n    <action_set>\n");
        if let Some(action) = self.actions.get(synapse.action) {
            action.whole(out);
        }
        out.0.push_str("    </action_set>\n");
        let inputs = || synapse.inputs.iter().filter_map(|at| self.actions.get(*at));
        if inputs().next().is_none() {
            out.0.push_str("    <inputs/>\n");
        } else {
            out.0.push_str("    <inputs>\n");
            for input in inputs() {
                out.0.push_str("      <trigger>\n");
                input.header(4, out);
                out.0.push_str("/>\n      </trigger>\n");
            }
            out.0.push_str("    </inputs>\n");
        }
        out.0.push_str("  </synapse>\n");
    }
}

impl Head {
    fn attributes(&self, out: &mut Text) {
        out.attribute("cluster-delay", &self.cluster_delay);
        out.attribute("stonith-timeout", &self.stonith_timeout);
        out.attribute("failed-stop-offset", &self.failed_stop_offset);
        out.attribute("failed-start-offset", &self.failed_start_offset);
        out.attribute("batch-limit", &self.batch_limit);
        out.attribute("transition_id", &self.transition_id);
        out.optional("migration-limit", self.migration_limit.as_deref());
        out.optional("recheck-by", self.recheck_by.as_deref());
    }
}

impl Action {
    /// Its element up to where that ends or has children: an input has no more.
    fn header(&self, depth: usize, out: &mut Text) {
        out.open(depth, self.kind.as_str());
        if self.in_cib {
            out.attribute("mode", "cib");
        }
        out.attribute("id", &self.id.to_string());
        out.attribute("operation", &self.operation);
        out.attribute("operation_key", &self.key);
        out.optional("internal_operation_key", self.internal_key.as_deref());
        if let Some(node) = &self.node {
            out.attribute("on_node", &node.name);
            out.attribute("on_node_uuid", &node.uuid);
        }
        out.optional("router_node", self.router.as_deref());
    }

    fn whole(&self, out: &mut Text) {
        self.header(3, out);
        out.optional("shutdown-lock", self.shutdown_lock.as_deref());
        out.0.push_str(">\n");
        if let Some(resource) = &self.resource {
            resource.write(out);
        }
        out.open(4, "attributes");
        let is_plain = |name: &&String| cib::is_xml_name(name);
        for (name, value) in self.attributes.iter().filter(|(name, _)| is_plain(name)) {
            out.attribute(name, value);
        }
        let mut others = self.attributes.iter().filter(|(name, _)| !is_plain(name)).peekable();
        if others.peek().is_none() {
            out.0.push_str("/>\n");
        } else {
            out.0.push_str(">\n");
            for (name, value) in others {
                out.open(5, "param");
                out.attribute("name", name);
                out.attribute("value", value);
                out.0.push_str("/>\n");
            }
            out.0.push_str("        </attributes>\n");
        }
        if !self.downed.is_empty() {
            out.0.push_str("        <downed>\n");
            for id in &self.downed {
                out.open(5, "node");
                out.attribute("id", id);
                out.0.push_str("/>\n");
            }
            out.0.push_str("        </downed>\n");
        }
        if !self.maintenance.is_empty() {
            out.0.push_str("        <maintenance>\n");
            for (id, on) in &self.maintenance {
                out.open(5, "node");
                out.attribute("id", id);
                out.attribute("node_in_maintenance", if *on { "1" } else { "0" });
                out.0.push_str("/>\n");
            }
            out.0.push_str("        </maintenance>\n");
        }
        out.0.push_str("      </");
        out.0.push_str(self.kind.as_str());
        out.0.push_str(">\n");
    }
}

impl Descriptor {
    fn write(&self, out: &mut Text) {
        out.open(4, "primitive");
        out.attribute("id", &self.id);
        out.optional("long-id", self.long_id.as_deref());
        out.attribute("class", &self.class);
        out.optional("provider", self.provider.as_deref());
        out.attribute("type", &self.kind);
        out.0.push_str("/>\n");
    }
}

/// What has been written.
struct Text(String);

impl Text {
    fn open(&mut self, depth: usize, name: &str) {
        for _ in 0..depth {
            self.0.push_str("  ");
        }
        self.0.push('<');
        self.0.push_str(name);
    }

    fn attribute(&mut self, name: &str, value: &str) {
        self.0.push(' ');
        self.0.push_str(name);
        self.0.push_str("=\"");
        // The peer writes newlines and the like as two characters that no reader takes back: here they are references.
        cib::escape(value, &mut self.0);
        self.0.push('"');
    }

    fn optional(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.attribute(name, value);
        }
    }
}
