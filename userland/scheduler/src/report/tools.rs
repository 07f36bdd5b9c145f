//! What commands that people and agents call ask besides the status: resources by name, where they are, their history and constraints.

use cib::{Attributes, Element, Facts, Precedence, Score, collect};

use crate::constraints::Colocation;
use crate::model::{Flags, Node, NodeId, NodeKind, Resource, ResourceId, Role, Variant, WorkingSet};
use crate::unpack::base_name;

/// A location constraint as it was evaluated.
#[derive(Clone, Debug)]
pub struct LocationView<'s> {
    /// Id of the constraint, or of its rule.
    pub id: &'s str,
    /// Where.
    pub node: &'s Node,
    /// How much.
    pub score: Score,
}

/// A colocation of two resources.
#[derive(Clone, Copy, Debug)]
pub struct ColocationView<'s> {
    /// Id of the constraint or of its set.
    pub id: &'s str,
    /// What is placed by the other one.
    pub dependent: ResourceId,
    /// What it is placed by.
    pub primary: ResourceId,
    /// How much.
    pub score: Score,
    /// The role that it counts for; unknown: all.
    pub dependent_role: Role,
    /// See `dependent_role`.
    pub primary_role: Role,
    /// The node attribute that both have in common.
    pub attribute: Option<&'s str>,
}

/// An operation of the history.
#[derive(Clone, Copy, Debug)]
pub struct HistoryEntry<'c> {
    /// The node's name.
    pub node: &'c str,
    /// The resource, as the history knows it.
    pub resource: &'c str,
    /// The entry.
    pub xml: &'c Element,
}

impl<'c> Resource<'c> {
    /// As it is configured, what it has from a template included.
    #[must_use]
    pub fn element(&self) -> &Element {
        &self.xml
    }
}

impl<'c> WorkingSet<'c> {
    /// A resource of the table.
    #[must_use]
    pub fn resource_at(&self, id: ResourceId) -> &Resource<'c> {
        self.resource(id)
    }

    /// A node of the table.
    #[must_use]
    pub fn node_at(&self, id: NodeId) -> &Node {
        self.node(id)
    }

    /// A node by its name.
    #[must_use]
    pub fn node_by_name(&self, name: &str) -> Option<NodeId> {
        self.node_named(name)
    }

    /// A resource by its id, an instance of an anonymous clone also by the id that all of them have. `any`: that of a unique one
    /// too.
    #[must_use]
    pub fn look_up(&self, id: &str, any: bool) -> Option<ResourceId> {
        self.top.iter().find_map(|top| self.look_below(*top, id, any))
    }

    fn look_below(&self, at: ResourceId, id: &str, any: bool) -> Option<ResourceId> {
        let resource = self.resource(at);
        let by_base = (any || !resource.is(Flags::UNIQUE)) && base_name(&resource.id) == id;
        if resource.id == id || resource.history_name.as_deref() == Some(id) || by_base {
            return Some(at);
        }
        self.parts(at).into_iter().find_map(|part| self.look_below(part, id, any))
    }

    fn parts(&self, id: ResourceId) -> Vec<ResourceId> {
        let resource = self.resource(id);
        match &resource.variant {
            Variant::Bundle(bundle) => {
                let replicas = bundle.replicas.iter();
                let all = replicas.flat_map(|r| [r.ip, r.child, Some(r.container), r.connection]);
                bundle.inside.into_iter().chain(all.flatten()).collect()
            }
            _ => resource.children.clone(),
        }
    }

    /// The outermost resource around one, itself included; inside of a bundle what the bundle holds.
    #[must_use]
    pub fn outermost(&self, id: ResourceId) -> ResourceId {
        self.top_of(id)
    }

    /// The strongest role of a resource and what is inside of it.
    #[must_use]
    pub fn strongest_role(&self, id: ResourceId) -> Role {
        self.role_of(id)
    }

    /// Whether a resource is part of a bundle.
    #[must_use]
    pub fn is_in_bundle(&self, id: ResourceId) -> bool {
        self.is_bundled(id)
    }

    /// All nodes where a resource or a part of it runs.
    #[must_use]
    pub fn runs_on(&self, id: ResourceId) -> Vec<NodeId> {
        let mut nodes = Vec::new();
        self.locations(id, false, &mut nodes);
        nodes
    }

    /// The nodes where a resource counts as active: for one that needs fencing all, else those that can be talked to. The first
    /// is the one that it would be moved from.
    #[must_use]
    pub fn active_on(&self, id: ResourceId) -> Vec<NodeId> {
        let all = self.runs_on(id);
        if self.resource(id).is(Flags::NEEDS_FENCING) {
            return all;
        }
        all.into_iter().filter(|n| self.node(*n).online && !self.node(*n).unclean).collect()
    }

    /// The one node that stands for where a resource runs.
    #[must_use]
    pub fn stands_on(&self, id: ResourceId) -> Option<NodeId> {
        self.current_node(id)
    }

    /// Whether a node is reached over a connection.
    #[must_use]
    pub fn is_remote_node(&self, id: NodeId) -> bool {
        self.node(id).kind == NodeKind::Remote
    }

    /// Whether a node is a guest of a resource.
    #[must_use]
    pub fn is_guest_node(&self, id: NodeId) -> bool {
        self.is_guest(id)
    }

    /// Parameters of a resource as of a node.
    #[must_use]
    pub fn parameters_on(&self, id: ResourceId, node: Option<NodeId>) -> Attributes {
        self.parameters(id, node.map(|n| &self.node(n).attributes))
    }

    /// Utilization of a resource.
    #[must_use]
    pub fn utilization_of(&self, id: ResourceId) -> Attributes {
        let mut all = Attributes::new();
        let facts: Facts<'_> = self.facts();
        let element = self.resource(id).element();
        collect(&self.ids, element, "utilization", &facts, None, Precedence::First, &mut all);
        all
    }

    /// How long an operation may take, in milliseconds.
    #[must_use]
    pub fn timeout_on(&self, id: ResourceId, node: NodeId, task: &str) -> u64 {
        self.timeout_of(id, node, task, 0)
    }

    /// Whether nothing runs on a node because of its health; `None`: on all that the resource may run on.
    #[must_use]
    pub fn is_unhealthy(&self, node: NodeId) -> bool {
        let strategy = self.options.all.get("node-health-strategy").map_or("none", String::as_str);
        let health = self.node(node).attributes.iter().filter(|(name, _)| name.starts_with("#health"));
        let worst = health.map(|(_, value)| self.options.health_score(value)).min().unwrap_or_default();
        match strategy {
            "migrate-on-red" => worst < Score::ZERO,
            "only-green" => worst < Score::ZERO,
            _ => false,
        }
    }

    /// Reads the constraints, which nothing but placing does otherwise. To be called once, and not before placing.
    pub fn read_constraints_only(&mut self) {
        self.read_constraints();
    }

    /// Location constraints of a resource, in the order in which they are applied.
    #[must_use]
    pub fn location_views(&self, id: ResourceId) -> Vec<LocationView<'_>> {
        let all = self.resource(id).locations.iter().map(|at| &self.locations_by_constraint[*at]);
        all.rev()
            .flat_map(|l| {
                l.scores.iter().map(|(node, score)| LocationView {
                    id: &l.id,
                    node: self.node(*node),
                    score: *score,
                })
            })
            .collect()
    }

    /// Colocations of a resource: those in which it is the dependent, then those in which others depend on it.
    #[must_use]
    pub fn colocation_views(&self, id: ResourceId) -> (Vec<ColocationView<'_>>, Vec<ColocationView<'_>>) {
        let views = |which: &[usize]| {
            which.iter().filter_map(|at| view(&self.colocations[*at])).collect::<Vec<ColocationView<'_>>>()
        };
        let resource = self.resource(id);
        (views(&resource.this_with), views(&resource.with_this))
    }

    /// Operations of the history in their order; `since_start`: those from the last start on, none of what was stopped since.
    #[must_use]
    pub fn operations(
        &self,
        resource: Option<&str>,
        node: Option<&str>,
        since_start: bool,
    ) -> Vec<HistoryEntry<'c>> {
        let mut found = Vec::new();
        let Some(status) = self.root.child("status") else { return found };
        for state in status.children_named("node_state") {
            let Some(name) = state.get("uname") else { continue };
            if node.is_some_and(|n| !n.eq_ignore_ascii_case(name)) {
                continue;
            }
            let Some(id) = self.node_named(name) else { continue };
            // What is down runs nothing, unless it is fenced for it.
            if !self.node(id).online && !self.options.fencing {
                continue;
            }
            let resources = state.child("lrm").and_then(|l| l.child("lrm_resources"));
            for entry in resources.iter().flat_map(|r| r.children_named("lrm_resource")) {
                let Some(id) = entry.id() else { continue };
                if resource.is_some_and(|r| !r.eq_ignore_ascii_case(id)) {
                    continue;
                }
                let operations =
                    if since_start { self.since_last_start(entry) } else { self.in_order(entry) };
                found.extend(operations.into_iter().map(|o| HistoryEntry {
                    node: name,
                    resource: id,
                    xml: o.xml,
                }));
            }
        }
        found
    }

    /// Tickets by name: granted, in standby. Those that only a constraint names are there once constraints have been read.
    pub fn ticket_states(&self) -> impl Iterator<Item = (&str, bool, bool)> {
        self.tickets.iter().map(|(name, t)| (name.as_str(), t.granted, t.standby))
    }
}

fn view(colocation: &Colocation) -> Option<ColocationView<'_>> {
    Some(ColocationView {
        id: colocation.id.as_deref()?,
        dependent: colocation.dependent,
        primary: colocation.primary,
        score: colocation.score,
        dependent_role: colocation.dependent_role,
        primary_role: colocation.primary_role,
        attribute: colocation.attribute.as_deref(),
    })
}
