//! Which node each resource gets, by scores.

mod bundle;
mod clone;
mod colocate;
mod criteria;
mod group;
pub(crate) mod nodes;
mod order;
mod primitive;
pub(crate) mod promote;
pub(crate) mod trace;
mod utilization;

use std::cell::Cell;
use std::fmt::Write;

use crate::model::{Flags, ResourceId, Variant, WorkingSet};

/// How far colocations are followed, from one resource to the next. All ways through a net of them are gone, and there are as many as
/// orders of its members: what Pacemaker takes seconds for with nine resources and years with fifteen has to end here.
#[derive(Debug)]
pub(crate) struct Patience(Cell<u32>);

/// Most steps of a run. A net of nine resources with each other takes a million, and so does a chain of 1,400; any other
/// configuration a few thousand.
const STEPS_MAX: u32 = 2_000_000;
/// When less than this is left of the stack, there is another one: a chain of colocations may be as long as there are resources.
const RED_ZONE: usize = 128 * 1024;
/// How large that is.
const STACK: usize = 4 * 1024 * 1024;

impl Default for Patience {
    fn default() -> Self {
        Self(Cell::new(STEPS_MAX))
    }
}

impl Patience {
    /// Whether one step further is not too far.
    fn step(&self) -> bool {
        let left = self.0.get();
        self.0.set(left.saturating_sub(1));
        left > 0
    }
}

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
        self.show_capacities("Original");
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
        self.show_capacities("Remaining");
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
        stacker::maybe_grow(RED_ZONE, STACK, || self.assign_by_variant(id, prefer))
    }

    fn assign_by_variant(
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
