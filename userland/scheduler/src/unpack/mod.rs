//! From the document to the working set: options, nodes, resources, then the status, in the order in which one needs the other.

mod bundles;
pub(crate) mod digests;
pub(crate) mod failures;
mod history;
mod migration;
mod nodes;
pub(crate) mod operation;
mod resources;
mod settings;
mod status;

use std::cell::Cell;

use cib::{Attributes, Element, Facts, Ids, Moment, Precedence, collect};
use indexmap::IndexMap;

use crate::assign::trace::Trace;
use crate::model::{Options, WorkingSet};

pub(crate) use digests::Parameters;
pub(crate) use failures::interval_of;
pub(crate) use history::base_name;
pub(crate) use operation::{Operation, sort_by_age};
pub(crate) use settings::lenient_score;
pub use status::Failed;

/// Most resources, instances and replicas included: a number in an attribute must not take all memory.
pub(crate) const RESOURCES_MAX: usize = 100_000;

/// Most fields of the table of scores, resources by nodes, that instances and replicas may lead to: each replica is a node more, so
/// that they would grow with the square of their number.
const SCORES_MAX: usize = 16_000_000;

/// Most instances of a clone.
pub(crate) const INSTANCES_MAX: u32 = 10_000;

/// Most instances of a clone that is told what happens to it: each of them is told the names of all others.
pub(crate) const TOLD_MAX: u32 = 1_000;

/// Most replicas of a bundle: each of them is told the addresses of all others.
pub(crate) const REPLICAS_MAX: u32 = 128;

/// What a document has to be, to be read at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotACib;

impl std::fmt::Display for NotACib {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the document's top element is not <cib>; give a file that `cibadmin -Q` wrote")
    }
}
impl std::error::Error for NotACib {}

impl<'c> WorkingSet<'c> {
    /// The time that a document says it is, for one that was recorded.
    #[must_use]
    pub fn recorded_time(root: &Element) -> Option<Moment> {
        root.get("execution-date").and_then(|v| v.trim().parse().ok()).map(Moment)
    }

    /// Reads a document as of `now`.
    ///
    /// # Errors
    /// When it is no CIB. What is missing or makes no sense inside of one takes its default.
    pub fn new(root: &'c Element, now: Moment) -> Result<Self, NotACib> {
        Self::read(root, now, None)
    }

    /// The same, and every change of a score is remembered with its reason: see [`WorkingSet::explain`].
    ///
    /// # Errors
    /// See [`WorkingSet::new`].
    pub fn new_explained(root: &'c Element, now: Moment) -> Result<Self, NotACib> {
        Self::read(root, now, Some(Box::default()))
    }

    fn read(root: &'c Element, now: Moment, trace: Option<Box<Trace>>) -> Result<Self, NotACib> {
        if root.name != "cib" {
            return Err(NotACib);
        }
        let ids = Ids::of(root);
        let have_quorum = root.get("have-quorum").and_then(cib::parse_bool).unwrap_or(false);
        let panic = root.get("no-quorum-panic").and_then(cib::parse_bool).unwrap_or(false);
        let recheck = Cell::new(None);
        let facts = Facts { now: Some(now), next_change: Some(&recheck), ..Facts::default() };
        let mut all = Attributes::new();
        let configuration = root.child("configuration");
        if let Some(section) = configuration.and_then(|c| c.child("crm_config")) {
            let first = Some("cib-bootstrap-options");
            collect(&ids, section, "cluster_property_set", &facts, first, Precedence::First, &mut all);
        }
        let options = Options::new(all, have_quorum, panic);
        let mut set = Self {
            root,
            ids,
            now,
            recheck,
            have_quorum,
            has_fence_device: options.have_watchdog,
            options,
            nodes: Vec::new(),
            by_name: Vec::new(),
            resources: Vec::new(),
            top: Vec::new(),
            by_id: IndexMap::new(),
            by_history_name: IndexMap::new(),
            unfencing: false,
            dc: None,
            tickets: std::collections::BTreeMap::new(),
            patience: crate::assign::Patience::default(),
            colocations: Vec::new(),
            locations_by_constraint: Vec::new(),
            digests: std::collections::BTreeMap::new(),
            trace,
            scores: String::new(),
            failed: Vec::new(),
            looked_for: None,
            orders: Vec::new(),
            actions: crate::actions::Actions::default(),
            notices: Vec::new(),
            deferred_changes: Vec::new(),
            begun_anew: Vec::new(),
            containers_to_stop: Vec::new(),
            without_secrets: false,
            messages: Vec::new(),
            warnings: Vec::new(),
            show_utilization: false,
            stops: (0, std::collections::BTreeMap::new()),
        };
        let section = |name: &str| configuration.and_then(|c| c.child(name));
        if let Some(nodes) = section("nodes") {
            set.read_nodes(nodes);
        }
        if let Some(resources) = section("resources") {
            set.read_resources(resources);
        }
        if let Some(status) = root.child("status") {
            set.read_status(status);
        }
        Ok(set)
    }

    /// The document that it was read from.
    #[must_use]
    pub fn document(&self) -> &'c Element {
        self.root
    }

    /// Whether another instance or replica may be made.
    pub(crate) fn has_room(&self) -> bool {
        let resources = self.resources.len() + 1;
        resources <= RESOURCES_MAX && resources.saturating_mul(self.nodes.len() + 1) <= SCORES_MAX
    }

    /// What rules see that stand where neither node nor operation is known.
    pub(crate) fn facts(&self) -> Facts<'_> {
        Facts { now: Some(self.now), next_change: Some(&self.recheck), ..Facts::default() }
    }

    pub(crate) fn changes_at(&self, moment: Moment) {
        if moment > self.now {
            self.recheck.set(Some(self.recheck.get().map_or(moment, |so_far| so_far.min(moment))));
        }
    }
}
