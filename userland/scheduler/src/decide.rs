//! What a controller asks: the graph for a cluster as it is, and what it has to know of the graph's actions besides.

use std::collections::BTreeMap;

use cib::{Element, Moment};

use crate::actions::{Is, Task};
use crate::model::{Flags, ResourceId, Role, Variant, WorkingSet};
use crate::report::transition_summary;
use crate::transition::{Action, Graph, Kind};
use crate::unpack::NotACib;

/// What is to be done.
#[derive(Clone, Debug, Default)]
pub struct Decision {
    /// The graph.
    pub graph: Graph,
    /// The lines of [`transition_summary`] that name a change.
    pub summary: Vec<String>,
    /// Nodes that are to be fenced.
    pub fencing: Vec<Fencing>,
    /// For each action of the graph, what must be true nowhere else when it is carried out.
    pub alone: Vec<Alone>,
    /// Resources that stay down against the configuration's wish.
    pub stranded: Vec<String>,
    /// Every primitive and instance, as it is now.
    pub seen: Vec<Seen>,
    /// Location constraints that keep a resource from a node altogether, by id of constraint or rule.
    pub bans: Vec<Ban>,
}

/// A primitive or an instance of one, as it is now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Its id, with its number if it is an instance.
    pub id: String,
    /// The id under which the history knows it.
    pub history: String,
    /// `ocf:PROVIDER:TYPE`, `CLASS:TYPE`.
    pub agent: String,
    /// The group that it is a member of.
    pub group: Option<String>,
    /// Where it is active.
    pub nodes: Vec<String>,
    /// What it does.
    pub role: Role,
    /// It has failed and is not recovered.
    pub failed: bool,
    /// Nothing is done with it.
    pub blocked: bool,
    /// The cluster manages it.
    pub managed: bool,
    /// Its `target-role` keeps it down.
    pub disabled: bool,
    /// It is gone from the configuration.
    pub orphaned: bool,
    /// After so many failures it leaves a node; 0: never.
    pub migration_threshold: u32,
}

/// See [`Decision::bans`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ban {
    /// Id of the constraint, or of its rule.
    pub constraint: String,
    /// The resource.
    pub resource: String,
    /// The node's name.
    pub node: String,
}

/// A node that is to be fenced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fencing {
    /// Its name.
    pub node: String,
    /// `off`, `reboot`, `on`.
    pub action: String,
    /// Why.
    pub reason: String,
}

/// What may not be true of a resource anywhere else when an action on it is carried out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Alone {
    /// The action brings nothing up, or brings up what may be up in several places.
    #[default]
    No,
    /// That it runs.
    Running,
    /// That it is promoted.
    Promoted,
}

/// Decides what is to be done.
///
/// # Errors
/// When the document is no CIB.
pub fn decide(root: &Element, now: Moment) -> Result<Decision, NotACib> {
    let mut set = WorkingSet::new(root, now)?;
    let seen = set.seen();
    set.place();
    let bans = set.bans();
    set.schedule();
    let graph = set.graph();
    let fencing = set.fencing();
    let alone = graph.actions.iter().map(|action| set.alone(action)).collect();
    let stranded = set.stranded();
    let summary = transition_summary(&mut set);
    let summary = summary.lines().filter_map(|l| l.strip_prefix("  * ")).map(str::to_owned).collect();
    Ok(Decision { graph, summary, fencing, alone, stranded, seen, bans })
}

/// Digest of an operation's parameters, as the history keeps it, by which a change of them is noticed: those that say
/// something of the resource, and the timeout of what is repeated.
#[must_use]
pub fn parameters_digest(parameters: &BTreeMap<String, String>) -> String {
    const OURS: [&str; 6] =
        ["id", "crm_feature_set", "op-digest", "on_node", "on_node_uuid", "pcmk_external_ip"];
    let recurring = parameters.get("CRM_meta_interval").is_some_and(|i| i.parse().is_ok_and(|i: u64| i > 0));
    let counts = |name: &str| {
        let meta = name.get(..9).is_some_and(|start| start.eq_ignore_ascii_case("CRM_meta_"));
        !OURS.contains(&name) && (!meta || (recurring && name == "CRM_meta_timeout"))
    };
    let parameters = parameters.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    crate::unpack::digests::digest(&parameters.filter(|(name, _)| counts(name)).collect())
}

impl WorkingSet<'_> {
    fn fencing(&self) -> Vec<Fencing> {
        let fencing = |id| {
            let action = &self.actions[id];
            let node =
                action.node.filter(|_| action.task == Task::STONITH && !action.is.has(Is::OPTIONAL))?;
            Some(Fencing {
                node: self.node(node).name.clone(),
                action: action.meta("stonith_action").unwrap_or_default().to_owned(),
                reason: action.reason.as_deref().unwrap_or_default().to_owned(),
            })
        };
        self.actions.ids().filter_map(fencing).collect()
    }

    /// Who asks for less than quorum and fencing gets less; everything else that may be up once only is alone.
    fn alone(&self, action: &Action) -> Alone {
        let brings_up = matches!(action.operation.as_str(), "start" | "promote" | "migrate_from");
        let Some(descriptor) = action.resource.as_ref().filter(|_| action.kind == Kind::RscOp && brings_up)
        else {
            return Alone::No;
        };
        let name = descriptor.long_id.as_ref().unwrap_or(&descriptor.id);
        let Some(id) = self.find_resource(name).or_else(|| self.find_resource(&descriptor.id)) else {
            return Alone::Running;
        };
        let requires = self.resource(id).meta.get("requires").map_or("", String::as_str);
        if self.resource(id).is(Flags::FENCE_DEVICE) || matches!(requires, "nothing" | "quorum") {
            return Alone::No;
        }
        let top = self.top_of(id);
        match (self.is_anonymous_clone(top), action.operation.as_str()) {
            (true, "promote") => Alone::Promoted,
            (true, _) => Alone::No,
            (false, _) => Alone::Running,
        }
    }

    fn seen(&self) -> Vec<Seen> {
        let primitives = self.ids().filter(|id| self.resource(*id).is_primitive());
        let seen = primitives.map(|id| {
            let resource = self.resource(id);
            let parent = resource.parent.map(|p| self.resource(p));
            let provider = resource.provider.as_ref().map(|p| format!("{p}:")).unwrap_or_default();
            Seen {
                id: resource.id.clone(),
                history: resource.history_name.clone().unwrap_or_else(|| resource.id.clone()),
                agent: format!("{}:{provider}{}", resource.class, resource.kind),
                group: parent.filter(|p| matches!(p.variant, Variant::Group)).map(|p| p.id.clone()),
                nodes: resource.running_on.iter().map(|n| self.node(*n).name.clone()).collect(),
                role: resource.role,
                failed: resource.is(Flags::FAILED),
                blocked: resource.is(Flags::BLOCKED),
                managed: resource.is(Flags::MANAGED),
                disabled: self.is_disabled(id),
                orphaned: resource.is(Flags::ORPHAN),
                migration_threshold: u32::try_from(resource.migration_threshold.get()).unwrap_or(0),
            }
        });
        seen.collect()
    }

    fn bans(&self) -> Vec<Ban> {
        let never = |location: &crate::constraints::Location| {
            let nodes = location.scores.iter().filter(|(_, score)| *score <= cib::Score::MINUS_INFINITY);
            let resource = self.resource(location.resource).id.clone();
            let ban = |(node, _): &(crate::model::NodeId, cib::Score)| Ban {
                constraint: location.id.clone(),
                resource: resource.clone(),
                node: self.node(*node).name.clone(),
            };
            nodes.map(ban).collect::<Vec<_>>()
        };
        self.locations_by_constraint.iter().flat_map(never).collect()
    }

    fn stranded(&self) -> Vec<String> {
        let stays_down = |id: &ResourceId| {
            let resource = self.resource(*id);
            resource.is_primitive()
                && resource.parent.is_none_or(|_| !self.is_anonymous_clone(self.top_of(*id)))
                && resource.is(Flags::MANAGED)
                && resource.running_on.is_empty()
                && resource.assigned.is_none()
                && !self.is_disabled(*id)
                && !resource.is(Flags::ORPHAN)
        };
        self.ids().filter(stays_down).map(|id| self.resource(id).id.clone()).collect()
    }
}
