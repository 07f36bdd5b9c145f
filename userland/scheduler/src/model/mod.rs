//! The working set: what the scheduler knows of a cluster once configuration and status have been read.
//!
//! Nodes and resources sit in tables and name each other by index, so that everything that follows is arrays.

pub(crate) mod node;
pub(crate) mod options;
pub(crate) mod resource;

use std::cell::Cell;
use std::collections::BTreeMap;

use cib::{Element, Ids, Moment};
use indexmap::IndexMap;

pub use node::{Node, NodeKind, compare_names};
pub use options::{NoQuorumPolicy, Options};
pub(crate) use resource::Discovery;
pub use resource::{Bundle, Flags, Instances, Replica, Resource, Role, UnderWay, Variant};

use crate::unpack::Failed;

/// A node's place in [`WorkingSet::nodes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub(crate) u32);

/// A resource's place in [`WorkingSet::resources`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceId(pub(crate) u32);

/// Configuration and status of a cluster.
pub struct WorkingSet<'c> {
    /// The document.
    pub(crate) root: &'c Element,
    /// Elements of the configuration by id.
    pub(crate) ids: Ids<'c>,
    /// The time that dates and expiries are judged by.
    pub now: Moment,
    /// When something that depends on the time may be judged otherwise.
    pub(crate) recheck: Cell<Option<Moment>>,
    /// Cluster options.
    pub options: Options,
    /// The partition has quorum.
    pub have_quorum: bool,
    /// All nodes, in the order in which they were found.
    pub nodes: Vec<Node>,
    /// The same in the order of their names, as everything that lists nodes has them.
    pub by_name: Vec<NodeId>,
    /// All resources and what they consist of.
    pub resources: Vec<Resource<'c>>,
    /// Those that stand by themselves, in the order in which they are looked at.
    pub top: Vec<ResourceId>,
    /// Resources by their ids, and those that the history knows by other names by those.
    pub(crate) by_id: IndexMap<String, ResourceId>,
    /// See `by_id`.
    pub(crate) by_history_name: IndexMap<String, ResourceId>,
    /// A fence device is configured.
    pub(crate) has_fence_device: bool,
    /// Some resource wants or provides unfencing.
    pub(crate) unfencing: bool,
    /// The designated controller.
    pub(crate) dc: Option<NodeId>,
    /// Tickets by name.
    pub(crate) tickets: BTreeMap<String, Ticket>,
    /// How far colocations may still be followed.
    pub(crate) patience: crate::assign::Patience,
    /// Colocations in the order in which they were made.
    pub(crate) colocations: Vec<crate::constraints::Colocation>,
    /// Location constraints in the order in which they were made.
    pub(crate) locations_by_constraint: Vec<crate::constraints::Location>,
    /// Digests of parameters that were asked for.
    pub(crate) digests: crate::unpack::digests::Computed,
    /// What happens to scores, if somebody asked for it.
    pub(crate) trace: Option<Box<crate::assign::trace::Trace>>,
    /// Lines of scores, as they were when a resource was placed.
    pub(crate) scores: String,
    /// Failed operations, for reports.
    pub(crate) failed: Vec<Failed<'c>>,
    /// While promotion scores are asked for: where the instances of the clone are.
    pub(crate) looked_for: Option<crate::assign::promote::LookedFor>,
    /// What the history itself asks for, in the order in which it was found.
    pub(crate) orders: Vec<Order>,
    /// What has to be done.
    pub(crate) actions: crate::actions::Actions,
    /// What agents are told of it.
    pub(crate) notices: Vec<crate::actions::Notice>,
    /// What is compared once containers are placed.
    pub(crate) deferred_changes: Vec<DeferredCheck<'c>>,
    /// Containers that have to stop because of what became of what is inside.
    pub(crate) containers_to_stop: Vec<ResourceId>,
    /// Entries of recurring operations whose failures have expired, by their ids.
    pub(crate) begun_anew: Vec<(ResourceId, NodeId, String)>,
    /// The document may be a copy without secrets: that they differ from what was used means nothing. To be set before
    /// anything is placed.
    pub without_secrets: bool,
    /// What the reader of a simulation is told besides.
    pub messages: Vec<String>,
    /// Lines about capacity are written among those of scores.
    pub show_utilization: bool,
    /// What was left out since nobody could work through it.
    pub warnings: Vec<String>,
    /// Places of the stops among those, and how many orders were looked at for them.
    pub(crate) stops: (usize, BTreeMap<(ResourceId, NodeId), Vec<usize>>),
}

/// A ticket as the status has it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ticket {
    /// It is granted.
    pub(crate) granted: bool,
    /// It is in standby.
    pub(crate) standby: bool,
    /// When it was granted last, in seconds since 1970.
    pub(crate) last_granted: Option<i64>,
}

/// An entry of the history that cannot be compared with the configuration before containers are placed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DeferredCheck<'c> {
    pub(crate) id: ResourceId,
    pub(crate) node: NodeId,
    pub(crate) operation: crate::unpack::Operation<'c>,
    /// The entry is the last failure, which is forgotten if it was one of other parameters.
    pub(crate) failure: bool,
}

/// What reading the history already decides.
#[derive(Clone, Debug)]
pub(crate) enum Order {
    /// It has to stop there; `required` or only if something else asks for it.
    Stop { resource: ResourceId, node: NodeId, required: bool },
    /// It has to be demoted there.
    Demote { resource: ResourceId, node: NodeId },
    /// The node is to be fenced for this.
    Fence { node: NodeId, reason: String },
    /// The history of a resource on a node is to be forgotten, by the cluster alone.
    ClearHistory { resource: ResourceId, node: NodeId },
    /// The fail count is to be forgotten.
    ClearFailures { resource: ResourceId, node: NodeId, reason: &'static str },
    /// A recurring operation runs there.
    Recurring { resource: ResourceId, node: NodeId, task: String, interval_ms: u64 },
}

impl<'c> WorkingSet<'c> {
    /// Places of all resources, in the order of the table.
    pub fn ids(&self) -> impl Iterator<Item = ResourceId> + use<> {
        (0..u32::try_from(self.resources.len()).unwrap_or(u32::MAX)).map(ResourceId)
    }

    /// Places of all nodes, in the order of the table.
    pub fn node_ids(&self) -> impl Iterator<Item = NodeId> + use<> {
        (0..u32::try_from(self.nodes.len()).unwrap_or(u32::MAX)).map(NodeId)
    }

    pub(crate) fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0 as usize]
    }

    pub(crate) fn node_mut(&mut self, id: NodeId) -> &mut Node {
        &mut self.nodes[id.0 as usize]
    }

    pub(crate) fn resource(&self, id: ResourceId) -> &Resource<'c> {
        &self.resources[id.0 as usize]
    }

    pub(crate) fn resource_mut(&mut self, id: ResourceId) -> &mut Resource<'c> {
        &mut self.resources[id.0 as usize]
    }

    /// The node with this id, or else with this name.
    pub(crate) fn find_node(&self, id: &str, name: &str) -> Option<NodeId> {
        let by = |same: &dyn Fn(&Node) -> bool| self.by_name.iter().copied().find(|n| same(self.node(*n)));
        by(&|n| n.id.eq_ignore_ascii_case(id)).or_else(|| by(&|n| n.name.eq_ignore_ascii_case(name)))
    }

    pub(crate) fn node_named(&self, name: &str) -> Option<NodeId> {
        self.by_name.iter().copied().find(|n| self.node(*n).name.eq_ignore_ascii_case(name))
    }

    /// A resource by its id, at any depth.
    pub(crate) fn find_resource(&self, id: &str) -> Option<ResourceId> {
        self.by_id.get(id).copied()
    }

    /// The outermost resource around one, itself included. A bundle is none: what is inside stands by itself.
    pub(crate) fn top_of(&self, id: ResourceId) -> ResourceId {
        let mut at = id;
        while let Some(parent) = self.resource(at).parent {
            if matches!(self.resource(parent).variant, Variant::Bundle(_)) {
                break;
            }
            at = parent;
        }
        at
    }

    /// Whether a resource is part of a bundle.
    pub(crate) fn is_bundled(&self, id: ResourceId) -> bool {
        let mut at = Some(id);
        while let Some(resource) = at {
            at = self.resource(resource).parent;
            if at.is_some_and(|p| matches!(self.resource(p).variant, Variant::Bundle(_))) {
                return true;
            }
        }
        false
    }

    pub(crate) fn is_guest(&self, node: NodeId) -> bool {
        let node = self.node(node);
        node.kind == NodeKind::Remote && node.connection.is_some_and(|c| self.resource(c).container.is_some())
    }

    pub(crate) fn is_remote(&self, node: NodeId) -> bool {
        self.node(node).kind == NodeKind::Remote && !self.is_guest(node)
    }

    /// Whether the clone around a resource, if any, keeps its instances apart only by where they are.
    pub(crate) fn is_anonymous_clone(&self, top: ResourceId) -> bool {
        let resource = self.resource(top);
        matches!(resource.variant, Variant::Clone(_)) && !resource.is(Flags::UNIQUE)
    }

    /// The node where a resource is, as far as one has to be named.
    pub(crate) fn current_node(&self, id: ResourceId) -> Option<NodeId> {
        let resource = self.resource(id);
        if let Some((source, _)) = resource.partial_migration
            && resource.running_on.contains(&source)
        {
            return Some(source);
        }
        let usable = |n: &NodeId| self.node(*n).online && !self.node(*n).unclean;
        let any = resource.running_on.first().copied();
        if resource.is(Flags::NEEDS_FENCING) {
            return any;
        }
        resource.running_on.iter().copied().find(usable).or(any)
    }

    /// Whether a resource is kept down by its `target-role`.
    pub(crate) fn is_disabled(&self, id: ResourceId) -> bool {
        let role = self.resource(id).meta.get("target-role").and_then(|r| Role::parse(r));
        let promotable = self.resource(self.top_of(id)).is(Flags::PROMOTABLE);
        role == Some(Role::Stopped) || (role == Some(Role::Unpromoted) && promotable)
    }
}
