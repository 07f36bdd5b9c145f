//! Which node each resource gets, by scores.

mod bundle;
mod clone;
mod colocate;
mod criteria;
mod group;
pub(crate) mod nodes;
mod order;
mod primitive;
mod promote;
pub(crate) mod trace;
mod utilization;

use std::fmt::Write;

use crate::model::{Flags, ResourceId, Variant, WorkingSet};

impl WorkingSet<'_> {
    /// Reads the constraints and places every resource.
    pub fn place(&mut self) {
        for node in &mut self.nodes {
            node.named = node.attributes.contains_key("#uname");
        }
        self.carry_out_orders();
        self.apply_node_health();
        self.read_constraints();
        self.apply_node_criteria();
        self.add_internal_constraints();
        self.check_changes();
        if self.strategy() != nodes::Strategy::Default {
            self.sort_resources();
        }
        for pass in [true, false] {
            for id in self.top.clone() {
                if self.resource(id).is_connection == pass {
                    let prefer = self.resource(id).partial_migration.map(|(_, target)| target);
                    self.assign(id, prefer.filter(|_| pass));
                }
            }
        }
    }

    /// The scores by which resources were placed, one a line.
    #[must_use]
    pub fn scores(&self) -> &str {
        &self.scores
    }

    /// Places a resource, and what it depends on before; where it is.
    pub(crate) fn assign(
        &mut self,
        id: ResourceId,
        prefer: Option<crate::model::NodeId>,
    ) -> Option<crate::model::NodeId> {
        match self.resource(id).variant {
            Variant::Primitive => self.assign_primitive(id, prefer),
            Variant::Group => self.assign_group(id, prefer),
            Variant::Clone(_) => self.assign_clone(id),
            Variant::Bundle(_) => self.assign_bundle(id),
        }
    }

    /// Writes the scores of a resource and all of its parts down, as they are now.
    pub(crate) fn show_scores(&mut self, id: ResourceId, label: &'static str) {
        let resource = self.resource(id);
        if resource.is(Flags::ORPHAN) {
            return;
        }
        let mut lines = String::new();
        for node in &self.by_name {
            if let Some(Some(score)) = resource.allowed.get(node.0 as usize) {
                let _ = writeln!(
                    lines,
                    "{label}: {} allocation score on {}: {score}",
                    resource.id,
                    self.node(*node).name
                ); // a String takes everything
            }
        }
        self.scores.push_str(&lines);
        if self.trace.is_some() {
            self.note_shown(id, label);
        }
        for child in self.resource(id).children.clone() {
            self.show_scores(child, label);
        }
    }
}
